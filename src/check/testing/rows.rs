//! From the rows that a test gives to tables and encoded rows.
//!
//! Nobody has to declare a table: it has the columns of the rows that the test gives, with the types of their values. Its
//! primary key is the column `id`, where there is one. `given table` says it otherwise.

use std::sync::Arc;

use super::literal::{self, Cell};
use super::types;
use crate::lang::ast::{self, Spanned};
use crate::lang::codes::Code;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceId, Span};
use crate::model::block::Op;
use crate::model::row::Row;
use crate::model::schema::{Column, ColumnType, TableSchema};
use crate::model::table::TableName;
use crate::model::value::Value;

/// Digits of a decimal column whose type nobody wrote.
const PRECISION: u8 = 65;
/// Digits behind the point of such a column at the most.
const SCALE_MAX: usize = 30;

/// The place of a name that no text has.
const NOWHERE: Span = Span { source: SourceId(u32::MAX), start: 0, end: 0 };

/// A column of a row, as it was read.
pub(super) type Named = (ast::Name, Spanned<Cell>);

/// A table as the rows seen so far show it.
pub(super) struct Draft {
    pub connection: String,
    pub name: TableName,
    columns: Vec<DraftColumn>,
    key: Option<Vec<ast::Name>>,
    /// The rows that the source has at this place of the test.
    rows: Vec<Cells>,
    /// The tables that rows have, by the columns that are in them.
    shapes: Vec<(Vec<bool>, Arc<TableSchema>)>,
}

/// What a row says of each column of its table; `None` where it leaves one out.
type Cells = Vec<Option<Cell>>;

struct DraftColumn {
    name: String,
    ty: Option<ColumnType>,
    is_declared: bool,
    /// Where its type comes from.
    seen: Option<Span>,
    /// Whether a stage names it: then every row has it.
    is_mentioned: bool,
}

impl Draft {
    pub fn new(connection: &str, name: TableName) -> Draft {
        Draft {
            connection: connection.to_owned(),
            name,
            columns: Vec::new(),
            key: None,
            rows: Vec::new(),
            shapes: Vec::new(),
        }
    }

    /// Takes up `given table shop.orders { key = [id], amount = "decimal(10,2)" }`.
    pub fn declare(&mut self, row: &ast::Settings) -> Result<(), Diagnostic> {
        for setting in row.entries() {
            let (name, span) = (&setting.key, setting.value.span);
            match &setting.value.node {
                ast::Value::List(columns) if name.node == "key" => {
                    let column = |value: &Spanned<ast::Value>| match &value.node {
                        ast::Value::Word(word) | ast::Value::Text(word) => {
                            Ok(Spanned::new(word.clone(), value.span))
                        }
                        _ => Err(wrong(value.span, "a key is a list of columns")
                            .help("write key = [order_id, line]")),
                    };
                    self.key = Some(columns.iter().map(column).collect::<Result<_, _>>()?);
                }
                ast::Value::Text(text) => {
                    let Some(ty) = types::parse(text) else {
                        return Err(wrong(span, format!("\"{text}\" is no type of a column"))
                            .help("write it as MySQL does: \"bigint\", \"decimal(10,2)\", \"varchar(40)\", \"datetime(6)\""));
                    };
                    let column = self.column(name);
                    (column.ty, column.is_declared, column.seen) = (Some(ty), true, Some(span));
                }
                _ => {
                    return Err(wrong(span, "the type of a column is missing here")
                        .help("write it as MySQL does, in quotes: amount = \"decimal(10,2)\""));
                }
            }
        }
        Ok(())
    }

    /// Takes up the columns of a row, and what its values say of their types.
    pub fn see(&mut self, row: &[Named]) -> Result<(), Diagnostic> {
        for (name, cell) in row {
            let column = self.column(name);
            let Cell::Value(value) = &cell.node else { continue };
            let Some(ty) = type_of(value) else { continue };
            if column.is_declared {
                continue;
            }
            column.ty = Some(match &column.ty {
                None => ty,
                Some(known) => match join(known, &ty) {
                    Some(both) => both,
                    None => {
                        let what = format!("column `{name}` has values of two types", name = name.node);
                        let finding = wrong(cell.span, what).label(literal::class(value));
                        let finding = match column.seen {
                            Some(first) => finding.related(first, "and another one here"),
                            None => finding,
                        };
                        return Err(finding.help(format!(
                            "say which type it has: given table {} {{ {} = \"varchar(40)\" }}",
                            written_name(&self.connection, &self.name),
                            name.node
                        )));
                    }
                },
            });
            column.seen.get_or_insert(cell.span);
        }
        Ok(())
    }

    /// Takes up a column that only a stage names.
    pub fn mention(&mut self, name: &str) {
        self.column(&Spanned::new(name.to_owned(), NOWHERE)).is_mentioned = true;
    }

