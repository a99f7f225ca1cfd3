//! Unique keys of a target table.

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UniqueKey {
    pub columns: Vec<String>,
    /// Whether it is over whole columns; over parts or expressions it identifies no row.
    pub whole: bool,
}

impl UniqueKey {
    /// Whether it is over these columns, in any order.
    pub fn is(&self, key: &[&str]) -> bool {
        let has = |part: &&str| self.columns.iter().any(|column| column.eq_ignore_ascii_case(part));
        self.whole && self.columns.len() == key.len() && key.iter().all(has)
    }
}

/// Keys from their parts in order: name of the key, column, and whether all of the column counts.
pub(super) fn unique_keys(parts: impl IntoIterator<Item = (String, Option<String>, bool)>) -> Vec<UniqueKey> {
    let mut keys: Vec<(String, UniqueKey)> = Vec::new();
    for (index, column, whole) in parts {
        let at = match keys.iter().position(|(name, _)| *name == index) {
            Some(at) => at,
            None => {
                keys.push((index, UniqueKey { columns: Vec::new(), whole: true }));
                keys.len() - 1
            }
        };
        let key = &mut keys[at].1;
        key.whole &= column.is_some() && whole;
        key.columns.extend(column);
    }
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Positions of all columns in unique keys other than the row's own key. `None`: a key's columns cannot be told from rows
/// whose columns `position` knows.
pub(super) fn further_unique(
    keys: &[UniqueKey],
    own: &[&str],
    position: impl Fn(&str) -> Option<usize>,
) -> Option<Vec<u16>> {
    let mut columns = Vec::new();
    for unique in keys.iter().filter(|unique| !unique.is(own)) {
        if unique.columns.is_empty() {
            return None;
        }
        for name in &unique.columns {
            columns.push(position(name)? as u16);
        }
    }
    Some(columns)
}
