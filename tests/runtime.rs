//! What runs, against scripted doubles: the invariants of `src/ARCHITECTURE.md` under faults, kills and restarts.
//!
//! Time is virtual. `LODE_SEED=42 LODE_ROUNDS=1000 cargo test --test runtime random` runs more of the random
//! histories; a failure names its seed.

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

#[path = "runtime/delivery.rs"]
mod delivery;
#[path = "runtime/mining.rs"]
mod mining;
#[path = "runtime/random.rs"]
mod random;
#[path = "runtime/threads.rs"]
mod threads;
