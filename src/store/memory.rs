//! A log store in memory, for tests and simulations: the same contract as the embedded one, and nothing survives
//! the process. Its unit of retention, what is a segment elsewhere, is a run of blocks between two transactions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::content::{Knowledge, Note, examine, position_in, time_in};
use super::{Log, LogReader, LogStat, LogStore, Retained, Retention, Tail, gap, no_log};
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Malformed, SchemaBook};
use crate::model::clock::Clock;
use crate::model::coverage::Coverage;
use crate::model::position::{LogEpoch, Position, Seq};

/// Logs in memory. Clones share the logs.
#[derive(Clone)]
pub struct Memory {
    logs: Arc<Mutex<HashMap<String, Arc<Kept>>>>,
    clock: Clock,
}

impl Memory {
    /// A store without logs.
    pub fn new() -> Self {
        Memory::with_clock(Clock::default())
    }

    /// A store whose retention by age asks `clock`, which a simulation moves by hand.
    pub fn with_clock(clock: Clock) -> Self {
        Memory { logs: Arc::default(), clock }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

#[async_trait]
impl LogStore for Memory {
    async fn open(&self, name: &str) -> Result<Arc<dyn Log>> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Arc::clone(logs.entry(name.to_owned()).or_insert_with(|| {
            let epoch = LogEpoch(uuid::Uuid::new_v4());
            Arc::new(Kept { epoch, content: Mutex::default(), next: watch::Sender::default() })
        }));
        let mut content = kept.lock();
        if content.open {
            return Err(
                Error::new(Kind::Refused, "the log is open already").context(format!("in log {name}"))
            );
        }
        content.open = true;
        content.cut();
        drop(content);
        Ok(Arc::new(MemoryLog { kept, clock: self.clock.clone() }))
    }

    async fn open_reader(&self, name: &str) -> Result<Arc<dyn LogReader>> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = logs.get(name).ok_or_else(|| no_log(name))?;
        Ok(Arc::clone(kept) as Arc<dyn LogReader>)
    }

    async fn list(&self) -> Result<Vec<String>> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = logs.keys().cloned().collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// A log that is open for writing. Dropping it closes it.
struct MemoryLog {
    kept: Arc<Kept>,
    clock: Clock,
}

/// What stays when a log is closed; also what readers have.
struct Kept {
    epoch: LogEpoch,
    content: Mutex<Content>,
    /// The tail's `next`, to wake readers.
    next: watch::Sender<Seq>,
}

#[derive(Default)]
struct Content {
    open: bool,
    source: Option<String>,
    blocks: VecDeque<Stored>,
    tail: Tail,
    /// What is noted before the tail, behind it, and both.
    knowledge: Knowledge,
    pending: Vec<Note>,
    ahead: Knowledge,
}

struct Stored {
    block: Arc<Block>,
    /// Where the transaction begins that is open at the block's begin.
    transaction: Seq,
    latest_commit_ms: Option<i64>,
}

#[async_trait]
impl LogReader for Kept {
    fn epoch(&self) -> LogEpoch {
        self.epoch
    }

    fn source_id(&self) -> Option<String> {
        self.lock().source.clone()
    }

    fn tail(&self) -> Tail {
        self.lock().tail.clone()
    }

    fn schemas(&self) -> SchemaBook {
        self.lock().knowledge.schemas.clone()
    }

    fn coverage(&self) -> Coverage {
        self.lock().knowledge.coverage.clone()
    }

    async fn grown(&self, after: Seq) -> Result<Tail> {
        // The sender lives as long as the log, so this ends with the wait.
        let _ = self.next.subscribe().wait_for(|next| *next > after).await;
        Ok(self.tail())
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        let content = self.lock();
        let next = content.tail.next;
        if from < content.horizon() || from > next {
            return Err(gap(from, content.horizon(), next));
        }
        let mut bytes = 0;
        let first = content.blocks.partition_point(|stored| stored.block.end() <= from);
        let visible = content.blocks.range(first..).take_while(|stored| stored.block.first < next);
        let read = visible.take_while(|stored| {
            let more = bytes == 0 || bytes < max_bytes;
            bytes += stored.block.payload.len();
            more
        });
        Ok(read.map(|stored| Arc::clone(&stored.block)).collect())
    }

    async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        let content = self.lock();
        for stored in content.blocks.iter().rev().filter(|stored| stored.block.commit.is_some()) {
            if let Some(seq) = position_in(&stored.block, position).map_err(damaged)? {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        let content = self.lock();
        let reached = content.blocks.iter().find(|stored| stored.latest_commit_ms >= Some(time_ms));
        let found = match reached {
            Some(stored) => time_in(&stored.block, stored.transaction, time_ms).map_err(damaged)?,
            None => None,
        };
        Ok(found.unwrap_or(content.tail.next))
    }

    fn stat(&self) -> LogStat {
        let content = self.lock();
        let bytes = content.blocks.iter().map(Stored::bytes).sum();
        let horizon = content.horizon();
        let first = content.blocks.front().filter(|_| horizon < content.tail.next);
        LogStat {
            horizon,
            horizon_time_ms: first.map(|stored| stored.block.first_time_ms),
            stored_bytes: bytes,
            payload_bytes: bytes,
            segments: content.blocks.len() as u64,
        }
    }
}

#[async_trait]
impl LogReader for MemoryLog {
    fn epoch(&self) -> LogEpoch {
        self.kept.epoch()
    }

