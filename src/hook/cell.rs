//! Values between a row and Rhai: what a column's value is in a hook, and which column a hook's value fits.

use std::borrow::Cow;

use rhai::{Blob, Dynamic, FLOAT, INT, ImmutableString};

use super::decimal::Decimal;
use super::error::Problem;
use super::json;
use super::time;
use crate::model::schema::ColumnType;
use crate::model::value::{Date, DateTime, Time, Timestamp, Value};

/// Digits of a decimal column that a hook makes.
const OWN_PRECISION: u8 = 65;
const OWN_SCALE: u8 = super::decimal::DIVISION_SCALE as u8;

/// A value that a hook gave to a column.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(INT),
    Float(FLOAT),
    Decimal(Decimal),
    Text(ImmutableString),
    Bytes(Blob),
    Date(Date),
    DateTime(DateTime),
    Timestamp(Timestamp),
    Time(Time),
    /// An object map or an array, and its text.
    Json(Dynamic, String),
}

/// A column's value for Rhai.
///
/// Integers are INT, or DECIMAL beyond its 64 bits with sign; single precision floats become the FLOAT that has
/// the same shortest text, so that `row.rate == 0.1` holds for a FLOAT column with 0.1; JSON is text.
pub(super) fn to_dynamic(value: Value<'_>) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(v) => v.into(),
        Value::Int(v) => v.into(),
        Value::UInt(v) | Value::Bit(v) => match INT::try_from(v) {
            Ok(small) => small.into(),
            Err(_) => Dynamic::from(Decimal::from(v)),
        },
        Value::Float(v) => widen(v).into(),
        Value::Double(v) => v.into(),
        Value::Decimal(v) => match Decimal::parse(&v) {
            Some(number) => Dynamic::from(number),
            None => v.into_owned().into(),
        },
        Value::Year(v) => INT::from(v).into(),
        Value::Date(v) => Dynamic::from(v),
        Value::DateTime(v) => Dynamic::from(v),
        Value::Timestamp(v) => Dynamic::from(v),
        Value::Time(v) => Dynamic::from(v),
        Value::Text(v) | Value::Json(v) => ImmutableString::from(v.as_ref()).into(),
        Value::Bytes(v) => Dynamic::from_blob(v.into_owned()),
    }
}

fn widen(value: f32) -> FLOAT {
    let shortest = ryu::Buffer::new().format(value).parse().unwrap_or(FLOAT::from(value));
    // Rounding twice could hit the neighbour of a float; the exact value never does.
    if shortest as f32 == value { shortest } else { FLOAT::from(value) }
}

impl Cell {
    /// Takes a value over from Rhai.
    pub fn from_dynamic(value: Dynamic, column: &str) -> Result<Cell, Problem> {
        let value = value.flatten();
        Ok(if value.is_unit() {
            Cell::Null
        } else if let Ok(v) = value.as_int() {
            Cell::Int(v)
        } else if let Ok(v) = value.as_bool() {
            Cell::Bool(v)
        } else if let Ok(v) = value.as_float() {
            Cell::Float(v)
        } else if value.is_string() {
            Cell::Text(value.into_immutable_string().unwrap_or_default())
        } else if let Ok(v) = value.as_char() {
            Cell::Text(v.to_string().into())
        } else if value.is_map() || value.is_array() {
            let text = json::to_text(&value)?;
            Cell::Json(value, text)
        } else if value.is_blob() {
            Cell::Bytes(value.into_blob().unwrap_or_default())
        } else if value.is::<Decimal>() {
            Cell::Decimal(value.cast())
        } else if value.is::<Date>() {
            Cell::Date(value.cast())
        } else if value.is::<DateTime>() {
            Cell::DateTime(value.cast())
        } else if value.is::<Timestamp>() {
            Cell::Timestamp(value.cast())
        } else if value.is::<Time>() {
            Cell::Time(value.cast())
        } else {
            let message = format!("column `{column}` cannot hold a value of type {}", type_name(&value));
            return Err(Problem::new(message).advice(
                "give it a number, text, date, blob, bool, object map, array or `()`; \
                 a row as a whole is read column by column",
            ));
        })
    }

    /// The value as the column will hold it, where it fits: 3 in a decimal column is a DECIMAL at once, so that a
    /// division by it or of it is not one of whole numbers.
    pub fn in_column(self, ty: &ColumnType) -> Cell {
        let same = match ty {
            ColumnType::Int { .. } | ColumnType::Bit { .. } | ColumnType::Year => {
                matches!(self, Cell::Int(_))
            }
            ColumnType::Decimal { .. } => false,
            ColumnType::Float | ColumnType::Double => matches!(self, Cell::Float(_)),
            ColumnType::Date | ColumnType::DateTime { .. } => false,
            ColumnType::Timestamp { .. } | ColumnType::Time { .. } => false,
            _ => true,
        };
        if same {
            return self;
        }
        let held = self.fit(ty).map(|value| to_dynamic(value.into_owned()));
        held.and_then(|value| Cell::from_dynamic(value, "").ok()).unwrap_or(self)
    }

