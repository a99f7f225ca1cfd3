//! The view as cells of a terminal.

use console::measure_text_width;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget};

use super::grid::{Shown, cell, fit, wrap};
use super::rows::{Content, Pane, Row, Tone};
use super::view::{Mode, View};
use crate::cli::answer;
use crate::cli::units::rate;

/// Heading of a pane, and of its columns.
const HEAD_ROWS: usize = 2;
/// What is said of the selected row takes no more lines than this.
const NOTE_ROWS_MAX: usize = 3;
/// Keys, as far as there is room for them.
const KEYS: &[(&str, &str)] = &[
    ("?", "help"),
    ("q", "leave"),
    ("Tab", "pane"),
    ("p", "pause"),
    ("r", "resume"),
    ("<>s", "sort"),
    ("/", "filter"),
    ("a", "acknowledge"),
    ("Enter", "details"),
];

const HELP: &str = "\
Tab, right, left   the next pane, or the one before
up, down           another row; also j and k, page up and down, Home, End
<  >               sort by the column before, or the next one
s                  turn the order around
/                  show only names that contain a text; Esc shows all again
Enter              everything about the mine or pipeline; a table's newest changes
p                  stop the mine, pause the pipeline or table, mute the alert
r                  let it go on, or tell again
a                  acknowledge the alert
q, Esc, Ctrl-C     leave; lode runs on

Tables are those of the selected mine. Bars show each route's lag over the last two minutes, \
the highest one its longest lag. What is asked of lode is confirmed here where it affects others.";

/// Draws the view as it is at `now_ms`, and notes which rows it shows.
pub fn draw(view: &mut View, now_ms: i64, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let mut lines = vec![heading(view, width)];
    if let Some(stale) = view.stale(now_ms) {
        let style = view.style(Tone::Bad).add_modifier(Modifier::BOLD);
        lines.extend(
            wrap(&stale, width).into_iter().take(NOTE_ROWS_MAX).map(|line| Line::styled(line, style)),
        );
    }
    let foot = foot(view, width, usize::from(area.height));
    let room = usize::from(area.height).saturating_sub(lines.len() + foot.len());
    for (pane, height) in heights(view, room) {
        pane_lines(view, pane, width, height, &mut lines);
    }
    lines.truncate(usize::from(area.height).saturating_sub(foot.len()));
    let foot_at = area.bottom().saturating_sub(foot.len() as u16);
    for (line, y) in lines.iter().zip(area.top()..foot_at).chain(foot.iter().zip(foot_at..area.bottom())) {
        buffer.set_line(area.left(), y, line, area.width);
    }
    dialog(view, area, buffer);
}

fn heading(view: &View, width: usize) -> Line<'static> {
    let mines = view.sample.iter().flat_map(|sample| &sample.status.mines);
    let (rows_in, rows_out) = mines.fold((0.0, 0.0), |(rows_in, rows_out), mine| {
        (rows_in + mine.rows_in_per_s, rows_out + mine.rows_out_per_s)
    });
    let figures = match &view.sample {
        Some(sample) => {
            let firing = sample.firing().iter().filter(|firing| !firing.acked).count();
            let alerts = match firing {
                0 => String::new(),
                1 => "1 alert  ".to_owned(),
                count => format!("{count} alerts  "),
            };
            format!("{alerts}in {}  out {}", rate(rows_in), rate(rows_out))
        }
        None => "asking …".to_owned(),
    };
    let room = width.saturating_sub(measure_text_width(&figures) + 1);
    let place = cell(&format!("lode top  {}", view.place), Content::Words, room, true);
    Line::from(vec![
        Span::styled(place, Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!(" {figures}")),
    ])
}

/// How many lines each pane gets. The one with the focus always gets some; the others where they have room for a row.
fn heights(view: &View, room: usize) -> Vec<(Pane, usize)> {
    let wanted = |pane: Pane| HEAD_ROWS + view.rows(pane).len().max(1);
    let mut heights: Vec<(Pane, usize)> = Vec::new();
    let mut left = room;
    let others = view.shown_panes().into_iter().filter(|pane| *pane != view.focus);
    for pane in std::iter::once(view.focus).chain(others) {
        let height = if pane == view.focus { left.min(HEAD_ROWS + 1) } else { HEAD_ROWS + 1 };
        if height <= left {
            heights.push((pane, height));
            left -= height;
        }
    }
    // The focus comes first here, too.
    while left > 0 {
        let mut is_given = false;
        for (pane, height) in &mut heights {
            if left > 0 && *height < wanted(*pane) {
                *height += 1;
                left -= 1;
                is_given = true;
            }
        }
        if !is_given {
            break;
        }
    }
    heights.sort_by_key(|(pane, _)| *pane as usize);
    heights
}

