//! An open log, and what its writer does to it.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::Options;
use super::folder::{Lock, Meta, corrupt, failed, lock, read_meta, sync_folder, write_meta};
use super::recovery::recover;
use super::segment::{Summary, list_segments};
use super::view::{State, View, blocking};
use super::writer::Writer;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, SchemaBook};
use crate::model::coverage::Coverage;
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::{Log, LogReader, LogStat, Retained, Retention, Tail};

/// See [`Embedded`](super::Embedded).
pub(super) struct EmbeddedLog {
    shared: Arc<Shared>,
}

struct Shared {
    view: View,
    options: Options,
    writer: Mutex<Writer>,
    retaining: Mutex<()>,
    _lock: Lock,
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
                if !list_segments(&folder)?.is_empty() {
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
            view: View::own(folder, state),
            options: options.clone(),
            writer: Mutex::new(writer),
            retaining: Mutex::new(()),
            _lock: lock,
        };
        Ok(EmbeddedLog { shared: Arc::new(shared) })
    }
}

#[async_trait]
impl LogReader for EmbeddedLog {
    fn epoch(&self) -> LogEpoch {
        self.shared.view.epoch
    }

    fn source_id(&self) -> Option<String> {
        self.shared.view.state().meta.source.clone()
    }

    fn tail(&self) -> Tail {
        self.shared.view.state().tail.clone()
    }

    fn schemas(&self) -> SchemaBook {
        self.shared.view.state().knowledge.schemas.clone()
    }

    fn coverage(&self) -> Coverage {
        self.shared.view.state().knowledge.coverage.clone()
    }

    async fn grown(&self, after: Seq) -> Result<Tail> {
        Ok(self.shared.view.wait(after).await)
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.view.read(from, max_bytes)).await
    }

    async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        let (shared, position) = (Arc::clone(&self.shared), position.clone());
        blocking(move || shared.view.find_position(&position)).await
    }

    async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.view.find_time(time_ms)).await
    }

    fn stat(&self) -> LogStat {
        self.shared.view.stat()
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn bind_source(&self, id: &str) -> Result<()> {
        let (shared, id) = (Arc::clone(&self.shared), id.to_owned());
        blocking(move || shared.bind_source(id)).await
    }

    async fn append(&self, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.append(&blocks)).await
    }

    async fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        let (shared, policy) = (Arc::clone(&self.shared), policy.clone());
        blocking(move || shared.retain(&policy, hold)).await
    }
}

impl Shared {
    fn bind_source(&self, id: String) -> Result<()> {
        // The writer's lock keeps two callers from binding at once.
        let _writer = self.writer()?;
        let mut meta = self.view.state().meta.clone();
        match &meta.source {
            Some(source) if *source == id => return Ok(()),
            Some(_) => {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "the log in folder {} holds the changes of another source",
                        self.view.folder.display()
                    ),
                )
                .advice("mine into a log with another name"));
            }
            None => meta.source = Some(id),
        }
        write_meta(&self.view.folder, &meta)?;
        self.view.change().meta = meta;
        Ok(())
    }

    fn append(&self, blocks: &[Arc<Block>]) -> Result<Tail> {
        let mut writer = self.writer()?;
        let again = blocks.first().is_some_and(|block| block.first == self.view.state().tail.next);
        if again && writer.has_unfinished() {
            self.rewind(&mut writer)?;
        }
        let appended = writer.append(blocks)?;
        let tail = {
            let mut state = self.view.change();
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
                self.view.wake();
            }
            tail
        };
        for segment in &appended.sealed {
            self.view.note_loaded(segment);
        }
        Ok(tail)
    }

    /// Cuts off the beginning of a transaction that is not going on, as opening the log would. The last segment
    /// is read for it; that is rare enough.
    fn rewind(&self, writer: &mut Writer) -> Result<()> {
        let recovered = recover(&self.view.folder, self.view.epoch)?;
        self.view.change().segments = Arc::new(recovered.segments.clone());
        *writer = Writer::new(self.view.folder.clone(), self.view.epoch, &self.options, recovered)?;
        Ok(())
    }

    fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        let _retaining = self.retaining.lock().unwrap_or_else(PoisonError::into_inner);
        let (segments, next) = self.view.whole();
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
            let mut state = self.view.change();
            Arc::make_mut(&mut state.segments).drain(..count);
        }
        let mut dropped_bytes = 0;
        for (segment, summary) in segments.iter().zip(&summaries).take(count) {
            segment.remove()?;
            // One after the other, so that a power failure leaves no hole in the middle.
            sync_folder(&self.view.folder)?;
            dropped_bytes += summary.bytes;
        }
        self.view.forget_loaded(&segments[..count]);
        Ok(Retained { horizon: self.view.horizon(), dropped_bytes, held: count < due })
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

    fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        self.writer.lock().map_err(|_| Error::new(Kind::Internal, "the log's writer broke off in the middle"))
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
