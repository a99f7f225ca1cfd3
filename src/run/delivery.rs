//! A session of a route: from its feed through its stages to its open sink.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use super::aside::AsideFile;
use super::backoff::Backoff;
use super::event::Event;
use super::fallback::{Fallback, Passed};
use super::feed::{Feed, Next};
use super::mine::MineState;
use super::route::{PATIENCE, Route, RouteState};
use super::signal::{Listener, Wish};
use super::skip::{Skip, Spot};
use super::stages::Stages;
use super::waiting::{Waiting, Whole};
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, ChangeEntry, Entry, SchemaBook, parse_coverage, parse_schema};
use crate::model::change::{Batch, Change, Tables};
use crate::model::position::{Cursor, Seq};
use crate::model::schema::{SchemaNo, TableSchema};
use crate::sink::{Sink, Written};

/// Bytes of row images in one batch, at the most.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bytes of log blocks that one batch may keep in memory: a route of small rows spread over a log of large ones.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Why a session ended in good order.
pub(super) enum Ended {
    ByWish,
    BySource,
    /// The mine is away, and the source is to be read; or the other way round.
    Switched,
    /// The source cannot be read in the mine's stead.
    SourceAway(Error),
}

/// What a session knows of the change that it failed on.
#[derive(Default)]
pub(super) struct Failing {
    /// The change.
    pub spot: Option<(Seq, Spot)>,
    /// It is among these, counted like [`Spot::Place`]: those behind the first number, up to the second.
    pub suspects: Option<(u64, u64)>,
}

/// A running session of a route.
pub(super) struct Delivery<'a> {
    route: &'a Route,
    listener: &'a Listener,
    backoff: &'a mut Backoff,
    feed: Feed,
    schemas: SchemaBook,
    /// For each schema number seen: the schema when its table is wanted.
    tables: Arc<Tables>,
    stages: Stages,
    sink: &'a mut (dyn Sink + 'static),
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
    counted: Counted,
    /// Where the route is.
    durable: Cursor,
    /// What the route has read at the source; left out where it lies in the log.
    passed: Option<Passed>,
    /// The entries up to the next commit are a piece of a catch-up.
    is_piece: bool,
    fallback: Option<&'a mut Fallback>,
    /// Changes that are left out.
    skips: Vec<Skip>,
    /// Changes that go to the sink one by one, as one of them is what it rejected.
    suspects: Option<(u64, u64)>,
    aside: Option<AsideFile>,
    started: Instant,
    moved_at: Instant,
    /// How long the sink was written to.
    writing: Duration,
}

/// Parts of a transaction that is not complete in the sink.
#[derive(Default)]
struct Unproven {
    parts: u32,
    changes: u64,
    rows: u64,
}

/// How many changes of the route's tables were read since the session began.
#[derive(Default)]
struct Counted {
    read: u64,
    /// Up to the last commit.
    whole: u64,
    /// Those that the sink took.
    sent: u64,
    /// Those before its cursor.
    durable: u64,
}

/// Writes a batch, and gives the proof that its cursor is durable, which a batch with a cursor always has.
pub(super) async fn write(sink: &mut dyn Sink, batch: Batch) -> Result<Written> {
    let has_cursor = batch.cursor.is_some();
    let written = sink.write(batch).await?;
    if has_cursor && written.durable.is_none() {
        return Err(Error::new(Kind::Internal, "the sink did not say that the batch is durable"));
    }
    Ok(written)
}

impl<'a> Delivery<'a> {
    /// A session that goes on at `cursor`, where `feed` was opened. Of `suspects`, each goes to the sink alone.
    ///
    /// # Errors
    /// As [`Skips::ahead_of`](super::skip::Skips::ahead_of).
    pub fn new(
        route: &'a Route,
        listener: &'a Listener,
        backoff: &'a mut Backoff,
        (feed, cursor): (Feed, Cursor),
        (stages, sink): (Stages, &'a mut (dyn Sink + 'static)),
        suspects: Option<(u64, u64)>,
        (passed, fallback): (Option<Passed>, Option<&'a mut Fallback>),
    ) -> Result<Self> {
        let mut skips = route.parts().skips.ahead_of(&cursor)?;
        // What was counted at the source is not counted in a log: there may be pieces of a catch-up in between.
        skips.retain(|skip| matches!(skip.spot, Spot::Place { .. }) == matches!(feed, Feed::Direct(_)));
        Ok(Delivery {
            route,
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
            counted: Counted::default(),
            passed,
            is_piece: false,
            fallback,
            skips,
            durable: cursor,
            suspects,
            aside: route.parts().aside.clone().map(AsideFile::new),
            started: Instant::now(),
            moved_at: Instant::now(),
            writing: Duration::ZERO,
        })
    }

