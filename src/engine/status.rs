//! What runs, and how it does, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::clock::Clock;
use crate::model::coverage::{Gap, Paused};
use crate::model::position::Seq;
use crate::model::table::{TableSelection, TableSet};
use crate::run::counts::CountFigures;
use crate::run::mine::{Mine, MineState};
use crate::run::pipeline::{Halt, Pipeline};
use crate::run::progress::RouteFigures;
use crate::run::retention::Growth;
use crate::run::route::{Route, RouteState};

/// Everything at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The mines by name.
    pub mines: Vec<MineStatus>,
    /// The pipelines by name.
    pub pipelines: Vec<PipelineStatus>,
}

/// One mine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MineStatus {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub state: MineState,
    /// The tables that it mines, as its consumers ask for them.
    pub tables: TableSelection,
    /// Changes mined since it was started.
    pub changes: u64,
    /// Changes mined by the second, in the last ten seconds.
    pub rows_in_per_s: f64,
    /// Changes delivered by the second, in the last ten seconds, by all consumers together.
    pub rows_out_per_s: f64,
    /// The number that the next entry of its log gets.
    pub head: u64,
    /// The oldest entry that its log still has.
    pub horizon: u64,
    /// When the source executed it, milliseconds since 1970 UTC; `None` in an empty log.
    pub horizon_ms: Option<i64>,
    /// The place in the source's log behind the last durable transaction.
    pub position: Option<String>,
    /// From the server's commit of the last transaction to its durability in the log.
    pub delay_ms: i64,
    /// Size of the log on disk.
    pub stored_bytes: u64,
    /// Size of the same entries before compression.
    pub payload_bytes: u64,
    /// How fast the log grows, in bytes on disk by the second, over the last ten minutes.
    pub growth_bytes_per_s: f64,
    /// What its log was ever given of each table.
    pub counts: CountFigures,
    /// Who reads its log, by the key of the route.
    pub consumers: Vec<Consumer>,
    /// Tables that are paused, or being resumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<Paused>,
    /// Where history is missing because somebody accepted that, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// One route that reads the log of a mine, whether it runs or was stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consumer {
    /// Its pipeline.
    pub pipeline: String,
    /// Its key.
    pub key: String,
    /// What it does.
    #[serde(flatten)]
    pub state: RouteState,
    /// How far its sink is behind the log: see [`RouteStatus::lag_ms`].
    pub lag_ms: Option<i64>,
    /// Entries of the log that its sink does not have yet; `None` until its sink was opened.
    pub entries_behind: Option<u64>,
    /// In how many hours the log drops what it needs next, if it stands still from now on and the log grows as it does.
    /// `None` when that cannot happen: nothing is dropped, or what is not read is held without limit.
    pub history_lost_in_hours: Option<f64>,
}

/// One pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// How somebody stopped it, when somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
    /// Its routes.
    pub routes: Vec<RouteStatus>,
}

/// One route of a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its key: `pipeline/input connection/sink`.
    pub key: String,
    /// The connection that it reads.
    pub source: String,
    /// The sink, nearly as the script writes it: `sqlite mart.orders`.
    pub sink: String,
    /// What it does.
    #[serde(flatten)]
    pub state: RouteState,
    /// Whether it reads the source itself, or has done so, and its mine has not come as far yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// The mine that it reads through.
    pub mine: Option<String>,
    /// Its counters.
    #[serde(flatten)]
    pub figures: RouteFigures,
    /// How far the sink is behind the log, by the source server's clock.
    pub lag_ms: Option<i64>,
    /// Tables among those it reads, or patterns of them, that its mine has paused or is resuming.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<String>,
}

impl Status {
    pub(super) fn of<'a>(
        mines: impl Iterator<Item = &'a Mine>,
        pipelines: impl Iterator<Item = &'a Pipeline> + Clone,
        clock: &Clock,
    ) -> Status {
        let routes = || pipelines.clone().flat_map(Pipeline::routes).map(AsRef::as_ref);
        Status {
            mines: mines.map(|one| mine(one, routes(), clock)).collect(),
            pipelines: pipelines.clone().map(pipeline).collect(),
        }
    }

    /// Whether nothing more will happen without somebody acting: every route has ended, or waits for a mine that failed.
    pub fn is_settled(&self) -> bool {
        let failed = |name: &Option<String>| {
            self.mines.iter().any(|mine| {
                Some(&mine.name) == name.as_ref() && matches!(mine.state, MineState::Failed { .. })
            })
        };
        self.pipelines.iter().flat_map(|pipeline| &pipeline.routes).all(|route| {
            route.state.is_over()
                || (matches!(route.state, RouteState::Waiting { .. }) && failed(&route.mine))
        })
    }
}

