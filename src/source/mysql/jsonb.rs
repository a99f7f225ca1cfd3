//! MySQL's binary JSON, printed as the server's own `CAST(… AS CHAR)` prints it.

use std::fmt::Write as _;

use super::decimal;
use super::event::{Flaw, Reader};
use super::temporal;
use crate::model::value::{Date, Time};

/// The server refuses documents that are nested deeper than 100.
const DEPTH_MAX: usize = 101;

/// No byte of a document stands for more bytes of text: a control character has six, all else fewer.
const TEXT_GROWTH_MAX: usize = 16;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0A;
const DOUBLE: u8 = 0x0B;
const STRING: u8 = 0x0C;
const OPAQUE: u8 = 0x0F;

/// Column types that an opaque value may have.
const TYPE_TIMESTAMP: u8 = 7;
const TYPE_DATE: u8 = 10;
const TYPE_TIME: u8 = 11;
const TYPE_DATETIME: u8 = 12;
const TYPE_NEWDECIMAL: u8 = 246;

/// Appends the text of a document.
pub(crate) fn append(document: &[u8], out: &mut Vec<u8>) -> Result<(), Flaw> {
    match document.split_first() {
        // What an ignored error leaves in a JSON column; the server shows it so.
        None => out.extend_from_slice(b"null"),
        Some((kind, value)) => {
            // Damaged containers may name the same bytes again and again; what is sound has a bounded text.
            let end_max = out.len() + TEXT_GROWTH_MAX * document.len() + TEXT_GROWTH_MAX;
            append_value(*kind, value, Limits { depth: 0, end_max }, out)?;
        }
    }
    Ok(())
}

/// What keeps a damaged document from being read for ever.
#[derive(Clone, Copy)]
struct Limits {
    depth: usize,
    /// How long the output may become.
    end_max: usize,
}

impl Limits {
    fn inside(self) -> Limits {
        Limits { depth: self.depth + 1, ..self }
    }
}

fn append_value(kind: u8, value: &[u8], limits: Limits, out: &mut Vec<u8>) -> Result<(), Flaw> {
    if limits.depth > DEPTH_MAX || out.len() > limits.end_max {
        return Err(Flaw::Json);
    }
    let mut input = Reader(value);
    match kind {
        SMALL_OBJECT | LARGE_OBJECT => append_container(value, kind == LARGE_OBJECT, true, limits, out)?,
        SMALL_ARRAY | LARGE_ARRAY => append_container(value, kind == LARGE_ARRAY, false, limits, out)?,
        LITERAL => append_literal(input.u8()?, out)?,
        INT16 => append_integer(input.u16()? as i16, out),
        UINT16 => append_integer(input.u16()?, out),
        INT32 => append_integer(input.u32()? as i32, out),
        UINT32 => append_integer(input.u32()?, out),
        INT64 => append_integer(input.u64()? as i64, out),
        UINT64 => append_integer(input.u64()?, out),
        DOUBLE => append_double(f64::from_bits(input.u64()?), out)?,
        STRING => {
            let len = data_len(&mut input)?;
            append_string(input.take(len)?, out)?;
        }
        OPAQUE => {
            let ty = input.u8()?;
            let len = data_len(&mut input)?;
            append_opaque(ty, input.take(len)?, out)?;
        }
        _ => return Err(Flaw::Json),
    }
    Ok(())
}

/// An object or array: count, size, the entries of keys, the entries of values, then what they point to. Small
/// containers count in two bytes, large ones in four.
fn append_container(
    bytes: &[u8],
    large: bool,
    object: bool,
    limits: Limits,
    out: &mut Vec<u8>,
) -> Result<(), Flaw> {
    let width = if large { 4 } else { 2 };
    let mut head = Reader(bytes);
    let count = head.uint(width)? as usize;
    let size = head.uint(width)? as usize;
    let bytes = bytes.get(..size).ok_or(Flaw::Json)?;
    let keys_len = if object { count.checked_mul(width + 2).ok_or(Flaw::Json)? } else { 0 };
    let mut keys = Reader(head.take(keys_len)?);
    let mut values = Reader(head.take(count.checked_mul(width + 1).ok_or(Flaw::Json)?)?);
    out.push(if object { b'{' } else { b'[' });
    for index in 0..count {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        if object {
            let at = keys.uint(width)? as usize;
            let len = usize::from(keys.u16()?);
            let key = bytes.get(at..).and_then(|rest| rest.get(..len)).ok_or(Flaw::Json)?;
            append_string(key, out)?;
            out.extend_from_slice(b": ");
        }
        let kind = values.u8()?;
        let inlined = values.take(width)?;
        let fits = match kind {
            LITERAL | INT16 | UINT16 => true,
            INT32 | UINT32 => large,
            _ => false,
        };
        if fits {
            append_value(kind, inlined, limits.inside(), out)?;
        } else {
            let at = Reader(inlined).uint(width)? as usize;
            append_value(kind, bytes.get(at..).ok_or(Flaw::Json)?, limits.inside(), out)?;
        }
    }
    out.push(if object { b'}' } else { b']' });
    Ok(())
}

