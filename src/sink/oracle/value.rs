//! Values on their way to Oracle, and its own rules for them: an empty text is NULL, and there is no zero date.

use std::borrow::Cow;
use std::collections::HashSet;

use oracle::SqlValue;
use oracle::sql_type::{IntervalDS, OracleType as BindType, Timestamp as Moment, ToSql};

use super::types::{OracleType, TEXT_BYTES_MAX, Unit, Zone};
use crate::model::schema::ColumnType;
use crate::model::value::{Date, DateTime, Value};

/// Largest buffer of a bound text in bytes; the driver sends longer ones piece by piece.
const BUFFER_BYTES_MAX: usize = 32_764;

/// A value as the driver takes it.
#[derive(Debug)]
pub(super) enum Cell<'a> {
    Null,
    /// Texts, and decimals as their digits: no digit is lost on the way through a double.
    Text(Cow<'a, str>),
    Int(i64),
    UInt(u64),
    Bytes(Cow<'a, [u8]>),
    Float(f32),
    Double(f64),
    Moment(Moment),
    Span(IntervalDS),
}

/// How a column is written.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The name in Oracle.
    pub name: String,
    /// The source's type.
    pub ty: ColumnType,
    /// Whether the source may have NULL.
    pub nullable: bool,
    /// The column's type in Oracle.
    pub oracle: OracleType,
    /// Whether it is part of the row's key.
    pub in_key: bool,
}

/// What becomes of the values that Oracle does not have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// In place of an empty text in a column that may not be NULL.
    pub empty_string: Option<String>,
    /// In place of a date that no calendar has; NULL without.
    pub zero_date: Option<Date>,
}

/// The characters that the database can keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Unicode,
    Latin1,
    /// Another one, of which only ASCII is sure to be a part.
    Ascii(String),
}

