//! Pipelines under control: started, stopped, paused, sent to another place, and helped past a row that fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Engine, Running, start_mines, stop_idle_mines};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::lang::diagnostic::did_you_mean;
use crate::model::position::{Cursor, Seq};
use crate::model::spec::{Place, Start};
use crate::plan::PipelinePlan;
use crate::run::pipeline::{Halt, Pipeline};
use crate::run::route::{Route, RouteState};
use crate::run::signal::Wish;

/// How long a source may take to find the place that a pipeline is sent to.
const FIND_PATIENCE: Duration = Duration::from_secs(60);
/// How long a sink may take to note the place before the answer says that it has not.
const REWIND_PATIENCE: Duration = Duration::from_secs(30);

/// Where a route of a pipeline goes on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RoutePlace {
    /// The route, by its key.
    pub route: String,
    /// The place.
    pub cursor: Cursor,
}

/// A change that a route of a pipeline leaves out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// The route, by its key.
    pub route: String,
    /// The entry of the change.
    pub at: Option<Seq>,
    /// What the route failed with.
    pub error: String,
}

impl Engine {
    /// Starts a pipeline of the plan that was stopped or paused, has failed or is finished. It goes on where it ended.
    ///
    /// # Errors
    /// `Refused` when there is none of this name, or when it is running. As [`apply`](Self::apply) otherwise.
    pub async fn start(&self, name: &str) -> Result<()> {
        let mut running = self.running.lock().await;
        let plan = running.planned(name)?;
        let pipeline = running.pipelines.get(name);
        if pipeline.is_some_and(|pipeline| !pipeline.is_over() && pipeline.halt_state().is_none()) {
            return Err(Error::new(Kind::Refused, format!("pipeline {name} is running")));
        }
        self.launch(&mut running, &plan).await
    }

