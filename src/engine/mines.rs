//! Mines under control: stop, start, other settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::control::confirm;
use super::decisions::{Decided, Decisions, Edit};
use super::door::Door;
use super::reply::Reply;
use super::{Engine, Running};
use crate::check::command::{Command, KnownMine, database_of};
use crate::check::written::setting_text;
use crate::check::{System, mine_settings};
use crate::error::{Error, Kind, Result};
use crate::lang::diagnostic::{Diagnostic, render};
use crate::model::position::Position;
use crate::model::spec::{Settings, Start};
use crate::plan::{MinePlan, Plan, Through};
use crate::run::mine::MineState;
use crate::run::signal::{Control, Wish};

/// A mine that was told to stop is waited for so long: what it has read is made durable before.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// What was decided, read when it is needed for the first time.
    pub(super) fn decided<'r>(&self, running: &'r mut Running) -> Result<&'r mut Decisions> {
        if running.decisions.is_none() {
            running.decisions = Some(Decisions::read(&self.data_dir)?);
        }
        Ok(running.decisions.get_or_insert_default())
    }

    /// Changes what is decided; durable when it returns Ok, and otherwise not changed.
    pub(super) fn decide(&self, running: &mut Running, change: impl FnOnce(&mut Decisions)) -> Result<()> {
        let mut decisions = self.decided(running)?.clone();
        change(&mut decisions);
        decisions.write(&self.data_dir)?;
        running.decisions = Some(decisions);
        Ok(())
    }

    pub(super) fn by(&self, door: &Door) -> Decided {
        Decided { at: self.now(), door: door.clone() }
    }

    /// Stops a mine until somebody starts it, in this run and the next ones. Its pipelines wait.
    pub(super) async fn stop_mine(&self, connection: &str, door: &Door) -> Result<String> {
        let mut state = {
            let mut running = self.running.lock().await;
            let key = running.key_of(connection);
            let decided = self.by(door);
            self.decide(&mut running, |decisions| {
                decisions.mines.insert(key.clone(), decided);
            })?;
            let Some(mine) = running.mines.get_mut(&key) else {
                return Ok(format!("mine {connection} is stopped, before any pipeline needs it"));
            };
            mine.control.tell(Wish::Drain);
            let over = mine.task.is_none() || mine.mine.state().borrow().is_over();
            if over {
                mine.mine.rest();
            }
            mine.mine.state()
        };
        let over = state.wait_for(MineState::is_over);
        match tokio::time::timeout(STOP_PATIENCE, over).await {
            Ok(_) => Ok(format!("mine {connection} is stopped; its pipelines wait")),
            Err(_) => Ok(format!("mine {connection} is stopping: its log takes long to write")),
        }
    }

    /// Starts a mine that was stopped, has failed or has read everything there is; its pipelines go on by themselves.
    pub(super) async fn start_mine(&self, connection: &str) -> Result<String> {
        let mut running = self.running.lock().await;
        let key = running.key_of(connection);
        let was_stopped = self.decided(&mut running)?.mines.contains_key(&key);
        let Some(mine) = running.mines.get(&key) else {
            if !was_stopped {
                return Err(Error::new(Kind::Refused, format!("mine {connection} is not stopped")));
            }
            self.decide(&mut running, |decisions| {
                decisions.mines.remove(&key);
            })?;
            return Ok(format!("mine {connection} starts with the first pipeline that needs it"));
        };
        let state = mine.mine.state().borrow().clone();
        if !state.is_over() {
            let error = |what| Error::new(Kind::Refused, format!("mine {connection} {what}"));
            return Err(match was_stopped {
                true => error("is still stopping").advice("try again in a moment"),
                false => error("is running"),
            });
        }
        self.decide(&mut running, |decisions| {
            decisions.mines.remove(&key);
        })?;
        if let Some(mine) = running.mines.get_mut(&key) {
            mine.control = Control::default();
            mine.task = Some(mine.mine.start(mine.control.listen()));
        }
        Ok(format!("mine {connection} is started"))
    }

    /// Changes settings of a mine that does not run.
    pub(super) async fn set_mine(
        &self,
        connection: &str,
        settings: &BTreeMap<String, String>,
        door: &Door,
        confirmed: bool,
    ) -> Result<Reply> {
        let typed = {
            let running = self.running.lock().await;
            let (key, plan) = running.settable(connection)?;
            let typed = self.read_settings(&plan, settings)?;
            refuse_what_does_not_fit(&running.plan, &key, &typed)?;
            typed
        };
        let (mut settings, mut done) = (settings.clone(), Vec::new());
        // The source is asked without the lock: it may take long, or be away.
        if let Some(start) = typed.start("start")
            && let Some(moved) = self.move_start(connection, &start, confirmed).await?
        {
            if !confirmed {
                let running = self.running.lock().await;
                let affected = running.readers(&running.key_of(connection));
                let command = Command::Set { mine: connection.to_owned(), settings };
                return Ok(confirm(command, moved, affected));
            }
            // It counts once, for a log that has begun; where the next one begins is the script's to say.
            settings.remove("start");
            done = moved;
        }
        let mut running = self.running.lock().await;
        let (key, plan) = running.settable(connection)?;
        let before = self.decided(&mut running)?.clone();
        let scripts = running.script.mines.get(&key).map(|mine| mine.settings.clone()).unwrap_or_default();
        let decided = self.by(door);
        self.decide(&mut running, |decisions| {
            let edits = decisions.settings.entry(key.clone()).or_default();
            for (edited, value) in &settings {
                let script = scripts.0.get(edited.as_str()).map(|setting| setting_text(setting, Some(&key)));
                if script.as_ref() == Some(value) {
                    edits.remove(edited);
                } else {
                    let edit = Edit { value: value.clone(), script, decided: decided.clone() };
                    edits.insert(edited.clone(), edit);
                }
            }
            decisions.settings.retain(|_, edits| !edits.is_empty());
        })?;
        let script = running.script.clone();
        let wanted = self.with_edits(&mut running, script)?.0.plan;
        if let Err(error) = self.carry_plan_out(&mut running, wanted).await {
            self.decide(&mut running, |decisions| *decisions = before)?;
            return Err(error);
        }
        for (key, value) in &settings {
            let from = plan.settings.0.get(key.as_str()).map(|from| setting_text(from, Some(connection)));
            let was = from.map_or(String::new(), |from| format!(", was {from}"));
            let when = if key == "threads" { "; the open log takes it when lode runs again" } else { "" };
            done.push(format!("{connection}.{key} is {value}{was}{when}"));
        }
        Ok(Reply::Done { done })
    }

    /// The plan of a script with the settings that were changed by commands, and what is to be said about those for which
    /// the script itself now says something new: they count no longer.
    pub(super) fn with_edits(&self, running: &mut Running, script: Plan) -> Result<(Edited, Vec<String>)> {
        let (mut notes, mut overtaken) = (Vec::new(), Vec::new());
        let mut plan = script;
        for (connection, edits) in self.decided(running)?.settings.clone() {
            let Some(mine) = plan.mines.get(&connection).cloned() else { continue };
            let mut values = BTreeMap::new();
            for (key, edit) in edits {
                let own =
                    mine.settings.0.get(key.as_str()).map(|setting| setting_text(setting, Some(&connection)));
                if own == edit.script {
                    values.insert(key, edit.value);
                    continue;
                }
                let now = own.map_or("says nothing of it".to_owned(), |own| format!("now says {own}"));
                notes.push(format!(
                    "{connection}.{key} was set to {} by a command; the script {now}, and counts again",
                    edit.value
                ));
                overtaken.push((connection.clone(), key));
            }
            plan = plan.with_mine_settings(&connection, &self.read_settings(&mine, &values)?);
        }
        Ok((Edited { plan, overtaken }, notes))
    }

    /// Forgets settings that count no longer.
    pub(super) fn forget_edits(&self, running: &mut Running, overtaken: &[(String, String)]) -> Result<()> {
        if overtaken.is_empty() {
            return Ok(());
        }
        self.decide(running, |decisions| {
            for (connection, key) in overtaken {
                if let Some(edits) = decisions.settings.get_mut(connection) {
                    edits.remove(key);
                }
            }
            decisions.settings.retain(|_, edits| !edits.is_empty());
        })
    }

    /// Has a mine with a log go on at another place; what that leaves out is shown and confirmed first. `None` when its log
    /// is empty: then the start point is a setting like others.
    async fn move_start(
        &self,
        connection: &str,
        start: &Start,
        confirmed: bool,
    ) -> Result<Option<Vec<String>>> {
        let (key, mine) = {
            let running = self.running.lock().await;
            let key = running.key_of(connection);
            let Some(mine) = running.mines.get(&key).map(|mine| Arc::clone(&mine.mine)) else {
                return Ok(None);
            };
            (key, mine)
        };
        if mine.log().tail().commit.is_none() {
            return Ok(None);
        }
        let preview =
            if confirmed { mine.skip_to(start.clone()).await? } else { mine.preview(start).await? };
        if preview.stays() {
            return Ok(Some(vec![format!("mine {key} goes on at {}, where it stopped", preview.to)]));
        }
        let place = |position: &Position, ms: Option<i64>| {
            let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            format!("{position}{}", time.map_or(String::new(), |time| format!(" ({time})")))
        };
        let from =
            preview.from.as_ref().map_or("its beginning".to_owned(), |from| place(from, preview.from_ms));
        let to = place(&preview.to, preview.to_ms);
        Ok(Some(match (confirmed, preview.is_later) {
            (true, _) => vec![format!(
                "mine {key} goes on at {to}; what lies behind {from} and before that is missing"
            )],
            (false, Some(false)) => {
                let what = format!("{to} lies before {from}, where the log ends: it would get changes twice");
                return Err(Error::new(Kind::Refused, what)
                    .advice("rewind pipelines to read what the log has once more"));
            }
            (false, _) => vec![format!(
                "mine {key} goes on at {to} in the place of {from}; what lies between is never mined"
            )],
        }))
    }

    fn read_settings(&self, plan: &MinePlan, settings: &BTreeMap<String, String>) -> Result<Settings> {
        let known = KnownMine {
            connection: plan.connection.name.clone(),
            name: plan.name.clone(),
            database: database_of(&plan.connection),
            store: plan.store.as_ref().map_or("embedded", |store| store.kind),
        };
        mine_settings(self.registry.kinds(), &System, &known, settings).map_err(|(findings, sources)| {
            let first = findings.iter().find(|finding| Diagnostic::is_error(finding));
            let what =
                first.map_or_else(|| render(&findings, &sources, false), |first| first.message.clone());
            Error::new(Kind::Refused, format!("a changed setting of mine {}: {what}", plan.name))
        })
    }
}

