//! The prompt: `lode attach` opens it on a lode that runs, `lode repl` on one of its own.
//!
//! A line is a command, as for `lode ctl`, and has the same answer. Where standard input is no terminal, each line of it
//! is carried out, and nothing is asked.

mod code;
mod colors;
mod completion;
mod editor;
mod names;
pub mod repl;
pub mod side;
mod watch;
mod words;

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lode::engine::reply::Reply;
use lode::engine::socket::{Client, Request};
use lode::error::{Error, Kind, Result};
use lode::lang::parse::is_line_unfinished;
use rustyline::ExternalPrinter;
use tokio::runtime::Handle;

use self::code::NewestChange;
use self::editor::{LineEditor, Typed};
use self::names::NamesWatch;
use self::side::{Asked, Side};
use self::words::Word;
use super::{complain, ctl, exit, out, process, screen, top};

const PROMPT: &str = "lode> ";

#[derive(Args)]
pub struct Attach {
    /// Do what has to be confirmed, where nobody can be asked
    #[arg(long, short = 'y')]
    yes: bool,
    /// Folder of the lode that is asked, as for `lode run`
    #[arg(long, value_name = "DIR", default_value = "lode-data", env = "LODE_DATA", hide_env_values = true)]
    data: PathBuf,
}

/// Opens the prompt on the lode that runs with a data folder.
pub fn attach(attach: Attach) -> Result<ExitCode> {
    // Whether there is one is said at once.
    drop(Client::connect(&attach.data)?);
    let runtime = process::threads(Some(1))?;
    let session = Session::new(Side::There(attach.data), runtime.handle().clone())?;
    let outcome = match is_interactive() {
        true => top::terminal::end_with_terminal_restored(runtime.handle())
            .and_then(|()| session.open())
            .and_then(Prompt::run)
            .map(|()| exit::OK),
        false => session.lines(attach.yes),
    };
    // Nobody waits for an answer that was left.
    runtime.shutdown_background();
    outcome.map(ExitCode::from)
}

/// Whether a person types, and reads the answers.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Carries lines out, and shows what they answer.
pub struct Session {
    side: Side,
    runtime: Handle,
    /// What paths in commands are relative to.
    folder: PathBuf,
}

impl Session {
    /// Lines are answered by `side`, on threads of `runtime`.
    ///
    /// # Errors
    /// `Environment` when there is no current folder.
    pub fn new(side: Side, runtime: Handle) -> Result<Session> {
        Ok(Session { side, runtime, folder: process::current_folder()? })
    }

    /// Opens a prompt on the terminal.
    ///
    /// # Errors
    /// As [`LineEditor::new`].
    pub fn open(self) -> Result<Prompt> {
        let names = NamesWatch::new(self.side.clone());
        let columns = NewestChange { side: self.side.clone(), runtime: self.runtime.clone() };
        let editor = LineEditor::new(names.known(), columns, screen::has_colors_on_stdout())?;
        Ok(Prompt { session: self, editor, names })
    }

