//! Names of tables and the patterns that choose them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A table of a source: `shop.orders`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The database (MySQL) or schema.
    pub database: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// Puts both parts together.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        TableName { database: database.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// The name of a table as a script may write it: each `*` stands for any run of characters, also none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }

    /// Whether there is a `*` in it.
    pub fn is_wild(&self) -> bool {
        self.0.contains('*')
    }
}

/// Which tables of one database are wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableSet {
    /// The database.
    pub database: String,
    /// A table is wanted when one of these fits …
    pub include: Vec<Pattern>,
    /// … and none of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Pattern>,
}

impl TableSet {
    /// Whether `database.table` is wanted.
    pub fn contains(&self, database: &str, table: &str) -> bool {
        self.database == database
            && self.include.iter().any(|pattern| pattern.matches(table))
            && !self.exclude.iter().any(|pattern| pattern.matches(table))
    }
}

/// The union of several [`TableSet`]s, over any number of databases. The empty selection contains nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableSelection(Vec<TableSet>);

impl TableSelection {
    /// The tables of one set.
    pub fn of(set: TableSet) -> Self {
        TableSelection(vec![set])
    }

    /// Adds `set`; a set that is already there is not added twice. True when the selection changed.
    pub fn add(&mut self, set: &TableSet) -> bool {
        let new = !self.0.contains(set);
        if new {
            self.0.push(set.clone());
        }
        new
    }

    /// Whether `database.table` is in one of the sets.
    pub fn contains(&self, database: &str, table: &str) -> bool {
        self.0.iter().any(|set| set.contains(database, table))
    }

    /// The sets, in the order in which they were added.
    pub fn sets(&self) -> &[TableSet] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "", true),
            ("tmp_*", "tmp_", true),
            ("tmp_*", "atmp_1", false),
            ("*_log", "session_log", true),
            ("*_log", "session_log2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(Pattern(pattern.into()).matches(name), fits, "{pattern} against {name}");
        }
    }
}
