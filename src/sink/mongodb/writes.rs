//! Write commands: many statements in one, within MongoDB's limits, and what the server says of each.

use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{self, Document};

use super::progress::bson_number;
use super::transaction::Transaction;
use crate::client::mongodb::bson::Bson;
use crate::client::mongodb::write_failure;
use crate::error::{Error, Kind, Result};
use crate::model::row::Row;
use crate::sink::step::describe_key;

/// Statements of one command; the server takes 100,000.
const STATEMENTS_MAX: usize = 10_000;
/// Bytes of statements in one command, unless a single one is larger.
const COMMAND_BYTES_MAX: usize = 8 << 20;
/// The server's limit for a document.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    Update,
    Delete,
}

/// One of the statements of a command.
pub(super) struct Statement<'a> {
    pub bson: Vec<u8>,
    /// The row that it is about, if it is about one.
    pub row: Option<&'a Row>,
}

/// Writes in the order of `statements`. Gives the number of documents that were found or made, for each command and its
/// statements.
///
/// # Errors
/// `Data` with collection and key, when the server rejects a document; the other kinds as for any command.
pub(super) async fn write(
    server: &mut Transaction,
    collection: &str,
    verb: Verb,
    statements: &[Statement<'_>],
) -> Result<u64> {
    let mut rest = statements;
    let mut found = 0;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(portion(collection, rest)?);
        let command = command(collection, verb, now, server.concern());
        let command = RawDocumentBuf::from_bytes(command)
            .map_err(|error| Error::new(Kind::Internal, "a command is no BSON").caused_by(error))?;
        server.bytes += command.as_bytes().len();
        let reply = server.command(&format!("cannot write to collection {collection}"), command).await?;
        let rejected = |index: usize| match now.get(index).and_then(|statement| statement.row) {
            Some(row) => rejects(collection, row),
            None => format!("cannot write to collection {collection}"),
        };
        if let Some(error) = write_error(&reply, rejected) {
            return Err(error);
        }
        found += reply.get("n").and_then(bson_number).unwrap_or_default();
        rest = later;
    }
    Ok(found)
}

/// The first error that a reply holds; `doing` is told the index of the statement.
pub(super) fn write_error(reply: &Document, doing: impl Fn(usize) -> String) -> Option<Error> {
    let first = |list: &str| reply.get_array(list).ok()?.first()?.as_document();
    let number = |document: &Document, key: &str| document.get(key).and_then(bson_number).unwrap_or_default();
    if let Some(error) = first("writeErrors") {
        let index = number(error, "index") as usize;
        let message = error.get_str("errmsg").unwrap_or_default();
        return Some(write_failure(number(error, "code") as i32, message, &doing(index)));
    }
    let error = reply.get_document("writeConcernError").ok()?;
    let message = error.get_str("errmsg").unwrap_or_default();
    Some(write_failure(number(error, "code") as i32, message, "cannot make sure that rows are kept"))
}

/// Begins a message about a row.
pub(super) fn rejects(collection: &str, row: &Row) -> String {
    format!("collection {collection} does not take the row with {}", describe_key(row))
}

/// How many of the statements go into the next command.
fn portion(collection: &str, statements: &[Statement<'_>]) -> Result<usize> {
    let mut bytes = 0;
    let mut count = 0;
    for statement in statements.iter().take(STATEMENTS_MAX) {
        let len = statement.bson.len();
        if len > DOCUMENT_BYTES_MAX {
            let what = statement.row.map_or_else(String::new, |row| rejects(collection, row));
            return Err(Error::new(
                Kind::Data,
                format!("{what}: as a document it is larger than MongoDB's limit of 16 MB"),
            )
            .advice("leave large columns out with `drop`"));
        }
        bytes += len;
        if count > 0 && bytes > COMMAND_BYTES_MAX {
            break;
        }
        count += 1;
    }
    Ok(count)
}

fn command(
    collection: &str,
    verb: Verb,
    statements: &[Statement<'_>],
    concern: Option<bson::Document>,
) -> Vec<u8> {
    let (name, list) = match verb {
        Verb::Insert => ("insert", "documents"),
        Verb::Update => ("update", "updates"),
        Verb::Delete => ("delete", "deletes"),
    };
    let bytes: usize = statements.iter().map(|statement| statement.bson.len() + 8).sum();
    let mut bson = Bson::new(bytes + 256);
    bson.text(name, collection);
    bson.bool("ordered", true);
    if let Some(concern) = concern.and_then(|concern| bson::serialize_to_raw_document_buf(&concern).ok()) {
        bson.embed("writeConcern", concern.as_bytes());
    }
    let array = bson.array(list);
    let mut index = itoa::Buffer::new();
    for (at, statement) in statements.iter().enumerate() {
        bson.embed(index.format(at), &statement.bson);
    }
    bson.close(array);
    bson.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    #[test]
    fn replies_are_read_whatever_their_numbers_are() {
        let doing = |index| format!("row {index}");
        let of = |code: bson::Bson| doc! { "n": 1, "writeErrors": [{ "index": 2_i64, "code": code, "errmsg": "dup: 4711" }] };
        for code in [bson::Bson::Int32(11000), bson::Bson::Int64(11000), bson::Bson::Double(11000.0)] {
            let error = write_error(&of(code), doing).unwrap();
            assert_eq!(error.kind(), Kind::Data);
            assert!(error.to_string().starts_with("row 2: a document"), "{error}");
            assert!(!error.to_string().contains("4711"));
        }
        let late = doc! { "n": 1, "writeConcernError": { "code": 64, "errmsg": "waiting timed out" } };
        assert_eq!(write_error(&late, doing).unwrap().kind(), Kind::Unavailable);
        assert!(write_error(&doc! { "n": 1, "ok": 1.0 }, doing).is_none());
    }

    #[test]
    fn commands_stay_within_the_limits() {
        let statement = |len: usize| Statement { bson: vec![0; len], row: None };
        let many: Vec<_> = (0..STATEMENTS_MAX + 1).map(|_| statement(10)).collect();
        assert_eq!(portion("c", &many).unwrap(), STATEMENTS_MAX);
        let large = [statement(5 << 20), statement(5 << 20), statement(10)];
        assert_eq!(portion("c", &large).unwrap(), 1);
        assert_eq!(portion("c", &[statement(12 << 20), statement(10)]).unwrap(), 1);
        let error = portion("c", &[statement((16 << 20) + 1)]).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
    }
}
