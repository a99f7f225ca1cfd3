//! Answers that come in parts, as they have no end of their own.

use std::path::Path;

use super::Engine;
use super::door::Door;
use super::look::Tail;
use super::reply::Reply;
use crate::check::command::Command;
use crate::check::{System, check_line};

/// The answer to a command from somebody who takes it in parts.
pub enum Answer {
    /// It is whole.
    Whole(Reply),
    /// It begins.
    Parts(Parts),
}

/// An answer that goes on until nobody wants it any more. Dropping it ends it.
pub struct Parts {
    tail: Tail,
    has_ended: bool,
}

impl Engine {
    /// Carries out a command as [`line`](Self::line) does. One whose answer has no end is answered in parts.
    pub async fn line_in_parts(&self, text: &str, folder: &Path, door: &Door, confirmed: bool) -> Answer {
        let known = self.known().await;
        let checked = check_line("<command>", text, self.registry.kinds(), &System, &known);
        match checked.command {
            Some(Command::Tail { look }) => match self.tail(&look).await {
                Ok(tail) => Answer::Parts(Parts { tail, has_ended: false }),
                Err(error) => Answer::Whole(error.into()),
            },
            _ => Answer::Whole(self.line(text, folder, door, confirmed).await),
        }
    }
}

impl Parts {
    /// Waits for the next part. The last one says why there is none behind it; `None` comes after that. Cancel-safe.
    pub async fn next(&mut self) -> Option<Reply> {
        if self.has_ended {
            return None;
        }
        Some(match self.tail.next().await {
            Ok(changes) => Reply::Changes(changes),
            Err(error) => {
                self.has_ended = true;
                self.tail.failure(error)
            }
        })
    }

    /// Whether the last part was given.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }
}
