//! Whether everything that is to run is at work, for whoever supervises the process.

use serde::{Deserialize, Serialize};

use super::Engine;
use super::status::Status;
use crate::run::mine::MineState;
use crate::run::route::RouteState;

/// Whether everything is at work, and what is not. It names no errors: those may name rows, and are for who may ask
/// for the [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether every mine reads, or has read everything there is, and every route delivers, or has delivered everything.
    pub ready: bool,
    /// What is not at work.
    pub not_ready: Vec<NotReady>,
}

/// Something that is not at work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum NotReady {
    /// No plan was carried out yet, or one is being carried out just now.
    Engine,
    /// A mine. One that somebody stopped is not at work either: its pipelines wait.
    Mine {
        /// Its name.
        mine: String,
        /// The name of its state, as in the [`Status`].
        state: String,
    },
    /// A route of a pipeline that nobody has stopped or paused.
    Route {
        /// The pipeline.
        pipeline: String,
        /// The route, by its key.
        route: String,
        /// The name of its state, as in the [`Status`].
        state: String,
    },
}

impl Engine {
    /// Whether everything is at work. It waits while what runs is being changed. Cancel-safe.
    pub async fn readiness(&self) -> Readiness {
        let has_begun = self.running.lock().await.has_begun;
        let found = not_ready(&self.status().await);
        let not_ready = if has_begun { found } else { vec![NotReady::Engine] };
        Readiness { ready: not_ready.is_empty(), not_ready }
    }
}

fn not_ready(status: &Status) -> Vec<NotReady> {
    let mines =
        status.mines.iter().filter(|mine| !matches!(mine.state, MineState::Running | MineState::Ended));
    let mines =
        mines.map(|mine| NotReady::Mine { mine: mine.name.clone(), state: mine.state.name().to_owned() });
    let wanted = status.pipelines.iter().filter(|pipeline| pipeline.halt.is_none());
    let routes = wanted.flat_map(|pipeline| {
        let idle = pipeline
            .routes
            .iter()
            .filter(|route| !matches!(route.state, RouteState::Running | RouteState::Finished));
        idle.map(|route| NotReady::Route {
            pipeline: pipeline.name.clone(),
            route: route.key.clone(),
            state: route.state.name().to_owned(),
        })
    });
    mines.chain(routes).collect()
}
