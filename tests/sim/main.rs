//! The simulation itself: that one seed is one execution, and that it does to hosts what it says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod every_point;
mod hosts;
mod latch;
mod once;
mod router;
mod shop;
#[path = "../simulation/stage.rs"]
#[expect(dead_code, reason = "the scenarios of `tests/simulation` need more of it")]
mod stage;
mod windows;

use anabranch::testing::{
    seeds,
    sim::{Simulation, Trouble, explore},
};
use shop::{Shop, WORKERS};
use std::{collections::BTreeMap, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

/// Tries a scenario with so many seeds, and the first one twice; fails with the story of the first that does not hold.
fn try_seeds(most: u64, scenario: impl Fn(&mut Simulation) + Sync) {
    let seeds = seeds(most);
    let first = seeds.start..seeds.start + 1;
    let found = explore(seeds, 1, 1, &scenario);
    if let Some(failure) = found.failures.first() {
        panic!("{failure}");
    }
    assert!(found.seeds > 0, "there is nothing to try");
    let once = || explore(first.clone(), 1, 1, &scenario).fingerprint;
    assert_eq!(once(), once(), "two executions of the seed {} differ", first.start);
}

#[test]
fn one_seed_is_one_execution() {
    for seed in 0..20 {
        let run = move || {
            let mut sim = Simulation::new(seed);
            let shop = Shop::open(&mut sim);
            for name in WORKERS {
                sim.loss(name, 20);
            }
            sim.trouble(Trouble::crash(10 * SECOND).lasting(2 * SECOND).of(WORKERS));
            sim.trouble(Trouble::pause(10 * SECOND).lasting(4 * SECOND).of(WORKERS));
            sim.trouble(Trouble::cut(20 * SECOND).lasting(2 * SECOND).of(WORKERS));
            sim.trouble(Trouble::power_loss(30 * SECOND).of(["server"]));
            Shop::order(&mut sim, 5);
            sim.run_for(60 * SECOND);
            (sim.fingerprint(), sim.events(), shop.done(), sim.to_string())
        };
        // The story is for whoever looks for what differs. Another thread has other keys in its hash maps.
        let other = std::thread::spawn(run).join().unwrap();
        let (mine, other) = (run(), other);
        let differs = mine.3.lines().zip(other.3.lines()).find(|(mine, other)| mine != other);
        assert_eq!((mine.0, mine.1, mine.2), (other.0, other.1, other.2), "seed {seed}: {differs:?}");
    }
}

#[test]
fn seeds_differ() {
    let fingerprints: BTreeMap<_, _> = (0..10)
        .map(|seed| {
            let mut sim = Simulation::new(seed);
            Shop::open(&mut sim);
            Shop::order(&mut sim, 1);
            sim.run_for(SECOND);
            (sim.fingerprint(), seed)
        })
        .collect();
    assert_eq!(fingerprints.len(), 10);
}

#[test]
fn a_run_survives_a_crash_at_every_await_point() {
    let run = |crash: Option<u64>| {
        let mut sim = Simulation::new(7);
        let shop = Shop::open(&mut sim);
        sim.crash("two");
        if let Some(poll) = crash {
            sim.crash_at_poll("one", poll);
        }
        Shop::order(&mut sim, 1);
        let died = sim.run_until(20 * SECOND, |sim| !sim.is_up("one"));
        let polls = sim.polls("one");
        sim.start("two");
        let result = shop.outcome(&mut sim, 1);
        (polls, died, result, shop.done())
    };
    let (polls, died, result, done) = run(None);
    assert!(!died && polls > 100, "{polls} polls");
    assert_eq!((result, done.len()), (Shop::result(0), 4));
    for poll in 1..=polls {
        let (_, died, result, done) = run(Some(poll));
        assert!(died, "nobody died at poll {poll} of {polls}");
        assert_eq!(result, Shop::result(0), "after a crash at poll {poll}");
        // Each body may have run once more, and none after it was stored that it was done: see the scenarios of runs.
        assert!((4..=8).contains(&done.len()), "after a crash at poll {poll}: {done:?}");
    }
}
