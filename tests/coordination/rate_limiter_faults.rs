//! The shared limiter before a store that conflicts, loses answers, is slow, and goes away.

use crate::{
    judge::judge,
    rate_limiter::{allowed, millis, process, quota, space},
};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Decision, Outage, RateLimiter},
    core::coordination::Quota,
    testing::{
        Dice,
        faulty::{Fault, FaultyStore, Odds},
        pass,
    },
};
use futures_util::future::join_all;
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

#[tokio::test(start_paused = true)]
async fn nobody_passes_while_the_store_is_away() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap().deadline(millis(500));
    store.plan(|_| Some(Fault::Unavailable));
    for limiter in [limiter.clone(), limiter.clone().leased(NonZeroU32::MIN).unwrap()] {
        let answers = [limiter.check_one().await.map(drop), limiter.until_ready().await.map(drop)];
        for answer in answers {
            assert!(matches!(&answer, Err(CoordinationError::Cell { source: CellError::Unavailable(_), .. })), "{answer:?}");
        }
    }
    store.behave();
    assert_eq!(limiter.check_one().await.unwrap(), allowed(2), "and nothing is spent");
}

/// G3: an error of a read is not an absent key.
#[tokio::test(start_paused = true)]
async fn a_limiter_that_cannot_be_read_is_not_a_fresh_one() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let slow = Quota::per_minute(1).unwrap();
    RateLimiter::new(&space, "smtp", slow).unwrap().check_one().await.unwrap();
    let other = RateLimiter::new(&process(&space, &store), "smtp", slow).unwrap().deadline(millis(500));
    store.plan(|call| (!call.op.writes()).then_some(Fault::Unavailable));
    let refused = other.check_one().await;
    assert!(matches!(refused, Err(CoordinationError::Cell { source: CellError::Unavailable(_), .. })), "{refused:?}");
    store.behave();
    assert!(!other.check_one().await.unwrap().is_allowed());
}

/// G2: everyone who contends for a key gets an answer, and together they get the burst.
#[tokio::test(start_paused = true)]
async fn sixty_four_processes_at_one_key_all_get_an_answer() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    store.odds(Odds { latency: millis(3), ..Odds::default() });
    let quota = Quota::per_minute(1).unwrap().burst(40).unwrap();
    let limiters = (0..64).map(|_| RateLimiter::new(&process(&space, &store), "smtp", quota).unwrap());
    let answers = join_all(limiters.map(async |limiter| limiter.check_one().await.unwrap().is_allowed())).await;
    assert_eq!(answers.iter().filter(|allowed| **allowed).count(), 40);
}

