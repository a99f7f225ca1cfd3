//! What the targets and the log show.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use lode::model::block::{Entry, parse_schema};
use lode::model::position::Seq;
use lode::model::value::Value;
use lode::store::LogStore;

use crate::ledger::{ACCOUNTS, LARGE_ROWS, OPENING, SEATS};
use crate::support::oracle::Oracle;
use crate::support::servers::Server;

pub type Rows = Vec<Vec<Option<String>>>;

/// A place that can be asked in SQL.
pub enum Target<'a> {
    Sqlite(&'a Path),
    Server(&'a Server, &'a str),
    Oracle(&'a Oracle),
}

impl Target<'_> {
    pub async fn rows(&self, columns: &str, table: &str, rest: &str) -> Rows {
        match self {
            Target::Server(server, database) => {
                server.query(&format!("SELECT {columns} FROM {database}.{table} {rest}")).await
            }
            Target::Sqlite(path) => sqlite(path, &format!("SELECT {columns} FROM {table} {rest}")),
            Target::Oracle(oracle) => {
                // NUMBER keeps no zeros at the end, and a time is shown in another way.
                let columns = columns
                    .replace(" fee", " TO_CHAR(fee, 'FM999999990.00')")
                    .replace(" made_at", " TO_CHAR(made_at, 'YYYY-MM-DD HH24:MI:SS.FF3')");
                oracle.query(&format!("SELECT {columns} FROM {table} {rest}"))
            }
        }
    }

    /// All rows of a table in an order that all targets share.
    pub async fn table(&self, columns: &str, table: &str) -> Rows {
        let mut rows = self.rows(columns, table, "").await;
        rows.sort_unstable();
        rows
    }

    pub async fn has_table(&self, table: &str) -> bool {
        let found = match self {
            Target::Server(server, database) => {
                server
                    .query(&format!(
                        "SELECT 1 FROM information_schema.tables WHERE table_schema = '{database}' AND table_name = '{table}'"
                    ))
                    .await
            }
            Target::Sqlite(path) => {
                sqlite(path, &format!("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '{table}'"))
            }
            Target::Oracle(oracle) => oracle
                .query(&format!("SELECT 1 FROM USER_TABLES WHERE TABLE_NAME = '{}'", table.to_uppercase())),
        };
        !found.is_empty()
    }

    /// Whether the ledger has this entry.
    pub async fn has_entry(&self, id: i64) -> bool {
        self.has_table("ledger").await
            && !self.rows("id", "ledger", &format!("WHERE id = {id}")).await.is_empty()
    }

    /// Holds what is true between any two transactions, so that a part of one would be noticed. Each question is one
    /// statement, which sees one state.
    pub async fn must_show_whole_transactions(&self) {
        if self.has_table("accounts").await {
            let sum = self.rows("COUNT(*), COALESCE(SUM(balance), 0)", "accounts", "").await;
            let all = [ACCOUNTS.to_string(), (ACCOUNTS * OPENING).to_string()];
            let none = ["0".to_owned(), "0".to_owned()];
            let found: Vec<_> = sum[0].iter().flatten().cloned().collect();
            assert!(found == all || found == none, "accounts and their sum: {found:?}");
        }
        if self.has_table("accounts").await && self.has_table("ledger").await {
            let ledger = match self {
                Target::Server(_, database) => format!("{database}.ledger"),
                Target::Sqlite(_) | Target::Oracle(_) => "ledger".to_owned(),
            };
            let wrong = self
                .rows(
                    "a.id, a.balance, moved",
                    "accounts a",
                    &format!(
                        "LEFT JOIN (SELECT account, SUM(amount) AS moved FROM \
                         (SELECT dst AS account, amount FROM {ledger} WHERE dst IS NOT NULL \
                          UNION ALL SELECT src, -amount FROM {ledger} WHERE src IS NOT NULL) t GROUP BY account) m \
                         ON m.account = a.id WHERE a.balance <> {OPENING} + COALESCE(moved, 0)"
                    ),
                )
                .await;
            assert!(wrong.is_empty(), "accounts that do not agree with the ledger: {wrong:?}");
        }
        if self.has_table("seats").await {
            let seats =
                self.rows("COUNT(*), COUNT(DISTINCT place), MIN(place), MAX(place)", "seats", "").await;
            let found: Vec<_> = seats[0].iter().flatten().map(|cell| cell.parse().unwrap_or(-1)).collect();
            assert!(
                found == [SEATS, SEATS, 1, SEATS] || found == [0, 0],
                "seats and their places: {found:?}"
            );
        }
        if self.has_table("large").await {
            let parts = self
                .rows("tx, COUNT(*)", "large", &format!("GROUP BY tx HAVING COUNT(*) <> {LARGE_ROWS}"))
                .await;
            assert!(parts.is_empty(), "parts of large transactions: {parts:?}");
        }
    }
}

/// A history counts each change once, in the order of the log.
pub fn must_be_in_order(history: &Path, table: &str) {
    let wrong = sqlite(
        history,
        &format!(
            "SELECT _seq, former FROM (SELECT _seq, LAG(_seq) OVER (ORDER BY rowid) AS former FROM {table}) \
             WHERE former >= _seq LIMIT 5"
        ),
    );
    assert!(wrong.is_empty(), "numbers of {table} that do not grow: {wrong:?}");
}

