//! Commands that look at changes: which ones they mean, and the Rhai code in them.

use super::Checker;
use super::command::{Command, KeyPart, KeyValue, Look};
use super::hooks::HookUse;
use super::line::{Reading, is_word};
use super::model::Subject;
use crate::hook::HookError;
use crate::lang::ast::{self, Argument, Code, Spanned, Value};
use crate::lang::codes;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceMap, Span};
use crate::lang::verb::Verb;

/// Words that may stand behind what is looked at.
const CLAUSES: [&str; 3] = ["from", "limit", "where"];

/// An error of Rhai code that is no part of a script, at its place. `name` is what the finding calls the code.
pub fn code_finding(name: &str, text: &str, error: &HookError) -> (Diagnostic, SourceMap) {
    let mut sources = SourceMap::new();
    let source = sources.add(name, text);
    let span = sources.word_at(source, error.line, error.column);
    let span = span.unwrap_or(Span::new(source, 0..text.len()));
    let finding = Diagnostic::new(codes::Code::E0401, span, error.message.clone());
    let finding = match &error.advice {
        Some(advice) => finding.help(advice.clone()),
        None => finding,
    };
    (finding, sources)
}

impl Checker<'_> {
    /// What is looked at, and how many changes of it are wanted. `None` was reported.
    pub(super) fn look(&mut self, reading: &mut Reading<'_>) -> Option<(Look, Option<u64>)> {
        let (mut look, mut limit) = (Look::default(), None);
        let is_clause = |argument: &Spanned<Argument>| CLAUSES.iter().any(|word| is_word(argument, word));
        match reading.peek() {
            Some(argument) if !is_clause(argument) => look.of = Some(self.looked_at(reading)?),
            None | Some(_) if reading.verb.node == Verb::Peek => {
                let what = "`peek` does not say what to look at".to_owned();
                let finding = reading.not_whole(reading.verb.span, what);
                self.report(finding.note(reading.known.subjects_help()));
                return None;
            }
            _ => {}
        }
        while let Some(argument) = reading.next() {
            let word = |word| is_word(argument, word);
            if word("from") && look.from.is_none() {
                look.from = Some(self.log_place(reading, "from")?);
            } else if word("limit") && limit.is_none() && reading.verb.node == Verb::Peek {
                limit = Some(self.limit_count(reading)?);
            } else if word("where") && look.filter.is_none() {
                look.filter = Some(self.looked_code(reading, HookUse::Filter)?);
            } else {
                let what = match argument.node {
                    Argument::Code(_) => "the word before the code is missing: `where`".to_owned(),
                    _ => format!("this does not belong to `{}`", reading.verb.as_str()),
                };
                self.report(reading.not_whole(argument.span, what));
                return None;
            }
        }
        Some((look, limit))
    }

    /// A connection, a statement, and how many rows.
    pub(super) fn sql(&mut self, reading: &mut Reading<'_>) -> Option<Command> {
        let (name, span) = self.name(reading)?;
        let known = reading.known;
        let connection = match known.mine(&name) {
            Some(mine) => mine.connection.clone(),
            None if known.not_mined.contains(&name) => name,
            None => {
                let what = format!("there is no connection named `{name}`");
                let finding = Diagnostic::new(codes::Code::E0208, span, what);
                let others = known.not_mined.iter().map(String::as_str);
                self.unknown(finding, &name, span, known.mine_names().chain(others).collect());
                return None;
            }
        };
        let statement = match reading.next() {
            Some(Spanned { node: Argument::Text(statement), .. }) => statement.clone(),
            other => {
                let span = other.map_or(reading.verb.span, |argument| argument.span);
                let finding = reading.not_whole(span, "`sql` takes a statement in quotes".to_owned());
                self.report(finding);
                return None;
            }
        };
        Some(Command::Sql { connection, statement, limit: self.limit_clause(reading)? })
    }

    /// Whose rows, how many, and the code.
    pub(super) fn eval(&mut self, reading: &mut Reading<'_>) -> Option<Command> {
        let of = self.looked_at(reading)?;
        let limit = self.limit_clause(reading)?;
        Some(Command::Eval { of, limit, code: self.looked_code(reading, HookUse::Map)? })
    }

    /// A pipeline, how many changes, and a key.
    pub(super) fn trace(&mut self, reading: &mut Reading<'_>, command: &ast::Command) -> Option<Command> {
        let pipeline = self.named_pipeline(reading)?;
        let limit = self.limit_clause(reading)?;
        let mut key = Vec::new();
        for setting in command.settings.entries() {
            let value = match &setting.value.node {
                Value::Number(number) => KeyValue::Number(number.to_string()),
                Value::Text(text) => KeyValue::Text(text.clone()),
                _ => {
                    let what = "a key has numbers and quoted texts".to_owned();
                    self.report(reading.not_whole(setting.value.span, what));
                    return None;
                }
            };
            key.push(KeyPart { column: setting.key.node.clone(), value });
        }
        if key.is_empty() {
            let what = "`trace` does not say which row: a column and its value are missing".to_owned();
            self.report(reading.not_whole(reading.verb.span, what));
            return None;
        }
        Some(Command::Trace { pipeline, limit, key })
    }

    /// `limit` and a number, where that comes next.
    fn limit_clause(&mut self, reading: &mut Reading<'_>) -> Option<Option<u64>> {
        if !reading.peek().is_some_and(|argument| is_word(argument, "limit")) {
            return Some(None);
        }
        reading.next();
        self.limit_count(reading).map(Some)
    }

    /// A table of a mine, a mine, or a pipeline.
    fn looked_at(&mut self, reading: &mut Reading<'_>) -> Option<Subject> {
        match reading.peek() {
            Some(Spanned { node: Argument::Tables(_), .. }) => self.pausable(reading),
            _ => self.named(reading),
        }
    }

    /// How many changes, behind `limit`.
    pub(super) fn limit_count(&mut self, reading: &mut Reading<'_>) -> Option<u64> {
        let argument = reading.next();
        let count = argument.and_then(|argument| match &argument.node {
            Argument::Number(number) => number.as_integer().filter(|count| *count > 0),
            _ => None,
        });
        if count.is_none() {
            let span = argument.map_or(reading.verb.span, |argument| argument.span);
            self.report(reading.not_whole(span, "`limit` takes a whole number above 0".to_owned()));
        }
        count
    }

    /// Code in braces, which compiles.
    pub(super) fn looked_code(&mut self, reading: &mut Reading<'_>, used: HookUse) -> Option<String> {
        let Some(Spanned { node: Argument::Code(text), span }) = reading.peek() else {
            let span = reading.peek().map_or(reading.verb.span, |argument| argument.span);
            let finding = reading.not_whole(span, "Rhai code in braces is missing here".to_owned());
            self.report(finding);
            return None;
        };
        reading.next();
        let code = Code::Block(Spanned::new(text.clone(), *span));
        self.hook(&code, used).map(|_| text.clone())
    }
}
