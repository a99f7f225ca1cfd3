//! A source whose transactions are written by a test, and whose reader breaks off where the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lode::error::{Error, Kind, Result};
use lode::model::block::{BlockBuilder, Commit, Op};
use lode::model::coverage::Coverage;
use lode::model::position::Position;
use lode::model::row::Row;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::spec::Start;
use lode::model::table::{TableName, TableSelection};
use lode::model::value::Value;
use lode::source::{ChangeStream, Identity, Progress, Source};
use tokio::sync::Notify;

use super::weather::{Fault, Weather};

/// One change of one row. `value` is unique among all changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    pub table: String,
    pub op: Op,
    pub before: Option<(i64, i64)>,
    pub after: Option<(i64, i64)>,
    /// Number of the change among all, from 1.
    pub number: i64,
    /// How many columns the table has beside key and value.
    pub extra: usize,
    /// Bytes of padding in the row.
    pub pad: usize,
}

/// What the tables hold: key to value, by table.
pub type Tables = BTreeMap<String, BTreeMap<i64, i64>>;

/// Does to `tables` what a change says, and tells what did not fit.
pub fn apply(tables: &mut Tables, change: &RowChange) -> Result<(), String> {
    let rows = tables.entry(change.table.clone()).or_default();
    if change.op == Op::Truncate {
        rows.clear();
        return Ok(());
    }
    if let Some((key, value)) = change.before
        && rows.remove(&key) != Some(value)
    {
        return Err(format!("{change:?} finds another row"));
    }
    if let Some((key, value)) = change.after
        && rows.insert(key, value).is_some()
    {
        return Err(format!("{change:?} finds a row in its place"));
    }
    Ok(())
}

#[derive(Default)]
struct State {
    transactions: Vec<Vec<RowChange>>,
    tables: Tables,
    extra: BTreeMap<String, usize>,
    changes: i64,
    breaks: BTreeSet<(usize, usize)>,
    poison: Option<usize>,
    ended: bool,
    opened: Vec<(u64, TableSelection)>,
    read_of: BTreeMap<String, u64>,
}

/// The server. It stays when lode is killed.
pub struct Server {
    id: Mutex<String>,
    weather: Arc<Weather>,
    state: Mutex<State>,
    more: Notify,
    readers: AtomicUsize,
    readers_most: AtomicUsize,
}

impl Server {
    pub fn new(weather: Arc<Weather>) -> Arc<Server> {
        Arc::new(Server {
            id: Mutex::new("server-1".into()),
            weather,
            state: Mutex::default(),
            more: Notify::new(),
            readers: AtomicUsize::new(0),
            readers_most: AtomicUsize::new(0),
        })
    }

    /// Commits a transaction that inserts these keys.
    pub fn insert(&self, table: &str, keys: impl IntoIterator<Item = i64>) {
        self.insert_padded(table, keys, 0);
    }

    /// The same with rows of at least `pad` bytes.
    pub fn insert_padded(&self, table: &str, keys: impl IntoIterator<Item = i64>, pad: usize) {
        self.insert_rows(keys.into_iter().map(|key| (table, key, pad)));
    }

    /// Commits a transaction that inserts rows of several tables: table, key, bytes of padding.
    pub fn insert_rows<'a>(&self, rows: impl IntoIterator<Item = (&'a str, i64, usize)>) {
        let mut state = self.state.lock().unwrap();
        let mut transaction = Vec::new();
        for (table, key, pad) in rows {
            state.changes += 1;
            let number = state.changes;
            let extra = state.extra.get(table).copied().unwrap_or(0);
            let (table, after) = (table.to_owned(), Some((key, number)));
            let change = RowChange { table, op: Op::Insert, before: None, after, number, extra, pad };
            apply(&mut state.tables, &change).expect("the test inserts a key once");
            transaction.push(change);
        }
        state.transactions.push(transaction);
        drop(state);
        self.more.notify_waiters();
    }

    /// The source has an end after what was committed by now.
    pub fn end(&self) {
        self.state.lock().unwrap().ended = true;
        self.more.notify_waiters();
    }

    /// Breaks the reader off, once, before event `event` of transaction `transaction`, both from 0.
    pub fn break_at(&self, transaction: usize, event: usize) {
        self.state.lock().unwrap().breaks.insert((transaction, event));
    }

    /// Something that cannot be carried comes first in transaction `transaction`.
    pub fn poison(&self, transaction: usize) {
        self.state.lock().unwrap().poison = Some(transaction);
    }

    /// From now on another server answers.
    pub fn replace(&self, id: &str) {
        *self.id.lock().unwrap() = id.into();
    }

    pub fn transactions(&self, range: std::ops::Range<u64>) -> Vec<Vec<RowChange>> {
        self.state.lock().unwrap().transactions[range.start as usize..range.end as usize].to_vec()
    }

    pub fn count(&self) -> u64 {
        self.state.lock().unwrap().transactions.len() as u64
    }

    /// Where streams were opened, and for which tables.
    pub fn opened(&self) -> Vec<(u64, TableSelection)> {
        self.state.lock().unwrap().opened.clone()
    }

    /// How many changes of a table were given out.
    pub fn read_of(&self, table: &str) -> u64 {
        self.state.lock().unwrap().read_of.get(table).copied().unwrap_or(0)
    }

    /// The most readers at one time.
    pub fn readers_most(&self) -> usize {
        self.readers_most.load(Ordering::SeqCst)
    }
}

/// The server, as lode sees it.
pub struct Served(pub Arc<Server>);