/// The log as a reader finds it.
pub struct LogRead {
    /// The numbers of all changes, by table.
    pub changes: BTreeMap<String, Vec<u64>>,
    /// Ids of the ledger, in the order of the log.
    pub ledger: Vec<i64>,
    /// Positions of all commits, in the order of the log.
    pub commits: Vec<String>,
}

/// Reads the log from its horizon to its tail; the numbers must be dense.
pub async fn read_log(store: &dyn LogStore) -> LogRead {
    let log = store.open("shop").await.expect("the log opens");
    let (mut next, end) = (log.stat().horizon, log.tail().next);
    assert_eq!(next, Seq(0), "nothing was dropped");
    let mut book = log.schemas();
    let mut read = LogRead { changes: BTreeMap::new(), ledger: Vec::new(), commits: Vec::new() };
    while next < end {
        for block in log.read(next, 4 << 20).await.expect("the log is readable") {
            assert_eq!(block.first, next, "blocks lie one behind the other");
            for entry in block.entries() {
                let (seq, entry) = entry.expect("the entry is readable");
                assert_eq!(seq, next, "numbers are dense");
                next = seq.plus(1);
                match entry {
                    Entry::Change(change) => {
                        let schema = book.get(change.schema).expect("the schema is known");
                        let table = &schema.name.table;
                        read.changes.entry(table.clone()).or_default().push(seq.0);
                        if table == "ledger" {
                            let row = change.after_view(schema).expect("the ledger has only inserts");
                            let Some(Value::Int(id)) = row.get_named("id") else { panic!("an id") };
                            read.ledger.push(id);
                        }
                    }
                    Entry::Commit { offset, file, gtid, .. } => {
                        let gtid = if gtid.is_empty() { String::new() } else { format!(" (gtid {gtid})") };
                        read.commits.push(format!("{file}:{offset}{gtid}"));
                    }
                    Entry::Schema { no, json } => {
                        let schema = parse_schema(json).expect("the schema is readable");
                        book.learn(no, schema).expect("the schema is the one known");
                    }
                    Entry::Coverage(_) => {}
                }
            }
        }
    }
    read
}

/// Every reading of the source began at a commit of the log, and none before where the one before it began.
pub fn must_have_gone_on(said: &[String], commits: &[String]) {
    let mut last = 0;
    let mut sessions = 0;
    for line in said.iter().flat_map(|said| said.lines()) {
        let Some((_, from)) = line.split_once(" from=") else { continue };
        if !line.contains(" mining ") {
            continue;
        }
        let at = commits.iter().rposition(|commit| commit == from);
        let at = at.unwrap_or_else(|| panic!("no commit of the log is at {from}"));
        assert!(at >= last, "mining went back to {from}");
        (last, sessions) = (at, sessions + 1);
    }
    assert!(sessions > 1 && last > 0, "{sessions} sessions, the last from commit {last}");
}

/// The numbers and, for the ledger, the ids in a file of lines.
pub fn read_lines(file: &Path) -> (Vec<u64>, Vec<i64>) {
    let text = fs::read_to_string(file).expect("the lines are readable");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    let mut ids = Vec::new();
    let numbers = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
            ids.extend(line["after"]["id"].as_i64());
            line["seq"].as_u64().expect("each line has its number")
        })
        .collect();
    (numbers, ids)
}

/// A column of whole numbers.
pub fn numbers<T: std::str::FromStr>(rows: Rows) -> Vec<T> {
    rows.into_iter()
        .map(|row| row[0].as_ref().and_then(|cell| cell.parse().ok()).expect("a whole number"))
        .collect()
}

/// Names what differs instead of printing thousands of rows.
pub fn must_be_equal(what: &str, found: &Rows, wanted: &Rows) {
    if found == wanted {
        return;
    }
    let (have, want): (HashSet<_>, HashSet<_>) = (found.iter().collect(), wanted.iter().collect());
    let cut = |rows: Vec<&&Vec<Option<String>>>| {
        rows.into_iter()
            .take(5)
            .map(|row| {
                row.iter().map(|cell| cell.as_ref().map(|text| text.chars().take(40).collect())).collect()
            })
            .collect::<Vec<Vec<Option<String>>>>()
    };
    let missing = cut(want.difference(&have).collect());
    let surplus = cut(have.difference(&want).collect());
    panic!(
        "{what}: {} rows and not {}; missing: {missing:?}; surplus: {surplus:?} (equal rows may only differ in number)",
        found.len(),
        wanted.len()
    );
}

pub fn sqlite(path: &Path, sql: &str) -> Rows {
    let db = rusqlite::Connection::open(path).expect("the database opens");
    db.busy_timeout(Duration::from_secs(20)).expect("a time-out");
    let mut statement = db.prepare(sql).unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    let columns = statement.column_count();
    let rows = statement
        .query_map([], |row| {
            (0..columns)
                .map(|at| {
                    use rusqlite::types::Value;
                    Ok(match row.get::<_, Value>(at)? {
                        Value::Null => None,
                        Value::Integer(number) => Some(number.to_string()),
                        Value::Text(text) => Some(text),
                        other => panic!("an unexpected value: {other:?}"),
                    })
                })
                .collect()
        })
        .and_then(Iterator::collect);
    rows.unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
}
