//! What runs, against scripted doubles: the invariants of `src/ARCHITECTURE.md` under faults, kills and restarts.
//! Time is virtual. Random histories are the matter of `simulation`.

#[path = "support/random.rs"]
mod numbers;
#[path = "runtime/server.rs"]
mod server;
#[path = "runtime/store.rs"]
mod store;
#[path = "runtime/target.rs"]
mod target;
#[path = "runtime/weather.rs"]
mod weather;
#[path = "runtime/world.rs"]
mod world;

#[path = "runtime/control.rs"]
mod control;
#[path = "runtime/delivery.rs"]
mod delivery;
#[path = "runtime/fallback.rs"]
mod fallback;
#[path = "runtime/figures.rs"]
mod figures;
#[path = "runtime/mining.rs"]
mod mining;
#[path = "runtime/tables.rs"]
mod tables;
#[path = "runtime/threads.rs"]
mod threads;
