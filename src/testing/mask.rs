//! Texts of a recording made unreadable, so that it can leave the house: each letter and digit becomes another one of its
//! kind.
//!
//! The same text always has the same mask and different texts have different ones, in every column and table: keys
//! keep their relations. Length, blanks and signs stay. Each character is moved within its alphabet by a keyed hash
//! of its neighbours on one side, then of those on the other: every step can be undone only with the key. What a mask does not hide is
//! the length of a text, and which texts are equal. Numbers, dates, and the words of ENUM and SET stay as they are.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::schema::{Column, ColumnType};
use crate::model::table::TableName;
use crate::model::value::Value;

/// Alphabets by their first and last character; all characters of one have equally many bytes in UTF-8.
const ALPHABETS: &[(char, char)] = &[
    ('0', '9'),
    ('a', 'z'),
    ('A', 'Z'),
    ('À', 'Ö'),
    ('Ø', 'ö'),
    ('ø', 'ÿ'),
    ('Α', 'Ρ'),
    ('Σ', 'Ω'),
    ('α', 'ω'),
    ('А', 'Я'),
    ('а', 'я'),
    ('א', 'ת'),
    ('ぁ', 'ゖ'),
    ('ァ', 'ヺ'),
    ('一', '鿿'),
    ('가', '힣'),
];

/// Hides texts, by a key.
pub struct Mask {
    key: Hmac<Sha256>,
    /// Columns that stay as they are: `state`, `orders.state`.
    plain: Vec<String>,
}

impl Mask {
    /// A mask by this secret; whoever has it and guesses a text can tell whether a mask is that of the text. `plain` names the columns that
    /// stay as they are: `state` in every table, `orders.state` in one.
    pub fn new(secret: &[u8], plain: Vec<String>) -> Mask {
        let key = Hmac::new_from_slice(secret).expect("a key of this kind may have any length");
        Mask { key, plain }
    }

    /// Whether a column has texts, and is not to stay as it is.
    pub fn hides(&self, table: &TableName, column: &Column) -> bool {
        let is_text = matches!(
            column.ty,
            ColumnType::Char { .. }
                | ColumnType::VarChar { .. }
                | ColumnType::Text { .. }
                | ColumnType::Json
                | ColumnType::Binary { .. }
                | ColumnType::VarBinary { .. }
                | ColumnType::Blob { .. }
        );
        let is_plain = |plain: &String| match plain.split_once('.') {
            Some((of, name)) => of == table.table && name == column.name,
            None => *plain == column.name,
        };
        is_text && !self.plain.iter().any(is_plain)
    }

    /// Columns that were to stay as they are.
    pub fn plain(&self) -> &[String] {
        &self.plain
    }

    /// The value with its texts hidden.
    pub fn value<'a>(&self, value: Value<'a>) -> Value<'a> {
        match value {
            Value::Text(text) => Value::Text(self.text(&text).into()),
            Value::Bytes(bytes) => Value::Bytes(self.bytes(&bytes).into()),
            Value::Json(text) => match serde_json::from_str(&text) {
                Ok(document) => Value::Json(self.document(document).to_string().into()),
                // What cannot be read cannot be hidden piece by piece.
                Err(_) => Value::Json(serde_json::Value::String(self.text(&text)).to_string().into()),
            },
            other => other,
        }
    }

    /// Texts of a document, and not its names.
    fn document(&self, document: serde_json::Value) -> serde_json::Value {
        use serde_json::Value as Json;
        match document {
            Json::String(text) => Json::String(self.text(&text)),
            Json::Array(items) => items.into_iter().map(|item| self.document(item)).collect(),
            Json::Object(entries) => {
                entries.into_iter().map(|(name, value)| (name, self.document(value))).collect()
            }
            other => other,
        }
    }

    fn text(&self, text: &str) -> String {
        let mut letters: Vec<(char, Option<(u32, u32)>)> =
            text.chars().map(|letter| (letter, alphabet(letter))).collect();
        self.pass("left", &mut letters);
        letters.reverse();
        self.pass("right", &mut letters);
        letters.into_iter().rev().map(|(letter, _)| letter).collect()
    }

    /// Moves each letter by a hash of those before it. Two texts differ first where both have the same letters before, so
    /// that they are moved alike there, and still differ.
    fn pass(&self, side: &str, letters: &mut [(char, Option<(u32, u32)>)]) {
        let mut before = self.key.clone();
        before.update(side.as_bytes());
        for (letter, alphabet) in letters {
            let step = number(&before);
            let mut encoded = [0; 4];
            before.update(letter.encode_utf8(&mut encoded).as_bytes());
            *letter = match *alphabet {
                Some((first, size)) => shifted(*letter, first, size, step),
                // A letter of another alphabet: which one, is hidden; there is no way back.
                None if letter.is_alphanumeric() => shifted('a', 'a' as u32, 26, step),
                None => *letter,
            };
        }
    }

    fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for side in ["left", "right"] {
            let mut before = self.key.clone();
            before.update(side.as_bytes());
            for byte in &mut bytes {
                let step = number(&before);
                before.update(&[*byte]);
                *byte = byte.wrapping_add(step as u8);
            }
            bytes.reverse();
        }
        bytes
    }
}

