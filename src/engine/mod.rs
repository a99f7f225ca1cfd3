//! The one door to everything that runs, and the only place that names concrete connectors.

pub mod kinds;
