//! Pipelines: what they read, what they do, and where it goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Checker;
use super::connections::{Connections, Role};
use super::hooks::HookUse;
use super::mining::Mines;
use super::model::{Flow, FlowEnd, Input, Pipeline, Sink, Stage};
use super::names::{Names, table_label};
use super::settings::Owner;
use super::specs::PIPELINE;
use crate::lang::ast::{self, Slot, Target};
use crate::lang::codes::Code;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::Span;
use crate::model::connection::{Connection, Endpoint};
use crate::model::spec::{EndpointSpec, KindSpec, Settings, TargetSpec};
use crate::model::table::{Pattern, TableSet};

/// A path that stands for standard output.
const STDOUT: &str = "-";

impl<'a> Checker<'a> {
    /// Checks every pipeline. One with an error is left out.
    pub(super) fn pipelines(
        &mut self,
        names: &Names<'a>,
        connections: &mut Connections<'a>,
        mines: &Mines,
    ) -> Vec<Pipeline> {
        self.modules();
        let mut paths: BTreeMap<String, Span> = BTreeMap::new();
        let mut pipelines = Vec::new();
        for (name, ast) in &names.pipelines {
            let settings = self.pipeline_settings(names, ast);
            let inputs = self.inputs(names, ast, connections, mines);
            let mut targets: BTreeMap<String, Span> = BTreeMap::new();
            let mut place = SinkPlace { inputs: inputs.as_deref(), targets: &mut targets, paths: &mut paths };
            let flow = self.flow(names, &ast.flow.node, connections, &mut place);
            let looked_up = std::mem::take(&mut self.looked_up).into_iter();
            let lookups =
                looked_up.filter_map(|name| Some((name.clone(), connections.make(&name, self)?))).collect();
            if let (Some(inputs), Some(flow)) = (inputs, flow) {
                pipelines.push(Pipeline { name: name.clone(), settings, inputs, flow, lookups });
            }
        }
        pipelines
    }

    fn pipeline_settings(&mut self, names: &Names<'a>, ast: &ast::Pipeline) -> Settings {
        let span = ast.name.as_ref().map_or(ast.flow.span, |name| name.span);
        let owner = Owner { what: "a pipeline", span, connection: None };
        let block = self.settings(names, &ast.settings, &[PIPELINE], owner);
        let chosen = |key: &str, usual: &str| {
            let word = block.settings.choice(key).filter(|word| *word != usual)?;
            Some((format!("{key} = {word}"), *block.places.get(key)?))
        };
        let snapshot = chosen("snapshot", "never");
        if let Some((what, span)) = snapshot {
            self.refuses_run(&what, "rows that were there before the log begins are not copied; copy them by other means and leave the setting out", span);
        }
        block.settings
    }

    fn inputs(
        &mut self,
        names: &Names<'a>,
        ast: &ast::Pipeline,
        connections: &mut Connections<'a>,
        mines: &Mines,
    ) -> Option<Vec<Input>> {
        let mut inputs: Vec<(Input, Span)> = Vec::new();
        let mut all_right = true;
        for source in &ast.sources {
            let Some(input) = self.input(names, source, connections, mines) else {
                all_right = false;
                continue;
            };
            let same = |(known, _): &&mut (Input, Span)| known.connection.name == input.connection.name;
            match inputs.iter_mut().find(same) {
                None => inputs.push((input, source.span)),
                Some((known, _)) if known.mine == input.mine && known.settings == input.settings => {
                    for pattern in input.tables.include {
                        if !known.tables.include.contains(&pattern) {
                            known.tables.include.push(pattern);
                        }
                    }
                }
                Some((known, span)) => {
                    let what = format!("this pipeline reads `{}` in two ways", known.connection.name);
                    let finding = Diagnostic::new(Code::E0507, source.span, what)
                        .related(*span, "the other way")
                        .note("a pipeline has one place in the history of each connection")
                        .help("write both alike, or make two pipelines of it");
                    self.report(finding);
                    all_right = false;
                }
            }
        }
        all_right.then(|| inputs.into_iter().map(|(input, _)| input).collect())
    }

