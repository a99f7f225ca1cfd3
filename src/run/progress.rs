//! Figures of running mines and pipelines. They are written where the work is done and read by whoever shows them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::histogram::{AGE_US, CALL_US, CHANGES, Histogram, SIZE_BYTES};
use super::rate::{Rate, RowRate};
use crate::model::block::Block;
use crate::model::position::{Cursor, Position, Seq};
use crate::model::table::TableName;

const NEVER: i64 = i64::MIN;

/// How fast a log grows is measured over ten minutes.
type GrowthRate = Rate<60>;
const GROWTH_SPAN_MS: u64 = 10_000;

/// Counters of one mine since it was made.
#[derive(Debug)]
pub struct MineProgress {
    changes: AtomicU64,
    transactions: AtomicU64,
    payload_bytes: AtomicU64,
    commit_time_ms: AtomicI64,
    delay_ms: AtomicI64,
    retries: AtomicU64,
    skew_ms: AtomicI64,
    transaction: Mutex<Transaction>,
    histograms: MineHistograms,
    began: Instant,
    rates: Mutex<MineRates>,
}

/// The transaction that is being read, once it is larger than a block: changes that are still to be committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Changes by table; no table has none.
    pub tables: BTreeMap<TableName, u64>,
}

impl Transaction {
    /// Its changes.
    pub fn rows(&self) -> u64 {
        self.tables.values().sum()
    }

    /// The table with the most of them.
    pub fn largest(&self) -> Option<&TableName> {
        self.tables.iter().max_by_key(|(_, rows)| **rows).map(|(table, _)| table)
    }
}

/// How the appends of one mine are spread.
#[derive(Debug)]
pub struct MineHistograms {
    /// How long appending to the log took, in microseconds.
    pub append_us: Histogram,
    /// Changes in an append.
    pub append_changes: Histogram,
    /// Bytes in an append, before compression.
    pub append_bytes: Histogram,
    /// From the server's commit of a block's last transaction to its durability in the log, in microseconds.
    pub delay_us: Histogram,
}

impl Default for MineHistograms {
    fn default() -> Self {
        MineHistograms {
            append_us: Histogram::new(CALL_US),
            append_changes: Histogram::new(CHANGES),
            append_bytes: Histogram::new(SIZE_BYTES),
            delay_us: Histogram::new(AGE_US),
        }
    }
}

#[derive(Debug)]
struct MineRates {
    rows: RowRate,
    growth: GrowthRate,
    committed_at: Option<Instant>,
}

impl Default for MineProgress {
    fn default() -> Self {
        let rates =
            MineRates { rows: RowRate::rows(0), growth: Rate::new(GROWTH_SPAN_MS, 0), committed_at: None };
        MineProgress {
            began: Instant::now(),
            rates: Mutex::new(rates),
            changes: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            payload_bytes: AtomicU64::new(0),
            commit_time_ms: AtomicI64::new(NEVER),
            delay_ms: AtomicI64::new(0),
            retries: AtomicU64::new(0),
            skew_ms: AtomicI64::new(NEVER),
            transaction: Mutex::default(),
            histograms: MineHistograms::default(),
        }
    }
}

impl MineProgress {
    /// Counts an append of `blocks` that took `time`.
    pub fn appended(&self, blocks: &[Arc<Block>], time: Duration) {
        let changes = blocks.iter().map(|block| u64::from(block.changes)).sum();
        let bytes = blocks.iter().map(|block| block.payload.len() as u64).sum();
        self.histograms.append_us.record_time(time);
        self.histograms.append_changes.record(changes);
        self.histograms.append_bytes.record(bytes);
    }

    /// Counts a retry.
    pub fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Retries.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// How its appends are spread.
    pub fn histograms(&self) -> &MineHistograms {
        &self.histograms
    }

