//! Attributes of handles: which of them ODPI-C sets and reads.

use std::ffi::c_int;

use crate::error::{ErrorState, Failure};
use crate::handle::{Handle, known};
use crate::oci::{self, Pointer, Status, attr, handle_type};
use crate::session;

/// A cache of statements that ODPI-C is told of; there is none here.
const CACHED_STATEMENTS: u32 = 20;
/// The character set form of the database's own character set, as opposed to the national one.
const IMPLICIT: u8 = 1;
const SERVER_NORMAL: u32 = 1;

/// What cannot be set has no meaning here (driver name, edition, prefetch and the like).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIAttrSet(
    handle: Pointer,
    _kind: u32,
    value: Pointer,
    length: u32,
    attribute: u32,
    _error: Pointer,
) -> Status {
    let text = || unsafe { session::text(value.cast(), length as usize) };
    match (unsafe { Handle::at(handle) }, attribute) {
        (Some(Handle::Service(service)), attr::SERVER) => service.server = value as usize,
        (Some(Handle::Service(service)), attr::SESSION) => service.session = value as usize,
        (Some(Handle::Service(service)), attr::CALL_TIMEOUT) => {
            service.set_call_timeout(unsafe { *value.cast() });
        }
        (Some(Handle::Session(session)), attr::USERNAME) => session.user = text(),
        (Some(Handle::Session(session)), attr::PASSWORD) => session.password = text(),
        (Some(Handle::Session(session)), attr::CURRENT_SCHEMA) => session.schema = text(),
        (Some(_), _) => {}
        (None, _) => return oci::INVALID_HANDLE,
    }
    oci::SUCCESS
}

/// Texts and arrays stay the handle's: the caller gets a pointer to them, and their length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIAttrGet(
    handle: Pointer,
    kind: u32,
    value: Pointer,
    length: *mut u32,
    attribute: u32,
    error: Pointer,
) -> Status {
    let Some(found) = (unsafe { Handle::at(handle) }) else { return oci::INVALID_HANDLE };
    let put = Output { value, length };
    match (found, attribute) {
        (Handle::Environment | Handle::Server(_), attr::CHARSET_ID) => put.number(oci::AL32UTF8),
        (Handle::Environment, attr::NCHARSET_ID) => put.number(oci::AL32UTF8),

        (Handle::Server(server), attr::SERVER_STATUS) => {
            put.number(if server.is_usable { SERVER_NORMAL } else { 0 });
        }
        (Handle::Session(_), attr::TRANSACTION_IN_PROGRESS) => put.number::<c_int>(1),
        (Handle::Session(session), attr::CURRENT_SCHEMA) => put.list(session.schema.as_bytes()),
        (Handle::Service(service), attr::SERVER) => put.number(service.server),
        (Handle::Service(service), attr::SESSION) => put.number(service.session),
        (Handle::Service(service), attr::CALL_TIMEOUT) => put.number(service.call_timeout_ms),
        (Handle::Service(_), attr::STMTCACHESIZE) => put.number(CACHED_STATEMENTS),

        (Handle::Error(state), attr::DML_ROW_OFFSET) => put.number(state.row),
        (Handle::Error(_), attr::ERROR_IS_RECOVERABLE) => put.number::<c_int>(0),

        (Handle::Statement(statement), attr::STMT_TYPE) => put.number(statement.kind),
        (Handle::Statement(statement), attr::SQL_FUNCTION_CODE) => put.number(statement.function_code()),
        (Handle::Statement(statement), attr::STMT_IS_RETURNING) => {
            put.number(u8::from(statement.is_returning()));
        }
        (Handle::Statement(statement), attr::BIND_COUNT) => put.number(statement.names.len() as u32),
        (Handle::Statement(statement), attr::PARAM_COUNT) => put.number(statement.columns.len() as u32),
        (Handle::Statement(statement), attr::ROWS_FETCHED) => put.number(statement.fetched),
        (Handle::Statement(statement), attr::UB8_ROW_COUNT) => put.number(statement.row_count),
        (Handle::Statement(statement), attr::ROW_COUNT) => put.number(statement.row_count as u32),
        (Handle::Statement(statement), attr::NUM_DML_ERRORS) => put.number(statement.failed_rows),
        (Handle::Statement(statement), attr::DML_ROW_COUNT_ARRAY) => put.list(&statement.row_counts),
        (Handle::Statement(_), attr::PARSE_ERROR_OFFSET) => put.number::<u16>(0),

        (Handle::Column(column), attr::NAME) => put.list(column.name.as_bytes()),
        (Handle::Column(column), attr::DATA_TYPE) => put.number(column.kind),
        (Handle::Column(column), attr::DATA_SIZE) => put.number(column.size_bytes),
        (Handle::Column(column), attr::CHAR_SIZE) => put.number(column.size_chars),
        (Handle::Column(column), attr::PRECISION) => put.number(column.precision),
        (Handle::Column(column), attr::SCALE) => put.number(column.scale),
        (Handle::Column(column), attr::IS_NULL) => put.number(u8::from(column.is_nullable)),
        (Handle::Column(_), attr::CHARSET_FORM) => put.number(IMPLICIT),
        (Handle::Column(_), attr::JSON_COL | attr::OSON_COL) => put.number::<u8>(0),

        _ => {
            let text = format!("the stand-in has no attribute {attribute} of a handle of type {kind}");
            return unsafe { Failure::new(24315, &text).report(error) };
        }
    }
    oci::SUCCESS
}

/// Where an attribute's value goes.
struct Output {
    value: Pointer,
    length: *mut u32,
}

impl Output {
    /// The width is what ODPI-C reads, which is the type.
    fn number<T>(&self, number: T) {
        unsafe { self.value.cast::<T>().write_unaligned(number) };
    }

    fn list<T>(&self, list: &[T]) {
        unsafe { *self.value.cast::<*const T>() = list.as_ptr() };
        if let Some(length) = unsafe { self.length.as_mut() } {
            *length = list.len() as u32;
        }
    }
}

/// A column of a query, counted from 1, or an error of a batch, counted from 0, which is put into the handle given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIParamGet(
    handle: Pointer,
    kind: u32,
    _error: Pointer,
    param: *mut Pointer,
    position: u32,
) -> Status {
    match unsafe { Handle::at(handle) } {
        Some(Handle::Statement(statement)) => {
            let Some(column) = (position as usize).checked_sub(1).and_then(|at| statement.columns.get(at))
            else {
                return oci::ERROR;
            };
            let column = column.clone();
            unsafe { *param = Handle::Column(column).into_pointer() };
        }
        Some(Handle::Error(state)) if kind == handle_type::ERROR => {
            let Some((row, failure)) = state.batch.get(position as usize).cloned() else { return oci::ERROR };
            let target = known!(*param, Error);
            *target = ErrorState::of_row(row, failure);
        }
        _ => return oci::INVALID_HANDLE,
    }
    oci::SUCCESS
}
