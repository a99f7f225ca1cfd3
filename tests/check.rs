//! Checking and planning: goldens of findings, plans and JSON, and the promise that secrets are never shown.
//!
//! To add a case, drop a script into `tests/golden/check` (named after the code that it shows) or `tests/golden/plan`
//! and review its snapshot. A line `# --set name=value` gives a value, a line `# run` asks for secrets as `lode run` does.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use lode::check::command::{Known, KnownMine};
use lode::check::{Checked, Input, Outside, SecretsPolicy, Source, check, check_line, reference};
use lode::engine::kinds::builtin;
use lode::lang::codes::Code;
use lode::lang::diagnostic::{render, to_json};
use lode::plan::{build, show};
use proptest::prelude::*;

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
    let others = |code: &&str| !code.starts_with("E01") && !code.starts_with("E06");
    for code in Code::ALL.iter().map(|code| code.as_str()).filter(others) {
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
    // Syntax is shown by `language`, what a test fails with by `testing`.
    let others = |code: &&Code| !code.as_str().starts_with("E01") && !code.as_str().starts_with("E06");
    for code in Code::ALL.iter().filter(others) {
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

#[test]
fn a_script_that_is_not_there_is_an_error_with_its_neighbour() {
    let checked = check_file(&World::new("tests/golden/check"), "parts/shpo.lode", "");
    let rendered = render(&checked.diagnostics, &checked.sources, false);
    assert!(checked.has_errors() && rendered.contains("there is no such file"), "{rendered}");
    assert!(rendered.contains("there is a file named `shop.lode`"), "{rendered}");
}

#[test]
fn scripts_of_one_command_line_share_their_names_and_each_file_is_read_once() {
    let text = "include \"parts/shop.lode\"\nsource mysql shop.orders -> sink null";
    let input = Input {
        scripts: vec![
            Source::File("parts/shop.lode".into()),
            Source::Text { name: "<command line>".into(), text: text.into() },
            Source::File("./parts/../parts/shop.lode".into()),
        ],
        sets: Vec::new(),
        secrets: SecretsPolicy::Required,
        base_dir: "/project".into(),
    };
    let checked = check(&input, &builtin(), &World::new("tests/golden/check"));
    assert_eq!(checked.diagnostics, []);
    let model = checked.model.expect("the script is right");
    let pipelines: Vec<&str> = model.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(pipelines, ["null"]);
    let shop = &model.connections["shop"];
    let secret = shop.settings.secret("password").expect("the password was read");
    assert_eq!(secret.expose(), format!("{SECRET}-repl"), "without the line end of its file");
}

#[test]
fn what_cannot_run_yet_is_an_obstacle_and_alerts_are_none() {
    let text = "connection shop = mysql \"mysql://h/shop\"\n\
                pipeline a { snapshot = initial } = source mysql shop.orders -> sink null\n\
                on error do { log(message) }";
    let plan = build::build(&check_text(text, SecretsPolicy::Required).model.expect("the script is right"));
    let obstacles: Vec<&str> = plan.obstacles().map(|fact| fact.what.as_str()).collect();
    assert_eq!(obstacles, ["snapshot = initial"]);
    assert_eq!(plan.not_yet.len(), 1);
}

#[test]
fn every_kind_has_a_page() {
    let kinds = builtin();
    let words = kinds.iter().map(|kind| kind.name).chain(["share_mining", "pipeline"]);
    let pages: Vec<String> = words.filter_map(|word| reference(word, &kinds)).collect();
    insta::assert_snapshot!(pages.join("\n────\n"));
    assert_eq!(reference("no_such_kind", &kinds), None);
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
        r#"connection a = mysql "mysql://u@h/d" { pasword = "S3CR3T" }"#,
        r#"connection a = mysql "mysql://u:\"S3CR3T@h/d" { tsl = on }"#,
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Scripts with pieces taken out, doubled and moved: no panic, and every finding can be rendered.
    #[test]
    fn damaged_scripts_are_findings(cuts in prop::collection::vec((0..10_000usize, 0..40usize, 0..10_000usize), 1..4)) {
        let mut text = damaged_base();
        for (at, length, to) in cuts {
            let at = text.floor_char_boundary(at % text.len().max(1));
            let end = text.ceil_char_boundary((at + length).min(text.len()));
            let piece: String = text.drain(at..end).collect();
            let to = text.floor_char_boundary(to % text.len().max(1));
            if to.is_multiple_of(2) {
                text.insert_str(to, &piece);
            }
        }
        let checked = check_text(&text, SecretsPolicy::Required);
        let rendered = render(&checked.diagnostics, &checked.sources, false);
        prop_assert_eq!(checked.has_errors(), rendered.contains("error["));
        prop_assert_eq!(checked.has_errors(), checked.model.is_none());
        prop_assert!(!rendered.contains(SECRET), "{}", rendered);
    }
}

/// A script with a bit of everything; its secrets come from outside.
fn damaged_base() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/language");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the script can be read");
    let hooks = "include \"hooks/mask.rhai\"\n";
    let scripts = ["connections.lode", "05_many.lode", "06_production.lode"].map(read).concat();
    let lines = scripts.lines().filter(|line| !line.starts_with("include"));
    format!("{hooks}{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Commands as they are typed, with what they mean, or what is wrong with them. To add one, add a line to a file in
/// `tests/golden/line`, and review the snapshot.
#[test]
fn lines() {
    let mine = KnownMine {
        connection: "shop".to_owned(),
        name: "shop".to_owned(),
        database: Some("shop".to_owned()),
        store: "embedded",
    };
    let names = ["orders", "paid", "dw.orders", "audit"];
    let known = Known { pipelines: names.map(str::to_owned).into(), mines: vec![mine], ..Known::default() };
    insta::glob!("golden/line/*.txt", |path| {
        let (kinds, mut shown) = (builtin(), String::new());
        for line in std::fs::read_to_string(path).expect("the lines can be read").lines() {
            let checked = check_line("<command>", line, &kinds, &lode::check::System, &known);
            shown.push_str(&format!("> {line}\n"));
            if let Some(command) = &checked.command {
                let text = command.to_string();
                shown.push_str(&format!("{text}\n{}\n", serde_json::to_string(command).unwrap()));
                let again = check_line("<command>", &text, &kinds, &lode::check::System, &known);
                assert_eq!(again.command.as_ref(), Some(command), "{line} is not what {text} means");
                assert_eq!(*command, serde_json::from_value(serde_json::to_value(command).unwrap()).unwrap());
            }
            shown.push_str(&render(&checked.diagnostics, &checked.sources, false));
            shown.push('\n');
        }
        insta::assert_snapshot!(shown);
    });
}
