//! What a log covers: the tables that are mined, those that are paused meanwhile, and where history is missing.

use serde::{Deserialize, Serialize};

use super::position::Position;
use super::table::{TableSelection, TableSet};
use crate::error::{Error, Kind};

/// So many gaps a log remembers; then the oldest are forgotten.
const GAPS_MAX: usize = 64;

/// A note in a log: what holds from there on. The last one before the log's tail is what holds now.
///
/// Everything that a mine has to know about its tables after a restart is in here, and becomes durable in the same
/// append as the changes that it tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The tables that somebody has asked for so far, those that are paused among them.
    pub tables: TableSelection,
    /// Tables that are not read for now. No table is in two of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<Paused>,
    /// Where history is missing because somebody accepted that, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// See [`is_catch_up`](Self::is_catch_up).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub catch_up: bool,
}

/// Tables that are not read together with the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The tables as they were named when they were paused.
    pub tables: TableSet,
    /// What was mined then: a table that somebody asked for later is not paused, even if its name fits.
    pub of: TableSelection,
    /// The log has all their changes up to here …
    pub since: Position,
    /// … and so many of the changes that follow, where a catch-up was interrupted in the middle of a transaction.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub within: u64,
    /// When the source committed what lies before `since`, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Whether they are being read again, from `since` up to where the others are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resuming: bool,
    /// Why they could not be resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
}

/// What went wrong, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means.
    pub kind: Kind,
    /// What.
    pub error: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// A part of the source's history that the log does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The tables; `None` for all that are mined and not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TableSet>,
    /// The last place before it.
    pub from: Position,
    /// The first place behind it.
    pub to: Position,
    /// When it was accepted, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

impl Coverage {
    /// Covers `tables`, none of which is paused.
    pub fn of(tables: TableSelection) -> Coverage {
        Coverage { tables, ..Coverage::default() }
    }

    /// Whether the changes behind this note, up to the next commit entry, are a piece of a catch-up: changes of tables
    /// that were paused, which lie at the source before the position of that commit, and before changes of other tables
    /// that the log already has. The position of the commit is the one that the log had reached before.
    pub fn is_catch_up(&self) -> bool {
        self.catch_up
    }

    /// The tables that the main reader reads: all but those that are paused or catching up.
    pub fn mined(&self) -> TableSelection {
        self.paused.iter().fold(self.tables.clone(), |mined, paused| mined.except(paused.selection()))
    }

    /// Whether `database.table` is paused or catching up.
    pub fn is_paused(&self, database: &str, table: &str) -> bool {
        self.paused.iter().any(|paused| paused.contains(database, table))
    }

    /// Whether both say the same of tables, pauses and gaps.
    pub fn says_the_same(&self, other: &Coverage) -> bool {
        (&self.tables, &self.paused, &self.gaps) == (&other.tables, &other.paused, &other.gaps)
    }

    /// Adds the record of a gap.
    pub fn add_gap(&mut self, gap: Gap) {
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push(gap);
    }
}

impl Paused {
    /// Whether `database.table` is among them.
    pub fn contains(&self, database: &str, table: &str) -> bool {
        self.tables.contains(database, table) && self.of.contains(database, table)
    }

    /// Whether a table of `tables` is among them, or could be: of two patterns, that some name fits both is enough.
    pub fn touches(&self, tables: &TableSet) -> bool {
        self.selection().touches(tables)
    }

    /// These tables, for a reader.
    pub fn selection(&self) -> TableSelection {
        self.of.clone().only(self.tables.clone())
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        Failure { kind: error.kind(), error: error.to_string(), advice: error.next_step().map(str::to_owned) }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::table::Pattern;

    fn set(include: &[&str]) -> TableSet {
        let include = include.iter().map(|pattern| Pattern((*pattern).to_owned())).collect();
        TableSet { database: "shop".into(), include, exclude: Vec::new() }
    }

    fn paused(tables: TableSet, of: &TableSelection) -> Paused {
        let of = of.clone();
        let (since, within, since_ms) = (Position::default(), 0, 0);
        Paused { tables, of, since, within, since_ms, resuming: false, failed: None }
    }

    #[test]
    fn a_pause_holds_what_was_mined_when_it_began() {
        let mut coverage = Coverage::of(TableSelection::of(set(&["a", "tmp_1"])));
        coverage.paused.push(paused(set(&["tmp_*"]), &coverage.tables));
        coverage.tables.add(&set(&["tmp_2"]));
        coverage.tables.add(&set(&["*1"]));
        let mined = coverage.mined();
        for (table, is_mined, is_paused) in
            [("a", true, false), ("tmp_1", false, true), ("tmp_2", true, false), ("tmp_11", true, false)]
        {
            assert_eq!(mined.contains("shop", table), is_mined, "{table}");
            assert_eq!(coverage.is_paused("shop", table), is_paused, "{table}");
        }
        assert!(!mined.contains("mail", "a"));
        let selection = coverage.paused[0].selection();
        assert!(selection.contains("shop", "tmp_1") && !selection.contains("shop", "a"));
        assert!(coverage.paused[0].touches(&set(&["*"])) && !coverage.paused[0].touches(&set(&["a*"])));
    }

    #[test]
    fn a_note_is_short_where_nothing_is_paused() {
        let coverage = Coverage::of(TableSelection::of(set(&["a"])));
        let json = serde_json::to_string(&coverage).unwrap();
        assert_eq!(json, r#"{"tables":{"sets":[{"database":"shop","include":["a"]}]}}"#);
        let mut coverage = Coverage { catch_up: true, ..coverage };
        coverage.paused.push(paused(set(&["a"]), &coverage.tables));
        for at_ms in 0..100 {
            let (from, to) = (Position::default(), Position::default());
            coverage.add_gap(Gap { tables: None, from, to, at_ms });
        }
        assert_eq!((coverage.gaps.len(), coverage.gaps[63].at_ms), (GAPS_MAX, 99));
        let json = serde_json::to_string(&coverage).unwrap();
        assert_eq!(serde_json::from_str::<Coverage>(&json).unwrap(), coverage);
    }
}
