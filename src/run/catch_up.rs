//! Reads the changes that tables missed while they were paused, beside the main stream, with a reader of its own.
//!
//! What it reads goes into the log in pieces, between two transactions of the main stream. Each piece says how far it
//! brings its tables, and ends with a commit at the place that the main stream has reached: so the mine's checkpoint
//! never goes back, and a crash between any two pieces goes on behind the first.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::backoff::Backoff;
use crate::error::{Error, Kind, Result};
use crate::model::block::{
    Block, BlockBuilder, ChangeEntry, Commit, Entry, Malformed, SchemaBook, parse_schema,
};
use crate::model::coverage::{Coverage, Paused};
use crate::model::position::{Position, Seq};
use crate::model::schema::SchemaNo;
use crate::model::table::TableSet;
use crate::source::{ChangeStream, Progress, Source};

/// A piece is written when it has so many bytes: as many as the main stream's blocks have, so that both have their share.
const PIECE_BYTES: usize = 512 << 10;
/// Smaller pieces are written so often, so that what is done need not be done again.
const PIECE_EVERY: Duration = Duration::from_millis(500);
/// How long one of the two streams may wait for changes while the other one has some.
const TURN: Duration = Duration::from_millis(10);

/// A catch-up of the tables of one pause.
pub(super) struct CatchUp {
    source: Arc<dyn Source>,
    /// Whose changes the log holds.
    identity: String,
    /// The tables, and how far they are in the log.
    paused: Paused,
    /// The schemas of the log there.
    known: SchemaBook,
    reader: Reader,
    /// When to connect again, after a failure.
    again_at: Option<Instant>,
    backoff: Backoff,
}

enum Reader {
    /// Not connected before this time.
    Away(Instant),
    Connecting(Connecting),
    Open(Box<Open>),
}

/// Connects in the background: the main stream does not wait for that.
struct Connecting(JoinHandle<Result<Box<dyn ChangeStream>>>);

struct Open {
    stream: Box<dyn ChangeStream>,
    /// What was read and not handed over.
    builder: BlockBuilder,
    schemas: SchemaBook,
    /// The numbers that these schemas have in the log, where that is known.
    numbers: Vec<Option<SchemaNo>>,
    /// So many of the changes that come next are in the log already.
    skip: u64,
    progress: Progress,
    piece_at: Instant,
}

/// What a turn has brought.
pub(super) struct Turn {
    pub piece: Option<Piece>,
    pub outcome: Outcome,
}

pub(super) enum Outcome {
    GoesOn,
    /// The tables are as far as the main stream.
    Reached,
    /// Trying again does not help.
    Failed(Error),
}

/// Changes that follow in the log.
pub(super) struct Piece {
    block: Block,
    /// The first of the changes that the log does not have yet, and the end of those that it is to get: both count the
    /// changes of the block.
    from: u64,
    to: u64,
}

impl CatchUp {
    /// The catch-up that is to be made first; `None` when nothing is resumed. `identity` is the source's, `known` are the
    /// schemas of the log.
    pub fn next(
        source: &Arc<dyn Source>,
        identity: String,
        coverage: &Coverage,
        known: SchemaBook,
    ) -> Option<CatchUp> {
        let paused = coverage.paused.iter().find(|paused| paused.resuming)?.clone();
        Some(CatchUp {
            source: Arc::clone(source),
            identity,
            paused,
            known,
            reader: Reader::Away(Instant::now()),
            again_at: None,
            backoff: Backoff::default(),
        })
    }

    /// The one that follows when this one has failed.
    pub fn after(self, coverage: &Coverage) -> Option<CatchUp> {
        CatchUp::next(&self.source, self.identity, coverage, self.known)
    }

    /// The tables as they were named.
    pub fn tables(&self) -> &TableSet {
        &self.paused.tables
    }

    /// How far the tables are when the piece that came last is written.
    pub fn paused(&self) -> &Paused {
        &self.paused
    }

