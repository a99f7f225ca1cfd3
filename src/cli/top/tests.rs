//! The view as files: what was answered, which keys are pressed, and what is on the screen then, in several sizes.
//!
//! To add a case, drop a JSON file into `tests/golden/top` and review its snapshot. What is in it:
//!
//! | field | says |
//! |---|---|
//! | `status` | the answer to `status`: a file in `tests/golden/top/status`; without it, none ever came |
//! | `recorded` | instead, answers to `status` in a file there, one a line, taken every five seconds |
//! | `now_ms` | when the last one was taken, milliseconds since 1970 UTC |
//! | `lag_ms` | the lag of routes at one look after the other |
//! | `alerts` | the answer to `alerts` |
//! | `keys` | keys that are pressed then; `<Tab>`, `<Enter>`, `<Esc>` and so on by their names |
//! | `answers` | the answers to commands; `, confirmed` is behind those that are confirmed |
//! | `error`, `silent_ms` | why there is no answer since, and for how long |
//! | `sizes` | columns and rows: `80x24` |
//! | `picture` | the picture in `scripts/pictures` that shows the first of them in colours |

#[path = "../../../tests/support/picture.rs"]
mod picture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use console::measure_text_width;
use lode::engine::reply::Reply;
use lode::error::{Error, Kind};
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use serde::Deserialize;

use self::picture::{Look, pieces, svg};

use super::draw::draw;
use super::view::{View, Wish};
use crate::cli::ctl::reply_of;

/// When the statuses were taken, where a case does not say it.
const NOW_MS: i64 = 1_790_000_000_000;

#[derive(Deserialize)]
struct Case {
    status: Option<String>,
    recorded: Option<String>,
    #[serde(default = "now_ms")]
    now_ms: i64,
    #[serde(default)]
    lag_ms: BTreeMap<String, Vec<i64>>,
    alerts: Option<serde_json::Value>,
    #[serde(default)]
    keys: String,
    #[serde(default)]
    answers: BTreeMap<String, serde_json::Value>,
    error: Option<String>,
    #[serde(default)]
    silent_ms: i64,
    sizes: Vec<String>,
    picture: Option<String>,
}

fn now_ms() -> i64 {
    NOW_MS
}

#[test]
fn screens() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        insta::glob!("../../../tests/golden/top", "*.json", |path| {
            let case = read(path);
            let mut view = View::new("lode-data".to_owned(), false, case.now_ms);
            let asked = play(&mut view, &case);
            let mut shown = String::new();
            for size in &case.sizes {
                let buffer = drawn(&mut view, &case, area(size));
                let text = text(&buffer);
                let width = usize::from(buffer.area.width);
                assert!(text.lines().all(|line| measure_text_width(line) <= width), "{text}");
                shown.push_str(&format!("--- {size}\n{text}"));
            }
            if let Some(name) = &case.picture {
                view.colors = true;
                let buffer = drawn(&mut view, &case, area(&case.sizes[0]));
                let picture = svg(&lines(&buffer), buffer.area.width.into(), "lode top");
                picture::assert_is_current(name, &picture);
            }
            let asked: String = asked.iter().map(|line| format!("asked: {line}\n")).collect();
            insta::assert_snapshot!("top", format!("{asked}{shown}"));
        });
    });
}

#[test]
fn keys_leave_the_view() {
    for key in ["q", "<Esc>", "<Ctrl-C>", "?<Ctrl-C>", "/x<Ctrl-C>", "/x<Esc><Esc>"] {
        let mut view = View::new("lode-data".to_owned(), false, NOW_MS);
        let wishes: Vec<_> = keys(key).into_iter().map(|key| view.key(key)).collect();
        assert_eq!(wishes.last().unwrap(), &Some(Wish::Leave), "{key}");
        assert!(wishes.iter().rev().skip(1).all(Option::is_none), "{key}");
    }
}

#[test]
fn without_colours_there_are_none_and_everything_is_still_told_apart() {
    let case = read(&golden().join("01_busy.json"));
    let area = Rect::new(0, 0, 100, 30);
    for colors in [true, false] {
        let mut view = View::new("lode-data".to_owned(), colors, NOW_MS);
        play(&mut view, &case);
        let buffer = drawn(&mut view, &case, area);
        let colored =
            buffer.content().iter().filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset));
        assert_eq!(colored.count() > 0, colors);
        let with = |modifier| buffer.content().iter().filter(move |cell| cell.modifier.contains(modifier));
        assert_eq!(with(Modifier::REVERSED).count(), 100, "the selected row");
        let bold: String = with(Modifier::BOLD).map(|cell| cell.symbol()).collect();
        assert!(colors || bold.contains("retrying"), "{bold}");
    }
}

#[test]
fn no_size_is_too_small() {
    for keys in ["", "?", "p", "/x", "<Tab><Tab><End>"] {
        let mut view = View::new("lode-data".to_owned(), true, NOW_MS);
        let case = Case { keys: keys.to_owned(), ..read(&golden().join("10_confirm.json")) };
        play(&mut view, &case);
        for (width, height) in (0..50).flat_map(|width| (0..20).map(move |height| (width, height))) {
            drawn(&mut view, &case, Rect::new(0, 0, width, height));
        }
    }
}

