//! The work that goes on at the source all the time: transactions whose results can be checked at any moment.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::random::Random;
use crate::support::servers::Server;

/// Accounts; the money in them never becomes more or less.
pub const ACCOUNTS: i64 = 40;
/// What each account begins with.
pub const OPENING: i64 = 1000;
/// Seats; each place is taken by one of them.
pub const SEATS: i64 = 24;
/// Rows of one large transaction: more than a batch of a sink.
pub const LARGE_ROWS: i64 = 2500;
/// Bytes of one of its rows.
const LARGE_ROW_BYTES: usize = 2000;
/// Large transactions whose rows stay.
const LARGE_KEPT: usize = 2;
/// Connections that write small transactions.
const WORKERS: u64 = 4;

/// The tables and their columns.
pub const TABLES: [(&str, &str); 6] = [
    ("accounts", "id, balance, note"),
    ("ledger", "id, kind, src, dst, amount, fee, made_at"),
    ("heap", "worker, tag, n"),
    ("seats", "id, place"),
    ("moving", "id, owner, moves, label"),
    ("large", "id, tx, body"),
];

const CREATE: [&str; 7] = [
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE TABLE shop.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(40))",
    "CREATE TABLE shop.ledger (id BIGINT PRIMARY KEY, kind VARCHAR(10) NOT NULL, src INT, dst INT, \
     amount INT NOT NULL, fee DECIMAL(12,2), made_at DATETIME(3) NOT NULL)",
    "CREATE TABLE shop.heap (worker INT NOT NULL, tag VARCHAR(20), n INT)",
    "CREATE TABLE shop.seats (id INT PRIMARY KEY, place INT, UNIQUE KEY (place))",
    "CREATE TABLE shop.moving (id BIGINT PRIMARY KEY, owner INT NOT NULL, moves INT NOT NULL, label VARCHAR(40))",
    "CREATE TABLE shop.large (id BIGINT PRIMARY KEY, tx BIGINT NOT NULL, body TEXT NOT NULL)",
];

/// Makes the tables at the source, and fills them in one transaction.
pub async fn prepare(source: &Server) {
    source.run(&CREATE).await;
    let mut conn = source.root().await;
    let rows = |count, of: fn(i64) -> String| (1..=count).map(of).collect::<Vec<_>>().join(",");
    let accounts = rows(ACCOUNTS, |id| format!("({id}, {OPENING}, NULL)"));
    let seats = rows(SEATS, |id| format!("({id}, {id})"));
    for statement in [
        "BEGIN".to_owned(),
        format!("INSERT INTO shop.accounts VALUES {accounts}"),
        format!("INSERT INTO shop.seats VALUES {seats}"),
        "COMMIT".to_owned(),
    ] {
        conn.query_drop(statement).await.expect("the tables are filled");
    }
    conn.disconnect().await.expect("the connection ends");
}

/// The running work.
pub struct Workload {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    opts: Opts,
    stop: AtomicBool,
    next_id: AtomicI64,
    acknowledged: Mutex<BTreeSet<i64>>,
    rolled_back: Mutex<BTreeSet<i64>>,
    large: watch::Sender<u64>,
}

/// What the writers know in the end.
pub struct Written {
    /// Ids of the ledger in transactions whose commit the server acknowledged.
    pub acknowledged: BTreeSet<i64>,
    /// Ids of the ledger in transactions that were rolled back.
    pub rolled_back: BTreeSet<i64>,
}

impl Workload {
    /// Starts it; each pause is `pace` times as long as usual.
    pub fn start(source: &Server, seed: u64, pace: u32) -> Workload {
        let shared = Arc::new(Shared {
            opts: source.opts(),
            stop: AtomicBool::new(false),
            next_id: AtomicI64::new(1),
            acknowledged: Mutex::default(),
            rolled_back: Mutex::default(),
            large: watch::Sender::new(0),
        });
        let mut tasks: Vec<_> = (0..WORKERS)
            .map(|number| {
                let random = Random::new(seed ^ (number + 1) << 40);
                let worker = Worker { shared: Arc::clone(&shared), number: number as i64, random, pace };
                tokio::spawn(worker.small())
            })
            .collect();
        let worker =
            Worker { shared: Arc::clone(&shared), number: 99, random: Random::new(seed ^ 99 << 40), pace };
        tasks.push(tokio::spawn(worker.large()));
        Workload { shared, tasks }
    }

    /// Told whenever a large transaction is about to be committed.
    pub fn large(&self) -> watch::Receiver<u64> {
        self.shared.large.subscribe()
    }

    /// The highest id of the ledger that was acknowledged.
    pub fn newest(&self) -> i64 {
        self.shared.acknowledged.lock().unwrap().last().copied().unwrap_or(0)
    }

