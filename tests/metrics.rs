//! Figures for Prometheus, health for supervisors, and log lines as JSON.

mod support;

#[path = "metrics/prometheus.rs"]
mod prometheus;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::check::Input;
use lode::engine::Engine;
use lode::engine::metrics::Format;
use lode::engine::metrics::server::{CONNECTIONS_MAX, Server};
use lode::engine::readiness::{NotReady, Readiness};
use lode::engine::registry::Registry;
use lode::error::Kind;
use serde_json::Value;
use tempfile::TempDir;

const SCRIPT: &str = r#"
connection shop = binlog "scripts/binlog" { database = "shop" }
connection mart = sqlite "{out}/mart.db"
share_mining shop { start = earliest }
pipeline orders = source binlog shop.orders share_mining -> sink null
pipeline items =
  source binlog shop.order_items share_mining
  -> map { row.total = row.quantity * row.price; }
  -> [ filter { row.total >= 100 } -> sink null, sink sqlite mart.items ]
on rps < 1000000 of shop do { log(message) }
"#;

/// How long something may take that takes a moment, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Families whose figures are the same in every run.
const SAME: &[&str] = &[
    "lode_mine_changes_total",
    "lode_mine_state",
    "lode_mine_retries_total",
    "lode_mine_head_seq",
    "lode_mine_horizon_seq",
    "lode_mine_consumers",
    "lode_mine_gaps",
    "lode_route_",
    "lode_pipeline_",
    "lode_alert",
    "lode_hook_failed",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_run() {
    let data = tempfile::tempdir().unwrap();
    let engine = run(&data, SCRIPT).await;
    let page = engine.metrics(Format::OpenMetrics).await;
    insta::with_settings!({ snapshot_path => "golden/metrics", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("page", shown(&page));
    });
    let text = engine.metrics(Format::Text).await;
    let types = |page: &str| page.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(types(&page), types(&text));
    assert!(text.contains("# TYPE lode_mine_changes_total counter\n"), "{text}");
    assert!(page.ends_with("# EOF\n") && !text.contains("# EOF"));
    engine.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_counted_over_restarts_and_other_counters_begin_anew() {
    let data = tempfile::tempdir().unwrap();
    for delivered in [108.0, 0.0] {
        let engine = run(&data, SCRIPT).await;
        let page = engine.metrics(Format::OpenMetrics).await;
        assert_eq!(figure(&page, r#"lode_mine_changes_total{mine="shop",table="shop.orders"}"#), 108.0);
        let route = r#"{pipeline="items",source="shop",sink="sqlite mart.items"}"#;
        assert_eq!(figure(&page, &format!("lode_route_changes_delivered_total{route}")), delivered);
        let counted = figure(&page, &format!("lode_route_batch_changes_sum{route}"));
        assert_eq!(counted, delivered, "the batches have what was delivered");
        engine.shutdown(LONG).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_histogram_counts_what_its_counter_counts() {
    let data = tempfile::tempdir().unwrap();
    let engine = run(&data, SCRIPT).await;
    let page = engine.metrics(Format::OpenMetrics).await;
    let mine = r#"{mine="shop"}"#;
    assert_eq!(figure(&page, &format!("lode_mine_append_changes_sum{mine}")), 215.0);
    let bytes = figure(&page, &format!("lode_mine_append_size_bytes_sum{mine}"));
    assert_eq!(bytes, figure(&page, &format!("lode_mine_payload_bytes_total{mine}")));
    let appends = figure(&page, &format!("lode_mine_append_seconds_count{mine}"));
    assert_eq!(appends, figure(&page, r#"lode_mine_append_seconds_bucket{le="+Inf",mine="shop"}"#));
    assert!(appends > 0.0);
    let hooks = r#"lode_route_stages_seconds_total{pipeline="items",source="shop",sink="null"}"#;
    assert!(figure(&page, hooks) > 0.0, "{page}");
    let none = r#"lode_route_stages_seconds_total{pipeline="orders",source="shop",sink="null"}"#;
    assert_eq!(figure(&page, none), 0.0);
    engine.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_served_in_the_format_that_is_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let engine = run(&data, SCRIPT).await;
    let server = Server::open(&engine, "localhost:0").await.unwrap();
    let at = server.address();
    let plain = ask(at, "GET /metrics HTTP/1.1").await;
    assert_eq!(plain.status, 200);
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", plain.head);
    assert!(plain.head.contains("cache-control: no-store"), "{}", plain.head);
    let accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5";
    let open = ask(at, &format!("GET /metrics?x=1 HTTP/1.1\r\nAccept: {accept}")).await;
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(
        open.body.ends_with("# EOF\n") && open.body.contains("lode_mine_changes_total{"),
        "{}",
        open.body
    );
    let head = ask(at, "HEAD /metrics HTTP/1.1").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(ask(at, "GET /healthz HTTP/1.1").await.body, "ok\n");
    assert!(ask(at, "GET / HTTP/1.1").await.body.contains("/readyz"));
    assert_eq!(ask(at, "GET /metric HTTP/1.1").await.status, 404);
    let post = ask(at, "POST /metrics HTTP/1.1\r\nContent-Length: 0").await;
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"), "{}", post.head);
    let long = ask(at, &format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(40_000))).await;
    assert!(matches!(long.status, 431 | 0), "an answer may be lost as the rest is not read: {}", long.status);
    drop(server);
    engine.shutdown(LONG).await;
    let gone = Instant::now();
    while TcpStream::connect(at).is_ok() {
        assert!(gone.elapsed() < LONG, "nobody listens any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_or_means_nothing_is_an_error_that_says_so() {
    let data = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::new(data.path(), Registry::built_in()));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Server::open(&engine, &address).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(error.to_string().contains(&format!("cannot serve metrics at {address}")), "{error}");
    assert!(error.next_step().unwrap().contains("name another one"), "{error:?}");
    let error = Server::open(&engine, "203.0.113.7:9464").await.unwrap_err();
    assert!(error.next_step().unwrap().contains("an address of this machine"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_clients_are_sent_away_and_slow_ones_harm_nobody() {
    let data = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::new(data.path(), Registry::built_in()));
    let server = Server::open(&engine, "127.0.0.1:0").await.unwrap();
    // They ask for nothing, and keep their places.
    let mut idle: Vec<_> =
        (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let refused = tokio::task::spawn_blocking({
        let at = server.address();
        move || {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            // It may be closed before or after it has taken the question.
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: lode\r\n\r\n");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        }
    });
    assert_eq!(refused.await.unwrap(), b"");
    idle.pop();
    let began = Instant::now();
    while ask(server.address(), "GET /healthz HTTP/1.1").await.status != 200 {
        assert!(began.elapsed() < LONG, "a place that is free is given away");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_what_is_not_at_work() {
    let data = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::new(data.path(), Registry::built_in()));
    let server = Server::open(&engine, "127.0.0.1:0").await.unwrap();
    let before = ask(server.address(), "GET /readyz HTTP/1.1").await;
    assert_eq!(before.status, 503);
    assert_eq!(before.body, r#"{"ready":false,"not_ready":[{"what":"engine"}]}"#);

    // A server that is away: its mine tries again and again, and says no more here than that.
    let script = r#"
        connection away = mysql "mysql://repl@127.0.0.1:1/shop" { password = "geheim" }
        pipeline orders = source mysql away.orders share_mining -> sink null
    "#;
    apply(&engine, &data, script).await;
    let began = Instant::now();
    let readiness = loop {
        let answer = ask(server.address(), "GET /readyz HTTP/1.1").await;
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        assert!(!answer.body.contains("geheim") && !answer.body.contains("refused"), "{}", answer.body);
        let readiness: Readiness = serde_json::from_str(&answer.body).unwrap();
        let retrying = |one: &NotReady| matches!(one, NotReady::Mine { state, .. } if state == "retrying");
        if readiness.not_ready.iter().any(retrying) {
            break readiness;
        }
        assert!(began.elapsed() < LONG, "{readiness:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!readiness.ready);
    let page = engine.metrics(Format::OpenMetrics).await;
    assert_eq!(figure(&page, r#"lode_mine_state{mine="away",state="retrying"}"#), 1.0);
    assert_eq!(figure(&page, r#"lode_mine_state{mine="away",state="running"}"#), 0.0);
    assert!(figure(&page, r#"lode_mine_retries_total{mine="away"}"#) >= 1.0);

    apply(&engine, &data, SCRIPT).await;
    engine.settled().await;
    let after = ask(server.address(), "GET /readyz HTTP/1.1").await;
    assert_eq!((after.status, after.body.as_str()), (200, r#"{"ready":true,"not_ready":[]}"#));
    // What somebody has stopped is as it should be.
    engine.stop("orders").await.unwrap();
    assert_eq!(ask(server.address(), "GET /readyz HTTP/1.1").await.status, 200);
    let page = engine.metrics(Format::OpenMetrics).await;
    assert_eq!(figure(&page, r#"lode_pipeline_halted{pipeline="orders",halt="stopped"}"#), 1.0);
    engine.shutdown(LONG).await;
}

#[test]
fn log_lines_are_json_and_keep_their_names() {
    let desk = tempfile::tempdir().unwrap();
    let run = lode(&desk, SCRIPT).args(["--log-format", "json"]).output().unwrap();
    assert!(run.status.success());
    let lines: Vec<Value> = String::from_utf8(run.stderr)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        let first: Vec<_> = line.as_object().unwrap().keys().take(4).map(String::as_str).collect();
        assert_eq!(first, ["ts", "level", "target", "message"], "{line}");
        line["ts"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }
    let find = |message: &str| {
        lines
            .iter()
            .find(|line| line["message"] == message)
            .unwrap_or_else(|| panic!("{message}: {lines:#?}"))
    };
    let mining = find("mining");
    assert_eq!((&mining["mine"], &mining["level"]), (&"shop".into(), &"info".into()));
    assert_eq!(mining["target"], "lode::run::session");
    let delivering = find("delivering");
    assert!(delivering["pipeline"].is_string() && delivering["route"].is_string(), "{delivering}");
    assert!(delivering["from"].is_u64(), "{delivering}");
    let last = lines.last().unwrap()["message"].as_str().unwrap();
    assert!(last.starts_with("mine shop: 215 new changes") && last.ends_with("s."), "{last}");
}

#[test]
fn an_error_that_ends_everything_is_a_line_of_json_too() {
    let desk = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = lode(&desk, SCRIPT).args(["--metrics", &port]).env("LODE_LOG_FORMAT", "json").output().unwrap();
    assert_eq!(run.status.code(), Some(3));
    let text = String::from_utf8(run.stderr).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["level"], &last["target"]), (&"error".into(), &"lode::cli".into()));
    assert!(last["message"].as_str().unwrap().contains(&port) && last["advice"].is_string(), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_where_its_metrics_are_and_keeps_secrets() {
    let desk = tempfile::tempdir().unwrap();
    let script = r#"
        connection away = mysql "mysql://repl@127.0.0.1:1/shop" { password = "geheim" }
        pipeline orders = source mysql away.orders share_mining -> sink null
    "#;
    let mut command = lode(&desk, script);
    command.args(["--log-format", "json"]).env("LODE_METRICS", "0").env("LODE_LOG", "debug");
    let mut run = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut told = Vec::new();
    let lines = BufReader::new(run.0.stderr.take().unwrap()).lines();
    for line in lines {
        let line = line.unwrap();
        let is_enough = line.contains("trying again");
        told.push(line);
        if is_enough {
            break;
        }
    }
    let said = told.iter().find_map(|line| {
        let (_, rest) = line.split_once("metrics at http://")?;
        rest.split_once("/metrics").map(|(at, _)| at.parse::<SocketAddr>().unwrap())
    });
    let at = said.unwrap_or_else(|| panic!("{told:#?}"));
    assert!(at.ip().is_loopback() && at.port() > 0);
    assert_eq!(ask(at, "GET /healthz HTTP/1.1").await.body, "ok\n");
    assert_eq!(ask(at, "GET /readyz HTTP/1.1").await.status, 503);
    let page = ask(at, "GET /metrics HTTP/1.1").await.body;
    assert!(page.contains(r#"lode_mine_state{mine="away""#), "{page}");
    assert!(!told.iter().any(|line| line.contains("geheim")) && !page.contains("geheim"));
}

/// Runs a script until nothing more happens.
async fn run(data: &TempDir, script: &str) -> Arc<Engine> {
    let engine = Arc::new(Engine::new(data.path(), Registry::built_in()));
    apply(&engine, data, script).await;
    engine.settled().await;
    engine.finish_hooks(LONG).await;
    engine
}

async fn apply(engine: &Engine, data: &TempDir, script: &str) {
    let script = script.replace("{out}", &data.path().display().to_string());
    let input = Input::new(env!("CARGO_MANIFEST_DIR")).text("test.lode", script);
    let checked = engine.load(&input);
    engine.apply(engine.plan(&checked.into_model().unwrap())).await.unwrap();
}

/// `lode run` of a script in a folder of its own.
fn lode(desk: &TempDir, script: &str) -> Command {
    let script = script
        .replace("{out}", &desk.path().display().to_string())
        .replace("scripts/binlog", &format!("{}/scripts/binlog", env!("CARGO_MANIFEST_DIR")));
    let file = desk.path().join("shop.lode");
    fs::write(&file, script).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.arg("run").arg(file).arg("--data").arg(desk.path().join("data"));
    command.env_remove("LODE_LOG").env_remove("LODE_LOG_FORMAT").env_remove("LODE_METRICS");
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends one request, whose first line and headers are given. Status 0 is no answer.
async fn ask(at: SocketAddr, request: &str) -> Answer {
    let request = format!("{request}\r\nHost: lode\r\nConnection: close\r\n\r\n");
    let asked = move || {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::task::spawn_blocking(asked).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// The figure of one series.
fn figure(page: &str, series: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{series} is not in\n{page}")).parse().unwrap()
}

/// A page with the figures that are the same in every run. Of a histogram, one bucket stands for all.
fn shown(page: &str) -> String {
    let mut shown = String::new();
    for line in page.lines().filter(|line| !line.contains("_bucket{") || line.contains(r#"le="+Inf""#)) {
        let is_same = line.starts_with('#') || SAME.iter().any(|family| line.starts_with(family));
        let varies = ["_seconds", "_bytes"].iter().any(|unit| line.contains(unit))
            || line.contains("_bucket")
            || line.contains("_count{");
        match line.rsplit_once(' ') {
            Some((series, _)) if !line.starts_with('#') && (!is_same || varies) => {
                shown.push_str(&format!("{series} …\n"));
            }
            _ => shown.push_str(&format!("{line}\n")),
        }
    }
    shown
}
