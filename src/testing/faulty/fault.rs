//! What can happen to a call or to a change of a watch, and what the caller is told.

use crate::engine::{Rejection, StoreError};
use std::time::Duration;

/// What happens to a call. Where one makes no sense, it says what happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer is lost. A call that changes nothing is unavailable instead; what was taken for a `next` comes again after the
    /// queue's `ack_wait` if it is applied.
    Unknown {
        /// Whether the write happened all the same.
        applied: bool,
    },
    /// Nothing happens, and the call is told that a key is not as expected. What expects nothing is unavailable instead.
    Conflict,
    /// Nothing happens, and the call is told that the store is away.
    Unavailable,
    /// It happens later: what is called meanwhile overtakes it.
    Delay(Duration),
    /// It happens at once, and is answered later. A `next` that is given up meanwhile has lost nothing.
    Late(Duration),
    /// It happens, and is never answered.
    Hang,
    /// The caller panics, and nothing happens.
    Panic,
    /// A read is answered with what was there so many states ago, or the oldest that is known. Needs
    /// [`Trouble::remember`](super::Trouble::remember) beforehand; where nothing older is known, the read is fresh. Nothing else can be
    /// stale.
    Stale {
        /// How many states back, at least 1.
        back: usize,
    },
    /// There is no room: what writes is unavailable, as a full disk and a full stream say. Whatever else is asked happens.
    Full,
    /// The value is larger than the engine takes. Whatever writes no value happens.
    TooLarge,
    /// The keys that it is about expire, those of them that were put with a TTL through here.
    Expire {
        /// Right before it; otherwise right after it, before it is answered.
        before: bool,
    },
    /// A `next` returns a message that was delivered before, also when it was acknowledged or is still with somebody, as another
    /// attempt. Where nothing was delivered yet, what this call returns comes again at the next one.
    Duplicate,
}

/// What happens to a change on its way to who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFault {
    /// It comes later: changes of other keys overtake it, one of its own key takes its place.
    Delay(Duration),
    /// The watch is silent for so long, and then goes on where it was, as one whose server was away and has all that happened.
    Silence(Duration),
    /// The watch is silent for so long, and what happens meanwhile is missed, this change included. Then comes
    /// [`Change::Resynced`](crate::engine::Change::Resynced), all that is there, and
    /// [`Change::Synced`](crate::engine::Change::Synced). Before the first `Synced` there is nothing to miss: it is a silence.
    Gap(Duration),
}

pub(super) fn away() -> StoreError {
    StoreError::Unavailable("injected".into())
}

pub(super) fn lost() -> StoreError {
    StoreError::Unknown("injected".into())
}

/// What a full disk is to the embedded engine, and a full stream, account or server to that of NATS.
pub(super) fn no_room() -> StoreError {
    StoreError::Unavailable("injected: no space left".into())
}

/// As if the limit had been lowered to just below what was asked for.
pub(super) fn too_large(size: usize) -> StoreError {
    Rejection::TooLarge { size, limit: size.saturating_sub(1), unit: "bytes" }.into()
}
