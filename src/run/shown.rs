//! Changes and rows as short texts for people: each value in one line of bounded length, without anything that would move
//! the cursor or colour the terminal.

use serde::{Deserialize, Serialize};

use super::look::Seen;
use crate::model::block::{Commit, Op};
use crate::model::change::Change;
use crate::model::position::Seq;
use crate::model::row::Row;
use crate::model::value::Value;

/// Characters of a text that are shown.
pub const TEXT_CHARS_MAX: usize = 80;
/// Bytes of binary data that are shown.
pub const BYTES_MAX: usize = 16;

/// A change of a log as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownChange {
    /// The number of its entry.
    pub seq: Seq,
    /// What happened.
    pub op: Op,
    /// The table, with its database.
    pub table: String,
    /// All columns of a row that came or went, and of one that changed its key and what is new. The key comes first.
    pub columns: Vec<ShownColumn>,
    /// How its transaction ended.
    pub commit: Commit,
}

/// A column of a change, or of a row before and after something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownColumn {
    /// Its name.
    pub name: String,
    /// What it was, where that is something else than what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; `None` for a column that is there no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it was not there before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_new: bool,
    /// Whether it was read later than the change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_late: bool,
}

impl ShownChange {
    /// For people.
    pub fn of(seen: &Seen) -> ShownChange {
        let Seen { change, commit } = seen;
        ShownChange {
            seq: change.seq,
            op: change.op,
            table: visible(&change.table.name.to_string()),
            columns: columns(change),
            commit: Commit::clone(commit),
        }
    }
}

fn columns(change: &Change) -> Vec<ShownColumn> {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    let old = before.filter(|_| change.op == Op::Update && after.is_some());
    let Some(row) = after.or(before) else { return Vec::new() };
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for (at, column) in row.schema.columns.iter().enumerate() {
        let value = row.view().get(at);
        // An image leaves out what did not change, so a column of the old row alone is none of the new one.
        let old = old.and_then(|old| old.view().get(at));
        let is_key = row.schema.primary_key.iter().any(|key| usize::from(*key) == at);
        let (before, value) = match (old, value) {
            (Some(old), Some(new)) if old != new => (Some(shown(&old)), shown(&new)),
            (Some(_), Some(_)) if !is_key => continue,
            (_, Some(value)) => (None, shown(&value)),
            (Some(old), None) if is_key => (None, shown(&old)),
            (_, None) => continue,
        };
        let is_late = row.view().is_late(at);
        let column =
            ShownColumn { name: visible(&column.name), before, value: Some(value), is_new: false, is_late };
        if is_key { keys.push(column) } else { others.push(column) }
    }
    keys.append(&mut others);
    keys
}

/// All columns of a row that are there, the key first.
pub fn row_columns(row: &Row) -> Vec<ShownColumn> {
    let is_key = |at: usize| row.schema.primary_key.iter().any(|key| usize::from(*key) == at);
    let mut columns: Vec<usize> = (0..row.schema.columns.len()).collect();
    columns.sort_by_key(|at| !is_key(*at));
    let columns = columns.into_iter().filter_map(|at| {
        let value = Some(shown(&row.view().get(at)?));
        let is_late = row.view().is_late(at);
        let name = visible(&row.schema.columns[at].name);
        Some(ShownColumn { name, before: None, value, is_new: false, is_late })
    });
    columns.collect()
}

/// What something has made of a row: its key, and all columns that are different. Those that are gone come last.
pub fn difference(old: &Row, new: &Row) -> Vec<ShownColumn> {
    let mut columns = row_columns(new);
    let is_key = |name: &str| {
        new.schema.primary_key.iter().any(|at| new.schema.columns[usize::from(*at)].name == name)
    };
    let value_in = |row: &Row, name: &str| row.view().get_named(name).map(Value::into_owned);
    let name_of =
        |shown: &ShownColumn| new.schema.columns.iter().find(|column| visible(&column.name) == shown.name);
    columns.retain_mut(|shown| {
        let Some(column) = name_of(shown) else { return true };
        let (was, is) = (value_in(old, &column.name), value_in(new, &column.name));
        match was {
            None => shown.is_new = true,
            Some(was) if Some(&was) != is.as_ref() => shown.before = Some(self::shown(&was)),
            Some(_) => return is_key(&column.name),
        }
        true
    });
    for column in &old.schema.columns {
        if let Some(was) = old.view().get_named(&column.name)
            && new.view().get_named(&column.name).is_none()
        {
            let (name, before) = (visible(&column.name), Some(shown(&was)));
            columns.push(ShownColumn { name, before, value: None, is_new: false, is_late: false });
        }
    }
    columns
}

/// A value in one line of bounded length.
pub fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::UInt(v) | Value::Bit(v) => v.to_string(),
        Value::Year(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Double(v) => v.to_string(),
        Value::Decimal(v) => v.clone().into_owned(),
        Value::Date(v) => v.to_string(),
        Value::DateTime(v) => v.to_string(),
        Value::Timestamp(v) => format!("{v} UTC"),
        Value::Time(v) => v.to_string(),
        Value::Text(v) => quoted(v),
        Value::Json(v) => shortened(v, TEXT_CHARS_MAX),
        Value::Bytes(v) => {
            let hex: String = v.iter().take(BYTES_MAX).map(|byte| format!("{byte:02x}")).collect();
            let more = if v.len() > BYTES_MAX { "…" } else { "" };
            let plural = if v.len() == 1 { "" } else { "s" };
            format!("0x{hex}{more} ({} byte{plural})", v.len())
        }
    }
}

/// A text in quotes; a long one is cut, and says its length.
fn quoted(text: &str) -> String {
    let (cut, more) = match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => (&text[..end], format!("… ({} characters)", text.chars().count())),
        None => (text, String::new()),
    };
    format!("\"{}\"{more}", visible(&cut.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// The first characters of a text, with its length where there are more.
pub fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}… ({} characters)", visible(&text[..end]), text.chars().count()),
        None => visible(text),
    }
}

/// Without anything that would move the cursor or colour the terminal.
pub fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            visible.extend(letter.escape_default());
        } else {
            visible.push(letter);
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_harmless() {
        assert_eq!(shown(&Value::Text("a \"b\"\n\x1b[31m".into())), r#""a \"b\"\n\u{1b}[31m""#);
        let long = "ä".repeat(81);
        assert_eq!(shown(&Value::Text(long.into())), format!("\"{}\"… (81 characters)", "ä".repeat(80)));
        assert_eq!(shown(&Value::Bytes([0, 255][..].into())), "0x00ff (2 bytes)");
        assert_eq!(shown(&Value::Bytes(vec![1; 17].into())), format!("0x{}… (17 bytes)", "01".repeat(16)));
        assert_eq!(shown(&Value::UInt(u64::MAX)), "18446744073709551615");
        assert_eq!(shown(&Value::Decimal("-0.10".into())), "-0.10");
        assert_eq!(shown(&Value::Null), "NULL");
    }
}
