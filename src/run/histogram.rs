//! How values are spread: counts in fixed ranges, written where the work is done and read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds for how long a call takes, in microseconds: from half a millisecond to half a minute.
pub const CALL_US: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 30_000_000,
];
/// Bounds for how old something is when it arrives, in microseconds: from 5 milliseconds to an hour.
pub const AGE_US: &[u64] = &[
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    3_600_000_000,
];
/// Bounds for numbers of changes.
pub const CHANGES: &[u64] = &[1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000];
/// Bounds for sizes in bytes: from 1 KiB to 16 MiB.
pub const SIZE_BYTES: &[u64] =
    &[1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20];

/// Counts of values by range. Writing one is two additions, without a lock or an allocation.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is beyond the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// One without values. A value belongs to the first of `bounds`, which rise, that it does not exceed.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time, in microseconds.
    pub fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts an age that is known in milliseconds, in microseconds. One below zero, by clocks that differ, is zero.
    pub fn record_ms(&self, age_ms: i64) {
        self.record(u64::try_from(age_ms).unwrap_or(0).saturating_mul(1000));
    }

    /// The figures at this moment.
    pub fn figures(&self) -> HistogramFigures {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        HistogramFigures { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// What was counted, each range by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramFigures {
    /// The largest value of each range but the last, which has no end.
    pub bounds: &'static [u64],
    /// The values in each range.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: u64,
}

impl HistogramFigures {
    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_range_that_ends_with_it() {
        let histogram = Histogram::new(CHANGES);
        for value in [0, 1, 2, 5, 6, 100_000, 100_001, 7_000_000] {
            histogram.record(value);
        }
        let figures = histogram.figures();
        assert_eq!(figures.counts, [2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!((figures.count(), figures.sum), (8, 7_200_015));
    }

    #[test]
    fn bounds_rise() {
        for bounds in [CALL_US, AGE_US, CHANGES, SIZE_BYTES] {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        }
    }

    #[test]
    fn clocks_that_differ_and_times_without_end_do_no_harm() {
        let histogram = Histogram::new(AGE_US);
        histogram.record_ms(-3);
        histogram.record_ms(i64::MAX);
        histogram.record_time(Duration::MAX);
        assert_eq!((histogram.figures().count(), histogram.figures().counts[0]), (3, 1));
    }
}
