//! What the page tells of alerts and of hooks that act.

use std::collections::BTreeMap;

use prometheus_client::registry::Unit;

use super::sheet::{Family, Labels, Value};
use crate::engine::alerts::AlertsShown;
use crate::run::alert::Firing;

pub(super) fn families(alerts: &AlertsShown) -> Vec<Family> {
    let each = |holds: fn(&Firing) -> bool| -> Vec<_> {
        alerts.firing.iter().map(|firing| (of_alert(firing), Value::flag(holds(firing)))).collect()
    };
    let one = |count: usize| [(Labels::new(), Value::Gauge(count as f64))];
    // The newest run of each counts.
    let runs: BTreeMap<_, _> = alerts.hooks.iter().map(|run| (run.name.as_str(), run)).collect();
    let of_hook = |name: &str| vec![("hook", name.to_owned())];
    let took = runs.iter().map(|(name, run)| (of_hook(name), Value::Gauge(run.took_ms as f64 / 1000.0)));
    let failed = runs.iter().map(|(name, run)| (of_hook(name), Value::flag(run.error.is_some())));
    vec![
        Family::gauge("lode_alerts_watched", "Conditions that are watched").with(one(alerts.watched)),
        Family::gauge("lode_alerts_muted", "What is not to tell anybody").with(one(alerts.mutes.len())),
        Family::gauge("lode_alert_firing", "1 while an alert fires, whether somebody is told or not")
            .with(each(|_| true)),
        Family::gauge("lode_alert_acked", "1 when somebody has acknowledged the alert that fires")
            .with(each(|firing| firing.acked)),
        Family::gauge(
            "lode_hook_last_run",
            "How long the hook or command of an alert or a schedule took the last time",
        )
        .in_unit(Unit::Seconds)
        .with(took),
        Family::gauge("lode_hook_failed", "1 when the hook or command failed the last time, or was slow")
            .with(failed),
    ]
}

/// Several rules may watch the same of somebody: the rule tells them apart.
fn of_alert(firing: &Firing) -> Labels {
    let told = &firing.last;
    vec![("alert", told.name.clone()), ("of", told.of.to_string()), ("rule", told.rule.clone())]
}
