//! How values of rows become BSON.
//!
//! | column | BSON |
//! |---|---|
//! | integers, year | int, or long where the number needs it; unsigned ones beyond a long as decimal |
//! | decimal | decimal, digit for digit; text when it has more than 34 digits |
//! | float, double | double |
//! | bit | int or long, or decimal |
//! | timestamp | date; with microseconds, text in UTC that ends with `Z` |
//! | date, datetime, time, zero dates | text as MySQL shows it |
//! | text, enum, set, JSON | text |
//! | bytes, geometry | binary |
//! | NULL | null |

use super::bson::{Bson, decimal128};
use crate::model::value::Value;

/// Writes a value as the field `key`.
pub(crate) fn write_value(bson: &mut Bson, key: &str, value: &Value<'_>) {
    match value {
        Value::Null => bson.null(key),
        Value::Bool(value) => bson.bool(key, *value),
        Value::Int(value) => write_integer(bson, key, *value),
        Value::UInt(value) | Value::Bit(value) => match i64::try_from(*value) {
            Ok(value) => write_integer(bson, key, value),
            Err(_) => write_decimal(bson, key, itoa::Buffer::new().format(*value)),
        },
        Value::Float(value) => bson.double(key, f64::from(*value)),
        Value::Double(value) => bson.double(key, *value),
        Value::Decimal(digits) => write_decimal(bson, key, digits),
        Value::Year(year) => bson.int32(key, i32::from(*year)),
        Value::Date(value) => bson.display(key, value),
        Value::DateTime(value) => bson.display(key, value),
        Value::Time(value) => bson.display(key, value),
        Value::Timestamp(value) => match value.micros {
            Some(micros) if value.fsp <= 3 => bson.date(key, micros.div_euclid(1000)),
            Some(_) => bson.display(key, format_args!("{value}Z")),
            None => bson.display(key, value),
        },
        Value::Text(text) | Value::Json(text) => bson.text(key, text),
        Value::Bytes(bytes) => bson.binary(key, bytes),
    }
}

/// As the shell would write it: a number that fits is an int.
fn write_integer(bson: &mut Bson, key: &str, value: i64) {
    match i32::try_from(value) {
        Ok(value) => bson.int32(key, value),
        Err(_) => bson.int64(key, value),
    }
}

fn write_decimal(bson: &mut Bson, key: &str, digits: &str) {
    match decimal128(digits) {
        Some(bytes) => bson.decimal(key, bytes),
        None => bson.text(key, digits),
    }
}
