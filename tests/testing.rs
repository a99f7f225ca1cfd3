//! `lode test`: each script of `golden/testing` is run, and its snapshot is what a user sees; what it says as JSON agrees.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lode::check::{Input, SecretsPolicy, System, check};
use lode::engine::kinds::builtin;
use lode::lang::codes::Code;
use lode::lang::diagnostic::render;

/// Runs `lode test` in a folder below the project.
fn lode_test(folder: &str, arguments: &[&str]) -> Output {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO_BIN_EXE_lode"))
        .arg("test")
        .args(arguments)
        .current_dir(project.join(folder))
        .env("LODE_LOG", "off")
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a script has a name").to_string_lossy().into_owned()
}

#[test]
fn scripts() {
    insta::glob!("golden/testing/*.lode", |path| {
        let name = file_name(path);
        let output = lode_test("tests/golden/testing", &[&name]);
        let code = output.status.code().unwrap_or(-1);
        let shown = format!("{}{}[exit code {code}]\n", text(&output.stdout), text(&output.stderr));
        insta::assert_snapshot!(shown);

        let json = lode_test("tests/golden/testing", &["--json", &name]);
        assert_eq!(json.status.code(), Some(code), "{name}");
        let said: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
        if code == 2 {
            assert!(!said["findings"].as_array().expect("a list").is_empty());
            return;
        }
        let tests = said["tests"].as_array().expect("a list");
        let failed = tests.iter().filter(|test| !test["passed"].as_bool().expect("a yes or no"));
        assert_eq!(said["failed"].as_u64(), Some(failed.clone().count() as u64));
        assert_eq!(
            shown.matches("\nFAIL  ").count() + usize::from(shown.starts_with("FAIL  ")),
            failed.clone().count()
        );
        for test in failed {
            let line = test["failure"]["line"].as_u64().expect("a failure has a place");
            assert!(line > test["line"].as_u64().expect("a test has a place"), "{test}");
        }
    });
}

#[test]
fn shipped_tests_pass_without_a_secret() {
    let output = lode_test("scripts/language", &["07_tests.lode"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("1 passed, 0 failed\n"), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_filter_chooses_tests_by_their_name() {
    let chosen = lode_test("tests/golden/testing", &["failing.lode", "--filter", "one that"]);
    assert_eq!(text(&chosen.stdout), "ok    orders: and one that passes\n1 passed, 0 failed\n");
    let none = lode_test("tests/golden/testing", &["failing.lode", "--filter", "no such test"]);
    assert_eq!(text(&none.stdout), "no test has \"no such test\" in its name\n");
    assert_eq!(none.status.code(), Some(2), "a filter that chooses nothing must not pass in CI");
}

/// Scripts in the pages of codes and in the documents, which show tests.
#[test]
fn tests_of_the_documents_pass_and_the_wrong_one_fails() {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(project.join(name)).expect("the page is readable");
    let mut passed = 0;
    let pages = Code::ALL.iter().map(|code| code.page().to_owned());
    for page in pages.chain([read("README.md"), read("grammar/LANGUAGE.md")]) {
        for fence in page.split("\n```lode").skip(1) {
            let (info, rest) = fence.split_once('\n').expect("a fence has lines");
            let script = rest.split("\n```").next().unwrap_or_default();
            let is_failing = page.starts_with("# E06") && info == " error";
            if !script.contains("test \"") || (info == " error" && !is_failing) {
                continue;
            }
            let input = Input::new(project.join("scripts/language")).text("page", script);
            let input = Input { secrets: SecretsPolicy::Optional, ..input };
            let checked = check(&input, &builtin(), &System);
            let findings = render(&checked.diagnostics, &checked.sources, false);
            let model = checked.model.unwrap_or_else(|| panic!("{script}\n{findings}"));
            let report = lode::testing::run(&model, &checked.sources, &System, None);
            let failures: Vec<_> =
                report.outcomes.iter().filter_map(|outcome| outcome.failure.clone()).collect();
            assert_eq!(
                !failures.is_empty(),
                is_failing,
                "{script}\n{}",
                render(&failures, &checked.sources, false)
            );
            passed += report.passed();
        }
    }
    assert!(passed >= 2, "{passed} tests of the documents pass");
}
