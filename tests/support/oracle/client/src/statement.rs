//! Statements: preparing, executing with one row of values or an array of them, and fetching.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

use oracledb::{BindParameters, Connection, ToDbValue};

use crate::bind::Value;
use crate::define::{Cell, column_kind};
use crate::error::{ErrorState, Failure};
use crate::handle::{Handle, known};
use crate::oci::{self, Pointer, Status, sqlt, stmt};
use crate::session::{Service, text};

/// A statement's handle.
#[derive(Default)]
pub struct Statement {
    sql: String,
    /// One of `oci::stmt`.
    pub kind: u16,
    /// The placeholders in their order, without colons.
    pub names: Vec<String>,
    // ODPI-C holds pointers to what is in these boxes.
    #[allow(clippy::vec_box)]
    pub binds: Vec<Box<Handle>>,
    pub defines: BTreeMap<u32, Box<Handle>>,
    pub columns: Vec<Arc<Column>>,
    /// What a query found, all of it, and how much of it was fetched.
    rows: Vec<Vec<Cell>>,
    next_row: usize,
    /// Rows of the last fetch.
    pub fetched: u32,
    /// Rows that a DML changed, or that were fetched so far.
    pub row_count: u64,
    /// Rows that each row of values changed, if asked for.
    pub row_counts: Vec<u64>,
    /// Rows of values that failed.
    pub failed_rows: u32,
}

/// A column of a query.
#[derive(Clone)]
pub struct Column {
    /// ODPI-C keeps a pointer to the name after it has freed the column's descriptor: it lives as long as the statement.
    pub name: Arc<str>,
    pub kind: u16,
    pub size_bytes: u16,
    pub size_chars: u16,
    pub precision: i16,
    pub scale: i8,
    pub is_nullable: bool,
}

impl Statement {
    /// Whether it gives values back through binds, which the stand-in does not do.
    pub fn is_returning(&self) -> bool {
        false
    }

    /// Oracle's number of the command, as far as the crate `oracle` tells them apart (by a CREATE PROCEDURE and the like,
    /// after which it asks for compilation errors).
    pub fn function_code(&self) -> u16 {
        match self.kind {
            stmt::CREATE => 1,
            stmt::INSERT => 3,
            stmt::SELECT => 4,
            stmt::UPDATE => 5,
            stmt::DELETE => 9,
            stmt::DROP => 12,
            stmt::ALTER => 15,
            stmt::MERGE => 189,
            _ => 47,
        }
    }

    /// The values of `count` rows, in the order of the placeholders.
    fn values(&self, count: usize) -> Result<Vec<Vec<Value>>, Failure> {
        let mut in_order = Vec::with_capacity(self.names.len());
        for (at, name) in self.names.iter().enumerate() {
            let bind = self.binds.iter().find_map(|bind| match &**bind {
                Handle::Bind(bind) if bind.is_for(at + 1, name) => Some(bind),
                _ => None,
            });
            in_order.push(bind.ok_or_else(|| Failure::new(1008, "not all variables bound"))?);
        }
        (0..count).map(|row| in_order.iter().map(|bind| unsafe { bind.value(row) }).collect()).collect()
    }

    fn query(&mut self, service: &mut Service, row: &[&dyn ToDbValue]) -> Result<(), Failure> {
        let (columns, rows) = service.with(|connection| {
            let cursor = connection.query(&self.sql, row)?;
            let columns: Vec<Arc<Column>> =
                cursor.columns().iter().map(|column| Arc::new(Column::of(column))).collect();
            let mut rows = Vec::new();
            for row in cursor {
                let row = row?;
                let cells = columns.iter().enumerate().map(|(at, column)| Cell::of(&row, at, column.kind));
                rows.push(cells.collect::<Result<_, _>>()?);
            }
            Ok((columns, rows))
        })?;
        (self.columns, self.rows, self.next_row) = (columns, rows, 0);
        Ok(())
    }

    /// All rows of values in one call: it ends at the first that fails, with those before it done.
    fn execute(&mut self, service: &mut Service, rows: &[&[&dyn ToDbValue]]) -> Result<(), Failure> {
        let sql = &self.sql;
        self.row_count += service.with(|connection| affected(connection, sql, rows))?;
        Ok(())
    }

