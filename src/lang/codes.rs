//! The stable codes of diagnostics. `E01xx` syntax, `E02xx` names, `E03xx` settings, values and secrets, `E04xx`
//! hooks, `E05xx` structure and plan, `E06xx` tests that fail,
//! `W0xxx` warnings.
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
    E0201 "There is no connection of this name",
    E0202 "A name is given twice",
    E0203 "There is no kind of this name",
    E0204 "A connection is of another kind",
    E0205 "This kind cannot do that",
    E0206 "There is no value of this name",
    E0207 "A value refers to itself",
    E0208 "There is no pipeline or mine of this name",
    E0209 "A file cannot be read",
    E0210 "Files include each other in a circle",
    E0211 "This cannot be included",
    E0301 "There is no setting of this name",
    E0302 "A setting is given twice",
    E0303 "A setting takes another type of value",
    E0304 "A value is out of bounds",
    E0305 "A unit is missing or unknown",
    E0306 "A setting is missing",
    E0307 "Not an address of this kind",
    E0308 "A password stands in an address",
    E0309 "A secret is not there",
    E0310 "Not a start",
    E0311 "Not a way to name a secret",
    E0312 "Not a time of a schedule",
    E0401 "Rhai code is wrong",
    E0402 "There is no module of hooks of this name",
    E0403 "A hook does what it may not do",
    E0501 "Something is left open",
    E0502 "A connection is mined into two logs",
    E0503 "Two connections are mined into one log",
    E0504 "A sink names more than one table",
    E0505 "A sink has the wrong target",
    E0506 "A condition cannot be watched",
    E0507 "A pipeline reads a connection in two ways",
    E0508 "Two sinks write to one place",
    E0509 "A test does not fit its pipeline",
    E0510 "A pipeline asks for a table that is not mined",
    E0511 "A pipeline writes what it reads",
    E0512 "A command is not whole",
    E0513 "A row of a test is wrong",
    E0601 "A test fails",
    W0301 "A secret is not there yet",
    W0302 "A secret stands in the script",
    W0303 "A setting loses something, or does less than it says",
    W0501 "Rows of several tables go into one",
    W0502 "Checked, but not run yet",
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
