//! Rows as bytes: the encoding (version 1), the writer that makes it in one pass, and the view that reads it.
//!
//! A row image is: one byte of flags; a bitmap of the columns that are present, unless all are; a bitmap of the columns that
//! were read later than the change, if there are any; a bitmap of the NULL columns; then the values of all columns that are present and not NULL, in the schema's order. Bitmaps hold
//! column 0 in the lowest bit of their first byte. The schema says the width of each value:
//!
//! | type | bytes |
//! |---|---|
//! | bool, 8-bit integer | 1 |
//! | 16-bit integer, year, enum (index) | 2 |
//! | 24-bit and 32-bit integer, float, date (year 2, month 1, day 1) | 4 |
//! | 64-bit integer, double, bit, set (bitmap), datetime, timestamp, time | 8 |
//! | all others | length as LEB128, then so many bytes; text is UTF-8, a decimal its digits |
//!
//! Numbers are little endian. A datetime packs `((year*16 + month)*32 + day)*2^37 + hour*2^32 + minute*2^26 +
//! second*2^20 + microsecond`; a timestamp is microseconds since 1970 UTC, the lowest number standing for the
//! zero timestamp; a time is microseconds.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::schema::{ColumnType, TableSchema};
use super::value::{Date, DateTime, Time, Timestamp, Value};

/// A flag: some columns are absent.
const SOME_ABSENT: u8 = 1;
/// A flag: some columns were read later.
const SOME_LATE: u8 = 2;

/// A row that owns a share of the bytes it lies in. Cloning it copies no row.
#[derive(Clone, Debug)]
pub struct Row {
    /// How to read `image`.
    pub schema: Arc<TableSchema>,
    /// The encoded row.
    pub image: Bytes,
}

impl Row {
    /// The view that reads columns.
    pub fn view(&self) -> RowView<'_> {
        RowView::new(&self.schema, &self.image)
    }

    /// Encodes `values`, one for each column of the schema; `None` is a column that is absent from the image.
    ///
    /// # Errors
    /// When a value does not fit its column's type exactly.
    pub fn encode(schema: Arc<TableSchema>, values: &[Option<Value<'_>>]) -> Result<Row, Unfit> {
        let mut bytes = Vec::with_capacity(16 + values.len() * 8);
        let absent = values.iter().any(Option::is_none);
        let mut writer = ImageWriter::new(&mut bytes, schema.columns.len(), absent);
        for (index, value) in values.iter().enumerate() {
            match value {
                None => writer.absent(),
                Some(value) => writer.value(&schema.columns[index].ty, value).map_err(|()| Unfit(index))?,
            }
        }
        Ok(Row { schema, image: bytes.into() })
    }
}

/// The value for the column at this place does not fit the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub usize);

/// Writes one row image at the end of a buffer, column by column, without looking back.
pub struct ImageWriter<'a> {
    out: &'a mut Vec<u8>,
    presence_at: Option<usize>,
    nulls_at: usize,
    index: usize,
}

impl<'a> ImageWriter<'a> {
    /// Begins an image of `columns` columns. `absent` says that some columns may be left out.
    pub fn new(out: &'a mut Vec<u8>, columns: usize, absent: bool) -> Self {
        ImageWriter::with_late(out, columns, absent, &[])
    }

    /// The same for an image with columns that were read later than the change: those of the bitmap `late`, unless it is
    /// empty.
    ///
    /// # Panics
    /// When the bitmap is of another number of columns.
    pub fn with_late(out: &'a mut Vec<u8>, columns: usize, absent: bool, late: &[u8]) -> Self {
        let bitmap = columns.div_ceil(8);
        out.push(if absent { SOME_ABSENT } else { 0 } | if late.is_empty() { 0 } else { SOME_LATE });
        let presence_at = absent.then_some(out.len());
        if absent {
            out.resize(out.len() + bitmap, 0);
        }
        assert!(late.is_empty() || late.len() == bitmap, "a bit for each column");
        out.extend_from_slice(late);
        let nulls_at = out.len();
        out.resize(nulls_at + bitmap, 0);
        ImageWriter { out, presence_at, nulls_at, index: 0 }
    }