    fn source_id(&self) -> Option<String> {
        self.kept.source_id()
    }

    fn tail(&self) -> Tail {
        self.kept.tail()
    }

    fn schemas(&self) -> SchemaBook {
        self.kept.schemas()
    }

    fn coverage(&self) -> Coverage {
        self.kept.coverage()
    }

    async fn grown(&self, after: Seq) -> Result<Tail> {
        self.kept.grown(after).await
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        self.kept.read(from, max_bytes).await
    }

    async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        self.kept.find_position(position).await
    }

    async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        self.kept.find_time(time_ms).await
    }

    fn stat(&self) -> LogStat {
        self.kept.stat()
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn bind_source(&self, id: &str) -> Result<()> {
        let mut content = self.kept.lock();
        if content.source.get_or_insert_with(|| id.to_owned()) != id {
            return Err(Error::new(Kind::Refused, "the log holds the changes of another source"));
        }
        Ok(())
    }

    async fn append(&self, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        let mut content = self.kept.lock();
        if blocks.first().is_some_and(|first| first.first == content.tail.next) {
            // The miner begins an unfinished transaction again.
            content.cut();
        }
        let next = content.next();
        let contents = match examine(&blocks, next, &mut content.ahead) {
            Ok(contents) => contents,
            Err(error) => {
                content.restore_ahead();
                return Err(error);
            }
        };
        let mut transaction = content.tail.next;
        for (block, found) in blocks.into_iter().zip(contents) {
            content.pending.extend(found.notes);
            let end = block.end();
            let commit = block.commit.clone();
            content.blocks.push_back(Stored { block, transaction, latest_commit_ms: found.latest_commit_ms });
            if commit.is_some() {
                transaction = end;
                content.tail = Tail { next: end, commit };
                content.learn_pending();
            }
        }
        let tail = content.tail.clone();
        drop(content);
        self.kept.next.send_if_modified(|next| std::mem::replace(next, tail.next) != tail.next);
        Ok(tail)
    }

    async fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        let mut content = self.kept.lock();
        let oldest_ms = policy.age.map(|age| {
            self.clock.now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        });
        let mut bytes: u64 = content.blocks.iter().map(Stored::bytes).sum();
        let (mut due, mut dropped, mut seen_bytes, mut dropped_bytes) = (0, 0, 0, 0);
        let mut latest_ms = i64::MIN;
        for (at, stored) in content.blocks.iter().enumerate() {
            // The last commit stays: it is the miner's checkpoint.
            if stored.block.end() >= content.tail.next {
                break;
            }
            latest_ms =
                latest_ms.max(stored.block.first_time_ms).max(stored.latest_commit_ms.unwrap_or(i64::MIN));
            let too_old = oldest_ms.is_some_and(|oldest_ms| latest_ms < oldest_ms);
            if !too_old && policy.size.is_none_or(|size| bytes <= size) {
                break;
            }
            bytes -= stored.bytes();
            seen_bytes += stored.bytes();
            if stored.block.commit.is_some() {
                due = at + 1;
                if hold.is_none_or(|hold| stored.block.end() <= hold) {
                    (dropped, dropped_bytes) = (due, seen_bytes);
                }
            }
        }
        content.blocks.drain(..dropped);
        Ok(Retained { horizon: content.horizon(), dropped_bytes, held: dropped < due })
    }
}

impl Drop for MemoryLog {
    fn drop(&mut self) {
        self.kept.lock().open = false;
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// The number that the next block begins with.
    fn next(&self) -> Seq {
        self.blocks.back().map_or(self.tail.next, |stored| stored.block.end())
    }

    fn horizon(&self) -> Seq {
        self.blocks.front().map_or(self.tail.next, |stored| stored.block.first)
    }

    /// Drops what lies behind the tail.
    fn cut(&mut self) {
        let complete = self.blocks.partition_point(|stored| stored.block.first < self.tail.next);
        self.blocks.truncate(complete);
        self.pending.clear();
        self.restore_ahead();
    }

    fn learn_pending(&mut self) {
        let complete = self.pending.partition_point(|note| note.seq < self.tail.next);
        for note in self.pending.drain(..complete) {
            self.knowledge.learn(&note).expect("the note was learned when it was examined");
        }
    }

    fn restore_ahead(&mut self) {
        self.ahead = self.knowledge.clone();
        for note in &self.pending {
            self.ahead.learn(note).expect("the note was learned before");
        }
    }
}

impl Stored {
    fn bytes(&self) -> u64 {
        self.block.payload.len() as u64
    }
}

fn damaged(_: Malformed) -> Error {
    Error::new(Kind::Internal, "a block that was checked when it came is malformed")
}
