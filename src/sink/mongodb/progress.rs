//! How far a route is: its document in the collection `lode_cursor`.

use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{self, Bson, DateTime, Document, doc};
use mongodb::options::{CollectionOptions, ReadConcern, ReadPreference, ReturnDocument, SelectionCriteria};
use mongodb::{Collection, Database};

use super::transaction::{Transaction, majority};
use super::writes::write_error;
use crate::client::mongodb::{DUPLICATE_KEY, answer, code, failure, in_time};
use crate::error::{Error, Kind, Result};
use crate::model::position::{Cursor, LogEpoch, Seq};
use crate::sink::cursor_row;

/// How often a document is made anew that another process makes at the same time.
const ATTEMPTS_MAX: usize = 3;

/// What the document says besides the cursor, and who may change it.
pub(super) struct Progress {
    cursors: Collection<Document>,
    route: String,
    fence: i64,
    /// The log that numbers belong to; `None` where they may be others the next time.
    log: Option<LogEpoch>,
    /// Changes up to here are in the target though no cursor is behind them: parts of a transaction that is not complete.
    applied: Option<Seq>,
    /// Changes up to here may be in the target, without a cursor behind them.
    begun: Option<Seq>,
}

impl Progress {
    /// Takes the route over from any earlier writer.
    pub async fn take_over(database: &Database, route: &str) -> Result<(Progress, Option<Cursor>)> {
        let mut options = CollectionOptions::default();
        options.read_concern = Some(ReadConcern::majority());
        options.write_concern = Some(majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let cursors: Collection<Document> = database.collection_with_options(cursor_row::TABLE, options);
        let document = raise_fence(&cursors, route).await?;
        let cursor = document.get_str("cursor").ok();
        let cursor = cursor.map(|json| cursor_row::from_json(json, route)).transpose()?;
        let seq = |field: &str| document.get_i64(field).ok().map(|seq| Seq(seq as u64));
        let progress = Progress {
            cursors,
            route: route.to_owned(),
            fence: document.get_i64("fence").map_err(|_| unreadable(route))?,
            log: cursor.as_ref().and_then(Cursor::numbered_in),
            applied: seq("applied"),
            begun: seq("begun"),
        };
        Ok((progress, cursor))
    }

    /// Whether this change is in the target already.
    pub fn is_applied(&self, seq: Seq) -> bool {
        self.applied.is_some_and(|applied| seq <= applied)
    }

    /// Whether this change may be in the target already, with others that come later.
    pub fn is_repeated(&self, seq: Seq) -> bool {
        self.begun.is_some_and(|begun| seq <= begun)
    }

    /// Says, before rows are written without a transaction, which these are.
    pub async fn begin(&mut self, server: &mut Transaction, last: Seq) -> Result<()> {
        self.change(server, doc! { "$max": { "begun": last.0 as i64 } }).await
    }

    /// Says that a part of a transaction is written up to `last`.
    pub async fn part(&mut self, server: &mut Transaction, last: Seq) -> Result<()> {
        // Without a log, numbers may be others when the source is read again.
        let field = if self.log.is_some() { "applied" } else { "begun" };
        self.change(server, doc! { "$max": { field: last.0 as i64 } }).await
    }

    /// What [`part`](Self::part) said is durable.
    pub fn part_is_durable(&mut self, last: Seq) {
        if self.log.is_some() {
            self.applied = Some(last);
        }
    }

    /// Moves the cursor.
    pub async fn finish(&mut self, server: &mut Transaction, cursor: &Cursor) -> Result<()> {
        let fields = doc! { "cursor": cursor_row::to_json(cursor), "updated_at": DateTime::now() };
        self.change(server, doc! { "$set": fields, "$unset": { "applied": "", "begun": "" } }).await
    }

    /// What [`finish`](Self::finish) wrote is durable.
    pub fn is_durable(&mut self, cursor: &Cursor) {
        self.log = cursor.numbered_in();
        self.applied = None;
        self.begun = None;
    }

    /// An error when another writer is known to have taken over. Inside a transaction that looks like any conflict.
    pub async fn must_be_mine(&self) -> Result<()> {
        let found = self.cursors.find_one(doc! { "_id": &self.route });
        match answer("cannot read the cursor", found).await {
            Ok(Some(found)) if found.get_i64("fence").ok() != Some(self.fence) => {
                Err(cursor_row::fenced(&self.route))
            }
            _ => Ok(()),
        }
    }

    async fn change(&self, server: &mut Transaction, change: Document) -> Result<()> {
        let doing = "cannot move the cursor";
        let mine = doc! { "_id": &self.route, "fence": self.fence };
        let mut command = doc! { "update": cursor_row::TABLE, "updates": [{ "q": mine, "u": change }] };
        command.extend(server.concern().map(|concern| ("writeConcern".to_owned(), Bson::Document(concern))));
        let command = RawDocumentBuf::try_from(&command).map_err(|error| {
            Error::new(Kind::Internal, "a cursor cannot be written as BSON").caused_by(error)
        })?;
        let reply = server.command(doing, command).await?;
        if let Some(error) = write_error(&reply, |_| doing.to_owned()) {
            return Err(error);
        }
        match reply.get("n").and_then(bson_number) {
            Some(1) => Ok(()),
            _ => Err(cursor_row::fenced(&self.route)),
        }
    }
}

async fn raise_fence(cursors: &Collection<Document>, route: &str) -> Result<Document> {
    let doing = "cannot take the route over";
    let mut attempt = 1;
    loop {
        let raise = doc! { "$inc": { "fence": 1_i64 }, "$set": { "updated_at": DateTime::now() } };
        let raised = cursors
            .find_one_and_update(doc! { "_id": route }, raise)
            .upsert(true)
            .return_document(ReturnDocument::After);
        match in_time(doing, raised).await? {
            Ok(Some(document)) => return Ok(document),
            Ok(None) => return Err(unreadable(route)),
            Err(error) if code(&error) == Some(DUPLICATE_KEY) && attempt < ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(failure(error, doing)),
        }
    }
}

fn unreadable(route: &str) -> Error {
    Error::new(
        Kind::Corrupt,
        format!("the document of route {route} in collection {} cannot be read", cursor_row::TABLE),
    )
    .advice("restore the document from a backup, or delete it to begin the route again")
}

/// A count in a server's reply, which may be of any type.
pub(super) fn bson_number(value: &bson::Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        Bson::Double(number) => Some(*number as u64),
        _ => None,
    }
}
