//! What the functions of an included module may do: `include "hooks/alerts.rhai" { allow = [mail, control] }`.

use crate::lang::ast::{Include, Spanned, Value};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::model::hook::Grant;

/// The grants that stand behind an `include`; `None` when nothing does, which grants everything. What is wrong is added to
/// `findings`, and grants nothing.
pub(super) fn grants(include: &Include, findings: &mut Vec<Diagnostic>) -> Option<Vec<Grant>> {
    include.settings.span()?;
    let mut allow = None;
    for setting in include.settings.entries() {
        let key = &setting.key;
        if key.node != "allow" {
            let finding =
                Diagnostic::new(Code::E0301, key.span, format!("an include has no setting `{}`", key.node));
            findings.push(match did_you_mean(key, ["allow"]) {
                Some(near) => finding.suggest(key.span, near, "did you mean this one?"),
                None => finding.help("it has allow"),
            });
            continue;
        }
        if allow.is_some() {
            findings.push(
                Diagnostic::new(Code::E0302, key.span, "`allow` is set twice")
                    .help("put everything into one list"),
            );
            continue;
        }
        allow = Some(match &setting.value.node {
            Value::List(words) => words.iter().filter_map(|word| grant(word, findings)).collect(),
            _ => {
                let finding =
                    Diagnostic::new(Code::E0303, setting.value.span, "`allow` takes a list of words");
                findings.push(finding.help(format!("write for example [mail]; {}", known())));
                Vec::new()
            }
        });
    }
    let mut allow = allow.unwrap_or_default();
    allow.sort_unstable();
    allow.dedup();
    Some(allow)
}

fn grant(word: &Spanned<Value>, findings: &mut Vec<Diagnostic>) -> Option<Grant> {
    let names = Grant::ALL.iter().map(|grant| grant.as_str());
    let (finding, near) = match &word.node {
        Value::Word(name) | Value::Text(name) => {
            if let Some(grant) = Grant::ALL.iter().find(|grant| grant.as_str() == name) {
                return Some(*grant);
            }
            let what = format!("nothing named `{name}` can be allowed");
            (Diagnostic::new(Code::E0304, word.span, what), did_you_mean(name, names))
        }
        _ => (Diagnostic::new(Code::E0303, word.span, "`allow` takes words"), None),
    };
    findings.push(match near {
        Some(near) => finding.suggest(word.span, near, "did you mean this one?"),
        None => finding.help(known()),
    });
    None
}

fn known() -> String {
    let names: Vec<_> = Grant::ALL.iter().map(|grant| grant.as_str()).collect();
    format!("there are {}; to notify and to log is always allowed", names.join(", "))
}
