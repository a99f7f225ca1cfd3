//! What a plan becomes: mines that read sources, and routes that deliver to sinks.

pub mod aside;
pub mod backoff;
pub mod counts;
pub mod event;
pub mod feed;
pub mod hub;
pub mod look;
pub mod mine;
pub mod older;
pub mod pipeline;
pub mod progress;
pub mod rate;
pub mod retention;
pub mod route;
pub mod signal;
pub mod stages;
pub mod state_file;

mod waiting;
