//! Many seeds of one scenario, and what became of them.

use super::Simulation;
use crate::error::panic_text;
use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What exploring a scenario found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Explored {
    /// How many seeds were run.
    pub seeds: u64,
    /// How much virtual time passed in all of them.
    pub time: Duration,
    /// How many things happened in all of them: polls, calls, messages.
    pub events: u64,
    /// A number that two explorations of the same seeds share only when each did the same things in the same order.
    pub fingerprint: u64,
    /// The seeds that failed, in their order.
    pub failures: Vec<Failure>,
}

/// A seed in which the scenario did not hold. The same seed fails again in the same way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What the scenario complained about.
    pub complaint: String,
    /// The end of the story.
    pub story: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}\n\nwhat happened before:\n{}", self.seed, self.complaint, self.story)
    }
}

/// Runs a scenario once for each seed, and collects the seeds in which it panics; ends early when `most` have failed.
///
/// Seeds are shared out among `threads`, each of which runs one simulation at a time; what a seed does is the same on any.
///
/// ```
/// use anabranch::testing::sim::explore;
/// use std::time::Duration;
///
/// let found = explore(0..20, 2, 1, |sim| {
///     sim.host("one", |host| async move { Ok(host.clock().sleep(Duration::from_secs(5)).await) });
///     sim.run_for(Duration::from_secs(6));
///     assert!(!sim.is_up("one"));
/// });
/// assert_eq!((found.seeds, found.failures.len()), (20, 0));
/// ```
pub fn explore(seeds: Range<u64>, threads: usize, most: usize, scenario: impl Fn(&mut Simulation) + Sync) -> Explored {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let all = Mutex::new(Explored::default());
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let mut sim = Simulation::new(seed);
            let held = catch_unwind(AssertUnwindSafe(|| scenario(&mut sim)));
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.seeds += 1;
            all.time += sim.elapsed();
            all.events += sim.events();
            // In no order: threads finish as they like.
            all.fingerprint = all.fingerprint.wrapping_add(sim.fingerprint());
            if let Err(panic) = held {
                all.failures.push(Failure { seed, complaint: panic_text(&*panic).to_owned(), story: sim.to_string() });
                if all.failures.len() >= most {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.failures.sort_by_key(|failure| failure.seed);
    all
}
