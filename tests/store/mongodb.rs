//! Logs in MongoDB as people and indexes see them, and what does not fit into one document.

use std::str::FromStr;
use std::sync::Arc;

use futures_util::TryStreamExt;
use lode::error::Kind;
use lode::model::block::{Block, BlockBuilder, Commit, Op, SchemaBook};
use lode::model::position::{Position, Seq};
use lode::model::row::Row;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::model::value::{Date, DateTime, Time, Timestamp, Value};
use lode::store::mongodb::Mongodb;
use lode::store::{Log, LogStore, Retention};
use mongodb::Collection;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{self, Binary, Bson, Decimal128, Document, doc};
use proptest::prelude::*;

use super::support::mongodb::shared_mongodb;
use super::{Ledger, assert_same, everything, tables};

/// A store in a database of its own, and the collections of its log `shop`.
pub struct Place {
    pub store: Mongodb,
    pub blocks: Collection<Document>,
    pub state: Collection<Document>,
}

impl Place {
    pub fn new() -> Place {
        let server = shared_mongodb();
        let database = server.database();
        let store = Mongodb::new(server.connection(&database), Default::default()).unwrap();
        let database = server.client().database(&database);
        Place { store, blocks: database.collection("shop"), state: database.collection("shop.state") }
    }

    pub async fn open(&self) -> Arc<dyn Log> {
        self.store.open("shop").await.unwrap()
    }

    async fn block(&self, number: i64) -> Document {
        self.blocks.find_one(doc! { "_id": number }).await.unwrap().expect("a block")
    }
}

#[tokio::test]
async fn what_a_person_sees() {
    let place = Place::new();
    let log = place.open().await;
    log.bind_source("server-1").await.unwrap();
    let schema = Arc::new(orders());
    let mut builder = BlockBuilder::new(Seq(0), SchemaBook::default());
    builder.coverage(&tables("orders"));
    let row = |id, amount: &'static str, note: Option<Value<'static>>| {
        let values = [
            Some(Value::Int(id)),
            Some(Value::Decimal(amount.into())),
            Some(Value::UInt(u64::MAX)),
            Some(Value::Timestamp(Timestamp { micros: Some(1_714_566_896_789_000), fsp: 3 })),
            Some(Value::DateTime(datetime())),
            Some(Value::Bytes((&b"\x01\x02"[..]).into())),
            note,
        ];
        Row::encode(Arc::clone(&schema), &values).unwrap()
    };
    let first = row(1, "12.30", Some(Value::Text("Grüße".into())));
    let second = row(1, "15.00", Some(Value::Null));
    let third = row(1 << 40, "-0.01", None);
    let long = "x".repeat(20_000);
    let fourth = row(2, "1.00", Some(Value::Text(long.into())));
    change(&mut builder, Op::Insert, None, Some(&first));
    change(&mut builder, Op::Update, Some(&first), Some(&second));
    commit(&mut builder, 1200);
    change(&mut builder, Op::Delete, Some(&third), None);
    change(&mut builder, Op::Insert, None, Some(&fourth));
    commit(&mut builder, 1500);
    log.append(vec![Arc::new(builder.seal().unwrap())]).await.unwrap();

    let mut block = place.block(0).await;
    let packed = block.get_document_mut("block").unwrap();
    packed.insert("crc", "<checksum>");
    packed.insert("data", "<the block's own bytes>");
    insta::assert_snapshot!("a_block_in_mongodb", shown(&block));

    let mut head = place.state.find_one(doc! { "_id": "head" }).await.unwrap().unwrap();
    head.insert("epoch", "<epoch>");
    head.insert("made", "<time>");
    for (_, value) in head.get_document_mut("lease").unwrap().iter_mut() {
        *value = Bson::String("<of this process>".into());
    }
    let notes: Vec<Document> = place
        .state
        .find(doc! { "_id": { "$type": "number" } })
        .sort(doc! { "_id": 1 })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let notes: Vec<String> = notes.iter().map(shown).collect();
    // A size that depends on how zstd compresses is none of anybody's business.
    let written = head.get_document_mut("written").unwrap();
    assert!(written.get_i64("stored").unwrap() > 0);
    written.insert("stored", "<size>");
    insta::assert_snapshot!(
        "the_state_of_a_log_in_mongodb",
        format!("{}\n{}", shown(&head), notes.join("\n"))
    );
}

