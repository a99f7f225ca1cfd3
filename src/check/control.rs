//! Alerts, schedules, tests and control verbs: their names and values.

use super::Checker;
use super::command::{Command, Known, KnownMine, there_are};
use super::connections::{Connections, Declared, Role};
use super::cron::Cron;
use super::hooks::HookUse;
use super::mining::Mines;
use super::model::{Action, Alert, Bearer, Measure, Metric, MetricUnit, Pipeline, Schedule, Subject, When};
use super::names::Names;
use super::settings::Owner;
use super::specs::ALERT;
use super::testing::Test;
use super::written::subject_text;
use crate::hook::act::Occasion;
use crate::lang::ast::{self, Slot, Statement, Value, Verb};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::Span;
use crate::model::table::TableSet;

/// What happens with the flow of changes once it runs.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub alerts: Vec<Alert>,
    pub schedules: Vec<Schedule>,
    pub commands: Vec<Command>,
    pub tests: Vec<Test>,
}

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
                    control.alerts.extend(self.alert(alert, statement.span, &scope));
                }
                Statement::Schedule(schedule) => {
                    control.schedules.extend(self.schedule(schedule, &scope));
                }
                Statement::Command(command) => {
                    // A script says what is to be, and is applied again and again; a command happens once.
                    let why = "give the command at the prompt or with `lode ctl`, or do it at a time: at \"0 2 * * *\" do …";
                    self.left_out("control verbs by themselves", why, statement.span);
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

    fn alert(&mut self, alert: &ast::Alert, statement: Span, scope: &Scope<'_, 'a>) -> Option<Alert> {
        let metric = self.metric(&alert.metric);
        let limit = metric.map(|(metric, span)| self.limit(metric, span, alert.limit.as_ref(), scope));
        let of = match &alert.of {
            None => Some(None),
            Some(of) => self.subject_slot(of, scope).map(Some),
        };
        let owner = Owner { what: "an alert", span: statement, connection: None };
        let block = self.settings(scope.names, &alert.settings, &[ALERT], owner);
        let repeat = block.settings.duration("repeat").filter(|_| block.places.contains_key("repeat"));
        let action = self.action(&alert.action, Occasion::Alert, scope);
        if let (Some((metric, span)), Some(Some(of))) = (&metric, &of) {
            self.fits(*metric, of, *span)?;
        }
        // A duration that cannot be read was reported by the parser.
        let hold = alert.hold.as_ref().map_or(Some(std::time::Duration::ZERO), |hold| hold.as_duration());
        Some(Alert { metric: metric?.0, limit: limit??, hold: hold?, of: of?, repeat, action: action? })
    }

    /// Whether what is watched is something that its subject has; that it is not is reported.
    fn fits(&mut self, metric: Metric, of: &Subject, span: Span) -> Option<()> {
        let (fits, what) = match of {
            Subject::Pipeline(_) => (metric.bearer() != Bearer::Mines, "a pipeline"),
            Subject::Mine(_) => (metric.bearer() != Bearer::Pipelines, "a mine"),
            Subject::Tables { .. } => (Metric::OF_TABLES.contains(&metric), "a table"),
        };
        if fits {
            return Some(());
        }
        let name = metric.as_str();
        let whose = match metric.bearer() {
            Bearer::Mines => "mines",
            Bearer::Pipelines => "pipelines",
            Bearer::Both => "pipelines and mines",
        };
        let what = format!("`{name}` is watched of {whose}, and `{}` is {what}", subject_text(of));
        let finding = Diagnostic::new(Code::E0506, span, what);
        let of_tables: Vec<_> = Metric::OF_TABLES.iter().map(|metric| metric.as_str()).collect();
        self.report(match of {
            Subject::Tables { .. } => finding.help(format!("of tables there are {}", of_tables.join(", "))),
            _ => finding.help(format!("name one of the {whose}, or leave `of` out")),
        });
        None
    }

    pub(super) fn metric(&mut self, slot: &Slot<ast::Name>) -> Option<(Metric, Span)> {
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
                let verbs: Vec<&str> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
                let finding = Diagnostic::new(Code::E0501, hole.span, "what to do is missing here")
                    .note(format!("the verbs are {}", verbs.join(", ")))
                    .help("write Rhai in braces, module::function, or a verb with a name");
                self.report(finding);
                None
            }
        }
    }

    /// Whom an alert or a figure is about. `None` was reported.
    pub(super) fn subject_slot(&mut self, of: &Slot<ast::Subject>, scope: &Scope<'_, 'a>) -> Option<Subject> {
        match of {
            Slot::Given(ast::Subject::Name(name)) => self.subject(name, name.span, scope),
            Slot::Given(ast::Subject::Tables(tables)) => self.tables(tables, scope),
            Slot::Hole(hole) => {
                self.missing_subject(hole.span, scope);
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
}

/// What the names of commands and alerts can mean.
pub(super) struct Scope<'s, 'a> {
    pub names: &'s Names<'a>,
    pub connections: &'s Connections<'a>,
    pub mines: &'s Mines,
    pub pipelines: &'s [Pipeline],
}

impl Scope<'_, '_> {
    pub fn pipeline_names(&self) -> Vec<&str> {
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
    pub fn known(&self) -> Known {
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
        }
    }

    fn subjects(&self) -> Vec<&str> {
        let mut subjects = self.pipeline_names();
        subjects.extend(self.mined());
        subjects
    }

    pub fn subjects_help(&self) -> String {
        there_are(&self.subjects())
    }
}
