//! Reading real servers: every supported type comes out as the server itself shows it.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lode::model::block::{BlockBuilder, Entry, Op, SchemaBook};
use lode::model::connection::Connection;
use lode::model::coverage::Coverage;
use lode::model::position::{Position, Seq};
use lode::model::row::{Row, RowView};
use lode::model::schema::ColumnType;
use lode::model::spec::Start;
use lode::model::table::{Pattern, TableSelection, TableSet};
use lode::model::value::Value;
use lode::source::mysql::Mysql;
use lode::source::{Progress, Source, SourceKind};
use mysql_async::prelude::Queryable;
use support::servers::{MariaDb, MySql, Server};

const PATIENCE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn mariadb_types_without_metadata() {
    let server = MariaDb::start(&["--binlog-row-metadata=NO_LOG"]).await;
    types(&server, false, "mariadb").await;
}

#[tokio::test]
async fn mariadb_types_with_minimal_metadata() {
    let server = MariaDb::start(&["--binlog-row-metadata=MINIMAL"]).await;
    types(&server, false, "mariadb").await;
}

#[tokio::test]
async fn mariadb_types_with_full_metadata() {
    let server = MariaDb::start(&["--binlog-row-metadata=FULL"]).await;
    types(&server, false, "mariadb").await;
}

#[tokio::test]
async fn mysql_types_with_minimal_metadata() {
    let server = MySql::start(&["--binlog-row-metadata=MINIMAL"]).await;
    types(&server, true, "mysql").await;
}

#[tokio::test]
async fn mysql_types_with_full_metadata() {
    let server = MySql::start(&["--binlog-row-metadata=FULL"]).await;
    types(&server, true, "mysql").await;
}

/// Runs each script of `golden/types`, reads its changes back, and holds them against the recorded ones and
/// against what the server shows for the rows that are left.
async fn types(server: &Server, mysql: bool, name: &str) {
    server.run(&["CREATE DATABASE shop CHARACTER SET utf8mb4"]).await;
    let connection = server.miner("shop").await;
    let source = source(&connection);
    let mut scripts: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/types"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .filter(|path| mysql || !path.to_string_lossy().ends_with(".mysql.sql"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 3, "the scripts are there");
    for script in scripts {
        let start = source.resolve(&Start::Now).await.unwrap();
        let mut conn = server.root().await;
        conn.query_drop("USE shop").await.unwrap();
        conn.query_drop("SET NAMES utf8mb4, time_zone = '+00:00'").await.unwrap();
        for statement in std::fs::read_to_string(&script).unwrap().split(";\n") {
            if !statement.trim().is_empty() {
                conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
        }
        let changes = read_all(source.as_ref(), &start).await;
        let file = script.file_name().unwrap().to_string_lossy().into_owned();
        let stem = file.trim_end_matches(".sql").trim_end_matches(".mysql");
        insta::with_settings!({ snapshot_path => "golden/types", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{name}-{stem}"), changes.text);
        });
        for (table, rows) in &changes.last_rows {
            assert_eq!(rows, &shown_by_server(&mut conn, table, &changes.columns[table]).await, "{table}");
        }
        assert!(!changes.last_rows.is_empty(), "{file} changed rows");
        read_back(source.as_ref(), &changes).await;
    }
}

/// Rows that are read from their tables must be the bytes that the binlog had.
async fn read_back(source: &dyn Source, changes: &Changes) {
    let mut reader = source.rows().unwrap().expect("a server has tables");
    for (table, rows) in &changes.last_images {
        let Some(schema) = rows.values().next().map(|row| Arc::clone(&row.schema)) else { continue };
        if schema.primary_key.is_empty() {
            continue;
        }
        let key = |row: &Row| {
            let is_key = |at: usize| schema.primary_key.contains(&(at as u16));
            let cells: Vec<_> =
                row.view().values().enumerate().map(|(at, cell)| cell.filter(|_| is_key(at))).collect();
            Row::encode(Arc::clone(&schema), &cells).unwrap()
        };
        let keys: Vec<Row> = rows.values().map(key).collect();
        let found: BTreeMap<_, _> =
            reader.read(&keys).await.unwrap().into_iter().map(|row| (key(&row).image, row)).collect();
        for (wanted, key) in rows.values().zip(&keys) {
            let row = found.get(&key.image).unwrap_or_else(|| panic!("{table} {:?}", cells(wanted.view())));
            for (at, (read, had)) in row.view().raw().zip(wanted.view().raw()).enumerate() {
                assert!(read == had, "{table}.{}: {read:?}, and had {had:?}", schema.columns[at].name);
            }
            assert_eq!(row.image, wanted.image);
        }
        assert_eq!(found.len(), rows.len(), "{table}");
    }
}

#[tokio::test]
async fn positions_find_their_way_back() {
    for server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        server.run(&["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)"]).await;
        let source = source(&server.miner("shop").await);
        let earliest = source.resolve(&Start::Earliest).await.unwrap();
        server
            .run(&[
                "INSERT INTO shop.t VALUES (1, 1), (2, 2)",
                "FLUSH BINARY LOGS",
                "UPDATE shop.t SET v = 3 WHERE id = 1",
                "TRUNCATE shop.t",
                "INSERT INTO shop.t VALUES (5, 5)",
            ])
            .await;
        let all = read_all(source.as_ref(), &earliest).await;
        assert_eq!(all.ops, [Op::Insert, Op::Insert, Op::Update, Op::Truncate, Op::Insert]);
        assert_eq!(all.commits.last().unwrap(), &source.resolve(&Start::Now).await.unwrap());
        // From each commit on, by GTID as well as by file, exactly the rest comes.
        let mut behind = 0;
        for (commit, count) in all.commits.iter().zip(&all.changes_at_commit) {
            behind = *count;
            let by_file = Position { gtid: String::new(), ..commit.clone() };
            let found = source
                .resolve(&Start::Position { file: commit.file.clone(), offset: commit.offset })
                .await
                .unwrap();
            assert_eq!(&found, commit);
            for from in [commit.clone(), by_file] {
                assert_eq!(read_all(source.as_ref(), &from).await.ops, all.ops[behind..], "from {from}");
            }
        }
        assert_eq!(behind, 5);
        let future = i64::from(u32::MAX) * 1000;
        assert_eq!(
            source.resolve(&Start::Time(future)).await.unwrap(),
            *all.commits.last().unwrap(),
            "nothing is younger than the future"
        );
        let gone = Start::Position { file: "binlog.000099".into(), offset: 4 };
        assert_eq!(source.resolve(&gone).await.unwrap_err().kind(), lode::error::Kind::Gap);
    }
}

