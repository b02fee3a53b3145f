//! Every fault does what it says: on the engine in memory, in virtual time.

#![allow(clippy::unwrap_used, missing_docs)]

mod broken;
mod chance;
mod connection;
mod kit;
mod queue;
mod store;
mod watch;
