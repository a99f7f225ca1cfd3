//! `lode top`: what runs, on the whole screen, refreshed every second.
//!
//! What is shown and what keys do is in [`view`] and [`draw`], which know no terminal. Here both are put together: keys
//! are read, and the engine is asked, by the same commands as at the prompt.

mod draw;
mod grid;
mod rows;
pub mod terminal;
#[cfg(test)]
mod tests;
mod trend;
mod view;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use clap::Args;
use lode::engine::reply::Reply;
use lode::engine::socket::{Client, Request};
use lode::error::{Error, Kind, Result};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::runtime::Handle;

use self::terminal::FullScreen;
use self::view::{View, Wish};
use super::prompt::side::Side;
use super::{exit, process, screen};

/// The engine is asked so often.
const REFRESH: Duration = Duration::from_secs(1);
/// Answers are looked for so often while no key is pressed.
const TICK: Duration = Duration::from_millis(50);

#[derive(Args)]
pub struct Top {
    /// Folder of the lode that is shown, as for `lode run`
    #[arg(long, value_name = "DIR", default_value = "lode-data", env = "LODE_DATA", hide_env_values = true)]
    data: PathBuf,
}

/// Shows the lode that runs with a data folder, until somebody leaves.
pub fn top(top: Top) -> Result<ExitCode> {
    has_terminal()?;
    // Whether there is one is said at once.
    drop(Client::connect(&top.data)?);
    let runtime = process::threads(Some(1))?;
    terminal::end_with_terminal_restored(runtime.handle())?;
    let outcome = run(&Side::There(top.data), runtime.handle());
    // Nobody waits for an answer any more.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::from(exit::OK))
}

/// Shows what `side` answers until somebody leaves. What runs goes on.
///
/// # Errors
/// `Script` without a terminal, `Environment` when it cannot be used.
pub fn run(side: &Side, runtime: &Handle) -> Result<()> {
    has_terminal()?;
    let place = match side.elsewhere() {
        Some(data) => data.display().to_string(),
        None => "this lode".to_owned(),
    };
    let view = View::new(place, screen::has_colors_on_stdout(), now_ms());
    let (sender, answers) = channel();
    let asking = Asking { side: side.clone(), runtime: runtime.clone(), sender };
    Showing { view, asking, answers, looking: 0, due: Instant::now() }.run(FullScreen::enter()?)
}

fn has_terminal() -> Result<()> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Error::new(Kind::Script, "`top` is for terminals")
        .advice("`lode ctl status` says the same once, and with --json for programs"))
}

/// A view on its terminal.
struct Showing {
    view: View,
    asking: Asking,
    answers: Receiver<Answer>,
    /// How many questions of the last look were not answered yet: there is never a second look beside it.
    looking: usize,
    /// When to look next.
    due: Instant,
}

impl Showing {
    fn run(mut self, mut screen: FullScreen) -> Result<()> {
        let mut is_changed = true;
        let mut drawn_at = Instant::now();
        loop {
            if self.looking == 0 && Instant::now() >= self.due {
                self.looking = 2;
                self.due = Instant::now() + REFRESH;
                self.asking.ask(Question::Status, false);
                self.asking.ask(Question::Alerts, false);
            }
            is_changed |= self.take_answers();
            // How long nothing was answered changes by itself.
            if drawn_at.elapsed() >= REFRESH {
                screen.take_again()?;
                is_changed = true;
            }
            if std::mem::take(&mut is_changed) {
                drawn_at = Instant::now();
                if !screen.draw(|area, buffer| draw::draw(&mut self.view, now_ms(), area, buffer))? {
                    return Ok(());
                }
            }
            if !event::poll(TICK).map_err(unreadable)? {
                continue;
            }
            is_changed = true;
            let Event::Key(key) = event::read().map_err(unreadable)? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match self.view.key(key) {
                Some(Wish::Leave) => return Ok(()),
                Some(Wish::Ask { command, confirmed }) => {
                    self.asking.ask(Question::Command(command), confirmed);
                }
                None => {}
            }
        }
    }

    /// False when there was none.
    fn take_answers(&mut self) -> bool {
        let mut is_changed = false;
        while let Ok(Answer { question, reply }) = self.answers.try_recv() {
            is_changed = true;
            match question {
                Question::Status => {
                    self.looking -= 1;
                    self.view.looked(reply, now_ms());
                }
                Question::Alerts => {
                    self.looking -= 1;
                    self.view.looked_at_alerts(reply);
                }
                Question::Command(command) => {
                    self.view.answered(command, reply);
                    self.due = Instant::now();
                }
            }
        }
        is_changed
    }
}

/// What was asked.
enum Question {
    /// How everything is.
    Status,
    /// What fires.
    Alerts,
    /// What somebody asked for.
    Command(String),
}

/// What was answered.
struct Answer {
    question: Question,
    reply: Result<Reply>,
}

/// Asks beside the view, of which the keys are never held up.
struct Asking {
    side: Side,
    runtime: Handle,
    /// Never more than the questions of a look and a command are on their way.
    sender: Sender<Answer>,
}

impl Asking {
    fn ask(&self, question: Question, confirmed: bool) {
        let line = match &question {
            Question::Status => "status",
            Question::Alerts => "alerts",
            Question::Command(command) => command,
        };
        // No command of the view names a file.
        let request =
            Request { command: line.to_owned(), confirmed, folder: PathBuf::from("/"), parts: false };
        let (side, sender) = (self.side.clone(), self.sender.clone());
        self.runtime.spawn(async move {
            let reply = side.answer(request).await;
            // Nobody waits for it when the view was left.
            let _ = sender.send(Answer { question, reply });
        });
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn unreadable(error: io::Error) -> Error {
    Error::new(Kind::Environment, format!("cannot read the terminal: {error}"))
}
