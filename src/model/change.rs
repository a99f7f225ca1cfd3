//! A change on its way from a log to a sink.

use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::block::{Block, ChangeEntry, Entry, Op};
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
    /// The change of an entry, whose images lie in `payload`.
    pub(crate) fn read(seq: Seq, entry: &ChangeEntry<'_>, table: &Arc<TableSchema>, payload: &Bytes) -> Self {
        let row = |image| Row { schema: Arc::clone(table), image: payload.slice_ref(image) };
        let (before, after) = (entry.before.map(row), entry.after.map(row));
        Change { seq, op: entry.op, table: Arc::clone(table), before, after, time_ms: entry.time_ms }
    }

    /// The row that the change is about: the one after it, or for a delete the one before.
    pub fn row(&self) -> Option<&Row> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// Changes handed to a sink in the order of the log: whole transactions, or a part of a large one.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes; empty when only the cursor moves.
    pub changes: Changes,
    /// Where the route stands once this batch is durable. `None`: the transaction goes on in the next batch.
    pub cursor: Option<Cursor>,
}

/// Changes in order; a slice of them wherever one is wanted.
///
/// Where no stage touched them, they lie in the blocks of the log until somebody looks at the first one. Only then is
/// a [`Change`] made of each: whoever merely counts them does not pay for that.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    len: usize,
    runs: Vec<Run>,
    /// What the runs become; the changes themselves when there are no runs.
    made: OnceLock<Vec<Change>>,
}

/// Neighbouring entries of one block, which were read before and found to be well-formed.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub block: Arc<Block>,
    /// Where in the payload they lie.
    pub bytes: Range<usize>,
    /// The number of the first of them.
    pub first: Seq,
    /// How many of them are changes of the tables that are meant.
    pub len: usize,
    /// These tables.
    pub tables: Arc<Tables>,
}

/// The schemas of the tables that are meant, by their number.
pub(crate) type Tables = Vec<Option<Arc<TableSchema>>>;

impl Changes {
    pub(crate) fn of_runs(runs: Vec<Run>) -> Self {
        Changes { len: runs.iter().map(|run| run.len).sum(), runs, made: OnceLock::new() }
    }

    /// How many; known without looking at them.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Change] {
        self.made.get_or_init(|| self.make())
    }

    fn make(&self) -> Vec<Change> {
        let mut made = Vec::with_capacity(self.len);
        self.runs.iter().for_each(|run| run.make(&mut made));
        assert_eq!(made.len(), self.len, "the changes of a block were counted when it was read");
        made
    }
}

impl Run {
    fn make(&self, out: &mut Vec<Change>) {
        // Pipelines share the bytes, but not the counter of who uses them: it would wander between the cores with
        // every row.
        let payload = Bytes::from_owner(self.block.payload.clone());
        for entry in self.block.entries_in(self.bytes.clone(), self.first) {
            let (seq, entry) = entry.expect("the entries were read before");
            let Entry::Change(entry) = entry else { continue };
            let Some(Some(table)) = self.tables.get(entry.schema.0 as usize) else { continue };
            out.push(Change::read(seq, &entry, table, &payload));
        }
    }
}

impl Deref for Changes {
    type Target = [Change];

    fn deref(&self) -> &[Change] {
        self.as_slice()
    }
}

impl From<Vec<Change>> for Changes {
    fn from(changes: Vec<Change>) -> Self {
        Changes { len: changes.len(), runs: Vec::new(), made: OnceLock::from(changes) }
    }
}

impl From<Changes> for Vec<Change> {
    fn from(mut changes: Changes) -> Self {
        changes.made.take().unwrap_or_else(|| changes.make())
    }
}

impl IntoIterator for Changes {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        Vec::from(self).into_iter()
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.as_slice().iter()
    }
}
