//! Connections to systems that are sources as well as sinks: settings, log-in and the meaning of errors.

pub mod mongodb;
pub mod mysql;
