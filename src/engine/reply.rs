//! What commands answer, as data: the JSON of `lode ctl --json`, and what the command line shows people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alerts::AlertsShown;
use super::audit::AuditEntry;
use super::decisions::{Decided, Decisions, Halted};
use super::look::Changes;
use super::status::{MineStatus, PipelineStatus, Status};
use crate::error::{Error, Kind};
use crate::lang::diagnostic::{Diagnostic, render, to_json};
use crate::lang::span::SourceMap;
use crate::plan::diff::Diff;

/// The answer to one command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    /// To `status`.
    Status {
        /// What runs.
        #[serde(flatten)]
        status: Status,
        /// What was stopped or changed by commands.
        decisions: Decisions,
    },
    /// To `mines`.
    Mines {
        /// The mines.
        mines: Vec<MineStatus>,
        /// What was stopped or changed by commands.
        decisions: Decisions,
    },
    /// To `pipelines`.
    Pipelines {
        /// The pipelines.
        pipelines: Vec<PipelineStatus>,
        /// What was stopped or changed by commands.
        decisions: Decisions,
    },
    /// To `show mine`.
    Mine {
        /// The mine.
        mine: Box<MineStatus>,
        /// Where it reads.
        source: String,
        /// Where its log is: `embedded.shop`, `store.collection`.
        log: String,
        /// Its settings by key, as scripts write them.
        settings: BTreeMap<String, SettingShown>,
        /// When it was stopped, and by whom.
        #[serde(skip_serializing_if = "Option::is_none")]
        stopped: Option<Decided>,
    },
    /// To `show pipeline`.
    Pipeline {
        /// The pipeline.
        pipeline: Box<PipelineStatus>,
        /// Its settings by key, as scripts write them.
        settings: BTreeMap<String, SettingShown>,
        /// When it was stopped or paused, and by whom.
        #[serde(skip_serializing_if = "Option::is_none")]
        halted: Option<Halted>,
    },
    /// To `tables`.
    Tables {
        /// The mine, with the figures of its tables.
        mine: Box<MineStatus>,
    },
    /// To `peek`, and each part of the answer to `tail`.
    Changes(Changes),
    /// It is done.
    Done {
        /// What, a sentence for each thing.
        done: Vec<String>,
    },
    /// Nothing was done yet: the same command has to be given again, confirmed.
    Confirm {
        /// The command, as it would be typed.
        command: String,
        /// What it would do, a sentence for each thing.
        would: Vec<String>,
        /// The pipelines that this concerns.
        affected: Vec<String>,
    },
    /// To `diff` and `apply`.
    Difference {
        /// What differs, or differed before it was applied.
        diff: Diff,
        /// Whether what runs was changed.
        applied: bool,
        /// What is to be said besides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// To `audit`.
    Audit {
        /// The newest entries, the oldest of them first.
        entries: Vec<AuditEntry>,
    },
    /// To `alerts`.
    Alerts {
        /// What fires, what is muted, what was told.
        #[serde(flatten)]
        alerts: Box<AlertsShown>,
    },
    /// To `help` and `explain`.
    Text {
        /// The text.
        text: String,
    },
    /// The command, or the script that it names, is wrong. Nothing was done.
    Wrong {
        /// The findings for programs, as `lode check --json` prints them.
        findings: serde_json::Value,
        /// The findings for people.
        text: String,
    },
    /// It could not be done.
    Failed {
        /// What that means.
        kind: Kind,
        /// What failed, where, and why.
        error: String,
        /// What to do about it, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        advice: Option<String>,
    },
}

/// A setting of a mine or pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingShown {
    /// Its value.
    pub value: String,
    /// When a command gave it this value, and which it has in the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited: Option<super::decisions::Edit>,
}

impl Reply {
    /// That something is wrong with a text.
    pub fn wrong(findings: &[Diagnostic], sources: &SourceMap) -> Reply {
        Reply::Wrong {
            findings: serde_json::from_str(&to_json(findings, sources)).unwrap_or_default(),
            text: render(findings, sources, false),
        }
    }

    /// What the audit list says of it, and whether it was done; `None` where nothing was tried.
    pub(super) fn outcome(&self) -> Option<(bool, String)> {
        match self {
            Reply::Done { done } => Some((true, done.join("; "))),
            Reply::Difference { diff, applied, .. } => Some((*applied, diff.summary())),
            Reply::Failed { error, .. } => Some((false, error.clone())),
            Reply::Wrong { findings, .. } => {
                let first = findings.get(0).and_then(|finding| finding["message"].as_str());
                Some((false, first.unwrap_or("the script is wrong").to_owned()))
            }
            _ => None,
        }
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        Reply::Failed {
            kind: error.kind(),
            error: error.to_string(),
            advice: error.next_step().map(str::to_owned),
        }
    }
}