/// A document as mongosh shows it.
fn shown(document: &Document) -> String {
    let mut text = String::new();
    show(&Bson::Document(document.clone()), 0, &mut text);
    text
}

fn show(value: &Bson, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth + 1);
    match value {
        Bson::Document(document) if document.is_empty() => out.push_str("{}"),
        Bson::Document(document) => {
            out.push_str("{\n");
            for (key, value) in document {
                *out += &format!("{indent}{key}: ");
                show(value, depth + 1, out);
                out.push_str(",\n");
            }
            *out += &format!("{}}}", "  ".repeat(depth));
        }
        Bson::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                show(value, depth, out);
            }
            out.push(']');
        }
        Bson::String(text) => *out += &format!("{text:?}"),
        Bson::Int64(number) => *out += &format!("Long('{number}')"),
        Bson::Decimal128(number) => *out += &format!("Decimal128('{number}')"),
        Bson::DateTime(at) => *out += &format!("ISODate('{}')", at.try_to_rfc3339_string().unwrap()),
        Bson::Binary(binary) => *out += &format!("Binary({:02x?})", binary.bytes),
        other => *out += &other.to_string(),
    }
}

fn orders() -> TableSchema {
    let column = |name: &str, ty, nullable| Column { name: name.to_owned(), ty, nullable };
    TableSchema {
        name: TableName::new("shop", "orders"),
        columns: vec![
            column("id", ColumnType::Int { bits: 64, unsigned: false }, false),
            column("amount", ColumnType::Decimal { precision: 10, scale: 2, unsigned: false }, false),
            column("visits", ColumnType::Int { bits: 64, unsigned: true }, false),
            column("changed_at", ColumnType::Timestamp { fsp: 3 }, false),
            column("due", ColumnType::DateTime { fsp: 6 }, false),
            column("token", ColumnType::VarBinary { bytes: 16 }, false),
            column("note", ColumnType::Text { bytes: 65_535 }, true),
        ],
        primary_key: vec![0],
        unique_keys: Vec::new(),
    }
}

fn datetime() -> DateTime {
    let date = Date { year: 2024, month: 5, day: 1 };
    DateTime { date, hour: 12, minute: 34, second: 56, micros: 789_012, fsp: 6 }
}

fn change(builder: &mut BlockBuilder, op: Op, before: Option<&Row>, after: Option<&Row>) {
    let row = before.or(after).expect("a change has a row");
    let no = builder.schema(&row.schema);
    let image = |row: &Row| {
        let image = row.image.clone();
        move |out: &mut Vec<u8>| -> Result<(), ()> {
            out.extend_from_slice(&image);
            Ok(())
        }
    };
    builder.change(op, no, 1_714_566_896_000, before.map(image), after.map(image)).unwrap();
}

