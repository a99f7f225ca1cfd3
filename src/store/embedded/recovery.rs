//! What happens when a log is opened: everything acknowledged is found again, everything behind it is cut off.
//!
//! Bytes that are no block are either the remains of a write that was cut short, which are dropped, or damage to
//! something that was acknowledged, which is an error. They are damage when
//!
//! - they lie in a segment that is followed by another, as a segment is synced before the next is made;
//! - or a whole block follows that was written when they were acknowledged already: its header says so;
//! - or the file `acknowledged` says so, which each append rewrites.
//!
//! Only of the last append before a power failure can it be unknown whether it was acknowledged.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::catalog::Catalog;
use super::folder::{Acknowledged, corrupt, failed, sync_folder};
use super::frame::{Decoder, HEADER_LEN, Header, MAGIC};
use super::segment::{Fault, Frames, Segment, list_segments, remove_side_file, segment_path};
use crate::error::Result;
use crate::model::block::Commit;
use crate::model::position::{LogEpoch, Seq};
use crate::store::Tail;
use crate::store::content::Knowledge;

/// How much is read at once when whole segments are checked.
const SCAN_CHUNK: usize = 1 << 20;

/// What was found.
pub(super) struct Recovered {
    /// All segments; the last is the one to go on with.
    pub segments: Vec<Arc<Segment>>,
    /// The end.
    pub tail: Tail,
    /// What was noted before the tail.
    pub knowledge: Knowledge,
    /// The catalog, cut to the tail.
    pub catalog: Catalog,
    /// The file that `Log::append` rewrites.
    pub acknowledged: Acknowledged,
}

/// Reads the folder of a log that nobody else has open, and cuts off what follows the last commit.
///
/// # Errors
/// `Corrupt` when something before the last commit is damaged: then nothing was changed. `Environment` when a
/// file cannot be read or cut.
pub(super) fn recover(folder: &Path, epoch: LogEpoch) -> Result<Recovered> {
    let (acknowledged_file, acknowledged) = Acknowledged::open(folder, epoch)?;
    remove_lone_side_files(folder)?;
    let firsts = list_segments(folder)?;
    let mut segments: Vec<Segment> = Vec::with_capacity(firsts.len());
    let mut end = None;
    let mut last_commit = None;
    for (at, &first) in firsts.iter().enumerate() {
        if end.is_some_and(|end| end != first) {
            return Err(corrupt(
                &segment_path(folder, first),
                0,
                "the segment before it is missing or too short",
            ));
        }
        if at + 1 < firsts.len() {
            let segment = Segment::sealed(folder, first, epoch)?;
            end = Some(segment.summary_with(|summary| summary.end));
            segments.push(segment);
        } else {
            let segment = Segment::empty(folder, first);
            last_commit = scan(&segment, epoch, Some(acknowledged))?;
            segments.push(segment);
        }
    }
    // The transaction at the end may have begun in a segment before the last one.
    let mut keep = segments.len();
    while keep > 0 && !segments[keep - 1].summary_with(|summary| summary.has_commit) {
        keep -= 1;
    }
    if keep > 0 && keep < segments.len() {
        last_commit = scan(&Segment::empty(folder, segments[keep - 1].first), epoch, None)?;
    }
    let tail = Tail {
        next: last_commit.as_ref().map_or(Seq(0), |last| last.header.end()),
        commit: last_commit.as_ref().map(|last| last.commit.clone()),
    };
    if tail.next < acknowledged {
        let path = segments.last().map_or(folder.to_owned(), |segment| segment.path.clone());
        let at = segments.last().map_or(0, |segment| segment.summary_with(|summary| summary.bytes));
        return Err(corrupt(&path, at, "transactions are missing that were acknowledged"));
    }
    if last_commit.is_none() && firsts.first().is_some_and(|first| *first != Seq(0)) {
        return Err(corrupt(
            &segments[0].path,
            0,
            "the log has no commit, but does not begin with its first entry",
        ));
    }
    let notes = last_commit.as_ref().map_or(0, |last| last.header.notes);
    let (catalog, knowledge) = Catalog::open(folder, epoch, tail.next, notes)?;

    // The newest first, so that no hole is left if this is interrupted.
    for segment in segments.drain(keep..).rev() {
        segment.remove()?;
        sync_folder(folder)?;
    }
    if let (Some(last), Some(segment)) = (last_commit, segments.pop()) {
        remove_side_file(&segment.path)?;
        let end = last.offset + last.header.frame_len();
        cut(&segment.path, end)?;
        let segment = Segment::empty(folder, segment.first);
        segment.scan_headers(epoch, end).map_err(|fault| fault.into_error(&segment.path))?;
        segments.push(segment);
    }
    sync_folder(folder)?;
    acknowledged_file.note(tail.next);
    Ok(Recovered {
        segments: segments.into_iter().map(Arc::new).collect(),
        tail,
        knowledge,
        catalog,
        acknowledged: acknowledged_file,
    })
}

