//! The log stores: the contract that all of them keep, and what the embedded one must survive.

#[path = "store/follow.rs"]
mod follow;
#[path = "store/mongodb.rs"]
mod in_mongodb;
#[path = "store/whole.rs"]
mod whole;
#[path = "store/writers.rs"]
mod writers;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lode::error::Kind;
use lode::model::block::{Block, BlockBuilder, Commit, Entry, SchemaBook};
use lode::model::coverage::{Coverage, Gap, Paused};
use lode::model::position::{Position, Seq};
use lode::model::row::ImageWriter;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::{Pattern, TableName, TableSelection, TableSet};
use lode::model::value::Value;
use lode::store::embedded::{Compression, Embedded, Options};
use lode::store::memory::Memory;
use lode::store::mongodb::Mongodb;
use lode::store::{Log, LogStore, Retention};
use proptest::prelude::*;
use tempfile::TempDir;

mod support;

use support::mongodb::shared_mongodb;

/// Tells the test binary that it is a child process, and which folder is its store.
const CHILD: &str = "LODE_TEST_STORE";

// ---- the contract ----

#[tokio::test]
async fn a_new_log_is_empty() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        assert_eq!(log.tail().next, Seq(0));
        assert_eq!(log.tail().commit, None);
        assert_eq!(log.source_id(), None);
        assert!(log.read(Seq(0), 1).await.unwrap().is_empty());
        assert_eq!(log.read(Seq(1), 1).await.unwrap_err().kind(), Kind::Gap);
        assert_eq!(log.find_time(0).await.unwrap(), Seq(0));
        assert_eq!(log.find_position(&Position::default()).await.unwrap(), None);
        assert_eq!(log.stat().horizon_time_ms, None);
        assert_eq!(log.retain(&everything(), None).await.unwrap().horizon, Seq(0));
    }
}

#[tokio::test]
async fn a_log_keeps_its_epoch_and_its_source() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let epoch = log.epoch();
        log.bind_source("server-1").await.unwrap();
        assert_eq!(log.bind_source("server-2").await.unwrap_err().kind(), Kind::Refused);
        assert_ne!(store.open("other").await.unwrap().epoch(), epoch);
        drop(log);
        let log = store.open("shop").await.unwrap();
        assert_eq!((log.epoch(), log.source_id().as_deref()), (epoch, Some("server-1")));
    }
}

#[tokio::test]
async fn a_log_is_open_once() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        assert_eq!(store.open("shop").await.err().unwrap().kind(), Kind::Refused);
        drop(log);
        store.open("shop").await.unwrap();
    }
}

#[tokio::test]
async fn what_is_read_is_what_was_appended() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger = Ledger::default();
        let blocks: Vec<_> = (0..20).map(|_| ledger.transaction(3)).collect();
        for group in blocks.chunks(3) {
            log.append(group.to_vec()).await.unwrap();
        }
        assert_eq!(log.tail().next, ledger.builder.next_seq());
        assert_eq!(log.tail().commit, blocks[19].commit);
        for block in &blocks {
            for seq in [block.first, Seq(block.end().0 - 1)] {
                let read = log.read(seq, 1).await.unwrap();
                assert_eq!(read.len(), 1);
                assert_same(&read, std::slice::from_ref(block));
            }
        }
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &blocks);
        let two = blocks[0].payload.len() + 1;
        assert_same(&log.read(Seq(0), two).await.unwrap(), &blocks[..2]);
        assert!(log.read(log.tail().next, 1).await.unwrap().is_empty());
        assert_eq!(log.read(log.tail().next.plus(1), 1).await.unwrap_err().kind(), Kind::Gap);
        assert!(log.stat().payload_bytes > 0 && log.stat().stored_bytes > 0);
    }
}

#[tokio::test]
async fn an_unfinished_transaction_is_invisible_and_cut_on_open() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger = Ledger::default();
        let whole = ledger.transaction(3);
        log.append(vec![whole.clone()]).await.unwrap();
        let tail = log.tail();
        ledger.builder.coverage(&tables("late"));
        let part = ledger.part(5);
        let rest = ledger.transaction(1);
        assert_eq!(log.append(vec![part.clone()]).await.unwrap(), tail);
        assert_eq!(log.coverage(), Coverage::default());
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), std::slice::from_ref(&whole));
        assert!(log.read(tail.next, 1).await.unwrap().is_empty());
        drop(log);

        let log = store.open("shop").await.unwrap();
        assert_eq!(log.tail(), tail);
        log.append(vec![part.clone(), rest.clone()]).await.unwrap();
        assert_eq!(log.coverage(), tables("late"));
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &[whole, part.clone(), rest.clone()]);
        // Both the position and the time of a transaction in parts lead to its ends.
        let commit = rest.commit.clone().unwrap();
        assert_eq!(log.find_position(&commit.position).await.unwrap(), Some(rest.end()));
        assert_eq!(log.find_time(commit.time_ms).await.unwrap(), part.first);
    }
}

