//! Appending: compress, write, sync once, and only then tell.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Options;
use super::catalog::Catalog;
use super::folder::{Acknowledged, failed, sync_folder};
use super::frame::{Encoder, Header, Place};
use super::recovery::Recovered;
use super::segment::Segment;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Commit};
use crate::model::position::{LogEpoch, Seq};
use crate::store::content::{Content, Knowledge, Note, examine};

/// Frames are handed to the operating system in pieces of about this size.
const WRITE_CHUNK: usize = 1 << 20;

/// The one who writes into a log.
pub(super) struct Writer {
    folder: PathBuf,
    epoch: LogEpoch,
    segment_bytes: u64,
    encoder: Encoder,
    catalog: Catalog,
    acknowledged: Acknowledged,
    active: Option<Active>,
    /// The number that the next block begins with.
    next: Seq,
    /// Where the transaction begins that the next block begins in, or begins.
    transaction: Seq,
    /// The tail's `next`.
    committed: Seq,
    /// What is noted before `committed`, and what is noted behind it.
    knowledge: Knowledge,
    pending: Vec<Note>,
    /// The same with the pending notes.
    ahead: Knowledge,
    /// Why nothing more can be written.
    broken: Option<String>,
    buffer: Vec<u8>,
}

/// The segment that grows.
struct Active {
    segment: Arc<Segment>,
    file: File,
    len: u64,
}

/// What an append did, to be shown to readers.
pub(super) struct Appended {
    /// Segments that became full.
    pub sealed: Vec<Arc<Segment>>,
    /// Segments that are new.
    pub created: Vec<Arc<Segment>>,
    /// The new end; `None` when no transaction ended.
    pub tail: Option<(Seq, Commit)>,
    /// What is known at the new end, when that has grown.
    pub knowledge: Option<Knowledge>,
}

/// An append that is under way.
#[derive(Default)]
struct Batch {
    sealed: Vec<Arc<Segment>>,
    created: Vec<Arc<Segment>>,
    /// Blocks that the indexes of their segments do not have yet.
    fresh: Vec<(Arc<Segment>, u64, Header)>,
    /// Whether a sync failed: then nobody knows what is on the disk.
    sync_failed: bool,
}

/// What to go back to when an append fails.
struct Before {
    active: Option<(Arc<Segment>, u64)>,
    catalog_len: u64,
    catalog_count: u32,
}

impl Writer {
    /// A writer that goes on where the log ends.
    ///
    /// # Errors
    /// `Environment` when the last segment cannot be opened for writing.
    pub fn new(folder: PathBuf, epoch: LogEpoch, options: &Options, recovered: Recovered) -> Result<Self> {
        let active = match recovered.segments.last() {
            None => None,
            Some(segment) => {
                let file = OpenOptions::new().write(true).open(&segment.path);
                let file = file.map_err(|error| failed("open", &segment.path, error))?;
                let len = segment.summary_with(|summary| summary.bytes);
                Some(Active { segment: Arc::clone(segment), file, len })
            }
        };
        let next = recovered.tail.next;
        Ok(Writer {
            folder,
            segment_bytes: options.segment_bytes,
            encoder: Encoder::new(epoch, options.compression)?,
            epoch,
            catalog: recovered.catalog,
            acknowledged: recovered.acknowledged,
            active,
            next,
            transaction: next,
            committed: next,
            ahead: recovered.knowledge.clone(),
            knowledge: recovered.knowledge,
            pending: Vec::new(),
            broken: None,
            buffer: Vec::new(),
        })
    }

    /// Appends blocks; all are durable when it returns. After an error the log ends where it ended before.
    pub fn append(&mut self, blocks: &[Arc<Block>]) -> Result<Appended> {
        if let Some(reason) = &self.broken {
            return Err(Error::new(
                Kind::Environment,
                format!("the log takes nothing more since a write failed: {reason}"),
            )
            .advice("open the log again once the cause is gone"));
        }
        let before = Before {
            active: self.active.as_ref().map(|active| (Arc::clone(&active.segment), active.len)),
            catalog_len: self.catalog.len(),
            catalog_count: self.catalog.count(),
        };
        let mut batch = Batch::default();
        let written = examine(blocks, self.next, &mut self.ahead)
            .and_then(|contents| self.write(blocks, &contents, &mut batch).map(|()| contents));
        match written {
            Ok(contents) => Ok(self.advance(blocks, contents, batch)),
            Err(error) => {
                self.undo(before, &batch, &error);
                Err(error)
            }
        }
    }

    /// Whether parts of a transaction lie behind the tail.
    pub fn has_unfinished(&self) -> bool {
        self.next != self.committed && self.broken.is_none()
    }

