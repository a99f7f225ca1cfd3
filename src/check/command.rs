//! Commands: what they are about, and whether they are whole. Scripts, schedules, the prompt and `lode ctl` share this.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::{Measure, Subject};
use super::written::{measure_text, name_text, place_text, subject_text};
use crate::lang::print::quote;
use crate::lang::verb::Verb;
use crate::model::connection::{Connection, Endpoint};
use crate::model::spec::Place;

/// A command whose names were looked up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Command {
    /// How everything is, or one mine or pipeline.
    Status {
        /// The one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Subject>,
    },
    /// The mines.
    Mines,
    /// The pipelines.
    Pipelines,
    /// The tables of a mine, by its source connection.
    Tables {
        /// The connection.
        mine: String,
    },
    /// One mine or pipeline in full.
    Show {
        /// Which.
        of: Subject,
    },
    /// Starts mines and pipelines.
    Start {
        /// Which.
        of: Vec<Subject>,
    },
    /// Stops mines and pipelines.
    Stop {
        /// Which.
        of: Vec<Subject>,
    },
    /// Stops and starts pipelines.
    Restart {
        /// Which.
        pipelines: Vec<String>,
    },
    /// Pauses pipelines, or the mining of tables.
    Pause {
        /// Which.
        of: Vec<Subject>,
    },
    /// Goes on after a pause.
    Resume {
        /// Which.
        of: Vec<Subject>,
        /// Goes on behind history that the source no longer has.
        #[serde(default)]
        accept_gap: bool,
    },
    /// Changes settings of a stopped mine, by its source connection.
    Set {
        /// The connection.
        mine: String,
        /// The settings by key, as scripts write them.
        settings: BTreeMap<String, String>,
    },
    /// Has a pipeline go on from another place.
    Rewind {
        /// The pipeline.
        pipeline: String,
        /// The place.
        to: Place,
    },
    /// Goes on behind the row on which a pipeline has failed.
    Skip {
        /// The pipeline.
        pipeline: String,
    },
    /// Makes what runs equal to a script; without a file, to the one that runs, read again.
    Apply {
        /// The file, as it was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// Shows what `apply` would change.
    Diff {
        /// The file, as it was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// The last commands that changed something.
    Audit {
        /// How many, at the most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    },
    /// What fires, what is muted, what was told last.
    Alerts,
    /// Has alerts tell nobody.
    Mute {
        /// Which: `lag of sales`, `lag`, `sales`, `all`.
        name: String,
        /// For how long; without it until `unmute`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time: Option<Duration>,
    },
    /// Has muted alerts tell again.
    Unmute {
        /// As they were muted, or `all`.
        name: String,
    },
    /// Has alerts that fire tell no more until they are resolved.
    Ack {
        /// Which.
        name: String,
    },
    /// How commands are written.
    Help {
        /// One verb.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
    },
    /// The page of a code or a kind.
    Explain {
        /// Which.
        word: String,
    },
    /// Changes of a log.
    Peek {
        /// What is looked at.
        #[serde(flatten)]
        look: Look,
        /// How many changes, at the most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Follows changes.
    Tail {
        /// What is looked at.
        #[serde(flatten)]
        look: Look,
    },
}

/// Which changes of the logs are looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// A table, a mine, or what a pipeline reads; everything otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Subject>,
    /// Where to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Place>,
    /// Rhai code that answers for a change whether it is meant, as in a filter: the text between the braces.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// What commands can be about.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The pipelines, by name.
    pub pipelines: Vec<String>,
    /// The mines.
    pub mines: Vec<KnownMine>,
    /// Connections that are not mined.
    pub not_mined: Vec<String>,
}

/// A mine that commands can be about.
#[derive(Clone, Debug)]
pub struct KnownMine {
    /// Its source connection, which commands name it by.
    pub connection: String,
    /// The name shown to people, which does as well.
    pub name: String,
    /// The database of the connection; `None` when that is not known.
    pub database: Option<String>,
    /// The kind of its log store.
    pub store: &'static str,
}

impl Known {
    /// The mine of this name, or of this source connection.
    pub fn mine(&self, name: &str) -> Option<&KnownMine> {
        let by_connection = self.mines.iter().find(|mine| mine.connection == name);
        by_connection.or_else(|| self.mines.iter().find(|mine| mine.name == name))
    }

    pub(super) fn has_pipeline(&self, name: &str) -> bool {
        self.pipelines.iter().any(|known| known == name)
    }

    pub(super) fn mine_names(&self) -> impl Iterator<Item = &str> {
        self.mines.iter().map(|mine| mine.connection.as_str())
    }

    pub(super) fn subjects(&self) -> Vec<&str> {
        self.pipelines.iter().map(String::as_str).chain(self.mine_names()).collect()
    }

    pub(super) fn subjects_help(&self) -> String {
        there_are(&self.subjects())
    }
}

impl Command {
    /// Its verb.
    pub fn verb(&self) -> Verb {
        match self {
            Command::Status { .. } => Verb::Status,
            Command::Mines => Verb::Mines,
            Command::Pipelines => Verb::Pipelines,
            Command::Tables { .. } => Verb::Tables,
            Command::Show { .. } => Verb::Show,
            Command::Start { .. } => Verb::Start,
            Command::Stop { .. } => Verb::Stop,
            Command::Restart { .. } => Verb::Restart,
            Command::Pause { .. } => Verb::Pause,
            Command::Resume { .. } => Verb::Resume,
            Command::Set { .. } => Verb::Set,
            Command::Rewind { .. } => Verb::Rewind,
            Command::Skip { .. } => Verb::Skip,
            Command::Apply { .. } => Verb::Apply,
            Command::Diff { .. } => Verb::Diff,
            Command::Audit { .. } => Verb::Audit,
            Command::Alerts => Verb::Alerts,
            Command::Mute { .. } => Verb::Mute,
            Command::Unmute { .. } => Verb::Unmute,
            Command::Ack { .. } => Verb::Ack,
            Command::Help { .. } => Verb::Help,
            Command::Explain { .. } => Verb::Explain,
            Command::Peek { .. } => Verb::Peek,
            Command::Tail { .. } => Verb::Tail,
        }
    }

    /// Whether it changes something, so that the audit list tells of it.
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Command::Start { .. }
                | Command::Stop { .. }
                | Command::Restart { .. }
                | Command::Pause { .. }
                | Command::Resume { .. }
                | Command::Set { .. }
                | Command::Rewind { .. }
                | Command::Skip { .. }
                | Command::Apply { .. }
                | Command::Mute { .. }
                | Command::Unmute { .. }
                | Command::Ack { .. }
        )
    }
}