#[tokio::test]
async fn an_unfinished_transaction_can_be_begun_again() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger = Ledger::default();
        let whole = ledger.transaction(3);
        log.append(vec![whole.clone()]).await.unwrap();
        // Enough for several segments, with a schema and tables that the second try does not bring.
        ledger.builder.coverage(&tables("late"));
        ledger.changes(40, 2000, 1);
        let parts = vec![Arc::new(ledger.builder.seal_part().unwrap()), ledger.part(100)];
        for part in parts {
            log.append(vec![part]).await.unwrap();
        }

        let mut again = Ledger::resume(log.as_ref());
        let (part, rest) = (again.part(2), again.transaction(1));
        log.append(vec![part.clone()]).await.unwrap();
        log.append(vec![rest.clone()]).await.unwrap();
        assert_eq!(log.tail().next, rest.end());
        assert_eq!(log.coverage(), Coverage::default());
        let expected = [whole, part, rest];
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &expected);
        drop(log);
        let log = store.open("shop").await.unwrap();
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &expected);
    }
}

#[tokio::test]
async fn blocks_that_do_not_follow_or_are_malformed_are_refused_without_a_trace() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger = Ledger::default();
        let (one, two) = (ledger.transaction(1), ledger.transaction(1));
        assert_eq!(log.append(vec![two.clone()]).await.unwrap_err().kind(), Kind::Internal);
        let wrong = Block { changes: 7, ..(*two).clone() };
        let error = log.append(vec![one.clone(), Arc::new(wrong)]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert_eq!(log.tail().next, Seq(0));
        log.append(vec![one.clone(), two.clone()]).await.unwrap();
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &[one, two]);
    }
}

#[tokio::test]
async fn retention_drops_the_old_and_keeps_what_is_held() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger = Ledger::default();
        ledger.builder.coverage(&tables("t"));
        let mut blocks = vec![ledger.transaction(2)];
        // The third block is the beginning of a transaction that ends in the fourth.
        blocks.push(ledger.transaction(2));
        blocks.push(ledger.part(2));
        blocks.push(ledger.transaction(2));
        blocks.push(ledger.transaction(2));
        for block in &blocks {
            log.append(vec![block.clone()]).await.unwrap();
        }
        let nothing = log.retain(&Retention::default(), None).await.unwrap();
        assert_eq!((nothing.horizon, nothing.dropped_bytes, nothing.held), (Seq(0), 0, false));

        let held = log.retain(&everything(), Some(blocks[1].first.plus(1))).await.unwrap();
        assert_eq!((held.horizon, held.held), (blocks[1].first, true));
        assert!(held.dropped_bytes > 0);
        // A transaction is never torn.
        let held = log.retain(&everything(), Some(blocks[3].first)).await.unwrap();
        assert_eq!((held.horizon, held.held), (blocks[2].first, true));
        assert_eq!(log.read(Seq(0), 1).await.unwrap_err().kind(), Kind::Gap);
        assert_same(&log.read(held.horizon, usize::MAX).await.unwrap(), &blocks[2..]);
        let dropped = blocks[0].commit.clone().unwrap();
        assert_eq!(log.find_position(&dropped.position).await.unwrap(), None);
        assert_eq!(log.find_time(dropped.time_ms).await.unwrap(), held.horizon);

        let free = log.retain(&everything(), None).await.unwrap();
        assert_eq!((free.horizon, free.held), (blocks[4].first, false));
        let tail = log.tail();
        drop(log);
        let log = store.open("shop").await.unwrap();
        assert_eq!((log.tail(), log.stat().horizon), (tail, free.horizon));
        assert_eq!(log.coverage(), tables("t"));
        assert_eq!(log.schemas().iter().count(), 1);
        assert_same(&log.read(free.horizon, usize::MAX).await.unwrap(), &blocks[4..]);
    }
}

#[tokio::test]
async fn retention_by_age_and_size_drops_no_more_than_asked() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger =
            Ledger { now_ms: jiff::Timestamp::now().as_millisecond() - 10_000_000, ..Ledger::default() };
        let old: Vec<_> = (0..3).map(|_| ledger.transaction(1)).collect();
        ledger.now_ms += 10_000_000;
        let new: Vec<_> = (0..3).map(|_| ledger.transaction(1)).collect();
        for block in old.iter().chain(&new) {
            log.append(vec![block.clone()]).await.unwrap();
        }
        let age = Retention { age: Some(Duration::from_secs(3600)), size: None };
        assert_eq!(log.retain(&age, None).await.unwrap().horizon, new[0].first);
        let kept = log.stat().stored_bytes;
        let size = |size| Retention { age: None, size: Some(size) };
        assert_eq!(log.retain(&size(kept), None).await.unwrap().dropped_bytes, 0);
        assert_eq!(log.retain(&size(kept - 1), None).await.unwrap().horizon, new[1].first);
    }
}

