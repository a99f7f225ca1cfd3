//! Handles and descriptors: what ODPI-C holds pointers to.

use std::ptr;
use std::sync::Arc;

use crate::bind::Bind;
use crate::datetime::{Interval, Timestamp};
use crate::define::Define;
use crate::error::ErrorState;
use crate::lob::Lob;
use crate::oci::{self, Pointer, Status, descriptor, handle_type};
use crate::session::{Server, Service, Session};
use crate::statement::{Column, Statement};

/// What a handle or descriptor is.
pub enum Handle {
    Environment,
    Error(ErrorState),
    Service(Box<Service>),
    Server(Server),
    Session(Session),
    Statement(Box<Statement>),
    Bind(Bind),
    Define(Define),
    /// A column of a query, as `OCIParamGet` hands it out.
    /// Shared with its statement: its name is read after the handle is freed.
    Column(Arc<Column>),
    Lob(Lob),
    Timestamp(Timestamp),
    Interval(Interval),
    /// One that ODPI-C makes and nothing here looks into.
    Other,
}

impl Handle {
    /// Makes it ODPI-C's, until it is [`free`]d.
    pub fn into_pointer(self) -> Pointer {
        Box::into_raw(Box::new(self)).cast()
    }

    /// # Safety
    /// `pointer` is null or from [`into_pointer`](Self::into_pointer), and nothing else uses it meanwhile.
    pub unsafe fn at<'a>(pointer: Pointer) -> Option<&'a mut Handle> {
        unsafe { pointer.cast::<Handle>().as_mut() }
    }
}

/// # Safety
/// As [`Handle::at`]; it is not used afterwards.
unsafe fn free(pointer: Pointer) {
    if !pointer.is_null() {
        drop(unsafe { Box::from_raw(pointer.cast::<Handle>()) });
    }
}

/// The handle of a certain kind, or a return from the function with `OCI_INVALID_HANDLE`.
macro_rules! known {
    ($pointer:expr, $kind:ident) => {
        match unsafe { $crate::handle::Handle::at($pointer) } {
            Some($crate::handle::Handle::$kind(found)) => found,
            _ => return $crate::oci::INVALID_HANDLE,
        }
    };
}
pub(crate) use known;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIHandleAlloc(
    _parent: Pointer,
    handle: *mut Pointer,
    kind: u32,
    _extra_size: usize,
    _extra: *mut Pointer,
) -> Status {
    let made = match kind {
        handle_type::ENV => Handle::Environment,
        handle_type::ERROR => Handle::Error(ErrorState::default()),
        handle_type::SERVICE => Handle::Service(Box::default()),
        handle_type::SERVER => Handle::Server(Server::default()),
        handle_type::SESSION => Handle::Session(Session::default()),
        _ => Handle::Other,
    };
    unsafe { *handle = made.into_pointer() };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIHandleFree(handle: Pointer, _kind: u32) -> Status {
    unsafe { free(handle) };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDescriptorAlloc(
    _parent: Pointer,
    descriptor: *mut Pointer,
    kind: u32,
    _extra_size: usize,
    _extra: *mut Pointer,
) -> Status {
    unsafe { *descriptor = new_descriptor(kind).into_pointer() };
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIDescriptorFree(descriptor: Pointer, _kind: u32) -> Status {
    unsafe { free(descriptor) };
    oci::SUCCESS
}

/// Fills the caller's array with descriptors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIArrayDescriptorAlloc(
    _parent: Pointer,
    descriptors: *mut Pointer,
    kind: u32,
    count: u32,
    _extra_size: usize,
    _extra: *mut Pointer,
) -> Status {
    let block: Vec<Handle> = (0..count).map(|_| new_descriptor(kind)).collect();
    let first = Block::keep(block);
    for at in 0..count as usize {
        unsafe { *descriptors.add(at) = first.add(at).cast() };
    }
    oci::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn OCIArrayDescriptorFree(descriptors: *mut Pointer, _kind: u32) -> Status {
    Block::release(unsafe { *descriptors }.cast());
    oci::SUCCESS
}

fn new_descriptor(kind: u32) -> Handle {
    match kind {
        descriptor::LOB => Handle::Lob(Lob::default()),
        descriptor::INTERVAL_DS => Handle::Interval(Interval::default()),
        descriptor::TIMESTAMP | descriptor::TIMESTAMP_TZ | descriptor::TIMESTAMP_LTZ => {
            Handle::Timestamp(Timestamp::default())
        }
        _ => Handle::Other,
    }
}

/// Descriptors that were made together, found by the first of them.
struct Block {
    first: *mut Handle,
    count: usize,
}

// A block is only moved between threads along with the variable of ODPI-C that it belongs to.
unsafe impl Send for Block {}

static BLOCKS: std::sync::Mutex<Vec<Block>> = std::sync::Mutex::new(Vec::new());

impl Block {
    fn keep(handles: Vec<Handle>) -> *mut Handle {
        let count = handles.len();
        let first = Box::into_raw(handles.into_boxed_slice()).cast::<Handle>();
        BLOCKS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(Block { first, count });
        first
    }

    fn release(first: *mut Handle) {
        let mut blocks = BLOCKS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(at) = blocks.iter().position(|block| block.first == first) {
            let block = blocks.swap_remove(at);
            drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(block.first, block.count)) });
        }
    }
}
