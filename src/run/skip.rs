//! Changes that somebody decided to leave out, because a pipeline failed on them.
//!
//! A skip is kept in a small file of the route until a cursor lies behind it: lode may be killed between the decision and
//! that cursor, and the change would come again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::model::position::{Cursor, LogEpoch, Position, Seq};
use crate::run::state_file;

/// Skips that may wait at one time: each is a failure that somebody looked at.
const SKIPS_MAX: usize = 1000;

/// Names a change so that another session finds exactly this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spot {
    /// An entry of a log.
    Entry {
        /// The log.
        log: LogEpoch,
        /// The entry.
        seq: Seq,
    },
    /// A change read from the source itself, where numbers may be others the next time.
    Place {
        /// The position behind which the route begins.
        after: Position,
        /// The how manieth change of the route's tables it is from there, from 1.
        nth: u64,
    },
}

/// A change that is to be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The change.
    pub spot: Spot,
    /// Why the pipeline failed on it.
    pub error: String,
}

/// The skips of one route.
#[derive(Clone, Debug, Default)]
pub struct Skips {
    /// The file that keeps them; it need not be there.
    pub file: PathBuf,
    /// The file that gets the changes that were left out.
    pub record: PathBuf,
}

impl Skip {
    /// Whether a route with this cursor still comes to the change. A place in the source is only found again from the
    /// cursor that it was counted from: from any other, the route fails on the change once more.
    fn lies_ahead_of(&self, cursor: &Cursor) -> bool {
        match &self.spot {
            Spot::Entry { log, seq } => cursor.log == Some(*log) && *seq >= cursor.next,
            Spot::Place { after, .. } => cursor.position.as_ref() == Some(after),
        }
    }
}

impl Skips {
    /// Adds skips; durable when it returns.
    ///
    /// # Errors
    /// `Environment` when the file cannot be read or written; `Corrupt` when it is not what lode wrote; `Refused` when too
    /// many wait already.
    pub fn add(&self, new: &Skip) -> Result<()> {
        let mut skips = self.read()?;
        if skips.contains(new) {
            return Ok(());
        }
        if skips.len() >= SKIPS_MAX {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{SKIPS_MAX} changes are to be left out already, and the pipeline came past none of them"
                ),
            )
            .advice("mend the target or the hook that fails on them"));
        }
        skips.push(new.clone());
        self.write(&skips)
    }

    /// What a route that begins at `cursor` is to leave out. What lies behind the cursor is forgotten.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn ahead_of(&self, cursor: &Cursor) -> Result<Vec<Skip>> {
        let skips = self.read()?;
        let count = skips.len();
        let ahead: Vec<Skip> = skips.into_iter().filter(|skip| skip.lies_ahead_of(cursor)).collect();
        if ahead.len() < count {
            self.write(&ahead)?;
        }
        Ok(ahead)
    }

    fn read(&self) -> Result<Vec<Skip>> {
        let read = state_file::read(&self.file).map_err(|error| match error.kind() {
            Kind::Corrupt => {
                error.advice("delete the file: the pipeline then fails once more on what it was to leave out")
            }
            _ => error,
        });
        Ok(read?.unwrap_or_default())
    }

    fn write(&self, skips: &[Skip]) -> Result<()> {
        match skips {
            [] => state_file::remove(&self.file),
            skips => state_file::write(&self.file, &skips),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(log: LogEpoch, next: u64) -> Cursor {
        Cursor { source: String::new(), log: Some(log), next: Seq(next), position: None, direct: None }
    }

    #[test]
    fn a_skip_is_kept_until_a_cursor_lies_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, record) = (folder.path().join("route/skip.json"), folder.path().join("aside.jsonl"));
        let skips = Skips { file: file.clone(), record };
        let log = LogEpoch(uuid::Uuid::from_u128(7));
        assert_eq!(skips.ahead_of(&cursor(log, 0)).unwrap(), []);

        let skip = |seq| Skip { spot: Spot::Entry { log, seq: Seq(seq) }, error: "why".into() };
        for seq in [5, 9, 9] {
            skips.add(&skip(seq)).unwrap();
        }
        assert_eq!(skips.ahead_of(&cursor(log, 5)).unwrap(), [skip(5), skip(9)]);
        assert_eq!(skips.ahead_of(&cursor(log, 6)).unwrap(), [skip(9)]);
        assert_eq!(skips.ahead_of(&cursor(log, 0)).unwrap(), [skip(9)], "what lay behind is forgotten");
        assert_eq!(skips.ahead_of(&cursor(LogEpoch(uuid::Uuid::nil()), 0)).unwrap(), []);
        assert!(!file.exists());

        std::fs::write(&file, "[{").unwrap();
        assert_eq!(skips.ahead_of(&cursor(log, 0)).unwrap_err().kind(), Kind::Corrupt);
    }
}
