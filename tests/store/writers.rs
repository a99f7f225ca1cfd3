//! Writers of a log in MongoDB that lose their server, their answers, or the log; and those who take it over.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::error::{Kind, Result};
use lode::model::block::{Block, Entry};
use lode::model::position::Seq;
use lode::store::mongodb::{Mongodb, Options};
use lode::store::{Log, LogReader, LogStore, Tail};
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use uuid::Uuid;

use super::in_mongodb::Place;
use super::support::mongodb::{MongoDb, shared_mongodb};
use super::support::proxy::Proxy;
use super::{CHILD, Ledger, assert_same};

/// How long anything may take that is waited for.
const LONGEST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_answer_that_is_lost_doubles_nothing_and_loses_nothing() {
    let server = shared_mongodb();
    let proxy = Proxy::to(server.port()).await;
    let database = server.database();
    let store = Mongodb::new(server.connection_on(proxy.port(), &database), Options::default()).unwrap();
    let log = store.open("shop").await.unwrap();
    let mut appended = append_some(log.as_ref(), 2).await;
    // The command and its collection stand in the bytes of a request.
    for command in
        ["\x02insert\0\x05\0\0\0shop\0", "\x02update\0\x0b\0\0\0shop.state\0", "\x02find\0\x05\0\0\0shop\0"]
    {
        // The driver tries once more by itself, so that two lost answers are one that it does not get over.
        for times in 1..=4 {
            proxy.lose_answers(command.as_bytes(), times);
            let began = Instant::now();
            loop {
                let mut ledger = Ledger::resume(log.as_ref());
                let blocks = vec![ledger.transaction(3), ledger.transaction(2)];
                match log.append(blocks.clone()).await {
                    Ok(tail) => {
                        assert_eq!(tail.next, blocks[1].end());
                        appended += 2;
                        break;
                    }
                    Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{command}: {error:?}"),
                }
                assert!(began.elapsed() < LONGEST, "{command} {times}");
            }
        }
    }
    let tail = log.tail();
    assert!(check_dense(log.as_ref()).await >= appended);
    drop(log);
    let log = store.open("shop").await.unwrap();
    assert_eq!(log.tail(), tail);
    check_dense(log.as_ref()).await;
}

#[tokio::test]
async fn parts_of_a_transaction_whose_answer_is_lost_come_once() {
    let server = shared_mongodb();
    let proxy = Proxy::to(server.port()).await;
    let store =
        Mongodb::new(server.connection_on(proxy.port(), &server.database()), Options::default()).unwrap();
    let log = store.open("shop").await.unwrap();
    append_some(log.as_ref(), 1).await;
    let began = Instant::now();
    let mut losses = 0;
    loop {
        let mut ledger = Ledger::resume(log.as_ref());
        let parts = [ledger.part(4), ledger.part(4), ledger.transaction(1)];
        if losses < 3 {
            proxy.lose_answers(b"\x02insert\0\x05\0\0\0shop\0", 2);
        }
        losses += 1;
        let mut outcome = Ok(log.tail());
        for part in parts {
            if outcome.is_ok() {
                outcome = log.append(vec![part]).await;
            }
        }
        match outcome {
            Ok(tail) => {
                assert_eq!(tail, log.tail());
                break;
            }
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error:?}"),
        }
        assert!(began.elapsed() < LONGEST);
    }
    assert!(losses > 1, "no answer was lost");
    assert_eq!(check_dense(log.as_ref()).await, 2 + 9);
}

