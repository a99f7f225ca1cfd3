//! Asking a database of the plan.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::ask::{Answered, AskLimits, CutBy};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::lang::diagnostic::did_you_mean;

/// So many rows are shown when nobody says how many.
pub const SQL_ROWS: u64 = 50;
/// More rows are never shown at once.
pub const SQL_ROWS_MAX: u64 = 1000;
/// Bytes of values in one answer.
pub const SQL_BYTES_MAX: usize = 1 << 20;
/// How long a database may take to answer.
pub const SQL_TIME_MAX: Duration = Duration::from_secs(10);

/// Rows of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// The connection that was asked.
    pub connection: String,
    /// What it answered.
    #[serde(flatten)]
    pub answered: Answered,
    /// What is to be said besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Engine {
    /// Asks a database that a connection of the plan leads to, over a connection of its own that can only read: one
    /// statement, and the first rows of its answer: [`SQL_ROWS`] without a `limit`, and never more than [`SQL_ROWS_MAX`],
    /// [`SQL_BYTES_MAX`] and [`SQL_TIME_MAX`] allow. The future may be dropped; the statement is then ended.
    ///
    /// # Errors
    /// `Refused` when there is no such connection, its kind cannot be asked, or the statement does not only read.
    /// As [`Ask::ask`](crate::client::ask::Ask::ask) otherwise.
    pub async fn sql(&self, connection: &str, statement: &str, limit: Option<u64>) -> Result<Rows> {
        let plan = self.running.lock().await.plan.clone();
        let found = plan.connections.get(connection).ok_or_else(|| {
            let names = || plan.connections.keys().map(String::as_str);
            let error = Error::new(Kind::Refused, format!("there is no connection {connection}"));
            match did_you_mean(connection, names()) {
                Some(near) => error.advice(format!("did you mean {near}?")),
                None => error.advice(format!("there are {}", names().collect::<Vec<_>>().join(", "))),
            }
        })?;
        let rows = limit.unwrap_or(SQL_ROWS).min(SQL_ROWS_MAX) as usize;
        let limits = AskLimits { rows, bytes: SQL_BYTES_MAX, time: SQL_TIME_MAX };
        let answered = self.registry.ask(found.kind)?.ask(found, statement, &limits).await?;
        let mut notes = Vec::new();
        match answered.cut_by {
            Some(CutBy::Rows) => notes.push(format!("there are more than these {rows} rows")),
            Some(CutBy::Bytes) => notes.push(format!(
                "there are more rows; these {} are what fits into {SQL_BYTES_MAX} bytes",
                answered.rows.len()
            )),
            None => {}
        }
        Ok(Rows { connection: connection.to_owned(), answered, notes })
    }
}
