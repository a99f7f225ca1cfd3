//! Making a target table fit for the rows that come: made, widened, or said to be wrong.
//!
//! DDL commits, so that this happens before the first row of a batch, or on a connection beside the transaction.

use oracle::Connection;

use super::Config;
use super::table::{Difference, Target, Wanted, appended, create_table, folded_key, relaxed_texts};
use crate::client::oracle::failure;
use crate::error::{Error, Kind, Result};
use crate::model::schema::TableSchema;
use crate::sink::settings::Mode;

/// How often a table is looked at while others change it.
const ATTEMPTS_MAX: usize = 5;
/// Name is already used by an existing object.
const ORA_NAME_USED: i32 = 955;
/// Column being added already exists in table.
const ORA_COLUMN_EXISTS: i32 = 1430;
/// Column to be modified to NULL cannot be modified to NULL: it is already.
const ORA_ALREADY_NULLABLE: i32 = 1451;
/// Resource busy.
const ORA_BUSY: i32 = 54;

/// What is needed to make a table fit for the rows that come.
pub(super) struct Fitting<'a> {
    pub conn: &'a Connection,
    pub config: &'a Config,
    pub name: &'a str,
    pub source: &'a TableSchema,
    pub schema: &'a TableSchema,
    pub writes: bool,
    /// How many seconds to wait for others that use the table.
    pub patience: u32,
}

impl Fitting<'_> {
    /// The table, and what the script's own types can lose.
    pub fn fit(&self, known: Option<Target>, wanted: &[Wanted]) -> Result<(Target, Vec<(String, String)>)> {
        let options = &self.config.options;
        let append = options.tables.mode == Mode::Append;
        let key = folded_key(self.schema);
        let key: Vec<&str> = if append { Vec::new() } else { key.iter().map(String::as_str).collect() };
        let mut all = wanted.to_vec();
        if append {
            all.extend(appended());
        }
        // A row that only goes is found by its key.
        let needed: Vec<Wanted> = all
            .iter()
            .filter(|wanted| self.writes || wanted.column.in_key || key.is_empty())
            .cloned()
            .collect();
        // What is remembered may be out of date: other routes may write to the same table, and make it grow.
        let mut known = known.filter(|target| target.has_columns(&needed));
        for _ in 0..ATTEMPTS_MAX {
            if known.is_none() {
                known = Target::load(self.conn, self.name)?;
            }
            let Some(target) = known.take() else {
                self.create(&all, &key)?;
                continue;
            };
            let Difference { changes, problems, losses } =
                target.difference(&needed, &key, options, self.writes);
            if !problems.is_empty() {
                return Err(self.misfit(problems));
            }
            if changes.is_empty() {
                return Ok((target, losses));
            }
            for sql in &changes {
                self.change(sql, &[ORA_COLUMN_EXISTS, ORA_ALREADY_NULLABLE])?;
                tracing::info!(table = self.name, "changed: {sql}");
            }
        }
        Err(Error::new(
            Kind::Unavailable,
            format!("table {} is being changed by others all the time", self.name),
        ))
    }

    fn create(&self, wanted: &[Wanted], key: &[&str]) -> Result<()> {
        let [table, comment] = create_table(self.name, wanted, key, self.source);
        if !self.config.options.tables.create_tables {
            return Err(Error::new(Kind::Environment, format!("the target has no table {}", self.name))
                .advice(format!("make it, or set create_tables = on: {table}")));
        }
        relaxed_texts(wanted).iter().for_each(|column| {
            tracing::warn!(
                table = self.name,
                column,
                "the column may be NULL although it may not at the source, as an empty text is NULL in Oracle; empty_string \
                 sets a value for them"
            );
        });
        self.change(&table, &[ORA_NAME_USED])?;
        self.change(&comment, &[])
    }

    /// Runs DDL. `done` are the codes that say that another route was quicker.
    fn change(&self, sql: &str, done: &[i32]) -> Result<()> {
        let failed = |error: oracle::Error| {
            let busy = error.oci_code() == Some(ORA_BUSY);
            let error = match busy {
                true => failure(error, &format!("others hold table {}", self.name)),
                false => failure(error, &format!("cannot make or change table {}", self.name)),
            };
            error.advice(format!("run it yourself, and set create_tables = off: {sql}"))
        };
        self.conn
            .execute(&format!("ALTER SESSION SET DDL_LOCK_TIMEOUT = {}", self.patience), &[])
            .map_err(failed)?;
        match self.conn.execute(sql, &[]) {
            Err(error) if error.oci_code().is_some_and(|code| done.contains(&code)) => Ok(()),
            Err(error) => Err(failed(error)),
            Ok(_) => Ok(()),
        }
    }

    fn misfit(&self, problems: Vec<(String, Option<String>)>) -> Error {
        let (what, ddl): (Vec<String>, Vec<Option<String>>) = problems.into_iter().unzip();
        let ddl: Vec<String> = ddl.into_iter().flatten().map(|ddl| format!("{ddl};")).collect();
        Error::new(
            Kind::Environment,
            format!("table {} does not fit the source's table {}: {}", self.name, self.source.name, what.join("; ")),
        )
        .advice(format!(
            "make it fit ({}), drop columns in a stage, or say with the setting types that a column's own type is meant",
            ddl.join(" ")
        ))
    }
}
