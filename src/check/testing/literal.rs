//! Values as a test writes them: how they are read, which column holds them, when two are the same.

use std::borrow::Cow;
use std::str::FromStr;

use bigdecimal::BigDecimal;

use crate::hook::{parse_date, parse_datetime, parse_time, parse_timestamp};
use crate::lang::ast::{Call, Number, Setting, Spanned, Value as Written};
use crate::model::schema::ColumnType;
use crate::model::value::{DateTime, Time, Timestamp, Value};

/// What a test says of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// It has this value. A number with a point is a decimal, JSON is text.
    Value(Value<'static>),
    /// It is not there, which is not NULL.
    Absent,
}

/// How values are written, for advice.
pub(super) const WAYS: &str = "write a number, \"text\", null, true, false, absent, [lists] and { blocks } for JSON, or one of \
     date(\"2026-01-31\"), datetime(\"2026-01-31 12:00:00\"), timestamp(\"2026-01-31 12:00:00\"), time(\"12:00:00\"), \
     decimal(\"1.50\"), float(0.1), year(2026), bytes(\"00ff\"), json(\"…\")";

/// Reads a value; what is wrong with it, otherwise.
pub(super) fn read(written: &Written) -> Result<Cell, String> {
    Ok(Cell::Value(match written {
        Written::Number(number) => whole_or_decimal(number)?,
        Written::Text(text) => Value::Text(Cow::Owned(text.clone())),
        Written::Word(word) => match word.as_str() {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "absent" => return Ok(Cell::Absent),
            _ => return Err(format!("`{word}` is no value; a text stands in quotes")),
        },
        Written::Call(call) => called(call)?,
        Written::List(_) | Written::Block(_) => Value::Json(Cow::Owned(json(written)?.to_string())),
        Written::Tables(_) | Written::Variable(_) | Written::Hole => {
            return Err("this is not a value of a row".to_owned());
        }
    }))
}

fn whole_or_decimal(number: &Number) -> Result<Value<'static>, String> {
    if !number.unit.is_empty() {
        return Err(format!("`{number}` has a unit, and a column has none"));
    }
    let digits = &number.digits;
    Ok(match (digits.parse(), digits.parse()) {
        (Ok(signed), _) => Value::Int(signed),
        (_, Ok(unsigned)) => Value::UInt(unsigned),
        _ => Value::Decimal(Cow::Owned(digits.clone())),
    })
}

fn called(call: &Call) -> Result<Value<'static>, String> {
    let function = call.function.as_str();
    let [argument] = call.arguments.as_slice() else {
        return Err(format!("`{function}` takes one value"));
    };
    let text = match &argument.node {
        Written::Text(text) => text.clone(),
        Written::Number(number) if number.unit.is_empty() => number.digits.clone(),
        _ => return Err(format!("`{function}` takes a text or a number")),
    };
    let read = match function {
        "date" => parse_date(&text).map(Value::Date),
        "datetime" => parse_datetime(&text).map(Value::DateTime),
        "timestamp" => parse_timestamp(&text).map(Value::Timestamp),
        "time" => parse_time(&text).map(Value::Time),
        "year" => text.parse().ok().map(Value::Year),
        "float" => text.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Double),
        "bytes" => hex(&text).map(|bytes| Value::Bytes(Cow::Owned(bytes))),
        "decimal" => plain_decimal(&text).map(|_| Value::Decimal(Cow::Owned(text.clone()))),
        "json" => parse_json(&text).map(|_| Value::Json(Cow::Owned(text.clone()))),
        _ => return Err(format!("there is no way `{function}` to write a value")),
    };
    read.ok_or_else(|| format!("\"{text}\" is no {function}"))
}