/// The last block of a segment that ends with a commit.
struct LastCommit {
    offset: u64,
    header: Header,
    commit: Commit,
}

/// Reads a whole segment and adds its blocks to `segment`. With `acknowledged` given it is the last one, in which
/// the end may be torn.
fn scan(segment: &Segment, epoch: LogEpoch, acknowledged: Option<Seq>) -> Result<Option<LastCommit>> {
    let path = &segment.path;
    let len = fs::metadata(path).map_err(|error| failed("read", path, error))?.len();
    let shown = |fault: Fault| fault.into_error(path);
    let decoder = Decoder::default();
    let mut frames = Frames::open(path, epoch, SCAN_CHUNK, 0, len, segment.first).map_err(shown)?;
    let mut last: Option<(u64, Header)> = None;
    let mut end = (0, segment.first);
    loop {
        let checked = frames.next().and_then(|found| match found {
            Some((offset, header)) => frames.body(offset, &header).map(|_| Some((offset, header))),
            None => Ok(None),
        });
        match checked {
            Ok(Some((offset, header))) => {
                segment.add(offset, &header);
                end = (offset + header.frame_len(), header.end());
                if header.has_commit {
                    last = Some((offset, header));
                }
            }
            Ok(None) => break,
            Err(Fault::Damaged { offset, why }) => {
                let (torn_at, torn) = end;
                let was_acknowledged = match acknowledged {
                    Some(acknowledged) => {
                        torn < acknowledged || follows_proof(path, epoch, torn_at, len, torn)?
                    }
                    None => true,
                };
                if was_acknowledged {
                    return Err(corrupt(path, offset, why));
                }
                break;
            }
            Err(fault) => return Err(shown(fault)),
        }
    }
    let Some((offset, header)) = last else { return Ok(None) };
    let mut frames = Frames::open(path, epoch, HEADER_LEN, offset, offset + header.frame_len(), header.first)
        .map_err(shown)?;
    let body = frames.body(offset, &header).map_err(shown)?;
    let block = decoder.block(&header, body).map_err(|why| corrupt(path, offset, why))?;
    Ok(block.commit.map(|commit| LastCommit { offset, header, commit }))
}

/// Whether behind `offset` there is a block that was written when the entry `torn` was acknowledged already.
fn follows_proof(path: &Path, epoch: LogEpoch, offset: u64, len: u64, torn: Seq) -> Result<bool> {
    let read = |error| failed("read", path, error);
    let file = File::open(path).map_err(read)?;
    let mut buffer = Vec::new();
    let mut at = offset;
    while at + (HEADER_LEN as u64) <= len {
        buffer.resize((SCAN_CHUNK as u64).min(len - at) as usize, 0);
        file.read_exact_at(&mut buffer, at).map_err(read)?;
        let found = buffer.windows(HEADER_LEN).any(|bytes| {
            bytes.starts_with(&MAGIC)
                && Header::decode(bytes, epoch).is_ok_and(|header| header.acknowledged > torn)
        });
        if found {
            return Ok(true);
        }
        // A header may lie across the border of two pieces.
        at += (buffer.len() - HEADER_LEN + 1) as u64;
    }
    Ok(false)
}

/// Removes side files without a segment.
fn remove_lone_side_files(folder: &Path) -> Result<()> {
    let read = |error| failed("read", folder, error);
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "idx")
            && !path.with_extension("seg").exists()
        {
            remove_side_file(&path)?;
        }
    }
    Ok(())
}

/// Cuts a segment; durable when it returns, also when there was nothing to cut: what a killed process wrote
/// may not be on the disk yet.
fn cut(path: &Path, len: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).map_err(|error| failed("open", path, error))?;
    let longer = file.metadata().is_ok_and(|metadata| metadata.len() > len);
    let cut = if longer { file.set_len(len) } else { Ok(()) };
    cut.and_then(|()| file.sync_all()).map_err(|error| failed("cut", path, error))
}
