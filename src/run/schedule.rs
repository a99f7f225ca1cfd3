//! When schedules are due. Nothing here reads a clock: time is passed in.
//!
//! Times of cron are those of a time zone. Where its clocks go forward, a time that is skipped comes once, right after
//! the gap; where they go back, a time that comes twice counts the first time only.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::check::Cron;
use crate::check::model::When;

/// Nothing is looked for further ahead: a date such as February 30 never comes.
const YEARS_AHEAD: i16 = 9;
/// After so many times that were missed, those in between are not counted one by one.
const STEPS_MAX: usize = 1_000;
/// What is due for longer than this was missed, and is not made up for.
pub const LATE_MAX_MS: i64 = 60_000;

/// One schedule on its way from one time to the next.
#[derive(Clone, Debug)]
pub struct Timer {
    when: When,
    zone: TimeZone,
    /// The next time: by the clock on the wall, for cron.
    wall: Option<DateTime>,
    /// The same, milliseconds since 1970 UTC.
    next_ms: Option<i64>,
}

/// What has become of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its time has come; this was it, milliseconds since 1970 UTC.
    Now(i64),
    /// It was missed, as nobody looked.
    Missed(i64),
}

impl Timer {
    /// Counts from `now_ms`.
    pub fn new(when: When, zone: TimeZone, now_ms: i64) -> Timer {
        let mut timer = Timer { when, zone, wall: None, next_ms: None };
        timer.go_on(now_ms);
        timer
    }

    /// The schedule.
    pub fn when(&self) -> &When {
        &self.when
    }

    /// When it is due next, milliseconds since 1970 UTC; `None` when that never comes.
    pub fn next_ms(&self) -> Option<i64> {
        self.next_ms
    }

    /// What is due at `now_ms`, and moves on behind that: however many times have passed, it is one.
    pub fn due(&mut self, now_ms: i64) -> Option<Due> {
        let next_ms = self.next_ms.filter(|next_ms| *next_ms <= now_ms)?;
        if let When::Every(period) = &self.when {
            // A period has no place of its own on the clock, so that it is never too late for one.
            let period_ms = period_ms(*period);
            self.next_ms =
                next_ms.checked_add(((now_ms - next_ms) / period_ms + 1).saturating_mul(period_ms));
            return Some(Due::Now(next_ms + (now_ms - next_ms) / period_ms * period_ms));
        }
        let mut last_ms = next_ms;
        let mut steps = 0;
        while let Some(next_ms) = self.next_ms.filter(|next_ms| *next_ms <= now_ms) {
            last_ms = next_ms;
            steps += 1;
            match steps {
                STEPS_MAX.. => self.go_on(now_ms),
                _ => self.step(),
            }
        }
        Some(if now_ms - last_ms > LATE_MAX_MS { Due::Missed(last_ms) } else { Due::Now(last_ms) })
    }

    /// Its last time between two moments, if there is one: what was missed while nobody looked. Periods have none.
    pub fn missed(&self, from_ms: i64, until_ms: i64) -> Option<i64> {
        if !matches!(self.when, When::At(_)) {
            return None;
        }
        let mut timer = Timer::new(self.when.clone(), self.zone.clone(), from_ms);
        match timer.due(until_ms)? {
            Due::Now(at_ms) | Due::Missed(at_ms) => Some(at_ms),
        }
    }

    fn go_on(&mut self, now_ms: i64) {
        match &self.when {
            When::Every(period) => self.next_ms = now_ms.checked_add(period_ms(*period)),
            When::At(_) => {
                let now = Timestamp::from_millisecond(now_ms).unwrap_or_default();
                self.wall = Some(self.zone.to_datetime(now));
                self.step();
            }
        }
    }

    /// Moves on to the next time of cron.
    fn step(&mut self) {
        let When::At(cron) = &self.when else { return };
        self.wall = self.wall.and_then(|wall| next(cron, wall));
        self.next_ms = self.wall.and_then(|wall| {
            wall.to_zoned(self.zone.clone()).ok().map(|time| time.timestamp().as_millisecond())
        });
    }
}

