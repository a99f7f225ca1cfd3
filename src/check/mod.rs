//! From texts to a checked model: names are looked up, settings held against their specs, hooks compiled.
//!
//! [`check`] reads scripts with everything that they include and answers with all findings at once. There is a
//! [`Model`] only when none of them is an error; no string in it has to be looked at again.
//!
//! A statement that is wrong is reported once: what refers to it is checked as far as it can be, without further
//! findings.

#![allow(clippy::result_large_err, reason = "a finding is made once and moved to the list of findings")]

pub mod command;
mod connections;
mod control;
mod cron;
mod endpoint;
mod grants;
mod hooks;
mod kinds;
mod line;
mod load;
mod look;
mod mining;
pub mod model;
mod names;
mod not_yet;
mod outside;
mod pipelines;
mod reference;
mod secrets;
mod settings;
pub mod specs;
pub mod testing;
pub mod written;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceMap, Span};

pub use cron::Cron;
pub use kinds::Kinds;
pub use line::{CheckedLine, check_line, mine_settings};
pub use load::{FILES_MAX, ScriptSet};
pub use look::code_finding;
pub use model::Model;
pub use outside::{Outside, System};
pub use reference::{reference, setting_page};
pub use secrets::SecretsPolicy;

use connections::Connections;
use model::NotYet;
use names::Names;

/// The kinds of connections by which hooks send.
pub const SENDING: [&str; 2] = ["smtp", "webhook"];

/// After so many findings further ones are left out: they would hardly say anything new.
pub const FINDINGS_MAX: usize = 500;

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Input {
    /// The scripts, in order.
    pub scripts: Vec<Source>,
    /// `--set name=value`: values that replace those of `let` statements.
    pub sets: Vec<(String, String)>,
    /// Whether secrets must be there.
    pub secrets: SecretsPolicy,
    /// Absolute folder that paths on the command line, and those within a text without a file, are relative to.
    pub base_dir: PathBuf,
}

impl Input {
    /// Scripts that are to be run, so that their secrets must be there. Paths are relative to `base_dir`, which is
    /// absolute.
    pub fn new(base_dir: impl Into<PathBuf>) -> Input {
        Input {
            scripts: Vec::new(),
            sets: Vec::new(),
            secrets: SecretsPolicy::Required,
            base_dir: base_dir.into(),
        }
    }

    /// Adds a script's file.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Input {
        self.scripts.push(Source::File(path.into()));
        self
    }

    /// Adds a script's text, with the name that messages give it.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Input {
        self.scripts.push(Source::Text { name: name.into(), text: text.into() });
        self
    }

    /// Gives a `let` of the scripts another value.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Input {
        self.sets.push((name.into(), value.into()));
        self
    }
}

/// One text.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, as the user named it.
    File(PathBuf),
    /// A text without a file; the name is shown in messages: `<command line>`.
    Text {
        /// Its name.
        name: String,
        /// The text.
        text: String,
    },
}

/// The outcome.
#[derive(Debug)]
pub struct Checked {
    /// What the scripts say; `None` when one of the findings is an error.
    pub model: Option<Model>,
    /// All findings, in the order of the texts.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts, for rendering the findings. Secrets that stand in them are masked.
    pub sources: SourceMap,
}

impl Checked {
    /// Whether there is an error among the findings.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The model, or the first error among the findings in one line, for programs that do not render all of them.
    ///
    /// # Errors
    /// `Script` when one of the findings is an error.
    pub fn into_model(self) -> Result<Model> {
        let mut errors = self.diagnostics.iter().filter(|finding| finding.is_error());
        let (Some(first), more) = (errors.next(), errors.count()) else {
            return self
                .model
                .ok_or_else(|| Error::new(Kind::Internal, "checking found neither errors nor a model"));
        };
        let place = match self.sources.locate(first.span) {
            Some((name, place)) => format!("{name}:{}:{}: ", place.line, place.column),
            None => String::new(),
        };
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let error = Error::new(Kind::Script, format!("{place}{}{more}", first.message));
        Err(first.help.iter().fold(error, |error, help| error.advice(help.as_str())))
    }
}

/// Checks scripts with everything that they include.
pub fn check(input: &Input, kinds: &Kinds, outside: &dyn Outside) -> Checked {
    let mut scripts = load::load(input, kinds, outside);
    let diagnostics = std::mem::take(&mut scripts.diagnostics);
    let mut checker = Checker {
        input,
        kinds,
        outside,
        scripts: &scripts,
        diagnostics,
        masks: Vec::new(),
        not_yet: Vec::new(),
        sending_connections: Vec::new(),
        mentioned: BTreeSet::new(),
    };
    let model = checker.model();
    let Checker { mut diagnostics, masks, .. } = checker;
    diagnostics.sort_by_key(|finding| (finding.span.source, finding.span.start));
    let mut sources = scripts.sources;
    for span in masks {
        sources.mask(span);
    }
    let model = if diagnostics.iter().any(Diagnostic::is_error) { None } else { Some(model) };
    Checked { model, diagnostics, sources }
}

/// What every step of checking needs, and where it leaves its findings.
struct Checker<'a> {
    input: &'a Input,
    kinds: &'a Kinds,
    outside: &'a dyn Outside,
    scripts: &'a ScriptSet,
    diagnostics: Vec<Diagnostic>,
    /// Places of secrets in the texts.
    masks: Vec<Span>,
    not_yet: Vec<NotYet>,
    /// Names of connections by which hooks send.
    sending_connections: Vec<String>,
    /// Those of them that hooks name.
    mentioned: BTreeSet<String>,
}

impl<'a> Checker<'a> {
    fn model(&mut self) -> Model {
        let names = Names::collect(self);
        let mut connections = Connections::declare(self, &names);
        let mines = self.mines(&names, &mut connections);
        let pipelines = self.pipelines(&names, &mut connections, &mines);
        self.sending_connections =
            connections.names(|kind| SENDING.contains(&kind.name)).into_iter().map(str::to_owned).collect();
        let control = self.control(&names, &connections, &mines, &pipelines);
        for name in std::mem::take(&mut self.mentioned) {
            connections.make(&name, self);
        }
        Model {
            connections: connections.used(),
            mines: mines.used(),
            pipelines,
            alerts: control.alerts,
            schedules: control.schedules,
            commands: control.commands,
            tests: control.tests,
            not_yet: std::mem::take(&mut self.not_yet),
        }
    }

    fn report(&mut self, finding: Diagnostic) {
        // An error is never left out when it is the first one, or a wrong script could pass as a right one.
        let may_be_left_out = !finding.is_error() || self.diagnostics.iter().any(Diagnostic::is_error);
        if self.diagnostics.len() >= FINDINGS_MAX && may_be_left_out {
            return;
        }
        // Repeated names can lead to the same place twice.
        if !self.diagnostics.contains(&finding) {
            self.diagnostics.push(finding);
        }
    }
}
