//! The row that says how far a route is, moved in the transaction that writes the rows.
//!
//! A commit whose answer is lost is not repeated: whoever opens the route again waits for that transaction's lock on the
//! row, and then reads whether it was committed.

use oracle::Connection;

use super::array;
use super::table::as_text;
use super::types::{OracleType, Unit};
use super::value::Cell;
use crate::client::oracle::{failure, refusal};
use crate::error::{Error, Kind, Result};
use crate::model::position::Cursor;
use crate::sink::cursor_row;

/// The table's name; the name that it has elsewhere, folded.
pub(super) const TABLE: &str = "LODE_CURSOR";

const CREATE: &str = "CREATE TABLE \"LODE_CURSOR\" (\"ROUTE\" VARCHAR2(512 CHAR) NOT NULL, \"FENCE\" NUMBER(19) NOT NULL, \
     \"POSITION\" CLOB, \"UPDATED_AT\" VARCHAR2(23 BYTE) NOT NULL, PRIMARY KEY (\"ROUTE\"))";
const INSERT: &str = "INSERT INTO \"LODE_CURSOR\" (\"ROUTE\", \"FENCE\", \"UPDATED_AT\") VALUES (:1, 1, :2)";
const RAISE_FENCE: &str =
    "UPDATE \"LODE_CURSOR\" SET \"FENCE\" = \"FENCE\" + 1, \"UPDATED_AT\" = :1 WHERE \"ROUTE\" = :2";
const READ: &str = "SELECT \"FENCE\", \"POSITION\" FROM \"LODE_CURSOR\" WHERE \"ROUTE\" = :1";
const MOVE: &str = "UPDATE \"LODE_CURSOR\" SET \"POSITION\" = :1, \"UPDATED_AT\" = :2 WHERE \"ROUTE\" = :3 AND \"FENCE\" = :4";

/// Table or view does not exist.
const ORA_NO_TABLE: i32 = 942;
/// Name is already used by an existing object.
const ORA_NAME_USED: i32 = 955;
/// Unique constraint violated.
const ORA_UNIQUE: i32 = 1;

/// Raises the fence, so that an earlier writer fails at its next commit. Gives the fence and the cursor.
pub(super) fn take_over(conn: &Connection, route: &str) -> Result<(i64, Option<String>)> {
    let failed = |error| {
        failure(error, &format!("cannot take the route over in table {TABLE}"))
            .advice("give the user the right to make tables and room for them: GRANT CREATE TABLE TO <user>; ALTER USER <user> QUOTA UNLIMITED ON <tablespace>")
    };
    let now = cursor_row::now();
    let raise = || -> oracle::Result<u64> {
        conn.execute(RAISE_FENCE, &[&as_text(&now), &as_text(route)])?.row_count()
    };
    let raised = match raise() {
        Err(error) if error.oci_code() == Some(ORA_NO_TABLE) => {
            match conn.execute(CREATE, &[]) {
                Err(error) if error.oci_code() == Some(ORA_NAME_USED) => {}
                outcome => outcome.map(drop).map_err(failed)?,
            }
            raise()
        }
        outcome => outcome,
    };
    if raised.map_err(failed)? == 0 {
        match conn.execute(INSERT, &[&as_text(route), &as_text(&now)]) {
            // Another writer was quicker; it has to give way.
            Err(error) if error.oci_code() == Some(ORA_UNIQUE) => raise().map(drop).map_err(failed)?,
            outcome => outcome.map(drop).map_err(failed)?,
        }
    }
    let mut found = conn.query_as::<(i64, Option<String>)>(READ, &[&as_text(route)]).map_err(failed)?;
    let state = found.next().transpose().map_err(failed)?;
    drop(found);
    conn.commit().map_err(failed)?;
    state.ok_or_else(|| {
        Error::new(
            Kind::Unavailable,
            format!("the cursor of route {route} went away while it was being read"),
        )
    })
}

/// Moves the cursor within the transaction.
///
/// # Errors
/// `Fenced` when another writer has taken the route over.
pub(super) fn advance(conn: &Connection, route: &str, fence: i64, cursor: &Cursor) -> Result<()> {
    const TIME: OracleType = OracleType::Varchar { length: 23, unit: Unit::Bytes };
    const ROUTE: OracleType = OracleType::Varchar { length: 512, unit: Unit::Characters };
    const FENCE: OracleType = OracleType::Number { precision: Some(19), scale: 0 };
    let text = |text: String| Cell::Text(text.into());
    let row = vec![
        text(cursor_row::to_json(cursor)),
        text(cursor_row::now()),
        text(route.to_owned()),
        Cell::Int(fence),
    ];
    let outcome = array::execute(conn, MOVE, &[&OracleType::Clob, &TIME, &ROUTE, &FENCE], &[row])
        .map_err(|error| failure(error, "cannot move the cursor"))?;
    if let Some(refused) = outcome.refused.first() {
        return Err(refusal(refused.code, &refused.message, "cannot move the cursor"));
    }
    if outcome.counts.first() != Some(&1) {
        return Err(cursor_row::fenced(route));
    }
    Ok(())
}
