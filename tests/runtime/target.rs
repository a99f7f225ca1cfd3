//! A transactional sink in memory, which checks everything that is committed to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lode::error::{Error, Kind, Result};
use lode::model::block::Op;
use lode::model::change::{Batch, Change};
use lode::model::position::Cursor;
use lode::model::value::Value;
use lode::sink::{Durable, Sink, SinkKind, SinkRoute, Written};

use super::server::{RowChange, Server, Tables, apply};
use super::weather::{Fault, Weather};

/// All targets by their routes' keys. They stay when lode is killed.
pub struct Targets {
    weather: Arc<Weather>,
    server: Arc<Server>,
    targets: Mutex<HashMap<String, Arc<Mutex<Target>>>>,
}

/// What one route has written.
#[derive(Default)]
pub struct Target {
    pub cursor: Option<Cursor>,
    pub tables: Tables,
    /// Numbers of the changes that were committed, in order.
    pub applied: Vec<i64>,
    /// Commits with changes in them.
    pub commits: u64,
    /// Commits of a cursor alone, the first one included.
    pub cursor_commits: u64,
    /// Batches without a cursor.
    pub parts: u64,
    pub largest_batch: usize,
    pub largest_batch_bytes: usize,
    pub opened: u64,
    pub closed: u64,
    /// Takes so long for a batch.
    pub delay: Duration,
    /// Rejects the change with this number.
    pub rejects: Option<i64>,
    /// The tables whose contents must be the source's at every commit.
    pub mirrors: Vec<String>,
    mirror: (u64, Tables),
    /// Somebody may send its route back.
    pub may_go_back: bool,
    fence: u64,
}

impl Targets {
    pub fn new(weather: Arc<Weather>, server: Arc<Server>) -> Arc<Targets> {
        Arc::new(Targets { weather, server, targets: Mutex::default() })
    }

    pub fn of(&self, key: &str) -> Arc<Mutex<Target>> {
        Arc::clone(self.targets.lock().unwrap().entry(key.into()).or_default())
    }
}

/// Makes sinks of [`Targets`].
pub struct Kept(pub Arc<Targets>);

impl SinkKind for Kept {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let target = self.0.of(&route.key);
        let (weather, server) = (Arc::clone(&self.0.weather), Arc::clone(&self.0.server));
        Ok(Box::new(Writer { target, weather, server, fence: None, open: Vec::new() }))
    }
}

struct Writer {
    target: Arc<Mutex<Target>>,
    weather: Arc<Weather>,
    server: Arc<Server>,
    /// `None` before the opening and after an error.
    fence: Option<u64>,
    /// Changes of the transaction that is open.
    open: Vec<Written1>,
}

/// A change as it is in the target: with its number, when the row says it.
struct Written1 {
    change: RowChange,
    number: Option<i64>,
}

#[async_trait]
impl Sink for Writer {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        self.weather.delay().await;
        self.weather.pass(Fault::OpenSink)?;
        let mut target = self.target.lock().unwrap();
        target.fence += 1;
        target.opened += 1;
        self.fence = Some(target.fence);
        self.open.clear();
        Ok(target.cursor.clone())
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let fence = self.fence.take().expect("an unopened or failed sink is not written to");
        let rows = batch.changes.len() as u64;
        let delay = self.target.lock().unwrap().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.weather.delay().await;
        self.weather.pass(Fault::Write)?;
        let cursor = {
            let mut target = self.target.lock().unwrap();
            if target.fence != fence {
                return Err(Error::new(Kind::Fenced, "another writer took over"));
            }
            assert!(
                target.cursor.is_some() || batch.changes.is_empty(),
                "the starting point is durable before anything is delivered"
            );
            let bytes = |change: &Change| change.row().map_or(0, |row| row.image.len());
            target.largest_batch = target.largest_batch.max(batch.changes.len());
            target.largest_batch_bytes =
                target.largest_batch_bytes.max(batch.changes.iter().map(bytes).sum());
            for change in &batch.changes {
                let written = read(change);
                if target.rejects.is_some() && written.number == target.rejects {
                    return Err(Error::new(Kind::Data, "the target rejects a row of shop.t0"));
                }
                self.open.push(written);
            }
            let Some(cursor) = batch.cursor else {
                target.parts += 1;
                self.fence = Some(fence);
                return Ok(Written { durable: None, rows });
            };
            target.commit(&self.server, std::mem::take(&mut self.open), cursor.clone());
            cursor
        };
        self.weather.delay().await;
        self.weather.pass(Fault::WriteAnswer)?;
        self.fence = Some(fence);
        Ok(Written { durable: Some(Durable::after_commit(cursor)), rows })
    }

    async fn close(&mut self) -> Result<()> {
        self.open.clear();
        self.target.lock().unwrap().closed += 1;
        Ok(())
    }
}

impl Target {
    fn commit(&mut self, server: &Server, changes: Vec<Written1>, cursor: Cursor) {
        if let Some(before) = &self.cursor {
            if cursor.next < before.next {
                assert!(
                    self.may_go_back && changes.is_empty(),
                    "a cursor goes back only when somebody says so"
                );
                let position = cursor.position.as_ref().expect("it was sent to a commit");
                self.tables.clear();
                for change in server.transactions(0..position.offset).iter().flatten() {
                    apply(&mut self.tables, change).expect("the server's own changes fit");
                }
            }
            let is_new = !changes.is_empty() || cursor != *before || self.may_go_back;
            assert!(is_new, "a cursor that stays is not written again");
        }
        if changes.is_empty() {
            self.cursor_commits += 1
        } else {
            self.commits += 1
        }
        for written in changes {
            apply(&mut self.tables, &written.change).expect("every change comes once, and in order");
            self.applied.extend(written.number);
        }
        if let (false, Some(position)) = (self.mirrors.is_empty(), &cursor.position) {
            self.compare(server, position.offset);
        }
        self.cursor = Some(cursor);
    }

    /// What is visible is what the source had after some whole transaction.
    fn compare(&mut self, server: &Server, transactions: u64) {
        let (seen, mirror) = &mut self.mirror;
        for change in server.transactions(*seen..transactions).iter().flatten() {
            if self.mirrors.contains(&change.table) {
                apply(mirror, change).expect("the server's own changes fit");
            }
        }
        *seen = transactions;
        for table in &self.mirrors {
            assert_eq!(
                self.tables.get(table).into_iter().flatten().collect::<Vec<_>>(),
                mirror.get(table).into_iter().flatten().collect::<Vec<_>>(),
                "table {table} after transaction {transactions}"
            );
        }
    }
}

fn read(change: &Change) -> Written1 {
    let row = |row: &lode::model::row::Row| {
        let view = row.view();
        match (view.get(0), view.get(1)) {
            (Some(Value::Int(key)), Some(Value::Int(value))) => (key, value),
            other => panic!("a row of {} reads as {other:?}", change.table.name),
        }
    };
    let (before, after) = (change.before.as_ref().map(row), change.after.as_ref().map(row));
    let number = match change.op {
        Op::Insert | Op::Update => after.map(|(_, value)| value),
        Op::Delete | Op::Truncate => None,
    };
    let table = change.table.name.table.clone();
    let change = RowChange { table, op: change.op, before, after, number: 0, extra: 0, pad: 0 };
    Written1 { change, number }
}
