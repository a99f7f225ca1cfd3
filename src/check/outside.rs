//! What checking needs of the world: files and environment variables. Tests bring a world of their own.

use std::io::{self, Read};
use std::path::Path;

/// The world outside the scripts.
pub trait Outside {
    /// The text of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Names of the files in a folder, for "did you mean"; empty when there is no such folder.
    fn list(&self, folder: &Path) -> Vec<String>;

    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
}

/// No script, hook or secret is larger.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The file system and the environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Outside for System {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let size = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)? as u64;
        if size > FILE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {FILE_BYTES_MAX} bytes"),
            ));
        }
        Ok(text)
    }

    fn list(&self, folder: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
