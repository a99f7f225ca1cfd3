//! A server's process: it ends with the test, however the test ends.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

/// How long a server may take to end by itself before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The process of a server whose files are in a folder of its own. Dropping it ends it.
#[derive(Default)]
pub struct ServerProcess {
    process: Option<Child>,
    watchdog: Option<Child>,
}

impl ServerProcess {
    /// Starts `command`, with what it says going to `server.log` in `folder`, which is removed if this process dies.
    pub fn start(&mut self, command: &mut Command, folder: &Path) {
        assert!(self.process.is_none(), "the server is running");
        let log =
            File::options().create(true).append(true).open(log_file(folder)).expect("the log can be written");
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.watchdog = Some(watchdog(process.id(), folder));
        self.process = Some(process);
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        let runs = self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)));
        if !runs {
            self.forget();
        }
        runs
    }

    /// Ends it as an administrator would.
    pub fn stop(&mut self) {
        if !self.is_running() {
            return;
        }
        // A frozen process would not see the wish to end.
        self.signal("CONT");
        self.signal("TERM");
        let began = Instant::now();
        while began.elapsed() < STOP_MAX {
            if !self.is_running() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
        self.forget();
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the server is running");
        let command = format!("kill -s {name} {}", process.id());
        let done = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(done.success(), "{command}");
    }

    /// The process has ended; its number may soon be another's.
    fn forget(&mut self) {
        self.process = None;
        if let Some(mut watchdog) = self.watchdog.take() {
            let _ = watchdog.kill();
            let _ = watchdog.wait();
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The end of what the server in `folder` wrote.
pub fn last_words(folder: &Path) -> String {
    let text = fs::read_to_string(log_file(folder)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A port of the loopback that nobody uses at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

/// Where `tests/run` puts the server called `name`; `variable` may name another folder.
pub fn unpacked(name: &str, variable: &str) -> PathBuf {
    env::var_os(variable).map_or_else(
        || {
            let target =
                env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
            Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("servers").join(name)
        },
        PathBuf::from,
    )
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Ends the server when this process is gone without having ended it: its pipe then closes.
fn watchdog(process: u32, folder: &Path) -> Child {
    let script = "read -r _; kill -s KILL \"$1\"; sleep 1; rm -rf \"$2\"";
    Command::new("sh")
        .args(["-c", script, "watchdog", &process.to_string()])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
}
