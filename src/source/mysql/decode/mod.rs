//! From events to entries: transactions, tables, rows and positions. It does no input or output.

mod older;
mod place;
mod query;
mod table;
mod transaction;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::Description;
use super::charset::Charset;
use super::column::Codec;
use super::event::{Event, Flaw, kind};
use super::gtid::{GtidSet, MariaGtid};
use crate::error::{Error, Kind, Result};
use crate::model::block::{BlockBuilder, Op, SchemaBook};
use crate::model::coverage::Coverage;
use crate::model::position::Position;
use crate::model::schema::{SchemaNo, TableSchema};
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
    /// What is to be read from the place between two transactions on.
    next_coverage: Option<Coverage>,
    tables: HashMap<u64, Table>,
    described: HashMap<TableName, Option<Description>>,
    /// Shapes that tables had where the reader began, as long as nothing may have changed them.
    remembered: HashMap<TableName, Arc<TableSchema>>,
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
            next_coverage: None,
            tables: HashMap::new(),
            described: HashMap::new(),
            remembered: HashMap::new(),
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

    /// Reads other tables from the next transaction on.
    pub fn select(&mut self, coverage: Coverage) {
        self.next_coverage = Some(coverage);
    }

    /// Says what the server knows of a table; `None` when it has none of this name.
    pub fn describe(&mut self, table: TableName, description: Option<Description>) {
        self.described.insert(table, description);
    }

    /// Says which shapes the tables had where the reader begins.
    pub fn remember(&mut self, schemas: &SchemaBook) {
        // Of several schemas of one table, the last one stays.
        self.remembered =
            schemas.iter().map(|(_, schema)| (schema.name.clone(), Arc::clone(schema))).collect();
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
        if let Some(coverage) = self.next_coverage.take() {
            self.selection = coverage.mined();
            // Each statement brings its table maps again, and each is held against the new selection.
            self.tables.clear();
            out.coverage(&coverage);
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

    fn malformed(&self, event: &Event<'_>, flaw: &Flaw) -> Error {
        self.error(Kind::Data, format!("an event {} cannot be read: {flaw}", kind::name(event.kind)))
    }

    pub fn error(&self, kind: Kind, message: impl Into<String>) -> Error {
        Error::new(kind, message).context(format!("in the binlog before {}", self.place()))
    }
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
