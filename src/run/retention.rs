//! Drops what a log no longer has to keep.

use std::convert::Infallible;
use std::sync::Weak;
use std::time::Duration;

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

/// Applies the policy for as long as the mine is alive. Cancel-safe between two looks.
pub async fn keep(mine: Weak<Mine>, policy: Policy) -> Infallible {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        match mine.upgrade() {
            Some(mine) => apply(&mine, &policy).await,
            None => std::future::pending().await,
        }
    }
}

async fn apply(mine: &Mine, policy: &Policy) {
    let over = policy.hold_bytes_max.is_some_and(|most| mine.log().stat().stored_bytes > most);
    let hold = if over { None } else { mine.oldest_needed() };
    match mine.log().retain(&policy.keep, hold).await {
        Ok(retained) if retained.held => {
            warn!(mine = mine.name(), "old changes are kept because a pipeline has not read them yet");
        }
        Ok(retained) if retained.dropped_bytes > 0 => {
            info!(
                mine = mine.name(),
                horizon = retained.horizon.0,
                bytes = retained.dropped_bytes,
                "dropped old changes"
            );
            if over {
                warn!(
                    mine = mine.name(),
                    "the log had reached its limit; pipelines that lag may have lost their place"
                );
            }
        }
        Ok(_) => {}
        Err(error) => warn!(mine = mine.name(), "old changes could not be dropped: {error:?}"),
    }
}
