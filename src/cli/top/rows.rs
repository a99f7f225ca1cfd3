//! What the panes show: a table each, made from what `status` has answered.

use indicatif::{HumanBytes, HumanCount};
use lode::engine::alerts::AlertsShown;
use lode::engine::decisions::Decisions;
use lode::engine::status::{MineStatus, PipelineStatus, RouteStatus, Status};
use lode::run::alert::Firing;
use lode::run::counts::TableFigures;
use lode::run::mine::MineState;
use lode::run::route::RouteState;

use super::trend::Trends;
use crate::cli::answer;
use crate::cli::units::{duration, rate};

/// A sink that lags more than this is worth a look.
const LAG_WORTH_A_LOOK_MS: i64 = 60_000;
/// So is a consumer that would lose history within this time.
const HISTORY_WORTH_A_LOOK_HOURS: f64 = 24.0;

/// A table on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    /// The mines.
    Mines,
    /// The routes of all pipelines.
    Pipelines,
    /// The tables of the mine that is selected.
    Tables,
    /// The alerts that fire.
    Alerts,
}

/// Everything at one moment.
pub struct Sample {
    /// What runs.
    pub status: Status,
    /// What was stopped or changed by commands.
    pub decisions: Decisions,
    /// What fires; `None` where that is not known.
    pub alerts: Option<AlertsShown>,
    /// When that was, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

impl Sample {
    /// The alerts that fire.
    pub fn firing(&self) -> &[Firing] {
        self.alerts.as_ref().map_or(&[], |alerts| &alerts.firing)
    }
}

/// A column of a pane.
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// What stands in it.
    pub content: Content,
    /// How much it matters: where there is no room for all columns, those with the lowest numbers are left out.
    pub weight: u8,
}

/// What stands in a column, and so how it gets narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Names and words, which may be cut.
    Words,
    /// Numbers, which stand on the right and are never cut.
    Numbers,
    /// Bars, of which the newest stand on the right.
    Bars,
}

/// A row of a pane.
pub struct Row {
    /// What tells it from the others.
    pub key: String,
    /// What commands call it.
    pub name: String,
    /// A cell for each column.
    pub cells: Vec<Cell>,
    /// How it does.
    pub tone: Tone,
    /// What is to be said of it besides.
    pub note: Option<String>,
}

/// One cell.
pub struct Cell {
    /// As it is shown.
    pub text: String,
    /// What it is sorted by.
    pub order: Order,
    /// How that is.
    pub tone: Tone,
}

/// What cells are sorted by.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Order {
    /// A number; what is not known is less than any.
    Number(Option<f64>),
    /// A text.
    Text(String),
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Neither good nor bad.
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Odd,
    /// Broken.
    Bad,
    /// At rest.
    Quiet,
}

impl Pane {
    /// Every pane, from top to bottom.
    pub const ALL: [Pane; 4] = [Pane::Mines, Pane::Pipelines, Pane::Tables, Pane::Alerts];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Pane::Mines => "Mines",
            Pane::Pipelines => "Pipelines",
            Pane::Tables => "Tables",
            Pane::Alerts => "Alerts",
        }
    }

    /// Its columns, from left to right.
    pub fn columns(self) -> &'static [Column] {
        const fn words(title: &'static str, weight: u8) -> Column {
            Column { title, content: Content::Words, weight }
        }
        const fn numbers(title: &'static str, weight: u8) -> Column {
            Column { title, content: Content::Numbers, weight }
        }
        const MINES: &[Column] = &[
            words("mine", 9),
            words("state", 8),
            numbers("in", 7),
            numbers("out", 6),
            numbers("delay", 5),
            numbers("log", 4),
            numbers("oldest", 3),
            numbers("lost in", 2),
            numbers("changes", 1),
            words("position", 0),
        ];
        const PIPELINES: &[Column] = &[
            words("pipeline", 9),
            words("source", 3),
            words("sink", 5),
            words("state", 8),
            numbers("rate", 6),
            numbers("lag", 7),
            Column { title: "last 2 min", content: Content::Bars, weight: 4 },
            numbers("behind", 2),
            numbers("retries", 1),
            numbers("aside", 0),
        ];
        const TABLES: &[Column] = &[
            words("table", 9),
            words("state", 6),
            numbers("rate", 8),
            numbers("changes", 7),
            numbers("today", 4),
            numbers("last change", 5),
        ];
        const ALERTS: &[Column] =
            &[words("alert", 9), words("state", 8), numbers("since", 7), words("message", 6)];
        match self {
            Pane::Mines => MINES,
            Pane::Pipelines => PIPELINES,
            Pane::Tables => TABLES,
            Pane::Alerts => ALERTS,
        }
    }
}

