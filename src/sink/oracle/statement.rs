//! The statements for rows of one schema in one table.

use super::names::quote;
use super::types::OracleType;
use super::value::{Cell, Column};
use crate::sink::actions::{Constraints, TablePlan};
use crate::sink::settings::{OP_COLUMN, SEQ_COLUMN, TIME_COLUMN};

/// What is needed to write rows of one schema to one table.
#[derive(Debug)]
pub(super) struct Plan {
    /// The target's name, for messages.
    pub table: String,
    /// Whether the target was checked for all columns, not only for the key.
    pub checked_columns: bool,
    /// The columns, as they are in the row's schema.
    pub columns: Vec<Column>,
    /// Names of the key at the source.
    pub key_names: Vec<String>,
    /// What ties the rows to each other.
    pub constraints: Constraints,
}

impl Plan {
    /// Whether MERGE can write its rows: Oracle takes no long value there (ORA-01461).
    pub fn has_lobs(&self) -> bool {
        self.columns.iter().any(|column| column.oracle.is_lob())
    }

    /// These columns in the order in which they are bound: long values come last (ORA-24816).
    pub fn bound(&self, columns: &[u16]) -> Vec<u16> {
        let is_lob = |at: &u16| self.column(*at).oracle.is_lob();
        let (lobs, mut bound): (Vec<u16>, Vec<u16>) = columns.iter().partition(|at| is_lob(at));
        bound.extend(lobs);
        bound
    }

    /// The types of these columns.
    pub fn types(&self, columns: &[u16]) -> Vec<&OracleType> {
        columns.iter().map(|&at| &self.column(at).oracle).collect()
    }