    fn column(&mut self, name: &ast::Name) -> &mut DraftColumn {
        let known = self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        let at = known.unwrap_or_else(|| {
            let name = name.node.clone();
            self.columns.push(DraftColumn {
                name,
                ty: None,
                is_declared: false,
                seen: None,
                is_mentioned: false,
            });
            self.columns.len() - 1
        });
        &mut self.columns[at]
    }

    /// The table, once every row was seen.
    pub fn schema(&self) -> Result<Arc<TableSchema>, Diagnostic> {
        let place =
            |name: &str| self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        let primary_key = match &self.key {
            None => place("id").map(|at| at as u16).into_iter().collect(),
            Some(names) => {
                let column = |name: &ast::Name| {
                    match place(name) {
                    Some(at) => Ok(at as u16),
                    None => Err(wrong(name.span, format!("the table has no column `{}`", name.node))
                        .help("a table has the columns of the rows that are given, and those that `given table` declares")),
                }
                };
                names.iter().map(column).collect::<Result<Vec<u16>, _>>()?
            }
        };
        let columns = self.columns.iter().enumerate().map(|(at, column)| Column {
            name: column.name.clone(),
            ty: column.ty.clone().unwrap_or(ColumnType::Text { bytes: u32::MAX }),
            nullable: !primary_key.contains(&(at as u16)),
        });
        let columns = columns.collect();
        Ok(Arc::new(TableSchema { name: self.name.clone(), columns, primary_key, unique_keys: Vec::new() }))
    }

    /// The row before and after a change that is given, and what the source has from then on.
    ///
    /// A row has the columns that it names, and its table has no others: so it is whole, as the rows of a source are.
    pub fn change(
        &mut self,
        table: &TableSchema,
        op: &Spanned<Op>,
        row: &[Named],
        before: Option<&[Named]>,
    ) -> Result<(Option<Row>, Option<Row>), Diagnostic> {
        let cells = cells(table, row)?;
        let old_cells = before.map(|before| self::cells(table, before)).transpose()?;
        Ok(match op.node {
            Op::Truncate => {
                self.rows.clear();
                (None, None)
            }
            Op::Insert => {
                let row = self.encode(table, &cells, op.span)?;
                self.rows.push(cells);
                (None, Some(row))
            }
            Op::Delete => {
                let known = self.find(table, &cells).map(|at| self.rows.remove(at));
                let row = overlay(known, cells);
                (Some(self.encode(table, &row, op.span)?), None)
            }
            Op::Update => {
                let known = self.find(table, old_cells.as_ref().unwrap_or(&cells));
                if known.is_none() && old_cells.is_none() {
                    return Err(wrong(op.span, "this updates a row that was not given before")
                        .note("an update changes the columns that it names of the row that was given before with the same key")
                        .help("give the insert first, or what the row was: before = { … }"));
                }
                let known = known.map(|at| self.rows.remove(at));
                let old = overlay(known, old_cells.unwrap_or_else(|| vec![None; table.columns.len()]));
                let new = overlay(Some(old.clone()), cells);
                // What only the new row says of a column was so before, too.
                let old = overlay(Some(new.clone()), old);
                let rows = (self.encode(table, &old, op.span)?, self.encode(table, &new, op.span)?);
                self.rows.push(new);
                (Some(rows.0), Some(rows.1))
            }
        })
    }

    fn encode(&mut self, table: &TableSchema, cells: &Cells, span: Span) -> Result<Row, Diagnostic> {
        let is_there = |at: usize| matches!(&cells[at], Some(Cell::Value(value)) if !value.is_null());
        if let Some(at) = table.primary_key.iter().map(|at| usize::from(*at)).find(|at| !is_there(*at)) {
            let column = &table.columns[at].name;
            return Err(wrong(span, format!("the row has no value for `{column}`, the table's key"))
                .help(format!("add {column} = …")));
        }
        let has: Vec<bool> = cells
            .iter()
            .zip(&self.columns)
            .map(|(cell, column)| cell.is_some() || column.is_mentioned)
            .collect();
        let values = cells.iter().zip(&has).filter(|(_, has)| **has).map(|(cell, _)| match cell {
            Some(Cell::Value(value)) => Some(value.clone()),
            Some(Cell::Absent) => None,
            // A stage names this column, and the test does not care for it.
            None => Some(Value::Null),
        });
        let values: Vec<_> = values.collect();
        let known = self.shapes.iter().find(|(shape, _)| *shape == has).map(|(_, schema)| Arc::clone(schema));
        let schema = known.unwrap_or_else(|| {
            let schema = Arc::new(shaped(table, &has));
            self.shapes.push((has, Arc::clone(&schema)));
            schema
        });
        let row = Row::encode(Arc::clone(&schema), &values);
        row.map_err(|unfit| unfit_column(span, &schema.columns[unfit.0]))
    }

