//! The whole runtime against a simulated world, where one number decides everything: what happens at the source, what
//! is asked of lode, what breaks, and where lode is killed.
//!
//! ```console
//! $ cargo test --test simulation                                  # a fixed set of seeds, as in CI
//! $ LODE_SIM_SEED=42 cargo test --test simulation                 # one seed, with its trace
//! $ LODE_SIM_SECONDS=3600 cargo test --release --test simulation  # new seeds for an hour
//! ```
//!
//! Sources, stores and sinks are doubles in memory which hold everything that lode does against the source's history
//! while it happens: what is appended to a log (`book`), and what comes to a sink, to be delivered from its cursor on
//! without a hole or a change too many (`follow`, `sink`). Time is tokio's paused time. Each seed runs in a process of its
//! own, so that what one leaves behind cannot change another.

mod book;
mod chance;
mod check;
mod follow;
mod history;
mod kinds;
mod mines;
mod pipelines;
mod schedule;
mod sink;
mod source;
mod store;
mod tables;
mod trouble;
mod world;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use schedule::Simulation;

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 100;
/// How long one seed may take by the clock on the wall; it takes a fraction of a second.
const SEED_PATIENCE: Duration = Duration::from_secs(120);
/// Lines of the trace that a failure shows.
const SHOWN_LINES_MAX: usize = 150;

#[test]
fn every_seed_keeps_the_promises() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    if let Some(seed) = number("LODE_SIM_SEED") {
        let (holds, said) = in_own_process(seed);
        println!("{said}");
        assert!(holds, "seed {seed} broke a promise");
        return;
    }
    let until = number("LODE_SIM_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let next = AtomicU64::new(match until {
        Some(_) => RandomState::new().hash_one(Instant::now()) >> 1,
        None => 1,
    });
    let first = next.load(Ordering::SeqCst);
    let failed = Mutex::new(None);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if until.map_or(seed >= first + SEEDS, |until| Instant::now() >= until) {
                        break;
                    }
                    let (holds, said) = in_own_process(seed);
                    if !holds {
                        stop.store(true, Ordering::SeqCst);
                        failed.lock().unwrap().get_or_insert((seed, said));
                    }
                }
            });
        }
    });
    println!("{} seeds", next.load(Ordering::SeqCst) - first);
    if let Some((seed, said)) = failed.into_inner().unwrap() {
        let lines: Vec<_> = said.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..];
        panic!(
            "seed {seed} broke a promise:\n…\n{}\nreplay it: LODE_SIM_SEED={seed} cargo test --test simulation -- --nocapture",
            shown.join("\n")
        );
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [7, 1_000_003] {
        let (_, once) = in_own_process(seed);
        let (_, again) = in_own_process(seed);
        let differs = once.lines().zip(again.lines()).find(|(once, again)| once != again);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.len(), again.len(), "seed {seed}");
        assert!(once.lines().count() > 20, "seed {seed} has a trace:\n{once}");
    }
}

/// Runs a seed in a process of its own; tells whether all promises held, and what happened.
fn in_own_process(seed: u64) -> (bool, String) {
    let mut child = Command::new(std::env::current_exe().expect("the tests are a program"))
        .args(["--exact", "one_seed", "--ignored", "--nocapture"])
        .env("LODE_SIM_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = out.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let reading_errors = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = err.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (began, mut hangs) = (Instant::now(), "");
        let holds = loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                break status.success();
            }
            if began.elapsed() > SEED_PATIENCE && hangs.is_empty() {
                hangs = "VIOLATION it never ends; with a debugger, see where it turns in circles\n";
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(2));
        };
        let said = reading.join().expect("reading never panics");
        let errors = reading_errors.join().expect("reading never panics");
        // What the test harness says about the time it took is not part of the trace.
        let trace = said.split_once("TRACE\n").map_or("", |(_, trace)| trace);
        let trace = trace.split_once("END\n").map_or(trace, |(trace, _)| trace);
        (holds, if holds { trace.to_owned() } else { format!("{trace}{hangs}{errors}") })
    })
}

#[test]
#[ignore = "the tests above run it, each seed in its own process"]
fn one_seed() {
    let seed = std::env::var("LODE_SIM_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.expect("LODE_SIM_SEED is a number");
    let run = thread::spawn(move || {
        chance::seed_this_thread(seed);
        Simulation::new(seed).run()
    });
    let (trace, violation) = run.join().expect("the simulation itself is sound");
    println!("TRACE");
    for line in trace {
        println!("{line}");
    }
    println!("END");
    if let Some(what) = violation {
        panic!("{what}");
    }
}
