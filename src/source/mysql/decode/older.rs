//! Rows that are older than their table's definition of today, where the binlog does not say what their columns are.
//!
//! Without `binlog_row_metadata = FULL` a table map has types, and no names. The server only knows the table as it is now;
//! what it was where the reader begins is in the schemas of the log that is gone on with.

use super::super::catalog::{Described, Description};
use super::super::table_map::TableMap;
use super::{Decoder, Plan};
use crate::model::schema::{Column, ColumnType, TableSchema};
use crate::model::table::TableName;

impl Decoder {
    /// A plan by the shape that the table had where the reader began; `None` when that is not known any more, or is not
    /// exactly what the rows have.
    pub(super) fn older_plan(
        &self,
        name: &TableName,
        map: &TableMap,
        today: Option<&Description>,
    ) -> Option<Plan> {
        let schema = self.remembered.get(name).filter(|_| !map.has_names)?;
        let plan = self.plan(name.clone(), map, Some(&older(schema, today)?)).ok()?;
        (plan.schema == *schema).then_some(plan)
    }

    /// Forgets the tables that a statement may have changed: it names them, and their database where that is not the one
    /// that it was sent in.
    pub(super) fn forget_changed(&mut self, database: &str, statement: &[u8]) {
        if self.remembered.is_empty() {
            return;
        }
        let statement = String::from_utf8_lossy(statement).to_lowercase();
        // A backquote in a name is written twice.
        let is_named = |name: &str| name.contains('`') || statement.contains(&name.to_lowercase());
        self.remembered.retain(|name, _| {
            let is_sent_there = name.database.eq_ignore_ascii_case(database);
            !(is_named(&name.table) && (is_sent_there || is_named(&name.database)))
        });
    }
}

/// The definition that the table had. What a schema does not say, the character set, is the one that the column has today.
fn older(schema: &TableSchema, today: Option<&Description>) -> Option<Description> {
    let names = |key: &[u16]| -> Option<Vec<String>> {
        key.iter().map(|at| Some(schema.columns.get(usize::from(*at))?.name.clone())).collect()
    };
    let columns = schema.columns.iter().map(|column| {
        let today = today.and_then(|today| today.columns.iter().find(|now| now.name == column.name));
        described(column, today)
    });
    Some(Description {
        columns: columns.collect::<Option<_>>()?,
        primary_key: names(&schema.primary_key)?,
        unique_keys: schema.unique_keys.iter().map(|key| names(key)).collect::<Option<_>>()?,
    })
}

fn described(column: &Column, today: Option<&Described>) -> Option<Described> {
    let data_type = match &column.ty {
        ColumnType::Int { bits: 8, .. } => "tinyint",
        ColumnType::Int { bits: 16, .. } => "smallint",
        ColumnType::Int { bits: 24, .. } => "mediumint",
        ColumnType::Int { bits: 32, .. } => "int",
        ColumnType::Int { .. } => "bigint",
        ColumnType::Decimal { .. } => "decimal",
        ColumnType::Float => "float",
        ColumnType::Double => "double",
        ColumnType::Bit { .. } => "bit",
        ColumnType::Year => "year",
        ColumnType::Date => "date",
        ColumnType::DateTime { .. } => "datetime",
        ColumnType::Timestamp { .. } => "timestamp",
        ColumnType::Time { .. } => "time",
        ColumnType::Char { .. } => "char",
        ColumnType::VarChar { .. } => "varchar",
        ColumnType::Text { .. } => "text",
        ColumnType::Binary { .. } => "binary",
        ColumnType::VarBinary { .. } => "varbinary",
        ColumnType::Blob { .. } => "blob",
        ColumnType::Enum { .. } => "enum",
        ColumnType::Set { .. } => "set",
        ColumnType::Json => "json",
        ColumnType::Geometry => "geometry",
        ColumnType::Bool => return None,
    };
    let column_type = match &column.ty {
        ColumnType::Int { unsigned: true, .. } | ColumnType::Decimal { unsigned: true, .. } => {
            format!("{data_type} unsigned")
        }
        ColumnType::Enum { labels } | ColumnType::Set { labels } => {
            let quoted: Vec<_> =
                labels.iter().map(|label| format!("'{}'", label.replace('\'', "''"))).collect();
            format!("{data_type}({})", quoted.join(","))
        }
        _ => data_type.to_owned(),
    };
    let is_text =
        matches!(column.ty, ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. });
    let charset = match is_text {
        true => Some(today?.charset.clone()?),
        false => None,
    };
    Some(Described {
        name: column.name.clone(),
        data_type: data_type.to_owned(),
        column_type,
        charset,
        // The definition of today may have another default: what a row leaves out stays absent.
        null_by_default: false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::gtid::GtidSet;
    use super::super::Flavor;
    use super::*;
    use crate::model::position::Position;
    use crate::model::table::TableSelection;

    fn schema(table: &str) -> TableSchema {
        let column = |name: &str, ty| Column { name: name.into(), ty, nullable: true };
        TableSchema {
            name: TableName::new("shop", table),
            columns: vec![
                column("id", ColumnType::Int { bits: 32, unsigned: true }),
                column("state", ColumnType::Enum { labels: vec!["a,b".into(), "c'd".into()] }),
                column("note", ColumnType::VarChar { chars: 20 }),
            ],
            primary_key: vec![0],
            unique_keys: vec![vec![1, 2]],
        }
    }

    #[test]
    fn a_definition_is_made_of_a_schema_and_the_character_sets_of_today() {
        let note = Described {
            name: "note".into(),
            data_type: "text".into(),
            column_type: "text".into(),
            charset: Some("latin1".into()),
            null_by_default: true,
        };
        let today = Description { columns: vec![note], ..Description::default() };
        let older = older(&schema("orders"), Some(&today)).unwrap();
        assert!(older.columns[0].is_unsigned());
        assert_eq!(older.columns[1].labels().unwrap(), ["a,b", "c'd"]);
        assert_eq!(
            (older.columns[2].data_type.as_str(), older.columns[2].charset.as_deref()),
            ("varchar", Some("latin1"))
        );
        assert_eq!(
            (older.primary_key, older.unique_keys.concat()),
            (vec!["id".to_owned()], vec!["state".to_owned(), "note".to_owned()])
        );
        assert!(super::older(&schema("orders"), None).is_none(), "the character set of a text is not known");
    }

    #[test]
    fn a_statement_that_names_a_table_ends_what_was_known_of_it() {
        let set = GtidSet::MySql(Default::default());
        let mut decoder =
            Decoder::new(Flavor::MySql, true, TableSelection::default(), &Position::default(), set);
        for table in ["orders", "Items", "notes", "a`b"] {
            let schema = schema(table);
            decoder.remembered.insert(schema.name.clone(), Arc::new(schema));
        }
        let mut left = |database: &str, statement: &str| {
            decoder.forget_changed(database, statement.as_bytes());
            let mut left: Vec<_> = decoder.remembered.keys().map(|name| name.table.clone()).collect();
            left.sort();
            left.join(" ")
        };
        assert_eq!(left("copy", "ALTER TABLE orders ADD COLUMN n INT"), "Items a`b notes orders");
        assert_eq!(left("copy", "ALTER TABLE shop.`items` ADD COLUMN n INT"), "notes orders");
        assert_eq!(left("Shop", "RENAME TABLE x TO Orders"), "notes");
    }
}