fn commit(builder: &mut BlockBuilder, offset: u64) {
    let position = Position { gtid: "0-1-7".into(), file: "binlog.000003".into(), offset };
    builder.commit(Commit { position, time_ms: 1_714_566_897_000 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn values_are_shown_exactly(rows in prop::collection::vec(values(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_values(rows));
    }
}

/// One value for each column of `every_type`; `None` is left out of the log.
fn values() -> impl Strategy<Value = Vec<Option<Value<'static>>>> {
    let columns = every_type().columns;
    columns
        .into_iter()
        .map(|column| {
            let value = value(column.ty);
            prop_oneof![8 => value.prop_map(Some), 1 => Just(Some(Value::Null)), 1 => Just(None)].boxed()
        })
        .collect::<Vec<_>>()
}

fn value(ty: ColumnType) -> BoxedStrategy<Value<'static>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    match ty {
        ColumnType::Int { unsigned: true, bits } => {
            prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(move |v| Value::UInt(v >> (64 - bits))).boxed()
        }
        ColumnType::Int { bits, .. } => {
            prop_oneof![any::<i64>(), Just(i64::MIN)].prop_map(move |v| Value::Int(v >> (64 - bits))).boxed()
        }
        ColumnType::Decimal { precision, scale, .. } => {
            let (whole, scale) = (usize::from(precision - scale), usize::from(scale));
            (any::<bool>(), prop::collection::vec(0..10_u8, whole + scale))
                .prop_map(move |(negative, digits)| {
                    let text: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
                    let integer = text[..whole].trim_start_matches('0');
                    let sign = if negative { "-" } else { "" };
                    let integer = if integer.is_empty() { "0" } else { integer };
                    Value::Decimal(format!("{sign}{integer}.{}", &text[whole..]).into())
                })
                .boxed()
        }
        ColumnType::Float => any::<f32>().prop_map(Value::Float).boxed(),
        ColumnType::Double => any::<f64>().prop_map(Value::Double).boxed(),
        ColumnType::Bit { width } => any::<u64>().prop_map(move |v| Value::Bit(v >> (64 - width))).boxed(),
        ColumnType::Year => (1901..2156_u16).prop_map(Value::Year).boxed(),
        ColumnType::Date => date().prop_map(Value::Date).boxed(),
        ColumnType::DateTime { fsp } => (date(), 0..24_u8, 0..60_u8, 0..60_u8, 0..1_000_000_u32)
            .prop_map(move |(date, hour, minute, second, micros)| {
                Value::DateTime(DateTime { date, hour, minute, second, micros: whole(micros, fsp), fsp })
            })
            .boxed(),
        ColumnType::Timestamp { fsp } => prop_oneof![
            1 => Just(Value::Timestamp(Timestamp { micros: None, fsp })),
            9 => (0..253_402_300_799_i64, 0..1_000_000_u32).prop_map(move |(seconds, micros)| {
                let micros = seconds * 1_000_000 + i64::from(whole(micros, fsp));
                Value::Timestamp(Timestamp { micros: Some(micros), fsp })
            }),
        ]
        .boxed(),
        ColumnType::Time { fsp } => (-3_020_399..3_020_400_i64, 0..1_000_000_u32)
            .prop_map(move |(seconds, micros)| {
                Value::Time(Time { micros: seconds * 1_000_000 + i64::from(whole(micros, fsp)), fsp })
            })
            .boxed(),
        ColumnType::Enum { labels } => {
            prop::sample::select(labels).prop_map(|v| Value::Text(v.into())).boxed()
        }
        ColumnType::Set { labels } => {
            let count = labels.len();
            prop::sample::subsequence(labels, 0..=count).prop_map(|v| Value::Text(v.join(",").into())).boxed()
        }
        ColumnType::Json => {
            any::<i32>().prop_map(|v| Value::Json(format!("{{\"a\": [{v}, null]}}").into())).boxed()
        }
        ColumnType::VarBinary { .. } | ColumnType::Geometry => {
            bytes.prop_map(|v| Value::Bytes(v.into())).boxed()
        }
        _ => any::<String>().prop_map(|v| Value::Text(v.into())).boxed(),
    }
}

fn date() -> impl Strategy<Value = Date> {
    (0..10_000_u16, 0..13_u8, 0..32_u8).prop_map(|(year, month, day)| Date { year, month, day })
}

/// Microseconds without the digits that a column does not have.
fn whole(micros: u32, fsp: u8) -> u32 {
    let unit = 10_u32.pow(6 - u32::from(fsp));
    micros / unit * unit
}

