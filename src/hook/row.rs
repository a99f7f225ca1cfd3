//! The row that a hook sees: the source's bytes, and what the hook changed of them.

use std::fmt::Write as _;

use rhai::{Array, Dynamic, Engine, INT, ImmutableString};

use super::cell::{self, Cell};
use super::error::{Outcome, Problem};
use crate::model::row::Row;
use crate::model::schema::TableSchema;

/// A row in a hook. Columns that the hook does not read are never decoded, and those that it does not set keep
/// their bytes.
#[derive(Clone, Debug)]
pub(super) struct HookRow {
    pub base: Row,
    pub touched: Vec<Touched>,
}

/// A column that the hook set or removed.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    pub slot: Slot,
    /// `None` when it was removed.
    pub cell: Option<Cell>,
}

/// Which column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Slot {
    /// One of the row's schema.
    Column(usize),
    /// One that the hook added.
    New(ImmutableString),
}

impl HookRow {
    pub fn new(base: Row) -> Self {
        HookRow { base, touched: Vec::new() }
    }

    fn get(&self, name: &str) -> Result<Dynamic, Problem> {
        let Some(column) = self.base.schema.column(name) else {
            let added = |touched: &&Touched| matches!(&touched.slot, Slot::New(new) if new == name);
            return match self.touched.iter().find(added) {
                Some(Touched { cell: Some(cell), .. }) => Ok(cell.to_dynamic()),
                Some(_) => Ok(Dynamic::UNIT),
                None => Err(unknown_column(&self.base.schema, name)),
            };
        };
        if let Some(touched) = self.touched.iter().find(|touched| touched.slot == Slot::Column(column)) {
            return Ok(touched.cell.as_ref().map_or(Dynamic::UNIT, Cell::to_dynamic));
        }
        match self.base.view().get(column) {
            Some(value) => Ok(cell::to_dynamic(value)),
            None => Err(Problem::new(format!("column `{name}` is not part of this row's image"))
                .advice("set `binlog_row_image = FULL` at the source, or test with `row.contains(…)`")),
        }
    }

    fn set(&mut self, name: &ImmutableString, value: Dynamic) -> Result<(), Problem> {
        let cell = Cell::from_dynamic(value, name)?;
        let (slot, cell) = match self.base.schema.column(name) {
            Some(column) => (Slot::Column(column), cell.in_column(&self.base.schema.columns[column].ty)),
            None => (Slot::New(name.clone()), cell),
        };
        let cell = Some(cell);
        match self.touched.iter_mut().find(|touched| touched.slot == slot) {
            Some(touched) => touched.cell = cell,
            None if name.is_empty() => return Err(Problem::new("a column needs a name")),
            None => self.touched.push(Touched { slot, cell }),
        }
        Ok(())
    }

    /// Removes a column and gives the value that it had.
    fn remove(&mut self, name: &str) -> Result<Dynamic, Problem> {
        let Some(column) = self.base.schema.column(name) else {
            let value = self.get(name)?;
            self.touched.retain(|touched| !matches!(&touched.slot, Slot::New(new) if new == name));
            return Ok(value);
        };
        if self.base.schema.primary_key.iter().any(|key| usize::from(*key) == column) {
            return Err(Problem::new(format!(
                "column `{name}` belongs to the primary key and cannot be removed"
            ))
            .advice("give it another value instead, or leave it"));
        }
        let value = if self.contains(name) { self.get(name)? } else { Dynamic::UNIT };
        match self.touched.iter_mut().find(|touched| touched.slot == Slot::Column(column)) {
            Some(touched) => touched.cell = None,
            None => self.touched.push(Touched { slot: Slot::Column(column), cell: None }),
        }
        Ok(value)
    }

    /// Whether the column is there with a value or NULL.
    fn contains(&self, name: &str) -> bool {
        let slot = self.base.schema.column(name).map_or_else(|| Slot::New(name.into()), Slot::Column);
        match (self.touched.iter().find(|touched| touched.slot == slot), slot) {
            (Some(touched), _) => touched.cell.is_some(),
            (None, Slot::Column(column)) => self.base.view().is_present(column),
            (None, Slot::New(_)) => false,
        }
    }

