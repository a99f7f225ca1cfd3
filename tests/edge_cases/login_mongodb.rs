//! Log-ins to MongoDB: with a password, with TLS, and what is said when they fail.

use std::path::Path;
use std::sync::Arc;

use lode::client::mongodb::{answer, client};
use lode::error::{Error, Kind, Result};
use lode::model::connection::{Connection, Endpoint};
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use mongodb::bson::doc;

use super::login::certificates;
use crate::support::mongodb::MongoDb;

#[tokio::test]
async fn a_password_is_asked_for_and_never_shown() {
    let mut server = MongoDb::start().await;
    let create =
        doc! { "createUser": "lode", "pwd": "s3cret", "roles": [{ "role": "readWrite", "db": "shop" }] };
    server.client().database("shop").run_command(create).await.expect("the user is made");
    server.restart_with(&["--auth"]).await;
    let plain = server.connection("shop");
    look(&with(&plain, "lode", &[("password", secret("s3cret")), ("auth_source", text("shop"))]))
        .await
        .expect("the user may look");
    for (user, password, source) in
        [("lode", "wr0ng", "shop"), ("nobody", "s3cret", "shop"), ("lode", "s3cret", "admin")]
    {
        let settings = [("password", secret(password)), ("auth_source", text(source))];
        let error = look(&with(&plain, user, &settings)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Environment, "{error:?}");
        assert!(error.next_step().is_some_and(|advice| advice.contains("auth_source")), "{error:?}");
        assert!(!format!("{error:?}").contains(password), "{error:?}");
    }
    let error = look(&with(&plain, "", &[])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error:?}");
}

#[tokio::test]
async fn tls_trusts_who_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let ca = certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut server = MongoDb::start().await;
    let tls = ["--tls-cert-file", &file("server.pem"), "--tls-key-file", &file("server.key")];
    server.restart_with(&tls).await;
    let plain = server.connection("shop");
    let on = || ("tls", Setting::Switch(true));
    look(&with(&plain, "", &[on(), ("tls_ca", Setting::Path(ca.clone()))]))
        .await
        .expect("the authority is named");
    look(&with(&plain, "", &[on(), ("tls_verify", Setting::Switch(false))]))
        .await
        .expect("any server is accepted");
    let error = look(&with(&plain, "", &[on()])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error:?}");
    assert!(error.next_step().is_some_and(|advice| advice.contains("tls_ca")), "{error:?}");
    let missing = Setting::Path(Path::new("/nowhere/ca.pem").into());
    let error = look(&with(&plain, "", &[on(), ("tls_ca", missing)])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment, "{error:?}");
    let error = look(&plain).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
}

async fn look(connection: &Connection) -> Result<(), Error> {
    let database = client(connection)?.database("shop");
    answer("cannot look", database.list_collection_names()).await.map(drop)
}

fn with(connection: &Connection, name: &str, more: &[(&'static str, Setting)]) -> Arc<Connection> {
    let mut settings = Settings::default();
    settings.0.insert("connect_timeout", Setting::Duration(std::time::Duration::from_secs(2)));
    settings.0.extend(more.iter().cloned());
    let mut endpoint = connection.endpoint.clone();
    if let Endpoint::Url { user, .. } = &mut endpoint {
        *user = name.to_owned();
    }
    Arc::new(Connection { name: connection.name.clone(), kind: connection.kind, endpoint, settings })
}

fn secret(text: &str) -> Setting {
    Setting::Secret(Secret::new(text))
}

fn text(text: &str) -> Setting {
    Setting::Text(text.into())
}
