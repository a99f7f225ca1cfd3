//! What is on the page. A new family is documented by its help text, and listed in `tests/golden/metrics`.

use std::sync::Arc;

use prometheus_client::registry::Unit;

use super::TABLES_MAX;
use super::sheet::{Family, Labels, Value};
use crate::engine::status::{Consumer, MineStatus, RouteStatus, Status};
use crate::model::clock::Clock;
use crate::run::histogram::Histogram;
use crate::run::mine::{Mine, MineState};
use crate::run::pipeline::{Halt, Pipeline};
use crate::run::route::{Route, RouteState};

/// Histograms count microseconds, pages show seconds.
const US_PER_S: f64 = 1e6;

pub(super) fn families(
    mines: &[Arc<Mine>],
    pipelines: &[Arc<Pipeline>],
    clock: &Clock,
    began_ms: i64,
) -> Vec<Family> {
    let status = Status::of(mines.iter().map(Arc::as_ref), pipelines.iter().map(Arc::as_ref), clock);
    let mined: Vec<_> = status.mines.iter().zip(mines.iter().map(Arc::as_ref)).collect();
    let routes = pipelines.iter().flat_map(|pipeline| pipeline.routes()).map(Arc::as_ref);
    let shown =
        status.pipelines.iter().flat_map(|pipeline| pipeline.routes.iter().map(move |r| (pipeline, r)));
    let delivered: Vec<_> = shown
        .zip(routes)
        .map(|((pipeline, shown), route)| Delivered { pipeline: &pipeline.name, shown, route })
        .collect();
    let mut families = of_process(began_ms);
    families.extend(of_mines(&mined));
    families.extend(of_tables(&status.mines));
    families.extend(of_routes(&delivered));
    families.extend(of_consumers(&status.mines, &delivered));
    let halts = status.pipelines.iter().flat_map(|pipeline| {
        [("stopped", Halt::Stopped), ("paused", Halt::Paused)].map(|(name, halt)| {
            let labels = vec![("pipeline", pipeline.name.clone()), ("halt", name.to_owned())];
            (labels, Value::flag(pipeline.halt == Some(halt)))
        })
    });
    families.push(
        Family::gauge("lode_pipeline_halted", "1 while somebody has stopped or paused the pipeline")
            .with(halts),
    );
    families
}

fn of_process(began_ms: i64) -> Vec<Family> {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let one = |value| [(Labels::new(), value)];
    let mut families = vec![
        Family::gauge("lode_build_info", "1, with the version that runs")
            .with([(version, Value::flag(true))]),
        Family::gauge("lode_start_timestamp", "When this engine was made, since 1970 UTC")
            .in_unit(Unit::Seconds)
            .with(one(Value::ms(began_ms))),
    ];
    if let Some(bytes) = resident_bytes() {
        let help = "Memory of the process that is in use now";
        let family = Family::gauge("process_resident_memory", help).in_unit(Unit::Bytes);
        families.push(family.with(one(Value::Gauge(bytes as f64))));
    }
    families
}

