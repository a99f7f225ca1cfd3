//! An Oracle server for tests: the one named by `LODE_TEST_ORACLE_DSN`, or a stand-in on a free port of the loopback, in
//! a temporary folder, gone when the test ends, however it ends.
//!
//! The stand-in speaks Oracle's network protocol before a private PostgreSQL (`tests/support/oracle/server`), and lode
//! reaches it through the unchanged crate `oracle` and ODPI-C, with a stand-in for Oracle's client library
//! (`tests/support/oracle/client`). `tests/support/oracle-server` installs and builds what this needs.
//!
//! **Which client library.** ODPI-C loads one library per process, at the first use, and keeps it. With the stand-in it
//! must be the one in [`Oracle::client_lib`]: through the setting `client_lib` of a connection in a script, or, in a
//! test that uses the crate `oracle` directly, through [`Oracle::load_client`] before anything else.
//!
//! **A real server.** `LODE_TEST_ORACLE_DSN=user/password@host:port/service` makes [`Oracle::shared`] use it, with the
//! client library of the machine. Its user keeps what tests make: take table names from [`Oracle::unique`], which are
//! dropped at the end.

use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{ServerProcess, free_port, last_words, unpacked};

/// How long a server may take until it answers, or until it has ended.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How many ports are tried: another process may take a port between its choice and its use.
const PORTS_MAX: usize = 5;
/// The users of a stand-in, each with a schema of its own: `LODE1`, `LODE2`, ….
const USERS: usize = 200;
const PASSWORD: &str = "tiger";
const SERVICE: &str = "FREEPDB1";

/// A user of an Oracle server, and the server.
pub struct Oracle {
    own: Option<Instance>,
    at: Address,
    user: String,
    password: String,
    reader: Mutex<Option<Reader>>,
    made: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Address {
    host: String,
    port: u16,
    service: String,
    is_stand_in: bool,
}

impl Oracle {
    /// Starts a stand-in for this test alone, which may then [`kill`](Self::kill) it.
    pub fn start() -> Oracle {
        Self::start_release("23ai")
    }

    /// As [`start`](Self::start), with a server that says it is of this release: `23ai`, or `12.1` with its names of 30
    /// bytes.
    pub fn start_release(release: &'static str) -> Oracle {
        let instance = Instance::start(release);
        let at = instance.address();
        Oracle::of(Some(instance), at, "LODE1".into(), PASSWORD.into())
    }

    /// The server named by `LODE_TEST_ORACLE_DSN`, or else a user and schema of its own on a stand-in that all tests of
    /// this process share.
    pub fn shared() -> Oracle {
        static INSTANCE: OnceLock<Address> = OnceLock::new();
        static USED: AtomicUsize = AtomicUsize::new(0);
        if let Some(given) = Self::given() {
            return given;
        }
        let at = INSTANCE.get_or_init(|| {
            let instance = Instance::start("23ai");
            let at = instance.address();
            // It ends with this process: see `ServerProcess`.
            std::mem::forget(instance);
            at
        });
        let user = USED.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(user <= USERS, "a stand-in has {USERS} users");
        Oracle::of(None, at.clone(), format!("LODE{user}"), PASSWORD.into())
    }

    fn given() -> Option<Oracle> {
        let dsn = env::var("LODE_TEST_ORACLE_DSN").ok().filter(|dsn| !dsn.is_empty())?;
        let wanted = "LODE_TEST_ORACLE_DSN is user/password@host:port/service";
        let (login, place) = dsn.rsplit_once('@').expect(wanted);
        let (user, password) = login.split_once('/').expect(wanted);
        let (host, rest) = place.trim_start_matches("//").split_once(':').expect(wanted);
        let (port, service) = rest.split_once('/').expect(wanted);
        let at = Address {
            host: host.into(),
            port: port.parse().expect(wanted),
            service: service.into(),
            is_stand_in: false,
        };
        Some(Oracle::of(None, at, user.into(), password.into()))
    }

    fn of(own: Option<Instance>, at: Address, user: String, password: String) -> Oracle {
        Oracle { own, at, user, password, reader: Mutex::default(), made: Mutex::default() }
    }

    /// The host it listens on.
    pub fn host(&self) -> &str {
        &self.at.host
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.at.port
    }

    /// Its service name.
    pub fn service(&self) -> &str {
        &self.at.service
    }

    /// `//host:port/service`, as the crate `oracle` takes it.
    pub fn connect_string(&self) -> String {
        format!("//{}:{}/{}", self.at.host, self.at.port, self.at.service)
    }

    /// The user, whose schema is this test's own on a stand-in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Whether this is the stand-in, not a real server.
    pub fn is_stand_in(&self) -> bool {
        self.at.is_stand_in
    }

    /// The folder with the client library for this server; `None` for a real one, with the machine's own.
    pub fn client_lib(&self) -> Option<PathBuf> {
        self.at.is_stand_in.then(|| installed("client/libclntsh.so").parent().expect("a folder").to_owned())
    }

