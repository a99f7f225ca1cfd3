//! What sinks promise, held against SQLite, a real MariaDB, Oracle, MongoDB, and files.

#[path = "../support/mod.rs"]
mod support;

mod contract;
mod exact;
mod history;
mod lines;
mod mongodb;
mod oracle;
mod target;
