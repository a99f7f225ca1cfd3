//! Routes and pipelines: from the log, or the source, to the sink.

use std::sync::Arc;
use std::time::Duration;

use lode::error::Kind;
use lode::model::hook::{Hook, HookCode};
use lode::model::position::Seq;
use lode::model::spec::Start;
use lode::plan::StagePlan;
use lode::run::event::Event;
use lode::run::mine::MineState;
use lode::run::pipeline::Pipeline;
use lode::run::route::RouteState;
use lode::run::signal::Wish;
use lode::store::memory::Memory;
use tokio::time::{Instant, sleep, timeout};

use super::weather::Fault;
use super::world::{Options, World, state, until};

fn applied(world: &World, name: &str) -> usize {
    world.target(name).lock().unwrap().applied.len()
}

/// A filter that lets everything pass, and fails on the change with this number.
fn fails_on(number: i64) -> Vec<StagePlan> {
    let code = format!("if row.value == {number} {{ throw \"no\" }} true");
    let (code, file) = (HookCode::Block(code.as_str().into()), "test.lode".into());
    vec![StagePlan::Filter(Hook { code, file, line: 1, column: 1, modules: Arc::default() })]
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_not_written_again() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    world.server.insert("t0", 0..3);
    until("it is delivered", || applied(&world, "p") == 3).await;
    world.weather.strike(Fault::WriteAnswer, 1);
    world.server.insert("t0", 3..6);
    world.server.insert("t0", 6..9);
    until("all is delivered", || applied(&world, "p") == 9).await;
    assert_eq!(world.target("p").lock().unwrap().applied, (1..=9).collect::<Vec<_>>());
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_point_is_durable_before_the_first_delivery() {
    let world = World::new(1);
    let life = world.live().await;
    life.mine.want(&super::world::set(&["t0"]));
    life.start_mine();
    world.server.insert("t0", 0..5);
    until("it is mined", || life.mine.progress().changes() == 5).await;
    let options = Options { start: Some(Start::Now), ..Options::default() };
    let pipeline = life.pipeline_with("p", &["t0"], options.clone());
    until("it runs", || state(&pipeline) == RouteState::Running).await;
    let cursor = world.target("p").lock().unwrap().cursor.clone().expect("the start is noted");
    assert_eq!(cursor.next, life.mine.hub().tail().borrow().next);
    pipeline.tell(Wish::Stop);
    pipeline.ended().await;
    world.server.insert("t0", 5..10);
    until("it is mined", || life.mine.progress().changes() == 10).await;
    let pipeline = life.pipeline_with("p", &["t0"], options);
    until("`now` is what it was", || applied(&world, "p") == 5).await;
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_log_is_a_gap() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    world.server.insert("t0", 0..3);
    until("it is delivered", || applied(&world, "p") == 3).await;
    life.stop([pipeline]).await;

    let again = World { store: Arc::new(Memory::new()), ..world };
    let life = again.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    pipeline.ended().await;
    let RouteState::Failed { kind: Kind::Gap, error, .. } = state(&pipeline) else {
        panic!("{:?}", state(&pipeline))
    };
    assert!(error.contains("deleted and made again"), "{error}");
    assert_eq!(applied(&again, "p"), 3);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_behind_the_end_of_the_log_is_a_gap() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    until("it runs", || state(&pipeline) == RouteState::Running).await;
    world.server.insert("t0", 0..3);
    until("it is delivered", || applied(&world, "p") == 3).await;
    pipeline.tell(Wish::Stop);
    pipeline.ended().await;
    world.target("p").lock().unwrap().cursor.as_mut().expect("it has one").next = Seq(1000);
    let pipeline = life.pipeline("p", &["t0"]);
    pipeline.ended().await;
    assert!(matches!(state(&pipeline), RouteState::Failed { kind: Kind::Gap, .. }));
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn the_cursor_of_a_direct_pipeline_is_no_place_in_a_log() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    world.server.insert("t0", 0..3);
    until("it is delivered", || applied(&world, "p") == 3).await;
    pipeline.tell(Wish::Stop);
    pipeline.ended().await;
    // From the log to the source it goes on at the exact position.
    let direct = Options { direct: true, ..Options::default() };
    let pipeline = life.pipeline_with("p", &["t0"], direct);
    world.server.insert("t0", 3..6);
    until("it is delivered", || applied(&world, "p") == 6).await;
    pipeline.tell(Wish::Stop);
    pipeline.ended().await;
    let cursor = world.target("p").lock().unwrap().cursor.clone().expect("it has one");
    assert_eq!((cursor.log, cursor.source.as_str()), (None, "server-1"));
    let pipeline = life.pipeline("p", &["t0"]);
    pipeline.ended().await;
    assert!(matches!(state(&pipeline), RouteState::Failed { kind: Kind::Gap, .. }));
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_delivers_what_was_mined_and_ends_though_the_mine_goes_on() {
    let world = World::new(1);
    world.target("p").lock().unwrap().delay = Duration::from_secs(3);
    let life = world.live().await;
    let pipeline =
        life.pipeline_with("p", &["t0"], Options { batch_rows_max: Some(7), ..Options::default() });
    life.start_mine();
    for at in 0..50 {
        world.server.insert("t0", [at]);
    }
    until("it is mined", || life.mine.progress().changes() == 50).await;
    pipeline.tell(Wish::Drain);
    let writes = async {
        for at in 50.. {
            world.server.insert("t0", [at]);
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = pipeline.ended() => {}
        () = writes => {}
        () = sleep(Duration::from_secs(300)) => panic!("the drain never ended"),
    }
    assert_eq!(state(&pipeline), RouteState::Stopped);
    assert!(applied(&world, "p") >= 50);
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_quickly_and_everybody_can_wait_for_it() {
    let world = World::new(1);
    world.target("p").lock().unwrap().delay = Duration::from_secs(3);
    let life = world.live().await;
    let pipeline =
        life.pipeline_with("p", &["t0"], Options { batch_rows_max: Some(7), ..Options::default() });
    life.start_mine();
    for at in 0..500 {
        world.server.insert("t0", [at]);
    }
    until("it delivers", || applied(&world, "p") > 0).await;
    let before = Instant::now();
    pipeline.tell(Wish::Stop);
    let _ = timeout(Duration::from_millis(10), pipeline.ended()).await;
    tokio::join!(pipeline.ended(), pipeline.ended());
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    {
        let target = world.target("p");
        let target = target.lock().unwrap();
        assert_eq!(target.opened, target.closed, "the sink is closed when the pipeline has ended");
        assert!(target.applied.len() < 500);
    }
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_huge_transaction_goes_through_in_parts_and_is_visible_at_once() {
    let world = World::new(1);
    world.target("p").lock().unwrap().mirrors = vec!["t0".into()];
    world.target("other").lock().unwrap().mirrors = vec!["t1".into()];
    let life = world.live().await;
    let pipelines = [
        life.pipeline_with("p", &["t0"], Options { batch_rows_max: Some(100), ..Options::default() }),
        life.pipeline_with("other", &["t1"], Options::default()),
        life.pipeline_with(
            "direct",
            &["t0"],
            Options { direct: true, start: Some(Start::Earliest), ..Options::default() },
        ),
    ];
    life.start_mine();
    // A transaction of another table comes before it: its cursor must not cut the huge one.
    world.server.insert("t1", [1]);
    world.server.insert_padded("t0", 0..2000, 30_000);
    let before = Instant::now();
    until("all is delivered", || applied(&world, "p") == 2000 && applied(&world, "direct") == 2000).await;
    assert!(
        before.elapsed() < Duration::from_secs(3),
        "its end is delivered at once: {:?}",
        before.elapsed()
    );
    {
        let target = world.target("p");
        let target = target.lock().unwrap();
        assert!(target.parts >= 19, "{} parts", target.parts);
        assert!(target.largest_batch <= 100);
        assert_eq!(target.commits, 1);
        let direct = world.target("direct");
        let direct = direct.lock().unwrap();
        assert!(direct.parts > 0 && direct.largest_batch_bytes < 9 << 20, "{}", direct.largest_batch_bytes);
    }
    life.stop(pipelines).await;
}

#[tokio::test(start_paused = true)]
async fn parts_of_an_unfinished_transaction_reach_nobody() {
    let world = World::new(1);
    let life = world.live().await;
    let options = Options { batch_rows_max: Some(10), ..Options::default() };
    let pipeline = life.pipeline_with("p", &["t0"], options);
    life.start_mine();
    until("it runs", || state(&pipeline) == RouteState::Running).await;
    world.server.break_at(0, 95);
    world.weather.strike(Fault::OpenStream, 5);
    world.server.insert_padded("t0", 0..100, 20_000);
    until("the source is lost", || matches!(life.mine_state(), MineState::Retrying { .. })).await;
    assert!(life.mine.progress().changes() > 50, "parts are in the log already");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.target("p").lock().unwrap().parts, 0);
    until("all is delivered", || applied(&world, "p") == 100).await;
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_is_never_written_behind_a_part_of_a_transaction() {
    let world = World::new(1);
    world.target("p").lock().unwrap().mirrors = vec!["t0".into()];
    // So slow that the time for moving the cursor comes while the transaction is under way.
    world.target("p").lock().unwrap().delay = Duration::from_secs(4);
    let life = world.live().await;
    let pipelines =
        [life.pipeline_with("p", &["t0"], Options { batch_rows_max: Some(10), ..Options::default() })];
    world.server.insert("t1", [1]);
    world.server.insert_padded("t0", 0..100, 20_000);
    life.start_mine();
    until("all is delivered", || applied(&world, "p") == 100).await;
    assert_eq!(world.target("p").lock().unwrap().commits, 1);
    life.stop(pipelines).await;
}

#[tokio::test(start_paused = true)]
async fn whole_transactions_fill_a_batch() {
    let world = World::new(1);
    for at in 0..1000 {
        world.server.insert("t0", [at]);
    }
    let life = world.live().await;
    life.mine.want(&super::world::set(&["t0"]));
    life.start_mine();
    until("it is mined", || life.mine.progress().changes() == 1000).await;
    let pipeline =
        life.pipeline_with("p", &["t0"], Options { batch_rows_max: Some(100), ..Options::default() });
    until("all is delivered", || applied(&world, "p") == 1000).await;
    {
        let target = world.target("p");
        let target = target.lock().unwrap();
        assert_eq!((target.parts, target.largest_batch), (0, 100));
        assert!(target.commits < 20, "{}", target.commits);
    }
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn small_rows_do_not_keep_a_large_log_in_memory() {
    let world = World::new(1);
    for at in 0..200 {
        world.server.insert_rows([("t0", at, 0), ("t1", at, 600_000)]);
    }
    let life = world.live().await;
    life.mine.want(&super::world::set(&["t0", "t1"]));
    life.start_mine();
    until("it is mined", || life.mine.progress().changes() == 400).await;
    let pipeline = life.pipeline("p", &["t0"]);
    until("all is delivered", || applied(&world, "p") == 200).await;
    {
        let target = world.target("p");
        let target = target.lock().unwrap();
        assert!(target.largest_batch <= 60, "{} blocks were held at once", target.largest_batch);
        assert!(target.commits <= 5, "{} batches are more than needed", target.commits);
        assert_eq!(target.parts, 0);
    }
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_until_something_is_durable_again() {
    let world = World::new(1);
    let life = world.live().await;
    let three = || Options { retries_max: Some(3), ..Options::default() };
    let pipeline = life.pipeline_with("p", &["t0"], three());
    life.start_mine();
    until("it runs", || state(&pipeline) == RouteState::Running).await;
    for round in 0..3 {
        world.weather.strike(Fault::Write, 3);
        world.server.insert("t0", [round]);
        until("it is delivered", || applied(&world, "p") == round as usize + 1).await;
    }
    // Reading goes well all the time.
    world.weather.strike(Fault::Write, 4);
    world.server.insert("t0", [10]);
    until("it gives up", || pipeline.is_over()).await;
    let RouteState::Failed { kind: Kind::Unavailable, error, .. } = state(&pipeline) else {
        panic!("{:?}", state(&pipeline))
    };
    assert!(error.contains("in pipeline p: struck by Write"), "{error}");
    assert_eq!(pipeline.routes()[0].progress().figures().retries, 12);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn figures_count_what_is_durable_once() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline =
        life.pipeline_with("p", &["t0"], Options { batch_rows_max: Some(10), ..Options::default() });
    life.start_mine();
    until("it runs", || state(&pipeline) == RouteState::Running).await;
    world.weather.strike(Fault::Write, 1);
    world.server.insert_padded("t0", 0..95, 1000);
    until("it is delivered", || applied(&world, "p") == 95).await;
    until("it is counted", || pipeline.routes()[0].lag_ms() == Some(0)).await;
    assert_eq!(pipeline.routes()[0].progress().figures().changes_delivered, 95);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lag_that_is_not_known_is_not_called_zero() {
    let world = World::new(1);
    world.target("p").lock().unwrap().delay = Duration::from_secs(10);
    let life = world.live().await;
    life.mine.want(&super::world::set(&["t0"]));
    life.start_mine();
    world.server.insert("t0", [1]);
    until("it is mined", || life.mine.progress().changes() == 1).await;
    let pipeline = life.pipeline("p", &["t0"]);
    let lag = || pipeline.routes()[0].lag_ms();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(lag(), None);
    until("it is delivered", || lag() == Some(0)).await;
    // The source's clock gives each transaction a second.
    world.server.insert("t0", [2]);
    world.server.insert("t0", [3]);
    until("it is mined", || life.mine.progress().changes() == 3).await;
    let late = lag().expect("what waits is known");
    assert!((1000..1100).contains(&late), "the oldest is a second older than the newest: {late}");
    sleep(Duration::from_secs(4)).await;
    let later = lag().expect("what waits is known");
    assert!((5000..5200).contains(&later), "the server's clock goes on: {later}");
    until("it is delivered", || lag() == Some(0)).await;
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_writer_fences_the_first() {
    let world = World::new(1);
    let life = world.live().await;
    let first = life.pipeline("p", &["t0"]);
    life.start_mine();
    world.server.insert("t0", [1]);
    until("it is delivered", || applied(&world, "p") == 1).await;
    let second = life.pipeline("p", &["t0"]);
    until("the second runs", || state(&second) == RouteState::Running).await;
    world.server.insert("t0", [2]);
    first.ended().await;
    assert!(matches!(state(&first), RouteState::Failed { kind: Kind::Fenced, .. }));
    until("the second goes on", || applied(&world, "p") == 2).await;
    life.stop([second]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_row_stops_that_pipeline_only() {
    let world = World::new(1);
    world.target("bad").lock().unwrap().rejects = Some(3);
    let life = world.live().await;
    let (bad, good) = (life.pipeline("bad", &["t0"]), life.pipeline("good", &["t0"]));
    life.start_mine();
    until("both run", || [&bad, &good].iter().all(|p| state(p) == RouteState::Running)).await;
    for at in 0..10 {
        world.server.insert("t0", [at]);
        sleep(Duration::from_millis(500)).await;
    }
    until("the good one has all", || applied(&world, "good") == 10).await;
    assert!(matches!(state(&bad), RouteState::Failed { kind: Kind::Data, .. }));
    assert_eq!(applied(&world, "bad"), 2);
    life.stop([good]).await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_hook_stops_that_pipeline_with_all_its_routes_only() {
    let world = World::new(1);
    let life = world.live().await;
    let hook = Options { stages: fails_on(3), batch_rows_max: Some(1), ..Options::default() };
    let routes = vec![life.route("bad", &["t0"], hook), life.route("beside", &["t0"], Options::default())];
    let bad = Pipeline::start("bad".into(), routes);
    let good = life.pipeline("good", &["t0"]);
    life.start_mine();
    for at in 0..10 {
        world.server.insert("t0", [at]);
        sleep(Duration::from_millis(500)).await;
    }
    until("the good one has all", || applied(&world, "good") == 10).await;
    bad.ended().await;
    let RouteState::Failed { kind: Kind::Data, error, .. } = state(&bad) else { panic!("{:?}", state(&bad)) };
    assert!(error.contains("in pipeline bad"), "{error}");
    assert_eq!(*bad.routes()[1].state().borrow(), RouteState::Stopped);
    assert_eq!(applied(&world, "bad"), 2);
    life.stop([good]).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_on_which_a_hook_fails_is_set_aside() {
    let world = World::new(1);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("aside").join("p.jsonl");
    let life = world.live().await;
    let mut events = life.events.listen();
    let options = Options { stages: fails_on(3), aside: Some(path.clone()), ..Options::default() };
    let pipeline = life.pipeline_with("p", &["t0"], options);
    life.start_mine();
    world.server.insert("t0", 0..5);
    until("the others are delivered", || applied(&world, "p") == 4).await;
    assert_eq!(world.target("p").lock().unwrap().applied, [1, 2, 4, 5]);
    let lines = std::fs::read_to_string(path).expect("it was written");
    let line: serde_json::Value = serde_json::from_str(lines.trim_end()).expect("one line");
    assert_eq!((&line["table"], &line["after"]["value"]), (&"shop.t0".into(), &3.into()));
    let told =
        || std::iter::from_fn(|| events.try_recv().ok()).any(|event| matches!(event, Event::Aside { .. }));
    assert!({ told }());
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn pipelines_finish_with_a_source_that_ends_and_begin_again_with_it() {
    let world = World::new(1);
    world.server.insert("t0", 0..5);
    world.server.insert("t1", 0..7);
    world.server.end();
    let life = world.live().await;
    let first = life.pipeline("first", &["t0"]);
    life.start_mine().await.expect("it ends by itself");
    first.ended().await;
    assert_eq!(state(&first), RouteState::Finished);
    // The mine is over, and is started again for another pipeline, which must not take the old end for its own.
    world.server.insert("t1", 7..9);
    let second = life.pipeline("second", &["t1"]);
    let task = life.start_mine();
    second.ended().await;
    task.await.expect("it ends by itself");
    assert_eq!((applied(&world, "first"), applied(&world, "second")), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_direct_source_that_breaks_again_and_again_is_got_through() {
    let world = World::new(1);
    for transaction in 0..50 {
        world.server.insert("t0", transaction * 10..transaction * 10 + 10);
        world.server.break_at(transaction as usize, 9);
    }
    let life = world.live().await;
    let options = Options { direct: true, start: Some(Start::Earliest), ..Options::default() };
    let pipeline = life.pipeline_with("p", &["t0"], options);
    let before = Instant::now();
    until("all is delivered", || applied(&world, "p") == 500).await;
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "progress keeps the waits short: {:?}",
        before.elapsed()
    );
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_sink_that_does_not_answer() {
    let world = World::new(1);
    world.weather.slow_down(u64::MAX / 1_000_000);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    sleep(Duration::from_millis(10)).await;
    pipeline.tell(Wish::Stop);
    timeout(Duration::from_secs(1), pipeline.ended()).await.expect("it ends");
}
