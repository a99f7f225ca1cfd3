//! The thread that owns a connection: the client library blocks, and may be used by one thread at a time.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Config;
use super::session::{LoggedIn, Session};
use crate::client::oracle::connect_timeout;
use crate::error::{Error, Kind, Result};
use crate::model::position::Cursor;

/// Jobs that wait for the thread; the sink waits for each before it gives the next.
const JOBS_MAX: usize = 1;

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// What the thread has.
pub(super) struct State {
    logged_in: Option<LoggedIn>,
    pub session: Option<Session>,
}

/// A handle to the thread. Dropping it ends the connection, once the call that is under way is over; what is not
/// committed then is rolled back.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts the thread, logs in within the connection's `connect_timeout`, and takes the route over.
    ///
    /// A log-in that nobody waits for any more takes nothing over, so that it cannot stand in the way of the next.
    pub async fn open(config: Arc<Config>) -> Result<(Worker, Option<Cursor>)> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_MAX);
        std::thread::Builder::new()
            .name(format!("oracle {}", config.route))
            .spawn(move || {
                let mut state = State { logged_in: None, session: None };
                while let Some(job) = waiting.blocking_recv() {
                    job(&mut state);
                }
                if let Some(session) = state.session.take() {
                    // Whoever wanted to know has closed it by a job.
                    let _ = session.close();
                }
            })
            .map_err(|error| {
                Error::new(Kind::Unavailable, "a thread for the connection cannot be started")
                    .caused_by(error)
            })?;
        let worker = Worker { jobs };
        let patience = connect_timeout(&config.connection);
        let of_thread = config.clone();
        let log_in =
            worker.ask(move |state| LoggedIn::new(&of_thread).map(|made| state.logged_in = Some(made)));
        match tokio::time::timeout(patience, log_in).await {
            Ok(outcome) => outcome??,
            Err(_) => {
                return Err(Error::new(
                    Kind::Unavailable,
                    format!("cannot log in: no answer within {} ms", patience.as_millis()),
                ));
            }
        }
        let cursor = worker
            .ask(move |state| {
                let logged_in = state.logged_in.take().ok_or_else(|| {
                    Error::new(Kind::Internal, "a route is taken over without a connection")
                })?;
                let (session, cursor) = Session::open(logged_in, config)?;
                state.session = Some(session);
                Ok::<_, Error>(cursor)
            })
            .await??;
        Ok((worker, cursor))
    }

    /// Has the thread do something, and waits for it. When this future is dropped, the thread does it all the same.
    pub async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |state| {
            // Nobody waits for it when the future was dropped.
            let _ = answer.send(job(state));
        });
        let ended = || Error::new(Kind::Internal, "the thread of the oracle connection has ended");
        self.jobs.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }
}
