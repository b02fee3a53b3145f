//! What tests of this crate and of its users stand on: conformance suites, fault injection, virtual time, a real nats-server, and a
//! bad wire to it.

pub mod conformance;
mod dice;
pub mod faulty;
#[doc(hidden)]
pub mod fuzz;
mod lesser;
mod passage;
pub mod server;
pub mod wire;

pub use dice::Dice;
pub use lesser::LesserStore;
pub use passage::pass;
