//! Table maps, and the rows that follow them.

use std::sync::Arc;

use super::super::catalog::Description;
use super::super::column::{self, Misfit};
use super::super::event::{Event, Flaw, Reader, kind};
use super::super::table_map::{self, TableMap};
use super::{Decoder, Flavor, Plan, STATEMENT_END, TABLES_MAX, Table};
use crate::error::{Kind, Result};
use crate::model::block::{BlockBuilder, Op};
use crate::model::row::ImageWriter;
use crate::model::schema::{Column, SchemaNo, TableSchema};
use crate::model::table::TableName;

impl Decoder {
    /// Learns a table map. `Some` when the server must be asked about the table first.
    pub(super) fn table_map(&mut self, event: &Event<'_>) -> Result<Option<TableName>> {
        let (id, database, table) =
            table_map::names(event.body).map_err(|flaw| self.malformed(event, &flaw))?;
        if self.tables.get(&id).is_some_and(|known| *known.body == *event.body) {
            return Ok(None);
        }
        let wanted = match (std::str::from_utf8(database), std::str::from_utf8(table)) {
            (Ok(database), Ok(table)) => self.selection.contains(database, table),
            _ => return Err(self.malformed(event, &Flaw::Text)),
        };
        let plan = if wanted {
            let map = table_map::parse(event.body, self.flavor == Flavor::MariaDb)
                .map_err(|flaw| self.malformed(event, &flaw))?;
            let name = TableName::new(map.database.as_str(), map.table.as_str());
            if self.has_catalog && !self.described.contains_key(&name) {
                return Ok(Some(name));
            }
            // What the server said may be of another moment than the next table map.
            let description = self.described.remove(&name).flatten();
            let plan = self.plan(name.clone(), &map, description.as_ref());
            Some(plan.or_else(|error| self.older_plan(&name, &map, description.as_ref()).ok_or(error))?)
        } else {
            None
        };
        self.tables.insert(id, Table { body: event.body.into(), plan });
        Ok(None)
    }

    pub(super) fn plan(&self, name: TableName, map: &TableMap, known: Option<&Description>) -> Result<Plan> {
        const FULL: &str = "SET GLOBAL binlog_row_metadata = 'FULL', so that rows say what their columns are";
        const LEAVE_OUT: &str = "change the column, or leave the table out of the pipelines' sources";
        let fail = |message: String| self.error(Kind::Data, message).advice(FULL);
        if !map.has_names {
            let Some(known) = known else {
                let message = format!("the binlog has no column names of {name}");
                return Err(if self.has_catalog {
                    let message = format!("{message}, and the server does not show the table");
                    self.error(Kind::Data, message).advice(format!(
                        "if the table is still there, give the user the right: GRANT SELECT ON {}.* TO <user>; \
                         in any case, {FULL}",
                        name.database
                    ))
                } else {
                    fail(message)
                });
            };
            if known.columns.len() != map.columns.len() {
                return Err(fail(format!(
                    "the rows of {name} have {} columns, but the table has {} now",
                    map.columns.len(),
                    known.columns.len()
                )));
            }
        }
        let mut columns = Vec::with_capacity(map.columns.len());
        let mut codecs = Vec::with_capacity(map.columns.len());
        let mut null_by_default = Vec::with_capacity(map.columns.len());
        for (index, column) in map.columns.iter().enumerate() {
            // With names of its own, a row may be older than today's definition, which then is only a hint.
            let described = known.and_then(|known| match &column.name {
                Some(name) => known.columns.iter().find(|described| described.name == *name),
                None => known.columns.get(index),
            });
            let column_name = match (&column.name, described) {
                (Some(name), _) => name.clone(),
                (None, Some(described)) => described.name.clone(),
                (None, None) => return Err(fail(format!("column {} of {name} has no name", index + 1))),
            };
            let resolved = if map.has_names {
                exotic(described).map_or_else(|| column::resolve(column, None), Err)
            } else {
                column::resolve(column, described)
            };
            let (ty, codec) = resolved.map_err(|misfit| match misfit {
                Misfit::Unclear(why) => fail(format!("column {column_name} of {name} {why}")),
                Misfit::Unsupported(why) => {
                    self.error(Kind::Data, format!("column {column_name} of {name} {why}")).advice(LEAVE_OUT)
                }
            })?;
            columns.push(Column { name: column_name, ty, nullable: column.nullable });
            codecs.push(codec);
            null_by_default.push(described.is_some_and(|described| described.null_by_default));
        }
        let places = |names: &[String]| -> Option<Vec<u16>> {
            names
                .iter()
                .map(|name| columns.iter().position(|column| column.name == *name).map(|at| at as u16))
                .collect()
        };
        let primary_key = match (&map.primary_key, known) {
            (Some(key), _) => key.clone(),
            (None, Some(known)) if !map.has_names => places(&known.primary_key).unwrap_or_default(),
            _ => Vec::new(),
        };
        let unique_keys = known
            .map(|known| known.unique_keys.iter().filter_map(|key| places(key)).collect())
            .unwrap_or_default();
        let schema = Arc::new(TableSchema { name, columns, primary_key, unique_keys });
        Ok(Plan { schema, codecs, null_by_default, no: None })
    }

