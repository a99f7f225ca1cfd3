//! Schemas of rows that a stage changed, and the bytes of such rows.
//!
//! Rows of one source schema that are changed in the same way share one derived schema, the same `Arc` each time,
//! so that a sink compares a pointer to know that it has seen the shape before.

use std::sync::Arc;

use rhai::ImmutableString;

use super::cell::Cell;
use super::error::Problem;
use super::row::{HookRow, Slot, unknown_column};
use crate::model::row::{ImageWriter, Row};
use crate::model::schema::{Column, ColumnType, TableSchema};
use crate::model::value::Value;

/// Source schemas, and shapes of each, that are remembered. Beyond, all are forgotten and made anew.
const SHAPES_MAX: usize = 256;

/// Remembers the derived schemas of one map.
#[derive(Default)]
pub(super) struct Shapes {
    sources: Vec<Source>,
}

/// What became of the rows of one source schema so far.
struct Source {
    schema: Arc<TableSchema>,
    /// Columns whose type had to change, with the type that they have since then.
    retyped: Vec<(usize, ColumnType)>,
    /// Columns that were set to NULL although they could not be NULL.
    nullable: Vec<usize>,
    /// New columns in the order in which they were first seen.
    added: Vec<(ImmutableString, ColumnType)>,
    shapes: Vec<(Vec<Edit>, Arc<TableSchema>)>,
}

/// One difference of a derived schema. The order of the variants is the order in which they are applied.
#[derive(Clone, Debug, PartialEq)]
enum Edit {
    Retype(usize, ColumnType),
    Nullable(usize),
    Remove(usize),
    Add(usize, ColumnType),
}

impl Shapes {
    /// The row as the hook left it.
    ///
    /// A value that fits its column's type exactly has it; otherwise the column gets the type of the value's class
    /// in this row, and in those rows whose values need it too. A new column can be NULL, and has the type of its first value.
    pub fn finish(&mut self, row: &HookRow) -> Result<Row, Problem> {
        if row.touched.is_empty() {
            return Ok(row.base.clone());
        }
        let source = self.source(&row.base.schema);
        let mut edits = Vec::new();
        // Parallel to `touched`: the value, and the place among the added columns.
        let mut values = Vec::with_capacity(row.touched.len());
        for touched in &row.touched {
            values.push(match (&touched.slot, &touched.cell) {
                (Slot::Column(column), None) => {
                    edits.push(Edit::Remove(*column));
                    None
                }
                (Slot::Column(column), Some(cell)) => Some(source.set(*column, cell, &mut edits)?),
                (Slot::New(name), Some(cell)) => Some(source.add(name, cell, &mut edits)?),
                (Slot::New(_), None) => None,
            });
        }
        edits.sort_by_key(Edit::place);
        let schema = source.derive(&edits);
        let mut image = Vec::with_capacity(row.base.image.len() + 32 * row.touched.len());
        let view = row.base.view();
        let mut writer = ImageWriter::new(&mut image, schema.columns.len(), !view.is_complete());
        let base = &row.base.schema;
        let mut index = 0;
        for (column, raw) in view.raw().enumerate() {
            match row.touched.iter().position(|touched| touched.slot == Slot::Column(column)) {
                None => writer.copy(&base.columns[column].ty, raw),
                Some(at) => match &values[at] {
                    Some(value) => write(&mut writer, &schema.columns[index], value)?,
                    None => continue,
                },
            }
            index += 1;
        }
        for edit in &edits {
            let Edit::Add(place, _) = edit else { continue };
            let name = &source.added[*place].0;
            let slot = Slot::New(name.clone());
            let at = row.touched.iter().position(|touched| touched.slot == slot);
            let value = at.and_then(|at| values[at].as_ref()).unwrap_or(&Value::Null);
            write(&mut writer, &schema.columns[index], value)?;
            index += 1;
        }
        Ok(Row { schema, image: image.into() })
    }

    fn source(&mut self, schema: &Arc<TableSchema>) -> &mut Source {
        let known = self.sources.iter().position(|source| Arc::ptr_eq(&source.schema, schema));
        let at = known.unwrap_or_else(|| {
            if self.sources.len() >= SHAPES_MAX {
                self.sources.clear();
            }
            self.sources.push(Source {
                schema: Arc::clone(schema),
                retyped: Vec::new(),
                nullable: Vec::new(),
                added: Vec::new(),
                shapes: Vec::new(),
            });
            self.sources.len() - 1
        });
        &mut self.sources[at]
    }
}

