//! From events to entries: transactions, tables, rows and positions. It does no input or output.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::Description;
use super::charset::Charset;
use super::column::{self, Codec, Misfit};
use super::event::{Event, Flaw, HEADER_LEN, Reader, kind};
use super::gtid::{GtidSet, MariaGtid, Run};
use super::statement::{self, Statement};
use super::table_map::{self, TableMap};
use crate::error::{Error, Kind, Result};
use crate::model::block::{BlockBuilder, Commit, Op};
use crate::model::position::Position;
use crate::model::row::ImageWriter;
use crate::model::schema::{Column, SchemaNo, TableSchema};
use crate::model::table::{TableName, TableSelection};

/// Transactions that changed no wanted table get a commit entry at most so often.
const EMPTY_COMMIT_EVERY: Duration = Duration::from_secs(1);

/// How many parsed table maps are kept. Every statement brings its own again, so losing one costs time only.
const TABLES_MAX: usize = 4096;

/// The flag of the last rows event of a statement.
const STATEMENT_END: u16 = 1;

/// Turns the events of one source into entries.
pub(crate) struct Decoder {
    flavor: Flavor,
    /// Whether a server can be asked about tables.
    has_catalog: bool,
    /// Whether the server takes names of tables that differ in case for the same, and writes small letters in table maps.
    folds_names: bool,
    selection: TableSelection,
    /// A selection that waits for the place between two transactions.
    next_selection: Option<TableSelection>,
    tables: HashMap<u64, Table>,
    described: HashMap<TableName, Option<Description>>,
    gtid: GtidSet,
    file: String,
    offset: u64,
    /// The last place between two transactions; `gtid` has its set.
    boundary: (String, u64),
    group: Group,
    commit_time_ms: i64,
    last_commit: Option<Instant>,
    /// Transactions were passed whose commit was not written.
    unwritten: bool,
}

/// Whose binlog it is. It is known from the server, or from the format description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    MySql,
    MariaDb,
}

/// What to do after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on with the next event.
    Next,
    /// Look up this table, tell [`Decoder::describe`], and bring the same event again.
    Describe(TableName),
}

/// The transaction that is being read.
#[derive(Debug, Default)]
struct Group {
    state: State,
    /// The GTID that joins the set when the transaction ends.
    gtid: Option<Gtid>,
    time_ms: i64,
    /// Changes of wanted tables so far.
    changes: u64,
    savepoints: Vec<(String, u64)>,
    in_payload: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two transactions.
    #[default]
    None,
    /// The GTID came; what follows says whether it is a transaction or a single statement.
    Announced,
    /// Statements or rows come until a commit.
    Open,
}

#[derive(Clone, Copy, Debug)]
enum Gtid {
    MySql([u8; 16], u64),
    MariaDb(u32, MariaGtid),
}

/// A table map by its bytes, and how its rows are decoded.
struct Table {
    body: Box<[u8]>,
    plan: Option<Plan>,
}

/// How the rows of a wanted table are decoded.
struct Plan {
    schema: Arc<TableSchema>,
    codecs: Vec<Codec>,
    /// For each column, whether a new row that does not name it has NULL there.
    null_by_default: Vec<bool>,
    /// The schema's number in the log that is being written.
    no: Option<SchemaNo>,
}

impl Decoder {
    /// A decoder that goes on behind `from`, whose GTID set is `gtid`.
    pub fn new(
        flavor: Flavor,
        has_catalog: bool,
        selection: TableSelection,
        from: &Position,
        gtid: GtidSet,
    ) -> Self {
        Decoder {
            flavor,
            has_catalog,
            folds_names: false,
            selection,
            next_selection: None,
            tables: HashMap::new(),
            described: HashMap::new(),
            gtid,
            file: from.file.clone(),
            offset: from.offset,
            boundary: (from.file.clone(), from.offset),
            group: Group::default(),
            commit_time_ms: 0,
            last_commit: None,
            unwritten: false,
        }
    }

