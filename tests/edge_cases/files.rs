//! Binlog files that are damaged, incomplete or strange. Nothing of them makes lode panic, hang, or read less than there is
//! without saying so.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lode::error::{Error, Kind};
use lode::model::block::{BlockBuilder, Entry, SchemaBook};
use lode::model::connection::{Connection, Endpoint};
use lode::model::position::Seq;
use lode::model::row::RowView;
use lode::model::spec::{Settings, Start};
use lode::source::binlog::BinlogFiles;
use lode::source::{Progress, Source, SourceKind};

use crate::reading::{Reading, selection};
use crate::support::servers::{MariaDb, MySql, Server};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/binlog");
const HEADER: usize = 19;

#[tokio::test]
async fn a_missing_file_between_others_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "shop.000001", &sample(1));
    put(folder.path(), "shop.000003", &sample(2));
    let error = read(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Gap);
    assert!(error.to_string().contains("shop.000003"), "{error}");
}

#[tokio::test]
async fn file_numbers_grow_a_digit() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a.b.c1.999999", &sample(1));
    put(folder.path(), "a.b.c1.1000000", &sample(2));
    assert_eq!(read(folder.path()).await.unwrap(), read(Path::new(SAMPLE)).await.unwrap());
}

#[tokio::test]
async fn files_of_two_logs_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "shop.000001", &sample(1));
    put(folder.path(), "shop.000002", &sample(2));
    put(folder.path(), "shop2.000003", &sample(1));
    let error = read(folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("several logs"), "{error}");
    let mut settings = Settings::default();
    settings.0.insert("prefix", lode::model::spec::Setting::Text("shop".into()));
    let one = read_with(folder.path(), settings).await.unwrap();
    assert_eq!(one, read(Path::new(SAMPLE)).await.unwrap());
}

#[tokio::test]
async fn a_file_that_was_cut_off_before_another_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let first = sample(1);
    put(folder.path(), "shop.000002", &sample(2));
    let events = events(&first);
    let places = events.iter().map(|event| event.start).chain([first.len()]);
    for (event, next) in events.iter().zip(places.skip(1)) {
        for len in [event.start + 5, event.start + HEADER, next - 1] {
            put(folder.path(), "shop.000001", &first[..len]);
            // A file of less than its first event cannot be begun at all.
            let error = read(folder.path()).await.unwrap_err();
            assert!(matches!(error.kind(), Kind::Gap | Kind::Environment | Kind::Data), "at {len}: {error}");
        }
    }
    // Copied while the server wrote to it, up to the end of an event.
    put(folder.path(), "shop.000001", &first[..events.last().unwrap().start]);
    let error = read(folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("copied"), "{error}");
}

#[tokio::test]
async fn a_damaged_size_is_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = sample(1);
    let at = events(&bytes)[20].start;
    bytes[at + 9..at + 13].copy_from_slice(&900_000_000_u32.to_le_bytes());
    put(folder.path(), "shop.000001", &bytes);
    let error = read(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.to_string().contains("impossible size"), "{error}");
}

#[tokio::test]
async fn strange_events_stop_the_reader_unless_they_may_be_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let whole = read(Path::new(SAMPLE)).await.unwrap();
    put(folder.path(), "shop.000002", &sample(2));
    for (kind, flags, expected) in [
        (26, 0, Some((Kind::Gap, "incident"))),
        (200, 0, Some((Kind::Data, "200"))),
        (200, 0x80, None),
        (39, 0, Some((Kind::Data, "table map"))),
        (42, 0, Some((Kind::Data, "tag"))),
        (165, 0, Some((Kind::Data, "log_bin_compress"))),
        (164, 0, Some((Kind::Data, "encrypted"))),
        (3, 0, None),
        (27, 0x20, None),
        (41, 0x20, None),
    ] {
        let bytes = sample(1);
        // Behind the first transaction, where a reader is between two.
        let all = events(&bytes);
        let first = all.iter().find(|event| event.kind == 16).unwrap();
        let at = first.start + first.size;
        let mut event = vec![0; HEADER];
        event[4] = kind;
        event[17..19].copy_from_slice(&u16::to_le_bytes(flags));
        event.extend_from_slice(&[0; 40]);
        event.extend_from_slice(&[0; 4]);
        let size = event.len() as u32;
        event[9..13].copy_from_slice(&size.to_le_bytes());
        sum(&mut event);
        let mut with = bytes[..at].to_vec();
        with.extend_from_slice(&event);
        with.extend_from_slice(&bytes[at..]);
        put(folder.path(), "shop.000001", &with);
        match (read(folder.path()).await, expected) {
            (Ok(text), None) => assert_eq!(text, whole, "event {kind}"),
            (Err(error), Some((wanted, word))) => {
                assert_eq!(error.kind(), wanted, "{error}");
                assert!(
                    error.to_string().to_lowercase().contains(word)
                        || error.next_step().unwrap_or_default().contains(word),
                    "{error}"
                );
            }
            (Ok(_), Some(_)) => panic!("event {kind} was passed over"),
            (Err(error), None) => panic!("event {kind}: {error}"),
        }
    }
}

