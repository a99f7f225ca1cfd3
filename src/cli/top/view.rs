//! The view without the terminal: what is known, what is selected, and what keys do. The engine is asked by whoever runs
//! the view; here it is only said what it should be asked.

use lode::engine::reply::Reply;
use lode::engine::status::Status;
use lode::error::Error;
use lode::run::pipeline::Halt;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rows::{Pane, Row, Sample, rows};
use super::trend::Trends;
use crate::cli::units::duration;

/// Without an answer for so long, that is said.
const OVERDUE_MS: i64 = 3_000;
/// So many of the newest changes of a table are shown.
const CHANGES: usize = 5;
/// Page up and page down move by so many rows.
const PAGE: isize = 10;

/// Everything that the screen shows.
pub struct View {
    /// Whose engine it is.
    pub place: String,
    /// Whether there are colours.
    pub colors: bool,
    /// The last answer.
    pub sample: Option<Sample>,
    /// How the lag of each route went.
    pub trends: Trends,
    /// What keys move in.
    pub focus: Pane,
    /// What keys do.
    pub mode: Mode,
    /// The command that was not answered yet.
    pub asked: Option<String>,
    /// What the last command has done.
    pub said: Option<String>,
    /// Why nothing is known since the last answer, and since when.
    trouble: Option<String>,
    since_ms: i64,
    panes: [PaneView; Pane::ALL.len()],
}

/// What keys do.
pub enum Mode {
    /// They move, sort and ask.
    Browse,
    /// They write the filter of the pane.
    Filter,
    /// They close the list of keys.
    Help,
    /// They confirm a command, or do not.
    Confirm {
        /// The command.
        command: String,
        /// What it would do.
        reply: Box<Reply>,
    },
    /// They close an answer.
    Answer {
        /// The command.
        command: String,
        /// Its answer.
        reply: Box<Reply>,
    },
}

/// How a pane is looked at.
#[derive(Default)]
pub struct PaneView {
    /// The column that rows are sorted by.
    pub sort: usize,
    /// Whether the greatest comes first.
    pub is_descending: bool,
    /// What the names of rows contain; all of them where it is empty.
    pub filter: String,
    /// The key of the row that is selected; the first row where it is not there.
    pub selected: Option<String>,
    /// The first row that is shown.
    pub offset: usize,
}

/// What keys ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// To leave the view.
    Leave,
    /// To ask the engine.
    Ask {
        /// The command.
        command: String,
        /// Whether what it does is confirmed.
        confirmed: bool,
    },
}

impl View {
    /// Nothing is known yet.
    pub fn new(place: String, colors: bool, now_ms: i64) -> View {
        View {
            place,
            colors,
            sample: None,
            trends: Trends::default(),
            focus: Pane::Mines,
            mode: Mode::Browse,
            asked: None,
            said: None,
            trouble: None,
            since_ms: now_ms,
            panes: Default::default(),
        }
    }