fn alphabet(letter: char) -> Option<(u32, u32)> {
    let (first, last) = ALPHABETS.iter().find(|(first, last)| (*first..=*last).contains(&letter))?;
    Some((*first as u32, *last as u32 - *first as u32 + 1))
}

fn shifted(letter: char, first: u32, size: u32, step: u32) -> char {
    let at = (letter as u32 - first + step % size) % size;
    char::from_u32(first + at).unwrap_or(letter)
}

fn number(state: &Hmac<Sha256>) -> u32 {
    let digest = state.clone().finalize().into_bytes();
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_mask_keeps_length_and_kind_of_every_character() {
        let mask = Mask::new(b"secret", Vec::new());
        for text in [
            "",
            "Ada Lovelace <ada@example.test>",
            "+44 20 7946 0958",
            "Žofie Müller",
            "北京市",
            "Привет",
            "ابجد",
        ] {
            let masked = mask.text(text);
            assert_eq!(masked, mask.text(text), "the same text has the same mask");
            assert_eq!(masked.chars().count(), text.chars().count(), "{text}: {masked}");
            for (one, other) in text.chars().zip(masked.chars()) {
                assert_eq!(one.is_alphanumeric(), other.is_alphanumeric(), "{text}: {masked}");
                assert_eq!(one.is_ascii_digit(), other.is_ascii_digit(), "{text}: {masked}");
            }
            assert_ne!(Mask::new(b"another", Vec::new()).text("Ada Lovelace"), mask.text("Ada Lovelace"));
        }
        assert_eq!(mask.text("<@ .>"), "<@ .>");
    }

    #[test]
    fn different_texts_have_different_masks() {
        let mask = Mask::new(b"secret", Vec::new());
        let texts: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let masked: HashSet<String> = texts.iter().map(|text| mask.text(text)).collect();
        assert_eq!(masked.len(), texts.len(), "short keys stay keys");
        assert!(texts.iter().filter(|text| mask.text(text) == **text).count() < 100);
        // Texts that begin alike do not have masks that begin alike.
        let (one, other) = (mask.text("ada.lovelace@example.test"), mask.text("ada.lovelace@example.org!"));
        assert_ne!(one[..12], other[..12]);
    }

    #[test]
    fn documents_keep_their_names_and_numbers() {
        let mask = Mask::new(b"secret", Vec::new());
        let Value::Json(text) =
            mask.value(Value::Json(r#"{"name": "Ada", "age": 36, "tags": ["x", null]}"#.into()))
        else {
            panic!("it stays a document");
        };
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((document["age"].as_u64(), document["tags"][1].is_null()), (Some(36), true));
        let name = document["name"].as_str().unwrap();
        assert!(name != "Ada" && name.len() == 3);
    }
}
