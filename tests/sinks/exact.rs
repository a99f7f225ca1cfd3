//! Values of every type, at their edges, come out of the target as they went in.

use std::borrow::Cow;

use lode::error::Kind;
use lode::model::schema::ColumnType;
use lode::model::value::{Date, DateTime, Time, Timestamp, Value};

use crate::target::*;

/// Type, value, and how SQLite and MariaDB show it.
pub fn cases() -> Vec<(ColumnType, Value<'static>, String, String)> {
    let mut cases = Vec::new();
    let mut both = |ty: ColumnType, value: Value<'static>, shown: &str| {
        cases.push((ty, value, shown.to_owned(), shown.to_owned()));
    };
    for (bits, min, max, umax) in [
        (8, -128, 127, 255),
        (16, -32_768, 32_767, 65_535),
        (24, -8_388_608, 8_388_607, 16_777_215),
        (32, i64::from(i32::MIN), i64::from(i32::MAX), u64::from(u32::MAX)),
        (64, i64::MIN, i64::MAX, u64::MAX),
    ] {
        for v in [min, -1, 0, max] {
            both(ColumnType::Int { bits, unsigned: false }, Value::Int(v), &v.to_string());
        }
        for v in [0, umax / 2, umax / 2 + 1, umax] {
            both(ColumnType::Int { bits, unsigned: true }, Value::UInt(v), &v.to_string());
        }
    }
    both(ColumnType::Bool, Value::Bool(true), "1");
    both(ColumnType::Year, Value::Year(2155), "2155");
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale, unsigned: false };
    let long = "-99999999999999999999999999999999999.999999999999999999999999999999";
    for (ty, digits) in
        [(decimal(65, 30), long), (decimal(10, 2), "-0.10"), (decimal(20, 0), "12345678901234567890")]
    {
        both(ty, Value::Decimal(digits.into()), digits);
    }
    let day = |year, month, day| Date { year, month, day };
    for date in
        [day(0, 0, 0), day(2020, 0, 0), day(1, 1, 1), day(1582, 10, 15), day(2023, 2, 31), day(9999, 12, 31)]
    {
        both(ColumnType::Date, Value::Date(date), &date.to_string());
        for (fsp, micros) in [(0, 0), (3, 999_000), (6, 1)] {
            let at = DateTime { date, hour: 23, minute: 59, second: 59, micros, fsp };
            both(ColumnType::DateTime { fsp }, Value::DateTime(at), &at.to_string());
        }
    }
    for (micros, fsp) in [
        (None, 0),
        (None, 6),
        (Some(1_000_000), 0),
        (Some(2_147_483_647_999_999), 6),
        (Some(1_700_000_000_120_000), 2),
    ] {
        let at = Timestamp { micros, fsp };
        both(ColumnType::Timestamp { fsp }, Value::Timestamp(at), &at.to_string());
    }
    for (micros, fsp) in
        [(0, 0), (-120_000, 2), (3_020_399_000_000, 0), (-3_020_399_000_000, 0), (86_399_999_999, 6)]
    {
        let span = Time { micros, fsp };
        both(ColumnType::Time { fsp }, Value::Time(span), &span.to_string());
    }
    for words in ["", "a'b\\c\"d", "  leading", "日本 😀", "007", "1e5", "NULL"] {
        both(ColumnType::VarChar { chars: 40 }, Value::Text(words.into()), words);
        both(ColumnType::Text { bytes: 65_535 }, Value::Text(words.into()), words);
    }
    both(ColumnType::VarChar { chars: 40 }, Value::Text("trailing ".into()), "trailing ");
    both(ColumnType::Char { chars: 5 }, Value::Text("é😀".into()), "é😀");
    let labels: Vec<String> = ["", "x", "it's", "a\\b"].map(String::from).into();
    both(ColumnType::Enum { labels: labels.clone() }, Value::Text("it's".into()), "it's");
    both(ColumnType::Enum { labels }, Value::Text("a\\b".into()), "a\\b");
    let labels: Vec<String> = (0..64).map(|at| format!("w{at}")).collect();
    both(ColumnType::Set { labels: labels.clone() }, Value::Text("w0,w63".into()), "w0,w63");
    both(ColumnType::Set { labels }, Value::Text("".into()), "");
    // As MySQL writes it: its own JSON columns keep the document, not the text.
    let json = r#"{"a": 1.1, "b": [null, 18446744073709551615], "c": "\u0000"}"#;
    both(ColumnType::Json, Value::Json(json.into()), json);
    both(ColumnType::Json, Value::Json("null".into()), "null");
    for ty in [INT, ColumnType::Json, ColumnType::Timestamp { fsp: 0 }, ColumnType::Geometry, TEXT] {
        both(ty, Value::Null, "NULL");
    }

    for (value, sqlite, mysql) in [
        (0.1_f32, "0.1", "0.1"),
        (16_777_216.0, "16777216.0", "16777200"),
        (f32::MAX, "3.4028235e38", "3.40282e38"),
        (f32::MIN_POSITIVE, "1.1754944e-38", "1.17549e-38"),
        (-1.5, "-1.5", "-1.5"),
    ] {
        cases.push((ColumnType::Float, Value::Float(value), sqlite.into(), mysql.into()));
    }
    for (value, sqlite, mysql) in [
        (0.1, "0.1", "0.1"),
        (f64::MAX, "1.7976931348623157e308", "1.7976931348623157e308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308", "2.2250738585072014e-308"),
        (9_007_199_254_740_993.0, "9007199254740992.0", "9.007199254740992e15"),
        (1e22, "1e22", "1e22"),
    ] {
        cases.push((ColumnType::Double, Value::Double(value), sqlite.into(), mysql.into()));
    }
    let bytes = |bytes: &[u8]| Value::Bytes(Cow::Owned(bytes.to_vec()));
    let point: &[u8] =
        &[0xE6, 0x10, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0x40];
    for (ty, value) in [
        (ColumnType::Binary { bytes: 4 }, &[0, 255, 0, 0][..]),
        (ColumnType::VarBinary { bytes: 10 }, b"\xFF\xFE'\\ "),
        (ColumnType::VarBinary { bytes: 10 }, b""),
        (ColumnType::Blob { bytes: 65_535 }, b"\x80\x00\xC3"),
        (ColumnType::Geometry, point),
    ] {
        cases.push((ty, bytes(value), hex(value), hex(value)));
    }
    for (width, value) in [(1, 1), (9, 257), (63, i64::MAX as u64), (64, u64::MAX), (64, 5)] {
        cases.push((ColumnType::Bit { width }, Value::Bit(value), value.to_string(), value.to_string()));
    }
    cases.push((ColumnType::Year, Value::Year(0), "0".into(), "0000".into()));
    cases
}

