//! Places in script texts, and the texts themselves.

use std::ops::Range;
use std::sync::Arc;

/// Number of a file within a [`SourceMap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A run of bytes in one source text; `end` is not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// The bytes `range` of `source`. Offsets beyond 4 GiB are cut; the parser refuses such texts long before.
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { source, start: offset(range.start), end: offset(range.end) }
    }

    /// The bytes as a range for slicing.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// From the start of `self` to the end of `other`, which stands later in the same text.
    pub fn to(self, other: Span) -> Span {
        Span { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The empty place right before `self`.
    pub fn before(self) -> Span {
        Span { end: self.start, ..self }
    }

    /// The empty place right after `self`.
    pub fn after(self) -> Span {
        Span { start: self.end, ..self }
    }
}

/// The texts that spans point into, by number.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text. `name` is shown in messages, as the user named the file; `<command line>` for `-e`.
    pub fn add(&mut self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceId {
        let id = SourceId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(SourceFile::new(name.into(), text.into()));
        id
    }

    /// The file with this number, if it was added here.
    pub fn get(&self, id: SourceId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// The text under `span`; empty when the span does not fit any file.
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.source).and_then(|file| file.text.get(span.range())).unwrap_or_default()
    }

    /// Name of the file, line and column of the start of `span`.
    pub fn locate(&self, span: Span) -> Option<(&Arc<str>, Place)> {
        let file = self.get(span.source)?;
        Some((&file.name, file.place(span.start as usize)))
    }

    /// Puts stars in place of a secret; every offset stays as it is.
    pub fn mask(&mut self, span: Span) {
        let Some(file) = self.files.get_mut(span.source.0 as usize) else { return };
        let (Some(before), Some(secret), Some(after)) = (
            file.text.get(..span.start as usize),
            file.text.get(span.range()),
            file.text.get(span.end as usize..),
        ) else {
            return;
        };
        // A secret in quotes ends in its line, so that the lines stay as they are.
        let stars: String = secret
            .bytes()
            .map(|byte| if matches!(byte, b'"' | b'\n') { byte as char } else { '*' })
            .collect();
        if stars != secret {
            file.text = format!("{before}{stars}{after}").into();
        }
    }

    /// The word at a line and column, both counted from 1, or the one character there.
    pub fn word_at(&self, source: SourceId, line: u32, column: u32) -> Option<Span> {
        let file = self.get(source)?;
        let line_start = *file.line_starts.get((line as usize).checked_sub(1)?)?;
        let text = file.line(line)?;
        let at = (column as usize).saturating_sub(1);
        let start = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
        let rest = &text[start..];
        let in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let word = rest.find(|letter| !in_word(letter)).unwrap_or(rest.len());
        let length = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
        Some(Span::new(source, line_start + start..line_start + start + length))
    }

    /// All files with their numbers, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (SourceId, &SourceFile)> {
        self.files.iter().enumerate().map(|(index, file)| (SourceId(index as u32), file))
    }
}

/// One text with its name.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<str>,
    line_starts: Vec<usize>,
}

impl SourceFile {
    fn new(name: Arc<str>, text: Arc<str>) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        SourceFile { name, text, line_starts }
    }

    /// The name as the user gave it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Line and column of a byte offset; an offset beyond the text is its end.
    pub fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line_starts.partition_point(|&start| start <= offset).saturating_sub(1);
        let column = self.text[self.line_starts[line]..offset].chars().count();
        Place { line: line as u32 + 1, column: column as u32 + 1 }
    }

    /// The text of a line counted from 1, without its line end.
    pub fn line(&self, line: u32) -> Option<&str> {
        let index = (line as usize).checked_sub(1)?;
        let start = *self.line_starts.get(index)?;
        let end = self.line_starts.get(index + 1).copied().unwrap_or(self.text.len());
        Some(self.text[start..end].trim_end_matches(['\n', '\r']))
    }
}

/// A line and a column in characters, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let mut sources = SourceMap::new();
        let id = sources.add("a.lode", "ab\nčd\n");
        let file = sources.get(id).unwrap();
        for (offset, line, column) in
            [(0, 1, 1), (2, 1, 3), (3, 2, 1), (5, 2, 2), (6, 2, 3), (7, 3, 1), (99, 3, 1)]
        {
            assert_eq!(file.place(offset), Place { line, column }, "offset {offset}");
        }
        assert_eq!(file.line(2), Some("čd"));
        assert_eq!(file.line(4), None);
        assert_eq!(sources.slice(Span::new(id, 3..6)), "čd");
    }
}
