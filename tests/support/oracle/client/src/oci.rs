//! Constants of OCI, as ODPI-C passes and expects them.

use std::ffi::{c_int, c_void};

/// A handle, a descriptor, or a buffer of the caller's.
pub type Pointer = *mut c_void;

/// Copies bytes into a buffer of the caller's, who may give none when there is nothing to copy.
///
/// # Safety
/// `target` has room for them.
pub unsafe fn copy(bytes: &[u8], target: *mut u8) {
    if !bytes.is_empty() {
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

/// What every function returns.
pub type Status = c_int;
pub const SUCCESS: Status = 0;
pub const SUCCESS_WITH_INFO: Status = 1;
pub const NO_DATA: Status = 100;
pub const ERROR: Status = -1;
pub const INVALID_HANDLE: Status = -2;
/// What a callback for dynamic binds and defines returns when it has given a buffer.
pub const CONTINUE: i32 = -24200;

/// The character set AL32UTF8.
pub const AL32UTF8: u16 = 873;

/// Modes of `OCIStmtExecute`.
pub const COMMIT_ON_SUCCESS: u32 = 0x20;
pub const BATCH_ERRORS: u32 = 0x80;
pub const RETURN_ROW_COUNT_ARRAY: u32 = 0x10_0000;

/// Kinds of handles.
pub mod handle_type {
    pub const ENV: u32 = 1;
    pub const ERROR: u32 = 2;
    pub const SERVICE: u32 = 3;
    pub const SERVER: u32 = 8;
    pub const SESSION: u32 = 9;
}

/// Kinds of descriptors.
pub mod descriptor {
    pub const LOB: u32 = 50;
    pub const INTERVAL_DS: u32 = 63;
    pub const TIMESTAMP: u32 = 68;
    pub const TIMESTAMP_TZ: u32 = 69;
    pub const TIMESTAMP_LTZ: u32 = 70;
}

/// Types of values in buffers (`SQLT_…`), and of columns.
pub mod sqlt {
    pub const CHR: u16 = 1;
    pub const NUM: u16 = 2;
    pub const INT: u16 = 3;
    pub const VNU: u16 = 6;
    pub const LNG: u16 = 8;
    pub const VCS: u16 = 9;
    pub const DAT: u16 = 12;
    pub const BFLOAT: u16 = 21;
    pub const BDOUBLE: u16 = 22;
    pub const BIN: u16 = 23;
    pub const LBI: u16 = 24;
    pub const UIN: u16 = 68;
    pub const AFC: u16 = 96;
    pub const IBFLOAT: u16 = 100;
    pub const IBDOUBLE: u16 = 101;
    pub const CLOB: u16 = 112;
    pub const BLOB: u16 = 113;
    /// `OCIDate`.
    pub const ODT: u16 = 156;
    pub const TIMESTAMP: u16 = 187;
    pub const TIMESTAMP_TZ: u16 = 188;
    pub const INTERVAL_DS: u16 = 190;
    pub const TIMESTAMP_LTZ: u16 = 232;
}

/// Attributes of handles. Some numbers mean different things for different handles.
pub mod attr {
    pub const DATA_SIZE: u32 = 1;
    pub const DATA_TYPE: u32 = 2;
    pub const NAME: u32 = 4;
    pub const PRECISION: u32 = 5;
    pub const SCALE: u32 = 6;
    pub const SERVER: u32 = 6;
    pub const IS_NULL: u32 = 7;
    pub const SESSION: u32 = 7;
    pub const ROW_COUNT: u32 = 9;
    pub const SQL_FUNCTION_CODE: u32 = 10;
    pub const PARAM_COUNT: u32 = 18;
    pub const USERNAME: u32 = 22;
    pub const PASSWORD: u32 = 23;
    pub const STMT_TYPE: u32 = 24;
    pub const CHARSET_ID: u32 = 31;
    pub const CHARSET_FORM: u32 = 32;
    pub const NUM_DML_ERRORS: u32 = 73;
    pub const DML_ROW_OFFSET: u32 = 74;
    pub const PARSE_ERROR_OFFSET: u32 = 129;
    pub const SERVER_STATUS: u32 = 143;
    pub const STMTCACHESIZE: u32 = 176;
    pub const BIND_COUNT: u32 = 190;
    pub const ROWS_FETCHED: u32 = 197;
    pub const STMT_IS_RETURNING: u32 = 218;
    pub const CURRENT_SCHEMA: u32 = 224;
    pub const NCHARSET_ID: u32 = 262;
    pub const CHAR_SIZE: u32 = 286;
    pub const UB8_ROW_COUNT: u32 = 457;
    pub const DML_ROW_COUNT_ARRAY: u32 = 469;
    pub const ERROR_IS_RECOVERABLE: u32 = 472;
    pub const TRANSACTION_IN_PROGRESS: u32 = 484;
    pub const CALL_TIMEOUT: u32 = 531;
    pub const JSON_COL: u32 = 534;
    pub const OSON_COL: u32 = 623;
}

/// Kinds of statements (`OCI_STMT_…`).
pub mod stmt {
    pub const UNKNOWN: u16 = 0;
    pub const SELECT: u16 = 1;
    pub const UPDATE: u16 = 2;
    pub const DELETE: u16 = 3;
    pub const INSERT: u16 = 4;
    pub const CREATE: u16 = 5;
    pub const DROP: u16 = 6;
    pub const ALTER: u16 = 7;
    pub const BEGIN: u16 = 8;
    pub const DECLARE: u16 = 9;
    pub const CALL: u16 = 10;
    pub const MERGE: u16 = 16;
    pub const ROLLBACK: u16 = 17;
    pub const COMMIT: u16 = 21;
}
