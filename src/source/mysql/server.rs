//! Who a server is, whether it can be mined, and what its log reaches from and to.

use mysql_async::Conn;
use mysql_async::prelude::{FromRow, Queryable};

use super::decode::Flavor;
use super::gtid::GtidSet;
use crate::client::mysql as client;
use crate::error::{Error, Kind, Result};
use crate::model::position::Position;
use crate::source::Identity;

/// What was found out about a server when it was connected.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub flavor: Flavor,
    pub identity: Identity,
    /// Whether transactions have GTIDs that reading can begin at.
    pub has_gtids: bool,
    /// Whether it keeps names of tables in small letters (`lower_case_table_names = 1`).
    pub folds_names: bool,
}

/// A binlog file as the server lists it.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    pub name: String,
    pub size: u64,
}

/// Asks the server who it is and checks that it can be mined. `at` is the address, for people.
pub(crate) async fn examine(conn: &mut Conn, at: &str) -> Result<Server> {
    let version: String = scalar(conn, "SELECT VERSION()").await?.unwrap_or_default();
    let flavor = if version.contains("MariaDB") { Flavor::MariaDb } else { Flavor::MySql };
    let log_bin: Option<u8> = scalar(conn, "SELECT @@GLOBAL.log_bin").await?;
    if log_bin != Some(1) {
        return Err(Error::new(Kind::Environment, "the server writes no binlog")
            .advice("add log_bin = binlog and a server_id to the server's configuration, and restart it"));
    }
    let format: String = scalar(conn, "SELECT @@GLOBAL.binlog_format").await?.unwrap_or_default();
    if !format.eq_ignore_ascii_case("ROW") {
        return Err(Error::new(
            Kind::Environment,
            format!("the server's binlog_format is {format}, so that changes are logged as statements"),
        )
        .advice("SET GLOBAL binlog_format = 'ROW', and in the server's configuration"));
    }
    // Fails with the right that is missing, and with the statement that gives it.
    end_of_log(conn, flavor).await?;
    let short = version.split('-').next().unwrap_or(&version);
    let (id, name, has_gtids) = match flavor {
        Flavor::MySql => {
            let uuid: String = scalar(conn, "SELECT @@GLOBAL.server_uuid").await?.unwrap_or_default();
            let mode: String = scalar(conn, "SELECT @@GLOBAL.gtid_mode").await?.unwrap_or_default();
            (uuid.to_ascii_lowercase(), "MySQL", mode == "ON")
        }
        Flavor::MariaDb => (mariadb_identity(conn).await?, "MariaDB", true),
    };
    let description = format!("{name} {short} at {at}");
    let names: Option<u8> = scalar(conn, "SELECT @@GLOBAL.lower_case_table_names").await?;
    // Last, so that the answer is as fresh as can be.
    let clock_ms = scalar(conn, "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000 AS SIGNED)").await?;
    let identity = Identity { id, description, clock_ms };
    Ok(Server { flavor, identity, has_gtids, folds_names: names == Some(1) })
}

/// MariaDB has no server UUID. What stands for it: the replication ids, which are unique among the servers that
/// replicate with each other, and `server_uid`, a hash of the machine and port, which tells apart servers that
/// all have the default ids. Before 10.11.9, host name and port stand for `server_uid`.
async fn mariadb_identity(conn: &mut Conn) -> Result<String> {
    let ids: Option<(u64, u64)> = row(conn, "SELECT @@GLOBAL.gtid_domain_id, @@GLOBAL.server_id").await?;
    let (domain, server) = ids.unwrap_or_default();
    let uid: Option<(String, String)> = row(conn, "SHOW GLOBAL VARIABLES LIKE 'server_uid'").await?;
    let machine = match uid.map(|(_, uid)| uid).filter(|uid| !uid.is_empty()) {
        Some(uid) => uid,
        None => {
            let place: Option<(String, u64)> = row(conn, "SELECT @@GLOBAL.hostname, @@GLOBAL.port").await?;
            let (host, port) = place.unwrap_or_default();
            format!("{host}:{port}")
        }
    };
    Ok(format!("mariadb-{domain}-{server}-{machine}"))
}

/// The place behind everything that is in the log.
pub(crate) async fn end_of_log(conn: &mut Conn, flavor: Flavor) -> Result<Position> {
    let (major, minor, _) = conn.server_version();
    let modern = flavor == Flavor::MySql && (major, minor) >= (8, 2);
    let statement = if modern { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let status: Option<mysql_async::Row> = row(conn, statement).await?;
    let status = status.and_then(|mut row| Some((row.take::<String, _>(0)?, row.take::<u64, _>(1)?)));
    let Some((file, offset)) = status else {
        return Err(Error::new(Kind::Environment, "the server shows no end of its binlog"));
    };
    let gtid = match flavor {
        Flavor::MySql => {
            let set: Option<String> = scalar(conn, "SELECT @@GLOBAL.gtid_executed").await?;
            normal(flavor, &set.unwrap_or_default())?
        }
        Flavor::MariaDb => gtid_at(conn, &file, offset).await?.unwrap_or_default(),
    };
    Ok(Position { gtid, file, offset })
}

/// MariaDB only: the GTIDs at a place; `None` when the server has no such file.
pub(crate) async fn gtid_at(conn: &mut Conn, file: &str, offset: u64) -> Result<Option<String>> {
    let text: Option<Option<String>> = conn
        .exec_first("SELECT BINLOG_GTID_POS(?, ?)", (file, offset))
        .await
        .map_err(|error| client::failure(error, "cannot ask for a GTID position"))?;
    text.flatten().map(|text| normal(Flavor::MariaDb, &text)).transpose()
}

/// The binlog files that are still there, oldest first.
pub(crate) async fn log_files(conn: &mut Conn) -> Result<Vec<LogFile>> {
    // How many columns there are differs between versions.
    let rows: Vec<mysql_async::Row> = conn
        .query("SHOW BINARY LOGS")
        .await
        .map_err(|error| client::failure(error, "cannot list the binlog files"))?;
    Ok(rows
        .into_iter()
        .filter_map(|mut row| Some(LogFile { name: row.take(0)?, size: row.take(1)? }))
        .collect())
}

/// MySQL only: the transactions whose files are gone.
pub(crate) async fn purged(conn: &mut Conn) -> Result<String> {
    let set: Option<String> = scalar(conn, "SELECT @@GLOBAL.gtid_purged").await?;
    normal(Flavor::MySql, &set.unwrap_or_default())
}

/// Reads a GTID set in the flavor's text.
pub(crate) fn parse_gtid(flavor: Flavor, text: &str) -> Result<GtidSet> {
    let set = match flavor {
        Flavor::MySql => GtidSet::parse_mysql(text),
        Flavor::MariaDb => GtidSet::parse_mariadb(text),
    };
    set.map_err(|why| Error::new(Kind::Data, format!("cannot read the set of GTIDs: {}", why.0)))
}

fn normal(flavor: Flavor, text: &str) -> Result<String> {
    Ok(parse_gtid(flavor, text)?.to_string())
}

async fn scalar<T: mysql_async::prelude::FromValue + Send + 'static>(
    conn: &mut Conn,
    statement: &str,
) -> Result<Option<T>> {
    let row: Option<(Option<T>,)> = row(conn, statement).await?;
    Ok(row.and_then(|(value,)| value))
}

async fn row<T: FromRow + Send + 'static>(conn: &mut Conn, statement: &str) -> Result<Option<T>> {
    conn.query_first(statement).await.map_err(|error| client::failure(error, "cannot examine the server"))
}
