//! Alerts on the bench: figures that a test gives are looked at second by second, in simulated time, and hooks run for what
//! fires. What they do is written down, and nothing else happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::check::SENDING;
use crate::check::model::{Action, Measure, Metric, Subject};
use crate::check::testing::{Cell, Figure};
use crate::error::Result;
use crate::hook::HookError;
use crate::hook::act::{ActingHook, Host, Occasion};
use crate::model::hook::{Hook, HookCode};
use crate::model::message::{Mail, Webhook};
use crate::model::value::Value;
use crate::plan::Plan;
use crate::run::alert::{Fact, Observation, Seen, Told, Watch, Whom, actions, rules};

use super::bench::FIRST_MS;

/// Times that figures are looked at while they hold; a longer time has longer steps.
const LOOKS_MAX: u64 = 10_000;
/// Acts of hooks that a test keeps.
const ACTS_MAX: usize = 10_000;

/// The alerts of a plan.
pub(super) struct Alarm<'a> {
    plan: &'a Plan,
    watch: Watch,
    seen: Observation,
    said: Arc<Said>,
}

/// Something that happened for an alert, in the words of a test.
#[derive(Clone, Debug)]
pub(super) struct Act {
    /// `alerts::page`, `mail`, `pause shop.orders`
    pub act: String,
    /// Its facts, or what it has.
    pub parts: Vec<(String, Cell)>,
    /// The run that it belongs to.
    run: u64,
}

impl<'a> Alarm<'a> {
    pub fn new(plan: &'a Plan) -> Alarm<'a> {
        let mut watch = Watch::default();
        watch.set_rules(rules(plan));
        let seen = Observation { at_ms: FIRST_MS, seen: Vec::new() };
        Alarm { plan, watch, seen, said: Arc::default() }
    }

    /// Has a figure hold for its time.
    ///
    /// # Errors
    /// When a hook that runs for it fails.
    pub fn give(&mut self, figure: &Figure) -> std::result::Result<(), HookError> {
        for whom in self.whoms(&figure.of) {
            let at = self.place(whom);
            set(&mut self.seen.seen[at], figure);
        }
        let hold_ms = u64::try_from(figure.hold.as_millis()).unwrap_or(u64::MAX);
        let step_ms = (hold_ms / LOOKS_MAX).max(1000);
        self.look(Duration::from_secs(1))?;
        let mut left_ms = hold_ms;
        while left_ms > 0 {
            let step = step_ms.min(left_ms);
            self.look(Duration::from_millis(step))?;
            left_ms -= step;
        }
        Ok(())
    }

    /// The next act that fits the word: one of the run that was looked at last, or the beginning of the next one.
    pub fn take(&mut self, act: &str) -> Option<Act> {
        let mut log = self.said.log();
        let run = log.run;
        let here = log.acts.iter().position(|said| said.run == run && said.act == act);
        let place = here.or_else(|| {
            let next = log.acts.iter().find(|said| said.run > run)?.run;
            log.acts.iter().position(|said| said.run == next && said.act == act)
        })?;
        let taken = log.acts.remove(place)?;
        log.run = taken.run;
        // What was passed over is not waited for any more.
        log.acts.drain(..place);
        Some(taken)
    }

    /// The beginning of the next run that nobody has looked at.
    pub fn peek(&self) -> Option<Act> {
        let log = self.said.log();
        log.acts.iter().find(|said| said.run > log.run).cloned()
    }

    /// What could be taken next: what is left of the run that was looked at last, and the next one.
    pub fn next(&self) -> Vec<Act> {
        let log = self.said.log();
        let next = log.acts.iter().map(|said| said.run).find(|run| *run > log.run);
        log.acts.iter().filter(|said| said.run == log.run || Some(said.run) == next).cloned().collect()
    }

    fn look(&mut self, step: Duration) -> std::result::Result<(), HookError> {
        self.seen.at_ms = self.seen.at_ms.saturating_add_unsigned(step.as_millis() as u64);
        for told in self.watch.look(&self.seen) {
            let Some(rule) = self.watch.rule(&told.rule) else { continue };
            for action in actions(&told, rule, self.plan) {
                self.run(&told, action)?;
            }
        }
        Ok(())
    }

    fn run(&self, told: &Told, action: Option<&Action>) -> std::result::Result<(), HookError> {
        self.said.begin();
        match action {
            None => {
                self.said.add("notify", vec![text_part("text", &told.message)]);
                Ok(())
            }
            Some(Action::Command(command)) => {
                self.said.add(&command.to_string(), Vec::new());
                Ok(())
            }
            Some(Action::Hook(hook)) => self.run_hook(told, hook),
        }
    }

    fn run_hook(&self, told: &Told, hook: &Hook) -> std::result::Result<(), HookError> {
        let facts = told.facts();
        if let HookCode::Call { module, function } = &hook.code {
            let parts = facts.iter().map(|(name, value)| (name.clone(), cell(value))).collect();
            self.said.add(&format!("{module}::{function}"), parts);
        }
        let sending = self.plan.connections.values().filter(|connection| SENDING.contains(&connection.kind));
        let connections: Vec<String> = sending.map(|connection| connection.name.clone()).collect();
        let host: Arc<dyn Host> = Arc::clone(&self.said) as Arc<dyn Host>;
        ActingHook::compile(hook, Occasion::Alert, &connections)?.run(&facts, &host)
    }

    /// Whose figure it is; that of a table's transaction is also one of its mine.
    fn whoms(&self, of: &Subject) -> Vec<(Whom, Option<String>)> {
        match of {
            Subject::Pipeline(name) => vec![(Whom::Pipeline(name.clone()), None)],
            Subject::Mine(connection) => vec![(Whom::Mine(connection.clone()), None)],
            Subject::Tables { connection, tables } => {
                let named = |table: &String| Whom::Table { mine: connection.clone(), table: table.clone() };
                let each = tables.include.iter().map(|pattern| named(&pattern.0));
                let mut whoms: Vec<_> = each.map(|table| (table, Some(tables.database.clone()))).collect();
                whoms.push((Whom::Mine(connection.clone()), None));
                whoms
            }
        }
    }

    fn place(&mut self, (whom, database): (Whom, Option<String>)) -> usize {
        let seen = &mut self.seen.seen;
        seen.iter().position(|seen| seen.whom == whom).unwrap_or_else(|| {
            seen.push(Seen { database, ..Seen::of(whom) });
            seen.len() - 1
        })
    }
}

/// Puts a figure where alerts look for it.
fn set(seen: &mut Seen, figure: &Figure) {
    let number = match figure.value {
        Some(Measure::Count(number) | Measure::Size(number)) => number,
        Some(Measure::Time(time)) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        None => 0,
    };
    let fact = || match &figure.reason {
        Some(reason) => Fact::Yes(reason.clone()),
        None => Fact::No,
    };
    match figure.metric {
        Metric::Lag => seen.lag_ms = Some(number),
        Metric::Rps => seen.rows_per_s = Some(number as f64),
        Metric::Retries => seen.retries = Some(number),
        Metric::Horizon => seen.horizon_ms = Some(number),
        Metric::StoreSize => seen.store_bytes = Some(number),
        Metric::BigTransaction => {
            seen.transaction_rows = Some(number);
            if let Subject::Tables { connection, tables } = &figure.of {
                let table = tables.include.first().map(|table| table.0.clone()).unwrap_or_default();
                let table = Whom::Table { mine: connection.clone(), table };
                seen.transaction_table = Some(table.to_string());
            }
        }
        Metric::Silent => seen.silent_ms = Some(number),
        Metric::ClockSkew => seen.clock_skew_ms = Some(number),
        Metric::SinkLatency => seen.sink_ms = Some(number),
        Metric::Error => seen.error = fact(),
        Metric::Waiting => seen.waiting = fact(),
        Metric::Gap => seen.gap = fact(),
        Metric::Stopped => seen.stopped = fact(),
        Metric::StoreFull => seen.store_full = fact(),
        // It stands for other alerts, and has no figure; the check refuses it.
        Metric::Alert => {}
    }
}

/// What hooks did.
#[derive(Default)]
struct Said {
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    acts: VecDeque<Act>,
    /// The newest run.
    runs: u64,
    /// The run that a test has looked at last.
    run: u64,
}

impl Said {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        self.log().runs += 1;
    }

