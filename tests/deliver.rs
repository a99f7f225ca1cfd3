//! Mails and webhooks against real servers: SMTP with implicit TLS, with STARTTLS and without, HTTPS and HTTP.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lode::client::smtp::Smtp;
use lode::client::webhook::Receiver;
use lode::error::{Error, Kind};
use lode::model::connection::{Connection, Endpoint};
use lode::model::message::Mail;
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use serde_json::{Value, json};
use support::process::free_port;
use support::receivers::{HOOK_SECRET, MAIL_PASSWORD, MAIL_USER, Receivers};

/// Settings, to which a test adds its own.
struct Set(Settings);

impl Set {
    fn new() -> Set {
        Set(Settings::default())
    }

    fn with(mut self, key: &'static str, value: Setting) -> Set {
        self.0.0.insert(key, value);
        self
    }

    fn text(self, key: &'static str, value: &str) -> Set {
        self.with(key, Setting::Text(value.into()))
    }

    fn secret(self, key: &'static str, value: &str) -> Set {
        self.with(key, Setting::Secret(Secret::new(value)))
    }

    fn path(self, key: &'static str, value: PathBuf) -> Set {
        self.with(key, Setting::Path(value))
    }

    fn timeout(self, ms: u64) -> Set {
        self.with("timeout", Setting::Duration(Duration::from_millis(ms)))
    }

    fn mail_server(self, scheme: &str, user: &str, port: u16) -> Connection {
        let endpoint = Endpoint::Url {
            scheme: scheme.into(),
            user: user.into(),
            host: "127.0.0.1".into(),
            port,
            database: String::new(),
        };
        let settings = self.text("from", "Lode <lode@example.test>").0;
        Connection { name: "oncall".into(), kind: "smtp", endpoint, settings }
    }

    fn web_server(self, scheme: &str, port: u16, path: &str) -> Connection {
        let endpoint = Endpoint::Web { origin: format!("{scheme}://127.0.0.1:{port}"), path: path.into() };
        Connection { name: "pager".into(), kind: "webhook", endpoint, settings: self.0 }
    }
}

fn known(receivers: &Receivers) -> Set {
    Set::new().path("tls_ca", receivers.authority()).secret("password", MAIL_PASSWORD)
}

fn mail(to: &str) -> Mail {
    let (subject, text) = ("Verzögert: žluť ≥ 30 s".into(), "orders\n.\nžluť\n".into());
    Mail { to: vec![to.into()], subject, text, facts: None }
}

fn send(connection: &Connection, to: &str) -> Result<(), Error> {
    Smtp::new(connection)?.send(&mail(to))
}

