//! Looking into a log: its changes, each with the commit of its transaction, for people and their programs.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, ChangeEntry, Commit, Entry, SchemaBook, parse_schema};
use crate::model::change::Change;
use crate::model::position::{Position, Seq};
use crate::store::LogReader;

/// Bytes of payload that are read at a time.
const READ_BYTES: usize = 1 << 20;
/// A transaction larger than this is read twice, to know its end before its changes are shown.
const PENDING_BYTES_MAX: usize = 8 << 20;
/// So many entries before the end are looked through at first for the newest changes; then ever more.
const NEWEST_ENTRIES: u64 = 1000;
/// More entries are not looked through at once: what is found in them is kept until their end.
const NEWEST_ENTRIES_MAX: u64 = 64_000;

/// A change of the log.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The change, as it was mined.
    pub change: Change,
    /// How its transaction ended.
    pub commit: Arc<Commit>,
}

/// The newest changes that were chosen.
#[derive(Clone, Debug)]
pub struct Newest {
    /// In their order.
    pub seen: Vec<Seen>,
    /// Everything from this entry on was looked at.
    pub since: Seq,
    /// Whether the time was over before enough was found.
    pub is_cut: bool,
}

/// Whether a change is to be shown.
pub type Choice<'a> = dyn FnMut(&Change) -> Result<bool> + Send + 'a;

/// Takes what is shown, until it has enough.
pub type Show<'a> = dyn FnMut(Seen) -> ControlFlow<()> + Send + 'a;

/// Reads the changes of a log. Its futures may be dropped at any time; what was not shown is then read again.
pub struct Look {
    log: Arc<dyn LogReader>,
    schemas: SchemaBook,
}

impl Look {
    /// Looks into `log`.
    pub fn new(log: Arc<dyn LogReader>) -> Look {
        Look { schemas: log.schemas(), log }
    }

