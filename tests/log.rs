//! `lode log`: looking into a log beside the process that writes it, and telling a damaged log from a whole one.

mod support;
#[path = "support/transcript.rs"]
mod transcript;

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::model::block::{Block, BlockBuilder, Commit, Op, SchemaBook};
use lode::model::change::Change;
use lode::model::position::{Position, Seq};
use lode::model::row::ImageWriter;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::model::value::Value;
use lode::run::look::{Look, Seen};
use lode::store::memory::Memory;
use lode::store::{Log, LogStore, verify};
use support::servers::MariaDb;
use transcript::Desk;

/// How long something may take that takes a moment, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

// ---- beside a mine ----

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_seen_in_the_log_while_its_mine_writes() {
    let server = MariaDb::start(&[]).await;
    server
        .run(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.orders (id BIGINT UNSIGNED PRIMARY KEY, total DECIMAL(20,4), note VARCHAR(40))",
            "CREATE TABLE shop.items (id INT PRIMARY KEY)",
        ])
        .await;
    let desk = Desk::new();
    let script = format!(
        "connection shop = mysql \"mysql://root@127.0.0.1:{}/shop\"\n\
         pipeline all = source mysql shop.* share_mining -> sink null\n",
        server.port()
    );
    fs::write(desk.path().join("shop.lode"), script).unwrap();
    let mut mining = desk.command("exec lode run shop.lode").stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| lode(&desk, "lode log stat shop").status.success());

    let tail = "exec lode log tail shop --table orders --where 'row.total > 1' --json";
    let mut tail = desk.command(tail).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    // Until the mine and the reader are there, nobody knows whether a row comes before or after.
    server.sql("INSERT INTO shop.items VALUES (1)").await;
    wait_for(|| stdout(&lode(&desk, "lode log peek shop --table items")).contains("id = 1"));
    std::thread::sleep(Duration::from_secs(1));
    server
        .run(&[
            "BEGIN",
            "INSERT INTO shop.orders VALUES (18446744073709551615, 0.5, 'too small')",
            "UPDATE shop.orders SET total = 9999999999999999.0001, note = NULL",
            "INSERT INTO shop.items VALUES (2)",
            "COMMIT",
        ])
        .await;
    let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["op"], "update");
    assert_eq!(line["before"]["total"], "0.5000");
    assert_eq!(line["after"]["id"].to_string(), "18446744073709551615");
    assert_eq!(line["after"]["total"], "9999999999999999.0001");
    assert!(line["commit"]["file"].is_string() && line["commit"]["offset"].is_number(), "{line}");

    let shown = stdout(&lode(&desk, "lode log peek shop --limit 3 --from -10m --table orders"));
    assert!(shown.contains("insert  shop.orders  id = 18446744073709551615, total = 0.5000"), "{shown}");
    assert!(shown.contains("total: 0.5000 → 9999999999999999.0001, note: \"too small\" → NULL"), "{shown}");
    assert_eq!(shown.matches("committed ").count(), 1, "both belong to one transaction: {shown}");
    let whole = lode(&desk, "lode log verify shop --script shop.lode");
    assert!(whole.status.success() && stdout(&whole).contains("is whole"), "{}", stdout(&whole));

    signal(&tail, "INT");
    assert_eq!(ended(&mut tail), Some(0), "Ctrl-C ends well");
    signal(&mining, "TERM");
    assert_eq!(ended(&mut mining), Some(0), "nobody took its log");
}

#[test]
fn a_reader_of_a_tail_that_goes_away_ends_it() {
    let desk = mined();
    let output = lode(&desk, "lode log tail shop --from 0 | head -n 1");
    assert!(output.status.success());
    assert_eq!(stdout(&output).lines().count(), 1);
    assert_eq!(stderr(&output), "");
}

// ---- damage ----

