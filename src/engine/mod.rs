//! The one door: scripts, the command line and embedding programs change what runs only through [`Engine`].

pub mod alerts;
pub mod audit;
pub mod command;
mod control;
pub mod decisions;
pub mod door;
mod identity;
pub mod kinds;
pub mod logs;
pub mod look;
pub mod metrics;
mod mines;
mod opening;
pub mod parts;
pub mod pipelines;
pub mod readiness;
pub mod registry;
mod reload;
pub mod reply;
pub mod socket;
pub mod status;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast};
use tokio::task::JoinHandle;

use self::alerts::Alerts;
use self::audit::Audit;
use self::decisions::Decisions;
use self::identity::part_from_twins;
use self::registry::Registry;
use self::status::Status;
use crate::check::{self, Checked, Input, Model, System};
use crate::error::{Error, Kind, Result};
use crate::model::clock::Clock;
use crate::model::position::LogEpoch;
use crate::plan::build::build;
use crate::plan::{MinePlan, PipelinePlan, Plan};
use crate::run::claim::Claims;
use crate::run::event::{Event, Events};
use crate::run::mine::{Mine, MineState};
use crate::run::pipeline::{Halt, Pipeline};
use crate::run::retention::Policy;
use crate::run::signal::{Control, Wish};
use crate::source::Source;
use crate::store::LogStore;
use crate::store::embedded::{Embedded, Options};

/// How long a change of the plan waits for what it stops; the rest ends in the background.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(1);

/// Runs plans. All methods may be called from several tasks; those that change what runs take turns.
pub struct Engine {
    registry: Registry,
    data_dir: PathBuf,
    store: Arc<dyn LogStore>,
    clock: Clock,
    events: Events,
    claims: Arc<Claims>,
    audit: Audit,
    alerts: Alerts,
    /// When it was made, milliseconds since 1970 UTC.
    began_ms: i64,
    /// The scripts that run, to be read again.
    input: std::sync::Mutex<Option<Input>>,
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    /// What runs: the script's plan, with what commands have changed.
    plan: Plan,
    /// What the script says.
    script: Plan,
    /// Whether a plan was carried out.
    has_begun: bool,
    /// What was decided by commands; `None` until it was read.
    decisions: Option<Decisions>,
    mines: BTreeMap<String, RunningMine>,
    /// Connections that lead to a server which is mined under another connection's name.
    aliases: BTreeMap<String, String>,
    /// By connection: a log of its own that never got anything, as its server is mined into another one.
    empty_logs: BTreeMap<String, LogEpoch>,
    pipelines: BTreeMap<String, Arc<Pipeline>>,
    /// Pipelines that are to stay halted when a plan brings them.
    held_back: BTreeMap<String, Halt>,
    /// Pipelines that were told to stop, and are no longer, or no longer like this, in the plan.
    ending: Vec<Arc<Pipeline>>,
}

struct RunningMine {
    plan: Arc<MinePlan>,
    /// The name of its log, which may be that of another connection to the server.
    log: String,
    source: Arc<dyn Source>,
    mine: Arc<Mine>,
    control: Control,
    task: Option<JoinHandle<()>>,
}

impl Engine {
    /// An engine that keeps its logs and cursors below `data_dir`, which is made when it is needed.
    pub fn new(data_dir: impl Into<PathBuf>, registry: Registry) -> Engine {
        let data_dir = data_dir.into();
        let store = Arc::new(Embedded::new(data_dir.join("logs"), Options::default()));
        let audit = Audit::new(data_dir.join("state"));
        let alerts = Alerts::new(data_dir.join("state"));
        let (clock, events, claims) = (Clock::default(), Events::default(), Arc::default());
        let (input, running) = (std::sync::Mutex::default(), Arc::default());
        let began_ms = clock.now_ms();
        Engine { registry, data_dir, store, clock, events, claims, audit, alerts, began_ms, input, running }
    }

    /// Writes the logs in the data folder with other options.
    #[must_use]
    pub fn with_logs(self, options: Options) -> Engine {
        let store = Arc::new(Embedded::new(self.data_dir.join("logs"), options));
        Engine { store, ..self }
    }

