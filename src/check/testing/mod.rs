//! Tests of pipelines: what they give and expect, checked and made ready to run. Rows are encoded here, so that whatever is
//! wrong with them is found by `lode check`.

mod literal;
mod rows;
mod types;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::literal::Cell;
pub(crate) use self::literal::{fit, same, shown};
pub(crate) use self::types::{parse as type_parse, text as type_text};

use self::rows::{Draft, Named, wrong};
use super::Checker;
use super::control::Scope;
use super::hooks::HookUse;
use super::model::{Measure, Metric, MetricUnit, Pipeline, Sink, Stage, Subject};
use super::names::table_label;
use crate::hook::act::Occasion;
use crate::lang::ast::{self, Fact, Slot, Spanned, Step as Written, Target, Value};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::Span;
use crate::model::block::Op;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::model::table::{Pattern, TableName};

/// `test "name" of pipeline { … }`
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows.
    pub name: Spanned<String>,
    /// The pipeline.
    pub pipeline: String,
    /// What is given and expected, in order, with its place.
    pub steps: Vec<Spanned<Step>>,
}

/// A line of a test.
#[derive(Clone, Debug)]
pub enum Step {
    /// `given insert shop.orders { … }`
    Change(GivenChange),
    /// `given log "recorded.jsonl"`: the changes of this file.
    Log {
        /// The file.
        path: PathBuf,
        /// As the script names it.
        written: String,
    },
    /// `given lag 45s for 3m`
    Figure(Figure),
    /// `expect upsert dw.orders { … }`
    ExpectChange(ExpectedChange),
    /// `expect error "text"`: the change that was given last was refused, by an error that has this text in it.
    ExpectError(String),
    /// `expect alerts::page`, `expect mail { … }`, `expect pause shop.orders`
    ExpectAct(ExpectedAct),
    /// `expect nothing`
    ExpectNothing,
}

/// A change that a test gives.
#[derive(Clone, Debug)]
pub struct GivenChange {
    /// The source connection.
    pub connection: String,
    /// What happens.
    pub op: Op,
    /// The table, as the rows of the test show it.
    pub table: Arc<TableSchema>,
    /// The row before.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
}

/// A figure that a test gives.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Which one.
    pub metric: Metric,
    /// Its value; `None` for one that is so or not: it is so.
    pub value: Option<Measure>,
    /// How long it has this value.
    pub hold: Duration,
    /// Whose figure it is.
    pub of: Subject,
}

/// A change that a test expects.
#[derive(Clone, Debug)]
pub struct ExpectedChange {
    /// `upsert`, `insert` …, as it is written.
    pub word: String,
    /// What may happen.
    pub ops: &'static [Op],
    /// The target, as it is written.
    pub target: String,
    /// The sinks that write there, as places among those of the pipeline.
    pub sinks: Vec<usize>,
    /// The table in the target; `None` where a sink has none of its own.
    pub table: Option<String>,
    /// Whether the row has no other columns.
    pub only: bool,
    /// Columns with what they hold.
    pub row: Vec<(String, Cell)>,
}

/// Something that a test expects a hook to have done.
#[derive(Clone, Debug)]
pub struct ExpectedAct {
    /// `alerts::page`, `mail`, `pause shop.orders`
    pub act: String,
    /// Some of its facts or parts.
    pub parts: Vec<(String, Cell)>,
}

/// Operations of `given`, and of `expect`.
const GIVEN: [&str; 5] = ["insert", "update", "delete", "truncate", "table"];
const EXPECTED: [&str; 5] = ["insert", "update", "upsert", "delete", "truncate"];
/// What hooks do, apart from commands.
const EFFECTS: [&str; 4] = ["notify", "log", "mail", "webhook"];

/// A step whose rows wait until every row of their table was seen.
enum Draught {
    Ready(Step),
    Change { draft: usize, op: Op, row: Vec<Named>, before: Option<Vec<Named>> },
}

