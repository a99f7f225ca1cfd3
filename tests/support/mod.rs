//! What live tests share.

pub mod servers;
