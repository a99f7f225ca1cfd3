//! The sink `oracle`: tables of an Oracle database, with the cursor in the same transaction as the rows.
//!
//! Each route has one connection on a thread of its own. The changes of a batch are put together by key, and go in one call for
//! up to 5000 rows: an array DELETE, then an array MERGE. Oracle takes no long values in MERGE (ORA-01461); rows of
//! tables with LOBs, or with a text over 4000 bytes, are updated, and inserted where there are none. A DELETE before the INSERT would
//! do too, but not for columns that only the target has, nor for foreign keys that delete with it. Tables without a key
//! and mode append get plain array INSERTs.
//!
//! `threads` is accepted, and says that it uses one: rows and cursor are one transaction, and a transaction belongs to one
//! connection. Writers that share the keys would each commit alone; readers would see parts of the source's
//! transactions, and a change of a key or a foreign key could arrive before what it depends on.
//!
//! How values are kept, where `types` does not say otherwise:
//!
//! | type | in Oracle |
//! |---|---|
//! | tinyint, smallint, int, bigint | NUMBER(3), NUMBER(5), NUMBER(10), NUMBER(19); bigint unsigned NUMBER(20) |
//! | mediumint | NUMBER(7), unsigned NUMBER(8) |
//! | decimal | NUMBER(p,s) up to 38 digits, above that VARCHAR2 with all its digits |
//! | float, double | BINARY_FLOAT, BINARY_DOUBLE; Oracle has no negative zero |
//! | bit(1), bit(n), bool | NUMBER(1), NUMBER, NUMBER(1) |
//! | date, year | DATE, NUMBER(4) |
//! | datetime(f) | TIMESTAMP(f) |
//! | timestamp(f) | TIMESTAMP(f) WITH TIME ZONE in UTC; in a key TIMESTAMP(f) in UTC |
//! | time(f) | INTERVAL DAY(2) TO SECOND(f) |
//! | char, varchar, enum, set | VARCHAR2(n CHAR) up to 1000 characters, which are at most 4000 bytes; above that CLOB |
//! | text, json | CLOB |
//! | binary, varbinary | RAW up to 2000 bytes, above that BLOB |
//! | blob, geometry | BLOB; a geometry as well-known binary without its SRID |
//!
//! An empty text and empty bytes are NULL, and so are dates that no calendar has (`empty_string`, `zero_date`); the first such
//! value of a column is a warning, and in a key it is an error. Names are folded to upper case and quoted.

mod array;
mod cursor;
mod fitting;
mod names;
mod session;
mod settings;
mod statement;
mod table;
mod types;
mod value;
mod worker;

use std::sync::Arc;

use async_trait::async_trait;

use self::settings::Options;
use self::value::Rules;
use self::worker::Worker;
use super::target::TableTemplate;
use super::{Durable, Sink, SinkKind, SinkRoute, Written, cursor_row};
use crate::client::place;
use crate::error::{Error, Kind, Result};
use crate::model::change::Batch;
use crate::model::connection::Connection;
use crate::model::position::Cursor;
use crate::model::schema::TableSchema;
use crate::model::spec::{SinkSpec, TargetSpec};

/// How a script addresses it.
pub const SPEC: SinkSpec = SinkSpec { target: TargetSpec::Table, settings: settings::SETTINGS };

/// The kind `oracle`.
pub struct Oracle;

impl SinkKind for Oracle {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let connection = route.connection.ok_or_else(|| {
            Error::new(Kind::Internal, "the oracle sink was made without a connection")
                .context(route.key.clone())
        })?;
        cursor_row::check_route(&route.key)?;
        let (options, rules) = settings::read(&route.settings)?;
        Ok(Box::new(OracleSink {
            config: Arc::new(Config {
                route: route.key,
                connection,
                template: TableTemplate(route.target),
                options,
                rules,
            }),
            worker: None,
            overdue: Vec::new(),
        }))
    }
}

/// What a session has to know.
struct Config {
    route: String,
    connection: Arc<Connection>,
    template: TableTemplate,
    options: Options,
    rules: Rules,
}

/// The source's schema, which names the table, and the schema of the rows.
type SchemaPair = (Arc<TableSchema>, Arc<TableSchema>);

struct OracleSink {
    config: Arc<Config>,
    /// Absent before `open`, after an error, and when a write was cut short: its thread goes on to the end of the call,
    /// and then takes back what it did not commit.
    worker: Option<Worker>,
    /// Tables that could not be fitted in the middle of a transaction that uses them; done at the next `open`.
    overdue: Vec<SchemaPair>,
}

impl OracleSink {
    fn located(&self, error: Error) -> Error {
        error.context(place(&self.config.connection))
    }
}

#[async_trait]
impl Sink for OracleSink {
    async fn open(&mut self) -> Result<Option<Cursor>> {
        self.worker = None;
        let (worker, cursor) =
            Worker::open(self.config.clone()).await.map_err(|error| self.located(error))?;
        let overdue = std::mem::take(&mut self.overdue);
        if !overdue.is_empty() {
            let fit = move |state: &mut worker::State| {
                let Some(session) = &mut state.session else { return Ok(()) };
                overdue.iter().try_for_each(|(table, row)| session.fit(table, row))
            };
            worker.ask(fit).await.and_then(|fitted| fitted).map_err(|error| self.located(error))?;
        }
        self.worker = Some(worker);
        Ok(cursor)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let worker = self.worker.take().ok_or_else(|| {
            Error::new(Kind::Refused, format!("the oracle sink of route {} is not open", self.config.route))
        })?;
        let cursor = batch.cursor.clone();
        let write = move |state: &mut worker::State| {
            let mut overdue = Vec::new();
            let outcome = match &mut state.session {
                Some(session) => session.write(&batch, &mut overdue),
                None => Err(Error::new(Kind::Internal, "a batch is written without a connection")),
            };
            if outcome.is_err()
                && let Some(session) = state.session.take()
            {
                // So that no lock outlives the error. Nothing more can be learnt from a failure here.
                let _ = session.close();
            }
            (outcome, overdue)
        };
        let (outcome, overdue) = worker.ask(write).await.map_err(|error| self.located(error))?;
        self.overdue.extend(overdue);
        let rows = outcome.map_err(|error| self.located(error))?;
        self.worker = Some(worker);
        Ok(Written { durable: cursor.map(Durable::after_commit), rows })
    }

    async fn close(&mut self) -> Result<()> {
        let Some(worker) = self.worker.take() else { return Ok(()) };
        let close =
            |state: &mut worker::State| state.session.take().map_or(Ok(()), |session| session.close());
        worker.ask(close).await.and_then(|closed| closed).map_err(|error| self.located(error))
    }
}
