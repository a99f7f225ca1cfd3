//! What documents look like, what a collection refuses, and transactions that are too large for one of MongoDB.

use futures_util::TryStreamExt;
use lode::error::Kind;
use lode::model::change::{Batch, Change};
use lode::model::connection::Connection;
use lode::model::position::{Cursor, LogEpoch, Seq};
use lode::model::schema::ColumnType;
use lode::model::spec::Setting;
use lode::model::value::Value;
use lode::model::value::Value::{Float, Int, UInt};
use lode::sink::Sink;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, Database, IndexModel};

use crate::exact::cases;
use crate::support::mongodb::MongoDb;
use crate::target::*;

/// The target's database. The client belongs to the test's runtime.
fn database(connection: &Connection) -> Database {
    let client: Client = lode::client::mongodb::client(connection).unwrap();
    client.database(lode::client::mongodb::database(connection))
}

/// Carries out what `CREATE TABLE` says of unique columns.
pub async fn run(connection: &Connection, sql: &str) {
    let rest = sql.strip_prefix("CREATE TABLE ").expect("other statements are not for documents");
    let (table, columns) = rest.split_once(" (").unwrap();
    for column in columns.split(',').filter(|column| column.contains("UNIQUE")) {
        let name = column.split_whitespace().next().unwrap();
        // NULL is no value that could be there twice.
        let values = doc! { name: { "$type": "string" } };
        let options = IndexOptions::builder().unique(true).partial_filter_expression(values).build();
        let index = IndexModel::builder().keys(doc! { name: 1 }).options(options).build();
        database(connection).collection::<Document>(table).create_index(index).await.unwrap();
    }
}

/// Answers `SELECT a, b FROM t`. A first column that is no field is the key.
pub async fn rows(connection: &Connection, sql: &str) -> Vec<String> {
    let (columns, table) = sql.strip_prefix("SELECT ").unwrap().split_once(" FROM ").unwrap();
    let found = documents(&database(connection), table).await;
    let row = |document: &Document| {
        let cells = columns.split(", ").enumerate().map(|(at, column)| {
            let key = (at == 0).then(|| document.get("_id")).flatten();
            document.get(column).or(key).map_or_else(|| "NULL".into(), shown)
        });
        cells.collect::<Vec<_>>().join("|")
    };
    found.iter().map(row).collect()
}

async fn documents(database: &Database, collection: &str) -> Vec<Document> {
    database.collection(collection).find(doc! {}).await.unwrap().try_collect().await.unwrap()
}

fn shown(value: &Bson) -> String {
    match value {
        Bson::Null | Bson::ObjectId(_) => "NULL".into(),
        Bson::String(text) => text.clone(),
        Bson::Double(number) => format!("{number:?}"),
        Bson::Boolean(yes) => u8::from(*yes).to_string(),
        Bson::Binary(binary) => hex(&binary.bytes),
        Bson::DateTime(at) => {
            let at = jiff::Timestamp::from_millisecond(at.timestamp_millis()).unwrap();
            at.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
        }
        other => other.to_string(),
    }
}

#[tokio::test]
async fn documents_have_the_key_as_their_id() {
    let big = ColumnType::Int { bits: 64, unsigned: true };
    let lines = schema(
        "li$nes",
        &[
            ("no", INT, false),
            ("a.b", TEXT, true),
            ("$ref", ColumnType::Float, true),
            ("order", big.clone(), false),
            ("n", big, true),
        ],
        &[3, 0],
        &[],
    );
    let line = |no, word: &str| row(&lines, &[Int(no), text(word), Float(1.1), UInt(u64::MAX), UInt(7)]);
    let target = Target::mongodb().await;
    let database = database(&target.connection());
    let mut sink = target.sink();
    sink.open().await.unwrap();
    let changes = vec![insert(line(1, "x")), insert(line(2, "y")), update(line(2, "y"), line(3, "y"))];
    sink.write(batch(changes, 1)).await.unwrap();
    let id =
        |no| doc! { "order": "18446744073709551615".parse::<mongodb::bson::Decimal128>().unwrap(), "no": no };
    let of = |no: i32, word: &str| doc! { "_id": id(no), "a．b": word, "＄ref": 1.1, "n": 7 };
    let mut found = documents(&database, "li＄nes").await;
    found.sort_by_key(|document| document.to_string());
    assert_eq!(found, [of(1, "x"), of(3, "y")]);
    sink.write(batch(vec![delete(line(3, "y"))], 2)).await.unwrap();
    assert_eq!(documents(&database, "li＄nes").await, [of(1, "x")]);

    let cursors = documents(&database, "lode_cursor").await;
    assert_eq!(cursors.len(), 1);
    assert_eq!(cursors[0].get_str("_id").unwrap(), "p/shop/1");
    assert_eq!(cursors[0].get_i64("fence").unwrap(), 1);
}

