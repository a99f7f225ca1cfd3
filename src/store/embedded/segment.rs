//! One file of frames, and what is known of it without reading it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::folder::{corrupt, failed};
use super::frame::{HEADER_LEN, Header, checksum};
use crate::error::{Error, Result};
use crate::model::position::{LogEpoch, Seq};

/// The index has a mark at each so many bytes: what a reader scans at most to find its first block.
const MARK_EVERY: u64 = 32 << 10;

/// Length of a mark in the side file.
const MARK_LEN: usize = 24;

/// A segment of an open log.
pub(super) struct Segment {
    /// Number of its first entry; also its file's name.
    pub first: Seq,
    /// The file.
    pub path: PathBuf,
    index: RwLock<Index>,
}

/// What is kept in memory of a segment.
struct Index {
    summary: Summary,
    /// `None` when they are to be read from the side file.
    marks: Option<Vec<Mark>>,
}

/// A segment in a few figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Number of the first entry.
    pub first: Seq,
    /// The number after the last entry.
    pub end: Seq,
    /// Length of the file.
    pub bytes: u64,
    /// Length of all payloads.
    pub payload_bytes: u64,
    /// Time of the first block.
    pub first_time_ms: i64,
    /// The latest time in it, of a commit or of a block's first entry.
    pub latest_ms: i64,
    /// The latest commit time; `i64::MIN` without a commit.
    pub latest_commit_ms: i64,
    /// Whether a transaction begins with the first entry.
    pub starts_transaction: bool,
    /// Whether there is a commit.
    pub has_commit: bool,
    /// Checksums of the names of the source's files in which blocks end.
    files: BTreeSet<u32>,
    /// Whether a block has commits in several files.
    several_files: bool,
}

/// A place where reading may begin.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mark {
    first: Seq,
    offset: u64,
    /// The latest commit time from this mark to the next one.
    latest_commit_ms: i64,
}

impl Segment {
    /// A segment without a block.
    pub fn empty(folder: &Path, first: Seq) -> Self {
        Segment {
            first,
            path: segment_path(folder, first),
            index: RwLock::new(Index { summary: Summary::empty(first), marks: Some(Vec::new()) }),
        }
    }

    /// A segment that is full, from its side file, or from its headers when that file does not fit.
    ///
    /// # Errors
    /// `Corrupt` when the segment is not a dense run of blocks; `Environment` when it cannot be read.
    pub fn sealed(folder: &Path, first: Seq, epoch: LogEpoch) -> Result<Self> {
        if let Some(segment) = Segment::from_side_file(folder, first, epoch) {
            return Ok(segment);
        }
        let segment = Segment::empty(folder, first);
        let path = &segment.path;
        let bytes = fs::metadata(path).map_err(|error| failed("read", path, error))?.len();
        segment.scan_headers(epoch, bytes).map_err(|fault| fault.into_error(path))?;
        segment.seal(epoch);
        Ok(segment)
    }

    /// A segment that is full, from its side file; `None` when that is not there or does not fit.
    pub fn from_side_file(folder: &Path, first: Seq, epoch: LogEpoch) -> Option<Self> {
        let path = segment_path(folder, first);
        let bytes = fs::metadata(&path).ok()?.len();
        let summary = read_summary(&path, epoch)?;
        (summary.bytes == bytes && summary.first == first).then(|| Segment {
            first,
            path,
            index: RwLock::new(Index { summary, marks: None }),
        })
    }

    /// Adds all blocks before `end` to an empty segment, without reading their bodies.
    pub fn scan_headers(&self, epoch: LogEpoch, end: u64) -> Result<(), Fault> {
        let mut frames = Frames::open(&self.path, epoch, HEADER_LEN, 0, end, self.first)?;
        while let Some((offset, header)) = frames.next()? {
            self.add(offset, &header);
        }
        Ok(())
    }

    /// Adds the blocks that are missing up to the entry `end`, where one of them must end, without reading their
    /// bodies. Gives the last one that was added, and where it lies.
    pub fn scan_to(&self, epoch: LogEpoch, end: Seq) -> Result<Option<(u64, Header)>, Fault> {
        let (offset, mut next) = self.summary_with(|summary| (summary.bytes, summary.end));
        if next == end {
            return Ok(None);
        }
        let len = fs::metadata(&self.path).map_err(Fault::Failed)?.len();
        let mut frames = Frames::open(&self.path, epoch, HEADER_LEN, offset, len, next)?;
        let mut last = None;
        while next < end {
            let why = "transactions are missing that were acknowledged";
            let (offset, header) = frames.next()?.ok_or(Fault::Damaged { offset: len, why })?;
            if header.end() > end {
                return Err(Fault::Damaged { offset, why: "a block is longer than it was" });
            }
            self.add(offset, &header);
            next = header.end();
            last = Some((offset, header));
        }
        Ok(last)
    }

