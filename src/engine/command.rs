//! Commands: from a line of text to an answer.

use std::collections::BTreeMap;
use std::path::Path;

use tracing::warn;

use super::audit::AuditEntry;
use super::decisions::Decisions;
use super::door::Door;
use super::reply::{Reply, SettingShown};
use super::status::Status;
use super::{Engine, Running};
use crate::check::command::{Known, KnownMine, database_of};
use crate::check::model::{Bearer, Metric, MetricUnit, Subject};
use crate::check::specs::{PIPELINE, SHARE_MINING};
use crate::check::written::setting_text;
use crate::check::{Kinds, System, check_line, reference, setting_page};
use crate::error::{Error, Kind, Result};
use crate::hook::library;
use crate::lang::codes;
use crate::lang::diagnostic::did_you_mean;
use crate::lang::parse::is_statement;
use crate::lang::verb::Verb;
use crate::model::spec::Settings;

pub use crate::check::command::Command;

/// So many entries of the audit list are shown when nobody says how many.
const AUDIT_SHOWN: u64 = 20;
/// More entries of the audit list are never shown at once.
const AUDIT_SHOWN_MAX: u64 = 1000;

impl Engine {
    /// Carries out a command or statements as they are typed. Paths in them are relative to `folder`. Whatever is wrong is in
    /// the answer.
    pub async fn line(&self, text: &str, folder: &Path, door: &Door, confirmed: bool) -> Reply {
        if is_statement(text) {
            return self.statements(text, folder, door, confirmed).await;
        }
        let known = self.known().await;
        let checked = check_line("<command>", text, self.registry.kinds(), &System, &known);
        let Some(mut command) = checked.command else {
            return Reply::wrong(&checked.diagnostics, &checked.sources);
        };
        if let Command::Apply { file: Some(file) }
        | Command::Diff { file: Some(file) }
        | Command::Save { file } = &mut command
        {
            *file = folder.join(&*file).display().to_string();
        }
        self.command(&command, door, confirmed).await
    }

    /// Carries out a command. One that loses something, or that others are affected by, is only described at first, and
    /// carried out when it comes again `confirmed`. Commands that change something are noted in the audit list.
    ///
    /// When the answer says that something was done, that holds for the next run, too. Errors are answers:
    /// [`Reply::Failed`] and [`Reply::Wrong`]. Whoever stops waiting does not know how far it came.
    pub async fn command(&self, command: &Command, door: &Door, confirmed: bool) -> Reply {
        let reply = self.carry_out(command, door, confirmed).await.unwrap_or_else(Reply::from);
        if command.changes() {
            self.note(door, command.to_string(), &reply);
        }
        reply
    }

    /// Notes in the audit list what became of a command, when something was tried.
    pub(super) fn note(&self, door: &Door, command: String, reply: &Reply) {
        let Some((done, outcome)) = reply.outcome() else { return };
        let entry = AuditEntry { at: self.now(), door: door.clone(), command, done, outcome };
        if let Err(error) = self.audit.add(entry) {
            warn!("a command is missing in the audit list: {error}");
        }
    }

    /// What commands can be about at this moment.
    pub async fn known(&self) -> Known {
        let running = self.running.lock().await;
        let plan = &running.plan;
        let mined = |name: &String| plan.mines.contains_key(name);
        Known {
            pipelines: plan.pipelines.keys().cloned().collect(),
            mines: plan
                .mines
                .iter()
                .map(|(connection, mine)| KnownMine {
                    connection: connection.clone(),
                    name: mine.name.clone(),
                    database: database_of(&mine.connection),
                    store: mine.store.as_ref().map_or("embedded", |store| store.kind),
                })
                .collect(),
            not_mined: plan.connections.keys().filter(|name| !mined(name)).cloned().collect(),
            declared: self.declared(),
            modules: running.modules(),
        }
    }

    /// What was stopped or changed by commands, and still holds for what runs.
    ///
    /// # Errors
    /// As [`Decisions::read`].
    pub async fn decisions(&self) -> Result<Decisions> {
        let mut running = self.running.lock().await;
        let mut decisions = self.decided(&mut running)?.clone();
        // Those about what the script no longer has are kept, for when it has it again.
        let plan = &running.plan;
        decisions.mines.retain(|connection, _| plan.mines.contains_key(connection));
        decisions.settings.retain(|connection, _| plan.mines.contains_key(connection));
        decisions.pipelines.retain(|name, _| plan.pipelines.contains_key(name));
        Ok(decisions)
    }

