//! What alerts see of a running engine at a moment.

use std::collections::BTreeMap;

use super::super::status::consumer;
use super::super::{Running, RunningMine};
use crate::error::Kind;
use crate::lang::print::quotable;
use crate::model::clock::Clock;
use crate::run::alert::{Fact, Observation, Seen, Whom};
use crate::run::mine::{Mine, MineState};
use crate::run::pipeline::{Halt, Pipeline};
use crate::run::retention::Growth;
use crate::run::route::{Route, RouteState};

/// A mine that read a transaction so lately is as late as that transaction was; one that is quiet is not late.
const FRESH_MS: i64 = 10_000;
/// A pipeline that lags for so long stands still, as far as the end of its history is concerned.
const STANDS_STILL_MS: i64 = 60_000;
/// A log that has so much of the size that it is held below is nearly full.
const NEARLY_FULL_PERCENT: u64 = 95;

/// Looks at what runs, and remembers what a single look cannot show.
#[derive(Debug, Default)]
pub(super) struct Observer {
    /// By mine: since when nothing comes from its source.
    silent_since_ms: BTreeMap<String, i64>,
    /// By mine and by route: how often it had been tried when it last succeeded.
    successes: BTreeMap<String, Success>,
}

#[derive(Debug, Default)]
struct Success {
    /// All attempts that had failed before it.
    retries: u64,
    /// All that had failed at the last look.
    seen: u64,
    ran: bool,
}

impl Success {
    /// Attempts since the last success: what runs through from one look to the next has succeeded.
    fn since(&mut self, retries: u64, runs: bool) -> u64 {
        if runs && self.ran && retries == self.seen || retries < self.retries {
            self.retries = retries;
        }
        (self.seen, self.ran) = (retries, runs);
        retries - self.retries
    }
}

impl Observer {
    /// Looks once. Tables are looked at where somebody watches tables.
    pub fn look(&mut self, running: &Running, clock: &Clock, tables: bool) -> Observation {
        let at_ms = clock.now_ms();
        let mut seen = Vec::new();
        let pipelines: Vec<Seen> =
            running.pipelines.values().map(|pipeline| self.pipeline(pipeline, clock)).collect();
        for (key, mine) in &running.mines {
            let readers = running.readers(key);
            let read: Vec<&Seen> = pipelines
                .iter()
                .filter(|seen| matches!(&seen.whom, Whom::Pipeline(name) if readers.contains(name)))
                .collect();
            seen.push(self.mine(key, mine, running, &read, at_ms));
            if tables {
                seen.extend(tables_of(key, mine, running));
            }
        }
        self.silent_since_ms.retain(|key, _| running.mines.contains_key(key));
        let routes = || running.pipelines.values().flat_map(|pipeline| pipeline.routes());
        self.successes.retain(|key, _| {
            running.mines.contains_key(key) || routes().any(|route| route.parts().sink.key == *key)
        });
        seen.extend(pipelines);
        Observation { at_ms, seen }
    }

