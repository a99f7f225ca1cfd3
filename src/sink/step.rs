//! What a change asks of a target table that is kept equal to its source.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::model::block::Op;
use crate::model::change::Change;
use crate::model::row::{ImageWriter, Row, RowView};
use crate::model::schema::{ColumnType, TableSchema};
use crate::model::value::Value;

/// One step; a change of the primary key takes two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// The row shall be there as it is given, whatever had its key before.
    Put {
        row: &'a Row,
        /// The image before, for updates that kept the key.
        before: Option<&'a Row>,
        /// Whether the source had no row with this key until now.
        fresh: bool,
    },
    /// Only the columns that are present in `row` change, in the row that has the key of `key`.
    Patch { key: &'a Row, row: &'a Row },
    /// The row with this key goes.
    Remove { row: &'a Row },
    /// A row comes, in a table without a key.
    Add { row: &'a Row },
    /// One row that equals `before` becomes `after`, in a table without a key.
    Replace { before: &'a Row, after: &'a Row },
    /// One row that equals this one goes, in a table without a key.
    RemoveOne { row: &'a Row },
    /// All rows go.
    Clear,
}

impl<'a> Step<'a> {
    /// The row whose columns are written, or for removals the one that is looked for.
    pub fn row(&self) -> Option<&'a Row> {
        match *self {
            Step::Put { row, .. } | Step::Patch { row, .. } | Step::Add { row } => Some(row),
            Step::Replace { after, .. } => Some(after),
            Step::Remove { row } | Step::RemoveOne { row } => Some(row),
            Step::Clear => None,
        }
    }

    /// Whether it writes columns other than to find a row.
    pub fn writes(&self) -> bool {
        !matches!(self, Step::Remove { .. } | Step::RemoveOne { .. } | Step::Clear)
    }
}

/// The steps of one change, in the order in which they have to be taken.
pub(super) fn steps(change: &Change) -> Result<[Option<Step<'_>>; 2]> {
    let missing = |which: &str| {
        Error::new(
            Kind::Data,
            format!(
                "the {} of table {} at entry {} has no image {which}",
                change.op.as_str(),
                change.table.name,
                change.seq
            ),
        )
    };
    let one = |step| Ok([Some(step), None]);
    match change.op {
        Op::Truncate => one(Step::Clear),
        Op::Insert => {
            let row = change.after.as_ref().ok_or_else(|| missing("after it"))?;
            require_whole(change)?;
            if key_columns(&row.schema).is_empty() {
                return one(Step::Add { row });
            }
            require_key(row)?;
            one(Step::Put { row, before: None, fresh: true })
        }
        Op::Delete => {
            let row = change.before.as_ref().ok_or_else(|| missing("before it"))?;
            if key_columns(&row.schema).is_empty() {
                return one(Step::RemoveOne { row });
            }
            require_key(row)?;
            one(Step::Remove { row })
        }
        Op::Update => {
            let after = change.after.as_ref().ok_or_else(|| missing("after it"))?;
            let before = change.before.as_ref();
            if key_columns(&after.schema).is_empty() {
                let before = before.ok_or_else(|| missing("before it"))?;
                return one(Step::Replace { before, after });
            }
            if !after.view().is_complete() {
                let key = match before {
                    Some(before) if has_key(before) && same_key_names(before, after) => before,
                    _ => after,
                };
                require_key(key)?;
                return one(Step::Patch { key, row: after });
            }
            require_key(after)?;
            match before {
                Some(before) if !has_key(before) => one(Step::Put { row: after, before: None, fresh: false }),
                Some(before) if key_moved(before, after) => Ok([
                    Some(Step::Remove { row: before }),
                    Some(Step::Put { row: after, before: None, fresh: true }),
                ]),
                before => one(Step::Put { row: after, before, fresh: false }),
            }
        }
    }
}

/// The change for a table that gets a row for every change: what a minimal image leaves out of the row after an update is
/// taken from the row before it, where the key is.
pub(super) fn filled(change: &Change) -> Cow<'_, Change> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return Cow::Borrowed(change) };
    if after.view().is_complete() || before.schema != after.schema {
        return Cow::Borrowed(change);
    }
    let columns = &after.schema.columns;
    let mut image = Vec::with_capacity(before.image.len() + after.image.len());
    let mut writer = ImageWriter::new(&mut image, columns.len(), true);
    for (column, (before, after)) in columns.iter().zip(before.view().raw().zip(after.view().raw())) {
        writer.copy(&column.ty, after.or(before));
    }
    let row = Row { schema: Arc::clone(&after.schema), image: image.into() };
    Cow::Owned(Change { after: Some(row), ..change.clone() })
}

