//! What is done for what is told.

use super::{Because, Rule, Told, Whom};
use crate::check::model::{Action, Metric, Subject};
use crate::plan::Plan;

/// What is done: what the alert's statement says, or for a ready alert what `on alert` says; `None` is a notice.
pub fn actions<'p>(told: &Told, rule: &Rule, plan: &'p Plan) -> Vec<Option<&'p Action>> {
    if let Some(alert) = rule.statement.and_then(|statement| plan.alerts.get(statement)) {
        // A command happens once: what `pause` has done is not undone by the end of what it was for.
        let is_command = matches!(alert.action, Action::Command(_));
        let is_due = !is_command || told.because == Because::Fires;
        return if is_due { vec![Some(&alert.action)] } else { Vec::new() };
    }
    let answers =
        plan.alerts.iter().filter(|alert| alert.metric == Metric::Alert && is_about(&alert.of, &told.of));
    let actions: Vec<_> = answers.map(|alert| Some(&alert.action)).collect();
    if actions.is_empty() { vec![None] } else { actions }
}

fn is_about(of: &Option<Subject>, whom: &Whom) -> bool {
    match (of, whom) {
        (None, _) => true,
        (Some(Subject::Pipeline(wanted)), Whom::Pipeline(name)) => wanted == name,
        (Some(Subject::Mine(wanted)), Whom::Mine(name)) => wanted == name,
        _ => false,
    }
}
