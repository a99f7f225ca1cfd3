//! Column types and values between lode and a MySQL server.

use mysql_async::Value as SqlValue;

use crate::model::schema::ColumnType;
use crate::model::value::{DateTime, Value};

/// The two families of servers, where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    MySql,
    MariaDb,
}

impl Flavor {
    pub fn of(version: &str) -> Flavor {
        if version.contains("MariaDB") { Flavor::MariaDb } else { Flavor::MySql }
    }

    /// The collation that tells apart all texts that differ, also in trailing blanks.
    pub fn exact_collation(self) -> &'static str {
        match self {
            Flavor::MySql => "utf8mb4_0900_bin",
            Flavor::MariaDb => "utf8mb4_nopad_bin",
        }
    }
}

/// A column of the target as information_schema describes it.
pub(super) struct TargetColumn {
    pub name: String,
    pub data_type: String,
    pub scale: Option<u64>,
    pub fraction: Option<u64>,
}

/// The type of a column to be made. `short` asks for types that keep the row itself small.
pub(super) fn declaration(ty: &ColumnType, short: bool) -> String {
    let sign = |unsigned: bool| if unsigned { " UNSIGNED" } else { "" };
    match ty {
        ColumnType::Bool => "BOOLEAN".into(),
        ColumnType::Int { bits, unsigned } => {
            let name = match bits {
                8 => "TINYINT",
                16 => "SMALLINT",
                24 => "MEDIUMINT",
                32 => "INT",
                _ => "BIGINT",
            };
            format!("{name}{}", sign(*unsigned))
        }
        ColumnType::Decimal { precision, scale, unsigned } => {
            format!("DECIMAL({precision},{scale}){}", sign(*unsigned))
        }
        ColumnType::Float => "FLOAT".into(),
        ColumnType::Double => "DOUBLE".into(),
        ColumnType::Bit { width } => format!("BIT({width})"),
        ColumnType::Year => "YEAR".into(),
        ColumnType::Date => "DATE".into(),
        ColumnType::DateTime { fsp } => format!("DATETIME({fsp})"),
        ColumnType::Timestamp { fsp } => format!("TIMESTAMP({fsp})"),
        ColumnType::Time { fsp } => format!("TIME({fsp})"),
        ColumnType::Char { chars } if *chars <= 255 => format!("CHAR({chars})"),
        // 16,383 characters of four bytes are the most that fit a row.
        ColumnType::Char { chars } | ColumnType::VarChar { chars }
            if *chars <= 16_383 && (!short || *chars <= 255) =>
        {
            format!("VARCHAR({chars})")
        }
        ColumnType::Char { .. } | ColumnType::VarChar { .. } => "MEDIUMTEXT".into(),
        ColumnType::Text { bytes } => match bytes {
            0..=0xFF => "TEXT",
            0x100..=0xFFFF => "MEDIUMTEXT",
            _ => "LONGTEXT",
        }
        .into(),
        ColumnType::Binary { bytes } if *bytes <= 255 => format!("BINARY({bytes})"),
        ColumnType::Binary { bytes } | ColumnType::VarBinary { bytes }
            if *bytes <= 65_000 && (!short || *bytes <= 1024) =>
        {
            format!("VARBINARY({bytes})")
        }
        ColumnType::Binary { bytes } | ColumnType::VarBinary { bytes } | ColumnType::Blob { bytes } => {
            match bytes {
                0..=0xFF => "TINYBLOB",
                0x100..=0xFFFF => "BLOB",
                0x1_0000..=0xFF_FFFF => "MEDIUMBLOB",
                _ => "LONGBLOB",
            }
            .into()
        }
        ColumnType::Enum { labels } => format!("ENUM({})", words(labels)),
        ColumnType::Set { labels } => format!("SET({})", words(labels)),
        ColumnType::Json => "JSON".into(),
        ColumnType::Geometry => "GEOMETRY".into(),
    }
}

/// How many bytes a column takes in the row itself, at most; only those types count that can be made shorter.
pub(super) fn row_bytes(ty: &ColumnType) -> u64 {
    match ty {
        ColumnType::Char { chars } | ColumnType::VarChar { chars } => u64::from(*chars) * 4 + 2,
        ColumnType::Binary { bytes } | ColumnType::VarBinary { bytes } => u64::from(*bytes) + 2,
        _ => 16,
    }
}

