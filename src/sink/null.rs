//! The sink that keeps nothing: it counts, for trials and measurements.

use async_trait::async_trait;

use super::{Durable, Sink, SinkKind, SinkRoute, Written, settings};
use crate::error::Result;
use crate::model::change::Batch;
use crate::model::position::Cursor;
use crate::model::spec::{SinkSpec, TargetSpec};

/// How a script addresses it.
pub const SPEC: SinkSpec = SinkSpec { target: TargetSpec::Nothing, settings: settings::COMMON };

/// The kind `null`. It keeps no cursor: a pipeline that is started again begins again.
pub struct Null;

impl SinkKind for Null {
    fn sink(&self, _route: SinkRoute) -> Result<Box<dyn Sink>> {
        Ok(Box::new(NullSink))
    }
}

struct NullSink;

#[async_trait]
impl Sink for NullSink {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let rows = batch.changes.len() as u64;
        Ok(Written { durable: batch.cursor.map(Durable::after_commit), rows })
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
