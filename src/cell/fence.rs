//! Writes that only the newest holder of something may do.
//!
//! The key keeps the greatest token that it was written with, beside its value; whoever shows a smaller one was replaced. So a
//! holder that was paused, and is not one any more, changes nothing once a later one has written. It works on every engine, in
//! one round trip. It does not know what is held.

use crate::core::coordination::{FencingToken, Lost};

/// Something that is held, such as a lock's guard, and can show a fencing token.
pub trait Fence {
    /// Returns the token, while the holder may still believe that it holds what it held.
    ///
    /// # Errors
    ///
    /// [`Lost`] when it may not: stop what depends on it.
    fn token(&self) -> Result<FencingToken, Lost>;
}

impl Fence for FencingToken {
    /// A token by itself is believed; what is stored decides.
    fn token(&self) -> Result<FencingToken, Lost> {
        Ok(*self)
    }
}
