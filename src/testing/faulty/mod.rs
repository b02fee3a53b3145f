//! Stores, queues, streams, tallies and whole engines that misbehave: by rule, by seed, and by hand.
//!
//! [`FaultyStore`], [`FaultyQueue`] and [`FaultyEngine`] stand in front of real ones, and keep the contracts of
//! [`engine`](crate::engine): what they report as [`Conflict`](StoreError::Conflict) or [`Unavailable`](StoreError::Unavailable)
//! was not written, what they report as [`Unknown`](StoreError::Unknown) may have been, a stale read is of what was really there,
//! and a watch that missed something says so. What is in front of one engine has one [`Trouble`], which is told what is to go
//! wrong:
//!
//! - a rule sees every [`Call`] and answers with a [`Fault`] ([`Trouble::plan`]), or every change of a watch and answers with a
//!   [`WatchFault`] ([`Trouble::plan_changes`]);
//! - chance comes from a seed, at [`Odds`] and [`Mishaps`], so many in a thousand;
//! - by hand it is held, disconnected, filled up, or made to behave.
//!
//! Reordering is delay: each call draws its own, so a later one overtakes an earlier one, publishes and settlements among them. A
//! change of a watch that is delayed is overtaken by changes of other keys only.
//!
//! One seed is one behaviour where the order of calls is one: nothing here starts a task or a thread, asks another clock than the
//! one that it was given, or depends on an order that is not fixed. Each kind of chance has dice of its own, so that to turn one on
//! does not change what another one draws.
//!
//! Nothing here knows what the bytes mean, or which engine is behind.

mod call;
mod chance;
mod deliveries;
mod engine;
mod expiry;
mod fault;
mod odds;
mod past;
mod queue;
mod store;
mod tally;
mod trouble;
mod watch;

pub use call::{Call, Op};
pub use engine::FaultyEngine;
pub use fault::{Fault, WatchFault};
pub use odds::{Mishaps, Odds};
pub use queue::FaultyQueue;
pub use store::FaultyStore;
pub use trouble::Trouble;

#[cfg(doc)]
use crate::engine::StoreError;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What all that stands in front of one engine has in common, also where it belongs to several processes.
#[derive(Debug, Default)]
struct World {
    past: past::Past,
    mortals: expiry::Mortals,
    deliveries: deliveries::Deliveries,
}

/// Locks a mutex whose content is whole at any time, so that a panic elsewhere, which may have been ordered, does no harm.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
