//! `lode ctl`: one command for the lode that runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lode::engine::reply::Reply;
use lode::engine::socket::{Client, Request};
use lode::error::{Error, Kind, Result};
use lode::lang::verb::Verb;
use serde::Deserialize;

use super::follow::Followed;
use super::process::{current_folder, threads};
use super::run::Stop;
use super::{answer, exit, follow, out, screen};

#[derive(Args)]
pub struct Ctl {
    /// The command, best in single quotes: 'stop shop'
    #[arg(value_name = "COMMAND", required = true)]
    words: Vec<String>,
    /// Do what was asked to be confirmed
    #[arg(long, short = 'y')]
    yes: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// Folder of the lode that is asked, as for `lode run`
    #[arg(long, value_name = "DIR", default_value = "lode-data", env = "LODE_DATA", hide_env_values = true)]
    data: PathBuf,
}

/// Asks, and shows the answer.
pub fn run(ctl: Ctl) -> Result<ExitCode> {
    let folder = current_folder()?;
    let request = Request { command: ctl.words.join(" "), confirmed: ctl.yes, folder, parts: false };
    let mut client = Client::connect(&ctl.data)?;
    if is_followed(&request.command) {
        return show_parts(client, &request, ctl.json);
    }
    let mut answer = client.ask(&request)?;
    let reply = match reply_of(&answer) {
        Ok(reply) => reply,
        // Of another version: what it says can still be shown to programs.
        Err(_) if ctl.json => {
            out(&answer.to_string())?;
            return Ok(ExitCode::from(exit::RUNTIME));
        }
        Err(error) => return Err(error),
    };
    if ctl.json {
        leave_out_what_is_shown(&mut answer);
        out(&answer.to_string())?;
    } else {
        show(&reply)?;
        if matches!(reply, Reply::Confirm { .. }) {
            eprintln!("nothing was done; say it again with --yes");
        }
    }
    Ok(ExitCode::from(code(&reply)))
}

/// Programs have the exact values; what people are shown of them is a second, shortened copy.
fn leave_out_what_is_shown(answer: &mut serde_json::Value) {
    let Some(answer) = answer.as_object_mut() else { return };
    answer.shift_remove("shown");
    for list in ["changes", "rows"] {
        let items = answer.get_mut(list).and_then(|list| list.as_array_mut()).into_iter().flatten();
        items.filter_map(|item| item.as_object_mut()).for_each(|item| drop(item.shift_remove("shown")));
    }
}

/// Whether the answer to a command has no end.
pub fn is_followed(command: &str) -> bool {
    command.split_whitespace().next() == Some(Verb::Tail.as_str())
}

fn show_parts(client: Client, request: &Request, json: bool) -> Result<ExitCode> {
    let runtime = threads(Some(1))?;
    let code = runtime.block_on(async {
        let mut stop = Stop::listen()?;
        let followed = Followed::There(client.ask_in_parts(request)?);
        follow::show(followed, json, stop.asked()).await
    });
    runtime.shutdown_background();
    code.map(ExitCode::from)
}

/// What came over the socket, as an answer of this version.
pub fn reply_of(answer: &serde_json::Value) -> Result<Reply> {
    Reply::deserialize(answer).map_err(|error| {
        Error::new(Kind::Refused, format!("the answer of the lode that runs is not known here: {error}"))
            .advice("ask with the version that runs, or with `lode ctl --json`")
    })
}

/// Answers go to standard output; what is wrong, and what is to be confirmed, to standard error.
pub fn show(reply: &Reply) -> Result<()> {
    let terminal = console::Term::stdout();
    let width = terminal.is_term().then(|| usize::from(terminal.size().1));
    match reply {
        Reply::Failed { .. } | Reply::Wrong { .. } | Reply::Confirm { .. } => {
            eprint!("{}", answer::text(reply, width, screen::has_colors()));
            Ok(())
        }
        _ => out(&answer::text(reply, width, screen::has_colors())),
    }
}

/// The exit code of an answer.
pub fn code(reply: &Reply) -> u8 {
    match reply {
        Reply::Wrong { .. } => exit::SCRIPT,
        Reply::Failed { kind, .. } => exit::of(*kind),
        Reply::Confirm { .. } => exit::UNCONFIRMED,
        _ => exit::OK,
    }
}
