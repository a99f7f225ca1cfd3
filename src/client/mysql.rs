//! Connections to MySQL and MariaDB: the settings of a `connection x = mysql "…"` statement, the log-in, and
//! what the server's errors mean.

use std::time::Duration;

use mysql_async::{Conn, DriverError, IoError, OptsBuilder, ServerError, SslOpts};

use super::lookup;
use super::{PASSWORD, TLS, TLS_CA, TLS_VERIFY, place};
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};
use crate::model::spec::{EndpointSpec, SettingSpec, SettingType};

/// What stands after `mysql` in a `connection` statement.
pub const ENDPOINT: EndpointSpec =
    EndpointSpec::Url { schemes: &["mysql", "mariadb"], default_port: 3306, database: true };

/// Settings of a `connection x = mysql "…"` statement. The user is part of the URL, the password never is.
pub const CONNECTION: &[SettingSpec] = &[
    PASSWORD,
    TLS,
    TLS_VERIFY,
    TLS_CA,
    SettingSpec::new(
        "timezone",
        SettingType::Text,
        Some("\"UTC\""),
        "The time zone that DATETIME values of this server are meant in, where one is needed.",
    ),
    SettingSpec::new(
        "connect_timeout",
        SettingType::Duration,
        Some("10s"),
        "How long a log-in may take before the server counts as unreachable.",
    ),
    SettingSpec::new(
        "heartbeat",
        SettingType::Duration,
        Some("10s"),
        "As a source: how often the server shows that it is alive; after three missed times it counts as lost.",
    ),
    SettingSpec::new(
        "server_id",
        SettingType::Integer { min: 1, max: u32::MAX as u64, unit: "id" },
        None,
        "As a source: the replica id shown to the server, unique among its replicas; a random one by default.",
    ),
    lookup::TTL,
    lookup::ROWS,
    lookup::SIZE,
];

const REPLICA_RIGHTS: &str = "give the user the rights of a replica: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* \
     TO <user> (MariaDB: GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO <user>)";

/// Connection options from a checked statement. The password is set by itself and is in no URL or message.
///
/// # Errors
/// When the endpoint is not a server.
pub fn options(connection: &Connection) -> Result<OptsBuilder> {
    let Endpoint::Url { user, host, port, database, .. } = &connection.endpoint else {
        return Err(Error::new(
            Kind::Script,
            format!("connection {} needs a server as its endpoint", connection.name),
        )
        .advice("write it as mysql \"mysql://user@host:3306/database\""));
    };
    let settings = &connection.settings;
    let ssl = settings.switch("tls").unwrap_or(false).then(|| {
        let verify = settings.switch("tls_verify").unwrap_or(true);
        let options = SslOpts::default()
            .with_danger_accept_invalid_certs(!verify)
            .with_danger_skip_domain_validation(!verify);
        match settings.path("tls_ca") {
            Some(path) => options.with_root_certs(vec![path.into()]).with_disable_built_in_roots(true),
            None => options,
        }
    });
    Ok(OptsBuilder::default()
        .ip_or_hostname(host.as_str())
        .tcp_port(*port)
        .user((!user.is_empty()).then_some(user.as_str()))
        .pass(settings.secret("password").map(|secret| secret.expose().to_owned()))
        .db_name((!database.is_empty()).then_some(database.as_str()))
        .ssl_opts(ssl)
        // The driver would change over to the local socket, where other rights and no TLS apply.
        .prefer_socket(false)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .tcp_nodelay(true)
        .setup(vec!["SET NAMES utf8mb4, time_zone = '+00:00'"]))
}

/// Logs in within the connection's `connect_timeout`.
///
/// # Errors
/// `Unavailable` when the server does not answer, `Environment` when it refuses.
pub async fn connect(connection: &Connection, options: OptsBuilder) -> Result<Conn> {
    let patience = connection.settings.duration("connect_timeout").unwrap_or(Duration::from_secs(10));
    let attempt = tokio::time::timeout(patience, Conn::new(options)).await;
    let conn = match attempt {
        Ok(outcome) => outcome.map_err(|error| failure(error, "cannot log in")),
        Err(_) => Err(Error::new(
            Kind::Unavailable,
            format!("cannot log in: no answer within {} ms", patience.as_millis()),
        )),
    };
    conn.map_err(|error| error.context(place(connection)))
}

