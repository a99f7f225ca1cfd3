//! Real database servers for tests: on a free port of the loopback, in a temporary folder, gone when the test ends,
//! however it ends.
//!
//! `tests/run` installs the programs. MariaDB comes from `PATH`; MySQL from where `tests/support/mysql-server` unpacked
//! it, which `LODE_MYSQL_ROOT` may name.
//!
//! A test that is content with any server, and cleans up behind itself, takes [`MariaDb::given_or_start`] or
//! [`MySql::given_or_start`]: these use the server named by `LODE_TEST_MARIADB_URL` or `LODE_TEST_MYSQL_URL` when it is
//! set (`mysql://user:password@host:port`, without a database).

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use lode::model::connection::{Connection, Endpoint};
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};
use tempfile::TempDir;

use super::process::{ServerProcess, free_port, last_words, unpacked};

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// How many ports are tried: another process may take a port between its choice and its use.
const PORTS_MAX: usize = 5;

/// MariaDB servers.
pub struct MariaDb;

/// MySQL servers.
pub struct MySql;

impl MariaDb {
    /// Starts a server with a binlog in row format and strict GTIDs. Each of `options` is passed on
    /// (`--binlog-row-metadata=FULL`) and wins over the defaults here.
    pub async fn start(options: &[&str]) -> Server {
        Server::start(Flavour::MariaDb, options).await
    }

    /// The server named by `LODE_TEST_MARIADB_URL`, or else one of the test's own.
    pub async fn given_or_start(options: &[&str]) -> Server {
        match Server::given("LODE_TEST_MARIADB_URL") {
            Some(server) => server,
            None => Self::start(options).await,
        }
    }
}

impl MySql {
    /// As [`MariaDb::start`].
    pub async fn start(options: &[&str]) -> Server {
        Server::start(Flavour::MySql, options).await
    }

    /// The server named by `LODE_TEST_MYSQL_URL`, or else one of the test's own.
    pub async fn given_or_start(options: &[&str]) -> Server {
        match Server::given("LODE_TEST_MYSQL_URL") {
            Some(server) => server,
            None => Self::start(options).await,
        }
    }
}

/// A MariaDB that all tests of a binary share, each with a database of its own.
pub fn shared_mariadb() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    // Tests have runtimes of their own, in which nothing may block.
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(MariaDb::start(&["--max-connections=500"]))
    };
    SERVER.get_or_init(|| thread::spawn(start).join().expect("MariaDB starts"))
}

/// A server for tests. Its `root` has no password.
pub struct Server {
    opts: Opts,
    own: Option<Own>,
}

/// A server that was started here.
struct Own {
    // Ends before its folder is removed.
    process: ServerProcess,
    flavour: Flavour,
    folder: TempDir,
    port: u16,
    options: Vec<String>,
}

#[derive(Clone, Copy)]
enum Flavour {
    MariaDb,
    MySql,
}

impl Server {
    async fn start(flavour: Flavour, options: &[&str]) -> Server {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let folder = tempfile::Builder::new().prefix("lode-server-").tempdir().expect("a temporary folder");
        flavour.initialise(folder.path());
        let mut own = Own { process: ServerProcess::default(), flavour, folder, port: 0, options };
        for _ in 0..PORTS_MAX {
            own.port = free_port();
            let opts = own.root();
            if own.launch(&opts).await.is_ok() {
                return Server { opts, own: Some(own) };
            }
        }
        panic!("{} did not start:\n{}", own.flavour.program(), last_words(own.folder.path()));
    }

    fn given(variable: &str) -> Option<Server> {
        let url = env::var(variable).ok().filter(|url| !url.is_empty())?;
        let opts = Opts::from_url(&url).unwrap_or_else(|error| panic!("{variable}: {error}"));
        Some(Server { opts, own: None })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.opts.tcp_port()
    }

    /// The host it listens on.
    pub fn host(&self) -> &str {
        self.opts.ip_or_hostname()
    }

    /// `mysql://root@127.0.0.1:3306/database`.
    pub fn url(&self, database: &str) -> String {
        let user = self.opts.user().unwrap_or("root");
        let password = self.opts.pass().map(|password| format!(":{password}")).unwrap_or_default();
        format!("mysql://{user}{password}@{}:{}/{database}", self.host(), self.port())
    }

    /// The options of a connection, without a database.
    pub fn opts(&self) -> Opts {
        self.opts.clone()
    }

