//! Keys, order, transactions, fencing and recovery, for every sink that has tables.

use lode::error::Kind;
use lode::model::spec::Setting;
use lode::model::value::Value::{Int, Null};

use crate::support::servers::MySql;
use crate::target::*;

fn users() -> std::sync::Arc<lode::model::schema::TableSchema> {
    schema("users", &[("id", INT, false), ("email", TEXT, true)], &[0], &[&[1]])
}

fn user(id: i64, email: &str) -> lode::model::row::Row {
    row(&users_of(), &[Int(id), text(email)])
}

/// Rows of one table share their schema, as they do when they come from a log.
fn users_of() -> std::sync::Arc<lode::model::schema::TableSchema> {
    static USERS: std::sync::OnceLock<std::sync::Arc<lode::model::schema::TableSchema>> =
        std::sync::OnceLock::new();
    USERS.get_or_init(users).clone()
}

/// An error's text, in which Oracle's names are in capitals.
fn said(error: &lode::error::Error) -> String {
    error.to_string().to_lowercase()
}

const WITH_UNIQUE_EMAIL: &str = "CREATE TABLE users (id INT PRIMARY KEY, email VARCHAR(40) UNIQUE)";
const ALL_USERS: &str = "SELECT id, email FROM users";

#[tokio::test]
async fn rows_come_change_and_go() {
    for target in Target::every().await {
        let mut sink = target.sink();
        assert_eq!(sink.open().await.unwrap(), None);
        let written = sink
            .write(batch(vec![insert(user(1, "a")), insert(user(2, "b")), insert(user(3, "c"))], 4))
            .await
            .unwrap();
        assert_eq!((written.rows, written.durable.unwrap().cursor()), (3, &cursor(4)));
        let changes = vec![
            update(user(1, "a"), user(1, "z")),
            delete(user(2, "b")),
            update(user(3, "c"), user(9, "c")),
        ];
        sink.write(batch(changes, 8)).await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["1|z", "9|c"], "{}", target.kind);
        sink.write(batch(vec![truncate(&users_of()), insert(user(5, "e"))], 10)).await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["5|e"], "{}", target.kind);
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn unique_values_may_move_between_rows() {
    for target in Target::every().await {
        target.run(WITH_UNIQUE_EMAIL).await;
        let mut sink = target.sink();
        sink.open().await.unwrap();
        sink.write(batch(vec![insert(user(1, "a")), insert(user(2, "b"))], 1)).await.unwrap();
        let swap = vec![
            update(user(1, "a"), user(1, "tmp")),
            update(user(2, "b"), user(2, "a")),
            update(user(1, "tmp"), user(1, "b")),
        ];
        sink.write(batch(swap, 2)).await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["1|b", "2|a"], "{}", target.kind);
        let passed_on = vec![
            delete(user(1, "b")),
            insert(user(3, "b")),
            // A row that goes and comes again with another value sets the old one free.
            delete(user(2, "a")),
            insert(user(2, "x")),
            insert(user(4, "a")),
            update(user(4, "a"), user(5, "a")),
            insert(user(4, "y")),
        ];
        sink.write(batch(passed_on, 3)).await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["2|x", "3|b", "4|y", "5|a"], "{}", target.kind);
    }
}

