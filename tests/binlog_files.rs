//! Reading binlog files without a server: the shipped sample.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lode::error::Kind;
use lode::model::block::{Block, BlockBuilder, Entry, Op, SchemaBook};
use lode::model::connection::{Connection, Endpoint};
use lode::model::position::{Position, Seq};
use lode::model::row::RowView;
use lode::model::spec::{Settings, Start};
use lode::model::table::{Pattern, TableSelection, TableSet};
use lode::source::binlog::BinlogFiles;
use lode::source::{Progress, Source, SourceKind};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/binlog");

#[tokio::test]
async fn the_sample_is_read_whole() {
    let source = source(Path::new(SAMPLE));
    let (block, book, progress) = read(source.as_ref(), &earliest(source.as_ref()).await, "*").await.unwrap();
    assert_eq!(progress, Progress::End);
    let mut counts: BTreeMap<(String, &str), u32> = BTreeMap::new();
    let mut order_3 = Vec::new();
    let mut commits = Vec::new();
    for entry in block.entries() {
        match entry.unwrap().1 {
            Entry::Change(change) => {
                let schema = book.get(change.schema).unwrap();
                *counts.entry((schema.name.table.clone(), change.op.as_str())).or_default() += 1;
                let Some(view) = change.after.map(|image| RowView::new(schema, image)) else { continue };
                if schema.name.table == "orders"
                    && view.get_named("id") == Some(lode::model::value::Value::UInt(3))
                {
                    order_3.push(
                        schema
                            .columns
                            .iter()
                            .zip(view.values())
                            .map(|(column, value)| format!("{} = {:?}", column.name, value.unwrap()))
                            .collect::<Vec<_>>()
                            .join("\n"),
                    );
                }
            }
            Entry::Commit { file, offset, gtid, .. } => commits.push(format!("{file}:{offset} {gtid}")),
            Entry::Schema { .. } | Entry::Coverage(_) => {}
        }
    }
    let counts: Vec<String> =
        counts.iter().map(|((table, op), count)| format!("{table} {op} {count}")).collect();
    insta::assert_snapshot!(format!(
        "{}\n\nlast of {} commits: {}\n\norder 3:\n{}",
        counts.join("\n"),
        commits.len(),
        commits.last().unwrap(),
        order_3.join("\n--\n")
    ));
}

#[tokio::test]
async fn reading_goes_on_at_every_commit() {
    let source = source(Path::new(SAMPLE));
    let begin = earliest(source.as_ref()).await;
    let (block, ..) = read(source.as_ref(), &begin, "*").await.unwrap();
    let all = changes(&block);
    let mut before = 0;
    let mut places = Vec::new();
    for entry in block.entries() {
        match entry.unwrap().1 {
            Entry::Change(_) => before += 1,
            Entry::Commit { file, offset, gtid, .. } => {
                places.push((before, Position { gtid: gtid.into(), file: file.into(), offset }));
            }
            Entry::Schema { .. } | Entry::Coverage(_) => {}
        }
    }
    assert!(places.iter().any(|(_, place)| place.file == "shop.000002"), "the sample has two files");
    for (before, place) in places.iter().rev().step_by(7) {
        let rest = match read(source.as_ref(), place, "*").await {
            Some((block, ..)) => changes(&block),
            None => Vec::new(),
        };
        assert_eq!(rest, all[*before..], "from {place}");
        let by_place = Start::Position { file: place.file.clone(), offset: place.offset };
        assert_eq!(source.resolve(&by_place).await.unwrap(), *place);
        assert_eq!(source.resolve(&Start::Gtid(place.gtid.clone())).await.unwrap().gtid, place.gtid);
    }
    let (_, last) = places.last().unwrap();
    assert_eq!(source.resolve(&Start::Now).await.unwrap().gtid, last.gtid);
}

