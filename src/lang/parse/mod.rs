//! Text to tree. Statements are read one by one: an error in one of them does not hide those in the others.

mod build;
mod wrong;

use pest::Parser;
use pest::iterators::{Pair, Pairs};

use self::build::{Builder, Parts};
use self::grammar::{Grammar, Rule};
use self::wrong::Failure;
pub use self::wrong::how_to_write;
use super::ast::{Command, Comment, Script, Spanned, Trivia};
use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::span::{SourceId, Span};
use super::verb::Verb;

/// Longest text that is read, in bytes.
pub const SCRIPT_BYTES_MAX: usize = 1 << 20;
/// Longest command by itself, in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of values, and of branches.
pub const NESTING_MAX: usize = 64;
/// After so many findings the rest of a text is not read: they would hardly say anything new.
pub const FINDINGS_MAX: usize = 100;

/// Reads a text. The script holds every statement that could be read; it is whole when there is no finding.
pub fn parse(source: SourceId, text: &str) -> (Script, Vec<Diagnostic>) {
    if text.len() > SCRIPT_BYTES_MAX {
        let finding = Diagnostic::new(
            Code::E0110,
            Span::new(source, 0..0),
            format!("the script has {} bytes, and lode reads up to {SCRIPT_BYTES_MAX}", text.len()),
        );
        return (Script::default(), vec![finding.help("divide it with `include`")]);
    }
    let mut reading = Reading { source, text, at: 0, script: Script::default(), findings: Vec::new() };
    while reading.findings.len() < FINDINGS_MAX && !reading.at_end() {
        reading.statement();
    }
    reading.script.trivia.after_blank = after_blank_lines(text);
    (reading.script, reading.findings)
}

/// Reads one command, as it is typed at the prompt or given to `lode ctl`. There is one when there is no finding.
pub fn parse_line(source: SourceId, text: &str) -> (Option<Spanned<Command>>, Vec<Diagnostic>) {
    if text.len() > LINE_BYTES_MAX {
        let what = format!("the command has {} bytes, and lode reads up to {LINE_BYTES_MAX}", text.len());
        return (None, vec![Diagnostic::new(Code::E0110, Span::new(source, 0..0), what)]);
    }
    let pairs = match Grammar::parse(Rule::line, text) {
        Ok(pairs) => pairs,
        Err(error) => return (None, vec![Failure::of_line(source, text, &error).diagnose()]),
    };
    let mut builder = Builder::new(source, 0, text, &[]);
    let command = pairs.flat_map(Pair::into_inner).find(|pair| {
        matches!(
            pair.as_rule(),
            Rule::about | Rule::shown | Rule::looked | Rule::command | Rule::asked | Rule::quiet
        )
    });
    let command = command.and_then(|pair| {
        let span = builder.span(&pair);
        Some(Spanned::new(builder.command(Parts::of(pair))?, span))
    });
    let mut findings = builder.findings;
    if command.is_none() && findings.is_empty() {
        findings.push(Diagnostic::new(
            Code::E0101,
            Span::new(source, 0..text.len()),
            "this command cannot be read",
        ));
    }
    (command.filter(|_| findings.is_empty()), findings)
}

/// Whether the text breaks off within a statement, so that a loop that reads lines should ask for another one.
pub fn is_unfinished(text: &str) -> bool {
    let (_, findings) = parse(SourceId::default(), text);
    let end = text.trim_end().len();
    findings.iter().any(|finding| match finding.code {
        Code::E0103 | Code::E0109 => true,
        Code::E0101 | Code::E0106 => finding.span.start as usize >= end,
        _ => false,
    })
}

/// Whether a command breaks off within brackets or braces, so that a prompt should ask for another line. A blank line ends
/// it, whatever is open.
pub fn is_line_unfinished(text: &str) -> bool {
    let last = text.rsplit('\n').next().unwrap_or_default();
    if text.contains('\n') && last.trim().is_empty() {
        return false;
    }
    let (_, findings) = parse_line(SourceId::default(), text);
    findings.iter().any(|finding| matches!(finding.code, Code::E0103 | Code::E0109))
}

/// Words that cannot name connections, pipelines and `let` values.
pub fn is_reserved(word: &str) -> bool {
    wrong::STATEMENT_WORDS.contains(&word)
        || wrong::JOINING_WORDS.contains(&word)
        || Verb::RESERVED.iter().any(|verb| verb.as_str() == word)
}

mod grammar {
    //! What pest generates. It has a module of its own because its rules are nobody else's business.

