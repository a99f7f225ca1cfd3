//! Tree to text, in one canonical form. Comments and single blank lines stay; Rhai code is kept to the letter.

mod layout;

use self::layout::{Doc, lay_out};
use super::ast::*;
use super::diagnostic::Diagnostic;
use super::parse::parse;
use super::span::{SourceId, Span};

/// Formats a text. A text with syntax errors is refused: it comes back as its findings.
pub fn format(source: SourceId, text: &str) -> Result<String, Vec<Diagnostic>> {
    let (script, findings) = parse(source, text);
    if findings.is_empty() { Ok(print(&script)) } else { Err(findings) }
}

/// Prints a script in its canonical form, comments included.
pub fn print(script: &Script) -> String {
    let mut printer = Printer { trivia: &script.trivia, comments: 0 };
    let mut docs = Vec::new();
    for (index, statement) in script.statements.iter().enumerate() {
        if index > 0 {
            docs.push(Doc::Hard(false));
        }
        docs.push(printer.comments_before(statement.span.start));
        if script.trivia.is_after_blank(statement.span.start) {
            docs.push(Doc::Hard(true));
        }
        docs.push(printer.statement(statement));
    }
    docs.push(printer.comments_before(u32::MAX));
    lay_out(&docs)
}

/// Builds documents in the order of the text, so that each comment lands before the next piece that stands behind it.
struct Printer<'s> {
    trivia: &'s Trivia,
    comments: usize,
}

