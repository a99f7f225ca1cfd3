//! Random pipelines: the script that asks for them, and what their sinks are to get for each of the source's changes.

use std::collections::BTreeMap;
use std::fmt::Write;

use lode::model::block::Op;

use super::chance::Random;
use super::history::{Cell, Change, Row, SERVERS, cells};

/// Pipelines that there may be at one time.
pub const PIPELINES_MAX: u64 = 6;
/// What the stage `map` of a simulation adds to a value.
const MAPPED: i64 = 1_000_000_000;

/// What a sink sees of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Put { table: String, key: i64, row: BTreeMap<String, Cell> },
    Remove { table: String, key: i64 },
    Clear { table: String },
}

/// What a log's limit means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unread {
    /// There is none.
    #[default]
    Held,
    HeldUpTo256Kib,
    Dropped,
    StopsAt256Kib,
}

impl Unread {
    pub fn random(rng: &mut Random) -> Unread {
        match rng.below(10) {
            0 => Unread::HeldUpTo256Kib,
            1 => Unread::Dropped,
            2 => Unread::StopsAt256Kib,
            _ => Unread::Held,
        }
    }

    fn script(self) -> &'static str {
        match self {
            Unread::Held => "",
            Unread::HeldUpTo256Kib => ", hold_size = 256KiB",
            Unread::Dropped => ", unread = drop",
            Unread::StopsAt256Kib => ", unread = stop, hold_size = 256KiB",
        }
    }
}

/// Everything that runs, or shall run.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What becomes of changes that a pipeline has not read.
    pub unread: Unread,
    /// A setting of every mine that changes nothing but the plan, so that they are made anew.
    pub threads: u64,
    pub pipelines: BTreeMap<String, Pipeline>,
}

#[derive(Clone, Debug)]
pub struct Pipeline {
    pub inputs: Vec<Input>,
    stages: Stages,
    pub routes: Vec<Route>,
    starts_now: bool,
    cursor_interval_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Input {
    pub server: usize,
    /// As the script says it: `{a0, a1}` or `a*`.
    pattern: String,
    pub tables: Vec<&'static str>,
    pub is_mined: bool,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub is_exact: bool,
    stages: Stages,
    batch: u64,
    /// Stands in the script, so that a sink knows what it is to get.
    number: u64,
}

/// Stages in this order, each of which may be there.
#[derive(Clone, Debug, Default)]
struct Stages {
    /// Only rows of other shades.
    not_shade: Option<i64>,
    only_inserts: bool,
    map: bool,
    drop_note: bool,
}

/// What the sink of one input and route gets.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub is_exact: bool,
    /// It begins at what is new, and not with all that its log has.
    pub starts_now: bool,
    inputs: Vec<Input>,
    stages: [Stages; 2],
}

impl Wanted {
    /// Changes, adds or takes away a pipeline. `next_number` numbers routes.
    pub fn mutate(&mut self, rng: &mut Random, next_number: &mut u64) {
        let name = format!("p{}", rng.below(PIPELINES_MAX));
        if self.pipelines.contains_key(&name) && rng.one_in(3) {
            self.pipelines.remove(&name);
            return;
        }
        let new = match self.pipelines.get(&name) {
            Some(old) => old.changed(rng, next_number),
            None => Pipeline::random(rng, next_number),
        };
        self.pipelines.insert(name, new);
    }

    /// The script that asks for all this.
    pub fn script(&self) -> String {
        let mut script = String::new();
        let _ = writeln!(script, "connection logs = simstore \"simstore://logs.test/logs\"");
        for (name, _) in SERVERS {
            let _ = writeln!(script, "connection {name} = sim \"sim://{name}.test/{name}\"");
            let _ = writeln!(script, "connection {name}_direct = sim \"sim://{name}.test/{name}\"");
            let _ = writeln!(
                script,
                "share_mining {name} via logs.{name} {{ start = earliest, retention = 60s, retention_size = 3MiB, threads = {}{} }}",
                self.threads + 1,
                self.unread.script()
            );
        }
        for (name, pipeline) in &self.pipelines {
            let inputs: Vec<_> = pipeline.inputs.iter().map(Input::script).collect();
            let routes: Vec<_> = pipeline.routes.iter().map(Route::script).collect();
            let _ = writeln!(
                script,
                "pipeline {name} {{ cursor_interval = {}ms{} }} = [{}]{} -> [{}]",
                pipeline.cursor_interval_ms,
                if pipeline.starts_now { ", start = now" } else { "" },
                inputs.join(", "),
                pipeline.stages.script(),
                routes.join(", ")
            );
        }
        script
    }

