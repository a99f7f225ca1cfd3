//! `lode test`: each script of `golden/testing` is run, and its snapshot is what a user sees; what it says as JSON agrees.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use lode::check::{Input, SecretsPolicy, System, check};
use lode::engine::kinds::builtin;
use lode::lang::codes::Code;
use lode::lang::diagnostic::render;
use lode::model::block::Op;
use lode::model::change::Change;
use lode::model::position::Seq;
use lode::model::row::Row;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::model::value::{Date, DateTime, Time, Timestamp, Value};
use lode::testing::Recorder;

/// Runs `lode test` in a folder below the project.
fn lode_test(folder: &str, arguments: &[&str]) -> Output {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO_BIN_EXE_lode"))
        .arg("test")
        .args(arguments)
        .current_dir(project.join(folder))
        .env("LODE_LOG", "off")
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a script has a name").to_string_lossy().into_owned()
}

#[test]
fn scripts() {
    insta::glob!("golden/testing/*.lode", |path| {
        let name = file_name(path);
        let output = lode_test("tests/golden/testing", &[&name]);
        let code = output.status.code().unwrap_or(-1);
        let shown = format!("{}{}[exit code {code}]\n", text(&output.stdout), text(&output.stderr));
        insta::assert_snapshot!(shown);

        let json = lode_test("tests/golden/testing", &["--json", &name]);
        assert_eq!(json.status.code(), Some(code), "{name}");
        let said: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
        if code == 2 {
            assert!(!said["findings"].as_array().expect("a list").is_empty());
            return;
        }
        let tests = said["tests"].as_array().expect("a list");
        let failed = tests.iter().filter(|test| !test["passed"].as_bool().expect("a yes or no"));
        assert_eq!(said["failed"].as_u64(), Some(failed.clone().count() as u64));
        assert_eq!(
            shown.matches("\nFAIL  ").count() + usize::from(shown.starts_with("FAIL  ")),
            failed.clone().count()
        );
        for test in failed {
            let line = test["failure"]["line"].as_u64().expect("a failure has a place");
            assert!(line >= test["line"].as_u64().expect("a test has a place"), "{test}");
        }
    });
}

