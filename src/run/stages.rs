//! The stages of a route: what happens to a change between the log and the sink.
//!
//! **Rows and changes.** A filter that looks at `before` or `op` chooses changes: what it refuses is gone. Any other
//! filter chooses rows, and the target holds exactly the rows that it accepts. So an update whose old row was
//! refused becomes an insert, and one whose new row is refused becomes a delete of the old row; when the old row is
//! not known as a whole, the target is taken to hold it. A truncate passes every stage untouched.
//!
//! **Old rows.** `keep` and `drop` shape the old row like the new one. A map is run on the old row too where somebody
//! needs it: for a delete, for a table without a primary key, when a later stage looks at old rows, and when the map
//! gave the row another key. Otherwise the old row is left out of the update: it no longer describes what the target
//! holds. An update that changes the primary key is split into a delete and an insert before the first stage.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::hook::{
    CompiledHook, Facts, HookError, HookKind, Lookups, Projection, ProjectionError, compile_with,
};
use crate::model::block::Op;
use crate::model::change::Change;
use crate::model::position::Seq;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::model::table::TableName;
use crate::model::value::Value;
use crate::plan::StagePlan;

/// The compiled stages of one route.
#[derive(Default)]
pub struct Stages {
    stages: Vec<Stage>,
    /// Changes between two stages, and those that come out of the present one; kept to save allocations.
    waiting: Vec<Change>,
    done: Vec<Change>,
    emitted: Vec<Row>,
}

enum Stage {
    Filter(CompiledHook),
    /// A map, and whether a later stage looks at old rows.
    Map(CompiledHook, bool),
    Project(Projection, &'static str),
}

/// A change that a stage could not handle.
#[derive(Debug)]
pub struct StageError {
    /// The entry of the change.
    pub seq: Seq,
    /// The table.
    pub table: TableName,
    /// The row's key, `id = 42`, or words that say why it has none.
    pub key: String,
    /// What went wrong.
    pub cause: Box<StageCause>,
}

/// What went wrong in a stage.
#[derive(Debug)]
pub enum StageCause {
    /// In a filter or a map.
    Hook(HookError),
    /// In `keep` or `drop`, which the word says.
    Columns(&'static str, ProjectionError),
}

impl Stages {
    /// Compiles the stages of a route that reads from the connection called `source_name`.
    ///
    /// # Errors
    /// The first mistake in a hook.
    pub fn compile(plans: &[StagePlan], source_name: &str) -> Result<Stages, HookError> {
        Stages::compile_with(plans, source_name, None)
    }

    /// Compiles stages whose hooks look rows up in these tables.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_with(
        plans: &[StagePlan],
        source_name: &str,
        lookups: Option<&Arc<Lookups>>,
    ) -> Result<Stages, HookError> {
        let mut stages = Vec::with_capacity(plans.len());
        let mut old_rows_wanted = false;
        // Back to front, as a map must know what comes after it.
        for plan in plans.iter().rev() {
            stages.push(match plan {
                StagePlan::Filter(hook) => {
                    let mut hook = compile_with(hook, HookKind::Filter, lookups.cloned())?;
                    hook.set_source(source_name);
                    old_rows_wanted = true;
                    Stage::Filter(hook)
                }
                StagePlan::Map(hook) => {
                    let mut hook = compile_with(hook, HookKind::Map, lookups.cloned())?;
                    hook.set_source(source_name);
                    let later = old_rows_wanted;
                    old_rows_wanted |= hook.looks_at_change();
                    Stage::Map(hook, later)
                }
                StagePlan::Keep(names) => Stage::Project(Projection::keep(names.clone()), "keep"),
                StagePlan::Drop(names) => Stage::Project(Projection::drop(names.clone()), "drop"),
            });
        }
        stages.reverse();
        Ok(Stages { stages, ..Stages::default() })
    }

    /// Whether every change passes as it is.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Sends one change through all stages and appends what comes out to `out`.
    ///
    /// # Errors
    /// When a stage fails; `out` is then as it was.
    #[inline]
    pub fn apply(&mut self, change: Change, out: &mut Vec<Change>) -> Result<(), StageError> {
        if self.stages.is_empty() || change.op == Op::Truncate {
            out.push(change);
            return Ok(());
        }
        self.pass(change, out, |_| {})
    }

    /// Sends one change through all stages as [`apply`](Self::apply) does, and shows `look` what goes into the first one
    /// and what comes out of each, up to one that lets nothing pass.
    ///
    /// # Errors
    /// When a stage fails; what came before it was shown.
    pub fn trace(&mut self, change: Change, mut look: impl FnMut(&[Change])) -> Result<(), StageError> {
        if change.op == Op::Truncate {
            (0..=self.stages.len()).for_each(|_| look(std::slice::from_ref(&change)));
            return Ok(());
        }
        self.pass(change, &mut Vec::new(), look)
    }

