//! Settings blocks against the specs that kinds declare.

use std::collections::BTreeMap;

use super::Checker;
use super::names::{Names, Resolved};
use super::secrets::{PendingSecret, SecretPlace};
use crate::lang::ast::{self, Call, Number, Slot, Value};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::Span;
use crate::model::spec::{Setting, SettingSpec, SettingType, Settings, Start};

/// Whose settings these are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'o> {
    /// For messages: `sink oracle`.
    pub what: &'o str,
    /// Where to point when a required setting is missing.
    pub span: Span,
    /// The connection that table patterns must belong to.
    pub connection: Option<&'o str>,
}

/// A checked block.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub settings: Settings,
    /// Secrets that are read when the owner is used.
    pub pending: Vec<PendingSecret>,
    /// Where keys stand that were given.
    pub places: BTreeMap<&'static str, Span>,
}

/// What a value turned out to be.
enum Found {
    Setting(Setting),
    Secret(SecretPlace),
}

impl Checker<'_> {
    /// Holds a block against `specs`; where two lists have the same key, the first one counts.
    pub(super) fn settings(
        &mut self,
        names: &Names<'_>,
        block: &ast::Settings,
        specs: &[&'static [SettingSpec]],
        owner: Owner<'_>,
    ) -> Block {
        let all = || specs.iter().copied().flatten();
        let mut checked = Block::default();
        for entry in block.entries() {
            let Some(spec) = all().find(|spec| spec.key == entry.key.node) else {
                self.report(unknown_key(&entry.key, all().map(|spec| spec.key).collect(), owner.what));
                continue;
            };
            if let Some(first) = checked.places.get(spec.key) {
                let finding =
                    Diagnostic::new(Code::E0302, entry.key.span, format!("`{}` is set twice", spec.key))
                        .related(*first, "the first time")
                        .help("remove one of them");
                self.report(finding);
                continue;
            }
            checked.places.insert(spec.key, entry.key.span);
            let Some(resolved) = names.resolve(&entry.value, self) else { continue };
            match self.setting(spec, &resolved, owner) {
                Some(Found::Setting(setting)) => {
                    self.look_closer(spec, &setting, &resolved);
                    checked.settings.0.insert(spec.key, setting);
                }
                Some(Found::Secret(place)) => {
                    checked.pending.push(PendingSecret { key: spec.key, place, span: entry.value.span });
                }
                None => {}
            }
        }
        for spec in all() {
            if checked.places.contains_key(spec.key) {
                continue;
            }
            if spec.required {
                let what = format!("{} needs the setting `{}`", owner.what, spec.key);
                let finding = Diagnostic::new(Code::E0306, owner.span, what)
                    .note(spec.meaning)
                    .help(format!("add {{ {} = {} }}", spec.key, example(spec.ty)));
                self.report(finding);
            }
            if let Some(default) = spec.default.and_then(|text| default_value(spec.ty, text)) {
                checked.settings.0.entry(spec.key).or_insert(default);
            }
        }
        checked
    }

    fn setting(&mut self, spec: &SettingSpec, given: &Resolved, owner: Owner<'_>) -> Option<Found> {
        if spec.ty == SettingType::Secret {
            return self.secret(spec, given);
        }
        let result = match (&given.value, spec.ty) {
            (Value::Hole, _) => Err(hole(spec, given)),
            (Value::Call(call), SettingType::Text | SettingType::Path) if is_secret_function(call) => {
                Err(wrong_type(spec, given)
                    .note("env, file and secret stand for secrets only: they are read late, and never shown"))
            }
            (value, ty) => self.plain(spec, value, ty, given, owner),
        };
        match result {
            Ok(setting) => Some(Found::Setting(setting)),
            Err(finding) => {
                self.report(finding);
                None
            }
        }
    }

    /// What the kind itself says of a value that has the right type.
    fn look_closer(&mut self, spec: &SettingSpec, setting: &Setting, given: &Resolved) {
        let Some(check) = spec.check else { return };
        let parts = match (setting, &given.value) {
            (Setting::Columns(columns), Value::Block(entries)) => columns
                .iter()
                .zip(entries)
                .map(|(column, entry)| (Setting::Columns(vec![column.clone()]), entry.value.span))
                .collect(),
            _ => vec![(setting.clone(), given.span)],
        };
        for (part, span) in parts {
            let finding = match check(&part) {
                Ok(None) => continue,
                Ok(Some(warning)) => Diagnostic::new(Code::W0303, span, format!("`{}`: {warning}", spec.key)),
                Err(why) => Diagnostic::new(Code::E0304, span, format!("`{}`: {why}", spec.key))
                    .help(given.how("write another value")),
            };
            self.report(finding.note(spec.meaning));
        }
    }

    fn plain(
        &self,
        spec: &SettingSpec,
        value: &Value,
        ty: SettingType,
        given: &Resolved,
        owner: Owner<'_>,
    ) -> Result<Setting, Diagnostic> {
        match (value, ty) {
            (Value::Word(word), SettingType::Switch) => match word.as_str() {
                "on" => Ok(Setting::Switch(true)),
                "off" => Ok(Setting::Switch(false)),
                "true" | "yes" => Err(given.replace(wrong_type(spec, given), "on")),
                "false" | "no" => Err(given.replace(wrong_type(spec, given), "off")),
                _ => Err(wrong_type(spec, given)),
            },
            (Value::Text(word), SettingType::Switch) if word == "on" || word == "off" => {
                Err(given.replace(wrong_type(spec, given), word))
            }
            (Value::Number(number), SettingType::Integer { min, max, .. }) => match number.as_integer() {
                Some(integer) if (min..=max).contains(&integer) => Ok(Setting::Integer(integer)),
                _ if !number.unit.is_empty() => Err(wrong_type(spec, given)),
                _ => {
                    let what =
                        format!("`{}` must be a whole number from {min} to {max}, not {number}", spec.key);
                    Err(Diagnostic::new(Code::E0304, given.span, what)
                        .note(spec.meaning)
                        .help(given.how("write a number within these bounds")))
                }
            },
            (Value::Number(number), SettingType::Duration) => match number.as_duration() {
                Some(duration) => Ok(Setting::Duration(duration)),
                None => Err(unit_finding(spec, given, number, Number::TIME_UNITS, "a duration")),
            },
            (Value::Number(number), SettingType::Size) => match number.as_size() {
                Some(size) => Ok(Setting::Size(size)),
                None => Err(unit_finding(spec, given, number, Number::SIZE_UNITS, "a size")),
            },
            (Value::Text(text), SettingType::Text) => Ok(Setting::Text(text.clone())),
            (Value::Text(text), SettingType::Path) => {
                let place = given.written.unwrap_or(given.span);
                Ok(Setting::Path(self.scripts.absolute(text, place)))
            }
            (Value::Word(word), SettingType::Text | SettingType::Path) => {
                Err(given.replace(wrong_type(spec, given), &format!("\"{word}\"")))
            }
            (Value::Word(word) | Value::Text(word), SettingType::Choice(words)) => {
                choice(spec, given, word, words, matches!(value, Value::Text(_)))
            }
            (_, SettingType::Start) => start(spec, given, value),
            (Value::Tables(table), SettingType::Tables) => patterns(table, owner).map(Setting::Tables),
            (Value::List(values), SettingType::Tables) => {
                let mut all = Vec::new();
                for value in values {
                    match &value.node {
                        Value::Tables(table) => all.extend(patterns(table, owner)?),
                        other => {
                            let what = format!("`{}` lists tables, and this is {}", spec.key, kind_of(other));
                            let finding = Diagnostic::new(Code::E0303, value.span, what).note(spec.meaning);
                            return Err(finding.help(format!("write {} = {}", spec.key, example(spec.ty))));
                        }
                    }
                }
                Ok(Setting::Tables(all))
            }
            (Value::Block(entries), SettingType::Columns) => {
                let mut columns = Vec::new();
                for entry in entries {
                    match &entry.value.node {
                        Value::Word(word) | Value::Text(word) => {
                            columns.push((entry.key.node.clone(), word.clone()))
                        }
                        other => {
                            let what = format!(
                                "`{}` names a word for each column, and this is {}",
                                spec.key,
                                kind_of(other)
                            );
                            let finding =
                                Diagnostic::new(Code::E0303, entry.value.span, what).note(spec.meaning);
                            return Err(finding.help(format!("write {} = {}", spec.key, example(spec.ty))));
                        }
                    }
                }
                Ok(Setting::Columns(columns))
            }
            _ => Err(wrong_type(spec, given)),
        }
    }

    fn secret(&mut self, spec: &SettingSpec, given: &Resolved) -> Option<Found> {
        let functions = "env(\"NAME\"), file(\"path\") or secret(\"name\")";
        let finding = match &given.value {
            Value::Call(call) => match self.secret_place(call, given) {
                Ok(place) => return Some(Found::Secret(place)),
                Err(finding) => finding,
            },
            Value::Text(text) => {
                self.masks.push(given.written.unwrap_or(given.span));
                let finding = Diagnostic::new(
                    Code::W0302,
                    given.span,
                    format!("the {} stands in the script as plain text", spec.key),
                )
                .note("whoever may read the script can read it, and so can whoever may read its history")
                .help(format!("take it from outside: {} = env(\"NAME\")", spec.key));
                self.report(finding);
                return Some(Found::Setting(Setting::Secret(crate::model::secret::Secret::new(
                    text.clone(),
                ))));
            }
            Value::Hole => hole(spec, given),
            _ => {
                self.masks.push(given.written.unwrap_or(given.span));
                Diagnostic::new(
                    Code::E0303,
                    given.span,
                    format!("`{}` must be {}", spec.key, describe(spec.ty)),
                )
                .note(spec.meaning)
                .help(format!("write {functions}"))
            }
        };
        self.report(finding);
        None
    }

    fn secret_place(&mut self, call: &Call, given: &Resolved) -> Result<SecretPlace, Diagnostic> {
        let function = &call.function;
        if !is_secret_function(call) {
            let finding = Diagnostic::new(
                Code::E0311,
                given.span,
                format!("there is no function `{}` for secrets", function.node),
            );
            return Err(match did_you_mean(function, ["env", "file", "secret"]) {
                Some(near) if given.variable.is_none() => {
                    finding.suggest(function.span, near, "did you mean this one?")
                }
                _ => finding.help("write env(\"NAME\"), file(\"path\") or secret(\"name\")"),
            });
        }
        let [ast::Spanned { node: Value::Text(argument), span }] = call.arguments.as_slice() else {
            let what = format!("`{}` takes one text in quotes", function.node);
            let example = format!(
                "{}(\"{}\")",
                function.node,
                if function.node == "env" { "NAME" } else { "shop/repl" }
            );
            return Err(Diagnostic::new(Code::E0311, given.span, what).help(format!("write {example}")));
        };
        Ok(match function.as_str() {
            "env" => SecretPlace::Variable(argument.clone()),
            "file" => SecretPlace::File(self.scripts.absolute(argument, *span)),
            _ => {
                let inside = argument.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
                if !inside {
                    let what = format!("`{argument}` is not a name within the folder of secrets");
                    return Err(Diagnostic::new(Code::E0311, *span, what).help(
                        "write a name such as secret(\"shop/repl\"); for a file elsewhere: file(\"path\")",
                    ));
                }
                SecretPlace::Store(argument.clone())
            }
        })
    }
}