    /// Takes an answer to `status`.
    pub fn looked(&mut self, answer: Result<Reply, Error>, now_ms: i64) {
        match answer {
            Ok(Reply::Status { status, decisions }) => {
                self.trends.look(lags(&status));
                let alerts = self.sample.take().and_then(|sample| sample.alerts);
                self.sample = Some(Sample { status, decisions, alerts, at_ms: now_ms });
                self.trouble = None;
                self.since_ms = now_ms;
            }
            Ok(Reply::Failed { error, .. }) => self.trouble = Some(error),
            Ok(_) => self.trouble = Some("the answer is another one than to `status`".to_owned()),
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// Takes an answer to `alerts`. A lode of a version without them has none.
    pub fn looked_at_alerts(&mut self, answer: Result<Reply, Error>) {
        let Some(sample) = &mut self.sample else { return };
        sample.alerts = match answer {
            Ok(Reply::Alerts { alerts }) => Some(*alerts),
            _ => None,
        };
    }

    /// The panes that are shown: alerts only where some are watched.
    pub fn shown_panes(&self) -> Vec<Pane> {
        let alerts = self.sample.as_ref().and_then(|sample| sample.alerts.as_ref());
        let has_alerts = alerts.is_some_and(|alerts| alerts.watched > 0 || !alerts.firing.is_empty());
        let is_shown = |pane: &Pane| *pane != Pane::Alerts || has_alerts || self.focus == Pane::Alerts;
        Pane::ALL.into_iter().filter(is_shown).collect()
    }

    /// Takes the answer to a command.
    pub fn answered(&mut self, command: String, answer: Result<Reply, Error>) {
        self.asked = None;
        let reply = answer.unwrap_or_else(Reply::from);
        match reply {
            Reply::Done { done } => self.said = Some(done.join("; ")),
            Reply::Confirm { .. } => self.mode = Mode::Confirm { command, reply: Box::new(reply) },
            _ => self.mode = Mode::Answer { command, reply: Box::new(reply) },
        }
    }

    /// Why what is shown is not what is, in a sentence; `None` where it is.
    pub fn stale(&self, now_ms: i64) -> Option<String> {
        let silent_ms = now_ms - self.since_ms;
        let since = match silent_ms {
            ..60_000 => format!("{} s", silent_ms / 1_000),
            _ => duration(silent_ms),
        };
        match &self.trouble {
            Some(trouble) => Some(format!("no answer for {since}: {trouble}; trying again")),
            None if silent_ms > OVERDUE_MS => Some(format!("no answer for {since}; waiting")),
            None => None,
        }
    }

    /// How a pane is looked at.
    pub fn pane(&self, pane: Pane) -> &PaneView {
        &self.panes[pane as usize]
    }

    /// How a pane is looked at, to change it.
    pub fn pane_mut(&mut self, pane: Pane) -> &mut PaneView {
        &mut self.panes[pane as usize]
    }

    /// The rows of a pane that its filter lets through, in their order.
    pub fn rows(&self, pane: Pane) -> Vec<Row> {
        let Some(sample) = &self.sample else { return Vec::new() };
        let mine = (pane == Pane::Tables).then(|| self.mine()).flatten();
        let PaneView { sort, is_descending, filter, .. } = self.pane(pane);
        let mut rows = rows(pane, sample, &self.trends, mine.as_deref());
        let filter = filter.to_lowercase();
        rows.retain(|row| row.key.to_lowercase().contains(&filter));
        // What is equal stays in the order of names.
        rows.sort_by(|a, b| {
            let order = a.cells[*sort].order.partial_cmp(&b.cells[*sort].order);
            let order = order.unwrap_or(std::cmp::Ordering::Equal);
            if *is_descending { order.reverse() } else { order }
        });
        rows
    }

    /// The mine whose tables are shown.
    pub fn mine(&self) -> Option<String> {
        let rows = self.rows(Pane::Mines);
        rows.get(self.selected(Pane::Mines, &rows)).map(|row| row.name.clone())
    }

    /// The place of the row that is selected; 0 where there is none.
    pub fn selected(&self, pane: Pane, rows: &[Row]) -> usize {
        let selected = self.pane(pane).selected.as_deref();
        rows.iter().position(|row| Some(row.key.as_str()) == selected).unwrap_or(0)
    }

    /// Does what a key says.
    pub fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        self.said = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Wish::Leave);
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => self.browse(key.code),
            Mode::Filter => {
                self.filter(key.code);
                None
            }
            Mode::Confirm { command, .. } if matches!(key.code, KeyCode::Char('y' | 'Y')) => {
                self.ask(command, true)
            }
            Mode::Confirm { .. } => {
                self.said = Some("nothing was done".to_owned());
                None
            }
            Mode::Help | Mode::Answer { .. } => None,
        }
    }

    fn browse(&mut self, key: KeyCode) -> Option<Wish> {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::Leave),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(self.shown_panes().len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Char('>') => self.sort_by(1),
            KeyCode::Char('<') => self.sort_by(self.focus.columns().len() - 1),
            KeyCode::Char('s') => {
                let pane = self.pane_mut(self.focus);
                pane.is_descending = !pane.is_descending;
            }
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('p') => return self.act(false),
            KeyCode::Char('r') => return self.act(true),
            KeyCode::Char('a') if self.focus == Pane::Alerts => {
                let name = self.selected_row()?.name;
                return self.ask(format!("ack {name}"), false);
            }
            KeyCode::Enter => return self.show(),
            _ => {}
        }
        None
    }

    fn filter(&mut self, key: KeyCode) {
        let pane = self.pane_mut(self.focus);
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return pane.filter.clear(),
            KeyCode::Backspace => drop(pane.filter.pop()),
            KeyCode::Char(letter) => pane.filter.push(letter),
            KeyCode::Down => self.step(1),
            KeyCode::Up => self.step(-1),
            _ => {}
        }
        self.mode = Mode::Filter;
    }

    fn turn(&mut self, by: usize) {
        let panes = self.shown_panes();
        self.focus = panes[(self.focus as usize + by) % panes.len()];
    }

    fn step(&mut self, by: isize) {
        let rows = self.rows(self.focus);
        let Some(last) = rows.len().checked_sub(1) else { return };
        let at = self.selected(self.focus, &rows).saturating_add_signed(by).min(last);
        self.pane_mut(self.focus).selected = Some(rows[at].key.clone());
    }

    fn sort_by(&mut self, by: usize) {
        let columns = self.focus.columns().len();
        let pane = self.pane_mut(self.focus);
        pane.sort = (pane.sort + by) % columns;
    }

    /// Stops or pauses what is selected, or lets it go on.
    fn act(&mut self, goes_on: bool) -> Option<Wish> {
        let row = self.selected_row()?;
        let is_paused = || {
            let mut pipelines = self.sample.iter().flat_map(|sample| &sample.status.pipelines);
            pipelines.any(|one| one.name == row.name && one.halt == Some(Halt::Paused))
        };
        let verb = match (self.focus, goes_on) {
            (Pane::Mines, true) => "start",
            (Pane::Mines, false) => "stop",
            (Pane::Pipelines, true) if !is_paused() => "start",
            (Pane::Alerts, true) => "unmute",
            (Pane::Alerts, false) => return self.ask(format!("mute {} for 1h", row.name), false),
            (Pane::Pipelines | Pane::Tables, true) => "resume",
            (Pane::Pipelines | Pane::Tables, false) => "pause",
        };
        self.ask(format!("{verb} {}", row.name), false)
    }

    fn show(&mut self) -> Option<Wish> {
        let row = self.selected_row()?;
        let command = match self.focus {
            Pane::Mines => format!("show mine {}", row.name),
            Pane::Pipelines => format!("show pipeline {}", row.name),
            Pane::Tables => format!("peek {} limit {CHANGES}", row.name),
            Pane::Alerts => "alerts".to_owned(),
        };
        self.ask(command, false)
    }

    fn selected_row(&self) -> Option<Row> {
        let mut rows = self.rows(self.focus);
        let at = self.selected(self.focus, &rows);
        (at < rows.len()).then(|| rows.swap_remove(at))
    }

    /// One command after the other: an answer says what it answers.
    fn ask(&mut self, command: String, confirmed: bool) -> Option<Wish> {
        if let Some(asked) = &self.asked {
            self.said = Some(format!("`{asked}` was not answered yet"));
            return None;
        }
        self.asked = Some(command.clone());
        Some(Wish::Ask { command, confirmed })
    }
}

fn lags(status: &Status) -> impl Iterator<Item = (&str, Option<i64>)> {
    status
        .pipelines
        .iter()
        .flat_map(|pipeline| &pipeline.routes)
        .map(|route| (route.key.as_str(), route.lag_ms))
}