#[tokio::test]
async fn times_that_step_back_do_not_mislead() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger = Ledger::default();
        let mut starts = Vec::new();
        for time_ms in [100, 300, 200, 300, 250, 400] {
            ledger.now_ms = time_ms - 1;
            starts.push(ledger.builder.next_seq());
            let block = ledger.transaction(1);
            log.append(vec![block]).await.unwrap();
        }
        for (time_ms, transaction) in [(0, 0), (100, 0), (101, 1), (250, 1), (300, 1), (301, 5), (400, 5)] {
            assert_eq!(log.find_time(time_ms).await.unwrap(), starts[transaction], "{time_ms}");
        }
        assert_eq!(log.find_time(401).await.unwrap(), log.tail().next);
    }
}

// ---- random logs against a list of blocks ----

#[derive(Clone, Debug)]
enum Step {
    /// Transactions in one block: how many changes each has, the size of their texts, and their table.
    Block(Vec<(usize, usize, usize)>),
    /// A transaction in several blocks.
    Large(Vec<usize>),
    /// Another selection of tables.
    Coverage(u8),
    /// The beginning of a transaction that never ends, and a restart.
    Crash(Vec<usize>),
    /// A restart.
    Reopen,
    /// The clock steps.
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let transaction = (0..20usize, 0..200usize, 0..4usize);
    prop_oneof![
        6 => prop::collection::vec(transaction, 1..6).prop_map(Step::Block),
        2 => prop::collection::vec(1..30usize, 1..5).prop_map(Step::Large),
        1 => any::<u8>().prop_map(Step::Coverage),
        1 => prop::collection::vec(1..30usize, 1..4).prop_map(Step::Crash),
        1 => Just(Step::Reopen),
        1 => (-5000..5000i64).prop_map(Step::Clock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_log_reads_as_it_was_written(
        steps in prop::collection::vec(step(), 1..30),
        segment_bytes in prop_oneof![Just(1u64), Just(3_000), Just(1 << 20)],
        compressed in any::<bool>(),
        group in 1..4usize,
    ) {
        let compression = if compressed { Compression::Zstd(1) } else { Compression::None };
        let options = Options { segment_bytes, compression };
        tokio::runtime::Runtime::new().unwrap().block_on(check_steps(steps, options, group));
    }
}

async fn check_steps(steps: Vec<Step>, options: Options, group: usize) {
    let dir = TempDir::new().unwrap();
    let embedded = Embedded::new(dir.path(), options);
    let memory = Memory::new();
    for store in [&embedded as &dyn LogStore, &memory] {
        let mut log = store.open("log").await.unwrap();
        let mut ledger = Ledger::default();
        let mut model: Vec<Arc<Block>> = Vec::new();
        let mut waiting: Vec<Arc<Block>> = Vec::new();
        let mut coverage = Coverage::default();
        let mut coming = Coverage::default();
        for step in &steps {
            match step {
                Step::Block(transactions) => {
                    for &(changes, size, table) in transactions {
                        ledger.changes(changes, size, table);
                        ledger.commit();
                    }
                    waiting.push(Arc::new(ledger.builder.seal().unwrap()));
                }
                Step::Large(parts) => {
                    for &changes in parts {
                        waiting.push(ledger.part(changes));
                    }
                    waiting.push(ledger.transaction(0));
                }
                Step::Coverage(number) => {
                    coming = tables(&format!("t{number}"));
                    ledger.builder.coverage(&coming);
                    waiting.push(ledger.transaction(1));
                }
                Step::Clock(by) => ledger.now_ms += by,
                Step::Reopen | Step::Crash(_) => {
                    if !waiting.is_empty() {
                        log.append(waiting.clone()).await.unwrap();
                        model.append(&mut waiting);
                    }
                    coverage.clone_from(&coming);
                    if let Step::Crash(parts) = step {
                        // A schema that was noted and never committed must be forgotten.
                        for (at, &changes) in parts.iter().enumerate() {
                            ledger.changes(changes, 50, 10 + at);
                            ledger.builder.coverage(&tables("lost"));
                            let part = ledger.builder.seal_part().unwrap();
                            log.append(vec![Arc::new(part)]).await.unwrap();
                        }
                    }
                    drop(log);
                    log = store.open("log").await.unwrap();
                    ledger.builder = BlockBuilder::new(log.tail().next, log.schemas());
                }
            }
            if waiting.len() >= group {
                log.append(waiting.clone()).await.unwrap();
                model.append(&mut waiting);
                coverage.clone_from(&coming);
            }
        }
        check_log(log.as_ref(), &model, &coverage).await;
        drop(log);
        check_log(store.open("log").await.unwrap().as_ref(), &model, &coverage).await;
    }
}

async fn check_log(log: &dyn Log, model: &[Arc<Block>], coverage: &Coverage) {
    let end = model.last().map_or(Seq(0), |block| block.end());
    assert_eq!(log.tail().next, end);
    assert_eq!(log.tail().commit, model.last().and_then(|block| block.commit.clone()));
    assert_eq!(log.coverage(), *coverage);
    let mut book = SchemaBook::default();
    let mut transaction = Seq(0);
    let mut commits = Vec::new();
    for entry in model.iter().flat_map(|block| block.entries()) {
        match entry.unwrap() {
            (_, Entry::Schema { no, json }) => {
                book.learn(no, lode::model::block::parse_schema(json).unwrap()).unwrap();
            }
            (seq, Entry::Commit { time_ms, offset, file, gtid }) => {
                let position = Position { gtid: gtid.into(), file: file.into(), offset };
                commits.push((transaction, seq.plus(1), time_ms, position));
                transaction = seq.plus(1);
            }
            _ => {}
        }
    }
    let names = |book: &SchemaBook| book.iter().map(|(no, schema)| (no, schema.clone())).collect::<Vec<_>>();
    assert_eq!(names(&log.schemas()), names(&book));
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), model);
    let mut piecewise = Vec::new();
    let mut next = Seq(0);
    while next < end {
        let read = log.read(next, 500).await.unwrap();
        next = read.last().unwrap().end();
        piecewise.extend(read);
    }
    assert_same(&piecewise, model);
    for (_, behind, time_ms, position) in commits.iter().step_by(1 + commits.len() / 20) {
        assert_eq!(log.find_position(position).await.unwrap(), Some(*behind));
        for wanted_ms in [time_ms - 1, *time_ms, time_ms + 1] {
            let first = commits.iter().find(|(_, _, time_ms, _)| *time_ms >= wanted_ms);
            let first = first.map_or(end, |(begin, ..)| *begin);
            assert_eq!(log.find_time(wanted_ms).await.unwrap(), first);
        }
        let elsewhere = Position { offset: position.offset + 1, ..position.clone() };
        assert_eq!(log.find_position(&elsewhere).await.unwrap(), None);
    }
}

