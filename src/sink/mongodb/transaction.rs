//! The way to the server: commands in a transaction where it has transactions, and by themselves where it has not.

use std::time::{Duration, Instant};

use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error as DriverError, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{Acknowledgment, ReadConcern, SessionOptions, TransactionOptions, WriteConcern};
use mongodb::{Client, ClientSession, Database};

use crate::client::mongodb::{COMMAND_TIMEOUT, answer, code, failure, in_time};
use crate::error::{Error, Result};

/// The server's code for a transaction that its cache does not hold.
const TOO_LARGE_FOR_CACHE: i32 = 388;
/// How often a commit is sent whose outcome is not known. The server carries it out once.
const COMMITS_MAX: usize = 3;
/// How long a majority may take to have what was written: it is told from a server that does not answer.
const MAJORITY_TIMEOUT: Duration = COMMAND_TIMEOUT.saturating_sub(Duration::from_secs(5));
/// What an end that nobody waits for may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);

/// A database, and the transaction that goes on there.
pub(super) struct Transaction {
    database: Database,
    admin: Database,
    /// Absent where the server has no transactions.
    driver: Option<ClientSession>,
    begun: Option<Instant>,
    is_commit_sent: bool,
    /// Bytes of statements in it.
    pub bytes: usize,
    /// Whether the last error says that the same transaction may succeed when it is tried again, and that it was not
    /// carried out.
    pub may_be_repeated: bool,
    /// Whether the last error says that the transaction is larger than the server's cache can hold.
    pub is_too_large: bool,
}

impl Transaction {
    /// Asks the server what it is.
    pub async fn new(client: &Client, database: Database) -> Result<Transaction> {
        let doing = "cannot ask what the server is";
        let admin = client.database("admin");
        let hello = answer(doing, admin.run_command(doc! { "hello": 1 })).await?;
        let has_transactions =
            hello.get_str("setName").is_ok() || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        let driver = if has_transactions {
            let mut transaction = TransactionOptions::default();
            transaction.read_concern = Some(ReadConcern::majority());
            transaction.write_concern = Some(majority());
            transaction.max_commit_time = Some(MAJORITY_TIMEOUT);
            let mut options = SessionOptions::default();
            options.default_transaction_options = Some(transaction);
            Some(answer("cannot begin a session", client.start_session().with_options(options)).await?)
        } else {
            None
        };
        Ok(Transaction {
            database,
            admin,
            driver,
            begun: None,
            is_commit_sent: false,
            bytes: 0,
            may_be_repeated: false,
            is_too_large: false,
        })
    }

    /// Whether the server has transactions.
    pub fn is_possible(&self) -> bool {
        self.driver.is_some()
    }

    /// For how long a transaction has been open.
    pub fn age(&self) -> Option<Duration> {
        self.begun.map(|begun| begun.elapsed())
    }

    /// Begins a transaction, where there are any and none is open.
    pub async fn begin(&mut self) -> Result<()> {
        if let Some(driver) = &mut self.driver
            && self.begun.is_none()
        {
            self.bytes = 0;
            self.is_commit_sent = false;
            answer("cannot begin a transaction", driver.start_transaction()).await?;
            self.begun = Some(Instant::now());
        }
        Ok(())
    }

    /// What a write command needs of its own: without a transaction, how sure its writes shall be.
    pub fn concern(&self) -> Option<Document> {
        let alone = doc! { "w": "majority", "j": true, "wtimeout": MAJORITY_TIMEOUT.as_millis() as i64 };
        self.begun.is_none().then_some(alone)
    }

    /// Sends a command, in the transaction if one is open.
    pub async fn command(&mut self, doing: &str, command: RawDocumentBuf) -> Result<Document> {
        let run = self.database.run_raw_command(command);
        let answered = match self.driver.as_mut().filter(|_| self.begun.is_some()) {
            Some(driver) => in_time(doing, run.session(driver)).await?,
            None => in_time(doing, run).await?,
        };
        answered.map_err(|error| self.failed(error, doing))
    }

    /// The document that fits, as the transaction sees it.
    pub async fn find(
        &mut self,
        doing: &str,
        collection: &str,
        filter: Document,
    ) -> Result<Option<Document>> {
        let collection = self.database.collection::<Document>(collection);
        let find = collection.find_one(filter);
        let answered = match self.driver.as_mut().filter(|_| self.begun.is_some()) {
            Some(driver) => in_time(doing, find.session(driver)).await?,
            None => in_time(doing, find).await?,
        };
        answered.map_err(|error| self.failed(error, doing))
    }

    /// Commits what is open. After an error nobody knows whether it was carried out, unless the transaction may be repeated.
    pub async fn commit(&mut self) -> Result<()> {
        let Some(driver) = self.driver.as_mut().filter(|_| self.begun.is_some()) else { return Ok(()) };
        let doing = "cannot commit";
        let mut sent = 1;
        self.is_commit_sent = true;
        loop {
            match in_time(doing, driver.commit_transaction()).await? {
                Ok(()) => break,
                Err(error)
                    if sent < COMMITS_MAX && error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) =>
                {
                    sent += 1;
                }
                Err(error) => return Err(self.failed(error, doing)),
            }
        }
        self.begun = None;
        Ok(())
    }

    /// Gives up what is open. The server does so by itself when it is not told, but only after a minute, in which nobody
    /// else writes to the same documents.
    pub async fn abort(&mut self) {
        let (Some(driver), Some(_)) = (&mut self.driver, self.begun.take()) else { return };
        let abort = async {
            if self.is_commit_sent {
                // What was not committed until now never will be.
                let _ = self.admin.run_command(doc! { "killSessions": [driver.id().clone()] }).await;
            } else {
                let _ = driver.abort_transaction().await;
            }
        };
        // Nothing more can be learnt from a failure here.
        let _ = tokio::time::timeout(ABORT_TIMEOUT, abort).await;
    }

    fn failed(&mut self, error: DriverError, doing: &str) -> Error {
        self.may_be_repeated = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
        self.is_too_large = code(&error) == Some(TOO_LARGE_FOR_CACHE);
        failure(error, doing)
    }
}

/// A majority has it on disk.
pub(super) fn majority() -> WriteConcern {
    let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true);
    concern.w_timeout(MAJORITY_TIMEOUT).build()
}
