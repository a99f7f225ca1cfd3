//! Dates and times of rows: big-endian packed fields with the fraction behind them.

use super::event::{Flaw, Reader};
use crate::model::value::{Date, DateTime};

/// DATE: 3 bytes, little endian.
#[inline]
pub(crate) fn date(input: &mut Reader<'_>) -> Result<Date, Flaw> {
    let packed = input.uint(3)? as u32;
    let date = Date { year: (packed >> 9) as u16, month: (packed >> 5 & 15) as u8, day: (packed & 31) as u8 };
    if date.month > 12 || date.year > 9999 { Err(Flaw::Temporal) } else { Ok(date) }
}

/// DATETIME(fsp): 5 bytes, then the fraction.
#[inline]
pub(crate) fn datetime(input: &mut Reader<'_>, fsp: u8) -> Result<DateTime, Flaw> {
    let whole = input.uint_be(5)?.checked_sub(0x80_0000_0000).ok_or(Flaw::Temporal)?;
    let micros = fraction(input, fsp)?;
    unpack_datetime(whole, micros, fsp)
}

/// TIMESTAMP(fsp): 4 bytes of seconds, then the fraction; microseconds since 1970, `None` for the zero timestamp.
#[inline]
pub(crate) fn timestamp(input: &mut Reader<'_>, fsp: u8) -> Result<Option<i64>, Flaw> {
    let seconds = input.uint_be(4)? as i64;
    let micros = fraction(input, fsp)?;
    if micros > 999_999 {
        return Err(Flaw::Temporal);
    }
    Ok((seconds != 0 || micros != 0).then_some(seconds * 1_000_000 + i64::from(micros)))
}

/// TIME(fsp): 3 bytes, then the fraction. A negative time is the two's complement of whole and fraction together.
#[inline]
pub(crate) fn time(input: &mut Reader<'_>, fsp: u8) -> Result<i64, Flaw> {
    let whole = input.uint_be(3)? as i64 - 0x80_0000;
    let bytes = fraction_bytes(fsp);
    let fraction = input.uint_be(bytes)? as i64;
    let stored = (whole << (8 * bytes)) + fraction;
    let (sign, stored) = if stored < 0 { (-1, -stored) } else { (1, stored) };
    let packed = stored >> (8 * bytes);
    let micros = (stored & ((1 << (8 * bytes)) - 1)) * fraction_unit(bytes);
    Ok(sign * clock_micros(packed, micros)?)
}

/// A DATETIME as JSON keeps it: the same fields in one number, the fraction in its lowest 24 bits.
pub(crate) fn datetime_of_packed(packed: i64) -> Result<DateTime, Flaw> {
    let packed = u64::try_from(packed).map_err(|_| Flaw::Temporal)?;
    unpack_datetime(packed >> 24, (packed & 0xFF_FFFF) as u32, 6)
}

/// A TIME as JSON keeps it, in microseconds.
pub(crate) fn time_of_packed(packed: i64) -> Result<i64, Flaw> {
    let size = i64::try_from(packed.unsigned_abs()).map_err(|_| Flaw::Temporal)?;
    Ok(packed.signum() * clock_micros(size >> 24, size & 0xFF_FFFF)?)
}

#[inline]
fn unpack_datetime(whole: u64, micros: u32, fsp: u8) -> Result<DateTime, Flaw> {
    let (days, clock) = (whole >> 17, whole & 0x1_FFFF);
    let months = days >> 5;
    let at = DateTime {
        date: Date { year: (months / 13) as u16, month: (months % 13) as u8, day: (days & 31) as u8 },
        hour: (clock >> 12) as u8,
        minute: (clock >> 6 & 63) as u8,
        second: (clock & 63) as u8,
        micros,
        fsp,
    };
    if months / 13 > 9999 || at.hour > 23 || at.minute > 59 || at.second > 59 || micros > 999_999 {
        return Err(Flaw::Temporal);
    }
    Ok(at)
}

#[inline]
fn clock_micros(packed: i64, micros: i64) -> Result<i64, Flaw> {
    let (hour, minute, second) = (packed >> 12 & 0x3FF, packed >> 6 & 63, packed & 63);
    if hour > 838 || minute > 59 || second > 59 || micros > 999_999 {
        return Err(Flaw::Temporal);
    }
    Ok((hour * 3600 + minute * 60 + second) * 1_000_000 + micros)
}

#[inline]
fn fraction(input: &mut Reader<'_>, fsp: u8) -> Result<u32, Flaw> {
    let bytes = fraction_bytes(fsp);
    Ok((input.uint_be(bytes)? as i64 * fraction_unit(bytes)) as u32)
}

#[inline]
fn fraction_bytes(fsp: u8) -> usize {
    usize::from(fsp.min(6)).div_ceil(2)
}

/// How many microseconds the lowest bit of a fraction of so many bytes stands for.
#[inline]
fn fraction_unit(bytes: usize) -> i64 {
    match bytes {
        1 => 10_000,
        2 => 100,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Time;

    #[test]
    fn negative_times_borrow_from_the_whole_part() {
        for (bytes, fsp, text) in [
            (&[0x7F, 0xFF, 0xFF, 0xF4][..], 2, "-00:00:00.12"),
            (&[0x80, 0x00, 0x00], 0, "00:00:00"),
            (&[0x7F, 0xFF, 0xFF], 0, "-00:00:01"),
            (&[0x4B, 0x91, 0x05], 0, "-838:59:59"),
            (&[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 6, "-00:00:00.000001"),
        ] {
            let micros = time(&mut Reader(bytes), fsp).unwrap();
            assert_eq!(Time { micros, fsp }.to_string(), text);
        }
    }
}
