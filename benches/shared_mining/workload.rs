//! The source: a MariaDB with the workloads in its binlog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::model::connection::{Connection, Endpoint};
use lode::model::spec::{Settings, Start};
use lode::model::table::{Pattern, TableSet};
use mysql_async::prelude::Queryable;

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
    /// The database that has only this load.
    pub database: &'static str,
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
        let mut source = Source { server, loads: Vec::new() };
        source.load("small", "small", "sbtest1", "small", "NO_LOG", rows).await;
        source.load("mixed", "mixed", "wide", "mixed", "NO_LOG", rows).await;
        source.load("mixed, names in the binlog", "named", "wide", "mixed", "FULL", rows).await;
        source.load("huge", "huge", "sbtest1", "huge", "NO_LOG", rows).await;
        source.server.sql(&format!("CREATE DATABASE latency; USE latency; {SCHEMA}")).await;
        // What is written later belongs to none of the loads.
        source.server.sql("FLUSH BINARY LOGS").await;
        source
    }

    /// The load of this name.
    pub fn get(&self, name: &str) -> &Load {
        self.loads.iter().find(|load| load.name == name).expect("the name of a load")
    }

    /// The connection to the source, as a checked script has it.
    pub fn connection(&self, database: &str) -> Arc<Connection> {
        connection("bench", &self.server, database)
    }

    /// Ends the server's side of connections that read the binlog once: it notices only when it has to send something.
    pub async fn end_readers(&self) {
        for row in self.server.query("SHOW PROCESSLIST").await {
            if let [Some(id), .., Some(command), _, _, _, _] = &row[..]
                && command.starts_with("Binlog Dump")
            {
                // It may have noticed in the meantime.
                let _ = self.server.root().await.query_drop(format!("KILL {id}")).await;
            }
        }
        while self.server.dump_threads().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn load(
        &mut self,
        name: &'static str,
        database: &'static str,
        table: &'static str,
        procedure: &str,
        metadata: &str,
        rows: u64,
    ) {
        let began = Instant::now();
        let server = &self.server;
        let place = format!("CREATE DATABASE {database} CHARACTER SET utf8mb4; USE {database}; ");
        server.sql(&format!("{place}{SCHEMA}{PROCEDURES}")).await;
        let fast = "SET GLOBAL innodb_flush_log_at_trx_commit = 0";
        server.sql(&format!("{fast}; SET GLOBAL binlog_row_metadata = {metadata}; FLUSH BINARY LOGS")).await;
        let file = server.value("SHOW MASTER STATUS").await;
        server.sql(&format!("CALL {database}.load_{procedure}({rows})")).await;
        let safe = "SET GLOBAL innodb_flush_log_at_trx_commit = 1";
        server.sql(&format!("{safe}; SET GLOBAL binlog_row_metadata = NO_LOG")).await;
        eprintln!("loaded {name}: {} changes in {}", thousands(rows), seconds(began.elapsed()));
        self.loads.push(Load { name, database, table, rows, file });
    }
}

impl Load {
    /// Where reading it begins.
    pub fn start(&self) -> Start {
        Start::Position { file: self.file.clone(), offset: 4 }
    }

    /// The table that it changes.
    pub fn tables(&self) -> TableSet {
        tables(self.database, self.table)
    }
}

/// One table.
pub fn tables(database: &str, table: &str) -> TableSet {
    TableSet { database: database.into(), include: vec![Pattern(table.into())], exclude: Vec::new() }
}

/// A connection to a server, as a checked script has it.
pub fn connection(name: &str, server: &Server, database: &str) -> Arc<Connection> {
    Arc::new(Connection {
        name: name.into(),
        kind: "mysql",
        endpoint: Endpoint::Url {
            scheme: "mysql".into(),
            user: "root".into(),
            host: server.host().into(),
            port: server.port(),
            database: database.into(),
        },
        settings: Settings::default(),
    })
}
