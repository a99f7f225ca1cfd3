//! Hashes.

use hmac::{Hmac, KeyInit, Mac};
use rhai::{Blob, Engine};
use sha2::{Digest, Sha256};

use super::super::error::{Outcome, Problem};
use super::{Function, table};

pub(super) const FUNCTIONS: &[Function] = table! { Masking:
    "sha256", "sha256(text)\nsha256(blob)", "The SHA-256 of the bytes, in hexadecimal digits.", "sha256(\"abc\").sub_string(0, 16)" => "ba7816bf8f01cfea";
    "hmac_sha256", "hmac_sha256(text, key)", "The HMAC-SHA256 (RFC 2104) of a text under a key, in hexadecimal digits.", "hmac_sha256(\"what do ya want for nothing?\", \"Jefe\").sub_string(0, 16)" => "5bdcc146bf60754e";
    "pseudonym", "pseudonym(text, key)", "Another name for a value: the same for the same value and key, and not to be led back without the key.", "pseudonym(\"jane@example.test\", \"k1\").len()" => "22";
};

/// Digits of a pseudonym: 110 bits, so that two values never share one.
const PSEUDONYM_DIGITS: usize = 22;

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_fn("sha256", |text: &str| hex(&Sha256::digest(text)))
        .register_fn("sha256", |blob: Blob| hex(&Sha256::digest(blob)))
        .register_fn("hmac_sha256", |text: &str, key: &str| -> Outcome<String> {
            Ok(hex(&signed(text, key)?))
        })
        .register_fn("pseudonym", |text: &str, key: &str| -> Outcome<String> {
            // Five bits a digit; none of the letters that are taken for others.
            const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
            let bytes = signed(text, key)?;
            let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
            let digit = |at: usize| (0..5).fold(0, |sum, by| sum << 1 | usize::from(bit(at * 5 + by)));
            Ok((0..PSEUDONYM_DIGITS).map(|at| char::from(DIGITS[digit(at)])).collect())
        });
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn signed(text: &str, key: &str) -> Result<Vec<u8>, Problem> {
    if key.is_empty() {
        return Err(Problem::new("the key is empty, so that everybody could compute the same"));
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| Problem::new("the key cannot be used"))?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}
