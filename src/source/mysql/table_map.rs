//! TABLE_MAP events: what the rows after one look like.

use super::charset::Charset;
use super::event::{Flaw, Reader};

/// Column types as the binlog numbers them.
pub(crate) mod field {
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const TYPED_ARRAY: u8 = 20;
    pub const BLOB_COMPRESSED: u8 = 140;
    pub const VARCHAR_COMPRESSED: u8 = 141;
    pub const VECTOR: u8 = 242;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

/// A parsed TABLE_MAP event.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableMap {
    pub database: String,
    pub table: String,
    pub columns: Vec<MapColumn>,
    /// Columns of the primary key, when the metadata names them.
    pub primary_key: Option<Vec<u16>>,
    /// Whether the metadata has names (`binlog_row_metadata = FULL`).
    pub has_names: bool,
}

/// One column of a table map.
#[derive(Clone, Debug)]
pub(crate) struct MapColumn {
    /// The real type: ENUM and SET, too, which travel as STRING.
    pub ty: u8,
    /// What the type needs to know: a length, a precision.
    pub meta: Meta,
    pub nullable: bool,
    pub name: Option<String>,
    pub unsigned: Option<bool>,
    /// Number of the collation.
    pub collation: Option<u64>,
    pub labels: Option<Vec<Vec<u8>>>,
}

/// A type's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    None,
    /// Bytes of a length prefix (BLOB, JSON, GEOMETRY), of a float, of an enum or set.
    Width(u8),
    /// Largest length in bytes.
    Length(u16),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bits(u8),
    Fsp(u8),
}

/// Database and table of a TABLE_MAP body, which is as much as is needed to pass over a table nobody wants.
pub(crate) fn names(body: &[u8]) -> Result<(u64, &[u8], &[u8]), Flaw> {
    let mut input = Reader(body);
    let id = input.uint(6)?;
    input.u16()?;
    let (database, table) = name_pair(&mut input)?;
    Ok((id, database, table))
}

/// Parses a TABLE_MAP body. Whether geometry columns have an entry among the collations differs: MariaDB gives them one.
pub(crate) fn parse(body: &[u8], mariadb: bool) -> Result<TableMap, Flaw> {
    let mut input = Reader(body);
    input.take(8)?;
    let (database, table) = name_pair(&mut input)?;
    let count = usize::try_from(input.lenenc()?).map_err(|_| Flaw::Short)?;
    let types = input.take(count)?;
    let mut metas = Reader(input.lenenc_bytes()?);
    let nullable = input.take(count.div_ceil(8))?;
    let mut columns = Vec::with_capacity(count);
    for (index, ty) in types.iter().enumerate() {
        let (ty, meta) = parse_meta(*ty, &mut metas)?;
        columns.push(MapColumn {
            ty,
            meta,
            nullable: nullable[index / 8] >> (index % 8) & 1 == 1,
            name: None,
            unsigned: None,
            collation: None,
            labels: None,
        });
    }
    let mut map = TableMap {
        database: Charset::UTF8.text(database)?,
        table: Charset::UTF8.text(table)?,
        columns,
        ..TableMap::default()
    };
    while !input.is_empty() {
        let field = input.u8()?;
        let value = input.lenenc_bytes()?;
        map.optional(field, Reader(value), mariadb)?;
    }
    map.has_names = !map.columns.is_empty() && map.columns.iter().all(|column| column.name.is_some());
    Ok(map)
}

impl MapColumn {
    /// Whether the metadata has a sign for it. YEAR counts.
    fn is_numeric(&self) -> bool {
        use field::*;
        matches!(self.ty, TINY | SHORT | INT24 | LONG | LONGLONG | NEWDECIMAL | FLOAT | DOUBLE | YEAR)
    }

    /// Whether the metadata has a collation for it among those of character columns.
    fn is_character(&self, mariadb: bool) -> bool {
        use field::*;
        match self.ty {
            STRING | VAR_STRING | VARCHAR | BLOB | TINY_BLOB | MEDIUM_BLOB | LONG_BLOB => true,
            BLOB_COMPRESSED | VARCHAR_COMPRESSED => true,
            GEOMETRY => mariadb,
            _ => false,
        }
    }

    fn is_labelled(&self) -> bool {
        matches!(self.ty, field::ENUM | field::SET)
    }
}