#[tokio::test]
async fn a_row_that_is_not_lodes_is_never_replaced() {
    for target in Target::all().await {
        target.run(WITH_UNIQUE_EMAIL).await;
        target.run("INSERT INTO users VALUES (77, 'mine')").await;
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let error =
            sink.write(batch(vec![insert(user(6, "x")), insert(user(7, "mine"))], 1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{error}");
        assert!(said(&error).contains("table users does not take the row with id = 7"), "{error}");
        assert!(!error.to_string().contains("mine'"), "{error}");
        assert_eq!(target.rows(ALL_USERS).await, ["77|mine"], "{}", target.kind);
    }
}

#[tokio::test]
async fn a_table_without_a_key_changes_one_of_equal_rows() {
    let log = schema(
        "log",
        &[("at", INT, true), ("word", TEXT, true), ("x", lode::model::schema::ColumnType::Float, true)],
        &[],
        &[],
    );
    let line = |at, word: &str| row(&log, &[Int(at), text(word), lode::model::value::Value::Float(1.1)]);
    let empty = row(&log, &[Null, Null, Null]);
    for target in Target::all().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let mut changes: Vec<_> = (0..3).map(|_| insert(line(1, "a"))).collect();
        changes.extend([
            insert(empty.clone()),
            insert(empty.clone()),
            insert(line(1, "A")),
            insert(line(1, "a ")),
        ]);
        sink.write(batch(changes, 1)).await.unwrap();
        let changes = vec![
            delete(line(1, "a")),
            update(line(1, "a"), line(2, "b")),
            delete(empty.clone()),
            delete(line(1, "a ")),
        ];
        sink.write(batch(changes, 2)).await.unwrap();
        let rows = target.rows("SELECT at, word FROM log").await;
        assert_eq!(rows, ["1|A", "1|a", "2|b", "NULL|NULL"], "{}", target.kind);
        let error = sink.write(batch(vec![delete(line(5, "nowhere"))], 3)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(said(&error).contains("table log"), "{error}");
    }
}

#[tokio::test]
async fn a_unique_key_that_cannot_be_null_stands_in_for_the_primary_key() {
    let codes =
        schema("codes", &[("loose", INT, true), ("code", TEXT, false), ("n", INT, true)], &[], &[&[0], &[1]]);
    let code = |code: &str, n| row(&codes, &[Null, text(code), Int(n)]);
    for target in Target::every().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let changes = vec![
            insert(code("a", 1)),
            insert(code("b", 1)),
            update(code("a", 1), code("a", 2)),
            delete(code("b", 1)),
        ];
        sink.write(batch(changes, 1)).await.unwrap();
        assert_eq!(target.rows("SELECT code, n FROM codes").await, ["a|2"], "{}", target.kind);
    }
}

#[tokio::test]
async fn a_transaction_that_is_not_complete_is_never_seen() {
    for target in Target::every().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        sink.write(batch(vec![insert(user(1, "a"))], 1)).await.unwrap();
        for id in 2..6 {
            let written = sink.write(part(vec![insert(user(id, "p")), delete(user(1, "a"))])).await.unwrap();
            assert_eq!(written.durable, None);
        }
        assert_eq!(target.rows(ALL_USERS).await, ["1|a"], "{}", target.kind);
        drop(sink);
        let mut sink = target.sink();
        assert_eq!(sink.open().await.unwrap(), Some(cursor(1)));
        assert_eq!(target.rows(ALL_USERS).await, ["1|a"], "{}", target.kind);
        sink.write(part(vec![insert(user(2, "p"))])).await.unwrap();
        sink.write(batch(vec![insert(user(3, "q"))], 9)).await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["1|a", "2|p", "3|q"], "{}", target.kind);
        sink.write(part(vec![insert(user(4, "r"))])).await.unwrap();
        sink.close().await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["1|a", "2|p", "3|q"], "{}", target.kind);
    }
}

#[tokio::test]
async fn an_earlier_writer_is_fenced() {
    // The fence is told by the server itself, and MySQL has a mind of its own about numbers.
    let mysql = MySql::start(&[]).await;
    for target in Target::every().await.into_iter().chain([Target::on(&mysql).await]) {
        let (mut old, mut new) = (target.sink(), target.sink());
        old.open().await.unwrap();
        old.write(batch(vec![insert(user(1, "a"))], 1)).await.unwrap();
        assert_eq!(new.open().await.unwrap(), Some(cursor(1)));
        let error = old.write(batch(vec![insert(user(2, "b"))], 2)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Fenced, "{error}");
        new.write(batch(vec![insert(user(3, "c"))], 3)).await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["1|a", "3|c"], "{}", target.kind);
        // Another route is not touched by that.
        let mut other = target.sink_with("p/shop/2", "other_*", &[]);
        assert_eq!(other.open().await.unwrap(), None);
        // Within one millisecond such a write changes nothing in the cursor's row, and must not look like a lost fence.
        for _ in 0..50 {
            new.write(batch(vec![], 4)).await.unwrap();
        }
        assert_eq!(target.sink().open().await.unwrap(), Some(cursor(4)));
    }
}

