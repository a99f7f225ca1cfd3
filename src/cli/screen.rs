//! What is shown on standard error while something runs: a progress line at the bottom of a terminal with messages
//! and log lines above it, or log lines alone where standard error is no terminal, or where they are to be JSON.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::SyncSender;

use indicatif::{ProgressBar, ProgressStyle};
use lode::error::Error;
use lode::plan::Plan;
use lode::run::event::FAILURES;
use serde_json::Map;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::log_lines::{JsonLines, line};
use super::observe::LogFormat;

/// Somebody who hears what the program logs.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// Where lines of JSON come from that are no log lines otherwise.
const TARGET: &str = "lode::cli";

/// Whether standard error takes colours.
pub fn has_colors() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_capable_terminal() && !is_off
}

/// An error in the style of the findings in scripts.
pub fn error_text(message: &str, advice: Option<&str>, colors: bool) -> String {
    let [red, bold, blue, plain] =
        if colors { ["\x1b[1;91m", "\x1b[1m", "\x1b[1;94m", "\x1b[0m"] } else { [""; 4] };
    let mut text = format!("{red}error{plain}{bold}: {message}{plain}\n");
    if let Some(advice) = advice {
        text.push_str(&format!("  {blue}={plain} {bold}help{plain}: {advice}\n"));
    }
    text
}

/// Whether standard output takes colours.
pub fn has_colors_on_stdout() -> bool {
    let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !is_dumb && !is_off
}

fn is_capable_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Standard error, shared by the progress line, messages and log lines.
#[derive(Clone)]
pub struct Screen {
    is_terminal: bool,
    is_json: bool,
    bar: Option<ProgressBar>,
    /// Where lines go that are to stand above a prompt.
    above: Option<SyncSender<String>>,
}

impl Screen {
    /// For running `plan`. When its rows are shown on the same terminal, they are the progress; a line between them
    /// would garble them. With JSON, there are lines of it and nothing else, also on a terminal.
    pub fn new(plan: &Plan, format: LogFormat) -> Screen {
        let is_json = format == LogFormat::Json;
        let is_terminal = is_capable_terminal() && !is_json;
        let bar = (is_terminal && !(io::stdout().is_terminal() && shows_rows(plan))).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is constant"),
            );
            bar
        });
        Screen { is_terminal, is_json, bar, above: None }
    }

    /// Where a prompt is open: whole lines go to whoever prints them above it. What is too much for them is left out.
    pub fn above_prompt(above: SyncSender<String>) -> Screen {
        Screen { is_terminal: is_capable_terminal(), is_json: false, bar: None, above: Some(above) }
    }

    /// Whether a person is looking.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Sets the progress line. False when there is none.
    pub fn progress(&self, line: String) -> bool {
        let Some(bar) = &self.bar else { return false };
        bar.set_message(line);
        bar.tick();
        true
    }

    /// Prints whole lines, above the progress line when there is one.
    pub fn print(&self, text: &str) {
        match (text.is_empty(), self.is_json) {
            (true, _) => {}
            (false, false) => self.put(text),
            (false, true) => self.put(&(line(Level::INFO, TARGET, text.trim(), Map::new()) + "\n")),
        }
    }

    /// Prints the error that ends everything, as a line of JSON where lines are JSON. False when they are not.
    pub fn complain(&self, error: &Error) -> bool {
        if self.is_json {
            let advice = error.next_step().map(|advice| ("advice".to_owned(), advice.into()));
            self.put(&(line(Level::ERROR, TARGET, &error.to_string(), advice.into_iter().collect()) + "\n"));
        }
        self.is_json
    }

    fn put(&self, text: &str) {
        // Nobody is left to be told when standard error is gone.
        let print = || drop(io::stderr().write_all(text.as_bytes()));
        match (&self.bar, &self.above) {
            (Some(bar), _) => bar.suspend(print),
            // Whoever logs never waits for a terminal.
            (None, Some(above)) => drop(above.try_send(text.to_owned())),
            (None, None) => print(),
        }
    }

    /// Removes the progress line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Shows log lines: warnings on a terminal, where the progress line and messages say the rest; more elsewhere.
    /// `LODE_LOG` says otherwise. `others` listen, too.
    pub fn listen_to_logs(&self, others: impl IntoIterator<Item = Listener>) {
        let default = if self.is_terminal { format!("warn,{FAILURES}=off") } else { "info".to_owned() };
        let filter = EnvFilter::try_from_env("LODE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
        let screen = self.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || Lines(screen.clone()));
        let lines = match self.is_json {
            true => lines.event_format(JsonLines).with_filter(filter).boxed(),
            false => lines
                .with_ansi(has_colors())
                .with_target(false)
                .with_timer(Clock { short: self.is_terminal })
                .with_filter(filter)
                .boxed(),
        };
        let listeners: Vec<Listener> = [lines].into_iter().chain(others).collect();
        tracing_subscriber::registry().with(listeners).init();
    }
}

/// Whether a sink writes to standard output.
fn shows_rows(plan: &Plan) -> bool {
    let mut routes = plan.pipelines.values().flat_map(|pipeline| &pipeline.routes);
    routes.any(|route| route.sink.kind == "jsonl" && route.sink.target == "-")
}

/// Takes log lines; each comes whole.
struct Lines(Screen);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time of a log line: by the wall clock for a person, in UTC with its date for a file.
struct Clock {
    short: bool,
}

impl FormatTime for Clock {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        if self.short {
            write!(out, "{}", jiff::Zoned::now().strftime("%H:%M:%S"))
        } else {
            write!(out, "{:.3}", jiff::Timestamp::now())
        }
    }
}
