//! Tables of a running engine's mines: paused, and resumed.

use std::sync::Arc;

use super::{Engine, Running};
use crate::error::{Error, Kind, Result};
use crate::model::coverage::Paused;
use crate::model::table::TableSet;
use crate::run::mine::Mine;

impl Engine {
    /// Stops reading some tables of a mine, which is known by its name or by its connection's. As [`Mine::pause`].
    ///
    /// # Errors
    /// `Refused` when there is no such mine, and while a pipeline is ahead of it with these tables, as it has read the
    /// source itself: they would come to it twice. Otherwise as [`Mine::pause`].
    pub async fn pause_tables(&self, mine: &str, tables: &TableSet) -> Result<()> {
        let mine = self.mine(mine).await?;
        if let Some(pipeline) = self.ahead_of(&mine, tables).await {
            return Err(Error::new(
                Kind::Refused,
                format!("pipeline {pipeline} has read the source itself, and mine {} is behind it", mine.name()),
            )
            .advice(format!(
                "start mine {} and try again when the pipeline reads the log, or stop reading the source by on_mine_failure = wait",
                mine.name()
            )));
        }
        mine.pause(tables).await
    }

    /// Has paused tables of a mine read again. As [`Mine::resume`].
    ///
    /// # Errors
    /// `Refused` when there is no such mine; otherwise as [`Mine::resume`].
    pub async fn resume_tables(&self, mine: &str, tables: &TableSet, accept_gap: bool) -> Result<()> {
        self.mine(mine).await?.resume(tables, accept_gap).await
    }

    /// The tables of a mine that are paused or being resumed.
    ///
    /// # Errors
    /// `Refused` when there is no such mine.
    pub async fn paused_tables(&self, mine: &str) -> Result<Vec<Paused>> {
        Ok(self.mine(mine).await?.paused())
    }

    /// A pipeline that has read one of these tables at the source, where the mine has not come yet.
    async fn ahead_of(&self, mine: &Arc<Mine>, tables: &TableSet) -> Option<String> {
        let running = self.running.lock().await;
        let routes = running.pipelines.values().flat_map(|pipeline| pipeline.routes());
        let mut ahead = routes.filter(|route| {
            let parts = route.parts();
            route.progress().is_direct()
                && parts.origin.mine().is_some_and(|read| Arc::ptr_eq(read, mine))
                && parts.tables.meets(tables)
        });
        ahead.next().map(|route| route.parts().pipeline.clone())
    }

    async fn mine(&self, name: &str) -> Result<Arc<Mine>> {
        let running = self.running.lock().await;
        let found = running.mine_called(name).map(Arc::clone);
        found.ok_or_else(|| {
            let known: Vec<_> = running.mines.values().map(|known| known.mine.name()).collect();
            let error = Error::new(Kind::Refused, format!("there is no mine {name}"));
            match known.as_slice() {
                [] => error.advice("a mine is there as soon as a pipeline reads through it"),
                _ => error.advice(format!("the mines are: {}", known.join(", "))),
            }
        })
    }
}

impl Running {
    fn mine_called(&self, name: &str) -> Option<&Arc<Mine>> {
        let connection = self.aliases.get(name).map_or(name, String::as_str);
        let mines = || self.mines.iter();
        let found = mines().find(|(_, known)| known.mine.name() == name);
        let found = found.or_else(|| mines().find(|(key, _)| *key == connection));
        found.map(|(_, known)| &known.mine)
    }
}
