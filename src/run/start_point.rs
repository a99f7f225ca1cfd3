//! Moving a stopped mine to another start point: what that skips, and the record of it.

use std::sync::Arc;

use serde::Serialize;
use tracing::warn;

use super::mine::{Mine, MineState};
use super::tables::in_background;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::model::block::Commit;
use crate::model::coverage::{Coverage, Gap};
use crate::model::position::Position;
use crate::model::spec::Start;

/// What another start point means for a mine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Where the mine would go on by itself; `None` when its log is empty.
    pub from: Option<Position>,
    /// When the source committed what lies before that, milliseconds since 1970 UTC.
    pub from_ms: Option<i64>,
    /// Where it would go on instead.
    pub to: Position,
    /// When the source commits what follows there, where the start point says so.
    pub to_ms: Option<i64>,
    /// Whether `from` lies before `to`; `None` when that cannot be told, and for an empty log, which skips nothing.
    pub is_later: Option<bool>,
}

impl Preview {
    /// Whether the mine is there already.
    pub fn stays(&self) -> bool {
        self.from.as_ref().is_some_and(|from| from.reaches(&self.to) && self.to.reaches(from))
    }
}

impl Mine {
    /// Tells what [`skip_to`](Self::skip_to) would do. Changes nothing. Cancel-safe.
    ///
    /// # Errors
    /// As [`Source::resolve`](crate::source::Source::resolve); `Refused` when another server answers than the one that
    /// was mined.
    pub async fn preview(&self, start: &Start) -> Result<Preview> {
        self.look_up(start).await.context_with(|| format!("in mine {}", self.name()))
    }

    /// Has a stopped mine go on at `start` instead of where it stopped. What lies between is not mined, and the log gets
    /// a record of that gap. Tables that are paused keep their place. A log that is still empty just begins there.
    ///
    /// Ok promises that it is durable, and gives what was skipped; for an empty log it holds as long as this mine lives.
    /// Goes on to its end when it is dropped.
    ///
    /// # Errors
    /// `Refused` when the mine is not stopped, when the place lies before the log's end or it cannot be told whether it
    /// does, and when another server answers; otherwise as [`preview`](Self::preview) and
    /// [`Log::append`](crate::store::Log::append).
    pub async fn skip_to(self: &Arc<Self>, start: Start) -> Result<Preview> {
        let mine = Arc::clone(self);
        let work = async move { mine.skip_in_turn(start).await };
        in_background(work).await.context_with(|| format!("in mine {}", self.name()))
    }

    async fn skip_in_turn(&self, start: Start) -> Result<Preview> {
        self.require_stopped()?;
        let preview = self.look_up(&start).await?;
        let _turn = self.turns.take().await;
        self.require_stopped()?;
        let Some(commit) = self.log().tail().commit else {
            self.start_at(start);
            return Ok(preview);
        };
        if preview.from.as_ref() != Some(&commit.position) {
            return Err(
                Error::new(Kind::Refused, "it has moved on meanwhile").advice("stop it, and try again")
            );
        }
        if preview.stays() {
            return Ok(preview);
        }
        let to = preview.to.clone();
        match preview.is_later {
            Some(true) => {}
            Some(false) => return Err(earlier(&to, &commit.position)),
            None => {
                let what = format!("it cannot be told whether {to} lies behind {}", commit.position);
                return Err(Error::new(Kind::Refused, what).advice("name a file and position, or a time"));
            }
        }
        let mut coverage = Coverage { catch_up: false, ..self.log().coverage() };
        let (from, at_ms) = (commit.position.clone(), self.now_ms());
        coverage.add_gap(Gap { tables: None, from, to: to.clone(), at_ms });
        let time_ms = preview.to_ms.unwrap_or(commit.time_ms).max(commit.time_ms);
        self.note_in_turn(&coverage, Commit { position: to.clone(), time_ms }).await?;
        warn!(mine = self.name(), from = %commit.position, %to, "history is left out, as wished");
        Ok(preview)
    }

    async fn look_up(&self, start: &Start) -> Result<Preview> {
        let (source, log) = (self.source(), self.log());
        let found = source.identify().await?.id;
        if let Some(known) = log.source_id().filter(|known| *known != found) {
            let what = format!("the log holds changes of another server ({known}), and this one is {found}");
            return Err(Error::new(Kind::Refused, what)
                .advice("point the connection to the server that was mined before"));
        }
        let to = source.resolve(start).await?;
        let to_ms = match start {
            Start::Now => Some(self.now_ms()),
            Start::Time(time_ms) => Some(*time_ms),
            Start::Earliest | Start::Gtid(_) | Start::Position { .. } => None,
        };
        let commit = log.tail().commit;
        let is_later = commit.as_ref().and_then(|commit| source.is_behind(&to, &commit.position));
        let (from, from_ms) = commit.map(|commit| (commit.position, commit.time_ms)).unzip();
        Ok(Preview { from, from_ms, to, to_ms, is_later })
    }

    fn require_stopped(&self) -> Result<()> {
        let state = self.state().borrow().clone();
        if state.is_over() || state == MineState::Idle {
            return Ok(());
        }
        Err(Error::new(Kind::Refused, "it is running").advice(format!("stop {} first", self.name())))
    }
}

fn earlier(to: &Position, end: &Position) -> Error {
    Error::new(
        Kind::Refused,
        format!("{to} lies before {end}, where the log ends: it would get changes twice"),
    )
    .advice("rewind the pipelines to read what the log has once more, or mine into another log with `via`")
}
