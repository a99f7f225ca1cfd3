//! Connections to Oracle databases: the settings of a `connection x = oracle "…"` statement, the client library, the
//! log-in, and what the server's errors mean.
//!
//! Oracle's own client library (Instant Client) is loaded when the first connection is made, never before: a program
//! without it runs everything else. All calls block, and belong on a thread of their own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use oracle::{Connector, InitParams};

use super::PASSWORD;
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};
use crate::model::spec::{EndpointSpec, SettingSpec, SettingType};

/// What stands after `oracle` in a `connection` statement; the database is the name of a service.
pub const ENDPOINT: EndpointSpec =
    EndpointSpec::Url { schemes: &["oracle"], default_port: 1521, database: true };

/// Settings of a `connection x = oracle "…"` statement. The user is part of the URL, the password never is.
pub const CONNECTION: &[SettingSpec] = &[
    PASSWORD,
    SettingSpec::new(
        "client_lib",
        SettingType::Path,
        None,
        "The folder of Oracle Instant Client, where the system does not find it by itself; one for all connections.",
    ),
    SettingSpec::new(
        "connect_timeout",
        SettingType::Duration,
        Some("10s"),
        "How long a log-in may take before the server counts as unreachable.",
    ),
    SettingSpec::new(
        "call_timeout",
        SettingType::Duration,
        Some("5m"),
        "How long one call to the server may take, waiting for locks included, before the connection counts as lost.",
    ),
];

/// Statements that the client keeps open on a connection.
const STATEMENTS_MAX: u32 = 128;

/// How long a log-in to this connection may take.
pub fn connect_timeout(connection: &Connection) -> Duration {
    connection.settings.duration("connect_timeout").unwrap_or(Duration::from_secs(10))
}

/// Logs in. Blocks without a limit of its own while the server does not answer.
///
/// # Errors
/// `Environment` with advice when the client library is missing or the server refuses, `Unavailable` when the server
/// cannot be reached.
pub fn connect(connection: &Connection) -> Result<oracle::Connection> {
    let Endpoint::Url { user, host, port, database, .. } = &connection.endpoint else {
        return Err(Error::new(
            Kind::Script,
            format!("connection {} needs a server as its endpoint", connection.name),
        )
        .advice("write it as oracle \"oracle://user@host:1521/service\""));
    };
    let settings = &connection.settings;
    load_client(settings.path("client_lib").as_deref())?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let address = format!("//{host}:{port}/{database}");
    let password = settings.secret("password");
    let password = password.as_ref().map_or("", |secret| secret.expose());
    let mut connector = Connector::new(user.as_str(), password, address);
    let conn = connector
        .stmt_cache_size(STATEMENTS_MAX)
        .connect()
        .map_err(|error| failure(error, "cannot log in"))?;
    let patience = settings.duration("call_timeout").unwrap_or(Duration::from_secs(300));
    conn.set_call_timeout(Some(patience))
        .map_err(|error| failure(error, "cannot limit the time of calls"))?;
    Ok(conn)
}

/// Loads the client library, from `folder` or from where the system finds it. Once it is loaded it stays, and serves all
/// connections of the program.
///
/// # Errors
/// `Environment`: there is none, or another folder's one is loaded already.
pub fn load_client(folder: Option<&Path>) -> Result<()> {
    /// The folder of the library that was loaded; `Some(None)` is the system's own.
    static LOADED: Mutex<Option<Option<PathBuf>>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match (&*loaded, folder) {
        (Some(_), None) => return Ok(()),
        (Some(Some(before)), Some(folder)) if before == folder => return Ok(()),
        (Some(before), Some(folder)) => {
            let before = match before {
                Some(before) => format!("of {}", before.display()),
                None => "that the system finds by itself".to_owned(),
            };
            return Err(Error::new(
                Kind::Environment,
                format!(
                    "client_lib names {}, but the Oracle client {before} is loaded, and a program can load only one",
                    folder.display()
                ),
            )
            .advice("set client_lib to the same folder in all connections, and start lode again"));
        }
        (None, _) => {}
    }
    let mut params = InitParams::new();
    let init = match folder {
        Some(folder) => params.oracle_client_lib_dir(folder).and_then(|params| params.init()),
        None => params.init(),
    };
    init.map_err(|error| failure(error, "the Oracle client cannot be loaded"))?;
    *loaded = Some(folder.map(Path::to_owned));
    Ok(())
}

