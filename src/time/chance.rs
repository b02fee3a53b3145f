//! Chance: write ids, nonces, jitter and unique names.
//!
//! It comes from the system's generator, unless a simulation has the thread take it from a seed: then the same seed draws the same
//! numbers in the same order. This file does not know what is drawn for.
#![expect(clippy::disallowed_methods, reason = "this is the room that the lint points to")]

use super::Clock;
use rand::RngExt as _;
use std::time::Duration;

#[cfg(feature = "testing")]
mod seeded {
    use std::cell::RefCell;

    /// Numbers that a test decides about.
    pub type Chance = Box<dyn FnMut() -> u64>;

    thread_local! {
        static CHANCE: RefCell<Option<Chance>> = const { RefCell::new(None) };
    }

    /// Has this thread take its chances from `chance` from now on, or from the system again, and returns where they came from.
    ///
    /// ```
    /// use anabranch::time::{nonce, take_chances_from};
    ///
    /// let before = take_chances_from(Some(Box::new(|| 7)));
    /// assert_eq!(nonce(), 7);
    /// drop(take_chances_from(before));
    /// ```
    #[must_use = "whoever had the thread's chances before wants them back"]
    pub fn take_chances_from(chance: Option<Chance>) -> Option<Chance> {
        CHANCE.with(|mine| mine.replace(chance))
    }

    pub(super) fn draw() -> Option<u64> {
        // While a chance is being drawn it can draw none itself.
        CHANCE.with(|mine| mine.try_borrow_mut().ok()?.as_mut().map(|chance| chance()))
    }
}
#[cfg(feature = "testing")]
pub use seeded::{Chance, take_chances_from};

/// Draws 64 bits.
fn bits() -> u64 {
    #[cfg(feature = "testing")]
    if let Some(drawn) = seeded::draw() {
        return drawn;
    }
    rand::random()
}

/// Draws a number from zero to below `end`, which is not zero.
fn below(end: u64) -> u64 {
    #[cfg(feature = "testing")]
    if let Some(drawn) = seeded::draw() {
        return drawn % end;
    }
    rand::rng().random_range(0..end)
}

/// Returns 64 random bits, for write ids and nonces.
#[must_use]
pub fn nonce() -> u64 {
    bits()
}

/// Returns a unique id that sorts by the time it was made: 26 characters of Crockford's base 32.
#[must_use]
pub fn unique(clock: &Clock) -> String {
    let millis = u64::try_from(clock.now().as_micros() / 1000).unwrap_or(0);
    let high = u128::from(bits()) << 64;
    ulid::Ulid::from_parts(millis, high | u128::from(bits())).to_string()
}

/// Delays between attempts: decorrelated jitter between `floor` and `ceiling`.
///
/// Each delay is drawn between the floor and three times the one before, so contenders that collided once do not collide in
/// step again (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
    last: Duration,
}

impl Backoff {
    /// Starts at `floor`; no delay will exceed `ceiling`.
    #[must_use]
    pub fn new(floor: Duration, ceiling: Duration) -> Self {
        Self { floor, ceiling: ceiling.max(floor), last: floor }
    }

    /// Returns the next delay.
    pub fn next_delay(&mut self) -> Duration {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let (low, high) = (micros(self.floor), micros((self.last * 3).min(self.ceiling)));
        self.last = Duration::from_micros(low + below((high.saturating_sub(low)).saturating_add(1)));
        self.last
    }

    /// Starts over at the floor, after a success.
    pub fn reset(&mut self) {
        self.last = self.floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_stays_between_floor_and_ceiling() {
        let (floor, ceiling) = (Duration::from_millis(5), Duration::from_millis(500));
        let mut backoff = Backoff::new(floor, ceiling);
        for _ in 0..1000 {
            let delay = backoff.next_delay();
            assert!(delay >= floor && delay <= ceiling, "{delay:?}");
        }
    }
}
