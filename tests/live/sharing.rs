//! One reader for all: invariants 1 and 2 of `ARCHITECTURE.md`, as the server sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lode::engine::Engine;
use lode::engine::registry::Registry;
use lode::error::{Kind, Result};
use lode::model::change::Batch;
use lode::model::position::Cursor;
use lode::model::spec::{EndpointSpec, KindSpec, SinkSpec, TargetSpec};
use lode::run::event::Event;
use lode::run::route::RouteState;
use lode::sink::{Durable, Sink, SinkKind, SinkRoute, Written};
use tokio::sync::Semaphore;

use crate::support::servers::{MariaDb, MySql, Server};
use crate::world::{World, drain, eventually, mine_failure, route, routes, settled};
use crate::{parity, servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_pipeline_holds_up_no_other_on_mariadb() {
    a_slow_pipeline_holds_up_no_other(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_pipeline_holds_up_no_other_on_mysql() {
    a_slow_pipeline_holds_up_no_other(servers::mysql().await).await;
}

async fn a_slow_pipeline_holds_up_no_other(server: &Server) {
    let world = World::on(server).await;
    world.sql("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(200))").await;
    let turtle = Arc::new(Turtle { leave: Semaphore::new(1), written: AtomicU64::new(0) });
    let mut registry = Registry::built_in();
    registry.add_sink(TURTLE, Arc::new(Turtles(Arc::clone(&turtle))));
    let engine = Engine::new(world.data(), registry);
    let script = "
        connection other = sqlite \"locked.db\" { busy_timeout = 1ms }
        pipeline fast   = source mysql shop.t share_mining -> sink sqlite lite.*
        pipeline slow   = source mysql shop.t share_mining -> sink turtle
        pipeline locked = source mysql shop.t share_mining -> sink sqlite other.*
        ";
    world.apply(&engine, script).await.unwrap();
    let lock = world.lite("locked.db");
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let rows = 3000;
    for _ in 0..rows / 100 {
        let values = vec!["(REPEAT('x', 200))"; 100].join(", ");
        world.sql(&format!("INSERT INTO t (pad) VALUES {values}")).await;
    }
    eventually("the fast one has all", async || world.lite_number("SELECT COUNT(*) FROM t") == rows).await;
    let status = engine.status().await;
    assert_eq!(turtle.written.load(Ordering::Relaxed), 0, "the slow one is still at its first batch");
    assert!(matches!(route(&status, "slow").state, RouteState::Running), "{status:#?}");
    assert_eq!(route(&status, "locked").figures.changes_delivered, 0, "{status:#?}");
    assert_eq!(world.dump_threads().await.len(), 1);

    // Each goes on where it is, with nothing lost.
    turtle.leave.add_permits(Semaphore::MAX_PERMITS / 2);
    lock.execute_batch("ROLLBACK").unwrap();
    let all = |status: &lode::engine::status::Status| {
        routes(status).all(|route| route.figures.changes_delivered == rows as u64)
    };
    settled(&engine, "all have all", all).await;
    assert_eq!(turtle.written.load(Ordering::Relaxed), rows as u64);
    assert_eq!(lock.query_row("SELECT COUNT(*) FROM t", [], |row| row.get::<_, i64>(0)), Ok(rows));
    drain(engine).await;
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
    eventually("the reader is gone", async || world.dump_threads().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_pipelines_have_one_reader() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE a (id INT PRIMARY KEY);\nCREATE TABLE b (id INT PRIMARY KEY)").await;
        let pipelines: Vec<_> = (1..=8)
            .map(|number| {
                let table = ["a", "b", "*", "{a, b}"][number % 4];
                format!("pipeline p{number} = source mysql shop.{table} share_mining -> sink null")
            })
            .collect();
        let engine = world.start(&pipelines.join("\n")).await;
        world.sql("INSERT INTO a VALUES (1), (2);\nINSERT INTO b VALUES (3)").await;
        let status = settled(&engine, "all have their tables", |status| {
            routes(status).map(|route| route.figures.changes_delivered).sum::<u64>() == 2 * (2 + 1 + 3 + 3)
        })
        .await;
        assert_eq!(status.mines.len(), 1);
        assert_eq!(status.mines[0].changes, 3, "each change is mined once");
        assert_eq!(world.dump_threads().await.len(), 1);
        drain(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_to_one_server_have_one_mine() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE a (id INT PRIMARY KEY);\nCREATE TABLE b (id INT PRIMARY KEY)").await;
        let by_name = under_another_name(&world);
        let engine = world
            .start(&format!(
                "{by_name}
                pipeline one = source mysql shop.a share_mining -> sink sqlite lite.*
                pipeline two = source mysql again.b share_mining -> sink sqlite lite.*"
            ))
            .await;
        assert_eq!(engine.status().await.mines.len(), 1);
        assert_eq!(world.dump_threads().await.len(), 1);
        world.sql("INSERT INTO a VALUES (1);\nINSERT INTO b VALUES (2)").await;
        settled(&engine, "both have theirs", |status| {
            routes(status).all(|route| route.figures.changes_delivered == 1)
        })
        .await;
        drain(engine).await;
        assert_eq!(parity::in_sqlite(&world).await.same(), 2);
    }
}

/// A second connection to the source, called `again`.
fn under_another_name(world: &World) -> String {
    let connections = world.connections();
    let lines = connections.lines().skip_while(|line| !line.contains("connection shop")).take(2);
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("connection shop", "connection again")
        .replace("127.0.0.1", "localhost")
}

/// Nobody knows that the connections lead to one server while that is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_has_one_reader_and_one_log_afterwards() {
    for mut server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        let world = World::on(&server).await;
        world.sql("CREATE TABLE a (id INT PRIMARY KEY);\nCREATE TABLE b (id INT PRIMARY KEY)").await;
        let script = |one: &str, two: &str| {
            format!(
                "{}
                pipeline one = source mysql {one} share_mining -> sink sqlite lite.*
                pipeline two = source mysql {two} share_mining -> sink sqlite lite.*",
                under_another_name(&world)
            )
        };
        let engine = world.engine();
        server.stop();
        world.apply_only(&engine, &script("shop.a", "again.b")).await.unwrap();
        assert_eq!(engine.status().await.mines.len(), 2);
        server.start_again().await;
        let (kind, error) = mine_failure(&engine).await;
        assert_eq!(kind, Kind::Refused, "{error}");
        assert!(error.contains("apply the script again"), "{error}");
        eventually("the other one reads", async || world.dump_threads().await.len() == 1).await;

        world.apply(&engine, &script("shop.a", "again.b")).await.unwrap();
        let delivered = |rows: u64| {
            settled(&engine, "both have theirs", move |status| {
                routes(status).map(|route| route.figures.changes_delivered).sum::<u64>() == rows
            })
        };
        world.sql("INSERT INTO a VALUES (1);\nINSERT INTO b VALUES (2)").await;
        delivered(2).await;
        let status = engine.status().await;
        assert_eq!((status.mines.len(), world.dump_threads().await.len()), (1, 1));
        let name = status.mines[0].name.clone();
        drain(engine).await;
        assert_eq!(parity::in_sqlite(&world).await.same(), 2);

        // Whichever connection comes first another time: the log is the one that is there.
        let engine = world.start(&script("again.a", "shop.b")).await;
        let status = engine.status().await;
        let head = status.mines[0].head;
        assert!(status.mines.len() == 1 && head > 2, "{name} goes on: {status:#?}");
        drain(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_come_and_go_while_others_run() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        for table in ["a", "b", "c"] {
            world.sql(&format!("CREATE TABLE {table} (id INT PRIMARY KEY)")).await;
        }
        let a = "pipeline a = source mysql shop.a share_mining -> sink sqlite lite.*\n";
        let b = "pipeline b = source mysql shop.b share_mining -> sink sqlite lite.*\n";
        let b_changed =
            "pipeline b = source mysql shop.b share_mining -> filter { row.id != 4 } -> sink sqlite lite.*\n";
        let c = "pipeline c = source mysql shop.c share_mining -> sink sqlite lite.*\n";
        let engine = world.start(&format!("{a}{b}")).await;
        let reader = world.dump_threads().await;
        let mut events = engine.events();
        let insert = async |id: u32| {
            for table in ["a", "b", "c"] {
                world.sql(&format!("INSERT INTO {table} VALUES ({id})")).await;
            }
        };
        let ids =
            |table: &str| world.lite_rows(&format!("SELECT id FROM {table} ORDER BY id")).concat().join(" ");
        insert(1).await;
        eventually("b has the first", async || ids("b") == "1").await;
        // A table is added: it is mined from the next transaction on.
        world.apply(&engine, &format!("{a}{b}{c}")).await.unwrap();
        eventually("c is mined", async || {
            // How soon is not promised; this writes until the first one comes through.
            world.sql("INSERT INTO c SELECT MAX(id) + 100 FROM c").await;
            !ids("c").is_empty()
        })
        .await;
        assert!(!ids("c").split(' ').any(|id| id == "1"), "what came before the wish is not mined");
        insert(2).await;
        eventually("c has the second", async || ids("c").split(' ').any(|id| id == "2")).await;
        // One is removed, another changed.
        world.apply(&engine, &format!("{a}{c}")).await.unwrap();
        insert(3).await;
        world.apply(&engine, &format!("{a}{b_changed}{c}")).await.unwrap();
        insert(4).await;
        insert(5).await;
        eventually("b goes on where it was", async || ids("b") == "1 2 3 5").await;
        eventually("a has all", async || ids("a") == "1 2 3 4 5").await;

        assert_eq!(world.dump_threads().await, reader, "the reader was never interrupted");
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Route { pipeline, .. } => {
                    assert_ne!(pipeline, "a", "an unchanged pipeline just goes on")
                }
                event => assert!(!matches!(event, Event::Mine { .. }), "{event:?}"),
            }
        }
        drain(engine).await;
    }
}

const TURTLE: KindSpec = KindSpec {
    name: "turtle",
    meaning: "a sink that writes when the test lets it",
    endpoint: EndpointSpec::Nothing,
    connection: &[],
    source: None,
    sink: Some(SinkSpec { target: TargetSpec::Nothing, settings: &[] }),
    log: None,
    not_built_in: None,
};

/// Counts changes, batch by batch, as it is let.
struct Turtle {
    leave: Semaphore,
    written: AtomicU64,
}

/// Makes sinks that share one count.
struct Turtles(Arc<Turtle>);

impl SinkKind for Turtles {
    fn sink(&self, _route: SinkRoute) -> Result<Box<dyn Sink>> {
        Ok(Box::new(TurtleSink(Arc::clone(&self.0))))
    }
}

struct TurtleSink(Arc<Turtle>);

#[async_trait]
impl Sink for TurtleSink {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        // The first one is the starting point, without rows.
        self.0.leave.acquire().await.expect("it is never closed").forget();
        let rows = batch.changes.len() as u64;
        self.0.written.fetch_add(rows, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(Written { durable: batch.cursor.map(Durable::after_commit), rows })
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
