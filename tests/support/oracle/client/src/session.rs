//! Servers, sessions and transactions.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::time::Duration;

use oracledb::Connection;

use crate::error::Failure;
use crate::handle::{Handle, known};
use crate::oci::{self, Pointer, Status};

/// A server handle: where to connect to. Nothing is sent before the session begins.
#[derive(Default)]
pub struct Server {
    connect_string: String,
    /// ODPI-C asks after every error, and gives the connection up when it is false.
    pub is_usable: bool,
}

/// A session handle: who logs in.
#[derive(Default)]
pub struct Session {
    pub user: String,
    pub password: String,
    pub schema: String,
}

/// A service context: a server, a session, and the connection that came of them.
#[derive(Default)]
pub struct Service {
    pub server: usize,
    pub session: usize,
    pub call_timeout_ms: u32,
    connection: Option<Connection>,
}

impl Service {
    /// Does something with the connection. A connection that is lost stays lost.
    pub fn with<T>(
        &mut self,
        action: impl FnOnce(&Connection) -> Result<T, oracledb::Error>,
    ) -> Result<T, Failure> {
        let Some(connection) = &self.connection else { return Err(Failure::new(1012, "not logged on")) };
        // The driver is a beta, and a panic may not leave this library: it ends the connection instead.
        let done = catch_unwind(AssertUnwindSafe(|| action(connection)))
            .map_err(|_| Failure {
                is_lost: true,
                ..Failure::new(603, "ORACLE server session terminated by fatal error")
            })
            .and_then(|done| done.map_err(|error| Failure::of(&error)));
        if let Err(failure) = &done {
            self.note(failure);
        }
        done
    }

    /// Remembers that a failure cost the connection.
    fn note(&mut self, failure: &Failure) {
        if failure.is_lost
            && let Some(Handle::Server(server)) = unsafe { Handle::at(self.server as Pointer) }
        {
            server.is_usable = false;
        }
    }

    pub fn set_call_timeout(&mut self, timeout_ms: u32) {
        self.call_timeout_ms = timeout_ms;
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into()));
        // It applies from the login on: see `OCISessionBegin`.
        let _ = self.with(|connection| connection.set_call_timeout(timeout));
    }
}

/// The text of a buffer with a length.
///
/// # Safety
/// `start` is null or has `length` bytes.
pub unsafe fn text(start: *const c_char, length: usize) -> String {
    if start.is_null() || length == 0 {
        return String::new();
    }
    String::from_utf8_lossy(unsafe { slice::from_raw_parts(start.cast(), length) }).into_owned()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIServerAttach(
    server: Pointer,
    _error: Pointer,
    name: *const c_char,
    length: i32,
    _mode: u32,
) -> Status {
    let server = known!(server, Server);
    server.connect_string = unsafe { text(name, usize::try_from(length).unwrap_or_default()) };
    server.is_usable = true;
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn OCIServerDetach(_server: Pointer, _error: Pointer, _mode: u32) -> Status {
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCISessionBegin(
    service: Pointer,
    error: Pointer,
    session: Pointer,
    _credentials: u32,
    _mode: u32,
) -> Status {
    let service = known!(service, Service);
    let session = known!(session, Session);
    let server = known!(service.server as Pointer, Server);
    let connected = oracledb::Config::default()
        .set_credentials(&session.user, &session.password)
        .set_connect_string(server.connect_string.trim_start_matches("//"))
        .and_then(oracledb::connect);
    match connected {
        Ok(connection) => {
            service.connection = Some(connection);
            service.set_call_timeout(service.call_timeout_ms);
            // The driver sends times without a zone, and `OCIDateTimeConstruct` takes them in UTC only.
            match service.with(|connection| connection.execute("ALTER SESSION SET TIME_ZONE = '+00:00'", &[]))
            {
                Ok(_) => oci::SUCCESS,
                Err(failure) => unsafe { failure.report(error) },
            }
        }
        Err(found) => unsafe { Failure::to_connect(&found).report(error) },
    }
}

/// What was not committed is rolled back by the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCISessionEnd(
    service: Pointer,
    _error: Pointer,
    _session: Pointer,
    _mode: u32,
) -> Status {
    let service = known!(service, Service);
    if let Some(mut connection) = service.connection.take() {
        // The server may be gone, and then has ended the session itself.
        let _ = connection.close();
    }
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCITransCommit(service: Pointer, error: Pointer, _flags: u32) -> Status {
    unsafe { round_trip(service, error, Connection::commit) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCITransRollback(service: Pointer, error: Pointer, _flags: u32) -> Status {
    unsafe { round_trip(service, error, Connection::rollback) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIPing(service: Pointer, error: Pointer, _mode: u32) -> Status {
    unsafe { round_trip(service, error, Connection::ping) }
}

unsafe fn round_trip(
    service: Pointer,
    error: Pointer,
    action: fn(&Connection) -> Result<(), oracledb::Error>,
) -> Status {
    let service = known!(service, Service);
    match service.with(action) {
        Ok(()) => oci::SUCCESS,
        Err(failure) => unsafe { failure.report(error) },
    }
}

/// The driver below is not used by two threads at once, so nothing can be interrupted.
#[unsafe(no_mangle)]
pub extern "C" fn OCIBreak(_service: Pointer, _error: Pointer) -> Status {
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn OCIReset(_service: Pointer, _error: Pointer) -> Status {
    oci::SUCCESS
}

/// The server's version, packed into bits: 8, 8, 4, 8 and 4 for a server since 18, and 8, 4, 8, 4 and 8 before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIServerRelease2(
    service: Pointer,
    error: Pointer,
    buffer: *mut c_char,
    size: u32,
    _kind: u8,
    version: *mut u32,
    _mode: u32,
) -> Status {
    let service = known!(service, Service);
    let found = match service.with(Connection::version) {
        Ok(found) => found,
        Err(failure) => return unsafe { failure.report(error) },
    };
    let parts =
        [found.0, found.1, found.2, found.3, found.4].map(|part| u32::try_from(part).unwrap_or_default());
    let [major, minor, update, port, port_update] = parts;
    let banner = format!("Stand-in for Oracle Database {major}.{minor}.{update}.{port}.{port_update}\0");
    let packed = if major >= 18 {
        major << 24 | minor << 16 | update << 12 | port << 4 | port_update
    } else {
        major << 24 | minor << 20 | update << 12 | port << 8 | port_update
    };
    unsafe {
        *version = packed;
        buffer.copy_from_nonoverlapping(banner.as_ptr().cast(), banner.len().min(size as usize));
    }
    oci::SUCCESS
}