    fn input(
        &mut self,
        names: &Names<'a>,
        source: &ast::Spanned<ast::Source>,
        connections: &mut Connections<'a>,
        mines: &Mines,
    ) -> Option<Input> {
        let kind = self.kind(&source.kind, "source", |kind| Role::Source.fits(kind));
        let kind_span = source.kind.given().map_or(source.span, |name| name.span);
        let kind = kind.filter(|kind| self.can_be(kind, Role::Source, kind_span));
        let tables = match &source.tables {
            Slot::Given(tables) => tables,
            Slot::Hole(hole) => {
                self.missing_tables(hole.span, kind, Role::Source, connections);
                return None;
            }
        };
        let name = &tables.connection;
        let declared = connections.find(name, Role::Source, self)?;
        let (database, is_sound, declared_at) =
            (declared.database(), declared.is_sound(), declared.declared_at);
        let of_kind = declared.kind;
        let include = self.patterns(tables);
        let settings = kind.map(|kind| {
            let what = format!("source {}", kind.name);
            let owner = Owner { what: &what, span: kind_span, connection: Some(name) };
            self.settings(names, &source.settings, &[kind.source.unwrap_or_default()], owner).settings
        });
        if !self.kinds_agree(kind, of_kind, source.kind.given(), name, declared_at) || !is_sound {
            return None;
        }
        let Some(database) = database else {
            let finding = Diagnostic::new(
                Code::E0307,
                name.span,
                format!("`{}` does not say which database its tables are in", name.node),
            )
            .related(declared_at, "declared here");
            self.report(match of_kind.map(|kind| kind.endpoint) {
                Some(EndpointSpec::Url { .. }) => {
                    finding.help("end its address with the database: …:3306/shop")
                }
                _ => finding.help("add { database = \"shop\" } to the connection"),
            });
            return None;
        };
        let mine = match &source.mining {
            None => None,
            // A mine that could not be made was reported.
            Some(_) => Some(Arc::clone(mines.get(name)?)),
        };
        let connection = connections.make(name, self)?;
        let exclude = mine.as_ref().and_then(|mine| mine.settings.tables("exclude")).unwrap_or_default();
        let tables =
            TableSet { database, include: include?, exclude: exclude.into_iter().map(Pattern).collect() };
        self.none_is_left_out(source, &tables);
        Some(Input { connection, tables, mine, settings: settings? })
    }

    /// Reports tables that are asked for by name, and that their mine leaves out.
    fn none_is_left_out(&mut self, source: &ast::Source, tables: &TableSet) {
        let names = source.tables.given().map(|tables| tables.tables.as_slice()).unwrap_or_default();
        for name in names.iter().filter_map(|name| name.given()).filter(|name| !name.contains('*')) {
            if let Some(pattern) = tables.exclude.iter().find(|pattern| pattern.matches(name)) {
                let finding =
                    Diagnostic::new(Code::E0510, name.span, format!("`{}` is never mined", name.node))
                        .note(format!("the shared mining of this connection excludes `{}`", pattern.0))
                        .help("take it out of `exclude`, or read it without share_mining");
                self.report(finding);
            }
        }
    }

    /// The names and patterns of a reference; `None` when one is left open, which is reported.
    pub(super) fn patterns(&mut self, tables: &ast::TableRef) -> Option<Vec<Pattern>> {
        let mut patterns = Vec::new();
        let mut whole = true;
        for slot in &tables.tables {
            match slot {
                Slot::Given(name) => patterns.push(Pattern(name.node.clone())),
                Slot::Hole(hole) => {
                    whole = false;
                    let finding = Diagnostic::new(
                        Code::E0501,
                        hole.span,
                        format!("the name of a table of `{}` is missing here", tables.connection.node),
                    );
                    self.report(finding.help(
                        "write a name, a set such as `{orders, order_items}`, or a pattern such as `*`",
                    ));
                }
            }
        }
        whole.then_some(patterns)
    }

    fn missing_tables(
        &mut self,
        span: Span,
        kind: Option<&KindSpec>,
        role: Role,
        connections: &Connections<'a>,
    ) {
        let fits = |candidate: &KindSpec| match kind {
            Some(kind) => candidate.name == kind.name,
            None => role.fits(candidate),
        };
        let candidates = connections.names(fits);
        let whose = kind.map_or(String::new(), |kind| format!(" of kind {}", kind.name));
        let finding = Diagnostic::new(Code::E0501, span, "connection and table are missing here");
        self.report(match candidates.as_slice() {
            [] => finding
                .help(format!("declare a connection{whose}, then write its name with a table behind a dot")),
            [first, ..] => finding
                .note(format!("connections{whose}: {}", candidates.join(", ")))
                .help(format!("write for example {first}.orders")),
        });
    }

