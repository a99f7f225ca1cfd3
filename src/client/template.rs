//! Texts with places for facts: `{pipeline} is late by {value}`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};

/// Bytes of a file with a template.
pub const TEMPLATE_BYTES_MAX: u64 = 64 * 1024;

/// Subject and text of a mail. `{name}` stands for a fact; in a place for a fact that there is none of, nothing is written
/// into, so that a mistake in a template never keeps back an alert. `{{` stands for one brace.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    subject: String,
    text: String,
}

impl Template {
    /// What is sent when there is no file.
    pub fn standard() -> Template {
        Template { subject: "lode: {message}".to_owned(), text: String::new() }
    }

    /// Reads a file: `Subject: …` in its first line, an empty line, and the text.
    ///
    /// # Errors
    /// `Environment` when it cannot be read, is too large, or begins otherwise.
    pub fn read(path: &Path) -> Result<Template> {
        let unusable = |why: String| {
            Error::new(Kind::Environment, format!("the template {} cannot be used: {why}", path.display()))
                .advice("begin it with a line `Subject: …` and an empty line")
        };
        let size = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
        if size > TEMPLATE_BYTES_MAX {
            return Err(unusable(format!("it has more than {TEMPLATE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        Template::parse(&text).map_err(|why| unusable(why.to_owned()))
    }

    fn parse(text: &str) -> Result<Template, &'static str> {
        let text = text.replace("\r\n", "\n");
        let (head, text) = text.split_once('\n').unwrap_or((&text, ""));
        let subject = head.strip_prefix("Subject:").ok_or("its first line is no `Subject: …`")?;
        let text = match text.split_once('\n') {
            Some(("", text)) => text,
            None if text.is_empty() => "",
            _ => return Err("there is no empty line behind the subject"),
        };
        Ok(Template { subject: subject.trim().to_owned(), text: text.to_owned() })
    }

    /// Subject and text with the facts in their places. Without a text all facts are listed, a line for each.
    pub fn fill(&self, facts: &Map<String, Value>) -> (String, String) {
        let text = if self.text.is_empty() { list(facts) } else { fill(&self.text, facts) };
        (fill(&self.subject, facts), text)
    }
}

fn list(facts: &Map<String, Value>) -> String {
    let known = facts.iter().filter(|(_, value)| !value.is_null());
    known.map(|(name, value)| format!("{name}: {}\n", plain(value))).collect()
}

fn fill(text: &str, facts: &Map<String, Value>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('{') {
            filled.push('{');
            rest = behind;
            continue;
        }
        let fact = rest.find('}').and_then(|end| Some((facts.get(&rest[..end])?, end)));
        match fact {
            Some((value, end)) => {
                filled.push_str(&plain(value));
                rest = &rest[end + 1..];
            }
            None => filled.push('{'),
        }
    }
    filled.push_str(rest);
    filled
}

/// A fact as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Map<String, Value> {
        let facts =
            serde_json::json!({ "pipeline": "orders", "value": 45, "mine": null, "message": "late {value}" });
        facts.as_object().unwrap().clone()
    }

    #[test]
    fn facts_take_their_places_once() {
        let template =
            Template::parse("Subject: {pipeline} {value} s\n\n{message}, {{x}, {unknown}, {mine}.\n")
                .unwrap();
        let (subject, text) = template.fill(&facts());
        assert_eq!(subject, "orders 45 s");
        // What a fact says is text, and no template again.
        assert_eq!(text, "late {value}, {x}, {unknown}, .\n");
    }

    #[test]
    fn without_a_file_everything_known_is_listed() {
        let (subject, text) = Template::standard().fill(&facts());
        assert_eq!(subject, "lode: late {value}");
        assert_eq!(text, "pipeline: orders\nvalue: 45\nmessage: late {value}\n");
    }

    #[test]
    fn a_file_begins_with_its_subject() {
        assert!(Template::parse("Subject: x").is_ok());
        assert!(Template::parse("Subject: x\r\n\r\ntext").is_ok());
        assert!(Template::parse("hello\n\ntext").is_err());
        assert!(Template::parse("Subject: x\ntext").is_err());
    }
}
