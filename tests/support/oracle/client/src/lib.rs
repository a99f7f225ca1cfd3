//! A stand-in for Oracle's client library `libclntsh.so`, for tests on machines that cannot have the real one.
//!
//! It implements the functions of OCI that ODPI-C (and so the crate `oracle`) calls for logging in, statements with
//! array binds, queries, LOBs and transactions, and carries them out with Oracle's thin driver for Rust. What ODPI-C
//! does not call in lode's tests (objects, queues, pools, SODA, XA) is not here: ODPI-C loads symbols on first use and
//! reports a missing one as DPI-1047.
//!
//! Handles and descriptors are opaque to ODPI-C: each is a boxed [`Handle`](handle::Handle). ODPI-C uses a connection
//! and what belongs to it from one thread at a time, which is what makes the exclusive access to them sound.
//!
//! Sources: the OCI Programmer's Guide for what a function does, and ODPI-C's `dpiOci.c`, `dpiStmt.c` and `dpiVar.c` for
//! which arguments it passes and what it reads back.

// The names of the functions are the library's.
#![allow(non_snake_case)]
// They have the contracts that the OCI Programmer's Guide gives them; each pointer comes from ODPI-C.
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]
#![deny(unsafe_op_in_unsafe_fn)]

mod attribute;
mod bind;
mod datetime;
mod define;
mod error;
mod handle;
mod library;
mod lob;
mod number;
mod oci;
mod session;
mod statement;
