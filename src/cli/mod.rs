//! The command line.

mod alerts;
mod answer;
mod ctl;
mod exit;
mod follow;
mod help;
mod log;
mod log_lines;
mod looks;
mod observe;
mod process;
mod prompt;
mod run;
mod screen;
mod summary;
mod table;
mod testing;
mod top;
#[cfg(feature = "otel")]
mod traces;
mod units;

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};
use lode::check::{self, Checked, Input, Model, SecretsPolicy, System};
use lode::engine::Engine;
use lode::engine::registry::Registry;
use lode::error::{Error, Kind, Result};
use lode::hook::library;
use lode::lang;
use lode::lang::codes::Code;
use lode::lang::diagnostic::{Diagnostic, did_you_mean, render, to_json};
use lode::lang::span::SourceMap;
use lode::plan;
use lode::plan::build::build;

use self::observe::{LogFormat, Metrics};
use self::screen::Screen;

/// Reads a database's change log once, keeps it, and shares it with every pipeline that wants it.
#[derive(Parser)]
#[command(name = "lode", version, arg_required_else_help = true, after_help = help::LODE)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check scripts: names, settings, secrets, Rhai; every mistake at once
    #[command(
        after_help = help::CHECK,
        mut_arg("files", |files| files.required_unless_present("text")),
        override_usage = "lode check [OPTIONS] FILE...\n       lode check [OPTIONS] -e SCRIPT"
    )]
    Check {
        #[command(flatten)]
        script: Script,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Lay scripts out in the usual form, in place
    #[command(after_help = help::FMT)]
    Fmt {
        /// Scripts; `-` reads standard input and writes standard output
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Change nothing; exit with 1 and name the files that are not in the usual form
        #[arg(long)]
        check: bool,
    },
    /// Show what a script would do: what is read once, which log keeps it, which pipelines read from there
    #[command(
        after_help = help::PLAN,
        mut_arg("files", |files| files.required_unless_present("text")),
        override_usage = "lode plan [OPTIONS] FILE...\n       lode plan [OPTIONS] -e SCRIPT"
    )]
    Plan {
        #[command(flatten)]
        script: Script,
        /// Print the plan as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the tests of scripts: given rows go through the stages, and what comes out is compared
    #[command(
        after_help = help::TEST,
        mut_arg("files", |files| files.required_unless_present("text")),
        override_usage = "lode test [OPTIONS] FILE...\n       lode test [OPTIONS] -e SCRIPT"
    )]
    Test {
        #[command(flatten)]
        script: Script,
        /// Run only the tests that have this in their name
        #[arg(long, value_name = "NAME")]
        filter: Option<String>,
        /// Print how the tests went as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run scripts until their sources end or Ctrl-C; the next run goes on where this one stopped
    #[command(
        after_help = help::RUN,
        mut_arg("files", |files| files.required_unless_present("text")),
        override_usage = "lode run [OPTIONS] FILE...\n       lode run [OPTIONS] -e SCRIPT"
    )]
    Run {
        #[command(flatten)]
        script: Script,
        /// Folder for logs, cursors and rows set aside
        #[arg(
            long,
            value_name = "DIR",
            default_value = "lode-data",
            env = "LODE_DATA",
            hide_env_values = true
        )]
        data: PathBuf,
        /// Stay when every source has ended and everything is delivered, for `lode ctl`
        #[arg(long)]
        stay: bool,
        #[command(flatten)]
        metrics: Metrics,
        /// Write log lines for people, or an object a line
        #[arg(
            long,
            value_name = "FORMAT",
            env = "LODE_LOG_FORMAT",
            default_value = "text",
            hide_env_values = true
        )]
        log_format: LogFormat,
    },
    /// Ask or tell the lode that runs: status, stop, pause, rewind, apply
    #[command(after_help = help::CTL)]
    Ctl(ctl::Ctl),
    /// Open a prompt on the lode that runs
    #[command(after_help = help::ATTACH)]
    Attach(prompt::Attach),
    /// Run scripts, or nothing at first, with a prompt to control it
    #[command(
        after_help = help::REPL,
        override_usage = "lode repl [OPTIONS] [FILE]...\n       lode repl [OPTIONS] -e SCRIPT"
    )]
    Repl(prompt::repl::Repl),
    /// Show the lode that runs on the whole screen: rates, lag, tables
    #[command(after_help = help::TOP)]
    Top(top::Top),
    /// Look into a log, also while a mine writes it: peek, tail, stat, verify
    #[command(after_help = help::LOG)]
    Log {
        #[command(subcommand)]
        command: log::LogCommand,
    },
    /// Print the page of a code that a message shows (E0203), or the settings of a kind (mysql)
    #[command(after_help = help::EXPLAIN)]
    Explain {
        /// A code, a kind, `share_mining` or `pipeline`; without it, everything that has a page is listed
        #[arg(value_name = "CODE|KIND")]
        word: Option<String>,
    },
    /// Print completions for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct Script {
    /// Scripts, put together; `-` is standard input
    #[arg(value_name = "FILE")]
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
            Command::Test { script, filter, json } => testing::test(&script, filter.as_deref(), json),
            Command::Run { script, data, stay, metrics, log_format } => {
                run_script(&script, &data, stay, &metrics, log_format)
            }
            Command::Ctl(ctl) => ctl::run(ctl),
            Command::Attach(attach) => prompt::attach(attach),
            Command::Repl(repl) => prompt::repl::repl(repl),
            Command::Top(top) => top::top(top),
            Command::Log { command } => log::run(command),
            Command::Explain { word } => explain(word.as_deref()),
            Command::Completions { shell } => completions(shell),
        };
        outcome.unwrap_or_else(|error| {
            complain(&error);
            ExitCode::from(exit::of(error.kind()))
        })
    }
}

