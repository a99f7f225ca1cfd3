//! Trying Rhai code on rows of a log, before it goes into a script. Nothing is written anywhere.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::chosen::{Chosen, code};
use super::peek::{PEEK_TIME_MAX, SHOWN_BYTES_MAX};
use crate::check::code_finding;
use crate::check::model::Subject;
use crate::engine::Engine;
use crate::engine::reply::Reply;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::hook::{Facts, HookError, HookKind, compile};
use crate::model::block::Op;
use crate::model::change::Change;
use crate::model::json::row_json;
use crate::model::position::Seq;
use crate::run::look;
use crate::run::shown::{ShownColumn, difference, row_columns};

/// So many rows are tried when nobody says how many.
pub const EVAL_ROWS: u64 = 5;
/// More rows are never tried at once.
pub const EVAL_ROWS_MAX: u64 = 100;
/// After this time no further row of a log is tried.
pub const EVAL_TIME_MAX: Duration = Duration::from_secs(5);

/// What messages call the code.
const EVAL: &str = "eval";

/// What code makes of rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The rows, in the order of the log.
    pub rows: Vec<EvaluatedRow>,
    /// What is to be said besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What code makes of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluatedRow {
    /// The mine whose log has it.
    pub mine: String,
    /// The table, with its database.
    pub table: String,
    /// The entry of its change.
    pub seq: Seq,
    /// What happened to it.
    pub op: Op,
    /// The row, with exact values.
    pub before: serde_json::Value,
    /// What it becomes, with exact values; `None` where `skip()` was called.
    pub after: Option<serde_json::Value>,
    /// Rows that were emitted before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emitted: Vec<serde_json::Value>,
    /// What the code itself gives, as JSON, when it is a value: `row.qty * row.price`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The rows for people.
    pub shown: ShownRows,
}

/// Rows before and after, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRows {
    /// The row.
    pub before: Vec<ShownColumn>,
    /// What it becomes, and what is different.
    pub after: Vec<ShownColumn>,
    /// Rows that were emitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emitted: Vec<Vec<ShownColumn>>,
}

impl Engine {
    /// Runs Rhai code, the text between the braces, as a map on the newest rows of a table, a mine, or of what a pipeline
    /// reads: [`EVAL_ROWS`] of each log without a `limit`, [`EVAL_ROWS_MAX`] at the most. Nothing is written anywhere. The
    /// future may be dropped at any time.
    ///
    /// # Errors
    /// `Script` when the code is wrong, `Data` when it fails for a row. As [`peek`](Self::peek) otherwise.
    pub async fn eval(&self, of: &Subject, text: &str, limit: Option<u64>) -> Result<Evaluated> {
        self.evaluated(of, text, limit).await.map_err(|(error, _)| error)
    }

    /// The answer to `eval`.
    pub(in crate::engine) async fn answer_eval(&self, of: &Subject, text: &str, limit: Option<u64>) -> Reply {
        match self.evaluated(of, text, limit).await {
            Ok(evaluated) => Reply::Evaluated(evaluated),
            Err((error, Some(failed))) => {
                let (finding, sources) = code_finding(EVAL, text, &failed);
                let finding =
                    error.contexts().last().into_iter().fold(finding, |finding, at| finding.note(at));
                Reply::wrong(&[finding], &sources)
            }
            Err((error, None)) => error.into(),
        }
    }

    async fn evaluated(
        &self,
        of: &Subject,
        text: &str,
        limit: Option<u64>,
    ) -> std::result::Result<Evaluated, (Error, Option<HookError>)> {
        let bare = |error| (error, None);
        let (spots, modules) = {
            let running = self.running.lock().await;
            (running.spots(Some(of)).map_err(bare)?, running.modules())
        };
        let count = limit.unwrap_or(EVAL_ROWS).min(EVAL_ROWS_MAX) as usize;
        let mut bytes = 0;
        let mut evaluated = Evaluated::default();
        for spot in spots {
            let mut hook = compile(&code(EVAL, text, &modules), HookKind::Map)
                .map_err(|error| (wrong(Kind::Script, &error), Some(error)))?;
            hook.set_source(&spot.plan.connection.name);
            let mine = spot.plan.name.clone();
            let log = self.reader_at(&spot).await.map_err(bare)?;
            let mut chosen = Chosen::new(spot, None, &modules).map_err(bare)?;
            let mut choose = |change: &Change| Ok(change.row().is_some() && chosen.takes(change)?);
            let newest = look::Look::new(log).newest_within(count, Some(PEEK_TIME_MAX), &mut choose).await;
            let newest = newest.context_with(|| format!("in the log of mine {mine}")).map_err(bare)?;
            if newest.seen.is_empty() {
                evaluated
                    .notes
                    .push(format!("the log of mine {mine} has no row of it, back to entry {}", newest.since));
            }
            let began = Instant::now();
            for look::Seen { change, .. } in &newest.seen {
                let Some(row) = change.row() else { continue };
                bytes += row.image.len();
                let why = match began.elapsed() > EVAL_TIME_MAX {
                    true => Some(format!("{} s were over", EVAL_TIME_MAX.as_secs())),
                    false if bytes > SHOWN_BYTES_MAX => Some("the answer would be too large".to_owned()),
                    false => None,
                };
                if let Some(why) = why {
                    evaluated
                        .notes
                        .push(format!("the rows from entry {} on were not tried: {why}", change.seq));
                    break;
                }
                let (table, before) = (&change.table, change.before.as_ref());
                let facts = Facts { row, before, op: change.op, table, time_ms: change.time_ms };
                let tried = hook.try_map(&facts).map_err(|error| {
                    let at = format!("it failed at entry {} of {}", change.seq, table.name);
                    (wrong(Kind::Data, &error).context(at), Some(error))
                })?;
                let after = tried.row.as_ref();
                evaluated.rows.push(EvaluatedRow {
                    mine: mine.clone(),
                    table: table.name.to_string(),
                    seq: change.seq,
                    op: change.op,
                    before: row_json(row),
                    after: after.map(row_json),
                    emitted: tried.emitted.iter().map(row_json).collect(),
                    value: tried.value,
                    shown: ShownRows {
                        before: row_columns(row),
                        after: after.map(|after| difference(row, after)).unwrap_or_default(),
                        emitted: tried.emitted.iter().map(row_columns).collect(),
                    },
                });
            }
        }
        Ok(evaluated)
    }
}

fn wrong(kind: Kind, error: &HookError) -> Error {
    let wrong = Error::new(kind, error.to_string());
    match &error.advice {
        Some(advice) => wrong.advice(advice.clone()),
        None => wrong,
    }
}
