//! `lode run`: carries a plan out, and tells how it goes.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use lode::engine::Engine;
use lode::engine::status::Status;
use lode::error::{Error, Kind, Result};
use lode::plan::Plan;
use lode::run::backoff::Backoff;
use lode::run::mine::MineState;
use lode::run::route::RouteState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use super::exit;
use super::screen::Screen;
use super::summary::{self, Failures, Outcome};

/// What was mined may still be delivered for so long after the first Ctrl-C.
const DRAIN: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_millis(200);
/// The rate is counted over so long.
const RATE_SPAN: Duration = Duration::from_secs(1);
/// Where no progress line is shown, a log line tells the same so often.
const REPORT: Duration = Duration::from_secs(10);

/// Runs until the sources end, everything has failed, or somebody stops it.
pub async fn run(engine: &Engine, plan: Plan, screen: &Screen) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let started = Instant::now();
    tokio::select! {
        applied = apply(engine, plan, screen) => applied?,
        // Nothing was delivered yet that could be left half done.
        () = stop.asked() => return Ok(ExitCode::from(exit::INTERRUPTED)),
    }
    let mut progress = Progress::new(screen);
    let mut failures = Failures::default();
    let mut refresh = tokio::time::interval(REFRESH);
    let mut outcome = Outcome::Done;
    loop {
        tokio::select! {
            _ = refresh.tick() => {
                let status = engine.status().await;
                progress.show(&status);
                if screen.is_terminal() {
                    screen.print(&failures.news(&status));
                }
                if status.is_settled() {
                    break;
                }
            }
            () = stop.asked() => {
                progress.note("stopping: delivering what was mined; Ctrl-C again ends at once");
                outcome = Outcome::Stopped;
                break;
            }
        }
    }
    tokio::select! {
        () = engine.shutdown(DRAIN) => {}
        () = stop.asked() => {
            screen.finish();
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
    }
    screen.finish();
    let status = engine.status().await;
    screen.print(&failures.news(&status));
    let code = exit_code(&status);
    if code != exit::OK {
        outcome = Outcome::Failed;
    }
    screen.print(&summary::text(&status, outcome, started.elapsed()));
    Ok(ExitCode::from(code))
}

/// Starts what the plan says, as soon as the stores of its logs can be reached.
async fn apply(engine: &Engine, plan: Plan, screen: &Screen) -> Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let error = match engine.apply(plan.clone()).await {
            Err(error) if error.kind().is_retryable() => error,
            applied => return applied,
        };
        let wait = backoff.failed();
        warn!(wait_ms = wait.as_millis() as u64, advice = error.next_step(), "cannot start yet: {error}");
        screen.progress(format!("waiting: {error}"));
        tokio::time::sleep(wait).await;
    }
}

/// Ctrl-C, and the polite signal of service managers.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Listens from now on.
    pub fn listen() -> Result<Stop> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::new(Kind::Environment, format!("cannot listen for signals: {error}")))
        };
        Ok(Stop { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one of them. Cancel-safe.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One line on a terminal that changes, or a log line now and then elsewhere.
struct Progress<'a> {
    screen: &'a Screen,
    /// When the rate was last counted, and what was delivered then.
    counted: (Instant, u64),
    rows_per_s: u64,
    reported: Instant,
}

impl Progress<'_> {
    fn new(screen: &Screen) -> Progress<'_> {
        let now = Instant::now();
        Progress { screen, counted: (now, 0), rows_per_s: 0, reported: now }
    }

    fn show(&mut self, status: &Status) {
        let routes = || status.pipelines.iter().flat_map(|pipeline| &pipeline.routes);
        let delivered: u64 = routes().map(|route| route.figures.changes_delivered).sum();
        let (at, before) = self.counted;
        if at.elapsed() >= RATE_SPAN {
            self.rows_per_s = (delivered.saturating_sub(before) as f64 / at.elapsed().as_secs_f64()) as u64;
            self.counted = (Instant::now(), delivered);
        }
        let mined: u64 = status.mines.iter().map(|mine| mine.changes).sum();
        // While its mine is away, nobody knows how far a sink is behind.
        let running = routes().filter(|route| route.state == RouteState::Running);
        let lag_ms = running.filter_map(|route| route.lag_ms).max();
        let mut line = format!(
            "{} mined, {} delivered, {} rows/s",
            HumanCount(mined),
            HumanCount(delivered),
            HumanCount(self.rows_per_s),
        );
        if let Some(lag_ms) = lag_ms {
            line.push_str(&format!(", lag {}", lag(lag_ms)));
        }
        if let Some(trouble) = trouble(status) {
            line.push_str(&format!(" | {trouble}"));
        }
        if !self.screen.progress(line) && self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            tracing::info!(mined, delivered, rows_per_s = self.rows_per_s, lag_ms, "progress");
        }
    }

    fn note(&self, text: &str) {
        if self.screen.is_terminal() {
            self.screen.print(&format!("{text}\n"));
        } else {
            tracing::info!("{text}");
        }
    }
}

/// `17 ms`, `4.2 s`, `3 min`.
fn lag(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// What does not go well at the moment.
fn trouble(status: &Status) -> Option<String> {
    let mines = status.mines.iter().find_map(|mine| match &mine.state {
        MineState::Retrying { error, .. } | MineState::StoreFull { error, .. } => {
            Some(format!("mine {}: {error}", mine.name))
        }
        _ => None,
    });
    mines.or_else(|| {
        let mut routes =
            status.pipelines.iter().flat_map(|pipeline| pipeline.routes.iter().map(move |r| (pipeline, r)));
        routes.find_map(|(pipeline, route)| match &route.state {
            RouteState::Retrying { error, .. } => Some(format!("pipeline {}: {error}", pipeline.name)),
            RouteState::Failed { .. } => Some(format!("pipeline {} has failed", pipeline.name)),
            RouteState::Waiting { reason } => Some(reason.clone()),
            _ => None,
        })
    })
}

fn exit_code(status: &Status) -> u8 {
    let mines = status.mines.iter().filter_map(|mine| match mine.state {
        MineState::Failed { kind, .. } => Some(kind),
        _ => None,
    });
    let routes =
        status.pipelines.iter().flat_map(|pipeline| &pipeline.routes).filter_map(|route| match route.state {
            RouteState::Failed { kind, .. } => Some(kind),
            _ => None,
        });
    mines.chain(routes).map(exit::of).max_by_key(|code| *code == exit::RUNTIME).unwrap_or(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_shown_in_the_unit_that_people_would_use() {
        assert_eq!(lag(17), "17 ms");
        assert_eq!(lag(4_210), "4.2 s");
        assert_eq!(lag(61_000), "1 min");
        assert_eq!(lag(7_200_000), "2 h");
    }
}
