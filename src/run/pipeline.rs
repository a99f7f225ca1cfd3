//! A running pipeline: its routes, which start together, and end together when one of them fails.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::route::{Route, RouteState};
use super::signal::{Control, Wish};

/// One pipeline from its start to its end. Starting it again makes a new one.
pub struct Pipeline {
    name: String,
    routes: Vec<Arc<Route>>,
    control: Control,
    halt: Mutex<Option<Halt>>,
}

/// Why a pipeline does not run though it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// Stopped for good: its log drops what retention does not keep, also what the pipeline has not read.
    Stopped,
    /// Stopped for a while: its log keeps what the pipeline has not read, as for a running one.
    Paused,
}

impl Pipeline {
    /// Starts all routes.
    pub fn start(name: String, routes: Vec<Arc<Route>>) -> Arc<Pipeline> {
        Pipeline::start_after(name, routes, None)
    }

    /// Starts all routes in the background, when `former`, which was told to stop, has ended: its sinks are closed, and
    /// nothing more is written by it.
    pub fn start_after(
        name: String,
        routes: Vec<Arc<Route>>,
        former: Option<Arc<Pipeline>>,
    ) -> Arc<Pipeline> {
        let pipeline =
            Arc::new(Pipeline { name, routes, control: Control::default(), halt: Mutex::default() });
        let (routes, control) = (pipeline.routes.clone(), pipeline.control.clone());
        match former.filter(|former| !former.is_over()) {
            None => drop(tokio::spawn(supervise(routes, control))),
            Some(former) => {
                for route in &routes {
                    route.wait_for(format!("the former {} is ending", former.name));
                }
                tokio::spawn(async move {
                    former.ended().await;
                    drop(former);
                    supervise(routes, control).await;
                });
            }
        }
        pipeline
    }

    /// A pipeline that is wanted and does not run.
    pub fn halted(name: String, routes: Vec<Arc<Route>>, halt: Halt) -> Arc<Pipeline> {
        let pipeline = Pipeline { name, routes, control: Control::default(), halt: Mutex::default() };
        pipeline.routes.iter().for_each(|route| route.leave_stopped());
        pipeline.halt(halt);
        pipeline.let_go_if_stopped();
        Arc::new(pipeline)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its routes.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Tells all routes.
    pub fn tell(&self, wish: Wish) {
        self.control.tell(wish);
    }

    /// Stops it because somebody wished so. What becomes of the history that it has not read follows from how: a pipeline
    /// that is paused keeps its hold on it; one that is stopped lets go when it has [`ended`](Self::ended).
    pub fn halt(&self, halt: Halt) {
        *self.halt.lock().unwrap_or_else(PoisonError::into_inner) = Some(halt);
        self.routes.iter().for_each(|route| route.progress().let_go(false));
        self.tell(Wish::Stop);
    }

    /// Lets retention drop what it has not read, when it has ended and was stopped for good.
    pub fn let_go_if_stopped(&self) {
        if self.halt_state() == Some(Halt::Stopped) && self.is_over() {
            self.routes.iter().for_each(|route| route.progress().let_go(true));
        }
    }

    /// Whether somebody stopped it, and how.
    pub fn halt_state(&self) -> Option<Halt> {
        *self.halt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every route has ended: its sink is closed, and nothing more is written. After the wish to stop, that
    /// is within [`STOP_PATIENCE`](super::route::STOP_PATIENCE), and as long again for each former one that it waits for.
    /// Cancel-safe.
    pub async fn ended(&self) {
        for route in &self.routes {
            // The route, which is alive here, is the sender.
            let _ = route.state().wait_for(RouteState::is_over).await;
        }
    }

    /// Whether every route has ended.
    pub fn is_over(&self) -> bool {
        self.routes.iter().all(|route| route.state().borrow().is_over())
    }
}

async fn supervise(routes: Vec<Arc<Route>>, control: Control) {
    let mut running = JoinSet::new();
    for route in routes {
        let listener = control.listen();
        running.spawn(async move {
            let run = tokio::spawn(Arc::clone(&route).run(listener));
            if let Err(panic) = run.await {
                let advice = "please report this with the log of the run";
                route.fail(format!("lode is at fault: {panic}"), advice.to_owned());
            }
            matches!(*route.state().borrow(), RouteState::Failed { .. })
        });
    }
    while let Some(ended) = running.join_next().await {
        if ended.unwrap_or(true) {
            control.tell(Wish::Stop);
        }
    }
}
