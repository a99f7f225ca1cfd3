//! Drops what a log no longer has to keep, and tells how long the rest will stay.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::mine::Mine;
use crate::model::position::Seq;
use crate::store::{LogStat, Retention};

/// How often a log is looked at. Retention is a matter of hours; dropping costs next to nothing.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// How much of a log is kept, and what happens when a pipeline still needs what would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// By age and size.
    pub keep: Retention,
    /// What happens to changes that are due to go and that a pipeline has not read.
    pub unread: Unread,
    /// The size of the log, in bytes on disk, from which on nothing unread is held any more, or nothing more is mined, as
    /// `unread` says. `None` is no limit but the disk's.
    pub hold_bytes_max: Option<u64>,
}

/// What happens to changes that are due to go and that a pipeline, running or stopped, has not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unread {
    /// They stay, up to the limit. Beyond it they go, and the pipeline fails with a gap.
    #[default]
    Hold,
    /// They go like all others.
    Drop,
    /// They stay. At the limit the mine stops until there is room again.
    Stop,
}

impl Policy {
    /// Whether changes that a pipeline still needs are held while the log has `stored_bytes`.
    pub fn holds(&self, stored_bytes: u64) -> bool {
        match self.unread {
            Unread::Hold => self.hold_bytes_max.is_none_or(|most| stored_bytes <= most),
            Unread::Drop => false,
            Unread::Stop => true,
        }
    }

    /// What is due to go. Where nothing unread may be dropped, what is read goes before the limit is reached.
    pub fn due(&self) -> Retention {
        let limit = self.hold_bytes_max.filter(|_| self.unread == Unread::Stop);
        let size = self.keep.size.into_iter().chain(limit.map(|most| most / 10 * 9)).min();
        Retention { age: self.keep.age, size }
    }

    /// The limit that a log of `stored_bytes` has reached, so that nothing more may be appended.
    pub fn is_full(&self, stored_bytes: u64) -> Option<u64> {
        self.hold_bytes_max.filter(|most| self.unread == Unread::Stop && stored_bytes >= *most)
    }

    /// How long it takes until the log no longer has entry `next`, if whoever needs it does not move and the log goes on
    /// growing as it does. `age` is that of the entry, `None` when it is not known. `None` when it cannot be lost.
    ///
    /// By size it is an estimate: as many bytes for one entry as for another.
    pub fn time_left(&self, log: &Growth<'_>, next: Seq, age: Option<Duration>) -> Option<Duration> {
        let stat = log.stat;
        let by_age = self.keep.age.zip(age).map(|(most, age)| most.saturating_sub(age));
        let by_size = self.keep.size.and_then(|most| {
            let entries = log.tail.0.saturating_sub(stat.horizon.0).max(1);
            let behind = log.tail.0.saturating_sub(next.0).min(entries);
            let needed = stat.stored_bytes as f64 * behind as f64 / entries as f64;
            log.time_to_grow(most as f64 - needed)
        });
        let due = by_age.into_iter().chain(by_size).min()?;
        match self.unread {
            Unread::Drop => Some(due),
            Unread::Stop => None,
            Unread::Hold => {
                let most = self.hold_bytes_max?;
                Some(due.max(log.time_to_grow(most as f64 - stat.stored_bytes as f64)?))
            }
        }
    }
}

/// How large a log is, and how fast it grows.
pub struct Growth<'a> {
    /// How large it is.
    pub stat: &'a LogStat,
    /// Where it ends.
    pub tail: Seq,
    /// Bytes before compression that are appended by the second.
    pub payload_per_s: f64,
}

impl Growth<'_> {
    /// Bytes on disk by the second, compressed as the log is on the whole.
    pub fn stored_per_s(&self) -> f64 {
        self.payload_per_s * self.stat.stored_bytes as f64 / (self.stat.payload_bytes as f64).max(1.0)
    }

    /// How long it takes to grow by so many bytes; `None` when it does not grow.
    fn time_to_grow(&self, bytes: f64) -> Option<Duration> {
        if bytes <= 0.0 {
            return Some(Duration::ZERO);
        }
        Duration::try_from_secs_f64(bytes / self.stored_per_s()).ok()
    }
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
            _ = interval.tick() => {}
            () = mine.wants_room() => {}
        }
        held = apply(&mine, held).await;
    }
}

