//! What is seen at a moment.

use super::Whom;

/// Everything that alerts look at, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Pipelines, mines and tables.
    pub seen: Vec<Seen>,
}

/// A yes or no, with what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fact {
    /// It is not known, or there is no such thing.
    #[default]
    Unknown,
    /// It is not so.
    No,
    /// It is so, for this reason.
    Yes(String),
}

impl Fact {
    /// It is so when there is a reason for it.
    pub fn of(reason: Option<impl Into<String>>) -> Fact {
        reason.map_or(Fact::No, |reason| Fact::Yes(reason.into()))
    }
}

/// The figures of one pipeline, mine or table. `None` is what is not known, or what it has not got.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Whose they are.
    pub whom: Whom,
    /// The connections by which a mine, or that of a table, is known to scripts.
    pub connections: Vec<String>,
    /// The database of a table.
    pub database: Option<String>,
    /// How far it is behind the source, in milliseconds.
    pub lag_ms: Option<u64>,
    /// Rows per second.
    pub rows_per_s: Option<f64>,
    /// Whether it failed.
    pub error: Fact,
    /// Attempts since the last success.
    pub retries: Option<u64>,
    /// What the last attempt failed with.
    pub retried: Option<String>,
    /// Whether it waits for its mine.
    pub waiting: Fact,
    /// How long it takes until history that it still needs is lost, in milliseconds; `u64::MAX` when it is not lost.
    pub horizon_ms: Option<u64>,
    /// Size of its log, in bytes.
    pub store_bytes: Option<u64>,
    /// Whether history is missing.
    pub gap: Fact,
    /// Whether it is stopped.
    pub stopped: Fact,
    /// Rows of the transaction that is being read; 0 between transactions.
    pub transaction_rows: Option<u64>,
    /// The table that most of them are of, as commands write it.
    pub transaction_table: Option<String>,
    /// For how long nothing has come from the source, not even a sign of life, in milliseconds.
    pub silent_ms: Option<u64>,
    /// How far the source's clock is from this machine's, in milliseconds.
    pub clock_skew_ms: Option<u64>,
    /// How long its sink took for the last batch, in milliseconds.
    pub sink_ms: Option<u64>,
    /// Whether its log has no room, or nearly none.
    pub store_full: Fact,
}

impl Seen {
    /// Something of which nothing is known yet.
    pub fn of(whom: Whom) -> Seen {
        let connections = match &whom {
            Whom::Pipeline(_) => Vec::new(),
            Whom::Mine(mine) | Whom::Table { mine, .. } => vec![mine.clone()],
        };
        Seen {
            whom,
            connections,
            database: None,
            lag_ms: None,
            rows_per_s: None,
            error: Fact::Unknown,
            retries: None,
            retried: None,
            waiting: Fact::Unknown,
            horizon_ms: None,
            store_bytes: None,
            gap: Fact::Unknown,
            stopped: Fact::Unknown,
            transaction_rows: None,
            transaction_table: None,
            silent_ms: None,
            clock_skew_ms: None,
            sink_ms: None,
            store_full: Fact::Unknown,
        }
    }
}
