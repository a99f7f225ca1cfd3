//! The sink `mysql`: tables of a MySQL or MariaDB server, with the cursor in the same transaction as the rows.
//!
//! Rows travel as parameters of prepared statements, many to a statement; cursor and COMMIT follow in one exchange. The
//! changes of a batch are put together by key wherever that cannot be seen from outside; tables with foreign keys, and
//! batches in which unique values move between rows, are applied in the order of the log. A row that is not lode's is
//! never replaced: where the table has further unique keys, rows are inserted or updated by their own key, and a
//! conflict is an error.
//!
//! Tables that lode makes have the source's types. Their text is utf8mb4 with a binary collation that does not pad, so that keys
//! which differ for the source differ here; long text gets the next larger type, as the source may have used a smaller
//! character set. Only key columns are NOT NULL, as the source may relax the others later.

mod session;
mod statement;
mod table;
mod types;

use std::sync::Arc;

use async_trait::async_trait;

use self::session::Session;
use super::settings::{self, TableOptions};
use super::target::TableTemplate;
use super::{Durable, Sink, SinkKind, SinkRoute, Written, cursor_row};
use crate::client::{mysql, place};
use crate::error::{Error, Kind, Result};
use crate::model::change::Batch;
use crate::model::connection::Connection;
use crate::model::position::Cursor;
use crate::model::schema::TableSchema;
use crate::model::spec::{SinkSpec, TargetSpec};

/// How a script addresses it.
pub const SPEC: SinkSpec = SinkSpec { target: TargetSpec::Table, settings: settings::TABLES };

/// The kind `mysql`.
pub struct Mysql;

impl SinkKind for Mysql {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let connection = route.connection.ok_or_else(|| {
            Error::new(Kind::Internal, "the mysql sink was made without a connection")
                .context(route.key.clone())
        })?;
        cursor_row::check_route(&route.key)?;
        Ok(Box::new(MysqlSink {
            config: Arc::new(Config {
                route: route.key,
                connection,
                template: TableTemplate(route.target),
                options: TableOptions::read(&route.settings),
            }),
            session: None,
            overdue: Vec::new(),
        }))
    }
}

/// What an error of the driver means for a sink, which needs other rights than a source.
fn failure(error: mysql_async::Error, doing: &str) -> Error {
    match error {
        // No right on the database, the table, the column, the routine.
        mysql_async::Error::Server(server) if matches!(server.code, 1044 | 1142 | 1143 | 1370) => {
            Error::new(Kind::Environment, format!("{doing}: the server says {}: {}", server.code, server.message))
                .advice(
                    "give the user the rights: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON <database>.* TO \
                     <user>; with create_tables = off CREATE and ALTER are needed for the table lode_cursor only",
                )
        }
        error => mysql::failure(error, doing),
    }
}

/// What a session has to know.
struct Config {
    route: String,
    connection: Arc<Connection>,
    template: TableTemplate,
    options: TableOptions,
}

/// The source's schema, which names the table, and the schema of the rows.
type SchemaPair = (Arc<TableSchema>, Arc<TableSchema>);

struct MysqlSink {
    config: Arc<Config>,
    /// Absent before `open`, after an error, and when a write was cut short: what travels on such a connection
    /// is unknown.
    session: Option<Session>,
    /// Tables that could not be fitted in the middle of a transaction that uses them; done at the next `open`.
    overdue: Vec<SchemaPair>,
}

#[async_trait]
impl Sink for MysqlSink {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        self.session = None;
        let config = self.config.clone();
        let (mut session, cursor) =
            Session::open(config).await.map_err(|error| error.context(place(&self.config.connection)))?;
        let overdue = std::mem::take(&mut self.overdue);
        for (table, row) in overdue {
            session.fit(&table, &row).await.map_err(|error| error.context(place(&self.config.connection)))?;
        }
        self.session = Some(session);
        Ok(cursor)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let mut session = self.session.take().ok_or_else(|| {
            Error::new(Kind::Refused, format!("the mysql sink of route {} is not open", self.config.route))
        })?;
        match session.write(&batch, &mut self.overdue).await {
            Ok(rows) => {
                self.session = Some(session);
                Ok(Written { durable: batch.cursor.map(Durable::after_commit), rows })
            }
            Err(error) => {
                session.abandon().await;
                Err(error.context(place(&self.config.connection)))
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        match self.session.take() {
            Some(session) => {
                session.close().await.map_err(|error| error.context(place(&self.config.connection)))
            }
            None => Ok(()),
        }
    }
}
