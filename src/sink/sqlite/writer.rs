//! One connection to a database file: the transaction, the cursor, and the statements of each step.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, params};

use super::Config;
use super::table::{Plan, Target, quote};
use crate::error::{Error, Kind, Result};
use crate::model::change::{Batch, Change};
use crate::model::position::Cursor;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::model::value::Value;
use crate::sink::cursor_row;
use crate::sink::plan_cache::PlanCache;
use crate::sink::settings::Mode;
use crate::sink::step::{
    Step, data_error, describe_key, exactly_one, filled, no_such_row, present, require_whole, steps, widen,
};

/// Prepared statements that are kept; a few for each table.
const STATEMENTS_MAX: usize = 512;

pub(super) struct Writer {
    db: Connection,
    config: Config,
    fence: i64,
    in_transaction: bool,
    targets: HashMap<String, Target>,
    plans: PlanCache<Plan>,
}

impl Writer {
    pub fn open(config: Config) -> Result<(Writer, Option<Cursor>)> {
        let path = config.path.display().to_string();
        if let Some(folder) = config.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| {
                Error::new(Kind::Environment, format!("cannot make the folder {}: {error}", folder.display()))
                    .advice("name another file in the connection, or allow lode to write there")
            })?;
        }
        let db = connect(&config).map_err(|error| db_error(error, &path))?;
        let (fence, cursor) = take_over(&db, &config.route).map_err(|error| db_error(error, &path))?;
        let cursor = cursor.map(|json| cursor_row::from_json(&json, &config.route)).transpose()?;
        let writer = Writer {
            db,
            config,
            fence,
            in_transaction: false,
            targets: HashMap::new(),
            plans: PlanCache::new(),
        };
        Ok((writer, cursor))
    }

    /// After an error the writer is only good for being dropped.
    pub fn write(&mut self, batch: &Batch) -> Result<u64> {
        let mut rows = 0;
        if !self.in_transaction && (!batch.changes.is_empty() || batch.cursor.is_some()) {
            self.sql("BEGIN IMMEDIATE")?;
            self.in_transaction = true;
        }
        for change in &batch.changes {
            rows += match self.config.options.mode {
                Mode::Upsert => self.upsert(change)?,
                Mode::Append => self.append(&filled(change))?,
            };
        }
        if let Some(cursor) = &batch.cursor {
            self.move_cursor(cursor)?;
            self.sql("COMMIT")?;
            self.in_transaction = false;
        }
        Ok(rows)
    }

    pub fn close(self) -> Result<()> {
        if self.in_transaction {
            self.sql("ROLLBACK")?;
        }
        let path = self.config.path.display().to_string();
        self.db.close().map_err(|(_, error)| db_error(error, &path))
    }

    fn sql(&self, sql: &str) -> Result<()> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(drop)
            .map_err(|error| db_error(error, &self.config.path.display().to_string()))
    }

    fn move_cursor(&self, cursor: &Cursor) -> Result<()> {
        let route = &self.config.route;
        let moved = self
            .db
            .prepare_cached(cursor_row::MOVE)
            .and_then(|mut statement| {
                statement.execute(params![cursor_row::to_json(cursor), cursor_row::now(), route, self.fence])
            })
            .map_err(|error| db_error(error, cursor_row::TABLE))?;
        if moved == 1 { Ok(()) } else { Err(cursor_row::fenced(route)) }
    }

    fn upsert(&mut self, change: &Change) -> Result<u64> {
        let mut rows = 0;
        for step in steps(change)?.into_iter().flatten() {
            rows += self.step(change, step)?;
        }
        Ok(rows)
    }

    fn step(&mut self, change: &Change, step: Step<'_>) -> Result<u64> {
        let Some(row) = step.row() else { return self.clear(change) };
        let plan = self.plan(&change.table, &row.schema, step.writes())?;
        let run = Run { db: &self.db, plan: &plan, row };
        match step {
            Step::Put { row, .. } if row.view().is_complete() => run.execute(&plan.put, &[(row, &plan.all)]),
            Step::Put { row, .. } => {
                let present = present(row);
                run.execute(&plan.put_some(&present), &[(row, &present)])
            }
            Step::Patch { key, row } => {
                let run = Run { row: key, ..run };
                let present = present(row);
                let found = run
                    .execute(&plan.patch(&present), &[(row, &present), (key, &plan.key_in(&key.schema)?)])?;
                if found == 1 {
                    return Ok(1);
                }
                Err(no_such_row(&plan.table, key))
            }
            Step::Remove { row } => run.execute(&plan.remove, &[(row, &plan.key)]),
            Step::Add { row } => {
                let present = present(row);
                run.execute(&plan.insert(&present), &[(row, &present)])
            }
            Step::Replace { before, after } => {
                let (new, old) = (present(after), present(before));
                let find = self.plan(&change.table, &before.schema, false)?;
                let run = Run { db: &self.db, plan: &find, row: before };
                let sql = plan.replace_one(&new, &find, &old);
                exactly_one(&plan.table, before, run.execute(&sql, &[(after, &new), (before, &old)])?)
            }
            Step::RemoveOne { row } => {
                let present = present(row);
                exactly_one(&plan.table, row, run.execute(&plan.remove_one(&present), &[(row, &present)])?)
            }
            Step::Clear => self.clear(change),
        }
    }

    fn clear(&mut self, change: &Change) -> Result<u64> {
        let name = self.config.template.table(&change.table.name);
        // A table that is not there has no rows.
        if Target::load(&self.db, &name).map_err(|error| db_error(error, &name))?.is_none() {
            return Ok(0);
        }
        let deleted = self
            .db
            .execute(&format!("DELETE FROM {}", quote(&name)), [])
            .map_err(|error| db_error(error, &name))?;
        Ok(deleted as u64)
    }

    fn append(&mut self, change: &Change) -> Result<u64> {
        require_whole(change)?;
        let schema = change.row().map_or(&change.table, |row| &row.schema);
        let plan = self.plan(&change.table, schema, true)?;
        let columns = change.row().map(present).unwrap_or_default();
        let sql = plan.append(&columns);
        let failed = |error| match change.row() {
            Some(row) => Run { db: &self.db, plan: &plan, row }.failed(error),
            None => db_error(error, &plan.table),
        };
        let mut statement = self.db.prepare_cached(&sql).map_err(failed)?;
        let mut at = 0;
        if let Some(row) = change.row() {
            bind(&mut statement, &mut at, row, &columns, &plan)?;
        }
        let time = jiff::Timestamp::from_millisecond(change.time_ms).map_err(|error| {
            Error::new(Kind::Data, format!("entry {} has an impossible time", change.seq)).caused_by(error)
        })?;
        (|| {
            statement.raw_bind_parameter(at + 1, change.op.as_str())?;
            statement.raw_bind_parameter(at + 2, large(change.seq.0))?;
            statement.raw_bind_parameter(at + 3, time.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string())?;
            statement.raw_execute()
        })()
        .map_err(failed)?;
        Ok(1)
    }

    /// The statements for rows of `schema`. `writes` asks that the target has all columns, not only the key's.
    fn plan(
        &mut self,
        source: &Arc<TableSchema>,
        schema: &Arc<TableSchema>,
        writes: bool,
    ) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plans.get(source, schema)
            && (plan.checked_columns || !writes)
        {
            return Ok(plan.clone());
        }
        let name = self.config.template.table(&source.name);
        if name == cursor_row::TABLE {
            return Err(Error::new(Kind::Environment, format!("the table {name} is lode's own"))
                .advice("choose another target table"));
        }
        // What is remembered may be out of date: other routes may write to the same table, and make it grow.
        let known = self.targets.remove(&name).filter(|target| target.has_columns(schema));
        let mut target = match known {
            Some(target) => target,
            None => match Target::load(&self.db, &name).map_err(|error| db_error(error, &name))? {
                Some(target) => target,
                None => Target::create(&self.db, &name, schema, self.config.options)?,
            },
        };
        target.check(&self.db, schema, self.config.options, writes)?;
        let plan = Plan::new(&target, schema, writes);
        self.targets.insert(name, target);
        Ok(self.plans.insert(source, schema, plan))
    }
}

