//! Column types as MySQL writes them: `decimal(10,2) unsigned`.

use crate::model::schema::ColumnType;

/// Reads a type; `None` when there is none of this name, or its sizes make no sense.
pub(crate) fn parse(text: &str) -> Option<ColumnType> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let (text, lower, unsigned) = match lower.strip_suffix(" unsigned") {
        Some(rest) => (&text[..rest.len()], rest, true),
        None => (text, lower.as_str(), false),
    };
    let (name, sizes) = match lower.split_once('(') {
        None => (lower, None),
        Some((name, rest)) => (name, Some(&text[name.len() + 1..name.len() + rest.len()])),
    };
    if lower.contains('(') && !lower.ends_with(')') {
        return None;
    }
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let size = |usual: u32| sizes.map_or(Some(usual), number);
    let digits = || u8::try_from(size(0)?).ok().filter(|digits| *digits <= 6);
    let int = |bits| Some(ColumnType::Int { bits, unsigned });
    match name.trim() {
        "bool" | "boolean" => int(8),
        "tinyint" => int(8),
        "smallint" => int(16),
        "mediumint" => int(24),
        "int" | "integer" => int(32),
        "bigint" => int(64),
        "decimal" | "numeric" => {
            let (precision, scale) = match sizes {
                None => (10, 0),
                Some(sizes) => match sizes.split_once(',') {
                    Some((precision, scale)) => (number(precision)?, number(scale)?),
                    None => (number(sizes)?, 0),
                },
            };
            let fits = (1..=65).contains(&precision) && scale <= 30.min(precision);
            fits.then_some(ColumnType::Decimal { precision: precision as u8, scale: scale as u8, unsigned })
        }
        _ if unsigned => None,
        "float" => Some(ColumnType::Float),
        "double" => Some(ColumnType::Double),
        "bit" => u8::try_from(size(1)?)
            .ok()
            .filter(|w| (1..=64).contains(w))
            .map(|width| ColumnType::Bit { width }),
        "year" => Some(ColumnType::Year),
        "date" => Some(ColumnType::Date),
        "datetime" => Some(ColumnType::DateTime { fsp: digits()? }),
        "timestamp" => Some(ColumnType::Timestamp { fsp: digits()? }),
        "time" => Some(ColumnType::Time { fsp: digits()? }),
        "char" => Some(ColumnType::Char { chars: size(1)? }),
        "varchar" => Some(ColumnType::VarChar { chars: number(sizes?)? }),
        "tinytext" => Some(ColumnType::Text { bytes: 255 }),
        "text" => Some(ColumnType::Text { bytes: 65_535 }),
        "mediumtext" => Some(ColumnType::Text { bytes: 16_777_215 }),
        "longtext" => Some(ColumnType::Text { bytes: u32::MAX }),
        "binary" => Some(ColumnType::Binary { bytes: size(1)? }),
        "varbinary" => Some(ColumnType::VarBinary { bytes: number(sizes?)? }),
        "tinyblob" => Some(ColumnType::Blob { bytes: 255 }),
        "blob" => Some(ColumnType::Blob { bytes: 65_535 }),
        "mediumblob" => Some(ColumnType::Blob { bytes: 16_777_215 }),
        "longblob" => Some(ColumnType::Blob { bytes: u32::MAX }),
        "json" => Some(ColumnType::Json),
        "geometry" => Some(ColumnType::Geometry),
        "enum" => labels(sizes?).map(|labels| ColumnType::Enum { labels }),
        "set" => labels(sizes?).filter(|labels| labels.len() <= 64).map(|labels| ColumnType::Set { labels }),
        _ => None,
    }
}

