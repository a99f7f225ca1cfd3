//! What happened at the source: servers with tables, and everything that was ever committed to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lode::model::block::Op;
use lode::model::row::Row as EncodedRow;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::model::value::Value;
use tokio::sync::Notify;

use super::chance::Random;

/// The servers by name, each with its tables. The database is called like the server.
pub const SERVERS: [(&str, &[&str]); 2] =
    [("shop", &["a0", "a1", "a2", "a3", "b0", "b1"]), ("mail", &["m0", "m1"])];
/// Rows of one table have keys below this.
const KEYS: u64 = 12;

/// A row as a change left it. `value` is unique among all changes of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: i64,
    pub value: i64,
    /// What filters look at.
    pub shade: i64,
    /// Length of its text.
    pub pad: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub table: &'static str,
    pub op: Op,
    pub before: Option<Row>,
    pub after: Option<Row>,
    /// The version of the table's schema.
    pub version: u32,
}

#[derive(Debug)]
pub struct Transaction {
    pub changes: Vec<Change>,
    pub time_ms: i64,
}

/// One server. It stays when lode is killed.
pub struct Server {
    pub name: &'static str,
    tables: &'static [&'static str],
    state: Mutex<State>,
    /// Wakes readers.
    pub more: Notify,
}

#[derive(Default)]
struct State {
    transactions: Vec<Arc<Transaction>>,
    rows: BTreeMap<&'static str, BTreeMap<i64, Row>>,
    versions: BTreeMap<&'static str, u32>,
    changes: i64,
}

impl Server {
    pub fn new(name: &'static str, tables: &'static [&'static str]) -> Server {
        Server { name, tables, state: Mutex::default(), more: Notify::new() }
    }

    pub fn tables(&self) -> &'static [&'static str] {
        self.tables
    }

    /// How many transactions were committed.
    pub fn count(&self) -> u64 {
        self.state.lock().unwrap().transactions.len() as u64
    }

    pub fn transaction(&self, at: u64) -> Option<Arc<Transaction>> {
        self.state.lock().unwrap().transactions.get(at as usize).cloned()
    }

    /// Commits a transaction of a few changes of any kind.
    pub fn commit_some(&self, rng: &mut Random, time_ms: i64) {
        let count = if rng.one_in(20) { 0 } else { 1 + rng.below(6) };
        let pad = if rng.one_in(30) { 3000 } else { 4 };
        self.commit(rng, time_ms, count, pad);
    }

    /// Commits a transaction that is too large for one block; most of it lies in one table.
    pub fn commit_huge(&self, rng: &mut Random, time_ms: i64) {
        let (count, pad) = (20 + rng.below(30), 25_000 + rng.below(25_000) as usize);
        self.commit(rng, time_ms, count, pad);
    }

    /// Commits a transaction that touches every table.
    pub fn commit_everywhere(&self, rng: &mut Random, time_ms: i64) {
        let mut state = self.state.lock().unwrap();
        let changes = self.tables.iter().map(|table| state.put_new(rng, table)).collect();
        state.transactions.push(Arc::new(Transaction { changes, time_ms }));
        drop(state);
        self.more.notify_waiters();
    }

    /// Gives a table other columns from the next transaction on.
    pub fn alter(&self, table: &'static str, version: u32) {
        self.state.lock().unwrap().versions.insert(table, version);
    }

    fn commit(&self, rng: &mut Random, time_ms: i64, count: u64, pad: usize) {
        let mut state = self.state.lock().unwrap();
        let mut changes = Vec::new();
        let home = self.tables[rng.below(self.tables.len() as u64) as usize];
        for _ in 0..count {
            let table = if rng.chance(400) {
                self.tables[rng.below(self.tables.len() as u64) as usize]
            } else {
                home
            };
            changes.push(state.any(rng, table, pad));
        }
        state.transactions.push(Arc::new(Transaction { changes, time_ms }));
        drop(state);
        self.more.notify_waiters();
    }
}