#[tokio::test]
async fn mutated_files_give_errors_and_nothing_worse() {
    fuzz(&sample(1), 600).await;
}

/// Every type of MySQL, compressed transactions among them, read from files and mutated.
#[tokio::test]
async fn files_of_mysql_are_read_and_mutated() {
    let server = MySql::start(&["--binlog-row-metadata=FULL", "--binlog-transaction-compression=ON"]).await;
    record(&server, &["numbers.sql", "json.mysql.sql"]).await;
    server.run(&["SET GLOBAL binlog_transaction_compression = OFF", "FLUSH BINARY LOGS"]).await;
    record(&server, &["texts.sql", "times.sql"]).await;
    let folder = copy_log(&server);
    let text = read(folder.path()).await.unwrap();
    assert!(text.lines().count() > 20);
    let mut reading = reading(folder.path()).await;
    reading.go_on().await.unwrap();
    for table in ["numbers", "texts", "times", "docs"] {
        assert_eq!(reading.copy.sorted(table).len() as u64, count(&server, table).await, "{table}");
    }
    for file in ["binlog.000001", "binlog.000002"] {
        if let Ok(bytes) = fs::read(folder.path().join(file)) {
            fuzz(&bytes, 300).await;
        }
    }
}

/// What a server leaves that was killed is read up to its end, and on in the next file.
#[tokio::test]
async fn files_of_a_server_that_was_killed() {
    for mut server in [
        MariaDb::start(&["--binlog-row-metadata=FULL"]).await,
        MySql::start(&["--binlog-row-metadata=FULL"]).await,
    ] {
        server
            .run(&[
                "CREATE DATABASE shop",
                "CREATE TABLE shop.t (id INT PRIMARY KEY)",
                "INSERT INTO shop.t VALUES (1)",
            ])
            .await;
        server.kill();
        server.start_again().await;
        server.run(&["INSERT INTO shop.t VALUES (2)"]).await;
        server.stop();
        let folder = copy_log(&server);
        let mut reading = reading(folder.path()).await;
        assert_eq!(reading.go_on().await.unwrap().sorted("t"), [["1"], ["2"]]);
    }
}

async fn count(server: &Server, table: &str) -> u64 {
    server.value(&format!("SELECT COUNT(*) FROM shop.{table}")).await.parse().unwrap()
}

async fn record(server: &Server, scripts: &[&str]) {
    server.run(&["CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4"]).await;
    for script in scripts {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/types").join(script);
        let text = fs::read_to_string(path).unwrap();
        let mut statements = vec!["USE shop", "SET NAMES utf8mb4, time_zone = '+00:00'"];
        statements.extend(text.split(";\n").filter(|statement| !statement.trim().is_empty()));
        server.run(&statements).await;
    }
}

fn copy_log(server: &Server) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(server.data()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("binlog.0") && !name.contains("state") {
            fs::copy(entry.path(), folder.path().join(name)).unwrap();
        }
    }
    folder
}

