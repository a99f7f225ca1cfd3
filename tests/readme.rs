//! Everything that README and the reference show is true: commands are run and what they answer is compared, scripts
//! are checked. Rust code in README is compiled as a doctest of the crate.

#[path = "support/transcript.rs"]
mod transcript;

use std::path::Path;
use std::process::Command;

use lode::check::{Input, SecretsPolicy, System, check};
use lode::engine::kinds::builtin;
use lode::lang::codes::Code;
use lode::lang::diagnostic::render;
use transcript::{Desk, LODE};

#[test]
fn commands_answer_as_readme_shows() {
    let desk = Desk::new();
    let readme = read("README.md");
    let blocks: Vec<_> = fences(&readme).into_iter().filter(|fence| fence.info == "console").collect();
    assert!(
        blocks
            .iter()
            .any(|block| block.text.starts_with("$ cargo run --release -- run scripts/01_first.lode"))
    );
    for block in blocks {
        let (line, expected) = block.text.split_once('\n').expect("a command is a line");
        let line = line.strip_prefix("$ ").expect("a console block begins with a command");
        if is_run_elsewhere(line) {
            continue;
        }
        // The same program without optimisation, built already.
        let line = line.replace("cargo run --release --", "lode");
        let output = desk.command(&format!("{{ {line}; }} 2>&1")).env("LODE_BIN", LODE).output().unwrap();
        let answer = desk.filtered(&String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{line}: {answer}");
        let expected = expected.replace("/home/ada/lode", "[DIR]");
        let (answer, expected) = (filtered_ports(&answer), filtered_ports(&desk.filtered(&expected)));
        assert_eq!(answer.trim(), expected.trim(), "{line} answers otherwise than README shows");
    }
}

/// Commands that other tests or the steps of `.ci/run` stand for; here, it is enough that they are there.
fn is_run_elsewhere(line: &str) -> bool {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    match line {
        "tests/run" => {
            let checked = Command::new("bash").arg("-n").arg(project.join("tests/run")).status();
            assert!(checked.is_ok_and(|status| status.success()), "{line} is no script");
            true
        }
        "cargo run --example embed" => {
            assert!(project.join("examples/embed.rs").is_file());
            true
        }
        "cargo bench" => {
            assert!(project.join("benches").is_dir());
            true
        }
        _ => false,
    }
}

#[test]
fn scripts_of_the_documents_pass_the_check() {
    for name in ["README.md", "grammar/LANGUAGE.md"] {
        let text = read(name);
        let fences: Vec<_> = fences(&text).into_iter().filter(|fence| fence.info == "lode").collect();
        assert!(!fences.is_empty(), "{name} shows no script");
        for fence in fences {
            let input = Input::new(project().join("scripts/language")).text(name, &fence.text);
            assert_passes(input, fence.text.contains("..."));
        }
    }
}

#[test]
fn shipped_scripts_pass_the_check() {
    let mut count = 0;
    for folder in ["scripts", "scripts/language"] {
        for entry in std::fs::read_dir(project().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "lode") {
                let has_holes = path.ends_with("00_card.lode");
                assert_passes(Input::new(project()).file(&path), has_holes);
                count += 1;
            }
        }
    }
    assert!(count >= 10, "{count} scripts were found");
}

/// No finding but warnings, and in an outline what its holes leave open.
fn assert_passes(input: Input, has_holes: bool) {
    let input = Input { secrets: SecretsPolicy::Optional, ..input };
    let checked = check(&input, &builtin(), &System);
    let is_hole = |code: Code| has_holes && matches!(code, Code::E0501 | Code::E0201);
    let wrong: Vec<_> = checked
        .diagnostics
        .into_iter()
        .filter(|finding| finding.is_error() && !is_hole(finding.code))
        .collect();
    assert!(wrong.is_empty(), "{}", render(&wrong, &checked.sources, false));
}

struct Fence {
    info: String,
    text: String,
}

/// The fenced blocks of a Markdown text.
fn fences(text: &str) -> Vec<Fence> {
    let mut fences = Vec::new();
    let mut open: Option<Fence> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => fences.extend(open.take()),
            (Some(info), None) => open = Some(Fence { info: info.to_owned(), text: String::new() }),
            (None, Some(fence)) => {
                fence.text.push_str(line);
                fence.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    fences
}

/// Puts the free ports that servers get into brackets.
fn filtered_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut filtered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        filtered.push_str("127.0.0.1:[PORT]");
        filtered.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    filtered
}

fn read(name: &str) -> String {
    std::fs::read_to_string(project().join(name)).unwrap()
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
