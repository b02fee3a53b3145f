//! Virtual time: who sleeps until when, and what each host takes the time to be.
//!
//! Time stands still while anybody has something to do, and then jumps to the next sleeper. Sleepers of one moment wake up in an order
//! that the seed decides. This file does not know what a host is.

use crate::{
    testing::Dice,
    time::{Clock, Instant, Timeline, Timestamp},
};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, btree_map::OccupiedEntry},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The wall time at which every simulation begins: 2026-01-01T00:00:00Z.
pub(super) const ORIGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The true time, which only the simulation knows, and everyone who waits for it.
pub(super) struct Wheel {
    base: Instant,
    turning: Mutex<Turning>,
}

struct Turning {
    now: Duration,
    /// By the time, then by chance, then by the order of arrival.
    sleepers: BTreeMap<(Duration, u64, u64), Waker>,
    arrivals: u64,
    dice: Dice,
}

impl Wheel {
    pub(super) fn new(dice: Dice) -> Arc<Self> {
        let turning = Turning { now: Duration::ZERO, sleepers: BTreeMap::new(), arrivals: 0, dice };
        Arc::new(Self { base: Clock::system().instant(), turning: Mutex::new(turning) })
    }

    fn turning(&self) -> MutexGuard<'_, Turning> {
        self.turning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how much time has passed.
    pub(super) fn elapsed(&self) -> Duration {
        self.turning().now
    }

    /// Returns when the next sleeper wakes up.
    pub(super) fn next(&self) -> Option<Duration> {
        self.turning().sleepers.first_key_value().map(|((at, ..), _)| *at)
    }

    /// Returns how many sleep.
    pub(super) fn sleepers(&self) -> usize {
        self.turning().sleepers.len()
    }

    /// Moves the time on to `at`, and wakes the first of those who are due, if somebody is.
    pub(super) fn turn(&self, at: Duration) {
        let woken = {
            let mut turning = self.turning();
            turning.now = turning.now.max(at);
            let now = turning.now;
            turning.sleepers.first_entry().filter(|first| first.key().0 <= now).map(OccupiedEntry::remove)
        };
        // Not under the lock: a waker may drop a task, and with it another sleeper.
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    /// Moves the time on to `at`, and wakes nobody.
    pub(super) fn pass_to(&self, at: Duration) {
        let mut turning = self.turning();
        turning.now = turning.now.max(at);
    }

    /// Waits for `duration` of the true time.
    pub(super) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let until = self.turning().now.saturating_add(duration);
        Sleep { wheel: Arc::clone(self), until, place: None }
    }
}

/// Waits for a moment of the true time.
pub(super) struct Sleep {
    wheel: Arc<Wheel>,
    until: Duration,
    place: Option<(Duration, u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let wheel = Arc::clone(&self.wheel);
        let mut turning = wheel.turning();
        if turning.now >= self.until {
            return Poll::Ready(());
        }
        let until = self.until;
        let place = *self.place.get_or_insert_with(|| {
            turning.arrivals += 1;
            (until, turning.dice.number(), turning.arrivals)
        });
        turning.sleepers.insert(place, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        // The waker goes after the lock: it may be the last handle of a task.
        let left = self.place.and_then(|place| self.wheel.turning().sleepers.remove(&place));
        drop(left);
    }
}

/// One host's idea of the time: it may be off, and run fast or slow.
pub(super) struct HostClock {
    wheel: Arc<Wheel>,
    /// How far its wall clock is ahead, in microseconds. It may be set while it runs, as a wall clock may.
    ahead: AtomicI64,
    rate: Mutex<Rate>,
}

/// How a clock runs since it was last set.
#[derive(Clone, Copy, Default)]
struct Rate {
    /// How much faster than the true time, in millionths.
    drift: i64,
    /// The true time when that began.
    since: Duration,
    /// What the clock had counted then: what it has shown stays so.
    counted: Duration,
}

/// How much slower or faster than the true time a clock runs at most, in millionths: half.
const MOST_DRIFT: i64 = 500_000;

impl HostClock {
    pub(super) fn new(wheel: &Arc<Wheel>) -> Arc<Self> {
        Arc::new(Self { wheel: Arc::clone(wheel), ahead: AtomicI64::new(0), rate: Mutex::default() })
    }

    pub(super) fn skew(&self, ahead_micros: i64, drift_ppm: i64) {
        self.ahead.store(ahead_micros, Ordering::Relaxed);
        let (since, counted) = (self.wheel.elapsed(), self.counted());
        *self.rate() = Rate { drift: drift_ppm.clamp(-MOST_DRIFT, MOST_DRIFT), since, counted };
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since the start, as it counts it.
    fn counted(&self) -> Duration {
        let rate = *self.rate();
        let nanos = self.wheel.elapsed().saturating_sub(rate.since).as_nanos() * rate.pace() / 1_000_000;
        rate.counted + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Rate {
    /// Returns how many millionths of a second are counted in a true second.
    fn pace(self) -> u128 {
        u128::try_from(1_000_000 + self.drift).unwrap_or(1_000_000)
    }
}

impl Timeline for HostClock {
    fn now(&self) -> Timestamp {
        let shown = ORIGIN + self.counted();
        Timestamp::from_micros(shown.as_micros().saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    fn instant(&self) -> Instant {
        self.wheel.base + self.counted()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // Rounded up: who wakes up finds that his own clock shows the time.
        let pace = self.rate().pace();
        let nanos = (duration.as_nanos().saturating_mul(1_000_000)).div_ceil(pace);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(u64::from(pace != 1_000_000));
        Box::pin(self.wheel.sleep(Duration::from_nanos(nanos)))
    }
}
