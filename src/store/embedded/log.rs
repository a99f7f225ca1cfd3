//! An open log: what readers see, and how they find it.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::Options;
use super::folder::{Lock, Meta, corrupt, failed, lock, read_meta, sync_folder, write_meta};
use super::frame::{Decoder, HEADER_LEN, Header, file_checksum, position_checksum};
use super::recovery::recover;
use super::segment::{Fault, Frames, Segment, Summary, segment_first};
use super::writer::Writer;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, SchemaBook};
use crate::model::position::{LogEpoch, Position, Seq};
use crate::model::table::TableSelection;
use crate::store::content::{Knowledge, position_in, time_in};
use crate::store::{Log, LogStat, Retained, Retention, Tail, gap};

/// So many full segments have their index in memory: about 48 KiB each.
const LOADED_SEGMENTS: usize = 64;

/// Limits of how much a reader takes from a file at once.
const READ_CHUNK: std::ops::RangeInclusive<usize> = (64 << 10)..=(512 << 10);

/// See [`Embedded`](super::Embedded).
pub(super) struct EmbeddedLog {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    epoch: LogEpoch,
    options: Options,
    /// Never held while a file is read or written.
    state: RwLock<State>,
    writer: Mutex<Writer>,
    retaining: Mutex<()>,
    decoder: Decoder,
    /// The full segments whose index is in memory, the one loaded last at the end.
    loaded: Mutex<VecDeque<Arc<Segment>>>,
    _lock: Lock,
}

/// What readers see.
struct State {
    meta: Meta,
    segments: Arc<Vec<Arc<Segment>>>,
    tail: Tail,
    knowledge: Knowledge,
}

/// Runs what waits for a disk where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(Kind::Internal, "the log's worker broke off").caused_by(error))
    })
}

impl EmbeddedLog {
    /// Opens the log in `folder`, making it when it is not there.
    pub fn open(folder: PathBuf, options: &Options) -> Result<Self> {
        let made = !folder.exists();
        fs::create_dir_all(&folder).map_err(|error| failed("make", &folder, error))?;
        let lock = lock(&folder)?;
        let meta = match read_meta(&folder)? {
            Some(meta) => meta,
            None => {
                if holds_segments(&folder)? {
                    return Err(corrupt(&folder.join("meta"), 0, "it is missing, but the log has segments"));
                }
                let meta = Meta::new();
                write_meta(&folder, &meta)?;
                meta
            }
        };
        if made && let Some(parent) = folder.parent() {
            sync_folder(parent)?;
        }
        let epoch = meta.epoch;
        let recovered = recover(&folder, epoch)?;
        let state = State {
            meta,
            segments: Arc::new(recovered.segments.clone()),
            tail: recovered.tail.clone(),
            knowledge: recovered.knowledge.clone(),
        };
        let writer = Writer::new(folder.clone(), epoch, options, recovered)?;
        let shared = Shared {
            folder,
            epoch,
            options: options.clone(),
            state: RwLock::new(state),
            writer: Mutex::new(writer),
            retaining: Mutex::new(()),
            decoder: Decoder::default(),
            loaded: Mutex::new(VecDeque::new()),
            _lock: lock,
        };
        Ok(EmbeddedLog { shared: Arc::new(shared) })
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn epoch(&self) -> LogEpoch {
        self.shared.epoch
    }

    fn source_id(&self) -> Option<String> {
        self.shared.state().meta.source.clone()
    }

    async fn bind_source(&self, id: &str) -> Result<()> {
        let (shared, id) = (Arc::clone(&self.shared), id.to_owned());
        blocking(move || shared.bind_source(id)).await
    }

    fn tail(&self) -> Tail {
        self.shared.state().tail.clone()
    }

    fn schemas(&self) -> SchemaBook {
        self.shared.state().knowledge.schemas.clone()
    }

    fn coverage(&self) -> TableSelection {
        self.shared.state().knowledge.coverage.clone()
    }

    async fn append(&self, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.append(&blocks)).await
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.read(from, max_bytes)).await
    }

    async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        let (shared, position) = (Arc::clone(&self.shared), position.clone());
        blocking(move || shared.find_position(&position)).await
    }

    async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.find_time(time_ms)).await
    }

    async fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        let (shared, policy) = (Arc::clone(&self.shared), policy.clone());
        blocking(move || shared.retain(&policy, hold)).await
    }

    fn stat(&self) -> LogStat {
        let state = self.shared.state();
        let mut stat = LogStat { horizon: state.horizon(), ..LogStat::default() };
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
}

