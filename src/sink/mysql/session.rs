//! One connection to the target server: the transaction, the cursor, and how rows reach their tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value as SqlValue};

use super::statement::{Plan, parameters};
use super::table::{Target, add_columns, create_table, quote};
use super::types::{Flavor, parameter};
use super::{Config, SchemaPair, failure};
use crate::client::mysql::{connect, options};
use crate::error::{Error, Kind, Result};
use crate::model::change::{Batch, Change};
use crate::model::position::Cursor;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::model::value::{Timestamp, Value};
use crate::sink::actions::{Action, Planned, actions};
use crate::sink::compact::{Run, RunKind};
use crate::sink::cursor_row;
use crate::sink::plan_cache::PlanCache;
use crate::sink::settings::Mode;
use crate::sink::step::{Step, data_error, exactly_one, filled, no_such_row, present, require_whole, steps};

/// Prepared statements that are kept; a few for each table and number of rows.
const STATEMENTS_MAX: usize = 256;
/// Rows of one statement, a power of two.
const ROWS_MAX: usize = 512;
/// Parameters of one statement; the protocol allows 65,535.
const PARAMETERS_MAX: usize = 16_384;
/// Bytes of rows in one statement, unless a single row is larger.
const STATEMENT_BYTES_MAX: usize = 4 << 20;
/// Up to here each number of rows has its own statement; above, powers of two.
const EXACT_ROWS_MAX: usize = 16;

/// Rows that go to the server in one exchange with the commit, at the most …
const AT_ONCE_ROWS_MAX: usize = EXACT_ROWS_MAX;
/// … and their bytes. Where there are more, a prepared statement is worth its round trip.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// How often a table is looked at while others change it.
const ATTEMPTS_MAX: usize = 5;

/// Values arrive as they are, or not at all: no silent cuts, dates as the source had them, and a zero is a zero.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', \
     time_zone = '+00:00', foreign_key_checks = 1, unique_checks = 1, lock_wait_timeout = 60, autocommit = 0";

/// Moves the cursor; fails with [`ER_DATA_OUT_OF_RANGE`] when another writer has raised the fence, and the server carries
/// out nothing behind a statement that failed. One statement that moves and compares: the server answers each of them on
/// its own, and every answer wakes the reader. Parameters: route, fence, cursor, time, and the last three again.
const MOVE: &str = "INSERT INTO `lode_cursor` (`route`, `fence`, `cursor`, `updated_at`) VALUES (?, ?, ?, ?) \
     ON DUPLICATE KEY UPDATE `fence` = IF(`fence` = ?, `fence`, ~0 + `fence`), `cursor` = ?, `updated_at` = ?";

/// No such table.
const ER_NO_SUCH_TABLE: u16 = 1146;
/// Duplicate entry for a unique key.
const ER_DUP_ENTRY: u16 = 1062;
/// There is such a column already.
const ER_DUP_FIELDNAME: u16 = 1060;
/// A number is too large for its type.
const ER_DATA_OUT_OF_RANGE: u16 = 1690;
/// A lock was not to be had in time.
const ER_LOCK_WAIT_TIMEOUT: u16 = 1205;

pub(super) struct Session {
    conn: Conn,
    config: Arc<Config>,
    flavor: Flavor,
    fence: i64,
    statement_bytes_max: usize,
    /// Whether rows were written that are not committed. Statements that change tables would commit them.
    in_transaction: bool,
    targets: HashMap<String, Target>,
    plans: PlanCache<Plan>,
}

impl Session {
    pub async fn open(config: Arc<Config>) -> Result<(Session, Option<Cursor>)> {
        let mut conn = log_in(&config).await?;
        let (version, packet): (String, usize) = conn
            .query_first("SELECT VERSION(), @@max_allowed_packet")
            .await
            .map_err(|error| failure(error, "cannot ask for the version"))?
            .ok_or_else(|| Error::new(Kind::Unavailable, "the server does not tell its version"))?;
        let flavor = Flavor::of(&version);
        let (fence, cursor) = take_over(&mut conn, &config.route, flavor).await?;
        let cursor = cursor.map(|json| cursor_row::from_json(&json, &config.route)).transpose()?;
        let session = Session {
            conn,
            config,
            flavor,
            fence,
            statement_bytes_max: STATEMENT_BYTES_MAX.min(packet / 2),
            in_transaction: false,
            targets: HashMap::new(),
            plans: PlanCache::new(),
        };
        Ok((session, cursor))
    }