    fn pass(
        &mut self,
        change: Change,
        out: &mut Vec<Change>,
        mut look: impl FnMut(&[Change]),
    ) -> Result<(), StageError> {
        self.waiting.clear();
        self.done.clear();
        split_by_key(change, &mut self.waiting);
        look(&self.waiting);
        for stage in &mut self.stages {
            for change in self.waiting.drain(..) {
                stage.apply(change, &mut self.done, &mut self.emitted)?;
            }
            std::mem::swap(&mut self.waiting, &mut self.done);
            look(&self.waiting);
            if self.waiting.is_empty() {
                return Ok(());
            }
        }
        out.append(&mut self.waiting);
        Ok(())
    }
}

impl Stage {
    fn apply(
        &mut self,
        change: Change,
        out: &mut Vec<Change>,
        emitted: &mut Vec<Row>,
    ) -> Result<(), StageError> {
        let failed = Failed::of(&change);
        match self {
            Stage::Filter(hook) => {
                out.extend(filter(hook, change).map_err(|error| failed.error(StageCause::Hook(error)))?);
            }
            Stage::Map(hook, old_rows_wanted) => {
                map(hook, *old_rows_wanted, change, out, emitted)
                    .map_err(|error| failed.error(StageCause::Hook(error)))?;
            }
            Stage::Project(projection, word) => {
                let mut project = |row: Option<Row>| row.map(|row| projection.apply(&row)).transpose();
                let Change { seq, op, table, before, after, time_ms } = change;
                let rows = project(before).and_then(|before| Ok((before, project(after)?)));
                let (before, after) = rows.map_err(|error| failed.error(StageCause::Columns(word, error)))?;
                out.push(Change { seq, op, table, before, after, time_ms });
            }
        }
        Ok(())
    }
}

fn filter(hook: &mut CompiledHook, change: Change) -> Result<Option<Change>, HookError> {
    let Some(row) = change.row() else { return Ok(Some(change)) };
    let before = change.before.as_ref();
    let passes = hook.filter(&facts(&change, row, before))?;
    if change.op != Op::Update || hook.looks_at_change() {
        return Ok(passes.then_some(change));
    }
    let old = change.before.as_ref().filter(|old| old.view().is_complete());
    let passed = old.map(|old| hook.filter(&facts(&change, old, None))).transpose()?;
    Ok(match (passed, passes) {
        (Some(true) | None, true) => Some(change),
        (Some(false), true) => Some(Change { op: Op::Insert, before: None, ..change }),
        (Some(true) | None, false) => {
            let before = change.before.or(change.after);
            Some(Change { op: Op::Delete, before, after: None, ..change })
        }
        (Some(false), false) => None,
    })
}

fn map(
    hook: &mut CompiledHook,
    old_rows_wanted: bool,
    change: Change,
    out: &mut Vec<Change>,
    emitted: &mut Vec<Row>,
) -> Result<(), HookError> {
    let Some(row) = change.row() else {
        out.push(change);
        return Ok(());
    };
    emitted.clear();
    let mapped = hook.map(&facts(&change, row, change.before.as_ref()), emitted)?;
    let Change { seq, op, table, before, after, time_ms } = change;
    let made = |op, before, after| Change { seq, op, table: Arc::clone(&table), before, after, time_ms };
    out.extend(emitted.drain(..).map(|row| match op {
        Op::Delete => made(op, Some(row), None),
        _ => made(op, None, Some(row)),
    }));
    let Some(mapped) = mapped else { return Ok(()) };
    let (Op::Update, Some(after)) = (op, after) else {
        out.push(match op {
            Op::Delete => made(op, Some(mapped), None),
            _ => made(op, None, Some(mapped)),
        });
        return Ok(());
    };
    let keyless = mapped.schema.primary_key.is_empty();
    let rekeyed = !keyless && !same_key(&after, &mapped);
    let old = before.filter(|old| keyless || rekeyed || (old_rows_wanted && old.view().is_complete()));
    let old = match old {
        Some(old) => {
            let facts = Facts { row: &old, before: None, op, table: &table, time_ms };
            // What it emits belongs to the old row, and was emitted when that was new.
            let old = hook.map(&facts, emitted)?;
            emitted.clear();
            old
        }
        None => None,
    };
    match old {
        Some(old) if rekeyed && !same_key(&old, &mapped) => {
            out.push(made(Op::Delete, Some(old), None));
            out.push(made(Op::Insert, None, Some(mapped)));
        }
        old => out.push(made(op, old, Some(mapped))),
    }
    Ok(())
}

fn facts<'a>(change: &'a Change, row: &'a Row, before: Option<&'a Row>) -> Facts<'a> {
    Facts { row, before, op: change.op, table: &change.table, time_ms: change.time_ms }
}

