//! Commands: what they are about, and whether they are whole. Scripts, schedules, the prompt and `lode ctl` share this.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::declaration::Declaration;
use super::model::Subject;
use super::written::{name_text, place_text, subject_text};
use crate::lang::print::{quotable, quote};
use crate::lang::verb::Verb;
use crate::model::connection::{Connection, Endpoint};
use crate::model::hook::HookModule;
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
    /// Takes a statement out of what runs.
    Remove {
        /// What it declares.
        what: Declaration,
    },
    /// Takes back the last change of what runs.
    Undo,
    /// Writes what runs as one script.
    Save {
        /// The file, as it was named.
        file: String,
    },
    /// The last commands that changed something.
    Audit {
        /// How many, at the most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
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
    /// Asks a database.
    Sql {
        /// The connection.
        connection: String,
        /// The statement.
        statement: String,
        /// How many rows, at the most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Tries code on rows.
    Eval {
        /// Whose rows.
        of: Subject,
        /// How many, at the most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// Rhai code, as in a map: the text between the braces.
        code: String,
    },
    /// What a pipeline makes of a row's changes.
    Trace {
        /// The pipeline.
        pipeline: String,
        /// How many changes, at the most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// The row.
        key: Vec<KeyPart>,
    },
    /// Follows changes.
    Tail {
        /// What is looked at.
        #[serde(flatten)]
        look: Look,
    },
}

/// A column of a row's key, and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// The column.
    pub column: String,
    /// The value.
    #[serde(flatten)]
    pub value: KeyValue,
}

/// The value of a column as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyValue {
    /// A number.
    Number(String),
    /// A text; also for times, and for binary data as `0x0a1b`.
    Text(String),
}

/// As it stands in a command.
impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = ", quotable(&self.column))?;
        match &self.value {
            KeyValue::Number(number) => f.write_str(number),
            KeyValue::Text(text) => f.write_str(&quote(text)),
        }
    }
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
    /// Modules of hooks that code may call.
    pub modules: Arc<Vec<HookModule>>,
    /// What the statements declare that can be taken out.
    pub declared: Vec<Declaration>,
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
            Command::Remove { .. } => Verb::Remove,
            Command::Undo => Verb::Undo,
            Command::Save { .. } => Verb::Save,
            Command::Audit { .. } => Verb::Audit,
            Command::Help { .. } => Verb::Help,
            Command::Explain { .. } => Verb::Explain,
            Command::Peek { .. } => Verb::Peek,
            Command::Sql { .. } => Verb::Sql,
            Command::Eval { .. } => Verb::Eval,
            Command::Trace { .. } => Verb::Trace,
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
                | Command::Remove { .. }
                | Command::Undo
                | Command::Save { .. }
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
            Command::Mines | Command::Pipelines | Command::Undo => Ok(()),
            Command::Remove { what } => write!(f, " {what}"),
            Command::Status { of } => subjects(f, of.as_slice()),
            Command::Tail { look } => look.fmt(f),
            Command::Sql { connection, statement, limit } => {
                write!(f, " {connection} {}", quote(statement))?;
                limited(f, limit)
            }
            Command::Eval { of, limit, code } => {
                write!(f, " {}", subject_text(of))?;
                limited(f, limit)?;
                write!(f, " {{{code}}}")
            }
            Command::Trace { pipeline, limit, key } => {
                write!(f, " {}", name_text(pipeline))?;
                limited(f, limit)?;
                let key: Vec<_> = key.iter().map(KeyPart::to_string).collect();
                write!(f, " {}", key.join(", "))
            }
            Command::Peek { look, limit } => {
                look.fmt_head(f)?;
                limited(f, limit)?;
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
            Command::Apply { file: Some(file) }
            | Command::Diff { file: Some(file) }
            | Command::Save { file } => {
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

fn limited(f: &mut fmt::Formatter<'_>, limit: &Option<u64>) -> fmt::Result {
    limit.iter().try_for_each(|limit| write!(f, " limit {limit}"))
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