    /// Looks at the headers of all blocks.
    pub fn scan_all(&self, epoch: LogEpoch, mut look: impl FnMut(&Header)) -> Result<(), Fault> {
        let len = fs::metadata(&self.path).map_err(Fault::Failed)?.len();
        let mut frames = Frames::open(&self.path, epoch, HEADER_LEN, 0, len, self.first)?;
        while let Some((_, header)) = frames.next()? {
            look(&header);
        }
        Ok(())
    }

    /// Notes a block that was written at `offset`.
    pub fn add(&self, offset: u64, header: &Header) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let index = &mut *index;
        index.summary.add(offset, header);
        let marks = index.marks.get_or_insert_default();
        match marks.last_mut() {
            Some(mark) if offset < mark.offset + MARK_EVERY => {
                mark.latest_commit_ms = mark.latest_commit_ms.max(header.latest_commit_ms);
            }
            _ => marks.push(Mark { first: header.first, offset, latest_commit_ms: header.latest_commit_ms }),
        }
    }

    /// The figures.
    pub fn summary(&self) -> Summary {
        self.summary_with(Summary::clone)
    }

    /// Looks at the figures.
    pub fn summary_with<T>(&self, look: impl FnOnce(&Summary) -> T) -> T {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner).summary)
    }

    /// Frames from the last mark at or before the block that contains `from`, read in pieces of `chunk` bytes.
    pub fn frames_from(&self, from: Seq, epoch: LogEpoch, chunk: usize) -> Result<Frames, Fault> {
        self.frames(epoch, chunk, |marks| marks.partition_point(|mark| mark.first <= from).checked_sub(1))
    }

    /// Frames from the mark behind which the first commit at or after `time_ms` lies; `None` without such a commit.
    pub fn frames_at(&self, time_ms: i64, epoch: LogEpoch) -> Result<Option<Frames>, Fault> {
        if self.summary_with(|summary| summary.latest_commit_ms < time_ms) {
            return Ok(None);
        }
        self.frames(epoch, HEADER_LEN, |marks| marks.iter().position(|mark| mark.latest_commit_ms >= time_ms))
            .map(Some)
    }

    /// Writes the side file. It is a shortcut only: when that fails, the next opening reads the headers.
    pub fn seal(&self, epoch: LogEpoch) {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(marks) = &index.marks else { return };
        let mut body = Vec::with_capacity(marks.len() * MARK_LEN);
        for mark in marks {
            body.extend_from_slice(&mark.first.0.to_le_bytes());
            body.extend_from_slice(&mark.offset.to_le_bytes());
            body.extend_from_slice(&mark.latest_commit_ms.to_le_bytes());
        }
        let summary = serde_json::to_vec(&index.summary).expect("a summary is plain data");
        let mut bytes = Vec::with_capacity(12 + summary.len() + body.len());
        bytes.extend_from_slice(&(summary.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum(epoch, &summary).to_le_bytes());
        bytes.extend_from_slice(&checksum(epoch, &body).to_le_bytes());
        bytes.extend_from_slice(&summary);
        bytes.extend_from_slice(&body);
        let _ = fs::write(side_path(&self.path), bytes);
    }

    /// Forgets the marks of a sealed segment; they are read again when they are needed.
    pub fn unload(&self) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).marks = None;
    }

    /// Removes the files.
    pub fn remove(&self) -> Result<()> {
        remove_side_file(&self.path)?;
        fs::remove_file(&self.path).map_err(|error| failed("remove", &self.path, error))
    }

    fn frames(
        &self,
        epoch: LogEpoch,
        chunk: usize,
        choose: impl Fn(&[Mark]) -> Option<usize>,
    ) -> Result<Frames, Fault> {
        let start = |index: &Index, marks: &[Mark]| {
            let start = choose(marks).and_then(|at| marks.get(at));
            (start.map_or((0, self.first), |mark| (mark.offset, mark.first)), index.summary.bytes)
        };
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let ((offset, first), end) = match &index.marks {
            Some(marks) => {
                let found = start(&index, marks);
                drop(index);
                found
            }
            None => {
                // Another reader may load them at the same time, which does no harm.
                drop(index);
                let marks = self.load(epoch)?;
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                let found = start(&index, &marks);
                index.marks = Some(marks);
                found
            }
        };
        Frames::open(&self.path, epoch, chunk, offset, end, first)
    }

    fn load(&self, epoch: LogEpoch) -> Result<Vec<Mark>, Fault> {
        if let Some(marks) = read_marks(&self.path, epoch) {
            return Ok(marks);
        }
        let (first, end) = self.summary_with(|summary| (summary.first, summary.bytes));
        let rebuilt = Segment {
            first,
            path: self.path.clone(),
            index: RwLock::new(Index { summary: Summary::empty(first), marks: Some(Vec::new()) }),
        };
        rebuilt.scan_headers(epoch, end)?;
        let index = rebuilt.index.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(index.marks.unwrap_or_default())
    }
}

