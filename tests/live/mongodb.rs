//! Shared mining through a log in MongoDB.

use std::time::Duration;

use lode::client::mongodb::database;
use lode::error::Kind;
use lode::run::mine::MineState;
use lode::run::route::RouteState;
use mongodb::bson::{Document, doc};

use crate::servers;
use crate::support::mongodb::{MongoDb, shared_mongodb};
use crate::world::{World, drain, eventually, mine_failure, mines_are, settled};

const SCRIPT: &str = "
    pipeline one = source mysql shop.orders share_mining via mongo.david_mongo_share -> sink sqlite lite.*
    pipeline two = source mysql shop.orders share_mining -> sink sqlite lite.two_orders { mode = append }
    ";

/// The script with the connection to a MongoDB in it.
fn script(server: &MongoDb, name: &str, script: &str) -> String {
    format!("connection mongo = mongodb \"{}\" {{ connect_timeout = 2s }}\n{script}", server.url(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_seen_in_the_collection_and_arrives() {
    let mongo = shared_mongodb();
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world
            .sql("CREATE TABLE orders (id INT PRIMARY KEY, customer VARCHAR(40), amount DECIMAL(10,2))")
            .await;
        let name = mongo.database();
        let engine = world.start(&script(mongo, &name, SCRIPT)).await;
        world.sql("INSERT INTO orders VALUES (1, 'Anna', 12.30);\nUPDATE orders SET amount = 15.00").await;
        eventually("both have the row", async || {
            world.lite_rows("SELECT amount FROM orders") == [["15.00"]]
                && world.lite_number("SELECT COUNT(*) FROM two_orders") == 2
        })
        .await;
        let blocks = mongo.client().database(&name).collection::<Document>("david_mongo_share");
        let table = format!("{}.orders", world.database);
        let found = blocks.find_one(doc! { "tables": &table }).await.unwrap().expect("a block of the table");
        let change = found.get_array("changes").unwrap()[0].as_document().unwrap();
        assert_eq!(change.get_str("op").unwrap(), "insert");
        assert_eq!(change.get_str("table").unwrap(), table);
        let after = change.get_document("after").unwrap();
        assert_eq!(after.get_i32("id").unwrap(), 1);
        assert_eq!(after.get_str("customer").unwrap(), "Anna");
        assert_eq!(after.get_decimal128("amount").unwrap().to_string(), "12.30");
        let status = drain(engine).await;
        assert_eq!(status.mines.len(), 1);

        // What was written is found again, and goes on.
        let engine = world.start(&script(mongo, &name, SCRIPT)).await;
        world.sql("DELETE FROM orders").await;
        eventually("both have the deletion", async || {
            world.lite_number("SELECT COUNT(*) FROM orders") == 0
                && world.lite_number("SELECT COUNT(*) FROM two_orders") == 3
        })
        .await;
        drain(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_waited_for() {
    let mut mongo = MongoDb::start().await;
    let world = World::on(servers::mariadb().await).await;
    world.sql("CREATE TABLE orders (id INT PRIMARY KEY)").await;
    let script = script(&mongo, "logs", SCRIPT);
    let engine = world.start(&script).await;
    let mut rows = 0;
    for kill in [true, false, true] {
        if kill {
            mongo.kill()
        } else {
            mongo.stop()
        }
        world.sql(&format!("INSERT INTO orders VALUES ({rows})")).await;
        let status = settled(&engine, "the mine tries again and the pipelines say so", |status| {
            mines_are(status, |state| matches!(state, MineState::Retrying { .. }))
                && status.pipelines.iter().flat_map(|pipeline| &pipeline.routes).all(|route| {
                    matches!(&route.state, RouteState::Waiting { .. } | RouteState::Retrying { .. })
                })
        })
        .await;
        let MineState::Retrying { error, .. } = &status.mines[0].state else {
            unreachable!("it was looked at")
        };
        assert!(error.contains("log") && error.contains("no server"), "{error}");
        world.sql(&format!("INSERT INTO orders VALUES ({})", rows + 1)).await;
        mongo.start_again().await;
        rows += 2;
        eventually("everything arrives", async || {
            world.lite_number("SELECT COUNT(*) FROM orders") == rows
                && world.lite_number("SELECT COUNT(*) FROM two_orders") == rows
        })
        .await;
    }
    drain(engine).await;
    assert_eq!(world.lite_number("SELECT COUNT(DISTINCT id) FROM two_orders"), rows, "nothing came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_dropped_is_not_written_on() {
    let mongo = shared_mongodb();
    let world = World::on(servers::mariadb().await).await;
    world.sql("CREATE TABLE orders (id INT PRIMARY KEY)").await;
    for dropped in ["david_mongo_share", "david_mongo_share.state"] {
        let name = mongo.database();
        let script =
            script(mongo, &name, SCRIPT).replace("one =", &format!("{}_one =", dropped.replace('.', "_")));
        let connection = mongo.connection(&name);
        let engine = world.start(&script).await;
        let logs = mongo.client().database(database(&connection));
        logs.collection::<Document>(dropped).drop().await.unwrap();
        world.sql("REPLACE INTO orders VALUES (1);\nDELETE FROM orders").await;
        let (kind, error) = mine_failure(&engine).await;
        assert_eq!(kind, Kind::Gap, "{error}");
        assert!(error.contains("dropped") && error.contains("david_mongo_share"), "{error}");
        engine.shutdown(Duration::ZERO).await;
    }
}
