//! `lode log stat`: what a log holds.

use std::process::ExitCode;

use indicatif::{HumanBytes, HumanCount};
use lode::error::Result;
use lode::model::coverage::{Coverage, Gap, Paused};
use serde_json::{Value, json};

use super::Opened;
use super::text::time;
use crate::cli::out;

/// Shows the figures of each log.
pub fn show(logs: &[Opened], json: bool) -> Result<ExitCode> {
    let shown: Vec<_> = logs.iter().map(|log| if json { line(log) } else { text(log) }).collect();
    out(&shown.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn text(log: &Opened) -> String {
    let reader = &log.reader;
    let (stat, tail) = (reader.stat(), reader.tail());
    let entries = tail.next.0 - stat.horizon.0;
    let mut text = format!("log {} of {}\n", log.place.log, store(log));
    let mut line = |word: &str, what: String| text.push_str(&format!("  {word:<10}{what}\n"));
    line("source", reader.source_id().unwrap_or_else(|| "none yet".to_owned()));
    let coverage = reader.coverage();
    line("tables", tables(&coverage));
    for paused in &coverage.paused {
        line(if paused.resuming { "resuming" } else { "paused" }, standing(paused));
    }
    for gap in &coverage.gaps {
        line("gap", missing(gap));
    }
    if let Some(time_ms) = stat.horizon_time_ms {
        line("begins", format!("entry {}, {}", stat.horizon, time(time_ms)));
    }
    match &tail.commit {
        Some(commit) => {
            line("ends", format!("before entry {}, {}", tail.next, time(commit.time_ms)));
            line("position", commit.position.to_string());
        }
        None if tail.next.0 == 0 => line("ends", "nothing was mined yet".to_owned()),
        None => line("ends", format!("before entry {}, where the log is damaged", tail.next)),
    }
    line("entries", HumanCount(entries).to_string());
    let ratio = ratio(&stat).map_or(String::new(), |ratio| format!(", {ratio:.1} to 1"));
    let plural = if stat.segments == 1 { "" } else { "s" };
    line(
        "size",
        format!(
            "{} in {} segment{plural} ({} uncompressed{ratio})",
            HumanBytes(stat.stored_bytes),
            HumanCount(stat.segments),
            HumanBytes(stat.payload_bytes),
        ),
    );
    line("epoch", reader.epoch().to_string());
    text
}

fn line(log: &Opened) -> String {
    let reader = &log.reader;
    let (stat, tail) = (reader.stat(), reader.tail());
    let rfc = |time_ms: i64| {
        let time = jiff::Timestamp::from_millisecond(time_ms).ok();
        time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
    };
    let commit = tail.commit.as_ref().map_or(Value::Null, |commit| {
        let position = &commit.position;
        json!({
            "ts": rfc(commit.time_ms),
            "gtid": position.gtid,
            "file": position.file,
            "offset": position.offset,
        })
    });
    let coverage = reader.coverage();
    let tables: Vec<_> = coverage.tables.sets().iter().map(|set| json!(set)).collect();
    let line = json!({
        "log": log.place.log,
        "store": log.place.store.as_ref().map_or("embedded", |store| store.name.as_str()),
        "epoch": reader.epoch().to_string(),
        "source": reader.source_id(),
        "tables": tables,
        "paused": coverage.paused,
        "gaps": coverage.gaps,
        "horizon": { "seq": stat.horizon, "ts": stat.horizon_time_ms.and_then(rfc) },
        "tail": { "next": tail.next, "commit": commit },
        "entries": tail.next.0 - stat.horizon.0,
        "stored_bytes": stat.stored_bytes,
        "payload_bytes": stat.payload_bytes,
        "ratio": ratio(&stat),
        "segments": stat.segments,
    });
    line.to_string()
}

fn store(log: &Opened) -> String {
    match &log.place.store {
        Some(store) => format!("{} ({} {})", store.name, store.kind, store.endpoint),
        None => "the embedded store".to_owned(),
    }
}

/// How many times smaller the log is than what it holds.
fn ratio(stat: &lode::store::LogStat) -> Option<f64> {
    (stat.stored_bytes > 0).then(|| stat.payload_bytes as f64 / stat.stored_bytes as f64)
}

/// `shop.{orders, items}, shop.* but not tmp_*`
fn tables(coverage: &Coverage) -> String {
    let sets: Vec<_> = coverage.tables.sets().iter().map(ToString::to_string).collect();
    if sets.is_empty() { "none yet".to_owned() } else { sets.join(", ") }
}

/// `shop.big since binlog.000003:1177, 2026-01-31 23:59:59.000 UTC; why it could not be resumed`
fn standing(paused: &Paused) -> String {
    let failed = paused.failed.as_ref().map_or(String::new(), |failed| format!("; {}", failed.error));
    format!("{} since {}, {}{failed}", paused.tables, paused.since, time(paused.since_ms))
}

/// `shop.big from binlog.000003:1177 to binlog.000007:4, accepted 2026-01-31 23:59:59.000 UTC`
fn missing(gap: &Gap) -> String {
    let tables = gap.tables.as_ref().map_or_else(|| "all tables".to_owned(), ToString::to_string);
    format!("{tables} from {} to {}, accepted {}", gap.from, gap.to, time(gap.at_ms))
}