impl Summary {
    /// Whether a block may have a commit at a position in the file with this checksum.
    pub fn may_commit_in(&self, file_crc: u32) -> bool {
        self.several_files || self.files.contains(&file_crc)
    }

    fn empty(first: Seq) -> Self {
        Summary {
            first,
            end: first,
            bytes: 0,
            payload_bytes: 0,
            first_time_ms: 0,
            latest_ms: i64::MIN,
            latest_commit_ms: i64::MIN,
            starts_transaction: false,
            has_commit: false,
            files: BTreeSet::new(),
            several_files: false,
        }
    }

    fn add(&mut self, offset: u64, header: &Header) {
        if offset == 0 {
            self.first_time_ms = header.first_time_ms;
            self.starts_transaction = header.transaction == header.first;
        }
        self.end = header.end();
        self.bytes = offset + header.frame_len();
        self.payload_bytes += u64::from(header.payload_len);
        self.latest_commit_ms = self.latest_commit_ms.max(header.latest_commit_ms);
        self.latest_ms = self.latest_ms.max(header.first_time_ms).max(header.latest_commit_ms);
        self.several_files |= header.several_files;
        if header.has_commit {
            self.has_commit = true;
            self.files.insert(header.file_crc);
        }
    }
}

/// A walk over the frames of a file.
pub(super) struct Frames {
    file: File,
    epoch: LogEpoch,
    /// Where the next frame begins.
    offset: u64,
    /// Where the last frame ends.
    end: u64,
    /// The number that the next frame must begin with.
    expected: Seq,
    /// How much is read at once.
    chunk: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// Why a walk ended.
pub(super) enum Fault {
    /// The file cannot be read.
    Failed(std::io::Error),
    /// Its bytes are not a frame that belongs there.
    Damaged {
        /// Where.
        offset: u64,
        /// What does not fit.
        why: &'static str,
    },
}

impl Fault {
    /// The error to show.
    pub fn into_error(self, path: &Path) -> Error {
        match self {
            Fault::Failed(error) => failed("read", path, error),
            Fault::Damaged { offset, why } => corrupt(path, offset, why),
        }
    }

    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Fault::Failed(error) if error.kind() == ErrorKind::NotFound)
    }
}

impl Frames {
    /// Opens `path` to read the frames between `offset` and `end`, the first of which begins with `expected`.
    pub fn open(
        path: &Path,
        epoch: LogEpoch,
        chunk: usize,
        offset: u64,
        end: u64,
        expected: Seq,
    ) -> Result<Frames, Fault> {
        let file = File::open(path).map_err(Fault::Failed)?;
        Ok(Frames { file, epoch, offset, end, expected, chunk, buffer: Vec::new(), buffer_at: 0 })
    }

