//! One connection to the database: the transaction, the cursor, and how rows reach their tables.

use std::collections::HashMap;
use std::sync::Arc;

use oracle::Connection;

use super::array::{self, Refused};
use super::cursor;
use super::fitting::Fitting;
use super::names::{self, LONG_BYTES_MAX, SHORT_BYTES_MAX, fold, quote};
use super::statement::Plan;
use super::table::{Target, appended, as_text, folded_key, wanted};
use super::types::{OracleType, TEXT_BYTES_MAX, is_text};
use super::value::{Cell, Charset, Column, Converter, Notices};
use super::{Config, SchemaPair};
use crate::client::oracle::{connect, failure, refusal};
use crate::error::{Error, Kind, Result};
use crate::model::change::{Batch, Change};
use crate::model::position::Cursor;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::model::value::{Timestamp, Value};
use crate::sink::actions::{Action, Constraints, Planned, actions};
use crate::sink::compact::{Run, RunKind};
use crate::sink::cursor_row;
use crate::sink::plan_cache::PlanCache;
use crate::sink::settings::Mode;
use crate::sink::step::{
    Step, data_error, exactly_one, filled, key_columns, key_names, key_places, no_such_row, present,
    require_whole, steps,
};

/// Texts are compared by their bytes, and moments are in UTC.
const SESSION: &str = "ALTER SESSION SET TIME_ZONE = '+00:00' NLS_COMP = BINARY NLS_SORT = BINARY";

/// Unique constraint violated.
const ORA_UNIQUE: i32 = 1;
/// Table or view does not exist.
const ORA_NO_TABLE: i32 = 942;

/// A logged-in connection, before it takes a route over.
pub(super) struct LoggedIn {
    conn: Connection,
    charset: Charset,
    name_bytes_max: u32,
}

pub(super) struct Session {
    conn: Connection,
    config: Arc<Config>,
    charset: Charset,
    name_bytes_max: u32,
    fence: i64,
    /// Whether rows were written that are not committed. Statements that change tables would commit them.
    in_transaction: bool,
    targets: HashMap<String, Target>,
    plans: PlanCache<Plan>,
    notices: Notices,
}

impl LoggedIn {
    /// Logs in and looks at what the database can keep.
    pub fn new(config: &Config) -> Result<LoggedIn> {
        let conn = log_in(config)?;
        let (version, _) =
            conn.server_version().map_err(|error| failure(error, "cannot ask for the version"))?;
        if (version.major(), version.minor()) < (12, 1) {
            return Err(Error::new(
                Kind::Environment,
                format!("the database is of version {version}, and errors of single rows need 12.1 or later"),
            ));
        }
        // The length follows COMPATIBLE, which the version does not tell; a client that is too old does not know it.
        let name_bytes_max = match conn.info() {
            Ok(info) if info.max_identifier_length > 0 => info.max_identifier_length,
            _ if (version.major(), version.minor()) >= (12, 2) => LONG_BYTES_MAX,
            _ => SHORT_BYTES_MAX,
        };
        let charset = charset(&conn)?;
        Ok(LoggedIn { conn, charset, name_bytes_max })
    }
}

impl Session {
    /// Takes the route over, and reads how far it is.
    pub fn open(logged_in: LoggedIn, config: Arc<Config>) -> Result<(Session, Option<Cursor>)> {
        let LoggedIn { conn, charset, name_bytes_max } = logged_in;
        let (fence, cursor) = cursor::take_over(&conn, &config.route)?;
        let cursor = cursor.map(|json| cursor_row::from_json(&json, &config.route)).transpose()?;
        let session = Session {
            conn,
            config,
            charset,
            name_bytes_max,
            fence,
            in_transaction: false,
            targets: HashMap::new(),
            plans: PlanCache::new(),
            notices: Notices::default(),
        };
        Ok((session, cursor))
    }

