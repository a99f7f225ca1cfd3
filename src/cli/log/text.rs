//! Changes as text for people: the commit of each transaction, and below it a line for each change.

use std::io::IsTerminal;

use lode::engine::look::Changes;
use lode::model::block::{Commit, Op};
use lode::run::shown::{ShownChange, ShownColumn, shortened};

use crate::cli::units::local_ms;

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
    commit: Option<Commit>,
    mine: Option<String>,
}

impl Text {
    /// For standard output as it is.
    pub fn for_standard_output() -> Text {
        let terminal = console::Term::stdout();
        let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_terminal = std::io::stdout().is_terminal();
        let width = terminal.size_checked().map(|(_, columns)| usize::from(columns).max(WIDTH_MIN));
        Text::new(width.filter(|_| is_terminal), is_terminal && !is_off)
    }

    /// In lines that fit `width` where one is given.
    pub fn new(width: Option<usize>, colors: bool) -> Text {
        Text { width, colors, commit: None, mine: None }
    }

    /// Appends changes, with their mine where it is another one than before.
    pub fn write_all(&mut self, out: &mut Vec<u8>, changes: &Changes) {
        for (exact, shown) in changes.changes.iter().zip(&changes.shown) {
            let mine = exact.get("mine").and_then(|mine| mine.as_str());
            if self.mine.as_deref() != mine {
                if self.mine.is_some()
                    && let Some(mine) = mine
                {
                    out.extend_from_slice(format!("mine {mine}\n").as_bytes());
                    self.commit = None;
                }
                self.mine = mine.map(str::to_owned);
            }
            self.write(out, shown);
        }
    }

    /// Appends a change, and the commit of its transaction when that is another one than before.
    pub fn write(&mut self, out: &mut Vec<u8>, shown: &ShownChange) {
        if self.commit.as_ref() != Some(&shown.commit) {
            out.extend_from_slice(self.dim(&commit_text(&shown.commit)).as_bytes());
            out.push(b'\n');
            self.commit = Some(shown.commit.clone());
        }
        let op = format!("{:<8}", shown.op.as_str());
        let head = format!("{:>7} {}{}", shown.seq.0, self.colored(shown.op, &op), shown.table);
        let items: Vec<String> = shown.columns.iter().map(column_text).collect();
        out.extend_from_slice(filled(head, &items, self.width).as_bytes());
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

/// Items behind a head, in lines that fit `width` where one is given.
pub fn filled(head: String, items: &[String], width: Option<usize>) -> String {
    let mut line = head;
    let mut column = console::measure_text_width(&line);
    for (at, item) in items.iter().enumerate() {
        let separator = if at == 0 { "  " } else { ", " };
        let taken = console::measure_text_width(item);
        if width.is_some_and(|most| column + separator.len() + taken + 1 > most) {
            line.push_str(separator.trim_end());
            line.push('\n');
            line.push_str(INDENT);
            column = INDENT.len();
        } else {
            line.push_str(separator);
            column += separator.len();
        }
        line.push_str(item);
        column += taken;
    }
    line.push('\n');
    line
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

/// `2026-01-31 23:59:59.000 UTC`, in the zone of whoever reads it.
pub fn time(time_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(time_ms) {
        Ok(time) => local_ms(time),
        Err(_) => format!("{time_ms} ms since 1970 UTC"),
    }
}

/// `id = 42`; `qty: 3 → 4` where it was another value before, `+ total = 7` where it was not there, `- note` where it is
/// gone.
pub fn column_text(column: &ShownColumn) -> String {
    let name = &column.name;
    let value = column.value.as_deref();
    let late = if column.is_late { " (read later)" } else { "" };
    match (&column.before, value) {
        (Some(before), Some(value)) => format!("{name}: {before} → {value}{late}"),
        (Some(_), None) => format!("- {name}"),
        (None, Some(value)) if column.is_new => format!("+ {name} = {value}"),
        (None, value) => format!("{name} = {}{late}", value.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_say_their_zone() {
        assert_eq!(time(1_000), "1970-01-01 00:00:01.000 UTC");
    }
}
