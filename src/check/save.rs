//! What runs, written as one script: the scripts with what they include and with what was typed, each statement where it
//! stood, comments and all. Modules of hooks stay files of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::load::{Place, ScriptSet, load, place};
use super::names::set_value;
use super::secrets::secret_keys;
use super::{Input, Kinds, Outside};
use crate::lang::ast::{Include, Pipeline, Script, Settings, Spanned, Statement, Value};
use crate::lang::parse::parse;
use crate::lang::print::{format, quote};
use crate::lang::span::{SourceId, SourceMap, Span};
use crate::model::spec::{EndpointSpec, SettingType};

/// A script that says what other scripts and typed statements say together.
#[derive(Clone)]
pub struct Saved {
    /// The script. It may hold secrets, where the scripts do.
    pub text: String,
    /// Whether it does.
    pub holds_secrets: bool,
    /// Values of `--set` that are secrets, and so have to be given again.
    pub sets_left_out: Vec<String>,
}

/// Writes the scripts of `input` as one, with paths as they are to be written in `folder`. `None` when one of the scripts
/// has errors.
///
/// A path of a sink stays as it is written, as the sink is named after it; whether the script means the same in `folder`
/// has to be checked.
pub fn save(input: &Input, kinds: &Kinds, outside: &dyn Outside, folder: &Path) -> Option<Saved> {
    let set = load(input, kinds, outside);
    if set.diagnostics.iter().any(|finding| finding.is_error()) {
        return None;
    }
    let keys = secret_keys(kinds);
    let scripts: BTreeMap<SourceId, Script> =
        set.texts.iter().map(|(id, text)| (*id, parse(*id, text.expose()).0)).collect();
    let statements: BTreeMap<Place, &Spanned<Statement>> = scripts
        .values()
        .flat_map(|script| &script.statements)
        .map(|statement| (place(statement.span), statement))
        .collect();
    let hidden = secret_variables(&set.statements, &keys);
    let is_counted = |(name, _): &&(String, String)| !set.typed_lets.contains(name);
    let (left_out, sets): (Vec<_>, Vec<_>) =
        input.sets.iter().filter(is_counted).partition(|(name, _)| hidden.contains(name));
    let taken = set.replaced.values().flatten().copied().collect();
    let writer = Writer {
        set: &set,
        scripts: &scripts,
        statements,
        taken,
        kinds,
        folder,
        sets: sets.into_iter().map(|(name, text)| (name.as_str(), text.as_str())).collect(),
    };
    let texts: Vec<String> = set.roots.iter().map(|root| writer.script(*root)).collect();
    let whole = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let text = format(SourceMap::new().add("saved", ""), &(whole.join("\n\n") + "\n")).ok()?;
    Some(Saved {
        text,
        holds_secrets: set.statements.iter().any(|statement| holds_secret(&statement.node, &keys, &hidden)),
        sets_left_out: left_out.into_iter().map(|(name, _)| name.clone()).collect(),
    })
}

struct Writer<'w> {
    set: &'w ScriptSet,
    scripts: &'w BTreeMap<SourceId, Script>,
    statements: BTreeMap<Place, &'w Spanned<Statement>>,
    /// Statements that stand in the places of earlier ones.
    taken: BTreeSet<Place>,
    kinds: &'w Kinds,
    folder: &'w Path,
    sets: BTreeMap<&'w str, &'w str>,
}

/// A part of a text, and what is written in its place.
type Edit = (Span, String);

