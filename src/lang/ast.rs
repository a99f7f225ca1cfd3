//! The tree of a script, as it is written: names are not looked up, values not interpreted.
//!
//! Two trees are equal when they say the same; where it stands in a text, and the comments, do not count.

use std::fmt;
use std::time::Duration;

use super::span::Span;
pub use super::verb::Verb;

/// A whole text.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The statements in their order. After syntax errors, those that could be read.
    pub statements: Vec<Spanned<Statement>>,
    /// Comments and blank lines, for the printer.
    pub trivia: Trivia,
}

impl PartialEq for Script {
    fn eq(&self, other: &Self) -> bool {
        self.statements == other.statements
    }
}

/// One statement; each begins with a reserved word.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `include "file"`
    Include(Include),
    /// `let name = value`
    Let(Let),
    /// `connection name = kind "endpoint" { … }`
    Connection(Connection),
    /// `share_mining connection via store.log { … }`
    ShareMining(ShareMining),
    /// `pipeline name = source … -> sink …`, or the same without `pipeline name =`
    Pipeline(Pipeline),
    /// `on condition for 2m of name do …`
    Alert(Alert),
    /// `every 1h do …` and `at "0 2 * * *" do …`
    Schedule(Schedule),
    /// `test "name" of pipeline { … }`
    Test(Test),
    /// `pause shop.orders`
    Command(Command),
}

/// `include "file" { … }`: a script (`.lode`) or a module of hooks (`.rhai`).
#[derive(Clone, Debug, PartialEq)]
pub struct Include {
    /// Relative to the including file.
    pub path: Spanned<String>,
    /// What a module may do.
    pub settings: Settings,
}

/// `let name = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// What `$name` refers to.
    pub name: Name,
    /// The value.
    pub value: Spanned<Value>,
}

/// `connection name = kind "endpoint" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Its name.
    pub name: Name,
    /// `mysql`, `mongodb` …
    pub kind: Slot<Name>,
    /// The quoted endpoint.
    pub endpoint: Option<Slot<Spanned<String>>>,
    /// Its settings.
    pub settings: Settings,
}

/// `share_mining connection via store.log { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct ShareMining {
    /// The source connection that is mined.
    pub connection: Slot<Name>,
    /// Where the log is kept; `None` leaves it to lode.
    pub via: Option<Slot<Via>>,
    /// Settings of the mine and its log.
    pub settings: Settings,
}

/// `store.log`, `store`, or `embedded`.
#[derive(Clone, Debug, PartialEq)]
pub struct Via {
    /// A connection, or the word `embedded`.
    pub store: Name,
    /// The log's name in that store.
    pub log: Option<Name>,
}

impl Via {
    /// Whether the embedded store is meant.
    pub fn is_embedded(&self) -> bool {
        self.store.node == "embedded"
    }
}

/// A pipeline, named or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name; `None` for a statement that begins with `source` or `[`.
    pub name: Option<Name>,
    /// Its settings; only a named pipeline can have any.
    pub settings: Settings,
    /// One source, or those of the list in brackets.
    pub sources: Vec<Spanned<Source>>,
    /// What happens to their changes.
    pub flow: Spanned<Flow>,
}

/// `source kind connection.tables share_mining via … { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// `mysql`
    pub kind: Slot<Name>,
    /// The tables.
    pub tables: Slot<Spanned<TableRef>>,
    /// Present when the changes are read through shared mining.
    pub mining: Option<Spanned<Mining>>,
    /// Settings of the source.
    pub settings: Settings,
}

/// `share_mining`, with or without `via …`, behind a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Mining {
    /// The log, where this source says it.
    pub via: Option<Slot<Via>>,
}

/// Stages and where they lead.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The stages in their order.
    pub stages: Vec<Spanned<Stage>>,
    /// The last element.
    pub end: FlowEnd,
}

/// The last element of a flow.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowEnd {
    /// One sink.
    Sink(Spanned<Sink>),
    /// Several flows, each of which gets every change.
    Branches(Vec<Spanned<Flow>>),
}

/// A step between source and sink.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `filter { … }`
    Filter(Slot<Code>),
    /// `map { … }`
    Map(Slot<Code>),
    /// `keep a, b`
    Keep(Vec<Slot<Name>>),
    /// `drop a, b`
    Drop(Vec<Slot<Name>>),
}

/// Rhai code.
#[derive(Clone, Debug, PartialEq)]
pub enum Code {
    /// The text between the braces, as written, blanks included; the span is that of the text.
    Block(Spanned<String>),
    /// `module::function`
    Hook(HookPath),
}

impl Code {
    /// The code without its braces.
    pub fn span(&self) -> Span {
        match self {
            Code::Block(text) => text.span,
            Code::Hook(path) => path.module.span.to(path.function.span),
        }
    }
}

