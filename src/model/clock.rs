//! The time of day, for figures, for the age of what is kept, and for nothing that decides about data.

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Tells the time, and where days begin. This machine's clock and time zone by default; a simulation has its own.
#[derive(Clone)]
pub struct Clock {
    now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    zone: TimeZone,
}

impl Clock {
    /// A clock that asks `now_ms` for the milliseconds since 1970 UTC, and whose days are those of UTC.
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Clock {
        Clock { now_ms: Arc::new(now_ms), zone: TimeZone::UTC }
    }

    /// The same clock with the days of another zone.
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Clock {
        Clock { zone, ..self }
    }

    /// Milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        (self.now_ms)()
    }

    /// The zone whose days are counted.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The name of the zone whose days are counted: `Europe/Berlin`; `local` where the machine's zone has no name.
    pub fn zone_name(&self) -> &str {
        if self.zone == TimeZone::UTC { "UTC" } else { self.zone.iana_name().unwrap_or("local") }
    }

    /// The day of a moment in milliseconds since 1970 UTC. One outside the calendar is at its nearest end.
    pub fn day(&self, time_ms: i64) -> Date {
        let moment = jiff::Timestamp::from_millisecond(time_ms);
        let moment = moment.unwrap_or(if time_ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX });
        self.zone.to_datetime(moment).date()
    }

    /// The milliseconds since 1970 UTC at which a day begins and ends.
    pub fn bounds(&self, day: Date) -> (i64, i64) {
        let start =
            |day: Date| day.to_zoned(self.zone.clone()).map(|start| start.timestamp().as_millisecond());
        let begin = start(day).unwrap_or(i64::MIN);
        (begin, day.tomorrow().and_then(start).unwrap_or(i64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new(|| jiff::Timestamp::now().as_millisecond()).in_zone(TimeZone::system())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
