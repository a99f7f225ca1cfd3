//! Pipelines under control: a row that is left out, another place to go on from, and handing over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lode::error::Kind;
use lode::model::hook::{Hook, HookCode};
use lode::model::position::Seq;
use lode::model::spec::{Place, Start};
use lode::plan::StagePlan;
use lode::run::feed::Origin;
use lode::run::pipeline::{Halt, Pipeline};
use lode::run::route::{RouteState, STOP_PATIENCE};
use lode::run::signal::Wish;
use lode::run::skip::Skips;
use tokio::time::{Instant, sleep};

use super::weather::Fault;
use super::world::{Life, Options, World, state, until};

fn applied(world: &World, key: &str) -> Vec<i64> {
    world.target(key).lock().unwrap().applied.clone()
}

fn skips(folder: &Path) -> Skips {
    Skips { file: folder.join("state/p/skip.json"), record: folder.join("aside/p.jsonl") }
}

/// The numbers of the changes that the record has.
fn recorded(skips: &Skips) -> Vec<i64> {
    let lines = std::fs::read_to_string(&skips.record).unwrap_or_default();
    let number = |line: &str| -> i64 {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["error"].as_str().expect("a text").starts_with("skipped: "), "{line}");
        line["after"]["value"].as_i64().expect("a number")
    };
    lines.lines().map(number).collect()
}

fn failed_at(pipeline: &Pipeline) -> Option<Seq> {
    let RouteState::Failed { kind: Kind::Data, at, .. } = state(pipeline) else {
        panic!("{:?}", state(pipeline));
    };
    at
}

/// What `Engine::skip` does.
fn skip(pipeline: &Pipeline) {
    let route = &pipeline.routes()[0];
    route.parts().skips.add(&route.remedy().expect("it failed on one change")).expect("it can be kept");
}

fn throws_on(numbers: &str) -> Vec<StagePlan> {
    let code = format!("if row.value in [{numbers}] {{ throw \"no\" }} true");
    let (code, file) = (HookCode::Block(code.as_str().into()), "test.lode".into());
    vec![StagePlan::Filter(Hook { code, file, line: 1, column: 1, modules: Arc::default() })]
}

/// Three transactions: changes 1 to 10, 11 to 20, 21 to 30.
fn three_transactions(world: &World) {
    for begin in [0, 10, 20] {
        world.server.insert("t0", begin..begin + 10);
    }
}

