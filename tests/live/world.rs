//! One test's part of a server, and the engines that it runs on it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lode::check::{Input, Source};
use lode::engine::Engine;
use lode::engine::registry::Registry;
use lode::engine::status::{MineStatus, RouteStatus, Status};
use lode::error::{Kind, Result};
use lode::plan::Plan;
use lode::run::mine::MineState;
use lode::run::route::RouteState;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tempfile::TempDir;

use crate::support::servers::Server;

/// How long anything may take that is waited for; the machine may be busy.
const LONGEST: Duration = Duration::from_secs(60);

/// A database with a user of its own, a database to copy into, and a folder with lode's data and an SQLite file.
///
/// The user has the rights of a miner, and all of them in the database to copy into.
pub struct World {
    root: Opts,
    target: Opts,
    pub database: String,
    pub user: String,
    pub dir: TempDir,
}

impl World {
    pub async fn on(server: &Server) -> World {
        World::between(server, server).await
    }

    /// A world whose database to copy into is on another server.
    pub async fn between(server: &Server, target: &Server) -> World {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (database, user) = (format!("shop{number}"), format!("lode{number}"));
        let create_user = format!("CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY 'pw-of-{user}'");
        server
            .run(&[
                &format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"),
                &format!("CREATE TABLE {database}.lode_marks (id INT PRIMARY KEY)"),
                &create_user,
                &format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO {user}@'%'"),
            ])
            .await;
        target
            .run(&[
                &format!("CREATE DATABASE {database}_copy CHARACTER SET utf8mb4"),
                &create_user,
                &format!("GRANT ALL ON {database}_copy.* TO {user}@'%'"),
            ])
            .await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("password"), format!("pw-of-{user}")).expect("the folder is there");
        World { root: server.opts(), target: target.opts(), database, user, dir }
    }

    /// The connections that every script of a test may name: `shop` is mined, `copy` is a database to copy into, `lite`
    /// a file.
    pub fn connections(&self) -> String {
        self.connections_to(&self.root)
    }

    /// The same, with `shop` at another server.
    pub fn connections_at(&self, server: &Server) -> String {
        self.connections_to(&server.opts())
    }

    fn connections_to(&self, opts: &Opts) -> String {
        let (host, port) = (opts.ip_or_hostname(), opts.tcp_port());
        let (target_host, target_port) = (self.target.ip_or_hostname(), self.target.tcp_port());
        let World { user, database, .. } = self;
        format!(
            r#"
            connection shop = mysql "mysql://{user}@{host}:{port}/{database}"
              {{ password = file("password"), heartbeat = 500ms }}
            connection copy = mysql "mysql://{user}@{target_host}:{target_port}/{database}_copy"
              {{ password = file("password") }}
            connection lite = sqlite "lite.db"
            "#
        )
    }

    pub fn engine(&self) -> Engine {
        Engine::new(self.data(), Registry::built_in())
    }

    /// Where engines keep their data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The plan of a script that needs no connections besides its own and [`connections`](Self::connections).
    pub fn plan(&self, engine: &Engine, script: &str) -> Plan {
        self.plan_with(engine, &self.connections(), script)
    }

    pub fn plan_with(&self, engine: &Engine, connections: &str, script: &str) -> Plan {
        let text = |name: &str, text: &str| Source::Text { name: name.into(), text: text.into() };
        let checked = engine.load(&Input {
            scripts: vec![text("connections", connections), text("script", script)],
            ..Input::new(self.dir.path())
        });
        let model = checked.model.unwrap_or_else(|| panic!("{:#?}\nin: {script}", checked.diagnostics));
        engine.plan(&model)
    }

    /// Makes `engine` run exactly this script, and waits until everything runs.
    pub async fn apply(&self, engine: &Engine, script: &str) -> Result<()> {
        self.apply_only(engine, script).await?;
        settled(engine, "everything runs", |status| {
            mines_are(status, is_up) && routes_are(status, is_up_route)
        })
        .await;
        Ok(())
    }

    /// Makes `engine` run exactly this script. Tasks of an engine that was aborted hold its logs for a moment longer.
    pub async fn apply_only(&self, engine: &Engine, script: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            match engine.apply(self.plan(engine, script)).await {
                Err(error) if error.kind() == Kind::Refused && began.elapsed() < Duration::from_secs(5) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// A new engine that runs this script.
    pub async fn start(&self, script: &str) -> Engine {
        let engine = self.engine();
        self.apply(&engine, script).await.expect("the script can be run");
        engine
    }

    /// A table of the source with its database.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.database)
    }

    /// A connection as root to the source's database.
    pub async fn root(&self) -> Conn {
        World::connect(&self.root, &self.database).await
    }

    /// A connection as root to the database to copy into.
    pub async fn target(&self) -> Conn {
        World::connect(&self.target, &format!("{}_copy", self.database)).await
    }

    async fn connect(opts: &Opts, database: &str) -> Conn {
        let opts = OptsBuilder::from_opts(opts.clone())
            .db_name(Some(database))
            .setup(vec!["SET NAMES utf8mb4, time_zone = '+00:00'"]);
        Conn::new(opts).await.expect("root can log in")
    }

    /// Runs statements in the source's database over one connection.
    pub async fn sql(&self, statements: &str) {
        let mut conn = self.root().await;
        for statement in statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{error}\nin: {statement}"));
        }
        conn.disconnect().await.expect("the connection ends");
    }

    /// The only number that a statement in the source's database returns.
    pub async fn number(&self, statement: &str) -> i64 {
        let mut conn = self.root().await;
        let number =
            conn.query_first(statement).await.unwrap_or_else(|error| panic!("{error}\nin: {statement}"));
        conn.disconnect().await.expect("the connection ends");
        number.unwrap_or_else(|| panic!("no number from {statement}"))
    }

    /// The ids of this world's connections that read the binlog.
    pub async fn dump_threads(&self) -> Vec<u64> {
        let mut conn = self.root().await;
        let rows: Vec<mysql_async::Row> = conn.query("SHOW PROCESSLIST").await.expect("root sees all");
        conn.disconnect().await.expect("the connection ends");
        let text =
            |row: &mysql_async::Row, at| row.get::<Option<String>, _>(at).flatten().unwrap_or_default();
        rows.iter()
            .filter(|row| text(row, 1) == self.user && text(row, 4).starts_with("Binlog Dump"))
            .map(|row| row.get(0).expect("an id"))
            .collect()
    }

    /// The SQLite file, or another one beside it.
    pub fn lite(&self, file: &str) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.dir.path().join(file)).expect("an SQLite file");
        db.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        db
    }

    /// The rows of a query of the SQLite file; none when there is no such table yet.
    pub fn lite_rows(&self, query: &str) -> Vec<Vec<String>> {
        let db = self.lite("lite.db");
        let mut query = match db.prepare(query) {
            Ok(query) => query,
            Err(error) if error.to_string().contains("no such table") => return Vec::new(),
            Err(error) => panic!("{error} in: {query}"),
        };
        let columns = query.column_count();
        let rows = query.query_map([], |row| (0..columns).map(|at| row.get_ref(at).map(shown)).collect());
        rows.and_then(Iterator::collect).expect("rows of text")
    }

    /// The only number that a query of the SQLite file returns; 0 when there is no such table yet.
    pub fn lite_number(&self, query: &str) -> i64 {
        self.lite_rows(query).first().map_or(0, |row| row[0].parse().expect("a number"))
    }
}

