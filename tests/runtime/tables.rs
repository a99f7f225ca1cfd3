//! Tables of a mine that are paused and resumed.

use std::time::Duration;

use lode::error::Kind;
use lode::model::block::{Entry, parse_coverage};
use lode::model::position::Seq;
use lode::model::spec::Start;
use lode::run::mine::MineState;
use lode::store::LogReader;
use tokio::time::sleep;

use super::weather::Fault;
use super::world::{Life, World, set, until};

fn applied(world: &World, name: &str) -> usize {
    world.target(name).lock().unwrap().applied.len()
}

/// The keys of a table's changes in the log, in their order there.
async fn keys(life: &Life, table: &str) -> Vec<String> {
    let (schemas, mut keys) = (life.log.schemas(), Vec::new());
    for block in life.log.read(Seq(0), usize::MAX).await.unwrap() {
        for entry in block.entries() {
            let Entry::Change(change) = entry.unwrap().1 else { continue };
            let schema = schemas.get(change.schema).unwrap();
            if schema.name.table == table {
                keys.push(format!("{:?}", change.after_view(schema).unwrap().get(0)));
            }
        }
    }
    keys
}

async fn pause(life: &Life, tables: &[&str]) {
    life.mine.pause(&set(tables)).await.unwrap();
}

async fn resumed(life: &Life, tables: &[&str]) {
    life.mine.resume(&set(tables), false).await.unwrap();
    until("all is resumed", || life.mine.paused().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_table_catches_up_while_the_others_go_on() {
    let world = World::new(1);
    let life = world.live().await;
    let (a, b) = (life.pipeline("a", &["t0"]), life.pipeline("b", &["t1"]));
    life.start_mine();
    world.server.insert_rows([("t0", 0, 0), ("t1", 0, 0)]);
    until("both are delivered", || (applied(&world, "a"), applied(&world, "b")) == (1, 1)).await;
    pause(&life, &["t1"]).await;
    for at in 1..100 {
        world.server.insert_rows([("t0", at, 0), ("t1", at, 0)]);
    }
    until("the other is delivered", || applied(&world, "a") == 100).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(applied(&world, "b"), 1, "nothing comes while it is paused");
    assert_eq!(life.mine.paused()[0].since.offset, 1);
    resumed(&life, &["t1"]).await;
    until("it catches up", || applied(&world, "b") == 100).await;
    world.server.insert_rows([("t0", 100, 0), ("t1", 100, 0)]);
    until("both go on", || (applied(&world, "a"), applied(&world, "b")) == (101, 101)).await;
    assert_eq!(life.mine_state(), MineState::Running);
    life.stop([a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn pieces_say_what_they_are_and_keep_the_position() {
    let world = World::new(1);
    let life = world.live().await;
    life.mine.want(&set(&["t0", "t1"]));
    life.start_mine();
    world.server.insert_rows([("t0", 0, 0), ("t1", 0, 0)]);
    until("it is mined", || life.log.tail().commit.is_some_and(|commit| commit.position.offset == 1)).await;
    pause(&life, &["t1"]).await;
    world.server.insert_rows((1..40).flat_map(|at| [("t0", at, 0), ("t1", at, 40_000)]));
    until("it is mined", || life.log.tail().commit.is_some_and(|commit| commit.position.offset == 2)).await;
    let paused_at = life.log.tail().next;
    resumed(&life, &["t1"]).await;
    let (mut pieces, mut changes, mut within, mut is_piece) = (0, 0, Vec::new(), false);
    for block in life.log.read(paused_at, usize::MAX).await.unwrap() {
        for entry in block.entries() {
            match entry.unwrap().1 {
                Entry::Coverage(json) => {
                    let coverage = parse_coverage(json).unwrap();
                    is_piece = coverage.is_catch_up();
                    pieces += usize::from(is_piece);
                    within.extend(coverage.paused.iter().filter(|_| is_piece).map(|paused| paused.within));
                }
                Entry::Commit { offset, .. } => {
                    assert_eq!(offset, 2, "the checkpoint stays");
                    is_piece = false;
                }
                Entry::Change(_) => {
                    assert!(is_piece);
                    changes += 1;
                }
                Entry::Schema { .. } => {}
            }
        }
    }
    assert_eq!(changes, 39);
    assert!(pieces > 2, "a transaction that is too large for one piece comes in several: {within:?}");
    assert!(within[0] > 0 && within[0] < within[1] && within.last() == Some(&0), "{within:?}");
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_goes_on_after_every_crash() {
    let world = World::new(1);
    let mut life = world.live().await;
    life.mine.want(&set(&["t0", "t1"]));
    life.start_mine();
    until("it runs", || life.log.tail().commit.is_some()).await;
    pause(&life, &["t1"]).await;
    for at in 0..10 {
        world
            .server
            .insert_rows((0..20).flat_map(|row| [("t0", at * 20 + row, 0), ("t1", at * 20 + row, 40_000)]));
    }
    life.mine.resume(&set(&["t1"]), false).await.unwrap();
    // A break wherever the catch-up, or the main reader before it, comes.
    for at in 0..10 {
        world.server.break_at(at, 30);
    }
    world.weather.strike(Fault::AppendAnswer, 2);
    let mut lives = 0;
    while !life.mine.paused().is_empty() {
        let before = life.log.tail().next;
        until("it goes on", || life.log.tail().next > before || life.mine.paused().is_empty()).await;
        life.stop([]).await;
        life = world.live().await;
        life.start_mine();
        lives += 1;
        assert!(lives < 1000);
    }
    assert!(lives > 3, "{lives}");
    let mut values = keys(&life, "t1").await;
    assert_eq!(values.len(), 200, "nothing is missing and nothing twice");
    values.sort();
    values.dedup();
    assert_eq!(values.len(), 200);
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_mine_can_be_paused_and_resumed_too() {
    let world = World::new(1);
    let life = world.live().await;
    let error = life.mine.pause(&set(&["t0"])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("not begun"), "{error}");
    life.mine.want(&set(&["t0", "tmp_1", "tmp_2"]));
    life.start_mine();
    until("it runs", || life.log.tail().commit.is_some()).await;
    life.stop([]).await;

    let life = world.live().await;
    pause(&life, &["tmp_*"]).await;
    pause(&life, &["t0"]).await;
    life.mine.want(&set(&["tmp_1"]));
    world.server.insert_rows([("t0", 1, 0), ("tmp_1", 1, 0), ("tmp_2", 1, 0)]);
    life.start_mine();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(world.server.read_of("tmp_1"), 0, "a new pipeline does not resume what is paused");
    life.stop([]).await;

    let life = world.live().await;
    assert_eq!(life.mine.paused().len(), 2, "what is paused stays paused");
    life.mine.resume(&set(&["*"]), false).await.unwrap();
    life.start_mine();
    until("all is resumed", || life.mine.paused().is_empty()).await;
    for table in ["t0", "tmp_1", "tmp_2"] {
        assert_eq!(keys(&life, table).await.len(), 1, "{table}");
    }
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused() {
    let world = World::new(1);
    let life = world.live().await;
    life.mine.want(&set(&["t0", "tmp_1", "tmp_2"]));
    life.start_mine();
    until("it runs", || life.log.tail().commit.is_some()).await;
    pause(&life, &["tmp_*"]).await;
    let mut said = Vec::new();
    for (tables, resumes) in [
        (&["t9"][..], false),
        (&["tmp_*"], false),
        (&["tmp_1"], false),
        (&["*"], false),
        (&["t0"], true),
        (&["tmp_1"], true),
    ] {
        let done = match resumes {
            true => life.mine.resume(&set(tables), false).await,
            false => life.mine.pause(&set(tables)).await,
        };
        let error = done.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        said.push(format!("{error}; {}", error.next_step().unwrap_or_default()));
    }
    insta::assert_snapshot!(said.join("\n"));
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_point_skips_with_a_record() {
    let world = World::new(1);
    let life = world.live().await;
    life.mine.want(&set(&["t0"]));
    life.mine.skip_to(Start::Position { file: "binlog.000001".into(), offset: 2 }).await.unwrap();
    world.server.insert("t0", 0..1);
    world.server.insert("t0", 1..2);
    world.server.insert("t0", 2..3);
    life.start_mine();
    until("it is mined", || life.log.tail().commit.is_some_and(|commit| commit.position.offset == 3)).await;
    assert_eq!(world.server.read_of("t0"), 1, "a log that is new begins where it is said");
    let at = |offset| Start::Position { file: "binlog.000001".into(), offset };
    assert!(life.mine.skip_to(Start::Now).await.unwrap_err().to_string().contains("it is running"));
    life.stop([]).await;

    for key in 3..8 {
        world.server.insert("t0", [key]);
    }
    let life = world.live().await;
    let preview = life.mine.preview(&at(6)).await.unwrap();
    assert_eq!((preview.from.unwrap().offset, preview.to.offset, preview.is_later), (3, 6, Some(true)));
    let error = life.mine.skip_to(at(2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("lies before"), "{error}");
    life.mine.skip_to(at(6)).await.unwrap();
    life.mine.skip_to(at(6)).await.unwrap();
    let gaps = life.log.coverage().gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from.offset, gaps[0].to.offset, &gaps[0].tables), (3, 6, &None));
    life.start_mine();
    until("it is mined", || life.log.tail().commit.is_some_and(|commit| commit.position.offset == 8)).await;
    assert_eq!(world.server.read_of("t0"), 3);
    life.stop([]).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_an_end_is_caught_up_to_it() {
    let world = World::new(1);
    let life = world.live().await;
    life.mine.want(&set(&["t0", "t1"]));
    life.start_mine();
    until("it runs", || life.log.tail().commit.is_some()).await;
    pause(&life, &["t1"]).await;
    for at in 0..50 {
        world.server.insert_rows([("t0", at, 0), ("t1", at, 40_000)]);
    }
    world.server.end();
    until("it ends", || life.mine_state() == MineState::Ended).await;
    assert_eq!((keys(&life, "t0").await.len(), keys(&life, "t1").await.len()), (50, 0));
    life.mine.resume(&set(&["t1"]), false).await.unwrap();
    life.start_mine();
    until("it has begun again", || life.mine.paused().is_empty()).await;
    until("it ends", || life.mine_state() == MineState::Ended).await;
    assert_eq!(keys(&life, "t1").await.len(), 50);
    life.stop([]).await;
}
