//! What scenarios of shared objects have in common: clocks that are off, trouble of every kind, and records of what happened.
//!
//! It promises that all of it follows from the simulation's seed. It does not know what is tried.

use anabranch::{
    engine::Space,
    testing::{
        Dice,
        sim::{Host, SERVER, Simulation, Trouble},
    },
    time::{Instant, Timestamp},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

/// When every simulation begins: 2026-01-01T00:00:00Z.
const ORIGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Returns chances that the seed decides, other ones than those of the simulation itself.
pub(crate) fn dice(sim: &Simulation) -> Dice {
    Dice::new(sim.seed().wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5EED)
}

/// How a host's clocks are off.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Skew {
    pub(crate) ahead_micros: i64,
    pub(crate) drift_ppm: i64,
}

impl Skew {
    /// Draws a clock that is off by at most so much either way; often the most, since that is where promises end.
    pub(crate) fn draw(dice: &mut Dice, ahead: Duration, drift_ppm: i64) -> Self {
        let most = i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX);
        let mut off = |most: i64| match dice.roll(4) {
            0 => -most,
            1 => most,
            2 => 0,
            _ => i64::try_from(dice.roll(2 * most.unsigned_abs() + 1)).unwrap_or(0) - most,
        };
        Self { ahead_micros: off(most), drift_ppm: off(drift_ppm) }
    }

    pub(crate) fn set(self, sim: &mut Simulation, host: &str) {
        sim.skew(host, self.ahead_micros, self.drift_ppm);
    }

    /// Returns by how much the host's clock is ahead of the true time, in microseconds, so many microseconds after the beginning.
    pub(crate) fn ahead_at(self, elapsed: i64) -> i64 {
        self.ahead_micros + elapsed * self.drift_ppm / 1_000_000
    }

    /// Returns how many millionths of a second its clocks count in a second.
    fn pace(self) -> u128 {
        u128::try_from(1_000_000 + self.drift_ppm).unwrap_or(1_000_000)
    }

    /// Returns when, in microseconds of the true time, the host's clock will show an instant.
    pub(crate) fn true_instant(self, host: &Host, at: Instant) -> u64 {
        let left = at.saturating_duration_since(host.clock().instant());
        micros(host) + u64::try_from(left.as_micros() * 1_000_000 / self.pace()).unwrap_or(u64::MAX / 2)
    }

    /// Returns when, in microseconds of the true time, the host's clock shows a time of day.
    pub(crate) fn true_time(self, at: Timestamp) -> u64 {
        let counted = i128::from(at.as_micros()) - i128::from(ORIGIN.as_micros()) - i128::from(self.ahead_micros);
        u64::try_from(u128::try_from(counted).unwrap_or(0) * 1_000_000 / self.pace()).unwrap_or(u64::MAX / 2)
    }
}

/// Returns the true time in microseconds, for records.
pub(crate) fn micros(host: &Host) -> u64 {
    u64::try_from(host.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Lets everything go wrong that can, each seed in its own mixture: hosts are killed, stand still, are cut off and lose messages, and the
/// server is killed and loses power. `every` is the time between two of a kind.
pub(crate) fn everything_goes_wrong(sim: &mut Simulation, dice: &mut Dice, hosts: &[&str], every: Duration) {
    // What is nearly too late is only seen where answers are quick.
    let slowest = if dice.roll(2) == 0 { 2 } else { 40 };
    for host in hosts {
        let loss = u16::try_from(dice.roll(30)).unwrap_or(0);
        sim.loss(host, loss);
        // A slow link, whose answers come when a part of a lease is over, shows who counts from the answer.
        let most = if dice.roll(4) == 0 { 300 } else { 1 + dice.roll(slowest) };
        sim.latency(host, MILLISECOND, Duration::from_millis(most));
    }
    let kinds = [
        Trouble::crash(every).lasting(SECOND).of(hosts.iter().copied()),
        Trouble::pause(every).lasting(3 * SECOND).of(hosts.iter().copied()),
        Trouble::cut(every).lasting(2 * SECOND).of(hosts.iter().copied()),
        Trouble::broken_connection(every / 2).of(hosts.iter().copied()),
        Trouble::crash(2 * every).lasting(SECOND).of([SERVER]),
        Trouble::power_loss(3 * every).lasting(SECOND).of([SERVER]),
        Trouble::pause(3 * every).lasting(SECOND).of([SERVER]),
    ];
    for kind in kinds {
        if dice.roll(4) > 0 {
            sim.trouble(kind);
        }
    }
}

/// Ends all trouble, also that of the network.
pub(crate) fn calm(sim: &mut Simulation, hosts: &[&str]) {
    sim.calm();
    for host in hosts {
        sim.loss(host, 0);
        sim.latency(host, MILLISECOND, 5 * MILLISECOND);
    }
}

/// Opens the space that everybody shares, as soon as that goes.
pub(crate) async fn space(host: &Host) -> Space {
    loop {
        match host.engine().space("shop").await {
            Ok(space) => return space,
            Err(_) => host.clock().sleep(SECOND / 2).await,
        }
    }
}

/// Waits for less than so long, by chance.
pub(crate) async fn idle(host: &Host, most: Duration) {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    host.clock().sleep(Duration::from_micros(host.roll(micros.max(1)))).await;
}

/// A list that all hosts write to, which is the observer's and outlives them.
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for Log<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl<T> Log<T> {
    pub(crate) fn push(&self, event: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Looks at everything that was written.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn len(&self) -> usize {
        self.look(<[T]>::len)
    }
}

/// Tells all hosts to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closing(Arc<AtomicBool>);

impl Closing {
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tells all hosts to end, and waits until they have.
pub(crate) fn close(sim: &mut Simulation, closing: &Closing, hosts: &[&str], limit: Duration) {
    closing.close();
    let ended = sim.run_until(limit, |sim| hosts.iter().all(|host| !sim.is_up(host)));
    assert!(ended, "not all hosts have ended {limit:?} after they were told to");
}
