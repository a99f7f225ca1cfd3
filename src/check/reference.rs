//! The reference text of kinds and statements, made from the same specs that scripts are held against.

use std::fmt::Write;

use super::settings::describe;
use super::specs::{PIPELINE, SHARE_MINING};
use super::{Kinds, endpoint};
use crate::model::spec::{EndpointSpec, KindSpec, SettingSpec, TargetSpec};

/// The page of a kind (`mysql`), or of a statement that has settings of its own (`share_mining`, `pipeline`).
pub fn reference(word: &str, kinds: &Kinds) -> Option<String> {
    match word {
        "share_mining" => Some(statement("share_mining connection via store.log { … }", SHARE_MINING)),
        "pipeline" => Some(statement("pipeline name { … } = source … -> sink …", PIPELINE)),
        _ => kinds.get(word).map(kind_page),
    }
}

/// What a setting means, in each statement and kind that has one of this name.
pub fn setting_page(key: &str, kinds: &Kinds) -> Option<String> {
    let mut page = String::new();
    let mut add = |place: String, specs: &'static [SettingSpec]| {
        if let Some(at) = specs.iter().position(|spec| spec.key == key) {
            let gap = if page.is_empty() { "" } else { "\n" };
            let _ = writeln!(page, "{gap}{place}");
            list(&specs[at..=at], &mut page);
        }
    };
    add("share_mining connection { … }".to_owned(), SHARE_MINING);
    add("pipeline name { … }".to_owned(), PIPELINE);
    for kind in kinds.iter() {
        add(format!("connection name = {} {{ … }}", kind.name), kind.connection);
        add(format!("source {} … {{ … }}", kind.name), kind.source.unwrap_or_default());
        add(format!("sink {} … {{ … }}", kind.name), kind.sink.map_or(&[], |sink| sink.settings));
        add(
            format!("share_mining connection via a store of {} {{ … }}", kind.name),
            kind.log.unwrap_or_default(),
        );
    }
    (!page.is_empty()).then_some(page)
}

fn statement(usage: &str, specs: &[SettingSpec]) -> String {
    let mut page = format!("{usage}\n");
    list(specs, &mut page);
    page
}

fn kind_page(kind: &KindSpec) -> String {
    let name = kind.name;
    let mut page = format!("{name}: {}\n", kind.meaning);
    if let Some(why) = kind.not_built_in {
        let _ = writeln!(page, "Checked and planned, but not run by this version: {why}.");
    }
    if !matches!(kind.endpoint, EndpointSpec::Nothing) {
        let _ = writeln!(page, "\nconnection name = {} {{ … }}", endpoint::form(name, kind.endpoint));
        list(kind.connection, &mut page);
    }
    if let Some(source) = kind.source {
        let _ = writeln!(page, "\nsource {name} connection.tables {{ … }}");
        list(source, &mut page);
    }
    if let Some(sink) = kind.sink {
        let target = match sink.target {
            TargetSpec::Table => " connection.table",
            TargetSpec::Path => " \"folder/{table}.jsonl\"",
            TargetSpec::Nothing => "",
        };
        let _ = writeln!(page, "\nsink {name}{target} {{ … }}");
        list(sink.settings, &mut page);
    }
    if let Some(log) = kind.log {
        let store = if matches!(kind.endpoint, EndpointSpec::Nothing) { name } else { "connection" };
        let _ = writeln!(
            page,
            "\nshare_mining source via {store}.log {{ … }}, besides the settings that every log has"
        );
        list(log, &mut page);
    }
    page
}

fn list(specs: &[SettingSpec], page: &mut String) {
    if specs.is_empty() {
        page.push_str("    no settings\n");
    }
    for spec in specs {
        let _ = write!(page, "    {}: {}", spec.key, describe(spec.ty));
        match (spec.default, spec.required) {
            (Some(default), _) => {
                let _ = write!(page, "; {default} by default");
            }
            (None, true) => page.push_str("; must be given"),
            (None, false) => {}
        }
        let _ = writeln!(page, "\n        {}", spec.meaning);
    }
}
