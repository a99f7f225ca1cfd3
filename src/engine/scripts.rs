//! The scripts that run, and how typed statements change them: the difference is shown first, and each change can be taken
//! back.
//!
//! Typed statements lie on top of the scripts as these were read, so that a file that somebody is writing at the moment
//! does not matter to them. They are kept in memory only: `save` makes a script of them.

use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use super::door::Door;
use super::reply::Reply;
use super::{Engine, refuse_what_cannot_run};
use crate::check::{Checked, Declaration, Input, masked};
use crate::error::{Error, Kind, Result};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::SourceId;
use crate::plan::diff::{Change, Diff};

/// So many changes can be taken back.
pub const UNDO_MAX: usize = 50;
/// So many typed texts may lie on top of the scripts.
pub const TYPED_MAX: usize = 500;

/// How long a typed change lasts.
const KEPT: &str = "what is typed counts until lode ends; save \"FILE\" keeps it";

/// The scripts that run, and what they were before.
#[derive(Default)]
pub(super) struct Scripts {
    now: Option<Input>,
    before: Vec<Before>,
}

/// The scripts before a change.
struct Before {
    /// The change, as it was typed, without secrets.
    change: String,
    input: Option<Input>,
}

impl Scripts {
    pub fn input(&self) -> Option<Input> {
        self.now.clone()
    }
}

/// Scripts that are to run instead of those that do.
pub(super) struct Wanted {
    /// The change, as it was typed, without secrets.
    pub what: String,
    pub input: Input,
    pub checked: Checked,
    /// What is to be said besides.
    pub notes: Vec<String>,
}

/// How far a change is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The difference is shown.
    Show,
    /// It is done when nothing that runs differs, and otherwise has to be confirmed.
    Ask,
    /// It is done.
    Do,
    /// It is done, or asked for, and is itself no change that can be taken back.
    Back {
        /// Whether it was confirmed.
        confirmed: bool,
    },
}

impl How {
    fn confirmed(confirmed: bool) -> How {
        if confirmed { How::Do } else { How::Ask }
    }
}

impl Engine {
    /// Has `apply` and `diff` without a file read these scripts again, and typed statements lie on top of them. A script that
    /// is applied later takes their place. With [`Input::as_read`], what is typed does not depend on what becomes of the
    /// files.
    pub fn remember(&self, input: Input) {
        self.scripts().now = Some(input);
    }

    /// Changes what runs by statements that are typed: each takes the place of the one of the same name, or is added. Paths in
    /// them are relative to `folder`, which is absolute. When something that runs would differ, the difference is only shown
    /// at first, and made when the same text comes again `confirmed`.
    ///
    /// They count until this engine ends; the command `save` keeps them. Whatever is wrong is in the answer, and then nothing
    /// has changed. Whoever stops waiting does not know how far it came.
    pub async fn statements(&self, text: &str, folder: &Path, door: &Door, confirmed: bool) -> Reply {
        let mut shown = in_one_line(&masked(text, self.registry.kinds()));
        let reply = self.change_by(text, &mut shown, folder, confirmed).await.unwrap_or_else(Reply::from);
        self.note(door, shown, &reply);
        reply
    }

    async fn change_by(
        &self,
        text: &str,
        shown: &mut String,
        folder: &Path,
        confirmed: bool,
    ) -> Result<Reply> {
        let _changing = self.changing.lock().await;
        let input = self.base().await?.typed(text, folder);
        let checked = self.load(&input);
        let mut notes = Vec::new();
        if let Some((last, file)) =
            checked.sources.iter().filter(|(_, file)| file.name().starts_with("<typed")).last()
        {
            // Checking finds secrets by what they are used for.
            *shown = in_one_line(file.text());
            notes = warnings(&checked, last);
        }
        notes.push(KEPT.to_owned());
        let wanted = Wanted { what: shown.clone(), input, checked, notes };
        self.change(wanted, How::confirmed(confirmed)).await
    }

    pub(super) async fn remove(&self, declared: &Declaration, confirmed: bool) -> Result<Reply> {
        let _changing = self.changing.lock().await;
        let input = self.base().await?.without(declared.clone());
        let checked = self.load(&input);
        let notes = vec![KEPT.to_owned()];
        let wanted = Wanted { what: format!("remove {declared}"), input, checked, notes };
        self.change(wanted, How::confirmed(confirmed)).await
    }