    /// Reports when a statement names another kind than its connection has.
    fn kinds_agree(
        &mut self,
        wanted: Option<&KindSpec>,
        found: Option<&KindSpec>,
        word: Option<&ast::Name>,
        connection: &ast::Name,
        declared_at: Span,
    ) -> bool {
        let (Some(wanted), Some(found), Some(word)) = (wanted, found, word) else { return false };
        if wanted.name == found.name {
            return true;
        }
        let what =
            format!("`{}` is a connection of kind {}, not {}", connection.node, found.name, wanted.name);
        let finding = Diagnostic::new(Code::E0204, word.span, what)
            .related(declared_at, "declared here")
            .suggest(word.span, found.name, "name the kind of the connection");
        self.report(finding);
        false
    }

    fn flow(
        &mut self,
        names: &Names<'a>,
        flow: &ast::Flow,
        connections: &mut Connections<'a>,
        place: &mut SinkPlace<'_>,
    ) -> Option<Flow> {
        let stages: Vec<Option<Stage>> = flow.stages.iter().map(|stage| self.stage(&stage.node)).collect();
        let end = match &flow.end {
            ast::FlowEnd::Sink(sink) => self.sink(names, sink, connections, place).map(FlowEnd::Sink),
            ast::FlowEnd::Branches(branches) => {
                let flows: Vec<Option<Flow>> = branches
                    .iter()
                    .map(|branch| self.flow(names, &branch.node, connections, place))
                    .collect();
                flows.into_iter().collect::<Option<Vec<Flow>>>().map(FlowEnd::Branches)
            }
        };
        Some(Flow { stages: stages.into_iter().collect::<Option<_>>()?, end: end? })
    }

    fn stage(&mut self, stage: &ast::Stage) -> Option<Stage> {
        match stage {
            ast::Stage::Filter(code) => self.code(code, HookUse::Filter, "filter").map(Stage::Filter),
            ast::Stage::Map(code) => self.code(code, HookUse::Map, "map").map(Stage::Map),
            ast::Stage::Keep(columns) => self.columns(columns, "keep").map(Stage::Keep),
            ast::Stage::Drop(columns) => self.columns(columns, "drop").map(Stage::Drop),
        }
    }

    fn code(
        &mut self,
        slot: &Slot<ast::Code>,
        used: HookUse,
        word: &str,
    ) -> Option<crate::model::hook::Hook> {
        match slot {
            Slot::Given(code) => self.hook(code, used),
            Slot::Hole(hole) => {
                let example = if used == HookUse::Filter {
                    "{ row.amount > 0 }"
                } else {
                    "{ row.total = row.qty * row.price; }"
                };
                let finding =
                    Diagnostic::new(Code::E0501, hole.span, format!("the code of `{word}` is missing here"));
                let finding = finding.help(format!("write Rhai in braces, for example {word} {example}"));
                let modules: Vec<&str> =
                    self.scripts.modules.iter().map(|module| module.name.as_str()).collect();
                self.report(if modules.is_empty() {
                    finding
                } else {
                    finding.note(format!("or a function of an included module: {}", modules.join(", ")))
                });
                None
            }
        }
    }

