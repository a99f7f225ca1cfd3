//! Rows of tables as they are now, encoded as the binlog would have them.
//!
//! Each call is a transaction of its own: the first statement in it takes the table's metadata lock, so that the definition
//! that is read next is the one that the rows have. Values come in the binary protocol; text in the column's own character
//! set, so that it becomes UTF-8 in the same way as the binlog's.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value as Sent};

use super::catalog::{self, Described};
use super::charset::Charset;
use crate::client::mysql as client;
use crate::error::{Error, Kind, Result};
use crate::model::connection::Connection;
use crate::model::row::{ImageWriter, Row, RowView};
use crate::model::schema::{ColumnType, TableSchema};
use crate::model::table::TableName;
use crate::model::value::{Date, DateTime, Time, Timestamp, Value};
use crate::source::RowReader;

/// Keys are asked for in statements of about so many bytes.
const STATEMENT_BYTES: usize = 256 << 10;
/// The largest packet of the protocol; a row may be as large.
const PACKET_MAX: usize = 1 << 30;
/// Nothing may change what the server compares, and how it shows values.
const SESSION: &str = "SET NAMES utf8mb4, character_set_results = NULL, time_zone = '+00:00', sql_mode = ''";

/// Reads rows over a connection of its own.
pub(super) struct Rows {
    connection: Arc<Connection>,
    conn: Option<Conn>,
}

impl Rows {
    pub fn new(connection: Arc<Connection>) -> Rows {
        Rows { connection, conn: None }
    }

    async fn connect(&self) -> Result<Conn> {
        let options = client::options(&self.connection)?
            .max_allowed_packet(Some(PACKET_MAX))
            // Hardly two statements are the same.
            .stmt_cache_size(Some(0))
            .setup(vec![SESSION]);
        client::connect(&self.connection, options).await
    }
}

#[async_trait]
impl RowReader for Rows {
    async fn read(&mut self, keys: &[Row]) -> Result<Vec<Row>> {
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        // A connection that was idle for long may have been closed by the server.
        if let Some(mut conn) = self.conn.take() {
            match read(&mut conn, &first.schema, keys).await {
                Err(error) if error.kind() == Kind::Unavailable => {}
                outcome => {
                    self.conn = outcome.is_ok().then_some(conn);
                    return outcome;
                }
            }
        }
        let mut conn = self.connect().await?;
        let outcome = read(&mut conn, &first.schema, keys).await;
        self.conn = outcome.is_ok().then_some(conn);
        outcome.map_err(|error| error.context(crate::client::place(&self.connection)))
    }
}

async fn read(conn: &mut Conn, schema: &Arc<TableSchema>, keys: &[Row]) -> Result<Vec<Row>> {
    let table = quoted_table(&schema.name);
    run(conn, "START TRANSACTION READ ONLY").await?;
    let rows = match conn.query_drop(format!("SELECT 1 FROM {table} LIMIT 0")).await {
        Ok(()) => match catalog::describe(conn, &schema.name).await? {
            Some(known) => read_described(conn, schema, &known.columns, keys).await?,
            None => Vec::new(),
        },
        Err(mysql_async::Error::Server(error)) if is_gone(error.code) => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    run(conn, "COMMIT").await?;
    Ok(rows)
}

/// No such database, table, or a view that leads nowhere.
fn is_gone(code: u16) -> bool {
    matches!(code, 1049 | 1146 | 1356)
}

async fn read_described(
    conn: &mut Conn,
    schema: &Arc<TableSchema>,
    known: &[Described],
    keys: &[Row],
) -> Result<Vec<Row>> {
    let columns: Vec<Option<Readable>> =
        schema.columns.iter().map(|column| readable(&column.name, &column.ty, known)).collect();
    let list: Vec<&str> = columns.iter().flatten().map(|column| column.shown.as_str()).collect();
    let Some(key) = keys.first().map(key_columns).filter(|key| key.iter().all(|at| columns[*at].is_some()))
    else {
        return Ok(Vec::new());
    };
    let conditions: Vec<String> = keys.iter().filter_map(|row| condition(row, &key)).collect();
    let mut rows = Vec::with_capacity(conditions.len());
    let mut rest = conditions.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|condition| {
            bytes += condition.len();
            bytes <= STATEMENT_BYTES
        });
        let count = fitting.count().max(1);
        let (now, later) = rest.split_at(count);
        rest = later;
        let statement = format!(
            "SELECT {} FROM {} WHERE {}",
            list.join(", "),
            quoted_table(&schema.name),
            any_of(schema, &key, now)
        );
        let mut result = conn.exec_iter(statement, ()).await.map_err(failed)?;
        while let Some(row) = result.next().await.map_err(failed)? {
            rows.push(encoded(schema, &columns, row)?);
        }
    }
    Ok(rows)
}

