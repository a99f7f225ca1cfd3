//! The stand-in for Oracle itself: what lode's tests rely on holds through the unchanged crate `oracle`, as an
//! independent client sees it. The same tests pass on a real server.

mod support;

use oracle::sql_type::{IntervalDS, OracleType, Timestamp, ToSql};
use oracle::{Batch, Connection};
use support::oracle::Oracle;

/// The text of a cell that is not NULL.
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn execute(connection: &Connection, sql: &str) {
    connection.execute(sql, &[]).unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
}

/// The number of the error that a statement ends with.
fn refusal(connection: &Connection, sql: &str) -> i32 {
    match connection.execute(sql, &[]) {
        Ok(_) => panic!("no error from: {sql}"),
        Err(error) => error.oci_code().unwrap_or_else(|| panic!("no number: {error}\nin: {sql}")),
    }
}

fn failed_rows(batch: &mut Batch) -> Vec<(u32, i32)> {
    let error = batch.execute().expect_err("rows fail");
    let rows = error.batch_errors().unwrap_or_else(|| panic!("{error}"));
    rows.iter().map(|error| (error.offset(), error.code())).collect()
}

#[test]
fn an_array_merge_updates_and_inserts_and_names_the_rows_that_fail() {
    let oracle = Oracle::shared();
    let (connection, table) = (oracle.connect(), oracle.unique("T"));
    execute(
        &connection,
        &format!(
            "CREATE TABLE \"{table}\" (\"ID\" NUMBER(3) PRIMARY KEY, \"NAME\" VARCHAR2(5 CHAR) NOT NULL)"
        ),
    );
    execute(&connection, &format!("INSERT INTO {table} VALUES (1, 'old')"));
    let merge = format!(
        "MERGE INTO \"{table}\" T USING (SELECT :1 \"ID\", :2 \"NAME\" FROM DUAL) S ON (T.\"ID\" = S.\"ID\") \
         WHEN MATCHED THEN UPDATE SET T.\"NAME\" = S.\"NAME\" \
         WHEN NOT MATCHED THEN INSERT (\"ID\", \"NAME\") VALUES (S.\"ID\", S.\"NAME\")"
    );
    let mut batch = connection.batch(&merge, 10).with_batch_errors().build().expect("prepared");
    batch.set_type(1, &OracleType::Number(10, 0)).expect("a type");
    batch.set_type(2, &OracleType::Varchar2(40)).expect("a type");
    for (id, name) in
        [("1", "new"), ("2", "two"), ("3", "longer"), ("4", "four"), ("5000", "five"), ("6", "")]
    {
        batch.append_row(&[&id, &name]).expect("a row");
    }
    assert_eq!(failed_rows(&mut batch), [(2, 12899), (4, 1438), (5, 1400)]);
    connection.commit().expect("committed");
    let kept = [[some("1"), some("new")], [some("2"), some("two")], [some("4"), some("four")]];
    assert_eq!(oracle.query(&format!("SELECT * FROM {table} ORDER BY ID")), kept);
}

#[test]
fn array_deletes_and_key_only_merges_count_their_rows() {
    let oracle = Oracle::shared();
    let (connection, table) = (oracle.connect(), oracle.unique("K"));
    execute(&connection, &format!("CREATE TABLE {table} (A NUMBER(10), B VARCHAR2(10), PRIMARY KEY (A, B))"));
    let merge = format!(
        "MERGE INTO {table} T USING (SELECT :1 A, :2 B FROM DUAL) S ON (T.A = S.A AND T.B = S.B) \
         WHEN NOT MATCHED THEN INSERT (A, B) VALUES (S.A, S.B)"
    );
    let counts = |sql: &str, rows: &[(i64, &str)]| {
        let mut batch = connection.batch(sql, rows.len()).with_row_counts().build().expect("prepared");
        batch.set_type(1, &OracleType::Int64).expect("a type");
        batch.set_type(2, &OracleType::Varchar2(10)).expect("a type");
        for (a, b) in rows {
            batch.append_row(&[a, b]).expect("a row");
        }
        batch.execute().expect("no errors");
        batch.row_counts().expect("counts")
    };
    assert_eq!(counts(&merge, &[(1, "a"), (1, "a"), (2, "b")]), [1, 0, 1]);
    let delete = format!("DELETE FROM {table} WHERE A = :1 AND B = :2");
    assert_eq!(counts(&delete, &[(1, "a"), (7, "x"), (2, "b")]), [1, 0, 1]);
    connection.commit().expect("committed");
    assert_eq!(oracle.value(&format!("SELECT COUNT(*) FROM {table}")), "0");
}

