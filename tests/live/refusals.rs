//! What lode does not go on with, and what it says then: the servers' words, and what to do next.

use lode::engine::Engine;
use lode::error::Kind;

use crate::cases::neutral;
use crate::servers;
use crate::support::servers::{MariaDb, MySql, Server};
use crate::world::{World, drain, eventually, mine_failure, with_advice};

const SCRIPT: &str = "pipeline copy = source mysql shop.t share_mining -> sink sqlite lite.*";

/// The failure of a mine, as people see it.
async fn said(world: &World, server: &Server, engine: &Engine) -> String {
    let (kind, error) = mine_failure(engine).await;
    let port = server.port().to_string();
    format!("{kind:?}: {}", neutral(&error, world).replace(&port, "PORT"))
}

async fn said_at_start(world: &World, server: &Server) -> String {
    let engine = world.engine();
    engine.apply(world.plan(&engine, SCRIPT)).await.expect("a mine that cannot start fails no pipeline");
    let said = said(world, server, &engine).await;
    drain(engine).await;
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password() {
    for (name, server) in [("mariadb", servers::mariadb().await), ("mysql", servers::mysql().await)] {
        let world = World::on(server).await;
        std::fs::write(world.dir.path().join("password"), "not-the-one").unwrap();
        let said = said_at_start(&world, server).await;
        assert!(!said.contains("not-the-one"));
        insta::assert_snapshot!(format!("password_{name}"), said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights() {
    for (name, server) in [("mariadb", servers::mariadb().await), ("mysql", servers::mysql().await)] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
        for (right, statement) in [
            ("client", "REVOKE REPLICATION CLIENT ON *.* FROM"),
            ("slave", "REVOKE REPLICATION SLAVE ON *.* FROM"),
        ] {
            world.sql(&format!("{statement} {}", world.user)).await;
            insta::assert_snapshot!(format!("rights_{right}_{name}"), said_at_start(&world, server).await);
            world.sql(&format!("GRANT REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO {}", world.user)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_user_may_not_see() {
    let server = servers::mariadb().await;
    let world = World::on(server).await;
    world.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    world.sql(&format!("REVOKE SELECT ON *.* FROM {}", world.user)).await;
    world.sql(&format!("GRANT SELECT ON {}_copy.* TO {}", world.database, world.user)).await;
    world.sql(&format!("GRANT SELECT ON {}.lode_marks TO {}", world.database, world.user)).await;
    let engine = world.start(SCRIPT).await;
    world.sql("INSERT INTO t VALUES (1)").await;
    insta::assert_snapshot!("rights_select_mariadb", said(&world, server, &engine).await);
    drain(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server() {
    let (mariadb, mysql, full) =
        (servers::mariadb().await, servers::mysql().await, servers::mariadb_full().await);
    for (name, server, other) in [("mariadb", mariadb, full), ("mysql", mysql, mariadb)] {
        let world = World::on(server).await;
        world.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
        let engine = world.start(SCRIPT).await;
        world.sql("INSERT INTO t VALUES (1)").await;
        eventually("it is delivered", async || world.lite_number("SELECT COUNT(*) FROM t") == 1).await;
        drain(engine).await;

        // The same names and password, so that only the server differs.
        let World { user, database, .. } = &world;
        other
            .run(&[
                &format!("CREATE DATABASE IF NOT EXISTS {database}"),
                &format!("CREATE TABLE IF NOT EXISTS {database}.t (id INT PRIMARY KEY)"),
                &format!("CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY 'pw-of-{user}'"),
                &format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO {user}@'%'"),
            ])
            .await;
        let engine = world.engine();
        let plan = world.plan_with(&engine, &world.connections_at(other), SCRIPT);
        engine.apply(plan).await.unwrap();
        other.sql(&format!("INSERT INTO {database}.t VALUES (2)")).await;
        let (kind, error) = mine_failure(&engine).await;
        drain(engine).await;
        assert_eq!(world.lite_number("SELECT COUNT(*) FROM t"), 1, "nothing of the other server came");
        assert_eq!(kind, Kind::Refused);
        let error = error.split(['(', ')']).enumerate().map(|(at, part)| if at == 1 { "(ID)" } else { part });
        let error: String = error.collect();
        let (words, id) = error.split_once("this one is ").expect("it names both servers");
        let (_, advice) = id.split_once("; ").expect("there is advice");
        insta::assert_snapshot!(format!("another_server_{name}"), format!("{words}this one is ID; {advice}"));

        // Back at the right one, it goes on.
        world.sql("INSERT INTO t VALUES (3)").await;
        let engine = world.start(SCRIPT).await;
        eventually("it goes on", async || world.lite_number("SELECT COUNT(*) FROM t") == 2).await;
        drain(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_place_and_statements_on_mariadb() {
    a_purged_place_and_statements("mariadb", MariaDb::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_place_and_statements_on_mysql() {
    a_purged_place_and_statements("mysql", MySql::start(&[]).await).await;
}

async fn a_purged_place_and_statements(name: &str, server: Server) {
    let world = World::on(&server).await;
    world.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let direct = "pipeline direct = source mysql shop.t -> sink sqlite lite.direct_t";
    let script = format!("{SCRIPT}\n{direct}");
    let engine = world.start(&script).await;
    world.sql("INSERT INTO t VALUES (1)").await;
    eventually("it is delivered", async || {
        world.lite_number("SELECT COUNT(*) FROM t") + world.lite_number("SELECT COUNT(*) FROM direct_t") == 2
    })
    .await;
    drain(engine).await;

    world
        .sql("INSERT INTO t VALUES (2);\nFLUSH BINARY LOGS;\nINSERT INTO t VALUES (3);\nFLUSH BINARY LOGS")
        .await;
    let newest =
        server.query("SHOW BINARY LOGS").await.pop().and_then(|row| row.into_iter().next().flatten());
    world.sql(&format!("PURGE BINARY LOGS TO '{}'", newest.expect("a file"))).await;
    let engine = world.engine();
    engine.apply(world.plan(&engine, &script)).await.unwrap();
    let mine = said(&world, &server, &engine).await;
    let status = crate::world::settled(&engine, "the direct one fails", |status| {
        crate::world::route(status, "direct").state.is_over()
    })
    .await;
    let lode::run::route::RouteState::Failed { kind, error, advice, .. } =
        &crate::world::route(&status, "direct").state
    else {
        panic!("{status:#?}")
    };
    let error = with_advice(error, advice.as_deref());
    assert_eq!(*kind, Kind::Gap);
    let own = neutral(&error, &world).replace(&server.port().to_string(), "PORT");
    drain(engine).await;
    // Places of GTIDs differ.
    let digits = |text: &str| {
        text.split(' ')
            .map(|word| {
                if word.contains('-') && word.contains(|sign: char| sign.is_ascii_digit()) {
                    "GTID"
                } else {
                    word
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    insta::assert_snapshot!(format!("purged_{name}"), digits(&mine));
    insta::assert_snapshot!(format!("purged_direct_{name}"), digits(&own));
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM t"), 1, "what is behind the gap is not delivered");

    // The way out that the advice names.
    let renamed =
        script.replace("pipeline copy", "pipeline copy_2").replace("pipeline direct", "pipeline direct_2");
    let engine = world.start(&format!("share_mining shop via embedded.second\n{renamed}")).await;
    world.sql("INSERT INTO t VALUES (4)").await;
    eventually("it goes on behind the gap", async || {
        world.lite_number("SELECT COUNT(*) FROM t") + world.lite_number("SELECT COUNT(*) FROM direct_t") == 4
    })
    .await;
    drain(engine).await;

    world.sql("SET GLOBAL binlog_format = 'STATEMENT'").await;
    insta::assert_snapshot!(format!("statement_{name}"), said_at_start(&world, &server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_binlog() {
    for (name, server) in [
        ("mariadb", MariaDb::start(&["--skip-log-bin"]).await),
        ("mysql", MySql::start(&["--skip-log-bin"]).await),
    ] {
        let world = World::on(&server).await;
        insta::assert_snapshot!(format!("no_binlog_{name}"), said_at_start(&world, &server).await);
    }
}
