//! From pest's pairs to the tree. The grammar has checked the shape already; where a piece is missing all the same,
//! a function returns `None`, and the statement is reported as unreadable.

use pest::iterators::Pair;

use super::{NESTING_MAX, Rule};
use crate::lang::ast::*;
use crate::lang::codes::Code as DiagnosticCode;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceId, Span};

/// Builds the statements of one parse, which began at `offset` of the text.
pub(super) struct Builder<'t> {
    /// What is wrong although the grammar accepts it.
    pub(super) findings: Vec<Diagnostic>,
    source: SourceId,
    offset: usize,
    text: &'t str,
    comments: &'t [Comment],
    depth: usize,
}

impl<'t> Builder<'t> {
    pub(super) fn new(source: SourceId, offset: usize, text: &'t str, comments: &'t [Comment]) -> Self {
        Builder { findings: Vec::new(), source, offset, text, comments, depth: 0 }
    }

    pub(super) fn statement(&mut self, pair: Pair<'_, Rule>) -> Option<Statement> {
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        Some(match rule {
            Rule::include => {
                let path = self.text(parts.next()?);
                Statement::Include(Include { path, settings: self.settings(&mut parts)? })
            }
            Rule::binding => {
                Statement::Let(Let { name: self.name(parts.next()?), value: self.value(parts.next()?)? })
            }
            Rule::connection => Statement::Connection(self.connection(parts)?),
            Rule::share_mining => Statement::ShareMining(ShareMining {
                connection: self.name_slot(parts.next()?),
                via: self.via(&mut parts)?,
                settings: self.settings(&mut parts)?,
            }),
            Rule::pipeline => {
                let name = Some(self.name(parts.next()?));
                let settings = self.settings(&mut parts)?;
                Statement::Pipeline(self.pipeline(name, settings, parts)?)
            }
            Rule::anonymous => Statement::Pipeline(self.pipeline(None, Settings::default(), parts)?),
            Rule::alert => Statement::Alert(self.alert(parts)?),
            Rule::every => Statement::Schedule(Schedule {
                when: When::Every(self.slot(parts.next()?, |builder, pair| Some(builder.duration(pair)))?),
                action: self.action(parts.next()?)?,
            }),
            Rule::at => Statement::Schedule(Schedule {
                when: When::At(self.slot(parts.next()?, |builder, pair| Some(builder.text(pair)))?),
                action: self.action(parts.next()?)?,
            }),
            Rule::test => Statement::Test(self.test(parts)?),
            Rule::command => Statement::Command(self.command(parts)?),
            _ => return None,
        })
    }

