//! Questions to databases that people ask to see what is there: one statement that reads, over a connection of its own,
//! bounded in rows, bytes and time. Nothing is changed by it.

mod mysql;
mod sqlite;
mod statement;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::mysql::Mysql;
pub use self::sqlite::Sqlite;

use crate::error::Result;
use crate::model::connection::Connection;

/// What one question may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskLimits {
    /// Rows that are taken.
    pub rows: usize,
    /// Bytes of values that are taken.
    pub bytes: usize,
    /// How long the answer may take, log-in included.
    pub time: Duration,
}

/// What a database answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with a value for each column as the database writes it; `None` is NULL. Binary data is written as
    /// `0x0a1b`.
    pub rows: Vec<Vec<Option<String>>>,
    /// Why there is more than these rows, when there is: `rows` or `bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_by: Option<CutBy>,
}

/// The limit that an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutBy {
    /// There are more rows.
    Rows,
    /// The next row would have been too much.
    Bytes,
}

/// A kind of database that can be asked.
#[async_trait]
pub trait Ask: Send + Sync {
    /// Asks one statement that reads: SELECT, WITH, SHOW, DESCRIBE or EXPLAIN, as far as the database has them.
    ///
    /// The future may be dropped: the statement is then ended soon.
    ///
    /// # Errors
    /// `Refused` for any other statement, and for one that would lock rows or write files. `Unavailable` when the database
    /// cannot be reached, or does not answer in time. `Environment` when it refuses the log-in or the statement.
    async fn ask(&self, connection: &Connection, statement: &str, limits: &AskLimits) -> Result<Answered>;
}

impl Answered {
    /// Takes a row, unless it would be too much. False when no more rows are taken.
    fn take(&mut self, row: Vec<Option<String>>, bytes: &mut usize, limits: &AskLimits) -> bool {
        if self.rows.len() >= limits.rows {
            self.cut_by = Some(CutBy::Rows);
            return false;
        }
        *bytes += row.iter().flatten().map(String::len).sum::<usize>();
        if *bytes > limits.bytes {
            self.cut_by = Some(CutBy::Bytes);
            return false;
        }
        self.rows.push(row);
        true
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}