impl Resolved {
    /// Offers `replacement`, unless the value stands elsewhere.
    fn replace(&self, finding: Diagnostic, replacement: &str) -> Diagnostic {
        match self.variable {
            None => finding.suggest(self.span, replacement, "write this"),
            Some(_) => finding.help(self.how(&format!("write {replacement}"))),
        }
    }

    fn for_example(&self, spec: &SettingSpec) -> String {
        match &self.variable {
            None => format!("write for example {} = {}", spec.key, example(spec.ty)),
            Some(_) => self.how(&format!("write for example {}", example(spec.ty))),
        }
    }

    fn how(&self, advice: &str) -> String {
        match &self.variable {
            None => advice.to_owned(),
            Some(name) => format!("{advice} where `{name}` is given its value"),
        }
    }
}

fn is_secret_function(call: &Call) -> bool {
    matches!(call.function.as_str(), "env" | "file" | "secret")
}

fn choice(
    spec: &SettingSpec,
    given: &Resolved,
    word: &str,
    words: &'static [&'static str],
    quoted: bool,
) -> Result<Setting, Diagnostic> {
    let listed = words.join(", ");
    match words.iter().find(|known| **known == word) {
        Some(known) if quoted => Err(given.replace(wrong_type(spec, given), known)),
        Some(known) => Ok(Setting::Choice(known)),
        None => {
            let what = format!("`{}` cannot be `{word}`", spec.key);
            let finding = Diagnostic::new(Code::E0304, given.span, what).note(spec.meaning);
            Err(match did_you_mean(word, words.iter().copied()) {
                Some(near) => given.replace(finding.note(format!("it is one of {listed}")), near),
                None => finding.help(given.how(&format!("write one of {listed}"))),
            })
        }
    }
}