    /// Writes a batch. After an error the session is only good for [`abandon`](Self::abandon). Tables that have to be
    /// fitted before the same changes come again are added to `overdue`.
    pub async fn write(&mut self, batch: &Batch, overdue: &mut Vec<SchemaPair>) -> Result<u64> {
        let rows = match self.config.options.mode {
            Mode::Upsert => {
                let actions = self.upserts(batch, overdue).await?;
                if let Some(cursor) = &batch.cursor
                    && let Some(rows) = self.commit_at_once(&actions, cursor).await?
                {
                    return Ok(rows);
                }
                self.carry_out(actions).await?
            }
            Mode::Append => self.append(batch, overdue).await?,
        };
        if let Some(cursor) = &batch.cursor {
            self.commit(cursor).await?;
        }
        Ok(rows)
    }

    /// Makes the target fit for rows of this schema, outside of any transaction.
    pub async fn fit(&mut self, table: &Arc<TableSchema>, row: &Arc<TableSchema>) -> Result<()> {
        self.plan(table, row, true, &mut Vec::new()).await.map(drop)
    }

    pub async fn close(mut self) -> Result<()> {
        let rolled_back = self.conn.query_drop("ROLLBACK").await;
        let ended = self.conn.disconnect().await;
        rolled_back.and(ended).map_err(|error| failure(error, "cannot end the connection"))
    }