#[tokio::test(start_paused = true)]
async fn everyone_passes_while_the_store_is_away_when_that_was_asked_for_and_is_told_so() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap();
    let limiter = limiter.deadline(millis(500)).on_outage(Outage::FailOpen);
    assert_eq!(limiter.check(3).await.unwrap(), allowed(0));
    store.plan(|_| Some(Fault::Unavailable));
    let start = space.clock().now();
    for _ in 0..5 {
        assert_eq!(limiter.check(2).await.unwrap(), Decision::Allowed { remaining: 0, failed_open: true });
    }
    let reservation = limiter.until_ready_n(3).await.unwrap();
    assert!(reservation.failed_open() && reservation.wait().is_zero());
    assert!(space.clock().now().since(start) >= millis(3000), "each tries until its deadline");
    store.behave();
    let decision = limiter.check(3).await.unwrap();
    assert_eq!(decision, allowed(0), "then the quota is kept again");
    assert!(!limiter.check_one().await.unwrap().is_allowed());
    // What is no outage is an error as ever.
    let other = RateLimiter::new(&space, "smtp", Quota::per_second(1).unwrap()).unwrap().on_outage(Outage::FailOpen);
    assert!(matches!(other.check_one().await, Err(CoordinationError::Mismatch { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_spent_counts_as_spent_and_admits_nobody() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap().deadline(millis(500));
    limiter.check_one().await.unwrap();
    // It happens, and nothing can be heard of it.
    store.plan(|call| Some(if call.op.writes() { Fault::Unknown { applied: true } } else { Fault::Unavailable }));
    let lost = limiter.check(2).await;
    assert!(matches!(lost, Err(CoordinationError::Cell { source: CellError::Unknown(_), .. })), "{lost:?}");
    store.behave();
    // Some 500 ms have passed: the bucket is full again, so the schedule is looked at from another process.
    let fresh = RateLimiter::new(&space, "smtp", quota()).unwrap();
    assert_eq!(fresh.check(3).await.unwrap(), allowed(0));

    let slow = Quota::per_minute(1).unwrap().burst(3).unwrap();
    let limiter = RateLimiter::new(&process(&space, &store), "slow", slow).unwrap().deadline(millis(500));
    limiter.check_one().await.unwrap();
    store.plan(|call| Some(if call.op.writes() { Fault::Unknown { applied: true } } else { Fault::Unavailable }));
    limiter.check_one().await.unwrap_err();
    store.behave();
    assert_eq!(limiter.check_one().await.unwrap(), allowed(0), "three are spent, and two have passed");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_and_found_counts_once() {
    for applied in [true, false] {
        let space = space().await;
        let store = FaultyStore::over(&space, 1);
        let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap();
        limiter.check_one().await.unwrap();
        store.once(Fault::Unknown { applied }, |call| call.op.writes());
        assert_eq!(limiter.check_one().await.unwrap(), allowed(1), "applied: {applied}");
        assert_eq!(limiter.check_one().await.unwrap(), allowed(0), "applied: {applied}");
    }
}

/// Whoever stood in line during an outage is dated when it was decided: all of them together have one burst.
#[tokio::test(start_paused = true)]
async fn those_who_waited_for_the_store_share_one_burst() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap();
    store.plan(|_| Some(Fault::Unavailable));
    let come = (0..50_u64).map(|caller| {
        let (limiter, caller) = (limiter.clone(), Duration::from_millis(100 * caller));
        async move {
            pass(caller).await;
            limiter.check_one().await
        }
    });
    let back = async {
        pass(Duration::from_secs(5)).await;
        store.behave();
    };
    let (answers, ()) = tokio::join!(join_all(come), back);
    let passed = answers.iter().filter(|answer| matches!(answer, Ok(Decision::Allowed { .. }))).count();
    // The first one asks again by himself, and the others together within a second of it: a burst and one. Dated when they came,
    // all would pass.
    assert!((3..=4).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_when_it_would_be_decided_spends_nothing() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let slow = Quota::per_minute(1).unwrap().burst(3).unwrap();
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", slow).unwrap();
    store.hold();
    let gone = limiter.until_ready_n_within(2, millis(100)).await;
    assert!(matches!(gone, Err(CoordinationError::Deadline(_))), "{gone:?}");
    store.resume();
    assert_eq!(limiter.check_one().await.unwrap(), allowed(2));
}

/// Recorded histories of several processes, with lost answers, conflicts, outages and slow answers: no span has more than the
/// quota, whatever is told and whatever is not.
#[tokio::test(start_paused = true)]
async fn no_fault_admits_more_than_the_quota() {
    for seed in 0..24 {
        let space = space().await;
        let store = FaultyStore::over(&space, seed);
        let mut dice = Dice::new(seed);
        let odds = Odds { unknown: 60, conflict: 80, unavailable: 60, latency: millis(dice.roll(60)) };
        let quota = Quota::per_second(u32::try_from(20 + dice.roll(100)).unwrap()).unwrap();
        let quota = quota.burst(u32::try_from(3 + dice.roll(20)).unwrap()).unwrap();
        let admitted = Arc::new(Mutex::new(Vec::new()));
        store.odds(odds);
        let processes: Vec<_> = (0..3).map(|_| process(&space, &store)).collect();
        let tasks = (0..9_u64).map(|task| {
            let (space, admitted) = (processes[usize::try_from(task % 3).unwrap()].clone(), Arc::clone(&admitted));
            let mut dice = Dice::new(seed * 100 + task);
            async move {
                let limiter = RateLimiter::new(&space, "smtp", quota).unwrap().deadline(millis(2000));
                let limiter = if task < 3 { limiter.leased(NonZeroU32::new(3).unwrap()).unwrap() } else { limiter };
                for _ in 0..30 {
                    pass(Duration::from_micros(dice.roll(50_000))).await;
                    let cells = u32::try_from(1 + dice.roll(3)).unwrap();
                    let called = space.clock().now();
                    let passed = match dice.roll(3) {
                        0 => limiter.until_ready_n_within(cells, millis(dice.roll(1000))).await.is_ok(),
                        _ => limiter.check(cells).await.is_ok_and(|decision| decision.is_allowed()),
                    };
                    if passed {
                        let (called, now) = (called.as_micros(), space.clock().now().as_micros());
                        admitted.lock().unwrap().push((called, now, cells));
                    }
                }
            }
        });
        join_all(tasks).await;
        let admitted = admitted.lock().unwrap();
        assert!(admitted.len() > 20, "seed {seed}: {} passed", admitted.len());
        judge(quota, &admitted, 0);
    }
}