#[tokio::test]
async fn every_type_arrives_as_it_is() {
    for target in Target::exact().await {
        for keyed in [true, false] {
            let mut sink = target.sink_with("p", if keyed { "keyed_*" } else { "loose_*" }, &[]);
            sink.open().await.unwrap();
            let key: &[u16] = if keyed { &[0] } else { &[] };
            let cases = cases();
            // Small tables, so that a wrong one is found by its number.
            let tables: Vec<_> = (0..cases.len())
                .map(|at| {
                    schema(
                        &format!("t{at}"),
                        &[("id", INT, false), ("v", cases[at].0.clone(), true)],
                        key,
                        &[],
                    )
                })
                .collect();
            let row_of = |at: usize| row(&tables[at], &[Value::Int(1), cases[at].1.clone()]);
            sink.write(batch((0..cases.len()).map(|at| insert(row_of(at))).collect(), 1)).await.unwrap();
            let name = |at: usize| format!("{}t{at}", if keyed { "keyed_" } else { "loose_" });
            for (at, (ty, value, sqlite, mysql)) in cases.iter().enumerate() {
                let (column, shown) = match (target.kind, ty) {
                    ("sqlite", _) => ("v", sqlite),
                    (_, ColumnType::Bit { .. }) => ("v + 0", mysql),
                    (
                        _,
                        ColumnType::Binary { .. }
                        | ColumnType::VarBinary { .. }
                        | ColumnType::Blob { .. }
                        | ColumnType::Geometry,
                    ) => ("LOWER(HEX(v))", mysql),
                    _ => ("v", mysql),
                };
                let rows = target.rows(&format!("SELECT {column} FROM {}", name(at))).await;
                assert_eq!(rows, [shown.as_str()], "{} {ty:?} {value:?}", target.kind);
                if let (Value::Float(v), "mysql") = (value, target.kind) {
                    let rows = target.rows(&format!("SELECT CAST(v AS DOUBLE) FROM {}", name(at))).await;
                    assert_eq!(rows[0].parse::<f64>().unwrap(), f64::from(*v));
                }
            }
            // The row that was written is found again by all of its values.
            sink.write(batch((0..cases.len()).map(|at| delete(row_of(at))).collect(), 2)).await.unwrap();
            for (at, (_, value, ..)) in cases.iter().enumerate() {
                let left = target.rows(&format!("SELECT v FROM {}", name(at))).await;
                assert!(left.is_empty(), "{} {value:?}", target.kind);
            }
        }
    }
}