async fn run(conn: &mut Conn, statement: &str) -> Result<()> {
    conn.query_drop(statement).await.map_err(failed)
}

fn failed(error: mysql_async::Error) -> Error {
    client::failure(error, "cannot read back what the binlog leaves out")
}

/// A column whose values can be read exactly.
struct Readable {
    /// What is selected.
    shown: String,
    charset: Charset,
}

/// How to read a column; `None` when the table has none of this name and type now.
fn readable(name: &str, ty: &ColumnType, known: &[Described]) -> Option<Readable> {
    let described = known.iter().find(|described| described.name == name)?;
    let charset = match &described.charset {
        Some(charset) => Charset::of_name(charset)?,
        None => Charset::Binary,
    };
    let shown = match ty {
        // Of labels, the binlog has the places.
        ColumnType::Enum { .. } | ColumnType::Set { .. } => format!("CAST({} AS UNSIGNED)", quoted(name)),
        _ => quoted(name),
    };
    is_same(ty, described).then_some(Readable { shown, charset })
}

/// Whether a column with this definition has values of type `ty`, and no others.
fn is_same(ty: &ColumnType, described: &Described) -> bool {
    let said = described.data_type.as_str();
    let number = || described.column_type.split_once('(')?.1.split_once(')')?.0.parse::<u32>().ok();
    let fsp = || number().unwrap_or(0);
    match ty {
        ColumnType::Bool => false,
        ColumnType::Int { bits, unsigned } => {
            let of_width = match bits {
                8 => "tinyint",
                16 => "smallint",
                24 => "mediumint",
                32 => "int",
                _ => "bigint",
            };
            said == of_width && described.is_unsigned() == *unsigned
        }
        ColumnType::Decimal { precision, scale, unsigned } => {
            described.column_type.starts_with(&format!("decimal({precision},{scale})"))
                && described.is_unsigned() == *unsigned
        }
        ColumnType::Float => said == "float",
        ColumnType::Double => said == "double",
        ColumnType::Bit { width } => said == "bit" && number() == Some(u32::from(*width)),
        ColumnType::Year => said == "year",
        ColumnType::Date => said == "date",
        ColumnType::DateTime { fsp: most } => said == "datetime" && fsp() == u32::from(*most),
        ColumnType::Timestamp { fsp: most } => said == "timestamp" && fsp() == u32::from(*most),
        ColumnType::Time { fsp: most } => said == "time" && fsp() == u32::from(*most),
        ColumnType::Char { chars } => said == "char" && number() == Some(*chars),
        ColumnType::VarChar { chars } => said == "varchar" && number() == Some(*chars),
        ColumnType::Binary { bytes } => said == "binary" && number() == Some(*bytes),
        ColumnType::VarBinary { bytes } => said == "varbinary" && number() == Some(*bytes),
        ColumnType::Text { bytes } => said.strip_suffix("text").and_then(bytes_max) == Some(*bytes),
        ColumnType::Blob { bytes } => said.strip_suffix("blob").and_then(bytes_max) == Some(*bytes),
        ColumnType::Json => said == "json",
        ColumnType::Geometry => {
            let geometries = ["geometry", "point", "linestring", "polygon", "geomcollection"];
            geometries.contains(&said) || said.starts_with("multi") || said == "geometrycollection"
        }
        ColumnType::Enum { labels } => said == "enum" && described.labels().as_ref() == Some(labels),
        ColumnType::Set { labels } => said == "set" && described.labels().as_ref() == Some(labels),
    }
}

