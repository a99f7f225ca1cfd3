//! Logs in MongoDB: two collections for each, in the database that the connection names.
//!
//! | collection | documents |
//! |---|---|
//! | `NAME` | a block each: what indexes need, the changes as plain BSON for people, and the block's own bytes for lode |
//! | `NAME.state` | the head (`_id: "head"`): begin, end, epoch, lease, fence; and the notes (schemas, tables) by number |
//!
//! **Appending.** Blocks are inserted under consecutive numbers, several at a time, and acknowledged by a majority and
//! its journals; then one conditional change of the head moves the end. Readers look at nothing behind the end that the
//! head names, so they see no hole, and no part of what was not finished.
//!
//! **Writers.** The head knows who writes, by a lease that ends unless it is renewed, and a fence, a number that grows
//! with every writer. The head changes only for who knows the newest fence. A document that a former writer sends late
//! finds its number taken, or takes one behind the end: there no reader sees it, and the writer that needs the number
//! removes it, as it has an older fence. So late documents are never seen, and never in the way.
//!
//! **Lost answers.** After an append of which the outcome is unknown, the writer raises the fence, by which nothing of
//! that append can change the head any more, and reads in the same step where the log ends. Whatever lies behind is
//! removed.
//!
//! **Dropped collections.** Each append looks whether the block before it is still there. A head that is gone, or has
//! another epoch, takes no append.

mod collections;
mod document;
mod follow;
mod head;
mod lease;
mod log;
mod readable;
mod retain;
mod view;
mod writer;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::Client;
use mongodb::bson::doc;

use self::collections::{Collections, STATE};
use self::follow::Follower;
use self::head::{HEAD, Head};
use self::log::MongoLog;
use super::{Log, LogReader, LogStore, LogStoreKind, no_log};
use crate::client::mongodb::{answer, client, database};
use crate::client::place;
use crate::error::{Result, ResultExt};
use crate::model::connection::Connection;
use crate::model::spec::Settings;

/// How logs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many inserts of one append may be under way at the same time.
    pub threads: NonZeroUsize,
    /// For how long a writer has the log that does not show itself. It shows itself three times as often.
    pub lease: Duration,
}

impl Default for Options {
    /// One insert at a time, and leases of 12 seconds.
    fn default() -> Self {
        Options { threads: NonZeroUsize::MIN, lease: Duration::from_secs(12) }
    }
}

/// The kind `mongodb` of log stores.
#[derive(Clone, Copy, Debug)]
pub struct MongodbKind;

impl LogStoreKind for MongodbKind {
    fn store(&self, connection: Arc<Connection>, settings: &Settings) -> Result<Arc<dyn LogStore>> {
        let threads = settings.integer("threads").and_then(|threads| NonZeroUsize::new(threads as usize));
        let threads = threads.unwrap_or(NonZeroUsize::MIN);
        Ok(Arc::new(Mongodb::new(connection, Options { threads, ..Options::default() })?))
    }
}

/// A MongoDB with logs.
#[derive(Clone, Debug)]
pub struct Mongodb {
    connection: Arc<Connection>,
    client: Client,
    options: Options,
}

impl Mongodb {
    /// The store in the database that `connection` names. Connects when a log is opened. Must be called within a
    /// runtime, which must outlive the store and its logs.
    ///
    /// # Errors
    /// As [`client`].
    pub fn new(connection: Arc<Connection>, options: Options) -> Result<Self> {
        Ok(Mongodb { client: client(&connection)?, connection, options })
    }

    fn collections(&self, name: &str) -> Result<Collections> {
        Collections::new(&self.client.database(database(&self.connection)), name)
    }
}

#[async_trait]
impl LogStore for Mongodb {
    async fn open(&self, name: &str) -> Result<Arc<dyn Log>> {
        let opened = async { MongoLog::open(self.collections(name)?, &self.options).await };
        let log = opened.await.context_with(|| place(&self.connection));
        Ok(Arc::new(log.context_with(|| format!("in log {name}"))?))
    }

    async fn open_reader(&self, name: &str) -> Result<Arc<dyn LogReader>> {
        let opened = async {
            let collections = self.collections(name)?;
            let head = Head::load(&collections).await?.ok_or_else(|| no_log(name))?;
            Follower::open(collections, head).await
        };
        let reader = opened.await.context_with(|| place(&self.connection));
        Ok(Arc::new(reader.context_with(|| format!("in log {name}"))?))
    }

    async fn list(&self) -> Result<Vec<String>> {
        let found = async {
            let database = self.client.database(database(&self.connection));
            let doing = "cannot list the logs";
            let mut names = Vec::new();
            for collection in answer(doing, database.list_collection_names()).await? {
                let Some(name) = collection.strip_suffix(STATE) else { continue };
                let Ok(collections) = Collections::new(&database, name) else { continue };
                // A collection of somebody else may end in the same word.
                let head = collections.state.find_one(doc! { "_id": HEAD, "epoch": { "$type": "string" } });
                if answer(doing, head).await?.is_some() {
                    names.push(name.to_owned());
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        found.await.context_with(|| place(&self.connection))
    }
}
