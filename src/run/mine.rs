//! The miner: one reader of one source, which appends to one log and wakes the pipelines.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::claim::Claim;
use super::counts::{self, Counts};
use super::event::{Event, Events, FAILURES};
use super::hub::Hub;
use super::older::Older;
use super::progress::{MineProgress, RouteProgress};
use super::retention::{self, Policy, Unread};
use super::session::Ended;
use super::signal::{Listener, Wish};
use super::turn::Turns;
use crate::error::{Error, Kind, Result};
use crate::model::block::{self, Block, BlockBuilder, Commit, Count, SchemaBook};
use crate::model::clock::Clock;
use crate::model::coverage::Coverage;
use crate::model::position::Seq;
use crate::model::spec::Start;
use crate::model::table::{TableSelection, TableSet};
use crate::source::Source;
use crate::store::{Log, Retained, Retention};

/// Nobody is told of a transaction that is being read and has fewer rows.
const TRANSACTION_TOLD: u64 = 1 << 14;

/// What a mine is made of.
pub struct MineParts {
    /// Name shown to people.
    pub name: String,
    /// What is mined.
    pub source: Arc<dyn Source>,
    /// Where it goes.
    pub log: Arc<dyn Log>,
    /// Where a new log begins.
    pub start: Start,
    /// How much of the log is kept.
    pub policy: Policy,
    /// Whether columns that the source leaves out are read back.
    pub full_rows: bool,
    /// Where the number of changes is kept; `None` keeps it nowhere.
    pub counts: Option<PathBuf>,
    /// The time of day.
    pub clock: Clock,
    /// Its right to read the server, where others might read the same one.
    pub claim: Option<Arc<Claim>>,
}

/// One mine. It reads the tables that its consumers want, together with all that its log already covers: so a
/// consumer that was away for a while finds no hole.
pub struct Mine {
    parts: MineParts,
    /// Where a new log begins.
    start: Mutex<Start>,
    hub: Hub,
    older: Older,
    pub(super) wanted: watch::Sender<TableSelection>,
    pub(super) turns: Arc<Turns>,
    state: watch::Sender<MineState>,
    policy: RwLock<Policy>,
    progress: MineProgress,
    counts: Counts,
    full_rows: AtomicBool,
    events: Events,
    consumers: Arc<Mutex<Vec<Weak<RouteProgress>>>>,
    /// Has old changes dropped at once.
    wants_room: Notify,
    /// Taken while old changes are dropped.
    dropping: Arc<tokio::sync::Mutex<()>>,
}

/// What a mine is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum MineState {
    /// Made, and not started yet.
    Idle,
    /// Connecting.
    Starting,
    /// Reading.
    Running,
    /// Something broke; it tries again by itself.
    Retrying {
        /// What broke.
        error: String,
        /// What helps, where that is known.
        advice: Option<String>,
    },
    /// Its log has no room for more. It reads nothing meanwhile, and goes on by itself when there is room.
    StoreFull {
        /// What is full.
        error: String,
        /// What makes room, where that is known.
        advice: Option<String>,
    },
    /// Stopped by wish.
    Stopped,
    /// The source has an end, and everything before it is in the log.
    Ended,
    /// Something is wrong that trying again does not mend.
    Failed {
        /// What it means.
        kind: Kind,
        /// What.
        error: String,
        /// What to do about it, where that is known.
        advice: Option<String>,
    },
}

impl MineState {
    /// The names of all states, as in JSON.
    pub const NAMES: [&str; 8] =
        ["idle", "starting", "running", "retrying", "store_full", "stopped", "ended", "failed"];

    /// Its name, one of [`NAMES`](Self::NAMES).
    pub fn name(&self) -> &'static str {
        match self {
            MineState::Idle => "idle",
            MineState::Starting => "starting",
            MineState::Running => "running",
            MineState::Retrying { .. } => "retrying",
            MineState::StoreFull { .. } => "store_full",
            MineState::Stopped => "stopped",
            MineState::Ended => "ended",
            MineState::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more will come without somebody acting.
    pub fn is_over(&self) -> bool {
        matches!(self, MineState::Stopped | MineState::Ended | MineState::Failed { .. })
    }
}

impl Mine {
    /// A mine that is not started yet.
    pub fn new(parts: MineParts, events: Events) -> Arc<Mine> {
        Mine::make(parts, events, None)
    }

