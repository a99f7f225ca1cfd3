//! What lies in the log of a server, followed entry by entry and held against the server's history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lode::model::block::{Block, ChangeEntry, Entry, SchemaBook, parse_coverage, parse_schema};
use lode::model::coverage::Coverage;
use lode::model::position::Seq;

use super::history::{Cell, Change, Server, cells, schema};

/// Everything known of one log up to what readers may see.
#[derive(Default)]
pub struct Book {
    /// Behind each commit: how many of the server's transactions lie before it.
    commits: BTreeMap<Seq, u64>,
    /// From which transaction on the log has a table.
    covered_from: BTreeMap<&'static str, u64>,
    coverage: Coverage,
    schemas: SchemaBook,
    /// How many changes it was given, by table.
    pub given: BTreeMap<String, u64>,
    /// The end of what readers may see.
    pub next: Seq,
    /// The oldest entry that is kept.
    pub horizon: Seq,
    /// Parts of a transaction that is not complete.
    behind: Vec<Arc<Block>>,
    /// The server's transaction that comes next, and what of it is still to come.
    at: Option<u64>,
    rest: VecDeque<Change>,
}

impl Book {
    /// How many of the server's transactions lie before `next`; `None` when that is no place between two transactions,
    /// and at the begin of an empty log.
    pub fn transactions_before(&self, next: Seq) -> Option<u64> {
        match next {
            Seq(0) => self.commits.values().next().copied(),
            next => self.commits.get(&next).copied(),
        }
    }

    /// Whether the log has what transaction `at` did to `table`.
    pub fn covers(&self, table: &str, at: u64) -> bool {
        self.covered_from.get(table).is_some_and(|from| *from <= at)
    }

    /// Learns of blocks that became durable.
    ///
    /// # Errors
    /// What in them is not what happened at the server.
    pub fn learn(&mut self, server: &Server, blocks: &[Arc<Block>]) -> Result<(), String> {
        for block in blocks {
            if block.first == self.next {
                self.behind.clear();
            }
            self.behind.push(Arc::clone(block));
            if block.commit.is_some() {
                for block in std::mem::take(&mut self.behind) {
                    self.read(server, &block)?;
                }
            }
        }
        Ok(())
    }

    /// Learns that the log was opened again: what was not complete is gone.
    pub fn reopened(&mut self) {
        self.behind.clear();
    }

    fn read(&mut self, server: &Server, block: &Block) -> Result<(), String> {
        for entry in block.entries() {
            let (seq, entry) = entry.map_err(|_| format!("block {} is malformed", block.first))?;
            if seq != self.next {
                return Err(format!("entry {seq} lies where {} was to come", self.next));
            }
            match entry {
                Entry::Schema { no, json } => {
                    let schema = parse_schema(json).map_err(|_| format!("schema {seq} is malformed"))?;
                    self.schemas.learn(no, schema).map_err(|_| format!("schema {seq} does not follow"))?;
                }
                Entry::Coverage(json) => {
                    let coverage =
                        parse_coverage(json).map_err(|_| format!("coverage {seq} is malformed"))?;
                    self.cover(server, coverage)?;
                }
                Entry::Change(change) => {
                    self.change(server, &change).map_err(|what| format!("entry {seq}: {what}"))?;
                    let name = self.schemas.get(change.schema).map(|schema| schema.name.to_string());
                    *self.given.entry(name.unwrap_or_default()).or_default() += 1;
                }
                Entry::Commit { offset, .. } => {
                    self.commit(server, offset).map_err(|what| format!("entry {seq}: {what}"))?;
                    self.commits.insert(seq.plus(1), offset);
                }
            }
            self.next = seq.plus(1);
        }
        Ok(())
    }

    fn cover(&mut self, server: &Server, coverage: Coverage) -> Result<(), String> {
        for table in server.tables() {
            let covers = |coverage: &Coverage| coverage.tables.contains(server.name, table);
            let (was, is) = (covers(&self.coverage), covers(&coverage));
            if was && !is {
                return Err(format!("table {table} is covered no longer"));
            }
            if is && !was {
                // Before the first commit it is not known where the log begins; that sets it right.
                self.covered_from.insert(table, self.at.unwrap_or(0));
            }
        }
        self.coverage = coverage;
        Ok(())
    }

    fn change(&mut self, server: &Server, entry: &ChangeEntry<'_>) -> Result<(), String> {
        while self.rest.is_empty() {
            let at = self.at.as_mut().ok_or("a change comes before the log's first position")?;
            let transaction = server
                .transaction(*at)
                .ok_or("it is a change that never happened: the server has no more transactions")?;
            *at += 1;
            let coverage = &self.coverage;
            let covered = |change: &&Change| coverage.tables.contains(server.name, change.table);
            self.rest = transaction.changes.iter().filter(covered).cloned().collect();
        }
        let expected = self.rest.pop_front().expect("the loop saw to it");
        let actual_schema = self.schemas.get(entry.schema).ok_or("its schema is unknown")?;
        let same_schema = **actual_schema == schema(server.name, expected.table, expected.version);
        let row = |row: &super::history::Row| -> Vec<Cell> {
            cells(row, expected.version).into_iter().map(|(_, cell)| cell).collect()
        };
        let before: Option<Vec<_>> =
            entry.before_view(actual_schema).map(|view| view.values().map(Cell::of).collect());
        let after: Option<Vec<_>> =
            entry.after_view(actual_schema).map(|view| view.values().map(Cell::of).collect());
        if !same_schema
            || entry.op != expected.op
            || before != expected.before.as_ref().map(row)
            || after != expected.after.as_ref().map(row)
        {
            return Err(format!(
                "{} of {}, {before:?} to {after:?}, comes where {expected:?} happened",
                entry.op.as_str(),
                actual_schema.name
            ));
        }
        Ok(())
    }

    /// A commit behind the server's transaction `offset`, from 1.
    fn commit(&mut self, server: &Server, offset: u64) -> Result<(), String> {
        if let Some(left_out) = self.rest.front() {
            return Err(format!("the transaction ends without {left_out:?}"));
        }
        if self.at.is_none() {
            self.covered_from.values_mut().for_each(|from| *from = offset);
        }
        let at = self.at.unwrap_or(offset);
        if offset < at {
            return Err(format!("a commit behind transaction {offset} comes after one behind {at}"));
        }
        for between in at..offset {
            let transaction = server.transaction(between).ok_or("it is a transaction that never happened")?;
            let covered = |change: &&Change| self.coverage.tables.contains(server.name, change.table);
            if let Some(left_out) = transaction.changes.iter().find(covered) {
                return Err(format!("the log leaves out {left_out:?} of transaction {}", between + 1));
            }
        }
        self.at = Some(offset);
        Ok(())
    }
}
