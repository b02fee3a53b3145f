//! How many in which time: a quota, and the exact arithmetic on its schedule.
//!
//! Times on the schedule are counted in *parts*: a microsecond has `1000 * amount` of them, so that one cell, `period / amount`,
//! is a whole number of parts (the nanoseconds of the period) whatever the quota. Nothing drifts, since nothing is divided but
//! what is shown: the number of cells that are left is rounded down, a time to wait up to the next microsecond. Both err
//! towards admitting less.

use crate::time::Timestamp;
use std::{fmt, num::NonZeroU32, time::Duration};

/// The longest period.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// The longest time in which a bucket may fill up.
const LONGEST_REFILL: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// So many cells in a period, and so many at once.
///
/// A cell is what one call costs. Cells become free one by one, each `period / amount` after the one before; up to
/// [`burst`](Self::burst) of them are kept for later when they are not used.
///
/// ```
/// use anabranch::core::coordination::Quota;
/// use std::time::Duration;
///
/// let quota = Quota::per_second(50)?.burst(10)?;
/// assert_eq!(quota, Quota::new(50, Duration::from_secs(1))?.burst(10)?);
/// assert_eq!(quota.to_string(), "50 in 1s, 10 at once");
/// assert!(Quota::per_second(0).is_err());
/// # Ok::<(), anabranch::core::coordination::QuotaError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    amount: NonZeroU32,
    period: Duration,
    burst: NonZeroU32,
}

/// Why there is no such quota. What is asked for has to be corrected; nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// Nothing would ever be admitted: ask for at least one cell.
    #[error("a quota and its burst are at least one cell")]
    Zero,
    /// Cells would be closer together than a microsecond, which is as exact as clocks are here: take fewer, or a longer period.
    #[error("{amount} cells in {period:?} are less than a microsecond apart")]
    TooFast {
        /// How many were asked for.
        amount: NonZeroU32,
        /// In which time.
        period: Duration,
    },
    /// The period is above 366 days.
    #[error("a period of {0:?} is longer than 366 days")]
    TooLong(Duration),
    /// A window is shorter than a millisecond, or no whole number of microseconds.
    #[error("a window is whole microseconds and at least a millisecond, and not {0:?}")]
    Length(Duration),
    /// It would take more than ten years until the burst is there again: take a smaller one.
    #[error("{burst} cells at once are there again only after more than ten years")]
    BurstTooLarge {
        /// What was asked for.
        burst: NonZeroU32,
    },
}

impl Quota {
    /// Admits `amount` cells in each `period`, all of them at once if nothing came before.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] for no cells, for cells that are less than a microsecond apart, and for a period above 366 days.
    pub fn new(amount: u32, period: Duration) -> Result<Self, QuotaError> {
        let amount = NonZeroU32::new(amount).ok_or(QuotaError::Zero)?;
        if period > LONGEST {
            return Err(QuotaError::TooLong(period));
        }
        if period.as_nanos() < u128::from(amount.get()) * 1000 {
            return Err(QuotaError::TooFast { amount, period });
        }
        Ok(Self { amount, period, burst: amount })
    }

    /// Admits `amount` cells a second, all of them at once if nothing came before.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] for none, and for more than a million.
    pub fn per_second(amount: u32) -> Result<Self, QuotaError> {
        Self::new(amount, Duration::from_secs(1))
    }

    /// Admits `amount` cells a minute, all of them at once if nothing came before.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] for none, and for more than sixty million.
    pub fn per_minute(amount: u32) -> Result<Self, QuotaError> {
        Self::new(amount, Duration::from_secs(60))
    }

    /// Sets how many cells are admitted at once when nothing came before; the amount, if this is not called.
    ///
    /// # Errors
    ///
    /// [`QuotaError`] for none, and for so many that they are there again only after ten years.
    pub fn burst(self, burst: u32) -> Result<Self, QuotaError> {
        let burst = NonZeroU32::new(burst).ok_or(QuotaError::Zero)?;
        let quota = Self { burst, ..self };
        // The amount and what a microsecond is divided into cancel each other but for the unit: capacity / amount is in nanoseconds.
        if quota.capacity() / i128::from(self.amount.get()) > nanos(LONGEST_REFILL) {
            return Err(QuotaError::BurstTooLarge { burst });
        }
        Ok(quota)
    }

    /// Returns how many cells there are in a period.
    #[must_use]
    pub fn amount(&self) -> NonZeroU32 {
        self.amount
    }

    /// Returns the period, a microsecond to 366 days.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns how many cells are admitted at once at most.
    #[must_use]
    pub fn most_at_once(&self) -> NonZeroU32 {
        self.burst
    }

    /// One cell, in parts.
    pub(super) fn cell(&self) -> i128 {
        nanos(self.period)
    }

    /// The whole burst, in parts.
    pub(super) fn capacity(&self) -> i128 {
        self.cells(self.burst.get())
    }

    /// So many cells, in parts.
    pub(super) fn cells(&self, n: u32) -> i128 {
        self.cell() * i128::from(n)
    }

    /// How many parts a microsecond has.
    pub(super) fn parts_in_a_micro(&self) -> i128 {
        1000 * i128::from(self.amount.get())
    }

    /// A point in time on the schedule, in parts. At most 2^63 times 2^42: far from the ends of the type.
    pub(super) fn at(&self, time: Timestamp) -> i128 {
        i128::from(time.as_micros()) * self.parts_in_a_micro()
    }

    /// A duration of so many parts, rounded up to whole microseconds; what is negative is zero.
    pub(super) fn lasts(&self, parts: i128) -> Duration {
        let micros = -(-parts).div_euclid(self.parts_in_a_micro());
        Duration::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).expect("a duration has less than 2^94 nanoseconds")
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}, {} at once", self.amount, self.period, self.burst)
    }
}
