//! A server, a store and targets that outlive lode, and lode's lives among them.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lode::model::clock::Clock;
use lode::model::spec::{Settings, Start};
use lode::model::table::{Pattern, TableSet};
use lode::plan::StagePlan;
use lode::run::event::Events;
use lode::run::feed::Origin;
use lode::run::mine::{Mine, MineParts, MineState};
use lode::run::pipeline::Pipeline;
use lode::run::retention::Policy;
use lode::run::route::{Route, RouteParts, RouteState};
use lode::run::signal::{Control, Wish};
use lode::run::skip::Skips;
use lode::sink::SinkRoute;
use lode::source::Source;
use lode::store::LogStore;
use lode::store::memory::Memory;

use super::server::{Served, Server};
use super::store::Stormy;
use super::target::{Kept, Target, Targets};
use super::weather::Weather;

pub struct World {
    pub weather: Arc<Weather>,
    pub server: Arc<Server>,
    pub targets: Arc<Targets>,
    pub store: Arc<dyn LogStore>,
    /// Where mines keep their counts.
    pub counts: Option<PathBuf>,
}

impl World {
    pub fn new(seed: u64) -> World {
        World::over(seed, Arc::new(Memory::new()))
    }

    /// A world that keeps its logs in `store`.
    pub fn over(seed: u64, store: Arc<dyn LogStore>) -> World {
        let weather = Arc::new(Weather::fair(seed));
        let server = Server::new(Arc::clone(&weather));
        let targets = Targets::new(Arc::clone(&weather), Arc::clone(&server));
        World { weather, server, targets, store, counts: None }
    }

    pub fn target(&self, key: &str) -> Arc<Mutex<Target>> {
        self.targets.of(key)
    }

    /// Starts lode over what is there, with a mine that does not run yet.
    pub async fn live(&self) -> Life {
        self.live_with(Policy::default()).await
    }

    pub async fn live_with(&self, policy: Policy) -> Life {
        let log = self.store.open("shop").await.expect("nobody else has the log");
        let log = Arc::new(Stormy { log, weather: Arc::clone(&self.weather), reads: AtomicU64::new(0) });
        let source = Arc::new(Served(Arc::clone(&self.server)));
        let (name, start) = ("shop".to_owned(), Start::Earliest);
        let parts = MineParts {
            name,
            source,
            log: Arc::clone(&log) as Arc<_>,
            start,
            policy,
            full_rows: false,
            counts: self.counts.clone(),
            clock: Clock::default(),
            claim: None,
        };
        let events = Events::default();
        Life {
            mine: Mine::new(parts, events.clone()),
            control: Control::default(),
            log,
            events,
            server: Arc::clone(&self.server),
            targets: Arc::clone(&self.targets),
        }
    }
}

pub struct Life {
    pub mine: Arc<Mine>,
    pub control: Control,
    pub log: Arc<Stormy>,
    pub events: Events,
    server: Arc<Server>,
    targets: Arc<Targets>,
}

/// What differs between the pipelines of tests.
#[derive(Clone, Default)]
pub struct Options {
    pub direct: bool,
    pub start: Option<Start>,
    pub batch_rows_max: Option<usize>,
    pub retries_max: Option<u32>,
    pub stages: Vec<StagePlan>,
    pub aside: Option<PathBuf>,
    pub skips: Skips,
    /// Reads the source while the mine is away.
    pub falls_back: bool,
}

impl Life {
    pub fn start_mine(&self) -> tokio::task::JoinHandle<()> {
        self.mine.start(self.control.listen())
    }

    /// A route, with its tables asked for.
    pub fn route(&self, name: &str, tables: &[&str], options: Options) -> Arc<Route> {
        let tables = set(tables);
        let origin = if options.direct {
            let source = Arc::new(Served(Arc::clone(&self.server)));
            Origin::Direct { source, tables: tables.clone() }
        } else {
            self.mine.want(&tables);
            Origin::Log(Arc::clone(&self.mine))
        };
        let sink = SinkRoute {
            key: name.into(),
            connection: None,
            target: "*".into(),
            settings: Settings::default(),
            state_dir: PathBuf::new(),
        };
        let parts = RouteParts {
            lookups: None,
            pipeline: name.into(),
            source_name: "shop".into(),
            tables,
            origin,
            stages: options.stages,
            sink_kind: Arc::new(Kept(Arc::clone(&self.targets))),
            sink,
            start: options.start,
            batch_rows_max: options.batch_rows_max.unwrap_or(1000),
            cursor_interval: Duration::from_secs(5),
            retries_max: options.retries_max,
            aside: options.aside,
            skips: options.skips,
            begun_in: None,
            fallback: options
                .falls_back
                .then(|| Arc::new(Served(Arc::clone(&self.server))) as Arc<dyn Source>),
            clock: Clock::default(),
        };
        Route::new(parts, self.events.clone())
    }

    pub fn pipeline(&self, name: &str, tables: &[&str]) -> Arc<Pipeline> {
        self.pipeline_with(name, tables, Options::default())
    }

    pub fn pipeline_with(&self, name: &str, tables: &[&str], options: Options) -> Arc<Pipeline> {
        Pipeline::start(name.into(), vec![self.route(name, tables, options)])
    }

    pub fn mine_state(&self) -> MineState {
        self.mine.state().borrow().clone()
    }

    /// Ends in good order.
    pub async fn stop(self, pipelines: impl IntoIterator<Item = Arc<Pipeline>>) {
        self.control.tell(Wish::Drain);
        for pipeline in pipelines {
            pipeline.tell(Wish::Stop);
            pipeline.ended().await;
        }
        if self.mine_state() != MineState::Idle {
            let _ = self.mine.state().wait_for(MineState::is_over).await;
        }
        // Whoever told the end lets the log go a moment later.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub fn set(tables: &[&str]) -> TableSet {
    let include = tables.iter().map(|table| Pattern((*table).to_owned())).collect();
    TableSet { database: "shop".into(), include, exclude: Vec::new() }
}

pub fn state(pipeline: &Pipeline) -> RouteState {
    pipeline.routes()[0].state().borrow().clone()
}

/// Waits until `condition` holds, for a virtual while.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}
