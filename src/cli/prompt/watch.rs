//! What goes on until Ctrl-C: a view that is shown again and again, and waiting for a lode to run.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use console::{Term, truncate_str};
use lode::engine::reply::Reply;
use lode::engine::socket::{Client, Request};
use lode::error::{Error, Kind, Result};
use tokio::runtime::Handle;

use super::side::{Asked, interrupts};
use super::words::{self, Word};
use super::{Session, complain, ctl, exit, screen};
use crate::cli::units::local;
use crate::cli::{answer, follow};

/// A view is shown again so often.
const REFRESH: Duration = Duration::from_secs(1);
/// Somebody who waits for a lode looks for it so often.
const LOOK: Duration = Duration::from_millis(200);

/// Shows what a command answers, until Ctrl-C or until it answers no longer. Gives the exit code.
///
/// # Errors
/// `Environment` when the terminal cannot be used.
pub fn run(session: &Session, view: &[&str]) -> Result<u8> {
    if let Err(error) = may_be_watched(view) {
        complain(&error);
        return Ok(exit::of(error.kind()));
    }
    let command = view.join(" ");
    let term = Term::stdout();
    let mut interrupt = {
        let _entered = session.runtime.enter();
        interrupts()?
    };
    loop {
        let reply = match session.ask(&command, false) {
            Asked::Left => return Ok(exit::OK),
            Asked::Answered(Err(error)) => {
                complain(&error);
                return Ok(exit::of(error.kind()));
            }
            Asked::Answered(Ok(reply @ (Reply::Failed { .. } | Reply::Wrong { .. }))) => {
                ctl::show(&reply)?;
                return Ok(ctl::code(&reply));
            }
            Asked::Answered(Ok(reply)) => reply,
        };
        show(&term, &command, &reply)?;
        let left =
            session.runtime.block_on(async { tokio::time::timeout(REFRESH, interrupt.recv()).await.is_ok() });
        if left {
            return Ok(exit::OK);
        }
    }
}

/// Shows an answer that comes in parts, until Ctrl-C or until it ends. Gives the exit code.
///
/// # Errors
/// `Environment` when standard output or Ctrl-C cannot be used.
pub fn run_parts(session: &Session, request: Request) -> Result<u8> {
    session.runtime.block_on(async {
        let mut interrupt = interrupts()?;
        let left = async {
            let _ = interrupt.recv().await;
        };
        let shown = async { follow::show(session.side.answer_in_parts(request).await?, false, left).await };
        shown.await.or_else(|error| {
            complain(&error);
            Ok(exit::of(error.kind()))
        })
    })
}

fn may_be_watched(view: &[&str]) -> Result<()> {
    if !std::io::stdout().is_terminal() {
        return Err(
            Error::new(Kind::Script, "`watch` is for terminals").advice("say the command again and again")
        );
    }
    match view.first() {
        Some(verb) if words::can_be_watched(verb) => Ok(()),
        Some(verb) => {
            Err(Error::new(Kind::Script, format!("`{verb}` is nothing to be shown again and again"))
                .advice(format!("write {}", Word::Watch.usage().replace('\n', ", "))))
        }
        None => Err(Error::new(Kind::Script, "`watch` does not say what")
            .advice(format!("write {}", Word::Watch.usage().replace('\n', ", ")))),
    }
}

/// Puts an answer in the place of the former one: the terminal's first lines, as many as it has.
fn show(term: &Term, command: &str, reply: &Reply) -> Result<()> {
    let (rows, columns) = term.size();
    let now = local(jiff::Timestamp::now());
    let head = format!("{command} at {now}; Ctrl-C leaves\n\n");
    let text =
        [head, answer::text(reply, Some(usize::from(columns)), screen::has_colors_on_stdout())].concat();
    // The last row is the cursor's, and no line goes on in the next one, so that nothing scrolls.
    let lines = text.lines().take(usize::from(rows).saturating_sub(1).max(1));
    let fitting = lines.map(|line| truncate_str(line, columns.into(), "…"));
    let shown: String = fitting.map(|line| format!("{line}\n")).collect();
    let written = term.clear_screen().and_then(|()| term.write_str(&shown)).and_then(|()| term.flush());
    written.map_err(|error| Error::new(Kind::Environment, format!("cannot write to the terminal: {error}")))
}

/// Waits until a lode runs with a data folder. False when Ctrl-C came first.
///
/// # Errors
/// `Environment` when Ctrl-C cannot be listened for.
pub fn connected(runtime: &Handle, data: &Path) -> Result<bool> {
    runtime.block_on(async {
        let mut interrupt = interrupts()?;
        loop {
            if Client::connect(data).is_ok() {
                return Ok(true);
            }
            if tokio::time::timeout(LOOK, interrupt.recv()).await.is_ok() {
                return Ok(false);
            }
        }
    })
}
