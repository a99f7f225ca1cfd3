//! Target tables on the server: what is there, and what is made.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::failure;
use super::types::{Flavor, TargetColumn, declaration, keeps, row_bytes};
use crate::error::{Error, Kind, Result};
use crate::model::schema::{ColumnType, TableSchema};
use crate::sink::settings::{Mode, OP_COLUMN, SEQ_COLUMN, TIME_COLUMN, TableOptions};
use crate::sink::step::{key_columns, key_names};
use crate::sink::unique::{UniqueKey, further_unique, unique_keys};

/// Most bytes of a row, with some left for what lode does not count.
const ROW_BYTES_MAX: u64 = 60_000;

/// A table as the server has it.
pub(super) struct Target {
    pub name: String,
    columns: Vec<TargetColumn>,
    unique: Vec<UniqueKey>,
    /// Whether a foreign key begins or ends here, so that the order among tables matters.
    pub linked: bool,
}

impl Target {
    /// `None` when there is no such table.
    pub async fn load(conn: &mut Conn, name: &str) -> Result<Option<Target>> {
        let failed = |error| failure(error, &format!("cannot look at table {name}"));
        let engine: Option<(Option<String>,)> = conn
            .exec_first(
                "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
                (name,),
            )
            .await
            .map_err(failed)?;
        let Some((engine,)) = engine else { return Ok(None) };
        if let Some(engine) = engine
            && ["myisam", "aria", "memory", "csv", "archive"].contains(&engine.to_ascii_lowercase().as_str())
        {
            return Err(Error::new(
                Kind::Environment,
                format!("table {name} is kept by {engine}, which has no transactions"),
            )
            .advice(format!("ALTER TABLE {} ENGINE = InnoDB", quote(name))));
        }
        let columns: Vec<(String, String, Option<u64>, Option<u64>)> = conn
            .exec(
                "SELECT COLUMN_NAME, LOWER(DATA_TYPE), NUMERIC_SCALE, DATETIME_PRECISION FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
                (name,),
            )
            .await
            .map_err(failed)?;
        let parts: Vec<(String, Option<String>, Option<u64>)> = conn
            .exec(
                "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = \
                 DATABASE() AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
                (name,),
            )
            .await
            .map_err(failed)?;
        let links: Option<u8> = conn
            .exec_first(
                "SELECT 1 FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_NAME IS NOT NULL AND \
                 (TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? OR \
                 REFERENCED_TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME = ?) LIMIT 1",
                (name, name),
            )
            .await
            .map_err(failed)?;
        Ok(Some(Target {
            name: name.to_owned(),
            columns: columns
                .into_iter()
                .map(|(name, data_type, scale, fraction)| TargetColumn { name, data_type, scale, fraction })
                .collect(),
            unique: unique_keys(parts.into_iter().map(|(key, column, part)| (key, column, part.is_none()))),
            linked: links.is_some(),
        }))
    }

