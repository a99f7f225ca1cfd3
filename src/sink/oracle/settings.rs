//! What a script says about an Oracle sink.

use super::names::fold;
use super::types::OracleType;
use super::value::{Rules, days_in};
use crate::error::{Error, Kind, Result};
use crate::model::spec::{Setting, SettingSpec, SettingType, Settings};
use crate::model::value::Date;
use crate::sink::settings::{BATCH, CREATE_TABLES, MODE, TableOptions};

/// Settings of `sink oracle`.
pub const SETTINGS: &[SettingSpec] = &[
    BATCH,
    MODE,
    CREATE_TABLES,
    SettingSpec::new(
        "threads",
        SettingType::Integer { min: 1, max: 64, unit: "writers" },
        Some("1"),
        "How many writers a route may use; today it is one, as rows and cursor are one transaction of one connection.",
    )
    .checked(one_writer),
    SettingSpec::new(
        "empty_string",
        SettingType::Text,
        None,
        "What an empty text becomes in a column that may not be NULL: to Oracle, it is NULL.",
    )
    .checked(not_empty),
    SettingSpec::new(
        "zero_date",
        SettingType::Text,
        None,
        "A date such as \"1970-01-01\" in place of dates that no calendar has; they become NULL without it.",
    )
    .checked(date),
    SettingSpec::new(
        "types",
        SettingType::Columns,
        None,
        "Oracle types of single columns, in place of the usual ones.",
    )
    .checked(oracle_types),
];

/// How tables are made and compared.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub tables: TableOptions,
    /// Types by folded column names.
    pub types: Vec<(String, OracleType)>,
}

/// Reads back the checked settings.
///
/// # Errors
/// `Script`, where they come from elsewhere than a checked script.
pub(super) fn read(settings: &Settings) -> Result<(Options, Rules)> {
    let wrong = |key: &str, why: String| Error::new(Kind::Script, format!("{key} of sink oracle: {why}"));
    let mut types = Vec::new();
    for (column, word) in settings.columns("types").unwrap_or_default() {
        let ty = OracleType::parse(&word).ok_or_else(|| wrong("types", unknown_type(&word)))?;
        types.push((fold(&column), ty));
    }
    let zero_date = match settings.text("zero_date") {
        Some(text) => Some(read_date(&text).ok_or_else(|| wrong("zero_date", no_date(&text)))?),
        None => None,
    };
    let empty_string = settings.text("empty_string").filter(|text| !text.is_empty());
    let options = Options { tables: TableOptions::read(settings), types };
    Ok((options, Rules { empty_string, zero_date }))
}

fn one_writer(setting: &Setting) -> Result<Option<String>, String> {
    match setting {
        Setting::Integer(writers) if *writers > 1 => Ok(Some(
            "an oracle sink writes with one connection: the rows and the cursor of a route are one transaction, \
             which is what makes them arrive exactly once"
                .into(),
        )),
        _ => Ok(None),
    }
}

fn not_empty(setting: &Setting) -> Result<Option<String>, String> {
    match setting {
        Setting::Text(text) if text.is_empty() => Err("an empty text is NULL in Oracle".into()),
        _ => Ok(None),
    }
}

fn date(setting: &Setting) -> Result<Option<String>, String> {
    match setting {
        Setting::Text(text) if read_date(text).is_none() => Err(no_date(text)),
        _ => Ok(None),
    }
}

fn oracle_types(setting: &Setting) -> Result<Option<String>, String> {
    let Setting::Columns(columns) = setting else { return Ok(None) };
    let mut warning = None;
    for (column, word) in columns {
        let ty = OracleType::parse(word).ok_or_else(|| unknown_type(word))?;
        let loss = match ty {
            OracleType::BinaryFloat | OracleType::BinaryDouble | OracleType::Float => {
                Some("rounds decimals to binary numbers")
            }
            OracleType::Number { precision: Some(_), scale } if scale <= 0 => {
                Some("rounds away digits behind the point, should the source have any")
            }
            OracleType::Date => Some("keeps no fractions of a second, should the source have any"),
            OracleType::Timestamp { fraction: 0..=5, .. } | OracleType::Interval { fraction: 0..=5, .. } => {
                Some("rounds fractions of a second, should the source have more of them")
            }
            OracleType::Char { .. } => Some("pads texts with blanks"),
            _ => None,
        };
        if let Some(loss) = loss {
            warning = Some(format!("column {column}: {ty} {loss}"));
        }
    }
    Ok(warning)
}

fn unknown_type(word: &str) -> String {
    format!(
        "`{word}` is no Oracle type that lode writes: NUMBER, FLOAT, BINARY_FLOAT, BINARY_DOUBLE, DATE, TIMESTAMP, INTERVAL DAY TO \
         SECOND, VARCHAR2, CHAR, RAW, CLOB, BLOB, with their lengths in brackets"
    )
}

fn no_date(text: &str) -> String {
    format!("`{text}` is no date such as 1970-01-01")
}

fn read_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || [year.len(), month.len(), day.len()] != [4, 2, 2] {
        return None;
    }
    let date = Date { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? };
    let real = date.year >= 1 && date.day >= 1 && date.day <= days_in(date.year, date.month);
    real.then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_held_to_what_oracle_has() {
        let types = |word: &str| oracle_types(&Setting::Columns(vec![("c".into(), word.into())]));
        assert_eq!(types("VARCHAR2(40 CHAR)"), Ok(None));
        assert!(types("TEXT").unwrap_err().contains("`TEXT` is no Oracle type"));
        assert!(types("BINARY_DOUBLE").unwrap().unwrap().contains("rounds decimals"));
        assert_eq!(date(&Setting::Text("2024-02-29".into())), Ok(None));
        assert!(date(&Setting::Text("2023-02-29".into())).is_err());
        assert!(date(&Setting::Text("1.1.1970".into())).is_err());
        assert!(not_empty(&Setting::Text(String::new())).is_err());
        assert!(one_writer(&Setting::Integer(4)).unwrap().is_some());
        assert_eq!(one_writer(&Setting::Integer(1)), Ok(None));
    }
}