/// What an error of the driver means. `doing` says what failed, in a few words.
pub fn failure(error: mysql_async::Error, doing: &str) -> Error {
    use mysql_async::Error as E;
    match error {
        E::Server(error) => refusal(&error, doing).caused_by(error),
        E::Io(IoError::Tls(cause)) => Error::new(Kind::Environment, format!("{doing}: TLS failed: {cause}"))
            .advice("name the server's authority with tls_ca = \"ca.pem\", or switch tls or tls_verify off"),
        E::Io(IoError::Io(cause)) => match cause.get_ref() {
            Some(inner) if inner.to_string().contains("certificate") => {
                Error::new(Kind::Environment, format!("{doing}: TLS failed: {cause}")).advice(
                    "name the server's authority with tls_ca = \"ca.pem\", or switch tls or tls_verify off",
                )
            }
            _ => Error::new(Kind::Unavailable, format!("{doing}: {cause}")),
        },
        E::Driver(DriverError::ConnectionClosed) => {
            Error::new(Kind::Unavailable, format!("{doing}: the server closed the connection"))
        }
        E::Driver(cause @ DriverError::NoClientSslFlagFromServer) => {
            Error::new(Kind::Environment, format!("{doing}: the server does not speak TLS"))
                .advice("switch tls off, or set up TLS at the server")
                .caused_by(cause)
        }
        E::Driver(
            cause @ (DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::CleartextPluginDisabled),
        ) => Error::new(Kind::Environment, format!("{doing}: {cause}"))
            .advice("give the user another authentication plugin, such as caching_sha2_password"),
        E::Driver(cause @ (DriverError::PacketOutOfOrder | DriverError::UnexpectedPacket { .. })) => {
            Error::new(Kind::Unavailable, format!("{doing}: {cause}"))
        }
        // The driver's other errors are misuse of its interface, or answers that no server should give.
        other => Error::new(Kind::Internal, format!("{doing}: {other}")),
    }
}

/// What an error means for a request to be sent the binlog, after the log-in. A denied access is a missing right then,
/// although the server uses the words for a wrong password.
pub fn dump_failure(error: mysql_async::Error, doing: &str) -> Error {
    match error {
        mysql_async::Error::Server(error) if error.code == 1045 => {
            let message = format!("{doing}: the server says {}: {}", error.code, error.message);
            Error::new(Kind::Environment, message).advice(REPLICA_RIGHTS).caused_by(error)
        }
        error => failure(error, doing),
    }
}

/// What a server's error code means, and what to type next.
fn refusal(error: &ServerError, doing: &str) -> Error {
    let message = format!("{doing}: the server says {}: {}", error.code, error.message);
    let kind = match error.code {
        // Too many connections, out of resources, shutdown, killed, out of time, lock wait, deadlock.
        1040
        | 1041
        | 1053
        | 1077
        | 1079
        | 1080
        | 1152..=1161
        | 1184
        | 1203
        | 1205
        | 1213
        | 1226
        | 1317
        | 1927
        | 1969
        | 3024
        | 3168
        | 4031 => Kind::Unavailable,
        1236 => return dump_refusal(&error.message, message),
        // What a table does not take: NULL, duplicates, ranges, lengths, conversions, foreign keys, checks.
        1048 | 1062 | 1169 | 1216 | 1217 | 1263 | 1264 | 1265 | 1292 | 1364 | 1366 | 1406 | 1411 | 1441
        | 1451 | 1452 | 1526 | 1557 | 1586 | 1690 | 1748 | 1859 | 3140 | 3156 | 3819 | 3988 | 4025 => {
            Kind::Data
        }
        _ => Kind::Environment,
    };
    let error_of = Error::new(kind, message);
    match error.code {
        1045 | 1698 => error_of.advice("check the user in the URL and the setting password"),
        1044 | 1142 | 1143 | 1370 => {
            error_of.advice("give the user the right: GRANT SELECT ON <database>.* TO <user>")
        }
        1227 => error_of.advice(REPLICA_RIGHTS),
        1049 => error_of.advice("check the database at the end of the URL"),
        1130 => error_of.advice("let the user log in from this host: CREATE USER <user>@<host>"),
        1290 | 1836 | 3100 => error_of.advice("the server is read-only; use the primary"),
        4052 => error_of.advice(SAME_ID),
        1381 | 1373 => error_of.advice("switch the binlog on: log_bin in the server's configuration"),
        _ => error_of,
    }
}

