//! How much memory `lode run` holds while a transaction of 1,000,000 rows passes.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{cpu_time_of, peak_memory};
use super::report::{Report, megabytes, seconds, thousands};
use super::workload::{Load, Source};

/// A run that does nothing for so long has delivered everything.
const QUIET: Duration = Duration::from_secs(2);
/// No run takes longer.
const RUN_MAX: Duration = Duration::from_secs(600);
const LIMIT_BYTES: u64 = 100_000_000;

/// Runs the command line with a pipeline into each sink.
pub fn measure(source: &Source, report: &mut Report) {
    let load = source.get("huge");
    let mut lines = Vec::new();
    for (name, sink) in [("null", "sink null"), ("sqlite", "sink sqlite mart.sbtest1")] {
        let (peak, took) = run(source, load, sink);
        lines.push(vec![name.into(), megabytes(peak), seconds(took)]);
        report.bar(
            &format!("peak memory, one transaction of {} rows into log and {name}", thousands(load.rows)),
            "under 100 MB",
            megabytes(peak),
            peak < LIMIT_BYTES,
        );
    }
    report.table(
        "Memory",
        "The largest resident size (VmHWM) of a `lode run` of its own while one transaction passes from the binlog \
         into the log and from there into the sink.",
        &["sink", "peak memory", "time on the clock"],
        &lines,
    );
}

fn run(source: &Source, load: &Load, sink: &str) -> (u64, Duration) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let script = folder.path().join("huge.lode");
    let text = format!(
        "connection bench = mysql \"mysql://root@{}:{}/{}\"\n\
         connection mart = sqlite \"mart.db\"\n\
         share_mining bench via embedded {{ start = position(\"{}\", 4) }}\n\
         pipeline huge = source mysql bench.{} share_mining -> {sink}\n",
        source.server.host(),
        source.server.port(),
        load.database,
        load.file,
        load.table,
    );
    fs::write(&script, text).expect("the script can be written");
    let began = Instant::now();
    let mut lode = Command::new(env!("CARGO_BIN_EXE_lode"))
        .arg("run")
        .arg(&script)
        .arg("--data")
        .arg(folder.path().join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lode runs");
    let (peak, took) = watch(&mut lode, began);
    let stop = format!("kill -s TERM {}", lode.id());
    Command::new("sh").args(["-c", &stop]).status().expect("a shell");
    let output = lode.wait_with_output().expect("lode ends");
    let said = String::from_utf8_lossy(&output.stderr);
    // The last lines say of the pipeline what it read, delivered and wrote.
    let rows = thousands(load.rows);
    let all = |line: &str| {
        line.starts_with("huge") && line.split_whitespace().filter(|word| *word == rows).count() == 3
    };
    assert!(said.lines().any(all), "the run did not deliver everything:\n{said}");
    (peak, took)
}

/// Waits until the process has come to rest. Its peak memory, and how long it was busy.
fn watch(lode: &mut Child, began: Instant) -> (u64, Duration) {
    let (mut busy, mut busy_until, mut peak) = (Duration::ZERO, Instant::now(), 0);
    while busy_until.elapsed() < QUIET {
        assert!(began.elapsed() < RUN_MAX, "the run takes too long");
        let Some(held) = peak_memory(lode.id()) else { break };
        peak = held.max(peak);
        let cpu = cpu_time_of(&lode.id().to_string());
        // Heartbeats and retention need a little now and then.
        if cpu > busy + Duration::from_millis(20) {
            (busy, busy_until) = (cpu, Instant::now());
        }
        thread::sleep(Duration::from_millis(50));
    }
    (peak, busy_until - began)
}