    #[derive(pest_derive::Parser)]
    #[grammar = "../grammar/lode.pest"]
    pub(super) struct Grammar;
}

struct Reading<'t> {
    source: SourceId,
    text: &'t str,
    at: usize,
    script: Script,
    findings: Vec<Diagnostic>,
}

impl Reading<'_> {
    /// Whether nothing but blanks and comments is left; takes the comments along.
    fn at_end(&mut self) -> bool {
        let rest = &self.text[self.at..];
        // Looked at by hand first: pest's error would hold a copy of the line, for every statement in it.
        if wrong::blanks_and_comments(rest) < rest.len() {
            return false;
        }
        match Grammar::parse(Rule::rest, rest) {
            Ok(pairs) => {
                self.take_comments(pairs);
                true
            }
            Err(_) => false,
        }
    }

    fn statement(&mut self) {
        let error = match Grammar::parse(Rule::step, &self.text[self.at..]) {
            Ok(pairs) => return self.at = self.take(pairs),
            Err(error) => error,
        };
        // The statement itself may be whole, and what follows it wrong.
        let start = self.at;
        let whole = Grammar::parse(Rule::lone, &self.text[start..]).ok();
        if let Some(pairs) = whole.clone() {
            self.take(pairs);
        }
        let failure = Failure::new(self.source, self.text, start, whole.is_some(), &error);
        self.at = self.next_statement(failure.statement_at(), failure.resume_after());
        self.findings.push(failure.diagnose());
    }

    /// Adds what was read to the script, and says where it ends.
    fn take(&mut self, pairs: Pairs<'_, Rule>) -> usize {
        let first_comment = self.script.trivia.comments.len();
        self.take_comments(pairs.clone());
        let comments = &self.script.trivia.comments[first_comment..];
        let mut builder = Builder::new(self.source, self.at, self.text, comments);
        let mut end = self.at;
        for pair in pairs {
            end = self.at + pair.as_span().end();
            let statement = pair.into_inner().find(|inner| inner.as_rule() != Rule::COMMENT);
            let Some(statement) = statement else { continue };
            let span = builder.span(&statement);
            match builder.statement(statement) {
                Some(node) => self.script.statements.push(Spanned::new(node, span)),
                None => {
                    self.findings.push(Diagnostic::new(Code::E0101, span, "this statement cannot be read"))
                }
            }
        }
        self.findings.append(&mut builder.findings);
        end
    }

    fn take_comments(&mut self, pairs: Pairs<'_, Rule>) {
        for pair in pairs.flatten().filter(|pair: &Pair<'_, Rule>| pair.as_rule() == Rule::COMMENT) {
            let start = self.at + pair.as_span().start();
            let comment = pair.as_str().trim_end();
            let line_start = self.text[..start].rfind(['\n', '\r']).map_or(0, |at| at + 1);
            self.script.trivia.comments.push(Comment {
                text: comment.to_owned(),
                span: Span::new(self.source, start..start + comment.len()),
                own_line: self.text[line_start..start].trim_start_matches('\u{FEFF}').trim().is_empty(),
            });
        }
    }

    /// Where to go on after an error: the next line that begins with a word of a statement and is not indented
    /// deeper than the failed one. Deeper ones may belong to it (`source` within a list).
    fn next_statement(&self, statement_at: usize, after: usize) -> usize {
        let line_start = self.text[..statement_at].rfind('\n').map_or(0, |at| at + 1);
        let indent = statement_at - line_start;
        let mut line_start = self.text[..after].rfind('\n').map_or(0, |at| at + 1);
        while let Some(length) = self.text[line_start..].find('\n') {
            line_start += length + 1;
            let line = &self.text[line_start..];
            let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
            let word = wrong::word_at(self.text, line_start + blanks);
            if blanks <= indent && wrong::begins_statement(word) {
                return line_start;
            }
        }
        self.text.len()
    }
}

fn after_blank_lines(text: &str) -> Vec<u32> {
    let mut offsets = Vec::new();
    let (mut at, mut blank) = (0, false);
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if indent == line.len() {
            blank = at > 0 || !offsets.is_empty();
        } else {
            if blank {
                offsets.push(u32::try_from(at + indent).unwrap_or(u32::MAX));
            }
            blank = false;
        }
        at += line.len();
    }
    offsets
}

impl Trivia {
    /// Whether a blank line stands before what begins at `offset`.
    pub fn is_after_blank(&self, offset: u32) -> bool {
        self.after_blank.binary_search(&offset).is_ok()
    }
}