    async fn carry_out(&self, command: &Command, door: &Door, confirmed: bool) -> Result<Reply> {
        Ok(match command {
            Command::Status { of: None } => {
                Reply::Status { status: self.status().await, decisions: self.decisions().await? }
            }
            Command::Status { of: Some(of) } | Command::Show { of } => self.show(of).await?,
            Command::Mines => {
                Reply::Mines { mines: self.status().await.mines, decisions: self.decisions().await? }
            }
            Command::Pipelines => Reply::Pipelines {
                pipelines: self.status().await.pipelines,
                decisions: self.decisions().await?,
            },
            Command::Tables { mine } => {
                let name = self.mine_name(mine).await;
                let mine = self.status().await.mines.into_iter().find(|mine| mine.name == name);
                Reply::Tables { mine: Box::new(mine.ok_or_else(|| not_open(&name))?) }
            }
            Command::Audit { count } => {
                let count = count.unwrap_or(AUDIT_SHOWN).min(AUDIT_SHOWN_MAX);
                Reply::Audit { entries: self.audit.last(count as usize)? }
            }
            Command::Alerts => Reply::Alerts { alerts: Box::new(self.alerts()) },
            Command::Mute { name, time } => self.mute(name, *time)?,
            Command::Unmute { name } => self.unmute(name)?,
            Command::Ack { name } => self.ack(name)?,
            Command::Help { about } => Reply::Text { text: help(about.as_deref(), self.registry.kinds())? },
            Command::Explain { word } => Reply::Text { text: self.explain(word)? },
            Command::Peek { look, limit } => self.answer_peek(look, *limit).await,
            Command::Sql { connection, statement, limit } => {
                Reply::Rows(self.sql(connection, statement, *limit).await?)
            }
            Command::Eval { of, limit, code } => self.answer_eval(of, code, *limit).await,
            Command::Trace { pipeline, limit, key } => Reply::Trace(self.trace(pipeline, key, *limit).await?),
            Command::Tail { .. } => {
                return Err(Error::new(Kind::Refused, "`tail` has no end, and one answer was asked for")
                    .advice("ask for it in parts, or `peek`"));
            }
            Command::Start { of } => self.each(of, |subject| self.start_one(subject)).await?,
            Command::Stop { of } => self.stop_all(of, door, confirmed).await?,
            Command::Set { mine, settings } => self.set_mine(mine, settings, door, confirmed).await?,
            Command::Apply { file } => self.reload(file.as_deref(), true).await?,
            Command::Diff { file } => self.reload(file.as_deref(), false).await?,
            Command::Remove { what } => self.remove(what, confirmed).await?,
            Command::Undo => self.undo(confirmed).await?,
            Command::Save { file } => self.save(Path::new(file), confirmed).await?,
            Command::Restart { pipelines } => {
                let mut done = Vec::new();
                for name in pipelines {
                    self.restart(name).await?;
                    self.let_run(name).await?;
                    done.push(format!("pipeline {name} is started anew"));
                }
                Reply::Done { done }
            }
            Command::Pause { of } => self.pause_all(of, door, confirmed).await?,
            Command::Resume { of, accept_gap } => self.resume_all(of, *accept_gap, confirmed).await?,
            Command::Rewind { pipeline, to } => self.rewind_one(pipeline, to, confirmed).await?,
            Command::Skip { pipeline } => {
                let skipped = self.skip(pipeline).await?;
                let line = |skipped: &super::pipelines::Skipped| match skipped.at {
                    Some(at) => format!(
                        "entry {at} is left out of {} and set aside: {}",
                        skipped.route, skipped.error
                    ),
                    None => format!(
                        "one change is left out of {} and set aside: {}",
                        skipped.route, skipped.error
                    ),
                };
                Reply::Done { done: skipped.iter().map(line).collect() }
            }
        })
    }

    /// Does something with each of several things; what was done before an error is in the error's text.
    pub(super) async fn each<'s, T: Future<Output = Result<String>>>(
        &self,
        of: &'s [Subject],
        act: impl Fn(&'s Subject) -> T,
    ) -> Result<Reply> {
        let mut done: Vec<String> = Vec::new();
        for subject in of {
            match act(subject).await {
                Ok(what) => done.push(what),
                Err(error) if done.is_empty() => return Err(error),
                Err(error) => return Err(error.context(format!("after this was done: {}", done.join("; ")))),
            }
        }
        Ok(Reply::Done { done })
    }

    async fn show(&self, of: &Subject) -> Result<Reply> {
        let Status { mines, pipelines } = self.status().await;
        let mut running = self.running.lock().await;
        let decisions = self.decided(&mut running)?.clone();
        match of {
            Subject::Pipeline(name) => {
                let plan = running.plan.pipelines.get(name).ok_or_else(|| not_open(name))?;
                let pipeline = pipelines.into_iter().find(|pipeline| pipeline.name == *name);
                Ok(Reply::Pipeline {
                    pipeline: Box::new(pipeline.ok_or_else(|| not_open(name))?),
                    settings: shown(&plan.settings, &BTreeMap::new(), None),
                    halted: decisions.pipelines.get(name).cloned(),
                })
            }
            Subject::Mine(connection) | Subject::Tables { connection, .. } => {
                let plan = running.plan.mines.get(connection).ok_or_else(|| not_open(connection))?;
                let name = running.mine_name(connection);
                let mine = mines.into_iter().find(|mine| mine.name == name);
                let none = BTreeMap::new();
                let edits = decisions.settings.get(connection).unwrap_or(&none);
                let store = plan.store.as_ref().map_or("embedded", |store| store.name.as_str());
                Ok(Reply::Mine {
                    mine: Box::new(mine.ok_or_else(|| not_open(&name))?),
                    source: format!("{} {}", plan.connection.kind, plan.connection.endpoint),
                    log: format!("{store}.{}", plan.log),
                    settings: shown(&plan.settings, edits, Some(connection)),
                    stopped: decisions.mines.get(connection).cloned(),
                })
            }
        }
    }

