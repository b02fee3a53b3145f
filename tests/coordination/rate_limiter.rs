//! The shared limiter on the embedded engine, in virtual time.

use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Decision, RateLimiter},
    core::coordination::Quota,
    engine::{Engine, Expect, Key, PutOptions, Revision, Space, Store},
    testing::{
        faulty::{FaultyStore, Op},
        pass,
    },
    time::{Clock, Timestamp},
};
use futures_util::future::join_all;
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) async fn space() -> Space {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    Engine::open_with("memory:", clock).await.unwrap().space("limits").await.unwrap()
}

/// Another process on the same store.
pub(crate) fn process(space: &Space, store: &Arc<FaultyStore>) -> Space {
    space.clone().with_store(Arc::clone(store) as Arc<dyn Store>)
}

/// Counts what is asked of a store: reads, and writes.
pub(crate) fn counted(store: &FaultyStore) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (reads, writes) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let counts = (Arc::clone(&reads), Arc::clone(&writes));
    store.plan(move |call| {
        match call.op {
            Op::Read => reads.fetch_add(1, Ordering::Relaxed),
            _ => writes.fetch_add(1, Ordering::Relaxed),
        };
        None
    });
    counts
}

/// Ten a second, three at once.
pub(crate) fn quota() -> Quota {
    Quota::per_second(10).unwrap().burst(3).unwrap()
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

pub(crate) fn allowed(remaining: u32) -> Decision {
    Decision::Allowed { remaining, failed_open: false }
}

async fn revision(space: &Space, key: &str) -> Option<Revision> {
    space.store().get(&Key::new(key).unwrap()).await.unwrap().map(|entry| entry.revision)
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_at_once_and_the_next_is_told_when_it_may() {
    let limiter = RateLimiter::new(&space().await, "smtp", quota()).unwrap();
    assert_eq!(limiter.check_one().await.unwrap(), allowed(2));
    assert_eq!(limiter.check(2).await.unwrap(), allowed(0));
    let Decision::Denied { retry_in } = limiter.check_one().await.unwrap() else { panic!("nothing is left") };
    assert_eq!(retry_in, millis(100));
    pass(retry_in).await;
    assert!(limiter.check_one().await.unwrap().is_allowed());
}

#[tokio::test(start_paused = true)]
async fn all_limiters_of_a_name_are_one_and_each_key_has_its_own_quota() {
    let space = space().await;
    let (one, other) = (RateLimiter::new(&space, "smtp", quota()).unwrap(), RateLimiter::new(&space, "smtp", quota()).unwrap());
    let seventh = one.key("customer/7 \u{fc}").unwrap();
    assert_eq!(one.check(3).await.unwrap(), allowed(0));
    assert!(!other.check_one().await.unwrap().is_allowed());
    assert_eq!(seventh.check(2).await.unwrap(), allowed(1));
    assert_eq!(other.key("customer/7 \u{fc}").unwrap().check_one().await.unwrap(), allowed(0));
    assert_eq!(seventh.key("customer/8").unwrap().check_one().await.unwrap(), allowed(2), "a key of the limiter");
    assert!(!one.check_one().await.unwrap().is_allowed(), "the limiter itself is none of its keys");
    for name in ["limit.smtp", "limit.smtp.customer/7=20=C3=BC", "limit.smtp.customer/8"] {
        assert!(revision(&space, name).await.is_some(), "{name}");
    }
    assert!(matches!(one.key(""), Err(CoordinationError::Cell { source: CellError::Rejected(_), .. })));
    assert!(RateLimiter::new(&space, "", quota()).is_err());
    assert!(one.key(&"long".repeat(1000)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_denial_writes_nothing() {
    let space = space().await;
    let limiter = RateLimiter::new(&space, "smtp", quota()).unwrap();
    limiter.check(3).await.unwrap();
    let before = revision(&space, "limit.smtp").await;
    for _ in 0..10 {
        assert!(!limiter.check_one().await.unwrap().is_allowed());
    }
    let late = limiter.reserve_within(2, millis(199)).await;
    assert!(matches!(late, Err(CoordinationError::Deadline(name)) if name == "smtp"));
    assert_eq!(revision(&space, "limit.smtp").await, before);
    assert_eq!(limiter.reserve_within(2, millis(200)).await.unwrap().wait(), millis(200), "nothing was spent");
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_together_share_a_write() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiter = RateLimiter::new(&process(&space, &store), "smtp", Quota::per_second(100).unwrap()).unwrap();
    limiter.check_one().await.unwrap();
    let (reads, writes) = counted(&store);
    let all = join_all((0..300).map(|_| limiter.check_one())).await;
    assert_eq!(all.iter().filter(|d| d.as_ref().unwrap().is_allowed()).count(), 99);
    assert!(writes.load(Ordering::Relaxed) <= 2 && reads.load(Ordering::Relaxed) <= 2, "{reads:?} reads, {writes:?} writes");
}

#[tokio::test(start_paused = true)]
async fn waiters_pass_in_the_order_in_which_they_came_and_ask_once() {
    let space = space().await;
    let store = FaultyStore::over(&space, 1);
    let limiters: Vec<_> = (0..3).map(|_| RateLimiter::new(&process(&space, &store), "smtp", quota()).unwrap()).collect();
    // A first one of each process, one after the other; then nine that wait.
    for limiter in &limiters {
        limiter.until_ready().await.unwrap();
    }
    let start = space.clock().instant();
    let (reads, writes) = counted(&store);
    let mut waiters = Vec::new();
    for waiter in 0..9 {
        let (limiter, clock) = (limiters[waiter % 3].clone(), space.clock().clone());
        waiters.push(limiter.reserve(1).await.unwrap());
        assert_eq!(waiters[waiter].wait(), millis(100 * (waiter as u64 + 1)));
        assert_eq!(waiters[waiter].ready_at(), clock.now() + waiters[waiter].wait());
    }
    let asked = (reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed));
    assert!(asked.1 >= 9, "{asked:?}");
    let passed = join_all(waiters.iter().map(async |waiter| {
        waiter.ready().await;
        space.clock().instant() - start
    }));
    for (waiter, passed) in (1..).zip(passed.await) {
        assert!(passed >= millis(100 * waiter) && passed <= millis(100 * waiter + 2), "{waiter} passed after {passed:?}");
    }
    assert_eq!((reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed)), asked, "nobody asks while it waits");
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_has_spent_its_cells() {
    let space = space().await;
    let limiter = RateLimiter::new(&space, "smtp", quota()).unwrap();
    limiter.check(3).await.unwrap();
    assert!(space.clock().timeout(millis(50), limiter.until_ready_n(2)).await.is_none());
    // 50 ms have passed; the two that were given up come after 200, and this one after 300.
    assert_eq!(limiter.reserve(1).await.unwrap().wait(), millis(250));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_be_too_long_ends_at_once() {
    let space = space().await;
    let limiter = RateLimiter::new(&space, "smtp", quota()).unwrap();
    limiter.until_ready_n_within(3, Duration::ZERO).await.unwrap_err();
    limiter.until_ready_n_within(3, millis(1)).await.unwrap();
    let start = space.clock().now();
    for _ in 0..3 {
        let refused = limiter.until_ready_within(millis(99)).await;
        assert!(matches!(refused, Err(CoordinationError::Deadline(_))));
    }
    assert_eq!(space.clock().now(), start, "nobody waited");
    limiter.until_ready_within(millis(100)).await.unwrap();
    assert!(space.clock().now().since(start) >= millis(100));
    // A wait of more than a year is no wait.
    let year = Quota::new(1, Duration::from_secs(300 * 24 * 3600)).unwrap().burst(1).unwrap();
    let yearly = RateLimiter::new(&space, "yearly", year).unwrap();
    yearly.until_ready_within(Duration::MAX).await.unwrap();
    assert_eq!(yearly.reserve(1).await.unwrap().wait(), Duration::from_secs(300 * 24 * 3600));
    assert!(matches!(yearly.until_ready().await, Err(CoordinationError::Deadline(_))));
}

#[tokio::test(start_paused = true)]
async fn no_cells_and_more_than_the_burst_are_refused() {
    let space = space().await;
    let limiter = RateLimiter::new(&space, "smtp", quota()).unwrap();
    for limiter in [limiter.clone(), limiter.clone().leased(NonZeroU32::MIN).unwrap()] {
        for n in [0, 4, u32::MAX] {
            assert!(matches!(limiter.check(n).await, Err(CoordinationError::Invalid(_))));
            assert!(matches!(limiter.reserve(n).await, Err(CoordinationError::Invalid(_))));
            assert!(matches!(limiter.until_ready_n_within(n, millis(9)).await, Err(CoordinationError::Invalid(_))));
        }
    }
    assert!(matches!(limiter.leased(NonZeroU32::new(4).unwrap()), Err(CoordinationError::Invalid(_))));
    assert_eq!(revision(&space, "limit.smtp").await, None);
}

/// G5: what is configured otherwise is said, and never quietly taken over.
#[tokio::test(start_paused = true)]
async fn another_quota_is_refused_until_it_is_changed_and_what_was_spent_stays_spent() {
    let space = space().await;
    let old = RateLimiter::new(&space, "smtp", quota()).unwrap();
    let new = RateLimiter::new(&space, "smtp", Quota::per_second(5).unwrap()).unwrap();
    assert_eq!(new.change_quota().await.unwrap(), None, "nothing is stored");
    old.check(2).await.unwrap();
    let before = revision(&space, "limit.smtp").await;
    for refused in [new.check_one().await.map(drop), new.reserve(1).await.map(drop)] {
        let Err(CoordinationError::Mismatch { object, what, stored, wanted }) = refused else { panic!("{refused:?}") };
        assert_eq!((&*object, what, &*stored, &*wanted), ("smtp", "quota", "10 in 1s, 3 at once", "5 in 1s, 5 at once"));
    }
    assert_eq!(revision(&space, "limit.smtp").await, before, "nothing was overwritten");

    assert_eq!(new.change_quota().await.unwrap(), Some(quota()));
    assert_eq!(new.change_quota().await.unwrap(), None, "it is that already");
    assert!(matches!(old.check_one().await, Err(CoordinationError::Mismatch { .. })));
    assert_eq!(new.check_one().await.unwrap(), allowed(2), "two of five were spent");
}

#[tokio::test(start_paused = true)]
async fn foreign_bytes_are_an_error_and_stay_as_they_are() {
    let space = space().await;
    let key = Key::new("limit.smtp").unwrap();
    let limiter = RateLimiter::new(&space, "smtp", quota()).unwrap();
    for bytes in ["", "{\"tokens\": 3}", "\u{8}\u{1}"] {
        let written = space.store().put(&key, bytes.into(), Expect::Anything, PutOptions::default()).await.unwrap();
        for limiter in [limiter.clone(), limiter.clone().leased(NonZeroU32::MIN).unwrap()] {
            let answers = [
                limiter.check_one().await.map(drop),
                limiter.reserve(1).await.map(drop),
                limiter.change_quota().await.map(drop),
            ];
            for answer in answers {
                let Err(CoordinationError::Cell { source: CellError::Corrupt { revision, .. }, object }) = answer else {
                    panic!("{answer:?}")
                };
                assert_eq!((revision, &*object), (written, "smtp"));
            }
        }
        let stored = space.store().get(&key).await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.value), (written, bytes.into()));
    }
}

/// G15, N2: a TTL belongs to every write, and never ends a state that still matters.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_idle_is_gone_a_minute_after_it_says_nothing_any_more() {
    let space = space().await;
    let slow = Quota::per_minute(1).unwrap().burst(2).unwrap();
    let limiter = RateLimiter::new(&space, "smtp", slow).unwrap();
    limiter.check(2).await.unwrap();
    pass(Duration::from_secs(100)).await;
    limiter.check_one().await.unwrap();
    // Full again 80 s from now.
    pass(Duration::from_secs(139)).await;
    assert!(revision(&space, "limit.smtp").await.is_some());
    pass(Duration::from_secs(2)).await;
    assert_eq!(revision(&space, "limit.smtp").await, None);
    assert_eq!(limiter.check_one().await.unwrap(), allowed(1));
}
