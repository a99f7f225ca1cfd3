//! The file that takes rows on which a hook failed, when the script says `on_error = aside`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};

use crate::error::{Error, Kind, Result};
use crate::model::change::Change;
use crate::model::row::Row;
use crate::model::value::Value;

/// Appends one JSON line for each row set aside. A line is durable before the pipeline goes on; after a crash
/// the same row may be written once more, with the same `seq`.
#[derive(Debug)]
pub struct AsideFile {
    path: PathBuf,
    file: Option<File>,
}

impl AsideFile {
    /// A file at `path`, which is made with the first row.
    pub fn new(path: PathBuf) -> Self {
        AsideFile { path, file: None }
    }

    /// Writes the change and why it was set aside.
    ///
    /// # Errors
    /// `Environment` when the file cannot be written.
    pub fn write(&mut self, change: &Change, error: &str) -> Result<()> {
        let line = json!({
            "seq": change.seq,
            "table": change.table.name.to_string(),
            "op": change.op.as_str(),
            "time_ms": change.time_ms,
            "error": error,
            "before": change.before.as_ref().map(row_json),
            "after": change.after.as_ref().map(row_json),
        });
        self.append(format!("{line}\n").as_bytes()).map_err(|cause| {
            Error::new(Kind::Environment, format!("cannot write {}: {cause}", self.path.display())).advice(
                "make room or give lode the right to write there; the row is kept in the log meanwhile",
            )
        })
    }

    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                none.insert(OpenOptions::new().append(true).create(true).open(&self.path)?)
            }
        };
        file.write_all(line)?;
        file.sync_data()
    }
}

/// Exact values as text, so that a row can be put right and written again: bytes as hex digits.
fn row_json(row: &Row) -> Json {
    let view = row.view();
    let columns = row.schema.columns.iter().zip(view.values());
    Json::Object(
        columns
            .filter_map(|(column, value)| Some((column.name.clone(), value_json(value?))))
            .collect::<Map<_, _>>(),
    )
}

fn value_json(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(v) => json!(v),
        Value::Int(v) => json!(v),
        Value::UInt(v) | Value::Bit(v) => json!(v),
        Value::Year(v) => json!(v),
        Value::Float(v) => json!(v),
        Value::Double(v) => json!(v),
        Value::Decimal(v) | Value::Text(v) | Value::Json(v) => json!(v),
        Value::Date(v) => json!(v.to_string()),
        Value::DateTime(v) => json!(v.to_string()),
        Value::Timestamp(v) => json!(v.to_string()),
        Value::Time(v) => json!(v.to_string()),
        Value::Bytes(v) => json!(v.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