/// Gives the view its answers and keys; says what it asked for.
fn play(view: &mut View, case: &Case) -> Vec<String> {
    for reply in looks(case) {
        view.looked(Ok(reply), case.now_ms);
    }
    if let Some(alerts) = &case.alerts {
        view.looked_at_alerts(reply_of(alerts));
    }
    let mut asked = Vec::new();
    for key in keys(&case.keys) {
        let Some(Wish::Ask { command, confirmed }) = view.key(key) else { continue };
        let line = format!("{command}{}", if confirmed { ", confirmed" } else { "" });
        if let Some(answer) = case.answers.get(&line) {
            view.answered(command, reply_of(answer));
        }
        asked.push(line);
    }
    if let Some(error) = &case.error {
        view.looked(Err(Error::new(Kind::Environment, error.clone())), NOW_MS + case.silent_ms);
    }
    asked
}

/// The answers to `status`, one after the other.
fn looks(case: &Case) -> Vec<Reply> {
    let read = |name: &str| fs::read_to_string(golden().join("status").join(name)).unwrap();
    if let Some(name) = &case.recorded {
        let answers = read(name);
        let answers = answers.lines().map(reply);
        return answers.flat_map(|answer| std::iter::repeat_n(answer, 5)).collect();
    }
    let Some(name) = &case.status else { return Vec::new() };
    let text = read(&format!("{name}.json"));
    let count = case.lag_ms.values().map(Vec::len).max().unwrap_or(1);
    let look = |look: usize| {
        let mut reply = reply(&text);
        if let Reply::Status { status, .. } = &mut reply {
            for route in status.pipelines.iter_mut().flat_map(|pipeline| &mut pipeline.routes) {
                if let Some(lags_ms) = case.lag_ms.get(&route.key) {
                    route.lag_ms = lags_ms.get(look).or(lags_ms.last()).copied();
                }
            }
        }
        reply
    };
    (0..count).map(look).collect()
}

/// As it comes over the socket.
fn reply(json: &str) -> Reply {
    reply_of(&serde_json::from_str(json).unwrap()).unwrap()
}

fn keys(text: &str) -> Vec<KeyEvent> {
    const NAMED: &[(&str, KeyCode, KeyModifiers)] = &[
        ("<Tab>", KeyCode::Tab, KeyModifiers::NONE),
        ("<Enter>", KeyCode::Enter, KeyModifiers::NONE),
        ("<Esc>", KeyCode::Esc, KeyModifiers::NONE),
        ("<Backspace>", KeyCode::Backspace, KeyModifiers::NONE),
        ("<Up>", KeyCode::Up, KeyModifiers::NONE),
        ("<Down>", KeyCode::Down, KeyModifiers::NONE),
        ("<PageUp>", KeyCode::PageUp, KeyModifiers::NONE),
        ("<PageDown>", KeyCode::PageDown, KeyModifiers::NONE),
        ("<End>", KeyCode::End, KeyModifiers::NONE),
        ("<Ctrl-C>", KeyCode::Char('c'), KeyModifiers::CONTROL),
    ];
    let mut rest = text;
    let mut keys = Vec::new();
    while let Some(letter) = rest.chars().next() {
        let named = NAMED.iter().find(|(name, ..)| rest.starts_with(name));
        let (length, code, modifiers) = named.map_or(
            (letter.len_utf8(), KeyCode::Char(letter), KeyModifiers::NONE),
            |(name, code, modifiers)| (name.len(), *code, *modifiers),
        );
        keys.push(KeyEvent::new(code, modifiers));
        rest = &rest[length..];
    }
    keys
}

fn area(size: &str) -> Rect {
    let (columns, rows) = size.split_once('x').expect("columns and rows");
    Rect::new(0, 0, columns.parse().unwrap(), rows.parse().unwrap())
}

fn drawn(view: &mut View, case: &Case, area: Rect) -> Buffer {
    let mut buffer = Buffer::empty(area);
    draw(view, case.now_ms + case.silent_ms, area, &mut buffer);
    buffer
}

/// What a person sees.
fn text(buffer: &Buffer) -> String {
    let line =
        |y| letters(buffer, y).map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (buffer.area.top()..buffer.area.bottom()).map(line).collect()
}

/// The cells of a line. Behind a letter of two columns is one that nobody sees.
fn letters(buffer: &Buffer, y: u16) -> impl Iterator<Item = &Cell> {
    let mut seen_to = 0;
    (buffer.area.left()..buffer.area.right()).filter_map(move |x| {
        let cell = &buffer[(x, y)];
        if x < seen_to {
            return None;
        }
        seen_to = x + measure_text_width(cell.symbol()).max(1) as u16;
        Some(cell)
    })
}

fn lines(buffer: &Buffer) -> Vec<Vec<picture::Piece>> {
    let letter = |cell: &Cell| {
        let look = Look {
            color: match cell.fg {
                Color::Red => Some(1),
                Color::Green => Some(2),
                Color::Yellow => Some(3),
                Color::Cyan => Some(6),
                _ => None,
            },
            is_bold: cell.modifier.contains(Modifier::BOLD),
            is_dim: cell.modifier.contains(Modifier::DIM),
            is_reversed: cell.modifier.contains(Modifier::REVERSED),
        };
        (cell.symbol().to_owned(), measure_text_width(cell.symbol()).max(1), look)
    };
    let rows = buffer.area.top()..buffer.area.bottom();
    rows.map(|y| pieces(letters(buffer, y).map(letter))).collect()
}

fn read(path: &Path) -> Case {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/top"))
}