    pub(super) fn rows(&mut self, event: &Event<'_>, op: Op, out: &mut BlockBuilder) -> Result<()> {
        let versioned = event.kind >= kind::WRITE_ROWS;
        let mut input = Reader(event.body);
        let head = (|| {
            let id = input.uint(6)?;
            let flags = input.u16()?;
            if versioned {
                let extra = usize::from(input.u16()?);
                input.take(extra.checked_sub(2).ok_or(Flaw::Short)?)?;
            }
            Ok((id, flags))
        })();
        let (id, flags) = head.map_err(|flaw| self.malformed(event, &flaw))?;
        let done = self.rows_of(id, input, op, out);
        // The next statement brings its table maps again. Within one, those of all its tables are needed.
        if flags & STATEMENT_END != 0 && self.tables.len() > TABLES_MAX {
            self.tables.clear();
        }
        done
    }

    pub(super) fn rows_of(
        &mut self,
        id: u64,
        mut input: Reader<'_>,
        op: Op,
        out: &mut BlockBuilder,
    ) -> Result<()> {
        let Some(table) = self.tables.get_mut(&id) else {
            // An event with this number carries no rows; it ends a statement.
            if id == 0xFF_FFFF {
                return Ok(());
            }
            return Err(self.error(Kind::Data, "rows come without a table map before them"));
        };
        let Some(plan) = &mut table.plan else { return Ok(()) };
        let no = match plan.no {
            Some(no) => no,
            None => {
                let no = out.schema(&plan.schema);
                if let Some(known) = out.book().get(no) {
                    plan.schema = Arc::clone(known);
                }
                *plan.no.insert(no)
            }
        };
        match plan.rows(&mut input, op, no, self.group.time_ms, out) {
            Ok(changes) => {
                self.group.changes += changes;
                Ok(())
            }
            Err(RowFlaw { column, flaw }) => {
                let schema = Arc::clone(&plan.schema);
                let message = match column.and_then(|index| schema.columns.get(index)) {
                    Some(column) => {
                        format!("column {} of {} cannot be carried: {flaw}", column.name, schema.name)
                    }
                    None => format!("the rows of {} cannot be read: {flaw}", schema.name),
                };
                let error = self.error(Kind::Data, message);
                Err(if flaw == Flaw::NoColumns {
                    error.advice("SET GLOBAL binlog_row_image = 'FULL'")
                } else {
                    error
                })
            }
        }
    }

    pub(super) fn unsupported_rows(&self, event: &Event<'_>) -> Result<()> {
        let id = Reader(event.body).uint(6).map_err(|flaw| self.malformed(event, &flaw))?;
        let Some(table) = self.tables.get(&id) else {
            return Err(self.error(Kind::Data, "rows come without a table map before them"));
        };
        let Some(plan) = &table.plan else { return Ok(()) };
        let message = format!(
            "the event {} with rows of {} is not supported",
            kind::name(event.kind),
            plan.schema.name
        );
        Err(self.error(Kind::Data, message).advice(if event.kind == kind::PARTIAL_UPDATE_ROWS {
            "SET GLOBAL binlog_row_value_options = ''"
        } else {
            "SET GLOBAL log_bin_compress = OFF"
        }))
    }
}

