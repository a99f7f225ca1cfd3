//! Dates and times beyond what their types do themselves: formats, time zones, months, beginnings.

use jiff::civil;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use rhai::{Engine, INT};

use super::super::error::{Outcome, Problem};
use super::super::time::{civil_date, not_in_calendar, of_datetime, out_of_range};
use super::{Function, table};
use crate::model::value::{Date, DateTime, Timestamp};

pub(super) const FUNCTIONS: &[Function] = table! { Dates:
    "date", "date(text)\ndate(datetime)", "Reads `2024-01-31`, or gives the day of a DATETIME.", "date(\"2024-01-31\")" => "2024-01-31";
    "datetime", "datetime(text)\ndatetime(date)\ndatetime(timestamp)", "Reads `2024-01-31 12:00:00.5`, begins a day, or gives a moment in UTC.", "datetime(\"2024-01-31 12:00:00.5\")" => "2024-01-31 12:00:00.5";
    "timestamp", "timestamp(text)\ntimestamp(datetime)", "Reads a moment in UTC.", "timestamp(\"2024-01-31 12:00:00\").unix_ms" => "1706702400000";
    "timestamp_ms", "timestamp_ms(int)", "The moment so many milliseconds after 1970-01-01 UTC.", "timestamp_ms(1706702400500)" => "2024-01-31 12:00:00.500";
    "time", "time(text)", "Reads a time of day or a span, `-838:59:59.5`.", "time(\"12:30:00\").total_seconds" => "45000";
    "parse_date", "parse_date(text, format)", "Reads a date in a format.", "parse_date(\"31.1.2024\", \"%d.%m.%Y\")" => "2024-01-31";
    "parse_datetime", "parse_datetime(text, format)", "Reads a date with a time in a format.", "parse_datetime(\"01/31/2024 01:05 PM\", \"%m/%d/%Y %I:%M %p\")" => "2024-01-31 13:05:00";
    "parse_timestamp", "parse_timestamp(text, format)", "Reads a moment in a format that has an offset (`%z`) or seconds since 1970 (`%s`).", "parse_timestamp(\"2024-01-31 12:00 +0800\", \"%Y-%m-%d %H:%M %z\")" => "2024-01-31 04:00:00";
    "format", "at.format(format)", "Writes a DATE, DATETIME or TIMESTAMP in a format.", "date(\"2024-01-31\").format(\"%d %b %Y\")" => "31 Jan 2024";
    "to_zone", "timestamp.to_zone(zone)", "What clocks of a time zone show at a moment.", "timestamp(\"2024-07-01 12:00:00\").to_zone(\"Europe/Prague\")" => "2024-07-01 14:00:00";
    "from_zone", "datetime.from_zone(zone)", "The moment at which clocks of a time zone show this; the first one of two, and the one after a gap.", "datetime(\"2024-07-01 14:00:00\").from_zone(\"Europe/Prague\")" => "2024-07-01 12:00:00";
    "add_days", "at.add_days(int)", "So many days later; earlier with a negative number.", "date(\"2024-02-28\").add_days(2)" => "2024-03-01";
    "add_months", "at.add_months(int)", "So many months later; the last day of a month that has not that many.", "date(\"2024-01-31\").add_months(1)" => "2024-02-29";
    "add_seconds", "at.add_seconds(int)", "So many seconds later.", "datetime(\"2024-01-31 23:59:59\").add_seconds(1)" => "2024-02-01 00:00:00";
    "diff_days", "a.diff_days(b)", "Days from the DATE `b` to the DATE `a`.", "date(\"2024-03-01\").diff_days(date(\"2024-02-28\"))" => "2";
    "diff_seconds", "a.diff_seconds(b)", "Whole seconds from `b` to `a`.", "datetime(\"2024-01-02 00:00:00\").diff_seconds(datetime(\"2024-01-01 23:00:00\"))" => "3600";
    "truncate", "at.truncate(unit)", "The beginning of the `year`, `quarter`, `month`, `week` (Monday), `day`, `hour`, `minute` or `second`.", "datetime(\"2024-05-31 12:34:56\").truncate(\"quarter\")" => "2024-04-01 00:00:00";
    "weekday", "at.weekday", "The day of the week, from 1 for Monday to 7.", "date(\"2024-01-31\").weekday" => "3";
    "day_of_year", "at.day_of_year", "The number of the day in its year, from 1.", "date(\"2024-12-31\").day_of_year" => "366";
    "year", "at.year, at.month, at.day, at.hour, at.minute, at.second, at.micros", "The parts of a DATE, DATETIME or TIMESTAMP.", "date(\"2024-01-31\").month" => "1";
};

