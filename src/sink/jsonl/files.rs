//! The files of a route, and the file that says how far they count.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Config, Output, line};
use crate::error::{Error, Kind, Result};
use crate::model::change::Batch;
use crate::model::position::Cursor;

/// Files that are held open; with more tables than these, all are closed and opened again as they are needed.
const OPEN_FILES_MAX: usize = 200;

/// Lines that are collected before they are written.
const BUFFER_BYTES_MAX: usize = 4 << 20;

const STATE_FILE: &str = "jsonl.json";
const LOCK_FILE: &str = "jsonl.lock";

/// What is durable: written after the data, and put in place at once by a rename.
#[derive(Clone, Default, Serialize, Deserialize)]
struct State {
    cursor: Option<Cursor>,
    /// Length in bytes of each file.
    files: BTreeMap<PathBuf, u64>,
}

pub(super) struct Files {
    config: Config,
    state: State,
    open: BTreeMap<PathBuf, Open>,
    /// Where files end that were written to since the last commit.
    ends: BTreeMap<PathBuf, u64>,
    /// Lines by file that are not written yet.
    waiting: BTreeMap<PathBuf, Vec<u8>>,
    waiting_bytes: usize,
    /// Held as long as this is the route's writer.
    _lock: File,
}

struct Open {
    file: File,
    len: u64,
    unsynced: bool,
}

impl Files {
    pub fn open(config: Config) -> Result<(Files, Option<Cursor>)> {
        let dir = &config.state_dir;
        std::fs::create_dir_all(dir).map_err(|error| io_error(error, "make", dir))?;
        let lock = lock(&config, dir)?;
        let state = read_state(&dir.join(STATE_FILE), &config.route)?;
        let cursor = state.cursor.clone();
        let mut files = Files {
            config,
            state,
            open: BTreeMap::new(),
            ends: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            _lock: lock,
        };
        files.cut_back()?;
        Ok((files, cursor))
    }

    /// After an error this is only good for being dropped.
    pub fn write(&mut self, batch: &Batch) -> Result<u64> {
        for change in &batch.changes {
            let path = match &self.config.output {
                Output::Stdout => PathBuf::new(),
                Output::Files(template) => template.path(&change.table.name),
            };
            let lines = self.waiting.entry(path).or_default();
            let before = lines.len();
            line::write(lines, change)?;
            self.waiting_bytes += lines.len() - before;
            if self.waiting_bytes >= BUFFER_BYTES_MAX {
                self.flush()?;
            }
        }
        self.flush()?;
        if let Some(cursor) = &batch.cursor {
            self.commit(cursor.clone())?;
        }
        Ok(batch.changes.len() as u64)
    }

    /// Takes back what no cursor covers.
    pub fn close(mut self) -> Result<()> {
        self.open.clear();
        self.cut_back()
    }

    fn flush(&mut self) -> Result<()> {
        for (path, lines) in std::mem::take(&mut self.waiting) {
            match self.config.output {
                Output::Stdout => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&lines).and_then(|()| out.flush()).map_err(|error| {
                        Error::new(Kind::Environment, "standard output was closed").caused_by(error)
                    })?;
                }
                Output::Files(_) => {
                    let open = self.file(&path)?;
                    open.unsynced = true;
                    open.file.write_all(&lines).map_err(|error| io_error(error, "write", &path))?;
                    open.len += lines.len() as u64;
                    let end = open.len;
                    self.ends.insert(path, end);
                }
            }
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    fn commit(&mut self, cursor: Cursor) -> Result<()> {
        self.sync()?;
        self.state.files.append(&mut self.ends);
        self.state.cursor = Some(cursor);
        self.save()
    }

    fn sync(&mut self) -> Result<()> {
        for (path, open) in self.open.iter_mut().filter(|(_, open)| open.unsynced) {
            open.file.sync_data().map_err(|error| io_error(error, "write", path))?;
            open.unsynced = false;
        }
        Ok(())
    }

    /// The file to append to, made where there is none.
    fn file(&mut self, path: &Path) -> Result<&mut Open> {
        if !self.open.contains_key(path) {
            if self.open.len() >= OPEN_FILES_MAX {
                self.sync()?;
                self.open.clear();
            }
            let open = self.open_file(path)?;
            self.open.insert(path.to_owned(), open);
        }
        Ok(self.open.get_mut(path).expect("it was just put there"))
    }

