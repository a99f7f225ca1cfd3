//! Target tables: what is there, what is missing, and the statements for rows of one schema.

use std::fmt::Write;

use rusqlite::{Connection, params};

use super::writer::{db_error, first};
use crate::error::{Error, Kind, Result};
use crate::model::schema::{ColumnType, TableSchema};
use crate::sink::settings::{Mode, OP_COLUMN, SEQ_COLUMN, TIME_COLUMN, TableOptions};
use crate::sink::step::{exceeds_i64, key_columns, key_names, key_places};

/// A table as the database has it.
pub(super) struct Target {
    name: String,
    columns: Vec<TargetColumn>,
    /// The columns of each key that lets no row occur twice.
    unique: Vec<Vec<String>>,
    /// The name by which a row can be addressed: one of SQLite's three that no column hides.
    rowid: &'static str,
}

struct TargetColumn {
    name: String,
    affinity: Affinity,
}

/// What SQLite makes of values in a column, by the rules for declared types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

impl Target {
    /// `None` when there is no such table.
    pub fn load(db: &Connection, name: &str) -> rusqlite::Result<Option<Target>> {
        let is_there = first(
            db,
            "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
            name,
            |_| Ok(()),
        )?;
        if is_there.is_none() {
            return Ok(None);
        }
        let mut primary = Vec::new();
        let mut columns = Vec::new();
        let mut query = db.prepare("SELECT name, type, pk FROM pragma_table_info(?)")?;
        let mut rows = query.query(params![name])?;
        while let Some(row) = rows.next()? {
            let column: String = row.get(0)?;
            let declared: String = row.get(1)?;
            let place: i64 = row.get(2)?;
            if place > 0 {
                primary.push(column.clone());
            }
            columns.push(TargetColumn { name: column, affinity: Affinity::of(&declared) });
        }
        let mut unique = vec![primary];
        // An index over a part of the rows does not keep the others apart.
        let mut query = db.prepare(
            "SELECT i.name FROM pragma_index_list(?) AS i WHERE i.\"unique\" = 1 AND i.partial = 0",
        )?;
        let mut indexes = query.query(params![name])?;
        while let Some(index) = indexes.next()? {
            let index: String = index.get(0)?;
            let mut query = db.prepare("SELECT name FROM pragma_index_info(?)")?;
            let names = query.query_map(params![index], |row| row.get::<_, Option<String>>(0))?;
            // An expression has no name; such an index is no key of columns.
            if let Some(names) = names.collect::<rusqlite::Result<Option<Vec<_>>>>()? {
                unique.push(names);
            }
        }
        let hidden = |rowid: &str| columns.iter().any(|column: &TargetColumn| same(&column.name, rowid));
        let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !hidden(name)).unwrap_or("rowid");
        Ok(Some(Target { name: name.to_owned(), columns, unique, rowid }))
    }

    /// Makes the table for rows of `schema`.
    pub fn create(
        db: &Connection,
        name: &str,
        schema: &TableSchema,
        options: TableOptions,
    ) -> Result<Target> {
        if !options.create_tables {
            return Err(Error::new(Kind::Environment, format!("the target has no table {name}"))
                .advice("make the table, or set create_tables = on"));
        }
        db.execute_batch(&create_table(name, schema, options.mode)).map_err(|error| db_error(error, name))?;
        Target::load(db, name)
            .map_err(|error| db_error(error, name))?
            .ok_or_else(|| Error::new(Kind::Internal, format!("table {name} is not there after it was made")))
    }

    /// Checks that rows of `schema` can be written exactly, and adds missing columns where that is allowed.
    pub fn check(
        &mut self,
        db: &Connection,
        schema: &TableSchema,
        options: TableOptions,
        writes: bool,
    ) -> Result<()> {
        let key = key_names(schema);
        for column in &schema.columns {
            if writes || key.contains(&column.name.as_str()) {
                self.check_column(db, &column.name, Some(&column.ty), options)?;
            }
        }
        match options.mode {
            Mode::Append => {
                for (name, ty) in APPENDED {
                    if schema.column(name).is_some() {
                        return Err(Error::new(
                            Kind::Data,
                            format!(
                                "table {} has a column {name}, which mode append adds itself",
                                schema.name
                            ),
                        )
                        .advice("rename or drop the column in a stage"));
                    }
                    self.check_column(db, name, Some(&ty), options)?;
                }
                Ok(())
            }
            Mode::Upsert if key.is_empty() || self.has_unique(&key) => Ok(()),
            Mode::Upsert => Err(Error::new(
                Kind::Environment,
                format!("table {} has no primary or unique key over ({})", self.name, key.join(", ")),
            )
            .advice("add such a key, or set mode = append")),
        }
    }

    /// Whether there is a column for every one of `schema`.
    pub fn has_columns(&self, schema: &TableSchema) -> bool {
        schema.columns.iter().all(|column| self.column(&column.name).is_some())
    }

    fn check_column(
        &mut self,
        db: &Connection,
        name: &str,
        ty: Option<&ColumnType>,
        options: TableOptions,
    ) -> Result<()> {
        let declared = ty.map_or("", declared_type);
        let Some(column) = self.column(name) else {
            if !options.create_tables {
                return Err(Error::new(
                    Kind::Environment,
                    format!("table {} has no column {name}", self.name),
                )
                .advice("add the column, drop it in a stage, or set create_tables = on"));
            }
            let sql = format!("ALTER TABLE {} ADD COLUMN {} {declared}", quote(&self.name), quote(name));
            db.execute_batch(&sql).map_err(|error| db_error(error, &self.name))?;
            self.columns.push(TargetColumn { name: name.to_owned(), affinity: Affinity::of(declared) });
            return Ok(());
        };
        match ty {
            Some(ty) if !column.affinity.keeps(ty) => Err(Error::new(
                Kind::Environment,
                format!(
                    "column {name} of table {} is declared so that SQLite would change values of the source's type",
                    self.name
                ),
            )
            .advice(match declared {
                "" => "declare the column without a type".to_owned(),
                declared => format!("declare the column as {declared}"),
            })),
            _ => Ok(()),
        }
    }

    fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| same(&column.name, name))
    }

    fn has_unique(&self, key: &[&str]) -> bool {
        self.unique.iter().any(|columns| {
            columns.len() == key.len()
                && key.iter().all(|part| columns.iter().any(|column| same(column, part)))
        })
    }
}

