//! Columns and tables of all sorts, with the servers' default metadata and with all of it.

use std::fmt::Write as _;

use crate::reading::Reading;
use crate::support::servers::{MariaDb, MySql, Server};

/// Both servers as they come, and with full metadata.
async fn everywhere() -> Vec<(Server, bool)> {
    vec![(MariaDb::start(&[]).await, false), (MySql::start(&[]).await, true)]
}

const METADATA: [&str; 2] = ["", "SET GLOBAL binlog_row_metadata = 'FULL'"];

async fn prepare(server: &Server, metadata: &str) {
    if !metadata.is_empty() {
        server.run(&[metadata]).await;
    }
    server.run(&["DROP DATABASE IF EXISTS shop", "CREATE DATABASE shop CHARACTER SET utf8mb4"]).await;
}

#[tokio::test]
async fn a_table_of_three_hundred_columns() {
    for (server, _) in everywhere().await {
        prepare(&server, "").await;
        let mut create = "CREATE TABLE shop.wide (id INT PRIMARY KEY".to_owned();
        let (mut all, mut odd, mut none) = (String::new(), String::new(), String::new());
        for at in 0..300 {
            let ty = ["TINYINT UNSIGNED", "VARCHAR(20)", "INT", "CHAR(3)"][at % 4];
            write!(create, ", c{at} {ty}").unwrap();
            write!(all, ", {}", at % 100).unwrap();
            write!(odd, ", {}", if at % 2 == 1 { at.to_string() } else { "NULL".into() }).unwrap();
            none.push_str(", NULL");
        }
        let odd = odd
            .replace("255", "25")
            .split(", ")
            .map(|n| if n.len() > 2 && n != "NULL" { &n[..2] } else { n })
            .collect::<Vec<_>>()
            .join(", ");
        server.run(&[&(create + ")")]).await;
        let mut reading = Reading::now(&server, "shop").await;
        server
            .run(&[
                &format!("INSERT INTO shop.wide VALUES (1{all}), (2{odd}), (3{none})"),
                "SET SESSION binlog_row_image = 'MINIMAL'",
                "UPDATE shop.wide SET c299 = 'x', c0 = 255, c8 = NULL WHERE id = 1",
                "SET SESSION binlog_row_image = 'NOBLOB'",
                "UPDATE shop.wide SET c298 = -7 WHERE id = 3",
                "SET SESSION binlog_row_image = 'FULL'",
                "UPDATE shop.wide SET c150 = 9 WHERE id = 2",
            ])
            .await;
        reading.go_on().await.unwrap().must_equal(&server, "shop").await;
    }
}

#[tokio::test]
async fn a_row_larger_than_a_packet() {
    for (server, _) in everywhere().await {
        prepare(&server, "").await;
        server
            .run(&[
                "SET GLOBAL max_allowed_packet = 1073741824",
                "CREATE TABLE shop.big (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT)",
            ])
            .await;
        let mut reading = Reading::now(&server, "shop").await;
        // Below, at and above the 16 MiB that a packet has room for.
        for (id, bytes) in [(1, 0xFF_FF00), (2, 0xFF_FFFF), (3, 20 << 20)] {
            server
                .run(&[&format!("INSERT INTO shop.big VALUES ({id}, REPEAT('x', {bytes}), REPEAT('é', 10))")])
                .await;
        }
        server.run(&["UPDATE shop.big SET t = REPEAT('日本', 3000000) WHERE id = 3"]).await;
        let copy = reading.go_on().await.unwrap();
        assert_eq!(copy.ops.len(), 4);
        let rows = copy.sorted("big");
        assert_eq!(
            rows.iter().map(|row| row[1].len() / 2).collect::<Vec<_>>(),
            [0xFF_FF00, 0xFF_FFFF, 20 << 20]
        );
        assert_eq!(rows[2][2].chars().count(), 6_000_000);
        assert!(rows.iter().all(|row| row[1].bytes().step_by(2).all(|byte| byte == b'7')));
    }
}

