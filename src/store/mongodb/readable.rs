//! The part of a block's document that is for people: its changes as plain BSON. lode itself never reads it.
//!
//! Values are as [`crate::client::mongodb::value`] says; of a large one its beginning is shown, and its length. A column that
//! the source left out of its log is left out here.
//!
//! The first change that a block has of a transaction says when it was and where the transaction ends in the source's
//! log; the others say of that what is different: nothing but the time, and that seldom. What a server does with a
//! document costs by the field.

use mongodb::bson::RawDocument;

use crate::client::mongodb::bson::Bson;
use crate::client::mongodb::value;
use crate::model::block::{Block, ChangeEntry, Entry, Malformed, SchemaBook};
use crate::model::position::Seq;
use crate::model::row::RowView;
use crate::model::value::Value;

/// A document holds no more changes than fit here, in bytes …
const CHANGES_BYTES_MAX: usize = 4 << 20;
/// … and no larger value; of a larger one it shows the beginning and the length in bytes.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// The same for a change that would be too large with the limit above.
const VALUE_BYTES_SMALL: usize = 128;
/// How much of a value is shown that is too large to be shown whole.
const SHOWN_BYTES: usize = 64;

/// Writes the array `changes`, and `unshown` with the number of changes that found no room in it.
///
/// # Errors
/// When the block is malformed, or names a schema that is not in the book.
pub(super) fn write_changes(bson: &mut Bson, block: &Block, schemas: &SchemaBook) -> Result<(), Malformed> {
    let commits = commits(block)?;
    let mut ahead = commits.iter().peekable();
    let limit = bson.len() + CHANGES_BYTES_MAX;
    let list = bson.array("changes");
    let (mut shown, mut unshown) = (0, 0);
    let mut said = None;
    for entry in block.entries() {
        let (seq, Entry::Change(change)) = entry? else { continue };
        if unshown > 0 {
            unshown += 1;
            continue;
        }
        while ahead.next_if(|commit| commit.seq < seq).is_some() {
            said = None;
        }
        let begin = bson.len();
        for value_bytes_max in [VALUE_BYTES_MAX, VALUE_BYTES_SMALL] {
            bson.truncate(begin);
            let element = bson.element(shown);
            let moment = Moment { commit: ahead.peek().copied(), said };
            write_change(bson, seq, &change, moment, schemas, value_bytes_max)?;
            bson.close(element);
            if bson.len() <= limit {
                break;
            }
        }
        if bson.len() > limit {
            bson.truncate(begin);
            unshown += 1;
        } else {
            shown += 1;
            said = Some(change.time_ms);
        }
    }
    bson.close(list);
    if unshown > 0 {
        bson.int32("unshown", unshown);
    }
    Ok(())
}

/// Whether a document shows the changes of `block` as [`write_changes`] wrote them.
pub(super) fn shows(document: &RawDocument, block: &Block, schemas: &SchemaBook) -> bool {
    let mut expected = Bson::new(block.payload.len());
    if write_changes(&mut expected, block, schemas).is_err() {
        return false;
    }
    let expected = expected.finish();
    let Ok(expected) = RawDocument::from_bytes(&expected) else { return false };
    let parts = |document: &RawDocument| {
        let first = document.get_i64("first").unwrap_or(block.first.0 as i64);
        let changes = document.get_array("changes").map(|changes| changes.as_bytes().to_vec()).ok();
        (first, changes, document.get_i32("unshown").ok())
    };
    parts(document) == parts(expected)
}

/// A commit in a block.
struct CommitAt<'a> {
    seq: Seq,
    file: &'a str,
    offset: u64,
}

/// What a change has to say of when and where it was.
#[derive(Clone, Copy)]
struct Moment<'a> {
    /// The end of its transaction, when that is in the block.
    commit: Option<&'a CommitAt<'a>>,
    /// The time that the change before it in the same transaction has.
    said: Option<i64>,
}

fn commits(block: &Block) -> Result<Vec<CommitAt<'_>>, Malformed> {
    let mut commits = Vec::new();
    for entry in block.entries() {
        if let (seq, Entry::Commit { file, offset, .. }) = entry? {
            commits.push(CommitAt { seq, file, offset });
        }
    }
    Ok(commits)
}

fn write_change(
    bson: &mut Bson,
    seq: Seq,
    change: &ChangeEntry<'_>,
    moment: Moment<'_>,
    schemas: &SchemaBook,
    value_bytes_max: usize,
) -> Result<(), Malformed> {
    let schema = schemas.get(change.schema).ok_or(Malformed)?;
    bson.int64("seq", seq.0 as i64);
    bson.text("op", change.op.as_str());
    bson.display("table", &schema.name);
    if moment.said != Some(change.time_ms) {
        bson.date("time", change.time_ms);
    }
    // A transaction that ends in a later block has no position yet.
    if let (None, Some(commit)) = (moment.said, moment.commit) {
        bson.display("position", format_args!("{}:{}", commit.file, commit.offset));
    }
    for (key, view) in [("before", change.before_view(schema)), ("after", change.after_view(schema))] {
        if let Some(view) = view {
            let row = bson.document(key);
            write_row(bson, &view, value_bytes_max);
            bson.close(row);
        }
    }
    Ok(())
}

fn write_row(bson: &mut Bson, view: &RowView<'_>, value_bytes_max: usize) {
    for (column, value) in view.schema().columns.iter().zip(view.values()) {
        if let Some(value) = value {
            write_value(bson, &column.name, &value, value_bytes_max);
        }
    }
}

fn write_value(bson: &mut Bson, key: &str, value: &Value<'_>, bytes_max: usize) {
    match value {
        Value::Text(text) | Value::Json(text) if text.len() > bytes_max => {
            let mut end = SHOWN_BYTES;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let shortened = bson.document(key);
            bson.text("begins", &text[..end]);
            bson.int64("bytes", text.len() as i64);
            bson.close(shortened);
        }
        Value::Bytes(bytes) if bytes.len() > bytes_max => {
            let shortened = bson.document(key);
            bson.binary("begins", &bytes[..SHOWN_BYTES]);
            bson.int64("bytes", bytes.len() as i64);
            bson.close(shortened);
        }
        value => value::write_value(bson, key, value),
    }
}
