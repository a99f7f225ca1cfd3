//! From pest's errors to findings: what was expected in human words, and what was probably meant.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::Rule;
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::{SourceId, Span};
use crate::lang::verb::Verb;

/// The words that begin a statement; control verbs do so too.
pub(super) const STATEMENT_WORDS: &[&str] =
    &["include", "let", "connection", "share_mining", "pipeline", "source", "on", "every", "at", "test"];

/// The other reserved words.
pub(super) const JOINING_WORDS: &[&str] =
    &["sink", "filter", "map", "keep", "drop", "given", "expect", "do", "of", "for", "via"];

/// Whether a statement can begin with this word or sign.
pub(super) fn begins_statement(word: &str) -> bool {
    word == "[" || STATEMENT_WORDS.contains(&word) || Verb::RESERVED.iter().any(|verb| verb.as_str() == word)
}

/// The word, number or sign at `at`; empty at the end.
pub(super) fn word_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let length = match rest.chars().next() {
        None => 0,
        Some(first) if is_word(first) => rest.find(|character| !is_word(character)).unwrap_or(rest.len()),
        Some(_) if rest.starts_with("->") || rest.starts_with("//") || rest.starts_with("--") => 2,
        Some(first) => first.len_utf8(),
    };
    &rest[..length]
}

/// Rules that stand for a keyword or a sign and carry nothing else.
pub(super) fn is_sign(rule: Rule) -> bool {
    let kind = kind(rule);
    matches!(kind, Kind::Sign | Kind::Hidden)
        || (matches!(kind, Kind::Keyword)
            && !matches!(
                rule,
                Rule::verb | Rule::asked_verb | Rule::quiet_verb | Rule::look_verb | Rule::about_verb
            ))
}

/// A place where the grammar did not know how to go on.
pub(super) struct Failure<'t> {
    source: SourceId,
    text: &'t str,
    /// Where the failed statement begins.
    statement_at: usize,
    /// Where nothing fitted any more.
    at: usize,
    /// Whether a whole statement stands before that place.
    after_statement: bool,
    /// Whether the text is a command by itself.
    is_line: bool,
    expected: Vec<Rule>,
    /// pest gave up: the stack would not have been deep enough.
    too_deep: bool,
}

