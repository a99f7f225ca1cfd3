//! A log whose appends and reads fail, lose their answers, and take their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use lode::error::Result;
use lode::model::block::{Block, SchemaBook};
use lode::model::coverage::Coverage;
use lode::model::position::{LogEpoch, Position, Seq};
use lode::store::{Log, LogReader, LogStat, Retained, Retention, Tail};

use super::weather::{Fault, Weather};

pub struct Stormy {
    pub log: Arc<dyn Log>,
    pub weather: Arc<Weather>,
    pub reads: AtomicU64,
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
        self.log.grown(after).await
    }

    async fn read(&self, from: Seq, max_bytes: usize) -> Result<Vec<Arc<Block>>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.weather.delay().await;
        self.weather.pass(Fault::Read)?;
        self.log.read(from, max_bytes).await
    }

    async fn find_position(&self, position: &Position) -> Result<Option<Seq>> {
        self.log.find_position(position).await
    }

    async fn find_time(&self, time_ms: i64) -> Result<Seq> {
        self.log.find_time(time_ms).await
    }

    fn stat(&self) -> LogStat {
        self.log.stat()
    }
}

#[async_trait]
impl Log for Stormy {
    async fn bind_source(&self, id: &str) -> Result<()> {
        self.weather.delay().await;
        self.log.bind_source(id).await
    }

    async fn append(&self, blocks: Vec<Arc<Block>>) -> Result<Tail> {
        self.weather.delay().await;
        self.weather.pass(Fault::Append)?;
        let tail = self.log.append(blocks).await?;
        self.weather.delay().await;
        self.weather.pass(Fault::AppendAnswer)?;
        Ok(tail)
    }

    async fn retain(&self, policy: &Retention, hold: Option<Seq>) -> Result<Retained> {
        self.log.retain(policy, hold).await
    }
}
