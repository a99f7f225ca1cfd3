//! A change as one line of JSON.

use crate::error::{Error, Kind, Result};
use crate::model::change::Change;
use crate::model::json::{Unwritable, write_change};
use crate::sink::step::describe_key;

/// Appends the line, with its line break.
pub(super) fn write(out: &mut Vec<u8>, change: &Change) -> Result<()> {
    write_change(out, change, None).map_err(|error| match error {
        Unwritable::Time => Error::new(Kind::Data, format!("entry {} has an impossible time", change.seq)),
        Unwritable::Document { row, column, error } => {
            let (table, key) = (&row.schema.name, describe_key(row));
            let message = format!("column {column} of table {table} is no valid JSON in the row with {key}");
            Error::new(Kind::Data, message).caused_by(error)
        }
    })?;
    out.push(b'\n');
    Ok(())
}