/// Bytes of a format.
const FORMAT_BYTES_MAX: usize = 256;

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_fn("timestamp_ms", |ms: INT| -> Outcome<Timestamp> {
            let at = jiff::Timestamp::from_millisecond(ms).map_err(|_| out_of_range())?;
            within_years(at)
        })
        .register_fn("parse_date", |text: &str, format: &str| -> Outcome<Date> {
            Ok(read(text, format, |format, text| civil::Date::strptime(format, text)).and_then(of_date)?)
        })
        .register_fn("parse_datetime", |text: &str, format: &str| -> Outcome<DateTime> {
            Ok(read(text, format, |format, text| civil::DateTime::strptime(format, text))
                .and_then(of_civil)?)
        })
        .register_fn("parse_timestamp", |text: &str, format: &str| -> Outcome<Timestamp> {
            within_years(read(text, format, |format, text| jiff::Timestamp::strptime(format, text))?)
        })
        .register_fn("format", |at: &mut Date, format: &str| -> Outcome<String> {
            written(format, civil_date(*at).ok_or_else(not_in_calendar)?.at(0, 0, 0, 0))
        })
        .register_fn("format", |at: &mut DateTime, format: &str| -> Outcome<String> {
            written(format, to_civil(*at)?)
        })
        .register_fn("format", |at: &mut Timestamp, format: &str| -> Outcome<String> {
            written(format, to_civil(at.to_utc())?)
        })
        .register_fn("to_zone", |at: &mut Timestamp, name: &str| -> Outcome<DateTime> {
            let moment = at.micros.ok_or_else(not_in_calendar)?;
            let moment = jiff::Timestamp::from_microsecond(moment).map_err(|_| out_of_range())?;
            let local = of_civil(zone(name)?.to_datetime(moment))?;
            Ok(DateTime { fsp: at.fsp, ..local })
        })
        .register_fn("from_zone", |at: &mut DateTime, name: &str| -> Outcome<Timestamp> {
            let moment = zone(name)?.to_ambiguous_timestamp(to_civil(*at)?).compatible();
            let moment = within_years(moment.map_err(|_| out_of_range())?)?;
            Ok(Timestamp { fsp: at.fsp, ..moment })
        });
    for_both(engine);
    parts(engine);
}

/// What moves DATE, DATETIME and TIMESTAMP alike.
fn for_both(engine: &mut Engine) {
    engine
        .register_fn("add_months", |at: &mut Date, months: INT| add_months(*at, months))
        .register_fn("add_months", |at: &mut DateTime, months: INT| -> Outcome<DateTime> {
            Ok(DateTime { date: add_months(at.date, months)?, ..*at })
        })
        .register_fn("add_months", |at: &mut Timestamp, months: INT| -> Outcome<Timestamp> {
            let utc = at.to_utc();
            moment(DateTime { date: add_months(utc.date, months)?, ..utc })
        })
        .register_fn("truncate", |at: &mut Date, unit: &str| truncate_date(*at, unit))
        .register_fn("truncate", |at: &mut DateTime, unit: &str| truncate(*at, unit))
        .register_fn("truncate", |at: &mut Timestamp, unit: &str| moment(truncate(at.to_utc(), unit)?));
}

fn parts(engine: &mut Engine) {
    fn weekday(date: Date) -> Outcome<INT> {
        let date = civil_date(date).ok_or_else(not_in_calendar)?;
        Ok(INT::from(date.weekday().to_monday_one_offset()))
    }
    fn day_of_year(date: Date) -> Outcome<INT> {
        Ok(INT::from(civil_date(date).ok_or_else(not_in_calendar)?.day_of_year()))
    }
    engine
        .register_get("weekday", |at: &mut Date| weekday(*at))
        .register_get("weekday", |at: &mut DateTime| weekday(at.date))
        .register_get("weekday", |at: &mut Timestamp| weekday(at.to_utc().date))
        .register_get("day_of_year", |at: &mut Date| day_of_year(*at))
        .register_get("day_of_year", |at: &mut DateTime| day_of_year(at.date))
        .register_get("day_of_year", |at: &mut Timestamp| day_of_year(at.to_utc().date));
}