    /// Has ODPI-C load the client library for this server, unless it has one already.
    pub fn load_client(&self) {
        let Some(folder) = self.client_lib() else { return };
        let mut params = oracle::InitParams::new();
        params.oracle_client_lib_dir(folder).expect("a path without NUL");
        params.init().expect("the client library can be loaded");
    }

    /// A connection of the crate `oracle`, through the client library for this server.
    pub fn connect(&self) -> oracle::Connection {
        self.load_client();
        oracle::Connection::connect(&self.user, &self.password, self.connect_string())
            .expect("the user can log in")
    }

    /// `base` on a stand-in; on a real server a name that no other run uses. A table of this name is dropped at the end.
    pub fn unique(&self, base: &str) -> String {
        if self.at.is_stand_in {
            return base.to_owned();
        }
        let mut suffix = uuid::Uuid::new_v4().simple().to_string();
        suffix.truncate(10);
        let name = format!("{base}_{suffix}").to_uppercase();
        lock(&self.made).push(name.clone());
        name
    }

    /// The rows that a statement returns, read by a client that shares no code with lode. `None` is NULL; numbers are
    /// their digits, times ISO 8601 (intervals `+34 22:59:59.000000`), RAW and BLOB hexadecimal.
    ///
    /// # Panics
    /// When the statement fails.
    pub fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.try_query(sql).unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
    }

    /// The only value that a statement returns.
    ///
    /// # Panics
    /// When there is none, or it is NULL.
    pub fn value(&self, sql: &str) -> String {
        let cell = self.query(sql).into_iter().next().and_then(|row| row.into_iter().next());
        cell.flatten().unwrap_or_else(|| panic!("no value from: {sql}"))
    }

    /// Runs statements in order, each committed.
    pub fn run(&self, statements: &[&str]) {
        for statement in statements {
            self.query(statement);
        }
    }

    /// As [`query`](Self::query); the error is the driver's text, which begins with the code (`ORA-00942: …`).
    pub fn try_query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let request = json!({
            "dsn": format!("{}:{}/{}", self.at.host, self.at.port, self.at.service),
            "user": self.user,
            "password": self.password,
            "sql": sql,
        });
        let answer = lock(&self.reader).get_or_insert_with(Reader::start).ask(&request);
        match serde_json::from_value(answer["rows"].clone()) {
            Ok(rows) => Ok(rows),
            Err(_) => Err(answer["error"].as_str().unwrap_or("no answer").to_owned()),
        }
    }

    /// Kills server and database as a power cut would.
    pub fn kill(&mut self) {
        self.own_mut().kill();
    }

    /// Starts it after [`kill`](Self::kill), on the same port and data.
    pub fn start_again(&mut self) {
        self.own_mut().start_again();
    }

    /// Kills it and starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Kills only what the clients are connected to, and starts it again; the database behind it goes on.
    pub fn cut_connections(&mut self) {
        let own = self.own_mut();
        own.listener.kill();
        own.start_again();
    }

    /// Kills only the database, and starts it again; what the clients are connected to goes on and tells them.
    pub fn crash_database(&mut self) {
        let own = self.own_mut();
        own.database.kill();
        own.start_database();
    }

    /// Stops it from answering, with all connections left open.
    pub fn freeze(&self) {
        self.own().listener.signal("STOP");
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.own().listener.signal("CONT");
    }

    fn own(&self) -> &Instance {
        self.own.as_ref().expect("this needs a server of the test's own")
    }

    fn own_mut(&mut self) -> &mut Instance {
        self.own.as_mut().expect("this needs a server of the test's own")
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        for table in std::mem::take(&mut *lock(&self.made)) {
            // It may never have been made.
            let _ = self.try_query(&format!("DROP TABLE \"{table}\" PURGE"));
        }
    }
}

/// A stand-in: a PostgreSQL, and what listens before it.
struct Instance {
    folder: TempDir,
    release: &'static str,
    port: u16,
    database: ServerProcess,
    listener: ServerProcess,
}

