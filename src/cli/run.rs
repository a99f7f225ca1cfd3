//! `lode run`: carries a plan out, and tells how it goes.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use lode::engine::Engine;
use lode::engine::status::Status;
use lode::error::{Kind, Result};
use lode::plan::Plan;
use lode::run::mine::MineState;
use lode::run::route::RouteState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit;

/// What was mined may still be delivered for so long after the first Ctrl-C.
const DRAIN: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_millis(200);
/// Where no terminal shows a progress line, a log line tells the same so often.
const REPORT: Duration = Duration::from_secs(10);

/// Runs until the sources end, everything has failed, or somebody stops it.
pub async fn run(engine: &Engine, plan: Plan) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let started = Instant::now();
    engine.apply(plan).await?;
    let mut progress = Progress::new();
    let mut refresh = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            _ = refresh.tick() => {
                let status = engine.status().await;
                progress.show(&status);
                if status.is_settled() {
                    break;
                }
            }
            () = stop.asked() => {
                progress.note("stopping: delivering what was mined; press Ctrl-C again to stop at once");
                tokio::select! {
                    () = engine.shutdown(DRAIN) => {}
                    () = stop.asked() => {
                        progress.finish();
                        return Ok(ExitCode::from(exit::INTERRUPTED));
                    }
                }
                break;
            }
        }
    }
    engine.shutdown(DRAIN).await;
    progress.finish();
    let status = engine.status().await;
    print_summary(&status, started.elapsed());
    Ok(ExitCode::from(exit_code(&status)))
}

/// Ctrl-C, and the polite signal of service managers.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Stop> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                lode::error::Error::new(Kind::Environment, format!("cannot listen for signals: {error}"))
            })
        };
        Ok(Stop { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One line on a terminal that changes, or a log line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    last: (Instant, u64),
    reported: Instant,
    rate: f64,
}

impl Progress {
    fn new() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is constant"),
            );
            bar
        });
        Progress { bar, last: (Instant::now(), 0), reported: Instant::now(), rate: 0.0 }
    }

    fn show(&mut self, status: &Status) {
        let routes = || status.pipelines.iter().flat_map(|pipeline| &pipeline.routes);
        let delivered: u64 = routes().map(|route| route.figures.changes_delivered).sum();
        let seconds = self.last.0.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            self.rate = (delivered - self.last.1) as f64 / seconds;
            self.last = (Instant::now(), delivered);
        }
        let mined: u64 = status.mines.iter().map(|mine| mine.changes).sum();
        let lag_ms = routes().filter_map(|route| route.lag_ms).max().unwrap_or(0);
        let trouble = routes().find_map(|route| match &route.state {
            RouteState::Retrying { error } | RouteState::Failed { error, .. } => Some(error.as_str()),
            RouteState::Waiting { reason } => Some(reason.as_str()),
            _ => None,
        });
        if let Some(bar) = &self.bar {
            let mut line = format!(
                "mined {} | delivered {} | {}/s | lag {lag_ms} ms",
                HumanCount(mined),
                HumanCount(delivered),
                HumanCount(self.rate as u64),
            );
            if let Some(trouble) = trouble {
                line.push_str(" | ");
                line.push_str(trouble);
            }
            bar.set_message(line);
            bar.tick();
        } else if self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            tracing::info!(mined, delivered, rows_per_s = self.rate as u64, lag_ms, "progress");
        }
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tracing::info!("{text}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The figures at the end, on standard error: standard output belongs to `sink jsonl "-"`.
fn print_summary(status: &Status, took: Duration) {
    for mine in &status.mines {
        eprintln!(
            "mine {}: {} changes, {} in the log ({} before compression){}",
            mine.name,
            HumanCount(mine.changes),
            HumanBytes(mine.stored_bytes),
            HumanBytes(mine.payload_bytes),
            match &mine.state {
                MineState::Failed { error, .. } | MineState::Retrying { error } =>
                    format!("\n  error: {error}"),
                _ => String::new(),
            }
        );
    }
    for pipeline in &status.pipelines {
        for route in &pipeline.routes {
            let figures = &route.figures;
            eprintln!(
                "pipeline {} ({}): {} changes read, {} delivered as {} rows{}{}",
                pipeline.name,
                route.key,
                HumanCount(figures.changes_read),
                HumanCount(figures.changes_delivered),
                HumanCount(figures.rows_written),
                if figures.rows_aside > 0 {
                    format!(", {} set aside", HumanCount(figures.rows_aside))
                } else {
                    String::new()
                },
                match &route.state {
                    RouteState::Failed { error, .. } | RouteState::Retrying { error } =>
                        format!("\n  error: {error}"),
                    RouteState::Waiting { reason } => format!("\n  waiting: {reason}"),
                    _ => String::new(),
                }
            );
        }
    }
    eprintln!("in {:.1} s", took.as_secs_f64());
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
