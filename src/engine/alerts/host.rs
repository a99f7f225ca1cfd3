//! What hooks of a running engine reach.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::super::Engine;
use super::super::door::Door;
use super::super::reply::Reply;
use crate::error::{Error, Kind, Result};
use crate::hook::act::Host;
use crate::model::message::{Mail, Webhook};
use crate::run::event::Event;

/// A command of a hook is waited for so long. It goes on by itself, and nobody knows then how far it comes.
pub(super) const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// Log target of what hooks say.
const SAID: &str = "lode::hook";

/// The engine, as hooks see it. Its calls block, on threads that may.
pub(super) struct EngineHost {
    pub engine: Weak<Engine>,
    pub runtime: Handle,
    pub door: Door,
}

impl EngineHost {
    fn engine(&self) -> Result<Arc<Engine>> {
        self.engine.upgrade().ok_or_else(|| Error::new(Kind::Refused, "lode is ending"))
    }
}

impl Host for EngineHost {
    fn notify(&self, text: &str) -> Result<()> {
        warn!(target: SAID, "{text}");
        self.engine()?.events.tell(Event::Notice { text: text.to_owned() });
        Ok(())
    }

    fn log(&self, text: &str) {
        info!(target: SAID, "{text}");
    }

    fn mail(&self, connection: &str, mail: &Mail) -> Result<()> {
        let engine = self.engine()?;
        let connections = self.runtime.block_on(engine.connections());
        crate::client::send::mail(&connections, connection, mail)
    }

    fn webhook(&self, call: &Webhook) -> Result<()> {
        let engine = self.engine()?;
        let connections = self.runtime.block_on(engine.connections());
        crate::client::send::webhook(&connections, call)
    }

    fn stats(&self, name: &str) -> Result<Value> {
        let engine = self.engine()?;
        let status = self.runtime.block_on(engine.status());
        let value = |value: serde_json::Result<Value>| {
            value.map_err(|error| Error::new(Kind::Internal, "figures are not JSON").caused_by(error))
        };
        if let Some(pipeline) = status.pipelines.iter().find(|pipeline| pipeline.name == name) {
            let rps: f64 = pipeline.routes.iter().map(|route| route.figures.rows_per_s).sum();
            let lag_ms = pipeline.routes.iter().filter_map(|route| route.lag_ms).max();
            let mut figures = value(serde_json::to_value(pipeline))?;
            figures["rps"] = json!(rps);
            figures["lag_ms"] = json!(lag_ms);
            return Ok(figures);
        }
        if let Some(mine) = status.mines.iter().find(|mine| mine.name == name) {
            let mut figures = value(serde_json::to_value(mine))?;
            figures["rps"] = json!(mine.rows_in_per_s);
            figures["lag_ms"] = json!(mine.delay_ms);
            return Ok(figures);
        }
        Err(Error::new(Kind::Refused, format!("there is no pipeline and no mine {name}")))
    }

    fn command(&self, line: &str) -> Result<String> {
        let engine = self.engine()?;
        let folder = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
        let reply = engine.line(line, &folder, &self.door, true);
        let reply = self.runtime.block_on(async { tokio::time::timeout(COMMAND_PATIENCE, reply).await });
        answer(line, reply.map_err(|_| out_of_time(line))?)
    }
}

/// That a command took too long.
pub(super) fn out_of_time(command: &str) -> Error {
    let seconds = COMMAND_PATIENCE.as_secs();
    Error::new(Kind::Unavailable, format!("`{command}` was not done within {seconds} s"))
        .advice("`audit` says what became of it")
}

/// What a command answered, in words; that it was not done is an error.
pub(super) fn answer(command: &str, reply: Reply) -> Result<String> {
    match reply {
        Reply::Done { done } => Ok(done.join("; ")),
        Reply::Difference { diff, .. } => Ok(diff.summary()),
        Reply::Text { text } => Ok(text),
        Reply::Failed { kind, error, advice } => {
            let error = Error::new(kind, error).context(format!("in `{command}`"));
            Err(advice.into_iter().fold(error, Error::advice))
        }
        Reply::Wrong { findings, .. } => {
            let first = findings.get(0).and_then(|finding| finding["message"].as_str());
            Err(Error::new(Kind::Refused, first.unwrap_or("the command is wrong").to_owned())
                .context(format!("in `{command}`")))
        }
        other => serde_json::to_string(&other)
            .map_err(|error| Error::new(Kind::Internal, "an answer is not JSON").caused_by(error)),
    }
}
