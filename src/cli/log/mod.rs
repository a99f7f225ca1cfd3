//! `lode log`: looks into a log without taking it, also while a mine writes it.

mod choice;
mod figures;
mod peek;
mod record;
pub mod text;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use lode::check::{Model, SecretsPolicy};
use lode::engine::Engine;
use lode::engine::logs::LogPlace;
use lode::engine::registry::Registry;
use lode::error::{Error, Kind, Result, ResultExt};
use lode::plan::Plan;
use lode::store::LogReader;

use self::choice::{Chosen, Start};
use super::{Script, exit, help, process, show_findings};

/// What to do with a log.
#[derive(Subcommand)]
pub enum LogCommand {
    /// Show changes of a log: its newest ones, or those from a place on
    #[command(after_help = help::LOG_PEEK)]
    Peek {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        chosen: Chosen,
        /// Begin here and go forward: a number, a time (2026-01-31T23:59:59Z), or how long ago (-1h)
        #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
        from: Option<Start>,
        /// Show so many changes at the most
        #[arg(long, value_name = "N", default_value_t = 10)]
        limit: u32,
        /// Print one JSON object for each change and line, with exact values
        #[arg(long)]
        json: bool,
    },
    /// Show changes as they are mined, until Ctrl-C
    #[command(after_help = help::LOG_TAIL)]
    Tail {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        chosen: Chosen,
        /// Begin here instead of now: a number, a time (2026-01-31T23:59:59Z), or how long ago (-1h)
        #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
        from: Option<Start>,
        /// End after so many changes
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Print one JSON object for each change and line, with exact values
        #[arg(long)]
        json: bool,
    },
    /// Write changes of a log into a file of text, for tests: given log "recorded.jsonl"
    #[command(after_help = help::LOG_RECORD)]
    Record {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        chosen: Chosen,
        /// Begin here and go forward: a number, a time (2026-01-31T23:59:59Z), or how long ago (-1h)
        #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
        from: Option<Start>,
        /// Record so many changes at the most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        target: record::Target,
    },
    /// Say what a log holds: source, tables, begin and end, size
    #[command(after_help = help::LOG_STAT)]
    Stat {
        #[command(flatten)]
        which: Which,
        /// Print the figures as JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a whole log and check it: numbers, checksums, commits, schemas, positions
    #[command(after_help = help::LOG_VERIFY)]
    Verify {
        #[command(flatten)]
        which: Which,
        /// Print what was found as JSON
        #[arg(long)]
        json: bool,
    },
}

/// The log that is meant.
#[derive(Args)]
pub struct Which {
    /// A log in the data folder; with a script also `connection.collection`, a mine, or its source connection. May be
    /// left out where there is only one
    #[arg(value_name = "LOG")]
    log: Option<String>,
    /// The script that declares the log or its connection
    #[arg(long = "script", short = 's', value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same as text
    #[arg(short = 'e', value_name = "SCRIPT")]
    text: Option<String>,
    /// Give a name of the script (`let batch = 1000`, used as `$batch`) another value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = super::name_and_value)]
    sets: Vec<(String, String)>,
    /// Folder of the embedded logs, as for `lode run`
    #[arg(long, value_name = "DIR", default_value = "lode-data", env = "LODE_DATA", hide_env_values = true)]
    data: PathBuf,
}

/// Does what was asked, and tells how it went.
pub fn run(command: LogCommand) -> Result<ExitCode> {
    let runtime = process::threads(None)?;
    let outcome = runtime.block_on(async {
        match command {
            LogCommand::Peek { which, chosen, from, limit, json } => {
                let Some(mut choice) = chosen.compile() else { return Ok(ExitCode::from(exit::SCRIPT)) };
                let Some(log) = open(which).await? else { return Ok(ExitCode::from(exit::SCRIPT)) };
                peek::peek(log, &mut choice, from, limit as usize, json).await
            }
            LogCommand::Tail { which, chosen, from, limit, json } => {
                let Some(mut choice) = chosen.compile() else { return Ok(ExitCode::from(exit::SCRIPT)) };
                let Some(log) = open(which).await? else { return Ok(ExitCode::from(exit::SCRIPT)) };
                peek::tail(log, &mut choice, from, limit, json).await
            }
            LogCommand::Record { which, chosen, from, limit, target } => {
                let mask = target.mask()?;
                let Some(mut choice) = chosen.compile() else { return Ok(ExitCode::from(exit::SCRIPT)) };
                let Some(log) = open(which).await? else { return Ok(ExitCode::from(exit::SCRIPT)) };
                record::record(log, &mut choice, from, limit as usize, &target, mask).await
            }
            LogCommand::Stat { which, json } => {
                let Some(logs) = open_all(which).await? else { return Ok(ExitCode::from(exit::SCRIPT)) };
                figures::show(&logs, json)
            }
            LogCommand::Verify { which, json } => {
                let Some(log) = open(which).await? else { return Ok(ExitCode::from(exit::SCRIPT)) };
                verify::verify(log, json).await
            }
        }
    });
    // A thread that is blocked in a system call does not hold up the exit.
    runtime.shutdown_background();
    outcome
}

/// A log that is open for reading.
pub struct Opened {
    /// As it was found.
    place: LogPlace,
    reader: Arc<dyn LogReader>,
}

/// Opens the one log that is meant; `None` when the script has errors, which were shown.
async fn open(which: Which) -> Result<Option<Opened>> {
    let Some((engine, plan)) = which.plan()? else { return Ok(None) };
    let place = match &which.log {
        Some(name) => engine.find_log(&plan, name).await?,
        None => {
            let mut logs = which.candidates(&engine, &plan).await?;
            match (logs.pop(), logs.is_empty()) {
                (Some(only), true) => only,
                (None, _) => return Err(no_logs(&which)),
                (Some(last), false) => {
                    logs.push(last);
                    let names: Vec<_> = logs.iter().map(LogPlace::name).collect();
                    return Err(Error::new(Kind::Refused, "there is more than one log")
                        .advice(format!("name one of {}", names.join(", "))));
                }
            }
        }
    };
    opened(&engine, &plan, place).await.map(Some)
}

/// Opens the log that is named, or else all of them.
async fn open_all(which: Which) -> Result<Option<Vec<Opened>>> {
    if which.log.is_some() {
        return Ok(open(which).await?.map(|log| vec![log]));
    }
    let Some((engine, plan)) = which.plan()? else { return Ok(None) };
    let places = which.candidates(&engine, &plan).await?;
    if places.is_empty() {
        return Err(no_logs(&which));
    }
    let mut logs = Vec::with_capacity(places.len());
    for place in places {
        logs.push(opened(&engine, &plan, place).await?);
    }
    Ok(Some(logs))
}

async fn opened(engine: &Engine, plan: &Plan, place: LogPlace) -> Result<Opened> {
    let reader = engine.read_log(&place).await.map_err(|error| {
        let is_mined = |place: &LogPlace| {
            plan.mines.values().any(|mine| mine.store == place.store && mine.log == place.log)
        };
        match error.kind() {
            Kind::Refused if is_mined(&place) => {
                error.advice("it is made when the script first runs: lode run FILE")
            }
            _ => error,
        }
    });
    Ok(Opened { reader: reader.context_with(|| format!("while opening log {}", place.name()))?, place })
}

fn no_logs(which: &Which) -> Error {
    let folder = which.data.join("logs");
    Error::new(Kind::Refused, format!("there is no log in {}", folder.display()))
        .advice("name the data folder with --data, or the script that keeps its log elsewhere with --script")
}

impl Which {
    /// What the script asks for; an empty plan without a script. `None` when the script has errors, which were shown.
    fn plan(&self) -> Result<Option<(Engine, Plan)>> {
        let engine = Engine::new(&self.data, Registry::built_in());
        if self.files.is_empty() && self.text.is_none() {
            return Ok(Some((engine, Plan::default())));
        }
        let script = Script { files: self.files.clone(), text: self.text.clone(), sets: self.sets.clone() };
        let checked = engine.load(&super::input(&script, SecretsPolicy::Optional)?);
        let plan = checked.model.as_ref().map(|model: &Model| engine.plan(model));
        if plan.is_none() {
            show_findings(&checked.diagnostics, &checked.sources);
        }
        Ok(plan.map(|plan| (engine, plan)))
    }

    /// The logs of the script; without one, those in the data folder.
    async fn candidates(&self, engine: &Engine, plan: &Plan) -> Result<Vec<LogPlace>> {
        let mut logs = engine.logs(plan).await?;
        if !plan.mines.is_empty() {
            logs.truncate(plan.mines.len());
        }
        Ok(logs)
    }
}