fn every_type() -> TableSchema {
    let labels = ["red", "green", "blue"].map(str::to_owned).to_vec();
    let mut types = vec![
        ColumnType::Decimal { precision: 10, scale: 2, unsigned: false },
        ColumnType::Decimal { precision: 34, scale: 17, unsigned: false },
        ColumnType::Decimal { precision: 65, scale: 30, unsigned: false },
        ColumnType::Float,
        ColumnType::Double,
        ColumnType::Bit { width: 64 },
        ColumnType::Year,
        ColumnType::Date,
        ColumnType::Enum { labels: labels.clone() },
        ColumnType::Set { labels },
        ColumnType::Json,
        ColumnType::VarBinary { bytes: 100 },
        ColumnType::Geometry,
        ColumnType::Char { chars: 100 },
        ColumnType::VarChar { chars: 100 },
        ColumnType::Text { bytes: 1000 },
    ];
    for bits in [8, 16, 24, 32, 64] {
        types.extend([false, true].map(|unsigned| ColumnType::Int { bits, unsigned }));
    }
    for fsp in [0, 3, 6] {
        types.extend([ColumnType::DateTime { fsp }, ColumnType::Timestamp { fsp }, ColumnType::Time { fsp }]);
    }
    let columns =
        types.into_iter().enumerate().map(|(at, ty)| Column { name: format!("c{at}"), ty, nullable: true });
    TableSchema {
        name: TableName::new("shop", "every_type"),
        columns: columns.collect(),
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
    }
}

async fn check_values(rows: Vec<Vec<Option<Value<'static>>>>) {
    let place = Place::new();
    let log = place.open().await;
    let schema = Arc::new(every_type());
    let mut builder = BlockBuilder::new(Seq(0), SchemaBook::default());
    for row in &rows {
        let row = Row::encode(Arc::clone(&schema), row).expect("the values fit");
        change(&mut builder, Op::Insert, None, Some(&row));
    }
    commit(&mut builder, 4);
    log.append(vec![Arc::new(builder.seal().unwrap())]).await.unwrap();
    let block = place.block(0).await;
    let changes = block.get_array("changes").unwrap();
    assert_eq!(changes.len(), rows.len());
    for (change, row) in changes.iter().zip(&rows) {
        let after = change.as_document().unwrap().get_document("after").unwrap();
        for (column, value) in schema.columns.iter().zip(row) {
            let (found, expected) = (after.get(&column.name), value.as_ref().map(expected));
            assert_eq!(found, expected.as_ref(), "{:?}", column.ty);
        }
    }
}

/// What the driver's own types make of a value.
fn expected(value: &Value<'_>) -> Bson {
    let decimal =
        |text: &str| Bson::Decimal128(Decimal128::from_str(text).expect("it has at most 34 digits"));
    match value {
        Value::Null => Bson::Null,
        Value::Bool(v) => Bson::Boolean(*v),
        Value::Int(v) => i32::try_from(*v).map_or(Bson::Int64(*v), Bson::Int32),
        Value::UInt(v) | Value::Bit(v) => match (i32::try_from(*v), i64::try_from(*v)) {
            (Ok(v), _) => Bson::Int32(v),
            (_, Ok(v)) => Bson::Int64(v),
            _ => decimal(&v.to_string()),
        },
        Value::Float(v) => Bson::Double(f64::from(*v)),
        Value::Double(v) => Bson::Double(*v),
        Value::Decimal(v) if v.trim_start_matches(['-', '0', '.']).replace('.', "").len() > 34 => {
            Bson::String(v.to_string())
        }
        Value::Decimal(v) => decimal(v),
        Value::Year(v) => Bson::Int32(i32::from(*v)),
        Value::Date(v) => Bson::String(v.to_string()),
        Value::DateTime(v) => Bson::String(v.to_string()),
        Value::Time(v) => Bson::String(v.to_string()),
        Value::Timestamp(v) => match v.micros {
            None => Bson::String(v.to_string()),
            Some(micros) if v.fsp <= 3 => Bson::DateTime(bson::DateTime::from_millis(micros / 1000)),
            Some(_) => Bson::String(format!("{v}Z")),
        },
        Value::Text(v) | Value::Json(v) => Bson::String(v.to_string()),
        Value::Bytes(v) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: v.to_vec() }),
    }
}

