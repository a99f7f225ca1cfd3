//! What live tests share. Each test program uses a part of it.
#![allow(dead_code)]

pub mod servers;
