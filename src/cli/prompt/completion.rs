//! What can stand at a place of a line.

use std::collections::BTreeSet;

use console::truncate_str;
use lode::check::Kinds;
use lode::check::model::Metric;
use lode::check::specs::{PIPELINE, SHARE_MINING};
use lode::lang::codes::Code;
use lode::lang::verb::Verb;
use lode::model::spec::{SettingSpec, SettingType};
use rustyline::completion::{Candidate, FilenameCompleter};

use super::code::{self, Columns};
use super::names::Names;
use super::words::{self, Word};

/// More are never offered at once.
const OFFERED_MAX: usize = 1000;

/// The words of what can be taken out.
const REMOVED: [&str; 9] =
    ["pipeline", "connection", "share_mining", "let", "include", "on", "every", "at", "test"];
/// Words that a path in quotes follows.
const BEFORE_PATHS: [&str; 4] = ["apply", "diff", "save", "include"];

/// One way to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What is shown in a list: the text, and what it means where that is not plain.
    shown: String,
    /// What is put in the place of the word that was begun.
    text: String,
}

impl Candidate for Offer {
    fn display(&self) -> &str {
        &self.shown
    }

    fn replacement(&self) -> &str {
        &self.text
    }
}

impl Offer {
    /// What is put into the line.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A word that says what it means itself.
    pub fn new(text: impl Into<String>) -> Offer {
        let text = text.into();
        Offer { shown: text.clone(), text }
    }

    /// With what it means, in one line.
    pub fn meaning(text: &str, meaning: &str, width: usize) -> Offer {
        let line = format!("{text:16}  {meaning}");
        Offer {
            shown: truncate_str(&line, width.saturating_sub(2), "…").into_owned(), text: text.to_owned()
        }
    }

    /// Those that begin as the word does, as many as may be offered.
    pub fn fitting(begun: &str, offers: impl IntoIterator<Item = Offer>) -> Vec<Offer> {
        offers.into_iter().filter(|offer| offer.text.starts_with(begun)).take(OFFERED_MAX).collect()
    }
}

/// What may follow, in a line up to the cursor: where the word begins that is to be completed, and the ways to go on.
/// Lists are cut to fit `width`.
pub fn offers(
    line: &str,
    names: &Names,
    columns: &dyn Columns,
    kinds: &Kinds,
    width: usize,
) -> (usize, Vec<Offer>) {
    if let Some(found) = code::offers(line, names, columns, width) {
        return found;
    }
    let begins = line.rfind(|c: char| c.is_whitespace() || "{,".contains(c)).map_or(0, |at| at + 1);
    let before: Vec<&str> = line[..begins].split_whitespace().collect();
    let in_block = line[..begins].rfind(['{', '}']).is_some_and(|at| line[at..].starts_with('{'));
    let begun = &line[begins..];
    let (before, is_watched) = match before.as_slice() {
        [word, rest @ ..] if *word == Word::Watch.as_str() => (rest, true),
        all => (all, false),
    };
    let Some(first) = before.first() else {
        let verbs = Verb::ALL.iter().map(|verb| (verb.as_str(), verb.meaning()));
        let own = Word::ALL.iter().map(|word| (word.as_str(), word.meaning()));
        let all: Vec<(&str, &str)> = match is_watched {
            true => verbs.filter(|(verb, _)| words::can_be_watched(verb)).collect(),
            false => verbs.chain(own).collect(),
        };
        return (
            begins,
            Offer::fitting(begun, all.iter().map(|(word, meaning)| Offer::meaning(word, meaning, width))),
        );
    };
    let Some(verb) = Verb::find(first) else { return (begins, Vec::new()) };
    let arguments = &before[1..];
    if verb == Verb::Set {
        return setting(line, begins, arguments, in_block, names, kinds, width);
    }
    let (mines, pipelines, tables) = (&names.mines, &names.pipelines, &names.tables);
    let offers = match verb {
        Verb::Status | Verb::Start | Verb::Stop => Offer::fitting(begun, all([pipelines, mines])),
        Verb::Show if arguments.is_empty() => {
            let words = ["mine", "pipeline", "tables"].map(Offer::new);
            Offer::fitting(begun, words.into_iter().chain(all([pipelines, mines])))
        }
        Verb::Show if arguments == ["mine"] || arguments == ["tables"] => Offer::fitting(begun, all([mines])),
        Verb::Show if arguments == ["pipeline"] => Offer::fitting(begun, all([pipelines])),
        Verb::Tables if arguments.is_empty() => Offer::fitting(begun, all([mines])),
        Verb::Restart => Offer::fitting(begun, all([pipelines])),
        Verb::Skip | Verb::Rewind if arguments.is_empty() => Offer::fitting(begun, all([pipelines])),
        Verb::Rewind if arguments.len() == 1 => Offer::fitting(begun, [Offer::new("to")]),
        Verb::Rewind if arguments.len() == 2 => {
            Offer::fitting(begun, ["earliest", "now", "seq", "gtid", "position("].map(Offer::new))
        }
        Verb::Pause => Offer::fitting(begun, all([pipelines, tables])),
        Verb::Resume if arguments.last() == Some(&"accept") => Offer::fitting(begun, [Offer::new("gap")]),
        Verb::Resume if arguments.is_empty() => Offer::fitting(begun, all([pipelines, tables])),
        Verb::Resume => {
            Offer::fitting(begun, all([pipelines, tables]).into_iter().chain([Offer::new("accept")]))
        }
        Verb::Peek | Verb::Tail | Verb::Eval if arguments.is_empty() => {
            Offer::fitting(begun, all([pipelines, mines, tables]))
        }
        Verb::Peek if !in_block => Offer::fitting(begun, ["from", "limit", "where"].map(Offer::new)),
        Verb::Tail if !in_block => Offer::fitting(begun, ["from", "where"].map(Offer::new)),
        Verb::Remove if arguments.is_empty() => Offer::fitting(begun, REMOVED.map(Offer::new)),
        Verb::Remove if arguments == ["pipeline"] => Offer::fitting(begun, all([pipelines])),
        Verb::Remove if arguments == ["share_mining"] => Offer::fitting(begun, all([mines])),
        Verb::Sql if arguments.is_empty() => Offer::fitting(begun, all([mines])),
        Verb::Trace if arguments.is_empty() => Offer::fitting(begun, all([pipelines])),
        Verb::Help if arguments.is_empty() => {
            let verbs = Verb::ALL.iter().map(|verb| Offer::meaning(verb.as_str(), verb.meaning(), width));
            let own = Word::ALL.iter().map(|word| Offer::meaning(word.as_str(), word.meaning(), width));
            let metrics = Metric::ALL.iter();
            let metrics = metrics.map(|metric| Offer::meaning(metric.as_str(), metric.meaning(), width));
            Offer::fitting(begun, verbs.chain(own).chain(settings(kinds, width)).chain(metrics))
        }
        Verb::Explain if arguments.is_empty() => {
            let kinds = kinds.iter().map(|kind| Offer::meaning(kind.name, kind.meaning, width));
            let codes = Code::ALL.iter().map(|code| Offer::meaning(code.as_str(), code.title(), width));
            let statements = ["pipeline", "share_mining"].map(Offer::new);
            Offer::fitting(begun, kinds.chain(statements).chain(codes))
        }
        _ => Vec::new(),
    };
    (begins, offers)
}