fn json(written: &Written) -> Result<serde_json::Value, String> {
    let list =
        |values: &[Spanned<Written>]| values.iter().map(|value| json(value)).collect::<Result<_, String>>();
    let pair = |setting: &Setting| Ok((setting.key.node.clone(), json(&setting.value)?));
    Ok(match written {
        Written::Block(settings) => {
            serde_json::Value::Object(settings.iter().map(pair).collect::<Result<_, String>>()?)
        }
        Written::List(values) => serde_json::Value::Array(list(values)?),
        Written::Text(text) => serde_json::Value::String(text.clone()),
        Written::Number(number) if number.unit.is_empty() => {
            serde_json::from_str(&number.digits).map_err(|_| format!("`{number}` is no number of JSON"))?
        }
        Written::Word(word) if word == "null" => serde_json::Value::Null,
        Written::Word(word) if word == "true" => true.into(),
        Written::Word(word) if word == "false" => false.into(),
        _ => return Err("JSON has texts, numbers, true, false, null, lists and blocks".to_owned()),
    })
}

fn parse_json(text: &str) -> Option<serde_json::Value> {
    serde_json::from_str(text).ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

/// Digits with at most one point; an exponent would let a short text stand for a huge number.
fn plain_decimal(text: &str) -> Option<BigDecimal> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    if plain { BigDecimal::from_str(text).ok() } else { None }
}

