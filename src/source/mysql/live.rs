//! Reading a running server: one dump connection, and a silence that is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use mysql_async::binlog::events::Event as RawEvent;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, GnoInterval, OptsBuilder, Sid};
use tokio::time::Instant;

use super::catalog::{Catalog, Description};
use super::decode::{Decoder, Flavor, Step};
use super::event::{Event, kind};
use super::gtid::GtidSet;
use super::server::{self, Server};
use crate::client::mysql as client;
use crate::error::{Error, Kind, Result};
use crate::model::block::{BlockBuilder, SchemaBook};
use crate::model::connection::Connection;
use crate::model::coverage::Coverage;
use crate::model::position::{Position, Seq};
use crate::model::table::{Pattern, TableName, TableSelection};
use crate::source::{ChangeStream, HELD_MAX, Progress};

/// So many heartbeats may be missed before the server counts as lost.
const HEARTBEATS_MISSED: u32 = 3;
/// A server may search for the place to begin at for so long.
const FIRST_EVENT_WITHIN: Duration = Duration::from_secs(60);
/// A table whose rows have come is visible within so long, unless it was dropped since.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// The largest packet of the protocol; a row may be as large.
const PACKET_MAX: usize = 1 << 30;

/// A reader of a server's binlog.
pub(crate) struct LiveStream {
    dump: Dump,
    decoder: Decoder,
    catalog: Catalog,
}

impl LiveStream {
    /// Begins behind `from`.
    pub async fn open(
        connection: Arc<Connection>,
        server: &Server,
        from: &Position,
        tables: TableSelection,
        server_id: ServerId,
    ) -> Result<LiveStream> {
        if server.folds_names {
            refuse_capitals(&tables)?;
        }
        let gtid = server::parse_gtid(server.flavor, &from.gtid)?;
        let dump = Dump::open(&connection, server, from, &gtid, server_id, false).await?;
        let mut decoder = Decoder::new(server.flavor, true, tables, from, gtid);
        if server.folds_names {
            decoder.fold_names();
        }
        tracing::info!(
            connection = %connection.name,
            server = %server.identity.description,
            position = %from,
            "reading the binlog"
        );
        Ok(LiveStream { dump, decoder, catalog: Catalog::new(connection) })
    }

    async fn take(&mut self, raw: &RawEvent, out: &mut BlockBuilder) -> Result<()> {
        let event = checked(raw, &self.decoder)?;
        while let Step::Describe(table) = self.decoder.event(&event, out)? {
            let description = self.look_up(&table).await?;
            self.decoder.describe(table, description);
        }
        Ok(())
    }
}

