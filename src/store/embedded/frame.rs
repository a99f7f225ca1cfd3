//! A block as bytes on disk: a header of fixed length, and the payload, compressed when that helps.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use crc32fast::Hasher;

use super::Compression;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Commit, Entry, FORMAT_VERSION, Malformed};
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::content::Content;

/// Length of a header in bytes.
pub(super) const HEADER_LEN: usize = 92;

/// The first bytes of each header; by them the next frame is found behind a damaged one.
pub(super) const MAGIC: [u8; 8] = *b"\x8blodeBK\n";

const FLAG_COMMIT: u8 = 1;
const FLAG_ZSTD: u8 = 2;
const FLAG_SEVERAL_FILES: u8 = 4;

/// Payloads below this gain nothing from compression.
const COMPRESS_FROM: usize = 256;

/// A buffer that grew beyond this for one large block is not kept.
const BUFFER_KEPT: usize = 16 << 20;

/// What the header of a frame says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Number of the first entry.
    pub first: Seq,
    /// How many entries.
    pub count: u32,
    /// How many of them are changes.
    pub changes: u32,
    /// As in [`Block`].
    pub first_time_ms: i64,
    /// Where the transaction begins that is open at the block's begin; `first` when there is none.
    pub transaction: Seq,
    /// Every transaction before this was durable when the frame was written.
    pub acknowledged: Seq,
    /// The latest commit time among the block's commits; `i64::MIN` without any.
    pub latest_commit_ms: i64,
    /// How many notes the catalog holds about this block and all before it.
    pub notes: u32,
    /// Whether the block ends with a commit.
    pub has_commit: bool,
    /// Whether its commits lie in more than one file of the source.
    pub several_files: bool,
    /// Checksum of the last commit's position.
    pub position_crc: u32,
    /// Checksum of the name of the last commit's file.
    pub file_crc: u32,
    /// Where the last entry lies in the payload.
    pub last_entry_at: u32,
    /// Length of the payload.
    pub payload_len: u32,
    /// Length of the body that follows.
    pub stored_len: u32,
    /// Checksum of the body.
    body_crc: u32,
    /// Whether the body is compressed.
    compressed: bool,
}

impl Header {
    /// The number after the last entry.
    pub fn end(&self) -> Seq {
        self.first.plus(u64::from(self.count))
    }

    /// Length of header and body.
    pub fn frame_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.stored_len)
    }

    /// Whether the block may hold a commit at a position in the file with this checksum.
    pub fn may_commit_in(&self, file_crc: u32) -> bool {
        self.has_commit && (self.several_files || self.file_crc == file_crc)
    }

    fn encode(&self, epoch: LogEpoch) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        let flag = |set, flag| if set { flag } else { 0 };
        put(&MAGIC);
        put(&FORMAT_VERSION.to_le_bytes());
        put(&[
            flag(self.has_commit, FLAG_COMMIT)
                | flag(self.compressed, FLAG_ZSTD)
                | flag(self.several_files, FLAG_SEVERAL_FILES),
            0,
        ]);
        for value in [self.count, self.changes, self.payload_len, self.stored_len, self.body_crc] {
            put(&value.to_le_bytes());
        }
        for value in [self.first, self.transaction, self.acknowledged] {
            put(&value.0.to_le_bytes());
        }
        put(&self.first_time_ms.to_le_bytes());
        put(&self.latest_commit_ms.to_le_bytes());
        for value in [self.notes, self.last_entry_at, self.position_crc, self.file_crc] {
            put(&value.to_le_bytes());
        }
        let crc = checksum(epoch, &bytes[..HEADER_LEN - 4]);
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; the reason when the bytes are none.
    pub fn decode(bytes: &[u8], epoch: LogEpoch) -> Result<Header, &'static str> {
        let bytes: &[u8; HEADER_LEN] =
            bytes.first_chunk().ok_or("the file ends in the middle of a block's header")?;
        if bytes[..8] != MAGIC {
            return Err("no block begins here");
        }
        if read_u32(bytes, HEADER_LEN - 4) != checksum(epoch, &bytes[..HEADER_LEN - 4]) {
            return Err("the checksum of a block's header does not fit");
        }
        if u16::from_le_bytes([bytes[8], bytes[9]]) != FORMAT_VERSION {
            return Err("a block has another format version");
        }
        let flags = bytes[10];
        Ok(Header {
            has_commit: flags & FLAG_COMMIT != 0,
            compressed: flags & FLAG_ZSTD != 0,
            several_files: flags & FLAG_SEVERAL_FILES != 0,
            count: read_u32(bytes, 12),
            changes: read_u32(bytes, 16),
            payload_len: read_u32(bytes, 20),
            stored_len: read_u32(bytes, 24),
            body_crc: read_u32(bytes, 28),
            first: Seq(read_u64(bytes, 32)),
            transaction: Seq(read_u64(bytes, 40)),
            acknowledged: Seq(read_u64(bytes, 48)),
            first_time_ms: read_u64(bytes, 56) as i64,
            latest_commit_ms: read_u64(bytes, 64) as i64,
            notes: read_u32(bytes, 72),
            last_entry_at: read_u32(bytes, 76),
            position_crc: read_u32(bytes, 80),
            file_crc: read_u32(bytes, 84),
        })
    }

    /// Whether the body is the one that was written.
    pub fn fits(&self, body: &[u8]) -> bool {
        crc32fast::hash(body) == self.body_crc
    }
}

/// Where a block stands among the others, for [`Encoder::frame`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// See [`Header::transaction`].
    pub transaction: Seq,
    /// See [`Header::acknowledged`].
    pub acknowledged: Seq,
    /// See [`Header::notes`].
    pub notes: u32,
}

