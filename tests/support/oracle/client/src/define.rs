//! Defines: where the columns of a query go, and fetching into them.

use std::ptr;

use oracledb::{DbType, OracleIntervalDS, OracleNumber, OracleTimestamp, Row};

use crate::datetime::{Interval, Timestamp, write_date};
use crate::error::Failure;
use crate::handle::{Handle, known};
use crate::lob::Lob;
use crate::number;
use crate::oci::{self, Pointer, Status, sqlt};

/// What ODPI-C calls for the buffer of a piece of a value that has no fixed size (`OCICallbackDefine`).
type DefineCallback = unsafe extern "C" fn(
    Pointer,
    Pointer,
    u32,
    *mut Pointer,
    *mut *mut u32,
    *mut u8,
    *mut Pointer,
    *mut *mut u16,
) -> i32;

/// A define handle. The arrays have an element for each row.
pub struct Define {
    buffer: *mut u8,
    /// From one row's value to the next, in bytes.
    size: usize,
    /// One of `oci::sqlt`.
    kind: u16,
    indicators: *mut i16,
    lengths: *mut u32,
    return_codes: *mut u16,
    dynamic: Option<(Pointer, DefineCallback)>,
}

/// A value that was fetched.
pub enum Cell {
    Null,
    Text(String),
    /// A NUMBER's digits.
    Number(String),
    Double(f64),
    Bytes(Vec<u8>),
    Timestamp(Timestamp),
    Interval(Interval),
}

/// A column's type as OCI numbers it.
pub fn column_kind(kind: &'static DbType) -> u16 {
    use oracledb as driver;
    let known = [
        (driver::DB_TYPE_VARCHAR, sqlt::CHR),
        (driver::DB_TYPE_CHAR, sqlt::AFC),
        (driver::DB_TYPE_NUMBER, sqlt::NUM),
        (driver::DB_TYPE_DATE, sqlt::DAT),
        (driver::DB_TYPE_TIMESTAMP, sqlt::TIMESTAMP),
        (driver::DB_TYPE_TIMESTAMP_TZ, sqlt::TIMESTAMP_TZ),
        (driver::DB_TYPE_TIMESTAMP_LTZ, sqlt::TIMESTAMP_LTZ),
        (driver::DB_TYPE_INTERVAL_DS, sqlt::INTERVAL_DS),
        (driver::DB_TYPE_RAW, sqlt::BIN),
        (driver::DB_TYPE_CLOB, sqlt::CLOB),
        (driver::DB_TYPE_BLOB, sqlt::BLOB),
        (driver::DB_TYPE_BINARY_FLOAT, sqlt::IBFLOAT),
        (driver::DB_TYPE_BINARY_DOUBLE, sqlt::IBDOUBLE),
        (driver::DB_TYPE_LONG, sqlt::LNG),
        (driver::DB_TYPE_LONG_RAW, sqlt::LBI),
    ];
    known.into_iter().find(|(known, _)| *known == kind).map_or(sqlt::CHR, |(_, number)| number)
}

impl Cell {
    /// A value of a row; `kind` is the column's, of `oci::sqlt`.
    pub fn of(row: &Row, at: usize, kind: u16) -> Result<Cell, oracledb::Error> {
        let cell = match kind {
            sqlt::NUM => row.get::<Option<OracleNumber>>(at)?.map(|value| Cell::Number(value.to_string())),
            sqlt::IBFLOAT => row.get::<Option<f32>>(at)?.map(|value| Cell::Double(value.into())),
            sqlt::IBDOUBLE => row.get::<Option<f64>>(at)?.map(Cell::Double),
            sqlt::DAT | sqlt::TIMESTAMP | sqlt::TIMESTAMP_TZ | sqlt::TIMESTAMP_LTZ => row
                .get::<Option<OracleTimestamp>>(at)?
                .map(|value| Cell::Timestamp(Timestamp::of_driver(&value))),
            sqlt::INTERVAL_DS => row
                .get::<Option<OracleIntervalDS>>(at)?
                .map(|value| Cell::Interval(Interval::of_driver(&value))),
            sqlt::BIN | sqlt::LBI | sqlt::BLOB => row.get::<Option<Vec<u8>>>(at)?.map(Cell::Bytes),
            _ => row.get::<Option<String>>(at)?.map(Cell::Text),
        };
        Ok(cell.unwrap_or(Cell::Null))
    }

    fn is_null(&self) -> bool {
        matches!(self, Cell::Null)
    }

    /// As it goes into a buffer for text or bytes.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Cell::Text(text) | Cell::Number(text) => text.clone().into_bytes(),
            Cell::Bytes(bytes) => bytes.clone(),
            Cell::Double(value) => value.to_string().into_bytes(),
            Cell::Null | Cell::Timestamp(_) | Cell::Interval(_) => Vec::new(),
        }
    }
}

