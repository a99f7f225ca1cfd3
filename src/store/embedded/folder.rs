//! The folder of a log: its name, its lock, and the two small files that are written whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::checksum;
use crate::error::{Error, Kind, Result};
use crate::model::block::FORMAT_VERSION;
use crate::model::position::{LogEpoch, Seq};

/// Version of the layout of a log's folder.
const LAYOUT_VERSION: u16 = 1;

/// File systems allow 255 bytes in a name.
const NAME_LIMIT: usize = 255;

/// What identifies a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    layout: u16,
    format: u16,
    /// Which life of the log this is.
    pub epoch: LogEpoch,
    /// Which source was mined into it.
    pub source: Option<String>,
}

impl Meta {
    /// A new life without a source.
    pub fn new() -> Self {
        Meta {
            layout: LAYOUT_VERSION,
            format: FORMAT_VERSION,
            epoch: LogEpoch(uuid::Uuid::new_v4()),
            source: None,
        }
    }
}

/// The folder for the log called `name`. Different names have different folders, also where a file system
/// ignores case: everything but lower-case letters, digits, `-`, `_` and inner dots is written as `%XX`.
///
/// # Errors
/// `Refused` when the name is empty or too long for a file system.
pub(super) fn log_folder(store: &Path, name: &str) -> Result<PathBuf> {
    let mut escaped = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(byte.into()),
            b'.' if at > 0 && at + 1 < name.len() => escaped.push('.'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    if escaped.is_empty() || escaped.len() > NAME_LIMIT {
        let why =
            if escaped.is_empty() { "the name of a log is empty" } else { "the name of a log is too long" };
        return Err(Error::new(Kind::Refused, why).advice("give the log a name of 1 to 80 letters"));
    }
    Ok(store.join(escaped))
}

/// The name of the log in a folder called `folder`; `None` when that is no log's.
pub(super) fn log_name(folder: &str) -> Option<String> {
    let mut name = Vec::with_capacity(folder.len());
    let mut bytes = folder.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    let name = String::from_utf8(name).ok()?;
    (log_folder(Path::new(""), &name).ok()? == Path::new(folder)).then_some(name)
}

/// The right of this process to a log's folder, given back when it is dropped.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do: a process that was forked meanwhile may still have the file open.
        let _ = self.0.unlock();
    }
}

/// Takes the folder for this process.
///
/// # Errors
/// `Refused` when it is taken already; `Environment` when the lock file cannot be written.
pub(super) fn lock(folder: &Path) -> Result<Lock> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| failed("open", &path, error))?;
    let file = match file.try_lock() {
        Ok(()) => Lock(file),
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let holder = holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            return Err(Error::new(
                Kind::Refused,
                format!("{holder} has the log in folder {} open", folder.display()),
            )
            .advice("stop that process, or give this one another data folder"));
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
    };
    // The number only helps people find the holder; the lock itself is the operating system's.
    let pid = std::process::id().to_string();
    let written = file.0.set_len(0).and_then(|()| file.0.write_all_at(pid.as_bytes(), 0));
    written.map_err(|error| failed("write", &path, error))?;
    Ok(file)
}

/// Reads the meta file; `None` when there is none.
///
/// # Errors
/// `Corrupt` when it is damaged or of another version.
pub(super) fn read_meta(folder: &Path) -> Result<Option<Meta>> {
    let path = folder.join("meta");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path, error)),
    };
    let damaged = || corrupt(&path, 0, "the checksum does not fit");
    let (json, crc) = text.trim_end().split_once('\n').ok_or_else(damaged)?;
    if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(json.as_bytes())) {
        return Err(damaged());
    }
    let meta: Meta = serde_json::from_str(json)
        .map_err(|error| corrupt(&path, 0, "it is not what this version writes").caused_by(error))?;
    if (meta.layout, meta.format) != (LAYOUT_VERSION, FORMAT_VERSION) {
        return Err(Error::new(
            Kind::Corrupt,
            format!(
                "the log in folder {} has format {}.{}, this version reads {LAYOUT_VERSION}.{FORMAT_VERSION}",
                folder.display(),
                meta.layout,
                meta.format,
            ),
        )
        .advice("use the version that made the log, or mine into a new one"));
    }
    Ok(Some(meta))
}

