//! Connections to MongoDB: the settings of a `connection x = mongodb "…"` statement, the log-in, and what the server's
//! errors mean.

pub(crate) mod bson;
pub(crate) mod value;

use std::future::Future;
use std::time::Duration;

use mongodb::Client;
use mongodb::error::{Error as DriverError, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};

use super::{PASSWORD, TLS, TLS_CA, TLS_VERIFY, place};
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};
use crate::model::spec::{EndpointSpec, SettingSpec, SettingType};

/// What stands after `mongodb` in a `connection` statement.
pub const ENDPOINT: EndpointSpec =
    EndpointSpec::Url { schemes: &["mongodb"], default_port: 27017, database: true };

/// Settings of a `connection x = mongodb "…"` statement. The user is part of the URL, the password never is.
pub const CONNECTION: &[SettingSpec] = &[
    PASSWORD,
    SettingSpec::new(
        "auth_source",
        SettingType::Text,
        None,
        "The database that knows the user, often \"admin\"; the URL's by default.",
    ),
    TLS,
    TLS_VERIFY,
    TLS_CA,
    SettingSpec::new(
        "replica_set",
        SettingType::Text,
        None,
        "The name that the replica set must have; by default it is taken as it is.",
    ),
    SettingSpec::new(
        "direct",
        SettingType::Switch,
        Some("off"),
        "Whether only this one server is spoken to, where the other members of its set cannot be reached.",
    ),
    SettingSpec::new(
        "connect_timeout",
        SettingType::Duration,
        Some("10s"),
        "How long it may take to find a server that takes writes.",
    ),
];

/// How long one command may take, unless it says otherwise. A server that hangs looks like one that is slow.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Code of the error for a second document with the same key.
pub const DUPLICATE_KEY: i32 = 11000;

/// The driver's handle for a checked statement. It connects when it is first used, and again by itself.
///
/// Must be called within a runtime.
///
/// # Errors
/// `Script` when the endpoint is not a server; `Environment` when a file of the settings cannot be read.
pub fn client(connection: &Connection) -> Result<Client> {
    let Endpoint::Url { user, host, port, database, .. } = &connection.endpoint else {
        return Err(Error::new(
            Kind::Script,
            format!("connection {} needs a server as its endpoint", connection.name),
        )
        .advice("write it as mongodb \"mongodb://user@host:27017/database\""));
    };
    let settings = &connection.settings;
    let patience = settings.duration("connect_timeout").unwrap_or(Duration::from_secs(10));
    let mut options = ClientOptions::default();
    options.hosts = vec![ServerAddress::Tcp { host: host.clone(), port: Some(*port) }];
    options.app_name = Some("lode".into());
    options.connect_timeout = Some(patience);
    options.server_selection_timeout = Some(patience);
    options.repl_set_name = settings.text("replica_set");
    options.direct_connection = Some(settings.switch("direct").unwrap_or(false));
    if !user.is_empty() {
        let mut credential = Credential::default();
        credential.username = Some(user.clone());
        credential.password = settings.secret("password").map(|secret| secret.expose().to_owned());
        credential.source = Some(settings.text("auth_source").unwrap_or_else(|| database.clone()));
        options.credential = Some(credential);
    }
    if settings.switch("tls").unwrap_or(false) {
        let mut tls = TlsOptions::default();
        tls.ca_file_path = settings.path("tls_ca");
        tls.allow_invalid_certificates = Some(!settings.switch("tls_verify").unwrap_or(true));
        options.tls = Some(Tls::Enabled(tls));
    }
    Client::with_options(options)
        .map_err(|error| failure(error, "cannot set up the connection").context(place(connection)))
}

/// The database that the URL names; empty when the endpoint is not a server.
pub fn database(connection: &Connection) -> &str {
    match &connection.endpoint {
        Endpoint::Url { database, .. } => database,
        Endpoint::Path(_) | Endpoint::Web { .. } => "",
    }
}

/// Waits for the answer to a command, for [`COMMAND_TIMEOUT`] at the most. `doing` says what fails then, in a few words.
///
/// After an error of kind `Unavailable` nobody knows whether a write was carried out.
///
/// # Errors
/// As [`failure`]; `Unavailable` without an answer in time.
pub async fn answer<T>(
    doing: &str,
    command: impl IntoFuture<Output = Result<T, DriverError>, IntoFuture: Future + Send>,
) -> Result<T> {
    in_time(doing, command).await?.map_err(|error| failure(error, doing))
}

