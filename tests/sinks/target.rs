//! Targets of the tests, and short ways to make schemas, rows and changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use lode::model::block::Op;
use lode::model::change::{Batch, Change};
use lode::model::connection::{Connection, Endpoint};
use lode::model::position::{Cursor, Seq};
use lode::model::row::Row;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use lode::model::table::TableName;
use lode::model::value::Value;
use lode::sink::{Sink, SinkKind, SinkRoute};
use mysql_async::prelude::Queryable;

use crate::mongodb;
use crate::support::mongodb::{MongoDb, shared_mongodb};
use crate::support::oracle::Oracle;
use crate::support::servers;

pub const INT: ColumnType = ColumnType::Int { bits: 32, unsigned: false };
pub const TEXT: ColumnType = ColumnType::VarChar { chars: 40 };

/// A database of its own.
pub struct Target {
    pub kind: &'static str,
    connection: Arc<Connection>,
    folder: tempfile::TempDir,
    oracle: Option<OracleSchema>,
}

/// A schema of an Oracle server. A real server has one for all tests, which take turns then.
struct OracleSchema {
    server: Oracle,
    _turn: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Target {
    /// One of each kind that has tables.
    pub async fn all() -> Vec<Target> {
        vec![Target::sqlite(), Target::mysql().await, Target::oracle().await]
    }

    /// Those whose types are the source's own, or hold any value as it is.
    pub async fn exact() -> Vec<Target> {
        vec![Target::sqlite(), Target::mysql().await]
    }

    pub fn sqlite() -> Target {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Path(folder.path().join("mart.db"));
        Target { kind: "sqlite", connection: connection("sqlite", endpoint, &[]), folder, oracle: None }
    }

    /// Those and the one that has documents, for tests that ask no more than its rows.
    pub async fn every() -> Vec<Target> {
        let mut all = Target::all().await;
        all.push(Target::mongodb().await);
        all
    }

    pub async fn mongodb() -> Target {
        Target::documents(shared_mongodb())
    }

    /// A database of a MongoDB.
    pub fn documents(server: &MongoDb) -> Target {
        let connection = server.connection(&server.database());
        Target { kind: "mongodb", connection, folder: tempfile::tempdir().unwrap(), oracle: None }
    }

    pub async fn mysql() -> Target {
        Target::on(servers::shared_mariadb()).await
    }

    /// A database of a server of MariaDB or MySQL.
    pub async fn on(server: &servers::Server) -> Target {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // A server that is not the test's own may hold databases of earlier runs.
        let database = format!("lode_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let port = server.port();
        let endpoint = |database: &str| Endpoint::Url {
            scheme: "mysql".into(),
            user: "root".into(),
            host: "127.0.0.1".into(),
            port,
            database: database.into(),
        };
        let folder = tempfile::tempdir().unwrap();
        let target = Target {
            kind: "mysql",
            connection: connection("mysql", endpoint("mysql"), &[]),
            folder,
            oracle: None,
        };
        target.run(&format!("CREATE DATABASE {database}")).await;
        Target { connection: connection("mysql", endpoint(&database), &[]), ..target }
    }

    pub async fn oracle() -> Target {
        static TURNS: LazyLock<Arc<tokio::sync::Mutex<()>>> = LazyLock::new(Arc::default);
        let server = Oracle::shared();
        let turn = match server.is_stand_in() {
            true => None,
            false => Some(TURNS.clone().lock_owned().await),
        };
        if turn.is_some() {
            for table in server.query("SELECT TABLE_NAME FROM USER_TABLES").into_iter().flatten().flatten() {
                server.run(&[&format!("DROP TABLE \"{table}\" CASCADE CONSTRAINTS PURGE")]);
            }
        }
        let endpoint = Endpoint::Url {
            scheme: "oracle".into(),
            user: server.user().into(),
            host: server.host().into(),
            port: server.port(),
            database: server.service().into(),
        };
        let mut settings = vec![("password", Setting::Secret(Secret::new(server.password())))];
        settings.extend(server.client_lib().map(|folder| ("client_lib", Setting::Path(folder))));
        Target {
            kind: "oracle",
            connection: connection("oracle", endpoint, &settings),
            folder: tempfile::tempdir().unwrap(),
            oracle: Some(OracleSchema { server, _turn: turn }),
        }
    }

    pub fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    pub fn sink(&self) -> Box<dyn Sink> {
        self.sink_with("p/shop/1", "*", &[])
    }

    pub fn sink_with(&self, key: &str, target: &str, settings: &[(&'static str, Setting)]) -> Box<dyn Sink> {
        let route = SinkRoute {
            key: key.into(),
            connection: Some(self.connection.clone()),
            target: target.into(),
            settings: Settings(settings.iter().cloned().collect::<BTreeMap<_, _>>()),
            state_dir: self.folder.path().join("state"),
        };
        match self.kind {
            "sqlite" => lode::sink::sqlite::Sqlite.sink(route).unwrap(),
            "mongodb" => lode::sink::mongodb::Mongodb.sink(route).unwrap(),
            "oracle" => lode::sink::oracle::Oracle.sink(route).unwrap(),
            _ => lode::sink::mysql::Mysql.sink(route).unwrap(),
        }
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        if self.kind == "mongodb" {
            return mongodb::run(&self.connection, sql).await;
        }
        if let Some(OracleSchema { server, .. }) = &self.oracle {
            // The length of a text counts bytes there, unless it says otherwise.
            return server.run(&[&sql.replace("VARCHAR(40)", "VARCHAR2(40 CHAR)")]);
        }
        match &self.connection.endpoint {
            Endpoint::Path(path) => rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap(),
            Endpoint::Url { .. } | Endpoint::Web { .. } => {
                let mut conn = self.connect().await;
                conn.query_drop(sql).await.unwrap();
                conn.disconnect().await.unwrap();
            }
        }
    }

    /// The rows of a query, each value as its text and NULL as `NULL`, sorted.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        if let Some(OracleSchema { server, .. }) = &self.oracle {
            let text = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".into());
            let mut rows: Vec<String> = server
                .query(sql)
                .into_iter()
                .map(|row| row.into_iter().map(text).collect::<Vec<_>>().join("|"))
                .collect();
            rows.sort();
            return rows;
        }
        let mut rows = match &self.connection.endpoint {
            Endpoint::Path(path) => rows_of_file(path, sql),
            Endpoint::Url { .. } if self.kind == "mongodb" => mongodb::rows(&self.connection, sql).await,
            Endpoint::Url { .. } | Endpoint::Web { .. } => {
                let mut conn = self.connect().await;
                let rows: Vec<mysql_async::Row> = conn.query(sql).await.unwrap();
                conn.disconnect().await.unwrap();
                rows.into_iter()
                    .map(|row| row.unwrap().iter().map(text_of).collect::<Vec<_>>().join("|"))
                    .collect()
            }
        };
        rows.sort();
        rows
    }

    async fn connect(&self) -> mysql_async::Conn {
        let options = lode::client::mysql::options(&self.connection).unwrap();
        mysql_async::Conn::new(options).await.unwrap()
    }
}

fn connection(
    kind: &'static str,
    endpoint: Endpoint,
    settings: &[(&'static str, Setting)],
) -> Arc<Connection> {
    let settings = Settings(settings.iter().cloned().collect());
    Arc::new(Connection { name: "mart".into(), kind, endpoint, settings })
}

fn rows_of_file(path: &PathBuf, sql: &str) -> Vec<String> {
    let db = rusqlite::Connection::open(path).unwrap();
    let mut query = db.prepare(sql).unwrap();
    let columns = query.column_count();
    let rows = query.query_map([], |row| {
        let cells = (0..columns).map(|at| {
            use rusqlite::types::ValueRef;
            Ok(match row.get_ref(at)? {
                ValueRef::Null => "NULL".into(),
                ValueRef::Integer(v) => v.to_string(),
                ValueRef::Real(v) => format!("{v:?}"),
                ValueRef::Text(v) => String::from_utf8_lossy(v).into_owned(),
                ValueRef::Blob(v) => hex(v),
            })
        });
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn text_of(value: &mysql_async::Value) -> String {
    match value {
        mysql_async::Value::NULL => "NULL".into(),
        mysql_async::Value::Bytes(bytes) => {
            String::from_utf8(bytes.clone()).unwrap_or_else(|error| hex(error.as_bytes()))
        }
        other => other.as_sql(true),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A table `shop.<name>`; a column whose type is followed by `true` may be NULL.
pub fn schema(
    name: &str,
    columns: &[(&str, ColumnType, bool)],
    key: &[u16],
    unique: &[&[u16]],
) -> Arc<TableSchema> {
    let column = |(name, ty, nullable): &(&str, ColumnType, bool)| Column {
        name: (*name).into(),
        ty: ty.clone(),
        nullable: *nullable,
    };
    Arc::new(TableSchema {
        name: TableName::new("shop", name),
        columns: columns.iter().map(column).collect(),
        primary_key: key.to_vec(),
        unique_keys: unique.iter().map(|key| key.to_vec()).collect(),
    })
}

pub fn row(schema: &Arc<TableSchema>, values: &[Value<'_>]) -> Row {
    Row::encode(schema.clone(), &values.iter().cloned().map(Some).collect::<Vec<_>>()).unwrap()
}

pub fn some(schema: &Arc<TableSchema>, values: &[Option<Value<'_>>]) -> Row {
    Row::encode(schema.clone(), values).unwrap()
}

pub fn insert(after: Row) -> Change {
    change(Op::Insert, None, Some(after))
}

pub fn update(before: Row, after: Row) -> Change {
    change(Op::Update, Some(before), Some(after))
}

pub fn delete(before: Row) -> Change {
    change(Op::Delete, Some(before), None)
}

pub fn truncate(schema: &Arc<TableSchema>) -> Change {
    Change { table: schema.clone(), ..change_of(schema, Op::Truncate) }
}

fn change(op: Op, before: Option<Row>, after: Option<Row>) -> Change {
    let table = after.as_ref().or(before.as_ref()).unwrap().schema.clone();
    Change { before, after, ..change_of(&table, op) }
}

fn change_of(table: &Arc<TableSchema>, op: Op) -> Change {
    Change { seq: Seq(7), op, table: table.clone(), before: None, after: None, time_ms: 1_700_000_000_123 }
}

/// Changes that are durable up to `next`.
pub fn batch(changes: Vec<Change>, next: u64) -> Batch {
    Batch { changes: changes.into(), cursor: Some(cursor(next)) }
}

/// Changes in the middle of a transaction.
pub fn part(changes: Vec<Change>) -> Batch {
    Batch { changes: changes.into(), cursor: None }
}

pub fn cursor(next: u64) -> Cursor {
    Cursor { source: String::new(), log: None, next: Seq(next), position: None, direct: None }
}

pub fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}
