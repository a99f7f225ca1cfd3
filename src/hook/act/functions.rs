//! The functions by which hooks act.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rhai::{Array, Dynamic, Engine, INT, ImmutableString, Map, NativeCallContext};
use serde_json::Value;

use super::super::engine::clock_us;
use super::super::error::{Outcome, Problem};
use super::super::json;
use super::Host;
use crate::error::Result;
use crate::model::hook::{Grant, Hook};
use crate::model::message::{Mail, Webhook};

/// Calls of these functions that one run may make.
pub const CALLS_MAX: u64 = 100;

/// A function that acts.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The forms in which it is called, one a line.
    pub signature: &'static str,
    /// What it does, in a sentence.
    pub meaning: &'static str,
    /// How it is used.
    pub example: &'static str,
    /// What a module must be allowed; `None` is always allowed.
    pub grant: Option<Grant>,
    /// With how many arguments it may be called.
    arguments: (usize, usize),
}

macro_rules! functions {
    ($($name:literal $arguments:expr, $grant:expr, $signature:literal, $meaning:literal, $example:literal;)*) => {
        /// Every function by which hooks act.
        pub const FUNCTIONS: &[Function] = &[
            $(Function {
                name: $name, arguments: $arguments, grant: $grant,
                signature: $signature, meaning: $meaning, example: $example,
            },)*
        ];
    };
}

functions! {
    "notify" (1, 1), None, "notify(text)", "Tells people: an event, a line of the log and of the prompt.", "notify(message)";
    "log" (1, 1), None, "log(text)", "Writes a line of the log.", "log(`${pipeline}: ${message}`)";
    "mail" (2, 4), Some(Grant::Mail), "mail(connection, to, subject, text)\nmail(connection, subject, text)\nmail(connection, facts)", "Sends a mail to an address or an array of them, else to whom the connection names; with a map, made of the connection's template.", "mail(oncall, \"dba@example.test\", name, message)";
    "webhook" (2, 3), Some(Grant::Webhook), "webhook(url, body)\nwebhook(url, body, options)", "Posts a map as JSON to an address, or to a connection of kind webhook, which can sign it; options: `timeout_ms` and `attempts`.", "webhook(\"https://pager.example.test/hook\", #{ summary: message })";
    "stats" (1, 1), Some(Grant::Stats), "stats(name)", "The figures of a pipeline or mine, as a map.", "log(\"rows per second: \" + stats(\"sales\").rps)";
    "pause" (1, 1), Some(Grant::Control), "pause(name)", "Pauses a pipeline, or tables.", "pause(\"shop.big_table\")";
    "resume" (1, 1), Some(Grant::Control), "resume(name)", "Goes on after a pause, without loss.", "resume(\"shop.big_table\")";
    "start" (1, 1), Some(Grant::Control), "start(name)", "Starts a pipeline or mine.", "start(\"orders\")";
    "stop" (1, 1), Some(Grant::Control), "stop(name)", "Stops a pipeline or mine.", "stop(\"orders\")";
    "restart" (1, 1), Some(Grant::Control), "restart(name)", "Stops a pipeline and starts it where it was.", "restart(\"orders\")";
    "skip" (1, 1), Some(Grant::Control), "skip(pipeline)", "Sets the one row aside on which a pipeline has failed.", "skip(\"orders\")";
    "set" (3, 3), Some(Grant::Control), "set(mine, setting, value)", "Changes a setting of a mine that is stopped.", "set(\"shop\", \"retention\", \"5d\")";
    "rewind" (2, 2), Some(Grant::Control), "rewind(pipeline, place)", "Has a pipeline go on from another place.", "rewind(\"orders\", \"earliest\")";
    "apply" (0, 1), Some(Grant::Control), "apply()\napply(file)", "Makes what runs equal to a script.", "apply()";
    "mute" (1, 2), Some(Grant::Control), "mute(alert)\nmute(alert, duration)", "Has an alert tell nobody, for a while or until `unmute`.", "mute(\"lag of orders\", \"1h\")";
    "unmute" (1, 1), Some(Grant::Control), "unmute(alert)", "Has a muted alert tell again.", "unmute(\"lag of orders\")";
    "ack" (1, 1), Some(Grant::Control), "ack(alert)", "Has an alert that fires tell no more until it is resolved.", "ack(\"lag of orders\")";
}

