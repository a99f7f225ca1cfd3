//! What was measured, as Markdown.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::support::servers::Server;

/// A report that grows section by section.
pub struct Report {
    machine: String,
    sections: String,
    bars: Vec<Bar>,
}

struct Bar {
    what: String,
    wanted: String,
    measured: String,
    met: bool,
}

impl Report {
    /// An empty report that names the machine.
    pub async fn new(rows: u64, server: &Server, load_before: &str) -> Self {
        let cpu = field("/proc/cpuinfo", "model name");
        let memory = field("/proc/meminfo", "MemTotal");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let machine = format!(
            "{cores} cores of {cpu}, {memory} memory, Linux {}, MariaDB {}, {}, load average {} before. \
             {} changes a workload.\n",
            kernel.trim(),
            server.value("SELECT VERSION()").await,
            jiff::Zoned::now().date(),
            load_before,
            thousands(rows),
        );
        Report { machine, sections: String::new(), bars: Vec::new() }
    }

    /// Adds a section with a table. `note` says how it was measured.
    pub fn table(&mut self, title: &str, note: &str, heads: &[&str], lines: &[Vec<String>]) {
        let text = &mut self.sections;
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {title}\n\n{note}\n\n| {} |\n|", heads.join(" | "));
        for at in 0..heads.len() {
            text.push_str(if at == 0 { "---|" } else { "---:|" });
        }
        for line in lines {
            let _ = write!(text, "\n| {} |", line.join(" | "));
        }
        text.push('\n');
    }

    /// Adds a bar, and whether it is met.
    pub fn bar(&mut self, what: &str, wanted: &str, measured: String, met: bool) {
        println!("{}: {measured} ({wanted})", if met { "met" } else { "MISSED" });
        self.bars.push(Bar { what: what.into(), wanted: wanted.into(), measured, met });
    }

    /// The whole report.
    pub fn text(&self) -> String {
        let mut text = format!(
            "# What shared mining costs\n\nMade by `cargo bench --bench shared_mining` on: {}",
            self.machine
        );
        text.push_str("\n| bar | wanted | measured | met |\n|---|---|---|---|");
        for Bar { what, wanted, measured, met } in &self.bars {
            let met = if *met { "yes" } else { "**no**" };
            let _ = write!(text, "\n| {what} | {wanted} | {measured} | {met} |");
        }
        text.push('\n');
        text.push_str(&self.sections);
        text
    }

    /// Writes the report into `folder`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("RESULTS.md");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, self.text()))
            .expect("the report can be written");
        file
    }
}

/// How much is going on at the machine: it shows in the figures, most of all in the latencies.
pub fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.23 s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// `0.45 ms`.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// `12.3 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
}