    /// Shows the changes with the numbers from `from` to the one before `to` that `choose` accepts, in their order,
    /// until `show` has enough.
    ///
    /// # Errors
    /// As [`LogReader::read`]; a `Gap` also when retention drops what was to be read next. What `choose` fails with.
    pub async fn changes(
        &mut self,
        from: Seq,
        to: Seq,
        choose: &mut Choice<'_>,
        show: &mut Show<'_>,
    ) -> Result<()> {
        let mut next = from;
        // Accepted changes whose transaction has not ended, and the end of that, when it was read ahead.
        let mut pending: Vec<Change> = Vec::new();
        let mut pending_bytes = 0;
        let mut ahead: Option<Arc<Commit>> = None;
        while next < to || !pending.is_empty() {
            let blocks = self.log.read(next, READ_BYTES).await?;
            if blocks.is_empty() {
                return Ok(());
            }
            for block in &blocks {
                if block.first >= to && pending.is_empty() {
                    return Ok(());
                }
                for entry in block.entries() {
                    let (seq, entry) = entry.map_err(|_| malformed(block))?;
                    match entry {
                        Entry::Change(entry) if from <= seq && seq < to => {
                            let change = self.change(block, seq, &entry)?;
                            if choose(&change)? {
                                pending_bytes += entry.before.map_or(0, <[u8]>::len);
                                pending_bytes += entry.after.map_or(0, <[u8]>::len);
                                pending.push(change);
                            }
                        }
                        Entry::Schema { no, json } => {
                            let schema = parse_schema(json).map_err(|_| malformed(block))?;
                            self.schemas.learn(no, schema).map_err(|_| malformed(block))?;
                        }
                        Entry::Commit { time_ms, offset, file, gtid } => {
                            ahead = None;
                            pending_bytes = 0;
                            if !pending.is_empty() {
                                let position =
                                    Position { gtid: gtid.to_owned(), file: file.to_owned(), offset };
                                let commit = Arc::new(Commit { position, time_ms });
                                if tell(&mut pending, &commit, show).is_break() {
                                    return Ok(());
                                }
                            }
                        }
                        Entry::Change(_) | Entry::Coverage(_) => {}
                    }
                }
                next = block.end();
                if pending_bytes > PENDING_BYTES_MAX || (ahead.is_some() && !pending.is_empty()) {
                    let commit = match ahead.take() {
                        Some(commit) => commit,
                        None => self.commit_after(next).await?,
                    };
                    pending_bytes = 0;
                    let told = tell(&mut pending, &commit, show);
                    ahead = Some(commit);
                    if told.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The newest changes before the tail that `choose` accepts, `count` at the most, in their order. Reads from the
    /// end, so that a choice that accepts many changes needs only a look at the last ones.
    ///
    /// # Errors
    /// As [`changes`](Self::changes).
    pub async fn newest(&mut self, count: usize, choose: &mut Choice<'_>) -> Result<Vec<Seen>> {
        Ok(self.newest_within(count, None, choose).await?.seen)
    }

    /// As [`newest`](Self::newest), but looks no longer than `patience`.
    ///
    /// # Errors
    /// As [`changes`](Self::changes).
    pub async fn newest_within(
        &mut self,
        count: usize,
        patience: Option<Duration>,
        choose: &mut Choice<'_>,
    ) -> Result<Newest> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let mut is_cut = false;
        let mut found: VecDeque<Seen> = VecDeque::new();
        let mut to = self.log.tail().next;
        let mut window = NEWEST_ENTRIES;
        while found.len() < count {
            let horizon = self.log.stat().horizon;
            if to <= horizon {
                break;
            }
            let from = Seq(to.0.saturating_sub(window)).max(horizon);
            let wanted = count - found.len();
            let mut newest: VecDeque<Seen> = VecDeque::new();
            let mut show = |seen| {
                if newest.len() == wanted {
                    newest.pop_front();
                }
                newest.push_back(seen);
                ControlFlow::Continue(())
            };
            let mut choose_in_time = |change: &Change| {
                is_cut = is_over();
                if is_cut { Err(Error::new(Kind::Unavailable, "the time is over")) } else { choose(change) }
            };
            match self.changes(from, to, &mut choose_in_time, &mut show).await {
                Ok(()) => {}
                // What was found last are not the newest ones of these entries.
                Err(_) if is_cut => break,
                // Retention came first.
                Err(error) if error.kind() == Kind::Gap && self.log.stat().horizon > from => continue,
                Err(error) => return Err(error),
            }
            while let Some(seen) = newest.pop_back() {
                found.push_front(seen);
            }
            to = from;
            window = window.saturating_mul(4).min(NEWEST_ENTRIES_MAX);
        }
        Ok(Newest { seen: found.into(), since: to, is_cut })
    }

    /// The first commit at or behind `from`.
    async fn commit_after(&self, from: Seq) -> Result<Arc<Commit>> {
        let mut next = from;
        loop {
            let blocks = self.log.read(next, READ_BYTES).await?;
            let Some(last) = blocks.last() else {
                return Err(Error::new(Kind::Corrupt, "the log's last transaction has no end"));
            };
            next = last.end();
            for block in blocks.iter().filter(|block| block.commit.is_some()) {
                for entry in block.entries() {
                    if let (_, Entry::Commit { time_ms, offset, file, gtid }) =
                        entry.map_err(|_| malformed(block))?
                    {
                        let position = Position { gtid: gtid.to_owned(), file: file.to_owned(), offset };
                        return Ok(Arc::new(Commit { position, time_ms }));
                    }
                }
            }
        }
    }

    fn change(&self, block: &Block, seq: Seq, entry: &ChangeEntry<'_>) -> Result<Change> {
        let table = self.schemas.get(entry.schema).ok_or_else(|| malformed(block))?;
        let row = |image: Option<&[u8]>| image.map(|image| block.row(table, image));
        let (before, after) = (row(entry.before), row(entry.after));
        Ok(Change { seq, op: entry.op, table: Arc::clone(table), before, after, time_ms: entry.time_ms })
    }
}

fn tell(pending: &mut Vec<Change>, commit: &Arc<Commit>, show: &mut Show<'_>) -> ControlFlow<()> {
    pending.drain(..).try_for_each(|change| show(Seen { change, commit: Arc::clone(commit) }))
}

fn malformed(block: &Block) -> Error {
    Error::new(Kind::Corrupt, format!("the block at entry {} of the log is malformed", block.first))
        .advice("`lode log verify` says how much of the log is whole")
}