    /// Takes the time of day from `clock` instead of this machine's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Engine {
        Engine { began_ms: clock.now_ms(), clock, ..self }
    }

    /// Checks scripts against the kinds that this engine knows, with the files and variables of this process. All
    /// findings are in the answer; when none is an error, so is the model that [`plan`](Self::plan) takes.
    pub fn load(&self, input: &Input) -> Checked {
        check::check(input, self.registry.kinds(), &System)
    }

    /// What a checked script asks for. Nothing is connected or started.
    pub fn plan(&self, model: &Model) -> Plan {
        build(model)
    }

    /// Makes what runs equal to `plan`: pipelines that are new or changed are started, those that are gone are
    /// stopped, all others go on untouched. Mines start with their first pipeline.
    ///
    /// A changed pipeline goes on where its former self ended. It waits for that in the background, when a sink takes
    /// longer to answer than a moment; what the sink had not proven to be durable comes again, as after a crash. A
    /// pipeline that somebody stopped or paused stays so.
    ///
    /// # Errors
    /// `Environment` for a plan that this build cannot carry out as it is written. Otherwise when something that a new
    /// pipeline needs cannot be made. A source or target that is away is no error: mines and pipelines wait for it. A
    /// log store that is away is `Unavailable`, as nothing can be read or mined without it: the call may be repeated.
    ///
    /// A mine whose settings have changed goes on with the new ones. What was decided by commands holds: a mine that was
    /// stopped stays so, and settings that were changed win over the plan's, unless the plan has new ones itself.
    pub async fn apply(&self, plan: Plan) -> Result<()> {
        let mut running = self.running.lock().await;
        self.apply_script(&mut running, plan).await.map(drop)
    }

    /// Makes what runs equal to a plan as it is.
    async fn carry_plan_out(&self, running: &mut Running, plan: Plan) -> Result<()> {
        refuse_what_cannot_run(&plan)?;
        let parted = part_from_twins(running);
        let renewed = running.mines_to_renew(&plan)?;
        let changed: Vec<Arc<PipelinePlan>> = plan
            .pipelines
            .values()
            .filter(|wanted| {
                running.plan.pipelines.get(&wanted.name) != Some(wanted)
                    || parted.contains(&wanted.name)
                    || renewed.keys().any(|key| running.reads_through(wanted, key))
            })
            .cloned()
            .collect();
        let gone: Vec<String> = running
            .pipelines
            .keys()
            .filter(|name| {
                !plan.pipelines.contains_key(*name) || changed.iter().any(|new| new.name == **name)
            })
            .cloned()
            .collect();
        // What can fail comes first, so that a plan which cannot be carried out changes nothing. The new routes are known
        // to retention before the old ones are gone, too: what a changed pipeline needs stays.
        let former_mines = self.renew_mines(running, renewed)?;
        let started = match self.prepare(running, &plan, &changed).await {
            Ok(started) => started,
            Err(error) => {
                running.mines.extend(former_mines);
                return Err(error);
            }
        };
        let mut former = stop_pipelines(running, gone).await;
        for (name, routes) in started {
            let former = former.remove(&name);
            let halt = former.as_ref().and_then(|former| former.halt_state());
            let halt = halt.or(running.held_back.get(&name).copied());
            let pipeline = match halt {
                Some(halt) => Pipeline::halted(name.clone(), routes, halt),
                None => Pipeline::start_after(name.clone(), routes, former),
            };
            running.pipelines.insert(name, pipeline);
        }
        running.plan = plan;
        running.has_begun = true;
        running.hand_mines_over(former_mines);
        stop_idle_mines(running).await;
        // All tables are asked for before the first mine reads, so that they share one beginning.
        start_mines(running);
        self.reap_later(running);
        Ok(())
    }

    /// Keeps more or less of a mine's log from now on, until the mine is made anew. What has become too much goes soon.
    ///
    /// # Errors
    /// `Refused` when no mine of this name is there.
    pub async fn set_retention(&self, mine: &str, policy: Policy) -> Result<()> {
        let running = self.running.lock().await;
        let found = running.mines.values().find(|known| known.mine.name() == mine);
        found.ok_or_else(|| Error::new(Kind::Refused, format!("there is no mine {mine}")))?.mine.keep(policy);
        Ok(())
    }

    /// Stops reading the sources, lets the pipelines deliver what was mined, for `patience` at the most, and ends
    /// everything. What was not delivered is delivered by the next run.
    pub async fn shutdown(&self, patience: Duration) {
        let (pipelines, controls, tasks) = {
            let mut running = self.running.lock().await;
            let pipelines: Vec<_> = running.pipelines.values().chain(&running.ending).cloned().collect();
            let controls: Vec<_> = running.mines.values().map(|mine| mine.control.clone()).collect();
            let tasks: Vec<_> = running.mines.values_mut().filter_map(|mine| mine.task.take()).collect();
            (pipelines, controls, tasks)
        };
        for control in &controls {
            control.tell(Wish::Drain);
        }
        let drained = async {
            for task in tasks {
                // A mine that panicked has nothing more to say.
                let _ = task.await;
            }
            // A pipeline drains what is in the log when it is told, so the mines come first.
            for pipeline in &pipelines {
                pipeline.tell(Wish::Drain);
            }
            for pipeline in &pipelines {
                pipeline.ended().await;
            }
        };
        if tokio::time::timeout(patience, drained).await.is_err() {
            self.abort().await;
        }
    }

    /// Ends everything as soon as nothing is half done, without delivering what waits.
    pub async fn abort(&self) {
        let running = self.running.lock().await;
        for mine in running.mines.values() {
            mine.control.tell(Wish::Stop);
        }
        for pipeline in running.pipelines.values().chain(&running.ending) {
            pipeline.tell(Wish::Stop);
        }
    }

    /// Waits until nothing more will happen by itself: every pipeline has delivered everything from a source
    /// that has an end, was stopped, or has failed. Cancel-safe.
    pub async fn settled(&self) {
        let mut events = self.events();
        while !self.status().await.is_settled() {
            // Whatever happens is a reason to look again, also when too much happened to hear of it all.
            let _ = events.recv().await;
        }
    }

    /// What runs, and how it does.
    pub async fn status(&self) -> Status {
        let running = self.running.lock().await;
        let mines = running.mines.values().map(|running| running.mine.as_ref());
        Status::of(mines, running.pipelines.values().map(Arc::as_ref), &self.clock)
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.listen()
    }
}

