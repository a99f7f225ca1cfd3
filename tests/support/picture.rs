//! Pictures of terminals, for README: text in a frame, as SVG, which follows the reader's light or dark colours.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use console::measure_text_width;

/// A letter of the terminal has this width and height, in the picture's units.
const LETTER: (f64, f64) = (8.4, 18.0);
/// Around the text.
const MARGIN: f64 = 14.0;

/// A piece of a line that looks the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// How many columns it takes.
    pub columns: usize,
    /// How it looks.
    pub look: Look,
}

/// How a piece of a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Its colour by the terminal's number, if it is not that of all text.
    pub color: Option<u8>,
    /// Whether it is bold.
    pub is_bold: bool,
    /// Whether it is less bright.
    pub is_dim: bool,
    /// Whether colours of text and ground are exchanged.
    pub is_reversed: bool,
}

/// Puts letters together that look the same. Each has its text, its columns and its look.
pub fn pieces(letters: impl Iterator<Item = (String, usize, Look)>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (text, columns, look) in letters {
        match pieces.last_mut() {
            Some(last) if last.look == look => {
                last.text.push_str(&text);
                last.columns += columns;
            }
            _ => pieces.push(Piece { text, columns, look }),
        }
    }
    // Nobody sees blanks at the end.
    if let Some(last) = pieces.last_mut()
        && !last.look.is_reversed
    {
        let length = last.text.trim_end().len();
        last.columns -= last.text.len() - length;
        last.text.truncate(length);
    }
    pieces
}

/// The picture of lines in a terminal of so many columns. Empty lines at the end are left out.
pub fn svg(lines: &[Vec<Piece>], columns: usize, what: &str) -> String {
    let is_empty = |line: &&Vec<Piece>| line.iter().all(|piece| piece.text.is_empty());
    let rows = lines.len() - lines.iter().rev().take_while(is_empty).count();
    let width = columns as f64 * LETTER.0 + 2.0 * MARGIN;
    let height = rows as f64 * LETTER.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" role=\"img\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\"/>\n",
        escaped(what)
    );
    for (row, line) in lines.iter().take(rows).enumerate() {
        let top = MARGIN + row as f64 * LETTER.1;
        let mut column = 0;
        for piece in line {
            let left = MARGIN + column as f64 * LETTER.0;
            let wide = piece.columns as f64 * LETTER.0;
            if piece.look.is_reversed {
                let high = LETTER.1;
                let _ = writeln!(
                    svg,
                    "<rect class=\"reversed\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\"/>"
                );
            }
            let (base, class) = (top + LETTER.1 * 0.75, class(piece.look));
            for (at, word) in words(&piece.text) {
                // The length is said, as fonts differ in the width of their letters.
                let (left, wide) = (left + at as f64 * LETTER.0, measure_text_width(word) as f64 * LETTER.0);
                let _ = writeln!(
                    svg,
                    "<text{class} x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{wide:.1}\">{}</text>",
                    escaped(word)
                );
            }
            column += piece.columns;
        }
    }
    svg + "</svg>\n"
}

/// Holds that the picture in the repository is this one. With `LODE_PICTURES=write` it becomes this one.
pub fn assert_is_current(name: &str, svg: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pictures").join(name);
    if std::env::var_os("LODE_PICTURES").is_some_and(|value| value == "write") {
        return fs::write(path, svg).expect("the picture can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == svg, "{name} shows what was; scripts/pictures/make.sh makes it anew");
}

const STYLE: &str = "\
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328 }
.ground { fill: #f6f8fa; stroke: #d1d9e0 }
.reversed { fill: #1f2328; shape-rendering: crispEdges }
.inside { fill: #f6f8fa }
.bold { font-weight: bold }
.dim { fill: #59636e }
.c1 { fill: #c11a22 } .c2 { fill: #116b2c } .c3 { fill: #875000 } .c4 { fill: #0550ae } .c5 { fill: #8250df } .c6 { fill: #0b6a75 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.ground { fill: #0d1117; stroke: #3d444d }
.reversed { fill: #e6edf3 }
.inside { fill: #0d1117 }
.dim { fill: #9198a1 }
.c1 { fill: #ff7b72 } .c2 { fill: #56d364 } .c3 { fill: #e3b341 } .c4 { fill: #79c0ff } .c5 { fill: #d2a8ff } .c6 { fill: #56d4dd }
}
";

/// The words of a text with the columns that they begin at: what draws pictures may leave blanks out.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut column = 0;
    text.split(' ').filter_map(move |word| {
        let at = column;
        column += measure_text_width(word) + 1;
        (!word.is_empty()).then_some((at, word))
    })
}

fn class(look: Look) -> String {
    let mut classes = Vec::new();
    if look.is_reversed {
        classes.push("inside".to_owned());
    } else if let Some(color) = look.color {
        // Bright colours are the same ones here.
        classes.push(format!("c{}", color % 8));
    } else if look.is_dim {
        classes.push("dim".to_owned());
    }
    if look.is_bold {
        classes.push("bold".to_owned());
    }
    if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
