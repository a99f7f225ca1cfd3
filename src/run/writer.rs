//! Makes blocks durable while the source is being read. Whatever queues up meanwhile goes into one append.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::full_rows::{FullRows, Outgoing};
use super::mine::Mine;
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, Count};

/// Blocks that wait for the store, in bytes. The source is not read while this is full.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// Blocks that wait for the store, in number.
const QUEUE_BLOCKS_MAX: usize = 256;

/// The task that appends to the log of a mine, and the queue to it.
pub(super) struct Writer {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    task: JoinHandle<Result<()>>,
}

struct Queued {
    block: Arc<Block>,
    counts: Vec<Count>,
    /// Gives its share of the queue's bytes back when the block is durable.
    _room: OwnedSemaphorePermit,
}

impl Writer {
    /// Starts the task. Whoever starts it has the turn to write.
    ///
    /// # Errors
    /// `Refused` when rows are to be completed, and the source has no tables to read them from.
    pub fn start(mine: &Arc<Mine>) -> Result<Writer> {
        let full_rows = match mine.full_rows() {
            true => Some(FullRows::new(mine.source().rows()?.ok_or_else(no_tables)?, mine.log().schemas())),
            false => None,
        };
        let (queue, waiting) = mpsc::channel(QUEUE_BLOCKS_MAX);
        let task = tokio::spawn(write(Arc::clone(mine), full_rows, waiting));
        Ok(Writer { queue, room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)), task })
    }

    /// Queues a block with its counts, waiting for room. False when the writing task has ended with an error.
    pub async fn send(&self, block: Block, counts: Vec<Count>) -> bool {
        // A block with one very large row takes all the room there is.
        let bytes = block.payload.len().min(QUEUE_BYTES_MAX) as u32;
        let room =
            Arc::clone(&self.room).acquire_many_owned(bytes).await.expect("the semaphore is never closed");
        self.queue.send(Queued { block: Arc::new(block), counts, _room: room }).await.is_ok()
    }

    /// Whether the writing task has ended with an error.
    pub fn is_over(&self) -> bool {
        self.queue.is_closed()
    }

    /// Whether everything that was queued is durable.
    pub fn is_idle(&self) -> bool {
        self.room.available_permits() == QUEUE_BYTES_MAX
    }

    /// Waits until everything that was queued is durable.
    ///
    /// # Errors
    /// Why the writing task ended early.
    pub async fn finish(self) -> Result<()> {
        drop(self.queue);
        self.task.await.unwrap_or_else(|panic| {
            Err(Error::new(Kind::Internal, "the writer of the log panicked").caused_by(panic))
        })
    }
}

async fn write(
    mine: Arc<Mine>,
    mut full_rows: Option<FullRows>,
    mut waiting: mpsc::Receiver<Queued>,
) -> Result<()> {
    let mut queued = Vec::new();
    while waiting.recv_many(&mut queued, QUEUE_BLOCKS_MAX).await > 0 {
        let mut out = Outgoing::to(&mine);
        for queued in &mut queued {
            let (block, counts) = (Arc::clone(&queued.block), std::mem::take(&mut queued.counts));
            match &mut full_rows {
                None => out.push(block, counts).await?,
                Some(full_rows) => full_rows.complete(block, counts, &mut out).await?,
            }
        }
        out.flush().await?;
        queued.clear();
    }
    Ok(())
}

fn no_tables() -> Error {
    Error::new(Kind::Refused, "the source has no tables from which rows could be completed")
        .advice("leave full_rows out, and let the server write whole rows: binlog_row_image = FULL")
}