/// Positions of the columns that tell rows apart: the primary key, or else the first unique key that cannot be NULL.
/// Empty when there is neither.
pub(super) fn key_columns(schema: &TableSchema) -> &[u16] {
    if !schema.primary_key.is_empty() {
        return &schema.primary_key;
    }
    let sure =
        |key: &&Vec<u16>| !key.is_empty() && key.iter().all(|&at| !schema.columns[usize::from(at)].nullable);
    schema.unique_keys.iter().find(sure).map_or(&[], Vec::as_slice)
}

/// The names of a schema's key columns.
pub(super) fn key_names(schema: &TableSchema) -> Vec<&str> {
    key_columns(schema).iter().map(|&at| schema.columns[usize::from(at)].name.as_str()).collect()
}

/// Where the columns of a table's key are in rows of another schema.
pub(super) fn key_places(table: &str, key: &[String], schema: &TableSchema) -> Result<Vec<u16>> {
    let place = |name: &String| {
        schema.column(name).map(|at| at as u16).ok_or_else(|| {
            Error::new(Kind::Data, format!("an image of table {table} lacks the key column {name}"))
        })
    };
    key.iter().map(place).collect()
}

/// The encoded key, to tell rows of one schema apart. Each part is led by its length, so that no two keys run together.
pub(super) fn key_bytes(row: &Row, columns: &[u16]) -> Vec<u8> {
    let cells: Vec<_> = row.view().raw().collect();
    let mut bytes = Vec::with_capacity(16);
    for &at in columns {
        match cells[usize::from(at)] {
            Some(Some(raw)) => {
                bytes.extend_from_slice(&(raw.len() as u32 + 2).to_le_bytes());
                bytes.extend_from_slice(raw);
            }
            Some(None) => bytes.extend_from_slice(&1_u32.to_le_bytes()),
            None => bytes.extend_from_slice(&0_u32.to_le_bytes()),
        }
    }
    bytes
}

/// Whether both rows have the same values in these columns of `after`. Columns that one of them does not have count
/// as different: it cannot be told.
pub(super) fn same_values(before: &Row, after: &Row, columns: &[u16]) -> bool {
    if Arc::ptr_eq(&before.schema, &after.schema) {
        let present = |row: &Row| columns.iter().all(|&at| row.view().is_present(usize::from(at)));
        return present(before) && present(after) && key_bytes(before, columns) == key_bytes(after, columns);
    }
    columns.iter().all(|&at| {
        let at = usize::from(at);
        let old = before.view().get_named(&after.schema.columns[at].name);
        old.is_some() && old == after.view().get(at)
    })
}

/// Positions of the columns that are in the image.
pub(super) fn present(row: &Row) -> Vec<u16> {
    let view = row.view();
    (0..row.schema.columns.len()).filter(|&at| view.is_present(at)).map(|at| at as u16).collect()
}

/// Says that a target table does not take a row, which is named by its key.
pub(super) fn data_error(table: &str, row: &Row, why: &str) -> Error {
    Error::new(Kind::Data, format!("table {table} does not take the row with {}: {why}", describe_key(row)))
}

/// Says that the row is not there that some columns are to be changed of.
pub(super) fn no_such_row(table: &str, key: &Row) -> Error {
    data_error(table, key, "there is no such row, and the change holds only some of its columns")
        .advice("set binlog_row_image = FULL at the source, or full_rows, or begin with a snapshot")
}

/// Holds that one row of a table without a key was found, when one was looked for.
pub(super) fn exactly_one(table: &str, row: &Row, found: u64) -> Result<u64> {
    if found == 1 {
        return Ok(1);
    }
    Err(data_error(table, row, "the target has no row that equals the one before the change").advice(
        "the target was changed by something else, or begun without a snapshot; give the table a key, or begin again \
         with a snapshot",
    ))
}

