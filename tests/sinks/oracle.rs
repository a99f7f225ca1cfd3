//! Oracle's own types and rules, read back by a client that shares no code with lode.

use std::borrow::Cow;

use lode::error::Kind;
use lode::model::schema::ColumnType;
use lode::model::spec::Setting;
use lode::model::value::Value::{Int, Null};
use lode::model::value::{Date, DateTime, Time, Timestamp, Value};

use crate::target::*;

const CLOB: ColumnType = ColumnType::Text { bytes: 65_535 };

fn types(columns: &[(&str, &str)]) -> (&'static str, Setting) {
    ("types", Setting::Columns(columns.iter().map(|(name, ty)| ((*name).into(), (*ty).into())).collect()))
}

/// Type, value, and the text of it that Oracle gives.
fn cases() -> Vec<(ColumnType, Value<'static>, String)> {
    let mut cases = Vec::new();
    let mut case = |ty: ColumnType, value: Value<'static>, shown: &str| {
        cases.push((ty, value, shown.to_owned()));
    };
    for (bits, min, max, umax) in [
        (8, -128, 127, 255),
        (24, -8_388_608, 8_388_607, 16_777_215),
        (32, i64::from(i32::MIN), i64::from(i32::MAX), u64::from(u32::MAX)),
        (64, i64::MIN, i64::MAX, u64::MAX),
    ] {
        for v in [min, 0, max] {
            case(ColumnType::Int { bits, unsigned: false }, Int(v), &v.to_string());
        }
        case(ColumnType::Int { bits, unsigned: true }, Value::UInt(umax), &umax.to_string());
    }
    case(ColumnType::Bool, Value::Bool(true), "1");
    case(ColumnType::Year, Value::Year(2155), "2155");
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale, unsigned: false };
    let wide = "-99999999999999999999999999999999999.999999999999999999999999999999";
    let full = "1234567890123456789012345678.0123456789";
    for (ty, digits) in
        [(decimal(65, 30), wide), (decimal(38, 10), full), (decimal(20, 0), "12345678901234567890")]
    {
        case(ty, Value::Decimal(digits.into()), digits);
    }
    case(decimal(10, 2), Value::Decimal("-0.10".into()), "-0.1");
    case(ColumnType::Bit { width: 1 }, Value::Bit(1), "1");
    case(ColumnType::Bit { width: 64 }, Value::Bit(u64::MAX), "18446744073709551615");
    case(ColumnType::Float, Value::Float(1.5), "1.5");
    case(ColumnType::Double, Value::Double(0.1), "0.1");
    case(ColumnType::Double, Value::Double(1.797e308), "1.797e+308");
    let day = |year, month, day| Date { year, month, day };
    case(ColumnType::Date, Value::Date(day(1, 1, 1)), "0001-01-01T00:00:00");
    case(ColumnType::Date, Value::Date(day(9999, 12, 31)), "9999-12-31T00:00:00");
    let at = |date, micros, fsp| DateTime { date, hour: 23, minute: 59, second: 59, micros, fsp };
    case(
        ColumnType::DateTime { fsp: 6 },
        Value::DateTime(at(day(2024, 2, 29), 1, 6)),
        "2024-02-29T23:59:59.000001",
    );
    let moment = Timestamp { micros: Some(1_700_000_000_120_000), fsp: 2 };
    case(ColumnType::Timestamp { fsp: 2 }, Value::Timestamp(moment), "2023-11-14T22:13:20.120000");
    for (micros, fsp, shown) in [
        (3_020_399_000_000, 0, "+34 22:59:59.000000"),
        (-3_020_399_000_000, 0, "-34 22:59:59.000000"),
        (-120_000, 2, "-00 00:00:00.120000"),
        (86_399_999_999, 6, "+00 23:59:59.999999"),
    ] {
        case(ColumnType::Time { fsp }, Value::Time(Time { micros, fsp }), shown);
    }
    for words in ["a'b\\c\"d", "  leading", "trailing ", "日本 😀", "007", "NULL"] {
        case(TEXT, Value::Text(words.into()), words);
        case(CLOB, Value::Text(words.into()), words);
    }
    let long = "x😀".repeat(30_000);
    case(ColumnType::Text { bytes: 1 << 24 }, Value::Text(long.clone().into()), &long);
    let labels: Vec<String> = ["x", "it's"].map(String::from).into();
    case(ColumnType::Enum { labels: labels.clone() }, Value::Text("it's".into()), "it's");
    case(ColumnType::Set { labels }, Value::Text("x,it's".into()), "x,it's");
    let json = r#"{"a": 1.1, "b": [null, 18446744073709551615]}"#;
    case(ColumnType::Json, Value::Json(json.into()), json);
    let bytes = |bytes: &[u8]| Value::Bytes(Cow::Owned(bytes.to_vec()));
    case(ColumnType::Binary { bytes: 4 }, bytes(&[0, 255, 0, 0]), "00FF0000");
    case(ColumnType::VarBinary { bytes: 3000 }, bytes(b"\xFF\xFE'"), "FFFE27");
    case(ColumnType::Blob { bytes: 65_535 }, bytes(&[0xAB; 40_000]), &"AB".repeat(40_000));
    let point: &[u8] = &[0, 0, 0, 0, 1, 1, 0, 0, 0];
    case(ColumnType::Geometry, bytes(point), "0101000000");
    for ty in [INT, ColumnType::Json, ColumnType::Timestamp { fsp: 0 }, ColumnType::Geometry, TEXT] {
        case(ty, Null, "NULL");
    }
    cases
}

