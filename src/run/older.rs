//! The older blocks of a log, for pipelines that lag: read from the store once for all that are about equally far.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::model::block::Block;
use crate::model::position::Seq;
use crate::store::LogReader;

/// Largest number of payload bytes that one read brings.
const READ_BYTES: usize = 2 << 20;
/// Largest number of payload bytes kept for pipelines that come to the same place soon.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Reads that may run at the same time.
const LANES: usize = 4;
/// Pipelines that are less than about so many entries apart wait for each other's reads.
const NEAR: u64 = 8192;

/// So many turns a pipeline gives to others before it reads on ahead of them.
const TURNS: usize = 8;

/// Reads the store of one log. Pipelines that start together would all read the same blocks, and each would pay for
/// decompressing them.
#[derive(Debug, Default)]
pub struct Older {
    kept: Mutex<Kept>,
    lanes: [tokio::sync::Mutex<()>; LANES],
    /// Where the last read began.
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    blocks: BTreeMap<Seq, Arc<Block>>,
    /// Their first numbers in the order in which they were read.
    order: VecDeque<Seq>,
    bytes: usize,
}

impl Older {
    /// Blocks of `log` in order, the first being the one that contains `from`.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub async fn read(&self, log: &dyn LogReader, from: Seq) -> Result<Vec<Arc<Block>>> {
        let blocks = self.kept(from);
        if !blocks.is_empty() {
            return Ok(blocks);
        }
        // Whoever is behind goes first, finds in memory what was read before, and comes closer. Otherwise pipelines would
        // drift apart until each reads alone.
        for _ in 0..TURNS {
            if from.0 < self.last.load(Ordering::Relaxed) {
                break;
            }
            tokio::task::yield_now().await;
            let blocks = self.kept(from);
            if !blocks.is_empty() {
                return Ok(blocks);
            }
        }
        let _reading = self.lanes[(from.0 / NEAR) as usize % LANES].lock().await;
        let blocks = self.kept(from);
        if !blocks.is_empty() {
            return Ok(blocks);
        }
        self.last.store(from.0, Ordering::Relaxed);
        let blocks = log.read(from, READ_BYTES).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for block in &blocks {
            kept.push(block);
        }
        Ok(blocks)
    }

    fn kept(&self, from: Seq) -> Vec<Arc<Block>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).run(from)
    }
}

impl Kept {
    /// The block that contains `from`, and those that follow it without a hole.
    fn run(&self, from: Seq) -> Vec<Arc<Block>> {
        let (mut next, mut bytes) = (from, 0);
        let Some((first, _)) = self.blocks.range(..=from).next_back() else { return Vec::new() };
        let fits = |block: &&Arc<Block>| {
            let fits = block.first <= next && next < block.end() && bytes < READ_BYTES;
            (next, bytes) = (block.end(), bytes + block.payload.len());
            fits
        };
        self.blocks.range(first..).map(|(_, block)| block).take_while(fits).cloned().collect()
    }

    fn push(&mut self, block: &Arc<Block>) {
        if self.blocks.insert(block.first, Arc::clone(block)).is_some() {
            return;
        }
        self.order.push_back(block.first);
        self.bytes += block.payload.len();
        while self.bytes > KEPT_BYTES_MAX {
            let oldest = self.order.pop_front().and_then(|first| self.blocks.remove(&first));
            self.bytes -= oldest.map_or(0, |block| block.payload.len());
        }
    }
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

    fn firsts(kept: &Kept, from: u64) -> Vec<u64> {
        kept.run(Seq(from)).iter().map(|block| block.first.0).collect()
    }

    #[test]
    fn gives_blocks_up_to_the_first_hole() {
        let mut kept = Kept::default();
        for block in [block(10, 5, 1), block(15, 5, 1), block(30, 5, 1)] {
            kept.push(&block);
        }
        assert!(firsts(&kept, 9).is_empty());
        assert_eq!(firsts(&kept, 12), [10, 15]);
        assert_eq!(firsts(&kept, 19), [15]);
        assert!(firsts(&kept, 20).is_empty());
        assert_eq!(firsts(&kept, 30), [30]);
    }

    #[test]
    fn gives_and_keeps_no_more_than_its_limits() {
        let mut kept = Kept::default();
        for at in 0..20 {
            kept.push(&block(at, 1, 1 << 20));
            kept.push(&block(at, 1, 1 << 20));
        }
        assert_eq!((kept.blocks.len(), kept.order.len(), kept.bytes), (8, 8, 8 << 20));
        assert!(firsts(&kept, 11).is_empty());
        assert_eq!(firsts(&kept, 12), [12, 13]);
    }
}