impl Printer<'_> {
    fn statement(&mut self, statement: &Spanned<Statement>) -> Doc {
        let span = statement.span;
        match &statement.node {
            Statement::Include(include) => {
                let mut docs = vec![self.at(span, "include "), Doc::Indent(vec![self.quoted(&include.path)])];
                self.settings(&mut docs, &include.settings);
                Doc::All(docs)
            }
            Statement::Let(binding) => Doc::All(vec![
                self.at(span, "let "),
                Doc::Indent(vec![self.name(&binding.name), Doc::text(" = ")]),
                self.value(&binding.value),
            ]),
            Statement::Connection(connection) => self.connection(span, connection),
            Statement::ShareMining(mining) => {
                let mut docs = vec![self.at(span, "share_mining "), self.name_slot(&mining.connection)];
                self.via(&mut docs, &mining.via);
                self.settings(&mut docs, &mining.settings);
                Doc::All(docs)
            }
            Statement::Pipeline(pipeline) => self.pipeline(span, pipeline),
            Statement::Alert(alert) => self.alert(span, alert),
            Statement::Schedule(schedule) => {
                let mut docs = match &schedule.when {
                    When::Every(period) => {
                        vec![
                            self.at(span, "every "),
                            self.slot(period, |printer, number| printer.number(number)),
                        ]
                    }
                    When::At(time) => vec![self.at(span, "at "), self.slot(time, Self::quoted)],
                };
                self.action(&mut docs, &schedule.action);
                Doc::All(docs)
            }
            Statement::Test(test) => self.test(span, test),
            Statement::Command(command) => self.command(span, command),
        }
    }

    fn connection(&mut self, span: Span, connection: &Connection) -> Doc {
        let mut docs = vec![self.at(span, "connection "), self.name(&connection.name), Doc::text(" = ")];
        docs.push(self.name_slot(&connection.kind));
        if let Some(endpoint) = &connection.endpoint {
            docs.push(Doc::text(" "));
            docs.push(self.slot(endpoint, Self::quoted));
        }
        self.settings(&mut docs, &connection.settings);
        Doc::All(docs)
    }

    fn pipeline(&mut self, span: Span, pipeline: &Pipeline) -> Doc {
        let Some(name) = &pipeline.name else {
            let sources = self.sources(span, &pipeline.sources);
            let mut flow = Vec::new();
            self.flow(&mut flow, &pipeline.flow, true);
            return Doc::Group(vec![sources, Doc::Indent(flow)]);
        };
        let mut docs = vec![self.at(span, "pipeline "), self.name(name)];
        self.settings(&mut docs, &pipeline.settings);
        docs.push(Doc::text(" ="));
        let first = pipeline.sources.first().map_or(span, |source| source.span);
        let mut flow = vec![Doc::Line, self.sources(first, &pipeline.sources)];
        self.flow(&mut flow, &pipeline.flow, true);
        docs.push(Doc::Indent(flow));
        Doc::Group(docs)
    }

    fn sources(&mut self, span: Span, sources: &[Spanned<Source>]) -> Doc {
        match sources {
            [source] => self.source(source),
            _ => {
                let open = self.at(span, "[ ");
                let items = self.items(sources, Self::source);
                Doc::Group(vec![open, Doc::Align(items), Doc::text(" ]")])
            }
        }
    }

    fn source(&mut self, source: &Spanned<Source>) -> Doc {
        let mut docs = vec![self.at(source.span, "source "), self.name_slot(&source.kind)];
        let both_open = matches!((&source.kind, &source.tables), (Slot::Hole(_), Slot::Hole(_)));
        if !both_open {
            docs.push(Doc::text(" "));
            docs.push(self.slot(&source.tables, |printer, tables| printer.tables(tables)));
        }
        if let Some(mining) = &source.mining {
            docs.push(self.at(mining.span, " share_mining"));
            self.via(&mut docs, &mining.via);
        }
        self.settings(&mut docs, &source.settings);
        Doc::All(docs)
    }

    fn via(&mut self, docs: &mut Vec<Doc>, via: &Option<Slot<Via>>) {
        let Some(via) = via else { return };
        docs.push(Doc::text(" via "));
        docs.push(self.slot(via, |printer, via| {
            let mut docs = vec![printer.name(&via.store)];
            if let Some(log) = &via.log {
                docs.push(Doc::text("."));
                docs.push(printer.quotable(log, false));
            }
            Doc::All(docs)
        }));
    }

    /// The elements of a flow, each behind an arrow; the first one only where `leading`.
    fn flow(&mut self, docs: &mut Vec<Doc>, flow: &Spanned<Flow>, leading: bool) {
        let arrow = |printer: &mut Self, docs: &mut Vec<Doc>, span: Span, first: bool| {
            if !first || leading {
                docs.push(Doc::Line);
                docs.push(printer.at(span, "-> "));
            }
        };
        for (index, stage) in flow.stages.iter().enumerate() {
            arrow(self, docs, stage.span, index == 0);
            docs.push(self.stage(stage));
        }
        let first = flow.stages.is_empty();
        match &flow.end {
            FlowEnd::Sink(sink) => {
                arrow(self, docs, sink.span, first);
                docs.push(self.sink(sink));
            }
            FlowEnd::Branches(branches) => {
                arrow(self, docs, branches.first().map_or(flow.span, |branch| branch.span), first);
                let items = self.items(branches, |printer, branch| {
                    let comments = printer.comments_before(branch.span.start);
                    let mut docs = Vec::new();
                    printer.flow(&mut docs, branch, false);
                    Doc::All(vec![comments, Doc::Group(vec![Doc::Indent(docs)])])
                });
                let close = self.at(last_byte(flow.span), " ]");
                docs.push(Doc::Group(vec![Doc::text("[ "), Doc::Align(items), close]));
            }
        }
    }

    fn stage(&mut self, stage: &Spanned<Stage>) -> Doc {
        let (word, columns) = match &stage.node {
            Stage::Filter(code) => {
                return Doc::All(vec![self.at(stage.span, "filter "), self.slot(code, Self::code)]);
            }
            Stage::Map(code) => {
                return Doc::All(vec![self.at(stage.span, "map "), self.slot(code, Self::code)]);
            }
            Stage::Keep(columns) => ("keep ", columns),
            Stage::Drop(columns) => ("drop ", columns),
        };
        let word = self.at(stage.span, word);
        let items = self.filled(columns, |printer, column| {
            printer.slot(column, |printer, name| printer.quotable(name, false))
        });
        Doc::Group(vec![word, Doc::Align(items)])
    }

    fn sink(&mut self, sink: &Spanned<Sink>) -> Doc {
        let mut docs = vec![self.at(sink.span, "sink "), self.name_slot(&sink.kind)];
        if let Some(target) = &sink.target {
            docs.push(Doc::text(" "));
            docs.push(self.slot(target, |printer, target| match target {
                Target::Table(table) => printer.tables(table),
                Target::Path(path) => printer.quoted(path),
            }));
        }
        self.settings(&mut docs, &sink.settings);
        Doc::All(docs)
    }

    fn code(&mut self, code: &Code) -> Doc {
        match code {
            // The brace stands right before the text; a comment before it belongs before it.
            Code::Block(text) => self.at(text.span, format!("{{{}}}", text.node)),
            Code::Hook(path) => self.hook(path),
        }
    }

    fn hook(&mut self, path: &HookPath) -> Doc {
        self.at(path.module.span, format!("{}::{}", path.module.node, path.function.node))
    }

    fn alert(&mut self, span: Span, alert: &Alert) -> Doc {
        let mut docs = vec![self.at(span, "on "), self.name_slot(&alert.metric)];
        if let Some(limit) = &alert.limit {
            docs.push(self.at(limit.comparison.span, format!(" {} ", limit.comparison.as_str())));
            docs.push(self.value(&limit.value));
        }
        self.hold(&mut docs, &alert.hold);
        self.of(&mut docs, &alert.of);
        self.settings(&mut docs, &alert.settings);
        self.action(&mut docs, &alert.action);
        Doc::All(docs)
    }

    fn hold(&mut self, docs: &mut Vec<Doc>, hold: &Option<Spanned<Number>>) {
        if let Some(hold) = hold {
            docs.push(Doc::text(" for "));
            docs.push(self.number(hold));
        }
    }

    fn of(&mut self, docs: &mut Vec<Doc>, of: &Option<Slot<Subject>>) {
        if let Some(of) = of {
            docs.push(Doc::text(" of "));
            docs.push(self.slot(of, |printer, subject| match subject {
                Subject::Name(name) => printer.name(name),
                Subject::Tables(tables) => printer.tables(tables),
            }));
        }
    }

    fn action(&mut self, docs: &mut Vec<Doc>, action: &Slot<Action>) {
        docs.push(Doc::text(" do "));
        docs.push(self.slot(action, |printer, action| match action {
            Action::Code(code) => printer.code(code),
            Action::Command(command) => printer.command(command.span, command),
        }));
    }

    fn test(&mut self, span: Span, test: &Test) -> Doc {
        let mut docs = vec![self.at(span, "test "), self.quoted(&test.name), Doc::text(" of ")];
        docs.push(self.name_slot(&test.of));
        docs.push(Doc::text(" {"));
        let mut steps = Vec::new();
        for step in &test.steps {
            steps.push(Doc::Hard(false));
            steps.push(self.comments_before(step.span.start));
            if self.trivia.is_after_blank(step.span.start) {
                steps.push(Doc::Hard(true));
            }
            let (word, fact) = match &step.node {
                Step::Given(fact) => ("given ", fact),
                Step::Expect(fact) => ("expect ", fact),
            };
            steps.push(self.at(step.span, word));
            self.fact(&mut steps, fact);
        }
        steps.push(self.comments_before(last_byte(span).start));
        docs.push(Doc::Indent(steps));
        docs.push(Doc::Hard(false));
        docs.push(Doc::text("}"));
        Doc::All(docs)
    }

    fn fact(&mut self, docs: &mut Vec<Doc>, fact: &Fact) {
        match fact {
            Fact::Change { op, target, only, row } => {
                docs.push(self.name(op));
                docs.push(Doc::text(" "));
                docs.push(self.slot(target, |printer, target| match target {
                    Target::Table(tables) => printer.tables(tables),
                    Target::Path(path) => printer.quoted(path),
                }));
                docs.push(Doc::text(if *only { " only" } else { "" }));
                self.settings(docs, row);
            }
            Fact::Metric { metric, value, hold, of } => {
                docs.push(self.name(metric));
                if let Some(value) = value {
                    docs.push(Doc::text(" "));
                    docs.push(self.value(value));
                }
                self.hold(docs, hold);
                self.of(docs, of);
            }
            Fact::Hook { path, facts } => {
                docs.push(self.hook(path));
                self.settings(docs, facts);
            }
            Fact::Effect { name, parts } => {
                docs.push(self.name(name));
                self.settings(docs, parts);
            }
            Fact::Command(command) => docs.push(self.command(command.span, command)),
            Fact::Nothing { more } => docs.push(Doc::text(if *more { "nothing more" } else { "nothing" })),
        }
    }

    fn command(&mut self, span: Span, command: &Command) -> Doc {
        let mut docs = vec![self.at(span, command.verb.as_str())];
        for argument in &command.arguments {
            docs.push(Doc::text(" "));
            docs.push(match &argument.node {
                Argument::Word(word) => self.at(argument.span, word.as_str()),
                Argument::Tables(tables) => self.tables(tables),
                Argument::Text(text) => self.at(argument.span, quote(text)),
                Argument::Number(number) => self.at(argument.span, number.to_string()),
                Argument::Call(call) => {
                    let open = self.at(argument.span, format!("{}(", call.function.node));
                    self.list(open, &call.arguments, argument.span, ")")
                }
                Argument::Code(text) => self.at(argument.span, format!("{{{text}}}")),
                Argument::Hole => self.at(argument.span, "..."),
            });
        }
        self.settings(&mut docs, &command.settings);
        Doc::All(docs)
    }

    fn tables(&mut self, tables: &TableRef) -> Doc {
        let mut docs = vec![self.name(&tables.connection), Doc::text(".")];
        let pattern = |printer: &mut Self, name: &Slot<Name>| {
            printer.slot(name, |printer, name| printer.quotable(name, true))
        };
        if let [table] = tables.tables.as_slice() {
            docs.push(pattern(self, table));
            return Doc::All(docs);
        }
        docs.push(Doc::text("{"));
        let mut items = vec![Doc::SoftLine];
        items.append(&mut self.filled(&tables.tables, pattern));
        docs.push(Doc::Indent(items));
        docs.push(Doc::SoftLine);
        docs.push(Doc::text("}"));
        Doc::Group(docs)
    }

    fn settings(&mut self, docs: &mut Vec<Doc>, settings: &Settings) {
        if let Some(block) = &settings.0 {
            docs.push(Doc::text(" "));
            docs.push(self.block(block.span, &block.node));
        }
    }

    fn block(&mut self, span: Span, settings: &[Setting]) -> Doc {
        let open = self.at(span, "{");
        let mut entries = vec![Doc::Line];
        for (index, setting) in settings.iter().enumerate() {
            let separator = if index > 0 { Doc::Separator } else { Doc::All(Vec::new()) };
            let key = self.quotable(&setting.key, false);
            entries.push(Doc::Group(vec![separator, key, Doc::text(" = "), self.value(&setting.value)]));
        }
        entries.push(self.comments_before(last_byte(span).start));
        let close = if settings.is_empty() { Doc::SoftLine } else { Doc::Line };
        Doc::Group(vec![open, Doc::Indent(entries), close, Doc::text("}")])
    }

    fn value(&mut self, value: &Spanned<Value>) -> Doc {
        let text = match &value.node {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => quote(text),
            Value::Word(word) => word.clone(),
            Value::Variable(name) => format!("${name}"),
            Value::Hole => "...".to_owned(),
            Value::Call(call) => {
                let open = self.at(value.span, format!("{}(", call.function.node));
                return self.list(open, &call.arguments, value.span, ")");
            }
            Value::List(values) => {
                let open = self.at(value.span, "[");
                return self.list(open, values, value.span, "]");
            }
            Value::Block(settings) => return self.block(value.span, settings),
            Value::Tables(tables) => return self.tables(tables),
        };
        self.at(value.span, text)
    }

    fn list(&mut self, open: Doc, values: &[Spanned<Value>], span: Span, close: &str) -> Doc {
        let mut items = vec![Doc::SoftLine];
        items.append(&mut self.filled(values, Self::value));
        items.push(self.comments_before(last_byte(span).start));
        Doc::Group(vec![open, Doc::Indent(items), Doc::SoftLine, Doc::text(close)])
    }

    /// As many items in each line as fit.
    fn filled<T>(&mut self, items: &[T], mut print: impl FnMut(&mut Self, &T) -> Doc) -> Vec<Doc> {
        let mut docs = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let last = index + 1 == items.len();
            let mut group = vec![print(self, item)];
            if index > 0 {
                group.insert(0, Doc::Line);
            }
            if !last {
                group.push(Doc::text(","));
            }
            docs.push(Doc::Group(group));
        }
        docs
    }

    /// All items in one line, or each in a line of its own.
    fn items<T>(&mut self, items: &[T], mut print: impl FnMut(&mut Self, &T) -> Doc) -> Vec<Doc> {
        let mut docs = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                docs.push(Doc::text(","));
                docs.push(Doc::Line);
            }
            docs.push(print(self, item));
        }
        docs
    }

    fn slot<T>(&mut self, slot: &Slot<T>, given: impl FnOnce(&mut Self, &T) -> Doc) -> Doc {
        match slot {
            Slot::Given(node) => given(self, node),
            Slot::Hole(hole) => self.at(hole.span, "..."),
        }
    }

    fn name_slot(&mut self, slot: &Slot<Name>) -> Doc {
        self.slot(slot, Self::name)
    }

    fn name(&mut self, name: &Name) -> Doc {
        self.at(name.span, name.node.as_str())
    }

    /// A name that may stand in backticks, and does where it is not a plain word; a pattern may hold `*`.
    fn quotable(&mut self, name: &Name, pattern: bool) -> Doc {
        self.at(name.span, quoted_name(name, pattern))
    }

    fn number(&mut self, number: &Spanned<Number>) -> Doc {
        self.at(number.span, number.to_string())
    }

    fn quoted(&mut self, text: &Spanned<String>) -> Doc {
        self.at(text.span, quote(text))
    }

    /// Text that stood at `span`, behind the comments that stood before it.
    fn at(&mut self, span: Span, text: impl Into<String>) -> Doc {
        let comments = self.comments_before(span.start);
        Doc::All(vec![comments, Doc::text(text)])
    }

    fn comments_before(&mut self, offset: u32) -> Doc {
        let rest = &self.trivia.comments[self.comments..];
        let docs: Vec<Doc> = rest
            .iter()
            .take_while(|comment| comment.span.start < offset)
            .map(|comment| Doc::Comment {
                text: comment.text.clone(),
                own_line: comment.own_line,
                after_blank: self.trivia.is_after_blank(comment.span.start),
            })
            .collect();
        self.comments += docs.len();
        Doc::All(docs)
    }
}

fn last_byte(span: Span) -> Span {
    Span { start: span.end.saturating_sub(1), ..span }
}

/// The name of a table, or a pattern: in backticks, where it is not a plain word.
pub fn quotable(name: &str) -> String {
    quoted_name(name, true)
}

fn quoted_name(name: &str, pattern: bool) -> String {
    let is_word = |character: char| pest::unicode::XID_CONTINUE(character);
    let is_first = |character: char| character == '_' || pest::unicode::XID_START(character);
    let plain = match pattern {
        true => name.chars().all(|character| character == '*' || is_word(character)),
        false => name.starts_with(is_first) && name.chars().all(is_word),
    };
    if plain && !name.is_empty() { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

/// A text in quotes, with what cannot stand there escaped.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => quoted.push_str(&control.escape_unicode().to_string()),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
