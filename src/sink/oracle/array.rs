//! One statement for many rows, in one call to the server.

use oracle::Connection;

use super::types::OracleType;
use super::value::{Cell, bind_type, buffer_bytes};

/// Rows of one call.
const ROWS_MAX: usize = 5000;
/// Bytes of the buffers of one call, unless a single row needs more.
const BUFFERS_BYTES_MAX: usize = 32 << 20;

/// What a statement did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Rows touched, for each row that was given.
    pub counts: Vec<u64>,
    /// The rows that the server did not take, in order; the others were carried out.
    pub refused: Vec<Refused>,
}

/// A row that the server did not take.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// Which of the given rows.
    pub row: usize,
    /// The server's code.
    pub code: i32,
    /// The server's words.
    pub message: String,
}

/// Runs a statement once for each row. `types` are those of its parameters, and of the cells of each row.
///
/// # Errors
/// When the statement as a whole failed; a row that the server does not take is none.
pub(super) fn execute(
    conn: &Connection,
    sql: &str,
    types: &[&OracleType],
    rows: &[Vec<Cell<'_>>],
) -> oracle::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut rest = rows;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(portion(types, rest));
        let done = outcome.counts.len();
        let part = execute_part(conn, sql, types, now)?;
        outcome.counts.extend(part.counts);
        outcome
            .refused
            .extend(part.refused.into_iter().map(|refused| Refused { row: refused.row + done, ..refused }));
        rest = later;
    }
    Ok(outcome)
}

fn execute_part(
    conn: &Connection,
    sql: &str,
    types: &[&OracleType],
    rows: &[Vec<Cell<'_>>],
) -> oracle::Result<Outcome> {
    let mut batch = conn.batch(sql, rows.len()).with_batch_errors().with_row_counts().build()?;
    for (at, ty) in types.iter().enumerate() {
        let longest = rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
        batch.set_type(at + 1, &bind_type(ty, longest))?;
    }
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            batch.set(at + 1, cell)?;
        }
        batch.append_row(&[])?;
    }
    let mut refused: Vec<Refused> = match batch.execute() {
        Ok(()) => Vec::new(),
        Err(error) => match error.batch_errors() {
            Some(errors) => errors
                .iter()
                .map(|error| Refused {
                    row: error.offset() as usize,
                    code: error.code(),
                    message: error.message().to_owned(),
                })
                .collect(),
            None => return Err(error),
        },
    };
    // The driver does not promise their order.
    refused.sort_by_key(|refused| refused.row);
    let mut counts = batch.row_counts()?;
    counts.resize(rows.len(), 0);
    Ok(Outcome { counts, refused })
}

/// How many of the rows go into the next call.
fn portion(types: &[&OracleType], rows: &[Vec<Cell<'_>>]) -> usize {
    // Every row takes as much as the longest, so that a few long ones are better sent apart.
    let mut longest = vec![0; types.len()];
    let mut count = 0;
    for row in rows.iter().take(ROWS_MAX) {
        let mut grown = longest.clone();
        row.iter().zip(&mut grown).for_each(|(cell, longest)| *longest = cell.len().max(*longest));
        let fixed: usize =
            types.iter().zip(&grown).map(|(ty, bytes)| buffer_bytes(&bind_type(ty, *bytes))).sum();
        let lobs: usize =
            types.iter().zip(&grown).filter(|(ty, _)| ty.is_lob()).map(|(_, bytes)| bytes).sum();
        if count > 0 && (fixed + lobs) * (count + 1) > BUFFERS_BYTES_MAX {
            break;
        }
        longest = grown;
        count += 1;
    }
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_bounded_by_rows_and_bytes() {
        let number = OracleType::parse("NUMBER(10)").unwrap();
        let text = OracleType::parse("VARCHAR2(1000 CHAR)").unwrap();
        let clob = OracleType::Clob;
        let row = |length: usize| vec![Cell::Text("1".into()), Cell::Text("x".repeat(length).into())];
        let rows = |count: usize, length: usize| (0..count).map(|_| row(length)).collect::<Vec<_>>();
        assert_eq!(portion(&[&number, &text], &rows(9000, 10)), ROWS_MAX);
        assert_eq!(portion(&[&number, &text], &rows(9000, 3000)), ROWS_MAX);
        let mut mixed = rows(9000, 10);
        mixed[7] = row(4000);
        assert_eq!(portion(&[&number, &text], &mixed), ROWS_MAX);
        assert_eq!(portion(&[&number, &clob], &rows(100, 1 << 20)), 31);
        assert_eq!(portion(&[&number, &clob], &rows(3, 64 << 20)), 1);
    }
}
