//! The source `mysql`: the binlog of a running MySQL or MariaDB server.
//!
//! `live` holds the connection, `decode` turns events into entries; what a row's bytes mean is resolved once
//! for each table (`table_map`, `catalog`, `column`) and then applied in one pass.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use mysql_async::Conn;

use self::decode::Flavor;
use self::gtid::GtidSet;
use self::live::{LiveStream, ServerId};
use self::rows::Rows;
use self::server::{LogFile, Server};
use super::{ChangeStream, Identity, RowReader, Source, SourceKind};
use crate::client::mysql as client;
use crate::error::{Error, Kind, Result, ResultExt};
use crate::model::connection::Connection;
use crate::model::position::Position;
use crate::model::spec::{SettingSpec, Start};
use crate::model::table::TableSelection;

mod catalog;
mod charset;
mod column;
mod decimal;
pub(crate) mod decode;
pub(crate) mod event;
pub(crate) mod gtid;
mod jsonb;
mod live;
mod rows;
mod server;
mod statement;
mod table_map;
mod temporal;

/// Settings of `source mysql … { }` besides those that every source has. All that a server needs is set at its
/// connection.
pub const SETTINGS: &[SettingSpec] = &[];

/// The kind `mysql`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mysql;

impl SourceKind for Mysql {
    fn source(&self, connection: Arc<Connection>) -> Result<Arc<dyn Source>> {
        client::options(&connection)?;
        Ok(Arc::new(MysqlSource { connection, server_id_taken: Arc::default() }))
    }
}

/// One server.
struct MysqlSource {
    connection: Arc<Connection>,
    server_id_taken: Arc<AtomicBool>,
}

#[async_trait]
impl Source for MysqlSource {
    async fn identify(&self) -> Result<Identity> {
        let (conn, server) = self.connect().await?;
        farewell(conn);
        Ok(server.identity)
    }

    async fn resolve(&self, start: &Start) -> Result<Position> {
        let (mut conn, server) = self.connect().await?;
        let position = self.find(&mut conn, &server, start).await.context_with(|| self.place())?;
        farewell(conn);
        Ok(position)
    }

    fn rows(&self) -> Result<Option<Box<dyn RowReader>>> {
        client::options(&self.connection)?;
        Ok(Some(Box::new(Rows::new(Arc::clone(&self.connection)))))
    }

