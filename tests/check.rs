//! Checking and planning: goldens of findings, plans and JSON, and the promise that secrets are never shown.
//!
//! To add a case, drop a script into `tests/golden/check` (named after the code that it shows) or `tests/golden/plan`
//! and review its snapshot. A line `# --set name=value` gives a value, a line `# run` asks for secrets as `lode run` does.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use lode::check::{Checked, Input, Outside, SecretsPolicy, Source, check};
use lode::engine::kinds::builtin;
use lode::lang::codes::Code;
use lode::lang::diagnostic::{render, to_json};
use lode::plan::{build, show};

/// Every secret of the tests has this in it.
const SECRET: &str = "S3CR3T";

/// A folder of the tests at a place that is the same on every machine, with secrets.
struct World {
    folder: PathBuf,
    files: BTreeMap<&'static str, String>,
}

impl World {
    fn new(folder: &str) -> World {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let secret = |name: &str| format!("{SECRET}-{name}\n");
        let files = BTreeMap::from([
            ("/run/secrets/shop/repl", secret("repl")),
            ("/project/secrets/eu_shop", secret("eu")),
            ("/project/secrets/us_shop", secret("us")),
            ("/project/secrets/empty", "\n".to_owned()),
        ]);
        World { folder, files }
    }

    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix("/project").ok().map(|rest| self.folder.join(rest))
    }
}

impl Outside for World {
    fn read(&self, path: &Path) -> io::Result<String> {
        match (self.files.get(path.to_string_lossy().as_ref()), self.inside(path)) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(inside)) => std::fs::read_to_string(inside),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, folder: &Path) -> Vec<String> {
        self.inside(folder).map(|inside| lode::check::System.list(&inside)).unwrap_or_default()
    }

    fn env(&self, name: &str) -> Option<String> {
        match name {
            "EMPTY" => Some(String::new()),
            "DW_PASSWORD" | "SHOP_PASSWORD" | "MIRROR_PASSWORD" | "SMTP_PASSWORD" | "LYL_MYSQL_PW"
            | "LYL_ORACLE_PW" | "PW" => Some(format!("{SECRET}-{name}")),
            _ => None,
        }
    }
}

fn check_file(world: &World, name: &str, text: &str) -> Checked {
    let sets = text.lines().filter_map(|line| line.strip_prefix("# --set ")?.split_once('='));
    let input = Input {
        scripts: vec![Source::File(name.into())],
        sets: sets.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        secrets: if text.lines().any(|line| line == "# run") {
            SecretsPolicy::Required
        } else {
            SecretsPolicy::Optional
        },
        base_dir: "/project".into(),
    };
    check(&input, &builtin(), world)
}

fn check_text(text: &str, secrets: SecretsPolicy) -> Checked {
    let input = Input {
        scripts: vec![Source::Text { name: "<command line>".into(), text: text.into() }],
        sets: Vec::new(),
        secrets,
        base_dir: "/project".into(),
    };
    check(&input, &builtin(), &World::new("tests/golden/check"))
}

/// Everything that can be shown of a checked script.
fn outputs(checked: &Checked) -> Vec<String> {
    let mut outputs = vec![
        render(&checked.diagnostics, &checked.sources, false),
        to_json(&checked.diagnostics, &checked.sources),
        format!("{checked:?}"),
    ];
    if let Some(model) = &checked.model {
        let plan = build::build(model);
        outputs.extend([show::tree(&plan), show::to_json(&plan), format!("{plan:?}")]);
    }
    outputs
}

