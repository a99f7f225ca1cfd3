//! Reading a log that another process may have open: nothing is locked, made, cut or repaired.
//!
//! Where the log ends is what the file `acknowledged` says, which the writer rewrites after each sync. Blocks behind
//! that place are not looked at: they may be torn, may be cut off again, or may not be on the disk yet. Before it,
//! nothing ever changes but by retention, which removes the oldest segments.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::catalog::CatalogReader;
use super::folder::{Acknowledged, read_meta};
use super::frame::{HEADER_LEN, Header};
use super::segment::{Fault, Frames, Segment, list_segments};
use super::view::{State, View, blocking};
use crate::error::Result;
use crate::model::block::{Block, SchemaBook};
use crate::model::coverage::Coverage;
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::content::Knowledge;
use crate::store::{LogReader, LogStat, Tail, log_is_gone};

/// How long a reader sleeps between two looks at the end: at first, and at most.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// A log as another process sees it.
pub(super) struct Follower {
    shared: Arc<Shared>,
}

struct Shared {
    view: View,
    /// How far the catalog was read; locked while the view grows.
    catalog: Mutex<CatalogReader>,
}

impl Follower {
    /// Opens the log in `folder`; `None` when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the log is of another version, or its catalog is damaged; `Environment` when a file cannot
    /// be read.
    pub fn open(folder: PathBuf) -> Result<Option<Follower>> {
        let Some(meta) = read_meta(&folder)? else { return Ok(None) };
        let empty =
            State { meta, segments: Arc::default(), tail: Tail::default(), knowledge: Knowledge::default() };
        let view = View::following(folder, empty);
        let shared = Shared { view, catalog: Mutex::default() };
        let proven = shared.proven_end()?;
        shared.look(proven)?;
        Ok(Some(Follower { shared: Arc::new(shared) }))
    }
}

#[async_trait]
impl LogReader for Follower {
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
        let (mut pause, longest) = LOOK_EVERY;
        loop {
            let shared = Arc::clone(&self.shared);
            let tail = blocking(move || shared.look(Seq(0))).await?;
            if tail.next > after {
                return Ok(tail);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
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

impl Shared {
    /// Looks where the log ends now, and makes everything before that visible; at least everything before `proven`.
    fn look(&self, proven: Seq) -> Result<Tail> {
        let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        let View { folder, epoch, .. } = &self.view;
        let known = self.view.state().clone();
        let noted = Acknowledged::read(folder, *epoch)?;
        if noted.is_none() {
            // A new log has none yet; one that was deleted has none either, and one made again has another.
            match read_meta(folder)? {
                Some(meta) if meta.epoch == *epoch => {}
                meta => return Err(log_is_gone(meta.is_some())),
            }
        }
        let next = noted.unwrap_or_default().max(proven);
        if next <= known.tail.next {
            return Ok(known.tail);
        }
        let mut state = known;
        if state.meta.source.is_none()
            && let Some(meta) = read_meta(folder)?
        {
            state.meta = meta;
        }
        let last = self.grow(&mut state, next)?;
        catalog.learn(
            folder,
            *epoch,
            next,
            last.as_ref().map(|(_, header)| header.notes),
            &mut state.knowledge,
        )?;
        state.tail = Tail { next, commit: last.and_then(|(block, _)| block.commit) };
        let tail = state.tail.clone();
        *self.view.change() = state;
        Ok(tail)
    }

    /// Adds the blocks up to `next` to the indexes of the segments, without reading their bodies. Gives the last one,
    /// unless it is damaged: whoever reads up to there is told.
    fn grow(&self, state: &mut State, next: Seq) -> Result<Option<(Block, Header)>> {
        let View { folder, epoch, .. } = &self.view;
        let firsts: Vec<Seq> = list_segments(folder)?.into_iter().filter(|first| *first < next).collect();
        let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(firsts.len());
        let mut last = None;
        for (at, &first) in firsts.iter().enumerate() {
            let end = firsts.get(at + 1).copied().unwrap_or(next);
            let is_last = at + 1 == firsts.len();
            let known = state.segments.iter().find(|known| known.first == first).cloned();
            let full = || (!is_last).then(|| Segment::from_side_file(folder, first, *epoch)).flatten();
            let segment = known
                .or_else(|| {
                    full().filter(|full| full.summary_with(|summary| summary.end == end)).map(Arc::new)
                })
                .unwrap_or_else(|| Arc::new(Segment::empty(folder, first)));
            match segment.scan_to(*epoch, end) {
                Ok(found) => last = found.map(|(offset, header)| (Arc::clone(&segment), offset, header)),
                Err(Fault::Damaged { .. }) => last = None,
                // Retention drops the oldest ones meanwhile.
                Err(fault) if fault.is_missing() && !is_last => {
                    segments.clear();
                    continue;
                }
                Err(fault) => return Err(fault.into_error(&segment.path)),
            }
            segments.push(segment);
        }
        state.segments = Arc::new(segments);
        let Some((segment, offset, header)) = last else { return Ok(None) };
        let block = Frames::open(
            &segment.path,
            *epoch,
            HEADER_LEN,
            offset,
            offset + header.frame_len(),
            header.first,
        )
        .and_then(|mut frames| self.view.block(&mut frames, offset, &header));
        match block {
            Ok(block) => Ok(Some((block, header))),
            Err(Fault::Damaged { .. }) => Ok(None),
            Err(fault) => Err(fault.into_error(&segment.path)),
        }
    }

    /// How far the log was acknowledged for certain by what its newest segment says. After a power failure the
    /// file `acknowledged` may be older than that.
    fn proven_end(&self) -> Result<Seq> {
        let View { folder, epoch, .. } = &self.view;
        let Some(first) = list_segments(folder)?.last().copied() else { return Ok(Seq(0)) };
        let segment = Segment::empty(folder, first);
        let mut proven = Seq(0);
        // Whatever is wrong with it is told when the log is read there.
        let _ = segment.scan_all(*epoch, |header| proven = proven.max(header.acknowledged));
        Ok(proven)
    }
}
