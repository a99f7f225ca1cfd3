//! DECIMAL in its binary form, written as text without detour: groups of nine digits in four bytes each.

use super::event::{Flaw, Reader};

/// Bytes of a group of so many digits.
const GROUP_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// One above the largest number of so many digits.
const GROUP_LIMIT: [u32; 10] =
    [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Appends the text of a DECIMAL(precision, scale): no leading zeros, all of the scale's digits.
#[inline]
pub(crate) fn append(
    input: &mut Reader<'_>,
    precision: u8,
    scale: u8,
    out: &mut Vec<u8>,
) -> Result<(), Flaw> {
    let whole = usize::from(precision.checked_sub(scale).ok_or(Flaw::Decimal)?);
    let scale = usize::from(scale);
    let bytes = input.take(byte_len(whole, scale))?;
    // The highest bit is set for numbers that are not negative; a negative number has all other bits inverted.
    let flip = match bytes.first() {
        None => return Err(Flaw::Decimal),
        Some(first) if first & 0x80 == 0 => {
            out.push(b'-');
            0xFF
        }
        Some(_) => 0,
    };
    let mut groups = Groups { bytes, at: 0, flip };
    let start = out.len();
    if whole % 9 > 0 {
        append_short(groups.next(whole % 9)?, out);
    }
    for _ in 0..whole / 9 {
        let group = groups.next(9)?;
        if out.len() == start { append_short(group, out) } else { append_padded(group, 9, out) }
    }
    if out.len() == start {
        out.push(b'0');
    }
    if scale > 0 {
        out.push(b'.');
        for _ in 0..scale / 9 {
            append_padded(groups.next(9)?, 9, out);
        }
        if scale % 9 > 0 {
            append_padded(groups.next(scale % 9)?, scale % 9, out);
        }
    }
    Ok(())
}

/// Bytes of a number with so many digits before and behind the point.
pub(crate) fn byte_len(whole: usize, scale: usize) -> usize {
    whole / 9 * 4 + GROUP_BYTES[whole % 9] + scale / 9 * 4 + GROUP_BYTES[scale % 9]
}

struct Groups<'a> {
    bytes: &'a [u8],
    at: usize,
    flip: u8,
}

impl Groups<'_> {
    #[inline]
    fn next(&mut self, digits: usize) -> Result<u32, Flaw> {
        let mut value = 0;
        let end = self.at + GROUP_BYTES[digits];
        for at in self.at..end {
            let sign_bit = if at == 0 { 0x80 } else { 0 };
            value = value << 8 | u32::from(self.bytes[at] ^ sign_bit ^ self.flip);
        }
        self.at = end;
        if value < GROUP_LIMIT[digits] { Ok(value) } else { Err(Flaw::Decimal) }
    }
}

/// Appends the digits without leading zeros, and nothing for zero.
#[inline]
fn append_short(value: u32, out: &mut Vec<u8>) {
    if value > 0 {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

#[inline]
fn append_padded(mut value: u32, digits: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 9];
    for place in text[..digits].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text[..digits]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The binary form, made the way the manual describes it.
    fn encode(negative: bool, whole: &str, fraction: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut group = |digits: &str| {
            if !digits.is_empty() {
                let value: u32 = digits.parse().unwrap();
                bytes.extend_from_slice(&value.to_be_bytes()[4 - GROUP_BYTES[digits.len()]..]);
            }
        };
        let (first, rest) = whole.split_at(whole.len() % 9);
        group(first);
        (0..rest.len() / 9).for_each(|at| group(&rest[at * 9..at * 9 + 9]));
        let full = fraction.len() / 9 * 9;
        (0..full / 9).for_each(|at| group(&fraction[at * 9..at * 9 + 9]));
        group(&fraction[full..]);
        if negative {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes[0] ^= 0x80;
        bytes
    }

    proptest! {
        #[test]
        fn digits_come_back(negative: bool, whole in "[0-9]{0,35}", fraction in "[0-9]{0,30}") {
            prop_assume!(!whole.is_empty() || !fraction.is_empty());
            let bytes = encode(negative, &whole, &fraction);
            let (precision, scale) = ((whole.len() + fraction.len()) as u8, fraction.len() as u8);
            let mut text = Vec::new();
            append(&mut Reader(&bytes), precision, scale, &mut text).unwrap();
            let short = whole.trim_start_matches('0');
            let short = if short.is_empty() { "0" } else { short };
            let sign = if negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            prop_assert_eq!(String::from_utf8(text).unwrap(), format!("{sign}{short}{point}{fraction}"));
        }
    }
}
