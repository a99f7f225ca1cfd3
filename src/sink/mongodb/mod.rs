//! The sink `mongodb`: documents of a MongoDB, with the cursor in the same transaction where the server has transactions.
//!
//! A row is a document in the collection that is called like its table. With `mode = upsert` the key is the `_id`: of a
//! key of one column its value, of others a document with the columns in the order of the key. All other columns are
//! fields; `client::mongodb::value` says of which types, and a float becomes the double that shows the
//! same digits. With `mode = append` each change is a document with an `_id` of its own, all columns, and `_op`, `_seq`
//! and `_ts`.
//!
//! What MongoDB gives a meaning in names is written in its full width, as its manual advises for servers that refuse
//! it: a `$` in front of a field and in the name of a collection becomes `＄`, a `.` in a field `．`. Two columns
//! that meet that way are an error, and so is a column called `_id` that is not the key.
//!
//! **Replica sets and sharded clusters**: a source transaction is one transaction there, with the cursor in it:
//! exactly once. MongoDB ends transactions after 60 seconds and keeps what they wrote in its cache; so one that is too
//! large or too slow is committed in parts, which are seen one by one. After a crash such a transaction goes on behind
//! its last part. A pipeline that reads its source without a log writes these parts again, which is the
//! same by key.
//!
//! **A server on its own** has no transactions: rows come first, then the cursor. After a crash rows are written
//! again: the same by key, twice with `mode = append`. The log of lode has a warning of it.

mod document;
mod plan;
mod progress;
mod session;
mod transaction;
mod writes;

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::Client;

use self::session::{PART_BYTES_MAX, Session};
use super::settings::{BATCH, MODE, Mode, TableOptions};
use super::target::TableTemplate;
use super::{Durable, Sink, SinkKind, SinkRoute, Written, cursor_row};
use crate::client::mongodb::client;
use crate::client::place;
use crate::error::{Error, Kind, Result};
use crate::model::change::Batch;
use crate::model::connection::Connection;
use crate::model::position::Cursor;
use crate::model::spec::{SinkSpec, TargetSpec};

/// How a script addresses it.
pub const SPEC: SinkSpec = SinkSpec { target: TargetSpec::Table, settings: &[BATCH, MODE] };

/// The kind `mongodb`.
pub struct Mongodb;

impl SinkKind for Mongodb {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let connection = route.connection.ok_or_else(|| {
            Error::new(Kind::Internal, "the mongodb sink was made without a connection")
                .context(route.key.clone())
        })?;
        cursor_row::check_route(&route.key)?;
        Ok(Box::new(MongodbSink {
            config: Arc::new(Config {
                route: route.key,
                connection,
                template: TableTemplate(route.target),
                mode: TableOptions::read(&route.settings).mode,
            }),
            client: None,
            session: None,
            part_bytes_max: PART_BYTES_MAX,
            has_warned: false,
        }))
    }
}

/// What a session has to know.
struct Config {
    route: String,
    connection: Arc<Connection>,
    template: TableTemplate,
    mode: Mode,
}

struct MongodbSink {
    config: Arc<Config>,
    /// Made when it is needed first; it finds its servers again by itself.
    client: Option<Client>,
    /// Absent before `open`, after an error, and when a write was cut short.
    session: Option<Session>,
    /// Becomes smaller where the server's cache does not hold so much.
    part_bytes_max: usize,
    has_warned: bool,
}

impl MongodbSink {
    async fn try_open(&mut self) -> Result<Option<Cursor>> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.config.connection)?).clone(),
        };
        let (session, cursor) = Session::open(self.config.clone(), client, self.part_bytes_max).await?;
        if !session.has_transactions() && !std::mem::replace(&mut self.has_warned, true) {
            let twice = match self.config.mode {
                Mode::Upsert => "after a crash rows are written again, by their keys",
                Mode::Append => "after a crash rows may be appended twice",
            };
            tracing::warn!(
                route = self.config.route,
                "{} is no replica set and has no transactions: {twice}; run it as a replica set, of one member if need \
                 be",
                place(&self.config.connection)
            );
        }
        self.session = Some(session);
        Ok(cursor)
    }
}

#[async_trait]
impl Sink for MongodbSink {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        self.session = None;
        self.try_open().await.map_err(|error| error.context(place(&self.config.connection)))
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let mut session = self.session.take().ok_or_else(|| {
            Error::new(Kind::Refused, format!("the mongodb sink of route {} is not open", self.config.route))
        })?;
        match session.write(&batch).await {
            Ok(rows) => {
                self.session = Some(session);
                Ok(Written { durable: batch.cursor.map(Durable::after_commit), rows })
            }
            Err(error) => {
                self.part_bytes_max = session.part_bytes_max();
                Err(error.context(place(&self.config.connection)))
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        Ok(())
    }
}
