//! A block as documents: what the server indexes, what people read, and the block's own bytes, which are all that lode
//! reads back.

use std::collections::BTreeSet;

use bytes::Bytes;
use crc32fast::Hasher;
use mongodb::bson::RawDocument;
use mongodb::bson::raw::RawDocumentBuf;

use super::readable::write_changes;
use crate::client::mongodb::bson::Bson;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Commit, Entry, Malformed, SchemaBook};
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::content::Content;

/// So many bytes of a block lie in its document; the rest in further ones.
const PART_BYTES: usize = 6 << 20;
/// Payloads below this gain nothing from compression.
const COMPRESS_FROM: usize = 256;
/// zstd at this level takes a third of the space of the payload at several hundred megabytes a second.
const LEVEL: i32 = 1;

/// What a document says of its block's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Blocks are counted from 0, without a hole.
    pub number: u64,
    /// The fence of the writer.
    pub fence: i64,
    /// Where the transaction begins that is open at the block's begin; its own first entry when there is none.
    pub transaction: Seq,
    /// The latest commit time of all blocks so far, this one included.
    pub reached_ms: Option<i64>,
}

/// The documents of one block.
#[derive(Debug)]
pub(super) struct Documents {
    main: Vec<u8>,
    /// Where `main` says how many bytes were written before it, which is known last.
    written_at: usize,
    more: Vec<RawDocumentBuf>,
    /// Their size.
    pub bytes: u64,
    /// Size of the payload.
    pub payload_bytes: u64,
}

/// How many bytes a log has taken in its whole life up to some block; differences give what a range takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// In documents.
    pub stored: u64,
    /// Before compression.
    pub payload: u64,
}

impl Documents {
    /// The documents, once it is known what was written before them.
    pub fn place(mut self, before: Written) -> impl Iterator<Item = RawDocumentBuf> {
        let (stored, payload) = (self.written_at, self.written_at + SIZE_OF_WRITTEN);
        self.main[stored..stored + 8].copy_from_slice(&before.stored.to_le_bytes());
        self.main[payload..payload + 8].copy_from_slice(&before.payload.to_le_bytes());
        let main = RawDocumentBuf::from_bytes(self.main).expect("the writer closes what it opens");
        std::iter::once(main).chain(self.more)
    }
}

/// From the number in the element `written` to the one in the element behind it.
const SIZE_OF_WRITTEN: usize = 8 + 1 + PAYLOAD_BEFORE.len() + 1;
const PAYLOAD_BEFORE: &str = "payload_before";

/// The key of the document with part `part` of block `number`. Text, so that no range of numbers has it; of fixed
/// length, so that it sorts by number.
pub(super) fn part_id(number: u64, part: usize) -> String {
    format!("{number:020}/{part:04}")
}

