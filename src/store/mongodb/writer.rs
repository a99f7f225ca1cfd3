//! The one writer of a log.

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};
use uuid::Uuid;

use super::document::{Documents, Place, Written, encode};
use super::head::{HEAD, Head};
use super::lease::gone;
use super::view::{View, put_back};
use crate::client::mongodb::answer;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, SchemaBook};
use crate::model::position::{LogEpoch, Seq};
use crate::store::Tail;
use crate::store::content::{Content, Knowledge, Note, examine};

/// So many bytes of payload, or one block, go into one insert.
const CHUNK_BYTES: usize = 1 << 20;
/// So many blocks at the most go into one insert.
const CHUNK_BLOCKS: usize = 128;

/// What is known of the log behind its visible end.
#[derive(Debug)]
pub(super) struct Writer {
    session: Uuid,
    threads: NonZeroUsize,
    fence: i64,
    /// The number that the next block gets, and the note and entry.
    blocks: u64,
    notes: u64,
    next: Seq,
    /// Where the transaction begins that the next block begins in, or begins.
    transaction: Seq,
    reached_ms: Option<i64>,
    written: Written,
    /// What is noted behind the visible end, and everything with it.
    pending: Vec<Note>,
    ahead: Knowledge,
    schemas: Arc<SchemaBook>,
    /// Set while the server may hold something that is not accounted for here.
    unsettled: bool,
    /// Why nothing more may be written: the log is lost, or is not what it was.
    lost: Option<(Kind, String, Option<String>)>,
}

impl Writer {
    /// A writer that goes on where the head ends; nothing lies behind it.
    pub fn new(head: &Head, knowledge: &Knowledge, session: Uuid, threads: NonZeroUsize) -> Writer {
        Writer {
            session,
            threads,
            fence: head.fence,
            blocks: head.blocks,
            notes: head.notes,
            next: head.tail.next,
            transaction: head.tail.next,
            reached_ms: head.reached_ms,
            written: head.written,
            pending: Vec::new(),
            schemas: Arc::new(knowledge.schemas.clone()),
            ahead: knowledge.clone(),
            unsettled: false,
            lost: None,
        }
    }

    /// See [`Log::bind_source`](crate::store::Log::bind_source).
    pub async fn bind_source(&mut self, view: &View, id: &str) -> Result<()> {
        let mut filter = self.own_head(view.epoch);
        filter.insert("source", doc! { "$in": [null, id] });
        let change = doc! { "$set": { "source": id } };
        let changed = Head::change(&view.place, "cannot note the source of the log", filter, change).await?;
        let Some(head) = changed else {
            let head = Head::load(&view.place).await?;
            return Err(match head.as_ref().and_then(|head| head.source.as_deref()) {
                Some(source) if source != id => {
                    Error::new(Kind::Refused, "the log holds the changes of another source")
                        .advice("mine into a log with another name")
                }
                _ => self.why_lost(view, head),
            });
        };
        let mut shown = view.state().head.clone();
        shown.source = head.source;
        view.show(shown, &[], None)
    }

    /// See [`Log::append`](crate::store::Log::append).
    pub async fn append(&mut self, view: &View, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        if let Some((kind, message, advice)) = &self.lost {
            let error = Error::new(*kind, message.clone());
            return Err(advice.iter().fold(error, Error::advice));
        }
        let appended = self.try_append(view, blocks).await;
        if let Err(error) = &appended
            && matches!(error.kind(), Kind::Fenced | Kind::Gap | Kind::Corrupt)
        {
            let advice = error.next_step().map(str::to_owned);
            self.lost = Some((error.kind(), error.message().to_owned(), advice));
        }
        appended
    }

    async fn try_append(&mut self, view: &View, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        let tail = view.state().head.tail.clone();
        let Some(first) = blocks.first().map(|block| block.first) else { return Ok(tail) };
        let begins_again = first == tail.next && self.next != tail.next;
        if self.unsettled || begins_again {
            self.settle(view).await?;
            if view.state().head.tail != tail {
                return Err(Error::new(
                    Kind::Unavailable,
                    "the log had taken more than it could answer; mining goes on from there",
                ));
            }
        }
        let contents = match examine(&blocks, self.next, &mut self.ahead) {
            Ok(contents) => contents,
            Err(error) => {
                self.forget_ahead(view);
                return Err(error);
            }
        };
        self.unsettled = true;
        let end = blocks.last().map_or(self.next, |block| block.end());
        let ends_with_commit = blocks.last().is_some_and(|block| block.commit.is_some());
        match self.write(view, blocks, contents).await {
            Ok(tail) => {
                self.unsettled = false;
                Ok(tail)
            }
            // Whoever wrote there says in the head who that is.
            Err(error) if error.kind() == Kind::Fenced => {
                let head = Head::load(&view.place).await?;
                Err(self.why_lost(view, head))
            }
            Err(error) if matches!(error.kind(), Kind::Gap | Kind::Corrupt) => Err(error),
            Err(error) => {
                // The answer may be all that was lost.
                self.settle(view).await.map_err(|settling| match settling.kind() {
                    Kind::Unavailable => error_with_advice(&error),
                    _ => settling,
                })?;
                let tail = view.state().head.tail.clone();
                if ends_with_commit && tail.next == end { Ok(tail) } else { Err(error) }
            }
        }
    }

