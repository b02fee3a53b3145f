//! Every decision of the library, as plain values: no async, no clock, no randomness, no I/O.
//!
//! Whoever performs what is decided here passes the time in and gets effects out. This room imports nothing of ours but
//! [`Timestamp`](crate::time::Timestamp), so every rule can be tested as a story and explored as a model.

pub mod coordination;
pub mod graph;
pub mod jobs;
pub mod machine;
pub mod retry;
pub mod snapshot;
