//! What the stages of a pipeline make of one key's changes. The stages are those that routes run; nothing is written.

use std::str::FromStr;
use std::sync::Arc;

use bigdecimal::BigDecimal;
use serde::{Deserialize, Serialize};

use super::chosen::Chosen;
use super::peek::{PEEK_TIME_MAX, SHOWN_BYTES_MAX};
use super::{bytes_of, exact};
use crate::check::command::{KeyPart, KeyValue};
use crate::check::model::Subject;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::model::block::Op;
use crate::model::change::Change;
use crate::model::row::Row;
use crate::model::value::Value;
use crate::plan::RoutePlan;
use crate::plan::show::stage_text;
use crate::run::look::{self, Seen};
use crate::run::shown::{ShownChange, ShownColumn, difference, row_columns};
use crate::run::stages::Stages;

/// So many changes are traced when nobody says how many.
pub const TRACE_CHANGES: u64 = 5;
/// More changes are never traced at once.
pub const TRACE_CHANGES_MAX: u64 = 100;

/// What a pipeline makes of a key's last changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The pipeline.
    pub pipeline: String,
    /// The changes, in the order of the log.
    pub changes: Vec<TracedChange>,
    /// How far it was looked, and what is to be said besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A change, and what each route makes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedChange {
    /// The change with exact values, as [`Changes`](super::Changes) has them.
    pub change: serde_json::Value,
    /// The change for people.
    pub shown: ShownChange,
    /// The routes.
    pub routes: Vec<TracedRoute>,
}

/// The way of a change to one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedRoute {
    /// The sink, nearly as the script writes it.
    pub sink: String,
    /// The stages, up to the one that lets nothing pass or fails.
    pub stages: Vec<TracedStage>,
    /// What the sink gets.
    pub gets: Vec<TracedRow>,
    /// What a stage failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What helps, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What one stage makes of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedStage {
    /// The stage: `filter { row.qty > 3 }`.
    pub stage: String,
    /// Whether the change leaves the stage as it came.
    pub is_unchanged: bool,
    /// What leaves the stage; nothing where it was dropped.
    pub rows: Vec<TracedRow>,
}

/// One change between two stages, or on its way to the sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedRow {
    /// What is to happen to the row.
    pub op: Op,
    /// The row, with what the stage has changed.
    pub columns: Vec<ShownColumn>,
}

impl Engine {
    /// Finds the last changes of the rows that have these values in these columns, in the logs that a pipeline reads, and
    /// says what its stages make of them and what its sinks would get: [`TRACE_CHANGES`] changes without a `limit`, and
    /// [`TRACE_CHANGES_MAX`] at the most. It looks backwards from the newest change on; how far it came is in the notes.
    ///
    /// It runs the pipeline's own stages on what the log has, and writes nothing. The future may be dropped at any time.
    ///
    /// # Errors
    /// `Refused` when there is no such pipeline, or it reads its source itself. As [`peek`](Self::peek) otherwise.
    pub async fn trace(&self, pipeline: &str, key: &[KeyPart], limit: Option<u64>) -> Result<Trace> {
        let subject = Subject::Pipeline(pipeline.to_owned());
        let (spots, plan) = {
            let running = self.running.lock().await;
            (running.spots(Some(&subject))?, running.plan.pipelines.get(pipeline).cloned())
        };
        let plan =
            plan.ok_or_else(|| Error::new(Kind::Refused, format!("there is no pipeline {pipeline}")))?;
        let count = limit.unwrap_or(TRACE_CHANGES).min(TRACE_CHANGES_MAX) as usize;
        let mut bytes = 0;
        let mut trace = Trace { pipeline: pipeline.to_owned(), ..Trace::default() };
        for spot in spots {
            let (mine, source) = (spot.plan.name.clone(), spot.plan.connection.name.clone());
            let log = self.reader_at(&spot).await?;
            let mut chosen = Chosen::new(spot, None, &Arc::default())?;
            let mut choose = |change: &Change| Ok(has_key(change, key) && chosen.takes(change)?);
            let newest = look::Look::new(log).newest_within(count, Some(PEEK_TIME_MAX), &mut choose).await;
            let newest = newest.context_with(|| format!("in the log of mine {mine}"))?;
            let found = newest.seen.len();
            let plural = if found == 1 { "" } else { "s" };
            let why = match newest.is_cut {
                true => format!(", as {} s were over", PEEK_TIME_MAX.as_secs()),
                false => String::new(),
            };
            trace.notes.push(format!(
                "{found} change{plural} found in the log of mine {mine}, looking back to entry {}{why}",
                newest.since
            ));
            let mut routes = Vec::with_capacity(plan.routes.len());
            for route in &plan.routes {
                routes.push((
                    route,
                    Stages::compile(&route.stages, &source)
                        .map_err(|error| Error::new(Kind::Script, error.to_string()))?,
                ));
            }
            for seen in &newest.seen {
                bytes += bytes_of(seen);
                trace.changes.push(TracedChange {
                    change: exact(&mine, seen, bytes <= SHOWN_BYTES_MAX),
                    shown: ShownChange::of(seen),
                    routes: routes.iter_mut().map(|(route, stages)| traced(route, stages, seen)).collect(),
                });
            }
        }
        Ok(trace)
    }
}

