//! Sinks: where changes go. A sink knows rows and cursors; it knows no source and no store.

pub mod jsonl;
pub mod mongodb;
pub mod mysql;
pub mod null;
pub mod oracle;
pub mod settings;
pub mod sqlite;

mod actions;
mod compact;
mod cursor_row;
mod plan_cache;
mod step;
mod target;
mod unique;

pub(crate) use self::target::TableTemplate;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::model::change::Batch;
use crate::model::connection::Connection;
use crate::model::position::Cursor;
use crate::model::spec::Settings;

/// A kind of sink: makes sinks for routes.
pub trait SinkKind: Send + Sync {
    /// Makes the sink of one route. Nothing is connected or written yet; that is for [`Sink::open`].
    ///
    /// # Errors
    /// When the settings contradict each other in a way that their specs cannot say.
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>>;
}

/// What a sink is told of its route.
#[derive(Clone, Debug)]
pub struct SinkRoute {
    /// Names the route among all: `pipeline/input connection/route`. The key of its cursor.
    pub key: String,
    /// The connection, where the kind has one.
    pub connection: Option<Arc<Connection>>,
    /// The table name with at most one `*` for the source table's name, the path, or nothing.
    pub target: String,
    /// Checked settings of the sink.
    pub settings: Settings,
    /// A folder of this route's own, for a sink that has to keep its cursor in a file. It may not exist yet.
    pub state_dir: PathBuf,
}

/// The writing end of one route of a pipeline.
#[async_trait]
pub trait Sink: Send {
    /// Connects, takes the route over from any earlier writer, and tells how far the route is.
    ///
    /// A transactional sink raises the fencing epoch in its cursor table here, so that an earlier writer that still
    /// lives fails with `Fenced` at its next commit. `None`: this route never wrote here.
    ///
    /// # Errors
    /// `Unavailable`, `Environment` with advice, or `Corrupt` when a cursor is there that cannot be read.
    async fn open(&mut self) -> Result<Option<Cursor>>;

    /// Writes a batch. With a cursor in it, Ok promises that all changes so far and the cursor are durable, in one
    /// transaction where the sink has transactions. Without, the changes belong to a transaction that
    /// the next batches go on with; they need not be durable, and must not become visible where that can be helped.
    ///
    /// Not cancel-safe. The same changes may come again after an error or a crash, unless their cursor had become durable;
    /// a sink whose cursor lives elsewhere must take them twice without harm where it writes by key.
    ///
    /// # Errors
    /// `Unavailable`: open again, and go on from the cursor that it returns. `Data`: a change that the target
    /// rejects; table and key are named. `Fenced`: another writer has taken over. After an error the sink must be opened again.
    async fn write(&mut self, batch: Batch) -> Result<Written>;

    /// Ends cleanly: an unfinished transaction is rolled back, files are closed.
    async fn close(&mut self) -> Result<()>;
}

/// What a sink made of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Proof that the route is durable up to here; present when the batch brought a cursor.
    pub durable: Option<Durable>,
    /// Rows written to the target, after changes of one key within a batch were put together.
    pub rows: u64,
}

/// Proof, made only by sinks, that everything before this cursor is durable. A cursor moves by nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable(Cursor);

impl Durable {
    /// To be called by a sink after its commit, and by nothing else.
    pub fn after_commit(cursor: Cursor) -> Self {
        Durable(cursor)
    }

    /// The cursor.
    pub fn cursor(&self) -> &Cursor {
        &self.0
    }
}
