//! How long to wait before the next try.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// A session that has been well for so long without anything to do counts as a success.
const STABLE: Duration = Duration::from_secs(60);

/// Doubles the wait with every failure, from 100 ms up to 30 s.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure and tells how long to wait.
    pub fn failed(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Notes a success: something became durable. The next failure waits shortly again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Notes that a session which began at `started` is well and has nothing to do. Only one that lasted shows that
    /// what failed before works again.
    pub fn quiet(&mut self, started: Instant) {
        if self.failures > 0 && started.elapsed() >= STABLE {
            self.failures = 0;
        }
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.failed()).collect();
        assert_eq!(waits[0], FIRST);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(*waits.last().unwrap(), LONGEST);
        backoff.succeeded();
        assert_eq!(backoff.failed(), FIRST);
    }
}