    /// One row of values after the other, each with the number of rows that it changed.
    fn execute_counting(
        &mut self,
        service: &mut Service,
        rows: &[&[&dyn ToDbValue]],
        mut errors: Option<&mut Vec<(i32, Failure)>>,
    ) -> Result<(), Failure> {
        for (at, row) in rows.iter().enumerate() {
            let count =
                match (service.with(|connection| affected(connection, &self.sql, &[row])), &mut errors) {
                    (Ok(count), _) => count,
                    (Err(failure), Some(errors)) if !failure.is_lost => {
                        errors.push((at as i32, failure));
                        0
                    }
                    (Err(failure), _) => return Err(failure),
                };
            self.row_count += count;
            self.row_counts.push(count);
        }
        Ok(())
    }

    /// Goes on past rows of values that fail. The driver below does not say which row failed, so rows that fail together
    /// are undone and tried in halves.
    fn execute_past_errors(
        &mut self,
        service: &mut Service,
        rows: &[&[&dyn ToDbValue]],
        first: usize,
        errors: &mut Vec<(i32, Failure)>,
    ) -> Result<(), Failure> {
        const BEFORE: &str = "SAVEPOINT lode_batch";
        const UNDO: &str = "ROLLBACK TO SAVEPOINT lode_batch";
        if rows.len() > 1 {
            service.with(|connection| connection.execute(BEFORE, &[]))?;
        }
        let sql = &self.sql;
        match service.with(|connection| affected(connection, sql, rows)) {
            Ok(count) => self.row_count += count,
            Err(failure) if failure.is_lost => return Err(failure),
            Err(failure) if rows.len() == 1 => errors.push((first as i32, failure)),
            Err(_) => {
                service.with(|connection| connection.execute(UNDO, &[]))?;
                let (left, right) = rows.split_at(rows.len() / 2);
                self.execute_past_errors(service, left, first, errors)?;
                self.execute_past_errors(service, right, first + left.len(), errors)?;
            }
        }
        Ok(())
    }
}

fn affected(connection: &Connection, sql: &str, rows: &[&[&dyn ToDbValue]]) -> Result<u64, oracledb::Error> {
    match rows {
        [row] => Ok(connection.execute(sql, row)?.rows_affected()),
        _ => Ok(connection.execute_batch(sql, BindParameters::Slice(rows))?.rows_affected()),
    }
}

impl Column {
    fn of(found: &oracledb::Metadata) -> Column {
        let kind = column_kind(found.db_type());
        let size = |size: u32| size.clamp(1, 32767) as u16;
        // A NUMBER without precision and scale is described with this scale.
        let is_plain_number = kind == sqlt::NUM && found.precision() == 0 && found.scale() == 0;
        Column {
            name: found.name().into(),
            kind,
            size_bytes: size(found.buffer_size()),
            size_chars: size(found.max_size()),
            precision: found.precision().into(),
            scale: if is_plain_number { -127 } else { found.scale() },
            is_nullable: found.nullable(),
        }
    }
}