    /// How long the main stream may wait for changes while this one waits for its turn.
    pub fn patience_meanwhile(&self) -> Duration {
        match &self.reader {
            Reader::Open(open) if open.progress == Progress::Full => Duration::ZERO,
            Reader::Open(_) | Reader::Connecting(_) => TURN,
            Reader::Away(until) => until.duration_since(Instant::now()).max(TURN),
        }
    }

    /// Reads on for a short while, never beyond `head`, which is where the main stream is.
    pub async fn turn(&mut self, head: &Commit) -> Turn {
        if let Some(again_at) = self.again_at.take() {
            self.reader = Reader::Away(again_at);
        }
        let (piece, outcome) = match self.read(head).await {
            Ok((piece, true)) => (piece, Outcome::Reached),
            Ok((piece, false)) => (piece, Outcome::GoesOn),
            Err((piece, error)) if error.kind().is_retryable() => {
                let wait = self.backoff.failed();
                warn!(
                    tables = %self.paused.tables,
                    wait_ms = wait.as_millis() as u64,
                    advice = error.next_step(),
                    "catching up broke off, trying again: {error}"
                );
                // What was read before is still to be written.
                self.again_at = Some(Instant::now() + wait);
                (piece, Outcome::GoesOn)
            }
            Err((piece, error)) => (piece, Outcome::Failed(error)),
        };
        if piece.is_some() {
            self.backoff.succeeded();
        }
        Turn { piece, outcome }
    }

    /// Writes the changes of a piece.
    ///
    /// # Errors
    /// `Internal` when the piece is not from this catch-up's present reader.
    pub fn write(&mut self, piece: &Piece, out: &mut BlockBuilder) -> Result<()> {
        let Reader::Open(open) = &mut self.reader else { return Err(malformed(Malformed)) };
        let mut at = 0;
        for entry in piece.block.entries() {
            let (_, Entry::Change(change)) = entry.map_err(malformed)? else { continue };
            if (piece.from..piece.to).contains(&at) {
                open.write(&change, out)?;
            }
            at += 1;
        }
        // A reader that has to begin again begins behind this piece.
        self.known.clone_from(out.book());
        Ok(())
    }

    /// Takes leave of the source.
    pub async fn close(self) {
        if let Reader::Open(open) = self.reader {
            open.stream.close().await;
        }
    }

    /// What there is up to `head`, and whether that is all; with an error what there is before it.
    async fn read(&mut self, head: &Commit) -> Result<(Option<Piece>, bool), (Option<Piece>, Error)> {
        if self.paused.within == 0 && self.paused.since.reaches(&head.position) {
            return Ok((None, true));
        }
        self.connect().await.map_err(|error| (None, error))?;
        let Reader::Open(open) = &mut self.reader else { return Ok((None, false)) };
        let filled = open.stream.fill(&mut open.builder, PIECE_BYTES, TURN).await;
        if let Ok(progress) = &filled {
            open.progress = *progress;
        }
        let reached = filled.is_ok() && open.stream.position().reaches(&head.position);
        let is_due = open.builder.len() >= PIECE_BYTES || open.piece_at.elapsed() >= PIECE_EVERY;
        let block = if reached || filled.is_err() || open.progress != Progress::Full || is_due {
            open.piece_at = Instant::now();
            open.builder.seal()
        } else {
            None
        };
        let block = match block {
            None if !reached && filled.is_ok() && open.builder.len() >= PIECE_BYTES => {
                open.builder.seal_part()
            }
            block => block,
        };
        let piece = match block.map(|block| open.cut(block, &mut self.paused, head)).transpose() {
            Ok(piece) => piece.flatten(),
            Err(error) => return Err((None, malformed(error))),
        };
        if reached && open.skip > 0 {
            let what = format!(
                "the source has fewer changes of {} behind {} than the log has already",
                self.paused.tables, self.paused.since
            );
            let advice = "fill the target anew, and resume with the gap accepted";
            return Err((piece, Error::new(Kind::Data, what).advice(advice)));
        }
        match filled {
            Ok(_) => Ok((piece, reached)),
            Err(error) => Err((piece, error)),
        }
    }