    /// Gives up after an error, so that no lock outlives it. Nothing more can be learnt from a failure here.
    pub async fn abandon(mut self) {
        let end = async {
            let _ = self.conn.query_drop("ROLLBACK").await;
            let _ = self.conn.disconnect().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), end).await;
    }

    /// Moves the cursor and commits, in one exchange with the server: a round trip less for every transaction.
    async fn commit(&mut self, cursor: &Cursor) -> Result<()> {
        match self.conn.query_drop(self.commit_sql(cursor)).await {
            Err(mysql_async::Error::Server(error)) if error.code == ER_DATA_OUT_OF_RANGE => {
                return Err(cursor_row::fenced(&self.config.route));
            }
            outcome => outcome.map_err(|error| failure(error, "cannot move the cursor and commit"))?,
        }
        self.in_transaction = false;
        Ok(())
    }

    fn commit_sql(&self, cursor: &Cursor) -> String {
        let values: [SqlValue; 3] =
            [self.fence.into(), cursor_row::to_json(cursor).into(), cursor_row::now().into()];
        let parameters = [&[self.config.route.as_str().into()], &values[..], &values[..]].concat();
        format!("{}; COMMIT", with_literals(MOVE, &parameters))
    }

    /// A whole transaction in one exchange with the server, where it is one small statement: what a pipeline that keeps
    /// up mostly writes. Gives the number of rows; `None` when nothing was done and the longer way has to be taken. Also
    /// when the server refuses something: the longer way finds out which row it is, or that another writer took over.
    async fn commit_at_once(&mut self, actions: &[Action<'_, Plan>], cursor: &Cursor) -> Result<Option<u64>> {
        let [Action::Run { plan, run }] = actions else { return Ok(None) };
        if self.in_transaction {
            return Ok(None);
        }
        let Some(rows) = rows_as_text(plan, run) else { return Ok(None) };
        match self.conn.query_drop(format!("{rows}; {}", self.commit_sql(cursor))).await {
            Ok(()) => Ok(Some(run.rows.len() as u64)),
            Err(mysql_async::Error::Server(_)) => {
                let rolled_back = self.conn.query_drop("ROLLBACK").await;
                rolled_back.map_err(|error| failure(error, "cannot take the rows back"))?;
                Ok(None)
            }
            Err(error) => Err(failure(error, &format!("cannot write to table {} and commit", plan.table))),
        }
    }

    /// What a batch asks for, once all its tables are fitted.
    async fn upserts<'a>(
        &mut self,
        batch: &'a Batch,
        overdue: &mut Vec<SchemaPair>,
    ) -> Result<Vec<Action<'a, Plan>>> {
        // All tables are fitted before the first row is written: that would commit the rows before.
        let mut planned = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            for step in steps(change)?.into_iter().flatten() {
                let plan = match step.row() {
                    Some(row) => Some(self.plan(&change.table, &row.schema, step.writes(), overdue).await?),
                    None => None,
                };
                let find = match step {
                    Step::Replace { before, .. } => {
                        Some(self.plan(&change.table, &before.schema, false, overdue).await?)
                    }
                    _ => None,
                };
                planned.push(Planned { change, step, plan, find });
            }
        }
        Ok(actions(planned))
    }

    async fn carry_out(&mut self, actions: Vec<Action<'_, Plan>>) -> Result<u64> {
        let mut rows = 0;
        for action in actions {
            rows += match action {
                Action::Run { plan, run } => {
                    self.run(&plan, &run).await?;
                    run.rows.len() as u64
                }
                Action::Single { plan, find, step } => self.single(&plan, find.as_deref(), step).await?,
                Action::Clear(change) => self.clear(change).await?,
            };
        }
        Ok(rows)
    }

    async fn run(&mut self, plan: &Plan, run: &Run<'_>) -> Result<()> {
        let Some(first) = run.rows.first() else { return Ok(()) };
        let columns: Vec<u16> = (0..first.schema.columns.len() as u16).collect();
        match run.kind {
            RunKind::Remove => self
                .many(plan, &run.rows, &plan.constraints.key, |rows| plan.delete(rows))
                .await
                .map_err(Failed::into_error),
            // ON DUPLICATE KEY would also fire on a further unique key, and then write to a row that is not meant.
            RunKind::Insert | RunKind::Write if !plan.constraints.has_further_unique() => self
                .many(plan, &run.rows, &columns, |rows| plan.upsert(&columns, rows))
                .await
                .map_err(Failed::into_error),
            RunKind::Insert => {
                match self.many(plan, &run.rows, &columns, |rows| plan.insert(&columns, rows)).await {
                    Err(failed) if failed.code == Some(ER_DUP_ENTRY) => {}
                    outcome => return outcome.map_err(Failed::into_error),
                }
                // A row was there already. Those before it have been inserted; writing them again changes nothing.
                self.one_by_one(plan, &run.rows, &columns).await
            }
            RunKind::Write => self.one_by_one(plan, &run.rows, &columns).await,
        }
    }

    /// Updates each row by its key, and inserts it where there is none.
    async fn one_by_one(&mut self, plan: &Plan, rows: &[&Row], columns: &[u16]) -> Result<()> {
        let (update, insert) = (plan.update(columns), plan.insert(columns, 1));
        for row in rows {
            if self.statement(plan, row, &update, &[(row, columns), (row, &plan.constraints.key)]).await? == 0
            {
                self.statement(plan, row, &insert, &[(row, columns)]).await?;
            }
        }
        Ok(())
    }

    /// Runs a statement over all rows, as many at a time as it takes. A row that the server rejects is looked for
    /// and named.
    async fn many(
        &mut self,
        plan: &Plan,
        rows: &[&Row],
        columns: &[u16],
        sql: impl Fn(usize) -> String,
    ) -> Result<(), Failed> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.portion(rest, columns.len()));
            let mut values = Vec::with_capacity(now.len() * columns.len());
            now.iter().for_each(|row| parameters(&mut values, row, columns));
            self.in_transaction = true;
            if let Err(error) = self.conn.exec_drop(sql(now.len()), Params::Positional(values)).await {
                let failed = Failed::new(error, plan, now[0]);
                if failed.error.kind() != Kind::Data || now.len() == 1 {
                    return Err(failed);
                }
                // The server has taken the whole statement back.
                for row in now {
                    let mut values = Vec::with_capacity(columns.len());
                    parameters(&mut values, row, columns);
                    self.conn
                        .exec_drop(sql(1), Params::Positional(values))
                        .await
                        .map_err(|error| Failed::new(error, plan, row))?;
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// How many of the rows go into the next statement.
    fn portion(&self, rows: &[&Row], columns: usize) -> usize {
        let mut bytes = 0;
        let most = rows.len().min(ROWS_MAX).min((PARAMETERS_MAX / columns.max(1)).max(1));
        let fitting = rows[..most]
            .iter()
            .take_while(|row| {
                bytes += row.image.len() * 2 + 16;
                bytes <= self.statement_bytes_max
            })
            .count()
            .max(1);
        if fitting <= EXACT_ROWS_MAX { fitting } else { 1 << fitting.ilog2() }
    }

    /// A step that cannot be put together with others.
    async fn single(&mut self, plan: &Plan, find: Option<&Plan>, step: Step<'_>) -> Result<u64> {
        match step {
            Step::Put { row, .. } => {
                let columns = present(row);
                if !plan.constraints.has_further_unique() {
                    self.statement(plan, row, &plan.upsert(&columns, 1), &[(row, &columns)]).await?;
                } else {
                    self.one_by_one(plan, &[row], &columns).await?;
                }
                Ok(1)
            }
            Step::Patch { key, row } => {
                let columns = present(row);
                if columns.is_empty() {
                    return Ok(0);
                }
                let place = plan.key_in(&key.schema)?;
                let found = self
                    .statement(plan, key, &plan.update(&columns), &[(row, &columns), (key, &place)])
                    .await?;
                match found {
                    0 => Err(no_such_row(&plan.table, key)),
                    _ => Ok(1),
                }
            }
            Step::Remove { row } => {
                self.statement(plan, row, &plan.delete(1), &[(row, &plan.constraints.key)]).await
            }
            Step::Add { row } => {
                let columns = present(row);
                self.statement(plan, row, &plan.insert(&columns, 1), &[(row, &columns)]).await
            }
            Step::Replace { before, after } => {
                let (new, old) = (present(after), present(before));
                let sql = plan.replace_one(&new, find.unwrap_or(plan), &old);
                let found = self.statement(plan, before, &sql, &[(after, &new), (before, &old)]).await?;
                exactly_one(&plan.table, before, found)
            }
            Step::RemoveOne { row } => {
                let columns = present(row);
                let found = self.statement(plan, row, &plan.delete_one(&columns), &[(row, &columns)]).await?;
                exactly_one(&plan.table, row, found)
            }
            Step::Clear => Ok(0),
        }
    }

    /// Runs a statement for one row; gives the number of rows that it found.
    async fn statement(&mut self, plan: &Plan, row: &Row, sql: &str, from: &[(&Row, &[u16])]) -> Result<u64> {
        let mut values: Vec<SqlValue> = Vec::new();
        from.iter().for_each(|(row, columns)| parameters(&mut values, row, columns));
        self.in_transaction = true;
        self.conn
            .exec_drop(sql, Params::Positional(values))
            .await
            .map_err(|error| Failed::new(error, plan, row).into_error())?;
        Ok(self.conn.affected_rows())
    }

    async fn clear(&mut self, change: &Change) -> Result<u64> {
        let name = self.config.template.table(&change.table.name);
        self.in_transaction = true;
        match self.conn.query_drop(format!("DELETE FROM {}", quote(&name))).await {
            Ok(()) => Ok(self.conn.affected_rows()),
            // A table that is not there has no rows.
            Err(mysql_async::Error::Server(error)) if error.code == ER_NO_SUCH_TABLE => Ok(0),
            Err(error) => Err(failure(error, &format!("cannot empty table {name}"))),
        }
    }

    async fn append(&mut self, batch: &Batch, overdue: &mut Vec<SchemaPair>) -> Result<u64> {
        let changes: Vec<_> = batch.changes.iter().map(filled).collect();
        let mut planned = Vec::with_capacity(changes.len());
        for change in changes.iter().map(AsRef::as_ref) {
            require_whole(change)?;
            let schema = change.row().map_or(&change.table, |row| &row.schema);
            planned.push((change, self.plan(&change.table, schema, true, overdue).await?));
        }
        let mut rest = planned.as_slice();
        while let Some((first, plan)) = rest.first() {
            let columns = first.row().map(present).unwrap_or_default();
            let most = (PARAMETERS_MAX / (columns.len() + 3)).clamp(1, ROWS_MAX);
            let mut bytes = 0;
            let mut fitting = rest
                .iter()
                .take(most)
                .take_while(|(change, other)| {
                    bytes += change.row().map_or(0, |row| row.image.len()) * 2 + 64;
                    bytes <= self.statement_bytes_max
                        && Arc::ptr_eq(plan, other)
                        && change.row().map(present).unwrap_or_default() == columns
                })
                .count()
                .max(1);
            if fitting > EXACT_ROWS_MAX {
                fitting = 1 << fitting.ilog2();
            }
            let (now, later) = rest.split_at(fitting);
            self.append_rows(plan, &columns, now).await?;
            rest = later;
        }
        Ok(batch.changes.len() as u64)
    }

    async fn append_rows(
        &mut self,
        plan: &Plan,
        columns: &[u16],
        changes: &[(&Change, Arc<Plan>)],
    ) -> Result<()> {
        self.in_transaction = true;
        let values = |changes: &[(&Change, Arc<Plan>)]| {
            let mut values = Vec::with_capacity(changes.len() * (columns.len() + 3));
            for (change, _) in changes {
                if let Some(row) = change.row() {
                    parameters(&mut values, row, columns);
                }
                let time = Timestamp { micros: change.time_ms.checked_mul(1000), fsp: 3 };
                values.push(SqlValue::Bytes(change.op.as_str().into()));
                values.push(SqlValue::UInt(change.seq.0));
                values.push(parameter(Value::Timestamp(time)));
            }
            Params::Positional(values)
        };
        let sql = plan.append(columns, changes.len());
        let Err(error) = self.conn.exec_drop(sql, values(changes)).await else { return Ok(()) };
        let error = failure(error, &format!("cannot append to table {}", plan.table));
        if error.kind() != Kind::Data {
            return Err(error);
        }
        for one in changes {
            if let Err(error) =
                self.conn.exec_drop(plan.append(columns, 1), values(std::slice::from_ref(one))).await
            {
                return Err(match one.0.row() {
                    Some(row) => Failed::new(error, plan, row).into_error(),
                    None => failure(error, &format!("cannot append to table {}", plan.table)),
                });
            }
        }
        Ok(())
    }

    /// The statements for rows of `schema`. `writes` asks that the target has all columns, not only the key's.
    async fn plan(
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
        let name = self.config.template.table(&source.name);
        if name == cursor_row::TABLE {
            return Err(Error::new(Kind::Environment, format!("the table {name} is lode's own"))
                .advice("choose another target table"));
        }
        // In the middle of a transaction, looking and changing is done beside it.
        let mut beside = match self.in_transaction {
            true => Some(log_in(&self.config).await?),
            false => None,
        };
        let conn = beside.as_mut().unwrap_or(&mut self.conn);
        let patience = if self.in_transaction { 5 } else { 60 };
        let fitting = Fitting { config: &self.config, flavor: self.flavor, patience };
        let known = self.targets.remove(&name);
        let outcome = fitting.fit(conn, &name, known, schema, writes).await;
        if let Some(beside) = beside {
            let _ = beside.disconnect().await;
        } else {
            self.conn.query_drop("COMMIT").await.map_err(|error| failure(error, "cannot commit"))?;
        }
        let target =
            outcome.map_err(|error| match self.in_transaction && error.kind() == Kind::Unavailable {
                true => {
                    overdue.push((source.clone(), schema.clone()));
                    error.advice(
                        "the transaction is taken back, the table is fitted, and the transaction comes again",
                    )
                }
                false => error,
            })?;
        let plan = Plan::new(&target, schema, writes, self.flavor);
        self.targets.insert(name, target);
        Ok(self.plans.insert(source, schema, plan))
    }
}

/// Making a table fit for the rows that come.
struct Fitting<'a> {
    config: &'a Config,
    flavor: Flavor,
    /// How many seconds to wait for others that use the table.
    patience: u32,
}