#[tokio::test]
async fn an_error_takes_the_whole_batch_back_and_names_the_row() {
    for target in Target::all().await {
        target.run("CREATE TABLE users (id INT PRIMARY KEY, email VARCHAR(40) CHECK (email <> 'bad'))").await;
        let mut sink = target.sink();
        sink.open().await.unwrap();
        sink.write(batch(vec![insert(user(1, "a"))], 1)).await.unwrap();
        let mut changes: Vec<_> = (2..60).map(|id| insert(user(id, "good"))).collect();
        changes.insert(40, insert(user(99, "bad")));
        let error = sink.write(batch(changes, 2)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{error}");
        assert!(said(&error).contains("table users does not take the row with id = 99"), "{error}");
        assert_eq!(sink.write(batch(vec![], 3)).await.unwrap_err().kind(), Kind::Refused);
        assert_eq!(sink.open().await.unwrap(), Some(cursor(1)));
        assert_eq!(target.rows(ALL_USERS).await, ["1|a"], "{}", target.kind);
        sink.write(batch(vec![insert(user(2, "b"))], 2)).await.unwrap();
        assert_eq!(target.rows(ALL_USERS).await, ["1|a", "2|b"], "{}", target.kind);
    }
}

#[tokio::test]
async fn foreign_keys_see_the_order_of_the_log() {
    let parents = schema("parents", &[("id", INT, false)], &[0], &[]);
    let children = schema("children", &[("id", INT, false), ("parent", INT, true)], &[0], &[]);
    let parent = |id| row(&parents, &[Int(id)]);
    let child = |id, of| row(&children, &[Int(id), Int(of)]);
    for target in Target::all().await {
        target.run("CREATE TABLE parents (id INT PRIMARY KEY)").await;
        target.run("CREATE TABLE children (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parents (id))").await;
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let changes = vec![
            insert(parent(1)),
            insert(child(10, 1)),
            insert(child(11, 1)),
            insert(parent(2)),
            update(child(10, 1), child(10, 2)),
            delete(child(11, 1)),
            delete(parent(1)),
        ];
        sink.write(batch(changes, 1)).await.unwrap();
        assert_eq!(target.rows("SELECT id, parent FROM children").await, ["10|2"], "{}", target.kind);
        assert_eq!(target.rows("SELECT id FROM parents").await, ["2"], "{}", target.kind);
    }
}

#[tokio::test]
async fn partial_images_change_only_what_they_hold() {
    let wide = schema("wide", &[("id", INT, false), ("a", TEXT, true), ("b", INT, true)], &[0], &[]);
    for target in Target::every().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let key = |id| some(&wide, &[Some(Int(id)), None, None]);
        let changes = vec![
            insert(row(&wide, &[Int(1), text("x"), Int(1)])),
            insert(row(&wide, &[Int(2), Null, Int(2)])),
            // MySQL's minimal image: the key before, the changed columns after.
            update(key(1), some(&wide, &[None, None, Some(Int(5))])),
            update(key(2), some(&wide, &[Some(Int(3)), None, None])),
        ];
        sink.write(batch(changes, 1)).await.unwrap();
        assert_eq!(target.rows("SELECT id, a, b FROM wide").await, ["1|x|5", "3|NULL|2"], "{}", target.kind);
        // Without a change in the row MySQL counts no row as changed; it must still count as found.
        sink.write(batch(vec![update(key(1), some(&wide, &[None, None, Some(Int(5))]))], 2)).await.unwrap();
        let lost = update(key(9), some(&wide, &[None, None, Some(Int(5))]));
        let error = sink.write(batch(vec![lost], 3)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().contains("id = 9"), "{error}");
    }
}