fn pane_lines(view: &mut View, pane: Pane, width: usize, height: usize, lines: &mut Vec<Line<'static>>) {
    let rows = view.rows(pane);
    let selected = view.selected(pane, &rows);
    let room = height.saturating_sub(HEAD_ROWS);
    let is_focus = pane == view.focus;
    {
        let pane = view.pane_mut(pane);
        let last = rows.len().saturating_sub(room);
        pane.offset = pane.offset.clamp((selected + 1).saturating_sub(room.max(1)), selected).min(last);
    }
    let offset = view.pane(pane).offset;
    lines.push(title(view, pane, rows.len(), room, width));
    // A column on the left for the mark of the row that is selected.
    let columns = fit(pane.columns(), &rows, width.saturating_sub(1));
    lines.push(head(view, pane, &columns));
    if rows.is_empty() && room > 0 {
        lines.push(Line::styled(format!(" {}", nothing(view, pane)), view.style(Tone::Quiet)));
    }
    for (at, row) in rows.iter().enumerate().skip(offset).take(room) {
        lines.push(row_line(view, pane, row, &columns, at == selected && is_focus, width));
    }
}

fn title(view: &View, pane: Pane, count: usize, room: usize, width: usize) -> Line<'static> {
    let mut title = pane.title().to_owned();
    if pane == Pane::Tables
        && let Some(mine) = view.mine()
    {
        title.push_str(&format!(" of {mine}"));
    }
    if count > room {
        title.push_str(&format!(", {room} of {count}"));
    }
    let looked = view.pane(pane);
    if !looked.filter.is_empty() {
        title.push_str(&format!(", with “{}”", looked.filter));
    }
    let is_focus = pane == view.focus;
    let mark = if is_focus { "▶" } else { "─" };
    let sign = if looked.is_descending { "▼" } else { "▲" };
    let sort = format!(" by {} {sign} ─", pane.columns()[looked.sort].title);
    let title = format!("{mark} {title} ");
    let fill = width.saturating_sub(measure_text_width(&title) + measure_text_width(&sort));
    let mut style = view.style(if is_focus { Tone::Plain } else { Tone::Quiet });
    if is_focus {
        style = style.add_modifier(Modifier::BOLD);
        if view.colors {
            style = style.fg(Color::Cyan);
        }
    }
    Line::styled(format!("{title}{}{sort}", "─".repeat(fill)), style)
}

fn head(view: &View, pane: Pane, columns: &[Shown]) -> Line<'static> {
    let mut text = String::from(" ");
    for (place, shown) in columns.iter().enumerate() {
        let column = &pane.columns()[shown.at];
        let content = if column.content == Content::Bars { Content::Words } else { column.content };
        text.push_str(&cell(column.title, content, shown.width, place + 1 == columns.len()));
    }
    Line::styled(text, view.style(Tone::Quiet))
}

fn row_line(
    view: &View,
    pane: Pane,
    row: &Row,
    columns: &[Shown],
    is_selected: bool,
    width: usize,
) -> Line<'static> {
    let mut spans = vec![Span::raw(if is_selected { "›" } else { " " })];
    for (place, shown) in columns.iter().enumerate() {
        let one = &row.cells[shown.at];
        let content = pane.columns()[shown.at].content;
        let text = cell(&one.text, content, shown.width, place + 1 == columns.len());
        spans.push(Span::styled(text, view.style(one.tone)));
    }
    if is_selected {
        let used: usize = spans.iter().map(Span::width).sum();
        spans.push(Span::raw(" ".repeat(width.saturating_sub(used))));
        return Line::from(spans).style(Style::new().add_modifier(Modifier::REVERSED));
    }
    Line::from(spans)
}

/// What stands in the place of rows.
fn nothing(view: &View, pane: Pane) -> &'static str {
    match pane {
        _ if view.sample.is_none() => "nothing is known yet",
        _ if !view.pane(pane).filter.is_empty() => "no name contains that",
        Pane::Mines => "no mine runs",
        Pane::Pipelines => "no pipeline runs",
        Pane::Tables => "no changes yet",
        Pane::Alerts => "no alert fires",
    }
}

