//! Answers to commands, for people.

use indicatif::{HumanBytes, HumanCount};
use lode::engine::audit::AuditEntry;
use lode::engine::decisions::{Decided, Decisions, Edit, Halted};
use lode::engine::reply::{Reply, SettingShown};
use lode::engine::status::{MineStatus, PipelineStatus, RouteStatus};
use lode::plan::diff::{Change, Changed, Diff};
use lode::run::mine::MineState;
use lode::run::pipeline::Halt;
use lode::run::route::RouteState;

use super::screen::error_text;
use super::table::Table;
use super::units::duration;

/// The text of an answer, with tables that fit `width` where one is given.
pub fn text(reply: &Reply, width: Option<usize>, colors: bool) -> String {
    match reply {
        Reply::Status { status, decisions } => {
            let mines = mines(&status.mines, decisions, width, colors);
            let gap = if mines.is_empty() { "" } else { "\n" };
            format!("{mines}{gap}{}", pipelines(&status.pipelines, decisions, width, colors))
        }
        Reply::Mines { mines: all, decisions } => mines(all, decisions, width, colors),
        Reply::Pipelines { pipelines: all, decisions } => pipelines(all, decisions, width, colors),
        Reply::Mine { mine, source, log, settings, stopped } => {
            [one_mine(mine, source, log, stopped.as_ref(), colors), settings_text(settings)].concat()
        }
        Reply::Pipeline { pipeline, settings, halted } => {
            [one_pipeline(pipeline, halted.as_ref(), width, colors), settings_text(settings)].concat()
        }
        Reply::Tables { mine } => tables(mine, width),
        Reply::Done { done } => done.iter().map(|done| format!("{done}\n")).collect(),
        Reply::Confirm { command, would, affected } => confirm(command, would, affected),
        Reply::Difference { diff, applied, notes } => difference(diff, *applied, notes),
        Reply::Audit { entries } => audit(entries, width),
        Reply::Text { text } => text.clone(),
        Reply::Wrong { text, .. } => text.clone(),
        Reply::Failed { error, advice, .. } => error_text(error, advice.as_deref(), colors),
    }
}

fn mines(mines: &[MineStatus], decisions: &Decisions, width: Option<usize>, colors: bool) -> String {
    if mines.is_empty() {
        return "no mine runs\n".to_owned();
    }
    let mut table = Table::new(&["mine", "state", ">new changes", ">head", ">delay", ">log", "position"]);
    for mine in mines {
        table.row(vec![
            mine.name.clone(),
            mine_word(&mine.state).to_owned(),
            HumanCount(mine.changes).to_string(),
            HumanCount(mine.head).to_string(),
            duration(mine.delay_ms),
            HumanBytes(mine.stored_bytes).to_string(),
            mine.position.clone().unwrap_or_default(),
        ]);
    }
    let mut text = table.text(width);
    for (mine, stopped) in &decisions.mines {
        text.push_str(&format!("mine {mine} was stopped {}; `start {mine}` lets it go on\n", by(stopped)));
    }
    mines.iter().for_each(|mine| text.push_str(&mine_trouble(mine, colors)));
    text
}

fn mine_word(state: &MineState) -> &'static str {
    match state {
        MineState::Idle => "idle",
        MineState::Starting => "starting",
        MineState::Running => "running",
        MineState::Retrying { .. } => "retrying",
        MineState::Stopped => "stopped",
        MineState::Ended => "ended",
        MineState::Failed { .. } => "failed",
    }
}

fn mine_trouble(mine: &MineStatus, colors: bool) -> String {
    match &mine.state {
        MineState::Retrying { error, advice } => {
            error_text(&format!("mine {} tries again: {error}", mine.name), advice.as_deref(), colors)
        }
        MineState::Failed { error, advice, .. } => {
            error_text(&format!("mine {} failed: {error}", mine.name), advice.as_deref(), colors)
        }
        _ => String::new(),
    }
}