#[tokio::test(start_paused = true)]
async fn exactly_the_row_that_the_sink_rejected_is_left_out() {
    for (direct, batch_rows_max) in [(false, 1000), (false, 4), (false, 1), (true, 1000), (true, 3)] {
        let world = World::new(1);
        let folder = tempfile::tempdir().expect("a folder can be made");
        world.target("p").lock().unwrap().rejects = Some(15);
        let life = world.live().await;
        let options = Options {
            direct,
            start: Some(Start::Earliest),
            batch_rows_max: Some(batch_rows_max),
            skips: skips(folder.path()),
            ..Options::default()
        };
        three_transactions(&world);
        let pipeline = life.pipeline_with("p", &["t0"], options.clone());
        life.start_mine();
        pipeline.ended().await;
        let what = format!("direct {direct}, batches of {batch_rows_max}");
        assert!(failed_at(&pipeline).is_some(), "{what}");
        assert_eq!(applied(&world, "p"), (1..=10).collect::<Vec<_>>(), "{what}: what came before is there");

        skip(&pipeline);
        assert!(options.skips.file.exists(), "{what}");
        // The next try is killed before a cursor lies behind the row, the one after that gets there.
        world.target("p").lock().unwrap().delay = Duration::from_secs(3600);
        let killed = life.pipeline_with("p", &["t0"], options.clone());
        sleep(Duration::from_secs(1)).await;
        let met = usize::from(batch_rows_max == 1000);
        assert_eq!(recorded(&options.skips), vec![15; met], "{what}: recorded when it is met");
        killed.tell(Wish::Stop);
        killed.ended().await;
        world.target("p").lock().unwrap().delay = Duration::ZERO;
        let pipeline = life.pipeline_with("p", &["t0"], options.clone());
        until("all others are delivered", || applied(&world, "p").len() == 29).await;
        let expected: Vec<i64> = (1..=30).filter(|number| *number != 15).collect();
        assert_eq!(applied(&world, "p"), expected, "{what}");
        assert_eq!(recorded(&options.skips), vec![15; met + 1], "{what}: once for each time that it was met");
        assert_eq!(pipeline.routes()[0].progress().figures().rows_aside, 1, "{what}");

        pipeline.tell(Wish::Stop);
        pipeline.ended().await;
        let pipeline = life.pipeline_with("p", &["t0"], options.clone());
        until("it runs", || state(&pipeline) == RouteState::Running).await;
        assert!(!options.skips.file.exists(), "{what}: what lies behind the cursor is forgotten");
        life.stop([pipeline]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_of_one_transaction_on_which_a_hook_fails_are_left_out_one_after_the_other() {
    for direct in [false, true] {
        let world = World::new(1);
        let folder = tempfile::tempdir().expect("a folder can be made");
        let life = world.live().await;
        let options = Options {
            direct,
            start: Some(Start::Earliest),
            stages: throws_on("13, 17"),
            skips: skips(folder.path()),
            ..Options::default()
        };
        three_transactions(&world);
        life.start_mine();
        for left_out in [vec![], vec![13]] {
            let pipeline = life.pipeline_with("p", &["t0"], options.clone());
            pipeline.ended().await;
            assert!(failed_at(&pipeline).is_some());
            assert_eq!(applied(&world, "p"), (1..=10).collect::<Vec<_>>(), "what came before is there");
            assert_eq!(recorded(&options.skips), left_out);
            skip(&pipeline);
        }
        let pipeline = life.pipeline_with("p", &["t0"], options.clone());
        until("all others are delivered", || applied(&world, "p").len() == 28).await;
        assert_eq!(recorded(&options.skips), [13, 13, 17]);
        life.stop([pipeline]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_goes_on_at_the_place_that_it_was_sent_to() {
    let world = World::new(1);
    let life = world.live().await;
    three_transactions(&world);
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    until("all is delivered", || applied(&world, "p").len() == 30).await;
    pipeline.tell(Wish::Stop);
    pipeline.ended().await;
    world.target("p").lock().unwrap().may_go_back = true;

    let route = life.route("p", &["t0"], Options::default());
    // Entry by entry, the transaction that has it: a note, the first position, a schema, and thrice ten changes and a
    // commit.
    let tail = life.mine.log().tail().next;
    assert_eq!(tail, Seq(36));
    for (seq, next) in
        [(0, 0), (1, 0), (2, 2), (12, 2), (13, 2), (14, 14), (24, 14), (25, 25), (35, 25), (36, 36)]
    {
        let cursor = place(&life, Place::Seq { seq: Seq(seq) }).await.expect("the log has it");
        assert_eq!(cursor.next, Seq(next), "entry {seq}");
    }
    let refused = place(&life, Place::Seq { seq: Seq(37) }).await.expect_err("it has not come yet");
    assert_eq!(refused.kind(), Kind::Refused, "{refused:?}");

    // A sink that is away, and then loses its answer: the cursor is moved all the same, and before the first row.
    let cursor = place(&life, Place::Seq { seq: Seq(20) }).await.expect("the log has it");
    world.weather.strike(Fault::OpenSink, 2);
    world.weather.strike(Fault::WriteAnswer, 1);
    route.go_to(cursor);
    let pipeline = Pipeline::start("p".into(), vec![Arc::clone(&route)]);
    assert!(route.has_gone().await);
    until("it is delivered again", || applied(&world, "p").len() == 50).await;
    assert_eq!(applied(&world, "p")[30..], (11..=30).collect::<Vec<_>>());
    life.stop([pipeline]).await;
}

async fn place(life: &Life, to: Place) -> lode::error::Result<lode::model::position::Cursor> {
    Origin::Log(Arc::clone(&life.mine)).place(&to).await
}

#[tokio::test(start_paused = true)]
async fn a_place_is_found_by_position_by_time_and_by_both_ends() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    for at in 0..400 {
        world.server.insert("t0", at * 10..at * 10 + 1 + at % 7);
        if at % 40 == 0 {
            sleep(Duration::from_millis(300)).await;
        }
    }
    let all = (0..400).map(|at| 1 + at % 7).sum::<i64>() as usize;
    until("all is delivered", || applied(&world, "p").len() == all).await;
    let tail = life.mine.log().tail();
    let mut before = Seq(0);
    for offset in 0..=400 {
        let at = Start::Position { file: "binlog.000001".into(), offset };
        let cursor = place(&life, Place::Start(at)).await.expect("the log has it");
        assert_eq!(cursor.position.expect("it is a commit").offset, offset);
        assert!(before < cursor.next);
        before = cursor.next;
        if offset > 0 {
            // Transaction `offset` was committed at second `offset`, and comes before this place.
            let time = Start::Time(offset as i64 * 1000);
            let by_time = place(&life, Place::Start(time)).await;
            match by_time {
                Ok(by_time) => assert!(by_time.next < cursor.next, "{offset}"),
                // The log's first entry is the mine's own, with the time of this machine.
                Err(error) => assert_eq!(error.kind(), Kind::Gap),
            }
        }
    }
    assert_eq!(before, tail.next);
    let later = Start::Position { file: "binlog.000002".into(), offset: 4 };
    let error = place(&life, Place::Start(later)).await.expect_err("it has not come yet");
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    let elsewhere = Start::Position { file: "other.000001".into(), offset: 4 };
    let error = place(&life, Place::Start(elsewhere)).await.expect_err("it is no place here");
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    let none = Start::Gtid("0-1-7".into());
    assert_eq!(place(&life, Place::Start(none)).await.expect_err("no GTIDs here").kind(), Kind::Gap);
    assert_eq!(place(&life, Place::Start(Start::Now)).await.expect("an end").next, tail.next);
    assert_eq!(place(&life, Place::Start(Start::Earliest)).await.expect("a begin").next, Seq(0));
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_holds_up_neither_a_stop_nor_its_successor() {
    let world = World::new(1);
    let life = world.live().await;
    let former = life.pipeline("p", &["t0"]);
    life.start_mine();
    three_transactions(&world);
    until("all is delivered", || applied(&world, "p").len() == 30).await;
    world.target("p").lock().unwrap().delay = Duration::from_secs(24 * 3600);
    world.server.insert("t0", 30..40);
    sleep(Duration::from_secs(1)).await;

    let began = Instant::now();
    former.tell(Wish::Stop);
    let options = Options::default();
    let routes = vec![life.route("p", &["t0"], options)];
    let next = Pipeline::start_after("p".into(), routes, Some(Arc::clone(&former)));
    assert!(matches!(state(&next), RouteState::Waiting { reason } if reason == "the former p is ending"));
    // What hangs already goes on hanging.
    world.target("p").lock().unwrap().delay = Duration::ZERO;
    former.ended().await;
    assert_eq!(state(&former), RouteState::Stopped);
    assert!(began.elapsed() <= STOP_PATIENCE + Duration::from_millis(100), "{:?}", began.elapsed());
    until("the successor goes on", || applied(&world, "p").len() == 40).await;
    assert_eq!(applied(&world, "p"), (1..=40).collect::<Vec<_>>());

    // One that is told to end before it began ends, but not before its former self.
    world.target("p").lock().unwrap().delay = Duration::from_secs(24 * 3600);
    world.server.insert("t0", 40..50);
    sleep(Duration::from_secs(1)).await;
    next.tell(Wish::Stop);
    let routes = vec![life.route("p", &["t0"], Options::default())];
    let last = Pipeline::start_after("p".into(), routes, Some(Arc::clone(&next)));
    last.tell(Wish::Stop);
    last.ended().await;
    assert!(next.is_over());
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_pipeline_holds_its_history_and_a_stopped_one_does_not() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline("p", &["t0"]);
    life.start_mine();
    three_transactions(&world);
    until("all is delivered", || applied(&world, "p").len() == 30).await;
    let next = life.mine.log().tail().next;
    pipeline.halt(Halt::Paused);
    pipeline.ended().await;
    pipeline.let_go_if_stopped();
    assert_eq!(life.mine.oldest_needed(), Some(next));
    pipeline.halt(Halt::Stopped);
    pipeline.let_go_if_stopped();
    assert_eq!(life.mine.oldest_needed(), None);
    let routes = vec![life.route("p", &["t0"], Options::default())];
    let paused = Pipeline::halted("p".into(), routes, Halt::Paused);
    assert_eq!((state(&paused), life.mine.oldest_needed()), (RouteState::Stopped, Some(Seq(0))));
    life.stop([]).await;
}