// ---- what only files can suffer ----

#[tokio::test]
async fn a_second_process_is_told_who_has_the_log() {
    let dir = TempDir::new().unwrap();
    let _log = embedded(dir.path(), 1).open("shop").await.unwrap();
    let error = embedded(dir.path(), 1).open("shop").await.err().unwrap();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
    assert!(error.message().contains(dir.path().join("shop").to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn an_append_torn_at_any_byte_is_cut() {
    let dir = TempDir::new().unwrap();
    let (ledger, blocks) = small_log(dir.path(), 1 << 20, 3).await;
    let before = TempDir::new().unwrap();
    copy(&dir.path().join("shop"), &before.path().join("shop"));
    let last = append(dir.path(), ledger, 1).await;
    let name = segments(&before.path().join("shop")).pop().unwrap();
    let file = before.path().join("shop").join(&name);
    let from = fs::metadata(&file).unwrap().len() as usize;
    let whole = fs::read(dir.path().join("shop").join(&name)).unwrap();
    let hint = before.path().join("shop/acknowledged");
    let acknowledged = fs::read(&hint).unwrap();

    for len in from..whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        let log = embedded(before.path(), 1 << 20).open("shop").await.unwrap();
        assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &blocks);
        drop(log);
        // Bytes that never arrived may be there as zeros.
        let zeros: Vec<u8> =
            whole[..len].iter().copied().chain(std::iter::repeat_n(0, whole.len() - len)).collect();
        fs::write(&file, &zeros).unwrap();
        let log = embedded(before.path(), 1 << 20).open("shop").await.unwrap();
        let read = log.read(Seq(0), usize::MAX).await.unwrap();
        // When only zeros are missing, nothing is.
        assert_same(&read[..blocks.len()], &blocks);
        assert!(read.len() == blocks.len() || zeros == whole);
        assert_eq!(read.last().unwrap().end(), log.tail().next);
        drop(log);
        fs::write(&hint, &acknowledged).unwrap();
    }
    // The whole append without its acknowledgement is kept.
    fs::write(&file, &whole).unwrap();
    let log = embedded(before.path(), 1 << 20).open("shop").await.unwrap();
    let all: Vec<_> = blocks.iter().chain(&last).cloned().collect();
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &all);
}

