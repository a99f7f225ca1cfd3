//! Pipelines under control on real servers: sent back, helped past a row, handed over while a sink hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use lode::engine::Engine;
use lode::error::Kind;
use lode::model::position::Seq;
use lode::model::spec::{Place, Start};
use lode::run::route::RouteState;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use crate::world::{World, abort, drain, eventually, route, settled};
use crate::{parity, servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_sent_back_and_ends_where_it_was() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE ledger (id INT PRIMARY KEY, balance INT, note VARCHAR(40))").await;
        let engine = world
            .start(
                "pipeline exact = source mysql shop.ledger share_mining -> [ sink sqlite lite.*, sink mysql copy.* ]
                 pipeline lines = source mysql shop.ledger share_mining -> sink jsonl \"lines.jsonl\"",
            )
            .await;
        let load = Load::start(&world).await;
        let head = || async { engine.status().await.mines[0].head };
        eventually("something is mined", async || head().await > 300).await;
        let before = head().await;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        tokio::time::sleep(Duration::from_secs(2)).await;

        for to in [
            Place::Seq { seq: Seq(before) },
            Place::Seq { seq: Seq(17) },
            Place::Start(Start::Time(now_ms)),
            Place::Start(Start::Earliest),
        ] {
            let places = engine.rewind("exact", &to).await.expect("the log has it");
            assert_eq!(places.len(), 2, "{to:?}");
            for place in places {
                let next = place.cursor.next;
                match to {
                    Place::Seq { seq } => assert!(next <= seq && seq.0 - next.0 < 200, "{to:?}: {next}"),
                    Place::Start(Start::Time(_)) => assert!(next.0 > before / 2, "{to:?}: {next}"),
                    Place::Start(_) => assert_eq!(next, Seq(0)),
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let refused =
            engine.rewind("exact", &Place::Seq { seq: Seq(1 << 40) }).await.expect_err("it is to come");
        assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");
        let gone = engine.rewind("exact", &Place::Start(Start::Time(0))).await.expect_err("it is gone");
        assert_eq!(gone.kind(), Kind::Gap, "{gone:?}");
        assert!(gone.to_string().contains("it begins with entry 0"), "{gone}");

        // What a file has is not cut back: the same lines come again behind it.
        load.stop().await;
        let all = head().await;
        let is_at_end = |pipeline: &'static str| {
            settled(&engine, "everything is delivered", move |status| {
                let pipeline = status.pipelines.iter().find(|known| known.name == pipeline);
                pipeline.is_some_and(|known| known.routes.iter().all(|route| route.figures.next.0 >= all))
            })
        };
        is_at_end("lines").await;
        let once = std::fs::read_to_string(world.dir.path().join("lines.jsonl")).expect("it is written");
        engine.rewind("lines", &Place::Start(Start::Earliest)).await.expect("the log has it");
        is_at_end("lines").await;
        is_at_end("exact").await;
        drain(engine).await;
        let twice = std::fs::read_to_string(world.dir.path().join("lines.jsonl")).expect("it is written");
        assert_eq!(twice, format!("{once}{once}"));
        assert_eq!(parity::in_sqlite(&world).await.same(), 1);
        assert_eq!(parity::copied(&world).await.same(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_target_rejects_is_skipped_and_nothing_else() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE ledger (id INT PRIMARY KEY, note VARCHAR(40))").await;
        let mut target = world.target().await;
        target.query_drop("CREATE TABLE ledger (id INT PRIMARY KEY, note VARCHAR(5))").await.unwrap();
        let script = "pipeline exact = source mysql shop.ledger share_mining -> sink mysql copy.*";
        let engine = world.start(script).await;
        let refused = engine.skip("exact").await.expect_err("it is well");
        assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");
        let rows: Vec<String> = (1..=200)
            .map(|id| format!("({id}, '{}')", if id == 77 || id == 150 { "too long for it" } else { "fits" }))
            .collect();
        world.sql(&format!("INSERT INTO ledger VALUES {}", rows.join(", "))).await;
        world.sql("INSERT INTO ledger VALUES (201, 'last')").await;

        let mut engine = engine;
        for (left, id) in [(2, "77"), (1, "150")] {
            let status = settled(&engine, "it fails", |status| {
                matches!(route(status, "exact").state, RouteState::Failed { .. })
            })
            .await;
            let RouteState::Failed { kind: Kind::Data, error, at: Some(_), .. } =
                &route(&status, "exact").state
            else {
                panic!("{left}: {status:#?}")
            };
            assert!(error.contains(&format!("id = {id}")), "the row is named: {error}");
            if left == 2 {
                engine.skip("exact").await.expect("it failed on one row");
            } else {
                // lode is gone before anything is delivered behind the second skip.
                engine.skip("exact").await.expect("it failed on one row");
                abort(engine).await;
                engine = world.start(script).await;
            }
        }
        eventually("the rest is there", async || {
            let count: Option<i64> = target.query_first("SELECT COUNT(*) FROM ledger").await.unwrap();
            count == Some(199)
        })
        .await;
        let missing: Vec<i64> = world
            .root()
            .await
            .query(format!(
                "SELECT id FROM ledger WHERE id NOT IN (SELECT id FROM {}_copy.ledger) ORDER BY id",
                world.database
            ))
            .await
            .unwrap();
        assert_eq!(missing, [77, 150]);
        let aside = std::fs::read_to_string(world.data().join("aside").join("exact.jsonl")).unwrap();
        for id in [77, 150] {
            let found = aside.lines().filter(|line| line.contains(&format!("\"id\":{id},"))).count();
            assert!(found > 0, "{id} in {aside}");
        }
        drain(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_is_not_held_up_by_a_target_that_hangs() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE ledger (id INT PRIMARY KEY, balance INT, note VARCHAR(40))").await;
        let script = |interval: u32| {
            format!(
                "pipeline other = source mysql shop.ledger share_mining -> sink sqlite lite.*
                 pipeline hangs {{ cursor_interval = {interval}s }} = source mysql shop.ledger share_mining -> sink mysql copy.*"
            )
        };
        let engine = world.start(&script(5)).await;
        world
            .target()
            .await
            .query_drop(format!("CREATE TABLE ledger LIKE {}", world.table("ledger")))
            .await
            .unwrap();
        let load = Load::start(&world).await;
        let copied = format!("SELECT COUNT(*) FROM {}_copy.ledger", world.database);
        eventually("rows are copied", async || world.number(&copied).await > 10).await;

        // Somebody holds the cursor's row: the next commit waits for it.
        let mut holder = world.target().await;
        holder.query_drop("BEGIN").await.unwrap();
        holder.query_drop("SELECT * FROM lode_cursor FOR UPDATE").await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        world.apply_only(&engine, &script(6)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let status = engine.status().await;
        let RouteState::Waiting { reason } = &route(&status, "hangs").state else { panic!("{status:#?}") };
        assert_eq!(reason, "the former hangs is ending");
        let delivered = world.lite_number("SELECT COUNT(*) FROM ledger");
        eventually("the other one goes on", async || {
            world.lite_number("SELECT COUNT(*) FROM ledger") > delivered
        })
        .await;
        holder.query_drop("ROLLBACK").await.unwrap();
        settled(&engine, "the changed one goes on", |status| {
            route(status, "hangs").state == RouteState::Running
        })
        .await;
        finish(&world, engine, load).await;
        assert_eq!(parity::in_sqlite(&world).await.same(), 1);
        assert_eq!(parity::copied(&world).await.same(), 1);
    }
}

/// Ends the load, and the engine when everything is delivered.
async fn finish(world: &World, engine: Engine, load: Load) {
    load.stop().await;
    world.sql("INSERT INTO ledger VALUES (1000000, 0, 'last')").await;
    eventually("everything is mined", async || {
        world.lite_number("SELECT COUNT(*) FROM ledger WHERE id = 1000000") == 1
    })
    .await;
    drain(engine).await;
}

/// Somebody who inserts, updates and deletes rows of `ledger`, one transaction after the other.
pub struct Load {
    goes_on: Arc<AtomicBool>,
    committed: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Load {
    pub async fn start(world: &World) -> Load {
        Load::with(world, "").await
    }

    /// The same, with one more statement each time, in which `{id}` is a new number.
    pub async fn with(world: &World, further: &'static str) -> Load {
        let (goes_on, committed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicI64::new(0)));
        let mut conn: Conn = world.root().await;
        let task = tokio::spawn({
            let (goes_on, committed) = (Arc::clone(&goes_on), Arc::clone(&committed));
            async move {
                let mut id = 0;
                while goes_on.load(Ordering::Relaxed) {
                    id += 1;
                    let (old, gone) = (id / 2, id / 3);
                    for statement in [
                        format!(
                            "INSERT INTO ledger VALUES ({id}, {id}, 'new'), ({}, 0, 'with it')",
                            id + 500_000
                        ),
                        format!("UPDATE ledger SET balance = balance + {id}, note = 'old' WHERE id = {old}"),
                        format!("DELETE FROM ledger WHERE id = {gone} AND id % 2 = 0"),
                    ] {
                        conn.query_drop(statement).await.expect("the source takes it");
                    }
                    if !further.is_empty() {
                        let further = further.replace("{id}", &id.to_string());
                        conn.query_drop(further).await.expect("the source takes it");
                    }
                    committed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                conn.disconnect().await.expect("the connection ends");
            }
        });
        Load { goes_on, committed, task }
    }

    /// How many rounds are committed.
    pub fn committed(&self) -> i64 {
        self.committed.load(Ordering::Relaxed)
    }

    pub async fn stop(self) {
        assert!(self.committed.load(Ordering::Relaxed) > 0);
        self.goes_on.store(false, Ordering::Relaxed);
        self.task.await.expect("the load does not panic");
    }
}