    /// Inserts a row, or writes its columns where the key is there already.
    pub fn merge(&self, columns: &[u16]) -> String {
        let key = &self.constraints.key;
        let rest: Vec<u16> = columns.iter().copied().filter(|at| !key.contains(at)).collect();
        let each = |columns: &[u16], part: &dyn Fn(&str) -> String, between: &str| {
            columns.iter().map(|&at| part(&self.quoted(at))).collect::<Vec<_>>().join(between)
        };
        let given: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(at, &place)| format!(":{} AS {}", at + 1, self.quoted(place)))
            .collect();
        let mut sql = format!(
            "MERGE INTO {} t USING (SELECT {} FROM DUAL) s ON ({})",
            quote(&self.table),
            given.join(", "),
            each(key, &|name| format!("t.{name} = s.{name}"), " AND "),
        );
        if !rest.is_empty() {
            let sets = each(&rest, &|name| format!("t.{name} = s.{name}"), ", ");
            sql.push_str(&format!(" WHEN MATCHED THEN UPDATE SET {sets}"));
        }
        let (names, values) =
            (each(columns, &|name| name.to_owned(), ", "), each(columns, &|name| format!("s.{name}"), ", "));
        sql.push_str(&format!(" WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"));
        sql
    }

    /// Inserts a row with these columns.
    pub fn insert(&self, columns: &[u16]) -> String {
        self.insert_with(columns, &[])
    }

    /// Inserts a row with these columns behind operation, number and time.
    pub fn append(&self, columns: &[u16]) -> String {
        self.insert_with(columns, &[OP_COLUMN, SEQ_COLUMN, TIME_COLUMN])
    }

    /// Updates these columns in the row of a key; the key is bound behind them.
    pub fn update(&self, columns: &[u16]) -> String {
        format!(
            "UPDATE {} SET {} WHERE {}",
            quote(&self.table),
            self.assignments(columns),
            self.key_condition(columns.len() + 1)
        )
    }

    /// Deletes the row of a key.
    pub fn delete(&self) -> String {
        format!("DELETE FROM {} WHERE {}", quote(&self.table), self.key_condition(1))
    }

    /// Updates these columns in one of the rows that equal `found` of another schema; those are bound behind.
    pub fn replace_one(&self, columns: &[u16], other: &Plan, found: &[(u16, Cell<'_>)]) -> String {
        format!(
            "UPDATE {} SET {} WHERE {}",
            quote(&self.table),
            self.assignments(columns),
            other.one_of(found, columns.len() + 1)
        )
    }

    /// Deletes one of the rows that equal `found`.
    pub fn delete_one(&self, found: &[(u16, Cell<'_>)]) -> String {
        format!("DELETE FROM {} WHERE {}", quote(&self.table), self.one_of(found, 1))
    }

    /// A column of rows.
    pub fn column(&self, at: u16) -> &Column {
        &self.columns[usize::from(at)]
    }

    fn insert_with(&self, columns: &[u16], before: &[&str]) -> String {
        let names: Vec<_> = before
            .iter()
            .map(|name| quote(&super::names::fold(name)))
            .chain(columns.iter().map(|&at| self.quoted(at)))
            .collect();
        let marks: Vec<_> = (1..=names.len()).map(|at| format!(":{at}")).collect();
        format!("INSERT INTO {} ({}) VALUES ({})", quote(&self.table), names.join(", "), marks.join(", "))
    }

    fn key_condition(&self, first: usize) -> String {
        let one = |(at, &place): (usize, &u16)| format!("{} = :{}", self.quoted(place), first + at);
        self.constraints.key.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND ")
    }

    fn one_of(&self, found: &[(u16, Cell<'_>)], first: usize) -> String {
        let condition = self.equal_condition(found, first);
        format!("ROWID = (SELECT MIN(ROWID) FROM {} WHERE {condition})", quote(&self.table))
    }

    /// NULL equals NULL here, so that the condition follows the values.
    fn equal_condition(&self, found: &[(u16, Cell<'_>)], first: usize) -> String {
        let mut mark = first;
        let one = |(at, cell): &(u16, Cell<'_>)| {
            if cell.is_null() {
                return format!("{} IS NULL", self.quoted(*at));
            }
            mark += 1;
            format!("{} = :{}", self.quoted(*at), mark - 1)
        };
        match found {
            [] => "1 = 1".into(),
            found => found.iter().map(one).collect::<Vec<_>>().join(" AND "),
        }
    }

    fn assignments(&self, columns: &[u16]) -> String {
        let one = |(at, &place): (usize, &u16)| format!("{} = :{}", self.quoted(place), at + 1);
        columns.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
    }

    fn quoted(&self, at: u16) -> String {
        quote(&self.column(at).name)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schema::ColumnType;

    fn plan(columns: &[(&str, &str)], key: &[u16]) -> Plan {
        Plan {
            table: "ORDERS".into(),
            checked_columns: true,
            columns: columns
                .iter()
                .enumerate()
                .map(|(at, (name, declared))| Column {
                    name: (*name).into(),
                    ty: ColumnType::Json,
                    nullable: true,
                    oracle: OracleType::parse(declared).unwrap(),
                    in_key: key.contains(&(at as u16)),
                })
                .collect(),
            key_names: Vec::new(),
            constraints: Constraints { key: key.to_vec(), further_unique: Some(Vec::new()), linked: false },
        }
    }

    #[test]
    fn statements_are_these() {
        let orders = plan(&[("REGION", "VARCHAR2(2)"), ("NOTE", "CLOB"), ("ID", "NUMBER(19)")], &[0, 2]);
        let bound = orders.bound(&[0, 1, 2]);
        let null = (0, Cell::Null);
        let five = (2, Cell::Text("5".into()));
        insta::assert_snapshot!([
            orders.merge(&bound),
            orders.insert(&bound),
            orders.append(&[0]),
            orders.update(&bound),
            orders.delete(),
            orders.replace_one(&[1], &orders, &[null, five]),
            orders.delete_one(&[]),
            plan(&[("ID", "NUMBER(19)")], &[0]).merge(&[0]),
        ]
        .join("\n"), @r#"
        MERGE INTO "ORDERS" t USING (SELECT :1 AS "REGION", :2 AS "ID", :3 AS "NOTE" FROM DUAL) s ON (t."REGION" = s."REGION" AND t."ID" = s."ID") WHEN MATCHED THEN UPDATE SET t."NOTE" = s."NOTE" WHEN NOT MATCHED THEN INSERT ("REGION", "ID", "NOTE") VALUES (s."REGION", s."ID", s."NOTE")
        INSERT INTO "ORDERS" ("REGION", "ID", "NOTE") VALUES (:1, :2, :3)
        INSERT INTO "ORDERS" ("_OP", "_SEQ", "_TS", "REGION") VALUES (:1, :2, :3, :4)
        UPDATE "ORDERS" SET "REGION" = :1, "ID" = :2, "NOTE" = :3 WHERE "REGION" = :4 AND "ID" = :5
        DELETE FROM "ORDERS" WHERE "REGION" = :1 AND "ID" = :2
        UPDATE "ORDERS" SET "NOTE" = :1 WHERE ROWID = (SELECT MIN(ROWID) FROM "ORDERS" WHERE "REGION" IS NULL AND "ID" = :2)
        DELETE FROM "ORDERS" WHERE ROWID = (SELECT MIN(ROWID) FROM "ORDERS" WHERE 1 = 1)
        MERGE INTO "ORDERS" t USING (SELECT :1 AS "ID" FROM DUAL) s ON (t."ID" = s."ID") WHEN NOT MATCHED THEN INSERT ("ID") VALUES (s."ID")
        "#);
    }
}
