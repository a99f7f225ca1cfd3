//! What must outlive the segments: schemas by number, and selections of tables. An append-only file of records:
//! length u32, checksum u32 (both little endian), and a note as JSON.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{corrupt, failed};
use super::frame::checksum;
use crate::error::Result;
use crate::model::position::{LogEpoch, Seq};
use crate::model::schema::{SchemaNo, TableSchema};
use crate::model::table::TableSelection;
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
    coverage: Option<TableSelection>,
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
        let mut catalog = Catalog { file, path, epoch, len: 0, count: 0 };
        let mut rest = &bytes[..];
        while let Some((note, behind)) = read_record(rest, epoch) {
            if note.seq >= next {
                break;
            }
            knowledge
                .learn(&note)
                .map_err(|_| corrupt(&catalog.path, catalog.len, "a schema's number does not follow"))?;
            rest = behind;
            catalog.len = len - rest.len() as u64;
            catalog.count += 1;
        }
        // A note is durable before the block that needs it, so only a damaged file has fewer.
        if catalog.count != expected {
            return Err(corrupt(
                &catalog.path,
                catalog.len,
                "schemas or tables are missing that the log needs",
            ));
        }
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
                Fact::Coverage(tables) => {
                    Record { seq: note.seq, schema: None, coverage: Some(tables.clone()) }
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
        (None, Some(tables)) => Fact::Coverage(tables),
        _ => return None,
    };
    Some((Note { seq: record.seq, fact }, rest))
}
