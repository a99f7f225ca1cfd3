//! What sinks promise, held against SQLite, a real MariaDB, and files.

#[path = "../support/servers.rs"]
mod servers;

mod contract;
mod exact;
mod history;
mod lines;
mod target;
