//! Target tables in the database: what is there, what a source's rows need, and the DDL between the two.

use oracle::Connection;

use super::names::{collision, fold, quote};
use super::settings::Options;
use super::types::{Fit, OracleType, Unit, is_text, may_become_null};
use super::value::Column;
use crate::client::oracle::failure;
use crate::error::{Error, Kind, Result};
use crate::model::schema::{ColumnType, TableSchema};
use crate::sink::settings::{Mode, OP_COLUMN, SEQ_COLUMN, TIME_COLUMN};
use crate::sink::step::{key_columns, key_names};
use crate::sink::unique::{UniqueKey, further_unique, unique_keys};

/// A table as the dictionary describes it.
#[derive(Debug)]
pub(super) struct Target {
    pub name: String,
    columns: Vec<TargetColumn>,
    unique: Vec<UniqueKey>,
    /// Whether a foreign key begins or ends here, so that the order among tables matters.
    pub linked: bool,
}

#[derive(Clone, Debug)]
struct TargetColumn {
    name: String,
    ty: OracleType,
    nullable: bool,
    has_default: bool,
}

/// A column that rows need.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub column: Column,
    /// Whether the column is NOT NULL where lode makes it.
    pub not_null: bool,
    /// Whether the script names the type.
    pub overridden: bool,
}

/// What stands between a table and its rows.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// DDL that lode may run itself: columns to add, NOT NULL to drop.
    pub changes: Vec<String>,
    /// What only its owner can decide: what is wrong, and the DDL that makes it right where there is any.
    pub problems: Vec<(String, Option<String>)>,
    /// What can be lost with the script's own types: column and reason.
    pub losses: Vec<(String, String)>,
}

const COLUMNS: &str = "SELECT COLUMN_NAME, DATA_TYPE, DATA_LENGTH, DATA_PRECISION, DATA_SCALE, CHAR_LENGTH, CHAR_USED, NULLABLE, \
     DATA_DEFAULT FROM USER_TAB_COLUMNS WHERE TABLE_NAME = :1 ORDER BY COLUMN_ID";

/// Unique indexes enforce every unique key, also those without a constraint; only a deferrable one has none of its own.
const UNIQUE: &str = "SELECT i.INDEX_NAME, c.COLUMN_NAME, i.INDEX_TYPE FROM USER_INDEXES i JOIN USER_IND_COLUMNS c ON \
     c.INDEX_NAME = i.INDEX_NAME WHERE i.TABLE_NAME = :1 AND i.UNIQUENESS = 'UNIQUE' ORDER BY i.INDEX_NAME, c.COLUMN_POSITION";

const CONSTRAINTS: &str = "SELECT k.CONSTRAINT_NAME, c.COLUMN_NAME FROM USER_CONSTRAINTS k JOIN USER_CONS_COLUMNS c ON \
     c.CONSTRAINT_NAME = k.CONSTRAINT_NAME WHERE k.TABLE_NAME = :1 AND k.CONSTRAINT_TYPE IN ('P', 'U') ORDER BY \
     k.CONSTRAINT_NAME, c.POSITION";

const LINKS: &str = "SELECT COUNT(*) FROM USER_CONSTRAINTS k WHERE k.CONSTRAINT_TYPE = 'R' AND (k.TABLE_NAME = :1 OR \
     k.R_CONSTRAINT_NAME IN (SELECT p.CONSTRAINT_NAME FROM USER_CONSTRAINTS p WHERE p.TABLE_NAME = :2))";

impl Target {
    /// `None` when the user has no such table.
    pub fn load(conn: &Connection, name: &str) -> Result<Option<Target>> {
        Self::look_up(conn, name).map_err(|error| failure(error, &format!("cannot look at table {name}")))
    }

