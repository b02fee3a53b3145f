//! What tests of this crate and of its users stand on: conformance suites, fault injection, virtual time, a real nats-server.

pub mod conformance;
pub mod faulty;
mod passage;
pub mod server;

pub use passage::pass;
