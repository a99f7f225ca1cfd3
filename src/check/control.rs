//! Alerts, schedules, tests and control verbs. Their names and values are checked; this version does not run them.

use std::sync::Arc;

use super::Checker;
use super::command::{Command, Known, KnownMine, there_are};
use super::connections::{Connections, Declared, Role};
use super::cron::Cron;
use super::hooks::HookUse;
use super::mining::Mines;
use super::model::{
    Action, Alert, Measure, Metric, MetricUnit, Pipeline, Schedule, Subject, Test, TestStep, When,
};
use super::names::{Names, table_label};
use crate::hook::act::Occasion;
use crate::lang::ast::{self, Fact, Slot, Statement, Step, Value, Verb};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::Span;
use crate::model::table::{Pattern, TableSet};

/// What happens with the flow of changes once it runs.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub alerts: Vec<Alert>,
    pub schedules: Vec<Schedule>,
    pub commands: Vec<Command>,
    pub tests: Vec<Test>,
}

/// Operations of `given` and `expect`.
const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "upsert"];

impl<'a> Checker<'a> {
    pub(super) fn control(
        &mut self,
        names: &Names<'a>,
        connections: &Connections<'a>,
        mines: &Mines,
        pipelines: &[Pipeline],
    ) -> Control {
        let mut control = Control::default();
        let scope = Scope { names, connections, mines, pipelines };
        let scripts = self.scripts;
        for statement in &scripts.statements {
            match &statement.node {
                Statement::Alert(alert) => {
                    self.left_out("alerts", "their conditions are not watched", statement.span);
                    control.alerts.extend(self.alert(alert, &scope));
                }
                Statement::Schedule(schedule) => {
                    self.left_out("schedules", "nothing happens at their times", statement.span);
                    control.schedules.extend(self.schedule(schedule, &scope));
                }
                Statement::Command(command) => {
                    self.left_out("control verbs in scripts", "they are not carried out", statement.span);
                    let command = ast::Spanned::new(command.clone(), statement.span);
                    control.commands.extend(self.command(&command, names, &scope.known()));
                }
                Statement::Test(test) => control.tests.extend(self.test(test, &scope)),
                Statement::Include(_)
                | Statement::Let(_)
                | Statement::Connection(_)
                | Statement::ShareMining(_)
                | Statement::Pipeline(_) => {}
            }
        }
        control
    }

    fn alert(&mut self, alert: &ast::Alert, scope: &Scope<'_, 'a>) -> Option<Alert> {
        let metric = self.metric(&alert.metric);
        let limit = metric.map(|(metric, span)| self.limit(metric, span, alert.limit.as_ref(), scope));
        let of = match &alert.of {
            None => Some(None),
            Some(Slot::Given(ast::Subject::Name(name))) => self.subject(name, name.span, scope).map(Some),
            Some(Slot::Given(ast::Subject::Tables(tables))) => self.tables(tables, scope).map(Some),
            Some(Slot::Hole(hole)) => {
                self.missing_subject(hole.span, scope);
                None
            }
        };
        let action = self.action(&alert.action, Occasion::Alert, scope);
        // A duration that cannot be read was reported by the parser.
        let hold = alert.hold.as_ref().map_or(Some(std::time::Duration::ZERO), |hold| hold.as_duration());
        Some(Alert { metric: metric?.0, limit: limit??, hold: hold?, of: of?, action: action? })
    }

    fn metric(&mut self, slot: &Slot<ast::Name>) -> Option<(Metric, Span)> {
        let all = || Metric::ALL.iter().map(|metric| metric.as_str());
        let listed = all().collect::<Vec<_>>().join(", ");
        match slot {
            Slot::Hole(hole) => {
                let finding = Diagnostic::new(Code::E0501, hole.span, "what to watch is missing here");
                self.report(finding.help(format!("write one of {listed}")));
                None
            }
            Slot::Given(name) => {
                let metric = Metric::ALL.iter().find(|metric| metric.as_str() == name.node);
                if metric.is_none() {
                    let finding =
                        Diagnostic::new(Code::E0506, name.span, format!("`{}` cannot be watched", name.node));
                    self.report(match did_you_mean(name, all()) {
                        Some(near) => finding.suggest(name.span, near, "did you mean this one?"),
                        None => finding.help(format!("these can: {listed}")),
                    });
                }
                metric.map(|metric| (*metric, name.span))
            }
        }
    }

