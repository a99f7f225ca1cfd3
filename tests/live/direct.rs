//! Pipelines without `share_mining`: a reader of their own, and the same results.

use crate::support::servers::Server;
use crate::world::{World, drain, eventually, route, settled};
use crate::{parity, servers};

const SCRIPT: &str = "
    pipeline mined  = source mysql shop.{t, n} share_mining -> sink mysql copy.*
    pipeline direct = source mysql shop.{t, n} -> sink sqlite lite.*
    pipeline counts = source mysql shop.t -> sink sqlite lite.all_t { mode = append }
    ";

#[tokio::test(flavor = "multi_thread")]
async fn direct_and_mined_are_the_same_on_mariadb() {
    direct_and_mined_are_the_same(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_and_mined_are_the_same_on_mysql() {
    direct_and_mined_are_the_same(servers::mysql().await).await;
}

async fn direct_and_mined_are_the_same(server: &Server) {
    let world = World::on(server).await;
    world
        .sql(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), d DECIMAL(10,3), at TIMESTAMP(6) NULL);
            CREATE TABLE n (a BIGINT UNSIGNED, b ENUM('x', 'y'))",
        )
        .await;
    let engine = world.start(SCRIPT).await;
    assert_eq!(world.dump_threads().await.len(), 3, "one for the mine, and one for each direct pipeline");
    assert_eq!(route(&engine.status().await, "direct").mine, None);
    world
        .sql(
            "INSERT INTO t VALUES (1, 'a', 1.5, '2024-01-01 00:00:00.000001'), (2, 'ü', -0.001, NULL);
            INSERT INTO n VALUES (18446744073709551615, 'y'), (NULL, NULL);
            FLUSH BINARY LOGS;
            UPDATE t SET v = 'b', id = 7 WHERE id = 1",
        )
        .await;
    let counted = async |most| {
        eventually("all is counted", async || world.lite_number("SELECT COUNT(*) FROM all_t") >= most).await;
    };
    counted(3).await;
    drain_direct(engine, &world, 2).await;
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM all_t"), 3);

    // Each goes on where it was, although the server went on, too.
    world.sql("INSERT INTO t VALUES (8, 'away', 0, NULL);\nDELETE FROM n WHERE a IS NULL").await;
    let engine = world.start(SCRIPT).await;
    counted(4).await;
    world.sql("INSERT INTO t VALUES (9, 'back', 0, NULL)").await;
    counted(5).await;
    drain_direct(engine, &world, 4).await;
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM all_t"), 5, "nothing came twice");
}

/// What is under way to a direct pipeline is not waited for at the end, so that is done here.
async fn drain_direct(engine: lode::engine::Engine, world: &World, rows: i64) {
    eventually("the direct one has all", async || world.lite_number("SELECT COUNT(*) FROM t") == rows).await;
    settled(&engine, "nothing is under way", |status| {
        let figures = &route(status, "direct").figures;
        figures.changes_delivered == figures.changes_read
    })
    .await;
    drain(engine).await;
    assert_eq!(parity::in_sqlite(world).await.same(), 2);
    assert_eq!(parity::copied(world).await.same(), 2);
}
