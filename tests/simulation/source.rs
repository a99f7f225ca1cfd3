//! Servers as lode sees them: readers that break off, purged positions, other servers behind the same name.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lode::error::{Error, Kind, Result};
use lode::model::block::{BlockBuilder, Commit};
use lode::model::connection::{Connection, Endpoint};
use lode::model::coverage::Coverage;
use lode::model::position::Position;
use lode::model::spec::Start;
use lode::model::table::TableSelection;
use lode::source::{ChangeStream, Identity, Progress, Source, SourceKind};

use super::history::{self, Change, Row};
use super::world::{Area, Place, World};

/// How a server is to be reached.
#[derive(Default)]
pub struct Door {
    /// So many of the oldest transactions are purged.
    pub purged: u64,
    /// A transaction in which something comes that lode cannot carry.
    pub poison: Option<u64>,
    /// Another server answers.
    pub is_another: bool,
    /// What was the case at some time.
    pub was_purged: bool,
    pub was_poisoned: bool,
    pub was_another: bool,
    /// Somebody asks just now for tables to be resumed, which has the server asked whether it still has their changes.
    pub is_asked: bool,
    /// Readers of the mine at this moment.
    readers: u32,
}

/// Makes sources of a simulated world.
pub struct Sources(pub Arc<World>);

impl SourceKind for Sources {
    fn source(&self, connection: Arc<Connection>) -> Result<Arc<dyn Source>> {
        let Endpoint::Url { host, .. } = &connection.endpoint else { panic!("scripts name servers by URLs") };
        self.0.pass(Place::MakeSource)?;
        let server = self.0.server_called(host.trim_end_matches(".test"));
        let is_mined = !connection.name.ends_with("_direct");
        Ok(Arc::new(Served { world: Arc::clone(&self.0), server, is_mined }))
    }
}

struct Served {
    world: Arc<World>,
    server: usize,
    is_mined: bool,
}

impl Served {
    fn require(&self, offset: u64) -> Result<()> {
        if offset < self.world.doors[self.server].lock().unwrap().purged {
            return Err(Error::new(Kind::Gap, "the server has purged this position"));
        }
        Ok(())
    }
}

#[async_trait]
impl Source for Served {
    async fn identify(&self) -> Result<Identity> {
        self.world.visit(Area::Source).await;
        self.world.pass(Place::Identify)?;
        let is_another = self.world.doors[self.server].lock().unwrap().is_another;
        let (name, which) =
            (self.world.servers[self.server].name, if is_another { "another" } else { "the" });
        Ok(Identity {
            id: format!("{which} {name}"),
            description: format!("simulated {name}"),
            clock_ms: None,
        })
    }

    async fn resolve(&self, start: &Start) -> Result<Position> {
        self.world.visit(Area::Source).await;
        self.world.pass(Place::Resolve)?;
        Ok(position(match start {
            Start::Now => self.world.servers[self.server].count(),
            Start::Earliest => self.world.doors[self.server].lock().unwrap().purged,
            other => panic!("no simulation starts at {other:?}"),
        }))
    }

    async fn open(&self, from: &Position, tables: TableSelection) -> Result<Box<dyn ChangeStream>> {
        self.world.visit(Area::Source).await;
        self.world.pass(Place::OpenStream)?;
        self.require(from.offset)?;
        let (world, server) = (Arc::clone(&self.world), self.server);
        if self.is_mined {
            let catches_up =
                world.books[server].lock().unwrap().paused().iter().any(|paused| paused.resuming);
            let mut door = self.world.doors[server].lock().unwrap();
            door.readers += 1;
            if door.readers > 1 + u32::from(catches_up) + u32::from(door.is_asked) {
                let name = world.servers[server].name;
                world.violate(format_args!("{name} has {} readers at one time", door.readers));
            }
        }
        let name = world.servers[server].name;
        world.note(format_args!("  a reader of {name} begins behind transaction {}", from.offset));
        Ok(Box::new(Stream {
            world,
            server,
            is_mined: self.is_mined,
            tables,
            selected: None,
            transaction: from.offset,
            event: 0,
            unsaid: false,
        }))
    }
}

