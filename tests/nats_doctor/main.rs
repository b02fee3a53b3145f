//! The doctor on real nats-servers: what is healthy, and what is not, is told; nothing is changed by looking.
#![cfg(all(feature = "nats", feature = "cli"))]
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod cluster;
mod command;
mod kit;
mod permissions;
mod server;
mod streams;
