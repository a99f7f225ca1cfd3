//! MongoDB for tests: the server that `LODE_TEST_MONGO_URL` names (`mongodb://user:password@host:port`, a replica
//! set), or else a stand-in that the test starts, SecantusDB, which `tests/support/mongodb-server` installs. Each test
//! takes a database of its own.

use std::env;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use lode::client;
use lode::model::connection::{Connection, Endpoint};
use lode::model::secret::Secret;
use lode::model::spec::{Setting, Settings};
use mongodb::Client;
use mongodb::bson::doc;
use tempfile::TempDir;

use super::process::{ServerProcess, free_port, last_words, unpacked};

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// How many ports are tried: another process may take a port between its choice and its use.
const PORTS_MAX: usize = 5;

/// A server that speaks MongoDB's protocol, as a replica set.
pub struct MongoDb {
    user: String,
    password: Option<String>,
    host: String,
    port: u16,
    own: Option<Own>,
}

/// A server that was started here.
struct Own {
    // Ends before its folder is removed.
    process: ServerProcess,
    folder: TempDir,
    /// What is passed on to the stand-in.
    options: Vec<String>,
}

/// A server that all tests of a binary share, each with a database of its own.
pub fn shared_mongodb() -> &'static MongoDb {
    static SERVER: OnceLock<MongoDb> = OnceLock::new();
    // Tests have runtimes of their own, in which nothing may block.
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(MongoDb::given_or_start())
    };
    SERVER.get_or_init(|| thread::spawn(start).join().expect("MongoDB starts"))
}

/// Nothing of it is needed any more, so it is not given the time to put its files in order.
impl Drop for Own {
    fn drop(&mut self) {
        self.process.kill();
    }
}

impl MongoDb {
    /// Starts a server of the test's own, which it may kill.
    pub async fn start() -> MongoDb {
        let folder = tempfile::Builder::new().prefix("lode-server-").tempdir().expect("a temporary folder");
        let own = Own { process: ServerProcess::default(), folder, options: Vec::new() };
        let mut server = MongoDb { own: Some(own), ..MongoDb::at(0) };
        for _ in 0..PORTS_MAX {
            server.port = free_port();
            if server.launch().await {
                return server;
            }
        }
        panic!("the stand-in for MongoDB did not start:\n{}", last_words(server.own().folder.path()));
    }

    /// A server that another process has started on the loopback.
    pub fn at(port: u16) -> MongoDb {
        MongoDb { user: String::new(), password: None, host: "127.0.0.1".into(), port, own: None }
    }

    /// The server named by `LODE_TEST_MONGO_URL`, or else one of the test's own.
    pub async fn given_or_start() -> MongoDb {
        let Some(url) = env::var("LODE_TEST_MONGO_URL").ok().filter(|url| !url.is_empty()) else {
            return Self::start().await;
        };
        let url = url::Url::parse(&url).expect("LODE_TEST_MONGO_URL is a URL");
        MongoDb {
            user: url.username().to_owned(),
            password: url.password().map(str::to_owned),
            host: url.host_str().expect("LODE_TEST_MONGO_URL names a host").to_owned(),
            port: url.port().unwrap_or(27017),
            own: None,
        }
    }

    /// Whether it was started here: then it is the stand-in.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A name for a database that no other test uses.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("lode_test_{}_{number}_{:08x}", std::process::id(), fresh())
    }

    /// What a script writes behind `mongodb`: `mongodb://user@host:port/database`, without the password.
    pub fn url(&self, database: &str) -> String {
        let user = if self.user.is_empty() { String::new() } else { format!("{}@", self.user) };
        format!("mongodb://{user}{}:{}/{database}", self.host, self.port)
    }

    /// A checked connection to `database`, as the script's `connection mongo = mongodb "…"` gives it.
    pub fn connection(&self, database: &str) -> Arc<Connection> {
        self.connection_on(self.port, database)
    }

    /// The same to another port, on which somebody passes everything on.
    pub fn connection_on(&self, port: u16, database: &str) -> Arc<Connection> {
        let mut settings = Settings::default();
        if let Some(password) = &self.password {
            settings.0.insert("password", Setting::Secret(Secret::new(password)));
        }
        settings.0.insert("auth_source", Setting::Text("admin".into()));
        settings.0.insert("direct", Setting::Switch(port != self.port));
        Arc::new(Connection {
            name: "mongo".into(),
            kind: "mongodb",
            endpoint: Endpoint::Url {
                scheme: "mongodb".into(),
                user: self.user.clone(),
                host: self.host.clone(),
                port,
                database: database.into(),
            },
            settings,
        })
    }

    /// A client for the test's own commands. It belongs to the runtime that it was made in.
    pub fn client(&self) -> Client {
        client::mongodb::client(&self.connection("admin")).expect("a client")
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
        assert!(!self.own_mut().process.is_running(), "the server is running");
        for _ in 0..PORTS_MAX {
            if self.launch().await {
                return;
            }
        }
        panic!("the stand-in for MongoDB did not start again:\n{}", last_words(self.own().folder.path()));
    }

    /// Shuts it down and starts it again.
    pub async fn restart(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// The same, with options of the stand-in under which the harness itself may not be let in.
    pub async fn restart_with(&mut self, options: &[&str]) {
        self.stop();
        self.own_mut().options = options.iter().map(|option| (*option).to_owned()).collect();
        self.start_again().await;
    }

    /// Stops it from doing anything, with all connections left open.
    pub fn freeze(&self) {
        self.own().process.signal("STOP");
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.own().process.signal("CONT");
    }

    /// Starts the process and waits until it answers. False when it ended instead.
    async fn launch(&mut self) -> bool {
        let port = self.port;
        let own = self.own_mut();
        own.process.start(stand_in(own.folder.path(), port).args(&own.options), own.folder.path());
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            if !self.own_mut().process.is_running() {
                return false;
            }
            // The stand-in of another test may have taken the port first; this one then ends by itself.
            let ping = async { self.client().database("admin").run_command(doc! { "ping": 1 }).await };
            let answers = matches!(tokio::time::timeout(Duration::from_secs(2), ping).await, Ok(Ok(_)));
            // With options, it may not answer everybody.
            let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            if answers || (!self.own().options.is_empty() && listens()) {
                return self.own_mut().process.is_running();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.own_mut().process.kill();
        false
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this needs a server of the test's own")
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.as_mut().expect("this needs a server of the test's own")
    }
}

fn stand_in(folder: &Path, port: u16) -> Command {
    let program = unpacked("mongodb", "LODE_MONGODB_ROOT").join("bin/secantusd-py");
    assert!(program.exists(), "{} is missing; `tests/run` installs it", program.display());
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--log-level", "WARNING"]);
    // What was acknowledged must outlive a kill.
    command.arg("--sync-on-commit").args(["--cache-size", "128M"]);
    command.arg("--storage-path").arg(folder.join("data"));
    // It looks for its configuration there.
    command.current_dir(folder).env("HOME", folder);
    command
}

/// A number that another process started at the same time does not have.
fn fresh() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.subsec_nanos()
}
