//! What stays when lode is killed: servers, logs and targets; and what goes wrong with them, by the seed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lode::error::{Error, Kind, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::book::Book;
use super::chance::Random;
use super::history::{SERVERS, Server};
use super::pipelines::Delivery;
use super::sink::Target;
use super::source::Door;

/// The simulated time at the beginning.
const BEGIN_MS: i64 = 1_000_000_000_000;
/// Lines of a trace that are kept: the last ones say what went wrong.
const TRACE_LINES_MAX: usize = 100_000;

/// Where lode waits for something outside, and something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    MakeSource,
    MakeStore,
    Identify,
    Resolve,
    OpenStream,
    /// Before each event of the source.
    Event,
    /// No error: the source has nothing more at hand just now.
    Lull,
    OpenLog,
    Append,
    /// Only the first blocks of an append become durable.
    TornAppend,
    /// The append is durable, and its answer is lost.
    AppendAnswer,
    Read,
    Retain,
    OpenSink,
    Write,
    /// A sink without transactions has written only a part.
    HalfWrite,
    WriteAnswer,
    CloseSink,
}

/// All places with how often something goes wrong there, in a thousand, at the most.
pub const DANGERS: [(Place, u64); 16] = [
    (Place::MakeStore, 150),
    (Place::MakeSource, 150),
    (Place::Identify, 300),
    (Place::Resolve, 200),
    (Place::OpenStream, 300),
    (Place::Event, 30),
    (Place::Lull, 300),
    (Place::OpenLog, 300),
    (Place::Append, 200),
    (Place::TornAppend, 200),
    (Place::AppendAnswer, 200),
    (Place::Read, 150),
    (Place::OpenSink, 200),
    (Place::Write, 200),
    (Place::HalfWrite, 200),
    (Place::WriteAnswer, 200),
];

pub struct World {
    pub servers: Vec<Server>,
    /// How each server is to be reached.
    pub doors: Vec<Mutex<Door>>,
    /// What lies in the log of each server.
    pub books: Vec<Mutex<Book>>,
    /// What was written, by the key of the route.
    pub targets: Mutex<BTreeMap<String, Target>>,
    /// What sinks are to get, by number.
    pub deliveries: Mutex<BTreeMap<u64, Arc<Delivery>>>,
    /// The routes that retention has to leave their changes.
    pub held: Mutex<BTreeSet<String>>,
    /// Nothing is held in the end.
    drops_unread: AtomicBool,
    weather: Mutex<Weather>,
    time: Mutex<Time>,
    fate: Mutex<Fate>,
    halted: Notify,
    trace: Mutex<Vec<String>>,
}

struct Weather {
    rng: Random,
    permille: BTreeMap<Place, u64>,
    delay_ms_max: BTreeMap<Area, u64>,
    /// The store has no room.
    full: bool,
}

/// What can be slow on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    Source,
    Store,
    Sink,
}

struct Time {
    /// The time when the present life began, or now between two lives.
    base_ms: i64,
    since: Option<Instant>,
}

#[derive(Default)]
struct Fate {
    /// How often lode waited for something outside, and when it is to be killed.
    visits: u64,
    kill_at: Option<u64>,
    is_halted: bool,
    violation: Option<String>,
}

impl World {
    pub fn new(seed: u64) -> Arc<World> {
        let servers: Vec<_> = SERVERS.iter().map(|(name, tables)| Server::new(name, tables)).collect();
        Arc::new(World {
            doors: servers.iter().map(|_| Mutex::default()).collect(),
            books: servers.iter().map(|_| Mutex::default()).collect(),
            servers,
            targets: Mutex::default(),
            deliveries: Mutex::default(),
            held: Mutex::default(),
            drops_unread: AtomicBool::new(false),
            weather: Mutex::new(Weather {
                rng: Random::new(seed),
                permille: BTreeMap::new(),
                delay_ms_max: BTreeMap::new(),
                full: false,
            }),
            time: Mutex::new(Time { base_ms: BEGIN_MS, since: None }),
            fate: Mutex::default(),
            halted: Notify::new(),
            trace: Mutex::default(),
        })
    }

    /// Retention may drop what a route has not delivered.
    pub fn drops_unread(&self, drops: bool) {
        self.drops_unread.store(drops, Ordering::SeqCst);
    }

    pub fn holds(&self) -> bool {
        !self.drops_unread.load(Ordering::SeqCst)
    }