/// A value that cannot be carried; `column` is `None` when the event itself is at fault.
struct RowFlaw {
    column: Option<usize>,
    flaw: Flaw,
}

impl From<Flaw> for RowFlaw {
    fn from(flaw: Flaw) -> Self {
        RowFlaw { column: None, flaw }
    }
}

impl Plan {
    /// Decodes all rows of an event. Returns how many there were.
    fn rows(
        &self,
        input: &mut Reader<'_>,
        op: Op,
        no: SchemaNo,
        time_ms: i64,
        out: &mut BlockBuilder,
    ) -> Result<u64, RowFlaw> {
        if input.lenenc()? != self.codecs.len() as u64 {
            return Err(Flaw::Short.into());
        }
        let bitmap = self.codecs.len().div_ceil(8);
        let mut first = Presence::new(input.take(bitmap)?, self.codecs.len());
        if op == Op::Insert {
            let known = |(at, null): (usize, &bool)| *null || bit(first.bits, at);
            first.rest_is_null = self.null_by_default.iter().enumerate().all(known);
        }
        let second =
            if op == Op::Update { Presence::new(input.take(bitmap)?, self.codecs.len()) } else { first };
        if input.is_empty() {
            // A minimal image of a row with defaults only has no bytes, so that nobody knows how many rows there are.
            return Err(Flaw::NoColumns.into());
        }
        let mut changes = 0;
        while !input.is_empty() {
            let (before, after) = match op {
                Op::Insert => (None, Some(first)),
                Op::Delete => (Some(first), None),
                _ => (Some(first), Some(second)),
            };
            let cell = std::cell::Cell::new(*input);
            let image = |presence: Presence<'_>, out: &mut Vec<u8>| {
                let mut reader = cell.get();
                let done = self.image(&mut reader, presence, out);
                cell.set(reader);
                done
            };
            out.change(
                op,
                no,
                time_ms,
                before.map(|presence| move |out: &mut Vec<u8>| image(presence, out)),
                after.map(|presence| move |out: &mut Vec<u8>| image(presence, out)),
            )?;
            let rest = cell.get();
            if rest.0.len() == input.0.len() {
                // Such a row has no bytes, and would be read for ever.
                return Err(Flaw::NoColumns.into());
            }
            *input = rest;
            changes += 1;
        }
        Ok(changes)
    }

    #[inline]
    fn image(
        &self,
        input: &mut Reader<'_>,
        presence: Presence<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), RowFlaw> {
        let nulls = input.take(presence.count.div_ceil(8))?;
        let complete = presence.count == self.codecs.len();
        let mut image = ImageWriter::new(out, self.codecs.len(), !complete && !presence.rest_is_null);
        if complete {
            for (index, codec) in self.codecs.iter().enumerate() {
                if bit(nulls, index) {
                    image.null();
                } else {
                    codec.decode(input, &mut image).map_err(|flaw| RowFlaw { column: Some(index), flaw })?;
                }
            }
            return Ok(());
        }
        let mut place = 0;
        for (index, codec) in self.codecs.iter().enumerate() {
            if !bit(presence.bits, index) {
                if presence.rest_is_null {
                    image.null();
                } else {
                    image.absent();
                }
                continue;
            }
            if bit(nulls, place) {
                image.null();
            } else {
                codec.decode(input, &mut image).map_err(|flaw| RowFlaw { column: Some(index), flaw })?;
            }
            place += 1;
        }
        Ok(())
    }
}

/// Which columns an image has.
#[derive(Clone, Copy)]
struct Presence<'a> {
    bits: &'a [u8],
    count: usize,
    /// A new row has NULL in all other columns.
    rest_is_null: bool,
}

impl<'a> Presence<'a> {
    fn new(bits: &'a [u8], columns: usize) -> Self {
        let count = (0..columns).filter(|index| bit(bits, *index)).count();
        Presence { bits, count, rest_is_null: false }
    }
}

#[inline]
fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}

/// A column type that looks like another in the binlog, so that only the server's word gives it away.
fn exotic(described: Option<&super::super::catalog::Described>) -> Option<Misfit> {
    let said = described?.data_type.as_str();
    matches!(said, "uuid" | "inet6" | "inet4" | "xmltype")
        .then(|| format!("has the type {said}, which is not supported").into())
}