    /// Writes a batch. After an error the session is only good for [`close`](Self::close). Tables that have to be
    /// fitted before the same changes come again are added to `overdue`.
    pub fn write(&mut self, batch: &Batch, overdue: &mut Vec<SchemaPair>) -> Result<u64> {
        let rows = match self.config.options.tables.mode {
            Mode::Upsert => self.upsert(batch, overdue)?,
            Mode::Append => self.append(batch, overdue)?,
        };
        if let Some(cursor) = &batch.cursor {
            cursor::advance(&self.conn, &self.config.route, self.fence, cursor)?;
            self.conn.commit().map_err(|error| failure(error, "cannot commit"))?;
            self.in_transaction = false;
        }
        Ok(rows)
    }

    /// Makes the target fit for rows of this schema, outside of any transaction.
    pub fn fit(&mut self, table: &Arc<TableSchema>, row: &Arc<TableSchema>) -> Result<()> {
        self.plan(table, row, true, &mut Vec::new()).map(drop)
    }

    /// Takes back what is not committed, and logs out.
    pub fn close(self) -> Result<()> {
        let rolled_back = self.conn.rollback();
        let ended = self.conn.close();
        rolled_back.and(ended).map_err(|error| failure(error, "cannot end the connection"))
    }

    fn upsert(&mut self, batch: &Batch, overdue: &mut Vec<SchemaPair>) -> Result<u64> {
        // All tables are fitted before the first row is written: DDL would commit the rows before.
        let mut planned = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            for step in steps(change)?.into_iter().flatten() {
                let plan = match step.row() {
                    Some(row) => Some(self.plan(&change.table, &row.schema, step.writes(), overdue)?),
                    None => None,
                };
                let find = match step {
                    Step::Replace { before, .. } => {
                        Some(self.plan(&change.table, &before.schema, false, overdue)?)
                    }
                    _ => None,
                };
                planned.push(Planned { change, step, plan, find });
            }
        }
        let mut rows = 0;
        for action in actions(planned) {
            rows += match action {
                Action::Run { plan, run } => {
                    self.run(&plan, &run)?;
                    run.rows.len() as u64
                }
                Action::Single { plan, find, step } => self.single(&plan, find.as_deref(), step)?,
                Action::Clear(change) => self.clear(change)?,
            };
        }
        Ok(rows)
    }

    fn run(&mut self, plan: &Plan, run: &Run<'_>) -> Result<()> {
        let Some(first) = run.rows.first() else { return Ok(()) };
        let columns = plan.bound(&(0..first.schema.columns.len() as u16).collect::<Vec<_>>());
        let key = &plan.constraints.key;
        match run.kind {
            RunKind::Remove => {
                let cells = self.cells(plan, &run.rows, &[(plan, key)])?;
                self.execute(plan, &run.rows, &plan.delete(), &plan.types(key), &cells).map(drop)
            }
            RunKind::Insert | RunKind::Write => {
                let cells = self.cells(plan, &run.rows, &[(plan, &columns)])?;
                // MERGE looks for the row's own key only: another row with one of its further unique values is an error.
                if !plan.has_lobs()
                    && cells.iter().flatten().all(|cell| cell.len() <= TEXT_BYTES_MAX as usize)
                {
                    return self
                        .execute(plan, &run.rows, &plan.merge(&columns), &plan.types(&columns), &cells)
                        .map(drop);
                }
                drop(cells);
                match run.kind {
                    RunKind::Insert => self.insert_or_update(plan, &run.rows, &columns),
                    _ => self.update_or_insert(plan, &run.rows, &columns),
                }
            }
        }
    }

    /// For long values, new rows: what is there already is updated.
    fn insert_or_update(&mut self, plan: &Plan, rows: &[&Row], columns: &[u16]) -> Result<()> {
        let cells = self.cells(plan, rows, &[(plan, columns)])?;
        let outcome = self.call(plan, &plan.insert(columns), &plan.types(columns), &cells)?;
        let (taken, others): (Vec<Refused>, Vec<Refused>) =
            outcome.refused.into_iter().partition(|refused| refused.code == ORA_UNIQUE);
        if let Some(refused) = others.first() {
            return Err(self.refused(plan, rows, refused));
        }
        let again: Vec<&Row> = taken.iter().map(|refused| rows[refused.row]).collect();
        let counts = self.update_by_key(plan, &again, columns)?;
        match counts.iter().position(|count| *count == 0) {
            // No row has this key, so that the value of another unique key was taken.
            Some(at) => Err(self.refused(plan, rows, &taken[at])),
            None => Ok(()),
        }
    }

    /// For long values, rows that should be there: what is missing is inserted.
    fn update_or_insert(&mut self, plan: &Plan, rows: &[&Row], columns: &[u16]) -> Result<()> {
        let counts = self.update_by_key(plan, rows, columns)?;
        let missing: Vec<&Row> =
            rows.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(row, _)| *row).collect();
        let cells = self.cells(plan, &missing, &[(plan, columns)])?;
        self.execute(plan, &missing, &plan.insert(columns), &plan.types(columns), &cells).map(drop)
    }

    fn update_by_key(&mut self, plan: &Plan, rows: &[&Row], columns: &[u16]) -> Result<Vec<u64>> {
        let key = &plan.constraints.key;
        let rest: Vec<u16> = columns.iter().copied().filter(|at| !key.contains(at)).collect();
        let cells = self.cells(plan, rows, &[(plan, &rest), (plan, key)])?;
        let types = [plan.types(&rest), plan.types(key)].concat();
        self.execute(plan, rows, &plan.update(&rest), &types, &cells)
    }

    /// A step that cannot be put together with others.
    fn single(&mut self, plan: &Plan, find: Option<&Plan>, step: Step<'_>) -> Result<u64> {
        match step {
            Step::Put { row, .. } => {
                let columns = plan.bound(&present(row));
                self.update_or_insert(plan, &[row], &columns)?;
                Ok(1)
            }
            Step::Patch { key, row } => {
                let columns = plan.bound(&present(row));
                if columns.is_empty() {
                    return Ok(0);
                }
                let places = key_places(&plan.table, &plan.key_names, &key.schema)?;
                let mut cells = self.row_cells(plan, row, &columns)?;
                let own = &plan.constraints.key;
                for (&at, &place) in own.iter().zip(&places) {
                    let value = key.view().get(usize::from(place)).unwrap_or(Value::Null);
                    cells.push(self.cell(plan, key, value, plan.column(at))?);
                }
                let types = [plan.types(&columns), plan.types(own)].concat();
                match self.one(plan, key, &plan.update(&columns), &types, cells)? {
                    0 => Err(no_such_row(&plan.table, key)),
                    _ => Ok(1),
                }
            }
            Step::Remove { row } => {
                let key = &plan.constraints.key;
                let cells = self.row_cells(plan, row, key)?;
                self.one(plan, row, &plan.delete(), &plan.types(key), cells)
            }
            Step::Add { row } => {
                let columns = plan.bound(&present(row));
                let cells = self.row_cells(plan, row, &columns)?;
                self.one(plan, row, &plan.insert(&columns), &plan.types(&columns), cells)
            }
            Step::Replace { before, after } => {
                let find = find.unwrap_or(plan);
                let new = plan.bound(&present(after));
                let mut cells = self.row_cells(plan, after, &new)?;
                let old = self.comparable(find, before)?;
                let sql = plan.replace_one(&new, find, &old);
                let mut types = plan.types(&new);
                for (at, cell) in old.into_iter().filter(|(_, cell)| !cell.is_null()) {
                    types.push(&find.column(at).oracle);
                    cells.push(cell);
                }
                let found = self.one(plan, before, &sql, &types, cells)?;
                exactly_one(&plan.table, before, found)
            }
            Step::RemoveOne { row } => {
                let old = self.comparable(plan, row)?;
                let sql = plan.delete_one(&old);
                let mut types = Vec::new();
                let mut cells = Vec::new();
                for (at, cell) in old.into_iter().filter(|(_, cell)| !cell.is_null()) {
                    types.push(&plan.column(at).oracle);
                    cells.push(cell);
                }
                let found = self.one(plan, row, &sql, &types, cells)?;
                exactly_one(&plan.table, row, found)
            }
            Step::Clear => Ok(0),
        }
    }

    fn clear(&mut self, change: &Change) -> Result<u64> {
        let name = fold(&self.config.template.table(&change.table.name));
        self.in_transaction = true;
        match self.conn.execute(&format!("DELETE FROM {}", quote(&name)), &[]) {
            Ok(statement) => {
                statement.row_count().map_err(|error| failure(error, &format!("cannot empty table {name}")))
            }
            // A table that is not there has no rows.
            Err(error) if error.oci_code() == Some(ORA_NO_TABLE) => Ok(0),
            Err(error) => Err(failure(error, &format!("cannot empty table {name}"))),
        }
    }

    fn append(&mut self, batch: &Batch, overdue: &mut Vec<SchemaPair>) -> Result<u64> {
        let changes: Vec<_> = batch.changes.iter().map(filled).collect();
        let mut planned = Vec::with_capacity(changes.len());
        for change in changes.iter().map(AsRef::as_ref) {
            require_whole(change)?;
            let schema = change.row().map_or(&change.table, |row| &row.schema);
            planned.push((change, self.plan(&change.table, schema, true, overdue)?));
        }
        let columns_of = |change: &Change| change.row().map(present).unwrap_or_default();
        let mut rest = planned.as_slice();
        while let Some((first, plan)) = rest.first() {
            let columns = columns_of(first);
            let alike = |(change, other): &&(&Change, Arc<Plan>)| {
                Arc::ptr_eq(plan, other) && columns_of(change) == columns
            };
            let (now, later) = rest.split_at(rest.iter().take_while(alike).count());
            self.append_rows(plan, &plan.bound(&columns), now)?;
            rest = later;
        }
        Ok(batch.changes.len() as u64)
    }

    fn append_rows(&mut self, plan: &Plan, columns: &[u16], changes: &[(&Change, Arc<Plan>)]) -> Result<()> {
        let own = appended();
        let mut cells = Vec::with_capacity(changes.len());
        for (change, _) in changes {
            let time = Timestamp { micros: change.time_ms.checked_mul(1000), fsp: 3 };
            let values =
                [Value::Text(change.op.as_str().into()), Value::UInt(change.seq.0), Value::Timestamp(time)];
            let mut row_cells = Vec::with_capacity(columns.len() + own.len());
            for (value, wanted) in values.into_iter().zip(&own) {
                let cell = self.converter(plan).cell(value, &wanted.column);
                row_cells.push(cell.map_err(|why| {
                    Error::new(Kind::Data, format!("entry {} has an impossible time: {why}", change.seq))
                })?);
            }
            if let Some(row) = change.row() {
                row_cells.extend(self.row_cells(plan, row, columns)?);
            }
            cells.push(row_cells);
        }
        let mut types: Vec<&OracleType> = own.iter().map(|wanted| &wanted.column.oracle).collect();
        types.extend(plan.types(columns));
        let outcome = self.call(plan, &plan.append(columns), &types, &cells)?;
        match outcome.refused.first() {
            None => Ok(()),
            Some(refused) => Err(match changes[refused.row].0.row() {
                Some(row) => self.refused(plan, &[row], &Refused { row: 0, ..refused.clone() }),
                None => {
                    refusal(refused.code, &refused.message, &format!("cannot append to table {}", plan.table))
                }
            }),
        }
    }

    /// The values that find a row in a table without a key.
    fn comparable<'r>(&mut self, plan: &Plan, row: &'r Row) -> Result<Vec<(u16, Cell<'r>)>> {
        let columns = present(row);
        if let Some(&at) = columns.iter().find(|at| plan.column(**at).oracle.is_lob()) {
            return Err(data_error(
                &plan.table,
                row,
                &format!(
                    "Oracle compares no {}, so that rows cannot be told apart by column {}",
                    plan.column(at).oracle,
                    plan.column(at).name
                ),
            )
            .advice("give the table a key at the source, set mode = append, or drop the column in a stage"));
        }
        let cells = self.row_cells(plan, row, &columns)?;
        Ok(columns.into_iter().zip(cells).collect())
    }

    fn converter<'s>(&'s mut self, plan: &'s Plan) -> Converter<'s> {
        Converter {
            table: &plan.table,
            rules: &self.config.rules,
            charset: &self.charset,
            notices: &mut self.notices,
        }
    }

    /// These columns of each row, one list behind the other.
    fn cells<'r>(
        &mut self,
        plan: &Plan,
        rows: &[&'r Row],
        parts: &[(&Plan, &[u16])],
    ) -> Result<Vec<Vec<Cell<'r>>>> {
        rows.iter()
            .map(|row| {
                let mut cells = Vec::with_capacity(plan.columns.len());
                for (plan, columns) in parts {
                    cells.extend(self.row_cells(plan, row, columns)?);
                }
                Ok(cells)
            })
            .collect()
    }

    fn row_cells<'r>(&mut self, plan: &Plan, row: &'r Row, columns: &[u16]) -> Result<Vec<Cell<'r>>> {
        // Columns lie one behind the other; walking through the row once is cheaper than jumping.
        let mut values: Vec<Option<Value<'r>>> = row.view().values().collect();
        columns
            .iter()
            .map(|&at| {
                let value = values[usize::from(at)].take().unwrap_or(Value::Null);
                self.cell(plan, row, value, plan.column(at))
            })
            .collect()
    }

    fn cell<'r>(&mut self, plan: &Plan, row: &Row, value: Value<'r>, column: &Column) -> Result<Cell<'r>> {
        self.converter(plan).cell(value, column).map_err(|why| {
            let error = data_error(&plan.table, row, &format!("column {}: {why}", column.name));
            match is_text(&column.ty) && !column.in_key {
                true => {
                    error.advice("make the column larger, or its type another one with the setting types")
                }
                false => error,
            }
        })
    }

    fn one(
        &mut self,
        plan: &Plan,
        row: &Row,
        sql: &str,
        types: &[&OracleType],
        cells: Vec<Cell<'_>>,
    ) -> Result<u64> {
        let counts = self.execute(plan, &[row], sql, types, &[cells])?;
        Ok(counts.first().copied().unwrap_or(0))
    }

    /// Runs a statement for each row; the first row that the server does not take is an error.
    fn execute(
        &mut self,
        plan: &Plan,
        rows: &[&Row],
        sql: &str,
        types: &[&OracleType],
        cells: &[Vec<Cell<'_>>],
    ) -> Result<Vec<u64>> {
        let outcome = self.call(plan, sql, types, cells)?;
        match outcome.refused.first() {
            Some(refused) => Err(self.refused(plan, rows, refused)),
            None => Ok(outcome.counts),
        }
    }

    fn call(
        &mut self,
        plan: &Plan,
        sql: &str,
        types: &[&OracleType],
        cells: &[Vec<Cell<'_>>],
    ) -> Result<array::Outcome> {
        self.in_transaction = true;
        array::execute(&self.conn, sql, types, cells)
            .map_err(|error| failure(error, &format!("cannot write to table {}", plan.table)))
    }

    /// What a refused row means: most often the row is at fault, but a deadlock ends up here too.
    fn refused(&self, plan: &Plan, rows: &[&Row], refused: &Refused) -> Error {
        let meant = refusal(refused.code, &refused.message, &format!("cannot write to table {}", plan.table));
        if meant.kind() != Kind::Data {
            return meant;
        }
        let said = refusal(refused.code, &refused.message, "written");
        let said = said.message().trim_start_matches("written: ").to_owned();
        let error = data_error(&plan.table, rows[refused.row], &said);
        match refused.code {
            1400 | 1407 => error.advice(
                "let the column be NULL, or set empty_string or zero_date, as Oracle takes an empty text for NULL and has \
                 no zero dates",
            ),
            _ => error,
        }
    }

    /// The statements for rows of `schema`. `writes` asks that the target has all columns, not only the key's.
    fn plan(
        &mut self,
        source: &Arc<TableSchema>,
        schema: &Arc<TableSchema>,
        writes: bool,
        overdue: &mut Vec<SchemaPair>,
    ) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plans.get(source, schema)
            && (plan.checked_columns || !writes)
        {
            return Ok(plan.clone());
        }
        let name = fold(&self.config.template.table(&source.name));
        names::check(&name, &format!("the target of table {}", source.name), self.name_bytes_max)?;
        if name == cursor::TABLE {
            return Err(Error::new(Kind::Environment, format!("the table {name} is lode's own"))
                .advice("choose another target table"));
        }
        let mut needed = wanted(schema, &self.config.options, self.name_bytes_max)?;
        // In the middle of a transaction, looking and changing is done beside it.
        let beside = match self.in_transaction {
            true => Some(log_in(&self.config)?),
            false => None,
        };
        let patience = if self.in_transaction { 5 } else { 60 };
        let known = self.targets.remove(&name);
        let fitting = Fitting {
            conn: beside.as_ref().unwrap_or(&self.conn),
            config: &self.config,
            name: &name,
            source,
            schema,
            writes,
            patience,
        };
        let outcome = fitting.fit(known, &needed);
        if let Some(beside) = beside {
            let _ = beside.close();
        }
        let (target, losses) =
            outcome.map_err(|error| match self.in_transaction && error.kind() == Kind::Unavailable {
                true => {
                    overdue.push((source.clone(), schema.clone()));
                    error.advice(
                        "the transaction is taken back, the table is fitted, and the transaction comes again",
                    )
                }
                false => error,
            })?;
        for (column, why) in losses {
            tracing::warn!(table = name, column, "the type of the setting types may lose something: {why}");
        }
        // What a table has counts from here on, be it what the plan asks for or something as good.
        for wanted in &mut needed {
            if let Some(ty) = target.column_type(&wanted.column.name) {
                wanted.column.oracle = ty.clone();
            }
        }
        let key = folded_key(schema);
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let columns: Vec<Column> = needed.into_iter().map(|wanted| wanted.column).collect();
        let plan = Plan {
            table: name.clone(),
            checked_columns: writes,
            key_names: key_names(schema).into_iter().map(str::to_owned).collect(),
            constraints: Constraints {
                key: key_columns(schema).to_vec(),
                further_unique: target.further_unique(&columns, &key),
                linked: target.linked,
            },
            columns,
        };
        self.targets.insert(name, target);
        Ok(self.plans.insert(source, schema, plan))
    }
}

fn log_in(config: &Config) -> Result<Connection> {
    let conn = connect(&config.connection)?;
    conn.execute(SESSION, &[]).map_err(|error| failure(error, "cannot set up the session"))?;
    Ok(conn)
}

/// What characters the database keeps. The client replaces others by question marks without an error.
fn charset(conn: &Connection) -> Result<Charset> {
    let name: String = conn
        .query_row_as(
            "SELECT VALUE FROM NLS_DATABASE_PARAMETERS WHERE PARAMETER = :1",
            &[&as_text("NLS_CHARACTERSET")],
        )
        .map_err(|error| failure(error, "cannot ask for the database's character set"))?;
    Ok(match name.as_str() {
        "AL32UTF8" | "UTF8" | "UTFE" => Charset::Unicode,
        other => {
            tracing::warn!(
                charset = other,
                "the database does not keep all characters; a text with others than it is sure to keep is an error"
            );
            if other == "WE8ISO8859P1" { Charset::Latin1 } else { Charset::Ascii(name) }
        }
    })
}
