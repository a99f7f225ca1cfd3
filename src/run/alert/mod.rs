//! Alerts: what is watched, when somebody is told of it, and when no more.
//!
//! Nothing here reads a clock, waits or acts. [`Watch::look`] gets what was seen at a moment and answers with what is to
//! be told; whoever calls it runs hooks for that. So a test gives it simulated minutes, and a run real ones.
//!
//! - A condition has to hold for the time of `for` before its alert **fires**. It is **resolved** when the condition has
//!   not held for [`CALM_MS`], so that what flickers does not resolve. What cannot be known at a moment changes nothing.
//! - What fires is told, and again after each `repeat` while it lasts. One that comes back sooner after it was told last
//!   waits until then: an alert that flaps is told once in `repeat`. What was told as firing is told once as resolved.
//! - What is **muted** goes on being watched and tells nobody; what still fires when that ends is told then. What is
//!   **acknowledged** is told once more, when it is resolved.

mod condition;
mod seen;
mod standard;
mod watch;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use crate::check::model::{Measure, Metric, Subject};
use crate::check::written::name_text;
use crate::hook::act::ActFacts;
use crate::lang::ast::Comparison;
use crate::lang::print::quotable;

pub use self::seen::{Fact, Observation, Seen};
pub use self::standard::{READY, rules};
pub use self::watch::{Firing, HISTORY_MAX, Kept, MUTES_MAX, Mute, Watch};

/// A condition that has not held for so long is over, in milliseconds.
pub const CALM_MS: i64 = 5_000;
/// How often a firing alert is told again when its statement does not say.
pub const REPEAT: Duration = Duration::from_secs(300);

/// One condition that is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The condition as it is written, which no other rule has: `lag > 30s for 2m of sales`.
    pub id: String,
    /// What is watched.
    pub metric: Metric,
    /// What it is compared with; `None` for a yes or no.
    pub limit: Option<(Comparison, Measure)>,
    /// How long it must hold.
    pub hold: Duration,
    /// How often it is told again while it lasts; zero is never.
    pub repeat: Duration,
    /// Whom it concerns; `None` is every pipeline and mine.
    pub of: Option<Subject>,
    /// The statement among the alerts of the plan; `None` is a ready alert.
    pub statement: Option<usize>,
}

/// Whom an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// A pipeline, by name.
    Pipeline(String),
    /// A mine, by its source connection.
    Mine(String),
    /// A table of a mine.
    Table {
        /// The mine's source connection.
        mine: String,
        /// The table.
        table: String,
    },
}

/// As commands write it: `sales`, `shop.big_table`.
impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Pipeline(name) => f.write_str(&name_text(name)),
            Whom::Mine(name) => f.write_str(name),
            Whom::Table { mine, table } => write!(f, "{mine}.{}", quotable(table)),
        }
    }
}

/// Why somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// It fires.
    Fires,
    /// It still fires.
    Repeats,
    /// It is over.
    Resolved,
}

/// What is told of an alert: facts for hooks, and a line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The alert's name: `lag of sales`.
    pub name: String,
    /// The rule, by its id.
    pub rule: String,
    /// What is watched.
    pub metric: String,
    /// Whom it is about.
    pub of: Whom,
    /// Why it is told.
    pub because: Because,
    /// The value at that moment: durations in milliseconds, sizes in bytes; `None` for a yes or no.
    pub value: Option<Number>,
    /// What it is compared with, in the same unit.
    pub threshold: Option<Number>,
    /// The table that it concerns most, as commands write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Since when the condition held, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// What it means, in a sentence.
    pub message: String,
}

impl Told {
    /// What hooks get.
    pub fn facts(&self) -> ActFacts {
        let (pipeline, mine) = match &self.of {
            Whom::Pipeline(name) => (Some(name), None),
            Whom::Mine(name) | Whom::Table { mine: name, .. } => (None, Some(name)),
        };
        let facts = json!({
            "name": self.name,
            "metric": self.metric,
            "value": self.value,
            "threshold": self.threshold,
            "pipeline": pipeline,
            "mine": mine,
            "table": self.table,
            "since": time_text(self.since_ms),
            "message": self.message,
            "resolved": self.because == Because::Resolved,
        });
        match facts {
            Value::Object(facts) => facts,
            _ => ActFacts::new(),
        }
    }
}

/// The name of an alert, by which it is muted and acknowledged: `lag of sales`.
pub fn alert_name(metric: Metric, of: &Whom) -> String {
    format!("{} of {of}", metric.as_str())
}

/// A figure as JSON, without a point where it is whole.
fn number(value: f64) -> Option<Number> {
    let is_whole = value.fract() == 0.0 && value.abs() < 9e15;
    if is_whole { Some(Number::from(value as i64)) } else { Number::from_f64(value) }
}

/// A moment as hooks get it: RFC 3339, in UTC.
pub fn time_text(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map_or_else(|_| format!("{time_ms} ms"), |time| time.to_string())
}