fn of_mines(mines: &[(&MineStatus, &Mine)]) -> Vec<Family> {
    let each = |value: &dyn Fn(&MineStatus, &Mine) -> Option<Value>| -> Vec<_> {
        let samples = mines.iter().filter_map(|(shown, mine)| Some((of_mine(shown), value(shown, mine)?)));
        samples.collect()
    };
    let states =
        mines.iter().flat_map(|(shown, _)| states(of_mine(shown), &MineState::NAMES, shown.state.name()));
    let spread = |of: fn(&Mine) -> &Histogram, per_unit| {
        each(&move |_, mine| Some(Value::Spread(of(mine).figures(), per_unit)))
    };
    vec![
        Family::gauge("lode_mine_state", "1 for what the mine does, 0 for everything else").with(states),
        Family::counter(
            "lode_mine_payload",
            "Bytes of changes made durable, before compression; from 0 when the mine is made",
        )
        .in_unit(Unit::Bytes)
        .with(each(&|_, mine| Some(Value::Count(mine.progress().payload_bytes())))),
        Family::counter(
            "lode_mine_retries",
            "Times the mine broke off and tried again; from 0 when it is made",
        )
        .with(each(&|_, mine| Some(Value::Count(mine.progress().retries())))),
        Family::gauge(
            "lode_mine_delay",
            "From the server's commit of the last transaction to its durability in the log",
        )
        .in_unit(Unit::Seconds)
        .with(each(&|shown, _| Some(Value::ms(shown.delay_ms)))),
        Family::histogram(
            "lode_mine_commit_to_durable",
            "From the server's commit of a block's last transaction to its durability in the log",
        )
        .in_unit(Unit::Seconds)
        .with(spread(|mine| &mine.progress().histograms().delay_us, US_PER_S)),
        Family::histogram("lode_mine_append", "How long appends to the log take")
            .in_unit(Unit::Seconds)
            .with(spread(|mine| &mine.progress().histograms().append_us, US_PER_S)),
        Family::histogram("lode_mine_append_changes", "Changes in an append to the log")
            .with(spread(|mine| &mine.progress().histograms().append_changes, 1.0)),
        Family::histogram("lode_mine_append_size", "Size of an append to the log, before compression")
            .in_unit(Unit::Bytes)
            .with(spread(|mine| &mine.progress().histograms().append_bytes, 1.0)),
        Family::gauge(
            "lode_mine_last_commit_timestamp",
            "When the server committed the last transaction in the log, since 1970 UTC",
        )
        .in_unit(Unit::Seconds)
        .with(each(&|_, mine| Some(Value::ms(mine.hub().tail().borrow().commit.as_ref()?.time_ms)))),
        Family::gauge("lode_mine_head_seq", "The number that the next entry of the log gets")
            .with(each(&|shown, _| Some(Value::Gauge(shown.head as f64)))),
        Family::gauge("lode_mine_horizon_seq", "The oldest entry that the log still has")
            .with(each(&|shown, _| Some(Value::Gauge(shown.horizon as f64)))),
        Family::gauge(
            "lode_mine_horizon_timestamp",
            "When the source executed the oldest change that the log still has, since 1970 UTC",
        )
        .in_unit(Unit::Seconds)
        .with(each(&|shown, _| shown.horizon_ms.map(Value::ms))),
        Family::gauge("lode_mine_stored", "Size of the log on disk, or in the store's database")
            .in_unit(Unit::Bytes)
            .with(each(&|shown, _| Some(Value::Gauge(shown.stored_bytes as f64)))),
        Family::gauge(
            "lode_mine_growth_bytes_per_second",
            "How fast the log grows, over the last ten minutes",
        )
        .with(each(&|shown, _| Some(Value::Gauge(shown.growth_bytes_per_s)))),
        Family::gauge("lode_mine_consumers", "Routes that read the log, whether they run or not")
            .with(each(&|shown, _| Some(Value::Gauge(shown.consumers.len() as f64)))),
        Family::gauge("lode_mine_gaps", "Places where history is missing because somebody accepted that")
            .with(each(&|shown, _| Some(Value::Gauge(shown.gaps.len() as f64)))),
    ]
}

/// Changes of the tables. Those that get figures of their own keep them: the order of first changes does not move.
fn of_tables(mines: &[MineStatus]) -> Vec<Family> {
    let (mut changes, mut last, mut paused) = (Vec::new(), Vec::new(), Vec::new());
    for mine in mines {
        let labels = |table: &str| vec![("mine", mine.name.clone()), ("table", table.to_owned())];
        let mut tables: Vec<_> = mine.counts.tables.iter().collect();
        tables.sort_by_key(|table| (table.first_change_ms, &table.table));
        let (own, others) = tables.split_at(tables.len().min(TABLES_MAX));
        for table in own {
            changes.push((labels(&table.table), Value::Count(table.changes)));
            last.push((labels(&table.table), Value::ms(table.last_change_ms)));
        }
        if let Some(newest) = others.iter().map(|table| table.last_change_ms).max() {
            changes.push((labels("other"), Value::Count(others.iter().map(|table| table.changes).sum())));
            last.push((labels("other"), Value::ms(newest)));
        }
        for one in &mine.paused {
            let state = if one.resuming { "resuming" } else { "paused" };
            let labels = labels(&one.tables.to_string()).into_iter().chain([("state", state.to_owned())]);
            paused.push((labels.collect(), Value::flag(true)));
        }
    }
    vec![
        Family::counter(
            "lode_mine_changes",
            "Changes that the log was ever given of a table; goes on over restarts",
        )
        .with(changes),
        Family::gauge(
            "lode_mine_last_change_timestamp",
            "When the source executed the last change of a table, since 1970 UTC",
        )
        .in_unit(Unit::Seconds)
        .with(last),
        Family::gauge(
            "lode_mine_paused",
            "1 for tables, or patterns of them, that are paused or being resumed",
        )
        .with(paused),
    ]
}

