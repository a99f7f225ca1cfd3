//! A session of a mine: from its connection to the source until something ends it. What it does follows from what the
//! log says at its begin; whatever was not durable at its end is read again by the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::catch_up::{CatchUp, Outcome};
use super::mine::{Mine, MineState};
use super::signal::{Listener, Wish};
use super::writer::Writer;
use crate::error::{Error, Kind, Result};
use crate::model::block::{BlockBuilder, Commit};
use crate::model::coverage::{Coverage, Failure};
use crate::model::table::TableSelection;
use crate::source::{ChangeStream, Progress};

/// A block is sealed when it has so many bytes, or when the source has nothing more at hand.
const BLOCK_BYTES: usize = 512 << 10;
/// How long a quiet source is listened to before new wishes are looked at.
const PATIENCE: Duration = Duration::from_millis(100);

/// Why a session ended that nothing went wrong in.
pub(super) enum Ended {
    ByWish,
    BySource,
    /// The next one is to begin at once.
    ToBeginAnew,
}

struct Session<'a> {
    mine: &'a Mine,
    stream: Box<dyn ChangeStream>,
    writer: Writer,
    builder: BlockBuilder,
    wanted: watch::Receiver<TableSelection>,
    /// What the last note says, or the one that the stream is about to write.
    coverage: Coverage,
    /// The last commit of the main stream that is written.
    head: Commit,
    /// Whether a part of a transaction is written whose end is still to come.
    in_parts: bool,
    /// Reads again what was paused.
    catch_up: Option<CatchUp>,
    started: Instant,
}

impl Mine {
    /// Connects, and mines until something ends it.
    pub(super) async fn session(
        self: &Arc<Self>,
        listener: &mut Listener,
        backoff: &mut Backoff,
    ) -> Result<Ended> {
        let (source, log) = (self.source(), self.log());
        let Some(identity) = listener.unless(Wish::Drain, source.identify()).await else {
            return Ok(Ended::ByWish);
        };
        let identity = identity?;
        if let Some(clock_ms) = identity.clock_ms {
            self.progress().clock_is_ahead(clock_ms - self.now_ms());
        }
        self.take_server(&identity.id)?;
        let head = match log.tail().commit {
            Some(commit) => commit,
            None => {
                let start = self.start_point();
                let Some(position) = listener.unless(Wish::Drain, source.resolve(&start)).await else {
                    return Ok(Ended::ByWish);
                };
                Commit { position: position?, time_ms: self.now_ms() }
            }
        };

        let _turn = self.turns.hold().await;
        let head = log.tail().commit.unwrap_or(head);
        self.bind(&identity.id).await?;
        self.hub().rewind(log.tail());
        self.counts().begin(log.tail().next);
        let mut wanted = self.wanted.subscribe();
        let mut coverage = Coverage { catch_up: false, ..log.coverage() };
        merge(&mut coverage.tables, &wanted.borrow_and_update());
        // A new log gets its starting position as its first commit, durable before anything is read: it stays the
        // starting position when lode is killed, or the source lost, before the first transaction comes.
        if log.tail().commit.is_none() || !log.coverage().says_the_same(&coverage) {
            self.note(&coverage, head.clone()).await?;
        }
        let opened = tokio::select! {
            biased;
            () = self.turns.awaited() => return Ok(Ended::ToBeginAnew),
            opened = listener.unless(Wish::Drain, source.open(&head.position, coverage.mined())) => opened,
        };
        let Some(stream) = opened else { return Ok(Ended::ByWish) };
        let mut stream = stream?;
        stream.remember(&log.schemas());
        info!(mine = self.name(), source = identity.description, from = %head.position, "mining");
        self.enter(MineState::Running);

        let mut session = Session {
            mine: self,
            stream,
            writer: Writer::start(self)?,
            builder: BlockBuilder::new(log.tail().next, log.schemas()),
            wanted,
            catch_up: CatchUp::next(source, identity.id, &coverage, log.schemas()),
            coverage,
            head,
            in_parts: false,
            started: Instant::now(),
        };
        let ended = session.mine(listener, backoff).await;
        self.progress().has_read();
        let Session { stream, writer, catch_up, .. } = session;
        // Why the writer ended counts more than that it did.
        writer.finish().await?;
        if ended.is_ok() {
            stream.close().await;
            if let Some(catch_up) = catch_up {
                catch_up.close().await;
            }
        }
        ended
    }

    /// One reader of a server is enough for a store.
    fn take_server(&self, id: &str) -> Result<()> {
        let Some(claim) = self.claim() else { return Ok(()) };
        claim.take(id, self.name()).map_err(|other| {
            Error::new(Kind::Refused, format!("the connection leads to a server that mine {other} reads already"))
                .advice(format!(
                    "apply the script again: the pipelines then read through mine {other}; or name a log with `via`"
                ))
        })
    }

    async fn bind(&self, id: &str) -> Result<()> {
        match self.log().source_id() {
            None => self.log().bind_source(id).await,
            Some(known) if known == id => Ok(()),
            Some(known) => Err(Error::new(
                Kind::Refused,
                format!("the log holds changes of another server ({known}), and this one is {id}"),
            )
            .advice(
                "point the connection to the server that was mined before, or name another log with `via`",
            )),
        }
    }
}

