//! Settings that several kinds of sinks understand.

use crate::model::spec::{SettingSpec, SettingType, Settings};

/// Settings of every sink. They are carried out by the pipeline that feeds it.
pub const COMMON: &[SettingSpec] = &[BATCH];

/// Settings of the sinks that write tables.
pub const TABLES: &[SettingSpec] = &[BATCH, MODE, CREATE_TABLES];

/// Rows that are written together.
pub const BATCH: SettingSpec = SettingSpec::new(
    "batch",
    SettingType::Integer { min: 1, max: 100_000, unit: "rows" },
    Some("1000"),
    "Largest number of changes that are written together.",
);

/// What becomes of a change in a table.
pub const MODE: SettingSpec = SettingSpec::new(
    "mode",
    SettingType::Choice(&["upsert", "append"]),
    Some("upsert"),
    "`upsert` keeps the target equal to the source, row by row; `append` adds a row for every change, with the \
     columns _op, _seq and _ts.",
);

/// Whether tables are made on demand.
pub const CREATE_TABLES: SettingSpec = SettingSpec::new(
    "create_tables",
    SettingType::Switch,
    Some("on"),
    "Whether missing tables and columns are made in the target; `off` makes them an error.",
);

/// Name of the column with the operation in a table that is appended to: `insert`, `update`, `delete`, `truncate`.
pub const OP_COLUMN: &str = "_op";
/// Name of the column with the number of the log entry.
pub const SEQ_COLUMN: &str = "_seq";
/// Name of the column with the time at which the source executed the change, UTC with milliseconds.
pub const TIME_COLUMN: &str = "_ts";

/// How changes become rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The table is kept equal to the source.
    Upsert,
    /// Each change is a row.
    Append,
}

/// What the settings in [`TABLES`] say.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableOptions {
    pub mode: Mode,
    pub create_tables: bool,
}

impl TableOptions {
    pub fn read(settings: &Settings) -> Self {
        TableOptions {
            mode: match settings.choice("mode") {
                Some("append") => Mode::Append,
                _ => Mode::Upsert,
            },
            create_tables: settings.switch("create_tables").unwrap_or(true),
        }
    }
}
