//! Settings that belong to the language itself, whatever the kinds of systems.

pub use super::settings::default_is_readable;

use crate::model::spec::{SettingSpec, SettingType};

/// Settings of `share_mining connection { … }`. A store may add its own.
pub const SHARE_MINING: &[SettingSpec] = &[
    SettingSpec::new(
        "name",
        SettingType::Text,
        None,
        "The name shown to people; the connection's by default.",
    ),
    SettingSpec::new("retention", SettingType::Duration, Some("3d"), "How long changes are kept in the log."),
    SettingSpec::new(
        "retention_size",
        SettingType::Size,
        None,
        "How large the log may become before its oldest changes are dropped.",
    ),
    SettingSpec::new(
        "unread",
        SettingType::Choice(&["hold", "drop", "stop"]),
        Some("hold"),
        "What happens to old changes that a pipeline, running or stopped, has not read: they are held, up to hold_size; they are dropped like others; or they are held, and the mine stops at hold_size until there is room.",
    ),
    SettingSpec::new(
        "hold_size",
        SettingType::Size,
        None,
        "How large the log may become before unread changes are held no longer, or the mine stops; without it, as large as the disk.",
    ),
    SettingSpec::new(
        "start",
        SettingType::Start,
        None,
        "Where mining begins when the log is empty, by default now, or with the oldest of binlog files; afterwards it goes on where the log ends.",
    ),
    SettingSpec::new(
        "threads",
        SettingType::Integer { min: 1, max: 64, unit: "writers" },
        Some("1"),
        "How many writers append to the log at the same time.",
    ),
    SettingSpec::new(
        "full_rows",
        SettingType::Switch,
        Some("off"),
        "Whether columns that the source leaves out of its log are read back from its tables.",
    ),
    SettingSpec::new(
        "exclude",
        SettingType::Tables,
        None,
        "Tables that are never mined, whoever asks for them.",
    ),
    ALERTS,
];

/// Settings of `pipeline name { … } = …`.
pub const PIPELINE: &[SettingSpec] = &[
    SettingSpec::new(
        "snapshot",
        SettingType::Choice(&["never", "initial", "only"]),
        Some("never"),
        "Whether the rows that are already there are copied first (initial), or nothing but them (only).",
    ),
    SettingSpec::new(
        "start",
        SettingType::Start,
        None,
        "Where the pipeline begins when it has no cursor yet; by default at the oldest change of its log; without a log now, or with the oldest of binlog files.",
    ),
    SettingSpec::new(
        "on_error",
        SettingType::Choice(&["stop", "aside"]),
        Some("stop"),
        "What happens to a row on which a stage fails: the pipeline stops, or the row is set aside in a file.",
    ),
    SettingSpec::new(
        "retry",
        SettingType::Integer { min: 0, max: 1_000_000, unit: "attempts" },
        None,
        "How often an unreachable sink is tried again before the pipeline fails; without end by default.",
    ),
    SettingSpec::new(
        "cursor_interval",
        SettingType::Duration,
        Some("5s"),
        "How often the cursor is made durable while only changes of other tables pass.",
    ),
    SettingSpec::new(
        "on_mine_failure",
        SettingType::Choice(&["wait", "direct"]),
        Some("wait"),
        "What the pipeline does while its mine is stopped or failed: wait, or read the source itself.",
    ),
    ALERTS,
];

/// Settings of `on condition { … } do …`.
pub const ALERT: &[SettingSpec] = &[SettingSpec::new(
    "repeat",
    SettingType::Duration,
    Some("5m"),
    "How often an alert is told again while it lasts, and at the soonest when it comes back; 0s tells it once.",
)];

const ALERTS: SettingSpec = SettingSpec::new(
    "alerts",
    SettingType::Choice(&["standard", "off"]),
    None,
    "Whether the ready alerts watch it, which they do not by default: error, lag, retries, a silent source, a slow sink, a stopped mine and who starves, history that is about to expire, a full store, gaps, clocks that differ.",
);
