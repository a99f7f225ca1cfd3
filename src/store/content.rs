//! What a block says about the log itself: read once when the block is appended, and checked on the way.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Entry, Malformed, SchemaBook, parse_coverage, parse_schema};
use crate::model::coverage::Coverage;
use crate::model::position::{Position, Seq};
use crate::model::schema::{SchemaNo, TableSchema};

/// What a store keeps about a block beside its bytes.
#[derive(Debug)]
pub(super) struct Content {
    /// Schemas that are new and what is mined, in order.
    pub notes: Vec<Note>,
    /// The latest commit time among the block's commits.
    pub latest_commit_ms: Option<i64>,
    /// Where the last entry lies in the payload.
    pub last_entry_at: usize,
    /// Whether the block's commits lie in more than one file of the source.
    pub several_files: bool,
}

/// A fact about the log that outlives the segment in which it was said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Note {
    /// The entry that says it.
    pub seq: Seq,
    /// What it says.
    pub fact: Fact,
}

/// See [`Note`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    /// The number stands for this schema.
    Schema(SchemaNo, TableSchema),
    /// What is mined from here on.
    Coverage(Coverage),
}

/// Everything noted about a log up to some entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    /// The schemas.
    pub schemas: SchemaBook,
    /// What is mined.
    pub coverage: Coverage,
}

impl Knowledge {
    /// Adds what a note says.
    ///
    /// # Errors
    /// When a schema's number does not follow from the ones before.
    pub fn learn(&mut self, note: &Note) -> Result<(), Malformed> {
        match &note.fact {
            Fact::Schema(no, schema) => self.schemas.learn(*no, schema.clone()),
            Fact::Coverage(coverage) => {
                self.coverage = coverage.clone();
                Ok(())
            }
        }
    }
}

/// Reads `blocks`, which are to follow the entry before `next`, and adds what they say to `knowledge`.
///
/// # Errors
/// `Internal` when they do not follow, or are not what their fields say. `knowledge` may have grown then.
pub(super) fn examine(
    blocks: &[Arc<Block>],
    mut next: Seq,
    knowledge: &mut Knowledge,
) -> Result<Vec<Content>> {
    let mut contents = Vec::with_capacity(blocks.len());
    for block in blocks {
        if block.first != next {
            return Err(Error::new(
                Kind::Internal,
                format!(
                    "a block was appended that begins at entry {}, but the log goes on at {next}",
                    block.first
                ),
            ));
        }
        contents.push(examine_block(block, knowledge).map_err(|Malformed| {
            Error::new(Kind::Internal, format!("the block appended at entry {next} is malformed"))
        })?);
        next = block.end();
    }
    Ok(contents)
}

fn examine_block(block: &Block, knowledge: &mut Knowledge) -> Result<Content, Malformed> {
    let mut content =
        Content { notes: Vec::new(), latest_commit_ms: None, last_entry_at: 0, several_files: false };
    let (mut count, mut changes) = (0, 0);
    let mut last_commit = None;
    let mut entries = block.entries();
    loop {
        let at = block.payload.len() - entries.remaining();
        let Some(entry) = entries.next() else { break };
        let (seq, entry) = entry?;
        content.last_entry_at = at;
        count += 1;
        let mut note = |fact| {
            let note = Note { seq, fact };
            knowledge.learn(&note)?;
            content.notes.push(note);
            Ok(())
        };
        match entry {
            Entry::Change(_) => changes += 1,
            Entry::Commit { time_ms, file, .. } => {
                content.latest_commit_ms = content.latest_commit_ms.max(Some(time_ms));
                content.several_files |= last_commit.replace(file).is_some_and(|before| before != file);
            }
            Entry::Schema { no, json } => note(Fact::Schema(no, parse_schema(json)?))?,
            Entry::Coverage(json) => note(Fact::Coverage(parse_coverage(json)?))?,
        }
    }
    if count == 0 || count != block.count || changes != block.changes {
        return Err(Malformed);
    }
    // A log is cut behind its last commit by dropping whole blocks, so a commit must end its block.
    if last_commit.is_some() != block.commit.is_some() {
        return Err(Malformed);
    }
    if let Some(commit) = &block.commit
        && !ends_with(&block.payload[content.last_entry_at..], commit.time_ms, &commit.position)
    {
        return Err(Malformed);
    }
    Ok(content)
}

fn ends_with(payload: &[u8], wanted_ms: i64, wanted: &Position) -> bool {
    let last = Block {
        first: Seq(0),
        count: 1,
        changes: 0,
        first_time_ms: 0,
        commit: None,
        payload: bytes::Bytes::copy_from_slice(payload),
    };
    match last.entries().next() {
        Some(Ok((_, Entry::Commit { time_ms, offset, file, gtid }))) => {
            time_ms == wanted_ms && is_position(wanted, offset, file, gtid)
        }
        _ => false,
    }
}

/// Whether a commit entry lies at exactly `position`.
pub(super) fn is_position(position: &Position, offset: u64, file: &str, gtid: &str) -> bool {
    offset == position.offset && file == position.file && gtid == position.gtid
}

/// The entry behind the commit at `position`, when the block has it.
///
/// # Errors
/// When the payload is malformed.
pub(super) fn position_in(block: &Block, position: &Position) -> Result<Option<Seq>, Malformed> {
    for entry in block.entries() {
        if let (seq, Entry::Commit { offset, file, gtid, .. }) = entry?
            && is_position(position, offset, file, gtid)
        {
            return Ok(Some(seq.plus(1)));
        }
    }
    Ok(None)
}

/// The first entry of the block's first transaction that was committed at or after `time_ms`, when the
/// transaction which is open at the block's begin started at `transaction`.
///
/// # Errors
/// When the payload is malformed.
pub(super) fn time_in(block: &Block, mut transaction: Seq, wanted_ms: i64) -> Result<Option<Seq>, Malformed> {
    for entry in block.entries() {
        if let (seq, Entry::Commit { time_ms, .. }) = entry? {
            if time_ms >= wanted_ms {
                return Ok(Some(transaction));
            }
            transaction = seq.plus(1);
        }
    }
    Ok(None)
}
