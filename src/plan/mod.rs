//! The execution plan: what is read once, which log keeps it, which pipelines read from there, and what they do.
//!
//! A plan is data. It is made from a checked model by pure functions, printed by `lode plan`, compared with what
//! runs, and carried out by `run`. No name in it needs to be looked up again, and no setting to be parsed.

pub mod build;
pub mod diff;
mod edit;
pub mod show;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::model::{Alert, NotYet, Schedule};
use crate::model::connection::Connection;
use crate::model::hook::Hook;
use crate::model::spec::{Settings, Start};
use crate::model::table::TableSet;

/// Everything that a script asks for.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Connections that something in the plan uses, by name.
    pub connections: BTreeMap<String, Arc<Connection>>,
    /// One for each source connection that a pipeline reads through shared mining, by that connection's name.
    pub mines: BTreeMap<String, Arc<MinePlan>>,
    /// Pipelines by name.
    pub pipelines: BTreeMap<String, Arc<PipelinePlan>>,
    /// What is watched, in the order of the scripts.
    pub alerts: Vec<Alert>,
    /// What happens at which times, in the order of the scripts.
    pub schedules: Vec<Schedule>,
    /// What the scripts ask for and this version cannot do yet.
    pub not_yet: Vec<NotYet>,
}

impl Plan {
    /// What stands against running the plan: without it, something else would happen than the scripts say.
    pub fn obstacles(&self) -> impl Iterator<Item = &NotYet> {
        self.not_yet.iter().filter(|fact| fact.refuses_run)
    }
}

/// The mining of one source connection into one log.
#[derive(Clone, Debug, PartialEq)]
pub struct MinePlan {
    /// The name shown to people: the source connection's, or the `name` setting.
    pub name: String,
    /// The source connection.
    pub connection: Arc<Connection>,
    /// The connection of the log store; `None` is the embedded store.
    pub store: Option<Arc<Connection>>,
    /// The log's name within its store: a collection, or a folder below the data folder.
    pub log: String,
    /// Checked settings of `share_mining`.
    pub settings: Settings,
    /// Tables never mined.
    pub exclude: Vec<String>,
}

/// One pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelinePlan {
    /// Its name; a pipeline that the script does not name is called after its sink, `dw.orders`.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<InputPlan>,
    /// Every way from an input to a sink. Branches of the script are unfolded: stages before a branch are
    /// repeated in each of its routes.
    pub routes: Vec<RoutePlan>,
    /// Checked settings of the pipeline.
    pub settings: Settings,
}

/// Tables of one source connection.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPlan {
    /// The source connection.
    pub connection: Arc<Connection>,
    /// The tables.
    pub tables: TableSet,
    /// How the changes reach the pipeline.
    pub through: Through,
    /// Checked settings of the source.
    pub settings: Settings,
}

/// How changes reach a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Through {
    /// From the log of this mine.
    Log(Arc<MinePlan>),
    /// From the source itself.
    Direct,
}

/// One way from every input of the pipeline to one sink.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Names the route within its pipeline; stable as long as the sink stays the same. The cursor of the
    /// route is kept under `pipeline/input connection/id`.
    pub id: String,
    /// What happens to each change, in order.
    pub stages: Vec<StagePlan>,
    /// Where it goes.
    pub sink: SinkPlan,
}

/// A sink with its target.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkPlan {
    /// Kind: `sqlite`.
    pub kind: &'static str,
    /// The connection, where the kind has one.
    pub connection: Option<Arc<Connection>>,
    /// The table name with at most one `*` for the source table's name, the path, or nothing.
    pub target: String,
    /// Checked settings.
    pub settings: Settings,
}

/// A step between source and sink.
#[derive(Clone, Debug, PartialEq)]
pub enum StagePlan {
    /// Lets a change pass when the expression is true.
    Filter(Hook),
    /// Changes rows.
    Map(Hook),
    /// Keeps only these columns, and the key.
    Keep(Vec<String>),
    /// Removes these columns.
    Drop(Vec<String>),
}

impl PipelinePlan {
    /// Where the pipeline begins when there is no cursor yet.
    pub fn start(&self) -> Option<Start> {
        self.settings.start("start")
    }
}