/// Verbs whose one argument is the name of something that runs.
const VERBS_WITH_NAMES: [&str; 6] = ["pause", "resume", "start", "stop", "restart", "skip"];

fn function(name: &str, arguments: usize) -> Option<&'static Function> {
    FUNCTIONS
        .iter()
        .find(|known| known.name == name && (known.arguments.0..=known.arguments.1).contains(&arguments))
}

/// Whether a call with so many arguments is one of a function that acts.
pub(in super::super) fn is_acting(name: &str, arguments: usize) -> bool {
    function(name, arguments).is_some()
}

/// The error for calling such a function where rows are filtered or mapped; `None` where it means something else there.
pub(in super::super) fn acts_on_no_row(name: &str) -> Option<Problem> {
    // The logarithm.
    if name == "log" {
        return None;
    }
    let problem = Problem::forbidden(format!("`{name}` is for hooks that act, and not for filters and maps"));
    Some(problem.advice("a row is read again after a crash; act in `on … do`, `every … do` or `at … do`"))
}

/// What the code of one file is allowed to do; `None` is everything.
#[derive(Debug, Default)]
pub(in super::super) struct Grants {
    allow: Option<Vec<Grant>>,
}

impl Grants {
    /// What the module at `path` is allowed; without a path, what stands in the script itself.
    pub fn of(hook: &Hook, path: Option<&str>) -> Grants {
        let of = |path: &str| hook.modules.iter().find(|module| module.path.to_string_lossy() == path);
        Grants { allow: path.and_then(of).and_then(|module| module.allow.clone()) }
    }

    /// Why this function may not be called; `None` when it may.
    pub fn refusal(&self, name: &str) -> Option<Problem> {
        let wanted = FUNCTIONS.iter().find(|known| known.name == name)?.grant?;
        let allow = self.allow.as_ref().filter(|allow| !allow.contains(&wanted))?;
        let words: Vec<_> = allow.iter().chain([&wanted]).map(|grant| grant.as_str()).collect();
        let lacks = match wanted.as_str() {
            word if word == name => String::new(),
            word => format!(": it lacks `{word}`"),
        };
        let problem = Problem::forbidden(format!("`{name}` is not allowed to this file{lacks}"));
        Some(problem.advice(format!("grant it where the file is included: allow = [{}]", words.join(", "))))
    }
}

/// What the functions of one engine share with whoever runs it.
pub(super) struct Exchange {
    host: Mutex<Option<Arc<dyn Host>>>,
    /// By the path of a module.
    grants: BTreeMap<String, Grants>,
    /// When the present run began.
    began_us: AtomicU64,
    /// How long the present run has waited for its host.
    waited_us: AtomicU64,
    calls: AtomicU64,
}

impl Exchange {
    pub fn new(hook: &Hook) -> Exchange {
        let paths = hook.modules.iter().map(|module| module.path.to_string_lossy().into_owned());
        let grants = paths.map(|path| (path.clone(), Grants::of(hook, Some(&path)))).collect();
        let zero = AtomicU64::default;
        Exchange { host: Mutex::default(), grants, began_us: zero(), waited_us: zero(), calls: zero() }
    }

    /// A run begins, for this host.
    pub fn begin(&self, host: &Arc<dyn Host>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(host));
        self.began_us.store(clock_us(), Ordering::Relaxed);
        self.waited_us.store(0, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
    }

    /// The run is over.
    pub fn end(&self) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For how long the present run has computed.
    pub fn computed_ms(&self) -> u64 {
        let spent = clock_us().saturating_sub(self.began_us.load(Ordering::Relaxed));
        spent.saturating_sub(self.waited_us.load(Ordering::Relaxed)) / 1000
    }

    /// Has the host do something, when the file of the call may have it done.
    fn ask<T>(
        &self,
        context: &NativeCallContext<'_>,
        name: &str,
        act: impl FnOnce(&dyn Host) -> Result<T>,
    ) -> Outcome<T> {
        let file = context.call_source().unwrap_or_default();
        if let Some(refusal) = self.grants.get(file).and_then(|grants| grants.refusal(name)) {
            return Err(refusal.into());
        }
        if self.calls.fetch_add(1, Ordering::Relaxed) >= CALLS_MAX {
            return Err(Problem::new(format!("the hook acted more than {CALLS_MAX} times in one run")).into());
        }
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(host) = host else {
            return Err(Problem::new(format!("`{name}` does nothing while a module is loaded")).into());
        };
        let asked_us = clock_us();
        let answer = act(host.as_ref());
        self.waited_us.fetch_add(clock_us().saturating_sub(asked_us), Ordering::Relaxed);
        answer.map_err(|error| {
            let problem = Problem::new(error.to_string());
            error.next_step().map_or(problem.clone(), |advice| problem.advice(advice)).into()
        })
    }
}

