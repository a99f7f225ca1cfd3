//! Log-in and encryption, for every connection that a source opens.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lode::error::Kind;
use lode::model::connection::Connection;
use lode::model::spec::{Setting, Start};

use crate::reading::{Reading, selection, source};
use crate::support::servers::{MariaDb, MySql};

/// The binlog connection is encrypted like the others: a user who must use TLS can read, and only with it.
#[tokio::test]
async fn tls_is_used_by_every_connection() {
    let folder = tempfile::tempdir().unwrap();
    let ca = certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let options = [
        format!("--ssl-ca={}", ca.display()),
        format!("--ssl-cert={}", file("server.pem")),
        format!("--ssl-key={}", file("server.key")),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    for server in [MariaDb::start(&options).await, MySql::start(&options).await] {
        server.run(&["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(9))"]).await;
        let plain = server.miner("shop").await;
        server.run(&["ALTER USER lode@'%' REQUIRE SSL"]).await;
        assert_eq!(source(&plain).identify().await.unwrap_err().kind(), Kind::Environment);
        let trusted = with(&plain, &[("tls", Setting::Switch(true)), ("tls_ca", Setting::Path(ca.clone()))]);
        let blind = with(&plain, &[("tls", Setting::Switch(true)), ("tls_verify", Setting::Switch(false))]);
        for (at, connection) in [trusted, blind].into_iter().enumerate() {
            let source = source(&connection);
            let start = source.resolve(&Start::Now).await.unwrap();
            let mut reading = Reading::from(&source, &start, "shop").await;
            server.run(&[&format!("INSERT INTO shop.t VALUES ({at}, 'x')")]).await;
            assert_eq!(reading.go_on().await.unwrap().ops, ["insert t"]);
        }
        // A server that nobody vouches for.
        let stranger = with(&plain, &[("tls", Setting::Switch(true))]);
        let error = source(&stranger).identify().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Environment, "{error}");
        assert!(error.next_step().is_some_and(|advice| advice.contains("tls_ca")), "{error}");
    }
}

/// MySQL's default plugin: its full exchange, encrypted and not, and the short one that follows.
#[tokio::test]
async fn caching_sha2_password_with_and_without_tls() {
    let server = MySql::start(&[]).await;
    server.run(&["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"]).await;
    let connection = server.miner("shop").await;
    for tls in [false, true] {
        let connection =
            with(&connection, &[("tls", Setting::Switch(tls)), ("tls_verify", Setting::Switch(false))]);
        // Forgets what the server has seen of passwords.
        server
            .run(&["ALTER USER lode@'%' IDENTIFIED WITH caching_sha2_password BY 'pw'", "FLUSH PRIVILEGES"])
            .await;
        let source = source(&connection);
        for _ in 0..2 {
            let start = source.resolve(&Start::Now).await.unwrap();
            drop(source.open(&start, selection("shop", "*")).await.unwrap());
        }
    }
    let wrong =
        with(&connection, &[("password", Setting::Secret(lode::model::secret::Secret::new("not-it")))]);
    let error = source(&wrong).identify().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(!format!("{error} {error:?}").contains("not-it"));
}

/// Traffic that concerns no mined table moves the position, and so does silence not.
#[tokio::test]
async fn the_position_moves_without_wanted_changes() {
    for server in [MariaDb::start(&[]).await, MySql::start(&[]).await] {
        server
            .run(&[
                "CREATE DATABASE shop",
                "CREATE DATABASE other",
                "CREATE TABLE other.t (id INT PRIMARY KEY)",
            ])
            .await;
        let source = source(&server.miner("shop").await);
        let start = source.resolve(&Start::Now).await.unwrap();
        let mut reading = Reading::from(&source, &start, "shop").await;
        for id in 0..5 {
            server.run(&[&format!("INSERT INTO other.t VALUES ({id})")]).await;
            reading.go_on().await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        tokio::time::sleep(Duration::from_millis(800)).await;
        let copy = reading.go_on().await.unwrap();
        assert!(copy.ops.is_empty());
        assert_eq!(copy.commits.last().unwrap().0, source.resolve(&Start::Now).await.unwrap());
    }
}

fn with(connection: &Connection, set: &[(&'static str, Setting)]) -> Arc<Connection> {
    let mut settings = connection.settings.clone();
    for (key, value) in set {
        settings.0.insert(key, value.clone());
    }
    Arc::new(Connection {
        name: connection.name.clone(),
        kind: connection.kind,
        endpoint: connection.endpoint.clone(),
        settings,
    })
}

/// An authority, and a server's certificate for 127.0.0.1 that it signed.
pub fn certificates(folder: &Path) -> PathBuf {
    std::fs::write(
        folder.join("san"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
    ] {
        let done = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("openssl is installed");
        assert!(done.success(), "openssl {arguments}");
    }
    folder.join("ca.pem")
}
