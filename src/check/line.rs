//! From the text or tree of a command to what it means: each verb with its forms, names with "did you mean".

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Command, Known, KnownMine, there_are};
use super::load::ScriptSet;
use super::model::Subject;
use super::names::{Names, table_label};
use super::settings::{Block, Owner};
use super::specs::SHARE_MINING;
use super::written::setting_text;
use super::{Checker, Input, Kinds, Outside};
use crate::lang::ast::{self, Argument, Spanned, Value};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::parse::{how_to_write, parse_line};
use crate::lang::span::{SourceMap, Span};
use crate::lang::verb::Verb;
use crate::model::position::Seq;
use crate::model::spec::{Place, Settings, Start};
use crate::model::table::TableSet;

/// What became of one command's text.
#[derive(Debug)]
pub struct CheckedLine {
    /// The command; `None` when one of the findings is an error.
    pub command: Option<Command>,
    /// All findings.
    pub diagnostics: Vec<Diagnostic>,
    /// The text, for rendering them.
    pub sources: SourceMap,
}

/// Reads and checks one command. `name` is what messages call the text.
pub fn check_line(
    name: &str,
    text: &str,
    kinds: &Kinds,
    outside: &dyn Outside,
    known: &Known,
) -> CheckedLine {
    let mut scripts = ScriptSet::default();
    let id = scripts.sources.add(name, text);
    let (tree, findings) = parse_line(id, text);
    let input = Input::new("/");
    let mut checker = line_checker(&input, kinds, outside, &scripts);
    checker.diagnostics = findings;
    let command = tree.and_then(|tree| checker.command(&tree, &Names::default(), known));
    let diagnostics = std::mem::take(&mut checker.diagnostics);
    let command = command.filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
    CheckedLine { command, diagnostics, sources: scripts.sources }
}

/// The values of settings of a mine, as [`Command::Set`] has them.
///
/// # Errors
/// The findings, when this build takes one of them no longer.
pub fn mine_settings(
    kinds: &Kinds,
    outside: &dyn Outside,
    mine: &KnownMine,
    settings: &BTreeMap<String, String>,
) -> Result<Settings, (Vec<Diagnostic>, SourceMap)> {
    let entries: Vec<String> = settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let text = format!("set {} {{ {} }}", mine.connection, entries.join(", "));
    let mut scripts = ScriptSet::default();
    let id = scripts.sources.add("settings", text.as_str());
    let (tree, findings) = parse_line(id, &text);
    let input = Input::new("/");
    let mut checker = line_checker(&input, kinds, outside, &scripts);
    checker.diagnostics = findings;
    let settings = tree.map(|tree| checker.given_settings(&tree, &Names::default(), mine));
    let diagnostics = std::mem::take(&mut checker.diagnostics);
    match settings {
        Some(settings) if !diagnostics.iter().any(Diagnostic::is_error) => Ok(settings),
        _ => Err((diagnostics, scripts.sources)),
    }
}

fn line_checker<'a>(
    input: &'a Input,
    kinds: &'a Kinds,
    outside: &'a dyn Outside,
    scripts: &'a ScriptSet,
) -> Checker<'a> {
    Checker {
        input,
        kinds,
        outside,
        scripts,
        diagnostics: Vec::new(),
        masks: Vec::new(),
        not_yet: Vec::new(),
        sending_connections: Vec::new(),
        mentioned: BTreeSet::new(),
    }
}

