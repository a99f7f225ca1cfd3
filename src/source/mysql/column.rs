//! How each column of a table is decoded: resolved once for a table, then applied to every row in one pass.

use super::catalog::Described;
use super::charset::Charset;
use super::event::{Flaw, Reader};
use super::table_map::{MapColumn, Meta, field};
use super::{decimal, jsonb, temporal};
use crate::model::row::ImageWriter;
use crate::model::schema::ColumnType;

/// Turns the bytes of one column into those of lode's own row encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Codec {
    Fixed1,
    Fixed2,
    Int24 {
        unsigned: bool,
    },
    Fixed4,
    Fixed8,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bit {
        bytes: u8,
    },
    Year,
    Date,
    DateTime {
        fsp: u8,
    },
    Timestamp {
        fsp: u8,
    },
    Time {
        fsp: u8,
    },
    Enum {
        bytes: u8,
        labels: u16,
    },
    Set {
        bytes: u8,
        mask: u64,
    },
    /// Bytes or valid UTF-8 behind a length of so many bytes.
    Text {
        prefix: u8,
        charset: Charset,
    },
    Bytes {
        prefix: u8,
    },
    /// Bytes padded with zeros.
    Padded {
        prefix: u8,
        len: u16,
    },
    Json {
        prefix: u8,
    },
}

impl Codec {
    /// Decodes one value that is present and not NULL.
    #[inline]
    pub fn decode(self, input: &mut Reader<'_>, image: &mut ImageWriter<'_>) -> Result<(), Flaw> {
        match self {
            Codec::Fixed1 => image.fixed(input.array::<1>()?),
            Codec::Fixed2 => image.fixed(input.array::<2>()?),
            Codec::Fixed4 => image.fixed(input.array::<4>()?),
            Codec::Fixed8 => image.fixed(input.array::<8>()?),
            Codec::Int24 { unsigned } => {
                let [a, b, c] = input.array()?;
                let high = if !unsigned && c & 0x80 != 0 { 0xFF } else { 0 };
                image.fixed([a, b, c, high]);
            }
            Codec::Text { prefix, charset } => {
                let len = input.uint(usize::from(prefix))? as usize;
                let bytes = input.take(len)?;
                match charset {
                    Charset::Utf8(_) => {
                        std::str::from_utf8(bytes).map_err(|_| Flaw::Text)?;
                        image.variable(bytes);
                    }
                    charset => image.variable_with(|out| charset.append(bytes, out))?,
                }
            }
            Codec::Bytes { prefix } => {
                let len = input.uint(usize::from(prefix))? as usize;
                image.variable(input.take(len)?);
            }
            Codec::Decimal { precision, scale } => {
                image.variable_with(|out| decimal::append(input, precision, scale, out))?;
            }
            Codec::DateTime { fsp } => image.datetime(temporal::datetime(input, fsp)?),
            Codec::Timestamp { fsp } => image.timestamp(temporal::timestamp(input, fsp)?),
            Codec::Time { fsp } => image.fixed(temporal::time(input, fsp)?.to_le_bytes()),
            Codec::Date => image.date(temporal::date(input)?),
            Codec::Year => {
                let year = match input.u8()? {
                    0 => 0,
                    year => 1900 + u16::from(year),
                };
                image.fixed(year.to_le_bytes());
            }
            Codec::Bit { bytes } => image.fixed(input.uint_be(usize::from(bytes))?.to_le_bytes()),
            Codec::Enum { bytes, labels } => {
                let index = input.uint(usize::from(bytes))? as u16;
                if index > labels {
                    return Err(Flaw::Label);
                }
                image.fixed(index.to_le_bytes());
            }
            Codec::Set { bytes, mask } => {
                let bits = input.uint(usize::from(bytes))?;
                if bits & !mask != 0 {
                    return Err(Flaw::Label);
                }
                image.fixed(bits.to_le_bytes());
            }
            Codec::Padded { prefix, len } => {
                let used = input.uint(usize::from(prefix))? as usize;
                let bytes = input.take(used)?;
                image.variable_with(|out| {
                    let start = out.len();
                    out.extend_from_slice(bytes);
                    out.resize(start + usize::from(len).max(used), 0);
                    Ok(())
                })?;
            }
            Codec::Json { prefix } => {
                let len = input.uint(usize::from(prefix))? as usize;
                let document = input.take(len)?;
                image.variable_with(|out| jsonb::append(document, out))?;
            }
        }
        Ok(())
    }
}

