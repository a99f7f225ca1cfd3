//! How often something happens: a sliding window that needs no timer.

/// Events in the last `N` spans of time, the present one among them.
///
/// It is moved on by whoever adds or asks, so that a counter which nobody touches costs nothing. Times are milliseconds
/// of a clock that never goes back, of the caller's choice.
#[derive(Clone, Debug)]
pub struct Rate<const N: usize> {
    span_ms: u64,
    began_ms: u64,
    /// The number of the newest span.
    newest: u64,
    spans: [u64; N],
}

/// Rows in the last ten seconds.
pub type RowRate = Rate<10>;

impl RowRate {
    /// A window of ten seconds that begins at `now_ms`.
    pub fn rows(now_ms: u64) -> RowRate {
        Rate::new(1000, now_ms)
    }
}

impl<const N: usize> Rate<N> {
    /// A window of `N` spans of `span_ms` each, in which nothing happened before `now_ms`.
    pub fn new(span_ms: u64, now_ms: u64) -> Rate<N> {
        Rate { span_ms, began_ms: now_ms, newest: now_ms / span_ms, spans: [0; N] }
    }

    /// Adds what happened just now.
    pub fn add(&mut self, now_ms: u64, amount: u64) {
        self.advance(now_ms);
        self.spans[(self.newest % N as u64) as usize] += amount;
    }

    /// What happened in the window, by the second. A window that has just begun is taken for a second at least.
    pub fn per_second(&self, now_ms: u64) -> f64 {
        let mut at_now = self.clone();
        at_now.advance(now_ms);
        let sum: u64 = at_now.spans.iter().sum();
        let window_ms = (N as u64 - 1) * self.span_ms + now_ms % self.span_ms;
        let lasted_ms = window_ms.min(now_ms.saturating_sub(self.began_ms)).max(1000);
        sum as f64 * 1000.0 / lasted_ms as f64
    }

    fn advance(&mut self, now_ms: u64) {
        let number = now_ms / self.span_ms;
        let passed = number.saturating_sub(self.newest);
        for ahead in 1..=passed.min(N as u64) {
            self.spans[((self.newest + ahead) % N as u64) as usize] = 0;
        }
        self.newest += passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_its_end_is_seen() {
        let mut rate = RowRate::rows(5_000);
        for at in 0..600 {
            rate.add(5_000 + at * 100, 25);
        }
        let steady = rate.per_second(64_950);
        assert!((240.0..=260.0).contains(&steady), "{steady}");
        assert!(rate.per_second(69_900) < 140.0);
        assert_eq!(rate.per_second(75_000), 0.0);
        assert_eq!(rate.per_second(10_000_000), 0.0);
    }

    #[test]
    fn a_window_that_has_just_begun_is_not_thinned_out() {
        let mut rate = RowRate::rows(100_000);
        rate.add(100_500, 300);
        assert_eq!(rate.per_second(100_600), 300.0);
        rate.add(102_000, 300);
        assert_eq!(rate.per_second(102_000), 300.0);
    }

    #[test]
    fn a_clock_that_stands_still_or_is_asked_for_the_past_does_no_harm() {
        let mut rate = RowRate::rows(9_000);
        rate.add(8_000, 7);
        assert_eq!(rate.per_second(9_000), 7.0);
    }
}
