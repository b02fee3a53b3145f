//! What tests of this crate and of its users stand on: a test environment for topologies, conformance suites, checkers of what
//! happened, fault injection, a simulation, virtual time, a real nats-server, and a bad wire to it.

pub mod check;
pub mod conformance;
mod dice;
pub mod faulty;
#[doc(hidden)]
pub mod fuzz;
mod lesser;
mod passage;
pub mod rehearsal;
mod seeds;
pub mod server;
pub mod sim;
pub mod wire;

pub use dice::Dice;
pub use lesser::LesserStore;
pub use passage::pass;
pub use seeds::seeds;
