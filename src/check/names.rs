//! Names of scripts: connections, pipelines, and values of `let`.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use crate::lang::ast::{self, FlowEnd, Number, Slot, Statement, Target, Value};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::{SourceId, Span};

/// What statements declare, by name. A name that is given twice stands for the first one.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub connections: BTreeMap<&'a str, &'a ast::Connection>,
    /// In the order of the scripts, with their names.
    pub pipelines: Vec<(String, &'a ast::Pipeline)>,
    mined: BTreeSet<&'a str>,
    lets: BTreeMap<&'a str, &'a ast::Let>,
    /// Values of `--set`.
    sets: BTreeMap<String, Value>,
}

/// A value after `$name` was looked up.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub value: Value,
    /// Where it is used.
    pub span: Span,
    /// Where it is written, when that is elsewhere; `None` also for `--set`.
    pub written: Option<Span>,
    /// The name that it was found under.
    pub variable: Option<String>,
}

impl<'a> Names<'a> {
    /// Collects the names of all statements.
    pub fn collect(checker: &mut Checker<'a>) -> Names<'a> {
        let mut names = Names::default();
        let mut pipelines: BTreeMap<String, Span> = BTreeMap::new();
        for statement in &checker.scripts.statements {
            match &statement.node {
                Statement::Connection(connection) => names.connection(connection, checker),
                Statement::Let(binding) => match names.lets.get(binding.name.as_str()) {
                    Some(first) => checker.report(twice("value", &binding.name, first.name.span)),
                    None => {
                        names.lets.insert(&binding.name, binding);
                    }
                },
                Statement::Pipeline(pipeline) => {
                    let (name, span) = match &pipeline.name {
                        Some(name) => (name.node.clone(), name.span),
                        None => match sink_label(&pipeline.flow) {
                            Some(label) => label,
                            // A sink that is left open is reported as such, and has nothing to be named after.
                            None => ("...".to_owned(), pipeline.flow.span),
                        },
                    };
                    match pipelines.get(&name) {
                        Some(_) if name == "..." => {}
                        Some(first) => {
                            let mut finding = Diagnostic::new(
                                Code::E0202,
                                span,
                                format!("there are two pipelines named `{name}`"),
                            )
                            .related(*first, "the first one");
                            finding = match pipeline.name {
                                Some(_) => finding.help("give one of them another name"),
                                None => finding
                                    .note("a pipeline without a name is named after its first sink")
                                    .help("begin one of them with `pipeline other_name = source …`"),
                            };
                            checker.report(finding);
                            continue;
                        }
                        None => {
                            pipelines.insert(name.clone(), span);
                        }
                    }
                    for source in pipeline.sources.iter().filter(|source| source.mining.is_some()) {
                        names.mined.extend(source.tables.given().map(|tables| tables.connection.as_str()));
                    }
                    names.pipelines.push((name, pipeline));
                }
                Statement::ShareMining(mining) => {
                    names.mined.extend(mining.connection.given().map(|name| name.as_str()));
                }
                _ => {}
            }
        }
        names.take_sets(checker);
        names.find_circles(checker);
        names
    }

    fn connection(&mut self, connection: &'a ast::Connection, checker: &mut Checker<'a>) {
        let name = &connection.name;
        if name.node == "embedded" {
            let finding =
                Diagnostic::new(Code::E0202, name.span, "`embedded` is the name of lode's own log store")
                    .help("give the connection another name");
            return checker.report(finding);
        }
        match self.connections.get(name.as_str()) {
            Some(first) => checker.report(twice("connection", name, first.name.span)),
            None => {
                self.connections.insert(name, connection);
            }
        }
    }

    /// Whether a statement or a pipeline asks for the mining of this connection.
    pub fn is_mined(&self, connection: &str) -> bool {
        self.mined.contains(connection)
    }

    /// Looks up `$name`, also when that is again a `$name`. `None` was reported.
    pub fn resolve(&self, value: &ast::Spanned<Value>, checker: &mut Checker<'_>) -> Option<Resolved> {
        let mut resolved =
            Resolved { value: value.node.clone(), span: value.span, written: None, variable: None };
        // Circles were reported; the bound only ends them here.
        for _ in 0..=self.lets.len() {
            let Value::Variable(name) = &resolved.value else { return Some(resolved) };
            let name = name.clone();
            if let Some(set) = self.sets.get(&name) {
                resolved.value = set.clone();
                resolved.written = None;
            } else if let Some(binding) = self.lets.get(name.as_str()) {
                resolved.value = binding.value.node.clone();
                resolved.written = Some(binding.value.span);
            } else {
                checker.report(self.unknown_variable(&name, value.span));
                return None;
            }
            resolved.variable = Some(name);
        }
        None
    }

    fn unknown_variable(&self, name: &str, span: Span) -> Diagnostic {
        let finding = Diagnostic::new(Code::E0206, span, format!("there is no value named `{name}`"));
        match did_you_mean(name, self.lets.keys().copied()) {
            Some(near) => finding.suggest(span, format!("${near}"), "did you mean this one?"),
            None => finding.help(format!("say what it is: let {name} = …")),
        }
    }

    fn take_sets(&mut self, checker: &mut Checker<'a>) {
        let typed = &checker.scripts.typed_lets;
        for (name, text) in checker.input.sets.iter().filter(|(name, _)| !typed.contains(name)) {
            match self.lets.get(name.as_str()) {
                Some(binding) => {
                    self.sets.insert(name.clone(), set_value(text, &binding.value.node));
                }
                None => {
                    let finding = Diagnostic::new(
                        Code::E0206,
                        NOWHERE,
                        format!("--set {name}: no script has a value of this name"),
                    );
                    let near = did_you_mean(name, self.lets.keys().copied());
                    checker.report(match (near, self.lets.is_empty()) {
                        (Some(near), _) => finding.help(format!("did you mean --set {near}=…?")),
                        (None, true) => {
                            finding.help("only values that a script declares with `let name = …` can be set")
                        }
                        (None, false) => {
                            let known: Vec<&str> = self.lets.keys().copied().collect();
                            finding.help(format!("these can be set: {}", known.join(", ")))
                        }
                    });
                }
            }
        }
    }

    fn find_circles(&self, checker: &mut Checker<'a>) {
        let mut reported = BTreeSet::new();
        for binding in self.lets.values() {
            let mut chain = vec![binding.name.as_str()];
            let mut at = *binding;
            while let Value::Variable(next) = &at.value.node {
                if self.sets.contains_key(at.name.as_str()) {
                    break;
                }
                let Some(found) = self.lets.get(next.as_str()) else {
                    checker.report(self.unknown_variable(next, at.value.span));
                    break;
                };
                if let Some(start) = chain.iter().position(|name| *name == next) {
                    if chain[start..].iter().all(|name| reported.insert(*name)) {
                        let circle: Vec<&str> =
                            chain[start..].iter().copied().chain([next.as_str()]).collect();
                        let finding = Diagnostic::new(
                            Code::E0207,
                            at.value.span,
                            format!("the value of `{next}` is itself"),
                        )
                        .note(circle.join(" = $"));
                        checker.report(finding.help("give one of them a value"));
                    }
                    break;
                }
                chain.push(next);
                at = found;
            }
        }
    }
}

/// The value of `--set name=text`, in the type that the script gives the name.
pub(super) fn set_value(text: &str, declared: &Value) -> Value {
    let number = || {
        let digits =
            text.trim_start_matches('-').find(|letter: char| !letter.is_ascii_digit() && letter != '.');
        let sign = text.len() - text.trim_start_matches('-').len();
        let split = digits.map_or(text.len(), |at| at + sign);
        Number { digits: text[..split].to_owned(), unit: text[split..].to_owned() }
    };
    match declared {
        Value::Number(_) => Value::Number(number()),
        Value::Word(_) => Value::Word(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

/// How the first sink is called, with its place: `dw.orders`, `audit.jsonl`, or its kind.
pub(super) fn sink_label(flow: &ast::Flow) -> Option<(String, Span)> {
    match &flow.end {
        FlowEnd::Branches(flows) => flows.iter().find_map(|flow| sink_label(flow)),
        FlowEnd::Sink(sink) => match &sink.target {
            None => sink.kind.given().map(|kind| (kind.node.clone(), kind.span)),
            Some(Slot::Hole(_)) => None,
            // Standard output has no name of its own.
            Some(Slot::Given(Target::Path(path))) if path.node == "-" => {
                sink.kind.given().map(|kind| (kind.node.clone(), path.span))
            }
            Some(Slot::Given(Target::Path(path))) => Some((path.node.clone(), path.span)),
            Some(Slot::Given(Target::Table(table))) => Some((table_label(table), table.span)),
        },
    }
}

/// A reference to tables as it is written.
pub(super) fn table_label(table: &ast::TableRef) -> String {
    let names: Vec<&str> =
        table.tables.iter().map(|name| name.given().map_or("...", |name| name.as_str())).collect();
    match names.as_slice() {
        [name] => format!("{}.{name}", table.connection.node),
        names => format!("{}.{{{}}}", table.connection.node, names.join(", ")),
    }
}

/// For findings about the command line: a place in no text.
const NOWHERE: Span = Span { source: SourceId(u32::MAX), start: 0, end: 0 };

fn twice(what: &str, name: &ast::Name, first: Span) -> Diagnostic {
    Diagnostic::new(Code::E0202, name.span, format!("there are two {what}s named `{}`", name.node))
        .related(first, "the first one")
        .help("give one of them another name")
}
