//! The servers that tests share.

use tokio::sync::OnceCell;

use crate::support::servers::{MariaDb, MySql, Server};

/// MariaDB as it comes: rows without names, signs and character sets.
pub async fn mariadb() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| MariaDb::start(&["--binlog-row-metadata=NO_LOG"])).await
}

/// MariaDB with everything in the table maps.
pub async fn mariadb_full() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| MariaDb::start(&["--binlog-row-metadata=FULL"])).await
}

/// MySQL as it comes: signs and character sets, no names.
pub async fn mysql() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| MySql::start(&["--binlog-row-metadata=MINIMAL"])).await
}

/// MySQL with everything in the table maps.
pub async fn mysql_full() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(|| MySql::start(&["--binlog-row-metadata=FULL"])).await
}