/// `module::function`
#[derive(Clone, Debug, PartialEq)]
pub struct HookPath {
    /// The stem of an included `.rhai` file.
    pub module: Name,
    /// A function of it.
    pub function: Name,
}

/// `sink kind target { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// `sqlite`
    pub kind: Slot<Name>,
    /// What is written to; some kinds have none.
    pub target: Option<Slot<Target>>,
    /// Its settings.
    pub settings: Settings,
}

/// What a sink writes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// `connection.table`
    Table(Spanned<TableRef>),
    /// A quoted path.
    Path(Spanned<String>),
}

/// `connection.table`, `connection.{a, b}`, `connection.tmp_*`
#[derive(Clone, Debug, PartialEq)]
pub struct TableRef {
    /// The connection.
    pub connection: Name,
    /// At least one name; `*` in it stands for any run of characters. One name is written without braces.
    pub tables: Vec<Slot<Name>>,
}

/// `on condition for 2m of name do …`
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What is watched.
    pub metric: Slot<Name>,
    /// `> 30s`; a metric without it is a yes or no, such as `error`.
    pub limit: Option<Limit>,
    /// `for 2m`: how long it must hold.
    pub hold: Option<Spanned<Number>>,
    /// `of name`: a pipeline, a mine, or tables.
    pub of: Option<Slot<Subject>>,
    /// Its settings.
    pub settings: Settings,
    /// What is done.
    pub action: Slot<Action>,
}

/// `> 30s`
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// The comparison.
    pub comparison: Spanned<Comparison>,
    /// The value that is compared with.
    pub value: Spanned<Value>,
}

/// A comparison with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// Every comparison.
    pub const ALL: [Comparison; 6] = [
        Comparison::Above,
        Comparison::AtLeast,
        Comparison::Below,
        Comparison::AtMost,
        Comparison::Equal,
        Comparison::NotEqual,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
        }
    }

    /// Whether it is so.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Above => left > right,
            Comparison::AtLeast => left >= right,
            Comparison::Below => left < right,
            Comparison::AtMost => left <= right,
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
        }
    }
}

/// Something with a name: a pipeline or connection, or tables of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A bare name.
    Name(Name),
    /// `connection.table`
    Tables(Spanned<TableRef>),
}

/// What `do` does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Rhai code.
    Code(Code),
    /// A command.
    Command(Spanned<Command>),
}

/// `every 1h do …` and `at "0 2 * * *" do …`
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// When.
    pub when: When,
    /// What is done.
    pub action: Slot<Action>,
}

/// The time of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// `every 1h`
    Every(Slot<Spanned<Number>>),
    /// `at "0 2 * * *"`: minute, hour, day, month, day of the week.
    At(Slot<Spanned<String>>),
}

/// `test "name" of pipeline { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// What it shows.
    pub name: Spanned<String>,
    /// The pipeline.
    pub of: Slot<Name>,
    /// What is given and what is expected, in order.
    pub steps: Vec<Spanned<Step>>,
}

/// A line of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `given insert shop.orders { … }`
    Given(Fact),
    /// `expect upsert dw.orders { … }`
    Expect(Fact),
}

/// What is given or expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// `insert shop.orders { id = 1 }`, `upsert dw.orders only { id = 1 }`, `delete "audit.jsonl" { id = 1 }`
    Change {
        /// `insert`, `update`, `delete`, `upsert`; `table` where columns are declared.
        op: Name,
        /// One table, or what a sink without a connection is called.
        target: Slot<Target>,
        /// Whether the row has no other columns than these.
        only: bool,
        /// The row.
        row: Settings,
    },
    /// `lag 45s for 3m of sales`, `error`, `log "recorded.jsonl"`
    Metric {
        /// The metric.
        metric: Name,
        /// Its value; none where it is a yes or no.
        value: Option<Spanned<Value>>,
        /// How long it has had this value.
        hold: Option<Spanned<Number>>,
        /// Whose metric it is; without it, that of the test's pipeline.
        of: Option<Slot<Subject>>,
    },
    /// `alerts::page { resolved = true }`: the hook is called.
    Hook {
        /// The hook.
        path: HookPath,
        /// Some of the facts that it is given.
        facts: Settings,
    },
    /// `mail { to = "dba@example.test" }`: what a hook did.
    Effect {
        /// What.
        name: Name,
        /// Some of its parts.
        parts: Settings,
    },
    /// `pause shop.orders`: the command is given.
    Command(Spanned<Command>),
    /// `nothing`, or `nothing more`
    Nothing {
        /// Whether `more` is there.
        more: bool,
    },
}