    fn mine(
        &mut self,
        key: &str,
        of: &RunningMine,
        running: &Running,
        readers: &[&Seen],
        at_ms: i64,
    ) -> Seen {
        let mine = &of.mine;
        let (progress, state) = (mine.progress(), mine.state().borrow().clone());
        let mut seen = Seen { connections: names(key, of, running), ..Seen::of(Whom::Mine(key.to_owned())) };
        let is_away = matches!(state, MineState::Starting | MineState::Retrying { .. });
        if !is_away {
            self.silent_since_ms.remove(key);
        }
        let since_ms = is_away.then(|| *self.silent_since_ms.entry(key.to_owned()).or_insert(at_ms));
        let silent_ms = since_ms.map_or(0, |since_ms| (at_ms - since_ms).max(0));
        let delay_ms = if progress.quiet_ms() < FRESH_MS { progress.delay_ms() } else { 0 };
        let waiting: Vec<String> = readers
            .iter()
            .filter(|reader| matches!(reader.waiting, Fact::Yes(_)))
            .map(|reader| reader.whom.to_string())
            .collect();
        let all = || readers.iter().map(|reader| reader.whom.to_string()).collect::<Vec<_>>().join(", ");
        let starving =
            if readers.is_empty() { String::new() } else { format!("; it is waited for by {}", all()) };
        let coverage = mine.log().coverage();
        let cut_off = coverage.paused.iter().find_map(|paused| {
            let failure = paused.failed.as_ref().filter(|failure| failure.kind == Kind::Gap)?;
            Some(format!("{}: {}", paused.tables, failure.error))
        });
        let runs = matches!(state, MineState::Running | MineState::Ended);
        let transaction = progress.transaction();
        seen.lag_ms = Some(delay_ms.max(silent_ms).max(0) as u64);
        seen.rows_per_s = Some(progress.rows_per_s());
        seen.retries =
            Some(self.successes.entry(key.to_owned()).or_default().since(progress.retries(), runs));
        seen.silent_ms = Some(silent_ms as u64);
        seen.clock_skew_ms = progress.skew_ms().map(i64::unsigned_abs);
        seen.store_bytes = Some(mine.log().stat().stored_bytes);
        seen.store_full = Fact::of(store_full(mine, &state));
        seen.waiting = Fact::of((!waiting.is_empty()).then(|| waiting.join(", ")));
        seen.horizon_ms = readers.iter().filter_map(|reader| reader.horizon_ms).min();
        seen.transaction_rows = Some(transaction.rows());
        seen.transaction_table =
            transaction.largest().map(|table| format!("{key}.{}", quotable(&table.table)));
        seen.stopped = Fact::of(matches!(state, MineState::Stopped).then(|| starving.clone()));
        (seen.error, seen.gap) = (Fact::No, Fact::of(cut_off));
        match state {
            MineState::Failed { kind, error, .. } => {
                if kind == Kind::Gap {
                    seen.gap = Fact::Yes(error.clone());
                }
                seen.error = Fact::Yes(format!("{error}{starving}"));
            }
            MineState::Retrying { error, .. } => seen.retried = Some(error),
            _ => {}
        }
        seen
    }

    fn pipeline(&mut self, pipeline: &Pipeline, clock: &Clock) -> Seen {
        let mut seen = Seen::of(Whom::Pipeline(pipeline.name().to_owned()));
        let routes = pipeline.routes();
        let states: Vec<RouteState> = routes.iter().map(|route| route.state().borrow().clone()).collect();
        let failed = |state: &RouteState| match state {
            RouteState::Failed { kind, error, .. } => Some((*kind, error.clone())),
            _ => None,
        };
        let halted = pipeline.halt_state().map(|halt| match halt {
            Halt::Stopped => "",
            Halt::Paused => ": it is paused",
        });
        let stopped = || states.iter().all(|state| matches!(state, RouteState::Stopped)).then_some("");
        seen.lag_ms = routes.iter().filter_map(|route| route.lag_ms()).max().map(|ms| ms.max(0) as u64);
        seen.rows_per_s = Some(routes.iter().map(|route| route.progress().figures().rows_per_s).sum());
        seen.error = Fact::of(states.iter().find_map(failed).map(|(_, error)| error));
        let gap = |state: &RouteState| failed(state).filter(|(kind, _)| *kind == Kind::Gap);
        seen.gap = Fact::of(states.iter().find_map(gap).map(|(_, error)| error));
        seen.waiting = Fact::of(states.iter().find_map(|state| match state {
            RouteState::Waiting { reason } => Some(reason.clone()),
            _ => None,
        }));
        seen.retried = states.iter().find_map(|state| match state {
            RouteState::Retrying { error, .. } => Some(error.clone()),
            _ => None,
        });
        seen.stopped = Fact::of(halted.or_else(stopped));
        let mut retries = 0;
        for (route, state) in routes.iter().zip(&states) {
            let runs = !matches!(state, RouteState::Retrying { .. } | RouteState::Starting);
            let success = self.successes.entry(route.parts().sink.key.clone()).or_default();
            retries = retries.max(success.since(route.progress().figures().retries, runs));
        }
        seen.retries = Some(retries);
        let horizons = routes.iter().zip(&states).map(|(route, state)| horizon_ms(route, state, clock));
        seen.horizon_ms = horizons.min();
        seen.sink_ms = routes.iter().map(|route| route.progress().sink_ms()).max();
        seen
    }
}