/// The rows of a pane. Those of tables are the tables of `mine`.
pub fn rows(pane: Pane, sample: &Sample, trends: &Trends, mine: Option<&str>) -> Vec<Row> {
    let status = &sample.status;
    match pane {
        Pane::Mines => status.mines.iter().map(|mine| mine_row(mine, sample)).collect(),
        Pane::Pipelines => {
            let pipelines = status.pipelines.iter();
            let routes =
                pipelines.flat_map(|pipeline| pipeline.routes.iter().map(move |one| (pipeline, one)));
            routes.map(|(pipeline, route)| route_row(pipeline, route, sample, trends)).collect()
        }
        Pane::Tables => {
            let mine = status.mines.iter().find(|one| Some(one.name.as_str()) == mine);
            let tables =
                mine.iter().flat_map(|mine| mine.counts.tables.iter().map(move |table| (mine, table)));
            tables.map(|(mine, table)| table_row(mine, table, sample.at_ms)).collect()
        }
        Pane::Alerts => sample.firing().iter().map(|firing| alert_row(firing, sample)).collect(),
    }
}

fn mine_row(mine: &MineStatus, sample: &Sample) -> Row {
    let tone = match mine.state {
        MineState::Running => Tone::Good,
        MineState::Retrying { .. } | MineState::StoreFull { .. } => Tone::Odd,
        MineState::Failed { .. } => Tone::Bad,
        MineState::Idle | MineState::Starting => Tone::Plain,
        MineState::Stopped | MineState::Ended => Tone::Quiet,
    };
    let oldest_ms = mine.horizon_ms.map(|oldest_ms| (sample.at_ms - oldest_ms).max(0));
    let lost = mine.consumers.iter().filter_map(|consumer| consumer.history_lost_in_hours);
    let lost = lost.min_by(f64::total_cmp);
    let lost_tone =
        if lost.is_some_and(|hours| hours < HISTORY_WORTH_A_LOOK_HOURS) { Tone::Odd } else { Tone::Plain };
    let cells = vec![
        Cell::text(&mine.name),
        Cell::text(answer::mine_word(&mine.state)).with(tone),
        Cell::rate(mine.rows_in_per_s),
        Cell::rate(mine.rows_out_per_s),
        Cell::number(duration(mine.delay_ms), Some(mine.delay_ms as f64)),
        Cell::number(HumanBytes(mine.stored_bytes).to_string(), Some(mine.stored_bytes as f64)),
        Cell::number(oldest_ms.map(duration).unwrap_or_default(), oldest_ms.map(|ms| ms as f64)),
        Cell::number(lost.map(|hours| format!("{hours:.1} h")).unwrap_or_default(), lost).with(lost_tone),
        Cell::count(mine.changes),
        Cell::text(mine.position.as_deref().unwrap_or_default()),
    ];
    let stopped = sample.decisions.mines.get(&mine.name);
    let note = match &mine.state {
        MineState::Retrying { error, advice } => Some(trouble("tries again", error, advice.as_deref())),
        MineState::StoreFull { error, advice } => Some(trouble("waits for room", error, advice.as_deref())),
        MineState::Failed { error, advice, .. } => Some(trouble("has failed", error, advice.as_deref())),
        _ => stopped.map(|stopped| format!("was stopped {}", answer::by(stopped))),
    };
    let note = note.map(|note| format!("mine {} {note}", mine.name));
    Row { key: mine.name.clone(), name: mine.name.clone(), cells, tone, note }
}

