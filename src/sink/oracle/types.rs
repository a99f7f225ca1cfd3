//! Oracle's column types: the usual one for each type of a source, what an override in a script names, and what a column
//! makes of values.

use std::fmt;

use crate::model::schema::ColumnType;

/// Largest length of VARCHAR2 in bytes, where the database was not set up for more.
pub(super) const TEXT_BYTES_MAX: u32 = 4000;
/// Largest length of RAW in bytes.
const RAW_BYTES_MAX: u32 = 2000;
/// Bytes of the longest character in UTF-8.
const CHARACTER_BYTES_MAX: u32 = 4;

/// A column's type in Oracle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OracleType {
    /// Decimal digits; without a precision up to 38 significant ones with a floating point.
    Number {
        precision: Option<u8>,
        scale: i8,
    },
    /// A NUMBER with binary precision.
    Float,
    BinaryFloat,
    BinaryDouble,
    /// Date and time of day to the second.
    Date,
    Timestamp {
        fraction: u8,
        zone: Zone,
    },
    Interval {
        days: u8,
        fraction: u8,
    },
    Varchar {
        length: u32,
        unit: Unit,
    },
    /// Padded with blanks to its length.
    Char {
        length: u32,
        unit: Unit,
    },
    Raw {
        bytes: u32,
    },
    Clob,
    Blob,
    /// A type that rows cannot be written to, as the dictionary names it.
    Other(String),
}

/// The time zone of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    None,
    Stored,
    Session,
}

/// What the length of a text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Characters,
}

/// How well a column takes the values of a source's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Every value arrives as it is.
    Exact,
    /// Values arrive as they are, or Oracle refuses them.
    Refuses(String),
    /// Values can change without an error.
    Loses(String),
    /// The column cannot hold them.
    Wrong,
}

