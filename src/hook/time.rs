//! Dates and times in hooks. No function here reads a clock or knows a time zone: the same change always gives
//! the same row.

use std::cmp::Ordering;

use jiff::civil;
use rhai::{Engine, INT};

use super::error::{Outcome, Problem};
use crate::model::value::{Date, DateTime, Time, Timestamp};

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;
/// MySQL's longest TIME, 838:59:59.
const TIME_MICROS_MAX: i64 = (838 * 3600 + 59 * 60 + 59) * MICROS + 999_999;

/// Adds the four types with their operators and functions.
pub(super) fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Date>("DATE")
        .register_type_with_name::<DateTime>("DATETIME")
        .register_type_with_name::<Timestamp>("TIMESTAMP")
        .register_type_with_name::<Time>("TIME");
    ordered::<Date>(engine, "a DATE", "date(\"2024-01-31\")", Ord::cmp);
    ordered::<DateTime>(engine, "a DATETIME", "datetime(\"2024-01-31 12:00:00\")", |a, b| {
        instant(a).cmp(&instant(b))
    });
    ordered::<Timestamp>(engine, "a TIMESTAMP", "timestamp(\"2024-01-31 12:00:00\")", |a, b| {
        a.micros.cmp(&b.micros)
    });
    ordered::<Time>(engine, "a TIME", "time(\"12:00:00\")", |a, b| a.micros.cmp(&b.micros));
    engine
        .register_fn("date", |text: &str| parse_date(text).ok_or_else(|| unreadable("date", "2024-01-31")))
        .register_fn("date", |at: DateTime| at.date)
        .register_fn("datetime", |text: &str| {
            parse_datetime(text).ok_or_else(|| unreadable("datetime", "2024-01-31 12:00:00"))
        })
        .register_fn("datetime", midnight)
        .register_fn("datetime", |at: Timestamp| at.to_utc())
        .register_fn("timestamp", |text: &str| {
            parse_timestamp(text).ok_or_else(|| unreadable("timestamp", "2024-01-31 12:00:00"))
        })
        .register_fn("timestamp", |at: DateTime| of_datetime(at).ok_or_else(not_in_calendar))
        .register_fn("time", |text: &str| parse_time(text).ok_or_else(|| unreadable("time", "-12:00:00.5")));
    parts(engine);
    arithmetic(engine);
}

/// Reads `2024-01-31`, zero dates too; no date that the calendar lacks.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let date = Date {
        year: number(&bytes[..4])? as u16,
        month: number(&bytes[5..7])? as u8,
        day: number(&bytes[8..])? as u8,
    };
    match date {
        Date { month: 0..=12, day: 0..=31, .. } if date.is_zero() => Some(date),
        _ => civil_date(date).map(|_| date),
    }
}

/// Reads `2024-01-31 12:00:00.5`, with `T` for the blank too.
pub(crate) fn parse_datetime(text: &str) -> Option<DateTime> {
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes()[10], b' ' | b'T') {
        return None;
    }
    let date = parse_date(date)?;
    let (clock, micros, fsp) = split_fraction(time)?;
    let bytes = clock.as_bytes();
    if bytes.len() != 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(&bytes[..2])?, number(&bytes[3..5])?, number(&bytes[6..])?);
    let valid = hour < 24 && minute < 60 && second < 60;
    let (hour, minute, second) = (hour as u8, minute as u8, second as u8);
    valid.then_some(DateTime { date, hour, minute, second, micros, fsp })
}

/// Reads a moment given in UTC, as [`parse_datetime`] does; `Z` may follow.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    of_datetime(parse_datetime(text.strip_suffix('Z').unwrap_or(text))?)
}

/// Reads `-838:59:59.5`.
pub(crate) fn parse_time(text: &str) -> Option<Time> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (clock, micros, fsp) = split_fraction(text)?;
    let mut parts = clock.split(':');
    let hours = parts.next().filter(|part| part.len() <= 3).and_then(|part| number(part.as_bytes()))?;
    let mut sixtieth = || {
        let part = parts.next()?;
        number(part.as_bytes()).filter(|value| part.len() == 2 && *value < 60)
    };
    let (minutes, seconds) = (sixtieth()?, sixtieth()?);
    if parts.next().is_some() {
        return None;
    }
    let micros = i64::from(hours * 3600 + minutes * 60 + seconds) * MICROS + i64::from(micros);
    (micros <= TIME_MICROS_MAX).then_some(Time { micros: if negative { -micros } else { micros }, fsp })
}

