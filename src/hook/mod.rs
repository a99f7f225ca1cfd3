//! Hooks: Rhai code of a script, compiled once and run on changes.
//!
//! A hook sees `row`, `before` (the old row, or `()`), `op` (`"insert"`, `"update"`, `"delete"`), `table` (the
//! table's name), `source` (`source.name`, `source.database`) and `ts` (when the source executed the change). It may
//! call `skip()`, which ends it and drops the change, and `emit(row)`, which adds a row of the same operation before
//! the row itself.
//!
//! **Rows.** `row.qty` reads a column, `row.qty = 3` sets one or adds it, `row.remove("qty")` takes it out;
//! `row["qty"]`, `"qty" in row`, `row.keys()`, `row.values()`, `row.len()` and `for name in row` do what they do for an
//! object map. A column that the table does not have is an error, never `()`; `()` is NULL or a removed column. The row
//! of a delete is the old one. A block map changes `row`, and its value is ignored; a function map returns the row.
//!
//! **Values.** Nothing is coerced silently. Integers are INT; those beyond 64 bits with sign, and DECIMAL columns, are
//! exact DECIMALs, which mix with INT but not with FLOAT. Dates and times are types of their own. Text that looks like
//! a number stays text. A value that fits its column exactly is stored in the column's type, any other one gives the
//! column a type of its own class in the rows that leave the hook. As in Rhai everywhere, an ordering comparison with
//! `()` is false.

pub mod act;
mod cell;
mod compile;
mod decimal;
mod engine;
mod error;
mod json;
pub mod library;
mod lookup;
mod reach;
mod row;
mod shape;
mod time;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use rhai::{AST, Dynamic, Engine, ImmutableString, Position, Scope};

pub use self::compile::{check_module, compile, compile_with};
pub use self::decimal::{DECIMAL_DIGITS_MAX, DIVISION_SCALE};
pub use self::engine::{
    ARRAY_ITEMS_MAX, CALL_LEVELS_MAX, EMITTED_ROWS_MAX, EXPRESSION_DEPTH_MAX, MAP_ENTRIES_MAX,
    OPERATIONS_MAX, TEXT_BYTES_MAX, TIME_MAX_MS, VARIABLES_MAX,
};
pub use self::error::HookError;
pub use self::lookup::{LookupCall, Lookups};
pub use self::shape::{Projection, ProjectionError};
pub(crate) use self::time::{parse_date, parse_datetime, parse_time, parse_timestamp};

use self::compile::Places;
use self::engine::{Ended, Exchange};
use self::error::Problem;
use self::row::HookRow;
use self::shape::Shapes;
use crate::model::block::Op;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::model::value::Timestamp;

/// What a hook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// It answers whether a change passes.
    Filter,
    /// It changes the row.
    Map,
}

/// One change as a hook is given it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The row that the hook is about.
    pub row: &'a Row,
    /// The row before the change.
    pub before: Option<&'a Row>,
    /// What happened.
    pub op: Op,
    /// The source's schema, which names table and database.
    pub table: &'a Arc<TableSchema>,
    /// When the source executed the change, milliseconds since 1970 UTC.
    pub time_ms: i64,
}

/// What a map makes of one row.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The row as the map left it; `None` when it called `skip()`.
    pub row: Option<Row>,
    /// The rows that it emitted.
    pub emitted: Vec<Row>,
    /// What its last expression gave, as JSON, when that is a value.
    pub value: Option<String>,
}

/// A hook that is ready to run. It belongs to one pipeline, as it keeps its scope and the schemas that it made.
pub struct CompiledHook {
    kind: HookKind,
    engine: Engine,
    ast: AST,
    exchange: Arc<Exchange>,
    places: Places,
    looks_at_change: bool,
    lookup_calls: Vec<LookupCall>,
    scope: Scope<'static>,
    shapes: Shapes,
    ops: [ImmutableString; 4],
    source_name: ImmutableString,
    /// The schema whose name `table` and `source` hold at present.
    named: Option<Arc<TableSchema>>,
}

/// `source` in a hook.
#[derive(Clone, Debug)]
struct SourceFacts {
    name: ImmutableString,
    database: ImmutableString,
}

/// The names in a hook's scope, in their order there.
const NAMES: [&str; 6] = ["row", "before", "op", "table", "source", "ts"];

impl CompiledHook {
    /// Says what `source.name` is: the name of the source's connection.
    pub fn set_source(&mut self, name: &str) {
        self.source_name = name.into();
        self.named = None;
    }

    /// Whether the hook mentions `before` or `op`, and so is about a change more than about a row.
    pub fn looks_at_change(&self) -> bool {
        self.looks_at_change
    }

    /// Where it looks rows up.
    pub fn lookup_calls(&self) -> &[LookupCall] {
        &self.lookup_calls
    }

    /// Whether the change passes. `skip()` answers no.
    ///
    /// # Errors
    /// When the hook fails, exceeds a limit, or answers neither true nor false.
    pub fn filter(&mut self, facts: &Facts<'_>) -> Result<bool, HookError> {
        match self.run(facts)? {
            None => Ok(false),
            Some(answer) => answer.as_bool().map_err(|_| {
                let message =
                    format!("a filter answers true or false, but this one gave {}", cell::type_name(&answer));
                let advice = "end it with a comparison, without `;` behind it";
                self.places.error(None, Position::NONE, Problem::new(message).advice(advice))
            }),
        }
    }

