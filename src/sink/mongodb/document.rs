//! Rows as documents, and the statements of write commands that carry them, as BSON.

use mongodb::bson::oid::ObjectId;

use super::plan::{ID, Plan, field};
use crate::client::mongodb::bson::Bson;
use crate::client::mongodb::value::write_value;
use crate::model::change::Change;
use crate::model::row::Row;
use crate::model::value::Value;
use crate::sink::settings::{OP_COLUMN, SEQ_COLUMN, TIME_COLUMN};
use crate::sink::step::{key_columns, widen};

/// What a document needs besides the values of its row, per column and in all.
const COLUMN_BYTES: usize = 16;
const STATEMENT_BYTES: usize = 96;

/// The document shall be as the row is; of an `update` command.
pub(super) fn replace(plan: &Plan, row: &Row) -> Vec<u8> {
    let mut bson = room_for(row);
    write_query(&mut bson, row);
    let document = bson.document("u");
    write_id(&mut bson, row);
    write_fields(&mut bson, plan, row);
    bson.close(document);
    bson.bool("upsert", true);
    bson.finish()
}

/// The fields that are present in `row` change, in the document that has the key of `key`; of an `update` command.
pub(super) fn patch(plan: &Plan, key: &Row, row: &Row) -> Vec<u8> {
    let mut bson = room_for(row);
    write_query(&mut bson, key);
    let change = bson.document("u");
    let set = bson.document("$set");
    write_fields(&mut bson, plan, row);
    bson.close(set);
    bson.close(change);
    bson.finish()
}

/// The document with the row's key goes; of a `delete` command.
pub(super) fn remove(row: &Row) -> Vec<u8> {
    let mut bson = Bson::new(STATEMENT_BYTES);
    write_query(&mut bson, row);
    bson.int32("limit", 1);
    bson.finish()
}

/// All documents go; of a `delete` command.
pub(super) fn remove_all() -> Vec<u8> {
    let mut bson = Bson::new(STATEMENT_BYTES);
    let query = bson.document("q");
    bson.close(query);
    bson.int32("limit", 0);
    bson.finish()
}

/// A change as a document; of an `insert` command.
pub(super) fn append(plan: &Plan, change: &Change) -> Vec<u8> {
    let mut bson = change.row().map_or_else(|| Bson::new(STATEMENT_BYTES), room_for);
    bson.object_id(ID, ObjectId::new().bytes());
    if let Some(row) = change.row() {
        write_fields(&mut bson, plan, row);
    }
    bson.text(OP_COLUMN, change.op.as_str());
    bson.int64(SEQ_COLUMN, change.seq.0 as i64);
    bson.date(TIME_COLUMN, change.time_ms);
    bson.finish()
}

/// `{_id: …}` with the row's key.
pub(super) fn id(row: &Row) -> Vec<u8> {
    let mut bson = Bson::new(STATEMENT_BYTES);
    write_id(&mut bson, row);
    bson.finish()
}

/// `{_id: …}` with the key that a row has after an update, and the other fields that are in its image. What the image
/// lacks of the key is as it was.
pub(super) fn moved(plan: &Plan, key: &Row, row: &Row) -> Vec<u8> {
    let mut bson = room_for(row);
    let before = key_columns(&key.schema);
    write_key(&mut bson, row, |part, at| {
        let after = row.view().get(usize::from(at));
        after.or_else(|| key.view().get(usize::from(*before.get(part)?)))
    });
    write_fields(&mut bson, plan, row);
    bson.finish()
}

/// Whether an image has fields besides the key.
pub(super) fn has_fields(plan: &Plan, row: &Row) -> bool {
    let view = row.view();
    plan.fields.iter().enumerate().any(|(at, field)| field.is_some() && view.is_present(at))
}

/// Whether the image of a row after an update has another key than `key`.
pub(super) fn has_moved(key: &Row, row: &Row) -> bool {
    let (before, after) = (key_columns(&key.schema), key_columns(&row.schema));
    before.iter().zip(after).any(|(&before, &after)| {
        let after = row.view().get(usize::from(after));
        after.is_some() && after != key.view().get(usize::from(before))
    })
}

fn room_for(row: &Row) -> Bson {
    Bson::new(row.image.len() + row.schema.columns.len() * COLUMN_BYTES + STATEMENT_BYTES)
}

fn write_query(bson: &mut Bson, row: &Row) {
    let query = bson.document("q");
    write_id(bson, row);
    bson.close(query);
}

fn write_id(bson: &mut Bson, row: &Row) {
    write_key(bson, row, |_, at| row.view().get(usize::from(at)));
}

/// Writes the `_id`; `value` is asked with the place of each part in the key, and in the row.
fn write_key<'a>(bson: &mut Bson, row: &'a Row, value: impl Fn(usize, u16) -> Option<Value<'a>>) {
    let key = key_columns(&row.schema);
    let value = |part: usize| value(part, key[part]).unwrap_or(Value::Null);
    if key.len() == 1 {
        return write(bson, ID, value(0));
    }
    let parts = bson.document(ID);
    for (part, &at) in key.iter().enumerate() {
        write(bson, &field(&row.schema.columns[usize::from(at)].name), value(part));
    }
    bson.close(parts);
}

fn write_fields(bson: &mut Bson, plan: &Plan, row: &Row) {
    for (field, value) in plan.fields.iter().zip(row.view().values()) {
        if let (Some(field), Some(value)) = (field, value) {
            write(bson, field, value);
        }
    }
}

fn write(bson: &mut Bson, field: &str, value: Value<'_>) {
    match value {
        Value::Float(value) => bson.double(field, widen(value)),
        value => write_value(bson, field, &value),
    }
}
