//! MySQL and MariaDB are asked over a short connection of its own, whose transactions can only read.

use std::time::Duration;

use async_trait::async_trait;
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, OptsBuilder, Value};

use super::{Answered, Ask, AskLimits, hex, statement};
use crate::client::mysql::{connect, failure, options};
use crate::client::place;
use crate::error::{Error, Kind, Result};
use crate::model::connection::Connection;

/// What a statement may begin with.
const FIRST_WORDS: &[&str] = &["SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "TABLE", "VALUES"];
/// The server ends a statement by itself so much later, where nobody has told it to. Not earlier: a statement that MySQL
/// interrupts may look as if it had an answer, such as `SELECT SLEEP(100)`.
const SERVER_GRACE: Duration = Duration::from_secs(1);
/// The number of the character set that binary data has.
const BINARY: u16 = 63;

/// Asks MySQL and MariaDB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mysql;

#[async_trait]
impl Ask for Mysql {
    async fn ask(&self, connection: &Connection, text: &str, limits: &AskLimits) -> Result<Answered> {
        statement::check(text, FIRST_WORDS)?;
        let asked = tokio::time::timeout(limits.time, ask(connection, text, limits)).await;
        asked
            .unwrap_or_else(|_| {
                let what =
                    format!("no answer within {} ms; the statement was ended", limits.time.as_millis());
                Err(Error::new(Kind::Unavailable, what)
                    .advice("ask for less, such as with a WHERE that has an index"))
            })
            .map_err(|error| error.context(place(connection)))
    }
}

async fn ask(connection: &Connection, text: &str, limits: &AskLimits) -> Result<Answered> {
    let options = options(connection)?;
    let mut conn = connect(connection, options.clone()).await?;
    let said = |error| failure(error, "the statement failed");
    let is_mariadb = conn.query_first::<String, _>("SELECT VERSION()").await.map_err(said)?;
    let is_mariadb = is_mariadb.is_some_and(|version| version.contains("MariaDB"));
    let time = limits.time + SERVER_GRACE;
    let time = match is_mariadb {
        true => format!("max_statement_time = {}", time.as_secs_f64()),
        false => format!("max_execution_time = {}", time.as_millis()),
    };
    // Without words that would change what quotes mean. One row more tells that there are more.
    let rows = limits.rows.saturating_add(1);
    let session = format!("SET SESSION sql_mode = '', sql_select_limit = {rows}, {time}");
    conn.query_drop(session).await.map_err(said)?;
    conn.query_drop("SET SESSION TRANSACTION READ ONLY").await.map_err(said)?;
    conn.query_drop("START TRANSACTION READ ONLY").await.map_err(said)?;
    // The server says itself that it is one statement. It is asked as text, so that values come as the server writes them.
    let prepared = conn.prep(text).await.map_err(said)?;
    conn.close(prepared).await.map_err(said)?;
    let guard = EndQuery { options: Some(options), id: conn.id() };
    let answered = read(&mut conn, text, limits).await;
    // What is not taken is not waited for.
    if answered.as_ref().is_ok_and(|answered| answered.cut_by.is_some()) {
        drop(guard);
    } else {
        guard.disarm();
    }
    let answered = answered.map_err(said)?;
    tokio::spawn(async move {
        // The server learns of it in any case.
        let _ = conn.disconnect().await;
    });
    Ok(answered)
}

async fn read(conn: &mut Conn, text: &str, limits: &AskLimits) -> mysql_async::Result<Answered> {
    let mut result = conn.query_iter(text).await?;
    let columns = result.columns();
    let columns = columns.as_deref().unwrap_or_default();
    let mut answered = Answered {
        columns: columns.iter().map(|column| column.name_str().into_owned()).collect(),
        ..Answered::default()
    };
    let mut bytes = 0;
    while let Some(row) = result.next().await? {
        let values = row.unwrap().into_iter().zip(columns).map(|(value, column)| text_of(value, column));
        if !answered.take(values.collect(), &mut bytes, limits) {
            break;
        }
    }
    Ok(answered)
}

/// A value as the server wrote it.
fn text_of(value: Value, column: &Column) -> Option<String> {
    let bytes = match value {
        Value::NULL => return None,
        Value::Bytes(bytes) => bytes,
        // No other one comes as text.
        other => return Some(other.as_sql(true)),
    };
    let is_binary = column.character_set() == BINARY
        && matches!(
            column.column_type(),
            ColumnType::MYSQL_TYPE_STRING
                | ColumnType::MYSQL_TYPE_VAR_STRING
                | ColumnType::MYSQL_TYPE_VARCHAR
                | ColumnType::MYSQL_TYPE_TINY_BLOB
                | ColumnType::MYSQL_TYPE_BLOB
                | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
                | ColumnType::MYSQL_TYPE_LONG_BLOB
                | ColumnType::MYSQL_TYPE_BIT
                | ColumnType::MYSQL_TYPE_GEOMETRY
        );
    Some(match String::from_utf8(bytes) {
        Ok(text) if !is_binary => text,
        Ok(text) => hex(text.as_bytes()),
        Err(error) => hex(error.as_bytes()),
    })
}

/// Has the server end a statement when nobody waits for it any more.
struct EndQuery {
    options: Option<OptsBuilder>,
    id: u32,
}

impl EndQuery {
    /// The statement has ended.
    fn disarm(mut self) {
        self.options = None;
    }
}

impl Drop for EndQuery {
    fn drop(&mut self) {
        let (Some(options), Ok(runtime)) = (self.options.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let kill = format!("KILL QUERY {}", self.id);
        runtime.spawn(async move {
            // Where that fails, the time that the server was given ends the statement.
            if let Ok(mut conn) = Conn::new(options).await {
                let _ = conn.query_drop(kill).await;
                let _ = conn.disconnect().await;
            }
        });
    }
}
