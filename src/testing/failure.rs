//! Why a test fails, shown at its place.

use crate::check::testing::{ExpectedAct, ExpectedChange, Test};
use crate::hook::HookError;
use crate::lang::codes::Code;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceMap, Span};
use crate::run::stages::{StageCause, StageError};

use super::alarm::{Act, Alarm};
use super::bench::{Arrival, Bench};
use super::compare::{written, written_act};

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

/// A hook did something else than what is expected.
pub(super) fn other_act(test: &Test, span: Span, expected: &ExpectedAct, difference: String) -> Diagnostic {
    at(test, span, &format!("{} came with something else", expected.act)).note(difference)
}

/// No hook did what is expected.
pub(super) fn no_act(test: &Test, span: Span, expected: &ExpectedAct, alarm: &Alarm<'_>) -> Diagnostic {
    let finding = at(test, span, &format!("{} did not come", expected.act));
    let next = alarm.next();
    match next.as_slice() {
        [] => finding.note("no alert fired or was resolved that was not expected before this line"),
        acts => {
            acts.iter().fold(finding, |finding, act| finding.note(format!("this came: {}", written_act(act))))
        }
    }
}

/// A hook ran that should not.
pub(super) fn unexpected_act(test: &Test, span: Span, act: &Act) -> Diagnostic {
    at(test, span, "an alert was told").note(written_act(act))
}

/// A hook of an alert failed for a figure that the test gave at `span`.
pub(super) fn failed_hook(test: &Test, span: Span, error: &HookError, sources: &SourceMap) -> Diagnostic {
    let finding = at(test, span, &format!("a hook of an alert fails: {}", error.message));
    let finding = match place(error, sources) {
        Some(place) => finding.related(place, "here"),
        None => finding,
    };
    match &error.advice {
        Some(advice) => finding.help(advice.clone()),
        None => finding,
    }
}

/// A stage refused a change that the test gave at `span`.
pub(super) fn refused(test: &Test, span: Span, error: &StageError, sources: &SourceMap) -> Diagnostic {
    let (place, what) = match &*error.cause {
        StageCause::Hook(error) => (place(error, sources), error.message.clone()),
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

/// Where in the sources a hook failed.
fn place(error: &HookError, sources: &SourceMap) -> Option<Span> {
    let (source, _) = sources.iter().find(|(_, file)| is_file(file.name(), &error.file))?;
    sources.word_at(source, error.line, error.column)
}

/// Whether a file of the sources is the one that a hook's error names: a module by its path, a script as it was named.
fn is_file(name: &str, file: &str) -> bool {
    name == file || (file.starts_with('/') && std::path::Path::new(file).ends_with(name))
}