fn start(spec: &SettingSpec, given: &Resolved, value: &Value) -> Result<Setting, Diagnostic> {
    let not_a_start = |reason: String| {
        Diagnostic::new(Code::E0310, given.span, reason)
            .note("a start is now, earliest, a time such as \"2026-01-31T08:00:00Z\", gtid(\"…\") or position(\"binlog.000042\", 4)")
            .help(given.how("write one of these"))
    };
    let start = match value {
        Value::Word(word) => match word.as_str() {
            "now" => Start::Now,
            "earliest" => Start::Earliest,
            _ => return Err(not_a_start(format!("`{word}` is not a start"))),
        },
        Value::Text(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Start::Time(time.as_millisecond()),
            Err(_) => return Err(not_a_start(format!("`{text}` is not a time with its offset from UTC"))),
        },
        Value::Call(call) => match (call.function.as_str(), call.arguments.as_slice()) {
            ("gtid", [ast::Spanned { node: Value::Text(text), .. }]) => Start::Gtid(text.clone()),
            (
                "position",
                [
                    ast::Spanned { node: Value::Text(file), .. },
                    ast::Spanned { node: Value::Number(offset), .. },
                ],
            ) if offset.as_integer().is_some() => {
                Start::Position { file: file.clone(), offset: offset.as_integer().unwrap_or_default() }
            }
            (function, _) => return Err(not_a_start(format!("`{function}(…)` is not a start"))),
        },
        Value::Hole => return Err(hole(spec, given)),
        _ => return Err(wrong_type(spec, given)),
    };
    Ok(Setting::Start(start))
}

