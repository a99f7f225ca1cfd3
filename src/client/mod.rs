//! Connections to systems: settings, log-in and the meaning of errors, shared by all that connect to them.

pub mod mongodb;
pub mod mysql;
pub mod oracle;

use crate::model::connection::Connection;

/// The connection as messages name it: without its user.
pub fn place(connection: &Connection) -> String {
    format!("connection {} ({})", connection.name, connection.endpoint)
}
