//! Sending a pipeline back, or forward, to another place: what people say, as a cursor.

use std::sync::Arc;

use super::feed::Origin;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Entry};
use crate::model::position::{Cursor, Position, Seq};
use crate::model::spec::{Place, Start};
use crate::source::Source;
use crate::store::LogReader;

/// Bytes that are read at a time when a log is walked through.
const READ_BYTES: usize = 1 << 20;

impl Origin {
    /// The cursor of the place `to`: between two transactions, at or before what was asked for. Nothing is changed.
    ///
    /// # Errors
    /// `Gap` when the log or the source no longer has the place, with the oldest that is there. `Refused` for a place that
    /// has not come yet, or that cannot be looked up here. As the log and the source otherwise.
    pub async fn place(&self, to: &Place) -> Result<Cursor> {
        match self {
            Origin::Log(mine) => {
                // What is being dropped at this moment does not know yet that it is needed.
                mine.dropped().await;
                let log = mine.log().as_ref();
                let (next, position) = find(log, to).await?;
                let source = log.source_id().unwrap_or_default();
                Ok(Cursor { source, log: Some(log.epoch()), next, position, direct: None })
            }
            Origin::Direct { source, .. } => direct_place(source, to).await,
        }
    }
}

async fn direct_place(source: &Arc<dyn Source>, to: &Place) -> Result<Cursor> {
    let start = match to {
        Place::Start(start) => start,
        Place::Seq { seq } => {
            return Err(Error::new(
                Kind::Refused,
                format!("entry {seq} is a place in a log, and the pipeline reads its source directly"),
            )
            .advice("name a time, a GTID or a position of the source"));
        }
    };
    let identity = source.identify().await?;
    let position = source.resolve(start).await?;
    Ok(Cursor { source: identity.id, log: None, next: Seq(0), position: Some(position), direct: None })
}

/// The place in a log, between two transactions, with the source's position there where that was seen.
///
/// # Errors
/// `Gap` when the log no longer has it, `Refused` when it has not come yet. As the log otherwise.
pub async fn find(log: &dyn LogReader, to: &Place) -> Result<(Seq, Option<Position>)> {
    match to {
        Place::Start(Start::Earliest) => Ok((log.stat().horizon, None)),
        Place::Start(Start::Now) => {
            let tail = log.tail();
            Ok((tail.next, tail.commit.map(|commit| commit.position)))
        }
        Place::Start(Start::Time(time_ms)) => {
            let stat = log.stat();
            if stat.horizon_time_ms.is_some_and(|oldest| *time_ms < oldest) {
                return Err(gone(log, format!("nothing as old as {}", time(*time_ms))));
            }
            Ok((log.find_time(*time_ms).await?, None))
        }
        Place::Seq { seq } => find_entry(log, *seq).await,
        Place::Start(Start::Position { file, offset }) => {
            let wanted = Position { gtid: String::new(), file: file.clone(), offset: *offset };
            find_position(log, &wanted).await
        }
        Place::Start(Start::Gtid(gtid)) => find_gtid(log, gtid).await,
    }
}

/// The begin of the transaction that has entry `seq`.
async fn find_entry(log: &dyn LogReader, seq: Seq) -> Result<(Seq, Option<Position>)> {
    let (tail, horizon) = (log.tail(), log.stat().horizon);
    if seq > tail.next {
        return Err(not_yet(log, format!("entry {seq}")));
    }
    if seq == tail.next {
        return Ok((seq, tail.commit.map(|commit| commit.position)));
    }
    if seq < horizon {
        return Err(gone(log, format!("entry {seq} no longer")));
    }
    let mut before = seq;
    while before > horizon {
        let block = block_with(log, Seq(before.0 - 1)).await?;
        if let Some((next, position)) = last_commit(&block, |at, _| at < seq)? {
            return Ok((next, Some(position)));
        }
        before = block.first;
    }
    // The log begins at the begin of a transaction.
    Ok((horizon, None))
}