/// Why the values of a column cannot be read: the end of a sentence that begins with the column's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The column is of a kind that is not supported, whatever else is known of it.
    Unsupported(String),
    /// The binlog does not say enough of it, or the server says something else today.
    Unclear(String),
}

impl From<&str> for Misfit {
    fn from(why: &str) -> Self {
        Misfit::Unsupported(why.to_owned())
    }
}

impl From<String> for Misfit {
    fn from(why: String) -> Self {
        Misfit::Unsupported(why)
    }
}

/// Type and codec of a column, from the table map and from what the server says of the column, if it is known.
pub(crate) fn resolve(
    column: &MapColumn,
    described: Option<&Described>,
) -> Result<(ColumnType, Codec), Misfit> {
    use field::*;
    if let Some(described) = described {
        check_agreement(column, described)?;
    }
    let int = |bits: u8, signed: Codec| {
        let unsigned = unsigned(column, described)?;
        Ok((ColumnType::Int { bits, unsigned }, signed))
    };
    match (column.ty, column.meta) {
        (TINY, _) => int(8, Codec::Fixed1),
        (SHORT, _) => int(16, Codec::Fixed2),
        (INT24, _) => int(24, Codec::Int24 { unsigned: unsigned(column, described)? }),
        (LONG, _) => int(32, Codec::Fixed4),
        (LONGLONG, _) => int(64, Codec::Fixed8),
        (FLOAT, Meta::Width(4)) => Ok((ColumnType::Float, Codec::Fixed4)),
        (DOUBLE, Meta::Width(8)) => Ok((ColumnType::Double, Codec::Fixed8)),
        (NEWDECIMAL, Meta::Decimal { precision, scale }) if precision <= 65 && scale <= precision => Ok((
            ColumnType::Decimal { precision, scale, unsigned: unsigned(column, described)? },
            Codec::Decimal { precision, scale },
        )),
        (BIT, Meta::Bits(width)) if width <= 64 => {
            Ok((ColumnType::Bit { width }, Codec::Bit { bytes: width.div_ceil(8) }))
        }
        (YEAR, _) => Ok((ColumnType::Year, Codec::Year)),
        (DATE, _) => Ok((ColumnType::Date, Codec::Date)),
        (DATETIME2, Meta::Fsp(fsp)) if fsp <= 6 => {
            Ok((ColumnType::DateTime { fsp }, Codec::DateTime { fsp }))
        }
        (TIMESTAMP2, Meta::Fsp(fsp)) if fsp <= 6 => {
            Ok((ColumnType::Timestamp { fsp }, Codec::Timestamp { fsp }))
        }
        (TIME2, Meta::Fsp(fsp)) if fsp <= 6 => Ok((ColumnType::Time { fsp }, Codec::Time { fsp })),
        (STRING, Meta::Length(len)) => {
            let prefix = if len > 255 { 2 } else { 1 };
            Ok(match charset(column, described)? {
                Charset::Binary => {
                    (ColumnType::Binary { bytes: u32::from(len) }, Codec::Padded { prefix, len })
                }
                charset => (
                    ColumnType::Char { chars: u32::from(len) / charset.width() },
                    Codec::Text { prefix, charset },
                ),
            })
        }
        (VARCHAR, Meta::Length(len)) => {
            let prefix = if len > 255 { 2 } else { 1 };
            Ok(match charset(column, described)? {
                Charset::Binary => (ColumnType::VarBinary { bytes: u32::from(len) }, Codec::Bytes { prefix }),
                charset => (
                    ColumnType::VarChar { chars: u32::from(len) / charset.width() },
                    Codec::Text { prefix, charset },
                ),
            })
        }
        (BLOB, Meta::Width(prefix @ 1..=4)) => {
            let bytes = (u64::MAX >> (64 - 8 * u32::from(prefix))) as u32;
            Ok(match charset(column, described)? {
                Charset::Binary => (ColumnType::Blob { bytes }, Codec::Bytes { prefix }),
                charset => (ColumnType::Text { bytes }, Codec::Text { prefix, charset }),
            })
        }
        (JSON, Meta::Width(prefix @ 1..=4)) => Ok((ColumnType::Json, Codec::Json { prefix })),
        (GEOMETRY, Meta::Width(prefix @ 1..=4)) => Ok((ColumnType::Geometry, Codec::Bytes { prefix })),
        (ENUM, Meta::Width(bytes @ 1..=2)) => {
            let labels = labels(column, described)?;
            let count = u16::try_from(labels.len()).map_err(|_| "has too many labels")?;
            Ok((ColumnType::Enum { labels }, Codec::Enum { bytes, labels: count }))
        }
        (SET, Meta::Width(bytes @ 1..=8)) => {
            let labels = labels(column, described)?;
            let mask = match labels.len() {
                0 => 0,
                count @ 1..=64 => u64::MAX >> (64 - count),
                _ => return Err("has too many labels".into()),
            };
            Ok((ColumnType::Set { labels }, Codec::Set { bytes, mask }))
        }
        (TIMESTAMP | DATETIME | TIME, _) => {
            Err("has a date and time type in the form before MySQL 5.6, which is not supported; rebuild it: \
             ALTER TABLE … FORCE (MariaDB: with mysql56_temporal_format = ON)"
                .into())
        }
        (BLOB_COMPRESSED | VARCHAR_COMPRESSED, _) => Err("is COMPRESSED, which is not supported".into()),
        (VECTOR, _) => Err("has the type VECTOR, which is not supported".into()),
        (TYPED_ARRAY, _) => Err("is a multi-valued index, which is not supported".into()),
        (ty, meta) => Err(format!("has type {ty} with {meta:?}, which is not supported").into()),
    }
}

