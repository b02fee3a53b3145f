//! How many may pass in each minute of the clock, or in the last one, roughly: two counters.
//!
//! What providers often mean by a quota is a counter that starts anew with each minute. Windows are aligned to the Unix epoch, so
//! that all processes mean the same ones.
//!
//! - A **fixed** window admits at most `m` in each window. In a span of the length of a window that lies across a border it may be
//!   `2*m`: `m` at the end of one and `m` at the begin of the next.
//! - A **sliding** window adds the share of the window before that would still be in sight, `previous * (1 - f)`, where `f` is how
//!   much of the current window has passed (as Cloudflare counts, "How we built rate limiting capable of scaling to millions of
//!   domains", 2017). If what came before was spread evenly, at most `m` are admitted in any span of a window's length. It is
//!   an approximation: if all of the window before came at its very end, such a span may have `m * (1 + f)`, which is below `2*m`.
//!   In each aligned window it is never above `m`.
//!
//! Who needs a bound for every span takes a [`Limit`](super::Limit), which costs the same. Time is, as there, the greatest that
//! any writer has brought: a clock that is behind counts in the window of the others.

mod wire;

#[rustfmt::skip]
mod pb;

use super::{QuotaError, Verdict};
use crate::time::Timestamp;
use std::{fmt, num::NonZeroU32, time::Duration};

/// The shortest and the longest window.
const LENGTHS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(366 * 24 * 3600));

/// At most so many in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowQuota {
    most: NonZeroU32,
    length: Duration,
    sliding: bool,
}

impl WindowQuota {
    /// Admits at most `most` cells in each window of a length, whole microseconds from a millisecond to 366 days.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] for no cells, and for another length.
    pub fn fixed(most: u32, length: Duration) -> Result<Self, QuotaError> {
        let most = NonZeroU32::new(most).ok_or(QuotaError::Zero)?;
        if length > LENGTHS.1 {
            return Err(QuotaError::TooLong(length));
        }
        if length < LENGTHS.0 || !length.subsec_nanos().is_multiple_of(1000) {
            return Err(QuotaError::Length(length));
        }
        Ok(Self { most, length, sliding: false })
    }

    /// Admits about `most` cells in any span of a length, and at most that many in each window; otherwise as
    /// [`fixed`](Self::fixed).
    ///
    /// # Errors
    ///
    /// As [`fixed`](Self::fixed).
    pub fn sliding(most: u32, length: Duration) -> Result<Self, QuotaError> {
        Ok(Self { sliding: true, ..Self::fixed(most, length)? })
    }

    /// Returns the most cells in a window.
    #[must_use]
    pub fn most(&self) -> NonZeroU32 {
        self.most
    }

    /// Returns the length of a window.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Tells whether the window before counts, too.
    #[must_use]
    pub fn is_sliding(&self) -> bool {
        self.sliding
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.length.as_micros()).expect("366 days have less than 2^45 microseconds")
    }

    fn number(&self, now: Timestamp) -> i64 {
        now.as_micros().div_euclid(self.micros())
    }
}

impl fmt::Display for WindowQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.sliding { "sliding" } else { "fixed" };
        write!(f, "{} in a {kind} window of {:?}", self.most, self.length)
    }
}

/// What was admitted in a window and in the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    quota: WindowQuota,
    number: i64,
    current: u32,
    previous: u32,
    seen: Timestamp,
}

impl Window {
    /// Starts with nothing admitted.
    #[must_use]
    pub fn new(quota: WindowQuota, now: Timestamp) -> Self {
        Self { quota, number: quota.number(now), current: 0, previous: 0, seen: now }
    }

    /// Returns the quota that it was stored with.
    #[must_use]
    pub fn quota(&self) -> WindowQuota {
        self.quota
    }

    /// Admits `n` cells at once, or does not and changes nothing.
    pub fn check(&mut self, n: NonZeroU32, now: Timestamp) -> Verdict {
        let most = self.quota.most;
        if n > most {
            return Verdict::TooMany { burst: most };
        }
        let mut next = self.at(now);
        let free = most.get().saturating_sub(next.current).saturating_sub(next.weight());
        if n.get() > free {
            return Verdict::Denied { retry_in: next.free_at(n).since(now) };
        }
        next.current += n.get();
        *self = next;
        Verdict::Allowed { remaining: free - n.get() }
    }

    /// Returns how many count at a time: those of the window, and with a sliding one the share of those before, rounded up.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> u32 {
        let at = self.at(now);
        at.current.saturating_add(at.weight())
    }

    /// Returns how long the state matters: once this has passed, it says the same as no state at all.
    #[must_use]
    pub fn matters_for(&self) -> Duration {
        self.begin(self.number.saturating_add(2)).since(self.seen)
    }

    /// The same at a later time: windows that have passed are behind.
    fn at(self, now: Timestamp) -> Self {
        let seen = now.max(self.seen);
        let number = self.quota.number(seen);
        let (current, previous) = match number.saturating_sub(self.number) {
            ..=0 => (self.current, self.previous),
            1 => (0, self.current),
            _ => (0, 0),
        };
        Self { number: number.max(self.number), current, previous, seen, ..self }
    }

    fn begin(&self, number: i64) -> Timestamp {
        Timestamp::from_micros(number.saturating_mul(self.quota.micros()))
    }

    /// What is left of the window before, rounded up.
    fn weight(&self) -> u32 {
        if !self.quota.sliding {
            return 0;
        }
        let length = i128::from(self.quota.micros());
        let passed = i128::from(self.seen.as_micros()) - i128::from(self.begin(self.number).as_micros());
        let left = (length - passed).clamp(0, length);
        u32::try_from((i128::from(self.previous) * left + length - 1) / length).expect("it is no more than there were")
    }

    /// When `n` cells will be free if nobody else comes: in this window when what was before it has faded enough, or in the next.
    fn free_at(&self, n: NonZeroU32) -> Timestamp {
        let most = self.quota.most.get();
        match most.checked_sub(self.current).and_then(|room| room.checked_sub(n.get())) {
            // Of a fixed window there is no room now, and the next one has some.
            Some(room) => self.begin(self.number) + self.fades_to(room, self.previous),
            None if self.quota.sliding => {
                self.begin(self.number.saturating_add(1)) + self.fades_to(most - n.get(), self.current)
            }
            None => self.begin(self.number.saturating_add(1)),
        }
    }

    /// How far into a window one has to be for so many of the window before to count as `room` at most.
    fn fades_to(&self, room: u32, before: u32) -> Duration {
        if before <= room {
            return Duration::ZERO;
        }
        let length = self.quota.length.as_micros();
        let passed = length - u128::from(room) * length / u128::from(before);
        Duration::from_micros(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}
