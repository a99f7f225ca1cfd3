//! Statements that are typed on top of scripts, and scripts that are written of both: whatever is saved has the plan that
//! runs, wherever it is saved, and no secret that does not stand in the scripts.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use lode::check::{Checked, Declaration, Input, Outside, Saved, check, save};
use lode::engine::kinds::builtin;
use lode::lang::codes::Code;
use lode::plan::Plan;
use lode::plan::build::build;
use lode::plan::diff::Diff;
use proptest::prelude::*;

/// Files by their absolute paths.
#[derive(Clone, Default)]
struct Files(BTreeMap<String, String>);

impl Outside for Files {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.0.get(path.to_string_lossy().as_ref());
        text.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> Vec<String> {
        Vec::new()
    }

    fn env(&self, name: &str) -> Option<String> {
        name.ends_with("_PW").then(|| format!("S3CR3T-{name}"))
    }
}

fn files() -> Files {
    let files = [
        (
            "/etc/lode/shop.lode",
            r#"# The shop.
include "connections.lode"
include "hooks/mask.rhai" { allow = [stats] }
let batch = 500 # rows

# Paid orders only.
pipeline orders =
  source mysql shop.orders share_mining
  -> filter { row.state == "paid" } # a remark
  -> map mask::email
  -> sink sqlite mart.orders { batch = $batch }

# Every row goes to a file.
source mysql shop.items share_mining -> sink jsonl "/var/items.jsonl"
"#,
        ),
        (
            "/etc/lode/connections.lode",
            r#"# Where things are.
connection shop = mysql "mysql://repl@10.0.0.5:3306/shop" { password = file("secrets/shop") }
connection mart = sqlite "mart.db"
share_mining shop { retention = 5d }
# The end.
"#,
        ),
        ("/etc/lode/hooks/mask.rhai", "fn email(row) { row.email = (); row }\n"),
        ("/etc/lode/secrets/shop", "S3CR3T-shop\n"),
        ("/home/me/secrets/eu", "S3CR3T-eu\n"),
    ];
    Files(files.map(|(path, text)| (path.to_owned(), text.to_owned())).into())
}

fn script() -> Input {
    Input::new("/etc/lode").file("shop.lode")
}

fn checked(input: &Input, files: &Files) -> Checked {
    check(input, &builtin(), files)
}

fn plan(input: &Input, files: &Files) -> Plan {
    let checked = checked(input, files);
    build(checked.model.as_ref().unwrap_or_else(|| panic!("{:#?}", checked.diagnostics)))
}

fn declaration(word: &str, name: &str) -> Declaration {
    Declaration { word: word.to_owned(), name: name.to_owned() }
}

/// What is saved in a folder; it has the plan that runs.
fn saved(input: &Input, files: &Files, folder: &str) -> Saved {
    let saved = save(input, &builtin(), files, Path::new(folder)).expect("the scripts are right");
    let again = Input::new(folder).text("saved", saved.text.as_str());
    let diff = Diff::between(&plan(input, files), &plan(&again, files));
    assert!(diff.is_empty(), "{diff:#?}\nsaved as:\n{}", saved.text);
    saved
}

#[test]
fn what_is_saved_keeps_its_place_its_comments_and_its_secrets_outside() {
    let files = files();
    let input = script()
        .set("batch", "700")
        .typed("connection eu = mysql \"mysql://repl@10.1.0.5:3306/shop\" { password = file(\"secrets/eu\") }", "/home/me")
        .typed("pipeline orders { retry = 3 } = source mysql shop.orders share_mining -> sink sqlite mart.orders", "/home/me")
        .typed("source mysql eu.orders share_mining -> sink jsonl \"/var/eu.jsonl\"", "/home/me");
    let beside = saved(&input, &files, "/etc/lode");
    assert!(!beside.holds_secrets);
    insta::assert_snapshot!("saved_beside_the_scripts", beside.text);
    let elsewhere = saved(&input, &files, "/etc");
    insta::assert_snapshot!("saved_elsewhere", elsewhere.text);
    for text in [&beside.text, &elsewhere.text] {
        assert!(!text.contains("S3CR3T"), "{text}");
    }
}

#[test]
fn a_typed_statement_takes_the_place_of_its_namesake_and_the_last_one_counts() {
    let files = files();
    let input = script()
        .typed("let batch = 10", "/")
        .typed("share_mining shop { retention = 9d }", "/")
        .typed("let batch = 20\nshare_mining shop { retention = 1d }", "/");
    let plan = plan(&input, &files);
    assert_eq!(plan.mines["shop"].settings.duration("retention").unwrap().as_secs(), 86_400);
    assert_eq!(plan.pipelines["orders"].routes[0].sink.settings.integer("batch"), Some(20));
    saved(&input, &files, "/etc/lode");
    // In one text, two of a name are a mistake, as in a script.
    let twice = checked(&script().typed("let batch = 1\nlet batch = 2", "/"), &files);
    assert_eq!(twice.diagnostics[0].code, Code::E0202, "{:?}", twice.diagnostics);
}

#[test]
fn a_typed_value_wins_over_one_of_the_command_line() {
    let files = files();
    let input = script().set("batch", "700").typed("let batch = 30", "/");
    assert_eq!(plan(&input, &files).pipelines["orders"].routes[0].sink.settings.integer("batch"), Some(30));
    let text = saved(&input, &files, "/etc/lode").text;
    assert!(text.contains("let batch = 30") && !text.contains("700"), "{text}");
}

