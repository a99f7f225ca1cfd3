//! How many changes a log was given of each table. The totals outlive restarts, and are exact.
//!
//! A block's counts come with it from where it was built, and join the totals when its transaction is durable; so no row
//! is looked at again. The totals are kept in a small file with the entry up to which they count. What the log has behind
//! that, after a crash or when an append's answer was lost, is counted from the log; so is everything that it still has
//! when the file is gone, and then the figures say since when they count. Before old changes are dropped the file is written.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::mine::Mine;
use super::rate::RowRate;
use super::state_file;
use crate::error::{Error, Kind, Result};
use crate::model::block::{self, Block, Count};
use crate::model::clock::Clock;
use crate::model::position::{LogEpoch, Seq};
use crate::model::schema::SchemaNo;
use crate::model::table::TableName;
use crate::store::LogReader;

/// Version of the file.
const VERSION: u32 = 1;
/// How often the totals are written.
const INTERVAL: Duration = Duration::from_secs(30);
/// So much of the log is read at a time when it is counted.
const READ_BYTES: usize = 4 << 20;
/// Counts of an unfinished transaction are put together when there are so many.
const PENDING_MAX: usize = 4096;
/// So many days are counted one by one: today, and the one that a clock which goes ahead calls today.
const DAYS: usize = 2;

/// The changes of one log, by table.
#[derive(Debug)]
pub struct Counts {
    file: Option<PathBuf>,
    epoch: LogEpoch,
    clock: Clock,
    began: Instant,
    totals: Mutex<Totals>,
}

/// What a log was given of its tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CountFigures {
    /// The first entry that is counted: 0, unless the file with the totals was lost.
    pub since: Seq,
    /// When that was, milliseconds since 1970 UTC; `None` when everything is counted that the log was ever given.
    pub since_ms: Option<i64>,
    /// Whether everything since then is counted. False for a while after a crash, until the log was read.
    pub complete: bool,
    /// The time zone whose days are meant by `today`.
    pub zone: String,
    /// By table, in the order of their names.
    pub tables: Vec<TableFigures>,
}

/// What a log was given of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableFigures {
    /// The table.
    pub table: String,
    /// Its changes.
    pub changes: u64,
    /// Those that the source executed today.
    pub changes_today: u64,
    /// When the source executed the first of them, milliseconds since 1970 UTC.
    pub first_change_ms: i64,
    /// When it executed the last.
    pub last_change_ms: i64,
    /// Changes made durable by the second, in the last ten seconds.
    pub rows_per_s: f64,
}

#[derive(Debug)]
struct Totals {
    /// Everything from here on is counted, up to `next` …
    since: Since,
    /// … without these entries, in order.
    missing: Vec<Range<Seq>>,
    next: Seq,
    tables: Vec<Table>,
    by_name: HashMap<TableName, usize>,
    /// For each schema number its table's place.
    by_schema: Vec<usize>,
    /// The end of the last block, which may be a part of a transaction.
    reached: Seq,
    /// Of a transaction that has not ended yet.
    pending: Vec<Count>,
    /// The day of the change counted last, and when it begins and ends.
    day: Option<(Date, Range<i64>)>,
    changed: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Since {
    seq: Seq,
    time_ms: Option<i64>,
}

#[derive(Debug)]
struct Table {
    total: Total,
    rate: RowRate,
}

/// What is kept of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Total {
    #[serde(flatten)]
    name: TableName,
    changes: u64,
    first_ms: i64,
    last_ms: i64,
    /// The newest days with their changes, the newest first.
    days: Vec<(Date, u64)>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    epoch: LogEpoch,
    zone: String,
    since: Since,
    next: Seq,
    missing: Vec<(Seq, Seq)>,
    tables: Vec<Total>,
}

impl Counts {
    /// The counts of `log`, with the totals in `file` when these belong to it. Without a file they are of the log as it
    /// is, and nothing is kept.
    pub fn open(file: Option<PathBuf>, log: &dyn LogReader, clock: Clock) -> Counts {
        let (epoch, tail, stat) = (log.epoch(), log.tail().next, log.stat());
        let kept = file.as_ref().and_then(|file| {
            state_file::read::<Kept>(file).unwrap_or_else(|error| {
                warn!("the log is counted anew: {error}");
                None
            })
        });
        let fits = |kept: &Kept| {
            let oldest = kept.missing.first().map_or(kept.next, |(from, _)| *from);
            kept.version == VERSION && kept.epoch == epoch && kept.next <= tail && oldest >= stat.horizon
        };
        let began = Instant::now();
        let mut totals = match kept.filter(fits) {
            Some(kept) => Totals::from(kept, &clock),
            None => Totals::since(Since { seq: stat.horizon, time_ms: stat.horizon_time_ms }),
        };
        totals.reach(tail);
        Counts { file, epoch, clock, began, totals: Mutex::new(totals) }
    }