    /// The folder with its data and binlog files.
    pub fn data(&self) -> PathBuf {
        self.own().folder.path().join("data")
    }

    /// A connection as root for the test's own statements.
    pub async fn root(&self) -> Conn {
        Conn::new(self.opts()).await.expect("root can log in")
    }

    /// Runs statements as root, in order, in one session.
    pub async fn run(&self, statements: &[&str]) {
        let mut conn = self.root().await;
        for statement in statements {
            conn.query_drop(*statement)
                .await
                .unwrap_or_else(|error| panic!("{error}\nin: {}", head(statement)));
        }
        conn.disconnect().await.expect("the connection ends");
    }

    /// Runs one text with a statement or several; they need no `DELIMITER`, as the server finds their ends itself.
    pub async fn sql(&self, text: &str) {
        self.run(&[text]).await;
    }

    /// The rows that a statement returns; `None` is NULL, everything else as the server writes it.
    pub async fn query(&self, text: &str) -> Vec<Vec<Option<String>>> {
        let mut conn = self.root().await;
        let rows: Vec<Row> =
            conn.query(text).await.unwrap_or_else(|error| panic!("{error}\nin: {}", head(text)));
        conn.disconnect().await.expect("the connection ends");
        rows.into_iter().map(|row| row.unwrap().into_iter().map(as_text).collect()).collect()
    }

    /// The only value that a statement returns.
    ///
    /// # Panics
    /// When there is none, or it is NULL.
    pub async fn value(&self, text: &str) -> String {
        let rows = self.query(text).await;
        let cell = rows.into_iter().next().and_then(|row| row.into_iter().next());
        cell.flatten().unwrap_or_else(|| panic!("no value from: {}", head(text)))
    }

    /// How many binlog readers are connected.
    pub async fn dump_threads(&self) -> usize {
        let rows = self.query("SHOW PROCESSLIST").await;
        let is_dump =
            |cell: &Option<String>| cell.as_ref().is_some_and(|text| text.starts_with("Binlog Dump"));
        rows.iter().filter(|row| row.iter().any(is_dump)).count()
    }

    /// A checked connection to `database` for a user who has the rights of a miner, and no more.
    pub async fn miner(&self, database: &str) -> Arc<Connection> {
        self.run(&[
            "CREATE USER IF NOT EXISTS lode@'%' IDENTIFIED BY 'pw'",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO lode@'%'",
        ])
        .await;
        let mut settings = Settings::default();
        settings.0.insert("password", Setting::Secret(Secret::new("pw")));
        settings.0.insert("heartbeat", Setting::Duration(Duration::from_secs(1)));
        Arc::new(Connection {
            name: "shop".into(),
            kind: "mysql",
            endpoint: Endpoint::Url {
                scheme: "mysql".into(),
                user: "lode".into(),
                host: self.host().into(),
                port: self.port(),
                database: database.into(),
            },
            settings,
        })
    }

    /// Shuts it down, if it runs, and starts it again on the same data and port.
    pub async fn restart(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// Shuts it down as an administrator would.
    pub fn stop(&mut self) {
        self.own_mut().process.stop();
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.own_mut().process.kill();
    }

    /// Starts it after [`stop`](Self::stop) or [`kill`](Self::kill), on the same port and data.
    pub async fn start_again(&mut self) {
        let opts = self.opts();
        let own = self.own_mut();
        assert!(!own.process.is_running(), "the server is running");
        // Another process may hold the port for a moment.
        for _ in 0..PORTS_MAX {
            if own.launch(&opts).await.is_ok() {
                return;
            }
        }
        panic!("{} did not start again:\n{}", own.flavour.program(), last_words(own.folder.path()));
    }

    /// Stops it from doing anything, with all connections left open.
    pub fn freeze(&self) {
        self.own().process.signal("STOP");
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.own().process.signal("CONT");
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this needs a server of the test's own")
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.as_mut().expect("this needs a server of the test's own")
    }
}

impl Own {
    fn root(&self) -> Opts {
        let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.port).user(Some("root"));
        // The driver would change over to the local socket, which is not what lode does.
        opts.prefer_socket(false).into()
    }