    /// The next column is not in this image.
    ///
    /// # Panics
    /// When the image was begun without `absent`.
    pub fn absent(&mut self) {
        assert!(self.presence_at.is_some(), "the image was begun as a complete one");
        self.index += 1;
    }

    /// The next column is NULL.
    pub fn null(&mut self) {
        self.out[self.nulls_at + self.index / 8] |= 1 << (self.index % 8);
        self.present();
    }

    /// The next column has these bytes, whose number its type fixes.
    #[inline]
    pub fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.extend_from_slice(&bytes);
        self.present();
    }

    /// The next column has these bytes, whose number is written before them.
    #[inline]
    pub fn variable(&mut self, bytes: &[u8]) {
        write_len(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
        self.present();
    }

    /// The next column has what `write` appends; for bytes whose number is known only afterwards.
    ///
    /// # Errors
    /// What `write` returns; the image is then unusable.
    pub fn variable_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        // One byte is enough for most lengths; longer ones move the value once.
        let at = self.out.len();
        self.out.push(0);
        write(self.out)?;
        let len = self.out.len() - at - 1;
        if len < 0x80 {
            self.out[at] = len as u8;
        } else {
            let mut prefix = [0; 5];
            let used = leb128(&mut prefix, len);
            self.out.splice(at..=at, prefix[..used].iter().copied());
        }
        self.present();
        Ok(())
    }

    /// The next column is as [`RowView::raw`] gave it for a column of type `ty`; nothing is decoded.
    ///
    /// # Panics
    /// When the cell is absent and the image was begun without `absent`.
    #[inline]
    pub fn copy(&mut self, ty: &ColumnType, cell: Option<Option<&[u8]>>) {
        match cell {
            None => self.absent(),
            Some(None) => self.null(),
            Some(Some(bytes)) => {
                if fixed_width(ty).is_none() {
                    write_len(self.out, bytes.len());
                }
                self.out.extend_from_slice(bytes);
                self.present();
            }
        }
    }

    /// A date.
    pub fn date(&mut self, date: Date) {
        let [y0, y1] = date.year.to_le_bytes();
        self.fixed([y0, y1, date.month, date.day]);
    }

    /// A date and time.
    pub fn datetime(&mut self, at: DateTime) {
        let day = (u64::from(at.date.year) * 16 + u64::from(at.date.month)) * 32 + u64::from(at.date.day);
        let time = (u64::from(at.hour) << 12) | (u64::from(at.minute) << 6) | u64::from(at.second);
        self.fixed((day << 37 | time << 20 | u64::from(at.micros)).to_le_bytes());
    }

    /// A moment; `None` is the zero timestamp.
    pub fn timestamp(&mut self, micros: Option<i64>) {
        self.fixed(micros.unwrap_or(i64::MIN).to_le_bytes());
    }

    /// A value of any type.
    ///
    /// # Errors
    /// When it does not fit `ty` exactly; the image is then unusable.
    #[allow(clippy::result_unit_err)] // The caller knows column and value and says so.
    pub fn value(&mut self, ty: &ColumnType, value: &Value<'_>) -> Result<(), ()> {
        match (ty, value) {
            (_, Value::Null) => self.null(),
            (ColumnType::Bool, Value::Bool(v)) => self.fixed([u8::from(*v)]),
            (ColumnType::Int { bits, unsigned }, Value::Int(v)) => {
                self.integer(*bits, *unsigned, i128::from(*v))?
            }
            (ColumnType::Int { bits, unsigned }, Value::UInt(v)) => {
                self.integer(*bits, *unsigned, i128::from(*v))?
            }
            (ColumnType::Float, Value::Float(v)) => self.fixed(v.to_le_bytes()),
            (ColumnType::Double, Value::Double(v)) => self.fixed(v.to_le_bytes()),
            (ColumnType::Bit { .. }, Value::Bit(v)) => self.fixed(v.to_le_bytes()),
            (ColumnType::Year, Value::Year(v)) => self.fixed(v.to_le_bytes()),
            (ColumnType::Date, Value::Date(v)) => self.date(*v),
            (ColumnType::DateTime { .. }, Value::DateTime(v)) => self.datetime(*v),
            (ColumnType::Timestamp { .. }, Value::Timestamp(v)) => self.timestamp(v.micros),
            (ColumnType::Time { .. }, Value::Time(v)) => self.fixed(v.micros.to_le_bytes()),
            (ColumnType::Decimal { .. }, Value::Decimal(v)) => self.variable(v.as_bytes()),
            (ColumnType::Json, Value::Json(v)) => self.variable(v.as_bytes()),
            (
                ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. },
                Value::Text(v),
            ) => self.variable(v.as_bytes()),
            (
                ColumnType::Binary { .. }
                | ColumnType::VarBinary { .. }
                | ColumnType::Blob { .. }
                | ColumnType::Geometry,
                Value::Bytes(v),
            ) => self.variable(v),
            (ColumnType::Enum { labels }, Value::Text(v)) => {
                let index = match v.as_ref() {
                    "" => labels.iter().position(String::is_empty).map_or(0, |at| at + 1),
                    word => labels.iter().position(|label| label == word).ok_or(())? + 1,
                };
                self.fixed((index as u16).to_le_bytes());
            }
            (ColumnType::Set { labels }, Value::Text(v)) => {
                let mut bits = 0_u64;
                for word in v.split(',').filter(|word| !word.is_empty()) {
                    bits |= 1 << labels.iter().position(|label| label == word).ok_or(())?;
                }
                self.fixed(bits.to_le_bytes());
            }
            _ => return Err(()),
        }
        Ok(())
    }

    fn integer(&mut self, bits: u8, unsigned: bool, value: i128) -> Result<(), ()> {
        let (min, max) = if unsigned {
            (0, (1_i128 << bits) - 1)
        } else {
            (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1)
        };
        if value < min || value > max {
            return Err(());
        }
        match bits {
            8 => self.fixed((value as u8).to_le_bytes()),
            16 => self.fixed((value as u16).to_le_bytes()),
            24 | 32 => self.fixed((value as u32).to_le_bytes()),
            _ => self.fixed((value as u64).to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn present(&mut self) {
        if let Some(at) = self.presence_at {
            self.out[at + self.index / 8] |= 1 << (self.index % 8);
        }
        self.index += 1;
    }
}

/// Reads a row image column by column. A column is decoded only when it is asked for.
///
/// # Panics
/// Reading panics when the image was not made for this schema; images from disk are checked by checksum first.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    schema: &'a TableSchema,
    presence: Option<&'a [u8]>,
    late: Option<&'a [u8]>,
    nulls: &'a [u8],
    values: &'a [u8],
}

impl<'a> RowView<'a> {
    /// A view of `image`, which was encoded with `schema`.
    pub fn new(schema: &'a TableSchema, image: &'a [u8]) -> Self {
        let bitmap = schema.columns.len().div_ceil(8);
        let (flags, rest) = (image[0], &image[1..]);
        let bits = |flag: u8, rest: &'a [u8]| match flags & flag {
            0 => (None, rest),
            _ => (Some(&rest[..bitmap]), &rest[bitmap..]),
        };
        let (presence, rest) = bits(SOME_ABSENT, rest);
        let (late, rest) = bits(SOME_LATE, rest);
        RowView { schema, presence, late, nulls: &rest[..bitmap], values: &rest[bitmap..] }
    }

    /// The schema of the row.
    pub fn schema(&self) -> &'a TableSchema {
        self.schema
    }

    /// The value of a column; `None` when the column is absent from the image, which is not NULL.
    pub fn get(&self, column: usize) -> Option<Value<'a>> {
        self.iter_types().nth(column).and_then(|(ty, raw)| decode_cell(ty, raw))
    }

    /// The value of the column called `name`; `None` when there is none or it is absent from the image.
    pub fn get_named(&self, name: &str) -> Option<Value<'a>> {
        self.get(self.schema.column(name)?)
    }

    /// All columns in order; `None` for the absent ones.
    pub fn values(&self) -> impl Iterator<Item = Option<Value<'a>>> + use<'a> {
        self.iter_types().map(|(ty, raw)| decode_cell(ty, raw))
    }

    /// The encoded bytes of each column: `None` when absent, `Some(None)` for NULL.
    pub fn raw(&self) -> impl Iterator<Item = Option<Option<&'a [u8]>>> + use<'a> {
        self.iter_types().map(|(_, raw)| raw)
    }

    /// Whether a column is in the image.
    pub fn is_present(&self, column: usize) -> bool {
        self.presence.is_none_or(|bits| bit(bits, column))
    }

    /// Whether a column was left out by the source, and read from its table later: it may be newer than the change.
    pub fn is_late(&self, column: usize) -> bool {
        self.late.is_some_and(|bits| bit(bits, column))
    }

    /// Names of the columns that were read later.
    pub fn late_columns(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let view = *self;
        let columns = view.schema.columns.iter().enumerate().filter(move |(at, _)| view.is_late(*at));
        columns.map(|(_, column)| column.name.as_str())
    }

    /// Whether every column is in the image.
    pub fn is_complete(&self) -> bool {
        self.presence.is_none() || (0..self.schema.columns.len()).all(|column| self.is_present(column))
    }

    fn iter_types(&self) -> Cells<'a> {
        Cells { view: *self, index: 0, rest: self.values }
    }
}

