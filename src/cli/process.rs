//! What the system gives this process, or refuses it, in words.

use std::path::PathBuf;

use lode::error::{Error, Kind, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What paths on the command line are relative to.
///
/// # Errors
/// `Environment` when the folder is gone.
pub fn current_folder() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| refused("there is no current folder", error))
}

/// Threads for asynchronous work, as many as there are processors, or so many.
///
/// # Errors
/// `Environment` when the system gives no more.
pub fn threads(count: Option<usize>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(count) = count {
        builder.worker_threads(count);
    }
    builder.enable_all().build().map_err(|error| refused("cannot start threads", error))
}

/// Takes a signal from now on, instead of being ended by it.
///
/// # Errors
/// `Environment` when the system does not allow it.
pub fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| refused("cannot listen for signals", error))
}

fn refused(what: &str, error: std::io::Error) -> Error {
    Error::new(Kind::Environment, format!("{what}: {error}"))
}
