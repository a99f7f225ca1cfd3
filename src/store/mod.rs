//! Log stores: where the mined changes are kept. A store knows blocks; it knows no source and no sink.

pub mod embedded;
pub mod memory;
pub mod mongodb;
pub mod verify;

mod content;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Commit, SchemaBook};
use crate::model::connection::Connection;
use crate::model::coverage::Coverage;
use crate::model::position::{LogEpoch, Position, Seq};
use crate::model::spec::Settings;

/// A place that keeps logs by name.
#[async_trait]
pub trait LogStore: Send + Sync {
    /// Opens the log called `name`, making it when it is not there, and takes it for this process.
    ///
    /// Whatever lies behind the last commit is cut off: a torn write, or the beginning of a transaction
    /// that never ended.
    ///
    /// # Errors
    /// `Refused` when another process has it open; `Environment` when the place cannot be written, `Full` when it has no
    /// room; `Corrupt`
    /// when something before the last commit is damaged or of another format version.
    async fn open(&self, name: &str) -> Result<Arc<dyn Log>>;

    /// Opens the log called `name` for reading only, without taking it: another process, or this one, may have it
    /// open and write. Nothing is made, cut or repaired. Any number of readers may be open.
    ///
    /// What the reader sees at first is the log as it is now. Damage before the tail is no error here, so that what
    /// is readable can be read: [`LogReader::read`] tells of it when it gets there. When it hit the last block, the
    /// tail has no commit.
    ///
    /// # Errors
    /// `Refused` when there is no such log; `Environment` when the place cannot be read, `Unavailable` when a remote
    /// store is away; `Corrupt` when the log is of another format version, or what describes it is damaged.
    async fn open_reader(&self, name: &str) -> Result<Arc<dyn LogReader>>;

    /// The names of the logs that are there, in order.
    ///
    /// # Errors
    /// `Environment` when the place cannot be read, `Unavailable` when a remote store is away. A store that was never
    /// written is empty.
    async fn list(&self) -> Result<Vec<String>>;
}

/// A kind of store that scripts name by a connection: `share_mining … via connection.log`.
pub trait LogStoreKind: Send + Sync {
    /// The store behind a connection of this kind. `settings` are those of `share_mining`. Nothing is connected before a
    /// log is opened.
    ///
    /// # Errors
    /// `Script` or `Environment` when the connection cannot be set up as its statement says.
    fn store(&self, connection: Arc<Connection>, settings: &Settings) -> Result<Arc<dyn LogStore>>;
}

/// The reading half of a log. Any number of readers share it, and none of them is in the way of the writer.
///
/// Readers see what is durable and complete: nothing behind the last commit that was acknowledged. In the process
/// that writes the log, what they see is always the newest. A reader from [`LogStore::open_reader`] sees the log as
/// it was when it was opened or when [`grown`](Self::grown) looked last; its `tail`, `schemas`, `coverage` and
/// `stat` belong together, and move together.
///
/// All calls are cancel-safe: a future that is dropped has changed nothing.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// Which life of the log this is.
    fn epoch(&self) -> LogEpoch;

    /// Which source was mined into it; `None` before the first append.
    fn source_id(&self) -> Option<String>;

    /// The end: what is durable and complete. Readers see nothing behind it. It never goes back.
    fn tail(&self) -> Tail;

    /// The schemas of everything before the tail, also of entries that retention has dropped.
    fn schemas(&self) -> SchemaBook;

    /// What is mined at the tail, from the last coverage entry; also when retention has dropped it.
    fn coverage(&self) -> Coverage;

    /// Waits until the tail lies behind `after`, and gives it. It looks at the log anew first, so with an `after`
    /// that was passed already it answers at once, and tells what has come since.
    ///
    /// It wakes within a quarter of a second of the commit, in the process that writes at once. A log that nobody
    /// writes makes it wait without end: callers add their own patience.
    ///
    /// # Errors
    /// `Gap` when the log was deleted, also when it was made anew. `Unavailable` when a remote store is away: the
    /// call may be repeated. `Environment` and `Corrupt` as in [`read`](Self::read).
    async fn grown(&self, after: Seq) -> Result<Tail>;

    /// Reads whole blocks in order, the first being the one that contains `from`, until `max_bytes` of payload
    /// are reached; at least one block, none when `from` is the tail's `next`.
    ///
    /// # Errors
    /// `Gap` when `from` lies before the horizon or behind the tail, also when retention drops it meanwhile;
    /// `Corrupt` when a checksum does not fit or something is missing: whatever lies before that place can be read.
    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>>;

    /// The entry behind the commit at exactly `position`; `None` when the log has no such commit.
    async fn find_position(&self, position: &Position) -> Result<Option<Seq>>;

    /// The first entry of the first transaction committed at or after `time_ms`; the tail's `next` when there is none.
    async fn find_time(&self, time_ms: i64) -> Result<Seq>;

    /// Figures for people.
    fn stat(&self) -> LogStat;

    /// The first entry of the first of `blocks` of which the store shows people something else than its bytes say;
    /// `None` when all is well, and for a store that shows nothing but bytes. Reading never looks at what is shown, so
    /// only a check of the whole log asks for it.
    ///
    /// # Errors
    /// `Unavailable` when a remote store is away.
    async fn misshown(&self, blocks: &[Arc<Block>]) -> Result<Option<Seq>> {
        let _ = blocks;
        Ok(None)
    }
}

