//! From a commit at the source to its durability in the log, and to a committed row in another server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lode::error::Result;
use lode::model::block::Entry;
use lode::model::change::Batch;
use lode::model::clock::Clock;
use lode::model::connection::Connection;
use lode::model::position::Cursor;
use lode::model::row::RowView;
use lode::model::spec::{Settings, Start};
use lode::model::value::Value;
use lode::run::event::Events;
use lode::run::feed::Origin;
use lode::run::mine::Mine;
use lode::run::pipeline::Pipeline;
use lode::run::route::{Route, RouteParts};
use lode::run::signal::Wish;
use lode::sink::{Sink, SinkKind, SinkRoute, Written};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::runtime::Runtime;

use super::live::Live;
use super::report::{Report, milliseconds};
use super::support::servers::{MariaDb, Server};
use super::workload::{Source, connection, tables};

/// Commits a second, over [`CLIENTS`] connections.
const RATES: [u32; 2] = [200, 2000];
const CLIENTS: u32 = 4;
const DURATION: Duration = Duration::from_secs(8);
/// Commits at the beginning that do not count: connections and caches warm up.
const WARM_UP: Duration = Duration::from_secs(1);

/// When something happened to the row with this key.
type Times = Arc<Mutex<HashMap<i64, Instant>>>;

/// One commit at the source.
struct Sent {
    id: i64,
    before: Instant,
    after: Instant,
}

/// Measures both ways at all rates.
pub fn measure(runtime: &Runtime, source: &Source, report: &mut Report) {
    let target = runtime.block_on(MariaDb::start(&["--skip-log-bin"]));
    runtime.block_on(target.sql("CREATE DATABASE bench"));
    let mut lines = Vec::new();
    for rate in RATES {
        let [durable, sink] = runtime.block_on(run(source, &target, rate));
        for (what, (before, after)) in [("durable in the log", durable), ("committed at the sink", sink)] {
            let mut line = vec![rate.to_string(), what.to_owned()];
            for times in [&before, &after] {
                line.extend([50.0, 99.0].map(|percent| milliseconds(percentile(times, percent))));
            }
            line.push(before.len().to_string());
            lines.push(line);
            let limits: &[(f64, f64)] = match what {
                "durable in the log" => &[(50.0, 1.0)],
                _ => &[(50.0, 2.0), (99.0, 10.0)],
            };
            for (percent, limit_ms) in limits {
                let measured = percentile(&before, *percent);
                report.bar(
                    &format!("{rate} commits a second, commit to {what}, p{percent}"),
                    &format!("under {limit_ms} ms"),
                    milliseconds(measured),
                    measured.as_secs_f64() * 1000.0 < *limit_ms,
                );
            }
        }
    }
    report.table(
        "Latency",
        "Single-row transactions from four connections. `sent` counts from the moment before COMMIT is sent to the \
         source, so that the source's own commit and sync are in it; `answered` from the moment after its answer, \
         where 0 means that lode was faster than the answer. The log syncs every append, the sink (a second MariaDB) every \
         commit; the source has a binlog with `sync_binlog` 0, the target, as a MariaDB by default, none. Source, target, client and lode share the machine's cores.",
        &["commits a second", "until", "sent, p50", "sent, p99", "answered, p50", "answered, p99", "commits"],
        &lines,
    );
}

/// Times from before and from after each commit.
type Spans = (Vec<Duration>, Vec<Duration>);

async fn run(source: &Source, target: &Server, rate: u32) -> [Spans; 2] {
    source.server.sql("TRUNCATE latency.lat").await;
    let wanted = tables("latency", "lat");
    let live = Live::start(source.connection("latency"), Start::Now, &wanted).await;
    let (durable, committed) = (Times::default(), Times::default());
    let watcher = tokio::spawn(watch(Arc::clone(&live.mine), Arc::clone(&durable)));
    let route = route(&live.mine, connection("target", target, "bench"), rate, &committed);
    let pipeline = Pipeline::start(format!("latency_{rate}"), vec![Arc::clone(&route)]);
    live.is_running().await;

    let opts = source.server.opts();
    let sent = thread::spawn(move || commit(&opts, rate)).join().expect("the clients end properly");
    let count = sent.len();
    let deadline = Instant::now() + Duration::from_secs(60);
    while committed.lock().expect("nobody panicked").len() < count {
        assert!(Instant::now() < deadline, "rows are missing at the sink");
        assert!(!route.state().borrow().is_over(), "{:?}", *route.state().borrow());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let there: usize =
        target.value(&format!("SELECT COUNT(*) FROM bench.lat_{rate}")).await.parse().expect("a count");
    assert_eq!(there, count, "the target has what the source has");
    pipeline.tell(Wish::Stop);
    pipeline.ended().await;
    live.stop().await;
    watcher.abort();

    [durable, committed].map(|times| spans(&sent, &times))
}

/// Commits rows at a steady rate, and notes when each was sent and answered.
fn commit(opts: &Opts, rate: u32) -> Vec<Sent> {
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let opts = opts.clone();
            thread::spawn(move || commit_alone(opts, client, began, rate))
        })
        .collect();
    clients.into_iter().flat_map(|client| client.join().expect("a client ends properly")).collect()
}

