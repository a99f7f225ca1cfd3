//! What scripts say, checked: the step between the tree and the plan.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::cron::Cron;
use super::testing::Test;
use super::written::{measure_text, subject_text};
use crate::lang::ast::Comparison;
use crate::model::connection::Connection;
use crate::model::hook::Hook;
use crate::model::spec::Settings;
use crate::model::table::TableSet;

/// Everything that scripts say.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Connections that a pipeline uses, by name.
    pub connections: BTreeMap<String, Arc<Connection>>,
    /// Shared mining that a pipeline uses, by source connection.
    pub mines: BTreeMap<String, Arc<Mine>>,
    /// Pipelines in the order of the scripts.
    pub pipelines: Vec<Pipeline>,
    /// `on … do …`
    pub alerts: Vec<Alert>,
    /// `every … do …` and `at … do …`
    pub schedules: Vec<Schedule>,
    /// Control verbs that stand by themselves.
    pub commands: Vec<Command>,
    /// `test … of …`
    pub tests: Vec<Test>,
    /// What the scripts ask for and this version cannot do yet.
    pub not_yet: Vec<NotYet>,
}

/// Something that can be checked and planned, and not be run yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYet {
    /// What: `sink oracle`.
    pub what: String,
    /// Why, or what to do instead, in a sentence.
    pub why: String,
    /// Whether running would not do what the script says, so that it must be refused. Otherwise the rest runs without it.
    pub refuses_run: bool,
}

/// The mining of one source connection into one log.
#[derive(Clone, Debug, PartialEq)]
pub struct Mine {
    /// The name shown to people.
    pub name: String,
    /// The source connection.
    pub connection: Arc<Connection>,
    /// The connection of the log store; `None` is the embedded store.
    pub store: Option<Arc<Connection>>,
    /// The log's name within its store.
    pub log: String,
    /// Settings of `share_mining`.
    pub settings: Settings,
}

/// The name of the log of a source connection for which scripts name none. `in_store` says that it lies in a store that a
/// connection leads to: there it stands beside what others keep, so that its name says whose it is.
pub fn default_log(connection: &str, in_store: bool) -> String {
    if in_store { format!("lode_log_{connection}") } else { connection.to_owned() }
}

/// One pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name, or that of its sink.
    pub name: String,
    /// Its settings.
    pub settings: Settings,
    /// What it reads; no two inputs have the same connection.
    pub inputs: Vec<Input>,
    /// What happens to the changes.
    pub flow: Flow,
    /// Connections whose tables its hooks look rows up in, by name.
    pub lookups: BTreeMap<String, Arc<Connection>>,
}

/// Tables of one source connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The source connection.
    pub connection: Arc<Connection>,
    /// Its tables.
    pub tables: TableSet,
    /// The mine, when the changes come through its log.
    pub mine: Option<Arc<Mine>>,
    /// Settings of the source.
    pub settings: Settings,
}

/// Stages and where they lead.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The stages in their order.
    pub stages: Vec<Stage>,
    /// Where they lead.
    pub end: FlowEnd,
}

/// The end of a flow.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowEnd {
    /// One sink.
    Sink(Sink),
    /// Several flows, each of which gets every change.
    Branches(Vec<Flow>),
}

impl Flow {
    /// Every sink, in the order of the script.
    pub fn sinks(&self) -> Vec<&Sink> {
        match &self.end {
            FlowEnd::Sink(sink) => vec![sink],
            FlowEnd::Branches(flows) => flows.iter().flat_map(Flow::sinks).collect(),
        }
    }
}

/// A step between source and sink.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Lets a change pass when the expression is true.
    Filter(Hook),
    /// Changes rows.
    Map(Hook),
    /// Keeps only these columns, and the key.
    Keep(Vec<String>),
    /// Removes these columns.
    Drop(Vec<String>),
}

/// A sink with its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// Its kind.
    pub kind: &'static str,
    /// The connection, where the kind has one.
    pub connection: Option<Arc<Connection>>,
    /// The table with at most one `*`, the absolute path, `-`, or nothing.
    pub target: String,
    /// As the script writes it: `dw.orders`, `audit/{table}.jsonl`; the kind where there is no target. It does not change
    /// with the folder that the script lies in.
    pub label: String,
    /// Its settings.
    pub settings: Settings,
}

/// `on condition for 2m of name do …`
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What is watched; [`Metric::Alert`] takes the place of what ready alerts do.
    pub metric: Metric,
    /// What it is compared with; `None` for a metric that is a yes or no.
    pub limit: Option<(Comparison, Measure)>,
    /// How long it must hold.
    pub hold: Duration,
    /// Whom it concerns; `None` is everything.
    pub of: Option<Subject>,
    /// How often it is told again while it lasts, where the statement says; zero is never.
    pub repeat: Option<Duration>,
    /// What is done.
    pub action: Action,
}

