//! Jobs on JetStream: processes that are killed or asked to end, a consumer that is deleted, a server without room.
#![cfg(feature = "nats")]
#![allow(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used, missing_docs, unreachable_pub)]

mod kit;
mod processes;
mod server;