impl OracleType {
    /// The type of a column that lode makes, exact for every value of the source. `None`: a key cannot have any.
    pub fn usual(ty: &ColumnType, in_key: bool) -> Option<OracleType> {
        let number = |precision, scale| OracleType::Number { precision: Some(precision), scale };
        let raw_or_blob = |bytes: u32| match bytes {
            0..=RAW_BYTES_MAX => Some(OracleType::Raw { bytes: bytes.max(1) }),
            _ if in_key => None,
            _ => Some(OracleType::Blob),
        };
        let long = |ty| if in_key { None } else { Some(ty) };
        Some(match ty {
            ColumnType::Bool => number(1, 0),
            ColumnType::Int { bits, unsigned } => match (bits, unsigned) {
                (8, _) => number(3, 0),
                (16, _) => number(5, 0),
                (24, false) => number(7, 0),
                (24, true) => number(8, 0),
                (32, _) => number(10, 0),
                (_, false) => number(19, 0),
                (_, true) => number(20, 0),
            },
            ColumnType::Decimal { precision, scale, .. } if *precision <= 38 => {
                number(*precision, i8::try_from(*scale).unwrap_or(38))
            }
            // Digits, sign and point; NUMBER would round to 38 digits.
            ColumnType::Decimal { precision, .. } => {
                OracleType::Varchar { length: u32::from(*precision) + 2, unit: Unit::Bytes }
            }
            ColumnType::Float => OracleType::BinaryFloat,
            ColumnType::Double => OracleType::BinaryDouble,
            ColumnType::Bit { width: 1 } => number(1, 0),
            ColumnType::Bit { .. } => OracleType::Number { precision: None, scale: 0 },
            ColumnType::Year => number(4, 0),
            ColumnType::Date => OracleType::Date,
            ColumnType::DateTime { fsp } => OracleType::Timestamp { fraction: *fsp, zone: Zone::None },
            // A primary key takes no time zone (ORA-02329).
            ColumnType::Timestamp { fsp } if in_key => {
                OracleType::Timestamp { fraction: *fsp, zone: Zone::None }
            }
            ColumnType::Timestamp { fsp } => OracleType::Timestamp { fraction: *fsp, zone: Zone::Stored },
            // 838 hours are 34 days.
            ColumnType::Time { fsp } => OracleType::Interval { days: 2, fraction: *fsp },
            ColumnType::Char { .. }
            | ColumnType::VarChar { .. }
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. } => {
                let length = characters(ty).unwrap_or(u32::MAX).max(1);
                let bytes = length.saturating_mul(CHARACTER_BYTES_MAX);
                // A key's text is never that long at the source, whose keys end at 3072 bytes; what is longer is refused.
                if bytes <= TEXT_BYTES_MAX || in_key && length <= TEXT_BYTES_MAX {
                    OracleType::Varchar { length, unit: Unit::Characters }
                } else {
                    return long(OracleType::Clob);
                }
            }
            ColumnType::Text { .. } | ColumnType::Json => return long(OracleType::Clob),
            ColumnType::Binary { bytes } | ColumnType::VarBinary { bytes } => return raw_or_blob(*bytes),
            ColumnType::Blob { .. } | ColumnType::Geometry => return long(OracleType::Blob),
        })
    }

    /// Reads a type as it is written in DDL and in the dictionary. `None` when Oracle has no such type for a column that lode can
    /// write.
    pub fn parse(text: &str) -> Option<OracleType> {
        let upper = text.to_ascii_uppercase();
        let words = words(&upper)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = |text: &str| text.parse::<u32>().ok();
        let small = |text: &str, most: u8| text.parse::<u8>().ok().filter(|number| *number <= most);
        Some(match words.as_slice() {
            ["NUMBER"] => OracleType::Number { precision: None, scale: 0 },
            ["NUMBER", "(", precision, ")"] => {
                OracleType::Number { precision: Some(small(precision, 38).filter(|p| *p > 0)?), scale: 0 }
            }
            ["NUMBER", "(", "*", ",", "0", ")"] | ["INTEGER" | "INT" | "SMALLINT"] => {
                OracleType::Number { precision: Some(38), scale: 0 }
            }
            ["NUMBER", "(", precision, ",", scale, ")"] => OracleType::Number {
                precision: Some(small(precision, 38).filter(|p| *p > 0)?),
                scale: scale.parse().ok().filter(|scale: &i8| *scale >= -84)?,
            },
            ["FLOAT"] => OracleType::Float,
            ["FLOAT", "(", digits, ")"] => small(digits, 126).map(|_| OracleType::Float)?,
            ["BINARY_FLOAT"] => OracleType::BinaryFloat,
            ["BINARY_DOUBLE"] => OracleType::BinaryDouble,
            ["DATE"] => OracleType::Date,
            ["TIMESTAMP", rest @ ..] => {
                let (fraction, rest) = match rest {
                    ["(", digits, ")", rest @ ..] => (small(digits, 9)?, rest),
                    rest => (6, rest),
                };
                let zone = match rest {
                    [] => Zone::None,
                    ["WITH", "TIME", "ZONE"] => Zone::Stored,
                    ["WITH", "LOCAL", "TIME", "ZONE"] => Zone::Session,
                    _ => return None,
                };
                OracleType::Timestamp { fraction, zone }
            }
            ["INTERVAL", "DAY", rest @ ..] => {
                let (days, rest) = match rest {
                    ["(", digits, ")", rest @ ..] => (small(digits, 9)?, rest),
                    rest => (2, rest),
                };
                let fraction = match rest {
                    ["TO", "SECOND"] => 6,
                    ["TO", "SECOND", "(", digits, ")"] => small(digits, 9)?,
                    _ => return None,
                };
                OracleType::Interval { days, fraction }
            }
            ["VARCHAR2" | "VARCHAR", "(", length, unit @ .., ")"] => OracleType::Varchar {
                length: number(length).filter(|length| (1..=32_767).contains(length))?,
                unit: unit_of(unit)?,
            },
            ["CHAR", "(", length, unit @ .., ")"] => OracleType::Char {
                length: number(length).filter(|length| (1..=2000).contains(length))?,
                unit: unit_of(unit)?,
            },
            ["RAW", "(", length, ")"] => {
                OracleType::Raw { bytes: number(length).filter(|length| (1..=32_767).contains(length))? }
            }
            ["CLOB"] => OracleType::Clob,
            ["BLOB"] => OracleType::Blob,
            _ => return None,
        })
    }

    /// What a column of this type makes of values of `ty`.
    pub fn fit(&self, ty: &ColumnType) -> Fit {
        match ty {
            ColumnType::Bool => self.fit_digits(1, 0),
            ColumnType::Int { bits, unsigned } => match (bits, unsigned) {
                (8, _) => self.fit_digits(3, 0),
                (16, _) => self.fit_digits(5, 0),
                (24, false) => self.fit_digits(7, 0),
                (24, true) => self.fit_digits(8, 0),
                (32, _) => self.fit_digits(10, 0),
                (_, false) => self.fit_digits(19, 0),
                (_, true) => self.fit_digits(20, 0),
            },
            ColumnType::Year => self.fit_digits(4, 0),
            ColumnType::Bit { width } => self.fit_digits(decimal_digits(*width), 0),
            ColumnType::Decimal { precision, scale, .. } => {
                self.fit_digits(u32::from(*precision), u32::from(*scale))
            }
            ColumnType::Float => match self {
                OracleType::BinaryFloat | OracleType::BinaryDouble => Fit::Exact,
                OracleType::Number { precision: None, .. } => Fit::Exact,
                OracleType::Varchar { .. } | OracleType::Clob => self.fit_ascii(24),
                OracleType::Number { .. } | OracleType::Float => {
                    Fit::Loses("it rounds to decimal digits".into())
                }
                _ => Fit::Wrong,
            },
            ColumnType::Double => match self {
                OracleType::BinaryDouble => Fit::Exact,
                OracleType::Varchar { .. } | OracleType::Clob => self.fit_ascii(32),
                OracleType::BinaryFloat => Fit::Loses("it rounds to single precision".into()),
                OracleType::Number { precision: None, .. } => Fit::Refuses(
                    "it takes no number of 1e126 and above, and smaller ones than 1e-130 become 0".into(),
                ),
                OracleType::Number { .. } | OracleType::Float => {
                    Fit::Loses("it rounds to decimal digits".into())
                }
                _ => Fit::Wrong,
            },
            ColumnType::Date => match self {
                OracleType::Date | OracleType::Timestamp { .. } => Fit::Exact,
                OracleType::Varchar { .. } | OracleType::Clob => self.fit_ascii(10),
                _ => Fit::Wrong,
            },
            ColumnType::DateTime { fsp } | ColumnType::Timestamp { fsp } => self.fit_moment(*fsp),
            ColumnType::Time { fsp } => match self {
                OracleType::Interval { fraction, .. } if fraction < fsp => {
                    Fit::Loses(format!("it keeps {fraction} of {fsp} digits behind the second"))
                }
                OracleType::Interval { days, .. } if *days < 2 => Fit::Refuses("it ends at 9 days".into()),
                OracleType::Interval { .. } => Fit::Exact,
                OracleType::Varchar { .. } | OracleType::Clob => self.fit_ascii(17),
                _ => Fit::Wrong,
            },
            ColumnType::Char { .. }
            | ColumnType::VarChar { .. }
            | ColumnType::Text { .. }
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Json => match (self, characters(ty)) {
                (OracleType::Clob, _) => Fit::Exact,
                (OracleType::Varchar { .. }, Some(characters)) => self.fit_length(characters),
                (OracleType::Varchar { length, unit }, None) => {
                    Fit::Refuses(format!("it ends at {length} {}", unit.plural()))
                }
                (OracleType::Char { .. }, Some(characters)) if matches!(ty, ColumnType::Char { .. }) => {
                    self.fit_length(characters)
                }
                (OracleType::Char { .. }, _) => Fit::Loses("it pads texts with blanks".into()),
                _ => Fit::Wrong,
            },
            ColumnType::Binary { bytes } | ColumnType::VarBinary { bytes } | ColumnType::Blob { bytes } => {
                self.fit_bytes(*bytes)
            }
            ColumnType::Geometry => self.fit_bytes(u32::MAX),
        }
    }

    /// Whether its values are locators, which MERGE and comparisons do not take.
    pub fn is_lob(&self) -> bool {
        matches!(self, OracleType::Clob | OracleType::Blob)
    }

    /// Whether it can be part of a primary key.
    pub fn can_be_key(&self) -> bool {
        !self.is_lob()
            && !matches!(self, OracleType::Timestamp { zone: Zone::Stored, .. } | OracleType::Other(_))
    }

    fn fit_digits(&self, digits: u32, scale: u32) -> Fit {
        match self {
            OracleType::Number { precision: None, .. } if digits <= 38 => Fit::Exact,
            OracleType::Number { precision: None, .. } | OracleType::Float => {
                Fit::Loses(format!("it rounds to its own precision, and the source has {digits} digits"))
            }
            OracleType::Number { precision: Some(precision), scale: places } => {
                let places = i32::from(*places);
                if places < scale as i32 {
                    Fit::Loses(format!("it rounds to {places} of {scale} digits behind the point"))
                } else if i32::from(*precision) - places < (digits - scale) as i32 {
                    Fit::Refuses("larger numbers of the source do not fit".into())
                } else {
                    Fit::Exact
                }
            }
            OracleType::BinaryFloat if digits <= 7 && scale == 0 => Fit::Exact,
            OracleType::BinaryDouble if digits <= 15 && scale == 0 => Fit::Exact,
            OracleType::BinaryFloat | OracleType::BinaryDouble => {
                Fit::Loses("it rounds to a binary number".into())
            }
            OracleType::Varchar { .. } | OracleType::Clob => self.fit_ascii(digits + 2),
            _ => Fit::Wrong,
        }
    }

    fn fit_moment(&self, fsp: u8) -> Fit {
        match self {
            OracleType::Timestamp { fraction, .. } if *fraction >= fsp => Fit::Exact,
            OracleType::Timestamp { fraction, .. } => {
                Fit::Loses(format!("it keeps {fraction} of {fsp} digits behind the second"))
            }
            OracleType::Date if fsp == 0 => Fit::Exact,
            OracleType::Date => Fit::Loses("it keeps no fractions of a second".into()),
            OracleType::Varchar { .. } | OracleType::Clob => self.fit_ascii(26),
            _ => Fit::Wrong,
        }
    }

    fn fit_length(&self, characters: u32) -> Fit {
        self.fit_text(characters, CHARACTER_BYTES_MAX)
    }

    fn fit_ascii(&self, characters: u32) -> Fit {
        self.fit_text(characters, 1)
    }

    fn fit_text(&self, characters: u32, bytes_each: u32) -> Fit {
        let (length, unit) = match self {
            OracleType::Varchar { length, unit } | OracleType::Char { length, unit } => (*length, *unit),
            _ => return Fit::Exact,
        };
        let fits = match unit {
            Unit::Characters => characters <= length,
            Unit::Bytes => characters.saturating_mul(bytes_each) <= length,
        };
        match fits {
            true => Fit::Exact,
            false => Fit::Refuses(format!(
                "it ends at {length} {}, and the source at {characters} characters",
                unit.plural()
            )),
        }
    }

    fn fit_bytes(&self, bytes: u32) -> Fit {
        match self {
            OracleType::Blob => Fit::Exact,
            OracleType::Raw { bytes: most } if bytes <= *most => Fit::Exact,
            OracleType::Raw { bytes: most } => Fit::Refuses(format!("it ends at {most} bytes")),
            _ => Fit::Wrong,
        }
    }
}

