//! The prompt as a person meets it: `lode attach` and `lode repl` in terminals, and what the terminals show.
//!
//! To add a case, drop a file into `tests/golden/prompt` and review its snapshot. Its lines:
//!
//! | line | does |
//! |---|---|
//! | `@file NAME` … `@end` | writes a file |
//! | `@run ARGUMENTS` | starts `lode run ARGUMENTS`, and waits until nothing moves |
//! | `@kill` | ends it at once |
//! | `@open NAME COMMAND` | opens a terminal of 72 columns with a command in it, and turns to it |
//! | `@turn NAME` | turns to a terminal that is open |
//! | `@size COLUMNS ROWS` | makes the terminal that wide, and that high |
//! | `> TEXT` | types a text and Enter, which ends the line |
//! | `@type TEXT` | types into the line; `<Tab>`, `<Enter>`, `<Up>`, `<Right>` and so on are keys |
//! | `@clear` | presses Ctrl-C, which clears the line |
//! | `@key KEY` | presses a key where no line is typed |
//! | `@wait TEXT`, `@gone TEXT` | waits until the terminal shows a text, or shows it no longer |
//! | `@screen` | puts what the terminal shows into the snapshot, and clears it |
//! | `@picture NAME` | holds that a picture in `scripts/pictures` shows what the terminal shows |
//! | `@ended CODE` | waits until its command has ended with an exit code |
//! | `$ COMMAND` | runs a command without a terminal; it and its answer are in the snapshot |

#[path = "support/picture.rs"]
mod picture;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/transcript.rs"]
mod transcript;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::process::{Child as Process, Stdio};

use lode::engine::socket::{Client, Request};
use terminal::{ROWS, Terminal, keys, until};
use transcript::Desk;

const SCRIPT: &str = r#"connection shop = binlog "scripts/binlog" { database = "shop" }
pipeline orders { start = earliest } = source binlog shop.orders share_mining -> sink null
"#;

#[test]
fn terminals_show_what_they_should() {
    insta::glob!("golden/prompt/*.txt", |path| {
        let mut stage = Stage::default();
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("@file ") {
                let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "@end").collect();
                fs::write(stage.desk.path().join(name), content.join("\n") + "\n").unwrap();
            } else if !line.is_empty() && !line.starts_with('#') {
                stage.act(line);
            }
        }
        insta::assert_snapshot!(stage.shown);
    });
}

#[test]
fn colours_are_shown_unless_somebody_wants_none() {
    let mut stage = Stage::default();
    for (variable, is_colored) in [(None, true), (Some("NO_COLOR=1"), false)] {
        stage.act(&format!("@open it env {} lode repl", variable.unwrap_or("A=1")));
        stage.act("@wait lode>");
        stage.act("@type explain \"mysql\" # a comment");
        stage.act("@wait a comment");
        let written = stage.terminal().written.lock().unwrap().clone();
        let written = String::from_utf8_lossy(&written).into_owned();
        assert_eq!(written.contains("\x1b[32m\"mysql\""), is_colored, "{written:?}");
        assert_eq!(written.contains("\x1b[1;34mexplain"), is_colored, "{written:?}");
        stage.act("@clear");
        stage.act("@type <Ctrl-D>");
        stage.act("@ended 0");
    }
}

#[test]
fn a_terminal_is_as_it_was_when_the_process_is_told_to_end() {
    for view in [None, Some("top")] {
        let mut stage = Stage::default();
        stage.act("@open it sh -c 'lode repl; stty -a'");
        stage.act("@wait lode>");
        if let Some(view) = view {
            stage.act(&format!("> {view}"));
            stage.act("@wait no pipeline runs");
        }
        let lock = fs::read_to_string(stage.desk.path().join("lode-data/lode.lock")).unwrap();
        let kill = std::process::Command::new("kill").args(["-s", "TERM", lock.trim()]).status().unwrap();
        assert!(kill.success());
        stage.act("@wait  icanon");
        stage.act("@wait  echo ");
        stage.act("@ended 0");
        assert!(!stage.terminal().is_full_screen());
    }
}

#[test]
fn a_view_gives_the_terminal_back_however_it_ends() {
    let mut stage = Stage::default();
    fs::write(stage.desk.path().join("shop.lode"), SCRIPT).unwrap();
    stage.act("@run shop.lode --stay");
    let script = "sh -c 'echo $$ > view; exec lode top'\necho code $?\nstty -a\n";
    fs::write(stage.desk.path().join("view.sh"), script).unwrap();
    for (signal, code) in [("TERM", 143), ("HUP", 129)] {
        stage.act("@open it sh view.sh");
        stage.act("@wait Tables of shop");
        assert!(stage.terminal().is_full_screen());
        signal_view(&stage, signal);
        stage.act(&format!("@wait code {code}"));
        stage.act("@wait  icanon");
        stage.act("@wait  echo ");
        stage.act("@ended 0");
        assert!(!stage.terminal().is_full_screen());
    }
}

