//! The words of lode as types. Nothing here does input or output.

pub mod block;
pub mod change;
pub mod clock;
pub mod connection;
pub mod coverage;
pub mod hook;
pub mod json;
pub mod message;
pub mod position;
pub mod row;
pub mod schema;
pub mod secret;
pub mod spec;
pub mod table;
pub mod value;