impl Writer<'_> {
    /// A text with everything that it includes and that has taken places in it.
    fn script(&self, id: SourceId) -> String {
        let (Some(script), Some(text)) = (self.scripts.get(&id), self.set.texts.get(&id)) else {
            // A module, which is included by its path.
            return String::new();
        };
        let text = text.expose();
        let edits = script.statements.iter().map(|statement| {
            let written = match &statement.node {
                Statement::Include(include) => self.include(statement, include),
                _ if self.taken.contains(&place(statement.span)) => String::new(),
                _ => self.statement(statement),
            };
            (statement.span, written)
        });
        edited(text, 0, edits.collect())
    }

    fn include(&self, statement: &Spanned<Statement>, include: &Include) -> String {
        match self.set.included.get(&place(statement.span)) {
            Some(script) if self.scripts.contains_key(script) => self.script(*script).trim().to_owned(),
            Some(_) => {
                let path = (include.path.span, quote(&self.path(&include.path.node, include.path.span)));
                self.written(statement.span, vec![path])
            }
            // It stands there already.
            None => String::new(),
        }
    }

    /// A statement, or the one that has taken its place, or nothing where it was taken out.
    fn statement(&self, statement: &Spanned<Statement>) -> String {
        let mut statement = statement;
        while let Some(next) = self.set.replaced.get(&place(statement.span)) {
            match next.as_ref().and_then(|next| self.statements.get(next)) {
                Some(next) => statement = next,
                None => return String::new(),
            }
        }
        let mut edits = Vec::new();
        self.edits(&statement.node, &mut edits);
        self.written(statement.span, edits)
    }

    /// A part of a text, with other words at some places.
    fn written(&self, span: Span, edits: Vec<Edit>) -> String {
        let text = self.set.texts.get(&span.source).map_or("", |text| text.expose());
        edited(text.get(span.range()).unwrap_or_default(), span.start as usize, edits)
    }

    /// What has to be written in other words: paths, and values that `--set` has replaced.
    fn edits(&self, statement: &Statement, edits: &mut Vec<Edit>) {
        match statement {
            Statement::Let(binding) => match self.sets.get(binding.name.as_str()) {
                Some(text) => {
                    let written = match set_value(text, &binding.value.node) {
                        Value::Text(text) => quote(&text),
                        Value::Number(number) => number.to_string(),
                        _ => (*text).to_owned(),
                    };
                    edits.push((binding.value.span, written));
                }
                None => self.value(&binding.value, false, edits),
            },
            Statement::Connection(connection) => {
                let kind = connection.kind.given().and_then(|kind| self.kinds.get(kind));
                let is_path = kind
                    .is_some_and(|kind| matches!(kind.endpoint, EndpointSpec::Folder | EndpointSpec::File));
                let endpoint = connection.endpoint.as_ref().and_then(|endpoint| endpoint.given());
                if let Some(endpoint) = endpoint.filter(|_| is_path) {
                    edits.push((endpoint.span, quote(&self.path(&endpoint.node, endpoint.span))));
                }
                self.settings(&connection.settings, edits);
            }
            other => settings_of(other).into_iter().for_each(|settings| self.settings(settings, edits)),
        }
    }

    fn settings(&self, settings: &Settings, edits: &mut Vec<Edit>) {
        for entry in settings.entries() {
            let is_path = self
                .kinds
                .setting_lists()
                .flatten()
                .any(|spec| spec.key == entry.key.node && spec.ty == SettingType::Path);
            self.value(&entry.value, is_path, edits);
        }
    }

    fn value(&self, value: &Spanned<Value>, is_path: bool, edits: &mut Vec<Edit>) {
        match &value.node {
            Value::Text(path) if is_path => edits.push((value.span, quote(&self.path(path, value.span)))),
            Value::Call(call) if call.function.node == "file" => {
                for argument in &call.arguments {
                    self.value(argument, true, edits);
                }
            }
            _ => {}
        }
    }

    /// A path that stands at `span`, as it is to be written.
    fn path(&self, path: &str, span: Span) -> String {
        if Path::new(path).is_absolute() || self.set.folder(span.source) == self.folder {
            return path.to_owned();
        }
        let absolute: PathBuf = self.set.absolute(path, span);
        absolute.strip_prefix(self.folder).unwrap_or(&absolute).display().to_string()
    }
}

/// A text that begins at `start` of its file, with other words at some places.
fn edited(text: &str, start: usize, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut written = String::with_capacity(text.len());
    let mut at = 0;
    for (span, replacement) in edits {
        let (from, to) =
            ((span.start as usize).saturating_sub(start), (span.end as usize).saturating_sub(start));
        written.push_str(text.get(at..from).unwrap_or_default());
        written.push_str(&replacement);
        at = to;
    }
    written + text.get(at..).unwrap_or_default()
}

/// The blocks of settings in a statement.
fn settings_of(statement: &Statement) -> Vec<&Settings> {
    match statement {
        Statement::Connection(connection) => vec![&connection.settings],
        Statement::ShareMining(mining) => vec![&mining.settings],
        Statement::Pipeline(pipeline) => pipeline_settings(pipeline),
        _ => Vec::new(),
    }
}

fn pipeline_settings(pipeline: &Pipeline) -> Vec<&Settings> {
    use crate::lang::ast::{Flow, FlowEnd};
    fn of_flow<'f>(flow: &'f Flow, found: &mut Vec<&'f Settings>) {
        match &flow.end {
            FlowEnd::Sink(sink) => found.push(&sink.settings),
            FlowEnd::Branches(flows) => flows.iter().for_each(|flow| of_flow(flow, found)),
        }
    }
    let mut found = vec![&pipeline.settings];
    found.extend(pipeline.sources.iter().map(|source| &source.settings));
    of_flow(&pipeline.flow, &mut found);
    found
}

/// The names of values that secrets are taken from.
fn secret_variables(statements: &[Spanned<Statement>], keys: &BTreeSet<&'static str>) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = statements
        .iter()
        .flat_map(|statement| settings_of(&statement.node))
        .flat_map(Settings::entries)
        .filter(|entry| keys.contains(entry.key.as_str()))
        .filter_map(|entry| variable(&entry.value.node))
        .collect();
    // A value may be another name for the secret one.
    loop {
        let more: Vec<String> = statements
            .iter()
            .filter_map(|statement| match &statement.node {
                Statement::Let(binding) if found.contains(binding.name.as_str()) => {
                    variable(&binding.value.node)
                }
                _ => None,
            })
            .filter(|name| !found.contains(name))
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// Whether a secret stands in a statement in plain text.
fn holds_secret(statement: &Statement, keys: &BTreeSet<&'static str>, hidden: &BTreeSet<String>) -> bool {
    let is_text = |value: &Spanned<Value>| matches!(value.node, Value::Text(_));
    match statement {
        Statement::Let(binding) => hidden.contains(binding.name.as_str()) && is_text(&binding.value),
        other => settings_of(other)
            .into_iter()
            .flat_map(Settings::entries)
            .any(|entry| keys.contains(entry.key.as_str()) && is_text(&entry.value)),
    }
}

fn variable(value: &Value) -> Option<String> {
    match value {
        Value::Variable(name) => Some(name.clone()),
        _ => None,
    }
}
