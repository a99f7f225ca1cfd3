//! Following logs: changes as they are mined.
//!
//! The reader asks for the next part when it has taken the one before, and the log is what waits meanwhile. So a slow reader
//! needs no queue and misses nothing, unless retention drops what it has not come to; then it is told which entries.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::{Mutex, watch};

use super::chosen::Chosen;
use super::peek::begin;
use super::{Changes, Look, SHOWN_BYTES_MAX, Spot};
use crate::engine::reply::Reply;
use crate::engine::{Engine, Running};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::model::position::{LogEpoch, Seq};
use crate::run::look;
use crate::run::mine::Mine;
use crate::store::{self, LogReader};

/// Changes in one part, at the most.
pub const PART_CHANGES_MAX: usize = 200;

/// So often it is looked whether another mine writes the log by now.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Engine {
    /// Follows the changes that `look` means, from now on or from a place on.
    ///
    /// # Errors
    /// As [`peek`](Self::peek). `Refused` also when the mine does not run.
    pub async fn tail(&self, look: &Look) -> Result<Tail> {
        let mut followed = Vec::new();
        {
            let running = self.running.lock().await;
            let modules = running.modules();
            for spot in running.spots(look.of.as_ref())? {
                let mine = Arc::clone(running.mine_at(&spot).ok_or_else(|| not_mined(&spot))?);
                let chosen = Chosen::new(spot, look.filter.as_deref(), &modules)?;
                followed.push((mine, chosen));
            }
        }
        let mut followers = Vec::with_capacity(followed.len());
        for (mine, chosen) in followed {
            let log = mine.log().as_ref();
            let next = match &look.from {
                None => log.tail().next,
                Some(from) => {
                    let name = mine.name().to_owned();
                    begin(log, from).await.context_with(|| format!("in the log of mine {name}"))?
                }
            };
            followers.push(Follower {
                chosen,
                tail: mine.hub().tail(),
                epoch: log.epoch(),
                mine: Arc::downgrade(&mine),
                next,
                is_away: false,
            });
        }
        Ok(Tail { running: Arc::clone(&self.running), followers, turn: 0, failed: None })
    }
}

/// Changes that are followed. Dropping it ends that.
pub struct Tail {
    running: Arc<Mutex<Running>>,
    followers: Vec<Follower>,
    /// Whose turn it is, so that a busy mine is in nobody's way.
    turn: usize,
    /// Whose code has failed.
    failed: Option<usize>,
}

/// How far one log was shown.
struct Follower {
    chosen: Chosen,
    /// Whoever only looks keeps no log open.
    mine: Weak<Mine>,
    tail: watch::Receiver<store::Tail>,
    epoch: LogEpoch,
    next: Seq,
    /// Whether it was said that the log's store is away.
    is_away: bool,
}

impl Tail {
    /// Waits for the next changes, and gives those that are there: [`PART_CHANGES_MAX`] of one log at the most. What could not
    /// be shown is said in the notes. Cancel-safe: what was not given comes with the next call.
    ///
    /// # Errors
    /// `Data` when the code fails for a change. `Refused` when nothing is mined any more that could be followed. As
    /// [`LogReader::read`] otherwise. Nothing comes after an error.
    pub async fn next(&mut self) -> Result<Changes> {
        loop {
            for _ in 0..self.followers.len() {
                let at = self.turn;
                self.turn = (at + 1) % self.followers.len();
                let part = self.followers[at].ready().await;
                let name = || format!("in the log of mine {}", self.followers[at].name());
                match part {
                    Ok(Some(part)) => return Ok(part),
                    Ok(None) => {}
                    Err(error) => {
                        let error = error.context(name());
                        self.failed = Some(at);
                        return Err(error);
                    }
                }
            }
            if let Some(at) = self.grown().await {
                self.find_again(at).await?;
            }
            self.look_for_others()?;
        }
    }

    /// Waits until a log has grown, or for a moment. Gives the one whose mine has ended.
    async fn grown(&mut self) -> Option<usize> {
        let grown = self.followers.iter_mut().map(|follower| Box::pin(follower.tail.changed()));
        match tokio::time::timeout(LOOK_EVERY, select_all(grown)).await {
            Ok((Err(_), at, _)) => Some(at),
            Ok((Ok(()), ..)) | Err(_) => None,
        }
    }