    /// The value for Rhai again.
    pub fn to_dynamic(&self) -> Dynamic {
        match self {
            Cell::Null => Dynamic::UNIT,
            Cell::Bool(v) => (*v).into(),
            Cell::Int(v) => (*v).into(),
            Cell::Float(v) => (*v).into(),
            Cell::Decimal(v) => Dynamic::from(v.clone()),
            Cell::Text(v) => v.clone().into(),
            Cell::Bytes(v) => Dynamic::from_blob(v.clone()),
            Cell::Date(v) => Dynamic::from(*v),
            Cell::DateTime(v) => Dynamic::from(*v),
            Cell::Timestamp(v) => Dynamic::from(*v),
            Cell::Time(v) => Dynamic::from(*v),
            Cell::Json(v, _) => v.clone(),
        }
    }

    /// The column type that holds every value of this class. A NULL of a column that never had another value is text.
    pub fn own_type(&self) -> ColumnType {
        match self {
            Cell::Null | Cell::Text(_) => ColumnType::Text { bytes: u32::MAX },
            Cell::Bool(_) => ColumnType::Bool,
            Cell::Int(_) => ColumnType::Int { bits: 64, unsigned: false },
            Cell::Float(_) => ColumnType::Double,
            Cell::Decimal(_) => {
                ColumnType::Decimal { precision: OWN_PRECISION, scale: OWN_SCALE, unsigned: false }
            }
            Cell::Bytes(_) => ColumnType::Blob { bytes: u32::MAX },
            Cell::Date(_) => ColumnType::Date,
            Cell::DateTime(_) => ColumnType::DateTime { fsp: 6 },
            Cell::Timestamp(_) => ColumnType::Timestamp { fsp: 6 },
            Cell::Time(_) => ColumnType::Time { fsp: 6 },
            Cell::Json(..) => ColumnType::Json,
        }
    }

    /// The digits of a decimal, filled up to the column's scale: but in the wide type of computed decimals, where thirty
    /// zeros would say nothing, they stay as they were computed.
    fn digits_for(&self, filled: &Decimal, scale: u8) -> String {
        match self {
            Cell::Decimal(own) if scale == OWN_SCALE => own.to_string(),
            Cell::Int(own) if scale == OWN_SCALE => own.to_string(),
            _ => filled.to_string(),
        }
    }