/// Warnings that were given, so that each is given once for a column.
#[derive(Default)]
pub(super) struct Notices(HashSet<(String, String, &'static str)>);

impl Notices {
    /// Warns once.
    pub fn warn(&mut self, table: &str, column: &str, what: &'static str) {
        if self.0.insert((table.to_owned(), column.to_owned(), what)) {
            tracing::warn!(table, column, "{what}");
        }
    }
}

/// Makes cells of the values of one table.
pub(super) struct Converter<'a> {
    pub table: &'a str,
    pub rules: &'a Rules,
    pub charset: &'a Charset,
    pub notices: &'a mut Notices,
}

impl Converter<'_> {
    /// The value as it is written to the column.
    ///
    /// # Errors
    /// Why the column cannot take it, without the value.
    pub fn cell<'v>(&mut self, value: Value<'v>, column: &Column) -> Result<Cell<'v>, String> {
        let wrong = || Err(format!("a {} cannot hold such a value", column.oracle));
        if value.is_null() {
            return Ok(Cell::Null);
        }
        match &column.oracle {
            OracleType::Varchar { .. } | OracleType::Char { .. } | OracleType::Clob => match text(value) {
                Some(text) => self.text(text, column),
                None => wrong(),
            },
            OracleType::Number { .. } | OracleType::Float => match value {
                Value::Bool(v) => Ok(Cell::UInt(v.into())),
                Value::Year(v) => Ok(Cell::UInt(v.into())),
                Value::UInt(v) | Value::Bit(v) => Ok(Cell::UInt(v)),
                Value::Int(v) => Ok(Cell::Int(v)),
                Value::Decimal(digits) => split_digits(digits).map(Cell::Text),
                Value::Float(v) => Ok(Cell::Text(Cow::Owned(format!("{v:e}")))),
                Value::Double(v) => Ok(Cell::Text(Cow::Owned(format!("{v:e}")))),
                _ => wrong(),
            },
            OracleType::BinaryFloat => match value {
                Value::Float(v) => Ok(Cell::Float(v)),
                value => match double(&value) {
                    Some(v) => Ok(Cell::Float(v as f32)),
                    None => wrong(),
                },
            },
            OracleType::BinaryDouble => match double(&value) {
                Some(v) => Ok(Cell::Double(v)),
                None => wrong(),
            },
            OracleType::Date | OracleType::Timestamp { .. } => match value {
                Value::Date(date) => self.moment(midnight(date), column),
                Value::DateTime(at) => self.moment(at, column),
                Value::Timestamp(at) => self.moment(at.to_utc(), column),
                _ => wrong(),
            },
            OracleType::Interval { .. } => match value {
                Value::Time(span) => interval(span.micros).map(Cell::Span),
                _ => wrong(),
            },
            OracleType::Raw { bytes } => match value {
                Value::Bytes(data) if data.len() > *bytes as usize => {
                    Err(format!("it has {} bytes, and the column ends at {bytes}", data.len()))
                }
                Value::Bytes(data) => self.bytes(data, column),
                _ => wrong(),
            },
            OracleType::Blob => match value {
                Value::Bytes(data) => self.bytes(data, column),
                _ => wrong(),
            },
            OracleType::Other(_) => wrong(),
        }
    }

    fn text<'v>(&mut self, text: Cow<'v, str>, column: &Column) -> Result<Cell<'v>, String> {
        if text.is_empty() {
            return match &self.rules.empty_string {
                _ if column.in_key => Err("an empty text is NULL in Oracle, which a key cannot hold".into()),
                Some(instead) if !column.nullable => Ok(Cell::Text(Cow::Owned(instead.clone()))),
                _ => {
                    let what = "an empty text becomes NULL, as Oracle has no empty text; empty_string sets another \
                                value for columns that may not be NULL at the source";
                    self.notices.warn(self.table, &column.name, what);
                    Ok(Cell::Null)
                }
            };
        }
        if !text.is_ascii() {
            let fits = match self.charset {
                Charset::Unicode => true,
                Charset::Latin1 => text.chars().all(|character| character <= '\u{FF}'),
                Charset::Ascii(_) => false,
            };
            if !fits {
                return Err("it has characters that the database's character set cannot keep".into());
            }
        }
        if let OracleType::Varchar { length, unit } | OracleType::Char { length, unit } = &column.oracle {
            let (has, unit) = match unit {
                Unit::Bytes => (text.len(), "bytes"),
                Unit::Characters => (text.chars().count(), "characters"),
            };
            if has > *length as usize || text.len() > BUFFER_BYTES_MAX {
                return Err(format!("it has {has} {unit}, and the column ends at {length}"));
            }
        }
        Ok(Cell::Text(text))
    }

    fn bytes<'v>(&mut self, data: Cow<'v, [u8]>, column: &Column) -> Result<Cell<'v>, String> {
        let data = match column.ty {
            ColumnType::Geometry => self.well_known(data, column)?,
            _ => data,
        };
        if !data.is_empty() {
            return Ok(Cell::Bytes(data));
        }
        if column.in_key {
            return Err("empty bytes are NULL in Oracle, which a key cannot hold".into());
        }
        let what = "empty bytes become NULL, as Oracle has no empty ones";
        self.notices.warn(self.table, &column.name, what);
        Ok(Cell::Null)
    }

    /// Well-known binary, without the number of the reference system before it.
    fn well_known<'v>(&mut self, data: Cow<'v, [u8]>, column: &Column) -> Result<Cow<'v, [u8]>, String> {
        let Some(srid) = data.first_chunk::<4>() else { return Err("it is no geometry".into()) };
        if *srid != [0; 4] {
            let what = "the geometry is written as well-known binary, without the number of its reference system (SRID)";
            self.notices.warn(self.table, &column.name, what);
        }
        Ok(match data {
            Cow::Borrowed(data) => Cow::Borrowed(&data[4..]),
            Cow::Owned(mut data) => Cow::Owned(data.split_off(4)),
        })
    }

    fn moment(&mut self, at: DateTime, column: &Column) -> Result<Cell<'static>, String> {
        let date = at.date;
        // Oracle's calendar has no year 0.
        if date.year >= 1 && date.month >= 1 && date.day >= 1 && date.day <= days_in(date.year, date.month) {
            return moment(at, column);
        }
        if let Some(instead) = self.rules.zero_date {
            let what = "dates that no calendar has become the value of zero_date";
            self.notices.warn(self.table, &column.name, what);
            return moment(midnight(instead), column);
        }
        if column.in_key {
            return Err("a date that no calendar has is NULL in Oracle, which a key cannot hold".into());
        }
        let what =
            "dates that no calendar has, such as 0000-00-00, become NULL; zero_date sets another value";
        self.notices.warn(self.table, &column.name, what);
        Ok(Cell::Null)
    }
}

