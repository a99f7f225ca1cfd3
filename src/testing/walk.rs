//! One test, line by line.

use super::bench::Bench;
use super::{compare, failure};
use crate::check::testing::{GivenChange, Step, Test};
use crate::check::{Model, Outside};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceMap, Span};
use crate::plan::Plan;
use crate::run::stages::StageError;

/// Runs a test up to the first line that is not met.
///
/// # Errors
/// Why the test fails.
pub(super) fn run(
    test: &Test,
    model: &Model,
    plan: &Plan,
    sources: &SourceMap,
    _outside: &dyn Outside,
) -> Result<(), Diagnostic> {
    let pipeline = model.pipelines.iter().find(|pipeline| pipeline.name == test.pipeline);
    let (Some(pipeline), Some(plan)) = (pipeline, plan.pipelines.get(&test.pipeline)) else {
        return Err(failure::at(test, test.name.span, "there is no such pipeline"));
    };
    let bench = Bench::new(pipeline, plan).map_err(|error| {
        failure::at(test, test.name.span, &format!("its pipeline does not compile: {error}"))
    })?;
    let mut walk = Walk { test, sources, bench, refused: None };
    for step in &test.steps {
        walk.step(&step.node, step.span)?;
    }
    walk.nothing_refused()
}

struct Walk<'a> {
    test: &'a Test,
    sources: &'a SourceMap,
    bench: Bench,
    /// The change that was given last, when a stage refused it and the test has not said yet that it expects so.
    refused: Option<(StageError, Span)>,
}

impl Walk<'_> {
    fn step(&mut self, step: &Step, span: Span) -> Result<(), Diagnostic> {
        if let Step::ExpectError(text) = step {
            return self.error(text, span);
        }
        self.nothing_refused()?;
        match step {
            Step::Change(change) => {
                self.refused = self.give(change).err().map(|error| (error, span));
                Ok(())
            }
            Step::ExpectChange(expected) => {
                let Some(got) = self.bench.take(&expected.sinks) else {
                    return Err(failure::none(self.test, span, expected, &self.bench));
                };
                match compare::difference(expected, &got) {
                    Some(difference) => Err(failure::other(self.test, span, expected, difference)),
                    None => Ok(()),
                }
            }
            Step::ExpectNothing => match self.bench.peek() {
                Some(got) => Err(failure::unexpected(self.test, span, got)),
                None => Ok(()),
            },
            Step::ExpectError(_) => Ok(()),
            Step::Log(_) | Step::Figure(_) | Step::ExpectAct(_) => {
                Err(failure::at(self.test, span, "this version does not run this line"))
            }
        }
    }

    fn give(&mut self, change: &GivenChange) -> Result<(), StageError> {
        let GivenChange { connection, op, table, before, after } = change;
        self.bench.give(connection, *op, table, before.clone(), after.clone())
    }

    fn error(&mut self, text: &str, span: Span) -> Result<(), Diagnostic> {
        match self.refused.take() {
            None => Err(failure::at(self.test, span, "no stage refused the change before this line")),
            Some((error, _)) if error.to_string().contains(text) => Ok(()),
            Some((error, given)) => {
                Err(failure::at(self.test, span, "the change was refused by another error")
                    .related(given, "this change")
                    .note(error.cause.to_string()))
            }
        }
    }

    fn nothing_refused(&mut self) -> Result<(), Diagnostic> {
        match self.refused.take() {
            None => Ok(()),
            Some((error, span)) => Err(failure::refused(self.test, span, &error, self.sources)),
        }
    }
}
