//! The newest blocks of a log in memory, shared by all pipelines that keep up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::model::block::Block;
use crate::model::position::Seq;
use crate::store::Tail;

/// Largest number of bytes kept for readers; those that lag further read the store.
pub const RECENT_BYTES_MAX: usize = 16 << 20;

/// Holds recent blocks and wakes readers when the log's tail moves.
///
/// It has one writer, the mine, which publishes blocks only after they are durable. Readers take what they
/// need by number, at their own pace: the hub keeps no queue for anyone, so a slow reader costs nothing.
#[derive(Debug)]
pub struct Hub {
    recent: Mutex<Recent>,
    tail: watch::Sender<Tail>,
}

#[derive(Debug, Default)]
struct Recent {
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
}

impl Hub {
    /// A hub of a log that ends at `tail`.
    pub fn new(tail: Tail) -> Self {
        Hub { recent: Mutex::default(), tail: watch::Sender::new(tail) }
    }

    /// Adds blocks that are durable, in order, and makes everything before `tail` visible.
    pub fn publish(&self, blocks: &[Arc<Block>], tail: Tail) {
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            for block in blocks {
                recent.push(block);
            }
        }
        self.tail.send_if_modified(|visible| {
            let moved = *visible != tail;
            *visible = tail;
            moved
        });
    }

    /// Begins again at `tail`, where the log ends. Blocks behind the tail known so far are forgotten: the
    /// transaction that they began is read again. The log may have gone on further than its writer was told.
    pub fn rewind(&self, tail: Tail) {
        let visible = self.tail.borrow().next;
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(last) = recent.blocks.pop_back_if(|block| block.end() > visible) {
                recent.bytes -= weight(&last);
            }
        }
        self.publish(&[], tail);
    }

    /// The block that contains `seq`, when it is still in memory.
    pub fn get(&self, seq: Seq) -> Option<Arc<Block>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let after = recent.blocks.partition_point(|block| block.first <= seq);
        let block = recent.blocks.get(after.checked_sub(1)?)?;
        (seq < block.end()).then(|| Arc::clone(block))
    }

    /// Follows the tail of the log.
    pub fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }
}

impl Recent {
    fn push(&mut self, block: &Arc<Block>) {
        // A hole can only come from a restart of the mine; what lies before it is of no use for going on.
        if self.blocks.back().is_some_and(|last| last.end() != block.first) {
            self.blocks.clear();
            self.bytes = 0;
        }
        self.bytes += weight(block);
        self.blocks.push_back(Arc::clone(block));
        while self.bytes > RECENT_BYTES_MAX {
            let dropped = self.blocks.pop_front().map_or(0, |block| weight(&block));
            self.bytes -= dropped;
        }
    }
}

/// What a block takes in memory. A block of one small row is mostly its own description.
fn weight(block: &Block) -> usize {
    let texts =
        block.commit.as_ref().map_or(0, |commit| commit.position.gtid.len() + commit.position.file.len());
    size_of::<Block>() + texts + block.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn block(first: u64, count: u32, bytes: usize) -> Arc<Block> {
        Arc::new(Block {
            first: Seq(first),
            count,
            changes: count,
            first_time_ms: 0,
            commit: None,
            payload: Bytes::from(vec![0; bytes]),
        })
    }

    fn tail(next: u64) -> Tail {
        Tail { next: Seq(next), commit: None }
    }

    #[test]
    fn finds_blocks_by_any_of_their_numbers() {
        let hub = Hub::new(tail(10));
        hub.publish(&[block(10, 5, 1), block(15, 1, 1)], tail(16));
        assert!(hub.get(Seq(9)).is_none());
        assert_eq!(hub.get(Seq(10)).unwrap().first, Seq(10));
        assert_eq!(hub.get(Seq(14)).unwrap().first, Seq(10));
        assert_eq!(hub.get(Seq(15)).unwrap().first, Seq(15));
        assert!(hub.get(Seq(16)).is_none());
    }

    #[test]
    fn keeps_no_more_than_its_limit() {
        let hub = Hub::new(tail(0));
        let blocks: Vec<_> = (0..40).map(|at| block(at, 1, 1 << 20)).collect();
        hub.publish(&blocks, tail(40));
        assert!(hub.get(Seq(24)).is_none());
        assert!(hub.get(Seq(25)).is_some());
        assert!(hub.get(Seq(39)).is_some());
    }

    #[test]
    fn a_rewind_forgets_an_unfinished_transaction() {
        let hub = Hub::new(tail(0));
        hub.publish(&[block(0, 2, 1)], tail(2));
        hub.publish(&[block(2, 3, 1)], tail(2));
        hub.rewind(tail(2));
        assert!(hub.get(Seq(1)).is_some());
        assert!(hub.get(Seq(2)).is_none());
        hub.publish(&[block(2, 4, 1)], tail(6));
        assert_eq!(hub.get(Seq(5)).unwrap().count, 4);
    }

    #[test]
    fn a_rewind_shows_what_the_log_has_and_its_writer_was_not_told() {
        let hub = Hub::new(tail(0));
        let mut seen = hub.tail();
        seen.mark_unchanged();
        hub.publish(&[block(0, 2, 1)], tail(2));
        hub.publish(&[block(2, 3, 1)], tail(2));
        hub.rewind(tail(9));
        assert!(seen.has_changed().unwrap());
        assert_eq!(seen.borrow().next, Seq(9));
        assert!(hub.get(Seq(2)).is_none(), "what follows 2 is read from the log");
    }

    #[test]
    fn many_small_blocks_count_with_what_they_weigh() {
        let hub = Hub::new(tail(0));
        let count = RECENT_BYTES_MAX as u64 / 64;
        for at in 0..count {
            hub.publish(&[block(at, 1, 1)], tail(at + 1));
        }
        let held = hub.recent.lock().unwrap().blocks.len();
        assert!(held * size_of::<Block>() <= RECENT_BYTES_MAX, "{held} blocks");
    }
}
