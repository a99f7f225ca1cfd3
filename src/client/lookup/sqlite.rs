//! Lookups in SQLite files. They are opened for reading only, each time that there is none open.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value as Kept, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, OptionalExtension};

use super::{Found, Lookup, LookupKind, TIME_MAX, Wanted, ambiguous, check_type, no_key};
use crate::client::place;
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};
use crate::model::value::Value;

/// SQLite files.
pub struct Sqlite;

impl LookupKind for Sqlite {
    fn open(&self, connection: &Arc<Connection>) -> Result<Box<dyn Lookup>> {
        let Endpoint::Path(path) = &connection.endpoint else {
            return Err(Error::new(Kind::Script, format!("connection {} is no file", connection.name)));
        };
        let patience = connection.settings.duration("busy_timeout").unwrap_or(TIME_MAX).min(TIME_MAX);
        Ok(Box::new(File { path: path.clone(), patience, place: place(connection), open: None }))
    }
}

struct File {
    path: PathBuf,
    patience: Duration,
    place: String,
    open: Option<rusqlite::Connection>,
}

impl Lookup for File {
    fn find(&mut self, wanted: &Wanted) -> Result<Option<Found>> {
        let outcome = self.ask(wanted);
        if !matches!(&outcome, Err(error) if error.kind() != Kind::Data) {
            return outcome.map_err(|error| error.context(self.place.clone()));
        }
        self.open = None;
        outcome.map_err(|error| error.context(self.place.clone()))
    }
}

impl File {
    fn ask(&mut self, wanted: &Wanted) -> Result<Option<Found>> {
        let connection = match self.open.take() {
            Some(open) => open,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let opened = rusqlite::Connection::open_with_flags(&self.path, flags).map_err(failure)?;
                opened.busy_timeout(self.patience).map_err(failure)?;
                opened
            }
        };
        let connection = self.open.insert(connection);
        let column = match &wanted.column {
            Some(column) => column.clone(),
            None => primary_key(connection, wanted)?,
        };
        let text = format!("SELECT * FROM {} WHERE {} = ?1 LIMIT 2", quoted(&wanted.table), quoted(&column));
        let mut statement = connection.prepare_cached(&text).map_err(failure)?;
        let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        // SQLite takes the name of a column that there is none of for a text.
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&column)) {
            return Err(Error::new(Kind::Data, format!("table {} has no column {column}", wanted.table)));
        }
        let mut rows = statement.query([bound(&wanted.key)]).map_err(failure)?;
        let mut found = None;
        while let Some(row) = rows.next().map_err(failure)? {
            if found.is_some() {
                return Err(ambiguous(wanted));
            }
            let values =
                names.iter().enumerate().map(|(at, name)| Ok((name.clone(), value(row.get_ref(at)?))));
            found = Some(values.collect::<rusqlite::Result<Found>>().map_err(failure)?);
        }
        if let Some(found) = &found {
            check_type(wanted, found, &column)?;
        }
        Ok(found)
    }
}

fn primary_key(connection: &rusqlite::Connection, wanted: &Wanted) -> Result<String> {
    let text = "SELECT max(name) FROM pragma_table_info(?1) WHERE pk > 0 HAVING count(*) = 1";
    let name = connection.query_row(text, [&wanted.table], |row| row.get::<_, Option<String>>(0)).optional();
    name.map_err(failure)?.flatten().ok_or_else(|| no_key(wanted))
}

fn bound(key: &Value<'static>) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(match key {
        Value::Null => Kept::Null,
        Value::Bool(v) => Kept::Integer(i64::from(*v)),
        Value::Int(v) => Kept::Integer(*v),
        Value::UInt(v) | Value::Bit(v) => {
            i64::try_from(*v).map_or_else(|_| Kept::Text(v.to_string()), Kept::Integer)
        }
        Value::Float(v) => Kept::Real(f64::from(*v)),
        Value::Double(v) => Kept::Real(*v),
        Value::Year(v) => Kept::Integer(i64::from(*v)),
        Value::Decimal(v) | Value::Text(v) | Value::Json(v) => Kept::Text(v.to_string()),
        Value::Bytes(v) => Kept::Blob(v.to_vec()),
        Value::Date(v) => Kept::Text(v.to_string()),
        Value::DateTime(v) => Kept::Text(v.to_string()),
        Value::Timestamp(v) => Kept::Text(v.to_string()),
        Value::Time(v) => Kept::Text(v.to_string()),
    })
}

fn value(kept: ValueRef<'_>) -> Value<'static> {
    match kept {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(v) => Value::Int(v),
        ValueRef::Real(v) => Value::Double(v),
        ValueRef::Text(v) => Value::Text(Cow::Owned(String::from_utf8_lossy(v).into_owned())),
        ValueRef::Blob(v) => Value::Bytes(Cow::Owned(v.to_vec())),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn failure(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen) => {
            Kind::Unavailable
        }
        // What is missing is part of the script's own words: a table or a column.
        Some(ErrorCode::Unknown) => Kind::Data,
        _ => Kind::Environment,
    };
    Error::new(kind, format!("cannot look a row up: {error}"))
}
