//! How the lag of each route went lately, as bars.

use std::collections::{BTreeMap, VecDeque};

/// So many bars are shown.
const BARS: usize = 24;
/// A bar stands for so many looks, of which there is one each second.
const LOOKS_PER_BAR: u64 = 5;
/// The highest bar is at least this lag, so that milliseconds do not look like mountains.
const HIGHEST_MIN_MS: i64 = 1_000;
/// Bars from the lowest to the highest.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The lag of every route over the last two minutes.
#[derive(Default)]
pub struct Trends {
    looks: u64,
    /// For each bar, the oldest first, the longest lag in its time; `None` where it was not known.
    bars: BTreeMap<String, VecDeque<Option<i64>>>,
}

impl Trends {
    /// Takes one look at the lag of all routes. Those that are not there any more are forgotten.
    pub fn look<'a>(&mut self, routes: impl Iterator<Item = (&'a str, Option<i64>)>) {
        let is_new_bar = self.looks.is_multiple_of(LOOKS_PER_BAR);
        self.looks += 1;
        let mut before = std::mem::take(&mut self.bars);
        for (key, lag_ms) in routes {
            let mut bars = before.remove(key).unwrap_or_default();
            if is_new_bar || bars.is_empty() {
                bars.push_back(lag_ms);
            } else if let Some(last) = bars.back_mut() {
                *last = (*last).max(lag_ms);
            }
            if bars.len() > BARS {
                bars.pop_front();
            }
            self.bars.insert(key.to_owned(), bars);
        }
    }

    /// The bars of a route, the newest on the right.
    pub fn bars(&self, key: &str) -> String {
        let bars =
            self.bars.get(key).map(|bars| bars.iter().copied().collect::<Vec<_>>()).unwrap_or_default();
        let highest_ms = bars.iter().flatten().copied().max().unwrap_or(0).max(HIGHEST_MIN_MS);
        let height = |lag_ms: i64| {
            let steps = HEIGHTS.len() as f64 - 1.0;
            HEIGHTS[(lag_ms.max(0) as f64 / highest_ms as f64 * steps).round() as usize]
        };
        let blanks = std::iter::repeat_n(' ', BARS - bars.len());
        blanks.chain(bars.iter().map(|lag_ms| lag_ms.map_or(' ', height))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trends(lags_ms: &[Option<i64>]) -> Trends {
        let mut trends = Trends::default();
        lags_ms.iter().for_each(|lag_ms| trends.look([("a", *lag_ms)].into_iter()));
        trends
    }

    #[test]
    fn bars_are_as_high_as_the_longest_lag_of_their_time() {
        let lags_ms: Vec<Option<i64>> =
            [7_000, 3_500, 0].iter().flat_map(|ms| [Some(0), Some(*ms), Some(0), None, None]).collect();
        assert_eq!(trends(&lags_ms).bars("a").trim_start(), "█▅▁");
        assert_eq!(trends(&lags_ms).bars("a").chars().count(), BARS);
        assert_eq!(trends(&lags_ms).bars("b").trim(), "", "a route that nobody knows");
    }

    #[test]
    fn a_moment_is_no_mountain_and_what_is_not_known_no_bar() {
        assert_eq!(trends(&[Some(20)]).bars("a").trim_start(), "▁");
        assert_eq!(trends(&[None; 200]).bars("a").trim(), "");
        assert_eq!(trends(&[Some(i64::MAX)]).bars("a").trim_start(), "█");
        assert_eq!(trends(&[Some(-5)]).bars("a").trim_start(), "▁", "a clock that is behind");
    }

    #[test]
    fn what_is_old_and_who_has_gone_is_forgotten() {
        let mut trends = trends(&[Some(9_000); 1_000]);
        assert_eq!(trends.bars("a"), "█".repeat(BARS));
        trends.look([("b", Some(0))].into_iter());
        assert_eq!(trends.bars("a").trim(), "");
        assert_eq!(trends.bars("b").trim_start(), "▁");
    }
}
