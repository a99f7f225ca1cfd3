//! Runs what alerts and schedules do, beside everything else: bounded in number and in time, and in order for each alert.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::warn;

use super::super::Engine;
use super::super::door::Door;
use super::host::{COMMAND_PATIENCE, EngineHost, answer, out_of_time};
use crate::check::model::Action;
use crate::error::{Error, Kind, Result};
use crate::hook::act::{ActFacts, ActingHook, Host, Occasion};
use crate::run::event::Event;

/// So many hooks run at a time.
const AT_ONCE: usize = 4;
/// So many runs wait for one alert or schedule; further ones are left out, and that is said.
const WAITING_MAX: usize = 16;
/// So many alerts and schedules have runs that wait.
const QUEUES_MAX: usize = 256;
/// A hook that has not ended after so long is given up. It goes on by itself until its own limits end it.
const PATIENCE: Duration = Duration::from_secs(120);
/// A hook that takes longer is said to be slow.
const SLOW: Duration = Duration::from_secs(10);
/// So many hooks are remembered with how their last run went.
const REMEMBERED_MAX: usize = 100;

/// One run of a hook or a command.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// For what: `lag of sales`, `every 1h`. Runs of the same name come one after the other.
    pub name: String,
    pub occasion: Occasion,
    /// What is done; `None` only tells people.
    pub action: Option<Action>,
    pub facts: ActFacts,
    pub message: String,
    /// Names of connections that mail is sent by.
    pub connections: Vec<String>,
}

/// How the last run of a hook or command went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// For what it ran: `lag of sales`, `every 1h`.
    pub name: String,
    /// When it began, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it failed, or was slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What runs, and what waits to.
pub(super) struct Runner {
    queues: Mutex<BTreeMap<String, VecDeque<Job>>>,
    runs: Mutex<VecDeque<HookRun>>,
    places: Arc<Semaphore>,
}

impl Default for Runner {
    fn default() -> Self {
        Runner { queues: Mutex::default(), runs: Mutex::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Runner {
    /// The last runs, oldest first.
    pub fn runs(&self) -> Vec<HookRun> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether nothing runs or waits.
    pub fn is_idle(&self) -> bool {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Has a job done soon.
    pub fn submit(self: &Arc<Self>, engine: &Arc<Engine>, job: Job) {
        let refused = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let open = queues.len();
            match queues.get_mut(&job.name) {
                Some(queue) if queue.len() >= WAITING_MAX => Some(job),
                Some(queue) => {
                    queue.push_back(job);
                    None
                }
                None if open >= QUEUES_MAX => Some(job),
                None => {
                    queues.insert(job.name.clone(), VecDeque::new());
                    tokio::spawn(Arc::clone(self).work(Arc::downgrade(engine), job));
                    None
                }
            }
        };
        if let Some(job) = refused {
            let what = "it was not run: too many runs wait already".to_owned();
            self.note(engine, &job.name, engine.clock.now_ms(), Duration::ZERO, Some(what));
        }
    }

    /// Does a job, and those of the same name that come meanwhile.
    async fn work(self: Arc<Self>, engine: Weak<Engine>, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            let (name, began) = (job.name.clone(), Instant::now());
            let Some(held) = engine.upgrade() else { return };
            let at_ms = held.clock.now_ms();
            drop(held);
            let result = self.run(&engine, job).await;
            let Some(held) = engine.upgrade() else { return };
            let slow = (began.elapsed() > SLOW).then(|| format!("it took {} s", began.elapsed().as_secs()));
            let error = result.err().map(|error| match error.next_step() {
                Some(advice) => format!("{error}; {advice}"),
                None => error.to_string(),
            });
            self.note(&held, &name, at_ms, began.elapsed(), error.or(slow));
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            next = queues.get_mut(&name).and_then(VecDeque::pop_front);
            if next.is_none() {
                queues.remove(&name);
            }
        }
    }

    async fn run(&self, engine: &Weak<Engine>, job: Job) -> Result<()> {
        let door = match job.occasion {
            Occasion::Alert => Door::Hook,
            Occasion::Schedule => Door::Schedule,
        };
        let ended = || Error::new(Kind::Refused, "lode is ending");
        match job.action {
            Some(Action::Command(command)) => {
                let engine = engine.upgrade().ok_or_else(ended)?;
                let reply =
                    tokio::time::timeout(COMMAND_PATIENCE, engine.command(&command, &door, true)).await;
                let text = command.to_string();
                answer(&text, reply.map_err(|_| out_of_time(&text))?).map(drop)
            }
            Some(Action::Hook(hook)) => {
                let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| ended())?;
                let host = EngineHost { engine: engine.clone(), runtime: Handle::current(), door };
                let host: Arc<dyn Host> = Arc::new(host);
                let run = tokio::task::spawn_blocking(move || {
                    let _place = place;
                    let mut hook = ActingHook::compile(&hook, job.occasion, &job.connections)?;
                    hook.run(&job.facts, &host)
                });
                let failed = |error: crate::hook::HookError| {
                    let made = Error::new(Kind::Data, error.to_string());
                    error.advice.into_iter().fold(made, Error::advice)
                };
                match tokio::time::timeout(PATIENCE, run).await {
                    Ok(Ok(result)) => result.map_err(failed),
                    Ok(Err(panic)) => Err(Error::new(Kind::Internal, format!("lode is at fault: {panic}"))),
                    Err(_) => {
                        let what = format!("the hook has not ended after {} s", PATIENCE.as_secs());
                        Err(Error::new(Kind::Unavailable, what))
                    }
                }
            }
            None => {
                let host = EngineHost { engine: engine.clone(), runtime: Handle::current(), door };
                host.notify(&job.message)
            }
        }
    }

    fn note(&self, engine: &Engine, name: &str, at_ms: i64, took: Duration, error: Option<String>) {
        if let Some(error) = &error {
            warn!(hook = name, "a hook did not do what it should: {error}");
            engine.events.tell(Event::Hook { name: name.to_owned(), error: error.clone() });
        }
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|run| run.name != name);
        if runs.len() >= REMEMBERED_MAX {
            runs.pop_front();
        }
        runs.push_back(HookRun { name: name.to_owned(), at_ms, took_ms: took.as_millis() as u64, error });
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}