/// The patterns of `connection.{a, b*}`, which must be of the owner's connection.
fn patterns(table: &ast::TableRef, owner: Owner<'_>) -> Result<Vec<String>, Diagnostic> {
    if let Some(connection) = owner.connection
        && connection != table.connection.node
    {
        let what = format!("`{}` is not a table of `{connection}`", super::names::table_label(table));
        return Err(Diagnostic::new(Code::E0204, table.connection.span, what).suggest(
            table.connection.span,
            connection,
            "name the connection that this is about",
        ));
    }
    table
        .tables
        .iter()
        .map(|name| match name {
            Slot::Given(name) => Ok(name.node.clone()),
            Slot::Hole(hole) => {
                Err(Diagnostic::new(Code::E0501, hole.span, "the name of a table is missing here")
                    .help("write a name, or a pattern such as `tmp_*`"))
            }
        })
        .collect()
}

fn unknown_key(key: &ast::Name, known: Vec<&'static str>, owner: &str) -> Diagnostic {
    let finding = Diagnostic::new(Code::E0301, key.span, format!("{owner} has no setting `{}`", key.node));
    match did_you_mean(key, known.iter().copied()) {
        Some(near) => finding.suggest(key.span, near, "did you mean this one?"),
        None if known.is_empty() => finding.help("remove it: there is nothing to set here"),
        None => finding.help(format!("it has {}", known.join(", "))),
    }
}

fn unit_finding(
    spec: &SettingSpec,
    given: &Resolved,
    number: &Number,
    units: &[(&str, u64)],
    what: &str,
) -> Diagnostic {
    let known: Vec<&str> = units.iter().map(|(unit, _)| *unit).collect();
    let finding = |reason: String| {
        Diagnostic::new(Code::E0305, given.span, reason).note(format!("the units are {}", known.join(", ")))
    };
    let key = spec.key;
    if number.unit.is_empty() {
        // The default shows which unit is usual here.
        let usual = spec.default.map(|text| text.trim_start_matches(|letter: char| letter.is_ascii_digit()));
        let finding = finding(format!("`{key}` is {what}, and {number} has no unit"));
        return match usual {
            Some(unit) => given.replace(finding, &format!("{}{unit}", number.digits)),
            None => finding.help(given.for_example(spec)),
        };
    }
    if known.contains(&number.unit.as_str()) {
        return finding(format!("`{key}` is {what} in whole numbers, and {number} is none that fits"))
            .help(given.how("write a whole number, with a smaller unit where one is needed"));
    }
    let finding = finding(format!("`{key}` is {what}, and `{}` is no unit of one", number.unit));
    // `20gib`, `10sec`, `5min`.
    let near = known.iter().find(|unit| unit.eq_ignore_ascii_case(&number.unit)).or_else(|| {
        known.iter().find(|unit| unit.len() == 1 && number.unit.to_lowercase().starts_with(**unit))
    });
    match near {
        Some(unit) => given.replace(finding, &format!("{}{unit}", number.digits)),
        None => finding.help(given.for_example(spec)),
    }
}

