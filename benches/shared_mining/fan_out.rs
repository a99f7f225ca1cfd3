//! One log for 1, 8 and 32 pipelines.

use std::sync::Arc;
use std::time::Duration;

use lode::model::clock::Clock;
use lode::model::spec::{Settings, Start};
use lode::run::event::Events;
use lode::run::feed::Origin;
use lode::run::pipeline::Pipeline;
use lode::run::route::{Route, RouteParts};
use lode::run::signal::Wish;
use lode::sink::SinkRoute;
use lode::sink::null::Null;
use tokio::runtime::Runtime;

use super::live::Live;
use super::process::{Stopwatch, Used};
use super::report::{Report, seconds};
use super::workload::{Load, Source};

const PIPELINES: [u32; 3] = [1, 8, 32];

/// Mines a load while pipelines read it.
pub fn measure(runtime: &Runtime, source: &Source, report: &mut Report) {
    let mut lines = Vec::new();
    for name in ["small", "mixed"] {
        let load = source.get(name);
        let runs = PIPELINES.map(|count| {
            let (used, connections) = runtime.block_on(run(source, load, count));
            eprintln!("{count} pipelines over {name}: {used:?}, {connections} binlog readers");
            (count, used, connections)
        });
        let [(_, first, _), _, (most, all, _)] = runs;
        let further = (all.cpu.saturating_sub(first.cpu)) / (most - 1);
        for (count, used, connections) in runs {
            lines.push(vec![
                name.into(),
                count.to_string(),
                seconds(used.cpu),
                seconds(used.wall),
                match count {
                    1 => "with mining".into(),
                    _ => format!(
                        "{:.1} ms",
                        (used.cpu.saturating_sub(first.cpu)).as_secs_f64() * 1e3 / f64::from(count - 1)
                    ),
                },
                connections.to_string(),
            ]);
        }
        let share = further.as_secs_f64() / first.cpu.as_secs_f64();
        report.bar(
            &format!("{name}, the 32nd pipeline against the first with its mining"),
            "under 1/10 of the processor time",
            format!("{:.1} %", share * 100.0),
            share < 0.1,
        );
        let connections = runs.iter().map(|(.., connections)| *connections).max().unwrap_or_default();
        report.bar(
            &format!("{name}, connections that read the binlog, 32 pipelines"),
            "1",
            connections.to_string(),
            connections == 1,
        );
    }
    report.table(
        "Fan-out",
        "Pipelines with a null sink that read the log while it is being mined, each from its beginning to its end: \
         processor time of mine and pipelines together, and what each further pipeline adds to the first.",
        &["workload", "pipelines", "processor time", "time on the clock", "each further one", "binlog readers"],
        &lines,
    );
}

async fn run(source: &Source, load: &Load, pipelines: u32) -> (Used, usize) {
    source.end_readers().await;
    let stopwatch = Stopwatch::start();
    let live = Live::start(source.connection(load.database), load.start(), &load.tables()).await;
    let running: Vec<_> = (0..pipelines)
        .map(|number| {
            let route = null_route(&live, load, number);
            (Arc::clone(&route), Pipeline::start(format!("null_{number}"), vec![route]))
        })
        .collect();
    live.is_running().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let connections = source.server.dump_threads().await;
    live.has_mined(load.rows).await;
    for (route, _) in &running {
        while route.progress().figures().changes_delivered < load.rows {
            assert!(!route.state().borrow().is_over(), "{:?}", *route.state().borrow());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let used = stopwatch.used();
    for (_, pipeline) in &running {
        pipeline.tell(Wish::Stop);
        pipeline.ended().await;
    }
    live.stop().await;
    (used, connections)
}

fn null_route(live: &Live, load: &Load, number: u32) -> Arc<Route> {
    let parts = RouteParts {
        lookups: None,
        pipeline: format!("null_{number}"),
        source_name: "bench".into(),
        tables: load.tables(),
        origin: Origin::Log(Arc::clone(&live.mine)),
        stages: Vec::new(),
        sink_kind: Arc::new(Null),
        sink: SinkRoute {
            key: format!("null_{number}/bench/1"),
            connection: None,
            target: String::new(),
            settings: Settings::default(),
            state_dir: std::env::temp_dir(),
        },
        start: Some(Start::Earliest),
        batch_rows_max: 1000,
        cursor_interval: Duration::from_secs(5),
        retries_max: Some(0),
        aside: None,
        skips: lode::run::skip::Skips::default(),
        begun_in: None,
        fallback: None,
        clock: Clock::default(),
    };
    Route::new(parts, Events::default())
}