/// The files whose paths go on as the line does, where it ends in one; `None` elsewhere.
pub fn paths(line: &str) -> Option<(usize, Vec<Offer>)> {
    let first = line.split_whitespace().next()?;
    let is_path = BEFORE_PATHS.contains(&first) && line.matches('"').count() == 1;
    if !is_path {
        return None;
    }
    let (begins, pairs) = FilenameCompleter::new().complete_path(line, line.len()).ok()?;
    let offers = pairs.into_iter().take(OFFERED_MAX);
    Some((begins, offers.map(|pair| Offer { shown: pair.display, text: pair.replacement }).collect()))
}

/// What `set` takes: a mine and a dot, a key, and its values where it has a few.
fn setting(
    line: &str,
    begins: usize,
    arguments: &[&str],
    in_block: bool,
    names: &Names,
    kinds: &Kinds,
    width: usize,
) -> (usize, Vec<Offer>) {
    let begun = &line[begins..];
    let keys = || mining(kinds).map(|spec| Offer::meaning(spec.key, spec.meaning, width));
    if let Some(key) = key_of(line) {
        let values = mining(kinds).filter(|spec| spec.key == key).flat_map(|spec| values(spec.ty));
        return (begins, Offer::fitting(begun, values.map(Offer::new)));
    }
    if in_block {
        return (begins, Offer::fitting(begun, keys()));
    }
    match begun.rfind('.') {
        Some(dot) => (begins + dot + 1, Offer::fitting(&begun[dot + 1..], keys())),
        None if arguments.is_empty() => {
            (begins, Offer::fitting(begun, names.mines.iter().map(|mine| Offer::new(format!("{mine}.")))))
        }
        None => (begins, Vec::new()),
    }
}

/// The key whose value stands at the end of a line: behind its `=`.
pub fn key_of(line: &str) -> Option<&str> {
    let entry = line.rsplit([',', '{']).next().unwrap_or(line);
    let (key, _) = entry.split_once('=')?;
    let key = key.trim_end().rsplit(|c: char| c.is_whitespace() || c == '.').next()?;
    (!key.is_empty()).then_some(key)
}

/// Every setting of shared mining, the general ones first.
pub fn mining(kinds: &Kinds) -> impl Iterator<Item = &'static SettingSpec> {
    let mut seen = BTreeSet::new();
    let logs: Vec<_> = kinds.iter().filter_map(|kind| kind.log).collect();
    std::iter::once(SHARE_MINING).chain(logs).flatten().filter(move |spec| seen.insert(spec.key))
}

/// Every setting there is.
fn settings(kinds: &Kinds, width: usize) -> impl Iterator<Item = Offer> {
    let mut seen = BTreeSet::new();
    let lists = [SHARE_MINING, PIPELINE].into_iter().chain(kinds.setting_lists());
    lists
        .flatten()
        .filter(move |spec| seen.insert(spec.key))
        .map(move |spec| Offer::meaning(spec.key, spec.meaning, width))
}

fn values(ty: SettingType) -> Vec<&'static str> {
    match ty {
        SettingType::Switch => vec!["on", "off"],
        SettingType::Choice(choices) => choices.to_vec(),
        SettingType::Start => vec!["now", "earliest"],
        _ => Vec::new(),
    }
}

fn all<const N: usize>(sets: [&BTreeSet<String>; N]) -> Vec<Offer> {
    let mut all: Vec<Offer> = sets.into_iter().flatten().map(Offer::new).collect();
    all.sort_by(|one, other| one.text.cmp(&other.text));
    all.dedup();
    all
}
