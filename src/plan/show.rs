//! A plan for people, as a tree, and for programs, as JSON. Neither shows users, secrets or row values.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{InputPlan, MinePlan, PipelinePlan, Plan, RoutePlan, StagePlan, Through};
use crate::check::model::{Action, Alert, Measure};
use crate::check::written::{measure_text, setting_text};
use crate::model::connection::{Connection, Endpoint};
use crate::model::hook::{Hook, HookCode};
use crate::model::spec::{Setting, Settings};
use crate::model::table::TableSet;

/// Code is shown up to so many characters.
const CODE_CHARS_MAX: usize = 60;

/// What is read once and where it is kept, then every pipeline with its inputs, stages and sinks.
pub fn tree(plan: &Plan) -> String {
    let mut roots = Vec::new();
    for (name, mine) in &plan.mines {
        roots.push(mine_node(plan, name, mine));
    }
    for pipeline in plan.pipelines.values() {
        for input in pipeline.inputs.iter().filter(|input| input.through == Through::Direct) {
            roots.push(direct_node(pipeline, input));
        }
    }
    roots.extend(plan.pipelines.values().map(|pipeline| pipeline_node(pipeline)));
    roots.extend(plan.alerts.iter().map(alert_node));
    roots.extend(plan.schedules.iter().map(|schedule| Node {
        text: schedule.when.to_string(),
        children: vec![action_node(&schedule.action)],
    }));
    if !plan.not_yet.is_empty() {
        let facts = plan.not_yet.iter().map(|fact| {
            let consequence = if fact.refuses_run { "refuses to run" } else { "runs without it" };
            Node::leaf(format!("{} ({consequence}): {}", fact.what, fact.why))
        });
        roots.push(Node { text: "not run by this version".to_owned(), children: facts.collect() });
    }
    let mut text = String::new();
    for (index, root) in roots.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", root.text);
        root.write_children("", &mut text);
    }
    text
}

/// The plan as one JSON object, always with its keys in the same order.
pub fn to_json(plan: &Plan) -> String {
    let connections: Map<String, Value> = plan
        .connections
        .iter()
        .map(|(name, connection)| (name.clone(), connection_json(connection)))
        .collect();
    let mines: Map<String, Value> =
        plan.mines.iter().map(|(name, mine)| (name.clone(), mine_json(mine))).collect();
    let pipelines: Map<String, Value> =
        plan.pipelines.iter().map(|(name, pipeline)| (name.clone(), pipeline_json(pipeline))).collect();
    let alerts: Vec<Value> = plan
        .alerts
        .iter()
        .map(|alert| {
            let repeat = alert.repeat.map(|repeat| measure_text(Measure::Time(repeat)));
            json!({ "on": alert.condition(), "repeat": repeat, "do": action_text(&alert.action) })
        })
        .collect();
    let schedules: Vec<Value> = plan
        .schedules
        .iter()
        .map(|schedule| json!({ "when": schedule.when.to_string(), "do": action_text(&schedule.action) }))
        .collect();
    let not_yet: Vec<Value> = plan
        .not_yet
        .iter()
        .map(|fact| json!({ "what": fact.what, "why": fact.why, "refuses_run": fact.refuses_run }))
        .collect();
    let whole = json!({
        "connections": connections,
        "mines": mines,
        "pipelines": pipelines,
        "alerts": alerts,
        "schedules": schedules,
        "not_yet": not_yet,
    });
    format!("{whole:#}")
}

struct Node {
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn leaf(text: impl Into<String>) -> Node {
        Node { text: text.into(), children: Vec::new() }
    }

    fn write_children(&self, indent: &str, out: &mut String) {
        for (index, child) in self.children.iter().enumerate() {
            let last = index + 1 == self.children.len();
            let _ = writeln!(out, "{indent}{}{}", if last { "└─ " } else { "├─ " }, child.text);
            child.write_children(&format!("{indent}{}", if last { "   " } else { "│  " }), out);
        }
    }
}

fn alert_node(alert: &Alert) -> Node {
    let mut children = Vec::new();
    if let Some(repeat) = alert.repeat {
        children.push(Node::leaf(format!("repeat {}", measure_text(Measure::Time(repeat)))));
    }
    children.push(action_node(&alert.action));
    Node { text: format!("on {}", alert.condition()), children }
}