    pub async fn run(mut self) -> Result<Ended> {
        loop {
            let wish = self.listener.wish();
            if wish == Wish::Stop {
                return Ok(Ended::ByWish);
            }
            if wish == Wish::Drain && self.is_drained() {
                self.flush().await?;
                return Ok(Ended::ByWish);
            }
            let next = match self.feed.next(PATIENCE).await {
                Err(error) if self.feed.is_beside_log() => return Ok(Ended::SourceAway(error)),
                next => next?,
            };
            match next {
                Next::Block(block) => {
                    let (began, writing) = (Instant::now(), self.writing);
                    self.take(&block).await?;
                    if !self.stages.is_empty() {
                        self.route
                            .progress()
                            .add_stages(began.elapsed().saturating_sub(self.writing - writing));
                    }
                    if !self.feed.has_more() && (!self.waiting.is_empty() || self.unproven.parts > 0) {
                        self.flush().await?;
                    }
                    if self.waits_for_nothing() {
                        self.route.progress().has_all_before(self.next);
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
            if self.moved_at.elapsed() >= self.route.parts().cursor_interval {
                self.flush().await?;
            }
            if self.is_to_switch() {
                self.flush().await?;
                return Ok(Ended::Switched);
            }
        }
    }

    /// Whether the route is to read the source in its mine's stead, or the log again.
    fn is_to_switch(&mut self) -> bool {
        let Some(fallback) = &mut self.fallback else { return false };
        match &self.feed {
            Feed::Log(_) => {
                let has_all = self.feed.tail() == Some(self.next);
                fallback.mine_is_away() && has_all && !self.feed.has_more()
            }
            Feed::Direct(_) => match &self.durable.position {
                Some(position) => fallback.goes_back(position, self.route.progress().commit_time_ms()),
                None => false,
            },
        }
    }

    /// Looks at every entry of a block from `next` on; at fewer when the wish to stop comes while the sink writes.
    async fn take(&mut self, block: &Arc<Block>) -> Result<()> {
        let before = self.counted.read;
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
            self.next = seq.plus(1);
            match entry {
                Entry::Change(change) => {
                    if !self.is_wanted(change.schema)? {
                        continue;
                    }
                    if self.passed.is_some() && self.was_read_at_source(seq, &change)? {
                        self.waiting.leave_out();
                        continue;
                    }
                    if self.is_full() {
                        self.flush_full().await?;
                        if self.listener.wish() == Wish::Stop {
                            break;
                        }
                    }
                    if self.waits_for_nothing() {
                        self.route.progress().waits(change.time_ms);
                    }
                    self.read_ms = change.time_ms;
                    if self.is_suspect() {
                        self.send_alone(block, bytes, seq, &change).await?;
                        if self.listener.wish() == Wish::Stop {
                            break;
                        }
                        continue;
                    }
                    self.counted.read += 1;
                    if !self.skips.is_empty() && self.is_skipped(block, seq, &change)? {
                        continue;
                    }
                    match &payload {
                        None => self.waiting.read(block, bytes, seq, &change, &self.tables),
                        Some(payload) => {
                            if let Err(error) = self.apply(block, payload, seq, &change) {
                                return self.fail_on(seq, error).await;
                            }
                        }
                    }
                }
                Entry::Commit { time_ms, offset, file, gtid } => {
                    self.is_piece = false;
                    self.counted.whole = self.counted.read;
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
                Entry::Coverage(json) => {
                    self.is_piece = parse_coverage(json).map_err(|_| malformed(seq))?.is_catch_up();
                }
            }
        }
        self.route.progress().add_read(self.counted.read - before);
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
            let wanted = self.route.parts().tables.contains(&schema.name.database, &schema.name.table);
            // A copy of the route's own: the counter of a shared one would wander between the cores with every row.
            tables.push(wanted.then(|| Arc::new(TableSchema::clone(schema))));
        }
        Ok(tables.last().is_some_and(Option::is_some))
    }

    /// Whether the route has read this change of the log at the source already.
    fn was_read_at_source(&self, seq: Seq, entry: &ChangeEntry<'_>) -> Result<bool> {
        let Some(passed) = self.passed.as_ref().filter(|passed| seq < passed.until) else { return Ok(false) };
        let table = &self.table(seq, entry)?.name;
        Ok(!self.is_piece && !passed.lacks(&table.database, &table.table))
    }

    /// Sends one change through the stages.
    fn apply(&mut self, block: &Block, payload: &Bytes, seq: Seq, entry: &ChangeEntry<'_>) -> Result<()> {
        let change = Change::read(seq, entry, self.table(seq, entry)?, payload);
        let original = self.aside.is_some().then(|| change.clone());
        let Err(error) = self.waiting.apply(&mut self.stages, change, block) else { return Ok(()) };
        let error = Error::from(error);
        let Some((aside, original)) = self.aside.as_mut().zip(original) else {
            return Err(self.in_pipeline(error));
        };
        let error = error.to_string();
        aside.write(&original, &error)?;
        self.is_aside(error);
        Ok(())
    }

    fn table(&self, seq: Seq, entry: &ChangeEntry<'_>) -> Result<&Arc<TableSchema>> {
        let table = self.tables.get(entry.schema.0 as usize).and_then(Option::as_ref);
        table.ok_or_else(|| malformed(seq))
    }

    fn is_aside(&self, error: String) {
        self.route.progress().add_aside();
        let pipeline = self.route.parts().pipeline.clone();
        warn!(pipeline, "a row was set aside: {error}");
        self.route.events().tell(Event::Aside { pipeline, error });
    }

    /// Whether the change that was counted last is to be left out; it is recorded then.
    fn is_skipped(&mut self, block: &Block, seq: Seq, entry: &ChangeEntry<'_>) -> Result<bool> {
        let nth = self.counted.read;
        let here = |spot: &Spot| match spot {
            Spot::Entry { seq: skipped, .. } => *skipped == seq,
            Spot::Place { nth: skipped, .. } => *skipped == nth,
        };
        let Some(skip) = self.skips.iter().find(|skip| here(&skip.spot)).cloned() else { return Ok(false) };
        let change = Change::read(seq, entry, self.table(seq, entry)?, &block.payload);
        let why = format!("skipped: {}", skip.error);
        AsideFile::new(self.route.parts().skips.record.clone()).write(&change, &why)?;
        self.waiting.leave_out();
        self.is_aside(why);
        Ok(true)
    }

    fn is_suspect(&self) -> bool {
        self.suspects.is_some_and(|(behind, to)| {
            let nth = self.counted.read + 1;
            behind < nth && nth <= to
        })
    }

    /// Sends a change to the sink by itself, so that a sink which rejects it says so of this one.
    async fn send_alone(
        &mut self,
        block: &Arc<Block>,
        bytes: std::ops::Range<usize>,
        seq: Seq,
        entry: &ChangeEntry<'_>,
    ) -> Result<()> {
        self.flush().await?;
        self.send_part().await?;
        self.counted.read += 1;
        if self.is_skipped(block, seq, entry)? {
            return Ok(());
        }
        if self.stages.is_empty() {
            self.waiting.read(block, bytes, seq, entry, &self.tables);
        } else if let Err(error) = self.apply(block, &block.payload.clone(), seq, entry) {
            return self.fail_on(seq, error).await;
        }
        let sent = self.send_part().await;
        if sent.as_ref().is_err_and(|error| error.kind() == Kind::Data) {
            self.route.note_failing(Failing { spot: Some((seq, self.spot(seq))), suspects: None });
        }
        sent
    }

    /// Ends the session because of change `seq`, the last one that was read. What was complete before it is delivered.
    async fn fail_on(&mut self, seq: Seq, error: Error) -> Result<()> {
        if error.kind() == Kind::Data {
            self.flush().await?;
            self.route.note_failing(Failing { spot: Some((seq, self.spot(seq))), suspects: None });
        }
        Err(error)
    }

    /// Names the change that was read last.
    fn spot(&self, seq: Seq) -> Spot {
        match (&self.feed, self.durable.log) {
            (Feed::Log(_), Some(log)) => Spot::Entry { log, seq },
            _ => Spot::Place {
                after: self.durable.position.clone().unwrap_or_default(),
                nth: self.counted.read - self.counted.durable,
            },
        }
    }

    fn in_pipeline(&self, error: Error) -> Error {
        error.context(format!("in pipeline {}", self.route.parts().pipeline))
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= self.route.parts().batch_rows_max
            || self.waiting.bytes() >= BATCH_BYTES_MAX
            || self.waiting.held_bytes() >= HELD_BYTES_MAX
    }

    /// Makes room: by the complete transactions that wait, and if that is not enough by a part of the one that
    /// follows them.
    async fn flush_full(&mut self) -> Result<()> {
        // The cursor of what is complete comes first in any case. Behind a part it would end the sink's transaction in
        // the middle of the source's.
        self.flush().await?;
        if self.is_full() { self.send_part().await } else { Ok(()) }
    }

    /// Writes what waits, which is a part of one transaction.
    async fn send_part(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.unproven.parts += 1;
        let changes = self.waiting.take_part();
        self.write(Batch { changes, cursor: None }, self.counted.read).await
    }

    /// Writes all complete transactions, and the cursor behind them. Does nothing when no commit was seen since.
    async fn flush(&mut self) -> Result<()> {
        let Some(Whole { changes, next, position, time_ms }) = self.waiting.take_whole() else {
            return Ok(());
        };
        let mut cursor = self.feed.cursor(next, position);
        match &self.passed {
            Some(passed) if next < passed.until => {
                cursor.position = Some(passed.position.clone());
                cursor.direct = Some(passed.direct.clone());
            }
            _ => self.passed = None,
        }
        let has_changes = !changes.is_empty() || self.unproven.parts > 0;
        self.write(Batch { changes, cursor: Some(cursor) }, self.counted.whole).await?;
        self.backoff.succeeded();
        let now_ms = self.route.parts().clock.now_ms();
        self.route.progress().committed(time_ms, now_ms);
        if has_changes {
            self.route.progress().arrived(time_ms, now_ms);
        }
        if !self.waits_for_nothing() {
            // All that is left is of the transaction that was read last.
            self.route.progress().waits(self.read_ms);
        }
        self.moved_at = Instant::now();
        Ok(())
    }

    /// Writes a batch of what was read up to change number `upto`.
    async fn write(&mut self, batch: Batch, upto: u64) -> Result<()> {
        let changes = batch.changes.len() as u64;
        let began = Instant::now();
        let writing = self.route.progress().writes();
        let written = write(self.sink, batch).await;
        drop(writing);
        let time = began.elapsed();
        self.writing += time;
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                if error.kind() == Kind::Data && changes > 0 {
                    let Counted { sent, durable, .. } = self.counted;
                    let suspects = Some((sent - durable, upto - durable));
                    self.route.note_failing(Failing { spot: None, suspects });
                }
                return Err(self.in_pipeline(error));
            }
        };
        self.route.progress().wrote(changes, time);
        self.counted.sent = upto;
        self.unproven.changes += changes;
        self.unproven.rows += written.rows;
        if let Some(durable) = written.durable {
            let Unproven { changes, rows, .. } = std::mem::take(&mut self.unproven);
            self.route.progress().add_written(changes, rows);
            self.durable.clone_from(durable.cursor());
            self.route.progress().at(&self.durable);
            self.counted.durable = upto;
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
        let Some(mine) = self.route.parts().origin.mine() else { return RouteState::Running };
        if self.feed.is_beside_log() {
            return RouteState::Running;
        }
        if let Some(trouble) = self.fallback.as_ref().and_then(|fallback| fallback.trouble()) {
            return RouteState::Waiting { reason: trouble.to_owned() };
        }
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
