//! The servers that live tests start: each flavour starts, writes its binlog, and survives what tests do to it.

mod support;

use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use support::mongodb::MongoDb;
use support::servers::{MariaDb, MySql, Server};

#[tokio::test]
async fn mariadb_starts_and_writes_a_binlog() {
    let mut server = MariaDb::start(&["--binlog-row-metadata=FULL"]).await;
    assert_eq!(server.value("SELECT @@binlog_row_metadata").await, "FULL");
    writes_a_binlog(&mut server, "SHOW MASTER STATUS").await;
}

#[tokio::test]
async fn mysql_starts_and_writes_a_binlog() {
    let mut server = MySql::start(&[]).await;
    assert_eq!(server.value("SELECT @@gtid_mode").await, "ON");
    writes_a_binlog(&mut server, "SHOW BINARY LOG STATUS").await;
}

async fn writes_a_binlog(server: &mut Server, status: &str) {
    assert_eq!(server.value("SELECT @@binlog_format").await, "ROW");
    let before = offset(server, status).await;
    server
        .sql(
            "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, name TEXT);
         INSERT INTO shop.t VALUES (1, NULL), (2, 'two')",
        )
        .await;
    assert!(offset(server, status).await > before);
    let rows = [vec![Some("1".to_owned()), None], vec![Some("2".to_owned()), Some("two".to_owned())]];
    assert_eq!(server.query("SELECT * FROM shop.t").await, rows);
    assert_eq!(server.dump_threads().await, 0);

    let port = server.port();
    server.kill();
    server.start_again().await;
    server.freeze();
    server.thaw();
    server.restart().await;
    assert_eq!((server.port(), server.query("SELECT * FROM shop.t").await), (port, rows.to_vec()));
}

async fn offset(server: &Server, status: &str) -> u64 {
    let rows = server.query(status).await;
    rows[0][1].as_ref().and_then(|offset| offset.parse().ok()).expect("an offset")
}

#[tokio::test]
async fn mongodb_starts_and_keeps_what_was_acknowledged() {
    let mut server = MongoDb::start().await;
    let database = server.client().database(&server.database());
    let (rows, port) = (database.collection::<Document>("rows"), server.port());
    let majority = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    for id in 0..20 {
        rows.insert_one(doc! { "_id": id }).write_concern(majority.clone()).await.unwrap();
    }
    server.kill();
    server.start_again().await;
    assert_eq!(rows.count_documents(doc! {}).await.unwrap(), 20);
    server.freeze();
    server.thaw();
    server.restart().await;
    assert_eq!((server.port(), rows.count_documents(doc! {}).await.unwrap()), (port, 20));
}
