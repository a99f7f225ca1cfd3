//! Commands run as a user would type them, in a copy of the project's scripts, and what they answered.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The program under test.
pub const LODE: &str = env!("CARGO_BIN_EXE_lode");

/// A folder with a copy of the project's scripts.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A new one, in a temporary folder.
    pub fn new() -> Desk {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        copy(&project.join("scripts"), &folder.path().join("scripts"));
        Desk { folder }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command line for the shell, in the folder, with `lode` in its path and nothing of the caller's settings.
    pub fn command(&self, line: &str) -> Command {
        let bin = Path::new(LODE).parent().expect("the program is in a folder").display();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(self.path())
            .env("PATH", format!("{bin}:{path}"))
            .env("LODE_LOG", "off")
            .env_remove("LODE_DATA")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null());
        command
    }

    /// `text` with what differs from run to run put into brackets.
    pub fn filtered(&self, text: &str) -> String {
        let text = text.replace(&self.path().display().to_string(), "[DIR]");
        text.split_inclusive('\n').map(filtered_line).collect()
    }
}

/// Puts sizes, seconds and times of a line into brackets.
fn filtered_line(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        let unit = words[at].trim_end().trim_end_matches(['.', ')', ';']).to_owned();
        let number = words[at - 1].trim_start_matches('(');
        if matches!(unit.as_str(), "B" | "KiB" | "MiB" | "s") && number.parse::<f64>().is_ok() {
            let open = if words[at - 1].starts_with('(') { "(" } else { "" };
            words[at - 1] = format!("{open}[N]");
            words[at] = words[at].replace(&unit, if unit == "s" { "s" } else { "[BYTES]" });
        }
    }
    times(&words.join(" "))
}

/// Puts times as `2026-01-31T23:59:59.000Z` after `"ts":` into brackets, and what is by chance in the figures of a log.
fn times(line: &str) -> String {
    let mut filtered = line.to_owned();
    for (open, close, word) in [
        ("\"ts\":\"", "\"", "[TIME]"),
        ("\"epoch\":\"", "\"", "[EPOCH]"),
        ("\"stored_bytes\":", ",", "[N]"),
        ("\"ratio\":", ",", "[N]"),
        ("\"blocks\":", ",", "[N]"),
        (" transactions and ", " block", "[N]"),
        (" uncompressed, ", " to 1", "[N]"),
        ("  begins    entry 0, ", "\n", "[TIME]"),
        ("  epoch     ", "\n", "[EPOCH]"),
    ] {
        filtered = between(&filtered, open, close, word);
    }
    filtered
}

/// Puts `word` wherever something stands between `open` and `close`.
fn between(text: &str, open: &str, close: &str, word: &str) -> String {
    let mut parts = text.split(open);
    let mut filtered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(close).map_or("", |at| &part[at..]);
        filtered.push_str(&format!("{open}{word}{rest}"));
    }
    filtered
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the copy can be made");
    for entry in fs::read_dir(from).expect("the scripts can be read").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_file() {
            fs::copy(source, target).expect("the copy can be made");
        } else if entry.file_name() != "out" {
            copy(&source, &target);
        }
    }
}
