//! Mines that somebody stops, starts and gives other settings, by commands.

use std::collections::BTreeMap;
use std::time::Duration;

use lode::check::model::Subject;
use lode::engine::Engine;
use lode::engine::command::Command;
use lode::engine::door::Door;
use lode::engine::reply::Reply;
use lode::error::Kind;
use tokio::time::timeout;

use super::chance::Random;
use super::schedule::pick;
use super::world::World;

/// How long an answer may take, whatever is slow.
const PATIENCE: Duration = Duration::from_secs(600);

/// Stops a mine, or starts one that is stopped, or has it made anew with another setting.
pub async fn command(world: &World, engine: &Engine, rng: &mut Random) {
    let mines: Vec<_> = engine.known().await.mines.into_iter().map(|mine| mine.connection).collect();
    let Some(mine) = pick(rng, &mines) else { return };
    let Ok(decisions) = engine.decisions().await else {
        return world.violate("what was decided cannot be read");
    };
    let of = vec![Subject::Mine(mine.clone())];
    let command = match rng.below(3) {
        _ if !decisions.mines.contains_key(mine) => Command::Stop { of },
        0 => Command::Start { of },
        _ => {
            let settings = BTreeMap::from([("threads".to_owned(), (1 + rng.below(8)).to_string())]);
            Command::Set { mine: mine.clone(), settings }
        }
    };
    carry_out(world, engine, &command).await;
}

/// Starts every mine that somebody has stopped.
pub async fn start_all(world: &World, engine: &Engine) {
    let Ok(decisions) = engine.decisions().await else {
        return world.violate("what was decided cannot be read");
    };
    for mine in decisions.mines.into_keys() {
        carry_out(world, engine, &Command::Start { of: vec![Subject::Mine(mine)] }).await;
    }
}

async fn carry_out(world: &World, engine: &Engine, command: &Command) {
    world.note(format_args!("{command}"));
    match timeout(PATIENCE, engine.command(command, &Door::Program, true)).await {
        Ok(Reply::Done { .. }) => {}
        // A mine whose store is slow takes long to stop.
        Ok(Reply::Failed { kind: Kind::Unavailable | Kind::Refused, error, .. }) => {
            world.note(format_args!("  not now: {error}"));
        }
        Ok(other) => world.violate(format_args!("{command} is answered by {other:?}")),
        Err(_) => world.violate(format_args!("{command} takes too long")),
    }
}
