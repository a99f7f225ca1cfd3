//! Values of which only a part is shown.

use rhai::{Engine, INT};

use super::{Function, table};

pub(super) const FUNCTIONS: &[Function] = table! { Masking:
    "mask", "mask(text)\nmask(text, last)", "Stars in place of every character but the last ones.", "mask(\"secret-4711\", 4)" => "*******4711";
    "mask_email", "mask_email(text)", "The first character and the domain of an address; stars alone when it is no address.", "mask_email(\"jane.doe@example.test\")" => "j***@example.test";
    "mask_card", "mask_card(text)", "Stars in place of every digit but the last four; what lies between digits stays.", "mask_card(\"4111 1111 1111 1234\")" => "**** **** **** 1234";
};

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_fn("mask", |text: &str| mask(text, 0))
        .register_fn("mask", mask)
        .register_fn("mask_email", |text: &str| match text.rsplit_once('@') {
            Some((name, domain)) if !domain.is_empty() => {
                let first: String = name.chars().take(1).collect();
                format!("{first}***@{domain}")
            }
            _ => mask(text, 0),
        })
        .register_fn("mask_card", |text: &str| {
            let digits = text.chars().filter(char::is_ascii_digit).count();
            let mut seen = 0;
            let masked = text.chars().map(|letter| {
                seen += usize::from(letter.is_ascii_digit());
                // A number as short as what is shown of a long one is hidden as a whole.
                let hidden = letter.is_ascii_digit() && (digits <= 4 || seen + 4 <= digits);
                if hidden { '*' } else { letter }
            });
            masked.collect::<String>()
        });
}

/// Stars, and the last characters, but never more than half of the text.
fn mask(text: &str, last: INT) -> String {
    let count = text.chars().count();
    let shown = usize::try_from(last).unwrap_or(0).min(count / 2);
    let hidden = count - shown;
    text.chars().enumerate().map(|(at, letter)| if at < hidden { '*' } else { letter }).collect()
}
