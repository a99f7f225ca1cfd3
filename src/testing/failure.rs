//! Why a test fails, shown at its place.

use crate::check::testing::{ExpectedChange, Test};
use crate::lang::codes::Code;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceMap, Span};
use crate::run::stages::{StageCause, StageError};

use super::bench::{Arrival, Bench};
use super::compare::written;

/// A failure at a line of the test.
pub(super) fn at(test: &Test, span: Span, what: &str) -> Diagnostic {
    Diagnostic::new(Code::E0601, span, format!("\"{}\" fails: {what}", test.name.node))
}

/// Another change came than the expected one.
pub(super) fn other(test: &Test, span: Span, expected: &ExpectedChange, difference: String) -> Diagnostic {
    at(test, span, &format!("another change came to {}", expected.target)).note(difference)
}

/// Nothing came.
pub(super) fn none(test: &Test, span: Span, expected: &ExpectedChange, bench: &Bench) -> Diagnostic {
    let finding = at(test, span, &format!("nothing came to {}", expected.target));
    let changes = |count| if count == 1 { "1 change".to_owned() } else { format!("{count} changes") };
    match (bench.counts(), bench.peek()) {
        ((0, _), _) => finding.help("give a change before this line: given insert …"),
        (_, Some(elsewhere)) => finding.note(format!("this came elsewhere: {}", written(elsewhere))),
        ((given, 0), None) => finding
            .note(format!("{} given before this line, and the stages let nothing through", changes(given))),
        ((given, arrived), None) => finding.note(format!(
            "{} given before this line; what came of them, {}, was expected before",
            changes(given),
            changes(arrived)
        )),
    }
}

/// Something came that should not.
pub(super) fn unexpected(test: &Test, span: Span, got: &Arrival) -> Diagnostic {
    at(test, span, &format!("a change came to {}", got.target)).note(written(got))
}

/// A stage refused a change that the test gave at `span`.
pub(super) fn refused(test: &Test, span: Span, error: &StageError, sources: &SourceMap) -> Diagnostic {
    let (place, what) = match &*error.cause {
        StageCause::Hook(error) => {
            let source = sources.iter().find(|(_, file)| is_file(file.name(), &error.file)).map(|(id, _)| id);
            let place = source.and_then(|source| sources.word_at(source, error.line, error.column));
            (place, error.message.clone())
        }
        cause => (None, cause.to_string()),
    };
    let finding = at(test, span, &format!("a stage refuses this change: {what}"));
    let finding = match place {
        Some(place) => finding.related(place, "here"),
        None => finding,
    };
    match error.advice() {
        Some(advice) => finding.help(advice),
        None => finding,
    }
}

/// Whether a file of the sources is the one that a hook's error names: a module by its path, a script as it was named.
fn is_file(name: &str, file: &str) -> bool {
    name == file || (file.starts_with('/') && std::path::Path::new(file).ends_with(name))
}
