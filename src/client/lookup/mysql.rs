//! Lookups in tables of MySQL and MariaDB. The driver is asynchronous and hooks are not, so that a thread of its own has
//! the connection, and answers one question at a time.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, Row, Value as Sent};

use super::{Found, Lookup, LookupKind, TIME_MAX, Wanted, ambiguous, check_type, no_key};
use crate::client::mysql as client;
use crate::client::place;
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};
use crate::model::value::{Date, DateTime, Time, Timestamp, Value};

/// Servers of MySQL and MariaDB.
pub struct Mysql;

impl LookupKind for Mysql {
    fn open(&self, connection: &Arc<Connection>) -> Result<Box<dyn Lookup>> {
        client::options(connection)?;
        Ok(Box::new(Server { connection: Arc::clone(connection), worker: None }))
    }
}

/// The character set of columns that hold bytes.
const BINARY: u16 = 63;
/// How much longer than a lookup is waited for the thread's answer.
const GRACE: Duration = Duration::from_secs(2);

struct Server {
    connection: Arc<Connection>,
    worker: Option<Sender<Question>>,
}

struct Question {
    wanted: Wanted,
    answer: SyncSender<Result<Option<Found>>>,
}

impl Lookup for Server {
    fn find(&mut self, wanted: &Wanted) -> Result<Option<Found>> {
        let outcome = self.ask(wanted);
        // The thread is given up together with its connection, and ends by itself.
        if matches!(&outcome, Err(error) if error.kind() != Kind::Data) {
            self.worker = None;
        }
        outcome.map_err(|error| error.context(place(&self.connection)))
    }
}

impl Server {
    fn ask(&mut self, wanted: &Wanted) -> Result<Option<Found>> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => start(Arc::clone(&self.connection))?,
        };
        let worker = self.worker.insert(worker);
        let (answer, wait) = sync_channel(1);
        let late = || Error::new(Kind::Unavailable, format!("no answer within {} ms", TIME_MAX.as_millis()));
        worker.send(Question { wanted: wanted.clone(), answer }).map_err(|_| late())?;
        match wait.recv_timeout(TIME_MAX + GRACE) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(late()),
        }
    }
}

fn start(connection: Arc<Connection>) -> Result<Sender<Question>> {
    let (ask, questions) = channel();
    let failed = |error: std::io::Error| {
        Error::new(Kind::Unavailable, format!("there is no thread for lookups: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let work = move || runtime.block_on(answer(&connection, &questions));
    thread::Builder::new().name("lode-lookup".to_owned()).spawn(work).map_err(failed)?;
    Ok(ask)
}

/// Answers questions until nobody asks any more.
async fn answer(connection: &Connection, questions: &Receiver<Question>) {
    let mut open: Option<Conn> = None;
    // Nothing else runs on this thread, so that waiting for a question may block it.
    while let Ok(Question { wanted, answer }) = questions.recv() {
        let outcome = match tokio::time::timeout(TIME_MAX, find(connection, &mut open, &wanted)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Error::new(Kind::Unavailable, format!("no answer within {} ms", TIME_MAX.as_millis())))
            }
        };
        if matches!(&outcome, Err(error) if error.kind() != Kind::Data) {
            open = None;
        }
        // Who asked may have given up.
        let _ = answer.send(outcome);
    }
}

async fn find(connection: &Connection, open: &mut Option<Conn>, wanted: &Wanted) -> Result<Option<Found>> {
    let was_open = open.is_some();
    match look(connection, open, wanted).await {
        // A connection that was idle for long may have been closed by the server.
        Err(error) if was_open && error.kind() == Kind::Unavailable => {
            *open = None;
            look(connection, open, wanted).await
        }
        outcome => outcome,
    }
}

async fn look(connection: &Connection, open: &mut Option<Conn>, wanted: &Wanted) -> Result<Option<Found>> {
    let conn = match open.take() {
        Some(conn) => conn,
        None => client::connect(connection, client::options(connection)?).await?,
    };
    let conn = open.insert(conn);
    let database = match &connection.endpoint {
        Endpoint::Url { database, .. } => database.as_str(),
        _ => "",
    };
    let column = match &wanted.column {
        Some(column) => column.clone(),
        None => primary_key(conn, database, wanted).await?,
    };
    let table = format!("{}.{}", quoted(database), quoted(&wanted.table));
    let text = format!("SELECT * FROM {table} WHERE {} = ? LIMIT 2", quoted(&column));
    let rows: Vec<Row> = conn.exec(text, (sent(&wanted.key),)).await.map_err(failure)?;
    let mut rows = rows.into_iter();
    let Some(row) = rows.next() else { return Ok(None) };
    if rows.next().is_some() {
        return Err(ambiguous(wanted));
    }
    let columns = row.columns();
    let values = row.unwrap_raw().into_iter();
    let found: Found = columns
        .iter()
        .zip(values)
        .map(|(column, value)| {
            (column.name_str().into_owned(), received(column, value.unwrap_or(Sent::NULL)))
        })
        .collect();
    check_type(wanted, &found, &column)?;
    Ok(Some(found))
}

async fn primary_key(conn: &mut Conn, database: &str, wanted: &Wanted) -> Result<String> {
    let text = "SELECT COLUMN_NAME FROM information_schema.STATISTICS \
                WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX";
    let mut names: Vec<String> = conn.exec(text, (database, &wanted.table)).await.map_err(failure)?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(no_key(wanted)),
    }
}

