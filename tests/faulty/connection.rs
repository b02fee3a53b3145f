//! A connection that breaks, and comes back; what is held; several processes with connections of their own.

use crate::kit::*;
use anabranch::{
    engine::{Capabilities, Message, StoreError},
    testing::{
        faulty::{Fault, Op},
        pass,
    },
};
use std::num::NonZeroUsize;

#[tokio::test(start_paused = true)]
async fn nothing_is_reached_without_a_connection() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    let delivery = next(&mut *pull).await;
    world.trouble().disconnect();
    assert!(matches!(put(&world.space, "k", "1").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(world.space.store().get(&key("k")).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(queue.publish(Message::new("2")).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(delivery.ack().await, Err(StoreError::Unavailable(_))));
    let before = world.space.clock().now();
    assert!(matches!(pull.next(NonZeroUsize::MIN).await, Err(StoreError::Unavailable(_))));
    assert_eq!(world.space.clock().now().since(before), SECOND, "a pull waits for a connection for a while");
    assert_eq!(text(&world.real, "k").await, None);
    world.trouble().reconnect();
    assert_eq!(next(&mut *pull).await.attempt(), 2, "it was not acknowledged");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_the_connection_breaks_is_unknown() {
    let world = World::new(1).await;
    for (name, fault, happened) in [("late", Fault::Late(2 * SECOND), true), ("delayed", Fault::Delay(2 * SECOND), false)] {
        world.trouble().once(fault, |call| call.op == Op::Put);
        let cut = async {
            pass(SECOND).await;
            world.trouble().disconnect();
        };
        let (lost, ()) = tokio::join!(put(&world.space, name, "1"), cut);
        assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
        assert_eq!(text(&world.real, name).await.is_some(), happened, "{name}");
        world.trouble().reconnect();
    }
    world.trouble().once(Fault::Late(2 * SECOND), |call| call.op == Op::Read);
    let cut = async {
        pass(SECOND).await;
        world.trouble().disconnect();
    };
    let name = key("late");
    let (lost, ()) = tokio::join!(world.space.store().get(&name), cut);
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_silent_without_a_connection_and_goes_on_with_or_without_a_gap() {
    let world = World::new(1).await;
    let mut changes = watch(&world.space).await;
    for (gap, then) in [(false, &["k=false"][..]), (true, &["Resynced", "k=true", "Synced"])] {
        world.trouble().disconnect();
        put(&world.real, "k", &gap.to_string()).await.unwrap();
        pass(60 * SECOND).await;
        assert_eq!(said(&mut changes).await, [""; 0]);
        if gap {
            world.trouble().gap();
        }
        world.trouble().reconnect();
        assert_eq!(said(&mut changes).await, then);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_waits_fails_when_the_connection_breaks_and_the_next_one_goes_on() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    let cut = async {
        pass(SECOND).await;
        world.trouble().disconnect_for(10 * SECOND);
    };
    let (failed, ()) = tokio::join!(pull.next(NonZeroUsize::MIN), cut);
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    pass(10 * SECOND).await;
    queue.publish(Message::new("1")).await.unwrap();
    assert_eq!(next(&mut *pull).await.attempt(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_disconnected_hands_nothing_back() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    world.trouble().once(Fault::Late(60 * SECOND), |call| call.op == Op::Next);
    assert!(is_empty_for(&world.space, &mut *pull, SECOND).await);
    world.trouble().disconnect();
    pull.close().await;
    world.trouble().reconnect();
    let before = world.space.clock().now();
    assert_eq!(next(&mut *queue.pull().await.unwrap()).await.attempt(), 2);
    assert_eq!(world.space.clock().now().since(before), 29 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn processes_have_connections_of_their_own() {
    let world = World::new(1).await;
    let other = world.engine.beside(world.space.clock().clone(), 2);
    let theirs = other.engine().space("s").await.unwrap();
    world.trouble().disconnect();
    put(&theirs, "k", "1").await.unwrap();
    assert!(put(&world.space, "k", "2").await.is_err());
    assert_ne!(theirs.instance(), world.space.instance());
    let Capabilities { exclusive, durable, .. } = theirs.store().capabilities();
    assert!(!exclusive && *durable, "a process is not alone with a server, and does not take it along");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_goes_on_when_it_is_let_go() {
    let world = World::new(1).await;
    world.trouble().hold_writes();
    let resume = async {
        pass(SECOND).await;
        assert_eq!(text(&world.space, "k").await, None, "reads are not held");
        world.trouble().hold();
        assert!(world.space.clock().timeout(SECOND, text(&world.space, "k")).await.is_none(), "now they are");
        world.trouble().resume();
    };
    let (written, ()) = tokio::join!(put(&world.space, "k", "1"), resume);
    written.unwrap();
}