/// Adds all functions.
pub(super) fn register(engine: &mut Engine, exchange: &Arc<Exchange>) {
    let with = || Arc::clone(exchange);
    let to = with();
    engine.register_fn(
        "notify",
        move |context: NativeCallContext<'_>, text: ImmutableString| -> Outcome<()> {
            to.ask(&context, "notify", |host| host.notify(&text))
        },
    );
    let to = with();
    engine.register_fn("log", move |context: NativeCallContext<'_>, text: ImmutableString| -> Outcome<()> {
        to.ask(&context, "log", |host| {
            host.log(&text);
            Ok(())
        })
    });
    let to = with();
    engine.register_fn(
        "stats",
        move |context: NativeCallContext<'_>, name: ImmutableString| -> Outcome<Dynamic> {
            to.ask(&context, "stats", |host| host.stats(&name)).map(json::from_json)
        },
    );
    register_mail(engine, exchange);
    register_webhook(engine, exchange);
    register_commands(engine, exchange);
}

fn register_mail(engine: &mut Engine, exchange: &Arc<Exchange>) {
    let to = Arc::clone(exchange);
    let mail = move |context: NativeCallContext<'_>,
                     connection: ImmutableString,
                     receivers: Dynamic,
                     subject: ImmutableString,
                     text: ImmutableString|
          -> Outcome<()> {
        let receivers = texts(receivers, "`mail` sends to")?;
        let mail = Mail { to: receivers, subject: subject.into(), text: text.into(), facts: None };
        to.ask(&context, "mail", |host| host.mail(&connection, &mail))
    };
    engine.register_fn("mail", mail);
    let to = Arc::clone(exchange);
    let mail = move |context: NativeCallContext<'_>,
                     connection: ImmutableString,
                     subject: ImmutableString,
                     text: ImmutableString|
          -> Outcome<()> {
        let mail = Mail { to: Vec::new(), subject: subject.into(), text: text.into(), facts: None };
        to.ask(&context, "mail", |host| host.mail(&connection, &mail))
    };
    engine.register_fn("mail", mail);
    let to = Arc::clone(exchange);
    let mail =
        move |context: NativeCallContext<'_>, connection: ImmutableString, facts: Map| -> Outcome<()> {
            let Value::Object(facts) = json::to_value(&Dynamic::from_map(facts))? else { return Ok(()) };
            let mail =
                Mail { to: Vec::new(), subject: String::new(), text: String::new(), facts: Some(facts) };
            to.ask(&context, "mail", |host| host.mail(&connection, &mail))
        };
    engine.register_fn("mail", mail);
}

fn register_webhook(engine: &mut Engine, exchange: &Arc<Exchange>) {
    fn call(url: ImmutableString, body: &Dynamic, options: &Map) -> Outcome<Webhook> {
        let body = json::to_value(body)?;
        let options = options.iter().map(|(name, value)| Ok((name.to_string(), json::to_value(value)?)));
        let options = options.collect::<std::result::Result<_, Problem>>()?;
        Ok(Webhook { url: url.into(), body, options })
    }
    let to = Arc::clone(exchange);
    engine.register_fn(
        "webhook",
        move |context: NativeCallContext<'_>, url: ImmutableString, body: Dynamic| -> Outcome<()> {
            let call = call(url, &body, &Map::new())?;
            to.ask(&context, "webhook", |host| host.webhook(&call))
        },
    );
    let to = Arc::clone(exchange);
    engine.register_fn(
        "webhook",
        move |context: NativeCallContext<'_>,
              url: ImmutableString,
              body: Dynamic,
              options: Map|
              -> Outcome<()> {
            let call = call(url, &body, &options)?;
            to.ask(&context, "webhook", |host| host.webhook(&call))
        },
    );
}

