//! The sink `sqlite`: tables of an SQLite database, with the cursor in the same transaction as the rows.
//!
//! Changes are applied one by one in the order of the log. That is as fast as anything in a database of the same
//! process, and right for secondary unique keys and foreign keys without further thought.
//!
//! How values are kept, all exactly but for the sign of a negative zero, which SQLite does not have:
//!
//! | type | in SQLite |
//! |---|---|
//! | integers, year, bool, bit | INTEGER |
//! | bigint unsigned and bit(64) | INTEGER up to 9223372036854775807, above that TEXT; the column has no declared type, as any would change the text |
//! | float, double | REAL; a float is written with the double that shows the same digits |
//! | decimal | TEXT, with all its digits |
//! | date, datetime, timestamp (UTC), time | TEXT as MySQL writes it: `2026-01-31 23:59:59.000` |
//! | char, text, enum, set, json | TEXT |
//! | binary, blob, geometry | BLOB |

mod table;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use self::writer::Writer;
use super::settings::{self, TableOptions};
use super::target::TableTemplate;
use super::{Durable, Sink, SinkKind, SinkRoute, Written, cursor_row};
use crate::client::lookup;
use crate::error::{Error, Kind, Result};
use crate::model::change::Batch;
use crate::model::connection::Endpoint;
use crate::model::position::Cursor;
use crate::model::spec::{SettingSpec, SettingType, SinkSpec, TargetSpec};

/// How a script addresses it.
pub const SPEC: SinkSpec = SinkSpec { target: TargetSpec::Table, settings: settings::TABLES };

/// Settings of a connection.
pub const CONNECTION: &[SettingSpec] = &[
    SettingSpec::new(
        "busy_timeout",
        SettingType::Duration,
        Some("10s"),
        "How long to wait for another writer of the same file.",
    ),
    lookup::TTL,
    lookup::ROWS,
    lookup::SIZE,
];

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The kind `sqlite`.
pub struct Sqlite;

impl SinkKind for Sqlite {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let connection = route.connection.ok_or_else(|| {
            Error::new(Kind::Internal, "the sqlite sink was made without a connection")
                .context(route.key.clone())
        })?;
        let Endpoint::Path(path) = &connection.endpoint else {
            return Err(Error::new(
                Kind::Environment,
                format!("connection {} is no file, but the sqlite sink needs one", connection.name),
            ));
        };
        cursor_row::check_route(&route.key)?;
        Ok(Box::new(SqliteSink {
            config: Config {
                route: route.key,
                path: path.clone(),
                busy_timeout: connection.settings.duration("busy_timeout").unwrap_or(BUSY_TIMEOUT),
                template: TableTemplate(route.target),
                options: TableOptions::read(&route.settings),
            },
            writer: None,
        }))
    }
}

/// What a writer has to know.
#[derive(Clone)]
struct Config {
    route: String,
    path: PathBuf,
    busy_timeout: Duration,
    template: TableTemplate,
    options: TableOptions,
}

struct SqliteSink {
    config: Config,
    /// Absent before `open`, after an error, and when a write was cut short.
    writer: Option<Writer>,
}

#[async_trait]
impl Sink for SqliteSink {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        self.writer = None;
        let config = self.config.clone();
        let (writer, cursor) = blocking(move || Writer::open(config)).await??;
        self.writer = Some(writer);
        Ok(cursor)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let mut writer = self.writer.take().ok_or_else(|| {
            Error::new(Kind::Refused, format!("the sqlite sink of route {} is not open", self.config.route))
        })?;
        let (writer, cursor, written) = blocking(move || {
            let written = writer.write(&batch);
            (writer, batch.cursor, written)
        })
        .await?;
        // A writer that failed is dropped here, which rolls its transaction back.
        let rows = written?;
        self.writer = Some(writer);
        Ok(Written { durable: cursor.map(Durable::after_commit), rows })
    }

    async fn close(&mut self) -> Result<()> {
        match self.writer.take() {
            Some(writer) => blocking(move || writer.close()).await?,
            None => Ok(()),
        }
    }
}

/// SQLite waits for disks and locks; that must not hold up other tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(Kind::Internal, "the thread of an sqlite sink ended early").caused_by(error)
    })
}
