//! Metric families as data, and how they are written.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::run::histogram::HistogramFigures;

/// Label names with their values.
pub(super) type Labels = Vec<(&'static str, String)>;

/// All families of a page, in order.
#[derive(Debug)]
pub(super) struct Sheet(pub Vec<Family>);

/// Everything that is measured under one name.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    help: &'static str,
    samples: Vec<(Labels, Value)>,
}

/// One figure.
#[derive(Debug)]
pub(super) enum Value {
    Count(u64),
    /// A counter of time.
    Seconds(f64),
    Gauge(f64),
    /// With how many of the histogram's units one of the family's has.
    Spread(HistogramFigures, f64),
}

impl Family {
    /// Something that only grows. The page adds `_total` to its name, behind the unit.
    pub fn counter(name: &'static str, help: &'static str) -> Family {
        Family { name, unit: None, kind: MetricType::Counter, help, samples: Vec::new() }
    }

    pub fn gauge(name: &'static str, help: &'static str) -> Family {
        Family { kind: MetricType::Gauge, ..Family::counter(name, help) }
    }

    pub fn histogram(name: &'static str, help: &'static str) -> Family {
        Family { kind: MetricType::Histogram, ..Family::counter(name, help) }
    }

    /// Adds a unit to the name.
    pub fn in_unit(self, unit: Unit) -> Family {
        Family { unit: Some(unit), ..self }
    }

    pub fn with(self, samples: impl IntoIterator<Item = (Labels, Value)>) -> Family {
        Family { samples: samples.into_iter().collect(), ..self }
    }
}

impl Value {
    /// One of several states: 1 for the one that holds, 0 for the others.
    pub fn flag(holds: bool) -> Value {
        Value::Gauge(f64::from(u8::from(holds)))
    }

    /// A time in milliseconds, for a gauge in seconds.
    pub fn ms(ms: i64) -> Value {
        Value::Gauge(ms as f64 / 1000.0)
    }
}

impl Sheet {
    pub fn open_metrics(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a text takes whatever is written to it");
        text
    }
}

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, unit, kind, help, samples } in &self.0 {
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?;
            for (labels, value) in samples {
                match labels.as_slice() {
                    [] => write(&mut family, value)?,
                    _ => write(&mut family.encode_family(labels)?, value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(encoder: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Count(count) => encoder.encode_counter::<NoLabelSet, _, f64>(count, None),
        Value::Seconds(seconds) => encoder.encode_counter::<NoLabelSet, _, f64>(seconds, None),
        Value::Gauge(value) => encoder.encode_gauge(value),
        Value::Spread(figures, per_unit) => {
            let bounds = figures.bounds.iter().map(|bound| *bound as f64 / per_unit).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(figures.counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(
                figures.sum as f64 / per_unit,
                figures.count(),
                &buckets,
                None,
            )
        }
    }
}

/// The same page in the older format: it names counters with their `_total`, and knows no units and no end.
pub(super) fn as_text(open_metrics: &str) -> String {
    let counters: Vec<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let described = ["# HELP ", "# TYPE "].into_iter().find_map(|word| {
            let (name, rest) = line.strip_prefix(word)?.split_once(' ')?;
            counters.contains(&name).then(|| format!("{word}{name}_total {rest}\n"))
        });
        match described {
            Some(described) => text.push_str(&described),
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::histogram::{CALL_US, Histogram};

    fn sheet() -> Sheet {
        let spread = Histogram::new(&CALL_US[..2]);
        [400, 900, 5_000].into_iter().for_each(|us| spread.record(us));
        let name = |name: &str| vec![("name", name.to_owned())];
        Sheet(vec![
            Family::counter("rows", "Rows").with([(name("订单 \"a\\b\"\nc"), Value::Count(3))]),
            Family::counter("busy", "Time").in_unit(Unit::Seconds).with([(vec![], Value::Seconds(1.5))]),
            Family::gauge("size", "Size").in_unit(Unit::Bytes).with([(name("a"), Value::Gauge(2.0))]),
            Family::histogram("call", "Calls")
                .in_unit(Unit::Seconds)
                .with([(name("a"), Value::Spread(spread.figures(), 1e6))]),
        ])
    }

    #[test]
    fn every_kind_is_written_in_both_formats() {
        insta::assert_snapshot!(sheet().open_metrics(), @r##"
        # HELP rows Rows
        # TYPE rows counter
        rows_total{name="订单 \"a\\b\"\nc"} 3
        # HELP busy_seconds Time
        # TYPE busy_seconds counter
        # UNIT busy_seconds seconds
        busy_seconds_total 1.5
        # HELP size_bytes Size
        # TYPE size_bytes gauge
        # UNIT size_bytes bytes
        size_bytes{name="a"} 2.0
        # HELP call_seconds Calls
        # TYPE call_seconds histogram
        # UNIT call_seconds seconds
        call_seconds_sum{name="a"} 0.0063
        call_seconds_count{name="a"} 3
        call_seconds_bucket{le="0.0005",name="a"} 1
        call_seconds_bucket{le="0.001",name="a"} 2
        call_seconds_bucket{le="+Inf",name="a"} 3
        # EOF
        "##);
        insta::assert_snapshot!(as_text(&sheet().open_metrics()), @r##"
        # HELP rows_total Rows
        # TYPE rows_total counter
        rows_total{name="订单 \"a\\b\"\nc"} 3
        # HELP busy_seconds_total Time
        # TYPE busy_seconds_total counter
        busy_seconds_total 1.5
        # HELP size_bytes Size
        # TYPE size_bytes gauge
        size_bytes{name="a"} 2.0
        # HELP call_seconds Calls
        # TYPE call_seconds histogram
        call_seconds_sum{name="a"} 0.0063
        call_seconds_count{name="a"} 3
        call_seconds_bucket{le="0.0005",name="a"} 1
        call_seconds_bucket{le="0.001",name="a"} 2
        call_seconds_bucket{le="+Inf",name="a"} 3
        "##);
    }
}
