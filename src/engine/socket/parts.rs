//! Answers in parts over the socket. Each part is a line `{"part": …}` with an answer in it; a line that is an answer itself
//! is the last one. What the client says meanwhile ends it, and so does closing the connection.

use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tracing::info;

use super::{ANSWER_TIME_MAX, Client, Request, answer, ended, send};
use crate::engine::Engine;
use crate::engine::door::Door;
use crate::engine::parts::{Answer, Parts};
use crate::error::Result;

/// A part of an answer, as it is sent.
#[derive(Serialize)]
struct Sent<'a, T> {
    part: &'a T,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A part; more follow.
    Part(serde_json::Value),
    /// The answer, or its end.
    Last(serde_json::Value),
}

/// Answers a request in parts, where it has several. False when the client has gone, or is to go.
pub(super) async fn respond(
    engine: &Arc<Engine>,
    stream: &mut UnixStream,
    request: Request,
    door: &Door,
) -> bool {
    let Request { command, confirmed, folder, .. } = request;
    match engine.line_in_parts(&command, &folder, door, confirmed).await {
        Answer::Whole(reply) => answer(stream, &reply).await,
        Answer::Parts(parts) => follow(stream, parts, door).await,
    }
}

async fn follow(stream: &mut UnixStream, mut parts: Parts, door: &Door) -> bool {
    let mut said = [0; 1];
    loop {
        let part = tokio::select! {
            part = parts.next() => part,
            _ = stream.read(&mut said) => return false,
        };
        let Some(part) = part else { return true };
        if parts.has_ended() {
            return answer(stream, &part).await;
        }
        if !send(stream, &Sent { part: &part }).await {
            let seconds = ANSWER_TIME_MAX.as_secs();
            info!("{door} was let go: it took no part of an answer for {seconds} s, or has gone");
            return false;
        }
    }
}

/// Takes an answer in parts. Dropping it ends the answer.
#[derive(Debug)]
pub struct PartsClient {
    stream: BufReader<UnixStream>,
    /// What was read of the next line.
    line: Vec<u8>,
}

impl Client {
    /// Asks for an answer in parts. To be called on a runtime of tokio with its input and output.
    ///
    /// # Errors
    /// `Unavailable` when the other side has ended.
    pub fn ask_in_parts(mut self, request: &Request) -> Result<PartsClient> {
        let request = Request { parts: true, ..request.clone() };
        // An answer may come all the same, such as that there are too many clients.
        let _ = self.send(&request)?;
        let stream = self.stream.into_inner();
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let stream = stream.map_err(|error| ended(error.to_string()))?;
        Ok(PartsClient { stream: BufReader::new(stream), line: Vec::new() })
    }
}

impl PartsClient {
    /// Waits for the next line of the answer. Cancel-safe.
    ///
    /// # Errors
    /// `Unavailable` when the other side ends before the answer does.
    pub async fn next(&mut self) -> Result<Line> {
        let read = self.stream.read_until(b'\n', &mut self.line).await;
        if read.map_err(|error| ended(error.to_string()))? == 0 {
            return Err(ended("it closed the connection".to_owned()));
        }
        let line = std::mem::take(&mut self.line);
        let mut value: serde_json::Value = serde_json::from_slice(&line)
            .map_err(|error| ended(format!("its answer is broken off ({error})")))?;
        Ok(match value.get_mut("part").map(serde_json::Value::take) {
            Some(part) => Line::Part(part),
            None => Line::Last(value),
        })
    }
}
