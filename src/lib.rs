//! lode reads a database's change log once, keeps it, and shares it with every pipeline that wants it.

pub mod check;
pub mod client;
pub mod engine;
pub mod error;
pub mod hook;
pub mod lang;
pub mod model;
pub mod plan;
pub mod run;
pub mod sink;
pub mod source;
pub mod store;