/// The value as a column of this type holds it; `None` where it does not fit exactly.
pub(crate) fn fit(value: &Value<'_>, ty: &ColumnType) -> Option<Value<'static>> {
    let value = value.clone().into_owned();
    if value.is_null() {
        return Some(value);
    }
    let whole = || {
        let number = plain_number(&value)?;
        let whole = number.with_scale(0);
        if whole == number { i128::from_str(&whole.to_plain_string()).ok() } else { None }
    };
    Some(match (ty, &value) {
        (ColumnType::Bool, Value::Bool(_)) => value,
        (ColumnType::Int { .. }, _) => match (i64::try_from(whole()?), u64::try_from(whole()?)) {
            (Ok(signed), _) => Value::Int(signed),
            (_, Ok(unsigned)) => Value::UInt(unsigned),
            _ => return None,
        },
        (ColumnType::Bit { width }, _) => {
            let bits = u64::try_from(whole()?).ok()?;
            (*width >= 64 || bits >> width == 0).then_some(Value::Bit(bits))?
        }
        (ColumnType::Year, _) => Value::Year(u16::try_from(whole()?).ok()?),
        (ColumnType::Decimal { precision, scale, unsigned }, _) => {
            let number = plain_number(&value)?;
            let scaled = number.with_scale(i64::from(*scale));
            let digits = scaled.as_bigint_and_exponent().0.magnitude().to_string();
            let fits = scaled == number
                && digits.trim_start_matches('0').len() <= usize::from(*precision)
                && !(*unsigned && number < 0);
            fits.then(|| Value::Decimal(Cow::Owned(scaled.to_plain_string())))?
        }
        (ColumnType::Float, Value::Float(_)) | (ColumnType::Double, Value::Double(_)) => value,
        (ColumnType::Float, _) => Value::Float(plain_number(&value)?.to_string().parse().ok()?),
        (ColumnType::Double, _) => Value::Double(plain_number(&value)?.to_string().parse().ok()?),
        (ColumnType::Date, Value::Date(_)) => value,
        (ColumnType::Date, Value::Text(text)) => Value::Date(parse_date(text)?),
        (ColumnType::DateTime { fsp }, _) => {
            let at = match &value {
                Value::DateTime(at) => *at,
                Value::Text(text) => parse_datetime(text)?,
                _ => return None,
            };
            fits_fsp(i64::from(at.micros), *fsp).then_some(Value::DateTime(DateTime { fsp: *fsp, ..at }))?
        }
        (ColumnType::Timestamp { fsp }, _) => {
            let at = match &value {
                Value::Timestamp(at) => *at,
                Value::Text(text) if text.starts_with("0000-00-00") => Timestamp { micros: None, fsp: *fsp },
                Value::Text(text) => parse_timestamp(text)?,
                _ => return None,
            };
            let fits = fits_fsp(at.micros.unwrap_or(0), *fsp);
            fits.then_some(Value::Timestamp(Timestamp { fsp: *fsp, ..at }))?
        }
        (ColumnType::Time { fsp }, _) => {
            let span = match &value {
                Value::Time(span) => *span,
                Value::Text(text) => parse_time(text)?,
                _ => return None,
            };
            fits_fsp(span.micros, *fsp).then_some(Value::Time(Time { fsp: *fsp, ..span }))?
        }
        (ColumnType::Char { chars } | ColumnType::VarChar { chars }, Value::Text(text)) => {
            (text.chars().count() <= *chars as usize).then(|| value.clone())?
        }
        (ColumnType::Text { bytes }, Value::Text(text)) => {
            (text.len() <= *bytes as usize).then(|| value.clone())?
        }
        (ColumnType::Enum { labels }, Value::Text(text)) => {
            (text.is_empty() || labels.iter().any(|label| label == text)).then(|| value.clone())?
        }
        (ColumnType::Set { labels }, Value::Text(text)) => {
            let is_label = |word: &str| word.is_empty() || labels.iter().any(|label| label == word);
            text.split(',').all(is_label).then(|| value.clone())?
        }
        (ColumnType::Binary { bytes }, Value::Bytes(given)) => {
            let mut padded = given.to_vec();
            padded.resize(padded.len().max(*bytes as usize), 0);
            (padded.len() == *bytes as usize).then_some(Value::Bytes(Cow::Owned(padded)))?
        }
        (ColumnType::VarBinary { bytes } | ColumnType::Blob { bytes }, Value::Bytes(given)) => {
            (given.len() <= *bytes as usize).then(|| value.clone())?
        }
        (ColumnType::Geometry, Value::Bytes(_)) | (ColumnType::Json, Value::Json(_)) => value,
        (ColumnType::Json, Value::Text(text)) => {
            parse_json(text)?;
            Value::Json(text.clone())
        }
        _ => return None,
    })
}

/// Whether no digit is lost when `fsp` digits behind the second are kept.
fn fits_fsp(micros: i64, fsp: u8) -> bool {
    micros % 10_i64.pow(6 - u32::from(fsp.min(6))) == 0
}

/// Whether a value is the one that is expected. Numbers are compared as numbers (6 is 6.00), floats by their shortest text,
/// JSON as JSON. A text stands also for the date or time that it reads as, and for JSON.
pub(crate) fn same(expected: &Value<'_>, got: &Value<'_>) -> bool {
    if let (Some(one), Some(other)) = (plain_number(expected), plain_number(got)) {
        return one == other;
    }
    match (expected, got) {
        (Value::Text(text), Value::Date(at)) => parse_date(text) == Some(*at),
        (Value::Text(text), Value::DateTime(at)) => {
            parse_datetime(text).is_some_and(|text| instant(text) == instant(*at))
        }
        (Value::Text(text), Value::Timestamp(at)) => match at.micros {
            None => text.starts_with("0000-00-00"),
            some => parse_timestamp(text).is_some_and(|text| text.micros == some),
        },
        (Value::Text(text), Value::Time(span)) => {
            parse_time(text).is_some_and(|text| text.micros == span.micros)
        }
        (Value::DateTime(one), Value::DateTime(other)) => instant(*one) == instant(*other),
        (Value::Timestamp(one), Value::Timestamp(other)) => one.micros == other.micros,
        (Value::Time(one), Value::Time(other)) => one.micros == other.micros,
        (Value::Json(one) | Value::Text(one), Value::Json(other)) => {
            match (parse_json(one), parse_json(other)) {
                (Some(one), Some(other)) => one == other,
                _ => one == other,
            }
        }
        (one, other) => one == other,
    }
}

fn instant(at: DateTime) -> DateTime {
    DateTime { fsp: 0, ..at }
}

/// The number that a value is; true is 1, as in MySQL.
fn plain_number(value: &Value<'_>) -> Option<BigDecimal> {
    Some(match value {
        Value::Bool(v) => BigDecimal::from(u8::from(*v)),
        Value::Int(v) => BigDecimal::from(*v),
        Value::UInt(v) | Value::Bit(v) => BigDecimal::from(*v),
        Value::Year(v) => BigDecimal::from(*v),
        Value::Float(v) if v.is_finite() => BigDecimal::from_str(ryu::Buffer::new().format(*v)).ok()?,
        Value::Double(v) if v.is_finite() => BigDecimal::from_str(ryu::Buffer::new().format(*v)).ok()?,
        Value::Decimal(v) => plain_decimal(v)?,
        _ => return None,
    })
}

/// What kind of value it is, in words.
pub(super) fn class(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Bit(_) => "a whole number",
        Value::Decimal(_) => "a decimal",
        Value::Float(_) | Value::Double(_) => "a float",
        Value::Year(_) => "a year",
        Value::Date(_) => "a date",
        Value::DateTime(_) => "a datetime",
        Value::Timestamp(_) => "a timestamp",
        Value::Time(_) => "a time",
        Value::Text(_) => "a text",
        Value::Bytes(_) => "bytes",
        Value::Json(_) => "JSON",
    }
}

