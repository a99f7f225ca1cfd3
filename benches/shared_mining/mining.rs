//! From the binlog into the durable log, against mysql_async's decoding alone.

use std::time::Duration;

use lode::store::LogStat;
use tokio::runtime::Runtime;

use super::live::Live;
use super::process::{Stopwatch, Used};
use super::reference;
use super::report::{Report, thousands};
use super::workload::{Load, Source};

/// What was measured of one load, a value for each round.
#[derive(Default)]
struct Rounds {
    lode: Vec<Used>,
    reference: Vec<Used>,
    log: LogStat,
}

/// Measures all loads in interleaved rounds, so that a busy moment of the machine does not fall on one side.
pub fn measure(runtime: &Runtime, source: &Source, rounds: u64, report: &mut Report) {
    let mut measured: Vec<Rounds> = source.loads.iter().map(|_| Rounds::default()).collect();
    for round in 1..=rounds {
        for (load, measured) in source.loads.iter().zip(&mut measured) {
            measured.reference.push(reference::decode(&source.server, load));
            let (used, log) = runtime.block_on(mine(source, load));
            measured.lode.push(used);
            measured.log = log;
            eprintln!(
                "round {round}, {}: lode {:?}, reference {:?}",
                load.name,
                used,
                measured.reference.last().expect("pushed above")
            );
        }
    }

    let mut lines = Vec::new();
    let mut ratios = Vec::new();
    for (load, rounds) in source.loads.iter().zip(&measured) {
        let ours = rate(load.rows, median(rounds.lode.iter().map(|used| used.cpu)));
        let reference = rate(load.rows, median(rounds.reference.iter().map(|used| used.cpu)));
        let wall = rate(load.rows, median(rounds.lode.iter().map(|used| used.wall)));
        let ratio = ours as f64 / reference as f64;
        let per_change = |bytes: u64| (bytes as f64 / load.rows as f64).round().to_string();
        ratios.push((load.name, ratio, ours));
        lines.push(vec![
            load.name.into(),
            thousands(ours),
            thousands(reference),
            format!("{ratio:.2}"),
            thousands(wall),
            per_change(rounds.log.payload_bytes),
            per_change(rounds.log.stored_bytes),
        ]);
    }
    report.table(
        "Binlog to durable log",
        "Changes a second of processor time (user and system, all threads), medians of interleaved rounds. lode reads \
         the binlog from the server, compares checksums, decodes, encodes, compresses, writes and syncs; mysql_async \
         0.37 reads the same binlog and decodes every value. The server's own time is in neither.",
        &[
            "workload",
            "lode, per CPU second",
            "mysql_async, per CPU second",
            "ratio",
            "lode, per second on the clock",
            "bytes a change",
            "bytes a change, stored",
        ],
        &lines,
    );
    for (name, wanted) in [("mixed", 3.0), ("small", 1.5)] {
        let (_, ratio, ours) = ratios.iter().find(|(load, ..)| *load == name).expect("a load of this name");
        report.bar(
            &format!("{name}, binlog to durable log, per CPU second"),
            &format!("at least {wanted} times mysql_async's decoding"),
            format!("{ratio:.2} times ({} changes)", thousands(*ours)),
            *ratio >= wanted,
        );
    }
}

async fn mine(source: &Source, load: &Load) -> (Used, LogStat) {
    let stopwatch = Stopwatch::start();
    let live = Live::start(source.connection(load.database), load.start(), &load.tables()).await;
    live.has_mined(load.rows).await;
    let used = stopwatch.used();
    assert_eq!(live.mine.progress().changes(), load.rows);
    (used, live.stop().await)
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn rate(rows: u64, time: Duration) -> u64 {
    (rows as f64 / time.as_secs_f64()) as u64
}
