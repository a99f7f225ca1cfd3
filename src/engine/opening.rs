//! Makes what a plan asks for: mines over their logs, and the routes of pipelines. Nothing is read or written yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::identity::{Home, empty_log, has_default_log};
use super::{Engine, Running, RunningMine};
use crate::error::{Result, ResultExt};
use crate::hook::Lookups;
use crate::model::connection::Connection;
use crate::model::position::LogEpoch;
use crate::model::spec::Settings;
use crate::plan::{InputPlan, MinePlan, PipelinePlan, Plan, RoutePlan, Through};
use crate::run::claim::Claim;
use crate::run::feed::Origin;
use crate::run::mine::{Mine, MineParts};
use crate::run::retention::{Policy, Unread};
use crate::run::route::{Route, RouteParts};
use crate::run::signal::Control;
use crate::run::skip::Skips;
use crate::sink::SinkRoute;
use crate::source::Source;
use crate::store::{Log, LogStore, Retention};

/// Rows in one batch, at the most, when the sink does not say.
const BATCH_ROWS: u64 = 1000;
/// How often a cursor that moves without changes is made durable, when the pipeline does not say.
const CURSOR_INTERVAL: Duration = Duration::from_secs(5);

/// Where a mine writes.
pub(super) struct MinePlace {
    log: Arc<dyn Log>,
    name: String,
    claim: Option<Arc<Claim>>,
    /// Who writes there until it has ended.
    former: Option<Arc<Mine>>,
}

impl Engine {
    /// Opens what pipelines need, and makes their routes.
    pub(super) async fn prepare(
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

    /// Opens the mines that these pipelines read through and that are not there yet. Nothing is read yet.
    pub(super) async fn open_mines(
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
    pub(super) async fn open_mine(
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
            former: None,
        };
        Ok(Some(self.make_mine(plan, source, place)))
    }

    pub(super) fn make_mine(
        &self,
        plan: &Arc<MinePlan>,
        source: Arc<dyn Source>,
        place: MinePlace,
    ) -> RunningMine {
        let MinePlace { log, name, claim, former } = place;
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
        let mine = match former {
            Some(former) => Mine::in_place_of(&former, parts, self.events.clone()),
            None => Mine::new(parts, self.events.clone()),
        };
        let (plan, control) = (Arc::clone(plan), Control::default());
        RunningMine { plan, log: name, source, mine, control, task: None }
    }

    pub(super) fn log_store(&self, plan: &MinePlan) -> Result<Arc<dyn LogStore>> {
        match &plan.store {
            None => Ok(Arc::clone(&self.store)),
            Some(connection) => {
                self.registry.store(connection.kind)?.store(Arc::clone(connection), &plan.settings)
            }
        }
    }

    pub(super) fn source(&self, connection: &Arc<Connection>) -> Result<Arc<dyn Source>> {
        self.registry.source(connection.kind)?.source(Arc::clone(connection))
    }

    pub(super) fn routes(&self, running: &Running, pipeline: &PipelinePlan) -> Result<Vec<Arc<Route>>> {
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

    pub(super) fn route_parts(
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
            lookups: self.lookups(pipeline)?,
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

    /// Where a route's hooks look rows up. Each route asks and remembers by itself.
    fn lookups(&self, pipeline: &PipelinePlan) -> Result<Option<Arc<Lookups>>> {
        if pipeline.lookups.is_empty() {
            return Ok(None);
        }
        let open = |connection: &Arc<Connection>| {
            Ok((Arc::clone(connection), self.registry.lookup(connection.kind)?.open(connection)?))
        };
        let opened: Result<Vec<_>> = pipeline.lookups.values().map(open).collect();
        Ok(Some(Arc::new(Lookups::new(opened?))))
    }

    /// A log has one, whatever its mine is called.
    pub(super) fn counts_file(&self, plan: &MinePlan) -> PathBuf {
        let store = plan.store.as_ref().map_or("embedded", |store| &store.name);
        self.data_dir
            .join("state")
            .join(format!("counts-{}.json", file_name(&format!("{store}.{}", plan.log))))
    }

    pub(super) fn aside_file(&self, pipeline: &str) -> PathBuf {
        self.data_dir.join("aside").join(file_name(pipeline) + ".jsonl")
    }
}

impl RunningMine {
    /// Where it writes, for a mine in its stead.
    pub(super) fn place(&self) -> MinePlace {
        let (log, name) = (Arc::clone(self.mine.log()), self.log.clone());
        MinePlace { log, name, claim: self.mine.claim().cloned(), former: Some(Arc::clone(&self.mine)) }
    }
}

/// What settings of `share_mining` say about how much of a log is kept.
fn policy(settings: &Settings) -> Policy {
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