/// As [`answer`], with the driver's own error, for those who look at its code.
///
/// # Errors
/// `Unavailable` without an answer in time.
pub async fn in_time<T>(
    doing: &str,
    command: impl IntoFuture<Output = Result<T, DriverError>, IntoFuture: Future + Send>,
) -> Result<Result<T, DriverError>> {
    tokio::time::timeout(COMMAND_TIMEOUT, command.into_future()).await.map_err(|_| {
        Error::new(Kind::Unavailable, format!("{doing}: no answer within {} s", COMMAND_TIMEOUT.as_secs()))
    })
}

/// The server's code of an error, when the server is who said it. Of several, the first.
pub fn code(error: &DriverError) -> Option<i32> {
    said(error).map(|said| said.code)
}

/// What an error of the driver means. `doing` says what failed, in a few words.
pub fn failure(error: DriverError, doing: &str) -> Error {
    match said(&error) {
        Some(said) => refusal(&said, doing),
        None => unsaid(&error, doing),
    }
}

/// What the error of a single write means that a server's reply holds. `doing` says what failed, in a few words.
pub fn write_failure(code: i32, message: &str, doing: &str) -> Error {
    refusal(&Said { code, name: String::new(), message: message.into() }, doing)
}

/// What a server answered in place of a result.
struct Said {
    code: i32,
    name: String,
    message: String,
}

fn said(error: &DriverError) -> Option<Said> {
    let of = |code, name: &str, message: &str| Said { code, name: name.into(), message: message.into() };
    match error.kind.as_ref() {
        ErrorKind::Command(said) => Some(of(said.code, &said.code_name, &said.message)),
        ErrorKind::Write(WriteFailure::WriteError(said)) => {
            Some(of(said.code, said.code_name.as_deref().unwrap_or_default(), &said.message))
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(said)) => {
            Some(of(said.code, &said.code_name, &said.message))
        }
        ErrorKind::InsertMany(many) => {
            let one = many.write_errors.iter().flatten().next();
            let write =
                one.map(|said| of(said.code, said.code_name.as_deref().unwrap_or_default(), &said.message));
            let concern = many.write_concern_error.as_ref();
            write.or_else(|| concern.map(|said| of(said.code, &said.code_name, &said.message)))
        }
        ErrorKind::BulkWrite(many) => {
            let one = many.write_errors.values().next();
            let write =
                one.map(|said| of(said.code, said.code_name.as_deref().unwrap_or_default(), &said.message));
            let concern = many.write_concern_errors.first();
            write.or_else(|| concern.map(|said| of(said.code, &said.code_name, &said.message)))
        }
        _ => None,
    }
}

/// What a server's error code means, and what to type next. Codes are those of the server's error_codes.yml.
fn refusal(said: &Said, doing: &str) -> Error {
    let kind = match said.code {
        // Unreachable, timed out, shutting down, not or no longer the primary, interrupted, in conflict.
        6 | 7 | 24 | 43 | 46 | 50 | 64 | 79 | 89 | 91 | 112 | 117 | 133 | 134 | 136 | 175 | 189 | 202
        | 225 | 237 | 246 | 251 | 262 | 267 | 290 | 314 | 358 | 365 | 391 | 462 | 9001 | 10058 | 10107
        | 11600 | 11601 | 11602 | 13388 | 13435 | 13436 => Kind::Unavailable,
        14031 => Kind::Full,
        // What a collection does not take: validation, duplicates, sizes, keys.
        2 | 9 | 121 | DUPLICATE_KEY | 11001 | 12582 | 10334 | 16755 | 17280 | 17419 | 17420 => Kind::Data,
        _ => Kind::Environment,
    };
    // The texts of these show values.
    let message = match said.code {
        DUPLICATE_KEY | 11001 | 12582 => {
            format!("{doing}: a document with the same key is there already (code {})", said.code)
        }
        121 => format!("{doing}: the collection's rules for documents refuse it (code 121)"),
        _ if kind == Kind::Data => {
            format!("{doing}: the server says {} {}", said.code, said.name).trim_end().to_owned()
        }
        _ => format!("{doing}: the server says {} {}: {}", said.code, said.name, first_line(&said.message)),
    };
    let error = Error::new(kind, message);
    match said.code {
        18 => error.advice(LOG_IN),
        13 | 8000 => error.advice(
            "give the user the role readWrite on the database: db.grantRolesToUser(user, [\"readWrite\"])",
        ),
        20 if said.message.contains("replica set") => error.advice(REPLICA_SET),
        79 | 100 => {
            error.advice("lode writes to a majority of the replica set: bring more of its members up")
        }
        388 => error.advice(
            "give the server a larger cache (storage.wiredTiger.engineConfig.cacheSizeGB), or set a smaller batch",
        ),
        14031 => error.advice("the server's disk is full: make room there, or keep less with `retention`"),
        _ => error,
    }
}