    /// The limit of a metric; the outer `None` was reported.
    fn limit(
        &mut self,
        metric: Metric,
        span: Span,
        limit: Option<&ast::Limit>,
        scope: &Scope<'_, 'a>,
    ) -> Option<Option<(ast::Comparison, Measure)>> {
        let name = metric.as_str();
        let example = match metric.unit() {
            MetricUnit::YesNo => "",
            MetricUnit::Count => " > 5",
            MetricUnit::Time => " > 30s",
            MetricUnit::Size => " > 20GiB",
        };
        let wrong = |span, what: String| {
            Diagnostic::new(Code::E0506, span, what).help(format!("write on {name}{example}"))
        };
        let Some(limit) = limit else {
            if metric.unit() == MetricUnit::YesNo {
                return Some(None);
            }
            self.report(wrong(span, format!("`{name}` must be compared with something")));
            return None;
        };
        if metric.unit() == MetricUnit::YesNo {
            self.report(wrong(
                limit.comparison.span,
                format!("`{name}` is a yes or no, and cannot be compared"),
            ));
            return None;
        }
        let resolved = scope.names.resolve(&limit.value, self)?;
        let measure = match (&resolved.value, metric.unit()) {
            (Value::Number(number), MetricUnit::Count) => number.as_integer().map(Measure::Count),
            (Value::Number(number), MetricUnit::Time) => number.as_duration().map(Measure::Time),
            (Value::Number(number), MetricUnit::Size) => number.as_size().map(Measure::Size),
            _ => None,
        };
        if measure.is_none() {
            let what = match metric.unit() {
                MetricUnit::Time => "a duration",
                MetricUnit::Size => "a size",
                _ => "a whole number",
            };
            let code = if matches!(resolved.value, Value::Hole) { Code::E0501 } else { Code::E0506 };
            let finding =
                Diagnostic::new(code, limit.value.span, format!("`{name}` is compared with {what}"));
            self.report(finding.help(format!("write on {name}{example}")));
        }
        Some(Some((limit.comparison.node, measure?)))
    }

    fn schedule(&mut self, schedule: &ast::Schedule, scope: &Scope<'_, 'a>) -> Option<Schedule> {
        let when = match &schedule.when {
            ast::When::Every(Slot::Given(number)) => match number.as_duration() {
                Some(duration) if duration.is_zero() => {
                    let finding =
                        Diagnostic::new(Code::E0312, number.span, "a schedule needs time between its runs");
                    self.report(finding.help("write for example every 1h"));
                    None
                }
                duration => duration.map(When::Every),
            },
            ast::When::At(Slot::Given(text)) => match Cron::parse(text) {
                Ok(cron) => Some(When::At(cron)),
                Err(reason) => {
                    let finding = Diagnostic::new(Code::E0312, text.span, format!("this is not a time: {reason}"))
                        .note("the fields are minute, hour, day of the month, month and day of the week, as in cron")
                        .help("write for example \"30 2 * * 1-5\": at half past two on working days");
                    self.report(finding);
                    None
                }
            },
            ast::When::Every(Slot::Hole(hole)) | ast::When::At(Slot::Hole(hole)) => {
                let finding = Diagnostic::new(Code::E0501, hole.span, "the time is missing here");
                self.report(finding.help("write every 1h, or at \"0 2 * * *\""));
                None
            }
        };
        let action = self.action(&schedule.action, Occasion::Schedule, scope);
        Some(Schedule { when: when?, action: action? })
    }