/// The kind of a statement, by its first word.
fn kind_of(sql: &str) -> u16 {
    let mut rest = sql.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(bracket) = rest.strip_prefix('(') {
            bracket
        } else {
            break;
        };
        rest = after.trim_start();
    }
    let word = rest.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    match word.to_ascii_uppercase().as_str() {
        "SELECT" | "WITH" => stmt::SELECT,
        "UPDATE" => stmt::UPDATE,
        "DELETE" => stmt::DELETE,
        "INSERT" => stmt::INSERT,
        "CREATE" => stmt::CREATE,
        "DROP" => stmt::DROP,
        "ALTER" => stmt::ALTER,
        "BEGIN" => stmt::BEGIN,
        "DECLARE" => stmt::DECLARE,
        "CALL" => stmt::CALL,
        "MERGE" => stmt::MERGE,
        "ROLLBACK" => stmt::ROLLBACK,
        "COMMIT" => stmt::COMMIT,
        _ => stmt::UNKNOWN,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIStmtPrepare2(
    service: Pointer,
    statement: *mut Pointer,
    error: Pointer,
    sql: *const c_char,
    length: u32,
    _key: Pointer,
    _key_length: u32,
    _language: u32,
    _mode: u32,
) -> Status {
    let service = known!(service, Service);
    let sql = unsafe { text(sql, length as usize) };
    let kind = kind_of(&sql);
    // DDL has no placeholders: a colon in a comment or a default is none.
    let names = match kind {
        stmt::CREATE | stmt::DROP | stmt::ALTER => Ok(Vec::new()),
        _ => service.with(|connection| Ok(connection.statement(&sql)?.build()?.bind_names().to_vec())),
    };
    match names {
        Ok(names) => {
            let made = Statement { sql, kind, names, ..Statement::default() };
            unsafe { *statement = Handle::Statement(Box::new(made)).into_pointer() };
            oci::SUCCESS
        }
        Err(failure) => unsafe { failure.report(error) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIStmtRelease(
    statement: Pointer,
    _error: Pointer,
    _key: Pointer,
    _key_length: u32,
    _mode: u32,
) -> Status {
    unsafe { crate::handle::OCIHandleFree(statement, 0) }
}

/// The names of the placeholders from `start` on (from 1). A negative number found means that there are more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIStmtGetBindInfo(
    statement: Pointer,
    _error: Pointer,
    size: u32,
    start: u32,
    found: *mut i32,
    names: *mut *const u8,
    name_lengths: *mut u8,
    indicators: *mut *const u8,
    indicator_lengths: *mut u8,
    is_duplicate: *mut u8,
    binds: *mut Pointer,
) -> Status {
    let statement = known!(statement, Statement);
    let total = statement.names.len() as i32;
    let rest = statement.names.iter().skip(start.saturating_sub(1) as usize);
    let mut count = 0;
    for (at, name) in rest.take(size as usize).enumerate() {
        unsafe {
            *names.add(at) = name.as_ptr();
            *name_lengths.add(at) = name.len() as u8;
            *indicators.add(at) = ptr::null();
            *indicator_lengths.add(at) = 0;
            *is_duplicate.add(at) = 0;
            *binds.add(at) = ptr::null_mut();
        }
        count += 1;
    }
    let is_all = start as i32 - 1 + count >= total;
    unsafe { *found = if is_all { total } else { -total } };
    if total == 0 { oci::NO_DATA } else { oci::SUCCESS }
}

/// Executes with `iterations` rows of values; a query has none and is then fetched from.
///
/// With `OCI_BATCH_ERRORS`, rows that fail are left out: the call succeeds with ORA-24381 in the error handle, from which
/// ODPI-C takes the errors by `OCIParamGet`, after it has asked the statement how many there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIStmtExecute(
    service: Pointer,
    statement: Pointer,
    error: Pointer,
    iterations: u32,
    _offset: u32,
    _snapshot_in: Pointer,
    _snapshot_out: Pointer,
    mode: u32,
) -> Status {
    let service = known!(service, Service);
    let statement = known!(statement, Statement);
    *known!(error, Error) = ErrorState::default();
    statement.row_count = 0;
    statement.row_counts.clear();
    let mut errors = Vec::new();
    let done = (|| {
        let values = statement.values(iterations.max(1) as usize)?;
        let rows: Vec<Vec<&dyn ToDbValue>> =
            values.iter().map(|row| row.iter().map(|value| &**value).collect()).collect();
        let rows: Vec<&[&dyn ToDbValue]> = rows.iter().map(Vec::as_slice).collect();
        let goes_on = mode & oci::BATCH_ERRORS != 0;
        if statement.kind == stmt::SELECT {
            statement.query(service, rows[0])?;
        } else if mode & oci::RETURN_ROW_COUNT_ARRAY != 0 {
            statement.execute_counting(service, &rows, goes_on.then_some(&mut errors))?;
        } else if goes_on {
            statement.execute_past_errors(service, &rows, 0, &mut errors)?;
        } else {
            statement.execute(service, &rows)?;
        }
        if mode & oci::COMMIT_ON_SUCCESS != 0 {
            service.with(Connection::commit)?;
        }
        Ok(())
    })();
    statement.failed_rows = errors.len() as u32;
    if let Err(failure) = done {
        return unsafe { Failure::report(failure, error) };
    }
    if errors.is_empty() {
        return oci::SUCCESS;
    }
    unsafe { Failure::new(24381, "error(s) in array DML").report(error) };
    known!(error, Error).batch = errors;
    oci::SUCCESS_WITH_INFO
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIStmtFetch2(
    statement: Pointer,
    error: Pointer,
    wanted: u32,
    _orientation: u16,
    _offset: i32,
    _mode: u32,
) -> Status {
    let statement = known!(statement, Statement);
    let rows = &statement.rows[statement.next_row..];
    let count = rows.len().min(wanted as usize);
    for (at, row) in rows[..count].iter().enumerate() {
        for (position, define) in &statement.defines {
            let (Handle::Define(define), Some(cell)) = (&**define, row.get(*position as usize - 1)) else {
                continue;
            };
            if let Err(failure) = unsafe { define.put(at, cell) } {
                return unsafe { failure.report(error) };
            }
        }
    }
    statement.next_row += count;
    statement.fetched = count as u32;
    statement.row_count += count as u64;
    if count < wanted as usize { oci::NO_DATA } else { oci::SUCCESS }
}
