//! What readers see of a log, and how they find it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::FindOptions;

use super::collections::Collections;
use super::document::{Packed, part_id};
use super::head::{Head, Horizon};
use super::readable;
use crate::client::mongodb::answer;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Malformed};
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::content::{Knowledge, Note, position_in, time_in};
use crate::store::{LogStat, gap};

/// Largest number of blocks that one query brings.
const BLOCKS_MAX: u64 = 512;
/// So many places are remembered where readers stopped.
const STOPS_MAX: usize = 64;
/// What a block is taken to hold before any was read, in bytes.
const FIRST_GUESS: u64 = 64 << 10;

/// A log as readers see it; the writer moves its end.
#[derive(Debug)]
pub(super) struct View {
    pub place: Collections,
    pub epoch: LogEpoch,
    /// Never held while the server is asked.
    state: RwLock<State>,
    /// About how many bytes of payload a block has here, to ask for about as many blocks as are wanted.
    block_bytes: AtomicU64,
    /// Where readers stopped: the entry, and the number of the block that begins with it. Who goes on there needs no look-up.
    stops: Mutex<VecDeque<(Seq, u64)>>,
}

/// What readers see; all parts belong together.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub head: Head,
    /// Everything noted before the tail.
    pub knowledge: Knowledge,
    /// Time of the horizon's first change.
    pub horizon_time_ms: Option<i64>,
}

