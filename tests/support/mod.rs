//! What live tests and benches share.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

pub mod mongodb;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod receivers;
pub mod servers;