/// The beginning of a day.
pub(super) fn midnight(date: Date) -> DateTime {
    DateTime { date, hour: 0, minute: 0, second: 0, micros: 0, fsp: 0 }
}

fn number(digits: &[u8]) -> Option<u32> {
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// `12:00:00.5` is `12:00:00`, 500,000 microseconds, 1 digit.
fn split_fraction(text: &str) -> Option<(&str, u32, u8)> {
    let Some((clock, fraction)) = text.split_once('.') else { return Some((text, 0, 0)) };
    let value = number(fraction.as_bytes()).filter(|_| fraction.len() <= 6)?;
    Some((clock, value * 10_u32.pow(6 - fraction.len() as u32), fraction.len() as u8))
}

pub(super) fn civil_date(date: Date) -> Option<civil::Date> {
    civil::Date::new(i16::try_from(date.year).ok()?, date.month as i8, date.day as i8).ok()
}

/// Days since 1970-01-01; `None` for zero dates.
fn day_number(date: Date) -> Option<i64> {
    let since = civil_date(date)?.duration_since(civil::date(1970, 1, 1));
    Some(since.as_secs() / DAY_SECONDS)
}

pub(super) fn of_datetime(at: DateTime) -> Option<Timestamp> {
    let seconds = day_number(at.date)? * DAY_SECONDS
        + i64::from(at.hour) * 3600
        + i64::from(at.minute) * 60
        + i64::from(at.second);
    Some(Timestamp { micros: Some(seconds * MICROS + i64::from(at.micros)), fsp: at.fsp })
}

/// What orders two datetimes; the number of shown digits does not.
fn instant(at: &DateTime) -> (Date, u8, u8, u8, u32) {
    (at.date, at.hour, at.minute, at.second, at.micros)
}

fn parts(engine: &mut Engine) {
    engine
        .register_get("year", |at: &mut Date| INT::from(at.year))
        .register_get("month", |at: &mut Date| INT::from(at.month))
        .register_get("day", |at: &mut Date| INT::from(at.day))
        .register_get("year", |at: &mut DateTime| INT::from(at.date.year))
        .register_get("month", |at: &mut DateTime| INT::from(at.date.month))
        .register_get("day", |at: &mut DateTime| INT::from(at.date.day))
        .register_get("hour", |at: &mut DateTime| INT::from(at.hour))
        .register_get("minute", |at: &mut DateTime| INT::from(at.minute))
        .register_get("second", |at: &mut DateTime| INT::from(at.second))
        .register_get("micros", |at: &mut DateTime| INT::from(at.micros))
        .register_get("date", |at: &mut DateTime| at.date)
        .register_get("year", |at: &mut Timestamp| INT::from(at.to_utc().date.year))
        .register_get("month", |at: &mut Timestamp| INT::from(at.to_utc().date.month))
        .register_get("day", |at: &mut Timestamp| INT::from(at.to_utc().date.day))
        .register_get("hour", |at: &mut Timestamp| INT::from(at.to_utc().hour))
        .register_get("minute", |at: &mut Timestamp| INT::from(at.to_utc().minute))
        .register_get("second", |at: &mut Timestamp| INT::from(at.to_utc().second))
        .register_get("micros", |at: &mut Timestamp| INT::from(at.to_utc().micros))
        .register_get("unix_ms", |at: &mut Timestamp| -> Outcome<INT> {
            Ok(at.micros.ok_or_else(not_in_calendar)?.div_euclid(1000))
        })
        .register_get("total_seconds", |at: &mut Time| at.micros / MICROS);
}

fn arithmetic(engine: &mut Engine) {
    engine
        .register_fn("add_days", |at: &mut Date, days: INT| add_days(*at, days))
        .register_fn("add_days", |at: &mut DateTime, days: INT| -> Outcome<DateTime> {
            Ok(DateTime { date: add_days(at.date, days)?, ..*at })
        })
        .register_fn("add_days", |at: &mut Timestamp, days: INT| {
            add_seconds(*at, days.checked_mul(DAY_SECONDS).ok_or_else(out_of_range)?)
        })
        .register_fn("add_seconds", |at: &mut DateTime, seconds: INT| -> Outcome<DateTime> {
            let moment = of_datetime(*at).ok_or_else(not_in_calendar)?;
            Ok(add_seconds(moment, seconds)?.to_utc())
        })
        .register_fn("add_seconds", |at: &mut Timestamp, seconds: INT| add_seconds(*at, seconds))
        .register_fn("diff_days", |a: Date, b: Date| -> Outcome<INT> {
            let (a, b) =
                (day_number(a).ok_or_else(not_in_calendar)?, day_number(b).ok_or_else(not_in_calendar)?);
            Ok(a - b)
        })
        .register_fn("diff_seconds", |a: DateTime, b: DateTime| -> Outcome<INT> {
            diff_seconds(
                of_datetime(a).ok_or_else(not_in_calendar)?,
                of_datetime(b).ok_or_else(not_in_calendar)?,
            )
        })
        .register_fn("diff_seconds", diff_seconds);
}

fn add_days(date: Date, days: INT) -> Outcome<Date> {
    let date = civil_date(date).ok_or_else(not_in_calendar)?;
    let span = jiff::Span::new().try_days(days).map_err(|_| out_of_range())?;
    let moved = date.checked_add(span).map_err(|_| out_of_range())?;
    let year = u16::try_from(moved.year()).map_err(|_| out_of_range())?;
    Ok(Date { year, month: moved.month() as u8, day: moved.day() as u8 })
}

fn add_seconds(at: Timestamp, seconds: INT) -> Outcome<Timestamp> {
    let micros = at.micros.ok_or_else(not_in_calendar)?;
    let moved = seconds.checked_mul(MICROS).and_then(|by| micros.checked_add(by)).ok_or_else(out_of_range)?;
    // 0000-01-01 to 9999-12-31.
    if !(-62_167_219_200 * MICROS..253_402_300_800 * MICROS).contains(&moved) {
        return Err(out_of_range());
    }
    Ok(Timestamp { micros: Some(moved), fsp: at.fsp })
}

fn diff_seconds(a: Timestamp, b: Timestamp) -> Outcome<INT> {
    let (a, b) = (a.micros.ok_or_else(not_in_calendar)?, b.micros.ok_or_else(not_in_calendar)?);
    Ok((a - b) / MICROS)
}

/// Comparisons, and the texts; comparing with a text is an error, as Rhai would answer `false`.
fn ordered<T>(engine: &mut Engine, what: &'static str, example: &'static str, cmp: fn(&T, &T) -> Ordering)
where
    T: rhai::Variant + Clone + std::fmt::Display,
{
    let text = move || -> Box<rhai::EvalAltResult> {
        Problem::new(format!("{what} cannot be compared with a text"))
            .advice(format!("write the constant as `{example}`"))
            .into()
    };
    type Holds = fn(Ordering) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("==", Ordering::is_eq),
        ("!=", Ordering::is_ne),
        ("<", Ordering::is_lt),
        ("<=", Ordering::is_le),
        (">", Ordering::is_gt),
        (">=", Ordering::is_ge),
    ];
    for (name, holds) in operators {
        engine
            .register_fn(name, move |a: T, b: T| holds(cmp(&a, &b)))
            .register_fn(name, move |_: T, _: &str| -> Outcome<bool> { Err(text()) })
            .register_fn(name, move |_: &str, _: T| -> Outcome<bool> { Err(text()) });
    }
    engine
        .register_fn("to_string", |at: &mut T| at.to_string())
        .register_fn("to_debug", |at: &mut T| at.to_string());
}

