//! A route: one input of a pipeline on its way to one sink.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::delivery::{Delivery, Ended, Failing, write};
use super::event::{Event, Events, FAILURES};
use super::fallback::{Fallback, Passed, RETURN_PATIENCE, has_come_to};
use super::feed::Origin;
use super::mine::Mine;
use super::progress::RouteProgress;
use super::signal::{Listener, Wish};
use super::skip::{Skip, Skips};
use super::stages::Stages;
use crate::error::{Error, Kind, Result};
use crate::hook::Lookups;
use crate::model::change::{Batch, Changes};
use crate::model::clock::Clock;
use crate::model::position::{Cursor, LogEpoch, Position, Seq};
use crate::model::spec::Start;
use crate::model::table::TableSet;
use crate::plan::StagePlan;
use crate::sink::{Sink, SinkKind, SinkRoute};
use crate::source::Source;

/// How long a quiet feed is listened to before new wishes are looked at.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);
/// A sink that does not answer for so long after the wish to stop is left alone. Whoever opens the route next finds out what
/// it wrote, as after a crash.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Sessions in a row that look for the row which a sink rejected, without getting on.
const SEARCHES_MAX: u32 = 3;

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
    /// The source, when it is to be read while the mine of `origin` is away.
    pub fallback: Option<Arc<dyn Source>>,
    /// What happens to them.
    pub stages: Vec<StagePlan>,
    /// Where their hooks look rows up.
    pub lookups: Option<Arc<Lookups>>,
    /// Where they go.
    pub sink_kind: Arc<dyn SinkKind>,
    /// What the sink is told.
    pub sink: SinkRoute,
    /// Where the route begins for the first time.
    pub start: Option<Start>,
    /// A log that never got anything, in which the route may have begun while nobody knew that its server is mined into
    /// another one. A cursor there is the begin of that other log.
    pub begun_in: Option<LogEpoch>,
    /// Rows in one batch, at the most; whole transactions where they fit.
    pub batch_rows_max: usize,
    /// How often a cursor that moves without changes is made durable.
    pub cursor_interval: Duration,
    /// Failures in a row before the route gives up; `None` tries for ever.
    pub retries_max: Option<u32>,
    /// Where rows go on which a hook fails; `None` stops the pipeline instead.
    pub aside: Option<PathBuf>,
    /// Changes that somebody decided to leave out.
    pub skips: Skips,
    /// The time of day.
    pub clock: Clock,
}

/// One route.
pub struct Route {
    parts: RouteParts,
    progress: Arc<RouteProgress>,
    state: watch::Sender<RouteState>,
    events: Events,
    /// Where to go on instead of at the sink's cursor, until the sink has made that durable.
    rewind: watch::Sender<Option<Cursor>>,
    failing: Mutex<Failing>,
    /// What leaves out the change that the route failed on.
    remedy: Mutex<Option<Skip>>,
}

/// What a route is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        /// The entry of the change that it failed on, where it was one change.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<Seq>,
    },
}

impl RouteState {
    /// The names of all states, as in JSON.
    pub const NAMES: [&str; 8] =
        ["idle", "starting", "running", "waiting", "retrying", "stopped", "finished", "failed"];