impl State {
    fn horizon(&self) -> Seq {
        self.segments.first().map_or(self.tail.next, |segment| segment.first)
    }
}

impl Shared {
    fn bind_source(&self, id: String) -> Result<()> {
        // The writer's lock keeps two callers from binding at once.
        let _writer = self.writer()?;
        let mut meta = self.state().meta.clone();
        match &meta.source {
            Some(source) if *source == id => return Ok(()),
            Some(_) => {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "the log in folder {} holds the changes of another source",
                        self.folder.display()
                    ),
                )
                .advice("mine into a log with another name"));
            }
            None => meta.source = Some(id),
        }
        write_meta(&self.folder, &meta)?;
        self.state.write().unwrap_or_else(PoisonError::into_inner).meta = meta;
        Ok(())
    }

    fn append(&self, blocks: &[Arc<Block>]) -> Result<Tail> {
        let mut writer = self.writer()?;
        let again = blocks.first().is_some_and(|block| block.first == self.state().tail.next);
        if again && writer.has_unfinished() {
            self.rewind(&mut writer)?;
        }
        let appended = writer.append(blocks)?;
        let tail = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if !appended.created.is_empty() {
                Arc::make_mut(&mut state.segments).extend(appended.created);
            }
            let acknowledged = appended.tail.is_some();
            if let Some((next, commit)) = appended.tail {
                state.tail = Tail { next, commit: Some(commit) };
            }
            if let Some(knowledge) = appended.knowledge {
                state.knowledge = knowledge;
            }
            let tail = state.tail.clone();
            drop(state);
            if acknowledged {
                writer.acknowledge(tail.next);
            }
            tail
        };
        for segment in &appended.sealed {
            self.note_loaded(segment);
        }
        Ok(tail)
    }

    /// Cuts off the beginning of a transaction that is not going on, as opening the log would. The last segment
    /// is read for it; that is rare enough.
    fn rewind(&self, writer: &mut Writer) -> Result<()> {
        let recovered = recover(&self.folder, self.epoch)?;
        self.state.write().unwrap_or_else(PoisonError::into_inner).segments =
            Arc::new(recovered.segments.clone());
        *writer = Writer::new(self.folder.clone(), self.epoch, &self.options, recovered)?;
        Ok(())
    }

    fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        let (segments, next) = self.view(from)?;
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
                    let body = frames.body(offset, &header)?;
                    let block =
                        self.decoder.block(&header, body).map_err(|why| Fault::Damaged { offset, why })?;
                    bytes += block.payload.len();
                    wanted = block.end();
                    blocks.push(Arc::new(block));
                }
                Ok(())
            });
            match read {
                Ok(()) => {}
                // Retention came first. What was read before is right all the same.
                Err(fault) if fault.is_missing() && from < self.state().horizon() => {
                    if blocks.is_empty() {
                        return Err(self.gap(from));
                    }
                    break;
                }
                Err(fault) => return Err(fault.into_error(&segment.path)),
            }
            if at + 1 < segments.len() {
                self.note_loaded(segment);
            }
        }
        Ok(blocks)
    }

    fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
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

    fn find_time(&self, time_ms: i64) -> Result<Seq> {
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
                Err(fault) if fault.is_missing() && segment.first < self.state().horizon() => {}
                Err(fault) => return Err(fault.into_error(&segment.path)),
            }
        }
        Ok(next)
    }

    fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        let _retaining = self.retaining.lock().unwrap_or_else(PoisonError::into_inner);
        let (segments, next) = self.whole();
        let summaries: Vec<Summary> = segments.iter().map(|segment| segment.summary()).collect();
        // Readers begin at the horizon, so a transaction begins there. The last commit stays: it is the checkpoint.
        let whole = |mut count: usize| {
            while count > 0 && !summaries.get(count).is_some_and(|after| after.starts_transaction) {
                count -= 1;
            }
            count
        };
        let before = |seq: Seq| summaries.partition_point(|summary| summary.end <= seq);
        let possible = summaries.partition_point(|summary| summary.end < next);
        let due = whole(self.due(policy, &summaries).min(possible));
        let count = hold.map_or(due, |hold| whole(due.min(before(hold))));
        if count > 0 {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut state.segments).drain(..count);
        }
        let mut dropped_bytes = 0;
        for (segment, summary) in segments.iter().zip(&summaries).take(count) {
            segment.remove()?;
            // One after the other, so that a power failure leaves no hole in the middle.
            sync_folder(&self.folder)?;
            dropped_bytes += summary.bytes;
        }
        self.loaded()
            .retain(|loaded| !segments.iter().take(count).any(|dropped| Arc::ptr_eq(dropped, loaded)));
        Ok(Retained { horizon: self.state().horizon(), dropped_bytes, held: count < due })
    }

    /// How many segments `policy` would drop.
    fn due(&self, policy: &Retention, summaries: &[Summary]) -> usize {
        let by_age = policy.age.map_or(0, |age| {
            let oldest_ms = now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            summaries.iter().take_while(|summary| summary.latest_ms < oldest_ms).count()
        });
        let by_size = policy.size.map_or(0, |size| {
            let mut kept: u64 = summaries.iter().map(|summary| summary.bytes).sum();
            let dropped = summaries.iter().take_while(|summary| {
                let too_large = kept > size;
                kept -= summary.bytes;
                too_large
            });
            dropped.count()
        });
        by_age.max(by_size)
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
            Err(fault) if fault.is_missing() && segment.first < self.state().horizon() => Ok(None),
            found => found.map_err(|fault| fault.into_error(&segment.path)),
        }
    }

    fn block(&self, frames: &mut Frames, offset: u64, header: &Header) -> Result<Block, Fault> {
        let body = frames.body(offset, header)?;
        self.decoder.block(header, body).map_err(|why| Fault::Damaged { offset, why })
    }

    /// The segments and the tail for a reader that begins at `from`.
    fn view(&self, from: Seq) -> Result<(Arc<Vec<Arc<Segment>>>, Seq)> {
        let state = self.state();
        if from < state.horizon() || from > state.tail.next {
            drop(state);
            return Err(self.gap(from));
        }
        Ok((Arc::clone(&state.segments), state.tail.next))
    }

    fn whole(&self) -> (Arc<Vec<Arc<Segment>>>, Seq) {
        let state = self.state();
        (Arc::clone(&state.segments), state.tail.next)
    }

    fn gap(&self, from: Seq) -> Error {
        let state = self.state();
        gap(from, state.horizon(), state.tail.next)
    }

    fn note_loaded(&self, segment: &Arc<Segment>) {
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

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self) -> MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        self.writer.lock().map_err(|_| Error::new(Kind::Internal, "the log's writer broke off in the middle"))
    }
}

fn malformed(offset: u64) -> Fault {
    Fault::Damaged { offset, why: "a block's checksum fits, but its entries are malformed" }
}

fn holds_segments(folder: &std::path::Path) -> Result<bool> {
    let read = |error| failed("read", folder, error);
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        if name.to_str().is_some_and(|name| segment_first(name).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
