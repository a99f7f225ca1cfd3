//! How many changes a log was given: exact over everything that can happen to a mine.

use std::path::Path;
use std::time::Duration;

use lode::model::position::Seq;
use lode::run::counts::CountFigures;
use lode::run::mine::MineState;
use lode::run::retention::Policy;
use lode::store::{LogReader, Retention};
use tokio::time::sleep;

use super::weather::Fault;
use super::world::{Life, World, set, until};

fn world(folder: &Path) -> World {
    World { counts: Some(folder.join("state/counts.json")), ..World::new(1) }
}

/// A life whose mine runs and mines both tables.
async fn mining(world: &World, policy: Policy) -> Life {
    let life = world.live_with(policy).await;
    life.mine.want(&set(&["t0", "t1"]));
    life.start_mine();
    until("it runs", || life.mine_state() == MineState::Running).await;
    life
}

/// The totals once everything is counted.
async fn counted(life: &Life) -> CountFigures {
    until("all is counted", || life.mine.counts().figures().complete).await;
    life.mine.counts().figures()
}

fn totals(figures: &CountFigures) -> Vec<(&str, u64)> {
    figures.tables.iter().map(|table| (table.table.as_str(), table.changes)).collect()
}

async fn mined(life: &Life, changes: usize) {
    until("it is mined", || {
        life.mine.counts().figures().tables.iter().map(|t| t.changes).sum::<u64>() == changes as u64
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn totals_survive_a_restart_and_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path());
    let file = world.counts.clone().expect("it has one");
    let life = mining(&world, Policy::default()).await;
    world.server.insert("t0", 0..10);
    world.server.insert_rows([("t1", 1, 0), ("t0", 10, 0), ("t1", 2, 0)]);
    mined(&life, 13).await;
    let figures = counted(&life).await;
    assert_eq!(totals(&figures), [("shop.t0", 11), ("shop.t1", 2)]);
    // The source's clock gives each transaction a second.
    assert_eq!((figures.tables[0].first_change_ms, figures.tables[0].last_change_ms), (1000, 2000));
    assert_eq!((figures.tables[1].first_change_ms, figures.tables[1].last_change_ms), (2000, 2000));
    assert!(figures.tables[0].rows_per_s > 1.0, "{figures:?}");
    assert_eq!(figures.tables[0].changes_today, 0, "it was in 1970");
    life.stop([]).await;
    let older = std::fs::read(&file).expect("it was written");

    let life = mining(&world, Policy::default()).await;
    assert_eq!(totals(&life.mine.counts().figures()), [("shop.t0", 11), ("shop.t1", 2)]);
    world.server.insert("t1", 10..17);
    mined(&life, 20).await;
    life.stop([]).await;

    // As after a crash: the file knows less than the log has.
    std::fs::write(&file, older).expect("it can be written");
    let life = world.live().await;
    let figures = life.mine.counts().figures();
    assert_eq!((totals(&figures), figures.complete), (vec![("shop.t0", 11), ("shop.t1", 2)], false));
    life.start_mine();
    let figures = counted(&life).await;
    assert_eq!(totals(&figures), [("shop.t0", 11), ("shop.t1", 9)]);
    assert_eq!((figures.since, figures.since_ms), (Seq(0), None));
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_read_twice_counts_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path());
    let life = mining(&world, Policy::default()).await;
    // Parts of the transaction are in the store when it breaks off.
    world.server.break_at(0, 60);
    world.server.break_at(0, 70);
    world.server.insert_padded("t0", 100..180, 20_000);
    mined(&life, 80).await;
    world.weather.strike(Fault::AppendAnswer, 1);
    world.server.insert("t0", 0..10);
    mined(&life, 90).await;
    world.weather.strike(Fault::Append, 3);
    world.server.insert("t1", 0..5);
    mined(&life, 95).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(totals(&counted(&life).await), [("shop.t0", 90), ("shop.t1", 5)]);
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_file_is_made_again_and_says_since_when() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = world(folder.path());
    let file = world.counts.clone().expect("it has one");
    let keep = Retention { age: None, size: Some(1) };
    let life = mining(&world, Policy { keep, ..Policy::default() }).await;
    for at in 0..10 {
        world.server.insert("t0", [at]);
        sleep(Duration::from_secs(10)).await;
    }
    let horizon = life.log.stat().horizon;
    assert!(horizon > Seq(0), "something was dropped");
    assert_eq!(totals(&counted(&life).await), [("shop.t0", 10)], "what is dropped stays counted");
    life.stop([]).await;

    for lost in [None, Some("{\"version\": 1")] {
        std::fs::remove_file(&file).expect("it was there");
        if let Some(text) = lost {
            std::fs::write(&file, text).expect("it can be written");
        }
        let life = world.live().await;
        life.start_mine();
        let figures = counted(&life).await;
        let stat = life.log.stat();
        assert_eq!((figures.since, figures.since_ms), (stat.horizon, stat.horizon_time_ms));
        let [(_, left)] = totals(&figures)[..] else { panic!("one table is left: {figures:?}") };
        assert!((1..10).contains(&left), "{left}");
        life.stop([]).await;
        let life = world.live().await;
        assert_eq!(life.mine.counts().figures().since, stat.horizon, "it is kept");
        life.stop([]).await;
    }
}