impl ToSql for Cell<'_> {
    fn oratype(&self, _conn: &oracle::Connection) -> oracle::Result<BindType> {
        // Asked for only where a text outgrows its buffer.
        Ok(match self {
            Cell::Null => BindType::Varchar2(1),
            Cell::Text(text) => BindType::Varchar2(text.len() as u32),
            Cell::Bytes(bytes) => BindType::Raw(bytes.len() as u32),
            Cell::Int(_) | Cell::UInt(_) => BindType::Number(0, 0),
            Cell::Float(_) => BindType::BinaryFloat,
            Cell::Double(_) => BindType::BinaryDouble,
            Cell::Moment(_) => BindType::TimestampTZ(9),
            Cell::Span(_) => BindType::IntervalDS(9, 9),
        })
    }

    fn to_sql(&self, place: &mut SqlValue<'_>) -> oracle::Result<()> {
        match self {
            Cell::Null => place.set_null(),
            Cell::Text(text) => place.set(&text.as_ref()),
            Cell::Bytes(bytes) => place.set(&bytes.as_ref()),
            Cell::Int(number) => place.set(number),
            Cell::UInt(number) => place.set(number),
            Cell::Float(number) => place.set(number),
            Cell::Double(number) => place.set(number),
            Cell::Moment(at) => place.set(at),
            Cell::Span(span) => place.set(span),
        }
    }
}

impl Cell<'_> {
    /// Bytes of a text or of bytes.
    pub fn len(&self) -> usize {
        match self {
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Cell::Null)
    }
}

/// The type to bind as, for values of at most so many bytes. Plain Rust texts would be bound as NVARCHAR2, and the index of a VARCHAR2
/// column not be used. Lengths are few, since each makes a cursor of its own at the server.
pub(super) fn bind_type(ty: &OracleType, bytes: usize) -> BindType {
    let length = [32, 128, 2000, TEXT_BYTES_MAX as usize, BUFFER_BYTES_MAX]
        .into_iter()
        .find(|length| bytes <= *length)
        .unwrap_or(BUFFER_BYTES_MAX);
    // The driver takes lengths as characters of four bytes.
    let characters = (length / 4) as u32;
    match ty {
        OracleType::Number { .. } | OracleType::Float => BindType::Number(0, 0),
        OracleType::BinaryFloat => BindType::BinaryFloat,
        OracleType::BinaryDouble => BindType::BinaryDouble,
        OracleType::Date => BindType::Date,
        OracleType::Timestamp { zone: Zone::None, .. } => BindType::Timestamp(9),
        OracleType::Timestamp { zone: Zone::Stored, .. } => BindType::TimestampTZ(9),
        OracleType::Timestamp { zone: Zone::Session, .. } => BindType::TimestampLTZ(9),
        OracleType::Interval { .. } => BindType::IntervalDS(9, 9),
        OracleType::Char { .. } => BindType::Char(characters),
        OracleType::Varchar { .. } | OracleType::Other(_) => BindType::Varchar2(characters),
        OracleType::Raw { .. } => BindType::Raw(length as u32),
        OracleType::Clob => BindType::Long,
        OracleType::Blob => BindType::LongRaw,
    }
}

/// Bytes that a bound value takes in the driver's buffer, about.
pub(super) fn buffer_bytes(ty: &BindType) -> usize {
    match ty {
        BindType::Varchar2(characters) | BindType::Char(characters) => *characters as usize * 4,
        BindType::Raw(bytes) => *bytes as usize,
        BindType::Number(..) => 180,
        _ => 64,
    }
}

