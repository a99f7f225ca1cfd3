//! The sink that writes lines of JSON.

use std::path::Path;

use lode::error::Kind;
use lode::model::schema::ColumnType;
use lode::model::spec::Settings;
use lode::model::value::{Date, DateTime, Timestamp, Value};
use lode::sink::{Sink, SinkKind, SinkRoute};

use crate::target::*;

fn sink(folder: &Path, route: &str, target: &str) -> Box<dyn Sink> {
    let route = SinkRoute {
        key: route.into(),
        connection: None,
        target: folder.join(target).display().to_string(),
        settings: Settings::default(),
        state_dir: folder.join("state").join(route),
    };
    lode::sink::jsonl::Jsonl.sink(route).unwrap()
}

fn table(name: &str) -> std::sync::Arc<lode::model::schema::TableSchema> {
    schema(name, &[("id", INT, false), ("word", TEXT, true)], &[0], &[])
}

fn one(name: &str, id: i64) -> lode::model::row::Row {
    row(&table(name), &[Value::Int(id), text("w")])
}

fn line(name: &str, id: i64) -> String {
    format!(
        "{{\"table\":\"shop.{name}\",\"op\":\"insert\",\"ts\":\"2023-11-14T22:13:20.123Z\",\"seq\":7,\"after\":{{\"id\":{id},\"word\":\"w\"}}}}\n"
    )
}

#[tokio::test]
async fn each_change_is_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), "r", "out/{database}.jsonl");
    sink.open().await.unwrap();
    let edge = schema(
        "edge",
        &[
            ("u", ColumnType::Int { bits: 64, unsigned: true }, true),
            ("d", ColumnType::Decimal { precision: 30, scale: 2, unsigned: false }, true),
            ("f", ColumnType::Float, true),
            ("b", ColumnType::VarBinary { bytes: 9 }, true),
            ("dt", ColumnType::DateTime { fsp: 2 }, true),
            ("ts", ColumnType::Timestamp { fsp: 0 }, true),
            ("j", ColumnType::Json, true),
            ("s", TEXT, true),
            ("bit", ColumnType::Bit { width: 64 }, true),
            ("gone", INT, true),
            ("null", INT, true),
        ],
        &[0],
        &[],
    );
    let at = DateTime {
        date: Date { year: 2020, month: 0, day: 0 },
        hour: 1,
        minute: 2,
        second: 3,
        micros: 40_000,
        fsp: 2,
    };
    let edge_row = some(
        &edge,
        &[
            Some(Value::UInt(u64::MAX)),
            Some(Value::Decimal("-12345678901234567890.10".into())),
            Some(Value::Float(0.1)),
            Some(Value::Bytes((&[0, 255, 16][..]).into())),
            Some(Value::DateTime(at)),
            Some(Value::Timestamp(Timestamp { micros: Some(0), fsp: 0 })),
            Some(Value::Json("{\"b\": 1.10,\n \"a\": 18446744073709551615}".into())),
            Some(text("q\"\n\u{1}😀")),
            Some(Value::Bit(u64::MAX)),
            None,
            Some(Value::Null),
        ],
    );
    let changes =
        vec![insert(edge_row), update(one("t", 1), one("t", 2)), delete(one("t", 2)), truncate(&table("t"))];
    assert_eq!(sink.write(batch(changes, 1)).await.unwrap().rows, 4);
    let text = std::fs::read_to_string(folder.path().join("out/shop.jsonl")).unwrap();
    let head = |table: &str, op: &str| {
        format!("{{\"table\":\"shop.{table}\",\"op\":\"{op}\",\"ts\":\"2023-11-14T22:13:20.123Z\",\"seq\":7")
    };
    let expected = [
        format!(
            "{},\"after\":{}}}",
            head("edge", "insert"),
            concat!(
                r#"{"u":18446744073709551615,"d":"-12345678901234567890.10","f":0.1,"b":"AP8Q","#,
                r#""dt":"2020-00-00T01:02:03.04","ts":"1970-01-01T00:00:00Z","#,
                r#""j":{"b": 1.10,  "a": 18446744073709551615},"s":"q\"\n\u0001😀","bit":18446744073709551615,"null":null}"#
            )
        ),
        format!(
            "{},\"before\":{{\"id\":1,\"word\":\"w\"}},\"after\":{{\"id\":2,\"word\":\"w\"}}}}",
            head("t", "update")
        ),
        format!("{},\"before\":{{\"id\":2,\"word\":\"w\"}}}}", head("t", "delete")),
        format!("{}}}", head("t", "truncate")),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[tokio::test]
async fn what_no_cursor_covers_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let mut first = sink(folder.path(), "r", "{table}.jsonl");
    assert_eq!(first.open().await.unwrap(), None);
    first.write(part(vec![insert(one("a", 1))])).await.unwrap();
    drop(first);
    let mut again = sink(folder.path(), "r", "{table}.jsonl");
    assert_eq!(again.open().await.unwrap(), None);
    assert_eq!(read("a.jsonl"), "");
    again.write(batch(vec![insert(one("a", 1))], 1)).await.unwrap();
    again.write(part(vec![insert(one("a", 2)), insert(one("b", 3))])).await.unwrap();
    drop(again);
    let mut again = sink(folder.path(), "r", "{table}.jsonl");
    assert_eq!(again.open().await.unwrap(), Some(cursor(1)));
    assert_eq!((read("a.jsonl"), read("b.jsonl")), (line("a", 1), String::new()));
    again.write(part(vec![insert(one("a", 2))])).await.unwrap();
    again.write(batch(vec![insert(one("b", 3))], 5)).await.unwrap();
    again.write(part(vec![insert(one("a", 9))])).await.unwrap();
    again.close().await.unwrap();
    assert_eq!((read("a.jsonl"), read("b.jsonl")), (line("a", 1) + line("a", 2).as_str(), line("b", 3)));
}

#[tokio::test]
async fn more_tables_than_open_files_lose_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let changes = || (0..450).map(|at| insert(one(&format!("t{at}"), at))).collect::<Vec<_>>();
    let mut first = sink(folder.path(), "r", "{table}.jsonl");
    first.open().await.unwrap();
    first.write(batch(changes(), 1)).await.unwrap();
    first.write(part(changes())).await.unwrap();
    drop(first);
    sink(folder.path(), "r", "{table}.jsonl").open().await.unwrap();
    for at in 0..450 {
        let path = folder.path().join(format!("t{at}.jsonl"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), line(&format!("t{at}"), at));
    }
}

#[tokio::test]
async fn two_routes_never_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut one_route = sink(folder.path(), "a", "all.jsonl");
    one_route.open().await.unwrap();
    one_route.write(batch(vec![insert(one("a", 1))], 1)).await.unwrap();
    let mut other = sink(folder.path(), "b", "all.jsonl");
    other.open().await.unwrap();
    let error = other.write(batch(vec![insert(one("b", 1))], 1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error}");
    let mut second = sink(folder.path(), "a", "all.jsonl");
    assert_eq!(second.open().await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(std::fs::read_to_string(folder.path().join("all.jsonl")).unwrap(), line("a", 1));
}