fn assert_no_secrets(name: &str, checked: &Checked) {
    for output in outputs(checked) {
        assert!(!output.contains(SECRET), "{name} shows a secret:\n{output}");
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[test]
fn findings() {
    insta::glob!("golden/check/*.lode", |path| {
        let (name, text) = (file_name(path), std::fs::read_to_string(path).expect("the script can be read"));
        let checked = check_file(&World::new("tests/golden/check"), &name, &text);
        assert_no_secrets(&name, &checked);
        let code = name.split(['.', '_']).next().unwrap_or_default();
        assert!(
            checked.diagnostics.iter().any(|finding| finding.code.as_str() == code),
            "{name} does not show {code}:\n{}",
            render(&checked.diagnostics, &checked.sources, false)
        );
        insta::assert_snapshot!(render(&checked.diagnostics, &checked.sources, false));
    });
}

#[test]
fn every_code_behind_syntax_has_a_golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check");
    for code in Code::ALL.iter().map(|code| code.as_str()).filter(|code| !code.starts_with("E01")) {
        assert!(folder.join(format!("{code}.lode")).exists(), "no golden shows {code}");
    }
}

#[test]
fn plans() {
    insta::glob!("golden/plan/*.lode", |path| {
        let (name, text) = (file_name(path), std::fs::read_to_string(path).expect("the script can be read"));
        let checked = check_file(&World::new("tests/golden/plan"), &name, &text);
        assert_no_secrets(&name, &checked);
        let findings = render(&checked.diagnostics, &checked.sources, false);
        let model = checked.model.unwrap_or_else(|| panic!("{name}:\n{findings}"));
        let plan = build::build(&model);
        insta::assert_snapshot!(format!("{findings}\n{}\n{}", show::tree(&plan), show::to_json(&plan)));
    });
}

#[test]
fn the_scripts_of_the_language_check_and_plan() {
    let world = World::new("scripts/language");
    let names = lode::check::System.list(&world.folder);
    let scripts = names.iter().filter(|name| name.ends_with(".lode"));
    let mut seen = 0;
    for name in scripts {
        let checked = check_file(&world, name, "# run");
        assert_no_secrets(name, &checked);
        let findings = render(&checked.diagnostics, &checked.sources, false);
        if name == "00_card.lode" {
            let codes: Vec<&str> = checked.diagnostics.iter().map(|finding| finding.code.as_str()).collect();
            assert_eq!(codes, ["E0501", "E0201", "E0501"], "{findings}");
        } else {
            assert!(!checked.has_errors(), "{name}:\n{findings}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "the scripts were found");
}

#[test]
fn wrong_examples_of_pages_show_their_code_and_corrected_ones_do_not() {
    for code in Code::ALL.iter().filter(|code| !code.as_str().starts_with("E01")) {
        let mut examples = 0;
        for (wrong, example) in examples_of(code.page()) {
            let policy = if *code == Code::W0301 { SecretsPolicy::Optional } else { SecretsPolicy::Required };
            let checked = check_text(&example, policy);
            let shown = checked.diagnostics.iter().any(|finding| finding.code == *code);
            let findings = render(&checked.diagnostics, &checked.sources, false);
            assert_eq!(shown, wrong, "{}:\n{example}\n{findings}", code.as_str());
            assert!(wrong || !checked.has_errors(), "{}:\n{example}\n{findings}", code.as_str());
            examples += 1;
        }
        assert!(examples >= 2, "{}: a wrong and a corrected example", code.as_str());
    }
}

/// The scripts of a page that can be checked by themselves, and whether they are wrong ones.
fn examples_of(page: &str) -> Vec<(bool, String)> {
    let mut examples = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        match (&mut open, line) {
            (None, "```lode error") => open = Some((true, String::new())),
            (None, "```lode") => open = Some((false, String::new())),
            (Some(_), "```") => examples.extend(open.take()),
            (Some((_, text)), line) => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    examples
}

#[test]
fn secrets_are_shown_nowhere_even_when_the_script_is_wrong() {
    for script in [
        r#"connection a = mysql "mysql://u:S3CR3T@h/d""#,
        r#"connection a = mysql "mysql://u:S3C/R3T:S3CR3T@x@h/d" { passwrod = "x" }"#,
        r#"connection a = mysql "mysql://u@h/d?password=S3CR3T""#,
        r#"connection a = mysql "mysql://u@h/d" { password = "S3CR3T", tsl = on }"#,
        r#"connection a = mysql "mysql://u@h/d" { password = S3CR3T, tsl = on }"#,
        r#"connection a = mysql "mysql://u@h/d" { password = ["S3CR3T"] }"#,
        r#"connection a = mysql "mysql://u@h/d" { password = "S3CR3T" tls = = on }"#,
        r#"connection a = mysql "mysql://u@h/d" { password "S3CR3T" }"#,
        "let pw = \"S3CR3T\"\nconnection a = mysql \"mysql://u@h/d\" { password = $pw }\nsource mysql a.x -> sink nul",
        "let pw = \"S3CR3T\" connection a = mysql \"mysql://u@h/d\" { password = $pw, tls = $pww }",
        "connection a = mysql \"mysql://u@h/d\" { password = env(\"PW\"), tls = 5 }\nsource mysql a.x -> sink null",
        "connection a = mysql \"mysql://u@h/d\" { password = env(\"PW\") }\nsource mysql a.x -> sink null",
        "connection a = mysql \"mysql://u@h/d\" { password = \"S3CR3T\" }\nsource mysql a.x -> sink null",
    ] {
        let checked = check_text(script, SecretsPolicy::Required);
        assert!(!checked.diagnostics.is_empty() || checked.model.is_some(), "{script}");
        assert_no_secrets(script, &checked);
    }
}
