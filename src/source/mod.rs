//! Sources: what can be mined. A source turns its change log into entries; it knows no store and no sink.

pub mod binlog;
pub mod mysql;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::model::block::{BlockBuilder, SchemaBook};
use crate::model::connection::Connection;
use crate::model::coverage::Coverage;
use crate::model::position::Position;
use crate::model::row::Row;
use crate::model::spec::Start;
use crate::model::table::TableSelection;

/// A kind of source: makes sources for connections.
pub trait SourceKind: Send + Sync {
    /// Makes the source of a connection. Nothing is connected yet.
    ///
    /// # Errors
    /// When the settings contradict each other in a way that their specs cannot say.
    fn source(&self, connection: Arc<Connection>) -> Result<Arc<dyn Source>>;
}

/// A system whose changes can be read. Cheap to keep; a connection is opened by the calls that need one.
#[async_trait]
pub trait Source: Send + Sync {
    /// Where reading begins when nobody says: now, as what was before is mostly not wanted.
    fn default_start(&self) -> Start {
        Start::Now
    }

    /// Asks the server who it is. Two connections with the same identity are mined once.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached; `Environment` when it refuses the log-in, or is not set up for
    /// being mined (no binlog, not in row format, rights missing); the advice says what to change.
    async fn identify(&self) -> Result<Identity>;

    /// The position that `start` stands for at this moment.
    ///
    /// # Errors
    /// As [`identify`](Self::identify), and `Gap` when the source no longer has that position.
    async fn resolve(&self, start: &Start) -> Result<Position>;

    /// Whether `place` lies behind `other`, both of this source; `None` when that cannot be told without asking it.
    fn is_behind(&self, place: &Position, other: &Position) -> Option<bool> {
        match (place.reaches(other), other.reaches(place)) {
            (true, other_reaches) => Some(!other_reaches),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// A reader of the source's tables as they are now; `None` for a source that has none to be read. Nothing is connected
    /// yet.
    ///
    /// # Errors
    /// When the connection cannot be set up as its statement says.
    fn rows(&self) -> Result<Option<Box<dyn RowReader>>> {
        Ok(None)
    }

    /// Opens a stream of all changes behind `from` to the tables of `tables`.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    async fn open(&self, from: &Position, tables: TableSelection) -> Result<Box<dyn ChangeStream>>;
}

/// Reads rows of a source's tables as they are now, over a connection of its own that is opened when it is needed.
#[async_trait]
pub trait RowReader: Send {
    /// Reads the rows with these keys, which are images of one schema that have the columns of one of its keys.
    ///
    /// Every value is encoded as the source's change log would have it. A row that is gone is missing in the answer, in
    /// which rows come in any order. Columns that the table no longer has, or has with another type than the schema says,
    /// are absent from the images, as are those of types that cannot be read exactly; when these are columns of the key,
    /// or the table is gone, nothing is found.
    ///
    /// What was read is a state of the table that came after all changes which the caller has read from the source.
    /// The future may be dropped; the next call then connects anew.
    ///
    /// # Errors
    /// `Unavailable` when the source is away or broke off: the call may be repeated. `Environment` when it refuses, for want
    /// of a right; the advice says which. `Data` for a value that cannot be carried exactly.
    async fn read(&mut self, keys: &[Row]) -> Result<Vec<Row>>;
}

/// Who a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Stays the same however the server is addressed, and over restarts: MySQL's server UUID, or what
    /// stands for it on MariaDB. Kept with a log, and compared when reading goes on.
    pub id: String,
    /// For people: `MariaDB 10.11.14 at 127.0.0.1:3306`.
    pub description: String,
    /// The time of day by its clock, milliseconds since 1970 UTC, at the moment of the answer; `None` where none runs.
    pub clock_ms: Option<i64>,
}

/// So long may a change be kept back while the source has more at hand.
pub const HELD_MAX: Duration = Duration::from_millis(5);

/// A running reader of one source.
#[async_trait]
pub trait ChangeStream: Send {
    /// Appends entries to `out` and returns when there is a reason to look at them.
    ///
    /// It waits until something happens, then goes on while more is at hand, `out` holds less than
    /// `target_bytes`, and what it appended is younger than [`HELD_MAX`]: a wanted change is not kept back by a
    /// source that is busy with other tables. Every transaction of the source ends with a commit entry, also one that changed none of the wanted
    /// tables when `out` has had no commit for a second, so that the position goes on without traffic.
    ///
    /// Not cancel-safe: the future must be polled to its end, or the stream be dropped. It ends by itself
    /// within `patience`, with [`Progress::Idle`] when nothing happened.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke: open again from the last commit. `Data` for an event, a column
    /// type or a value that cannot be carried exactly; nothing after it was appended. `Gap` when the source
    /// purged what comes next. After an error the stream is of no more use, and entries after the last commit in `out`
    /// must be thrown away.
    async fn fill(
        &mut self,
        out: &mut BlockBuilder,
        target_bytes: usize,
        patience: Duration,
    ) -> Result<Progress>;

    /// Reads what `coverage` says to be [mined](Coverage::mined) from the next transaction on, and writes it to `out` at
    /// that place: together with the next call of [`fill`](Self::fill), before its first entry when no transaction is open.
    fn select(&mut self, coverage: Coverage);

    /// Tells the stream, before it is read for the first time, the schemas that the log has at the place where it begins.
    /// Rows that are older than their table's present definition may be read by them, until a statement that may have
    /// changed the table is passed.
    fn remember(&mut self, schemas: &SchemaBook) {
        let _ = schemas;
    }

    /// The place behind the last transaction that was read to its end, also when that brought no entry.
    fn position(&self) -> Position;

    /// Takes leave of the server. Dropping the stream instead is safe, too.
    async fn close(self: Box<Self>);
}

/// Why [`ChangeStream::fill`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// `out` is full, or the time is up; more is at hand.
    Full,
    /// Everything that the source has sent is in `out`.
    CaughtUp,
    /// Nothing happened within the patience.
    Idle,
    /// The source has an end, and it is reached (a folder of files).
    End,
}