#[tokio::test]
async fn what_a_former_writer_sends_late_is_never_seen_and_never_in_the_way() {
    let place = Place::new();
    let server = shared_mongodb();
    let proxy = Proxy::to(server.port()).await;
    let lease = Duration::from_secs(1);
    let options = Options { lease, ..Options::default() };
    let database = place.state.namespace().db;
    let late = Mongodb::new(server.connection_on(proxy.port(), &database), options.clone()).unwrap();
    let early = late.open("shop").await.unwrap();
    append_some(early.as_ref(), 3).await;
    seen_as_elsewhere(&place.state).await;

    // As if the network between the first writer and the server were very slow.
    let mut ledger = Ledger::resume(early.as_ref());
    let blocks: Vec<_> = (0..40).map(|_| ledger.transaction(50)).collect();
    let appending = tokio::spawn({
        let early = Arc::clone(&early);
        proxy.hold(true);
        async move { early.append(blocks).await }
    });
    let other = Mongodb::new(server.connection(&database), options).unwrap();
    let log = other.open("shop").await.expect("the lease of who shows no sign of life ends");
    append_some(log.as_ref(), 2).await;
    proxy.hold(false);
    let error = appending.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced, "{error:?}");
    assert!(error.to_string().contains("another lode has taken over the log: process"), "{error}");
    let error = early.append(vec![Ledger::resume(early.as_ref()).transaction(1)]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced, "{error:?}");

    assert_eq!(check_dense(log.as_ref()).await, 2 * 5);
    let left = place.blocks.count_documents(doc! { "fence": 1 }).await.unwrap();
    assert!(left > 3, "{left}: what came late is behind the end");
    // The second writer needs the numbers that were taken.
    append_some(log.as_ref(), 60).await;
    assert_eq!(check_dense(log.as_ref()).await, 2 * 65);
    let seen = log.read(Seq(0), usize::MAX).await.unwrap();
    drop((log, early));
    let log = other.open("shop").await.unwrap();
    assert_same(&log.read(Seq(0), usize::MAX).await.unwrap(), &seen);
    assert_eq!(place.blocks.count_documents(doc! { "fence": 1 }).await.unwrap(), 3, "the rest is gone");
}

#[tokio::test]
async fn documents_of_former_writers_are_replaced_wherever_they_lie() {
    let place = Place::new();
    let log = place.open().await;
    append_some(log.as_ref(), 4).await;
    drop(log);
    let log = place.open().await;
    let of_former = place.blocks.find_one(doc! { "_id": 3 }).await.unwrap().unwrap();
    // Anywhere behind the end, with the numbers of entries that others have; also parts, and notes.
    for number in 4..12_i64 {
        let mut copy = of_former.clone();
        copy.insert("_id", number);
        copy.insert("last", number * 2);
        place.blocks.insert_one(copy).await.unwrap();
    }
    place.blocks.insert_one(doc! { "_id": "00000000000000000005/0001", "fence": 1_i64 }).await.unwrap();
    place
        .state
        .insert_one(doc! { "_id": 1_i64, "fence": 1_i64, "seq": 9_i64, "coverage": "[]" })
        .await
        .unwrap();
    append_some(log.as_ref(), 3).await;
    let mut ledger = Ledger::resume(log.as_ref());
    ledger.changes(1, 20 << 20, 1);
    ledger.commit();
    log.append(vec![Arc::new(ledger.builder.seal().unwrap())]).await.unwrap();
    assert_eq!(check_dense(log.as_ref()).await, 15);
    assert_eq!(log.schemas().iter().count(), 2);
    let tail = log.tail();
    drop(log);
    let log = place.open().await;
    assert_eq!((log.tail(), check_dense(log.as_ref()).await), (tail, 15));
    assert_eq!(log.schemas().iter().count(), 2);
}

