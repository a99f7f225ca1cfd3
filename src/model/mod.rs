//! The words of lode as types. Nothing here does input or output.

pub mod secret;
pub mod spec;
pub mod table;