fn failure(error: mysql_async::Error) -> Error {
    let missing = matches!(&error, mysql_async::Error::Server(error) if matches!(error.code, 1054 | 1146));
    let error = client::failure(error, "cannot look a row up");
    if missing { Error::new(Kind::Data, error.message().to_owned()) } else { error }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn sent(key: &Value<'static>) -> Sent {
    let text = |text: String| Sent::Bytes(text.into_bytes());
    match key {
        Value::Null => Sent::NULL,
        Value::Bool(v) => Sent::Int(i64::from(*v)),
        Value::Int(v) => Sent::Int(*v),
        Value::UInt(v) | Value::Bit(v) => Sent::UInt(*v),
        Value::Float(v) => Sent::Float(*v),
        Value::Double(v) => Sent::Double(*v),
        Value::Year(v) => Sent::Int(i64::from(*v)),
        Value::Decimal(v) | Value::Text(v) | Value::Json(v) => text(v.to_string()),
        Value::Bytes(v) => Sent::Bytes(v.to_vec()),
        Value::Date(v) => text(v.to_string()),
        Value::DateTime(v) => text(v.to_string()),
        Value::Timestamp(v) => text(v.to_string()),
        Value::Time(v) => text(v.to_string()),
    }
}

/// A value of the binary protocol, by the type of its column.
fn received(column: &Column, value: Sent) -> Value<'static> {
    let ty = column.column_type();
    match value {
        Sent::NULL => Value::Null,
        Sent::Int(v) => Value::Int(v),
        Sent::UInt(v) => Value::UInt(v),
        Sent::Float(v) => Value::Float(v),
        Sent::Double(v) => Value::Double(v),
        Sent::Date(year, month, day, hour, minute, second, micros) => {
            let date = Date { year, month, day };
            let fsp = column.decimals().min(6);
            let at = DateTime { date, hour, minute, second, micros, fsp };
            match ty {
                ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Value::Date(date),
                ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => {
                    Value::Timestamp(moment(at))
                }
                _ => Value::DateTime(at),
            }
        }
        Sent::Time(negative, days, hours, minutes, seconds, micros) => {
            let hours = i64::from(days) * 24 + i64::from(hours);
            let seconds = (hours * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
            let micros = seconds * 1_000_000 + i64::from(micros);
            Value::Time(Time {
                micros: if negative { -micros } else { micros },
                fsp: column.decimals().min(6),
            })
        }
        Sent::Bytes(bytes) => match ty {
            ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => {
                Value::Decimal(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
            }
            ColumnType::MYSQL_TYPE_BIT => {
                Value::Bit(bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
            }
            ColumnType::MYSQL_TYPE_JSON => {
                Value::Json(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
            }
            _ if column.character_set() == BINARY && column.flags().contains(ColumnFlags::BINARY_FLAG) => {
                Value::Bytes(Cow::Owned(bytes))
            }
            _ => Value::Text(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())),
        },
    }
}

/// The session's time zone is UTC.
fn moment(at: DateTime) -> Timestamp {
    let DateTime { date, hour, minute, second, micros, fsp } = at;
    let civil = jiff::civil::Date::new(date.year as i16, date.month as i8, date.day as i8).ok();
    let at = civil.map(|date| date.at(hour as i8, minute as i8, second as i8, micros as i32 * 1000));
    let at = at.and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC).ok());
    Timestamp { micros: at.map(|at| at.timestamp().as_microsecond()), fsp }
}