    /// A session of the mine begins where the log ends: what it was given and its writer was not told is counted later.
    pub fn begin(&self, tail: Seq) {
        self.totals().reach(tail);
    }

    /// Counts a block that has become durable. A transaction counts when its end is.
    pub fn durable(&self, block: &Block, counts: &[Count], log: &dyn LogReader) {
        let now_ms = self.now_ms();
        let mut totals = self.totals();
        if block.first != totals.reached {
            // Parts were cut, or somebody else has appended.
            totals.reach(block.first);
        }
        totals.reached = block.end();
        if block.commit.is_some() {
            let pending = std::mem::take(&mut totals.pending);
            totals.add(&pending, &self.clock, log, now_ms);
            totals.add(counts, &self.clock, log, now_ms);
            totals.next = block.end();
        } else {
            totals.pending.extend_from_slice(counts);
            if totals.pending.len() > PENDING_MAX {
                put_together(&mut totals.pending);
            }
        }
        for count in counts {
            if let Some(&at) = totals.by_schema.get(count.schema.0 as usize) {
                totals.tables[at].rate.add(now_ms, u64::from(count.changes));
            }
        }
    }

    /// The first entry that is not counted yet, and must not be dropped before it is.
    pub fn missing(&self) -> Seq {
        let totals = self.totals();
        // What an append has just made durable, and its writer was not told, is counted later, too.
        totals.missing.first().map_or(totals.next, |range| range.start)
    }

    /// Counts a piece of what is missing; false when nothing is. What the log no longer has, or cannot read, is given up:
    /// the figures then say that they count from behind it.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`LogReader::read`], without `Gap` and `Corrupt`: the call may be repeated.
    pub async fn count_missing(&self, log: &dyn LogReader) -> Result<bool> {
        let Some(range) = self.totals().missing.first().cloned() else { return Ok(false) };
        let counted = log.read(range.start, READ_BYTES).await.and_then(|blocks| {
            let blocks: Vec<_> = blocks.into_iter().filter(|block| block.first < range.end).collect();
            let counts: Result<Vec<_>, _> = blocks.iter().map(|block| block::count(block)).collect();
            let counts = counts.map_err(|_| unreadable(range.start))?;
            let end = blocks.last().map(|block| block.end()).ok_or_else(|| unreadable(range.start))?;
            Ok((end, counts))
        });
        let now_ms = self.now_ms();
        let mut totals = self.totals();
        match counted {
            Ok((end, counts)) => {
                for counts in &counts {
                    totals.add(counts, &self.clock, log, now_ms);
                }
                totals.missing[0].start = end;
            }
            Err(error) if matches!(error.kind(), Kind::Gap | Kind::Corrupt) => {
                totals.since = Since { seq: range.end, time_ms: Some(self.clock.now_ms()) };
                totals.missing[0].start = range.end;
            }
            Err(error) => return Err(error),
        }
        totals.missing.retain(|range| range.start < range.end);
        totals.changed = true;
        Ok(true)
    }

    /// Writes the file, when anything has changed since.
    ///
    /// # Errors
    /// `Environment` when it cannot be written: then the totals are counted from the log the next time.
    pub fn save(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let kept = {
            let mut totals = self.totals();
            if !std::mem::take(&mut totals.changed) {
                return Ok(());
            }
            Kept {
                version: VERSION,
                epoch: self.epoch,
                zone: self.clock.zone_name().to_owned(),
                since: totals.since,
                next: totals.next,
                missing: totals.missing.iter().map(|range| (range.start, range.end)).collect(),
                tables: totals.tables.iter().map(|table| table.total.clone()).collect(),
            }
        };
        let saved = state_file::write(file, &kept);
        if saved.is_err() {
            self.totals().changed = true;
        }
        saved
    }

