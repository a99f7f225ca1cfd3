//! The one door: scripts, the command line and embedding programs change what runs only through [`Engine`].

pub mod audit;
pub mod command;
mod control;
pub mod decisions;
pub mod door;
pub mod kinds;
pub mod logs;
mod mines;
pub mod pipelines;
pub mod registry;
mod reload;
pub mod reply;
pub mod socket;
pub mod status;

mod tables;

mod identity;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast};
use tokio::task::JoinHandle;
use tracing::info;

use self::audit::Audit;
use self::decisions::Decisions;
use self::identity::{Home, empty_log, has_default_log, part_from_twins};
use self::registry::Registry;
use self::status::Status;
use crate::check::{self, Checked, Input, Model, System};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::model::clock::Clock;
use crate::model::connection::Connection;
use crate::model::position::LogEpoch;
use crate::model::spec::Settings;
use crate::plan::build::build;
use crate::plan::{InputPlan, MinePlan, PipelinePlan, Plan, RoutePlan, Through};
use crate::run::claim::{Claim, Claims};
use crate::run::event::{Event, Events};
use crate::run::feed::Origin;
use crate::run::mine::{Mine, MineParts, MineState};
use crate::run::pipeline::{Halt, Pipeline};
use crate::run::retention::{Policy, Unread};
use crate::run::route::{Route, RouteParts};
use crate::run::signal::{Control, Wish};
use crate::run::skip::Skips;
use crate::sink::SinkRoute;
use crate::source::Source;
use crate::store::embedded::{Embedded, Options};
use crate::store::{Log, LogStore, Retention};

/// Rows in one batch, at the most, when the sink does not say.
const BATCH_ROWS: u64 = 1000;
/// How often a cursor that moves without changes is made durable, when the pipeline does not say.
const CURSOR_INTERVAL: Duration = Duration::from_secs(5);
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

