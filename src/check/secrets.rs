//! Secrets: where they come from, and how they are kept out of everything that is shown.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Checker, Kinds, Outside};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::Span;
use crate::model::secret::Secret;
use crate::model::spec::{SettingSpec, SettingType};

/// Whether secrets must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsPolicy {
    /// For `check` and `plan`: one that is not there is a warning, and its setting is absent.
    Optional,
    /// For `run`: one that is not there is an error.
    Required,
}

/// The environment variable that names the folder of `secret("…")`.
pub const SECRETS_FOLDER_VARIABLE: &str = "LODE_SECRETS";
/// The folder of `secret("…")` when the variable is not set: where containers mount theirs.
pub const SECRETS_FOLDER: &str = "/run/secrets";

/// Where a secret is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretPlace {
    /// `env("NAME")`
    Variable(String),
    /// `file("path")`, absolute.
    File(PathBuf),
    /// `secret("path")`: a file below the folder of secrets.
    Store(String),
}

/// The setting of a connection that is read when something uses the connection.
#[derive(Clone, Debug)]
pub(super) struct PendingSecret {
    pub key: &'static str,
    pub place: SecretPlace,
    pub span: Span,
}

impl Checker<'_> {
    /// Reads a secret. One that is not there is reported as the policy says.
    pub(super) fn read_secret(&mut self, pending: &PendingSecret, connection: &str) -> Option<Secret> {
        let missing = match pending.place.read(self.outside) {
            Ok(text) => return Some(Secret::new(text)),
            Err(missing) => missing,
        };
        let (code, note) = match self.input.secrets {
            SecretsPolicy::Required => (Code::E0309, None),
            SecretsPolicy::Optional => (Code::W0301, Some("running this script needs it")),
        };
        let what = format!("the {} of `{connection}` is not there: {}", pending.key, missing.reason);
        let mut finding = Diagnostic::new(code, pending.span, what).help(missing.help);
        if let Some(note) = note {
            finding = finding.note(note);
        }
        self.report(finding);
        None
    }
}

struct Missing {
    reason: String,
    help: String,
}

impl SecretPlace {
    fn read(&self, outside: &dyn Outside) -> Result<String, Missing> {
        match self {
            SecretPlace::Variable(name) => match outside.env(name) {
                Some(text) if !text.is_empty() => Ok(text),
                found => Err(Missing {
                    reason: format!(
                        "the environment variable {name} is {}",
                        if found.is_some() { "empty" } else { "not set" }
                    ),
                    help: format!("set it where lode runs: export {name}=…"),
                }),
            },
            SecretPlace::File(path) => read_file(path, outside).map_err(|reason| Missing {
                reason,
                help: "write it into that file; paths are relative to the script".into(),
            }),
            SecretPlace::Store(name) => {
                let folder =
                    outside.env(SECRETS_FOLDER_VARIABLE).unwrap_or_else(|| SECRETS_FOLDER.to_owned());
                read_file(&Path::new(&folder).join(name), outside).map_err(|reason| Missing {
                    reason,
                    help: format!(
                        "put it into that file; the folder is named by {SECRETS_FOLDER_VARIABLE}, and is {SECRETS_FOLDER} otherwise"
                    ),
                })
            }
        }
    }
}

fn read_file(path: &Path, outside: &dyn Outside) -> Result<String, String> {
    let text = outside.read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {}", path.display()),
        kind => format!("cannot read {}: {kind}", path.display()),
    })?;
    // Editors end a file with a line end that does not belong to the secret.
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(format!("the file {} is empty", path.display())),
        secret => Ok(secret.to_owned()),
    }
}

/// A text in the language with stars in place of secrets that are written into it.
pub fn masked(text: &str, kinds: &Kinds) -> String {
    mask_secrets(text, &secret_keys(kinds))
}

/// The keys of all settings that are secrets.
pub(super) fn secret_keys(kinds: &Kinds) -> BTreeSet<&'static str> {
    let secret = |spec: &&SettingSpec| spec.ty == SettingType::Secret;
    kinds.setting_lists().flat_map(|list| list.iter().filter(secret)).map(|spec| spec.key).collect()
}

