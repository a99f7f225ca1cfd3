//! Reading a log that another process may write: the head says how far it goes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use mongodb::bson::{Document, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::collections::Collections;
use super::head::{HEAD, Head};
use super::view::{State, View, put_back};
use crate::client::mongodb::answer;
use crate::error::Result;
use crate::model::block::{Block, SchemaBook};
use crate::model::coverage::Coverage;
use crate::model::position::{LogEpoch, Position, Seq};
use crate::store::content::Knowledge;
use crate::store::{LogReader, LogStat, Tail, log_is_gone};

/// How long a reader sleeps between two looks where the server does not wake it: at first, and at most.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));
/// How long a reader waits to be woken before it looks all the same.
const LOOK_AT_LAST: Duration = Duration::from_secs(1);
/// How long a reader does without a change stream after one failed.
const DO_WITHOUT: Duration = Duration::from_secs(30);

/// A log as another process sees it.
pub(super) struct Follower {
    view: View,
    waker: Mutex<Waker>,
}

impl Follower {
    /// Follows the log that has this head.
    pub async fn open(place: Collections, head: Head) -> Result<Follower> {
        let empty = Head { notes: 0, ..head.clone() };
        let state = State { head: empty, knowledge: Knowledge::default(), horizon_time_ms: None };
        let follower = Follower { view: View::new(place, state), waker: Mutex::default() };
        follower.show(head).await?;
        Ok(follower)
    }

    /// Looks at the log anew.
    async fn look(&self) -> Result<Tail> {
        let head = match Head::load(&self.view.place).await? {
            Some(head) if head.epoch == self.view.epoch => head,
            head => return Err(log_is_gone(head.is_some())),
        };
        if head.tail.next < self.view.state().head.tail.next {
            return Err(put_back());
        }
        let tail = head.tail.clone();
        self.show(head).await?;
        Ok(tail)
    }

    async fn show(&self, head: Head) -> Result<()> {
        // Calls may overlap; each note is learned once or twice, which is the same.
        let known = self.view.state().head.notes;
        let notes = self.view.place.read_notes(known, head.notes).await?;
        let horizon_time_ms = self.view.horizon_time(&head).await?;
        self.view.show(head, &notes, horizon_time_ms)
    }
}

#[async_trait]
impl LogReader for Follower {
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
        let mut pause = LOOK_EVERY.0;
        loop {
            let mut waker = self.waker.lock().await;
            // Opened before the look, so that nothing comes unnoticed in between.
            waker.open(&self.view.place).await;
            let tail = self.look().await?;
            if tail.next > after {
                return Ok(tail);
            }
            waker.wait(&mut pause).await;
        }
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

/// Tells when the head has changed.
#[derive(Default)]
struct Waker {
    stream: Option<ChangeStream<ChangeStreamEvent<Document>>>,
    /// Until when no other stream is tried.
    without_until: Option<Instant>,
}

impl Waker {
    async fn open(&mut self, place: &Collections) {
        if self.stream.is_some() || self.without_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let head = doc! { "$match": { "documentKey._id": HEAD } };
        let stream = place.state.watch().pipeline([head]).max_await_time(LOOK_AT_LAST);
        match answer("cannot follow the log", stream).await {
            Ok(stream) => self.stream = Some(stream),
            // A server that stands alone has none, and some users may not.
            Err(_) => self.do_without(),
        }
    }

    /// Waits until the head may have changed.
    async fn wait(&mut self, pause: &mut Duration) {
        let Some(stream) = &mut self.stream else {
            tokio::time::sleep(*pause).await;
            *pause = (*pause * 2).min(LOOK_EVERY.1);
            return;
        };
        match tokio::time::timeout(LOOK_AT_LAST, stream.next()).await {
            Ok(Some(Ok(_))) | Err(_) => {}
            Ok(Some(Err(_)) | None) => self.do_without(),
        }
    }

    fn do_without(&mut self) {
        self.stream = None;
        self.without_until = Some(Instant::now() + DO_WITHOUT);
    }
}
