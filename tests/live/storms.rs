//! Servers that restart, die, fall silent, rotate and kill, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::parity;
use crate::support::servers::{MariaDb, MySql, Server};
use crate::world::{World, drain, eventually, settled};

const SCRIPT: &str = "
    pipeline exact  = source mysql shop.ledger share_mining -> sink sqlite lite.*
    pipeline counts = source mysql shop.ledger share_mining -> sink sqlite lite.all_ledger { mode = append }
    ";

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_in_all_weathers() {
    in_all_weathers(MariaDb::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_in_all_weathers() {
    in_all_weathers(MySql::start(&[]).await).await;
}

async fn in_all_weathers(mut server: Server) {
    let world = World::on(&server).await;
    world.sql("CREATE TABLE ledger (id BIGINT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(100))").await;
    let engine = world.start(SCRIPT).await;
    let load = Load::start(&server, &world.database);
    let delivered = || world.lite_number("SELECT COUNT(*) FROM ledger");
    // More than the load has committed at this moment must arrive before the next blow.
    let goes_on = async |what: &str| {
        let committed = load.committed();
        eventually(&format!("rows are written again after {what}"), async || {
            load.committed() > committed + 5
        })
        .await;
        let committed = load.committed();
        eventually(&format!("rows arrive again after {what}"), async || delivered() >= committed).await;
    };
    goes_on("the start").await;

    for _ in 0..5 {
        server.sql("FLUSH BINARY LOGS").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    goes_on("rotations").await;

    let [reader] = world.dump_threads().await[..] else { panic!("one reader") };
    server.sql(&format!("KILL {reader}")).await;
    goes_on("the reader was killed").await;
    let [other] = world.dump_threads().await[..] else { panic!("one reader") };
    assert_ne!(other, reader);

    server.freeze();
    let status = settled(&engine, "the silence is noticed", |status| {
        matches!(status.mines[0].state, lode::run::mine::MineState::Retrying { .. })
    })
    .await;
    let lode::run::mine::MineState::Retrying { error, .. } = &status.mines[0].state else {
        panic!("{status:#?}")
    };
    assert!(error.contains("the server is silent"), "{error}");
    server.thaw();
    goes_on("a silence").await;

    server.restart().await;
    goes_on("a restart").await;
    server.kill();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.start_again().await;
    goes_on("a crash").await;

    load.stop().await;
    let rows = world.number("SELECT COUNT(*) FROM ledger").await;
    eventually("everything is delivered", async || {
        delivered() == rows && world.lite_number("SELECT COUNT(*) FROM all_ledger") >= rows
    })
    .await;
    eventually("one reader is left", async || world.dump_threads().await.len() == 1).await;
    drain(engine).await;
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM all_ledger"), rows, "nothing came twice");
    assert_eq!(world.lite_number("SELECT COUNT(DISTINCT id) FROM all_ledger"), rows);
}

/// Somebody who writes rows one by one, whatever happens to the server.
struct Load {
    goes_on: Arc<AtomicBool>,
    committed: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(server: &Server, database: &str) -> Load {
        let (goes_on, committed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicI64::new(0)));
        let (opts, insert) =
            (server.opts(), format!("INSERT INTO {database}.ledger (pad) VALUES (REPEAT('x', 100))"));
        let task = tokio::spawn({
            let (goes_on, committed) = (Arc::clone(&goes_on), Arc::clone(&committed));
            async move {
                while goes_on.load(Ordering::Relaxed) {
                    let Ok(mut conn) = Conn::new(opts.clone()).await else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    // After an error nobody knows whether the row is there; the server is asked at the end.
                    while goes_on.load(Ordering::Relaxed) && conn.query_drop(&insert).await.is_ok() {
                        committed.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        });
        Load { goes_on, committed, task }
    }

    fn committed(&self) -> i64 {
        self.committed.load(Ordering::Relaxed)
    }

    async fn stop(self) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.task.await.expect("the load does not panic");
    }
}