#[tokio::test]
async fn an_append_whose_first_pages_never_arrived_is_cut() {
    let dir = TempDir::new().unwrap();
    let (ledger, blocks) = small_log(dir.path(), 1 << 20, 3).await;
    let before = TempDir::new().unwrap();
    copy(&dir.path().join("shop"), &before.path().join("shop"));
    append(dir.path(), ledger, 3).await;
    let name = segments(&before.path().join("shop")).pop().unwrap();
    let file = before.path().join("shop").join(&name);
    let from = fs::metadata(&file).unwrap().len() as usize;
    let mut bytes = fs::read(dir.path().join("shop").join(&name)).unwrap();
    bytes[from..from + 20].fill(0);
    fs::write(&file, &bytes).unwrap();
    let log = embedded(before.path(), 1 << 20).open("shop").await.unwrap();
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &blocks);
}

#[tokio::test]
async fn any_damage_to_what_was_acknowledged_is_an_error() {
    for segment_bytes in [1, 1 << 20] {
        let dir = TempDir::new().unwrap();
        let (_, blocks) = small_log(dir.path(), segment_bytes, 4).await;
        let folder = dir.path().join("shop");
        let mut names = segments(&folder);
        names.extend(["meta".to_owned(), "catalog".to_owned()]);
        for name in names {
            let path = folder.join(&name);
            let good = fs::read(&path).unwrap();
            for at in (0..good.len()).step_by(11) {
                let mut bad = good.clone();
                bad[at] ^= 0x10;
                fs::write(&path, &bad).unwrap();
                assert_eq!(
                    open_and_read(dir.path(), segment_bytes).await.unwrap_err(),
                    Kind::Corrupt,
                    "{name} {at}"
                );
                assert_eq!(fs::read(&path).unwrap(), bad, "a damaged file is left as it is");
            }
            if name != "meta" {
                fs::write(&path, &good[..good.len() - 1]).unwrap();
                assert_eq!(
                    open_and_read(dir.path(), segment_bytes).await.unwrap_err(),
                    Kind::Corrupt,
                    "{name}"
                );
            }
            // A log without its first segments is one from which retention dropped them.
            if segment_bytes > 1 || Some(&name) != segments(&folder).first() {
                fs::remove_file(&path).unwrap();
                assert_eq!(
                    open_and_read(dir.path(), segment_bytes).await.unwrap_err(),
                    Kind::Corrupt,
                    "{name}"
                );
            }
            fs::write(&path, &good).unwrap();
        }
        assert_same(&open_and_read(dir.path(), segment_bytes).await.unwrap(), &blocks);
    }
}