impl<'t> Failure<'t> {
    pub(super) fn new(
        source: SourceId,
        text: &'t str,
        offset: usize,
        after_statement: bool,
        error: &Error<Rule>,
    ) -> Self {
        let at = match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => text.floor_char_boundary(offset + at),
        };
        let (mut expected, too_deep) = match &error.variant {
            ErrorVariant::ParsingError { positives, .. } => (positives.clone(), false),
            ErrorVariant::CustomError { .. } => (Vec::new(), true),
        };
        expected.retain(|rule| !matches!(kind(*rule), Kind::Hidden));
        let statement_at = offset + blanks_and_comments(&text[offset..]);
        // An error within blanks or a comment is one of what follows.
        let at = at + blanks_and_comments(&text[at..]);
        let at = at.max(statement_at);
        Failure { source, text, statement_at, at, after_statement, is_line: false, expected, too_deep }
    }

    /// In a text that is one command.
    pub(super) fn of_line(source: SourceId, text: &'t str, error: &Error<Rule>) -> Self {
        Failure { is_line: true, ..Failure::new(source, text, 0, false, error) }
    }

    pub(super) fn statement_at(&self) -> usize {
        self.statement_at
    }

    /// The next statement is looked for behind this place.
    pub(super) fn resume_after(&self) -> usize {
        match self.intruder() {
            // The line before, so that the statement found there is read.
            Some(at) => self.text[..at].rfind('\n').unwrap_or(self.statement_at).max(self.statement_at),
            None => self.at,
        }
    }

    pub(super) fn diagnose(&self) -> Diagnostic {
        if self.too_deep {
            return self
                .finding(Code::E0110, self.statement_at, "this statement is nested too deeply")
                .help("move long Rhai code into a `.rhai` file");
        }
        self.unclosed_text()
            .or_else(|| self.unclosed_rhai())
            .or_else(|| self.unknown_statement())
            .or_else(|| self.surplus())
            .or_else(|| self.reserved_word())
            .or_else(|| self.unclosed_bracket())
            .or_else(|| self.no_sink())
            .unwrap_or_else(|| self.unexpected())
    }

    fn unclosed_text(&self) -> Option<Diagnostic> {
        let rest = self.text[self.at..].strip_prefix('"')?;
        let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
        let mut escaped = false;
        for character in line.chars() {
            match character {
                '"' if !escaped => return None,
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        let span = self.span(self.at, 1 + line.trim_end().len());
        let finding = Diagnostic::new(Code::E0102, span, "this quoted text is not closed in its line");
        Some(finding.label("begins here").suggest(
            span.after(),
            "\"",
            "type the closing quote where the text ends",
        ))
    }

    fn unclosed_rhai(&self) -> Option<Diagnostic> {
        if !self.text[self.at..].starts_with('{') || !self.expects(Rule::rhai) {
            return None;
        }
        let finding = self
            .finding(Code::E0103, self.at, "this Rhai block is not closed")
            .label("the block begins here");
        Some(match unclosed_in_rhai(&self.text[self.at..]) {
            Some((at, what)) => finding
                .related(self.span(self.at + at, 1), format!("this {what} is not closed"))
                .note("braces within texts and comments of Rhai do not count")
                .help(format!("close the {what} first")),
            None => finding.help("type `}` where the block ends"),
        })
    }

    fn unknown_statement(&self) -> Option<Diagnostic> {
        let found = self.found();
        let is_first = self.at == self.statement_at || (self.after_statement && self.begins_line());
        if !is_first || !found.starts_with(|first: char| first.is_alphabetic() || first == '_') {
            return None;
        }
        if self.is_line {
            return self.unknown_command();
        }
        if begins_statement(found) {
            return None;
        }
        let finding = self.finding(Code::E0104, self.at, format!("no statement begins with `{found}`"));
        let words = STATEMENT_WORDS.iter().copied().chain(Verb::RESERVED.iter().map(|verb| verb.as_str()));
        if JOINING_WORDS.contains(&found) {
            return Some(
                finding.help("a pipeline begins with `source`, and `->` stands before each further element"),
            );
        }
        Some(match did_you_mean(found, words.clone()) {
            Some(word) => {
                finding.suggest(self.span(self.at, found.len()), word, format!("did you mean `{word}`?"))
            }
            None => finding.help(format!("begin with one of {}", words.collect::<Vec<_>>().join(", "))),
        })
    }

    fn unknown_command(&self) -> Option<Diagnostic> {
        let found = self.found();
        let finding = self.finding(Code::E0104, self.at, format!("no command begins with `{found}`"));
        let verbs = || Verb::ALL.iter().map(|verb| verb.as_str());
        if STATEMENT_WORDS.contains(&found) {
            let finding = finding.note("statements stand in scripts");
            return Some(finding.help("change the script, and say `apply`"));
        }
        Some(match did_you_mean(found, verbs()) {
            Some(verb) => {
                finding.suggest(self.span(self.at, found.len()), verb, format!("did you mean `{verb}`?"))
            }
            None => finding.help(format!("begin with one of {}", verbs().collect::<Vec<_>>().join(", "))),
        })
    }

    /// What follows a whole command.
    fn surplus(&self) -> Option<Diagnostic> {
        let found = self.found();
        let fits = !self.is_line || found.is_empty() || self.at == self.statement_at || self.wants("`}`");
        if fits || self.wants("a value") || found.starts_with('"') {
            return None;
        }
        let verb = Verb::find(self.found_at(self.statement_at))?;
        let finding =
            self.finding(Code::E0101, self.at, format!("`{found}` does not belong to this command"));
        Some(finding.label("not expected here").help(how_to_write(verb)))
    }

    fn reserved_word(&self) -> Option<Diagnostic> {
        let found = self.found();
        if !super::is_reserved(found) || !(self.expects(Rule::name) || self.expects(Rule::tables)) {
            return None;
        }
        if self.begins_line() && begins_statement(found) {
            return None;
        }
        let finding =
            self.finding(Code::E0105, self.at, format!("`{found}` is a reserved word and cannot be a name"));
        Some(finding.label("a name goes here").help(format!("choose another name, such as `{found}_1`")))
    }

    fn unclosed_bracket(&self) -> Option<Diagnostic> {
        let intruder = self.intruder();
        let expects_close = ["`}`", "`]`", "`)`"].iter().any(|close| self.wants(close));
        // The word of a statement that follows an open block is taken for a key.
        let key = intruder.is_some() && self.wants("`=`");
        if !(expects_close || key) || !(self.found().is_empty() || intruder.is_some()) {
            return None;
        }
        let end = intruder.unwrap_or(self.at);
        let (at, open) = innermost_open(self.text, self.statement_at, end)?;
        let close = match open {
            '{' => " }",
            '[' => "]",
            _ => ")",
        };
        let span = self.span(at, 1);
        let finding =
            Diagnostic::new(Code::E0109, span, format!("this `{open}` is not closed")).label("begins here");
        let before = self.text[..end].trim_end().len();
        Some(finding.suggest(self.span(before, 0), close, format!("type `{}` where it ends", close.trim())))
    }

    fn no_sink(&self) -> Option<Diagnostic> {
        let found = self.found();
        let is_end = found.is_empty() || self.found_statement() || found == "," || found == "]";
        if !is_end || self.after_statement || !(self.wants("`->`") || self.wants("`sink`")) {
            return None;
        }
        let end = self.text[..self.at].trim_end();
        let place = self.span(end.len(), 0);
        let next = if end.ends_with("->") { " sink null" } else { " -> sink null" };
        let finding = Diagnostic::new(Code::E0106, place, "this pipeline does not end in a sink")
            .label("the sink is missing here")
            .related(
                self.span(self.statement_at, self.found_at(self.statement_at).len()),
                "the pipeline begins here",
            );
        Some(finding.suggest(
            place,
            next,
            "type where the changes go, such as `-> sink oracle dw.orders`, or drop them for now",
        ))
    }

    fn unexpected(&self) -> Diagnostic {
        let found = self.found();
        let names = self.wanted();
        let described =
            if found.is_empty() { "the text ends".to_owned() } else { format!("found `{found}`") };
        let wanted = one_of(&names);
        let message =
            if wanted.is_empty() { described } else { format!("expected {wanted}, but {described}") };
        let finding = self.finding(Code::E0101, self.at, message).label(if found.is_empty() {
            "something is missing here"
        } else {
            "not expected here"
        });
        if found == "//" || found == "--" {
            return finding.help("comments begin with `#`");
        }
        if found == ";" {
            return finding.suggest(self.span(self.at, 1), "", "statements and settings need no `;`");
        }
        if ["filter", "map", "keep", "drop", "sink"].contains(&found) && self.wants("`->`") {
            return finding.suggest(self.span(self.at, 0), "-> ", "type `->` before each stage and sink");
        }
        if !found.is_empty() && found.chars().all(|letter| letter.is_alphabetic() || letter == '_') {
            let keywords = names.iter().filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'));
            let keywords = keywords.filter(|word| word.starts_with(char::is_alphabetic));
            if let Some(word) = did_you_mean(found, keywords) {
                let help = format!("did you mean `{word}`?");
                return finding.suggest(self.span(self.at, found.len()), word, help);
            }
        }
        match names.as_slice() {
            [] => finding,
            ["`.`"] => finding.help("type the connection before the table, such as `shop.orders`"),
            ["`=`"] => finding.suggest(self.span(self.at, 0), "= ", "type `=` here"),
            [only] => finding.help(format!("type {only} here")),
            [first, ..] => finding.help(format!("type one of them here, such as {first}")),
        }
    }

    /// What was expected, in human words.
    fn wanted(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self.expected.iter().filter_map(|rule| words(*rule)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn wants(&self, name: &str) -> bool {
        self.expected.iter().any(|rule| words(*rule) == Some(name))
    }

    fn finding(&self, code: Code, at: usize, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.span(at, self.found_at(at).len()), message)
    }

    fn span(&self, at: usize, length: usize) -> Span {
        Span::new(self.source, at..at + length)
    }

    fn expects(&self, rule: Rule) -> bool {
        self.expected.contains(&rule)
            || self.expected.iter().any(|parent| match parent {
                Rule::tables | Rule::via | Rule::hook => rule == Rule::name,
                Rule::action => rule == Rule::rhai,
                _ => false,
            })
    }

    fn found(&self) -> &'t str {
        self.found_at(self.at)
    }

    fn found_at(&self, at: usize) -> &'t str {
        word_at(self.text, at)
    }

    /// Where the next statement begins, if the failed one ran into it: the last line up to the place that begins
    /// with the word of a statement and is not indented deeper than the failed one.
    fn intruder(&self) -> Option<usize> {
        let line_of = |at: usize| self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let first = line_of(self.statement_at);
        let mut line = line_of(self.at);
        while line > first {
            let blanks = self.text[line..].len() - self.text[line..].trim_start_matches([' ', '\t']).len();
            let word = self.found_at(line + blanks);
            if blanks <= self.statement_at - first && begins_statement(word) && line + blanks <= self.at {
                return Some(line + blanks);
            }
            line = line_of(line - 1);
        }
        None
    }

    /// Whether the place is the beginning of a statement in a new line, or looks like it.
    fn found_statement(&self) -> bool {
        self.begins_line() && begins_statement(self.found())
    }

    fn begins_line(&self) -> bool {
        let line = self.text[..self.at].rfind(['\n', '\r']).map_or(0, |at| at + 1);
        self.text[line..self.at].trim().is_empty()
    }
}