/// Replaces the meta file; durable when it returns.
pub(super) fn write_meta(folder: &Path, meta: &Meta) -> Result<()> {
    let json = serde_json::to_string(meta).expect("a meta file is plain data");
    let text = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes()));
    let new = folder.join("meta.new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| failed("write", &new, error))?;
    let path = folder.join("meta");
    fs::rename(&new, &path).map_err(|error| failed("replace", &path, error))?;
    sync_folder(folder)
}

/// Makes new names, and the absence of removed ones, durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed("sync", folder, error))
}

/// Remembers up to where transactions were acknowledged, so that later damage there is not mistaken for a
/// write that was torn. It is written after each append and not synced: it may lag behind the truth after a power
/// failure, but it never runs ahead of it.
pub(super) struct Acknowledged {
    file: File,
    epoch: LogEpoch,
}

impl Acknowledged {
    /// Opens the file and reads the number; 0 when it is unknown.
    pub fn open(folder: &Path, epoch: LogEpoch) -> Result<(Self, Seq)> {
        let path = folder.join("acknowledged");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed("open", &path, error))?;
        let known = acknowledged_in(&file, epoch).map_err(|error| failed("read", &path, error))?;
        Ok((Acknowledged { file, epoch }, known.unwrap_or_default()))
    }

    /// Reads the number without opening the file for writing; `None` when it is unknown, also when it is just being
    /// rewritten.
    pub fn read(folder: &Path, epoch: LogEpoch) -> Result<Option<Seq>> {
        let path = folder.join("acknowledged");
        match File::open(&path).and_then(|file| acknowledged_in(&file, epoch)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            known => known.map_err(|error| failed("read", &path, error)),
        }
    }

    /// Notes `next`. A failure is no loss: the number only sharpens the check at the next opening.
    pub fn note(&self, next: Seq) {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&next.0.to_le_bytes());
        let crc = checksum(self.epoch, &bytes[..8]);
        bytes[8..].copy_from_slice(&crc.to_le_bytes());
        let _ = self.file.write_all_at(&bytes, 0);
    }
}

fn acknowledged_in(file: &File, epoch: LogEpoch) -> std::io::Result<Option<Seq>> {
    let mut bytes = [0; 12];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => {
            let (number, crc) = bytes.split_at(8);
            let fits = crc == checksum(epoch, number).to_le_bytes();
            Ok(fits.then(|| Seq(number.try_into().map_or(0, u64::from_le_bytes))))
        }
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// An operation of the file system failed.
pub(super) fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot {what} {}: {error}", path.display());
    let error_kind = error.kind();
    let is_full =
        matches!(error_kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
    let kind = if is_full { Kind::Full } else { Kind::Environment };
    let failure = Error::new(kind, message).caused_by(error);
    match error_kind {
        _ if is_full => failure.advice("give the log more space, or let it keep less"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            failure.advice("let lode read and write the data folder, or name another one")
        }
        _ => failure,
    }
}

/// Bytes at `offset` of a file are not what lode wrote.
pub(super) fn corrupt(path: &Path, offset: u64, why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("{} is damaged at byte {offset}: {why}", path.display()))
        .advice("check the disk; then restore the folder from a copy, or remove it and mine again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_have_folders_that_differ() {
        let folder = |name| log_folder(Path::new("s"), name).map(|path| path.display().to_string());
        assert_eq!(folder("shop").unwrap(), "s/shop");
        assert_eq!(folder("Shop").unwrap(), "s/%53hop");
        assert_eq!(folder("..").unwrap(), "s/%2E%2E");
        assert_eq!(folder("a.b").unwrap(), "s/a.b");
        assert_eq!(folder("a/b\0").unwrap(), "s/a%2Fb%00");
        assert_eq!(folder("%53hop").unwrap(), "s/%2553hop");
        for name in ["shop", "Shop", "..", "a.b", "a/b\0", "%53hop", "\u{fc}"] {
            let folder = log_folder(Path::new(""), name).unwrap();
            assert_eq!(log_name(folder.to_str().unwrap()).as_deref(), Some(name));
        }
        assert_eq!(log_name("Shop"), None);
        assert_eq!(log_name("%5"), None);
        assert_eq!(folder("").unwrap_err().kind(), Kind::Refused);
        assert_eq!(folder(&"x".repeat(256)).unwrap_err().kind(), Kind::Refused);
    }
}
