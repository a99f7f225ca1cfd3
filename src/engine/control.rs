//! Commands that start, stop and move things: what each means for a mine, a pipeline, or tables, and what has to be
//! confirmed before.

use super::Engine;
use super::decisions::Halted;
use super::door::Door;
use super::reply::Reply;
use crate::check::command::Command;
use crate::check::model::Subject;
use crate::check::written::subject_text;
use crate::error::{Error, Kind, Result};
use crate::model::spec::Place;
use crate::model::table::{TableSelection, TableSet};
use crate::plan::diff::Diff;
use crate::plan::{InputPlan, Through};
use crate::run::pipeline::Halt;

impl Engine {
    pub(super) async fn start_one(&self, subject: &Subject) -> Result<String> {
        match subject {
            Subject::Mine(connection) => self.start_mine(connection).await,
            Subject::Pipeline(name) => {
                self.start(name).await?;
                self.let_run(name).await?;
                Ok(format!("pipeline {name} is started"))
            }
            Subject::Tables { .. } => Err(not_for_tables(subject, "start")),
        }
    }

    pub(super) async fn stop_all(&self, of: &[Subject], door: &Door, confirmed: bool) -> Result<Reply> {
        let mut affected = Vec::new();
        let mut would = Vec::new();
        {
            let running = self.running.lock().await;
            for subject in of {
                let Subject::Mine(connection) = subject else { continue };
                let readers = running.readers(&running.key_of(connection));
                if !readers.is_empty() {
                    would.push(format!(
                        "mining {connection} stops; pipelines that read it wait until it is started"
                    ));
                }
                affected.extend(readers);
            }
        }
        if !confirmed && !affected.is_empty() {
            return Ok(confirm(Command::Stop { of: of.to_vec() }, would, affected));
        }
        self.each(of, |subject| async move {
            match subject {
                Subject::Mine(connection) => self.stop_mine(connection, door).await,
                Subject::Pipeline(name) => {
                    self.halt_pipeline(name, Halt::Stopped, door).await?;
                    Ok(format!("pipeline {name} is stopped"))
                }
                Subject::Tables { .. } => Err(not_for_tables(subject, "stop")),
            }
        })
        .await
    }

    pub(super) async fn pause_all(&self, of: &[Subject], door: &Door, confirmed: bool) -> Result<Reply> {
        let (mut would, mut affected) = (Vec::new(), Vec::new());
        for subject in of {
            let Subject::Tables { connection, tables } = subject else { continue };
            would.push(format!(
                "changes of {} are not mined until they are resumed, and read later then; other tables go on",
                subject_text(subject)
            ));
            affected.extend(self.readers_of(connection, tables).await);
        }
        if !confirmed && !would.is_empty() {
            return Ok(confirm(Command::Pause { of: of.to_vec() }, would, affected));
        }
        self.each(of, |subject| async move {
            match subject {
                Subject::Pipeline(name) => {
                    self.halt_pipeline(name, Halt::Paused, door).await?;
                    Ok(format!("pipeline {name} is paused; its log keeps what it has not read"))
                }
                Subject::Tables { connection, tables } => {
                    self.pause_tables(connection, tables).await?;
                    Ok(format!("{} is paused; other tables go on", subject_text(subject)))
                }
                Subject::Mine(name) => Err(not_for_mines(name, "pause")),
            }
        })
        .await
    }

    pub(super) async fn resume_all(
        &self,
        of: &[Subject],
        accept_gap: bool,
        confirmed: bool,
    ) -> Result<Reply> {
        let (mut would, mut affected) = (Vec::new(), Vec::new());
        for subject in of {
            let Subject::Tables { connection, tables } = subject else { continue };
            if accept_gap {
                would.push(format!(
                    "changes of {} that the source no longer has are missing for good: fill their targets anew",
                    subject_text(subject)
                ));
                affected.extend(self.readers_of(connection, tables).await);
            }
        }
        if !confirmed && !would.is_empty() {
            return Ok(confirm(Command::Resume { of: of.to_vec(), accept_gap }, would, affected));
        }
        self.each(of, |subject| async move {
            match subject {
                Subject::Pipeline(name) => {
                    self.resume(name).await?;
                    self.let_run(name).await?;
                    Ok(format!("pipeline {name} goes on"))
                }
                Subject::Tables { connection, tables } => {
                    self.resume_tables(connection, tables, accept_gap).await?;
                    Ok(format!("{} is read again, from where it was paused", subject_text(subject)))
                }
                Subject::Mine(name) => Err(not_for_mines(name, "resume")),
            }
        })
        .await
    }

