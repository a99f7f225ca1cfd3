//! What readers see of a log, and how they find it. The process that writes the log and those that follow it
//! have the same view; they differ in how it grows.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::folder::{Meta, corrupt};
use super::frame::{Decoder, HEADER_LEN, Header, file_checksum, position_checksum};
use super::segment::{Fault, Frames, Segment};
use crate::error::{Error, Kind, Result};
use crate::model::block::Block;
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::content::{Knowledge, position_in, time_in};
use crate::store::{LogStat, Tail, gap};

/// So many full segments have their index in memory: about 48 KiB each.
const LOADED_SEGMENTS: usize = 64;

/// Limits of how much a reader takes from a file at once.
const READ_CHUNK: std::ops::RangeInclusive<usize> = (64 << 10)..=(512 << 10);

/// A log as readers see it.
pub(super) struct View {
    /// Where it lies.
    pub folder: PathBuf,
    /// Which life of the log this is.
    pub epoch: LogEpoch,
    /// Whether another process may write the log: then old segments go without a word.
    follows: bool,
    /// Never held while a file is read or written.
    state: RwLock<State>,
    decoder: Decoder,
    /// The full segments whose index is in memory, the one loaded last at the end.
    loaded: Mutex<VecDeque<Arc<Segment>>>,
    /// The tail's `next`, for those who wait.
    next: watch::Sender<Seq>,
}

/// What belongs together, and changes together.
#[derive(Clone)]
pub(super) struct State {
    /// The log's description.
    pub meta: Meta,
    /// All segments, in order. The last one may hold more than what lies before the tail.
    pub segments: Arc<Vec<Arc<Segment>>>,
    /// The end.
    pub tail: Tail,
    /// What was noted before the tail.
    pub knowledge: Knowledge,
}

impl State {
    fn horizon(&self) -> Seq {
        self.segments.first().map_or(self.tail.next, |segment| segment.first)
    }
}

impl View {
    /// The view of the process that writes the log, and tells every change of it.
    pub fn own(folder: PathBuf, state: State) -> View {
        View::new(folder, state, false)
    }

    /// The view of a log that another process may write.
    pub fn following(folder: PathBuf, state: State) -> View {
        View::new(folder, state, true)
    }

    fn new(folder: PathBuf, state: State, follows: bool) -> View {
        View {
            folder,
            epoch: state.meta.epoch,
            follows,
            next: watch::Sender::new(state.tail.next),
            state: RwLock::new(state),
            decoder: Decoder::default(),
            loaded: Mutex::default(),
        }
    }

    /// What is visible now.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is visible. Whoever waits is told by [`wake`](Self::wake).
    pub fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for the tail to move.
    pub fn wake(&self) {
        let tail = self.state().tail.next;
        self.next.send_if_modified(|next| std::mem::replace(next, tail) != tail);
    }

    /// Waits until the tail lies behind `after`.
    pub async fn wait(&self, after: Seq) -> Tail {
        // The sender lives as long as the view, so this ends with the wait.
        let _ = self.next.subscribe().wait_for(|next| *next > after).await;
        self.state().tail.clone()
    }

    /// The oldest entry.
    pub fn horizon(&self) -> Seq {
        self.state().horizon()
    }

    /// As [`LogReader::stat`](crate::store::LogReader::stat).
    pub fn stat(&self) -> LogStat {
        let state = self.state();
        let mut stat =
            LogStat { horizon: state.horizon(), segments: state.segments.len() as u64, ..LogStat::default() };
        for segment in state.segments.iter() {
            segment.summary_with(|summary| {
                stat.horizon_time_ms.get_or_insert(summary.first_time_ms);
                stat.stored_bytes += summary.bytes;
                stat.payload_bytes += summary.payload_bytes;
            });
        }
        if state.horizon() == state.tail.next {
            stat.horizon_time_ms = None;
        }
        stat
    }