impl View {
    pub fn new(place: Collections, state: State) -> View {
        let epoch = state.head.epoch;
        let block_bytes = AtomicU64::new(FIRST_GUESS);
        View { place, epoch, state: RwLock::new(state), block_bytes, stops: Mutex::default() }
    }

    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers another state, unless a newer one is shown already.
    pub fn show(&self, head: Head, notes: &[Note], horizon_time_ms: Option<i64>) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if head.tail.next < state.head.tail.next {
            return Ok(());
        }
        for note in notes {
            let learned = state.knowledge.learn(note);
            learned.map_err(|Malformed| {
                Error::new(Kind::Corrupt, "the notes of the log contradict each other")
            })?;
        }
        let horizon = state.head.horizon;
        state.head = head;
        // Retention moves the horizon on its own.
        if horizon.block > state.head.horizon.block {
            state.head.horizon = horizon;
        } else if horizon_time_ms.is_some() {
            state.horizon_time_ms = horizon_time_ms;
        }
        Ok(())
    }

    /// Shows readers that the log begins later.
    pub fn show_horizon(&self, horizon: Horizon, time_ms: Option<i64>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.head.horizon = horizon;
        state.horizon_time_ms = time_ms;
    }

    /// See [`LogReader::read`](crate::store::LogReader::read).
    pub async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        let (horizon, blocks, next) = {
            let state = self.state();
            (state.head.horizon, state.head.blocks, state.head.tail.next)
        };
        if from < horizon.first || from > next {
            return Err(gap(from, horizon.first, next));
        }
        let mut read: Vec<Arc<Block>> = Vec::new();
        let (mut wanted, mut bytes) = (from, 0);
        let mut number = if from < next { self.number_of(from).await? } else { None };
        while wanted < next && (bytes < max_bytes || read.is_empty()) {
            let each = self.block_bytes.load(Ordering::Relaxed).max(1);
            let count = ((max_bytes - bytes.min(max_bytes)) as u64 / each + 1).min(BLOCKS_MAX);
            let filter = doc! {
                "last": { "$gte": wanted.0 as i64 },
                "_id": { "$gte": horizon.block as i64, "$lt": blocks as i64 },
            };
            let found =
                self.find(filter, doc! { "last": 1 }, count, max_bytes - bytes.min(max_bytes)).await?;
            let unpacked = self.unpack(found, wanted).await;
            let (some, fault) = match unpacked {
                Ok(some) => (some, None),
                Err((some, error)) => (some, Some(error)),
            };
            let got = some.len();
            let before = wanted;
            for block in some {
                if !read.is_empty() && bytes >= max_bytes {
                    break;
                }
                bytes += block.payload.len();
                wanted = block.end();
                number = number.map(|number| number + 1);
                read.push(Arc::new(block));
            }
            if got > 0 {
                let each = bytes / read.len();
                self.block_bytes.store(each as u64, Ordering::Relaxed);
            }
            if wanted > before && fault.is_none() {
                continue;
            }
            // What was read before the damage is right all the same.
            if !read.is_empty() {
                break;
            }
            return Err(self.why_missing(from, fault).await);
        }
        if let Some(number) = number {
            let mut stops = self.stops();
            stops.retain(|stop| stop.0 != wanted);
            stops.push_back((wanted, number));
            if stops.len() > STOPS_MAX {
                stops.pop_front();
            }
        }
        Ok(read)
    }

    /// The number of the block that contains an entry; `None` when it is not there.
    async fn number_of(&self, seq: Seq) -> Result<Option<u64>> {
        let horizon = self.state().head.horizon;
        if seq == horizon.first {
            return Ok(Some(horizon.block));
        }
        let stop = self.stops().iter().find(|stop| stop.0 == seq).map(|stop| stop.1);
        if stop.is_some() {
            return Ok(stop);
        }
        let mut filter = self.visible();
        filter.insert("last", doc! { "$gte": seq.0 as i64 });
        let find = self.place.blocks.find_one(filter).sort(doc! { "last": 1 }).projection(doc! { "_id": 1 });
        let found = answer("cannot look through the log", find).await?;
        Ok(found.and_then(|document| document.get_i64("_id").ok()).map(|number| number as u64))
    }

    fn stops(&self) -> MutexGuard<'_, VecDeque<(Seq, u64)>> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block was not where it should be: retention may have come first.
    async fn why_missing(&self, from: Seq, fault: Option<Error>) -> Error {
        match Head::load(&self.place).await {
            Ok(Some(head)) if head.epoch == self.epoch && from < head.horizon.first => {
                gap(from, head.horizon.first, head.tail.next)
            }
            Ok(Some(head)) if head.epoch == self.epoch => {
                fault.unwrap_or_else(|| self.damaged("the block with its entry is missing", from))
            }
            Ok(head) => crate::store::log_is_gone(head.is_some()),
            Err(error) => error,
        }
    }

    fn damaged(&self, why: &str, at: Seq) -> Error {
        let what = format!("collection {} is damaged at entry {at}: {why}", self.place.name());
        Error::new(Kind::Corrupt, what)
            .advice("restore the collection from a backup; whatever lies before that entry can still be read")
    }

    /// Holds what the head says against the blocks.
    ///
    /// # Errors
    /// `Gap` when blocks are gone that the head counts; `Corrupt` when they are others.
    pub async fn check_ends(&self) -> Result<()> {
        let head = self.state().head.clone();
        if head.horizon.block == head.blocks {
            return Ok(());
        }
        for number in [head.horizon.block, head.blocks - 1] {
            let found = self.find(doc! { "_id": number as i64 }, doc! { "_id": 1 }, 1, 0).await?;
            let packed = found.into_iter().next().ok_or_else(|| self.blocks_are_gone())?;
            let (first, end) = (packed.first(), packed.end());
            if (number == head.horizon.block && first != head.horizon.first)
                || (number == head.blocks - 1 && end != head.tail.next)
            {
                return Err(self.damaged("the block does not fit what the head of the log says", first));
            }
            self.unpack_one(packed).await?;
        }
        let time_ms = self.horizon_time(&head).await?;
        self.show_horizon(head.horizon, time_ms);
        Ok(())
    }

    /// Time of the first change at the horizon of `head`; `None` where that is known already, or there is none.
    pub async fn horizon_time(&self, head: &Head) -> Result<Option<i64>> {
        let known = {
            let state = self.state();
            state.head.horizon.block == head.horizon.block && state.horizon_time_ms.is_some()
        };
        if known || head.horizon.block == head.blocks {
            return Ok(None);
        }
        let find = self.place.blocks.find_one(doc! { "_id": head.horizon.block as i64 });
        let found = answer("cannot read the log", find.projection(doc! { "first_time": 1 })).await?;
        let time = found.and_then(|document| document.get_datetime("first_time").ok());
        Ok(time.map(|time| time.timestamp_millis()))
    }

    /// Somebody has dropped the collection, or deleted from it.
    pub fn blocks_are_gone(&self) -> Error {
        let (blocks, state) = (self.place.name(), self.place.state.name());
        Error::new(
            Kind::Gap,
            format!("blocks are gone that the log counts: collection {blocks} was dropped or deleted from"),
        )
        .advice(format!(
            "restore it; or drop {blocks} and {state}, start lode again for a new log, and fill the targets anew"
        ))
    }

    /// See [`LogReader::find_position`](crate::store::LogReader::find_position).
    pub async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        let offset = position.offset as i64;
        let place = doc! { "file": &position.file, "from": { "$lte": offset }, "to": { "$gte": offset } };
        let mut below = self.state().head.blocks;
        // A file's name and its offsets come again when the source was reset; whoever looks for a position mostly looks
        // for a late one.
        loop {
            let mut filter = self.visible();
            filter
                .insert("_id", doc! { "$gte": self.state().head.horizon.block as i64, "$lt": below as i64 });
            filter.insert("commits", doc! { "$elemMatch": place.clone() });
            let found = self.find(filter, doc! { "_id": -1 }, 1, 0).await?;
            let Some(packed) = found.into_iter().next() else { return Ok(None) };
            below = packed.number;
            let block = self.unpack_one(packed).await?;
            if let Some(seq) = position_in(&block, position).map_err(|Malformed| self.malformed(&block))? {
                return Ok(Some(seq));
            }
        }
    }

    /// See [`LogReader::find_time`](crate::store::LogReader::find_time).
    pub async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        let next = self.state().head.tail.next;
        // A server's clock may be set back, so times are not sorted. The latest time up to some block is, and the first
        // transaction at or after `time_ms` is where that reaches it.
        let time = DateTime::from_millis(time_ms);
        let mut filter = self.visible();
        filter.insert("time", doc! { "$gte": time });
        filter.insert("latest_commit", doc! { "$gte": time });
        let found = self.find(filter, doc! { "time": 1, "_id": 1 }, 1, 0).await?;
        let Some(packed) = found.into_iter().next() else { return Ok(next) };
        let transaction = packed.transaction;
        let block = self.unpack_one(packed).await?;
        let found = time_in(&block, transaction, time_ms).map_err(|Malformed| self.malformed(&block))?;
        Ok(found.unwrap_or(next).min(next))
    }

    /// See [`LogReader::stat`](crate::store::LogReader::stat).
    pub fn stat(&self) -> LogStat {
        let state = self.state();
        let Head { horizon, written, blocks, .. } = &state.head;
        LogStat {
            horizon: horizon.first,
            horizon_time_ms: if horizon.block < *blocks { state.horizon_time_ms } else { None },
            stored_bytes: written.stored.saturating_sub(horizon.before.stored),
            payload_bytes: written.payload.saturating_sub(horizon.before.payload),
            segments: blocks.saturating_sub(horizon.block),
        }
    }

    /// What fits the blocks that readers see.
    pub fn visible(&self) -> Document {
        let state = self.state();
        doc! { "_id": { "$gte": state.head.horizon.block as i64, "$lt": state.head.blocks as i64 } }
    }

    /// Blocks in the order of `sort`, without what is for people: `count` of them, or fewer when these hold `max_bytes` of
    /// payload; at least one where there is one.
    async fn find(
        &self,
        filter: Document,
        sort: Document,
        count: u64,
        max_bytes: usize,
    ) -> Result<Vec<Packed>> {
        let options = FindOptions::builder()
            .sort(sort)
            .limit(count as i64)
            .projection(doc! { "changes": 0, "tables": 0, "commits": 0 })
            .build();
        let doing = "cannot read the log";
        let mut cursor = answer(doing, self.place.blocks.find(filter).with_options(options)).await?;
        let (mut packed, mut bytes) = (Vec::new(), 0);
        while (packed.is_empty() || bytes < max_bytes)
            && let Some(document) = answer(doing, cursor.try_next()).await?
        {
            let mut one =
                Packed::read(&document).map_err(|why| self.damaged(why, self.state().head.horizon.first))?;
            self.join_parts(&mut one).await?;
            bytes += one.payload_bytes;
            packed.push(one);
        }
        Ok(packed)
    }

    /// As [`LogReader::misshown`](crate::store::LogReader::misshown).
    pub async fn misshown(&self, blocks: &[Arc<Block>]) -> Result<Option<Seq>> {
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(None) };
        let mut filter = self.visible();
        filter.insert("first", doc! { "$gte": first.first.0 as i64, "$lte": last.first.0 as i64 });
        let find = self.place.blocks.find(filter).sort(doc! { "_id": 1 });
        let find = find.projection(doc! { "first": 1, "changes": 1, "unshown": 1 });
        let doing = "cannot read the log";
        let mut shown = answer(doing, async { find.await }).await?;
        let schemas = self.state().knowledge.schemas.clone();
        for block in blocks {
            let is_next = answer(doing, shown.advance()).await?;
            if !is_next || !readable::shows(shown.current(), block, &schemas) {
                return Ok(Some(block.first));
            }
        }
        Ok(None)
    }

    /// Fetches the rest of a block that has more bytes than one document takes.
    async fn join_parts(&self, packed: &mut Packed) -> Result<()> {
        for part in 1..packed.parts {
            let found = self.place.blocks.find_one(doc! { "_id": part_id(packed.number, part) });
            let found = answer("cannot read the log", found).await?;
            let found = found.ok_or("a part of the block is missing");
            found
                .and_then(|document| packed.join(&document))
                .map_err(|why| self.damaged(why, packed.first()))?;
        }
        Ok(())
    }

    /// The blocks, the first of which must contain `wanted`, up to the first fault.
    async fn unpack(&self, found: Vec<Packed>, wanted: Seq) -> Result<Vec<Block>, (Vec<Block>, Error)> {
        let epoch = self.epoch;
        let unpacked = tokio::task::spawn_blocking(move || {
            let mut blocks: Vec<Block> = Vec::with_capacity(found.len());
            for packed in found {
                let (first, end) = (packed.first(), packed.end());
                let follows = match blocks.last() {
                    Some(before) => before.end() == first,
                    None => first <= wanted && wanted < end,
                };
                if !follows {
                    return (blocks, Some(("the block before this entry is missing", first)));
                }
                match packed.unpack(epoch) {
                    Ok(block) => blocks.push(block),
                    Err(why) => return (blocks, Some((why, first))),
                }
            }
            (blocks, None)
        });
        match unpacked.await {
            Ok((blocks, None)) => Ok(blocks),
            Ok((blocks, Some((why, at)))) => Err((blocks, self.damaged(why, at))),
            Err(panic) => {
                Err((Vec::new(), Error::new(Kind::Internal, "the log's reader broke off").caused_by(panic)))
            }
        }
    }

    /// A block that was found by something else than its number.
    pub async fn unpack_one(&self, packed: Packed) -> Result<Block> {
        let first = packed.first();
        let mut blocks = self.unpack(vec![packed], first).await.map_err(|(_, error)| error)?;
        blocks.pop().ok_or_else(|| self.damaged("the block is missing", first))
    }

    pub fn malformed(&self, block: &Block) -> Error {
        self.damaged("a block's checksum fits, but its entries are malformed", block.first)
    }
}

/// The head says that the log ends before a place that it had reached.
pub(super) fn put_back() -> Error {
    Error::new(Kind::Gap, "the log was put back to an older state while it was open")
        .advice("start lode again, and fill the targets anew that have seen more than the log has now")
}
