//! The servers that live tests start: each flavour starts, writes its binlog, and survives what tests do to it.

mod support;

use support::servers::{MariaDb, MySql, Server};

#[test]
fn mariadb_starts_and_writes_a_binlog() {
    let mut server = MariaDb::start(&["--binlog-row-metadata=FULL"]);
    assert_eq!(server.value("SELECT @@binlog_row_metadata"), "FULL");
    writes_a_binlog(&mut server, "SHOW MASTER STATUS");
}

#[test]
fn mysql_starts_and_writes_a_binlog() {
    let mut server = MySql::start(&[]);
    assert_eq!(server.value("SELECT @@gtid_mode"), "ON");
    writes_a_binlog(&mut server, "SHOW BINARY LOG STATUS");
}

fn writes_a_binlog(server: &mut Server, status: &str) {
    assert_eq!(server.value("SELECT @@binlog_format"), "ROW");
    let offset = |server: &Server| -> u64 {
        server.query(status)[0][1].as_ref().and_then(|offset| offset.parse().ok()).expect("an offset")
    };
    let before = offset(server);
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, name TEXT);
         INSERT INTO shop.t VALUES (1, NULL), (2, 'two')",
    );
    assert!(offset(server) > before);
    let rows = [vec![Some("1".to_owned()), None], vec![Some("2".to_owned()), Some("two".to_owned())]];
    assert_eq!(server.query("SELECT * FROM shop.t"), rows);
    assert_eq!(server.dump_threads(), 0);

    let port = server.port();
    server.kill();
    server.start_again();
    server.freeze();
    server.thaw();
    server.restart();
    assert_eq!((server.port(), server.query("SELECT * FROM shop.t")), (port, rows.to_vec()));
}
