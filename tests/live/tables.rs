//! Tables of a running mine that are paused and resumed: under load, in the middle of a huge transaction, over DDL and
//! restarts, and where the server no longer has what they missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lode::engine::Engine;
use lode::engine::door::Door;
use lode::error::Kind;
use lode::model::coverage::Paused;
use lode::model::table::{Pattern, TableSet};
use lode::run::mine::MineState;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::support::servers::{MariaDb, MySql, Server};
use crate::world::{World, abort, drain, eventually, settled};
use crate::{parity, servers};

/// Rows of the huge transaction. By hand, `LODE_HUGE_ROWS` may say more.
const HUGE_ROWS: i64 = 200_000;

/// So often lode is killed while a table catches up.
const LIVES: u32 = 8;

/// `b_ledger` only gets rows, so that `all_ledger` has one row for every change; rows of `b_stock` change and go.
const SCRIPT: &str = "
    pipeline small   = source mysql shop.small share_mining -> sink sqlite lite.*
    pipeline ledger  = source mysql shop.b_ledger share_mining -> [ sink sqlite lite.*, sink mysql copy.* ]
    pipeline changes = source mysql shop.b_ledger share_mining -> sink sqlite lite.all_ledger { mode = append }
    pipeline stock   = source mysql shop.b_stock share_mining -> sink sqlite lite.*
    ";

async fn make_tables(world: &World) {
    world
        .sql(
            "CREATE TABLE small (id BIGINT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(100));
             CREATE TABLE b_ledger (id BIGINT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(300));
             CREATE TABLE b_stock (id INT PRIMARY KEY, amount INT NOT NULL)",
        )
        .await;
}

fn set(world: &World, pattern: &str) -> TableSet {
    TableSet { database: world.database.clone(), include: vec![Pattern(pattern.into())], exclude: Vec::new() }
}

async fn paused(engine: &Engine) -> Vec<Paused> {
    engine.paused_tables("shop").await.expect("the mine is there")
}

async fn resumed(engine: &Engine) {
    eventually("all is resumed", async || paused(engine).await.is_empty()).await;
}

fn count(world: &World, table: &str) -> i64 {
    world.lite_number(&format!("SELECT COUNT(*) FROM {table}"))
}

