//! Where a route's changes come from: a shared log, or the source itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::mine::{Mine, MineState};
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, BlockBuilder, SchemaBook};
use crate::model::position::{Cursor, LogEpoch, Position, Seq};
use crate::model::spec::Start;
use crate::model::table::{TableSelection, TableSet};
use crate::source::{ChangeStream, Progress, Source};
use crate::store::Tail;

/// Size of the blocks that a direct feed makes.
const DIRECT_BYTES: usize = 256 << 10;

/// Where a feed comes from; made once for a route, and opened again after every failure.
#[derive(Clone)]
pub enum Origin {
    /// The log of a mine.
    Log(Arc<Mine>),
    /// The source, read for this route alone.
    Direct {
        /// The source.
        source: Arc<dyn Source>,
        /// The tables.
        tables: TableSet,
    },
}

/// A running feed: blocks in order from a cursor on.
pub enum Feed {
    /// From a log.
    Log(LogFeed),
    /// From the source.
    Direct(Box<DirectFeed>),
}

/// What a feed has next.
pub enum Next {
    /// More changes.
    Block(Arc<Block>),
    /// Nothing for now.
    Idle,
    /// Nothing any more: the source has an end, or the mine was told to drain, and all was read.
    End,
}

impl Origin {
    /// The cursor of a route that begins here for the first time.
    ///
    /// # Errors
    /// As [`Source::resolve`] and [`LogReader::find_time`](crate::store::LogReader::find_time); `Refused` for a start point
    /// that the origin cannot look up.
    pub async fn first_cursor(&self, start: Option<Start>) -> Result<Cursor> {
        match self {
            Origin::Log(mine) => {
                mine.dropped().await;
                let log = mine.log();
                let next = match start {
                    None | Some(Start::Earliest) => log.stat().horizon,
                    Some(Start::Now) => log.tail().next,
                    Some(Start::Time(time_ms)) => log.find_time(time_ms).await?,
                    Some(Start::Gtid(_) | Start::Position { .. }) => {
                        return Err(Error::new(
                            Kind::Refused,
                            "a pipeline that reads a log starts at `now`, `earliest` or a time",
                        )
                        .advice("give the GTID or position to `share_mining`, or leave shared mining out"));
                    }
                };
                let source = log.source_id().unwrap_or_default();
                Ok(Cursor { source, log: Some(log.epoch()), next, position: None, direct: None })
            }
            Origin::Direct { source, .. } => {
                let identity = source.identify().await?;
                let position = source.resolve(&start.unwrap_or_else(|| source.default_start())).await?;
                Ok(Cursor {
                    source: identity.id,
                    log: None,
                    next: Seq(0),
                    position: Some(position),
                    direct: None,
                })
            }
        }
    }

    /// Opens the feed behind `cursor`.
    ///
    /// # Errors
    /// `Gap` when the cursor belongs to another log or another source, or its place is no longer kept.
    pub async fn open(&self, cursor: &Cursor) -> Result<Feed> {
        match self {
            Origin::Log(mine) => {
                check_place(cursor, mine.log().epoch(), mine.log().tail().next)?;
                Ok(Feed::Log(LogFeed {
                    mine: Arc::clone(mine),
                    tail: mine.hub().tail(),
                    state: mine.state(),
                    next: cursor.next,
                    read: VecDeque::new(),
                }))
            }
            Origin::Direct { source, tables } => {
                let identity = source.identify().await?;
                let position = direct_position(cursor, &identity.id)?;
                let stream = source.open(position, TableSelection::of(tables.clone())).await?;
                // Numbers given here are not the log's, even if an earlier session read one.
                let place =
                    Cursor { source: identity.id, log: None, position: None, direct: None, ..cursor.clone() };
                Ok(Feed::Direct(Box::new(DirectFeed::new(stream, place, false))))
            }
        }
    }

    /// The mine, unless the source is read directly.
    pub fn mine(&self) -> Option<&Arc<Mine>> {
        match self {
            Origin::Log(mine) => Some(mine),
            Origin::Direct { .. } => None,
        }
    }
}

fn check_place(cursor: &Cursor, epoch: LogEpoch, tail: Seq) -> Result<()> {
    let reason = match cursor.log {
        Some(log) if log == epoch && cursor.next <= tail => return Ok(()),
        // Waiting for the log to grow so far again would leave out whatever comes before that.
        Some(log) if log == epoch => "the log ends before the cursor: it was put back to an older state",
        Some(_) => "the cursor belongs to a log that was deleted and made again",
        None => "the cursor was written by a pipeline that read its source directly",
    };
    Err(Error::new(Kind::Gap, format!("{reason}; what happened in between cannot be told"))
        .advice("fill the target anew and delete the pipeline's row in lode_cursor, or give the pipeline another name"))
}

fn direct_position<'a>(cursor: &'a Cursor, identity: &str) -> Result<&'a Position> {
    if !cursor.source.is_empty() && cursor.source != identity {
        return Err(Error::new(
            Kind::Gap,
            format!("the cursor belongs to another server ({}), and this one is {identity}", cursor.source),
        )
        .advice(
            "point the connection to the former server, or give the pipeline another name to begin anew",
        ));
    }
    if cursor.direct.as_ref().is_some_and(|direct| !direct.without.is_empty()) {
        return Err(Error::new(
            Kind::Gap,
            "the cursor was written by a pipeline that read a log in which some of its tables were paused",
        )
        .advice("read through shared mining again, or give the pipeline another name to begin anew"));
    }
    cursor.position.as_ref().ok_or_else(|| {
        Error::new(
            Kind::Gap,
            "the cursor was written by a pipeline that read a log, and has no source position yet",
        )
        .advice("read through shared mining again, or give the pipeline another name to begin anew")
    })
}

