//! Objects that processes share: limiters, locks, semaphores, counters, groups and elections, each at one key.
//!
//! Every object is a thin shell: what it decides is in `core::coordination`, how it is written in `cell`. It waits, renews and
//! wakes up; it does not know which engine is below.

mod error;

pub use error::CoordinationError;