impl Alert {
    /// Its condition as scripts write it: `lag > 30s for 2m of sales`.
    pub fn condition(&self) -> String {
        condition(self.metric, self.limit, self.hold, self.of.as_ref())
    }
}

/// A condition as scripts write it.
pub fn condition(
    metric: Metric,
    limit: Option<(Comparison, Measure)>,
    hold: Duration,
    of: Option<&Subject>,
) -> String {
    let mut text = metric.as_str().to_owned();
    if let Some((comparison, limit)) = limit {
        text += &format!(" {} {}", comparison.as_str(), measure_text(limit));
    }
    if !hold.is_zero() {
        text += &format!(" for {}", measure_text(Measure::Time(hold)));
    }
    of.map_or(text.clone(), |of| format!("{text} of {}", subject_text(of)))
}

macro_rules! metrics {
    ($(#[doc = $doc:literal] $variant:ident = $text:literal, $unit:ident, $of:ident;)*) => {
        /// What can be watched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $(#[doc = $doc] $variant,)*
        }

        impl Metric {
            /// Every metric.
            pub const ALL: &[Metric] = &[$(Metric::$variant),*];

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Metric::$variant => $text,)* }
            }

            /// What it is, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Metric::$variant => $doc.trim_ascii_start(),)* }
            }

            /// What it is measured in.
            pub fn unit(self) -> MetricUnit {
                match self { $(Metric::$variant => MetricUnit::$unit,)* }
            }

            /// What tables have, too.
            pub const OF_TABLES: &[Metric] =
                &[Metric::Rps, Metric::Gap, Metric::Stopped, Metric::BigTransaction];

            /// Who has it.
            pub fn bearer(self) -> Bearer {
                match self { $(Metric::$variant => Bearer::$of,)* }
            }
        }
    };
}

metrics! {
    /// How far behind the source a pipeline or mine is.
    Lag = "lag", Time, Both;
    /// Rows per second.
    Rps = "rps", Count, Both;
    /// A pipeline or mine failed.
    Error = "error", YesNo, Both;
    /// Attempts since the last success.
    Retries = "retries", Count, Both;
    /// A pipeline waits for its mine.
    Waiting = "waiting", YesNo, Both;
    /// How long it takes until history that a pipeline still needs is lost.
    Horizon = "horizon", Time, Both;
    /// Size of a log.
    StoreSize = "store_size", Size, Mines;
    /// History is missing.
    Gap = "gap", YesNo, Both;
    /// A pipeline or mine is stopped.
    Stopped = "stopped", YesNo, Both;
    /// Rows of the transaction that is being read, once it is larger than a block of the log.
    BigTransaction = "big_transaction", Count, Mines;
    /// For how long nothing has come from the source, not even a heartbeat.
    Silent = "silent", Time, Mines;
    /// How far the source's clock is from this machine's.
    ClockSkew = "clock_skew", Time, Mines;
    /// How long the sink takes for a batch.
    SinkLatency = "sink_latency", Time, Pipelines;
    /// The log is full, or nearly so.
    StoreFull = "store_full", YesNo, Mines;
    /// Any of the ready alerts.
    Alert = "alert", YesNo, Both;
}

/// Who has a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// Mines, and with most metrics their tables.
    Mines,
    /// Pipelines.
    Pipelines,
    /// Both.
    Both,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// It is so or not.
    YesNo,
    /// A whole number.
    Count,
    /// A duration.
    Time,
    /// Bytes.
    Size,
}

/// What a metric is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A whole number.
    Count(u64),
    /// A duration.
    Time(Duration),
    /// Bytes.
    Size(u64),
}

/// Whom an alert or a command concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A pipeline, by name.
    Pipeline(String),
    /// The mine of a source connection.
    Mine(String),
    /// Tables of a source connection.
    Tables {
        /// The connection.
        connection: String,
        /// Its tables.
        tables: TableSet,
    },
}

/// What `do` does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Rhai code.
    Hook(Hook),
    /// A control verb.
    Command(Command),
}

/// `every 1h do …` and `at "0 2 * * *" do …`
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// When.
    pub when: When,
    /// What is done.
    pub action: Action,
}

/// The time of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Again and again after this time.
    Every(Duration),
    /// At these minutes.
    At(Cron),
}

/// As scripts write it: `every 1h`, `at "0 2 * * *"`.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Every(period) => write!(f, "every {}", measure_text(Measure::Time(*period))),
            When::At(cron) => write!(f, "at \"{}\"", cron.text),
        }
    }
}
