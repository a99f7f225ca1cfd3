//! Names in Oracle: folded to upper case and quoted, so that they can be typed there without quotes.

use crate::error::{Error, Kind, Result};

/// Longest name in bytes since Oracle 12.2, where COMPATIBLE says so too.
pub(super) const LONG_BYTES_MAX: u32 = 128;
/// Longest name in bytes before that.
pub(super) const SHORT_BYTES_MAX: u32 = 30;

/// A source's name as it is in the dictionary.
pub(super) fn fold(name: &str) -> String {
    name.to_uppercase()
}

/// A name of the dictionary as an identifier.
pub(super) fn quote(name: &str) -> String {
    format!("\"{name}\"")
}

/// Holds that Oracle can have this name. `what` is the thing that is called so.
pub(super) fn check(name: &str, what: &str, bytes_max: u32) -> Result<()> {
    let wrong = |why: String| {
        Err(Error::new(Kind::Environment, format!("{what} cannot be called {name:?} in Oracle: {why}"))
            .advice("give it another name: a column in a stage (map), a table by the sink's target"))
    };
    if name.is_empty() {
        return wrong("a name has at least one character".into());
    }
    if name.contains(['"', '\0']) {
        return wrong("a name has no double quote".into());
    }
    if name.len() > bytes_max as usize {
        return wrong(format!("names end at {bytes_max} bytes, and this one has {}", name.len()));
    }
    Ok(())
}

/// Two of the names that are one in Oracle.
pub(super) fn collision<'a>(names: impl Iterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut seen = std::collections::HashMap::new();
    for name in names {
        if let Some(other) = seen.insert(fold(name), name) {
            return Some((other, name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_and_are_held_to_oracles_rules() {
        assert_eq!(quote(&fold("order Items")), "\"ORDER ITEMS\"");
        assert!(check(&"x".repeat(30), "a column", SHORT_BYTES_MAX).is_ok());
        assert!(check(&"x".repeat(31), "a column", SHORT_BYTES_MAX).is_err());
        assert!(check(&"é".repeat(65), "a column", LONG_BYTES_MAX).is_err());
        assert!(check("a\"b", "a column", LONG_BYTES_MAX).is_err());
        assert_eq!(collision(["a", "b", "A"].into_iter()), Some(("a", "A")));
        assert_eq!(collision(["a", "b"].into_iter()), None);
    }
}
