//! What lies in the log of a server, followed entry by entry and held against the server's history.
//!
//! Tables that are paused come later than others, so what is held is the order of each table: what was paused comes in
//! pieces, each of which says how far it brings its tables, and these are where the others are when they join them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lode::model::block::{Block, ChangeEntry, Entry, SchemaBook, parse_coverage, parse_schema};
use lode::model::coverage::{Coverage, Paused};
use lode::model::position::Seq;

use super::history::{Cell, Change, Server, cells, schema};

/// Everything known of one log up to what readers may see.
#[derive(Default)]
pub struct Book {
    /// Behind each commit: how many of the server's transactions its position has behind it.
    commits: BTreeMap<Seq, u64>,
    /// All changes in the order of the log.
    changes: Vec<(Seq, Change)>,
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
    /// The server's transaction that comes next in the main stream, and what of it is still to come.
    at: Option<u64>,
    rest: VecDeque<Change>,
    /// What is still to come of a piece that catches up.
    piece: Option<VecDeque<Change>>,
    /// How often something came that is worth a line in the trace.
    pub seen: Seen,
}

/// What has happened to paused tables so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub pauses: u64,
    pub pieces: u64,
    /// Pieces that end within a transaction.
    pub within: u64,
    pub changes: u64,
    pub joined: u64,
    pub gaps: u64,
    pub put_back: u64,
}

impl Book {
    /// How many of the server's transactions a cursor at `next` says to have behind it; `None` when that is no place
    /// behind a commit, and at the begin of an empty log.
    pub fn transactions_before(&self, next: Seq) -> Option<u64> {
        match next {
            Seq(0) => self.commits.values().next().copied(),
            next => self.commits.get(&next).copied(),
        }
    }

    /// The first change at or behind an entry.
    pub fn change_from(&self, seq: Seq) -> Option<(Seq, &Change)> {
        let at = self.changes.partition_point(|(known, _)| *known < seq);
        self.changes.get(at).map(|(seq, change)| (*seq, change))
    }

    /// Whether the log has what transaction `at` did to `table`, or will have it.
    pub fn covers(&self, table: &str, at: u64) -> bool {
        self.covered_from.get(table).is_some_and(|from| *from <= at)
    }

    /// What is paused.
    pub fn paused(&self) -> &[Paused] {
        &self.coverage.paused
    }

    /// Whether the log has all that has happened to these tables since it covers them.
    pub fn has_everything(&self, server: &Server, tables: &[&str]) -> bool {
        let count = server.count();
        let Some(at) = self.at else { return count == 0 };
        tables.iter().all(|table| {
            let paused = self.paused().iter().find(|paused| paused.contains(server.name, table));
            let (from, skip) = paused.map_or((at, 0), |paused| (paused.since.offset, paused.within));
            // What `within` counts may be of other tables: then this is too strict, but not for ever.
            let missing = changes(server, from, count, |change| change.table == *table);
            missing.is_ok_and(|missing| missing.is_empty()) && skip == 0
        })
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
                    self.cover(server, coverage).map_err(|what| format!("coverage {seq}: {what}"))?;
                }
                Entry::Change(change) => {
                    let change =
                        self.change(server, &change).map_err(|what| format!("entry {seq}: {what}"))?;
                    *self.given.entry(format!("{}.{}", server.name, change.table)).or_default() += 1;
                    self.changes.push((seq, change));
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
        if let Some(left_out) = self.rest.front().or(self.piece.as_ref().and_then(VecDeque::front)) {
            return Err(format!("it comes before {left_out:?}"));
        }
        if coverage.is_catch_up() {
            let piece = self.piece_to(server, &coverage)?;
            self.seen.pieces += 1;
            self.seen.changes += piece.len() as u64;
            self.seen.within += u64::from(coverage.paused.iter().any(|paused| paused.within > 0));
            self.piece = Some(piece);
        } else {
            self.check_tables(server, &coverage)?;
            self.check_pauses(server, &coverage)?;
            self.count(&coverage);
        }
        self.coverage = coverage;
        Ok(())
    }

    fn count(&mut self, coverage: &Coverage) {
        for old in &self.coverage.paused {
            match coverage.paused.iter().find(|new| new.tables == old.tables) {
                None => self.seen.joined += 1,
                Some(new) => self.seen.put_back += u64::from(old.resuming && !new.resuming),
            }
        }
        let is_new = |new: &&Paused| self.coverage.paused.iter().all(|old| old.tables != new.tables);
        self.seen.pauses += coverage.paused.iter().filter(is_new).count() as u64;
        self.seen.gaps += (coverage.gaps.len() - self.coverage.gaps.len()) as u64;
    }

    fn check_tables(&mut self, server: &Server, coverage: &Coverage) -> Result<(), String> {
        for table in server.tables() {
            let covers = |coverage: &Coverage| coverage.tables.contains(server.name, table);
            let (was, is) = (covers(&self.coverage), covers(coverage));
            if was && !is {
                return Err(format!("table {table} is covered no longer"));
            }
            if is && !was {
                // Before the first commit it is not known where the log begins; that sets it right.
                self.covered_from.insert(table, self.at.unwrap_or(0));
            }
        }
        Ok(())
    }