    /// Ends the work when all open transactions are done.
    pub async fn stop(self) -> Written {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a worker");
        }
        let take = |set: &Mutex<BTreeSet<i64>>| std::mem::take(&mut *set.lock().unwrap());
        Written { acknowledged: take(&self.shared.acknowledged), rolled_back: take(&self.shared.rolled_back) }
    }
}

struct Worker {
    shared: Arc<Shared>,
    number: i64,
    random: Random,
    pace: u32,
}

impl Worker {
    async fn small(mut self) {
        while let Some(mut conn) = self.connect().await {
            while !self.is_over() {
                let done = match self.random.below(20) {
                    0..=9 => self.transfer(&mut conn).await,
                    10..=13 => self.pile(&mut conn).await,
                    14..=15 => self.swap_seats(&mut conn).await,
                    _ => self.move_keys(&mut conn).await,
                };
                match done {
                    Ok(()) => {}
                    Err(Error::Server(error)) if matches!(error.code, 1205 | 1213 | 1020) => {
                        if conn.query_drop("ROLLBACK").await.is_err() {
                            break;
                        }
                    }
                    // The server was killed, and perhaps at once started again.
                    Err(Error::Io(_) | Error::Driver(_)) => break,
                    Err(error) => panic!("the workload itself is wrong: {error}"),
                }
                let pause = Duration::from_millis(3 + self.random.below(12));
                tokio::time::sleep(pause * self.pace).await;
            }
        }
    }

    async fn large(mut self) {
        let mut kept = Vec::new();
        while let Some(mut conn) = self.connect().await {
            while !self.is_over() {
                match self.write_large(&mut conn, &mut kept).await {
                    Ok(()) => {}
                    Err(Error::Server(error)) => panic!("the workload itself is wrong: {error}"),
                    Err(_) => break,
                }
                for _ in 0..10 + self.random.below(20) {
                    if !self.is_over() {
                        tokio::time::sleep(Duration::from_millis(100) * self.pace).await;
                    }
                }
            }
        }
    }

