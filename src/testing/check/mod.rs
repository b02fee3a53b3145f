//! Checkers: whether what happened is what is promised, and if not, the few events that show it.
//!
//! Two kinds. A [`History`] of operations on one object is compared with a [`Model`] of it, one that does everything in turn:
//! [`linearizable`] finds an order that explains every result, or says that there is none. Lists of events are compared with what must
//! always hold: [`limiter`], [`semaphore`], [`election`], [`wait_group`], [`runs`], [`queues`] and [`schedules`]. All are pure functions of
//! what was recorded, so a history of a simulation, of a test and of several processes are judged alike.
//!
//! They promise to complain about nothing that may have been right: a time is known as an interval at best, an outcome may be unknown,
//! and each checker says what it takes for possible. They do not promise to find everything that is wrong; what is not recorded is not
//! judged. They know no store, no clock and no runtime.
//!
//! Times are microseconds of one clock, of whatever origin. Those of several processes are comparable when they read the same clock, such
//! as the monotonic clock of one machine.
//!
//! A [`Violation`] is shrunk before it is told. An invariant knows which events contradict each other, and names those and no others: they
//! are a history that fails by itself. A history without an order is shrunk by delta debugging in such ways only that a history that
//! could be explained stays one: see [`linearizable`].

pub mod election;
mod history;
mod holding;
pub mod limiter;
mod linear;
mod model;
mod models;
mod peaks;
pub mod queues;
pub mod runs;
pub mod schedules;
mod search;
pub mod semaphore;
mod shrink;
mod violation;
pub mod wait_group;

pub use history::{Call, History, Record};
pub use holding::Holding;
pub use linear::{linearizable, linearizable_within};
pub use model::{Keyed, Model};
pub use models::{Counter, CounterOp, Expected, Lock, LockOp, LockRet, Register, RegisterOp, RegisterRet};
pub use violation::Violation;

/// How far a record goes: what has to happen in the end is judged only when there is an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything that was to happen had its time.
    Quiet,
    /// It was cut off in the middle.
    Cut,
}