/// A value as it is bound, and what the other client reads.
type Case = (Box<dyn ToSql>, &'static str);

/// Columns as lode makes them, the type that a column is bound with, and two values.
fn columns() -> Vec<(&'static str, OracleType, Vec<Case>)> {
    fn text(values: &[&'static str]) -> Vec<Case> {
        values.iter().map(|value| (Box::new(*value) as Box<dyn ToSql>, *value)).collect()
    }
    fn bytes(values: &[&'static str]) -> Vec<Case> {
        let of = |hex: &str| -> Vec<u8> {
            (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
                .collect()
        };
        values.iter().map(|value| (Box::new(of(value)) as Box<dyn ToSql>, *value)).collect()
    }
    let at = |micros: u32| Timestamp::new(2024, 2, 29, 23, 59, 59, micros * 1000).expect("a time");
    let day = Timestamp::new(1, 1, 1, 0, 0, 0, 0).expect("a time");
    let utc = at(1).and_tz_offset(0).expect("a zone");
    let time = IntervalDS::new(34, 22, 59, 59, 999_999_000).expect("an interval");
    let before = IntervalDS::new(-34, -22, -59, -59, 0).expect("an interval");
    vec![
        ("NUMBER(3)", OracleType::Int64, text(&["-128", "255"])),
        ("NUMBER(19)", OracleType::Int64, text(&["-9223372036854775808", "9223372036854775807"])),
        ("NUMBER(20)", OracleType::Number(20, 0), text(&["18446744073709551615", "0"])),
        (
            "NUMBER(38,10)",
            OracleType::Number(38, 10),
            text(&["1234567890123456789012345678.0123456789", "-0.0000000001"]),
        ),
        ("NUMBER", OracleType::Number(0, -127), text(&["18446744073709551615", "-1"])),
        (
            "BINARY_FLOAT",
            OracleType::BinaryFloat,
            vec![(Box::new(1.5f32), "1.5"), (Box::new(f32::INFINITY), "inf")],
        ),
        (
            "BINARY_DOUBLE",
            OracleType::BinaryDouble,
            vec![(Box::new(0.1f64), "0.1"), (Box::new(f64::NAN), "nan")],
        ),
        (
            "DATE",
            OracleType::Date,
            vec![(Box::new(at(0)), "2024-02-29T23:59:59"), (Box::new(day), "0001-01-01T00:00:00")],
        ),
        (
            "TIMESTAMP(6)",
            OracleType::Timestamp(6),
            vec![
                (Box::new(at(999_999)), "2024-02-29T23:59:59.999999"),
                (Box::new(day), "0001-01-01T00:00:00"),
            ],
        ),
        (
            "TIMESTAMP(6) WITH TIME ZONE",
            OracleType::TimestampTZ(6),
            vec![
                (Box::new(utc), "2024-02-29T23:59:59.000001"),
                (Box::new(utc), "2024-02-29T23:59:59.000001"),
            ],
        ),
        (
            "INTERVAL DAY(2) TO SECOND(6)",
            OracleType::IntervalDS(2, 6),
            vec![(Box::new(time), "+34 22:59:59.999999"), (Box::new(before), "-34 22:59:59.000000")],
        ),
        ("VARCHAR2(10 CHAR)", OracleType::Varchar2(40), text(&["äöü😀 '\"", "x"])),
        ("CLOB", OracleType::CLOB, text(&["short", "ünïcode"])),
        ("RAW(16)", OracleType::Raw(16), bytes(&["00FF00", "0102030405060708090A0B0C0D0E0F10"])),
        ("BLOB", OracleType::BLOB, bytes(&["00", "FFFE"])),
    ]
}

#[test]
fn every_type_of_column_takes_values_and_nulls_in_array_binds() {
    let oracle = Oracle::shared();
    let (connection, table) = (oracle.connect(), oracle.unique("TYPES"));
    let columns = columns();
    let declared: Vec<_> =
        columns.iter().enumerate().map(|(at, (declared, ..))| format!("C{at} {declared}")).collect();
    execute(
        &connection,
        &format!("CREATE TABLE {table} (ID NUMBER(10) PRIMARY KEY, {})", declared.join(", ")),
    );
    let places: Vec<_> = (1..=columns.len() + 1).map(|place| format!(":{place}")).collect();
    let insert = format!("INSERT INTO {table} VALUES ({})", places.join(", "));
    let mut batch = connection.batch(&insert, 10).build().expect("prepared");
    batch.set_type(1, &OracleType::Int64).expect("a type");
    for (at, (_, bound, _)) in columns.iter().enumerate() {
        batch.set_type(at + 2, bound).expect("a type");
    }
    // A row of NULLs between two of values.
    for row in 0..3i64 {
        let mut cells: Vec<&dyn ToSql> = vec![&row];
        for (_, bound, values) in &columns {
            match row {
                1 => cells.push(bound),
                _ => cells.push(&*values[row as usize / 2].0),
            }
        }
        batch.append_row(&cells).unwrap_or_else(|error| panic!("row {row}: {error}"));
    }
    batch.execute().expect("all rows");
    connection.commit().expect("committed");
    let found = oracle.query(&format!("SELECT * FROM {table} ORDER BY ID"));
    for (at, (declared, _, values)) in columns.iter().enumerate() {
        let cells: Vec<_> = found.iter().map(|row| row[at + 1].clone()).collect();
        assert_eq!(cells, [some(values[0].1), None, some(values[1].1)], "{declared}");
    }
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
    let error = connection.commit().expect_err("the server is gone").to_string();
    assert!(error.contains("ORA-03113"), "{error}");
    let error = connection.commit().expect_err("the server is gone").to_string();
    assert!(
        error.contains("ORA-03114") || error.contains("DPI-1010") || error.contains("ORA-03113"),
        "{error}"
    );
    let refused = Connection::connect(oracle.user(), oracle.password(), oracle.connect_string());
    assert_eq!(refused.expect_err("the server is gone").oci_code(), Some(12541));
    oracle.start_again();
    assert_eq!(oracle.query("SELECT * FROM T"), [[some("1"), some("kept")]]);
    assert!(connection.ping().is_err());
}

#[test]
fn long_values_go_into_lobs_and_only_by_insert_or_update() {
    let oracle = Oracle::shared();
    let (connection, table) = (oracle.connect(), oracle.unique("LOBS"));
    execute(&connection, &format!("CREATE TABLE {table} (ID NUMBER(10) PRIMARY KEY, B BLOB, C CLOB)"));
    let (text, bytes) = ("ä€😀 ".repeat(20_000), vec![0xA5u8; 100_000]);
    for (id, bytes_as, text_as) in
        [(1i64, OracleType::BLOB, OracleType::CLOB), (2, OracleType::LongRaw, OracleType::Long)]
    {
        let mut batch = connection
            .batch(&format!("INSERT INTO {table} VALUES (:1, :2, :3)"), 2)
            .build()
            .expect("prepared");
        batch.set_type(2, &bytes_as).expect("a type");
        batch.set_type(3, &text_as).expect("a type");
        batch.append_row(&[&id, &bytes, &text]).expect("a row");
        batch.append_row(&[&(id + 10), &bytes_as, &""]).expect("a row");
        batch.execute().expect("inserted");
    }
    let mut statement =
        connection.statement(&format!("UPDATE {table} SET C = :1 WHERE ID = 2")).build().expect("prepared");
    statement.bind(1, &OracleType::Long).expect("a type");
    statement.bind(1, &text.as_str()).expect("bound");
    statement.execute(&[]).expect("updated");
    connection.commit().expect("committed");
    let rows = oracle.query(&format!("SELECT B, C FROM {table} ORDER BY ID"));
    let hex = "A5".repeat(100_000);
    assert_eq!(rows[0], [some(&hex), some(&text)]);
    assert_eq!(rows[1], rows[0]);
    assert_eq!((&rows[2], &rows[3]), (&vec![None, None], &vec![None, None]));
    // And back through the crate.
    let row = connection.query_row(&format!("SELECT B, C FROM {table} WHERE ID = 1"), &[]).expect("a row");
    assert_eq!(row.get::<_, Vec<u8>>(0).expect("bytes"), bytes);
    assert_eq!(row.get::<_, String>(1).expect("text"), text);

    let merge = format!(
        "MERGE INTO {table} T USING (SELECT :1 ID, :2 C FROM DUAL) S ON (T.ID = S.ID) \
         WHEN MATCHED THEN UPDATE SET T.C = S.C"
    );
    let mut batch = connection.batch(&merge, 2).build().expect("prepared");
    batch.set_type(2, &OracleType::Varchar2(30_000)).expect("a type");
    batch.append_row(&[&1i64, &&text[..6000]]).expect("a row");
    assert_eq!(batch.execute().expect_err("too long").oci_code(), Some(1461));
}

#[test]
fn oracles_own_rules_have_their_numbers() {
    let oracle = Oracle::shared();
    let (connection, table) = (oracle.connect(), oracle.unique("RULES"));
    let over = format!("\"{}\"", "N".repeat(129));
    let create = |columns: &str| refusal(&connection, &format!("CREATE TABLE {table} ({columns})"));
    assert_eq!(create(&format!("{over} NUMBER")), 972);
    assert_eq!(create("\"\" NUMBER"), 1741);
    assert_eq!(create("A NUMBER(39)"), 1727);
    assert_eq!(create("A NUMBER(10,-85)"), 1728);
    assert_eq!(create("A VARCHAR2(4001)"), 910);
    assert_eq!(create("A RAW(2001)"), 910);
    assert_eq!(create("A VARCHAR2"), 906);
    assert_eq!(create("A VARCHAR2(0)"), 1723);
    assert_eq!(create("A TIMESTAMP(10)"), 30088);
    assert_eq!(create("A BIGINT"), 902);
    assert_eq!(create("A TEXT"), 902);
    assert_eq!(create("A NUMBER, A DATE"), 957);
    assert_eq!(create("SIZE NUMBER"), 904);
    assert_eq!(create("A CLOB PRIMARY KEY"), 2329);
    assert_eq!(create("A NUMBER, B BLOB, PRIMARY KEY (A, B)"), 2329);
    assert_eq!(create("A TIMESTAMP(6) WITH TIME ZONE, CONSTRAINT P PRIMARY KEY (A)"), 2329);
    let many: Vec<_> = (0..1001).map(|at| format!("C{at} NUMBER")).collect();
    assert_eq!(create(&many.join(", ")), 1792);

    execute(
        &connection,
        &format!(
            "CREATE TABLE {table} (\"SIZE\" NUMBER(5,2) PRIMARY KEY, B VARCHAR2(4), C VARCHAR2(4 CHAR), \
             D VARCHAR2(4000 CHAR), E RAW(2), F NUMBER NOT NULL)"
        ),
    );
    assert_eq!(refusal(&connection, &format!("CREATE TABLE {table} (A NUMBER)")), 955);
    let insert = |column: &str, value: &dyn ToSql| {
        let sql = format!("INSERT INTO {table} (\"SIZE\", F, {column}) VALUES (1, 1, :1)");
        let done = connection
            .execute(&sql, &[value])
            .map(|_| ())
            .map_err(|error| error.oci_code().unwrap_or_default());
        connection.rollback().expect("rolled back");
        done
    };
    assert_eq!(insert("B", &"äö"), Ok(()));
    assert_eq!(insert("B", &"äöü"), Err(12899));
    assert_eq!(insert("C", &"äöüß"), Ok(()));
    assert_eq!(insert("C", &"äöüß!"), Err(12899));
    assert_eq!(insert("D", &"ä".repeat(2000)), Ok(()));
    assert_eq!(insert("D", &"ä".repeat(2001)), Err(12899));
    assert_eq!(insert("E", &vec![1u8, 2]), Ok(()));
    assert_eq!(insert("E", &vec![1u8, 2, 3]), Err(12899));

    let row = |size: &str, f: &str| format!("INSERT INTO {table} (\"SIZE\", F) VALUES ({size}, {f})");
    assert_eq!(refusal(&connection, &row("1000", "1")), 1438);
    assert_eq!(refusal(&connection, &row("1", "NULL")), 1400);
    assert_eq!(refusal(&connection, &row("1", "'x'")), 1722);
    execute(&connection, &row("1.005", "1"));
    assert_eq!(refusal(&connection, &row("1.01", "1")), 1);
    assert_eq!(refusal(&connection, &format!("DELETE FROM {table}_GONE")), 942);
    assert_eq!(refusal(&connection, &format!("INSERT INTO {table} (X) VALUES (1)")), 904);
    let merge = format!(
        "MERGE INTO {table} T USING (SELECT 1 A FROM DUAL) S ON (T.F = S.A) \
         WHEN MATCHED THEN UPDATE SET T.F = S.A"
    );
    assert_eq!(refusal(&connection, &merge), 38104);
}

#[test]
fn an_empty_string_is_null_and_ddl_commits() {
    let oracle = Oracle::shared();
    let (connection, table) = (oracle.connect(), oracle.unique("EMPTY"));
    execute(&connection, &format!("CREATE TABLE {table} (ID NUMBER(10) PRIMARY KEY, A VARCHAR2(10))"));
    connection.execute(&format!("INSERT INTO {table} VALUES (1, :1)"), &[&""]).expect("inserted");
    execute(&connection, &format!("INSERT INTO {table} VALUES (2, '')"));
    execute(&connection, &format!("COMMENT ON TABLE {table} IS 'it''s'"));
    connection.rollback().expect("rolled back");
    assert_eq!(oracle.query(&format!("SELECT A FROM {table} WHERE A IS NULL")), [[None], [None]]);
    // A DDL that fails has committed all the same.
    execute(&connection, &format!("INSERT INTO {table} VALUES (3, 'x')"));
    assert_eq!(refusal(&connection, &format!("CREATE TABLE {table} (A NUMBER)")), 955);
    connection.rollback().expect("rolled back");
    assert_eq!(oracle.value(&format!("SELECT COUNT(*) FROM {table}")), "3");
}

#[test]
fn the_dictionary_describes_tables() {
    let oracle = Oracle::shared();
    let (connection, table) = (oracle.connect(), oracle.unique("ORDERS"));
    execute(
        &connection,
        &format!(
            "CREATE TABLE \"{table}\" (\"ID\" NUMBER(10) NOT NULL, \"DATE\" DATE, \"A\" VARCHAR2(10 CHAR), \
             \"B\" VARCHAR2(10), \"N\" NUMBER(12,2), \"X\" NUMBER, \"T\" TIMESTAMP(3), \
             \"Z\" TIMESTAMP(6) WITH TIME ZONE, \"I\" INTERVAL DAY(2) TO SECOND(6), \"F\" BINARY_FLOAT, \
             \"G\" BINARY_DOUBLE, \"R\" RAW(16), \"C\" CLOB, \"L\" BLOB, \
             CONSTRAINT \"{table}_PK\" PRIMARY KEY (\"ID\", \"B\"))"
        ),
    );
    execute(&connection, &format!("COMMENT ON COLUMN \"{table}\".\"DATE\" IS 'when'"));
    execute(&connection, &format!("COMMENT ON TABLE \"{table}\" IS 'all orders'"));
    let columns = oracle.query(&format!(
        "SELECT COLUMN_NAME || ' ' || DATA_TYPE || ' ' || DATA_LENGTH || ' ' || DATA_PRECISION || ' ' || \
         DATA_SCALE || ' ' || NULLABLE || ' ' || CHAR_LENGTH || ' ' || CHAR_USED FROM USER_TAB_COLUMNS \
         WHERE TABLE_NAME = '{table}' ORDER BY COLUMN_ID"
    ));
    let columns: Vec<_> = columns.into_iter().flatten().flatten().collect();
    assert_eq!(
        columns,
        [
            "ID NUMBER 22 10 0 N 0 ",
            "DATE DATE 7   Y 0 ",
            "A VARCHAR2 40   Y 10 C",
            "B VARCHAR2 10   N 10 B",
            "N NUMBER 22 12 2 Y 0 ",
            "X NUMBER 22   Y 0 ",
            "T TIMESTAMP(3) 11  3 Y 0 ",
            "Z TIMESTAMP(6) WITH TIME ZONE 13  6 Y 0 ",
            "I INTERVAL DAY(2) TO SECOND(6) 11 2 6 Y 0 ",
            "F BINARY_FLOAT 4   Y 0 ",
            "G BINARY_DOUBLE 8   Y 0 ",
            "R RAW 16   Y 0 ",
            "C CLOB 4000   Y 0 ",
            "L BLOB 4000   Y 0 ",
        ]
    );
    let key = oracle.query(&format!(
        "SELECT k.CONSTRAINT_NAME, k.COLUMN_NAME FROM ALL_CONSTRAINTS c JOIN ALL_CONS_COLUMNS k \
         ON k.OWNER = c.OWNER AND k.CONSTRAINT_NAME = c.CONSTRAINT_NAME AND k.TABLE_NAME = c.TABLE_NAME \
         WHERE c.OWNER = USER AND c.TABLE_NAME = '{table}' AND c.CONSTRAINT_TYPE = 'P' ORDER BY k.POSITION"
    ));
    let name = format!("{table}_PK");
    assert_eq!(key, [[some(&name), some("ID")], [some(&name), some("B")]]);
    let comments = |view: &str, column: &str| {
        oracle.value(&format!(
            "SELECT COMMENTS FROM {view} WHERE TABLE_NAME = '{table}' AND {column} IS NOT NULL"
        ))
    };
    assert_eq!(comments("USER_TAB_COMMENTS", "COMMENTS"), "all orders");
    assert_eq!(comments("USER_COL_COMMENTS", "COMMENTS"), "when");
    let charset = "SELECT VALUE FROM NLS_DATABASE_PARAMETERS WHERE PARAMETER = 'NLS_CHARACTERSET'";
    assert_eq!(oracle.value(charset), "AL32UTF8");
    assert!(oracle.value("SELECT BANNER FROM V$VERSION").contains("Oracle"));
    assert!(
        oracle
            .value("SELECT VERSION FROM PRODUCT_COMPONENT_VERSION")
            .starts_with(|c: char| c.is_ascii_digit())
    );
    let (version, _) = connection.server_version().expect("a version");
    assert!(version.major() >= 12, "{version}");
    let found = connection
        .query(&format!("SELECT \"ID\", \"B\", \"DATE\" FROM \"{table}\" WHERE \"ID\" = 1 FOR UPDATE"), &[])
        .expect("a query");
    assert_eq!(
        found.column_info().iter().map(|column| column.name()).collect::<Vec<_>>(),
        ["ID", "B", "DATE"]
    );
}

#[test]
fn rows_are_locked_until_the_transaction_ends_and_a_deadlock_ends_one_statement() {
    let oracle = Oracle::shared();
    let (one, other, table) = (oracle.connect(), oracle.connect(), oracle.unique("LOCKED"));
    execute(&one, &format!("CREATE TABLE {table} (ID NUMBER(10) PRIMARY KEY, N NUMBER(10))"));
    execute(&one, &format!("INSERT INTO {table} SELECT LEVEL, 0 FROM DUAL CONNECT BY LEVEL <= 2"));
    one.commit().expect("committed");
    let lock = |connection: &Connection, how: &str| {
        let sql = format!("SELECT N FROM {table} WHERE ID = 1 FOR UPDATE {how}");
        connection.query_row(&sql, &[]).map(|_| ()).map_err(|error| error.oci_code().unwrap_or_default())
    };
    assert_eq!(lock(&one, ""), Ok(()));
    assert_eq!((lock(&other, "NOWAIT"), lock(&other, "WAIT 1")), (Err(54), Err(30006)));
    one.rollback().expect("rolled back");
    assert_eq!(lock(&other, "WAIT 1"), Ok(()));
    other.rollback().expect("rolled back");

    let change = |connection: &Connection, id: u32| {
        let sql = format!("UPDATE {table} SET N = N + 1 WHERE ID = {id}");
        let done = connection.execute(&sql, &[]).map(|_| ());
        done.map_err(|error| error.oci_code().unwrap_or_default())
    };
    assert_eq!((change(&one, 1), change(&other, 2)), (Ok(()), Ok(())));
    let (first, second) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let done = change(&one, 2);
            one.commit().map(|()| done).expect("committed")
        });
        let done = change(&other, 1);
        other.commit().expect("committed");
        (waiting.join().expect("it ends"), done)
    });
    let mut both = [first, second];
    both.sort();
    assert_eq!(both, [Ok(()), Err(60)]);
    assert_eq!(oracle.value(&format!("SELECT SUM(N) FROM {table}")), "3");
}

