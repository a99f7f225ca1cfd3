//! Figures in the units that people use.

use indicatif::HumanCount;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `17 ms`, `4.2 s`, `3 min`, `2 h`.
pub fn duration(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// A time in the zone of whoever reads it, with the zone's name: `2026-01-31 09:00:00 CET`.
pub fn local(at: Timestamp) -> String {
    in_zone(at, zone())
}

fn in_zone(at: Timestamp, zone: TimeZone) -> String {
    at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// As [`local`], to the millisecond: `2026-01-31 09:00:00.250 CET`.
pub fn local_ms(at: Timestamp) -> String {
    at.to_zoned(zone()).strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string()
}

/// Where nobody says which zone this is, it is UTC.
fn zone() -> TimeZone {
    let zone = TimeZone::system();
    if zone.is_unknown() { TimeZone::UTC } else { zone }
}

/// Rows by the second: `1,234/s`, `0.5/s`.
pub fn rate(per_s: f64) -> String {
    match per_s {
        10.0.. => format!("{}/s", HumanCount(per_s.round() as u64)),
        0.05..10.0 => format!("{per_s:.1}/s"),
        _ => "0/s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_the_unit_that_people_would_use() {
        assert_eq!(duration(17), "17 ms");
        assert_eq!(duration(4_210), "4.2 s");
        assert_eq!(duration(61_000), "1 min");
        assert_eq!(duration(7_200_000), "2 h");
    }

    #[test]
    fn times_name_their_zone() {
        let at = Timestamp::from_second(1_769_846_400).unwrap();
        let zone = |name| TimeZone::get(name).unwrap();
        assert_eq!(in_zone(at, TimeZone::UTC), "2026-01-31 08:00:00 UTC");
        assert_eq!(in_zone(at, zone("Europe/Berlin")), "2026-01-31 09:00:00 CET");
        assert_eq!(in_zone(at, zone("Asia/Shanghai")), "2026-01-31 16:00:00 CST");
        assert_eq!(in_zone(at, zone("America/Sao_Paulo")), "2026-01-31 05:00:00 -03");
    }

    #[test]
    fn rates_are_as_exact_as_people_need() {
        for (per_s, text) in [(0.0, "0/s"), (0.25, "0.2/s"), (9.96, "10.0/s"), (1234.4, "1,234/s")] {
            assert_eq!(rate(per_s), text);
        }
    }
}
