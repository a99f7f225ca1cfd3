//! Drops what a log no longer has to keep.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::mine::Mine;
use crate::store::Retention;

/// How often a log is looked at. Retention is a matter of hours; dropping costs next to nothing.
const INTERVAL: Duration = Duration::from_secs(30);

/// How much of a log is kept, and what happens when a pipeline still needs what would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// By age and size.
    pub keep: Retention,
    /// What a pipeline still needs is held while the log is smaller than this, in bytes on disk; `None` holds it
    /// without limit.
    pub hold_bytes_max: Option<u64>,
}

/// Applies the mine's policy until `over` is dropped or sent. A look at the log that has begun is ended: stores need not
/// bear being dropped in the middle of one.
pub async fn keep(mine: Arc<Mine>, mut over: oneshot::Receiver<()>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held = false;
    loop {
        tokio::select! {
            _ = &mut over => return,
            _ = interval.tick() => held = apply(&mine, held).await,
        }
    }
}

/// Looks once; tells whether something is held. `was_held` says whether that is known already.
async fn apply(mine: &Mine, was_held: bool) -> bool {
    let policy = mine.policy();
    let over = policy.hold_bytes_max.is_some_and(|most| mine.log().stat().stored_bytes > most);
    match mine.retain(&policy.keep, !over).await {
        Ok(retained) => {
            if retained.held && !was_held {
                warn!(mine = mine.name(), "old changes are kept because a pipeline has not read them yet");
            }
            if retained.dropped_bytes > 0 {
                info!(
                    mine = mine.name(),
                    horizon = retained.horizon.0,
                    bytes = retained.dropped_bytes,
                    "dropped old changes"
                );
            }
            if retained.dropped_bytes > 0 && over {
                warn!(
                    mine = mine.name(),
                    "the log had reached its limit; pipelines that lag may have lost their place"
                );
            }
            retained.held
        }
        Err(error) => {
            warn!(mine = mine.name(), "old changes could not be dropped: {error:?}");
            was_held
        }
    }
}
