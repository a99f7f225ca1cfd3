//! A simulation from its seed to its end: lives of lode, each with random actions, and a last one that heals.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lode::check::Input;
use lode::engine::Engine;
use lode::error::Kind;
use lode::model::clock::Clock;
use lode::model::position::Seq;
use lode::model::spec::Place;
use lode::store::memory::Memory;
use tokio::runtime::Builder;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use super::chance::Random;
use super::check::Observer;
use super::pipelines::{Unread, Wanted};
use super::world::World;
use super::{kinds, mines, tables, trouble};

/// How long a change of the plan may take, whatever is slow.
const APPLY_PATIENCE: Duration = Duration::from_secs(600);
/// How long everything may take to be delivered when nothing goes wrong any more.
const HEALING_PATIENCE: Duration = Duration::from_secs(1800);

/// One simulation.
pub struct Simulation {
    world: Arc<World>,
    rng: Random,
    memory: Memory,
    wanted: Wanted,
    next_number: u64,
    /// lode's data folder.
    data: PathBuf,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Simulation {
    pub fn new(seed: u64) -> Simulation {
        let mut rng = Random::new(seed);
        let world = World::new(rng.next());
        let clock = {
            let world = Arc::clone(&world);
            Clock::new(move || world.now_ms())
        };
        let unread = Unread::random(&mut rng);
        world.note(format_args!("changes that are not read: {unread:?}"));
        world.drops_unread(matches!(unread, Unread::HeldUpTo256Kib | Unread::Dropped));
        // What lode keeps outlives its lives. Each seed has a process of its own.
        let data = std::env::temp_dir().join(format!("lode-simulation-{}", std::process::id()));
        std::fs::create_dir_all(&data).expect("a folder can be made");
        Simulation {
            data,
            world,
            rng,
            memory: Memory::with_clock(clock),
            wanted: Wanted { unread, ..Wanted::default() },
            next_number: 0,
        }
    }

    /// Runs to the end; gives the trace, and the promise that was broken.
    pub fn run(mut self) -> (Vec<String>, Option<String>) {
        for _ in 0..1 + self.rng.below(3) {
            self.wanted.mutate(&mut self.rng, &mut self.next_number);
        }
        for number in 1..=self.rng.below(5) {
            let kill_at = self.rng.chance(600).then(|| 1 + self.rng.below(6000));
            self.world.note(format_args!("life {number}"));
            self.one_life(kill_at, false);
            if self.world.violation().is_some() {
                break;
            }
        }
        if self.world.violation().is_none() {
            self.world.note("the last life");
            self.one_life(None, true);
        }
        for (server, book) in self.world.servers.iter().zip(&self.world.books) {
            self.world.note(format_args!("log {}: {:?}", server.name, book.lock().unwrap().seen));
        }
        (self.world.trace(), self.world.violation())
    }

    fn one_life(&mut self, kill_at: Option<u64>, heals: bool) {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("it can be built");
        let world = Arc::clone(&self.world);
        runtime.block_on(async {
            world.begin_life(kill_at);
            tokio::select! {
                biased;
                () = world.halted() => {}
                () = self.live(heals) => {}
            }
            world.note(format_args!("the end, after {} visits outside", world.visits()));
            world.end_life();
        });
        // Whatever is going on stops where it waits.
        drop(runtime);
        world.held.lock().unwrap().clear();
    }

    async fn live(&mut self, heals: bool) {
        let mut life = Life::begin(self);
        life.allow_writers("");
        trouble::change_weather(&life.world, &mut life.sim.rng);
        life.apply().await;
        for _ in 0..life.sim.rng.below(40) {
            life.act().await;
            life.pause().await;
            life.observer.look().await;
        }
        if heals {
            life.heal().await;
        } else {
            life.end().await;
        }
    }
}

/// One life of lode.
struct Life<'a> {
    sim: &'a mut Simulation,
    world: Arc<World>,
    engine: Arc<Engine>,
    observer: Observer,
    load: tokio::task::JoinHandle<()>,
}