fn complain(error: &Error) {
    eprint!("{}", screen::error_text(&error.to_string(), error.next_step(), screen::has_colors()));
}

fn check_only(script: &Script, json: bool) -> Result<ExitCode> {
    let checked = load(script, SecretsPolicy::Optional)?;
    if json {
        out(&to_json(&checked.diagnostics, &checked.sources))?;
    } else if let Some(model) = show(&checked) {
        out(&found(model))?;
    }
    Ok(if checked.has_errors() { ExitCode::from(exit::SCRIPT) } else { ExitCode::SUCCESS })
}

/// What a script without errors asks for, in one line.
fn found(model: &Model) -> String {
    let not_yet = |refuses_run| {
        let facts: Vec<_> = model.not_yet.iter().filter(|fact| fact.refuses_run == refuses_run).collect();
        (!facts.is_empty())
            .then(|| facts.iter().map(|fact| fact.what.as_str()).collect::<Vec<_>>().join(", "))
    };
    let pipelines: Vec<_> = model.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    let mines: Vec<_> = model.mines.values().map(|mine| mine.name.as_str()).collect();
    let mut line = match pipelines.as_slice() {
        [] => "ok: no pipeline, but other scripts can include it".to_owned(),
        _ => format!("ok: {}", counted(&pipelines, "pipeline")),
    };
    if !mines.is_empty() {
        line.push_str(&format!(" reading from {}", counted(&mines, "mine")));
    }
    if let Some(facts) = not_yet(false) {
        line.push_str(&format!("; runs without: {facts}"));
    }
    if let Some(facts) = not_yet(true) {
        line.push_str(&format!("; this version cannot run it yet: {facts}"));
    }
    line
}

/// `2 pipelines (items, orders)`.
fn counted(names: &[&str], what: &str) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{} {what}{plural} ({})", names.len(), names.join(", "))
}