/// Reads a text. The error shows the format alone, as the text may be a row's.
fn read<T>(
    text: &str,
    format: &str,
    strptime: fn(&str, &str) -> Result<T, jiff::Error>,
) -> Result<T, Problem> {
    let fits = (format.len() <= FORMAT_BYTES_MAX).then(|| strptime(format, text).ok()).flatten();
    fits.ok_or_else(|| Problem::new(format!("the text does not have the format `{}`", shown(format))))
}

fn written(format: &str, at: civil::DateTime) -> Outcome<String> {
    let text = if format.len() <= FORMAT_BYTES_MAX { strtime::format(format, at).ok() } else { None };
    text.ok_or_else(|| {
        Problem::new(format!("`{}` is no format for this", shown(format)))
            .advice("formats are those of strftime: `%Y-%m-%d %H:%M:%S`")
            .into()
    })
}

fn shown(format: &str) -> &str {
    &format[..format.floor_char_boundary(FORMAT_BYTES_MAX)]
}

fn zone(name: &str) -> Outcome<TimeZone> {
    TimeZone::get(name).map_err(|_| {
        Problem::new("there is no time zone of this name on this machine")
            .advice("name it as `Europe/Prague`; the package tzdata has them all")
            .into()
    })
}

fn add_months(date: Date, months: INT) -> Outcome<Date> {
    let date = civil_date(date).ok_or_else(not_in_calendar)?;
    let span = Span::new().try_months(months).map_err(|_| out_of_range())?;
    Ok(of_date(date.checked_add(span).map_err(|_| out_of_range())?)?)
}

fn truncate_date(date: Date, unit: &str) -> Outcome<Date> {
    let date = civil_date(date).ok_or_else(not_in_calendar)?;
    let begun = match unit {
        "year" => date.first_of_year(),
        "quarter" => civil::date(date.year(), (date.month() - 1) / 3 * 3 + 1, 1),
        "month" => date.first_of_month(),
        "week" => {
            let back = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(back.days()).map_err(|_| out_of_range())?
        }
        "day" => date,
        _ => {
            return Err(Problem::new("there is no such unit to cut a date down to")
                .advice("the units are year, quarter, month, week, day, hour, minute and second")
                .into());
        }
    };
    Ok(of_date(begun)?)
}

fn truncate(at: DateTime, unit: &str) -> Outcome<DateTime> {
    let DateTime { date, hour, minute, second, .. } = at;
    let (hour, minute, second) = match unit {
        "hour" => (hour, 0, 0),
        "minute" => (hour, minute, 0),
        "second" => (hour, minute, second),
        _ => {
            let date = truncate_date(date, unit)?;
            return Ok(DateTime { date, hour: 0, minute: 0, second: 0, micros: 0, fsp: 0 });
        }
    };
    Ok(DateTime { date, hour, minute, second, micros: 0, fsp: 0 })
}

fn to_civil(at: DateTime) -> Outcome<civil::DateTime> {
    let date = civil_date(at.date).ok_or_else(not_in_calendar)?;
    let time = civil::Time::new(at.hour as i8, at.minute as i8, at.second as i8, at.micros as i32 * 1000);
    Ok(date.to_datetime(time.map_err(|_| out_of_range())?))
}

fn of_date(date: civil::Date) -> Result<Date, Problem> {
    let year = u16::try_from(date.year())
        .map_err(|_| Problem::new("the result is outside of the years 0 to 9999"))?;
    Ok(Date { year, month: date.month() as u8, day: date.day() as u8 })
}

fn of_civil(at: civil::DateTime) -> Result<DateTime, Problem> {
    let micros = at.subsec_nanosecond() as u32 / 1000;
    Ok(DateTime {
        date: of_date(at.date())?,
        hour: at.hour() as u8,
        minute: at.minute() as u8,
        second: at.second() as u8,
        micros,
        fsp: digits(micros),
    })
}

fn moment(at: DateTime) -> Outcome<Timestamp> {
    of_datetime(at).ok_or_else(not_in_calendar)
}

fn within_years(at: jiff::Timestamp) -> Outcome<Timestamp> {
    let micros = at.as_microsecond();
    // 0000-01-01 to 9999-12-31.
    if !(-62_167_219_200_000_000..253_402_300_800_000_000).contains(&micros) {
        return Err(out_of_range());
    }
    Ok(Timestamp { micros: Some(micros), fsp: digits(micros.rem_euclid(1_000_000) as u32) })
}

/// Digits behind the second that show all of it.
fn digits(micros: u32) -> u8 {
    match micros {
        0 => 0,
        some if some.is_multiple_of(1000) => 3,
        _ => 6,
    }
}
