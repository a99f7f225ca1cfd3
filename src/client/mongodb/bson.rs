//! Writes BSON straight into a buffer: no tree of values is built for documents with thousands of them. The format is
//! that of <https://bsonspec.org/spec.html>.

use std::fmt::Display;
use std::io::Write;

const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BINARY: u8 = 0x05;
const OBJECT_ID: u8 = 0x07;
const BOOL: u8 = 0x08;
const DATE: u8 = 0x09;
const NULL: u8 = 0x0A;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;
const DECIMAL: u8 = 0x13;

/// A document that is being written, or several one in the other.
#[derive(Debug)]
pub(crate) struct Bson {
    out: Vec<u8>,
}

/// Where a document or array begins that is still open.
#[must_use]
#[derive(Debug)]
pub(crate) struct Open(usize);

impl Bson {
    /// Begins a document.
    pub fn new(capacity: usize) -> Bson {
        let mut out = Vec::with_capacity(capacity);
        out.extend_from_slice(&[0; 4]);
        Bson { out }
    }

    /// Ends the document.
    pub fn finish(mut self) -> Vec<u8> {
        self.close(Open(0));
        self.out
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Goes back to what was written when it had `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    pub fn document(&mut self, key: &str) -> Open {
        self.open(DOCUMENT, key)
    }

    pub fn array(&mut self, key: &str) -> Open {
        self.open(ARRAY, key)
    }

    /// A document that is finished already.
    pub fn embed(&mut self, key: &str, document: &[u8]) {
        self.key(DOCUMENT, key);
        self.out.extend_from_slice(document);
    }

    /// A document as an element of an array.
    pub fn element(&mut self, index: usize) -> Open {
        self.open(DOCUMENT, itoa::Buffer::new().format(index))
    }

    /// Ends what was opened last.
    pub fn close(&mut self, open: Open) {
        self.out.push(0);
        let len = (self.out.len() - open.0) as i32;
        self.out[open.0..open.0 + 4].copy_from_slice(&len.to_le_bytes());
    }

    pub fn null(&mut self, key: &str) {
        self.key(NULL, key);
    }

    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(BOOL, key);
        self.out.push(u8::from(value));
    }

    pub fn object_id(&mut self, key: &str, value: [u8; 12]) {
        self.key(OBJECT_ID, key);
        self.out.extend_from_slice(&value);
    }

    pub fn int32(&mut self, key: &str, value: i32) {
        self.key(INT32, key);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn int64(&mut self, key: &str, value: i64) {
        self.key(INT64, key);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub fn double(&mut self, key: &str, value: f64) {
        self.key(DOUBLE, key);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A moment, in milliseconds since 1970 UTC.
    pub fn date(&mut self, key: &str, ms: i64) {
        self.key(DATE, key);
        self.out.extend_from_slice(&ms.to_le_bytes());
    }

    pub fn decimal(&mut self, key: &str, value: [u8; 16]) {
        self.key(DECIMAL, key);
        self.out.extend_from_slice(&value);
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.display(key, value);
    }

    /// What a value shows.
    pub fn display(&mut self, key: &str, value: impl Display) {
        self.key(STRING, key);
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        write!(self.out, "{value}").expect("a buffer takes all");
        self.out.push(0);
        let len = (self.out.len() - at - 4) as i32;
        self.out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }

    pub fn binary(&mut self, key: &str, value: &[u8]) {
        self.key(BINARY, key);
        self.out.extend_from_slice(&(value.len() as i32).to_le_bytes());
        self.out.push(0);
        self.out.extend_from_slice(value);
    }

    fn open(&mut self, kind: u8, key: &str) -> Open {
        self.key(kind, key);
        self.out.extend_from_slice(&[0; 4]);
        Open(self.out.len() - 4)
    }

    fn key(&mut self, kind: u8, key: &str) {
        self.out.push(kind);
        // A key ends with the first zero byte. No column of MySQL has one in its name.
        let end = key.bytes().position(|byte| byte == 0).unwrap_or(key.len());
        self.out.extend_from_slice(&key.as_bytes()[..end]);
        self.out.push(0);
    }
}

/// A decimal number as Decimal128, digit for digit; `None` when it has more than 34 digits, or is none.
///
/// The encoding is the binary one of IEEE 754-2008: sign, 14 bits of exponent, and the digits as an integer.
pub(crate) fn decimal128(text: &str) -> Option<[u8; 16]> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut coefficient: u128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() || coefficient >= 10_u128.pow(33) {
            return None;
        }
        coefficient = coefficient * 10 + u128::from(digit - b'0');
    }
    let exponent = 6176_u128.checked_sub(fraction.len() as u128)?;
    Some((u128::from(negative) << 127 | exponent << 113 | coefficient).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{Decimal128, RawDocumentBuf};

    #[test]
    fn decimals_keep_every_digit() {
        for text in [
            "0",
            "0.00",
            "-0.01",
            "12.30",
            "-999999999999999999999999999999.9999",
            "9999999999999999999999999999999999",
            "18446744073709551615",
        ] {
            let bytes = decimal128(text).unwrap();
            assert_eq!(Decimal128::from_bytes(bytes).to_string(), text);
            assert_eq!(text.parse::<Decimal128>().unwrap().bytes(), bytes, "{text}");
        }
        // A leading zero is no digit.
        assert!(decimal128("0000000000000000000000000000000000000001").is_some());
        for text in ["10000000000000000000000000000000000", "", "-", "1e3", "."] {
            assert_eq!(decimal128(text), None, "{text}");
        }
    }

    #[test]
    fn documents_are_read_back_by_the_driver() {
        let mut bson = Bson::new(0);
        bson.int32("a", -1);
        let list = bson.array("list");
        for index in 0..11 {
            let element = bson.element(index);
            bson.text("t", "ä");
            bson.null("n");
            bson.close(element);
        }
        bson.close(list);
        bson.binary("b", b"\0\x01");
        bson.bool("yes", true);
        bson.date("at", -5);
        bson.double("d", 0.5);
        bson.int64("l", i64::MIN);
        let document = RawDocumentBuf::from_bytes(bson.finish()).unwrap();
        let document = mongodb::bson::Document::try_from(document).unwrap();
        assert_eq!(document.get_array("list").unwrap().len(), 11);
        assert_eq!(document.get_i64("l").unwrap(), i64::MIN);
        assert_eq!(document.get_datetime("at").unwrap().timestamp_millis(), -5);
    }
}
