//! Properties of the encodings that everything travels in.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use lode::model::block::{Block, BlockBuilder, Commit, Entry, Op, SchemaBook};
use lode::model::position::{Position, Seq};
use lode::model::row::{ImageWriter, Row};
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::model::value::{Date, DateTime, Time, Timestamp, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn labels() -> Vec<String> {
    ["new", "open", "it's; closed", ""].map(str::to_owned).to_vec()
}

fn cell() -> impl Strategy<Value = (ColumnType, Value<'static>)> {
    let date =
        || (0_u16..10_000, 0_u8..=12, 0_u8..=31).prop_map(|(year, month, day)| Date { year, month, day });
    prop_oneof![
        any::<bool>().prop_map(|v| (ColumnType::Bool, Value::Bool(v))),
        any::<i8>().prop_map(|v| (ColumnType::Int { bits: 8, unsigned: false }, Value::Int(v.into()))),
        any::<u16>().prop_map(|v| (ColumnType::Int { bits: 16, unsigned: true }, Value::UInt(v.into()))),
        (-8_388_608_i64..8_388_608)
            .prop_map(|v| (ColumnType::Int { bits: 24, unsigned: false }, Value::Int(v))),
        any::<i64>().prop_map(|v| (ColumnType::Int { bits: 64, unsigned: false }, Value::Int(v))),
        any::<u64>().prop_map(|v| (ColumnType::Int { bits: 64, unsigned: true }, Value::UInt(v))),
        any::<f32>().prop_map(|v| (ColumnType::Float, Value::Float(v))),
        any::<f64>().prop_map(|v| (ColumnType::Double, Value::Double(v))),
        any::<u64>().prop_map(|v| (ColumnType::Bit { width: 64 }, Value::Bit(v))),
        (1901_u16..=2155).prop_map(|v| (ColumnType::Year, Value::Year(v))),
        date().prop_map(|v| (ColumnType::Date, Value::Date(v))),
        (date(), 0_u8..24, 0_u8..60, 0_u8..60, 0_u32..1_000_000).prop_map(
            |(date, hour, minute, second, micros)| {
                let value = DateTime { date, hour, minute, second, micros, fsp: 6 };
                (ColumnType::DateTime { fsp: 6 }, Value::DateTime(value))
            }
        ),
        option::of(any::<i32>()).prop_map(|seconds| {
            let micros = seconds.map(|seconds| i64::from(seconds) * 1_000_001);
            (ColumnType::Timestamp { fsp: 3 }, Value::Timestamp(Timestamp { micros, fsp: 3 }))
        }),
        any::<i32>()
            .prop_map(|v| (ColumnType::Time { fsp: 0 }, Value::Time(Time { micros: v.into(), fsp: 0 }))),
        "-?[1-9][0-9]{0,30}\\.[0-9]{5}".prop_map(|v| {
            let ty = ColumnType::Decimal { precision: 65, scale: 5, unsigned: false };
            (ty, Value::Decimal(Cow::Owned(v)))
        }),
        ".{0,300}".prop_map(|v| (ColumnType::Text { bytes: 65_535 }, Value::Text(Cow::Owned(v)))),
        vec(any::<u8>(), 0..200)
            .prop_map(|v| (ColumnType::Blob { bytes: 65_535 }, Value::Bytes(Cow::Owned(v)))),
        (0_usize..4).prop_map(|at| {
            (ColumnType::Enum { labels: labels() }, Value::Text(Cow::Owned(labels()[at].clone())))
        }),
        (0_usize..8).prop_map(|bits| {
            let words: Vec<_> =
                (0..3).filter(|at| bits >> at & 1 == 1).map(|at| labels()[at].clone()).collect();
            (ColumnType::Set { labels: labels() }, Value::Text(Cow::Owned(words.join(","))))
        }),
        Just((ColumnType::Json, Value::Json(Cow::Borrowed("{\"a\": 1.0}")))),
    ]
}

/// A schema with one row of it; the inner `None` is a column absent from the image.
fn row() -> impl Strategy<Value = (Arc<TableSchema>, Vec<Option<Value<'static>>>)> {
    let kind = prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(2)];
    vec((cell(), kind), 1..20).prop_map(|cells| {
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for (index, ((ty, value), kind)) in cells.into_iter().enumerate() {
            columns.push(Column { name: format!("c{index}"), ty, nullable: true });
            values.push(match kind {
                0 => Some(value),
                1 => Some(Value::Null),
                _ => None,
            });
        }
        let name = TableName::new("shop", "orders");
        (Arc::new(TableSchema { name, columns, primary_key: vec![0], unique_keys: vec![] }), values)
    })
}