#[tokio::test]
async fn every_type_arrives_as_it_is() {
    let target = Target::oracle().await;
    let mut sink = target.sink();
    sink.open().await.unwrap();
    let cases = cases();
    // Tables of a few columns each, so that a wrong one is found by its number and few tables are made.
    let tables: Vec<_> = cases
        .chunks(6)
        .enumerate()
        .map(|(at, chunk)| {
            let names: Vec<String> = (0..chunk.len()).map(|at| format!("v{at}")).collect();
            let mut columns = vec![("id", INT, false)];
            columns.extend(names.iter().zip(chunk).map(|(name, (ty, ..))| (name.as_str(), ty.clone(), true)));
            schema(&format!("t{at}"), &columns, &[0], &[])
        })
        .collect();
    let row_of = |id: i64, at: usize, chunk: &[(ColumnType, Value<'static>, String)]| {
        let mut values = vec![Int(id)];
        values.extend(chunk.iter().map(|(_, value, _)| value.clone()));
        row(&tables[at], &values)
    };
    let empty_of = |id: i64, at: usize| {
        let mut values = vec![Null; tables[at].columns.len()];
        values[0] = Int(id);
        row(&tables[at], &values)
    };
    let mut inserts = Vec::new();
    let mut updates = Vec::new();
    for (at, chunk) in cases.chunks(6).enumerate() {
        inserts.extend([insert(row_of(1, at, chunk)), insert(empty_of(2, at))]);
        updates.push(update(empty_of(2, at), row_of(2, at, chunk)));
    }
    sink.write(batch(inserts, 1)).await.unwrap();
    sink.write(batch(updates, 2)).await.unwrap();
    for (number, chunk) in cases.chunks(6).enumerate() {
        for (at, (ty, _, shown)) in chunk.iter().enumerate() {
            let rows = target.rows(&format!("SELECT v{at} FROM t{number}")).await;
            assert!(rows == [shown.as_str(); 2], "t{number}.v{at} {ty:?}: {:.200?}", rows);
        }
    }
}

#[tokio::test]
async fn tables_are_made_with_these_types() {
    let target = Target::oracle().await;
    let orders = schema(
        "orders",
        &[
            ("id", ColumnType::Int { bits: 64, unsigned: true }, false),
            ("at", ColumnType::Timestamp { fsp: 3 }, false),
            ("state", TEXT, false),
            ("qty", INT, false),
            ("price", ColumnType::Decimal { precision: 12, scale: 2, unsigned: false }, true),
            ("doc", ColumnType::Json, true),
        ],
        &[0, 1],
        &[],
    );
    let mut sink = target.sink_with("p", "dw_*", &[types(&[("Price", "NUMBER(14,2)")])]);
    sink.open().await.unwrap();
    let moment = Timestamp { micros: Some(1_700_000_000_120_000), fsp: 3 };
    let order = row(
        &orders,
        &[
            Value::UInt(u64::MAX),
            Value::Timestamp(moment),
            text("new"),
            Int(1),
            Value::Decimal("1.50".into()),
            Null,
        ],
    );
    sink.write(batch(vec![insert(order.clone()), update(order.clone(), order)], 1)).await.unwrap();
    let columns = target
        .rows(
            "SELECT COLUMN_NAME, DATA_TYPE, DATA_PRECISION, DATA_SCALE, CHAR_LENGTH, NULLABLE FROM USER_TAB_COLUMNS WHERE \
             TABLE_NAME = 'DW_ORDERS'",
        )
        .await;
    assert_eq!(
        columns,
        [
            "AT|TIMESTAMP(3)|NULL|3|0|N",
            "DOC|CLOB|NULL|NULL|0|Y",
            "ID|NUMBER|20|0|0|N",
            "PRICE|NUMBER|14|2|0|Y",
            "QTY|NUMBER|10|0|0|N",
            "STATE|VARCHAR2|NULL|NULL|40|Y",
        ]
    );
    assert_eq!(target.rows("SELECT id, state, price FROM dw_orders").await, ["18446744073709551615|new|1.5"]);
}

#[tokio::test]
async fn empty_texts_and_zero_dates_follow_the_settings() {
    let table = schema(
        "notes",
        &[("id", INT, false), ("must", TEXT, false), ("may", TEXT, true), ("day", ColumnType::Date, false)],
        &[0],
        &[],
    );
    let zero = Value::Date(Date { year: 0, month: 0, day: 0 });
    let note = |id| row(&table, &[Int(id), text(""), text(""), zero.clone()]);
    let target = Target::oracle().await;
    let mut sink = target.sink();
    sink.open().await.unwrap();
    sink.write(batch(vec![insert(note(1))], 1)).await.unwrap();
    let set =
        [("empty_string", Setting::Text("-".into())), ("zero_date", Setting::Text("1970-01-01".into()))];
    let mut sink = target.sink_with("q", "*", &set);
    sink.open().await.unwrap();
    sink.write(batch(vec![insert(note(2))], 1)).await.unwrap();
    assert_eq!(
        target.rows("SELECT id, must, may, day FROM notes").await,
        ["1|NULL|NULL|NULL", "2|-|NULL|1970-01-01T00:00:00"]
    );
    let words = schema("words", &[("w", TEXT, false)], &[0], &[]);
    let error = sink.write(batch(vec![insert(row(&words, &[text("")]))], 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(
        error.to_string().contains("an empty text is NULL in Oracle, which a key cannot hold"),
        "{error}"
    );
}

#[tokio::test]
async fn an_existing_table_is_compared_before_the_first_row() {
    let target = Target::oracle().await;
    target
        .run("CREATE TABLE orders (id NUMBER(5), state VARCHAR2(3 CHAR), price NUMBER(10), note DATE)")
        .await;
    let price = ColumnType::Decimal { precision: 10, scale: 2, unsigned: false };
    let orders = schema(
        "orders",
        &[
            ("id", INT, false),
            ("state", TEXT, true),
            ("price", price, true),
            ("note", TEXT, true),
            ("doc", CLOB, true),
        ],
        &[0],
        &[],
    );
    let order = row(&orders, &[Int(1), text("new"), Value::Decimal("1.25".into()), text("n"), Null]);
    let off = ("create_tables", Setting::Switch(false));
    let mut sink = target.sink_with("p", "*", std::slice::from_ref(&off));
    sink.open().await.unwrap();
    let error = sink.write(batch(vec![insert(order.clone())], 1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    let said = error.to_string();
    for words in [
        "column ID is NUMBER(5): larger numbers of the source do not fit",
        "column STATE is VARCHAR2(3 CHAR): it ends at 3 characters, and the source at 40 characters",
        "column PRICE is NUMBER(10): it rounds to 0 of 2 digits behind the point",
        "column NOTE is DATE, which is no type for these values",
        "it has no column DOC",
        "it has no primary or unique key over (ID)",
    ] {
        assert!(said.contains(words), "{words}\nin {said}");
    }
    let ddl = error.next_step().unwrap();
    for words in [
        "ALTER TABLE \"ORDERS\" MODIFY (\"PRICE\" NUMBER(10,2));",
        "ALTER TABLE \"ORDERS\" ADD (\"DOC\" CLOB);",
        "ALTER TABLE \"ORDERS\" ADD PRIMARY KEY (\"ID\");",
    ] {
        assert!(ddl.contains(words), "{words}\nin {ddl}");
    }
    assert!(target.rows("SELECT id FROM orders").await.is_empty());

    // What the script says is meant may lose something, which is a warning; a value that does not fit is an error.
    target.run("CREATE TABLE prices (id NUMBER(10) PRIMARY KEY, state VARCHAR2(3 CHAR))").await;
    let prices = schema("prices", &[("id", INT, false), ("state", TEXT, true)], &[0], &[]);
    let mut sink = target.sink_with("p", "*", &[off, types(&[("state", "VARCHAR2(3 CHAR)")])]);
    sink.open().await.unwrap();
    sink.write(batch(vec![insert(row(&prices, &[Int(1), text("abc")]))], 1)).await.unwrap();
    let error = sink.write(batch(vec![insert(row(&prices, &[Int(2), text("abcd")]))], 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    let words = "table PRICES does not take the row with id = 2: column STATE: it has 4 characters, and the column ends at 3";
    assert!(error.to_string().contains(words), "{error}");
}

/// Rows with long values are not merged: they are updated, inserted where they are missing, and keep what only the target has.
#[tokio::test]
async fn rows_with_long_values_come_change_and_go() {
    let target = Target::oracle().await;
    target.run("CREATE TABLE docs (id NUMBER(10) PRIMARY KEY, slug VARCHAR2(40 CHAR) UNIQUE, doc CLOB, mine NUMBER(3))").await;
    let docs =
        schema("docs", &[("id", INT, false), ("doc", CLOB, true), ("slug", TEXT, true)], &[0], &[&[2]]);
    let doc = |id, slug: &str, doc: &str| row(&docs, &[Int(id), text(doc), text(slug)]);
    let long = "長い".repeat(3000);
    let mut sink = target.sink();
    sink.open().await.unwrap();
    let inserts = (1..8).map(|id| insert(doc(id, &format!("s{id}"), &long))).collect();
    sink.write(batch(inserts, 1)).await.unwrap();
    target.run("UPDATE docs SET mine = id").await;
    let changes = vec![
        update(doc(1, "s1", &long), doc(1, "s1", "short")),
        delete(doc(2, "s2", &long)),
        update(doc(3, "s3", &long), doc(30, "s3", &long)),
        // A row that is there, and one that is not.
        insert(doc(4, "s4", "again")),
        update(doc(40, "x", ""), doc(40, "s40", "late")),
    ];
    sink.write(batch(changes, 2)).await.unwrap();
    let shown = "SELECT id, slug, LENGTH(doc), mine FROM docs WHERE id < 5 OR id > 7";
    assert_eq!(target.rows(shown).await, ["1|s1|5|1", "30|s3|6000|NULL", "40|s40|4|NULL", "4|s4|5|4"]);
    let error = sink.write(batch(vec![insert(doc(50, "s5", "taken"))], 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.to_string().contains("table DOCS does not take the row with id = 50"), "{error}");
    assert!(!error.to_string().contains("s5"), "{error}");
}

#[tokio::test]
async fn names_and_keys_that_oracle_cannot_have_are_errors() {
    let target = Target::oracle().await;
    let mut sink = target.sink();
    for (table, words) in [
        (schema("a", &[("id", INT, false), ("ID", INT, true)], &[0], &[]), "the columns id and ID"),
        (schema("a", &[("id", CLOB, false)], &[0], &[]), "the key column id of table shop.a has no type"),
        (schema(&"t".repeat(129), &[("id", INT, false)], &[0], &[]), "names end at 128 bytes"),
        (schema("lode_cursor", &[("id", INT, false)], &[0], &[]), "is lode's own"),
    ] {
        sink.open().await.unwrap();
        let values: Vec<Value<'_>> =
            table.columns.iter().map(|column| if column.ty == CLOB { text("x") } else { Int(1) }).collect();
        let error = sink.write(batch(vec![insert(row(&table, &values))], 1)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_table_of_its_key_alone_and_one_without_a_key_are_written() {
    let target = Target::oracle().await;
    let pairs = schema("pairs", &[("a", INT, false), ("b", INT, false)], &[0, 1], &[]);
    let pair = |a, b| row(&pairs, &[Int(a), Int(b)]);
    let loose = schema("loose", &[("n", INT, true), ("doc", CLOB, true)], &[], &[]);
    let line = |n| row(&loose, &[Int(n), text("d")]);
    let mut sink = target.sink();
    sink.open().await.unwrap();
    let changes = vec![
        insert(pair(1, 1)),
        insert(pair(1, 2)),
        insert(pair(1, 2)),
        update(pair(1, 1), pair(1, 3)),
        insert(line(1)),
        insert(line(1)),
    ];
    sink.write(batch(changes, 1)).await.unwrap();
    assert_eq!(target.rows("SELECT a, b FROM pairs").await, ["1|2", "1|3"]);
    assert_eq!(target.rows("SELECT n, doc FROM loose").await, ["1|d", "1|d"]);
    // Which of them goes cannot be told.
    let error = sink.write(batch(vec![delete(line(1))], 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.to_string().contains("cannot be told apart by column DOC"), "{error}");
}

#[tokio::test]
async fn columns_follow_the_source_when_it_allows_null() {
    let target = Target::oracle().await;
    let strict = schema("items", &[("id", INT, false), ("n", INT, false), ("m", INT, false)], &[0], &[]);
    let relaxed = schema("items", &[("id", INT, false), ("n", INT, true)], &[0], &[]);
    let mut sink = target.sink();
    sink.open().await.unwrap();
    sink.write(batch(vec![insert(row(&strict, &[Int(1), Int(1), Int(1)]))], 1)).await.unwrap();
    sink.write(batch(vec![insert(row(&relaxed, &[Int(2), Null]))], 2)).await.unwrap();
    assert_eq!(target.rows("SELECT id, n, m FROM items").await, ["1|1|1", "2|NULL|NULL"]);
}
