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
mod declaration;
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
mod save;
mod secrets;
mod settings;
pub mod specs;
pub mod testing;
pub mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::{SourceMap, Span};

pub use cron::Cron;
pub use declaration::{AsRead, Declaration};
pub use kinds::Kinds;
pub use line::{CheckedLine, check_line, mine_settings};
pub use load::{FILES_MAX, ScriptSet};
pub use look::code_finding;
pub use model::Model;
pub use outside::{Outside, System};
pub use reference::{reference, setting_page};
pub use save::{Saved, save};
pub use secrets::{SecretsPolicy, masked};

use connections::Connections;
use model::NotYet;
use names::Names;

/// The kinds of connections by which hooks send.
const SENDING: [&str; 2] = ["smtp", "webhook"];

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
    /// Files as they were read earlier, which are not read again.
    pub read: AsRead,
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
            read: AsRead::default(),
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

    /// Adds statements that take the places of earlier ones of the same name. Paths in them are relative to `folder`.
    #[must_use]
    pub fn typed(mut self, text: impl Into<String>, folder: impl Into<PathBuf>) -> Input {
        let before = self.scripts.iter().filter(|script| matches!(script, Source::Typed { .. })).count();
        let name = format!("<typed {}>", before + 1);
        self.scripts.push(Source::Typed { name, text: text.into(), folder: folder.into() });
        self
    }

    /// How many typed texts, and removals, lie on top of the scripts.
    pub fn typed_count(&self) -> usize {
        let is_typed = |script: &&Source| matches!(script, Source::Typed { .. } | Source::Without(_));
        self.scripts.iter().filter(is_typed).count()
    }

    /// Takes a statement out of those before.
    #[must_use]
    pub fn without(mut self, declared: Declaration) -> Input {
        self.scripts.push(Source::Without(declared));
        self
    }

    /// With the files as they were when this was checked, whatever becomes of them.
    #[must_use]
    pub fn as_read(mut self, checked: &Checked) -> Input {
        self.read = checked.read.clone();
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Statements that take the places of earlier ones of the same name.
    Typed {
        /// The text's name.
        name: String,
        /// The text.
        text: String,
        /// Absolute folder that paths in it are relative to.
        folder: PathBuf,
    },
    /// Takes out what an earlier statement declares. It is nothing where there is none.
    Without(Declaration),
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
    /// The scripts as they were read.
    pub read: AsRead,
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
        declared: BTreeMap::new(),
        looked_up: BTreeSet::new(),
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
    Checked { model, diagnostics, sources, read: scripts.read }
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
    /// Names of connections with their kinds.
    declared: BTreeMap<String, &'a str>,
    /// Those whose tables hooks of the present pipeline look rows up in.
    looked_up: BTreeSet<String>,
    /// Names of connections by which hooks send.
    sending_connections: Vec<String>,
    /// Those of them that hooks name.
    mentioned: BTreeSet<String>,
}

impl<'a> Checker<'a> {
    fn model(&mut self) -> Model {
        let names = Names::collect(self);
        let mut connections = Connections::declare(self, &names);
        self.declared = connections.kinds();
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
