//! Statements of every kind: those that are logged as rows, and those whose rows no event has.

use lode::error::Kind;

use crate::reading::Reading;
use crate::support::servers::{MariaDb, MySql};

#[tokio::test]
async fn changes_of_every_kind() {
    for server in [
        MariaDb::start(&[]).await,
        MySql::start(&["--secure-file-priv=", "--binlog-transaction-compression=ON"]).await,
    ] {
        server
            .run(&[
                "CREATE DATABASE shop",
                "USE shop",
                "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, u INT UNIQUE, v VARCHAR(20))",
                "CREATE TABLE n (a INT, b VARCHAR(20))",
                "CREATE TABLE audit (id INT PRIMARY KEY AUTO_INCREMENT, what VARCHAR(20))",
                "CREATE TABLE m (id INT PRIMARY KEY, v INT) ENGINE = MyISAM",
                "CREATE TABLE mem (id INT PRIMARY KEY) ENGINE = MEMORY",
                "CREATE TRIGGER after_t AFTER UPDATE ON t FOR EACH ROW INSERT INTO audit (what) VALUES (NEW.v)",
                "CREATE FUNCTION f() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO audit (what) VALUES ('f'); RETURN 1; END",
                "CREATE PROCEDURE p() BEGIN START TRANSACTION; INSERT INTO audit (what) VALUES ('p'); COMMIT; END",
            ])
            .await;
        let file = server.data().join("rows.txt");
        std::fs::write(&file, "100\t100\tloaded\n101\t\\N\t\\N\n").unwrap();
        let mut reading = Reading::now(&server, "shop").await;
        server
            .run(
                &[
                    "USE shop",
                    "INSERT INTO t (u, v) VALUES (1, 'a'), (2, 'b'), (NULL, NULL)",
                    "INSERT INTO t (u, v) VALUES (1, 'x'), (5, 'e') ON DUPLICATE KEY UPDATE v = 'again'",
                    "REPLACE INTO t VALUES (2, 1, 'both keys'), (50, 5, 'other key')",
                    "INSERT IGNORE INTO t VALUES (50, 7, 'ignored')",
                    &format!("LOAD DATA INFILE '{}' INTO TABLE t", file.display()),
                    "INSERT INTO n VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
                    "UPDATE n, t SET n.b = t.v, t.v = 'joined' WHERE t.id = 2 AND n.a = 1",
                    "DELETE n FROM n JOIN t ON t.id = 2 WHERE n.a = 1 LIMIT 9",
                ][..8],
            )
            .await;
        server
            .run(&[
                "USE shop",
                "DELETE FROM n LIMIT 1",
                "UPDATE t SET id = id + 1000 ORDER BY id DESC",
                "SELECT f()",
                "CALL p()",
                "CREATE TEMPORARY TABLE tmp (id INT PRIMARY KEY)",
                "INSERT INTO tmp VALUES (1), (2)",
                "INSERT INTO m SELECT id, 5 FROM tmp",
                "BEGIN",
                "INSERT INTO t (v) VALUES ('kept')",
                "SAVEPOINT `a b`",
                "DELETE FROM t",
                "ROLLBACK TO `a b`",
                "SAVEPOINT `a b`",
                "INSERT INTO t (v) VALUES ('kept too')",
                "RELEASE SAVEPOINT `a b`",
                "DROP TEMPORARY TABLE tmp",
                "COMMIT",
                "UPDATE m SET v = 6",
                "INSERT INTO mem VALUES (1), (2)",
                "DELETE FROM mem",
                "INSERT INTO mem VALUES (3)",
                "BEGIN",
                "DELETE FROM t",
                "ROLLBACK",
                "CREATE TABLE filled SELECT * FROM t",
                "CREATE TABLE like_t LIKE t",
                "INSERT INTO like_t SELECT * FROM t",
                "XA START 'x'",
                "INSERT INTO t (v) VALUES ('xa')",
                "XA END 'x'",
                "XA COMMIT 'x' ONE PHASE",
                "TRUNCATE n",
                "INSERT INTO n VALUES (8, '8')",
            ])
            .await;
        reading.go_on().await.unwrap().must_equal(&server, "shop").await;
    }
}

