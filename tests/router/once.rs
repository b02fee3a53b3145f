//! N jobs, exactly once: whatever is lost, refused or away between the commit and the acknowledgement.

use super::kit::*;
use anabranch::{
    Codec,
    engine::{Message, Space},
    jobs::{Job, JobResult, Route, Router, RouterBuilder, What},
    testing::{
        LesserStore,
        faulty::{Call, Fault, FaultyStore, Odds, Op},
    },
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

fn router(space: &Space) -> RouterBuilder {
    Router::builder(space, "events", Codec::protobuf(), by_number).topic(&WELCOME, FORGETFUL).topic(&BADGE, FORGETFUL)
}

/// A router that counts how often its code ran.
fn counting(space: &Space, ran: &Arc<AtomicUsize>) -> RouterBuilder {
    let ran = Arc::clone(ran);
    let code = move |event: Job<Joined>| {
        ran.fetch_add(1, Ordering::SeqCst);
        by_number(event)
    };
    Router::builder(space, "events", Codec::protobuf(), code).topic(&WELCOME, "letters").topic(&BADGE, "letters")
}

fn is_mark(call: &Call<'_>) -> bool {
    call.writes_below("routed.")
}

/// A router dies between the commit and the acknowledgement: whoever gets the event again finds its mark.
#[tokio::test(start_paused = true)]
async fn an_event_that_comes_again_finds_its_mark_and_is_only_acknowledged() {
    let space = space(&engine().await).await;
    let faulty = FaultyStore::over(&space, 1);
    // The commit is made, and its router never hears of it.
    faulty.once(Fault::Hang, is_mark);
    let (committed, first) = (Arc::clone(&faulty), space.clone().with_store(faulty));
    let router = counting(&first, &Arc::default()).worker(|worker| worker.drain_timeout(SECOND)).spawn().await.unwrap();
    queue(&space, "events").await.publish(joined("ann", 2)).await.unwrap();
    in_time("the commit", async {
        while marks(&space).await.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    router.drain().await;
    drop(committed);

    let ran = Arc::default();
    let second = counting(&space, &ran).spawn().await.unwrap();
    let mut events = second.events();
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    second.drain().await;
    assert_eq!(ran.load(Ordering::SeqCst), 0, "nothing runs");
    assert_eq!(ids_in(&space, "letters").await, ["e-ann/0", "e-ann/1"]);
    assert_eq!(ids_in(&space, "events").await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_lost_answer_of_a_commit_leaves_the_jobs_there_once() {
    for fault in [Fault::Unknown { applied: true }, Fault::Unknown { applied: false }, Fault::Conflict, Fault::Unavailable] {
        let space = space(&engine().await).await;
        queue(&space, FORGETFUL).await;
        let faulty = FaultyStore::over(&space, 1);
        faulty.once(fault, is_mark);
        let router = router(&space.clone().with_store(faulty)).spawn().await.unwrap();
        let mut events = router.events();
        queue(&space, "events").await.publish(joined("ann", 2)).await.unwrap();
        until(&mut events, |what| matches!(what, What::Completed { .. })).await;
        router.drain().await;
        assert_eq!(ids_in(&space, FORGETFUL).await, ["e-ann/0", "e-ann/1"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_uses_no_attempt_up_and_loses_no_event() {
    let space = space(&engine().await).await;
    queue(&space, FORGETFUL).await;
    let faulty = FaultyStore::over(&space, 1);
    faulty.plan(|call| matches!(call.op, Op::Commit).then_some(Fault::Unavailable));
    let router = router(&space.clone().with_store(Arc::<FaultyStore>::clone(&faulty))).spawn().await.unwrap();
    let mut events = router.events();
    queue(&space, "events").await.publish(joined("ann", 2)).await.unwrap();
    // Longer than the queue waits for a silent worker.
    assert!(space.clock().timeout(300 * SECOND, routed(&mut events)).await.is_none());
    faulty.behave();
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    router.drain().await;
    assert_eq!(ids_in(&space, FORGETFUL).await, ["e-ann/0", "e-ann/1"]);
    assert!(letters(&space, "events").await.is_empty());
}

/// The queue's window is over, so it takes the event a second time; its mark is still there.
#[tokio::test(start_paused = true)]
async fn an_event_that_is_published_twice_is_routed_once_while_its_mark_stays() {
    let (hour, day) = (3600 * SECOND, 24 * 3600 * SECOND);
    for (remembered, stays) in [(None, 7 * day), (Some(day), day)] {
        let space = space(&engine().await).await;
        queue(&space, FORGETFUL).await;
        let builder = router(&space);
        let builder = if let Some(time) = remembered { builder.remember_for(time) } else { builder };
        let router = builder.spawn().await.unwrap();
        let mut events = router.events();
        let source = queue(&space, "events").await;
        for (pause, jobs) in [(SECOND, 2), (stays.saturating_sub(hour), 0), (2 * hour, 2)] {
            time_passes(space.clock(), pause).await;
            assert!(!source.publish(joined("ann", 2)).await.unwrap().duplicate);
            until(&mut events, |what| matches!(what, What::Completed { .. })).await;
            assert_eq!(ids_in(&space, FORGETFUL).await.len(), jobs, "after {pause:?} more, of {stays:?}");
        }
        router.drain().await;
    }
}

/// Two routers on a store that loses answers, refuses for no reason and is away: every job is there once.
#[tokio::test(start_paused = true)]
async fn every_job_is_there_once_whatever_happens_to_routers_and_store() {
    for seed in 0..6 {
        let space = space(&engine().await).await;
        queue(&space, FORGETFUL).await;
        let source = queue(&space, "events").await;
        let faulty = FaultyStore::over(&space, seed);
        let mut routers = Vec::new();
        for _ in 0..2 {
            let worker = router(&space.clone().with_store(Arc::<FaultyStore>::clone(&faulty)));
            routers.push(worker.worker(|worker| worker.drain_timeout(SECOND).stop_grace(SECOND)).spawn().await.unwrap());
        }
        faulty.odds(Odds { unknown: 200, conflict: 100, unavailable: 200, latency: SECOND / 2 });
        for n in 0..40 {
            source.publish(joined(&n.to_string(), n % 4)).await.unwrap();
        }
        // One leaves in the middle of it.
        time_passes(space.clock(), 2 * SECOND).await;
        routers.remove(0).drain().await;
        let mut count = BTreeMap::new();
        while count.len() < 60 {
            for id in in_time("the jobs", ids_in(&space, FORGETFUL)).await {
                *count.entry(id).or_insert(0) += 1;
            }
        }
        faulty.behave();
        routers.remove(0).drain().await;
        for id in ids_in(&space, FORGETFUL).await {
            *count.entry(id).or_insert(0) += 1;
        }
        assert_eq!(count.len(), 60);
        assert!(count.values().all(|times| *times == 1), "seed {seed}: {count:?}");
        assert_eq!(ids_in(&space, "events").await, [""; 0]);
        assert!(letters(&space, "events").await.is_empty());
    }
}

/// On a server without commits the jobs come before the mark, and the ids keep them from being there twice.
#[tokio::test(start_paused = true)]
async fn without_commits_the_ids_of_jobs_keep_them_from_being_there_twice() {
    let space = space(&engine().await).await;
    let plain = space.clone().with_store(LesserStore::without_commits(&space));
    assert!(!plain.store().capabilities().atomic_commit);
    let faulty = FaultyStore::over(&plain, 1);
    // The jobs are published, and the mark is not written.
    faulty.plan(|call| is_mark(call).then_some(Fault::Unavailable));
    let first = plain.clone().with_store(faulty);
    let router = counting(&first, &Arc::default()).worker(|worker| worker.drain_timeout(SECOND)).spawn().await.unwrap();
    let source = queue(&space, "events").await;
    source.publish(joined("ann", 2)).await.unwrap();
    let letters = queue(&space, "letters").await;
    let there = async || letters.publish(Message::new("probe").id("e-ann/1")).await.unwrap().duplicate;
    in_time("the jobs", async {
        while router.in_hand() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    time_passes(space.clock(), SECOND).await;
    assert!(there().await, "the second job was published");
    router.drain().await;

    let second = counting(&plain, &Arc::default()).spawn().await.unwrap();
    let mut events = second.events();
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    second.drain().await;
    assert_eq!(marks(&space).await, ["routed.events.e-ann"]);
    assert_eq!(ids_in(&space, "letters").await, ["e-ann/0", "e-ann/1"]);
}

/// What the store will never take is no reason to try for ever.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_too_large_makes_its_event_a_dead_letter() {
    let space = space(&engine().await).await;
    let most = space.store().capabilities().max_value;
    let code = move |_: Job<Joined>| async move { JobResult::Ok(Route::to(&WELCOME, &"x".repeat(most))) };
    let router = Router::builder(&space, "events", Codec::protobuf(), code).topic(&WELCOME, "letters");
    let router = router.spawn().await.unwrap();
    let mut events = router.events();
    queue(&space, "events").await.publish(joined("ann", 1)).await.unwrap();
    until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    router.drain().await;
    let letters = letters(&space, "events").await;
    assert!(letters[0].reason.contains("exceeds the limit"), "{}", letters[0].reason);
    assert!(marks(&space).await.is_empty());
}