impl Fitting<'_> {
    async fn fit(
        &self,
        conn: &mut Conn,
        name: &str,
        known: Option<Target>,
        schema: &TableSchema,
        writes: bool,
    ) -> Result<Target> {
        let options = self.config.options;
        // What is remembered may be out of date: other routes may write to the same table, and make it grow.
        let mut known = known.filter(|target| target.has_columns(schema));
        for _ in 0..ATTEMPTS_MAX {
            if known.is_none() {
                known = Target::load(conn, name).await?;
            }
            let Some(mut target) = known.take() else {
                if !options.create_tables {
                    return Err(Error::new(Kind::Environment, format!("the target has no table {name}"))
                        .advice("make the table, or set create_tables = on"));
                }
                let sql = create_table(name, schema, options.mode, self.flavor);
                self.change(conn, &sql).await.map_err(|error| not_changed(error, name))?;
                continue;
            };
            let missing = target.missing(schema, options, writes)?;
            if missing.is_empty() {
                return Ok(target);
            }
            match self.change(conn, &add_columns(name, &missing, self.flavor)).await {
                Ok(()) => {
                    target.added(&missing);
                    return Ok(target);
                }
                // Another route was quicker.
                Err(mysql_async::Error::Server(error)) if error.code == ER_DUP_FIELDNAME => {}
                Err(error) => return Err(not_changed(error, name)),
            }
        }
        Err(Error::new(Kind::Unavailable, format!("table {name} is being changed by others all the time")))
    }

    async fn change(&self, conn: &mut Conn, sql: &str) -> Result<(), mysql_async::Error> {
        conn.query_drop(format!("SET SESSION lock_wait_timeout = {}", self.patience)).await?;
        conn.query_drop(sql).await
    }
}

