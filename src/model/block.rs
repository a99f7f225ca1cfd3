//! Entries of a log, and the blocks in which they travel: from the miner to the store, and to every reader.
//!
//! A block's payload is a run of entries. Each entry is its length (u32, little endian, without these four
//! bytes), one byte of kind, and a body:
//!
//! | kind | body |
//! |---|---|
//! | 1 schema | number u32, then the schema as JSON |
//! | 2 change | op u8, images u8 (1 before, 2 after), schema number u32, time i64 (ms), length of the before image u32, before image, after image |
//! | 3 commit | time i64 (ms), offset u64, length of the file name u16, file name, GTID text |
//! | 4 coverage | what is mined from here on, a [`Coverage`] as JSON |
//! | 5 completed change | as 2; columns of the after image that the source left out were read later, and the image says which |
//!
//! A block that contains a commit ends with one; a block without any is a part of a transaction that was too
//! large for one block. So a log can be cut behind its last commit by dropping whole blocks.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::position::{Position, Seq};
use super::row::{Row, RowView};
use super::schema::{SchemaNo, TableSchema};

/// Version of the entry and row encodings. A log of another version is not read.
pub const FORMAT_VERSION: u16 = 2;

const KIND_SCHEMA: u8 = 1;
const KIND_CHANGE: u8 = 2;
const KIND_COMMIT: u8 = 3;
const KIND_COVERAGE: u8 = 4;
/// A kind of its own, so that a version of lode that does not know such images does not read them as others.
const KIND_COMPLETED: u8 = 5;

const IMAGE_BEFORE: u8 = 1;
const IMAGE_AFTER: u8 = 2;

/// What happened to a row, or to a whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A row came.
    Insert,
    /// A row changed.
    Update,
    /// A row went.
    Delete,
    /// All rows went. There is no image.
    Truncate,
}

impl Op {
    /// The word in scripts and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
            Op::Truncate => "truncate",
        }
    }

    fn from_byte(byte: u8) -> Option<Op> {
        Some(match byte {
            0 => Op::Insert,
            1 => Op::Update,
            2 => Op::Delete,
            3 => Op::Truncate,
            _ => return None,
        })
    }
}

/// The end of a transaction, and the only place where a reader may stop and go on later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The place behind the transaction in the source's log.
    pub position: Position,
    /// The server's commit time, milliseconds since 1970 UTC. MariaDB gives whole seconds.
    pub time_ms: i64,
}

/// A run of entries. Its bytes are shared, never copied, by all readers of the process.
#[derive(Clone, Debug)]
pub struct Block {
    /// Number of the first entry.
    pub first: Seq,
    /// How many entries.
    pub count: u32,
    /// How many of them are changes.
    pub changes: u32,
    /// Time of the block's first change or commit, milliseconds since 1970 UTC.
    pub first_time_ms: i64,
    /// The last entry, when it is a commit.
    pub commit: Option<Commit>,
    /// The encoded entries.
    pub payload: Bytes,
}

impl Block {
    /// The number after the last entry.
    pub fn end(&self) -> Seq {
        self.first.plus(u64::from(self.count))
    }

    /// The entries in order, each with its number.
    pub fn entries(&self) -> Entries<'_> {
        Entries { rest: &self.payload, next: self.first }
    }

    /// The entries in a part of the payload, the first of them being number `first`.
    pub(crate) fn entries_in(&self, bytes: Range<usize>, first: Seq) -> Entries<'_> {
        Entries { rest: &self.payload[bytes], next: first }
    }

    /// Makes the row at `image`, which must lie in this block's payload, share the block's bytes.
    pub fn row(&self, schema: &Arc<TableSchema>, image: &[u8]) -> Row {
        Row { schema: Arc::clone(schema), image: self.payload.slice_ref(image) }
    }
}

/// How many changes a block has of one table at one time. A block's counts are in the order of its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The table's schema.
    pub schema: SchemaNo,
    /// How many changes.
    pub changes: u32,
    /// When the source executed them, milliseconds since 1970 UTC.
    pub time_ms: i64,
}

/// Counts the changes of a block that was read: what [`BlockBuilder::take_counts`] gives for one that was built.
///
/// # Errors
/// When the block's bytes are not a run of entries.
pub fn count(block: &Block) -> Result<Vec<Count>, Malformed> {
    let mut counts = Vec::new();
    for entry in block.entries() {
        if let (_, Entry::Change(change)) = entry? {
            add_one(&mut counts, change.schema, change.time_ms);
        }
    }
    Ok(counts)
}

