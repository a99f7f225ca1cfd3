//! Small files below the data folder that are replaced as a whole.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::error::{Error, Kind, Result};

/// Reads what [`write()`] wrote; `None` when there is no such file.
///
/// # Errors
/// `Environment` when it cannot be read; `Corrupt` when it is not what `T` is written as.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match off_the_workers(|| fs::read(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|error| failed("read", path, error))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::new(Kind::Corrupt, format!("{} is not readable", path.display())).caused_by(error)
    })
}

/// Replaces the file by `value`, making its folder when needed. When it returns Ok, the file has it for good; after
/// a crash or an error it has either this or what it had before.
///
/// # Errors
/// `Environment` when the place cannot be written.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Error::new(Kind::Internal, "state cannot be written as JSON").caused_by(error))?;
    off_the_workers(|| replace(path, &bytes)).map_err(|error| failed("write", path, error))
}

/// Removes the file. When it returns Ok, it is gone for good.
///
/// # Errors
/// `Environment` when it cannot be removed, or is not there.
pub fn remove(path: &Path) -> Result<()> {
    off_the_workers(|| {
        fs::remove_file(path)?;
        sync_folder(path)
    })
    .map_err(|error| failed("write", path, error))
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder_of(path))?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Disks may be slow: where there are several workers, the others take over this one's tasks.
fn off_the_workers<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(Kind::Environment, format!("cannot {what} {}: {error}", path.display()))
        .caused_by(error)
        .advice("let lode read and write the data folder, and see that it has room")
}