    fn look_up(conn: &Connection, name: &str) -> oracle::Result<Option<Target>> {
        let mut columns = Vec::new();
        for row in conn.query(COLUMNS, &[&as_text(name)])? {
            let row = row?;
            let number = |at: usize| row.get::<_, Option<i64>>(at);
            let length =
                |at: usize| Ok::<_, oracle::Error>(number(at)?.and_then(|length| u32::try_from(length).ok()));
            columns.push(TargetColumn {
                name: row.get(0)?,
                ty: dictionary_type(
                    &row.get::<_, String>(1)?,
                    length(2)?.unwrap_or(0),
                    number(3)?.and_then(|precision| u8::try_from(precision).ok()),
                    number(4)?.and_then(|scale| i8::try_from(scale).ok()),
                    length(5)?.unwrap_or(0),
                    row.get::<_, Option<String>>(6)?.as_deref(),
                ),
                nullable: row.get::<_, String>(7)? != "N",
                has_default: row.get::<_, Option<String>>(8)?.is_some(),
            });
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let mut parts: Vec<(String, Option<String>, bool)> = Vec::new();
        for row in conn.query_as::<(String, String, String)>(UNIQUE, &[&as_text(name)])? {
            let (index, column, kind) = row?;
            // An expression appears as a column of the system's own.
            let whole =
                !kind.starts_with("FUNCTION-BASED") || columns.iter().any(|known| known.name == column);
            parts.push((format!("index {index}"), whole.then_some(column), whole));
        }
        for row in conn.query_as::<(String, String)>(CONSTRAINTS, &[&as_text(name)])? {
            let (constraint, column) = row?;
            parts.push((format!("constraint {constraint}"), Some(column), true));
        }
        let links: u64 = conn.query_row_as(LINKS, &[&as_text(name), &as_text(name)])?;
        Ok(Some(Target { name: name.to_owned(), columns, unique: unique_keys(parts), linked: links > 0 }))
    }

    /// What has to change before rows with the columns of `wanted` can be written. `key` are the names of the key;
    /// `writes` is false where rows only go.
    pub fn difference(&self, wanted: &[Wanted], key: &[&str], options: &Options, writes: bool) -> Difference {
        let mut difference = Difference::default();
        let table = quote(&self.name);
        let mut additions = Vec::new();
        for wanted in wanted {
            let Column { name, ty, oracle: planned, .. } = &wanted.column;
            let Some(column) = self.columns.iter().find(|column| column.name == *name) else {
                if options.tables.create_tables {
                    additions.push(format!("{} {planned}", quote(name)));
                } else {
                    let ddl = format!("ALTER TABLE {table} ADD ({} {planned})", quote(name));
                    difference.problems.push((format!("it has no column {name}"), Some(ddl)));
                }
                continue;
            };
            let ddl = || Some(format!("ALTER TABLE {table} MODIFY ({} {planned})", quote(name)));
            match column.ty.fit(ty) {
                Fit::Exact => {}
                Fit::Refuses(why) | Fit::Loses(why) if wanted.overridden && column.ty == *planned => {
                    difference.losses.push((name.clone(), why));
                }
                Fit::Refuses(why) => {
                    difference.problems.push((format!("column {name} is {}: {why}", column.ty), ddl()));
                }
                // Oracle changes no type of a column that holds values; a script may say that it knows.
                Fit::Loses(why) => {
                    difference.problems.push((format!("column {name} is {}: {why}", column.ty), ddl()));
                }
                Fit::Wrong => difference.problems.push((
                    format!("column {name} is {}, which is no type for these values", column.ty),
                    ddl(),
                )),
            }
            if writes && !column.nullable && wanted.column.nullable && !wanted.column.in_key {
                self.relax(name, options, &mut difference);
            }
        }
        if !additions.is_empty() {
            difference.changes.push(format!("ALTER TABLE {table} ADD ({})", additions.join(", ")));
        }
        let left_out = self.columns.iter().filter(|column| {
            writes
                && !column.nullable
                && !column.has_default
                && wanted.iter().all(|wanted| wanted.column.name != column.name)
        });
        for column in left_out {
            self.relax(&column.name, options, &mut difference);
        }
        let is_key = |unique: &UniqueKey| unique.is(key);
        if options.tables.mode == Mode::Upsert && !key.is_empty() && !self.unique.iter().any(is_key) {
            let names: Vec<_> = key.iter().map(|name| quote(name)).collect();
            difference.problems.push((
                format!("it has no primary or unique key over ({})", key.join(", ")),
                Some(format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", names.join(", "))),
            ));
        }
        difference
    }

    /// Positions in rows with these columns of all unique keys other than the row's own.
    pub fn further_unique(&self, columns: &[Column], key: &[&str]) -> Option<Vec<u16>> {
        further_unique(&self.unique, key, |name| columns.iter().position(|column| column.name == name))
    }

    /// The type of a column.
    pub fn column_type(&self, name: &str) -> Option<&OracleType> {
        self.columns.iter().find(|column| column.name == name).map(|column| &column.ty)
    }

    /// Whether there is a column for every one of `wanted`.
    pub fn has_columns(&self, wanted: &[Wanted]) -> bool {
        wanted.iter().all(|wanted| self.column_type(&wanted.column.name).is_some())
    }

    fn relax(&self, name: &str, options: &Options, difference: &mut Difference) {
        let ddl = format!("ALTER TABLE {} MODIFY {} NULL", quote(&self.name), quote(name));
        match options.tables.create_tables {
            true => difference.changes.push(ddl),
            false => difference
                .problems
                .push((format!("column {name} is NOT NULL, and the source may leave it out"), Some(ddl))),
        }
    }
}

/// The columns that rows of `schema` need in the target.
///
/// # Errors
/// `Environment` or `Data`: names or types that Oracle cannot have.
pub(super) fn wanted(schema: &TableSchema, options: &Options, name_bytes_max: u32) -> Result<Vec<Wanted>> {
    let key: &[u16] = if options.tables.mode == Mode::Upsert { key_columns(schema) } else { &[] };
    let append = options.tables.mode == Mode::Append;
    let own: &[&str] = if append { &[OP_COLUMN, SEQ_COLUMN, TIME_COLUMN] } else { &[] };
    let names = schema.columns.iter().map(|column| column.name.as_str());
    if let Some((one, other)) = collision(own.iter().copied().chain(names)) {
        let what = match own.contains(&one) {
            true => format!("table {} has a column {other}, which mode append adds itself", schema.name),
            false => format!("the columns {one} and {other} of table {} are one in Oracle", schema.name),
        };
        return Err(Error::new(Kind::Data, what).advice("rename or drop the column in a stage"));
    }
    let mut wanted = Vec::with_capacity(schema.columns.len());
    for (at, column) in schema.columns.iter().enumerate() {
        let name = fold(&column.name);
        super::names::check(
            &name,
            &format!("column {} of table {}", column.name, schema.name),
            name_bytes_max,
        )?;
        let in_key = key.iter().any(|&part| usize::from(part) == at);
        let overridden = options.types.iter().find(|(overridden, _)| *overridden == name).map(|(_, ty)| ty);
        let declared = overridden.cloned().or_else(|| OracleType::usual(&column.ty, in_key));
        let Some(oracle) = declared.filter(|ty| !in_key || ty.can_be_key()) else {
            return Err(Error::new(
                Kind::Environment,
                format!(
                    "the key column {} of table {} has no type that an Oracle key can have",
                    column.name, schema.name
                ),
            )
            .advice(format!(
                "name one that takes its values: types = {{ {} = \"VARCHAR2(400 CHAR)\" }}",
                column.name
            )));
        };
        if overridden.is_some() && oracle.fit(&column.ty) == Fit::Wrong {
            return Err(Error::new(
                Kind::Environment,
                format!(
                    "types: a {oracle} cannot hold the values of column {} of table {}",
                    column.name, schema.name
                ),
            )
            .advice(match OracleType::usual(&column.ty, in_key) {
                Some(usual) => format!("leave it out: the column becomes {usual}"),
                None => "name another type".into(),
            }));
        }
        wanted.push(Wanted {
            not_null: in_key || !append && !column.nullable && !may_become_null(&column.ty),
            overridden: overridden.is_some(),
            column: Column { name, ty: column.ty.clone(), nullable: column.nullable, oracle, in_key },
        });
    }
    Ok(wanted)
}

/// The columns that mode append adds.
pub(super) fn appended() -> Vec<Wanted> {
    let one = |(name, ty): (&str, ColumnType)| Wanted {
        column: Column {
            name: fold(name),
            oracle: OracleType::usual(&ty, false).expect("no key"),
            ty,
            nullable: true,
            in_key: false,
        },
        not_null: false,
        overridden: false,
    };
    [
        (OP_COLUMN, ColumnType::VarChar { chars: 8 }),
        (SEQ_COLUMN, ColumnType::Int { bits: 64, unsigned: true }),
        (TIME_COLUMN, ColumnType::DateTime { fsp: 3 }),
    ]
    .map(one)
    .into()
}

/// The statements that make a table: the table, and what it is.
pub(super) fn create_table(name: &str, wanted: &[Wanted], key: &[&str], source: &TableSchema) -> [String; 2] {
    let mut parts: Vec<String> = wanted
        .iter()
        .map(|Wanted { column, not_null, .. }| {
            let not_null = if *not_null { " NOT NULL" } else { "" };
            format!("{} {}{not_null}", quote(&column.name), column.oracle)
        })
        .collect();
    if !key.is_empty() {
        let names: Vec<_> = key.iter().map(|name| quote(name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    let table = quote(name);
    let comment = source.name.to_string().replace('\'', "''");
    [
        format!("CREATE TABLE {table} ({})", parts.join(", ")),
        format!("COMMENT ON TABLE {table} IS 'rows of {comment}, written by lode'"),
    ]
}

/// The columns of a table to be made that may be NULL only because of Oracle's empty text.
pub(super) fn relaxed_texts(wanted: &[Wanted]) -> Vec<&str> {
    let relaxed =
        |wanted: &&Wanted| !wanted.not_null && !wanted.column.nullable && is_text(&wanted.column.ty);
    wanted.iter().filter(relaxed).map(|wanted| wanted.column.name.as_str()).collect()
}

/// The folded names of a schema's key.
pub(super) fn folded_key(schema: &TableSchema) -> Vec<String> {
    key_names(schema).into_iter().map(fold).collect()
}

/// A name as a parameter.
pub(super) fn as_text(text: &str) -> Parameter<'_> {
    Parameter(text)
}

/// A text that is bound as VARCHAR2.
pub(super) struct Parameter<'a>(&'a str);

impl oracle::sql_type::ToSql for Parameter<'_> {
    fn oratype(&self, _conn: &Connection) -> oracle::Result<oracle::sql_type::OracleType> {
        Ok(oracle::sql_type::OracleType::Varchar2(self.0.len().max(1) as u32))
    }

    fn to_sql(&self, value: &mut oracle::SqlValue<'_>) -> oracle::Result<()> {
        value.set(&self.0)
    }
}

fn dictionary_type(
    name: &str,
    bytes: u32,
    precision: Option<u8>,
    scale: Option<i8>,
    characters: u32,
    used: Option<&str>,
) -> OracleType {
    let (length, unit) = match used {
        Some("C") => (characters, Unit::Characters),
        _ => (bytes, Unit::Bytes),
    };
    match name {
        "NUMBER" => match (precision, scale) {
            (None, None | Some(-127)) => OracleType::Number { precision: None, scale: 0 },
            (None, Some(scale)) => OracleType::Number { precision: Some(38), scale },
            (Some(precision), scale) => {
                OracleType::Number { precision: Some(precision), scale: scale.unwrap_or(0) }
            }
        },
        "VARCHAR2" => OracleType::Varchar { length, unit },
        "CHAR" => OracleType::Char { length, unit },
        "RAW" => OracleType::Raw { bytes },
        name => OracleType::parse(name).unwrap_or_else(|| OracleType::Other(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schema::Column as SourceColumn;
    use crate::model::table::TableName;
    use crate::sink::settings::TableOptions;

    fn options(create_tables: bool) -> Options {
        Options { tables: TableOptions { mode: Mode::Upsert, create_tables }, types: Vec::new() }
    }

    fn schema(columns: &[(&str, ColumnType, bool)]) -> TableSchema {
        TableSchema {
            name: TableName::new("shop", "o'ders"),
            columns: columns
                .iter()
                .map(|(name, ty, nullable)| SourceColumn {
                    name: (*name).into(),
                    ty: ty.clone(),
                    nullable: *nullable,
                })
                .collect(),
            primary_key: vec![0],
            unique_keys: Vec::new(),
        }
    }

    fn orders() -> TableSchema {
        schema(&[
            ("id", ColumnType::Int { bits: 64, unsigned: true }, false),
            ("state", ColumnType::VarChar { chars: 20 }, false),
            ("qty", ColumnType::Int { bits: 32, unsigned: false }, false),
            ("at", ColumnType::Timestamp { fsp: 3 }, true),
            ("doc", ColumnType::Json, true),
        ])
    }

    #[test]
    fn tables_are_made_like_this() {
        let orders = orders();
        let wanted = wanted(&orders, &options(true), 128).unwrap();
        insta::assert_snapshot!(create_table("ORDERS", &wanted, &["ID"], &orders).join("\n"), @r#"
        CREATE TABLE "ORDERS" ("ID" NUMBER(20) NOT NULL, "STATE" VARCHAR2(20 CHAR), "QTY" NUMBER(10) NOT NULL, "AT" TIMESTAMP(3) WITH TIME ZONE, "DOC" CLOB, PRIMARY KEY ("ID"))
        COMMENT ON TABLE "ORDERS" IS 'rows of shop.o''ders, written by lode'
        "#);
    }

    #[test]
    fn everything_that_does_not_fit_is_said_at_once() {
        let column = |name: &str, declared: &str, nullable| TargetColumn {
            name: name.into(),
            ty: OracleType::parse(declared).unwrap(),
            nullable,
            has_default: false,
        };
        let target = Target {
            name: "ORDERS".into(),
            columns: vec![
                column("ID", "NUMBER(10)", false),
                column("STATE", "VARCHAR2(20)", true),
                column("QTY", "CLOB", true),
                column("AT", "DATE", false),
                column("OTHER", "DATE", false),
            ],
            unique: Vec::new(),
            linked: false,
        };
        let wanted = wanted(&orders(), &options(false), 128).unwrap();
        let strict = target.difference(&wanted, &["ID"], &options(false), true);
        let lines: Vec<_> = strict
            .problems
            .iter()
            .map(|(what, ddl)| format!("{what}\n  {}", ddl.as_deref().unwrap_or("-")))
            .collect();
        assert!(strict.changes.is_empty());
        insta::assert_snapshot!(lines.join("\n"), @r#"
        column ID is NUMBER(10): larger numbers of the source do not fit
          ALTER TABLE "ORDERS" MODIFY ("ID" NUMBER(20))
        column STATE is VARCHAR2(20 BYTE): it ends at 20 bytes, and the source at 20 characters
          ALTER TABLE "ORDERS" MODIFY ("STATE" VARCHAR2(20 CHAR))
        column AT is DATE: it keeps no fractions of a second
          ALTER TABLE "ORDERS" MODIFY ("AT" TIMESTAMP(3) WITH TIME ZONE)
        column AT is NOT NULL, and the source may leave it out
          ALTER TABLE "ORDERS" MODIFY "AT" NULL
        it has no column DOC
          ALTER TABLE "ORDERS" ADD ("DOC" CLOB)
        column OTHER is NOT NULL, and the source may leave it out
          ALTER TABLE "ORDERS" MODIFY "OTHER" NULL
        it has no primary or unique key over (ID)
          ALTER TABLE "ORDERS" ADD PRIMARY KEY ("ID")
        "#);
        let lenient = target.difference(&wanted, &["ID"], &options(true), true);
        assert_eq!(
            lenient.changes,
            [
                "ALTER TABLE \"ORDERS\" MODIFY \"AT\" NULL",
                "ALTER TABLE \"ORDERS\" ADD (\"DOC\" CLOB)",
                "ALTER TABLE \"ORDERS\" MODIFY \"OTHER\" NULL"
            ]
        );
    }

    #[test]
    fn names_and_keys_that_oracle_cannot_have_are_errors() {
        let int = || ColumnType::Int { bits: 32, unsigned: false };
        for (table, words) in [
            (
                schema(&[("id", int(), false), ("ID", int(), true)]),
                "the columns id and ID of table shop.o'ders are one",
            ),
            (
                schema(&[("id", ColumnType::Text { bytes: 65_535 }, false)]),
                "no type that an Oracle key can have",
            ),
            (schema(&[(&"x".repeat(31), int(), false)]), "names end at 30 bytes"),
        ] {
            let error = wanted(&table, &options(true), 30).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn the_dictionarys_types_are_understood() {
        for (name, bytes, precision, scale, used, declared) in [
            ("NUMBER", 22, Some(10), Some(0), None, "NUMBER(10)"),
            ("NUMBER", 22, None, None, None, "NUMBER"),
            ("NUMBER", 22, None, Some(0), None, "NUMBER(38)"),
            ("VARCHAR2", 160, None, None, Some("C"), "VARCHAR2(40 CHAR)"),
            ("VARCHAR2", 160, None, None, Some("B"), "VARCHAR2(160 BYTE)"),
            ("TIMESTAMP(3) WITH TIME ZONE", 13, None, Some(3), None, "TIMESTAMP(3) WITH TIME ZONE"),
            ("INTERVAL DAY(2) TO SECOND(0)", 11, Some(2), Some(0), None, "INTERVAL DAY(2) TO SECOND(0)"),
            ("RAW", 16, None, None, None, "RAW(16)"),
            ("SDO_GEOMETRY", 1, None, None, None, "SDO_GEOMETRY"),
        ] {
            assert_eq!(dictionary_type(name, bytes, precision, scale, 40, used).to_string(), declared);
        }
    }
}
