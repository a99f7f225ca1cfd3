//! LOBs. A locator here holds the whole value: it is sent with the statement that it is bound to, and comes whole with
//! the row that it is fetched with. Nothing is written to the server through a locator.

use std::ffi::c_int;

use crate::error::Failure;
use crate::handle::{Handle, known};
use crate::oci::{self, Pointer, Status};

/// A LOB's locator.
#[derive(Clone, Default)]
pub struct Lob {
    is_text: bool,
    data: Vec<u8>,
}

const TEMPORARY_CLOB: u8 = 2;
/// What Oracle's own library says for blocks of 8 KiB.
const CHUNK_BYTES: u32 = 8132;

impl Lob {
    pub fn of_text(text: String) -> Lob {
        Lob { is_text: true, data: text.into_bytes() }
    }

    pub fn of_bytes(data: Vec<u8>) -> Lob {
        Lob { is_text: false, data }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    pub fn text(&self) -> Result<String, Failure> {
        String::from_utf8(self.data.clone()).map_err(|_| Failure::new(29275, "partial multibyte character"))
    }

    /// Where an offset lies: characters are counted in a CLOB, bytes in a BLOB, both from 1.
    fn place(&self, offset: u64) -> usize {
        let before = usize::try_from(offset.saturating_sub(1)).unwrap_or(usize::MAX);
        if !self.is_text {
            return before.min(self.data.len());
        }
        let starts = self.data.iter().enumerate().filter(|(_, byte)| is_character_start(**byte));
        starts.map(|(at, _)| at).nth(before).unwrap_or(self.data.len())
    }
}

fn is_character_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn characters(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| is_character_start(**byte)).count() as u64
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobCreateTemporary(
    _service: Pointer,
    _error: Pointer,
    locator: Pointer,
    _charset: u16,
    _charset_form: u8,
    kind: u8,
    _cached: c_int,
    _duration: u16,
) -> Status {
    *known!(locator, Lob) = Lob { is_text: kind == TEMPORARY_CLOB, data: Vec::new() };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn OCILobFreeTemporary(_service: Pointer, _error: Pointer, _locator: Pointer) -> Status {
    oci::SUCCESS
}

/// ODPI-C frees a temporary one on the server; here there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobIsTemporary(
    _environment: Pointer,
    _error: Pointer,
    _locator: Pointer,
    answer: *mut c_int,
) -> Status {
    unsafe { *answer = 0 };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobGetChunkSize(
    _service: Pointer,
    _error: Pointer,
    _locator: Pointer,
    size: *mut u32,
) -> Status {
    unsafe { *size = CHUNK_BYTES };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobGetLength2(
    _service: Pointer,
    _error: Pointer,
    locator: Pointer,
    length: *mut u64,
) -> Status {
    let lob = known!(locator, Lob);
    unsafe { *length = if lob.is_text { characters(&lob.data) } else { lob.data.len() as u64 } };
    oci::SUCCESS
}

/// ODPI-C writes in one piece, from the start or where the last piece ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobWrite2(
    _service: Pointer,
    _error: Pointer,
    locator: Pointer,
    bytes: *mut u64,
    _chars: *mut u64,
    offset: u64,
    buffer: *const u8,
    length: u64,
    _piece: u8,
    _context: Pointer,
    _callback: Pointer,
    _charset: u16,
    _charset_form: u8,
) -> Status {
    let lob = known!(locator, Lob);
    lob.data.truncate(lob.place(offset));
    if length > 0 {
        lob.data.extend_from_slice(unsafe { std::slice::from_raw_parts(buffer, length as usize) });
    }
    unsafe { *bytes = length };
    oci::SUCCESS
}

/// Reads whole characters only. The amounts are what is wanted, in bytes of a BLOB or characters of a CLOB, and then
/// what was read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobRead2(
    _service: Pointer,
    _error: Pointer,
    locator: Pointer,
    bytes: *mut u64,
    chars: *mut u64,
    offset: u64,
    buffer: *mut u8,
    size: u64,
    _piece: u8,
    _context: Pointer,
    _callback: Pointer,
    _charset: u16,
    _charset_form: u8,
) -> Status {
    let lob = known!(locator, Lob);
    let start = lob.place(offset);
    let rest = &lob.data[start..];
    let mut length = rest.len().min(size as usize);
    if lob.is_text {
        while length > 0 && length < rest.len() && !is_character_start(rest[length]) {
            length -= 1;
        }
    } else {
        length = length.min(unsafe { *bytes } as usize);
    }
    unsafe {
        oci::copy(&rest[..length], buffer);
        *bytes = length as u64;
        if let Some(chars) = chars.as_mut() {
            *chars = characters(&rest[..length]);
        }
    }
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobTrim2(
    _service: Pointer,
    _error: Pointer,
    locator: Pointer,
    length: u64,
) -> Status {
    let lob = known!(locator, Lob);
    lob.data.truncate(lob.place(length + 1));
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobLocatorAssign(
    _service: Pointer,
    _error: Pointer,
    source: Pointer,
    target: *mut Pointer,
) -> Status {
    let copy = known!(source, Lob).clone();
    match unsafe { Handle::at(*target) } {
        Some(target) => *target = Handle::Lob(copy),
        None => return oci::INVALID_HANDLE,
    }
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn OCILobOpen(_service: Pointer, _error: Pointer, _locator: Pointer, _mode: u8) -> Status {
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn OCILobClose(_service: Pointer, _error: Pointer, _locator: Pointer) -> Status {
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCILobIsOpen(
    _service: Pointer,
    _error: Pointer,
    _locator: Pointer,
    answer: *mut c_int,
) -> Status {
    unsafe { *answer = 0 };
    oci::SUCCESS
}