/// The text with stars in place of everything that looks like a secret written into it: passwords within URLs,
/// and values of `keys` and of words like them. Offsets stay as they are.
///
/// This works on the bare text, because a text with syntax errors is shown, too.
pub(super) fn mask_secrets(text: &str, keys: &BTreeSet<&'static str>) -> String {
    let mut ranges = Vec::new();
    for (at, sign) in text.match_indices("://") {
        let rest = &text[at + sign.len()..];
        let rest = &rest[..end_of_text(rest)];
        let start = at + sign.len();
        if let (Some(colon), Some(last_at)) = (rest.find(':'), rest.rfind('@'))
            && colon < last_at
        {
            ranges.push(start + colon + 1..start + last_at);
        }
        if let Some(query) = rest.find('?') {
            ranges.push(start + query + 1..start + rest.len());
        }
    }
    for word in words(text) {
        if let Some(value) = value_behind(text, word.end)
            && names_a_secret(&text[word], keys)
        {
            ranges.push(value);
        }
    }
    let mut bytes = text.as_bytes().to_vec();
    for range in ranges {
        bytes[range].fill(b'*');
    }
    // Ranges begin and end at characters, so this is UTF-8 still.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Parts of words that name secrets in every language of configuration.
const TELLING: [&str; 4] = ["pass", "secret", "token", "pwd"];

/// Whether what stands behind this word is most likely a secret, also when the word is misspelt.
fn names_a_secret(word: &str, keys: &BTreeSet<&'static str>) -> bool {
    let lower = word.to_lowercase();
    TELLING.iter().any(|part| lower.contains(part))
        || lower.split('_').any(|part| part == "pw")
        || did_you_mean(word, keys.iter().copied()).is_some()
}

/// The places of all words.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(in_word)?;
        rest = start + text[start..].find(|letter| !in_word(letter)).unwrap_or(text.len() - start);
        Some(start..rest)
    })
}

fn in_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The place of a plain value behind a word that ends at `end`, if there is one.
fn value_behind(text: &str, end: usize) -> Option<Range<usize>> {
    let rest = &text[end..];
    let value = rest.trim_start_matches([' ', '\t', '\r', '\n', '=', ':']);
    let at = text.len() - value.len();
    if at == end {
        return None;
    }
    if let Some(quoted) = value.strip_prefix('"') {
        return Some(at + 1..at + 1 + end_of_text(quoted));
    }
    let bare = &value[..value.find([' ', '\t', '\r', '\n', ',', '}', '(', '#', '"']).unwrap_or(value.len())];
    let is_plain = rest.trim_start().starts_with('=')
        && bare.starts_with(in_word)
        && !value[bare.len()..].starts_with('(');
    is_plain.then(|| at..at + bare.len())
}

/// Where a text in quotes ends, closed or not.
fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    let end = text.find(|letter| {
        let ends = letter == '\n' || letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_texts_are_masked_and_calls_are_not() {
        let keys = BTreeSet::from(["password", "client_key"]);
        for (text, masked) in [
            (r#"mysql "mysql://a:b@c@host/d""#, r#"mysql "mysql://a:***@host/d""#),
            (r#"mysql "mysql://a@host/d?pw=1""#, r#"mysql "mysql://a@host/d?****""#),
            (r#"{ password = "a\"b", tls = on }"#, r#"{ password = "****", tls = on }"#),
            (r#"{ password="žluť" }"#, r#"{ password="******" }"#),
            (r#"{ password = hunter2 }"#, r#"{ password = ******* }"#),
            (r#"{ password = "never closed"#, r#"{ password = "************"#),
            (r#"{ password = env("PW"), x = 1 }"#, r#"{ password = env("PW"), x = 1 }"#),
            (r#"{ password = $pw }"#, r#"{ password = $pw }"#),
            (r#"drop password, note"#, r#"drop password, note"#),
            (r#"{ pasword = "a", client_kye = "b" }"#, r#"{ pasword = "*", client_kye = "*" }"#),
            (r#"let shop_token = "a""#, r#"let shop_token = "*""#),
            (r#"let shop_pw = "a" let upward = "b""#, r#"let shop_pw = "*" let upward = "b""#),
            (r#"{ batch = 5, name = "a" }"#, r#"{ batch = 5, name = "a" }"#),
            (r#"{ x = secret("a/b") }"#, r#"{ x = secret("a/b") }"#),
        ] {
            assert_eq!(mask_secrets(text, &keys), masked);
        }
    }
}
