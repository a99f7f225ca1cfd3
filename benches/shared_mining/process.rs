//! What this process, and others, have used.

use std::fs;
use std::time::{Duration, Instant};

/// Linux counts processor time for programs in hundredths of a second, on every machine.
const TICK: Duration = Duration::from_millis(10);

/// Time used between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// By the clock on the wall.
    pub wall: Duration,
    /// By all threads of this process, in user code and in the kernel.
    pub cpu: Duration,
}

/// Counts from now on.
pub struct Stopwatch {
    began: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch { began: Instant::now(), cpu: cpu_time() }
    }

    pub fn used(&self) -> Used {
        Used { wall: self.began.elapsed(), cpu: cpu_time() - self.cpu }
    }
}

/// The largest memory that a running process has held so far, in bytes.
pub fn peak_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

fn cpu_time() -> Duration {
    cpu_time_of("self")
}

/// Processor time that a process has used, by its number or `self`.
pub fn cpu_time_of(process: &str) -> Duration {
    // A process that is gone uses nothing more.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program, in brackets, may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    TICK * ticks
}
