//! Where lines break. A document is text with places where a line may break; a group breaks at all of its places, or,
//! when it fits the line and holds no comment, at none.

/// Longest line, in characters, as far as breaking can help.
const WIDTH: usize = 110;
/// Blanks per level.
const INDENT: usize = 2;

/// A piece of laid-out text.
pub(super) enum Doc {
    /// Text that never breaks; line ends within it are kept as they are.
    Text(String),
    /// A comment: to its end of line nothing may follow.
    Comment { text: String, own_line: bool, after_blank: bool },
    /// A blank, or a line break.
    Line,
    /// Nothing, or a line break.
    SoftLine,
    /// `, `, or a line break alone: a setting at the end of a line needs no comma.
    Separator,
    /// Always a line break, with a blank line before the next text where `true`.
    Hard(bool),
    /// Pieces one after another.
    All(Vec<Doc>),
    /// Breaks everywhere or nowhere.
    Group(Vec<Doc>),
    /// One level deeper.
    Indent(Vec<Doc>),
    /// New lines begin at the column where this begins.
    Align(Vec<Doc>),
}

impl Doc {
    pub(super) fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }
}

/// Lays a document out. The result ends with one line end, unless it is empty.
pub(super) fn lay_out(docs: &[Doc]) -> String {
    let mut page = Page::default();
    for doc in docs {
        page.add(doc, 0, true);
    }
    if !page.text.is_empty() {
        page.text.push('\n');
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    column: usize,
    /// A line end that is due before the next text, with the indent of the new line.
    pending: Option<usize>,
    /// Whether a blank line is due there, too.
    blank: bool,
    /// Whether the line ends in a comment.
    in_comment: bool,
    /// Whether the last group that ended did not fit its line.
    group_broke: bool,
}

impl Page {
    fn add(&mut self, doc: &Doc, indent: usize, broken: bool) {
        match doc {
            Doc::Text(text) => self.write(text),
            Doc::Comment { text, own_line, after_blank } => {
                if *own_line || self.in_comment || self.column == 0 {
                    self.break_line(indent, *after_blank);
                    self.write(text);
                } else {
                    self.text.push_str("  ");
                    self.text.push_str(text);
                }
                self.in_comment = true;
                self.pending = Some(indent);
                self.blank = false;
            }
            Doc::Line | Doc::SoftLine | Doc::Separator if broken => self.break_line(indent, false),
            Doc::Line => self.write_blank(),
            Doc::SoftLine => {}
            Doc::Separator => {
                self.write(",");
                self.write_blank();
            }
            Doc::Hard(blank) => self.break_line(indent, *blank),
            Doc::All(docs) => self.add_all(docs, indent, broken),
            Doc::Group(docs) => {
                let start = self.pending.unwrap_or(self.column);
                let fits = docs.iter().try_fold(start, |column, doc| flat_end(doc, column)).is_some();
                // Nothing is put behind a setting that took several lines.
                let follows = matches!(docs.first(), Some(Doc::Separator)) && self.group_broke;
                let breaks = !fits || follows;
                self.add_all(docs, indent, breaks);
                self.group_broke = !fits;
            }
            Doc::Indent(docs) => self.add_all(docs, indent + INDENT, broken),
            Doc::Align(docs) => {
                let column = self.pending.unwrap_or(self.column);
                self.add_all(docs, column, broken);
            }
        }
    }

    fn add_all(&mut self, docs: &[Doc], indent: usize, broken: bool) {
        for doc in docs {
            self.add(doc, indent, broken);
        }
    }

    fn break_line(&mut self, indent: usize, blank: bool) {
        if !self.text.is_empty() {
            self.pending = Some(indent);
            self.blank |= blank;
        }
    }

    fn write_blank(&mut self) {
        if self.pending.is_none() && self.column > 0 {
            self.text.push(' ');
            self.column += 1;
        }
    }

    fn write(&mut self, text: &str) {
        let mut text = text;
        if let Some(indent) = self.pending.take() {
            self.text.push_str(if self.blank { "\n\n" } else { "\n" });
            self.text.extend(std::iter::repeat_n(' ', indent));
            self.column = indent;
            self.blank = false;
            self.in_comment = false;
            text = text.trim_start_matches(' ');
        }
        self.text.push_str(text);
        self.column = match text.rfind('\n') {
            Some(at) => text[at + 1..].chars().count(),
            None => self.column + text.chars().count(),
        };
    }
}

/// The column after `doc` when nothing in it breaks; `None` when that is beyond the width, or not possible.
fn flat_end(doc: &Doc, column: usize) -> Option<usize> {
    let end = match doc {
        Doc::Text(text) if text.contains('\n') => return None,
        Doc::Text(text) => column + text.chars().count(),
        Doc::Comment { .. } | Doc::Hard(_) => return None,
        Doc::Line => column + 1,
        Doc::SoftLine => column,
        Doc::Separator => column + 2,
        Doc::All(docs) | Doc::Group(docs) | Doc::Indent(docs) | Doc::Align(docs) => {
            docs.iter().try_fold(column, |column, doc| flat_end(doc, column))?
        }
    };
    (end <= WIDTH).then_some(end)
}
