//! The source: a MariaDB with the workloads in its binlog.

use std::sync::Arc;
use std::time::Instant;

use lode::model::connection::{Connection, Endpoint};
use lode::model::spec::{Settings, Start};
use lode::model::table::{Pattern, TableSet};

use super::report::{seconds, thousands};
use super::support::servers::{MariaDb, Server};

const SCHEMA: &str = include_str!("../workloads/schema.sql");
const PROCEDURES: &str = include_str!("../workloads/load.sql");

/// A server with loads in its binlog.
pub struct Source {
    pub server: Server,
    pub loads: Vec<Load>,
}

/// One load, and where it lies in the binlog.
pub struct Load {
    pub name: &'static str,
    /// The table that it changes.
    pub table: &'static str,
    /// How many changes.
    pub rows: u64,
    /// The file that begins with it.
    pub file: String,
}

impl Source {
    /// Starts the server and makes the loads of `rows` changes each.
    pub async fn start(rows: u64) -> Source {
        let server = MariaDb::start(&["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M"]).await;
        server.sql(SCHEMA).await;
        server.sql(PROCEDURES).await;
        let mut source = Source { server, loads: Vec::new() };
        source.load("small", "sbtest1", "small", "NO_LOG", rows).await;
        source.load("mixed", "wide", "mixed", "NO_LOG", rows).await;
        source.load("mixed, names in the binlog", "wide", "mixed", "FULL", rows).await;
        source.load("huge", "sbtest1", "huge", "NO_LOG", rows).await;
        // What is written later belongs to none of the loads.
        source.server.sql("FLUSH BINARY LOGS").await;
        source
    }

    /// The load of this name.
    pub fn get(&self, name: &str) -> &Load {
        self.loads.iter().find(|load| load.name == name).expect("the name of a load")
    }

    /// The connection to the source, as a checked script has it.
    pub fn connection(&self) -> Arc<Connection> {
        connection("bench", &self.server)
    }

    async fn load(
        &mut self,
        name: &'static str,
        table: &'static str,
        procedure: &str,
        metadata: &str,
        rows: u64,
    ) {
        let began = Instant::now();
        let server = &self.server;
        server.sql(&format!("TRUNCATE bench.{table}; SET GLOBAL innodb_flush_log_at_trx_commit = 0")).await;
        server.sql(&format!("SET GLOBAL binlog_row_metadata = {metadata}; FLUSH BINARY LOGS")).await;
        let file = server.value("SHOW MASTER STATUS").await;
        server.sql(&format!("CALL bench.load_{procedure}({rows})")).await;
        server
            .sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1; SET GLOBAL binlog_row_metadata = NO_LOG")
            .await;
        eprintln!("loaded {name}: {} changes in {}", thousands(rows), seconds(began.elapsed()));
        self.loads.push(Load { name, table, rows, file });
    }
}

impl Load {
    /// Where reading it begins.
    pub fn start(&self) -> Start {
        Start::Position { file: self.file.clone(), offset: 4 }
    }

    /// The table that it changes.
    pub fn tables(&self) -> TableSet {
        tables(self.table)
    }
}

/// One table of the benches.
pub fn tables(table: &str) -> TableSet {
    TableSet { database: "bench".into(), include: vec![Pattern(table.into())], exclude: Vec::new() }
}

/// A connection to a server, as a checked script has it.
pub fn connection(name: &str, server: &Server) -> Arc<Connection> {
    Arc::new(Connection {
        name: name.into(),
        kind: "mysql",
        endpoint: Endpoint::Url {
            scheme: "mysql".into(),
            user: "root".into(),
            host: server.host().into(),
            port: server.port(),
            database: "bench".into(),
        },
        settings: Settings::default(),
    })
}
