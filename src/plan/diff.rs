//! What differs between two plans: the one that runs, and the one that is wanted.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::show::{action_text, place, stage_text, table_names};
use super::{MinePlan, PipelinePlan, Plan, Through};
use crate::check::model::{Alert, Measure, Schedule};
use crate::check::written::{measure_text, setting_text};
use crate::model::connection::Connection;
use crate::model::spec::Settings;

/// The difference of two plans. It is empty when carrying out the second one would change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Mines that differ, by source connection.
    pub mines: Vec<Changed>,
    /// Pipelines that differ, by name.
    pub pipelines: Vec<Changed>,
    /// Alerts that differ, by condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Changed>,
    /// Schedules that differ, by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Changed>,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// How.
    pub change: Change,
}

/// How something differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the wanted plan has it.
    Added,
    /// Only the running plan has it.
    Removed,
    /// Both have it, and these of its parts differ.
    Changed(Vec<Detail>),
}

/// One part that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Which: `retention`, `sink sqlite mart.orders: batch`.
    pub part: String,
    /// As it runs; `None` where it has none. Secrets are never shown.
    pub from: Option<String>,
    /// As it is wanted.
    pub to: Option<String>,
}

impl Diff {
    /// What has to change in `running` for it to become `wanted`.
    pub fn between(running: &Plan, wanted: &Plan) -> Diff {
        Diff {
            mines: compare(&running.mines, &wanted.mines, |mine| mine_parts(mine)),
            pipelines: compare(&running.pipelines, &wanted.pipelines, |pipeline| pipeline_parts(pipeline)),
            alerts: compare(&alerts(running), &alerts(wanted), |alert| alert_parts(alert)),
            schedules: compare(&schedules(running), &schedules(wanted), |schedule| {
                BTreeMap::from([("do".to_owned(), action_text(&schedule.action))])
            }),
        }
    }

    /// One line: `~ mine shop, + pipeline paid`.
    pub fn summary(&self) -> String {
        let line = |what: &str, changed: &Changed| {
            let sign = match changed.change {
                Change::Added => "+",
                Change::Removed => "-",
                Change::Changed(_) => "~",
            };
            format!("{sign} {what} {}", changed.name)
        };
        let mines = self.mines.iter().map(|changed| line("mine", changed));
        let pipelines = self.pipelines.iter().map(|changed| line("pipeline", changed));
        let alerts = self.alerts.iter().map(|changed| line("alert", changed));
        let schedules = self.schedules.iter().map(|changed| line("schedule", changed));
        let lines: Vec<_> = mines.chain(pipelines).chain(alerts).chain(schedules).collect();
        if lines.is_empty() { "nothing differed".to_owned() } else { lines.join(", ") }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        [&self.mines, &self.pipelines, &self.alerts, &self.schedules].iter().all(|part| part.is_empty())
    }
}

fn compare<T: PartialEq>(
    running: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
    parts: impl Fn(&T) -> BTreeMap<String, String>,
) -> Vec<Changed> {
    let names: BTreeSet<&String> = running.keys().chain(wanted.keys()).collect();
    let change = |name: &String| match (running.get(name), wanted.get(name)) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(one), Some(other)) if one == other => None,
        (Some(one), Some(other)) => Some(Change::Changed(details(&parts(one), &parts(other)))),
    };
    names.into_iter().filter_map(|name| Some(Changed { name: name.clone(), change: change(name)? })).collect()
}

fn details(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Vec<Detail> {
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let differing = names.into_iter().filter(|name| from.get(*name) != to.get(*name));
    let details: Vec<Detail> = differing
        .map(|name| Detail { part: name.clone(), from: from.get(name).cloned(), to: to.get(name).cloned() })
        .collect();
    if details.is_empty() {
        // Both are written alike.
        return vec![Detail { part: "a secret or a hook's file".to_owned(), from: None, to: None }];
    }
    details
}

/// By condition; several of the same condition are numbered.
fn alerts(plan: &Plan) -> BTreeMap<String, &Alert> {
    numbered(plan.alerts.iter().map(|alert| (alert.condition(), alert)))
}

fn schedules(plan: &Plan) -> BTreeMap<String, &Schedule> {
    numbered(plan.schedules.iter().map(|schedule| (schedule.when.to_string(), schedule)))
}

fn numbered<T>(items: impl Iterator<Item = (String, T)>) -> BTreeMap<String, T> {
    let mut named = BTreeMap::new();
    for (name, item) in items {
        let again = (2..).map(|number| format!("{name} #{number}"));
        let free = std::iter::once(name.clone()).chain(again).find(|name| !named.contains_key(name));
        named.insert(free.unwrap_or(name), item);
    }
    named
}

fn alert_parts(alert: &Alert) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::from([("do".to_owned(), action_text(&alert.action))]);
    if let Some(repeat) = alert.repeat {
        parts.insert("repeat".to_owned(), measure_text(Measure::Time(repeat)));
    }
    parts
}

fn mine_parts(mine: &MinePlan) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    connection_parts("source", &mine.connection, &mut parts);
    match &mine.store {
        Some(store) => {
            connection_parts("store", store, &mut parts);
            parts.insert("log".to_owned(), format!("{}.{}", store.name, mine.log));
        }
        None => drop(parts.insert("log".to_owned(), format!("embedded.{}", mine.log))),
    }
    setting_parts("", &mine.settings, &mut parts);
    parts
}

fn pipeline_parts(pipeline: &PipelinePlan) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    setting_parts("", &pipeline.settings, &mut parts);
    for input in &pipeline.inputs {
        let of = format!("source {}", input.connection.name);
        connection_parts(&of, &input.connection, &mut parts);
        parts.insert(format!("{of}: tables"), table_names(&input.tables).join(", "));
        setting_parts(&format!("{of}: "), &input.settings, &mut parts);
        let through = match &input.through {
            Through::Log(mine) => {
                mine_parts(mine).into_iter().for_each(|(part, text)| {
                    parts.insert(format!("mine {}: {part}", mine.connection.name), text);
                });
                format!("the log of {}", mine.connection.name)
            }
            Through::Direct => "the source itself".to_owned(),
        };
        parts.insert(format!("{of}: reads"), through);
    }
    for route in &pipeline.routes {
        let of = format!("sink {}", route.id.replacen(':', " ", 1));
        // A sink without any is one of the parts, too.
        parts.insert(of.clone(), route.sink.kind.to_owned());
        for (index, stage) in route.stages.iter().enumerate() {
            parts.insert(format!("{of}: stage {}", index + 1), stage_text(stage));
        }
        if let Some(connection) = &route.sink.connection {
            connection_parts(&of, connection, &mut parts);
        }
        setting_parts(&format!("{of}: "), &route.sink.settings, &mut parts);
    }
    parts.retain(|_, text| !text.is_empty());
    parts
}

fn connection_parts(of: &str, connection: &Connection, parts: &mut BTreeMap<String, String>) {
    parts.insert(format!("{of}: connection"), place(connection));
    setting_parts(&format!("{of}: connection "), &connection.settings, parts);
}

fn setting_parts(of: &str, settings: &Settings, parts: &mut BTreeMap<String, String>) {
    for (key, setting) in &settings.0 {
        parts.insert(format!("{of}{key}"), setting_text(setting, None));
    }
}