fn wrong_type(spec: &SettingSpec, given: &Resolved) -> Diagnostic {
    let what = format!("`{}` must be {}, not {}", spec.key, describe(spec.ty), kind_of(&given.value));
    let finding = Diagnostic::new(Code::E0303, given.span, what).note(spec.meaning);
    finding.help(given.for_example(spec))
}

fn hole(spec: &SettingSpec, given: &Resolved) -> Diagnostic {
    let what = format!("the value of `{}` is missing here", spec.key);
    Diagnostic::new(Code::E0501, given.span, what).note(spec.meaning).help(format!(
        "write {}, for example {} = {}",
        describe(spec.ty),
        spec.key,
        example(spec.ty)
    ))
}

/// What values of a type are, with their article.
pub(super) fn describe(ty: SettingType) -> String {
    match ty {
        SettingType::Switch => "on or off".to_owned(),
        SettingType::Integer { min, max, .. } => format!("a whole number from {min} to {max}"),
        SettingType::Duration => "a duration".to_owned(),
        SettingType::Size => "a size".to_owned(),
        SettingType::Text => "a text in quotes".to_owned(),
        SettingType::Choice(words) => format!("one of the words {}", words.join(", ")),
        SettingType::Secret => "a secret from outside the script".to_owned(),
        SettingType::Start => "a place to begin at".to_owned(),
        SettingType::Tables => "a list of tables".to_owned(),
        SettingType::Path => "a path in quotes".to_owned(),
        SettingType::Columns => "a block with a word for each column".to_owned(),
    }
}

fn example(ty: SettingType) -> String {
    match ty {
        SettingType::Switch => "on".to_owned(),
        SettingType::Integer { min, .. } => min.to_string(),
        SettingType::Duration => "30s".to_owned(),
        SettingType::Size => "512MiB".to_owned(),
        SettingType::Text => "\"…\"".to_owned(),
        SettingType::Choice(words) => words.first().copied().unwrap_or_default().to_owned(),
        SettingType::Secret => "env(\"NAME\")".to_owned(),
        SettingType::Start => "now".to_owned(),
        SettingType::Tables => "[shop.orders, shop.tmp_*]".to_owned(),
        SettingType::Path => "\"folder/file\"".to_owned(),
        SettingType::Columns => "{ column = word }".to_owned(),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.unit.is_empty() => "a number",
        Value::Number(_) => "a number with a unit",
        Value::Text(_) => "a text",
        Value::Word(_) => "a bare word",
        Value::Variable(_) => "a variable",
        Value::Call(_) => "a call",
        Value::List(_) => "a list",
        Value::Block(_) => "a block",
        Value::Tables(_) => "a table",
        Value::Hole => "a hole",
    }
}

/// A spec's default, which is written as in a script.
fn default_value(ty: SettingType, text: &str) -> Option<Setting> {
    let number = || {
        let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        Number { digits: text[..split].to_owned(), unit: text[split..].to_owned() }
    };
    match ty {
        SettingType::Switch => Some(Setting::Switch(text == "on")),
        SettingType::Integer { .. } => number().as_integer().map(Setting::Integer),
        SettingType::Duration => number().as_duration().map(Setting::Duration),
        SettingType::Size => number().as_size().map(Setting::Size),
        SettingType::Text => Some(Setting::Text(text.trim_matches('"').to_owned())),
        SettingType::Choice(words) => {
            words.iter().find(|word| **word == text).map(|word| Setting::Choice(word))
        }
        SettingType::Start => match text {
            "now" => Some(Setting::Start(Start::Now)),
            "earliest" => Some(Setting::Start(Start::Earliest)),
            _ => None,
        },
        SettingType::Secret | SettingType::Tables | SettingType::Path | SettingType::Columns => None,
    }
}

/// Whether the default of a spec can be read; a test holds every kind to it.
pub fn default_is_readable(spec: &SettingSpec) -> bool {
    spec.default.is_none_or(|text| default_value(spec.ty, text).is_some())
}
