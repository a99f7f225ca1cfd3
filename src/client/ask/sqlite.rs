//! SQLite files are opened for reading only.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::types::ValueRef;
use rusqlite::{Connection as File, OpenFlags};

use super::{Answered, Ask, AskLimits, hex, statement};
use crate::client::place;
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};

/// What a statement may begin with.
const FIRST_WORDS: &[&str] = &["SELECT", "WITH", "EXPLAIN", "VALUES"];

/// Asks SQLite files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sqlite;

#[async_trait]
impl Ask for Sqlite {
    async fn ask(&self, connection: &Connection, text: &str, limits: &AskLimits) -> Result<Answered> {
        statement::check(text, FIRST_WORDS)?;
        let Endpoint::Path(path) = &connection.endpoint else {
            return Err(Error::new(Kind::Environment, "a file is needed").context(place(connection)));
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let file = File::open_with_flags(path, flags)
            .map_err(|error| failed("cannot open the file", &error).context(place(connection)))?;
        let interrupt = EndQuery(file.get_interrupt_handle());
        let (text, limits) = (text.to_owned(), limits.clone());
        let time = limits.time;
        let reading = tokio::task::spawn_blocking(move || read(&file, &text, &limits));
        let answered = match tokio::time::timeout(time, reading).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => {
                Err(Error::new(Kind::Internal, "the thread of a question ended early").caused_by(error))
            }
            Err(_) => {
                let what = format!("no answer within {} ms; the statement was ended", time.as_millis());
                Err(Error::new(Kind::Unavailable, what).advice("ask for less"))
            }
        };
        drop(interrupt);
        answered.map_err(|error| error.context(place(connection)))
    }
}

fn read(file: &File, text: &str, limits: &AskLimits) -> Result<Answered> {
    let said = |error: rusqlite::Error| failed("the statement failed", &error);
    file.busy_timeout(limits.time.min(Duration::from_secs(2))).map_err(said)?;
    let mut prepared = file.prepare(text).map_err(said)?;
    if !prepared.readonly() {
        return Err(Error::new(Kind::Refused, "the statement does not only read"));
    }
    let columns: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
    let width = columns.len();
    let mut answered = Answered { columns, ..Answered::default() };
    let mut bytes = 0;
    let mut rows = prepared.query([]).map_err(said)?;
    while let Some(row) = rows.next().map_err(said)? {
        let value = |at| row.get_ref(at).map(text_of);
        let values = (0..width).map(value).collect::<rusqlite::Result<Vec<_>>>().map_err(said)?;
        if !answered.take(values, &mut bytes, limits) {
            break;
        }
    }
    Ok(answered)
}

fn text_of(value: ValueRef<'_>) -> Option<String> {
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => hex(text),
        },
        ValueRef::Blob(bytes) => hex(bytes),
    })
}

fn failed(doing: &str, error: &rusqlite::Error) -> Error {
    Error::new(Kind::Environment, format!("{doing}: {error}"))
}

/// Ends a statement that nobody waits for any more.
struct EndQuery(rusqlite::InterruptHandle);

impl Drop for EndQuery {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}
