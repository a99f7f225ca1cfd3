//! Everything random in a simulation comes from its seed: also what the standard library and tokio draw by themselves.
//!
//! The keys of hash maps, the branch that `select!` looks at first, and the order in which a `watch` wakes its
//! listeners come from the operating system. The standard library asks for the symbol `getrandom` weakly, so that a
//! program can put its own in the place of the system's. Here it is a generator of each thread, which the simulation
//! seeds before anything is drawn.

use std::cell::Cell;

#[path = "../support/random.rs"]
mod numbers;

pub use numbers::Random;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Seeds what the standard library and tokio draw on this thread. To be called first thing on a new thread of a new
/// process, as both keep what they drew before.
pub fn seed_this_thread(seed: u64) {
    STATE.set(seed);
}

/// Stands for the system's `getrandom` in this process.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut u8, len: usize, _flags: std::ffi::c_uint) -> isize {
    // SAFETY: whoever calls `getrandom` gives a buffer of `len` bytes.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, len) };
    for chunk in buffer.chunks_mut(8) {
        let mut random = Random::new(STATE.get());
        let bytes = random.next().to_le_bytes();
        STATE.set(STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    len as isize
}
