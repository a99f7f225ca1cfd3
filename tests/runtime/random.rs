//! Random histories under random faults and kills, with one check at the end: every change once, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use lode::model::spec::Start;
use lode::run::pipeline::Pipeline;
use lode::run::route::RouteState;
use lode::run::signal::{Control, Wish};
use lode::store::embedded::Embedded;
use tokio::runtime::{Builder, Runtime};

use super::numbers::Random;
use super::weather::Fault;
use super::world::{Life, Options, World, state, until};

/// Pipelines by name, with their tables, and whether they read the source directly.
const PIPELINES: &[(&str, &[&str], bool)] = &[
    ("all", &["t0", "t1", "t2"], false),
    ("one", &["t0"], false),
    ("two", &["t1", "t2"], false),
    ("direct", &["t0", "t2"], true),
];

#[test]
fn random_faults_and_kills_lose_nothing_and_bring_nothing_twice() {
    let number = |name, default| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let (first, rounds): (u64, u64) = (number("LODE_SEED", 1), number("LODE_ROUNDS", 60));
    for seed in first..first + rounds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| history(seed))) {
            eprintln!("this was LODE_SEED={seed} LODE_ROUNDS=1");
            std::panic::resume_unwind(panic);
        }
    }
}

fn history(seed: u64) {
    let mut rng = Random::new(seed);
    // Logs on the disk are slower to test; some histories are enough to see that the order of calls suits them, too.
    let folder = tempfile::tempdir().expect("a folder can be made");
    let world = match seed % 12 {
        0 => World::over(rng.next(), Arc::new(Embedded::new(folder.path(), Default::default()))),
        _ => World::new(rng.next()),
    };
    for (name, tables, _) in PIPELINES {
        world.target(name).lock().unwrap().mirrors = tables.iter().map(|table| (*table).to_owned()).collect();
    }
    let mut late_keys = 0;
    let lives = 1 + rng.below(5);
    for life in 0..lives {
        if rng.chance(700) {
            threaten(&world, &mut rng);
        } else {
            world.weather.clear_up();
        }
        let runtime = runtime();
        runtime.block_on(live(&world, &mut rng, life, &mut late_keys));
        // Whatever was going on stops where it waits, as with a kill.
        drop(runtime);
    }
    world.weather.clear_up();
    world.server.end();
    let runtime = runtime();
    runtime.block_on(async {
        let life = world.live().await;
        let pipelines = start(&life, &mut rng, true);
        life.start_mine();
        until("all is delivered", || pipelines.iter().all(|pipeline| pipeline.is_over())).await;
        for pipeline in &pipelines {
            assert_eq!(state(pipeline), RouteState::Finished, "{}", pipeline.name());
        }
    });
    for (name, tables, _) in PIPELINES {
        let expected: Vec<_> =
            world.server.changes(tables).iter().filter_map(|change| Some(change.after?.1)).collect();
        assert_eq!(world.target(name).lock().unwrap().applied, expected, "{name}");
    }
    // The table that was asked for last is complete from some place on.
    let all: Vec<_> = world.server.changes(&["late"]).iter().map(|change| change.number).collect();
    let late = world.target("late");
    let late = late.lock().unwrap();
    assert!(all.ends_with(&late.applied), "{:?} are not the last of {all:?}", late.applied);
    let least = usize::from(world.server.read_of("late") > 0);
    assert!(late.applied.len() >= least, "{:?} of {all:?}", late.applied);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime can be made")
}

fn threaten(world: &World, rng: &mut Random) {
    for (fault, most) in [
        (Fault::Identify, 300),
        (Fault::OpenStream, 300),
        (Fault::Event, 60),
        (Fault::Lull, 300),
        (Fault::Append, 200),
        (Fault::AppendAnswer, 200),
        (Fault::Read, 100),
        (Fault::OpenSink, 200),
        (Fault::Write, 200),
        (Fault::WriteAnswer, 200),
    ] {
        let permille = if rng.chance(500) { rng.below(most) } else { 0 };
        world.weather.threaten(fault, permille);
    }
    world.weather.slow_down(if rng.chance(700) { rng.below(30) } else { 0 });
}

fn start(life: &Life, rng: &mut Random, with_late: bool) -> Vec<Arc<Pipeline>> {
    let mut pipelines = Vec::new();
    for (name, tables, direct) in PIPELINES {
        pipelines.push(start_one(life, rng, name, tables, *direct));
    }
    if with_late {
        pipelines.push(start_one(life, rng, "late", &["late"], false));
    }
    pipelines
}

fn start_one(life: &Life, rng: &mut Random, name: &str, tables: &[&str], direct: bool) -> Arc<Pipeline> {
    let start = direct.then_some(Start::Earliest);
    let batch_rows_max = Some(1 + rng.below(9) as usize);
    life.pipeline_with(name, tables, Options { direct, start, batch_rows_max, ..Options::default() })
}

/// Lives for a while among random transactions, stops and starts; returns in the middle of everything.
async fn live(world: &World, rng: &mut Random, number: u64, late_keys: &mut i64) {
    let mut life = world.live().await;
    let mut pipelines = start(&life, rng, number > 0);
    life.start_mine();
    for _ in 0..rng.below(120) {
        match rng.below(40) {
            0 => {
                let at = rng.below(PIPELINES.len() as u64) as usize;
                let wish = if rng.chance(500) { Wish::Stop } else { Wish::Drain };
                pipelines[at].tell(wish);
                pipelines[at].ended().await;
                assert_eq!(state(&pipelines[at]), RouteState::Stopped);
                let (name, tables, direct) = PIPELINES[at];
                pipelines[at] = start_one(&life, rng, name, tables, direct);
            }
            1 => {
                life.control.tell(if rng.chance(500) { Wish::Stop } else { Wish::Drain });
                let _ = life.mine.state().wait_for(|state| state.is_over()).await;
                life.control = Control::default();
                life.start_mine();
            }
            2 => {
                *late_keys += 1;
                world.server.insert("late", [*late_keys]);
            }
            3 => {
                let (transaction, event) = (world.server.count() + rng.below(3), rng.below(5));
                world.server.break_at(transaction as usize, event as usize);
            }
            _ => world.server.commit_random(rng, &["t0", "t1", "t2", "t9"]),
        }
        tokio::time::sleep(Duration::from_millis(rng.below(60))).await;
        for pipeline in &pipelines {
            assert!(!matches!(state(pipeline), RouteState::Failed { .. }), "{:?}", state(pipeline));
        }
    }
    tokio::time::sleep(Duration::from_millis(rng.below(3000))).await;
}