impl Unit {
    fn plural(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Characters => "characters",
        }
    }
}

/// As it is written in DDL.
impl fmt::Display for OracleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = |unit: &Unit| match unit {
            Unit::Bytes => "BYTE",
            Unit::Characters => "CHAR",
        };
        match self {
            OracleType::Number { precision: None, .. } => f.write_str("NUMBER"),
            OracleType::Number { precision: Some(precision), scale: 0 } => write!(f, "NUMBER({precision})"),
            OracleType::Number { precision: Some(precision), scale } => {
                write!(f, "NUMBER({precision},{scale})")
            }
            OracleType::Float => f.write_str("FLOAT"),
            OracleType::BinaryFloat => f.write_str("BINARY_FLOAT"),
            OracleType::BinaryDouble => f.write_str("BINARY_DOUBLE"),
            OracleType::Date => f.write_str("DATE"),
            OracleType::Timestamp { fraction, zone } => {
                write!(f, "TIMESTAMP({fraction})")?;
                f.write_str(match zone {
                    Zone::None => "",
                    Zone::Stored => " WITH TIME ZONE",
                    Zone::Session => " WITH LOCAL TIME ZONE",
                })
            }
            OracleType::Interval { days, fraction } => {
                write!(f, "INTERVAL DAY({days}) TO SECOND({fraction})")
            }
            OracleType::Varchar { length, unit: of } => write!(f, "VARCHAR2({length} {})", unit(of)),
            OracleType::Char { length, unit: of } => write!(f, "CHAR({length} {})", unit(of)),
            OracleType::Raw { bytes } => write!(f, "RAW({bytes})"),
            OracleType::Clob => f.write_str("CLOB"),
            OracleType::Blob => f.write_str("BLOB"),
            OracleType::Other(name) => f.write_str(name),
        }
    }
}

