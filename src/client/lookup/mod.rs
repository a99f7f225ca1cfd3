//! Single rows of tables for hooks: `lookup("dim.customers", key)`.
//!
//! A lookup blocks whoever asks, for [`TIME_MAX`] at the most.

pub mod mysql;
pub mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::model::connection::Connection;
use crate::model::spec::{SettingSpec, SettingType};
use crate::model::value::Value;

/// How long one lookup may take, log-in included.
pub const TIME_MAX: Duration = Duration::from_secs(10);

/// For how long a row that was looked up is taken to be the same.
pub const TTL: SettingSpec = SettingSpec::new(
    "lookup_ttl",
    SettingType::Duration,
    Some("5m"),
    "As a table of lookups: for how long a row that was found, or was not there, is not asked for again.",
);

/// How many rows are remembered.
pub const ROWS: SettingSpec = SettingSpec::new(
    "lookup_rows",
    SettingType::Integer { min: 1, max: 100_000_000, unit: "rows" },
    Some("10000"),
    "As a table of lookups: how many rows each pipeline remembers.",
);

/// How much memory they take.
pub const SIZE: SettingSpec = SettingSpec::new(
    "lookup_size",
    SettingType::Size,
    Some("64MiB"),
    "As a table of lookups: how much memory the rows that a pipeline remembers may take.",
);

/// A kind of connections whose tables rows can be looked up in.
pub trait LookupKind: Send + Sync {
    /// Tables of a connection. Nothing is connected before the first lookup.
    ///
    /// # Errors
    /// When the connection can never be used like this.
    fn open(&self, connection: &Arc<Connection>) -> Result<Box<dyn Lookup>>;
}

/// Tables of one connection.
pub trait Lookup: Send {
    /// The row with this key, or `None` when there is none. Blocks for [`TIME_MAX`] at the most; a later call connects
    /// again by itself.
    ///
    /// # Errors
    /// `Unavailable` when the server is away or too slow, `Environment` when it refuses, `Data` when the table has no such
    /// key, several rows have it, or it is of another type.
    fn find(&mut self, wanted: &Wanted) -> Result<Option<Found>>;
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The table, without its database.
    pub table: String,
    /// The column that has the key; `None` is the table's primary key, when that is one column.
    pub column: Option<String>,
    /// The key: an integer, a decimal, a text, bytes, or a date.
    pub key: Value<'static>,
}

/// A row: its columns with their values, in order.
pub type Found = Vec<(String, Value<'static>)>;

/// Two rows have the key.
fn ambiguous(wanted: &Wanted) -> Error {
    Error::new(Kind::Data, format!("several rows of {} have this key", wanted.table))
        .advice("look rows up by a column that is unique")
}

/// There is no key of one column.
fn no_key(wanted: &Wanted) -> Error {
    Error::new(Kind::Data, format!("table {} has no primary key of one column", wanted.table))
        .advice("name the column: lookup(\"connection.table\", \"column\", key)")
}

/// A row was found whose key only equals the wanted one after a conversion.
fn check_type(wanted: &Wanted, found: &Found, column: &str) -> Result<()> {
    let same_name = |name: &str| name.eq_ignore_ascii_case(column);
    let Some((_, value)) = found.iter().find(|(name, _)| same_name(name)) else { return Ok(()) };
    let is_number =
        |value: &Value<'_>| !matches!(value, Value::Text(_) | Value::Bytes(_) | Value::Json(_) | Value::Null);
    let is_text = |value: &Value<'_>| matches!(value, Value::Text(_) | Value::Json(_));
    let fits = match (&wanted.key, value) {
        // SQLite keeps exact decimals and dates as texts, and MySQL compares dates with texts.
        (Value::Text(_), value) => {
            !matches!(value, Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Double(_))
        }
        (key, value) if is_number(key) => {
            is_number(value) || (is_text(value) && !matches!(key, Value::Int(_)))
        }
        _ => true,
    };
    if fits {
        return Ok(());
    }
    Err(Error::new(Kind::Data, format!("column {column} of {} has another type than the key", wanted.table))
        .advice("convert the key first: `row.id.to_string()`, or `parse_int(row.code)`"))
}