    /// Remembers on disk, as a hint for the next opening, that everything before `next` was acknowledged.
    pub fn acknowledge(&self, next: Seq) {
        self.acknowledged.note(next);
    }

    fn write(&mut self, blocks: &[Arc<Block>], contents: &[Content], batch: &mut Batch) -> Result<()> {
        let mut notes = self.catalog.count();
        let mut transaction = self.transaction;
        self.catalog.append(contents.iter().flat_map(|content| &content.notes))?;
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE_CHUNK);
        for (block, content) in blocks.iter().zip(contents) {
            if self.active.as_ref().is_none_or(|active| active.len >= self.segment_bytes) {
                self.roll(block.first, batch)?;
            }
            notes += content.notes.len() as u32;
            let place = Place { transaction, acknowledged: self.committed, notes };
            let header = self.encoder.frame(block, content, place, &mut self.buffer)?;
            if header.has_commit {
                transaction = block.end();
            }
            if let Some(active) = &mut self.active {
                let offset = active.len;
                active.len += header.frame_len();
                batch.fresh.push((Arc::clone(&active.segment), offset, header));
            }
            if self.buffer.len() >= WRITE_CHUNK {
                self.flush()?;
            }
        }
        self.flush()?;
        self.sync(batch)
    }

    /// Ends the active segment, and makes one that begins with `first`.
    fn roll(&mut self, first: Seq, batch: &mut Batch) -> Result<()> {
        self.flush()?;
        self.sync(batch)?;
        if let Some(active) = self.active.take() {
            batch.sealed.push(active.segment);
        }
        let segment = Arc::new(Segment::empty(&self.folder, first));
        let file = OpenOptions::new().write(true).create_new(true).open(&segment.path);
        let file = file.map_err(|error| failed("make", &segment.path, error))?;
        batch.created.push(Arc::clone(&segment));
        self.active = Some(Active { segment, file, len: 0 });
        sync_folder(&self.folder)
    }

    /// Writes what is buffered; it ends where the active segment ends.
    fn flush(&mut self) -> Result<()> {
        if let Some(active) = &self.active
            && !self.buffer.is_empty()
        {
            let offset = active.len - self.buffer.len() as u64;
            let written = active.file.write_all_at(&self.buffer, offset);
            written.map_err(|error| failed("write", &active.segment.path, error))?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn sync(&self, batch: &mut Batch) -> Result<()> {
        let Some(active) = &self.active else { return Ok(()) };
        active.file.sync_data().map_err(|error| {
            batch.sync_failed = true;
            failed("sync", &active.segment.path, error)
        })
    }

    fn advance(&mut self, blocks: &[Arc<Block>], contents: Vec<Content>, batch: Batch) -> Appended {
        for (segment, offset, header) in &batch.fresh {
            segment.add(*offset, header);
        }
        for segment in &batch.sealed {
            segment.seal(self.epoch);
        }
        if let Some(block) = blocks.last() {
            self.next = block.end();
        }
        self.pending.extend(contents.into_iter().flat_map(|content| content.notes));
        let last = blocks.iter().rev().find_map(|block| Some((block.end(), block.commit.clone()?)));
        let mut knowledge = None;
        if let Some((next, _)) = &last {
            (self.committed, self.transaction) = (*next, *next);
            let complete = self.pending.partition_point(|note| note.seq < *next);
            for note in self.pending.drain(..complete) {
                self.knowledge.learn(&note).expect("the note was learned when it was examined");
            }
            knowledge = (complete > 0).then(|| self.knowledge.clone());
        }
        Appended { sealed: batch.sealed, created: batch.created, tail: last, knowledge }
    }

    /// Takes back what a failed append left. When that is not certain to have succeeded, nothing more is written.
    fn undo(&mut self, before: Before, batch: &Batch, error: &Error) {
        self.buffer.clear();
        self.ahead = self.knowledge.clone();
        for note in &self.pending {
            self.ahead.learn(note).expect("the note was learned before");
        }
        let mut undone = Ok(());
        for segment in batch.created.iter().rev() {
            undone = undone.and_then(|()| segment.remove()).and_then(|()| sync_folder(&self.folder));
        }
        self.active = None;
        if let Some((segment, len)) = before.active {
            let file = undone.and_then(|()| {
                let cut = OpenOptions::new().write(true).open(&segment.path).and_then(|file| {
                    file.set_len(len)?;
                    file.sync_data()?;
                    Ok(file)
                });
                cut.map_err(|error| failed("cut", &segment.path, error))
            });
            undone = file.map(|file| self.active = Some(Active { segment, file, len }));
        }
        let undone = undone.and_then(|()| self.catalog.cut(before.catalog_len, before.catalog_count));
        if undone.is_err() || batch.sync_failed {
            self.broken = Some(error.to_string());
        }
    }
}
