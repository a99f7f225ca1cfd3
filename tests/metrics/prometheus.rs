//! Prometheus itself: it reads the page, and knows every name that the dashboard and the alerts use.
//!
//! `tests/support/prometheus-server` unpacks it; `LODE_PROMETHEUS_ROOT` may name another folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lode::engine::metrics::Format;
use lode::engine::metrics::server::Server;
use regex::Regex;
use serde_json::Value;

use super::support::process::{ServerProcess, free_port, last_words, unpacked};
use super::support::servers::{Server as Database, shared_mariadb};
use super::{LONG, SCRIPT, apply, ask, run};

const DASHBOARD: &str = "scripts/grafana/lode.json";
const RULES: &str = "scripts/prometheus/lode.rules.yml";

/// Tables whose names are hard to write down.
const WEIRD: &[&str] = &["订单", "say \"hi\"", "back\\slash", "two\nlines", "a{b=\"c\"}", "#d e"];

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_the_page_of_tables_with_weird_names() {
    let server: &Database = shared_mariadb();
    let database = "weird_names";
    let mut sql = format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database};");
    for (number, table) in WEIRD.iter().enumerate() {
        sql.push_str(&format!("CREATE TABLE {database}.`{table}` (id INT PRIMARY KEY);"));
        (0..=number).for_each(|id| sql.push_str(&format!("INSERT INTO {database}.`{table}` VALUES ({id});")));
    }
    server.sql(&sql).await;
    let data = tempfile::tempdir().unwrap();
    let engine = std::sync::Arc::new(super::Engine::new(data.path(), super::Registry::built_in()));
    let script = format!(
        "connection shop = mysql \"{}\"\nshare_mining shop {{ start = earliest }}\n\
         pipeline mirror = source mysql shop.* share_mining -> sink null\n",
        server.url(database)
    );
    apply(&engine, &data, &script).await;
    let changes: u64 = (1..=WEIRD.len() as u64).sum();
    let began = Instant::now();
    while engine.status().await.pipelines[0].routes[0].figures.changes_delivered < changes {
        assert!(began.elapsed() < LONG, "{:#?}", engine.status().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let checked = promtool_reads(&engine.metrics(Format::Text).await);
    assert!(checked.status.success(), "{}", said(&checked));
    assert_eq!(said(&checked), "", "the names are as they are recommended to be");

    let page = Server::open(&engine, "127.0.0.1:0").await.unwrap();
    let prometheus = Prometheus::start(&page.address().to_string());
    for (number, table) in WEIRD.iter().enumerate() {
        let name = serde_json::to_string(&format!("{database}.{table}")).unwrap();
        let query = format!("lode_mine_changes_total{{mine=\"shop\",table={name}}}");
        assert_eq!(prometheus.value(&query).await, Some((number + 1).to_string()), "{query}");
    }
    // It asks for OpenMetrics, and takes all that it gets.
    let target = &prometheus.ask("/api/v1/targets").await["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    let delivered = prometheus.value("sum(lode_route_changes_delivered_total)").await;
    assert_eq!(delivered, Some(changes.to_string()));
    let count = prometheus.value("sum(lode_route_write_seconds_count) > 0").await;
    assert!(count.is_some(), "histograms are read, too");
    let kinds = &prometheus.ask("/api/v1/metadata?metric=lode_mine_changes").await["data"];
    assert_eq!(kinds["lode_mine_changes"][0]["type"], "counter", "it was OpenMetrics: {kinds}");
    let rules = &prometheus.ask("/api/v1/rules").await["data"]["groups"][0]["rules"];
    assert!(rules.as_array().is_some_and(|rules| rules.len() >= 9), "{rules}");
    engine.shutdown(LONG).await;
    server.sql(&format!("DROP DATABASE {database}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_use_names_and_labels_that_there_are() {
    let data = tempfile::tempdir().unwrap();
    let engine = run(&data, SCRIPT).await;
    let known = Known::from(&engine.metrics(Format::Text).await);
    engine.shutdown(LONG).await;

    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let mut shown = Vec::new();
    texts(&dashboard, "expr", &mut shown);
    assert!(shown.len() > 40, "the dashboard's queries were found");
    let rules = fs::read_to_string(RULES).unwrap();
    let of_rules: Vec<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    assert_eq!(of_rules.len(), rules.matches("- alert: ").count());
    let variables = ["label_values(lode_mine_state, mine)", "label_values(lode_route_state, pipeline)"];
    let text = dashboard.to_string();
    variables.iter().for_each(|variable| assert!(text.contains(variable), "{variable}"));

    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for expr in shown.iter().chain(&of_rules) {
        wrong.extend(known.wrong_in(expr, &mut used));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> = known
        .families()
        .filter(|family| !used.iter().any(|used| used.starts_with(family)))
        .filter(|family| !NOT_SHOWN.contains(family))
        .collect();
    assert!(unused.is_empty(), "not on the dashboard: {unused:?}");

    // Prometheus' own parser reads every query, with the dashboard's variables as they may be.
    let mut as_rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, expr) in shown.iter().enumerate() {
        let expr = expr.replace("$__rate_interval", "5m").replace("$__range", "1h");
        let expr = serde_json::to_string(&expr).unwrap();
        as_rules.push_str(&format!("  - record: dashboard:query:{number}\n    expr: {expr}\n"));
    }
    let file = data.path().join("dashboard.yml");
    fs::write(&file, as_rules).unwrap();
    for rules in [file.as_path(), Path::new(RULES)] {
        let checked = Command::new(program("promtool")).args(["check", "rules"]).arg(rules).output().unwrap();
        assert!(checked.status.success(), "{}", said(&checked));
    }
}

#[test]
fn a_name_that_is_not_there_is_noticed() {
    let known =
        Known::from("lode_a_total{mine=\"shop\"} 1\nlode_b_seconds_bucket{le=\"1\",mine=\"shop\"} 0\n");
    let wrong = |expr: &str| known.wrong_in(expr, &mut BTreeSet::new());
    assert_eq!(wrong("sum by (mine) (rate(lode_a_total{mine=~\"x|y\"}[5m]))"), [] as [&str; 0]);
    assert_eq!(wrong("histogram_quantile(0.9, sum by (le, mine) (lode_b_seconds_bucket))"), [] as [&str; 0]);
    assert_eq!(wrong("lode_c").len(), 1);
    assert_eq!(wrong("lode_a_total{table=\"x\"}").len(), 1);
    assert_eq!(wrong("sum by (table) (lode_a_total)").len(), 1);
}

/// Families that are for joins and people's own queries.
const NOT_SHOWN: &[&str] = &["lode_build_info", "lode_route_info"];

/// The series of a page: for each name its labels.
struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    fn from(page: &str) -> Known {
        let label = Regex::new(r#"(\w+)="(?:[^"\\]|\\.)*""#).unwrap();
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in page.lines() {
            // A family without figures at this moment has its description.
            if let Some(described) = line.strip_prefix("# TYPE ") {
                known.entry(described.split(' ').next().unwrap_or_default().to_owned()).or_default();
            } else if !line.starts_with('#') {
                let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
                let labels = label.captures_iter(rest).map(|found| found[1].to_owned());
                known.entry(name.to_owned()).or_default().extend(labels);
            }
        }
        Known(known)
    }

    fn families(&self) -> impl Iterator<Item = &str> {
        let part = |name: &&str| ["_bucket", "_sum", "_count"].iter().any(|part| name.ends_with(part));
        self.0.keys().map(String::as_str).filter(move |name| !part(name))
    }

    /// What is wrong in a query; the names that it uses join `used`.
    fn wrong_in(&self, expr: &str, used: &mut BTreeSet<String>) -> Vec<String> {
        let series = Regex::new(r"\b((?:lode|process)_\w+)(?:\{([^}]*)\})?").unwrap();
        let matcher = Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)"#).unwrap();
        let grouping = Regex::new(r"\b(?:by|on) \(([^)]*)\)").unwrap();
        let (mut wrong, mut labels) = (Vec::new(), BTreeSet::from(["le", "instance", "job"]));
        for found in series.captures_iter(expr) {
            let name = &found[1];
            used.insert(name.to_owned());
            let Some(theirs) = self.0.get(name) else {
                wrong.push(format!("there is no {name}: {expr}"));
                continue;
            };
            labels.extend(theirs.iter().map(String::as_str));
            // The labels of a family without figures are not known here.
            let matched = found.get(2).map_or("", |matched| matched.as_str());
            let matched: Vec<_> = matcher.captures_iter(matched).map(|found| found[1].to_owned()).collect();
            let missing = matched.iter().filter(|label| !theirs.is_empty() && !theirs.contains(*label));
            wrong.extend(missing.map(|label| format!("{name} has no label {label}: {expr}")));
            if theirs.is_empty() {
                labels.extend(["mine", "table", "state", "pipeline", "source", "sink"]);
            }
        }
        for found in grouping.captures_iter(expr) {
            let unknown = found[1].split(',').map(str::trim).filter(|label| !labels.contains(label));
            wrong.extend(unknown.map(|label| format!("there is no label {label}: {expr}")));
        }
        wrong
    }
}

/// All texts under a key, wherever they are.
fn texts(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == key => found.push(text.to_owned()),
                    _ => texts(value, key, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

/// Has Prometheus' own parser read a page, and its linter judge the names.
fn promtool_reads(page: &str) -> Output {
    let mut promtool = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    promtool.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn program(name: &str) -> PathBuf {
    let path = unpacked("prometheus", "LODE_PROMETHEUS_ROOT").join("usr/bin").join(name);
    assert!(path.exists(), "{} is missing; tests/support/prometheus-server unpacks it", path.display());
    path
}

/// A Prometheus that reads one page.
struct Prometheus {
    _process: ServerProcess,
    folder: tempfile::TempDir,
    port: u16,
}

impl Prometheus {
    fn start(target: &str) -> Prometheus {
        let folder = tempfile::Builder::new().prefix("lode-prometheus-").tempdir().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(RULES);
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{}]\n\
             scrape_configs:\n- job_name: lode\n  static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.display()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let (mut process, port) = (ServerProcess::default(), free_port());
        let mut command = Command::new(program("prometheus"));
        command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        process.start(&mut command, folder.path());
        Prometheus { _process: process, folder, port }
    }

    /// What a query gives, as soon as it gives anything; `None` when it does not for long.
    async fn value(&self, query: &str) -> Option<String> {
        let query: String =
            percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC).collect();
        let began = Instant::now();
        while began.elapsed() < LONG {
            let answer = self.ask(&format!("/api/v1/query?query={query}")).await;
            assert_ne!(answer["status"], "error", "{answer}");
            if let Some(value) = answer["data"]["result"][0]["value"][1].as_str() {
                return Some(value.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// Asks as soon as it answers.
    async fn ask(&self, path: &str) -> Value {
        let began = Instant::now();
        loop {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                let at = ([127, 0, 0, 1], self.port).into();
                // The older version of the protocol sends a body as it is.
                let answer = ask(at, &format!("GET {path} HTTP/1.0")).await;
                if let Ok(value) = serde_json::from_str(&answer.body) {
                    return value;
                }
            }
            assert!(began.elapsed() < LONG, "{}", last_words(self.folder.path()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