/// Whether values of this type are texts, for which Oracle takes the empty one for NULL.
pub(super) fn is_text(ty: &ColumnType) -> bool {
    matches!(
        ty,
        ColumnType::Char { .. }
            | ColumnType::VarChar { .. }
            | ColumnType::Text { .. }
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Json
    )
}

/// Whether a value that is not NULL may become NULL: an empty text or bytes, a date that no calendar has.
pub(super) fn may_become_null(ty: &ColumnType) -> bool {
    is_text(ty)
        || matches!(
            ty,
            ColumnType::VarBinary { .. }
                | ColumnType::Blob { .. }
                | ColumnType::Binary { .. }
                | ColumnType::Date
                | ColumnType::DateTime { .. }
                | ColumnType::Timestamp { .. }
        )
}

/// Most characters of a text; `None` where only bytes limit it.
fn characters(ty: &ColumnType) -> Option<u32> {
    let length = |text: &String| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    match ty {
        ColumnType::Char { chars } | ColumnType::VarChar { chars } => Some(*chars),
        ColumnType::Enum { labels } => labels.iter().map(length).max().or(Some(0)),
        ColumnType::Set { labels } => {
            Some(labels.iter().fold(labels.len() as u32, |sum, label| sum.saturating_add(length(label))))
        }
        _ => None,
    }
}