    /// An error as an answer: one of the code at its place in the code.
    pub(in crate::engine) fn failure(&mut self, error: Error) -> Reply {
        match self.failed.take() {
            Some(at) => self.followers[at].chosen.failure(error),
            None => error.into(),
        }
    }

    /// The mine has ended. Another one may write its log.
    async fn find_again(&mut self, at: usize) -> Result<()> {
        let running = self.running.lock().await;
        self.followers[at].take_over(&running)
    }

    /// Whether other mines write the logs by now, unless what runs is just being changed.
    fn look_for_others(&mut self) -> Result<()> {
        let Ok(running) = self.running.try_lock() else { return Ok(()) };
        self.followers.iter_mut().try_for_each(|follower| follower.take_over(&running))
    }
}

impl Follower {
    fn name(&self) -> &str {
        &self.chosen.spot().plan.name
    }

    /// The changes that are there and meant; `None` without any.
    async fn ready(&mut self) -> Result<Option<Changes>> {
        let Some(mine) = self.mine.upgrade() else { return Ok(None) };
        // Seen before it is read, so that what comes meanwhile wakes.
        self.tail.borrow_and_update();
        let log = Arc::clone(mine.log());
        let mut part = Changes::default();
        if log.epoch() != self.epoch {
            part.note(format!(
                "the log of mine {} was made anew; it is shown from its beginning on",
                self.name()
            ));
            self.epoch = log.epoch();
            self.next = log.stat().horizon;
        }
        let to = log.tail().next;
        if self.next < to
            && let Err(error) = self.read(log, to, &mut part).await
        {
            if !error.kind().is_retryable() {
                return Err(error);
            }
            if !std::mem::replace(&mut self.is_away, true) {
                part.note(format!("waiting: {error}"));
            }
        }
        Ok((!part.is_empty()).then_some(part))
    }

    /// Reads on up to the entry `to`, or until the part is full.
    async fn read(&mut self, log: Arc<dyn LogReader>, to: Seq, part: &mut Changes) -> Result<()> {
        let mut look = look::Look::new(Arc::clone(&log));
        let name = self.name().to_owned();
        let (mut next, mut is_full) = (self.next, false);
        let mut show = |seen: look::Seen| {
            next = seen.change.seq.plus(1);
            part.add(&name, &seen, SHOWN_BYTES_MAX);
            is_full = part.shown.len() >= PART_CHANGES_MAX || part.bytes >= SHOWN_BYTES_MAX;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let chosen = &mut self.chosen;
        let read = look.changes(self.next, to, &mut |change| chosen.takes(change), &mut show).await;
        // What was shown before something failed is not shown again.
        self.next = next;
        match read {
            Ok(()) => {
                self.is_away = false;
                if !is_full {
                    self.next = to;
                }
                Ok(())
            }
            Err(error) if error.kind() == Kind::Gap && log.stat().horizon > next => {
                let horizon = log.stat().horizon;
                let last = horizon.0 - 1;
                part.note(format!("retention dropped the entries {next} to {last} before they were shown"));
                self.next = horizon;
                Ok(())
            }
            // What is there is shown first; the error comes again.
            Err(_) if !part.shown.is_empty() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Follows the mine that writes the log now.
    fn take_over(&mut self, running: &Running) -> Result<()> {
        let Some(mine) = running.mine_at(self.chosen.spot()) else {
            return Err(not_mined(self.chosen.spot()));
        };
        if self.mine.upgrade().is_none_or(|known| !Arc::ptr_eq(&known, mine)) {
            self.mine = Arc::downgrade(mine);
            self.tail = mine.hub().tail();
            // There may be more by now.
            self.tail.mark_changed();
        } else if self.is_away {
            self.tail.mark_changed();
        }
        Ok(())
    }
}

fn not_mined(spot: &Spot) -> Error {
    let name = &spot.plan.name;
    Error::new(Kind::Refused, format!("mine {name} does not run, so that there is nothing to follow"))
        .advice("a mine runs from its first pipeline on; `peek` shows what its log has")
}
