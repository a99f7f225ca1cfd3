//! A change as one JSON object: what the sink `jsonl` writes and `lode log peek --json` shows.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::block::Commit;
use super::change::Change;
use super::row::Row;
use super::value::Value;

/// Why a change cannot be written as JSON.
#[derive(Debug)]
pub enum Unwritable<'a> {
    /// Its time, or that of its commit, is in no calendar.
    Time,
    /// A JSON column holds something else.
    Document {
        /// The row.
        row: &'a Row,
        /// Name of the column.
        column: &'a str,
        /// What is wrong with the document.
        error: serde_json::Error,
    },
}

/// Appends the change as an object in one line, without a line break behind it. Columns that were read later than the change
/// are named in `late`. With `commit`, the object ends with the commit of its transaction.
///
/// # Errors
/// See [`Unwritable`]; `out` then ends with a part of the object.
pub fn write_change<'a>(
    out: &mut Vec<u8>,
    change: &'a Change,
    commit: Option<&Commit>,
) -> Result<(), Unwritable<'a>> {
    out.extend_from_slice(b"{\"table\":");
    string(out, &change.table.name.to_string());
    append(out, format_args!(",\"op\":\"{}\",\"ts\":", change.op.as_str()));
    time(out, change.time_ms)?;
    append(out, format_args!(",\"seq\":{}", change.seq));
    for (name, row) in [("before", &change.before), ("after", &change.after)] {
        if let Some(row) = row {
            append(out, format_args!(",\"{name}\":"));
            object(out, row)?;
        }
    }
    let mut late = change.after.iter().flat_map(|row| row.view().late_columns()).peekable();
    if late.peek().is_some() {
        out.extend_from_slice(b",\"late\":[");
        for (at, name) in late.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            string(out, name);
        }
        out.push(b']');
    }
    if let Some(commit) = commit {
        out.extend_from_slice(b",\"commit\":{\"ts\":");
        time(out, commit.time_ms)?;
        for (name, text) in [("gtid", &commit.position.gtid), ("file", &commit.position.file)] {
            append(out, format_args!(",\"{name}\":"));
            string(out, text);
        }
        append(out, format_args!(",\"offset\":{}}}", commit.position.offset));
    }
    out.push(b'}');
    Ok(())
}

/// A row as an object, with the values that [`write_change`] writes. A column of type JSON that has no document is a text.
pub fn row_json(row: &Row) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    for (column, cell) in row.schema.columns.iter().zip(row.view().values()) {
        let Some(cell) = cell else { continue };
        let mut text = Vec::new();
        match &cell {
            Value::Json(document) => text.extend_from_slice(document.as_bytes()),
            cell => value(&mut text, cell),
        }
        let value = serde_json::from_slice(&text)
            .unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into());
        object.insert(column.name.clone(), value);
    }
    serde_json::Value::Object(object)
}

fn time(out: &mut Vec<u8>, time_ms: i64) -> Result<(), Unwritable<'static>> {
    let time = jiff::Timestamp::from_millisecond(time_ms).map_err(|_| Unwritable::Time)?;
    append(out, format_args!("\"{}\"", time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")));
    Ok(())
}

fn object<'a>(out: &mut Vec<u8>, row: &'a Row) -> Result<(), Unwritable<'a>> {
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
            json(out, text).map_err(|error| Unwritable::Document { row, column: &column.name, error })?;
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