/// A value as text, as the source writes it.
fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Text(text) | Value::Json(text) | Value::Decimal(text) => text,
        Value::Bool(v) => Cow::Borrowed(if v { "1" } else { "0" }),
        Value::Int(v) => Cow::Owned(v.to_string()),
        Value::UInt(v) | Value::Bit(v) => Cow::Owned(v.to_string()),
        Value::Year(v) => Cow::Owned(v.to_string()),
        Value::Float(v) => Cow::Owned(ryu::Buffer::new().format(v).to_owned()),
        Value::Double(v) => Cow::Owned(ryu::Buffer::new().format(v).to_owned()),
        Value::Date(v) => Cow::Owned(v.to_string()),
        Value::DateTime(v) => Cow::Owned(v.to_string()),
        Value::Timestamp(v) => Cow::Owned(v.to_string()),
        Value::Time(v) => Cow::Owned(v.to_string()),
        Value::Null | Value::Bytes(_) => return None,
    })
}

/// Digits in a row that the driver's own look at a number can add up in 64 bits. Above that a build with checks for
/// overflows panics, though the sum is not used.
const DIGITS_IN_A_ROW_MAX: usize = 18;
/// Digits of a NUMBER.
const DIGITS_MAX: usize = 38;

/// The same number with at most so many digits on either side of the point, and an exponent that sets it right.
fn split_digits(number: Cow<'_, str>) -> Result<Cow<'_, str>, String> {
    let (sign, rest) = match number.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", number.as_ref()),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    if whole.len() <= DIGITS_IN_A_ROW_MAX && fraction.len() <= DIGITS_IN_A_ROW_MAX {
        return Ok(number);
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    // The last digit is worth ten to this power.
    let mut exponent = -(fraction.len() as i32);
    let kept = digits.trim_end_matches('0');
    exponent += (digits.len() - kept.len()) as i32;
    if kept.len() > DIGITS_MAX {
        return Err(format!("it has {} digits, and NUMBER ends at {DIGITS_MAX}", kept.len()));
    }
    if kept.len() > 2 * DIGITS_IN_A_ROW_MAX {
        return Ok(number);
    }
    let (before, behind) = kept.split_at(kept.len().min(DIGITS_IN_A_ROW_MAX));
    exponent += behind.len() as i32;
    Ok(Cow::Owned(match (before, behind) {
        ("", _) => "0".to_owned(),
        (before, "") => format!("{sign}{before}e{exponent}"),
        (before, behind) => format!("{sign}{before}.{behind}e{exponent}"),
    }))
}

fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float(v) => Some(f64::from(*v)),
        Value::Double(v) => Some(*v),
        Value::Bool(v) => Some(f64::from(u8::from(*v))),
        Value::Int(v) => Some(*v as f64),
        Value::UInt(v) | Value::Bit(v) => Some(*v as f64),
        Value::Year(v) => Some(f64::from(*v)),
        Value::Decimal(v) => v.parse().ok(),
        _ => None,
    }
}

fn midnight(date: Date) -> DateTime {
    DateTime { date, hour: 0, minute: 0, second: 0, micros: 0, fsp: 0 }
}

fn moment(at: DateTime, column: &Column) -> Result<Cell<'static>, String> {
    let nanos = at.micros * 1000;
    let date = at.date;
    let made = Moment::new(
        i32::from(date.year),
        u32::from(date.month),
        u32::from(date.day),
        u32::from(at.hour),
        u32::from(at.minute),
        u32::from(at.second),
        if column.oracle == OracleType::Date { 0 } else { nanos },
    );
    made.and_then(|at| at.and_tz_offset(0)).map(Cell::Moment).map_err(|error| error.to_string())
}

fn interval(micros: i64) -> Result<IntervalDS, String> {
    let part = |unit: i64, of: i64| (micros / unit % of) as i32;
    const SECOND: i64 = 1_000_000;
    let days = (micros / (86_400 * SECOND)) as i32;
    let nanos = (micros % SECOND) as i32 * 1000;
    IntervalDS::new(days, part(3600 * SECOND, 24), part(60 * SECOND, 60), part(SECOND, 60), nanos)
        .map_err(|error| error.to_string())
}

