//! Streams that other clients made, on a real nats-server: what passes between them and us, what differs, who may use them, and
//! what is done about a consumer, a stream or a server that goes.
#![cfg(feature = "nats")]
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod drift;
mod faults;
mod foreign;
mod kit;
mod permissions;
mod router;
