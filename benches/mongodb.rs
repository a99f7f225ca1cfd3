//! How fast a log in MongoDB takes and gives changes of about 300 bytes, against one document for each change on the
//! same server in the same run: `cargo bench --bench mongodb`. `LODE_BENCH_ROWS` sets another number of changes.
//!
//! Without `LODE_TEST_MONGO_URL` the server is a stand-in, SecantusDB: then only the ratio says something, and nothing
//! of it says how fast MongoDB is.

#[path = "../tests/support/mod.rs"]
mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::model::block::{Block, BlockBuilder, Commit, Entry, Op, SchemaBook};
use lode::model::position::{Position, Seq};
use lode::model::row::ImageWriter;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::store::LogStore;
use lode::store::mongodb::{Mongodb, Options};
use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use support::mongodb::MongoDb;

/// Changes in all, unless `LODE_BENCH_ROWS` says otherwise; in each block; and in each append.
const CHANGES: u64 = 40_000;
const BLOCK: u64 = 1_000;
const GROUP: u64 = 4_000;
const ROUNDS: usize = 3;
/// How many times the rows of one document per change.
const BAR: f64 = 5.0;

/// The type of an image that is not there.
type Image = fn(&mut Vec<u8>) -> Result<(), ()>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let changes = match std::env::var("LODE_BENCH_ROWS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("LODE_BENCH_ROWS is not a number: {text}")),
        Err(_) => CHANGES,
    };
    runtime.block_on(measure(changes / BLOCK * BLOCK));
}

async fn measure(changes: u64) {
    let server = MongoDb::given_or_start().await;
    let which = if server.is_own() { "a stand-in for MongoDB (SecantusDB)" } else { "the given MongoDB" };
    println!("{changes} changes of about 300 bytes on {which}; majority and journal for every write");
    println!("the best of {ROUNDS} rounds, in turns");
    let ways = [
        "one document per change, 1 writer",
        "one document per change, 4 writers",
        "log, threads = 1",
        "log, threads = 4",
    ];
    let mut best = [Duration::MAX; 4];
    let mut read = Duration::MAX;
    for _ in 0..ROUNDS {
        for (at, writers) in [(0, 1), (1, 4)] {
            best[at] = best[at].min(single_documents(&server, changes, writers).await);
        }
        for (at, threads) in [(2, 1), (3, 4)] {
            let (appended, taken) = log(&server, changes, threads).await;
            best[at] = best[at].min(appended);
            read = read.min(taken);
        }
    }
    for (way, took) in ways.iter().zip(best) {
        println!("{way:36} {:9.0} changes/s", rate(changes, took));
    }
    println!("{:36} {:9.0} changes/s", "reading the log", rate(changes, read));
    let ratio = rate(changes, best[2].min(best[3])) / rate(changes, best[0].min(best[1]));
    let verdict = if ratio >= BAR { "met" } else { "missed" };
    println!("the log takes {ratio:.1} times as many changes/s; the bar of {BAR} is {verdict}");
    println!("one change in an append: p50 {:?}", one_by_one(&server).await);
}

/// What a log of one document for each change costs, without any index but that of `_id`.
async fn single_documents(server: &MongoDb, count: u64, writers: u64) -> Duration {
    let majority = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    let database = server.client().database(&server.database());
    let changes = database.collection::<Document>("changes");
    let documents: Vec<Document> = (0..count)
        .map(|id| {
            doc! {
                "_id": id as i64,
                "op": "insert",
                "table": "bench.events",
                "time": DateTime::from_millis(1_700_000_000_000),
                "position": format!("binlog.000001:{}", id / BLOCK * BLOCK),
                "after": { "id": id as i64, "amount": amount(id) as i32, "text": text(id) },
            }
        })
        .collect();
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let share = documents.len().div_ceil(writers as usize);
    for part in documents.chunks(share) {
        let (changes, majority, part) = (changes.clone(), majority.clone(), part.to_vec());
        tasks.spawn(async move {
            for some in part.chunks(BLOCK as usize) {
                let insert = changes.insert_many(some).ordered(false).write_concern(majority.clone());
                insert.await.expect("the insert succeeds");
            }
        });
    }
    tasks.join_all().await;
    let took = began.elapsed();
    clear(server, &database).await;
    took
}

async fn log(server: &MongoDb, count: u64, threads: usize) -> (Duration, Duration) {
    let name = server.database();
    let threads = NonZeroUsize::new(threads).expect("a thread");
    let options = Options { threads, ..Options::default() };
    let store = Mongodb::new(server.connection(&name), options).expect("a store");
    let log = store.open("bench").await.expect("the log opens");
    let mut maker = Maker::new();
    let blocks: Vec<Arc<Block>> = (0..count / BLOCK).map(|_| maker.block(BLOCK)).collect();
    let began = Instant::now();
    for group in blocks.chunks((GROUP / BLOCK) as usize) {
        log.append(group.to_vec()).await.expect("the append succeeds");
    }
    let appended = began.elapsed();
    let began = Instant::now();
    let (mut next, mut changes) = (Seq(0), 0);
    while next < log.tail().next {
        for block in log.read(next, 4 << 20).await.expect("the read succeeds") {
            next = block.end();
            changes += block.entries().filter(|entry| matches!(entry, Ok((_, Entry::Change(_))))).count();
        }
    }
    let read = began.elapsed();
    assert_eq!(changes as u64, count);
    drop(log);
    clear(server, &server.client().database(&name)).await;
    (appended, read)
}

/// A server that was started here goes as a whole.
async fn clear(server: &MongoDb, database: &Database) {
    if !server.is_own() {
        database.drop().await.expect("the database goes");
    }
}

/// One change in each transaction, one transaction in each append: the latency of a quiet source.
async fn one_by_one(server: &MongoDb) -> Duration {
    let name = server.database();
    let store = Mongodb::new(server.connection(&name), Options::default()).expect("a store");
    let log = store.open("bench").await.expect("the log opens");
    let mut maker = Maker::new();
    let mut each = Vec::new();
    for _ in 0..300 {
        let block = maker.block(1);
        let began = Instant::now();
        log.append(vec![block]).await.expect("the append succeeds");
        each.push(began.elapsed());
    }
    each.sort();
    each[each.len() / 2]
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
                column("id", ColumnType::Int { bits: 64, unsigned: false }),
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
                writer.fixed(amount(id).to_le_bytes());
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

fn amount(id: u64) -> u32 {
    (id.wrapping_mul(2_654_435_761) % 100_000) as u32
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

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
