//! `full_rows = on`: what a minimal row image leaves out is read back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use lode::engine::Engine;
use lode::model::block::Op;
use lode::model::position::Seq;
use lode::model::value::Value;
use lode::run::look::{Look, Seen};

use crate::support::servers::Server;
use crate::world::{World, abort, drain, eventually};
use crate::{parity, servers};

const SCRIPT: &str = "
    share_mining shop { full_rows = on }
    pipeline all = source mysql shop.* share_mining -> sink sqlite lite.*
    ";

/// A change in the log: operation, the first column, which columns are absent, which were read later.
#[derive(Debug, PartialEq)]
struct Logged {
    op: Op,
    key: String,
    absent: Vec<String>,
    late: Vec<String>,
}

async fn logged(engine: &Engine, table: &str) -> Vec<Logged> {
    let place = engine.find_log(&Default::default(), "shop").await.unwrap();
    let log = engine.read_log(&place).await.unwrap();
    let (tail, mut found) = (log.tail().next, Vec::new());
    let mut show = |Seen { change, .. }: Seen| {
        if let Some(row) = change.row().filter(|_| change.table.name.table == table) {
            let (view, columns) = (row.view(), &row.schema.columns);
            let absent = columns.iter().enumerate().filter(|(at, _)| !view.is_present(*at));
            let key = match (view.get(0), change.before.as_ref().and_then(|row| row.view().get(0))) {
                (Some(Value::Int(key)), _) | (None, Some(Value::Int(key))) => key.to_string(),
                other => format!("{other:?}"),
            };
            found.push(Logged {
                op: change.op,
                key,
                absent: absent.map(|(_, column)| column.name.clone()).collect(),
                late: view.late_columns().map(str::to_owned).collect(),
            });
        }
        ControlFlow::Continue(())
    };
    Look::new(log).changes(Seq(0), tail, &mut |_| Ok(true), &mut show).await.unwrap();
    found
}

