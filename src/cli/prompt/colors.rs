//! Colours of a line while it is typed, by the words and signs of the language.

use lode::lang::parse::is_reserved;
use lode::lang::verb::Verb;

use super::words::Word;

const WORD: &str = "\x1b[1;34m";
const TEXT: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[36m";
const COMMENT: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// A line with its colours. Without them it is the same text.
pub fn colored(line: &str) -> String {
    let mut colored = String::with_capacity(line.len() * 2);
    let mut rest = line;
    let mut is_command = true;
    while let Some(first) = rest.chars().next() {
        let (length, color) = piece(rest, first, is_command);
        let (piece, after) = rest.split_at(length);
        // `watch` stands before a command.
        is_command &= first.is_whitespace() || Word::find(piece).is_some();
        match color {
            Some(color) => colored.extend([color, piece, PLAIN]),
            None => colored.push_str(piece),
        }
        rest = after;
    }
    colored
}

/// How long the piece is that a text begins with, and its colour.
fn piece(text: &str, first: char, is_command: bool) -> (usize, Option<&'static str>) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let until = |found: Option<usize>| found.unwrap_or(text.len());
    match first {
        '"' => (end_of_text(text), Some(TEXT)),
        '`' => (until(text[1..].find('`').map(|at| at + 2)), None),
        // `#{` begins a map of Rhai.
        '#' if !text.starts_with("#{") => (until(text.find('\n')), Some(COMMENT)),
        first if first.is_ascii_digit() => {
            (until(text.find(|c: char| !is_word(c) && c != '.')), Some(NUMBER))
        }
        first if is_word(first) => {
            let length = until(text.find(|c: char| !is_word(c)));
            let word = &text[..length];
            let is_known = match is_command {
                true => Verb::find(word).is_some() || Word::find(word).is_some() || is_reserved(word),
                // Verbs are ordinary words behind another one.
                false => is_reserved(word) && !Verb::RESERVED.iter().any(|verb| verb.as_str() == word),
            };
            (length, is_known.then_some(WORD))
        }
        first => (first.len_utf8(), None),
    }
}

/// The length of a quoted text with its quotes, or what there is of it.
fn end_of_text(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = letter == '\\' && !is_escaped,
        }
    }
    text.len()
}