/// When history is lost that a route still needs; never, for one that keeps up.
fn horizon_ms(route: &Route, state: &RouteState, clock: &Clock) -> u64 {
    let Some(mine) = route.parts().origin.mine() else { return u64::MAX };
    let keeps_up = matches!(state, RouteState::Running | RouteState::Finished)
        && route.lag_ms().is_none_or(|lag_ms| lag_ms < STANDS_STILL_MS);
    if keeps_up {
        return u64::MAX;
    }
    let (stat, tail) = (mine.log().stat(), mine.hub().tail().borrow().next);
    let growth = Growth { stat: &stat, tail, payload_per_s: mine.progress().payload_per_s() };
    let left = consumer(route, mine, &growth, clock).history_lost_in_hours;
    left.map_or(u64::MAX, |hours| (hours * 3_600_000.0) as u64)
}

fn store_full(mine: &Mine, state: &MineState) -> Option<String> {
    if let MineState::StoreFull { error, .. } = state {
        return Some(error.clone());
    }
    let (stored, most) = (mine.log().stat().stored_bytes, mine.policy().hold_bytes_max?);
    let percent = stored.saturating_mul(100) / most.max(1);
    (percent >= NEARLY_FULL_PERCENT).then(|| format!("it has {percent} % of its `hold_size`"))
}

/// The names by which scripts may know a mine.
fn names(key: &str, of: &RunningMine, running: &Running) -> Vec<String> {
    let aliases = running.aliases.iter().filter(|(_, target)| *target == key).map(|(alias, _)| alias.clone());
    aliases.chain([key.to_owned(), of.mine.name().to_owned()]).collect()
}

fn tables_of(key: &str, of: &RunningMine, running: &Running) -> Vec<Seen> {
    let mine = &of.mine;
    let database = crate::check::command::database_of(&of.plan.connection);
    let connections = names(key, of, running);
    let (coverage, transaction) = (mine.log().coverage(), mine.progress().transaction());
    let figures = mine.counts().figures().tables;
    let mut tables: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for figure in figures {
        let table =
            database.as_deref().and_then(|database| figure.table.strip_prefix(database)?.strip_prefix('.'));
        if let Some(table) = table {
            tables.entry(table.to_owned()).or_default().0 = figure.rows_per_s;
        }
    }
    for (table, rows) in &transaction.tables {
        if Some(&table.database) == database.as_ref() {
            tables.entry(table.table.clone()).or_default().1 = *rows;
        }
    }
    let of_database = database.clone().unwrap_or_default();
    let seen = |(table, (rows_per_s, transaction_rows)): (String, (f64, u64))| {
        let paused = coverage.paused.iter().find(|paused| paused.contains(&of_database, &table));
        let gap =
            paused.and_then(|paused| paused.failed.as_ref()).filter(|failure| failure.kind == Kind::Gap);
        Seen {
            connections: connections.clone(),
            database: database.clone(),
            rows_per_s: Some(rows_per_s),
            transaction_rows: Some(transaction_rows),
            stopped: Fact::of(paused.map(|_| ": it is paused")),
            gap: Fact::of(gap.map(|failure| failure.error.clone())),
            ..Seen::of(Whom::Table { mine: key.to_owned(), table })
        }
    };
    tables.into_iter().map(seen).collect()
}