/// The statements for rows of one schema in one table.
pub(super) struct Plan {
    /// The target's name, for messages.
    pub table: String,
    /// Whether the target was checked for all columns, not only for the key.
    pub checked_columns: bool,
    /// Positions of all columns.
    pub all: Vec<u16>,
    /// Positions of the key.
    pub key: Vec<u16>,
    /// Writes a complete row by its key.
    pub put: String,
    /// Deletes by the key.
    pub remove: String,
    quoted: String,
    rowid: &'static str,
    names: Vec<String>,
    key_names: Vec<String>,
    too_small: Vec<String>,
}

impl Plan {
    pub fn new(target: &Target, schema: &TableSchema, checked_columns: bool) -> Plan {
        let mut plan = Plan {
            table: target.name.clone(),
            checked_columns,
            all: (0..schema.columns.len() as u16).collect(),
            key: key_columns(schema).to_vec(),
            put: String::new(),
            remove: String::new(),
            quoted: quote(&target.name),
            rowid: target.rowid,
            names: schema.columns.iter().map(|column| quote(&column.name)).collect(),
            key_names: key_names(schema).into_iter().map(str::to_owned).collect(),
            too_small: schema
                .columns
                .iter()
                .filter(|column| {
                    exceeds_i64(&column.ty)
                        && target.column(&column.name).is_some_and(|column| !column.affinity.keeps_text())
                })
                .map(|column| column.name.clone())
                .collect(),
        };
        if !plan.key.is_empty() {
            plan.put = plan.put_some(&plan.all);
            plan.remove = format!("DELETE FROM {} WHERE {}", plan.quoted, plan.conditions(&plan.key, " = ?"));
        }
        plan
    }

    /// Inserts these columns, or updates them where the key is there already.
    pub fn put_some(&self, columns: &[u16]) -> String {
        let mut sql = self.insert(columns);
        let _ = write!(sql, " ON CONFLICT ({}) DO ", self.list(&self.key));
        let mut sets = columns.iter().filter(|at| !self.key.contains(at)).peekable();
        if sets.peek().is_none() {
            sql.push_str("NOTHING");
            return sql;
        }
        let sets: Vec<_> =
            sets.map(|&at| format!("{0} = excluded.{0}", self.names[usize::from(at)])).collect();
        let _ = write!(sql, "UPDATE SET {}", sets.join(", "));
        sql
    }

