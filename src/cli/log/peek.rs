//! `lode log peek` and `lode log tail`.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use lode::error::{Error, Kind, Result, ResultExt};
use lode::model::json::{Unwritable, write_change};
use lode::model::position::Seq;
use lode::run::look::{Look, Seen};
use lode::run::shown::ShownChange;

use super::Opened;
use super::choice::{Choice, Start};
use super::text::Text;
use crate::cli::follow::{reader_left, written_to_somebody};
use crate::cli::run::Stop;

/// A store that is away is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// Shows the newest changes, or the first ones from a place on.
pub async fn peek(
    log: Opened,
    choice: &mut Choice,
    from: Option<Start>,
    limit: usize,
    json: bool,
) -> Result<ExitCode> {
    let name = log.place.name();
    let mut printer = Printer::new(json);
    let mut look = Look::new(log.reader.clone());
    let shown = async {
        let Some(from) = from else {
            let newest = look.newest(limit, &mut |change| choice.takes(change)).await?;
            for seen in &newest {
                if printer.print(seen)?.is_break() {
                    break;
                }
            }
            return Ok(());
        };
        let mut left = limit;
        let mut failed = None;
        let mut next = from.find(log.reader.as_ref()).await?;
        while left > 0 {
            let (begin, to) = (next, log.reader.tail().next);
            let mut show = |seen: Seen| {
                next = seen.change.seq.plus(1);
                left -= 1;
                match printer.print(&seen) {
                    Ok(ControlFlow::Continue(())) if left > 0 => ControlFlow::Continue(()),
                    Ok(_) => ControlFlow::Break(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            };
            match look.changes(begin, to, &mut |change| choice.takes(change), &mut show).await {
                Err(error) if error.kind() == Kind::Gap => next = overtaken(&log, next, error)?,
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        failed.map_or(Ok(()), Err)
    };
    let outcome: Result<()> = shown.await;
    printer.finish()?;
    outcome.context_with(|| format!("in log {name}"))?;
    if printer.count == 0 && io::stderr().is_terminal() {
        eprintln!("no change of log {name} fits");
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows changes as they come.
pub async fn tail(
    log: Opened,
    choice: &mut Choice,
    from: Option<Start>,
    limit: Option<u32>,
    json: bool,
) -> Result<ExitCode> {
    let name = log.place.name();
    let mut stop = Stop::listen()?;
    let mut printer = Printer::new(json);
    if io::stderr().is_terminal() {
        eprintln!("following log {name}; Ctrl-C ends");
    }
    let followed = async {
        let next = match from {
            Some(from) => from.find(log.reader.as_ref()).await?,
            None => log.reader.tail().next,
        };
        follow(&log, choice, next, limit, &mut printer).await
    };
    let outcome = tokio::select! {
        outcome = followed => outcome,
        () = stop.asked() => Ok(()),
        () = reader_left() => Ok(()),
    };
    printer.finish()?;
    outcome.context_with(|| format!("in log {name}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(
    log: &Opened,
    choice: &mut Choice,
    mut next: Seq,
    limit: Option<u32>,
    printer: &mut Printer,
) -> Result<()> {
    let mut look = Look::new(log.reader.clone());
    let mut left = limit.map_or(u64::MAX, u64::from);
    let mut is_away = false;
    while left > 0 {
        let from = next;
        let mut shown = Ok(ControlFlow::Continue(()));
        let mut show = |seen: Seen| {
            next = seen.change.seq.plus(1);
            left -= 1;
            shown = printer.print(&seen);
            match shown {
                Ok(ControlFlow::Continue(())) if left > 0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        // `next` moves with what is shown, so that after a failure nothing is shown twice.
        let step = async {
            let tail = log.reader.grown(from).await?;
            look.changes(from, tail.next, &mut |change| choice.takes(change), &mut show).await?;
            Ok::<_, Error>(tail.next)
        };
        match step.await {
            Ok(tail) => {
                is_away = false;
                next = tail;
            }
            Err(error) if error.kind() == Kind::Gap => next = overtaken(log, next, error)?,
            Err(error) if error.kind().is_retryable() => {
                if !std::mem::replace(&mut is_away, true) {
                    eprintln!("waiting: {error}");
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
        if shown?.is_break() {
            return Ok(());
        }
        if printer.flush()?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// Where to go on when retention dropped what was to be shown next.
fn overtaken(log: &Opened, next: Seq, error: Error) -> Result<Seq> {
    let horizon = log.reader.stat().horizon;
    if horizon <= next {
        return Err(error);
    }
    eprintln!("retention dropped the entries {next} to {} before they were shown", horizon.0 - 1);
    Ok(horizon)
}

/// Prints changes on standard output.
struct Printer {
    out: io::BufWriter<io::Stdout>,
    text: Option<Text>,
    line: Vec<u8>,
    count: u64,
}

impl Printer {
    fn new(json: bool) -> Printer {
        let text = (!json).then(Text::for_standard_output);
        Printer { out: io::BufWriter::new(io::stdout()), text, line: Vec::new(), count: 0 }
    }

    /// Prints one change. It breaks when nobody reads any more (`lode log tail shop | head`).
    fn print(&mut self, seen: &Seen) -> Result<ControlFlow<()>> {
        self.count += 1;
        self.line.clear();
        match &mut self.text {
            Some(text) => text.write(&mut self.line, &ShownChange::of(seen)),
            None => {
                write_change(&mut self.line, &seen.change, Some(&seen.commit)).map_err(|error| {
                    let why = match error {
                        Unwritable::Time => "it has an impossible time".to_owned(),
                        Unwritable::Document { column, error, .. } => {
                            format!("column {column} is no valid JSON: {error}")
                        }
                    };
                    let (seq, table) = (seen.change.seq, &seen.change.table.name);
                    Error::new(Kind::Data, format!("entry {seq} of {table} cannot be shown as JSON: {why}"))
                        .advice("show it without --json")
                })?;
                self.line.push(b'\n');
            }
        }
        let written = self.out.write_all(&self.line);
        written_to_somebody(written)
    }

    /// Prints what waits. Nobody has to be there to read it.
    fn finish(&mut self) -> Result<()> {
        self.flush().map(drop)
    }

    fn flush(&mut self) -> Result<ControlFlow<()>> {
        let flushed = self.out.flush();
        written_to_somebody(flushed)
    }
}
