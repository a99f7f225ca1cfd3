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
    /// The next change does not go on with the last run: one between them is left out.
    is_cut: bool,
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
            Some(run)
                if !self.is_cut && Arc::ptr_eq(&run.block, block) && Arc::ptr_eq(&run.tables, tables) =>
            {
                run.bytes.end = bytes.end;
                run.len += 1;
            }
            _ => {
                self.is_cut = false;
                self.hold(block);
                let (block, tables) = (Arc::clone(block), Arc::clone(tables));
                self.runs.push(Run { block, bytes, first: seq, len: 1, tables });
            }
        }
    }

    /// Leaves out a change that [`read`](Self::read) would have added.
    pub fn leave_out(&mut self) {
        self.is_cut = true;
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::model::block::{BlockBuilder, Commit, Entry, Op, SchemaBook};
    use crate::model::schema::TableSchema;
    use crate::model::table::TableName;

    fn schema(table: &str) -> TableSchema {
        TableSchema {
            name: TableName { database: "shop".into(), table: table.into() },
            columns: Vec::new(),
            primary_key: Vec::new(),
            unique_keys: Vec::new(),
        }
    }

    /// A block of transactions; each letter is a change of the table with that name.
    fn block(transactions: &[&str]) -> (Arc<Block>, Arc<Tables>) {
        let mut builder = BlockBuilder::new(Seq(100), SchemaBook::default());
        for (at, changes) in transactions.iter().enumerate() {
            for table in changes.split("").filter(|table| !table.is_empty()) {
                let no = builder.schema(&schema(table));
                let image = |out: &mut Vec<u8>| {
                    out.push(0);
                    Ok::<(), Infallible>(())
                };
                builder.change(Op::Insert, no, 0, None::<fn(&mut _) -> _>, Some(image)).unwrap();
            }
            let position = Position { offset: at as u64, ..Position::default() };
            builder.commit(Commit { position, time_ms: at as i64 });
        }
        let wanted = |schema: &Arc<TableSchema>| (schema.name.table != "x").then(|| Arc::clone(schema));
        let tables = builder.book().iter().map(|(_, schema)| wanted(schema)).collect();
        (Arc::new(builder.seal().unwrap()), Arc::new(tables))
    }

    /// Reads a block as a route does, and takes what is whole where `take` says so of an entry. Gives the tables of the
    /// changes in each batch.
    fn batches(transactions: &[&str], take: impl Fn(u64) -> bool) -> Vec<String> {
        let (block, tables) = block(transactions);
        let (mut waiting, mut batches, mut end) = (Waiting::default(), Vec::new(), 0);
        let mut entries = block.entries();
        while let Some(entry) = entries.next() {
            let (seq, entry) = entry.unwrap();
            let bytes = end..block.payload.len() - entries.remaining();
            end = bytes.end;
            match entry {
                Entry::Change(change) if tables[change.schema.0 as usize].is_some() => {
                    waiting.read(&block, bytes, seq, &change, &tables);
                }
                Entry::Commit { time_ms, offset, .. } => {
                    waiting.commit(&block, end, seq.plus(1), time_ms).offset = offset;
                }
                _ => {}
            }
            if take(seq.0)
                && let Some(whole) = waiting.take_whole()
            {
                batches.push(whole);
            }
        }
        batches.extend(waiting.take_whole());
        assert_eq!((waiting.len(), waiting.bytes(), waiting.held_bytes()), (0, 0, 0));
        let mut before = Seq(0);
        let batches = batches.into_iter().map(|whole| {
            assert_eq!(whole.position.offset as i64, whole.time_ms);
            assert_eq!(whole.changes.len(), whole.changes.as_slice().len());
            for change in &whole.changes {
                assert!(before < change.seq && change.seq < whole.next);
                before = change.seq;
            }
            whole.changes.iter().map(|change| change.table.name.table.as_str()).collect::<String>()
        });
        batches.collect()
    }

    #[test]
    fn a_batch_ends_behind_the_last_commit_wherever_it_is_taken() {
        let transactions = ["ab", "xx", "xaxbx", "x", "b", "aaa"];
        assert_eq!(batches(&transactions, |_| false), ["ababbaaa"]);
        for at in 100..130 {
            let taken = batches(&transactions, |seq| seq == at);
            assert_eq!(taken.concat(), "ababbaaa", "taken at {at}");
        }
        let taken = batches(&transactions, |_| true);
        assert_eq!(taken, ["ab", "", "ab", "", "b", "aaa"]);
    }

    #[test]
    fn a_change_that_is_left_out_is_in_no_batch() {
        let (block, tables) = block(&["ab", "cad", "b"]);
        let changes: Vec<Seq> = block
            .entries()
            .filter_map(|entry| entry.ok())
            .filter(|(_, entry)| matches!(entry, Entry::Change(_)))
            .map(|(seq, _)| seq)
            .collect();
        for left_out in &changes {
            for take_at in [0, 104, 106, 108, 110] {
                let (mut waiting, mut got, mut end) = (Waiting::default(), Vec::new(), 0);
                let mut entries = block.entries();
                while let Some(Ok((seq, entry))) = entries.next() {
                    let bytes = end..block.payload.len() - entries.remaining();
                    end = bytes.end;
                    match entry {
                        Entry::Change(_) if seq == *left_out => waiting.leave_out(),
                        Entry::Change(change) => waiting.read(&block, bytes, seq, &change, &tables),
                        Entry::Commit { time_ms, .. } => {
                            waiting.commit(&block, end, seq.plus(1), time_ms);
                        }
                        _ => {}
                    }
                    if seq.0 == take_at {
                        got.extend(waiting.take_whole().map(|whole| Vec::from(whole.changes)));
                    }
                }
                got.extend(waiting.take_whole().map(|whole| Vec::from(whole.changes)));
                let got: Vec<Seq> = got.concat().iter().map(|change| change.seq).collect();
                let expected: Vec<Seq> = changes.iter().copied().filter(|seq| seq != left_out).collect();
                assert_eq!(got, expected, "taken at {take_at}");
            }
        }
    }

    #[test]
    fn a_part_of_a_transaction_is_all_that_waits() {
        let (block, tables) = block(&["aab"]);
        let mut waiting = Waiting::default();
        let mut end = 0;
        let mut entries = block.entries();
        while let Some(Ok((seq, entry))) = entries.next() {
            let bytes = end..block.payload.len() - entries.remaining();
            end = bytes.end;
            if let Entry::Change(change) = entry {
                waiting.read(&block, bytes, seq, &change, &tables);
            }
        }
        assert_eq!((waiting.len(), waiting.bytes()), (3, 3));
        assert!(waiting.take_whole().is_none());
        let part = Vec::from(waiting.take_part());
        assert_eq!(part.len(), 3);
        assert!(waiting.is_empty());
    }
}