struct Cells<'a> {
    view: RowView<'a>,
    index: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Cells<'a> {
    type Item = (&'a ColumnType, Option<Option<&'a [u8]>>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        let ty = &self.view.schema.columns.get(index)?.ty;
        self.index += 1;
        if !self.view.is_present(index) {
            return Some((ty, None));
        }
        if bit(self.view.nulls, index) {
            return Some((ty, Some(None)));
        }
        let width = match fixed_width(ty) {
            Some(width) => width,
            None => {
                let (len, used) = read_len(self.rest);
                self.rest = &self.rest[used..];
                len
            }
        };
        let (raw, rest) = self.rest.split_at(width);
        self.rest = rest;
        Some((ty, Some(Some(raw))))
    }
}

fn decode_cell<'a>(ty: &'a ColumnType, raw: Option<Option<&'a [u8]>>) -> Option<Value<'a>> {
    Some(match raw? {
        None => Value::Null,
        Some(raw) => decode(ty, raw),
    })
}

/// Bytes of a value whose type fixes their number.
fn fixed_width(ty: &ColumnType) -> Option<usize> {
    Some(match ty {
        ColumnType::Bool => 1,
        ColumnType::Int { bits, .. } => match bits {
            8 => 1,
            16 => 2,
            24 | 32 => 4,
            _ => 8,
        },
        ColumnType::Year | ColumnType::Enum { .. } => 2,
        ColumnType::Float | ColumnType::Date => 4,
        ColumnType::Double
        | ColumnType::Bit { .. }
        | ColumnType::Set { .. }
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Time { .. } => 8,
        ColumnType::Decimal { .. }
        | ColumnType::Char { .. }
        | ColumnType::VarChar { .. }
        | ColumnType::Text { .. }
        | ColumnType::Binary { .. }
        | ColumnType::VarBinary { .. }
        | ColumnType::Blob { .. }
        | ColumnType::Json
        | ColumnType::Geometry => return None,
    })
}