    /// Starts the process and waits until it answers. Err when it ended instead.
    async fn launch(&mut self, opts: &Opts) -> Result<(), ()> {
        let mut command = self.flavour.server(self.folder.path(), self.port);
        self.process.start(command.args(&self.options), self.folder.path());
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            if !self.process.is_running() {
                return Err(());
            }
            if let Ok(mut conn) = Conn::new(opts.clone()).await {
                let data: Option<String> = conn.query_first("SELECT @@GLOBAL.datadir").await.ok().flatten();
                // Another test's server may have taken the port first; this one then ends by itself.
                if data.is_some_and(|data| Path::new(&data).starts_with(self.folder.path())) {
                    return conn.disconnect().await.map_err(|_| ());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.process.kill();
        Err(())
    }
}

impl Flavour {
    fn program(self) -> &'static str {
        match self {
            Flavour::MariaDb => "mariadbd",
            Flavour::MySql => "mysqld",
        }
    }

    /// Makes the data folder.
    fn initialise(self, folder: &Path) {
        let data = format!("--datadir={}", folder.join("data").display());
        let mut command = match self {
            Flavour::MariaDb => {
                let mut command = Command::new(installed("mariadb-install-db"));
                command.args(["--no-defaults", &data, "--auth-root-authentication-method=normal"]);
                command.args(["--skip-test-db", "--skip-name-resolve"]);
                command
            }
            Flavour::MySql => {
                // Without names to resolve, only an account for the address itself lets anybody in.
                let accounts = "SET sql_log_bin = 0;\n\
                    CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';\n\
                    GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";
                fs::write(folder.join("accounts.sql"), accounts).expect("the folder can be written");
                let mut command = mysqld();
                command.args(["--initialize-insecure", &data, "--innodb-redo-log-capacity=8M"]);
                command
            }
        };
        if is_root() {
            command.arg("--user=root");
        }
        fs::create_dir(folder.join("tmp")).expect("the folder can be written");
        own_temporary_files(&mut command, folder);
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The command that serves `folder` on `port`.
    fn server(self, folder: &Path, port: u16) -> Command {
        let path = |name: &str| folder.join(name).display().to_string();
        let mut command = match self {
            Flavour::MariaDb => {
                let mut command = Command::new(installed("mariadbd"));
                command.args(["--no-defaults", "--gtid-strict-mode=ON", "--binlog-format=ROW"]);
                command
            }
            Flavour::MySql => {
                let mut command = mysqld();
                command.args(["--mysqlx=OFF", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"]);
                command.args(["--performance-schema=OFF", "--innodb-redo-log-capacity=8M"]);
                command.arg(format!("--init-file={}", path("accounts.sql")));
                command
            }
        };
        command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--server-id=1"]);
        command.arg("--innodb-buffer-pool-size=64M");
        command.arg(format!("--port={port}"));
        command.arg(format!("--datadir={}", path("data")));
        // A server that starts removes what looks like a temporary table from its folder, also another server's.
        let temporary = path("tmp");
        fs::create_dir_all(&temporary).expect("the folder can be written");
        command.arg(format!("--tmpdir={temporary}"));
        command.arg(format!("--socket={}", path("socket")));
        command.arg(format!("--pid-file={}", path("pid")));
        command.arg(format!("--log-bin={}", path("data/binlog")));
        if is_root() {
            command.arg("--user=root");
        }
        own_temporary_files(&mut command, folder);
        command
    }
}

/// Two servers that share a folder of temporary tables remove each other's, and fall over.
fn own_temporary_files(command: &mut Command, folder: &Path) {
    command.env("TMPDIR", folder.join("tmp"));
}

/// The private MySQL, run with the libraries that came with it.
fn mysqld() -> Command {
    let root = unpacked("mysql", "LODE_MYSQL_ROOT");
    let program = root.join("usr/sbin/mysqld");
    assert!(program.exists(), "{} is missing; `tests/run` unpacks it", program.display());
    let share = root.join("usr/share/mysql");
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu")).arg(program);
    command.arg("--no-defaults");
    command.arg(format!("--lc-messages-dir={}", share.display()));
    command.arg(format!("--character-sets-dir={}", share.join("charsets").display()));
    command.arg(format!("--plugin-dir={}", root.join("usr/lib/mysql/plugin").display()));
    command.arg("--secure-file-priv=");
    command
}

/// Where a program is, on `PATH` or where Debian keeps servers.
fn installed(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("{program} is missing; `tests/run` installs it (Debian: apt-get install mariadb-server-core mariadb-client-core)")
    })
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn as_text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}

/// The beginning of a statement, for messages.
fn head(text: &str) -> String {
    text.chars().take(200).collect()
}
