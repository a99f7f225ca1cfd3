//! Tables for people: columns as wide as they need to be, and not wider together than the terminal.

use console::{measure_text_width, truncate_str};

/// No column gets narrower than this, however narrow the terminal is.
const WIDTH_MIN: usize = 6;

/// A table with a heading.
pub struct Table {
    head: Vec<String>,
    /// Whether a column has numbers, which stand on the right.
    numbers: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; one whose heading begins with `>` has numbers.
    pub fn new(head: &[&'static str]) -> Table {
        Table {
            head: head.iter().map(|title| title.trim_start_matches('>').to_owned()).collect(),
            numbers: head.iter().map(|title| title.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// A table with these columns, of which none has numbers that stand on the right.
    pub fn of(head: Vec<String>) -> Table {
        Table { numbers: vec![false; head.len()], head, rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push(cells);
    }

    /// The lines, each cut to fit `width` where one is given. Empty without rows.
    pub fn text(&self, width: Option<usize>) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let widest = |column: usize| all().map(|row| measure_text_width(&row[column])).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..self.head.len()).map(widest).collect();
        if let Some(width) = width {
            shrink(&mut widths, &self.numbers, width);
        }
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.numbers).map(|((cell, &width), &number)| {
                let cell = truncate_str(cell, width, "…");
                let blanks = " ".repeat(width.saturating_sub(measure_text_width(&cell)));
                if number { format!("{blanks}{cell}") } else { format!("{cell}{blanks}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        all().map(line).collect()
    }
}

/// Takes from the widest columns of text what is too much. Numbers stay whole: a part of one is another one.
fn shrink(widths: &mut [usize], numbers: &[bool], width: usize) {
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    while total(widths) > width {
        let texts = widths.iter().enumerate().filter(|(column, _)| !numbers[*column]);
        let Some((widest, at)) = texts.map(|(column, at)| (column, *at)).max_by_key(|(_, at)| *at) else {
            return;
        };
        if at <= WIDTH_MIN {
            return;
        }
        widths[widest] = at - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_numbers_stay_whole() {
        let mut table = Table::new(&["name", ">rows", "position"]);
        table.row(vec!["orders".into(), "1,234,567".into(), "binlog.000042:123456789".into()]);
        table.row(vec!["日本".into(), "7".into(), "x".into()]);
        let text = table.text(None);
        assert_eq!(text.lines().next(), Some("name         rows  position"));
        assert_eq!(text.lines().nth(2), Some("日本            7  x"));
        let narrow = table.text(Some(30));
        assert!(narrow.lines().all(|line| measure_text_width(line) <= 30), "{narrow}");
        assert!(narrow.contains("1,234,567") && narrow.contains('…'), "{narrow}");
        assert!(table.text(Some(3)).contains("1,234,567"), "no terminal is too narrow");
        assert_eq!(Table::new(&["name"]).text(None), "");
    }
}