/// As it would be typed.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb().as_str())?;
        let subjects = |f: &mut fmt::Formatter<'_>, of: &[Subject]| {
            of.iter().try_for_each(|subject| write!(f, " {}", subject_text(subject)))
        };
        match self {
            Command::Mines | Command::Pipelines | Command::Alerts => Ok(()),
            Command::Mute { name, time } => {
                write!(f, " {}", alert_text(name))?;
                let time = time.map(|time| measure_text(Measure::Time(time)));
                time.map_or(Ok(()), |time| write!(f, " for {time}"))
            }
            Command::Unmute { name } | Command::Ack { name } => write!(f, " {}", alert_text(name)),
            Command::Status { of } => subjects(f, of.as_slice()),
            Command::Tail { look } => look.fmt(f),
            Command::Peek { look, limit } => {
                look.fmt_head(f)?;
                limit.iter().try_for_each(|limit| write!(f, " limit {limit}"))?;
                look.fmt_filter(f)
            }
            Command::Show { of: Subject::Mine(name) } => write!(f, " mine {name}"),
            Command::Show { of: Subject::Pipeline(name) } => write!(f, " pipeline {}", name_text(name)),
            Command::Show { of } => subjects(f, std::slice::from_ref(of)),
            Command::Tables { mine } => write!(f, " {mine}"),
            Command::Start { of } | Command::Stop { of } | Command::Pause { of } => subjects(f, of),
            Command::Resume { of, accept_gap } => {
                subjects(f, of)?;
                if *accept_gap { f.write_str(" accept gap") } else { Ok(()) }
            }
            Command::Restart { pipelines } => {
                pipelines.iter().try_for_each(|name| write!(f, " {}", name_text(name)))
            }
            Command::Set { mine, settings } => match settings.iter().collect::<Vec<_>>().as_slice() {
                [(key, value)] => write!(f, " {mine}.{key} = {value}"),
                several => {
                    let entries: Vec<_> =
                        several.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                    write!(f, " {mine} {{ {} }}", entries.join(", "))
                }
            },
            Command::Rewind { pipeline, to } => {
                write!(f, " {} to {}", name_text(pipeline), place_text(to))
            }
            Command::Skip { pipeline } => write!(f, " {}", name_text(pipeline)),
            Command::Apply { file: Some(file) } | Command::Diff { file: Some(file) } => {
                write!(f, " {}", quote(file))
            }
            Command::Audit { count: Some(count) } => write!(f, " {count}"),
            Command::Help { about: Some(word) } | Command::Explain { word } => write!(f, " {word}"),
            Command::Apply { file: None }
            | Command::Diff { file: None }
            | Command::Audit { count: None }
            | Command::Help { about: None } => Ok(()),
        }
    }
}

/// The name of an alert as it is typed: in quotes where it would not be read again otherwise.
fn alert_text(name: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "_. ".contains(letter);
    if name.chars().all(plain) && !name.starts_with(char::is_numeric) { name.to_owned() } else { quote(name) }
}

impl Look {
    fn fmt_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.of.iter().try_for_each(|of| write!(f, " {}", subject_text(of)))?;
        self.from.iter().try_for_each(|from| write!(f, " from {}", place_text(from)))
    }

    fn fmt_filter(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filter.iter().try_for_each(|filter| write!(f, " where {{{filter}}}"))
    }
}

/// As it stands behind its verb.
impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_head(f)?;
        self.fmt_filter(f)
    }
}

/// Names to choose from.
pub(super) fn there_are(names: &[&str]) -> String {
    match names {
        [] => "declare a pipeline first".to_owned(),
        [only] => format!("there is only {only}"),
        several => format!("there are {}", several.join(", ")),
    }
}

/// The database that the tables of a connection are in.
pub fn database_of(connection: &Connection) -> Option<String> {
    match &connection.endpoint {
        Endpoint::Url { database, .. } if !database.is_empty() => Some(database.clone()),
        _ => connection.settings.text("database"),
    }
}
