//! A transaction larger than all queues: it streams through in parts, and others are not held up by its pipeline.

use std::time::{Duration, Instant};

use lode::engine::status::Status;

use crate::support::servers::Server;
use crate::world::{World, drain, eventually, route, settled};
use crate::{parity, servers};

/// Rows of the transaction; `LODE_HUGE_ROWS=1000000` for the whole of what was promised.
const ROWS: u64 = 100_000;
/// How long a row of another table may take while the huge transaction is being delivered.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_holds_up_no_other_table_on_mariadb() {
    a_huge_transaction_holds_up_no_other_table(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_holds_up_no_other_table_on_mysql() {
    a_huge_transaction_holds_up_no_other_table(servers::mysql().await).await;
}

async fn a_huge_transaction_holds_up_no_other_table(server: &Server) {
    let rows = std::env::var("LODE_HUGE_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROWS);
    let world = World::on(server).await;
    world
        .sql(
            "CREATE TABLE big (id INT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(200));\n\
             CREATE TABLE small (id INT PRIMARY KEY)",
        )
        .await;
    let script = "
        connection other = sqlite \"other.db\"
        pipeline big   = source mysql shop.big share_mining -> sink sqlite other.* { batch = 100 }
        pipeline small = source mysql shop.small share_mining -> sink sqlite lite.*
        ";
    let engine = world.start(script).await;
    world.sql(&transaction(rows)).await;
    // What follows in the binlog is delivered while the huge transaction's own pipeline is still busy with it.
    let mut busy = 0;
    for id in 0..10 {
        world.sql(&format!("INSERT INTO small VALUES ({id})")).await;
        let began = Instant::now();
        let count = "SELECT COUNT(*) FROM small";
        eventually("it is delivered", async || world.lite_number(count) == id + 1).await;
        // The first one waits until the transaction before it is read.
        assert!(id == 0 || began.elapsed() < PATIENCE, "row {id} took {:?}", began.elapsed());
        let status = engine.status().await;
        busy += u32::from(route(&status, "big").figures.changes_delivered < rows);
        assert_eq!(route(&status, "small").figures.retries, 0);
    }
    assert!(busy > 0, "the huge transaction was still on its way");
    let all = |status: &Status| {
        route(status, "big").figures.changes_delivered == rows
            && status.mines[0].consumers.iter().all(|consumer| consumer.lag_ms == Some(0))
    };
    let status = settled(&engine, "all is delivered", all).await;
    let counted = status.mines[0].counts.tables.iter().map(|table| table.changes).sum::<u64>();
    assert_eq!(counted, rows + 10);
    let sum = "SELECT COUNT(*) * 1000003 + SUM(id % 1009) FROM big";
    let delivered: i64 = world.lite("other.db").query_row(sum, [], |row| row.get(0)).expect("a number");
    assert_eq!(delivered, world.number(sum).await);
    drain(engine).await;
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
}

/// One transaction that makes so many rows: the table is copied into itself.
pub fn transaction(rows: u64) -> String {
    let mut statements = "BEGIN;\nINSERT INTO big (pad) VALUES ('first')".to_owned();
    let mut there = 1;
    while there < rows {
        let more = there.min(rows - there);
        statements += &format!(
            ";\nINSERT INTO big (pad) SELECT CONCAT(REPEAT('x', 150), id) FROM big ORDER BY id LIMIT {more}"
        );
        there += more;
    }
    statements + ";\nCOMMIT"
}
