//! The stable codes of diagnostics. `E01xx` syntax, `E02xx` names, `E03xx` settings, values and secrets, `E04xx`
//! hooks, `E05xx` structure and plan, `W0xxx` warnings.
//!
//! To add a code: one line in the table below, and its page `explain/<code>.md`. A code is never used again for
//! something else.

macro_rules! codes {
    ($($code:ident $title:literal,)*) => {
        /// A stable code; its first letter says whether it is an error or a warning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$(Code::$code),*];

            /// `E0101`
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$code => stringify!($code),)* }
            }

            /// What it means, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$code => $title,)* }
            }

            /// Its page: what it means, a script that causes it, and the script made right.
            pub fn page(self) -> &'static str {
                match self { $(Code::$code => include_str!(concat!("explain/", stringify!($code), ".md")),)* }
            }
        }
    };
}

codes! {
    E0101 "Something else was expected here",
    E0102 "A quoted text is not closed",
    E0103 "A Rhai block is not closed",
    E0104 "A statement begins with an unknown word",
    E0105 "A reserved word cannot be a name",
    E0106 "A pipeline does not end in a sink",
    E0107 "Not a duration",
    E0108 "Unknown escape in a quoted text",
    E0109 "Brackets or braces are not closed",
    E0110 "The script is too large or nested too deeply",
}

/// The page of a code as a user types it, upper or lower case.
pub fn explain(code: &str) -> Option<&'static str> {
    let code = code.trim();
    Code::ALL.iter().find(|known| known.as_str().eq_ignore_ascii_case(code)).map(|known| known.page())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_with_both_examples() {
        for code in Code::ALL {
            let page = code.page();
            assert!(
                page.starts_with(&format!("# {}: {}\n", code.as_str(), code.title())),
                "{code:?}: heading"
            );
            assert!(page.matches("```lode").count() >= 2, "{code:?}: a wrong and a corrected script");
        }
    }

    #[test]
    fn codes_stand_in_order_and_are_found_by_name() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
        assert_eq!(explain("e0101"), Some(Code::E0101.page()));
        assert_eq!(explain("E9999"), None);
    }
}
