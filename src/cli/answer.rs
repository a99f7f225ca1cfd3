//! Answers to commands, for people.

use indicatif::{HumanBytes, HumanCount};
use lode::engine::audit::AuditEntry;
use lode::engine::decisions::{Decided, Decisions, Edit, Halted};
use lode::engine::reply::{Reply, SettingShown};
use lode::engine::status::{Consumer, MineStatus, PipelineStatus, RouteStatus};
use lode::plan::diff::{Change, Changed, Diff};
use lode::run::mine::MineState;
use lode::run::pipeline::Halt;
use lode::run::route::RouteState;

use super::looks;
use super::screen::error_text;
use super::table::Table;
use super::units::{duration, local, rate};

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
        Reply::Changes(changes) => looks::changes(changes, width, colors),
        Reply::Rows(rows) => looks::rows(rows, width),
        Reply::Evaluated(evaluated) => looks::evaluated(evaluated, width),
        Reply::Trace(trace) => looks::trace(trace, width, colors),
        Reply::Done { done } => done.iter().map(|done| format!("{done}\n")).collect(),
        Reply::Confirm { command, would, affected, diff } => confirm(command, would, affected, diff),
        Reply::Difference { diff, applied, notes } => difference(diff, *applied, notes),
        Reply::Audit { entries } => audit(entries, width),
        Reply::Alerts { alerts } => super::alerts::text(alerts, width),
        Reply::Text { text } => text.clone(),
        Reply::Wrong { text, .. } => text.clone(),
        Reply::Failed { error, advice, .. } => error_text(error, advice.as_deref(), colors),
    }
}

fn mines(mines: &[MineStatus], decisions: &Decisions, width: Option<usize>, colors: bool) -> String {
    if mines.is_empty() {
        return "no mine runs\n".to_owned();
    }
    let mut table =
        Table::new(&["mine", "state", ">new changes", ">in", ">out", ">delay", ">log", "position"]);
    for mine in mines {
        table.row(vec![
            mine.name.clone(),
            mine_word(&mine.state).to_owned(),
            HumanCount(mine.changes).to_string(),
            rate(mine.rows_in_per_s),
            rate(mine.rows_out_per_s),
            duration(mine.delay_ms),
            HumanBytes(mine.stored_bytes).to_string(),
            mine.position.clone().unwrap_or_default(),
        ]);
    }
    let mut text = table.text(width);
    for (mine, stopped) in &decisions.mines {
        text.push_str(&format!("mine {mine} was stopped {}; `start {mine}` lets it go on\n", by(stopped)));
    }
    for mine in mines {
        text.push_str(&paused_text(mine));
        text.push_str(&mine_trouble(mine, colors));
    }
    text
}

fn paused_text(mine: &MineStatus) -> String {
    let mut text = String::new();
    for paused in &mine.paused {
        let since = timestamp(paused.since_ms).map_or(String::new(), |at| format!(", of {}", local(at)));
        let what = if paused.resuming { "is being resumed" } else { "is paused" };
        text.push_str(&format!(
            "{} {what}: its changes are read up to {}{since}\n",
            paused.tables, paused.since
        ));
        if let Some(failure) = &paused.failed {
            text.push_str(&format!("  it could not be resumed: {}\n", failure.error));
            failure.advice.iter().for_each(|advice| text.push_str(&format!("  {advice}\n")));
        }
    }
    text
}