    /// Checks that rows of `schema` can be written exactly. The result is what has to be added first.
    pub fn missing<'a>(
        &self,
        schema: &'a TableSchema,
        options: TableOptions,
        writes: bool,
    ) -> Result<Vec<(&'a str, &'a ColumnType)>> {
        let key = key_names(schema);
        let mut missing = Vec::new();
        let appended: &[_] = if options.mode == Mode::Append { APPENDED } else { &[] };
        if let Some((name, _)) = appended.iter().find(|(name, _)| schema.column(name).is_some()) {
            return Err(Error::new(
                Kind::Data,
                format!("table {} has a column {name}, which mode append adds itself", schema.name),
            )
            .advice("rename or drop the column in a stage"));
        }
        let wanted = schema
            .columns
            .iter()
            .filter(|column| writes || key.contains(&column.name.as_str()))
            .map(|column| (column.name.as_str(), &column.ty));
        for (name, ty) in wanted.chain(appended.iter().map(|(name, ty)| (*name, ty))) {
            match self.column(name) {
                Some(column) if keeps(column, ty) => {}
                Some(column) => {
                    return Err(Error::new(
                        Kind::Environment,
                        format!(
                            "column {name} of table {} is a {}, which does not hold every value of the source exactly",
                            self.name, column.data_type
                        ),
                    )
                    .advice(format!("change it to {}", declaration(ty, false))));
                }
                None if options.create_tables => missing.push((name, ty)),
                None => {
                    return Err(Error::new(
                        Kind::Environment,
                        format!("table {} has no column {name}", self.name),
                    )
                    .advice("add the column, drop it in a stage, or set create_tables = on"));
                }
            }
        }
        if options.mode == Mode::Upsert
            && !key.is_empty()
            && !self.unique.iter().any(|unique| unique.is(&key))
        {
            return Err(Error::new(
                Kind::Environment,
                format!("table {} has no primary or unique key over ({})", self.name, key.join(", ")),
            )
            .advice("add such a key, or set mode = append"));
        }
        Ok(missing)
    }

    /// Whether there is a column for every one of `schema`.
    pub fn has_columns(&self, schema: &TableSchema) -> bool {
        schema.columns.iter().all(|column| self.column(&column.name).is_some())
    }

    /// Takes note of columns that were added.
    pub fn added(&mut self, columns: &[(&str, &ColumnType)]) {
        self.columns.extend(columns.iter().map(|(name, ty)| {
            let declared = declaration(ty, false);
            let word = declared.split(['(', ' ']).next().unwrap_or_default();
            let (scale, fraction) = match ty {
                ColumnType::Decimal { scale, .. } => (Some(u64::from(*scale)), None),
                ColumnType::DateTime { fsp } | ColumnType::Timestamp { fsp } | ColumnType::Time { fsp } => {
                    (None, Some(u64::from(*fsp)))
                }
                _ => (None, None),
            };
            let data_type = match word {
                "BOOLEAN" => "tinyint".to_owned(),
                word => word.to_ascii_lowercase(),
            };
            TargetColumn { name: (*name).to_owned(), data_type, scale, fraction }
        }));
    }

    /// Positions in `schema` of all columns in unique keys other than the row's own key. `None`: a key's columns cannot
    /// be told from rows of this schema.
    pub fn further_unique(&self, schema: &TableSchema) -> Option<Vec<u16>> {
        further_unique(&self.unique, &key_names(schema), |name| schema.column(name))
    }

    fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| same(&column.name, name))
    }
}

/// The columns that mode append adds.
const APPENDED: &[(&str, ColumnType)] = &[
    (OP_COLUMN, ColumnType::VarChar { chars: 8 }),
    (SEQ_COLUMN, ColumnType::Int { bits: 64, unsigned: true }),
    (TIME_COLUMN, ColumnType::DateTime { fsp: 3 }),
];

/// The statement that makes a table for rows of `schema`.
pub(super) fn create_table(name: &str, schema: &TableSchema, mode: Mode, flavor: Flavor) -> String {
    let key: &[u16] = if mode == Mode::Upsert { key_columns(schema) } else { &[] };
    let short = schema.columns.iter().map(|column| row_bytes(&column.ty)).sum::<u64>() > ROW_BYTES_MAX;
    let mut parts: Vec<String> = Vec::with_capacity(schema.columns.len() + 4);
    for (at, column) in schema.columns.iter().enumerate() {
        let in_key = key.iter().any(|&part| usize::from(part) == at);
        parts.push(definition(&column.name, &column.ty, short && !in_key, in_key));
    }
    if mode == Mode::Append {
        parts.extend(APPENDED.iter().map(|(name, ty)| definition(name, ty, false, false)));
    }
    if !key.is_empty() {
        let names: Vec<_> = key.iter().map(|&at| quote(&schema.columns[usize::from(at)].name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    format!(
        "CREATE TABLE IF NOT EXISTS {} ({}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {}",
        quote(name),
        parts.join(", "),
        flavor.exact_collation()
    )
}

/// The statement that adds columns to a table.
pub(super) fn add_columns(name: &str, columns: &[(&str, &ColumnType)], flavor: Flavor) -> String {
    let parts: Vec<_> = columns
        .iter()
        .map(|(column, ty)| {
            let mut part = format!("ADD COLUMN {}", definition(column, ty, false, false));
            // The table's own collation may be one that takes different texts for equal.
            if matches!(ty, ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. }) {
                part = part.replace(
                    " NULL",
                    &format!(" CHARACTER SET utf8mb4 COLLATE {} NULL", flavor.exact_collation()),
                );
            }
            part
        })
        .collect();
    format!("ALTER TABLE {} {}", quote(name), parts.join(", "))
}

/// A name as an identifier.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// NULL is said, since a timestamp would otherwise get a default that changes with every update.
fn definition(name: &str, ty: &ColumnType, short: bool, not_null: bool) -> String {
    let null = match (not_null, ty) {
        (false, _) => "NULL",
        (true, ColumnType::Timestamp { .. }) => "NOT NULL DEFAULT '0000-00-00 00:00:00'",
        (true, _) => "NOT NULL",
    };
    format!("{} {} {null}", quote(name), declaration(ty, short))
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}