    /// The row that was given before with this key.
    fn find(&self, schema: &TableSchema, cells: &Cells) -> Option<usize> {
        let key = || schema.primary_key.iter().map(|at| usize::from(*at));
        if schema.primary_key.is_empty() {
            return None;
        }
        self.rows.iter().rposition(|row| key().all(|at| row[at].is_some() && row[at] == cells[at]))
    }
}

/// The cells of `under` where `over` has none.
fn overlay(under: Option<Cells>, over: Cells) -> Cells {
    match under {
        Some(under) => over.into_iter().zip(under).map(|(over, under)| over.or(under)).collect(),
        None => over,
    }
}

/// The table with those columns only that a row has; the key is among them.
fn shaped(table: &TableSchema, has: &[bool]) -> TableSchema {
    let place = |column: usize| has[..column].iter().filter(|has| **has).count() as u16;
    let columns = table.columns.iter().zip(has).filter(|(_, has)| **has);
    TableSchema {
        name: table.name.clone(),
        columns: columns.map(|(column, _)| column.clone()).collect(),
        primary_key: table.primary_key.iter().map(|at| place(usize::from(*at))).collect(),
        unique_keys: Vec::new(),
    }
}

/// A cell for each column of the table that the row names.
fn cells(table: &TableSchema, row: &[Named]) -> Result<Cells, Diagnostic> {
    let mut cells = vec![None; table.columns.len()];
    for (name, cell) in row {
        let Some(at) = table.column(name) else { continue };
        cells[at] = Some(match &cell.node {
            Cell::Absent => Cell::Absent,
            Cell::Value(value) => {
                let column = &table.columns[at];
                Cell::Value(literal::fit(value, &column.ty).ok_or_else(|| unfit_column(cell.span, column))?)
            }
        });
    }
    Ok(cells)
}

fn unfit_column(span: Span, column: &Column) -> Diagnostic {
    wrong(span, format!("column `{}` cannot hold this value", column.name))
        .note(format!("its type is {}", types::text(&column.ty)))
        .help("write another value, or declare the type: given table … { … }")
}

fn written_name(connection: &str, name: &TableName) -> String {
    format!("{connection}.{}", name.table)
}

pub(super) fn wrong(span: Span, what: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::E0513, span, what)
}

fn type_of(value: &Value<'_>) -> Option<ColumnType> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) | Value::Int(_) => ColumnType::Int { bits: 64, unsigned: false },
        Value::UInt(_) => ColumnType::Int { bits: 64, unsigned: true },
        Value::Decimal(digits) => {
            let scale = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len().min(SCALE_MAX));
            ColumnType::Decimal { precision: PRECISION, scale: scale as u8, unsigned: false }
        }
        Value::Float(_) | Value::Double(_) => ColumnType::Double,
        Value::Bit(_) => ColumnType::Bit { width: 64 },
        Value::Year(_) => ColumnType::Year,
        Value::Date(_) => ColumnType::Date,
        Value::DateTime(at) => ColumnType::DateTime { fsp: at.fsp },
        Value::Timestamp(at) => ColumnType::Timestamp { fsp: at.fsp },
        Value::Time(span) => ColumnType::Time { fsp: span.fsp },
        Value::Text(_) => ColumnType::Text { bytes: u32::MAX },
        Value::Bytes(_) => ColumnType::Blob { bytes: u32::MAX },
        Value::Json(_) => ColumnType::Json,
    })
}

/// The type that holds the values of both.
fn join(one: &ColumnType, other: &ColumnType) -> Option<ColumnType> {
    use ColumnType::{DateTime, Decimal, Double, Int, Time, Timestamp};
    Some(match (one, other) {
        (Int { unsigned: a, .. }, Int { unsigned: b, .. }) => Int { bits: 64, unsigned: *a || *b },
        (Decimal { scale: a, .. }, Decimal { scale: b, .. }) => {
            Decimal { precision: PRECISION, scale: *a.max(b), unsigned: false }
        }
        (Int { .. }, decimal @ Decimal { .. }) | (decimal @ Decimal { .. }, Int { .. }) => decimal.clone(),
        (Double, Int { .. } | Decimal { .. }) | (Int { .. } | Decimal { .. }, Double) => Double,
        (DateTime { fsp: a }, DateTime { fsp: b }) => DateTime { fsp: *a.max(b) },
        (Timestamp { fsp: a }, Timestamp { fsp: b }) => Timestamp { fsp: *a.max(b) },
        (Time { fsp: a }, Time { fsp: b }) => Time { fsp: *a.max(b) },
        (one, other) if one == other => one.clone(),
        _ => return None,
    })
}
