//! The cases of `golden/live`: `name.lode` is what runs, `name.sql` what happens at the source, and the snapshot `name.snap`
//! what is then at the other end, together with everything that failed.
//!
//! Statements are run in order. A line of its own tells lode what to do: `-- lode: start`, `-- lode: wait` (until
//! everything so far is mined), `-- lode: stop`. At the end lode is waited for and stopped. A first line
//! `-- only: mysql` or `-- only: mariadb, mariadb_full` names the servers of a case; otherwise all of them must agree on
//! one snapshot.
//!
//! Besides `shop`, which is mined, scripts name `lite`, an SQLite file, and `copy`, a database on the same server or on one
//! of the other kind. A table of the source that has a table of the same name there is compared with it, value by value;
//! what differs stands in the snapshot.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use lode::engine::Engine;
use lode::engine::status::Status;
use lode::run::mine::MineState;
use lode::run::route::RouteState;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::support::servers::Server;
use crate::world::{World, drain, eventually, with_advice};
use crate::{parity, servers};

/// Cases that run at a time on one server.
const TOGETHER: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb() {
    let server = servers::mariadb().await;
    run_all(Case::all("mariadb"), server, server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_full() {
    let server = servers::mariadb_full().await;
    run_all(Case::all("mariadb_full"), server, server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mysql() {
    let server = servers::mysql().await;
    run_all(Case::all("mysql"), server, server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mariadb_into_mysql() {
    run_all(Case::with_copies("mariadb"), servers::mariadb().await, servers::mysql().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mysql_into_mariadb() {
    run_all(Case::with_copies("mysql"), servers::mysql().await, servers::mariadb().await).await;
}

async fn run_all(cases: Vec<Case>, server: &Server, target: &Server) {
    assert!(cases.len() >= 4, "the cases are there");
    for cases in cases.chunks(TOGETHER) {
        let outcomes = join_all(cases.iter().map(|case| case.run(server, target))).await;
        for (case, outcome) in cases.iter().zip(outcomes) {
            insta::with_settings!({
                snapshot_path => "../golden/live",
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                insta::assert_snapshot!(case.name.as_str(), outcome);
            });
        }
    }
}

struct Case {
    name: String,
    script: String,
    statements: String,
}

impl Case {
    /// The cases for a server.
    fn all(server: &str) -> Vec<Case> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/live");
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        let mut scripts: Vec<PathBuf> = entries
            .map(|entry| entry.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "lode"))
            .collect();
        scripts.sort();
        let read = |path: &Path| {
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let cases = scripts.iter().map(|path| Case {
            name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
            script: read(path),
            statements: read(&path.with_extension("sql")),
        });
        let is_meant = |case: &Case| match case
            .statements
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("-- only: "))
        {
            Some(servers) => servers.split(", ").any(|known| known == server),
            None => true,
        };
        cases.filter(is_meant).collect()
    }

    /// Those that copy into another server, and mean all servers: two of them may be different, then.
    fn with_copies(server: &str) -> Vec<Case> {
        let is_meant =
            |case: &Case| case.script.contains(" copy.") && !case.statements.starts_with("-- only: ");
        Case::all(server).into_iter().filter(is_meant).collect()
    }

    async fn run(&self, server: &Server, target: &Server) -> String {
        let world = World::between(server, target).await;
        let mut conn = world.root().await;
        // A pipeline of the rig's own shows what is mined: everything before a mark that came through.
        let script = format!(
            "{}\npipeline lode_marks = source mysql shop.lode_marks share_mining -> sink sqlite lite.lode_marks",
            self.script
        );
        let mut stage = Stage { world: &world, script, engine: None, mark: 0, failures: Vec::new() };
        let mut pending = String::new();
        for line in self.statements.lines() {
            match line.strip_prefix("-- lode: ") {
                Some(command) => {
                    execute(&mut conn, &std::mem::take(&mut pending)).await;
                    stage.command(command, &mut conn).await;
                }
                None if line.starts_with("-- ") => {}
                None => {
                    pending.push_str(line);
                    pending.push('\n');
                }
            }
        }
        execute(&mut conn, &pending).await;
        if stage.engine.is_some() {
            stage.command("wait", &mut conn).await;
            stage.command("stop", &mut conn).await;
        }
        let differences: Vec<_> = [parity::in_sqlite(&world).await, parity::copied(&world).await]
            .into_iter()
            .flat_map(|outcome| outcome.differences)
            .collect();
        let rows = contents(&world);
        let remarks =
            differences.into_iter().chain(stage.failures).map(|remark| neutral(&remark, &world) + "\n");
        conn.disconnect().await.expect("the connection ends");
        let outcome: String = std::iter::once(rows).chain(remarks).collect();
        assert!(!outcome.is_empty(), "{}: something must come of it", self.name);
        outcome
    }
}

/// Runs statements in order; one that takes several lines ends with a semicolon at the end of a line.
async fn execute(conn: &mut Conn, statements: &str) {
    for statement in statements.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{error}\nin: {statement}"));
    }
}

/// The engine of a running case.
struct Stage<'w> {
    world: &'w World,
    script: String,
    engine: Option<Engine>,
    mark: u32,
    failures: Vec<String>,
}

impl Stage<'_> {
    async fn command(&mut self, command: &str, conn: &mut Conn) {
        match (command, self.engine.take()) {
            ("start", None) => self.engine = Some(self.world.start(&self.script).await),
            ("wait", Some(engine)) => {
                self.mark += 1;
                execute(conn, &format!("INSERT INTO lode_marks VALUES ({})", self.mark)).await;
                self.wait(&engine).await;
                self.engine = Some(engine);
            }
            ("stop", Some(engine)) => {
                self.note_failures(&drain(engine).await);
            }
            (command, _) => panic!("`-- lode: {command}` is not known, or not possible here"),
        }
    }

    /// Until the newest mark is delivered, or the mine has failed.
    async fn wait(&self, engine: &Engine) {
        eventually("the mark is delivered", async || {
            let failed = |status: &Status| {
                status.mines.iter().any(|mine| matches!(mine.state, MineState::Failed { .. }))
            };
            failed(&engine.status().await)
                || self.world.lite_number("SELECT COUNT(*) FROM lode_marks") == i64::from(self.mark)
        })
        .await;
    }

    fn note_failures(&mut self, status: &Status) {
        for mine in &status.mines {
            if let MineState::Failed { kind, error, advice } = &mine.state {
                let error = with_advice(error, advice.as_deref());
                self.failures.push(format!("mine {} failed: {kind:?}: {error}", mine.name));
            }
        }
        for route in status.pipelines.iter().flat_map(|pipeline| &pipeline.routes) {
            if let RouteState::Failed { kind, error, advice, .. } = &route.state {
                let error = with_advice(error, advice.as_deref());
                self.failures.push(format!("route {} failed: {kind:?}: {error}", route.key));
            }
            if route.figures.rows_aside > 0 {
                self.failures.push(format!("route {} set {} aside", route.key, route.figures.rows_aside));
            }
        }
    }
}

/// All tables of the SQLite file with their rows, and the files beside it that a jsonl sink or a failing hook wrote.
fn contents(world: &World) -> String {
    let mut text = String::new();
    let tables = world.lite_rows(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'lode\\_%' ESCAPE '\\' ORDER BY name",
    );
    for table in tables.iter().map(|row| &row[0]) {
        let columns: Vec<String> = world
            .lite_rows(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .into_iter()
            .map(|row| row[0].clone())
            // They differ between runs.
            .filter(|name| !matches!(name.as_str(), "_seq" | "_ts"))
            .collect();
        text += &format!("{table} ({})\n", columns.join(", "));
        let list: Vec<_> = columns.iter().map(|name| format!("\"{name}\"")).collect();
        for row in world.lite_rows(&format!("SELECT {} FROM \"{table}\" ORDER BY rowid", list.join(", "))) {
            text += &format!("  {}\n", row.iter().map(|cell| shorten(cell)).collect::<Vec<_>>().join(" | "));
        }
    }
    text
}

fn shorten(cell: &str) -> String {
    let cell = cell.escape_debug().to_string();
    match cell.char_indices().nth(80) {
        Some((end, _)) => format!("{}… {} bytes", &cell[..end], cell.len()),
        None => cell,
    }
}

/// A message without what differs between runs: database, place in the binlog, number of the log's entry.
pub fn neutral(message: &str, world: &World) -> String {
    let message = message.replace(&world.database, "shop").replace(&world.user, "lode");
    let mut text = String::new();
    let mut rest = message.as_str();
    // binlog.000001:1234
    while let Some(at) = rest.find("binlog.0") {
        text += &rest[..at];
        let place = &rest[at + "binlog.".len()..];
        let end = place.find(|sign: char| !sign.is_ascii_digit() && sign != ':').unwrap_or(place.len());
        let place = place[..end].trim_end_matches(':');
        text += if place.contains(':') { "FILE:OFFSET" } else { "FILE" };
        rest = &rest[at + "binlog.".len() + place.len()..];
    }
    text += rest;
    if let Some((before, rest)) = text.split_once("(entry ") {
        let rest = rest.trim_start_matches(|sign: char| sign.is_ascii_digit());
        text = format!("{before}(entry N{rest}");
    }
    text
}
