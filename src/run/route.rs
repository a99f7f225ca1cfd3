//! A route: one input of a pipeline on its way to one sink.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::aside::AsideFile;
use super::backoff::Backoff;
use super::event::{Event, Events, FAILURES};
use super::feed::{Feed, Next, Origin};
use super::mine::MineState;
use super::progress::RouteProgress;
use super::signal::{Listener, Wish};
use super::stages::Stages;
use super::waiting::{Waiting, Whole};
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, ChangeEntry, Entry, SchemaBook, parse_schema};
use crate::model::change::{Batch, Change, Changes, Tables};
use crate::model::clock::Clock;
use crate::model::position::Seq;
use crate::model::schema::{SchemaNo, TableSchema};
use crate::model::spec::Start;
use crate::model::table::TableSet;
use crate::plan::StagePlan;
use crate::sink::{Sink, SinkKind, SinkRoute, Written};

/// How long a quiet feed is listened to before new wishes are looked at.
const PATIENCE: Duration = Duration::from_millis(200);
/// Bytes of row images in one batch, at the most.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bytes of log blocks that one batch may keep in memory: a route of small rows spread over a log of large ones.
const HELD_BYTES_MAX: usize = 32 << 20;

/// What a route is made of.
pub struct RouteParts {
    /// The pipeline.
    pub pipeline: String,
    /// Name of the input's connection, `source.name` in hooks.
    pub source_name: String,
    /// The tables.
    pub tables: TableSet,
    /// Where changes come from.
    pub origin: Origin,
    /// What happens to them.
    pub stages: Vec<StagePlan>,
    /// Where they go.
    pub sink_kind: Arc<dyn SinkKind>,
    /// What the sink is told.
    pub sink: SinkRoute,
    /// Where the route begins for the first time.
    pub start: Option<Start>,
    /// Rows in one batch, at the most; whole transactions where they fit.
    pub batch_rows_max: usize,
    /// How often a cursor that moves without changes is made durable.
    pub cursor_interval: Duration,
    /// Failures in a row before the route gives up; `None` tries for ever.
    pub retries_max: Option<u32>,
    /// Where rows go on which a hook fails; `None` stops the pipeline instead.
    pub aside: Option<PathBuf>,
    /// The time of day.
    pub clock: Clock,
}

/// One route.
pub struct Route {
    parts: RouteParts,
    progress: Arc<RouteProgress>,
    state: watch::Sender<RouteState>,
    events: Events,
}

/// What a route is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RouteState {
    /// Made, and not started yet.
    Idle,
    /// Connecting to its sink.
    Starting,
    /// Delivering.
    Running,
    /// Everything that is there is delivered, and nothing more comes until the mine goes on.
    Waiting {
        /// What it waits for: `mine shop stopped`.
        reason: String,
    },
    /// Something broke; it tries again by itself.
    Retrying {
        /// What broke.
        error: String,
        /// What helps, where that is known.
        advice: Option<String>,
    },
    /// Stopped by wish.
    Stopped,
    /// The source has an end, and everything before it is delivered.
    Finished,
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

impl RouteState {
    /// Whether nothing more will come without somebody acting.
    pub fn is_over(&self) -> bool {
        matches!(self, RouteState::Stopped | RouteState::Finished | RouteState::Failed { .. })
    }
}

enum Ended {
    ByWish,
    BySource,
}

impl Route {
    /// A route that is not started yet.
    pub fn new(parts: RouteParts, events: Events) -> Arc<Route> {
        let progress = Arc::new(RouteProgress::default());
        if let Some(mine) = parts.origin.mine() {
            mine.attach(&progress);
        }
        Arc::new(Route { parts, progress, state: watch::Sender::new(RouteState::Idle), events })
    }

    /// What it is made of.
    pub fn parts(&self) -> &RouteParts {
        &self.parts
    }

    /// Its counters.
    pub fn progress(&self) -> &RouteProgress {
        &self.progress
    }

    /// Follows what it is doing.
    pub fn state(&self) -> watch::Receiver<RouteState> {
        self.state.subscribe()
    }

