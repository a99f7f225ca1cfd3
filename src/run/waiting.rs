//! The changes of a route that wait for its next batch, and the last place among them where a batch may end.

use std::ops::Range;
use std::sync::Arc;

use super::stages::{StageError, Stages};
use crate::model::block::{Block, ChangeEntry};
use crate::model::change::{Change, Changes, Run, Tables};
use crate::model::position::{Position, Seq};

/// Changes in order. Either they are entries of blocks as they are ([`read`](Self::read)), or what stages made of
/// these ([`apply`](Self::apply)): a route either has stages or has none.
#[derive(Default)]
pub(super) struct Waiting {
    runs: Vec<Run>,
    made: Vec<Change>,
    /// How many.
    len: usize,
    /// Bytes of their rows.
    bytes: usize,
    /// Bytes of the blocks that they keep in memory: a small row keeps the whole block that it came in.
    held_bytes: usize,
    /// The block that was counted there last.
    held: Option<Seq>,
    ready: Option<Ready>,
}

/// A place where a batch may end, and what of the figures lies before it.
#[derive(Default)]
struct Ready {
    len: usize,
    bytes: usize,
    held_bytes: usize,
    /// How many runs begin before it; the last of them is cut at this end, where it has so many changes.
    runs: usize,
    run_end: usize,
    run_len: usize,
    next: Seq,
    position: Position,
    time_ms: i64,
}

/// Changes of whole transactions.
pub(super) struct Whole {
    pub changes: Changes,
    /// The entry behind the last of the transactions.
    pub next: Seq,
    /// The source's position there.
    pub position: Position,
    /// When that transaction was committed, milliseconds since 1970 UTC.
    pub time_ms: i64,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Adds the change at `bytes` of a block's payload as it is. What lies between it and the one added before is of
    /// tables that are not among `tables`.
    #[inline]
    pub fn read(
        &mut self,
        block: &Arc<Block>,
        bytes: Range<usize>,
        seq: Seq,
        change: &ChangeEntry<'_>,
        tables: &Arc<Tables>,
    ) {
        self.len += 1;
        self.bytes += change.before.map_or(0, <[u8]>::len) + change.after.map_or(0, <[u8]>::len);
        match self.runs.last_mut() {
            Some(run) if Arc::ptr_eq(&run.block, block) && Arc::ptr_eq(&run.tables, tables) => {
                run.bytes.end = bytes.end;
                run.len += 1;
            }
            _ => {
                self.hold(block);
                let (block, tables) = (Arc::clone(block), Arc::clone(tables));
                self.runs.push(Run { block, bytes, first: seq, len: 1, tables });
            }
        }
    }

    /// Adds what the stages make of a change that came in `block`.
    ///
    /// # Errors
    /// When a stage fails; nothing is added then.
    pub fn apply(&mut self, stages: &mut Stages, change: Change, block: &Block) -> Result<(), StageError> {
        let kept = self.made.len();
        stages.apply(change, &mut self.made)?;
        let rows = |change: &Change| {
            [&change.before, &change.after].into_iter().flatten().map(|row| row.image.len()).sum::<usize>()
        };
        self.bytes += self.made[kept..].iter().map(rows).sum::<usize>();
        self.len = self.made.len();
        if self.len > kept {
            self.hold(block);
        }
        Ok(())
    }

    fn hold(&mut self, block: &Block) {
        if self.held != Some(block.first) {
            self.held = Some(block.first);
            self.held_bytes += block.payload.len();
        }
    }

    /// Notes that a batch may end behind the commit before entry `next`, which ends at `end` of its block's payload.
    /// Gives the last such place's position, to be written over.
    pub fn commit(&mut self, block: &Arc<Block>, end: usize, next: Seq, time_ms: i64) -> &mut Position {
        let ready = self.ready.get_or_insert_default();
        (ready.len, ready.bytes, ready.held_bytes) = (self.len, self.bytes, self.held_bytes);
        (ready.next, ready.time_ms) = (next, time_ms);
        ready.runs = self.runs.len();
        (ready.run_end, ready.run_len) = match self.runs.last() {
            Some(run) if Arc::ptr_eq(&run.block, block) => (end, run.len),
            _ => (usize::MAX, 0),
        };
        &mut ready.position
    }

    /// Takes all up to the last commit; `None` when there was none since the last time.
    pub fn take_whole(&mut self) -> Option<Whole> {
        let ready = self.ready.take()?;
        self.len -= ready.len;
        self.bytes -= ready.bytes;
        self.held_bytes -= ready.held_bytes;
        self.held = None;
        let changes = match self.runs.is_empty() {
            true => {
                // The next batch is probably as large as this one.
                let mut rest = Vec::with_capacity(self.made.len());
                rest.extend(self.made.drain(ready.len..));
                std::mem::replace(&mut self.made, rest).into()
            }
            false => Changes::of_runs(self.take_runs(&ready)),
        };
        Some(Whole { changes, next: ready.next, position: ready.position, time_ms: ready.time_ms })
    }

    fn take_runs(&mut self, ready: &Ready) -> Vec<Run> {
        let mut rest = self.runs.split_off(ready.runs);
        if let Some(last) = self.runs.last_mut()
            && last.bytes.end > ready.run_end
        {
            let mut tail = last.clone();
            tail.bytes.start = ready.run_end;
            tail.first = ready.next;
            tail.len -= ready.run_len;
            (last.bytes.end, last.len) = (ready.run_end, ready.run_len);
            self.held_bytes += tail.block.payload.len();
            rest.insert(0, tail);
        }
        std::mem::replace(&mut self.runs, rest)
    }

    /// All changes, where no commit is among them: a part of a transaction.
    pub fn take_part(&mut self) -> Changes {
        let Waiting { runs, made, .. } = std::mem::take(self);
        if runs.is_empty() { made.into() } else { Changes::of_runs(runs) }
    }
}
