//! A route: one input of a pipeline on its way to one sink.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tracing::{info, warn};

use super::aside::AsideFile;
use super::backoff::Backoff;
use super::event::{Event, Events};
use super::feed::{Feed, Next, Origin};
use super::mine::{MineState, describe};
use super::progress::{RouteProgress, now_ms};
use super::signal::{Listener, Wish};
use super::stages::Stages;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, ChangeEntry, Entry, SchemaBook, parse_schema};
use crate::model::change::{Batch, Change};
use crate::model::position::{Cursor, Position, Seq};
use crate::model::schema::{SchemaNo, TableSchema};
use crate::model::spec::Start;
use crate::model::table::TableSet;
use crate::plan::StagePlan;
use crate::sink::{Sink, SinkKind, SinkRoute};

/// How long a quiet feed is listened to before new wishes are looked at.
const PATIENCE: Duration = Duration::from_millis(200);
/// Bytes of row images in one batch, at the most.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// A cursor that moves without changes is made durable so often.
const CURSOR_INTERVAL: Duration = Duration::from_secs(5);

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
    /// Failures in a row before the route gives up; `None` tries for ever.
    pub retries_max: Option<u32>,
    /// Where rows go on which a hook fails; `None` stops the pipeline instead.
    pub aside: Option<PathBuf>,
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
    },
    /// Stopped by wish.
    Stopped,
    /// The source has an end, and everything before it is delivered.
    Finished,
    /// Something is wrong that trying again does not mend.
    Failed {
        /// What it means.
        kind: Kind,
        /// What, and what to do about it.
        error: String,
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

    /// How far its sink is behind the log, by the clock of the source's server: 0 when everything mined is
    /// delivered. `None` for a direct route, and before the first transaction.
    pub fn lag_ms(&self) -> Option<i64> {
        let mine = self.parts.origin.mine()?;
        if self.progress.durable_next() >= mine.hub().tail().borrow().next {
            return Some(0);
        }
        let mined = mine.progress().commit_time_ms()?;
        Some((mined - self.progress.commit_time_ms().unwrap_or(mined)).max(0))
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
            let text = describe(&error);
            let give_up = self.parts.retries_max.is_some_and(|most| backoff.failures() >= most);
            if give_up || !error.kind().is_retryable() {
                warn!(
                    pipeline = self.parts.pipeline,
                    route = self.parts.sink.key,
                    "stopped by an error: {text}"
                );
                return self.enter(RouteState::Failed { kind: error.kind(), error: text });
            }
            let wait = backoff.failed();
            self.progress.add_retry();
            warn!(
                pipeline = self.parts.pipeline,
                route = self.parts.sink.key,
                wait_ms = wait.as_millis() as u64,
                "delivery broke off, trying again: {text}"
            );
            self.enter(RouteState::Retrying { error: text });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = listener.at_least(Wish::Drain) => return self.enter(RouteState::Stopped),
            }
        }
    }

    /// Notes an end that the route itself could not note.
    pub fn fail(&self, error: String) {
        self.enter(RouteState::Failed { kind: Kind::Internal, error });
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

    /// Opens sink and feed, and delivers until something ends it.
    async fn session(&self, listener: &mut Listener, backoff: &mut Backoff) -> Result<Ended> {
        let parts = &self.parts;
        let stages = Stages::compile(&parts.stages, &parts.source_name).map_err(|error| {
            let advice = error.advice.clone();
            let error = Error::new(Kind::Script, error.to_string());
            advice.into_iter().fold(error, Error::advice)
        })?;
        let mut sink = parts.sink_kind.sink(parts.sink.clone())?;
        let cursor = match sink.open().await? {
            Some(cursor) => cursor,
            None => self.begin(sink.as_mut()).await?,
        };
        self.progress.durable(cursor.next, cursor.position.clone());
        let feed = parts.origin.open(&cursor).await?;
        info!(pipeline = parts.pipeline, route = parts.sink.key, from = cursor.next.0, "delivering");
        self.enter(RouteState::Running);

        let mut delivery = Delivery {
            route: self,
            schemas: feed.schemas(),
            taken: Vec::new(),
            feed,
            stages,
            sink,
            source: cursor.source,
            log: cursor.log,
            next: cursor.next,
            changes: Vec::new(),
            bytes: 0,
            ready: None,
            aside: parts.aside.clone().map(AsideFile::new),
            moved_at: Instant::now(),
        };
        let ended = delivery.run(listener, backoff).await;
        // A sink that failed is closed as well as it can be; the first error is the one that counts.
        let closed = delivery.sink.close().await;
        let ended = ended?;
        closed?;
        Ok(ended)
    }

    /// Makes the starting point durable before anything is delivered: a crash after this begins here again, and not
    /// at what `now` means then.
    async fn begin(&self, sink: &mut dyn Sink) -> Result<Cursor> {
        let cursor = self.parts.origin.first_cursor(self.parts.start.clone()).await?;
        sink.write(Batch { changes: Vec::new(), cursor: Some(cursor.clone()) }).await?;
        Ok(cursor)
    }
}