#[tokio::test]
async fn damage_is_told_from_a_torn_end_by_the_blocks_alone() {
    let dir = TempDir::new().unwrap();
    let (_, blocks) = small_log(dir.path(), 1 << 20, 4).await;
    let folder = dir.path().join("shop");
    let path = folder.join(&segments(&folder)[0]);
    let good = fs::read(&path).unwrap();
    let mut kept = Vec::new();
    for at in (0..good.len()).step_by(5) {
        fs::remove_file(folder.join("acknowledged")).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        fs::write(&path, &bad).unwrap();
        match open_and_read(dir.path(), 1 << 20).await {
            Ok(read) => {
                assert_same(&read, &blocks[..3]);
                kept.push(at);
            }
            Err(kind) => {
                assert_eq!(kind, Kind::Corrupt);
                assert!(kept.is_empty(), "only the last append may be taken for torn");
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(!kept.is_empty());
}

#[tokio::test]
async fn an_append_that_fails_halfway_is_taken_back() {
    let dir = TempDir::new().unwrap();
    let log = embedded(dir.path(), 1).open("shop").await.unwrap();
    let folder = dir.path().join("shop");
    let mut ledger = Ledger::default();
    let first = ledger.transaction(2);
    log.append(vec![first.clone()]).await.unwrap();
    let tail = log.tail();
    let catalog = fs::read(folder.join("catalog")).unwrap();

    ledger.builder.coverage(&tables("new"));
    let (second, third) = (ledger.transaction(2), ledger.transaction(2));
    // A folder is where the segment of the third block is to be.
    let obstacle = folder.join(format!("{:020}.seg", third.first.0));
    fs::create_dir(&obstacle).unwrap();
    let error = log.append(vec![second.clone(), third.clone()]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert_eq!((log.tail(), log.coverage()), (tail.clone(), Coverage::default()));
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), std::slice::from_ref(&first));
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(segments(&folder).len(), 1);
    assert_eq!(fs::read(folder.join("catalog")).unwrap(), catalog);

    log.append(vec![second.clone(), third.clone()]).await.unwrap();
    drop(log);
    let log = embedded(dir.path(), 1).open("shop").await.unwrap();
    assert_eq!(log.coverage(), tables("new"));
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &[first, second, third]);
}

#[tokio::test]
async fn a_log_that_cannot_take_back_an_append_takes_no_other() {
    let dir = TempDir::new().unwrap();
    let log = embedded(dir.path(), 1).open("shop").await.unwrap();
    let folder = dir.path().join("shop");
    let mut ledger = Ledger::default();
    let (first, second) = (ledger.transaction(2), ledger.transaction(2));
    log.append(vec![first]).await.unwrap();
    let obstacle = folder.join(format!("{:020}.seg", second.first.0));
    fs::create_dir(&obstacle).unwrap();
    fs::rename(folder.join(&segments(&folder)[0]), folder.join("aside")).unwrap();
    assert_eq!(log.append(vec![second.clone()]).await.unwrap_err().kind(), Kind::Environment);
    fs::remove_dir(&obstacle).unwrap();
    let error = log.append(vec![second]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(error.next_step().unwrap().contains("open the log again"), "{error:?}");
}

#[tokio::test]
async fn side_files_are_only_a_shortcut() {
    let dir = TempDir::new().unwrap();
    let (_, blocks) = small_log(dir.path(), 1, 6).await;
    let folder = dir.path().join("shop");
    let sides = || names(&folder, ".idx");
    assert_eq!(sides().len(), 5);
    for name in sides() {
        let mut bytes = fs::read(folder.join(&name)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(folder.join(&name), bytes).unwrap();
    }
    fs::remove_file(folder.join(&sides()[2])).unwrap();
    fs::write(folder.join(&sides()[3]), b"").unwrap();
    let log = embedded(dir.path(), 1).open("shop").await.unwrap();
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &blocks);
    let commit = blocks[2].commit.clone().unwrap();
    assert_eq!(log.find_position(&commit.position).await.unwrap(), Some(blocks[2].end()));
    assert_eq!(log.find_time(commit.time_ms).await.unwrap(), blocks[2].first);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_right_while_old_segments_go_and_new_ones_come() {
    let dir = TempDir::new().unwrap();
    let log = embedded(dir.path(), 2_000).open("shop").await.unwrap();
    let mut ledger = Ledger::default();
    let first = ledger.transaction(5);
    log.append(vec![first]).await.unwrap();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let (mut next, mut read, mut gaps) = (Seq(0), 0u64, 0u64);
                while next < Seq(3_000) {
                    match log.read(next, 3_000).await {
                        Ok(blocks) => {
                            for block in &blocks {
                                assert!(block.first <= next && next < block.end());
                                assert_eq!(
                                    block.entries().filter(Result::is_ok).count(),
                                    block.count as usize
                                );
                                next = block.end();
                                read += 1;
                            }
                            assert!(next <= log.tail().next);
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), Kind::Gap, "{error:?}");
                            next = log.stat().horizon;
                            gaps += 1;
                        }
                    }
                    tokio::task::yield_now().await;
                }
                (read, gaps)
            })
        })
        .collect();
    while ledger.builder.next_seq() < Seq(3_001) {
        let block = ledger.transaction(10);
        log.append(vec![block]).await.unwrap();
        let hold = Seq(ledger.builder.next_seq().0.saturating_sub(60));
        log.retain(&everything(), Some(hold)).await.unwrap();
    }
    for reader in readers {
        assert!(reader.await.unwrap().0 > 0);
    }
}

#[test]
fn what_was_acknowledged_survives_kill() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for round in 0..12u64 {
        let mut child = spawn_child("child_appends_until_killed", dir.path(), None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some rounds die early, others after many appends.
        let mut left = 1 + (round * 37) % 90;
        while left > 0 {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            if let Some(next) = line.strip_prefix("ack ") {
                acknowledged = next.parse().unwrap();
                left -= 1;
            }
        }
        std::thread::sleep(Duration::from_micros(round * 211));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(next) = line.strip_prefix("ack ") {
                acknowledged = next.parse().unwrap();
            }
        }
        check_ledger(dir.path(), Seq(acknowledged));
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let dir = TempDir::new().unwrap();
    // The largest file is 32 or 64 KiB, as the shell counts.
    let mut child = spawn_child("child_fills_the_disk", dir.path(), Some("64"));
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{lines:#?}");
    let acknowledged = lines.iter().filter_map(|line| line.strip_prefix("ack ")?.parse().ok()).next_back();
    assert!(lines.iter().any(|line| line == "full"), "{lines:#?}");
    check_ledger(dir.path(), Seq(acknowledged.unwrap()));
}

#[tokio::test]
#[ignore = "the part of another test that runs in a process of its own"]
async fn child_appends_until_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let log = embedded(Path::new(&dir), 8_000).open("shop").await.unwrap();
    let mut ledger = Ledger::resume(log.as_ref());
    loop {
        let mut blocks = vec![ledger.part(3), ledger.part(20)];
        blocks.push(ledger.transaction(2));
        blocks.push(ledger.transaction(2));
        // What was begun here is finished by nobody when the kill comes between.
        let begun = ledger.part(4);
        let rest = ledger.transaction(1);
        log.append(blocks).await.unwrap();
        println!("\nack {}", log.tail().next);
        log.append(vec![begun]).await.unwrap();
        log.append(vec![rest]).await.unwrap();
        println!("ack {}", log.tail().next);
    }
}