#[test]
fn a_damaged_log_is_told_with_what_is_readable() {
    let desk = mined();
    let file = desk.path().join("lode-data/logs/shop/00000000000000000000.seg");
    let whole = fs::read(&file).unwrap();
    let blocks: Vec<_> = (0..whole.len()).filter(|at| whole[*at..].starts_with(b"\x8blodeBK\n")).collect();
    let last = *blocks.last().unwrap();
    assert!(blocks.len() > 1, "a block before it is whole");
    let mut bytes = whole.clone();
    bytes[last + 100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let found = lode(&desk, "lode log verify");
    assert_eq!(found.status.code(), Some(1));
    let text = stdout(&found);
    assert!(text.starts_with("log shop is damaged at entry "), "{text}");
    assert!(text.contains(&format!("00000000000000000000.seg is damaged at byte {last}")), "{text}");
    assert!(text.contains("readable before that: entries 0 to "), "{text}");
    let line: serde_json::Value =
        serde_json::from_str(&stdout(&lode(&desk, "lode log verify --json"))).unwrap();
    assert_eq!(line["whole"], false);
    let entry = line["whole_to"].as_u64().unwrap();
    assert!(entry > 0 && line["end"].as_u64().unwrap() > entry, "{line}");

    // What is whole can be read, and the first change that is not is an error.
    let read = lode(&desk, "lode log peek --from 0 --limit 1000 --json");
    assert_eq!(read.status.code(), Some(1));
    assert!(stderr(&read).contains("is damaged at byte"), "{}", stderr(&read));
    assert!(stdout(&lode(&desk, "lode log stat")).contains("where the log is damaged"));
    fs::write(&file, whole).unwrap();
    assert_eq!(lode(&desk, "lode log verify").status.code(), Some(0));
}

#[tokio::test]
async fn a_position_that_goes_back_is_damage() {
    let (log, mut writer) = (Memory::new().open("shop").await.unwrap(), Writer::default());
    let block = writer.transaction(2, 100);
    log.append(vec![block]).await.unwrap();
    let good = verify::verify(log.as_ref(), |_| {}).await.unwrap();
    assert_eq!((good.damage.clone(), good.whole(), good.changes, good.commits), (None, 4, 2, 1));
    let block = writer.transaction(1, 90);
    log.append(vec![block]).await.unwrap();
    let bad = verify::verify(log.as_ref(), |_| {}).await.unwrap();
    assert_eq!(bad.whole_to, Seq(4));
    assert!(bad.damage.unwrap().why.contains("from 100 to 90"));
}

// ---- which changes are found ----

#[tokio::test]
async fn the_newest_changes_are_found_however_far_they_lie_back() {
    let (log, mut writer) = (Memory::new().open("shop").await.unwrap(), Writer::default());
    for at in 1..=3000 {
        log.append(vec![writer.transaction(3, at)]).await.unwrap();
    }
    let mut look = Look::new(log.clone());
    for (modulo, count) in [(1, 10), (7, 500), (4000, 5), (9001, 5)] {
        let mut choose = |change: &Change| Ok(id(change).is_multiple_of(modulo));
        let newest = look.newest(count, &mut choose).await.unwrap();
        let expected: Vec<u64> = (0..9000).filter(|id: &u64| id.is_multiple_of(modulo)).collect();
        let expected = &expected[expected.len().saturating_sub(count)..];
        let found: Vec<_> = newest.iter().map(|seen| id(&seen.change)).collect();
        assert_eq!(found, expected, "every {modulo}th");
        for seen in &newest {
            assert_eq!(
                seen.commit.position.offset,
                id(&seen.change) / 3 + 1,
                "the commit of its transaction"
            );
        }
    }
}

#[tokio::test]
async fn every_change_of_a_transaction_in_parts_has_its_commit() {
    let (log, mut writer) = (Memory::new().open("shop").await.unwrap(), Writer::default());
    let small = writer.transaction(2, 1);
    let parts: Vec<_> = (0..30).map(|_| writer.part(4, 100_000)).collect();
    let end = writer.transaction(2, 2);
    let next = writer.transaction(1, 3);
    log.append(vec![small]).await.unwrap();
    log.append(parts.into_iter().chain([end, next]).collect()).await.unwrap();
    let all = changes(&log, Seq(0), log.tail().next).await;
    assert_eq!(all.len(), 2 + 120 + 2 + 1);
    for (at, seen) in all.iter().enumerate() {
        let commit = match at {
            0..2 => 1,
            2..124 => 2,
            _ => 3,
        };
        assert_eq!((id(&seen.change), seen.commit.position.offset), (at as u64, commit));
    }
    // Also when only a part of it is asked for.
    let middle = changes(&log, Seq(20), Seq(22)).await;
    assert_eq!(middle.iter().map(|seen| seen.change.seq).collect::<Vec<_>>(), [Seq(20), Seq(21)]);
    assert!(middle.iter().all(|seen| seen.commit.position.offset == 2));
}

async fn changes(log: &Arc<dyn Log>, from: Seq, to: Seq) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut show = |change| {
        seen.push(change);
        ControlFlow::Continue(())
    };
    Look::new(log.clone()).changes(from, to, &mut |_| Ok(true), &mut show).await.unwrap();
    seen
}

fn id(change: &Change) -> u64 {
    match change.row().and_then(|row| row.view().get(0)) {
        Some(Value::UInt(id)) => id,
        other => panic!("{other:?}"),
    }
}

/// The type of an image that is not there.
type Image = fn(&mut Vec<u8>) -> Result<(), ()>;

/// Writes changes that are numbered without a gap.
struct Writer {
    builder: BlockBuilder,
    changes: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Writer { builder: BlockBuilder::new(Seq(0), SchemaBook::default()), changes: 0 }
    }
}

impl Writer {
    /// A transaction that ends at an offset of the source.
    fn transaction(&mut self, count: usize, offset: u64) -> Arc<Block> {
        self.write(count, 10);
        let position = Position { gtid: String::new(), file: "binlog.000001".to_owned(), offset };
        self.builder.commit(Commit { position, time_ms: offset as i64 });
        Arc::new(self.builder.seal().unwrap())
    }

    fn part(&mut self, count: usize, size: usize) -> Arc<Block> {
        self.write(count, size);
        Arc::new(self.builder.seal_part().unwrap())
    }

    fn write(&mut self, count: usize, size: usize) {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty, nullable: false };
        let no = self.builder.schema(&TableSchema {
            name: TableName::new("shop", "orders"),
            columns: vec![
                column("id", ColumnType::Int { bits: 64, unsigned: true }),
                column("text", ColumnType::Text { bytes: 1 << 20 }),
            ],
            primary_key: vec![0],
            unique_keys: Vec::new(),
        });
        for _ in 0..count {
            let id = self.changes;
            let after = |out: &mut Vec<u8>| -> Result<(), ()> {
                let mut writer = ImageWriter::new(out, 2, false);
                writer.fixed(id.to_le_bytes());
                writer.variable(&vec![b'x'; size]);
                Ok(())
            };
            self.builder.change(Op::Insert, no, 0, None::<Image>, Some(after)).unwrap();
            self.changes += 1;
        }
    }
}

// ---- commands ----

/// A desk with the log of the first script.
fn mined() -> Desk {
    let desk = Desk::new();
    let run = lode(&desk, "lode run scripts/01_first.lode");
    assert!(run.status.success(), "{}", stderr(&run));
    desk
}

fn lode(desk: &Desk, line: &str) -> Output {
    desk.command(line).output().unwrap()
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LONG, "it did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

fn ended(child: &mut Child) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > LONG {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
