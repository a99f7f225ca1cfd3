//! Alerts and schedules of a running engine: looked at once a second and whenever something happens.
//!
//! What fires, what is muted and what was told is kept in `state/alerts.json` of the data folder, so that it holds over a
//! restart. A schedule whose time passed while lode was away is not made up for; that is said once.

mod host;
mod observe;
mod runner;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use self::observe::Observer;
use self::runner::{Job, Runner};
use super::Engine;
use super::reply::Reply;
use crate::check::SENDING;
use crate::check::model::{Action, Alert, Metric, Schedule, Subject};
use crate::error::{Error, Kind, Result};
use crate::hook::act::{ActFacts, Occasion};
use crate::plan::Plan;
use crate::run::alert::{Because, Firing, Kept, Mute, Rule, Told, Watch, Whom, rules, time_text};
use crate::run::event::Event;
use crate::run::schedule::{Due, Timer};
use crate::run::state_file;

pub use self::runner::HookRun;

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether hooks have ended.
const IDLE_POLL: Duration = Duration::from_millis(20);
/// How often it is noted that somebody looked, where there are schedules that could be missed.
const NOTED_EVERY_MS: i64 = 60_000;
/// So much of the history is answered at once.
const HISTORY_SHOWN: usize = 20;
/// The format that this version writes.
const VERSION: u32 = 1;

/// Alerts at a moment, as data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AlertsShown {
    /// How many conditions are watched.
    pub watched: usize,
    /// What fires.
    pub firing: Vec<Firing>,
    /// Who is not to tell.
    pub mutes: Vec<Mute>,
    /// What was told last, oldest first.
    pub history: Vec<Told>,
    /// How hooks and commands went the last time.
    pub hooks: Vec<HookRun>,
}

/// What the engine knows of alerts and schedules.
#[derive(Debug)]
pub(super) struct Alerts {
    path: PathBuf,
    state: Mutex<State>,
    runner: Arc<Runner>,
}

#[derive(Debug, Default)]
struct State {
    loaded: bool,
    watch: Watch,
    observer: Observer,
    statements: Vec<Alert>,
    schedules: Vec<Schedule>,
    timers: Vec<Timer>,
    /// When somebody looked, as the file says.
    noted_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    #[serde(default)]
    seen_ms: i64,
    kept: Kept,
}