/// The value as a test writes it.
pub(crate) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::UInt(v) | Value::Bit(v) => v.to_string(),
        Value::Year(v) => v.to_string(),
        Value::Float(v) => format!("float({})", ryu::Buffer::new().format(*v)),
        Value::Double(v) => format!("float({})", ryu::Buffer::new().format(*v)),
        Value::Decimal(v) => v.to_string(),
        Value::Date(v) => format!("date(\"{v}\")"),
        Value::DateTime(v) => format!("datetime(\"{v}\")"),
        Value::Timestamp(v) => format!("timestamp(\"{v}\")"),
        Value::Time(v) => format!("time(\"{v}\")"),
        Value::Text(v) => format!("{v:?}"),
        Value::Json(v) => v.to_string(),
        Value::Bytes(v) => {
            let digits: String = v.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("bytes(\"{digits}\")")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_may_be_written_in_several_ways() {
        let decimal = |text: &'static str| Value::Decimal(text.into());
        let text = |text: &'static str| Value::Text(text.into());
        let at = parse_datetime("2026-01-31 12:00:00.50").map(Value::DateTime).unwrap();
        for (expected, got, is_same) in [
            (Value::Int(6), decimal("6.00"), true),
            (decimal("0.1"), Value::Double(0.1), true),
            (decimal("0.1"), Value::Float(0.1), true),
            (Value::Int(6), text("6"), false),
            (Value::Bool(true), Value::Int(1), true),
            (text("2026-01-31T12:00:00.5"), at.clone(), true),
            (text("2026-01-31"), at, false),
            (text("{\"a\": 1}"), Value::Json("{\"a\":1}".into()), true),
            (Value::Null, text(""), false),
        ] {
            assert_eq!(same(&expected, &got), is_same, "{} and {}", shown(&expected), shown(&got));
        }
    }

    #[test]
    fn a_value_fits_exactly_or_not_at_all() {
        let decimal = ColumnType::Decimal { precision: 5, scale: 2, unsigned: false };
        let int = ColumnType::Int { bits: 64, unsigned: false };
        for (value, ty, held) in [
            (Value::Int(5), &decimal, Some(Value::Decimal("5.00".into()))),
            (Value::Decimal("1.5".into()), &decimal, Some(Value::Decimal("1.50".into()))),
            (Value::Decimal("-0.05".into()), &decimal, Some(Value::Decimal("-0.05".into()))),
            (Value::Decimal("1.555".into()), &decimal, None),
            (Value::Int(1000), &decimal, None),
            (Value::Decimal("7.0".into()), &int, Some(Value::Int(7))),
            (Value::Decimal("7.5".into()), &int, None),
            (Value::Text("7".into()), &int, None),
            (Value::Bool(true), &int, Some(Value::Int(1))),
            (Value::Text("2026-01-31".into()), &ColumnType::Date, parse_date("2026-01-31").map(Value::Date)),
        ] {
            assert_eq!(fit(&value, ty), held, "{}", shown(&value));
        }
    }
}
