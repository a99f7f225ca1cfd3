//! Lookups in tables of real servers: every type as a pipeline would carry it, and a server that is away.

use lode::run::route::RouteState;

use crate::servers;
use crate::support::servers::Server;
use crate::world::{World, drain, eventually, route, settled};

const TYPES: &str = "CREATE TABLE customers (
        id BIGINT UNSIGNED PRIMARY KEY, code VARCHAR(20) UNIQUE, small TINYINT, amount DECIMAL(30,10), ratio DOUBLE,
        born DATE, seen DATETIME(3), at TIMESTAMP(6) NULL, span TIME(2), made YEAR, flags BIT(9), name TEXT, raw VARBINARY(20),
        kind ENUM('a','b'), tags SET('x','y'), doc JSON);
    INSERT INTO customers VALUES
        (1, 'c1', -128, -12345678901234567890.0123456789, 0.1, '1969-12-31', '2024-02-29 23:59:59.999',
         '2001-09-09 01:46:40.000001', '-838:59:59.00', 1901, b'100000001', 'žluť 𝄞', x'00ff00', 'b', 'x,y', '{\"a\": 1.50}'),
        (18446744073709551615, 'c2', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_looked_up_is_the_row_on_mariadb() {
    a_row_that_is_looked_up_is_the_row(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_looked_up_is_the_row_on_mysql() {
    a_row_that_is_looked_up_is_the_row(servers::mysql().await).await;
}

async fn a_row_that_is_looked_up_is_the_row(server: &Server) {
    let world = World::on(server).await;
    world.sql("CREATE TABLE orders (id BIGINT UNSIGNED PRIMARY KEY, code VARCHAR(20))").await;
    let engine = world
        .start(
            "pipeline direct = source mysql shop.customers -> sink sqlite lite.direct_*
             pipeline by_id = source mysql shop.orders
               -> map { let found = lookup(\"shop.customers\", row.id);
                        if found == () { skip(); }
                        for name in found.keys() { row[name] = found[name]; } }
               -> sink sqlite lite.by_id
             pipeline by_code = source mysql shop.orders
               -> filter { lookup(\"shop.customers\", \"code\", row.code) != () }
               -> sink sqlite lite.by_code",
        )
        .await;
    world.sql(TYPES).await;
    world
        .sql("INSERT INTO orders VALUES (1, 'c1'), (2, 'none'), (3, NULL), (18446744073709551615, 'c2')")
        .await;
    settled(&engine, "everything is there", |status| {
        route(status, "direct").figures.changes_delivered == 2
            && route(status, "by_code").figures.changes_delivered == 2
            && route(status, "by_id").figures.changes_delivered == 2
    })
    .await;
    drain(engine).await;
    for column in [
        "id", "code", "small", "amount", "ratio", "born", "seen", "at", "span", "made", "flags", "name",
        "kind", "tags",
    ] {
        // A column that a map fills has a type of its own, and shows more digits behind the point.
        let same = |side: &str| {
            format!(
                "CASE WHEN instr({side}.{column}, '.') THEN rtrim(rtrim({side}.{column}, '0'), '.') ELSE {side}.{column} END"
            )
        };
        let differ = format!(
            "SELECT COUNT(*) FROM direct_customers d JOIN by_id l ON d.id = l.id WHERE {} IS NOT {}",
            same("d"),
            same("l")
        );
        let shown = "SELECT COUNT(*) FROM direct_customers d JOIN by_id l ON d.id = l.id";
        assert_eq!(world.lite_number(shown), 2);
        assert_eq!(world.lite_number(&differ), 0, "{column}: {:?}", both(&world, column));
    }
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM by_id WHERE raw = x'00ff00'"), 1);
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM by_code"), 2);
}

fn both(world: &World, column: &str) -> Vec<(Option<String>, Option<String>)> {
    let text = format!(
        "SELECT CAST(d.{column} AS TEXT), CAST(l.{column} AS TEXT) FROM direct_customers d JOIN by_id l ON d.id = l.id"
    );
    let lite = world.lite("lite.db");
    let mut statement = lite.prepare(&text).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_table_is_away_no_row_is_lost_or_set_aside() {
    let world = World::on(servers::mariadb().await).await;
    world.sql("CREATE TABLE orders (id INT PRIMARY KEY)").await;
    let engine = world
        .start(
            "connection dim = sqlite \"dim.db\"
             pipeline named { on_error = aside } = source mysql shop.orders
               -> map { row.name = lookup(\"dim.customers\", row.id)?.name; }
               -> sink sqlite lite.*",
        )
        .await;
    world.sql("INSERT INTO orders VALUES (1), (2)").await;
    settled(&engine, "it waits for the table", |status| {
        matches!(route(status, "named").state, RouteState::Retrying { .. })
    })
    .await;
    assert_eq!(route(&engine.status().await, "named").figures.rows_aside, 0);
    let dim = rusqlite::Connection::open(world.dir.path().join("dim.db")).unwrap();
    dim.execute_batch(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO customers VALUES (1, 'one')",
    )
    .unwrap();
    eventually("both are there", async || {
        let there = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'orders'";
        world.lite_number(there) == 1 && world.lite_number("SELECT COUNT(*) FROM orders") == 2
    })
    .await;
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM orders WHERE name = 'one'"), 1);
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM orders WHERE name IS NULL"), 1);
    // A table that there is none of is the script's fault, and the rows' that meet it.
    dim.execute_batch("DROP TABLE customers").unwrap();
    world.sql("INSERT INTO orders VALUES (3)").await;
    settled(&engine, "it is set aside", |status| route(status, "named").figures.rows_aside == 1).await;
    drain(engine).await;
}