    /// Inserts these columns.
    pub fn insert(&self, columns: &[u16]) -> String {
        if columns.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES", self.quoted);
        }
        format!("INSERT INTO {} ({}) VALUES ({})", self.quoted, self.list(columns), marks(columns.len()))
    }

    /// Inserts these columns, operation, number and time.
    pub fn append(&self, columns: &[u16]) -> String {
        let mut names: Vec<_> = columns.iter().map(|&at| self.names[usize::from(at)].clone()).collect();
        names.extend(APPENDED.map(|(name, _)| quote(name)));
        format!("INSERT INTO {} ({}) VALUES ({})", self.quoted, names.join(", "), marks(names.len()))
    }

    /// Updates these columns in the row of a key.
    pub fn patch(&self, columns: &[u16]) -> String {
        let key = self.conditions(&self.key, " = ?");
        format!("UPDATE {} SET {} WHERE {key}", self.quoted, self.assignments(columns))
    }

    /// Updates these columns in one of the rows that equal another in `found` columns of its schema.
    pub fn replace_one(&self, columns: &[u16], other: &Plan, found: &[u16]) -> String {
        format!("UPDATE {} SET {} WHERE {}", self.quoted, self.assignments(columns), other.one_equal(found))
    }

    /// Deletes one of the rows that equal another in these columns.
    pub fn remove_one(&self, columns: &[u16]) -> String {
        format!("DELETE FROM {} WHERE {}", self.quoted, self.one_equal(columns))
    }

    /// Where the key's columns are in rows of another schema.
    pub fn key_in(&self, schema: &TableSchema) -> Result<Vec<u16>> {
        key_places(&self.table, &self.key_names, schema)
    }

    /// Whether the target would change a number above the largest signed one.
    pub fn rejects_large(&self, column: &str) -> bool {
        self.too_small.iter().any(|name| name == column)
    }

    fn one_equal(&self, columns: &[u16]) -> String {
        // The source told rows apart by their bytes; a collation of the target must not.
        let equal = self.conditions(columns, " COLLATE BINARY IS ?");
        let condition = if columns.is_empty() { "1" } else { &equal };
        format!("{0} = (SELECT {0} FROM {1} WHERE {condition} LIMIT 1)", self.rowid, self.quoted)
    }

    fn assignments(&self, columns: &[u16]) -> String {
        columns
            .iter()
            .map(|&at| format!("{} = ?", self.names[usize::from(at)]))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn conditions(&self, columns: &[u16], test: &str) -> String {
        columns
            .iter()
            .map(|&at| format!("{}{test}", self.names[usize::from(at)]))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    fn list(&self, columns: &[u16]) -> String {
        columns.iter().map(|&at| self.names[usize::from(at)].as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Affinity {
    /// The rules of "Datatypes In SQLite", 3.1, in their order.
    fn of(declared: &str) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if has("INT") {
            Affinity::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || declared.is_empty() {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }

    fn keeps_text(self) -> bool {
        matches!(self, Affinity::Text | Affinity::Blob)
    }

    /// Whether every value of `ty` stays what it is. Large numbers are looked at one by one.
    fn keeps(self, ty: &ColumnType) -> bool {
        match ty {
            ColumnType::Decimal { .. }
            | ColumnType::Char { .. }
            | ColumnType::VarChar { .. }
            | ColumnType::Text { .. }
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Json => self.keeps_text(),
            ColumnType::Int { bits: 64, .. } | ColumnType::Bit { .. } => self != Affinity::Real,
            // A text column would hold the digits of a double, of which SQLite shows 15 only.
            ColumnType::Float | ColumnType::Double => self != Affinity::Text,
            _ => true,
        }
    }
}

/// The columns that mode append adds.
const APPENDED: [(&str, ColumnType); 3] = [
    (OP_COLUMN, ColumnType::VarChar { chars: 8 }),
    (SEQ_COLUMN, ColumnType::Int { bits: 64, unsigned: true }),
    (TIME_COLUMN, ColumnType::DateTime { fsp: 3 }),
];

/// Only the key is NOT NULL: the source may relax a column later, and SQLite cannot follow.
fn create_table(name: &str, schema: &TableSchema, mode: Mode) -> String {
    let key: &[u16] = if mode == Mode::Upsert { key_columns(schema) } else { &[] };
    let mut parts: Vec<String> = Vec::with_capacity(schema.columns.len() + 4);
    for (at, column) in schema.columns.iter().enumerate() {
        let declared = declared_type(&column.ty);
        let not_null = if key.iter().any(|&part| usize::from(part) == at) { " NOT NULL" } else { "" };
        parts.push(format!("{} {declared}{not_null}", quote(&column.name)));
    }
    if mode == Mode::Append {
        parts.extend(APPENDED.map(|(name, ty)| format!("{} {}", quote(name), declared_type(&ty))));
    }
    if !key.is_empty() {
        let names: Vec<_> = key.iter().map(|&at| quote(&schema.columns[usize::from(at)].name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    format!("CREATE TABLE {} ({})", quote(name), parts.join(", "))
}

fn declared_type(ty: &ColumnType) -> &'static str {
    match ty {
        ty if exceeds_i64(ty) => "",
        ColumnType::Bool | ColumnType::Int { .. } | ColumnType::Bit { .. } | ColumnType::Year => "INTEGER",
        ColumnType::Float | ColumnType::Double => "REAL",
        ColumnType::Binary { .. }
        | ColumnType::VarBinary { .. }
        | ColumnType::Blob { .. }
        | ColumnType::Geometry => "BLOB",
        ColumnType::Decimal { .. }
        | ColumnType::Date
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Time { .. }
        | ColumnType::Char { .. }
        | ColumnType::VarChar { .. }
        | ColumnType::Text { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Json => "TEXT",
    }
}

/// A name as an identifier.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn marks(count: usize) -> String {
    let mut marks = "?, ".repeat(count);
    marks.truncate(count.saturating_mul(3).saturating_sub(2));
    marks
}