/// Turns blocks into frames.
pub(super) struct Encoder {
    epoch: LogEpoch,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    compressed: Vec<u8>,
}

impl Encoder {
    /// An encoder for the log of this epoch.
    ///
    /// # Errors
    /// `Environment` when zstd refuses the compression level or gets no memory.
    pub fn new(epoch: LogEpoch, compression: Compression) -> Result<Self> {
        let compressor = match compression {
            Compression::None => None,
            Compression::Zstd(level) => Some(zstd::bulk::Compressor::new(level).map_err(|error| {
                Error::new(Kind::Environment, format!("zstd cannot compress at level {level}"))
                    .caused_by(error)
            })?),
        };
        Ok(Encoder { epoch, compressor, compressed: Vec::new() })
    }

    /// Appends the frame of `block` to `out`.
    pub fn frame(
        &mut self,
        block: &Block,
        content: &Content,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<Header> {
        let payload_len = u32::try_from(block.payload.len()).map_err(|_| {
            Error::new(Kind::Internal, format!("the block at entry {} is larger than 4 GiB", block.first))
        })?;
        let compressed = self.compress(&block.payload)?;
        let body = if compressed { &self.compressed[..] } else { &block.payload[..] };
        let (position_crc, file_crc) = match &block.commit {
            Some(commit) => (position_checksum(&commit.position), file_checksum(&commit.position.file)),
            None => (0, 0),
        };
        let header = Header {
            first: block.first,
            count: block.count,
            changes: block.changes,
            first_time_ms: block.first_time_ms,
            transaction: place.transaction,
            acknowledged: place.acknowledged,
            latest_commit_ms: content.latest_commit_ms.unwrap_or(i64::MIN),
            notes: place.notes,
            has_commit: block.commit.is_some(),
            several_files: content.several_files,
            position_crc,
            file_crc,
            last_entry_at: content.last_entry_at as u32,
            payload_len,
            stored_len: body.len() as u32,
            body_crc: crc32fast::hash(body),
            compressed,
        };
        out.extend_from_slice(&header.encode(self.epoch));
        out.extend_from_slice(body);
        Ok(header)
    }

    /// Compresses into the own buffer. False when the payload is better stored as it is.
    fn compress(&mut self, payload: &[u8]) -> Result<bool> {
        let Some(compressor) = &mut self.compressor else { return Ok(false) };
        if payload.len() < COMPRESS_FROM {
            return Ok(false);
        }
        self.compressed.clear();
        self.compressed.shrink_to(BUFFER_KEPT);
        self.compressed.reserve(zstd::zstd_safe::compress_bound(payload.len()));
        compressor.compress_to_buffer(payload, &mut self.compressed).map_err(|error| {
            Error::new(Kind::Environment, "zstd cannot compress a block").caused_by(error)
        })?;
        Ok(self.compressed.len() < payload.len())
    }
}

/// Turns frames back into blocks. Contexts of zstd are kept for the next reader.
#[derive(Default)]
pub(super) struct Decoder {
    idle: Mutex<Vec<zstd::bulk::Decompressor<'static>>>,
}

impl Decoder {
    /// The block of a frame whose body fits its checksum.
    ///
    /// # Errors
    /// The reason, when the body is not what the header says all the same.
    pub fn block(&self, header: &Header, body: &[u8]) -> Result<Block, &'static str> {
        let payload = if header.compressed {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut decompressor =
                idle.map_or_else(zstd::bulk::Decompressor::new, Ok).map_err(|_| "zstd gets no memory")?;
            let payload = decompressor
                .decompress(body, header.payload_len as usize)
                .map_err(|_| "a block cannot be decompressed")?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(decompressor);
            Bytes::from(payload)
        } else {
            Bytes::copy_from_slice(body)
        };
        if payload.len() != header.payload_len as usize {
            return Err("a block has another length than its header says");
        }
        let commit = match header.has_commit {
            true => Some(
                commit_at(&payload, header)
                    .map_err(|Malformed| "a block does not end with the commit it should")?,
            ),
            false => None,
        };
        Ok(Block {
            first: header.first,
            count: header.count,
            changes: header.changes,
            first_time_ms: header.first_time_ms,
            commit,
            payload,
        })
    }
}

/// Checksum by which a block that ends at `position` is found without reading its body.
pub(super) fn position_checksum(position: &Position) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(position.file.as_bytes());
    hasher.update(&[0]);
    hasher.update(&position.offset.to_le_bytes());
    hasher.update(position.gtid.as_bytes());
    hasher.finalize()
}

/// Checksum of the name of a source's file.
pub(super) fn file_checksum(file: &str) -> u32 {
    crc32fast::hash(file.as_bytes())
}

/// Checksum that only fits in the log of this epoch, so that a frame from elsewhere is none here.
pub(super) fn checksum(epoch: LogEpoch, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(epoch.0.as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn commit_at(payload: &Bytes, header: &Header) -> Result<Commit, Malformed> {
    let at = header.last_entry_at as usize;
    if at > payload.len() {
        return Err(Malformed);
    }
    let last = Block {
        first: header.first,
        count: 1,
        changes: 0,
        first_time_ms: 0,
        commit: None,
        payload: payload.slice(at..),
    };
    match last.entries().next() {
        Some(Ok((_, Entry::Commit { time_ms, offset, file, gtid }))) => Ok(Commit {
            position: Position { gtid: gtid.to_owned(), file: file.to_owned(), offset },
            time_ms,
        }),
        _ => Err(Malformed),
    }
}

fn read_u32(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn read_u64(bytes: &[u8; HEADER_LEN], at: usize) -> u64 {
    u64::from(read_u32(bytes, at)) | u64::from(read_u32(bytes, at + 4)) << 32
}
