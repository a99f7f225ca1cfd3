//! What runs: stages between a log and a sink.

pub mod stages;
