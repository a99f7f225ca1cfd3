//! Reads a log from end to end and checks that it is whole, whatever store keeps it.

use std::sync::Arc;

use super::content::{Knowledge, examine};
use super::{LogReader, Tail};
use crate::error::{Error, Kind, Result};
use crate::model::block::{Block, ChangeEntry, Commit, Entry, SchemaBook};
use crate::model::coverage::Coverage;
use crate::model::position::{Position, Seq};

/// Bytes of payload that are read at a time.
const READ_BYTES: usize = 4 << 20;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The oldest entry that was there at first.
    pub begin: Seq,
    /// The log's end when the check began; what came later was not looked at.
    pub end: Seq,
    /// Everything from `begin` to the entry before this one is whole.
    pub whole_to: Seq,
    /// How many blocks are whole.
    pub blocks: u64,
    /// How many changes are in them.
    pub changes: u64,
    /// How many transactions ended in them.
    pub commits: u64,
    /// What is wrong at `whole_to`; `None` when the log is whole.
    pub damage: Option<Damage>,
}

/// What is wrong at one place of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Why, with the place in the store where that is known.
    pub why: String,
    /// What to do next.
    pub advice: Option<String>,
}

impl Findings {
    /// How many entries are whole.
    pub fn whole(&self) -> u64 {
        self.whole_to.0 - self.begin.0
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.end.0 - self.begin.0
    }
}

/// Reads everything between the horizon and the tail. It checks that
///
/// - what the store checks when it reads fits: checksums, lengths, versions;
/// - entries are numbered without a hole, and each block says how many it has;
/// - blocks with a commit end with one, and the log ends with the commit that its tail names;
/// - every change names a schema that the catalog has; every schema and selection of tables is the catalog's;
/// - within a file of the source, positions never go back;
/// - what the store shows people of a block is what its bytes say.
///
/// Memory stays bounded, whatever the log's size. `progress` is told how far it is. What retention drops meanwhile is
/// left out. Cancel-safe.
///
/// # Errors
/// When the log cannot be read for another reason than damage: `Unavailable`, `Environment`, `Gap` when it was deleted.
pub async fn verify(log: &dyn LogReader, mut progress: impl FnMut(&Findings)) -> Result<Findings> {
    let (tail, horizon) = (log.tail(), log.stat().horizon);
    let mut findings = Findings { begin: horizon, end: tail.next, whole_to: horizon, ..Findings::default() };
    let schemas = log.schemas();
    let heard = Knowledge { schemas: schemas.clone(), ..Knowledge::default() };
    let coverage = log.coverage();
    let mut check = Check { schemas, heard, heard_coverage: false, last: None };
    while findings.whole_to < tail.next {
        let blocks = match log.read(findings.whole_to, READ_BYTES).await {
            Ok(blocks) => blocks,
            Err(error) if error.kind() == Kind::Corrupt => return Ok(findings.damaged(&error)),
            Err(error) if error.kind() == Kind::Gap && log.stat().horizon > findings.whole_to => {
                // Retention came first.
                let horizon = log.stat().horizon.min(tail.next);
                (findings.begin, findings.whole_to) = (findings.begin.max(horizon), horizon);
                continue;
            }
            Err(error) => return Err(error),
        };
        if blocks.is_empty() {
            return Ok(findings.damaged(&damage("the log gives nothing for an entry before its end")));
        }
        let misshown = log.misshown(&blocks).await?;
        for block in &blocks {
            if misshown == Some(block.first) {
                return Ok(
                    findings.damaged(&damage("what the store shows of this block is not what its bytes say"))
                );
            }
            if let Err(error) = check.block(block, findings.whole_to) {
                return Ok(findings.damaged(&error));
            }
            findings.whole_to = block.end();
            findings.blocks += 1;
            findings.changes += u64::from(block.changes);
            findings.commits += commits(block);
            if findings.whole_to >= tail.next {
                break;
            }
        }
        progress(&findings);
    }
    if let Err(error) = check.end(&tail, &coverage) {
        return Ok(findings.damaged(&error));
    }
    Ok(findings)
}

impl Findings {
    fn damaged(mut self, error: &Error) -> Findings {
        let advice = error.next_step().map(str::to_owned);
        self.damage = Some(Damage { why: error.message().to_owned(), advice });
        self
    }
}

struct Check {
    /// The catalog's schemas, which are all that the log may bring.
    schemas: SchemaBook,
    /// What the entries said, beside the catalog's schemas.
    heard: Knowledge,
    heard_coverage: bool,
    /// The last commit.
    last: Option<Commit>,
}

impl Check {
    fn block(&mut self, block: &Arc<Block>, expected: Seq) -> Result<()> {
        if block.first != expected {
            let first = block.first;
            return Err(damage(format!("entry {expected} is followed by a block that begins with {first}")));
        }
        examine(std::slice::from_ref(block), expected, &mut self.heard).map_err(|_| {
            damage("a block is not what its header says, or has another schema than the catalog")
        })?;
        for entry in block.entries() {
            let (seq, entry) = entry.map_err(|_| damage("an entry is malformed"))?;
            match entry {
                Entry::Change(ChangeEntry { schema: no, .. }) | Entry::Schema { no, .. }
                    if self.schemas.get(no).is_none() =>
                {
                    let no = no.0;
                    return Err(damage(format!("entry {seq} has schema {no}, which the catalog has not")));
                }
                Entry::Commit { time_ms, offset, file, gtid } => {
                    self.commit(seq, time_ms, offset, file, gtid)?;
                }
                Entry::Coverage(_) => self.heard_coverage = true,
                Entry::Change(_) | Entry::Schema { .. } => {}
            }
        }
        Ok(())
    }

    fn commit(&mut self, seq: Seq, time_ms: i64, offset: u64, file: &str, gtid: &str) -> Result<()> {
        let Some(last) = &mut self.last else {
            let position = Position { gtid: gtid.to_owned(), file: file.to_owned(), offset };
            self.last = Some(Commit { position, time_ms });
            return Ok(());
        };
        if last.position.file == file && last.position.offset > offset {
            let before = last.position.offset;
            return Err(damage(format!(
                "the position goes back at entry {seq}: from {before} to {offset} in file {file}"
            )));
        }
        last.time_ms = time_ms;
        last.position.offset = offset;
        gtid.clone_into(&mut last.position.gtid);
        file.clone_into(&mut last.position.file);
        Ok(())
    }

    fn end(&self, tail: &Tail, coverage: &Coverage) -> Result<()> {
        if let Some(commit) = &tail.commit
            && self.last.as_ref().is_some_and(|last| last != commit)
        {
            return Err(damage("the log does not end with the commit that its tail names"));
        }
        if self.heard_coverage && self.heard.coverage != *coverage {
            return Err(damage("the catalog has other tables than the last entry that tells them"));
        }
        Ok(())
    }
}

fn commits(block: &Block) -> u64 {
    block.entries().filter(|entry| matches!(entry, Ok((_, Entry::Commit { .. })))).count() as u64
}

fn damage(why: impl Into<String>) -> Error {
    Error::new(Kind::Corrupt, why)
        .advice("what lies before can be read; restore the log from a copy, or remove it and mine again")
}
