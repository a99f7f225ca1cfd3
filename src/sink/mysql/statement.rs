//! The statements for rows of one schema in one table.

use mysql_async::Value as SqlValue;

use super::table::{Target, quote};
use super::types::{Flavor, comparison_mark, is_text, parameter};
use crate::error::Result;
use crate::model::row::Row;
use crate::model::schema::TableSchema;
use crate::model::value::Value;
use crate::sink::actions::{Constraints, TablePlan};
use crate::sink::settings::{OP_COLUMN, SEQ_COLUMN, TIME_COLUMN};
use crate::sink::step::{key_columns, key_names, key_places};

/// What is needed to write rows of one schema to one table.
pub(super) struct Plan {
    /// The target's name, for messages.
    pub table: String,
    /// The target's name as an identifier.
    pub quoted: String,
    /// Whether the target was checked for all columns, not only for the key.
    pub checked_columns: bool,
    /// What ties the rows to each other.
    pub constraints: Constraints,
    names: Vec<String>,
    key_names: Vec<String>,
    marks: Vec<String>,
    exact: Vec<String>,
}

impl Plan {
    pub fn new(target: &Target, schema: &TableSchema, checked_columns: bool, flavor: Flavor) -> Plan {
        Plan {
            table: target.name.clone(),
            quoted: quote(&target.name),
            checked_columns,
            constraints: Constraints {
                key: key_columns(schema).to_vec(),
                further_unique: target.further_unique(schema),
                linked: target.linked,
            },
            names: schema.columns.iter().map(|column| quote(&column.name)).collect(),
            key_names: key_names(schema).into_iter().map(str::to_owned).collect(),
            marks: schema.columns.iter().map(|column| comparison_mark(&column.ty, flavor)).collect(),
            exact: schema
                .columns
                .iter()
                .map(|column| {
                    let name = quote(&column.name);
                    // The source told rows apart by their bytes; a collation of the target must not.
                    match is_text(&column.ty) {
                        true => format!("CONVERT({name} USING utf8mb4) COLLATE {}", flavor.exact_collation()),
                        false => name,
                    }
                })
                .collect(),
        }
    }

    /// Inserts `rows` rows with these columns.
    pub fn insert(&self, columns: &[u16], rows: usize) -> String {
        let one = format!("({})", vec!["?"; columns.len()].join(","));
        let names: Vec<_> = columns.iter().map(|&at| self.names[usize::from(at)].as_str()).collect();
        let mut sql = format!("INSERT INTO {} ({}) VALUES ", self.quoted, names.join(","));
        sql.reserve((one.len() + 1) * rows);
        for row in 0..rows {
            if row > 0 {
                sql.push(',');
            }
            sql.push_str(&one);
        }
        sql
    }

    /// Inserts rows, or writes these columns where the key is there already.
    pub fn upsert(&self, columns: &[u16], rows: usize) -> String {
        let mut sql = self.insert(columns, rows);
        let sets: Vec<_> =
            columns.iter().map(|&at| format!("{0}=VALUES({0})", self.names[usize::from(at)])).collect();
        sql.push_str(" ON DUPLICATE KEY UPDATE ");
        sql.push_str(&sets.join(","));
        sql
    }

    /// Inserts one row with these columns, operation, number and time.
    pub fn append(&self, columns: &[u16], rows: usize) -> String {
        let mut names: Vec<_> = columns.iter().map(|&at| self.names[usize::from(at)].clone()).collect();
        names.extend([OP_COLUMN, SEQ_COLUMN, TIME_COLUMN].map(quote));
        let one = format!("({})", vec!["?"; names.len()].join(","));
        format!("INSERT INTO {} ({}) VALUES {}", self.quoted, names.join(","), vec![one; rows].join(","))
    }

    /// Deletes `rows` rows by their keys.
    pub fn delete(&self, rows: usize) -> String {
        let one = self.key_condition();
        if self.constraints.key.len() == 1 {
            let at = usize::from(self.constraints.key[0]);
            let marks = vec![self.marks[at].as_str(); rows].join(",");
            return format!("DELETE FROM {} WHERE {} IN ({marks})", self.quoted, self.names[at]);
        }
        let all = vec![format!("({one})"); rows].join(" OR ");
        format!("DELETE FROM {} WHERE {all}", self.quoted)
    }

    /// Updates these columns in the row of a key.
    pub fn update(&self, columns: &[u16]) -> String {
        format!("UPDATE {} SET {} WHERE {}", self.quoted, self.assignments(columns), self.key_condition())
    }

    /// Updates these columns in one of the rows that equal another in `found` columns of its schema.
    pub fn replace_one(&self, columns: &[u16], other: &Plan, found: &[u16]) -> String {
        format!(
            "UPDATE {} SET {} WHERE {} LIMIT 1",
            self.quoted,
            self.assignments(columns),
            other.equal_condition(found)
        )
    }

    /// Deletes one of the rows that equal another in these columns.
    pub fn delete_one(&self, columns: &[u16]) -> String {
        format!("DELETE FROM {} WHERE {} LIMIT 1", self.quoted, self.equal_condition(columns))
    }

    /// Where the key's columns are in rows of another schema.
    pub fn key_in(&self, schema: &TableSchema) -> Result<Vec<u16>> {
        key_places(&self.table, &self.key_names, schema)
    }

    fn key_condition(&self) -> String {
        let one = |&at: &u16| format!("{}={}", self.names[usize::from(at)], self.marks[usize::from(at)]);
        self.constraints.key.iter().map(one).collect::<Vec<_>>().join(" AND ")
    }

    fn equal_condition(&self, columns: &[u16]) -> String {
        if columns.is_empty() {
            return "TRUE".into();
        }
        let one = |&at: &u16| format!("{}<=>{}", self.exact[usize::from(at)], self.marks[usize::from(at)]);
        columns.iter().map(one).collect::<Vec<_>>().join(" AND ")
    }

    fn assignments(&self, columns: &[u16]) -> String {
        columns.iter().map(|&at| format!("{}=?", self.names[usize::from(at)])).collect::<Vec<_>>().join(",")
    }
}

impl TablePlan for Plan {
    fn table(&self) -> &str {
        &self.table
    }

    fn constraints(&self) -> &Constraints {
        &self.constraints
    }
}

/// Appends these columns of a row as parameters.
pub(super) fn parameters(out: &mut Vec<SqlValue>, row: &Row, columns: &[u16]) {
    // Columns lie one behind the other; walking through the row once is cheaper than jumping.
    if columns.is_sorted() {
        let mut wanted = columns.iter().map(|&at| usize::from(at)).peekable();
        for (at, value) in row.view().values().enumerate() {
            if wanted.next_if_eq(&at).is_some() {
                out.push(parameter(value.unwrap_or(Value::Null)));
            }
        }
        return;
    }
    out.extend(columns.iter().map(|&at| parameter(row.view().get(usize::from(at)).unwrap_or(Value::Null))));
}
