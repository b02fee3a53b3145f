//! How the jobs of one topic are run.

use crate::{coordination::RateLimiter, core::retry::RetryPolicy};
use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

/// Reads a key off a payload.
pub(super) type KeyOf<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

/// How the jobs of one topic are run.
///
/// ```
/// use anabranch::{RetryPolicy, jobs::TopicOptions};
/// use std::time::Duration;
///
/// let second = Duration::from_secs(1);
/// let options = TopicOptions::<String>::default()
///     .retry(RetryPolicy::default().max_attempts(8).doubling(second, 5))
///     .timeout(60 * second)
///     .expected(5 * second)
///     .keep_results();
/// # let _ = options;
/// ```
pub struct TopicOptions<T> {
    pub(super) rules: Rules,
    pub(super) concurrency: Option<(KeyOf<T>, NonZeroU32)>,
    pub(super) rate: Option<(KeyOf<T>, RateLimiter)>,
}

/// The part of the options that does not depend on the payload's type.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) retry: RetryPolicy,
    pub(super) timeout: Option<Duration>,
    pub(super) expected: Option<Duration>,
    pub(super) keep: bool,
}

impl<T> Default for TopicOptions<T> {
    fn default() -> Self {
        Self { rules: Rules::default(), concurrency: None, rate: None }
    }
}

impl<T> Clone for TopicOptions<T> {
    fn clone(&self) -> Self {
        Self { rules: self.rules.clone(), concurrency: self.concurrency.clone(), rate: self.rate.clone() }
    }
}

impl<T> fmt::Debug for TopicOptions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicOptions").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl<T> TopicOptions<T> {
    /// Sets when a failed attempt is repeated, see [`RetryPolicy::default`]. `max_crashes` counts attempts that ended without a
    /// word, because their process died.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.rules.retry = policy;
        self
    }

    /// Sets how long one attempt may take; without a limit unless it is set. A handler that takes longer is told, has some time to
    /// end if it listens, and is dropped; the attempt has failed.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = Some(timeout);
        self
    }

    /// Sets how long an attempt is expected to take. One that takes longer is told as an event, and nothing else happens.
    #[must_use]
    pub fn expected(mut self, expected: Duration) -> Self {
        self.rules.expected = Some(expected);
        self
    }

    /// Keeps what a job returns, for as long as the worker keeps records of jobs that have ended. The result is stored before the
    /// message is acknowledged, so a job that is submitted or delivered again under its id meanwhile does not run again, and of two
    /// workers that run it at the same time one result is kept. Costs a read and a write for each job.
    #[must_use]
    pub fn keep_results(mut self) -> Self {
        self.rules.keep = true;
        self
    }

    /// Lets at most `most` jobs with the same key run at once, in all workers and topics of the queue. A job whose key has as many is
    /// handed back, comes again a little later, and has used no attempt up. Everybody has to say the same number for a key.
    #[must_use]
    pub fn concurrency_key(mut self, most: NonZeroU32, key: impl Fn(&T) -> String + Send + Sync + 'static) -> Self {
        self.concurrency = Some((Arc::new(key), most));
        self
    }

    /// Lets jobs with the same key run as often as the limiter's quota says, a quota for each key. A job that comes too early is
    /// handed back until it may run, and has used no attempt up.
    #[must_use]
    pub fn rate_limit(mut self, limiter: RateLimiter, key: impl Fn(&T) -> String + Send + Sync + 'static) -> Self {
        self.rate = Some((Arc::new(key), limiter));
        self
    }
}
