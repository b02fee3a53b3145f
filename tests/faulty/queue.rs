//! Faults of messages: lost and late publishes, deliveries that come twice, settlements that nobody hears of.

use crate::kit::*;
use anabranch::{
    engine::{Message, Queue as _, QueueOptions, StoreError, StreamOptions},
    testing::faulty::{Fault, FaultyQueue, Op},
};
use std::{num::NonZeroUsize, time::Duration};

#[tokio::test(start_paused = true)]
async fn a_publish_whose_answer_is_lost_is_repeated_by_its_id() {
    let world = World::new(1).await;
    let (queue, _pull) = world.queue().await;
    for (id, applied) in [("done", true), ("undone", false)] {
        world.trouble().once(Fault::Unknown { applied }, |call| call.op == Op::Publish);
        assert!(matches!(queue.publish(Message::new("1").id(id)).await, Err(StoreError::Unknown(_))));
        assert_eq!(queue.publish(Message::new("1").id(id)).await.unwrap().duplicate, applied);
    }
}

#[tokio::test(start_paused = true)]
async fn publishes_overtake_each_other() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    world.trouble().plan(|call| {
        let slow = call.message.is_some_and(|message| message.payload == "slow");
        (call.op == Op::Publish && slow).then_some(Fault::Delay(SECOND))
    });
    let (slow, quick) = tokio::join!(queue.publish(Message::new("slow")), queue.publish(Message::new("quick")));
    assert!(slow.unwrap().sequence > quick.unwrap().sequence);
    assert_eq!(next(&mut *pull).await.message().payload, "quick");
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_again_although_it_was_acknowledged() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    let sequence = queue.publish(Message::new("1")).await.unwrap().sequence;
    next(&mut *pull).await.ack().await.unwrap();
    for attempt in 2..=3 {
        world.trouble().once(Fault::Duplicate, |call| call.op == Op::Next);
        let again = next(&mut *pull).await;
        assert_eq!((again.sequence(), again.attempt(), &*again.message().payload), (sequence, attempt, &b"1"[..]));
        again.ack().await.unwrap();
    }
    assert!(is_empty_for(&world.space, &mut *pull, 60 * SECOND).await, "the engine knows that it is done");
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_again_while_somebody_has_it() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    let first = next(&mut *pull).await;
    world.trouble().once(Fault::Duplicate, |call| call.op == Op::Next);
    let second = next(&mut *pull).await;
    assert_eq!((first.attempt(), second.attempt()), (1, 2));
    // It is the second one's by now.
    first.retry(Duration::ZERO).await.unwrap();
    assert!(is_empty_for(&world.space, &mut *pull, SECOND).await);
    second.retry(Duration::ZERO).await.unwrap();
    let third = next(&mut *pull).await;
    assert_eq!(third.attempt(), 3, "the engine's own delivery counts on");
    third.ack().await.unwrap();
    assert!(is_empty_for(&world.space, &mut *pull, 60 * SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn work_that_was_done_late_is_done() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    let first = next(&mut *pull).await;
    world.trouble().once(Fault::Duplicate, |call| call.op == Op::Next);
    drop(next(&mut *pull).await);
    first.ack().await.unwrap();
    assert!(is_empty_for(&world.space, &mut *pull, 60 * SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_was_delivered_what_comes_now_comes_twice() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    world.trouble().once(Fault::Duplicate, |call| call.op == Op::Next);
    let (first, second) = (next(&mut *pull).await, next(&mut *pull).await);
    assert_eq!((first.sequence(), second.attempt()), (second.sequence(), 2));
    assert!(is_empty_for(&world.space, &mut *pull, SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_counts_in_every_process() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    let other = world.engine.beside(world.space.clock().clone(), 2);
    let theirs = other.engine().space("s").await.unwrap().queue("q", QueueOptions::default()).await.unwrap();
    let mut their_pull = theirs.pull().await.unwrap();
    queue.publish(Message::new("1")).await.unwrap();
    let first = next(&mut *pull).await;
    other.trouble().once(Fault::Duplicate, |call| call.op == Op::Next);
    let second = next(&mut *their_pull).await;
    second.retry(Duration::ZERO).await.unwrap();
    let third = next(&mut *pull).await;
    assert_eq!([first.attempt(), third.attempt()], [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_whose_answer_is_lost_was_heard_or_not() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    for applied in [true, false] {
        queue.publish(Message::new("1")).await.unwrap();
        world.trouble().once(Fault::Unknown { applied }, |call| call.op.settles());
        assert!(matches!(next(&mut *pull).await.ack().await, Err(StoreError::Unknown(_))));
        assert_eq!(is_empty_for(&world.space, &mut *pull, 60 * SECOND).await, applied);
    }
    for (op, again) in [(Op::Retry, true), (Op::Reject, false)] {
        queue.publish(Message::new("1")).await.unwrap();
        world.trouble().once(Fault::Unknown { applied: true }, move |call| call.op == op);
        let delivery = loop {
            let delivery = next(&mut *pull).await;
            if delivery.attempt() == 1 {
                break delivery;
            }
            delivery.ack().await.unwrap();
        };
        let lost = if op == Op::Retry { delivery.retry(Duration::ZERO).await } else { delivery.reject().await };
        assert!(matches!(lost, Err(StoreError::Unknown(_))));
        assert_eq!(!is_empty_for(&world.space, &mut *pull, SECOND).await, again);
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_is_lost_does_not_extend() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    let delivery = next(&mut *pull).await;
    anabranch::testing::pass(20 * SECOND).await;
    world.trouble().once(Fault::Unknown { applied: false }, |call| call.op == Op::Extend);
    assert!(delivery.extend().await.is_err());
    let before = world.space.clock().now();
    assert_eq!(next(&mut *pull).await.attempt(), 2);
    assert_eq!(world.space.clock().now().since(before), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_lost_on_their_way_come_after_the_ack_wait() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    world.trouble().once(Fault::Unknown { applied: true }, |call| call.op == Op::Next);
    assert!(matches!(pull.next(NonZeroUsize::MIN).await, Err(StoreError::Unavailable(_))));
    let before = world.space.clock().now();
    assert_eq!(next(&mut *pull).await.attempt(), 2);
    assert_eq!(world.space.clock().now().since(before), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_late_pull_that_is_given_up_loses_nothing() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("1")).await.unwrap();
    world.trouble().once(Fault::Late(60 * SECOND), |call| call.op == Op::Next);
    assert!(is_empty_for(&world.space, &mut *pull, SECOND).await);
    let delivery = next(&mut *pull).await;
    assert_eq!(delivery.attempt(), 1);
    delivery.retry(Duration::ZERO).await.unwrap();

    world.trouble().once(Fault::Late(60 * SECOND), |call| call.op == Op::Next);
    assert!(is_empty_for(&world.space, &mut *pull, SECOND).await);
    pull.close().await;
    assert_eq!(next(&mut *queue.pull().await.unwrap()).await.message().payload, "1", "it is handed back");
}

#[tokio::test(start_paused = true)]
async fn a_stream_and_a_single_queue_misbehave_as_well() {
    let world = World::new(1).await;
    let stream = world.engine.engine().stream("orders", StreamOptions::default().subject("orders.new")).await.unwrap();
    stream.queue().publish(Message::new("1")).await.unwrap();
    let mut pull = stream.queue().pull().await.unwrap();
    next(&mut *pull).await.ack().await.unwrap();
    world.trouble().once(Fault::Duplicate, |call| call.place == "stream orders" && call.op == Op::Next);
    assert_eq!(next(&mut *pull).await.subject(), Some("orders.new"));

    let real = world.real.queue("single", QueueOptions::default()).await.unwrap();
    let queue = FaultyQueue::over(real, world.real.clock().clone(), 1);
    queue.trouble().once(Fault::Unavailable, |call| call.queue == Some("single") && call.op == Op::Publish);
    assert!(matches!(queue.publish(Message::new("1")).await, Err(StoreError::Unavailable(_))));
    queue.publish(Message::new("1")).await.unwrap();
}