    async fn write(&mut self, view: &View, blocks: Vec<Arc<Block>>, contents: Vec<Content>) -> Result<Tail> {
        let new: Vec<Note> = contents.iter().flat_map(|content| content.notes.iter().cloned()).collect();
        if !new.is_empty() {
            view.place.write_notes(self.notes, &new, self.fence).await?;
            self.notes += new.len() as u64;
            self.pending.extend(new);
            self.schemas = Arc::new(self.ahead.schemas.clone());
        }
        let mut head = view.state().head.clone();
        let former = (head.blocks, head.tail.next);
        let first_time_ms = blocks.first().map(|block| block.first_time_ms);
        let mut chunks = Vec::new();
        let mut chunk = Chunk::default();
        let mut last_commit = None;
        for (block, content) in blocks.into_iter().zip(contents) {
            self.reached_ms = self.reached_ms.max(content.latest_commit_ms);
            let place = Place {
                number: self.blocks,
                fence: self.fence,
                transaction: self.transaction,
                reached_ms: self.reached_ms,
            };
            self.blocks += 1;
            self.next = block.end();
            if let Some(commit) = &block.commit {
                self.transaction = block.end();
                last_commit = Some((self.blocks, block.end(), commit.clone(), self.reached_ms));
            }
            if chunk.is_full(block.payload.len()) {
                chunks.push(std::mem::take(&mut chunk));
            }
            chunk.bytes += block.payload.len();
            chunk.blocks.push((place, block, content));
        }
        chunks.push(chunk);
        let mark = last_commit.as_ref().map(|(blocks, ..)| *blocks);
        let (written, at_mark) = self.insert(view, chunks, mark).await?;
        self.written = written;

        let Some((blocks, next, commit, reached_ms)) = last_commit else {
            self.check_former(view, former.0).await?;
            return Ok(head.tail);
        };
        let shown_notes = self.pending.partition_point(|note| note.seq < next);
        head.blocks = blocks;
        head.notes += shown_notes as u64;
        head.tail = Tail { next, commit: Some(commit) };
        head.reached_ms = reached_ms;
        head.written = at_mark;
        let (moved, checked) =
            tokio::join!(self.move_end(view, &head, former.1), self.check_former(view, former.0));
        checked?;
        moved?;
        let tail = head.tail.clone();
        let horizon_time_ms = if former.0 == head.horizon.block { first_time_ms } else { None };
        let shown: Vec<Note> = self.pending.drain(..shown_notes).collect();
        view.show(head, &shown, horizon_time_ms)?;
        Ok(tail)
    }

    /// Inserts the blocks, several chunks at a time. Gives what is written then, and what was written before the block
    /// with the number `mark`.
    async fn insert(&self, view: &View, chunks: Vec<Chunk>, mark: Option<u64>) -> Result<(Written, Written)> {
        let mut number = self.blocks - chunks.iter().map(|chunk| chunk.blocks.len() as u64).sum::<u64>();
        let (mut written, mut at_mark) = (self.written, self.written);
        let epoch = view.epoch;
        // Chunks are encoded side by side, placed one behind the other, and sent side by side.
        let encoded = stream::iter(chunks)
            .map(|chunk| {
                let schemas = Arc::clone(&self.schemas);
                async move {
                    let encoded = tokio::task::spawn_blocking(move || chunk.encode(epoch, &schemas)).await;
                    encoded.unwrap_or_else(|panic| {
                        Err(Error::new(Kind::Internal, "the log's writer broke off").caused_by(panic))
                    })
                }
            })
            .buffered(self.threads.get());
        let placed = encoded.map_ok(|documents| {
            let mut placed = Vec::with_capacity(documents.len());
            for block in documents {
                let (bytes, payload_bytes) = (block.bytes, block.payload_bytes);
                placed.extend(block.place(written));
                written.stored += bytes;
                written.payload += payload_bytes;
                number += 1;
                if mark == Some(number) {
                    at_mark = written;
                }
            }
            placed
        });
        placed
            .map_ok(|documents| view.place.insert(&view.place.blocks, documents, self.fence))
            .try_buffer_unordered(self.threads.get())
            .try_collect::<()>()
            .await?;
        Ok((written, at_mark))
    }

