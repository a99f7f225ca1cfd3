//! Looks at a running engine from outside, and holds what it says against what the world knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lode::engine::Engine;
use lode::error::Kind;
use lode::plan::{Plan, Through};
use lode::run::event::Event;
use lode::run::mine::MineState;
use lode::run::pipeline::Halt;
use lode::run::route::RouteState;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::sleep;

use super::follow::{At, Follower};
use super::sink::{Contents, Target, apply};
use super::world::World;

/// How long a log may take to be counted after a crash, in seconds.
const COUNTING_PATIENCE_S: u32 = 120;

pub struct Observer {
    world: Arc<World>,
    engine: Arc<Engine>,
    events: Receiver<Event>,
}

impl Observer {
    pub fn new(world: Arc<World>, engine: Arc<Engine>) -> Observer {
        let events = engine.events();
        Observer { world, engine, events }
    }

    /// Names of the pipelines that are there, whether they run or have ended.
    pub async fn pipelines(&self) -> Vec<String> {
        self.engine.status().await.pipelines.into_iter().map(|pipeline| pipeline.name).collect()
    }

    pub async fn is_over(&self, name: &str) -> bool {
        let status = self.engine.status().await;
        let pipeline = status.pipelines.iter().find(|pipeline| pipeline.name == name);
        pipeline.is_some_and(|pipeline| pipeline.routes.iter().all(|route| route.state.is_over()))
    }

    pub async fn a_mine_failed(&self) -> bool {
        let status = self.engine.status().await;
        status.mines.iter().any(|mine| matches!(mine.state, MineState::Failed { .. }))
    }