    /// Connects when it is time for that, and takes the reader that is there by now.
    async fn connect(&mut self) -> Result<()> {
        match &mut self.reader {
            Reader::Away(until) if *until <= Instant::now() => {
                let (source, identity) = (Arc::clone(&self.source), self.identity.clone());
                let paused = self.paused.clone();
                self.reader = Reader::Connecting(Connecting(tokio::spawn(async move {
                    connect(source.as_ref(), &identity, &paused).await
                })));
            }
            Reader::Connecting(Connecting(task)) if task.is_finished() => {
                let panicked = |panic| Err(Error::new(Kind::Internal, "lode is at fault").caused_by(panic));
                let mut stream = task.await.unwrap_or_else(panicked)?;
                stream.remember(&self.known);
                info!(tables = %self.paused.tables, from = %self.paused.since, "catching up");
                self.reader = Reader::Open(Box::new(Open {
                    stream,
                    builder: BlockBuilder::new(Seq(0), SchemaBook::default()),
                    schemas: SchemaBook::default(),
                    numbers: Vec::new(),
                    skip: self.paused.within,
                    progress: Progress::Full,
                    piece_at: Instant::now(),
                }));
            }
            Reader::Away(_) | Reader::Connecting(_) | Reader::Open(_) => {}
        }
        Ok(())
    }
}

/// Opens a stream of what `paused` misses, when it is still the same server that answers.
pub(super) async fn connect(
    source: &dyn Source,
    identity: &str,
    paused: &Paused,
) -> Result<Box<dyn ChangeStream>> {
    let found = source.identify().await?.id;
    if found != identity {
        // The main stream meets it, too, and says what to do.
        let what = format!("another server answers ({found}) than the one that was mined ({identity})");
        return Err(Error::new(Kind::Unavailable, what));
    }
    source.open(&paused.since, paused.selection()).await
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Open {
    /// What of `block` lies before `head`; moves `paused` behind it. `None` when that changes nothing.
    fn cut(&mut self, block: Block, paused: &mut Paused, head: &Commit) -> Result<Option<Piece>, Malformed> {
        let from = self.skip;
        let (mut changes, mut to, mut moved) = (0_u64, 0, false);
        for entry in block.entries() {
            match entry?.1 {
                Entry::Change(_) => changes += 1,
                Entry::Schema { no, json } => self.schemas.learn(no, parse_schema(json)?)?,
                Entry::Coverage(_) => {}
                Entry::Commit { time_ms, offset, file, gtid } => {
                    let position = Position { gtid: gtid.to_owned(), file: file.to_owned(), offset };
                    if !head.position.reaches(&position) {
                        break;
                    }
                    (to, moved) = (changes, true);
                    (paused.since, paused.since_ms) = (position, time_ms);
                }
            }
        }
        if block.commit.is_none() {
            to = changes;
            paused.within += to.saturating_sub(from);
        } else if moved {
            paused.within = from.saturating_sub(to);
        }
        self.skip = from.saturating_sub(to);
        let is_new = moved || to > from;
        Ok(is_new.then_some(Piece { block, from, to }))
    }

    fn write(&mut self, change: &ChangeEntry<'_>, out: &mut BlockBuilder) -> Result<()> {
        let at = change.schema.0 as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, None);
        }
        let no = match self.numbers[at] {
            Some(no) => no,
            None => {
                let schema = self.schemas.get(change.schema).ok_or_else(|| malformed(Malformed))?;
                *self.numbers[at].insert(out.schema(schema))
            }
        };
        let (before, after) = (change.before.map(copy), change.after.map(copy));
        let Ok(()) = out.change(change.op, no, change.time_ms, before, after);
        Ok(())
    }
}

/// Appends an image as it is.
fn copy(image: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> Result<(), Infallible> {
    |out| {
        out.extend_from_slice(image);
        Ok(())
    }
}

fn malformed(_: Malformed) -> Error {
    Error::new(Kind::Internal, "a block that was just made is malformed")
}
