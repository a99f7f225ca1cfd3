//! The language: text to tree and back, and everything there is to say about a text that is wrong.

pub mod ast;
pub mod codes;
pub mod diagnostic;
pub mod parse;
pub mod print;
pub mod span;
pub mod verb;