#[async_trait]
impl Source for Served {
    async fn identify(&self) -> Result<Identity> {
        self.0.weather.delay().await;
        self.0.weather.pass(Fault::Identify)?;
        let id = self.0.id.lock().unwrap().clone();
        Ok(Identity { description: format!("scripted {id}"), id, clock_ms: None })
    }

    async fn resolve(&self, start: &Start) -> Result<Position> {
        self.0.weather.delay().await;
        let offset = match start {
            Start::Now => self.0.count(),
            Start::Earliest => 0,
            Start::Position { offset, .. } => *offset,
            other => panic!("no test starts at {other:?}"),
        };
        Ok(position(offset))
    }

    async fn open(&self, from: &Position, tables: TableSelection) -> Result<Box<dyn ChangeStream>> {
        self.0.weather.delay().await;
        self.0.weather.pass(Fault::OpenStream)?;
        self.0.state.lock().unwrap().opened.push((from.offset, tables.clone()));
        let readers = self.0.readers.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.readers_most.fetch_max(readers, Ordering::SeqCst);
        let (transaction, event) = (from.offset as usize, 0);
        Ok(Box::new(Stream { server: Arc::clone(&self.0), tables, selected: None, transaction, event }))
    }
}

fn position(offset: u64) -> Position {
    Position { gtid: String::new(), file: "binlog.000001".into(), offset }
}

struct Stream {
    server: Arc<Server>,
    tables: TableSelection,
    selected: Option<Coverage>,
    transaction: usize,
    event: usize,
}

enum Step {
    Change(RowChange),
    Commit,
    Nothing,
    End,
}

#[async_trait]
impl ChangeStream for Stream {
    async fn fill(
        &mut self,
        out: &mut BlockBuilder,
        target_bytes: usize,
        patience: Duration,
    ) -> Result<Progress> {
        self.server.weather.delay().await;
        let server = Arc::clone(&self.server);
        let mut something = false;
        loop {
            if self.event == 0
                && let Some(coverage) = self.selected.take()
            {
                out.coverage(&coverage);
                self.tables = coverage.mined();
            }
            let more = server.more.notified();
            match self.step()? {
                Step::Change(change) => self.change(out, &change),
                Step::Commit => {
                    let commit = Commit {
                        position: position(self.transaction as u64 + 1),
                        time_ms: (self.transaction as i64 + 1) * 1000,
                    };
                    out.commit(commit);
                    (self.transaction, self.event) = (self.transaction + 1, 0);
                }
                Step::Nothing if something => return Ok(Progress::CaughtUp),
                Step::Nothing => {
                    if tokio::time::timeout(patience, more).await.is_err() {
                        return Ok(Progress::Idle);
                    }
                    continue;
                }
                Step::End => return Ok(Progress::End),
            }
            something = true;
            if out.len() >= target_bytes {
                return Ok(Progress::Full);
            }
            if self.server.weather.pass(Fault::Lull).is_err() {
                return Ok(Progress::CaughtUp);
            }
        }
    }

    fn select(&mut self, coverage: Coverage) {
        self.selected = Some(coverage);
    }

    fn position(&self) -> Position {
        position(self.transaction as u64)
    }

    async fn close(self: Box<Self>) {
        self.server.weather.delay().await;
    }
}

impl Stream {
    fn step(&mut self) -> Result<Step> {
        self.server.weather.pass(Fault::Event)?;
        let mut state = self.server.state.lock().unwrap();
        if state.breaks.remove(&(self.transaction, self.event)) {
            return Err(Error::new(Kind::Unavailable, "the server went away"));
        }
        if self.event == 0 && state.poison == Some(self.transaction) {
            return Err(Error::new(Kind::Data, "an event of an unknown kind"));
        }
        let Some(transaction) = state.transactions.get(self.transaction) else {
            return Ok(if state.ended { Step::End } else { Step::Nothing });
        };
        let Some(change) = transaction.get(self.event).cloned() else { return Ok(Step::Commit) };
        self.event += 1;
        if self.tables.contains("shop", &change.table) {
            *state.read_of.entry(change.table.clone()).or_default() += 1;
        }
        Ok(Step::Change(change))
    }

    fn change(&self, out: &mut BlockBuilder, change: &RowChange) {
        if !self.tables.contains("shop", &change.table) {
            return;
        }
        let schema = Arc::new(schema(&change.table, change.extra));
        let image = |row: Option<(i64, i64)>| {
            let (key, value) = row?;
            let pad = " ".repeat(change.pad);
            let mut values = vec![Some(Value::Int(key)), Some(Value::Int(value))];
            values.push(Some(Value::Text(pad.as_str().into())));
            values.resize(3 + change.extra, Some(Value::Null));
            let image = Row::encode(Arc::clone(&schema), &values).expect("the values fit").image;
            Some(move |out: &mut Vec<u8>| {
                out.extend_from_slice(&image);
                Ok::<(), Infallible>(())
            })
        };
        let no = out.schema(&schema);
        let time_ms = (self.transaction as i64 + 1) * 1000;
        let Ok(()) = out.change(change.op, no, time_ms, image(change.before), image(change.after));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.server.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn schema(table: &str, extra: usize) -> TableSchema {
    let column = |name: String, ty| Column { name, ty, nullable: true };
    let number = || ColumnType::Int { bits: 64, unsigned: false };
    let mut columns = vec![column("id".into(), number()), column("value".into(), number())];
    columns.push(column("pad".into(), ColumnType::Text { bytes: 1 << 24 }));
    columns.extend((0..extra).map(|at| column(format!("extra_{at}"), number())));
    TableSchema {
        name: TableName::new("shop", table),
        columns,
        primary_key: vec![0],
        unique_keys: Vec::new(),
    }
}
