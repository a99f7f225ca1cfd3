//! `save`: what runs, written as a script.

use std::io::Write;
use std::path::Path;

use super::Engine;
use super::reply::Reply;
use super::scripts::no_script;
use crate::check::command::Command;
use crate::check::{Input, System, save};
use crate::error::{Error, Kind, Result};
use crate::plan::diff::Diff;

impl Engine {
    /// Writes a script that has the plan that runs. What it would not say in its folder as it is said now is an error, and
    /// nothing is written then.
    pub(super) async fn save(&self, file: &Path, confirmed: bool) -> Result<Reply> {
        let _changing = self.changing.lock().await;
        let Some(input) = self.scripts().input() else { return Err(no_script("saved")) };
        let folder = file.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            return Err(Error::new(Kind::Environment, format!("there is no folder {}", folder.display())));
        }
        let saved = save(&input, self.registry.kinds(), &System, folder)
            .ok_or_else(|| Error::new(Kind::Internal, "the scripts that run cannot be read any more"))?;
        // Without `read`: modules of hooks stay files of their own, and are as they are by now.
        let again = Input { secrets: input.secrets, sets: kept(&input, &saved.text), ..Input::new(folder) };
        let checked = self.load(&again.text(file.display().to_string(), saved.text.as_str()));
        let Some(model) = &checked.model else {
            let first = checked.diagnostics.iter().find(|finding| finding.is_error());
            let why = first.map_or(String::new(), |finding| format!(": {}", finding.message));
            return Err(Error::new(Kind::Refused, format!("a script in this folder would have errors{why}"))
                .advice("save it beside the scripts that run"));
        };
        let diff = Diff::between(&self.running.lock().await.script, &self.plan(model));
        if !diff.is_empty() {
            let what = format!("a script in {} would not be what runs: {}", folder.display(), diff.summary());
            return Err(Error::new(Kind::Refused, what)
                .advice("save it beside the scripts that run, as sinks are named after their paths; and say `apply` before, where hooks have changed"));
        }
        if !confirmed && file.exists() {
            return Ok(Reply::Confirm {
                command: Command::Save { file: file.display().to_string() }.to_string(),
                would: vec![format!("{} is there, and is replaced", file.display())],
                affected: Vec::new(),
                diff: Diff::default(),
            });
        }
        write(file, folder, &saved.text, confirmed)?;
        let mut done = vec![format!("{} has what runs; only you may read it", file.display())];
        if saved.holds_secrets {
            done.push("a secret stands in it, as it does in the scripts".to_owned());
        }
        for name in &saved.sets_left_out {
            done.push(format!("the secret of --set {name} is not in it, and has to be given again"));
        }
        Ok(Reply::Done { done })
    }
}

/// The values of `--set` for names that a text has.
fn kept(input: &Input, text: &str) -> Vec<(String, String)> {
    let has = |name: &str| text.lines().any(|line| line.starts_with(&format!("let {name} = ")));
    input.sets.iter().filter(|(name, _)| has(name)).cloned().collect()
}

/// Puts the text in its place at once. What somebody else has put there meanwhile is replaced only where that was
/// confirmed.
fn write(file: &Path, folder: &Path, text: &str, is_replaced: bool) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Environment, format!("cannot write {}: {error}", file.display())).caused_by(error)
    };
    // Others may not read such a file from its beginning on.
    let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    fresh.write_all(text.as_bytes()).and_then(|()| fresh.as_file().sync_all()).map_err(failed)?;
    let kept = if is_replaced { fresh.persist(file) } else { fresh.persist_noclobber(file) };
    kept.map_err(|error| failed(error.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