impl TableMap {
    /// One field of the optional metadata. A field that is not known says nothing about how rows are encoded.
    fn optional(&mut self, field: u8, mut value: Reader<'_>, mariadb: bool) -> Result<(), Flaw> {
        let columns = &mut self.columns;
        match field {
            1 => {
                for (index, column) in columns.iter_mut().filter(|column| column.is_numeric()).enumerate() {
                    let byte = value.0.get(index / 8).ok_or(Flaw::Short)?;
                    column.unsigned = Some(byte >> (7 - index % 8) & 1 == 1);
                }
            }
            2 => {
                let of = columns.iter_mut().filter(|column| column.is_character(mariadb));
                default_collations(of, &mut value)?;
            }
            3 => {
                for column in columns.iter_mut().filter(|column| column.is_character(mariadb)) {
                    column.collation = Some(value.lenenc()?);
                }
            }
            4 => {
                for column in columns.iter_mut() {
                    column.name = Some(Charset::UTF8.text(value.lenenc_bytes()?)?);
                }
            }
            5 | 6 => {
                let ty = if field == 5 { self::field::SET } else { self::field::ENUM };
                for column in columns.iter_mut().filter(|column| column.ty == ty) {
                    let count = value.lenenc()?;
                    let mut labels = Vec::new();
                    for _ in 0..count {
                        labels.push(value.lenenc_bytes()?.to_vec());
                    }
                    column.labels = Some(labels);
                }
            }
            8 | 9 => {
                let mut key = Vec::new();
                while !value.is_empty() {
                    key.push(u16::try_from(value.lenenc()?).map_err(|_| Flaw::Short)?);
                    if field == 9 {
                        value.lenenc()?;
                    }
                }
                if key.iter().any(|at| usize::from(*at) >= columns.len()) {
                    return Err(Flaw::Short);
                }
                self.primary_key = Some(key);
            }
            10 => {
                default_collations(columns.iter_mut().filter(|column| column.is_labelled()), &mut value)?;
            }
            11 => {
                for column in columns.iter_mut().filter(|column| column.is_labelled()) {
                    column.collation = Some(value.lenenc()?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A default, then pairs of a column's place among its like and its collation.
fn default_collations<'c>(
    columns: impl Iterator<Item = &'c mut MapColumn>,
    value: &mut Reader<'_>,
) -> Result<(), Flaw> {
    let default = value.lenenc()?;
    let mut exception = None;
    for (index, column) in columns.enumerate() {
        if exception.is_none() && !value.is_empty() {
            exception = Some((value.lenenc()?, value.lenenc()?));
        }
        column.collation = Some(match exception {
            Some((at, collation)) if at == index as u64 => {
                exception = None;
                collation
            }
            _ => default,
        });
    }
    Ok(())
}

fn parse_meta(ty: u8, metas: &mut Reader<'_>) -> Result<(u8, Meta), Flaw> {
    use field::*;
    Ok(match ty {
        FLOAT | DOUBLE | TINY_BLOB | MEDIUM_BLOB | LONG_BLOB | BLOB | JSON | GEOMETRY | VECTOR
        | BLOB_COMPRESSED => (ty, Meta::Width(metas.u8()?)),
        VARCHAR | VARCHAR_COMPRESSED => (ty, Meta::Length(metas.u16()?)),
        TIMESTAMP2 | DATETIME2 | TIME2 => (ty, Meta::Fsp(metas.u8()?)),
        NEWDECIMAL => (ty, Meta::Decimal { precision: metas.u8()?, scale: metas.u8()? }),
        BIT => {
            let (bits, bytes) = (metas.u8()?, metas.u8()?);
            (
                ty,
                Meta::Bits(
                    bytes.checked_mul(8).and_then(|whole| whole.checked_add(bits)).ok_or(Flaw::Short)?,
                ),
            )
        }
        VAR_STRING | STRING | ENUM | SET => {
            let (first, second) = (metas.u8()?, metas.u8()?);
            // Lengths above 255 lend two bits to the type, where they stand inverted.
            let real = first | 0x30;
            match (real, first) {
                (ENUM | SET, _) => (real, Meta::Width(second)),
                _ if first & 0x30 != 0x30 => {
                    (real, Meta::Length(u16::from(second) | u16::from((first & 0x30) ^ 0x30) << 4))
                }
                _ => (first, Meta::Length(u16::from(second))),
            }
        }
        TYPED_ARRAY => {
            let element = metas.u8()?;
            if element == VARCHAR {
                metas.take(3)?
            } else {
                parse_meta(element, metas).map(|_| &[][..])?
            };
            (ty, Meta::None)
        }
        _ => (ty, Meta::None),
    })
}

fn name_pair<'a>(input: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), Flaw> {
    let len = usize::from(input.u8()?);
    let database = input.take(len)?;
    input.u8()?;
    let len = usize::from(input.u8()?);
    let table = input.take(len)?;
    input.u8()?;
    Ok((database, table))
}