/// A script's plan with what commands have changed.
pub(super) struct Edited {
    pub plan: Plan,
    /// Changed settings that the script has overtaken, by connection and key.
    pub overtaken: Vec<(String, String)>,
}

impl Running {
    /// The key and the plan of a mine whose settings may be changed now.
    fn settable(&self, connection: &str) -> Result<(String, Arc<MinePlan>)> {
        let key = self.key_of(connection);
        let Some(plan) = self.plan.mines.get(&key).cloned() else {
            return Err(Error::new(Kind::Refused, format!("there is no mine {connection}")));
        };
        let is_over = |mine: &super::RunningMine| mine.mine.state().borrow().is_over();
        if !self.mines.get(&key).is_none_or(is_over) {
            let what = format!("mine {connection} is running, and its settings are in use");
            return Err(Error::new(Kind::Refused, what)
                .advice(format!("stop it first: stop {connection}; its pipelines wait meanwhile")));
        }
        Ok((key, plan))
    }

    /// The key of the mine that reads for a connection.
    pub(super) fn key_of(&self, connection: &str) -> String {
        self.aliases.get(connection).cloned().unwrap_or_else(|| connection.to_owned())
    }

    /// The pipelines that read through a mine.
    pub(super) fn readers(&self, key: &str) -> Vec<String> {
        let pipelines = self.plan.pipelines.values().filter(|pipeline| self.reads_through(pipeline, key));
        pipelines.map(|pipeline| pipeline.name.clone()).collect()
    }
}