/// MySQL's minimal image of an INSERT lacks the columns that got their defaults.
#[tokio::test]
async fn absent_values_do_not_become_null() {
    let wide = schema("wide", &[("id", INT, false), ("a", TEXT, true), ("b", INT, true)], &[0], &[]);
    for target in Target::every().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let part = some(&wide, &[Some(Int(2)), None, Some(Int(2))]);
        let error = sink.write(batch(vec![insert(part)], 1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().contains("id = 2"), "{error}");
        assert!(error.to_string().contains("column a"), "{error}");
    }
}

#[tokio::test]
async fn columns_are_added_and_never_dropped() {
    let later =
        schema("users", &[("id", INT, false), ("name", TEXT, true), ("email", TEXT, true)], &[0], &[]);
    let fewer = schema("users", &[("id", INT, false), ("name", TEXT, true)], &[0], &[]);
    for target in Target::all().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        sink.write(batch(vec![insert(user(1, "a"))], 1)).await.unwrap();
        let changes = vec![
            insert(user(2, "b")),
            insert(row(&later, &[Int(3), text("n"), text("c")])),
            update(row(&fewer, &[Int(1), text("n")]), row(&fewer, &[Int(1), text("m")])),
        ];
        sink.write(batch(changes, 2)).await.unwrap();
        let all = "SELECT id, name, email FROM users";
        assert_eq!(target.rows(all).await, ["1|m|a", "2|NULL|b", "3|n|c"], "{}", target.kind);

        let off = [("create_tables", Setting::Switch(false))];
        let mut strict = target.sink_with("q", "*", &off);
        strict.open().await.unwrap();
        let wider = schema("users", &[("id", INT, false), ("age", INT, true)], &[0], &[]);
        let error = strict.write(batch(vec![insert(row(&wider, &[Int(4), Int(5)]))], 1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Environment);
        assert!(said(&error).contains("no column age"), "{error}");
        let mut strict = target.sink_with("q", "new_*", &off);
        strict.open().await.unwrap();
        let error = strict.write(batch(vec![insert(user(4, "d"))], 1)).await.unwrap_err();
        assert!(said(&error).contains("no table new_users"), "{error}");
    }
}

#[tokio::test]
async fn two_routes_may_make_one_table_grow() {
    let wider = |name: &str| {
        schema("users", &[("id", INT, false), ("email", TEXT, true), (name, INT, true)], &[0], &[])
    };
    let (with_age, with_height) = (wider("age"), wider("height"));
    for target in Target::all().await {
        let (mut one, mut two) = (target.sink_with("1", "*", &[]), target.sink_with("2", "*", &[]));
        one.open().await.unwrap();
        two.open().await.unwrap();
        one.write(batch(vec![insert(user(1, "a"))], 1)).await.unwrap();
        two.write(batch(vec![insert(user(2, "b"))], 1)).await.unwrap();
        let mut id = 2;
        for table in [&with_age, &with_height] {
            for sink in [&mut one, &mut two] {
                id += 1;
                let change = insert(row(table, &[Int(id), text("c"), Int(1)]));
                sink.write(batch(vec![change], 2)).await.unwrap();
            }
        }
        let counts = target.rows("SELECT COUNT(*), COUNT(age), COUNT(height) FROM users").await;
        assert_eq!(counts, ["6|2|2"], "{}", target.kind);
    }
}