impl Alerts {
    /// What is kept in a folder; it is read when it is needed.
    pub fn new(folder: PathBuf) -> Alerts {
        Alerts { path: folder.join("alerts.json"), state: Mutex::default(), runner: Arc::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.loaded {
            state.loaded = true;
            match state_file::read::<Stored>(&self.path) {
                Ok(Some(stored)) if stored.version == VERSION => {
                    state.watch = Watch::new(stored.kept);
                    state.noted_ms = stored.seen_ms;
                }
                Ok(Some(stored)) => warn!(
                    version = stored.version,
                    "what earlier runs knew of alerts is of a version that this build does not know"
                ),
                Ok(None) => {}
                // Without it, what fires is told once more, which is better than not at all.
                Err(error) => warn!("what earlier runs knew of alerts is lost: {error}"),
            }
        }
        state
    }

    fn write(&self, state: &mut State, now_ms: i64) -> Result<()> {
        state.noted_ms = now_ms;
        let stored = Stored { version: VERSION, seen_ms: now_ms, kept: state.watch.kept().clone() };
        state_file::write(&self.path, &stored)
    }

    /// Changes who tells; durable when it returns Ok.
    fn change<T>(&self, now_ms: i64, change: impl FnOnce(&mut Watch) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        let changed = change(&mut state.watch)?;
        self.write(&mut state, now_ms)?;
        Ok(changed)
    }
}

impl Engine {
    /// Once something was applied, watches what alerts are about and keeps the times of schedules, in the background, for as long as the engine lives.
    /// Hooks run beside everything else: none holds up a mine or a pipeline.
    pub fn watch(self: &Arc<Self>) {
        let (engine, mut events) = (Arc::downgrade(self), self.events());
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let happened = tokio::select! {
                    _ = interval.tick() => true,
                    event = events.recv() => match event {
                        // What alerts themselves tell is no reason to look again.
                        Ok(Event::Alert(_) | Event::Notice { .. } | Event::Hook { .. }) => false,
                        Ok(_) | Err(RecvError::Lagged(_)) => true,
                        Err(RecvError::Closed) => return,
                    },
                };
                let Some(engine) = engine.upgrade() else { return };
                if happened {
                    engine.look().await;
                    // What else has happened until now was seen, or is seen a second later.
                    while !matches!(events.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
                }
            }
        });
    }

    /// Looks at everything once, as [`watch`](Self::watch) does again and again, and has told and done what is due.
    pub async fn look(self: &Arc<Self>) {
        let jobs = {
            let running = self.running.lock().await;
            // Before something runs, nothing is over either.
            if running.plan.pipelines.is_empty() {
                return;
            }
            let mut state = self.alerts.state();
            let now_ms = self.clock.now_ms();
            self.follow(&mut state, &running.plan, now_ms);
            let of_tables = |rule: &Rule| matches!(rule.of, Some(Subject::Tables { .. }));
            let tables = state.watch.rules().iter().any(of_tables);
            let observation = state.observer.look(&running, &self.clock, tables);
            let fired = state.watch.kept().firing.len();
            let told = state.watch.look(&observation);
            let all = running.plan.connections.values();
            let sending = all.filter(|connection| SENDING.contains(&connection.kind));
            let connections: Vec<String> = sending.map(|connection| connection.name.clone()).collect();
            let mut jobs: Vec<Job> =
                told.iter().flat_map(|told| jobs_of(told, &state, &running.plan)).collect();
            drop(running);
            let is_old = !state.timers.is_empty() && now_ms - state.noted_ms >= NOTED_EVERY_MS;
            if !told.is_empty() || state.watch.kept().firing.len() != fired || is_old {
                // What is told is not held up by a disk that is full.
                if let Err(error) = self.alerts.write(&mut state, now_ms) {
                    warn!("alerts are not noted, and would be told again after a restart: {error}");
                }
            }
            jobs.extend(due(&mut state, now_ms));
            jobs.iter_mut().for_each(|job| job.connections.clone_from(&connections));
            told.into_iter().for_each(|told| self.tell(told));
            jobs
        };
        for job in jobs {
            self.alerts.runner.submit(self, job);
        }
    }

    /// What fires, what is muted, what was told, how hooks went.
    pub fn alerts(&self) -> AlertsShown {
        let state = self.alerts.state();
        let kept = state.watch.kept();
        let surplus = kept.history.len().saturating_sub(HISTORY_SHOWN);
        AlertsShown {
            watched: state.watch.rules().len(),
            firing: kept.firing.clone(),
            mutes: kept.mutes.clone(),
            history: kept.history.iter().skip(surplus).cloned().collect(),
            hooks: self.alerts.runner.runs(),
        }
    }

    /// Looks once more, and waits until no hook runs or waits to, for `patience` at the most. Who ends a run has what
    /// ended it told.
    pub async fn finish_hooks(self: &Arc<Self>, patience: Duration) {
        self.look().await;
        let idle = async {
            while !self.alerts.runner.is_idle() {
                tokio::time::sleep(IDLE_POLL).await;
            }
        };
        if tokio::time::timeout(patience, idle).await.is_err() {
            warn!("hooks are left unfinished");
        }
    }

    pub(super) fn mute(&self, name: &str, time: Option<Duration>) -> Result<Reply> {
        let now_ms = self.clock.now_ms();
        let until_ms =
            time.map(|time| now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)));
        self.alerts.change(now_ms, |watch| {
            known(watch, name)?;
            watch.mute(name, until_ms);
            Ok(())
        })?;
        let until =
            until_ms.map_or("until `unmute`".to_owned(), |until| format!("until {}", time_text(until)));
        Ok(Reply::Done { done: vec![format!("{name} tells nobody, {until}")] })
    }

    pub(super) fn unmute(&self, name: &str) -> Result<Reply> {
        self.alerts.change(self.clock.now_ms(), |watch| match watch.unmute(name) {
            true => Ok(Reply::Done { done: vec![format!("{name} tells again")] }),
            false => Err(Error::new(Kind::Refused, format!("{name} is not muted"))
                .advice("`alerts` lists what is muted, by the name that it was muted by")),
        })
    }

    pub(super) fn ack(&self, name: &str) -> Result<Reply> {
        self.alerts.change(self.clock.now_ms(), |watch| {
            known(watch, name)?;
            let acked = watch.ack(name);
            if acked.is_empty() {
                return Err(Error::new(Kind::Refused, format!("{name} does not fire")));
            }
            let done =
                acked.iter().map(|name| format!("{name} tells no more until it is resolved")).collect();
            Ok(Reply::Done { done })
        })
    }

    /// Takes the rules and schedules of what runs now.
    fn follow(&self, state: &mut State, plan: &Plan, now_ms: i64) {
        let wanted = rules(plan);
        if state.watch.rules() != wanted {
            state.watch.set_rules(wanted);
        }
        state.statements.clone_from(&plan.alerts);
        if state.schedules == plan.schedules {
            return;
        }
        let zone = self.clock.zone();
        let fresh = |schedule: &Schedule| Timer::new(schedule.when.clone(), zone.clone(), now_ms);
        let begins = state.timers.is_empty();
        let mut timers = Vec::with_capacity(plan.schedules.len());
        for schedule in &plan.schedules {
            // One that was there before goes on with its time.
            let kept = state.timers.iter().find(|timer| *timer.when() == schedule.when).cloned();
            let timer = kept.unwrap_or_else(|| fresh(schedule));
            let missed = timer.missed(state.noted_ms, now_ms).filter(|_| begins && state.noted_ms > 0);
            if let Some(at_ms) = missed {
                let text = format!("{}: missed at {}, as lode was away", schedule.when, time_text(at_ms));
                warn!("{text}; it is not made up for");
                self.events.tell(Event::Notice { text });
            }
            timers.push(timer);
        }
        (state.timers, state.schedules) = (timers, plan.schedules.clone());
    }

    fn tell(&self, told: Told) {
        match told.because {
            Because::Resolved => info!(alert = told.name, "{}", told.message),
            Because::Fires | Because::Repeats => warn!(alert = told.name, "{}", told.message),
        }
        self.events.tell(Event::Alert(told));
    }

    /// The connections of what runs, for whoever sends something by them.
    pub(super) async fn connections(&self) -> crate::client::send::Connections {
        self.running.lock().await.plan.connections.clone()
    }
}