/// A running session of a route.
struct Delivery<'a> {
    route: &'a Route,
    feed: Feed,
    schemas: SchemaBook,
    /// For each schema number seen: the schema when its table is wanted.
    taken: Vec<Option<Option<Arc<TableSchema>>>>,
    stages: Stages,
    sink: Box<dyn Sink>,
    source: String,
    log: Option<crate::model::position::LogEpoch>,
    /// The first entry that was not looked at yet.
    next: Seq,
    /// Changes for the next batch, in order.
    changes: Vec<Change>,
    /// Bytes of their rows.
    bytes: usize,
    /// The last commit looked at, when it is not durable yet.
    ready: Option<Ready>,
    aside: Option<AsideFile>,
    moved_at: Instant,
}

/// A place where a batch may end.
struct Ready {
    /// How many of the waiting changes lie before it.
    changes: usize,
    next: Seq,
    position: Position,
    time_ms: i64,
}

impl Delivery<'_> {
    async fn run(&mut self, listener: &mut Listener, backoff: &mut Backoff) -> Result<Ended> {
        loop {
            let wish = listener.wish();
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
                    backoff.succeeded();
                    if !self.feed.has_more() && !self.changes.is_empty() {
                        self.flush().await?;
                    }
                    self.route.enter(RouteState::Running);
                }
                Next::Idle => self.route.enter(self.quiet_state()),
                Next::End => {
                    self.flush().await?;
                    return Ok(Ended::BySource);
                }
            }
            if self.moved_at.elapsed() >= CURSOR_INTERVAL {
                self.flush().await?;
            }
        }
    }

    /// Looks at every entry of a block from `next` on.
    async fn take(&mut self, block: &Block) -> Result<()> {
        let mut read = 0;
        for entry in block.entries() {
            let (seq, entry) = entry.map_err(|_| malformed(self.next))?;
            if seq < self.next {
                continue;
            }
            match entry {
                Entry::Change(change) => {
                    if let Some(table) = self.table(change.schema)? {
                        read += 1;
                        self.change(block, seq, &change, table)?;
                        if self.is_full() {
                            self.flush_full().await?;
                        }
                    }
                }
                Entry::Commit { time_ms, offset, file, gtid } => {
                    let position = Position { gtid: gtid.to_owned(), file: file.to_owned(), offset };
                    self.ready =
                        Some(Ready { changes: self.changes.len(), next: seq.plus(1), position, time_ms });
                    if self.is_full() {
                        self.flush().await?;
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

    /// The schema of a change when its table is one of the route's.
    fn table(&mut self, no: SchemaNo) -> Result<Option<Arc<TableSchema>>> {
        let index = no.0 as usize;
        if let Some(Some(known)) = self.taken.get(index) {
            return Ok(known.clone());
        }
        let schema = self.schemas.get(no).ok_or_else(|| malformed(self.next))?;
        let wanted = self.route.parts.tables.contains(&schema.name.database, &schema.name.table);
        // A copy of the route's own: the counter of a shared one would wander between the cores with every row.
        let taken = wanted.then(|| Arc::new(TableSchema::clone(schema)));
        if self.taken.len() <= index {
            self.taken.resize(index + 1, None);
        }
        self.taken[index] = Some(taken.clone());
        Ok(taken)
    }

    fn change(
        &mut self,
        block: &Block,
        seq: Seq,
        entry: &ChangeEntry<'_>,
        table: Arc<TableSchema>,
    ) -> Result<()> {
        let change = Change {
            seq,
            op: entry.op,
            before: entry.before.map(|image| block.row(&table, image)),
            after: entry.after.map(|image| block.row(&table, image)),
            table,
            time_ms: entry.time_ms,
        };
        self.bytes += entry.before.map_or(0, <[u8]>::len) + entry.after.map_or(0, <[u8]>::len);
        let Some(aside) = &mut self.aside else {
            return self
                .stages
                .apply(change, &mut self.changes)
                .map_err(|error| self.in_pipeline(error.into()));
        };
        let kept = self.changes.len();
        let original = change.clone();
        if let Err(error) = self.stages.apply(change, &mut self.changes) {
            self.changes.truncate(kept);
            let error = Error::from(error).to_string();
            aside.write(&original, &error)?;
            self.route.progress.add_aside();
            warn!(pipeline = self.route.parts.pipeline, "a row was set aside: {error}");
            self.route.events.tell(Event::Aside { pipeline: self.route.parts.pipeline.clone(), error });
        }
        Ok(())
    }

    fn in_pipeline(&self, error: Error) -> Error {
        error.context(format!("in pipeline {}", self.route.parts.pipeline))
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= self.route.parts.batch_rows_max || self.bytes >= BATCH_BYTES_MAX
    }

    /// Makes room in the middle of a transaction: by the complete transactions that wait, or else by a part of
    /// this one.
    async fn flush_full(&mut self) -> Result<()> {
        if self.ready.as_ref().is_some_and(|ready| ready.changes > 0) {
            return self.flush().await;
        }
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        self.write(Batch { changes, cursor: None }).await
    }

    /// Writes all complete transactions, and the cursor behind them.
    async fn flush(&mut self) -> Result<()> {
        let Some(ready) = self.ready.take() else { return Ok(()) };
        let rest = self.changes.split_off(ready.changes);
        let changes = std::mem::replace(&mut self.changes, rest);
        if self.changes.is_empty() {
            self.bytes = 0;
        }
        let cursor = Cursor {
            source: self.source.clone(),
            log: self.log,
            next: ready.next,
            position: Some(ready.position),
        };
        self.write(Batch { changes, cursor: Some(cursor) }).await?;
        self.route.progress.committed(ready.time_ms, now_ms());
        self.moved_at = Instant::now();
        Ok(())
    }

    async fn write(&mut self, batch: Batch) -> Result<()> {
        let changes = batch.changes.len() as u64;
        let has_cursor = batch.cursor.is_some();
        let written = self.sink.write(batch).await.map_err(|error| self.in_pipeline(error))?;
        self.route.progress.add_written(changes, written.rows);
        match written.durable {
            Some(durable) => {
                let cursor = durable.cursor();
                self.route.progress.durable(cursor.next, cursor.position.clone());
                Ok(())
            }
            None if has_cursor => {
                Err(Error::new(Kind::Internal, "the sink did not say that the batch is durable"))
            }
            None => Ok(()),
        }
    }

    /// Whether everything that was mined before the wish to end is looked at.
    fn is_drained(&self) -> bool {
        match self.route.parts.origin.mine() {
            Some(mine) => mine.state().borrow().is_over() && !self.feed.has_more(),
            None => true,
        }
    }

    fn quiet_state(&self) -> RouteState {
        let Some(mine) = self.route.parts.origin.mine() else { return RouteState::Running };
        let name = mine.name();
        let reason = match &*mine.state().borrow() {
            MineState::Idle | MineState::Starting => format!("mine {name} is starting"),
            MineState::Running | MineState::Ended => return RouteState::Running,
            MineState::Retrying { .. } => format!("mine {name} lost its source and tries again"),
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