#[tokio::test]
async fn only_wanted_tables_are_read() {
    let source = source(Path::new(SAMPLE));
    let begin = earliest(source.as_ref()).await;
    let (block, book, _) = read(source.as_ref(), &begin, "customers").await.unwrap();
    assert!(block.changes > 40);
    for entry in block.entries() {
        if let Entry::Change(change) = entry.unwrap().1 {
            assert_eq!(book.get(change.schema).unwrap().name.table, "customers");
            assert_ne!(change.op, Op::Truncate);
        }
    }
}

#[tokio::test]
async fn a_torn_file_ends_at_its_last_whole_transaction() {
    let whole = source(Path::new(SAMPLE));
    let begin = earliest(whole.as_ref()).await;
    let (block, ..) = read(whole.as_ref(), &begin, "*").await.unwrap();
    let all = changes(&block);
    let bytes = std::fs::read(Path::new(SAMPLE).join("shop.000001")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for len in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(folder.path().join("shop.000001"), &bytes[..len]).unwrap();
        let torn = source(folder.path());
        let (block, _, progress) = read(torn.as_ref(), &begin, "*").await.unwrap();
        assert_eq!(progress, Progress::End);
        let part = changes(&block);
        assert!(!part.is_empty() && part.len() < all.len());
        assert_eq!(part, all[..part.len()]);
        assert!(block.commit.is_some());
        assert_eq!(torn.identify().await.unwrap().id, whole.identify().await.unwrap().id);
    }
}

#[tokio::test]
async fn damage_and_strangers_are_errors() {
    let bytes = std::fs::read(Path::new(SAMPLE).join("shop.000001")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = source(folder.path());
    assert_eq!(files.identify().await.unwrap_err().kind(), Kind::Environment);

    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(folder.path().join("shop.000001"), damaged).unwrap();
    let begin = earliest(files.as_ref()).await;
    let mut stream = files.open(&begin, selection("*")).await.unwrap();
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    let error = stream.fill(&mut out, usize::MAX, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.to_string().contains("checksum"), "{error}");

    std::fs::write(folder.path().join("shop.000001"), b"hello").unwrap();
    assert_eq!(files.identify().await.unwrap_err().kind(), Kind::Environment);

    let gone = Position { file: "shop.000099".into(), offset: 4, gtid: String::new() };
    assert_eq!(files.open(&gone, selection("*")).await.err().unwrap().kind(), Kind::Gap);
}

type Change = (Op, Option<Vec<u8>>, Option<Vec<u8>>);

/// The changes up to the last commit.
fn changes(block: &Block) -> Vec<Change> {
    block
        .entries()
        .filter_map(|entry| match entry.unwrap().1 {
            Entry::Change(change) => {
                Some((change.op, change.before.map(<[u8]>::to_vec), change.after.map(<[u8]>::to_vec)))
            }
            _ => None,
        })
        .collect()
}

async fn read(source: &dyn Source, from: &Position, table: &str) -> Option<(Block, SchemaBook, Progress)> {
    let mut stream = source.open(from, selection(table)).await.unwrap();
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    let mut target = 0;
    let progress = loop {
        // Small bites, so that the stream is left and entered at many places.
        target += 5000;
        match stream.fill(&mut out, target, Duration::from_secs(1)).await.unwrap() {
            Progress::Full => {}
            progress => break progress,
        }
    };
    let block = out.seal()?;
    Some((block, out.book().clone(), progress))
}

async fn earliest(source: &dyn Source) -> Position {
    source.resolve(&Start::Earliest).await.unwrap()
}

fn source(folder: &Path) -> Arc<dyn Source> {
    let connection = Connection {
        name: "sample".into(),
        kind: "binlog",
        endpoint: Endpoint::Path(folder.to_owned()),
        settings: Settings::default(),
    };
    BinlogFiles.source(Arc::new(connection)).unwrap()
}

fn selection(table: &str) -> TableSelection {
    let include = vec![Pattern(table.into())];
    TableSelection::of(TableSet { database: "shop".into(), include, exclude: Vec::new() })
}
