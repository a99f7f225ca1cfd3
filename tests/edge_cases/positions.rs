//! Places in the log: sets of GTIDs with gaps, several domains, files whose numbers grow a digit.

use lode::error::Kind;
use lode::model::position::Position;
use lode::model::spec::{Setting, Start};

use crate::reading::{Reading, selection, source};
use crate::support::servers::{MariaDb, MySql, Server};

async fn with_table(server: &Server) {
    server.run(&["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"]).await;
}

/// From each commit on, exactly the rest comes.
async fn resume_everywhere(server: &Server, start: &Position, ops: usize) {
    let source = source(&server.miner("shop").await);
    let mut whole = Reading::from(&source, start, "shop").await;
    whole.go_on().await.unwrap().must_equal(server, "shop").await;
    assert_eq!(whole.copy.ops.len(), ops);
    for (place, before) in &whole.copy.commits {
        let mut rest = Reading::from(&source, place, "shop").await;
        assert_eq!(rest.go_on().await.unwrap().ops, whole.copy.ops[*before..], "from {place}");
    }
}

#[tokio::test]
async fn sets_of_gtids_with_gaps() {
    let server = MySql::start(&[]).await;
    with_table(&server).await;
    let start = source(&server.miner("shop").await).resolve(&Start::Now).await.unwrap();
    let (one, two) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "00000000-0000-0000-0000-000000000001");
    for (id, gtid) in
        [(one, 5), (two, 7), (one, 3), (one, 9), (two, 1), (one, 4), (two, 9_223_372_036_854_775_805_u64)]
            .into_iter()
            .enumerate()
    {
        let (uuid, number) = gtid;
        server
            .run(&[
                &format!("SET gtid_next = '{uuid}:{number}'"),
                &format!("INSERT INTO shop.t VALUES ({id})"),
                "SET gtid_next = 'AUTOMATIC'",
                &format!("INSERT INTO shop.t VALUES ({})", 100 + id),
            ])
            .await;
    }
    resume_everywhere(&server, &start, 14).await;
}

#[tokio::test]
async fn domains_and_servers_of_mariadb() {
    let server = MariaDb::start(&[]).await;
    with_table(&server).await;
    let start = source(&server.miner("shop").await).resolve(&Start::Now).await.unwrap();
    for (id, (domain, server_id)) in
        [(0, 1), (2, 1), (7, 9), (0, 5), (2, 5), (0, 1), (7, 9)].into_iter().enumerate()
    {
        server
            .run(&[
                &format!("SET SESSION gtid_domain_id = {domain}, server_id = {server_id}"),
                &format!("INSERT INTO shop.t VALUES ({id}), ({})", id + 100),
                "FLUSH BINARY LOGS",
            ])
            .await;
    }
    resume_everywhere(&server, &start, 14).await;
}

/// A GTID counts as read when its transaction has ended, not when it begins.
#[tokio::test]
async fn a_gtid_joins_the_set_at_the_commit() {
    for server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        with_table(&server).await;
        let mut reading = Reading::now(&server, "shop").await;
        let values: Vec<String> = (0..20_000).map(|id| format!("({id})")).collect();
        server.run(&[&format!("INSERT INTO shop.t VALUES {}", values.join(","))]).await;
        let now = reading.source.resolve(&Start::Now).await.unwrap();
        let copy = reading.go_on().await.unwrap();
        let at: Vec<usize> =
            copy.commits.iter().filter(|(place, _)| place.gtid == now.gtid).map(|(_, ops)| *ops).collect();
        assert_eq!(at, [20_000]);
    }
}

#[tokio::test]
async fn file_numbers_grow_a_digit() {
    let mut server = MariaDb::start(&[]).await;
    with_table(&server).await;
    server.stop();
    // The server goes on from the highest number that its index has.
    let data = server.data();
    let index = data.join("binlog.index");
    let last = std::fs::read_to_string(&index).unwrap().lines().last().unwrap().to_owned();
    let renamed = last.replace("000001", "999998");
    assert_ne!(last, renamed);
    let path = |name: &str| data.join(std::path::Path::new(name).file_name().unwrap());
    std::fs::rename(path(&last), path(&renamed)).unwrap();
    std::fs::write(&index, renamed + "\n").unwrap();
    server.start_again().await;
    let start = source(&server.miner("shop").await).resolve(&Start::Now).await.unwrap();
    for id in 0..6 {
        server.run(&[&format!("INSERT INTO shop.t VALUES ({id})"), "FLUSH BINARY LOGS"]).await;
    }
    resume_everywhere(&server, &start, 6).await;
    let mut reading = Reading::from(&source(&server.miner("shop").await), &start, "shop").await;
    let commits = &reading.go_on().await.unwrap().commits;
    let files: Vec<&str> = commits.iter().map(|(place, _)| place.file.as_str()).collect();
    assert!(files.contains(&"binlog.999999") && files.contains(&"binlog.1000000"), "{files:?}");
    // By file and position, too, and from files.
    let source = source(&server.miner("shop").await);
    for (place, before) in commits {
        let by_file = Position { gtid: String::new(), ..place.clone() };
        let mut rest = Reading::from(&source, &by_file, "shop").await;
        assert_eq!(rest.go_on().await.unwrap().ops.len(), 6 - before);
    }
}

#[tokio::test]
async fn a_position_of_another_history_is_an_error() {
    for server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        with_table(&server).await;
        let source = source(&server.miner("shop").await);
        let now = source.resolve(&Start::Now).await.unwrap();
        let gtid = if now.gtid.contains(':') {
            let (uuid, _) = now.gtid.split_once(':').unwrap();
            format!("{uuid}:1-500")
        } else {
            "0-1-500".into()
        };
        let ahead = Position { gtid, ..now.clone() };
        let mut reading = match source.open(&ahead, selection("shop", "*")).await {
            Err(error) => {
                assert_eq!(error.kind(), Kind::Gap, "{error}");
                continue;
            }
            Ok(_) => Reading::from(&source, &ahead, "shop").await,
        };
        let error = reading.fails().await;
        assert_eq!(error.kind(), Kind::Gap, "{error}");
    }
}

#[tokio::test]
async fn two_readers_with_one_server_id() {
    // MySQL tells replicas apart by their UUIDs, which are new for every connection.
    for server in [MariaDb::start(&[]).await] {
        with_table(&server).await;
        let connection = server.miner("shop").await;
        let mut settings = connection.settings.clone();
        settings.0.insert("server_id", Setting::Integer(4711));
        let connection = std::sync::Arc::new(lode::model::connection::Connection {
            name: connection.name.clone(),
            kind: connection.kind,
            endpoint: connection.endpoint.clone(),
            settings,
        });
        let start = source(&connection).resolve(&Start::Now).await.unwrap();
        let mut first = Reading::from(&source(&connection), &start, "shop").await;
        first.go_on().await.unwrap();
        let mut second = Reading::from(&source(&connection), &start, "shop").await;
        server.run(&["INSERT INTO shop.t VALUES (1)"]).await;
        assert_eq!(second.go_on().await.unwrap().ops, ["insert t"]);
        let error = first.fails().await;
        assert!(error.next_step().is_some_and(|advice| advice.contains("server_id")), "{error}");
    }
}