/// What a mine does, in a word or two.
pub fn mine_word(state: &MineState) -> &'static str {
    match state {
        MineState::Idle => "idle",
        MineState::Starting => "starting",
        MineState::Running => "running",
        MineState::Retrying { .. } => "retrying",
        MineState::StoreFull { .. } => "store full",
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
        MineState::StoreFull { error, advice } => {
            error_text(&format!("mine {} waits for room: {error}", mine.name), advice.as_deref(), colors)
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
    for pipeline in pipelines {
        text.push_str(&without_text(pipeline));
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

/// What a route does, in a few words.
pub fn route_word(pipeline: &PipelineStatus, route: &RouteStatus) -> String {
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

/// What a pipeline does not get for now.
fn without_text(pipeline: &PipelineStatus) -> String {
    let mut text = String::new();
    for route in &pipeline.routes {
        if route.paused.is_empty() {
            continue;
        }
        let tables: Vec<_> = route.paused.iter().map(|table| format!("{}.{table}", route.source)).collect();
        let line = format!("pipeline {} gets no changes of {} meanwhile\n", pipeline.name, tables.join(", "));
        if !text.contains(&line) {
            text.push_str(&line);
        }
    }
    text
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

/// When and by whom: `2026-01-31 09:00:00 CET by socket (user 1000, process 4711)`.
pub fn by(decided: &Decided) -> String {
    format!("{} by {}", local(decided.at), decided.door)
}

fn timestamp(ms: i64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(ms).ok()
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
    if let Some(oldest) = mine.horizon_ms.and_then(timestamp) {
        text.push_str(&format!("  oldest     {}\n", local(oldest)));
    }
    text.push_str(&format!(
        "  changes    {} new, {} in, {} out\n",
        HumanCount(mine.changes),
        rate(mine.rows_in_per_s),
        rate(mine.rows_out_per_s)
    ));
    text.push_str(&format!("  delay      {}\n", duration(mine.delay_ms)));
    for consumer in &mine.consumers {
        text.push_str(&consumer_text(consumer));
    }
    for gap in &mine.gaps {
        let tables = gap.tables.as_ref().map_or("all tables".to_owned(), ToString::to_string);
        text.push_str(&format!("  missing    {tables} from {} to {}\n", gap.from, gap.to));
    }
    text.push_str(&paused_text(mine));
    text.push_str(&mine_trouble(mine, colors));
    text
}

fn consumer_text(consumer: &Consumer) -> String {
    let mut text = format!("  read by    {}", consumer.key);
    if let Some(lag_ms) = consumer.lag_ms {
        text.push_str(&format!(", lag {}", duration(lag_ms)));
    }
    if let Some(behind) = consumer.entries_behind.filter(|behind| *behind > 0) {
        text.push_str(&format!(", {} entries behind", HumanCount(behind)));
    }
    if let Some(hours) = consumer.history_lost_in_hours {
        text.push_str(&format!(", would lose history in {hours:.1} h"));
    }
    text + "\n"
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
    let counts = &mine.counts;
    if counts.tables.is_empty() {
        return format!("mine {} has no changes yet\n", mine.name);
    }
    let mut table = Table::new(&["table", ">changes", ">today", ">rate", "first change", "last change", ""]);
    for one in &counts.tables {
        let at = |ms| timestamp(ms).map(local).unwrap_or_default();
        let (database, name) = one.table.split_once('.').unwrap_or(("", &one.table));
        let paused = mine.paused.iter().find(|paused| paused.contains(database, name));
        table.row(vec![
            one.table.clone(),
            HumanCount(one.changes).to_string(),
            HumanCount(one.changes_today).to_string(),
            rate(one.rows_per_s),
            at(one.first_change_ms),
            at(one.last_change_ms),
            paused.map_or("", |paused| if paused.resuming { "resuming" } else { "paused" }).to_owned(),
        ]);
    }
    let mut text = table.text(width);
    if let Some(since) = counts.since_ms.and_then(timestamp) {
        text.push_str(&format!("counted since {}, as the file with the totals was lost\n", local(since)));
    }
    if !counts.complete {
        text.push_str("the log is still being counted\n");
    }
    text.push_str(&format!("today is the day in {}\n", counts.zone));
    text
}

fn confirm(command: &str, would: &[String], affected: &[String], diff: &Diff) -> String {
    let mut text = format!("{command}\n");
    difference_lines(diff).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    would.iter().for_each(|what| text.push_str(&format!("  {what}\n")));
    if !affected.is_empty() {
        text.push_str(&format!("  affected: {}\n", affected.join(", ")));
    }
    text
}

fn difference_lines(diff: &Diff) -> String {
    let mut text = String::new();
    let parts = [
        ("mine", &diff.mines),
        ("pipeline", &diff.pipelines),
        ("alert", &diff.alerts),
        ("schedule", &diff.schedules),
    ];
    for (what, changed) in parts {
        changed.iter().for_each(|changed| text.push_str(&changed_text(what, changed)));
    }
    text
}

fn difference(diff: &Diff, applied: bool, notes: &[String]) -> String {
    let mut text = difference_lines(diff);
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