    /// The row as the hook left it; `None` when it called `skip()`. Emitted rows are appended to `emitted`.
    ///
    /// # Errors
    /// When the hook fails, exceeds a limit, or leaves something that is no row. `emitted` is then as it was.
    pub fn map(&mut self, facts: &Facts<'_>, emitted: &mut Vec<Row>) -> Result<Option<Row>, HookError> {
        let before = emitted.len();
        let mapped = self.map_rows(facts, emitted);
        if mapped.is_err() {
            emitted.truncate(before);
        }
        mapped
    }

    /// Runs as [`map`](Self::map), for somebody who also wants to see what the code itself gives.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn try_map(&mut self, facts: &Facts<'_>) -> Result<Tried, HookError> {
        let answer = self.run(facts)?;
        let value = answer.as_ref().and_then(value_text);
        let mut emitted = Vec::new();
        let row = self.take_rows(answer, &mut emitted)?;
        Ok(Tried { row, emitted, value })
    }

    fn map_rows(&mut self, facts: &Facts<'_>, emitted: &mut Vec<Row>) -> Result<Option<Row>, HookError> {
        let answer = self.run(facts)?;
        self.take_rows(answer, emitted)
    }

    /// The rows that a run has left.
    fn take_rows(
        &mut self,
        answer: Option<Dynamic>,
        emitted: &mut Vec<Row>,
    ) -> Result<Option<Row>, HookError> {
        let rows = std::mem::take(&mut *self.emitted());
        for row in rows {
            let row = self.shapes.finish(&row);
            emitted.push(row.map_err(|problem| self.places.error(None, Position::NONE, problem))?);
        }
        if answer.is_none() {
            return Ok(None);
        }
        let row = self.scope.get_mut("row").map(std::mem::take).unwrap_or_default().flatten();
        let Some(row) = row.read_lock::<HookRow>() else {
            let message = format!("the map left {} as the row", cell::type_name(&row));
            let advice = match self.places.function() {
                Some(function) => format!("end `{function}` with `row`, without `;` behind it"),
                None => "set columns with `row.column = value`, and leave `row` itself".to_owned(),
            };
            return Err(self.places.error(None, Position::NONE, Problem::new(message).advice(advice)));
        };
        let finished = self.shapes.finish(&row);
        finished.map(Some).map_err(|problem| self.places.error(None, Position::NONE, problem))
    }

    /// Runs the code. `None` when it called `skip()`.
    fn run(&mut self, facts: &Facts<'_>) -> Result<Option<Dynamic>, HookError> {
        self.fill_scope(facts);
        self.emitted().clear();
        let (engine, scope, ast) = (&self.engine, &mut self.scope, &self.ast);
        // A panic can only come from a row image that is not what its schema says, or from a fault in a function
        // that hooks call. It stops this pipeline, not the process.
        let result = catch_unwind(AssertUnwindSafe(|| engine.eval_ast_with_scope::<Dynamic>(scope, ast)));
        self.scope.rewind(NAMES.len());
        match result {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => match self.places.explain(*error) {
                Err(Ended::Skipped) => Ok(None),
                Err(Ended::Outside) => {
                    let failed = self.exchange.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let problem = failed.unwrap_or_else(|| Problem::new("the lookup failed"));
                    Err(self.places.error(None, Position::NONE, problem))
                }
                Err(Ended::OutOfTime) => {
                    let problem =
                        Problem::new(format!("the hook ran longer than {TIME_MAX_MS} ms for one row"));
                    Err(self.places.error(None, Position::NONE, problem))
                }
                Ok(error) => Err(error),
            },
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                self.scope = new_scope();
                self.named = None;
                let problem = Problem::new(format!("lode panicked in the hook: {said}"));
                Err(self.places.error(None, Position::NONE, problem.advice("please report this")))
            }
        }
    }

    fn fill_scope(&mut self, facts: &Facts<'_>) {
        let rename = !self.named.as_ref().is_some_and(|named| Arc::ptr_eq(named, facts.table));
        if rename {
            self.named = Some(Arc::clone(facts.table));
        }
        let before = facts.before.map_or(Dynamic::UNIT, |row| Dynamic::from(HookRow::new(row.clone())));
        let ts = Timestamp { micros: facts.time_ms.checked_mul(1000), fsp: 3 };
        self.put("row", Dynamic::from(HookRow::new(facts.row.clone())));
        self.put("before", before);
        self.put("op", self.ops[facts.op as usize].clone().into());
        // A hook may have set these two; the names are cheap to restore and dear to make.
        self.put("ts", Dynamic::from(ts));
        if rename {
            self.put("table", facts.table.name.table.as_str().into());
            let database = facts.table.name.database.as_str().into();
            self.put("source", Dynamic::from(SourceFacts { name: self.source_name.clone(), database }));
        }
    }

    fn put(&mut self, name: &str, value: Dynamic) {
        if let Some(slot) = self.scope.get_mut(name) {
            *slot = value;
        }
    }

    fn emitted(&self) -> std::sync::MutexGuard<'_, Vec<HookRow>> {
        self.exchange.emitted.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What code gives, as JSON; `None` for a row and for nothing.
fn value_text(value: &Dynamic) -> Option<String> {
    if value.is_unit() || value.is::<HookRow>() {
        return None;
    }
    Some(
        json::to_json(value, 0)
            .map_or_else(|_| format!("a {}", cell::type_name(value)), |json| json.to_string()),
    )
}

impl std::fmt::Debug for CompiledHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledHook")
            .field("kind", &self.kind)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

fn new_scope() -> Scope<'static> {
    let mut scope = Scope::new();
    for name in NAMES {
        scope.push_dynamic(name, Dynamic::UNIT);
    }
    scope
}
