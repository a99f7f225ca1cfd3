//! The real binary as a process of its own.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long lode may take to end after SIGTERM: it delivers for 10 seconds at the most.
const END_MAX: Duration = Duration::from_secs(40);

/// A running lode. What it writes to standard error is kept in a file.
pub struct Lode {
    child: Child,
    watchdog: Child,
    log: PathBuf,
}

impl Lode {
    /// `lode run SCRIPT --data DATA`.
    pub fn run(script: &Path, data: &Path, log: PathBuf) -> Lode {
        Lode::spawn(Command::new(env!("CARGO_BIN_EXE_lode")), script, data, log)
    }

    /// The same, but no file that it writes may grow beyond `bytes`.
    pub fn run_with_room(bytes: u64, script: &Path, data: &Path, log: PathBuf) -> Lode {
        // Ignoring the signal makes the write fail instead, as it does on a full disk.
        let limited =
            "trap '' XFSZ; exec prlimit --fsize=\"$1\":unlimited \"$2\" \"$3\" \"$4\" \"$5\" \"$6\"";
        let mut command = Command::new("sh");
        command.args(["-c", limited, "sh", &bytes.to_string(), env!("CARGO_BIN_EXE_lode")]);
        Lode::spawn(command, script, data, log)
    }

    fn spawn(mut command: Command, script: &Path, data: &Path, log: PathBuf) -> Lode {
        let file = File::create(&log).expect("the log can be written");
        command.arg("run").arg(script).arg("--data").arg(data).env_remove("LODE_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().expect("lode starts");
        let watchdog = watchdog(child.id());
        Lode { child, watchdog, log }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails the test when lode has ended, or has given up something, by itself.
    pub fn must_be_well(&mut self) {
        let ended = self.child.try_wait().expect("its own child");
        let said = self.said();
        assert!(ended.is_none(), "lode ended by itself ({ended:?}):\n{said}");
        for bad in ["mining failed", "stopped by an error", "panicked", "at fault"] {
            assert!(!said.contains(bad), "lode says: {bad}\n{said}");
        }
    }

    /// Kills it at once.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("the signal is sent");
        let status = self.child.wait().expect("its own child");
        assert_eq!(status.signal(), Some(9), "lode ended before it was killed:\n{}", self.said());
        self.said()
    }

    /// Asks it to end, as service managers do; gives its exit code and what it said.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let done = Command::new("sh")
            .args(["-c", &format!("kill -s TERM {}", self.child.id())])
            .status()
            .expect("a shell");
        assert!(done.success());
        let status = self.wait(END_MAX);
        (status.code(), self.said())
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self, within: Duration) -> (Option<i32>, String) {
        let status = self.wait(within);
        (status.code(), self.said())
    }

    fn wait(&mut self, within: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its own child") {
                return status;
            }
            assert!(began.elapsed() < within, "lode does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lode {
    fn drop(&mut self) {
        // The watchdog goes first: the number of a process that has ended may soon be another's.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends lode when the test is gone without having ended it: its pipe then closes.
fn watchdog(process: u32) -> Child {
    Command::new("sh")
        .args(["-c", "read -r _; kill -s KILL \"$1\"", "watchdog", &process.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
}
