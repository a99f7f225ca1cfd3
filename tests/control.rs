//! Control of a running lode: transcripts of commands and answers, who may ask it, and clients that misbehave.
//!
//! To add a transcript, drop a file into `tests/golden/control` and review its snapshot. Its lines:
//!
//! | line | does |
//! |---|---|
//! | `@file NAME` … `@end` | writes a file |
//! | `@run ARGUMENTS` | starts `lode run ARGUMENTS`, and waits until it answers |
//! | `@settled` | waits until nothing moves |
//! | `@until TEXT in COMMAND`, `@gone TEXT in COMMAND` | waits until the answer has a text, or has it no longer |
//! | `@said TEXT` | waits until the run has said so in its log |
//! | `@mariadb` | starts a server; `{port}` in files is its port |
//! | `@sql STATEMENTS` | has it do something |
//! | `@signal NAME` | sends it a signal |
//! | `@stop`, `@kill` | ends it politely, or at once |
//! | `$ COMMAND` | runs a command; it and its answer are in the transcript |

mod support;
#[path = "support/transcript.rs"]
mod transcript;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lode::engine::socket::{CLIENTS_MAX, Client, REQUEST_BYTES_MAX, Request};
use lode::error::Kind;
use support::servers::{MariaDb, Server};
use tokio::runtime::Runtime;
use transcript::Desk;

/// How long something may take that takes a moment, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

const SCRIPT: &str = r#"connection shop = binlog "scripts/binlog" { database = "shop" }
pipeline orders { start = earliest } = source binlog shop.orders share_mining -> sink null
"#;

#[test]
fn transcripts() {
    insta::glob!("golden/control/*.txt", |path| {
        let mut scene = Scene::new();
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        let mut shown = String::new();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("@file ") {
                let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "@end").collect();
                let port = scene.server.as_ref().map(|server| server.port().to_string());
                let content = content.join("\n").replace("{port}", &port.unwrap_or_default()) + "\n";
                fs::write(scene.desk.path().join(name), content).unwrap();
            } else if let Some(command) = line.strip_prefix("$ ") {
                shown.push_str(&format!("$ {command}\n{}\n", scene.answer(command)));
            } else if !line.is_empty() && !line.starts_with('#') {
                scene.act(line);
                if !line.starts_with("@sql ") {
                    shown.push_str(&format!("{line}\n\n"));
                } else {
                    shown.push_str(&format!("{line}\n"));
                }
            }
        }
        insta::assert_snapshot!(shown);
    });
}

#[test]
fn two_clients_are_answered_at_once_and_see_the_same() {
    let mut scene = Scene::with_run();
    scene.settled();
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(&scene.data()).unwrap()).collect();
    let first = clients[0].ask(&asked("stop orders")).unwrap();
    assert_eq!(first["answer"], "done", "{first}");
    let second = clients[1].ask(&asked("status")).unwrap();
    assert_eq!(second["pipelines"][0]["halt"], "stopped", "{second}");
    assert_eq!(clients[0].ask(&asked("status")).unwrap()["pipelines"], second["pipelines"]);
    let audit = clients[1].ask(&asked("audit")).unwrap();
    assert_eq!(audit["entries"][0]["door"]["socket"]["pid"], std::process::id(), "{audit}");
}

#[test]
fn the_socket_is_its_owners_alone() {
    let scene = Scene::with_run();
    let socket = scene.data().join("lode.sock");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert!(!scene.data().join(".lode.sock.new").exists());
    if fs::metadata(&socket).unwrap().uid() != 0 {
        return;
    }
    // Root may become another user, who may enter every folder on the way, and is refused by the socket itself.
    let root = scene.desk.path();
    for folder in [root.to_owned(), scene.data()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let program = root.join("lode");
    fs::copy(transcript::LODE, &program).unwrap();
    for words in [&["ctl", "status"][..], &["attach"]] {
        let nobody = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(words)
            .arg("--data")
            .arg(scene.data())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&nobody.stderr).into_owned();
        assert_eq!(nobody.status.code(), Some(3), "{told}");
        assert!(told.contains("you may not ask the lode that runs"), "{told}");
    }
}

