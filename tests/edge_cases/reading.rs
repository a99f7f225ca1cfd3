//! Reading changes and keeping a copy of the tables by them, to be held against the server's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lode::error::Error;
use lode::model::block::{BlockBuilder, Entry, Op, SchemaBook};
use lode::model::connection::Connection;
use lode::model::position::{Position, Seq};
use lode::model::row::RowView;
use lode::model::schema::ColumnType;
use lode::model::spec::Start;
use lode::model::table::{Pattern, TableSelection, TableSet};
use lode::model::value::Value;
use lode::source::mysql::Mysql;
use lode::source::{ChangeStream, Progress, Source, SourceKind};

use crate::support::servers::Server;

const PATIENCE: Duration = Duration::from_millis(400);

/// A row, each column as text; columns that an image lacks are `absent`.
pub type Row = Vec<String>;

/// The tables as the changes make them.
#[derive(Debug, Default)]
pub struct Copy {
    pub rows: BTreeMap<String, Vec<Row>>,
    pub columns: BTreeMap<String, Vec<(String, ColumnType)>>,
    /// `insert t`, in order.
    pub ops: Vec<String>,
    /// Each commit, and how many changes came before its end.
    pub commits: Vec<(Position, usize)>,
}

impl Copy {
    /// The rows of a table, sorted.
    pub fn sorted(&self, table: &str) -> Vec<Row> {
        let mut rows = self.rows.get(table).cloned().unwrap_or_default();
        rows.sort();
        rows
    }

    /// The names of the columns, separated by blanks.
    pub fn names(&self, table: &str) -> String {
        let names: Vec<&str> = self.columns[table].iter().map(|(name, _)| name.as_str()).collect();
        names.join(" ")
    }

    /// Compares every table with the server's.
    pub async fn must_equal(&self, server: &Server, database: &str) {
        for (table, columns) in &self.columns {
            let list: Vec<String> = columns.iter().map(|(name, ty)| select(name, ty)).collect();
            let table_name = table.replace('`', "``");
            let shown =
                server.query(&format!("SELECT {} FROM `{database}`.`{table_name}`", list.join(", "))).await;
            let mut shown: Vec<Row> = shown
                .into_iter()
                .map(|row| row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())).collect())
                .collect();
            shown.sort();
            assert_eq!(self.sorted(table), shown, "table {table}");
        }
    }

    fn take(&mut self, out: &mut BlockBuilder) {
        let Some(block) = out.seal() else { return };
        for entry in block.entries() {
            match entry.unwrap().1 {
                Entry::Change(change) => {
                    let schema = out.book().get(change.schema).unwrap();
                    let table = schema.name.table.clone();
                    let view = |image| RowView::new(schema, image).values().map(shown).collect::<Row>();
                    let rows = self.rows.entry(table.clone()).or_default();
                    if let Some(before) = change.before.map(view) {
                        let at = rows.iter().position(|row| fits(row, &before));
                        if let Some(at) = at {
                            let old = rows.swap_remove(at);
                            if let Some(after) = change.after.map(view) {
                                rows.push(merge(old, after));
                            }
                        } else {
                            panic!("{} of a row that {table} does not have: {before:?}", change.op.as_str());
                        }
                    } else if let Some(after) = change.after.map(view) {
                        rows.push(after);
                    }
                    if change.op == Op::Truncate {
                        rows.clear();
                    }
                    if !schema.columns.is_empty() {
                        let columns =
                            schema.columns.iter().map(|column| (column.name.clone(), column.ty.clone()));
                        self.columns.insert(table.clone(), columns.collect());
                    }
                    self.ops.push(format!("{} {table}", change.op.as_str()));
                }
                Entry::Commit { offset, file, gtid, .. } => {
                    let place = Position { gtid: gtid.into(), file: file.into(), offset };
                    self.commits.push((place, self.ops.len()));
                }
                Entry::Schema { .. } | Entry::Coverage(_) => {}
            }
        }
    }
}

/// A server's tables of one database, read from a place on.
pub struct Reading {
    pub source: Arc<dyn Source>,
    stream: Box<dyn ChangeStream>,
    out: BlockBuilder,
    pub copy: Copy,
}

impl Reading {
    /// From the end of the log on.
    pub async fn now(server: &Server, database: &str) -> Reading {
        let source = source(&server.miner(database).await);
        let start = source.resolve(&Start::Now).await.unwrap();
        Reading::from(&source, &start, database).await
    }

    pub async fn from(source: &Arc<dyn Source>, from: &Position, database: &str) -> Reading {
        let stream = source.open(from, selection(database, "*")).await.unwrap();
        Reading {
            source: Arc::clone(source),
            stream,
            out: BlockBuilder::new(Seq(0), SchemaBook::default()),
            copy: Copy::default(),
        }
    }

    /// Reads on until nothing more comes.
    pub async fn go_on(&mut self) -> Result<&Copy, Error> {
        while !matches!(
            self.stream.fill(&mut self.out, 1 << 24, PATIENCE).await?,
            Progress::Idle | Progress::End
        ) {}
        self.copy.take(&mut self.out);
        Ok(&self.copy)
    }

    /// Reads on until the error that has to come.
    pub async fn fails(&mut self) -> Error {
        match self.go_on().await {
            Err(error) => error,
            Ok(copy) => panic!("no error came, but {:?}", copy.ops),
        }
    }
}

pub fn source(connection: &Arc<Connection>) -> Arc<dyn Source> {
    Mysql.source(Arc::clone(connection)).unwrap()
}

pub fn selection(database: &str, table: &str) -> TableSelection {
    let include = vec![Pattern(table.into())];
    TableSelection::of(TableSet { database: database.into(), include, exclude: Vec::new() })
}

fn fits(row: &Row, image: &Row) -> bool {
    row.iter().zip(image).all(|(have, said)| said == "absent" || have == said)
}

fn merge(old: Row, new: Row) -> Row {
    old.into_iter().zip(new).map(|(old, new)| if new == "absent" { old } else { new }).collect()
}

fn shown(value: Option<Value<'_>>) -> String {
    match value {
        None => "absent".into(),
        Some(Value::Null) => "NULL".into(),
        Some(Value::Int(v)) => v.to_string(),
        Some(Value::UInt(v) | Value::Bit(v)) => v.to_string(),
        Some(Value::Year(v)) => format!("{v:04}"),
        Some(Value::Decimal(v) | Value::Json(v) | Value::Text(v)) => v.into_owned(),
        Some(Value::Date(v)) => v.to_string(),
        Some(Value::DateTime(v)) => v.to_string(),
        Some(Value::Timestamp(v)) => v.to_string(),
        Some(Value::Time(v)) => v.to_string(),
        Some(Value::Bytes(v)) => v.iter().map(|byte| format!("{byte:02X}")).collect(),
        Some(other) => format!("{other:?}"),
    }
}

fn select(name: &str, ty: &ColumnType) -> String {
    let name = format!("`{}`", name.replace('`', "``"));
    match ty {
        ColumnType::Bit { .. } | ColumnType::Int { .. } => format!("{name} + 0"),
        ColumnType::Binary { .. } | ColumnType::VarBinary { .. } | ColumnType::Blob { .. } => {
            format!("HEX({name})")
        }
        _ => format!("CONVERT(CAST({name} AS CHAR) USING utf8mb4)"),
    }
}
