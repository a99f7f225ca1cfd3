//! Traces, received by a collector of the test's own that speaks OTLP over HTTP. Built with the feature `otel`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const SCRIPT: &str = r#"
connection shop = binlog "{binlog}" { database = "shop" }
share_mining shop { start = earliest }
pipeline orders = source binlog shop.orders share_mining -> filter { row.id > 10 } -> sink null
"#;

/// What a collector was sent.
struct Sent {
    path: String,
    media_type: String,
    body: Vec<u8>,
}

#[test]
fn a_collector_gets_spans_of_everything_that_takes_time() {
    let (endpoint, received) = collector();
    let run =
        run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut spans = Vec::new();
    for sent in received.try_iter() {
        assert_eq!((sent.path.as_str(), sent.media_type.as_str()), ("/v1/traces", "application/json"));
        let batch: Value = serde_json::from_slice(&sent.body).unwrap();
        for resource in batch["resourceSpans"].as_array().unwrap() {
            assert_eq!(attribute(&resource["resource"], "service.name"), "lode");
            for scope in resource["scopeSpans"].as_array().unwrap() {
                spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
            }
        }
    }
    let find = |name: &str| {
        spans
            .iter()
            .find(|span| span["name"] == name)
            .unwrap_or_else(|| panic!("{name} is not in {spans:#?}"))
    };
    let append = find("append");
    assert_eq!(attribute(append, "mine"), "shop");
    assert_eq!(find("apply")["kind"], append["kind"], "both are lode's own");
    let stages = find("stages");
    assert_eq!(attribute(stages, "pipeline"), "orders");
    let deliver = spans.iter().find(|span| span["name"] == "deliver" && attribute(span, "changes") != "0");
    let deliver = deliver.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(attribute(deliver, "route"), "orders/shop/null");
    let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    for span in &spans {
        assert!(time(span, "startTimeUnixNano") <= time(span, "endTimeUnixNano"), "{span}");
    }
    let appended: u64 = spans.iter().filter(|span| span["name"] == "append").map(changes).sum();
    assert_eq!(appended, 108, "every append is there");
}

#[test]
fn protobuf_is_the_protocol_that_is_spoken_where_it_is_wished() {
    let (endpoint, received) = collector();
    let traces = format!("{endpoint}/collect");
    let run = run(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SERVICE_NAME", "lode of ada"),
    ]);
    assert!(run.status.success());
    let sent: Vec<Sent> = received.try_iter().collect();
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|sent| sent.path == "/collect" && sent.media_type == "application/x-protobuf"));
    let has = |text: &[u8]| sent.iter().any(|sent| sent.body.windows(text.len()).any(|part| part == text));
    assert!(has(b"append") && has(b"deliver") && has(b"lode of ada"));
}

#[test]
fn a_collector_that_is_away_harms_nobody_and_is_told_of() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let began = Instant::now();
    let run = run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{gone}"))]);
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success() && began.elapsed() < Duration::from_secs(30), "{told}");
    let row = |line: &str| line.split_whitespace().take(4).eq(["orders", "shop", "null", "108"]);
    assert!(told.lines().any(row), "everything was read: {told}");
    assert!(told.contains("ERROR") && told.contains("Export"), "{told}");
}

#[test]
fn without_an_address_nothing_is_sent() {
    let run = run(&[]);
    assert!(run.status.success());
    assert!(!String::from_utf8_lossy(&run.stderr).contains("ERROR"));
}

fn run(environment: &[(&str, &str)]) -> Output {
    let desk = tempfile::tempdir().unwrap();
    let script = SCRIPT.replace("{binlog}", concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/binlog"));
    let file = desk.path().join("shop.lode");
    fs::write(&file, script).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.arg("run").arg(file).arg("--data").arg(desk.path().join("data"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") || name.to_string_lossy().starts_with("LODE_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied()).output().unwrap()
}

/// Takes whatever it is sent, until the test ends.
fn collector() -> (String, Receiver<Sent>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || receive(stream, &sender));
        }
    });
    (endpoint, received)
}

fn receive(stream: TcpStream, sender: &Sender<Sent>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while head.last().is_none_or(|line: &String| !line.is_empty()) {
            let mut line = String::new();
            if reader.read_line(&mut line).is_ok_and(|length| length > 0) {
                head.push(line.trim_end().to_owned());
            } else {
                return;
            }
        }
        let header = |name: &str| {
            head.iter().find_map(|line| {
                let (known, value) = line.split_once(':')?;
                known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let length = header("content-length").expect("a body has a length").parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        let media_type = header("content-type").unwrap_or_default();
        let is_json = media_type == "application/json";
        // The test may have ended.
        let _ = sender.send(Sent { path, media_type: media_type.clone(), body });
        let answer = if is_json { "{}" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if reader.get_mut().write_all((head + answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// The text of an attribute, empty when there is none.
fn attribute(of: &Value, key: &str) -> String {
    let attributes = of["attributes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    let value = found.and_then(|found| found["value"].as_object()?.values().next());
    value.map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn changes(span: &Value) -> u64 {
    attribute(span, "changes").parse().unwrap_or(0)
}