#[tokio::test]
async fn a_row_larger_than_a_document_is_split_and_joined() {
    let place = Place::new();
    let log = place.open().await;
    let mut ledger = Ledger::default();
    let small = ledger.transaction(1);
    ledger.changes(1, 20 << 20, 1);
    ledger.changes(1, 10, 1);
    ledger.commit();
    let large = Arc::new(ledger.builder.seal().unwrap());
    let last = ledger.transaction(1);
    log.append(vec![small.clone(), large.clone()]).await.unwrap();
    log.append(vec![last.clone()]).await.unwrap();
    assert_same(&log.read(large.first, usize::MAX).await.unwrap(), &[large.clone(), last.clone()]);
    drop(log);

    let documents: Vec<RawDocumentBuf> =
        place.blocks.clone_with_type().find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert!(documents.len() > 4, "{} documents", documents.len());
    for document in &documents {
        assert!(document.as_bytes().len() < 12 << 20, "{} bytes", document.as_bytes().len());
    }
    let block = place.block(1).await;
    let after = block.get_array("changes").unwrap()[0].as_document().unwrap().get_document("after").unwrap();
    let text = after.get_document("text").unwrap();
    assert_eq!(text.get_i64("bytes").unwrap(), 20 << 20);
    assert!(text.get_str("begins").unwrap().len() < 100);

    let log = place.open().await;
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &[small, large.clone(), last.clone()]);
    let part = place.blocks.find_one(doc! { "_id": { "$type": "string" } }).await.unwrap().unwrap();
    place.blocks.delete_one(doc! { "_id": part.get("_id") }).await.unwrap();
    assert_eq!(log.read(large.first, 1).await.unwrap_err().kind(), Kind::Corrupt);
    assert_same(&log.read(last.first, 1).await.unwrap(), std::slice::from_ref(&last));
    log.retain(&everything(), None).await.unwrap();
    assert_eq!(place.blocks.count_documents(doc! {}).await.unwrap(), 1, "the parts go with their block");
}

#[tokio::test]
async fn what_people_see_is_bounded_and_says_so() {
    let place = Place::new();
    let log = place.open().await;
    // Names make a row of NULLs much longer for people than it is in the log.
    let column = |at: usize| Column { name: format!("{:0>60}", at), ty: ColumnType::Date, nullable: true };
    let schema = Arc::new(TableSchema {
        name: TableName::new("shop", "wide"),
        columns: (0..2000).map(column).collect(),
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
    });
    let row = Row::encode(schema, &vec![Some(Value::Null); 2000]).unwrap();
    let mut builder = BlockBuilder::new(Seq(0), SchemaBook::default());
    for _ in 0..500 {
        change(&mut builder, Op::Insert, None, Some(&row));
    }
    commit(&mut builder, 4);
    let block = Arc::new(builder.seal().unwrap());
    log.append(vec![block.clone()]).await.unwrap();
    let document = place.block(0).await;
    let shown = document.get_array("changes").unwrap().len();
    assert!(shown > 10, "{shown}");
    assert_eq!(shown + document.get_i32("unshown").unwrap() as usize, 500);
    assert!(bson::serialize_to_vec(&document).unwrap().len() < 6 << 20);
    assert_same(&log.read(Seq(0), 1).await.unwrap(), &[block]);
}