fn decode<'a>(ty: &'a ColumnType, raw: &'a [u8]) -> Value<'a> {
    match ty {
        ColumnType::Bool => Value::Bool(raw[0] != 0),
        ColumnType::Int { bits, unsigned: true } => Value::UInt(match bits {
            8 => u64::from(raw[0]),
            16 => u64::from(u16::from_le_bytes(array(raw))),
            24 | 32 => u64::from(u32::from_le_bytes(array(raw))),
            _ => u64::from_le_bytes(array(raw)),
        }),
        ColumnType::Int { bits, unsigned: false } => Value::Int(match bits {
            8 => i64::from(raw[0] as i8),
            16 => i64::from(i16::from_le_bytes(array(raw))),
            24 | 32 => i64::from(i32::from_le_bytes(array(raw))),
            _ => i64::from_le_bytes(array(raw)),
        }),
        ColumnType::Float => Value::Float(f32::from_le_bytes(array(raw))),
        ColumnType::Double => Value::Double(f64::from_le_bytes(array(raw))),
        ColumnType::Bit { .. } => Value::Bit(u64::from_le_bytes(array(raw))),
        ColumnType::Year => Value::Year(u16::from_le_bytes(array(raw))),
        ColumnType::Date => {
            Value::Date(Date { year: u16::from_le_bytes([raw[0], raw[1]]), month: raw[2], day: raw[3] })
        }
        ColumnType::DateTime { fsp } => {
            Value::DateTime(unpack_datetime(u64::from_le_bytes(array(raw)), *fsp))
        }
        ColumnType::Timestamp { fsp } => {
            let micros = i64::from_le_bytes(array(raw));
            Value::Timestamp(Timestamp { micros: (micros != i64::MIN).then_some(micros), fsp: *fsp })
        }
        ColumnType::Time { fsp } => Value::Time(Time { micros: i64::from_le_bytes(array(raw)), fsp: *fsp }),
        ColumnType::Decimal { .. } => Value::Decimal(text(raw)),
        ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. } => {
            Value::Text(text(raw))
        }
        ColumnType::Json => Value::Json(text(raw)),
        ColumnType::Binary { .. }
        | ColumnType::VarBinary { .. }
        | ColumnType::Blob { .. }
        | ColumnType::Geometry => Value::Bytes(Cow::Borrowed(raw)),
        ColumnType::Enum { labels } => {
            let index = usize::from(u16::from_le_bytes(array(raw)));
            Value::Text(Cow::Borrowed(index.checked_sub(1).map_or("", |at| &labels[at])))
        }
        ColumnType::Set { labels } => {
            let bits = u64::from_le_bytes(array(raw));
            let mut words =
                labels.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, word)| word);
            match (words.next(), words.next()) {
                (None, _) => Value::Text(Cow::Borrowed("")),
                (Some(one), None) => Value::Text(Cow::Borrowed(one)),
                (Some(one), Some(two)) => {
                    let mut joined = format!("{one},{two}");
                    for word in words {
                        joined.push(',');
                        joined.push_str(word);
                    }
                    Value::Text(Cow::Owned(joined))
                }
            }
        }
    }
}