/// Refuses settings that are right by themselves, and not beside what there is.
fn refuse_what_does_not_fit(plan: &Plan, key: &str, settings: &Settings) -> Result<()> {
    if let Some(name) = settings.text("name") {
        let mine = plan
            .mines
            .values()
            .find(|mine| mine.connection.name != key && (mine.name == name || mine.connection.name == name));
        if mine.is_some() || name.is_empty() {
            let what = if name.is_empty() {
                "a mine needs a name".to_owned()
            } else {
                format!("there is a mine {name} already")
            };
            return Err(Error::new(Kind::Refused, what).advice("choose another name"));
        }
    }
    let exclude = settings.tables("exclude").unwrap_or_default();
    for pipeline in plan.pipelines.values() {
        for input in &pipeline.inputs {
            let reads = matches!(&input.through, Through::Log(mine) if mine.connection.name == key);
            let asked = input.tables.include.iter().filter(|table| reads && !table.is_wild());
            for table in asked {
                let excluded =
                    |pattern: &String| crate::model::table::Pattern(pattern.clone()).matches(&table.0);
                if exclude.iter().any(excluded) {
                    let what = format!(
                        "pipeline {} asks for {key}.{}, which would never be mined",
                        pipeline.name, table.0
                    );
                    return Err(Error::new(Kind::Refused, what)
                        .advice("leave it out of `exclude`, or change the pipeline and apply it first"));
                }
            }
        }
    }
    Ok(())
}