#[test]
fn a_view_takes_the_terminal_again_after_a_shell_has_used_it() {
    let mut stage = Stage::default();
    fs::write(stage.desk.path().join("shop.lode"), SCRIPT).unwrap();
    stage.act("@run shop.lode --stay");
    stage.act("@open it sh -c 'echo $$ > view; tty > tty; exec lode top'");
    stage.act("@wait Tables of shop");
    let tty = fs::read_to_string(stage.desk.path().join("tty")).unwrap();
    let settings = |change: &[&str]| {
        let stty = std::process::Command::new("stty").args(["-F", tty.trim()]).args(change).output().unwrap();
        assert!(stty.status.success(), "{stty:?}");
        String::from_utf8_lossy(&stty.stdout).into_owned()
    };
    assert!(settings(&["-a"]).contains("-icanon"));
    signal_view(&stage, "STOP");
    settings(&["icanon", "echo"]);
    stage.terminal().clear();
    signal_view(&stage, "CONT");
    stage.act("@wait Tables of shop");
    until("the terminal is taken", || settings(&["-a"]).contains("-icanon"));
    stage.act("@key q");
    stage.act("@ended 0");
    assert!(settings(&["-a"]).contains(" icanon"));
}

fn signal_view(stage: &Stage, signal: &str) {
    let id = fs::read_to_string(stage.desk.path().join("view")).unwrap();
    let sent = std::process::Command::new("kill").args(["-s", signal, id.trim()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn without_a_terminal_ctrl_c_delivers_and_ends() {
    let stage = Stage::default();
    fs::write(stage.desk.path().join("shop.lode"), SCRIPT).unwrap();
    let mut command = stage.desk.command("exec lode repl shop.lode");
    let mut repl =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = repl.stdin.take().unwrap();
    input.write_all(b"help quit\n").unwrap();
    // It reads lines from now on.
    let mut answered = [0; 4];
    repl.stdout.as_mut().unwrap().read_exact(&mut answered).unwrap();
    let id = repl.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
    let output = repl.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("stopping: delivering") && told.contains("Stopped after"), "{told}");
    drop(input);
}

/// A folder, a lode that may run in it, and terminals.
struct Stage {
    desk: Desk,
    run: Option<Process>,
    terminals: BTreeMap<String, Terminal>,
    turned_to: String,
    shown: String,
}

impl Default for Stage {
    fn default() -> Stage {
        let (terminals, turned_to, shown) = (BTreeMap::new(), String::new(), String::new());
        Stage { desk: Desk::new(), run: None, terminals, turned_to, shown }
    }
}

impl Stage {
    fn act(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "@run" => {
                let mut command = self.desk.command(&format!("exec lode run {rest}"));
                self.run = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
                let data = self.desk.path().join("lode-data");
                until(line, || {
                    let request = Request { command: "pipelines".to_owned(), ..Request::default() };
                    let answer = Client::connect(&data).and_then(|mut client| client.ask(&request));
                    answer.is_ok_and(|answer| {
                        let at_work = ["starting", "running", "idle"];
                        let answer = answer.to_string();
                        answer.contains("\"state\":\"")
                            && !at_work.iter().any(|state| answer.contains(&format!("\"state\":\"{state}\"")))
                    })
                });
            }
            "@kill" => {
                let mut run = self.run.take().expect("it runs");
                run.kill().unwrap();
                run.wait().unwrap();
            }
            "@open" => {
                let (name, command) = rest.split_once(' ').expect("a name and a command");
                self.terminals.insert(name.to_owned(), Terminal::open(&self.desk, command));
                self.turned_to = name.to_owned();
                self.shown.push_str(&format!("=== {name}: {command}\n"));
            }
            "@turn" => {
                self.turned_to = rest.to_owned();
                self.shown.push_str(&format!("=== {rest}\n"));
            }
            "@size" => {
                let mut size = rest.split(' ').map(|number| number.parse().expect("a number"));
                let columns = size.next().expect("columns");
                self.terminal().resize(columns, size.next().unwrap_or(ROWS));
                // Nobody types in the same moment.
                self.terminal().settled();
            }
            ">" => self.terminal().end_line(&format!("{rest}\r")),
            "@clear" => self.terminal().end_line("\x03"),
            "@type" => {
                self.terminal().ready();
                self.terminal().write(&keys(rest));
            }
            "@key" => self.terminal().write(&keys(rest)),
            "@wait" => {
                self.terminal().wait(line, |contents| contents.contains(rest));
            }
            "@gone" => {
                self.terminal().wait(line, |contents| !contents.contains(rest));
            }
            "@screen" => {
                let contents = self.filtered(&self.terminal().settled());
                self.shown.push_str(&format!("{}\n", contents.trim_end()));
                self.terminal().clear();
            }
            "@picture" => {
                self.terminal().settled();
                picture::assert_is_current(rest, &self.terminal().picture());
            }
            "@ended" => {
                let code = self.terminals.get_mut(&self.turned_to).expect("it is open").ended(line);
                assert_eq!(code.to_string(), rest);
                self.shown.push_str(&format!("[ended with {code}]\n"));
            }
            "$" => {
                let output = self.desk.command(rest).env("TZ", "UTC").output().unwrap();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let (answer, errors) = (text(&output.stdout), text(&output.stderr));
                let code = output.status.code().unwrap_or(-1);
                let shown = self.filtered(&format!("{answer}{errors}"));
                self.shown.push_str(&format!("$ {rest}\n{shown}[exit code {code}]\n"));
            }
            other => panic!("{other} is no action"),
        }
    }

    fn filtered(&self, text: &str) -> String {
        text.replace(&self.desk.path().display().to_string(), "[DIR]")
    }

    fn terminal(&self) -> &Terminal {
        self.terminals.get(&self.turned_to).expect("a terminal is open")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for terminal in self.terminals.values_mut() {
            terminal.kill();
        }
        if let Some(mut run) = self.run.take() {
            let _ = run.kill();
            let _ = run.wait();
        }
    }
}
