//! Whether a statement only reads, as far as its words tell. The database is told to change nothing besides; what is looked
//! for here is what that does not keep it from: writing files, locking rows, ending its transaction.

use crate::error::{Error, Kind, Result};

/// Checks that a statement begins with one of `first_words`, and has nothing in it that does more than read.
///
/// # Errors
/// `Refused` when it is another statement.
pub(super) fn check(statement: &str, first_words: &[&str]) -> Result<()> {
    let tokens = tokens(statement)?;
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let refused = |what: String| {
        Error::new(Kind::Refused, what)
            .advice(format!("write a statement that begins with {}", first_words.join(", ")))
    };
    match words.iter().find(|word| **word != "(") {
        None => return Err(refused("there is no statement".to_owned())),
        Some(first) if !first_words.contains(first) => {
            return Err(refused(format!("{first} is no statement that only reads")));
        }
        Some(_) => {}
    }
    let end = words.iter().position(|word| *word == ";").unwrap_or(words.len());
    if words[end..].iter().any(|word| *word != ";") {
        return Err(refused("these are several statements, and one is asked at a time".to_owned()));
    }
    if words.contains(&"INTO") {
        return Err(refused("INTO writes the answer elsewhere".to_owned()));
    }
    let locks = |pair: &[&str]| matches!(pair, ["FOR", "UPDATE" | "SHARE"] | ["LOCK", "IN"]);
    if words.windows(2).any(locks) {
        return Err(refused("the statement would lock rows".to_owned()));
    }
    Ok(())
}

/// Words in capitals, and signs, without texts, quoted names and comments.
fn tokens(statement: &str) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' | '`' => {
                tokens.push(first.to_string());
                quoted(rest, first)?
            }
            '#' => line(rest),
            '-' if rest.starts_with("-- ") || rest.starts_with("--\n") || rest.starts_with("--\t") => {
                line(rest)
            }
            '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                return Err(Error::new(Kind::Refused, "comments that a server carries out are not taken")
                    .advice("write what is in the comment, or leave it out"));
            }
            '/' if rest.starts_with("/*") => match rest.find("*/") {
                Some(end) => end + 2,
                None => return Err(not_closed("comment")),
            },
            first if is_word(first) => {
                let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
                tokens.push(rest[..length].to_uppercase());
                length
            }
            first => {
                if !first.is_whitespace() {
                    tokens.push(first.to_string());
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$' | '@')
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// The length of a quoted text with its quotes. A doubled quote stands for itself, and so does one behind a backslash,
/// but in quoted names.
fn quoted(text: &str, quote: char) -> Result<usize> {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && quote != '`' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return Ok(at + quote.len_utf8());
        }
    }
    Err(not_closed("quoted text"))
}

fn not_closed(what: &str) -> Error {
    Error::new(Kind::Refused, format!("a {what} in the statement is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["SELECT", "WITH", "SHOW", "EXPLAIN"];

    #[test]
    fn what_only_reads_is_asked() {
        for statement in [
            "select 1",
            "  SELECT 'into; for update' AS `into`, \"a\"\"b\\\" into\" FROM t;",
            "(select 1) union (select 2)",
            "with a as (select 1) select * from a",
            "show tables",
            "select 1 -- into outfile\n, 2 # for update",
            "select /* into */ substring('abc' from 1 for 2)",
            "select 1;;",
            "explain select intop from t",
        ] {
            assert!(check(statement, WORDS).is_ok(), "{statement}");
        }
    }

    #[test]
    fn what_does_more_is_refused() {
        for (statement, what) in [
            ("", "no statement"),
            ("delete from t", "DELETE"),
            ("select 1; delete from t", "several"),
            ("select 1 into outfile '/tmp/a'", "INTO"),
            ("select * from t for update", "lock"),
            ("select * from t LOCK in share mode", "lock"),
            ("select 1 /*!50000 into outfile '/tmp/a' */", "comments"),
            ("select 'a", "not closed"),
            ("select 1 /* a", "not closed"),
            ("call p()", "CALL"),
        ] {
            let error = check(statement, WORDS).unwrap_err();
            assert!(error.message().contains(what), "{statement}: {error}");
        }
    }
}
