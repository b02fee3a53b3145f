//! How often a node or a job is tried, how long it may take, and how long it waits between attempts.
//!
//! The delay is a function of its arguments: jitter comes from a seed, so the same failure always waits the same time and a
//! model can explore it.

use std::time::Duration;

/// When a failed attempt is repeated.
///
/// ```
/// use anabranch::RetryPolicy;
/// use std::time::Duration;
///
/// let policy = RetryPolicy::default().max_attempts(3).exponential(Duration::from_secs(1), 2, Duration::from_secs(60)).jitter(0);
/// assert_eq!(policy.delay_after(1, 0), Some(Duration::from_secs(1)));
/// assert_eq!(policy.delay_after(2, 0), Some(Duration::from_secs(2)));
/// assert_eq!(policy.delay_after(3, 0), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u32,
    max_crashes: u32,
    delays: Delays,
    jitter_percent: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Delays {
    Exponential { first: Duration, factor: u32, ceiling: Duration },
    Table(Vec<Duration>),
}

impl Default for RetryPolicy {
    /// Five attempts, one second after the first failure, doubling up to five minutes, up to 20 percent longer at random;
    /// three crashes.
    fn default() -> Self {
        Self {
            max_attempts: 5,
            max_crashes: 3,
            delays: Delays::Exponential { first: Duration::from_secs(1), factor: 2, ceiling: Duration::from_secs(300) },
            jitter_percent: 20,
        }
    }
}

impl RetryPolicy {
    /// Tries once.
    #[must_use]
    pub fn never() -> Self {
        Self::default().max_attempts(1)
    }

    /// Sets how many attempts may fail, at least 1; the last failure is final.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets how many times the process may die in this node, at least 1, before the node is poison. An attempt that saved
    /// progress starts the count anew.
    #[must_use]
    pub fn max_crashes(mut self, crashes: u32) -> Self {
        self.max_crashes = crashes.max(1);
        self
    }

    /// Waits `first` after the first failure and `factor` times longer after each further one, at most `ceiling`.
    #[must_use]
    pub fn exponential(mut self, first: Duration, factor: u32, ceiling: Duration) -> Self {
        self.delays = Delays::Exponential { first, factor: factor.max(1), ceiling };
        self
    }

    /// Waits `first` after the first failure and twice as long after each further one, `steps` times; the last of these delays
    /// repeats: one second in 3 steps is 1, 2, 4, 4, 4 seconds and so on.
    #[must_use]
    pub fn doubling(self, first: Duration, steps: u32) -> Self {
        let last = first.saturating_mul(2_u32.saturating_pow(steps.saturating_sub(1)));
        self.exponential(first, 2, last)
    }

    /// Waits `delay` after each failure.
    #[must_use]
    pub fn fixed(self, delay: Duration) -> Self {
        self.delays([delay])
    }

    /// Waits `delays` after the first, second, ... failure; the last one repeats. An empty table does not wait.
    #[must_use]
    pub fn delays(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        self.delays = Delays::Table(delays.into_iter().collect());
        self
    }

    /// Lengthens each delay by up to `percent` of it, 0 to 100, so that what failed together does not return together.
    #[must_use]
    pub fn jitter(mut self, percent: u8) -> Self {
        self.jitter_percent = percent.min(100);
        self
    }

    /// Returns how long to wait after failure number `failures`, counted from 1; `None` when it was the last.
    #[must_use]
    pub fn delay_after(&self, failures: u32, seed: u64) -> Option<Duration> {
        if failures >= self.max_attempts {
            return None;
        }
        let steps = failures.saturating_sub(1);
        let base = match &self.delays {
            Delays::Exponential { first, factor, ceiling } => first.saturating_mul(factor.saturating_pow(steps)).min(*ceiling),
            Delays::Table(table) => table.get(steps as usize).or(table.last()).copied().unwrap_or_default(),
        };
        // Spreads the seed over the range without a generator: the top half of a multiplicative hash, as a fraction of 2^32.
        let fraction = seed.wrapping_add(u64::from(failures)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let range = base.as_micros() * u128::from(self.jitter_percent) / 100;
        let extra = u64::try_from((range * u128::from(fraction)) >> 32).unwrap_or(u64::MAX);
        Some(base.saturating_add(Duration::from_micros(extra)))
    }

    /// Tells whether a node whose process died `crashes` times in a row is poison.
    #[must_use]
    pub fn is_poison(&self, crashes: u32) -> bool {
        crashes >= self.max_crashes
    }
}

/// How one node is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePolicy {
    /// How long one attempt may take; `None` is without limit.
    pub timeout: Option<Duration>,
    /// When a failed attempt is repeated.
    pub retry: RetryPolicy,
}

/// Why a running body is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The attempt took longer than its node's timeout; it counts as failed.
    Timeout,
    /// The run, or the job, was cancelled.
    Cancelled,
    /// Another process took the run over; whatever this body still does is not recorded.
    Fenced,
    /// This process shuts down; another will start the node, or the job, again.
    Shutdown,
    /// The worker that has the job is drained; another will start it again.
    Stopped,
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the attempt timed out",
            Self::Cancelled => "it was cancelled",
            Self::Fenced => "another process took the run over",
            Self::Shutdown => "the process shuts down",
            Self::Stopped => "the worker was stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_last_delay_of_a_table_repeats() {
        let policy = RetryPolicy::default().max_attempts(9).delays([SECOND, 5 * SECOND]).jitter(0);
        let delays: Vec<_> = (1..=4).filter_map(|n| policy.delay_after(n, 7)).collect();
        assert_eq!(delays, [SECOND, 5 * SECOND, 5 * SECOND, 5 * SECOND]);
    }

    #[test]
    fn doubling_repeats_its_last_step_and_fixed_its_only_one() {
        let delays = |policy: RetryPolicy| (1..=5).filter_map(|n| policy.delay_after(n, 7)).collect::<Vec<_>>();
        let policy = RetryPolicy::default().max_attempts(9).jitter(0);
        assert_eq!(delays(policy.clone().doubling(SECOND, 3)), [1, 2, 4, 4, 4].map(|n| n * SECOND));
        assert_eq!(delays(policy.fixed(SECOND)), [SECOND; 5]);
    }

    #[test]
    fn jitter_lengthens_a_delay_and_never_beyond_its_share() {
        let policy = RetryPolicy::default().max_attempts(u32::MAX).exponential(SECOND, 1, SECOND).jitter(20);
        let delays: Vec<_> = (0..1000).filter_map(|seed| policy.delay_after(1, seed)).collect();
        assert!(delays.iter().all(|d| *d >= SECOND && *d <= SECOND * 12 / 10));
        assert!(delays.iter().max() > delays.iter().min(), "the seed matters");
    }

    #[test]
    fn a_delay_never_overflows() {
        let policy = RetryPolicy::default().max_attempts(u32::MAX).exponential(SECOND, 10, 3600 * SECOND).jitter(100);
        assert!(policy.delay_after(u32::MAX - 1, u64::MAX).is_some_and(|d| d <= 7200 * SECOND));
    }
}