    /// As [`LogReader::read`](crate::store::LogReader::read).
    pub fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        let (segments, next) = {
            let state = self.state();
            if from < state.horizon() || from > state.tail.next {
                return Err(gap(from, state.horizon(), state.tail.next));
            }
            (Arc::clone(&state.segments), state.tail.next)
        };
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        let mut bytes = 0;
        let mut wanted = from;
        let first = segments.partition_point(|segment| segment.first <= from).saturating_sub(1);
        let chunk = max_bytes.clamp(*READ_CHUNK.start(), *READ_CHUNK.end());
        for (at, segment) in segments.iter().enumerate().skip(first) {
            if wanted >= next || (bytes >= max_bytes && !blocks.is_empty()) {
                break;
            }
            let read = segment.frames_from(wanted, self.epoch, chunk).and_then(|mut frames| {
                while let Some((offset, header)) = frames.next()? {
                    if header.end() <= wanted {
                        continue;
                    }
                    if header.first >= next || (bytes >= max_bytes && !blocks.is_empty()) {
                        break;
                    }
                    if header.first > wanted {
                        return Err(Fault::Damaged { offset, why: "the blocks before this one are missing" });
                    }
                    let block = self.block(&mut frames, offset, &header)?;
                    bytes += block.payload.len();
                    wanted = block.end();
                    blocks.push(Arc::new(block));
                }
                Ok(())
            });
            match read {
                Ok(()) => {}
                // What was read before is right all the same; the next call tells why there is no more.
                Err(_) if !blocks.is_empty() => return Ok(blocks),
                Err(fault) if fault.is_missing() && self.was_dropped(from) => {
                    let state = self.state();
                    return Err(gap(from, state.horizon(), state.tail.next));
                }
                Err(fault) => return Err(fault.into_error(&segment.path)),
            }
            if at + 1 < segments.len() {
                self.note_loaded(segment);
            }
        }
        if blocks.is_empty() && wanted < next {
            let (path, offset) = segments.last().map_or((self.folder.clone(), 0), |segment| {
                (segment.path.clone(), segment.summary_with(|summary| summary.bytes))
            });
            return Err(corrupt(&path, offset, "transactions are missing that were acknowledged"));
        }
        Ok(blocks)
    }

    /// As [`LogReader::find_position`](crate::store::LogReader::find_position).
    pub fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        let (segments, next) = self.whole();
        let (position_crc, file_crc) = (position_checksum(position), file_checksum(&position.file));
        // Whoever looks for a position mostly looks for a late one.
        for segment in segments.iter().rev() {
            if !segment.summary_with(|summary| summary.has_commit && summary.may_commit_in(file_crc)) {
                continue;
            }
            let found = self.in_segment(segment, |frames| {
                let mut candidates = Vec::new();
                while let Some((offset, header)) = frames.next()? {
                    if header.first >= next {
                        break;
                    }
                    if header.has_commit && header.position_crc == position_crc {
                        let block = self.block(frames, offset, &header)?;
                        if block.commit.as_ref().is_some_and(|commit| commit.position == *position) {
                            return Ok(Some(block.end()));
                        }
                    }
                    if header.may_commit_in(file_crc) {
                        candidates.push((offset, header));
                    }
                }
                for (offset, header) in candidates.iter().rev() {
                    let block = self.block(frames, *offset, header)?;
                    if let Some(seq) = position_in(&block, position).map_err(|_| malformed(*offset))? {
                        return Ok(Some(seq));
                    }
                }
                Ok(None)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// As [`LogReader::find_time`](crate::store::LogReader::find_time).
    pub fn find_time(&self, time_ms: i64) -> Result<Seq> {
        let (segments, next) = self.whole();
        // A server's clock may be set back, so times are not sorted. The latest time up to some entry is, and the
        // first transaction at or after `time_ms` is where that reaches it.
        for segment in segments.iter() {
            let found = match segment.frames_at(time_ms, self.epoch) {
                Ok(None) => continue,
                Ok(Some(mut frames)) => (|| {
                    while let Some((offset, header)) = frames.next()? {
                        if header.latest_commit_ms >= time_ms {
                            let block = self.block(&mut frames, offset, &header)?;
                            return time_in(&block, header.transaction, time_ms)
                                .map_err(|_| malformed(offset));
                        }
                    }
                    Ok(None)
                })(),
                Err(fault) => Err(fault),
            };
            match found {
                Ok(Some(seq)) => return Ok(seq.min(next)),
                Ok(None) => {}
                Err(fault) if fault.is_missing() && self.was_dropped(segment.first) => {}
                Err(fault) => return Err(fault.into_error(&segment.path)),
            }
        }
        Ok(next)
    }

    /// The segments and the tail.
    pub fn whole(&self) -> (Arc<Vec<Arc<Segment>>>, Seq) {
        let state = self.state();
        (Arc::clone(&state.segments), state.tail.next)
    }

    /// Reads the block of a frame.
    pub fn block(&self, frames: &mut Frames, offset: u64, header: &Header) -> Result<Block, Fault> {
        let body = frames.body(offset, header)?;
        self.decoder.block(header, body).map_err(|why| Fault::Damaged { offset, why })
    }

    /// Notes that the index of a full segment is in memory, and forgets that of another one when they are many.
    pub fn note_loaded(&self, segment: &Arc<Segment>) {
        let mut loaded = self.loaded();
        if !loaded.iter().any(|known| Arc::ptr_eq(known, segment)) {
            loaded.push_back(Arc::clone(segment));
        }
        if loaded.len() > LOADED_SEGMENTS
            && let Some(oldest) = loaded.pop_front()
        {
            oldest.unload();
        }
    }

    /// Forgets segments that were dropped.
    pub fn forget_loaded(&self, dropped: &[Arc<Segment>]) {
        self.loaded().retain(|loaded| !dropped.iter().any(|dropped| Arc::ptr_eq(dropped, loaded)));
    }

    /// Looks through all frames of a segment; `None` when retention dropped it.
    fn in_segment<T>(
        &self,
        segment: &Segment,
        look: impl FnOnce(&mut Frames) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>> {
        let found = segment
            .frames_from(segment.first, self.epoch, HEADER_LEN)
            .and_then(|mut frames| look(&mut frames));
        match found {
            Err(fault) if fault.is_missing() && self.was_dropped(segment.first) => Ok(None),
            found => found.map_err(|fault| fault.into_error(&segment.path)),
        }
    }

    /// Whether retention dropped the entry `seq`, which was visible when the caller looked.
    fn was_dropped(&self, seq: Seq) -> bool {
        if self.follows {
            let mut state = self.change();
            let gone = state.segments.iter().take_while(|segment| !segment.path.exists()).count();
            Arc::make_mut(&mut state.segments).drain(..gone);
        }
        seq < self.horizon()
    }

    fn loaded(&self) -> MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what waits for a disk where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(Kind::Internal, "the log's worker broke off").caused_by(error))
    })
}

fn malformed(offset: u64) -> Fault {
    Fault::Damaged { offset, why: "a block's checksum fits, but its entries are malformed" }
}
