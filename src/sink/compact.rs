//! Puts together what a batch does to the rows of one table, so that many rows fit into few statements.

use std::collections::HashMap;
use std::collections::HashSet;

use super::step::{Step, key_bytes, same_values};
use crate::model::row::Row;

/// Rows that one kind of statement takes together, in this order. No key occurs twice.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub kind: RunKind,
    pub rows: Vec<&'a Row>,
}

/// What happens to the rows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunKind {
    /// They go.
    Remove,
    /// They come; the source did not have them before.
    Insert,
    /// They are there already, as far as the source goes, and get new values.
    Write,
}

/// The final state of every key: first all removals, so that their unique values are free, then all rows that stay.
///
/// Takes only whole rows of one schema ([`Step::Put`], [`Step::Remove`]). Right for a table without further unique keys,
/// and for one with them as long as [`values_move`] says no.
pub(super) fn by_key<'a>(steps: &[Step<'a>], key: &[u16]) -> Vec<Run<'a>> {
    struct Net<'a> {
        /// Whether the row was not there before the batch.
        fresh: bool,
        last: Step<'a>,
    }
    let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(steps.len());
    let mut nets: Vec<Net<'a>> = Vec::with_capacity(steps.len());
    for &step in steps {
        let Some(row) = step.row() else { continue };
        match places.entry(key_bytes(row, key)) {
            std::collections::hash_map::Entry::Occupied(place) => nets[*place.get()].last = step,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(nets.len());
                nets.push(Net { fresh: kind(&step) == RunKind::Insert, last: step });
            }
        }
    }
    let mut runs =
        [RunKind::Remove, RunKind::Insert, RunKind::Write].map(|kind| Run { kind, rows: Vec::new() });
    for net in &nets {
        let Some(row) = net.last.row() else { continue };
        let at = match net.last {
            Step::Remove { .. } => 0,
            _ if net.fresh => 1,
            _ => 2,
        };
        runs[at].rows.push(row);
    }
    runs.into_iter().filter(|run| !run.rows.is_empty()).collect()
}

/// The steps in their own order: neighbours of one kind together, until a key comes again.
pub(super) fn in_order<'a>(steps: &[Step<'a>], key: &[u16]) -> Vec<Run<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    for step in steps {
        let Some(row) = step.row() else { continue };
        let (kind, bytes) = (kind(step), key_bytes(row, key));
        match runs.last_mut() {
            Some(run) if run.kind == kind && seen.insert(bytes.clone()) => run.rows.push(row),
            _ => {
                seen.clear();
                seen.insert(bytes);
                runs.push(Run { kind, rows: vec![row] });
            }
        }
    }
    runs
}

/// Whether a value of a further unique key may go from one row that stays to another, so that only the original order is
/// sure to be free of conflicts. `unique` are the columns of all such keys; `None` when they are not known.
pub(super) fn values_move(steps: &[Step<'_>], key: &[u16], unique: Option<&[u16]>) -> bool {
    if steps.len() < 2 {
        return false;
    }
    let mut removed: HashSet<Vec<u8>> = HashSet::new();
    steps.iter().any(|step| match *step {
        Step::Remove { row } => {
            removed.insert(key_bytes(row, key));
            false
        }
        // A row that goes and comes again gives its old values up without being removed in the end.
        Step::Put { row, fresh: true, .. } => removed.contains(&key_bytes(row, key)),
        Step::Put { row, before: Some(before), .. } => {
            unique.is_none_or(|unique| !same_values(before, row, unique))
        }
        _ => true,
    })
}

fn kind(step: &Step<'_>) -> RunKind {
    match step {
        Step::Remove { .. } => RunKind::Remove,
        Step::Put { fresh: true, .. } => RunKind::Insert,
        _ => RunKind::Write,
    }
}
