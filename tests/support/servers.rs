//! Real database servers for tests: each on a free port of the loopback, in a temporary folder, ended with its test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lode::model::connection::{Connection, Endpoint};
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

/// A running server, MariaDB or MySQL.
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    program: Program,
    options: Vec<String>,
}

#[derive(Clone)]
enum Program {
    MariaDb,
    MySql { root: PathBuf },
}

/// Starts MariaDB servers.
pub struct MariaDb;

/// Starts MySQL servers.
pub struct MySql;

impl MariaDb {
    /// Starts one with further options, such as `--binlog-row-metadata=FULL`.
    pub async fn start(options: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        // Servers that share a folder for temporary tables take each other's names.
        run(Command::new("mariadb-install-db").env("TMPDIR", folder.path()).args([
            "--no-defaults".to_owned(),
            format!("--datadir={}", data.display()),
            "--auth-root-authentication-method=normal".to_owned(),
            "--skip-test-db".to_owned(),
            "--skip-name-resolve".to_owned(),
            "--user=root".to_owned(),
        ]));
        Server::launch(folder, Program::MariaDb, options).await
    }
}

impl MySql {
    /// Starts one with further options.
    pub async fn start(options: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = mysql_root();
        let program = Program::MySql { root };
        let mut command = program.command();
        command.args(program.common(folder.path())).arg("--initialize-insecure").env("TMPDIR", folder.path());
        run(&mut command);
        Server::launch(folder, program, options).await
    }
}

impl Server {
    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection as root for the test's own statements.
    pub async fn root(&self) -> Conn {
        Conn::new(self.root_options()).await.expect("root can log in")
    }

    /// Runs statements as root, in order.
    pub async fn run(&self, statements: &[&str]) {
        let mut conn = self.root().await;
        for statement in statements {
            conn.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        conn.disconnect().await.expect("the connection ends");
    }

    /// Makes a user with the rights of a miner, and gives a checked connection to `database` for it.
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
                host: "127.0.0.1".into(),
                port: self.port,
                database: database.into(),
            },
            settings,
        })
    }

    /// Ends the server at once, as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends the server if it runs and starts it again on the same data and port.
    pub async fn restart(&mut self) {
        self.kill();
        self.spawn().await;
    }

    /// The folder with the server's data and binlog files.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn launch(folder: tempfile::TempDir, program: Program, options: &[&str]) -> Server {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Server { folder, port, child: None, program, options };
        server.spawn().await;
        server
    }

    async fn spawn(&mut self) {
        let folder = self.folder.path();
        let log = std::fs::File::create(folder.join("server.log")).expect("a log file");
        let child = self
            .program
            .command()
            .args(self.program.common(folder))
            .env("TMPDIR", folder)
            .args([
                format!("--socket={}", folder.join("s").display()),
                format!("--pid-file={}", folder.join("pid").display()),
                format!("--port={}", self.port),
                "--bind-address=127.0.0.1".into(),
                "--server-id=1".into(),
                "--log-bin=binlog".into(),
                "--binlog-format=ROW".into(),
                "--sync-binlog=1".into(),
            ])
            .args(self.program.own())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = Conn::new(self.root_options()).await {
            let exited = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if exited.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
                panic!("the server does not start ({exited:?}): {error}\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn root_options(&self) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .prefer_socket(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Program {
    fn command(&self) -> Command {
        match self {
            Program::MariaDb => {
                let path = ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/local/sbin/mariadbd"];
                let found = path.iter().find(|path| Path::new(path).exists()).unwrap_or(&"mariadbd");
                let mut command = Command::new(found);
                command.arg("--no-defaults");
                command
            }
            Program::MySql { root } => {
                let library = root.join("usr/lib/x86_64-linux-gnu");
                let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
                command.arg("--library-path").arg(library).arg(root.join("usr/sbin/mysqld"));
                command.arg("--no-defaults");
                command
            }
        }
    }

    /// Options that initialising and running need.
    fn common(&self, folder: &Path) -> Vec<String> {
        let mut options =
            vec![format!("--datadir={}", folder.join("data").display()), "--user=root".to_owned()];
        if let Program::MySql { root } = self {
            let root = root.display();
            options.extend([
                format!("--lc-messages-dir={root}/usr/share/mysql"),
                format!("--character-sets-dir={root}/usr/share/mysql/charsets"),
                format!("--plugin-dir={root}/usr/lib/mysql/plugin"),
                "--secure-file-priv=".to_owned(),
            ]);
        }
        options
    }

    fn own(&self) -> Vec<String> {
        let options: &[&str] = match self {
            Program::MariaDb => {
                &["--gtid-strict-mode=ON", "--skip-name-resolve", "--innodb-buffer-pool-size=32M"]
            }
            Program::MySql { .. } => &[
                "--mysqlx=OFF",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--performance-schema=OFF",
                "--innodb-buffer-pool-size=64M",
                "--innodb-redo-log-capacity=8M",
            ],
        };
        options.iter().map(|option| (*option).to_owned()).collect()
    }
}

/// Where MySQL was unpacked; unpacks it when that has not been done.
fn mysql_root() -> PathBuf {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/mysql-server"))
        .output()
        .expect(".ci/mysql-server runs");
    assert!(output.status.success(), ".ci/mysql-server failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(env!("CARGO_MANIFEST_DIR")).join(root)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
