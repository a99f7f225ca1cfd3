//! How rows of one schema become documents of one collection: names, and what forbids it.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::error::{Error, Kind, Result};
use crate::model::schema::TableSchema;
use crate::sink::cursor_row;
use crate::sink::settings::{Mode, OP_COLUMN, SEQ_COLUMN, TIME_COLUMN};
use crate::sink::step::key_columns;

/// The field that tells documents apart.
pub(super) const ID: &str = "_id";

/// What was worked out for a schema.
#[derive(Debug)]
pub(super) struct Plan {
    pub collection: String,
    /// The field of each column; `None` for those that are the `_id`.
    pub fields: Vec<Option<String>>,
    /// Columns of the key.
    pub key: Vec<u16>,
    /// Columns of all other unique keys of the source: the collection may have indexes over them.
    pub further_unique: Vec<u16>,
}

impl Plan {
    /// For rows of `schema` in a collection whose name is `name` but for what [`collection`] changes.
    ///
    /// # Errors
    /// `Environment` when these rows cannot be documents of it.
    pub fn new(name: &str, schema: &TableSchema, mode: Mode) -> Result<Plan> {
        let collection = collection(name)?;
        let key = match mode {
            Mode::Append => &[],
            Mode::Upsert => key_columns(schema),
        };
        if mode == Mode::Upsert && key.is_empty() {
            return Err(Error::new(
                Kind::Environment,
                format!(
                    "table {} has no key, and so its rows in collection {collection} no _id",
                    schema.name
                ),
            )
            .advice("give the table a primary key, or set mode = append"));
        }
        let is_key = |at: usize| key.iter().any(|&part| usize::from(part) == at);
        let mut taken: HashSet<Cow<'_, str>> = match mode {
            Mode::Append => [ID, OP_COLUMN, SEQ_COLUMN, TIME_COLUMN].map(Cow::Borrowed).into(),
            Mode::Upsert => HashSet::from([Cow::Borrowed(ID)]),
        };
        let mut fields = Vec::with_capacity(schema.columns.len());
        for (at, column) in schema.columns.iter().enumerate() {
            let field = field(&column.name);
            if !is_key(at) && !taken.insert(field.clone()) {
                return Err(Error::new(
                    Kind::Environment,
                    format!(
                        "column {} of table {} cannot be a field of collection {collection}: {field} is taken",
                        column.name, schema.name
                    ),
                )
                .advice("give the column another name in a map, or drop it"));
            }
            fields.push((!is_key(at)).then(|| field.into_owned()));
        }
        let further_unique =
            schema.unique_keys.iter().filter(|unique| unique.as_slice() != key).flatten().copied().collect();
        Ok(Plan { collection, fields, key: key.to_vec(), further_unique })
    }
}

/// The field of a column. A `$` in front would be an operator, and a `.` a path.
pub(super) fn field(column: &str) -> Cow<'_, str> {
    if !column.starts_with('$') && !column.contains('.') {
        return Cow::Borrowed(column);
    }
    let dots = column.replace('.', "．");
    Cow::Owned(match dots.strip_prefix('$') {
        Some(rest) => format!("＄{rest}"),
        None => dots,
    })
}

/// The collection for a table's name. MongoDB has none with a `$`, and keeps those of `system.` for itself.
pub(super) fn collection(name: &str) -> Result<String> {
    let refused = |why: &str| {
        Err(Error::new(Kind::Environment, format!("the collection {name} {why}"))
            .advice("choose another target"))
    };
    if name == cursor_row::TABLE {
        return refused("is lode's own");
    }
    if name.is_empty() || name.starts_with("system.") || name.starts_with('.') || name.contains('\0') {
        return refused("cannot be: MongoDB has no such names");
    }
    Ok(name.replace('$', "＄"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schema::{Column, ColumnType};
    use crate::model::table::TableName;

    fn schema(columns: &[&str], key: &[u16]) -> TableSchema {
        let column = |name: &&str| Column { name: (*name).into(), ty: ColumnType::Year, nullable: false };
        TableSchema {
            name: TableName::new("shop", "t"),
            columns: columns.iter().map(column).collect(),
            primary_key: key.to_vec(),
            unique_keys: Vec::new(),
        }
    }

    #[test]
    fn names_lose_their_meaning_and_never_meet() {
        let plan = Plan::new("a$b", &schema(&["id", "$set", "a.b$"], &[0]), Mode::Upsert).unwrap();
        assert_eq!(plan.collection, "a＄b");
        assert_eq!(plan.fields, [None, Some("＄set".into()), Some("a．b$".into())]);
        for (name, schema, mode, why) in [
            ("t", schema(&["id", "a.b", "a．b"], &[0]), Mode::Upsert, "a．b is taken"),
            ("t", schema(&["id", "_id"], &[0]), Mode::Upsert, "_id is taken"),
            ("t", schema(&["_id"], &[0]), Mode::Append, "_id is taken"),
            ("t", schema(&["id", "_seq"], &[0]), Mode::Append, "_seq is taken"),
            ("t", schema(&["id"], &[]), Mode::Upsert, "has no key"),
            ("lode_cursor", schema(&["id"], &[0]), Mode::Upsert, "lode's own"),
            ("system.t", schema(&["id"], &[0]), Mode::Upsert, "no such names"),
        ] {
            let error = Plan::new(name, &schema, mode).unwrap_err();
            assert_eq!(error.kind(), Kind::Environment);
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.next_step().is_some());
        }
        assert!(Plan::new("t", &schema(&["_id", "n"], &[0]), Mode::Upsert).is_ok());
        assert!(Plan::new("t", &schema(&["id"], &[]), Mode::Append).is_ok());
    }
}