    /// The names of the columns that are there, in order.
    fn keys(&self) -> Vec<ImmutableString> {
        let columns =
            self.base.schema.columns.iter().map(|column| ImmutableString::from(column.name.as_str()));
        let added = self.touched.iter().filter_map(|touched| match &touched.slot {
            Slot::New(name) => Some(name.clone()),
            Slot::Column(_) => None,
        });
        columns.chain(added).filter(|name| self.contains(name)).collect()
    }

    fn values(&self) -> Result<Array, Problem> {
        self.keys().iter().map(|name| self.get(name)).collect()
    }

    /// What `print(row)` shows.
    fn to_text(&self) -> String {
        let mut text = String::from("#{");
        for (index, name) in self.keys().iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let value = self.get(name).unwrap_or_default();
            let _ = write!(text, "{comma}{name}: {value:?}");
        }
        text.push('}');
        text
    }
}

impl IntoIterator for HookRow {
    type Item = ImmutableString;
    type IntoIter = std::vec::IntoIter<ImmutableString>;

    fn into_iter(self) -> Self::IntoIter {
        self.keys().into_iter()
    }
}

/// Adds the type. `properties` are the names that scripts use behind a dot; each gets a getter and a setter of its
/// own, as Rhai would otherwise make an error first whenever it falls back to the indexer.
pub(super) fn register<'a>(engine: &mut Engine, properties: impl IntoIterator<Item = &'a ImmutableString>) {
    engine
        .register_type_with_name::<HookRow>("row")
        .register_indexer_get(|row: &mut HookRow, name: ImmutableString| -> Outcome<Dynamic> {
            Ok(row.get(&name)?)
        })
        .register_indexer_set(|row: &mut HookRow, name: ImmutableString, value: Dynamic| -> Outcome<()> {
            Ok(row.set(&name, value)?)
        })
        .register_fn("remove", |row: &mut HookRow, name: &str| -> Outcome<Dynamic> { Ok(row.remove(name)?) })
        .register_fn("contains", |row: &mut HookRow, name: &str| row.contains(name))
        .register_fn("keys", |row: &mut HookRow| row.keys().into_iter().map(Dynamic::from).collect::<Array>())
        .register_fn("values", |row: &mut HookRow| -> Outcome<Array> { Ok(row.values()?) })
        .register_fn("len", |row: &mut HookRow| row.keys().len() as INT)
        .register_fn("to_string", |row: &mut HookRow| row.to_text())
        .register_fn("to_debug", |row: &mut HookRow| row.to_text())
        .register_iterator::<HookRow>();
    for property in properties {
        let (get, set) = (property.clone(), property.clone());
        engine
            .register_get(property.as_str(), move |row: &mut HookRow| -> Outcome<Dynamic> {
                Ok(row.get(&get)?)
            })
            .register_set(property.as_str(), move |row: &mut HookRow, value: Dynamic| -> Outcome<()> {
                Ok(row.set(&set, value)?)
            });
    }
}

/// The error for a column that a table does not have. It never reads as NULL, as a typing mistake would go unseen.
pub(super) fn unknown_column(schema: &TableSchema, name: &str) -> Problem {
    let problem = Problem::new(format!("table {} has no column `{name}`", schema.name));
    match candidates(schema, name) {
        Some(advice) => problem.advice(advice),
        None => problem,
    }
}

/// How many column names a message lists.
const CANDIDATES_MAX: usize = 12;

/// The column that was probably meant, or all of them.
fn candidates(schema: &TableSchema, name: &str) -> Option<String> {
    let names = || schema.columns.iter().map(|column| column.name.as_str());
    let likeness = |candidate: &str| strsim::jaro_winkler(&candidate.to_lowercase(), &name.to_lowercase());
    let nearest = names().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    if likeness(nearest) > 0.8 {
        return Some(format!("did you mean `{nearest}`?"));
    }
    let listed: Vec<_> = names().take(CANDIDATES_MAX).collect();
    let more = if schema.columns.len() > CANDIDATES_MAX { ", …" } else { "" };
    Some(format!("its columns are {}{more}", listed.join(", ")))
}
