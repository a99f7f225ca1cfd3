//! Answers of commands that look at data, for people.

use lode::engine::look::{Changes, Evaluated, EvaluatedRow, Rows, Trace, TracedRoute, TracedRow};
use lode::run::shown::{ShownColumn, visible};

use super::log::text::{Text, column_text, filled};
use super::table::Table;

/// Changes, each below the commit of its transaction.
pub fn changes(changes: &Changes, width: Option<usize>, colors: bool) -> String {
    let mut lines = Vec::new();
    Text::new(width, colors).write_all(&mut lines, changes);
    with_notes(String::from_utf8_lossy(&lines).into_owned(), &changes.notes)
}

/// Rows of a database as a table.
pub fn rows(rows: &Rows, width: Option<usize>) -> String {
    let answered = &rows.answered;
    let mut table = Table::of(answered.columns.iter().map(|column| visible(column)).collect());
    for row in &answered.rows {
        table.row(row.iter().map(|value| value.as_deref().map_or("NULL".to_owned(), visible)).collect());
    }
    let text = match answered.rows.len() {
        0 => "no rows\n".to_owned(),
        _ => table.text(width),
    };
    with_notes(text, &rows.notes)
}

/// Each row as it is and as the code leaves it.
pub fn evaluated(evaluated: &Evaluated, width: Option<usize>) -> String {
    let text = evaluated.rows.iter().map(|row| evaluated_row(row, width)).collect();
    with_notes(text, &evaluated.notes)
}

fn evaluated_row(row: &EvaluatedRow, width: Option<usize>) -> String {
    let mut text = line(format!("{:>7} {}  before", row.seq.0, row.table), &row.shown.before, width);
    let indent = " ".repeat(8 + row.table.chars().count());
    for emitted in &row.shown.emitted {
        text.push_str(&line(format!("{indent}  emits "), emitted, width));
    }
    let is_changed = row.shown.after.iter().any(|column| column.before.is_some() || column.is_new);
    text.push_str(&match (&row.after, is_changed) {
        (None, _) => format!("{indent}  skipped\n"),
        (Some(_), true) => line(format!("{indent}  after "), &row.shown.after, width),
        // An expression changes nothing, and its value says all.
        (Some(_), false) if row.value.is_some() => String::new(),
        (Some(_), false) => format!("{indent}  unchanged\n"),
    });
    if let Some(value) = &row.value {
        text.push_str(&format!("{indent}  value   {}\n", visible(value)));
    }
    text
}

/// Each change, and below it what the stages make of it on the way to each sink.
pub fn trace(trace: &Trace, width: Option<usize>, colors: bool) -> String {
    let mut text = String::new();
    let mut changes = Text::new(width, colors);
    for traced in &trace.changes {
        let mut lines = Vec::new();
        changes.write(&mut lines, &traced.shown);
        text.push_str(&String::from_utf8_lossy(&lines));
        traced.routes.iter().for_each(|route| text.push_str(&traced_route(route, width)));
    }
    with_notes(text, &trace.notes)
}

fn traced_route(route: &TracedRoute, width: Option<usize>) -> String {
    let mut text = format!("        to {}\n", route.sink);
    for stage in &route.stages {
        let head = format!("          {}:", stage.stage);
        text.push_str(&match stage.rows.as_slice() {
            [] => format!("{head} dropped\n"),
            _ if stage.is_unchanged => format!("{head} passes\n"),
            rows => format!("{head}\n{}", traced_rows("            ", rows, width)),
        });
    }
    match (&route.error, route.gets.as_slice()) {
        (Some(error), _) => {
            text.push_str(&format!("          fails: {error}\n"));
            route.advice.iter().for_each(|advice| text.push_str(&format!("            {advice}\n")));
        }
        (None, []) => text.push_str("          the sink gets nothing\n"),
        (None, rows) => text.push_str(&traced_rows("          the sink gets ", rows, width)),
    }
    text
}

fn traced_rows(head: &str, rows: &[TracedRow], width: Option<usize>) -> String {
    rows.iter().map(|row| line(format!("{head}{}", row.op.as_str()), &row.columns, width)).collect()
}

fn line(head: String, columns: &[ShownColumn], width: Option<usize>) -> String {
    let items: Vec<String> = columns.iter().map(column_text).collect();
    filled(head, &items, width)
}

fn with_notes(mut text: String, notes: &[String]) -> String {
    notes.iter().for_each(|note| text.push_str(&format!("{note}\n")));
    text
}