    /// The number of the server with this name.
    pub fn server_called(&self, name: &str) -> usize {
        self.servers
            .iter()
            .position(|server| server.name == name)
            .expect("scripts name servers that are there")
    }

    // Time.

    pub fn now_ms(&self) -> i64 {
        let time = self.time.lock().unwrap();
        time.base_ms + time.since.map_or(0, |since| since.elapsed().as_millis() as i64)
    }

    /// A life of lode begins on a runtime of its own, to be killed at its `kill_at`th visit outside.
    pub fn begin_life(&self, kill_at: Option<u64>) {
        self.time.lock().unwrap().since = Some(Instant::now());
        let mut fate = self.fate.lock().unwrap();
        (fate.visits, fate.kill_at, fate.is_halted) = (0, kill_at, false);
    }

    /// To be called while the runtime still lives.
    pub fn end_life(&self) {
        let now_ms = self.now_ms();
        *self.time.lock().unwrap() = Time { base_ms: now_ms, since: None };
        self.fate.lock().unwrap().is_halted = true;
    }

    // Fate.

    /// Returns when lode is to be killed, or has broken a promise.
    pub async fn halted(&self) {
        while !self.fate.lock().unwrap().is_halted {
            self.halted.notified().await;
        }
    }

    /// Notes that a promise was broken. Nothing happens any more then.
    pub fn violate(&self, what: impl Display) {
        self.note(format_args!("VIOLATION {what}"));
        let mut fate = self.fate.lock().unwrap();
        fate.violation.get_or_insert_with(|| what.to_string());
        fate.is_halted = true;
        self.halted.notify_one();
    }

    pub fn violation(&self) -> Option<String> {
        self.fate.lock().unwrap().violation.clone()
    }

    pub fn visits(&self) -> u64 {
        self.fate.lock().unwrap().visits
    }

    // Weather.

    pub fn threaten(&self, place: Place, permille: u64) {
        self.weather.lock().unwrap().permille.insert(place, permille);
    }

    pub fn slow_down(&self, area: Area, delay_ms_max: u64) {
        self.weather.lock().unwrap().delay_ms_max.insert(area, delay_ms_max);
    }

    pub fn fill_store(&self, full: bool) {
        self.weather.lock().unwrap().full = full;
    }

    pub fn store_is_full(&self) -> bool {
        self.weather.lock().unwrap().full
    }

    pub fn clear_up(&self) {
        let mut weather = self.weather.lock().unwrap();
        weather.permille.clear();
        weather.delay_ms_max.clear();
        weather.full = false;
    }

    /// Something outside takes its time. Lode may be killed here: then this never returns.
    pub async fn visit(&self, area: Area) {
        let delay_ms = {
            let mut weather = self.weather.lock().unwrap();
            let most = weather.delay_ms_max.get(&area).copied().unwrap_or(0);
            if most == 0 { 0 } else { weather.rng.below(most + 1) }
        };
        self.survive().await;
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            self.survive().await;
        }
    }

    async fn survive(&self) {
        let is_halted = {
            let mut fate = self.fate.lock().unwrap();
            fate.visits += 1;
            if fate.kill_at == Some(fate.visits) {
                fate.is_halted = true;
                self.halted.notify_one();
            }
            fate.is_halted
        };
        if is_halted {
            std::future::pending::<()>().await;
        }
    }

    /// Whether something goes wrong here.
    pub fn strikes(&self, place: Place) -> bool {
        let mut weather = self.weather.lock().unwrap();
        let permille = weather.permille.get(&place).copied().unwrap_or(0);
        permille > 0 && weather.rng.chance(permille)
    }

    /// An error when something goes wrong here.
    pub fn pass(&self, place: Place) -> Result<()> {
        if !self.strikes(place) {
            return Ok(());
        }
        self.note(format_args!("  {place:?} fails"));
        Err(Error::new(Kind::Unavailable, format!("struck at {place:?}")))
    }

    /// A number that the weather chooses, below `end`.
    pub fn any_below(&self, end: u64) -> u64 {
        self.weather.lock().unwrap().rng.below(end)
    }

    // Trace.

    pub fn note(&self, what: impl Display) {
        let at_ms = self.now_ms() - BEGIN_MS;
        let mut trace = self.trace.lock().unwrap();
        if trace.len() < TRACE_LINES_MAX {
            trace.push(format!("{:>9}.{:03} {what}", at_ms / 1000, at_ms % 1000));
        }
    }

    pub fn trace(&self) -> Vec<String> {
        self.trace.lock().unwrap().clone()
    }
}
