//! What a kind of connection, source, sink or log understands: the ground for checking, completion and reference.
//!
//! A connector declares its settings once, here in these types. `check` holds scripts against them, `explain`
//! prints them, and the connector reads the checked values back by the same keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::position::Seq;
use super::secret::Secret;

/// Everything lode knows of one kind of system (`mysql`, `sqlite`, `jsonl` …).
#[derive(Clone, Debug)]
pub struct KindSpec {
    /// The word in scripts.
    pub name: &'static str,
    /// One line: what it is for.
    pub meaning: &'static str,
    /// What stands after the kind in `connection x = kind "…"`.
    pub endpoint: EndpointSpec,
    /// Settings of a `connection` statement.
    pub connection: &'static [SettingSpec],
    /// Settings of `source kind … { }`; `None` when it cannot be a source.
    pub source: Option<&'static [SettingSpec]>,
    /// Settings of `sink kind … { }`; `None` when it cannot be a sink.
    pub sink: Option<SinkSpec>,
    /// Settings of `share_mining … via kind-connection { }` that this store adds to the common ones; `None`
    /// when it cannot keep a log.
    pub log: Option<&'static [SettingSpec]>,
    /// Why it can be checked and planned but not run by this build; `None` when it runs.
    pub not_built_in: Option<&'static str>,
}

/// How a sink is addressed, and what can be set.
#[derive(Clone, Copy, Debug)]
pub struct SinkSpec {
    /// What follows the kind.
    pub target: TargetSpec,
    /// Settings of the sink.
    pub settings: &'static [SettingSpec],
}

/// What follows `sink kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSpec {
    /// `connection.table`, where `*` stands for the source table's name.
    Table,
    /// A quoted path, where `{table}` and `{database}` may stand.
    Path,
    /// Nothing.
    Nothing,
}

/// What a connection's endpoint text looks like.
#[derive(Clone, Copy, Debug)]
pub enum EndpointSpec {
    /// `scheme://user@host:port/database`.
    Url {
        /// Accepted schemes, the usual one first.
        schemes: &'static [&'static str],
        /// The port when none is given.
        default_port: u16,
        /// Whether `/database` must be given.
        database: bool,
    },
    /// `https://host/path`.
    Web,
    /// A folder, relative to the script.
    Folder,
    /// A file, relative to the script.
    File,
    /// The kind has no connections.
    Nothing,
}

/// One key of a settings block.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// The key.
    pub key: &'static str,
    /// Type and bounds.
    pub ty: SettingType,
    /// The default, as it would be typed; `None` when it must be given or is absent without harm.
    pub default: Option<&'static str>,
    /// Whether a script without it is an error.
    pub required: bool,
    /// One sentence: what it does.
    pub meaning: &'static str,
    /// Looks at a value that has the right type; a block of columns comes column by column.
    pub check: Option<SettingCheck>,
}

/// Looks closer at a setting's value: a warning, or why it cannot be.
pub type SettingCheck = fn(&Setting) -> std::result::Result<Option<String>, String>;

impl SettingSpec {
    /// An optional setting.
    pub const fn new(
        key: &'static str,
        ty: SettingType,
        default: Option<&'static str>,
        meaning: &'static str,
    ) -> Self {
        SettingSpec { key, ty, default, required: false, meaning, check: None }
    }

    /// The same setting with a closer look at its value.
    #[must_use]
    pub const fn checked(self, check: SettingCheck) -> Self {
        SettingSpec { check: Some(check), ..self }
    }
}

/// The type of a setting's value. Numbers name their unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SettingType {
    /// `on` or `off`.
    Switch,
    /// A whole number.
    Integer {
        /// Smallest accepted value.
        min: u64,
        /// Largest accepted value.
        max: u64,
        /// What is counted: `rows`, `connections`.
        unit: &'static str,
    },
    /// `500ms`, `30s`, `5m`, `2h`, `7d`.
    Duration,
    /// `64KiB`, `512MiB`, `20GiB`.
    Size,
    /// Free text in quotes.
    Text,
    /// One bare word of a list.
    Choice(&'static [&'static str]),
    /// A secret: `env("…")`, `file("…")`, `secret("…")`; plain text is accepted with a warning.
    Secret,
    /// `now`, `earliest`, a time in quotes (RFC 3339), `gtid("…")`, or `position("file", offset)`.
    Start,
    /// `[connection.table, connection.tmp_*]`.
    Tables,
    /// A quoted path, relative to the script.
    Path,
    /// `{ column = word, … }`: one word for each column.
    Columns,
}

/// The checked values of one settings block. Every key of the spec that has a default is present.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub BTreeMap<&'static str, Setting>);

/// One checked value.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// `on` or `off`.
    Switch(bool),
    /// A whole number within its bounds.
    Integer(u64),
    /// A duration.
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// Text.
    Text(String),
    /// One of the spec's words.
    Choice(&'static str),
    /// A secret, resolved.
    Secret(Secret),
    /// A start point.
    Start(Start),
    /// Table patterns, without their connection.
    Tables(Vec<String>),
    /// An absolute path.
    Path(PathBuf),
    /// One word for each column.
    Columns(Vec<(String, String)>),
}

/// Where reading begins when there is no cursor yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// After everything that is there at this moment.
    Now,
    /// At the oldest change that is still there.
    Earliest,
    /// At the first transaction committed at or after this time, milliseconds since 1970 UTC.
    Time(i64),
    /// After these transactions, in the source's own GTID text.
    Gtid(String),
    /// At this place in this file.
    Position {
        /// Name of the file, `binlog.000042`.
        file: String,
        /// Offset in bytes.
        offset: u64,
    },
}

/// Where a pipeline is to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// The transaction with this entry of the log, which comes whole.
    Seq {
        /// The entry.
        seq: Seq,
    },
    /// A time, a place in the source's log, a GTID as lode shows it, the oldest change, or what is new.
    Start(Start),
}

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $ty:ty) => {
        $(#[$doc])*
        pub fn $name(&self, key: &str) -> Option<$ty> {
            match self.0.get(key) {
                Some(Setting::$variant(value)) => Some(value.clone()),
                _ => None,
            }
        }
    };
}

impl Settings {
    getter!(
        /// The value of a switch.
        switch, Switch, bool);
    getter!(
        /// The value of a whole number.
        integer, Integer, u64);
    getter!(
        /// The value of a duration.
        duration, Duration, Duration);
    getter!(
        /// The value of a size, in bytes.
        size, Size, u64);
    getter!(
        /// The value of a text.
        text, Text, String);
    getter!(
        /// The chosen word.
        choice, Choice, &'static str);
    getter!(
        /// The secret.
        secret, Secret, Secret);
    getter!(
        /// The start point.
        start, Start, Start);
    getter!(
        /// The path.
        path, Path, PathBuf);
    getter!(
        /// The table patterns.
        tables, Tables, Vec<String>);
    getter!(
        /// The words by column.
        columns, Columns, Vec<(String, String)>);
}
