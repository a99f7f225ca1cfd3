//! Statements in the binlog: ends of transactions, changes of tables' shapes, and rows that were logged as text.

use std::sync::Arc;

use super::super::event::{Event, Flaw, Reader};
use super::super::statement::{self, Statement};
use super::{Decoder, Group, State};
use crate::error::{Kind, Result};
use crate::model::block::{BlockBuilder, Op};
use crate::model::schema::TableSchema;
use crate::model::table::TableName;

/// What would write an image, where there is none.
type NoImage = fn(&mut Vec<u8>) -> Result<(), Flaw>;

impl Decoder {
    pub(super) fn query_needs(&self, event: &Event<'_>) -> Result<Option<TableName>> {
        if !self.has_catalog {
            return Ok(None);
        }
        let (database, text) = self.query_text(event)?;
        match statement::read(text, database) {
            Statement::Truncate(table) => {
                Ok(self.wanted(&table).filter(|table| !self.described.contains_key(table)))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn query_text<'e>(&self, event: &Event<'e>) -> Result<(&'e str, &'e [u8])> {
        let mut input = Reader(event.body);
        let parsed = (|| {
            input.take(8)?;
            let database_len = usize::from(input.u8()?);
            input.take(2)?;
            let status_len = usize::from(input.u16()?);
            input.take(status_len)?;
            let database = input.take(database_len)?;
            input.u8()?;
            let database = std::str::from_utf8(database).map_err(|_| Flaw::Text)?;
            Ok((database, input.0))
        })();
        parsed.map_err(|flaw| self.malformed(event, &flaw))
    }

    pub(super) fn query(&mut self, event: &Event<'_>, out: &mut BlockBuilder) -> Result<()> {
        let (database, text) = self.query_text(event)?;
        if self.group.state == State::None {
            self.group =
                Group { state: State::Announced, time_ms: i64::from(event.time) * 1000, ..Group::default() };
        }
        let statement = statement::read(text, database);
        match statement {
            Statement::Begin => self.group.state = State::Open,
            Statement::Commit => self.end(out),
            Statement::Rollback => {
                if self.group.changes > 0 {
                    return Err(self.rolled_back());
                }
                self.end(out);
            }
            Statement::Savepoint(name) => {
                // One of the same name goes; so a loop of savepoints needs no more room than one.
                self.group.savepoints.retain(|(known, _)| *known != name);
                self.group.savepoints.push((name, self.group.changes));
            }
            Statement::RollbackTo(name) => {
                let at = self.group.savepoints.iter().rev().find(|(known, _)| *known == name);
                if at.map_or(0, |(_, changes)| *changes) != self.group.changes {
                    return Err(self.rolled_back());
                }
            }
            Statement::XaStart | Statement::CreateAndFill => self.group.state = State::Open,
            Statement::InTransaction => {}
            Statement::Truncate(table) => {
                if let Some(table) = self.wanted(&table) {
                    self.truncate(&table, out);
                }
                self.end_statement(out);
            }
            Statement::Change(verb, tables) => {
                self.refuse_statement(verb, &tables)?;
                self.end_statement(out);
            }
            Statement::Unlogged(verb, tables) => {
                if let Some(table) = self.first_wanted(&tables) {
                    return Err(self
                        .error(
                            Kind::Gap,
                            format!("{verb} of {table} moved rows that are in no event of the binlog"),
                        )
                        .advice("copy the table anew and begin behind this place"));
                }
                self.described.clear();
                self.remembered.clear();
                self.end_statement(out);
            }
            Statement::Opaque(verb) => {
                return Err(self
                    .error(
                        Kind::Data,
                        format!(
                            "a {verb} that changes rows was logged as a statement; its tables cannot be told"
                        ),
                    )
                    .advice("SET GLOBAL binlog_format = 'ROW', also for sessions that set their own"));
            }
            Statement::Drop(tables) => {
                for table in tables {
                    if self.wanted(&table).is_some() {
                        tracing::warn!(table = %table, place = %self.place(), "a mined table was dropped");
                    }
                }
                self.described.clear();
                self.forget_changed(database, text);
                self.end_statement(out);
            }
            Statement::Other => {
                // It may have changed any table's definition or keys.
                self.described.clear();
                self.forget_changed(database, text);
                self.end_statement(out);
            }
        }
        Ok(())
    }

    /// A statement outside of a transaction is one by itself.
    pub(super) fn end_statement(&mut self, out: &mut BlockBuilder) {
        if self.group.state == State::Announced {
            self.end(out);
        }
    }

    pub(super) fn truncate(&mut self, table: &TableName, out: &mut BlockBuilder) {
        let planned = self
            .tables
            .values()
            .filter_map(|known| known.plan.as_ref())
            .find(|plan| plan.schema.name == *table)
            .map(|plan| Arc::clone(&plan.schema));
        let known = out.book().iter().filter(|(_, schema)| schema.name == *table).last();
        let no = match (planned, known) {
            (Some(schema), _) => out.schema(&schema),
            (None, Some((no, _))) => no,
            // Nothing was ever read of this table, and there is no image that columns would be needed for.
            (None, None) => out.schema(&TableSchema {
                name: table.clone(),
                columns: Vec::new(),
                primary_key: Vec::new(),
                unique_keys: Vec::new(),
            }),
        };
        let none: Option<NoImage> = None;
        let written = out.change(Op::Truncate, no, self.group.time_ms, none, none);
        debug_assert!(written.is_ok(), "there is no image that could fail");
        self.group.changes += 1;
    }

    pub(super) fn load_query(&self, event: &Event<'_>) -> Result<()> {
        // Fields of a QUERY, and 13 bytes about the loaded file between its header and its variables.
        let mut input = Reader(event.body);
        let parsed = (|| {
            input.take(8)?;
            let database_len = usize::from(input.u8()?);
            input.take(2)?;
            let status_len = usize::from(input.u16()?);
            input.take(13 + status_len)?;
            let database = std::str::from_utf8(input.take(database_len)?).map_err(|_| Flaw::Text)?;
            input.u8()?;
            Ok((database, input.0))
        })();
        let (database, text) = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        match statement::read(text, database) {
            Statement::Change(verb, tables) => self.refuse_statement(verb, &tables),
            _ => Ok(()),
        }
    }

    /// A change that was logged as a statement is refused when it names a mined table.
    pub(super) fn refuse_statement(&self, verb: &str, tables: &[TableName]) -> Result<()> {
        match self.first_wanted(tables) {
            None => Ok(()),
            Some(table) => Err(self
                .error(Kind::Data, format!("{verb} of {table} was logged as a statement, not as rows"))
                .advice("SET GLOBAL binlog_format = 'ROW', also for sessions that set their own")),
        }
    }

    pub(super) fn first_wanted(&self, tables: &[TableName]) -> Option<TableName> {
        tables.iter().find_map(|table| self.wanted(table))
    }

    /// The table that a statement means, by the name that table maps have, when it is one of the selection.
    pub(super) fn wanted(&self, named: &TableName) -> Option<TableName> {
        let name = if self.folds_names {
            TableName::new(named.database.to_lowercase(), named.table.to_lowercase())
        } else {
            named.clone()
        };
        self.selection.contains(&name.database, &name.table).then_some(name)
    }
}