    /// Stops a pipeline when its current batch is written; mines and other pipelines go on. It stays in
    /// the plan, and [`start`](Self::start) lets it go on where it stopped, as long as its log still has that place: a
    /// stopped pipeline holds no history back. [`pause`](Self::pause) does.
    ///
    /// It returns when the pipeline has ended, at the latest after
    /// [`STOP_PATIENCE`](crate::run::route::STOP_PATIENCE): a sink that does not answer is then left alone, and what it was
    /// writing is found out when the pipeline is started again. Dropping the future changes nothing about the wish.
    ///
    /// # Errors
    /// `Refused` when there is none of this name.
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.halt(name, Halt::Stopped).await
    }

    /// Stops a pipeline as [`stop`](Self::stop) does, but keeps its hold on its log: what it has not read stays there, within
    /// the limit that `hold_size` sets. [`resume`](Self::resume) lets it go on.
    ///
    /// # Errors
    /// `Refused` when there is none of this name.
    pub async fn pause(&self, name: &str) -> Result<()> {
        self.halt(name, Halt::Paused).await
    }

    /// Starts a pipeline that was paused.
    ///
    /// # Errors
    /// `Refused` when there is none of this name, or it is not paused. As [`apply`](Self::apply) otherwise.
    pub async fn resume(&self, name: &str) -> Result<()> {
        let mut running = self.running.lock().await;
        let plan = running.planned(name)?;
        if running.pipelines.get(name).and_then(|pipeline| pipeline.halt_state()) != Some(Halt::Paused) {
            return Err(Error::new(Kind::Refused, format!("pipeline {name} is not paused")));
        }
        self.launch(&mut running, &plan).await
    }

    /// Stops a pipeline and starts it anew, in whatever state it is. It goes on where it ends; when its sink does not
    /// answer, the new start waits for the end in the background.
    ///
    /// # Errors
    /// `Refused` when there is none of this name. As [`apply`](Self::apply) otherwise.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let mut running = self.running.lock().await;
        let plan = running.planned(name)?;
        self.launch(&mut running, &plan).await
    }

    /// Where [`rewind`](Self::rewind) would send the routes of a pipeline. Changes nothing.
    ///
    /// # Errors
    /// As [`rewind`](Self::rewind).
    pub async fn preview_rewind(&self, name: &str, to: &Place) -> Result<Vec<RoutePlace>> {
        let (_, found) = self.find_places(name, to).await?;
        Ok(found.into_iter().map(|(route, cursor)| RoutePlace::new(&route, cursor)).collect())
    }

    /// Sends a pipeline back, or forward, to another place, and starts it there: a pipeline that runs is stopped first.
    /// The place lies between two transactions, at or before what was asked for. When this returns Ok, it is the durable
    /// cursor of every route.
    ///
    /// What lies between comes to the sinks again, in order: sinks that write by key end where they would have, once the
    /// pipeline is where it was before; sinks and tables without a key get those rows twice.
    ///
    /// # Errors
    /// `Gap` when the log or source no longer has the place: the oldest that is there is named. `Refused` for a pipeline
    /// that is not there, and for a place that has not come yet, or means nothing to this pipeline. Then nothing was
    /// changed. `Unavailable` when a sink does not take the place in time: the pipeline goes there as soon as it does,
    /// unless lode ends before. As [`apply`](Self::apply) otherwise.
    pub async fn rewind(&self, name: &str, to: &Place) -> Result<Vec<RoutePlace>> {
        let (plan, found) = self.find_places(name, to).await?;
        let mut places = Vec::with_capacity(found.len());
        for (route, cursor) in &found {
            places.push(RoutePlace::new(route, cursor.clone()));
            route.go_to(cursor.clone());
        }
        let routes: Vec<_> = found.into_iter().map(|(route, _)| route).collect();
        {
            let mut running = self.running.lock().await;
            if running.plan.pipelines.get(name).is_none_or(|now| !Arc::ptr_eq(now, &plan)) {
                return Err(Error::new(Kind::Refused, format!("pipeline {name} was changed meanwhile")));
            }
            self.replace(&mut running, name, routes.clone());
        }
        let gone = async {
            for route in &routes {
                if !route.has_gone().await {
                    return Err(not_gone(route));
                }
            }
            Ok(())
        };
        match tokio::time::timeout(REWIND_PATIENCE, gone).await {
            Ok(outcome) => outcome.map(|()| places),
            Err(_) => Err(Error::new(
                Kind::Unavailable,
                format!("pipeline {name} waits for a sink that does not take the new place yet"),
            )
            .advice("it goes there as soon as the sink answers, unless lode is ended before")),
        }
    }

    /// Has a pipeline that failed on one change go on without exactly that change. The change is written to the aside
    /// file of the pipeline, with the error, before it is left out. What is to be left out survives a crash.
    ///
    /// # Errors
    /// `Refused` when there is no pipeline of this name, when it has not failed, and when what it failed on is no single
    /// change. `Environment` when the decision cannot be kept. As [`apply`](Self::apply) otherwise.
    pub async fn skip(&self, name: &str) -> Result<Vec<Skipped>> {
        let mut running = self.running.lock().await;
        let plan = running.planned(name)?;
        let pipeline = running.pipelines.get(name).filter(|pipeline| pipeline.is_over());
        let routes = pipeline.map(|pipeline| pipeline.routes().to_vec()).unwrap_or_default();
        let mut skipped = Vec::new();
        for route in &routes {
            let RouteState::Failed { at, error, .. } = route.state().borrow().clone() else { continue };
            let Some(skip) = route.remedy() else {
                return Err(Error::new(
                    Kind::Refused,
                    format!(
                        "pipeline {name} did not fail on one change, so that none can be left out: {error}"
                    ),
                )
                .advice("mend the cause, and start the pipeline again"));
            };
            route.parts().skips.add(&skip)?;
            skipped.push(Skipped { route: route.parts().sink.key.clone(), at, error });
        }
        if skipped.is_empty() {
            return Err(Error::new(
                Kind::Refused,
                format!("pipeline {name} has not failed, so that there is nothing to leave out"),
            ));
        }
        self.launch(&mut running, &plan).await?;
        Ok(skipped)
    }

    /// The pipelines that somebody stopped or paused.
    pub async fn halted(&self) -> BTreeMap<String, Halt> {
        let running = self.running.lock().await;
        let halts = running
            .pipelines
            .iter()
            .filter_map(|(name, pipeline)| pipeline.halt_state().map(|halt| (name.clone(), halt)));
        halts.collect()
    }

    /// Has [`apply`](Self::apply) not start these pipelines when a plan brings them: somebody halted them in an earlier
    /// run. Starting such a pipeline ends that.
    pub async fn hold_back(&self, halts: BTreeMap<String, Halt>) {
        self.running.lock().await.held_back = halts;
    }

    /// When pipelines that were told to stop have ended, ends the mines that only they needed.
    pub(super) fn reap_later(&self, running: &Running) {
        if running.ending.is_empty() {
            return;
        }
        let (ending, running) = (running.ending.clone(), Arc::downgrade(&self.running));
        tokio::spawn(async move {
            for pipeline in ending {
                pipeline.ended().await;
            }
            if let Some(running) = running.upgrade() {
                stop_idle_mines(&mut *running.lock().await).await;
            }
        });
    }

    async fn halt(&self, name: &str, halt: Halt) -> Result<()> {
        let pipeline = {
            let mut running = self.running.lock().await;
            let pipeline = running.pipelines.get(name).cloned().ok_or_else(|| running.no_pipeline(name))?;
            running.held_back.insert(name.to_owned(), halt);
            pipeline.halt(halt);
            pipeline
        };
        pipeline.ended().await;
        pipeline.let_go_if_stopped();
        Ok(())
    }

    /// Starts a pipeline; its former self, where there is one, is told to end first.
    async fn launch(&self, running: &mut Running, plan: &Arc<PipelinePlan>) -> Result<()> {
        let wanted = running.plan.clone();
        self.open_mines(running, &wanted, std::slice::from_ref(plan)).await?;
        let routes = self.routes(running, plan).context_with(|| format!("in pipeline {}", plan.name))?;
        self.replace(running, &plan.name, routes);
        Ok(())
    }

    fn replace(&self, running: &mut Running, name: &str, routes: Vec<Arc<Route>>) {
        let former = running.pipelines.remove(name);
        if let Some(former) = &former {
            former.tell(Wish::Stop);
        }
        running.held_back.remove(name);
        start_mines(running);
        running.pipelines.insert(name.to_owned(), Pipeline::start_after(name.to_owned(), routes, former));
    }

    /// New routes of a pipeline, each with the place that `to` means for it. They hold their logs from now on.
    async fn find_places(
        &self,
        name: &str,
        to: &Place,
    ) -> Result<(Arc<PipelinePlan>, Vec<(Arc<Route>, Cursor)>)> {
        let (plan, routes) = {
            let mut running = self.running.lock().await;
            let plan = running.planned(name)?;
            let wanted = running.plan.clone();
            self.open_mines(&mut running, &wanted, std::slice::from_ref(&plan)).await?;
            let routes = self.routes(&running, &plan)?;
            (plan, routes)
        };
        let of_one_source =
            matches!(to, Place::Seq { .. } | Place::Start(Start::Gtid(_) | Start::Position { .. }));
        if of_one_source && plan.inputs.len() > 1 {
            return Err(Error::new(
                Kind::Refused,
                format!("pipeline {name} reads several sources, and the place is one of a single source"),
            )
            .advice("name a time"));
        }
        let mut found = Vec::with_capacity(routes.len());
        for route in routes {
            let place = tokio::time::timeout(FIND_PATIENCE, route.parts().origin.place(to)).await;
            let place = place.unwrap_or_else(|_| {
                Err(Error::new(Kind::Unavailable, "the source takes too long to find the place"))
            });
            let place = place.context_with(|| format!("in pipeline {name}"))?;
            found.push((route, place));
        }
        Ok((plan, found))
    }
}

