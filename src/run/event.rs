//! What happens in a running engine, for whoever listens.

use serde::Serialize;
use tokio::sync::broadcast;

/// Log target of failures for good, which are also in the states: whoever shows the states can leave these lines out.
pub const FAILURES: &str = "lode::failure";

/// Events that wait for a slow listener; older ones are lost to it, and it is told how many.
const WAITING_MAX: usize = 1024;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A mine does something else than before.
    Mine {
        /// Its name.
        mine: String,
        /// What it does now.
        state: super::mine::MineState,
    },
    /// A pipeline's route does something else than before.
    Route {
        /// The pipeline.
        pipeline: String,
        /// The route, by its key.
        route: String,
        /// What it does now.
        state: super::route::RouteState,
    },
    /// A row was set aside because a hook failed on it.
    Aside {
        /// The pipeline.
        pipeline: String,
        /// Why.
        error: String,
    },
    /// A transaction too large for one block is being read; told each time that it has become twice as large.
    Transaction {
        /// The mine.
        mine: String,
        /// Its changes so far.
        rows: u64,
    },
    /// An alert fires, still fires, or is resolved.
    Alert(super::alert::Told),
    /// A hook tells people something.
    Notice {
        /// What.
        text: String,
    },
    /// A hook that acts has failed, or was not run.
    Hook {
        /// For what it was to run: `lag of sales`, `every 1h`.
        name: String,
        /// Why.
        error: String,
    },
}

/// The sending side, shared by everything that runs.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Events(broadcast::Sender::new(WAITING_MAX))
    }
}

impl Events {
    /// Tells all listeners; without any, nothing happens.
    pub fn tell(&self, event: Event) {
        let _ = self.0.send(event);
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