pub(super) fn action_text(action: &Action) -> String {
    match action {
        Action::Hook(hook) => code_text(hook),
        Action::Command(command) => command.to_string(),
    }
}

fn action_node(action: &Action) -> Node {
    Node::leaf(format!("do {}", action_text(action)))
}

fn mine_node(plan: &Plan, name: &str, mine: &MinePlan) -> Node {
    let title =
        if mine.name == *name { format!("mine {name}") } else { format!("mine {name} \"{}\"", mine.name) };
    let mut children = vec![Node::leaf(format!("reads once {}", place(&mine.connection)))];
    let mut readers = Vec::new();
    let mut tables: Vec<String> = Vec::new();
    for pipeline in plan.pipelines.values() {
        for input in &pipeline.inputs {
            if matches!(&input.through, Through::Log(of) if of.connection.name == *name) {
                readers.push(pipeline.name.as_str());
                for table in table_names(&input.tables) {
                    if !tables.contains(&table) {
                        tables.push(table);
                    }
                }
            }
        }
    }
    tables.sort();
    let mut covered = format!("tables {}", tables.join(", "));
    if !mine.exclude.is_empty() {
        let _ = write!(covered, " without {}", mine.exclude.join(", "));
    }
    children.push(Node::leaf(covered));
    children.push(Node::leaf(match &mine.store {
        Some(store) => format!("keeps them in log {} of {}", mine.log, place(store)),
        None => format!("keeps them in log {} of the embedded store", mine.log),
    }));
    children.extend(settings_node(&mine.settings, &["name", "exclude"]));
    children.push(Node::leaf(format!("read by {}", readers.join(", "))));
    Node { text: title, children }
}

fn direct_node(pipeline: &PipelinePlan, input: &InputPlan) -> Node {
    let children = vec![
        Node::leaf(format!("reads {}", place(&input.connection))),
        Node::leaf(format!("tables {}", table_names(&input.tables).join(", "))),
        Node::leaf(format!("for {} alone, without a log", pipeline.name)),
    ];
    Node { text: format!("reader {} of {}", input.connection.name, pipeline.name), children }
}

fn pipeline_node(pipeline: &PipelinePlan) -> Node {
    let mut children: Vec<Node> = pipeline
        .inputs
        .iter()
        .map(|input| {
            let through = match &input.through {
                Through::Log(mine) => format!("through the log of {}", mine.connection.name),
                Through::Direct => "directly".to_owned(),
            };
            let tables = table_names(&input.tables).join(", ");
            Node {
                text: format!("from {} {through}: {tables}", input.connection.name),
                children: settings_node(&input.settings, &[]).into_iter().collect(),
            }
        })
        .collect();
    children.extend(settings_node(&pipeline.settings, &[]));
    children.extend(pipeline.routes.iter().map(route_node));
    Node { text: format!("pipeline {}", pipeline.name), children }
}

fn route_node(route: &RoutePlan) -> Node {
    let mut children: Vec<Node> = route.stages.iter().map(|stage| Node::leaf(stage_text(stage))).collect();
    children.push(Node {
        text: match (&route.sink.connection, route.sink.target.as_str()) {
            (Some(connection), target) => {
                format!("sink {} {target} of {}", route.sink.kind, place(connection))
            }
            (None, "") => format!("sink {}", route.sink.kind),
            (None, target) => format!("sink {} {target}", route.sink.kind),
        },
        children: settings_node(&route.sink.settings, &[]).into_iter().collect(),
    });
    Node { text: format!("route {}", route.id), children }
}

pub(super) fn stage_text(stage: &StagePlan) -> String {
    match stage {
        StagePlan::Filter(hook) => format!("filter {}", code_text(hook)),
        StagePlan::Map(hook) => format!("map {}", code_text(hook)),
        StagePlan::Keep(columns) => format!("keep {}", columns.join(", ")),
        StagePlan::Drop(columns) => format!("drop {}", columns.join(", ")),
    }
}

fn code_text(hook: &Hook) -> String {
    match &hook.code {
        HookCode::Call { module, function } => format!("{module}::{function}"),
        HookCode::Block(text) => {
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut shown: String = line.chars().take(CODE_CHARS_MAX).collect();
            if shown.len() < line.len() {
                shown.push('…');
            }
            format!("{{ {shown} }}")
        }
    }
}