/// An update that changes the primary key is a delete of one row and an insert of another.
fn split_by_key(change: Change, out: &mut Vec<Change>) {
    let moved = match (&change.before, &change.after) {
        (Some(before), Some(after)) => !after.schema.primary_key.is_empty() && !same_key(before, after),
        _ => false,
    };
    if !moved {
        out.push(change);
        return;
    }
    let Change { seq, table, before, after, time_ms, .. } = change;
    let delete = Change { seq, op: Op::Delete, table: Arc::clone(&table), before, after: None, time_ms };
    out.push(delete);
    out.push(Change { seq, op: Op::Insert, table, before: None, after, time_ms });
}

/// Whether two rows have equal bytes in their key columns. A key column absent from one image counts as equal: an
/// image leaves out what did not change.
fn same_key(a: &Row, b: &Row) -> bool {
    let (keys_a, keys_b) = (&a.schema.primary_key, &b.schema.primary_key);
    let (a, b) = (a.view(), b.view());
    keys_a.len() == keys_b.len()
        && keys_a.iter().zip(keys_b).all(|(at_a, at_b)| {
            match (a.get(usize::from(*at_a)), b.get(usize::from(*at_b))) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
        })
}

/// What an error says about its change; found out only when there is one.
struct Failed {
    seq: Seq,
    table: Arc<TableSchema>,
    row: Option<Row>,
}

impl Failed {
    fn of(change: &Change) -> Self {
        Failed { seq: change.seq, table: Arc::clone(&change.table), row: change.row().cloned() }
    }

    fn error(self, cause: StageCause) -> StageError {
        let key = self.row.as_ref().map_or_else(|| "no row".to_owned(), key_text);
        StageError { seq: self.seq, table: self.table.name.clone(), key, cause: Box::new(cause) }
    }
}

/// `id = 42`, also of a row whose image is broken: then it says so.
fn key_text(row: &Row) -> String {
    let read = || {
        let row = row.view();
        let schema = row.schema();
        let columns = schema.primary_key.iter().map(|at| {
            let at = usize::from(*at);
            format!(
                "{} = {}",
                schema.columns[at].name,
                row.get(at).map_or("absent".to_owned(), |v| value_text(&v))
            )
        });
        columns.collect::<Vec<_>>().join(", ")
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)) {
        Ok(key) if key.is_empty() => "a row without a primary key".to_owned(),
        Ok(key) => key,
        Err(_) => "a row whose image cannot be read".to_owned(),
    }
}

/// Characters of a key that an error shows.
const KEY_CHARS_MAX: usize = 64;

fn value_text(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::UInt(v) | Value::Bit(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Double(v) => v.to_string(),
        Value::Year(v) => v.to_string(),
        Value::Date(v) => v.to_string(),
        Value::DateTime(v) => v.to_string(),
        Value::Timestamp(v) => v.to_string(),
        Value::Time(v) => v.to_string(),
        Value::Decimal(v) => v.to_string(),
        Value::Text(v) | Value::Json(v) => {
            let shown: String = v.chars().take(KEY_CHARS_MAX).collect();
            let more = if shown.len() < v.len() { "…" } else { "" };
            format!("\"{shown}{more}\"")
        }
        Value::Bytes(v) => {
            let shown: String = v.iter().take(KEY_CHARS_MAX / 2).map(|byte| format!("{byte:02x}")).collect();
            let more = if v.len() > KEY_CHARS_MAX / 2 { "…" } else { "" };
            format!("0x{shown}{more}")
        }
    }
}

impl fmt::Display for StageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StageCause::Hook(error) => error.fmt(f),
            StageCause::Columns(word, error) => write!(f, "{word}: {}", error.message),
        }
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} (entry {}): {}", self.key, self.table, self.seq, self.cause)
    }
}

impl std::error::Error for StageError {}

impl StageError {
    /// What to do next, where that is known.
    pub fn advice(&self) -> Option<&str> {
        match &*self.cause {
            StageCause::Hook(error) => error.advice.as_deref(),
            StageCause::Columns(_, error) => error.advice.as_deref(),
        }
    }
}

impl From<StageError> for Error {
    fn from(error: StageError) -> Self {
        let place = format!("{} of {} (entry {})", error.key, error.table, error.seq);
        let kind = match &*error.cause {
            StageCause::Hook(error) => error.kind,
            StageCause::Columns(..) => Kind::Data,
        };
        let made = Error::new(kind, error.cause.to_string()).context(place);
        match error.advice() {
            Some(advice) => made.advice(advice.to_owned()),
            None => made,
        }
    }
}
