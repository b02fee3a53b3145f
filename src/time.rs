//! Clocks, sleeps and randomness: the one room that may touch them.
//!
//! Everything else asks a [`Clock`], so a test can run hours in milliseconds; `clippy.toml` bans the originals elsewhere.
//! Wall time ([`Timestamp`]) is for what is stored and shown; intervals inside one process use the monotonic
//! [`Instant`], because wall clocks of two machines disagree and one machine's may jump.
#![expect(clippy::disallowed_methods, reason = "this is the room that the lint points to")]

mod chance;

pub use chance::{Backoff, nonce, unique};
#[cfg(feature = "testing")]
pub use chance::{Chance, take_chances_from};

use futures_util::FutureExt as _;
#[cfg(feature = "testing")]
use futures_util::future::{BoxFuture, Either, select};
#[cfg(feature = "testing")]
use std::sync::Arc;
use std::{fmt, future::Future, time::Duration};
pub use tokio::time::Instant;

/// A point in wall time: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// Makes a timestamp from microseconds since the Unix epoch; any value is valid.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Makes a timestamp from milliseconds since the Unix epoch, saturating at the ends of the range.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Returns the microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns how long `self` comes after `earlier`, or zero when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_micros)
    }

    /// Parses RFC 3339, such as `2026-01-31T09:00:00Z`.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    /// Adds a duration, saturating at the end of the range.
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC; a value outside the years that RFC 3339 can express is written as microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// Where the time comes from: the system, or a test that moves it by hand.
///
/// ```
/// use anabranch::time::Clock;
/// let clock = Clock::system();
/// assert!(clock.now() <= clock.now());
/// ```
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    /// The system's, and so many microseconds more.
    #[cfg(feature = "testing")]
    Skewed(i64),
    #[cfg(feature = "testing")]
    Virtual {
        origin: Timestamp,
        started: Instant,
    },
    #[cfg(feature = "testing")]
    Own(Arc<dyn Timeline>),
}

/// Time of another making, such as that of a simulation, where each process has a clock that is wrong in its own way.
#[cfg(feature = "testing")]
pub trait Timeline: Send + Sync + 'static {
    /// Returns the wall time.
    fn now(&self) -> Timestamp;

    /// Returns the monotonic time.
    fn instant(&self) -> Instant;

    /// Waits for `duration` of this time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock::system",
            #[cfg(feature = "testing")]
            Source::Skewed(_) => "Clock::skewed",
            #[cfg(feature = "testing")]
            Source::Virtual { .. } => "Clock::paused",
            #[cfg(feature = "testing")]
            Source::Own(_) => "Clock::of",
        })
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// Returns the machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that starts at `origin` and then follows tokio's clock, which a test pauses and advances.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn following_tokio(origin: Timestamp) -> Self {
        Self(Source::Virtual { origin, started: Instant::now() })
    }

    /// Returns the machine's clock, ahead by so many microseconds, or behind where they are negative: what a process has whose machine
    /// was set wrongly.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn skewed(micros: i64) -> Self {
        Self(Source::Skewed(micros))
    }

    /// Returns a clock that shows the time of `timeline`.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn of(timeline: Arc<dyn Timeline>) -> Self {
        Self(Source::Own(timeline))
    }

    /// Returns the wall time. It may jump: never measure an interval with it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Timestamp(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
            }
            #[cfg(feature = "testing")]
            Source::Skewed(micros) => Timestamp(Self::system().now().0.saturating_add(*micros)),
            #[cfg(feature = "testing")]
            Source::Virtual { origin, started } => *origin + started.elapsed(),
            #[cfg(feature = "testing")]
            Source::Own(timeline) => timeline.now(),
        }
    }

    /// Returns the monotonic time, good only inside this process.
    #[must_use]
    pub fn instant(&self) -> Instant {
        match &self.0 {
            #[cfg(feature = "testing")]
            Source::Own(timeline) => timeline.instant(),
            _ => Instant::now(),
        }
    }

    /// Waits for `duration`.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped sleep holds nothing.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            #[cfg(feature = "testing")]
            Source::Own(timeline) => timeline.sleep(duration).await,
            _ => tokio::time::sleep(duration).await,
        }
    }

    /// Waits until the wall clock shows `at`; returns at once when it already does.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped sleep holds nothing.
    pub async fn sleep_until(&self, at: Timestamp) {
        self.sleep(at.since(self.now())).await;
    }

    /// Runs `future` for at most `limit`; `None` when time ran out.
    ///
    /// # Cancel safety
    ///
    /// As safe as `future`, which is dropped when time runs out.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> impl Future<Output = Option<F::Output>> + use<F> {
        #[cfg(feature = "testing")]
        if let Source::Own(timeline) = &self.0 {
            let ended = select(Box::pin(future), timeline.sleep(limit));
            return Either::Left(ended.map(|first| match first {
                Either::Left((output, _)) => Some(output),
                Either::Right(_) => None,
            }));
        }
        // Not `async`: what is moved into such a function has its place twice.
        let ended = tokio::time::timeout(limit, future).map(Result::ok);
        #[cfg(feature = "testing")]
        let ended = Either::Right(ended);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_render_and_parse_as_rfc_3339() {
        let t = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(t.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::parse_rfc3339(&t.to_string()), Some(t));
        assert_eq!(Timestamp::parse_rfc3339("tomorrow"), None);
    }

    #[cfg(feature = "testing")]
    #[test]
    fn a_skewed_clock_is_ahead_or_behind_by_what_was_said() {
        let (before, ahead) = (Clock::system().now(), Clock::skewed(600_000_000).now());
        assert!(ahead.since(before) >= Duration::from_secs(600) && ahead.since(before) < Duration::from_secs(660));
        let behind = Clock::skewed(-600_000_000).now();
        assert!(Clock::system().now().since(behind) >= Duration::from_secs(600));
    }

    #[test]
    fn a_difference_of_timestamps_is_never_negative() {
        let (a, b) = (Timestamp::from_millis(1), Timestamp::from_millis(3));
        assert_eq!(b.since(a), Duration::from_millis(2));
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(Timestamp::from_micros(i64::MAX) + Duration::from_secs(1), Timestamp::from_micros(i64::MAX));
    }
}