/// A key for messages: `id = 7, region = "eu"`, cut to a bearable length.
pub(super) fn describe_key(row: &Row) -> String {
    const CHARS_MAX: usize = 200;
    let key = key_columns(&row.schema);
    if key.is_empty() {
        return "a row of a table without a key".into();
    }
    let mut text = String::new();
    for &at in key {
        let at = usize::from(at);
        if !text.is_empty() {
            text.push_str(", ");
        }
        let name = &row.schema.columns[at].name;
        let _ = match row.view().get(at) {
            None => write!(text, "{name} absent"),
            Some(value) => write!(text, "{name} = {}", Shown(&value)),
        };
    }
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

struct Shown<'a>(&'a Value<'a>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::Null => f.write_str("NULL"),
            Value::Bool(v) => v.fmt(f),
            Value::Int(v) => v.fmt(f),
            Value::UInt(v) | Value::Bit(v) => v.fmt(f),
            Value::Float(v) => v.fmt(f),
            Value::Double(v) => v.fmt(f),
            Value::Decimal(v) => f.write_str(v),
            Value::Year(v) => v.fmt(f),
            Value::Date(v) => v.fmt(f),
            Value::DateTime(v) => v.fmt(f),
            Value::Timestamp(v) => v.fmt(f),
            Value::Time(v) => v.fmt(f),
            Value::Text(v) | Value::Json(v) => write!(f, "{v:?}"),
            Value::Bytes(v) => {
                f.write_str("0x")?;
                v.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
        }
    }
}

/// A single-precision number as the double that is written with the same digits: 1.1 instead of 1.10000002384….
/// Rounding it to single precision gives the number back.
pub(super) fn widen(number: f32) -> f64 {
    let mut digits = ryu::Buffer::new();
    match digits.format(number).parse::<f64>() {
        Ok(double) if double as f32 == number => double,
        _ => f64::from(number),
    }
}

/// Whether a value of this type may be larger than a signed 64-bit integer.
pub(super) fn exceeds_i64(ty: &ColumnType) -> bool {
    matches!(ty, ColumnType::Int { bits: 64, unsigned: true } | ColumnType::Bit { width: 64 })
}

fn has_key(row: &Row) -> bool {
    let key = key_columns(&row.schema);
    !key.is_empty() && key.iter().all(|&at| row.view().is_present(usize::from(at)))
}

fn same_key_names(before: &Row, after: &Row) -> bool {
    Arc::ptr_eq(&before.schema, &after.schema) || key_names(&before.schema) == key_names(&after.schema)
}

fn key_moved(before: &Row, after: &Row) -> bool {
    !same_key_names(before, after) || !same_values(before, after, key_columns(&after.schema))
}

/// A column that the image of a new row lacks has its default, which only the source knows. It must not become NULL.
pub(super) fn require_whole(change: &Change) -> Result<()> {
    let new = change.after.as_ref().filter(|_| change.op == Op::Insert);
    let Some(row) = new.filter(|row| !row.view().is_complete()) else { return Ok(()) };
    let absent = (0..row.schema.columns.len()).find(|&at| !row.view().is_present(at)).unwrap_or_default();
    Err(Error::new(
        Kind::Data,
        format!(
            "the new row of table {} with {} does not say the value of column {}, which is its default",
            change.table.name,
            describe_key(row),
            row.schema.columns[absent].name
        ),
    )
    .advice("set binlog_row_image = FULL at the source"))
}

fn require_key(row: &Row) -> Result<()> {
    let view: RowView<'_> = row.view();
    for &at in key_columns(&row.schema) {
        let at = usize::from(at);
        if !view.is_present(at) || view.get(at).is_some_and(|value| value.is_null()) {
            let column = &row.schema.columns[at].name;
            return Err(Error::new(
                Kind::Data,
                format!("a row of table {} has no value in its key column {column}", row.schema.name),
            )
            .advice("keep the key columns in every stage, or set mode = append"));
        }
    }
    Ok(())
}
