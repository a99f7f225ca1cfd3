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

    /// Whether some name fits both.
    pub fn meets(&self, other: &Pattern) -> bool {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        // For each place in `other`: whether the part of `one` looked at so far and the part before that place meet.
        let mut met: Vec<bool> =
            (0..=other.len()).map(|end| other[..end].iter().all(|b| *b == b'*')).collect();
        for byte in one {
            let mut before = met[0];
            met[0] = before && *byte == b'*';
            for (at, letter) in other.iter().enumerate() {
                let both_before = std::mem::replace(&mut before, met[at + 1]);
                let any = *byte == b'*' || *letter == b'*';
                met[at + 1] = if any { met[at + 1] || met[at] } else { both_before && byte == letter };
            }
        }
        met[other.len()]
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

    /// Whether some table could be in both: exact where one of them has a name without `*`, and otherwise without a look
    /// at what they exclude.
    pub fn meets(&self, other: &TableSet) -> bool {
        self.database == other.database
            && self.include.iter().any(|one| {
                other.include.iter().any(|another| match (one.is_wild(), another.is_wild()) {
                    (false, _) => {
                        self.contains(&self.database, &one.0) && other.contains(&self.database, &one.0)
                    }
                    (_, false) => {
                        self.contains(&self.database, &another.0)
                            && other.contains(&self.database, &another.0)
                    }
                    _ => one.meets(another),
                })
            })
    }

    /// Whether every table of `other` is one of these, as far as that can be told from the patterns.
    pub fn covers(&self, other: &TableSet) -> bool {
        // What a pattern with a `*` of its own accepts as a text, it accepts for whatever the `*` stands for.
        let is_in = |pattern: &Pattern| self.include.iter().any(|wider| wider.matches(&pattern.0));
        let excludes = |pattern: &Pattern| self.exclude.iter().any(|narrower| narrower.meets(pattern));
        self == other
            || (self.database == other.database
                && other.include.iter().all(|pattern| is_in(pattern) && !excludes(pattern)))
    }
}

/// `shop.orders`, `shop.{orders, tmp_*}`, `shop.* but not tmp_*`
impl fmt::Display for TableSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |patterns: &[Pattern]| -> String {
            patterns.iter().map(|pattern| pattern.0.as_str()).collect::<Vec<_>>().join(", ")
        };
        match self.include.as_slice() {
            [one] => write!(f, "{}.{}", self.database, one.0)?,
            several => write!(f, "{}.{{{}}}", self.database, names(several))?,
        }
        if self.exclude.is_empty() { Ok(()) } else { write!(f, " but not {}", names(&self.exclude)) }
    }
}

/// The union of several [`TableSet`]s, over any number of databases, which may be narrowed. The empty selection contains
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSelection {
    sets: Vec<TableSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only: Option<TableSet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<TableSelection>,
}

impl TableSelection {
    /// The tables of one set.
    pub fn of(set: TableSet) -> Self {
        TableSelection { sets: vec![set], ..TableSelection::default() }
    }

    /// Without what is not in `set`, too.
    #[must_use]
    pub fn only(self, set: TableSet) -> Self {
        TableSelection { only: Some(set), ..self }
    }

    /// Without the tables of `other`.
    #[must_use]
    pub fn except(mut self, other: TableSelection) -> Self {
        self.except.push(other);
        self
    }

    /// Adds `set`; a set that is already there is not added twice. True when the selection changed.
    pub fn add(&mut self, set: &TableSet) -> bool {
        let new = !self.sets.contains(set);
        if new {
            self.sets.push(set.clone());
        }
        new
    }

    /// Whether `database.table` is in one of the sets.
    pub fn contains(&self, database: &str, table: &str) -> bool {
        self.sets.iter().any(|set| set.contains(database, table))
            && self.only.as_ref().is_none_or(|only| only.contains(database, table))
            && !self.except.iter().any(|except| except.contains(database, table))
    }

    /// Whether some table could be in this selection and in `set`; what it leaves out is only looked at for names
    /// without `*`.
    pub fn touches(&self, set: &TableSet) -> bool {
        let narrowed = |set: &TableSet| self.only.as_ref().is_none_or(|only| only.meets(set));
        set.include.iter().any(|pattern| {
            let one = TableSet { include: vec![pattern.clone()], ..set.clone() };
            if pattern.is_wild() {
                self.sets.iter().any(|known| known.meets(&one)) && narrowed(&one)
            } else {
                set.contains(&set.database, &pattern.0) && self.contains(&set.database, &pattern.0)
            }
        })
    }

    /// The sets, in the order in which they were added.
    pub fn sets(&self) -> &[TableSet] {
        &self.sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_a_name_fits_both() {
        for (one, other, meet) in [
            ("orders", "orders", true),
            ("orders", "order", false),
            ("*", "", true),
            ("", "", true),
            ("a*", "*b", true),
            ("a*c", "ab*", true),
            ("a*c", "b*", false),
            ("tmp_*", "*_log", true),
            ("*a*", "b*c", true),
            ("a**", "*a", true),
            ("ab", "a*c", false),
        ] {
            let (one, other) = (Pattern(one.into()), Pattern(other.into()));
            assert_eq!(one.meets(&other), meet, "{one:?} and {other:?}");
            assert_eq!(other.meets(&one), meet, "{other:?} and {one:?}");
        }
    }

    #[test]
    fn sets_cover_and_meet_each_other() {
        let set = |include: &[&str], exclude: &[&str]| {
            let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern((*text).into())).collect();
            TableSet { database: "shop".into(), include: patterns(include), exclude: patterns(exclude) }
        };
        let all = set(&["*"], &[]);
        let most = set(&["*"], &["tmp_*"]);
        let tmp = set(&["tmp_*"], &[]);
        let one = set(&["tmp_1", "a"], &[]);
        assert!(all.covers(&tmp) && all.covers(&one) && most.covers(&most));
        assert!(!most.covers(&tmp) && !most.covers(&one) && !tmp.covers(&all));
        assert!(tmp.meets(&one) && one.meets(&tmp) && one.meets(&most) && !set(&["tmp_1"], &[]).meets(&most));
        assert_eq!(most.to_string(), "shop.* but not tmp_*");
        assert_eq!(one.to_string(), "shop.{tmp_1, a}");
    }

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