impl Life<'_> {
    fn begin(sim: &mut Simulation) -> Life<'_> {
        let world = Arc::clone(&sim.world);
        world.doors.iter().for_each(|door| door.lock().unwrap().is_asked = false);
        let registry = kinds::registry(&world, &sim.memory);
        let clock = {
            let world = Arc::clone(&world);
            Clock::new(move || world.now_ms())
        };
        let engine = Arc::new(Engine::new(&sim.data, registry).with_clock(clock));
        let observer = Observer::new(Arc::clone(&world), Arc::clone(&engine));
        let load = tokio::spawn(load(Arc::clone(&world), Random::new(sim.rng.next())));
        Life { sim, world, engine, observer, load }
    }

    /// One random action.
    async fn act(&mut self) {
        let chosen = self.sim.rng.below(100);
        match chosen {
            0..12 => {
                for _ in 0..1 + self.sim.rng.below(2) {
                    self.sim.wanted.mutate(&mut self.sim.rng, &mut self.sim.next_number);
                }
                self.apply().await;
            }
            12..17 => {
                if self.sim.rng.one_in(3) {
                    self.sim.wanted.threads = self.sim.rng.below(8);
                    self.allow_writers("");
                }
                self.apply().await;
            }
            17..27 => self.stop_or_start().await,
            27..36 => trouble::change_weather(&self.world, &mut self.sim.rng),
            36..52 => trouble::trouble_a_target(&self.world, &mut self.sim.rng),
            52..64 => trouble::trouble_a_server(&self.world, &mut self.sim.rng),
            64..67 => {
                let full = !self.world.store_is_full();
                self.world
                    .note(format_args!("the store is {}", if full { "full" } else { "no longer full" }));
                self.world.fill_store(full);
            }
            67..71 => self.mend(false).await,
            71..83 => {
                let at = usize::from(self.sim.rng.one_in(5));
                tables::pause_or_resume(&self.world, &self.engine, at, &mut self.sim.rng).await;
            }
            83..85 => {
                self.world.note("a long while passes");
                sleep(Duration::from_secs(40 + self.sim.rng.below(60))).await;
            }
            85..95 => {
                self.allow_writers("");
                mines::command(&self.world, &self.engine, &mut self.sim.rng).await;
            }
            _ => {}
        }
    }

    async fn pause(&mut self) {
        let most_ms = if self.sim.rng.one_in(6) { 8000 } else { 400 };
        sleep(Duration::from_millis(self.sim.rng.below(most_ms))).await;
    }

    /// Asks for what is wanted. A store that cannot be reached leaves everything as it was.
    async fn apply(&mut self) -> bool {
        let script = self.sim.wanted.script();
        for line in script.lines().filter(|line| line.starts_with("pipeline")) {
            self.world.note(format_args!("apply {line}"));
        }
        for (number, delivery) in self.sim.wanted.deliveries() {
            self.world.deliveries.lock().unwrap().insert(number, Arc::new(delivery));
        }
        let checked = self.engine.load(&Input::new("/").text("simulation.lode", &script));
        let plan = match checked.model {
            Some(model) => self.engine.plan(&model),
            None => {
                self.world
                    .violate(format_args!("the script is refused: {:?}\n{script}", checked.diagnostics));
                return false;
            }
        };
        let before = self.observer.pipelines().await;
        for name in plan.pipelines.keys().filter(|name| !before.contains(name)) {
            self.allow_writers(&format!("{name}/"));
        }
        self.observer.hold_only(&plan);
        match timeout(APPLY_PATIENCE, self.engine.apply(plan.clone())).await {
            Ok(Ok(())) => {
                self.world.note("applied");
                self.observer.hold(&plan).await;
                true
            }
            Ok(Err(error)) if error.kind() == Kind::Unavailable => {
                self.world.note(format_args!("not applied: {error}"));
                if self.observer.pipelines().await != before {
                    self.world.violate("a plan that was not applied has changed what runs");
                }
                false
            }
            Ok(Err(error)) => {
                self.world.violate(format_args!("not applied: {error:?}"));
                false
            }
            Err(_) => {
                self.world.violate("applying a plan takes too long");
                false
            }
        }
    }

    async fn stop_or_start(&mut self) {
        let names = self.observer.pipelines().await;
        let Some(name) = pick(&mut self.sim.rng, &names) else { return };
        if self.observer.is_over(name).await {
            return self.start(name).await;
        }
        match self.sim.rng.below(8) {
            0..3 => {
                self.world.note(format_args!("stop {name}"));
                self.observer.let_go(name);
                let stopped = timeout(APPLY_PATIENCE, self.engine.stop(name)).await;
                self.hold_against("stopping", name, stopped);
            }
            3..5 => {
                self.world.note(format_args!("pause {name}"));
                let paused = timeout(APPLY_PATIENCE, self.engine.pause(name)).await;
                self.hold_against("pausing", name, paused);
            }
            5 => {
                self.world.note(format_args!("restart {name}"));
                self.allow_writers(&format!("{name}/"));
                let restarted = timeout(APPLY_PATIENCE, self.engine.restart(name)).await;
                self.hold_against("restarting", name, restarted);
            }
            _ => self.rewind(name).await,
        }
    }

    /// What somebody asks for works at once, unless something outside is away.
    fn hold_against(&self, doing: &str, name: &str, outcome: Result<lode::error::Result<()>, Elapsed>) {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == Kind::Unavailable => {}
            Ok(Err(error)) => self.world.violate(format_args!("{doing} {name} is refused: {error:?}")),
            Err(_) => self.world.violate(format_args!("{doing} {name} takes too long")),
        }
    }

    /// Sends a pipeline to an entry of its log.
    async fn rewind(&mut self, name: &str) {
        let Some((horizon, head)) = self.observer.log_of(name).await else { return };
        let to = Place::Seq { seq: Seq(horizon + self.sim.rng.below(head - horizon + 1)) };
        let Ok(places) = self.engine.preview_rewind(name, &to).await else { return };
        self.world.note(format_args!("rewind {name} to {to:?}"));
        self.allow_writers(&format!("{name}/"));
        for place in &places {
            self.world.note(format_args!("  {} goes to {}", place.route, place.cursor.next));
            let mut targets = self.world.targets.lock().unwrap();
            targets.entry(place.route.clone()).or_default().send_to(place.cursor.next);
        }
        match timeout(APPLY_PATIENCE, self.engine.rewind(name, &to)).await {
            Ok(Ok(gone)) if gone != places => {
                self.world.violate(format_args!("{name} goes to {gone:?}, and not to {places:?}"));
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) if matches!(error.kind(), Kind::Unavailable | Kind::Gap | Kind::Fenced) => {
                self.world.note(format_args!("  not yet: {error}"));
            }
            // A route that fails takes the others of its pipeline along.
            Ok(Err(error)) if error.kind() == Kind::Refused && self.rejects(name) => {
                self.world.note(format_args!("  not yet: {error}"));
            }
            Ok(Err(error)) => self.world.violate(format_args!("{name} cannot be rewound: {error:?}")),
            Err(_) => self.world.violate(format_args!("rewinding {name} takes too long")),
        }
    }

    /// Whether a target of a pipeline has rejected something.
    fn rejects(&self, name: &str) -> bool {
        let prefix = format!("{name}/");
        let targets = self.world.targets.lock().unwrap();
        targets.iter().any(|(key, target)| key.starts_with(&prefix) && target.trouble.has_rejected)
    }

    /// Somebody starts routes whose keys begin so: they may take over from whoever took over from them.
    fn allow_writers(&self, prefix: &str) {
        let mut targets = self.world.targets.lock().unwrap();
        for (_, target) in targets.iter_mut().filter(|(key, _)| key.starts_with(prefix)) {
            target.allow();
        }
    }

    async fn start(&mut self, name: &str) {
        self.world.note(format_args!("start {name}"));
        self.allow_writers(&format!("{name}/"));
        match self.engine.start(name).await {
            Ok(()) => self.observer.hold_again(name).await,
            Err(error) if error.kind() == Kind::Unavailable => {}
            Err(error) => self.world.violate(format_args!("{name} cannot be started: {error:?}")),
        }
    }

    /// Somebody sets right what is wrong, and starts what has ended; `everything` also clears the weather.
    async fn mend(&mut self, everything: bool) {
        self.world.note(if everything { "everything is mended" } else { "troubles are mended" });
        for door in &self.world.doors {
            let mut door = door.lock().unwrap();
            (door.purged, door.poison, door.is_another) = (0, None, false);
        }
        for target in self.world.targets.lock().unwrap().values_mut() {
            target.trouble.rejects = false;
            if everything {
                (target.trouble.away_until_ms, target.trouble.delay_ms) = (0, 0);
            }
        }
        self.world.fill_store(false);
        if everything {
            self.world.clear_up();
        }
        if self.apply().await {
            self.restart().await;
        }
    }

    /// Starts what has ended. What has lost its place begins anew.
    async fn restart(&mut self) {
        for name in self.observer.pipelines().await {
            if self.observer.is_over(&name).await {
                self.observer.empty_gaps(&name).await;
                self.start(&name).await;
            }
        }
    }

    /// Ends as a program may end: in good order, in haste, or not at all.
    async fn end(&mut self) {
        match self.sim.rng.below(4) {
            0 | 1 => {
                let patience = Duration::from_secs(self.sim.rng.below(30));
                self.shut_down(patience).await;
            }
            2 => {
                self.world.note("abort");
                self.engine.abort().await;
                sleep(Duration::from_millis(self.sim.rng.below(300))).await;
            }
            _ => self.world.note("killed"),
        }
        self.observer.look().await;
    }

    async fn shut_down(&mut self, patience: Duration) {
        self.world.note(format_args!("shutdown within {} s", patience.as_secs()));
        let began = Instant::now();
        self.engine.shutdown(patience).await;
        if began.elapsed() > patience + Duration::from_secs(1) {
            self.world.violate(format_args!("the shutdown takes {:?}", began.elapsed()));
        }
    }

    /// Nothing goes wrong any more: everything must be delivered.
    async fn heal(&mut self) {
        self.mend(true).await;
        self.load.abort();
        for round in ["first", "second"] {
            for server in &self.world.servers {
                server.commit_everywhere(&mut self.sim.rng, self.world.now_ms());
            }
            self.world.note(format_args!("the {round} transaction for every table"));
            let until = Instant::now() + HEALING_PATIENCE;
            loop {
                mines::start_all(&self.world, &self.engine).await;
                tables::resume_all(&self.world, &self.engine).await;
                let Some(missing) = self.observer.missing().await else { break };
                if Instant::now() > until {
                    self.world.violate(format_args!("it never arrives: {missing}"));
                    return;
                }
                sleep(Duration::from_secs(1)).await;
                self.observer.look().await;
                // What broke before everything was mended may come to light after it.
                if self.observer.a_mine_failed().await {
                    self.apply().await;
                }
                self.restart().await;
            }
        }
        self.observer.compare().await;
        self.shut_down(Duration::from_secs(60)).await;
        self.observer.look().await;
        self.observer.check_all_ended().await;
    }
}

pub fn pick<'a>(rng: &mut Random, names: &'a [String]) -> Option<&'a String> {
    let count = names.len() as u64;
    (count > 0).then(|| &names[rng.below(count) as usize])
}

/// The servers are written to all the time.
async fn load(world: Arc<World>, mut rng: Random) {
    let most_ms = [150, 600, 4000][rng.below(3) as usize];
    loop {
        sleep(Duration::from_millis(rng.below(most_ms))).await;
        let at = usize::from(rng.one_in(5));
        world.servers[at].commit_some(&mut rng, world.now_ms());
    }
}