fn write(writer: &mut ImageWriter<'_>, column: &Column, value: &Value<'_>) -> Result<(), Problem> {
    writer
        .value(&column.ty, value)
        .map_err(|()| Problem::new(format!("the value for column `{}` does not fit its type", column.name)))
}

impl Source {
    fn set<'a>(
        &mut self,
        column: usize,
        cell: &'a Cell,
        edits: &mut Vec<Edit>,
    ) -> Result<Value<'a>, Problem> {
        let original = &self.schema.columns[column];
        if matches!(cell, Cell::Null) && self.schema.primary_key.iter().any(|key| usize::from(*key) == column)
        {
            return Err(Problem::new(format!(
                "column `{}` belongs to the primary key and cannot be NULL",
                original.name
            )));
        }
        if matches!(cell, Cell::Null) && !original.nullable && !self.nullable.contains(&column) {
            self.nullable.push(column);
        }
        if self.nullable.contains(&column) {
            edits.push(Edit::Nullable(column));
        }
        if let Some(value) = cell.fit(&original.ty) {
            return Ok(value);
        }
        let retyped = self.retyped.iter_mut().find(|(at, _)| *at == column);
        if let Some((_, ty)) = &retyped
            && let Some(value) = cell.fit(ty)
        {
            edits.push(Edit::Retype(column, ty.clone()));
            return Ok(value);
        }
        let (ty, value) = own(cell, &original.name)?;
        edits.push(Edit::Retype(column, ty.clone()));
        match retyped {
            Some(known) => known.1 = ty,
            None => self.retyped.push((column, ty)),
        }
        Ok(value)
    }

    fn add<'a>(
        &mut self,
        name: &ImmutableString,
        cell: &'a Cell,
        edits: &mut Vec<Edit>,
    ) -> Result<Value<'a>, Problem> {
        let place = self.added.iter().position(|(known, _)| known == name);
        if let Some(place) = place
            && let Some(value) = cell.fit(&self.added[place].1)
        {
            edits.push(Edit::Add(place, self.added[place].1.clone()));
            return Ok(value);
        }
        let (ty, value) = own(cell, name)?;
        let place = match place {
            Some(place) => {
                self.added[place].1 = ty.clone();
                place
            }
            None if self.added.len() >= SHAPES_MAX => {
                return Err(Problem::new(format!("the hook adds more than {SHAPES_MAX} different columns"))
                    .advice("do not compute the names of new columns from values"));
            }
            None => {
                self.added.push((name.clone(), ty.clone()));
                self.added.len() - 1
            }
        };
        edits.push(Edit::Add(place, ty));
        Ok(value)
    }

    fn derive(&mut self, edits: &[Edit]) -> Arc<TableSchema> {
        if edits.is_empty() {
            return Arc::clone(&self.schema);
        }
        if let Some((_, schema)) = self.shapes.iter().find(|(known, _)| known == edits) {
            return Arc::clone(schema);
        }
        let mut columns: Vec<_> = self.schema.columns.iter().cloned().map(Some).collect();
        for edit in edits {
            match edit {
                Edit::Retype(column, ty) => {
                    if let Some(column) = &mut columns[*column] {
                        column.ty = ty.clone();
                    }
                }
                Edit::Nullable(column) => {
                    if let Some(column) = &mut columns[*column] {
                        column.nullable = true;
                    }
                }
                Edit::Remove(column) => columns[*column] = None,
                Edit::Add(place, ty) => columns.push(Some(Column {
                    name: self.added[*place].0.to_string(),
                    ty: ty.clone(),
                    nullable: true,
                })),
            }
        }
        let schema = Arc::new(compact(&self.schema, columns));
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.clear();
        }
        self.shapes.push((edits.to_vec(), Arc::clone(&schema)));
        schema
    }
}

fn own<'a>(cell: &'a Cell, column: &str) -> Result<(ColumnType, Value<'a>), Problem> {
    let ty = cell.own_type();
    match cell.fit(&ty) {
        Some(value) => Ok((ty, value)),
        None => Err(Problem::new(format!(
            "the DECIMAL for column `{column}` needs more than 35 digits before or 30 behind the point"
        ))
        .advice("round it: `x.round(2)`")),
    }
}