const SAME_ID: &str = "another replica has the same id: set server_id of the connection to one that is free";

/// Error 1236 stands for everything that can be wrong with a dump; only its text tells which.
fn dump_refusal(said: &str, message: String) -> Error {
    let said = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["same server_uuid", "same server_id", "same server-id", "server_uuid/server_id"]) {
        return Error::new(Kind::Environment, message).advice(SAME_ID);
    }
    if says(&["max_allowed_packet"]) {
        return Error::new(Kind::Environment, message)
            .advice("raise it at the server: SET GLOBAL max_allowed_packet = 1073741824");
    }
    if says(&["binary log is not open", "misconfigured"]) {
        return Error::new(Kind::Environment, message)
            .advice("switch the binlog on: log_bin in the server's configuration");
    }
    if says(&[
        "purged",
        "could not find first log",
        "impossible position",
        "not in the master's binlog",
        "not in the primary's binlog",
        "is not in the",
        "has been deleted",
        "out-of-order",
        "has more gtids than",
        "replica has more",
        "could not open log file",
    ]) {
        return Error::new(Kind::Gap, message)
            .advice(
                "the server no longer has this place: copy the tables anew, or accept the gap; then begin behind it \
                 under a new name of the pipeline, and with shared mining also of the log (via embedded.<name>)",
            );
    }
    if says(&["bogus data", "truncated in the middle", "corrupt", "checksum"]) {
        return Error::new(Kind::Data, message)
            .advice("the server cannot read its own binlog: check its disk, and begin behind the damage");
    }
    Error::new(Kind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;
    use crate::model::spec::{Setting, Settings};

    fn said(code: u16, message: &str) -> Error {
        let server = ServerError { code, message: message.into(), state: "HY000".into() };
        failure(mysql_async::Error::Server(server), "cannot read the binlog")
    }

    #[test]
    fn server_errors_have_a_meaning() {
        for (code, message, kind) in [
            (1045, "Access denied for user", Kind::Environment),
            (
                1227,
                "Access denied; you need (at least one of) the REPLICATION SLAVE privilege",
                Kind::Environment,
            ),
            (1236, "Could not find first log file name in binary log index file", Kind::Gap),
            (1236, "Cannot replicate because the source purged required binary logs.", Kind::Gap),
            (
                1236,
                "Error: connecting slave requested to start from GTID 0-1-9, which is not in the master's binlog",
                Kind::Gap,
            ),
            (
                1236,
                "A slave with the same server_uuid/server_id as this slave has connected",
                Kind::Environment,
            ),
            (1213, "Deadlock found when trying to get lock", Kind::Unavailable),
            (1406, "Data too long for column", Kind::Data),
        ] {
            assert_eq!(said(code, message).kind(), kind, "{code} {message}");
        }
        assert!(said(1227, "no").next_step().unwrap().contains("GRANT REPLICATION SLAVE"));
    }

    #[test]
    fn no_message_shows_the_password() {
        let mut settings = Settings::default();
        settings.0.insert("password", Setting::Secret(Secret::new("s3cret")));
        let connection = Connection {
            name: "shop".into(),
            kind: "mysql",
            endpoint: Endpoint::Url {
                scheme: "mysql".into(),
                user: "repl".into(),
                host: "127.0.0.1".into(),
                port: 3306,
                database: "shop".into(),
            },
            settings,
        };
        assert_eq!(place(&connection), "connection shop (mysql://127.0.0.1:3306/shop)");
        let options: mysql_async::Opts = options(&connection).unwrap().into();
        assert_eq!(options.pass(), Some("s3cret"));
        assert!(!format!("{connection:?}").contains("s3cret"));
    }
}