fn settings_node(settings: &Settings, without: &[&str]) -> Option<Node> {
    let shown: Vec<String> = settings
        .0
        .iter()
        .filter(|(key, _)| !without.contains(key))
        .map(|(key, setting)| format!("{key} = {}", setting_text(setting, None)))
        .collect();
    (!shown.is_empty()).then(|| Node::leaf(format!("with {}", shown.join(", "))))
}

pub(super) fn place(connection: &Connection) -> String {
    match &connection.endpoint {
        Endpoint::Url { .. } | Endpoint::Web { .. } => {
            format!("{} ({})", connection.name, connection.endpoint)
        }
        Endpoint::Path(path) => format!("{} ({} {})", connection.name, connection.kind, path.display()),
    }
}

pub(super) fn table_names(tables: &TableSet) -> Vec<String> {
    tables.include.iter().map(|pattern| format!("{}.{}", tables.database, pattern.0)).collect()
}

fn connection_json(connection: &Connection) -> Value {
    json!({
        "kind": connection.kind,
        "endpoint": connection.endpoint.to_string(),
        "settings": settings_json(&connection.settings),
    })
}

fn mine_json(mine: &MinePlan) -> Value {
    json!({
        "name": mine.name,
        "connection": mine.connection.name,
        "store": mine.store.as_ref().map(|store| store.name.as_str()),
        "log": mine.log,
        "settings": settings_json(&mine.settings),
    })
}

fn pipeline_json(pipeline: &PipelinePlan) -> Value {
    let inputs: Vec<Value> = pipeline.inputs.iter().map(input_json).collect();
    let routes: Vec<Value> = pipeline.routes.iter().map(route_json).collect();
    json!({ "inputs": inputs, "settings": settings_json(&pipeline.settings), "routes": routes })
}

fn input_json(input: &InputPlan) -> Value {
    let mine = match &input.through {
        Through::Log(mine) => Some(mine.connection.name.as_str()),
        Through::Direct => None,
    };
    json!({
        "connection": input.connection.name,
        "database": input.tables.database,
        "tables": input.tables.include,
        "without": input.tables.exclude,
        "mine": mine,
        "settings": settings_json(&input.settings),
    })
}

fn route_json(route: &RoutePlan) -> Value {
    let stages: Vec<Value> = route.stages.iter().map(stage_json).collect();
    json!({
        "id": route.id,
        "stages": stages,
        "sink": {
            "kind": route.sink.kind,
            "connection": route.sink.connection.as_ref().map(|connection| connection.name.as_str()),
            "target": route.sink.target,
            "settings": settings_json(&route.sink.settings),
        },
    })
}

fn stage_json(stage: &StagePlan) -> Value {
    let hook = |word: &str, hook: &Hook| {
        let code = match &hook.code {
            HookCode::Block(text) => text.trim().to_owned(),
            HookCode::Call { module, function } => format!("{module}::{function}"),
        };
        json!({ "stage": word, "code": code, "file": hook.file, "line": hook.line, "column": hook.column })
    };
    match stage {
        StagePlan::Filter(code) => hook("filter", code),
        StagePlan::Map(code) => hook("map", code),
        StagePlan::Keep(columns) => json!({ "stage": "keep", "columns": columns }),
        StagePlan::Drop(columns) => json!({ "stage": "drop", "columns": columns }),
    }
}

fn settings_json(settings: &Settings) -> Map<String, Value> {
    settings.0.iter().map(|(key, setting)| ((*key).to_owned(), setting_json(setting))).collect()
}

fn setting_json(setting: &Setting) -> Value {
    match setting {
        Setting::Switch(on) => json!(on),
        Setting::Integer(number) => json!(number),
        Setting::Size(bytes) => json!(bytes),
        Setting::Text(text) => json!(text),
        Setting::Choice(word) => json!(word),
        Setting::Tables(tables) => json!(tables),
        Setting::Path(path) => json!(path.display().to_string()),
        Setting::Columns(columns) => {
            columns.iter().map(|(column, word)| (column.clone(), json!(word))).collect::<Map<_, _>>().into()
        }
        // As a script writes them.
        Setting::Secret(_) | Setting::Duration(_) | Setting::Start(_) => {
            json!(setting_text(setting, None).trim_matches('"'))
        }
    }
}