#[tokio::test]
async fn a_memory_table_after_a_restart() {
    for mut server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        server
            .run(&["CREATE DATABASE shop", "CREATE TABLE shop.mem (id INT PRIMARY KEY) ENGINE = MEMORY"])
            .await;
        let connection = server.miner("shop").await;
        let source = crate::reading::source(&connection);
        let start = source.resolve(&lode::model::spec::Start::Now).await.unwrap();
        server.run(&["INSERT INTO shop.mem VALUES (1), (2)"]).await;
        server.restart().await;
        server.run(&["INSERT INTO shop.mem VALUES (3)"]).await;
        let mut reading = Reading::from(&source, &start, "shop").await;
        let copy = reading.go_on().await.unwrap();
        assert_eq!(copy.ops, ["insert mem", "insert mem", "truncate mem", "insert mem"]);
        copy.must_equal(&server, "shop").await;
    }
}

#[tokio::test]
async fn rows_that_move_without_events_are_an_error() {
    for server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        for (statement, words) in [
            ("ALTER TABLE shop.p DROP PARTITION p0", ["DROP PARTITION", "shop.p"]),
            ("ALTER TABLE shop.p TRUNCATE PARTITION p0", ["TRUNCATE PARTITION", "shop.p"]),
            ("ALTER TABLE shop.p EXCHANGE PARTITION p0 WITH TABLE shop.x", ["EXCHANGE PARTITION", "shop.p"]),
            ("SELECT shop.f()", ["SELECT", "statement"]),
            ("CREATE TABLE shop.y SELECT 1 AS id", ["CREATE TABLE of shop.y", "statement"]),
        ] {
            server
                .run(&[
                    "DROP DATABASE IF EXISTS shop",
                    "CREATE DATABASE shop",
                    "CREATE TABLE shop.p (id INT PRIMARY KEY) PARTITION BY RANGE (id) \
                     (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
                    "CREATE TABLE shop.x (id INT PRIMARY KEY)",
                    "CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO shop.x VALUES (1); RETURN 1; END",
                ])
                .await;
            let mut reading = Reading::now(&server, "shop").await;
            server
                .run(&["INSERT INTO shop.p VALUES (1)", "SET SESSION binlog_format = 'STATEMENT'", statement])
                .await;
            let error = reading.fails().await;
            assert!(matches!(error.kind(), Kind::Gap | Kind::Data), "{error}");
            assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_truncate_in_other_words() {
    let server = MariaDb::start(&["--lower-case-table-names=1"]).await;
    server.run(&["CREATE DATABASE shop", "CREATE TABLE shop.Orders (id INT PRIMARY KEY)"]).await;
    let mut reading = Reading::now(&server, "shop").await;
    server
        .run(&[
            "INSERT INTO SHOP.ORDERS VALUES (1)",
            "SET STATEMENT max_statement_time = 9 FOR TRUNCATE TABLE Shop.Orders",
            "INSERT INTO shop.orders VALUES (2)",
            "TRUNCATE TABLE shop.ORDERS",
            "INSERT INTO shop.orders VALUES (3)",
        ])
        .await;
    let copy = reading.go_on().await.unwrap();
    assert_eq!(
        copy.ops,
        ["insert orders", "truncate orders", "insert orders", "truncate orders", "insert orders"]
    );
    copy.must_equal(&server, "shop").await;
    let source = crate::reading::source(&server.miner("shop").await);
    let start = source.resolve(&lode::model::spec::Start::Now).await.unwrap();
    let error = source.open(&start, crate::reading::selection("shop", "Orders")).await.err().unwrap();
    assert!(error.to_string().contains("small letters"), "{error}");
}

/// InnoDB carries out cascades by itself in MariaDB and in MySQL before 9.6, and no event tells of them.
#[tokio::test]
async fn cascades_of_foreign_keys() {
    for (server, logged) in [(MariaDb::start(&[]).await, false), (MySql::start(&[]).await, true)] {
        server
            .run(&[
                "CREATE DATABASE shop",
                "USE shop",
                "CREATE TABLE parent (id INT PRIMARY KEY)",
                "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE)",
            ])
            .await;
        let mut reading = Reading::now(&server, "shop").await;
        server
            .run(&[
                "USE shop",
                "INSERT INTO parent VALUES (1), (2)",
                "INSERT INTO child VALUES (1, 1), (2, 2)",
                "UPDATE parent SET id = 7 WHERE id = 2",
                "DELETE FROM parent WHERE id = 1",
            ])
            .await;
        let copy = reading.go_on().await.unwrap();
        let children = copy.ops.iter().filter(|op| op.ends_with("child")).count();
        assert_eq!(children, if logged { 4 } else { 2 }, "{:?}", copy.ops);
        if logged {
            copy.must_equal(&server, "shop").await;
        }
    }
}

/// A column that an INSERT does not name has a default that no event tells.
#[tokio::test]
async fn an_insert_of_defaults_only() {
    let minimal = "--binlog-row-image=MINIMAL";
    for server in [MariaDb::start(&[minimal]).await, MySql::start(&[minimal]).await] {
        server
            .run(&[
                "CREATE DATABASE shop",
                "CREATE TABLE shop.t (id INT PRIMARY KEY DEFAULT 3, v INT DEFAULT 7, w INT)",
                "CREATE TABLE shop.n (id INT PRIMARY KEY, v INT, w VARCHAR(9), x TEXT)",
            ])
            .await;
        let mut reading = Reading::now(&server, "shop").await;
        server
            .run(&["INSERT INTO shop.n (id, w) VALUES (1, 'x')", "INSERT INTO shop.n (id) VALUES (2), (3)"])
            .await;
        reading.go_on().await.unwrap().must_equal(&server, "shop").await;
        server.run(&["INSERT INTO shop.t (id) VALUES (1)"]).await;
        assert_eq!(reading.go_on().await.unwrap().sorted("t"), [["1", "absent", "absent"]]);
        server.run(&["INSERT INTO shop.t () VALUES ()"]).await;
        let error = reading.fails().await;
        assert!(error.to_string().contains("shop.t"), "{error}");
    }
}

/// MariaDB has columns that only the server knows of.
#[tokio::test]
async fn hidden_columns_and_histories_of_mariadb() {
    for (metadata, named) in [("NO_LOG", false), ("MINIMAL", false), ("FULL", true)] {
        let server = MariaDb::start(&[&format!("--binlog-row-metadata={metadata}")]).await;
        for (create, statements, columns) in [
            (
                "CREATE TABLE shop.h (id INT PRIMARY KEY, v TEXT, UNIQUE (v))",
                ["INSERT INTO shop.h VALUES (1, 'x'), (2, NULL)", "UPDATE shop.h SET v = 'y' WHERE id = 1"],
                "id v DB_ROW_HASH_1",
            ),
            (
                "CREATE TABLE shop.v (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING",
                ["INSERT INTO shop.v VALUES (1, 1), (2, 2)", "DELETE FROM shop.v WHERE id = 2"],
                "id v row_start row_end",
            ),
        ] {
            server.run(&["DROP DATABASE IF EXISTS shop", "CREATE DATABASE shop", create]).await;
            let mut reading = Reading::now(&server, "shop").await;
            server.run(&statements).await;
            if named {
                let copy = reading.go_on().await.unwrap();
                let table = copy.columns.keys().next().unwrap();
                assert_eq!(copy.names(table), columns);
                assert_eq!(copy.rows[table].len(), 2, "rows of a history stay");
            } else {
                let error = reading.fails().await;
                assert!(error.to_string().contains("but the table has 2 now"), "{error}");
            }
        }
    }
}
