//! `lode log verify`: whether a log is whole.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use lode::error::{Result, ResultExt};
use lode::store::verify::{self, Findings};
use serde_json::json;

use super::Opened;
use crate::cli::{exit, out};

/// Reads the whole log, and says what was found; the exit code tells good from damaged.
pub async fn verify(log: Opened, json: bool) -> Result<ExitCode> {
    let name = log.place.name();
    let bar = io::stderr().is_terminal().then(|| {
        let entries = log.reader.tail().next.0 - log.reader.stat().horizon.0;
        let bar = ProgressBar::new(entries);
        let template = "{bar:30} {human_pos} of {human_len} entries, {per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
        bar
    });
    let progress = |findings: &Findings| {
        if let Some(bar) = &bar {
            bar.set_position(findings.whole());
        }
    };
    let found = verify::verify(log.reader.as_ref(), progress).await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let findings = found.context_with(|| format!("in log {name}"))?;
    out(&if json { line(&name, &findings) } else { text(&name, &findings) })?;
    Ok(ExitCode::from(if findings.damage.is_some() { exit::RUNTIME } else { exit::OK }))
}

fn text(name: &str, findings: &Findings) -> String {
    let counted =
        |count: u64, what: &str| format!("{} {what}{}", HumanCount(count), if count == 1 { "" } else { "s" });
    let whole = format!(
        "{} in {} and {}",
        counted(findings.changes, "change"),
        counted(findings.commits, "transaction"),
        counted(findings.blocks, "block"),
    );
    let Some(damage) = &findings.damage else {
        if findings.entries() == 0 {
            return format!("log {name} is whole: it is empty");
        }
        let range = format!("{} to {}", findings.begin, findings.end.0 - 1);
        return format!("log {name} is whole: entries {range}, {whole}");
    };
    let mut text = format!("log {name} is damaged at entry {}: {}\n", findings.whole_to, damage.why);
    text.push_str(&match findings.whole() {
        0 => format!(
            "nothing before that is left of {}\n",
            counted(findings.entries(), "entry").replace("entrys", "entries")
        ),
        _ => format!(
            "readable before that: entries {} to {}, {} of {}: {whole}\n",
            findings.begin,
            findings.whole_to.0 - 1,
            HumanCount(findings.whole()),
            HumanCount(findings.entries()),
        ),
    });
    if let Some(advice) = &damage.advice {
        text.push_str(&format!("help: {advice}\n"));
    }
    text
}

fn line(name: &str, findings: &Findings) -> String {
    let damage =
        findings.damage.as_ref().map(|damage| json!({ "seq": findings.whole_to, "why": damage.why }));
    let line = json!({
        "log": name,
        "whole": findings.damage.is_none(),
        "damage": damage,
        "begin": findings.begin,
        "end": findings.end,
        "whole_to": findings.whole_to,
        "blocks": findings.blocks,
        "changes": findings.changes,
        "transactions": findings.commits,
    });
    line.to_string()
}
