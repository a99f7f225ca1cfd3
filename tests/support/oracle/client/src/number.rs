//! NUMBER in Oracle's own form, VARNUM: a length, an exponent of 100 with the sign, and digits of 100.
//!
//! Positive numbers have exponent + 193 and digit + 1; negative ones 62 - exponent, 101 - digit and an end mark of 102.

use std::slice;

use crate::oci::{self, Pointer, Status};

/// The length and 21 bytes.
pub const VARNUM_BYTES: usize = 22;
const DIGITS_MAX: usize = 20;
const ZERO: u8 = 0x80;
const NEGATIVE_END: u8 = 102;

/// The number in decimal digits, without an exponent.
pub fn text_of(varnum: &[u8]) -> String {
    let length = usize::from(varnum[0]);
    if length <= 1 {
        return "0".into();
    }
    let (exponent, mut digits) = (i32::from(varnum[1]), &varnum[2..=length]);
    let is_positive = varnum[1] & 0x80 != 0;
    if !is_positive {
        digits = digits.strip_suffix(&[NEGATIVE_END]).unwrap_or(digits);
    }
    let exponent = if is_positive { exponent - 193 } else { 62 - exponent };
    let decimal: String = digits
        .iter()
        .map(|digit| {
            format!("{:02}", if is_positive { digit.wrapping_sub(1) } else { 101u8.wrapping_sub(*digit) })
        })
        .collect();
    // Where the decimal point belongs among the decimal digits.
    let point = (exponent + 1) * 2;
    let before = usize::try_from(point).unwrap_or_default();
    let (whole, fraction) = if before >= decimal.len() {
        (decimal.clone() + &"0".repeat(before - decimal.len()), String::new())
    } else {
        let zeros = usize::try_from(-point).unwrap_or_default();
        (decimal[..before].to_owned(), "0".repeat(zeros) + &decimal[before..])
    };
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let sign = if is_positive { "" } else { "-" };
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The reverse, for digits without an exponent. Digits beyond Oracle's forty are cut off.
pub fn varnum_of(text: &str) -> [u8; VARNUM_BYTES] {
    let mut varnum = [0; VARNUM_BYTES];
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let pad = |length: usize| if length % 2 == 1 { "0" } else { "" };
    let decimal = format!("{}{whole}{fraction}{}", pad(whole.len()), pad(fraction.len()));
    let mut exponent = whole.len().div_ceil(2) as i32 - 1;
    let pairs: Vec<u8> =
        decimal.as_bytes().chunks_exact(2).map(|pair| (pair[0] - b'0') * 10 + (pair[1] - b'0')).collect();
    let leading = pairs.iter().take_while(|pair| **pair == 0).count();
    exponent -= leading as i32;
    let mut digits = &pairs[leading..];
    while let [rest @ .., 0] = digits {
        digits = rest;
    }
    digits = &digits[..digits.len().min(DIGITS_MAX)];
    if digits.is_empty() {
        varnum[..2].copy_from_slice(&[1, ZERO]);
        return varnum;
    }
    varnum[1] = (if is_negative { 62 - exponent } else { exponent + 193 }) as u8;
    for (place, digit) in varnum[2..].iter_mut().zip(digits) {
        *place = if is_negative { 101 - digit } else { digit + 1 };
    }
    let mut length = 1 + digits.len();
    if is_negative && digits.len() < DIGITS_MAX {
        varnum[1 + length] = NEGATIVE_END;
        length += 1;
    }
    varnum[0] = length as u8;
    varnum
}

unsafe fn write(number: Pointer, text: &str) -> Status {
    let varnum = varnum_of(text);
    unsafe { number.cast::<u8>().copy_from_nonoverlapping(varnum.as_ptr(), VARNUM_BYTES) };
    oci::SUCCESS
}

unsafe fn read(number: *const u8) -> String {
    text_of(unsafe { slice::from_raw_parts(number, VARNUM_BYTES) })
}

/// ODPI-C converts between C's numbers of eight bytes and NUMBER with these four.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCINumberFromInt(
    _error: Pointer,
    value: *const i64,
    _size: u32,
    sign: u32,
    number: Pointer,
) -> Status {
    let value = unsafe { value.read_unaligned() };
    let text = if sign == 0 { value.cast_unsigned().to_string() } else { value.to_string() };
    unsafe { write(number, &text) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCINumberToInt(
    _error: Pointer,
    number: *const u8,
    _size: u32,
    sign: u32,
    value: *mut i64,
) -> Status {
    let text = unsafe { read(number) };
    let whole = text.split('.').next().unwrap_or_default();
    let found = if sign == 0 { whole.parse().map(u64::cast_signed) } else { whole.parse() };
    match found {
        Ok(found) => unsafe { value.write_unaligned(found) },
        Err(_) => return oci::ERROR,
    }
    oci::SUCCESS
}

/// A NUMBER keeps 15 digits of a double that is converted, as Oracle's own library does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCINumberFromReal(
    _error: Pointer,
    value: *const f64,
    _size: u32,
    number: Pointer,
) -> Status {
    let value = unsafe { value.read_unaligned() };
    if !value.is_finite() {
        return oci::ERROR;
    }
    let rounded: f64 = format!("{value:.14e}").parse().unwrap_or(value);
    unsafe { write(number, &format!("{rounded}")) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCINumberToReal(
    _error: Pointer,
    number: *const u8,
    _size: u32,
    value: *mut f64,
) -> Status {
    match unsafe { read(number) }.parse() {
        Ok(found) => unsafe { value.write_unaligned(found) },
        Err(_) => return oci::ERROR,
    }
    oci::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::{text_of, varnum_of};

    #[test]
    fn numbers_keep_all_their_digits() {
        let widest = "12345678901234567890123456789012345678";
        for text in
            ["0", "1", "-1", "100", "-100", "0.01", "-0.05", "99.99", "1234567.0001", "0.000123", widest]
        {
            assert_eq!(text_of(&varnum_of(text)), text);
            let negative = format!("-{}", text.trim_start_matches('-'));
            if text != "0" {
                assert_eq!(text_of(&varnum_of(&negative)), negative);
            }
        }
        assert_eq!(text_of(&varnum_of("007.10")), "7.1");
        assert_eq!(varnum_of("-5")[..4], [3, 62, 96, 102]);
    }
}