/// Sends a change through the stages of a route.
fn traced(route: &RoutePlan, stages: &mut Stages, seen: &Seen) -> TracedRoute {
    // What went into the first stage, and what came out of each.
    let mut between: Vec<Vec<Change>> = Vec::new();
    let passed = stages.trace(seen.change.clone(), |changes| between.push(changes.to_vec()));
    let steps = between.windows(2).zip(&route.stages).map(|(pair, stage)| {
        let (before, after) = (&pair[0], &pair[1]);
        TracedStage {
            stage: stage_text(stage),
            is_unchanged: is_same(before, after),
            rows: rows(before, after),
        }
    });
    let steps = steps.collect();
    let (error, advice) = match &passed {
        Ok(()) => (None, None),
        Err(error) => (Some(error.to_string()), error.advice().map(str::to_owned)),
    };
    let gets = between.last().filter(|_| passed.is_ok()).map(|last| rows(&[], last)).unwrap_or_default();
    TracedRoute { sink: route.id.replacen(':', " ", 1), stages: steps, gets, error, advice }
}

fn is_same(before: &[Change], after: &[Change]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(one, other)| {
            one.op == other.op
                && same_row(one.before.as_ref(), other.before.as_ref())
                && same_row(one.after.as_ref(), other.after.as_ref())
        })
}

fn same_row(one: Option<&Row>, other: Option<&Row>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.image == other.image && one.schema == other.schema,
        (None, None) => true,
        _ => false,
    }
}

/// What came out of a stage; against what went in, where that is one row each.
fn rows(before: &[Change], after: &[Change]) -> Vec<TracedRow> {
    let row = |change: &Change| {
        let columns = match (before, after, change.row()) {
            (_, _, None) => Vec::new(),
            ([one], [_], Some(row)) => match one.row() {
                Some(old) => difference(old, row),
                None => row_columns(row),
            },
            (_, _, Some(row)) => row_columns(row),
        };
        TracedRow { op: change.op, columns }
    };
    after.iter().map(row).collect()
}

/// Whether the row before or after a change has these values.
fn has_key(change: &Change, key: &[KeyPart]) -> bool {
    let has = |row: &Row| {
        key.iter().all(|part| row.view().get_named(&part.column).is_some_and(|value| is(&value, &part.value)))
    };
    change.before.as_ref().is_some_and(has) || change.after.as_ref().is_some_and(has)
}

/// Whether a value is the one that somebody wrote. Numbers are compared as numbers, all others by their text.
fn is(value: &Value<'_>, written: &KeyValue) -> bool {
    let text = match value {
        Value::Null => return false,
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::UInt(v) | Value::Bit(v) => v.to_string(),
        Value::Year(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Double(v) => v.to_string(),
        Value::Decimal(v) => v.to_string(),
        Value::Date(v) => v.to_string(),
        Value::DateTime(v) => v.to_string(),
        Value::Timestamp(v) => v.to_string(),
        Value::Time(v) => v.to_string(),
        Value::Text(v) | Value::Json(v) => v.to_string(),
        Value::Bytes(v) => v.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    };
    let number = |text: &str| BigDecimal::from_str(text).ok();
    match written {
        KeyValue::Text(written) => text == *written,
        KeyValue::Number(written) => {
            text == *written
                || (!matches!(value, Value::Text(_) | Value::Json(_) | Value::Bytes(_))
                    && number(&text).is_some_and(|number_is| Some(number_is) == number(written)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_as_their_columns_mean_them() {
        let number = |text: &str| KeyValue::Number(text.to_owned());
        let text = |text: &str| KeyValue::Text(text.to_owned());
        assert!(is(&Value::UInt(u64::MAX), &number("18446744073709551615")));
        assert!(is(&Value::Decimal("42.00".into()), &number("42")));
        assert!(is(&Value::Text("042".into()), &text("042")));
        assert!(is(&Value::Text("42".into()), &number("42")));
        assert!(!is(&Value::Text("042".into()), &number("42")), "a text is no number");
        assert!(!is(&Value::Int(42), &number("43")));
        assert!(!is(&Value::Null, &text("NULL")));
        assert!(is(&Value::Bytes(vec![10, 27].into()), &text("0x0a1b")));
    }
}
