//! Fencing tokens: what a holder shows to whatever it changes, so that a holder that was replaced changes nothing any more.
//!
//! Martin Kleppmann, "How to do distributed locking", 2016. Nothing here knows who holds what.

use std::fmt;

/// Orders the holders of one name: each holder's token is greater than those of all holders before it, also across processes
/// and after the name was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    /// Wraps a number; a later holder's is greater.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What was held is not held any more, or may not be: its lease ran out, it was taken over, or it was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was held is lost: stop, and take it again")]
pub struct Lost;