/// A cell of SQLite as text.
pub fn shown(cell: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(v) => v.to_string(),
        ValueRef::Real(v) => format!("{v:?}"),
        ValueRef::Text(v) => String::from_utf8_lossy(v).into_owned(),
        ValueRef::Blob(v) => v.iter().fold("0x".to_owned(), |hex, byte| hex + format!("{byte:02X}").as_str()),
    }
}

/// Waits until `condition` is true.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < LONGEST, "not within {LONGEST:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the engine's status is as wanted.
pub async fn settled(engine: &Engine, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let began = Instant::now();
    loop {
        let status = engine.status().await;
        if wanted(&status) {
            return status;
        }
        assert!(began.elapsed() < LONGEST, "not within {LONGEST:?}: {what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Delivers what was mined, and ends the engine. Tells how everything ended.
pub async fn drain(engine: Engine) -> Status {
    engine.shutdown(LONGEST).await;
    let status = engine.status().await;
    assert!(
        mines_are(&status, |state| state.is_over()) && routes_are(&status, |state| state.is_over()),
        "ended within {LONGEST:?}: {status:#?}"
    );
    status
}

/// Ends the engine at once, as its last owner would.
pub async fn abort(engine: Engine) {
    engine.abort().await;
    settled(&engine, "everything ends", |status| {
        mines_are(status, |state| state.is_over()) && routes_are(status, |state| state.is_over())
    })
    .await;
}

pub fn mines_are(status: &Status, wanted: impl Fn(&MineState) -> bool) -> bool {
    status.mines.iter().all(|mine| wanted(&mine.state))
}

pub fn routes_are(status: &Status, wanted: impl Fn(&RouteState) -> bool) -> bool {
    routes(status).all(|route| wanted(&route.state))
}

pub fn routes(status: &Status) -> impl Iterator<Item = &RouteStatus> {
    status.pipelines.iter().flat_map(|pipeline| &pipeline.routes)
}

/// The only route of a pipeline.
pub fn route<'a>(status: &'a Status, pipeline: &str) -> &'a RouteStatus {
    let pipeline =
        status.pipelines.iter().find(|known| known.name == pipeline).expect("the pipeline is there");
    assert_eq!(pipeline.routes.len(), 1);
    &pipeline.routes[0]
}

/// Waits until a mine has failed, and returns why.
pub async fn mine_failure(engine: &Engine) -> (Kind, String) {
    let failed = |mine: &MineStatus| match &mine.state {
        MineState::Failed { kind, error, advice } => Some((*kind, with_advice(error, advice.as_deref()))),
        _ => None,
    };
    let status =
        settled(engine, "the mine fails", |status| status.mines.iter().any(|mine| failed(mine).is_some()));
    status.await.mines.iter().find_map(failed).expect("it has failed")
}

/// An error with its advice, as a person is shown both.
pub fn with_advice(error: &str, advice: Option<&str>) -> String {
    advice.map_or_else(|| error.to_owned(), |advice| format!("{error}; {advice}"))
}

fn is_up(state: &MineState) -> bool {
    *state == MineState::Running || state.is_over()
}

fn is_up_route(state: &RouteState) -> bool {
    *state == RouteState::Running || state.is_over()
}