fn position(offset: u64) -> Position {
    Position { gtid: format!("0-1-{offset}"), file: "binlog.000001".into(), offset }
}

struct Stream {
    world: Arc<World>,
    server: usize,
    is_mined: bool,
    tables: TableSelection,
    selected: Option<Coverage>,
    /// The transaction and event that come next.
    transaction: u64,
    event: usize,
    /// The last transaction had nothing for this reader, and its commit was not told.
    unsaid: bool,
}

#[async_trait]
impl ChangeStream for Stream {
    async fn fill(
        &mut self,
        out: &mut BlockBuilder,
        target_bytes: usize,
        patience: Duration,
    ) -> Result<Progress> {
        let world = Arc::clone(&self.world);
        world.visit(Area::Source).await;
        let mut something = false;
        loop {
            if self.event == 0
                && let Some(coverage) = self.selected.take()
            {
                if std::mem::take(&mut self.unsaid) {
                    self.commit(out);
                }
                out.coverage(&coverage);
                self.tables = coverage.mined();
            }
            let more = world.servers[self.server].more.notified();
            if self.step(out)? {
                something = true;
                if out.len() >= target_bytes {
                    return Ok(Progress::Full);
                }
                if world.strikes(Place::Lull) {
                    return Ok(Progress::CaughtUp);
                }
            } else if something {
                return Ok(Progress::CaughtUp);
            } else if tokio::time::timeout(patience, more).await.is_err() {
                return Ok(Progress::Idle);
            }
        }
    }

    fn select(&mut self, coverage: Coverage) {
        self.selected = Some(coverage);
    }

    fn position(&self) -> Position {
        position(self.transaction)
    }

    async fn close(self: Box<Self>) {
        self.world.visit(Area::Source).await;
    }
}

impl Stream {
    /// Reads one event; false when there is none.
    fn step(&mut self, out: &mut BlockBuilder) -> Result<bool> {
        self.world.pass(Place::Event)?;
        let server = &self.world.servers[self.server];
        let Some(transaction) = server.transaction(self.transaction) else { return Ok(false) };
        if self.event == 0 && self.world.doors[self.server].lock().unwrap().poison == Some(self.transaction) {
            return Err(Error::new(Kind::Data, "an event that cannot be carried"));
        }
        if let Some(change) = transaction.changes.get(self.event) {
            self.event += 1;
            if self.tables.contains(server.name, change.table) {
                self.change(out, change, transaction.time_ms);
            }
            return Ok(true);
        }
        (self.transaction, self.event) = (self.transaction + 1, 0);
        let wanted = |change: &Change| self.tables.contains(server.name, change.table);
        let is_last = self.transaction == server.count();
        self.unsaid = !is_last && !transaction.changes.iter().any(wanted) && self.world.any_below(3) == 0;
        if !self.unsaid {
            self.commit(out);
        }
        Ok(true)
    }

    fn commit(&self, out: &mut BlockBuilder) {
        let server = &self.world.servers[self.server];
        let transaction = server.transaction(self.transaction - 1).expect("it was read");
        out.commit(Commit { position: position(self.transaction), time_ms: transaction.time_ms });
    }

    fn change(&self, out: &mut BlockBuilder, change: &Change, time_ms: i64) {
        let server = self.world.servers[self.server].name;
        let schema = Arc::new(history::schema(server, change.table, change.version));
        let image = |row: Option<Row>| {
            let image = history::image(&schema, &row?, change.version);
            Some(move |out: &mut Vec<u8>| {
                out.extend_from_slice(&image);
                Ok::<(), Infallible>(())
            })
        };
        let no = out.schema(&schema);
        let Ok(()) = out.change(change.op, no, time_ms, image(change.before), image(change.after));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_mined {
            self.world.doors[self.server].lock().unwrap().readers -= 1;
        }
    }
}