    /// `None` when the work is over.
    async fn connect(&self) -> Option<Conn> {
        while !self.is_over() {
            if let Ok(mut conn) = Conn::new(self.shared.opts.clone()).await
                && conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await.is_ok()
                && conn.query_drop("USE shop").await.is_ok()
            {
                return Some(conn);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        None
    }

    fn is_over(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Money goes from one account to another; now and then it is all taken back.
    async fn transfer(&mut self, conn: &mut Conn) -> Result<()> {
        let src = 1 + self.random.below(ACCOUNTS as u64) as i64;
        let dst = 1 + (src + self.random.below(ACCOUNTS as u64 - 1) as i64) % ACCOUNTS;
        let amount = 1 + self.random.below(50) as i64;
        conn.query_drop("BEGIN").await?;
        // The same order in all transactions keeps them from waiting for each other.
        let mut halves = [(src, -amount), (dst, amount)];
        halves.sort_unstable();
        for (id, change) in halves {
            let note =
                if self.random.one_in(3) { "NULL".to_owned() } else { format!("'von {src} für {dst}'") };
            conn.query_drop(format!(
                "UPDATE accounts SET balance = balance + {change}, note = {note} WHERE id = {id}"
            ))
            .await?;
        }
        let entry = self.entry(conn, "transfer", Some((src, dst)), amount).await?;
        if self.random.one_in(12) {
            conn.query_drop("ROLLBACK").await?;
            self.shared.rolled_back.lock().unwrap().insert(entry);
            return Ok(());
        }
        self.commit(conn, entry).await
    }

    /// Rows without a key, many of them equal: some come, some change, some go.
    async fn pile(&mut self, conn: &mut Conn) -> Result<()> {
        let worker = self.number;
        let tag = match self.random.below(5) {
            0 => "NULL".to_owned(),
            tag => format!("'tag {tag}'"),
        };
        conn.query_drop("BEGIN").await?;
        let statement = match self.random.below(5) {
            0 | 1 => format!("INSERT INTO heap VALUES ({worker}, {tag}, 0), ({worker}, {tag}, 0)"),
            2 => format!("UPDATE heap SET n = n + 1 WHERE worker = {worker} AND tag <=> {tag} LIMIT 1"),
            _ => format!("DELETE FROM heap WHERE worker = {worker} AND tag <=> {tag} LIMIT 1"),
        };
        conn.query_drop(statement).await?;
        let entry = self.entry(conn, "pile", None, 0).await?;
        self.commit(conn, entry).await
    }

    /// Two seats change places, which are unique.
    async fn swap_seats(&mut self, conn: &mut Conn) -> Result<()> {
        let one = 1 + self.random.below(SEATS as u64) as i64;
        let other = 1 + (one + self.random.below(SEATS as u64 - 1) as i64) % SEATS;
        conn.query_drop("BEGIN").await?;
        let places: Vec<(i64, i64)> = conn
            .query(format!("SELECT id, place FROM seats WHERE id IN ({one}, {other}) ORDER BY id FOR UPDATE"))
            .await?;
        let [(a, place_of_a), (b, place_of_b)] = places[..] else { panic!("two seats: {places:?}") };
        let aside = match self.random.one_in(2) {
            true => "NULL".to_owned(),
            false => (-self.number - 1).to_string(),
        };
        for (id, place) in [(a, aside), (b, place_of_a.to_string()), (a, place_of_b.to_string())] {
            conn.query_drop(format!("UPDATE seats SET place = {place} WHERE id = {id}")).await?;
        }
        let entry = self.entry(conn, "swap", None, 0).await?;
        self.commit(conn, entry).await
    }

    /// Rows come, go, get another primary key, and exchange their primary keys.
    async fn move_keys(&mut self, conn: &mut Conn) -> Result<()> {
        let owner = self.number;
        conn.query_drop("BEGIN").await?;
        let own: Vec<i64> =
            conn.query(format!("SELECT id FROM moving WHERE owner = {owner} ORDER BY id")).await?;
        let entry = self.entry(conn, "move", None, 0).await?;
        let statements = match own[..] {
            [a, b, ..] if self.random.one_in(3) => {
                let set = |to: i64, from: i64| {
                    format!("UPDATE moving SET id = {to}, moves = moves + 1 WHERE id = {from}")
                };
                vec![set(-entry, a), set(a, b), set(b, -entry)]
            }
            [a, b, ..] if self.random.one_in(2) => vec![
                format!("DELETE FROM moving WHERE id = {b}"),
                format!("UPDATE moving SET id = {b}, moves = moves + 1 WHERE id = {a}"),
            ],
            [a, ..] if self.random.one_in(2) => {
                vec![format!("UPDATE moving SET id = {entry}, moves = moves + 1 WHERE id = {a}")]
            }
            _ => vec![format!("INSERT INTO moving VALUES ({entry}, {owner}, 0, 'row {entry}')")],
        };
        for statement in statements {
            conn.query_drop(statement).await?;
        }
        self.commit(conn, entry).await
    }

    /// A transaction of some megabytes, in which rows without a key come first; the rows of an older one go in it.
    async fn write_large(&mut self, conn: &mut Conn, kept: &mut Vec<i64>) -> Result<()> {
        conn.query_drop("BEGIN").await?;
        let entry = self.entry(conn, "large", None, 0).await?;
        let worker = self.number;
        conn.query_drop(format!("INSERT INTO heap VALUES ({worker}, 'large', 0), ({worker}, 'large', 0)"))
            .await?;
        conn.query_drop(format!("DELETE FROM heap WHERE worker = {worker} AND n = 1 LIMIT 1")).await?;
        conn.query_drop(format!("UPDATE heap SET n = 1 WHERE worker = {worker} LIMIT 1")).await?;
        for from in (0..LARGE_ROWS).step_by(250) {
            let rows: Vec<_> = (from..from + 250)
                .map(|row| {
                    // Not to be compressed away: the log shall take a while to write it.
                    let body: String =
                        (0..LARGE_ROW_BYTES / 16).map(|_| format!("{:016x}", self.random.next())).collect();
                    format!("({}, {entry}, '{body}')", entry * 10_000 + row)
                })
                .collect();
            conn.query_drop(format!("INSERT INTO large VALUES {}", rows.join(","))).await?;
        }
        if kept.len() >= LARGE_KEPT {
            conn.query_drop(format!("DELETE FROM large WHERE tx = {}", kept[0])).await?;
        }
        self.shared.large.send_modify(|count| *count += 1);
        self.commit(conn, entry).await?;
        if kept.len() >= LARGE_KEPT {
            kept.remove(0);
        }
        kept.push(entry);
        Ok(())
    }

    /// Each transaction leaves one row in the ledger, which never changes.
    async fn entry(
        &mut self,
        conn: &mut Conn,
        kind: &str,
        between: Option<(i64, i64)>,
        amount: i64,
    ) -> Result<i64> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let fee = if self.random.one_in(4) { "NULL".to_owned() } else { format!("{id}.{:02}", id % 100) };
        let (src, dst) = between
            .map_or(("NULL".to_owned(), "NULL".to_owned()), |(src, dst)| (src.to_string(), dst.to_string()));
        conn.query_drop(format!(
            "INSERT INTO ledger VALUES ({id}, '{kind}', {src}, {dst}, {amount}, {fee}, NOW(3))"
        ))
        .await?;
        Ok(id)
    }

    async fn commit(&mut self, conn: &mut Conn, entry: i64) -> Result<()> {
        conn.query_drop("COMMIT").await?;
        self.shared.acknowledged.lock().unwrap().insert(entry);
        Ok(())
    }
}
