//! Looking at changes: which log and which tables somebody means, and what is shown of them. Nothing is taken, moved or
//! written by it.

mod chosen;
mod eval;
mod peek;
mod sql;
mod tail;
mod trace;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::eval::{EVAL_ROWS, EVAL_ROWS_MAX, EVAL_TIME_MAX, Evaluated, EvaluatedRow, ShownRows};
pub use self::peek::{LIMIT, LIMIT_MAX, PEEK_TIME_MAX, SHOWN_BYTES_MAX};
pub use self::sql::{Rows, SQL_BYTES_MAX, SQL_ROWS, SQL_ROWS_MAX, SQL_TIME_MAX};
pub use self::tail::{PART_CHANGES_MAX, Tail};
pub use self::trace::{
    TRACE_CHANGES, TRACE_CHANGES_MAX, Trace, TracedChange, TracedRoute, TracedRow, TracedStage,
};
pub use crate::check::command::Look;

use super::logs::LogPlace;
use super::{Engine, Running};
use crate::check::model::Subject;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::model::hook::HookModule;
use crate::model::json::write_change;
use crate::model::table::TableSet;
use crate::plan::{MinePlan, StagePlan, Through};
use crate::run::look::Seen;
use crate::run::mine::Mine;
use crate::run::shown::ShownChange;
use crate::store::LogReader;

/// Changes of the logs, in the order of each log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Each with exact values, as `lode log peek --json` has them, and with the name of its `mine`. Where rows are larger
    /// than an answer may be, `bytes_left_out` stands in their place.
    pub changes: Vec<serde_json::Value>,
    /// The same ones for people.
    pub shown: Vec<ShownChange>,
    /// What is to be said besides: how far it was looked, what was dropped before it could be shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Bytes of rows in `changes`.
    #[serde(skip)]
    bytes: usize,
}

impl Changes {
    /// Adds a change. Its rows are left out of the exact values when these would grow beyond `bytes_max`.
    fn add(&mut self, mine: &str, seen: &Seen, bytes_max: usize) {
        let bytes = bytes_of(seen);
        let fits = self.bytes + bytes <= bytes_max;
        self.changes.push(exact(mine, seen, fits));
        if fits {
            self.bytes += bytes;
        }
        self.shown.push(ShownChange::of(seen));
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn is_empty(&self) -> bool {
        self.shown.is_empty() && self.notes.is_empty()
    }
}

/// A change with its mine; without its rows, unless they fit.
fn exact(mine: &str, seen: &Seen, fits: bool) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    object.insert("mine".to_owned(), mine.into());
    let mut bare = seen.change.clone();
    if !fits {
        (bare.before, bare.after) = (None, None);
    }
    let mut line = Vec::new();
    let written = write_change(&mut line, &bare, Some(&seen.commit));
    match written.ok().and_then(|()| serde_json::from_slice(&line).ok()) {
        Some(serde_json::Value::Object(change)) => object.extend(change),
        // An impossible time, or a column of type JSON that has none: people are shown it all the same.
        _ => {
            object.insert("table".to_owned(), bare.table.name.to_string().into());
            object.insert("op".to_owned(), bare.op.as_str().into());
            object.insert("seq".to_owned(), bare.seq.0.into());
            object.insert("unwritable".to_owned(), true.into());
        }
    }
    if !fits {
        object.insert("bytes_left_out".to_owned(), bytes_of(seen).into());
    }
    serde_json::Value::Object(object)
}

/// What the rows of a change take.
fn bytes_of(seen: &Seen) -> usize {
    [&seen.change.before, &seen.change.after].into_iter().flatten().map(|row| row.image.len()).sum()
}

/// Tables in the log of a mine.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// The mine as it is planned.
    plan: Arc<MinePlan>,
    /// The tables; `None` for all of them.
    tables: Option<TableSet>,
}

impl Spot {
    /// Whether changes of this table are meant.
    fn has(&self, database: &str, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|tables| tables.contains(database, table))
    }
}

impl Running {
    /// Where what somebody means is to be found; everywhere without a subject.
    ///
    /// # Errors
    /// `Refused` when it is in no log.
    fn spots(&self, of: Option<&Subject>) -> Result<Vec<Spot>> {
        let plan = &self.plan;
        let spot = |connection: &String, tables| {
            let plan = plan.mines.get(connection).cloned();
            plan.map(|plan| Spot { plan, tables }).ok_or_else(|| nothing_mined(connection))
        };
        let spots = match of {
            None => plan.mines.keys().map(|connection| spot(connection, None)).collect(),
            Some(Subject::Mine(connection)) => spot(connection, None).map(|spot| vec![spot]),
            Some(Subject::Tables { connection, tables }) => {
                spot(connection, Some(tables.clone())).map(|spot| vec![spot])
            }
            Some(Subject::Pipeline(name)) => {
                let pipeline = plan.pipelines.get(name).ok_or_else(|| nothing_mined(name))?;
                let spots: Vec<Spot> = pipeline
                    .inputs
                    .iter()
                    .filter_map(|input| match &input.through {
                        Through::Log(plan) => {
                            Some(Spot { plan: Arc::clone(plan), tables: Some(input.tables.clone()) })
                        }
                        Through::Direct => None,
                    })
                    .collect();
                if spots.len() < pipeline.inputs.len() {
                    let what =
                        format!("pipeline {name} reads a source itself, so that no log has what it gets");
                    return Err(Error::new(Kind::Refused, what)
                        .advice("add `share_mining` to its source, and its changes are in a log"));
                }
                Ok(spots)
            }
        }?;
        if spots.is_empty() {
            return Err(Error::new(Kind::Refused, "nothing is mined, so that there is no log to look into")
                .advice("add `share_mining` to a pipeline's source"));
        }
        Ok(spots)
    }

    /// The modules of hooks that the scripts include.
    pub(super) fn modules(&self) -> Arc<Vec<HookModule>> {
        let stages =
            self.plan.pipelines.values().flat_map(|plan| &plan.routes).flat_map(|route| &route.stages);
        let hooks = stages.filter_map(|stage| match stage {
            StagePlan::Filter(hook) | StagePlan::Map(hook) => Some(hook),
            StagePlan::Keep(_) | StagePlan::Drop(_) => None,
        });
        // Each hook knows all of them.
        hooks.map(|hook| Arc::clone(&hook.modules)).find(|modules| !modules.is_empty()).unwrap_or_default()
    }

    /// The mine that writes the log of a spot, when it is there.
    fn mine_at(&self, spot: &Spot) -> Option<&Arc<Mine>> {
        self.mine_of(&spot.plan).map(|running| &running.mine)
    }
}

impl Engine {
    /// The log of a spot: the one that a mine of this process has open, or as other processes see it.
    async fn reader_at(&self, spot: &Spot) -> Result<Arc<dyn LogReader>> {
        let open = self.running.lock().await.mine_at(spot).map(|mine| Arc::clone(mine.log()));
        if let Some(log) = open {
            return Ok(log);
        }
        let place = LogPlace { store: spot.plan.store.clone(), log: spot.plan.log.clone() };
        self.read_log(&place).await.context_with(|| format!("while opening log {}", place.name()))
    }
}

fn nothing_mined(name: &str) -> Error {
    Error::new(Kind::Refused, format!("nothing is mined for {name}, so that there is no log to look into"))
        .advice("`mines` says what is mined")
}