impl RoutePlace {
    fn new(route: &Route, cursor: Cursor) -> RoutePlace {
        RoutePlace { route: route.parts().sink.key.clone(), cursor }
    }
}

impl Running {
    pub(super) fn planned(&self, name: &str) -> Result<Arc<PipelinePlan>> {
        self.plan.pipelines.get(name).cloned().ok_or_else(|| self.no_pipeline(name))
    }

    fn no_pipeline(&self, name: &str) -> Error {
        let known = || self.plan.pipelines.keys().map(String::as_str);
        let error = Error::new(Kind::Refused, format!("there is no pipeline {name}"));
        match did_you_mean(name, known()) {
            Some(near) => error.advice(format!("did you mean {near}?")),
            None => error.advice(format!("the pipelines are: {}", known().collect::<Vec<_>>().join(", "))),
        }
    }
}

/// Why a route ended before it was where it was sent.
fn not_gone(route: &Route) -> Error {
    let key = &route.parts().sink.key;
    match route.state().borrow().clone() {
        RouteState::Failed { kind, error, advice, .. } => {
            let error = Error::new(kind, error).context(format!("route {key} did not go to the new place"));
            advice.into_iter().fold(error, Error::advice)
        }
        _ => Error::new(Kind::Refused, format!("route {key} was stopped before it went to the new place")),
    }
}
