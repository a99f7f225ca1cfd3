//! Exit codes.

use lode::error::Kind;

/// Everything asked for was done.
pub const OK: u8 = 0;
/// Something failed while running.
pub const RUNTIME: u8 = 1;
/// The script is wrong; nothing was started. Also wrong arguments.
pub const SCRIPT: u8 = 2;
/// Something outside lode is missing or set up wrongly.
pub const ENVIRONMENT: u8 = 3;
/// A command was not carried out, as it has to be confirmed first.
pub const UNCONFIRMED: u8 = 4;
/// Stopped at once by a second Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// The code for an error.
pub fn of(kind: Kind) -> u8 {
    match kind {
        Kind::Script => SCRIPT,
        Kind::Environment => ENVIRONMENT,
        _ => RUNTIME,
    }
}
