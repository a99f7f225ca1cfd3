//! `lode test`: runs the tests of scripts and says how they went.

use std::process::ExitCode;

use lode::check::{SecretsPolicy, System};
use lode::error::Result;
use lode::lang::diagnostic::{Diagnostic, render, to_json};
use lode::testing::{self, Outcome, Report};
use serde_json::{Value, json};

use super::{Script, exit, load, out, screen, show};

/// Runs the tests whose name contains `filter`.
pub fn test(script: &Script, filter: Option<&str>, json: bool) -> Result<ExitCode> {
    let mut checked = load(script, SecretsPolicy::Optional)?;
    // Nothing is connected, so that secrets which are not there are nothing to warn of.
    checked.diagnostics.retain(Diagnostic::is_error);
    if json && checked.has_errors() {
        let findings: Value =
            serde_json::from_str(&to_json(&checked.diagnostics, &checked.sources)).unwrap_or_default();
        out(&pretty(&json!({ "findings": findings })))?;
        return Ok(ExitCode::from(exit::SCRIPT));
    }
    let Some(model) = show(&checked) else { return Ok(ExitCode::from(exit::SCRIPT)) };
    let report = testing::run(model, &checked.sources, &System, filter);
    let render =
        |failure: &Diagnostic| render(std::slice::from_ref(failure), &checked.sources, screen::has_colors());
    if json {
        let outcome = |outcome: &Outcome| {
            let place = checked.sources.locate(outcome.name.span);
            let (file, line) =
                place.map_or((String::new(), 0), |(name, place)| (name.to_string(), place.line));
            let failure = outcome.failure.as_ref().and_then(|failure| {
                let one = to_json(std::slice::from_ref(failure), &checked.sources);
                serde_json::from_str::<Vec<Value>>(&one).ok()?.pop()
            });
            json!({
                "test": outcome.name.node, "pipeline": outcome.pipeline, "file": file, "line": line,
                "passed": outcome.failure.is_none(), "failure": failure,
            })
        };
        let tests: Vec<Value> = report.outcomes.iter().map(outcome).collect();
        out(&pretty(&json!({ "tests": tests, "passed": report.passed(), "failed": report.failed() })))?;
    } else {
        for outcome in &report.outcomes {
            let Outcome { name, pipeline, failure } = outcome;
            match failure {
                None => out(&format!("ok    {pipeline}: {}", name.node))?,
                Some(failure) => {
                    out(&format!("FAIL  {pipeline}: {}\n\n{}\n", name.node, render(failure)))?;
                }
            }
        }
        out(&summary(&report, filter))?;
    }
    if report.outcomes.is_empty() && filter.is_some() {
        return Ok(ExitCode::from(exit::SCRIPT));
    }
    Ok(if report.failed() > 0 { ExitCode::from(exit::RUNTIME) } else { ExitCode::SUCCESS })
}

fn summary(report: &Report, filter: Option<&str>) -> String {
    match (report.outcomes.is_empty(), filter) {
        (false, _) => format!("{} passed, {} failed", report.passed(), report.failed()),
        (true, None) => "the scripts have no tests".to_owned(),
        (true, Some(filter)) => format!("no test has \"{filter}\" in its name"),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
