//! Figures in the units that people use.

use indicatif::HumanCount;

/// `17 ms`, `4.2 s`, `3 min`, `2 h`.
pub fn duration(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
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
    fn rates_are_as_exact_as_people_need() {
        for (per_s, text) in [(0.0, "0/s"), (0.25, "0.2/s"), (9.96, "10.0/s"), (1234.4, "1,234/s")] {
            assert_eq!(rate(per_s), text);
        }
    }
}
