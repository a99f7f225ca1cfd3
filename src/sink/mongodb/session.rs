//! One connection of a route to its target: what a batch becomes, and when it is committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{self, Document, doc};
use mongodb::results::CollectionType;
use mongodb::{Client, Database};

use super::Config;
use super::document::{append, has_fields, has_moved, id, moved, patch, remove, remove_all, replace};
use super::plan::{Plan, collection};
use super::progress::Progress;
use super::transaction::Transaction;
use super::writes::{Statement, Verb, rejects, write};
use crate::client::mongodb::{answer, code, database, failure, in_time};
use crate::error::{Error, Kind, Result};
use crate::model::change::{Batch, Change};
use crate::model::position::{Cursor, Seq};
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::sink::compact::{RunKind, by_key, values_move};
use crate::sink::plan_cache::PlanCache;
use crate::sink::settings::Mode;
use crate::sink::step::{Step, filled, require_whole, steps};

/// How often a transaction is tried that meets others; after that the pipeline waits longer.
const ATTEMPTS_MAX: u32 = 5;
/// The wait before the second of them; it doubles.
const WAIT: Duration = Duration::from_millis(20);
/// A transaction is committed as a part of the source's when it has been open for so long: the server ends it after 60
/// seconds.
const TRANSACTION_AGE_MAX: Duration = Duration::from_secs(30);
/// The same for the bytes that it wrote, at first: the server keeps them in its cache, a fifth of which may be unwritten,
/// and the smallest cache has 256 MB.
pub(super) const PART_BYTES_MAX: usize = 16 << 20;
/// What remains of that where the server's cache is smaller, or full.
const PART_BYTES_MIN: usize = 1 << 20;
/// The server's code for a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;

pub(super) struct Session {
    config: Arc<Config>,
    database: Database,
    server: Transaction,
    progress: Progress,
    /// Collections that are there and can be written.
    collections: HashSet<String>,
    plans: PlanCache<Plan>,
    /// A transaction with so many bytes is committed as a part.
    part_bytes_max: usize,
    has_warned_of_parts: bool,
}

impl Session {
    pub async fn open(
        config: Arc<Config>,
        client: Client,
        part_bytes_max: usize,
    ) -> Result<(Session, Option<Cursor>)> {
        let database = client.database(database(&config.connection));
        let server = Transaction::new(&client, database.clone()).await?;
        let (progress, cursor) = Progress::take_over(&database, &config.route).await?;
        let session = Session {
            config,
            database,
            server,
            progress,
            collections: HashSet::new(),
            plans: PlanCache::new(),
            part_bytes_max,
            has_warned_of_parts: false,
        };
        Ok((session, cursor))
    }

    /// What a session that follows this one shall take for its parts.
    pub fn part_bytes_max(&self) -> usize {
        self.part_bytes_max
    }

    pub fn has_transactions(&self) -> bool {
        self.server.is_possible()
    }