fn register_commands(engine: &mut Engine, exchange: &Arc<Exchange>) {
    for verb in VERBS_WITH_NAMES {
        let to = Arc::clone(exchange);
        engine.register_fn(verb, move |context: NativeCallContext<'_>, of: Dynamic| -> Outcome<String> {
            let names = texts(of, &format!("`{verb}` takes"))?;
            let names = names.iter().map(|name| written_name(name)).collect::<Outcome<Vec<_>>>()?;
            to.ask(&context, verb, |host| host.command(&format!("{verb} {}", names.join(" "))))
        });
    }
    for verb in ["mute", "unmute", "ack"] {
        let to = Arc::clone(exchange);
        engine.register_fn(
            verb,
            move |context: NativeCallContext<'_>, alert: ImmutableString| -> Outcome<String> {
                let alert = quoted(&alert)?;
                to.ask(&context, verb, |host| host.command(&format!("{verb} {alert}")))
            },
        );
    }
    let to = Arc::clone(exchange);
    engine.register_fn(
        "mute",
        move |context: NativeCallContext<'_>,
              alert: ImmutableString,
              time: ImmutableString|
              -> Outcome<String> {
            let (alert, time) = (quoted(&alert)?, word(&time)?);
            to.ask(&context, "mute", |host| host.command(&format!("mute {alert} for {time}")))
        },
    );
    let to = Arc::clone(exchange);
    engine.register_fn(
        "set",
        move |context: NativeCallContext<'_>,
              mine: ImmutableString,
              setting: ImmutableString,
              value: Dynamic|
              -> Outcome<String> {
            let value = match value.as_int() {
                Ok(number) => number.to_string(),
                Err(_) => texts(value, "`set` takes")?.concat(),
            };
            let line = format!("set {}.{} = {}", written_name(&mine)?, word(&setting)?, one_line(&value)?);
            to.ask(&context, "set", |host| host.command(&line))
        },
    );
    let to = Arc::clone(exchange);
    engine.register_fn(
        "rewind",
        move |context: NativeCallContext<'_>,
              pipeline: ImmutableString,
              place: ImmutableString|
              -> Outcome<String> {
            let is_time = place.parse::<jiff::Timestamp>().is_ok();
            let place = if is_time { quoted(&place)? } else { one_line(&place)?.to_owned() };
            let line = format!("rewind {} to {place}", written_name(&pipeline)?);
            to.ask(&context, "rewind", |host| host.command(&line))
        },
    );
    let to = Arc::clone(exchange);
    engine.register_fn("apply", move |context: NativeCallContext<'_>| -> Outcome<String> {
        to.ask(&context, "apply", |host| host.command("apply"))
    });
    let to = Arc::clone(exchange);
    engine.register_fn(
        "apply",
        move |context: NativeCallContext<'_>, file: ImmutableString| -> Outcome<String> {
            let file = quoted(&file)?;
            to.ask(&context, "apply", |host| host.command(&format!("apply {file}")))
        },
    );
}

/// A text, or an array of texts.
fn texts(value: Dynamic, who: &str) -> Outcome<Vec<String>> {
    let wrong = || Problem::new(format!("{who} a text, or an array of texts"));
    let items = match value.try_cast_result::<Array>() {
        Ok(items) => items,
        Err(one) => vec![one],
    };
    if items.is_empty() || items.len() as INT > CALLS_MAX as INT {
        return Err(wrong().into());
    }
    items.into_iter().map(|item| item.into_string().map_err(|_| wrong().into())).collect()
}

/// A name as commands are written: as it is where that is one, with its tables and patterns, else in quotes.
fn written_name(name: &str) -> Outcome<String> {
    let plain = |letter: char| letter.is_alphanumeric() || "_.*`{}, ".contains(letter);
    let is_plain = !name.trim().is_empty() && name.chars().all(plain) && !name.starts_with(char::is_numeric);
    if is_plain { Ok(name.to_owned()) } else { quoted(name) }
}

fn quoted(text: &str) -> Outcome<String> {
    let text = one_line(text)?;
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn word(text: &str) -> Outcome<&str> {
    let is_word = !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    if is_word { Ok(text) } else { Err(Problem::new("a word was expected, without blanks and signs").into()) }
}

fn one_line(text: &str) -> Outcome<&str> {
    let is_line = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if is_line { Ok(text) } else { Err(Problem::new("a text in one line was expected").into()) }
}
