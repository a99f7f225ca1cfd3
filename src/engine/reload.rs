//! Hot reload: the scripts that run, read again, or others; and mines that go on with other settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::reply::Reply;
use super::scripts::{How, Wanted, no_script};
use super::{Engine, Running, RunningMine};
use crate::check::{AsRead, Input, Source};
use crate::error::{Error, Kind, Result, ResultExt};
use crate::lang::print::quote;
use crate::plan::{MinePlan, PipelinePlan, Plan, Through};
use crate::run::signal::{Control, Wish};

impl Engine {
    /// Compares what runs with a script, or makes it equal. A script with errors changes nothing.
    pub(super) async fn reload(&self, file: Option<&str>, apply: bool) -> Result<Reply> {
        let _changing = self.changing.lock().await;
        let known = self.scripts().input();
        let mut notes = Vec::new();
        let typed = known.as_ref().map_or(0, Input::typed_count);
        let input = match (file, known) {
            (Some(file), known) => {
                if typed > 0 {
                    notes.push("what was typed is left out, as another script takes its place".to_owned());
                }
                let known = known.unwrap_or_else(|| Input::new("/"));
                Input { scripts: vec![Source::File(PathBuf::from(file))], read: AsRead::default(), ..known }
            }
            (None, Some(known)) => {
                if typed > 0 {
                    notes.push("what was typed stays, on top of the scripts as they are now".to_owned());
                }
                Input { read: AsRead::default(), ..known }
            }
            (None, None) => return Err(no_script("read again")),
        };
        let checked = self.load(&input);
        if let Some(model) = &checked.model
            && model.pipelines.is_empty()
        {
            return Err(Error::new(
                Kind::Refused,
                "the script declares no pipeline, so that nothing would run any more",
            )
            .advice("stop what is not to run, or end lode"));
        }
        let what = match file {
            Some(file) => format!("apply {}", quote(file)),
            None => "apply".to_owned(),
        };
        let how = if apply { How::Do } else { How::Show };
        self.change(Wanted { what, input, checked, notes }, how).await
    }

    /// Makes what runs equal to a script's plan and what was decided by commands.
    pub(super) async fn apply_script(&self, running: &mut Running, script: Plan) -> Result<()> {
        let held_back: Vec<_> = {
            let halted = &self.decided(running)?.pipelines;
            halted.iter().map(|(name, halted)| (name.clone(), halted.halt)).collect()
        };
        for (name, halt) in held_back {
            running.held_back.entry(name).or_insert(halt);
        }
        let (wanted, notes) = self.with_edits(running, script.clone())?;
        self.carry_plan_out(running, wanted.plan).await?;
        running.script = script;
        self.forget_edits(running, &wanted.overtaken)?;
        notes.iter().for_each(|note| tracing::info!("{note}"));
        Ok(())
    }

    /// Puts mines with new settings in the places of the old ones, which are given back.
    pub(super) fn renew_mines(
        &self,
        running: &mut Running,
        renewed: BTreeMap<String, Arc<MinePlan>>,
    ) -> Result<BTreeMap<String, RunningMine>> {
        let mut fresh = Vec::with_capacity(renewed.len());
        for (key, plan) in renewed {
            let Some(mine) = running.mines.get(&key) else { continue };
            let source = self.source(&plan.connection).context_with(|| format!("in mine {}", plan.name))?;
            fresh.push((key, self.make_mine(&plan, source, mine.place())));
        }
        let replaced = fresh.into_iter().filter_map(|(key, mine)| {
            let former = running.mines.insert(key.clone(), mine)?;
            Some((key, former))
        });
        Ok(replaced.collect())
    }
}

impl Running {
    /// The running mines for which a plan says something else, by their keys.
    pub(super) fn mines_to_renew(&self, plan: &Plan) -> Result<BTreeMap<String, Arc<MinePlan>>> {
        let mut renewed = BTreeMap::new();
        for (key, running) in &self.mines {
            let Some(wanted) = plan.mines.get(key).filter(|wanted| **wanted != running.plan) else {
                continue;
            };
            let place = |plan: &MinePlan| {
                let store = plan.store.as_ref().map(|store| (store.kind, store.endpoint.clone()));
                (store, plan.log.clone())
            };
            if place(wanted) != place(&running.plan) {
                let what = format!(
                    "mine {key} would keep its log in another place, and its pipelines' cursors are of the one that it has"
                );
                return Err(Error::new(Kind::Refused, what)
                    .advice("leave its log where it is; or end lode and run the new script, with new targets or `rewind`"));
            }
            renewed.insert(key.clone(), Arc::clone(wanted));
        }
        Ok(renewed)
    }

    /// Whether a pipeline reads through the mine with this key.
    pub(super) fn reads_through(&self, pipeline: &PipelinePlan, key: &str) -> bool {
        pipeline.inputs.iter().any(|input| match &input.through {
            Through::Log(mine) => self.key_of(&mine.connection.name) == key,
            Through::Direct => false,
        })
    }

    /// Has each mine begin when the former one in its place has ended.
    pub(super) fn hand_mines_over(&mut self, formers: BTreeMap<String, RunningMine>) {
        for (key, mut former) in formers {
            former.control.tell(Wish::Drain);
            let Some(mine) = self.mines.get_mut(&key) else { continue };
            let over = former.mine.state().borrow().is_over();
            // One that is over starts with the others, or stays as it is.
            if let Some(task) = former.task.take().filter(|_| !over) {
                mine.control = Control::default();
                mine.task = Some(mine.mine.start_after(task, mine.control.listen()));
            }
        }
    }
}
