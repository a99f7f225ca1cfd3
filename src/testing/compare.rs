//! What came to a sink, beside what a test expects.

use std::fmt::Write as _;

use console::{measure_text_width, truncate_str};

use super::bench::Arrival;
use crate::check::testing::{Cell, ExpectedChange, same, shown};
use crate::model::row::Row;

/// Characters of a value that a failure shows.
const VALUE_CHARS_MAX: usize = 60;
/// Columns that a failure shows beyond those that the test names.
const OTHERS_MAX: usize = 20;

/// The difference of a change that came from the expected one, as a table; `None` when they agree.
pub(super) fn difference(expected: &ExpectedChange, got: &Arrival) -> Option<String> {
    let mut table = Difference::default();
    let op = got.change.op;
    table.line("change", &expected.word, op.as_str(), expected.ops.contains(&op));
    if expected.table.is_some() {
        table.line("target", &expected.target, &got.target, expected.table == got.table);
    }
    let row = got.change.row();
    for (name, cell) in &expected.row {
        let is = row.and_then(|row| value(row, name)).unwrap_or(Cell::Absent);
        let agrees = match (cell, &is) {
            (Cell::Value(expected), Cell::Value(got)) => same(expected, got),
            (one, other) => one == other,
        };
        table.line(name, &cell_text(cell), &cell_text(&is), agrees);
    }
    let others = row.map(|row| others(row, &expected.row)).unwrap_or_default();
    if expected.only {
        others.iter().for_each(|(name, value)| table.line(name, "absent", value, false));
    }
    (!table.agrees).then(|| {
        let mut text = table.text();
        if !expected.only && !others.is_empty() {
            let shown: Vec<_> =
                others.iter().take(OTHERS_MAX).map(|(name, value)| format!("{name} = {value}")).collect();
            let more = if others.len() > OTHERS_MAX { ", …" } else { "" };
            let _ = write!(text, "\nthe row also has {}{more}", shown.join(", "));
        }
        text
    })
}

/// A change that came, as a test would expect it.
pub(super) fn written(got: &Arrival) -> String {
    let row = got.change.row().map(|row| others(row, &[])).unwrap_or_default();
    let cells: Vec<_> =
        row.iter().take(OTHERS_MAX).map(|(name, value)| format!("{name} = {value}")).collect();
    let more = if row.len() > OTHERS_MAX { ", …" } else { "" };
    format!("{} {} {{ {}{more} }}", got.change.op.as_str(), got.target, cells.join(", "))
}

/// What a row has in a column.
fn value(row: &Row, name: &str) -> Option<Cell> {
    let column = row.schema.column(name)?;
    row.view().get(column).map(|value| Cell::Value(value.into_owned()))
}

/// The columns of a row that are there and not named.
fn others(row: &Row, named: &[(String, Cell)]) -> Vec<(String, String)> {
    let columns = row.schema.columns.iter().zip(row.view().values());
    let unnamed =
        columns.filter(|(column, _)| !named.iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name)));
    unnamed.filter_map(|(column, value)| Some((column.name.clone(), short(&shown(&value?))))).collect()
}

fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::Value(value) => short(&shown(value)),
        Cell::Absent => "absent".to_owned(),
    }
}

fn short(text: &str) -> String {
    truncate_str(text, VALUE_CHARS_MAX, "…").into_owned()
}

/// A table with what is expected beside what came.
pub(super) struct Difference {
    lines: Vec<[String; 4]>,
    agrees: bool,
}

impl Default for Difference {
    fn default() -> Self {
        let head = ["", "expected", "got", ""].map(str::to_owned);
        Difference { lines: vec![head], agrees: true }
    }
}

impl Difference {
    pub fn line(&mut self, name: &str, expected: &str, got: &str, agrees: bool) {
        self.agrees &= agrees;
        let mark = if agrees { "" } else { "<-- differs" };
        self.lines.push([name, expected, got, mark].map(str::to_owned));
    }

    pub fn text(&self) -> String {
        let widest =
            |at: usize| self.lines.iter().map(|line| measure_text_width(&line[at])).max().unwrap_or(0);
        let widths = [widest(0), widest(1), widest(2), 0];
        let line = |line: &[String; 4]| {
            let cells = line.iter().zip(widths).map(|(cell, width)| {
                format!("{cell}{}", " ".repeat(width.saturating_sub(measure_text_width(cell))))
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
