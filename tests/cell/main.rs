//! Cells: combining, conflicts, lost answers, bad values, and what is left behind.

#![allow(clippy::unwrap_used, missing_docs)]

mod faults;
mod idle;
mod kit;
mod together;
mod updates;
mod watch;