    /// The next header, and where its frame lies; `None` at the end.
    #[allow(clippy::should_implement_trait, reason = "a header is followed by a call that reads its body")]
    pub fn next(&mut self) -> Result<Option<(u64, Header)>, Fault> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let (offset, epoch) = (self.offset, self.epoch);
        let bytes = self.bytes(offset, HEADER_LEN)?;
        let header = Header::decode(bytes, epoch).map_err(|why| Fault::Damaged { offset, why })?;
        if header.first != self.expected {
            return Err(Fault::Damaged { offset, why: "a block is not the one that follows" });
        }
        if offset + header.frame_len() > self.end {
            return Err(Fault::Damaged { offset, why: "the file ends in the middle of a block" });
        }
        self.offset = offset + header.frame_len();
        self.expected = header.end();
        Ok(Some((offset, header)))
    }

    /// The body of the frame at `offset`, checked.
    pub fn body(&mut self, offset: u64, header: &Header) -> Result<&[u8], Fault> {
        let body = self.bytes(offset + HEADER_LEN as u64, header.stored_len as usize)?;
        if !header.fits(body) {
            return Err(Fault::Damaged { offset, why: "the checksum of a block does not fit" });
        }
        Ok(body)
    }

    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], Fault> {
        if offset + len as u64 > self.end {
            return Err(Fault::Damaged { offset, why: "the file ends in the middle of a block" });
        }
        let buffered_to = self.buffer_at + self.buffer.len() as u64;
        if offset < self.buffer_at || offset + len as u64 > buffered_to {
            // What is there already of a body that the last piece cut is not read again.
            let kept = match buffered_to.checked_sub(offset) {
                Some(kept) if offset >= self.buffer_at => kept as usize,
                _ => 0,
            };
            let wanted = (len.max(self.chunk) as u64).min(self.end - offset) as usize;
            let kept_at = self.buffer.len() - kept;
            self.buffer.copy_within(kept_at.., 0);
            self.buffer.resize(wanted, 0);
            self.buffer_at = offset;
            let read = self.file.read_exact_at(&mut self.buffer[kept..], offset + kept as u64);
            read.map_err(|error| {
                self.buffer.clear();
                match error.kind() {
                    ErrorKind::UnexpectedEof => {
                        Fault::Damaged { offset, why: "the file is shorter than it was" }
                    }
                    _ => Fault::Failed(error),
                }
            })?;
        }
        let at = (offset - self.buffer_at) as usize;
        Ok(&self.buffer[at..at + len])
    }
}

/// The first numbers of all segments in a folder, in order.
pub(super) fn list_segments(folder: &Path) -> Result<Vec<Seq>> {
    let read = |error| failed("read", folder, error);
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        firsts.extend(name.to_str().and_then(segment_first));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The file of the segment that begins with `first`.
pub(super) fn segment_path(folder: &Path, first: Seq) -> PathBuf {
    folder.join(format!("{:020}.seg", first.0))
}

/// The number in the name of a segment's file; `None` when the name is not one.
fn segment_first(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() != 20 {
        return None;
    }
    digits.parse().ok().map(Seq)
}

/// Removes the side file of a segment that is no longer what it says.
pub(super) fn remove_side_file(segment: &Path) -> Result<()> {
    let path = side_path(segment);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &path, error)),
        _ => Ok(()),
    }
}

fn side_path(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

/// The summary in a segment's side file; `None` when the file is missing or damaged.
fn read_summary(segment: &Path, epoch: LogEpoch) -> Option<Summary> {
    let file = File::open(side_path(segment)).ok()?;
    let (summary, _, _) = read_side_head(&file, epoch)?;
    Some(summary)
}

fn read_marks(segment: &Path, epoch: LogEpoch) -> Option<Vec<Mark>> {
    let file = File::open(side_path(segment)).ok()?;
    let (_, crc, at) = read_side_head(&file, epoch)?;
    let len = file.metadata().ok()?.len().checked_sub(at)?;
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, at).ok()?;
    let (marks, rest) = bytes.as_chunks::<MARK_LEN>();
    if checksum(epoch, &bytes) != crc || !rest.is_empty() {
        return None;
    }
    let number = |mark: &[u8; MARK_LEN], at: usize| {
        mark[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    Some(
        marks
            .iter()
            .map(|mark| Mark {
                first: Seq(number(mark, 0)),
                offset: number(mark, 8),
                latest_commit_ms: number(mark, 16) as i64,
            })
            .collect(),
    )
}

/// The summary, the checksum of the marks, and where they begin.
fn read_side_head(file: &File, epoch: LogEpoch) -> Option<(Summary, u32, u64)> {
    let mut head = [0; 12];
    file.read_exact_at(&mut head, 0).ok()?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let len = u64::from(number(0));
    if 12 + len > file.metadata().ok()?.len() {
        return None;
    }
    let mut summary = vec![0; len as usize];
    file.read_exact_at(&mut summary, 12).ok()?;
    if checksum(epoch, &summary) != number(4) {
        return None;
    }
    Some((serde_json::from_slice(&summary).ok()?, number(8), 12 + len))
}
