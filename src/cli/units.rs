//! Figures in the units that people use.

/// `17 ms`, `4.2 s`, `3 min`, `2 h`.
pub fn duration(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
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
}