/// What one of the clients commits. It sleeps by the system's clock: tokio's timers tick once in a millisecond, and would
/// make bursts of what is due between two ticks.
fn commit_alone(opts: Opts, client: u32, began: Instant, rate: u32) -> Vec<Sent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut conn = runtime.block_on(Conn::new(opts)).expect("a connection");
    let insert = runtime.block_on(conn.prep("INSERT INTO latency.lat VALUES (?, ?)")).expect("a statement");
    runtime.block_on(conn.query_drop("SET autocommit = 0")).expect("a setting");
    let commit = runtime.block_on(conn.prep("COMMIT")).expect("a statement");
    let note = "n".repeat(60);
    let mut sent = Vec::new();
    for number in 0.. {
        let id = number * CLIENTS + client;
        let due = began + Duration::from_secs(id.into()) / rate;
        if due >= began + WARM_UP + DURATION {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        runtime.block_on(conn.exec_drop(&insert, (id, &note))).expect("the row is inserted");
        let before = Instant::now();
        runtime.block_on(conn.exec_drop(&commit, ())).expect("the row is committed");
        let after = Instant::now();
        sent.push(Sent { id: id.into(), before, after });
    }
    runtime.block_on(conn.disconnect()).expect("a farewell");
    sent
}

/// Notes when each row becomes visible to pipelines, which is right behind the durable append.
async fn watch(mine: Arc<Mine>, seen: Times) {
    let mut tail = mine.hub().tail();
    let mut next = tail.borrow_and_update().next;
    while tail.changed().await.is_ok() {
        let now = Instant::now();
        let end = tail.borrow_and_update().next;
        let schemas = mine.log().schemas();
        let mut seen = seen.lock().expect("nobody panicked");
        while next < end {
            let block = mine.hub().get(next).expect("the newest blocks are in memory");
            for entry in block.entries() {
                let (_, entry) = entry.expect("a readable entry");
                if let Entry::Change(change) = entry {
                    let schema = schemas.get(change.schema).expect("a known schema");
                    seen.extend(change.after_view(schema).map(|row| (key(row), now)));
                }
            }
            next = block.end();
        }
    }
}

fn route(mine: &Arc<Mine>, connection: Arc<Connection>, rate: u32, committed: &Times) -> Arc<Route> {
    let parts = RouteParts {
        lookups: None,
        pipeline: format!("latency_{rate}"),
        source_name: "bench".into(),
        tables: tables("latency", "lat"),
        origin: Origin::Log(Arc::clone(mine)),
        stages: Vec::new(),
        sink_kind: Arc::new(TimedKind { kind: lode::sink::mysql::Mysql, times: Arc::clone(committed) }),
        sink: SinkRoute {
            key: format!("latency_{rate}/bench/1"),
            connection: Some(connection),
            target: format!("*_{rate}"),
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

/// A kind of sink that notes when its rows are committed.
struct TimedKind<K> {
    kind: K,
    times: Times,
}

struct Timed {
    sink: Box<dyn Sink>,
    times: Times,
}

impl<K: SinkKind> SinkKind for TimedKind<K> {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Timed { sink: self.kind.sink(route)?, times: Arc::clone(&self.times) }))
    }
}

#[async_trait]
impl Sink for Timed {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        self.sink.open().await
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let keys: Vec<i64> =
            batch.changes.iter().filter_map(|change| Some(key(change.row()?.view()))).collect();
        let written = self.sink.write(batch).await?;
        let now = Instant::now();
        self.times.lock().expect("nobody panicked").extend(keys.into_iter().map(|key| (key, now)));
        Ok(written)
    }

    async fn close(&mut self) -> Result<()> {
        self.sink.close().await
    }
}

fn key(row: RowView<'_>) -> i64 {
    match row.get(0) {
        Some(Value::Int(id)) => id,
        other => panic!("a key was expected, not {other:?}"),
    }
}

fn spans(sent: &[Sent], times: &Times) -> Spans {
    let times = times.lock().expect("nobody panicked");
    let began = sent.iter().map(|sent| sent.before).min().expect("something was sent");
    let counted = sent.iter().filter(|sent| sent.before >= began + WARM_UP);
    let (mut before, mut after): Spans = counted
        .map(|sent| {
            let then = times[&sent.id];
            (then - sent.before, then.saturating_duration_since(sent.after))
        })
        .unzip();
    before.sort_unstable();
    after.sort_unstable();
    (before, after)
}

fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let at = (sorted.len() as f64 * percent / 100.0) as usize;
    sorted[at.min(sorted.len() - 1)]
}