/// A statement that the server did not carry out.
struct Failed {
    code: Option<u16>,
    error: Error,
}

impl Failed {
    fn new(error: mysql_async::Error, plan: &Plan, row: &Row) -> Failed {
        let code = match &error {
            mysql_async::Error::Server(server) => Some(server.code),
            _ => None,
        };
        let said = match &error {
            mysql_async::Error::Server(server) => without_value(&server.message),
            _ => String::new(),
        };
        let error = match failure(error, &format!("cannot write to table {}", plan.table)) {
            error if error.kind() == Kind::Data => data_error(&plan.table, row, &said),
            error => error,
        };
        Failed { code, error }
    }

    fn into_error(self) -> Error {
        self.error
    }
}

/// Why a table could not be made or changed.
fn not_changed(error: mysql_async::Error, name: &str) -> Error {
    match &error {
        mysql_async::Error::Server(server) if server.code == ER_LOCK_WAIT_TIMEOUT => {
            failure(error, &format!("others hold table {name}"))
        }
        _ => failure(error, &format!("cannot make or change table {name}"))
            .advice("make or change the table yourself, and set create_tables = off"),
    }
}

/// A server's message without the value that it quotes: `Duplicate entry 'x' for key 'y'`.
fn without_value(message: &str) -> String {
    for tail in [" for key ", " for column "] {
        if let (Some(quote), Some(at)) = (message.find('\''), message.rfind(tail))
            && quote < at
        {
            return format!("{}…{}", &message[..quote], &message[at..]);
        }
    }
    message.to_owned()
}

