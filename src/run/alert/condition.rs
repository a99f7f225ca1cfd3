//! Whether a condition holds for what was seen, and how that is said.

use super::{Fact, Rule, Seen, Whom};
use crate::check::model::{Measure, Metric, Subject};
use crate::check::written::measure_text;
use crate::lang::ast::Comparison;

/// What a rule sees of one subject.
#[derive(Clone)]
pub(super) struct Reading {
    /// Whether the condition holds; `None` when that is not known.
    pub holds: Option<bool>,
    pub value: Option<f64>,
    pub threshold: Option<f64>,
    pub table: Option<String>,
    pub message: String,
}

impl Rule {
    /// Whether the rule is about this subject.
    pub(super) fn concerns(&self, seen: &Seen) -> bool {
        match (&self.of, &seen.whom) {
            (None, Whom::Pipeline(_) | Whom::Mine(_)) => true,
            (Some(Subject::Pipeline(wanted)), Whom::Pipeline(name)) => wanted == name,
            (Some(Subject::Mine(wanted)), Whom::Mine(name)) => {
                wanted == name || seen.connections.contains(wanted)
            }
            (Some(Subject::Tables { connection, tables }), Whom::Table { table, .. }) => {
                let database = seen.database.as_deref().unwrap_or(&tables.database);
                seen.connections.contains(connection) && tables.contains(database, table)
            }
            _ => false,
        }
    }

    pub(super) fn read(&self, seen: &Seen) -> Reading {
        match self.limit {
            None => self.read_fact(seen),
            Some((comparison, limit)) => self.read_figure(seen, comparison, limit),
        }
    }

    fn read_fact(&self, seen: &Seen) -> Reading {
        let fact = match self.metric {
            Metric::Error => &seen.error,
            Metric::Waiting => &seen.waiting,
            Metric::Gap => &seen.gap,
            Metric::Stopped => &seen.stopped,
            Metric::StoreFull => &seen.store_full,
            _ => &Fact::Unknown,
        };
        let (holds, why) = match fact {
            Fact::Unknown => (None, ""),
            Fact::No => (Some(false), ""),
            Fact::Yes(why) => (Some(true), why.as_str()),
        };
        let who = who(&seen.whom);
        let message = match self.metric {
            Metric::Error => format!("{who} failed: {why}"),
            Metric::Waiting => format!("{who} waits: {why}"),
            Metric::Gap => format!("history of {who} is missing: {why}"),
            Metric::Stopped => format!("{who} is stopped{why}"),
            _ => format!("the log of {who} is nearly full: {why}"),
        };
        let table = self.table(seen);
        Reading { holds, value: None, threshold: None, table, message }
    }

    fn read_figure(&self, seen: &Seen, comparison: Comparison, limit: Measure) -> Reading {
        let value = match self.metric {
            Metric::Lag => seen.lag_ms.map(|ms| ms as f64),
            Metric::Rps => seen.rows_per_s,
            Metric::Retries => seen.retries.map(|times| times as f64),
            Metric::Horizon => {
                seen.horizon_ms.map(|ms| if ms == u64::MAX { f64::INFINITY } else { ms as f64 })
            }
            Metric::StoreSize => seen.store_bytes.map(|bytes| bytes as f64),
            Metric::BigTransaction => seen.transaction_rows.map(|rows| rows as f64),
            Metric::Silent => seen.silent_ms.map(|ms| ms as f64),
            Metric::ClockSkew => seen.clock_skew_ms.map(|ms| ms as f64),
            Metric::SinkLatency => seen.sink_ms.map(|ms| ms as f64),
            _ => None,
        };
        let threshold = match limit {
            Measure::Count(number) | Measure::Size(number) => number as f64,
            Measure::Time(duration) => duration.as_millis() as f64,
        };
        let holds = value.map(|value| comparison.holds(value, threshold));
        let message = value.map_or(String::new(), |value| self.said(seen, value, comparison, limit));
        Reading { holds, value, threshold: Some(threshold), table: self.table(seen), message }
    }

    fn said(&self, seen: &Seen, value: f64, comparison: Comparison, limit: Measure) -> String {
        let who = who(&seen.whom);
        let bound = format!("{} {}", in_words(comparison), measure_text(limit));
        let time = time_words(value);
        let error = seen.retried.as_ref().map_or(String::new(), |error| format!(": {error}"));
        match self.metric {
            Metric::Lag => format!("{who} is {time} behind its source, {bound}{error}"),
            Metric::Rps => format!("{who} has {} rows per second, {bound}", round(value)),
            Metric::Retries => {
                format!("{who} has failed {} times since it last succeeded{error}", round(value))
            }
            Metric::Horizon => format!("history that {who} still needs is lost in {time}, {bound}"),
            Metric::StoreSize => format!("the log of {who} has {} MiB, {bound}", round(value / 1_048_576.0)),
            Metric::BigTransaction => {
                let most = match (&seen.transaction_table, &seen.whom) {
                    (Some(table), Whom::Mine(_)) => format!(", most of them of {table}"),
                    _ => String::new(),
                };
                format!("a transaction of {who} has {} rows so far{most}, {bound}", round(value))
            }
            Metric::Silent => format!("{who} has heard nothing from its source for {time}{error}"),
            Metric::ClockSkew => {
                format!("the clock of {who}'s source is {time} away from this machine's, {bound}")
            }
            Metric::SinkLatency => format!("the sink of {who} takes {time} for a batch, {bound}"),
            Metric::Error
            | Metric::Waiting
            | Metric::Gap
            | Metric::Stopped
            | Metric::StoreFull
            | Metric::Alert => who,
        }
    }

    fn table(&self, seen: &Seen) -> Option<String> {
        match &seen.whom {
            Whom::Table { .. } => Some(seen.whom.to_string()),
            _ if self.metric == Metric::BigTransaction => seen.transaction_table.clone(),
            _ => None,
        }
    }
}

fn who(whom: &Whom) -> String {
    match whom {
        Whom::Pipeline(_) => format!("pipeline {whom}"),
        Whom::Mine(_) => format!("mine {whom}"),
        Whom::Table { .. } => format!("table {whom}"),
    }
}

fn in_words(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Above => "more than",
        Comparison::AtLeast => "at least",
        Comparison::Below => "less than",
        Comparison::AtMost => "at most",
        Comparison::Equal => "exactly",
        Comparison::NotEqual => "other than",
    }
}

/// A whole number, or one digit behind the point.
fn round(value: f64) -> String {
    if value.fract() == 0.0 || value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Milliseconds in the two largest units that say something: `1m 30s`.
pub(super) fn time_words(ms: f64) -> String {
    if !ms.is_finite() {
        return "more than a hundred years".to_owned();
    }
    let ms = ms.max(0.0) as u64;
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let mut left = ms / 1_000;
    let mut words = Vec::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= seconds && words.len() < 2 {
            words.push(format!("{}{unit}", left / seconds));
        }
        left %= seconds;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_exact_enough() {
        let shown: Vec<_> =
            [0.0, 999.0, 45_000.0, 90_500.0, 3_600_000.0, 93_784_000.0].map(time_words).into();
        assert_eq!(shown, ["0ms", "999ms", "45s", "1m 30s", "1h", "1d 2h"]);
    }
}
