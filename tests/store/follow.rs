//! Readers beside the writer: in its process and in others.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lode::error::Kind;
use lode::model::block::Block;
use lode::model::position::Seq;
use lode::store::{LogReader, LogStore};
use tempfile::TempDir;

use super::{
    Ledger, append, assert_same, copy, embedded, everything, names, small_log, spawn_child, stores, tables,
};

#[tokio::test]
async fn a_log_is_read_while_somebody_has_it_open() {
    for (_dir, store) in stores() {
        assert_eq!(store.list().await.unwrap(), Vec::<String>::new());
        assert_eq!(store.open_reader("shop").await.err().unwrap().kind(), Kind::Refused);
        assert_eq!(store.list().await.unwrap(), Vec::<String>::new(), "a reader makes nothing");

        let log = store.open("shop").await.unwrap();
        let early = store.open_reader("shop").await.unwrap();
        assert_eq!((early.tail(), early.source_id()), (log.tail(), None));
        log.bind_source("server-1").await.unwrap();
        let mut ledger = Ledger::default();
        ledger.builder.coverage(&tables("t0"));
        let blocks: Vec<_> = (0..20).map(|_| ledger.transaction(3)).collect();
        for group in blocks.chunks(3) {
            log.append(group.to_vec()).await.unwrap();
        }
        assert_eq!(early.grown(Seq(0)).await.unwrap(), log.tail());
        let late = store.open_reader("shop").await.unwrap();
        for reader in [&early, &late] {
            assert_eq!((reader.epoch(), reader.tail()), (log.epoch(), log.tail()));
            assert_eq!(reader.source_id().as_deref(), Some("server-1"));
            assert_eq!(reader.coverage(), tables("t0"));
            assert_eq!(reader.schemas().iter().count(), 1);
            assert_eq!(reader.stat(), log.stat());
            assert_same(&read_all(reader.as_ref()).await.unwrap(), &blocks);
            let commit = blocks[7].commit.clone().unwrap();
            assert_eq!(reader.find_position(&commit.position).await.unwrap(), Some(blocks[7].end()));
            assert_eq!(reader.find_time(commit.time_ms).await.unwrap(), blocks[7].first);
            assert_eq!(reader.read(reader.tail().next.plus(1), 1).await.unwrap_err().kind(), Kind::Gap);
        }
        store.open("other").await.unwrap();
        assert_eq!(store.list().await.unwrap(), ["other", "shop"]);
    }
}

#[tokio::test]
async fn readers_wake_when_a_transaction_ends_and_not_before() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        let mut ledger = Ledger::default();
        let whole = ledger.transaction(3);
        let (part, rest) = (ledger.part(5), ledger.transaction(1));
        let other = store.open_reader("shop").await.unwrap();
        let readers: [&dyn LogReader; 2] = [log.as_ref(), other.as_ref()];
        let soon = Duration::from_millis(30);
        for reader in readers {
            assert!(tokio::time::timeout(soon, reader.grown(Seq(0))).await.is_err(), "the log is empty");
        }
        log.append(vec![whole.clone()]).await.unwrap();
        log.append(vec![part]).await.unwrap();
        for reader in readers {
            assert_eq!(reader.grown(Seq(0)).await.unwrap().next, whole.end());
            assert!(tokio::time::timeout(soon, reader.grown(whole.end())).await.is_err(), "it has not ended");
            assert!(reader.read(whole.end(), 1).await.unwrap().is_empty());
        }
        let ((), first, second) = tokio::join!(
            async {
                tokio::time::sleep(soon).await;
                log.append(vec![rest.clone()]).await.unwrap();
            },
            log.grown(whole.end()),
            other.grown(whole.end()),
        );
        assert_eq!((first.unwrap().next, second.unwrap().next), (rest.end(), rest.end()));
    }
}

