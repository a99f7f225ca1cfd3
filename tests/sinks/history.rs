//! Random histories of a source, cut into batches at random and interrupted at random: the target ends up equal.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use lode::error::{Kind, Result};
use lode::model::change::{Batch, Change};
use lode::model::row::Row;
use lode::model::schema::TableSchema;
use lode::model::value::Value;
use lode::sink::Sink;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::target::*;

static USERS: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
    schema("users", &[("id", INT, false), ("email", TEXT, true), ("n", INT, true)], &[0], &[&[1]])
});

/// What a client asks of the source. Whatever the source would refuse does not happen.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Insert(i64, u8),
    Email(i64, u8),
    Key(i64, i64),
    Delete(i64),
    Truncate,
    Commit,
}

#[derive(Clone, Debug)]
struct Plan {
    wishes: Vec<Wish>,
    /// How many changes go into each batch.
    sizes: Vec<usize>,
    /// Before which batches the writer is lost.
    crashes: Vec<bool>,
    /// Whether the target has a unique key over the e-mail.
    unique: bool,
}

fn plans() -> impl Strategy<Value = Plan> {
    let (id, email) = (0..5_i64, 0..4_u8);
    let wish = prop_oneof![
        8 => (id.clone(), email.clone()).prop_map(|(id, email)| Wish::Insert(id, email)),
        8 => (id.clone(), email).prop_map(|(id, email)| Wish::Email(id, email)),
        3 => (id.clone(), id.clone()).prop_map(|(from, to)| Wish::Key(from, to)),
        5 => id.prop_map(Wish::Delete),
        1 => Just(Wish::Truncate),
        6 => Just(Wish::Commit),
    ];
    let sizes = prop::collection::vec(1..8_usize, 1..6);
    let crashes = prop::collection::vec(prop::bool::weighted(0.2), 1..12);
    (prop::collection::vec(wish, 1..60), sizes, crashes, any::<bool>())
        .prop_map(|(wishes, sizes, crashes, unique)| Plan { wishes, sizes, crashes, unique })
}

type Table = BTreeMap<i64, (Option<String>, i64)>;

/// What the source wrote to its log: changes, with the entries after which a transaction ends.
struct History {
    entries: Vec<Entry>,
    end: Table,
}

enum Entry {
    Change(Box<Change>),
    Commit,
}

fn history(wishes: &[Wish]) -> History {
    let mut table = Table::new();
    let mut entries = Vec::new();
    let mut count = 0;
    for &wish in wishes.iter().chain([&Wish::Commit]) {
        let change = match wish {
            Wish::Commit => {
                entries.push(Entry::Commit);
                continue;
            }
            Wish::Truncate => {
                table.clear();
                Some(truncate(&USERS))
            }
            Wish::Delete(id) => table.remove(&id).map(|old| delete(image(id, &old))),
            Wish::Insert(id, email) if !table.contains_key(&id) && is_free(&table, email) => {
                count += 1;
                table.insert(id, (address(email), count));
                Some(insert(image(id, &table[&id])))
            }
            Wish::Email(id, email) => table.get(&id).cloned().filter(|_| is_free(&table, email)).map(|old| {
                count += 1;
                table.insert(id, (address(email), count));
                update(image(id, &old), image(id, &table[&id]))
            }),
            Wish::Key(from, to) if !table.contains_key(&to) => table.remove(&from).map(|old| {
                table.insert(to, old.clone());
                update(image(from, &old), image(to, &old))
            }),
            Wish::Insert(..) | Wish::Key(..) => None,
        };
        entries.extend(change.map(|change| Entry::Change(Box::new(change))));
    }
    History { entries, end: table }
}

/// The last e-mail is NULL, which many rows may have.
fn address(email: u8) -> Option<String> {
    (email < 3).then(|| format!("e{email}"))
}

fn is_free(table: &Table, email: u8) -> bool {
    email >= 3 || table.values().all(|(other, _)| *other != address(email))
}

