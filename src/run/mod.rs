//! What a plan becomes: mines that read sources, and routes that deliver to sinks.

pub mod alert;
pub mod aside;
pub mod backoff;
pub mod claim;
pub mod counts;
pub mod event;
pub mod feed;
mod full_rows;
pub mod histogram;
pub mod hub;
pub mod look;
pub mod mine;
pub mod older;
pub mod pipeline;
pub mod progress;
pub mod rate;
pub mod retention;
pub mod rewind;
pub mod route;
pub mod schedule;
pub mod shown;
pub mod signal;
pub mod skip;
pub mod stages;
pub mod state_file;

mod catch_up;
mod delivery;
mod fallback;
mod session;
mod start_point;
mod tables;
mod turn;
mod waiting;
mod writer;
