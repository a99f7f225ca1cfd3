//! `on_mine_failure = direct`: a route that reads the source itself while its mine is away.
//!
//! When the mine is away and everything in the log is delivered, the route goes on at the source, from the position of the
//! log's last commit. Its cursor keeps the place where it left the log, and moves the position. When the mine has come as
//! far, the route goes back to that place in the log and leaves out what it has read itself. The cursor says all that is
//! needed for this, so that it is exact wherever lode is killed.
//!
//! Tables that are paused in the log when the route leaves it are not read at the source: the log gets their changes later,
//! as pieces of a catch-up, which are never left out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::feed::{DirectFeed, Feed};
use super::mine::{Mine, MineState};
use crate::error::{Error, Kind, Result};
use crate::model::block::{Entry, parse_coverage};
use crate::model::position::{Cursor, Direct, Position, Seq};
use crate::model::table::{TableSelection, TableSet};
use crate::source::Source;

/// A mine that tries again for so long without getting to its source counts as away.
const RETRY_PATIENCE: Duration = Duration::from_secs(10);
/// A mine that was stopped, or has failed, for so long counts as away: one that is started again at once does not.
const HALT_PATIENCE: Duration = Duration::from_secs(1);
/// The route goes back when the mine is so close behind it, by the server's clock, and waits for the rest there.
const NEAR_MS: i64 = 1000;
/// How long it waits there before it reads the source again.
pub(super) const RETURN_PATIENCE: Duration = Duration::from_secs(5);
/// After that it is not tried again for so long.
const RETURN_PAUSE: Duration = Duration::from_secs(30);

/// What a running route knows of its mine's absence.
pub(super) struct Fallback {
    mine: Arc<Mine>,
    source: Arc<dyn Source>,
    /// Since when the mine is not well, and whether it has given up.
    unwell: Option<(Instant, bool)>,
    /// The route goes back to the log.
    is_returning: bool,
    return_after: Instant,
    /// The source could not be read, so that there is no use in trying before then.
    try_after: Instant,
    trouble: Option<String>,
    backoff: Backoff,
}

impl Fallback {
    pub fn new(mine: Arc<Mine>, source: Arc<dyn Source>) -> Fallback {
        let now = Instant::now();
        Fallback {
            mine,
            source,
            unwell: None,
            is_returning: false,
            return_after: now,
            try_after: now,
            trouble: None,
            backoff: Backoff::default(),
        }
    }

    /// Whether the mine is away for so long that the source is to be read.
    pub fn mine_is_away(&mut self) -> bool {
        let patience = |has_given_up| if has_given_up { HALT_PATIENCE } else { RETRY_PATIENCE };
        let gives_up = match &*self.mine.state().borrow() {
            MineState::Idle | MineState::Running | MineState::Ended => None,
            MineState::Failed { .. } | MineState::Stopped => Some(true),
            MineState::Retrying { .. } | MineState::StoreFull { .. } => Some(false),
            // It is about to try again, or somebody starts it.
            MineState::Starting => self.unwell.map(|_| false),
        };
        let Some(has_given_up) = gives_up else {
            (self.unwell, self.trouble) = (None, None);
            return false;
        };
        let (since, known) = *self.unwell.get_or_insert((Instant::now(), has_given_up));
        if known != has_given_up {
            self.unwell = Some((since, has_given_up));
        }
        since.elapsed() >= patience(has_given_up) && Instant::now() >= self.try_after
    }

    /// Whether a route with this cursor is to read the source now.
    pub fn begins_at_source(&mut self, cursor: &Cursor) -> bool {
        let is_away = self.mine_is_away();
        match (&cursor.direct, &cursor.position) {
            (Some(_), Some(position)) if !is_away => {
                !self.is_returning && !self.has_come_to(position) && Instant::now() >= self.try_after
            }
            (Some(_), _) => is_away,
            (None, _) => is_away && cursor.next == self.mine.log().tail().next,
        }
    }

    /// Whether a route that reads the source, and is at `position` with a transaction of this time, is to go back.
    pub fn goes_back(&mut self, position: &Position, time_ms: Option<i64>) -> bool {
        if *self.mine.state().borrow() != MineState::Running {
            return false;
        }
        let is_near = || {
            let mined = self.mine.hub().tail().borrow().commit.as_ref().map(|commit| commit.time_ms);
            Instant::now() >= self.return_after
                && mined.zip(time_ms).is_some_and(|(mined, time)| mined + NEAR_MS >= time)
        };
        self.is_returning = self.has_come_to(position) || is_near();
        self.is_returning
    }

    /// Notes that the way back took too long.
    pub fn could_not_return(&mut self) {
        self.is_returning = false;
        self.return_after = Instant::now() + RETURN_PAUSE;
    }

