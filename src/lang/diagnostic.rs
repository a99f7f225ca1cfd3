//! What is wrong with a script: where, why, and what to type next.

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use serde::Serialize;

use super::codes::Code;
use super::span::{SourceFile, SourceMap, Span};

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to say right at the place; may be empty.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<(Span, String)>,
    /// Why it is so.
    pub notes: Vec<String>,
    /// The next thing to type.
    pub help: Option<String>,
    /// A change of the text that puts it right.
    pub suggestion: Option<Suggestion>,
}

/// A change of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// What is replaced; an empty span inserts.
    pub span: Span,
    /// By what.
    pub replacement: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The script cannot run.
    Error,
    /// The script runs, but perhaps not as meant.
    Warning,
}

impl Diagnostic {
    /// A finding at `span`.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            message: message.into(),
            span,
            label: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
            help: None,
            suggestion: None,
        }
    }

    /// Says something right at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Adds a reason.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to type next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Offers a change of the text; `help` is its heading.
    #[must_use]
    pub fn suggest(mut self, span: Span, replacement: impl Into<String>, help: impl Into<String>) -> Self {
        self.suggestion = Some(Suggestion { span, replacement: replacement.into() });
        self.help(help)
    }

    /// Error or warning; the code says it.
    pub fn severity(&self) -> Severity {
        if self.code.as_str().starts_with('W') { Severity::Warning } else { Severity::Error }
    }

    /// Whether the script cannot run because of it.
    pub fn is_error(&self) -> bool {
        self.severity() == Severity::Error
    }
}

/// Renders all findings for people, in the style of rustc, with one blank line between them.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in diagnostics {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&renderer.render(&report(diagnostic, sources)));
        text.push('\n');
    }
    text
}

/// Renders all findings as one JSON array, for programs.
pub fn to_json(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    let findings: Vec<JsonDiagnostic<'_>> =
        diagnostics.iter().map(|diagnostic| json_diagnostic(diagnostic, sources)).collect();
    serde_json::to_string_pretty(&findings).unwrap_or_else(|_| "[]".to_owned())
}

/// The candidate that `word` was probably meant to be.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    // A third of the letters may be wrong; a swap of neighbours counts as one.
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn report<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Vec<Group<'a>> {
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
    let mut group = Group::with_title(title);
    // A file that could not be read has no text to point into.
    if let Some(file) = sources.get(diagnostic.span.source).filter(|file| !file.text().is_empty()) {
        let mut primary = AnnotationKind::Primary.span(clamp(diagnostic.span, file));
        if !diagnostic.label.is_empty() {
            primary = primary.label(diagnostic.label.as_str());
        }
        let mut snippet = snippet(file).annotation(primary);
        for (span, label) in same_file(diagnostic, true) {
            snippet =
                snippet.annotation(AnnotationKind::Context.span(clamp(*span, file)).label(label.as_str()));
        }
        group = group.element(snippet);
    }
    for (span, label) in same_file(diagnostic, false) {
        if let Some(file) = sources.get(span.source) {
            let place = AnnotationKind::Context.span(clamp(*span, file)).label(label.as_str());
            group = group.element(snippet(file).annotation(place));
        }
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    match (&diagnostic.suggestion, &diagnostic.help) {
        (Some(suggestion), help) => {
            let mut groups = vec![group];
            if let Some(file) = sources.get(suggestion.span.source) {
                let heading = help.as_deref().unwrap_or("type this");
                let patch = Patch::new(clamp(suggestion.span, file), suggestion.replacement.as_str());
                groups.push(Level::HELP.secondary_title(heading).element(snippet(file).patch(patch)));
            }
            groups
        }
        (None, Some(help)) => vec![group.element(Level::HELP.message(help.as_str()))],
        (None, None) => vec![group],
    }
}

fn snippet<'a, T: Clone>(file: &'a SourceFile) -> Snippet<'a, T> {
    Snippet::source(file.text().as_ref()).path(file.name().as_ref())
}

fn same_file(diagnostic: &Diagnostic, same: bool) -> impl Iterator<Item = &(Span, String)> {
    diagnostic.related.iter().filter(move |(span, _)| (span.source == diagnostic.span.source) == same)
}

/// Holds a span within the text it points into: the renderer panics on one that does not fit.
fn clamp(span: Span, file: &SourceFile) -> std::ops::Range<usize> {
    let text = file.text();
    let start = text.floor_char_boundary(span.start as usize);
    let end = text.ceil_char_boundary((span.end as usize).min(text.len()));
    start..end.max(start)
}

#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    code: &'static str,
    severity: Severity,
    message: &'a str,
    #[serde(flatten)]
    place: JsonPlace<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<JsonRelated<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<JsonSuggestion<'a>>,
}

#[derive(Serialize)]
struct JsonPlace<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    end: JsonEnd,
}

#[derive(Serialize)]
struct JsonEnd {
    line: u32,
    column: u32,
}

#[derive(Serialize)]
struct JsonRelated<'a> {
    #[serde(flatten)]
    place: JsonPlace<'a>,
    label: &'a str,
}

#[derive(Serialize)]
struct JsonSuggestion<'a> {
    #[serde(flatten)]
    place: JsonPlace<'a>,
    replacement: &'a str,
}

fn json_diagnostic<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> JsonDiagnostic<'a> {
    JsonDiagnostic {
        code: diagnostic.code.as_str(),
        severity: diagnostic.severity(),
        message: &diagnostic.message,
        place: json_place(diagnostic.span, sources),
        label: &diagnostic.label,
        related: diagnostic
            .related
            .iter()
            .map(|(span, label)| JsonRelated { place: json_place(*span, sources), label })
            .collect(),
        notes: &diagnostic.notes,
        help: diagnostic.help.as_deref(),
        suggestion: diagnostic.suggestion.as_ref().map(|suggestion| JsonSuggestion {
            place: json_place(suggestion.span, sources),
            replacement: &suggestion.replacement,
        }),
    }
}

fn json_place(span: Span, sources: &SourceMap) -> JsonPlace<'_> {
    match sources.get(span.source) {
        Some(file) => {
            let range = clamp(span, file);
            let (start, end) = (file.place(range.start), file.place(range.end));
            JsonPlace {
                file: file.name(),
                line: start.line,
                column: start.column,
                end: JsonEnd { line: end.line, column: end.column },
            }
        }
        None => JsonPlace { file: "", line: 0, column: 0, end: JsonEnd { line: 0, column: 0 } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let words = ["orders", "order_items", "customers"];
        assert_eq!(did_you_mean("ordres", words), Some("orders"));
        assert_eq!(did_you_mean("Customer", words), Some("customers"));
        assert_eq!(did_you_mean("invoices", words), None);
    }

    #[test]
    fn spans_that_do_not_fit_the_text_are_held_within_it() {
        let mut sources = SourceMap::new();
        let id = sources.add("a.lode", "č");
        let finding = Diagnostic::new(Code::E0101, Span::new(id, 1..900), "no").help("yes");
        assert!(render(std::slice::from_ref(&finding), &sources, false).contains("error[E0101]: no"));
        assert!(to_json(&[finding], &sources).contains(r#""line": 1"#));
    }
}