#[tokio::test]
#[ignore = "the part of another test that runs in a process of its own"]
async fn child_fills_the_disk() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let store = Embedded::new(&dir, Options { segment_bytes: 1 << 30, compression: Compression::None });
    let log = store.open("shop").await.unwrap();
    let mut failures = 0;
    while failures < 3 {
        let before = log.tail();
        let mut ledger = Ledger::resume(log.as_ref());
        // Each failure is followed by something smaller, which still fits.
        let size = [9_000, 1_000, 100][failures];
        ledger.changes(1, size, 0);
        ledger.commit();
        match log.append(vec![Arc::new(ledger.builder.seal().unwrap())]).await {
            Ok(tail) => println!("\nack {}", tail.next),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Full, "{error:?}");
                assert!(error.next_step().is_some());
                assert_eq!(log.tail(), before);
                let read = log.read(Seq(0), usize::MAX).await.unwrap();
                assert_eq!(read.last().unwrap().end(), before.next);
                failures += 1;
            }
        }
    }
    println!("full");
}

// ---- what the tests are made of ----

/// All stores; the embedded one with a segment for each block.
fn stores() -> Vec<(TempDir, Box<dyn LogStore>)> {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let files = Box::new(embedded(one.path(), 1));
    let server = shared_mongodb();
    let connection = server.connection(&server.database());
    let mongodb = Mongodb::new(connection, Default::default()).unwrap();
    vec![(one, files), (two, Box::new(Memory::new())), (TempDir::new().unwrap(), Box::new(mongodb))]
}

fn embedded(dir: &Path, segment_bytes: u64) -> Embedded {
    Embedded::new(dir, Options { segment_bytes, ..Options::default() })
}

/// The type of an image that is not there.
type Image = fn(&mut Vec<u8>) -> Result<(), ()>;

/// A workload whose changes are numbered without a gap. A commit's offset is the number of changes before it.
struct Ledger {
    builder: BlockBuilder,
    changes: u64,
    commits: u64,
    now_ms: i64,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            builder: BlockBuilder::new(Seq(0), SchemaBook::default()),
            changes: 0,
            commits: 0,
            now_ms: 1_000_000,
        }
    }
}

impl Ledger {
    fn resume(log: &dyn Log) -> Self {
        let tail = log.tail();
        Ledger {
            builder: BlockBuilder::new(tail.next, log.schemas()),
            changes: tail.commit.map_or(0, |commit| commit.position.offset),
            commits: 0,
            now_ms: 1_000_000,
        }
    }

    fn changes(&mut self, count: usize, size: usize, table: usize) {
        let no = self.builder.schema(&schema(table));
        for _ in 0..count {
            let id = self.changes;
            let after = |out: &mut Vec<u8>| -> Result<(), ()> {
                let mut writer = ImageWriter::new(out, 2, false);
                writer.fixed(id.to_le_bytes());
                writer.variable(&noise(id, size));
                Ok(())
            };
            self.builder
                .change(lode::model::block::Op::Insert, no, self.now_ms, None::<Image>, Some(after))
                .unwrap();
            self.changes += 1;
        }
    }

    fn commit(&mut self) {
        self.now_ms += 1;
        self.commits += 1;
        // A new file now and then, also in the middle of a block.
        let position = Position {
            gtid: format!("0-1-{}", self.commits),
            file: format!("binlog.{:06}", self.changes / 25),
            offset: self.changes,
        };
        self.builder.commit(Commit { position, time_ms: self.now_ms });
    }

    fn transaction(&mut self, count: usize) -> Arc<Block> {
        self.changes(count, 40, 0);
        self.commit();
        Arc::new(self.builder.seal().unwrap())
    }

    fn part(&mut self, count: usize) -> Arc<Block> {
        self.changes(count, 40, 0);
        Arc::new(self.builder.seal_part().unwrap())
    }
}

/// Text that zstd cannot make much smaller.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b' ' + (state % 90) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn schema(number: usize) -> TableSchema {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty, nullable: false };
    TableSchema {
        name: TableName::new("shop", format!("t{number}")),
        columns: vec![
            column("id", ColumnType::Int { bits: 64, unsigned: true }),
            column("text", ColumnType::VarChar { chars: 10_000 }),
        ],
        primary_key: vec![0],
        unique_keys: Vec::new(),
    }
}