/// The most bytes of a `tinytext`, `text` and so on, by what stands before the word.
fn bytes_max(size: &str) -> Option<u32> {
    Some(match size {
        "tiny" => 0xFF,
        "" => 0xFFFF,
        "medium" => 0xFF_FFFF,
        "long" => 0xFFFF_FFFF,
        _ => return None,
    })
}

/// The columns that a key has.
fn key_columns(key: &Row) -> Vec<usize> {
    let view = key.view();
    (0..key.schema.columns.len()).filter(|at| view.is_present(*at)).collect()
}

/// What finds one row: the literal of its key, where that is one column, else a condition.
fn condition(row: &Row, key: &[usize]) -> Option<String> {
    let view: RowView<'_> = row.view();
    if let [only] = key {
        return literal(&view.get(*only)?);
    }
    let mut condition = String::from("(");
    for (count, at) in key.iter().enumerate() {
        let and = if count > 0 { " AND " } else { "" };
        let name = quoted(&row.schema.columns[*at].name);
        let _ = write!(condition, "{and}{name} = {}", literal(&view.get(*at)?)?);
    }
    condition.push(')');
    Some(condition)
}

fn any_of(schema: &TableSchema, key: &[usize], conditions: &[String]) -> String {
    match key {
        [only] => format!("{} IN ({})", quoted(&schema.columns[*only].name), conditions.join(", ")),
        // Not every optimizer finds rows of several columns in a list by the index.
        _ => conditions.join(" OR "),
    }
}

/// A value as SQL; `None` for one that no comparison finds again exactly.
fn literal(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Int(v) => v.to_string(),
        Value::UInt(v) | Value::Bit(v) => v.to_string(),
        Value::Year(v) => v.to_string(),
        Value::Decimal(v) => v.clone().into_owned(),
        Value::Date(v) => format!("'{v}'"),
        Value::DateTime(v) => format!("'{v}'"),
        Value::Timestamp(v) => format!("'{v}'"),
        Value::Time(v) => format!("'{v}'"),
        Value::Text(v) => format!("_utf8mb4 x'{}'", hex(v.as_bytes())),
        Value::Bytes(v) => format!("x'{}'", hex(v)),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Double(_) | Value::Json(_) => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn quoted_table(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.database), quoted(&table.table))
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn encoded(schema: &Arc<TableSchema>, columns: &[Option<Readable>], row: mysql_async::Row) -> Result<Row> {
    let mut sent = row.unwrap().into_iter();
    let mut image = Vec::new();
    let absent = columns.iter().any(Option::is_none);
    let mut writer = ImageWriter::new(&mut image, columns.len(), absent);
    for (column, readable) in schema.columns.iter().zip(columns) {
        let Some(readable) = readable else {
            writer.absent();
            continue;
        };
        encode(&column.ty, readable.charset, sent.next(), &mut writer).ok_or_else(|| {
            Error::new(
                Kind::Data,
                format!(
                    "column {} of {} cannot be read back: its value cannot be carried",
                    column.name, schema.name
                ),
            )
            .advice("leave full_rows out, and let the server write whole rows: binlog_row_image = FULL")
        })?;
    }
    Ok(Row { schema: Arc::clone(schema), image: image.into() })
}

