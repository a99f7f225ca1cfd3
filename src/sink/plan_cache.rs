//! Remembers what was worked out for a pair of schemas, so that a row costs one look-up.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::schema::TableSchema;

/// More pairs than any sane script makes; a stage that makes a schema for each row must not fill the memory.
const PAIRS_MAX: usize = 4096;

/// Plans by the source's schema, which names the table, and by the row's schema.
pub(super) struct PlanCache<P> {
    plans: HashMap<(usize, usize), Entry<P>>,
}

/// Holds both schemas, so that their addresses stay theirs.
struct Entry<P> {
    _table: Arc<TableSchema>,
    _schema: Arc<TableSchema>,
    plan: Arc<P>,
}

impl<P> PlanCache<P> {
    pub fn new() -> Self {
        PlanCache { plans: HashMap::new() }
    }

    pub fn get(&self, table: &Arc<TableSchema>, schema: &Arc<TableSchema>) -> Option<&Arc<P>> {
        self.plans.get(&address(table, schema)).map(|entry| &entry.plan)
    }

    pub fn insert(&mut self, table: &Arc<TableSchema>, schema: &Arc<TableSchema>, plan: P) -> Arc<P> {
        if self.plans.len() >= PAIRS_MAX {
            self.plans.clear();
        }
        let plan = Arc::new(plan);
        let entry = Entry { _table: table.clone(), _schema: schema.clone(), plan: plan.clone() };
        self.plans.insert(address(table, schema), entry);
        plan
    }
}

fn address(table: &Arc<TableSchema>, schema: &Arc<TableSchema>) -> (usize, usize) {
    (Arc::as_ptr(table).addr(), Arc::as_ptr(schema).addr())
}
