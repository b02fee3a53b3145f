//! What is done once, on the embedded engine.

use super::held::{LEASE, key, process, space, spawn};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Once, OnceError},
    engine::{Expect, PutOptions, Space},
    testing::{
        faulty::{Fault, Odds, Op},
        pass,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

fn once(space: &Space) -> Once<u64> {
    Once::new(space, "o", LEASE).unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_of_all_callers_runs_it_and_everybody_has_its_result() {
    let space = space().await;
    let ran = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for seed in 0..3 {
        let (own, store) = process(&space, seed);
        store.odds(Odds { unknown: 50, conflict: 50, unavailable: 50, latency: Duration::from_millis(20) });
        for _ in 0..5 {
            let (once, ran, clock) = (once(&own), Arc::clone(&ran), space.clock().clone());
            tasks.push(spawn(async move {
                let body = || async {
                    let number = ran.fetch_add(1, Ordering::SeqCst) + 1;
                    clock.timeout(LEASE * 3, std::future::pending::<()>()).await;
                    number
                };
                once.call(body).await.unwrap()
            }));
        }
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(once(&space).get().await.unwrap(), Some(1));
    pass(LEASE * 100).await;
    assert_eq!(once(&space).call(|| async { 2 }).await.unwrap(), 1, "for ever");
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_fails_leaves_it_undone_and_the_next_one_runs_it() {
    let space = space().await;
    let (other, _) = process(&space, 1);
    let failed = once(&space).try_call(|| async { Err::<u64, _>("no paper") }).await;
    assert!(matches!(failed, Err(OnceError::Failed("no paper"))), "{failed:?}");
    assert_eq!(once(&space).get().await.unwrap(), None);
    // One that is dropped in the middle is one that failed.
    let dropped = space.clock().timeout(LEASE, once(&space).call(std::future::pending)).await;
    assert!(dropped.is_none());
    let done = space.clock().timeout(Duration::from_secs(1), once(&other).call(|| async { 7 })).await;
    assert_eq!(done.unwrap().unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_dies_is_replaced_and_its_late_result_is_not_taken() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let clock = space.clock().clone();
    let dying = spawn({
        let (once, clock) = (once(&cut), clock.clone());
        async move {
            let body = || async {
                clock.timeout(LEASE * 3, std::future::pending::<()>()).await;
                1
            };
            once.call(body).await
        }
    });
    pass(LEASE / 10).await;
    store.hold();
    let heir = once(&space);
    let done = clock.timeout(LEASE * 2, heir.call(|| async { 2 })).await.expect("it does not wait for the dead");
    assert_eq!(done.unwrap(), 2);
    store.resume();
    assert!(matches!(dying.await.unwrap(), Err(CoordinationError::Lost(_))));
    assert_eq!(once(&cut).call(|| async { 3 }).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_answer_is_lost_is_stored_once() {
    let space = space().await;
    for (fault, name) in
        [(Fault::Unknown { applied: true }, "a"), (Fault::Unknown { applied: false }, "b"), (Fault::Conflict, "c")]
    {
        let (own, store) = process(&space, 1);
        let once = Once::<u64>::new(&own, name, LEASE).unwrap();
        store.once(fault, |call| call.op == Op::Put && call.writes_below("once."));
        assert_eq!(once.call(|| async { 5 }).await.unwrap(), 5, "{fault:?}");
        assert_eq!(Once::<u64>::new(&space, name, LEASE).unwrap().get().await.unwrap(), Some(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_of_another_type_and_foreign_bytes_are_errors_and_stay() {
    let space = space().await;
    Once::<String>::new(&space, "o", LEASE).unwrap().call(|| async { "text".to_owned() }).await.unwrap();
    let corrupt = |error| matches!(error, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. });
    assert!(corrupt(once(&space).call(|| async { 1 }).await.unwrap_err()));
    assert!(corrupt(once(&space).get().await.unwrap_err()));
    let plain = PutOptions::default();
    let revision = space.store().put(&key("once.o"), "foreign".into(), Expect::Anything, plain).await.unwrap();
    assert!(corrupt(once(&space).call(|| async { 1 }).await.unwrap_err()));
    assert_eq!(space.store().get(&key("once.o")).await.unwrap().unwrap().revision, revision);
}
