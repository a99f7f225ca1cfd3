//! How fast the embedded log takes and gives changes of about 300 bytes: `cargo bench --bench store`.
//! `LODE_BENCH_DIR` names the folder to write in, when the one for temporary files is not on a real disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::model::block::{Block, BlockBuilder, Commit, Op, SchemaBook};
use lode::model::position::{Position, Seq};
use lode::model::row::ImageWriter;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::store::LogStore;
use lode::store::embedded::{Compression, Embedded, Options};

/// Changes in all, and in each block.
const CHANGES: u64 = 1_000_000;
const BLOCK: u64 = 1_000;

/// The type of an image that is not there.
type Image = fn(&mut Vec<u8>) -> Result<(), ()>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let blocks = blocks();
    println!("{CHANGES} changes of about 300 bytes, {BLOCK} in a block; a sync for each append");
    println!(
        "compression  blocks/append  append changes/s  read changes/s  MB on disk  open ms  append p50 ms"
    );
    for compression in [Compression::None, Compression::Zstd(1), Compression::Zstd(3)] {
        for group in [1, 16] {
            runtime.block_on(measure(&blocks, compression, group));
        }
    }
    runtime.block_on(measure_small());
}

async fn measure(blocks: &[Arc<Block>], compression: Compression, group: usize) {
    let dir = folder();
    let store = Embedded::new(dir.path(), Options { compression, ..Options::default() });
    let log = store.open("bench").await.expect("the log opens");
    let mut each = Vec::new();
    let began = Instant::now();
    for group in blocks.chunks(group) {
        let began = Instant::now();
        log.append(group.to_vec()).await.expect("the append succeeds");
        each.push(began.elapsed());
    }
    let appended = began.elapsed();
    let stored = log.stat().stored_bytes;
    drop(log);
    let began = Instant::now();
    let log = store.open("bench").await.expect("the log opens again");
    let opened = began.elapsed();
    let end = log.tail().next;
    let began = Instant::now();
    let mut next = Seq(0);
    let mut changes = 0;
    while next < end {
        for block in log.read(next, 4 << 20).await.expect("the read succeeds") {
            next = block.end();
            changes += u64::from(block.changes);
        }
    }
    let read = began.elapsed();
    assert_eq!(changes, CHANGES);
    println!(
        "{:11}  {group:13}  {:16.0}  {:14.0}  {:10}  {:7.1}  {:13.2}",
        format!("{compression:?}"),
        rate(CHANGES, appended),
        rate(CHANGES, read),
        stored >> 20,
        opened.as_secs_f64() * 1e3,
        median(&mut each).as_secs_f64() * 1e3,
    );
}

/// One change in each transaction, one transaction in each append: the latency of a quiet source.
async fn measure_small() {
    let dir = folder();
    let log = Embedded::new(dir.path(), Options::default()).open("bench").await.expect("the log opens");
    let mut maker = Maker::new();
    let mut each = Vec::new();
    for _ in 0..2_000 {
        let block = maker.block(1);
        let began = Instant::now();
        log.append(vec![block]).await.expect("the append succeeds");
        each.push(began.elapsed());
    }
    each.sort();
    println!(
        "one change in an append: p50 {:?}, p99 {:?}",
        each[each.len() / 2],
        each[each.len() * 99 / 100]
    );
}

fn blocks() -> Vec<Arc<Block>> {
    let mut maker = Maker::new();
    (0..CHANGES / BLOCK).map(|_| maker.block(BLOCK)).collect()
}

struct Maker {
    builder: BlockBuilder,
    schema: TableSchema,
    changes: u64,
}

impl Maker {
    fn new() -> Self {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty, nullable: false };
        let schema = TableSchema {
            name: TableName::new("bench", "events"),
            columns: vec![
                column("id", ColumnType::Int { bits: 64, unsigned: true }),
                column("amount", ColumnType::Int { bits: 32, unsigned: false }),
                column("text", ColumnType::VarChar { chars: 1000 }),
            ],
            primary_key: vec![0],
            unique_keys: Vec::new(),
        };
        Maker { builder: BlockBuilder::new(Seq(0), SchemaBook::default()), schema, changes: 0 }
    }

    fn block(&mut self, changes: u64) -> Arc<Block> {
        let no = self.builder.schema(&self.schema);
        for _ in 0..changes {
            let id = self.changes;
            let after = |out: &mut Vec<u8>| -> Result<(), ()> {
                let mut writer = ImageWriter::new(out, 3, false);
                writer.fixed(id.to_le_bytes());
                writer.fixed(((id.wrapping_mul(2_654_435_761) % 100_000) as u32).to_le_bytes());
                writer.variable(text(id).as_bytes());
                Ok(())
            };
            self.builder
                .change(Op::Insert, no, 1_700_000_000_000, None::<Image>, Some(after))
                .expect("it is encoded");
            self.changes += 1;
        }
        let position =
            Position { offset: self.changes, file: "binlog.000001".to_owned(), ..Position::default() };
        self.builder.commit(Commit { position, time_ms: 1_700_000_000_000 + self.changes as i64 });
        Arc::new(self.builder.seal().expect("there is a commit"))
    }
}

/// 256 characters of digits and repeated words, which zstd makes about a third of.
fn text(seed: u64) -> String {
    let mut text = String::with_capacity(300);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < 256 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(["order ", "customer ", "paid ", "shipped "][(state % 4) as usize]);
        text.push_str(&(state >> 40).to_string());
        text.push(' ');
    }
    text.truncate(256);
    text
}

fn folder() -> tempfile::TempDir {
    match std::env::var_os("LODE_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a folder")
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
