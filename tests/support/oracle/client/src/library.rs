//! The library as a whole: its version, its environment, its character set, and thread-local storage.

use std::ffi::c_int;
use std::ptr;

use crate::handle::Handle;
use crate::oci::{self, Pointer, Status};

/// A client that ODPI-C finds new enough for everything it does for lode: below 18 it has no call timeout.
const VERSION: [c_int; 5] = [19, 99, 0, 0, 0];

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIClientVersion(
    major: *mut c_int,
    minor: *mut c_int,
    update: *mut c_int,
    port_release: *mut c_int,
    port_update: *mut c_int,
) {
    for (place, number) in [major, minor, update, port_release, port_update].into_iter().zip(VERSION) {
        unsafe { *place = number };
    }
}

/// ODPI-C asks for AL32UTF8 or UTF-16; the crate `oracle` for the former.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIEnvNlsCreate(
    environment: *mut Pointer,
    _mode: u32,
    _context: Pointer,
    _malloc: Pointer,
    _realloc: Pointer,
    _free: Pointer,
    _extra_size: usize,
    _extra: *mut Pointer,
    _charset: u16,
    _ncharset: u16,
) -> Status {
    unsafe { *environment = Handle::Environment.into_pointer() };
    oci::SUCCESS
}

/// ODPI-C asks for how many bytes a character may have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCINlsNumericInfoGet(
    _environment: Pointer,
    _error: Pointer,
    value: *mut i32,
    _item: u16,
) -> Status {
    const UTF8_BYTES_MAX: i32 = 4;
    unsafe { *value = UTF8_BYTES_MAX };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCINlsEnvironmentVariableGet(
    value: *mut u16,
    _size: usize,
    _item: u16,
    _charset: u16,
    length: *mut usize,
) -> Status {
    unsafe {
        *value = oci::AL32UTF8;
        *length = size_of::<u16>();
    }
    oci::SUCCESS
}

/// Everything is UTF-8 already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCINlsCharSetConvert(
    _environment: Pointer,
    _error: Pointer,
    _to: u16,
    target: *mut u8,
    target_size: usize,
    _from: u16,
    source: *const u8,
    source_length: usize,
    length: *mut usize,
) -> Status {
    let copied = source_length.min(target_size);
    unsafe {
        target.copy_from_nonoverlapping(source, copied);
        *length = copied;
    }
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn OCIThreadProcessInit() {}

/// ODPI-C keeps each thread's error handle under such a key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIThreadKeyInit(
    _environment: Pointer,
    _error: Pointer,
    key: *mut *mut libc::pthread_key_t,
    destructor: Option<unsafe extern "C" fn(Pointer)>,
) -> Status {
    let mut made: libc::pthread_key_t = 0;
    if unsafe { libc::pthread_key_create(&mut made, destructor) } != 0 {
        return oci::ERROR;
    }
    unsafe { *key = Box::into_raw(Box::new(made)) };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIThreadKeyDestroy(
    _environment: Pointer,
    _error: Pointer,
    key: *mut *mut libc::pthread_key_t,
) -> Status {
    let held = unsafe { Box::from_raw(ptr::replace(key, ptr::null_mut())) };
    unsafe { libc::pthread_key_delete(*held) };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIThreadKeyGet(
    _environment: Pointer,
    _error: Pointer,
    key: *const libc::pthread_key_t,
    value: *mut Pointer,
) -> Status {
    unsafe { *value = libc::pthread_getspecific(*key) };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIThreadKeySet(
    _environment: Pointer,
    _error: Pointer,
    key: *const libc::pthread_key_t,
    value: Pointer,
) -> Status {
    unsafe { libc::pthread_setspecific(*key, value) };
    oci::SUCCESS
}