    fn check_pauses(&self, server: &Server, coverage: &Coverage) -> Result<(), String> {
        for old in &self.coverage.paused {
            let new = coverage.paused.iter().find(|new| new.tables == old.tables);
            match new {
                // They join the others.
                None => {
                    let missing = self.missing(server, old, self.at.unwrap_or(0), 0)?;
                    if let Some(left_out) = missing.front() {
                        return Err(format!("{} is resumed without {left_out:?}", old.tables));
                    }
                }
                Some(new) if (new.since.offset, new.within) == (old.since.offset, old.within) => {}
                Some(new) => {
                    let is_gap = |gap: &&lode::model::coverage::Gap| {
                        gap.tables.as_ref() == Some(&new.tables)
                            && gap.from == old.since
                            && gap.to == new.since
                    };
                    let gaps = &coverage.gaps[self.coverage.gaps.len()..];
                    if !gaps.iter().any(|gap| is_gap(&gap))
                        || Some(new.since.offset) > self.at
                        || new.within > 0
                    {
                        return Err(format!("{} goes from {} to {}", new.tables, old.since, new.since));
                    }
                }
            }
        }
        for new in &coverage.paused {
            let is_known = self.coverage.paused.iter().any(|old| old.tables == new.tables);
            if !is_known && (Some(new.since.offset), new.within) != (self.at, 0) {
                return Err(format!(
                    "{} is paused at {}, and the log is at {:?}",
                    new.tables, new.since, self.at
                ));
            }
        }
        Ok(())
    }

    /// The changes of a piece, which brings one pause from where it was to where `coverage` says.
    fn piece_to(&self, server: &Server, coverage: &Coverage) -> Result<VecDeque<Change>, String> {
        let at = self.at.ok_or("tables catch up before the log's first position")?;
        if (&coverage.tables, &coverage.gaps) != (&self.coverage.tables, &self.coverage.gaps)
            || coverage.paused.len() != self.coverage.paused.len()
        {
            return Err("a piece changes more than how far its tables are".into());
        }
        let mut pairs = self.coverage.paused.iter().zip(&coverage.paused).filter(|(old, new)| old != new);
        let (old, new) = pairs.next().ok_or("a piece brings nothing")?;
        if pairs.next().is_some() || !new.resuming || old.tables != new.tables {
            return Err("a piece changes more than one pause".into());
        }
        if new.since.offset > at || new.since.offset < old.since.offset {
            return Err(format!(
                "{} goes from {} to {}, and the log is at {at}",
                old.tables, old.since, new.since
            ));
        }
        self.missing(server, old, new.since.offset, new.within)
    }

    /// What the log needs to get of paused tables so that it has all before transaction `to`, and `more` changes.
    fn missing(
        &self,
        server: &Server,
        paused: &Paused,
        to: u64,
        more: u64,
    ) -> Result<VecDeque<Change>, String> {
        let wanted = |change: &Change| paused.contains(server.name, change.table);
        let mut missing = changes(server, paused.since.offset, to, wanted)?;
        let rest = changes(server, to, self.at.unwrap_or(0), wanted)?;
        if (rest.len() as u64) < more {
            return Err(format!("{} is ahead of the log", paused.tables));
        }
        missing.extend(rest.into_iter().take(more as usize));
        if (missing.len() as u64) < paused.within {
            return Err(format!("{} loses what it had", paused.tables));
        }
        Ok(missing.split_off(paused.within as usize))
    }

    fn change(&mut self, server: &Server, entry: &ChangeEntry<'_>) -> Result<Change, String> {
        let expected = match &mut self.piece {
            Some(piece) => piece.pop_front().ok_or("the piece has a change too many")?,
            None => self.next_of_main(server)?,
        };
        self.compare(server, entry, &expected)?;
        Ok(expected)
    }

    fn next_of_main(&mut self, server: &Server) -> Result<Change, String> {
        while self.rest.is_empty() {
            let at = self.at.as_mut().ok_or("a change comes before the log's first position")?;
            let transaction = server
                .transaction(*at)
                .ok_or("it is a change that never happened: the server has no more transactions")?;
            *at += 1;
            let coverage = &self.coverage;
            let mined = |change: &&Change| is_mined(coverage, server, change);
            self.rest = transaction.changes.iter().filter(mined).cloned().collect();
        }
        Ok(self.rest.pop_front().expect("the loop saw to it"))
    }

    fn compare(&self, server: &Server, entry: &ChangeEntry<'_>, expected: &Change) -> Result<(), String> {
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
        let piece = self.piece.take();
        if let Some(left_out) = self.rest.front().or(piece.as_ref().and_then(VecDeque::front)) {
            return Err(format!("the transaction ends without {left_out:?}"));
        }
        if piece.is_some() && self.at != Some(offset) {
            return Err(format!("a piece moves the log from {:?} to {offset}", self.at));
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
            let mined = |change: &&Change| is_mined(&self.coverage, server, change);
            if let Some(left_out) = transaction.changes.iter().find(mined) {
                return Err(format!("the log leaves out {left_out:?} of transaction {}", between + 1));
            }
        }
        self.at = Some(offset);
        Ok(())
    }
}

/// Whether the main stream reads a change: said here once more, as what lode makes of a note may be wrong.
fn is_mined(coverage: &Coverage, server: &Server, change: &Change) -> bool {
    let covered = coverage.tables.sets().iter().any(|set| set.contains(server.name, change.table));
    let is_in = |paused: &Paused| {
        let was_mined = paused.of.sets().iter().any(|set| set.contains(server.name, change.table));
        was_mined && paused.tables.contains(server.name, change.table)
    };
    covered && !coverage.paused.iter().any(is_in)
}

/// The changes that `wanted` accepts of the server's transactions from `from` to the one before `to`.
fn changes(
    server: &Server,
    from: u64,
    to: u64,
    wanted: impl Fn(&Change) -> bool,
) -> Result<VecDeque<Change>, String> {
    let mut found = VecDeque::new();
    for at in from..to {
        let transaction = server.transaction(at).ok_or("it is a transaction that never happened")?;
        found.extend(transaction.changes.iter().filter(|change| wanted(change)).cloned());
    }
    Ok(found)
}