/// An open log, and the right to write into it: one writer, any number of readers.
#[async_trait]
pub trait Log: LogReader {
    /// Notes the source. Called once, before the first append; durable when it returns.
    ///
    /// # Errors
    /// `Refused` when another source is noted already.
    async fn bind_source(&self, id: &str) -> Result<()>;

    /// Appends blocks in order; the first begins where the one appended before ended. When it returns Ok,
    /// every block is durable, and all up to the last commit are visible to readers.
    ///
    /// The first block may also begin at the visible tail while parts of an unfinished transaction lie behind it:
    /// those are cut off first. So a miner that lost its source in the middle of a transaction begins it again.
    ///
    /// Not cancel-safe. Calls do not overlap: there is one writer.
    ///
    /// # Errors
    /// `Full` when the place has no room, `Environment` when it failed, `Unavailable` when a remote store is away: then nothing behind the
    /// former tail is visible, and the writer may open the log again. `Fenced` when another writer took over.
    async fn append(&self, blocks: Vec<Arc<Block>>) -> Result<Tail>;

    /// Drops whole old segments, so that what is kept fits `policy`; never an entry from `hold` on. Its cost does not grow
    /// with the number of rows.
    async fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained>;
}

/// The end of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The number that the next entry gets; also the number after the last commit.
    pub next: Seq,
    /// The last commit: the miner's checkpoint. `None` in a new log.
    pub commit: Option<Commit>,
}

/// How much is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Drop what is older.
    pub age: Option<Duration>,
    /// Drop the oldest when the log is larger, in bytes on disk.
    pub size: Option<u64>,
}

/// What [`Log::retain`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// The oldest entry that is still there.
    pub horizon: Seq,
    /// Bytes on disk that were given back.
    pub dropped_bytes: u64,
    /// True when something that the policy would drop stays because of `hold`.
    pub held: bool,
}

/// Figures of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStat {
    /// The oldest entry that is still there.
    pub horizon: Seq,
    /// Time of the oldest entry, milliseconds since 1970 UTC; `None` in an empty log.
    pub horizon_time_ms: Option<i64>,
    /// Bytes on disk.
    pub stored_bytes: u64,
    /// Bytes of the same entries before compression.
    pub payload_bytes: u64,
    /// How many pieces are kept that retention drops whole: segment files, or blocks where each is kept by itself.
    pub segments: u64,
}

/// A reader asked for a log that is not there.
fn no_log(name: &str) -> Error {
    Error::new(Kind::Refused, format!("there is no log {name}"))
}

/// The log that a reader follows is no longer there.
fn log_is_gone(remade: bool) -> Error {
    let why = match remade {
        true => "the log was deleted and made again while it was read",
        false => "the log was deleted while it was read",
    };
    Error::new(Kind::Gap, why)
        .advice("take the pipeline's start anew: with a snapshot, or at a later position")
}

/// A reader asked for an entry that is not there.
fn gap(from: Seq, horizon: Seq, next: Seq) -> Error {
    let why = if from < horizon {
        format!("the log no longer has entry {from}: it begins with {horizon}")
    } else {
        format!("the log has no entry {from} yet: it ends before {next}")
    };
    Error::new(Kind::Gap, why)
        .advice("take the pipeline's start anew: with a snapshot, or at a later position")
}