fn known(watch: &Watch, name: &str) -> Result<()> {
    if watch.knows(name) {
        return Ok(());
    }
    let rules: Vec<&str> = watch.rules().iter().map(|rule| rule.id.as_str()).take(10).collect();
    let error = Error::new(Kind::Refused, format!("there is no alert {name}"));
    Err(match rules.as_slice() {
        [] => error.advice("no alert is watched: write `on … do …`, or `alerts = standard`"),
        rules => error
            .advice(format!("name it by its metric and whom it is about; watched are {}", rules.join(", "))),
    })
}

/// What is done for what is told: what its statement says, or for a ready alert what `on alert` says, or else a notice.
fn jobs_of(told: &Told, state: &State, plan: &Plan) -> Vec<Job> {
    let job = |action| Job {
        name: told.name.clone(),
        occasion: Occasion::Alert,
        action,
        facts: told.facts(),
        message: told.message.clone(),
        connections: Vec::new(),
    };
    let Some(rule) = state.watch.rule(&told.rule) else { return Vec::new() };
    if let Some(alert) = rule.statement.and_then(|statement| state.statements.get(statement)) {
        // A command happens once: what `pause` has done is not undone by the end of what it was for.
        let is_command = matches!(alert.action, Action::Command(_));
        return if is_command && told.because != Because::Fires {
            Vec::new()
        } else {
            vec![job(Some(alert.action.clone()))]
        };
    }
    let concerned =
        plan.alerts.iter().filter(|alert| alert.metric == Metric::Alert && is_about(&alert.of, &told.of));
    let jobs: Vec<Job> = concerned.map(|alert| job(Some(alert.action.clone()))).collect();
    if jobs.is_empty() { vec![job(None)] } else { jobs }
}

fn is_about(of: &Option<Subject>, whom: &Whom) -> bool {
    match (of, whom) {
        (None, _) => true,
        (Some(Subject::Pipeline(wanted)), Whom::Pipeline(name)) => wanted == name,
        (Some(Subject::Mine(wanted)), Whom::Mine(name)) => wanted == name,
        _ => false,
    }
}

fn due(state: &mut State, now_ms: i64) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (timer, schedule) in state.timers.iter_mut().zip(&state.schedules) {
        let name = schedule.when.to_string();
        match timer.due(now_ms) {
            None => {}
            Some(Due::Missed(at_ms)) => {
                warn!("{name}: missed at {}; it is not made up for", time_text(at_ms))
            }
            Some(Due::Now(at_ms)) => {
                let mut facts = ActFacts::new();
                facts.insert("name".to_owned(), name.clone().into());
                facts.insert("time".to_owned(), time_text(at_ms).into());
                jobs.push(Job {
                    message: String::new(),
                    name,
                    occasion: Occasion::Schedule,
                    action: Some(schedule.action.clone()),
                    facts,
                    connections: Vec::new(),
                });
            }
        }
    }
    jobs
}