/// Changes bytes of events, and repairs the checksums, so that every decoder gets to see them.
async fn fuzz(bytes: &[u8], rounds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let events = events(bytes);
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ bytes.len() as u64);
    let mut errors = 0;
    for round in 0..rounds {
        let mut mutated = bytes.to_vec();
        for _ in 0..1 + random.below(3) {
            let event = &events[random.below(events.len())];
            let body = event.start + HEADER..event.start + event.size - 4;
            if body.is_empty() {
                continue;
            }
            // The first bytes of an event decide most.
            let range = if random.below(2) == 0 { body.len().min(48) } else { body.len() };
            let at = body.start + random.below(range);
            match random.below(5) {
                0 => mutated[at] ^= 1 << random.below(8),
                1 => mutated[at] = 0xFF,
                2 => mutated[at] = 0,
                3 => mutated[event.start + 4] = events[random.below(events.len())].kind,
                _ => {
                    let end = (at + 4).min(body.end);
                    mutated[at..end].iter_mut().for_each(|byte| *byte = random.next() as u8);
                }
            }
            sum(&mut mutated[event.start..event.start + event.size]);
        }
        put(folder.path(), "binlog.000001", &mutated);
        let reading = tokio::time::timeout(Duration::from_secs(20), read(folder.path()));
        match reading.await {
            Ok(outcome) => errors += u32::from(outcome.is_err()),
            Err(_) => panic!("round {round} does not end"),
        }
    }
    assert!(errors > rounds / 10, "mutations were noticed only {errors} times of {rounds}");
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

struct Place {
    start: usize,
    size: usize,
    kind: u8,
}

/// Where the events of a file are.
fn events(bytes: &[u8]) -> Vec<Place> {
    let mut events = Vec::new();
    let mut start = 4;
    while start + HEADER <= bytes.len() {
        let size = u32::from_le_bytes(bytes[start + 9..start + 13].try_into().unwrap()) as usize;
        events.push(Place { start, size, kind: bytes[start + 4] });
        start += size;
    }
    events
}

/// Writes the checksum of an event behind it. The flag of a file in use is not part of it.
fn sum(event: &mut [u8]) {
    let (body, sum) = event.split_last_chunk_mut::<4>().unwrap();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&body[..17]);
    hasher.update(&[body[17] & !1]);
    hasher.update(&body[18..]);
    *sum = hasher.finalize().to_le_bytes();
}

fn sample(number: u32) -> Vec<u8> {
    fs::read(Path::new(SAMPLE).join(format!("shop.{number:06}"))).unwrap()
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).unwrap();
}

fn source(folder: &Path, settings: Settings) -> Arc<dyn Source> {
    let endpoint = Endpoint::Path(folder.to_owned());
    let connection = Connection { name: "files".into(), kind: "binlog", endpoint, settings };
    BinlogFiles.source(Arc::new(connection)).unwrap()
}

async fn reading(folder: &Path) -> Reading {
    let source = source(folder, Settings::default());
    let start = source.resolve(&Start::Earliest).await.unwrap();
    Reading::from(&source, &start, "shop").await
}

async fn read(folder: &Path) -> Result<String, Error> {
    read_with(folder, Settings::default()).await
}

/// All changes as text, every value decoded.
async fn read_with(folder: &Path, settings: Settings) -> Result<String, Error> {
    let source = source(folder, settings);
    source.identify().await?;
    let start = source.resolve(&Start::Earliest).await?;
    let mut stream = source.open(&start, selection("shop", "*")).await?;
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    let mut text = String::new();
    loop {
        let progress = stream.fill(&mut out, 1 << 24, Duration::ZERO).await;
        if let Some(block) = out.seal() {
            for entry in block.entries() {
                if let Entry::Change(change) = entry.expect("entries can be read").1 {
                    let schema = out.book().get(change.schema).unwrap();
                    text.push_str(change.op.as_str());
                    for image in [change.before, change.after].into_iter().flatten() {
                        for value in RowView::new(schema, image).values() {
                            text.push_str(&format!(" {value:?}"));
                        }
                    }
                    text.push('\n');
                }
            }
        }
        if progress? == Progress::End {
            return Ok(text);
        }
    }
}