fn show_plan(script: &Script, json: bool) -> Result<ExitCode> {
    let checked = load(script, SecretsPolicy::Optional)?;
    let Some(model) = show(&checked) else { return Ok(ExitCode::from(exit::SCRIPT)) };
    let plan = build(model);
    match json {
        true => out(&plan::show::to_json(&plan))?,
        false if plan.pipelines.is_empty() => out("nothing to do: the scripts declare no pipeline")?,
        false => out(&plan::show::tree(&plan))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_script(
    script: &Script,
    data: &Path,
    stay: bool,
    metrics: &Metrics,
    log_format: LogFormat,
) -> Result<ExitCode> {
    let engine = Arc::new(Engine::new(data, Registry::built_in()));
    let input = input(script, SecretsPolicy::Required)?;
    let checked = engine.load(&input);
    engine.remember(input.as_read(&checked));
    let Some(model) = show(&checked) else { return Ok(ExitCode::from(exit::SCRIPT)) };
    if model.pipelines.is_empty() {
        return Err(Error::new(Kind::Script, "there is nothing to run: the scripts declare no pipeline")
            .advice("write one: pipeline name = source … -> sink …"));
    }
    let plan = engine.plan(model);
    make_data_dir(data)?;
    let screen = Screen::new(&plan, log_format);
    let _listening = observe::listen(&screen)?;
    let runtime = process::threads(None)?;
    let outcome = runtime.block_on(run::run(&engine, plan, &screen, data, stay, metrics));
    // A thread that is blocked in a system call does not hold up the exit.
    runtime.shutdown_background();
    match outcome {
        Err(error) if screen.complain(&error) => Ok(ExitCode::from(exit::of(error.kind()))),
        outcome => outcome,
    }
}

fn make_data_dir(data: &Path) -> Result<()> {
    std::fs::create_dir_all(data).map_err(|error| {
        Error::new(Kind::Environment, format!("cannot make the data folder {}: {error}", data.display()))
            .advice("name another folder with --data, or with the variable LODE_DATA")
    })
}

fn load(script: &Script, secrets: SecretsPolicy) -> Result<Checked> {
    Ok(check::check(&input(script, secrets)?, Registry::built_in().kinds(), &System))
}

fn input(script: &Script, secrets: SecretsPolicy) -> Result<Input> {
    let mut input = Input { secrets, sets: script.sets.clone(), ..Input::new(process::current_folder()?) };
    for file in &script.files {
        input = if is_standard_input(file) { input.text(shown(file), read(file)?) } else { input.file(file) };
    }
    Ok(match &script.text {
        Some(text) => input.text("<command line>", text),
        None => input,
    })
}

fn format(files: &[PathBuf], check: bool) -> Result<ExitCode> {
    let mut code = exit::OK;
    for file in files {
        let name = shown(file);
        let text = match read(file) {
            Ok(text) => text,
            Err(error) => {
                complain(&error);
                code = exit::SCRIPT;
                continue;
            }
        };
        let mut sources = SourceMap::new();
        let id = sources.add(name.as_str(), text.as_str());
        match lang::print::format(id, &text) {
            Err(findings) => {
                show_findings(&findings, &sources);
                code = exit::SCRIPT;
            }
            Ok(formatted) if is_standard_input(file) && !check => out(&formatted)?,
            Ok(formatted) if formatted == text => {}
            Ok(_) if check => {
                eprintln!("{name} is not in the usual form; `lode fmt` puts it right");
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

/// A file's name in messages.
fn shown(file: &Path) -> String {
    if is_standard_input(file) { "<standard input>".to_owned() } else { file.display().to_string() }
}

fn read(file: &Path) -> Result<String> {
    let text = if is_standard_input(file) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::IsADirectory => "it is a folder".to_owned(),
            ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        };
        Error::new(Kind::Script, format!("cannot read {}: {reason}", shown(file)))
    })
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

fn explain(word: Option<&str>) -> Result<ExitCode> {
    let registry = Registry::built_in();
    let kinds = registry.kinds();
    let words = || kinds.iter().map(|kind| kind.name).chain(["share_mining", "pipeline"]);
    let functions = library::functions();
    let functions = || functions.iter().map(|known| known.name);
    let Some(word) = word else {
        let codes = Code::ALL.iter().map(|code| format!("  {}  {}\n", code.as_str(), code.title()));
        let words = words().map(|word| format!("  {word}\n"));
        let (codes, words) = (codes.collect::<String>(), words.collect::<String>());
        let mut functions: Vec<_> = functions().collect();
        functions.dedup();
        let functions = functions.chunks(8).map(|line| format!("  {}\n", line.join(" "))).collect::<String>();
        out(&format!(
            "Codes:\n{codes}\nSettings of:\n{words}\nFunctions of hooks, all of which `hooks` lists:\n{functions}"
        ))?;
        return Ok(ExitCode::SUCCESS);
    };
    let page = lang::codes::explain(word).map(str::to_owned);
    let page = page.or_else(|| check::reference(&word.to_lowercase(), kinds)).or_else(|| library::page(word));
    if let Some(page) = page.or_else(|| (word == "hooks").then(library::reference)) {
        out(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    let codes = Code::ALL.iter().map(|code| code.as_str());
    let advice = match did_you_mean(word, words().chain(functions())).or_else(|| did_you_mean(word, codes)) {
        Some(near) => format!("did you mean {near}? `lode explain` lists everything"),
        None => "`lode explain` lists everything that has a page".to_owned(),
    };
    Err(Error::new(Kind::Script, format!("there is no page for {word}")).advice(advice))
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lode", &mut text);
    out(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the findings, and gives the model when none is an error.
fn show(checked: &Checked) -> Option<&Model> {
    show_findings(&checked.diagnostics, &checked.sources);
    checked.model.as_ref()
}

/// Shows the findings, and a blank line before whatever comes next.
fn show_findings(findings: &[Diagnostic], sources: &SourceMap) {
    if findings.is_empty() {
        return;
    }
    eprintln!("{}", render(findings, sources, screen::has_colors()));
    let Some(first) = findings.iter().find(|finding| finding.is_error()) else { return };
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let plural = if errors == 1 { "" } else { "s" };
    eprintln!("{errors} error{plural}; `lode explain {}` says more", first.code.as_str());
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
