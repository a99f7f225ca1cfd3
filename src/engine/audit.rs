//! The audit list: who changed what, when, by which door, and how it went.
//!
//! One JSON object a line in `state/audit.jsonl` of the data folder. A full file becomes `state/audit.1.jsonl`, in the
//! place of the one before it, so that the list never takes more than twice [`FILE_BYTES_MAX`].

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::door::Door;
use crate::error::{Error, Kind, Result};

/// A file is full when it has this many bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// So many characters of a command and of its outcome are kept.
const TEXT_CHARS_MAX: usize = 2000;

/// One command that changed something, or was to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it was over.
    pub at: jiff::Timestamp,
    /// Where it came from.
    pub door: Door,
    /// The command, as it would be typed.
    pub command: String,
    /// Whether it was done.
    pub done: bool,
    /// What was done, or why it was not.
    pub outcome: String,
}

/// The list below one data folder.
#[derive(Clone, Debug)]
pub struct Audit {
    folder: PathBuf,
}

impl Audit {
    /// The list whose files are in `folder`, which is made when the first entry comes.
    pub fn new(folder: impl Into<PathBuf>) -> Audit {
        Audit { folder: folder.into() }
    }

    /// Adds an entry. When it returns Ok, the entry is there for good.
    ///
    /// # Errors
    /// `Environment` when the folder cannot be written.
    pub fn add(&self, mut entry: AuditEntry) -> Result<()> {
        shorten(&mut entry.command);
        shorten(&mut entry.outcome);
        let mut line = serde_json::to_vec(&entry).map_err(|error| {
            Error::new(Kind::Internal, "an audit entry cannot be written").caused_by(error)
        })?;
        line.push(b'\n');
        self.append(&line).map_err(|error| {
            let place = self.newest().display().to_string();
            Error::new(Kind::Environment, format!("cannot write {place}: {error}"))
                .advice("let lode write the data folder, and see that it has room")
        })
    }

    /// The newest entries, the oldest of them first.
    ///
    /// # Errors
    /// `Environment` when a file cannot be read. Lines that a crash has torn are left out.
    pub fn last(&self, count: usize) -> Result<Vec<AuditEntry>> {
        let mut entries = VecDeque::new();
        for path in [self.older(), self.newest()] {
            read(&path, count, &mut entries).map_err(|error| {
                Error::new(Kind::Environment, format!("cannot read {}: {error}", path.display()))
            })?;
        }
        Ok(entries.into())
    }

    fn append(&self, line: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.newest();
        if fs::metadata(&path).is_ok_and(|file| file.len() + line.len() as u64 > FILE_BYTES_MAX) {
            fs::rename(&path, self.older())?;
        }
        let mut file = File::options().create(true).append(true).read(true).open(&path)?;
        // What a crash has torn ends in the middle of a line.
        if !ends_a_line(&path)? {
            file.write_all(b"\n")?;
        }
        file.write_all(line)?;
        file.sync_data()
    }

    fn newest(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }

    fn older(&self) -> PathBuf {
        self.folder.join("audit.1.jsonl")
    }
}

fn read(path: &Path, count: usize, entries: &mut VecDeque<AuditEntry>) -> std::io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    for line in BufReader::new(file).split(b'\n') {
        let Ok(entry) = serde_json::from_slice(&line?) else { continue };
        if entries.len() >= count {
            entries.pop_front();
        }
        entries.push_back(entry);
    }
    entries.truncate(count);
    Ok(())
}

fn ends_a_line(path: &Path) -> std::io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize) -> AuditEntry {
        AuditEntry {
            at: jiff::Timestamp::UNIX_EPOCH,
            door: Door::Socket { uid: 1000, pid: Some(1) },
            command: format!("stop p{number}"),
            done: true,
            outcome: "x".repeat(3000),
        }
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path().join("state"));
        assert_eq!(audit.last(5).unwrap(), []);
        (0..1200).for_each(|number| audit.add(entry(number)).unwrap());
        let last = audit.last(300).unwrap();
        assert_eq!(last.len(), 300);
        assert_eq!(last[0].command, "stop p900");
        assert_eq!(last[299].command, "stop p1199");
        assert_eq!(last[0].outcome.chars().count(), TEXT_CHARS_MAX + 1);
        let bytes: u64 = fs::read_dir(folder.path().join("state"))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= 2 * FILE_BYTES_MAX, "{bytes}");
        assert_eq!(audit.last(0).unwrap(), []);
    }

    #[test]
    fn a_torn_line_costs_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path());
        audit.add(entry(1)).unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"at\":\"2026");
        fs::write(&path, torn).unwrap();
        audit.add(entry(2)).unwrap();
        let commands: Vec<_> = audit.last(9).unwrap().into_iter().map(|entry| entry.command).collect();
        assert_eq!(commands, ["stop p1", "stop p2"]);
    }
}