/// The place behind the last commit that lies at or before `wanted`. Positions grow with the entries, so that halving
/// finds it.
async fn find_position(log: &dyn LogReader, wanted: &Position) -> Result<(Seq, Option<Position>)> {
    let (tail, horizon) = (log.tail(), log.stat().horizon);
    let Some(last) = &tail.commit else { return Err(not_yet(log, format!("position {wanted}"))) };
    if !last.position.reaches(wanted) && !wanted.reaches(&last.position) {
        return Err(Error::new(
            Kind::Refused,
            format!("{wanted} is no place in the source's log, which is at {}", last.position),
        ));
    }
    if !last.position.reaches(wanted) {
        return Err(not_yet(log, format!("position {wanted}")));
    }
    // The commits before entry `low` lie at or before the wanted place, the first one at or behind `high` does not.
    let (mut low, mut high, mut found) = (horizon, tail.next, None);
    while low < high {
        let middle = Seq(low.0 + (high.0 - low.0) / 2);
        let Some(block) = block_with_commit(log, middle, high).await? else {
            // What is left behind the middle is a part of one transaction, whose end is known to lie too far.
            high = block_with(log, middle).await?.first;
            continue;
        };
        match last_commit(&block, |_, position| wanted.reaches(position))? {
            Some((next, position)) => {
                low = block.end();
                let is_whole = next == block.end();
                found = Some((next, Some(position)));
                if !is_whole {
                    break;
                }
            }
            None => high = middle.min(block.first),
        }
    }
    found.ok_or_else(|| gone(log, format!("nothing before {wanted}")))
}

/// The place behind the commit with exactly this GTID text.
async fn find_gtid(log: &dyn LogReader, wanted: &str) -> Result<(Seq, Option<Position>)> {
    let (mut next, tail) = (log.stat().horizon, log.tail().next);
    while next < tail {
        let blocks = log.read(next, READ_BYTES).await?;
        for block in &blocks {
            next = block.end();
            if let Some((next, position)) = last_commit(block, |_, position| position.gtid == wanted)? {
                return Ok((next, Some(position)));
            }
        }
        if blocks.is_empty() {
            break;
        }
    }
    Err(gone(log, format!("no transaction that ends at GTID {wanted}")))
}

/// The block with entry `seq`.
async fn block_with(log: &dyn LogReader, seq: Seq) -> Result<Arc<Block>> {
    let blocks = log.read(seq, 1).await?;
    blocks
        .into_iter()
        .next()
        .ok_or_else(|| Error::new(Kind::Corrupt, format!("the log gave nothing for its entry {seq}")))
}

/// The first block with a commit from the one with `from` on, when it begins before `end`.
async fn block_with_commit(log: &dyn LogReader, from: Seq, end: Seq) -> Result<Option<Arc<Block>>> {
    let mut next = from;
    while next < end {
        let block = block_with(log, next).await?;
        if block.commit.is_some() {
            return Ok(Some(block));
        }
        next = block.end();
    }
    Ok(None)
}

/// The entry behind the last commit of a block that `counts`, and its position.
fn last_commit(block: &Block, counts: impl Fn(Seq, &Position) -> bool) -> Result<Option<(Seq, Position)>> {
    let mut last = None;
    for entry in block.entries() {
        let malformed =
            || Error::new(Kind::Corrupt, format!("the log's block {} is not readable", block.first));
        if let (seq, Entry::Commit { offset, file, gtid, .. }) = entry.map_err(|_| malformed())? {
            let position = Position { gtid: gtid.to_owned(), file: file.to_owned(), offset };
            if counts(seq, &position) {
                last = Some((seq.plus(1), position));
            }
        }
    }
    Ok(last)
}

fn gone(log: &dyn LogReader, what: String) -> Error {
    let stat = log.stat();
    let since = stat.horizon_time_ms.map_or(String::new(), |oldest| format!(", of {}", time(oldest)));
    Error::new(Kind::Gap, format!("the log has {what}: it begins with entry {}{since}", stat.horizon)).advice(
        "rewind to a place that the log still has, or fill the target anew; `retention` says how long changes are kept",
    )
}

fn not_yet(log: &dyn LogReader, what: String) -> Error {
    let tail = log.tail();
    let at = tail.commit.map_or(String::new(), |commit| format!(", at {}", commit.position));
    Error::new(Kind::Refused, format!("the log has no {what} yet: it ends before entry {}{at}", tail.next))
        .advice("`now` goes to the end of the log")
}

fn time(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map_or_else(|_| format!("{time_ms} ms"), |time| time.to_string())
}