/// Everything is delivered, nothing twice.
async fn all_is_the_same(world: &World, engine: Engine) {
    world.sql("INSERT INTO b_stock (id, amount) VALUES (-1, 1)").await;
    let rows = async |table: &str| world.number(&format!("SELECT COUNT(*) FROM {table}")).await;
    let (small, ledger, stock) = (rows("small").await, rows("b_ledger").await, rows("b_stock").await);
    let sum = world.number("SELECT COALESCE(SUM(amount), 0) FROM b_stock").await;
    eventually("everything is delivered", async || {
        count(world, "small") == small
            && count(world, "b_ledger") == ledger
            && count(world, "all_ledger") >= ledger
            && count(world, "b_stock") == stock
            && world.lite_number("SELECT COALESCE(SUM(amount), 0) FROM b_stock") == sum
    })
    .await;
    drain(engine).await;
    assert_eq!(count(world, "all_ledger"), ledger, "nothing came twice");
    assert_eq!(world.lite_number("SELECT COUNT(DISTINCT id) FROM all_ledger"), ledger);
    // The rows of one table come in the order of the source.
    let unordered = "SELECT COUNT(*) FROM (SELECT id, LAG(id) OVER (ORDER BY rowid) AS before FROM all_ledger) \
                     WHERE before > id";
    assert_eq!(world.lite_number(unordered), 0);
    assert_eq!(parity::in_sqlite(world).await.same(), 3);
    assert_eq!(parity::copied(world).await.same(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_on_mariadb() {
    under_load(servers::mariadb_full().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_on_mysql() {
    under_load(servers::mysql_full().await).await;
}

async fn under_load(server: &Server) {
    let world = World::on(server).await;
    make_tables(&world).await;
    let engine = world.start(SCRIPT).await;
    let load = Load::start(&world).await;
    eventually("all goes on", async || count(&world, "all_ledger") > 20 && count(&world, "small") > 20).await;

    engine.pause_tables("shop", &set(&world, "b_*")).await.unwrap();
    let (mut still, mut small) = (0, 0);
    eventually("nothing comes of what is paused", async || {
        let before = (still, small);
        (still, small) = (count(&world, "all_ledger"), count(&world, "small"));
        tokio::time::sleep(Duration::from_millis(200)).await;
        still == before.0 && small > before.1
    })
    .await;
    let error = engine.pause_tables("shop", &set(&world, "b_stock")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");

    // DDL while it is paused: the rows before and after it come with the columns that they had.
    world.sql("ALTER TABLE b_stock ADD COLUMN colour VARCHAR(10) NOT NULL DEFAULT 'red' FIRST").await;
    world.sql("INSERT INTO b_stock (id, amount, colour) VALUES (1000000, 1, 'blue')").await;
    let others = count(&world, "small");
    eventually("the others go on", async || count(&world, "small") > others + 100).await;
    assert_eq!(count(&world, "all_ledger"), still);

    engine.resume_tables("shop", &set(&world, "b_*"), false).await.unwrap();
    resumed(&engine).await;
    let all = world.number("SELECT COUNT(*) FROM b_ledger").await;
    eventually("it goes on with the others", async || count(&world, "all_ledger") > all + 50).await;
    eventually("there is one reader again", async || world.dump_threads().await.len() == 1).await;

    // Once more, each table by itself.
    for table in ["b_ledger", "b_stock"] {
        engine.pause_tables("shop", &set(&world, table)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.sql("ALTER TABLE b_stock DROP COLUMN colour").await;
    engine.resume_tables("shop", &set(&world, "b_*"), false).await.unwrap();
    resumed(&engine).await;
    load.stop().await;
    all_is_the_same(&world, engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_huge_transaction_on_mariadb() {
    in_the_middle_of_a_huge_transaction(servers::mariadb_full().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_huge_transaction_on_mysql() {
    in_the_middle_of_a_huge_transaction(servers::mysql_full().await).await;
}

async fn in_the_middle_of_a_huge_transaction(server: &Server) {
    let rows = std::env::var("LODE_HUGE_ROWS").map_or(HUGE_ROWS, |rows| rows.parse().expect("a number"));
    let world = World::on(server).await;
    make_tables(&world).await;
    let engine = world.start(SCRIPT).await;
    let mut doubling =
        vec!["BEGIN".to_owned(), "INSERT INTO b_ledger VALUES (1, REPEAT('x', 300))".to_owned()];
    let mut filled = 1;
    while filled < rows {
        let more = filled.min(rows - filled);
        doubling
            .push(format!("INSERT INTO b_ledger SELECT id + {filled}, pad FROM b_ledger WHERE id <= {more}"));
        filled += more;
    }
    doubling.push("COMMIT".into());
    world.sql(&doubling.join(";\n")).await;

    // The head moves with commits only: it is still before the transaction while a part of it is mined.
    settled(&engine, "a part is mined", |status| status.mines[0].changes > 2000).await;
    engine.pause_tables("shop", &set(&world, "b_ledger")).await.unwrap();
    let since = paused(&engine).await;
    let before = world.number("SELECT COUNT(*) FROM b_ledger").await;
    assert_eq!((since.len(), before), (1, rows));
    assert_eq!(count(&world, "b_ledger"), 0, "it was paused before the transaction ended");
    world.sql("INSERT INTO small (pad) VALUES ('while it is paused')").await;
    eventually("the other table goes on", async || count(&world, "small") == 1).await;

    engine.resume_tables("shop", &set(&world, "b_ledger"), false).await.unwrap();
    // The other table goes on while the transaction is caught up, one row after the other.
    let (mut written, mut meanwhile) = (1, 0);
    while !paused(&engine).await.is_empty() {
        world.sql("INSERT INTO small (pad) VALUES ('while it catches up')").await;
        written += 1;
        let began = Instant::now();
        eventually("the row arrives", async || count(&world, "small") == written).await;
        assert!(began.elapsed() < Duration::from_secs(10), "a row took {:?}", began.elapsed());
        meanwhile += u32::from(!paused(&engine).await.is_empty());
    }
    assert!(meanwhile > 0, "rows arrived while the transaction was caught up");
    all_is_the_same(&world, engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_restarts_on_mariadb() {
    over_restarts(servers::mariadb_full().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_restarts_on_mysql() {
    over_restarts(servers::mysql_full().await).await;
}

async fn over_restarts(server: &Server) {
    let world = World::on(server).await;
    make_tables(&world).await;
    let engine = world.start(SCRIPT).await;
    world.sql("INSERT INTO b_ledger VALUES (1, REPEAT('x', 300));\nINSERT INTO small VALUES (1, 'x')").await;
    eventually("both arrive", async || count(&world, "all_ledger") == 1 && count(&world, "small") == 1).await;
    engine.pause_tables("shop", &set(&world, "b_ledger")).await.unwrap();
    abort(engine).await;
    let (mut rows, mut doubling) = (1, vec!["BEGIN".to_owned()]);
    while rows < 30_000 {
        doubling
            .push(format!("INSERT INTO b_ledger SELECT id + {rows}, pad FROM b_ledger WHERE id <= {rows}"));
        rows *= 2;
    }
    doubling.push("COMMIT".into());
    world.sql(&doubling.join(";\n")).await;

    let engine = world.start(SCRIPT).await;
    world.sql("INSERT INTO small VALUES (2, 'y')").await;
    eventually("the other goes on", async || count(&world, "small") == 2).await;
    assert_eq!(count(&world, "all_ledger"), 1, "what is paused stays paused");
    engine.resume_tables("shop", &set(&world, "b_ledger"), false).await.unwrap();

    // Killed wherever it is, again and again.
    let (mut engine, mut lives, mut within) = (engine, 0, 0);
    while lives < LIVES {
        let Some(before) = paused(&engine).await.pop() else { break };
        eventually("it goes on", async || paused(&engine).await.first() != Some(&before)).await;
        let now = paused(&engine).await.pop();
        within += u32::from(now.is_some_and(|now| now.within > 0));
        if lives % 2 == 0 {
            abort(engine).await
        } else {
            drain(engine).await;
        }
        engine = world.start(SCRIPT).await;
        lives += 1;
    }
    resumed(&engine).await;
    assert!(within > 0, "it was killed in the middle of the transaction, in one of {lives} lives");
    all_is_the_same(&world, engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_purged_it_on_mariadb() {
    where_the_server_purged_it(MariaDb::start(&["--binlog-row-metadata=FULL"]).await, "mariadb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_purged_it_on_mysql() {
    where_the_server_purged_it(MySql::start(&["--binlog-row-metadata=FULL"]).await, "mysql").await;
}

async fn where_the_server_purged_it(server: Server, name: &str) {
    let world = World::on(&server).await;
    make_tables(&world).await;
    let engine = world.start(SCRIPT).await;
    world.sql("INSERT INTO b_ledger VALUES (1, 'before');\nINSERT INTO small VALUES (1, 'before')").await;
    eventually("both arrive", async || count(&world, "all_ledger") == 1 && count(&world, "small") == 1).await;
    engine.pause_tables("shop", &set(&world, "b_ledger")).await.unwrap();
    world.sql("INSERT INTO b_ledger VALUES (2, 'lost');\nFLUSH BINARY LOGS;\nINSERT INTO b_ledger VALUES (3, 'kept')").await;
    world.sql("INSERT INTO small VALUES (2, 'meanwhile')").await;
    eventually("the other goes on", async || count(&world, "small") == 2).await;
    let mut root = world.root().await;
    let files: Vec<mysql_async::Row> = root.query("SHOW BINARY LOGS").await.unwrap();
    let last: String = files.last().expect("there are files").get(0).expect("a name");
    root.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await.unwrap();
    root.disconnect().await.unwrap();

    let error = engine.resume_tables("shop", &set(&world, "b_ledger"), false).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Gap, "{error}");
    let said = format!("{error}; {}", error.next_step().expect("both ways out"));
    for word in ["no longer has", "fill the target anew", "accept the gap"] {
        assert!(said.contains(word), "{name}: {said}");
    }
    assert!(!paused(&engine).await[0].resuming, "it stays paused");
    world.sql("INSERT INTO small VALUES (3, 'after the refusal')").await;
    eventually("the other goes on", async || count(&world, "small") == 3).await;

    engine.resume_tables("shop", &set(&world, "b_ledger"), true).await.unwrap();
    resumed(&engine).await;
    world.sql("INSERT INTO b_ledger VALUES (4, 'after')").await;
    eventually("it goes on behind the gap", async || {
        world.lite_rows("SELECT id FROM all_ledger ORDER BY rowid") == [["1"], ["3"], ["4"]]
    })
    .await;
    let status = engine.status().await;
    assert_eq!(status.mines[0].state, MineState::Running);
    let place = engine.find_log(&world.plan(&engine, SCRIPT), "shop").await.unwrap();
    let gaps = engine.read_log(&place).await.unwrap().coverage().gaps;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].tables, Some(set(&world, "b_ledger")));
    assert!(gaps[0].to.reaches(&gaps[0].from) && gaps[0].to.file == last, "{gaps:?}");
    drain(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_the_log_remembers_need_no_names_on_mariadb() {
    columns_that_the_log_remembers_need_no_names(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_the_log_remembers_need_no_names_on_mysql() {
    columns_that_the_log_remembers_need_no_names(servers::mysql().await).await;
}

/// Rows from before a statement that changes their table are read by the columns that the log has of them: while the table
/// was paused, and while lode was away.
async fn columns_that_the_log_remembers_need_no_names(server: &Server) {
    let world = World::on(server).await;
    make_tables(&world).await;
    let engine = world.start(SCRIPT).await;
    world.sql("INSERT INTO b_ledger VALUES (1, 'before')").await;
    eventually("it arrives", async || count(&world, "all_ledger") == 1).await;
    engine.pause_tables("shop", &set(&world, "b_ledger")).await.unwrap();
    world.sql("INSERT INTO b_ledger VALUES (2, 'old')").await;
    world.sql("ALTER TABLE b_ledger ADD COLUMN colour INT FIRST").await;
    world.sql("INSERT INTO b_ledger VALUES (30, 3, 'new')").await;
    engine.resume_tables("shop", &set(&world, "b_ledger"), false).await.unwrap();
    resumed(&engine).await;
    eventually("all arrives", async || count(&world, "all_ledger") == 3).await;

    drain(engine).await;
    world.sql("INSERT INTO b_ledger VALUES (40, 4, 'away')").await;
    world.sql("ALTER TABLE b_ledger DROP COLUMN colour").await;
    world.sql("INSERT INTO b_ledger VALUES (5, 'back')").await;
    let engine = world.start(SCRIPT).await;
    eventually("all arrives", async || count(&world, "all_ledger") == 5).await;
    assert_eq!(
        world.lite_rows("SELECT id, pad, COALESCE(colour, '-') FROM all_ledger ORDER BY id"),
        [
            ["1", "before", "-"],
            ["2", "old", "-"],
            ["3", "new", "30"],
            ["4", "away", "40"],
            ["5", "back", "-"]
        ]
    );
    drain(engine).await;
}

/// Without names in the table maps, rows that are older than today's columns cannot be told apart.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_any_more_is_said() {
    let world = World::on(servers::mariadb().await).await;
    make_tables(&world).await;
    let engine = world.start(SCRIPT).await;
    world.sql("INSERT INTO b_ledger VALUES (1, 'before');\nINSERT INTO small VALUES (1, 'before')").await;
    eventually("both arrive", async || count(&world, "all_ledger") == 1 && count(&world, "small") == 1).await;
    engine.pause_tables("shop", &set(&world, "b_ledger")).await.unwrap();
    world.sql("ALTER TABLE b_ledger ADD COLUMN size INT;\nINSERT INTO b_ledger VALUES (2, 'old', 2)").await;
    world.sql("ALTER TABLE b_ledger ADD COLUMN colour INT").await;
    world
        .sql("INSERT INTO b_ledger VALUES (3, 'new', 3, 3);\nINSERT INTO small VALUES (2, 'meanwhile')")
        .await;
    eventually("the other goes on", async || count(&world, "small") == 2).await;
    engine.resume_tables("shop", &set(&world, "b_ledger"), false).await.unwrap();
    eventually("it cannot catch up", async || paused(&engine).await[0].failed.is_some()).await;
    let now = paused(&engine).await.pop().expect("it stays paused");
    let failed = now.failed.expect("it has failed");
    assert!(!now.resuming && failed.kind == Kind::Data, "{failed:?}");
    assert!(failed.advice.is_some(), "{failed:?}");
    world.sql("INSERT INTO small VALUES (3, 'after that')").await;
    eventually("the other goes on", async || count(&world, "small") == 3).await;
    assert_eq!(engine.status().await.mines[0].state, MineState::Running);

    engine.resume_tables("shop", &set(&world, "b_ledger"), true).await.unwrap();
    resumed(&engine).await;
    world.sql("INSERT INTO b_ledger VALUES (4, 'after', 4, 4)").await;
    eventually("it goes on behind the gap", async || {
        world.lite_rows("SELECT id FROM all_ledger ORDER BY rowid") == [["1"], ["4"]]
    })
    .await;
    drain(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_point_is_named_by_gtids_on_mariadb() {
    a_start_point_is_named_by_gtids(servers::mariadb_full().await, "SELECT @@gtid_binlog_pos").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_point_is_named_by_gtids_on_mysql() {
    a_start_point_is_named_by_gtids(servers::mysql_full().await, "SELECT @@gtid_executed").await;
}

async fn a_start_point_is_named_by_gtids(server: &Server, executed: &str) {
    let world = World::on(server).await;
    make_tables(&world).await;
    let engine = world.start(SCRIPT).await;
    let place = async || server.value(executed).await.replace('\n', "");
    let begin = place().await;
    world.sql("INSERT INTO small VALUES (1, 'mined');\nINSERT INTO b_ledger VALUES (1, 'mined')").await;
    eventually("both arrive", async || count(&world, "small") == 1 && count(&world, "all_ledger") == 1).await;
    engine.pause_tables("shop", &set(&world, "b_ledger")).await.unwrap();
    let say = async |line: &str| {
        let reply = engine.line(line, world.dir.path(), &Door::Program, true).await;
        format!("{reply:?}")
    };
    say("stop shop").await;
    world.sql("INSERT INTO small VALUES (2, 'skipped');\nINSERT INTO b_ledger VALUES (2, 'paused')").await;
    let behind = place().await;
    world.sql("INSERT INTO small VALUES (3, 'behind');\nINSERT INTO b_ledger VALUES (3, 'paused')").await;

    let refused = say(&format!("set shop.start = gtid(\"{begin}\")")).await;
    assert!(refused.contains("lies before"), "{refused}");
    let done = say(&format!("set shop.start = gtid(\"{behind}\")")).await;
    assert!(done.contains("goes on at"), "{done}");
    say("start shop").await;
    eventually("it goes on behind the place", async || {
        world.lite_rows("SELECT id FROM small ORDER BY id") == [["1"], ["3"]]
    })
    .await;
    // What was paused keeps its place, and misses nothing.
    engine.resume_tables("shop", &set(&world, "b_ledger"), false).await.unwrap();
    resumed(&engine).await;
    eventually("nothing is missing", async || {
        world.lite_rows("SELECT id FROM all_ledger ORDER BY rowid") == [["1"], ["2"], ["3"]]
    })
    .await;
    let log = engine.find_log(&world.plan(&engine, SCRIPT), "shop").await.unwrap();
    let gaps = engine.read_log(&log).await.unwrap().coverage().gaps;
    assert!(gaps.len() == 1 && gaps[0].tables.is_none() && gaps[0].to.gtid == behind, "{gaps:?}");
    drain(engine).await;
}

/// Somebody who changes all three tables in each transaction.
struct Load {
    goes_on: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    async fn start(world: &World) -> Load {
        let goes_on = Arc::new(AtomicBool::new(true));
        let mut conn = world.root().await;
        let task = tokio::spawn({
            let goes_on = Arc::clone(&goes_on);
            async move {
                let mut at = 0;
                while goes_on.load(Ordering::Relaxed) {
                    let (key, old) = (at % 500, (at + 250) % 500);
                    for statement in [
                        "BEGIN".to_owned(),
                        "INSERT INTO small (pad) VALUES ('x')".to_owned(),
                        "INSERT INTO b_ledger (pad) VALUES (REPEAT('y', 100)), ('z')".to_owned(),
                        format!(
                            "INSERT INTO b_stock (id, amount) VALUES ({key}, {at}) ON DUPLICATE KEY UPDATE amount = {at}"
                        ),
                        format!("DELETE FROM b_stock WHERE id = {old}"),
                        "COMMIT".to_owned(),
                    ] {
                        conn.query_drop(&statement)
                            .await
                            .unwrap_or_else(|error| panic!("{error} in {statement}"));
                    }
                    at += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                conn.disconnect().await.expect("the connection ends");
            }
        });
        Load { goes_on, task }
    }

    async fn stop(self) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.task.await.expect("the load does not panic");
    }
}
