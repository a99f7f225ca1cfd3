//! What the server says of a table today: names, types, labels and keys that the binlog may leave out.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params};

use crate::client::mysql as client;
use crate::error::{Kind, Result};
use crate::model::connection::Connection;
use crate::model::table::TableName;

/// Columns and keys of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub columns: Vec<Described>,
    /// Names of the primary key's columns, in key order.
    pub primary_key: Vec<String>,
    /// Names of the columns of each further unique key.
    pub unique_keys: Vec<Vec<String>>,
}

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub name: String,
    /// `int`
    pub data_type: String,
    /// `int(10) unsigned`
    pub column_type: String,
    pub charset: Option<String>,
    /// Whether a new row has NULL in it when nothing else was said.
    pub null_by_default: bool,
}

impl Described {
    pub fn is_unsigned(&self) -> bool {
        // ZEROFILL implies it.
        self.column_type.contains(" unsigned") || self.column_type.contains(" zerofill")
    }

    /// The labels in `enum('a','b''c')`.
    pub fn labels(&self) -> Option<Vec<String>> {
        let list = self.column_type.split_once('(')?.1.strip_suffix(')')?;
        let mut labels = Vec::new();
        let mut rest = list;
        loop {
            rest = rest.strip_prefix('\'')?;
            let mut label = String::new();
            loop {
                let end = rest.find(['\'', '\\'])?;
                label.push_str(&rest[..end]);
                let (mark, after) = rest[end..].split_at(1);
                rest = after;
                match (mark, rest.chars().next()) {
                    ("'", Some('\'')) => {
                        label.push('\'');
                        rest = &rest[1..];
                    }
                    ("'", _) => break,
                    // The server doubles quotes and leaves backslashes as they are.
                    _ => label.push('\\'),
                }
            }
            labels.push(label);
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.is_empty().then_some(labels),
            }
        }
    }
}

/// Asks the server about tables, over a connection of its own that is opened when it is needed.
pub(crate) struct Catalog {
    connection: Arc<Connection>,
    conn: Option<Conn>,
}

impl Catalog {
    pub fn new(connection: Arc<Connection>) -> Self {
        Catalog { connection, conn: None }
    }

    /// Describes a table; `None` when the server has none of this name, or the user may not see it.
    pub async fn describe(&mut self, table: &TableName) -> Result<Option<Description>> {
        // A connection that was idle for long may have been closed by the server.
        if let Some(conn) = self.conn.as_mut() {
            match describe(conn, table).await {
                Err(error) if error.kind() == Kind::Unavailable => self.conn = None,
                outcome => return outcome,
            }
        }
        let conn = client::connect(&self.connection, client::options(&self.connection)?).await?;
        describe(self.conn.insert(conn), table).await
    }
}

/// The same over a connection that is there.
pub(super) async fn describe(conn: &mut Conn, table: &TableName) -> Result<Option<Description>> {
    let failed = |error| client::failure(error, "cannot read the table's definition");
    let place: Params = (table.database.as_str(), table.table.as_str()).into();
    let columns: Vec<(String, String, String, Option<String>, bool)> = conn
        .exec(
            // MySQL has NULL where there is no default, MariaDB the word.
            "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, CHARACTER_SET_NAME, IS_NULLABLE = 'YES' AND \
             EXTRA NOT LIKE '%GENERATED%' AND IF(VERSION() LIKE '%MariaDB%', COALESCE(COLUMN_DEFAULT, '') = 'NULL', \
             COLUMN_DEFAULT IS NULL) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION",
            place.clone(),
        )
        .await
        .map_err(failed)?;
    if columns.is_empty() {
        return Ok(None);
    }
    let keys: Vec<(String, Option<String>, Option<u64>)> = conn
        .exec(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
            place,
        )
        .await
        .map_err(failed)?;
    let mut description = Description {
        columns: columns
            .into_iter()
            .map(|(name, data_type, column_type, charset, null_by_default)| Described {
                name,
                data_type,
                column_type,
                charset: charset.filter(|name| name != "binary"),
                null_by_default,
            })
            .collect(),
        ..Description::default()
    };
    for key in keys.chunk_by(|one, next| one.0 == next.0) {
        let primary = key[0].0 == "PRIMARY";
        // A further key over an expression or a part of a column says nothing about whole columns.
        let whole = key.iter().all(|(_, column, part)| column.is_some() && (primary || part.is_none()));
        if whole {
            let names = key.iter().filter_map(|(_, column, _)| column.clone()).collect();
            if primary { description.primary_key = names } else { description.unique_keys.push(names) }
        }
    }
    Ok(Some(description))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_definition() {
        let labels = |column_type: &str| {
            let column_type = column_type.to_owned();
            Described {
                name: "c".into(),
                data_type: "enum".into(),
                column_type,
                charset: None,
                null_by_default: true,
            }
            .labels()
        };
        assert_eq!(labels("enum('a','b''c','x,y','(','')").unwrap(), ["a", "b'c", "x,y", "(", ""]);
        assert_eq!(labels(r"set('\','é')").unwrap(), ["\\", "é"]);
        assert_eq!(labels("enum('a'"), None);
        assert_eq!(labels("int"), None);
    }
}