impl Feed {
    /// The next block, waiting up to `patience` for one. The first block may begin before the cursor.
    ///
    /// Not cancel-safe: poll it to its end.
    ///
    /// # Errors
    /// As [`LogReader::read`](crate::store::LogReader::read) and [`ChangeStream::fill`]; the feed must then be opened again.
    pub async fn next(&mut self, patience: Duration) -> Result<Next> {
        match self {
            Feed::Log(feed) => feed.next(patience).await,
            Feed::Direct(feed) => feed.next(patience).await,
        }
    }

    /// Whether the next call answers at once. False may be wrong for a moment.
    pub fn has_more(&self) -> bool {
        match self {
            Feed::Log(feed) => !feed.read.is_empty() || feed.next < feed.tail.borrow().next,
            Feed::Direct(feed) => feed.last == Progress::Full && feed.failed.is_none(),
        }
    }

    /// The schemas that are known before the first block.
    pub fn schemas(&self) -> SchemaBook {
        match self {
            Feed::Log(feed) => feed.mine.log().schemas(),
            Feed::Direct(feed) => feed.builder.book().clone(),
        }
    }

    /// The end of the log as it is now; `None` for a direct feed.
    pub fn tail(&self) -> Option<Seq> {
        match self {
            Feed::Log(feed) => Some(feed.tail.borrow().next),
            Feed::Direct(_) => None,
        }
    }

    /// The cursor of a place in this feed.
    pub fn cursor(&self, next: Seq, position: Position) -> Cursor {
        match self {
            Feed::Log(feed) => {
                let log = feed.mine.log();
                let (source, log) = (log.source_id().unwrap_or_default(), Some(log.epoch()));
                Cursor { source, log, next, position: Some(position), direct: None }
            }
            Feed::Direct(feed) => {
                let next = if feed.is_beside_log { feed.place.next } else { next };
                Cursor { next, position: Some(position), ..feed.place.clone() }
            }
        }
    }

    /// Whether the source is read though the route has a place in a log.
    pub fn is_beside_log(&self) -> bool {
        matches!(self, Feed::Direct(feed) if feed.is_beside_log)
    }
}

/// Reads a log: its newest blocks from memory, older ones from the store.
pub struct LogFeed {
    mine: Arc<Mine>,
    tail: watch::Receiver<Tail>,
    state: watch::Receiver<MineState>,
    next: Seq,
    read: VecDeque<Arc<Block>>,
}

impl LogFeed {
    async fn next(&mut self, patience: Duration) -> Result<Next> {
        loop {
            if let Some(block) = self.read.pop_front() {
                self.next = block.end();
                return Ok(Next::Block(block));
            }
            if self.next < self.tail.borrow_and_update().next {
                match self.mine.hub().get(self.next) {
                    Some(block) => self.read.push_back(block),
                    None => self.read.extend(self.mine.older(self.next).await?),
                }
                if self.read.is_empty() {
                    return Err(Error::new(
                        Kind::Corrupt,
                        format!("the log gave nothing for its entry {}", self.next),
                    ));
                }
                continue;
            }
            if matches!(*self.state.borrow_and_update(), MineState::Ended) {
                // The last blocks are published before the state says so.
                if self.next >= self.tail.borrow().next {
                    return Ok(Next::End);
                }
                continue;
            }
            tokio::select! {
                _ = self.tail.changed() => {}
                _ = self.state.changed() => {}
                () = tokio::time::sleep(patience) => return Ok(Next::Idle),
            }
        }
    }
}

/// Reads a source for one route alone.
pub struct DirectFeed {
    /// What its cursors have in common.
    place: Cursor,
    /// Whether they keep their place in a log.
    is_beside_log: bool,
    stream: Box<dyn ChangeStream>,
    builder: BlockBuilder,
    last: Progress,
    /// Why nothing more can be read; told after what was complete before it.
    failed: Option<Error>,
}

impl DirectFeed {
    fn new(stream: Box<dyn ChangeStream>, place: Cursor, is_beside_log: bool) -> DirectFeed {
        let builder = BlockBuilder::new(place.next, SchemaBook::default());
        DirectFeed { place, is_beside_log, stream, builder, last: Progress::Idle, failed: None }
    }

    /// A feed whose cursors keep the place in the log that `place` has.
    pub(super) fn beside_log(stream: Box<dyn ChangeStream>, place: Cursor) -> DirectFeed {
        DirectFeed::new(stream, place, true)
    }

    async fn next(&mut self, patience: Duration) -> Result<Next> {
        if self.last != Progress::End && self.failed.is_none() {
            match self.stream.fill(&mut self.builder, DIRECT_BYTES, patience).await {
                Ok(progress) => self.last = progress,
                Err(error) => self.failed = Some(error),
            }
        }
        let block = match self.builder.seal() {
            None if self.failed.is_none() && self.builder.len() >= DIRECT_BYTES => self.builder.seal_part(),
            block => block,
        };
        match (block, self.failed.take()) {
            (Some(block), failed) => {
                self.failed = failed;
                Ok(Next::Block(Arc::new(block)))
            }
            (None, Some(error)) => Err(error),
            (None, None) if self.last == Progress::End => Ok(Next::End),
            (None, None) => Ok(Next::Idle),
        }
    }
}