impl LiveStream {
    /// What the server says of a table. The rows of a CREATE TABLE … SELECT are sent before others can see the table,
    /// so that one which is not there is asked for again.
    async fn look_up(&mut self, table: &TableName) -> Result<Option<Description>> {
        let until = Instant::now() + SHOWN_WITHIN;
        loop {
            let description = self.catalog.describe(table).await?;
            if description.is_some() || Instant::now() >= until {
                return Ok(description);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[async_trait]
impl ChangeStream for LiveStream {
    async fn fill(
        &mut self,
        out: &mut BlockBuilder,
        target_bytes: usize,
        patience: Duration,
    ) -> Result<Progress> {
        let until = Instant::now() + patience;
        let start = out.len();
        let mut held_since = None;
        self.decoder.begin(out);
        loop {
            // The time of the last event stands for now: the clock is not asked twice for each.
            let now = self.dump.heard_at;
            if out.len() > start {
                let since = *held_since.get_or_insert(now);
                if out.len() >= target_bytes || now >= since + HELD_MAX {
                    return Ok(Progress::Full);
                }
            } else if now >= until {
                self.decoder.between(out);
                return Ok(Progress::Full);
            }
            let raw = match self.dump.at_hand() {
                Some(event) => event?,
                None if out.len() > start => return Ok(Progress::CaughtUp),
                None => match self.dump.next(until).await? {
                    Some(event) => event,
                    None if self.decoder.between(out) => return Ok(Progress::CaughtUp),
                    None => return Ok(Progress::Idle),
                },
            };
            self.take(&raw, out).await?;
        }
    }

    fn select(&mut self, coverage: Coverage) {
        self.decoder.select(coverage);
    }

    fn remember(&mut self, schemas: &SchemaBook) {
        self.decoder.remember(schemas);
    }

    fn position(&self) -> Position {
        self.decoder.position()
    }

    async fn close(self: Box<Self>) {
        // The server notices a closed connection by itself; a farewell must not be waited for without end.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.dump.stream.close()).await;
    }
}

/// Names with capitals would wait for ever at a server that knows small letters only.
fn refuse_capitals(tables: &TableSelection) -> Result<()> {
    for set in tables.sets() {
        for Pattern(name) in set.include.iter().chain([&Pattern(set.database.clone())]) {
            if name.to_lowercase() != *name {
                return Err(Error::new(
                    Kind::Script,
                    format!("the server keeps names of tables in small letters, so it has no {name}"),
                )
                .advice(format!("write {}", name.to_lowercase())));
            }
        }
    }
    Ok(())
}

/// Goes through the binlog from `from` on without keeping anything, and returns the last place between two
/// transactions for which `before` is still true, given that place and the next transaction's commit time.
/// `None` when the log ended before that.
pub(crate) async fn search(
    connection: &Connection,
    server: &Server,
    from: &Position,
    mut before: impl FnMut(&Position, Option<i64>) -> bool,
) -> Result<(Position, bool)> {
    let gtid = server::parse_gtid(server.flavor, &from.gtid)?;
    // A search begins at a file's start, where there may be no GTIDs yet.
    let by_file = Position { gtid: String::new(), ..from.clone() };
    let server_id = ServerId::random();
    let mut dump = Dump::open(connection, server, &by_file, &gtid, server_id, true).await?;
    let mut decoder = Decoder::new(server.flavor, false, TableSelection::default(), from, gtid);
    let mut out = BlockBuilder::new(Seq(0), SchemaBook::default());
    decoder.begin(&mut out);
    loop {
        let Some(raw) = dump.next_or_end().await? else { return Ok((decoder.position(), false)) };
        let was_open = decoder.in_transaction();
        let event = checked(&raw, &decoder)?;
        decoder.event(&event, &mut out)?;
        // Nothing is wanted, so that only commits are in it.
        out.seal();
        let begins = !was_open && decoder.in_transaction();
        if (begins || !decoder.in_transaction()) && !before(&decoder.position(), decoder.begun_at_ms()) {
            return Ok((decoder.position(), true));
        }
    }
}

/// When a file was begun, in milliseconds.
pub(crate) async fn file_time_ms(connection: &Connection, server: &Server, file: &str) -> Result<i64> {
    let from = Position { gtid: String::new(), file: file.to_owned(), offset: 4 };
    let gtid = server::parse_gtid(server.flavor, "")?;
    let mut dump = Dump::open(connection, server, &from, &gtid, ServerId::random(), true).await?;
    while let Some(raw) = dump.next_or_end().await? {
        if raw.header().event_type_raw() == kind::FORMAT_DESCRIPTION {
            return Ok(i64::from(raw.header().timestamp()) * 1000);
        }
    }
    Err(Error::new(Kind::Gap, format!("the binlog file {file} cannot be read")))
}

/// The replica id that a connection shows. The one from the settings is used by one connection at a time: a second
/// one with the same id would make the server end the first.
pub(crate) struct ServerId {
    id: u32,
    lease: Option<Arc<AtomicBool>>,
}

impl ServerId {
    /// An id that nobody sets by hand.
    pub fn random() -> ServerId {
        let [a, b, c, d, ..] = uuid::Uuid::new_v4().into_bytes();
        ServerId { id: u32::from_le_bytes([a, b, c, d]) | 0x8000_0000, lease: None }
    }

    /// The id `set` when no other connection has it, else a random one.
    pub fn lease(set: Option<u32>, taken: &Arc<AtomicBool>) -> ServerId {
        match set {
            Some(id) if !taken.swap(true, Ordering::AcqRel) => {
                ServerId { id, lease: Some(Arc::clone(taken)) }
            }
            _ => ServerId::random(),
        }
    }
}

impl Drop for ServerId {
    fn drop(&mut self) {
        if let Some(taken) = &self.lease {
            taken.store(false, Ordering::Release);
        }
    }
}

/// A dump connection.
struct Dump {
    stream: BinlogStream,
    heartbeat: Duration,
    heard_at: Instant,
    heard: bool,
    _server_id: ServerId,
}

impl Dump {
    async fn open(
        connection: &Connection,
        server: &Server,
        from: &Position,
        gtid: &GtidSet,
        server_id: ServerId,
        ends: bool,
    ) -> Result<Dump> {
        let heartbeat = connection
            .settings
            .duration("heartbeat")
            .unwrap_or(Duration::from_secs(10))
            .clamp(Duration::from_millis(100), Duration::from_secs(3600));
        let options: OptsBuilder = client::options(connection)?.max_allowed_packet(Some(PACKET_MAX));
        let mut conn = client::connect(connection, options).await?;
        let by_gtid = server.has_gtids && !from.gtid.is_empty();
        for statement in set_up(server.flavor, heartbeat, by_gtid.then_some(gtid)) {
            conn.query_drop(statement)
                .await
                .map_err(|error| client::failure(error, "cannot prepare to read the binlog"))?;
        }
        let stream = request(conn, server.flavor, from, gtid, server_id.id, by_gtid, ends).await?;
        let heard_at = Instant::now();
        Ok(Dump { stream, heartbeat, heard_at, heard: false, _server_id: server_id })
    }

    /// An event that has arrived already.
    fn at_hand(&mut self) -> Option<Result<RawEvent>> {
        // Outside of tokio's budget, an empty answer means that nothing is there, not that it is another task's turn.
        let outcome = tokio::task::unconstrained(self.stream.next()).now_or_never()?;
        Some(self.heard(outcome).and_then(|event| event.ok_or_else(ended)))
    }

    /// The next event; `None` when `until` comes first.
    ///
    /// The wait may be given up: a half-read packet stays with the stream.
    async fn next(&mut self, until: Instant) -> Result<Option<RawEvent>> {
        let lost_at = self.lost_at();
        match tokio::time::timeout_at(until.min(lost_at), self.stream.next()).await {
            Ok(outcome) => self.heard(outcome)?.ok_or_else(ended).map(Some),
            Err(_) if Instant::now() >= lost_at => Err(silent(self.heard_at.elapsed())),
            Err(_) => Ok(None),
        }
    }

    /// The next event; `None` at the end of the log.
    async fn next_or_end(&mut self) -> Result<Option<RawEvent>> {
        match tokio::time::timeout_at(self.lost_at(), self.stream.next()).await {
            Ok(outcome) => self.heard(outcome),
            Err(_) => Err(silent(self.heard_at.elapsed())),
        }
    }

    fn lost_at(&self) -> Instant {
        let patience = self.heartbeat * HEARTBEATS_MISSED;
        self.heard_at + if self.heard { patience } else { patience.max(FIRST_EVENT_WITHIN) }
    }

    fn heard(&mut self, outcome: Option<mysql_async::Result<RawEvent>>) -> Result<Option<RawEvent>> {
        let event =
            outcome.transpose().map_err(|error| client::failure(error, "cannot read on in the binlog"))?;
        self.heard_at = Instant::now();
        // The server's first words come before it searches for the place to begin at.
        self.heard |= event.as_ref().is_some_and(|event| {
            !matches!(event.header().event_type_raw(), kind::ROTATE | kind::FORMAT_DESCRIPTION)
        });
        Ok(event)
    }
}

fn silent(waited: Duration) -> Error {
    Error::new(
        Kind::Unavailable,
        format!("the server is silent: nothing came for {} ms, not even a heartbeat", waited.as_millis()),
    )
}

fn ended() -> Error {
    Error::new(Kind::Unavailable, "the server ended the binlog stream")
}

/// What the session must be told before the dump begins.
fn set_up(flavor: Flavor, heartbeat: Duration, gtid: Option<&GtidSet>) -> Vec<String> {
    let nanos = heartbeat.as_nanos();
    let mut statements = vec![format!("SET @master_heartbeat_period = {nanos}")];
    match flavor {
        Flavor::MySql => {
            let uuid = uuid::Uuid::new_v4();
            statements.push(format!("SET @source_heartbeat_period = {nanos}"));
            statements.push("SET @source_binlog_checksum = 'CRC32'".into());
            statements.push(format!("SET @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'"));
        }
        Flavor::MariaDb => {
            // Level 4: GTIDs come as events of their own.
            statements.push("SET @mariadb_slave_capability = 4".into());
            if let Some(gtid) = gtid {
                statements.push(format!("SET @slave_connect_state = '{gtid}'"));
                // A GTID that the server does not have is an error, not a place to guess.
                statements.push("SET @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0".into());
            }
        }
    }
    statements
}

async fn request(
    conn: Conn,
    flavor: Flavor,
    from: &Position,
    gtid: &GtidSet,
    server_id: u32,
    by_gtid: bool,
    ends: bool,
) -> Result<BinlogStream> {
    let mut request = BinlogStreamRequest::new(server_id);
    if ends {
        request = request.with_non_blocking();
    }
    request = match (by_gtid, flavor, gtid) {
        (true, Flavor::MySql, GtidSet::MySql(servers)) => {
            request.with_gtid().with_pos(4_u64).with_gtid_set(servers.iter().map(|(uuid, runs)| {
                let runs = runs.iter().map(|run| GnoInterval::new(run.first, run.last + 1)).collect();
                Sid::new(*uuid).with_intervals(runs)
            }))
        }
        (true, ..) => request.with_pos(4_u64),
        (false, ..) => {
            if flavor == Flavor::MariaDb || from.offset <= u64::from(u32::MAX) {
                request.with_filename(from.file.as_bytes()).with_pos(from.offset.max(4))
            } else {
                return Err(too_far(from));
            }
        }
    };
    if !by_gtid && from.offset > u64::from(u32::MAX) {
        return Err(too_far(from));
    }
    conn.get_binlog_stream(request)
        .await
        .map_err(|error| client::dump_failure(error, "cannot begin to read the binlog"))
}

fn too_far(from: &Position) -> Error {
    Error::new(Kind::Data, format!("reading cannot begin at {from}: the protocol has 32 bits for an offset"))
        .advice("switch GTIDs on at the server, so that places in files above 4 GiB can be found again")
}

/// The event as the decoder reads it, after its checksum was compared.
fn checked<'a>(raw: &'a RawEvent, decoder: &Decoder) -> Result<Event<'a>> {
    let header = raw.header();
    let event = Event {
        time: header.timestamp(),
        kind: header.event_type_raw(),
        server_id: header.server_id(),
        size: header.event_size(),
        end: header.log_pos(),
        flags: header.flags_raw(),
        body: raw.data(),
    };
    if decoder.in_payload() {
        return Ok(event);
    }
    if let Some(sum) = raw.checksum() {
        let algorithm = (event.kind == kind::FORMAT_DESCRIPTION)
            .then(|| raw.footer().get_checksum_alg().ok().flatten().map_or(0, |algorithm| algorithm as u8));
        // A format description always has room for a checksum, also when the server writes none.
        let expected = algorithm != Some(0);
        if expected && event.crc32(algorithm) != u32::from_le_bytes(sum) {
            return Err(decoder
                .error(Kind::Data, format!("the checksum of an event {} is wrong", kind::name(event.kind)))
                .advice("look after the server's disk and the network between"));
        }
    }
    Ok(event)
}
