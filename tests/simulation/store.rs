//! A store whose appends tear, lose their answers, find no room, and take their time.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use lode::error::{Error, Kind, Result};
use lode::model::block::{Block, SchemaBook};
use lode::model::connection::Connection;
use lode::model::coverage::Coverage;
use lode::model::position::{LogEpoch, Position, Seq};
use lode::model::spec::Settings;
use lode::store::memory::Memory;
use lode::store::{Log, LogReader, LogStat, LogStore, LogStoreKind, Retained, Retention, Tail};

use super::world::{Area, Place, World};

/// Makes a store of a simulated world, and is one.
#[derive(Clone)]
pub struct Store {
    pub world: Arc<World>,
    pub memory: Memory,
}

impl LogStoreKind for Store {
    fn store(&self, _: Arc<Connection>, _: &Settings) -> Result<Arc<dyn LogStore>> {
        self.world.pass(Place::MakeStore)?;
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl LogStore for Store {
    async fn open(&self, name: &str) -> Result<Arc<dyn Log>> {
        self.world.visit(Area::Store).await;
        self.world.pass(Place::OpenLog)?;
        let log = self.memory.open(name).await?;
        let server = self.world.server_called(name);
        self.world.books[server].lock().unwrap().reopened();
        Ok(Arc::new(Stormy { world: Arc::clone(&self.world), server, log }))
    }

    async fn open_reader(&self, name: &str) -> Result<Arc<dyn LogReader>> {
        self.world.visit(Area::Store).await;
        self.memory.open_reader(name).await
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.world.visit(Area::Store).await;
        self.memory.list().await
    }
}

struct Stormy {
    world: Arc<World>,
    server: usize,
    log: Arc<dyn Log>,
}

impl Stormy {
    /// The routes that have a place in a log and are not held: what they need may go while they come back.
    fn strangers(&self) -> BTreeSet<String> {
        let targets = self.world.targets.lock().unwrap();
        let held = self.world.held.lock().unwrap();
        let placed = targets.iter().filter(|(key, target)| target.cursor.is_some() && !held.contains(*key));
        placed.map(|(key, _)| key.clone()).collect()
    }

    /// What a route of the plan has not delivered must stay.
    fn check_held(&self, horizon: Seq, strangers: &BTreeSet<String>) {
        let targets = self.world.targets.lock().unwrap();
        for key in self.world.held.lock().unwrap().difference(strangers) {
            let Some(cursor) = targets.get(key).and_then(|target| target.cursor.as_ref()) else { continue };
            let epoch = self.log.epoch();
            if cursor.log == Some(epoch) && cursor.next < horizon {
                let next = cursor.next;
                self.world.violate(format_args!("retention dropped up to {horizon}, and {key} is at {next}"));
            }
        }
    }

    /// Makes blocks durable, all or none.
    async fn keep(&self, blocks: &[Arc<Block>]) -> Result<Tail> {
        let tail = self.log.append(blocks.to_vec()).await?;
        let server = &self.world.servers[self.server];
        let learned = {
            let mut book = self.world.books[self.server].lock().unwrap();
            book.learn(server, blocks).map(|()| book.next)
        };
        match learned {
            Err(what) => self.world.violate(format_args!("log {}: {what}", server.name)),
            Ok(next) if next != tail.next => {
                self.world.violate(format_args!("log {} ends at {}, not at {next}", server.name, tail.next));
            }
            Ok(next) => {
                self.world.note(format_args!(
                    "  log {} has {} blocks more, up to {next}",
                    server.name,
                    blocks.len()
                ));
            }
        }
        Ok(tail)
    }
}

#[async_trait]
impl LogReader for Stormy {
    fn epoch(&self) -> LogEpoch {
        self.log.epoch()
    }

    fn source_id(&self) -> Option<String> {
        self.log.source_id()
    }

    fn tail(&self) -> Tail {
        self.log.tail()
    }

    fn schemas(&self) -> SchemaBook {
        self.log.schemas()
    }

    fn coverage(&self) -> Coverage {
        self.log.coverage()
    }

    async fn grown(&self, after: Seq) -> Result<Tail> {
        self.world.visit(Area::Store).await;
        self.log.grown(after).await
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        self.world.visit(Area::Store).await;
        self.world.pass(Place::Read)?;
        self.log.read(from, max_bytes).await
    }

    async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        self.world.visit(Area::Store).await;
        self.log.find_position(position).await
    }

    async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        self.world.visit(Area::Store).await;
        self.log.find_time(time_ms).await
    }

    fn stat(&self) -> LogStat {
        self.log.stat()
    }
}

#[async_trait]
impl Log for Stormy {
    async fn bind_source(&self, id: &str) -> Result<()> {
        self.world.visit(Area::Store).await;
        self.log.bind_source(id).await
    }

    async fn append(&self, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        self.world.visit(Area::Store).await;
        self.world.pass(Place::Append)?;
        if self.world.store_is_full() {
            return Err(Error::new(Kind::Full, "no room"));
        }
        // The blocks become durable one after another. Whoever is killed in between leaves a part.
        let first = self.world.any_below(blocks.len() as u64 + 1) as usize;
        if first > 0 {
            self.keep(&blocks[..first]).await?;
            self.world.visit(Area::Store).await;
            self.world.pass(Place::TornAppend)?;
        }
        if first < blocks.len() {
            self.keep(&blocks[first..]).await?;
            self.world.visit(Area::Store).await;
        }
        self.world.pass(Place::AppendAnswer)?;
        Ok(self.log.tail())
    }

    async fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        let strangers = self.strangers();
        self.world.visit(Area::Store).await;
        self.world.pass(Place::Retain)?;
        let retained = self.log.retain(policy, hold).await?;
        let server = self.world.servers[self.server].name;
        if retained.dropped_bytes > 0 {
            self.world.note(format_args!("  log {server} begins at {} now", retained.horizon));
            self.world.books[self.server].lock().unwrap().horizon = retained.horizon;
            self.check_held(retained.horizon, &strangers);
        }
        if hold.is_some_and(|hold| retained.dropped_bytes > 0 && retained.horizon > hold) {
            self.world.violate(format_args!("log {server} dropped what is held"));
        }
        self.world.visit(Area::Store).await;
        Ok(retained)
    }
}
