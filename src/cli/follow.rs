//! Answers that come in parts: shown as they come, until they end or somebody leaves.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;

use lode::engine::look::Changes;
use lode::engine::parts::{Answer, Parts};
use lode::engine::reply::Reply;
use lode::engine::socket::{Line, PartsClient};
use lode::error::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::log::text::Text;
use super::{ctl, exit, out};

/// An answer in parts, from whoever gives it.
pub enum Followed {
    /// By the engine of this process, with an answer that may be whole already.
    Here(Option<Box<Answer>>),
    /// By one that runs elsewhere.
    There(PartsClient),
}

impl Followed {
    async fn next(&mut self) -> Result<Next> {
        match self {
            Followed::There(client) => Ok(match client.next().await? {
                Line::Part(part) => Next::Part(ctl::reply_of(&part)?),
                Line::Last(last) => Next::Last(ctl::reply_of(&last)?),
            }),
            Followed::Here(answer) => {
                let Some(given) = answer else { return Err(over()) };
                if let Answer::Parts(parts) = given.as_mut() {
                    return next_of(parts).await;
                }
                match answer.take().map(|answer| *answer) {
                    Some(Answer::Whole(reply)) => Ok(Next::Last(reply)),
                    _ => Err(over()),
                }
            }
        }
    }
}

async fn next_of(parts: &mut Parts) -> Result<Next> {
    let part = parts.next().await.ok_or_else(over)?;
    Ok(if parts.has_ended() { Next::Last(part) } else { Next::Part(part) })
}

fn over() -> Error {
    Error::new(Kind::Internal, "an answer goes on behind its end")
}

enum Next {
    Part(Reply),
    Last(Reply),
}

/// Shows an answer, part by part, until it ends, `left` comes, or nobody reads standard output any more. Gives the exit code.
///
/// # Errors
/// `Unavailable` when a lode elsewhere ends before its answer does. `Environment` when standard output cannot be written.
pub async fn show(mut followed: Followed, json: bool, left: impl Future<Output = ()>) -> Result<u8> {
    let mut printer = Printer::new(json);
    let shown = async {
        let mut is_first = true;
        loop {
            let part = match followed.next().await? {
                Next::Part(part) => part,
                Next::Last(last) => {
                    if json {
                        out(&serde_json::to_string(&last).unwrap_or_default())?
                    } else {
                        ctl::show(&last)?
                    }
                    return Ok(ctl::code(&last));
                }
            };
            if std::mem::take(&mut is_first) && !json && io::stderr().is_terminal() {
                eprintln!("Ctrl-C leaves");
            }
            if let Reply::Changes(changes) = &part
                && printer.print(changes)?.is_break()
            {
                return Ok(exit::OK);
            }
        }
    };
    tokio::select! {
        code = shown => code,
        () = left => Ok(exit::OK),
        () = reader_left() => Ok(exit::OK),
    }
}

/// Prints changes on standard output, and what is to be said besides on standard error.
struct Printer {
    text: Option<Text>,
    lines: Vec<u8>,
}

impl Printer {
    fn new(json: bool) -> Printer {
        Printer { text: (!json).then(Text::for_standard_output), lines: Vec::new() }
    }

    /// It breaks when nobody reads any more.
    fn print(&mut self, changes: &Changes) -> Result<ControlFlow<()>> {
        self.lines.clear();
        match &mut self.text {
            Some(text) => text.write_all(&mut self.lines, changes),
            None => {
                for change in &changes.changes {
                    self.lines.extend_from_slice(change.to_string().as_bytes());
                    self.lines.push(b'\n');
                }
            }
        }
        changes.notes.iter().for_each(|note| eprintln!("{note}"));
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        written_to_somebody(written)
    }
}

/// What a write to standard output means. It breaks when nobody reads any more.
///
/// # Errors
/// `Environment` when it cannot be written for another reason.
pub fn written_to_somebody(written: io::Result<()>) -> Result<ControlFlow<()>> {
    match written {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Error::new(Kind::Environment, format!("cannot write to standard output: {error}"))),
    }
}

/// Waits until nobody reads standard output any more. A write would tell that only when the next change comes.
pub async fn reader_left() {
    let (left, told) = tokio::sync::oneshot::channel();
    // It may wait until the process ends, and nobody waits for it.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        // Errors and hang-ups are told without being asked for.
        let mut places = [PollFd::new(&stdout, PollFlags::empty())];
        let polled = loop {
            match poll(&mut places, None) {
                Err(Errno::INTR) => {}
                polled => break polled,
            }
        };
        if polled.is_ok() {
            let _ = left.send(());
        }
    });
    if told.await.is_err() {
        std::future::pending().await
    }
}