#[inline]
fn add_one(counts: &mut Vec<Count>, schema: SchemaNo, time_ms: i64) {
    match counts.last_mut() {
        Some(last) if last.schema == schema && last.time_ms == time_ms => last.changes += 1,
        _ => counts.push(Count { schema, changes: 1, time_ms }),
    }
}

/// One entry, read in place.
#[derive(Clone, Debug)]
pub enum Entry<'a> {
    /// From here on, `no` stands for this schema.
    Schema {
        /// The number.
        no: SchemaNo,
        /// The schema as JSON; `parse_schema` reads it.
        json: &'a [u8],
    },
    /// A row changed.
    Change(ChangeEntry<'a>),
    /// A transaction ended.
    Commit {
        /// The server's commit time, milliseconds since 1970 UTC.
        time_ms: i64,
        /// Offset behind the transaction.
        offset: u64,
        /// File of the source's log.
        file: &'a str,
        /// GTID text.
        gtid: &'a str,
    },
    /// What is mined from here on, a [`Coverage`] as JSON; `parse_coverage` reads it.
    Coverage(&'a [u8]),
}

/// A changed row, read in place.
#[derive(Clone, Copy, Debug)]
pub struct ChangeEntry<'a> {
    /// What happened.
    pub op: Op,
    /// The schema of both images.
    pub schema: SchemaNo,
    /// When the source executed the change, milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// The row before: for updates and deletes.
    pub before: Option<&'a [u8]>,
    /// The row after: for inserts and updates.
    pub after: Option<&'a [u8]>,
}

impl<'a> ChangeEntry<'a> {
    /// A view of the row before.
    pub fn before_view(&self, schema: &'a TableSchema) -> Option<RowView<'a>> {
        self.before.map(|image| RowView::new(schema, image))
    }

    /// A view of the row after.
    pub fn after_view(&self, schema: &'a TableSchema) -> Option<RowView<'a>> {
        self.after.map(|image| RowView::new(schema, image))
    }
}

/// Bytes that are not a run of entries of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads the schema of a schema entry.
///
/// # Errors
/// When the bytes are not a schema.
pub fn parse_schema(json: &[u8]) -> Result<TableSchema, Malformed> {
    serde_json::from_slice(json).map_err(|_| Malformed)
}

/// Reads a coverage entry.
///
/// # Errors
/// When the bytes are not one.
pub fn parse_coverage(json: &[u8]) -> Result<Coverage, Malformed> {
    serde_json::from_slice(json).map_err(|_| Malformed)
}

/// Iterator over a payload. It ends at the first malformed entry, which it yields as an error.
pub struct Entries<'a> {
    rest: &'a [u8],
    next: Seq,
}

impl Entries<'_> {
    /// Bytes of the payload that were not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(Seq, Entry<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((entry, rest)) = read_entry(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed));
        };
        let seq = self.next;
        self.rest = rest;
        self.next = seq.plus(1);
        Some(Ok((seq, entry)))
    }
}

#[inline]
fn read_entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let (&kind, body) = body.split_first()?;
    let entry = match kind {
        KIND_CHANGE | KIND_COMPLETED => {
            let (head, images) = body.split_first_chunk::<18>()?;
            let op = Op::from_byte(head[0])?;
            let schema = SchemaNo(u32::from_le_bytes(head[2..6].try_into().ok()?));
            let time_ms = i64::from_le_bytes(head[6..14].try_into().ok()?);
            let before_len = u32::from_le_bytes(head[14..18].try_into().ok()?) as usize;
            let (before, after) = images.split_at_checked(before_len)?;
            Entry::Change(ChangeEntry {
                op,
                schema,
                time_ms,
                before: (head[1] & IMAGE_BEFORE != 0).then_some(before),
                after: (head[1] & IMAGE_AFTER != 0).then_some(after),
            })
        }
        KIND_COMMIT => {
            let (head, texts) = body.split_first_chunk::<18>()?;
            let time_ms = i64::from_le_bytes(head[0..8].try_into().ok()?);
            let offset = u64::from_le_bytes(head[8..16].try_into().ok()?);
            let file_len = u16::from_le_bytes(head[16..18].try_into().ok()?) as usize;
            let (file, gtid) = texts.split_at_checked(file_len)?;
            Entry::Commit {
                time_ms,
                offset,
                file: std::str::from_utf8(file).ok()?,
                gtid: std::str::from_utf8(gtid).ok()?,
            }
        }
        KIND_SCHEMA => {
            let (no, json) = body.split_first_chunk()?;
            Entry::Schema { no: SchemaNo(u32::from_le_bytes(*no)), json }
        }
        KIND_COVERAGE => Entry::Coverage(body),
        _ => return None,
    };
    Some((entry, rest))
}

