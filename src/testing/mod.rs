//! Runs the tests of scripts: rows that a test gives go through the stages of their pipeline, compiled and applied by the same
//! code that delivers rows, and what would come to the sinks is compared with what the test expects. Nothing is connected.
//!
//! ```
//! use lode::check::{Input, System, check};
//! use lode::engine::registry::Registry;
//!
//! let script = r#"
//! connection shop = mysql "mysql://repl@10.0.0.5:3306/shop"
//! pipeline orders = source mysql shop.orders -> filter { row.amount > 0 } -> sink null
//! test "free orders stay away" of orders {
//!   given  insert shop.orders { id = 1, amount = 0 }
//!   expect nothing
//! }
//! "#;
//! let checked = check(&Input::new("/").text("orders.lode", script), Registry::built_in().kinds(), &System);
//! let report = lode::testing::run(checked.model.as_ref().unwrap(), &checked.sources, &System, None);
//! assert_eq!((report.passed(), report.failed()), (1, 0));
//! ```

#![allow(clippy::result_large_err, reason = "a finding is made once and moved to the report")]

mod alarm;
mod bench;
mod compare;
mod failure;
mod mask;
mod recording;
mod walk;

pub use self::mask::Mask;
pub use self::recording::{Recorder, read};

use crate::check::{Model, Outside};
use crate::lang::ast::Spanned;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::SourceMap;
use crate::plan::build::build;

/// How the tests went.
#[derive(Debug, Default)]
pub struct Report {
    /// Every test that ran, in the order of the scripts.
    pub outcomes: Vec<Outcome>,
}

/// How one test went.
#[derive(Debug)]
pub struct Outcome {
    /// Its name, with its place.
    pub name: Spanned<String>,
    /// The pipeline.
    pub pipeline: String,
    /// Why it fails, at the line that is not met; `None` when it passes.
    pub failure: Option<Diagnostic>,
}

impl Report {
    /// How many tests pass.
    pub fn passed(&self) -> usize {
        self.outcomes.len() - self.failed()
    }

    /// How many tests fail.
    pub fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.failure.is_some()).count()
    }
}

/// Runs the tests of a checked model whose name contains `filter`, or all of them. A test ends at the first line that is not
/// met. `sources` are those of the check, to point into hooks; `outside` has the recorded logs that tests name.
pub fn run(model: &Model, sources: &SourceMap, outside: &dyn Outside, filter: Option<&str>) -> Report {
    let plan = build(model);
    let chosen = model.tests.iter().filter(|test| filter.is_none_or(|part| test.name.contains(part)));
    let outcomes = chosen.map(|test| Outcome {
        name: test.name.clone(),
        pipeline: test.pipeline.clone(),
        failure: walk::run(test, model, &plan, sources, outside).err(),
    });
    Report { outcomes: outcomes.collect() }
}
