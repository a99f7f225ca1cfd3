//! Cases that other tools failed on, tried on real servers and on damaged files. Each must be read exactly or refused by
//! an error; nothing may be passed over.

mod support;

#[path = "edge_cases/files.rs"]
mod files;
#[path = "edge_cases/login.rs"]
mod login;
#[path = "edge_cases/login_mongodb.rs"]
mod login_mongodb;
#[path = "edge_cases/positions.rs"]
mod positions;
#[path = "edge_cases/reading.rs"]
mod reading;
#[path = "edge_cases/statements.rs"]
mod statements;
#[path = "edge_cases/tables.rs"]
mod tables;
