//! Measures shared mining against a MariaDB of its own, on workloads of 1,000,000 changes, and holds the figures
//! against lode's bars. `cargo bench --bench shared_mining` runs everything, prints a report and writes it to
//! `bench/RESULTS.md` in the target folder. Names of sections after `--` run only these: `mining`, `fan_out`,
//! `latency`, `memory`. `LODE_BENCH_ROWS` sets another number of changes, and `LODE_BENCH_ROUNDS` of rounds.

#[path = "../../tests/support/mod.rs"]
mod support;

mod fan_out;
mod latency;
mod live;
mod memory;
mod mining;
mod process;
mod reference;
mod report;
mod workload;

use std::env;
use std::path::Path;

use report::{Report, load_average};
use workload::Source;

const SECTIONS: [&str; 4] = ["mining", "fan_out", "latency", "memory"];

fn main() {
    // Cargo adds `--bench`.
    let wanted: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(unknown) = wanted.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
        eprintln!("there is no section {unknown}; there are {}", SECTIONS.join(", "));
        std::process::exit(2);
    }
    let is_wanted = |section: &str| wanted.is_empty() || wanted.iter().any(|name| name == section);
    let (rows, rounds) = (number("LODE_BENCH_ROWS", 1_000_000), number("LODE_BENCH_ROUNDS", 3));

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let load_before = load_average();
    let source = runtime.block_on(Source::start(rows));
    let mut report = runtime.block_on(Report::new(rows, &source.server, &load_before));
    if is_wanted("mining") {
        mining::measure(&runtime, &source, rounds, &mut report);
    }
    if is_wanted("fan_out") {
        fan_out::measure(&runtime, &source, &mut report);
    }
    if is_wanted("latency") {
        latency::measure(&runtime, &source, &mut report);
    }
    if is_wanted("memory") {
        memory::measure(&source, &mut report);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    let file = report.write(&folder);
    println!("{}", report.text());
    println!("written to {}", file.display());
}

fn number(variable: &str, default: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")),
        Err(_) => default,
    }
}