/// `pause shop.orders`: a control verb with what it acts on.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The verb.
    pub verb: Spanned<Verb>,
    /// What follows it.
    pub arguments: Vec<Spanned<Argument>>,
    /// `{ retention = 3d }` of `set shop { … }`.
    pub settings: Settings,
}

/// What may follow a verb.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A name or word.
    Word(String),
    /// `connection.table`
    Tables(TableRef),
    /// Quoted text.
    Text(String),
    /// A number, with or without a unit.
    Number(Number),
    /// `position("binlog.000042", 4)`
    Call(Call),
    /// The text between the braces of `{ row.qty > 3 }`; its place is without them.
    Code(String),
    /// `...`
    Hole,
}

/// A settings block, or its absence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub Option<Spanned<Vec<Setting>>>);

impl Settings {
    /// The settings in their order; none when there is no block.
    pub fn entries(&self) -> &[Setting] {
        self.0.as_ref().map(|block| block.node.as_slice()).unwrap_or_default()
    }

    /// The value of a key; the first one when it is given twice.
    pub fn get(&self, key: &str) -> Option<&Spanned<Value>> {
        self.entries().iter().find(|setting| setting.key.node == key).map(|setting| &setting.value)
    }

    /// The block with its braces.
    pub fn span(&self) -> Option<Span> {
        self.0.as_ref().map(|block| block.span)
    }
}

/// `key = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The key.
    pub key: Name,
    /// Its value.
    pub value: Spanned<Value>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `500`, `30s`, `64MiB`, `-1.5`
    Number(Number),
    /// Quoted text, with its escapes resolved.
    Text(String),
    /// A bare word: `on`, `off`, `now`, `upsert`, `null`.
    Word(String),
    /// `$name`
    Variable(String),
    /// `env("NAME")`, `position("binlog.000042", 4)`
    Call(Call),
    /// `[a, b]`
    List(Vec<Spanned<Value>>),
    /// `{ key = value }`
    Block(Vec<Setting>),
    /// `shop.tmp_*`
    Tables(TableRef),
    /// `...`
    Hole,
}

/// `name(value, …)`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is called.
    pub function: Name,
    /// Its arguments.
    pub arguments: Vec<Spanned<Value>>,
}

/// A number as it is written, so that no digit is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Sign, digits, and at most one point; no underscores.
    pub digits: String,
    /// `ms`, `s`, `m`, `h`, `d`, `KiB`, `MiB` …; empty when there is none.
    pub unit: String,
}

impl Number {
    /// The units of time with their length in milliseconds.
    pub const TIME_UNITS: &[(&str, u64)] =
        &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
    /// The units of size with their number of bytes.
    pub const SIZE_UNITS: &[(&str, u64)] = &[
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];

    /// A whole number that is not negative and has no unit.
    pub fn as_integer(&self) -> Option<u64> {
        if self.unit.is_empty() { self.digits.parse().ok() } else { None }
    }

    /// A whole number of a unit of time; `None` also when it does not fit.
    pub fn as_duration(&self) -> Option<Duration> {
        self.scaled(Self::TIME_UNITS).map(Duration::from_millis)
    }

    /// Bytes: a whole number of a unit of size; `None` also when it does not fit.
    pub fn as_size(&self) -> Option<u64> {
        self.scaled(Self::SIZE_UNITS)
    }

    fn scaled(&self, units: &[(&str, u64)]) -> Option<u64> {
        let (_, scale) = units.iter().find(|(unit, _)| *unit == self.unit)?;
        self.digits.parse::<u64>().ok()?.checked_mul(*scale)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.digits, self.unit)
    }
}

/// A name with its place. Names in backticks are kept without them.
pub type Name = Spanned<String>;

/// Something with its place. The place does not count when two are compared.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// What it is.
    pub node: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts both together.
    pub fn new(node: T, span: Span) -> Self {
        Spanned { node, span }
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.node
    }
}

/// Something that may be left open with `...`.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot<T> {
    /// It is there.
    Given(T),
    /// `...`
    Hole(Hole),
}

impl<T> Slot<T> {
    /// What is there; `None` for a hole.
    pub fn given(&self) -> Option<&T> {
        match self {
            Slot::Given(node) => Some(node),
            Slot::Hole(_) => None,
        }
    }
}

/// A `...` with its place, which does not count when two are compared.
pub type Hole = Spanned<()>;

/// Comments and blank lines of a text, in their order.
#[derive(Clone, Debug, Default)]
pub struct Trivia {
    /// The comments.
    pub comments: Vec<Comment>,
    /// Offsets of the first character after each run of blank lines.
    pub after_blank: Vec<u32>,
}

/// A comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// The text with its `#`, without blanks at the end.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// Whether nothing stands before it in its line.
    pub own_line: bool,
}
