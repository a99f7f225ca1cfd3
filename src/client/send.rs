//! What hooks send, by the connections that they name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::smtp::Smtp;
use super::webhook::Receiver;
use crate::error::{Error, Kind, Result};
use crate::model::connection::Connection;
use crate::model::message::{Mail, Webhook};

/// The connections of the scripts, by name.
pub type Connections = BTreeMap<String, Arc<Connection>>;

/// Sends a mail by the connection called `name`. Blocks for that connection's `timeout` at the most.
///
/// # Errors
/// `Refused` when there is no connection of kind smtp of this name; those of [`Smtp::send`].
pub fn mail(connections: &Connections, name: &str, mail: &Mail) -> Result<()> {
    match connections.get(name).filter(|connection| connection.kind == "smtp") {
        Some(connection) => Smtp::new(connection)?.send(mail),
        None => Err(Error::new(Kind::Refused, format!("no mail is sent by {name}"))
            .advice(format!("declare it: connection {name} = smtp \"smtps://user@host:465\" {{ … }}"))),
    }
}

/// Calls an address, or the connection of kind webhook that the call names in its place. Blocks for its `timeout` at the
/// most.
///
/// # Errors
/// `Refused` for an address that is not called; those of [`Receiver::post`].
pub fn webhook(connections: &Connections, call: &Webhook) -> Result<()> {
    let receiver = match connections.get(&call.url).filter(|connection| connection.kind == "webhook") {
        Some(connection) => Receiver::new(connection)?,
        None => Receiver::plain(&call.url)?,
    };
    receiver.with(&call.options)?.post(&call.body)
}