    /// How far its sink is behind the log, by the clock of the source's server: how old the oldest change is that is
    /// mined and not delivered, and 0 when there is none. `None` for a direct route, and while it is not known: before
    /// the sink was opened, and until then the first change since the start is read.
    pub fn lag_ms(&self) -> Option<i64> {
        let mine = self.parts.origin.mine()?;
        let tail = mine.hub().tail().borrow().clone();
        let next = self.progress.delivered_next();
        if next >= tail.next {
            return Some(0);
        }
        // What was not looked at yet is mostly in memory; otherwise the route is far behind, and has a place at least.
        let unread = || mine.hub().get(next).filter(|_| next > Seq(0)).map(|block| block.first_time_ms);
        let oldest_ms =
            self.progress.oldest_ms().or_else(unread).or_else(|| self.progress.commit_time_ms())?;
        // The server's clock has gone on since its last transaction.
        Some((tail.commit?.time_ms - oldest_ms).max(0) + mine.progress().quiet_ms())
    }

    /// Delivers until a wish, the end of the source, or an error that trying again does not mend; the state
    /// says which.
    pub async fn run(self: Arc<Self>, mut listener: Listener) {
        let mut backoff = Backoff::default();
        loop {
            if listener.wish() == Wish::Stop {
                return self.enter(RouteState::Stopped);
            }
            self.enter(RouteState::Starting);
            let error = match self.session(&mut listener, &mut backoff).await {
                Ok(Ended::ByWish) => return self.enter(RouteState::Stopped),
                Ok(Ended::BySource) => return self.enter(RouteState::Finished),
                Err(error) => error,
            };
            let (text, advice) = (error.to_string(), error.next_step().map(str::to_owned));
            let give_up = self.parts.retries_max.is_some_and(|most| backoff.failures() >= most);
            if give_up || !error.kind().is_retryable() {
                warn!(
                    target: FAILURES,
                    pipeline = self.parts.pipeline,
                    route = self.parts.sink.key,
                    advice,
                    "delivery failed: {text}"
                );
                return self.enter(RouteState::Failed { kind: error.kind(), error: text, advice });
            }
            let wait = backoff.failed();
            self.progress.add_retry();
            warn!(
                pipeline = self.parts.pipeline,
                route = self.parts.sink.key,
                wait_ms = wait.as_millis() as u64,
                advice,
                "delivery broke off, trying again: {text}"
            );
            self.enter(RouteState::Retrying { error: text, advice });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = listener.at_least(Wish::Drain) => return self.enter(RouteState::Stopped),
            }
        }
    }

    /// Notes an end that the route itself could not note.
    pub fn fail(&self, error: String, advice: String) {
        self.enter(RouteState::Failed { kind: Kind::Internal, error, advice: Some(advice) });
    }

    fn enter(&self, state: RouteState) {
        let changed = self.state.send_if_modified(|now| {
            let changed = *now != state;
            now.clone_from(&state);
            changed
        });
        if changed {
            let (pipeline, route) = (self.parts.pipeline.clone(), self.parts.sink.key.clone());
            self.events.tell(Event::Route { pipeline, route, state });
        }
    }

    /// Opens the sink, and delivers until something ends it.
    async fn session(&self, listener: &mut Listener, backoff: &mut Backoff) -> Result<Ended> {
        let parts = &self.parts;
        let stages = Stages::compile(&parts.stages, &parts.source_name).map_err(|error| {
            let advice = error.advice.clone();
            let error = Error::new(Kind::Script, error.to_string());
            advice.into_iter().fold(error, Error::advice)
        })?;
        let mut sink = parts.sink_kind.sink(parts.sink.clone())?;
        let ended = self.deliver(sink.as_mut(), stages, listener, backoff).await;
        // A sink that failed is closed as well as it can be; the first error is the one that counts.
        let closed = sink.close().await;
        let ended = ended?;
        closed?;
        Ok(ended)
    }

    /// Opens the feed behind the sink's cursor, and delivers.
    async fn deliver(
        &self,
        sink: &mut dyn Sink,
        stages: Stages,
        listener: &mut Listener,
        backoff: &mut Backoff,
    ) -> Result<Ended> {
        let parts = &self.parts;
        let Some(cursor) = listener.unless(Wish::Stop, sink.open()).await else { return Ok(Ended::ByWish) };
        let cursor = match cursor? {
            Some(cursor) => cursor,
            None => {
                let first = parts.origin.first_cursor(parts.start.clone());
                let Some(first) = listener.unless(Wish::Stop, first).await else { return Ok(Ended::ByWish) };
                let first = first?;
                // Durable before anything is delivered: a crash after this begins here again, and not at what `now`
                // means then.
                write(sink, Batch { changes: Changes::default(), cursor: Some(first.clone()) }).await?;
                first
            }
        };
        let Some(feed) = listener.unless(Wish::Stop, parts.origin.open(&cursor)).await else {
            return Ok(Ended::ByWish);
        };
        let feed = feed?;
        self.progress.begins_at(cursor.next, cursor.position);
        info!(pipeline = parts.pipeline, route = parts.sink.key, from = cursor.next.0, "delivering");
        self.enter(RouteState::Running);
        let delivery = Delivery {
            route: self,
            listener,
            backoff,
            schemas: feed.schemas(),
            tables: Arc::default(),
            feed,
            stages,
            sink,
            next: cursor.next,
            read_ms: 0,
            drain_to: None,
            waiting: Waiting::default(),
            unproven: Unproven::default(),
            aside: parts.aside.clone().map(AsideFile::new),
            started: Instant::now(),
            moved_at: Instant::now(),
        };
        delivery.run().await
    }
}

