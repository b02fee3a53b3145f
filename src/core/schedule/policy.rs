//! What becomes of firings that come too late, and of those that come while the one before goes on.

use std::num::NonZeroU32;

/// What becomes of firings that were missed: those that are later than the schedule tolerates, since nobody was there to send them.
///
/// Whatever is within the tolerance is not missed, and is always sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Missed {
    /// They are dropped.
    Skip,
    /// The newest one is sent, unless one that is in time is due as well.
    #[default]
    Last,
    /// They are sent, oldest first; of more than this number the newest. At most [`Missed::MOST`].
    All(NonZeroU32),
}

impl Missed {
    /// The most missed firings that are made up for.
    pub const MOST: u32 = 1000;
}

/// What becomes of a firing while the one before goes on.
///
/// What goes on is known from whoever works on it, see `schedule::Running` and `schedule::Schedules::finished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overlap {
    /// It is sent, and both go on.
    #[default]
    Allow,
    /// It is dropped.
    Skip,
    /// It is sent when the one before has ended. One waits; those that come while one waits are dropped.
    Queue,
    /// The one before is cancelled, and it is sent at once. Of several that are due at once only the newest is sent.
    Cancel,
}

/// What is known of a firing that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// It goes on.
    Running,
    /// It has ended, however it did.
    Done,
    /// Nothing is known of it: nobody has taken it up yet, or what was known is gone.
    Unknown,
}