/// What an error of the driver means. `doing` says what failed, in a few words.
pub fn failure(error: oracle::Error, doing: &str) -> Error {
    if let Some(code) = code(&error) {
        let message = error.db_error().map_or_else(|| error.to_string(), |error| first_line(error.message()));
        return refusal(code, &message, doing).caused_by(error);
    }
    match error.dpi_code() {
        // Cannot locate the library; it is too old, or lacks a symbol.
        Some(1047 | 1049 | 1050 | 1072) => {
            Error::new(Kind::Environment, format!("{doing}: {}", first_line(&error.to_string())))
                .advice(INSTALL)
                .caused_by(error)
        }
        // Not connected; the connection was closed; a call timed out.
        Some(1010 | 1080 | 1067) => {
            Error::new(Kind::Unavailable, format!("{doing}: {}", first_line(&error.to_string())))
                .caused_by(error)
        }
        // The driver's other errors are misuse of its interface.
        _ => Error::new(Kind::Internal, format!("{doing}: {}", first_line(&error.to_string())))
            .caused_by(error),
    }
}

/// The server's error code, also where the driver reports the lost connection that the error led to.
pub fn code(error: &oracle::Error) -> Option<i32> {
    if let Some(code) = error.oci_code() {
        return Some(code);
    }
    error.dpi_code()?;
    let message = error.db_error()?.message();
    let digits = &message[message.rfind("ORA-")? + 4..];
    digits.get(..5)?.parse().ok().filter(|code| *code != 0)
}

/// What a server's error code means, and what to type next. Kind `Data` is a row that a table does not take.
pub fn refusal(code: i32, message: &str, doing: &str) -> Error {
    let kind = kind(code);
    let message = first_line(message);
    let message = if kind == Kind::Data { without_values(&message) } else { message };
    let error = Error::new(kind, format!("{doing}: the server says {message}"));
    match code {
        1017 => error.advice("check the user in the URL and the setting password"),
        1045 => error.advice("give the user the right: GRANT CREATE SESSION TO <user>"),
        1031 => error.advice("give the user the rights: GRANT CREATE SESSION, CREATE TABLE TO <user>"),
        1536 | 1950 => {
            error.advice("give the user room: ALTER USER <user> QUOTA UNLIMITED ON <tablespace>")
        }
        1653 | 1654 | 1691 | 1652 => error.advice("make room in the tablespace that the message names"),
        12505 | 12514 => error.advice("check the service at the end of the URL: `lsnrctl services` at the server lists them"),
        12154 | 12545 => error.advice("check the host in the URL"),
        28000 => error.advice("unlock the user: ALTER USER <user> ACCOUNT UNLOCK"),
        28001 => error.advice("the password has expired: ALTER USER <user> IDENTIFIED BY <password>"),
        16000 => error.advice("the database is open read-only; use the primary"),
        1450 => error.advice("shorten the key's columns with the setting types, such as types = { name = \"VARCHAR2(400 CHAR)\" }"),
        _ => error,
    }
}

const INSTALL: &str = "install Oracle Instant Client, the Basic package (oracle.com/database/technologies/instant-client), \
     and name its folder with client_lib = \"/opt/oracle/instantclient\" or ORACLE_HOME; on Linux let the system find it: put the \
     folder into LD_LIBRARY_PATH before lode starts, or into /etc/ld.so.conf.d and run ldconfig; it needs libaio";