    /// Says that statements may write names of tables with other letters than table maps do.
    pub fn fold_names(&mut self) {
        self.folds_names = true;
    }

    /// The place behind the last complete transaction.
    pub fn position(&self) -> Position {
        Position { gtid: self.gtid.to_string(), file: self.boundary.0.clone(), offset: self.boundary.1 }
    }

    /// Whether a transaction has begun and not ended.
    pub fn in_transaction(&self) -> bool {
        self.group.state != State::None
    }

    /// The commit time of the transaction that has begun, in milliseconds.
    pub fn begun_at_ms(&self) -> Option<i64> {
        self.in_transaction().then_some(self.group.time_ms)
    }

    /// Whether events come out of a compressed transaction, so that they have no checksums and no places of their own.
    pub fn in_payload(&self) -> bool {
        self.group.in_payload
    }

    /// Where the reader is, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.offset)
    }

    /// Takes another selection of tables from the next transaction on.
    pub fn select(&mut self, selection: TableSelection) {
        self.next_selection = Some(selection);
    }

    /// Says what the server knows of a table; `None` when it has none of this name.
    pub fn describe(&mut self, table: TableName, description: Option<Description>) {
        self.described.insert(table, description);
    }

    /// Must be called before events are written to `out`, which may be another one than before.
    pub fn begin(&mut self, out: &mut BlockBuilder) {
        for table in self.tables.values_mut() {
            if let Some(plan) = &mut table.plan {
                // Mostly it is the same builder as before, whose schemas the plans share.
                let is_same =
                    |known: &Arc<TableSchema>| Arc::ptr_eq(known, &plan.schema) || *known == plan.schema;
                let same = |no: &SchemaNo| out.book().get(*no).is_some_and(is_same);
                plan.no = plan.no.filter(same);
            }
        }
        self.between(out);
    }

    /// Writes what waits for a place between two transactions: a new selection, and the position when it moved
    /// on without changes for a while. True when something was written.
    pub fn between(&mut self, out: &mut BlockBuilder) -> bool {
        if self.in_transaction() {
            return false;
        }
        if let Some(selection) = self.next_selection.take() {
            self.selection = selection;
            // Each statement brings its table maps again, and each is held against the new selection.
            self.tables.clear();
            out.coverage(&self.selection);
            self.write_commit(out);
            return true;
        }
        let due = self.last_commit.is_none_or(|at| at.elapsed() >= EMPTY_COMMIT_EVERY);
        if self.unwritten && due {
            self.write_commit(out);
            return true;
        }
        false
    }

    /// Another file begins, at its first event.
    pub fn next_file(&mut self, file: &str) {
        file.clone_into(&mut self.file);
        self.offset = 4;
        self.touch_boundary();
    }

    /// Nothing follows: writes the last place between two transactions if it is not written yet.
    pub fn finish(&mut self, out: &mut BlockBuilder) {
        if self.unwritten && out.open_changes() == 0 {
            self.write_commit(out);
        }
    }

    /// Takes one event.
    pub fn event(&mut self, event: &Event<'_>, out: &mut BlockBuilder) -> Result<Step> {
        if event.kind == kind::TABLE_MAP {
            if let Some(table) = self.table_map(event)? {
                return Ok(Step::Describe(table));
            }
            self.advance(event);
            return Ok(Step::Next);
        }
        if matches!(event.kind, kind::QUERY)
            && let Some(table) = self.query_needs(event)?
        {
            return Ok(Step::Describe(table));
        }
        self.advance(event);
        self.dispatch(event, out)?;
        Ok(Step::Next)
    }

    fn dispatch(&mut self, event: &Event<'_>, out: &mut BlockBuilder) -> Result<()> {
        match event.kind {
            kind::WRITE_ROWS | kind::WRITE_ROWS_V1 => self.rows(event, Op::Insert, out),
            kind::UPDATE_ROWS | kind::UPDATE_ROWS_V1 => self.rows(event, Op::Update, out),
            kind::DELETE_ROWS | kind::DELETE_ROWS_V1 => self.rows(event, Op::Delete, out),
            kind::XID => {
                self.end(out);
                Ok(())
            }
            kind::GTID | kind::ANONYMOUS_GTID => self.mysql_gtid(event),
            kind::MARIA_GTID => self.mariadb_gtid(event),
            kind::QUERY => self.query(event, out),
            kind::ROTATE => self.rotate(event),
            kind::FORMAT_DESCRIPTION => self.format_description(event),
            kind::PREVIOUS_GTIDS => self.previous_gtids(event),
            kind::MARIA_GTID_LIST => self.gtid_list(event),
            kind::TRANSACTION_PAYLOAD => {
                self.group.in_payload = true;
                Ok(())
            }
            kind::XA_PREPARE => self.xa_prepare(event, out),
            kind::HEARTBEAT
            | kind::HEARTBEAT_V2
            | kind::ROWS_QUERY
            | kind::STOP
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::BEGIN_LOAD_QUERY
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE
            | kind::IGNORABLE
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE
            | kind::MARIA_ANNOTATE_ROWS
            | kind::MARIA_BINLOG_CHECKPOINT => {
                self.touch_boundary();
                Ok(())
            }
            kind::INCIDENT => Err(self
                .error(
                    Kind::Gap,
                    "the server reports an incident: changes before this place may be missing in its binlog",
                )
                .advice("copy the tables anew and begin behind this place")),
            kind::GTID_TAGGED => Err(self
                .error(Kind::Data, "a GTID with a tag (event GTID_TAGGED) is not supported")
                .advice("leave gtid_next at AUTOMATIC without a tag")),
            kind::PARTIAL_UPDATE_ROWS
            | kind::MARIA_WRITE_ROWS_COMPRESSED_V1..=kind::MARIA_DELETE_ROWS_COMPRESSED => {
                self.unsupported_rows(event)
            }
            kind::EXECUTE_LOAD_QUERY => self.load_query(event),
            kind::MARIA_QUERY_COMPRESSED => Err(self
                .error(Kind::Data, "the event QUERY_COMPRESSED is not supported")
                .advice("SET GLOBAL log_bin_compress = OFF")),
            kind::MARIA_START_ENCRYPTION => {
                Err(self.error(Kind::Data, "the binlog file is encrypted").advice("read it from its server"))
            }
            _ if event.is_ignorable() => Ok(()),
            unknown => Err(self.error(
                Kind::Data,
                format!("an event {} (number {unknown}) is not supported", kind::name(unknown)),
            )),
        }
    }

    // Transactions

    fn mysql_gtid(&mut self, event: &Event<'_>) -> Result<()> {
        self.expect_boundary()?;
        let mut input = Reader(event.body);
        let parsed = (|| {
            input.u8()?;
            let uuid: [u8; 16] = input.array()?;
            let number = input.u64()?;
            let mut time_ms = i64::from(event.time) * 1000;
            // Servers before 8.0 end here. The highest bit of the commit time says that the time at the server
            // where the transaction began follows it.
            if input.0.len() >= 24 && input.u8()? == 2 {
                input.take(16)?;
                let micros = input.uint(7)? & !(1 << 55);
                time_ms = (micros / 1000) as i64;
            }
            if number > Run::NUMBER_MAX {
                return Err(Flaw::Number);
            }
            Ok((uuid, number, time_ms))
        })();
        let (uuid, number, time_ms) = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        let gtid = (event.kind == kind::GTID).then_some(Gtid::MySql(uuid, number));
        self.group = Group { state: State::Announced, gtid, time_ms, ..Group::default() };
        Ok(())
    }

    fn mariadb_gtid(&mut self, event: &Event<'_>) -> Result<()> {
        const STANDALONE: u8 = 1;
        self.expect_boundary()?;
        let mut input = Reader(event.body);
        let parsed = (|| Ok((input.u64()?, input.u32()?, input.u8()?)))();
        let (sequence, domain, flags) = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        let gtid = Gtid::MariaDb(domain, MariaGtid { server_id: event.server_id, sequence });
        self.group = Group {
            state: if flags & STANDALONE != 0 { State::Announced } else { State::Open },
            gtid: Some(gtid),
            time_ms: i64::from(event.time) * 1000,
            ..Group::default()
        };
        Ok(())
    }

    fn expect_boundary(&self) -> Result<()> {
        if self.group.in_payload {
            return Err(self.error(Kind::Data, "a compressed transaction could not be unpacked"));
        }
        if self.group.changes > 0 {
            return Err(self.error(Kind::Data, "a transaction begins before the one before it has ended"));
        }
        Ok(())
    }

    fn end(&mut self, out: &mut BlockBuilder) {
        match self.group.gtid.take() {
            Some(Gtid::MySql(uuid, number)) => self.gtid.add_mysql(uuid, number),
            Some(Gtid::MariaDb(domain, gtid)) => self.gtid.add_mariadb(domain, gtid),
            None => {}
        }
        self.boundary.1 = self.offset;
        if self.boundary.0 != self.file {
            self.boundary.0.clone_from(&self.file);
        }
        let group = std::mem::take(&mut self.group);
        self.commit_time_ms = group.time_ms;
        self.unwritten = true;
        if group.changes > 0 {
            self.write_commit(out);
        }
        self.between(out);
    }

    fn write_commit(&mut self, out: &mut BlockBuilder) {
        if self.commit_time_ms == 0 {
            // No transaction has been seen yet; nothing is older than this moment.
            self.commit_time_ms = jiff::Timestamp::now().as_millisecond();
        }
        out.commit(Commit { position: self.position(), time_ms: self.commit_time_ms });
        self.last_commit = Some(Instant::now());
        self.unwritten = false;
    }

    fn query_needs(&self, event: &Event<'_>) -> Result<Option<TableName>> {
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

    fn query_text<'e>(&self, event: &Event<'e>) -> Result<(&'e str, &'e [u8])> {
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

    fn query(&mut self, event: &Event<'_>, out: &mut BlockBuilder) -> Result<()> {
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
                self.end_statement(out);
            }
            Statement::Other => {
                // It may have changed any table's definition or keys.
                self.described.clear();
                self.end_statement(out);
            }
        }
        Ok(())
    }

    /// A statement outside of a transaction is one by itself.
    fn end_statement(&mut self, out: &mut BlockBuilder) {
        if self.group.state == State::Announced {
            self.end(out);
        }
    }

    fn truncate(&mut self, table: &TableName, out: &mut BlockBuilder) {
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

    fn xa_prepare(&mut self, event: &Event<'_>, out: &mut BlockBuilder) -> Result<()> {
        let one_phase = event.body.first().is_some_and(|byte| *byte != 0);
        if !one_phase && self.group.changes > 0 {
            return Err(self
                .error(Kind::Data, "an XA transaction on mined tables was prepared, to be committed later")
                .advice("end XA transactions with XA COMMIT … ONE PHASE, or do without XA"));
        }
        self.end(out);
        Ok(())
    }

    fn load_query(&self, event: &Event<'_>) -> Result<()> {
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
    fn refuse_statement(&self, verb: &str, tables: &[TableName]) -> Result<()> {
        match self.first_wanted(tables) {
            None => Ok(()),
            Some(table) => Err(self
                .error(Kind::Data, format!("{verb} of {table} was logged as a statement, not as rows"))
                .advice("SET GLOBAL binlog_format = 'ROW', also for sessions that set their own")),
        }
    }

    fn first_wanted(&self, tables: &[TableName]) -> Option<TableName> {
        tables.iter().find_map(|table| self.wanted(table))
    }

    /// The table that a statement means, by the name that table maps have, when it is one of the selection.
    fn wanted(&self, named: &TableName) -> Option<TableName> {
        let name = if self.folds_names {
            TableName::new(named.database.to_lowercase(), named.table.to_lowercase())
        } else {
            named.clone()
        };
        self.selection.contains(&name.database, &name.table).then_some(name)
    }

    // Files and positions

    /// Moves the place behind the event.
    fn advance(&mut self, event: &Event<'_>) {
        let made_up = event.is_artificial();
        let no_place =
            event.end == 0 && matches!(event.kind, kind::FORMAT_DESCRIPTION | kind::PREVIOUS_GTIDS);
        let alive = matches!(event.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2 | kind::ROTATE);
        if made_up || no_place || alive || self.group.in_payload {
            return;
        }
        let counted = self.offset + u64::from(event.size);
        if event.end == 0 || counted as u32 == event.end {
            // The header has room for 32 bits only, and files may be larger.
            self.offset = counted;
            return;
        }
        // The server left out events before this one.
        let end = u64::from(event.end);
        let high = self.offset & !0xFFFF_FFFF;
        self.offset = if high | end >= self.offset { high | end } else { (high | end) + (1 << 32) };
    }

    /// An event between two transactions moves the boundary, too, but never back: after a start by GTID, the server
    /// begins before the place where it was left.
    fn touch_boundary(&mut self) {
        if self.group.state != State::None {
            return;
        }
        if self.boundary.0 != self.file {
            self.boundary = (self.file.clone(), self.offset);
            self.unwritten = true;
        }
        self.boundary.1 = self.boundary.1.max(self.offset);
    }

    fn rotate(&mut self, event: &Event<'_>) -> Result<()> {
        let mut input = Reader(event.body);
        let offset = input.u64().map_err(|flaw| self.malformed(event, &flaw))?;
        let mut name = input.0;
        // Before the format description came, nobody knows whether there is a checksum; it then is still there.
        if let Some((body, sum)) = event.body.split_last_chunk::<4>()
            && body.len() > 8
            && (Event { body, ..*event }).crc32(None) == u32::from_le_bytes(*sum)
        {
            name = &body[8..];
        }
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let Some(file) = std::str::from_utf8(&name[..end]).ok().filter(|file| !file.is_empty()) else {
            return Ok(());
        };
        // A connection begins with one that repeats what was asked for, or names the place where the server begins to
        // search for a GTID.
        self.offset = offset;
        if file != self.file {
            file.clone_into(&mut self.file);
            tracing::info!(file, offset, "reading another binlog file");
        }
        self.touch_boundary();
        Ok(())
    }

    fn format_description(&mut self, event: &Event<'_>) -> Result<()> {
        let mut input = Reader(event.body);
        let parsed = (|| Ok((input.u16()?, input.take(50)?, input.u32()?, input.u8()?)))();
        let (version, server, created, header_len) = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        if version != 4 || usize::from(header_len) != HEADER_LEN {
            return Err(self.error(Kind::Data, format!("binlogs of version {version} are not supported")));
        }
        self.flavor = flavor_of(server);
        // After a restart of the server, numbers of tables begin anew.
        if created != 0 {
            self.tables.clear();
        }
        self.touch_boundary();
        Ok(())
    }

    fn previous_gtids(&mut self, event: &Event<'_>) -> Result<()> {
        self.touch_boundary();
        if !self.gtid.is_empty() || event.is_artificial() {
            return Ok(());
        }
        let mut input = Reader(event.body);
        let parsed = (|| {
            let mut set = GtidSet::MySql(Default::default());
            let count = input.u64()?;
            if count >> 56 != 0 {
                return Ok(None);
            }
            for _ in 0..count {
                let uuid: [u8; 16] = input.array()?;
                for _ in 0..input.u64()? {
                    let (first, end) = (input.u64()?, input.u64()?);
                    if first == 0 || end <= first || end > Run::NUMBER_MAX + 1 {
                        return Err(Flaw::Number);
                    }
                    set.add_run(uuid, Run { first, last: end - 1 });
                }
            }
            Ok(Some(set))
        })();
        match parsed.map_err(|flaw| self.malformed(event, &flaw))? {
            Some(set) => {
                self.gtid = set;
                Ok(())
            }
            None => Err(self
                .error(Kind::Data, "the server's set of GTIDs has tags, which are not supported")
                .advice("begin behind them with RESET BINARY LOGS AND GTIDS, or at a server without tags")),
        }
    }

    fn gtid_list(&mut self, event: &Event<'_>) -> Result<()> {
        self.touch_boundary();
        if !self.gtid.is_empty() || event.is_artificial() {
            return Ok(());
        }
        let mut input = Reader(event.body);
        let parsed = (|| {
            let mut set = GtidSet::MariaDb(Default::default());
            // The upper four bits are flags. Of several servers in a domain, the last one listed wrote last.
            for _ in 0..input.u32()? & 0x0FFF_FFFF {
                let (domain, server_id, sequence) = (input.u32()?, input.u32()?, input.u64()?);
                set.add_mariadb(domain, MariaGtid { server_id, sequence });
            }
            Ok(set)
        })();
        self.gtid = parsed.map_err(|flaw| self.malformed(event, &flaw))?;
        Ok(())
    }

    // Tables and rows

    /// Learns a table map. `Some` when the server must be asked about the table first.
    fn table_map(&mut self, event: &Event<'_>) -> Result<Option<TableName>> {
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
            Some(self.plan(name, &map, description.as_ref())?)
        } else {
            None
        };
        self.tables.insert(id, Table { body: event.body.into(), plan });
        Ok(None)
    }

    fn plan(&self, name: TableName, map: &TableMap, known: Option<&Description>) -> Result<Plan> {
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

    fn rows(&mut self, event: &Event<'_>, op: Op, out: &mut BlockBuilder) -> Result<()> {
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

    fn rows_of(&mut self, id: u64, mut input: Reader<'_>, op: Op, out: &mut BlockBuilder) -> Result<()> {
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

    fn unsupported_rows(&self, event: &Event<'_>) -> Result<()> {
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

    // Errors

    fn rolled_back(&self) -> Error {
        self.error(
            Kind::Data,
            "changes of a mined table that were logged are rolled back later in the binlog",
        )
        .advice("do not mix transactional and other tables in one transaction")
    }

    fn malformed(&self, event: &Event<'_>, flaw: &Flaw) -> Error {
        self.error(Kind::Data, format!("an event {} cannot be read: {flaw}", kind::name(event.kind)))
    }

    pub fn error(&self, kind: Kind, message: impl Into<String>) -> Error {
        Error::new(kind, message).context(format!("in the binlog before {}", self.place()))
    }
}

/// What would write an image, where there is none.
type NoImage = fn(&mut Vec<u8>) -> Result<(), Flaw>;

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
                    image.null()
                } else {
                    image.absent()
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
fn exotic(described: Option<&super::catalog::Described>) -> Option<Misfit> {
    let said = described?.data_type.as_str();
    matches!(said, "uuid" | "inet6" | "inet4" | "xmltype")
        .then(|| format!("has the type {said}, which is not supported").into())
}

/// The flavor by the version text of a format description.
pub(crate) fn flavor_of(server_version: &[u8]) -> Flavor {
    let end = server_version.iter().position(|byte| *byte == 0).unwrap_or(server_version.len());
    match Charset::Latin1.text(&server_version[..end]) {
        Ok(version) if version.contains("MariaDB") => Flavor::MariaDb,
        _ => Flavor::MySql,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::block::SchemaBook;
    use crate::model::position::Seq;

    struct Stream {
        decoder: Decoder,
        out: BlockBuilder,
        at: u64,
    }

    impl Stream {
        fn at(offset: u64) -> Stream {
            let from = Position { gtid: String::new(), file: "binlog.000001".into(), offset };
            let set = GtidSet::MySql(Default::default());
            let decoder = Decoder::new(Flavor::MySql, false, TableSelection::default(), &from, set);
            Stream { decoder, out: BlockBuilder::new(Seq(0), SchemaBook::default()), at: offset }
        }

        /// An event with the end that a server would write: the lower half of the offset behind it.
        fn event(&mut self, kind: u8, size: u32, body: &[u8]) -> Result<Step> {
            self.at += u64::from(size);
            let event = Event { time: 1, kind, server_id: 1, size, end: self.at as u32, flags: 0, body };
            self.decoder.event(&event, &mut self.out)
        }
    }

    fn query(text: &str) -> Vec<u8> {
        let mut body = vec![0; 13];
        body.push(0);
        body.extend_from_slice(text.as_bytes());
        body
    }

    #[test]
    fn offsets_above_four_gib_go_on() {
        let mut stream = Stream::at(4);
        let big = (1 << 30) - 7;
        for _ in 0..10 {
            stream.event(kind::QUERY, 80, &query("BEGIN")).unwrap();
            stream.event(kind::ROWS_QUERY, big, b"").unwrap();
            stream.event(kind::XID, 31, b"").unwrap();
            assert_eq!(stream.decoder.position().offset, stream.at);
        }
        assert!(stream.at > 2 << 32);
        // Events that the server left out, across the place where the lower half begins anew.
        stream.at = (3 << 32) + 100;
        stream.event(kind::QUERY, 80, &query("BEGIN")).unwrap();
        stream.event(kind::XID, 31, b"").unwrap();
        assert_eq!(stream.decoder.position().offset, stream.at);
    }

    #[test]
    fn a_made_up_rotation_changes_nothing() {
        let mut stream = Stream::at(4);
        stream.event(kind::QUERY, 80, &query("BEGIN")).unwrap();
        stream.event(kind::XID, 31, b"").unwrap();
        let before = stream.decoder.position();
        let mut body = before.offset.to_le_bytes().to_vec();
        body.extend_from_slice(b"binlog.000001");
        let event =
            Event { time: 0, kind: kind::ROTATE, server_id: 1, size: 44, end: 0, flags: 0x20, body: &body };
        stream.decoder.event(&event, &mut stream.out).unwrap();
        assert_eq!(stream.decoder.position(), before);
    }

    /// One statement may change more tables than table maps are kept.
    #[test]
    fn table_maps_of_one_statement_stay_together() {
        let mut stream = Stream::at(4);
        let rows = |id: u64, flags: u16| {
            let mut body = id.to_le_bytes()[..6].to_vec();
            body.extend_from_slice(&flags.to_le_bytes());
            body.extend_from_slice(&[2, 0, 0]);
            body
        };
        stream.event(kind::QUERY, 80, &query("BEGIN")).unwrap();
        for id in 0..2 * TABLES_MAX as u64 {
            let mut body = id.to_le_bytes()[..6].to_vec();
            body.extend_from_slice(&[1, 0, 1, b'd', 0, 1, b't', 0, 0, 0]);
            stream.event(kind::TABLE_MAP, 40, &body).unwrap();
        }
        stream.event(kind::WRITE_ROWS, 40, &rows(0, 0)).unwrap();
        stream.event(kind::WRITE_ROWS, 40, &rows(5, STATEMENT_END)).unwrap();
        assert!(stream.decoder.tables.is_empty());
        let error = stream.event(kind::WRITE_ROWS, 40, &rows(0, 0)).unwrap_err();
        assert!(error.to_string().contains("without a table map"), "{error}");
    }
}