/// Writes a batch, and gives the proof that its cursor is durable, which a batch with a cursor always has.
async fn write(sink: &mut dyn Sink, batch: Batch) -> Result<Written> {
    let has_cursor = batch.cursor.is_some();
    let written = sink.write(batch).await?;
    if has_cursor && written.durable.is_none() {
        return Err(Error::new(Kind::Internal, "the sink did not say that the batch is durable"));
    }
    Ok(written)
}

/// A running session of a route.
struct Delivery<'a> {
    route: &'a Route,
    listener: &'a Listener,
    backoff: &'a mut Backoff,
    feed: Feed,
    schemas: SchemaBook,
    /// For each schema number seen: the schema when its table is wanted.
    tables: Arc<Tables>,
    stages: Stages,
    sink: &'a mut dyn Sink,
    /// The first entry that was not looked at yet.
    next: Seq,
    /// When the source executed the change that was looked at last.
    read_ms: i64,
    /// Where the log ended when the wish to drain came.
    drain_to: Option<Seq>,
    /// Changes for the next batch.
    waiting: Waiting,
    /// What the sink took and has not proven to be durable.
    unproven: Unproven,
    aside: Option<AsideFile>,
    started: Instant,
    moved_at: Instant,
}

/// Parts of a transaction that is not complete in the sink.
#[derive(Default)]
struct Unproven {
    parts: u32,
    changes: u64,
    rows: u64,
}

