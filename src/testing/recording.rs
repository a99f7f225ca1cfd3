//! Recorded changes: a small file of text that people can read and keep beside their scripts.
//!
//! Each line is a JSON object. The first one says what the file is; a line for each table says its columns, before the first
//! change of it and wherever they changed; each other line is a change. Values are exact: decimals, dates and documents
//! are strings, bytes are base64.
//!
//! ```text
//! {"lode":"recording","version":1}
//! {"table":"shop.orders","columns":{"id":"bigint","email":"varchar(80)"},"key":["id"],"masked":["email"]}
//! {"insert":"shop.orders","ts":"2026-01-31T12:00:00.000Z","after":{"id":1,"email":"qzk@oqhwnvm.xupr"}}
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::mask::Mask;
use crate::check::testing::{fit, type_parse, type_text};
use crate::error::{Error, Kind, Result};
use crate::model::block::Op;
use crate::model::change::Change;
use crate::model::position::Seq;
use crate::model::row::Row;
use crate::model::schema::{Column, ColumnType, TableSchema};
use crate::model::table::TableName;
use crate::model::value::Value;

/// The version of the format.
const VERSION: u64 = 1;

/// Writes changes as a recording.
pub struct Recorder<W> {
    out: W,
    mask: Option<Mask>,
    tables: HashMap<TableName, Arc<TableSchema>>,
    masked: BTreeMap<TableName, Vec<String>>,
    count: u64,
}

impl<W: Write> Recorder<W> {
    /// Begins a recording; with a mask, its texts are hidden.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut out: W, mask: Option<Mask>) -> Result<Recorder<W>> {
        line(&mut out, &json!({ "lode": "recording", "version": VERSION }))?;
        Ok(Recorder { out, mask, tables: HashMap::new(), masked: BTreeMap::new(), count: 0 })
    }

    /// Adds a change.
    ///
    /// # Errors
    /// When it cannot be written, or its time is in no calendar.
    pub fn write(&mut self, change: &Change) -> Result<()> {
        let schema = &change.table;
        let name = &schema.name;
        if !self.tables.get(name).is_some_and(|known| Arc::ptr_eq(known, schema) || known == schema) {
            self.table(schema)?;
        }
        let time = jiff::Timestamp::from_millisecond(change.time_ms).map_err(|_| {
            Error::new(
                Kind::Data,
                format!("entry {} of {name} has a time that is in no calendar", change.seq),
            )
        })?;
        let mut object = Map::new();
        object.insert(change.op.as_str().to_owned(), json!(name.to_string()));
        object.insert("ts".to_owned(), json!(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()));
        for (word, row) in [("before", &change.before), ("after", &change.after)] {
            if let Some(row) = row {
                object.insert(word.to_owned(), self.row(row));
            }
        }
        line(&mut self.out, &Json::Object(object))?;
        self.count += 1;
        Ok(())
    }

    /// How many changes were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The columns that were masked, by table.
    pub fn masked(&self) -> &BTreeMap<TableName, Vec<String>> {
        &self.masked
    }

    /// The writer, flushed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<W> {
        self.out.flush().map_err(|error| unwritable(&error))?;
        Ok(self.out)
    }

    fn table(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        let columns = schema.columns.iter().map(|column| {
            let null = if column.nullable { " null" } else { "" };
            (column.name.clone(), json!(format!("{}{null}", type_text(&column.ty))))
        });
        let key: Vec<_> =
            schema.primary_key.iter().map(|at| &schema.columns[usize::from(*at)].name).collect();
        let mut object = json!({
            "table": schema.name.to_string(), "columns": columns.collect::<Map<_, _>>(), "key": key,
        });
        if let Some(mask) = &self.mask {
            let masked = schema.columns.iter().filter(|column| mask.hides(&schema.name, column));
            let masked: Vec<_> = masked.map(|column| column.name.clone()).collect();
            object["masked"] = json!(masked);
            self.masked.insert(schema.name.clone(), masked);
        }
        self.tables.insert(schema.name.clone(), Arc::clone(schema));
        line(&mut self.out, &object)
    }

    fn row(&self, row: &Row) -> Json {
        let columns = row.schema.columns.iter().zip(row.view().values());
        let cells = columns.filter_map(|(column, value)| {
            let value = value?;
            let value = match &self.mask {
                Some(mask) if mask.hides(&row.schema.name, column) => mask.value(value),
                _ => value,
            };
            Some((column.name.clone(), to_json(&value)))
        });
        Json::Object(cells.collect())
    }
}

fn line(out: &mut impl Write, object: &Json) -> Result<()> {
    writeln!(out, "{object}").map_err(|error| unwritable(&error))
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::new(Kind::Environment, format!("the recording cannot be written: {error}"))
}

fn to_json(value: &Value<'_>) -> Json {
    let number = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    match value {
        Value::Null => Json::Null,
        Value::Bool(v) => json!(v),
        Value::Int(v) => json!(v),
        Value::UInt(v) | Value::Bit(v) => json!(v),
        Value::Year(v) => json!(v),
        Value::Float(v) => number(ryu::Buffer::new().format(*v)),
        Value::Double(v) => number(ryu::Buffer::new().format(*v)),
        Value::Decimal(v) | Value::Text(v) | Value::Json(v) => json!(v),
        Value::Date(v) => json!(v.to_string()),
        Value::DateTime(v) => json!(v.to_string()),
        Value::Timestamp(v) => json!(v.to_string()),
        Value::Time(v) => json!(v.to_string()),
        Value::Bytes(v) => json!(STANDARD.encode(v)),
    }
}

