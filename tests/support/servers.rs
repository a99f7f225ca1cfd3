//! Real servers for tests: started on a free port of the loopback interface, in a folder of their own.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A MariaDB server that ends with the test process, however that ends.
pub struct MariaDb {
    pub port: u16,
    /// The server is stopped when this pipe closes.
    _alive: ChildStdin,
    _watch: Child,
    _folder: tempfile::TempDir,
}

/// The server that all tests of this binary share; each test uses its own database.
pub fn mariadb() -> &'static MariaDb {
    static SERVER: OnceLock<MariaDb> = OnceLock::new();
    SERVER.get_or_init(|| MariaDb::start().expect("MariaDB starts: apt-get install mariadb-server-core"))
}

/// The port of a server on the loopback interface that takes `root` without a password: the one that
/// `LODE_TEST_MYSQL_PORT` names, such as a MySQL, or else MariaDB.
pub fn mysql_port() -> u16 {
    match std::env::var("LODE_TEST_MYSQL_PORT") {
        Ok(port) => port.parse().expect("LODE_TEST_MYSQL_PORT is a port"),
        Err(_) => mariadb().port,
    }
}

impl MariaDb {
    fn start() -> io::Result<MariaDb> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let user = if is_root() { "--user=root" } else { "--skip-name-resolve" };
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--skip-name-resolve", user])
            .arg(format!("--datadir={}", data.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(io::Error::other("mariadb-install-db failed"));
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut watch = Command::new("sh")
            .arg("-c")
            // A test process that is killed runs no destructors; its end of the pipe closes all the same.
            .arg("\"$@\" & server=$!; read -r _; kill -9 $server; wait $server; rm -rf \"$FOLDER\"")
            .args(["sh", "mariadbd", "--no-defaults", user, "--bind-address=127.0.0.1"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", folder.path().join("socket").display()))
            .arg(format!("--pid-file={}", folder.path().join("pid").display()))
            .arg(format!("--port={port}"))
            .args(["--innodb-flush-log-at-trx-commit=0", "--max-connections=500", "--skip-name-resolve"])
            .args(["--innodb-lock-wait-timeout=5"])
            .env("FOLDER", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::from(std::fs::File::create(folder.path().join("log"))?))
            .spawn()?;
        let alive = watch.stdin.take().ok_or_else(|| io::Error::other("no pipe to the server"))?;
        wait_for(port, &folder.path().join("log"))?;
        Ok(MariaDb { port, _alive: alive, _watch: watch, _folder: folder })
    }
}

fn wait_for(port: u16, log: &Path) -> io::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other(format!("no answer; {}", std::fs::read_to_string(log).unwrap_or_default())))
}

fn is_root() -> bool {
    std::env::var("USER").is_ok_and(|user| user == "root")
        || std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
