//! The state of a limiter, and what is admitted.
//!
//! One number says all: the *theoretical arrival time* of the next cell, the moment at which it would come if cells came evenly.
//! It knows nothing of who asks, and waits for nobody.

use super::{Block, Quota};
use crate::time::Timestamp;
use std::{num::NonZeroU32, time::Duration};

/// The longest that a reservation may wait; beyond it is no reservation but a mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// What was admitted, under which quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub(super) quota: Quota,
    /// In parts, see [`Quota`].
    pub(super) tat: i128,
    /// The greatest time that any writer has brought.
    pub(super) seen: Timestamp,
}

/// The answer to a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Admitted, and counted.
    Allowed {
        /// How many more would be admitted at this moment.
        remaining: u32,
    },
    /// Not admitted; nothing has changed.
    Denied {
        /// After which time it would be admitted, if nobody else came: not before it, and at its end.
        retry_in: Duration,
    },
    /// Never admitted, since that many are never there at once.
    TooMany {
        /// The most that are.
        burst: NonZeroU32,
    },
}

/// The answer to a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// Counted, and to be used after this time.
    In {
        /// How long to wait; zero when the cells are free at once.
        wait: Duration,
    },
    /// Not reserved; nothing has changed.
    Denied {
        /// How long the wait would have been.
        wait: Duration,
    },
    /// Never to be had, since that many are never there at once.
    TooMany {
        /// The most that are.
        burst: NonZeroU32,
    },
}

impl Limit {
    /// Starts with the whole burst.
    #[must_use]
    pub fn new(quota: Quota, now: Timestamp) -> Self {
        Self { quota, tat: quota.at(now), seen: now }
    }

    /// Returns the quota that it was stored with.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Admits `n` cells at once, or does not and changes nothing.
    pub fn check(&mut self, n: NonZeroU32, now: Timestamp) -> Verdict {
        if n > self.quota.most_at_once() {
            return Verdict::TooMany { burst: self.quota.most_at_once() };
        }
        let after = self.after(n, now);
        let ready = after - self.quota.capacity();
        // The asker's own time, and not the greatest seen: when it has come, it is that at least, whoever else has come or gone.
        let retry_in = self.quota.lasts(ready - self.quota.at(now));
        if ready > self.quota.at(self.latest(now)) || !self.spend(after, now) {
            return Verdict::Denied { retry_in };
        }
        Verdict::Allowed { remaining: self.left() }
    }

    /// Admits `n` cells at once, and with them as many of the following as are free at once, until they are `block`: those are
    /// handed out without coming back here. Denied, it changes nothing and the block is empty.
    pub fn lease(&mut self, n: NonZeroU32, block: NonZeroU32, now: Timestamp) -> (Verdict, Block) {
        let verdict = self.check(n, now);
        let mut leased = Block::empty(self.quota);
        if let Verdict::Allowed { remaining } = verdict {
            let more = block.get().saturating_sub(n.get()).min(remaining);
            let first = self.tat;
            if more > 0 && self.spend(first + self.quota.cells(more), now) {
                leased = Block::starting(self.quota, first, more, self.seen);
            }
        }
        (verdict, leased)
    }

    /// Takes the next `n` cells, which are free after a time of at most `longest` (and 366 days); otherwise changes nothing.
    ///
    /// Whoever reserves stands behind all who did before.
    pub fn reserve(&mut self, n: NonZeroU32, now: Timestamp, longest: Duration) -> Reserved {
        if n > self.quota.most_at_once() {
            return Reserved::TooMany { burst: self.quota.most_at_once() };
        }
        let after = self.after(n, now);
        let wait = self.quota.lasts(after - self.quota.capacity() - self.quota.at(self.latest(now)));
        if wait > longest.min(LONGEST_WAIT) || !self.spend(after, now) {
            return Reserved::Denied { wait };
        }
        Reserved::In { wait }
    }

    /// Goes on under another quota. What was spent stays spent, in cells, so that a change admits nobody twice; returns whether
    /// anything has changed.
    pub fn change_quota(&mut self, quota: Quota, now: Timestamp) -> bool {
        if self.quota == quota {
            return false;
        }
        let now = self.latest(now);
        let spent = (self.tat - self.quota.at(now)).max(0);
        let (whole, rest) = (spent / self.quota.cell(), spent % self.quota.cell());
        // A part of a cell is rounded up to the next part of the other schedule. No product leaves the type: whole cells are at
        // least a microsecond, and less than 2^63 of those; a cell is less than 2^55 parts.
        let rest = -(-rest * quota.cell()).div_euclid(self.quota.cell());
        let latest = quota.at(Timestamp::from_micros(i64::MAX));
        let tat = quota.at(now).saturating_add(whole.saturating_mul(quota.cell())).saturating_add(rest).min(latest);
        *self = Self { quota, tat, seen: now };
        true
    }

    /// Returns how long the state matters: once this has passed, it says the same as no state at all.
    #[must_use]
    pub fn matters_for(&self) -> Duration {
        self.quota.lasts(self.tat - self.quota.at(self.seen))
    }

    /// No writer's clock takes the schedule back.
    fn latest(&self, now: Timestamp) -> Timestamp {
        now.max(self.seen)
    }

    /// The theoretical arrival time after `n` more cells.
    fn after(&self, n: NonZeroU32, now: Timestamp) -> i128 {
        self.tat.max(self.quota.at(self.latest(now))) + self.quota.cells(n.get())
    }

    /// Moves on, unless that is beyond what can be stored: some hundred thousand years.
    fn spend(&mut self, tat: i128, now: Timestamp) -> bool {
        let storable = tat <= self.quota.at(Timestamp::from_micros(i64::MAX));
        if storable {
            (self.tat, self.seen) = (tat, self.latest(now));
        }
        storable
    }

    /// How many whole cells are free at the latest time.
    fn left(&self) -> u32 {
        let free = self.quota.at(self.seen) + self.quota.capacity() - self.tat;
        u32::try_from(free.max(0) / self.quota.cell()).unwrap_or(u32::MAX)
    }
}
