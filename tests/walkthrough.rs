//! The whole walk, as its one command shows it: MySQL to Oracle through a log in MongoDB.

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The program under test.
const LODE: &str = env!("CARGO_BIN_EXE_lode");

#[test]
fn a_row_goes_from_mysql_through_mongodb_to_oracle() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    // PostgreSQL's own user has to reach its part of it.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is this test's own");
    let output = Command::new(project.join("scripts/02_walkthrough"))
        .env("LODE_BIN", LODE)
        .env("LODE_WALK_PORTS", "free")
        .env("LODE_MONGODB_ROOT", process::unpacked("mongodb", "LODE_MONGODB_ROOT"))
        .env("LODE_ORACLE_ROOT", process::unpacked("oracle", "LODE_ORACLE_ROOT"))
        .env("TMPDIR", folder.path())
        .env_remove("LODE_DATA")
        .env_remove("LODE_LOG")
        .output()
        .expect("the walk runs");
    let (shown, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}\n{errors}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it removes what it made");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new(), "it ends what it started");

    let after = |heading: &str| {
        let at = shown.find(heading).unwrap_or_else(|| panic!("{heading} is missing in {shown}"));
        let step = &shown[at + heading.len()..];
        &step[..step.find("\n-- ").unwrap_or(step.len())]
    };
    // The script is the one that users have, but for its ports.
    let script = fs::read_to_string(project.join("scripts/02_walkthrough.lode")).unwrap();
    for line in script.lines().filter(|line| !line.contains("127.0.0.1:")) {
        assert!(after("-- the script").contains(line), "{line} in {shown}");
    }
    // Exact values in the documents that people see: an unsigned number beyond a signed one, and a decimal.
    let documents = after("-- 3.");
    assert!(documents.contains("18446744073709551615") && documents.contains("\"19.90\""), "{documents}");
    for op in ["insert", "update", "delete"] {
        assert!(documents.contains(&format!("\"op\": \"{op}\"")), "{op} in {documents}");
    }
    let peek = after("-- 4.");
    assert!(peek.contains("name: \"second\" → \"second, renamed\", amount: 5.00 → 7.25"), "{peek}");
    assert!(peek.contains("lyl_mongo.david_mongo_share is whole"), "{peek}");
    let arrived = after("-- 5.");
    assert!(arrived.contains(r#"["1", "first of the walk", "19.9", "18446744073709551615", "#), "{arrived}");
    assert!(!arrived.contains("gone soon"), "{arrived}");
    assert!(after("-- 6.").contains(r#"["4", "while lode was away", "1.01", "4", null]"#), "{shown}");
    assert!(after("-- 7.").contains("3 rows at the source, the same 3 rows in Oracle"), "{shown}");
}

/// The command lines of processes that name a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder.to_str().expect("a path of letters"))).collect()
}
