//! Tables of mines that somebody pauses and resumes, and what the answers promise.

use std::time::Duration;

use lode::engine::Engine;
use lode::error::{Error, Kind};
use lode::model::table::{Pattern, TableSet};
use tokio::time::{sleep, timeout};

use super::chance::Random;
use super::schedule::pick;
use super::world::World;

/// How long an answer may take, whatever is slow.
const PATIENCE: Duration = Duration::from_secs(600);

/// Pauses tables of the mine of a server, if it has one, or resumes what is paused.
pub async fn pause_or_resume(world: &World, engine: &Engine, at: usize, rng: &mut Random) {
    let mine = world.servers[at].name;
    let Ok(paused) = engine.paused_tables(mine).await else { return };
    let known: Vec<_> = paused.into_iter().map(|paused| paused.tables).collect();
    if known.is_empty() || rng.chance(450) {
        pause(world, engine, at, &any_tables(world, at, rng)).await;
    } else {
        let tables = known[rng.below(known.len() as u64) as usize].clone();
        match rng.below(4) {
            // While it catches up, this puts it back.
            0 => pause(world, engine, at, &tables).await,
            1 => resume(world, engine, at, &all(world, at), rng.one_in(2)).await,
            _ => {
                resume(world, engine, at, &tables, rng.one_in(3)).await;
                if rng.one_in(3) {
                    sleep(Duration::from_millis(rng.below(60))).await;
                    pause(world, engine, at, &tables).await;
                }
            }
        }
    }
}

/// Resumes whatever is paused, also where history is lost.
pub async fn resume_all(world: &World, engine: &Engine) {
    for (at, server) in world.servers.iter().enumerate() {
        let Ok(paused) = engine.paused_tables(server.name).await else { continue };
        if paused.iter().any(|paused| !paused.resuming) {
            resume(world, engine, at, &all(world, at), true).await;
        }
    }
}

async fn pause(world: &World, engine: &Engine, at: usize, tables: &TableSet) {
    let mine = world.servers[at].name;
    world.note(format_args!("pause {tables} of {mine}"));
    match timeout(PATIENCE, engine.pause_tables(mine, tables)).await {
        Ok(Ok(())) => {
            let book = world.books[at].lock().unwrap();
            if !book.paused().iter().any(|paused| paused.tables == *tables && !paused.resuming) {
                world.violate(format_args!("{tables} is paused, and its log does not say so"));
            }
        }
        Ok(Err(error)) => may_fail(world, at, &error, "pausing"),
        Err(_) => world.violate(format_args!("pausing {tables} takes too long")),
    }
}

async fn resume(world: &World, engine: &Engine, at: usize, tables: &TableSet, accept_gap: bool) {
    let mine = world.servers[at].name;
    let with = if accept_gap { ", also with a gap" } else { "" };
    world.note(format_args!("resume {tables} of {mine}{with}"));
    world.doors[at].lock().unwrap().is_asked = true;
    let resumed = timeout(PATIENCE, engine.resume_tables(mine, tables, accept_gap)).await;
    world.doors[at].lock().unwrap().is_asked = false;
    match resumed {
        Ok(Ok(())) => {
            // It may have come to its end, or to something that it cannot read, in the meantime.
            let book = world.books[at].lock().unwrap();
            let is_ignored = |paused: &&lode::model::coverage::Paused| {
                paused.tables == *tables && !paused.resuming && paused.failed.is_none()
            };
            if let Some(ignored) = book.paused().iter().find(is_ignored) {
                world.violate(format_args!("{} is resumed, and its log does not say so", ignored.tables));
            }
        }
        Ok(Err(error)) => may_fail(world, at, &error, "resuming"),
        Err(_) => world.violate(format_args!("resuming {tables} takes too long")),
    }
}

fn may_fail(world: &World, at: usize, error: &Error, doing: &str) {
    world.note(format_args!("  {error}"));
    let may = match error.kind() {
        Kind::Unavailable | Kind::Refused | Kind::Full => true,
        Kind::Gap => world.doors[at].lock().unwrap().was_purged,
        _ => false,
    };
    if !may {
        world.violate(format_args!("{doing} fails for no reason: {error:?}"));
    }
}

fn all(world: &World, at: usize) -> TableSet {
    set(world.servers[at].name, "*")
}

fn any_tables(world: &World, at: usize, rng: &mut Random) -> TableSet {
    let server = &world.servers[at];
    let names: Vec<_> = server.tables().iter().map(|table| (*table).to_owned()).collect();
    let name = pick(rng, &names).expect("every server has tables");
    match rng.below(6) {
        0 => all(world, at),
        1 | 2 => set(server.name, &format!("{}*", &name[..1])),
        _ => set(server.name, name),
    }
}

fn set(database: &str, pattern: &str) -> TableSet {
    TableSet { database: database.into(), include: vec![Pattern(pattern.into())], exclude: Vec::new() }
}
