//! One test, line by line.

use std::path::Path;

use super::bench::Bench;
use super::{compare, failure, read};
use crate::check::model::{Input, Pipeline};
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
    outside: &dyn Outside,
) -> Result<(), Diagnostic> {
    let pipeline = model.pipelines.iter().find(|pipeline| pipeline.name == test.pipeline);
    let (Some(pipeline), Some(plan)) = (pipeline, plan.pipelines.get(&test.pipeline)) else {
        return Err(failure::at(test, test.name.span, "there is no such pipeline"));
    };
    let bench = Bench::new(pipeline, plan).map_err(|error| {
        failure::at(test, test.name.span, &format!("its pipeline does not compile: {error}"))
    })?;
    let mut walk = Walk { test, pipeline, sources, outside, bench, refused: None };
    for step in &test.steps {
        walk.step(&step.node, step.span)?;
    }
    walk.nothing_refused()
}

struct Walk<'a> {
    test: &'a Test,
    pipeline: &'a Pipeline,
    sources: &'a SourceMap,
    outside: &'a dyn Outside,
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
            Step::Log { path, written } => self.log(path, written, span),
            Step::Figure(_) | Step::ExpectAct(_) => {
                Err(failure::at(self.test, span, "this version does not run this line"))
            }
        }
    }

    fn give(&mut self, change: &GivenChange) -> Result<(), StageError> {
        let GivenChange { connection, op, table, before, after } = change;
        self.bench.give(connection, *op, table, before.clone(), after.clone())
    }

    /// Gives the changes of a recording that are of the pipeline's tables.
    fn log(&mut self, path: &Path, written: &str, span: Span) -> Result<(), Diagnostic> {
        let failed = |what: &str| failure::at(self.test, span, what);
        let text = self.outside.read(path).map_err(|error| {
            failed(&format!("{written} cannot be read: {error}"))
                .help("make it: lode log record shop --table orders -o recorded.jsonl")
        })?;
        let changes = read(&text).map_err(|error| failed(&format!("{written}: {error}")))?;
        let mut given = 0;
        for change in changes {
            let name = change.table.name.clone();
            let reads = |input: &&Input| input.tables.contains(&name.database, &name.table);
            let Some(input) = self.pipeline.inputs.iter().find(reads) else { continue };
            given += 1;
            let line = change.seq.0 + 1;
            if let Err(error) = self.bench.pass(&input.connection.name, change) {
                let finding = failure::refused(self.test, span, &error, self.sources);
                return Err(finding.note(format!("change {line} of the recording, {}", error.key)));
            }
        }
        if given == 0 {
            let read: Vec<_> = self.pipeline.inputs.iter().map(|input| input.tables.to_string()).collect();
            return Err(failed("the recording has no change of a table that the pipeline reads")
                .note(format!("it reads {}", read.join(", "))));
        }
        Ok(())
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
            Some((error, span)) => Err(failure::refused(self.test, span, &error, self.sources)
                .note("a row of a test has the columns that it names, and no others")),
        }
    }
}
