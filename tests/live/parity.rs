//! Whether a target holds exactly what the source's server shows.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use rusqlite::types::ValueRef;

use crate::world::World;

/// A column of a source table: its name and `information_schema`'s word for its type.
struct Column {
    name: String,
    data_type: String,
}

/// What a comparison came to.
#[derive(Default)]
pub struct Outcome {
    /// Names of the tables that are on both sides.
    pub tables: Vec<String>,
    /// What is not the same, in words.
    pub differences: Vec<String>,
}

impl Outcome {
    /// The number of tables.
    ///
    /// # Panics
    /// When anything differs.
    pub fn same(self) -> usize {
        assert!(self.differences.is_empty(), "{:#?}", self.differences);
        self.tables.len()
    }
}

/// Compares the tables of the source with those of the same names in the target `copy`.
pub async fn copied(world: &World) -> Outcome {
    let (mut conn, mut target) = (world.root().await, world.target().await);
    let (source, copy) = (world.database.clone(), format!("{}_copy", world.database));
    let known = tables(&mut target, &copy).await;
    let mut outcome = Outcome::default();
    for table in tables(&mut conn, &source).await {
        if known.contains(&table) {
            let columns = columns(&mut conn, &source, &table).await;
            let there = server_rows(&mut conn, &source, &table, &columns).await;
            let here = server_rows(&mut target, &copy, &table, &columns).await;
            outcome.compare("copy", table, &columns, &there, &here);
        }
    }
    for conn in [conn, target] {
        conn.disconnect().await.expect("the connection ends");
    }
    outcome
}

/// Compares the tables of the source with those of the same names in the SQLite file.
pub async fn in_sqlite(world: &World) -> Outcome {
    let mut conn = world.root().await;
    let db = world.lite("lite.db");
    let mut outcome = Outcome::default();
    for table in tables(&mut conn, &world.database).await {
        let known = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?";
        if db.query_row(known, [&table], |row| row.get::<_, i64>(0)).expect("a number") == 1 {
            let columns = columns(&mut conn, &world.database, &table).await;
            let there = server_rows(&mut conn, &world.database, &table, &columns).await;
            let here = sqlite_rows(&db, &table, &columns);
            outcome.compare("lite", table, &columns, &there, &here);
        }
    }
    conn.disconnect().await.expect("the connection ends");
    outcome
}

impl Outcome {
    fn compare(
        &mut self,
        target: &str,
        table: String,
        columns: &[Column],
        there: &[Vec<String>],
        here: &[Vec<String>],
    ) {
        // A row of one side that the other one lacks would make all behind it look different.
        if there.len() != here.len() {
            self.differences.push(format!(
                "{target}.{table} has {} rows, the source {}",
                here.len(),
                there.len()
            ));
        } else {
            for (there, here) in there.iter().zip(here) {
                for (column, (there, here)) in columns.iter().zip(there.iter().zip(here)) {
                    if there != here {
                        let Column { name, data_type } = column;
                        self.differences.push(format!(
                            "{target}.{table}.{name} ({data_type}) is {here}, the source has {there}"
                        ));
                    }
                }
            }
        }
        self.tables.push(table);
    }
}

/// The tables of a database, without those that lode and these tests keep for themselves.
async fn tables(conn: &mut Conn, database: &str) -> Vec<String> {
    let tables: Vec<String> = conn
        .exec(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? ORDER BY 1",
            (database,),
        )
        .await
        .expect("the database is there");
    tables.into_iter().filter(|table| !table.starts_with("lode_")).collect()
}

async fn columns(conn: &mut Conn, database: &str, table: &str) -> Vec<Column> {
    let columns: Vec<(String, String)> = conn
        .exec(
            "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            (database, table),
        )
        .await
        .expect("the table is there");
    columns.into_iter().map(|(name, data_type)| Column { name, data_type }).collect()
}

/// The rows as the server shows them, in a text that says all of every value.
async fn server_rows(conn: &mut Conn, database: &str, table: &str, columns: &[Column]) -> Vec<Vec<String>> {
    let list: Vec<String> = columns
        .iter()
        .map(|Column { name, data_type }| (quoted(name), data_type))
        .map(|(name, data_type)| match data_type.as_str() {
            // Zero padding and the four digits of a year are matters of showing.
            "bit" | "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => {
                format!("CAST({name} + 0 AS CHAR)")
            }
            // The text protocol would round them.
            "float" | "double" => name,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                format!("CONCAT('0x', HEX({name}))")
            }
            "geometry" => format!("CONCAT('0x', HEX(CAST({name} AS BINARY)))"),
            _ => format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)"),
        })
        .collect();
    let query = format!("SELECT {} FROM {database}.{}", list.join(", "), quoted(table));
    let rows: Vec<mysql_async::Row> =
        conn.exec(query.as_str(), ()).await.unwrap_or_else(|error| panic!("{error}\nin: {query}"));
    let mut rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| {
            let cell = |value| match value {
                Value::NULL => "NULL".to_owned(),
                Value::Float(v) => format!("{v:?}"),
                Value::Double(v) => format!("{v:?}"),
                Value::Bytes(text) => String::from_utf8(text).expect("utf8mb4"),
                other => panic!("{other:?} is neither text nor a number"),
            };
            row.unwrap().into_iter().map(cell).collect()
        })
        .collect();
    rows.sort();
    rows
}

fn sqlite_rows(db: &rusqlite::Connection, table: &str, columns: &[Column]) -> Vec<Vec<String>> {
    let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let mut query = db.prepare(&format!("SELECT {} FROM \"{table}\"", names.join(", "))).expect("a table");
    let rows = query.query_map([], |row| {
        let cell = |(at, column): (usize, &Column)| {
            row.get_ref(at).map(|cell| match (cell, column.data_type.as_str()) {
                // Kept as the double with the same digits.
                (ValueRef::Real(v), "float") => format!("{:?}", v as f32),
                _ => crate::world::shown(cell),
            })
        };
        columns.iter().enumerate().map(cell).collect::<rusqlite::Result<Vec<_>>>()
    });
    let mut rows: Vec<Vec<String>> = rows.and_then(Iterator::collect).expect("rows");
    rows.sort();
    rows
}

/// A name as both MySQL and MariaDB read it.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