    /// The figures at this moment.
    pub fn figures(&self) -> CountFigures {
        let (today, now_ms) = (self.clock.day(self.clock.now_ms()), self.now_ms());
        let totals = self.totals();
        let mut tables: Vec<_> = totals
            .tables
            .iter()
            .filter(|table| table.total.changes > 0)
            .map(|Table { total, rate }| TableFigures {
                table: total.name.to_string(),
                changes: total.changes,
                changes_today: total
                    .days
                    .iter()
                    .find(|(day, _)| *day == today)
                    .map_or(0, |(_, count)| *count),
                first_change_ms: total.first_ms,
                last_change_ms: total.last_ms,
                rows_per_s: rate.per_second(now_ms),
            })
            .collect();
        tables.sort_by(|one, other| one.table.cmp(&other.table));
        CountFigures {
            since: totals.since.seq,
            since_ms: totals.since.time_ms.filter(|_| totals.since.seq > Seq(0)),
            complete: totals.missing.is_empty(),
            zone: self.clock.zone_name().to_owned(),
            tables,
        }
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

/// Counts what is missing and writes the file now and then, until `over` is dropped or sent, and once more then.
pub async fn keep(mine: Arc<Mine>, mut over: oneshot::Receiver<()>) {
    loop {
        let wait = match tokio::select! {
            _ = &mut over => break,
            counted = mine.counts().count_missing(mine.log().as_ref()) => counted,
        } {
            Ok(true) => {
                tokio::task::yield_now().await;
                continue;
            }
            Ok(false) => {
                save(&mine);
                INTERVAL
            }
            Err(error) => {
                warn!(mine = mine.name(), "changes could not be counted, trying again: {error}");
                INTERVAL
            }
        };
        tokio::select! {
            _ = &mut over => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    save(&mine);
}

fn save(mine: &Mine) {
    if let Err(error) = mine.counts().save() {
        warn!(mine = mine.name(), "the number of changes could not be noted: {error}");
    }
}

impl Totals {
    fn since(since: Since) -> Totals {
        Totals {
            since,
            missing: Vec::new(),
            next: since.seq,
            tables: Vec::new(),
            by_name: HashMap::new(),
            by_schema: Vec::new(),
            reached: since.seq,
            pending: Vec::new(),
            day: None,
            changed: true,
        }
    }

    fn from(kept: Kept, clock: &Clock) -> Totals {
        let mut totals = Totals::since(kept.since);
        totals.next = kept.next;
        totals.missing = kept.missing.into_iter().map(|(from, to)| from..to).collect();
        for mut total in kept.tables {
            if kept.zone != clock.zone_name() {
                // These days begin at other moments.
                total.days.clear();
            }
            totals.by_name.insert(total.name.clone(), totals.tables.len());
            totals.tables.push(Table { total, rate: RowRate::rows(0) });
        }
        totals.changed = false;
        totals
    }

    /// The log goes on at `tail`: what lies between is missing, and what was pending is read again.
    fn reach(&mut self, tail: Seq) {
        self.pending.clear();
        self.reached = tail;
        if self.next < tail {
            self.missing.push(self.next..tail);
            self.next = tail;
            self.changed = true;
        }
    }

    fn add(&mut self, counts: &[Count], clock: &Clock, log: &dyn LogReader, now_ms: u64) {
        for count in counts {
            let Some(at) = self.place(count.schema, log, now_ms) else { continue };
            let day = match &self.day {
                Some((day, bounds)) if bounds.contains(&count.time_ms) => *day,
                _ => {
                    let day = clock.day(count.time_ms);
                    let (begin, end) = clock.bounds(day);
                    self.day = Some((day, begin..end));
                    day
                }
            };
            self.tables[at].total.add(u64::from(count.changes), count.time_ms, day);
        }
        self.changed = true;
    }

    /// The place of the table with this schema, which a durable change refers to.
    fn place(&mut self, schema: SchemaNo, log: &dyn LogReader, now_ms: u64) -> Option<usize> {
        if self.by_schema.len() <= schema.0 as usize {
            let schemas = log.schemas();
            for (_, schema) in schemas.iter().skip(self.by_schema.len()) {
                let next = self.tables.len();
                let at = *self.by_name.entry(schema.name.clone()).or_insert(next);
                if at == next {
                    let total = Total::of(schema.name.clone());
                    self.tables.push(Table { total, rate: RowRate::rows(now_ms) });
                }
                self.by_schema.push(at);
            }
        }
        self.by_schema.get(schema.0 as usize).copied()
    }
}

impl Total {
    fn of(name: TableName) -> Total {
        Total { name, changes: 0, first_ms: i64::MAX, last_ms: i64::MIN, days: Vec::new() }
    }

    fn add(&mut self, changes: u64, time_ms: i64, day: Date) {
        self.changes += changes;
        self.first_ms = self.first_ms.min(time_ms);
        self.last_ms = self.last_ms.max(time_ms);
        match self.days.binary_search_by(|(known, _)| day.cmp(known)) {
            Ok(at) => self.days[at].1 += changes,
            Err(at) => {
                self.days.insert(at, (day, changes));
                self.days.truncate(DAYS);
            }
        }
    }
}

/// Leaves one count for each table and time.
fn put_together(counts: &mut Vec<Count>) {
    counts.sort_unstable_by_key(|count| (count.schema, count.time_ms));
    counts.dedup_by(|next, count| {
        let same = next.schema == count.schema && next.time_ms == count.time_ms;
        match count.changes.checked_add(next.changes) {
            Some(sum) if same => {
                count.changes = sum;
                true
            }
            _ => false,
        }
    });
}

fn unreadable(from: Seq) -> Error {
    Error::new(Kind::Corrupt, format!("the log's entries from {from} on are not readable"))
}
