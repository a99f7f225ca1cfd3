//! The table in which SQL sinks keep how far their routes are, written in the same transaction as the rows.
//!
//! Its statements are the same for MySQL, MariaDB and SQLite (which also takes backquotes).

use crate::error::{Error, Kind, Result};
use crate::model::position::Cursor;

/// The table's name.
pub const TABLE: &str = "lode_cursor";

/// Longest route key in characters; what the key column takes.
pub const ROUTE_CHARS_MAX: usize = 512;

/// Parameters: route, time.
pub const INSERT: &str =
    "INSERT INTO `lode_cursor` (`route`, `fence`, `cursor`, `updated_at`) VALUES (?, 1, NULL, ?)";

/// Takes the route over. Parameters: time, route.
pub const RAISE_FENCE: &str =
    "UPDATE `lode_cursor` SET `fence` = `fence` + 1, `updated_at` = ? WHERE `route` = ?";

/// Fence and cursor. Parameter: route.
pub const READ: &str = "SELECT `fence`, `cursor` FROM `lode_cursor` WHERE `route` = ?";

/// Moves the cursor; no row is found when another writer has raised the fence. Parameters: cursor, time, route, fence.
pub const MOVE: &str =
    "UPDATE `lode_cursor` SET `cursor` = ?, `updated_at` = ? WHERE `route` = ? AND `fence` = ?";

/// Reads back what [`to_json`] wrote.
pub fn from_json(json: &str, route: &str) -> Result<Cursor> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(Kind::Corrupt, format!("the cursor of route {route} in table {TABLE} cannot be read"))
            .advice("restore the row from a backup, or delete it to begin the route again")
            .caused_by(error)
    })
}

/// The cursor as text.
pub fn to_json(cursor: &Cursor) -> String {
    serde_json::to_string(cursor).expect("a cursor is plain data")
}

/// The time for `updated_at`: text, so that no session setting changes it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

/// Says that another writer has taken the route over.
pub fn fenced(route: &str) -> Error {
    Error::new(Kind::Fenced, format!("another writer has taken over route {route}"))
        .advice("run the pipeline in one place only; the newer one goes on")
}

/// A key that does not fit the table would be cut, and could then be mistaken for another.
pub fn check_route(route: &str) -> Result<()> {
    if route.chars().count() > ROUTE_CHARS_MAX {
        return Err(Error::new(
            Kind::Environment,
            format!("the route key {route} is longer than {ROUTE_CHARS_MAX} characters"),
        )
        .advice("give the pipeline a shorter name"));
    }
    Ok(())
}