/// Which codes pass by themselves, and which are about the row. Sources: the Database Error Messages reference (cause and
/// action of each code), the codes after which ODPI-C takes a session for dead (dpiError.c, `dpiError__setFromOCI`), and
/// those that Application Continuity and drivers treat as recoverable.
fn kind(code: i32) -> Kind {
    match code {
        // The session or its connection is gone.
        22 | 28 | 31 | 45 | 378 | 602 | 603 | 609 | 1012 | 1041 | 1043 | 1092 | 2396 | 2399 | 3113 | 3114
        | 3122 | 3135 | 3136 | 3150 | 12153 | 12170 | 12203 | 12224 | 12535 | 12537 | 12543 | 12547
        | 12560 | 12570 | 12571 | 12583 | 12606 | 12608 | 12609 | 12637 | 27146 | 28511 | 56600 => {
            Kind::Unavailable
        }
        // The server starts, stops, changes roles, or has no room for a session now. A listener that does not know
        // the service is often one whose database has not registered yet.
        18 | 20 | 257 | 1033 | 1034 | 1035 | 1089 | 1090 | 1109 | 10387 | 12505 | 12514 | 12516 | 12518
        | 12519 | 12520 | 12521 | 12526 | 12527 | 12528 | 12541 | 12757 | 14452 | 16456 | 27101 => {
            Kind::Unavailable
        }
        // Deadlock, lock or resource wait, cannot serialize, snapshot too old.
        54 | 60 | 104 | 1013 | 1555 | 4020 | 4021 | 4061 | 4068 | 8176 | 8177 | 30006 => Kind::Unavailable,
        // Failover of the client: what was under way is undone or unknown.
        25400..=25408 | 25409 | 25425 => Kind::Unavailable,
        // What a table does not take: duplicates, NULL, ranges, lengths, conversions, foreign keys, checks; and what
        // its own triggers refuse.
        1
        | 1400
        | 1401
        | 1407
        | 1426
        | 1438
        | 1439
        | 1461
        | 1465
        | 1722
        | 1801
        | 1830
        | 1839..=1862
        | 1873
        | 1877
        | 1878
        | 2290
        | 2291
        | 2292
        | 6502
        | 12899
        | 12703
        | 20000..=20999
        | 22835
        | 22992
        | 24381
        | 26093
        | 40441
        | 40467 => Kind::Data,
        _ => Kind::Environment,
    }
}

/// Oracle adds lines that help with the error, some of which quote values.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim_end().to_owned()
}

/// A message without what it quotes in single quotes, or behind a colon that the database puts before a value.
fn without_values(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    for (at, part) in message.split('\'').enumerate() {
        match at % 2 {
            0 => shown.push_str(part),
            _ => shown.push_str("'…'"),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_have_a_meaning() {
        for (code, kind) in [
            (3113, Kind::Unavailable),
            (3114, Kind::Unavailable),
            (3135, Kind::Unavailable),
            (12541, Kind::Unavailable),
            (12514, Kind::Unavailable),
            (12528, Kind::Unavailable),
            (1033, Kind::Unavailable),
            (1034, Kind::Unavailable),
            (1089, Kind::Unavailable),
            (1090, Kind::Unavailable),
            (1012, Kind::Unavailable),
            (28, Kind::Unavailable),
            (60, Kind::Unavailable),
            (54, Kind::Unavailable),
            (8177, Kind::Unavailable),
            (25408, Kind::Unavailable),
            (1, Kind::Data),
            (1400, Kind::Data),
            (1438, Kind::Data),
            (12899, Kind::Data),
            (2291, Kind::Data),
            (1017, Kind::Environment),
            (942, Kind::Environment),
            (1031, Kind::Environment),
            (1653, Kind::Environment),
        ] {
            assert_eq!(refusal(code, "ORA-…", "x").kind(), kind, "{code}");
        }
    }

    #[test]
    fn messages_hold_no_values() {
        let said =
            "ORA-01722: unable to convert string value containing 'secret' to a number: X\nORA-03301: (ID:7)";
        let error = refusal(1722, said, "cannot write to table T");
        assert_eq!(
            error.message(),
            "cannot write to table T: the server says ORA-01722: unable to convert string value containing '…' to a number: X"
        );
    }
}
