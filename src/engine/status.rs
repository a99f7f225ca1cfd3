//! What runs, and how it does, as data.

use serde::{Deserialize, Serialize};

use crate::model::coverage::{Gap, Paused};
use crate::model::table::TableSet;
use crate::run::mine::{Mine, MineState};
use crate::run::pipeline::{Halt, Pipeline};
use crate::run::progress::RouteFigures;
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
    /// Changes mined since it was started.
    pub changes: u64,
    /// The number that the next entry of its log gets.
    pub head: u64,
    /// The oldest entry that its log still has.
    pub horizon: u64,
    /// The place in the source's log behind the last durable transaction.
    pub position: Option<String>,
    /// From the server's commit of the last transaction to its durability in the log.
    pub delay_ms: i64,
    /// Size of the log on disk.
    pub stored_bytes: u64,
    /// Size of the same entries before compression.
    pub payload_bytes: u64,
    /// Tables that are paused, or being resumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<Paused>,
    /// Where history is missing because somebody accepted that, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
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
        pipelines: impl Iterator<Item = &'a Pipeline>,
    ) -> Status {
        Status { mines: mines.map(mine).collect(), pipelines: pipelines.map(pipeline).collect() }
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

fn mine(mine: &Mine) -> MineStatus {
    let (tail, stat) = (mine.hub().tail().borrow().clone(), mine.log().stat());
    let coverage = mine.log().coverage();
    MineStatus {
        name: mine.name().to_owned(),
        state: mine.state().borrow().clone(),
        changes: mine.progress().changes(),
        head: tail.next.0,
        horizon: stat.horizon.0,
        position: tail.commit.map(|commit| commit.position.to_string()),
        delay_ms: mine.progress().delay_ms(),
        stored_bytes: stat.stored_bytes,
        payload_bytes: stat.payload_bytes,
        paused: coverage.paused,
        gaps: coverage.gaps,
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
        mine: parts.origin.mine().map(|mine| mine.name().to_owned()),
        figures: route.progress().figures(),
        lag_ms: route.lag_ms(),
        paused: parts.origin.mine().map(|mine| paused(mine, &parts.tables)).unwrap_or_default(),
    }
}