#[test]
fn shipped_tests_pass_without_a_secret() {
    let output = lode_test("scripts/language", &["07_tests.lode"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("1 passed, 0 failed\n"), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_filter_chooses_tests_by_their_name() {
    let chosen = lode_test("tests/golden/testing", &["failing.lode", "--filter", "one that"]);
    assert_eq!(text(&chosen.stdout), "ok    orders: and one that passes\n1 passed, 0 failed\n");
    let none = lode_test("tests/golden/testing", &["failing.lode", "--filter", "no such test"]);
    assert_eq!(text(&none.stdout), "no test has \"no such test\" in its name\n");
    assert_eq!(none.status.code(), Some(2), "a filter that chooses nothing must not pass in CI");
}

/// Scripts in the pages of codes and in the documents, which show tests.
#[test]
fn tests_of_the_documents_pass_and_the_wrong_one_fails() {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(project.join(name)).expect("the page is readable");
    let mut passed = 0;
    let pages = Code::ALL.iter().map(|code| code.page().to_owned());
    for page in pages.chain([read("README.md"), read("grammar/LANGUAGE.md")]) {
        for fence in page.split("\n```lode").skip(1) {
            let (info, rest) = fence.split_once('\n').expect("a fence has lines");
            let script = rest.split("\n```").next().unwrap_or_default();
            let is_failing = page.starts_with("# E06") && info == " error";
            if !script.contains("test \"") || (info == " error" && !is_failing) {
                continue;
            }
            let input = Input::new(project.join("scripts/language")).text("page", script);
            let input = Input { secrets: SecretsPolicy::Optional, ..input };
            let checked = check(&input, &builtin(), &System);
            let findings = render(&checked.diagnostics, &checked.sources, false);
            let model = checked.model.unwrap_or_else(|| panic!("{script}\n{findings}"));
            let report = lode::testing::run(&model, &checked.sources, &System, None);
            let failures: Vec<_> =
                report.outcomes.iter().filter_map(|outcome| outcome.failure.clone()).collect();
            assert_eq!(
                !failures.is_empty(),
                is_failing,
                "{script}\n{}",
                render(&failures, &checked.sources, false)
            );
            passed += report.passed();
        }
    }
    assert!(passed >= 2, "{passed} tests of the documents pass");
}

#[test]
fn what_is_recorded_is_read_back_byte_for_byte() {
    let int = |bits, unsigned| ColumnType::Int { bits, unsigned };
    let labels = vec!["new".to_owned(), "it's paid".to_owned()];
    let date = Date { year: 2026, month: 1, day: 31 };
    let at = DateTime { date, hour: 23, minute: 59, second: 58, micros: 120_000, fsp: 2 };
    let cells: Vec<(ColumnType, Value<'static>)> = vec![
        (int(64, false), Value::Int(i64::MIN)),
        (int(64, true), Value::UInt(u64::MAX)),
        (int(24, false), Value::Int(-8_388_608)),
        (
            ColumnType::Decimal { precision: 65, scale: 30, unsigned: false },
            Value::Decimal(format!("-0.{:030}", 1).into()),
        ),
        (ColumnType::Float, Value::Float(0.1)),
        (ColumnType::Double, Value::Double(1.797_693_134_862_315_7e308)),
        (ColumnType::Bit { width: 64 }, Value::Bit(u64::MAX)),
        (ColumnType::Year, Value::Year(0)),
        (ColumnType::Date, Value::Date(Date { year: 2020, month: 0, day: 0 })),
        (ColumnType::DateTime { fsp: 2 }, Value::DateTime(at)),
        (ColumnType::Timestamp { fsp: 0 }, Value::Timestamp(Timestamp { micros: None, fsp: 0 })),
        (
            ColumnType::Timestamp { fsp: 6 },
            Value::Timestamp(Timestamp { micros: Some(1_700_000_000_000_001), fsp: 6 }),
        ),
        (ColumnType::Time { fsp: 0 }, Value::Time(Time { micros: -3_020_399_000_000, fsp: 0 })),
        (ColumnType::Char { chars: 4 }, Value::Text("\u{1F600}\"\\\n".into())),
        (ColumnType::VarChar { chars: 0 }, Value::Text("".into())),
        (ColumnType::Text { bytes: 65_535 }, Value::Text("12.50".into())),
        (ColumnType::Binary { bytes: 3 }, Value::Bytes(vec![0, 255, 0].into())),
        (ColumnType::Blob { bytes: u32::MAX }, Value::Bytes(vec![].into())),
        (ColumnType::Enum { labels: labels.clone() }, Value::Text("it's paid".into())),
        (ColumnType::Set { labels }, Value::Text("new,it's paid".into())),
        (ColumnType::Json, Value::Json("{\"b\": 1.10,  \"a\": [null]}".into())),
        (ColumnType::Geometry, Value::Bytes(vec![0; 25].into())),
        (ColumnType::Text { bytes: 255 }, Value::Null),
    ];
    let column = |(at, (ty, _)): (usize, &(ColumnType, Value<'static>))| Column {
        name: format!("c{at}"),
        ty: ty.clone(),
        nullable: at > 0,
    };
    let schema = Arc::new(TableSchema {
        name: TableName::new("shop", "every.type"),
        columns: cells.iter().enumerate().map(column).collect(),
        primary_key: vec![0],
        unique_keys: Vec::new(),
    });
    let whole: Vec<_> = cells.iter().map(|(_, value)| Some(value.clone())).collect();
    let part: Vec<_> =
        whole.iter().enumerate().map(|(at, value)| if at % 2 == 0 { value.clone() } else { None }).collect();
    let row =
        |values: &[Option<Value<'_>>]| Some(Row::encode(Arc::clone(&schema), values).expect("values fit"));
    let change = |op, before, after| Change {
        seq: Seq(7),
        op,
        table: Arc::clone(&schema),
        before,
        after,
        time_ms: 1_700_000_000_001,
    };
    let changes = [
        change(Op::Insert, None, row(&whole)),
        change(Op::Update, row(&part), row(&whole)),
        change(Op::Delete, row(&part), None),
        change(Op::Truncate, None, None),
    ];
    let mut recorder = Recorder::new(Vec::new(), None).expect("memory takes everything");
    changes.iter().for_each(|change| recorder.write(change).expect("it can be written"));
    let text = String::from_utf8(recorder.finish().expect("memory takes everything")).expect("it is text");
    assert_eq!(text.lines().count(), 2 + changes.len(), "one line a change:\n{text}");

    let read = lode::testing::read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.len(), changes.len());
    let image = |row: &Option<Row>| row.as_ref().map(|row| row.image.clone());
    for (one, other) in changes.iter().zip(&read) {
        assert_eq!(one.table, other.table);
        assert_eq!((one.op, one.time_ms), (other.op, other.time_ms));
        assert_eq!(
            (image(&one.before), image(&one.after)),
            (image(&other.before), image(&other.after)),
            "{text}"
        );
    }
}
