//! `on_mine_failure = direct`: the source in the mine's stead, and back to the log, at an exact position.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use lode::model::block::{BlockBuilder, Commit, Op};
use lode::model::coverage::{Coverage, Paused};
use lode::model::position::{Cursor, Direct, Position, Seq};
use lode::model::row::Row;
use lode::model::table::TableSelection;
use lode::model::value::Value;
use lode::run::mine::MineState;
use lode::run::route::RouteState;
use lode::run::signal::{Control, Wish};
use tokio::time::sleep;

use super::numbers::Random;
use super::server::schema;
use super::weather::Fault;
use super::world::{Life, Options, World, set, state, until};

fn applied(world: &World) -> Vec<i64> {
    world.target("p").lock().unwrap().applied.clone()
}

fn options() -> Options {
    Options { falls_back: true, ..Options::default() }
}

async fn stop_mine(life: &Life, control: &Control) {
    control.tell(Wish::Drain);
    let _ = life.mine.state().wait_for(MineState::is_over).await;
}

fn start_mine(life: &Life) -> Control {
    let control = Control::default();
    life.mine.start(control.listen());
    control
}

#[tokio::test(start_paused = true)]
async fn the_source_is_read_while_the_mine_is_stopped_and_the_log_again_afterwards() {
    let world = World::new(1);
    world.target("p").lock().unwrap().mirrors = vec!["t0".into()];
    let life = world.live().await;
    let pipeline = life.pipeline_with("p", &["t0"], options());
    let route = &pipeline.routes()[0];
    let control = start_mine(&life);
    world.server.insert("t0", 0..5);
    until("it is delivered", || applied(&world).len() == 5).await;
    assert!(!route.progress().is_direct());

    stop_mine(&life, &control).await;
    let left = life.mine.log().tail().next;
    world.server.insert("t0", 5..10);
    world.server.insert("t1", 0..10);
    until("the source is read", || applied(&world).len() == 10).await;
    assert!(route.progress().is_direct());
    assert_eq!((state(&pipeline), route.lag_ms()), (RouteState::Running, None));
    assert_eq!(life.mine.oldest_needed(), Some(left), "the log is held from where it was left");

    let control = start_mine(&life);
    until("the log is read again", || !route.progress().is_direct()).await;
    world.server.insert("t0", 10..15);
    until("all is delivered", || applied(&world).len() == 15).await;
    assert!(life.mine.oldest_needed() > Some(left));
    assert_eq!(world.server.read_of("t0"), 20, "what came meanwhile was read twice, by the mine, too");
    control.tell(Wish::Drain);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn a_mine_that_comes_back_soon_is_waited_for() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline_with("p", &["t0"], options());
    let control = start_mine(&life);
    world.server.insert("t0", 0..5);
    until("it is delivered", || applied(&world).len() == 5).await;
    world.weather.strike(Fault::OpenStream, 5);
    world.server.break_at(1, 0);
    world.server.insert("t0", 5..10);
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(&*life.mine.state().borrow(), MineState::Retrying { .. } | MineState::Starting));
    until("it comes back", || applied(&world).len() == 10).await;
    stop_mine(&life, &control).await;
    let control = start_mine(&life);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(world.server.readers_most(), 1, "nobody else read the source");

    // One that does not come back is not waited for, though it tries.
    world.weather.strike(Fault::OpenStream, 20);
    world.server.break_at(2, 0);
    world.server.insert("t0", 10..15);
    until("the source is read", || applied(&world).len() == 15).await;
    control.tell(Wish::Drain);
    life.stop([pipeline]).await;
}