fn image(id: i64, (email, n): &(Option<String>, i64)) -> Row {
    let email = email.as_deref().map_or(Value::Null, text);
    row(&USERS, &[Value::Int(id), email, Value::Int(*n)])
}

/// So often a sink may ask for a transaction once more.
const REFUSED_MAX: usize = 3;

/// Plays a history to its end, over all crashes.
async fn play(target: &Target, plan: &Plan, history: &History) {
    let mut crashes = plan.crashes.iter();
    let mut sizes = plan.sizes.iter().cycle();
    let mut sink = target.sink();
    let mut next = sink.open().await.unwrap().map_or(0, |cursor| cursor.next.0 as usize);
    let mut refused = 0;
    while next < history.entries.len() {
        if *crashes.next().unwrap_or(&false) {
            drop(sink);
            sink = target.sink();
            next = sink.open().await.unwrap().map_or(0, |cursor| cursor.next.0 as usize);
        }
        next = match write_one(sink.as_mut(), history, next, *sizes.next().unwrap()).await {
            Ok(next) => next,
            // A sink may ask for its transaction once more, such as when it had to make a collection in the middle.
            Err(error) if error.kind() == Kind::Unavailable && refused < REFUSED_MAX => {
                refused += 1;
                drop(sink);
                sink = target.sink();
                sink.open().await.unwrap().map_or(0, |cursor| cursor.next.0 as usize)
            }
            Err(error) => panic!("{error:?}"),
        };
    }
    sink.close().await.unwrap();
}

/// Writes up to `size` changes: whole transactions, or a part of one. Gives the entry to go on with.
async fn write_one(sink: &mut dyn Sink, history: &History, from: usize, size: usize) -> Result<usize> {
    let (mut changes, mut end) = (Vec::new(), None);
    let mut at = from;
    while at < history.entries.len() && changes.len() < size {
        match &history.entries[at] {
            Entry::Change(change) => changes.push(Change::clone(change)),
            Entry::Commit => {}
        }
        at += 1;
    }
    // A batch that holds a commit ends with it.
    let last_commit = (from..at).rev().find(|&at| matches!(history.entries[at], Entry::Commit));
    if let Some(commit) = last_commit {
        let whole = (from..commit).filter(|&at| matches!(history.entries[at], Entry::Change(_))).count();
        changes.truncate(whole);
        end = Some(cursor(commit as u64 + 1));
        at = commit + 1;
    }
    sink.write(Batch { changes: changes.into(), cursor: end }).await?;
    Ok(at)
}

async fn check(target: &Target, plan: &Plan) {
    let unique = if plan.unique { "UNIQUE" } else { "" };
    target.run(&format!("CREATE TABLE users (id INT PRIMARY KEY, email VARCHAR(40) {unique}, n INT)")).await;
    let history = history(&plan.wishes);
    play(target, plan, &history).await;
    let expected: Vec<_> = history
        .end
        .iter()
        .map(|(id, (email, n))| format!("{id}|{}|{n}", email.as_deref().unwrap_or("NULL")))
        .collect();
    assert_eq!(target.rows("SELECT id, email, n FROM users").await, expected, "{}", target.kind);
    assert_eq!(
        target.sink().open().await.unwrap().map(|cursor| cursor.next.0),
        Some(history.entries.len() as u64)
    );
}

fn run(cases: u32, target: impl AsyncFn() -> Target) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&plans(), |plan| {
            runtime.block_on(async {
                let target = target().await;
                check(&target, &plan).await;
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn sqlite_ends_up_equal_to_the_source() {
    run(150, async || Target::sqlite());
}

#[test]
fn mysql_ends_up_equal_to_the_source() {
    run(60, async || Target::mysql().await);
}

#[test]
fn mongodb_ends_up_equal_to_the_source() {
    run(25, async || Target::mongodb().await);
}

#[test]
fn oracle_ends_up_equal_to_the_source() {
    run(8, async || Target::oracle().await);
}
