//! A plan with other settings of a mine.

use std::sync::Arc;

use super::{MinePlan, Plan, Through};
use crate::model::spec::Settings;
use crate::model::table::Pattern;

impl Plan {
    /// The same plan, in which the mine of `connection` has these settings in the place of its own of the same keys.
    /// Without such a mine, nothing differs.
    #[must_use]
    pub fn with_mine_settings(mut self, connection: &str, settings: &Settings) -> Plan {
        let Some(mine) = self.mines.get(connection) else { return self };
        let mut edited = MinePlan::clone(mine);
        edited.settings.0.extend(settings.0.iter().map(|(key, setting)| (*key, setting.clone())));
        edited.name = edited.settings.text("name").unwrap_or_else(|| connection.to_owned());
        edited.exclude = edited.settings.tables("exclude").unwrap_or_default();
        let edited = Arc::new(edited);
        for pipeline in self.pipelines.values_mut() {
            let reads =
                |through: &Through| matches!(through, Through::Log(of) if of.connection.name == connection);
            if !pipeline.inputs.iter().any(|input| reads(&input.through)) {
                continue;
            }
            let pipeline = Arc::make_mut(pipeline);
            for input in pipeline.inputs.iter_mut().filter(|input| reads(&input.through)) {
                input.through = Through::Log(Arc::clone(&edited));
                input.tables.exclude = edited.exclude.iter().cloned().map(Pattern).collect();
            }
        }
        self.mines.insert(connection.to_owned(), edited);
        self
    }
}
