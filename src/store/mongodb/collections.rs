//! The collections of a log, and how they are read and written.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{
    Acknowledgment, CollectionOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria,
    WriteConcern,
};
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};

use super::document::part_id;
use crate::client::mongodb::{COMMAND_TIMEOUT, DUPLICATE_KEY, answer, failure, in_time};
use crate::error::{Error, Kind, Result};
use crate::model::coverage::Coverage;
use crate::model::position::Seq;
use crate::model::schema::{SchemaNo, TableSchema};
use crate::store::content::{Fact, Note};

/// What the name of a log is followed by in the name of its second collection.
pub(super) const STATE: &str = ".state";
/// How often documents are tried that meet what another writer left behind.
const COLLISIONS_MAX: usize = 8;
/// MongoDB's limit for `database.collection`, in bytes.
const NAMESPACE_BYTES_MAX: usize = 255;

/// Where a log lies.
#[derive(Clone, Debug)]
pub(super) struct Collections {
    /// The blocks.
    pub blocks: Collection<RawDocumentBuf>,
    /// The head and the notes.
    pub state: Collection<Document>,
}

impl Collections {
    /// The collections of the log called `name`.
    ///
    /// # Errors
    /// `Refused` when collections cannot have that name.
    pub fn new(database: &Database, name: &str) -> Result<Collections> {
        let longest = database.name().len() + 1 + name.len() + STATE.len();
        if name.is_empty()
            || name.contains(['$', '\0'])
            || name.starts_with("system.")
            || name.starts_with('.')
            || name.ends_with(STATE)
            || longest > NAMESPACE_BYTES_MAX
        {
            return Err(Error::new(Kind::Refused, format!("MongoDB cannot have a log called {name:?}"))
                .advice("name the log with letters, digits and underscores: via connection.shop_log"));
        }
        let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true);
        // A majority that does not answer is told from a server that does not.
        let concern = concern.w_timeout(COMMAND_TIMEOUT - Duration::from_secs(5)).build();
        let mut options = CollectionOptions::default();
        options.read_concern = Some(ReadConcern::majority());
        options.write_concern = Some(concern);
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        Ok(Collections {
            blocks: database.collection_with_options(name, options.clone()),
            state: database.collection_with_options(&format!("{name}{STATE}"), options),
        })
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        self.blocks.name()
    }

    /// Makes the indexes that are not there.
    pub async fn make_indexes(&self) -> Result<()> {
        let index = |name: &str, keys: Document| {
            IndexModel::builder()
                .keys(keys)
                .options(IndexOptions::builder().name(name.to_owned()).build())
                .build()
        };
        let indexes = [
            index("seq", doc! { "last": 1 }),
            index("time", doc! { "time": 1 }),
            index("table", doc! { "tables": 1, "_id": 1 }),
            index("position", doc! { "commits.file": 1, "commits.to": 1 }),
        ];
        answer("cannot make the indexes of the log", self.blocks.create_indexes(indexes)).await.map(drop)
    }

    /// Whether there is a document in the collection of the blocks.
    pub async fn has_documents(&self) -> Result<bool> {
        let found = self.blocks.find_one(doc! {}).projection(doc! { "_id": 1 });
        Ok(answer("cannot read the log", found).await?.is_some())
    }

    /// Inserts documents of the writer with `fence`. What an earlier writer left under the same keys, which no reader
    /// ever saw, is taken away. A document that is there already with the same fence came with an answer that was lost.
    ///
    /// # Errors
    /// `Fenced` when a later writer has written there; as [`failure`] otherwise.
    pub async fn insert(
        &self,
        collection: &Collection<RawDocumentBuf>,
        mut documents: Vec<RawDocumentBuf>,
        fence: i64,
    ) -> Result<()> {
        let doing = "cannot write to the log";
        for _ in 0..COLLISIONS_MAX {
            if documents.is_empty() {
                return Ok(());
            }
            let inserted = in_time(doing, collection.insert_many(&documents).ordered(false)).await?;
            let Err(error) = inserted else { return Ok(()) };
            let taken: Vec<usize> = match error.kind.as_ref() {
                ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => many
                    .write_errors
                    .iter()
                    .flatten()
                    .map(|error| (error.code, error.index))
                    .collect::<Vec<_>>(),
                _ => return Err(failure(error, doing)),
            }
            .into_iter()
            .map(|(code, index)| (code == DUPLICATE_KEY).then_some(index))
            .collect::<Option<_>>()
            .ok_or_else(|| failure(error, doing))?;
            documents = taken.into_iter().map(|index| std::mem::take(&mut documents[index])).collect();
            self.make_room(collection, &mut documents, fence).await?;
        }
        Err(Error::new(Kind::Unavailable, "another writer keeps writing into the log"))
    }

    /// Takes away what is in the way of `documents`, and those of them that are there already.
    async fn make_room(
        &self,
        collection: &Collection<RawDocumentBuf>,
        documents: &mut Vec<RawDocumentBuf>,
        fence: i64,
    ) -> Result<()> {
        let ids: Vec<Bson> = documents.iter().filter_map(id_of).collect();
        let of = |fence: Document| doc! { "_id": { "$in": ids.clone() }, "fence": fence };
        let doing = "cannot clear what another writer left in the log";
        answer(doing, collection.delete_many(of(doc! { "$lt": fence }))).await?;
        let left = collection.find(of(doc! { "$gte": fence })).projection(doc! { "fence": 1 });
        let left: Vec<RawDocumentBuf> = answer(doing, async { left.await?.try_collect().await }).await?;
        if left.iter().any(|document| document.get_i64("fence").is_ok_and(|other| other > fence)) {
            return Err(Error::new(Kind::Fenced, "another lode has taken over the log"));
        }
        let there: Vec<Bson> = left.iter().filter_map(id_of).collect();
        documents.retain(|document| id_of(document).is_none_or(|id| !there.contains(&id)));
        Ok(())
    }

    /// Takes away whatever lies behind `blocks` blocks and `notes` notes, which no reader has seen.
    pub async fn cut(&self, blocks: u64, notes: u64) -> Result<()> {
        let doing = "cannot cut off what lies behind the end of the log";
        let behind =
            [doc! { "_id": { "$gte": blocks as i64 } }, doc! { "_id": { "$gte": part_id(blocks, 0) } }];
        answer(doing, self.blocks.delete_many(doc! { "$or": behind })).await?;
        answer(doing, self.state.delete_many(doc! { "_id": { "$gte": notes as i64 } })).await.map(drop)
    }

    /// Writes notes, the first of which gets the number `from`.
    pub async fn write_notes(&self, from: u64, notes: &[Note], fence: i64) -> Result<()> {
        let mut documents = Vec::with_capacity(notes.len());
        for (note, number) in notes.iter().zip(from..) {
            let (schema, coverage) = match &note.fact {
                Fact::Schema(no, schema) => (
                    Some(SchemaRecord { no: *no, table: schema.name.to_string(), definition: json(schema)? }),
                    None,
                ),
                Fact::Coverage(coverage) => (None, Some(json(coverage)?)),
            };
            let record =
                NoteRecord { number: number as i64, fence, seq: note.seq.0 as i64, schema, coverage };
            documents.push(mongodb::bson::serialize_to_raw_document_buf(&record).map_err(|error| {
                Error::new(Kind::Internal, "a note of the log cannot be written").caused_by(error)
            })?);
        }
        let state = self.state.clone_with_type();
        self.insert(&state, documents, fence).await
    }

    /// The notes with the numbers from `from` up to `to`.
    ///
    /// # Errors
    /// `Corrupt` when one is missing or not readable.
    pub async fn read_notes(&self, from: u64, to: u64) -> Result<Vec<Note>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let state = self.state.clone_with_type::<RawDocumentBuf>();
        let numbers = doc! { "_id": { "$gte": from as i64, "$lt": to as i64 } };
        let find = state.find(numbers).sort(doc! { "_id": 1 });
        let found: Vec<RawDocumentBuf> =
            answer("cannot read the notes of the log", async { find.await?.try_collect().await }).await?;
        let mut notes = Vec::with_capacity(found.len());
        for (document, number) in found.iter().zip(from..) {
            let note = read_note(document, number).ok_or_else(|| self.bad_note(number))?;
            notes.push(note);
        }
        if notes.len() as u64 != to - from {
            return Err(self.bad_note(from + notes.len() as u64));
        }
        Ok(notes)
    }

    fn bad_note(&self, number: u64) -> Error {
        let what = format!("note {number} in collection {} is missing or not readable", self.state.name());
        Error::new(Kind::Corrupt, what).advice(
            "schemas or tables are missing that the log needs: restore the collection, or mine into a new log",
        )
    }
}