fn decimal_digits(bits: u8) -> u32 {
    // 64 bits have 20 decimal digits; each bit a little less than a third.
    u32::from(bits) * 30_103 / 100_000 + 1
}

fn unit_of(words: &[&str]) -> Option<Unit> {
    match words {
        [] | ["BYTE"] => Some(Unit::Bytes),
        ["CHAR"] => Some(Unit::Characters),
        _ => None,
    }
}

/// Words and signs of a type; `None` where something else stands.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for character in text.chars() {
        match character {
            ' ' => open = false,
            '(' | ')' | ',' | '*' => {
                words.push(character.into());
                open = false;
            }
            character if character.is_ascii_alphanumeric() || character == '_' || character == '-' => {
                match words.last_mut() {
                    Some(word) if open => word.push(character),
                    _ => words.push(character.into()),
                }
                open = true;
            }
            _ => return None,
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(ty: ColumnType) -> String {
        OracleType::usual(&ty, false).unwrap().to_string()
    }

    #[test]
    fn every_type_has_its_usual_one() {
        let int = |bits, unsigned| ColumnType::Int { bits, unsigned };
        let labels = |count: usize| (0..count).map(|at| format!("label{at}")).collect::<Vec<_>>();
        for (ty, declared) in [
            (ColumnType::Bool, "NUMBER(1)"),
            (int(8, false), "NUMBER(3)"),
            (int(8, true), "NUMBER(3)"),
            (int(16, true), "NUMBER(5)"),
            (int(24, false), "NUMBER(7)"),
            (int(24, true), "NUMBER(8)"),
            (int(32, true), "NUMBER(10)"),
            (int(64, false), "NUMBER(19)"),
            (int(64, true), "NUMBER(20)"),
            (ColumnType::Decimal { precision: 38, scale: 10, unsigned: false }, "NUMBER(38,10)"),
            (ColumnType::Decimal { precision: 65, scale: 30, unsigned: false }, "VARCHAR2(67 BYTE)"),
            (ColumnType::Float, "BINARY_FLOAT"),
            (ColumnType::Double, "BINARY_DOUBLE"),
            (ColumnType::Bit { width: 1 }, "NUMBER(1)"),
            (ColumnType::Bit { width: 64 }, "NUMBER"),
            (ColumnType::Year, "NUMBER(4)"),
            (ColumnType::Date, "DATE"),
            (ColumnType::DateTime { fsp: 3 }, "TIMESTAMP(3)"),
            (ColumnType::Timestamp { fsp: 6 }, "TIMESTAMP(6) WITH TIME ZONE"),
            (ColumnType::Time { fsp: 2 }, "INTERVAL DAY(2) TO SECOND(2)"),
            (ColumnType::Char { chars: 5 }, "VARCHAR2(5 CHAR)"),
            (ColumnType::VarChar { chars: 1000 }, "VARCHAR2(1000 CHAR)"),
            (ColumnType::VarChar { chars: 1001 }, "CLOB"),
            (ColumnType::VarChar { chars: 0 }, "VARCHAR2(1 CHAR)"),
            (ColumnType::Text { bytes: 255 }, "CLOB"),
            (ColumnType::Enum { labels: labels(11) }, "VARCHAR2(7 CHAR)"),
            (ColumnType::Set { labels: labels(3) }, "VARCHAR2(21 CHAR)"),
            (ColumnType::Binary { bytes: 16 }, "RAW(16)"),
            (ColumnType::VarBinary { bytes: 2001 }, "BLOB"),
            (ColumnType::Blob { bytes: 255 }, "BLOB"),
            (ColumnType::Json, "CLOB"),
            (ColumnType::Geometry, "BLOB"),
        ] {
            assert_eq!(usual(ty.clone()), declared, "{ty:?}");
            assert_eq!(OracleType::usual(&ty, false).unwrap().fit(&ty), Fit::Exact, "{ty:?}");
        }
        let key = |ty: ColumnType| OracleType::usual(&ty, true).map(|ty| ty.to_string());
        assert_eq!(key(ColumnType::Timestamp { fsp: 0 }).as_deref(), Some("TIMESTAMP(0)"));
        assert_eq!(key(ColumnType::VarChar { chars: 3072 }).as_deref(), Some("VARCHAR2(3072 CHAR)"));
        assert_eq!(key(ColumnType::VarChar { chars: 5000 }), None);
        assert_eq!(key(ColumnType::Text { bytes: 65_535 }), None);
        assert_eq!(key(ColumnType::Blob { bytes: 65_535 }), None);
    }

    #[test]
    fn types_are_read_as_they_are_written() {
        for text in [
            "NUMBER",
            "NUMBER(10)",
            "NUMBER(10,-2)",
            "BINARY_DOUBLE",
            "DATE",
            "TIMESTAMP(0)",
            "TIMESTAMP(6) WITH LOCAL TIME ZONE",
            "INTERVAL DAY(2) TO SECOND(6)",
            "VARCHAR2(40 CHAR)",
            "CHAR(3 BYTE)",
            "RAW(16)",
            "CLOB",
        ] {
            assert_eq!(OracleType::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(OracleType::parse("varchar2( 40 )").unwrap().to_string(), "VARCHAR2(40 BYTE)");
        for wrong in
            ["TEXT", "NUMBER(39)", "VARCHAR2", "NUMBER(1); DROP TABLE x", "TIMESTAMP(10)", "LONG", ""]
        {
            assert_eq!(OracleType::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_column_makes_of_values_is_known() {
        let decimal = ColumnType::Decimal { precision: 12, scale: 2, unsigned: false };
        let fit = |declared: &str, ty: &ColumnType| OracleType::parse(declared).unwrap().fit(ty);
        assert_eq!(fit("NUMBER(12,2)", &decimal), Fit::Exact);
        assert_eq!(fit("NUMBER(14,4)", &decimal), Fit::Exact);
        assert!(matches!(fit("NUMBER(10,2)", &decimal), Fit::Refuses(_)));
        assert!(matches!(fit("NUMBER(12)", &decimal), Fit::Loses(_)));
        assert!(matches!(fit("BINARY_DOUBLE", &decimal), Fit::Loses(_)));
        assert_eq!(fit("DATE", &decimal), Fit::Wrong);
        assert!(matches!(fit("DATE", &ColumnType::DateTime { fsp: 3 }), Fit::Loses(_)));
        assert_eq!(fit("DATE", &ColumnType::DateTime { fsp: 0 }), Fit::Exact);
        assert!(matches!(fit("VARCHAR2(40)", &ColumnType::VarChar { chars: 40 }), Fit::Refuses(_)));
        assert_eq!(fit("VARCHAR2(160)", &ColumnType::VarChar { chars: 40 }), Fit::Exact);
        assert!(matches!(fit("CHAR(40 CHAR)", &ColumnType::VarChar { chars: 40 }), Fit::Loses(_)));
        assert_eq!(fit("CHAR(40 CHAR)", &ColumnType::Char { chars: 40 }), Fit::Exact);
    }
}
