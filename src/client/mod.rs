//! Connections to systems: settings, log-in and the meaning of errors, shared by all that connect to them.

pub mod ask;
pub mod lookup;
pub mod mongodb;
pub mod mysql;
pub mod oracle;
pub mod send;
pub mod smtp;
mod template;
pub mod webhook;
mod within;

pub use self::template::TEMPLATE_BYTES_MAX;
pub use self::within::CALLS_MAX;
use crate::model::connection::Connection;
use crate::model::spec::{SettingSpec, SettingType};

/// The secret to log in with. The user is part of the URL, the password never is.
pub const PASSWORD: SettingSpec =
    SettingSpec::new("password", SettingType::Secret, None, "The password of the user that the URL names.");

/// Whether a connection is encrypted.
pub const TLS: SettingSpec = SettingSpec::new(
    "tls",
    SettingType::Switch,
    Some("off"),
    "Whether everything that travels to and from the server is encrypted.",
);

/// How strictly a server has to prove who it is.
pub const TLS_VERIFY: SettingSpec = SettingSpec::new(
    "tls_verify",
    SettingType::Switch,
    Some("on"),
    "With tls: whether the server's certificate and name must be right; off accepts any server.",
);

/// Which authorities may vouch for it.
pub const TLS_CA: SettingSpec = SettingSpec::new(
    "tls_ca",
    SettingType::Path,
    None,
    "With tls: a PEM file of the authorities to trust in place of the public ones.",
);

/// The connection as messages name it: without its user.
pub fn place(connection: &Connection) -> String {
    format!("connection {} ({})", connection.name, connection.endpoint)
}
