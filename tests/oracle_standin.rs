//! The stand-in for Oracle itself: what lode's tests rely on holds through the unchanged crate `oracle`, as an
//! independent client sees it.

mod support;

use oracle::sql_type::OracleType;
use oracle::{Batch, Connection};
use support::oracle::Oracle;

const MERGE: &str = "MERGE INTO \"T\" T USING (SELECT :1 \"ID\", :2 \"NAME\" FROM DUAL) S ON (T.\"ID\" = S.\"ID\") \
     WHEN MATCHED THEN UPDATE SET T.\"NAME\" = S.\"NAME\" \
     WHEN NOT MATCHED THEN INSERT (\"ID\", \"NAME\") VALUES (S.\"ID\", S.\"NAME\")";

/// The text of a cell that is not NULL.
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn execute(connection: &Connection, sql: &str) {
    connection.execute(sql, &[]).unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
}

fn merge_names(connection: &Connection, rows: usize) -> Batch<'_> {
    let mut batch = connection.batch(MERGE, rows).with_batch_errors().build().expect("prepared");
    batch.set_type(1, &OracleType::Number(10, 0)).expect("a type");
    batch.set_type(2, &OracleType::Varchar2(40)).expect("a type");
    batch
}

#[test]
fn an_array_merge_updates_and_inserts_and_names_the_rows_that_fail() {
    let oracle = Oracle::shared();
    let connection = oracle.connect();
    execute(
        &connection,
        "CREATE TABLE \"T\" (\"ID\" NUMBER(3) PRIMARY KEY, \"NAME\" VARCHAR2(5 CHAR) NOT NULL)",
    );
    execute(&connection, "INSERT INTO T VALUES (1, 'old')");
    let mut batch = merge_names(&connection, 10);
    let rows = [("1", "new"), ("2", "two"), ("3", "longer"), ("4", "four"), ("5000", "five"), ("6", "")];
    for (id, name) in rows {
        batch.append_row(&[&id, &name]).expect("a row");
    }
    let error = batch.execute().expect_err("rows fail");
    let oracle::ErrorKind::BatchErrors = error.kind() else { panic!("{error}") };
    let failed: Vec<_> =
        error.batch_errors().expect("errors").iter().map(|error| (error.offset(), error.code())).collect();
    assert_eq!(failed, [(2, 12899), (4, 1438), (5, 1400)]);
    connection.commit().expect("committed");
    let kept = [[some("1"), some("new")], [some("2"), some("two")], [some("4"), some("four")]];
    assert_eq!(oracle.query("SELECT * FROM T ORDER BY ID"), kept);
}

#[test]
fn what_is_not_committed_is_gone_after_a_kill_and_the_rest_is_there() {
    let mut oracle = Oracle::start();
    let connection = oracle.connect();
    execute(&connection, "CREATE TABLE T (ID NUMBER(10) PRIMARY KEY, NAME VARCHAR2(40))");
    execute(&connection, "INSERT INTO T VALUES (1, 'kept')");
    connection.commit().expect("committed");
    execute(&connection, "INSERT INTO T VALUES (2, 'lost')");
    oracle.kill();
    let error = connection.commit().expect_err("the server is gone");
    assert!(error.to_string().contains("ORA-03113") || error.to_string().contains("ORA-03114"), "{error}");
    let refused = Connection::connect(oracle.user(), oracle.password(), oracle.connect_string());
    assert_eq!(refused.expect_err("the server is gone").oci_code(), Some(12541));
    oracle.start_again();
    assert_eq!(oracle.query("SELECT * FROM T"), [[some("1"), some("kept")]]);
    assert!(connection.ping().is_err());
}