impl Checker<'_> {
    /// Looks up the names of a command. `None` was reported.
    pub(super) fn command(
        &mut self,
        command: &Spanned<ast::Command>,
        names: &Names<'_>,
        known: &Known,
    ) -> Option<Command> {
        let mut reading =
            Reading { verb: command.verb.clone(), known, arguments: &command.arguments, read: 0 };
        let whole = self.verb(&mut reading, command, names)?;
        if let Some(more) = reading.arguments.get(reading.read) {
            let what = format!("`{}` ends before this", reading.verb.as_str());
            self.report(reading.not_whole(more.span, what));
            return None;
        }
        if let Some(span) = command.settings.span().filter(|_| command.verb.node != Verb::Set) {
            let what = format!("`{}` has no settings", reading.verb.as_str());
            self.report(reading.not_whole(span, what));
            return None;
        }
        Some(whole)
    }

    fn verb(
        &mut self,
        reading: &mut Reading<'_>,
        command: &ast::Command,
        names: &Names<'_>,
    ) -> Option<Command> {
        Some(match command.verb.node {
            Verb::Status => match reading.is_over() {
                true => Command::Status { of: None },
                false => Command::Status { of: Some(self.named(reading)?) },
            },
            Verb::Mines => Command::Mines,
            Verb::Pipelines => Command::Pipelines,
            Verb::Tables => Command::Tables { mine: self.named_mine(reading)? },
            Verb::Show => return self.show(reading),
            Verb::Start => Command::Start { of: self.all(reading, Self::named)? },
            Verb::Stop => Command::Stop { of: self.all(reading, Self::named)? },
            Verb::Restart => Command::Restart { pipelines: self.all(reading, Self::named_pipeline)? },
            Verb::Pause => Command::Pause { of: self.all(reading, Self::pausable)? },
            Verb::Resume => {
                let arguments = reading.arguments;
                let accept_gap = matches!(arguments, [.., accept, gap] if is_word(accept, "accept") && is_word(gap, "gap"));
                if accept_gap {
                    reading.arguments = &arguments[..arguments.len() - 2];
                }
                Command::Resume { of: self.all(reading, Self::pausable)?, accept_gap }
            }
            Verb::Set => {
                let connection = self.named_mine(reading)?;
                let mine = reading.known.mine(&connection)?;
                if command.settings.entries().is_empty() {
                    let span = command.verb.span;
                    self.report(reading.not_whole(span, "`set` does not say which setting".to_owned()));
                    return None;
                }
                let settings = self.given_settings(command, names, mine);
                let text = |(key, setting)| (str::to_owned(key), setting_text(setting, Some(&connection)));
                let settings = settings.0.iter().map(|(key, setting)| text((key, setting))).collect();
                Command::Set { mine: connection, settings }
            }
            Verb::Rewind => {
                let pipeline = self.named_pipeline(reading)?;
                let to = self.rewind_place(reading)?;
                Command::Rewind { pipeline, to }
            }
            Verb::Skip => Command::Skip { pipeline: self.named_pipeline(reading)? },
            Verb::Apply => Command::Apply { file: self.file(reading)? },
            Verb::Diff => Command::Diff { file: self.file(reading)? },
            Verb::Audit => match reading.next() {
                None => Command::Audit { count: None },
                Some(Spanned { node: Argument::Number(number), .. }) if number.as_integer().is_some() => {
                    Command::Audit { count: number.as_integer() }
                }
                Some(other) => {
                    let what = "`audit` takes a whole number".to_owned();
                    self.report(reading.not_whole(other.span, what));
                    return None;
                }
            },
            Verb::Alerts => Command::Alerts,
            Verb::Mute | Verb::Unmute | Verb::Ack => return self.quiet(reading),
            Verb::Help => Command::Help { about: reading.next().map(argument_text) },
            Verb::Explain => match reading.next() {
                Some(argument) => Command::Explain { word: argument_text(argument) },
                None => {
                    let what = "`explain` does not say what".to_owned();
                    self.report(reading.not_whole(command.verb.span, what));
                    return None;
                }
            },
            Verb::Peek => {
                let (look, limit) = self.look(reading)?;
                Command::Peek { look, limit }
            }
            Verb::Tail => Command::Tail { look: self.look(reading)?.0 },
        })
    }

    /// `mute lag of sales for 1h`: whether there is such an alert is known only where it is watched.
    fn quiet(&mut self, reading: &mut Reading<'_>) -> Option<Command> {
        let (mut words, mut time) = (Vec::new(), None);
        let span = reading.verb.span;
        while let Some(argument) = reading.next() {
            match &argument.node {
                Argument::Word(word) if word == "for" && reading.verb.node == Verb::Mute => {
                    time = match reading.next().map(|next| &next.node) {
                        Some(Argument::Number(number)) => number.as_duration(),
                        _ => None,
                    };
                    if time.is_none_or(|time| time.is_zero()) {
                        self.report(reading.not_whole(argument.span, "`for` takes a duration".to_owned()));
                        return None;
                    }
                }
                Argument::Hole | Argument::Number(_) | Argument::Call(_) => {
                    self.report(reading.not_whole(argument.span, "this is no name of an alert".to_owned()));
                    return None;
                }
                _ => words.push(argument_text(argument)),
            }
        }
        let name = words.join(" ");
        if name.is_empty() {
            let what = format!("`{}` does not say which alert", reading.verb.as_str());
            self.report(reading.not_whole(span, what));
            return None;
        }
        Some(match reading.verb.node {
            Verb::Mute => Command::Mute { name, time },
            Verb::Unmute => Command::Unmute { name },
            _ => Command::Ack { name },
        })
    }

    fn show(&mut self, reading: &mut Reading<'_>) -> Option<Command> {
        let first = reading.arguments.first();
        let word = |word: &str| first.is_some_and(|first| is_word(first, word));
        if reading.arguments.len() == 1 && (word("mines") || word("pipelines")) {
            reading.read = 1;
            return Some(if word("mines") { Command::Mines } else { Command::Pipelines });
        }
        if reading.arguments.len() > 1 && (word("mine") || word("pipeline") || word("tables")) {
            let (mine, tables) = (word("mine"), word("tables"));
            reading.read = 1;
            return Some(if tables {
                Command::Tables { mine: self.named_mine(reading)? }
            } else if mine {
                Command::Show { of: Subject::Mine(self.named_mine(reading)?) }
            } else {
                Command::Show { of: Subject::Pipeline(self.named_pipeline(reading)?) }
            });
        }
        Some(Command::Show { of: self.named(reading)? })
    }

    fn file(&mut self, reading: &mut Reading<'_>) -> Option<Option<String>> {
        match reading.next() {
            None => Some(None),
            Some(Spanned { node: Argument::Text(path), .. }) => Some(Some(path.clone())),
            Some(other) => {
                let what = format!("`{}` takes a path in quotes", reading.verb.as_str());
                self.report(reading.not_whole(other.span, what));
                None
            }
        }
    }

    /// One or more of what `read` reads; none is reported.
    fn all<T>(
        &mut self,
        reading: &mut Reading<'_>,
        mut read: impl FnMut(&mut Self, &mut Reading<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        // Each of them is looked at, so that every wrong one is reported.
        let mut found = vec![read(self, reading)];
        while !reading.is_over() {
            found.push(read(self, reading));
        }
        found.into_iter().collect()
    }

    /// A pipeline or a mine.
    pub(super) fn named(&mut self, reading: &mut Reading<'_>) -> Option<Subject> {
        let (name, span) = self.name(reading)?;
        if reading.known.has_pipeline(&name) {
            return Some(Subject::Pipeline(name));
        }
        if let Some(mine) = reading.known.mine(&name) {
            return Some(Subject::Mine(mine.connection.clone()));
        }
        let finding =
            Diagnostic::new(Code::E0208, span, format!("there is no pipeline and no mine named `{name}`"));
        let finding = match reading.known.not_mined.contains(&name) {
            true => finding.note(format!("`{name}` is a connection that is not mined")),
            false => finding,
        };
        self.unknown(finding, &name, span, reading.known.subjects());
        None
    }

    fn named_pipeline(&mut self, reading: &mut Reading<'_>) -> Option<String> {
        let (name, span) = self.name(reading)?;
        if reading.known.has_pipeline(&name) {
            return Some(name);
        }
        let mut finding = Diagnostic::new(Code::E0208, span, format!("there is no pipeline named `{name}`"));
        if reading.known.mine(&name).is_some() {
            finding =
                finding.note(format!("`{name}` is a mine, and `{}` is for pipelines", reading.verb.as_str()));
        }
        self.unknown(finding, &name, span, reading.known.pipelines.iter().map(String::as_str).collect());
        None
    }

    fn named_mine(&mut self, reading: &mut Reading<'_>) -> Option<String> {
        let (name, span) = self.name(reading)?;
        if let Some(mine) = reading.known.mine(&name) {
            return Some(mine.connection.clone());
        }
        let mut finding = Diagnostic::new(Code::E0208, span, format!("there is no mine named `{name}`"));
        if reading.known.has_pipeline(&name) {
            finding =
                finding.note(format!("`{name}` is a pipeline, and `{}` is for mines", reading.verb.as_str()));
        }
        self.unknown(finding, &name, span, reading.known.mine_names().collect());
        None
    }

    /// A pipeline, or tables of a mine.
    pub(super) fn pausable(&mut self, reading: &mut Reading<'_>) -> Option<Subject> {
        if let Some(Spanned { node: Argument::Tables(tables), span }) = reading.peek() {
            let name = &tables.connection;
            let label = table_label(tables);
            let Some(mine) = reading.known.mine(name) else {
                if reading.known.has_pipeline(&label) {
                    reading.read += 1;
                    return Some(Subject::Pipeline(label));
                }
                reading.read += 1;
                let what = format!("there is no mine named `{}`", name.node);
                let finding = Diagnostic::new(Code::E0208, name.span, what);
                self.unknown(finding, name, name.span, reading.known.mine_names().collect());
                return None;
            };
            reading.read += 1;
            let include = self.patterns(tables)?;
            let Some(database) = mine.database.clone() else {
                let what = format!("the tables of `{}` are not known by name", name.node);
                let finding = Diagnostic::new(Code::E0208, *span, what);
                self.report(finding.help("name the database in the connection"));
                return None;
            };
            let tables = TableSet { database, include, exclude: Vec::new() };
            return Some(Subject::Tables { connection: mine.connection.clone(), tables });
        }
        let span = reading.peek().map(|argument| argument.span);
        match (self.named(reading)?, span) {
            (Subject::Mine(mine), Some(span)) => {
                let verb = reading.verb.as_str();
                let what = format!("`{verb}` is for pipelines and tables, and `{mine}` is a mine");
                let instead = if reading.verb.node == Verb::Pause { "stop" } else { "start" };
                let finding = Diagnostic::new(Code::E0512, span, what);
                self.report(
                    finding.help(format!("write {instead} {mine}, or {verb} {mine}.* for all of its tables")),
                );
                None
            }
            (subject, _) => Some(subject),
        }
    }

    /// A name, as a word, in quotes, or with a dot in it.
    fn name(&mut self, reading: &mut Reading<'_>) -> Option<(String, Span)> {
        let verb = reading.verb.clone();
        match reading.next() {
            Some(Spanned { node: Argument::Word(name) | Argument::Text(name), span }) => {
                Some((name.clone(), *span))
            }
            Some(Spanned { node: Argument::Tables(tables), span }) => Some((table_label(tables), *span)),
            Some(Spanned { node: Argument::Hole, span }) => {
                let finding = Diagnostic::new(Code::E0501, *span, "a name is missing here");
                self.report(finding.help(reading.known.subjects_help()));
                None
            }
            Some(Spanned { node: Argument::Number(_) | Argument::Call(_) | Argument::Code(_), span }) => {
                let what = format!("`{}` takes names", verb.as_str());
                self.report(Diagnostic::new(Code::E0208, *span, what).help(reading.known.subjects_help()));
                None
            }
            None => {
                let what = format!("`{}` does not say what", verb.as_str());
                let finding = Diagnostic::new(Code::E0208, verb.span, what);
                self.report(finding.help(reading.known.subjects_help()));
                None
            }
        }
    }

    /// `to` and a place.
    fn rewind_place(&mut self, reading: &mut Reading<'_>) -> Option<Place> {
        let verb_span = reading.verb.span;
        match reading.next() {
            Some(argument) if is_word(argument, "to") => {}
            Some(Spanned { node: Argument::Hole, span }) => {
                self.report(
                    Diagnostic::new(Code::E0501, *span, "the place is missing here")
                        .help(how_to_write(Verb::Rewind)),
                );
                return None;
            }
            other => {
                let span = other.map_or(verb_span, |argument| argument.span);
                let what = "`rewind` does not say where to: after the pipeline comes `to`";
                self.report(reading.not_whole(span, what.to_owned()));
                return None;
            }
        }
        self.log_place(reading, "to")
    }

    /// A place in a log, behind a word.
    pub(super) fn log_place(&mut self, reading: &mut Reading<'_>, word: &str) -> Option<Place> {
        let Some(Spanned { node, span }) = reading.next() else {
            let finding =
                reading.not_whole(reading.verb.span, format!("the place behind `{word}` is missing"));
            self.report(finding);
            return None;
        };
        let text_of = |value: &Spanned<Value>| match &value.node {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let place = match node {
            Argument::Hole => {
                let finding = Diagnostic::new(Code::E0501, *span, "the place is missing here");
                self.report(finding.help(how_to_write(reading.verb.node)));
                return None;
            }
            Argument::Text(text) => match text.parse::<jiff::Timestamp>() {
                Ok(time) => Some(Place::Start(Start::Time(time.as_millisecond()))),
                Err(_) => {
                    let what = format!("`{text}` is not a time with its offset from UTC");
                    self.report(reading.not_whole(*span, what));
                    return None;
                }
            },
            Argument::Word(word) if word == "earliest" => Some(Place::Start(Start::Earliest)),
            Argument::Word(word) if word == "now" => Some(Place::Start(Start::Now)),
            Argument::Word(word) if word == "seq" => match reading.next() {
                Some(Spanned { node: Argument::Number(number), .. }) => {
                    number.as_integer().map(|seq| Place::Seq { seq: Seq(seq) })
                }
                _ => None,
            },
            Argument::Word(word) if word == "gtid" => match reading.next() {
                Some(Spanned { node: Argument::Text(text), .. }) => {
                    Some(Place::Start(Start::Gtid(text.clone())))
                }
                _ => None,
            },
            Argument::Call(call) => match (call.function.as_str(), call.arguments.as_slice()) {
                ("gtid", [text]) => text_of(text).map(Start::Gtid).map(Place::Start),
                ("position", [file, Spanned { node: Value::Number(offset), .. }]) => text_of(file)
                    .zip(offset.as_integer())
                    .map(|(file, offset)| Place::Start(Start::Position { file, offset })),
                _ => None,
            },
            _ => None,
        };
        if place.is_none() {
            self.report(reading.not_whole(*span, "this is no place in a log".to_owned()));
        }
        place
    }

    /// What a block gives to a mine: the keys that stand in it, without defaults.
    fn given_settings(&mut self, command: &ast::Command, names: &Names<'_>, mine: &KnownMine) -> Settings {
        let own = self.kinds.get(mine.store).and_then(|kind| kind.log).unwrap_or_default();
        let span = command.verb.span;
        let owner = Owner { what: "share_mining", span, connection: Some(&mine.connection) };
        let mut block = self.settings(names, &command.settings, &[own, SHARE_MINING], owner);
        self.refuse_what_cannot_run(&block, mine);
        block.settings.0.retain(|key, _| block.places.contains_key(key));
        block.settings
    }

    /// What a run would refuse in a script is no more possible while it runs.
    fn refuse_what_cannot_run(&mut self, block: &Block, mine: &KnownMine) {
        let before = self.diagnostics.len();
        self.mining_not_yet(block, mine.store == "embedded");
        let facts: Vec<_> = self.not_yet.iter().filter(|fact| fact.refuses_run).cloned().collect();
        let places: Vec<_> = self.diagnostics.drain(before..).map(|finding| finding.span).collect();
        for (fact, span) in facts.into_iter().zip(places) {
            let what = format!("this version cannot run {}", fact.what);
            self.report(Diagnostic::new(Code::E0205, span, what).note(fact.why));
        }
    }

    fn unknown(&mut self, finding: Diagnostic, name: &str, span: Span, candidates: Vec<&str>) {
        self.report(match did_you_mean(name, candidates.iter().copied()) {
            Some(near) => finding.suggest(span, near, "did you mean this one?"),
            None => finding.help(there_are(&candidates)),
        });
    }
}

/// The arguments of a command on their way to what they mean.
pub(super) struct Reading<'r> {
    pub(super) verb: Spanned<Verb>,
    pub(super) known: &'r Known,
    arguments: &'r [Spanned<Argument>],
    read: usize,
}

impl<'r> Reading<'r> {
    pub(super) fn is_over(&self) -> bool {
        self.read >= self.arguments.len()
    }

    pub(super) fn peek(&self) -> Option<&'r Spanned<Argument>> {
        self.arguments.get(self.read)
    }

    pub(super) fn next(&mut self) -> Option<&'r Spanned<Argument>> {
        let next = self.peek();
        self.read += usize::from(next.is_some());
        next
    }

    pub(super) fn not_whole(&self, span: Span, what: String) -> Diagnostic {
        Diagnostic::new(Code::E0512, span, what).help(how_to_write(self.verb.node))
    }
}

pub(super) fn is_word(argument: &Spanned<Argument>, word: &str) -> bool {
    matches!(&argument.node, Argument::Word(text) if text == word)
}

fn argument_text(argument: &Spanned<Argument>) -> String {
    match &argument.node {
        Argument::Word(text) | Argument::Text(text) => text.clone(),
        Argument::Number(number) => number.to_string(),
        Argument::Tables(tables) => table_label(tables),
        Argument::Call(call) => call.function.node.clone(),
        Argument::Code(_) => "{…}".to_owned(),
        Argument::Hole => "...".to_owned(),
    }
}
