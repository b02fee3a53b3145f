//! Elections on the embedded engine.

use super::held::{LEASE, TICK, process, space, spawn, writes};
use anabranch::{
    coordination::{CoordinationError, Election, Leader},
    core::coordination::permits::Permits,
    engine::Space,
    testing::pass,
};
use futures_util::{Stream, StreamExt as _};
use std::time::Duration;

fn election(space: &Space, candidate: &str) -> Election {
    Election::new(space, "e", LEASE).unwrap().candidate(candidate)
}

async fn next(leaders: &mut (impl Stream<Item = Option<Leader>> + Unpin)) -> Option<String> {
    leaders.next().await.unwrap().map(|leader| leader.candidate)
}

#[tokio::test(start_paused = true)]
async fn candidates_lead_one_after_the_other_with_terms_that_grow() {
    let space = space().await;
    let mut leaders = election(&space, "").observe().await.unwrap();
    assert_eq!(next(&mut leaders).await, None);
    let mut terms = Vec::new();
    let mut tasks = Vec::new();
    let first = election(&space, "ann").campaign().await.unwrap();
    for name in ["bob", "cleo"] {
        let election = election(&space, name);
        tasks.push(spawn(async move { election.campaign().await.unwrap() }));
        writes(&space, "election.e", 1).await;
    }
    assert_eq!(next(&mut leaders).await.as_deref(), Some("ann"));
    terms.push(first.term());
    assert!(first.is_leader());
    first.resign().await.unwrap();
    for (task, name) in tasks.into_iter().zip(["bob", "cleo"]) {
        let leadership = task.await.unwrap();
        assert_eq!(election(&space, "").leader().await.unwrap().unwrap().candidate, name);
        terms.push(leadership.term());
        leadership.resign().await.unwrap();
    }
    assert!(terms.is_sorted_by(|a, b| a < b), "{terms:?}");
    while let Some(leader) = next(&mut leaders).await {
        assert!(leader == "bob" || leader == "cleo", "{leader}");
    }
    assert_eq!(election(&space, "").leader().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_to_lead_before_another_starts() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let leader = election(&cut, "ann").campaign().await.unwrap();
    let clock = space.clock().clone();
    let follower = spawn({
        let (election, clock) = (election(&space, "bob"), clock.clone());
        async move { (election.campaign().await.unwrap(), clock.instant()) }
    });
    pass(LEASE * 3).await;
    store.hold();
    leader.lost().await;
    let lost = clock.instant();
    assert!(!leader.is_leader() && leader.valid_until() <= lost);
    let (next, started) = follower.await.unwrap();
    assert!(lost < started && next.term() > leader.term());
    store.resume();
    assert!(matches!(leader.resign().await, Err(CoordinationError::Lost(_))));
    assert!(next.is_leader());
}

#[tokio::test(start_paused = true)]
async fn whoever_observes_sees_that_a_leader_is_silent_though_nobody_follows() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let leader = election(&cut, "ann").campaign().await.unwrap();
    let mut leaders = election(&space, "").observe().await.unwrap();
    assert_eq!(next(&mut leaders).await.as_deref(), Some("ann"));
    assert!(space.clock().timeout(LEASE * 5, leaders.next()).await.is_none(), "a leader that lives is no news");
    let began = space.clock().instant();
    store.hold();
    assert_eq!(next(&mut leaders).await, None);
    let took = space.clock().instant() - began;
    assert!(took <= LEASE * 11 / 10 + TICK, "{took:?}");
    assert!(!leader.is_leader());
    // Its key is collected after a while, which is no news either.
    assert!(space.clock().timeout(Permits::LEAST_KEPT + LEASE, leaders.next()).await.is_none());
    let bob = election(&space, "bob").campaign().await.unwrap();
    assert_eq!(next(&mut leaders).await.as_deref(), Some("bob"));
    drop(bob);
    assert_eq!(next(&mut leaders).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_observer_sees_the_newest_leader() {
    let space = space().await;
    let mut leaders = election(&space, "").observe().await.unwrap();
    for name in ["ann", "bob", "cleo"] {
        election(&space, name).campaign().await.unwrap().resign().await.unwrap();
    }
    let last = election(&space, "dan").campaign().await.unwrap();
    let newest = async {
        loop {
            if let Some(Some(leader)) = leaders.next().await
                && leader.candidate == "dan"
            {
                break leader;
            }
        }
    };
    let newest = space.clock().timeout(Duration::from_secs(1), newest).await.unwrap();
    assert_eq!(newest.term, last.term());
}
