//! lode as a whole on real servers: scripts as text go into an `Engine`, statements into MariaDB and MySQL, and what
//! arrives at the other end is read back with plain SQL.
//!
//! Most of it is in `golden/live`: a new case is a script, its statements, and a snapshot to review. The servers are shared
//! by all tests of this binary, except by those that stop or break theirs.

mod support;

#[path = "live/parity.rs"]
mod parity;
#[path = "live/servers.rs"]
mod servers;
#[path = "live/world.rs"]
mod world;

#[path = "live/alerts.rs"]
mod alerts;
#[path = "live/cases.rs"]
mod cases;
#[path = "live/direct.rs"]
mod direct;
#[path = "live/fallback.rs"]
mod fallback;
#[path = "live/full_rows.rs"]
mod full_rows;
#[path = "live/huge.rs"]
mod huge;
#[path = "live/mongodb.rs"]
mod in_mongodb;
#[path = "live/refusals.rs"]
mod refusals;
#[path = "live/restarts.rs"]
mod restarts;
#[path = "live/retention.rs"]
mod retention;
#[path = "live/sharing.rs"]
mod sharing;
#[path = "live/steering.rs"]
mod steering;
#[path = "live/storms.rs"]
mod storms;
#[path = "live/tables.rs"]
mod tables;
