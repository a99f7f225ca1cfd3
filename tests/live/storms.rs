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
    pipeline counts = source mysql shop.ledger share_mining
      -> [ sink sqlite lite.all_ledger { mode = append }, sink mysql copy.all_ledger { mode = append } ]
    pipeline direct = source mysql shop.ledger -> sink sqlite lite.direct_ledger { mode = append }
    ";

/// The tables that have a row for every change.
const COUNTS: [&str; 2] = ["all_ledger", "direct_ledger"];

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_in_all_weathers() {
    in_all_weathers(MariaDb::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_in_all_weathers() {
    in_all_weathers(MySql::start(&[]).await).await;
}

/// MySQL as it comes: places are files and offsets.
#[tokio::test(flavor = "multi_thread")]
async fn mysql_without_gtids_in_all_weathers() {
    in_all_weathers(MySql::start(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await).await;
}

async fn in_all_weathers(mut server: Server) {
    let world = World::on(&server).await;
    world.sql("CREATE TABLE ledger (id BIGINT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(100))").await;
    let engine = world.start(SCRIPT).await;
    let load = Load::start(&server, &world.database);
    let delivered = || {
        let rows = |table: &str| world.lite_number(&format!("SELECT COUNT(*) FROM {table}"));
        COUNTS.into_iter().chain(["ledger"]).map(rows).min().expect("there are tables")
    };
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

    let readers = world.dump_threads().await;
    assert_eq!(readers.len(), 2, "the mine, and the pipeline that reads for itself");
    for reader in &readers {
        server.sql(&format!("KILL {reader}")).await;
    }
    goes_on("the readers were killed").await;
    assert!(world.dump_threads().await.iter().all(|reader| !readers.contains(reader)));

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
    // The target was away whenever the source was: it is the same server.
    let copied = format!("FROM {}_copy.all_ledger", world.database);
    let count = format!("SELECT COUNT(*) {copied}");
    eventually("everything is delivered", async || delivered() >= rows && world.number(&count).await >= rows)
        .await;
    eventually("no reader is left over", async || world.dump_threads().await.len() == 2).await;
    drain(engine).await;
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
    for table in COUNTS {
        assert_eq!(
            world.lite_number(&format!("SELECT COUNT(*) FROM {table}")),
            rows,
            "{table}: nothing came twice"
        );
        assert_eq!(world.lite_number(&format!("SELECT COUNT(DISTINCT id) FROM {table}")), rows, "{table}");
    }
    assert_eq!(world.number(&count).await, rows, "nothing came twice");
    assert_eq!(world.number(&format!("SELECT COUNT(DISTINCT id) {copied}")).await, rows);
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