    /// What the sinks of these pipelines get, by number.
    pub fn deliveries(&self) -> impl Iterator<Item = (u64, Delivery)> {
        self.pipelines.values().flat_map(|pipeline| {
            pipeline.routes.iter().map(|route| {
                let delivery = Delivery {
                    is_exact: route.is_exact,
                    starts_now: pipeline.starts_now,
                    inputs: pipeline.inputs.clone(),
                    stages: [pipeline.stages.clone(), route.stages.clone()],
                };
                (route.number, delivery)
            })
        })
    }
}

impl Pipeline {
    fn random(rng: &mut Random, next_number: &mut u64) -> Pipeline {
        let (server, is_mined) = (usize::from(rng.one_in(5)), rng.chance(800));
        let mut inputs = vec![Input::random(rng, server, is_mined)];
        if rng.one_in(5) {
            let other = 1 - inputs[0].server;
            inputs.push(Input::random(rng, other, true));
        }
        let routes = (0..1 + rng.below(5) / 3).map(|_| Route::random(rng, next_number)).collect();
        Pipeline {
            inputs,
            stages: Stages::random(rng),
            routes,
            starts_now: rng.one_in(4),
            cursor_interval_ms: 500 + rng.below(4000),
        }
    }

    /// The same pipeline with something else in it. Its ways stay what they are: a place in a log is none in a source.
    fn changed(&self, rng: &mut Random, next_number: &mut u64) -> Pipeline {
        let mut new = self.clone();
        match rng.below(3) {
            0 => {
                for input in &mut new.inputs {
                    *input = Input::random(rng, input.server, input.is_mined);
                }
            }
            1 => new.stages = Stages::random(rng),
            _ => {
                for route in &mut new.routes {
                    (route.stages, route.batch) = (Stages::random_of_branch(rng), any_batch(rng));
                }
            }
        }
        for route in &mut new.routes {
            *next_number += 1;
            route.number = *next_number;
        }
        new
    }
}

fn any_batch(rng: &mut Random) -> u64 {
    if rng.one_in(3) { 1000 } else { 1 + rng.below(12) }
}

impl Input {
    fn random(rng: &mut Random, server: usize, is_mined: bool) -> Input {
        let all = SERVERS[server].1;
        let (pattern, tables): (String, Vec<_>) = match rng.below(6) {
            0 => ("*".into(), all.to_vec()),
            1 => {
                let first = &all[rng.below(all.len() as u64) as usize][..1];
                (format!("{first}*"), all.iter().copied().filter(|table| table.starts_with(first)).collect())
            }
            _ => {
                let mut tables: Vec<_> = all.iter().copied().filter(|_| rng.one_in(3)).collect();
                if tables.is_empty() {
                    tables.push(all[rng.below(all.len() as u64) as usize]);
                }
                (format!("{{{}}}", tables.join(", ")), tables)
            }
        };
        Input { server, pattern, tables, is_mined }
    }

    fn script(&self) -> String {
        let (server, pattern) = (SERVERS[self.server].0, &self.pattern);
        if self.is_mined {
            format!("source sim {server}.{pattern} share_mining")
        } else {
            format!("source sim {server}_direct.{pattern}")
        }
    }
}

impl Route {
    fn random(rng: &mut Random, next_number: &mut u64) -> Route {
        *next_number += 1;
        Route {
            is_exact: rng.chance(600),
            stages: Stages::random_of_branch(rng),
            batch: any_batch(rng),
            number: *next_number,
        }
    }

    fn script(&self) -> String {
        let kind = if self.is_exact { "exact" } else { "loose" };
        let stages = self.stages.script();
        let sink = format!("sink {kind} {{ batch = {}, number = {} }}", self.batch, self.number);
        match stages.strip_prefix(" -> ") {
            Some(stages) => format!("{stages} -> {sink}"),
            None => sink,
        }
    }
}