impl Session<'_> {
    async fn mine(&mut self, listener: &Listener, backoff: &mut Backoff) -> Result<Ended> {
        loop {
            if listener.wish() >= Wish::Drain {
                return Ok(Ended::ByWish);
            }
            if self.writer.is_over() {
                return Err(writer_ended());
            }
            if self.mine.turns.is_awaited() || !self.select_wanted() {
                return Ok(Ended::ToBeginAnew);
            }
            let meanwhile = self.catch_up.as_ref().map(CatchUp::patience_meanwhile);
            let patience = meanwhile.map_or(PATIENCE, |patience| patience.min(PATIENCE));
            let progress = self.stream.fill(&mut self.builder, BLOCK_BYTES, patience).await;
            // What was read before an error is complete up to its last commit, and is kept: a source that breaks off
            // again and again is got through all the same.
            self.pass_on(progress.is_ok()).await?;
            match progress? {
                // A source with much at hand never waits. The writer, just woken, would: the scheduler runs it after this
                // task, on this thread.
                Progress::Full => tokio::task::yield_now().await,
                Progress::CaughtUp => {}
                Progress::Idle if self.writer.is_idle() => backoff.quiet(self.started),
                Progress::Idle => {}
                Progress::End if self.catch_up.is_none() => return Ok(Ended::BySource),
                Progress::End => tokio::time::sleep(patience).await,
            }
            if !self.in_parts && self.catch_up().await? {
                return Ok(Ended::ToBeginAnew);
            }
        }
    }

    /// Has the stream read what was asked for since. False when the session has to begin anew for that: what the stream
    /// is about to note would be older than what a catch-up notes meanwhile.
    fn select_wanted(&mut self) -> bool {
        if !self.wanted.has_changed().unwrap_or(false)
            || !merge(&mut self.coverage.tables, &self.wanted.borrow_and_update())
        {
            return true;
        }
        self.stream.select(self.coverage.clone());
        self.catch_up.is_none()
    }

    /// Hands over to the writer what is complete, or else, where `parts` may be, what is too large to wait for its end.
    async fn pass_on(&mut self, parts: bool) -> Result<()> {
        let block = match self.builder.seal() {
            Some(block) => {
                self.in_parts = false;
                self.mine.progress().has_read();
                if let Some(commit) = &block.commit {
                    self.head.clone_from(commit);
                }
                Some(block)
            }
            None if parts && self.builder.len() >= BLOCK_BYTES => {
                self.in_parts = true;
                self.builder.seal_part()
            }
            None => None,
        };
        let Some(block) = block else { return Ok(()) };
        let counts = self.builder.take_counts();
        if self.in_parts {
            self.mine.reads_on(&counts, self.builder.book());
        }
        if self.writer.send(block, counts).await { Ok(()) } else { Err(writer_ended()) }
    }

    /// Gives the catch-up its turn: what it brings comes before the transaction that the main stream is in. True when it
    /// has come to where the main stream is: from there on, a new session reads its tables together with all others.
    async fn catch_up(&mut self) -> Result<bool> {
        if self.catch_up.is_none() {
            return Ok(false);
        }
        let Some(begun) = self.builder.set_aside() else { return Ok(false) };
        let Some(mut catch_up) = self.catch_up.take() else { return Ok(false) };
        let turn = catch_up.turn(&self.head).await;
        let at = self.coverage.paused.iter().position(|paused| paused.tables == *catch_up.tables());
        let Some(at) = at else {
            return Err(Error::new(Kind::Internal, "tables are caught up that are not paused"));
        };
        if let Some(piece) = turn.piece {
            self.coverage.paused[at] = catch_up.paused().clone();
            self.builder.coverage(&Coverage { catch_up: true, ..self.coverage.clone() });
            catch_up.write(&piece, &mut self.builder)?;
            self.builder.commit(self.head.clone());
        }
        let reached = matches!(turn.outcome, Outcome::Reached);
        self.catch_up = match turn.outcome {
            Outcome::GoesOn => Some(catch_up),
            Outcome::Reached => {
                info!(mine = self.mine.name(), tables = %catch_up.tables(), "caught up");
                self.coverage.paused.remove(at);
                self.note();
                Some(catch_up)
            }
            Outcome::Failed(error) => {
                let advice = error.next_step();
                warn!(mine = self.mine.name(), tables = %catch_up.tables(), advice, "cannot catch up: {error}");
                let paused = &mut self.coverage.paused[at];
                (paused.resuming, paused.failed) = (false, Some(Failure::from(&error)));
                self.note();
                catch_up.after(&self.coverage)
            }
        };
        self.pass_on(false).await?;
        self.builder.put_back(begun);
        tokio::task::yield_now().await;
        Ok(reached)
    }

    /// Writes what the coverage is now.
    fn note(&mut self) {
        self.builder.coverage(&self.coverage);
        self.builder.commit(self.head.clone());
    }
}

fn merge(tables: &mut TableSelection, wanted: &TableSelection) -> bool {
    wanted.sets().iter().filter(|set| tables.add(set)).count() > 0
}

/// Its own error says why; it is returned when the writer has finished.
fn writer_ended() -> Error {
    Error::new(Kind::Internal, "the writer of the log ended early")
}