fn unpack_datetime(packed: u64, fsp: u8) -> DateTime {
    let (day, time) = (packed >> 37, packed >> 20);
    DateTime {
        date: Date { year: (day >> 9) as u16, month: (day >> 5 & 15) as u8, day: (day & 31) as u8 },
        hour: (time >> 12 & 31) as u8,
        minute: (time >> 6 & 63) as u8,
        second: (time & 63) as u8,
        micros: (packed & 0xF_FFFF) as u32,
        fsp,
    }
}

#[inline]
fn array<const N: usize>(raw: &[u8]) -> [u8; N] {
    raw.try_into().expect("the width of the type was split off")
}

/// Text was checked to be UTF-8 when it was encoded; anything else can only come from a foreign image.
fn text(raw: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(raw)
}

#[inline]
fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}

#[inline]
fn write_len(out: &mut Vec<u8>, len: usize) {
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let mut bytes = [0; 5];
        let used = leb128(&mut bytes, len);
        out.extend_from_slice(&bytes[..used]);
    }
}

/// Five bytes hold every length below 32 GiB, more than any source's packet.
fn leb128(bytes: &mut [u8; 5], mut len: usize) -> usize {
    let mut used = 0;
    loop {
        bytes[used] = (len & 0x7F) as u8;
        len >>= 7;
        used += 1;
        if len == 0 {
            return used;
        }
        bytes[used - 1] |= 0x80;
    }
}

#[inline]
fn read_len(bytes: &[u8]) -> (usize, usize) {
    let mut len = 0;
    let mut used = 0;
    loop {
        let byte = bytes[used];
        len |= usize::from(byte & 0x7F) << (7 * used);
        used += 1;
        if byte & 0x80 == 0 {
            return (len, used);
        }
    }
}
