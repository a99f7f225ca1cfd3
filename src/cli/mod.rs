//! The command line.

mod exit;
mod run;

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use lode::check::{self, Checked, Input, SecretsPolicy, Source, System};
use lode::engine::Engine;
use lode::engine::registry::Registry;
use lode::error::{Error, Kind, Result};
use lode::lang;
use lode::lang::diagnostic::{Diagnostic, did_you_mean, render, to_json};
use lode::lang::span::SourceMap;
use lode::plan;
use lode::plan::build::build;

/// Reads a database's change log once, keeps it, and shares it with every pipeline that wants it.
#[derive(Parser)]
#[command(name = "lode", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
A script says what is connected; Rhai in braces says what is computed:

    connection shop = mysql  \"mysql://repl@10.0.0.5:3306/shop\" { password = env(\"SHOP_PW\") }
    connection mart = sqlite \"mart.db\"
    pipeline orders =
      source mysql shop.orders share_mining
      -> filter { row.state == \"paid\" }
      -> sink sqlite mart.orders

Try it:
    lode check shop.lode      every mistake at once, and what to type instead
    lode plan  shop.lode      what is read once, and who reads it
    lode run   shop.lode      go; Ctrl-C delivers what was read and stops

Exit codes: 0 done, 1 failed while running, 2 the script or the arguments are wrong, 3 something outside is missing.";

#[derive(Subcommand)]
enum Command {
    /// Check scripts: names, settings, secrets, Rhai. Shows every mistake at once
    Check {
        #[command(flatten)]
        script: Script,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Lay scripts out in the usual form, in place. `-` reads standard input and writes standard output
    Fmt {
        /// Scripts; `-` for standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Change nothing; exit with 1 and name the files that are not in the usual form
        #[arg(long)]
        check: bool,
    },
    /// Show what a script would do: what is read once, which log keeps it, which pipelines read from there
    Plan {
        #[command(flatten)]
        script: Script,
        /// Print the plan as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run scripts until their sources end or Ctrl-C; the next run goes on where this one stopped
    Run {
        #[command(flatten)]
        script: Script,
        /// Folder for logs, cursors and rows set aside
        #[arg(long, value_name = "DIR", default_value = "lode-data", env = "LODE_DATA")]
        data: PathBuf,
    },
    /// Print the page of a code that a message shows, such as E0203
    Explain {
        /// The code
        code: String,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct Script {
    /// Scripts; what they declare is put together
    #[arg(value_name = "FILE", required_unless_present = "text")]
    files: Vec<PathBuf>,
    /// A script as text
    #[arg(short = 'e', value_name = "SCRIPT")]
    text: Option<String>,
    /// Give a name of the script (`let batch = 1000`, used as `$batch`) another value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    sets: Vec<(String, String)>,
}

fn name_and_value(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Cli {
    /// Does what was asked, and tells how it went.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Check { script, json } => check_only(&script, json),
            Command::Fmt { files, check } => format(&files, check),
            Command::Plan { script, json } => show_plan(&script, json),
            Command::Run { script, data } => run_script(&script, data),
            Command::Explain { code } => explain(&code),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "lode", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        };
        outcome.unwrap_or_else(|error| {
            eprintln!("error: {error}");
            if let Some(advice) = error.next_step() {
                eprintln!("  = help: {advice}");
            }
            ExitCode::from(exit::of(error.kind()))
        })
    }
}

fn check_only(script: &Script, json: bool) -> Result<ExitCode> {
    let checked = load(script, SecretsPolicy::Optional)?;
    if json {
        out(&to_json(&checked.diagnostics, &checked.sources))?;
    } else {
        show(&checked.diagnostics, &checked.sources);
        if let Some(model) = &checked.model {
            eprintln!("ok: {} pipelines", model.pipelines.len());
        }
    }
    Ok(if checked.has_errors() { ExitCode::from(exit::SCRIPT) } else { ExitCode::SUCCESS })
}

fn show_plan(script: &Script, json: bool) -> Result<ExitCode> {
    let checked = load(script, SecretsPolicy::Optional)?;
    show(&checked.diagnostics, &checked.sources);
    let Some(model) = &checked.model else { return Ok(ExitCode::from(exit::SCRIPT)) };
    let plan = build(model);
    out(&if json { plan::show::to_json(&plan) } else { plan::show::tree(&plan) })?;
    Ok(ExitCode::SUCCESS)
}

fn run_script(script: &Script, data: PathBuf) -> Result<ExitCode> {
    let engine = Engine::new(data, Registry::built_in());
    let checked = engine.load(&input(script, SecretsPolicy::Required)?);
    show(&checked.diagnostics, &checked.sources);
    let Some(model) = &checked.model else { return Ok(ExitCode::from(exit::SCRIPT)) };
    listen_to_logs();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Error::new(Kind::Environment, format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(run::run(&engine, engine.plan(model)));
    // A thread that is blocked in a system call does not hold up the exit.
    runtime.shutdown_background();
    outcome
}

fn load(script: &Script, secrets: SecretsPolicy) -> Result<Checked> {
    Ok(check::check(&input(script, secrets)?, Registry::built_in().kinds(), &System))
}

fn input(script: &Script, secrets: SecretsPolicy) -> Result<Input> {
    let base_dir = std::env::current_dir()
        .map_err(|error| Error::new(Kind::Environment, format!("there is no current folder: {error}")))?;
    let mut scripts: Vec<_> = script.files.iter().cloned().map(Source::File).collect();
    if let Some(text) = &script.text {
        scripts.push(Source::Text { name: "<command line>".to_owned(), text: text.clone() });
    }
    Ok(Input { scripts, sets: script.sets.clone(), secrets, base_dir })
}

fn format(files: &[PathBuf], check: bool) -> Result<ExitCode> {
    let mut code = exit::OK;
    for file in files {
        let text = read(file)?;
        let mut sources = SourceMap::new();
        let id = sources.add(file.display().to_string(), text.as_str());
        match lang::print::format(id, &text) {
            Err(findings) => {
                show(&findings, &sources);
                code = exit::SCRIPT;
            }
            Ok(formatted) if is_standard_input(file) && !check => out(&formatted)?,
            Ok(formatted) if formatted == text => {}
            Ok(_) if check => {
                eprintln!("{} is not in the usual form; `lode fmt` puts it right", file.display());
                code = code.max(exit::RUNTIME);
            }
            Ok(formatted) => write(file, &formatted)?,
        }
    }
    Ok(ExitCode::from(code))
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(file: &Path) -> Result<String> {
    let text = if is_standard_input(file) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| Error::new(Kind::Environment, format!("cannot read {}: {error}", file.display())))
}

/// Puts the new text in the old one's place at once, so that a full disk leaves the old one.
fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let replaced = tempfile::NamedTempFile::new_in(folder).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.as_file().set_permissions(std::fs::metadata(file)?.permissions())?;
        new.persist(file)?;
        Ok(())
    });
    replaced
        .map_err(|error| Error::new(Kind::Environment, format!("cannot write {}: {error}", file.display())))
}

fn explain(code: &str) -> Result<ExitCode> {
    if let Some(page) = lang::codes::explain(code) {
        out(page)?;
        return Ok(ExitCode::SUCCESS);
    }
    let codes = lang::codes::Code::ALL.iter().map(|code| code.as_str());
    let advice = match did_you_mean(&code.to_uppercase(), codes) {
        Some(near) => format!("did you mean {near}?"),
        None => "codes look like E0203; messages show them in brackets".to_owned(),
    };
    Err(Error::new(Kind::Script, format!("there is no code {code}")).advice(advice))
}

fn show(findings: &[Diagnostic], sources: &SourceMap) {
    let color =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    eprint!("{}", render(findings, sources, color));
}

/// Writes to standard output. A reader that has gone (`lode plan | head`) is no error.
fn out(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(newline.as_bytes())) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Environment, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Warnings on a terminal, where the progress line says the rest; everything elsewhere. `LODE_LOG` says otherwise.
fn listen_to_logs() {
    let default = if std::io::stderr().is_terminal() { "warn" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("LODE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
