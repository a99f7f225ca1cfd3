//! Character sets of columns, and their text as UTF-8.

use super::event::Flaw;

/// A character set that can be carried exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// utf8mb4 and utf8mb3: the most bytes that a character has.
    Utf8(u8),
    /// MySQL's latin1, which is cp1252 with the five undefined bytes standing for themselves.
    Latin1,
    Ascii,
    Binary,
}

impl Charset {
    /// What names travel in.
    pub const UTF8: Charset = Charset::Utf8(4);

    /// The most bytes that a character has.
    pub fn width(self) -> u32 {
        match self {
            Charset::Utf8(width) => u32::from(width),
            _ => 1,
        }
    }

    /// The character set of a collation; `None` for one that is not supported.
    pub fn of_collation(id: u64) -> Option<Charset> {
        Some(match id {
            45 | 46 | 224..=247 | 255..=323 | 608..=610 => Charset::Utf8(4),
            33 | 76 | 83 | 192..=215 | 223 | 576..=578 => Charset::Utf8(3),
            5 | 8 | 15 | 31 | 47..=49 | 94 => Charset::Latin1,
            11 | 65 => Charset::Ascii,
            63 => Charset::Binary,
            // MariaDB's collations that do not pad have the number of the padding ones plus 1024, and its UCA
            // 14.0.0 collations lie in runs of 256 for each character set.
            1024..=2047 => return Charset::of_collation(id - 1024),
            2048..=2303 => Charset::Utf8(3),
            2304..=2559 => Charset::Utf8(4),
            _ => return None,
        })
    }

    /// The character set of a name in information_schema; `None` for one that is not supported.
    pub fn of_name(name: &str) -> Option<Charset> {
        Some(match name {
            "utf8mb4" => Charset::Utf8(4),
            "utf8mb3" | "utf8" => Charset::Utf8(3),
            "latin1" => Charset::Latin1,
            "ascii" => Charset::Ascii,
            "binary" => Charset::Binary,
            _ => return None,
        })
    }

    /// Appends the text as UTF-8.
    pub fn append(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Flaw> {
        match self {
            Charset::Utf8(_) => {
                std::str::from_utf8(bytes).map_err(|_| Flaw::Text)?;
                out.extend_from_slice(bytes);
            }
            Charset::Ascii if !bytes.is_ascii() => return Err(Flaw::Text),
            Charset::Ascii | Charset::Binary => out.extend_from_slice(bytes),
            Charset::Latin1 if bytes.is_ascii() => out.extend_from_slice(bytes),
            Charset::Latin1 => {
                for byte in bytes {
                    let char = cp1252(*byte);
                    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        Ok(())
    }

    /// The text as a string of its own, for names and labels.
    pub fn text(self, bytes: &[u8]) -> Result<String, Flaw> {
        let mut out = Vec::with_capacity(bytes.len());
        self.append(bytes, &mut out)?;
        String::from_utf8(out).map_err(|_| Flaw::Text)
    }
}

fn cp1252(byte: u8) -> char {
    const HIGH_CONTROLS: [char; 32] = [
        '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}', '\u{2021}',
        '\u{2C6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}', '\u{8F}', '\u{90}',
        '\u{2018}', '\u{2019}', '\u{201C}', '\u{201D}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2DC}',
        '\u{2122}', '\u{161}', '\u{203A}', '\u{153}', '\u{9D}', '\u{17E}', '\u{178}',
    ];
    match byte {
        0x80..=0x9F => HIGH_CONTROLS[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin1_is_cp1252() {
        let all: Vec<u8> = (0..=255).collect();
        let (reference, ..) = encoding_rs::WINDOWS_1252.decode(&all);
        assert_eq!(Charset::Latin1.text(&all).unwrap(), reference);
    }

    #[test]
    fn invalid_text_is_an_error() {
        assert_eq!(Charset::UTF8.text(&[0x61, 0xFF]), Err(Flaw::Text));
        assert_eq!(Charset::Ascii.text(&[0xE9]), Err(Flaw::Text));
    }
}
