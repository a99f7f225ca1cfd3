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
    rows: Vec<Vec<Option<Value<'static>>>>,
}

struct DraftColumn {
    name: String,
    ty: Option<ColumnType>,
    is_declared: bool,
    /// Where its type comes from.
    seen: Option<Span>,
}

impl Draft {
    pub fn new(connection: &str, name: TableName) -> Draft {
        Draft { connection: connection.to_owned(), name, columns: Vec::new(), key: None, rows: Vec::new() }
    }

    /// Takes up `given table shop.orders { key = [id], amount = "decimal(10,2)" }`.
    pub fn declare(&mut self, row: &ast::Settings) -> Result<(), Diagnostic> {
        for setting in row.entries() {
            let (name, span) = (&setting.key, setting.value.span);
            match &setting.value.node {
                ast::Value::List(columns) if name.node == "key" => {
                    let column = |value: &Spanned<ast::Value>| match &value.node {
                        ast::Value::Word(word) | ast::Value::Text(word) => Ok(Spanned::new(word.clone(), value.span)),
                        _ => Err(wrong(value.span, "a key is a list of columns").help("write key = [order_id, line]")),
                    };
                    self.key = Some(columns.iter().map(column).collect::<Result<_, _>>()?);
                }
                ast::Value::Text(text) => {
                    let Some(ty) = types::parse(text) else {
                        return Err(wrong(span, format!("\"{text}\" is no type of a column"))
                            .help("write it as MySQL does: \"bigint\", \"decimal(10,2)\", \"varchar(40)\", \"datetime(6)\""));
                    };
                    let column = self.column(name);
                    *column = DraftColumn { ty: Some(ty), is_declared: true, seen: Some(span), name: name.node.clone() };
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
        self.column(&Spanned::new(name.to_owned(), NOWHERE));
    }

    fn column(&mut self, name: &ast::Name) -> &mut DraftColumn {
        let known = self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        let at = known.unwrap_or_else(|| {
            let name = name.node.clone();
            self.columns.push(DraftColumn { name, ty: None, is_declared: false, seen: None });
            self.columns.len() - 1
        });
        &mut self.columns[at]
    }

    /// The table, once every row was seen.
    pub fn schema(&self) -> Result<Arc<TableSchema>, Diagnostic> {
        let place = |name: &str| self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        let primary_key = match &self.key {
            None => place("id").map(|at| at as u16).into_iter().collect(),
            Some(names) => {
                let column = |name: &ast::Name| match place(name) {
                    Some(at) => Ok(at as u16),
                    None => Err(wrong(name.span, format!("the table has no column `{}`", name.node))
                        .help("a table has the columns of the rows that are given, and those that `given table` declares")),
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
    pub fn change(
        &mut self,
        schema: &Arc<TableSchema>,
        op: &Spanned<Op>,
        row: &[Named],
        before: Option<&[Named]>,
    ) -> Result<(Option<Row>, Option<Row>), Diagnostic> {
        let cells = cells(schema, row)?;
        let old_cells = before.map(|before| self::cells(schema, before)).transpose()?;
        let encode = |cells: Vec<Option<Value<'static>>>| {
            let missing = schema.primary_key.iter().find(|at| cells[usize::from(**at)].as_ref().is_none_or(Value::is_null));
            if let Some(at) = missing {
                let column = &schema.columns[usize::from(*at)].name;
                return Err(wrong(op.span, format!("the row has no value for `{column}`, the table's key"))
                    .help(format!("add {column} = …")));
            }
            let row = Row::encode(Arc::clone(schema), &cells);
            let row = row.map_err(|unfit| unfit_column(op.span, schema, unfit.0))?;
            Ok((row, cells))
        };
        Ok(match op.node {
            Op::Truncate => {
                self.rows.clear();
                (None, None)
            }
            Op::Insert => {
                let (row, cells) = encode(cells)?;
                self.rows.push(cells);
                (None, Some(row))
            }
            Op::Delete => {
                let known = self.find(schema, &cells);
                let (row, _) = encode(overlay(known.map(|at| self.rows.remove(at)), cells))?;
                (Some(row), None)
            }
            Op::Update => {
                let known = self.find(schema, old_cells.as_ref().unwrap_or(&cells));
                if known.is_none() && old_cells.is_none() {
                    return Err(wrong(op.span, "this updates a row that was not given before")
                        .note("an update changes the columns that it names of the row that was given before with the same key")
                        .help("give the insert first, or what the row was: before = { … }"));
                }
                let known = known.map(|at| self.rows.remove(at));
                // What only the new row says of a column was so before, too.
                let old = match (known, old_cells) {
                    (known, None) => overlay(known, Vec::new()),
                    (Some(known), Some(old)) => overlay(Some(known), old),
                    (None, Some(old)) => overlay(Some(cells.clone()), old),
                };
                let new = overlay(Some(old.clone()), cells);
                let (old, _) = encode(old)?;
                let (new, cells) = encode(new)?;
                self.rows.push(cells);
                (Some(old), Some(new))
            }
        })
    }

    /// The row that was given before with this key.
    fn find(&self, schema: &TableSchema, cells: &[Option<Value<'static>>]) -> Option<usize> {
        let key = || schema.primary_key.iter().map(|at| usize::from(*at));
        if schema.primary_key.is_empty() {
            return None;
        }
        self.rows.iter().rposition(|row| key().all(|at| row[at].is_some() && row[at] == cells[at]))
    }
}

/// The cells of `under` where `over` has none.
fn overlay(under: Option<Vec<Option<Value<'static>>>>, over: Vec<Option<Value<'static>>>) -> Vec<Option<Value<'static>>> {
    let Some(under) = under else { return over };
    if over.is_empty() {
        return under;
    }
    over.into_iter().zip(under).map(|(over, under)| over.or(under)).collect()
}

/// A cell for each column of the table.
fn cells(schema: &TableSchema, row: &[Named]) -> Result<Vec<Option<Value<'static>>>, Diagnostic> {
    let mut cells = vec![None; schema.columns.len()];
    for (name, cell) in row {
        let Some(at) = schema.column(name) else { continue };
        let Cell::Value(value) = &cell.node else { continue };
        cells[at] = Some(literal::fit(value, &schema.columns[at].ty).ok_or_else(|| unfit_column(cell.span, schema, at))?);
    }
    Ok(cells)
}

fn unfit_column(span: Span, schema: &TableSchema, column: usize) -> Diagnostic {
    let column = &schema.columns[column];
    let finding = wrong(span, format!("column `{}` cannot hold this value", column.name));
    finding.note(format!("its type is {}", types::text(&column.ty))).help("write another value, or declare the type: given table … { … }")
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