#[tokio::test]
async fn a_table_may_grow_in_the_middle_of_a_transaction() {
    let later =
        schema("users", &[("id", INT, false), ("name", TEXT, true), ("email", TEXT, true)], &[0], &[]);
    let other = schema("others", &[("id", INT, false)], &[0], &[]);
    for target in Target::every().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        sink.write(batch(vec![insert(user(1, "a"))], 1)).await.unwrap();
        let parts = || {
            [
                part(vec![insert(user(2, "b"))]),
                part(vec![insert(row(&other, &[Int(1)]))]),
                batch(vec![insert(row(&later, &[Int(3), text("n"), text("c")]))], 2),
            ]
        };
        let mut opened = 0;
        'again: while opened < 3 {
            for part in parts() {
                if let Err(error) = sink.write(part).await {
                    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                    assert_eq!(target.rows(ALL_USERS).await, ["1|a"], "{}", target.kind);
                    assert_eq!(sink.open().await.unwrap(), Some(cursor(1)));
                    opened += 1;
                    continue 'again;
                }
            }
            break;
        }
        assert_eq!(target.rows(ALL_USERS).await, ["1|a", "2|b", "3|c"], "{}", target.kind);
    }
}

#[tokio::test]
async fn appended_tables_hold_every_change() {
    for target in Target::every().await {
        let append = [("mode", Setting::Choice("append"))];
        let mut sink = target.sink_with("p", "ods_*", &append);
        sink.open().await.unwrap();
        let changes = vec![
            insert(user(1, "a")),
            insert(user(1, "a")),
            update(user(1, "a"), user(1, "b")),
            delete(user(1, "b")),
            truncate(&users_of()),
        ];
        sink.write(batch(changes, 1)).await.unwrap();
        let (at, own) = match target.kind {
            "oracle" => ("7|2023-11-14T22:13:20.123000", "\"_OP\", \"_SEQ\", \"_TS\""),
            _ => ("7|2023-11-14 22:13:20.123", "_op, _seq, _ts"),
        };
        assert_eq!(
            target.rows(&format!("SELECT id, email, {own} FROM ods_users")).await,
            [
                format!("1|a|insert|{at}"),
                format!("1|a|insert|{at}"),
                format!("1|b|delete|{at}"),
                format!("1|b|update|{at}"),
                format!("NULL|NULL|truncate|{at}"),
            ],
            "{}",
            target.kind
        );
    }
}

#[tokio::test]
async fn names_may_hold_any_character() {
    for target in Target::all().await {
        // Oracle's names have no double quote.
        let quote = if target.kind == "oracle" { "'" } else { "\"" };
        let odd = &format!("o`r{quote}d'er; -- s");
        let last = format!("select{quote}");
        let table = schema(odd, &[("i`d", INT, false), (&last, TEXT, true)], &[0], &[]);
        let mut sink = target.sink_with("p", "x_*", &[]);
        sink.open().await.unwrap();
        let one = |word: &str| row(&table, &[Int(1), text(word)]);
        sink.write(batch(vec![insert(one("a'); DROP TABLE x")), update(one("a"), one("b\\"))], 1))
            .await
            .unwrap();
        let quoted = match target.kind {
            "sqlite" => format!("\"x_{}\"", odd.replace('"', "\"\"")),
            "oracle" => format!("\"X_{}\"", odd.to_uppercase()),
            _ => format!("`x_{}`", odd.replace('`', "``")),
        };
        assert_eq!(target.rows(&format!("SELECT * FROM {quoted}")).await, ["1|b\\"], "{}", target.kind);
    }
}

#[tokio::test]
async fn many_rows_go_in_few_statements_and_all_arrive() {
    for target in Target::all().await {
        let mut sink = target.sink();
        sink.open().await.unwrap();
        let changes = (0..2500).map(|id| insert(user(id, &format!("u{id}")))).collect();
        sink.write(batch(changes, 1)).await.unwrap();
        let changes = (0..2500).flat_map(|id| match id % 3 {
            0 => Some(delete(user(id, &format!("u{id}")))),
            1 => Some(update(user(id, &format!("u{id}")), user(id, "new"))),
            _ => None,
        });
        sink.write(batch(changes.collect(), 2)).await.unwrap();
        let counts =
            target.rows("SELECT COUNT(*), SUM(CASE WHEN email = 'new' THEN 1 ELSE 0 END) FROM users").await;
        assert_eq!(counts, ["1666|833"], "{}", target.kind);
    }
}