impl Delivery<'_> {
    async fn run(mut self) -> Result<Ended> {
        loop {
            let wish = self.listener.wish();
            if wish == Wish::Stop {
                return Ok(Ended::ByWish);
            }
            if wish == Wish::Drain && self.is_drained() {
                self.flush().await?;
                return Ok(Ended::ByWish);
            }
            match self.feed.next(PATIENCE).await? {
                Next::Block(block) => {
                    self.take(&block).await?;
                    if !self.feed.has_more() && (!self.waiting.is_empty() || self.unproven.parts > 0) {
                        self.flush().await?;
                    }
                    if self.waits_for_nothing() {
                        self.route.progress.has_all_before(self.next);
                    }
                    self.route.enter(RouteState::Running);
                    // A route that is far behind finds its next block at hand again and again, and would keep its
                    // thread from the mine and from other routes.
                    tokio::task::yield_now().await;
                }
                Next::Idle => {
                    self.backoff.quiet(self.started);
                    self.route.enter(self.quiet_state());
                }
                Next::End => {
                    self.flush().await?;
                    return Ok(Ended::BySource);
                }
            }
            if self.moved_at.elapsed() >= self.route.parts.cursor_interval {
                self.flush().await?;
            }
        }
    }

    /// Looks at every entry of a block from `next` on; at fewer when the wish to stop comes while the sink writes.
    async fn take(&mut self, block: &Arc<Block>) -> Result<()> {
        let mut read = 0;
        // Pipelines share the bytes, but not the counter of who uses them: it would wander between the cores with
        // every row.
        let payload = (!self.stages.is_empty()).then(|| Bytes::from_owner(block.payload.clone()));
        let mut entries = block.entries();
        let mut end = 0;
        while let Some(entry) = entries.next() {
            let (seq, entry) = entry.map_err(|_| malformed(self.next))?;
            let bytes = end..block.payload.len() - entries.remaining();
            end = bytes.end;
            if seq < self.next {
                continue;
            }
            match entry {
                Entry::Change(change) => {
                    if self.is_wanted(change.schema)? {
                        if self.is_full() {
                            self.flush_full().await?;
                            if self.listener.wish() == Wish::Stop {
                                break;
                            }
                        }
                        if self.waits_for_nothing() {
                            self.route.progress.waits(change.time_ms);
                        }
                        self.read_ms = change.time_ms;
                        read += 1;
                        match &payload {
                            None => self.waiting.read(block, bytes, seq, &change, &self.tables),
                            Some(payload) => self.apply(block, payload, seq, &change)?,
                        }
                    }
                }
                Entry::Commit { time_ms, offset, file, gtid } => {
                    self.next = seq.plus(1);
                    let position = self.waiting.commit(block, end, self.next, time_ms);
                    // Transactions may be small and many: the texts of the one before are written over.
                    position.offset = offset;
                    file.clone_into(&mut position.file);
                    gtid.clone_into(&mut position.gtid);
                    if self.is_full() {
                        self.flush().await?;
                        if self.listener.wish() == Wish::Stop {
                            break;
                        }
                    }
                }
                Entry::Schema { no, json } => {
                    let schema = parse_schema(json).map_err(|_| malformed(seq))?;
                    self.schemas.learn(no, schema).map_err(|_| malformed(seq))?;
                }
                Entry::Coverage(_) => {}
            }
            self.next = seq.plus(1);
        }
        self.route.progress.add_read(read);
        Ok(())
    }

    /// Whether the table with this schema is one of the route's.
    #[inline]
    fn is_wanted(&mut self, no: SchemaNo) -> Result<bool> {
        match self.tables.get(no.0 as usize) {
            Some(table) => Ok(table.is_some()),
            None => self.ask(no),
        }
    }

    /// Finds out which tables are wanted up to this schema.
    fn ask(&mut self, no: SchemaNo) -> Result<bool> {
        let tables = Arc::make_mut(&mut self.tables);
        for no in tables.len() as u32..=no.0 {
            let schema = self.schemas.get(SchemaNo(no)).ok_or_else(|| malformed(self.next))?;
            let wanted = self.route.parts.tables.contains(&schema.name.database, &schema.name.table);
            // A copy of the route's own: the counter of a shared one would wander between the cores with every row.
            tables.push(wanted.then(|| Arc::new(TableSchema::clone(schema))));
        }
        Ok(tables.last().is_some_and(Option::is_some))
    }

    /// Sends one change through the stages.
    fn apply(&mut self, block: &Block, payload: &Bytes, seq: Seq, entry: &ChangeEntry<'_>) -> Result<()> {
        let table = self.tables.get(entry.schema.0 as usize).and_then(Option::as_ref);
        let table = table.ok_or_else(|| malformed(seq))?;
        let change = Change::read(seq, entry, table, payload);
        let original = self.aside.is_some().then(|| change.clone());
        let Err(error) = self.waiting.apply(&mut self.stages, change, block) else { return Ok(()) };
        let error = Error::from(error);
        let Some((aside, original)) = self.aside.as_mut().zip(original) else {
            return Err(self.in_pipeline(error));
        };
        let error = error.to_string();
        aside.write(&original, &error)?;
        self.route.progress.add_aside();
        warn!(pipeline = self.route.parts.pipeline, "a row was set aside: {error}");
        self.route.events.tell(Event::Aside { pipeline: self.route.parts.pipeline.clone(), error });
        Ok(())
    }

    fn in_pipeline(&self, error: Error) -> Error {
        error.context(format!("in pipeline {}", self.route.parts.pipeline))
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= self.route.parts.batch_rows_max
            || self.waiting.bytes() >= BATCH_BYTES_MAX
            || self.waiting.held_bytes() >= HELD_BYTES_MAX
    }

    /// Makes room: by the complete transactions that wait, and if that is not enough by a part of the one that
    /// follows them.
    async fn flush_full(&mut self) -> Result<()> {
        // The cursor of what is complete comes first in any case. Behind a part it would end the sink's transaction in
        // the middle of the source's.
        self.flush().await?;
        if !self.is_full() {
            return Ok(());
        }
        self.unproven.parts += 1;
        let changes = self.waiting.take_part();
        self.write(Batch { changes, cursor: None }).await
    }

    /// Writes all complete transactions, and the cursor behind them. Does nothing when no commit was seen since.
    async fn flush(&mut self) -> Result<()> {
        let Some(Whole { changes, next, position, time_ms }) = self.waiting.take_whole() else {
            return Ok(());
        };
        let cursor = self.feed.cursor(next, position);
        self.write(Batch { changes, cursor: Some(cursor) }).await?;
        self.backoff.succeeded();
        self.route.progress.committed(time_ms, self.route.parts.clock.now_ms());
        if !self.waits_for_nothing() {
            // All that is left is of the transaction that was read last.
            self.route.progress.waits(self.read_ms);
        }
        self.moved_at = Instant::now();
        Ok(())
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        let changes = batch.changes.len() as u64;
        let written = write(self.sink, batch).await.map_err(|error| self.in_pipeline(error))?;
        self.unproven.changes += changes;
        self.unproven.rows += written.rows;
        if let Some(durable) = written.durable {
            let Unproven { changes, rows, .. } = std::mem::take(&mut self.unproven);
            self.route.progress.add_written(changes, rows);
            let cursor = durable.cursor();
            self.route.progress.durable(cursor.next, cursor.position.clone());
        }
        Ok(())
    }

    /// Whether the sink has everything that was looked at.
    fn waits_for_nothing(&self) -> bool {
        self.waiting.is_empty() && self.unproven.parts == 0
    }

    /// Whether everything that was mined before the wish to end is looked at.
    fn is_drained(&mut self) -> bool {
        // A direct feed has nothing that was mined and waits.
        let Some(tail) = self.feed.tail() else { return true };
        self.next >= *self.drain_to.get_or_insert(tail)
    }

    fn quiet_state(&self) -> RouteState {
        let Some(mine) = self.route.parts.origin.mine() else { return RouteState::Running };
        let name = mine.name();
        let reason = match &*mine.state().borrow() {
            MineState::Idle | MineState::Starting => format!("mine {name} is starting"),
            MineState::Running | MineState::Ended => return RouteState::Running,
            MineState::Retrying { .. } => format!("mine {name} lost its source and tries again"),
            MineState::StoreFull { .. } => format!("mine {name} has no room in its log"),
            MineState::Stopped => format!("mine {name} stopped"),
            MineState::Failed { .. } => format!("mine {name} failed"),
        };
        RouteState::Waiting { reason }
    }
}

fn malformed(seq: Seq) -> Error {
    Error::new(Kind::Corrupt, format!("the log's entry {seq} is not readable"))
        .advice("this version of lode may be older than the one that wrote the log")
}