#[tokio::test]
async fn every_type_has_its_bson() {
    let target = Target::mongodb().await;
    let database = database(&target.connection());
    let cases = cases();
    let names: Vec<String> = (0..cases.len()).map(|at| format!("v{at}")).collect();
    let mut columns = vec![("id", INT, false)];
    columns.extend(names.iter().zip(&cases).map(|(name, (ty, ..))| (name.as_str(), ty.clone(), true)));
    let table = schema("types", &columns, &[0], &[]);
    let mut values = vec![Int(1)];
    values.extend(cases.iter().map(|(_, value, ..)| value.clone()));
    let mut sink = target.sink();
    sink.open().await.unwrap();
    sink.write(batch(vec![insert(row(&table, &values))], 1)).await.unwrap();
    let found = documents(&database, "types").await;
    for (name, (ty, value, plain, _)) in names.iter().zip(&cases) {
        let found = found[0].get(name).unwrap();
        let mut expected = plain.clone();
        if let Value::Timestamp(at) = value {
            match at.micros {
                Some(micros) if at.fsp <= 3 => {
                    assert_eq!(found.as_datetime().unwrap().timestamp_millis() * 1000, micros);
                    continue;
                }
                Some(_) => expected.push('Z'),
                None => {}
            }
        }
        assert_eq!(shown(found), expected, "{ty:?} {value:?}");
        let fits = match value {
            Value::Null => *found == Bson::Null,
            Value::Bool(_) => found.as_bool().is_some(),
            Value::Int(_) | Value::Year(_) => found.as_i32().is_some() || found.as_i64().is_some(),
            Value::UInt(v) | Value::Bit(v) => *v <= i64::MAX as u64 || matches!(found, Bson::Decimal128(_)),
            Value::Float(_) | Value::Double(_) => found.as_f64().is_some(),
            Value::Decimal(digits) => digits.len() > 36 || matches!(found, Bson::Decimal128(_)),
            Value::Bytes(_) => matches!(found, Bson::Binary(_)),
            _ => found.as_str().is_some(),
        };
        assert!(fits, "{ty:?} {value:?} is {found:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_document_is_refused() {
    let target = Target::mongodb().await;
    let database = database(&target.connection());
    let mut sink = target.sink();
    sink.open().await.unwrap();
    let loose = schema("loose", &[("n", INT, true)], &[], &[]);
    let error = sink.write(batch(vec![insert(row(&loose, &[Int(1)]))], 1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(error.to_string().contains("table shop.loose has no key"), "{error}");
    assert!(error.next_step().unwrap().contains("mode = append"), "{error:?}");

    let users = schema("users", &[("id", INT, false), ("email", TEXT, true)], &[0], &[]);
    let user = |id, email: &str| row(&users, &[Int(id), text(email)]);
    run(&target.connection(), "CREATE TABLE users (id INT PRIMARY KEY, email VARCHAR(40) UNIQUE)").await;
    sink.open().await.unwrap();
    sink.write(batch(vec![insert(user(77, "mine"))], 1)).await.unwrap();
    let mut changes: Vec<_> = (0..40).map(|id| insert(user(id, &format!("u{id}")))).collect();
    changes.insert(20, insert(user(99, "mine")));
    let error = sink.write(batch(changes, 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{error}");
    assert!(error.to_string().contains("collection users does not take the row with id = 99"), "{error}");
    assert!(!error.to_string().contains("mine"), "{error}");
    assert_eq!(sink.write(batch(vec![], 3)).await.unwrap_err().kind(), Kind::Refused);
    assert_eq!(sink.open().await.unwrap(), Some(cursor(1)));
    assert_eq!(documents(&database, "users").await.len(), 1);

    let files =
        schema("files", &[("id", INT, false), ("b", ColumnType::Blob { bytes: u32::MAX }, true)], &[0], &[]);
    let file = row(&files, &[Int(4), Value::Bytes(vec![0; 17 << 20].into())]);
    let error = sink.write(batch(vec![insert(file)], 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{error}");
    assert!(error.to_string().contains("id = 4") && error.to_string().contains("16 MB"), "{error}");

    let mut own = target.sink_with("p", "lode_cursor", &[]);
    own.open().await.unwrap();
    let error = own.write(batch(vec![insert(user(1, "a"))], 1)).await.unwrap_err();
    assert!(error.to_string().contains("lode's own"), "{error}");
}

/// Writes all parts; a server whose cache is full takes smaller ones, which come from the beginning.
async fn write_parts(sink: &mut dyn Sink, count: u64, part: impl Fn(u64) -> Batch) {
    'again: for _ in 0..5 {
        for seq in 0..count {
            match sink.write(part(seq)).await {
                Ok(written) => assert_eq!(written.durable, None),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                    sink.open().await.unwrap();
                    continue 'again;
                }
            }
        }
        return;
    }
    panic!("the parts never fit");
}

#[tokio::test]
async fn a_transaction_too_large_for_one_comes_in_parts_and_once() {
    const ROWS: u64 = 9;
    let files =
        schema("files", &[("id", INT, false), ("t", ColumnType::Text { bytes: u32::MAX }, true)], &[0], &[]);
    let words = "x".repeat(3 << 20);
    let log = Some(LogEpoch(uuid::Uuid::new_v4()));
    let cursor = |next| Cursor { source: String::new(), log, next: Seq(next), position: None, direct: None };
    let change = |seq: u64| Change { seq: Seq(seq), ..insert(row(&files, &[Int(seq as i64), text(&words)])) };
    let part = |seq| Batch { changes: vec![change(seq)].into(), cursor: None };
    let target = Target::mongodb().await;
    let database = database(&target.connection());
    let count = async || database.collection::<Document>("files").count_documents(doc! {}).await.unwrap();
    let append = [("mode", Setting::Choice("append"))];
    let mut sink = target.sink_with("p", "*", &append);
    sink.open().await.unwrap();
    sink.write(Batch { changes: vec![].into(), cursor: Some(cursor(0)) }).await.unwrap();
    write_parts(sink.as_mut(), ROWS, part).await;
    let seen = count().await;
    assert!((1..=ROWS).contains(&seen), "{seen} are seen");
    drop(sink);
    let mut sink = target.sink_with("p", "*", &append);
    assert_eq!(sink.open().await.unwrap(), Some(cursor(0)));
    write_parts(sink.as_mut(), ROWS, part).await;
    let last = Batch { changes: vec![change(ROWS)].into(), cursor: Some(cursor(ROWS + 1)) };
    sink.write(last).await.unwrap();
    assert_eq!(count().await, ROWS + 1);
    assert_eq!(sink.open().await.unwrap(), Some(cursor(ROWS + 1)));
    // What has a later number is new again.
    let next = Batch { changes: vec![change(ROWS + 1)].into(), cursor: Some(cursor(ROWS + 2)) };
    sink.write(next).await.unwrap();
    assert_eq!(count().await, ROWS + 2);
}

#[tokio::test]
async fn writers_that_meet_take_turns() {
    let users = schema("users", &[("id", INT, false), ("n", INT, true)], &[0], &[]);
    let user = |id, n| row(&users, &[Int(id), Int(n)]);
    let target = Target::mongodb().await;
    let (mut one, mut two) = (target.sink_with("1", "*", &[]), target.sink_with("2", "*", &[]));
    one.open().await.unwrap();
    two.open().await.unwrap();
    one.write(batch(vec![insert(user(1, 0))], 1)).await.unwrap();
    // Of two transactions that write one document, MongoDB ends the later one at once.
    one.write(part(vec![update(user(1, 0), user(1, 1))])).await.unwrap();
    let ended = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        one.write(batch(vec![], 2)).await.unwrap();
    };
    let (_, met) = tokio::join!(ended, two.write(batch(vec![update(user(1, 1), user(1, 2))], 1)));
    met.unwrap();
    assert_eq!(target.rows("SELECT id, n FROM users").await, ["1|2"]);
}

#[tokio::test]
async fn a_server_without_transactions_is_written_by_key() {
    let wide = schema("wide", &[("id", INT, false), ("a", TEXT, true), ("b", INT, true)], &[0], &[]);
    let one = |id, word: &str, n| row(&wide, &[Int(id), text(word), Int(n)]);
    let patched =
        |id, n| update(some(&wide, &[Some(Int(id)), None, None]), some(&wide, &[None, None, Some(Int(n))]));
    let mut server = MongoDb::start().await;
    server.restart_with(&["--standalone"]).await;
    let target = Target::documents(&server);
    let all = "SELECT id, a, b FROM wide";
    let mut sink = target.sink();
    assert_eq!(sink.open().await.unwrap(), None);
    sink.write(batch(vec![insert(one(1, "a", 1)), insert(one(2, "b", 1))], 1)).await.unwrap();
    // Patched and gone, and then the writer is lost before the cursor moves.
    let changes = || vec![patched(1, 5), delete(one(1, "a", 5)), patched(2, 7), insert(one(3, "c", 1))];
    sink.write(part(changes())).await.unwrap();
    assert_eq!(target.rows(all).await, ["2|b|7", "3|c|1"]);
    drop(sink);
    let mut sink = target.sink();
    assert_eq!(sink.open().await.unwrap(), Some(cursor(1)));
    sink.write(batch(changes(), 2)).await.unwrap();
    assert_eq!(target.rows(all).await, ["2|b|7", "3|c|1"]);
    // A row that is missing for no such reason is an error.
    let error = sink.write(batch(vec![patched(1, 9)], 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{error}");
    assert_eq!(sink.open().await.unwrap(), Some(cursor(2)));

    let mut new = target.sink();
    assert_eq!(new.open().await.unwrap(), Some(cursor(2)));
    let error = sink.write(batch(vec![insert(one(4, "d", 1))], 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced, "{error}");
    assert_eq!(target.rows(all).await, ["2|b|7", "3|c|1"]);
}

#[tokio::test]
async fn failures_of_the_server_lose_and_double_nothing() {
    let words = schema("words", &[("id", INT, false), ("w", TEXT, true)], &[0], &[]);
    let word = |id| insert(row(&words, &[Int(id), text("w")]));
    let mut server = MongoDb::start().await;
    server.restart_with(&["--enable-test-commands"]).await;
    let fail = async |mode: Bson, data: Document| {
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        server.client().database("admin").run_command(command).await.unwrap();
    };
    let always = || Bson::from("alwaysOn");
    let target = Target::documents(&server);
    let append = [("mode", Setting::Choice("append"))];
    let mut sink = target.sink_with("p", "*", &append);
    sink.open().await.unwrap();
    sink.write(batch(vec![word(1)], 1)).await.unwrap();

    // A conflict is tried again at once, from the beginning of the transaction.
    let conflict = doc! { "failCommands": ["insert", "update"], "errorCode": 112,
    "errorLabels": ["TransientTransactionError"] };
    fail(doc! { "times": 2 }.into(), conflict.clone()).await;
    sink.write(batch(vec![word(2)], 2)).await.unwrap();
    fail(always(), conflict).await;
    let error = sink.write(batch(vec![word(3)], 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    fail("off".into(), doc! {}).await;
    assert_eq!(sink.open().await.unwrap(), Some(cursor(2)));

    // The commit is carried out, and the answer says that this is not sure.
    let unsure = doc! { "failCommands": ["commitTransaction"],
    "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    fail(always(), unsure).await;
    let error = sink.write(batch(vec![word(3)], 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    fail("off".into(), doc! {}).await;
    assert_eq!(sink.open().await.unwrap(), Some(cursor(3)));

    // The connection breaks instead of a commit.
    fail(always(), doc! { "failCommands": ["commitTransaction"], "closeConnection": true }).await;
    let error = sink.write(batch(vec![word(4)], 4)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    fail("off".into(), doc! {}).await;
    assert_eq!(sink.open().await.unwrap(), Some(cursor(3)));
    sink.write(batch(vec![word(4)], 4)).await.unwrap();
    assert_eq!(target.rows("SELECT id, w FROM words").await, ["1|w", "2|w", "3|w", "4|w"]);
}