    /// Notes that the log is read again.
    pub fn has_returned(&mut self) {
        self.is_returning = false;
        self.backoff.succeeded();
    }

    /// Notes that the source could not be read.
    pub fn failed(&mut self, error: &Error) {
        self.try_after = Instant::now() + self.backoff.failed();
        self.is_returning = false;
        let advice = error.next_step().map_or(String::new(), |advice| format!(" ({advice})"));
        let name = self.mine.name();
        self.trouble =
            Some(format!("mine {name} is away, and the source cannot be read directly: {error}{advice}"));
    }

    /// Why the source is not read though the mine is away.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Begins to read the source where the log, or the last reading of the source, ended. The cursor is to become durable
    /// before a row.
    ///
    /// # Errors
    /// As the source; `Gap` when it is another server than the one that was mined.
    pub async fn open(&self, cursor: &Cursor, tables: &TableSet) -> Result<(Feed, Cursor)> {
        let log = self.mine.log();
        let cursor = match &cursor.direct {
            Some(_) => cursor.clone(),
            None => {
                let position = log.tail().commit.map(|commit| commit.position).ok_or_else(|| {
                    Error::new(Kind::Refused, "the log is empty, so that nobody knows where to begin")
                        .advice("start the mine once")
                })?;
                let without = log.coverage().paused.iter().map(|paused| paused.selection()).collect();
                Cursor { position: Some(position), direct: Some(Direct { without }), ..cursor.clone() }
            }
        };
        let identity = self.source.identify().await?;
        if log.source_id().is_some_and(|mined| mined != identity.id) {
            return Err(Error::new(
                Kind::Gap,
                format!("the log was mined from another server than {}", identity.description),
            ));
        }
        let (Some(position), Some(direct)) = (&cursor.position, &cursor.direct) else {
            return Err(Error::new(Kind::Internal, "a cursor of the source has no position"));
        };
        let without = direct.without.iter().cloned();
        let tables = without.fold(TableSelection::of(tables.clone()), TableSelection::except);
        let mut stream = self.source.open(position, tables).await?;
        stream.remember(&log.schemas());
        let feed = Feed::Direct(Box::new(DirectFeed::beside_log(stream, cursor.clone())));
        Ok((feed, cursor))
    }

    fn has_come_to(&self, position: &Position) -> bool {
        has_come_to(&self.mine, position)
    }
}

/// Whether everything up to `position` is in the log.
pub(super) fn has_come_to(mine: &Mine, position: &Position) -> bool {
    mine.hub().tail().borrow().commit.as_ref().is_some_and(|commit| commit.position.reaches(position))
}

/// What a route has read from the source itself, as it lies in the log.
pub(super) struct Passed {
    /// Its entries lie before this one, which begins a transaction.
    pub until: Seq,
    /// The place at the source.
    pub position: Position,
    /// What was not read there.
    pub direct: Direct,
}

impl Passed {
    /// Finds it in the log, which has come to the cursor's position.
    ///
    /// # Errors
    /// As [`LogReader::read`](crate::store::LogReader::read).
    pub async fn find(mine: &Mine, cursor: &Cursor, position: &Position, direct: &Direct) -> Result<Passed> {
        let tail = mine.hub().tail().borrow().next;
        let (mut next, mut until, mut is_piece) = (cursor.next, cursor.next, false);
        'log: while next < tail {
            let blocks = mine.older(next).await?;
            if blocks.is_empty() {
                break;
            }
            for block in blocks {
                for entry in block.entries() {
                    let (seq, entry) = entry.map_err(|_| malformed(next))?;
                    if seq < next {
                        continue;
                    }
                    match entry {
                        Entry::Coverage(json) => {
                            is_piece = parse_coverage(json).map_err(|_| malformed(seq))?.is_catch_up();
                        }
                        Entry::Commit { .. } if is_piece => is_piece = false,
                        Entry::Commit { offset, file, gtid, .. } => {
                            let place = Position { gtid: gtid.to_owned(), file: file.to_owned(), offset };
                            if !position.reaches(&place) {
                                break 'log;
                            }
                            until = seq.plus(1);
                        }
                        Entry::Change(_) | Entry::Schema { .. } => {}
                    }
                }
                next = block.end();
            }
        }
        Ok(Passed { until, position: position.clone(), direct: direct.clone() })
    }

    /// Whether a change of the main stream before `until` was not read at the source.
    pub fn lacks(&self, database: &str, table: &str) -> bool {
        self.direct.without.iter().any(|tables| tables.contains(database, table))
    }
}

fn malformed(seq: Seq) -> Error {
    Error::new(Kind::Corrupt, format!("the log's entry {seq} is not readable"))
}
