//! A log that is open for writing: the contract's face of the writer and the view.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::warn;
use uuid::Uuid;

use super::Options;
use super::collections::Collections;
use super::head::Head;
use super::lease::Held;
use super::view::{State, View};
use super::writer::Writer;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Malformed, SchemaBook};
use crate::model::coverage::Coverage;
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::content::Knowledge;
use crate::store::{Log, LogReader, LogStat, Retained, Retention, Tail};

/// How often a lease is renewed at the most.
const LEAST: Duration = Duration::from_millis(50);

/// See [`Mongodb`](super::Mongodb).
#[derive(Debug)]
pub(super) struct MongoLog {
    view: Arc<View>,
    writer: Mutex<Writer>,
    retaining: Mutex<()>,
    /// The tail's `next`, to wake readers.
    next: watch::Sender<Seq>,
    held: Held,
    renewal: JoinHandle<()>,
}

impl MongoLog {
    /// Opens the log, making it when it is not there, and takes it.
    ///
    /// # Errors
    /// As [`LogStore::open`](crate::store::LogStore::open).
    pub async fn open(place: Collections, options: &Options) -> Result<MongoLog> {
        if Head::load(&place).await?.is_none() {
            if place.has_documents().await? {
                return Err(foreign(&place));
            }
            Head::make(&place).await?;
        }
        let (held, head) = Held::take(&place, options.lease).await?;
        place.make_indexes().await?;
        place.cut(head.blocks, head.notes).await?;
        let mut knowledge = Knowledge::default();
        for note in place.read_notes(0, head.notes).await? {
            knowledge.learn(&note).map_err(|Malformed| {
                Error::new(Kind::Corrupt, "the notes of the log contradict each other")
            })?;
        }
        let tail = head.tail.next;
        let writer = Writer::new(&head, &knowledge, held.session, options.threads);
        let view = Arc::new(View::new(place, State { head, knowledge, horizon_time_ms: None }));
        view.check_ends().await?;
        view.finish_dropping().await?;
        let renewal = tokio::spawn(renew(Arc::clone(&view), held.session, options.lease / 3));
        Ok(MongoLog {
            view,
            writer: Mutex::new(writer),
            retaining: Mutex::default(),
            next: watch::Sender::new(tail),
            held,
            renewal,
        })
    }
}

#[async_trait]
impl LogReader for MongoLog {
    fn epoch(&self) -> LogEpoch {
        self.view.epoch
    }

    fn source_id(&self) -> Option<String> {
        self.view.state().head.source.clone()
    }

    fn tail(&self) -> Tail {
        self.view.state().head.tail.clone()
    }

    fn schemas(&self) -> SchemaBook {
        self.view.state().knowledge.schemas.clone()
    }

    fn coverage(&self) -> Coverage {
        self.view.state().knowledge.coverage.clone()
    }

    async fn grown(&self, after: Seq) -> Result<Tail> {
        // The sender lives as long as the log, so this ends with the wait.
        let _ = self.next.subscribe().wait_for(|next| *next > after).await;
        Ok(self.tail())
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        self.view.read(from, max_bytes).await
    }

    async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        self.view.find_position(position).await
    }

    async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        self.view.find_time(time_ms).await
    }

    fn stat(&self) -> LogStat {
        self.view.stat()
    }

    async fn misshown(&self, blocks: &[Arc<Block>]) -> Result<Option<Seq>> {
        self.view.misshown(blocks).await
    }
}

#[async_trait]
impl Log for MongoLog {
    async fn bind_source(&self, id: &str) -> Result<()> {
        self.writer.lock().await.bind_source(&self.view, id).await
    }

    async fn append(&self, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        let appended = self.writer.lock().await.append(&self.view, blocks).await;
        // Also after an error: what was lost may have been an answer only.
        self.next.send_replace(self.tail().next);
        appended
    }

    async fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        let _retaining = self.retaining.lock().await;
        self.view.retain(policy, hold, self.held.session).await
    }
}

impl Drop for MongoLog {
    fn drop(&mut self) {
        self.renewal.abort();
        // Without a runtime the lease ends by itself.
        if let Ok(runtime) = Handle::try_current() {
            let (view, session) = (Arc::clone(&self.view), self.held.session);
            runtime.spawn(async move { Held::release(&view.place, session).await });
        }
    }
}

/// Shows that the writer is there, until it is dropped.
async fn renew(view: Arc<View>, session: Uuid, every: Duration) {
    let mut interval = tokio::time::interval(every.max(LEAST));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match Held::renew(&view.place, session).await {
            Ok(true) => {}
            // The next append says so, and to whom.
            Ok(false) => return warn!(log = view.place.name(), "the lease of the log is lost"),
            Err(error) => warn!(log = view.place.name(), "the lease of the log was not renewed: {error}"),
        }
    }
}

fn foreign(place: &Collections) -> Error {
    let what = format!(
        "collection {} holds documents, but {}, which would make them a log, has no head",
        place.name(),
        place.state.name()
    );
    Error::new(Kind::Refused, what).advice(
        "name a collection that is empty or not there; or, if these are the remains of a log that is not wanted any \
         more, drop it",
    )
}
