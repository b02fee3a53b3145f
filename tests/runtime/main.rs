//! Runs on the embedded engine: what happens on success, failure, crash, signal, cancellation and redelivery.
#![allow(unreachable_pub, clippy::unwrap_used, missing_docs)]

mod basics;
mod cancel;
mod chaos;
mod dead_letters;
mod drain;
mod failure;
mod intake;
mod kit;
mod origins;
mod resume;
mod signals;
mod support;
mod takeover;
mod tracing;
mod values;
mod versions;
mod worker;