/// A route and where it belongs.
struct Delivered<'a> {
    pipeline: &'a str,
    shown: &'a RouteStatus,
    route: &'a Route,
}

impl Delivered<'_> {
    fn labels(&self) -> Labels {
        vec![
            ("pipeline", self.pipeline.to_owned()),
            ("source", self.shown.source.clone()),
            ("sink", self.shown.sink.clone()),
        ]
    }
}

fn of_routes(routes: &[Delivered<'_>]) -> Vec<Family> {
    let each = |value: &dyn Fn(&Delivered<'_>) -> Option<Value>| -> Vec<_> {
        routes.iter().filter_map(|route| Some((route.labels(), value(route)?))).collect()
    };
    let states =
        routes.iter().flat_map(|route| states(route.labels(), &RouteState::NAMES, route.shown.state.name()));
    let info = routes.iter().map(|route| {
        let mine = ("mine", route.shown.mine.clone().unwrap_or_default());
        (route.labels().into_iter().chain([mine]).collect(), Value::flag(true))
    });
    let spread = |of: fn(&Route) -> &Histogram, per_unit| {
        each(&move |route| Some(Value::Spread(of(route.route).figures(), per_unit)))
    };
    let counter = |name, help, of: fn(&RouteStatus) -> u64| {
        Family::counter(name, help).with(each(&move |route| Some(Value::Count(of(route.shown)))))
    };
    vec![
        Family::gauge(
            "lode_route_info",
            "1, with the mine that the route reads through; empty when it reads by itself",
        )
        .with(info),
        Family::gauge("lode_route_state", "1 for what the route does, 0 for everything else").with(states),
        Family::gauge(
            "lode_route_lag",
            "How far the sink is behind the log, by the source server's clock; absent while it is not known",
        )
        .in_unit(Unit::Seconds)
        .with(each(&|route| route.shown.lag_ms.map(Value::ms))),
        Family::gauge(
            "lode_route_direct",
            "1 while the route reads the source itself in the place of its mine",
        )
        .with(each(&|route| Some(Value::flag(route.shown.direct)))),
        counter(
            "lode_route_changes_read",
            "Changes of the route's tables that were read; from 0 when the route is made",
            |route| route.figures.changes_read,
        ),
        counter(
            "lode_route_changes_delivered",
            "Changes that came out of the stages and are durable in the sink; from 0 when the route is made",
            |route| route.figures.changes_delivered,
        ),
        counter(
            "lode_route_rows_written",
            "Rows that the sink wrote; from 0 when the route is made",
            |route| route.figures.rows_written,
        ),
        counter(
            "lode_route_rows_aside",
            "Rows that were set aside or skipped; from 0 when the route is made",
            |route| route.figures.rows_aside,
        ),
        counter(
            "lode_route_retries",
            "Times the route broke off and tried again; from 0 when it is made",
            |route| route.figures.retries,
        ),
        Family::counter(
            "lode_route_stages",
            "Time in which blocks were read and taken through the stages, hooks included; 0 without stages",
        )
        .in_unit(Unit::Seconds)
        .with(each(&|route| Some(Value::Seconds(route.route.progress().stages_us() as f64 / US_PER_S)))),
        Family::histogram("lode_route_batch_changes", "Changes in a batch for the sink, after the stages")
            .with(spread(|route| &route.progress().histograms().batch_changes, 1.0)),
        Family::histogram("lode_route_write", "How long the sink takes to write a batch")
            .in_unit(Unit::Seconds)
            .with(spread(|route| &route.progress().histograms().write_us, US_PER_S)),
        Family::histogram(
            "lode_route_commit_to_delivered",
            "From the server's commit of a batch's last transaction to its durability in the sink",
        )
        .in_unit(Unit::Seconds)
        .with(spread(|route| &route.progress().histograms().latency_us, US_PER_S)),
        Family::gauge(
            "lode_route_cursor_seq",
            "The first entry that is not durable in the sink; absent until it was opened",
        )
        .with(each(&|route| {
            let next = route.shown.figures.next.0;
            (next > 0).then_some(Value::Gauge(next as f64))
        })),
    ]
}

/// What a mine knows of the routes that read its log.
fn of_consumers(mines: &[MineStatus], routes: &[Delivered<'_>]) -> Vec<Family> {
    let each = |value: fn(&Consumer) -> Option<Value>| -> Vec<_> {
        let consumers = mines.iter().flat_map(|mine| &mine.consumers);
        let samples = consumers.filter_map(|consumer| {
            let route = routes.iter().find(|route| route.shown.key == consumer.key)?;
            Some((route.labels(), value(consumer)?))
        });
        samples.collect()
    };
    vec![
        Family::gauge("lode_route_entries_behind", "Entries of the log that the sink does not have yet")
            .with(each(|consumer| consumer.entries_behind.map(|entries| Value::Gauge(entries as f64)))),
        Family::gauge(
            "lode_route_history_lost",
            "In how long the log drops what the route needs next, if it stood still from now on; absent when that cannot happen",
        )
        .in_unit(Unit::Seconds)
        .with(each(|consumer| consumer.history_lost_in_hours.map(|hours| Value::Gauge(hours * 3600.0)))),
    ]
}

fn of_mine(mine: &MineStatus) -> Labels {
    vec![("mine", mine.name.clone())]
}

fn states(
    labels: Labels,
    names: &'static [&'static str],
    now: &'static str,
) -> impl Iterator<Item = (Labels, Value)> {
    names.iter().map(move |name| {
        let labels = labels.iter().cloned().chain([("state", (*name).to_owned())]).collect();
        (labels, Value::flag(*name == now))
    })
}

/// As Linux tells; `None` elsewhere.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::metrics::sheet::Sheet;

    fn mine(tables: usize) -> MineStatus {
        // Those that came last have the names that sort first.
        let tables: Vec<_> = (0..tables)
            .map(|number| {
                json!({ "table": format!("shop.t{}", 9_999 - number), "changes": 2, "changes_today": 0,
                    "first_change_ms": number, "last_change_ms": 1_000 * number, "rows_per_s": 0.0 })
            })
            .collect();
        serde_json::from_value(json!({
            "name": "shop", "state": "running", "tables": { "sets": [] }, "changes": 0, "rows_in_per_s": 0.0,
            "rows_out_per_s": 0.0, "head": 0, "horizon": 0, "horizon_ms": null, "position": null, "delay_ms": 0,
            "stored_bytes": 0, "payload_bytes": 0, "growth_bytes_per_s": 0.0, "consumers": [],
            "counts": { "since": 0, "since_ms": null, "complete": true, "zone": "UTC", "tables": tables },
        }))
        .expect("a status")
    }

    #[test]
    fn tables_are_counted_by_themselves_up_to_a_number_and_none_is_left_out() {
        let page = |tables| Sheet(of_tables(&[mine(tables)])).open_metrics();
        let series =
            |page: &str| page.lines().filter(|line| line.starts_with("lode_mine_changes_total{")).count();
        let few = page(TABLES_MAX);
        assert_eq!(series(&few), TABLES_MAX);
        let many = page(TABLES_MAX + 7);
        assert_eq!(series(&many), TABLES_MAX + 1);
        assert!(many.contains("lode_mine_changes_total{mine=\"shop\",table=\"other\"} 14\n"), "{many}");
        assert!(
            many.contains("last_change_timestamp_seconds{mine=\"shop\",table=\"other\"} 506.0\n"),
            "{many}"
        );
        let of_few = |line: &&str| line.starts_with("lode_mine_changes_total{");
        few.lines().filter(of_few).for_each(|line| assert!(many.contains(line), "it stays: {line}"));
    }
}
