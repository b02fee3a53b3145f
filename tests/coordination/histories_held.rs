//! Recorded histories of a lock and of a semaphore under faults, checked for linearizability.

use super::{
    held::{LEASE, process, space, spawn},
    recorded::{Units, UnitsOp, use_lock, use_units},
    recorder::Recorder,
};
use anabranch::{
    coordination::{Lock, Semaphore},
    engine::Space,
    testing::{
        Dice,
        check::{self, LockOp, LockRet},
        faulty::Odds,
        pass,
    },
};
use std::{num::NonZeroU32, time::Duration};

const ODDS: Odds = Odds { unknown: 80, conflict: 80, unavailable: 80, latency: Duration::from_millis(300) };

/// Processes that are cut off now and then, and whose stores misbehave meanwhile.
async fn disturbed<F, Fut>(space: &Space, seed: u64, client: F) -> u32
where
    F: Fn(Space, Dice) -> Fut,
    Fut: Future<Output = u32> + Send + 'static,
{
    let (mut stores, mut tasks) = (Vec::new(), Vec::new());
    let mut dice = Dice::new(seed);
    for _ in 0..3 {
        let (own, store) = process(space, dice.number());
        store.odds(ODDS);
        stores.push(store);
        for _ in 0..2 {
            tasks.push(spawn(client(own.clone(), Dice::new(dice.number()))));
        }
    }
    for _ in 0..5 {
        pass(Duration::from_millis(dice.roll(20_000))).await;
        let store = &stores[usize::try_from(dice.roll(3)).unwrap()];
        store.hold();
        pass(Duration::from_millis(dice.roll(25_000))).await;
        store.resume();
    }
    for store in &stores {
        store.behave();
    }
    let mut held = 0;
    for task in tasks {
        held += task.await.unwrap();
    }
    held
}

#[tokio::test(start_paused = true)]
async fn the_history_of_a_lock_under_faults_is_linearizable() {
    for seed in 1..=10 {
        let space = space().await;
        let history = Recorder::new(check::Lock);
        let clock = space.clock().clone();
        let held = disturbed(&space, seed, |own, dice| {
            use_lock(Lock::new(&own, "l", LEASE).unwrap(), clock.clone(), history.clone(), 5, dice, 6000)
        });
        let held = held.await;
        assert!(held >= 15, "seed {seed}: only {held} of 30 were granted");
        history.judge().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_history_of_a_semaphore_under_faults_is_linearizable() {
    for seed in 1..=10 {
        let space = space().await;
        let history = Recorder::new(Units(3));
        let clock = space.clock().clone();
        let held = disturbed(&space, seed, |own, dice| {
            let semaphore = Semaphore::new(&own, "s", NonZeroU32::new(3).unwrap(), LEASE).unwrap();
            use_units(semaphore, 3, clock.clone(), history.clone(), 5, dice, 6000)
        });
        let held = held.await;
        assert!(held >= 15, "seed {seed}: only {held} of 30 were granted");
        history.judge().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

#[test]
fn a_history_with_two_holders_or_a_token_that_does_not_grow_is_not_linearizable() {
    let two = |second: u64, lose_first: bool| {
        let history = Recorder::new(check::Lock);
        let done = |who, op, ret| history.ends(history.begins(who, op), ret);
        done(1, LockOp::Acquire, LockRet::Token(5));
        if lose_first {
            done(1, LockOp::Lose(5), LockRet::Done);
        }
        done(2, LockOp::Acquire, LockRet::Token(second));
        if !lose_first {
            done(1, LockOp::Lose(5), LockRet::Done);
        }
        history.judge().is_ok()
    };
    assert!(two(6, true));
    assert!(!two(6, false), "told too late");
    assert!(!two(5, true) && !two(4, true), "the token does not grow");
    let history = Recorder::new(Units(2));
    let done = |who, op| history.ends(history.begins(who, op), ());
    history.begins(3, UnitsOp::Acquire(3, 2));
    done(1, UnitsOp::Acquire(1, 2));
    assert!(history.judge().is_ok());
    done(2, UnitsOp::Acquire(2, 1));
    assert!(history.judge().is_err(), "three of two are held");
}