#[test]
fn a_dead_process_socket_is_replaced_and_a_running_one_never() {
    let mut scene = Scene::with_run();
    let second = scene.desk.command("lode run shop.lode").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("runs lode with the data folder"), "{}", stderr(&second));
    assert_eq!(ask(&scene, "status")["answer"], "status", "the first one was not disturbed");
    scene.act("@kill");
    assert!(scene.data().join("lode.sock").exists(), "a killed process cannot remove it");
    let error = Client::connect(&scene.data()).unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(error.to_string().contains("no lode runs"), "{error}");
    scene.act("@run shop.lode --stay");
    assert_eq!(ask(&scene, "status")["answer"], "status");
    scene.act("@stop");
    assert!(!scene.data().join("lode.sock").exists(), "one that ends removes it");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let scene = Scene::new();
    fs::write(scene.desk.path().join("shop.lode"), SCRIPT).unwrap();
    fs::create_dir_all(scene.data()).unwrap();
    fs::write(scene.data().join("lode.sock"), "somebody's file").unwrap();
    let run = scene.desk.command("lode run shop.lode").output().unwrap();
    assert_eq!(run.status.code(), Some(3));
    assert!(stderr(&run).contains("it is no socket"), "{}", stderr(&run));
    assert_eq!(fs::read(scene.data().join("lode.sock")).unwrap(), b"somebody's file");
}

