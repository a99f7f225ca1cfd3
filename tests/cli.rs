//! The command line as a user meets it: transcripts of what is typed and what comes back, and the main job.
//!
//! To add a transcript, drop a file of command lines into `tests/golden/cli` and review its snapshot.

mod support;
#[path = "support/transcript.rs"]
mod transcript;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::servers::MariaDb;
use transcript::Desk;

/// How long something may take that takes a moment, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn transcripts() {
    insta::glob!("golden/cli/*.sh", |path| {
        let desk = Desk::new();
        let mut transcript = String::new();
        for line in fs::read_to_string(path).unwrap().lines().filter(|line| !line.is_empty()) {
            let output = run(&desk, line);
            transcript.push_str(&format!("$ {line}\n"));
            transcript.push_str(&desk.filtered(&stdout(&output)));
            let errors = desk.filtered(&stderr(&output));
            if !errors.is_empty() {
                transcript.push_str(&format!("[standard error]\n{errors}"));
            }
            transcript.push_str(&format!("[exit code {}]\n\n", output.status.code().unwrap_or(-1)));
        }
        insta::assert_snapshot!(transcript);
    });
}

#[test]
fn the_main_job_delivers_every_row_once() {
    let desk = Desk::new();
    let first = run(&desk, "lode run scripts/01_first.lode");
    assert!(first.status.success(), "{}", stderr(&first));
    let shown = stdout(&first);
    assert_eq!(shown.lines().count(), 7);
    for line in shown.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is an object");
        let row = line.get("after").unwrap_or(&line["before"]);
        let total: f64 = row["total"].as_str().expect("a decimal is a string").parse().unwrap();
        assert!(total >= 100.0, "{line}");
    }
    let before = rows(desk.path());
    assert_eq!(before.0.len(), 35, "the orders that are left");
    assert!(before.1.iter().all(|(quantity, price, total)| close(*quantity as f64 * price, *total)));

    let second = run(&desk, "lode run scripts/01_first.lode");
    assert!(second.status.success(), "{}", stderr(&second));
    assert_eq!(stdout(&second), "", "nothing is delivered twice");
    assert!(stderr(&second).contains("mine shop: 0 new changes"), "{}", stderr(&second));
    assert_eq!(rows(desk.path()), before);
}

