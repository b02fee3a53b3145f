//! The coordination objects on a real nats-server, the one of `ANABRANCH_NATS_SERVER` or of the path.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counted;
#[path = "../coordination/counted_spec.rs"]
mod counted_spec;
mod held;
#[path = "../coordination/judge.rs"]
mod judge;
mod metrics;
mod network;
mod rate_limiter;
#[path = "../coordination/recorded.rs"]
mod recorded;
#[path = "../coordination/recorder.rs"]
mod recorder;
