//! What tests of this crate and of its users stand on: conformance suites, fault injection, virtual time, a real nats-server, and a
//! bad wire to it.

pub mod conformance;
mod dice;
pub mod faulty;
mod passage;
pub mod server;
pub mod wire;

pub use dice::Dice;
pub use passage::pass;
