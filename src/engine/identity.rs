//! Which connections lead to one server, so that it is mined once, into one log, whichever of them comes first.
//!
//! Only logs that nobody named are shared: whoever names two logs gets two.

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, Running, RunningMine};
use crate::check::model::default_log;
use crate::error::Result;
use crate::model::position::LogEpoch;
use crate::plan::{MinePlan, Plan};
use crate::run::mine::{Mine, MineState};
use crate::source::Source;
use crate::store::LogStore;

/// How long a server may take to say who it is.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a connection's changes go.
pub(super) enum Home {
    /// Into the log of a mine that runs, by its key.
    Shared(String),
    /// Into the log of this name.
    Own(String),
}

impl Home {
    /// Whether that is another log than the plan's.
    pub fn is_another(&self, plan: &MinePlan) -> bool {
        !matches!(self, Home::Own(log) if *log == plan.log)
    }
}

impl Engine {
    /// Finds out where a mine's changes belong. A server that does not answer now is taken for another one; should it turn
    /// out to be the same, the second mine does not read, and says so.
    pub(super) async fn home(
        &self,
        running: &Running,
        wanted: &Plan,
        plan: &MinePlan,
        source: &dyn Source,
        store: &Arc<dyn LogStore>,
    ) -> Result<Home> {
        if !has_default_log(plan) {
            return Ok(Home::Own(plan.log.clone()));
        }
        let alike = |other: &MinePlan| {
            other.store == plan.store
                && other.connection.kind == plan.connection.kind
                && other.connection.name != plan.connection.name
                && has_default_log(other)
        };
        let others: Vec<_> = running.mines.iter().filter(|(_, other)| alike(&other.plan)).collect();
        let is_same = |other: &RunningMine| {
            other.log == plan.log || other.plan.connection.endpoint == plan.connection.endpoint
        };
        if let Some((key, _)) = others.iter().find(|(_, other)| is_same(other)) {
            return Ok(Home::Shared((*key).clone()));
        }
        let known = self.known_logs(running, wanted, plan, store).await?;
        if others.is_empty() && known.is_empty() {
            return Ok(Home::Own(plan.log.clone()));
        }
        let Ok(Ok(identity)) = tokio::time::timeout(IDENTIFY_TIMEOUT, source.identify()).await else {
            return Ok(Home::Own(plan.log.clone()));
        };
        for (key, other) in others {
            let id = match other.mine.log().source_id() {
                Some(id) => Some(id),
                None => match tokio::time::timeout(IDENTIFY_TIMEOUT, other.source.identify()).await {
                    Ok(Ok(other)) => Some(other.id),
                    _ => None,
                },
            };
            if id.as_ref() == Some(&identity.id) {
                return Ok(Home::Shared(key.clone()));
            }
        }
        for log in known {
            let reader = store.open_reader(&log).await;
            if reader.is_ok_and(|reader| reader.source_id().as_ref() == Some(&identity.id)) {
                return Ok(Home::Own(log));
            }
        }
        Ok(Home::Own(plan.log.clone()))
    }

    /// The logs that an earlier run may have filled from the same server under the name of another connection; none when
    /// the connection's own log has something.
    async fn known_logs(
        &self,
        running: &Running,
        wanted: &Plan,
        plan: &MinePlan,
        store: &Arc<dyn LogStore>,
    ) -> Result<Vec<String>> {
        let mut candidates: Vec<String> = wanted
            .connections
            .values()
            .filter(|other| other.kind == plan.connection.kind && other.name != plan.connection.name)
            .map(|other| default_log(&other.name, plan.store.is_some()))
            .collect();
        candidates.retain(|log| running.mines.values().all(|mine| mine.log != *log));
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let there = store.list().await?;
        candidates.retain(|log| there.contains(log));
        if !candidates.is_empty() && there.contains(&plan.log) {
            let own = store.open_reader(&plan.log).await;
            if own.is_ok_and(|own| own.source_id().is_some()) {
                candidates.clear();
            }
        }
        Ok(candidates)
    }
}

/// The pipelines that read through a mine which turned out to read another mine's server, and does not. The mine is taken
/// away, so that they find the other one.
pub(super) fn part_from_twins(running: &mut Running) -> Vec<String> {
    let twins: Vec<String> = running
        .mines
        .iter()
        .filter(|(_, running)| {
            let mine = &running.mine;
            matches!(*mine.state().borrow(), MineState::Failed { .. })
                && mine.claim().is_some_and(|claim| claim.lost_to().is_some())
                && mine.log().source_id().is_none()
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in &twins {
        running.mines.remove(key);
    }
    let there: Vec<usize> = running.mines.values().map(|known| Arc::as_ptr(&known.mine).addr()).collect();
    let is_gone = |mine: &Arc<Mine>| !there.contains(&Arc::as_ptr(mine).addr());
    let pipelines = running.pipelines.values().filter(|pipeline| {
        pipeline.routes().iter().filter_map(|route| route.parts().origin.mine()).any(is_gone)
    });
    pipelines.map(|pipeline| pipeline.name().to_owned()).collect()
}

/// The epoch of a log that was made and never written.
pub(super) async fn empty_log(store: &Arc<dyn LogStore>, log: &str) -> Option<LogEpoch> {
    let reader = store.open_reader(log).await.ok()?;
    (reader.source_id().is_none() && reader.tail().commit.is_none()).then(|| reader.epoch())
}

/// Whether nobody named the log.
pub(super) fn has_default_log(plan: &MinePlan) -> bool {
    plan.log == default_log(&plan.connection.name, plan.store.is_some())
}