impl Running {
    fn mine_of(&self, plan: &MinePlan) -> Option<&RunningMine> {
        let name = &plan.connection.name;
        self.mines.get(self.aliases.get(name).unwrap_or(name))
    }
}

/// A plan that would do something else than its script says is not run at all.
fn refuse_what_cannot_run(plan: &Plan) -> Result<()> {
    let Some(first) = plan.obstacles().next() else { return Ok(()) };
    let others = plan.obstacles().count() - 1;
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    Err(Error::new(Kind::Environment, format!("this build of lode cannot run {}{more}", first.what))
        .advice(first.why.clone()))
}

fn start_mines(running: &mut Running) {
    let Running { mines, decisions, .. } = running;
    let stopped = |key: &String| decisions.as_ref().is_some_and(|decided| decided.mines.contains_key(key));
    for (key, running) in mines {
        let idle = matches!(*running.mine.state().borrow(), MineState::Idle);
        if stopped(key) {
            if idle {
                running.mine.rest();
            }
        } else if idle || running.mine.state().borrow().is_over() {
            running.control = Control::default();
            running.task = Some(running.mine.start(running.control.listen()));
        }
    }
}

/// Tells these pipelines to stop, and waits a moment for it. Gives them by name; those that have not ended are noted.
async fn stop_pipelines(running: &mut Running, names: Vec<String>) -> BTreeMap<String, Arc<Pipeline>> {
    let stopped: BTreeMap<String, Arc<Pipeline>> =
        names.into_iter().filter_map(|name| running.pipelines.remove_entry(&name)).collect();
    for pipeline in stopped.values() {
        pipeline.tell(Wish::Stop);
    }
    let ended = async {
        for pipeline in stopped.values() {
            pipeline.ended().await;
        }
    };
    let _ = tokio::time::timeout(HANDOVER_PATIENCE, ended).await;
    running.ending.extend(stopped.values().filter(|pipeline| !pipeline.is_over()).cloned());
    stopped
}

/// Ends the mines that no pipeline reads through, neither one that is wanted nor one that has not ended yet.
async fn stop_idle_mines(running: &mut Running) {
    running.ending.retain(|pipeline| !pipeline.is_over());
    let pipelines = running.pipelines.values().chain(&running.ending);
    let used: Vec<usize> = pipelines
        .flat_map(|pipeline| pipeline.routes())
        .filter_map(|route| route.parts().origin.mine().map(|mine| Arc::as_ptr(mine).addr()))
        .collect();
    let idle: Vec<_> = running
        .mines
        .iter()
        .filter(|(_, mine)| !used.contains(&Arc::as_ptr(&mine.mine).addr()))
        .map(|(key, _)| key.clone())
        .collect();
    for key in idle {
        let Some(mine) = running.mines.remove(&key) else { continue };
        running.aliases.retain(|_, target| *target != key);
        mine.control.tell(Wish::Drain);
        if let Some(task) = mine.task {
            // A mine that panicked has nothing more to say.
            let _ = task.await;
        }
    }
}