    /// Carries out the lines of standard input, all of them, and gives the exit code of the first that failed. What has to
    /// be confirmed is done only when everything is.
    ///
    /// # Errors
    /// `Environment` when standard input or output cannot be used.
    pub fn lines(&self, is_confirmed: bool) -> Result<u8> {
        let mut code = exit::OK;
        let mut whole = String::new();
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|error| {
                Error::new(Kind::Environment, format!("cannot read standard input: {error}"))
            })?;
            whole.push_str(&line);
            if is_line_unfinished(&whole) {
                whole.push('\n');
                continue;
            }
            let line = std::mem::take(&mut whole);
            if Word::find(line.trim()) == Some(Word::Quit) {
                return Ok(code);
            }
            let failed = self.unasked(&line, is_confirmed)?;
            code = if code == exit::OK { failed } else { code };
        }
        // What is left is unfinished, which is said.
        let failed = self.unasked(&whole, is_confirmed)?;
        Ok(if code == exit::OK { failed } else { code })
    }

    /// Carries one line out, without asking.
    fn unasked(&self, line: &str, is_confirmed: bool) -> Result<u8> {
        if is_empty(line) {
            return Ok(exit::OK);
        }
        if let Some(shown) = self.own(line)? {
            return Ok(shown);
        }
        // Ctrl-C ends the process here, as nobody could say anything else.
        match self.side.wait(&self.runtime, self.request(line, is_confirmed)) {
            Err(error) => {
                complain(&error);
                Ok(exit::of(error.kind()))
            }
            Ok(reply) => {
                ctl::show(&reply)?;
                if matches!(reply, Reply::Confirm { .. }) {
                    eprintln!("nothing was done; it has to be confirmed, with --yes");
                }
                Ok(ctl::code(&reply))
            }
        }
    }

    fn ask(&self, line: &str, confirmed: bool) -> Asked {
        self.side.ask(&self.runtime, self.request(line, confirmed))
    }

    fn request(&self, line: &str, confirmed: bool) -> Request {
        Request { command: line.trim().to_owned(), confirmed, folder: self.folder.clone(), parts: false }
    }

    /// Does what a line says that is the prompt's own. `None` for a command.
    fn own(&self, line: &str) -> Result<Option<u8>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["help"] => match self.side.wait(&self.runtime, self.request(line, false)) {
                Ok(Reply::Text { text }) => {
                    out(&format!("{}\n{}", text.trim_end(), words::help_of_all()))?;
                    Ok(Some(exit::OK))
                }
                // Whatever it is, the command meets it again, and says it.
                _ => Ok(None),
            },
            ["help", word] => match Word::find(word) {
                Some(word) => out(&word.help()).map(|()| Some(exit::OK)),
                None => Ok(None),
            },
            ["top"] => match top::run(&self.side, &self.runtime) {
                Ok(()) => Ok(Some(exit::OK)),
                Err(error) => {
                    complain(&error);
                    Ok(Some(exit::of(error.kind())))
                }
            },
            _ if ctl::is_followed(line) => watch::run_parts(self, self.request(line, false)).map(Some),
            ["watch", view @ ..] => watch::run(self, view).map(Some),
            _ => Ok(None),
        }
    }
}

/// Nothing but blanks and comments.
fn is_empty(line: &str) -> bool {
    line.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// A session on a terminal.
pub struct Prompt {
    session: Session,
    editor: LineEditor,
    names: NamesWatch,
}

impl Prompt {
    /// Prints above the line that is being typed, from any thread.
    ///
    /// # Errors
    /// As [`LineEditor::printer`].
    pub fn printer(&mut self) -> Result<impl ExternalPrinter + Send + use<>> {
        self.editor.printer()
    }

    /// Reads lines and carries them out until Ctrl-D.
    ///
    /// # Errors
    /// `Environment` when the terminal cannot be used any more.
    pub fn run(mut self) -> Result<()> {
        loop {
            self.names.refresh(&self.session.runtime);
            match self.editor.line(PROMPT)? {
                Typed::End => return Ok(()),
                Typed::Cleared => {}
                Typed::Line(line) if is_empty(&line) => {}
                Typed::Line(line) if Word::find(line.trim()) == Some(Word::Quit) => return Ok(()),
                Typed::Line(line) => self.line(&line)?,
            }
        }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        if self.session.own(line)?.is_some() {
            return Ok(());
        }
        let mut confirmed = false;
        loop {
            match self.session.ask(line, confirmed) {
                Asked::Left => {
                    println!("no longer waited for; if it was begun, it goes on");
                    return Ok(());
                }
                Asked::Answered(Err(error)) => {
                    complain(&error);
                    return self.wait_for_another();
                }
                Asked::Answered(Ok(reply)) => {
                    ctl::show(&reply)?;
                    if !matches!(reply, Reply::Confirm { .. }) || confirmed {
                        return Ok(());
                    }
                    if !self.editor.is_confirmed("do it?")? {
                        println!("nothing was done");
                        return Ok(());
                    }
                    confirmed = true;
                }
            }
        }
    }

    /// Offers to wait for a lode to run again where one has ended.
    fn wait_for_another(&mut self) -> Result<()> {
        let Some(data) = self.session.side.elsewhere().map(PathBuf::from) else { return Ok(()) };
        if Client::connect(&data).is_ok() {
            return Ok(());
        }
        if !self.editor.is_confirmed("wait until it runs again, and connect?")? {
            println!("not connected; the next command tries it again");
            return Ok(());
        }
        match watch::connected(&self.session.runtime, &data)? {
            true => println!("connected again"),
            false => println!("not connected; the next command tries it again"),
        }
        Ok(())
    }
}