/// Whether the column takes every value of `ty` as it is, or refuses it. Others would round or cut without an error.
pub(super) fn keeps(column: &TargetColumn, ty: &ColumnType) -> bool {
    let is = |names: &[&str]| names.contains(&column.data_type.as_str());
    let text = || is(&["char", "varchar", "tinytext", "text", "mediumtext", "longtext"]);
    let fraction = |fsp: u8| column.fraction.unwrap_or(0) >= u64::from(fsp);
    match ty {
        ColumnType::Bool | ColumnType::Int { .. } | ColumnType::Year | ColumnType::Bit { .. } => {
            let whole = is(&["tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "bit", "year"]);
            whole || text()
        }
        ColumnType::Decimal { scale, .. } => {
            text()
                || is(&["decimal"]) && column.scale.unwrap_or(0) >= u64::from(*scale)
                || *scale == 0 && is(&["tinyint", "smallint", "mediumint", "int", "bigint"])
        }
        ColumnType::Float => is(&["float", "double"]),
        ColumnType::Double => is(&["double"]),
        ColumnType::Date => text() || is(&["date", "datetime"]),
        ColumnType::DateTime { fsp } => text() || is(&["datetime"]) && fraction(*fsp),
        ColumnType::Timestamp { fsp } => text() || is(&["timestamp", "datetime"]) && fraction(*fsp),
        ColumnType::Time { fsp } => text() || is(&["time"]) && fraction(*fsp),
        ColumnType::Char { .. }
        | ColumnType::VarChar { .. }
        | ColumnType::Text { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. } => {
            text()
                || is(&["enum", "set", "json"])
                || is(&["tinyblob", "blob", "mediumblob", "longblob", "varbinary"])
        }
        ColumnType::Json => text() || is(&["json"]),
        ColumnType::Binary { .. } | ColumnType::VarBinary { .. } | ColumnType::Blob { .. } => {
            is(&["binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"])
        }
        ColumnType::Geometry => {
            is(&[
                "geometry",
                "point",
                "linestring",
                "polygon",
                "multipoint",
                "multilinestring",
                "multipolygon",
            ]) || is(&["geometrycollection", "geomcollection", "blob", "mediumblob", "longblob"])
        }
    }
}

/// The parameter's place in a comparison. A text compared with a number would be compared as a double.
pub(super) fn comparison_mark(ty: &ColumnType, flavor: Flavor) -> String {
    match ty {
        ColumnType::Decimal { precision, scale, .. } => format!("CAST(? AS DECIMAL({precision},{scale}))"),
        ColumnType::Json if flavor == Flavor::MySql => "CAST(? AS JSON)".into(),
        _ => "?".into(),
    }
}

/// Whether equal texts of this type can differ under a collation.
pub(super) fn is_text(ty: &ColumnType) -> bool {
    matches!(ty, ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. })
}

/// A value as a parameter.
pub(super) fn parameter(value: Value<'_>) -> SqlValue {
    match value {
        Value::Null => SqlValue::NULL,
        Value::Bool(v) => SqlValue::Int(i64::from(v)),
        Value::Int(v) => SqlValue::Int(v),
        Value::UInt(v) | Value::Bit(v) => SqlValue::UInt(v),
        // As a number, since the text "0" would be the year 2000.
        Value::Year(v) => SqlValue::Int(i64::from(v)),
        // The same number as a double: stored and compared without a difference.
        Value::Float(v) => SqlValue::Double(f64::from(v)),
        Value::Double(v) => SqlValue::Double(v),
        Value::Date(v) => SqlValue::Date(v.year, v.month, v.day, 0, 0, 0, 0),
        Value::DateTime(v) => moment(v),
        Value::Timestamp(v) => moment(v.to_utc()),
        // As text: MySQL refuses the longest spans in the protocol's own form, which it takes in this one.
        Value::Time(v) => SqlValue::Bytes(v.to_string().into_bytes()),
        Value::Decimal(v) | Value::Text(v) | Value::Json(v) => SqlValue::Bytes(v.into_owned().into_bytes()),
        Value::Bytes(v) => SqlValue::Bytes(v.into_owned()),
    }
}

fn moment(at: DateTime) -> SqlValue {
    let date = at.date;
    SqlValue::Date(date.year, date.month, date.day, at.hour, at.minute, at.second, at.micros)
}

/// Labels as a list of texts. The session reads backslashes as escapes.
fn words(labels: &[String]) -> String {
    let quoted: Vec<_> =
        labels.iter().map(|label| format!("'{}'", label.replace('\\', "\\\\").replace('\'', "''"))).collect();
    quoted.join(",")
}