fn mine<'a>(mine: &Mine, routes: impl Iterator<Item = &'a Route>, clock: &Clock) -> MineStatus {
    let (tail, stat) = (mine.hub().tail().borrow().clone(), mine.log().stat());
    let coverage = mine.log().coverage();
    let growth = Growth { stat: &stat, tail: tail.next, payload_per_s: mine.progress().payload_per_s() };
    let is_consumer =
        |route: &&Route| route.parts().origin.mine().is_some_and(|of| std::ptr::eq(&**of, mine));
    let consumers: Vec<&Route> = routes.filter(is_consumer).collect();
    MineStatus {
        name: mine.name().to_owned(),
        state: mine.state().borrow().clone(),
        tables: mine.tables(),
        changes: mine.progress().changes(),
        rows_in_per_s: mine.progress().rows_per_s(),
        rows_out_per_s: consumers.iter().map(|route| route.progress().figures().rows_per_s).sum(),
        head: tail.next.0,
        horizon: stat.horizon.0,
        horizon_ms: stat.horizon_time_ms,
        position: tail.commit.map(|commit| commit.position.to_string()),
        delay_ms: mine.progress().delay_ms(),
        stored_bytes: stat.stored_bytes,
        payload_bytes: stat.payload_bytes,
        growth_bytes_per_s: growth.stored_per_s(),
        counts: mine.counts().figures(),
        consumers: consumers.into_iter().map(|route| consumer(route, mine, &growth, clock)).collect(),
        paused: coverage.paused,
        gaps: coverage.gaps,
    }
}

pub(super) fn consumer(route: &Route, mine: &Mine, growth: &Growth<'_>, clock: &Clock) -> Consumer {
    let progress = route.progress();
    let opened = (progress.durable_next() > Seq(0)).then(|| progress.durable_next());
    let lag_ms = route.lag_ms();
    // What it needs next is as old as it lags, once the log is at the source's end. A sink that was never opened may need
    // the oldest change that there is.
    let oldest = || growth.stat.horizon_time_ms.map(|oldest_ms| clock.now_ms() - oldest_ms);
    let age_ms = lag_ms.filter(|_| opened.is_some()).or_else(oldest);
    let age = age_ms.map(|age_ms| Duration::from_millis(age_ms.max(0) as u64));
    let next = opened.unwrap_or(growth.stat.horizon);
    let left = mine.policy().time_left(growth, next, age);
    Consumer {
        pipeline: route.parts().pipeline.clone(),
        key: route.parts().sink.key.clone(),
        state: route.state().borrow().clone(),
        lag_ms,
        entries_behind: opened.map(|next| growth.tail.0.saturating_sub(next.0)),
        history_lost_in_hours: left.map(|left| left.as_secs_f64() / 3600.0),
    }
}

fn pipeline(pipeline: &Pipeline) -> PipelineStatus {
    PipelineStatus {
        name: pipeline.name().to_owned(),
        halt: pipeline.halt_state(),
        routes: pipeline.routes().iter().map(|r| route(r)).collect(),
    }
}

fn paused(mine: &Mine, tables: &TableSet) -> Vec<String> {
    let paused = mine.paused().into_iter().filter(|paused| paused.touches(tables));
    paused.flat_map(|paused| paused.tables.include.into_iter().map(|pattern| pattern.0)).collect()
}

fn route(route: &Route) -> RouteStatus {
    let parts = route.parts();
    let key = parts.sink.key.clone();
    let id = key.strip_prefix(&format!("{}/{}/", parts.pipeline, parts.source_name)).unwrap_or(&key);
    RouteStatus {
        source: parts.source_name.clone(),
        sink: id.replacen(':', " ", 1),
        key,
        state: route.state().borrow().clone(),
        direct: route.progress().is_direct(),
        mine: parts.origin.mine().map(|mine| mine.name().to_owned()),
        figures: route.progress().figures(),
        lag_ms: route.lag_ms(),
        paused: parts.origin.mine().map(|mine| paused(mine, &parts.tables)).unwrap_or_default(),
    }
}