fn pipelines(
    pipelines: &[PipelineStatus],
    decisions: &Decisions,
    width: Option<usize>,
    colors: bool,
) -> String {
    if pipelines.is_empty() {
        return "no pipeline runs\n".to_owned();
    }
    let mut text = routes(pipelines, width);
    for (pipeline, halted) in &decisions.pipelines {
        text.push_str(&halted_text(pipeline, halted));
    }
    pipelines.iter().for_each(|pipeline| text.push_str(&pipeline_trouble(pipeline, colors)));
    text
}

fn routes(pipelines: &[PipelineStatus], width: Option<usize>) -> String {
    let mut table =
        Table::new(&["pipeline", "source", "sink", "state", ">read", ">delivered", ">rows written", ">lag"]);
    for pipeline in pipelines {
        for route in &pipeline.routes {
            table.row(vec![
                pipeline.name.clone(),
                route.source.clone(),
                route.sink.clone(),
                route_word(pipeline, route),
                HumanCount(route.figures.changes_read).to_string(),
                HumanCount(route.figures.changes_delivered).to_string(),
                HumanCount(route.figures.rows_written).to_string(),
                route.lag_ms.map(duration).unwrap_or_default(),
            ]);
        }
    }
    table.text(width)
}

fn route_word(pipeline: &PipelineStatus, route: &RouteStatus) -> String {
    match (&route.state, pipeline.halt) {
        (RouteState::Stopped, Some(Halt::Paused)) => "paused".to_owned(),
        (RouteState::Idle, _) => "idle".to_owned(),
        (RouteState::Starting, _) => "starting".to_owned(),
        (RouteState::Running, _) => "running".to_owned(),
        (RouteState::Waiting { reason }, _) => format!("waiting: {reason}"),
        (RouteState::Retrying { .. }, _) => "retrying".to_owned(),
        (RouteState::Stopped, _) => "stopped".to_owned(),
        (RouteState::Finished, _) => "finished".to_owned(),
        (RouteState::Failed { .. }, _) => "failed".to_owned(),
    }
}

/// Each trouble once, however many routes have it.
fn pipeline_trouble(pipeline: &PipelineStatus, colors: bool) -> String {
    let mut told: Vec<&String> = Vec::new();
    let mut text = String::new();
    for route in &pipeline.routes {
        let (what, error, advice) = match &route.state {
            RouteState::Retrying { error, advice, .. } => ("tries again", error, advice),
            RouteState::Failed { error, advice, .. } => ("failed", error, advice),
            _ => continue,
        };
        if told.contains(&error) {
            continue;
        }
        told.push(error);
        let short = error.strip_prefix(&format!("in pipeline {}: ", pipeline.name)).unwrap_or(error);
        text.push_str(&error_text(
            &format!("pipeline {} {what}: {short}", pipeline.name),
            advice.as_deref(),
            colors,
        ));
    }
    text
}

/// That a pipeline was stopped or paused, and how it goes on.
pub fn halted_text(pipeline: &str, halted: &Halted) -> String {
    let (what, verb) = match halted.halt {
        Halt::Stopped => ("stopped", "start"),
        Halt::Paused => ("paused", "resume"),
    };
    format!("pipeline {pipeline} was {what} {}; `{verb} {pipeline}` lets it go on\n", by(&halted.decided))
}

/// When and by whom: `2026-01-31 09:00:00 +01:00 by socket (user 1000, process 4711)`.
pub fn by(decided: &Decided) -> String {
    format!("{} by {}", local(decided.at), decided.door)
}