proptest! {
    #[test]
    fn a_row_reads_back_as_it_was_written((schema, values) in row()) {
        let row = Row::encode(Arc::clone(&schema), &values).expect("the values fit their types");
        let view = row.view();
        for (index, (read, written)) in view.values().zip(&values).enumerate() {
            // NaN is not equal to itself, but must come back with the same bits.
            prop_assert_eq!(format!("{read:?}"), format!("{written:?}"));
            prop_assert_eq!(format!("{:?}", view.get(index)), format!("{written:?}"));
            prop_assert_eq!(view.is_present(index), written.is_some());
        }
        prop_assert_eq!(view.values().count(), values.len());
        prop_assert_eq!(view.is_complete(), values.iter().all(Option::is_some));
    }

    #[test]
    fn integers_that_do_not_fit_are_refused(value in any::<i64>(), bits in prop_oneof![Just(8_u8), Just(16), Just(24), Just(32)], unsigned in any::<bool>()) {
        let mut bytes = Vec::new();
        let written = ImageWriter::new(&mut bytes, 1, false).value(&ColumnType::Int { bits, unsigned }, &Value::Int(value));
        let range = if unsigned { 0..1_i128 << bits } else { -(1_i128 << (bits - 1))..1_i128 << (bits - 1) };
        prop_assert_eq!(written.is_ok(), range.contains(&i128::from(value)));
    }
}

fn schema(table: &str) -> TableSchema {
    let columns =
        vec![Column { name: "id".into(), ty: ColumnType::Int { bits: 64, unsigned: true }, nullable: false }];
    TableSchema { name: TableName::new("shop", table), columns, primary_key: vec![0], unique_keys: vec![] }
}

fn position(offset: u64) -> Position {
    Position { gtid: format!("0-1-{offset}"), file: "binlog.000001".into(), offset }
}

/// What a block says, as text, one line an entry.
fn tell(block: &Block) -> Vec<String> {
    block
        .entries()
        .map(|entry| {
            let (seq, entry) = entry.expect("the builder wrote it");
            match entry {
                Entry::Schema { no, .. } => format!("{seq} schema {}", no.0),
                Entry::Change(change) => {
                    format!("{seq} {} {:?} {:?}", change.op.as_str(), change.before, change.after)
                }
                Entry::Commit { offset, file, gtid, .. } => format!("{seq} commit {file} {offset} {gtid}"),
                Entry::Coverage(_) => format!("{seq} coverage"),
            }
        })
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Change(Vec<u8>),
    Commit,
    Seal,
}

