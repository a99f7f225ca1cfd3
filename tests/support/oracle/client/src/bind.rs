//! Binds: where a statement's values are in the caller's memory, and how they are read.

use std::ffi::c_char;
use std::slice;

use oracledb::{OracleNumber, OracleTimestamp, ToDbValue};

use crate::datetime::{Timestamp, date};
use crate::error::Failure;
use crate::handle::{Handle, known};
use crate::number;
use crate::oci::{self, Pointer, Status, sqlt};
use crate::session::text;

/// A value on its way to the driver.
pub type Value = Box<dyn ToDbValue>;

/// What ODPI-C calls for the buffer of one row of a bind that has no fixed size (`OCICallbackInBind`).
type InCallback =
    unsafe extern "C" fn(Pointer, Pointer, u32, u32, *mut Pointer, *mut u32, *mut u8, *mut Pointer) -> i32;

/// A bind handle. The arrays have an element for each row.
pub struct Bind {
    place: Place,
    buffer: *const u8,
    /// From one row's value to the next, in bytes.
    size: usize,
    /// One of `oci::sqlt`.
    kind: u16,
    /// -1 is NULL.
    indicators: *const i16,
    lengths: *const u32,
    dynamic: Option<(Pointer, InCallback)>,
}

#[derive(PartialEq)]
enum Place {
    /// From 1.
    Position(u32),
    /// In upper case, without the colon.
    Name(String),
}

/// One row's value in memory.
struct Raw {
    start: *const u8,
    length: usize,
    is_null: bool,
}

impl Bind {
    /// Whether it gives the value for the placeholder at `position` (from 1) with this name.
    pub fn is_for(&self, position: usize, name: &str) -> bool {
        match &self.place {
            Place::Position(own) => *own as usize == position,
            Place::Name(own) => *own == name.trim_start_matches(':').to_uppercase(),
        }
    }

    /// Reads a row's value.
    ///
    /// # Safety
    /// The buffers are those that ODPI-C bound, with at least `row + 1` elements.
    pub unsafe fn value(&self, row: usize) -> Result<Value, Failure> {
        let raw = unsafe { self.raw(row) }?;
        let bytes = || {
            let (start, length) =
                if raw.length == 0 { (raw.start.is_null(), 0) } else { (false, raw.length) };
            if start || length == 0 { &[][..] } else { unsafe { slice::from_raw_parts(raw.start, length) } }
        };
        let descriptor = || unsafe { Handle::at(raw.start.cast::<Pointer>().read_unaligned()) };
        let known = !raw.is_null;
        Ok(match self.kind {
            sqlt::CHR | sqlt::AFC | sqlt::LNG | sqlt::VCS => {
                // An empty string is bound as it is: that it is NULL is for the server to say.
                let text = known.then(|| String::from_utf8(bytes().to_vec())).transpose();
                Box::new(text.map_err(|_| Failure::new(29275, "partial multibyte character"))?)
            }
            sqlt::INT => match raw.length {
                8 => Box::new(known.then(|| unsafe { raw.start.cast::<i64>().read_unaligned() })),
                4 => Box::new(known.then(|| i64::from(unsafe { raw.start.cast::<i32>().read_unaligned() }))),
                length => return Err(unsupported(&format!("an integer of {length} bytes"))),
            },
            sqlt::UIN => Box::new(known.then(|| unsafe { raw.start.cast::<u64>().read_unaligned() })),
            sqlt::VNU => Box::new(known.then(|| unsafe { varnum(raw.start) }).transpose()?),
            sqlt::BDOUBLE => Box::new(known.then(|| unsafe { raw.start.cast::<f64>().read_unaligned() })),
            sqlt::BFLOAT => Box::new(known.then(|| unsafe { raw.start.cast::<f32>().read_unaligned() })),
            sqlt::BIN | sqlt::LBI => Box::new(known.then(|| bytes().to_vec())),
            sqlt::ODT => Box::new(known.then(|| unsafe { date(raw.start) }?.for_driver()).transpose()?),
            sqlt::TIMESTAMP | sqlt::TIMESTAMP_TZ | sqlt::TIMESTAMP_LTZ => match descriptor() {
                _ if raw.is_null => Box::new(None::<OracleTimestamp>),
                Some(Handle::Timestamp(found)) => Box::new(Some(Timestamp::for_driver(*found)?)),
                _ => return Err(unsupported("a descriptor that is no timestamp")),
            },
            sqlt::INTERVAL_DS => match descriptor() {
                // The driver's type has no default that a NULL could take its type from.
                _ if raw.is_null => Box::new(oracledb::DB_TYPE_INTERVAL_DS),
                Some(Handle::Interval(found)) => Box::new(found.for_driver()?),
                _ => return Err(unsupported("a descriptor that is no interval")),
            },
            sqlt::CLOB | sqlt::BLOB => match descriptor() {
                _ if raw.is_null && self.kind == sqlt::CLOB => Box::new(None::<String>),
                _ if raw.is_null => Box::new(None::<Vec<u8>>),
                Some(Handle::Lob(lob)) if self.kind == sqlt::CLOB => Box::new(Some(lob.text()?)),
                Some(Handle::Lob(lob)) => Box::new(Some(lob.bytes().to_vec())),
                _ => return Err(Failure::new(22275, "invalid LOB locator specified")),
            },
            kind => return Err(unsupported(&format!("OCI type {kind}"))),
        })
    }

