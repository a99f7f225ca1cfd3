//! What alerts answer, for people.

use lode::engine::alerts::AlertsShown;
use lode::run::alert::{Because, Told};

use super::table::Table;
use super::units::duration;

/// What fires, what is muted, what was told, and hooks that did not do what they should.
pub fn text(alerts: &AlertsShown, width: Option<usize>) -> String {
    let mut text = match (alerts.watched, alerts.firing.len()) {
        (0, _) => "no condition is watched: write on … do … in the script, or alerts = standard\n".to_owned(),
        (1, 0) => "one condition is watched, and does not hold\n".to_owned(),
        (watched, 0) => format!("{watched} conditions are watched, and none of them holds\n"),
        _ => String::new(),
    };
    let mut firing = Table::new(&["fires", "since", "", "message"]);
    for one in &alerts.firing {
        let state = match (one.acked, one.told) {
            (true, _) => "acknowledged",
            (false, true) => "told",
            (false, false) => "not told",
        };
        let last = &one.last;
        firing.row(vec![last.name.clone(), local(last.since_ms), state.to_owned(), last.message.clone()]);
    }
    text += &firing.text(width);
    for mute in &alerts.mutes {
        let until =
            mute.until_ms.map_or("until `unmute`".to_owned(), |until| format!("until {}", local(until)));
        text += &format!("{} tells nobody, {until}\n", mute.name);
    }
    if !alerts.history.is_empty() {
        let mut history = Table::new(&["told at", "", "alert", "message"]);
        for told in &alerts.history {
            let because = word(told).to_owned();
            history.row(vec![local(told.at_ms), because, told.name.clone(), told.message.clone()]);
        }
        text += &format!("\n{}", history.text(width));
    }
    for run in alerts.hooks.iter().filter(|run| run.error.is_some()) {
        let error = run.error.as_deref().unwrap_or_default();
        let (at, took) = (local(run.at_ms), duration(run.took_ms as i64));
        text += &format!("the hook of {} failed at {at}, after {took}: {error}\n", run.name);
    }
    text
}

fn word(told: &Told) -> &'static str {
    match told.because {
        Because::Fires => "fires",
        Because::Repeats => "still fires",
        Because::Resolved => "resolved",
    }
}

fn local(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), super::units::local)
}
