//! Servers that take mails and webhooks, of the test's own: `tests/support/receivers/receivers.py` says what they do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::process::{ServerProcess, last_words, unpacked};

/// How long they may take until they listen.
const START_MAX: Duration = Duration::from_secs(60);
/// How long something may take to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);

/// The user that the mail servers know.
pub const MAIL_USER: &str = "lode";
/// The user's password.
pub const MAIL_PASSWORD: &str = "s3cret-mail";
/// What calls are signed with.
pub const HOOK_SECRET: &str = "s3cret-hook";

/// A mail server for each way to encrypt, and a web server with and without TLS.
pub struct Receivers {
    // Ends before its folder is removed.
    process: ServerProcess,
    folder: TempDir,
    ports: Value,
}

impl Receivers {
    /// Starts all of them.
    pub fn start() -> Receivers {
        let folder = tempfile::Builder::new().prefix("lode-server-").tempdir().expect("a temporary folder");
        let python = unpacked("receivers", "LODE_RECEIVERS_ROOT").join("bin/python");
        assert!(python.exists(), "{} is missing; `tests/run` installs it", python.display());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/receivers/receivers.py");
        let mut process = ServerProcess::default();
        process.start(Command::new(python).arg(script).arg(folder.path()), folder.path());
        let began = Instant::now();
        while began.elapsed() < START_MAX && process.is_running() {
            if let Ok(ports) = fs::read(folder.path().join("ports.json")) {
                let ports = serde_json::from_slice(&ports).expect("the ports are JSON");
                return Receivers { process, folder, ports };
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the receivers did not start:\n{}", last_words(folder.path()));
    }

    /// The port of `smtps`, `starttls`, `plain`, `https` or `http`.
    pub fn port(&self, name: &str) -> u16 {
        let port = self.ports[name].as_u64().unwrap_or_else(|| panic!("there is no server {name}"));
        port.try_into().expect("a port")
    }

    /// The authority that vouches for the servers.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// An authority that does not.
    pub fn other_authority(&self) -> PathBuf {
        self.folder.path().join("other.pem")
    }

    /// The mails that came, once there are `count`.
    pub fn mails(&self, count: usize) -> Vec<Value> {
        self.arrived("mails", count)
    }

    /// The calls that came, once there are `count`.
    pub fn calls(&self, count: usize) -> Vec<Value> {
        self.arrived("calls", count)
    }

    /// Ends all of them.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    fn arrived(&self, what: &str, count: usize) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let files = fs::read_dir(self.folder.path().join(what)).expect("the folder is there");
            let mut files: Vec<PathBuf> = files.map(|file| file.expect("it can be read").path()).collect();
            files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
            files.sort();
            if files.len() >= count || began.elapsed() > ARRIVAL_MAX {
                assert!(files.len() >= count, "{} {what} came instead of {count}", files.len());
                let read = |file: &PathBuf| {
                    serde_json::from_slice(&fs::read(file).expect("a file")).expect("it is JSON")
                };
                return files.iter().map(read).collect();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