    fn columns(&mut self, columns: &[Slot<ast::Name>], word: &str) -> Option<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut whole = true;
        for slot in columns {
            match slot {
                Slot::Given(name) if names.contains(&name.node) => {
                    let finding = Diagnostic::new(
                        Code::E0202,
                        name.span,
                        format!("`{word}` names the column `{}` twice", name.node),
                    );
                    self.report(finding.help("remove one of them"));
                }
                Slot::Given(name) => names.push(name.node.clone()),
                Slot::Hole(hole) => {
                    whole = false;
                    let finding =
                        Diagnostic::new(Code::E0501, hole.span, "the name of a column is missing here");
                    self.report(
                        finding.help(format!("write {word} with names of columns and commas between them")),
                    );
                }
            }
        }
        whole.then_some(names)
    }

    fn sink(
        &mut self,
        names: &Names<'a>,
        sink: &ast::Spanned<ast::Sink>,
        connections: &mut Connections<'a>,
        place: &mut SinkPlace<'_>,
    ) -> Option<Sink> {
        let kind_span = sink.kind.given().map_or(sink.span, |name| name.span);
        let kind = self.kind(&sink.kind, "sink", |kind| Role::Sink.fits(kind));
        let kind = kind.filter(|kind| self.can_be(kind, Role::Sink, kind_span));
        let spec = kind.and_then(|kind| kind.sink);
        let settings = kind.zip(spec).map(|(kind, spec)| {
            let what = format!("sink {}", kind.name);
            let owner = Owner { what: &what, span: kind_span, connection: None };
            self.settings(names, &sink.settings, &[spec.settings], owner).settings
        });
        let target = match &sink.target {
            Some(Slot::Hole(hole)) => {
                match spec.map(|spec| spec.target) {
                    Some(TargetSpec::Path) => {
                        let finding = Diagnostic::new(Code::E0501, hole.span, "the path is missing here");
                        self.report(
                            finding.help("write a path in quotes, for example \"audit/{table}.jsonl\""),
                        );
                    }
                    _ => self.missing_tables(hole.span, kind, Role::Sink, connections),
                }
                return None;
            }
            Some(Slot::Given(target)) => Some(target),
            None => None,
        };
        // With an unknown kind, the connection can still be looked up.
        let expected = spec.map(|spec| spec.target).or(target.map(|target| match target {
            Target::Table(_) => TargetSpec::Table,
            Target::Path(_) => TargetSpec::Path,
        }))?;
        let (connection, target, label) = match (expected, target) {
            (TargetSpec::Table, Some(Target::Table(table))) => {
                let (connection, target) = self.sink_table(table, kind, sink, connections, place)?;
                let overwrites =
                    settings.as_ref().and_then(|settings| settings.choice("mode")) != Some("append");
                if let (Some(inputs), false) = (place.inputs, target.contains('*') || !overwrites) {
                    self.warn_of_mixed_tables(inputs, table);
                }
                (Some(connection), target, table_label(table))
            }
            (TargetSpec::Path, Some(Target::Path(path))) => {
                (None, self.sink_path(path, place)?, path.node.clone())
            }
            (TargetSpec::Nothing, None) => (None, String::new(), kind?.name.to_owned()),
            (expected, target) => {
                self.wrong_target(expected, target, kind, kind_span);
                return None;
            }
        };
        let kind = kind?;
        // A kind with connections was reported at its connection.
        if let Some(why) = kind.not_built_in.filter(|_| connection.is_none()) {
            self.refuses_run(&format!("sink {}", kind.name), why, kind_span);
        }
        Some(Sink { kind: kind.name, connection, target, label, settings: settings? })
    }

    fn sink_table(
        &mut self,
        table: &ast::Spanned<ast::TableRef>,
        kind: Option<&KindSpec>,
        sink: &ast::Sink,
        connections: &mut Connections<'a>,
        place: &mut SinkPlace<'_>,
    ) -> Option<(Arc<Connection>, String)> {
        let name = &table.connection;
        let declared = connections.find(name, Role::Sink, self)?;
        let (of_kind, declared_at) = (declared.kind, declared.declared_at);
        let agreed = self.kinds_agree(kind, of_kind, sink.kind.given(), name, declared_at);
        let patterns = self.patterns(table)?;
        let [Pattern(target)] = patterns.as_slice() else {
            let finding = Diagnostic::new(
                Code::E0504,
                table.span,
                "a sink writes to one table, or to one for each source table",
            )
            .help(format!("write `*` where the source table's name belongs: {}.*", name.node));
            self.report(finding);
            return None;
        };
        if target.matches('*').count() > 1 {
            let finding =
                Diagnostic::new(Code::E0504, table.span, "the name of a sink's table has more than one `*`")
                    .note("`*` stands for the source table's name")
                    .help("write it once");
            self.report(finding);
            return None;
        }
        let label = format!("{} {}", kind.map_or("", |kind| kind.name), table_label(table));
        if let Some(first) = place.targets.insert(label, table.span) {
            let finding = Diagnostic::new(Code::E0508, table.span, format!("two branches of one pipeline write to `{}`", table_label(table)))
                .related(first, "the other one")
                .note("each branch writes at its own pace, so that changes of one row could arrive in the wrong order")
                .help("join the branches before the sink: do in one `map` what they do");
            self.report(finding);
            return None;
        }
        if !agreed {
            return None;
        }
        let connection = connections.make(name, self)?;
        let back =
            |input: &&Input| same_place(&input.connection, &connection) && comes_back(&input.tables, target);
        if let Some(input) = place.inputs.unwrap_or_default().iter().find(back) {
            let what = format!("`{}` is written to and read from by one pipeline", table_label(table));
            let finding = Diagnostic::new(Code::E0511, table.span, what)
                .note(format!(
                    "every change would come back through `{}`, without end",
                    input.connection.name
                ))
                .help("write to another database, or to tables that the source leaves out");
            self.report(finding);
            return None;
        }
        Some((connection, target.clone()))
    }

    fn sink_path(&mut self, path: &ast::Spanned<String>, place: &mut SinkPlace<'_>) -> Option<String> {
        if path.node == STDOUT {
            return Some(path.node.clone());
        }
        let unknown =
            placeholders(&path.node).into_iter().find(|name| !matches!(*name, "table" | "database"));
        if let Some(unknown) = unknown {
            let finding = Diagnostic::new(
                Code::E0505,
                path.span,
                format!("nothing can stand for `{{{unknown}}}` in a path"),
            )
            .help("write {table} or {database}");
            self.report(finding);
            return None;
        }
        if path.node.is_empty() || path.node.ends_with('/') || Path::new(&path.node).file_name().is_none() {
            let finding = Diagnostic::new(Code::E0505, path.span, "this is not the path of a file");
            self.report(finding.help("write for example \"audit/{table}.jsonl\""));
            return None;
        }
        let absolute = self.scripts.absolute(&path.node, path.span).display().to_string();
        if let Some(first) = place.paths.insert(absolute.clone(), path.span) {
            let finding = Diagnostic::new(Code::E0508, path.span, "two sinks write to this file")
                .related(first, "the other one")
                .help("give each a file of its own");
            self.report(finding);
            return None;
        }
        Some(absolute)
    }

    fn wrong_target(
        &mut self,
        expected: TargetSpec,
        target: Option<&Target>,
        kind: Option<&KindSpec>,
        span: Span,
    ) {
        let name = kind.map_or("this sink", |kind| kind.name);
        let span = match target {
            Some(Target::Table(table)) => table.span,
            Some(Target::Path(path)) => path.span,
            None => span,
        };
        let (what, help) = match expected {
            TargetSpec::Table => ("a table of a connection", format!("write sink {name} connection.table")),
            TargetSpec::Path => ("a path in quotes", format!("write sink {name} \"audit/{{table}}.jsonl\"")),
            TargetSpec::Nothing => ("nothing", format!("write sink {name}")),
        };
        self.report(
            Diagnostic::new(Code::E0505, span, format!("behind `sink {name}` stands {what}")).help(help),
        );
    }

    fn warn_of_mixed_tables(&mut self, inputs: &[Input], table: &ast::Spanned<ast::TableRef>) {
        let mut sources: Vec<&Pattern> = inputs.iter().flat_map(|input| &input.tables.include).collect();
        sources.sort();
        sources.dedup();
        if sources.len() < 2 && !sources.iter().any(|pattern| pattern.is_wild()) {
            return;
        }
        let label = table_label(table);
        let finding = Diagnostic::new(
            Code::W0501,
            table.span,
            format!("rows of several tables go into one, `{label}`"),
        )
        .note("rows of different tables with the same key overwrite each other there")
        .help(format!("write `*` for the source table's name, for example {}.*", table.connection.node));
        self.report(finding);
    }
}

/// What a sink must get along with.
struct SinkPlace<'p> {
    /// The inputs of its pipeline, when they are right.
    inputs: Option<&'p [Input]>,
    /// Tables that the pipeline writes to.
    targets: &'p mut BTreeMap<String, Span>,
    /// Files that any pipeline writes to.
    paths: &'p mut BTreeMap<String, Span>,
}

/// Whether two connections lead to the same database.
fn same_place(one: &Connection, other: &Connection) -> bool {
    match (&one.endpoint, &other.endpoint) {
        (
            Endpoint::Url { host, port, database, .. },
            Endpoint::Url { host: other_host, port: other_port, database: other_database, .. },
        ) => one.kind == other.kind && (host, port, database) == (other_host, other_port, other_database),
        _ => one.name == other.name,
    }
}

/// Whether what is written to `target` is among the tables that are read. A pattern stands for the shortest name that fits.
fn comes_back(tables: &TableSet, target: &str) -> bool {
    tables.include.iter().any(|pattern| {
        let written = target.replace('*', &pattern.0.replace('*', ""));
        tables.contains(&tables.database, &written)
    })
}

/// The names between braces.
fn placeholders(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect()
}