impl<'a> Checker<'a> {
    /// A test that is ready to run. `None` was reported.
    pub(super) fn test(&mut self, test: &ast::Test, scope: &Scope<'_, 'a>) -> Option<Test> {
        let name = self.name_of_pipeline(test, scope)?;
        // One with an error of its own is there by name only.
        let Some(pipeline) = scope.pipelines.iter().find(|pipeline| pipeline.name == name.node) else {
            for step in &test.steps {
                let (Written::Given(fact) | Written::Expect(fact)) = &step.node;
                if let Fact::Change { target: Slot::Hole(hole), .. } = fact {
                    self.missing_table::<()>(hole.span);
                }
            }
            return None;
        };
        let mut drafts: Vec<Draft> = Vec::new();
        let mut steps = Vec::new();
        let mut is_whole = true;
        for step in &test.steps {
            let draught = match &step.node {
                Written::Given(fact) => self.given(fact, step.span, pipeline, &mut drafts, scope),
                Written::Expect(fact) => {
                    self.expected(fact, step.span, pipeline, scope).map(|step| Some(Draught::Ready(step)))
                }
            };
            match draught {
                Some(draught) => steps.extend(draught.map(|draught| (draught, step.span))),
                None => is_whole = false,
            }
        }
        if !is_whole {
            return None;
        }
        let steps = self.encoded(steps, &mut drafts, pipeline)?;
        Some(Test { name: test.name.clone(), pipeline: pipeline.name.clone(), steps })
    }

