//! What is wrong with a hook, and where.

use std::fmt;
use std::sync::Arc;

use rhai::{Dynamic, EvalAltResult, Position};

use crate::error::{Error, Kind};

/// A hook that does not compile, or that failed for one row.
///
/// The message may quote what the hook itself threw; it never quotes values of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookError {
    /// The script, or the included `.rhai` file.
    pub file: Arc<str>,
    /// Line in `file`, from 1.
    pub line: u32,
    /// Column in `line`, from 1.
    pub column: u32,
    /// What is wrong and why, in one line.
    pub message: String,
    /// What to do next, where that is known.
    pub advice: Option<String>,
    /// What it means: `Data` for code that is wrong or failed on a row, `Refused` for code that does what it may not do,
    /// and the kind of what failed outside of the hook.
    pub kind: Kind,
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for HookError {}

/// What a function of the row's side found wrong; it travels through Rhai as the thrown value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub message: String,
    pub advice: Option<String>,
    /// See [`HookError::kind`].
    pub kind: Kind,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Self {
        Problem { message: message.into(), advice: None, kind: Kind::Data }
    }

    /// What a hook may not do.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Problem { kind: Kind::Refused, ..Problem::new(message) }
    }

    /// What failed outside of the hook.
    pub fn outside(error: &Error) -> Self {
        let advice = error.next_step().map(str::to_owned);
        Problem { message: error.to_string(), advice, kind: error.kind() }
    }

    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl From<Problem> for Box<EvalAltResult> {
    fn from(problem: Problem) -> Self {
        Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(problem), Position::NONE))
    }
}

/// Results of functions that are called from Rhai.
pub(super) type Outcome<T> = Result<T, Box<EvalAltResult>>;