/// The last lines: what was done or is to be said of the selected row, and the keys.
fn foot(view: &View, width: usize, height: usize) -> Vec<Line<'static>> {
    let rows = view.rows(view.focus);
    let note = rows.get(view.selected(view.focus, &rows)).and_then(|row| Some((row.note.clone()?, row.tone)));
    let (text, tone) = match (&view.asked, &view.said) {
        (Some(asked), _) => (format!("{asked} …"), Tone::Plain),
        (None, Some(said)) => (said.clone(), Tone::Plain),
        (None, None) => note.unwrap_or((String::new(), Tone::Plain)),
    };
    let style = view.style(tone).add_modifier(Modifier::BOLD);
    let most = NOTE_ROWS_MAX.min(height / 6);
    let mut foot: Vec<_> =
        wrap(&text, width).into_iter().take(most).map(|line| Line::styled(line, style)).collect();
    foot.push(match &view.mode {
        Mode::Filter => Line::from(vec![
            Span::styled(
                format!("/{}", view.pane(view.focus).filter),
                Style::new().add_modifier(Modifier::BOLD),
            ),
            Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
            Span::styled(" Enter keeps it, Esc shows all", view.style(Tone::Quiet)),
        ]),
        _ => keys(view, width),
    });
    foot
}

fn keys(view: &View, width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, what) in KEYS {
        let what = match (*what, view.focus) {
            ("pause", Pane::Mines) => "stop",
            ("resume", Pane::Mines) => "start",
            ("details", Pane::Tables) => "changes",
            ("details", Pane::Alerts) => "history",
            ("pause", Pane::Alerts) => "mute for 1h",
            ("resume", Pane::Alerts) => "unmute",
            ("acknowledge", pane) if pane != Pane::Alerts => continue,
            (what, _) => what,
        };
        let gap = if spans.is_empty() { "" } else { "  " };
        used += measure_text_width(key) + 1 + what.len() + gap.len();
        if used > width {
            break;
        }
        spans.push(Span::styled(format!("{gap}{key}"), Style::new().add_modifier(Modifier::BOLD)));
        spans.push(Span::styled(format!(" {what}"), view.style(Tone::Quiet)));
    }
    Line::from(spans)
}

fn dialog(view: &View, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width).saturating_sub(4).min(100);
    let (title, text, keys) = match &view.mode {
        Mode::Browse | Mode::Filter => return,
        Mode::Help => ("keys", HELP.to_owned(), "any key goes on"),
        Mode::Confirm { command, reply } => {
            let text = answer::text(reply, Some(width.saturating_sub(2)), false);
            // Its first line is the command again.
            let text = text.split_once('\n').map_or(text.as_str(), |(_, would)| would).to_owned();
            (command.as_str(), text, "y does it, any other key does not")
        }
        Mode::Answer { command, reply } => {
            (command.as_str(), answer::text(reply, Some(width.saturating_sub(2)), false), "any key goes on")
        }
    };
    let mut lines = wrap(text.trim_end(), width.saturating_sub(2).max(1));
    let most = usize::from(area.height).saturating_sub(2);
    if lines.len() > most {
        lines.truncate(most.saturating_sub(1));
        lines.push("…".to_owned());
    }
    let wide = lines.iter().map(|line| measure_text_width(line)).chain([measure_text_width(keys), 30]).max();
    let wide = (wide.unwrap_or(0) + 4).min(usize::from(area.width)) as u16;
    let high = (lines.len() + 2).min(usize::from(area.height)) as u16;
    let place = Rect {
        x: area.x + (area.width - wide) / 2,
        y: area.y + (area.height - high) / 2,
        width: wide,
        height: high,
    };
    Clear.render(place, buffer);
    let title = format!(" {} ", cell(title, Content::Words, measure_text_width(title).min(width), true));
    let block = Block::bordered()
        .title(Span::styled(title, Style::new().add_modifier(Modifier::BOLD)))
        .title_bottom(Line::from(format!(" {keys} ")).right_aligned());
    let lines: Vec<Line<'_>> = lines.iter().map(|line| Line::raw(format!(" {line}"))).collect();
    Paragraph::new(lines).block(block).render(place, buffer);
}

impl View {
    /// How a tone looks. Without colours, what is broken is still told from the rest.
    fn style(&self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self.colors) {
            (Tone::Plain, _) => style,
            (Tone::Good, true) => style.fg(Color::Green),
            (Tone::Odd, true) => style.fg(Color::Yellow),
            (Tone::Bad, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Quiet, true) => style.add_modifier(Modifier::DIM),
            (Tone::Bad | Tone::Odd, false) => style.add_modifier(Modifier::BOLD),
            (Tone::Good | Tone::Quiet, false) => style,
        }
    }
}