    /// The same value for a column of type `ty`; `None` when that would change it.
    pub fn fit(&self, ty: &ColumnType) -> Option<Value<'_>> {
        if matches!(self, Cell::Null) {
            return Some(Value::Null);
        }
        match ty {
            ColumnType::Bool => match self {
                Cell::Bool(v) => Some(Value::Bool(*v)),
                _ => None,
            },
            ColumnType::Int { bits, unsigned } => fit_integer(self.whole()?, *bits, *unsigned),
            ColumnType::Decimal { precision, scale, unsigned } => {
                let number = match self {
                    Cell::Int(v) => Decimal::from(*v).rescale(u32::from(*scale))?,
                    Cell::Decimal(v) => v.rescale(u32::from(*scale))?,
                    _ => return None,
                };
                let negative = number < Decimal::from(0_u64);
                let fits = number.precision() <= usize::from(*precision) && !(*unsigned && negative);
                fits.then(|| Value::Decimal(Cow::Owned(self.digits_for(&number, *scale))))
            }
            ColumnType::Float => match self {
                Cell::Float(v) => {
                    let single = *v as f32;
                    let same = widen(single) == *v || FLOAT::from(single) == *v || v.is_nan();
                    same.then_some(Value::Float(single))
                }
                Cell::Int(v) if v.unsigned_abs() <= 1 << 24 => Some(Value::Float(*v as f32)),
                _ => None,
            },
            ColumnType::Double => match self {
                Cell::Float(v) => Some(Value::Double(*v)),
                Cell::Int(v) if v.unsigned_abs() <= 1 << 53 => Some(Value::Double(*v as FLOAT)),
                _ => None,
            },
            ColumnType::Bit { width } => {
                let bits = u64::try_from(self.whole()?).ok()?;
                (*width >= 64 || bits >> width == 0).then_some(Value::Bit(bits))
            }
            ColumnType::Year => match self.whole()? {
                year @ (0 | 1901..=2155) => Some(Value::Year(year as u16)),
                _ => None,
            },
            ColumnType::Date => match self {
                Cell::Date(v) => Some(Value::Date(*v)),
                Cell::Text(v) => time::parse_date(v).map(Value::Date),
                _ => None,
            },
            ColumnType::DateTime { fsp } => {
                let at = match self {
                    Cell::DateTime(v) => *v,
                    Cell::Date(v) => time::midnight(*v),
                    Cell::Text(v) => time::parse_datetime(v)?,
                    _ => return None,
                };
                fits_fsp(i64::from(at.micros), *fsp).then_some(Value::DateTime(DateTime { fsp: *fsp, ..at }))
            }
            ColumnType::Timestamp { fsp } => {
                let at = match self {
                    Cell::Timestamp(v) => *v,
                    Cell::Text(v) => time::parse_timestamp(v)?,
                    _ => return None,
                };
                fits_fsp(at.micros.unwrap_or(0), *fsp)
                    .then_some(Value::Timestamp(Timestamp { fsp: *fsp, ..at }))
            }
            ColumnType::Time { fsp } => {
                let span = match self {
                    Cell::Time(v) => *v,
                    Cell::Text(v) => time::parse_time(v)?,
                    _ => return None,
                };
                fits_fsp(span.micros, *fsp).then_some(Value::Time(Time { fsp: *fsp, ..span }))
            }
            ColumnType::Char { chars } | ColumnType::VarChar { chars } => {
                // As many bytes as characters are allowed are always few enough characters.
                let limit = *chars as usize;
                self.text().filter(|v| v.len() <= limit || v.chars().count() <= limit).map(text_value)
            }
            ColumnType::Text { bytes } => self.text().filter(|v| v.len() <= *bytes as usize).map(text_value),
            ColumnType::Binary { bytes } => match self {
                Cell::Bytes(v) if v.len() == *bytes as usize => Some(Value::Bytes(Cow::Borrowed(v))),
                _ => None,
            },
            ColumnType::VarBinary { bytes } | ColumnType::Blob { bytes } => match self {
                Cell::Bytes(v) if v.len() <= *bytes as usize => Some(Value::Bytes(Cow::Borrowed(v))),
                _ => None,
            },
            ColumnType::Geometry => match self {
                Cell::Bytes(v) => Some(Value::Bytes(Cow::Borrowed(v))),
                _ => None,
            },
            ColumnType::Enum { labels } => {
                self.text().filter(|v| v.is_empty() || labels.iter().any(|label| label == v)).map(text_value)
            }
            ColumnType::Set { labels } => self
                .text()
                .filter(|v| {
                    v.split(',').all(|word| word.is_empty() || labels.iter().any(|label| label == word))
                })
                .map(text_value),
            ColumnType::Json => match self {
                Cell::Json(_, text) => Some(Value::Json(Cow::Borrowed(text))),
                Cell::Text(v) => json::is_json(v).then(|| Value::Json(Cow::Borrowed(v))),
                _ => None,
            },
        }
    }

    /// The integer that this value is exactly.
    fn whole(&self) -> Option<i128> {
        match self {
            Cell::Int(v) => Some(i128::from(*v)),
            Cell::Bool(v) => Some(i128::from(*v)),
            Cell::Decimal(v) => v.to_integer(),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(v) => Some(v.as_str()),
            _ => None,
        }
    }
}

/// What a hook calls the type of a value.
pub(super) fn type_name(value: &Dynamic) -> &str {
    match value.type_name() {
        "i64" => "INT",
        "f64" => "FLOAT",
        "bool" => "bool",
        "string" => "text",
        "()" => "`()`",
        name => match name.rsplit("::").next().unwrap_or(name) {
            "Decimal" => "DECIMAL",
            "Date" => "DATE",
            "DateTime" => "DATETIME",
            "Timestamp" => "TIMESTAMP",
            "Time" => "TIME",
            "HookRow" => "row",
            "Map" => "object map",
            other => other,
        },
    }
}

fn text_value(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn fit_integer(value: i128, bits: u8, unsigned: bool) -> Option<Value<'static>> {
    if unsigned {
        let value = u64::try_from(value).ok()?;
        (bits >= 64 || value >> bits == 0).then_some(Value::UInt(value))
    } else {
        let value = i64::try_from(value).ok()?;
        let half = 1_i128 << (bits.clamp(1, 64) - 1);
        (-half..half).contains(&i128::from(value)).then_some(Value::Int(value))
    }
}

/// Whether no digit is lost when `fsp` digits behind the second are kept.
fn fits_fsp(micros: i64, fsp: u8) -> bool {
    micros % 10_i64.pow(6 - u32::from(fsp.min(6))) == 0
}