/// A statement with its parameters in place. The session's mode lets a backslash escape.
fn with_literals(sql: &str, parameters: &[SqlValue]) -> String {
    let mut pieces = sql.split('?');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for (parameter, piece) in parameters.iter().zip(pieces) {
        filled.push_str(&parameter.as_sql(false));
        filled.push_str(piece);
    }
    filled
}

/// The one statement that writes all rows of a run, with their values in it; `None` where a prepared one is better or
/// the only exact way: floating point numbers and bytes that are no text are passed as they are, not written out.
fn rows_as_text(plan: &Plan, run: &Run<'_>) -> Option<String> {
    let bytes: usize = run.rows.iter().map(|row| row.image.len()).sum();
    if run.rows.len() > AT_ONCE_ROWS_MAX || bytes > AT_ONCE_BYTES_MAX {
        return None;
    }
    let all: Vec<u16> = (0..run.rows.first()?.schema.columns.len() as u16).collect();
    let (sql, columns) = match run.kind {
        RunKind::Remove => (plan.delete(run.rows.len()), plan.constraints.key.as_slice()),
        RunKind::Insert | RunKind::Write if !plan.constraints.has_further_unique() => {
            (plan.upsert(&all, run.rows.len()), all.as_slice())
        }
        RunKind::Insert | RunKind::Write => return None,
    };
    let mut values = Vec::with_capacity(run.rows.len() * columns.len());
    run.rows.iter().for_each(|row| parameters(&mut values, row, columns));
    let is_exact = |value: &SqlValue| match value {
        SqlValue::Float(_) | SqlValue::Double(_) => false,
        SqlValue::Bytes(bytes) => std::str::from_utf8(bytes).is_ok(),
        _ => true,
    };
    // A name may have a question mark in it.
    let is_clear = sql.bytes().filter(|byte| *byte == b'?').count() == values.len();
    (is_clear && values.iter().all(is_exact)).then(|| with_literals(&sql, &values))
}

