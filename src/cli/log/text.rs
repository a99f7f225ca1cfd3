//! Changes as text for people: the commit of each transaction, and below it a line for each change.

use std::io::IsTerminal;
use std::sync::Arc;

use lode::model::block::{Commit, Op};
use lode::model::row::Row;
use lode::model::value::Value;
use lode::run::look::Seen;

/// Characters of a text, and bytes of binary data, that are shown.
const TEXT_CHARS_MAX: usize = 80;
const BYTES_MAX: usize = 16;
/// Characters of a GTID set that are shown.
const GTID_CHARS_MAX: usize = 80;
/// Below this width, lines are not broken any more.
const WIDTH_MIN: usize = 40;
/// What stands before the columns of a change in a line that goes on.
const INDENT: &str = "        ";

/// Writes changes, and remembers whose commit was written last.
pub struct Text {
    /// Where lines are broken; `None` outside of terminals: there each change stays one line.
    width: Option<usize>,
    colors: bool,
    commit: Option<Arc<Commit>>,
}

impl Text {
    /// For standard output as it is.
    pub fn for_standard_output() -> Text {
        let terminal = console::Term::stdout();
        let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_terminal = std::io::stdout().is_terminal();
        let width = terminal.size_checked().map(|(_, columns)| usize::from(columns).max(WIDTH_MIN));
        Text { width: width.filter(|_| is_terminal), colors: is_terminal && !is_off, commit: None }
    }

    /// Appends a change, and the commit of its transaction when that is another one than before.
    pub fn write(&mut self, out: &mut Vec<u8>, seen: &Seen) {
        if self.commit.as_ref() != Some(&seen.commit) {
            out.extend_from_slice(self.dim(&commit_text(&seen.commit)).as_bytes());
            out.push(b'\n');
            self.commit = Some(Arc::clone(&seen.commit));
        }
        let change = &seen.change;
        let op = format!("{:<8}", change.op.as_str());
        let head = format!("{:>7} {}{}", change.seq.0, self.colored(change.op, &op), change.table.name);
        let mut line = head;
        let mut column = console::measure_text_width(&line);
        let items = items(change.op, change.before.as_ref(), change.after.as_ref());
        for (at, item) in items.iter().enumerate() {
            let separator = if at == 0 { "  " } else { ", " };
            let width = console::measure_text_width(item);
            if self.width.is_some_and(|most| column + separator.len() + width + 1 > most) {
                line.push_str(separator.trim_end());
                line.push('\n');
                line.push_str(INDENT);
                column = INDENT.len();
            } else {
                line.push_str(separator);
                column += separator.len();
            }
            line.push_str(item);
            column += width;
        }
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }

    fn colored(&self, op: Op, text: &str) -> String {
        let color = match op {
            Op::Insert => 32,
            Op::Update => 33,
            Op::Delete => 31,
            Op::Truncate => 35,
        };
        if self.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        if self.colors { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `committed 2026-01-31 23:59:59.000 UTC at binlog.000003:1177, GTID 0-1-36`
fn commit_text(commit: &Commit) -> String {
    let position = &commit.position;
    let mut text = format!("committed {} at {}:{}", time(commit.time_ms), position.file, position.offset);
    if !position.gtid.is_empty() {
        text.push_str(&format!(", GTID {}", shortened(&position.gtid, GTID_CHARS_MAX)));
    }
    text
}

/// `2026-01-31 23:59:59.000 UTC`
pub fn time(time_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string(),
        Err(_) => format!("{time_ms} ms since 1970 UTC"),
    }
}

/// The columns to show: all of a row that came or went, and of one that changed its key and what is new.
fn items(op: Op, before: Option<&Row>, after: Option<&Row>) -> Vec<String> {
    let (Some(row), old) = (after.or(before), before.filter(|_| op == Op::Update && after.is_some())) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    let mut others = Vec::new();
    for (at, column) in row.schema.columns.iter().enumerate() {
        let value = row.view().get(at);
        // An image leaves out what did not change, so a column of the old row alone is none of the new one.
        let old = old.and_then(|old| old.view().get(at));
        let is_key = row.schema.primary_key.iter().any(|key| usize::from(*key) == at);
        let name = visible(&column.name);
        let item = match (old, value) {
            (Some(old), Some(new)) if old != new => format!("{name}: {} → {}", shown(&old), shown(&new)),
            (Some(_), Some(_)) if !is_key => continue,
            (_, Some(value)) => format!("{name} = {}", shown(&value)),
            (Some(old), None) if is_key => format!("{name} = {}", shown(&old)),
            (_, None) => continue,
        };
        let late = if row.view().is_late(at) { " (read later)" } else { "" };
        let item = item + late;
        if is_key { keys.push(item) } else { others.push(item) }
    }
    keys.append(&mut others);
    keys
}

/// A value in one line of bounded length.
fn shown(value: &Value<'_>) -> String {
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

fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}… ({} characters)", visible(&text[..end]), text.chars().count()),
        None => visible(text),
    }
}

/// Without anything that would move the cursor or colour the terminal.
fn visible(text: &str) -> String {
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
        assert_eq!(time(1_000), "1970-01-01 00:00:01.000 UTC");
    }
}