#[tokio::test]
async fn odd_labels_that_are_reordered() {
    for (server, _) in everywhere().await {
        for metadata in METADATA {
            prepare(&server, metadata).await;
            let members: Vec<String> = (0..64).map(|at| format!("'m{at}'")).collect();
            server
                .run(&[
                    "SET NAMES utf8mb4",
                    r#"CREATE TABLE shop.l (id INT PRIMARY KEY, e ENUM('a,b', 'it''s', 'x"y', '(', ')', 'ü', 'a b', 'NULL', '日本') NOT NULL)"#,
                    &format!("CREATE TABLE shop.s (id INT PRIMARY KEY, s SET({}))", members.join(",")),
                ])
                .await;
            let mut reading = Reading::now(&server, "shop").await;
            server
                .run(&[
                    "SET NAMES utf8mb4",
                    "INSERT INTO shop.l VALUES (1, 'a,b'), (2, 'it''s'), (3, 'x\"y'), (4, '('), (5, ')'), (6, 'ü'), (7, 'a b'), (8, 'NULL'), (9, '日本')",
                    "SET sql_mode = ''",
                    "INSERT INTO shop.l VALUES (10, 'no such label')",
                    "INSERT INTO shop.s VALUES (1, 'm63'), (2, 'm0,m31,m32,m63'), (3, ''), (4, NULL), (5, 18446744073709551615)",
                ])
                .await;
            reading.go_on().await.unwrap().must_equal(&server, "shop").await;
            server
                .run(&[
                    "SET NAMES utf8mb4",
                    "ALTER TABLE shop.l MODIFY e ENUM('new', 'NULL', '日本', 'a b', 'ü', ')', '(', 'x\"y', 'it''s', 'a,b') NOT NULL",
                    "INSERT INTO shop.l VALUES (11, 'new'), (12, 'a,b'), (13, 'ü')",
                    "DELETE FROM shop.l WHERE id < 8",
                ])
                .await;
            reading.go_on().await.unwrap().must_equal(&server, "shop").await;
        }
    }
}

#[tokio::test]
async fn character_sets_come_from_anywhere() {
    for (server, _) in everywhere().await {
        for metadata in METADATA {
            prepare(&server, metadata).await;
            server
                .run(&[
                    "ALTER DATABASE shop CHARACTER SET latin1",
                    "USE shop",
                    "CREATE TABLE d (id INT PRIMARY KEY, v VARCHAR(50), t TEXT, c CHAR(5) CHARACTER SET utf8mb3)",
                    "CREATE TABLE u (id INT PRIMARY KEY, v VARCHAR(50), b VARCHAR(9) CHARACTER SET binary, l VARCHAR(9) CHARACTER SET latin1) \
                     CHARACTER SET utf8mb4",
                ])
                .await;
            let mut reading = Reading::now(&server, "shop").await;
            server
                .run(&[
                    "SET NAMES utf8mb4",
                    "INSERT INTO shop.d VALUES (1, 'é€Š', 'naïve', '€€'), (2, '', '', ''), (3, NULL, NULL, NULL)",
                    // All bytes of latin1, those that no other character set has a place for among them.
                    "INSERT INTO shop.d (id, v) SELECT 100 + n.n, CONVERT(UNHEX(HEX(128 + n.n)) USING latin1) FROM \
                     (SELECT 0 AS n UNION SELECT 1 UNION SELECT 13 UNION SELECT 15 UNION SELECT 16 UNION SELECT 29 UNION SELECT 31 UNION SELECT 127) AS n",
                    "INSERT INTO shop.u VALUES (1, '🦀é', x'00FF', 'é'), (2, '', '', ''), (3, NULL, NULL, NULL)",
                ])
                .await;
            reading.go_on().await.unwrap().must_equal(&server, "shop").await;
            server
                .run(&[
                    "SET NAMES utf8mb4",
                    "ALTER TABLE shop.d CONVERT TO CHARACTER SET utf8mb4",
                    "ALTER TABLE shop.u MODIFY l VARCHAR(9) CHARACTER SET utf8mb3",
                    "INSERT INTO shop.d VALUES (5, '🦀', '日本', 'ü')",
                    "UPDATE shop.u SET l = '日' WHERE id = 1",
                    "UPDATE shop.d SET t = '日' WHERE id = 1",
                ])
                .await;
            let rows = reading.go_on().await.unwrap();
            rows.must_equal(&server, "shop").await;
        }
    }
}