fn connect(config: &Config) -> rusqlite::Result<Connection> {
    let db = Connection::open(&config.path)?;
    db.busy_timeout(config.busy_timeout)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // With WAL only FULL makes a commit survive a loss of power.
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
    Ok(db)
}

fn take_over(db: &Connection, route: &str) -> rusqlite::Result<(i64, Option<String>)> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    db.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS `{}` (`route` TEXT NOT NULL PRIMARY KEY, `fence` INTEGER NOT NULL, `cursor` TEXT, \
         `updated_at` TEXT NOT NULL)",
        cursor_row::TABLE
    ))?;
    let now = cursor_row::now();
    if db.execute(cursor_row::RAISE_FENCE, params![now, route])? == 0 {
        db.execute(cursor_row::INSERT, params![route, now])?;
    }
    let state = db.query_row(cursor_row::READ, params![route], |row| Ok((row.get(0)?, row.get(1)?)))?;
    db.execute_batch("COMMIT")?;
    Ok(state)
}

/// One statement for one row, and how to speak of it when it fails.
struct Run<'a> {
    db: &'a Connection,
    plan: &'a Plan,
    row: &'a Row,
}

impl Run<'_> {
    /// Runs `sql` with these columns of these rows as parameters; gives the number of rows that it touched.
    fn execute(&self, sql: &str, parameters: &[(&Row, &[u16])]) -> Result<u64> {
        let mut statement = self.db.prepare_cached(sql).map_err(|error| self.failed(error))?;
        let mut at = 0;
        for (row, columns) in parameters {
            bind(&mut statement, &mut at, row, columns, self.plan)?;
        }
        statement.raw_execute().map(|rows| rows as u64).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: rusqlite::Error) -> Error {
        match db_error(error, &self.plan.table) {
            error if error.kind() == Kind::Data => data_error(&self.plan.table, self.row, error.message()),
            error => error,
        }
    }
}