fn route_row(pipeline: &PipelineStatus, route: &RouteStatus, sample: &Sample, trends: &Trends) -> Row {
    let word = match &route.state {
        RouteState::Waiting { .. } => "waiting".to_owned(),
        _ => answer::route_word(pipeline, route),
    };
    let tone = match route.state {
        RouteState::Running => Tone::Good,
        RouteState::Waiting { .. } | RouteState::Retrying { .. } => Tone::Odd,
        RouteState::Failed { .. } => Tone::Bad,
        RouteState::Idle | RouteState::Starting => Tone::Plain,
        RouteState::Stopped | RouteState::Finished => Tone::Quiet,
    };
    let consumers = sample.status.mines.iter().flat_map(|mine| &mine.consumers);
    let behind = consumers.filter(|one| one.key == route.key).find_map(|one| one.entries_behind);
    let lag_tone = match route.lag_ms {
        Some(LAG_WORTH_A_LOOK_MS..) => Tone::Odd,
        _ => Tone::Plain,
    };
    let few = |count: u64| match count {
        0 => Cell::count(0),
        _ => Cell::count(count).with(Tone::Odd),
    };
    let lag = route.lag_ms.map(|lag_ms| lag_ms as f64);
    let cells = vec![
        Cell::text(&pipeline.name),
        Cell::text(&route.source),
        Cell::text(&route.sink),
        Cell::text(&word).with(tone),
        Cell::rate(route.figures.rows_per_s),
        Cell::number(route.lag_ms.map(duration).unwrap_or_default(), lag).with(lag_tone),
        Cell::number(trends.bars(&route.key), lag).with(lag_tone),
        behind.map_or(Cell::number(String::new(), None), Cell::count),
        few(route.figures.retries),
        few(route.figures.rows_aside),
    ];
    let halted = sample.decisions.pipelines.get(&pipeline.name);
    let context = format!("in pipeline {}: ", pipeline.name);
    let note = match &route.state {
        RouteState::Waiting { reason } => Some(format!("waits: {reason}")),
        RouteState::Retrying { error, advice } => {
            Some(trouble("tries again", error.strip_prefix(&context).unwrap_or(error), advice.as_deref()))
        }
        RouteState::Failed { error, advice, .. } => {
            Some(trouble("has failed", error.strip_prefix(&context).unwrap_or(error), advice.as_deref()))
        }
        _ => None,
    };
    let note = note
        .map(|note| format!("pipeline {} {note}", pipeline.name))
        .or_else(|| halted.map(|halted| answer::halted_text(&pipeline.name, halted).trim_end().to_owned()));
    Row { key: route.key.clone(), name: pipeline.name.clone(), cells, tone, note }
}

fn table_row(mine: &MineStatus, table: &TableFigures, now_ms: i64) -> Row {
    let (database, name) = table.table.split_once('.').unwrap_or(("", &table.table));
    let paused = mine.paused.iter().find(|paused| paused.contains(database, name));
    let (word, tone) = match paused {
        Some(paused) if paused.failed.is_some() => ("not resumed", Tone::Bad),
        Some(paused) if paused.resuming => ("resuming", Tone::Odd),
        Some(_) => ("paused", Tone::Odd),
        None => ("", Tone::Plain),
    };
    let quiet_ms = (now_ms - table.last_change_ms).max(0);
    let cells = vec![
        Cell::text(&table.table),
        Cell::text(word).with(tone),
        Cell::rate(table.rows_per_s),
        Cell::count(table.changes),
        Cell::count(table.changes_today),
        Cell::number(format!("{} ago", duration(quiet_ms)), Some(-(quiet_ms as f64))),
    ];
    let note = paused.map(|paused| match &paused.failed {
        Some(failure) => trouble(
            &format!("{} could not be resumed", paused.tables),
            &failure.error,
            failure.advice.as_deref(),
        ),
        None if paused.resuming => format!("{} is being resumed", paused.tables),
        None => format!("{} is paused: its changes are read up to {}", paused.tables, paused.since),
    });
    let name = format!("{}.{}", mine.name, lode::lang::print::quotable(name));
    Row { key: table.table.clone(), name, cells, tone, note }
}

fn alert_row(firing: &Firing, sample: &Sample) -> Row {
    let told = &firing.last;
    let mut mutes = sample.alerts.iter().flat_map(|alerts| &alerts.mutes);
    let (word, tone) = if firing.acked {
        ("acknowledged", Tone::Quiet)
    } else if mutes.any(|mute| mute.name == told.name || mute.name == "all") {
        ("muted", Tone::Quiet)
    } else {
        ("fires", Tone::Bad)
    };
    let since_ms = (sample.at_ms - told.since_ms).max(0);
    let cells = vec![
        Cell::text(&told.name),
        Cell::text(word).with(tone),
        Cell::number(duration(since_ms), Some(since_ms as f64)),
        Cell::text(&told.message),
    ];
    let note = Some(format!("{}: {}", told.name, told.message));
    Row { key: told.name.clone(), name: told.name.clone(), cells, tone, note }
}

fn trouble(what: &str, error: &str, advice: Option<&str>) -> String {
    match advice {
        Some(advice) => format!("{what}: {error}; {advice}"),
        None => format!("{what}: {error}"),
    }
}

impl Cell {
    fn text(text: &str) -> Cell {
        // A name must not steer the terminal.
        let text = text.replace(char::is_control, "·");
        Cell { order: Order::Text(text.to_lowercase()), text, tone: Tone::Plain }
    }

    fn number(text: String, number: Option<f64>) -> Cell {
        Cell { text, order: Order::Number(number), tone: Tone::Plain }
    }

    fn count(count: u64) -> Cell {
        Cell::number(HumanCount(count).to_string(), Some(count as f64))
    }

    fn rate(per_s: f64) -> Cell {
        Cell::number(rate(per_s), Some(per_s))
    }

    fn with(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }
}