/// The schemas of a log by number, and the numbers of known schemas.
#[derive(Clone, Debug, Default)]
pub struct SchemaBook {
    by_no: Vec<Arc<TableSchema>>,
    by_schema: HashMap<Arc<TableSchema>, SchemaNo>,
}

impl SchemaBook {
    /// The schema with this number.
    pub fn get(&self, no: SchemaNo) -> Option<&Arc<TableSchema>> {
        self.by_no.get(no.0 as usize)
    }

    /// The number of a schema that is already known.
    pub fn number(&self, schema: &TableSchema) -> Option<SchemaNo> {
        self.by_schema.get(schema).copied()
    }

    /// Adds the schema that the entry with this number brought. Hearing of one twice changes nothing.
    ///
    /// # Errors
    /// When numbers before it are missing, or the number stands for another schema.
    pub fn learn(&mut self, no: SchemaNo, schema: TableSchema) -> Result<(), Malformed> {
        match self.by_no.get(no.0 as usize) {
            Some(known) if **known == schema => Ok(()),
            Some(_) => Err(Malformed),
            None if no.0 as usize == self.by_no.len() => {
                self.add(schema);
                Ok(())
            }
            None => Err(Malformed),
        }
    }

    /// All schemas in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (SchemaNo, &Arc<TableSchema>)> {
        self.by_no.iter().enumerate().map(|(no, schema)| (SchemaNo(no as u32), schema))
    }

    fn add(&mut self, schema: TableSchema) -> SchemaNo {
        let no = SchemaNo(self.by_no.len() as u32);
        let schema = Arc::new(schema);
        self.by_no.push(Arc::clone(&schema));
        self.by_schema.insert(schema, no);
        no
    }
}

/// Collects entries and seals them into blocks. The source writes into it directly.
#[derive(Debug)]
pub struct BlockBuilder {
    next: Seq,
    book: SchemaBook,
    open: Open,
    committed: Option<Committed>,
    /// Of the block that was sealed last.
    counts: Vec<Count>,
}

/// The beginning of a transaction, taken out of a [`BlockBuilder`].
#[derive(Debug)]
pub struct Aside(Open);

/// The block that is being written.
#[derive(Debug, Default)]
struct Open {
    payload: Vec<u8>,
    count: u32,
    changes: u32,
    first_time_ms: Option<i64>,
    /// Of the changes behind the last commit.
    counts: Vec<Count>,
    /// Of those before it.
    committed_counts: Vec<Count>,
}

/// Where the last commit of the open block ends.
#[derive(Debug)]
struct Committed {
    len: usize,
    count: u32,
    changes: u32,
    commit: Commit,
}

impl BlockBuilder {
    /// A builder whose first entry gets the number `next`, and which knows the schemas of `book`.
    pub fn new(next: Seq, book: SchemaBook) -> Self {
        BlockBuilder { next, book, open: Open::default(), committed: None, counts: Vec::new() }
    }

    /// The number that the next entry gets.
    pub fn next_seq(&self) -> Seq {
        self.next.plus(u64::from(self.open.count))
    }

    /// Bytes written and not yet sealed.
    pub fn len(&self) -> usize {
        self.open.payload.len()
    }

    /// Whether nothing waits to be sealed.
    pub fn is_empty(&self) -> bool {
        self.open.payload.is_empty()
    }

    /// Whether a transaction is waiting that is complete.
    pub fn has_commit(&self) -> bool {
        self.committed.is_some()
    }

    /// How many changes were written since the last commit in the open block.
    pub fn open_changes(&self) -> u32 {
        self.open.changes - self.committed.as_ref().map_or(0, |committed| committed.changes)
    }

    /// The schemas so far.
    pub fn book(&self) -> &SchemaBook {
        &self.book
    }

    /// The number of `schema`, writing a schema entry when it is new.
    pub fn schema(&mut self, schema: &TableSchema) -> SchemaNo {
        if let Some(no) = self.book.number(schema) {
            return no;
        }
        let no = self.book.add(schema.clone());
        let json = serde_json::to_vec(schema).expect("a schema is plain data");
        self.entry(KIND_SCHEMA, |payload| {
            payload.extend_from_slice(&no.0.to_le_bytes());
            payload.extend_from_slice(&json);
        });
        no
    }

