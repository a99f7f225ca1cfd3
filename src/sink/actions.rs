//! What a batch asks of the target, in the order in which it has to be done: steps of one table are put together by key
//! wherever that cannot be seen from outside.

use std::collections::HashMap;
use std::sync::Arc;

use super::compact::{Run, by_key, in_order, values_move};
use super::step::Step;
use crate::model::change::Change;

/// How rows of one schema are written to one table.
pub(super) trait TablePlan {
    /// The target table.
    fn table(&self) -> &str;

    /// What ties its rows to each other.
    fn constraints(&self) -> &Constraints;
}

/// What ties the rows of a table to each other, and to other tables.
#[derive(Debug)]
pub(super) struct Constraints {
    /// Positions of the key in the row's schema.
    pub key: Vec<u16>,
    /// Positions of all columns in unique keys of the target other than that; `None` when they cannot be told from
    /// the row's schema.
    pub further_unique: Option<Vec<u16>>,
    /// Whether a foreign key begins or ends here, so that the order among tables matters.
    pub linked: bool,
}

impl Constraints {
    /// Whether a row may be in conflict with another one than that of its key.
    pub fn has_further_unique(&self) -> bool {
        self.further_unique.as_ref().is_none_or(|columns| !columns.is_empty())
    }

    fn runs<'a>(&self, steps: &[Step<'a>]) -> Vec<Run<'a>> {
        let must_keep_order = self.linked
            || self.has_further_unique() && values_move(steps, &self.key, self.further_unique.as_deref());
        if must_keep_order { in_order(steps, &self.key) } else { by_key(steps, &self.key) }
    }
}

/// A step with the plan of its table; none where the table is emptied.
pub(super) struct Planned<'a, P> {
    pub change: &'a Change,
    pub step: Step<'a>,
    pub plan: Option<Arc<P>>,
    /// For a row that is replaced in a table without a key: the plan for the schema of the row before.
    pub find: Option<Arc<P>>,
}

/// One thing to do.
pub(super) enum Action<'a, P> {
    /// Rows that one kind of statement takes together. No key occurs twice.
    Run { plan: Arc<P>, run: Run<'a> },
    /// A step that cannot be put together with others.
    Single { plan: Arc<P>, find: Option<Arc<P>>, step: Step<'a> },
    /// All rows of the change's table go.
    Clear(&'a Change),
}

/// What a batch asks for, in order.
pub(super) fn actions<'a, P: TablePlan>(
    planned: impl IntoIterator<Item = Planned<'a, P>>,
) -> Vec<Action<'a, P>> {
    let mut actions = Vec::new();
    let mut queues = Queues { alone: Vec::new(), places: HashMap::new(), linked: None };
    for Planned { change, step, plan, find } in planned {
        match plan {
            Some(plan) if is_plain(&step) => queues.push(&plan, step, &mut actions),
            Some(plan) => {
                queues.flush(&mut actions);
                actions.push(Action::Single { plan, find, step });
            }
            None => {
                queues.flush(&mut actions);
                actions.push(Action::Clear(change));
            }
        }
    }
    queues.flush(&mut actions);
    actions
}

/// Steps that wait to be written together.
struct Queues<'a, P> {
    /// One for each table that stands alone.
    alone: Vec<Queue<'a, P>>,
    /// Which of them belongs to a table.
    places: HashMap<String, usize>,
    /// The last run of the tables with foreign keys, whose order among each other is kept.
    linked: Option<Queue<'a, P>>,
}

struct Queue<'a, P> {
    plan: Arc<P>,
    steps: Vec<Step<'a>>,
}

impl<'a, P: TablePlan> Queues<'a, P> {
    /// Adds a step. A queue that has to be written before goes to `actions`.
    fn push(&mut self, plan: &Arc<P>, step: Step<'a>, actions: &mut Vec<Action<'a, P>>) {
        let begin = || Queue { plan: plan.clone(), steps: vec![step] };
        let queue = if plan.constraints().linked {
            match &mut self.linked {
                Some(queue) => queue,
                none => {
                    *none = Some(begin());
                    return;
                }
            }
        } else {
            match self.places.get(plan.table()) {
                Some(&at) => &mut self.alone[at],
                None => {
                    self.places.insert(plan.table().to_owned(), self.alone.len());
                    self.alone.push(begin());
                    return;
                }
            }
        };
        if Arc::ptr_eq(&queue.plan, plan) {
            queue.steps.push(step);
        } else {
            std::mem::replace(queue, begin()).finish(actions);
        }
    }

    fn flush(&mut self, actions: &mut Vec<Action<'a, P>>) {
        self.places.clear();
        for queue in self.alone.drain(..).chain(self.linked.take()) {
            queue.finish(actions);
        }
    }
}

impl<'a, P: TablePlan> Queue<'a, P> {
    fn finish(self, actions: &mut Vec<Action<'a, P>>) {
        let runs = self.plan.constraints().runs(&self.steps);
        actions.extend(runs.into_iter().map(|run| Action::Run { plan: self.plan.clone(), run }));
    }
}

/// A whole row, written or removed by its key.
fn is_plain(step: &Step<'_>) -> bool {
    match step {
        Step::Put { row, .. } => row.view().is_complete(),
        Step::Remove { .. } => true,
        _ => false,
    }
}
