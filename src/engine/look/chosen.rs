//! Which changes are meant: those of some tables for which Rhai code is true.

use std::sync::Arc;

use super::Spot;
use crate::check::code_finding;
use crate::engine::reply::Reply;
use crate::error::{Error, Kind, Result};
use crate::hook::{CompiledHook, Facts, HookError, HookKind, compile};
use crate::model::change::Change;
use crate::model::hook::{Hook, HookCode, HookModule};

/// What messages call the code.
const WHERE: &str = "where";

/// Chooses changes of one log.
pub(super) struct Chosen {
    spot: Spot,
    filter: Option<(CompiledHook, String)>,
    /// What the code failed with.
    failed: Option<HookError>,
}

impl Chosen {
    /// Those of `spot`, for which `filter` is true.
    ///
    /// # Errors
    /// `Script` when the code is wrong.
    pub fn new(spot: Spot, filter: Option<&str>, modules: &Arc<Vec<HookModule>>) -> Result<Chosen> {
        let compiled = |text: &str| {
            let mut hook = compile(&code(WHERE, text, modules), HookKind::Filter).map_err(|error| {
                let wrong = Error::new(Kind::Script, error.to_string());
                error.advice.into_iter().fold(wrong, Error::advice)
            })?;
            hook.set_source(&spot.plan.connection.name);
            Ok::<_, Error>((hook, text.to_owned()))
        };
        let filter = filter.map(compiled).transpose()?;
        Ok(Chosen { spot, filter, failed: None })
    }

    /// What is looked at.
    pub fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Whether a change is meant. A truncate has no row, and passes the code.
    ///
    /// # Errors
    /// `Data` when the code fails; [`failure`](Self::failure) shows where.
    pub fn takes(&mut self, change: &Change) -> Result<bool> {
        let name = &change.table.name;
        if !self.spot.has(&name.database, &name.table) {
            return Ok(false);
        }
        let (Some((filter, _)), Some(row)) = (&mut self.filter, change.row()) else { return Ok(true) };
        let facts = Facts {
            row,
            before: change.before.as_ref(),
            op: change.op,
            table: &change.table,
            time_ms: change.time_ms,
        };
        filter.filter(&facts).map_err(|error| {
            let failed = Error::new(Kind::Data, format!("{error}, at entry {} of {name}", change.seq));
            let failed = match &error.advice {
                Some(advice) => failed.advice(advice.clone()),
                None => failed,
            };
            self.failed = Some(error);
            failed
        })
    }

    /// An error as an answer: one of the code at its place in the code.
    pub fn failure(&mut self, error: Error) -> Reply {
        match (self.failed.take(), &self.filter) {
            (Some(failed), Some((_, text))) => {
                let (finding, sources) = code_finding(WHERE, text, &failed);
                let whole = error.message();
                let at = whole.rsplit_once(", at entry ").map(|(_, at)| format!("it failed at entry {at}"));
                let finding = at.into_iter().fold(finding, |finding, at| finding.note(at));
                Reply::wrong(&[finding], &sources)
            }
            _ => error.into(),
        }
    }
}

/// Code by itself, which is no part of a script, and what messages call it.
pub(super) fn code(name: &str, text: &str, modules: &Arc<Vec<HookModule>>) -> Hook {
    let modules = Arc::clone(modules);
    Hook { code: HookCode::Block(text.into()), file: name.into(), line: 1, column: 1, modules }
}
