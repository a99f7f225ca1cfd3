//! What goes wrong in a simulated world, chosen at random.

use super::chance::Random;
use super::schedule::pick;
use super::world::{Area, DANGERS, World};

/// Other things go wrong from now on, and how often.
pub fn change_weather(world: &World, rng: &mut Random) {
    world.clear_up();
    if rng.chance(300) {
        world.note("fair weather");
        return;
    }
    let mut said = String::new();
    for (place, most) in DANGERS {
        if rng.chance(350) {
            let permille = 1 + rng.below(most);
            said += &format!(" {place:?} {permille}‰");
            world.threaten(place, permille);
        }
    }
    for (area, most) in [(Area::Source, 60), (Area::Store, 1500), (Area::Sink, 300)] {
        if rng.chance(500) {
            let delay_ms = 1 + if rng.one_in(3) { rng.below(most) } else { rng.below(20) };
            said += &format!(" {area:?} {delay_ms}ms");
            world.slow_down(area, delay_ms);
        }
    }
    world.note(format_args!("weather:{said}"));
}

/// Something happens to a target.
pub fn trouble_a_target(world: &World, rng: &mut Random) {
    let keys: Vec<_> = world.targets.lock().unwrap().keys().cloned().collect();
    let Some(key) = pick(rng, &keys) else { return };
    let now_ms = world.now_ms();
    let mut targets = world.targets.lock().unwrap();
    let target = targets.get_mut(key).expect("it was there a moment ago");
    let what = match rng.below(8) {
        0..3 => {
            let seconds = 1 + rng.below(40);
            target.trouble.away_until_ms = now_ms + seconds as i64 * 1000;
            format!("is away for {seconds} s")
        }
        3..6 => {
            let most = if rng.one_in(4) { 3000 } else { 200 };
            target.trouble.delay_ms = rng.below(most);
            format!("takes {} ms for everything", target.trouble.delay_ms)
        }
        6 => {
            target.trouble.rejects = true;
            "rejects everything".to_owned()
        }
        _ => {
            target.take_over();
            "is taken over".to_owned()
        }
    };
    drop(targets);
    world.note(format_args!("{key} {what}"));
}

/// Something happens to a server.
pub fn trouble_a_server(world: &World, rng: &mut Random) {
    let at = usize::from(rng.one_in(4));
    let server = &world.servers[at];
    let mut door = world.doors[at].lock().unwrap();
    let what = match rng.below(10) {
        0..4 => {
            drop(door);
            server.commit_huge(rng, world.now_ms());
            format!("commits the huge transaction {}", server.count())
        }
        4..7 => {
            drop(door);
            let tables = server.tables();
            let table = tables[rng.below(tables.len() as u64) as usize];
            let version = rng.below(8) as u32;
            server.alter(table, version);
            format!("has other columns in {table}: version {version}")
        }
        7 => {
            (door.purged, door.was_purged) = (server.count(), true);
            drop(door);
            format!("has purged {} transactions", server.count())
        }
        8 => {
            (door.poison, door.was_poisoned) = (Some(server.count()), true);
            drop(door);
            format!("has something that cannot be carried in transaction {}", server.count() + 1)
        }
        // A log that is still empty would take the other server for its own.
        _ if world.books[at].lock().unwrap().next.0 > 0 => {
            (door.is_another, door.was_another) = (true, true);
            drop(door);
            "is replaced by another".to_owned()
        }
        _ => "is left alone".to_owned(),
    };
    world.note(format_args!("server {} {what}", server.name));
}