impl Define {
    /// Puts a value where the caller wants it.
    ///
    /// # Safety
    /// The buffers are those that ODPI-C defined, with at least `row + 1` elements.
    pub unsafe fn put(&self, row: usize, cell: &Cell) -> Result<(), Failure> {
        if let Some(indicators) = unsafe { self.indicators.as_mut() } {
            unsafe { *ptr::from_mut(indicators).add(row) = if cell.is_null() { -1 } else { 0 } };
        }
        if !self.return_codes.is_null() {
            unsafe { *self.return_codes.add(row) = 0 };
        }
        if let Some((context, callback)) = self.dynamic {
            return unsafe { pieces(context, callback, row, cell) };
        }
        if cell.is_null() {
            return Ok(());
        }
        let target = unsafe { self.buffer.add(row * self.size) };
        let descriptor = || unsafe { Handle::at(target.cast::<Pointer>().read_unaligned()) };
        match (self.kind, cell) {
            (sqlt::VNU, Cell::Number(text)) => {
                let varnum = number::varnum_of(text);
                unsafe { oci::copy(&varnum, target) };
            }
            (sqlt::INT, Cell::Number(text)) => {
                let value: i64 = text.parse().map_err(|_| overflow())?;
                unsafe { target.cast::<i64>().write_unaligned(value) };
            }
            (sqlt::UIN, Cell::Number(text)) => {
                let value: u64 = text.parse().map_err(|_| overflow())?;
                unsafe { target.cast::<u64>().write_unaligned(value) };
            }
            (sqlt::BDOUBLE, Cell::Number(text)) => {
                let value: f64 = text.parse().map_err(|_| overflow())?;
                unsafe { target.cast::<f64>().write_unaligned(value) };
            }
            (sqlt::BDOUBLE, Cell::Double(value)) => unsafe { target.cast::<f64>().write_unaligned(*value) },
            (sqlt::BFLOAT, Cell::Double(value)) => {
                unsafe { target.cast::<f32>().write_unaligned(*value as f32) };
            }
            (sqlt::CHR | sqlt::AFC | sqlt::BIN | sqlt::LNG | sqlt::LBI, _) => {
                let bytes = cell.bytes();
                if bytes.len() > self.size {
                    return Err(Failure::new(1406, "fetched column value was truncated"));
                }
                unsafe { oci::copy(&bytes, target) };
                if !self.lengths.is_null() {
                    unsafe { *self.lengths.add(row) = bytes.len() as u32 };
                }
            }
            (sqlt::ODT, Cell::Timestamp(value)) => unsafe { write_date(target, value) },
            (sqlt::TIMESTAMP | sqlt::TIMESTAMP_TZ | sqlt::TIMESTAMP_LTZ, Cell::Timestamp(value)) => {
                if let Some(descriptor) = descriptor() {
                    *descriptor = Handle::Timestamp(*value);
                }
            }
            (sqlt::INTERVAL_DS, Cell::Interval(value)) => {
                if let Some(descriptor) = descriptor() {
                    *descriptor = Handle::Interval(*value);
                }
            }
            (sqlt::CLOB, Cell::Text(text)) => {
                if let Some(descriptor) = descriptor() {
                    *descriptor = Handle::Lob(Lob::of_text(text.clone()));
                }
            }
            (sqlt::BLOB, Cell::Bytes(bytes)) => {
                if let Some(descriptor) = descriptor() {
                    *descriptor = Handle::Lob(Lob::of_bytes(bytes.clone()));
                }
            }
            (kind, _) => {
                return Err(Failure::new(
                    932,
                    &format!("inconsistent datatypes: a define of OCI type {kind}"),
                ));
            }
        }
        Ok(())
    }
}

fn overflow() -> Failure {
    Failure::new(1455, "converting column overflows integer datatype")
}

/// Hands a value out piece by piece, into the buffers that ODPI-C gives.
unsafe fn pieces(context: Pointer, callback: DefineCallback, row: usize, cell: &Cell) -> Result<(), Failure> {
    let bytes = cell.bytes();
    let mut rest = &bytes[..];
    let mut is_first = true;
    while is_first || !rest.is_empty() {
        let (mut buffer, mut indicator): (Pointer, Pointer) = (ptr::null_mut(), ptr::null_mut());
        let (mut length, mut return_code): (*mut u32, *mut u16) = (ptr::null_mut(), ptr::null_mut());
        let mut piece = 0;
        let answer = unsafe {
            callback(
                context,
                ptr::null_mut(),
                row as u32,
                &mut buffer,
                &mut length,
                &mut piece,
                &mut indicator,
                &mut return_code,
            )
        };
        if answer != oci::CONTINUE || length.is_null() {
            return Err(Failure::new(
                3106,
                "fatal two-task communication protocol error: no buffer to fetch into",
            ));
        }
        unsafe {
            let taken = rest.len().min(*length as usize);
            oci::copy(&rest[..taken], buffer.cast());
            *length = taken as u32;
            if let Some(indicator) = indicator.cast::<i16>().as_mut() {
                *indicator = if cell.is_null() { -1 } else { 0 };
            }
            rest = &rest[taken..];
        }
        is_first = false;
    }
    Ok(())
}

/// The handle is the statement's; a position that is defined again loses the earlier one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDefineByPos2(
    statement: Pointer,
    define: *mut Pointer,
    _error: Pointer,
    position: u32,
    buffer: *mut u8,
    size: u64,
    kind: u16,
    indicators: *mut i16,
    lengths: *mut u32,
    return_codes: *mut u16,
    _mode: u32,
) -> Status {
    let statement = known!(statement, Statement);
    let size = size as usize;
    let made = Define { buffer, size, kind, indicators, lengths, return_codes, dynamic: None };
    let mut made = Box::new(Handle::Define(made));
    unsafe { *define = (&raw mut *made).cast() };
    statement.defines.insert(position, made);
    oci::SUCCESS
}

/// ODPI-C fetches values of unknown length (LONG, or a LOB as a string) in this way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDefineDynamic(
    define: Pointer,
    _error: Pointer,
    context: Pointer,
    callback: DefineCallback,
) -> Status {
    known!(define, Define).dynamic = Some((context, callback));
    oci::SUCCESS
}