const LOG_IN: &str = "check the user in the URL and the setting password; when another database knows the user, name it: \
     auth_source = \"admin\"";

const REPLICA_SET: &str =
    "run the server as a replica set, of one member if need be: mongod --replSet rs0, then rs.initiate()";

const TLS_FAILED: &str =
    "name the server's authority with tls_ca = \"ca.pem\", or switch tls or tls_verify off";

fn unsaid(error: &DriverError, doing: &str) -> Error {
    let text = first_line(&error.kind.to_string());
    let environment =
        |advice: &str| Error::new(Kind::Environment, format!("{doing}: {text}")).advice(advice.to_owned());
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => environment(LOG_IN),
        ErrorKind::InvalidTlsConfig { .. } => environment(TLS_FAILED),
        ErrorKind::SessionsNotSupported => environment(REPLICA_SET),
        ErrorKind::IncompatibleServer { .. } => environment("use MongoDB 4.2 or later"),
        ErrorKind::ServerSelection { .. } if is_tls(&text) => environment(TLS_FAILED),
        ErrorKind::ServerSelection { message, .. } => {
            Error::new(Kind::Unavailable, unreachable(message, doing))
        }
        ErrorKind::Io(cause) if is_tls(&cause.to_string()) => environment(TLS_FAILED),
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::InvalidResponse { .. }
        | ErrorKind::MissingResumeToken
        | ErrorKind::Shutdown => Error::new(Kind::Unavailable, format!("{doing}: {text}")),
        // The driver's other errors are misuse of its interface.
        _ => Error::new(Kind::Internal, format!("{doing}: {text}")),
    }
}

fn is_tls(text: &str) -> bool {
    text.contains("certificate") || text.contains("InvalidContentType") || text.contains("TLS")
}

/// The driver adds all it knows of every server; what people need is the last reason it had.
fn unreachable(message: &str, doing: &str) -> String {
    let reason = message.rsplit_once("Error: ").map(|(_, reason)| reason);
    let reason = reason.map(|reason| reason.split([',', '}']).next().unwrap_or(reason).trim());
    match reason {
        Some(reason) if !reason.is_empty() => {
            format!("{doing}: no server that takes writes was found in time: {reason}")
        }
        _ => format!("{doing}: no server that takes writes was found in time"),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;
    use crate::model::spec::{Setting, Settings};

    fn connection(port: u16) -> Connection {
        let mut settings = Settings::default();
        settings.0.insert("password", Setting::Secret(Secret::new("s3cret")));
        settings.0.insert("connect_timeout", Setting::Duration(Duration::from_millis(200)));
        Connection {
            name: "logs".into(),
            kind: "mongodb",
            endpoint: Endpoint::Url {
                scheme: "mongodb".into(),
                user: "lode".into(),
                host: "127.0.0.1".into(),
                port,
                database: "shop".into(),
            },
            settings,
        }
    }

    #[test]
    fn codes_have_a_meaning_and_their_messages_show_no_values() {
        for (code, kind, advice) in [
            (18, Kind::Environment, Some("auth_source")),
            (13, Kind::Environment, Some("readWrite")),
            (11600, Kind::Unavailable, None),
            (10107, Kind::Unavailable, None),
            (112, Kind::Unavailable, None),
            (14031, Kind::Full, Some("disk")),
            (20, Kind::Environment, Some("rs.initiate")),
            (DUPLICATE_KEY, Kind::Data, None),
            (121, Kind::Data, None),
            (9, Kind::Data, None),
        ] {
            let message = "Transaction numbers need a replica set; dup key: { _id: \"4711\" }".into();
            let error = refusal(&Said { code, name: "Name".into(), message }, "cannot write");
            assert_eq!(error.kind(), kind, "{code}");
            assert_eq!(error.next_step().is_some(), advice.is_some(), "{code}");
            assert!(error.next_step().unwrap_or_default().contains(advice.unwrap_or_default()), "{code}");
            assert!(kind != Kind::Data || !error.to_string().contains("4711"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_named_without_its_secret() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let connection = connection(port);
        let client = client(&connection).unwrap();
        let error = answer("cannot look", client.database("shop").list_collection_names()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        let text = format!("{:?}", error.context(place(&connection)));
        assert!(text.contains("connection logs (mongodb://127.0.0.1:"), "{text}");
        assert!(text.contains("Connection refused"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("Topology"), "{text}");
    }
}