/// What a rule is to a reader of "expected …".
enum Kind {
    /// A word or several that are typed as they stand.
    Keyword,
    /// A sign that is typed as it stands.
    Sign,
    /// Something that is described.
    Thing,
    /// Nothing anybody wants to read.
    Hidden,
}

fn kind(rule: Rule) -> Kind {
    names(rule).0
}

fn words(rule: Rule) -> Option<&'static str> {
    Some(names(rule).1).filter(|name| !name.is_empty())
}

/// The one table of human names for rules.
fn names(rule: Rule) -> (Kind, &'static str) {
    use Kind::{Hidden, Keyword, Sign, Thing};
    match rule {
        Rule::kw_include => (Keyword, "`include`"),
        Rule::kw_let => (Keyword, "`let`"),
        Rule::kw_connection => (Keyword, "`connection`"),
        Rule::kw_share_mining | Rule::mining => {
            (if rule == Rule::mining { Thing } else { Keyword }, "`share_mining`")
        }
        Rule::kw_pipeline => (Keyword, "`pipeline`"),
        Rule::kw_source => (Keyword, "`source`"),
        Rule::kw_sink => (Keyword, "`sink`"),
        Rule::kw_filter => (Keyword, "`filter`"),
        Rule::kw_map => (Keyword, "`map`"),
        Rule::kw_keep => (Keyword, "`keep`"),
        Rule::kw_drop => (Keyword, "`drop`"),
        Rule::kw_on => (Keyword, "`on`"),
        Rule::kw_every => (Keyword, "`every`"),
        Rule::kw_at => (Keyword, "`at`"),
        Rule::kw_test => (Keyword, "`test`"),
        Rule::kw_given => (Keyword, "`given`"),
        Rule::kw_expect => (Keyword, "`expect`"),
        Rule::kw_do => (Keyword, "`do`"),
        Rule::kw_of => (Keyword, "`of`"),
        Rule::kw_for => (Keyword, "`for`"),
        Rule::kw_via => (Keyword, "`via`"),
        Rule::kw_nothing => (Keyword, "`nothing`"),
        Rule::kw_more => (Keyword, "`more`"),
        Rule::kw_only => (Keyword, "`only`"),
        Rule::arrow => (Sign, "`->`"),
        Rule::equals => (Sign, "`=`"),
        Rule::comma => (Sign, "`,`"),
        Rule::dot => (Sign, "`.`"),
        Rule::open_brace => (Sign, "`{`"),
        Rule::close_brace => (Sign, "`}`"),
        Rule::open_list => (Sign, "`[`"),
        Rule::close_list => (Sign, "`]`"),
        Rule::open_call => (Sign, "`(`"),
        Rule::close_call => (Sign, "`)`"),
        Rule::verb => (Keyword, "a control verb such as `pause`"),
        Rule::asked_verb | Rule::quiet_verb | Rule::look_verb | Rule::about_verb => (Keyword, ""),
        Rule::statement_start => (Thing, "the next statement"),
        Rule::EOI => (Hidden, ""),
        Rule::COMMENT | Rule::WHITESPACE => (Hidden, ""),
        Rule::hole => (Thing, ""),
        Rule::step | Rule::lone | Rule::rest | Rule::statement => (Thing, "a statement"),
        Rule::include => (Thing, "`include`"),
        Rule::binding => (Thing, "`let`"),
        Rule::connection => (Thing, "`connection`"),
        Rule::share_mining => (Thing, "`share_mining`"),
        Rule::pipeline => (Thing, "`pipeline`"),
        Rule::anonymous | Rule::sources => (Thing, "`source`"),
        Rule::source => (Thing, "`source`"),
        Rule::via => (Thing, "a connection that keeps the log, or `embedded`"),
        Rule::flow => (Thing, "`->`"),
        Rule::branches => (Thing, "`[` with branches"),
        Rule::branch => (Thing, "a branch that ends in a `sink`"),
        Rule::stage => (Thing, "a stage such as `filter`"),
        Rule::columns => (Thing, "column names"),
        Rule::filter => (Thing, "`filter`"),
        Rule::map => (Thing, "`map`"),
        Rule::keep => (Thing, "`keep`"),
        Rule::drop => (Thing, "`drop`"),
        Rule::sink => (Thing, "`sink`"),
        Rule::tables => (Thing, "tables such as `shop.orders`"),
        Rule::set => (Thing, "tables in braces such as `{orders, order_items}`"),
        Rule::pattern => (Thing, "the name of a table"),
        Rule::alert => (Thing, "`on`"),
        Rule::limit | Rule::comparison => (Thing, "a comparison such as `>`"),
        Rule::hold | Rule::for_word => (Thing, "`for`"),
        Rule::of | Rule::of_word => (Thing, "`of`"),
        Rule::every => (Thing, "`every`"),
        Rule::at => (Thing, "`at`"),
        Rule::action => (Thing, "a Rhai block, a hook, or a command"),
        Rule::test => (Thing, "`test`"),
        Rule::given => (Thing, "`given`"),
        Rule::expect => (Thing, "`expect`"),
        Rule::fact | Rule::change => (Thing, "a change such as `insert shop.orders { id = 1 }`"),
        Rule::nothing => (Thing, "`nothing`"),
        Rule::ran => (Thing, "a hook such as `alerts::page`"),
        Rule::effect => (Thing, "what a hook did, such as `mail { … }`"),
        Rule::metric => (Thing, "a metric such as `lag 45s`"),
        Rule::command => (Thing, "a command such as `pause shop.orders`"),
        Rule::line => (Thing, "a command"),
        Rule::asked
        | Rule::quiet
        | Rule::looked
        | Rule::shown
        | Rule::pipeline_word
        | Rule::about
        | Rule::about_word => (Thing, ""),
        Rule::assigned => (Thing, "`=`"),
        Rule::argument => (Thing, "what the command acts on"),
        Rule::block => (Thing, "settings in braces"),
        Rule::setting => (Thing, "a setting such as `batch = 500`"),
        Rule::value => (Thing, "a value"),
        Rule::list => (Thing, "a list in brackets"),
        Rule::call => (Thing, "a call such as `env(\"NAME\")`"),
        Rule::variable => (Thing, "`$` and a name"),
        Rule::number | Rule::digits => (Thing, "a number"),
        Rule::unit => (Thing, ""),
        Rule::text => (Thing, "a quoted text"),
        Rule::hook => (Thing, "a hook such as `mask::email`"),
        Rule::rhai => (Thing, "a Rhai block in braces"),
        Rule::rhai_text | Rule::rhai_piece | Rule::rhai_template | Rule::rhai_comment => (Thing, "Rhai code"),
        Rule::name | Rule::any_name | Rule::word => (Thing, "a name"),
        Rule::quoted_name | Rule::word_start | Rule::word_char | Rule::reserved => (Hidden, ""),
    }
}