/// In the zone of whoever reads it.
fn local(at: jiff::Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

fn one_mine(mine: &MineStatus, source: &str, log: &str, stopped: Option<&Decided>, colors: bool) -> String {
    let mut text = format!("mine {}: {}\n", mine.name, mine_word(&mine.state));
    if let Some(stopped) = stopped {
        text.push_str(&format!("  stopped    {}\n", by(stopped)));
    }
    text.push_str(&format!("  reads      {source}\n"));
    text.push_str(&format!("  position   {}\n", mine.position.as_deref().unwrap_or("none yet")));
    text.push_str(&format!(
        "  log        {log}: entries {} to {}, {} on disk ({} uncompressed)\n",
        mine.horizon,
        mine.head,
        HumanBytes(mine.stored_bytes),
        HumanBytes(mine.payload_bytes)
    ));
    text.push_str(&format!("  changes    {} new\n", HumanCount(mine.changes)));
    text.push_str(&format!("  delay      {}\n", duration(mine.delay_ms)));
    text.push_str(&mine_trouble(mine, colors));
    text
}

fn one_pipeline(
    pipeline: &PipelineStatus,
    halted: Option<&Halted>,
    width: Option<usize>,
    colors: bool,
) -> String {
    let mut text = routes(std::slice::from_ref(pipeline), width);
    if let Some(halted) = halted {
        text.push_str(&halted_text(&pipeline.name, halted));
    }
    for route in &pipeline.routes {
        let at = route.figures.position.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
        text.push_str(&format!("  {} is at entry {}{at}\n", route.sink, route.figures.next));
    }
    text.push_str(&pipeline_trouble(pipeline, colors));
    text
}

fn settings_text(settings: &std::collections::BTreeMap<String, SettingShown>) -> String {
    let mut text = String::new();
    for (key, shown) in settings {
        text.push_str(&format!("  {key} = {}", shown.value));
        if let Some(Edit { script, decided, .. }) = &shown.edited {
            let script = script.as_ref().map_or("no value".to_owned(), |script| script.clone());
            text.push_str(&format!("    # set {}; the script has {script}", by(decided)));
        }
        text.push('\n');
    }
    text
}

fn tables(mine: &MineStatus, width: Option<usize>) -> String {
    let _ = (mine, width);
    String::new()
}

fn confirm(command: &str, would: &[String], affected: &[String]) -> String {
    let mut text = format!("{command}\n");
    would.iter().for_each(|what| text.push_str(&format!("  {what}\n")));
    if !affected.is_empty() {
        text.push_str(&format!("  affected: {}\n", affected.join(", ")));
    }
    text
}

fn difference(diff: &Diff, applied: bool, notes: &[String]) -> String {
    let mut text = String::new();
    for (what, changed) in [("mine", &diff.mines), ("pipeline", &diff.pipelines)] {
        changed.iter().for_each(|changed| text.push_str(&changed_text(what, changed)));
    }
    notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    text.push_str(match (diff.is_empty(), applied) {
        (true, _) => "nothing differs\n",
        (false, true) => "applied\n",
        (false, false) => "nothing was changed; `apply` does it\n",
    });
    text
}

fn changed_text(what: &str, changed: &Changed) -> String {
    let name = &changed.name;
    match &changed.change {
        Change::Added => format!("+ {what} {name}\n"),
        Change::Removed => format!("- {what} {name}\n"),
        Change::Changed(details) => {
            let mut text = format!("~ {what} {name}\n");
            for detail in details {
                let part = &detail.part;
                text.push_str(&match (&detail.from, &detail.to) {
                    (Some(from), Some(to)) => format!("    {part}: {from} → {to}\n"),
                    (None, Some(to)) => format!("    {part}: + {to}\n"),
                    (Some(from), None) => format!("    {part}: - {from}\n"),
                    (None, None) => format!("    {part}\n"),
                });
            }
            text
        }
    }
}

fn audit(entries: &[AuditEntry], width: Option<usize>) -> String {
    if entries.is_empty() {
        return "no command has changed anything yet\n".to_owned();
    }
    let mut table = Table::new(&["when", "door", "command", "", "outcome"]);
    for entry in entries {
        table.row(vec![
            local(entry.at),
            entry.door.to_string(),
            entry.command.clone(),
            if entry.done { "done" } else { "refused" }.to_owned(),
            entry.outcome.replace('\n', " "),
        ]);
    }
    table.text(width)
}