impl State {
    /// Makes a change that fits what the table holds.
    fn any(&mut self, rng: &mut Random, table: &'static str, pad: usize) -> Change {
        self.changes += 1;
        let (value, shade) = (self.changes, rng.below(3) as i64);
        let version = self.versions.get(table).copied().unwrap_or(0);
        let rows = self.rows.entry(table).or_default();
        let key = rng.below(KEYS) as i64;
        let free = (0..).find(|key| !rows.contains_key(key)).expect("some number is free");
        let row = |key| Some(Row { key, value, shade, pad });
        let present = rows.get(&key).copied();
        let (op, before, after) = match (present, rng.below(10)) {
            (_, 0) if rng.chance(100) => (Op::Truncate, None, None),
            (None, _) => (Op::Insert, None, row(key)),
            (old, 0..5) => (Op::Update, old, row(key)),
            (old, 5) => (Op::Update, old, row(free)),
            (old, _) => (Op::Delete, old, None),
        };
        self.apply(Change { table, op, before, after, version })
    }

    fn put_new(&mut self, rng: &mut Random, table: &'static str) -> Change {
        self.changes += 1;
        let (value, shade) = (self.changes, rng.below(3) as i64);
        let version = self.versions.get(table).copied().unwrap_or(0);
        let rows = self.rows.entry(table).or_default();
        let key = (0..).find(|key| !rows.contains_key(key)).expect("some number is free");
        let after = Some(Row { key, value, shade, pad: 4 });
        self.apply(Change { table, op: Op::Insert, before: None, after, version })
    }

    fn apply(&mut self, change: Change) -> Change {
        let rows = self.rows.entry(change.table).or_default();
        if change.op == Op::Truncate {
            rows.clear();
        }
        if let Some(before) = change.before {
            rows.remove(&before.key);
        }
        if let Some(after) = change.after {
            rows.insert(after.key, after);
        }
        change
    }
}

/// One cell as it is compared. Of the long text, the length is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Number(i64),
    Text(usize),
    Other(String),
}

impl Cell {
    pub fn of(value: Option<Value<'_>>) -> Cell {
        match value {
            Some(Value::Int(number)) => Cell::Number(number),
            Some(Value::Text(text)) => Cell::Text(text.len()),
            other => Cell::Other(format!("{other:?}")),
        }
    }
}

/// The columns of a table by name, in an order that differs from version to version: whoever reads a row with the schema
/// of another time gets other cells.
pub fn cells(row: &Row, version: u32) -> Vec<(String, Cell)> {
    let mut cells = vec![
        ("id".to_owned(), Cell::Number(row.key)),
        ("value".to_owned(), Cell::Number(row.value)),
        ("shade".to_owned(), Cell::Number(row.shade)),
        ("note".to_owned(), Cell::Text(row.pad)),
    ];
    let extra = i64::from(version % 3);
    cells.extend((0..extra).map(|at| (format!("extra_{at}"), Cell::Number(row.value * 10 + at))));
    let turn = version as usize % cells.len();
    cells.rotate_left(turn);
    cells
}

/// The schema of a table at some version.
pub fn schema(server: &str, table: &str, version: u32) -> TableSchema {
    let row = Row { key: 0, value: 0, shade: 0, pad: 0 };
    let columns: Vec<_> = cells(&row, version)
        .into_iter()
        .map(|(name, cell)| {
            let ty = match cell {
                Cell::Text(_) => ColumnType::Text { bytes: 1 << 24 },
                _ => ColumnType::Int { bits: 64, unsigned: false },
            };
            let nullable = name != "id";
            Column { name, ty, nullable }
        })
        .collect();
    let key = columns.iter().position(|column| column.name == "id").expect("every version has it");
    TableSchema {
        name: TableName::new(server, table),
        columns,
        primary_key: vec![key as u16],
        unique_keys: Vec::new(),
    }
}

/// The bytes of a row.
pub fn image(schema: &Arc<TableSchema>, row: &Row, version: u32) -> Vec<u8> {
    let pad = " ".repeat(row.pad);
    let values: Vec<_> = cells(row, version)
        .into_iter()
        .map(|(_, cell)| match cell {
            Cell::Number(number) => Some(Value::Int(number)),
            _ => Some(Value::Text(pad.as_str().into())),
        })
        .collect();
    EncodedRow::encode(Arc::clone(schema), &values).expect("the values fit").image.to_vec()
}