#[tokio::test]
async fn a_server_keeps_its_identity_over_a_restart() {
    for mut server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        server.run(&["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"]).await;
        let connection = server.miner("shop").await;
        let source = source(&connection);
        let before = source.identify().await.unwrap();
        let start = source.resolve(&Start::Now).await.unwrap();
        let mut stream = source.open(&start, selection("shop", "t")).await.unwrap();
        let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
        server.kill();
        let error = loop {
            match stream.fill(&mut out, 1 << 20, PATIENCE).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), lode::error::Kind::Unavailable, "{error}");
        assert_eq!(source.identify().await.unwrap_err().kind(), lode::error::Kind::Unavailable);
        server.restart().await;
        let after = source.identify().await.unwrap();
        assert_eq!((after.id, after.description), (before.id, before.description));
        assert!(after.clock_ms > before.clock_ms, "the clock goes on");
        server.run(&["INSERT INTO shop.t VALUES (1)"]).await;
        assert_eq!(read_all(source.as_ref(), &start).await.ops, [Op::Insert]);
    }
}

#[tokio::test]
async fn what_cannot_be_carried_is_an_error_that_names_it() {
    let server = MariaDb::start(&[]).await;
    server
        .run(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(9) CHARACTER SET gbk)",
            "CREATE TABLE shop.z (id INT PRIMARY KEY, v TEXT COMPRESSED)",
            "CREATE TABLE shop.i (id INET6 PRIMARY KEY)",
            "CREATE TABLE shop.s (id INT PRIMARY KEY)",
        ])
        .await;
    let source = source(&server.miner("shop").await);
    for (statements, words) in [
        (&["INSERT INTO shop.t VALUES (1, 'x')"][..], ["column v of shop.t", "gbk"]),
        (&["INSERT INTO shop.z VALUES (1, 'x')"], ["column v of shop.z", "COMPRESSED"]),
        (&["INSERT INTO shop.i VALUES ('::1')"], ["column id of shop.i", "inet6"]),
        (
            &["SET SESSION binlog_format = 'STATEMENT'", "INSERT INTO shop.s VALUES (1)"],
            ["INSERT of shop.s", "statement"],
        ),
    ] {
        let start = source.resolve(&Start::Now).await.unwrap();
        server.run(statements).await;
        let mut stream = source.open(&start, selection("shop", "*")).await.unwrap();
        let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
        let error = loop {
            match stream.fill(&mut out, 1 << 20, Duration::from_secs(5)).await {
                Ok(progress) => assert_ne!(progress, Progress::Idle, "no error came of {statements:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), lode::error::Kind::Data, "{error}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
        assert!(error.to_string().contains("binlog.00000"), "{error}");
    }
}

#[tokio::test]
async fn a_minimal_row_image_has_absent_columns() {
    for server in [
        MariaDb::start(&["--binlog-row-image=MINIMAL"]).await,
        MySql::start(&["--binlog-row-image=MINIMAL", "--binlog-row-metadata=FULL"]).await,
    ] {
        server
            .run(&[
                "CREATE DATABASE shop",
                "CREATE TABLE shop.t (id INT PRIMARY KEY, a INT UNSIGNED, b VARCHAR(10), c INT)",
                "INSERT INTO shop.t VALUES (1, 4294967295, 'x', NULL)",
            ])
            .await;
        let source = source(&server.miner("shop").await);
        let start = source.resolve(&Start::Now).await.unwrap();
        server.run(&["UPDATE shop.t SET a = 4294967294, b = NULL WHERE id = 1", "DELETE FROM shop.t"]).await;
        let lines = |changes: Changes| changes.text.lines().map(str::to_owned).collect::<Vec<_>>();
        let ends: Vec<String> = lines(read_all(source.as_ref(), &start).await)
            .iter()
            .map(|line| line.split(": ").last().unwrap_or_default().trim().to_owned())
            .collect();
        assert_eq!(
            ends,
            [
                "update t",
                "1 absent",
                "absent 4294967294",
                "absent NULL",
                "absent absent",
                "delete t",
                "1",
                "absent",
                "absent",
                "absent"
            ]
        );
    }
}

#[tokio::test]
async fn every_shape_of_transaction_is_read() {
    let mysql = MySql::start(&["--binlog-transaction-compression=ON", "--binlog-row-metadata=FULL"]).await;
    let mariadb = MariaDb::start(&["--binlog-row-metadata=FULL"]).await;
    for (server, is_mysql) in [(&mysql, true), (&mariadb, false)] {
        server
            .run(&[
                "CREATE DATABASE shop",
                "CREATE TABLE shop.t (id INT PRIMARY KEY)",
                "CREATE TABLE shop.m (id INT PRIMARY KEY) ENGINE = MyISAM",
            ])
            .await;
        let source = source(&server.miner("shop").await);
        let start = source.resolve(&Start::Now).await.unwrap();
        server
            .run(&[
                "INSERT INTO shop.t VALUES (1)",
                "INSERT INTO shop.m VALUES (1), (2)",
                "BEGIN",
                "INSERT INTO shop.t VALUES (2)",
                "SAVEPOINT a",
                "INSERT INTO shop.t VALUES (3)",
                "ROLLBACK TO a",
                "INSERT INTO shop.t VALUES (4)",
                "COMMIT",
                "BEGIN",
                "DELETE FROM shop.t",
                "ROLLBACK",
                "CREATE TABLE shop.s SELECT id FROM shop.t WHERE id > 1",
                "ALTER TABLE shop.t ADD COLUMN v INT DEFAULT 7, ADD UNIQUE KEY (v, id)",
                "INSERT INTO shop.t VALUES (9, 9)",
                "RENAME TABLE shop.s TO shop.s2",
                "DROP TABLE shop.s2",
                "XA START 'x'",
                "INSERT INTO shop.t VALUES (10, 10)",
                "XA END 'x'",
                "XA COMMIT 'x' ONE PHASE",
            ])
            .await;
        let end = source.resolve(&Start::Now).await.unwrap();
        let changes = read_all(source.as_ref(), &start).await;
        let inserted: Vec<&str> = changes
            .text
            .lines()
            .filter(|line| line.starts_with("  id "))
            .filter_map(|line| line.rsplit(' ').next())
            .collect();
        assert_eq!(inserted, ["1", "1", "2", "2", "4", "2", "4", "9", "10"], "mysql: {is_mysql}");
        assert_eq!(changes.changes_at_commit.last(), Some(&9));
        assert_eq!(changes.commits.last(), Some(&end));
    }
}

#[tokio::test]
async fn a_table_can_be_added_while_the_stream_runs() {
    let server = MariaDb::start(&[]).await;
    server
        .run(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.a (id INT PRIMARY KEY)",
            "CREATE TABLE shop.b LIKE shop.a",
        ])
        .await;
    let source = source(&server.miner("shop").await);
    let start = source.resolve(&Start::Now).await.unwrap();
    let mut stream = source.open(&start, selection("shop", "a")).await.unwrap();
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    server.run(&["INSERT INTO shop.a VALUES (1)", "INSERT INTO shop.b VALUES (1)"]).await;
    while stream.fill(&mut out, 1 << 20, PATIENCE).await.unwrap() != Progress::Idle {}
    stream.select(Coverage::of(selection("shop", "*")));
    assert_eq!(stream.fill(&mut out, 1 << 20, PATIENCE).await.unwrap(), Progress::CaughtUp);
    server.run(&["INSERT INTO shop.b VALUES (2)", "INSERT INTO shop.a VALUES (2)"]).await;
    while stream.fill(&mut out, 1 << 20, PATIENCE).await.unwrap() != Progress::Idle {}
    let block = out.seal().unwrap();
    let kinds: Vec<String> = block
        .entries()
        .filter_map(|entry| match entry.unwrap().1 {
            Entry::Change(change) => Some(out.book().get(change.schema).unwrap().name.table.clone()),
            Entry::Coverage(_) => Some("coverage".into()),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["a", "coverage", "b", "a"]);
}

#[tokio::test]
async fn a_change_is_not_kept_back_by_a_load_on_other_tables() {
    let server = MariaDb::start(&[]).await;
    server
        .run(&[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.wanted (id INT PRIMARY KEY)",
            "CREATE TABLE shop.other (id INT PRIMARY KEY, filling VARCHAR(200))",
        ])
        .await;
    let source = source(&server.miner("shop").await);
    let start = source.resolve(&Start::Now).await.unwrap();
    server
        .run(&[
            "INSERT INTO shop.wanted VALUES (1)",
            "INSERT INTO shop.other SELECT seq, REPEAT('x', 200) FROM shop.seq_1_to_400000",
        ])
        .await;
    let end = source.resolve(&Start::Now).await.unwrap();
    let mut stream = source.open(&start, selection("shop", "wanted")).await.unwrap();
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    let block = loop {
        assert_ne!(stream.fill(&mut out, 1 << 20, PATIENCE).await.unwrap(), Progress::Idle);
        if let Some(block) = out.seal() {
            break block;
        }
    };
    let change = block.entries().any(|entry| matches!(entry.unwrap().1, Entry::Change(_)));
    assert!(change, "the first that comes is the change");
    assert_ne!(block.commit.unwrap().position, end, "it came before the load was read through");
}

/// What was read up to the end of the log.
#[derive(Default)]
struct Changes {
    text: String,
    ops: Vec<Op>,
    commits: Vec<Position>,
    changes_at_commit: Vec<usize>,
    /// Table, key, and the last row of that key.
    last_rows: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    last_images: BTreeMap<String, BTreeMap<String, Row>>,
    columns: BTreeMap<String, Vec<(String, ColumnType)>>,
}

async fn read_all(source: &dyn Source, from: &Position) -> Changes {
    let mut stream = source.open(from, selection("shop", "*")).await.unwrap();
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    while stream.fill(&mut out, 1 << 24, PATIENCE).await.unwrap() != Progress::Idle {}
    stream.close().await;
    let mut changes = Changes::default();
    let Some(block) = out.seal() else { return changes };
    for entry in block.entries() {
        match entry.unwrap().1 {
            Entry::Change(change) => {
                let schema = Arc::clone(out.book().get(change.schema).unwrap());
                let table = schema.name.table.clone();
                let view = |image| cells(RowView::new(&schema, image));
                let (before, after) = (change.before.map(view), change.after.map(view));
                let rows = changes.last_rows.entry(table.clone()).or_default();
                if let Some(row) = &before {
                    rows.remove(&row[0]);
                }
                if let Some(row) = &after {
                    rows.insert(row[0].clone(), row.clone());
                }
                let images = changes.last_images.entry(table.clone()).or_default();
                if let Some(row) = &before {
                    images.remove(&row[0]);
                }
                if let (Some(row), Some(image)) = (&after, change.after) {
                    images.insert(row[0].clone(), block.row(&schema, image));
                }
                changes.columns.insert(
                    table.clone(),
                    schema.columns.iter().map(|column| (column.name.clone(), column.ty.clone())).collect(),
                );
                writeln!(changes.text, "{} {table}", change.op.as_str()).unwrap();
                for (index, column) in schema.columns.iter().enumerate() {
                    let key = if schema.primary_key.contains(&(index as u16)) { " key" } else { "" };
                    write!(changes.text, "  {} {:?}{key}:", column.name, column.ty).unwrap();
                    for row in [&before, &after].into_iter().flatten() {
                        write!(changes.text, " {}", shorten(&row[index])).unwrap();
                    }
                    changes.text.push('\n');
                }
                changes.ops.push(change.op);
            }
            Entry::Commit { offset, file, gtid, time_ms } => {
                assert!(time_ms > 1_600_000_000_000, "commits have the server's time");
                changes.commits.push(Position { gtid: gtid.into(), file: file.into(), offset });
                changes.changes_at_commit.push(changes.ops.len());
            }
            Entry::Schema { .. } | Entry::Coverage(_) => {}
        }
    }
    changes
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}… {} bytes", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

fn cells(view: RowView<'_>) -> Vec<String> {
    view.values().map(|value| value.map_or("absent".into(), |value| shown(&value))).collect()
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::UInt(v) | Value::Bit(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Double(v) => format!("{v:e}"),
        Value::Decimal(v) | Value::Json(v) => v.to_string(),
        Value::Text(v) => format!("{v:?}"),
        Value::Year(v) => format!("{v:04}"),
        Value::Date(v) => v.to_string(),
        Value::DateTime(v) => v.to_string(),
        Value::Timestamp(v) => v.to_string(),
        Value::Time(v) => v.to_string(),
        Value::Bytes(v) => v.iter().fold("0x".to_owned(), |hex, byte| hex + format!("{byte:02X}").as_str()),
    }
}

/// The rows of a table by their key, each column in the words of `shown`, made from the server's own text.
async fn shown_by_server(
    conn: &mut mysql_async::Conn,
    table: &str,
    columns: &[(String, ColumnType)],
) -> BTreeMap<String, Vec<String>> {
    let list: Vec<String> = columns
        .iter()
        .map(|(name, ty)| match ty {
            ColumnType::Bit { .. } => format!("{name} + 0"),
            // Zero padding is a matter of showing.
            ColumnType::Int { .. } => format!("{name} + 0"),
            ColumnType::Binary { .. } | ColumnType::VarBinary { .. } | ColumnType::Blob { .. } => {
                format!("CONCAT('0x', HEX({name}))")
            }
            ColumnType::Geometry => {
                format!("CONCAT('0x', HEX(CAST({name} AS BINARY)))")
            }
            _ => format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)"),
        })
        .collect();
    let rows: Vec<mysql_async::Row> =
        conn.query(format!("SELECT {} FROM {table}", list.join(", "))).await.unwrap();
    rows.into_iter()
        .map(|row| {
            let cells: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(index, (_, ty))| match row.get::<Option<String>, _>(index).unwrap() {
                    None => "NULL".to_owned(),
                    Some(text) => match ty {
                        ColumnType::Double => format!("{:e}", text.parse::<f64>().unwrap()),
                        ColumnType::Char { .. }
                        | ColumnType::VarChar { .. }
                        | ColumnType::Text { .. }
                        | ColumnType::Enum { .. }
                        | ColumnType::Set { .. } => format!("{text:?}"),
                        _ => text,
                    },
                })
                .collect();
            (cells[0].clone(), cells)
        })
        .collect()
}

fn source(connection: &Arc<Connection>) -> Arc<dyn Source> {
    Mysql.source(Arc::clone(connection)).unwrap()
}

fn selection(database: &str, table: &str) -> TableSelection {
    let include = vec![Pattern(table.into())];
    TableSelection::of(TableSet { database: database.into(), include, exclude: Vec::new() })
}
