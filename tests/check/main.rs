//! The checkers of the test kit: right histories pass, each way to be wrong is found, and what is told of it is short.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod linear;
mod objects;
mod random;