/// Turns a block into documents.
///
/// # Errors
/// `Internal` when it names a schema that is not in the book; `Environment` when zstd gets no memory.
pub(super) fn encode(
    epoch: LogEpoch,
    place: Place,
    block: &Block,
    content: &Content,
    schemas: &SchemaBook,
) -> Result<Documents> {
    let malformed = |Malformed| {
        Error::new(Kind::Internal, format!("the block appended at entry {} is malformed", block.first))
    };
    let mut bson = Bson::new(block.payload.len() * 4 + 1024);
    bson.int64("_id", place.number as i64);
    bson.int64("first", block.first.0 as i64);
    bson.int64("last", block.end().0 as i64 - 1);
    if let Some(ms) = place.reached_ms {
        bson.date("time", ms);
    }
    bson.date("first_time", block.first_time_ms);
    if let Some(ms) = content.latest_commit_ms {
        bson.date("latest_commit", ms);
    }
    bson.int64("transaction", place.transaction.0 as i64);
    bson.int32("rows", block.changes as i32);
    if let Some(commit) = &block.commit {
        let open = bson.document("commit");
        bson.date("time", commit.time_ms);
        bson.text("file", &commit.position.file);
        bson.int64("offset", commit.position.offset as i64);
        bson.text("gtid", &commit.position.gtid);
        bson.close(open);
    }
    write_index(&mut bson, block, schemas).map_err(malformed)?;
    write_changes(&mut bson, block, schemas).map_err(malformed)?;
    bson.int64("fence", place.fence);
    bson.int64("written_before", 0);
    let written_at = bson.len() - 8;
    bson.int64(PAYLOAD_BEFORE, 0);

    let data = compress(&block.payload)?;
    let (zstd, data) = match &data {
        Some(data) => (true, data.as_slice()),
        None => (false, block.payload.as_ref()),
    };
    let mut parts = data.chunks(PART_BYTES);
    let open = bson.document("block");
    bson.int32("bytes", block.payload.len() as i32);
    bson.int64("crc", i64::from(checksum(epoch, place.number, block)));
    bson.bool("zstd", zstd);
    bson.int32("parts", data.len().div_ceil(PART_BYTES) as i32);
    bson.binary("data", parts.next().unwrap_or_default());
    bson.close(open);
    let main = bson.finish();

    let more: Vec<RawDocumentBuf> =
        parts.enumerate().map(|(index, data)| encode_part(place, index + 1, data)).collect();
    let bytes = main.len() + more.iter().map(|part| part.as_bytes().len()).sum::<usize>();
    let payload_bytes = block.payload.len() as u64;
    Ok(Documents { main, written_at, more, bytes: bytes as u64, payload_bytes })
}

fn encode_part(place: Place, part: usize, data: &[u8]) -> RawDocumentBuf {
    let mut bson = Bson::new(data.len() + 64);
    bson.display("_id", part_id(place.number, part));
    bson.int64("fence", place.fence);
    bson.binary("data", data);
    RawDocumentBuf::from_bytes(bson.finish()).expect("the writer closes what it opens")
}

/// What the server finds blocks by: the tables, and where in each file of the source their commits lie.
fn write_index(bson: &mut Bson, block: &Block, schemas: &SchemaBook) -> Result<(), Malformed> {
    let mut tables = BTreeSet::new();
    let mut files: Vec<(&str, u64, u64)> = Vec::new();
    for entry in block.entries() {
        match entry?.1 {
            Entry::Change(change) => {
                tables.insert(change.schema);
            }
            Entry::Commit { file, offset, .. } => match files.iter_mut().find(|known| known.0 == file) {
                Some((_, from, to)) => (*from, *to) = ((*from).min(offset), (*to).max(offset)),
                None => files.push((file, offset, offset)),
            },
            _ => {}
        }
    }
    let names: Result<BTreeSet<_>, Malformed> =
        tables.into_iter().map(|no| schemas.get(no).map(|schema| &schema.name).ok_or(Malformed)).collect();
    let list = bson.array("tables");
    for (index, name) in names?.into_iter().enumerate() {
        bson.display(itoa::Buffer::new().format(index), name);
    }
    bson.close(list);
    let list = bson.array("commits");
    for (index, (file, from, to)) in files.into_iter().enumerate() {
        let element = bson.element(index);
        bson.text("file", file);
        bson.int64("from", from as i64);
        bson.int64("to", to as i64);
        bson.close(element);
    }
    bson.close(list);
    Ok(())
}

/// The payload compressed; `None` where that does not make it smaller.
fn compress(payload: &[u8]) -> Result<Option<Vec<u8>>> {
    if payload.len() < COMPRESS_FROM {
        return Ok(None);
    }
    let compressed = zstd::bulk::compress(payload, LEVEL)
        .map_err(|error| Error::new(Kind::Environment, "zstd cannot compress a block").caused_by(error))?;
    Ok((compressed.len() < payload.len()).then_some(compressed))
}

/// A block as its document has it, before its bytes are unpacked.
#[derive(Debug)]
pub(super) struct Packed {
    /// See [`Place`].
    pub number: u64,
    /// See [`Place`].
    pub transaction: Seq,
    /// The block, without payload.
    block: Block,
    /// Size of the payload.
    pub payload_bytes: usize,
    crc: u32,
    zstd: bool,
    /// In how many pieces the bytes lie.
    pub parts: usize,
    data: Vec<u8>,
}