    unsafe fn raw(&self, row: usize) -> Result<Raw, Failure> {
        if let Some((context, callback)) = self.dynamic {
            let (mut buffer, mut length, mut piece) = (std::ptr::null_mut(), 0, 0);
            let mut indicator: Pointer = std::ptr::null_mut();
            let answer = unsafe {
                callback(
                    context,
                    std::ptr::null_mut(),
                    row as u32,
                    0,
                    &mut buffer,
                    &mut length,
                    &mut piece,
                    &mut indicator,
                )
            };
            if answer != oci::CONTINUE {
                return Err(unsupported("a callback that gave no buffer"));
            }
            let is_null = !indicator.is_null() && unsafe { *indicator.cast::<i16>() } == -1;
            return Ok(Raw { start: buffer.cast(), length: length as usize, is_null });
        }
        let is_null = !self.indicators.is_null() && unsafe { *self.indicators.add(row) } == -1;
        let length =
            if self.lengths.is_null() { self.size } else { unsafe { *self.lengths.add(row) as usize } };
        Ok(Raw { start: unsafe { self.buffer.add(row * self.size) }, length, is_null })
    }
}

fn unsupported(what: &str) -> Failure {
    Failure::new(3115, &format!("unsupported network datatype or representation: {what}"))
}

unsafe fn varnum(start: *const u8) -> Result<OracleNumber, Failure> {
    let text = number::text_of(unsafe { slice::from_raw_parts(start, number::VARNUM_BYTES) });
    text.parse().map_err(|_| Failure::new(1722, "invalid number"))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIBindByPos2(
    statement: Pointer,
    bind: *mut Pointer,
    _error: Pointer,
    position: u32,
    buffer: *const u8,
    size: i64,
    kind: u16,
    indicators: *const i16,
    lengths: *const u32,
    _return_codes: Pointer,
    _array_max: u32,
    _array_length: Pointer,
    _mode: u32,
) -> Status {
    let place = Place::Position(position);
    let size = usize::try_from(size).unwrap_or_default();
    unsafe { add(statement, bind, Bind { place, buffer, size, kind, indicators, lengths, dynamic: None }) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIBindByName2(
    statement: Pointer,
    bind: *mut Pointer,
    _error: Pointer,
    name: *const c_char,
    name_length: i32,
    buffer: *const u8,
    size: i64,
    kind: u16,
    indicators: *const i16,
    lengths: *const u32,
    _return_codes: Pointer,
    _array_max: u32,
    _array_length: Pointer,
    _mode: u32,
) -> Status {
    let name = unsafe { text(name, usize::try_from(name_length).unwrap_or_default()) };
    let place = Place::Name(name.trim_start_matches(':').to_uppercase());
    let size = usize::try_from(size).unwrap_or_default();
    unsafe { add(statement, bind, Bind { place, buffer, size, kind, indicators, lengths, dynamic: None }) }
}

/// The handle is the statement's; a place that is bound again loses the earlier one.
unsafe fn add(statement: Pointer, handle: *mut Pointer, bind: Bind) -> Status {
    let statement = known!(statement, Statement);
    statement.binds.retain(|other| !matches!(&**other, Handle::Bind(other) if other.place == bind.place));
    let mut made = Box::new(Handle::Bind(bind));
    unsafe { *handle = (&raw mut *made).cast() };
    statement.binds.push(made);
    oci::SUCCESS
}

/// ODPI-C gives values over 32 KiB, and those of RETURNING, in this way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIBindDynamic(
    bind: Pointer,
    _error: Pointer,
    context: Pointer,
    callback: InCallback,
    _out_context: Pointer,
    _out_callback: Pointer,
) -> Status {
    known!(bind, Bind).dynamic = Some((context, callback));
    oci::SUCCESS
}