#[tokio::test]
async fn a_reader_leaves_every_file_as_it_is() {
    let dir = TempDir::new().unwrap();
    let (ledger, _) = small_log(dir.path(), 300, 12).await;
    append(dir.path(), ledger, 1).await;
    let folder = dir.path().join("shop");
    for name in names(&folder, ".idx") {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let state = || -> Vec<_> {
        names(&folder, "").into_iter().map(|name| (fs::read(folder.join(&name)).unwrap(), name)).collect()
    };
    let before = state();
    let reader = embedded(dir.path(), 300).open_reader("shop").await.unwrap();
    reader.grown(Seq(0)).await.unwrap();
    assert_eq!(read_all(reader.as_ref()).await.unwrap().len(), 13);
    reader.find_time(0).await.unwrap();
    assert!(state() == before);
}

#[tokio::test]
async fn a_write_that_is_torn_at_any_byte_is_not_there_yet() {
    let dir = TempDir::new().unwrap();
    let (ledger, blocks) = small_log(dir.path(), 1 << 20, 3).await;
    let before = TempDir::new().unwrap();
    copy(&dir.path().join("shop"), &before.path().join("shop"));
    append(dir.path(), ledger, 1).await;
    let name = names(&before.path().join("shop"), ".seg").pop().unwrap();
    let file = before.path().join("shop").join(&name);
    let from = fs::metadata(&file).unwrap().len() as usize;
    let whole = fs::read(dir.path().join("shop").join(&name)).unwrap();
    for len in from..=whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        let reader = embedded(before.path(), 1).open_reader("shop").await.unwrap();
        assert_same(&read_all(reader.as_ref()).await.unwrap(), &blocks);
        assert_eq!(reader.grown(Seq(0)).await.unwrap().next, blocks[2].end());
    }
    // Now it is acknowledged.
    let reader = embedded(before.path(), 1).open_reader("shop").await.unwrap();
    fs::copy(dir.path().join("shop/acknowledged"), before.path().join("shop/acknowledged")).unwrap();
    reader.grown(blocks[2].end()).await.unwrap();
    assert_eq!(read_all(reader.as_ref()).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_lost_hint_hides_no_more_than_the_last_append() {
    for lost in [&b""[..], &[0; 12], b"nonsense"] {
        let dir = TempDir::new().unwrap();
        let (_, blocks) = small_log(dir.path(), 500, 9).await;
        fs::write(dir.path().join("shop/acknowledged"), lost).unwrap();
        let reader = embedded(dir.path(), 500).open_reader("shop").await.unwrap();
        assert_same(&read_all(reader.as_ref()).await.unwrap(), &blocks[..8]);
    }
}

#[tokio::test]
async fn what_lies_before_damage_is_read() {
    let dir = TempDir::new().unwrap();
    let (_, blocks) = small_log(dir.path(), 400, 12).await;
    let folder = dir.path().join("shop");
    let files = names(&folder, ".seg");
    assert!(files.len() > 2);
    for (at, file) in files.iter().enumerate() {
        let whole = fs::read(folder.join(file)).unwrap();
        // In the last block's header, in its body, and the last block gone.
        let last = blocks.iter().rposition(|block| {
            files.get(at + 1).is_none_or(|next| block.first.0 < next[..20].parse().unwrap())
        });
        let last = last.unwrap();
        let header = (0..whole.len()).rev().find(|at| whole[*at..].starts_with(b"\x8blodeBK\n")).unwrap();
        for damage in [header + 20, whole.len() - 3] {
            let mut bytes = whole.clone();
            bytes[damage] ^= 4;
            fs::write(folder.join(file), &bytes).unwrap();
            check_readable(dir.path(), &blocks[..last]).await;
        }
        fs::write(folder.join(file), &whole[..header]).unwrap();
        check_readable(dir.path(), &blocks[..last]).await;
        fs::write(folder.join(file), &whole).unwrap();
    }
    fs::remove_file(folder.join(&files[1])).unwrap();
    let first = blocks.iter().filter(|block| block.first.0 < files[1][..20].parse().unwrap()).count();
    check_readable(dir.path(), &blocks[..first]).await;
}

async fn check_readable(dir: &Path, blocks: &[Arc<Block>]) {
    let reader = embedded(dir, 1).open_reader("shop").await.unwrap();
    let (mut next, mut found) = (Seq(0), Vec::new());
    let error = loop {
        match reader.read(next, 1_000).await {
            Ok(read) => {
                next = read.last().expect("the tail is not reached").end();
                found.extend(read);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::Corrupt, "{error:?}");
    assert_same(&found, blocks);
}

#[tokio::test]
async fn a_log_that_is_deleted_or_made_again_is_a_gap() {
    let dir = TempDir::new().unwrap();
    small_log(dir.path(), 300, 5).await;
    let store = embedded(dir.path(), 300);
    let reader = store.open_reader("shop").await.unwrap();
    fs::remove_dir_all(dir.path().join("shop")).unwrap();
    assert_eq!(reader.grown(Seq(0)).await.unwrap_err().kind(), Kind::Gap);
    small_log(dir.path(), 300, 9).await;
    let error = reader.grown(Seq(0)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Gap);
    assert!(error.message().contains("made again"), "{error}");
}

#[tokio::test]
async fn a_reader_that_retention_overtakes_is_told() {
    let dir = TempDir::new().unwrap();
    let store = embedded(dir.path(), 300);
    let log = store.open("shop").await.unwrap();
    let mut ledger = Ledger::default();
    let reader = store.open_reader("shop").await.unwrap();
    for round in 0..5 {
        for _ in 0..10 {
            log.append(vec![ledger.transaction(2)]).await.unwrap();
        }
        let next = reader.tail().next;
        reader.grown(next).await.unwrap();
        if round == 3 {
            // Everything that the reader knows goes, and it hears of what came only later.
            for _ in 0..10 {
                log.append(vec![ledger.transaction(2)]).await.unwrap();
            }
        }
        let horizon = log.retain(&everything(), None).await.unwrap().horizon;
        let error = reader.read(next, 1).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Gap, "{error:?}");
        reader.grown(Seq(0)).await.unwrap();
        assert_eq!(reader.tail(), log.tail());
        if round == 3 {
            assert_eq!(reader.stat(), log.stat());
        }
        let read = reader.read(horizon, usize::MAX).await.unwrap();
        assert_eq!(read.last().unwrap().end(), log.tail().next);
    }
}

#[test]
fn a_reader_follows_writers_that_are_killed() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut reader: Option<Arc<dyn LogReader>> = None;
    let mut next = Seq(0);
    for round in 0..8u64 {
        let mut child = spawn_child("child_appends_until_killed", dir.path(), None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 2 + (round * 29) % 50;
        while left > 0 {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            let Some(acknowledged) = line.strip_prefix("ack ") else { continue };
            let acknowledged = Seq(acknowledged.parse().unwrap());
            runtime.block_on(async {
                if reader.is_none() {
                    reader = Some(embedded(dir.path(), 1).open_reader("shop").await.unwrap());
                }
                let reader = reader.as_ref().unwrap();
                // What was acknowledged is visible, and reading goes on where it ended.
                let tail = reader.grown(Seq(acknowledged.0 - 1)).await.unwrap();
                assert_eq!(Some(tail.next), tail.commit.is_some().then(|| reader.tail().next));
                while next < tail.next {
                    for block in reader.read(next, 10_000).await.unwrap() {
                        assert_eq!(block.first, next);
                        next = block.end();
                    }
                }
                assert_eq!(next, tail.next);
            });
            left -= 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // What the reader was shown is what the next writer finds.
    super::check_ledger(dir.path(), next);
}

async fn read_all(reader: &dyn LogReader) -> Result<Vec<Arc<Block>>, Kind> {
    let mut next = reader.stat().horizon;
    let mut blocks = Vec::new();
    while next < reader.tail().next {
        let read = reader.read(next, 1_000).await.map_err(|error| error.kind())?;
        next = read.last().expect("the tail is not reached").end();
        blocks.extend(read);
    }
    Ok(blocks)
}
