//! Errors: what a function leaves in the error handle for `OCIErrorGet`.

use std::ffi::c_char;

use oracledb::ErrorKind;

use crate::handle::{Handle, known};
use crate::oci::{self, Pointer, Status};

/// An error with Oracle's number and its text, which begins with it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: i32,
    pub message: String,
    /// Whether the connection is of no use any more.
    pub is_lost: bool,
}

/// What the last failed call left in an error handle.
#[derive(Default)]
pub struct ErrorState {
    last: Option<Failure>,
    /// The row that this error is about, for one of a batch.
    pub row: i32,
    /// The errors of an array DML that went on past them, with their rows: `OCIParamGet` hands them out.
    pub batch: Vec<(i32, Failure)>,
}

impl Failure {
    pub fn new(code: i32, text: &str) -> Failure {
        Failure { code, message: format!("ORA-{code:05}: {text}"), is_lost: false }
    }

    /// An error of the driver below. Losing the connection gets the numbers that Oracle's own client gives it.
    pub fn of(error: &oracledb::Error) -> Failure {
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        let lost = |code, meaning: &str| Failure {
            is_lost: true,
            ..Failure::new(code, &format!("{meaning} ({text})"))
        };
        match error.kind() {
            ErrorKind::DbError(found) => {
                let code = i32::try_from(found.code()).unwrap_or_default();
                // 28 and its like: the server has ended the session.
                let is_lost = matches!(code, 28 | 31 | 603 | 1012 | 1089 | 1092 | 3113 | 3114);
                let message = found.message();
                if message.starts_with("ORA-") {
                    Failure { code, message: message.to_owned(), is_lost }
                } else {
                    Failure { is_lost, ..Failure::new(code, message) }
                }
            }
            ErrorKind::CallTimeoutExceeded => Failure::new(3156, "OCI call timed out"),
            ErrorKind::NotConnected => lost(3114, "not connected to ORACLE"),
            ErrorKind::DeadConnection
            | ErrorKind::StreamOperation
            | ErrorKind::UnableToRecover
            | ErrorKind::LockPoisoned => lost(3113, "end-of-file on communication channel"),
            ErrorKind::WrongNumPositionalBinds(..) => Failure::new(1008, "not all variables bound"),
            ErrorKind::DifferentTypes(..) => Failure::new(932, &format!("inconsistent datatypes ({text})")),
            _ => Failure::new(3120, &format!("two-task conversion routine: {text}")),
        }
    }

    /// An error of the driver while it connects.
    pub fn to_connect(error: &oracledb::Error) -> Failure {
        let found = Failure::of(error);
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        match error.kind() {
            ErrorKind::DbError(_) => found,
            ErrorKind::ListenerRefusedConnection(..)
            | ErrorKind::InvalidServiceName(..)
            | ErrorKind::InvalidSid(..) => Failure::new(
                12514,
                &format!(
                    "TNS:listener does not currently know of service requested in connect descriptor ({text})"
                ),
            ),
            ErrorKind::InvalidConnectString(..) | ErrorKind::TnsAliasNotFound(..) => Failure::new(
                12154,
                &format!("TNS:could not resolve the connect identifier specified ({text})"),
            ),
            ErrorKind::CallTimeoutExceeded => Failure::new(12170, "TNS:Connect timeout occurred"),
            _ => Failure::new(12541, &format!("TNS:no listener ({text})")),
        }
    }

    /// Leaves it in the error handle, for a function that then returns this.
    ///
    /// # Safety
    /// `handle` is null or an error handle.
    pub unsafe fn report(self, handle: Pointer) -> Status {
        if let Some(Handle::Error(state)) = unsafe { Handle::at(handle) } {
            state.last = Some(self);
        }
        oci::ERROR
    }
}

impl ErrorState {
    /// One that is about a row of a batch.
    pub fn of_row(row: i32, failure: Failure) -> ErrorState {
        ErrorState { last: Some(failure), row, batch: Vec::new() }
    }
}

/// ODPI-C asks for the first record only, and prints no more of a message than fits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIErrorGet(
    handle: Pointer,
    record: u32,
    _state: *mut c_char,
    code: *mut i32,
    buffer: *mut c_char,
    size: u32,
    _kind: u32,
) -> Status {
    let state = known!(handle, Error);
    let Some(failure) = state.last.as_ref().filter(|_| record == 1) else { return oci::NO_DATA };
    let text = failure.message.trim_end();
    let mut length = text.len().min((size as usize).saturating_sub(1));
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    unsafe {
        *code = failure.code;
        buffer.copy_from_nonoverlapping(text.as_ptr().cast(), length);
        *buffer.add(length) = 0;
    }
    oci::SUCCESS
}