    /// The place of a pair, without blanks and comments that the grammar skipped at its end.
    pub(super) fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let start = self.offset + pair.as_span().start();
        let mut end = self.offset + pair.as_span().end();
        loop {
            end = start + self.text[start..end].trim_end().len();
            let comment = self.comments.partition_point(|comment| (comment.span.end as usize) < end);
            match self.comments.get(comment) {
                Some(comment) if comment.span.end as usize == end && comment.span.start as usize > start => {
                    end = comment.span.start as usize;
                }
                _ => return Span::new(self.source, start..end),
            }
        }
    }

    fn connection(&mut self, mut parts: Parts<'_>) -> Option<Connection> {
        let name = self.name(parts.next()?);
        let kind = self.name_slot(parts.next()?);
        let endpoint = match parts.next_if(&[Rule::hole, Rule::text]) {
            Some(pair) => Some(self.slot(pair, |builder, pair| Some(builder.text(pair)))?),
            None => None,
        };
        Some(Connection { name, kind, endpoint, settings: self.settings(&mut parts)? })
    }

    fn pipeline(&mut self, name: Option<Name>, settings: Settings, mut parts: Parts<'_>) -> Option<Pipeline> {
        let mut sources = Vec::new();
        for pair in Parts::of(parts.next()?) {
            let span = self.span(&pair);
            sources.push(Spanned::new(self.source_part(Parts::of(pair))?, span));
        }
        Some(Pipeline { name, settings, sources, flow: self.flow(parts.next()?)? })
    }

    fn source_part(&mut self, mut parts: Parts<'_>) -> Option<Source> {
        let kind = self.name_slot(parts.next()?);
        let tables = match (parts.next_if(&[Rule::hole, Rule::tables]), &kind) {
            (Some(pair), _) => self.slot(pair, Self::spanned_tables)?,
            // `source ...` leaves both open.
            (None, Slot::Hole(hole)) => Slot::Hole(hole.clone()),
            (None, Slot::Given(_)) => return None,
        };
        let mining = match parts.next_if(&[Rule::mining]) {
            Some(pair) => {
                let span = self.span(&pair);
                Some(Spanned::new(Mining { via: self.via(&mut Parts::of(pair))? }, span))
            }
            None => None,
        };
        Some(Source { kind, tables, mining, settings: self.settings(&mut parts)? })
    }

    fn via(&mut self, parts: &mut Parts<'_>) -> Option<Option<Slot<Via>>> {
        let Some(pair) = parts.next_if(&[Rule::hole, Rule::via]) else { return Some(None) };
        let via = self.slot(pair, |builder, pair| {
            let mut parts = Parts::of(pair);
            let store = builder.name(parts.next()?);
            Some(Via { store, log: parts.next().map(|pair| builder.name(pair)) })
        })?;
        Some(Some(via))
    }

    fn flow(&mut self, pair: Pair<'_, Rule>) -> Option<Spanned<Flow>> {
        let span = self.span(&pair);
        let (mut stages, mut end) = (Vec::new(), None);
        for pair in Parts::of(pair) {
            match pair.as_rule() {
                Rule::sink => end = Some(FlowEnd::Sink(self.sink(pair)?)),
                Rule::branches => end = Some(FlowEnd::Branches(self.branches(pair)?)),
                _ => stages.push(self.stage(pair)?),
            }
        }
        Some(Spanned::new(Flow { stages, end: end? }, span))
    }

    fn branches(&mut self, pair: Pair<'_, Rule>) -> Option<Vec<Spanned<Flow>>> {
        let span = self.span(&pair);
        self.nested(span, |builder| Parts::of(pair).map(|pair| builder.flow(pair)).collect())
            .unwrap_or_else(|| Some(Vec::new()))
    }

    fn stage(&mut self, pair: Pair<'_, Rule>) -> Option<Spanned<Stage>> {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        let stage = match rule {
            Rule::filter => Stage::Filter(self.slot(parts.next()?, Self::code)?),
            Rule::map => Stage::Map(self.slot(parts.next()?, Self::code)?),
            Rule::keep => Stage::Keep(parts.map(|pair| self.name_slot(pair)).collect()),
            Rule::drop => Stage::Drop(parts.map(|pair| self.name_slot(pair)).collect()),
            _ => return None,
        };
        Some(Spanned::new(stage, span))
    }

    fn sink(&mut self, pair: Pair<'_, Rule>) -> Option<Spanned<Sink>> {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let kind = self.name_slot(parts.next()?);
        let target = match parts.next_if(&[Rule::hole, Rule::tables, Rule::text]) {
            Some(pair) => Some(self.slot(pair, |builder, pair| match pair.as_rule() {
                Rule::text => Some(Target::Path(builder.text(pair))),
                _ => Some(Target::Table(builder.spanned_tables(pair)?)),
            })?),
            None => None,
        };
        Some(Spanned::new(Sink { kind, target, settings: self.settings(&mut parts)? }, span))
    }

    fn code(&mut self, pair: Pair<'_, Rule>) -> Option<Code> {
        match pair.as_rule() {
            Rule::rhai => Some(Code::Block(self.rhai(pair)?)),
            _ => Some(Code::Hook(self.hook(pair)?)),
        }
    }

    /// The text between the braces.
    fn rhai(&self, pair: Pair<'_, Rule>) -> Option<Spanned<String>> {
        let text = pair.into_inner().next()?;
        let start = self.offset + text.as_span().start();
        let span = Span::new(self.source, start..self.offset + text.as_span().end());
        Some(Spanned::new(text.as_str().to_owned(), span))
    }

    fn hook(&mut self, pair: Pair<'_, Rule>) -> Option<HookPath> {
        let mut parts = Parts::of(pair);
        Some(HookPath { module: self.name(parts.next()?), function: self.name(parts.next()?) })
    }

    fn alert(&mut self, mut parts: Parts<'_>) -> Option<Alert> {
        let metric = self.name_slot(parts.next()?);
        let limit = match parts.next_if(&[Rule::limit]) {
            Some(pair) => Some(self.limit(Parts::of(pair))?),
            None => None,
        };
        let hold = self.hold(&mut parts)?;
        let of = self.of(&mut parts)?;
        let settings = self.settings(&mut parts)?;
        Some(Alert { metric, limit, hold, of, settings, action: self.action(parts.next()?)? })
    }

    fn limit(&mut self, mut parts: Parts<'_>) -> Option<Limit> {
        let sign = parts.next()?;
        let comparison = Comparison::ALL.into_iter().find(|known| known.as_str() == sign.as_str())?;
        let comparison = Spanned::new(comparison, self.span(&sign));
        let pair = parts.next()?;
        let span = self.span(&pair);
        Some(Limit { comparison, value: Spanned::new(self.value_node(pair)?, span) })
    }

    fn hold(&mut self, parts: &mut Parts<'_>) -> Option<Option<Spanned<Number>>> {
        match parts.next_if(&[Rule::hold]) {
            Some(pair) => Some(Some(self.duration(Parts::of(pair).next()?))),
            None => Some(None),
        }
    }

    fn of(&mut self, parts: &mut Parts<'_>) -> Option<Option<Slot<Subject>>> {
        let Some(pair) = parts.next_if(&[Rule::of]) else { return Some(None) };
        let subject = self.slot(Parts::of(pair).next()?, |builder, pair| match pair.as_rule() {
            Rule::tables => Some(Subject::Tables(builder.spanned_tables(pair)?)),
            _ => Some(Subject::Name(builder.name(pair))),
        })?;
        Some(Some(subject))
    }

    fn action(&mut self, pair: Pair<'_, Rule>) -> Option<Slot<Action>> {
        let inner = Parts::of(pair).next()?;
        self.slot(inner, |builder, pair| match pair.as_rule() {
            Rule::command | Rule::asked | Rule::quiet => {
                let span = builder.span(&pair);
                Some(Action::Command(Spanned::new(builder.command(Parts::of(pair))?, span)))
            }
            _ => Some(Action::Code(builder.code(pair)?)),
        })
    }

    fn test(&mut self, mut parts: Parts<'_>) -> Option<Test> {
        let name = self.text(parts.next()?);
        let of = self.name_slot(parts.next()?);
        let mut steps = Vec::new();
        for pair in parts {
            let span = self.span(&pair);
            let rule = pair.as_rule();
            let fact = self.fact(Parts::of(pair).next()?)?;
            let step = if rule == Rule::given { Step::Given(fact) } else { Step::Expect(fact) };
            steps.push(Spanned::new(step, span));
        }
        Some(Test { name, of, steps })
    }

    fn fact(&mut self, pair: Pair<'_, Rule>) -> Option<Fact> {
        let rule = pair.as_rule();
        let span = self.span(&pair);
        let has = |rule| pair.clone().into_inner().any(|part| part.as_rule() == rule);
        let (more, only) = (has(Rule::kw_more), has(Rule::kw_only));
        let mut parts = Parts::of(pair);
        Some(match rule {
            Rule::nothing => Fact::Nothing { more },
            Rule::ran => Fact::Hook { path: self.hook(parts.next()?)?, facts: self.settings(&mut parts)? },
            Rule::command | Rule::asked => Fact::Command(Spanned::new(self.command(parts)?, span)),
            Rule::effect => {
                Fact::Effect { name: self.name(parts.next()?), parts: self.settings(&mut parts)? }
            }
            Rule::change => {
                let op = self.name(parts.next()?);
                let target = self.slot(parts.next()?, |builder, pair| match pair.as_rule() {
                    Rule::text => Some(Target::Path(builder.text(pair))),
                    _ => Some(Target::Table(builder.spanned_tables(pair)?)),
                })?;
                Fact::Change { op, target, only, row: self.settings(&mut parts)? }
            }
            _ => {
                let metric = self.name(parts.next()?);
                let value = match parts.next_if(&[Rule::number, Rule::text]) {
                    Some(pair) => {
                        let span = self.span(&pair);
                        Some(Spanned::new(self.value_node(pair)?, span))
                    }
                    None => None,
                };
                Fact::Metric { metric, value, hold: self.hold(&mut parts)?, of: self.of(&mut parts)? }
            }
        })
    }

    pub(super) fn command(&mut self, mut parts: Parts<'_>) -> Option<Command> {
        let word = parts.next()?;
        let verb = Spanned::new(Verb::find(word.as_str())?, self.span(&word));
        let mut arguments = Vec::new();
        let words = [Rule::argument, Rule::pipeline_word, Rule::about_word, Rule::of_word, Rule::for_word];
        while let Some(pair) = parts.next_if(&words) {
            let span = self.span(&pair);
            if pair.as_rule() != Rule::argument {
                arguments.push(Spanned::new(Argument::Word(pair.as_str().to_owned()), span));
                continue;
            }
            let pair = Parts::of(pair).next()?;
            let argument = match pair.as_rule() {
                Rule::hole => Argument::Hole,
                Rule::tables => Argument::Tables(self.tables(pair)?),
                Rule::number => Argument::Number(number(pair)?),
                Rule::text => Argument::Text(self.text(pair).node),
                Rule::call => Argument::Call(self.call(pair)?),
                _ => Argument::Word(pair.as_str().to_owned()),
            };
            arguments.push(Spanned::new(argument, span));
        }
        if let Some(pair) = parts.next_if(&[Rule::rhai]) {
            let Spanned { node, span } = self.rhai(pair)?;
            arguments.push(Spanned::new(Argument::Code(node), span));
        }
        let settings = match parts.next_if(&[Rule::assigned]) {
            Some(pair) => self.assigned(&mut arguments, pair)?,
            None => self.settings(&mut parts)?,
        };
        Some(Command { verb, arguments, settings })
    }

    /// `set shop.retention = 5d` is another form of `set shop { retention = 5d }`.
    fn assigned(&mut self, arguments: &mut [Spanned<Argument>], pair: Pair<'_, Rule>) -> Option<Settings> {
        let span = self.span(&pair);
        let value = self.value(Parts::of(pair).next()?)?;
        let key = match arguments.last_mut() {
            Some(Spanned { node: argument @ Argument::Tables(_), span }) => {
                let Argument::Tables(tables) = argument else { return None };
                match tables.tables.as_slice() {
                    [Slot::Given(key)] => {
                        let key = key.clone();
                        *span = tables.connection.span;
                        *argument = Argument::Word(tables.connection.node.clone());
                        Some(key)
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        let Some(key) = key else {
            let finding =
                Diagnostic::new(DiagnosticCode::E0101, span, "a value is given here, but to no setting");
            self.findings
                .push(finding.help("name a mine and its setting before it: set shop.retention = 5d"));
            return Some(Settings::default());
        };
        let place = key.span.to(value.span);
        Some(Settings(Some(Spanned::new(vec![Setting { key, value }], place))))
    }

    fn call(&mut self, pair: Pair<'_, Rule>) -> Option<Call> {
        let mut parts = Parts::of(pair);
        let function = self.name(parts.next()?);
        Some(Call { function, arguments: self.values(parts)? })
    }

    fn spanned_tables(&mut self, pair: Pair<'_, Rule>) -> Option<Spanned<TableRef>> {
        let span = self.span(&pair);
        Some(Spanned::new(self.tables(pair)?, span))
    }

    fn tables(&mut self, pair: Pair<'_, Rule>) -> Option<TableRef> {
        let mut parts = Parts::of(pair);
        let connection = self.name(parts.next()?);
        let pair = parts.next()?;
        let tables = match pair.as_rule() {
            Rule::set => Parts::of(pair).map(|pair| self.name_slot(pair)).collect(),
            _ => vec![self.name_slot(pair)],
        };
        Some(TableRef { connection, tables })
    }

    fn settings(&mut self, parts: &mut Parts<'_>) -> Option<Settings> {
        let Some(pair) = parts.next_if(&[Rule::block]) else { return Some(Settings::default()) };
        let span = self.span(&pair);
        Some(Settings(Some(Spanned::new(self.block(pair)?, span))))
    }

    fn block(&mut self, pair: Pair<'_, Rule>) -> Option<Vec<Setting>> {
        Parts::of(pair)
            .map(|pair| {
                let mut parts = Parts::of(pair);
                Some(Setting { key: self.name(parts.next()?), value: self.value(parts.next()?)? })
            })
            .collect()
    }

    fn value(&mut self, pair: Pair<'_, Rule>) -> Option<Spanned<Value>> {
        let span = self.span(&pair);
        let node = self.nested(span, |builder| builder.value_node(Parts::of(pair).next()?));
        Some(Spanned::new(node.unwrap_or(Some(Value::Hole))?, span))
    }

    fn value_node(&mut self, pair: Pair<'_, Rule>) -> Option<Value> {
        Some(match pair.as_rule() {
            Rule::hole => Value::Hole,
            Rule::text => Value::Text(self.text(pair).node),
            Rule::number => Value::Number(number(pair)?),
            Rule::variable => Value::Variable(Parts::of(pair).next()?.as_str().to_owned()),
            Rule::list => Value::List(self.values(Parts::of(pair))?),
            Rule::block => Value::Block(self.block(pair)?),
            Rule::call => Value::Call(self.call(pair)?),
            Rule::tables => Value::Tables(self.tables(pair)?),
            Rule::word => Value::Word(pair.as_str().to_owned()),
            _ => return None,
        })
    }

    fn values(&mut self, parts: Parts<'_>) -> Option<Vec<Spanned<Value>>> {
        parts.map(|pair| self.value(pair)).collect()
    }

    /// Runs `inner` one level deeper; `None`, with a finding, when that is too deep.
    fn nested<T>(&mut self, span: Span, inner: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth == NESTING_MAX {
            let message = format!("this is nested more than {NESTING_MAX} deep");
            let finding = Diagnostic::new(DiagnosticCode::E0110, span, message);
            self.findings.push(finding.help("give a part of it a name with `let`, or leave it out"));
            return None;
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        Some(result)
    }

    fn duration(&mut self, pair: Pair<'_, Rule>) -> Spanned<Number> {
        let span = self.span(&pair);
        let number = number(pair).unwrap_or(Number { digits: "0".into(), unit: "s".into() });
        if number.as_duration().is_none() {
            let units: Vec<&str> = Number::TIME_UNITS.iter().map(|(unit, _)| *unit).collect();
            let finding =
                Diagnostic::new(DiagnosticCode::E0107, span, format!("`{number}` is not a duration"))
                    .label("a whole number with a unit of time goes here")
                    .help(format!("type a whole number and one of {}, such as `30s`", units.join(", ")));
            self.findings.push(finding);
        }
        Spanned::new(number, span)
    }

    fn name_slot(&mut self, pair: Pair<'_, Rule>) -> Slot<Name> {
        match pair.as_rule() {
            Rule::hole => Slot::Hole(Spanned::new((), self.span(&pair))),
            _ => Slot::Given(self.name(pair)),
        }
    }

    fn slot<T>(
        &mut self,
        pair: Pair<'_, Rule>,
        given: impl FnOnce(&mut Self, Pair<'_, Rule>) -> Option<T>,
    ) -> Option<Slot<T>> {
        match pair.as_rule() {
            Rule::hole => Some(Slot::Hole(Spanned::new((), self.span(&pair)))),
            _ => Some(Slot::Given(given(self, pair)?)),
        }
    }

    fn name(&mut self, pair: Pair<'_, Rule>) -> Name {
        let written = pair.as_str();
        let name = match written.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            Some(quoted) => quoted.replace("``", "`"),
            None => written.to_owned(),
        };
        Spanned::new(name, self.span(&pair))
    }

    fn text(&mut self, pair: Pair<'_, Rule>) -> Spanned<String> {
        let span = self.span(&pair);
        let written = pair.as_str();
        let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
        Spanned::new(self.unescape(inner, span.start as usize + 1), span)
    }

    fn unescape(&mut self, written: &str, at: usize) -> String {
        let mut text = String::with_capacity(written.len());
        let mut rest = written;
        while let Some(backslash) = rest.find('\\') {
            text.push_str(&rest[..backslash]);
            let escape = &rest[backslash..];
            let (character, length) = match read_escape(escape) {
                Ok(read) => read,
                Err(length) => {
                    let start = at + (written.len() - escape.len());
                    let span = Span::new(self.source, start..start + length);
                    let finding = Diagnostic::new(
                        DiagnosticCode::E0108,
                        span,
                        format!("`{}` means nothing in a quoted text", &escape[..length]),
                    );
                    self.findings.push(finding.help(
                        "type `\\\\` for a backslash; `\\\"`, `\\n`, `\\r`, `\\t` and `\\u{…}` are the other escapes",
                    ));
                    (char::REPLACEMENT_CHARACTER, length)
                }
            };
            text.push(character);
            rest = &escape[length..];
        }
        text.push_str(rest);
        text
    }
}

/// The character of the escape that `text` begins with, and its length; the length alone when it is unknown.
fn read_escape(text: &str) -> Result<(char, usize), usize> {
    let second = text[1..].chars().next();
    let character = match second {
        Some('"') => '"',
        Some('\\') => '\\',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => {
            let end = text.find('}').map_or(2, |at| at + 1);
            let digits = text[..end].strip_prefix("\\u{").and_then(|rest| rest.strip_suffix('}'));
            let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            return number.and_then(char::from_u32).map(|character| (character, end)).ok_or(end);
        }
        other => return Err(1 + other.map_or(0, char::len_utf8)),
    };
    Ok((character, 2))
}

fn number(pair: Pair<'_, Rule>) -> Option<Number> {
    let mut parts = Parts::of(pair);
    let digits = parts.next()?.as_str().replace('_', "");
    let unit = parts.next().map(|unit| unit.as_str().to_owned()).unwrap_or_default();
    Some(Number { digits, unit })
}

/// The parts of a pair that mean something: no comments, keywords and signs.
pub(super) struct Parts<'i>(std::iter::Peekable<pest::iterators::Pairs<'i, Rule>>);

impl<'i> Parts<'i> {
    pub(super) fn of(pair: Pair<'i, Rule>) -> Self {
        Parts(pair.into_inner().peekable())
    }

    fn next_if(&mut self, rules: &[Rule]) -> Option<Pair<'i, Rule>> {
        self.skip();
        self.0.next_if(|pair| rules.contains(&pair.as_rule()))
    }

    fn skip(&mut self) {
        while self.0.next_if(|pair| super::wrong::is_sign(pair.as_rule())).is_some() {}
    }
}

impl<'i> Iterator for Parts<'i> {
    type Item = Pair<'i, Rule>;

    fn next(&mut self) -> Option<Pair<'i, Rule>> {
        self.skip();
        self.0.next()
    }
}
