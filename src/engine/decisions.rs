//! What people decided about what runs: which mines and pipelines are stopped, and settings of mines that were changed.
//!
//! It is kept in `state/decisions.json` of the data folder, replaced as a whole, durable before a command acts. A run
//! begins with it: what was stopped stays stopped. A changed setting wins over the script until the script itself
//! gives that setting another value than it had when the setting was changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::door::Door;
use crate::error::{Error, Kind, Result};
use crate::run::pipeline::Halt;
use crate::run::state_file;

/// The format that this version writes.
const VERSION: u32 = 1;

/// Everything that was decided and still holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// Stopped mines, by source connection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mines: BTreeMap<String, Decided>,
    /// Stopped and paused pipelines, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pipelines: BTreeMap<String, Halted>,
    /// Changed settings, by source connection and key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, BTreeMap<String, Edit>>,
}

/// When something was decided, and by which door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// When.
    pub at: jiff::Timestamp,
    /// Where the command came from.
    pub door: Door,
}

/// A pipeline that was stopped or paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Which of both.
    pub halt: Halt,
    /// When, and by whom.
    #[serde(flatten)]
    pub decided: Decided,
}

/// A changed setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The value, as scripts write it.
    pub value: String,
    /// The script's own value when this one was given; `None` where it had none.
    pub script: Option<String>,
    /// When, and by whom.
    #[serde(flatten)]
    pub decided: Decided,
}

#[derive(Serialize, Deserialize)]
struct Stored<D> {
    version: u32,
    decisions: D,
}

impl Decisions {
    /// Whether nothing differs from the script.
    pub fn is_empty(&self) -> bool {
        *self == Decisions::default()
    }

    /// Whether something was stopped or paused.
    pub fn holds_something(&self) -> bool {
        !self.mines.is_empty() || !self.pipelines.is_empty()
    }

    /// What is kept below a data folder.
    ///
    /// # Errors
    /// `Environment` when the file cannot be read; `Corrupt` when it is damaged, or of a version that this build does
    /// not know: what was stopped would otherwise start.
    pub fn read(data_dir: &Path) -> Result<Decisions> {
        let path = file(data_dir);
        let advice =
            "repair the file, or remove it: then nothing counts as stopped, and settings are the script's";
        let damaged = |error: Error| error.advice(advice);
        let Some(stored) = state_file::read::<Stored<serde_json::Value>>(&path).map_err(damaged)? else {
            return Ok(Decisions::default());
        };
        if stored.version != VERSION {
            let what = format!("{} is of version {}", path.display(), stored.version);
            let error = Error::new(Kind::Corrupt, format!("{what}, and this build knows version {VERSION}"));
            return Err(error.advice("run the version of lode that wrote it"));
        }
        serde_json::from_value(stored.decisions).map_err(|error| {
            let what = format!("{} is not readable: {error}", path.display());
            Error::new(Kind::Corrupt, what).advice(advice)
        })
    }

    /// Keeps them. When it returns Ok, the next run begins with them.
    ///
    /// # Errors
    /// `Environment` when the data folder cannot be written.
    pub fn write(&self, data_dir: &Path) -> Result<()> {
        state_file::write(&file(data_dir), &Stored { version: VERSION, decisions: self })
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("state").join("decisions.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Decisions {
        let decided = Decided { at: jiff::Timestamp::UNIX_EPOCH, door: Door::Socket { uid: 0, pid: None } };
        let edit = Edit { value: "5d".to_owned(), script: Some("3d".to_owned()), decided: decided.clone() };
        Decisions {
            mines: [("shop".to_owned(), decided.clone())].into(),
            pipelines: [("orders".to_owned(), Halted { halt: Halt::Paused, decided })].into(),
            settings: [("shop".to_owned(), [("retention".to_owned(), edit)].into())].into(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Decisions::read(folder.path()).unwrap().is_empty());
        some().write(folder.path()).unwrap();
        assert_eq!(Decisions::read(folder.path()).unwrap(), some());
    }

    #[test]
    fn damage_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        some().write(folder.path()).unwrap();
        let path = file(folder.path());
        let whole = std::fs::read_to_string(&path).unwrap();
        for damaged in [
            String::new(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"version\":1", "\"version\":2"),
            whole.replace("\"mines\"", "\"mined\""),
        ] {
            std::fs::write(&path, &damaged).unwrap();
            let error = Decisions::read(folder.path()).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{damaged}");
            assert!(error.to_string().contains("decisions.json"), "{error}");
            assert!(error.next_step().is_some());
        }
    }
}
