//! The one error type that crosses module borders: what failed, where, why, and what to do next.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means for whoever has to act on it. The policy of the runtime follows from the kind alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The script is wrong. Nothing was started. Exit code 2.
    Script,
    /// Something outside lode is missing or set up wrongly: a file, a right, a server setting. Trying again
    /// without a change outside will fail again. Exit code 3.
    Environment,
    /// A server was not reachable, or broke off. Trying again later may succeed.
    Unavailable,
    /// A disk, a server or a log has no room for more. Trying again succeeds once there is room.
    Full,
    /// The data cannot be carried exactly: an unsupported event or type, a value the target rejects, a hook
    /// that failed. Trying again fails again.
    Data,
    /// History is missing: a position that the source has purged, a cursor before the horizon of the log.
    Gap,
    /// Another writer took over (a newer fencing epoch was found). This one must stop.
    Fenced,
    /// Bytes that lode wrote are not what it wrote: a checksum or a format version does not fit.
    Corrupt,
    /// The caller asked for something that the state does not allow.
    Refused,
    /// lode itself is at fault.
    Internal,
}

impl Kind {
    /// Whether the same call may succeed later without anybody acting.
    pub fn is_retryable(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::Full)
    }
}

/// An error with its meaning, its context from the outside in, and advice.
///
/// It never contains secrets or row values; a row is named by its key only where a hook or a sink rejected it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    context: Vec<String>,
    advice: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` says what failed and why, in one line.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            context: Vec::new(),
            advice: None,
            source: None,
        }))
    }

    /// Says where: `in pipeline orders`, `while opening log shop`. Outer contexts are added later.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.context.push(context.into());
        self
    }

    /// Says what to do next. The first advice given wins: it stands closest to the cause.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.0.advice.get_or_insert_with(|| advice.into());
        self
    }

    /// Keeps the error of a library as the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the error means.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What failed and why, without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next, where that is known.
    pub fn next_step(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }

    /// Where it happened, outermost first.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.0.context.iter().rev().map(String::as_str)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.contexts() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        if let Some(advice) = &self.0.advice {
            write!(f, " ({advice})")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, " [{source}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Adds context to the error of a result without leaving the `?` style.
pub trait ResultExt<T> {
    /// Says where, when the result is an error.
    fn context_with(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context_with(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.context(context()))
    }
}
