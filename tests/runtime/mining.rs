//! The miner, its log and its hub.

use std::time::Duration;

use lode::error::Kind;
use lode::model::block::Entry;
use lode::model::position::Seq;
use lode::run::mine::MineState;
use lode::run::retention::Policy;
use lode::run::route::RouteState;
use lode::run::signal::{Control, Wish};
use lode::store::{LogReader, Retention};
use tokio::time::{Instant, sleep};

use super::weather::Fault;
use super::world::{Life, World, set, state, until};

fn applied(world: &World, name: &str) -> usize {
    world.target(name).lock().unwrap().applied.len()
}

#[tokio::test(start_paused = true)]
async fn one_reader_serves_all_pipelines() {
    let world = World::new(1);
    let life = world.live().await;
    let names: Vec<_> = (0..10).map(|at| format!("p{at}")).collect();
    let pipelines: Vec<_> = names.iter().map(|name| life.pipeline(name, &["t0", "t1"])).collect();
    life.start_mine();
    for at in 0..100 {
        world.server.insert(if at % 2 == 0 { "t0" } else { "t1" }, [at]);
        sleep(Duration::from_millis(3)).await;
    }
    until("all is delivered", || names.iter().all(|name| applied(&world, name) == 100)).await;
    assert_eq!(world.server.readers_most(), 1);
    assert_eq!(world.server.read_of("t0"), 50, "every change is read once");
    life.stop(pipelines).await;
}