    fn name_of_pipeline<'t>(&mut self, test: &'t ast::Test, scope: &Scope<'_, 'a>) -> Option<&'t ast::Name> {
        let name = match &test.of {
            Slot::Given(name) => name,
            Slot::Hole(hole) => {
                let finding =
                    Diagnostic::new(Code::E0501, hole.span, "the name of a pipeline is missing here");
                self.report(finding.help(format!("write one of {}", scope.pipeline_names().join(", "))));
                return None;
            }
        };
        if scope.pipeline_names().contains(&name.as_str()) {
            return Some(name);
        }
        let finding =
            Diagnostic::new(Code::E0208, name.span, format!("there is no pipeline named `{}`", name.node));
        self.report(match did_you_mean(name, scope.pipeline_names()) {
            Some(near) => finding.suggest(name.span, near, "did you mean this one?"),
            None => finding.help(scope.subjects_help()),
        });
        None
    }

    /// What is given; the inner `None` is a declaration. The outer one was reported.
    fn given(
        &mut self,
        fact: &Fact,
        span: Span,
        pipeline: &Pipeline,
        drafts: &mut Vec<Draft>,
        scope: &Scope<'_, 'a>,
    ) -> Option<Option<Draught>> {
        match fact {
            Fact::Change { op, target, row, .. } => {
                self.known_word(op, &GIVEN)?;
                let table = match target {
                    Slot::Given(Target::Table(table)) => table,
                    Slot::Given(Target::Path(path)) => {
                        self.report(
                            misfit(path.span, "a change is given to a table")
                                .help("write for example shop.orders"),
                        );
                        return None;
                    }
                    Slot::Hole(hole) => return self.missing_table(hole.span),
                };
                let draft = self.table_read(table, pipeline, drafts)?;
                if op.node == "table" {
                    let declared = drafts[draft].declare(row);
                    return self.found(declared).map(|()| None);
                }
                let op = match op.as_str() {
                    "insert" => Op::Insert,
                    "update" => Op::Update,
                    "delete" => Op::Delete,
                    _ => Op::Truncate,
                };
                let (old, new): (Vec<_>, Vec<_>) =
                    row.entries().iter().partition(|setting| op == Op::Update && is_before(setting));
                let row = self.cells(new.into_iter(), scope)?;
                let before = match old.first().map(|setting| &setting.value.node) {
                    Some(Value::Block(old)) => Some(self.cells(old.iter(), scope)?),
                    _ => None,
                };
                let seen = drafts[draft].see(&row);
                self.found(seen)?;
                if let Some(before) = &before {
                    let seen = drafts[draft].see(before);
                    self.found(seen)?;
                }
                Some(Some(Draught::Change { draft, op, row, before }))
            }
            Fact::Metric { metric, value: Some(value), .. } if metric.node == "log" => {
                let Value::Text(path) = &value.node else {
                    self.report(
                        misfit(value.span, "the file of a log is a text")
                            .help("write given log \"recorded.jsonl\""),
                    );
                    return None;
                };
                Some(Some(Draught::Ready(Step::Log {
                    path: self.scripts.absolute(path, value.span),
                    written: path.clone(),
                })))
            }
            Fact::Metric { metric, value, hold, of } => {
                let of = self.subject_of(of.as_ref(), pipeline, scope)?;
                let value = value.as_ref();
                let figure = self.figure(metric, value, hold.as_ref(), of, span)?;
                Some(Some(Draught::Ready(Step::Figure(figure))))
            }
            Fact::Hook { .. } | Fact::Effect { .. } | Fact::Command(_) | Fact::Nothing { .. } => {
                let finding = misfit(span, "this can be expected, but not given");
                self.report(finding.help("give a change, a figure such as `lag 45s`, or a log"));
                None
            }
        }
    }

    fn expected(
        &mut self,
        fact: &Fact,
        span: Span,
        pipeline: &Pipeline,
        scope: &Scope<'_, 'a>,
    ) -> Option<Step> {
        match fact {
            Fact::Change { op, target, only, row } => {
                self.known_word(op, &EXPECTED)?;
                let ops: &'static [Op] = match op.as_str() {
                    "insert" => &[Op::Insert],
                    "update" => &[Op::Update],
                    "delete" => &[Op::Delete],
                    "truncate" => &[Op::Truncate],
                    _ => &[Op::Insert, Op::Update],
                };
                let (target, sinks, table) = self.target_written(target, pipeline)?;
                let row = plain(self.cells(row.entries().iter(), scope)?);
                let (word, only) = (op.node.clone(), *only);
                Some(Step::ExpectChange(ExpectedChange { word, ops, target, sinks, table, only, row }))
            }
            Fact::Metric { metric, value: Some(value), hold: None, of: None } => {
                let text = match &value.node {
                    Value::Text(text) => text.clone(),
                    _ => return self.not_expected(metric),
                };
                match metric.as_str() {
                    "error" => Some(Step::ExpectError(text)),
                    effect @ ("notify" | "log") => {
                        let parts = vec![(
                            "text".to_owned(),
                            Cell::Value(crate::model::value::Value::Text(text.into())),
                        )];
                        Some(Step::ExpectAct(ExpectedAct { act: effect.to_owned(), parts }))
                    }
                    _ => self.not_expected(metric),
                }
            }
            Fact::Metric { metric, .. } => self.not_expected(metric),
            Fact::Effect { name, parts } => {
                self.known_word(name, &EFFECTS)?;
                let parts = plain(self.cells(parts.entries().iter(), scope)?);
                Some(Step::ExpectAct(ExpectedAct { act: name.node.clone(), parts }))
            }
            Fact::Hook { path, facts } => {
                self.hook(&ast::Code::Hook(path.clone()), HookUse::Act(Occasion::Alert))?;
                let parts = plain(self.cells(facts.entries().iter(), scope)?);
                let act = format!("{}::{}", path.module.node, path.function.node);
                Some(Step::ExpectAct(ExpectedAct { act, parts }))
            }
            Fact::Command(command) => {
                self.command(command, scope.names, &scope.known())?;
                let act = self.scripts.sources.slice(span).trim_start_matches("expect").trim().to_owned();
                Some(Step::ExpectAct(ExpectedAct { act, parts: Vec::new() }))
            }
            Fact::Nothing { .. } => Some(Step::ExpectNothing),
        }
    }

    fn not_expected<T>(&mut self, word: &ast::Name) -> Option<T> {
        let finding = misfit(word.span, format!("`{}` cannot be expected", word.node));
        if Metric::ALL.iter().any(|metric| metric.as_str() == word.node) {
            self.report(
                finding.help(
                    "give it, and expect what it causes: a hook such as alerts::page, or what that does",
                ),
            );
            return None;
        }
        let known = EXPECTED.iter().chain(&EFFECTS).copied().chain(["error", "nothing"]);
        self.report(match did_you_mean(word, known) {
            Some(near) if near != word.node => finding.suggest(word.span, near, "did you mean this one?"),
            _ => finding.help(
                "expect a change, nothing, error \"text\", a hook such as alerts::page, or what a hook does",
            ),
        });
        None
    }

    fn known_word(&mut self, word: &ast::Name, known: &[&str]) -> Option<()> {
        if known.contains(&word.as_str()) {
            return Some(());
        }
        let what = if known == EFFECTS { "nothing that a hook does" } else { "not a change" };
        let finding = misfit(word.span, format!("`{}` is {what}", word.node));
        let finding = if word.node == "upsert" {
            finding.note("a source inserts or updates a row; what comes of it in a sink is an upsert")
        } else {
            finding
        };
        self.report(match did_you_mean(word, known.iter().copied()) {
            Some(near) => finding.suggest(word.span, near, "did you mean this one?"),
            None => finding.help(format!("write one of {}", known.join(", "))),
        });
        None
    }

    fn missing_table<T>(&mut self, span: Span) -> Option<T> {
        let finding = Diagnostic::new(Code::E0501, span, "connection and table are missing here");
        self.report(finding.help("write for example shop.orders"));
        None
    }

    /// The draft of a table that the pipeline reads.
    fn table_read(
        &mut self,
        table: &Spanned<ast::TableRef>,
        pipeline: &Pipeline,
        drafts: &mut Vec<Draft>,
    ) -> Option<usize> {
        let patterns = self.patterns(table)?;
        let connection = table.connection.as_str();
        let [Pattern(name)] = patterns.as_slice() else { return self.several(table) };
        if patterns[0].is_wild() {
            return self.several(table);
        }
        let reads = |input: &&super::model::Input| {
            input.connection.name == connection && input.tables.contains(&input.tables.database, name)
        };
        let Some(input) = pipeline.inputs.iter().find(reads) else {
            let read = pipeline.inputs.iter().flat_map(|input| {
                input.tables.include.iter().map(|table| format!("{}.{}", input.connection.name, table.0))
            });
            let what = format!("`{}` does not read `{}`", pipeline.name, table_label(table));
            let read: Vec<_> = read.collect();
            self.report(misfit(table.span, what).help(format!("it reads {}", read.join(", "))));
            return None;
        };
        let name = TableName::new(input.tables.database.clone(), name.clone());
        let known = drafts.iter().position(|draft| draft.connection == connection && draft.name == name);
        Some(known.unwrap_or_else(|| {
            drafts.push(Draft::new(connection, name));
            drafts.len() - 1
        }))
    }

    fn several<T>(&mut self, table: &Spanned<ast::TableRef>) -> Option<T> {
        self.report(misfit(table.span, "a row is one of one table").help("name the table: shop.orders"));
        None
    }

    /// The target as it is written, the sinks that write there, and the table.
    fn target_written(
        &mut self,
        target: &Slot<Target>,
        pipeline: &Pipeline,
    ) -> Option<(String, Vec<usize>, Option<String>)> {
        let sinks = pipeline.flow.sinks();
        type Fits = Box<dyn Fn(&Sink) -> bool>;
        let (written, span, table, fits): (_, _, _, Fits) = match target {
            Slot::Hole(hole) => return self.missing_table(hole.span),
            Slot::Given(Target::Path(path)) => {
                let label = path.node.clone();
                let fits = move |sink: &Sink| sink.connection.is_none() && sink.label == label;
                (format!("\"{}\"", path.node), path.span, None, Box::new(fits))
            }
            Slot::Given(Target::Table(table)) => {
                let patterns = self.patterns(table)?;
                let [Pattern(name)] = patterns.as_slice() else { return self.several(table) };
                let (name, connection) = (name.clone(), table.connection.node.clone());
                let fits = {
                    let name = name.clone();
                    move |sink: &Sink| {
                        sink.connection.as_ref().is_some_and(|of| of.name == connection)
                            && Pattern(sink.target.clone()).matches(&name)
                    }
                };
                (table_label(table), table.span, Some(name), Box::new(fits))
            }
        };
        let fitting: Vec<_> = (0..sinks.len()).filter(|at| fits(sinks[*at])).collect();
        if fitting.is_empty() {
            let labels = sinks.iter().map(|sink| match sink.connection {
                Some(_) => sink.label.clone(),
                None => format!("\"{}\"", sink.label),
            });
            let labels = labels.collect::<Vec<_>>().join(", ");
            let what = format!("`{}` does not write `{}`", pipeline.name, written.trim_matches('"'));
            self.report(misfit(span, what).help(format!("it writes {labels}")));
            return None;
        }
        Some((written, fitting, table))
    }

    fn cells<'s>(
        &mut self,
        settings: impl Iterator<Item = &'s ast::Setting>,
        scope: &Scope<'_, 'a>,
    ) -> Option<Vec<Named>> {
        let mut cells: Vec<Named> = Vec::new();
        let mut is_whole = true;
        for setting in settings {
            if let Some((first, _)) = cells.iter().find(|(name, _)| name.node == setting.key.node) {
                let finding = Diagnostic::new(
                    Code::E0302,
                    setting.key.span,
                    format!("`{}` is given twice", setting.key.node),
                );
                self.report(finding.related(first.span, "the first one").help("remove one of them"));
                is_whole = false;
                continue;
            }
            let Some(resolved) = scope.names.resolve(&setting.value, self) else {
                is_whole = false;
                continue;
            };
            match literal::read(&resolved.value) {
                Ok(cell) => cells.push((setting.key.clone(), Spanned::new(cell, setting.value.span))),
                Err(reason) => {
                    self.report(wrong(setting.value.span, reason).help(literal::WAYS));
                    is_whole = false;
                }
            }
        }
        is_whole.then_some(cells)
    }

    fn subject_of(
        &mut self,
        of: Option<&Slot<ast::Subject>>,
        pipeline: &Pipeline,
        scope: &Scope<'_, 'a>,
    ) -> Option<Subject> {
        match of {
            None => Some(Subject::Pipeline(pipeline.name.clone())),
            Some(of) => self.subject_slot(of, scope),
        }
    }

    fn figure(
        &mut self,
        name: &ast::Name,
        value: Option<&Spanned<Value>>,
        hold: Option<&Spanned<ast::Number>>,
        of: Subject,
        span: Span,
    ) -> Option<Figure> {
        if GIVEN.contains(&name.as_str()) && name.node != "table" {
            return self.missing_table(name.span);
        }
        let (metric, _) = self.metric(&Slot::Given(name.clone()))?;
        let measure = match (metric.unit(), value.map(|value| &value.node)) {
            (MetricUnit::YesNo, None) => Some(None),
            (MetricUnit::Count, Some(Value::Number(number))) => {
                number.as_integer().map(Measure::Count).map(Some)
            }
            (MetricUnit::Time, Some(Value::Number(number))) => {
                number.as_duration().map(Measure::Time).map(Some)
            }
            (MetricUnit::Size, Some(Value::Number(number))) => number.as_size().map(Measure::Size).map(Some),
            _ => None,
        };
        let Some(value) = measure else {
            let example = match metric.unit() {
                MetricUnit::YesNo => "",
                MetricUnit::Count => " 5",
                MetricUnit::Time => " 45s",
                MetricUnit::Size => " 20GiB",
            };
            let finding = Diagnostic::new(
                Code::E0506,
                value.map_or(span, |value| value.span),
                format!("this is no value of `{}`", name.node),
            );
            self.report(finding.help(format!("write given {}{example}", name.node)));
            return None;
        };
        // A duration that cannot be read was reported by the parser.
        let hold = hold.map_or(Some(Duration::ZERO), |hold| hold.as_duration())?;
        Some(Figure { metric, value, hold, of })
    }

    /// Encodes the rows, now that their tables are known.
    fn encoded(
        &mut self,
        steps: Vec<(Draught, Span)>,
        drafts: &mut [Draft],
        pipeline: &Pipeline,
    ) -> Option<Vec<Spanned<Step>>> {
        let mut schemas = Vec::with_capacity(drafts.len());
        for draft in drafts.iter_mut() {
            projected(&pipeline.flow, &mut |name| draft.mention(name));
            let schema = draft.schema();
            schemas.push(self.found(schema)?);
        }
        let mut ready = Vec::with_capacity(steps.len());
        for (draught, span) in steps {
            let step = match draught {
                Draught::Ready(step) => step,
                Draught::Change { draft: at, op, row, before } => {
                    let (draft, table) = (&mut drafts[at], &schemas[at]);
                    let changed = draft.change(table, &Spanned::new(op, span), &row, before.as_deref());
                    let (before, after) = self.found(changed)?;
                    let connection = draft.connection.clone();
                    // As in a source, a change and its rows are of one table.
                    let row = after.as_ref().or(before.as_ref());
                    let table = Arc::clone(row.map_or(table, |row| &row.schema));
                    Step::Change(GivenChange { connection, op, table, before, after })
                }
            };
            ready.push(Spanned::new(step, span));
        }
        Some(ready)
    }

    fn found<T>(&mut self, outcome: Result<T, Diagnostic>) -> Option<T> {
        match outcome {
            Ok(found) => Some(found),
            Err(finding) => {
                self.report(finding);
                None
            }
        }
    }
}

/// Columns that `keep` and `drop` name: a table has them, also when no row of a test says so.
fn projected(flow: &super::model::Flow, mention: &mut dyn FnMut(&str)) {
    for stage in &flow.stages {
        if let Stage::Keep(names) | Stage::Drop(names) = stage {
            names.iter().for_each(|name| mention(name));
        }
    }
    if let super::model::FlowEnd::Branches(flows) = &flow.end {
        flows.iter().for_each(|flow| projected(flow, mention));
    }
}

/// `before = { … }`
fn is_before(setting: &ast::Setting) -> bool {
    setting.key.node == "before" && matches!(setting.value.node, Value::Block(_))
}

fn plain(cells: Vec<Named>) -> Vec<(String, Cell)> {
    cells.into_iter().map(|(name, cell)| (name.node, cell.node)).collect()
}

fn misfit(span: Span, what: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::E0509, span, what)
}