    /// Moves the end that readers see, if nobody else has.
    async fn move_end(&self, view: &View, head: &Head, former_next: Seq) -> Result<()> {
        let mut filter = self.own_head(view.epoch);
        filter.insert("fence", self.fence);
        filter.insert("next", former_next.0 as i64);
        let change = doc! { "$set": head.frontier(), "$currentDate": { "lease.renewed": true } };
        let moved =
            answer("cannot move the end of the log", view.place.state.update_one(filter, change)).await?;
        if moved.matched_count == 0 {
            return Err(Error::new(Kind::Unavailable, "the head of the log is not as it was left"));
        }
        Ok(())
    }

    /// Whether the last visible block is there: a collection that was dropped would be made anew by an insert, and the
    /// log would have a hole.
    async fn check_former(&self, view: &View, former_blocks: u64) -> Result<()> {
        let Some(last) = former_blocks.checked_sub(1) else { return Ok(()) };
        let found = view.place.blocks.find_one(doc! { "_id": last as i64 }).projection(doc! { "_id": 1 });
        match answer("cannot read the log", found).await? {
            Some(_) => Ok(()),
            None => Err(view.blocks_are_gone()),
        }
    }

    /// Raises the fence, by which nothing that is still under way can change the log; takes over where the log ends
    /// then; and takes away what lies behind.
    async fn settle(&mut self, view: &View) -> Result<()> {
        self.unsettled = true;
        let change = doc! { "$inc": { "fence": 1_i64 }, "$currentDate": { "lease.renewed": true } };
        let filter = self.own_head(view.epoch);
        let Some(head) = Head::change(&view.place, "cannot look where the log ends", filter, change).await?
        else {
            let head = Head::load(&view.place).await?;
            return Err(self.why_lost(view, head));
        };
        if head.tail.next < view.state().head.tail.next {
            return Err(put_back());
        }
        self.fence = head.fence;
        view.place.cut(head.blocks, head.notes).await?;
        let known = view.state().head.notes;
        let notes = view.place.read_notes(known, head.notes).await?;
        let horizon_time_ms = view.horizon_time(&head).await?;
        view.show(head, &notes, horizon_time_ms)?;
        let state = view.state().clone();
        *self = Writer::new(&state.head, &state.knowledge, self.session, self.threads);
        self.unsettled = true;
        view.check_ends().await?;
        self.unsettled = false;
        Ok(())
    }

    fn forget_ahead(&mut self, view: &View) {
        self.ahead = view.state().knowledge.clone();
        for note in &self.pending {
            self.ahead.learn(note).expect("the note was learned before");
        }
    }

    /// Fits the head as long as this writer has the lease.
    fn own_head(&self, epoch: LogEpoch) -> Document {
        doc! {
            "_id": HEAD,
            "epoch": epoch.0.simple().to_string(),
            "lease.session": self.session.to_string(),
        }
    }

    fn why_lost(&self, view: &View, head: Option<Head>) -> Error {
        match head {
            None => gone(&view.place),
            Some(head) if head.epoch != view.epoch => Error::new(
                Kind::Gap,
                format!(
                    "the log in collection {} was dropped and made anew while it was written",
                    view.place.name()
                ),
            )
            .advice("start lode again, and fill the targets anew"),
            Some(Head { lease: Some(lease), .. }) if lease.session != self.session => {
                Error::new(Kind::Fenced, format!("another lode has taken over the log: {}", lease.holder()))
                    .advice("run one lode for a log; stop this one or the other")
            }
            Some(Head { lease: None, .. }) => {
                Error::new(Kind::Fenced, "another lode has taken over the log, and has ended since")
                    .advice("start lode again")
            }
            Some(_) => Error::new(Kind::Unavailable, "the head of the log is not as it was left"),
        }
    }
}

/// Blocks that go into one insert.
#[derive(Default)]
struct Chunk {
    blocks: Vec<(Place, Arc<Block>, Content)>,
    bytes: usize,
}

impl Chunk {
    fn is_full(&self, more: usize) -> bool {
        !self.blocks.is_empty() && (self.bytes + more > CHUNK_BYTES || self.blocks.len() >= CHUNK_BLOCKS)
    }

    fn encode(self, epoch: LogEpoch, schemas: &SchemaBook) -> Result<Vec<Documents>> {
        self.blocks
            .into_iter()
            .map(|(place, block, content)| encode(epoch, place, &block, &content, schemas))
            .collect()
    }
}

/// What broke first is what people need to hear.
fn error_with_advice(error: &Error) -> Error {
    let advice = error.next_step().map(str::to_owned);
    let error = Error::new(Kind::Unavailable, error.to_string());
    advice.into_iter().fold(error, Error::advice)
}
