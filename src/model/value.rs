//! One value of a row.

use std::borrow::Cow;
use std::fmt;

/// A value, borrowed from the row that holds it wherever that is possible.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// Single precision; kept apart from `Double` so that its text stays short and exact.
    Float(f32),
    /// Double precision.
    Double(f64),
    /// Decimal digits with an optional leading `-`, and behind the point as many digits as the column's scale; fewer where a
    /// hook computed the value.
    Decimal(Cow<'a, str>),
    /// A bit field.
    Bit(u64),
    /// A year.
    Year(u16),
    /// A date.
    Date(Date),
    /// A date and time in no zone.
    DateTime(DateTime),
    /// A moment.
    Timestamp(Timestamp),
    /// A span of time.
    Time(Time),
    /// Text; also the label of an enum and the comma-joined labels of a set.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A JSON document as text.
    Json(Cow<'a, str>),
}

/// A date as the source has it, so also MySQL's zero dates (`0000-00-00`, `2020-00-00`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// A date and a time of day in no time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    /// The date, which may be a zero date.
    pub date: Date,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999.
    pub micros: u32,
    /// How many digits behind the second are shown, 0 to 6.
    pub fsp: u8,
}

/// A moment on the UTC time line, or MySQL's zero timestamp, which is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Microseconds since 1970-01-01 00:00:00 UTC; `None` is `0000-00-00 00:00:00`.
    pub micros: Option<i64>,
    /// How many digits behind the second are shown, 0 to 6.
    pub fsp: u8,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Microseconds, negative too.
    pub micros: i64,
    /// How many digits behind the second are shown, 0 to 6.
    pub fsp: u8,
}

impl Value<'_> {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The same value with its own storage.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(v) => Value::Bool(v),
            Value::Int(v) => Value::Int(v),
            Value::UInt(v) => Value::UInt(v),
            Value::Float(v) => Value::Float(v),
            Value::Double(v) => Value::Double(v),
            Value::Decimal(v) => Value::Decimal(Cow::Owned(v.into_owned())),
            Value::Bit(v) => Value::Bit(v),
            Value::Year(v) => Value::Year(v),
            Value::Date(v) => Value::Date(v),
            Value::DateTime(v) => Value::DateTime(v),
            Value::Timestamp(v) => Value::Timestamp(v),
            Value::Time(v) => Value::Time(v),
            Value::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
            Value::Bytes(v) => Value::Bytes(Cow::Owned(v.into_owned())),
            Value::Json(v) => Value::Json(Cow::Owned(v.into_owned())),
        }
    }
}

impl Date {
    /// Whether month or day is zero, so that no calendar has this date.
    pub fn is_zero(self) -> bool {
        self.month == 0 || self.day == 0
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:02}:{:02}:{:02}", self.date, self.hour, self.minute, self.second)?;
        write_fraction(f, self.micros, self.fsp)
    }
}

impl Timestamp {
    /// The moment as date and time in UTC; the zero timestamp gives the zero date.
    pub fn to_utc(self) -> DateTime {
        let Some(micros) = self.micros else {
            let date = Date { year: 0, month: 0, day: 0 };
            return DateTime { date, hour: 0, minute: 0, second: 0, micros: 0, fsp: self.fsp };
        };
        let seconds = micros.div_euclid(1_000_000);
        let of_day = seconds.rem_euclid(86_400) as u32;
        DateTime {
            date: date_of_days(seconds.div_euclid(86_400)),
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            micros: micros.rem_euclid(1_000_000) as u32,
            fsp: self.fsp,
        }
    }
}

/// Shown in UTC, without naming the zone, as MySQL does in a session whose zone is UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_utc().fmt(f)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros.unsigned_abs();
        let seconds = micros / 1_000_000;
        let sign = if self.micros < 0 { "-" } else { "" };
        write!(f, "{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        write_fraction(f, (micros % 1_000_000) as u32, self.fsp)
    }
}

fn write_fraction(f: &mut fmt::Formatter<'_>, micros: u32, fsp: u8) -> fmt::Result {
    match fsp {
        0 => Ok(()),
        fsp => {
            let fsp = fsp.min(6);
            let digits = micros / 10_u32.pow(6 - u32::from(fsp));
            write!(f, ".{digits:0width$}", width = usize::from(fsp))
        }
    }
}

/// The civil date of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn date_of_days(days: i64) -> Date {
    // Counted from 0000-03-01, a leap day is the last day of its year, and 400 years always have 146,097 days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year: year.clamp(0, 9999) as u16, month, day }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_utc() {
        for (micros, fsp, text) in [
            (0, 0, "1970-01-01 00:00:00"),
            (-1, 6, "1969-12-31 23:59:59.999999"),
            (951_782_400_000_000, 0, "2000-02-29 00:00:00"),
            (2_147_483_647_120_000, 3, "2038-01-19 03:14:07.120"),
        ] {
            assert_eq!(Timestamp { micros: Some(micros), fsp }.to_string(), text);
        }
        assert_eq!(Timestamp { micros: None, fsp: 1 }.to_string(), "0000-00-00 00:00:00.0");
    }

    #[test]
    fn spans_keep_their_sign_and_hours() {
        let longest = -(838 * 3600 + 59 * 60 + 59) * 1_000_000;
        assert_eq!(Time { micros: longest, fsp: 0 }.to_string(), "-838:59:59");
        assert_eq!(Time { micros: -120_000, fsp: 2 }.to_string(), "-00:00:00.12");
    }
}