/// Appends a value as the binlog's would be appended; `None` when it is none of the type.
fn encode(ty: &ColumnType, charset: Charset, sent: Option<Sent>, image: &mut ImageWriter<'_>) -> Option<()> {
    let value = match (ty, sent?) {
        (_, Sent::NULL) => Value::Null,
        (ColumnType::Enum { labels }, sent) => {
            let place = number(&sent).filter(|place| *place <= labels.len() as u64)?;
            image.fixed(u16::try_from(place).ok()?.to_le_bytes());
            return Some(());
        }
        (ColumnType::Set { labels }, sent) => {
            let bits = number(&sent)?;
            let known = labels.len() >= 64 || bits >> labels.len() == 0;
            known.then(|| image.fixed(bits.to_le_bytes()))?;
            return Some(());
        }
        (ColumnType::Year, sent) => Value::Year(u16::try_from(number(&sent)?).ok()?),
        (ColumnType::Int { .. }, Sent::Int(v)) => Value::Int(v),
        (ColumnType::Int { .. }, Sent::UInt(v)) => Value::UInt(v),
        (ColumnType::Float, Sent::Float(v)) => Value::Float(v),
        (ColumnType::Double, Sent::Double(v)) => Value::Double(v),
        (ColumnType::Decimal { .. }, Sent::Bytes(digits)) => {
            Value::Decimal(without_padding(String::from_utf8(digits).ok()?).into())
        }
        (ColumnType::Bit { .. }, Sent::Bytes(bytes)) if bytes.len() <= 8 => {
            Value::Bit(bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
        }
        (ColumnType::Date, Sent::Date(year, month, day, ..)) => Value::Date(Date { year, month, day }),
        (ColumnType::DateTime { fsp }, Sent::Date(year, month, day, hour, minute, second, micros)) => {
            let date = Date { year, month, day };
            Value::DateTime(DateTime { date, hour, minute, second, micros, fsp: *fsp })
        }
        (ColumnType::Timestamp { fsp }, Sent::Date(year, month, day, hour, minute, second, micros)) => {
            let micros = match (year, month, day) {
                (0, 0, 0) => None,
                _ => Some(micros_since_1970([hour, minute, second], (year, month, day), micros)?),
            };
            Value::Timestamp(Timestamp { micros, fsp: *fsp })
        }
        (ColumnType::Time { fsp }, Sent::Time(negative, days, hours, minutes, seconds, micros)) => {
            let hours = i64::from(days) * 24 + i64::from(hours);
            let seconds = (hours * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
            let micros = seconds * 1_000_000 + i64::from(micros);
            Value::Time(Time { micros: if negative { -micros } else { micros }, fsp: *fsp })
        }
        (ColumnType::Json, Sent::Bytes(text)) => Value::Json(String::from_utf8(text).ok()?.into()),
        (
            ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. },
            Sent::Bytes(bytes),
        ) => Value::Text(charset.text(&bytes).ok()?.into()),
        (ColumnType::Binary { bytes: len }, Sent::Bytes(mut bytes)) => {
            bytes.resize(bytes.len().max(*len as usize), 0);
            Value::Bytes(bytes.into())
        }
        (
            ColumnType::VarBinary { .. } | ColumnType::Blob { .. } | ColumnType::Geometry,
            Sent::Bytes(bytes),
        ) => Value::Bytes(bytes.into()),
        _ => return None,
    };
    image.value(ty, &value).ok()
}

fn number(sent: &Sent) -> Option<u64> {
    match sent {
        Sent::UInt(v) => Some(*v),
        Sent::Int(v) => u64::try_from(*v).ok(),
        _ => None,
    }
}

/// A decimal without the zeros that ZEROFILL puts before it.
fn without_padding(digits: String) -> String {
    let (sign, number) = match digits.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", digits.as_str()),
    };
    let bare = number.trim_start_matches('0');
    let zero = if bare.is_empty() || bare.starts_with('.') { "0" } else { "" };
    format!("{sign}{zero}{bare}")
}

fn micros_since_1970(
    [hour, minute, second]: [u8; 3],
    (year, month, day): (u16, u8, u8),
    micros: u32,
) -> Option<i64> {
    let (year, month, day) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let [hour, minute, second] = [hour, minute, second].map(|part| i8::try_from(part).unwrap_or(i8::MAX));
    let nanos = i32::try_from(micros.checked_mul(1000)?).ok()?;
    let at = jiff::civil::DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_part_of_a_decimal() {
        for (shown, bare) in [
            ("00012.30", "12.30"),
            ("0.50", "0.50"),
            ("-0.50", "-0.50"),
            ("000", "0"),
            ("-07", "-7"),
            ("10", "10"),
        ] {
            assert_eq!(without_padding(shown.into()), bare);
        }
    }

    #[test]
    fn moments_are_those_of_utc() {
        assert_eq!(micros_since_1970([0, 0, 1], (1970, 1, 1), 5), Some(1_000_005));
        assert_eq!(micros_since_1970([3, 14, 7], (2038, 1, 19), 999_999), Some(2_147_483_647_999_999));
        assert_eq!(micros_since_1970([0, 0, 0], (2020, 2, 31), 0), None);
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(literal(&Value::Text("it's".into())).unwrap(), "_utf8mb4 x'69742773'");
        assert_eq!(literal(&Value::Double(0.1)), None);
    }
}
