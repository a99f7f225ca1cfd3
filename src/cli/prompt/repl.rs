//! `lode repl`: an engine of its own, and the prompt on it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use lode::check::{Input, SecretsPolicy};
use lode::engine::Engine;
use lode::engine::registry::Registry;
use lode::engine::socket::Socket;
use lode::error::{Error, Kind, Result};
use lode::plan::Plan;
use rustyline::ExternalPrinter;
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;

use super::side::Side;
use super::{Session, is_interactive};
use crate::cli::observe::{self, Metrics};
use crate::cli::process::{self, listen};
use crate::cli::run::{self, DRAIN, Stop};
use crate::cli::screen::Screen;
use crate::cli::summary::{self, Failures, Outcome};
use crate::cli::top::terminal::{self, Before};
use crate::cli::{Script, exit, input, make_data_dir, show};

/// How often it is looked whether something has failed.
const LOOK: Duration = Duration::from_millis(500);
/// So many lines may wait to be printed above the prompt; what is beyond that is left out.
const LINES_MAX: usize = 1000;

#[derive(clap::Args)]
pub struct Repl {
    #[command(flatten)]
    script: Script,
    /// Do what has to be confirmed, where nobody can be asked
    #[arg(long, short = 'y')]
    yes: bool,
    /// Folder for logs, cursors and rows set aside
    #[arg(long, value_name = "DIR", default_value = "lode-data", env = "LODE_DATA", hide_env_values = true)]
    data: PathBuf,
    #[command(flatten)]
    metrics: Metrics,
}

/// Runs scripts, or nothing at first, until the prompt is left.
pub fn repl(repl: Repl) -> Result<ExitCode> {
    let engine = Arc::new(Engine::new(&repl.data, Registry::built_in()));
    let input: Input = input(&repl.script, SecretsPolicy::Required)?;
    let checked = engine.load(&input);
    if !input.scripts.is_empty() {
        engine.remember(input.as_read(&checked));
    }
    let Some(model) = show(&checked) else { return Ok(ExitCode::from(exit::SCRIPT)) };
    let plan = engine.plan(model);
    make_data_dir(&repl.data)?;
    let runtime = process::threads(None)?;
    let outcome = runtime.block_on(run(&engine, plan, &repl, runtime.handle().clone()));
    // A thread that is blocked in a system call, or in a line that is typed, does not hold up the exit.
    runtime.shutdown_background();
    outcome
}

async fn run(engine: &Arc<Engine>, plan: Plan, repl: &Repl, runtime: Handle) -> Result<ExitCode> {
    let started = Instant::now();
    let (sender, lines) = sync_channel(LINES_MAX);
    let screen = Screen::above_prompt(sender);
    let _listening = observe::listen(&screen)?;
    // Commands of others are answered from now on, too.
    let _socket = Socket::open(engine, &repl.data)?;
    let note = |at: &str| screen.print(&format!("{at}\n"));
    let _metrics = repl.metrics.open(engine, note).await?;
    let before = Before::of_terminal();
    {
        let mut stop = Stop::listen()?;
        tokio::select! {
            applied = run::apply(engine, plan, &screen) => applied?,
            () = stop.asked() => return Ok(ExitCode::from(exit::INTERRUPTED)),
        }
    }
    engine.watch();
    run::told_before(&engine.decisions().await?).iter().for_each(|note| screen.print(&format!("{note}\n")));
    let mut failures = Failures::default();
    let prompt = prompt(Session::new(Side::Here(Arc::clone(engine)), runtime)?, lines, repl.yes);
    let left = leave(engine, &screen, &mut failures, prompt).await;
    before.restore();
    let typed_code = left?;
    let mut stop = Stop::listen()?;
    if !engine.status().await.pipelines.is_empty() {
        tell("stopping: delivering what was mined; Ctrl-C ends at once\n");
    }
    tokio::select! {
        () = engine.shutdown(DRAIN) => {}
        () = stop.asked() => return Ok(ExitCode::from(exit::INTERRUPTED)),
    }
    let status = engine.status().await;
    let mut told = failures.news(&status);
    let code = run::exit_code(&status);
    let outcome = if code == exit::OK { Outcome::Stopped } else { Outcome::Failed };
    if !status.pipelines.is_empty() {
        told.push_str(&summary::text(&status, outcome, started.elapsed()));
    }
    tell(&told);
    Ok(ExitCode::from(if code == exit::OK { typed_code } else { code }))
}

/// Waits until the prompt is left, or somebody ends this process politely, and tells what fails meanwhile.
async fn leave(
    engine: &Engine,
    screen: &Screen,
    failures: &mut Failures,
    mut prompt: oneshot::Receiver<Result<u8>>,
) -> Result<u8> {
    let (mut terminate, mut hangup) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let is_interactive = is_interactive();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => screen.print(&failures.news(&engine.status().await)),
            left = &mut prompt => {
                return left.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the prompt has ended by itself")));
            }
            _ = terminate.recv() => return Ok(exit::OK),
            _ = hangup.recv() => return Ok(exit::OK),
            // At a prompt it is a key, or leaves a view.
            _ = interrupt.recv(), if !is_interactive => return Ok(exit::OK),
        }
    }
}

/// Reads lines on a thread of its own: a line that is typed cannot be waited for otherwise.
fn prompt(session: Session, lines: Receiver<String>, yes: bool) -> oneshot::Receiver<Result<u8>> {
    let (sender, left) = oneshot::channel();
    thread::spawn(move || {
        let outcome = if is_interactive() {
            session.open().and_then(|mut prompt| {
                print_above(prompt.printer()?, lines);
                prompt.run().map(|()| exit::OK)
            })
        } else {
            thread::spawn(move || lines.iter().for_each(|line| tell(&line)));
            session.lines(yes)
        };
        // Nobody waits for it when the process is ending already.
        let _ = sender.send(outcome);
    });
    left
}

/// Writes to standard error. Nobody is left to be told when that is gone.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints what comes above the line that is being typed.
fn print_above(mut printer: impl ExternalPrinter + Send + 'static, lines: Receiver<String>) {
    thread::spawn(move || {
        for line in lines {
            if terminal::between_views(|| printer.print(line)).is_err() {
                return;
            }
        }
    });
}
