//! The embedded log store: segment files of its own, in a folder per log.
//!
//! Its own files, because a log needs less than an engine for data gives, and pays for the difference. In a
//! comparison made before this store was written, of 300-byte events with a durable commit per thousand and without
//! compression, a plain file took 1.8 million events a second and the best embedded engine 0.7 million; reading the
//! tail gave 25 against 5 million. Those are the figures of a prototype, which chose the design; what this store
//! does, `cargo bench --bench store` measures. What a log needs is little: append, sync, find a block, cut the end,
//! drop the beginning.
//!
//! | file | what |
//! |---|---|
//! | `lock` | locked by the process that has the log open; its process number |
//! | `meta` | format version, epoch, source; replaced as a whole |
//! | `catalog` | schemas and selections of tables with their entry's number; outlives the segments |
//! | `acknowledged` | where the last append ended |
//! | `NUMBER.seg` | a segment: blocks one behind the other; the name is the first entry's number |
//! | `NUMBER.idx` | side file of a full segment, so that opening reads no segment but the last |
//!
//! Each block has a header of fixed length with a checksum of its own and one for the body. A segment is synced before
//! the next one is made; an append syncs once. How a torn end is told from damage is written in `recovery`, and how
//! other processes read along in `follow`.

mod catalog;
mod folder;
mod follow;
mod frame;
mod log;
mod recovery;
mod segment;
mod view;
mod writer;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use self::follow::Follower;
use self::log::EmbeddedLog;
use self::view::blocking;
use super::{Log, LogReader, LogStore, no_log};
use crate::error::{Result, ResultExt};

/// How the blocks of a log are compressed. Each block says whether it is, so this may change between openings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// With zstd at this level.
    Zstd(i32),
}

/// How logs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is full when it has this many bytes. Retention drops whole segments.
    pub segment_bytes: u64,
    /// The compression of blocks.
    pub compression: Compression,
}

impl Default for Options {
    /// Segments of 64 MiB, zstd at level 1.
    fn default() -> Self {
        Options { segment_bytes: 64 << 20, compression: Compression::Zstd(1) }
    }
}

/// A folder with logs.
#[derive(Clone, Debug)]
pub struct Embedded {
    dir: PathBuf,
    options: Options,
}

impl Embedded {
    /// The store in `dir`, which is made when the first log is opened.
    pub fn new(dir: impl Into<PathBuf>, options: Options) -> Self {
        Embedded { dir: dir.into(), options }
    }

    /// The store's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

#[async_trait]
impl LogStore for Embedded {
    async fn open(&self, name: &str) -> Result<Arc<dyn Log>> {
        let folder = folder::log_folder(&self.dir, name)?;
        let options = self.options.clone();
        let log = blocking(move || EmbeddedLog::open(folder, &options)).await;
        Ok(Arc::new(log.context_with(|| format!("in log {name}"))?))
    }

    async fn open_reader(&self, name: &str) -> Result<Arc<dyn LogReader>> {
        let folder = folder::log_folder(&self.dir, name)?;
        let opened = blocking(move || Follower::open(folder)).await;
        let reader = opened.context_with(|| format!("in log {name}"))?;
        Ok(Arc::new(reader.ok_or_else(|| no_log(name))?))
    }

    async fn list(&self) -> Result<Vec<String>> {
        let dir = self.dir.clone();
        blocking(move || list(&dir)).await
    }
}

fn list(dir: &Path) -> Result<Vec<String>> {
    let read = |error| folder::failed("read", dir, error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(read)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(read)?;
        if entry.path().join("meta").is_file() {
            names.extend(entry.file_name().to_str().and_then(folder::log_name));
        }
    }
    names.sort_unstable();
    Ok(names)
}