    /// Counts a block that became durable at `now_ms`.
    pub fn durable(&self, block: &Block, now_ms: i64) {
        self.changes.fetch_add(u64::from(block.changes), Ordering::Relaxed);
        self.payload_bytes.fetch_add(block.payload.len() as u64, Ordering::Relaxed);
        if let Some(commit) = &block.commit {
            self.transactions.fetch_add(1, Ordering::Relaxed);
            self.commit_time_ms.store(commit.time_ms, Ordering::Relaxed);
            self.delay_ms.store((now_ms - commit.time_ms).max(0), Ordering::Relaxed);
            self.histograms.delay_us.record_ms(now_ms - commit.time_ms);
        }
        let since_ms = since_ms(self.began);
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.rows.add(since_ms, u64::from(block.changes));
        rates.growth.add(since_ms, block.payload.len() as u64);
        if block.commit.is_some() {
            rates.committed_at = Some(Instant::now());
        }
    }

    /// Changes made durable by the second, in the last ten seconds.
    pub fn rows_per_s(&self) -> f64 {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.rows.per_second(since_ms(self.began))
    }

    /// Bytes before compression made durable by the second, in the last ten minutes.
    pub fn payload_per_s(&self) -> f64 {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.growth.per_second(since_ms(self.began))
    }

    /// How long ago the last transaction became durable, in milliseconds; 0 before the first.
    pub fn quiet_ms(&self) -> i64 {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.committed_at.map_or(0, |at| since_ms(at) as i64)
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

    /// Notes how far ahead of this machine's clock the source's is.
    pub fn clock_is_ahead(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// How far ahead of this machine's clock the source's was when it was last connected to, in milliseconds.
    pub fn skew_ms(&self) -> Option<i64> {
        Some(self.skew_ms.load(Ordering::Relaxed)).filter(|skew| *skew != NEVER)
    }

    /// Adds changes to the transaction that is being read; gives how many it has.
    pub fn reads_on<'t>(&self, changes: impl Iterator<Item = (&'t TableName, u64)>) -> u64 {
        let mut transaction = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        for (table, rows) in changes {
            match transaction.tables.get_mut(table) {
                Some(known) => *known += rows,
                None => drop(transaction.tables.insert(table.clone(), rows)),
            }
        }
        transaction.rows()
    }

    /// Notes that no transaction is being read.
    pub fn has_read(&self) {
        let mut transaction = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        transaction.tables.clear();
    }

