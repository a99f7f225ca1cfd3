//! Tables of a mine that are paused and resumed, whether it runs or not.
//!
//! What is paused stands in the log's coverage note, so that both take effect with an append. A running session gives way
//! for it at its last commit, and the next one reads what the log then says.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::catch_up;
use super::mine::Mine;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::model::block::{BlockBuilder, Commit, SchemaBook};
use crate::model::coverage::{Coverage, Gap, Paused};
use crate::model::position::Seq;
use crate::model::spec::Start;
use crate::model::table::TableSet;
use crate::source::Source;

/// How long the source is waited for before tables are resumed without knowing whether it still has their changes.
const ASK_PATIENCE: Duration = Duration::from_secs(10);
/// How long the source may take to say that it has purged a place.
const PURGED_WITHIN: Duration = Duration::from_millis(100);
/// How many bytes are read to find that out.
const TASTE_BYTES: usize = 1;
/// So many pauses there may be.
const PAUSES_MAX: usize = 256;

impl Mine {
    /// Stops reading some of its tables. Their changes up to here are in the log; the others go on. The log remembers
    /// it: it holds until [`resume`](Self::resume), also over restarts, and when new pipelines want these tables.
    /// Tables that are being resumed are paused again where they are.
    ///
    /// When it returns Ok, it is durable, and nothing more of these tables comes. After `Unavailable` it may have
    /// happened all the same. Goes on to its end when it is dropped.
    ///
    /// # Errors
    /// `Refused` when none of the tables is mined, when one is paused already, and when the mine has never begun;
    /// `Full` when the log has no room, `Unavailable` and others as [`Log::append`](crate::store::Log::append).
    pub async fn pause(self: &Arc<Self>, tables: &TableSet) -> Result<()> {
        let (mine, tables) = (Arc::clone(self), tables.clone());
        let work = async move { mine.pause_in_turn(&tables).await };
        in_background(work).await.context_with(|| format!("in mine {}", self.name()))
    }

    /// Has paused tables read again: from where they were paused up to where the others are, and then together with
    /// these. `tables` names what was paused, or more. Ok promises that it has begun, durably; how far it is shows
    /// [`paused`](Self::paused). Goes on to its end when it is dropped.
    ///
    /// When the source has purged what comes next of a table, `accept_gap` says that this is known: the table goes on
    /// with the oldest change that is still there, and the log gets a record of the gap. When an earlier try came to
    /// something that cannot be read, the table goes on where the others are, with such a record, too.
    ///
    /// # Errors
    /// `Refused` when none of the tables is paused, or is being resumed already; `Gap` when the source has purged what
    /// comes next, without `accept_gap`; otherwise as [`pause`](Self::pause).
    pub async fn resume(self: &Arc<Self>, tables: &TableSet, accept_gap: bool) -> Result<()> {
        let (mine, tables) = (Arc::clone(self), tables.clone());
        let work = async move { mine.resume_when_known(&tables, accept_gap).await };
        in_background(work).await.context_with(|| format!("in mine {}", self.name()))
    }

    /// What is paused or being resumed, as the log remembers it.
    pub fn paused(&self) -> Vec<Paused> {
        self.log().coverage().paused
    }

    async fn pause_in_turn(&self, tables: &TableSet) -> Result<()> {
        let _turn = self.turns.take().await;
        let (mut coverage, commit) = self.now()?;
        for set in self.wanted.borrow().sets() {
            coverage.tables.add(set);
        }
        let count = coverage.paused.len();
        match coverage.paused.iter_mut().find(|paused| paused.touches(tables)) {
            Some(paused) if paused.resuming && paused.tables == *tables => paused.resuming = false,
            Some(paused) => return Err(paused_already(paused, tables)),
            None if !coverage.tables.touches(tables) => return Err(not_mined(&coverage, tables)),
            None if count >= PAUSES_MAX => return Err(too_many()),
            None => coverage.paused.push(Paused {
                tables: tables.clone(),
                of: coverage.tables.clone(),
                since: commit.position.clone(),
                within: 0,
                since_ms: commit.time_ms,
                resuming: false,
                failed: None,
            }),
        }
        self.note_in_turn(&coverage, commit).await?;
        info!(mine = self.name(), %tables, "paused");
        Ok(())
    }

    async fn resume_when_known(&self, tables: &TableSet, accept_gap: bool) -> Result<()> {
        let chosen = chosen(&self.log().coverage(), tables)?;
        // The source is asked before anybody has to wait for the answer.
        let mut gaps = Vec::new();
        for paused in &chosen {
            if accept_gap && paused.failed.as_ref().is_some_and(|failed| failed.kind != Kind::Gap) {
                // It is there, and cannot be read.
                gaps.push((paused, None));
            } else if let Some(purged) = self.purged(paused).await {
                if !accept_gap {
                    return Err(purged);
                }
                gaps.push((paused, Some(self.source().resolve(&Start::Earliest).await?)));
            }
        }

        let _turn = self.turns.take().await;
        let (mut coverage, commit) = self.now()?;
        for before in &chosen {
            let known = coverage.paused.iter_mut().find(|paused| paused.tables == before.tables);
            // Somebody else may have been faster.
            let Some(paused) = known.filter(|paused| !paused.resuming) else { continue };
            (paused.resuming, paused.failed) = (true, None);
            let gap = gaps.iter().find(|(with_gap, _)| with_gap.tables == before.tables);
            let Some((_, to)) = gap.filter(|_| before.since == paused.since) else { continue };
            // What lies behind the others' place is read together with them.
            let to = to.as_ref().filter(|to| !to.reaches(&commit.position)).unwrap_or(&commit.position);
            let from = std::mem::replace(&mut paused.since, to.clone());
            paused.within = 0;
            let (tables, to) = (Some(paused.tables.clone()), to.clone());
            coverage.add_gap(Gap { tables, from, to, at_ms: self.now_ms() });
        }
        self.note_in_turn(&coverage, commit).await?;
        info!(mine = self.name(), %tables, gaps = gaps.len(), "resuming");
        Ok(())
    }