    fn open_file(&mut self, path: &Path) -> Result<Open> {
        let known = self.state.files.contains_key(path);
        if !known {
            // Cutting back at the next start must never take away what somebody else wrote.
            if path.metadata().is_ok_and(|metadata| metadata.len() > 0) {
                return Err(Error::new(
                    Kind::Environment,
                    format!(
                        "the file {} is there already, and route {} did not write it",
                        path.display(),
                        self.config.route
                    ),
                )
                .advice("move the file away, or choose another path (with {table} or {database} in it)"));
            }
            // Noted before the first byte is there, so that a crash in between leaves nothing unexplained.
            self.state.files.insert(path.to_owned(), 0);
            self.save()?;
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| io_error(error, "make", folder))?;
            }
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| io_error(error, "open", path))?;
        try_lock(&file).map_err(|error| match error {
            Some(error) => io_error(error, "lock", path),
            None => {
                Error::new(Kind::Environment, format!("another route writes to the file {}", path.display()))
                    .advice("give each route its own path, with {database} or {table} in it")
            }
        })?;
        if !known {
            sync_folder(path)?;
        }
        let len = file.seek(SeekFrom::End(0)).map_err(|error| io_error(error, "read", path))?;
        Ok(Open { file, len, unsynced: false })
    }

    /// Cuts every file to the length that the last cursor covers.
    fn cut_back(&mut self) -> Result<()> {
        for (path, len) in &mut self.state.files {
            let file = match OpenOptions::new().write(true).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Moved away by somebody; a new one begins.
                    *len = 0;
                    continue;
                }
                Err(error) => return Err(io_error(error, "open", path)),
            };
            let found = file.metadata().map_err(|error| io_error(error, "read", path))?.len();
            if found > *len {
                file.set_len(*len)
                    .and_then(|()| file.sync_data())
                    .map_err(|error| io_error(error, "cut", path))?;
            } else if found < *len {
                tracing::warn!(path = %path.display(), "the file is shorter than it was left; lines are appended to what is there");
                *len = found;
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        let path = self.config.state_dir.join(STATE_FILE);
        let new = path.with_extension("new");
        let json = serde_json::to_vec(&self.state).map_err(|error| {
            Error::new(Kind::Environment, "the path of a jsonl file is no UTF-8 text").caused_by(error)
        })?;
        File::create(&new)
            .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_data()))
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|error| io_error(error, "write", &path))?;
        sync_folder(&path)
    }
}

fn lock(config: &Config, dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| io_error(error, "open", &path))?;
    match try_lock(&file) {
        Ok(()) => Ok(file),
        Err(Some(error)) => Err(io_error(error, "lock", &path)),
        Err(None) => Err(Error::new(
            Kind::Unavailable,
            format!("route {} is being written by another process", config.route),
        )
        .advice("stop the other lode that uses the same data folder")),
    }
}

/// `None` as the error: somebody else holds the lock.
fn try_lock(file: &File) -> Result<(), Option<std::io::Error>> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => None,
        TryLockError::Error(error) => Some(error),
    })
}

fn read_state(path: &Path, route: &str) -> Result<State> {
    let json = match std::fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(io_error(error, "read", path)),
    };
    serde_json::from_slice(&json).map_err(|error| {
        Error::new(Kind::Corrupt, format!("the cursor of route {route} in {} cannot be read", path.display()))
            .advice("restore the file from a backup, or delete it and the route's output to begin again")
            .caused_by(error)
    })
}

/// A new name is durable only with its folder.
fn sync_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(error, "write", folder))
}

fn io_error(error: std::io::Error, doing: &str, path: &Path) -> Error {
    let (kind, advice) = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (Kind::Environment, "allow lode to write there, or choose another path")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (Kind::Environment, "make room on the disk"),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidFilename => {
            (Kind::Environment, "choose another path")
        }
        _ => (Kind::Unavailable, "look at the disk and the file system"),
    };
    Error::new(kind, format!("cannot {doing} {}: {error}", path.display())).advice(advice).caused_by(error)
}
