//! The head of a log: one document that says where the log begins and ends, and who may write. Every change of a log
//! that readers see is one change of this document.

use mongodb::bson::{self, Bson, DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use uuid::Uuid;

use super::collections::Collections;
use super::document::{Written, read_commit};
use super::lease::Lease;
use crate::client::mongodb::{DUPLICATE_KEY, answer, code, failure, in_time};
use crate::error::{Error, Kind, Result};
use crate::model::block::{Commit, FORMAT_VERSION};
use crate::model::position::{LogEpoch, Seq};
use crate::store::Tail;

/// The key of the head among the documents of its collection; the others are notes, and have numbers.
pub(super) const HEAD: &str = "head";
/// Version of the documents of a log. A log of another version is not read.
const VERSION: i32 = 1;

/// What the head says.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub epoch: LogEpoch,
    pub source: Option<String>,
    /// Grows with every writer, and with every append of which the outcome was not known.
    pub fence: i64,
    /// Blocks before this number are complete; the oldest one that is kept is the horizon's.
    pub blocks: u64,
    /// Notes before this number belong to the log.
    pub notes: u64,
    pub tail: Tail,
    /// The latest commit time so far.
    pub reached_ms: Option<i64>,
    pub written: Written,
    pub horizon: Horizon,
    pub lease: Option<Lease>,
}

/// Where the log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Horizon {
    /// Number of the oldest block that is kept.
    pub block: u64,
    /// Its first entry.
    pub first: Seq,
    /// What was written before it.
    pub before: Written,
}

impl Head {
    /// Reads the head; `None` when there is none.
    ///
    /// # Errors
    /// `Corrupt` when it is of another version, or not what a head is.
    pub async fn load(place: &Collections) -> Result<Option<Head>> {
        let found = answer("cannot read the head of the log", place.state.find_one(doc! { "_id": HEAD }));
        found.await?.map(|document| Head::read(&document, place)).transpose()
    }

    /// Makes the head of a new log; another process may have been faster.
    pub async fn make(place: &Collections) -> Result<()> {
        let zero = doc! { "stored": 0_i64, "payload": 0_i64 };
        let head = doc! {
            "_id": HEAD,
            "what": "a log of lode: where it begins and ends, and who writes it",
            "version": VERSION,
            "entries": i32::from(FORMAT_VERSION),
            "epoch": Uuid::new_v4().simple().to_string(),
            "made": DateTime::now(),
            "source": Bson::Null,
            "fence": 0_i64,
            "blocks": 0_i64,
            "notes": 0_i64,
            "next": 0_i64,
            "commit": Bson::Null,
            "reached": Bson::Null,
            "written": zero.clone(),
            "horizon": { "block": 0_i64, "first": 0_i64, "before": zero },
            "lease": {},
        };
        let doing = "cannot make the log";
        match in_time(doing, place.state.insert_one(head)).await? {
            Err(error) if code(&error) != Some(DUPLICATE_KEY) => Err(failure(error, doing)),
            _ => Ok(()),
        }
    }

    /// Changes the head when `filter` fits; gives what it is then, `None` when it did not fit.
    pub async fn change(
        place: &Collections,
        doing: &str,
        filter: Document,
        change: Document,
    ) -> Result<Option<Head>> {
        let found = place.state.find_one_and_update(filter, change).return_document(ReturnDocument::After);
        answer(doing, found).await?.map(|document| Head::read(&document, place)).transpose()
    }

    fn read(document: &Document, place: &Collections) -> Result<Head> {
        let wrong = |why: String| {
            Error::new(
                Kind::Corrupt,
                format!("the head of the log, in collection {}, {why}", place.state.name()),
            )
        };
        let version = (document.get_i32("version").ok(), document.get_i32("entries").ok());
        if version != (Some(VERSION), Some(i32::from(FORMAT_VERSION))) {
            return Err(wrong("is of another format version".into())
                .advice("use the version of lode that wrote it, or mine into a log with another name"));
        }
        Head::try_read(document).map_err(|error| wrong(format!("is not one: {error}")))
    }

    fn try_read(document: &Document) -> Result<Head, Box<dyn std::error::Error>> {
        let long = |document: &Document, key: &str| document.get_i64(key).map(|value| value as u64);
        let written = |document: &Document| -> Result<Written, Box<dyn std::error::Error>> {
            Ok(Written { stored: long(document, "stored")?, payload: long(document, "payload")? })
        };
        let horizon = document.get_document("horizon")?;
        let commit = match document.get("commit") {
            Some(Bson::Document(commit)) => Some(read_commit(&bson::serialize_to_raw_document_buf(commit)?)?),
            _ => None,
        };
        let lease = match document.get("lease") {
            Some(Bson::Document(lease)) if !lease.is_empty() => Some(Lease::read(lease)?),
            _ => None,
        };
        Ok(Head {
            epoch: LogEpoch(document.get_str("epoch")?.parse()?),
            source: document.get_str("source").ok().map(str::to_owned),
            fence: document.get_i64("fence")?,
            blocks: long(document, "blocks")?,
            notes: long(document, "notes")?,
            tail: Tail { next: Seq(long(document, "next")?), commit },
            reached_ms: document.get_datetime("reached").ok().map(|at| at.timestamp_millis()),
            written: written(document.get_document("written")?)?,
            horizon: Horizon {
                block: long(horizon, "block")?,
                first: Seq(long(horizon, "first")?),
                before: written(horizon.get_document("before")?)?,
            },
            lease,
        })
    }

    /// The fields that an append changes.
    pub fn frontier(&self) -> Document {
        doc! {
            "blocks": self.blocks as i64,
            "notes": self.notes as i64,
            "next": self.tail.next.0 as i64,
            "commit": self.tail.commit.as_ref().map(commit_document),
            "reached": self.reached_ms.map(DateTime::from_millis),
            "written": written_document(self.written),
        }
    }
}

impl Horizon {
    /// As it stands in the head.
    pub fn document(&self) -> Document {
        doc! {
            "block": self.block as i64,
            "first": self.first.0 as i64,
            "before": written_document(self.before),
        }
    }
}

fn written_document(written: Written) -> Document {
    doc! { "stored": written.stored as i64, "payload": written.payload as i64 }
}

fn commit_document(commit: &Commit) -> Document {
    doc! {
        "time": DateTime::from_millis(commit.time_ms),
        "file": &commit.position.file,
        "offset": commit.position.offset as i64,
        "gtid": &commit.position.gtid,
    }
}