    /// What holds at the log's end, for whoever has the turn to write.
    fn now(&self) -> Result<(Coverage, Commit)> {
        let commit = self.log().tail().commit.ok_or_else(|| {
            Error::new(Kind::Refused, "it has not begun yet: its log is empty")
                .advice("start a pipeline that reads its tables, and wait until the mine runs")
        })?;
        Ok((Coverage { catch_up: false, ..self.log().coverage() }, commit))
    }

    /// Appends a note. What became of it when that fails is looked at in the log.
    pub(super) async fn note_in_turn(&self, coverage: &Coverage, commit: Commit) -> Result<()> {
        // Parts of a transaction that a session left behind are cut off by this append.
        self.hub().rewind(self.log().tail());
        let noted = self.note(coverage, commit).await;
        if noted.is_err() {
            self.hub().rewind(self.log().tail());
        }
        noted
    }

    /// Why the source cannot be read from where `paused` ends; `None` when it can, and when that is not known.
    async fn purged(&self, paused: &Paused) -> Option<Error> {
        let identity = self.log().source_id()?;
        let tasted = tokio::time::timeout(ASK_PATIENCE, taste(self.source().as_ref(), &identity, paused));
        let error = tasted.await.ok()?.err().filter(|error| error.kind() == Kind::Gap)?;
        Some(
            Error::new(
                Kind::Gap,
                format!(
                    "the source no longer has what follows {}, where {} was paused: {error}",
                    paused.since, paused.tables
                ),
            )
            .advice(
                "fill the target anew from the table as it is, and resume with the gap accepted; or accept the gap \
                 alone: then the changes in between are missing in the log and in the targets",
            ),
        )
    }
}

/// Opens a reader as a catch-up does, and reads a little.
async fn taste(source: &dyn Source, identity: &str, paused: &Paused) -> Result<()> {
    let mut stream = catch_up::connect(source, identity, paused).await?;
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    stream.fill(&mut out, TASTE_BYTES, PURGED_WITHIN).await?;
    stream.close().await;
    Ok(())
}

/// The pauses that are meant by `tables`.
fn chosen(coverage: &Coverage, tables: &TableSet) -> Result<Vec<Paused>> {
    let meant: Vec<_> = coverage.paused.iter().filter(|paused| tables.covers(&paused.tables)).collect();
    let chosen: Vec<_> =
        meant.iter().filter(|paused| !paused.resuming).map(|paused| Paused::clone(paused)).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    if !meant.is_empty() {
        return Err(Error::new(Kind::Refused, format!("{tables} is being resumed already")));
    }
    if let Some(wider) = coverage.paused.iter().find(|paused| paused.touches(tables)) {
        let wider = &wider.tables;
        return Err(Error::new(
            Kind::Refused,
            format!("{tables} was paused together with others, as {wider}"),
        )
        .advice(format!("resume {wider}")));
    }
    let error = Error::new(Kind::Refused, format!("{tables} is not paused"));
    let paused: Vec<_> = coverage.paused.iter().map(|paused| paused.tables.to_string()).collect();
    Err(if paused.is_empty() { error } else { error.advice(format!("paused are: {}", paused.join(", "))) })
}

fn paused_already(paused: &Paused, tables: &TableSet) -> Error {
    let known = &paused.tables;
    if paused.resuming {
        return Error::new(Kind::Refused, format!("{known} is being resumed"))
            .advice(format!("pause {known} as it was paused before, or wait until it is resumed"));
    }
    if known == tables {
        return Error::new(Kind::Refused, format!("{known} is paused already, since {}", paused.since));
    }
    if known.covers(tables) {
        return Error::new(Kind::Refused, format!("{tables} is paused already, as {known}"));
    }
    Error::new(Kind::Refused, format!("{known}, which is paused already, and {tables} have tables in common"))
        .advice(format!("resume {known} first, or pause the other tables by their names"))
}

fn not_mined(coverage: &Coverage, tables: &TableSet) -> Error {
    let mined: Vec<_> = coverage.tables.sets().iter().map(ToString::to_string).collect();
    Error::new(Kind::Refused, format!("{tables} is not mined"))
        .advice(format!("mined are: {}", mined.join(", ")))
}

fn too_many() -> Error {
    Error::new(Kind::Refused, format!("{PAUSES_MAX} pauses are as many as a mine keeps"))
        .advice("resume some of them, or pause several tables at once with a pattern")
}

/// Runs to its end what must not be left half done.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|panic| Err(Error::new(Kind::Internal, "lode is at fault").caused_by(panic)))
}