    fn action(
        &mut self,
        slot: &Slot<ast::Action>,
        occasion: Occasion,
        scope: &Scope<'_, 'a>,
    ) -> Option<Action> {
        match slot {
            Slot::Given(ast::Action::Code(code)) => self.hook(code, HookUse::Act(occasion)).map(Action::Hook),
            Slot::Given(ast::Action::Command(command)) => {
                self.command(command, scope.names, &scope.known()).map(Action::Command)
            }
            Slot::Hole(hole) => {
                let verbs = Verb::ALL.iter().filter(|verb| !Verb::LOOKING.contains(verb));
                let verbs: Vec<&str> = verbs.map(|verb| verb.as_str()).collect();
                let finding = Diagnostic::new(Code::E0501, hole.span, "what to do is missing here")
                    .note(format!("the verbs are {}", verbs.join(", ")))
                    .help("write Rhai in braces, module::function, or a verb with a name");
                self.report(finding);
                None
            }
        }
    }

    fn subject(&mut self, name: &str, span: Span, scope: &Scope<'_, 'a>) -> Option<Subject> {
        if scope.names.pipelines.iter().any(|(known, _)| known == name) {
            return Some(Subject::Pipeline(name.to_owned()));
        }
        if scope.mined().contains(&name) {
            return Some(Subject::Mine(name.to_owned()));
        }
        let finding =
            Diagnostic::new(Code::E0208, span, format!("there is no pipeline and no mine named `{name}`"));
        let known = scope.subjects();
        self.report(match did_you_mean(name, known.iter().copied()) {
            Some(near) => finding.suggest(span, near, "did you mean this one?"),
            None if scope.connections.get(name).is_some() => finding
                .note(format!("`{name}` is a connection that is not mined"))
                .help(scope.subjects_help()),
            None => finding.help(scope.subjects_help()),
        });
        None
    }

    fn tables(&mut self, tables: &ast::TableRef, scope: &Scope<'_, 'a>) -> Option<Subject> {
        let name = &tables.connection;
        let database = scope.connections.find(name, Role::Source, self)?.database();
        let include = self.patterns(tables)?;
        let tables = TableSet { database: database?, include, exclude: Vec::new() };
        Some(Subject::Tables { connection: name.node.clone(), tables })
    }

    fn missing_subject(&mut self, span: Span, scope: &Scope<'_, 'a>) {
        let finding = Diagnostic::new(Code::E0501, span, "a name is missing here");
        self.report(finding.help(scope.subjects_help()));
    }

    fn test(&mut self, test: &ast::Test, scope: &Scope<'_, 'a>) -> Option<Test> {
        let name = match &test.of {
            Slot::Given(name) => name,
            Slot::Hole(hole) => {
                let finding =
                    Diagnostic::new(Code::E0501, hole.span, "the name of a pipeline is missing here");
                self.report(finding.help(format!("write one of {}", scope.pipeline_names().join(", "))));
                return None;
            }
        };
        if !scope.pipeline_names().contains(&name.as_str()) {
            let finding = Diagnostic::new(
                Code::E0208,
                name.span,
                format!("there is no pipeline named `{}`", name.node),
            );
            self.report(match did_you_mean(name, scope.pipeline_names()) {
                Some(near) => finding.suggest(name.span, near, "did you mean this one?"),
                None => finding.help(scope.subjects_help()),
            });
            return None;
        }
        // One with an error of its own is there by name only.
        let pipeline = scope.pipelines.iter().find(|pipeline| pipeline.name == name.node);
        let mut all_right = true;
        let mut steps = Vec::new();
        for step in &test.steps {
            let (fact, given) = match &step.node {
                Step::Given(fact) => (fact, true),
                Step::Expect(fact) => (fact, false),
            };
            all_right &= self.fact(fact, given, pipeline);
            let fact = ast::Spanned::new(fact.clone(), step.span);
            steps.push(if given { TestStep::Given(fact) } else { TestStep::Expect(fact) });
        }
        all_right.then(|| Test { name: test.name.node.clone(), pipeline: name.node.clone(), steps })
    }