#[tokio::test]
async fn a_writer_that_shows_itself_keeps_the_log() {
    let place = Place::new();
    let lease = Duration::from_millis(900);
    let server = shared_mongodb();
    let database = place.state.namespace().db;
    let options = Options { lease, ..Options::default() };
    let store = Mongodb::new(server.connection(&database), options.clone()).unwrap();
    let log = store.open("shop").await.unwrap();
    seen_as_elsewhere(&place.state).await;
    let error = store.open("shop").await.err().unwrap();
    assert_eq!(error.kind(), Kind::Refused);
    let pid = std::process::id();
    assert!(error.to_string().contains(&format!("process {pid} on ")), "{error}");
    assert!(error.next_step().unwrap().contains("stop that one first"), "{error:?}");
    append_some(log.as_ref(), 1).await;
    // Readers are welcome.
    assert_eq!(check_dense(store.open_reader("shop").await.unwrap().as_ref()).await, 2);
    // Who has ended, and could not say so, has the log until the lease ends.
    drop(log);
    tokio::time::sleep(lease / 3).await;
    let lease = doc! {
        "session": Uuid::new_v4().to_string(), "process": Uuid::new_v4().to_string(), "host": "elsewhere",
        "machine": "elsewhere", "pid": 1_i64, "started": 0_i64,
        "since": DateTime::now(), "renewed": DateTime::now(),
    };
    place.state.update_one(doc! { "_id": "head" }, doc! { "$set": { "lease": lease } }).await.unwrap();
    let began = Instant::now();
    let log = store.open("shop").await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    append_some(log.as_ref(), 1).await;
    assert_eq!(check_dense(log.as_ref()).await, 4);
}

