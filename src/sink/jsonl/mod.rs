//! The sink `jsonl`: one JSON object for each change and line, in files or on standard output.
//!
//! ```json
//! {"table":"shop.orders","op":"update","ts":"2026-01-31T23:59:59.120Z","seq":42,"before":{"id":7},"after":{"id":7}}
//! ```
//!
//! Columns that the image does not have are left out. Integers are JSON integers, also beyond 2^53, so read them with a
//! parser that keeps them. Decimals are strings with all their digits, floats the shortest number that
//! gives them back, bytes base64, dates and times ISO 8601 (a timestamp ends in `Z`, a datetime has no zone), enum and set
//! their labels; JSON columns stand as they are.
//!
//! Files get each change once: the cursor is kept in a file of the route together with the lengths of the
//! data files, and what lies behind these lengths is cut off when the route is opened. A reader that follows a file
//! can see a transaction before it is complete. Standard output gets each change at least once.

mod files;
mod line;

use std::path::PathBuf;

use async_trait::async_trait;

use self::files::Files;
use super::target::PathTemplate;
use super::{Durable, Sink, SinkKind, SinkRoute, Written, settings};
use crate::error::{Error, Kind, Result};
use crate::model::change::Batch;
use crate::model::position::Cursor;
use crate::model::spec::{SinkSpec, TargetSpec};

/// How a script addresses it.
pub const SPEC: SinkSpec = SinkSpec { target: TargetSpec::Path, settings: settings::COMMON };

/// The kind `jsonl`.
pub struct Jsonl;

impl SinkKind for Jsonl {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let config = Config {
            route: route.key,
            output: match route.target.as_str() {
                "-" => Output::Stdout,
                _ => Output::Files(PathTemplate(route.target)),
            },
            state_dir: route.state_dir,
        };
        Ok(Box::new(JsonlSink { config, files: None }))
    }
}

#[derive(Clone)]
struct Config {
    route: String,
    output: Output,
    state_dir: PathBuf,
}

#[derive(Clone)]
enum Output {
    Stdout,
    Files(PathTemplate),
}

struct JsonlSink {
    config: Config,
    /// Absent before `open`, after an error, and when a write was cut short.
    files: Option<Files>,
}

#[async_trait]
impl Sink for JsonlSink {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        // Gives up its own locks before it asks for them again.
        self.files = None;
        let config = self.config.clone();
        let (files, cursor) = blocking(move || Files::open(config)).await??;
        self.files = Some(files);
        Ok(cursor)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let mut files = self.files.take().ok_or_else(|| {
            Error::new(Kind::Refused, format!("the jsonl sink of route {} is not open", self.config.route))
        })?;
        let (files, cursor, written) = blocking(move || {
            let written = files.write(&batch);
            (files, batch.cursor, written)
        })
        .await?;
        let rows = written?;
        self.files = Some(files);
        Ok(Written { durable: cursor.map(Durable::after_commit), rows })
    }

    async fn close(&mut self) -> Result<()> {
        match self.files.take() {
            Some(files) => blocking(move || files.close()).await?,
            None => Ok(()),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(Kind::Internal, "the thread of a jsonl sink ended early").caused_by(error)
    })
}
