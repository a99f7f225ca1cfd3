//! lode is ended and started again over the same data folder: nothing is lost, and nothing comes twice.

use std::time::Duration;

use lode::engine::Engine;

use crate::support::servers::Server;
use crate::world::{World, abort, drain, eventually, settled};
use crate::{parity, servers};

/// Rows of the large transaction: several batches of a sink, and at a kilobyte each more than the miner's queue holds.
const ROWS: i64 = 16_000;

const SCRIPT: &str = "
    pipeline exact  = source mysql shop.ledger share_mining -> [ sink sqlite lite.*, sink mysql copy.* ]
    pipeline counts = source mysql shop.ledger share_mining -> sink sqlite lite.all_ledger { mode = append }
    ";

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_transaction_on_mariadb() {
    in_the_middle_of_a_transaction(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_transaction_on_mysql() {
    in_the_middle_of_a_transaction(servers::mysql().await).await;
}

async fn in_the_middle_of_a_transaction(server: &Server) {
    let world = World::on(server).await;
    world.sql("CREATE TABLE ledger (id INT PRIMARY KEY, pad VARCHAR(1000))").await;
    // The place to begin at is in the log before the transaction comes.
    drain(world.start(SCRIPT).await).await;
    world.sql("INSERT INTO ledger VALUES (1, REPEAT('x', 1000)), (2, REPEAT('y', 1000)), (3, REPEAT('ä', 500)), (4, REPEAT('z', 999))").await;
    let mut rows = 4;
    let mut doubling = vec!["BEGIN".to_owned()];
    while rows < ROWS {
        doubling.push(format!("INSERT INTO ledger SELECT id + {rows}, pad FROM ledger WHERE id <= {rows}"));
        rows *= 2;
    }
    doubling.push("COMMIT".into());
    doubling.push("INSERT INTO ledger VALUES (0, 'last')".into());
    world.sql(&doubling.join(";\n")).await;
    let all = rows + 1;

    let mut interrupted = 0;
    for share in [1, 4, 7] {
        for ending in [Ending::Shutdown, Ending::Abort] {
            let engine = world.engine();
            world.apply_only(&engine, SCRIPT).await.unwrap();
            let part = (rows * share / 10) as u64;
            // The head moves with commits only; when it is behind the transaction, mining had its end before.
            let status = settled(&engine, "a part is mined", |status| {
                status.mines[0].changes >= part || status.mines[0].head > rows as u64
            })
            .await;
            interrupted += u32::from(status.mines[0].head <= rows as u64);
            ending.end(engine).await;
            let complete = world.lite_number("SELECT COUNT(*) FROM ledger");
            assert!(
                [0, 4, all - 1, all].contains(&complete),
                "{complete}: a transaction is there as a whole or not at all"
            );
        }
    }
    assert!(interrupted > 0, "lode was ended in the middle of the transaction");
    let engine = world.start(SCRIPT).await;
    eventually("everything is there", async || {
        world.lite_number("SELECT COUNT(*) FROM ledger") == all
            && world.lite_number("SELECT COUNT(*) FROM all_ledger") >= all
    })
    .await;
    drain(engine).await;
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM all_ledger"), all, "nothing came twice");
    assert_eq!(world.lite_number("SELECT COUNT(DISTINCT id) FROM all_ledger"), all);
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
    assert_eq!(parity::copied(&world).await.same(), 1);
}

enum Ending {
    Shutdown,
    Abort,
}

impl Ending {
    async fn end(self, engine: Engine) {
        match self {
            // Without patience for what is under way.
            Ending::Shutdown => {
                engine.shutdown(Duration::ZERO).await;
                abort(engine).await;
            }
            Ending::Abort => abort(engine).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_was_away_finds_no_hole() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE a (id INT PRIMARY KEY);\nCREATE TABLE b LIKE a").await;
        let a = "pipeline a = source mysql shop.a share_mining -> sink sqlite lite.*";
        let b = "pipeline b = source mysql shop.b share_mining -> sink sqlite lite.*";
        drain(world.start(&format!("{a}\n{b}")).await).await;
        // Only one of them runs; the log goes on covering both.
        let engine = world.start(a).await;
        world.sql("INSERT INTO a VALUES (1);\nINSERT INTO b VALUES (1)").await;
        eventually("a is delivered", async || world.lite_number("SELECT COUNT(*) FROM a") == 1).await;
        engine.stop("a").await.unwrap();
        world.sql("INSERT INTO a VALUES (2);\nINSERT INTO b VALUES (2)").await;
        engine.start("a").await.unwrap();
        world.apply(&engine, &format!("{a}\n{b}")).await.unwrap();
        eventually("both have all", async || {
            ["a", "b"].iter().all(|table| world.lite_number(&format!("SELECT COUNT(*) FROM {table}")) == 2)
        })
        .await;
        drain(engine).await;
        assert_eq!(parity::in_sqlite(&world).await.same(), 2);
    }
}
