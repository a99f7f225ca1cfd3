//! A change as one line of JSON.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Kind, Result};
use crate::model::change::Change;
use crate::model::row::Row;
use crate::model::value::Value;
use crate::sink::step::describe_key;

/// Appends the line, with its line break.
pub(super) fn write(out: &mut Vec<u8>, change: &Change) -> Result<()> {
    let time = jiff::Timestamp::from_millisecond(change.time_ms).map_err(|error| {
        Error::new(Kind::Data, format!("entry {} has an impossible time", change.seq)).caused_by(error)
    })?;
    out.extend_from_slice(b"{\"table\":");
    string(out, &change.table.name.to_string());
    append(out, format_args!(",\"op\":\"{}\"", change.op.as_str()));
    append(out, format_args!(",\"ts\":\"{}\"", time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")));
    append(out, format_args!(",\"seq\":{}", change.seq));
    for (name, row) in [("before", &change.before), ("after", &change.after)] {
        if let Some(row) = row {
            append(out, format_args!(",\"{name}\":"));
            object(out, row)?;
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn object(out: &mut Vec<u8>, row: &Row) -> Result<()> {
    out.push(b'{');
    let mut first = true;
    for (column, cell) in row.schema.columns.iter().zip(row.view().values()) {
        let Some(cell) = cell else { continue };
        if !first {
            out.push(b',');
        }
        first = false;
        string(out, &column.name);
        out.push(b':');
        if let Value::Json(text) = &cell {
            json(out, text).map_err(|error| {
                Error::new(
                    Kind::Data,
                    format!(
                        "column {} of table {} is no valid JSON in the row with {}",
                        column.name,
                        row.schema.name,
                        describe_key(row)
                    ),
                )
                .caused_by(error)
            })?;
        } else {
            value(out, &cell);
        }
    }
    out.push(b'}');
    Ok(())
}

fn value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(v) => append(out, format_args!("{v}")),
        Value::Int(v) => out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes()),
        Value::UInt(v) | Value::Bit(v) => out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes()),
        Value::Year(v) => out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes()),
        Value::Float(v) if v.is_finite() => out.extend_from_slice(ryu::Buffer::new().format(*v).as_bytes()),
        Value::Double(v) if v.is_finite() => out.extend_from_slice(ryu::Buffer::new().format(*v).as_bytes()),
        // JSON has no number for these.
        Value::Float(v) => append(out, format_args!("\"{v}\"")),
        Value::Double(v) => append(out, format_args!("\"{v}\"")),
        Value::Decimal(v) => append(out, format_args!("\"{v}\"")),
        Value::Date(v) => append(out, format_args!("\"{v}\"")),
        Value::DateTime(v) => moment(out, &v.to_string(), ""),
        Value::Timestamp(v) => moment(out, &v.to_string(), "Z"),
        Value::Time(v) => append(out, format_args!("\"{v}\"")),
        Value::Text(v) | Value::Json(v) => string(out, v),
        Value::Bytes(v) => {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(v).as_bytes());
            out.push(b'"');
        }
    }
}

/// MySQL's form with the `T` of ISO 8601.
fn moment(out: &mut Vec<u8>, text: &str, zone: &str) {
    append(out, format_args!("\"{}{zone}\"", text.replacen(' ', "T", 1)));
}

/// A document as it is; its line breaks can only stand between tokens.
fn json(out: &mut Vec<u8>, text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)?;
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    Ok(())
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing text to memory cannot fail");
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory cannot fail");
}
