//! Hooks that act: what alerts and schedules run.
//!
//! Such a hook sees what has happened, as variables in a block and as the one argument of a function, and may act by
//! the functions of [`functions`]. It runs beside the flow of changes: on a thread that may block, bounded in
//! operations, computing time, memory and calls; each call is bounded in time by the [`Host`] that carries it out.

mod functions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rhai::{AST, Dynamic, Engine, Map, Module, Position, Scope};
use serde_json::Value;

use super::compile::{self, Places, Purpose};
use super::engine::{self, Ended, Limits, OPERATIONS_PER_LOOK};
use super::error::{HookError, Problem};
use super::json;
use super::reach::reached;
use crate::error::Result;
use crate::model::hook::{Hook, HookCode};
use crate::model::message::{Mail, Webhook};

pub use self::functions::{CALLS_MAX, FUNCTIONS, Function};
pub(super) use self::functions::{Grants, acts_on_no_row, is_acting};

use self::functions::Exchange;

/// Operations of Rhai that one run may use.
pub const OPERATIONS_MAX: u64 = 10_000_000;
/// Computing time of one run, in milliseconds. What it waits for others does not count.
pub const TIME_MAX_MS: u64 = 10_000;
/// Bytes of a text that such a hook reads or makes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Items of an array, and bytes of a blob.
pub const ARRAY_ITEMS_MAX: usize = 100_000;
/// Entries of an object map.
pub const MAP_ENTRIES_MAX: usize = 10_000;

const LIMITS: Limits = Limits {
    operations: OPERATIONS_MAX,
    text_bytes: TEXT_BYTES_MAX,
    items: ARRAY_ITEMS_MAX,
    map_entries: MAP_ENTRIES_MAX,
    run: "in one run",
};

/// What an acting hook may ask of its surroundings. Every call may block, and is bounded in time by whoever carries it
/// out; an error becomes one of the hook, which may catch it.
pub trait Host: Send + Sync {
    /// Tells people: an event of the engine, a line of the log and of the prompt.
    ///
    /// # Errors
    /// When nobody can be told any more.
    fn notify(&self, text: &str) -> Result<()>;

    /// Writes a line of the log.
    fn log(&self, text: &str);

    /// Sends a mail by a connection. Ok says that the server has accepted it.
    ///
    /// # Errors
    /// When there is no such connection, or the server does not take the mail.
    fn mail(&self, connection: &str, mail: &Mail) -> Result<()>;

    /// Calls another service. Ok says that it answered with success.
    ///
    /// # Errors
    /// When it cannot be reached, or answers otherwise.
    fn webhook(&self, call: &Webhook) -> Result<()>;

    /// The figures of a pipeline or mine.
    ///
    /// # Errors
    /// When there is none of this name.
    fn stats(&self, name: &str) -> Result<Value>;

    /// Carries out a command, confirmed; gives what it answers people.
    ///
    /// # Errors
    /// When it is wrong, or could not be carried out.
    fn command(&self, line: &str) -> Result<String>;
}

/// What such a hook is run for; each gives it other facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// An alert that fires or is resolved.
    Alert,
    /// A time of a schedule.
    Schedule,
}

impl Occasion {
    /// The variables that a block sees; the first is the map with all others, which a function gets.
    ///
    /// An alert has its `name`, `metric`, `value` and `threshold` (durations in milliseconds, sizes in bytes),
    /// `pipeline`, `mine` and `table` (`()` where it concerns none), `since` (a time in RFC 3339), `message` and
    /// `resolved`. A schedule has its `name`, as it is written, and the `time` that has come.
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Occasion::Alert => &[
                "alert",
                "name",
                "metric",
                "value",
                "threshold",
                "pipeline",
                "mine",
                "table",
                "since",
                "message",
                "resolved",
            ],
            Occasion::Schedule => &["schedule", "name", "time"],
        }
    }
}

/// What has happened, by the names of [`Occasion::variables`] but the first; what is missing is `()`.
pub type ActFacts = serde_json::Map<String, Value>;

/// A hook that is ready to act.
pub struct ActingHook {
    engine: Engine,
    ast: AST,
    exchange: Arc<Exchange>,
    places: Places,
    occasion: Occasion,
    connections: Vec<String>,
    mentioned: Vec<String>,
}

