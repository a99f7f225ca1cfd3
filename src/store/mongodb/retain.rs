//! Drops the oldest blocks: first the head says that the log begins later, then they go. What is dropped is found by
//! a few look-ups; deleting is by ranges of block numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{DateTime, Document, doc};
use uuid::Uuid;

use super::document::{Written, part_id};
use super::head::{HEAD, Head, Horizon};
use super::view::View;
use crate::client::mongodb::answer;
use crate::error::{Error, Kind, Result};
use crate::model::position::Seq;
use crate::store::{Retained, Retention};

/// So many blocks go with one command.
const DROP_BLOCKS: usize = 500;

/// A block as a place where the log may begin.
#[derive(Clone, Copy, Debug)]
struct Edge {
    number: u64,
    first: Seq,
    /// Where the transaction begins that is open at the block's begin.
    transaction: Seq,
    before: Written,
    first_time_ms: i64,
}

impl View {
    /// See [`Log::retain`](crate::store::Log::retain).
    pub async fn retain(&self, policy: &Retention, hold: Option<Seq>, session: Uuid) -> Result<Retained> {
        let head = self.state().head.clone();
        let horizon = head.horizon;
        let nothing = Retained { horizon: horizon.first, dropped_bytes: 0, held: false };
        // Readers begin at the horizon, so a transaction begins there. The last commit stays: it is the checkpoint.
        let Some(last) = head.blocks.checked_sub(1) else { return Ok(nothing) };
        let last = self.begin(self.edge(last).await?).await?;
        let due = self.due(policy, &head, last).await?;
        let mut cut = due;
        if let Some(hold) = hold.filter(|hold| *hold < due.first) {
            cut = self.begin(self.edge_with(hold).await?).await?;
        }
        let held = cut.number < due.number;
        if cut.number <= horizon.block {
            return Ok(Retained { held, ..nothing });
        }
        let begin = Horizon { block: cut.number, first: cut.first, before: cut.before };
        let filter = doc! {
            "_id": HEAD,
            "epoch": head.epoch.0.simple().to_string(),
            "lease.session": session.to_string(),
            "horizon.block": horizon.block as i64,
        };
        let change = doc! { "$set": { "horizon": begin.document() } };
        if Head::change(&self.place, "cannot move the beginning of the log", filter, change).await?.is_none()
        {
            return Err(Error::new(Kind::Unavailable, "the head of the log is not as it was left"));
        }
        self.show_horizon(begin, Some(cut.first_time_ms));
        self.drop_blocks(horizon.block, begin.block).await?;
        let dropped_bytes = begin.before.stored.saturating_sub(horizon.before.stored);
        Ok(Retained { horizon: begin.first, dropped_bytes, held })
    }

    /// Deletes what an earlier process did not come to delete.
    pub async fn finish_dropping(&self) -> Result<()> {
        let horizon = self.state().head.horizon.block;
        loop {
            let below = doc! { "_id": { "$gte": 0_i64, "$lt": horizon as i64 } };
            let oldest = self.place.blocks.find_one(below).sort(doc! { "_id": 1 });
            let oldest =
                answer("cannot drop old blocks of the log", oldest.projection(doc! { "_id": 1 })).await?;
            let Some(oldest) = oldest.and_then(|document| document.get_i64("_id").ok()) else {
                return Ok(());
            };
            let oldest = oldest as u64;
            self.drop_blocks(oldest, horizon.min(oldest + DROP_BLOCKS as u64)).await?;
        }
    }

    /// Deletes the blocks from number `from` up to `to`.
    async fn drop_blocks(&self, from: u64, to: u64) -> Result<()> {
        let doing = "cannot drop old blocks of the log";
        let blocks = &self.place.blocks;
        let parts = doc! { "_id": { "$gte": part_id(0, 0), "$lt": part_id(to, 0) } };
        answer(doing, blocks.delete_many(parts)).await?;
        for from in (from..to).step_by(DROP_BLOCKS) {
            let to = to.min(from + DROP_BLOCKS as u64);
            let some = doc! { "_id": { "$gte": from as i64, "$lt": to as i64 } };
            answer(doing, blocks.delete_many(some)).await?;
        }
        Ok(())
    }

    /// Where the log would begin if `policy` alone decided.
    async fn due(&self, policy: &Retention, head: &Head, last: Edge) -> Result<Edge> {
        let mut due = self.edge(head.horizon.block).await?;
        if let Some(age) = policy.age {
            let oldest_ms = now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            let mut young = self.visible();
            young.insert("time", doc! { "$gte": DateTime::from_millis(oldest_ms) });
            let first = match self.find_edge(young, doc! { "time": 1, "_id": 1 }).await? {
                Some(edge) => self.begin(edge).await?,
                None => last,
            };
            if first.number > due.number {
                due = first;
            }
        }
        if let Some(size) = policy.size {
            let kept = |edge: &Edge| head.written.stored.saturating_sub(edge.before.stored);
            let (mut low, mut high) = (due, last);
            // The first block from which on all is small enough lies behind `low` and not behind `high`.
            if kept(&low) > size {
                while high.number - low.number > 1 && kept(&high) <= size {
                    let middle = self.edge(low.number + (high.number - low.number) / 2).await?;
                    if kept(&middle) > size {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                let first = self.begin(high).await?;
                if first.number > due.number {
                    due = first;
                }
            }
        }
        if due.number > last.number {
            due = last;
        }
        Ok(due)
    }

    /// The block in which the transaction begins that is open at the begin of `edge`.
    async fn begin(&self, edge: Edge) -> Result<Edge> {
        if edge.first == edge.transaction { Ok(edge) } else { self.edge_with(edge.transaction).await }
    }

    async fn edge(&self, number: u64) -> Result<Edge> {
        let found = self.find_edge(doc! { "_id": number as i64 }, doc! { "_id": 1 }).await?;
        found.ok_or_else(|| self.blocks_are_gone())
    }

    /// The block that contains an entry.
    async fn edge_with(&self, seq: Seq) -> Result<Edge> {
        let mut filter = self.visible();
        filter.insert("last", doc! { "$gte": seq.0 as i64 });
        let found = self.find_edge(filter, doc! { "last": 1 }).await?;
        found.ok_or_else(|| self.blocks_are_gone())
    }

    async fn find_edge(&self, filter: Document, sort: Document) -> Result<Option<Edge>> {
        let fields = doc! {
            "_id": 1, "first": 1, "transaction": 1, "written_before": 1, "payload_before": 1, "first_time": 1,
        };
        let find = self.place.blocks.find_one(filter).sort(sort).projection(fields);
        let found = answer("cannot look through the log", find).await?;
        found.map(|document| read_edge(&document).map_err(|_| self.blocks_are_gone())).transpose()
    }
}

fn read_edge(document: &RawDocumentBuf) -> Result<Edge, mongodb::bson::error::Error> {
    let long = |key| document.get_i64(key).map(|value| value as u64);
    Ok(Edge {
        number: long("_id")?,
        first: Seq(long("first")?),
        transaction: Seq(long("transaction")?),
        before: Written { stored: long("written_before")?, payload: long("payload_before")? },
        first_time_ms: document.get_datetime("first_time")?.timestamp_millis(),
    })
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