/// The type as MySQL writes it.
pub(crate) fn text(ty: &ColumnType) -> String {
    let sign = |unsigned: bool| if unsigned { " unsigned" } else { "" };
    let digits = |fsp: u8| if fsp > 0 { format!("({fsp})") } else { String::new() };
    let words = |labels: &[String]| {
        let labels: Vec<_> = labels.iter().map(|label| format!("'{}'", label.replace('\'', "''"))).collect();
        labels.join(",")
    };
    let sized = |sizes: [(u32, &str); 3], longest: &str, bytes: u32| {
        let fits = sizes.iter().find(|(size, _)| bytes <= *size).map(|(_, name)| *name);
        fits.unwrap_or(longest).to_owned()
    };
    match ty {
        ColumnType::Bool => "bool".to_owned(),
        ColumnType::Int { bits, unsigned } => {
            let name = match bits {
                8 => "tinyint",
                16 => "smallint",
                24 => "mediumint",
                32 => "int",
                _ => "bigint",
            };
            format!("{name}{}", sign(*unsigned))
        }
        ColumnType::Decimal { precision, scale, unsigned } => {
            format!("decimal({precision},{scale}){}", sign(*unsigned))
        }
        ColumnType::Float => "float".to_owned(),
        ColumnType::Double => "double".to_owned(),
        ColumnType::Bit { width } => format!("bit({width})"),
        ColumnType::Year => "year".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::DateTime { fsp } => format!("datetime{}", digits(*fsp)),
        ColumnType::Timestamp { fsp } => format!("timestamp{}", digits(*fsp)),
        ColumnType::Time { fsp } => format!("time{}", digits(*fsp)),
        ColumnType::Char { chars } => format!("char({chars})"),
        ColumnType::VarChar { chars } => format!("varchar({chars})"),
        ColumnType::Text { bytes } => {
            sized([(255, "tinytext"), (65_535, "text"), (16_777_215, "mediumtext")], "longtext", *bytes)
        }
        ColumnType::Binary { bytes } => format!("binary({bytes})"),
        ColumnType::VarBinary { bytes } => format!("varbinary({bytes})"),
        ColumnType::Blob { bytes } => {
            sized([(255, "tinyblob"), (65_535, "blob"), (16_777_215, "mediumblob")], "longblob", *bytes)
        }
        ColumnType::Enum { labels } => format!("enum({})", words(labels)),
        ColumnType::Set { labels } => format!("set({})", words(labels)),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Geometry => "geometry".to_owned(),
    }
}

/// `'new','paid'`, where a quote within a word is written twice.
fn labels(text: &str) -> Option<Vec<String>> {
    let mut labels = Vec::new();
    let mut rest = text.trim();
    loop {
        rest = rest.strip_prefix('\'')?;
        let mut label = String::new();
        loop {
            let quote = rest.find('\'')?;
            label.push_str(&rest[..quote]);
            rest = &rest[quote + 1..];
            match rest.strip_prefix('\'') {
                Some(after) => {
                    label.push('\'');
                    rest = after;
                }
                None => break,
            }
        }
        labels.push(label);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(labels);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_as_mysql_writes_them() {
        let labels = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (text, ty) in [
            ("bigint", ColumnType::Int { bits: 64, unsigned: false }),
            ("INT UNSIGNED", ColumnType::Int { bits: 32, unsigned: true }),
            ("tinyint(1)", ColumnType::Int { bits: 8, unsigned: false }),
            ("decimal(10, 2)", ColumnType::Decimal { precision: 10, scale: 2, unsigned: false }),
            ("decimal(5) unsigned", ColumnType::Decimal { precision: 5, scale: 0, unsigned: true }),
            ("datetime(6)", ColumnType::DateTime { fsp: 6 }),
            ("varchar(40)", ColumnType::VarChar { chars: 40 }),
            ("enum('New','it''s')", ColumnType::Enum { labels: labels(&["New", "it's"]) }),
        ] {
            assert_eq!(parse(&self::text(&ty)).as_ref(), Some(&ty), "{text}, as it is shown");
            assert_eq!(parse(text), Some(ty), "{text}");
        }
        for wrong in [
            "",
            "integr",
            "varchar",
            "decimal(70,2)",
            "datetime(7)",
            "varchar(10",
            "date unsigned",
            "enum(a)",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