#[tokio::test]
async fn every_type_can_be_a_key() {
    for target in Target::exact().await.into_iter().chain([Target::mongodb().await]) {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        for (at, (ty, value, ..)) in cases().into_iter().enumerate() {
            let no_key = matches!(
                ty,
                ColumnType::Json | ColumnType::Geometry | ColumnType::Text { .. } | ColumnType::Blob { .. }
            );
            if value.is_null() || no_key {
                continue;
            }
            let table = schema(&format!("t{at}"), &[("v", ty, false), ("n", INT, true)], &[0], &[]);
            let one = |n| row(&table, &[value.clone(), Value::Int(n)]);
            sink.write(batch(vec![insert(one(1))], 1)).await.unwrap();
            sink.write(batch(vec![update(one(1), one(2))], 2)).await.unwrap();
            let count = format!("SELECT n FROM t{at}");
            assert_eq!(target.rows(&count).await, ["2"], "{} {value:?}", target.kind);
            sink.write(batch(vec![delete(one(2))], 3)).await.unwrap();
            assert!(target.rows(&count).await.is_empty(), "{} {value:?}", target.kind);
        }
    }
}

#[tokio::test]
async fn keys_that_differ_for_the_source_differ_in_the_target() {
    let words = schema("words", &[("w", TEXT, false)], &[0], &[]);
    for target in Target::exact().await.into_iter().chain([Target::mongodb().await]) {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let all = ["a", "A", "ä", "a ", "ss", "ß"];
        sink.write(batch(all.iter().map(|word| insert(row(&words, &[text(word)]))).collect(), 1))
            .await
            .unwrap();
        assert_eq!(target.rows("SELECT w FROM words").await.len(), all.len(), "{}", target.kind);
    }
}

#[tokio::test]
async fn a_column_that_would_change_values_is_refused() {
    let prices = schema(
        "prices",
        &[
            ("id", INT, false),
            ("price", ColumnType::Decimal { precision: 10, scale: 2, unsigned: false }, true),
        ],
        &[0],
        &[],
    );
    for target in Target::exact().await {
        let lossy = if target.kind == "sqlite" { "DECIMAL(10,2)" } else { "DECIMAL(10,1)" };
        target.run(&format!("CREATE TABLE prices (id INT PRIMARY KEY, price {lossy})")).await;
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let change = insert(row(&prices, &[Value::Int(1), Value::Decimal("1.25".into())]));
        let error = sink.write(batch(vec![change], 1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Environment, "{error}");
        assert!(error.to_string().contains("column price of table prices"), "{error}");
    }
}