/// How commands with a verb are written.
pub fn how_to_write(verb: Verb) -> String {
    format!("write {}", verb.usage().replace('\n', ", or "))
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// How many bytes of blanks and comments `text` begins with.
pub(super) fn blanks_and_comments(text: &str) -> usize {
    let is_blank = |character: char| character.is_whitespace() || character == '\u{FEFF}';
    let mut rest = text.trim_start_matches(is_blank);
    while rest.starts_with('#') {
        rest = rest.find(['\n', '\r']).map_or("", |end| &rest[end..]).trim_start_matches(is_blank);
    }
    text.len() - rest.len()
}

/// The innermost bracket that is open at `end`, when reading begins at `start`, outside of all brackets.
fn innermost_open(text: &str, start: usize, end: usize) -> Option<(usize, char)> {
    let mut open = Vec::new();
    let mut characters = text[start..end].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '{' | '[' | '(' => open.push((start + at, character)),
            '}' | ']' | ')' => drop(open.pop()),
            '#' => drop(characters.find(|(_, character)| *character == '\n')),
            '"' => {
                while let Some((_, character)) = characters.next() {
                    match character {
                        '\\' => drop(characters.next()),
                        '"' | '\n' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    open.pop()
}

/// What keeps the Rhai block that `text` begins with from being closed, if it is a text or comment within it.
fn unclosed_in_rhai(text: &str) -> Option<(usize, &'static str)> {
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let rest = &text[at..];
        let (closed, what) = if rest.starts_with("//") {
            (Some(rest.find('\n').unwrap_or(rest.len())), "comment")
        } else if rest.starts_with("/*") {
            (rest.find("*/").map(|end| end + 2), "comment")
        } else if character == '"' || character == '`' {
            (closing(rest, character), "text")
        } else {
            (Some(character.len_utf8()), "")
        };
        match closed {
            Some(length) => at += length,
            None => return Some((at, what)),
        }
    }
    None
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '\\' if quote == '"' => escaped = !escaped,
            _ if character == quote && !escaped => return Some(at + 1),
            _ => escaped = false,
        }
    }
    None
}