impl Stages {
    /// Stages before the branch, which may drop a column.
    fn random(rng: &mut Random) -> Stages {
        Stages { drop_note: rng.one_in(4), ..Stages::random_of_branch(rng) }
    }

    /// Stages of a branch. What is dropped already cannot be dropped again.
    fn random_of_branch(rng: &mut Random) -> Stages {
        Stages {
            not_shade: rng.one_in(3).then(|| rng.below(3) as i64),
            only_inserts: rng.one_in(10),
            map: rng.one_in(5),
            drop_note: false,
        }
    }

    fn script(&self) -> String {
        let mut script = String::new();
        if let Some(shade) = self.not_shade {
            let _ = write!(script, " -> filter {{ row.shade != {shade} }}");
        }
        if self.only_inserts {
            script += " -> filter { op == \"insert\" }";
        }
        if self.map {
            let _ = write!(script, " -> map {{ row.value += {MAPPED}; }}");
        }
        if self.drop_note {
            script += " -> drop note";
        }
        script
    }

    fn is_empty(&self) -> bool {
        self.not_shade.is_none() && !self.only_inserts && !self.map && !self.drop_note
    }

    /// What comes out for one change, which is its kind and its rows before and after.
    fn apply(&self, change: Seen) -> Vec<Seen> {
        if self.is_empty() || change.op == Op::Truncate {
            return vec![change];
        }
        let moved = change.before.is_some_and(|old| change.after.is_some_and(|new| old.key != new.key));
        let parts = if moved {
            let (delete, insert) = (
                Seen { op: Op::Delete, after: None, ..change.clone() },
                Seen { op: Op::Insert, before: None, ..change },
            );
            vec![delete, insert]
        } else {
            vec![change]
        };
        parts.into_iter().filter_map(|part| self.apply_whole(part)).collect()
    }

    fn apply_whole(&self, mut change: Seen) -> Option<Seen> {
        if let Some(shade) = self.not_shade {
            let passes = |row: Option<Row>| row.is_some_and(|row| row.shade != shade);
            let (old, new) = (passes(change.before), passes(change.after));
            match (change.op, old, new) {
                (_, false, false) => return None,
                (Op::Update, true, false) => (change.op, change.after) = (Op::Delete, None),
                (Op::Update, false, true) => (change.op, change.before) = (Op::Insert, None),
                _ => {}
            }
        }
        if self.only_inserts && change.op != Op::Insert {
            return None;
        }
        change.mapped += i64::from(self.map);
        change.without_note |= self.drop_note;
        Some(change)
    }
}

/// A change on its way through stages.
#[derive(Clone)]
struct Seen {
    op: Op,
    before: Option<Row>,
    after: Option<Row>,
    mapped: i64,
    without_note: bool,
}

impl Delivery {
    /// The input that reads this server.
    pub fn input(&self, server: usize) -> Option<&Input> {
        self.inputs.iter().find(|input| input.server == server)
    }

    /// What the sink gets for a change of a table that it wants.
    pub fn effects(&self, change: &Change) -> Vec<Effect> {
        let (op, before, after) = (change.op, change.before, change.after);
        let seen = Seen { op, before, after, mapped: 0, without_note: false };
        let mut all = vec![seen];
        for stages in &self.stages {
            all = all.into_iter().flat_map(|seen| stages.apply(seen)).collect();
        }
        all.iter().flat_map(|seen| seen.effects(change)).collect()
    }
}

impl Seen {
    fn effects(&self, change: &Change) -> Vec<Effect> {
        let table = || change.table.to_owned();
        if self.op == Op::Truncate {
            return vec![Effect::Clear { table: table() }];
        }
        let mut effects = Vec::new();
        let new_key = self.after.map(|row| row.key);
        if let Some(old) = self.before.filter(|old| Some(old.key) != new_key) {
            effects.push(Effect::Remove { table: table(), key: old.key });
        }
        if let Some(row) = &self.after {
            let mut cells: BTreeMap<_, _> = cells(row, change.version).into_iter().collect();
            cells.insert("value".into(), Cell::Number(row.value + self.mapped * MAPPED));
            if self.without_note {
                cells.remove("note");
            }
            effects.push(Effect::Put { table: table(), key: row.key, row: cells });
        }
        effects
    }
}