proptest! {
    #[test]
    fn blocks_hold_every_entry_once_and_end_with_commits(
        steps in vec(prop_oneof![
            4 => vec(any::<u8>(), 0..400).prop_map(Step::Change),
            2 => Just(Step::Commit),
            1 => Just(Step::Seal),
        ], 0..60)
    ) {
        let mut builder = BlockBuilder::new(Seq(7), SchemaBook::default());
        let no = builder.schema(&schema("orders"));
        let mut wanted = vec!["7 schema 0".to_owned()];
        let mut blocks = Vec::new();
        let mut offset = 0;
        for step in steps {
            let seq = builder.next_seq();
            match step {
                Step::Change(image) => {
                    wanted.push(format!("{seq} insert None {:?}", Some(&image)));
                    let write = |out: &mut Vec<u8>| { out.extend_from_slice(&image); Ok::<(), Infallible>(()) };
                    let none = None::<fn(&mut Vec<u8>) -> Result<(), Infallible>>;
                    let Ok(()) = builder.change(Op::Insert, no, 5, none, Some(write));
                }
                Step::Commit => {
                    offset += 1;
                    wanted.push(format!("{seq} commit binlog.000001 {offset} 0-1-{offset}"));
                    builder.commit(Commit { position: position(offset), time_ms: 5 });
                }
                Step::Seal if builder.has_commit() => blocks.extend(builder.seal()),
                Step::Seal => blocks.extend(builder.seal_part()),
            }
        }
        blocks.extend(builder.seal());
        blocks.extend(builder.seal_part());
        prop_assert!(builder.is_empty());

        let mut next = Seq(7);
        for block in &blocks {
            prop_assert_eq!(block.first, next);
            next = block.end();
            let told = tell(block);
            prop_assert_eq!(told.len(), block.count as usize);
            prop_assert_eq!(told.iter().filter(|line| line.contains(" insert ")).count(), block.changes as usize);
            let ends_with_commit = told.last().is_some_and(|line| line.contains(" commit "));
            prop_assert_eq!(ends_with_commit, block.commit.is_some());
            if block.commit.is_none() {
                prop_assert!(!told.iter().any(|line| line.contains(" commit ")));
            }
        }
        prop_assert_eq!(blocks.iter().flat_map(tell).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn damaged_payloads_are_noticed_and_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let block = Block { first: Seq(0), count: 0, changes: 0, first_time_ms: 0, commit: None, payload: bytes.into() };
        for entry in block.entries() {
            if entry.is_err() {
                break;
            }
        }
    }
}

#[test]
fn an_image_that_fails_leaves_no_trace() {
    let mut builder = BlockBuilder::new(Seq(0), SchemaBook::default());
    let no = builder.schema(&schema("orders"));
    let before = (builder.len(), builder.next_seq());
    let fail = |out: &mut Vec<u8>| {
        out.push(1);
        Err("no")
    };
    let none = None::<fn(&mut Vec<u8>) -> Result<(), &'static str>>;
    assert_eq!(builder.change(Op::Insert, no, 0, none, Some(fail)), Err("no"));
    assert_eq!((builder.len(), builder.next_seq()), before);
}

#[test]
fn a_schema_is_written_once_and_a_changed_one_gets_another_number() {
    let mut builder = BlockBuilder::new(Seq(0), SchemaBook::default());
    let first = builder.schema(&schema("orders"));
    assert_eq!(builder.schema(&schema("orders")), first);
    let mut wider = schema("orders");
    wider.columns.push(Column { name: "note".into(), ty: ColumnType::Json, nullable: true });
    assert_ne!(builder.schema(&wider), first);
    assert_eq!(builder.next_seq(), Seq(2));
}

#[test]
fn a_short_block_does_not_keep_a_large_buffer() {
    let mut builder = BlockBuilder::new(Seq(0), SchemaBook::default());
    let no = builder.schema(&schema("orders"));
    let large = |out: &mut Vec<u8>| {
        out.resize(out.len() + (1 << 20), 0);
        Ok::<(), Infallible>(())
    };
    let none = None::<fn(&mut Vec<u8>) -> Result<(), Infallible>>;
    let Ok(()) = builder.change(Op::Insert, no, 0, none, Some(large));
    builder.commit(Commit { position: position(1), time_ms: 0 });
    builder.seal().expect("there is a commit");
    builder.commit(Commit { position: position(2), time_ms: 0 });
    let small = builder.seal().expect("there is a commit");
    let payload = Vec::from(small.payload);
    assert!(payload.capacity() < 1 << 10, "{} bytes kept", payload.capacity());
}

#[test]
fn entries_can_come_before_a_transaction_that_has_begun() {
    let schema = |table: &str| TableSchema {
        name: TableName::new("shop", table),
        columns: Vec::new(),
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
    };
    let change = |builder: &mut BlockBuilder, table: &str, time_ms| {
        let no = builder.schema(&schema(table));
        let image = |out: &mut Vec<u8>| {
            out.push(0);
            Ok::<(), Infallible>(())
        };
        builder.change(Op::Insert, no, time_ms, None::<fn(&mut _) -> _>, Some(image)).unwrap();
    };
    let commit = |time_ms| Commit { position: Position::default(), time_ms };
    let mut builder = BlockBuilder::new(Seq(0), SchemaBook::default());
    change(&mut builder, "a", 1);
    builder.commit(commit(1));
    change(&mut builder, "a", 2);
    let mut blocks = vec![builder.seal().unwrap()];
    let begun = builder.set_aside().unwrap();
    change(&mut builder, "b", 0);
    builder.commit(commit(1));
    blocks.push(builder.seal().unwrap());
    builder.put_back(begun);
    builder.commit(commit(2));
    blocks.push(builder.seal().unwrap());
    let shown: Vec<String> = blocks
        .iter()
        .flat_map(Block::entries)
        .map(|entry| match entry.unwrap() {
            (seq, Entry::Schema { no, .. }) => format!("{seq} schema {}", no.0),
            (seq, Entry::Change(change)) => {
                format!("{seq} change of {} at {}", change.schema.0, change.time_ms)
            }
            (seq, Entry::Commit { time_ms, .. }) => format!("{seq} commit at {time_ms}"),
            (seq, Entry::Coverage(_)) => format!("{seq} coverage"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "0 schema 0",
            "1 change of 0 at 1",
            "2 commit at 1",
            "3 schema 1",
            "4 change of 1 at 0",
            "5 commit at 1",
            "6 change of 0 at 2",
            "7 commit at 2"
        ]
    );
    assert_eq!(blocks[2].first_time_ms, 2);
    // Numbers of schemas follow each other in the log, so that one that has come keeps its place.
    change(&mut builder, "c", 3);
    assert!(builder.set_aside().is_none());
}