/// Where a mine writes.
struct MinePlace {
    log: Arc<dyn Log>,
    name: String,
    claim: Option<Arc<Claim>>,
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
        let (clock, events, claims) = (Clock::default(), Events::default(), Arc::default());
        let (input, running) = (std::sync::Mutex::default(), Arc::default());
        Engine { registry, data_dir, store, clock, events, claims, audit, input, running }
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
        Engine { clock, ..self }
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
        running.hand_mines_over(former_mines);
        stop_idle_mines(running).await;
        // All tables are asked for before the first mine reads, so that they share one beginning.
        start_mines(running);
        self.reap_later(running);
        Ok(())
    }

    /// Opens what pipelines need, and makes their routes.
    async fn prepare(
        &self,
        running: &mut Running,
        wanted: &Plan,
        pipelines: &[Arc<PipelinePlan>],
    ) -> Result<Vec<(String, Vec<Arc<Route>>)>> {
        self.open_mines(running, wanted, pipelines).await?;
        let mut prepared = Vec::with_capacity(pipelines.len());
        for pipeline in pipelines {
            let routes =
                self.routes(running, pipeline).context_with(|| format!("in pipeline {}", pipeline.name))?;
            prepared.push((pipeline.name.clone(), routes));
        }
        Ok(prepared)
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

    /// Opens the mines that these pipelines read through and that are not there yet. Nothing is read yet.
    async fn open_mines(
        &self,
        running: &mut Running,
        wanted: &Plan,
        pipelines: &[Arc<PipelinePlan>],
    ) -> Result<()> {
        for input in pipelines.iter().flat_map(|pipeline| &pipeline.inputs) {
            let Through::Log(plan) = &input.through else { continue };
            if running.mine_of(plan).is_some() {
                continue;
            }
            let opened = self
                .open_mine(running, wanted, plan)
                .await
                .context_with(|| format!("in mine {}", plan.name))?;
            if let Some(opened) = opened {
                running.mines.insert(plan.connection.name.clone(), opened);
            }
        }
        Ok(())
    }

    /// `None` when a running mine reads the same server into the same store already, and now serves this plan, too.
    async fn open_mine(
        &self,
        running: &mut Running,
        wanted: &Plan,
        plan: &Arc<MinePlan>,
    ) -> Result<Option<RunningMine>> {
        let source = self.source(&plan.connection)?;
        let store = self.log_store(plan)?;
        let home = self.home(running, wanted, plan, source.as_ref(), &store).await?;
        if home.is_another(plan)
            && let Some(epoch) = empty_log(&store, &plan.log).await
        {
            running.empty_logs.insert(plan.connection.name.clone(), epoch);
        }
        let log = match home {
            Home::Own(log) => log,
            Home::Shared(shared) => {
                info!(
                    mine = shared,
                    connection = plan.connection.name,
                    "both connections lead to one server, mined once"
                );
                running.aliases.insert(plan.connection.name.clone(), shared);
                return Ok(None);
            }
        };
        if log != plan.log {
            info!(
                log,
                connection = plan.connection.name,
                "the server was mined under another connection's name before"
            );
        }
        let store_name = plan.store.as_ref().map_or("", |store| store.name.as_str());
        let place = MinePlace {
            log: store.open(&log).await?,
            name: log,
            claim: has_default_log(plan).then(|| Arc::new(Claim::new(&self.claims, store_name))),
        };
        Ok(Some(self.make_mine(plan, source, place)))
    }

    fn make_mine(&self, plan: &Arc<MinePlan>, source: Arc<dyn Source>, place: MinePlace) -> RunningMine {
        let MinePlace { log, name, claim } = place;
        let parts = MineParts {
            name: plan.name.clone(),
            source: Arc::clone(&source),
            log,
            start: plan.settings.start("start").unwrap_or_else(|| source.default_start()),
            policy: policy(&plan.settings),
            full_rows: plan.settings.switch("full_rows").unwrap_or(false),
            counts: Some(self.counts_file(plan)),
            clock: self.clock.clone(),
            claim,
        };
        let mine = Mine::new(parts, self.events.clone());
        let (plan, control) = (Arc::clone(plan), Control::default());
        RunningMine { plan, log: name, source, mine, control, task: None }
    }

    fn log_store(&self, plan: &MinePlan) -> Result<Arc<dyn LogStore>> {
        match &plan.store {
            None => Ok(Arc::clone(&self.store)),
            Some(connection) => {
                self.registry.store(connection.kind)?.store(Arc::clone(connection), &plan.settings)
            }
        }
    }

    fn source(&self, connection: &Arc<Connection>) -> Result<Arc<dyn Source>> {
        self.registry.source(connection.kind)?.source(Arc::clone(connection))
    }

    fn routes(&self, running: &Running, pipeline: &PipelinePlan) -> Result<Vec<Arc<Route>>> {
        let mut routes = Vec::new();
        for input in &pipeline.inputs {
            let mut fallback = None;
            let begun_in = running.empty_logs.get(&input.connection.name).copied();
            let origin = match &input.through {
                Through::Direct => {
                    Origin::Direct { source: self.source(&input.connection)?, tables: input.tables.clone() }
                }
                Through::Log(plan) => {
                    let running = running.mine_of(plan).expect("mines are opened before routes");
                    running.mine.want(&input.tables);
                    let direct = pipeline.settings.choice("on_mine_failure") == Some("direct");
                    // The mine's own source: it sees to it that its readers go by different server ids.
                    fallback = direct.then(|| Arc::clone(&running.source));
                    Origin::Log(Arc::clone(&running.mine))
                }
            };
            for route in &pipeline.routes {
                let parts =
                    self.route_parts(pipeline, input, route, (origin.clone(), fallback.clone(), begun_in))?;
                routes.push(Route::new(parts, self.events.clone()));
            }
        }
        Ok(routes)
    }

    fn route_parts(
        &self,
        pipeline: &PipelinePlan,
        input: &InputPlan,
        route: &RoutePlan,
        (origin, fallback, begun_in): (Origin, Option<Arc<dyn Source>>, Option<LogEpoch>),
    ) -> Result<RouteParts> {
        let key = format!("{}/{}/{}", pipeline.name, input.connection.name, route.id);
        let settings = &route.sink.settings;
        let state_dir = self.data_dir.join("state").join(file_name(&key));
        let retries_max = pipeline.settings.integer("retry").map(|most| most as u32);
        let aside = pipeline.settings.choice("on_error") == Some("aside");
        Ok(RouteParts {
            pipeline: pipeline.name.clone(),
            source_name: input.connection.name.clone(),
            tables: input.tables.clone(),
            origin,
            fallback,
            stages: route.stages.clone(),
            sink_kind: Arc::clone(self.registry.sink(route.sink.kind)?),
            sink: SinkRoute {
                state_dir: state_dir.clone(),
                key,
                connection: route.sink.connection.clone(),
                target: route.sink.target.clone(),
                settings: settings.clone(),
            },
            start: pipeline.start(),
            begun_in,
            batch_rows_max: settings.integer("batch").unwrap_or(BATCH_ROWS) as usize,
            cursor_interval: pipeline.settings.duration("cursor_interval").unwrap_or(CURSOR_INTERVAL),
            retries_max,
            aside: aside.then(|| self.aside_file(&pipeline.name)),
            skips: Skips { file: state_dir.join("skip.json"), record: self.aside_file(&pipeline.name) },
            clock: self.clock.clone(),
        })
    }

    /// A log has one, whatever its mine is called.
    fn counts_file(&self, plan: &MinePlan) -> PathBuf {
        let store = plan.store.as_ref().map_or("embedded", |store| &store.name);
        self.data_dir
            .join("state")
            .join(format!("counts-{}.json", file_name(&format!("{store}.{}", plan.log))))
    }

    fn aside_file(&self, pipeline: &str) -> PathBuf {
        self.data_dir.join("aside").join(file_name(pipeline) + ".jsonl")
    }
}

impl RunningMine {
    /// Where it writes, for a mine in its stead.
    fn place(&self) -> MinePlace {
        let (log, name) = (Arc::clone(self.mine.log()), self.log.clone());
        MinePlace { log, name, claim: self.mine.claim().cloned() }
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

/// What settings of `share_mining` say about how much of a log is kept.
pub fn policy(settings: &Settings) -> Policy {
    let keep = Retention { age: settings.duration("retention"), size: settings.size("retention_size") };
    let unread = match settings.choice("unread") {
        Some("drop") => Unread::Drop,
        Some("stop") => Unread::Stop,
        _ => Unread::Hold,
    };
    Policy { keep, unread, hold_bytes_max: settings.size("hold_size") }
}

/// A name that is one path component, and different for different keys.
fn file_name(key: &str) -> String {
    percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string()
}