    fn fact(&mut self, fact: &Fact, given: bool, pipeline: Option<&Pipeline>) -> bool {
        match fact {
            Fact::Change { op, table, .. } => {
                if !OPERATIONS.contains(&op.as_str()) || given && op.node == "upsert" {
                    let known = if given { &OPERATIONS[..3] } else { &OPERATIONS[..] };
                    let finding =
                        Diagnostic::new(Code::E0509, op.span, format!("`{}` is not a change", op.node));
                    self.report(match did_you_mean(op, known.iter().copied()) {
                        Some(near) if near != op.node => {
                            finding.suggest(op.span, near, "did you mean this one?")
                        }
                        _ => finding.help(format!("write one of {}", known.join(", "))),
                    });
                    return false;
                }
                match table {
                    Slot::Given(table) => {
                        pipeline.is_none_or(|pipeline| self.table_of_test(table, given, pipeline))
                    }
                    Slot::Hole(hole) => {
                        let finding =
                            Diagnostic::new(Code::E0501, hole.span, "connection and table are missing here");
                        self.report(finding.help("write for example shop.orders"));
                        false
                    }
                }
            }
            Fact::Metric { metric, .. } => self.metric(&Slot::Given(metric.clone())).is_some(),
            Fact::Hook(path) => {
                self.hook(&ast::Code::Hook(path.clone()), HookUse::Act(Occasion::Alert)).is_some()
            }
            Fact::Nothing { .. } => true,
        }
    }

    /// Whether a pipeline reads or writes the table of a test.
    fn table_of_test(
        &mut self,
        table: &ast::Spanned<ast::TableRef>,
        given: bool,
        pipeline: &Pipeline,
    ) -> bool {
        let Some(patterns) = self.patterns(table) else { return false };
        let connection = table.connection.as_str();
        let fits = |name: &Pattern| {
            if given {
                pipeline.inputs.iter().any(|input| {
                    input.connection.name == connection
                        && input.tables.contains(&input.tables.database, &name.0)
                })
            } else {
                pipeline.flow.sinks().iter().any(|sink| {
                    sink.connection.as_ref().is_some_and(|of| of.name == connection)
                        && Pattern(sink.target.clone()).matches(&name.0)
                })
            }
        };
        if patterns.iter().all(fits) {
            return true;
        }
        let verb = if given { "read" } else { "write" };
        let finding = Diagnostic::new(
            Code::E0509,
            table.span,
            format!("`{}` does not {verb} `{}`", pipeline.name, table_label(table)),
        );
        let candidates: Vec<String> = if given {
            pipeline
                .inputs
                .iter()
                .flat_map(|input| {
                    input.tables.include.iter().map(|table| format!("{}.{}", input.connection.name, table.0))
                })
                .collect()
        } else {
            pipeline.flow.sinks().iter().map(|sink| sink.label.clone()).collect()
        };
        self.report(finding.help(format!("it {verb}s {}", candidates.join(", "))));
        false
    }
}

/// What the names of commands and alerts can mean.
struct Scope<'s, 'a> {
    names: &'s Names<'a>,
    connections: &'s Connections<'a>,
    mines: &'s Mines,
    pipelines: &'s [Pipeline],
}

impl Scope<'_, '_> {
    fn pipeline_names(&self) -> Vec<&str> {
        self.names.pipelines.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The connections that are mined, or may be.
    fn mined(&self) -> Vec<&str> {
        self.connections
            .names(|kind| Role::Source.fits(kind))
            .into_iter()
            .filter(|name| self.mines.get(name).is_some() || self.names.is_mined(name))
            .collect()
    }

    /// What commands can be about.
    fn known(&self) -> Known {
        let mine = |connection: &str| {
            let mine = self.mines.get(connection);
            KnownMine {
                connection: connection.to_owned(),
                name: mine.map_or(connection, |mine| mine.name.as_str()).to_owned(),
                database: self.connections.get(connection).and_then(Declared::database),
                store: mine.and_then(|mine| mine.store.as_ref()).map_or("embedded", |store| store.kind),
            }
        };
        Known {
            pipelines: self.pipeline_names().into_iter().map(str::to_owned).collect(),
            mines: self.mined().into_iter().map(mine).collect(),
            not_mined: {
                let mined = self.mined();
                let all = self.connections.names(|_| true).into_iter();
                all.filter(|name| !mined.contains(name)).map(str::to_owned).collect()
            },
            // Nothing in a script looks at changes.
            modules: Arc::default(),
        }
    }

    fn subjects(&self) -> Vec<&str> {
        let mut subjects = self.pipeline_names();
        subjects.extend(self.mined());
        subjects
    }

    fn subjects_help(&self) -> String {
        there_are(&self.subjects())
    }
}
