//! Places: in a source's change log, and in lode's own.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::table::TableSelection;

/// Number of an entry in a log. Dense: each entry has the number after the one before it; the first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The entry `count` places later.
    #[must_use]
    pub fn plus(self, count: u64) -> Seq {
        Seq(self.0 + count)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in a source's change log between two transactions: everything up to it has been read.
///
/// Only the source that made a position compares or interprets it; everyone else keeps it as it is. Positions
/// are values: a reader that goes on never changes one that it gave out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The set of transactions read so far, in the source's own GTID text; empty when the source has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gtid: String,
    /// Name of the file.
    pub file: String,
    /// Offset in the file, in bytes, behind the last transaction.
    pub offset: u64,
}

impl Position {
    /// Whether everything before `other` lies before this place, too, when both are of the same server: by the number of
    /// the file and the offset. False as well when that cannot be told: a place that was named by GTIDs alone reaches only
    /// itself.
    pub fn reaches(&self, other: &Position) -> bool {
        if self.file.is_empty() || other.file.is_empty() {
            return self == other || (!self.gtid.is_empty() && self.gtid == other.gtid);
        }
        let (base, number) = parts(&self.file);
        let (other_base, other_number) = parts(&other.file);
        base == other_base && (number, self.offset) >= (other_number, other.offset)
    }
}

/// A file's name before the point, and its number behind it, which servers count up.
fn parts(file: &str) -> (&str, u64) {
    match file.rsplit_once('.').map(|(base, number)| (base, number.parse())) {
        Some((base, Ok(number))) => (base, number),
        _ => (file, 0),
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)?;
        if !self.gtid.is_empty() {
            write!(f, " (gtid {})", self.gtid)?;
        }
        Ok(())
    }
}

/// Which life of a log a cursor belongs to: a log that is deleted and made again has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogEpoch(pub uuid::Uuid);

impl fmt::Display for LogEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// How far a route of a pipeline is: everything before it is durable in its sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Identity of the source; a cursor is never used on another one.
    #[serde(default)]
    pub source: String,
    /// The log that `next` counts in; `None` when the pipeline reads its source directly.
    pub log: Option<LogEpoch>,
    /// The first entry that is not applied yet. Always the one after a commit, or the log's first.
    pub next: Seq,
    /// The same place in the source's own log; `None` before the first transaction was seen.
    pub position: Option<Position>,
    /// The source itself was read while the log was not written: `position` lies ahead of `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
}

/// What it means that a route with a place in a log has read the source itself: of what follows `next`, the transactions up
/// to `position` are applied, too. That does not count for pieces of a catch-up, which come later than their changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    /// Tables that were not read there, as they were paused in the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<TableSelection>,
}

impl Cursor {
    /// The log in which the changes behind this cursor have the numbers that they come with. `None` when they are read from
    /// the source, where numbers may be others the next time.
    pub fn numbered_in(&self) -> Option<LogEpoch> {
        if self.direct.is_some() { None } else { self.log }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_server_are_compared_by_file_and_offset() {
        let at = |file: &str, offset, gtid: &str| Position { gtid: gtid.into(), file: file.into(), offset };
        for (one, other, reaches) in [
            (at("binlog.000001", 9, ""), at("binlog.000001", 9, ""), true),
            (at("binlog.000001", 9, ""), at("binlog.000001", 10, ""), false),
            (at("binlog.000002", 4, ""), at("binlog.000001", 10, ""), true),
            (at("binlog.1000000", 4, ""), at("binlog.999999", 10, ""), true),
            (at("binlog.999999", 4, ""), at("binlog.1000000", 4, ""), false),
            (at("other.000002", 4, ""), at("binlog.000001", 10, ""), false),
            (at("", 0, "0-1-5"), at("binlog.000001", 10, "0-1-5"), true),
            (at("", 0, "0-1-6"), at("binlog.000001", 10, "0-1-5"), false),
            (at("", 0, ""), at("binlog.000001", 10, ""), false),
        ] {
            assert_eq!(one.reaches(&other), reaches, "{one} and {other}");
        }
    }
}