#[test]
fn what_is_taken_out_is_gone_and_may_come_again() {
    let files = files();
    let input = script().without(declaration("pipeline", "orders"));
    let without = plan(&input, &files);
    assert_eq!(without.pipelines.keys().collect::<Vec<_>>(), ["/var/items.jsonl"]);
    assert!(!saved(&input, &files, "/etc/lode").text.contains("sqlite mart.orders"));
    let again = input.typed("source mysql shop.orders share_mining -> sink sqlite mart.orders", "/");
    assert!(plan(&again, &files).pipelines.contains_key("mart.orders"));
    saved(&again, &files, "/etc/lode");
    // What others need cannot go: the finding is where they name it.
    let broken = checked(&script().without(declaration("connection", "mart")), &files);
    assert_eq!(broken.diagnostics[0].code, Code::E0201);
    assert_eq!(&**broken.sources.locate(broken.diagnostics[0].span).unwrap().0, "shop.lode");
    // An alert goes by what stands before its `do`.
    let alerts = script()
        .typed("on lag > 30s for 2m of orders do pause orders", "/")
        .typed("on lag > 30s for 2m of orders do stop orders", "/")
        .typed("every 1h do status", "/");
    let names = |input: &Input| {
        let all = checked(input, &files).read.declared;
        all.into_iter().filter(|one| one.word == "on" || one.word == "every").collect::<Vec<_>>()
    };
    let expected = [declaration("on", "lag > 30s for 2m of orders"), declaration("every", "1h")];
    assert_eq!(names(&alerts), expected);
    assert!(saved(&alerts, &files, "/etc/lode").text.contains("do stop orders"));
    assert_eq!(names(&alerts.without(expected[0].clone())), &expected[1..]);
}

#[test]
fn files_count_as_they_were_read() {
    let mut files = files();
    let input = script();
    let input = input.clone().as_read(&checked(&input, &files));
    let before = plan(&input, &files);
    files.0.insert("/etc/lode/connections.lode".to_owned(), "connection shop = my".to_owned());
    assert!(checked(&script(), &files).has_errors());
    assert!(Diff::between(&before, &plan(&input, &files)).is_empty());
    let typed = input.typed("source mysql shop.a share_mining -> sink null", "/");
    assert!(plan(&typed, &files).pipelines.contains_key("null"));
}

#[test]
fn secrets_of_the_command_line_are_left_out_and_those_of_scripts_are_told() {
    let files = files();
    let typed = "let pw = \"S3CR3T-old\"\n\
                 connection a = mysql \"mysql://repl@10.2.0.5:3306/shop\" { password = $pw }\n\
                 source mysql a.x share_mining -> sink null";
    let input = Input::new("/").text("first", typed).set("pw", "S3CR3T-new");
    let saved = save(&input, &builtin(), &files, Path::new("/")).unwrap();
    assert!(!saved.text.contains("S3CR3T-new"), "{}", saved.text);
    assert_eq!(saved.sets_left_out, ["pw"]);
    assert!(saved.holds_secrets, "the script has one itself");
}

#[test]
fn findings_point_into_the_typed_text_and_a_command_stands_by_itself() {
    let files = files();
    let wrong = checked(&script().typed("source mysql shpo.orders -> sink null", "/"), &files);
    let (name, place) = wrong.sources.locate(wrong.diagnostics[0].span).unwrap();
    assert_eq!((&**name, place.column), ("<typed 1>", 14));
    let mixed = checked(&script().typed("let a = 1\npause orders", "/"), &files);
    assert_eq!(mixed.diagnostics[0].code, Code::E0512);
}

/// Statements to be typed, of few names, so that many take each other's places.
fn typed() -> impl Strategy<Value = String> {
    let number = 1u64..2000;
    prop_oneof![
        number.clone().prop_map(|n| format!("let batch = {n} # typed")),
        number.clone().prop_map(|n| format!("share_mining shop {{ retention = {n}h }}")),
        ("[a-c]", number.clone()).prop_map(|(name, n)| {
            format!("pipeline {name} {{ retry = {n} }} = source mysql shop.{name} share_mining -> sink sqlite mart.{name}")
        }),
        ("[a-c]", number.clone()).prop_map(|(name, n)| {
            format!("# about {name}\nsource mysql shop.{name} share_mining -> filter {{ row.id > {n} }} -> sink jsonl \"/var/{name}.jsonl\"")
        }),
        number.clone().prop_map(|n| format!("pipeline orders = source mysql shop.orders share_mining -> keep id, c{n} -> sink null")),
        number.prop_map(|n| format!("on lag > {n}s of orders do status")),
        Just("include \"connections.lode\"".to_owned()),
        Just("remove a".to_owned()),
        Just("remove orders".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_typed_is_saved_as_it_runs(lines in prop::collection::vec(typed(), 0..12), here in any::<bool>()) {
        let files = files();
        let mut input = script();
        for line in &lines {
            input = match line.strip_prefix("remove ") {
                // Alerts need the pipeline that they are about.
                Some("orders") if lines.iter().any(|line| line.starts_with("on ")) => input,
                Some(name) => input.without(declaration("pipeline", name)),
                None => input.typed(line.as_str(), "/etc/lode"),
            };
        }
        let folder = if here { "/etc/lode" } else { "/var/lib" };
        let saved = saved(&input, &files, folder);
        // What was saved is saved as it is.
        let again = Input::new(folder).text("saved", saved.text.as_str());
        prop_assert_eq!(&save(&again, &builtin(), &files, Path::new(folder)).unwrap().text, &saved.text);
    }
}
