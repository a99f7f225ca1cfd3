//! The newest changes of a log, or those from a place on.

use std::ops::ControlFlow;
use std::time::Duration;

use super::chosen::Chosen;
use super::{Changes, Look, Spot};
use crate::engine::Engine;
use crate::engine::reply::Reply;
use crate::error::{Error, Result};
use crate::model::change::Change;
use crate::model::position::Seq;
use crate::model::spec::Place;
use crate::run::look;
use crate::run::rewind::find;
use crate::store::LogReader;

/// So many changes are shown when nobody says how many.
pub const LIMIT: u64 = 10;
/// More changes are never shown at once.
pub const LIMIT_MAX: u64 = 1000;
/// Bytes of rows in one answer, before they are written as JSON.
pub const SHOWN_BYTES_MAX: usize = 4 << 20;
/// A log is looked through no longer than this for changes that are meant.
pub const PEEK_TIME_MAX: Duration = Duration::from_secs(5);

impl Engine {
    /// The newest changes that `look` means, or the first ones from a place on: `limit` of each log, [`LIMIT`] without one,
    /// and [`LIMIT_MAX`] at the most. It looks no longer than [`PEEK_TIME_MAX`] into each log; how far it came is in the notes.
    ///
    /// Nothing is changed, and nothing is held back by it. The future may be dropped at any time.
    ///
    /// # Errors
    /// `Refused` when what is meant is in no log, or the place has not come yet; `Gap` when the log no longer has it.
    /// `Script` when the code is wrong, `Data` when it fails for a change. As
    /// [`LogReader::read`] otherwise.
    pub async fn peek(&self, look: &Look, limit: Option<u64>) -> Result<Changes> {
        self.peeked(look, limit).await.map_err(|(error, _)| error)
    }

    /// The answer to `peek`.
    pub(in crate::engine) async fn answer_peek(&self, look: &Look, limit: Option<u64>) -> Reply {
        match self.peeked(look, limit).await {
            Ok(changes) => Reply::Changes(changes),
            Err((error, Some(mut chosen))) => chosen.failure(error),
            Err((error, None)) => error.into(),
        }
    }

    async fn peeked(
        &self,
        look: &Look,
        limit: Option<u64>,
    ) -> std::result::Result<Changes, (Error, Option<Chosen>)> {
        let bare = |error| (error, None);
        let count = limit.unwrap_or(LIMIT).min(LIMIT_MAX) as usize;
        let mut changes = Changes::default();
        if limit.is_some_and(|limit| limit > LIMIT_MAX) {
            changes.note(format!("no more than {LIMIT_MAX} changes are shown at once"));
        }
        let (spots, modules) = {
            let running = self.running.lock().await;
            (running.spots(look.of.as_ref()).map_err(bare)?, running.modules())
        };
        for spot in spots {
            let mut chosen = Chosen::new(spot, look.filter.as_deref(), &modules).map_err(bare)?;
            let spot = chosen.spot().clone();
            let peeked = match &look.from {
                None => self.peek_newest(&spot, count, &mut chosen, &mut changes).await,
                Some(from) => self.peek_from(&spot, from, count, &mut chosen, &mut changes).await,
            };
            if let Err(error) = peeked {
                return Err((error.context(format!("in the log of mine {}", spot.plan.name)), Some(chosen)));
            }
        }
        Ok(changes)
    }

    async fn peek_newest(
        &self,
        spot: &Spot,
        count: usize,
        chosen: &mut Chosen,
        changes: &mut Changes,
    ) -> Result<()> {
        let log = self.reader_at(spot).await?;
        let mut look = look::Look::new(log);
        let newest =
            look.newest_within(count, Some(PEEK_TIME_MAX), &mut |change| chosen.takes(change)).await?;
        newest.seen.iter().for_each(|seen| changes.add(&spot.plan.name, seen, SHOWN_BYTES_MAX));
        let (name, since) = (&spot.plan.name, newest.since);
        if newest.is_cut {
            let seconds = PEEK_TIME_MAX.as_secs();
            changes.note(format!(
                "the log of mine {name} was looked through for {seconds} s, back to entry {since}"
            ));
        } else if newest.seen.is_empty() {
            changes.note(format!("no change in the log of mine {name} fits; it begins with entry {since}"));
        }
        Ok(())
    }

    async fn peek_from(
        &self,
        spot: &Spot,
        from: &Place,
        count: usize,
        chosen: &mut Chosen,
        changes: &mut Changes,
    ) -> Result<()> {
        let log = self.reader_at(spot).await?;
        let next = begin(log.as_ref(), from).await?;
        let to = log.tail().next;
        let mut left = count;
        let mut reached = next;
        let mut look = look::Look::new(log);
        let mut choose = |change: &Change| {
            reached = change.seq;
            chosen.takes(change)
        };
        let mut show = |seen: look::Seen| {
            changes.add(&spot.plan.name, &seen, SHOWN_BYTES_MAX);
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let looked = look.changes(next, to, &mut choose, &mut show);
        let Ok(looked) = tokio::time::timeout(PEEK_TIME_MAX, looked).await else {
            let (name, seconds) = (&spot.plan.name, PEEK_TIME_MAX.as_secs());
            changes.note(format!(
                "the log of mine {name} was looked through for {seconds} s, up to entry {reached}"
            ));
            return Ok(());
        };
        looked?;
        if left == count {
            changes.note(format!("no change in the log of mine {} fits", spot.plan.name));
        }
        Ok(())
    }
}

/// The first entry to look at.
///
/// # Errors
/// As [`find`].
pub(super) async fn begin(log: &dyn LogReader, from: &Place) -> Result<Seq> {
    Ok(find(log, from).await?.0)
}
