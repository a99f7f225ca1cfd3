//! A pipeline on the bench: its stages without sources and sinks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::check::model::Pipeline;
use crate::hook::HookError;
use crate::model::block::Op;
use crate::model::change::Change;
use crate::model::position::Seq;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::plan::PipelinePlan;
use crate::run::stages::{StageError, Stages};
use crate::sink::TableTemplate;

/// When the first change of a test happens: 2026-01-01 00:00:00 UTC. Each further one happens a second later.
const FIRST_MS: i64 = 1_767_225_600_000;

/// What happens to changes between the sources and the sinks of one pipeline.
pub(super) struct Bench {
    routes: Vec<Route>,
    given: u64,
    arrived: u64,
}

struct Route {
    /// The stages, for each source connection.
    stages: BTreeMap<String, Stages>,
    /// The sink as the script writes it.
    label: String,
    /// Its connection and how its tables are called, where it has any.
    tables: Option<(String, TableTemplate)>,
    arrived: VecDeque<Arrival>,
}

/// A change that came to a sink.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// The target, as a test writes it: `dw.orders`, `"audit.jsonl"`.
    pub target: String,
    /// The table in it, where it has any.
    pub table: Option<String>,
    pub change: Change,
}

impl Bench {
    /// Compiles the stages.
    pub fn new(pipeline: &Pipeline, plan: &PipelinePlan) -> Result<Bench, HookError> {
        let mut routes = Vec::with_capacity(plan.routes.len());
        // The routes are the sinks in their order.
        for (route, sink) in plan.routes.iter().zip(pipeline.flow.sinks()) {
            let compile = |input: &crate::plan::InputPlan| {
                let name = input.connection.name.clone();
                Ok((name.clone(), Stages::compile(&route.stages, &name)?))
            };
            routes.push(Route {
                stages: plan.inputs.iter().map(compile).collect::<Result<_, HookError>>()?,
                label: sink.label.clone(),
                tables: (sink.connection.as_ref())
                    .map(|connection| (connection.name.clone(), TableTemplate(sink.target.clone()))),
                arrived: VecDeque::new(),
            });
        }
        Ok(Bench { routes, given: 0, arrived: 0 })
    }

    /// Sends a change that a test gives through all routes.
    ///
    /// # Errors
    /// When a stage refuses it; no sink gets it then.
    pub fn give(
        &mut self,
        connection: &str,
        op: Op,
        table: &Arc<TableSchema>,
        before: Option<Row>,
        after: Option<Row>,
    ) -> Result<(), StageError> {
        let time_ms = FIRST_MS.saturating_add_unsigned(self.given.saturating_mul(1000));
        let seq = Seq(self.given);
        self.pass(connection, Change { seq, op, table: Arc::clone(table), before, after, time_ms })
    }

    /// Sends a change as it is through all routes.
    ///
    /// # Errors
    /// See [`give`](Self::give).
    pub fn pass(&mut self, connection: &str, change: Change) -> Result<(), StageError> {
        self.given += 1;
        let mut out = Vec::with_capacity(self.routes.len());
        for route in &mut self.routes {
            let mut passed = Vec::new();
            if let Some(stages) = route.stages.get_mut(connection) {
                stages.apply(change.clone(), &mut passed)?;
            }
            out.push(passed);
        }
        for (route, passed) in self.routes.iter_mut().zip(out) {
            for change in passed {
                let table = route.tables.as_ref().map(|(_, tables)| tables.table(&change.table.name));
                let target = match (&route.tables, &table) {
                    (Some((connection, _)), Some(table)) => format!("{connection}.{table}"),
                    _ => format!("\"{}\"", route.label),
                };
                self.arrived += 1;
                route.arrived.push_back(Arrival { target, table, change });
            }
        }
        Ok(())
    }

    /// The next change that came to one of these sinks.
    pub fn take(&mut self, sinks: &[usize]) -> Option<Arrival> {
        sinks.iter().find_map(|at| self.routes.get_mut(*at)?.arrived.pop_front())
    }

    /// The next change that came to any sink, which stays.
    pub fn peek(&self) -> Option<&Arrival> {
        self.routes.iter().find_map(|route| route.arrived.front())
    }

    /// How many changes were given, and how many came to sinks.
    pub fn counts(&self) -> (u64, u64) {
        (self.given, self.arrived)
    }
}