/// A fact about the log that outlives the block in which it was said. Schemas and selections are JSON text, as they
/// are in the blocks.
#[derive(Serialize, Deserialize)]
struct NoteRecord {
    #[serde(rename = "_id")]
    number: i64,
    fence: i64,
    seq: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<SchemaRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coverage: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SchemaRecord {
    no: SchemaNo,
    table: String,
    definition: String,
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(Kind::Internal, "a note of the log cannot be written").caused_by(error))
}

fn read_note(document: &RawDocumentBuf, number: u64) -> Option<Note> {
    let record: NoteRecord = mongodb::bson::deserialize_from_slice(document.as_bytes()).ok()?;
    if record.number as u64 != number {
        return None;
    }
    let fact = match (record.schema, record.coverage) {
        (Some(schema), None) => {
            let definition: TableSchema = serde_json::from_str(&schema.definition).ok()?;
            Fact::Schema(schema.no, definition)
        }
        (None, Some(coverage)) => {
            let coverage: Coverage = serde_json::from_str(&coverage).ok()?;
            Fact::Coverage(coverage)
        }
        _ => return None,
    };
    Some(Note { seq: Seq(record.seq as u64), fact })
}

fn id_of(document: &RawDocumentBuf) -> Option<Bson> {
    document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok())
}