#[test]
fn a_folder_with_a_long_name_has_a_socket_too() {
    let mut scene = Scene::new();
    scene.data = Some(scene.desk.path().join("d".repeat(100)).join("e".repeat(100)));
    fs::write(scene.desk.path().join("shop.lode"), SCRIPT).unwrap();
    let data = scene.data().display().to_string();
    scene.act(&format!("@run shop.lode --stay --data {data}"));
    let answer = scene.answer(&format!("lode ctl --data {data} --json diff"));
    assert!(answer.contains(r#""answer":"difference""#), "{answer}");
    scene.act("@stop");
}

#[test]
fn clients_that_hang_or_flood_cost_the_others_nothing() {
    let scene = Scene::with_run();
    let connect = || UnixStream::connect(scene.data().join("lode.sock")).unwrap();
    // A request without an end.
    let mut endless = connect();
    let sent = endless.write_all(&vec![b'x'; REQUEST_BYTES_MAX + 1]);
    let mut line = String::new();
    let read = BufReader::new(&endless).read_line(&mut line);
    assert!(line.contains("a request has more than") || sent.is_err() || read.is_err(), "{line}");
    // What is no request.
    let mut odd = connect();
    odd.write_all(b"status\n\xff\xfe\n{}\n{\"command\":\"mines\"}\n").unwrap();
    let answers: Vec<String> = BufReader::new(&odd).lines().take(4).map(Result::unwrap).collect();
    for answer in &answers[..3] {
        assert!(answer.contains("this is not a request"), "{answer}");
    }
    assert!(answers[3].contains(r#""answer":"mines""#), "{}", answers[3]);
    // Questions without end, from somebody who reads no answer.
    let mut flood = connect();
    flood.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let asked: usize =
        (0..100_000).take_while(|_| flood.write_all(b"{\"command\":\"help\"}\n").is_ok()).count();
    assert!(asked < 100_000, "it is not read further when its answers are not taken");
    // Everybody who may is connected, and says nothing.
    let mut idle: Vec<UnixStream> = Vec::new();
    let refused = loop {
        let mut stream = connect();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut answer = String::new();
        match BufReader::new(&mut stream).read_line(&mut answer) {
            Ok(_) => break answer,
            Err(_) => idle.push(stream),
        }
        assert!(idle.len() <= CLIENTS_MAX);
    };
    assert!(refused.contains("clients are connected"), "{refused}");
    drop(idle.pop());
    let started = Instant::now();
    while ask(&scene, "status")["answer"] != "status" {
        assert!(started.elapsed() < LONG);
        thread::sleep(Duration::from_millis(50));
    }
    drop((endless, flood));
}

#[test]
fn an_answer_that_breaks_off_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("lode.sock")).unwrap();
    let server = thread::spawn(move || {
        for answer in ["", "{\"answer\":\"do"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for _ in 0..2 {
        let error = Client::connect(folder.path()).unwrap().ask(&asked("stop orders")).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains("ended before it answered"), "{error}");
    }
    server.join().unwrap();
}

#[test]
fn a_damaged_memory_of_decisions_is_an_error_and_nothing_starts() {
    let mut scene = Scene::with_run();
    ask(&scene, "stop orders");
    scene.act("@stop");
    let path = scene.data().join("state/decisions.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let run = scene.desk.command("lode run shop.lode").output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    assert!(stderr(&run).contains("decisions.json is not readable"), "{}", stderr(&run));
    assert!(stderr(&run).contains("help: repair the file, or remove it"), "{}", stderr(&run));
}

/// A folder in which a lode may run.
struct Scene {
    desk: Desk,
    run: Option<Child>,
    data: Option<PathBuf>,
    server: Option<Server>,
    runtime: Runtime,
}

impl Scene {
    fn new() -> Scene {
        let runtime = Runtime::new().unwrap();
        Scene { desk: Desk::new(), run: None, data: None, server: None, runtime }
    }

    /// With [`SCRIPT`] running.
    fn with_run() -> Scene {
        let mut scene = Scene::new();
        fs::write(scene.desk.path().join("shop.lode"), SCRIPT).unwrap();
        scene.act("@run shop.lode --stay");
        scene
    }

    fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.desk.path().join("lode-data"))
    }

    fn act(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "@run" => {
                assert!(self.run.is_none(), "it runs");
                let log = self.desk.path().join("run.log");
                let log = File::options().create(true).append(true).open(log).unwrap();
                let mut command = self.desk.command(&format!("exec lode run {rest}"));
                command.env("TZ", "UTC").env("LODE_LOG", "info");
                self.run = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
                self.wait("it answers", |scene| Client::connect(&scene.data()).is_ok());
                // It answers at once, and knows what commands are about when its plan runs.
                self.wait("its plan runs", |scene| ask(scene, "status")["pipelines"][0].is_object());
            }
            "@settled" => self.settled(),
            "@until" | "@gone" => {
                let (text, command) = rest.split_once(" in ").expect("a text and a command");
                self.wait(line, |scene| {
                    let output = scene.desk.command(command).output().unwrap();
                    String::from_utf8_lossy(&output.stdout).contains(text) == (word == "@until")
                });
            }
            "@said" => self.wait(line, |scene| {
                fs::read_to_string(scene.desk.path().join("run.log")).is_ok_and(|log| log.contains(rest))
            }),
            "@mariadb" => self.server = Some(self.runtime.block_on(MariaDb::start(&[]))),
            "@sql" => {
                let server = self.server.as_ref().expect("a server was started");
                let statements: Vec<&str> = rest.split(';').map(str::trim).collect();
                self.runtime.block_on(server.run(&statements));
            }
            "@signal" => {
                let run = self.run.as_ref().expect("it runs").id().to_string();
                let entries = |scene: &Scene| ask(scene, "audit")["entries"].as_array().map_or(0, Vec::len);
                let before = entries(self);
                assert!(Command::new("kill").args(["-s", rest, &run]).status().unwrap().success());
                self.wait("it acts", |scene| entries(scene) > before);
            }
            "@stop" | "@kill" => {
                let mut run = self.run.take().expect("it runs");
                let signal = if word == "@stop" { "TERM" } else { "KILL" };
                let id = run.id().to_string();
                assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
                let status = run.wait().unwrap();
                assert_eq!(status.code(), (word == "@stop").then_some(0));
            }
            other => panic!("{other} is no action"),
        }
    }

    /// Waits until no route is at work.
    fn settled(&mut self) {
        self.wait("nothing moves", |scene| {
            let status = ask(scene, "status").to_string();
            !["starting", "running", "idle"]
                .iter()
                .any(|state| status.contains(&format!("\"state\":\"{state}\"")))
        });
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Scene) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            let log = || fs::read_to_string(self.desk.path().join("run.log")).unwrap_or_default();
            assert!(started.elapsed() < LONG, "{what}: not within {LONG:?}\n{}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a command says, without what differs from run to run.
    fn answer(&self, command: &str) -> String {
        let output = self.desk.command(command).env("TZ", "UTC").output().unwrap();
        let mut shown = self.filtered(&String::from_utf8_lossy(&output.stdout));
        let errors = self.filtered(&stderr(&output));
        if !errors.is_empty() {
            shown.push_str(&format!("[standard error]\n{errors}"));
        }
        shown.push_str(&format!("[exit code {}]\n", output.status.code().unwrap_or(-1)));
        shown
    }

    fn filtered(&self, text: &str) -> String {
        let text = text.replace(&self.desk.path().display().to_string(), "[DIR]");
        let text: String = text.split_inclusive('\n').map(filtered).collect();
        match &self.server {
            Some(server) => places(&text.replace(&server.port().to_string(), "[PORT]")),
            None => text,
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut run) = self.run.take() {
            // A test that failed leaves it running.
            let _ = run.kill();
            let _ = run.wait();
        }
    }
}

fn asked(command: &str) -> Request {
    Request { command: command.to_owned(), confirmed: true, folder: PathBuf::from("/"), parts: false }
}

fn ask(scene: &Scene, command: &str) -> serde_json::Value {
    Client::connect(&scene.data()).unwrap().ask(&asked(command)).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Puts times, sizes, delays and processes into brackets. Columns shift with them, so that blanks count as two.
fn filtered(line: &str) -> String {
    let is_table = !line.starts_with(' ') && !line.contains(" | ");
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        let (unit, number) =
            (words[at].trim_end().trim_end_matches(['.', ')', ';', ',']).to_owned(), &words[at - 1]);
        let is_number = number.trim_start_matches('(').parse::<f64>().is_ok();
        if is_number && ["B", "KiB", "MiB", "ms", "s", "min", "h"].contains(&unit.as_str()) {
            let open = if number.starts_with('(') { "(" } else { "" };
            words[at - 1] = format!("{open}[N]");
            words[at] = words[at].replacen(&unit, "[UNIT]", 1);
        }
        let rate =
            words[at].split_once("/s").filter(|(rate, _)| rate.replace(',', "").parse::<f64>().is_ok());
        if let Some((_, rest)) = rate {
            words[at] = format!("[N]/s{rest}");
        }
        if words[at - 1].ends_with("process") || words[at - 1].ends_with("(user") {
            words[at] = format!("[N]{}", words[at].trim_start_matches(|c: char| c.is_ascii_digit()));
        }
    }
    let mut line = times(&words.join(" "));
    for key in [
        "pid",
        "uid",
        "delay_ms",
        "latency_ms",
        "stored_bytes",
        "payload_bytes",
        "rows_per_s",
        "rows_in_per_s",
        "rows_out_per_s",
        "growth_bytes_per_s",
    ] {
        line = number_of(&line, key);
    }
    if is_table {
        while line.contains("   ") {
            line = line.replace("   ", "  ");
        }
    }
    line
}

/// `2026-01-31 09:00:00 UTC` and `"2026-01-31T09:00:00.123Z"`.
fn times(line: &str) -> String {
    let mut rest = line;
    let mut filtered = String::new();
    while let Some(at) = rest.find("20") {
        let found = &rest[at..];
        let is_time = found.len() >= 19
            && found.bytes().zip("2026-01-31?09:00:00".bytes()).all(|(byte, form)| match form {
                b'0'..=b'9' => byte.is_ascii_digit(),
                b'?' => byte == b' ' || byte == b'T',
                sign => byte == sign,
            });
        // Times that somebody wrote are whole seconds with a Z.
        let length = match is_time {
            true if found[19..].starts_with(" UTC") => 23,
            true if found[19..].starts_with('.') => found.find('Z').map_or(19, |z| z + 1),
            _ => 0,
        };
        filtered.push_str(&rest[..at]);
        filtered.push_str(if length > 0 { "[TIME]" } else { "20" });
        rest = &rest[at + length.max(2)..];
    }
    filtered + rest
}

/// Puts places of a server's binlog into brackets: `binlog.000001:1234 (gtid 0-1-5)`.
fn places(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        let is_place = |word: &str| {
            let (file, offset) = word.split_once(':')?;
            let (_, number) = file.rsplit_once('.')?;
            let rest = offset.trim_start_matches(|c: char| c.is_ascii_digit());
            let is_number = number.len() == 6 && number.bytes().all(|byte| byte.is_ascii_digit());
            (is_number && rest.len() < offset.len()).then(|| format!("[PLACE]{rest}"))
        };
        if let Some(place) = is_place(word) {
            *word = place;
        }
    }
    let text = words.join(" ");
    let mut parts = text.split(" (gtid ");
    let mut filtered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        filtered.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    filtered.split_inclusive('\n').map(chances).collect()
}

/// Puts what a server's timing decides into brackets: numbers of entries, and times in whole seconds.
fn chances(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 0..words.len() {
        let is_number = |word: &String| word.trim_end_matches(',').parse::<u64>().is_ok();
        let of_entries = words.get(at + 1).is_some_and(|next| next == "entries")
            || at > 1 && words[at - 1] == "to" && words[at - 2].parse::<u64>().is_ok();
        if is_number(&words[at]) && of_entries {
            words[at] = format!("[N]{}", words[at].trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        if words[at].starts_with("(20") && words[at].contains("Z)") {
            words[at] = words[at].replacen(|_: char| true, "", words[at].find("Z)").unwrap_or(0) + 1);
            words[at] = format!("([TIME]{}", words[at]);
        }
    }
    // A cursor moves every few seconds over changes of other tables.
    words.join(" ").replace(", [N] entries behind", "")
}

fn number_of(line: &str, key: &str) -> String {
    let open = format!("\"{key}\":");
    let mut parts = line.split(open.as_str());
    let mut filtered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        filtered.push_str(&format!("{open}[N]"));
        filtered.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || "-.e".contains(c)));
    }
    filtered
}
