//! Who answers a prompt: the engine of this process, or one that runs elsewhere. Both get the same lines, and both give the
//! same answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lode::engine::Engine;
use lode::engine::door::Door;
use lode::engine::reply::Reply;
use lode::engine::socket::{Client, Request};
use lode::error::{Error, Kind, Result};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind};

use crate::cli::ctl::reply_of;
use crate::cli::follow::Followed;
use crate::cli::process::listen;

/// The one who answers.
#[derive(Clone)]
pub enum Side {
    /// The engine of this process.
    Here(Arc<Engine>),
    /// The one that runs with this data folder.
    There(PathBuf),
}

/// What became of a question.
pub enum Asked {
    /// It was answered, or nobody was there who could.
    Answered(Result<Reply>),
    /// Somebody pressed Ctrl-C meanwhile.
    Left,
}

impl Side {
    /// Asks, until the answer comes or Ctrl-C is pressed. What was asked is carried out in either case.
    pub fn ask(&self, runtime: &Handle, request: Request) -> Asked {
        let side = self.clone();
        runtime.block_on(async move {
            let mut interrupt = match interrupts() {
                Ok(interrupt) => interrupt,
                Err(error) => return Asked::Answered(Err(error)),
            };
            let answer = tokio::spawn(side.answer(request));
            tokio::select! {
                answer = answer => Asked::Answered(answer.unwrap_or_else(|error| {
                    Err(Error::new(Kind::Internal, "the command has ended without an answer").caused_by(error))
                })),
                _ = interrupt.recv() => Asked::Left,
            }
        })
    }

    /// Asks, and waits for the answer however long it takes.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn wait(&self, runtime: &Handle, request: Request) -> Result<Reply> {
        runtime.block_on(self.clone().answer(request))
    }

    /// The answer. Each question to a lode elsewhere has a connection of its own, so that it makes no difference how long
    /// nothing was asked, and whether another one runs there by now.
    ///
    /// # Errors
    /// `Environment` when nobody is there who could answer, `Unavailable` when they end before they have.
    pub async fn answer(self, request: Request) -> Result<Reply> {
        match self {
            Side::Here(engine) => {
                let Request { command, confirmed, folder, .. } = request;
                Ok(engine.line(&command, &folder, &Door::Prompt, confirmed).await)
            }
            Side::There(data) => {
                let asked = tokio::task::spawn_blocking(move || {
                    let answer = Client::connect(&data)?.ask(&request)?;
                    reply_of(&answer)
                });
                asked.await.unwrap_or_else(|error| {
                    Err(Error::new(Kind::Internal, "the question has ended without an answer")
                        .caused_by(error))
                })
            }
        }
    }

    /// The beginning of an answer that comes in parts.
    ///
    /// # Errors
    /// `Environment` when nobody is there who could answer.
    pub async fn answer_in_parts(&self, request: Request) -> Result<Followed> {
        Ok(match self {
            Side::Here(engine) => {
                let Request { command, confirmed, folder, .. } = request;
                let answer = engine.line_in_parts(&command, &folder, &Door::Prompt, confirmed).await;
                Followed::Here(Some(Box::new(answer)))
            }
            Side::There(data) => Followed::There(Client::connect(data)?.ask_in_parts(&request)?),
        })
    }

    /// The data folder of a lode elsewhere.
    pub fn elsewhere(&self) -> Option<&Path> {
        match self {
            Side::Here(_) => None,
            Side::There(data) => Some(data),
        }
    }
}

/// Ctrl-C, while no line is read: there it is a key.
pub fn interrupts() -> Result<Signal> {
    listen(SignalKind::interrupt())
}