    /// Holds everything that was said and that is seen against what may be.
    pub async fn look(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.hear(event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let status = self.engine.status().await;
        for mine in &status.mines {
            let book = self.world.books[self.world.server_called(&mine.name)].lock().unwrap();
            if mine.head > book.next.0 {
                let (name, head) = (&mine.name, mine.head);
                self.world.violate(format_args!("mine {name} shows {head}, and {} is durable", book.next));
            }
        }
        let targets = self.world.targets.lock().unwrap();
        for route in status.pipelines.iter().flat_map(|pipeline| &pipeline.routes) {
            let durable = targets.get(&route.key).and_then(|target| target.cursor.as_ref());
            let durable = durable.map_or(0, |cursor| cursor.next.0);
            if route.mine.is_some() && route.figures.next.0 > durable {
                let (key, next) = (&route.key, route.figures.next);
                self.world.violate(format_args!("{key} says that {next} is durable, and it is {durable}"));
            }
        }
    }

    fn hear(&self, event: Event) {
        match event {
            Event::Mine { mine, state } => {
                self.world.note(format_args!("  mine {mine}: {}", brief(&format!("{state:?}"))));
                if let MineState::Failed { kind, error, .. } = state
                    && !self.mine_may_fail(&mine, kind)
                {
                    self.world.violate(format_args!("mine {mine} failed for no reason: {error}"));
                }
            }
            Event::Route { route, state, .. } => {
                self.world.note(format_args!("  {route}: {}", brief(&format!("{state:?}"))));
                if let RouteState::Failed { kind, error, .. } = state
                    && !self.route_may_fail(&route, kind)
                {
                    self.world.violate(format_args!("{route} failed for no reason: {error}"));
                }
            }
            Event::Transaction { .. } | Event::Alert(_) | Event::Notice { .. } | Event::Hook { .. } => {}
            Event::Aside { pipeline, error } => {
                self.world.violate(format_args!("{pipeline} sets a row aside: {error}"));
            }
        }
    }

    fn mine_may_fail(&self, mine: &str, kind: Kind) -> bool {
        let door = self.world.doors[self.world.server_called(mine)].lock().unwrap();
        match kind {
            Kind::Gap => door.was_purged,
            Kind::Data => door.was_poisoned,
            Kind::Refused => door.was_another,
            _ => false,
        }
    }

    fn route_may_fail(&self, key: &str, kind: Kind) -> bool {
        let connection = key.split('/').nth(1).expect("the key has three parts");
        let is_direct = connection.ends_with("_direct");
        let server = self.world.server_called(connection.trim_end_matches("_direct"));
        let door = self.world.doors[server].lock().unwrap();
        let targets = self.world.targets.lock().unwrap();
        let Some(target) = targets.get(key) else { return false };
        match kind {
            Kind::Gap if is_direct => door.was_purged || door.was_another,
            Kind::Gap => self.is_behind_horizon(server, target),
            Kind::Data => target.trouble.has_rejected || (is_direct && door.was_poisoned),
            Kind::Fenced => target.trouble.was_fenced,
            _ => false,
        }
    }

    fn is_behind_horizon(&self, server: usize, target: &Target) -> bool {
        let horizon = self.world.books[server].lock().unwrap().horizon;
        target.cursor.as_ref().is_some_and(|cursor| cursor.next < horizon)
    }

    /// From now on retention need not think of routes that are not in `plan`.
    pub fn hold_only(&self, plan: &Plan) {
        let keys = keys(plan);
        self.world.held.lock().unwrap().retain(|key| keys.contains(key));
    }

    /// From now on retention has to leave what the routes of `plan` still need, and can still find. A pipeline that was
    /// stopped needs nothing.
    pub async fn hold(&self, plan: &Plan) {
        let halted = self.engine.halted().await;
        self.hold_keys(keys(plan).into_iter().filter(|key| {
            let name = key.split('/').next().expect("the key has three parts");
            halted.get(name) != Some(&Halt::Stopped)
        }));
    }

    /// The same for a pipeline that was started again.
    pub async fn hold_again(&self, name: &str) {
        let status = self.engine.status().await;
        let pipeline = status.pipelines.iter().find(|pipeline| pipeline.name == name);
        let routes = pipeline.iter().flat_map(|pipeline| &pipeline.routes);
        self.hold_keys(routes.filter(|route| route.mine.is_some()).map(|route| route.key.clone()));
    }

    fn hold_keys(&self, keys: impl Iterator<Item = String>) {
        if !self.world.holds() {
            return;
        }
        let targets = self.world.targets.lock().unwrap();
        let mut held = self.world.held.lock().unwrap();
        for key in keys {
            let connection = key.split('/').nth(1).expect("the key has three parts");
            let server = self.world.server_called(connection);
            if !targets.get(&key).is_some_and(|target| self.is_behind_horizon(server, target)) {
                held.insert(key);
            }
        }
    }

    /// From now on retention need not think of a pipeline.
    pub fn let_go(&self, name: &str) {
        let prefix = format!("{name}/");
        self.world.held.lock().unwrap().retain(|key| !key.starts_with(&prefix));
    }

    /// Where the log of a pipeline that reads one begins and ends.
    pub async fn log_of(&self, name: &str) -> Option<(u64, u64)> {
        let status = self.engine.status().await;
        let pipeline = status.pipelines.iter().find(|pipeline| pipeline.name == name)?;
        let mine = pipeline.routes.first()?.mine.as_ref()?;
        if pipeline.routes.iter().any(|route| route.mine.as_ref() != Some(mine)) {
            return None;
        }
        let mine = status.mines.iter().find(|found| found.name == *mine)?;
        Some((mine.horizon, mine.head))
    }

    /// Empties the targets of a pipeline whose place is lost, as its error advises.
    pub async fn empty_gaps(&self, name: &str) {
        let status = self.engine.status().await;
        let pipeline = status.pipelines.iter().find(|pipeline| pipeline.name == name);
        for route in pipeline.iter().flat_map(|pipeline| &pipeline.routes) {
            if matches!(route.state, RouteState::Failed { kind: Kind::Gap, .. }) {
                self.world.note(format_args!("{} begins anew", route.key));
                self.world.targets.lock().unwrap().entry(route.key.clone()).or_default().empty();
            }
        }
    }

    /// Something that the source has and a sink has not.
    pub async fn missing(&self) -> Option<String> {
        let status = self.engine.status().await;
        for route in status.pipelines.iter().flat_map(|pipeline| &pipeline.routes) {
            let (key, state) = (&route.key, &route.state);
            match self.follower(key) {
                None => return Some(format!("{key} has no cursor, and is {state:?}")),
                Some(follower) if !follower.is_at_end(&self.world) => {
                    let count = follower.remaining(&self.world).len();
                    return Some(format!("{count} changes for {key}, which is {state:?}"));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Where a route is by the cursor in its target, with what the newest script wants of it.
    fn follower(&self, key: &str) -> Option<Follower> {
        let server = self.server_of(key);
        let targets = self.world.targets.lock().unwrap();
        let target = targets.get(key)?;
        let cursor = target.cursor.as_ref()?;
        let at = match (&cursor.log, &cursor.position) {
            (Some(_), _) => At::Log(cursor.next),
            (None, position) => At::Source(position.as_ref()?.offset),
        };
        let number = *target.numbers.last()?;
        let delivery = Arc::clone(&self.world.deliveries.lock().unwrap()[&number]);
        Some(Follower::new(delivery, server, at))
    }

    fn server_of(&self, key: &str) -> usize {
        let connection = key.split('/').nth(1).expect("the key has three parts");
        self.world.server_called(connection.trim_end_matches("_direct"))
    }

    /// Everything is delivered: the log must have every table that is asked for, and every target that was written by
    /// one script alone must hold what the source's history makes of it.
    pub async fn compare(&self) {
        self.compare_counts().await;
        let status = self.engine.status().await;
        for route in status.pipelines.iter().flat_map(|pipeline| &pipeline.routes) {
            let key = &route.key;
            let server = self.server_of(key);
            let targets = self.world.targets.lock().unwrap();
            let target = &targets[key];
            let Some(number) = target.numbers.last() else {
                self.world.violate(format_args!("nobody wrote to {key}"));
                return;
            };
            let delivery = Arc::clone(&self.world.deliveries.lock().unwrap()[number]);
            let input = delivery.input(server).expect("a route has an input");
            let last = self.world.servers[server].count() - 1;
            for table in input.tables.iter().filter(|_| input.is_mined) {
                if !self.world.books[server].lock().unwrap().covers(table, last) {
                    self.world.violate(format_args!("{key} wants {table}, which is not mined"));
                }
            }
            let (Some(first), 1) = (target.first, target.numbers.len()) else { continue };
            let mut expected = Contents::new();
            for effect in Follower::new(delivery, server, first).remaining(&self.world) {
                apply(&mut expected, &effect);
            }
            let rows = |contents: &Contents| -> Contents {
                contents
                    .iter()
                    .filter(|(_, rows)| !rows.is_empty())
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            };
            let (expected, actual) = (rows(&expected), rows(&target.contents));
            if expected != actual {
                self.world.violate(format_args!("{key} holds {actual:?} and was to hold {expected:?}"));
            }
        }
    }

    /// Every log's mine must have counted exactly what the log was ever given.
    async fn compare_counts(&self) {
        let mut status = self.engine.status().await;
        for _ in 0..COUNTING_PATIENCE_S {
            if status.mines.iter().all(|mine| mine.counts.complete) {
                break;
            }
            sleep(Duration::from_secs(1)).await;
            status = self.engine.status().await;
        }
        for mine in &status.mines {
            let figures = &mine.counts;
            let counted: BTreeMap<_, _> =
                figures.tables.iter().map(|table| (table.table.clone(), table.changes)).collect();
            let given = self.world.books[self.world.server_called(&mine.name)].lock().unwrap().given.clone();
            if counted != given || !figures.complete || figures.since.0 > 0 {
                self.world.violate(format_args!("mine {} counts {figures:?} of {given:?}", mine.name));
            }
        }
    }

    pub async fn check_all_ended(&self) {
        let status = self.engine.status().await;
        for route in status.pipelines.iter().flat_map(|pipeline| &pipeline.routes) {
            if !matches!(route.state, RouteState::Stopped) {
                self.world.violate(format_args!("{} is {:?} after the shutdown", route.key, route.state));
            }
        }
    }
}

/// The keys of all routes that read a log.
fn keys(plan: &Plan) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for pipeline in plan.pipelines.values() {
        for input in pipeline.inputs.iter().filter(|input| matches!(input.through, Through::Log(_))) {
            for route in &pipeline.routes {
                keys.insert(format!("{}/{}/{}", pipeline.name, input.connection.name, route.id));
            }
        }
    }
    keys
}

/// The beginning of a text that may be long.
fn brief(text: &str) -> String {
    text.chars().take(160).collect()
}
