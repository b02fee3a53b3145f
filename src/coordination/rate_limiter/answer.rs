//! What a limiter answers.

use crate::time::{Clock, Instant, Timestamp};
use std::time::Duration;

/// Whether somebody may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and it is counted.
    Allowed {
        /// How many more would be allowed at this moment, at least.
        remaining: u32,
        /// Whether it was allowed only because the store could not say, and the limiter is [`Outage::FailOpen`]: then it is not
        /// counted, or nobody knows.
        failed_open: bool,
    },
    /// No, and nothing is counted.
    Denied {
        /// After which time it would be allowed, if nobody else came.
        retry_in: Duration,
    },
}

impl Decision {
    /// Tells whether it is a yes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// What a limiter does when its store cannot answer until the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outage {
    /// It returns an error: nobody passes, and the quota is kept.
    #[default]
    FailClosed,
    /// It lets everyone pass, says so in its answer, and warns once an outage: the quota is not kept meanwhile.
    FailOpen,
}

/// Cells that are the caller's from a point in time on. They are spent, whether they are used or not.
#[derive(Debug, Clone)]
pub struct Reservation {
    pub(super) clock: Clock,
    pub(super) at: Instant,
    pub(super) ready_at: Timestamp,
    pub(super) failed_open: bool,
}

impl Reservation {
    /// Returns when they may be used, by the clock of this process.
    #[must_use]
    pub fn ready_at(&self) -> Timestamp {
        self.ready_at
    }

    /// Returns how long it still is until they may be used.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.at.saturating_duration_since(self.clock.instant())
    }

    /// Tells whether they were given only because the store could not say, see [`Decision::Allowed`].
    #[must_use]
    pub fn failed_open(&self) -> bool {
        self.failed_open
    }

    /// Waits until they may be used.
    ///
    /// # Cancel safety
    ///
    /// Safe: it can be called again. Whoever never does has spent the cells for nothing.
    pub async fn ready(&self) {
        // Timers have their own idea of a millisecond; nobody is let through before it is time.
        while let wait = self.wait()
            && !wait.is_zero()
        {
            self.clock.sleep(wait).await;
        }
    }
}