    /// Its name, one of [`NAMES`](Self::NAMES).
    pub fn name(&self) -> &'static str {
        match self {
            RouteState::Idle => "idle",
            RouteState::Starting => "starting",
            RouteState::Running => "running",
            RouteState::Waiting { .. } => "waiting",
            RouteState::Retrying { .. } => "retrying",
            RouteState::Stopped => "stopped",
            RouteState::Finished => "finished",
            RouteState::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more will come without somebody acting.
    pub fn is_over(&self) -> bool {
        matches!(self, RouteState::Stopped | RouteState::Finished | RouteState::Failed { .. })
    }
}

impl Route {
    /// A route that is not started yet.
    pub fn new(parts: RouteParts, events: Events) -> Arc<Route> {
        let progress = Arc::new(RouteProgress::default());
        if let Some(mine) = parts.origin.mine() {
            mine.attach(&progress);
        }
        Arc::new(Route {
            parts,
            progress,
            state: watch::Sender::new(RouteState::Idle),
            events,
            rewind: watch::Sender::new(None),
            failing: Mutex::default(),
            remedy: Mutex::default(),
        })
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
        if self.progress.is_direct() {
            return None;
        }
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

    /// Goes on at `cursor`, and not at the sink's own, when it runs next. It becomes the sink's cursor before a row is
    /// written.
    pub fn go_to(&self, cursor: Cursor) {
        self.rewind.send_replace(Some(cursor));
    }

    /// Waits until what [`go_to`](Self::go_to) asked for is durable. False when the route ended before.
    pub async fn has_gone(&self) -> bool {
        let (mut rewind, mut state) = (self.rewind.subscribe(), self.state.subscribe());
        tokio::select! {
            biased;
            // The route, which is alive here, is the sender.
            _ = rewind.wait_for(Option::is_none) => true,
            _ = state.wait_for(RouteState::is_over) => self.rewind.borrow().is_none(),
        }
    }

    /// What would leave out the change that the route failed on; `None` while it did not, or it was no single change.
    pub fn remedy(&self) -> Option<Skip> {
        self.remedy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Delivers until a wish, the end of the source, or an error that trying again does not mend; the state
    /// says which.
    pub async fn run(self: Arc<Self>, mut listener: Listener) {
        let mut backoff = Backoff::default();
        let (mut suspects, mut searches) = (None, 0);
        let mine = self.parts.origin.mine().cloned();
        let source = self.parts.fallback.clone();
        let mut fallback = mine.zip(source).map(|(mine, source)| Fallback::new(mine, source));
        loop {
            if listener.wish() == Wish::Stop {
                return self.enter(RouteState::Stopped);
            }
            self.enter(RouteState::Starting);
            let before = self.place();
            let overdue = overdue(listener.clone());
            let ended = tokio::select! {
                biased;
                ended = self.session(&mut listener, &mut backoff, suspects.take(), fallback.as_mut()) => ended,
                () = overdue => {
                    warn!(
                        pipeline = self.parts.pipeline,
                        route = self.parts.sink.key,
                        "stopped without an answer of the sink; what it was writing is found out when it is opened again"
                    );
                    return self.enter(RouteState::Stopped);
                }
            };
            let error = match ended {
                Ok(Ended::ByWish) => return self.enter(RouteState::Stopped),
                Ok(Ended::BySource) => return self.enter(RouteState::Finished),
                Ok(Ended::Switched) => continue,
                Ok(Ended::SourceAway(error)) => {
                    if let Some(fallback) = &mut fallback {
                        fallback.failed(&error);
                    }
                    warn!(
                        pipeline = self.parts.pipeline,
                        route = self.parts.sink.key,
                        "the source cannot be read while the mine is away: {error}"
                    );
                    continue;
                }
                Err(error) => error,
            };
            let failing = std::mem::take(&mut *self.failing.lock().unwrap_or_else(PoisonError::into_inner));
            if self.place() != before {
                searches = 0;
            }
            if error.kind() == Kind::Data && failing.suspects.is_some() && searches < SEARCHES_MAX {
                searches += 1;
                suspects = failing.suspects;
                info!(route = self.parts.sink.key, "looking for the row that the sink rejected: {error}");
                continue;
            }
            let (text, advice) = (error.to_string(), error.next_step().map(str::to_owned));
            let give_up = self.parts.retries_max.is_some_and(|most| backoff.failures() >= most);
            if give_up || !error.kind().is_retryable() {
                let at = failing.spot.as_ref().map(|(seq, _)| *seq);
                warn!(
                    target: FAILURES,
                    pipeline = self.parts.pipeline,
                    route = self.parts.sink.key,
                    at = at.map(|at| at.0),
                    advice,
                    "delivery failed: {text}"
                );
                let remedy = failing.spot.map(|(_, spot)| Skip { spot, error: text.clone() });
                *self.remedy.lock().unwrap_or_else(PoisonError::into_inner) = remedy;
                return self.enter(RouteState::Failed { kind: error.kind(), error: text, advice, at });
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

    /// Notes that the route waits for something before it runs.
    pub fn wait_for(&self, reason: String) {
        self.enter(RouteState::Waiting { reason });
    }

    /// Notes that the route is not to run.
    pub fn leave_stopped(&self) {
        self.enter(RouteState::Stopped);
    }

    /// Notes an end that the route itself could not note.
    pub fn fail(&self, error: String, advice: String) {
        self.enter(RouteState::Failed { kind: Kind::Internal, error, advice: Some(advice), at: None });
    }

    pub(super) fn note_failing(&self, failing: Failing) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Where its sink is.
    fn place(&self) -> (Seq, Option<Position>) {
        let figures = self.progress.figures();
        (figures.next, figures.position)
    }

    pub(super) fn enter(&self, state: RouteState) {
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
    async fn session(
        &self,
        listener: &mut Listener,
        backoff: &mut Backoff,
        suspects: Option<(u64, u64)>,
        fallback: Option<&mut Fallback>,
    ) -> Result<Ended> {
        let parts = &self.parts;
        let stages = Stages::compile_with(&parts.stages, &parts.source_name, parts.lookups.as_ref())
            .map_err(|error| {
                let advice = error.advice.clone();
                let error = Error::new(Kind::Script, error.to_string());
                advice.into_iter().fold(error, Error::advice)
            })?;
        let mut sink = parts.sink_kind.sink(parts.sink.clone())?;
        let ended = self.deliver((stages, sink.as_mut()), (listener, backoff), suspects, fallback).await;
        // A sink that failed is closed as well as it can be; the first error is the one that counts.
        let closed = sink.close().await;
        let ended = ended?;
        closed?;
        Ok(ended)
    }

    /// Opens the feed behind the sink's cursor, and delivers.
    async fn deliver(
        &self,
        (stages, sink): (Stages, &mut (dyn Sink + 'static)),
        (listener, backoff): (&mut Listener, &mut Backoff),
        suspects: Option<(u64, u64)>,
        mut fallback: Option<&mut Fallback>,
    ) -> Result<Ended> {
        let parts = &self.parts;
        let Some(cursor) = listener.unless(Wish::Stop, sink.open()).await else { return Ok(Ended::ByWish) };
        let elsewhere = self.rewind.borrow().clone();
        let begun = |cursor: &Cursor| cursor.log.is_some() && cursor.log == parts.begun_in;
        let mut cursor = match (elsewhere, cursor?) {
            (Some(elsewhere), former) => {
                if let Some(former) = former {
                    // What lies behind the place that is left is forgotten now: on the way there again, it is met anew.
                    parts.skips.ahead_of(&former)?;
                }
                set(sink, elsewhere.clone()).await?;
                let (pipeline, route, to) = (&parts.pipeline, &parts.sink.key, elsewhere.next.0);
                info!(pipeline, route, to, "the pipeline goes on at another place");
                self.rewind.send_replace(None);
                elsewhere
            }
            (None, Some(cursor)) if begun(&cursor) => {
                let first = parts.origin.first_cursor(Some(Start::Earliest)).await?;
                set(sink, first.clone()).await?;
                first
            }
            (None, Some(cursor)) => cursor,
            (None, None) => {
                let first = parts.origin.first_cursor(parts.start.clone());
                let Some(first) = listener.unless(Wish::Stop, first).await else { return Ok(Ended::ByWish) };
                let first = first?;
                // Durable before anything is delivered: a crash after this begins here again, and not at what `now`
                // means then.
                set(sink, first.clone()).await?;
                first
            }
        };
        self.progress.at(&cursor);
        let (mut feed_at, mut passed) = (None, None);
        if let Some(fallback) = &mut fallback
            && fallback.begins_at_source(&cursor)
        {
            // Said before it is looked what is paused: nobody pauses one of its tables from here on.
            self.progress.goes_direct();
            let opened = listener.unless(Wish::Stop, fallback.open(&cursor, &parts.tables)).await;
            let Some(opened) = opened else { return Ok(Ended::ByWish) };
            let (feed, place) = match opened {
                Ok(opened) => opened,
                Err(error) => return Ok(Ended::SourceAway(error)),
            };
            if place != cursor {
                set(sink, place.clone()).await?;
            }
            info!(
                pipeline = parts.pipeline,
                route = parts.sink.key,
                "the source is read, as the mine is away"
            );
            feed_at = Some((feed, place));
        } else if let (Some(mine), Some(direct), Some(position)) =
            (parts.origin.mine(), &cursor.direct, &cursor.position)
        {
            if let Some(ended) = self.meet_mine(mine, position, listener, &mut fallback).await {
                return Ok(ended);
            }
            let found = listener.unless(Wish::Stop, Passed::find(mine, &cursor, position, direct)).await;
            let Some(found) = found else { return Ok(Ended::ByWish) };
            let found = found?;
            if found.until == cursor.next && cursor.next == mine.hub().tail().borrow().next {
                // Nothing came in between.
                cursor.direct = None;
                set(sink, cursor.clone()).await?;
            } else {
                passed = Some(found);
            }
            if let Some(fallback) = &mut fallback {
                fallback.has_returned();
            }
            info!(pipeline = parts.pipeline, route = parts.sink.key, "the log is read again");
        }
        let (feed, cursor) = match feed_at {
            Some(feed_at) => feed_at,
            None => match listener.unless(Wish::Stop, parts.origin.open(&cursor)).await {
                Some(feed) => (feed?, cursor),
                None => return Ok(Ended::ByWish),
            },
        };
        self.progress.begins_at(&cursor);
        info!(pipeline = parts.pipeline, route = parts.sink.key, from = cursor.next.0, "delivering");
        self.enter(RouteState::Running);
        let (fed, end) = ((feed, cursor), (stages, sink));
        Delivery::new(self, listener, backoff, fed, end, suspects, (passed, fallback))?.run().await
    }

    /// Waits until the mine has come as far as the route, which has read the source itself; gives how the session ends
    /// when that is not to be.
    async fn meet_mine(
        &self,
        mine: &Mine,
        position: &Position,
        listener: &mut Listener,
        fallback: &mut Option<&mut Fallback>,
    ) -> Option<Ended> {
        let (mut tail, began) = (mine.hub().tail(), Instant::now());
        while !has_come_to(mine, position) {
            if let Some(fallback) = fallback {
                let is_late = began.elapsed() >= RETURN_PATIENCE;
                if is_late {
                    fallback.could_not_return();
                }
                if is_late || fallback.mine_is_away() {
                    return Some(Ended::Switched);
                }
            }
            let name = mine.name();
            self.enter(RouteState::Waiting { reason: format!("mine {name} has not come as far yet") });
            let moved = tokio::time::timeout(PATIENCE, tail.changed());
            if listener.unless(Wish::Drain, moved).await.is_none() {
                return Some(Ended::ByWish);
            }
        }
        None
    }
}

/// Makes a cursor durable that no row leads to.
async fn set(sink: &mut dyn Sink, cursor: Cursor) -> Result<()> {
    write(sink, Batch { changes: Changes::default(), cursor: Some(cursor) }).await.map(drop)
}

/// Waits until the wish to stop is overdue.
async fn overdue(mut listener: Listener) {
    listener.at_least(Wish::Stop).await;
    tokio::time::sleep(STOP_PATIENCE).await;
}
