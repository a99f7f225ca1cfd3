//! The Oracle sink against the way that is usual without it: one MERGE for each row, in the same run on the same server.
//!
//! ```sh
//! tests/support/oracle-server && cargo bench --bench oracle
//! ```
//!
//! Without `LODE_TEST_ORACLE_DSN` the server is a stand-in, whose speed says nothing about Oracle's: only the
//! ratio of the two ways is of interest, and on a real server, where each call costs a round trip, it is another one.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::model::block::Op;
use lode::model::change::{Batch, Change};
use lode::model::connection::{Connection, Endpoint};
use lode::model::position::{Cursor, Seq};
use lode::model::row::Row;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use lode::model::table::TableName;
use lode::model::value::Value;
use lode::sink::{SinkKind, SinkRoute};
use oracle::sql_type::OracleType;
use support::oracle::Oracle;

/// Rows that are written in each way, once new and once changed.
const ROWS: i64 = 10_000;
/// Changes of one transaction.
const BATCH: i64 = 1000;

fn main() {
    let server = Oracle::shared();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let arrays = runtime.block_on(by_the_sink(&server));
    let single = one_by_one(&server);
    let of = |what: &str, took: Duration| {
        println!("{what:<28} {:>8.0} rows/s", 2.0 * ROWS as f64 / took.as_secs_f64());
    };
    let kind =
        if server.is_stand_in() { "a stand-in, not Oracle" } else { "as LODE_TEST_ORACLE_DSN names it" };
    println!("server: {kind}; {} rows of 4 columns, {BATCH} to a transaction", 2 * ROWS);
    of("sink oracle", arrays);
    of("one MERGE for each row", single);
    println!("{:<28} {:>8.1}", "ratio", single.as_secs_f64() / arrays.as_secs_f64());
}

async fn by_the_sink(server: &Oracle) -> Duration {
    let schema = orders(&server.unique("BY_SINK"));
    let mut settings = vec![("password", Setting::Secret(Secret::new(server.password())))];
    settings.extend(server.client_lib().map(|folder| ("client_lib", Setting::Path(folder))));
    let endpoint = Endpoint::Url {
        scheme: "oracle".into(),
        user: server.user().into(),
        host: server.host().into(),
        port: server.port(),
        database: server.service().into(),
    };
    let route = SinkRoute {
        key: "bench".into(),
        connection: Some(Arc::new(Connection {
            name: "dw".into(),
            kind: "oracle",
            endpoint,
            settings: Settings(settings.into_iter().collect()),
        })),
        target: "*".into(),
        settings: Settings::default(),
        state_dir: std::env::temp_dir(),
    };
    let mut sink = lode::sink::oracle::Oracle.sink(route).expect("a sink");
    sink.open().await.expect("it opens");
    // The table is made before the clock starts, as it is for the other way.
    sink.write(Batch { changes: vec![change(&schema, 0, 0)].into(), cursor: Some(cursor(0)) })
        .await
        .expect("written");
    let began = Instant::now();
    for round in 0..2 {
        for first in (0..ROWS).step_by(BATCH as usize) {
            let changes: Vec<_> = (first..first + BATCH).map(|id| change(&schema, id, round)).collect();
            sink.write(Batch { changes: changes.into(), cursor: Some(cursor(1)) }).await.expect("written");
        }
    }
    let took = began.elapsed();
    sink.close().await.expect("it closes");
    took
}

fn one_by_one(server: &Oracle) -> Duration {
    let table = server.unique("ONE_BY_ONE");
    let conn = server.connect();
    let ddl = format!(
        "CREATE TABLE {table} (ID NUMBER(10) PRIMARY KEY, STATE VARCHAR2(20 CHAR), QTY NUMBER(10), PRICE NUMBER(12,2))"
    );
    conn.execute(&ddl, &[]).expect("made");
    let merge = format!(
        "MERGE INTO {table} t USING (SELECT :1 AS ID, :2 AS STATE, :3 AS QTY, :4 AS PRICE FROM DUAL) s ON (t.ID = s.ID) \
         WHEN MATCHED THEN UPDATE SET t.STATE = s.STATE, t.QTY = s.QTY, t.PRICE = s.PRICE \
         WHEN NOT MATCHED THEN INSERT (ID, STATE, QTY, PRICE) VALUES (s.ID, s.STATE, s.QTY, s.PRICE)"
    );
    let began = Instant::now();
    for round in 0..2 {
        for id in 0..ROWS {
            let (state, price) = (state(round), price(id));
            let text = OracleType::Varchar2(20);
            let number = OracleType::Number(0, 0);
            conn.execute(&merge, &[&id, &(&state, &text), &round, &(&price.as_str(), &number)])
                .expect("merged");
            if (id + 1) % BATCH == 0 {
                conn.commit().expect("committed");
            }
        }
    }
    began.elapsed()
}

fn orders(table: &str) -> Arc<TableSchema> {
    let column = |name: &str, ty, nullable| Column { name: name.into(), ty, nullable };
    Arc::new(TableSchema {
        name: TableName::new("shop", table),
        columns: vec![
            column("id", ColumnType::Int { bits: 32, unsigned: false }, false),
            column("state", ColumnType::VarChar { chars: 20 }, true),
            column("qty", ColumnType::Int { bits: 32, unsigned: false }, true),
            column("price", ColumnType::Decimal { precision: 12, scale: 2, unsigned: false }, true),
        ],
        primary_key: vec![0],
        unique_keys: Vec::new(),
    })
}

fn change(schema: &Arc<TableSchema>, id: i64, round: i64) -> Change {
    let row = |round: i64| {
        let values = [
            Value::Int(id),
            Value::Text(state(round).into()),
            Value::Int(round),
            Value::Decimal(price(id).into()),
        ];
        Row::encode(schema.clone(), &values.map(Some)).expect("a row")
    };
    let (op, before) = if round == 0 { (Op::Insert, None) } else { (Op::Update, Some(row(round - 1))) };
    Change { seq: Seq(1), op, table: schema.clone(), before, after: Some(row(round)), time_ms: 0 }
}

fn state(round: i64) -> &'static str {
    if round == 0 { "new" } else { "paid" }
}

fn price(id: i64) -> String {
    format!("{id}.25")
}

fn cursor(next: u64) -> Cursor {
    Cursor { source: String::new(), log: None, next: Seq(next), position: None, direct: None }
}