fn append_literal(value: u8, out: &mut Vec<u8>) -> Result<(), Flaw> {
    out.extend_from_slice(match value {
        0 => b"null",
        1 => b"true",
        2 => b"false",
        _ => return Err(Flaw::Json),
    });
    Ok(())
}

fn append_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest digits that read back as the same number: plain up to 15 places before the point and 14 zeros
/// behind it, with an exponent beyond.
fn append_double(value: f64, out: &mut Vec<u8>) -> Result<(), Flaw> {
    if !value.is_finite() {
        return Err(Flaw::Json);
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value == 0.0 {
        out.extend_from_slice(b"0.0");
        return Ok(());
    }
    let mut buffer = ryu::Buffer::new();
    let (digits, point) = digits_of(buffer.format_finite(value.abs()));
    let digits = digits.as_slice();
    match point {
        -13..=0 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        }
        1..=15 => {
            let whole = point as usize;
            if digits.len() > whole {
                out.extend_from_slice(&digits[..whole]);
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            } else {
                out.extend_from_slice(digits);
                out.resize(out.len() + whole - digits.len(), b'0');
                out.extend_from_slice(b".0");
            }
        }
        _ => {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.push(b'e');
            append_integer(point - 1, out);
        }
    }
    Ok(())
}

/// The significant digits of a printed number, and where its point stands: the value is 0.DIGITS times ten to
/// that power.
fn digits_of(text: &str) -> (Digits, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = Digits { text: [0; 24], start: 0, end: 0 };
    for byte in whole.bytes().chain(fraction.bytes()) {
        digits.text[digits.end] = byte;
        digits.end += 1;
    }
    let mut point = whole.len() as i32 + exponent.parse::<i32>().unwrap_or(0);
    while digits.start + 1 < digits.end && digits.text[digits.start] == b'0' {
        digits.start += 1;
        point -= 1;
    }
    while digits.end > digits.start + 1 && digits.text[digits.end - 1] == b'0' {
        digits.end -= 1;
    }
    (digits, point)
}

struct Digits {
    text: [u8; 24],
    start: usize,
    end: usize,
}

impl Digits {
    fn as_slice(&self) -> &[u8] {
        &self.text[self.start..self.end]
    }
}

fn append_string(text: &[u8], out: &mut Vec<u8>) -> Result<(), Flaw> {
    std::str::from_utf8(text).map_err(|_| Flaw::Text)?;
    out.push(b'"');
    for byte in text {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0A => b'n',
            0x0C => b'f',
            0x0D => b'r',
            0x00..=0x1F => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                continue;
            }
            _ => {
                out.push(*byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escape]);
    }
    out.push(b'"');
    Ok(())
}

/// A value of an SQL type that JSON does not have.
fn append_opaque(ty: u8, value: &[u8], out: &mut Vec<u8>) -> Result<(), Flaw> {
    let mut input = Reader(value);
    let mut text = String::new();
    match ty {
        TYPE_NEWDECIMAL => {
            let (precision, scale) = (input.u8()?, input.u8()?);
            return decimal::append(&mut input, precision, scale, out);
        }
        TYPE_DATE => {
            let Date { year, month, day } = temporal::datetime_of_packed(input.u64()? as i64)?.date;
            let _ = write!(text, "{year:04}-{month:02}-{day:02}");
        }
        TYPE_DATETIME | TYPE_TIMESTAMP => {
            let _ = write!(text, "{}", temporal::datetime_of_packed(input.u64()? as i64)?);
        }
        TYPE_TIME => {
            let micros = temporal::time_of_packed(input.u64()? as i64)?;
            let _ = write!(text, "{}", Time { micros, fsp: 6 });
        }
        _ => {
            let _ = write!(text, "base64:type{ty}:");
            append_base64(value, &mut text);
        }
    }
    append_string(text.as_bytes(), out)
}

/// With a line break after each 76 characters, as the server does it.
fn append_base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (index, chunk) in bytes.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            out.push('\n');
        }
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
}

/// A length in groups of seven bits, the lowest first.
fn data_len(input: &mut Reader<'_>) -> Result<usize, Flaw> {
    let mut len = 0;
    for place in 0..5 {
        let byte = input.u8()?;
        len |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(len);
        }
    }
    Err(Flaw::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        append_double(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_read_as_the_server_prints_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1e15"),
            (1e14, "100000000000000.0"),
            (1.5e300, "1.5e300"),
            (1e-14, "0.00000000000001"),
            (1e-15, "1e-15"),
            (123456.789, "123456.789"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn a_container_that_holds_itself_many_times_ends() {
        // An array of 1000 arrays, each of which is the array itself.
        let mut bytes = vec![LARGE_ARRAY];
        bytes.extend_from_slice(&1000_u32.to_le_bytes());
        bytes.extend_from_slice(&5008_u32.to_le_bytes());
        for _ in 0..1000 {
            bytes.extend_from_slice(&[LARGE_ARRAY, 0, 0, 0, 0]);
        }
        assert_eq!(append(&bytes, &mut Vec::new()), Err(Flaw::Json));
    }

    proptest! {
        #[test]
        fn doubles_keep_their_value(value in proptest::num::f64::NORMAL) {
            prop_assert_eq!(double(value).parse::<f64>().unwrap(), value);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = append(&bytes, &mut Vec::new());
        }
    }
}