#[tokio::test(start_paused = true)]
async fn another_server_is_not_read_in_the_mines_stead() {
    let world = World::new(1);
    let life = world.live().await;
    let pipeline = life.pipeline_with("p", &["t0"], options());
    let control = start_mine(&life);
    world.server.insert("t0", 0..5);
    until("it is delivered", || applied(&world).len() == 5).await;
    stop_mine(&life, &control).await;
    world.server.replace("server-2");
    world.server.insert("t0", 5..10);
    let says =
        |what: &str| matches!(state(&pipeline), RouteState::Waiting { reason } if reason.contains(what));
    until("it says why it waits", || says("from another server")).await;
    sleep(Duration::from_secs(100)).await;
    assert_eq!(applied(&world).len(), 5);
    world.server.replace("server-1");
    until("the source is read", || applied(&world).len() == 10).await;
    life.stop([pipeline]).await;
}

/// More than in CI with `LODE_FALLBACK_SEEDS`.
fn seeds() -> u64 {
    std::env::var("LODE_FALLBACK_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40)
}

/// Mines and pipelines come and go at random, everything fails now and then, and nothing is lost or comes twice: the target
/// looks at every commit whether it holds what the source held there.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_comes_twice_wherever_it_is_interrupted() {
    let mut direct = 0;
    for seed in 0..seeds() {
        let world = World::new(seed);
        world.target("p").lock().unwrap().mirrors = vec!["t0".into(), "t1".into()];
        let mut rng = Random::new(seed);
        let life = world.live().await;
        let run = |rng: &mut Random| {
            let options = Options { batch_rows_max: Some(1 + rng.below(5) as usize), ..options() };
            life.pipeline_with("p", &["t0", "t1"], options)
        };
        let mut pipeline = run(&mut rng);
        let mut control = Some(start_mine(&life));
        let mut keys = 0;
        for _ in 0..80 {
            match rng.below(8) {
                0 => match control.take() {
                    Some(control) => stop_mine(&life, &control).await,
                    None => control = Some(start_mine(&life)),
                },
                1 if rng.below(2) == 0 => {
                    pipeline.tell(Wish::Stop);
                    pipeline.ended().await;
                    pipeline = run(&mut rng);
                }
                // The former one is left where it is, as one that was killed: what it still writes is refused.
                1 => {
                    pipeline.tell(Wish::Stop);
                    pipeline = run(&mut rng);
                }
                2 => {
                    let faults = [
                        Fault::OpenSink,
                        Fault::Write,
                        Fault::WriteAnswer,
                        Fault::OpenStream,
                        Fault::Event,
                        Fault::AppendAnswer,
                        Fault::Read,
                        Fault::Identify,
                    ];
                    let fault = faults[rng.below(faults.len() as u64) as usize];
                    world.weather.strike(fault, 1 + rng.below(4) as u32);
                }
                _ => {
                    let count = 1 + rng.below(9) as i64;
                    let table = ["t0", "t1", "t2"][rng.below(3) as usize];
                    world.server.insert(table, keys..keys + count);
                    keys += count;
                }
            }
            sleep(Duration::from_millis(rng.below(700))).await;
            direct += u32::from(pipeline.routes()[0].progress().is_direct());
        }
        let control = control.unwrap_or_else(|| start_mine(&life));
        world.server.insert("t0", [keys]);
        let wanted = world.server.transactions(0..world.server.count());
        let wanted: Vec<i64> = wanted
            .iter()
            .flatten()
            .filter(|change| change.table != "t2")
            .map(|change| change.number)
            .collect();
        until("all is delivered", || applied(&world).len() >= wanted.len()).await;
        assert_eq!(applied(&world), wanted, "seed {seed}");
        until("the log is read again", || !pipeline.routes()[0].progress().is_direct()).await;
        control.tell(Wish::Drain);
        life.stop([pipeline]).await;
    }
    assert!(direct > 200, "the source was read at {direct} looks");
}

