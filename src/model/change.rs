//! A change on its way from a log to a sink.

use std::sync::Arc;

use super::block::Op;
use super::position::{Cursor, Seq};
use super::row::Row;
use super::schema::TableSchema;

/// One change of one row, or of a whole table. Its rows share the bytes of the block they came in.
#[derive(Clone, Debug)]
pub struct Change {
    /// The entry it came from. A stage that emits several rows gives them all the same number.
    pub seq: Seq,
    /// What happened.
    pub op: Op,
    /// The source's schema at the time of the change; names the table.
    pub table: Arc<TableSchema>,
    /// The row before: for updates and deletes. Without a stage that changes it, its schema is `table`.
    pub before: Option<Row>,
    /// The row after: for inserts and updates. A stage may have given it another schema.
    pub after: Option<Row>,
    /// When the source executed the change, milliseconds since 1970 UTC.
    pub time_ms: i64,
}

impl Change {
    /// The row that the change is about: the one after it, or for a delete the one before.
    pub fn row(&self) -> Option<&Row> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// Changes handed to a sink in the order of the log: whole transactions, or a part of a large one.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes; empty when only the cursor moves.
    pub changes: Vec<Change>,
    /// Where the route stands once this batch is durable. `None`: the transaction goes on in the next batch.
    pub cursor: Option<Cursor>,
}