impl ActingHook {
    /// Compiles a hook with the modules that it calls. `connections` are the names of connections that mail is sent by;
    /// they are constants in blocks and functions.
    ///
    /// # Errors
    /// As [`compile`](super::compile()), and when a module calls what it is not allowed to.
    pub fn compile(hook: &Hook, occasion: Occasion, connections: &[String]) -> Result<ActingHook, HookError> {
        let places = Places::new(hook, &LIMITS);
        let text = match &hook.code {
            HookCode::Block(text) => Arc::clone(text),
            HookCode::Call { module, function } => {
                format!("{module}::{function}({});", occasion.variables()[0]).into()
            }
        };
        let mut scope = Scope::new();
        let names: Vec<&str> =
            connections.iter().map(String::as_str).chain(occasion.variables().iter().copied()).collect();
        for name in &names {
            scope.push_dynamic(*name, Dynamic::UNIT);
        }
        let mut ast = compile::parse_block(hook, &text, &scope).map_err(|error| {
            let problem = compile::parse_problem(hook, &error, &names, Purpose::Acts);
            places.error(None, error.position(), problem)
        })?;
        let parser = engine::bare(&LIMITS);
        let modules = compile::load_modules(&parser, hook, &places, &ast, Purpose::Acts)?;
        let variables = reached(&ast, &modules).variables;
        let mentioned = connections.iter().filter(|name| variables.contains(*name)).cloned().collect();
        let exchange = Arc::new(Exchange::new(hook));
        let mut engine = engine::bare(&LIMITS);
        functions::register(&mut engine, &exchange);
        let mut constants = Module::new();
        for name in connections {
            constants.set_var(name.as_str(), name.clone());
        }
        engine.register_global_module(constants.into());
        watch(&mut engine, &exchange);
        compile::register_modules(&mut engine, modules, &places)?;
        ast.set_source("");
        let connections = connections.to_vec();
        Ok(ActingHook { engine, ast, exchange, places, occasion, connections, mentioned })
    }

    /// The connections that its code names, and the functions that it calls.
    pub fn mentioned(&self) -> &[String] {
        &self.mentioned
    }

    /// Runs it, and blocks for as long as it takes. What it did before an error stays done.
    ///
    /// # Errors
    /// When the code fails, exceeds a limit, or does not catch an error of the host.
    #[tracing::instrument(name = "hook", level = "trace", target = "lode::spans", skip_all)]
    pub fn run(&mut self, facts: &ActFacts, host: &Arc<dyn Host>) -> Result<(), HookError> {
        let mut scope = self.scope(facts);
        self.exchange.begin(host);
        let (engine, ast) = (&self.engine, &self.ast);
        let result =
            catch_unwind(AssertUnwindSafe(|| engine.eval_ast_with_scope::<Dynamic>(&mut scope, ast)));
        self.exchange.end();
        let problem = match result {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => match self.places.explain(*error) {
                Ok(error) => return Err(error),
                Err(Ended::Skipped | Ended::Outside) => return Ok(()),
                Err(Ended::OutOfTime) => {
                    Problem::new(format!("the hook computed longer than {TIME_MAX_MS} ms in one run"))
                        .advice("look for a loop that does not end")
                }
            },
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                Problem::new(format!("lode panicked in the hook: {said}")).advice("please report this")
            }
        };
        Err(self.places.error(None, Position::NONE, problem))
    }

    fn scope(&self, facts: &ActFacts) -> Scope<'static> {
        let mut scope = Scope::new();
        for name in &self.connections {
            scope.push_constant(name.as_str(), name.clone());
        }
        let all: Map = facts
            .iter()
            .map(|(name, value)| (name.as_str().into(), json::from_json(value.clone())))
            .collect();
        let variables = self.occasion.variables();
        let missing = variables[1..].iter().filter(|name| !all.contains_key(**name));
        let missing: Vec<_> = missing.map(|name| ((*name).into(), Dynamic::UNIT)).collect();
        let all: Map = all.into_iter().chain(missing).collect();
        scope.push(variables[0], all.clone());
        for name in &variables[1..] {
            scope.push_dynamic(*name, all.get(*name).cloned().unwrap_or_default());
        }
        scope
    }
}

impl std::fmt::Debug for ActingHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActingHook").field("places", &self.places).finish_non_exhaustive()
    }
}

/// Ends a run that computes for too long.
fn watch(engine: &mut Engine, exchange: &Arc<Exchange>) {
    let exchange = Arc::clone(exchange);
    engine.on_progress(move |operations| {
        let look = operations % OPERATIONS_PER_LOOK == 1;
        (look && exchange.computed_ms() > TIME_MAX_MS).then(|| Dynamic::from(Ended::OutOfTime))
    });
}