#[tokio::test]
async fn columns_that_nobody_sees() {
    for (server, mysql) in everywhere().await {
        for metadata in METADATA {
            prepare(&server, metadata).await;
            server
                .run(&[
                    "USE shop",
                    "CREATE TABLE g (id INT PRIMARY KEY, a INT, v INT AS (a * 2) VIRTUAL, s INT AS (a + 1) STORED, z INT)",
                    "CREATE TABLE p (id INT, region INT, v VARCHAR(9), PRIMARY KEY (id, region)) PARTITION BY HASH (region) PARTITIONS 5",
                    "CREATE TABLE flags (id INT ZEROFILL PRIMARY KEY, b BOOL, u MEDIUMINT ZEROFILL, y YEAR, bits BIT(33), pad BINARY(5))",
                ])
                .await;
            if mysql {
                server
                    .run(&[
                        "USE shop",
                        "CREATE TABLE i (id INT PRIMARY KEY, a INT INVISIBLE, b INT)",
                        "CREATE TABLE f (id INT PRIMARY KEY, a INT, b INT, INDEX ((a + b)))",
                        "SET sql_generate_invisible_primary_key = ON",
                        "CREATE TABLE k (v INT)",
                    ])
                    .await;
            } else {
                server
                    .run(&[
                        "USE shop",
                        "CREATE TABLE i (id INT PRIMARY KEY, a INT INVISIBLE, b INT)",
                        "CREATE TABLE f (id INT PRIMARY KEY, a INT, b INT)",
                        "CREATE TABLE k (v INT)",
                    ])
                    .await;
            }
            let mut reading = Reading::now(&server, "shop").await;
            server
                .run(&[
                    "INSERT INTO shop.g (id, a, z) VALUES (1, 10, 5), (2, NULL, 6)",
                    "UPDATE shop.g SET a = 11 WHERE id = 1",
                    "INSERT INTO shop.p SELECT 1, 1, 'a' UNION SELECT 1, 2, 'b' UNION SELECT 2, 7, 'c'",
                    "UPDATE shop.p SET region = 4 WHERE id = 1 AND region = 2",
                    "INSERT INTO shop.i (id, a, b) VALUES (1, 7, 8)",
                    "UPDATE shop.i SET a = 9",
                    "INSERT INTO shop.f VALUES (1, 2, 3), (2, NULL, 1)",
                    "UPDATE shop.f SET a = 5 WHERE id = 1",
                    "INSERT INTO shop.k VALUES (3), (4), (4)",
                    "DELETE FROM shop.k WHERE v = 3",
                    "INSERT INTO shop.flags VALUES (7, TRUE, 16777215, 0, b'111111111111111111111111111111111', 'a'), (8, FALSE, 1, 2155, 0, ''), \
                     (9, 100, 0, 1901, 1, 'a\\0b\\0\\0')",
                ])
                .await;
            reading.go_on().await.unwrap().must_equal(&server, "shop").await;
        }
    }
}

#[tokio::test]
async fn names_that_need_quoting() {
    for (server, _) in everywhere().await {
        prepare(&server, "").await;
        server.run(&["CREATE DATABASE IF NOT EXISTS shop2"]).await;
        let long = "n".repeat(64);
        let names = ["a.b", "we``ird", "select", "with space", "ключ", "UPPER", "upper", "d\"q'", &long];
        for name in names {
            server
                .run(&[&format!("CREATE TABLE shop.`{name}` (`id.{name:.20}` INT PRIMARY KEY, `order` INT)")])
                .await;
        }
        server.run(&["CREATE TABLE shop2.`select` (id INT PRIMARY KEY)"]).await;
        let mut reading = Reading::now(&server, "shop").await;
        for name in names {
            server
                .run(&["SET NAMES utf8mb4", &format!("INSERT INTO shop.`{name}` VALUES (1, 2), (2, 3)")])
                .await;
        }
        server
            .run(&[
                "INSERT INTO shop2.`select` VALUES (1)",
                "USE shop2",
                "TRUNCATE TABLE `select`",
                "TRUNCATE TABLE shop.`we``ird`",
                "TRUNCATE shop.UPPER",
            ])
            .await;
        let copy = reading.go_on().await.unwrap();
        assert_eq!(copy.ops.len(), 2 * names.len() + 2, "{:?}", copy.ops);
        copy.must_equal(&server, "shop").await;
    }
}

#[tokio::test]
async fn metadata_and_images_change_while_reading() {
    for (server, _) in everywhere().await {
        prepare(&server, "").await;
        server
            .run(&["CREATE TABLE shop.t (id INT UNSIGNED PRIMARY KEY, e ENUM('a', 'b'), v VARCHAR(9), n INT DEFAULT 7)"])
            .await;
        let mut reading = Reading::now(&server, "shop").await;
        for (at, (metadata, image)) in [
            ("FULL", "FULL"),
            ("MINIMAL", "MINIMAL"),
            ("FULL", "MINIMAL"),
            ("MINIMAL", "NOBLOB"),
            ("FULL", "FULL"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = 4_294_967_290 + at;
            server
                .run(&[
                    &format!("SET GLOBAL binlog_row_metadata = '{metadata}'"),
                    // A table map is made when the table is opened.
                    "FLUSH TABLES",
                    &format!("SET SESSION binlog_row_image = '{image}'"),
                    &format!("INSERT INTO shop.t VALUES ({id}, 'b', 'x', NULL)"),
                    &format!("UPDATE shop.t SET e = 'a', n = 5 WHERE id = {id}"),
                ])
                .await;
        }
        let copy = reading.go_on().await.unwrap();
        assert_eq!(copy.ops.len(), 10);
        copy.must_equal(&server, "shop").await;
    }
}