impl Packed {
    /// Reads a document; the reason when it is not one of a block.
    pub fn read(document: &RawDocument) -> Result<Packed, &'static str> {
        Self::try_read(document).map_err(|_| "a field is missing or has another type")
    }

    fn try_read(document: &RawDocument) -> Result<Packed, mongodb::bson::error::Error> {
        let long = |key| document.get_i64(key).map(|value| value as u64);
        let ms = |key| document.get_datetime(key).map(|at| at.timestamp_millis());
        let (first, last) = (long("first")?, long("last")?);
        let commit = match document.get("commit")?.and_then(|value| value.as_document()) {
            Some(commit) => Some(read_commit(commit)?),
            None => None,
        };
        let packed = document.get_document("block")?;
        Ok(Packed {
            number: long("_id")?,
            transaction: Seq(long("transaction")?),
            block: Block {
                first: Seq(first),
                count: last.wrapping_sub(first).wrapping_add(1) as u32,
                changes: document.get_i32("rows")? as u32,
                first_time_ms: ms("first_time")?,
                commit,
                payload: Bytes::new(),
            },
            payload_bytes: packed.get_i32("bytes")? as u32 as usize,
            crc: packed.get_i64("crc")? as u32,
            zstd: packed.get_bool("zstd")?,
            parts: packed.get_i32("parts")? as u32 as usize,
            data: packed.get_binary("data")?.bytes.to_vec(),
        })
    }

    /// Number of the first entry.
    pub fn first(&self) -> Seq {
        self.block.first
    }

    /// The number after the last entry.
    pub fn end(&self) -> Seq {
        self.block.end()
    }

    /// Adds the next piece of its bytes.
    pub fn join(&mut self, part: &RawDocument) -> Result<(), &'static str> {
        let data = part.get_binary("data").map_err(|_| "a part of a block is not readable")?;
        self.data.extend_from_slice(data.bytes);
        Ok(())
    }

    /// The block itself; the reason when its bytes are not what was written.
    pub fn unpack(mut self, epoch: LogEpoch) -> Result<Block, &'static str> {
        let payload = match self.zstd {
            true => zstd::bulk::decompress(&self.data, self.payload_bytes)
                .map_err(|_| "a block's bytes cannot be decompressed")?,
            false => self.data,
        };
        self.block.payload = payload.into();
        if self.block.payload.len() != self.payload_bytes
            || checksum(epoch, self.number, &self.block) != self.crc
        {
            return Err("the checksum of a block does not fit");
        }
        Ok(self.block)
    }
}

/// A commit as documents have it.
pub(super) fn read_commit(document: &RawDocument) -> Result<Commit, mongodb::bson::error::Error> {
    Ok(Commit {
        position: Position {
            gtid: document.get_str("gtid")?.to_owned(),
            file: document.get_str("file")?.to_owned(),
            offset: document.get_i64("offset")? as u64,
        },
        time_ms: document.get_datetime("time")?.timestamp_millis(),
    })
}

/// Covers all that a reader is given, and where in which log it lies.
fn checksum(epoch: LogEpoch, number: u64, block: &Block) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(epoch.0.as_bytes());
    for value in [number, block.first.0, u64::from(block.count), u64::from(block.changes)] {
        hasher.update(&value.to_le_bytes());
    }
    hasher.update(&block.first_time_ms.to_le_bytes());
    if let Some(Commit { position, time_ms }) = &block.commit {
        hasher.update(&time_ms.to_le_bytes());
        hasher.update(&position.offset.to_le_bytes());
        hasher.update(&(position.file.len() as u64).to_le_bytes());
        hasher.update(position.file.as_bytes());
        hasher.update(position.gtid.as_bytes());
    }
    hasher.update(&block.payload);
    hasher.finalize()
}
