//! `lode log record`: writes changes of a log into a small file of text, for tests.

use std::io::{BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lode::error::{Error, Kind, Result, ResultExt};
use lode::run::look::{Look, Seen};
use lode::testing::{Mask, Recorder};
use uuid::Uuid;

use super::Opened;
use super::choice::{Choice, Start};

/// Where to, and how.
#[derive(Args)]
pub struct Target {
    /// The file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Hide every text: the same one always becomes the same other one of equal length
    #[arg(long)]
    mask: bool,
    /// Hide texts by the secret in this environment variable, so that several recordings agree
    #[arg(long, value_name = "VARIABLE", conflicts_with = "mask")]
    mask_with: Option<String>,
    /// Leave this column as it is: `state` or `orders.state`. May be given several times
    #[arg(long = "plain", value_name = "COLUMN")]
    plain: Vec<String>,
}

impl Target {
    /// What hides texts, where somebody asked for it.
    pub fn mask(&self) -> Result<Option<Mask>> {
        let secret = match &self.mask_with {
            Some(variable) => match std::env::var(variable) {
                Ok(secret) if !secret.is_empty() => secret.into_bytes(),
                _ => {
                    return Err(Error::new(
                        Kind::Environment,
                        format!("the variable {variable} has no secret to mask with"),
                    )
                    .advice("set it, or hide texts by a key of chance: --mask"));
                }
            },
            // Each has 122 bits of chance.
            None if self.mask => [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes).concat(),
            None if self.plain.is_empty() => return Ok(None),
            None => {
                return Err(Error::new(Kind::Script, "--plain says what is not masked, but nothing is")
                    .advice("add --mask, or leave out --plain"));
            }
        };
        Ok(Some(Mask::new(&secret, self.plain.clone())))
    }
}

/// Records the newest changes, or the first ones from a place on.
pub async fn record(
    log: Opened,
    choice: &mut Choice,
    from: Option<Start>,
    limit: usize,
    target: &Target,
    mask: Option<Mask>,
) -> Result<ExitCode> {
    let name = log.place.name();
    let is_masked = mask.is_some();
    let mut look = Look::new(log.reader.clone());
    let mut found: Vec<Seen> = Vec::new();
    let read = async {
        let Some(from) = from else {
            found = look.newest(limit, &mut |change| choice.takes(change)).await?;
            return Ok::<_, Error>(());
        };
        let begin = from.find(log.reader.as_ref()).await?;
        let mut show = |seen: Seen| {
            found.push(seen);
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        look.changes(begin, log.reader.tail().next, &mut |change| choice.takes(change), &mut show).await
    };
    read.await.context_with(|| format!("in log {name}"))?;
    let (bytes, said) = recorded(&found, mask)?;
    put(&target.output, &bytes)?;
    eprintln!("{said}");
    if !is_masked && !found.is_empty() {
        eprintln!("rows are as they were; --mask hides their texts");
    }
    Ok(ExitCode::SUCCESS)
}

/// The file, and what to say of it.
fn recorded(found: &[Seen], mask: Option<Mask>) -> Result<(Vec<u8>, String)> {
    let plain = mask.as_ref().map(|mask| mask.plain().to_vec()).unwrap_or_default();
    let mut recorder = Recorder::new(Vec::new(), mask)?;
    for seen in found {
        recorder.write(&seen.change)?;
    }
    let changes = if recorder.count() == 1 { "change" } else { "changes" };
    let mut said = format!("recorded {} {changes}", recorder.count());
    for (table, columns) in recorder.masked() {
        let columns = if columns.is_empty() { "nothing".to_owned() } else { columns.join(", ") };
        said.push_str(&format!("\nmasked in {table}: {columns}"));
    }
    if !plain.is_empty() {
        said.push_str(&format!("\nas they were: {}, numbers and dates", plain.join(", ")));
    } else if !recorder.masked().is_empty() {
        said.push_str("\nas they were: numbers and dates");
    }
    Ok((recorder.finish()?, said))
}

/// Puts the file in its place as a whole, or writes to standard output.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: &std::io::Error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such folder".to_owned(),
            _ => error.to_string(),
        };
        Error::new(Kind::Environment, format!("cannot write {}: {why}", path.display()))
    };
    if path.as_os_str() == "-" {
        let mut out = BufWriter::new(std::io::stdout().lock());
        return out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| failed(&error));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    file.write_all(bytes).map_err(|error| failed(&error))?;
    file.persist(path).map(drop).map_err(|error| failed(&error.error))
}