fn unreadable(what: &str, example: &str) -> Box<rhai::EvalAltResult> {
    Problem::new(format!("the text is no {what} such as `{example}`")).into()
}

pub(super) fn not_in_calendar() -> Box<rhai::EvalAltResult> {
    Problem::new("a zero date has no place in the calendar to count from")
        .advice("test for it first: `if row.born.month != 0 { … }`")
        .into()
}

pub(super) fn out_of_range() -> Box<rhai::EvalAltResult> {
    Problem::new("the result is outside of the years 0 to 9999").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in ["2024-02-29", "0000-00-00", "2020-00-00", "9999-12-31"] {
            assert_eq!(parse_date(text).unwrap().to_string(), text);
        }
        for text in ["2023-02-29", "2024-13-01", "24-01-01", "2024-1-01", "2024-01-011"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        for text in ["2024-02-29 23:59:59", "1969-12-31 23:59:59.999999", "0000-00-00 00:00:00.0"] {
            assert_eq!(parse_datetime(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_timestamp("1969-12-31 23:59:59.999999").unwrap().micros, Some(-1));
        for text in ["-838:59:59", "00:00:00.12", "-00:00:00.12", "100:01:02"] {
            assert_eq!(parse_time(text).unwrap().to_string(), text);
        }
        for text in ["839:00:00", "1:2:3", "", "-", "12:60:00", "12:00:00:00"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
