//! Faults of watches: changes that are late, silence, and gaps that heal.

use crate::kit::*;
use anabranch::{
    engine::{Change, Expect, Scope, StoreError},
    testing::{
        faulty::{Fault, Op, WatchFault},
        pass,
    },
};
use std::time::Duration;

fn of(change: &Change, name: &str) -> bool {
    matches!(change, Change::Put(entry) if entry.key == key(name))
}

#[tokio::test(start_paused = true)]
async fn a_late_change_is_overtaken_by_those_of_other_keys_only() {
    let world = World::new(1).await;
    let mut changes = watch(&world.space).await;
    let mut late = Some(WatchFault::Delay(10 * SECOND));
    world.trouble().plan_changes(move |change| if of(change, "a") { late.take() } else { None });
    for (name, value) in [("a", "1"), ("b", "1")] {
        put(&world.space, name, value).await.unwrap();
    }
    assert_eq!(said(&mut changes).await, ["b=1"]);
    pass(5 * SECOND).await;
    assert_eq!(said(&mut changes).await, [""; 0]);
    pass(5 * SECOND).await;
    assert_eq!(said(&mut changes).await, ["a=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_change_takes_the_place_of_a_late_one() {
    let world = World::new(1).await;
    let mut changes = watch(&world.space).await;
    let mut late = Some(WatchFault::Delay(10 * SECOND));
    world.trouble().plan_changes(move |_| late.take());
    put(&world.space, "a", "1").await.unwrap();
    assert_eq!(said(&mut changes).await, [""; 0]);
    put(&world.space, "a", "2").await.unwrap();
    assert_eq!(said(&mut changes).await, ["a=2"]);
    pass(60 * SECOND).await;
    assert_eq!(said(&mut changes).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_healed_by_all_that_is_there() {
    let world = World::new(1).await;
    for name in ["gone", "kept"] {
        put(&world.space, name, "1").await.unwrap();
    }
    let mut changes = watch(&world.space).await;
    let mut gap = Some(WatchFault::Gap(10 * SECOND));
    world.trouble().plan_changes(move |_| gap.take());
    put(&world.space, "a", "1").await.unwrap();
    assert_eq!(said(&mut changes).await, [""; 0]);
    put(&world.space, "a", "2").await.unwrap();
    world.space.store().delete(&key("gone"), Expect::Anything).await.unwrap();
    pass(10 * SECOND).await;
    assert_eq!(said(&mut changes).await, ["Resynced", "a=2", "kept=1", "Synced"]);
    put(&world.space, "a", "3").await.unwrap();
    assert_eq!(said(&mut changes).await, ["a=3"]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_by_hand_is_one_for_every_watch() {
    let world = World::new(1).await;
    let (mut one, mut other) = (watch(&world.space).await, watch(&world.space).await);
    put(&world.space, "a", "1").await.unwrap();
    world.trouble().gap();
    for changes in [&mut one, &mut other] {
        assert_eq!(said(changes).await, ["Resynced", "a=1", "Synced"]);
    }
    assert_eq!(said(&mut watch(&world.space).await).await, [""; 0], "a new watch has missed nothing");
}

#[tokio::test(start_paused = true)]
async fn a_gap_before_the_first_state_is_none() {
    let world = World::new(1).await;
    put(&world.space, "a", "1").await.unwrap();
    world.trouble().plan_changes(|_| Some(WatchFault::Gap(SECOND)));
    let mut changes = world.space.store().watch(&Scope::All).await.unwrap();
    assert_eq!(said(&mut changes).await, [""; 0]);
    pass(SECOND).await;
    assert_eq!(said(&mut changes).await, ["a=1", "Synced"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_goes_on_where_it_was() {
    let world = World::new(1).await;
    let mut changes = watch(&world.space).await;
    let mut silence = Some(WatchFault::Silence(10 * SECOND));
    world.trouble().plan_changes(move |_| silence.take());
    put(&world.space, "a", "1").await.unwrap();
    assert_eq!(said(&mut changes).await, [""; 0]);
    for (name, value) in [("b", "1"), ("b", "2")] {
        put(&world.space, name, value).await.unwrap();
    }
    pass(Duration::from_millis(9_999)).await;
    assert_eq!(said(&mut changes).await, [""; 0]);
    pass(Duration::from_millis(1)).await;
    assert_eq!(said(&mut changes).await, ["a=1", "b=2"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_may_not_open() {
    let world = World::new(1).await;
    world.trouble().once(Fault::Unavailable, |call| call.op == Op::Watch);
    assert!(matches!(world.space.store().watch(&Scope::All).await.err(), Some(StoreError::Unavailable(_))));
    drop(watch(&world.space).await);
}
