//! Figures of running mines and pipelines. They are written where the work is done and read by whoever shows them.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use serde::Serialize;

use crate::model::block::Block;
use crate::model::position::{Cursor, Position, Seq};

const NEVER: i64 = i64::MIN;

/// Counters of one mine since it was made.
#[derive(Debug)]
pub struct MineProgress {
    changes: AtomicU64,
    transactions: AtomicU64,
    payload_bytes: AtomicU64,
    commit_time_ms: AtomicI64,
    delay_ms: AtomicI64,
}

impl Default for MineProgress {
    fn default() -> Self {
        MineProgress {
            changes: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            payload_bytes: AtomicU64::new(0),
            commit_time_ms: AtomicI64::new(NEVER),
            delay_ms: AtomicI64::new(0),
        }
    }
}

impl MineProgress {
    /// Counts a block that became durable at `now_ms`.
    pub fn durable(&self, block: &Block, now_ms: i64) {
        self.changes.fetch_add(u64::from(block.changes), Ordering::Relaxed);
        self.payload_bytes.fetch_add(block.payload.len() as u64, Ordering::Relaxed);
        if let Some(commit) = &block.commit {
            self.transactions.fetch_add(1, Ordering::Relaxed);
            self.commit_time_ms.store(commit.time_ms, Ordering::Relaxed);
            self.delay_ms.store((now_ms - commit.time_ms).max(0), Ordering::Relaxed);
        }
    }

    /// Changes made durable.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Their bytes before compression.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes.load(Ordering::Relaxed)
    }

    /// The server's time of the last durable commit, milliseconds since 1970 UTC.
    pub fn commit_time_ms(&self) -> Option<i64> {
        Some(self.commit_time_ms.load(Ordering::Relaxed)).filter(|time| *time != NEVER)
    }

    /// From the server's commit of the last transaction to its durability in the log.
    pub fn delay_ms(&self) -> i64 {
        self.delay_ms.load(Ordering::Relaxed)
    }
}

/// Counters and place of one route since it was made.
#[derive(Debug)]
pub struct RouteProgress {
    read: AtomicU64,
    delivered: AtomicU64,
    written: AtomicU64,
    aside: AtomicU64,
    retries: AtomicU64,
    durable_next: AtomicU64,
    commit_time_ms: AtomicI64,
    latency_ms: AtomicI64,
    position: Mutex<Option<Position>>,
    has_let_go: AtomicBool,
    is_direct: AtomicBool,
}

impl Default for RouteProgress {
    fn default() -> Self {
        RouteProgress {
            read: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            written: AtomicU64::new(0),
            aside: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            durable_next: AtomicU64::new(0),
            commit_time_ms: AtomicI64::new(NEVER),
            latency_ms: AtomicI64::new(0),
            position: Mutex::new(None),
            has_let_go: AtomicBool::new(false),
            is_direct: AtomicBool::new(false),
        }
    }
}

impl RouteProgress {
    /// Counts changes of the route's tables that were read.
    pub fn add_read(&self, changes: u64) {
        self.read.fetch_add(changes, Ordering::Relaxed);
    }

    /// Counts what became durable: `changes` after the stages, and the `rows` that the sink made of them.
    pub fn add_written(&self, changes: u64, rows: u64) {
        self.delivered.fetch_add(changes, Ordering::Relaxed);
        self.written.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts a row that was set aside.
    pub fn add_aside(&self) {
        self.aside.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a retry.
    pub fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a cursor is durable in the sink.
    pub fn at(&self, cursor: &Cursor) {
        self.is_direct.store(cursor.direct.is_some(), Ordering::Release);
        self.durable_next.store(cursor.next.0, Ordering::Release);
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&cursor.position);
    }

    /// Whether the route is ahead of its place in the log, as it has read the source itself.
    pub fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Acquire)
    }

    /// Notes the server's time of the last commit that is durable in the sink.
    pub fn committed(&self, commit_time_ms: i64, now_ms: i64) {
        self.commit_time_ms.store(commit_time_ms, Ordering::Relaxed);
        self.latency_ms.store((now_ms - commit_time_ms).max(0), Ordering::Relaxed);
    }

    /// Lets retention drop what the route has not read; with `false`, keeps it from that again.
    pub fn let_go(&self, let_go: bool) {
        self.has_let_go.store(let_go, Ordering::Release);
    }

    /// Whether retention need not think of the route.
    pub fn has_let_go(&self) -> bool {
        self.has_let_go.load(Ordering::Acquire)
    }

    /// The first entry that is not durable in the sink yet. 0 until the sink was opened for the first time.
    pub fn durable_next(&self) -> Seq {
        Seq(self.durable_next.load(Ordering::Acquire))
    }

    /// The server's time of the last commit that is durable in the sink, milliseconds since 1970 UTC.
    pub fn commit_time_ms(&self) -> Option<i64> {
        Some(self.commit_time_ms.load(Ordering::Relaxed)).filter(|time| *time != NEVER)
    }

    /// The figures at this moment.
    pub fn figures(&self) -> RouteFigures {
        RouteFigures {
            changes_read: self.read.load(Ordering::Relaxed),
            changes_delivered: self.delivered.load(Ordering::Relaxed),
            rows_written: self.written.load(Ordering::Relaxed),
            rows_aside: self.aside.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            latency_ms: self.latency_ms.load(Ordering::Relaxed),
            next: self.durable_next(),
            position: self.position.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What one route has done since it was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RouteFigures {
    /// Changes of its tables that were read.
    pub changes_read: u64,
    /// Changes that came out of the stages and are durable in the sink.
    pub changes_delivered: u64,
    /// Rows the sink wrote; fewer than changes where changes of one key were put together.
    pub rows_written: u64,
    /// Rows set aside in a file.
    pub rows_aside: u64,
    /// Retries.
    pub retries: u64,
    /// From the server's commit of the last transaction to its durability in the sink.
    pub latency_ms: i64,
    /// The first entry that is not durable yet.
    pub next: Seq,
    /// The same place in the source's log.
    pub position: Option<Position>,
}
