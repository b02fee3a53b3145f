//! Cells that a process hands out by itself, in virtual time.

use crate::{
    judge::judge,
    rate_limiter::{allowed, counted, millis, process, quota, space},
};
use anabranch::{
    coordination::{Decision, RateLimiter},
    core::coordination::Quota,
    testing::{Dice, faulty::FaultyStore, pass},
};
use futures_util::future::join_all;
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn hundred() -> Quota {
    Quota::per_second(100).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_block_is_handed_out_without_asking_the_store() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", hundred()).unwrap().leased(n(20)).unwrap();
    let (reads, writes) = counted(&store);
    for call in 0..40 {
        assert!(limiter.check_one().await.unwrap().is_allowed(), "{call}");
    }
    assert_eq!((reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed)), (1, 2), "two blocks of twenty");
    let other = RateLimiter::new(&process(&space, &store), "smtp", hundred()).unwrap();
    assert_eq!(other.check_one().await.unwrap(), allowed(59), "they are spent in the store");
}

#[tokio::test(start_paused = true)]
async fn many_calls_at_once_take_one_block() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", hundred()).unwrap().leased(n(20)).unwrap();
    let calls = join_all((0..30).map(|_| limiter.check_one())).await;
    assert!(calls.iter().all(|d| d.as_ref().unwrap().is_allowed()));
    let other = RateLimiter::new(&process(&space, &store), "smtp", hundred()).unwrap();
    assert_eq!(other.check_one().await.unwrap(), allowed(50), "29 singles and a block of 20");
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_repeated_without_asking_until_it_is_over() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap().leased(n(2)).unwrap();
    limiter.check(3).await.unwrap();
    assert_eq!(limiter.check_one().await.unwrap(), Decision::Denied { retry_in: millis(100) });
    let (reads, writes) = counted(&store);
    pass(millis(60)).await;
    assert_eq!(limiter.check_one().await.unwrap(), Decision::Denied { retry_in: millis(40) });
    assert_eq!((reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(limiter.check(2).await.unwrap(), Decision::Denied { retry_in: millis(140) }, "of others it is asked");
    pass(millis(140)).await;
    assert!(limiter.check_one().await.unwrap().is_allowed());
}

#[tokio::test(start_paused = true)]
async fn a_changed_quota_ends_blocks_and_denials() {
    let space = space().await;
    let old = RateLimiter::new(&space, "smtp", quota()).unwrap();
    old.check(3).await.unwrap();
    let new = RateLimiter::new(&space, "smtp", Quota::per_second(1000).unwrap()).unwrap().leased(n(2)).unwrap();
    new.change_quota().await.unwrap();
    assert_eq!(new.check(997).await.unwrap(), allowed(0));
    assert!(!new.check_one().await.unwrap().is_allowed());
    let wider = RateLimiter::new(&space, "smtp", quota()).unwrap();
    wider.change_quota().await.unwrap();
    new.change_quota().await.unwrap();
    pass(millis(2)).await;
    assert!(new.check_one().await.unwrap().is_allowed());
}

#[tokio::test(start_paused = true)]
async fn waiters_take_what_is_at_hand_and_stand_in_line_for_the_rest() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap().leased(n(2)).unwrap();
    let waits = [0, 0, 0, 100, 200].map(millis);
    for wait in waits {
        assert_eq!(limiter.reserve(1).await.unwrap().wait(), wait);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_keys_that_were_touched_leave_nothing_behind() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let space = process(&space, &store);
    // What opening the space has begun is over.
    pass(Duration::from_secs(20)).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let limiter = RateLimiter::new(&space, "api", Quota::per_second(10).unwrap()).unwrap().leased(n(5)).unwrap();
    for chunk in 0..100 {
        let keys = (0..100).map(|key| limiter.key(&format!("customer-{}", chunk * 100 + key)).unwrap());
        join_all(keys.map(async |key| assert!(key.check_one().await.unwrap().is_allowed()))).await;
    }
    assert!(limiter.keys_at_hand() > 5000, "{} are used", limiter.keys_at_hand());
    assert!(alive() > before);
    pass(Duration::from_secs(20)).await;
    assert_eq!((limiter.keys_at_hand(), alive()), (0, before));
    // And it begins anew.
    assert!(limiter.key("customer-1").unwrap().check_one().await.unwrap().is_allowed());
    assert_eq!(limiter.keys_at_hand(), 1);
    // What is left goes with the limiter.
    pass(Duration::from_secs(20)).await;
    let long = Quota::new(10, Duration::from_secs(3600)).unwrap();
    let hourly = RateLimiter::new(&space, "hourly", long).unwrap().leased(n(5)).unwrap();
    hourly.check_one().await.unwrap();
    pass(Duration::from_secs(200)).await;
    assert_eq!((hourly.keys_at_hand(), alive()), (1, before + 1));
    drop(hourly);
    pass(millis(1)).await;
    assert_eq!(alive(), before);
}

/// Several processes, each with its own blocks and its own crashes, at random moments.
#[tokio::test(start_paused = true)]
async fn processes_with_blocks_never_exceed_the_quota() {
    for seed in 0..12 {
        let space = space().await;
        let store = FaultyStore::over(&space, seed);
        let mut dice = Dice::new(seed);
        let quota = Quota::per_second(u32::try_from(1 + dice.roll(300)).unwrap()).unwrap();
        let quota = quota.burst(u32::try_from(1 + dice.roll(40)).unwrap()).unwrap();
        let admitted = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..6_u64).map(|task| {
            let block = n(1 + u32::try_from(dice.roll(u64::from(quota.most_at_once().get()))).unwrap());
            let (space, admitted, mut dice) = (process(&space, &store), Arc::clone(&admitted), Dice::new(seed * 100 + task));
            async move {
                let start = || RateLimiter::new(&space, "smtp", quota).unwrap().leased(block).unwrap();
                let mut limiter = start();
                for _ in 0..100 {
                    pass(Duration::from_micros(dice.roll(20_000))).await;
                    let called = space.clock().now();
                    let passed = match dice.roll(40) {
                        // A crash.
                        0 => {
                            limiter = start();
                            false
                        }
                        1..10 => limiter.until_ready_within(millis(dice.roll(100))).await.is_ok(),
                        _ => limiter.check_one().await.unwrap().is_allowed(),
                    };
                    if passed {
                        let (called, now) = (called.as_micros(), space.clock().now().as_micros());
                        admitted.lock().unwrap().push((called, now, 1));
                    }
                }
            }
        });
        join_all(tasks).await;
        let admitted = admitted.lock().unwrap();
        assert!(admitted.len() > 30, "seed {seed}: {} passed", admitted.len());
        judge(quota, &admitted, 0);
    }
}
