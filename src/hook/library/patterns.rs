//! Regular expressions. Each is compiled once and kept; the crate's machine takes time in proportion to the text.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use regex::{Regex, RegexBuilder};
use rhai::{Array, Dynamic, Engine, ImmutableString};

use super::super::engine::{ARRAY_ITEMS_MAX, TEXT_BYTES_MAX};
use super::super::error::{Outcome, Problem};
use super::{Function, table};

pub(super) const FUNCTIONS: &[Function] = table! { Texts:
    "regex_match", "regex_match(text, pattern)", "Whether the pattern is found in the text; `^` and `$` hold it to its ends.", "regex_match(\"A-123\", `^[A-Z]-\\d+$`)" => "true";
    "regex_find", "regex_find(text, pattern)", "The first part of the text that the pattern fits, `()` when there is none.", "regex_find(\"order 4711 of 12\", `\\d+`)" => "4711";
    "regex_find_all", "regex_find_all(text, pattern)", "Every such part, one after the other, in an array.", "regex_find_all(\"4711 of 12\", `\\d+`)" => "[\"4711\", \"12\"]";
    "regex_captures", "regex_captures(text, pattern)", "An object map of the pattern's named groups where it fits first, `()` when it does not.", "regex_captures(\"12:34\", `(?<hour>\\d+):(?<minute>\\d+)`).minute" => "34";
    "regex_replace", "regex_replace(text, pattern, with)", "The text with another one in place of every part that the pattern fits; `$1` and `${name}` are its groups.", "regex_replace(\"Doe, Jane\", `(\\w+), (\\w+)`, \"$2 $1\")" => "Jane Doe";
};

/// Patterns that are kept, compiled, for each hook.
pub const PATTERNS_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Bytes that a compiled pattern may take.
pub const PATTERN_BYTES_MAX: usize = 1024 * 1024;

type Patterns = Arc<Mutex<LruCache<ImmutableString, Regex>>>;

pub(super) fn register(engine: &mut Engine) {
    let patterns: Patterns = Arc::new(Mutex::new(LruCache::new(PATTERNS_MAX)));
    let known = Arc::clone(&patterns);
    engine.register_fn("regex_match", move |text: &str, pattern: ImmutableString| -> Outcome<bool> {
        Ok(compiled(&known, &pattern)?.is_match(text))
    });
    let known = Arc::clone(&patterns);
    engine.register_fn("regex_find", move |text: &str, pattern: ImmutableString| -> Outcome<Dynamic> {
        Ok(compiled(&known, &pattern)?.find(text).map_or(Dynamic::UNIT, |found| found.as_str().into()))
    });
    let known = Arc::clone(&patterns);
    engine.register_fn("regex_find_all", move |text: &str, pattern: ImmutableString| -> Outcome<Array> {
        let pattern = compiled(&known, &pattern)?;
        let found: Array =
            pattern.find_iter(text).take(ARRAY_ITEMS_MAX).map(|found| found.as_str().into()).collect();
        Ok(found)
    });
    let known = Arc::clone(&patterns);
    engine.register_fn("regex_captures", move |text: &str, pattern: ImmutableString| -> Outcome<Dynamic> {
        let pattern = compiled(&known, &pattern)?;
        let Some(found) = pattern.captures(text) else { return Ok(Dynamic::UNIT) };
        let groups = pattern.capture_names().flatten().map(|name| {
            let part = found.name(name).map_or(Dynamic::UNIT, |part| part.as_str().into());
            (name.into(), part)
        });
        Ok(Dynamic::from_map(groups.collect()))
    });
    let known = patterns;
    engine.register_fn(
        "regex_replace",
        move |text: &str, pattern: ImmutableString, with: &str| -> Outcome<String> {
            replace(&compiled(&known, &pattern)?, text, with)
        },
    );
}

/// Replaces all, and ends before the text grows beyond what a hook may hold.
fn replace(pattern: &Regex, text: &str, with: &str) -> Outcome<String> {
    let mut made = String::with_capacity(text.len());
    let mut from = 0;
    for found in pattern.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        made.push_str(&text[from..whole.start()]);
        found.expand(with, &mut made);
        from = whole.end();
        if made.len() > TEXT_BYTES_MAX {
            return Err(Problem::new(format!("a text grew over {} MiB", TEXT_BYTES_MAX / 1024 / 1024)).into());
        }
    }
    made.push_str(&text[from..]);
    Ok(made)
}

fn compiled(known: &Patterns, pattern: &ImmutableString) -> Outcome<Regex> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compiled) = known.get(pattern) {
        return Ok(compiled.clone());
    }
    let compiled = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                Problem::new(format!("the pattern takes more than {} KiB", PATTERN_BYTES_MAX / 1024))
                    .advice("look for large repetitions, such as `.{1000}`")
            }
            _ => Problem::new("the pattern is no regular expression")
                .advice("write it between backticks, where `\\` is itself; look-around and back references are not there"),
        })?;
    known.put(pattern.clone(), compiled.clone());
    Ok(compiled)
}