    /// The pipelines that read tables of a mine.
    async fn readers_of(&self, connection: &str, tables: &TableSet) -> Vec<String> {
        let running = self.running.lock().await;
        let key = running.key_of(connection);
        let reads = |input: &InputPlan| match &input.through {
            Through::Log(mine) => {
                running.key_of(&mine.connection.name) == key
                    && TableSelection::of(input.tables.clone()).touches(tables)
            }
            Through::Direct => false,
        };
        let readers = running.plan.pipelines.values().filter(|pipeline| pipeline.inputs.iter().any(reads));
        readers.map(|pipeline| pipeline.name.clone()).collect()
    }

    pub(super) async fn rewind_one(&self, pipeline: &str, to: &Place, confirmed: bool) -> Result<Reply> {
        if !confirmed {
            let places = self.preview_rewind(pipeline, to).await?;
            let line = |place: &super::pipelines::RoutePlace| {
                let position = place.cursor.position.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
                match place.cursor.log {
                    Some(_) => format!("{} goes on at entry {}{position}", place.route, place.cursor.next),
                    None => format!("{} goes on at {}", place.route, position.trim_start_matches(", ")),
                }
            };
            let mut would: Vec<String> = places.iter().map(line).collect();
            would.push(
                "what lies behind that comes again; what lies before it and was not delivered is left out"
                    .to_owned(),
            );
            let command = Command::Rewind { pipeline: pipeline.to_owned(), to: to.clone() };
            return Ok(confirm(command, would, vec![pipeline.to_owned()]));
        }
        let places = self.rewind(pipeline, to).await?;
        self.let_run(pipeline).await?;
        let line = |place: &super::pipelines::RoutePlace| match (place.cursor.log, &place.cursor.position) {
            (None, Some(position)) => format!("{} goes on at {position}", place.route),
            _ => format!("{} goes on at entry {}", place.route, place.cursor.next),
        };
        Ok(Reply::Done { done: places.iter().map(line).collect() })
    }

    async fn halt_pipeline(&self, name: &str, halt: Halt, door: &Door) -> Result<()> {
        {
            let mut running = self.running.lock().await;
            running.planned(name)?;
            let halted = Halted { halt, decided: self.by(door) };
            self.decide(&mut running, |decisions| {
                decisions.pipelines.insert(name.to_owned(), halted);
            })?;
        }
        match halt {
            Halt::Stopped => self.stop(name).await,
            Halt::Paused => self.pause(name).await,
        }
    }

    /// Forgets that a pipeline was stopped or paused.
    pub(super) async fn let_run(&self, name: &str) -> Result<()> {
        let mut running = self.running.lock().await;
        if !self.decided(&mut running)?.pipelines.contains_key(name) {
            return Ok(());
        }
        self.decide(&mut running, |decisions| {
            decisions.pipelines.remove(name);
        })
    }
}

pub(super) fn confirm(command: Command, would: Vec<String>, mut affected: Vec<String>) -> Reply {
    affected.sort();
    affected.dedup();
    Reply::Confirm { command: command.to_string(), would, affected, diff: Diff::default() }
}

fn not_for_tables(subject: &Subject, verb: &str) -> Error {
    let what = format!("`{verb}` is not for tables such as {}", subject_text(subject));
    Error::new(Kind::Refused, what).advice("tables are paused and resumed")
}

fn not_for_mines(name: &str, verb: &str) -> Error {
    let instead = if verb == "pause" { "stop" } else { "start" };
    Error::new(Kind::Refused, format!("`{verb}` is for pipelines and tables, and {name} is a mine"))
        .advice(format!("say {instead} {name}"))
}