    fn add(&self, act: &str, parts: Vec<(String, Cell)>) {
        let mut log = self.log();
        if log.acts.len() >= ACTS_MAX {
            log.acts.pop_front();
        }
        let run = log.runs;
        log.acts.push_back(Act { act: act.to_owned(), parts, run });
    }
}

impl Host for Said {
    fn notify(&self, text: &str) -> Result<()> {
        self.add("notify", vec![text_part("text", text)]);
        Ok(())
    }

    fn log(&self, text: &str) {
        self.add("log", vec![text_part("text", text)]);
    }

    fn mail(&self, connection: &str, mail: &Mail) -> Result<()> {
        let mut parts = vec![text_part("connection", connection)];
        match mail.to.as_slice() {
            [] => {}
            [one] => parts.push(text_part("to", one)),
            several => parts.push(("to".to_owned(), cell(&json!(several)))),
        }
        match &mail.facts {
            Some(facts) => parts.push(("facts".to_owned(), cell(&json!(facts)))),
            None => parts.extend([text_part("subject", &mail.subject), text_part("text", &mail.text)]),
        }
        self.add("mail", parts);
        Ok(())
    }

    fn webhook(&self, call: &Webhook) -> Result<()> {
        let mut parts = vec![text_part("url", &call.url), ("body".to_owned(), cell(&call.body))];
        if !call.options.is_empty() {
            parts.push(("options".to_owned(), cell(&json!(call.options))));
        }
        self.add("webhook", parts);
        Ok(())
    }

    /// There are none on the bench: a figure that a hook asks for is `()`.
    fn stats(&self, _name: &str) -> Result<Json> {
        Ok(json!({}))
    }

    fn command(&self, line: &str) -> Result<String> {
        self.add(line, Vec::new());
        Ok(String::new())
    }
}

fn text_part(name: &str, text: &str) -> (String, Cell) {
    (name.to_owned(), Cell::Value(Value::Text(text.to_owned().into())))
}

fn cell(value: &Json) -> Cell {
    Cell::Value(match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Decimal(number.to_string().into()),
        Json::String(text) => Value::Text(text.clone().into()),
        document => Value::Json(document.to_string().into()),
    })
}