/// A change without a word on what is absent or late.
fn change(op: Op, key: &str, absent: &[&str], late: &[&str]) -> Logged {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Logged { op, key: key.into(), absent: names(absent), late: names(late) }
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_rows_are_completed_on_mariadb() {
    minimal_rows_are_completed(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_rows_are_completed_on_mysql() {
    minimal_rows_are_completed(servers::mysql().await).await;
}

async fn minimal_rows_are_completed(server: &Server) {
    let world = World::on(server).await;
    world
        .sql(
            "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(9) NOT NULL DEFAULT 'none', c TEXT, d DECIMAL(9,2));\n\
             CREATE TABLE pairs (a INT, b VARCHAR(5), v INT, w INT, PRIMARY KEY (b, a));\n\
             CREATE TABLE bare (a INT, b INT);\n\
             INSERT INTO t VALUES (1, 1, 'one', 'text', 1.5), (2, 2, 'two', NULL, -0.01), (3, 3, 'x', 'y', NULL);\n\
             INSERT INTO pairs VALUES (1, 'x', 1, 1), (2, 'y', 2, 2)",
        )
        .await;
    // The target has none of these rows: a change that holds some columns only would be of no use there.
    let engine = world.start(SCRIPT).await;
    world
        .sql(
            "INSERT INTO bare VALUES (1, 2);\n\
             SET SESSION binlog_row_image = 'MINIMAL';\n\
             UPDATE t SET a = 10 WHERE id = 1;\n\
             UPDATE t SET id = 20 WHERE id = 2;\n\
             INSERT INTO t (id) VALUES (4);\n\
             BEGIN;\n\
             UPDATE pairs SET v = v + 1;\n\
             UPDATE pairs SET a = 7 WHERE a = 2;\n\
             COMMIT;\n\
             UPDATE bare SET b = 3;\n\
             SET SESSION binlog_row_image = 'NOBLOB';\n\
             UPDATE t SET d = 7 WHERE id = 3;\n\
             SET SESSION binlog_row_image = 'FULL';\n\
             UPDATE t SET b = 'full' WHERE id = 4;\n\
             INSERT INTO t VALUES (5, 5, 'last', NULL, NULL)",
        )
        .await;
    let wanted = "SELECT COUNT(*) FROM t WHERE id = 5";
    eventually("it is delivered", async || world.lite_number(wanted) == 1).await;
    let found = logged(&engine, "t").await;
    // What is read later may be newer; whether the key that was changed later is found again, too.
    let key_of = |logged: &Logged| logged.key.clone();
    assert_eq!(found.iter().map(key_of).collect::<Vec<_>>(), ["1", "20", "4", "3", "4", "5"]);
    assert_eq!(found[0], change(Op::Update, "1", &[], &["b", "c", "d"]));
    assert_eq!(found[1], change(Op::Update, "20", &[], &["a", "b", "c", "d"]));
    assert_eq!(found[2].late.contains(&"b".to_owned()), found[2].absent.is_empty());
    assert_eq!(found[3], change(Op::Update, "3", &[], &["c"]));
    assert_eq!(found[4], change(Op::Update, "4", &[], &[]));
    // Without a key, the old row has all that the new one lacks.
    assert_eq!(logged(&engine, "bare").await[1..], [change(Op::Update, "1", &[], &[])]);
    drain(engine).await;
    assert_eq!(parity::in_sqlite(&world).await.same(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_stays_as_it_was_logged() {
    // A table that is gone can be read from the log of the first server only, which says the names of columns.
    for (server, drops) in [(servers::mariadb_full().await, "DROP TABLE u"), (servers::mysql().await, "DO 0")]
    {
        let world = World::on(server).await;
        world.sql("CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT);\nCREATE TABLE u LIKE t").await;
        let engine = world.start(SCRIPT).await;
        world
            .sql("INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3);\nINSERT INTO u VALUES (1, 1, 1)")
            .await;
        eventually("it is delivered", async || world.lite_number("SELECT COUNT(*) FROM u") == 1).await;
        drain(engine).await;
        let minimal = "SET SESSION binlog_row_image = 'MINIMAL'";
        world.sql(&format!("{minimal};\nUPDATE u SET a = 10;\n{drops}")).await;
        world
            .sql(
                "SET SESSION binlog_row_image = 'MINIMAL';\n\
                 UPDATE t SET a = 10 WHERE id = 1;\n\
                 UPDATE t SET a = 20 WHERE id = 2;\n\
                 UPDATE t SET a = 30 WHERE id = 3;\n\
                 DELETE FROM t WHERE id = 1;\n\
                 UPDATE t SET id = 9 WHERE id = 2",
            )
            .await;
        let engine = world.engine();
        world.apply_only(&engine, SCRIPT).await.unwrap();
        eventually("it is delivered", async || world.lite_number("SELECT COUNT(*) FROM t WHERE id = 9") == 1)
            .await;
        let found = logged(&engine, "t").await;
        assert_eq!(
            found[3..],
            [
                change(Op::Update, "1", &["b"], &[]),
                // It has moved since, and is found where it is.
                change(Op::Update, "2", &[], &["b"]),
                change(Op::Update, "3", &[], &["b"]),
                change(Op::Delete, "1", &["a", "b"], &[]),
                change(Op::Update, "9", &[], &["a", "b"]),
            ]
        );
        let gone = [change(Op::Update, "1", &["b"], &[])];
        let there = [change(Op::Update, "1", &[], &["b"])];
        assert_eq!(logged(&engine, "u").await[1..], if drops == "DO 0" { there } else { gone });
        drain(engine).await;
        parity::in_sqlite(&world).await.same();
    }
}

/// Large rows, one huge transaction of them, and lode killed again and again meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_completed_over_restarts_and_in_huge_transactions() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, pad TEXT)").await;
        for _ in 0..10 {
            let values = vec!["(0, REPEAT(HEX(RANDOM_BYTES(8)), 200))"; 200].join(", ");
            world.sql(&format!("INSERT INTO t (a, pad) VALUES {values}")).await;
        }
        let mut engine = world.start(SCRIPT).await;
        world.sql("SET SESSION binlog_row_image = 'MINIMAL';\nUPDATE t SET a = a + 1").await;
        for round in 0..6 {
            let update = format!("UPDATE t SET a = a + 1 WHERE id % 7 = {round}");
            world.sql(&format!("SET SESSION binlog_row_image = 'MINIMAL';\n{update};\n{update}")).await;
            if round % 2 == 0 {
                abort(engine).await;
                engine = world.engine();
                world.apply_only(&engine, SCRIPT).await.unwrap();
            }
        }
        world.sql("INSERT INTO t VALUES (100000, 1, 'last')").await;
        eventually("it is delivered", async || {
            world.lite_number("SELECT COUNT(*) FROM t WHERE id = 100000") == 1
        })
        .await;
        let mut changes = BTreeMap::new();
        for logged in logged(&engine, "t").await {
            assert!(
                logged.absent.is_empty() && (logged.late == ["pad"] || logged.key == "100000"),
                "{logged:?}"
            );
            *changes.entry(logged.key).or_insert(0) += 1;
        }
        assert_eq!(changes.len(), 2001);
        assert!(changes.values().all(|count| [1, 3].contains(count)), "each change is there once");
        drain(engine).await;
        assert_eq!(parity::in_sqlite(&world).await.same(), 1);
    }
}