#[test]
fn a_server_before_12_2_has_names_of_30_bytes() {
    if !Oracle::shared().is_stand_in() {
        return;
    }
    let oracle = Oracle::start_release("12.1");
    let connection = oracle.connect();
    let (version, _) = connection.server_version().expect("a version");
    assert_eq!((version.major(), version.minor()), (12, 1));
    execute(&connection, &format!("CREATE TABLE \"{}\" (A NUMBER)", "T".repeat(30)));
    assert_eq!(refusal(&connection, &format!("CREATE TABLE \"{}\" (A NUMBER)", "T".repeat(31))), 972);
    assert_eq!(refusal(&connection, &format!("CREATE TABLE T ({} NUMBER)", "C".repeat(31))), 972);
}

#[test]
fn a_lost_connection_loses_its_transaction_and_a_silent_server_times_out() {
    let mut oracle = Oracle::start();
    let connection = oracle.connect();
    execute(&connection, "CREATE TABLE T (ID NUMBER(10) PRIMARY KEY)");
    execute(&connection, "INSERT INTO T VALUES (1)");
    oracle.cut_connections();
    let error = connection.execute("INSERT INTO T VALUES (2)", &[]).map(|_| ()).expect_err("it is gone");
    assert!(error.to_string().contains("ORA-03113"), "{error}");
    assert_eq!(oracle.value("SELECT COUNT(*) FROM T"), "0");

    let connection = oracle.connect();
    execute(&connection, "INSERT INTO T VALUES (2)");
    oracle.crash_database();
    let error = connection.commit().expect_err("it is gone").to_string();
    assert!(error.contains("ORA-03113"), "{error}");
    assert_eq!(oracle.value("SELECT COUNT(*) FROM T"), "0");

    let connection = oracle.connect();
    connection.set_call_timeout(Some(std::time::Duration::from_millis(300))).expect("set");
    execute(&connection, "INSERT INTO T VALUES (3)");
    oracle.freeze();
    let error = connection
        .execute("INSERT INTO T VALUES (4)", &[])
        .map(|_| ())
        .expect_err("it is silent")
        .to_string();
    oracle.thaw();
    assert!(error.contains("DPI-1067") || error.contains("ORA-03113"), "{error}");
    drop(connection);
    assert_eq!(oracle.value("SELECT COUNT(*) FROM T"), "0");
}