    /// Says what is mined from here on.
    pub fn coverage(&mut self, coverage: &Coverage) {
        let json = serde_json::to_vec(coverage).expect("a note is plain data");
        self.entry(KIND_COVERAGE, |payload| payload.extend_from_slice(&json));
    }

    /// Writes one change. `before` and `after` append an image each, with
    /// [`ImageWriter`](super::row::ImageWriter); one that the operation does not have is `None`.
    ///
    /// # Errors
    /// What an image's writer returns. The builder then is as it was before the call.
    pub fn change<E>(
        &mut self,
        op: Op,
        schema: SchemaNo,
        time_ms: i64,
        before: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), E>>,
        after: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), E>>,
    ) -> Result<(), E> {
        let payload = &mut self.open.payload;
        let start = payload.len();
        let images =
            if before.is_some() { IMAGE_BEFORE } else { 0 } | if after.is_some() { IMAGE_AFTER } else { 0 };
        let mut head = [0; 23];
        head[4] = KIND_CHANGE;
        head[5] = op as u8;
        head[6] = images;
        head[7..11].copy_from_slice(&schema.0.to_le_bytes());
        head[11..19].copy_from_slice(&time_ms.to_le_bytes());
        payload.extend_from_slice(&head);
        let written = (|| {
            if let Some(before) = before {
                before(payload)?;
            }
            let before_len = (payload.len() - start - head.len()) as u32;
            payload[start + 19..start + 23].copy_from_slice(&before_len.to_le_bytes());
            if let Some(after) = after {
                after(payload)?;
            }
            Ok(())
        })();
        if let Err(error) = written {
            payload.truncate(start);
            return Err(error);
        }
        let len = (payload.len() - start - 4) as u32;
        payload[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.open.count += 1;
        self.count_change(schema, time_ms);
        Ok(())
    }

    /// Copies an entry of another block as it is; `bytes` are all of its bytes. A schema keeps its number, and does not
    /// join the book.
    pub fn copy(&mut self, entry: &Entry<'_>, bytes: &[u8]) {
        self.open.payload.extend_from_slice(bytes);
        self.open.count += 1;
        match entry {
            Entry::Change(change) => self.count_change(change.schema, change.time_ms),
            Entry::Commit { time_ms, offset, file, gtid } => {
                let position =
                    Position { gtid: (*gtid).to_owned(), file: (*file).to_owned(), offset: *offset };
                self.committed(Commit { position, time_ms: *time_ms });
            }
            Entry::Schema { .. } | Entry::Coverage(_) => {}
        }
    }

    /// Writes a change of another block with another after image, in which columns were read later.
    pub fn completed(&mut self, change: &ChangeEntry<'_>, after: &[u8]) {
        let before = change.before.unwrap_or_default();
        self.entry(KIND_COMPLETED, |payload| {
            payload.push(change.op as u8);
            payload.push(if change.before.is_some() { IMAGE_BEFORE } else { 0 } | IMAGE_AFTER);
            payload.extend_from_slice(&change.schema.0.to_le_bytes());
            payload.extend_from_slice(&change.time_ms.to_le_bytes());
            payload.extend_from_slice(&(before.len() as u32).to_le_bytes());
            payload.extend_from_slice(before);
            payload.extend_from_slice(after);
        });
        self.count_change(change.schema, change.time_ms);
    }

    #[inline]
    fn count_change(&mut self, schema: SchemaNo, time_ms: i64) {
        self.open.changes += 1;
        self.open.first_time_ms.get_or_insert(time_ms);
        add_one(&mut self.open.counts, schema, time_ms);
    }

    /// Ends the transaction.
    pub fn commit(&mut self, commit: Commit) {
        self.entry(KIND_COMMIT, |payload| {
            payload.extend_from_slice(&commit.time_ms.to_le_bytes());
            payload.extend_from_slice(&commit.position.offset.to_le_bytes());
            payload.extend_from_slice(&(commit.position.file.len() as u16).to_le_bytes());
            payload.extend_from_slice(commit.position.file.as_bytes());
            payload.extend_from_slice(commit.position.gtid.as_bytes());
        });
        self.committed(commit);
    }

    fn committed(&mut self, commit: Commit) {
        let open = &mut self.open;
        open.first_time_ms.get_or_insert(commit.time_ms);
        open.committed_counts.append(&mut open.counts);
        self.committed =
            Some(Committed { len: open.payload.len(), count: open.count, changes: open.changes, commit });
    }

    /// Seals everything up to the last commit into a block; what follows it stays. `None` when there is no commit.
    pub fn seal(&mut self) -> Option<Block> {
        let committed = self.committed.take()?;
        let (payload, rest) = cut(std::mem::take(&mut self.open.payload), committed.len);
        let block = Block {
            first: self.next,
            count: committed.count,
            changes: committed.changes,
            first_time_ms: self.open.first_time_ms.unwrap_or(committed.commit.time_ms),
            commit: Some(committed.commit),
            payload,
        };
        self.next = block.end();
        self.counts = std::mem::take(&mut self.open.committed_counts);
        self.open = Open {
            // The tail's first change decides; without one, the next entry with a time does.
            first_time_ms: first_time(&rest),
            payload: rest,
            count: self.open.count - committed.count,
            changes: self.open.changes - committed.changes,
            counts: std::mem::take(&mut self.open.counts),
            committed_counts: Vec::new(),
        };
        Some(block)
    }

    /// Seals the beginning or the middle of a transaction that is too large to wait for its end. `None` when
    /// nothing is waiting.
    ///
    /// # Panics
    /// When a complete transaction is waiting: that is for [`seal`](Self::seal).
    pub fn seal_part(&mut self) -> Option<Block> {
        assert!(self.committed.is_none(), "complete transactions are sealed first");
        if self.is_empty() {
            return None;
        }
        let open = std::mem::take(&mut self.open);
        self.counts = open.counts;
        let len = open.payload.len();
        let (payload, rest) = cut(open.payload, len);
        self.open.payload = rest;
        let block = Block {
            first: self.next,
            count: open.count,
            changes: open.changes,
            first_time_ms: open.first_time_ms.unwrap_or_default(),
            commit: None,
            payload,
        };
        self.next = block.end();
        Some(block)
    }

    /// The counts of the block that was sealed last; they are given once.
    pub fn take_counts(&mut self) -> Vec<Count> {
        std::mem::take(&mut self.counts)
    }

    /// Takes out the beginning of a transaction, so that other entries can come before it; [`put_back`](Self::put_back)
    /// puts it behind them. `None` when it has brought a schema: numbers of schemas keep their order.
    ///
    /// # Panics
    /// When a complete transaction is waiting: that is for [`seal`](Self::seal).
    pub fn set_aside(&mut self) -> Option<Aside> {
        assert!(self.committed.is_none(), "complete transactions are sealed first");
        let entries = Entries { rest: &self.open.payload, next: self.next };
        for entry in entries {
            if matches!(entry, Ok((_, Entry::Schema { .. }))) {
                return None;
            }
        }
        Some(Aside(std::mem::take(&mut self.open)))
    }

    /// Puts back what was taken out.
    ///
    /// # Panics
    /// When what was written meanwhile is not sealed.
    pub fn put_back(&mut self, aside: Aside) {
        assert!(self.is_empty(), "what came before it is sealed");
        self.open = aside.0;
    }

    fn entry(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        let payload = &mut self.open.payload;
        let start = payload.len();
        payload.extend_from_slice(&[0, 0, 0, 0, kind]);
        body(payload);
        let len = (payload.len() - start - 4) as u32;
        payload[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.open.count += 1;
    }
}

/// Cuts a buffer: the first `len` bytes to be shared, and a buffer that goes on with the others.
fn cut(mut buffer: Vec<u8>, len: usize) -> (Bytes, Vec<u8>) {
    // A short block must not keep a large buffer alive as long as a reader holds it.
    if len < buffer.capacity() / 2 {
        let head = Bytes::copy_from_slice(&buffer[..len]);
        buffer.drain(..len);
        return (head, buffer);
    }
    let mut rest = Vec::with_capacity(buffer.capacity());
    rest.extend_from_slice(&buffer[len..]);
    buffer.truncate(len);
    (buffer.into(), rest)
}

fn first_time(payload: &[u8]) -> Option<i64> {
    Entries { rest: payload, next: Seq(0) }.find_map(|entry| match entry {
        Ok((_, Entry::Change(change))) => Some(change.time_ms),
        Ok((_, Entry::Commit { time_ms, .. })) => Some(time_ms),
        _ => None,
    })
}