impl Edit {
    /// Orders edits in a way that does not depend on the order of the hook's statements.
    fn place(&self) -> (u8, usize) {
        match self {
            Edit::Retype(at, _) => (0, *at),
            Edit::Nullable(at) => (1, *at),
            Edit::Remove(at) => (2, *at),
            Edit::Add(at, _) => (3, *at),
        }
    }
}

/// A schema of the columns that are left, its keys renumbered. A unique key that lost a column is none any more.
fn compact(source: &TableSchema, columns: Vec<Option<Column>>) -> TableSchema {
    let mut next = 0;
    let places: Vec<Option<u16>> = columns
        .iter()
        .map(|column| {
            column.as_ref()?;
            next += 1;
            Some(next - 1)
        })
        .collect();
    let renumber = |key: &Vec<u16>| key.iter().map(|at| places[usize::from(*at)]).collect::<Option<Vec<_>>>();
    TableSchema {
        name: source.name.clone(),
        primary_key: renumber(&source.primary_key).unwrap_or_default(),
        unique_keys: source.unique_keys.iter().filter_map(renumber).collect(),
        columns: columns.into_iter().flatten().collect(),
    }
}

/// Keeps or removes named columns, copying bytes without decoding a value.
pub struct Projection {
    names: Vec<String>,
    keep: bool,
    plans: Vec<Cut>,
}

/// The work for one source schema.
struct Cut {
    source: Arc<TableSchema>,
    derived: Arc<TableSchema>,
    /// For each column of the source, whether it stays.
    stays: Vec<bool>,
}

/// A column list that does not suit a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionError {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do next.
    pub advice: Option<String>,
}

impl From<Problem> for ProjectionError {
    fn from(Problem { message, advice, .. }: Problem) -> Self {
        ProjectionError { message, advice }
    }
}

impl Projection {
    /// Keeps these columns and the primary key.
    pub fn keep(names: Vec<String>) -> Self {
        Projection { names, keep: true, plans: Vec::new() }
    }

    /// Removes these columns.
    pub fn drop(names: Vec<String>) -> Self {
        Projection { names, keep: false, plans: Vec::new() }
    }

    /// The row with the columns that stay.
    ///
    /// # Errors
    /// When the row's table lacks a named column, or a column of the primary key is to be removed.
    pub fn apply(&mut self, row: &Row) -> Result<Row, ProjectionError> {
        let known = self.plans.iter().position(|cut| Arc::ptr_eq(&cut.source, &row.schema));
        let at = match known {
            Some(at) => at,
            None => {
                let cut = self.plan(&row.schema)?;
                if self.plans.len() >= SHAPES_MAX {
                    self.plans.clear();
                }
                self.plans.push(cut);
                self.plans.len() - 1
            }
        };
        let cut = &self.plans[at];
        let view = row.view();
        let mut image = Vec::with_capacity(row.image.len());
        let mut writer = ImageWriter::new(&mut image, cut.derived.columns.len(), !view.is_complete());
        for ((raw, column), stays) in view.raw().zip(&row.schema.columns).zip(&cut.stays) {
            if *stays {
                writer.copy(&column.ty, raw);
            }
        }
        Ok(Row { schema: Arc::clone(&cut.derived), image: image.into() })
    }

    fn plan(&self, source: &Arc<TableSchema>) -> Result<Cut, ProjectionError> {
        let mut stays = vec![!self.keep; source.columns.len()];
        for name in &self.names {
            let column = source.column(name).ok_or_else(|| unknown_column(source, name))?;
            if !self.keep && source.primary_key.iter().any(|key| usize::from(*key) == column) {
                let message = format!("column `{name}` belongs to the primary key of table {}", source.name);
                let advice = Some("take it off the `drop` list".to_owned());
                return Err(ProjectionError { message, advice });
            }
            stays[column] = self.keep;
        }
        for key in &source.primary_key {
            stays[usize::from(*key)] = true;
        }
        let kept = |(column, stays): (&Column, &bool)| stays.then(|| column.clone());
        let columns = source.columns.iter().zip(&stays).map(kept).collect();
        Ok(Cut { source: Arc::clone(source), derived: Arc::new(compact(source, columns)), stays })
    }
}