    /// A mine in the place of `former`, which has the same open log and is about to end. Until it has, both take turns in
    /// writing, and neither drops what a consumer of the other needs.
    pub fn in_place_of(former: &Mine, parts: MineParts, events: Events) -> Arc<Mine> {
        Mine::make(parts, events, Some(former))
    }

    fn make(parts: MineParts, events: Events, former: Option<&Mine>) -> Arc<Mine> {
        let hub = Hub::new(parts.log.tail());
        let counts = Counts::open(parts.counts.clone(), parts.log.as_ref(), parts.clock.clone());
        Arc::new(Mine {
            policy: RwLock::new(parts.policy.clone()),
            full_rows: AtomicBool::new(parts.full_rows),
            counts,
            start: Mutex::new(parts.start.clone()),
            parts,
            hub,
            older: Older::default(),
            wanted: watch::Sender::default(),
            turns: former.map(|former| Arc::clone(&former.turns)).unwrap_or_default(),
            state: watch::Sender::new(MineState::Idle),
            progress: MineProgress::default(),
            events,
            consumers: former.map(|former| Arc::clone(&former.consumers)).unwrap_or_default(),
            wants_room: Notify::new(),
            dropping: former.map(|former| Arc::clone(&former.dropping)).unwrap_or_default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Its log.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.parts.log
    }

    /// What it reads.
    pub(super) fn source(&self) -> &Arc<dyn Source> {
        &self.parts.source
    }

    /// The time of day, milliseconds since 1970 UTC.
    pub(super) fn now_ms(&self) -> i64 {
        self.parts.clock.now_ms()
    }

    /// Where a new log begins.
    pub(super) fn start_point(&self) -> Start {
        self.start.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a log that is still new begin elsewhere.
    pub(super) fn start_at(&self, start: Start) {
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = start;
    }

    /// How much of its log is kept.
    pub fn policy(&self) -> Policy {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps more or less of its log from now on, also while it runs. What has become too much goes soon.
    pub fn keep(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        self.wants_room.notify_one();
    }

    /// Its right to read the server, where others might read the same one.
    pub fn claim(&self) -> Option<&Arc<Claim>> {
        self.parts.claim.as_ref()
    }

    /// Its newest blocks.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Blocks that are no longer among the newest, the first being the one that contains `from`.
    ///
    /// # Errors
    /// As [`LogReader::read`](crate::store::LogReader::read).
    pub async fn older(&self, from: Seq) -> Result<Vec<Arc<Block>>> {
        self.older.read(self.log().as_ref(), from).await
    }

    /// Its counters.
    pub fn progress(&self) -> &MineProgress {
        &self.progress
    }

    /// Whether columns that the source leaves out are read back.
    pub fn full_rows(&self) -> bool {
        self.full_rows.load(Ordering::Relaxed)
    }

    /// Has them read back, or not, from the next start on.
    pub fn complete_rows(&self, full_rows: bool) {
        self.full_rows.store(full_rows, Ordering::Relaxed);
    }

    /// What its log was given of each table.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Follows what it is doing.
    pub fn state(&self) -> watch::Receiver<MineState> {
        self.state.subscribe()
    }

    /// Has these tables mined, too: from the start, or while it runs from the source's next transaction on. What is paused
    /// stays paused.
    pub fn want(&self, tables: &TableSet) {
        self.wanted.send_if_modified(|wanted| wanted.add(tables));
    }

    /// The tables that it reads, or will read when it is started: those asked for, and those that its log covers.
    pub fn tables(&self) -> TableSelection {
        let mut tables = self.log().coverage().tables;
        for set in self.wanted.borrow().sets() {
            tables.add(set);
        }
        tables
    }

    /// Lets retention know a consumer.
    pub fn attach(&self, consumer: &Arc<RouteProgress>) {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(consumer));
    }

    /// The oldest entry that a consumer still needs; `None` without consumers, and when all have let go.
    pub fn oldest_needed(&self) -> Option<Seq> {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|consumer| consumer.strong_count() > 0);
        let consumers = consumers.iter().filter_map(Weak::upgrade);
        consumers.filter(|consumer| !consumer.has_let_go()).map(|consumer| consumer.durable_next()).min()
    }

    /// Drops what `keep` does not want, but nothing that a consumer still needs; without `hold`, that too.
    ///
    /// # Errors
    /// As [`Log::retain`].
    pub async fn retain(&self, keep: &Retention, hold: bool) -> Result<Retained> {
        let _dropping = self.dropping.lock().await;
        let needed = if hold { self.oldest_needed() } else { None };
        let uncounted = self.counts.missing();
        // What is dropped can be counted no more. A place without room for the file is one where dropping helps.
        if let Err(error) = self.counts.save() {
            warn!(mine = self.name(), "the number of changes could not be noted: {error}");
        }
        self.log().retain(keep, needed.into_iter().chain([uncounted]).min()).await
    }

    /// Returns when the log is full, or its policy has changed. Cancel-safe.
    pub async fn wants_room(&self) {
        self.wants_room.notified().await;
    }

    /// Waits until dropping that began before is over: it does not know of a consumer that was attached since.
    pub async fn dropped(&self) {
        let _dropping = self.dropping.lock().await;
    }

    /// Starts mining in the background; again, too, when an earlier start is over. The task ends with the wish to
    /// drain or stop, with the end of the source, or with an error that trying again does not mend; the state
    /// says which.
    pub fn start(self: &Arc<Self>, listener: Listener) -> JoinHandle<()> {
        // Said before anybody can look: how an earlier start ended must not be taken for the end of this one.
        self.enter(MineState::Starting);
        let mine = Arc::clone(self);
        tokio::spawn(async move {
            let (over, told) = oneshot::channel();
            let (counted, told_counts) = oneshot::channel();
            let retention = tokio::spawn(retention::keep(Arc::clone(&mine), told));
            let counting = tokio::spawn(counts::keep(Arc::clone(&mine), told_counts));
            let run = tokio::spawn(Arc::clone(&mine).run(listener));
            let state = run.await.unwrap_or_else(|panic| MineState::Failed {
                kind: Kind::Internal,
                error: format!("lode is at fault: {panic}"),
                advice: Some("please report this with the log of the run".to_owned()),
            });
            drop((over, counted));
            // A panic in there costs old changes their removal, or figures, and nothing else.
            let _ = tokio::join!(retention, counting);
            let tail = mine.log().tail().next.0;
            match state {
                MineState::Ended => info!(mine = mine.name(), tail, "mined to the end of the source"),
                _ => info!(mine = mine.name(), tail, "mining stopped"),
            }
            mine.enter(state);
        })
    }

    /// Starts mining as [`start`](Self::start) does, when `former`, the task of a mine of the same log, has ended: a log
    /// has one writer.
    pub fn start_after(self: &Arc<Self>, former: JoinHandle<()>, listener: Listener) -> JoinHandle<()> {
        self.enter(MineState::Starting);
        let mine = Arc::clone(self);
        tokio::spawn(async move {
            // A mine that panicked has nothing more to say, and writes no more.
            let _ = former.await;
            let _ = mine.start(listener).await;
        })
    }

    /// Notes that it was stopped before it was started.
    pub fn rest(&self) {
        self.enter(MineState::Stopped);
    }

    /// Mines until there is nothing more to do, and tells why.
    async fn run(self: Arc<Self>, mut listener: Listener) -> MineState {
        let mut backoff = Backoff::default();
        let mut goes_on = false;
        loop {
            if !std::mem::take(&mut goes_on) {
                self.enter(MineState::Starting);
            }
            let tail = self.log().tail();
            let error = match self.session(&mut listener, &mut backoff).await {
                Ok(Ended::ByWish) => return MineState::Stopped,
                Ok(Ended::BySource) => return MineState::Ended,
                Ok(Ended::ToBeginAnew) => {
                    goes_on = true;
                    continue;
                }
                Err(error) => error,
            };
            let (text, advice) = (error.to_string(), error.next_step().map(str::to_owned));
            if !error.kind().is_retryable() {
                warn!(target: FAILURES, mine = self.name(), advice, "mining failed: {text}");
                return MineState::Failed { kind: error.kind(), error: text, advice };
            }
            if self.log().tail() != tail {
                backoff.succeeded();
            }
            let waited = match error.kind() {
                Kind::Full => {
                    warn!(mine = self.name(), advice, "mining waits for room in its log: {text}");
                    self.enter(MineState::StoreFull { error: text, advice });
                    listener.unless(Wish::Drain, self.room(&mut backoff)).await
                }
                _ => {
                    let wait = backoff.failed();
                    self.progress.add_retry();
                    warn!(
                        mine = self.name(),
                        wait_ms = wait.as_millis() as u64,
                        advice,
                        "mining broke off, trying again: {text}"
                    );
                    self.enter(MineState::Retrying { error: text, advice });
                    listener.unless(Wish::Drain, tokio::time::sleep(wait)).await
                }
            };
            if waited.is_none() {
                return MineState::Stopped;
            }
        }
    }

    /// Adds to the transaction that is being read. Who listens is told each time that it has become twice as large.
    pub(super) fn reads_on(&self, counts: &[Count], schemas: &SchemaBook) {
        let before = self.progress.transaction().rows();
        let tables = counts.iter().filter_map(|count| {
            schemas.get(count.schema).map(|schema| (&schema.name, u64::from(count.changes)))
        });
        let rows = self.progress.reads_on(tables);
        if rows >= TRANSACTION_TOLD && rows.ilog2() > before.max(1).ilog2() {
            self.events.tell(Event::Transaction { mine: self.name().to_owned(), rows });
        }
    }

    pub(super) fn enter(&self, state: MineState) {
        let changed = self.state.send_if_modified(|now| {
            let changed = *now != state;
            now.clone_from(&state);
            changed
        });
        if changed {
            self.events.tell(Event::Mine { mine: self.name().to_owned(), state });
        }
    }

    /// Waits until the log may have room again. Whether its disk has is found out by trying.
    async fn room(&self, backoff: &mut Backoff) {
        loop {
            self.wants_room.notify_one();
            tokio::time::sleep(backoff.failed()).await;
            if self.has_room().is_ok() {
                return;
            }
        }
    }

    /// # Errors
    /// `Full` when the log has reached the limit that its policy sets, with changes that were not read. Without any,
    /// dropping would make room if it could: the last transaction stays however large it is.
    fn has_room(&self) -> Result<()> {
        let policy = self.policy();
        if policy.hold_bytes_max.is_none() || policy.unread != Unread::Stop {
            return Ok(());
        }
        let stored_bytes = self.log().stat().stored_bytes;
        let Some(most) = policy.is_full(stored_bytes) else { return Ok(()) };
        if self.oldest_needed().is_none_or(|needed| needed >= self.log().tail().next) {
            return Ok(());
        }
        Err(Error::new(
            Kind::Full,
            format!("the log has {stored_bytes} bytes, and is held below {most} by `hold_size`"),
        )
        .advice(
            "let the pipelines that lag go on, raise `hold_size`, or give up what they have not read: unread = drop",
        ))
    }

    /// Appends a coverage note and `commit`, for whoever has the turn to write.
    pub(super) async fn note(&self, coverage: &Coverage, commit: Commit) -> Result<()> {
        let mut builder = BlockBuilder::new(self.log().tail().next, self.log().schemas());
        builder.coverage(coverage);
        builder.commit(commit);
        let blocks: Vec<_> = builder.seal().into_iter().map(Arc::new).collect();
        self.append(&blocks).await
    }

    /// Makes blocks durable, and then visible to the pipelines, for whoever has the turn to write.
    pub(super) async fn append(&self, blocks: &[Arc<Block>]) -> Result<()> {
        let counts = blocks.iter().map(|block| block::count(block)).collect::<Result<Vec<_>, _>>();
        let counts =
            counts.map_err(|_| Error::new(Kind::Internal, "a block was built that is not readable"))?;
        self.append_counted(blocks, &counts).await
    }

    /// The same with the counts that come from where the blocks were built.
    pub(super) async fn append_counted(&self, blocks: &[Arc<Block>], counts: &[Vec<Count>]) -> Result<()> {
        // A transaction that has begun is not held up: it could never be dropped, so that there would never be room.
        if blocks.first().is_some_and(|block| block.first == self.log().tail().next) {
            self.has_room()?;
        }
        let began = Instant::now();
        let tail = self.log().append(blocks.to_vec()).await.map_err(|error| {
            // A store that failed or is away is waited for: nothing is lost, as the source is read again from the tail.
            let kind = if error.kind() == Kind::Environment { Kind::Unavailable } else { error.kind() };
            let advice = error.next_step().map(str::to_owned);
            let error = Error::new(kind, error.to_string()).context("while appending to the log");
            advice.into_iter().fold(error, Error::advice)
        })?;
        self.progress.appended(blocks, began.elapsed());
        let now_ms = self.parts.clock.now_ms();
        for (block, counts) in blocks.iter().zip(counts) {
            self.progress.durable(block, now_ms);
            self.counts.durable(block, counts, self.log().as_ref());
        }
        self.hub.publish(blocks, tail);
        Ok(())
    }
}