impl Instance {
    fn start(release: &'static str) -> Instance {
        let folder = tempfile::Builder::new().prefix("lode-oracle-").tempdir().expect("a temporary folder");
        // PostgreSQL refuses to run as root; its own user then has to reach its part of the folder.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its own folder");
        for part in ["data", "socket"] {
            let part = folder.path().join(part);
            fs::create_dir(&part).expect("the folder can be written");
            fs::set_permissions(&part, Permissions::from_mode(0o700)).expect("its own folder");
            if let Some((uid, gid)) = postgres_user() {
                chown(&part, Some(uid), Some(gid)).expect("root may");
            }
        }
        let made = postgres("initdb")
            .args(["--username=lode", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--wal-segsize=4", "--pgdata"])
            .arg(folder.path().join("data"))
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let (database, listener) = (ServerProcess::default(), ServerProcess::default());
        let mut instance = Instance { folder, release, port: 0, database, listener };
        instance.start_database();
        for _ in 0..PORTS_MAX {
            instance.port = free_port();
            if instance.start_listener().is_ok() {
                return instance;
            }
        }
        panic!("the stand-in for Oracle did not start:\n{}", last_words(instance.folder.path()));
    }

    fn address(&self) -> Address {
        Address { host: "127.0.0.1".into(), port: self.port, service: SERVICE.into(), is_stand_in: true }
    }

    fn start_again(&mut self) {
        if !self.database.is_running() {
            self.start_database();
        }
        // Another process may hold the port for a moment.
        for _ in 0..PORTS_MAX {
            if self.start_listener().is_ok() {
                return;
            }
        }
        panic!("the stand-in for Oracle did not start again:\n{}", last_words(self.folder.path()));
    }

    fn start_database(&mut self) {
        let data = self.folder.path().join("data");
        let mut command = postgres("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(self.folder.path().join("socket"));
        command.args(["-c", "listen_addresses=", "-c", "max_connections=300", "-c", "shared_buffers=64MB"]);
        // A process that is killed loses nothing that it wrote, only a machine that is switched off does.
        command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        let began = Instant::now();
        while began.elapsed() < WAIT_MAX {
            // What a killed server left would pass for the new one's.
            let _ = fs::remove_file(data.join("postmaster.pid"));
            self.database.start(&mut command, self.folder.path());
            // It ends at once while parts of a killed server still hold its memory.
            while self.database.is_running() && began.elapsed() < WAIT_MAX {
                let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
                if state.lines().nth(7).is_some_and(|word| word.trim() == "ready") {
                    return;
                }
                thread::sleep(LOOK_AGAIN);
            }
            self.database.kill();
            thread::sleep(LOOK_AGAIN);
        }
        panic!("PostgreSQL did not start:\n{}", last_words(self.folder.path()));
    }

    /// Err when it ended instead.
    fn start_listener(&mut self) -> Result<(), ()> {
        let settings = self.folder.path().join("listener.ini");
        let clients: String = (1..=USERS).map(|number| format!("LODE{number} = {PASSWORD}\n")).collect();
        let text = format!(
            "[server]\nhost = 127.0.0.1\nport = {}\nencryption = accepted\nlog_level = WARNING\n\
             [clients]\n{clients}[backend]\ntype = postgres\npresents = {}\n\
             conninfo = host={} user=lode dbname=postgres\n",
            self.port,
            self.release,
            self.folder.path().join("socket").display(),
        );
        fs::write(&settings, text).expect("the folder can be written");
        let mut command = python();
        command.arg(source("server")).arg("-c").arg(settings);
        self.listener.start(&mut command, self.folder.path());
        let began = Instant::now();
        while self.listener.is_running() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            let log = self.folder.path();
            assert!(
                began.elapsed() < WAIT_MAX,
                "the stand-in for Oracle does not answer:\n{}",
                last_words(log)
            );
            thread::sleep(LOOK_AGAIN);
        }
        Err(())
    }

    fn kill(&mut self) {
        self.listener.kill();
        self.database.kill();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // PostgreSQL would wait for its sessions to end.
        self.kill();
    }
}

/// The independent client, which answers one request after the other.
struct Reader {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn start() -> Reader {
        let mut process = python()
            .arg(source("read.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let requests = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Reader { process, requests, answers }
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.requests, "{request}").expect("the reader takes requests");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the reader answers");
        serde_json::from_str(&line).expect("the reader answers with JSON")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program of the newest PostgreSQL that has orafce, run as a user whom it accepts.
fn postgres(program: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let with_orafce =
        versions.map(|version| version.path()).filter(|path| path.join("lib/orafce.so").exists());
    let newest = with_orafce.max().unwrap_or_else(|| {
        panic!("PostgreSQL with orafce is missing; `tests/support/oracle-server` installs it")
    });
    let mut command = Command::new(newest.join("bin").join(program));
    if let Some((uid, gid)) = postgres_user() {
        command.uid(uid).gid(gid).current_dir("/");
    }
    command
}

/// The user and group to run PostgreSQL as, when this process is root's.
fn postgres_user() -> Option<(u32, u32)> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("the machine has users");
    let line =
        users.lines().find(|line| line.starts_with("postgres:")).expect("Debian's package makes the user");
    let mut fields = line.split(':').skip(2).map(|id| id.parse().expect("a number"));
    Some((fields.next().expect("a user"), fields.next().expect("a group")))
}

fn python() -> Command {
    let mut command = Command::new(installed("venv/bin/python"));
    // Nothing is left in the source tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn source(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/oracle").join(part)
}

/// A file that `tests/support/oracle-server` put in its place.
fn installed(file: &str) -> PathBuf {
    let file = unpacked("oracle", "LODE_ORACLE_ROOT").join(file);
    assert!(file.exists(), "{} is missing; `tests/support/oracle-server` makes it", file.display());
    file
}

/// A test that failed elsewhere has left nothing half done in here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
