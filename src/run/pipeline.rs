//! A running pipeline: its routes, which start together, and end together when one of them fails.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{JoinHandle, JoinSet};

use super::route::{Route, RouteState};
use super::signal::{Control, Wish};

/// One pipeline from its start to its end. Starting it again makes a new one.
pub struct Pipeline {
    name: String,
    routes: Vec<Arc<Route>>,
    control: Control,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Pipeline {
    /// Starts all routes.
    pub fn start(name: String, routes: Vec<Arc<Route>>) -> Arc<Pipeline> {
        let control = Control::default();
        let task = tokio::spawn(supervise(routes.clone(), control.clone()));
        Arc::new(Pipeline { name, routes, control, task: Mutex::new(Some(task)) })
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

    /// Waits until every route has ended. Only the first caller waits; cancel-safe no more than once.
    pub async fn ended(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A panic of a route was turned into its state by `supervise`.
            let _ = task.await;
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
                route.fail(format!("lode is at fault: {panic}; please report this with the log of the run"));
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
