//! What a log keeps and counts on real servers: figures that are exact, history that goes, a disk without room.

use std::path::PathBuf;
use std::process::Command;

use lode::engine::status::Status;
use lode::error::Kind;
use lode::run::mine::MineState;
use lode::run::retention::{Policy, Unread};
use lode::run::route::RouteState;
use lode::store::Retention;
use lode::store::embedded::Options;

use crate::support::servers::Server;
use crate::world::{World, drain, eventually, route, settled};
use crate::{parity, servers};

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_exact_over_a_restart_on_mariadb() {
    figures_are_exact_over_a_restart(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_exact_over_a_restart_on_mysql() {
    figures_are_exact_over_a_restart(servers::mysql().await).await;
}

async fn figures_are_exact_over_a_restart(server: &Server) {
    let world = World::on(server).await;
    world.sql("CREATE TABLE a (id INT PRIMARY KEY);\nCREATE TABLE b (id INT PRIMARY KEY, v INT)").await;
    let script = "
        share_mining shop { retention = 2h, unread = drop }
        pipeline both  = source mysql shop.* share_mining -> sink sqlite lite.*
        pipeline other = source mysql shop.b share_mining -> sink null
        ";
    let engine = world.start(script).await;
    world.sql("INSERT INTO a VALUES (1), (2), (3);\nINSERT INTO b VALUES (1, 1), (2, 1)").await;
    world.sql("UPDATE b SET v = 2;\nDELETE FROM a WHERE id = 1;\nINSERT INTO lode_marks VALUES (1)").await;
    let all = [(world.table("a"), 4), (world.table("b"), 4), (world.table("lode_marks"), 1)];
    let has = |status: &Status, wanted: &[(String, u64)]| {
        let counts = &status.mines[0].counts;
        let tables: Vec<_> = counts.tables.iter().map(|table| (table.table.clone(), table.changes)).collect();
        counts.complete && tables == wanted
    };
    let status = settled(&engine, "all is counted and delivered", |status| {
        has(status, &all) && status.mines[0].consumers.iter().all(|one| one.lag_ms == Some(0))
    })
    .await;
    let mine = &status.mines[0];
    assert!(mine.rows_in_per_s > 0.0 && mine.rows_out_per_s > 0.0, "{mine:#?}");
    assert!(mine.tables.contains(&world.database, "a"));
    assert_eq!((mine.counts.since.0, mine.counts.since_ms), (0, None));
    for table in &mine.counts.tables {
        assert_eq!(table.changes_today, table.changes, "midnight is not awaited");
        assert!(table.first_change_ms <= table.last_change_ms && table.rows_per_s > 0.0, "{table:?}");
    }
    assert_eq!(mine.consumers.len(), 2);
    for consumer in &mine.consumers {
        let hours = consumer.history_lost_in_hours.expect("what is not read goes like all else");
        assert!((1.9..=2.0).contains(&hours), "{consumer:?}");
    }
    drain(engine).await;

    let engine = world.start(script).await;
    let status = engine.status().await;
    assert!(has(&status, &all), "{:#?}", status.mines);
    world.sql("TRUNCATE TABLE a").await;
    let more = [(world.table("a"), 5), all[1].clone(), all[2].clone()];
    settled(&engine, "it goes on", |status| has(status, &more)).await;
    drain(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_overtakes_a_paused_pipeline_on_mariadb() {
    retention_overtakes_a_paused_pipeline(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_overtakes_a_paused_pipeline_on_mysql() {
    retention_overtakes_a_paused_pipeline(servers::mysql().await).await;
}

async fn retention_overtakes_a_paused_pipeline(server: &Server) {
    let world = World::on(server).await;
    world.sql("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, pad VARBINARY(2000))").await;
    let engine = || world.engine().with_logs(Options { segment_bytes: 64 << 10, ..Options::default() });
    let script = "
        connection other = sqlite \"other.db\"
        share_mining shop { retention_size = 64KiB }
        pipeline quick = source mysql shop.t share_mining -> sink sqlite lite.*
        pipeline late  = source mysql shop.t share_mining -> sink sqlite other.*
        ";
    let (first, second) = (engine(), engine());
    let engine = first;
    world.apply(&engine, script).await.unwrap();
    world.sql("INSERT INTO t (pad) VALUES ('first')").await;
    let delivered = |pipeline: &'static str, rows: u64| {
        move |status: &Status| route(status, pipeline).figures.changes_delivered == rows
    };
    settled(&engine, "both have it", |s| delivered("quick", 1)(s) && delivered("late", 1)(s)).await;
    engine.pause("late").await.unwrap();
    for _ in 0..20 {
        // Bytes that nothing makes smaller.
        let values = vec!["(RANDOM_BYTES(1024))"; 50].join(", ");
        world.sql(&format!("INSERT INTO t (pad) VALUES {values}")).await;
    }
    settled(&engine, "the quick one has all", delivered("quick", 1001)).await;
    let held = engine.status().await.mines[0].clone();
    assert_eq!(held.horizon, 0, "what the paused pipeline needs is held: {held:#?}");
    let late = held.consumers.iter().find(|one| one.pipeline == "late").expect("it is a consumer");
    assert_eq!(late.history_lost_in_hours, None);
    assert!(late.entries_behind > Some(1000) && late.lag_ms.is_some(), "{late:#?}");

    let keep = Retention { age: None, size: Some(64 << 10) };
    let policy = Policy { keep, unread: Unread::Drop, hold_bytes_max: None };
    engine.set_retention("shop", policy).await.unwrap();
    settled(&engine, "it is dropped", |status| status.mines[0].horizon > 100).await;
    // What is dropped may still be in memory, and would do.
    drain(engine).await;
    let engine = second;
    world.apply_only(&engine, script).await.unwrap();
    let failed = |status: &Status| matches!(route(status, "late").state, RouteState::Failed { .. });
    let status = settled(&engine, "it says that it has lost its place", failed).await;
    let RouteState::Failed { kind, error, advice, .. } = &route(&status, "late").state else {
        unreachable!()
    };
    assert_eq!(*kind, Kind::Gap);
    assert!(error.contains("the log no longer has entry"), "{error}");
    assert!(advice.as_deref().is_some_and(|advice| advice.contains("anew")), "{advice:?}");

    // The other one does not notice.
    world.sql("INSERT INTO t (pad) VALUES ('last')").await;
    let status = settled(&engine, "the quick one goes on", delivered("quick", 1)).await;
    assert_eq!(route(&status, "quick").figures.retries, 0);
    assert_eq!(status.mines[0].state, MineState::Running);
    assert_eq!(status.mines[0].counts.tables[0].changes, 1002, "what is dropped stays counted");
    drain(engine).await;
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
}

/// A small disk of its own, where the machine lets one be mounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, megabytes: u32) -> Option<SmallDisk> {
        std::fs::create_dir_all(&at).expect("the folder is there");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|done| done.status.success()).then_some(SmallDisk(at))
    }

    fn enlarge(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        let done = Command::new("mount").args(["-o", &size]).arg(&self.0).status();
        assert!(done.expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Where no disk can be mounted, `a_full_disk_is_waited_for` of `crash` does the same with a limit on the size of files.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_stops_the_mine_until_there_is_some() {
    let world = World::on(servers::mysql().await).await;
    let Some(disk) = SmallDisk::mount(world.data(), 1) else {
        eprintln!("no disk can be mounted here");
        return;
    };
    world.sql("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, pad VARBINARY(2000))").await;
    let script = "pipeline p = source mysql shop.t share_mining -> sink sqlite lite.*";
    let engine = world.start(script).await;
    for _ in 0..40 {
        let values = vec!["(RANDOM_BYTES(1024))"; 50].join(", ");
        world.sql(&format!("INSERT INTO t (pad) VALUES {values}")).await;
    }
    let full = |status: &Status| matches!(status.mines[0].state, MineState::StoreFull { .. });
    let status = settled(&engine, "the disk is full", full).await;
    let MineState::StoreFull { error, advice } = &status.mines[0].state else { unreachable!() };
    assert!(error.contains("No space left on device"), "{error}");
    assert!(advice.as_deref().is_some_and(|advice| advice.contains("more space")), "{advice:?}");
    let reason = "mine shop has no room in its log";
    let waits = |status: &Status| route(status, "p").state == RouteState::Waiting { reason: reason.into() };
    let status = settled(&engine, "the pipeline waits", waits).await;
    assert!(status.mines[0].head < 2000);
    disk.enlarge(64);
    eventually("all is delivered", async || world.lite_number("SELECT COUNT(*) FROM t") == 2000).await;
    let status = engine.status().await;
    assert_eq!(status.mines[0].counts.tables[0].changes, 2000, "nothing is counted twice");
    drain(engine).await;
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
    drop(disk);
}
