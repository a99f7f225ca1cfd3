//! The layers of `src/ARCHITECTURE.md`, held by reading the `use` lines.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules with their layer. A file imports lower layers and its own module, never a neighbour.
const LAYERS: &[(&str, u8)] = &[
    ("error", 0),
    ("model", 0),
    ("client", 1),
    ("lang", 2),
    ("hook", 2),
    ("source", 2),
    ("store", 2),
    ("sink", 2),
    ("check", 3),
    ("plan", 4),
    ("run", 5),
    ("engine", 6),
    ("testing", 6),
    ("cli", 7),
];

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules of this crate that a line names: `crate::model::…`, and `lode::model::…` in the binary.
fn modules_named(line: &str) -> impl Iterator<Item = &str> {
    ["crate::", "lode::"].into_iter().flat_map(move |prefix| {
        line.match_indices(prefix)
            .filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
            .map(move |(at, _)| {
                let rest = &line[at + prefix.len()..];
                &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
            })
            .collect::<Vec<_>>()
    })
}

#[test]
fn modules_import_downwards_only() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    assert!(files.len() > 30, "the sources were found");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in files {
        let relative = file.strip_prefix("src").expect("below src");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let own =
            layer(module).unwrap_or_else(|| panic!("{} is in no layer; add its module", relative.display()));
        let text = fs::read_to_string(&file).expect("sources are readable");
        for (number, line) in
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for named in modules_named(line).filter(|named| *named != module) {
                let Some(theirs) = layer(named) else { continue };
                seen += 1;
                if theirs >= own && !(own == 0 && theirs == 0) {
                    wrong.push(format!("{}:{}: {module} imports {named}", relative.display(), number + 1));
                }
            }
        }
    }
    assert!(seen > 100, "the imports were found");
    assert!(wrong.is_empty(), "against the layers:\n{}", wrong.join("\n"));
}