#[tokio::test(start_paused = true)]
async fn a_mine_covers_only_the_tables_asked_for() {
    let world = World::new(1);
    world.server.insert("t0", 0..10);
    world.server.insert("t1", 0..10);
    let life = world.live().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(life.mine_state(), MineState::Idle);
    assert!(world.server.opened().is_empty(), "nothing is read before somebody asks");
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    until("all is delivered", || applied(&world, "p") == 10).await;
    assert_eq!((world.server.read_of("t0"), world.server.read_of("t1")), (10, 0));
    assert_eq!(life.log.coverage().tables.sets(), [set(&["t0"])]);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_is_added_while_others_go_on() {
    let world = World::new(1);
    let life = world.live().await;
    let first = life.pipeline("first", &["t0"]);
    life.start_mine();
    world.server.insert("t0", 0..5);
    world.server.insert("t1", 0..5);
    until("the first has all", || applied(&world, "first") == 5).await;
    let second = life.pipeline("second", &["t1"]);
    sleep(Duration::from_secs(1)).await;
    world.server.insert("t0", 5..10);
    world.server.insert("t1", 5..10);
    until("both have all", || applied(&world, "first") == 10 && applied(&world, "second") == 5).await;
    assert_eq!(world.server.opened().len(), 1, "the reader was not started anew");
    assert_eq!(world.target("first").lock().unwrap().opened, 1);
    life.stop([first, second]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_log_covered_is_mined_further_without_its_consumers() {
    let world = World::new(1);
    let life = world.live().await;
    let both = [life.pipeline("t0", &["t0"]), life.pipeline("t1", &["t1"])];
    life.start_mine();
    world.server.insert("t1", [1]);
    until("it is delivered", || applied(&world, "t1") == 1).await;
    life.stop(both).await;

    let life = world.live().await;
    let one = life.pipeline("t0", &["t0"]);
    life.start_mine();
    world.server.insert("t1", [2]);
    world.server.insert("t0", [1]);
    until("it is delivered", || applied(&world, "t0") == 1).await;
    let other = life.pipeline("t1", &["t1"]);
    until("there is no hole", || applied(&world, "t1") == 2).await;
    life.stop([one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_pipeline_slows_neither_the_mine_nor_others() {
    let world = World::new(1);
    world.target("slow").lock().unwrap().delay = Duration::from_secs(20);
    let life = world.live().await;
    let pipelines = [life.pipeline("slow", &["t0"]), life.pipeline("quick", &["t0"])];
    life.start_mine();
    sleep(Duration::from_secs(40)).await;
    let before = Instant::now();
    // More than the hub and all queues hold.
    for at in 0..100 {
        world.server.insert_padded("t0", [at], 400_000);
    }
    until("the quick one has all", || applied(&world, "quick") == 100).await;
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(applied(&world, "slow") < 100);
    until("the slow one has all, too", || applied(&world, "slow") == 100).await;
    assert!(life.log.reads.load(std::sync::atomic::Ordering::SeqCst) > 0, "it had to read the store");
    life.stop(pipelines).await;
}

#[tokio::test(start_paused = true)]
async fn memory_and_store_give_the_same_entries() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    for at in 0..200 {
        world.server.insert("t0", [at]);
        sleep(Duration::from_millis(at as u64 % 7)).await;
    }
    until("all is delivered", || applied(&world, "p") == 200).await;
    let mut next = Seq(0);
    while next < life.log.tail().next {
        let stored = life.log.read(next, 1).await.expect("it is there");
        let block = life.mine.hub().get(next).expect("it is recent");
        assert_eq!(
            (block.first, block.count, &block.payload),
            (stored[0].first, stored[0].count, &stored[0].payload)
        );
        next = block.end();
    }
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_point_is_durable_before_anything_is_read() {
    let world = World::new(1);
    world.weather.strike(Fault::OpenStream, 3);
    let life = world.live().await;
    life.mine.want(&set(&["t0"]));
    life.start_mine();
    until("it tries again", || matches!(life.mine_state(), MineState::Retrying { .. })).await;
    assert_eq!(life.log.tail().commit.expect("the start is noted").position.offset, 0);
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_breaks_within_a_transaction_leaves_nothing_partial() {
    let world = World::new(1);
    world.target("p").lock().unwrap().mirrors = vec!["t0".into()];
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    world.server.insert("t0", 0..3);
    // Large enough for parts of it to be in the store when it breaks off.
    world.server.break_at(1, 60);
    world.server.break_at(1, 70);
    world.server.break_at(2, 1);
    world.server.insert_padded("t0", 100..180, 20_000);
    world.server.insert("t0", 200..203);
    until("all is delivered", || applied(&world, "p") == 86).await;
    let opened: Vec<_> = world.server.opened().iter().map(|(from, _)| *from).collect();
    assert_eq!(opened, [0, 1, 1, 2]);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_breaks_again_and_again_is_got_through() {
    let world = World::new(1);
    for transaction in 0..50 {
        world.server.insert("t0", transaction * 10..transaction * 10 + 10);
        world.server.break_at(transaction as usize, 9);
    }
    let life = world.live().await;
    let pipelines = [life.pipeline("p", &["t0"])];
    life.start_mine();
    let before = Instant::now();
    until("all is delivered", || applied(&world, "p") == 500).await;
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "progress keeps the waits short: {:?}",
        before.elapsed()
    );
    life.stop(pipelines).await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_an_event_that_cannot_be_carried_is_kept() {
    let world = World::new(1);
    for at in 0..5 {
        world.server.insert("t0", [at]);
    }
    world.server.poison(4);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    until("the mine fails", || life.mine_state().is_over()).await;
    assert!(matches!(life.mine_state(), MineState::Failed { kind: Kind::Data, .. }));
    until("the pipeline waits", || matches!(state(&pipeline), RouteState::Waiting { .. })).await;
    assert_eq!(state(&pipeline), RouteState::Waiting { reason: "mine shop failed".into() });
    assert_eq!(applied(&world, "p"), 4);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn an_append_that_fails_is_made_again() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    until("it runs", || life.mine_state() == MineState::Running).await;
    world.weather.strike(Fault::Append, 4);
    world.server.insert("t0", 0..10);
    until("it says so", || matches!(life.mine_state(), MineState::Retrying { .. })).await;
    let MineState::Retrying { error, .. } = life.mine_state() else { unreachable!() };
    assert!(error.contains("while appending to the log: struck by Append"), "{error}");
    until("all is delivered", || applied(&world, "p") == 10).await;
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn waits_grow_while_the_store_keeps_failing_though_the_source_is_well() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    until("it runs", || life.mine_state() == MineState::Running).await;
    world.weather.strike(Fault::Append, 1000);
    world.server.insert("t0", 0..10);
    sleep(Duration::from_secs(300)).await;
    assert!(world.server.opened().len() < 25, "{} times in five minutes", world.server.opened().len());
    world.weather.clear_up();
    until("all is delivered", || applied(&world, "p") == 10).await;
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn an_append_whose_answer_is_lost_is_not_made_again() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    until("it runs", || life.mine_state() == MineState::Running).await;
    world.weather.strike(Fault::AppendAnswer, 1);
    world.server.insert("t0", 0..10);
    // Nothing follows that would wake the pipeline.
    until("all is delivered", || applied(&world, "p") == 10).await;
    assert_eq!(changes_in_log(&life).await, 10);
    assert_eq!(life.mine.progress().changes(), 0, "nobody knows whether they were appended now");
    life.stop([pipeline]).await;
}

async fn changes_in_log(life: &Life) -> usize {
    let blocks = life.log.read(Seq(0), usize::MAX).await.expect("it is there");
    let entries = blocks.iter().flat_map(|block| block.entries());
    entries.filter(|entry| matches!(entry, Ok((_, Entry::Change(_))))).count()
}

#[tokio::test(start_paused = true)]
async fn a_log_of_another_server_is_not_gone_on_with() {
    let world = World::new(1);
    let life = world.live().await;
    life.mine.want(&set(&["t0"]));
    life.start_mine();
    until("it runs", || life.mine_state() == MineState::Running).await;
    life.stop([]).await;
    world.server.replace("server-2");
    let life = world.live().await;
    life.start_mine();
    until("it fails", || life.mine_state().is_over()).await;
    assert!(matches!(life.mine_state(), MineState::Failed { kind: Kind::Refused, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_mine_starts_again_where_it_was() {
    let world = World::new(1);
    let mut life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    let mut task = life.start_mine();
    for round in 0..5 {
        world.server.break_at(2 * round as usize + 1, 70);
        world.server.insert("t0", [round]);
        world.server.insert_padded("t0", 1000 * (round + 1)..1000 * (round + 1) + 80, 20_000);
        sleep(Duration::from_millis(3)).await;
        life.control.tell(Wish::Stop);
        task.await.expect("it ends by itself");
        assert_eq!(life.mine_state(), MineState::Stopped);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(state(&pipeline), RouteState::Waiting { reason: "mine shop stopped".into() });
        life.control = Control::default();
        task = life.start_mine();
        assert_eq!(life.mine_state(), MineState::Starting, "said at once");
    }
    until("all is delivered", || applied(&world, "p") == 5 * 81).await;
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_mine_whose_control_is_gone_ends() {
    let world = World::new(1);
    let life = world.live().await;
    life.mine.want(&set(&["t0"]));
    let control = Control::default();
    let task = life.mine.start(control.listen());
    until("it runs", || life.mine_state() == MineState::Running).await;
    drop(control);
    task.await.expect("it ends by itself");
    assert_eq!(life.mine_state(), MineState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_mine_stops_quickly_while_everything_is_away() {
    for fault in [Fault::Identify, Fault::OpenStream, Fault::Append] {
        let world = World::new(1);
        world.weather.strike(fault, u32::MAX);
        let life = world.live().await;
        life.mine.want(&set(&["t0"]));
        let task = life.start_mine();
        sleep(Duration::from_secs(100)).await;
        let before = Instant::now();
        life.control.tell(Wish::Drain);
        task.await.expect("it ends by itself");
        assert!(before.elapsed() < Duration::from_millis(300), "{fault:?}: {:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn retention_holds_what_a_pipeline_has_not_delivered() {
    let world = World::new(1);
    world.target("slow").lock().unwrap().delay = Duration::from_secs(250);
    let keep = Retention { age: None, size: Some(1) };
    let life = world.live_with(Policy { keep, ..Policy::default() }).await;
    let pipelines = [life.pipeline("quick", &["t0"]), life.pipeline("slow", &["t0"])];
    life.start_mine();
    for at in 0..20 {
        world.server.insert("t0", [at]);
        sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(applied(&world, "quick"), 20);
    assert_eq!(applied(&world, "slow"), 0);
    assert_eq!(life.log.stat().horizon, Seq(0));
    until("the slow one has all, too", || applied(&world, "slow") == 20).await;
    sleep(Duration::from_secs(60)).await;
    assert!(life.log.stat().horizon > Seq(20), "then it goes");
    life.stop(pipelines).await;
}

#[tokio::test(start_paused = true)]
async fn beyond_its_limit_nothing_is_held_and_the_gap_is_an_error() {
    let world = World::new(1);
    world.target("slow").lock().unwrap().delay = Duration::from_secs(30);
    let keep = Retention { age: None, size: Some(1) };
    let life = world.live_with(Policy { keep, hold_bytes_max: Some(10 << 20), ..Policy::default() }).await;
    let pipelines = [life.pipeline("quick", &["t0"]), life.pipeline("slow", &["t0"])];
    life.start_mine();
    for at in 0..100 {
        world.server.insert_padded("t0", [at], 1_000_000);
        sleep(Duration::from_secs(1)).await;
    }
    until("the slow one fails", || pipelines[1].is_over()).await;
    assert!(matches!(state(&pipelines[1]), RouteState::Failed { kind: Kind::Gap, .. }));
    until("the quick one has all", || applied(&world, "quick") == 100).await;
    life.stop(pipelines).await;
}