/// The changes of a recording. They are numbered from 0.
///
/// # Errors
/// `Data` when the text is no recording, or one of another version, with the line that is wrong.
pub fn read(text: &str) -> Result<Vec<Change>> {
    let mut tables: HashMap<String, Arc<TableSchema>> = HashMap::new();
    let mut changes: Vec<Change> = Vec::new();
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let head = lines.next().and_then(|(_, line)| serde_json::from_str::<Json>(line).ok()).unwrap_or_default();
    if head["lode"] != "recording" {
        return Err(Error::new(Kind::Data, "this is no recording: its first line does not say so")
            .advice("make one: lode log record shop --table orders -o recorded.jsonl"));
    }
    if head["version"].as_u64() != Some(VERSION) {
        let what =
            format!("this is a recording of version {}, and lode reads version {VERSION}", head["version"]);
        return Err(Error::new(Kind::Data, what).advice("record the changes again"));
    }
    for (at, line) in lines {
        let wrong = |what: String| Error::new(Kind::Data, format!("line {} is wrong: {what}", at + 1));
        let object: Map<String, Json> =
            serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        if object.contains_key("table") {
            let schema = table(&object).map_err(wrong)?;
            tables.insert(schema.name.to_string(), Arc::new(schema));
        } else {
            changes.push(change(&object, &tables, Seq(changes.len() as u64)).map_err(wrong)?);
        }
    }
    Ok(changes)
}

fn table(object: &Map<String, Json>) -> std::result::Result<TableSchema, String> {
    let name =
        object["table"].as_str().and_then(|name| name.split_once('.')).ok_or("the table has no name")?;
    let columns = object.get("columns").and_then(Json::as_object).ok_or("the table has no columns")?;
    let column = |(name, ty): (&String, &Json)| {
        let text = ty.as_str().unwrap_or_default();
        let (text, nullable) = match text.strip_suffix(" null") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let ty = type_parse(text).ok_or_else(|| format!("\"{text}\" is no type of a column"))?;
        Ok(Column { name: name.clone(), ty, nullable })
    };
    let columns: Vec<Column> = columns.iter().map(column).collect::<std::result::Result<_, String>>()?;
    let key = object.get("key").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let place = |name: &Json| {
        let at = columns.iter().position(|column| Some(column.name.as_str()) == name.as_str());
        at.map(|at| at as u16).ok_or_else(|| format!("the key column {name} is none of the table"))
    };
    let primary_key = key.iter().map(place).collect::<std::result::Result<_, String>>()?;
    let name = TableName::new(name.0, name.1);
    Ok(TableSchema { name, columns, primary_key, unique_keys: Vec::new() })
}

fn change(
    object: &Map<String, Json>,
    tables: &HashMap<String, Arc<TableSchema>>,
    seq: Seq,
) -> std::result::Result<Change, String> {
    let ops = [Op::Insert, Op::Update, Op::Delete, Op::Truncate];
    let op = ops
        .into_iter()
        .find(|op| object.contains_key(op.as_str()))
        .ok_or("it is neither a table nor a change")?;
    let name = object[op.as_str()].as_str().unwrap_or_default();
    let table =
        tables.get(name).ok_or_else(|| format!("no line before says what the columns of {name} are"))?;
    let time = object.get("ts").and_then(Json::as_str).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let time_ms = time.ok_or("`ts` is no time")?.as_millisecond();
    let row = |word: &str| match object.get(word) {
        None => Ok(None),
        Some(Json::Object(cells)) => encode(table, cells).map(Some),
        Some(_) => Err(format!("`{word}` is no row")),
    };
    let (before, after) = (row("before")?, row("after")?);
    let is_whole = match op {
        Op::Insert | Op::Update => after.is_some(),
        Op::Delete => before.is_some(),
        Op::Truncate => true,
    };
    if !is_whole {
        return Err(format!("the {} has no row", op.as_str()));
    }
    Ok(Change { seq, op, table: Arc::clone(table), before, after, time_ms })
}

fn encode(table: &Arc<TableSchema>, cells: &Map<String, Json>) -> std::result::Result<Row, String> {
    if let Some(name) = cells.keys().find(|name| table.columns.iter().all(|column| column.name != **name)) {
        return Err(format!("the table has no column `{name}`"));
    }
    let value = |column: &Column| match cells.get(&column.name) {
        None => Ok(None),
        Some(cell) => {
            let value = from_json(cell, &column.ty)
                .ok_or_else(|| format!("column `{}` cannot hold its value", column.name))?;
            Ok(Some(value))
        }
    };
    let values: Vec<_> = table.columns.iter().map(value).collect::<std::result::Result<_, String>>()?;
    Row::encode(Arc::clone(table), &values)
        .map_err(|unfit| format!("column `{}` cannot hold its value", table.columns[unfit.0].name))
}

fn from_json(cell: &Json, ty: &ColumnType) -> Option<Value<'static>> {
    let value = match (cell, ty) {
        (Json::Null, _) => Value::Null,
        (Json::Bool(v), _) => Value::Bool(*v),
        (Json::Number(number), ColumnType::Float) => {
            return number.to_string().parse().ok().map(Value::Float);
        }
        (Json::Number(number), ColumnType::Double) => {
            return number.to_string().parse().ok().map(Value::Double);
        }
        (Json::Number(number), _) => Value::Decimal(number.to_string().into()),
        (
            Json::String(text),
            ColumnType::Binary { .. }
            | ColumnType::VarBinary { .. }
            | ColumnType::Blob { .. }
            | ColumnType::Geometry,
        ) => Value::Bytes(STANDARD.decode(text).ok()?.into()),
        (Json::String(text), ColumnType::Decimal { .. }) => Value::Decimal(text.clone().into()),
        (Json::String(text), _) => Value::Text(text.clone().into()),
        _ => return None,
    };
    fit(&value, ty)
}
