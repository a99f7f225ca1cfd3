//! Columns that fit a width: those that matter least are left out, the others get as narrow as they have to.

use console::{measure_text_width, truncate_str};

use super::rows::{Column, Content, Row};

/// Between two columns.
const GAP: usize = 2;
/// No name gets narrower than this.
const WORDS_MIN: usize = 12;
/// Nor do bars.
const BARS_MIN: usize = 10;

/// A column that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its place among all columns.
    pub at: usize,
    /// Its width.
    pub width: usize,
}

/// The columns that there is room for, from left to right, with their widths.
pub fn fit(columns: &[Column], rows: &[Row], width: usize) -> Vec<Shown> {
    let widest = |at: usize| {
        let cells = rows.iter().map(|row| measure_text_width(&row.cells[at].text)).max().unwrap_or(0);
        cells.max(measure_text_width(columns[at].title))
    };
    let mut shown: Vec<Shown> = (0..columns.len()).map(|at| Shown { at, width: widest(at) }).collect();
    loop {
        let mut narrowed = shown.clone();
        if narrow(&mut narrowed, columns, width) || narrowed.len() <= 1 {
            return narrowed;
        }
        let least = shown.iter().enumerate().min_by_key(|(_, shown)| columns[shown.at].weight);
        let Some((least, _)) = least else { return narrowed };
        shown.remove(least);
    }
}

/// Takes from bars first, then from the widest words, until everything fits. False where that is not enough.
fn narrow(shown: &mut [Shown], columns: &[Column], width: usize) -> bool {
    let total = |shown: &[Shown]| {
        shown.iter().map(|one| one.width).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while total(shown) > width {
        let room = |one: &Shown| match columns[one.at].content {
            Content::Bars => one.width.saturating_sub(BARS_MIN).saturating_mul(1_000),
            Content::Words => one.width.saturating_sub(WORDS_MIN),
            Content::Numbers => 0,
        };
        match shown.iter_mut().max_by_key(|one| room(one)) {
            Some(one) if room(one) > 0 => one.width -= 1,
            _ => return false,
        }
    }
    true
}

/// A text, as wide as its column and the gap behind it.
pub fn cell(text: &str, content: Content, width: usize, is_last: bool) -> String {
    let text = match content {
        Content::Bars => fewer_bars(text, width),
        _ => truncate_str(text, width, "…").into_owned(),
    };
    let blanks = " ".repeat(width.saturating_sub(measure_text_width(&text)));
    let gap = if is_last { "" } else { "  " };
    if content == Content::Words { format!("{text}{blanks}{gap}") } else { format!("{blanks}{text}{gap}") }
}

/// Bars over the same time, each as high as the highest of those in its place. A higher one is a later letter.
fn fewer_bars(text: &str, width: usize) -> String {
    let bars: Vec<char> = text.chars().collect();
    if bars.len() <= width {
        return text.to_owned();
    }
    let place = |at: usize| at * bars.len() / width;
    let highest = |at: usize| bars[place(at)..place(at + 1)].iter().copied().max().unwrap_or(' ');
    (0..width).map(highest).collect()
}

/// Lines no wider than `width`, broken at blanks where there are some.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut rest = line.replace(char::is_control, "·");
        let begun = lines.len();
        while measure_text_width(&rest) > width {
            let fitting = truncate_str(&rest, width, "").into_owned();
            let end = match fitting.rfind(' ').filter(|at| !fitting[..*at].trim().is_empty()) {
                Some(blank) if !rest[fitting.len()..].starts_with(' ') => blank,
                _ => fitting.len(),
            };
            // A letter wider than the whole width stands alone.
            let end = if end == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { end };
            lines.push(rest[..end].trim_end().to_owned());
            rest = rest[end..].trim_start().to_owned();
        }
        if !rest.is_empty() || lines.len() == begun {
            lines.push(rest);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::rows::{Cell, Order, Tone};

    const COLUMNS: &[Column] = &[
        Column { title: "name", content: Content::Words, weight: 9 },
        Column { title: "rate", content: Content::Numbers, weight: 8 },
        Column { title: "trend", content: Content::Bars, weight: 3 },
        Column { title: "position", content: Content::Words, weight: 0 },
    ];

    fn row(texts: [&str; 4]) -> Row {
        let cell = |text: &str| Cell { text: text.to_owned(), order: Order::Number(None), tone: Tone::Plain };
        let cells = texts.into_iter().map(cell).collect();
        Row { key: String::new(), name: String::new(), cells, tone: Tone::Plain, note: None }
    }

    #[test]
    fn what_matters_least_is_left_out() {
        let rows = [row(["orders_of_the_whole_year", "1,234/s", "▁▂▃▄▅▆▇█▁▂▃▄▅▆▇█", "binlog.000042:1234"])];
        let widths =
            |width| fit(COLUMNS, &rows, width).iter().map(|one| (one.at, one.width)).collect::<Vec<_>>();
        assert_eq!(widths(100), [(0, 24), (1, 7), (2, 16), (3, 18)]);
        assert_eq!(widths(66), [(0, 24), (1, 7), (2, 11), (3, 18)]);
        assert_eq!(widths(47), [(0, 12), (1, 7), (2, 10), (3, 12)]);
        assert_eq!(widths(46), [(0, 24), (1, 7), (2, 11)]);
        assert_eq!(widths(24), [(0, 15), (1, 7)]);
        assert_eq!(widths(10), [(0, 12)], "one column always stays");
        assert_eq!(fit(COLUMNS, &[], 16).len(), 2, "headings need room, too");
    }

    #[test]
    fn cells_are_as_wide_as_they_look() {
        assert_eq!(cell("订单", Content::Words, 6, false), "订单    ");
        assert_eq!(cell("订单明细表", Content::Words, 6, true), "订单… ");
        assert_eq!(cell("7", Content::Numbers, 3, false), "  7  ");
        assert_eq!(cell("  ▂▁▁▃▄", Content::Bars, 3, true), " ▂▄");
    }

    #[test]
    fn long_lines_are_broken_at_blanks() {
        assert_eq!(wrap("the mine has failed: no space", 12), ["the mine has", "failed: no", "space"]);
        assert_eq!(wrap("a\n\nbb", 5), ["a", "", "bb"]);
        assert_eq!(wrap("订单明细", 5), ["订单", "明细"]);
        assert_eq!(wrap("订", 1), ["订"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
    }
}