/// Who looks next must take the holder for a process of another machine.
async fn seen_as_elsewhere(state: &Collection<Document>) {
    let change = doc! { "$set": {
        "lease.process": Uuid::new_v4().to_string(), "lease.machine": "elsewhere", "lease.started": 0_i64,
    } };
    state.update_one(doc! { "_id": "head" }, change).await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_dropped_or_made_anew_takes_no_append() {
    for way in ["blocks", "state", "both", "made anew", "last block", "fields"] {
        let place = Place::new();
        let log = place.open().await;
        append_some(log.as_ref(), 3).await;
        let reader = place.store.open_reader("shop").await.unwrap();
        if ["blocks", "both", "made anew"].contains(&way) {
            place.blocks.drop().await.unwrap();
        }
        if ["state", "both", "made anew"].contains(&way) {
            place.state.drop().await.unwrap();
        }
        let mut heir = None;
        match way {
            "made anew" => heir = Some(place.open().await),
            "last block" => drop(place.blocks.delete_one(doc! { "_id": 2 }).await.unwrap()),
            "fields" => {
                let change = doc! { "$set": { "next": 1_i64 } };
                place.state.update_one(doc! { "_id": "head" }, change).await.unwrap();
            }
            _ => {}
        }
        for _ in 0..2 {
            let error = log.append(vec![Ledger::resume(log.as_ref()).transaction(1)]).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Gap, "{way}: {error:?}");
            assert!(error.next_step().is_some(), "{way}: {error:?}");
        }
        if way == "state" || way == "both" || way == "made anew" {
            let grown = tokio::time::timeout(LONGEST, reader.grown(reader.tail().next)).await.unwrap();
            assert_eq!(grown.unwrap_err().kind(), Kind::Gap, "{way}");
        }
        if let Some(heir) = heir {
            append_some(heir.as_ref(), 2).await;
            assert_eq!(check_dense(heir.as_ref()).await, 4);
            assert_ne!(heir.epoch(), log.epoch());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_frozen_or_restarted_costs_nothing() {
    let mut server = MongoDb::start().await;
    let threads = std::num::NonZeroUsize::new(3).unwrap();
    let options = Options { threads, ..Options::default() };
    let store = Mongodb::new(server.connection("logs"), options).unwrap();
    let log = store.open("shop").await.unwrap();
    append_some(log.as_ref(), 1).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            let (mut appended, mut failed) = (0_u32, 0_u32);
            while !*stopped.borrow() {
                match append_batch(log.as_ref()).await {
                    Ok(_) => appended += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                        failed += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
            (appended, failed)
        }
    });
    for round in 0..5 {
        tokio::time::sleep(Duration::from_millis(300 + 37 * round)).await;
        match round % 3 {
            0 => {
                server.kill();
                server.start_again().await;
            }
            1 => {
                server.freeze();
                tokio::time::sleep(Duration::from_millis(500)).await;
                server.thaw();
            }
            _ => server.restart().await,
        }
        let before = log.tail().next;
        let began = Instant::now();
        while log.tail().next == before {
            assert!(began.elapsed() < LONGEST, "appending goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.send_replace(true);
    let (appended, failed) = writing.await.unwrap();
    println!("{appended} appends, {failed} failed");
    let changes = check_dense(log.as_ref()).await;
    assert!(changes >= u64::from(appended) * 20 && log.tail().commit.unwrap().position.offset == changes);
}

/// Transactions of which some end in the middle of what is appended, and some do not end.
async fn append_batch(log: &dyn Log) -> Result<Tail> {
    let mut ledger = Ledger::resume(log);
    log.append(vec![ledger.transaction(5), ledger.part(5)]).await?;
    log.append(vec![ledger.part(5), ledger.transaction(5)]).await
}

#[test]
fn a_process_that_is_killed_leaves_the_log_to_the_next_at_once() {
    let server = shared_mongodb();
    let database = server.database();
    let mut acknowledged = Seq(0);
    for _ in 0..3 {
        let mut child = spawn_writer(server.port(), &database);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let began = Instant::now();
        while seen < 20 {
            let line = lines.next().expect("the child appends").unwrap();
            if let Some(next) = line.strip_prefix("next ") {
                acknowledged = Seq(next.parse().unwrap());
                seen += 1;
            }
        }
        println!("20 appends after {:?}", began.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Mongodb::new(server.connection(&database), Options::default()).unwrap();
        let began = Instant::now();
        let log = store.open("shop").await.unwrap();
        assert!(began.elapsed() < Options::default().lease / 2, "{:?}", began.elapsed());
        assert!(log.tail().next >= acknowledged, "{} < {acknowledged}", log.tail().next);
        check_dense(log.as_ref()).await;
    });
}

fn spawn_writer(port: u16, database: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "writers::child_appends_to_mongodb",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, format!("{port} {database}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "runs as a child process that is killed"]
async fn child_appends_to_mongodb() {
    let Ok(place) = std::env::var(CHILD) else { return };
    let (port, database) = place.split_once(' ').unwrap();
    let connection = MongoDb::at(port.parse().unwrap()).connection(database);
    let store = Mongodb::new(connection, Options::default()).unwrap();
    let log = store.open("shop").await.unwrap();
    loop {
        println!("next {}", append_batch(log.as_ref()).await.unwrap().next);
    }
}

/// Appends `count` transactions of two changes each.
async fn append_some(log: &dyn Log, count: u64) -> u64 {
    let mut ledger = Ledger::resume(log);
    for _ in 0..count {
        log.append(vec![ledger.transaction(2)]).await.unwrap();
    }
    count
}

/// Every entry and every change of the ledger is there once and in order; gives the number of changes.
async fn check_dense(log: &dyn LogReader) -> u64 {
    let (mut next, mut changes) = (Seq(0), 0);
    while next < log.tail().next {
        let blocks: Vec<Arc<Block>> = log.read(next, 100_000).await.unwrap();
        for block in &blocks {
            assert_eq!(block.first, next);
            for entry in block.entries() {
                match entry.unwrap().1 {
                    Entry::Change(change) => {
                        // The id lies behind the flags and the bitmap of NULLs.
                        let id = u64::from_le_bytes(change.after.unwrap()[2..10].try_into().unwrap());
                        assert_eq!(id, changes);
                        changes += 1;
                    }
                    Entry::Commit { offset, .. } => assert_eq!(offset, changes),
                    _ => {}
                }
            }
            next = block.end();
        }
    }
    assert_eq!(next, log.tail().next);
    changes
}