    /// Writes a batch. After an error the session is only good for being dropped.
    pub async fn write(&mut self, batch: &Batch) -> Result<u64> {
        // Only what lies in this batch can be written again from here.
        let is_whole = self.server.age().is_none();
        let mut attempt = 1;
        loop {
            self.server.may_be_repeated = false;
            self.server.is_too_large = false;
            let error = match self.try_write(batch).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            self.server.abort().await;
            if self.server.is_too_large && !is_whole && self.part_bytes_max > PART_BYTES_MIN {
                self.part_bytes_max /= 2;
                let why =
                    "a transaction did not fit into the server's cache, and is tried again in smaller parts";
                return Err(Error::new(Kind::Unavailable, why).caused_by(error));
            }
            if error.kind() != Kind::Unavailable {
                return Err(error);
            }
            if !self.server.may_be_repeated || !is_whole || attempt == ATTEMPTS_MAX {
                self.progress.must_be_mine().await?;
                return Err(error);
            }
            self.progress.must_be_mine().await?;
            tokio::time::sleep(WAIT * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    /// Ends what is not complete.
    pub async fn close(mut self) {
        self.server.abort().await;
    }

    async fn try_write(&mut self, batch: &Batch) -> Result<u64> {
        let changes: Vec<&Change> =
            batch.changes.iter().filter(|change| !self.progress.is_applied(change.seq)).collect();
        let mut rows = 0;
        if let Some(last) = changes.last().map(|change| change.seq) {
            rows = match self.config.mode {
                Mode::Upsert => self.upsert(&changes, last).await?,
                Mode::Append => self.append(&changes, last).await?,
            };
            if batch.cursor.is_none() {
                self.commit_part_if_large(last).await?;
            }
        }
        if let Some(cursor) = &batch.cursor {
            self.progress.finish(&mut self.server, cursor).await?;
            self.server.commit().await?;
            self.progress.is_durable(cursor);
        }
        Ok(rows)
    }

    async fn commit_part_if_large(&mut self, last: Seq) -> Result<()> {
        let Some(age) = self.server.age() else { return Ok(()) };
        if age < TRANSACTION_AGE_MAX && self.server.bytes < self.part_bytes_max {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_warned_of_parts, true) {
            tracing::warn!(
                route = self.config.route,
                "a transaction is too large for one of MongoDB, and is committed in parts that are seen one by one"
            );
        }
        self.progress.part(&mut self.server, last).await?;
        self.server.commit().await?;
        self.progress.part_is_durable(last);
        Ok(())
    }

    async fn begin(&mut self, last: Seq) -> Result<()> {
        match self.server.is_possible() {
            true => self.server.begin().await,
            false => self.progress.begin(&mut self.server, last).await,
        }
    }

    async fn upsert(&mut self, changes: &[&Change], last: Seq) -> Result<u64> {
        // All collections are there before the transaction begins: it does not see those that come later.
        let mut planned = Vec::with_capacity(changes.len());
        for change in changes {
            for step in steps(change)?.into_iter().flatten() {
                let plan = match step.row() {
                    Some(row) => Some(self.plan(&change.table, &row.schema).await?),
                    None => None,
                };
                planned.push((*change, step, plan));
            }
        }
        self.begin(last).await?;
        let mut queues: HashMap<String, Queue<'_>> = HashMap::new();
        let mut rows = 0;
        for (change, step, plan) in planned {
            let Some(plan) = plan else {
                let name = collection(&self.config.template.table(&change.table.name))?;
                if let Some(queue) = queues.remove(&name) {
                    rows += self.apply(&queue).await?;
                }
                let all = [Statement { bson: remove_all(), row: None }];
                rows += write(&mut self.server, &name, Verb::Delete, &all).await?;
                continue;
            };
            let moves = matches!(step, Step::Patch { key, row } if has_moved(key, row));
            let full =
                queues.get(&plan.collection).is_some_and(|queue| moves || !Arc::ptr_eq(&queue.plan, &plan));
            if full && let Some(queue) = queues.remove(&plan.collection) {
                rows += self.apply(&queue).await?;
            }
            match step {
                Step::Patch { key, row } if moves => {
                    rows += self.move_document(&plan, change.seq, key, row).await?;
                }
                Step::Patch { row, .. } if !has_fields(&plan, row) => {}
                step => match queues.get_mut(&plan.collection) {
                    Some(queue) => queue.steps.push((change.seq, step)),
                    None => {
                        let steps = vec![(change.seq, step)];
                        queues.insert(plan.collection.clone(), Queue { plan, steps });
                    }
                },
            }
        }
        for queue in queues.into_values() {
            rows += self.apply(&queue).await?;
        }
        Ok(rows)
    }

    /// Applies steps on one collection: the final state of each key where only that can be seen, or else one by one.
    async fn apply(&mut self, queue: &Queue<'_>) -> Result<u64> {
        let Queue { plan, steps } = queue;
        let has_patches = steps.iter().any(|(_, step)| matches!(step, Step::Patch { .. }));
        let only: Vec<Step<'_>> = steps.iter().map(|(_, step)| *step).collect();
        let further = &plan.further_unique;
        if has_patches || !further.is_empty() && values_move(&only, &plan.key, Some(further)) {
            return self.in_order(plan, steps).await;
        }
        let mut rows = 0;
        for run in by_key(&only, &plan.key) {
            let (verb, bson): (_, fn(&Plan, &Row) -> Vec<u8>) = match run.kind {
                RunKind::Remove => (Verb::Delete, |_, row| remove(row)),
                RunKind::Insert | RunKind::Write => (Verb::Update, replace),
            };
            let statements = run.rows.iter().map(|row| Statement { bson: bson(plan, row), row: Some(row) });
            let statements: Vec<_> = statements.collect();
            rows += write(&mut self.server, &plan.collection, verb, &statements).await?;
        }
        Ok(rows)
    }

    async fn in_order(&mut self, plan: &Plan, steps: &[(Seq, Step<'_>)]) -> Result<u64> {
        let verb = |step: &Step<'_>| match step {
            Step::Remove { .. } => Verb::Delete,
            _ => Verb::Update,
        };
        let mut rows = 0;
        for run in steps.chunk_by(|(_, one), (_, next)| verb(one) == verb(next)) {
            let mut statements = Vec::with_capacity(run.len());
            for (_, step) in run {
                let (bson, row) = match *step {
                    Step::Patch { key, row } => (patch(plan, key, row), key),
                    Step::Remove { row } => (remove(row), row),
                    step => match step.row() {
                        Some(row) => (replace(plan, row), row),
                        None => continue,
                    },
                };
                statements.push(Statement { bson, row: Some(row) });
            }
            let verb = verb(&run[0].1);
            let found = write(&mut self.server, &plan.collection, verb, &statements).await?;
            if verb == Verb::Update && found < run.len() as u64 {
                self.must_be_there(plan, run).await?;
            }
            rows += found;
        }
        Ok(rows)
    }

    /// Finds the row that an update did not find.
    async fn must_be_there(&mut self, plan: &Plan, run: &[(Seq, Step<'_>)]) -> Result<()> {
        for (seq, step) in run {
            if let Step::Patch { key, .. } = step
                && !self.progress.is_repeated(*seq)
                && self.find(plan, key).await?.is_none()
            {
                return Err(not_there(plan, key));
            }
        }
        Ok(())
    }

    /// Gives the document with the key of `key` the key that `row` has, of which only some columns are known.
    async fn move_document(&mut self, plan: &Plan, seq: Seq, key: &Row, row: &Row) -> Result<u64> {
        let Some(mut document) = self.find(plan, key).await? else {
            return match self.progress.is_repeated(seq) {
                true => Ok(0),
                false => Err(not_there(plan, key)),
            };
        };
        let after = read(moved(plan, key, row))?;
        let query = doc! { "_id": after.get("_id") };
        // A field that is there keeps its place.
        document.extend(after);
        let put = bson::serialize_to_vec(&doc! { "q": query, "u": document, "upsert": true });
        let put = put.map_err(|error| {
            Error::new(Kind::Internal, "a document that was read cannot be written").caused_by(error)
        })?;
        // Without a transaction it is better to have the row twice for a moment than not at all.
        let put = [Statement { bson: put, row: Some(row) }];
        let rows = write(&mut self.server, &plan.collection, Verb::Update, &put).await?;
        let gone = [Statement { bson: remove(key), row: Some(key) }];
        write(&mut self.server, &plan.collection, Verb::Delete, &gone).await?;
        Ok(rows)
    }

    async fn find(&mut self, plan: &Plan, key: &Row) -> Result<Option<Document>> {
        let doing = format!("cannot read from collection {}", plan.collection);
        self.server.find(&doing, &plan.collection, read(id(key))?).await
    }

    async fn append(&mut self, changes: &[&Change], last: Seq) -> Result<u64> {
        let filled: Vec<_> = changes.iter().map(|change| filled(change)).collect();
        let mut lists: Vec<(String, Vec<Statement<'_>>)> = Vec::new();
        for change in &filled {
            require_whole(change)?;
            let schema = change.row().map_or(&change.table, |row| &row.schema);
            let plan = self.plan(&change.table, schema).await?;
            let statement = Statement { bson: append(&plan, change), row: change.row() };
            match lists.iter_mut().find(|(name, _)| *name == plan.collection) {
                Some((_, list)) => list.push(statement),
                None => lists.push((plan.collection.clone(), vec![statement])),
            }
        }
        self.begin(last).await?;
        for (name, list) in lists {
            write(&mut self.server, &name, Verb::Insert, &list).await?;
        }
        Ok(changes.len() as u64)
    }

    /// How rows of `schema` become documents; their collection is there afterwards.
    async fn plan(&mut self, source: &Arc<TableSchema>, schema: &Arc<TableSchema>) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plans.get(source, schema) {
            return Ok(plan.clone());
        }
        let plan = Plan::new(&self.config.template.table(&source.name), schema, self.config.mode)?;
        if !self.collections.contains(&plan.collection) {
            self.make_collection(&plan.collection).await?;
            self.collections.insert(plan.collection.clone());
        }
        Ok(self.plans.insert(source, schema, plan))
    }

    async fn make_collection(&mut self, name: &str) -> Result<()> {
        let doing = format!("cannot look for collection {name}");
        let listed = self.database.list_collections().filter(doc! { "name": name });
        let found: Vec<_> = answer(&doing, async { listed.await?.try_collect().await }).await?;
        if let Some(found) = found.into_iter().next() {
            let why = match found.collection_type {
                CollectionType::Collection if found.options.capped == Some(true) => "is capped",
                CollectionType::Collection => match found.options.collation {
                    Some(collation) if collation.locale != "simple" && self.config.mode == Mode::Upsert => {
                        "has a collation, by which keys may be equal that differ"
                    }
                    _ => return Ok(()),
                },
                _ => "is a view or of another kind",
            };
            return Err(Error::new(Kind::Environment, format!("the collection {name} {why}"))
                .advice("choose another target, or drop the collection to have it made anew"));
        }
        let doing = format!("cannot make collection {name}");
        match in_time(&doing, self.database.create_collection(name)).await? {
            Err(error) if code(&error) != Some(NAMESPACE_EXISTS) => return Err(failure(error, &doing)),
            _ => {}
        }
        if self.server.age().is_some() {
            self.collections.insert(name.to_owned());
            return Err(Error::new(
                Kind::Unavailable,
                format!("collection {name} was made for a transaction that had begun without it"),
            ));
        }
        Ok(())
    }
}

/// Steps on one collection that wait to be applied together, all for rows of one schema.
struct Queue<'a> {
    plan: Arc<Plan>,
    steps: Vec<(Seq, Step<'a>)>,
}

fn not_there(plan: &Plan, key: &Row) -> Error {
    Error::new(
        Kind::Data,
        format!(
            "{}: there is no such row, and the change holds only some of its columns",
            rejects(&plan.collection, key)
        ),
    )
    .advice("set binlog_row_image = FULL at the source, or full_rows, or begin with a snapshot")
}

fn read(bytes: Vec<u8>) -> Result<Document> {
    let document = RawDocumentBuf::from_bytes(bytes).and_then(Document::try_from);
    document.map_err(|error| Error::new(Kind::Internal, "a row is no BSON").caused_by(error))
}