#[tokio::test]
async fn damage_is_an_error_that_names_the_place_and_what_lies_before_is_read() {
    let place = Place::new();
    let log = place.open().await;
    let mut ledger = Ledger::default();
    let blocks: Vec<Arc<Block>> = (0..5).map(|_| ledger.transaction(3)).collect();
    log.append(blocks.clone()).await.unwrap();
    let third = place.block(2).await;
    let set = |field: &str, value: Bson| doc! { "$set": { field: value } };
    let mut data = third.get_document("block").unwrap().get_binary_generic("data").unwrap().clone();
    data[40] ^= 1;
    for (field, value) in [
        ("block.data", Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: data })),
        ("block.crc", Bson::Int64(7)),
        ("block.bytes", Bson::Int32(7)),
        ("first", Bson::Int64(third.get_i64("first").unwrap() + 1)),
        ("rows", Bson::Int32(1)),
        ("first_time", Bson::DateTime(bson::DateTime::from_millis(0))),
        ("commit.offset", Bson::Int64(0)),
        ("commit", Bson::Null),
        ("block", Bson::Null),
    ] {
        place.blocks.update_one(doc! { "_id": 2 }, set(field, value)).await.unwrap();
        let error = log.read(blocks[2].first, 1).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{field}: {error}");
        assert!(error.to_string().contains("collection shop is damaged"), "{error}");
        if field != "block" {
            assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &blocks[..2]);
        }
        place.blocks.replace_one(doc! { "_id": 2 }, &third).await.unwrap();
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &blocks);
    }
    place.blocks.delete_one(doc! { "_id": 2 }).await.unwrap();
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &blocks[..2]);
    assert_eq!(log.read(blocks[2].first, 1).await.unwrap_err().kind(), Kind::Corrupt);
    drop(log);
    // The head and the ends are looked at when a log is opened.
    place.blocks.delete_one(doc! { "_id": 4 }).await.unwrap();
    let error = place.store.open("shop").await.err().unwrap();
    assert_eq!(error.kind(), Kind::Gap, "{error}");
    assert!(error.to_string().contains("connection mongo (mongodb://"), "{error}");
}

#[tokio::test]
async fn collections_of_others_and_names_that_cannot_be_are_refused() {
    let place = Place::new();
    place.blocks.insert_one(doc! { "_id": "of somebody else" }).await.unwrap();
    let error = place.store.open("shop").await.err().unwrap();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.next_step().unwrap().contains("name a collection that is empty"), "{error:?}");
    assert_eq!(place.blocks.count_documents(doc! {}).await.unwrap(), 1);
    for name in ["", "a$b", "system.users", "shop.state", &"x".repeat(300)] {
        assert_eq!(place.store.open(name).await.err().unwrap().kind(), Kind::Refused, "{name}");
    }
    assert!(place.store.list().await.unwrap().is_empty());
    // A log of another version is not touched.
    place.store.open("later").await.unwrap();
    let state: Collection<Document> = place.state.clone_with_type();
    let state =
        shared_mongodb().client().database(&state.namespace().db).collection::<Document>("later.state");
    state.update_one(doc! { "_id": "head" }, doc! { "$set": { "version": 2 } }).await.unwrap();
    let error = place.store.open("later").await.err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("format version"), "{error}");
}

#[tokio::test]
async fn dropping_old_blocks_that_broke_off_is_finished() {
    let place = Place::new();
    let log = place.open().await;
    let mut ledger = Ledger::default();
    let blocks: Vec<Arc<Block>> = (0..30).map(|_| ledger.transaction(2)).collect();
    log.append(blocks.clone()).await.unwrap();
    let old = place.block(3).await;
    let retained = log.retain(&everything(), Some(blocks[10].first)).await.unwrap();
    assert_eq!((retained.horizon, retained.held), (blocks[10].first, true));
    assert_eq!(place.blocks.count_documents(doc! {}).await.unwrap(), 20);
    assert_eq!(log.read(blocks[9].first, 1).await.unwrap_err().kind(), Kind::Gap);
    let kept = log.stat();
    // As if lode had been killed before it deleted everything.
    place.blocks.insert_one(&old).await.unwrap();
    assert_eq!(log.read(blocks[3].first, 1).await.unwrap_err().kind(), Kind::Gap);
    drop(log);
    let log = place.open().await;
    assert_eq!(log.stat(), kept);
    assert_eq!(place.blocks.count_documents(doc! {}).await.unwrap(), 20);
    let size = Retention { size: Some(kept.stored_bytes / 2), age: None };
    let retained = log.retain(&size, None).await.unwrap();
    assert_eq!(retained.dropped_bytes, kept.stored_bytes - log.stat().stored_bytes);
    assert!(
        log.stat().stored_bytes <= kept.stored_bytes / 2 && log.stat().stored_bytes > kept.stored_bytes / 3
    );
    assert_same(
        &log.read(retained.horizon, usize::MAX).await.unwrap(),
        &blocks[blocks.len() - log.stat().segments as usize..],
    );
}
