//! The rules of a plan: what its statements say, and the alerts that are ready.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{REPEAT, Rule};
use crate::check::model::{Measure, Metric, Subject, condition};
use crate::lang::ast::Comparison;
use crate::model::spec::Settings;
use crate::plan::Plan;

/// An alert that nobody has to write.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// What is watched.
    pub metric: Metric,
    /// From where on.
    pub limit: Option<Measure>,
    /// Whether a smaller value is the worse one.
    pub below: bool,
    /// How long it must hold.
    pub hold: Duration,
    /// Whether it is about mines.
    pub of_mines: bool,
    /// Whether it is about pipelines.
    pub of_pipelines: bool,
    /// What it is for, in a sentence.
    pub meaning: &'static str,
}

const fn ready(
    metric: Metric,
    limit: Option<Measure>,
    hold_s: u64,
    (of_mines, of_pipelines): (bool, bool),
    meaning: &'static str,
) -> Ready {
    let below = matches!(metric, Metric::Horizon);
    Ready { metric, limit, below, hold: Duration::from_secs(hold_s), of_mines, of_pipelines, meaning }
}

const BOTH: (bool, bool) = (true, true);
const MINES: (bool, bool) = (true, false);
const PIPELINES: (bool, bool) = (false, true);

const fn time(seconds: u64) -> Option<Measure> {
    Some(Measure::Time(Duration::from_secs(seconds)))
}

/// What `alerts = standard` watches.
pub const READY: &[Ready] = &[
    ready(Metric::Error, None, 0, BOTH, "It failed, and does not go on by itself."),
    ready(Metric::Lag, time(60), 300, BOTH, "It is a minute behind its source, for five minutes."),
    ready(Metric::Retries, Some(Measure::Count(10)), 0, BOTH, "It was tried ten times without success."),
    ready(Metric::Silent, time(60), 0, MINES, "Nothing comes from the source, not even a heartbeat."),
    ready(
        Metric::SinkLatency,
        time(5),
        60,
        PIPELINES,
        "The sink takes five seconds for a batch, for a minute.",
    ),
    ready(
        Metric::Stopped,
        None,
        0,
        MINES,
        "The mine is stopped; the message names the pipelines that starve.",
    ),
    ready(Metric::Waiting, None, 60, PIPELINES, "The pipeline has waited a minute for its mine."),
    ready(
        Metric::Horizon,
        time(6 * 3600),
        60,
        PIPELINES,
        "History that the pipeline needs is lost within six hours.",
    ),
    ready(Metric::StoreFull, None, 0, MINES, "The log is full, or nearly so."),
    ready(Metric::Gap, None, 0, BOTH, "History is missing."),
    ready(Metric::ClockSkew, time(10), 0, MINES, "The clocks of source and lode differ by ten seconds."),
];

impl Ready {
    fn rule(&self, of: Subject) -> Rule {
        let comparison = if self.below { Comparison::Below } else { Comparison::AtLeast };
        let limit = self.limit.map(|limit| (comparison, limit));
        Rule {
            id: format!("standard {}", condition(self.metric, limit, self.hold, Some(&of))),
            metric: self.metric,
            limit,
            hold: self.hold,
            repeat: REPEAT,
            of: Some(of),
            statement: None,
        }
    }
}

/// The rules of a plan: one for each alert in it, and the ready ones of what has `alerts = standard`.
pub fn rules(plan: &Plan) -> Vec<Rule> {
    let mut taken = BTreeSet::new();
    let written = plan.alerts.iter().enumerate().filter(|(_, alert)| alert.metric != Metric::Alert);
    let mut rules: Vec<Rule> = written
        .map(|(index, alert)| Rule {
            id: unlike(&mut taken, alert.condition()),
            metric: alert.metric,
            limit: alert.limit,
            hold: alert.hold,
            repeat: alert.repeat.unwrap_or(REPEAT),
            of: alert.of.clone(),
            statement: Some(index),
        })
        .collect();
    let asks = |settings: &Settings| settings.choice("alerts") == Some("standard");
    let mines = plan.mines.iter().filter(|(_, mine)| asks(&mine.settings));
    for of in mines.map(|(connection, _)| Subject::Mine(connection.clone())) {
        rules.extend(READY.iter().filter(|ready| ready.of_mines).map(|ready| ready.rule(of.clone())));
    }
    let pipelines = plan.pipelines.iter().filter(|(_, pipeline)| asks(&pipeline.settings));
    for of in pipelines.map(|(name, _)| Subject::Pipeline(name.clone())) {
        rules.extend(READY.iter().filter(|ready| ready.of_pipelines).map(|ready| ready.rule(of.clone())));
    }
    rules
}

/// A text that was not given before.
fn unlike(taken: &mut BTreeSet<String>, text: String) -> String {
    if taken.insert(text.clone()) {
        return text;
    }
    let numbered =
        (2..).map(|number| format!("{text} #{number}")).find(|numbered| taken.insert(numbered.clone()));
    numbered.unwrap_or(text)
}