    fn is_behind(&self, place: &Position, other: &Position) -> Option<bool> {
        if place.reaches(other) || other.reaches(place) {
            return Some(!other.reaches(place));
        }
        // A start point that was named by GTIDs has no file yet.
        let (place, other) = (GtidSet::parse(&place.gtid)?, GtidSet::parse(&other.gtid)?);
        match (place.contains(&other), other.contains(&place)) {
            (true, other_contains) => Some(!other_contains),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    async fn open(&self, from: &Position, tables: TableSelection) -> Result<Box<dyn ChangeStream>> {
        let (conn, server) = self.connect().await?;
        farewell(conn);
        let set = self.connection.settings.integer("server_id").and_then(|id| u32::try_from(id).ok());
        let server_id = ServerId::lease(set, &self.server_id_taken);
        let stream = LiveStream::open(Arc::clone(&self.connection), &server, from, tables, server_id)
            .await
            .context_with(|| self.place())?;
        Ok(Box::new(stream))
    }
}

impl MysqlSource {
    fn place(&self) -> String {
        crate::client::place(&self.connection)
    }

    async fn connect(&self) -> Result<(Conn, Server)> {
        let options = client::options(&self.connection)?;
        let mut conn = client::connect(&self.connection, options).await?;
        let at = address(&self.connection);
        let server = server::examine(&mut conn, &at).await.context_with(|| self.place())?;
        Ok((conn, server))
    }

    async fn find(&self, conn: &mut Conn, server: &Server, start: &Start) -> Result<Position> {
        match start {
            Start::Now => server::end_of_log(conn, server.flavor).await,
            Start::Earliest => {
                let files = server::log_files(conn).await?;
                let first = files.first().ok_or_else(no_files)?;
                self.beginning(conn, server, &first.name).await
            }
            Start::Gtid(text) => {
                if !server.has_gtids {
                    return Err(Error::new(Kind::Environment, "the server's transactions have no GTIDs")
                        .advice(
                            "begin at a position(\"file\", offset), or set gtid_mode = ON at the server",
                        ));
                }
                let set = server::parse_gtid(server.flavor, text)?;
                Ok(Position { gtid: set.to_string(), file: String::new(), offset: 0 })
            }
            Start::Position { file, offset } => self.at_place(conn, server, file, *offset).await,
            Start::Time(time_ms) => self.at_time(conn, server, *time_ms).await,
        }
    }

    /// The beginning of a file, with the GTIDs before it where asking is enough; otherwise the file says them itself.
    async fn beginning(&self, conn: &mut Conn, server: &Server, file: &str) -> Result<Position> {
        let mut gtid = String::new();
        if server.flavor == Flavor::MariaDb {
            gtid = server::gtid_at(conn, file, 4).await?.unwrap_or_default();
        } else if server::log_files(conn).await?.first().is_some_and(|first| first.name == file) {
            gtid = server::purged(conn).await?;
        }
        Ok(Position { gtid, file: file.to_owned(), offset: 4 })
    }

    async fn at_place(&self, conn: &mut Conn, server: &Server, file: &str, offset: u64) -> Result<Position> {
        let files = server::log_files(conn).await?;
        let known = files.iter().find(|known| known.name == file);
        if known.is_none_or(|known| offset > known.size) {
            return Err(Error::new(
                Kind::Gap,
                format!("the server has no place {file}:{offset} in its binlog"),
            )
            .advice("SHOW BINARY LOGS lists the files that are still there, and how long they are"));
        }
        let from = self.beginning(conn, server, file).await?;
        if offset <= 4 {
            return Ok(from);
        }
        let connection = &self.connection;
        let (found, _) =
            live::search(connection, server, &from, |place, _| place.file == file && place.offset < offset)
                .await?;
        if found.file == file && found.offset == offset {
            return Ok(found);
        }
        Err(Error::new(Kind::Refused, format!("{file}:{offset} is not a place between two transactions"))
            .advice(format!("the next one is position(\"{}\", {})", found.file, found.offset)))
    }

    async fn at_time(&self, conn: &mut Conn, server: &Server, time_ms: i64) -> Result<Position> {
        let files = server::log_files(conn).await?;
        // The last file that was begun before the time holds its first transaction, or the next file does.
        let (mut low, mut high) = (0, files.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let begun = live::file_time_ms(&self.connection, server, &files[middle].name).await?;
            if begun < time_ms { low = middle + 1 } else { high = middle }
        }
        let LogFile { name, .. } = files.get(low.saturating_sub(1)).ok_or_else(no_files)?;
        if low == 0 {
            return Err(Error::new(
                Kind::Gap,
                "the oldest binlog file that is still there was begun after the start time",
            )
            .advice("start = earliest begins at the oldest change that is still there"));
        }
        let from = self.beginning(conn, server, name).await?;
        let (found, _) = live::search(&self.connection, server, &from, |_, next_ms| {
            next_ms.is_none_or(|next_ms| next_ms < time_ms)
        })
        .await?;
        Ok(found)
    }
}

/// Where the server is, for people.
fn address(connection: &Connection) -> String {
    match &connection.endpoint {
        crate::model::connection::Endpoint::Url { host, port, .. } => format!("{host}:{port}"),
        other => other.to_string(),
    }
}

fn no_files() -> Error {
    Error::new(Kind::Environment, "the server lists no binlog files")
}

/// Ends a connection properly without waiting for it, so that the server counts no aborted one.
fn farewell(conn: Conn) {
    tokio::spawn(async move {
        let _ = conn.disconnect().await;
    });
}
