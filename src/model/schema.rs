//! The shape of a table's rows at one time.

use serde::{Deserialize, Serialize};

use super::table::TableName;

/// Number of a schema within one log. Entries refer to schemas by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchemaNo(pub u32);

/// Names and types of a table's columns as they were when its rows were written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// The table.
    pub name: TableName,
    /// The columns in the table's order. Rows are encoded in this order.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the primary key, in key order; empty when there is none.
    pub primary_key: Vec<u16>,
    /// Positions in `columns` of each further unique key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique_keys: Vec<Vec<u16>>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type; it also says how a value is encoded.
    #[serde(rename = "type")]
    pub ty: ColumnType,
    /// Whether NULL is possible.
    pub nullable: bool,
}

/// A column type, independent of the source that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// True or false; made by hooks only, as MySQL has none.
    Bool,
    /// An integer of 8, 16, 24, 32 or 64 bits.
    Int {
        /// The width.
        bits: u8,
        /// Whether it has no sign.
        unsigned: bool,
    },
    /// An exact decimal.
    Decimal {
        /// Digits in all, up to 65.
        precision: u8,
        /// Digits behind the point, up to 38.
        scale: u8,
        /// Whether it has no sign.
        unsigned: bool,
    },
    /// IEEE 754 single precision.
    Float,
    /// IEEE 754 double precision.
    Double,
    /// A bit field.
    Bit {
        /// Number of bits, 1 to 64.
        width: u8,
    },
    /// A year, 0 or 1901 to 2155.
    Year,
    /// A date without a time.
    Date,
    /// A date with a time, in no time zone.
    DateTime {
        /// Digits behind the second, 0 to 6.
        fsp: u8,
    },
    /// A moment.
    Timestamp {
        /// Digits behind the second, 0 to 6.
        fsp: u8,
    },
    /// A span of time, negative too, up to 838 hours.
    Time {
        /// Digits behind the second, 0 to 6.
        fsp: u8,
    },
    /// Text of fixed length, trailing blanks removed by the source.
    Char {
        /// Length in characters.
        chars: u32,
    },
    /// Text of limited length.
    VarChar {
        /// Largest length in characters.
        chars: u32,
    },
    /// Long text.
    Text {
        /// Largest length in bytes.
        bytes: u32,
    },
    /// Bytes of fixed length, padded with zeros.
    Binary {
        /// Length.
        bytes: u32,
    },
    /// Bytes of limited length.
    VarBinary {
        /// Largest length.
        bytes: u32,
    },
    /// Long bytes.
    Blob {
        /// Largest length.
        bytes: u32,
    },
    /// One of some words.
    Enum {
        /// The words; index 1 is the first. Index 0 is MySQL's invalid value, read as the empty text.
        labels: Vec<String>,
    },
    /// A set of some words.
    Set {
        /// The words; bit 0 is the first.
        labels: Vec<String>,
    },
    /// A JSON document, kept as text.
    Json,
    /// A geometry: 4 bytes SRID (little endian) followed by WKB.
    Geometry,
}

impl TableSchema {
    /// The position of the column called `name`; case matters not, as in MySQL.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .or_else(|| self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name)))
    }
}