/// The sign: from the table map, else from the server.
fn unsigned(column: &MapColumn, described: Option<&Described>) -> Result<bool, Misfit> {
    column
        .unsigned
        .or_else(|| described.map(|described| described.is_unsigned()))
        .ok_or_else(|| unclear("has a sign or none, which the binlog does not say"))
}

fn charset(column: &MapColumn, described: Option<&Described>) -> Result<Charset, Misfit> {
    if let Some(id) = column.collation {
        return Charset::of_collation(id).ok_or_else(|| {
            match described.and_then(|described| described.charset.as_deref()) {
                Some(name) => format!("has the character set {name}, which is not supported"),
                None => format!("has collation number {id}, whose character set is not supported"),
            }
            .into()
        });
    }
    match described {
        Some(Described { charset: Some(name), .. }) => Charset::of_name(name)
            .ok_or_else(|| format!("has the character set {name}, which is not supported").into()),
        Some(_) => Ok(Charset::Binary),
        None => Err(unclear("has a character set that the binlog does not say")),
    }
}

fn labels(column: &MapColumn, described: Option<&Described>) -> Result<Vec<String>, Misfit> {
    if let Some(labels) = &column.labels {
        let charset = match column.collation {
            Some(_) => charset(column, described)?,
            None => Charset::UTF8,
        };
        return labels
            .iter()
            .map(|label| charset.text(label).map_err(|_| "has labels that are not valid text".into()))
            .collect();
    }
    match described {
        Some(described) => {
            described.labels().ok_or_else(|| "has labels that could not be read from its definition".into())
        }
        None => Err(unclear("has labels that the binlog does not say")),
    }
}

fn unclear(why: impl Into<String>) -> Misfit {
    Misfit::Unclear(why.into())
}

/// The definition that the server has now must be of the type that the rows have.
fn check_agreement(column: &MapColumn, described: &Described) -> Result<(), Misfit> {
    use field::*;
    let said = described.data_type.as_str();
    if matches!(said, "uuid" | "inet6" | "inet4" | "xmltype") {
        return Err(format!("has the type {said}, which is not supported").into());
    }
    let fits = match column.ty {
        TINY => said == "tinyint",
        SHORT => said == "smallint",
        INT24 => said == "mediumint",
        LONG => said == "int",
        LONGLONG => said == "bigint",
        FLOAT => said == "float",
        DOUBLE => said == "double",
        NEWDECIMAL => said == "decimal",
        BIT => said == "bit",
        YEAR => said == "year",
        DATE => said == "date",
        TIMESTAMP | TIMESTAMP2 => said == "timestamp",
        DATETIME | DATETIME2 => said == "datetime",
        TIME | TIME2 => said == "time",
        VARCHAR | VARCHAR_COMPRESSED => matches!(said, "varchar" | "varbinary"),
        STRING => matches!(said, "char" | "binary"),
        ENUM => said == "enum",
        SET => said == "set",
        BLOB | BLOB_COMPRESSED => said.ends_with("blob") || said.ends_with("text"),
        JSON => said == "json",
        _ => true,
    };
    if fits {
        Ok(())
    } else {
        Err(unclear(format!(
            "has the type {said} at the server now, but the rows were written with another type"
        )))
    }
}