/// Days of a month, in the calendar that goes on before its beginning.
pub(super) fn days_in(year: u16, month: u8) -> u8 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::{Time, Timestamp};

    fn shown(value: Value<'_>, ty: ColumnType, declared: &str, nullable: bool, rules: &Rules) -> String {
        let column = Column {
            name: "C".into(),
            ty,
            nullable,
            oracle: OracleType::parse(declared).unwrap(),
            in_key: false,
        };
        let mut notices = Notices::default();
        let mut converter = Converter { table: "T", rules, charset: &Charset::Latin1, notices: &mut notices };
        match converter.cell(value, &column) {
            Ok(Cell::Null) => "NULL".into(),
            Ok(Cell::Text(text)) => text.into_owned(),
            Ok(Cell::Moment(at)) => at.to_string(),
            Ok(Cell::Span(span)) => span.to_string(),
            Ok(other) => format!("{other:?}"),
            Err(why) => format!("! {why}"),
        }
    }

    #[test]
    fn oracles_rules_are_kept() {
        let none = Rules::default();
        let rules =
            Rules { empty_string: Some("-".into()), zero_date: Some(Date { year: 1970, month: 1, day: 1 }) };
        let varchar = || ColumnType::VarChar { chars: 5 };
        let text = |text: &'static str| Value::Text(text.into());
        let zero = Date { year: 2020, month: 0, day: 0 };
        for (value, ty, declared, nullable, rules, expected) in [
            (text(""), varchar(), "VARCHAR2(5 CHAR)", false, &none, "NULL"),
            (text(""), varchar(), "VARCHAR2(5 CHAR)", false, &rules, "-"),
            (text(""), varchar(), "VARCHAR2(5 CHAR)", true, &rules, "NULL"),
            (text("éa"), varchar(), "VARCHAR2(2 CHAR)", true, &none, "éa"),
            (text("éa"), varchar(), "VARCHAR2(2)", true, &none, "! it has 3 bytes, and the column ends at 2"),
            (
                text("日"),
                varchar(),
                "CLOB",
                true,
                &none,
                "! it has characters that the database's character set cannot keep",
            ),
            (Value::Date(zero), ColumnType::Date, "DATE", true, &none, "NULL"),
            (Value::Date(zero), ColumnType::Date, "VARCHAR2(10)", true, &none, "2020-00-00"),
            (
                Value::Date(zero),
                ColumnType::Date,
                "DATE",
                true,
                &rules,
                "1970-01-01 00:00:00.000000000 +00:00",
            ),
            (
                Value::Timestamp(Timestamp { micros: Some(-1), fsp: 6 }),
                ColumnType::Timestamp { fsp: 6 },
                "TIMESTAMP(6)",
                true,
                &none,
                "1969-12-31 23:59:59.999999000 +00:00",
            ),
            (
                Value::Time(Time { micros: -3_020_399_000_001, fsp: 6 }),
                ColumnType::Time { fsp: 6 },
                "INTERVAL DAY(2) TO SECOND(6)",
                true,
                &none,
                "-000000034 22:59:59.000001000",
            ),
            (
                Value::Decimal("-0.10".into()),
                ColumnType::Decimal { precision: 5, scale: 2, unsigned: false },
                "NUMBER(5,2)",
                true,
                &none,
                "-0.10",
            ),
            (Value::UInt(u64::MAX), varchar(), "NUMBER(20)", true, &none, "UInt(18446744073709551615)"),
            (text("x"), varchar(), "NUMBER(20)", true, &none, "! a NUMBER(20) cannot hold such a value"),
        ] {
            assert_eq!(shown(value.clone(), ty, declared, nullable, rules), expected, "{value:?}");
        }
    }

    #[test]
    fn long_numbers_keep_every_digit() {
        for (number, split) in [
            ("-0.10", "-0.10"),
            ("18446744073709551615", "184467440737095516.15e2"),
            ("1234567890123456789012345678.01234567", "123456789012345678.901234567801234567e10"),
            ("1234567890123456789012345678.0123456789", "1234567890123456789012345678.0123456789"),
            ("-0.00000000000000000000000000000000000001", "-1e-38"),
            ("100000000000000000000000", "1e23"),
            ("00000000000000000000.00", "0"),
        ] {
            assert_eq!(split_digits(number.into()).as_deref(), Ok(split));
        }
        assert!(split_digits("123456789012345678901234567890123456789".into()).is_err());
    }

    #[test]
    fn a_calendar_has_its_days() {
        assert_eq!(
            [days_in(2023, 2), days_in(2024, 2), days_in(1900, 2), days_in(2000, 2), days_in(1, 0)],
            [28, 29, 28, 29, 0]
        );
    }
}
