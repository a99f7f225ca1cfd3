//! Nothing is lost and nothing comes twice, whatever is killed: the real binary between real servers, under a workload
//! whose every result can be checked.
//!
//! `LODE_KILLS` says how often lode is killed (a run by hand may take hours), `LODE_SEED` repeats the random choices of
//! a run; what the machine makes of them may differ.

#[path = "../support/mod.rs"]
mod support;

mod evidence;
mod ledger;
mod process;
#[path = "../support/random.rs"]
mod random;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lode::store::LogStore;
use lode::store::embedded::{Embedded, Options};
use lode::store::mongodb::Mongodb;
use mongodb::Collection;
use mongodb::bson::{Document, doc};

use evidence::{
    Target, must_be_equal, must_be_in_order, must_have_gone_on, numbers, read_lines, read_log, sqlite,
};
use ledger::{TABLES, Workload, Written};
use process::Lode;
use random::Random;
use support::mongodb::MongoDb;
use support::oracle::Oracle;
use support::servers::{MariaDb, MySql, Server, shared_mariadb};
use tempfile::TempDir;
use tokio::sync::watch;

/// How long what was broken may take to go on. The longest wait between two tries of lode is 30 seconds.
const GO_ON_MAX: Duration = Duration::from_secs(90);
/// Kills are added until one falls into the middle of a transaction, up to so many rounds.
const ROUNDS_MAX: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_between_mariadb_servers() {
    let source = MariaDb::start(&["--max-binlog-size=4M"]).await;
    let sink = MariaDb::start(&["--skip-log-bin"]).await;
    let servers = Servers { source, sink: Some(sink), store: None, oracle: None };
    let mut faults = vec![Fault::Sink, Fault::Source, Fault::Sink, Fault::Source, Fault::Terminate];
    faults.extend(vec![Fault::Lode; setting("LODE_KILLS").unwrap_or(17) as usize]);
    survive(servers, faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_on_mysql() {
    let source = MySql::start(&["--max-binlog-size=4M"]).await;
    let servers = Servers { source, sink: None, store: None, oracle: None };
    let mut faults = vec![Fault::Source, Fault::Terminate];
    faults.extend(vec![Fault::Lode; setting("LODE_KILLS").unwrap_or(5) as usize]);
    survive(servers, faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_with_a_log_in_mongodb() {
    let source = MariaDb::start(&["--max-binlog-size=4M"]).await;
    let servers = Servers { source, sink: None, store: Some(MongoDb::start().await), oracle: None };
    let mut faults = vec![Fault::Store, Fault::Source, Fault::Store, Fault::Terminate, Fault::Store];
    faults.extend(vec![Fault::Lode; setting("LODE_KILLS").unwrap_or(5) as usize]);
    survive(servers, faults).await;
}

/// With one more pipeline, into an Oracle that is killed too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_in_oracle() {
    let source = MariaDb::start(&["--max-binlog-size=4M"]).await;
    let servers = Servers { source, sink: None, store: None, oracle: Some(Oracle::start()) };
    let mut faults = vec![Fault::Oracle, Fault::Cut, Fault::Oracle, Fault::Terminate];
    faults.extend(vec![Fault::Lode; setting("LODE_KILLS").unwrap_or(4) as usize]);
    survive(servers, faults).await;
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// lode is killed and started again.
    Lode,
    /// lode is asked to end, does so, and is started again.
    Terminate,
    /// The server of the mysql sink is killed and started again; lode goes on by itself.
    Sink,
    /// The source is killed and started again; lode goes on by itself.
    Source,
    /// The server that keeps the log is killed and started again; lode goes on by itself.
    Store,
    /// The Oracle server is killed and started again; lode goes on by itself.
    Oracle,
    /// All connections to the Oracle server end at once.
    Cut,
}

/// The source, the server of the mysql sink unless it is the same, and the one that keeps the log unless lode does so
/// in files.
struct Servers {
    source: Server,
    sink: Option<Server>,
    store: Option<MongoDb>,
    oracle: Option<Oracle>,
}

impl Servers {
    fn sink(&self) -> &Server {
        self.sink.as_ref().unwrap_or(&self.source)
    }

    /// The collection of a log in MongoDB that is its own, or the one beside it.
    fn collection(&self, name: &str) -> Option<Collection<Document>> {
        self.store.as_ref().map(|store| store.client().database("logs").collection(name))
    }

    /// Whether a block lies behind the end of a log in MongoDB: a part of a transaction that goes on, or what is just
    /// being written.
    async fn log_goes_on_behind_its_end(&self) -> bool {
        let (Some(state), Some(blocks)) = (self.collection("shop.state"), self.collection("shop")) else {
            return false;
        };
        let head = state.find_one(doc! { "_id": "head" }).await.expect("the store answers");
        let Some(end) = head.and_then(|head| head.get_i64("blocks").ok()) else { return false };
        let block = blocks.find_one(doc! { "_id": end }).projection(doc! { "_id": 1 });
        block.await.expect("the store answers").is_some()
    }

    fn oracle_mut(&mut self) -> &mut Oracle {
        self.oracle.as_mut().expect("the run has an Oracle")
    }
}

async fn survive(mut servers: Servers, mut faults: Vec<Fault>) {
    let seed = setting("LODE_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20 | fresh());
    println!("LODE_SEED={seed}");
    let mut random = Random::new(seed);
    random.shuffle(&mut faults);
    // The last is a kill of lode, which may be followed by further ones.
    faults.insert(0, Fault::Lode);

    let site = Site::new();
    site.prepare(&servers).await;
    ledger::prepare(&servers.source).await;
    // The stand-ins for MongoDB and Oracle take their time.
    let pace = match () {
        () if servers.oracle.is_some() => 40,
        () if servers.store.is_some() => 5,
        () => 1,
    };
    let workload = Workload::start(&servers.source, seed, pace);
    let mut large = workload.large();
    let mut said = Vec::new();
    let mut unfinished = 0;
    let mut lode = site.run();
    let mut round = 0;
    while let Some(fault) = faults.pop() {
        round += 1;
        // Every fourth blow comes while lode is just getting up.
        if random.one_in(4) {
            sleep_ms(random.below(150)).await;
        } else {
            sleep_ms(50 + random.below(700)).await;
            site.must_hold_now(&servers).await;
            // Most others fall into a large transaction: into its reading at once, or into its delivery.
            if !random.one_in(3) {
                site.log_has_begun_a_large_transaction(&servers, &mut large).await;
                if random.one_in(2) {
                    sleep_ms(random.below(400)).await;
                }
            }
        }
        lode.must_be_well();
        println!("{round}: {fault:?} at {} entries", workload.newest());
        match fault {
            Fault::Lode => {
                said.push(lode.kill());
                // What it left behind stands still now.
                site.must_hold_now(&servers).await;
                unfinished += u32::from(site.log_ends_in_a_transaction(&servers).await);
                lode = site.run();
                // Without one such kill the run would show too little.
                if faults.is_empty() && unfinished == 0 && round < ROUNDS_MAX {
                    faults.push(Fault::Lode);
                }
            }
            Fault::Terminate => {
                let (code, text) = lode.terminate();
                // Who is stopped while the log is being opened says that nothing was begun.
                let early = code == Some(130) && !text.contains("delivering");
                assert!(code == Some(0) || early, "{code:?}: {text}");
                said.push(text);
                lode = site.run();
            }
            Fault::Sink => {
                let sink = servers.sink.as_mut().expect("the sink has a server of its own");
                sink.kill();
                sleep_ms(random.below(500)).await;
                sink.start_again().await;
                site.goes_on(&servers, &workload, &mut lode).await;
            }
            Fault::Store => {
                let store = servers.store.as_mut().expect("the log is in a server");
                store.kill();
                sleep_ms(random.below(3000)).await;
                store.start_again().await;
                site.goes_on(&servers, &workload, &mut lode).await;
            }
            Fault::Oracle => {
                servers.oracle_mut().kill();
                sleep_ms(random.below(500)).await;
                servers.oracle_mut().start_again();
                site.goes_on(&servers, &workload, &mut lode).await;
            }
            Fault::Cut => {
                servers.oracle_mut().cut_connections();
                site.goes_on(&servers, &workload, &mut lode).await;
            }
            Fault::Source => {
                servers.source.kill();
                sleep_ms(random.below(500)).await;
                servers.source.start_again().await;
                site.goes_on(&servers, &workload, &mut lode).await;
            }
        }
    }
    site.goes_on(&servers, &workload, &mut lode).await;
    let written = workload.stop().await;
    // Each route keeps the order, so what has the last entry has all.
    let last = i64::MAX;
    servers
        .source
        .sql(&format!("INSERT INTO shop.ledger VALUES ({last}, 'end', NULL, NULL, 0, NULL, NOW(3))"))
        .await;
    site.has_all(&servers, last, &mut lode).await;
    lode.must_be_well();
    let began = Instant::now();
    while servers.source.dump_threads().await != 1 {
        assert!(began.elapsed() < Duration::from_secs(20), "one reader, however many pipelines");
        sleep_ms(100).await;
    }
    let (code, text) = lode.terminate();
    assert_eq!(code, Some(0), "{text}");
    said.push(text);
    site.must_be_exact(&servers, &written, &said).await;
    println!("{unfinished} kills left a part of a transaction at the end of the log");
    assert!(unfinished > 0, "no kill fell into a transaction in the log");
}

/// The folder of a run: script, data, and what the sinks write to files.
struct Site {
    folder: TempDir,
    runs: std::cell::Cell<u32>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::Builder::new().prefix("lode-crash-").tempdir().expect("a temporary folder");
        Site { folder, runs: 0.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self) -> Lode {
        Lode::run(&self.path("run.lode"), &self.path("data"), self.next_log())
    }

    fn next_log(&self) -> PathBuf {
        self.runs.set(self.runs.get() + 1);
        self.path(&format!("run-{}.log", self.runs.get()))
    }

    /// One mine, three pipelines, four routes.
    async fn prepare(&self, servers: &Servers) {
        let mut script = format!(
            r#"connection shop   = mysql  "{source}" {{ heartbeat = 1s }}
connection mirror = mysql  "{sink}"
connection mart   = sqlite "{mart}"
connection past   = sqlite "{past}"
{keep}

pipeline mart =
  source mysql shop.* share_mining
  -> [ sink sqlite mart.*, sink jsonl "{lines}" ]
pipeline past =
  source mysql shop.{{accounts, ledger, heap, seats, moving}} share_mining
  -> sink sqlite past.* {{ mode = append }}
pipeline mirror = source mysql shop.* share_mining -> sink mysql mirror.*
"#,
            keep = match &servers.store {
                Some(store) => format!(
                    "connection vault = mongodb \"{}\" {{ connect_timeout = 3s }}\n\
                     share_mining shop via vault.shop {{ start = earliest, threads = 3 }}",
                    store.url("logs")
                ),
                None => "share_mining shop via embedded { start = earliest }".to_owned(),
            },
            source = servers.source.url("shop"),
            sink = servers.sink().url("mirror"),
            mart = self.path("mart.db").display(),
            past = self.path("past.db").display(),
            lines = self.path("lines").join("{table}.jsonl").display(),
        );
        if let Some(oracle) = &servers.oracle {
            let client = oracle
                .client_lib()
                .map_or(String::new(), |folder| format!(", client_lib = \"{}\"", folder.display()));
            // Without the large transactions, which the stand-in is too slow for.
            script.push_str(&format!(
                "connection dw = oracle \"oracle://{}@{}:{}/{}\" {{ password = \"{}\"{client} }}\n\
                 pipeline dw = source mysql shop.{{accounts, ledger, heap, seats, moving}} share_mining \
                 -> sink oracle dw.*\n",
                oracle.user(),
                oracle.host(),
                oracle.port(),
                oracle.service(),
                oracle.password(),
            ));
            oracle.run(&["CREATE TABLE seats (id NUMBER(10) PRIMARY KEY, place NUMBER(10) UNIQUE)"]);
        }
        fs::write(self.path("run.lode"), script).expect("the script is written");
        // Places are unique in the targets, too.
        servers
            .sink()
            .run(&[
                "CREATE DATABASE mirror CHARACTER SET utf8mb4",
                "CREATE TABLE mirror.seats (id INT PRIMARY KEY, place INT, UNIQUE KEY (place))",
            ])
            .await;
        let mart = rusqlite::Connection::open(self.path("mart.db")).expect("the database opens");
        mart.execute_batch("CREATE TABLE seats (id INTEGER PRIMARY KEY, place INTEGER UNIQUE)")
            .expect("a table");
    }

    /// Waits for the moment in which a part of a large transaction is in the log, and the rest is not.
    async fn log_has_begun_a_large_transaction(&self, servers: &Servers, large: &mut watch::Receiver<u64>) {
        large.mark_unchanged();
        let _ = tokio::time::timeout(Duration::from_secs(5), large.changed()).await;
        let (began, before) = (Instant::now(), log_bytes(&self.log_folder()));
        if servers.store.is_some() {
            while !servers.log_goes_on_behind_its_end().await && began.elapsed() < Duration::from_secs(2) {
                sleep_ms(1).await;
            }
            return;
        }
        while log_bytes(&self.log_folder()) < before + 400_000 && began.elapsed() < Duration::from_secs(2) {
            sleep_ms(1).await;
        }
    }

    /// Whether opening the log will cut something off. A copy tells, so that it is lode itself that cuts.
    async fn log_ends_in_a_transaction(&self, servers: &Servers) -> bool {
        if servers.store.is_some() {
            return servers.log_goes_on_behind_its_end().await;
        }
        let copy = tempfile::tempdir().expect("a temporary folder");
        let folder = copy.path().join("shop");
        fs::create_dir(&folder).expect("a folder");
        let Ok(files) = fs::read_dir(self.log_folder()) else { return false };
        for file in files {
            let file = file.expect("a file").path();
            fs::copy(&file, folder.join(file.file_name().expect("a name"))).expect("a copy");
        }
        let before = log_bytes(&folder);
        let store = Embedded::new(copy.path(), Options::default());
        store.open("shop").await.expect("what a kill leaves can be opened");
        log_bytes(&folder) < before
    }

    fn log_folder(&self) -> PathBuf {
        self.path("data").join("logs/shop")
    }

    fn mart(&self) -> PathBuf {
        self.path("mart.db")
    }

    fn past(&self) -> PathBuf {
        self.path("past.db")
    }

    /// What must hold at any moment, while everything runs.
    async fn must_hold_now(&self, servers: &Servers) {
        Target::Sqlite(&self.mart()).must_show_whole_transactions().await;
        Target::Server(servers.sink(), "mirror").must_show_whole_transactions().await;
        if let Some(oracle) = &servers.oracle {
            Target::Oracle(oracle).must_show_whole_transactions().await;
        }
        let past = self.past();
        for (table, _) in TABLES {
            if Target::Sqlite(&past).has_table(table).await {
                must_be_in_order(&past, table);
            }
        }
    }

    /// Waits until all SQL targets have an entry that is written from now on.
    async fn goes_on(&self, servers: &Servers, workload: &Workload, lode: &mut Lode) {
        let before = workload.newest();
        let began = Instant::now();
        while workload.newest() <= before {
            assert!(began.elapsed() < GO_ON_MAX, "the workload goes on");
            sleep_ms(20).await;
        }
        self.has_all(servers, workload.newest(), lode).await;
    }

    async fn has_all(&self, servers: &Servers, entry: i64, lode: &mut Lode) {
        let (mart, past) = (self.mart(), self.past());
        let mut targets =
            vec![Target::Sqlite(&mart), Target::Sqlite(&past), Target::Server(servers.sink(), "mirror")];
        targets.extend(servers.oracle.as_ref().map(Target::Oracle));
        let began = Instant::now();
        for target in &targets {
            while !target.has_entry(entry).await {
                lode.must_be_well();
                assert!(began.elapsed() < GO_ON_MAX, "entry {entry} does not arrive:\n{}", lode.said());
                sleep_ms(50).await;
            }
        }
    }

    /// Everything is there exactly once: in the log, and in each target.
    async fn must_be_exact(&self, servers: &Servers, written: &Written, said: &[String]) {
        let source = Target::Server(&servers.source, "shop");
        let ids: Vec<i64> = numbers(source.rows("id", "ledger", "ORDER BY id").await);
        for id in &written.acknowledged {
            assert!(ids.binary_search(id).is_ok(), "the source itself lost entry {id}");
        }
        for id in &written.rolled_back {
            assert!(ids.binary_search(id).is_err(), "entry {id} was rolled back");
        }
        println!("{} entries, {} rolled back", ids.len(), written.rolled_back.len());

        let store: Box<dyn LogStore> = match &servers.store {
            Some(server) => {
                Box::new(Mongodb::new(server.connection("logs"), Default::default()).expect("a store"))
            }
            None => Box::new(Embedded::new(self.path("data").join("logs"), Options::default())),
        };
        let log = read_log(store.as_ref()).await;
        assert_eq!(sorted(log.ledger.clone()), ids, "each entry is in the log once");
        must_have_gone_on(said, &log.commits);

        let mart = self.mart();
        for (table, columns) in TABLES {
            let wanted = source.table(columns, table).await;
            let mut targets =
                vec![("sqlite", Target::Sqlite(&mart)), ("mysql", Target::Server(servers.sink(), "mirror"))];
            if table != "large" {
                targets.extend(servers.oracle.as_ref().map(|oracle| ("oracle", Target::Oracle(oracle))));
            }
            for (name, target) in targets {
                must_be_equal(&format!("{table} in {name}"), &target.table(columns, table).await, &wanted);
            }
            let changes = &log.changes[table];
            let (lines, line_ids) = read_lines(&self.path("lines").join(format!("{table}.jsonl")));
            assert!(&lines == changes, "{table}: {} lines for {} changes", lines.len(), changes.len());
            if table == "ledger" {
                assert_eq!(line_ids, log.ledger, "each entry is in the lines once");
            }
            if table != "large" {
                let past: Vec<u64> =
                    numbers(sqlite(&self.past(), &format!("SELECT _seq FROM {table} ORDER BY rowid")));
                assert!(&past == changes, "{table}: {} rows for {} changes", past.len(), changes.len());
            }
        }
        let past: Vec<i64> = numbers(sqlite(&self.past(), "SELECT id FROM ledger ORDER BY rowid"));
        assert_eq!(past, log.ledger, "each entry is in the history once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_data_folder_and_one_route_have_one_writer() {
    let server = shared_mariadb();
    server
        .sql("CREATE DATABASE one; CREATE DATABASE two; CREATE TABLE one.ledger (id BIGINT PRIMARY KEY)")
        .await;
    let site = Site::new();
    let script = |name: &str, through: &str| {
        let text = format!(
            "connection shop = mysql \"{}\" {{ heartbeat = 1s }}\nconnection mirror = mysql \"{}\"\n{}\n\
             pipeline {name} = source mysql shop.ledger {through} -> sink mysql mirror.{name}\n",
            server.url("one"),
            server.url("two"),
            if through.is_empty() { "" } else { "share_mining shop via embedded { start = earliest }" },
        );
        let path = site.path(&format!("{name}.lode"));
        fs::write(&path, text).expect("the script is written");
        path
    };
    let (shared, direct) = (script("shared", "share_mining"), script("direct", ""));
    let writes = async |from: i64| {
        for id in from..from + 200 {
            server.sql(&format!("INSERT INTO one.ledger VALUES ({id})")).await;
        }
    };
    let arrives = async |table: &str, id: i64, lode: &mut Lode| {
        let began = Instant::now();
        let target = Target::Server(server, "two");
        while !target.has_table(table).await
            || target.rows("id", table, &format!("WHERE id = {id}")).await.is_empty()
        {
            lode.must_be_well();
            assert!(began.elapsed() < GO_ON_MAX, "{id} does not arrive:\n{}", lode.said());
            sleep_ms(50).await;
        }
    };
    let all_once = async |table: &str, from: i64, to: i64| {
        let ids: Vec<i64> = numbers(Target::Server(server, "two").rows("id", table, "ORDER BY id").await);
        assert_eq!(ids, (from..to).collect::<Vec<_>>());
    };

    // A second process on the same data folder.
    let data = site.path("data");
    let mut first = Lode::run(&shared, &data, site.next_log());
    writes(0).await;
    arrives("shared", 199, &mut first).await;
    let (code, text) = Lode::run(&shared, &data, site.next_log()).ended(GO_ON_MAX);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("process {} runs lode with the data folder", first.id())), "{text}");
    assert!(text.contains("stop that process, or give this one another data folder"), "{text}");

    // Another data folder has another log. What lies between the two cannot be told, so the second does not write;
    // the route was taken from the first all the same, which is told when it writes next.
    let (code, text) = Lode::run(&shared, &site.path("other"), site.next_log()).ended(GO_ON_MAX);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the cursor belongs to a log that was deleted and made again"), "{text}");
    writes(200).await;
    let (code, text) = first.ended(GO_ON_MAX);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another writer has taken over route shared/shop/"), "{text}");
    let mut again = Lode::run(&shared, &data, site.next_log());
    arrives("shared", 399, &mut again).await;
    all_once("shared", 0, 400).await;
    assert_eq!(again.terminate().0, Some(0));

    // Without a shared log the position is all there is to know, and the second goes on where the first was.
    let mut first = Lode::run(&direct, &site.path("first"), site.next_log());
    while !first.said().contains("delivering") {
        first.must_be_well();
        sleep_ms(20).await;
    }
    writes(400).await;
    arrives("direct", 599, &mut first).await;
    let mut second = Lode::run(&direct, &site.path("second"), site.next_log());
    writes(600).await;
    arrives("direct", 799, &mut second).await;
    let (code, text) = first.ended(GO_ON_MAX);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another writer has taken over route direct/shop/"), "{text}");
    all_once("direct", 400, 800).await;
    assert_eq!(second.terminate().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for() {
    let server = shared_mariadb();
    server
        .sql("CREATE DATABASE full; CREATE DATABASE room; CREATE TABLE full.ledger (id BIGINT PRIMARY KEY, body TEXT)")
        .await;
    let site = Site::new();
    let script = site.path("run.lode");
    let text = format!(
        "connection shop = mysql \"{}\" {{ heartbeat = 1s }}\nconnection mirror = mysql \"{}\"\n\
         share_mining shop via embedded {{ start = earliest }}\n\
         pipeline full = source mysql shop.ledger share_mining -> sink mysql mirror.*\n",
        server.url("full"),
        server.url("room"),
    );
    fs::write(&script, text).expect("the script is written");
    let mut lode = Lode::run_with_room(300_000, &script, &site.path("data"), site.next_log());
    let mut random = Random::new(7);
    for batch in 0..20_i64 {
        let rows: Vec<_> = (0..50)
            .map(|row| {
                let body: String = (0..100).map(|_| format!("{:016x}", random.next())).collect();
                format!("({}, '{body}')", batch * 50 + row)
            })
            .collect();
        server.sql(&format!("INSERT INTO full.ledger VALUES {}", rows.join(","))).await;
    }
    let began = Instant::now();
    while !lode.said().contains("mining waits for room in its log") {
        lode.must_be_well();
        assert!(began.elapsed() < GO_ON_MAX, "the disk is not full:\n{}", lode.said());
        sleep_ms(20).await;
    }
    lode.must_be_well();
    let text = lode.said();
    assert!(text.contains("File too large") && text.contains("give the log more space"), "{text}");
    let source = Target::Server(server, "full");
    let target = Target::Server(server, "room");
    let wanted = source.table("id, body", "ledger").await;

    let raised = std::process::Command::new("prlimit")
        .args([format!("--pid={}", lode.id()), "--fsize=unlimited:unlimited".to_owned()])
        .status()
        .expect("prlimit runs");
    assert!(raised.success());
    let began = Instant::now();
    while !target.has_table("ledger").await || target.rows("id", "ledger", "WHERE id = 999").await.is_empty()
    {
        lode.must_be_well();
        assert!(began.elapsed() < GO_ON_MAX, "mining does not go on:\n{}", lode.said());
        sleep_ms(50).await;
    }
    must_be_equal("ledger", &target.table("id, body", "ledger").await, &wanted);
    assert_eq!(lode.terminate().0, Some(0));
}

/// Bytes in the segments of a log.
fn log_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let segments = files.filter(|file| file.extension().is_some_and(|extension| extension == "seg"));
    segments.filter_map(|segment| segment.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn sorted(mut numbers: Vec<i64>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers
}

fn setting(variable: &str) -> Option<u64> {
    env::var(variable)
        .ok()
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

fn fresh() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_micros()))
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