    async fn mine_name(&self, connection: &str) -> String {
        self.running.lock().await.mine_name(connection)
    }

    fn explain(&self, word: &str) -> Result<String> {
        let page = codes::explain(word).map(str::to_owned);
        let page = page.or_else(|| reference(&word.to_lowercase(), self.registry.kinds()));
        page.or_else(|| library::page(word)).ok_or_else(|| {
            Error::new(Kind::Refused, format!("there is no page for {word}"))
                .advice("`lode explain` lists everything that has a page")
        })
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl Running {
    /// The name of the mine that reads for a connection.
    pub(super) fn mine_name(&self, connection: &str) -> String {
        let key = self.aliases.get(connection).map_or(connection, String::as_str);
        match (self.mines.get(key), self.plan.mines.get(connection)) {
            (Some(running), _) => running.mine.name().to_owned(),
            (None, Some(plan)) => plan.name.clone(),
            (None, None) => connection.to_owned(),
        }
    }
}

fn shown(
    settings: &Settings,
    edits: &BTreeMap<String, super::decisions::Edit>,
    connection: Option<&str>,
) -> BTreeMap<String, SettingShown> {
    let shown = settings.0.iter().map(|(key, setting)| {
        let edited = edits.get(*key).cloned();
        ((*key).to_owned(), SettingShown { value: setting_text(setting, connection), edited })
    });
    shown.collect()
}

fn not_open(name: &str) -> Error {
    Error::new(Kind::Refused, format!("{name} does not run yet"))
        .advice("`status` says what does; a mine runs from its first pipeline on")
}

/// Every verb, or one in full, or what a setting means.
fn help(about: Option<&str>, kinds: &Kinds) -> Result<String> {
    let Some(word) = about else {
        let width = Verb::ALL.iter().map(|verb| verb.as_str().len()).max().unwrap_or(0);
        let line = |verb: &Verb| format!("{:width$}  {}\n", verb.as_str(), verb.meaning());
        let verbs: String = Verb::ALL.iter().map(line).collect();
        return Ok(verbs
            + "\n`help VERB` shows how it is written, `help SETTING` and `help METRIC` what one means, `help FUNCTION` one of hooks.");
    };
    // `start` is both.
    let verb = Verb::find(word).map(|verb| {
        let usage: String = verb.usage().lines().map(|line| format!("    {line}\n")).collect();
        format!("{}\n\n{usage}", verb.meaning())
    });
    let function = library::page(word).map(|page| format!("In hooks:\n{page}"));
    let pages: Vec<String> =
        verb.into_iter().chain(setting_page(word, kinds)).chain(metric_page(word)).chain(function).collect();
    if !pages.is_empty() {
        return Ok(pages.join("\n"));
    }
    let verbs = || Verb::ALL.iter().map(|verb| verb.as_str());
    let settings = kinds.setting_lists().chain([SHARE_MINING, PIPELINE]).flatten().map(|spec| spec.key);
    let functions = library::functions();
    let functions = functions.iter().map(|known| known.name);
    let metrics = Metric::ALL.iter().map(|metric| metric.as_str());
    let what = format!("there is no command, no setting, no metric and no function {word}");
    let error = Error::new(Kind::Refused, what);
    Err(match did_you_mean(word, verbs().chain(settings).chain(metrics).chain(functions)) {
        Some(near) => error.advice(format!("did you mean {near}?")),
        None => error.advice(format!("the commands are {}", verbs().collect::<Vec<_>>().join(", "))),
    })
}

/// What a metric is, who has it, and how an alert watches it.
fn metric_page(word: &str) -> Option<String> {
    let metric = Metric::ALL.iter().find(|metric| metric.as_str() == word)?;
    let (unit, compared) = match metric.unit() {
        MetricUnit::YesNo => ("yes or no", ""),
        MetricUnit::Count => ("a number", " > 5"),
        MetricUnit::Time => ("a duration", " > 30s"),
        MetricUnit::Size => ("a size", " > 20GiB"),
    };
    let bearer = match metric.bearer() {
        Bearer::Mines => "of mines",
        Bearer::Pipelines => "of pipelines",
        Bearer::Both => "of mines and pipelines",
    };
    let meaning = metric.meaning();
    Some(format!(
        "{word}, a metric {bearer}: {unit}\n    {meaning}\n\n    on {word}{compared} for 2m of NAME do HOOK\n"
    ))
}