/// Looks once; tells whether something is held. `was_held` says whether that is known already.
async fn apply(mine: &Mine, was_held: bool) -> bool {
    let policy = mine.policy();
    let hold = policy.holds(mine.log().stat().stored_bytes);
    match mine.retain(&policy.due(), hold).await {
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
            if retained.dropped_bytes > 0 && !hold && policy.unread == Unread::Hold {
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A log of 1000 entries and 1000 MB, twice compressed, that grows by 36 MB an hour.
    fn left(policy: &Policy, next: u64, age_hours: u32) -> Option<f64> {
        let stat =
            LogStat { stored_bytes: 1_000_000_000, payload_bytes: 2_000_000_000, ..LogStat::default() };
        let growth = Growth { stat: &stat, tail: Seq(1000), payload_per_s: 20_000.0 };
        let left = policy.time_left(&growth, Seq(next), Some(HOUR * age_hours))?;
        Some((left.as_secs_f64() / 36.0).round() / 100.0)
    }

    fn policy(unread: Unread, age_hours: Option<u32>, size: Option<u64>, hold: Option<u64>) -> Policy {
        let keep = Retention { age: age_hours.map(|hours| HOUR * hours), size };
        Policy { keep, unread, hold_bytes_max: hold }
    }

    #[test]
    fn what_is_due_first_decides() {
        let by_age = policy(Unread::Drop, Some(72), None, None);
        assert_eq!(left(&by_age, 1000, 0), Some(72.0));
        assert_eq!(left(&by_age, 500, 70), Some(2.0));
        assert_eq!(left(&by_age, 0, 100), Some(0.0));
        let both = policy(Unread::Drop, Some(72), Some(1_036_000_000), None);
        assert_eq!(left(&both, 0, 10), Some(1.0), "all of the log, and an hour's growth, fit");
        assert_eq!(left(&both, 500, 10), Some(14.89));
    }

    #[test]
    fn what_is_held_is_lost_at_the_limit_only() {
        let held = policy(Unread::Hold, Some(72), None, None);
        assert_eq!(left(&held, 0, 100), None);
        let limited = policy(Unread::Hold, Some(72), None, Some(1_072_000_000));
        assert_eq!(left(&limited, 0, 100), Some(2.0));
        assert_eq!(left(&limited, 500, 42), Some(30.0));
        let stops = policy(Unread::Stop, Some(72), None, Some(1_072_000_000));
        assert_eq!(left(&stops, 0, 100), None);
    }

    #[test]
    fn a_log_that_keeps_all_or_does_not_grow_loses_nothing() {
        assert_eq!(left(&policy(Unread::Drop, None, None, None), 0, 100), None);
        let stat = LogStat { stored_bytes: 10, payload_bytes: 20, ..LogStat::default() };
        let quiet = Growth { stat: &stat, tail: Seq(10), payload_per_s: 0.0 };
        assert_eq!(policy(Unread::Drop, None, Some(20), None).time_left(&quiet, Seq(0), None), None);
        let by_age = policy(Unread::Drop, Some(1), Some(20), None);
        assert_eq!(by_age.time_left(&quiet, Seq(10), Some(Duration::ZERO)), Some(HOUR));
    }

    #[test]
    fn limits_are_kept() {
        let stops = policy(Unread::Stop, None, None, Some(100));
        assert_eq!(stops.due().size, Some(90));
        assert_eq!((stops.is_full(99), stops.is_full(100), stops.holds(1000)), (None, Some(100), true));
        let held = policy(Unread::Hold, None, None, Some(100));
        assert_eq!((held.is_full(1000), held.holds(100), held.holds(101)), (None, true, false));
        assert!(!policy(Unread::Drop, None, None, Some(100)).holds(1));
    }
}
