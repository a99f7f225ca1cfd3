//! How a run ended, for people: what failed, each failure once and with its advice, and the figures.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use lode::engine::status::{MineStatus, RouteStatus, Status};
use lode::run::mine::MineState;
use lode::run::route::RouteState;

use super::screen::{error_text, has_colors};
use super::table::Table;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sources have an end, and everything is delivered.
    Done,
    /// Somebody stopped it.
    Stopped,
    /// Something failed.
    Failed,
}

/// The failures that were shown already.
#[derive(Default)]
pub struct Failures {
    shown: BTreeSet<String>,
}

impl Failures {
    /// The failures that were not shown yet, each once, however many routes have it.
    pub fn news(&mut self, status: &Status) -> String {
        let mut found: Vec<Failure<'_>> = Vec::new();
        for mine in &status.mines {
            if let MineState::Failed { error, advice, .. } = &mine.state {
                found.push(Failure { who: vec![format!("mine {}", mine.name)], error, advice });
            }
        }
        for pipeline in &status.pipelines {
            for route in &pipeline.routes {
                let RouteState::Failed { error, advice, .. } = &route.state else { continue };
                let who = format!("pipeline {}, sink {}", pipeline.name, route.sink);
                let error = error.strip_prefix(&format!("in pipeline {}: ", pipeline.name)).unwrap_or(error);
                match found.iter_mut().find(|known| known.error == error && known.advice == advice) {
                    Some(known) => known.who.push(who),
                    None => found.push(Failure { who: vec![who], error, advice }),
                }
            }
        }
        found.retain(|failure| !self.shown.contains(failure.error));
        self.shown.extend(found.iter().map(|failure| failure.error.to_owned()));
        found.iter().map(Failure::text).collect()
    }
}

struct Failure<'a> {
    who: Vec<String>,
    error: &'a str,
    advice: &'a Option<String>,
}

impl Failure<'_> {
    fn text(&self) -> String {
        let message = format!("{} failed: {}", self.who.join(" and "), self.error);
        error_text(&message, self.advice.as_deref(), has_colors())
    }
}

/// The figures of a run: a line for each mine, a table of the pipelines, and how it ended.
pub fn text(status: &Status, outcome: Outcome, took: Duration) -> String {
    let mut text = String::from("\n");
    for mine in &status.mines {
        text.push_str(&mine_line(mine));
    }
    text.push_str(&routes(status));
    let all_routes = || status.pipelines.iter().flat_map(|pipeline| &pipeline.routes);
    let aside: u64 = all_routes().map(|route| route.figures.rows_aside).sum();
    if aside > 0 {
        let rows = if aside == 1 { "row was" } else { "rows were" };
        text.push_str(&format!(
            "{} {rows} set aside; the files are in the folder `aside` of the data folder\n",
            HumanCount(aside)
        ));
    }
    if outcome == Outcome::Stopped && all_routes().any(|route| is_behind(route, status)) {
        text.push_str("Not everything that was mined is delivered; the next run delivers the rest.\n");
    }
    let seconds = took.as_secs_f64();
    text.push_str(&match outcome {
        Outcome::Done => format!("Done in {seconds:.1} s.\n"),
        Outcome::Stopped => format!("Stopped after {seconds:.1} s.\n"),
        Outcome::Failed => format!("Failed after {seconds:.1} s.\n"),
    });
    text
}

fn mine_line(mine: &MineStatus) -> String {
    let changes = if mine.changes == 1 { "change" } else { "changes" };
    format!(
        "mine {}: {} new {changes}; its log takes {} on disk ({} uncompressed)\n",
        mine.name,
        HumanCount(mine.changes),
        HumanBytes(mine.stored_bytes),
        HumanBytes(mine.payload_bytes),
    )
}

/// Whether changes that are in the log are not delivered.
fn is_behind(route: &RouteStatus, status: &Status) -> bool {
    let mut mines = status.mines.iter();
    mines.any(|mine| route.mine.as_ref() == Some(&mine.name) && route.figures.next.0 < mine.head)
}

/// A table with one row for each route.
fn routes(status: &Status) -> String {
    let head = ["pipeline", "source", "sink", ">read", ">delivered", ">rows written", ""];
    let mut table = Table::new(&head);
    for pipeline in &status.pipelines {
        for route in &pipeline.routes {
            let figures = &route.figures;
            table.row(vec![
                pipeline.name.clone(),
                route.source.clone(),
                route.sink.clone(),
                HumanCount(figures.changes_read).to_string(),
                HumanCount(figures.changes_delivered).to_string(),
                HumanCount(figures.rows_written).to_string(),
                state_text(&route.state),
            ]);
        }
    }
    table.text(None)
}

/// What is to be said of a route that did not end as it should.
fn state_text(state: &RouteState) -> String {
    match state {
        RouteState::Failed { .. } => "failed".to_owned(),
        RouteState::Retrying { .. } => "retrying".to_owned(),
        RouteState::Waiting { reason } => reason.clone(),
        RouteState::Stopped
        | RouteState::Finished
        | RouteState::Idle
        | RouteState::Starting
        | RouteState::Running => String::new(),
    }
}