fn period_ms(period: Duration) -> i64 {
    i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// The first time of a schedule behind a moment, by the clock on the wall.
fn next(cron: &Cron, after: DateTime) -> Option<DateTime> {
    let mut at = after.with().second(0).subsec_nanosecond(0).build().ok()?.checked_add(1.minute()).ok()?;
    let last_year = after.year().checked_add(YEARS_AHEAD)?;
    while at.year() <= last_year {
        if cron.months & 1 << at.month() == 0 || !is_day(cron, at) {
            at = at.date().tomorrow().ok()?.at(0, 0, 0, 0);
        } else if cron.hours & 1 << at.hour() == 0 {
            at = at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
        } else if cron.minutes & 1 << at.minute() == 0 {
            at = at.checked_add(1.minute()).ok()?;
        } else {
            return Some(at);
        }
    }
    None
}

fn is_day(cron: &Cron, at: DateTime) -> bool {
    let of_month = cron.days & 1 << at.day() != 0;
    let of_week = cron.weekdays & 1 << at.weekday().to_sunday_zero_offset() != 0;
    if cron.either_day { of_month || of_week } else { of_month && of_week }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let when = When::At(Cron::parse(cron).unwrap());
        let mut timer = Timer::new(when, TimeZone::get(zone).unwrap(), ms(from));
        let mut shown = Vec::new();
        while let Some(next_ms) = timer.next_ms().filter(|_| shown.len() < count) {
            shown.push(Timestamp::from_millisecond(next_ms).unwrap().to_string());
            assert_eq!(timer.due(next_ms), Some(Due::Now(next_ms)));
        }
        shown
    }

    #[test]
    fn times_of_cron_come_in_their_order() {
        assert_eq!(
            times("30 1 * * 0", "UTC", "2026-01-31T08:00:00Z", 2),
            ["2026-02-01T01:30:00Z", "2026-02-08T01:30:00Z"]
        );
        assert_eq!(
            times("*/20 9 29 2 *", "UTC", "2026-01-31T08:00:00Z", 4),
            ["2028-02-29T09:00:00Z", "2028-02-29T09:20:00Z", "2028-02-29T09:40:00Z", "2032-02-29T09:00:00Z"]
        );
        assert_eq!(
            times("0 0 13 * 5", "UTC", "2026-02-10T00:00:00Z", 2),
            ["2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"]
        );
        assert!(times("0 0 30 2 *", "UTC", "2026-02-10T00:00:00Z", 2).is_empty());
    }

    #[test]
    fn a_time_that_is_skipped_comes_once_and_one_that_comes_twice_too() {
        // In Berlin clocks went from 02:00 to 03:00 on 29 March 2026, and from 03:00 to 02:00 on 25 October.
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3),
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn what_nobody_looked_at_in_time_is_missed_once() {
        let when = When::At(Cron::parse("0 * * * *").unwrap());
        let mut timer = Timer::new(when, TimeZone::UTC, ms("2026-02-10T00:30:00Z"));
        assert_eq!(timer.due(ms("2026-02-10T00:59:59Z")), None);
        assert_eq!(timer.due(ms("2026-02-10T03:30:00Z")), Some(Due::Missed(ms("2026-02-10T03:00:00Z"))));
        assert_eq!(timer.due(ms("2026-02-10T03:30:00Z")), None);
        assert_eq!(timer.due(ms("2026-02-10T04:00:20Z")), Some(Due::Now(ms("2026-02-10T04:00:00Z"))));
        let missed = timer.missed(ms("2026-02-10T05:30:00Z"), ms("2026-02-10T07:10:00Z"));
        assert_eq!(missed, Some(ms("2026-02-10T07:00:00Z")));
        assert_eq!(timer.missed(ms("2026-02-10T05:30:00Z"), ms("2026-02-10T05:50:00Z")), None);
    }

    #[test]
    fn periods_are_steady() {
        let mut timer = Timer::new(When::Every(Duration::from_secs(60)), TimeZone::UTC, 0);
        assert_eq!(timer.due(59_999), None);
        assert_eq!(timer.due(60_500), Some(Due::Now(60_000)));
        assert_eq!(timer.due(119_999), None);
        assert_eq!(timer.due(301_000), Some(Due::Now(300_000)));
        assert_eq!(timer.next_ms(), Some(360_000));
        assert_eq!(timer.missed(0, 1_000_000), None);
    }
}