/// What a log covers when it mines `name` and a table that is paused, and has lost some of its history.
fn tables(name: &str) -> Coverage {
    let set = |name: &str| TableSet {
        database: "shop".to_owned(),
        include: vec![Pattern(name.to_owned())],
        exclude: Vec::new(),
    };
    let mut coverage = Coverage::of(TableSelection::of(set(name)));
    coverage.tables.add(&set("big"));
    let since = Position { gtid: "0-1-7".to_owned(), file: "binlog.000001".to_owned(), offset: 77 };
    coverage.paused.push(Paused {
        tables: set("b*"),
        of: coverage.tables.clone(),
        since: since.clone(),
        within: 3,
        since_ms: 1,
        resuming: true,
        failed: None,
    });
    let to = Position { offset: 78, ..since.clone() };
    coverage.add_gap(Gap { tables: Some(set("big")), from: since, to, at_ms: 2 });
    coverage
}

fn everything() -> Retention {
    Retention { age: None, size: Some(0) }
}

#[track_caller]
fn assert_same(found: &[Arc<Block>], expected: &[Arc<Block>]) {
    let facts = |block: &Arc<Block>| {
        let block = block.as_ref().clone();
        (block.first, block.count, block.changes, block.first_time_ms, block.commit, block.payload)
    };
    let (found, expected): (Vec<_>, Vec<_>) =
        (found.iter().map(facts).collect(), expected.iter().map(facts).collect());
    assert!(found == expected, "read {} blocks, expected {}", found.len(), expected.len());
}

/// A log of some transactions, each appended for itself, that was closed.
async fn small_log(dir: &Path, segment_bytes: u64, count: usize) -> (Ledger, Vec<Arc<Block>>) {
    let log = embedded(dir, segment_bytes).open("shop").await.unwrap();
    let mut ledger = Ledger::default();
    let mut blocks = Vec::new();
    for _ in 0..count {
        let block = ledger.transaction(2);
        log.append(vec![block.clone()]).await.unwrap();
        blocks.push(block);
    }
    (ledger, blocks)
}

/// Appends some transactions at once.
async fn append(dir: &Path, mut ledger: Ledger, count: usize) -> Vec<Arc<Block>> {
    let log = embedded(dir, 1 << 20).open("shop").await.unwrap();
    let blocks: Vec<_> = (0..count).map(|_| ledger.transaction(2)).collect();
    log.append(blocks.clone()).await.unwrap();
    blocks
}

async fn open_and_read(dir: &Path, segment_bytes: u64) -> Result<Vec<Arc<Block>>, Kind> {
    let log = embedded(dir, segment_bytes).open("shop").await.map_err(|error| error.kind())?;
    let mut blocks = log.read(log.stat().horizon, usize::MAX).await.map_err(|error| error.kind())?;
    // What lies before damage is read, and the damage is told then.
    while let Some(last) = blocks.last().filter(|last| last.end() < log.tail().next) {
        blocks.extend(log.read(last.end(), usize::MAX).await.map_err(|error| error.kind())?);
    }
    Ok(blocks)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn segments(folder: &Path) -> Vec<String> {
    names(folder, ".seg")
}

fn names(folder: &Path, ending: &str) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(ending))
        .collect();
    names.sort();
    names
}

fn spawn_child(test: &str, dir: &Path, file_limit: Option<&str>) -> Child {
    let binary: PathBuf = std::env::current_exe().unwrap();
    let mut command = match file_limit {
        // Without the trap the kernel would end the process instead of failing the write.
        Some(limit) => {
            let mut shell = Command::new("sh");
            let script = r#"trap '' XFSZ; ulimit -f "$1"; shift; exec "$@""#;
            shell.args(["-c", script, "sh", limit]).arg(binary);
            shell
        }
        None => Command::new(binary),
    };
    command
        .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Everything acknowledged is there, once and in order.
fn check_ledger(dir: &Path, acknowledged: Seq) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (tail, blocks) = runtime.block_on(async {
        let log = embedded(dir, 8_000).open("shop").await.unwrap();
        (log.tail(), log.read(Seq(0), usize::MAX).await.unwrap())
    });
    assert!(tail.next >= acknowledged, "{} was acknowledged, {} is there", acknowledged, tail.next);
    let table = schema(0);
    let (mut next, mut id) = (Seq(0), 0u64);
    for block in &blocks {
        for entry in block.entries() {
            let (seq, entry) = entry.unwrap();
            assert_eq!(seq, next);
            next = seq.plus(1);
            match entry {
                Entry::Change(change) => {
                    let row = change.after_view(&table).unwrap();
                    assert_eq!(row.get(0), Some(Value::UInt(id)));
                    id += 1;
                }
                Entry::Commit { offset, .. } => assert_eq!(offset, id),
                _ => {}
            }
        }
    }
    assert_eq!(next, tail.next);
    assert_eq!(tail.commit.map(|commit| commit.position.offset), Some(id));
}
