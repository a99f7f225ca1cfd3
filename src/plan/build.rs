//! Model to plan. Everything was checked, so nothing can fail here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{InputPlan, MinePlan, PipelinePlan, Plan, RoutePlan, SinkPlan, StagePlan, Through};
use crate::check::model::{Flow, FlowEnd, Mine, Model, Pipeline, Sink, Stage};

/// The plan that carries out a model.
pub fn build(model: &Model) -> Plan {
    let mines: BTreeMap<String, Arc<MinePlan>> =
        model.mines.iter().map(|(name, mine)| (name.clone(), Arc::new(mine_plan(mine)))).collect();
    let pipelines = model
        .pipelines
        .iter()
        .map(|pipeline| (pipeline.name.clone(), Arc::new(pipeline_plan(pipeline, &mines))))
        .collect();
    Plan {
        connections: model.connections.clone(),
        mines,
        pipelines,
        alerts: model.alerts.clone(),
        schedules: model.schedules.clone(),
        not_yet: model.not_yet.clone(),
    }
}

fn mine_plan(mine: &Mine) -> MinePlan {
    MinePlan {
        name: mine.name.clone(),
        connection: Arc::clone(&mine.connection),
        store: mine.store.clone(),
        log: mine.log.clone(),
        exclude: mine.settings.tables("exclude").unwrap_or_default(),
        settings: mine.settings.clone(),
    }
}

fn pipeline_plan(pipeline: &Pipeline, mines: &BTreeMap<String, Arc<MinePlan>>) -> PipelinePlan {
    let inputs = pipeline.inputs.iter().map(|input| InputPlan {
        connection: Arc::clone(&input.connection),
        tables: input.tables.clone(),
        // The plans of mines are shared, so that equal ones are the same one.
        through: match &input.mine {
            Some(mine) => match mines.get(&mine.connection.name) {
                Some(plan) => Through::Log(Arc::clone(plan)),
                None => Through::Log(Arc::new(mine_plan(mine))),
            },
            None => Through::Direct,
        },
        settings: input.settings.clone(),
    });
    let mut routes = Vec::new();
    unfold(&pipeline.flow, &[], &mut routes);
    PipelinePlan {
        name: pipeline.name.clone(),
        inputs: inputs.collect(),
        routes,
        settings: pipeline.settings.clone(),
    }
}

/// Adds a route for every sink of `flow`, with the stages before it.
fn unfold(flow: &Flow, before: &[StagePlan], routes: &mut Vec<RoutePlan>) {
    let mut stages = before.to_vec();
    stages.extend(flow.stages.iter().map(|stage| match stage {
        Stage::Filter(hook) => StagePlan::Filter(hook.clone()),
        Stage::Map(hook) => StagePlan::Map(hook.clone()),
        Stage::Keep(columns) => StagePlan::Keep(columns.clone()),
        Stage::Drop(columns) => StagePlan::Drop(columns.clone()),
    }));
    match &flow.end {
        FlowEnd::Branches(flows) => flows.iter().for_each(|flow| unfold(flow, &stages, routes)),
        FlowEnd::Sink(sink) => {
            routes.push(RoutePlan { id: route_id(sink, routes), stages, sink: sink_plan(sink) })
        }
    }
}

/// `oracle:dw.orders`. Only sinks that nothing is kept in can have the same one twice; these are counted.
fn route_id(sink: &Sink, routes: &[RoutePlan]) -> String {
    let id =
        if sink.label == sink.kind { sink.label.clone() } else { format!("{}:{}", sink.kind, sink.label) };
    let taken = |id: &str| routes.iter().any(|route| route.id == id);
    if !taken(&id) {
        return id;
    }
    (2..).map(|number| format!("{id}#{number}")).find(|id| !taken(id)).unwrap_or(id)
}

fn sink_plan(sink: &Sink) -> SinkPlan {
    SinkPlan {
        kind: sink.kind,
        connection: sink.connection.clone(),
        target: sink.target.clone(),
        settings: sink.settings.clone(),
    }
}