#[test]
fn without_a_terminal_log_lines_tell_what_happens() {
    let desk = Desk::new();
    let output = desk.command("lode run scripts/01_first.lode").env_remove("LODE_LOG").output().unwrap();
    let log = stderr(&output);
    for line in
        [" INFO mining mine=\"shop\"", " INFO mined to the end of the source", " INFO delivering pipeline="]
    {
        assert!(log.contains(line), "{line} in {log}");
    }
    assert!(!log.contains('\x1b'), "no colours outside of terminals: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_ends_the_run_with_one_error_and_its_advice() {
    let server = MariaDb::start(&[]).await;
    server.sql("CREATE DATABASE shop; CREATE USER lode IDENTIFIED BY 'right'").await;
    let desk = Desk::new();
    let script = format!(
        r#"connection shop = mysql "mysql://lode@127.0.0.1:{}/shop" {{ password = env("SHOP_PASSWORD") }}
pipeline a = source mysql shop.orders share_mining -> sink null
pipeline b = source mysql shop.orders share_mining -> [ sink null, sink null ]
"#,
        server.port()
    );
    fs::write(desk.path().join("wrong.lode"), script).unwrap();
    let mut command = desk.command("lode run wrong.lode");
    let output = command.env("SHOP_PASSWORD", "wr0ng").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert_eq!(text.matches("error:").count(), 1, "{text}");
    assert_eq!(text.matches("check the user in the URL and the setting password").count(), 1, "{text}");
    assert!(!text.contains("wr0ng"), "{text}");
}

#[test]
fn what_fails_for_good_is_shown_once_with_its_advice() {
    let desk = Desk::new();
    fs::write(desk.path().join("mart.db"), "this is no database, and it is long enough to be seen as none")
        .unwrap();
    let script = r#"connection old = binlog "scripts/binlog" { database = "shop" }
connection mart = sqlite "mart.db"
pipeline orders { start = earliest } = source binlog old.orders -> [ sink sqlite mart.a, sink sqlite mart.b, sink sqlite mart.c ]
"#;
    fs::write(desk.path().join("wrong.lode"), script).unwrap();
    let output = run(&desk, "lode run wrong.lode");
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert_eq!(text.matches("help: name an SQLite database").count(), 1, "{text}");
}

#[test]
fn a_reader_of_standard_output_that_goes_away_is_told_and_no_panic() {
    let desk = Desk::new();
    for line in
        ["lode completions zsh | true", "lode plan scripts/01_first.lode | true", "lode explain | true"]
    {
        let output = run(&desk, line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{line}");
    }
}

#[test]
fn the_first_signal_delivers_and_ends_well() {
    for signal in ["INT", "TERM"] {
        let desk = Desk::new();
        let run = waiting_run(&desk, "exec lode run away.lode");
        kill(&run, signal);
        let output = ended(run);
        assert_eq!(output.status.code(), Some(0), "{signal}: {}", stderr(&output));
        assert!(stderr(&output).contains("Stopped after"), "{signal}: {}", stderr(&output));
    }
}

#[test]
fn on_a_terminal_a_line_shows_the_progress_below_the_warnings() {
    let desk = Desk::new();
    let mut run = on_terminal(&desk, "exec lode run away.lode");
    thread::sleep(Duration::from_secs(3));
    run.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let output = ended(run);
    let screen = stdout(&output);
    assert!(screen.contains("0 mined, 0 delivered, 0 rows/s"), "{screen}");
    assert!(screen.contains("mining broke off, trying again"), "{screen}");
    assert!(screen.contains("stopping: delivering what was mined; Ctrl-C again ends at once"), "{screen}");
    assert!(screen.contains("Stopped after"), "{screen}");
    // Whatever begins a line begins at its start: the progress line was taken away before.
    for line in screen.split('\n').filter(|line| line.contains("WARN") || line.contains("stopping:")) {
        let shown = line.rsplit("\x1b[2K").next().unwrap_or(line).rsplit('\r').find(|part| !part.is_empty());
        assert!(shown.is_some_and(|shown| !shown.contains("rows/s")), "{line:?}");
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let desk = Desk::new();
    // The sink waits for another writer of its file, so that nothing can be delivered.
    let held = Connection::open(desk.path().join("mart.db")).unwrap();
    let script = r#"connection old = binlog "scripts/binlog" { database = "shop" }
connection mart = sqlite "mart.db" { busy_timeout = 30s }
pipeline orders { start = earliest } = source binlog old.orders -> sink sqlite mart.orders
"#;
    fs::write(desk.path().join("held.lode"), script).unwrap();
    held.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE").unwrap();
    let mut run = on_terminal(&desk, "exec lode run held.lode");
    let keys = run.stdin.as_mut().unwrap();
    thread::sleep(Duration::from_secs(2));
    keys.write_all(b"\x03").unwrap();
    thread::sleep(Duration::from_secs(1));
    keys.write_all(b"\x03").unwrap();
    let asked = Instant::now();
    let output = ended(run);
    assert!(asked.elapsed() < Duration::from_secs(9), "it did not wait for the sink");
    assert_eq!(output.status.code(), Some(130), "{}", stdout(&output));
}

/// Runs a command line in which lode waits for a server that is not there, until it listens to signals.
fn waiting_run(desk: &Desk, line: &str) -> Child {
    write_away(desk);
    let mut command = desk.command(line);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = desk.path().join("lode-data/logs/away");
    let started = Instant::now();
    while !log.exists() && started.elapsed() < LONG {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(500));
    run
}

/// Runs a command line on a terminal of its own. What is shown there is its standard output; a key that sends a
/// signal reaches everything on that terminal, a shell that waits for `line` too.
fn on_terminal(desk: &Desk, line: &str) -> Child {
    write_away(desk);
    let mut command = desk.command(&format!("exec script -qec '{line}' /dev/null"));
    command.env_remove("LODE_LOG").env("TERM", "xterm").env("NO_COLOR", "1").env("SHELL", "/bin/sh");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A script whose server is away, and is waited for.
fn write_away(desk: &Desk) {
    let script = r#"connection away = mysql "mysql://nobody@127.0.0.1:1/shop"
pipeline p = source mysql away.orders share_mining -> sink null
"#;
    fs::write(desk.path().join("away.lode"), script).unwrap();
}

/// Runs a command line to its end.
fn run(desk: &Desk, line: &str) -> Output {
    desk.command(line).output().unwrap()
}

fn kill(run: &Child, signal: &str) {
    let status = std::process::Command::new("kill").args(["-s", signal, &run.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// The output of a run that is about to end.
fn ended(mut run: Child) -> Output {
    let started = Instant::now();
    while run.try_wait().unwrap().is_none() {
        if started.elapsed() > LONG {
            run.kill().unwrap();
            panic!("it did not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), None);
    output
}

/// Ids of the delivered orders, and quantity, price and total of the items.
fn rows(folder: &Path) -> (Vec<i64>, Vec<(i64, f64, f64)>) {
    let db = Connection::open(folder.join("scripts/out/mart.db")).unwrap();
    let mut orders = db.prepare("SELECT id FROM orders ORDER BY id").unwrap();
    let orders = orders.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut items = db
        .prepare(
            "SELECT quantity, CAST(price AS REAL), CAST(total AS REAL) FROM items ORDER BY order_id, line",
        )
        .unwrap();
    let items = items.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    (orders, items.unwrap().map(Result::unwrap).collect())
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