    /// The transaction that is being read, once it is larger than a block; otherwise an empty one.
    pub fn transaction(&self) -> Transaction {
        self.transaction.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a sink took for a batch that was written longer ago says nothing any more.
pub const SINK_QUIET: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Writing {
    since: Option<Instant>,
    last: Option<(Duration, Instant)>,
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
    delivered_next: AtomicU64,
    oldest_ms: AtomicI64,
    commit_time_ms: AtomicI64,
    latency_ms: AtomicI64,
    writing: Mutex<Writing>,
    stages_us: AtomicU64,
    histograms: RouteHistograms,
    began: Instant,
    rate: Mutex<RowRate>,
    position: Mutex<Option<Position>>,
    has_let_go: AtomicBool,
    is_direct: AtomicBool,
}

/// How the batches of one route are spread.
#[derive(Debug)]
pub struct RouteHistograms {
    /// How long the sink took to write a batch, in microseconds.
    pub write_us: Histogram,
    /// Changes in a batch, after the stages.
    pub batch_changes: Histogram,
    /// From the server's commit of a batch's last transaction to its durability in the sink, in microseconds.
    pub latency_us: Histogram,
}

impl Default for RouteHistograms {
    fn default() -> Self {
        RouteHistograms {
            write_us: Histogram::new(CALL_US),
            batch_changes: Histogram::new(CHANGES),
            latency_us: Histogram::new(AGE_US),
        }
    }
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
            delivered_next: AtomicU64::new(0),
            oldest_ms: AtomicI64::new(NEVER),
            commit_time_ms: AtomicI64::new(NEVER),
            latency_ms: AtomicI64::new(0),
            writing: Mutex::default(),
            stages_us: AtomicU64::new(0),
            histograms: RouteHistograms::default(),
            began: Instant::now(),
            rate: Mutex::new(RowRate::rows(0)),
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
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).add(since_ms(self.began), changes);
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
        if cursor.direct.is_none() {
            self.delivered_next.fetch_max(cursor.next.0, Ordering::Relaxed);
        }
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&cursor.position);
    }

    /// Notes that the route is about to read the source itself.
    pub fn goes_direct(&self) {
        self.is_direct.store(true, Ordering::Release);
    }

    /// Whether the route is ahead of its place in the log, as it has read the source itself.
    pub fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Acquire)
    }

    /// Notes that a session of the route begins at `cursor`.
    pub fn begins_at(&self, cursor: &Cursor) {
        self.at(cursor);
        self.has_all_before(cursor.next);
    }

    /// Notes that changes wait for the sink, the oldest of them executed at `time_ms`.
    pub fn waits(&self, time_ms: i64) {
        self.oldest_ms.store(time_ms, Ordering::Relaxed);
    }

    /// Notes that nothing waits: what lies before `next` is delivered, or is of other tables.
    pub fn has_all_before(&self, next: Seq) {
        self.oldest_ms.store(NEVER, Ordering::Relaxed);
        self.delivered_next.store(next.0, Ordering::Relaxed);
    }

    /// The first entry that was not looked at, or waits for the sink; the cursor may still lie before it. 0 until the
    /// sink was opened for the first time.
    pub fn delivered_next(&self) -> Seq {
        Seq(self.delivered_next.load(Ordering::Relaxed))
    }

    /// When the source executed the oldest change that waits for the sink, milliseconds since 1970 UTC.
    pub fn oldest_ms(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Relaxed)).filter(|time| *time != NEVER)
    }

    /// Notes the server's time of the last commit that is durable in the sink.
    pub fn committed(&self, commit_time_ms: i64, now_ms: i64) {
        self.commit_time_ms.store(commit_time_ms, Ordering::Relaxed);
        self.latency_ms.store((now_ms - commit_time_ms).max(0), Ordering::Relaxed);
    }

    /// Notes that the sink has begun to write a batch; it is over when the answer is dropped.
    pub fn writes(&self) -> impl Drop + use<'_> {
        struct Over<'a>(&'a Mutex<Writing>);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                writing.last = writing.since.take().map(|since| (since.elapsed(), Instant::now()));
            }
        }
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).since = Some(Instant::now());
        Over(&self.writing)
    }

    /// How long the sink takes for a batch: for the one that it writes, or for the last, in milliseconds. 0 when there was
    /// none in the last [`SINK_QUIET`].
    pub fn sink_ms(&self) -> u64 {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = writing.since.map_or(Duration::ZERO, |since| since.elapsed());
        let last = writing.last.filter(|(_, at)| at.elapsed() < SINK_QUIET);
        last.map_or(now, |(took, _)| took.max(now)).as_millis() as u64
    }

    /// Counts that changes committed at `commit_time_ms` by the server's clock became durable in the sink at `now_ms`.
    pub fn arrived(&self, commit_time_ms: i64, now_ms: i64) {
        self.histograms.latency_us.record_ms(now_ms - commit_time_ms);
    }

    /// Counts a batch of `changes` that the sink took `time` to write. A cursor alone is no batch.
    pub fn wrote(&self, changes: u64, time: Duration) {
        if changes == 0 {
            return;
        }
        self.histograms.write_us.record_time(time);
        self.histograms.batch_changes.record(changes);
    }

    /// Counts time that went into the stages.
    pub fn add_stages(&self, time: Duration) {
        self.stages_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How its batches are spread.
    pub fn histograms(&self) -> &RouteHistograms {
        &self.histograms
    }

    /// How long its blocks were read and taken through the stages, in microseconds; 0 without stages.
    pub fn stages_us(&self) -> u64 {
        self.stages_us.load(Ordering::Relaxed)
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
            rows_per_s: {
                let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
                rate.per_second(since_ms(self.began))
            },
            latency_ms: self.latency_ms.load(Ordering::Relaxed),
            next: self.durable_next(),
            position: self.position.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What one route has done since it was made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// Changes delivered by the second, in the last ten seconds.
    pub rows_per_s: f64,
    /// From the server's commit of the last transaction to its durability in the sink.
    pub latency_ms: i64,
    /// The first entry that is not durable yet.
    pub next: Seq,
    /// The same place in the source's log.
    pub position: Option<Position>,
}

fn since_ms(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64
}
