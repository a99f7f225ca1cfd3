//! Texts, and bytes as texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rhai::{Blob, Dynamic, Engine};

use super::super::error::{Outcome, Problem};
use super::super::json;
use super::hashing::hex;
use super::{Function, table};

pub(super) const FUNCTIONS: &[Function] = table! { Texts:
    "normalize_space", "normalize_space(text)", "The text without blanks at its ends, and with one blank for each run of them.", "normalize_space(\"  a \\t b\\n\")" => "a b";
    "hex", "hex(text)\nhex(blob)", "The bytes as hexadecimal digits.", "hex(\"Ž1\")" => "c5bd31";
    "base64_encode", "base64_encode(text)\nbase64_encode(blob)", "The bytes in Base64.", "base64_encode(\"Ž1\")" => "xb0x";
    "base64_decode", "base64_decode(text)", "The blob that a Base64 text stands for.", "base64_decode(\"xb0x\").len()" => "3";
};

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_fn("normalize_space", |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .register_fn("hex", |text: &str| hex(text.as_bytes()))
        .register_fn("hex", |blob: Blob| hex(&blob))
        .register_fn("base64_encode", |text: &str| STANDARD.encode(text))
        .register_fn("base64_encode", |blob: Blob| STANDARD.encode(blob))
        .register_fn("base64_decode", |text: &str| -> Outcome<Blob> {
            STANDARD.decode(text).map_err(|_| Problem::new("the text is no Base64").into())
        })
        .register_fn("json_get", |text: &str, pointer: &str| -> Outcome<Dynamic> {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(Problem::new("a place in JSON begins with a slash: `/items/0/sku`").into());
            }
            json::at(text, pointer)
        });
}