/// Binds columns of a row behind the parameter `at`, which is moved on.
fn bind(
    statement: &mut CachedStatement<'_>,
    at: &mut usize,
    row: &Row,
    columns: &[u16],
    plan: &Plan,
) -> Result<()> {
    let mut bind_one = |column: usize, value: Option<Value<'_>>| {
        *at += 1;
        let value = value.unwrap_or(Value::Null);
        if let Value::UInt(v) | Value::Bit(v) = value
            && v > i64::MAX as u64
            && plan.rejects_large(&row.schema.columns[column].name)
        {
            return Err(Error::new(
                Kind::Data,
                format!(
                    "column {} of table {} cannot hold a number above {} of the row with {}",
                    row.schema.columns[column].name,
                    plan.table,
                    i64::MAX,
                    describe_key(row)
                ),
            )
            .advice(
                "make the column again without a declared type, so that such numbers can be kept as text",
            ));
        }
        statement.raw_bind_parameter(*at, to_sql(value)).map_err(|error| db_error(error, &plan.table))
    };
    // Columns lie one behind the other; walking through the row once is cheaper than jumping.
    if columns.is_sorted() {
        let mut wanted = columns.iter().map(|&at| usize::from(at)).peekable();
        for (column, value) in row.view().values().enumerate() {
            if wanted.next_if_eq(&column).is_some() {
                bind_one(column, value)?;
            }
        }
        return Ok(());
    }
    columns.iter().map(|&at| usize::from(at)).try_for_each(|column| bind_one(column, row.view().get(column)))
}

fn to_sql(value: Value<'_>) -> ToSqlOutput<'_> {
    use std::borrow::Cow;
    let text = |text: String| ToSqlOutput::Owned(SqlValue::Text(text));
    match value {
        Value::Null => ToSqlOutput::Owned(SqlValue::Null),
        Value::Bool(v) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(v))),
        Value::Int(v) => ToSqlOutput::Owned(SqlValue::Integer(v)),
        Value::UInt(v) | Value::Bit(v) => large(v),
        Value::Year(v) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(v))),
        Value::Float(v) => ToSqlOutput::Owned(SqlValue::Real(widen(v))),
        Value::Double(v) => ToSqlOutput::Owned(SqlValue::Real(v)),
        Value::Date(v) => text(v.to_string()),
        Value::DateTime(v) => text(v.to_string()),
        Value::Timestamp(v) => text(v.to_string()),
        Value::Time(v) => text(v.to_string()),
        Value::Decimal(v) | Value::Text(v) | Value::Json(v) => match v {
            Cow::Borrowed(v) => ToSqlOutput::Borrowed(ValueRef::Text(v.as_bytes())),
            Cow::Owned(v) => text(v),
        },
        Value::Bytes(v) => match v {
            Cow::Borrowed(v) => ToSqlOutput::Borrowed(ValueRef::Blob(v)),
            Cow::Owned(v) => ToSqlOutput::Owned(SqlValue::Blob(v)),
        },
    }
}

fn large(number: u64) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(match i64::try_from(number) {
        Ok(number) => SqlValue::Integer(number),
        Err(_) => SqlValue::Text(number.to_string()),
    })
}

/// What an error of SQLite means for the pipeline. `what` is the file or the table.
pub(super) fn db_error(error: rusqlite::Error, what: &str) -> Error {
    let message = error.to_string();
    // SQLite names the file itself when it cannot open it.
    let made = |kind| match message.contains(what) {
        true => Error::new(kind, message.clone()),
        false => Error::new(kind, format!("{what}: {message}")),
    };
    let code = error.sqlite_error_code();
    let error_of_kind = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => made(Kind::Unavailable)
            .advice("another program writes to the file; wait, or raise busy_timeout of the connection"),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OperationInterrupted | ErrorCode::OutOfMemory) => {
            made(Kind::Unavailable)
        }
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            return Error::new(Kind::Data, message).caused_by(error);
        }
        Some(ErrorCode::CannotOpen) => {
            made(Kind::Environment).advice("allow lode to write to the file and to its folder")
        }
        Some(
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied,
        ) => made(Kind::Environment).advice("allow lode to write to the file and to its folder"),
        Some(ErrorCode::DiskFull) => made(Kind::Environment).advice("make room on the disk"),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            made(Kind::Environment).advice("name an SQLite database, or a file that does not exist yet")
        }
        Some(ErrorCode::Unknown) | None => made(Kind::Environment),
        Some(_) => made(Kind::Internal),
    };
    error_of_kind.caused_by(error)
}

/// One row of a query that may have none.
pub(super) fn first<T>(
    db: &Connection,
    sql: &str,
    name: &str,
    read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    db.query_row(sql, params![name], read).optional()
}
