//! The binary and the crate start without Oracle's client library; a sink that needs it says how to get it.
//!
//! A program loads one client library and keeps it, so that these steps have a process of their own, in this order.

mod support;

use std::path::Path;
use std::sync::Arc;

use lode::error::{Error, Kind};
use lode::model::connection::{Connection, Endpoint};
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use lode::sink::{SinkKind, SinkRoute};
use support::oracle::Oracle;

#[tokio::test]
async fn a_missing_client_is_explained_and_one_serves_all_connections() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path(), "//127.0.0.1:1/X", "app", "pw").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error}");
    assert!(error.to_string().contains("DPI-1047"), "{error}");
    let advice = error.next_step().unwrap();
    for words in ["Basic package", "client_lib", "ORACLE_HOME", "LD_LIBRARY_PATH"] {
        assert!(advice.contains(words), "{advice}");
    }

    // A failure is not remembered: once the library is there, it is loaded.
    let server = Oracle::shared();
    let Some(library) = server.client_lib() else { return };
    let address = server.connect_string();
    open(&library, &address, server.user(), server.password()).await.unwrap();
    let error = open(folder.path(), &address, server.user(), server.password()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error}");
    assert!(error.to_string().contains("a program can load only one"), "{error}");

    let error = open(&library, &address, server.user(), "s3cret").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error}");
    assert!(error.to_string().contains("ORA-01017"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    let error = open(&library, "//127.0.0.1:1/X", "app", "pw").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}

async fn open(client: &Path, address: &str, user: &str, password: &str) -> Result<(), Error> {
    let (host, rest) = address.trim_start_matches("//").split_once(':').unwrap();
    let (port, service) = rest.split_once('/').unwrap();
    let settings = [
        ("client_lib", Setting::Path(client.to_owned())),
        ("password", Setting::Secret(Secret::new(password))),
    ];
    let endpoint = Endpoint::Url {
        scheme: "oracle".into(),
        user: user.into(),
        host: host.into(),
        port: port.parse().unwrap(),
        database: service.into(),
    };
    let connection = Connection {
        name: "dw".into(),
        kind: "oracle",
        endpoint,
        settings: Settings(settings.into_iter().collect()),
    };
    let route = SinkRoute {
        key: "p/shop/1".into(),
        connection: Some(Arc::new(connection)),
        target: "*".into(),
        settings: Settings::default(),
        state_dir: std::env::temp_dir(),
    };
    lode::sink::oracle::Oracle.sink(route)?.open().await.map(drop)
}