    pub(super) async fn undo(&self, confirmed: bool) -> Result<Reply> {
        let _changing = self.changing.lock().await;
        let (what, input) = match self.scripts().before.last() {
            Some(before) => (before.change.clone(), before.input.clone()),
            None => {
                return Err(Error::new(Kind::Refused, "no change of the scripts is left to be taken back")
                    .advice("what was paused, stopped or set goes back by a command of its own"));
            }
        };
        let nothing = input.is_none();
        let input = input.unwrap_or_else(|| Input::new("/"));
        let checked = self.load(&input);
        let notes = vec![format!("this takes back: {what}")];
        let wanted = Wanted { what: "undo".to_owned(), input, checked, notes };
        let reply = self.change(wanted, How::Back { confirmed }).await?;
        if matches!(reply, Reply::Difference { applied: true, .. }) {
            let mut scripts = self.scripts();
            scripts.before.pop();
            if nothing {
                scripts.now = None;
            }
        }
        Ok(reply)
    }

    /// Compares what runs with what is wanted, and makes it equal where it is not only to be shown. Whoever calls it holds
    /// `changing`.
    pub(super) async fn change(&self, wanted: Wanted, how: How) -> Result<Reply> {
        let Wanted { what, input, checked, mut notes } = wanted;
        let Some(model) = &checked.model else {
            // What is only doubtful was said when it was typed.
            let errors: Vec<_> = checked.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
            return Ok(Reply::wrong(&errors, &checked.sources));
        };
        let plan = self.plan(model);
        refuse_what_cannot_run(&plan)?;
        let mut running = self.running.lock().await;
        let (edited, more) = self.with_edits(&mut running, plan.clone())?;
        notes.extend(more);
        let diff = Diff::between(&running.plan, &edited.plan);
        let not_yet =
            |fact: &crate::check::model::NotYet| format!("not run by this version yet: {}", fact.what);
        notes.extend(plan.not_yet.iter().filter(|fact| !fact.refuses_run).map(not_yet));
        running.mines_to_renew(&edited.plan)?;
        let asks = matches!(how, How::Ask | How::Back { confirmed: false });
        if how == How::Show {
            return Ok(Reply::Difference { diff, applied: false, notes });
        }
        if asks && !diff.is_empty() {
            let affected = affected(&diff);
            return Ok(Reply::Confirm { command: what, would: notes, affected, diff });
        }
        self.apply_script(&mut running, plan).await?;
        drop(running);
        let mut scripts = self.scripts();
        let before = scripts.now.replace(input.as_read(&checked));
        // Scripts that were read again, and say the same, are no change.
        let same = |before: &Input| scripts.now.as_ref().is_some_and(|now| now.scripts == before.scripts);
        let is_change = !diff.is_empty() || !before.as_ref().is_some_and(same);
        if is_change && !matches!(how, How::Back { .. }) {
            scripts.before.push(Before { change: what, input: before });
            let surplus = scripts.before.len().saturating_sub(UNDO_MAX);
            scripts.before.drain(..surplus);
        }
        Ok(Reply::Difference { diff, applied: true, notes })
    }

    pub(super) fn scripts(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the statements of the scripts declare.
    pub(super) fn declared(&self) -> Vec<Declaration> {
        self.scripts().now.as_ref().map(|input| input.read.declared.clone()).unwrap_or_default()
    }

    /// The scripts that typed statements lie on.
    async fn base(&self) -> Result<Input> {
        let Some(input) = self.scripts().input() else {
            // Statements on top of nothing would take away what somebody has applied without a script.
            return match self.running.lock().await.script.pipelines.is_empty() {
                true => Ok(Input::new("/")),
                false => Err(no_script("changed")),
            };
        };
        if input.typed_count() >= TYPED_MAX {
            let what = format!("{TYPED_MAX} statements were typed, and more are not kept");
            return Err(Error::new(Kind::Refused, what)
                .advice("save them with save \"FILE\", and go on from there with apply \"FILE\""));
        }
        Ok(input)
    }
}

/// That there are no scripts to do something with.
pub(super) fn no_script(what: &str) -> Error {
    Error::new(Kind::Refused, format!("what runs comes from no script that could be {what}"))
        .advice("name one: apply \"FILE\"")
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is doubtful in one of the texts, in a line each.
fn warnings(checked: &Checked, of: SourceId) -> Vec<String> {
    let line = |finding: &Diagnostic| {
        let help = finding.help.iter().next().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{}{help}", finding.message)
    };
    let of_text = |finding: &&Diagnostic| finding.span.source == of && !finding.is_error();
    checked.diagnostics.iter().filter(of_text).map(line).collect()
}

/// The running pipelines that a difference concerns.
fn affected(diff: &Diff) -> Vec<String> {
    let runs = |changed: &&crate::plan::diff::Changed| !matches!(changed.change, Change::Added);
    diff.pipelines.iter().filter(runs).map(|changed| changed.name.clone()).collect()
}