async fn log_in(config: &Config) -> Result<Conn> {
    let options = options(&config.connection)?.client_found_rows(true).stmt_cache_size(STATEMENTS_MAX);
    let mut conn = connect(&config.connection, options).await?;
    conn.query_drop(SESSION).await.map_err(|error| failure(error, "cannot set up the session"))?;
    Ok(conn)
}

async fn take_over(conn: &mut Conn, route: &str, flavor: Flavor) -> Result<(i64, Option<String>)> {
    let failed = |error| {
        failure(error, &format!("cannot take the route over in table {}", cursor_row::TABLE)).advice(
            "give the user the rights CREATE, SELECT, INSERT, UPDATE and DELETE on the target database",
        )
    };
    let raise = (cursor_row::now(), route);
    match conn.exec_drop(cursor_row::RAISE_FENCE, raise.clone()).await {
        Err(mysql_async::Error::Server(error)) if error.code == ER_NO_SUCH_TABLE => {
            conn.query_drop(cursor_table(flavor)).await.map_err(failed)?;
            conn.exec_drop(cursor_row::RAISE_FENCE, raise.clone()).await.map_err(failed)?;
        }
        outcome => outcome.map_err(failed)?,
    }
    if conn.affected_rows() == 0 {
        match conn.exec_drop(cursor_row::INSERT, (route, cursor_row::now())).await {
            // Another writer was quicker; it has to give way.
            Err(mysql_async::Error::Server(error)) if error.code == ER_DUP_ENTRY => {
                conn.exec_drop(cursor_row::RAISE_FENCE, raise).await.map_err(failed)?;
            }
            outcome => outcome.map_err(failed)?,
        }
    }
    let state = conn.exec_first(cursor_row::READ, (route,)).await.map_err(failed)?;
    conn.query_drop("COMMIT").await.map_err(failed)?;
    state.ok_or_else(|| {
        Error::new(
            Kind::Unavailable,
            format!("the cursor of route {route} went away while it was being read"),
        )
    })
}

fn cursor_table(flavor: Flavor) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS `{}` (`route` VARCHAR({}) NOT NULL PRIMARY KEY, `fence` BIGINT NOT NULL, `cursor` \
         LONGTEXT NULL, `updated_at` DATETIME(3) NOT NULL) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {}",
        cursor_row::TABLE,
        cursor_row::ROUTE_CHARS_MAX,
        flavor.exact_collation()
    )
}