/// An error of this kind, which shows no secret.
fn assert_fails(outcome: Result<(), Error>, kind: Kind, says: &str) {
    let error = outcome.expect_err(says);
    let shown = format!("{error:?} {error}");
    assert_eq!(error.kind(), kind, "{shown}");
    assert!(shown.contains(says), "{shown}\nsays nothing of: {says}");
    for secret in [MAIL_PASSWORD, HOOK_SECRET, "s3cret-path", "s3cret-token"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_mail_travels_encrypted_either_way_and_arrives_as_it_was() {
    let receivers = Receivers::start();
    for (scheme, server) in [("smtps", "smtps"), ("smtp", "starttls")] {
        let connection = known(&receivers).mail_server(scheme, MAIL_USER, receivers.port(server));
        send(&connection, "Dienst Ž <dba@example.test>, ops@example.test").unwrap();
    }
    let mails = receivers.mails(2);
    assert_eq!(mails.len(), 2);
    for mail in mails {
        assert_eq!(mail["encrypted"], true);
        assert_eq!(mail["user"], MAIL_USER);
        assert_eq!(mail["from"], "lode@example.test");
        assert_eq!(mail["to"], json!(["dba@example.test", "ops@example.test"]));
        assert_eq!(mail["text"].as_str().unwrap().replace("\r\n", "\n").trim_end(), "orders\n.\nžluť");
        let header = |name: &str| {
            let headers = mail["headers"].as_array().unwrap();
            let found: Vec<&Value> =
                headers.iter().filter(|header| header[0] == name).map(|header| &header[1]).collect();
            assert_eq!(found.len(), 1, "{name} in {headers:?}");
            found[0].as_str().unwrap().to_owned()
        };
        assert_eq!(header("Subject"), "Verzögert: žluť ≥ 30 s");
        assert_eq!(header("From"), "Lode <lode@example.test>");
        assert_eq!(header("Auto-Submitted"), "auto-generated");
        assert!(header("Message-ID").ends_with('>') && !header("Date").is_empty());
    }
}

#[test]
fn facts_fill_the_connections_template() {
    let receivers = Receivers::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alert.txt");
    fs::write(&file, "Subject: {pipeline} is late\n\nSince {since}: {message}\n").unwrap();
    let facts =
        json!({ "pipeline": "orders\r\nBcc: all@example.test", "since": "12:00", "message": "lag > 30s" });
    let facts = facts.as_object().cloned();
    let smtp = known(&receivers).path("template", file).text("to", "dba@example.test").mail_server(
        "smtps",
        MAIL_USER,
        receivers.port("smtps"),
    );
    Smtp::new(&smtp)
        .unwrap()
        .send(&Mail { to: Vec::new(), subject: String::new(), text: String::new(), facts })
        .unwrap();
    let mail = receivers.mails(1).remove(0);
    assert_eq!(mail["to"], json!(["dba@example.test"]));
    assert_eq!(mail["text"].as_str().unwrap().trim_end(), "Since 12:00: lag > 30s");
    assert!(mail["headers"].as_array().unwrap().iter().all(|header| header[0] != "Bcc"), "{mail}");
    assert!(mail["headers"].to_string().contains("orders  Bcc: all@example.test is late"), "{mail}");
}

#[test]
fn a_mail_server_that_is_not_who_it_should_be_gets_nothing() {
    let receivers = Receivers::start();
    for (scheme, server) in [("smtps", "smtps"), ("smtp", "starttls")] {
        let port = receivers.port(server);
        let wrong = known(&receivers)
            .path("tls_ca", receivers.other_authority())
            .mail_server(scheme, MAIL_USER, port);
        assert_fails(send(&wrong, "dba@example.test"), Kind::Environment, "certificate");
        let unknown = Set::new().secret("password", MAIL_PASSWORD).mail_server(scheme, MAIL_USER, port);
        assert_fails(send(&unknown, "dba@example.test"), Kind::Environment, "tls_ca");
    }
    // A server without TLS gets a mail only when the script says so.
    let port = receivers.port("plain");
    assert_fails(
        send(&known(&receivers).mail_server("smtp", MAIL_USER, port), "dba@example.test"),
        Kind::Environment,
        "tls = off",
    );
    assert_fails(
        send(&known(&receivers).timeout(3000).mail_server("smtps", MAIL_USER, port), "dba@example.test"),
        Kind::Environment,
        "does not speak TLS",
    );
    assert!(receivers.mails(0).is_empty());
    let plain = Set::new().with("tls", Setting::Switch(false)).mail_server("smtp", "", port);
    send(&plain, "dba@example.test").unwrap();
    assert_eq!(receivers.mails(1)[0]["encrypted"], false);
}

#[test]
fn what_a_mail_server_refuses_is_told_from_what_may_succeed_later() {
    let receivers = Receivers::start();
    let port = receivers.port("smtps");
    let connection = known(&receivers).mail_server("smtps", MAIL_USER, port);
    assert_fails(send(&connection, "unknown@example.test"), Kind::Environment, "550 no such user here");
    assert_fails(
        send(&connection, "full@example.test"),
        Kind::Unavailable,
        "452 the mailbox is full for now",
    );
    let wrong = known(&receivers).secret("password", "s3cret-token").mail_server("smtps", MAIL_USER, port);
    assert_fails(send(&wrong, "dba@example.test"), Kind::Environment, "check the user in the URL");
    let nobody = known(&receivers).mail_server("smtps", "", port);
    assert_fails(send(&nobody, "dba@example.test"), Kind::Environment, "530");
    assert!(receivers.mails(0).is_empty());
}

#[test]
fn a_mail_server_that_is_away_or_hangs_holds_up_nobody_for_long() {
    let receivers = Receivers::start();
    let away = known(&receivers).mail_server("smtps", MAIL_USER, free_port());
    assert_fails(send(&away, "dba@example.test"), Kind::Unavailable, "cannot be reached");
    let hangs = known(&receivers).timeout(500).mail_server("smtps", MAIL_USER, receivers.port("smtps"));
    let began = Instant::now();
    assert_fails(send(&hangs, "hang@example.test"), Kind::Unavailable, "no answer within 500 ms");
    // One that takes the connection and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    for scheme in ["smtps", "smtp"] {
        let connection = known(&receivers).timeout(500).mail_server(scheme, MAIL_USER, port);
        assert_fails(send(&connection, "dba@example.test"), Kind::Unavailable, "no answer within 500 ms");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn the_receiver_of_a_call_can_tell_who_made_it() {
    let receivers = Receivers::start();
    let call = |set: Set, path: &str| {
        let connection =
            set.path("tls_ca", receivers.authority()).web_server("https", receivers.port("https"), path);
        Receiver::new(&connection)
            .unwrap()
            .post(&json!({ "summary": "lag > 30s – žluť", "count": 18446744073709551615_u64 }))
    };
    let signed = Set::new().secret("secret", HOOK_SECRET).secret("authorization", "Bearer s3cret-token");
    call(signed, "/signed/a?b=c").unwrap();
    assert_fails(call(Set::new(), "/signed"), Kind::Environment, "401");
    assert_fails(call(Set::new().secret("secret", "another"), "/signed"), Kind::Environment, "401");
    call(Set::new().secret("secret_path", "/s3cret-path/x"), "/").unwrap();
    let calls = receivers.calls(4);
    assert_eq!(calls.len(), 4, "what is refused is not tried again");
    assert_eq!(calls[0]["path"], "/signed/a?b=c");
    assert_eq!(calls[0]["signed"], true);
    assert_eq!(calls[0]["headers"]["content-type"], "application/json");
    assert_eq!(calls[0]["headers"]["authorization"], "Bearer s3cret-token");
    let body: Value = serde_json::from_str(calls[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({ "summary": "lag > 30s – žluť", "count": 18446744073709551615_u64 }));
    assert_eq!(calls[3]["path"], "/s3cret-path/x");
    assert_eq!(calls[3]["headers"].get("x-lode-signature"), None);
}

#[test]
fn a_call_is_made_again_while_the_server_fails_and_there_is_time() {
    let receivers = Receivers::start();
    let call = |set: Set, path: &str| {
        let set = set.path("tls_ca", receivers.authority()).secret("secret", HOOK_SECRET);
        Receiver::new(&set.web_server("https", receivers.port("https"), path)).unwrap().post(&json!({}))
    };
    call(Set::new(), "/flaky").unwrap();
    let calls = receivers.calls(3);
    let deliveries: Vec<&Value> = calls.iter().map(|call| &call["headers"]["x-lode-delivery"]).collect();
    assert!(
        deliveries.iter().all(|delivery| *delivery == deliveries[0] && delivery.is_string()),
        "{deliveries:?}"
    );
    assert!(calls.iter().all(|call| call["signed"] == true));
    assert_fails(call(Set::new(), "/fail"), Kind::Unavailable, "503");
    assert_eq!(receivers.calls(6).len(), 6);
    assert_fails(call(Set::new().with("attempts", Setting::Integer(1)), "/fail"), Kind::Unavailable, "503");
    assert_fails(call(Set::new(), "/gone"), Kind::Environment, "404");
    assert_fails(call(Set::new(), "/redirect"), Kind::Environment, "redirects");
    assert_eq!(receivers.calls(9).len(), 9);
}

#[test]
fn a_server_of_calls_that_is_wrong_away_or_hangs_is_an_error_in_time() {
    let mut receivers = Receivers::start();
    let port = receivers.port("https");
    let call = |set: Set, port: u16, path: &str| {
        Receiver::new(&set.timeout(1500).web_server("https", port, path)).unwrap().post(&json!({}))
    };
    let known = || Set::new().path("tls_ca", receivers.authority());
    assert_fails(call(Set::new(), port, "/ok"), Kind::Environment, "certificate");
    let other = Set::new().path("tls_ca", receivers.other_authority());
    assert_fails(call(other, port, "/s3cret-path"), Kind::Environment, "certificate");
    assert!(receivers.calls(0).is_empty());
    let began = Instant::now();
    assert_fails(call(known(), port, "/hang"), Kind::Unavailable, "no answer within 1500 ms");
    assert_fails(call(known(), port, "/drip"), Kind::Unavailable, "no answer within 1500 ms");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_fails(call(known(), port, "/flood"), Kind::Environment, "HTTP");
    assert_fails(call(known(), receivers.port("http"), "/ok"), Kind::Environment, "TLS");
    assert_fails(call(known(), free_port(), "/s3cret-path"), Kind::Unavailable, "cannot be reached");
    receivers.stop();
}

#[test]
fn a_plain_address_is_called_where_nobody_can_listen() {
    let receivers = Receivers::start();
    let url = format!("http://127.0.0.1:{}/ok", receivers.port("http"));
    Receiver::plain(&url).unwrap().post(&json!({ "a": 1 })).unwrap();
    assert_eq!(receivers.calls(1)[0]["body"], "{\"a\":1}");
    assert_fails(Receiver::plain("http://192.0.2.1/s3cret-path").map(|_| ()), Kind::Refused, "plain = on");
}
