//! Cells on JetStream: processes that share nothing but a server, and a network and a server that misbehave.
#![cfg(feature = "nats")]
#![allow(clippy::print_stderr, clippy::unwrap_used, missing_docs)]

mod faults;
mod histories;
mod kit;
mod processes;
