//! What must outlive the segments: schemas by number, and what is mined. An append-only file of records:
//! length u32, checksum u32 (both little endian), and a note as JSON.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{corrupt, failed};
use super::frame::checksum;
use crate::error::Result;
use crate::model::coverage::Coverage;
use crate::model::position::{LogEpoch, Seq};
use crate::model::schema::{SchemaNo, TableSchema};
use crate::store::content::{Fact, Knowledge, Note};

/// The catalog of an open log.
pub(super) struct Catalog {
    file: File,
    path: PathBuf,
    epoch: LogEpoch,
    /// Length of the file.
    len: u64,
    /// How many notes it holds.
    count: u32,
}

/// A note as it is written.
#[derive(Serialize, Deserialize)]
struct Record {
    seq: Seq,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<(SchemaNo, TableSchema)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coverage: Option<Coverage>,
}

impl Catalog {
    /// Reads the catalog of a log that ends before `next`, whose last block counts `expected` notes, and cuts off
    /// what was noted for blocks that are not there.
    ///
    /// # Errors
    /// `Corrupt` when a note is missing; `Environment` when the file cannot be read or cut.
    pub fn open(folder: &Path, epoch: LogEpoch, next: Seq, expected: u32) -> Result<(Self, Knowledge)> {
        let path = folder.join("catalog");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed("open", &path, error))?;
        let len = file.metadata().map_err(|error| failed("read", &path, error))?.len();
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(|error| failed("read", &path, error))?;

        let mut knowledge = Knowledge::default();
        let mut read = CatalogReader::default();
        read.take(&path, &bytes, epoch, next, &mut knowledge)?;
        let mut catalog = Catalog { file, path, epoch, len: read.len, count: read.count };
        read.expect(&catalog.path, expected)?;
        if catalog.len < len {
            catalog.cut(catalog.len, catalog.count)?;
        }
        Ok((catalog, knowledge))
    }

    /// How many notes it holds.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Length of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Adds notes; durable when it returns.
    pub fn append<'a>(&mut self, notes: impl Iterator<Item = &'a Note>) -> Result<()> {
        let mut bytes = Vec::new();
        let mut count = 0;
        for note in notes {
            let record = match &note.fact {
                Fact::Schema(no, schema) => {
                    Record { seq: note.seq, schema: Some((*no, schema.clone())), coverage: None }
                }
                Fact::Coverage(coverage) => {
                    Record { seq: note.seq, schema: None, coverage: Some(coverage.clone()) }
                }
            };
            let json = serde_json::to_vec(&record).expect("a note is plain data");
            bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&checksum(self.epoch, &json).to_le_bytes());
            bytes.extend_from_slice(&json);
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        let written = self.file.write_all_at(&bytes, self.len).and_then(|()| self.file.sync_data());
        written.map_err(|error| failed("write", &self.path, error))?;
        self.len += bytes.len() as u64;
        self.count += count;
        Ok(())
    }

    /// Cuts the file back to `len` bytes, which are `count` notes; durable when it returns.
    pub fn cut(&mut self, len: u64, count: u32) -> Result<()> {
        let cut = self.file.set_len(len).and_then(|()| self.file.sync_data());
        cut.map_err(|error| failed("cut", &self.path, error))?;
        (self.len, self.count) = (len, count);
        Ok(())
    }
}

/// Reads the catalog of a log that another process may write, note by note as the log grows.
#[derive(Default)]
pub(super) struct CatalogReader {
    /// What was read so far, in bytes and in notes.
    len: u64,
    count: u32,
}

impl CatalogReader {
    /// Reads on up to the notes of a log that ends before `next`. When its last block is known, so is how many notes
    /// are `expected`.
    ///
    /// # Errors
    /// `Corrupt` when a note is missing; `Environment` when the file cannot be read.
    pub fn learn(
        &mut self,
        folder: &Path,
        epoch: LogEpoch,
        next: Seq,
        expected: Option<u32>,
        knowledge: &mut Knowledge,
    ) -> Result<()> {
        if expected == Some(self.count) {
            return Ok(());
        }
        let path = folder.join("catalog");
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.len))?;
            file.read_to_end(&mut bytes)
        });
        read.map_err(|error| failed("read", &path, error))?;
        self.take(&path, &bytes, epoch, next, knowledge)?;
        expected.map_or(Ok(()), |expected| self.expect(&path, expected))
    }

    fn take(
        &mut self,
        path: &Path,
        mut bytes: &[u8],
        epoch: LogEpoch,
        next: Seq,
        knowledge: &mut Knowledge,
    ) -> Result<()> {
        while let Some((note, rest)) = read_record(bytes, epoch) {
            if note.seq >= next {
                break;
            }
            let learned = knowledge.learn(&note);
            learned.map_err(|_| corrupt(path, self.len, "a schema's number does not follow"))?;
            self.len += (bytes.len() - rest.len()) as u64;
            self.count += 1;
            bytes = rest;
        }
        Ok(())
    }

    /// A note is durable before the block that needs it, so only a damaged file has fewer.
    fn expect(&self, path: &Path, expected: u32) -> Result<()> {
        if self.count == expected {
            return Ok(());
        }
        Err(corrupt(path, self.len, "schemas or tables are missing that the log needs"))
    }
}

fn read_record(bytes: &[u8], epoch: LogEpoch) -> Option<(Note, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (json, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    if u32::from_le_bytes(*crc) != checksum(epoch, json) {
        return None;
    }
    let record: Record = serde_json::from_slice(json).ok()?;
    let fact = match (record.schema, record.coverage) {
        (Some((no, schema)), None) => Fact::Schema(no, schema),
        (None, Some(coverage)) => Fact::Coverage(coverage),
        _ => return None,
    };
    Some((Note { seq: record.seq, fact }, rest))
}