/// A log as the mine leaves it around a pause: `t1` is paused behind transaction 2, while the route reads transactions 3
/// to 6 of the source without it; later pieces of a catch-up bring it, and from transaction 5 on it is with the others.
#[tokio::test(start_paused = true)]
async fn pieces_of_a_catch_up_are_never_left_out() {
    let all = TableSelection::of(set(&["t0", "t1"]));
    let position = |offset| Position { gtid: String::new(), file: "binlog.000001".into(), offset };
    let paused = Paused {
        tables: set(&["t1"]),
        of: all.clone(),
        since: position(2),
        within: 0,
        since_ms: 2000,
        resuming: true,
        failed: None,
    };
    let pause = Coverage { paused: vec![paused], ..Coverage::of(all.clone()) };
    let piece = Coverage { catch_up: true, ..pause.clone() };
    let joined = Coverage { catch_up: true, ..Coverage::of(all.clone()) };

    let world = World::new(1);
    let log = world.store.open("shop").await.expect("nobody else has the log");
    log.bind_source("server-1").await.expect("it is new");
    let mut builder = BlockBuilder::new(Seq(0), log.schemas());
    let mut number = 0;
    let mut change = |builder: &mut BlockBuilder, table: &str| {
        number += 1;
        let schema = Arc::new(schema(table, 0));
        let values = [Some(Value::Int(number)), Some(Value::Int(number)), Some(Value::Null)];
        let image = Row::encode(Arc::clone(&schema), &values).expect("the values fit").image;
        let no = builder.schema(&schema);
        let after = Some(move |out: &mut Vec<u8>| {
            out.extend_from_slice(&image);
            Ok::<(), Infallible>(())
        });
        let Ok(()) = builder.change(Op::Insert, no, 1000, None::<fn(&mut Vec<u8>) -> _>, after);
    };
    let commit = |builder: &mut BlockBuilder, offset: u64| {
        builder.commit(Commit { position: position(offset), time_ms: offset as i64 * 1000 });
    };
    let mut blocks = Vec::new();
    let mut seal = |builder: &mut BlockBuilder| {
        blocks.push(Arc::new(builder.seal().expect("there is a commit")));
        blocks.last().expect("it was just put there").end()
    };
    builder.coverage(&pause);
    change(&mut builder, "t0"); // 1
    commit(&mut builder, 2);
    let left = seal(&mut builder);
    change(&mut builder, "t0"); // 2: read at the source
    commit(&mut builder, 3);
    builder.coverage(&piece);
    change(&mut builder, "t1"); // 3: a piece
    commit(&mut builder, 3);
    change(&mut builder, "t0"); // 4: read at the source
    commit(&mut builder, 4);
    seal(&mut builder);
    builder.coverage(&joined);
    change(&mut builder, "t1"); // 5: the last piece
    commit(&mut builder, 4);
    change(&mut builder, "t0"); // 6: read at the source
    change(&mut builder, "t1"); // 7: with it, and not read there
    commit(&mut builder, 5);
    change(&mut builder, "t1"); // 8: not read at the source
    commit(&mut builder, 6);
    change(&mut builder, "t0"); // 9: new
    change(&mut builder, "t1"); // 10: new
    commit(&mut builder, 7);
    seal(&mut builder);
    log.append(blocks).await.expect("there is room");
    let epoch = log.epoch();
    drop(log);

    let life = world.live().await;
    for batch_rows_max in [1, 2, 1000] {
        let key = format!("p{batch_rows_max}");
        world.target(&key).lock().unwrap().cursor = Some(Cursor {
            source: "server-1".into(),
            log: Some(epoch),
            next: left,
            position: Some(position(6)),
            direct: Some(Direct { without: vec![pause.paused[0].selection()] }),
        });
        let options = Options { batch_rows_max: Some(batch_rows_max), ..Options::default() };
        let pipeline = life.pipeline_with(&key, &["t0", "t1"], options);
        let applied = || world.target(&key).lock().unwrap().applied.clone();
        until("all is delivered", || applied().len() >= 6).await;
        assert_eq!(applied(), [3, 5, 7, 8, 9, 10], "batches of {batch_rows_max}");
        assert!(!pipeline.routes()[0].progress().is_direct());
        pipeline.tell(Wish::Stop);
        pipeline.ended().await;
    }
    life.stop([]).await;
}
