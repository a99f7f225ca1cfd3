//! A running pipeline: its routes, which start together, and end together when one of them fails.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::route::{Route, RouteState};
use super::signal::{Control, Wish};

/// One pipeline from its start to its end. Starting it again makes a new one.
pub struct Pipeline {
    name: String,
    routes: Vec<Arc<Route>>,
    control: Control,
}

impl Pipeline {
    /// Starts all routes.
    pub fn start(name: String, routes: Vec<Arc<Route>>) -> Arc<Pipeline> {
        let control = Control::default();
        tokio::spawn(supervise(routes.clone(), control.clone()));
        Arc::new(Pipeline { name, routes, control })
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

    /// Waits until every route has ended: its sink is closed, and nothing more is written. Cancel-safe.
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
