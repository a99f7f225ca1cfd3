//! `lode run`: carries a plan out, and tells how it goes.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use lode::engine::Engine;
use lode::engine::command::Command;
use lode::engine::decisions::Decisions;
use lode::engine::door::Door;
use lode::engine::socket::Socket;
use lode::engine::status::Status;
use lode::error::Result;
use lode::plan::Plan;
use lode::run::backoff::Backoff;
use lode::run::mine::MineState;
use lode::run::route::RouteState;
use tokio::signal::unix::{Signal, SignalKind};
use tracing::warn;

use super::answer;
use super::exit;
use super::observe::Metrics;
use super::process::listen;
use super::screen::Screen;
use super::summary::{self, Failures, Outcome};
use super::units::duration;

/// What was mined may still be delivered for so long after the first Ctrl-C.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Hooks that tell of the end of a run may take so long.
const HOOKS: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_millis(200);
/// The rate is counted over so long.
const RATE_SPAN: Duration = Duration::from_secs(1);
/// Where no progress line is shown, a log line tells the same so often.
const REPORT: Duration = Duration::from_secs(10);

/// Runs until the sources end, everything has failed, or somebody stops it.
pub async fn run(
    engine: &Arc<Engine>,
    plan: Plan,
    screen: &Screen,
    data_dir: &Path,
    stay: bool,
    metrics: &Metrics,
) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let mut reload = Reload::listen(screen)?;
    let started = Instant::now();
    // Commands are answered from now on; they can do little until the plan runs.
    let socket = Socket::open(engine, data_dir)?;
    engine.watch();
    let mut progress = Progress::new(screen);
    let _metrics = metrics.open(engine, |at| progress.note(at)).await?;
    tokio::select! {
        applied = apply(engine, plan, screen) => applied?,
        // Nothing was delivered yet that could be left half done.
        () = stop.asked() => return Ok(ExitCode::from(exit::INTERRUPTED)),
    }
    told_before(&engine.decisions().await?).iter().for_each(|note| progress.note(note));
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
                // Who was told to wait can be told to go on.
                if status.is_settled() && !stay && !engine.decisions().await?.holds_something() {
                    break;
                }
            }
            () = reload.asked() => {
                let reply = engine.command(&Command::Apply { file: None }, &Door::Signal, true).await;
                progress.note(answer::text(&reply, None, false).trim_end());
            }
            () = stop.asked() => {
                progress.note("stopping: delivering what was mined; Ctrl-C again ends at once");
                outcome = Outcome::Stopped;
                break;
            }
        }
    }
    engine.finish_hooks(HOOKS).await;
    socket.close();
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
pub async fn apply(engine: &Engine, plan: Plan, screen: &Screen) -> Result<()> {
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

/// What earlier commands still mean for this run.
pub fn told_before(decisions: &Decisions) -> Vec<String> {
    let mut notes = Vec::new();
    for (mine, stopped) in &decisions.mines {
        notes.push(format!(
            "mine {mine} stays stopped, as it was told {}; `lode ctl start {mine}` starts it",
            answer::by(stopped)
        ));
    }
    for (pipeline, halted) in &decisions.pipelines {
        notes.push(format!("it was told before: {}", answer::halted_text(pipeline, halted).trim_end()));
    }
    for (mine, edits) in &decisions.settings {
        for (key, edit) in edits {
            notes.push(format!(
                "{mine}.{key} is {}, as it was set {}",
                edit.value,
                answer::by(&edit.decided)
            ));
        }
    }
    notes
}

/// The signal that has a service read its files again. A terminal that is closed sends it, too: there it ends lode, as
/// ever.
struct Reload(Option<Signal>);

impl Reload {
    fn listen(screen: &Screen) -> Result<Reload> {
        if screen.is_terminal() {
            return Ok(Reload(None));
        }
        Ok(Reload(Some(listen(SignalKind::hangup())?)))
    }

    async fn asked(&mut self) {
        match &mut self.0 {
            Some(hangup) => drop(hangup.recv().await),
            None => std::future::pending().await,
        }
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
            line.push_str(&format!(", lag {}", duration(lag_ms)));
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

/// The exit code for what has failed.
pub fn exit_code(status: &Status) -> u8 {
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
