//! Cases of queues: delivered at least once, to one worker at a time, and again when that worker is silent.

use super::{PATIENCE, assert_invalid_option, assert_too_large, next_delivery};
use crate::engine::{Delivery, Message, Pull, Queue, QueueOptions, Space};
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The shortest `ack_wait` that a queue takes.
const SHORTEST: Duration = Duration::from_secs(1);

/// A message is delivered, and once acknowledged never again.
pub async fn a_message_is_delivered_until_it_is_acknowledged(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default().ack_wait(SHORTEST)).await;
    let before = space.clock().now();
    let published = queue.publish(Message::new("payload")).await.unwrap();
    assert!(!published.duplicate);
    let delivery = next_delivery(space, &mut *pull).await;
    assert_eq!((delivery.sequence(), delivery.attempt()), (published.sequence, 1));
    assert_eq!(delivery.message().payload, "payload");
    // A server's clock may differ a little from ours.
    assert!(delivery.published_at() + Duration::from_secs(5) > before);
    delivery.ack().await.unwrap();
    outlast_the_ack_wait(space, &*queue, &mut *pull).await;
    pull.close().await;
}

/// First in, first out, as long as every message is settled at its first delivery.
pub async fn messages_arrive_in_order_when_none_comes_again(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default()).await;
    let mut sequences = Vec::new();
    for n in 0..20 {
        sequences.push(queue.publish(Message::new(n.to_string())).await.unwrap().sequence);
    }
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    for (n, sequence) in sequences.into_iter().enumerate() {
        let delivery = next_delivery(space, &mut *pull).await;
        assert_eq!((delivery.sequence(), &*delivery.message().payload), (sequence, n.to_string().as_bytes()));
        delivery.ack().await.unwrap();
    }
    pull.close().await;
}

/// Each delivery of a message counts, from one.
pub async fn attempts_are_counted_from_one(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default()).await;
    let sequence = queue.publish(Message::new("again and again")).await.unwrap().sequence;
    for attempt in 1..=5 {
        let delivery = next_delivery(space, &mut *pull).await;
        assert_eq!((delivery.sequence(), delivery.attempt()), (sequence, attempt));
        delivery.retry(Duration::ZERO).await.unwrap();
    }
    pull.close().await;
}

/// What is beside the payload arrives with it, at every delivery.
pub async fn headers_and_id_survive(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default()).await;
    let mut message = Message::new(vec![0, 255, 10, 13]).id("order-42").header("traceparent", "00-1-2-03");
    message.headers.append("Also", "one: two");
    message.headers.append("Also", "three");
    queue.publish(message.clone()).await.unwrap();
    for retried in [true, false] {
        let delivery = next_delivery(space, &mut *pull).await;
        let found = delivery.message();
        assert_eq!((found.id.as_deref(), &found.payload), (Some("order-42"), &message.payload));
        assert_eq!(found.headers.get("TraceParent"), Some("00-1-2-03"));
        let also: Vec<_> = found.headers.iter().filter(|(name, _)| *name == "Also").map(|(_, value)| value).collect();
        assert_eq!(also, ["one: two", "three"]);
        let settled = if retried { delivery.retry(Duration::ZERO).await } else { delivery.ack().await };
        settled.unwrap();
    }
    queue.publish(Message::default()).await.unwrap();
    let empty = next_delivery(space, &mut *pull).await;
    assert_eq!((&empty.message().id, empty.message().payload.len()), (&None, 0));
    empty.ack().await.unwrap();
    pull.close().await;
}

/// Whoever is silent for `ack_wait` loses the message to the next, not earlier.
pub async fn a_silent_workers_message_comes_again(space: &Space) {
    let (queue, mut silent) = open(space, QueueOptions::default().ack_wait(SHORTEST)).await;
    let mut other = queue.pull().await.unwrap();
    let sequence = queue.publish(Message::new("payload")).await.unwrap().sequence;
    let before = space.clock().now();
    let first = next_delivery(space, &mut *silent).await;
    let second = next_delivery(space, &mut *other).await;
    assert_eq!((second.sequence(), second.attempt()), (sequence, 2));
    assert!(space.clock().now().since(before) >= SHORTEST * 9 / 10);
    drop(first);
    second.ack().await.unwrap();
    silent.close().await;
    other.close().await;
}

/// A worker that keeps saying that it goes on keeps its message.
pub async fn an_extended_message_does_not_come_again(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default().ack_wait(SHORTEST)).await;
    let long = queue.publish(Message::new("long work")).await.unwrap().sequence;
    let delivery = next_delivery(space, &mut *pull).await;
    assert_eq!(delivery.sequence(), long);
    // A message that is handed back with a delay beats the time: ten beats are three times `ack_wait`.
    queue.publish(Message::new("beat")).await.unwrap();
    for beat in 1..=10 {
        let tick = next_delivery(space, &mut *pull).await;
        assert_ne!(tick.sequence(), long, "came again at beat {beat}");
        delivery.extend().await.unwrap();
        tick.retry(SHORTEST * 3 / 10).await.unwrap();
    }
    delivery.ack().await.unwrap();
    pull.close().await;
}

/// A delay is a promise to everyone else, too: nobody gets the message before.
pub async fn a_retried_message_comes_not_before_its_delay(space: &Space) {
    const DELAY: Duration = Duration::from_millis(700);
    let (queue, mut pull) = open(space, QueueOptions::default()).await;
    let later = queue.publish(Message::new("later")).await.unwrap().sequence;
    queue.publish(Message::new("meanwhile")).await.unwrap();
    let first = next_delivery(space, &mut *pull).await;
    assert_eq!(first.sequence(), later);
    let before = space.clock().now();
    first.retry(DELAY).await.unwrap();
    let meanwhile = next_delivery(space, &mut *pull).await;
    assert_eq!(meanwhile.message().payload, "meanwhile", "a delayed message is in nobody's way");
    meanwhile.ack().await.unwrap();
    let second = next_delivery(space, &mut *pull).await;
    assert_eq!((second.sequence(), second.attempt()), (later, 2));
    assert!(space.clock().now().since(before) >= DELAY);
    second.ack().await.unwrap();
    pull.close().await;
}

/// A rejected message is gone for good.
pub async fn a_rejected_message_never_comes_again(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default().ack_wait(SHORTEST)).await;
    queue.publish(Message::new("poison")).await.unwrap();
    next_delivery(space, &mut *pull).await.reject().await.unwrap();
    outlast_the_ack_wait(space, &*queue, &mut *pull).await;
    pull.close().await;
}

/// Work that was done is done, also when its acknowledgement comes after the message went to somebody else.
pub async fn a_late_acknowledgement_still_removes(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default().ack_wait(SHORTEST)).await;
    queue.publish(Message::new("payload")).await.unwrap();
    let first = next_delivery(space, &mut *pull).await;
    let second = next_delivery(space, &mut *pull).await;
    assert_eq!((first.sequence(), second.attempt()), (second.sequence(), 2));
    first.ack().await.unwrap();
    drop(second);
    outlast_the_ack_wait(space, &*queue, &mut *pull).await;
    pull.close().await;
}

/// A second message with the id of one within the window is dropped, also after the first was done.
pub async fn an_id_is_taken_once(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default()).await;
    let first = queue.publish(Message::new("first").id("a")).await.unwrap();
    let again = queue.publish(Message::new("second").id("a")).await.unwrap();
    assert_eq!((again.sequence, again.duplicate), (first.sequence, true));
    let other = queue.publish(Message::new("other").id("b")).await.unwrap();
    assert!(!other.duplicate && other.sequence > first.sequence);
    for expected in ["first", "other"] {
        let delivery = next_delivery(space, &mut *pull).await;
        assert_eq!(delivery.message().payload, expected);
        delivery.ack().await.unwrap();
    }
    let late = queue.publish(Message::new("third").id("a")).await.unwrap();
    assert_eq!((late.sequence, late.duplicate), (first.sequence, true));
    assert!(!queue.publish(Message::new("without")).await.unwrap().duplicate);
    assert!(!queue.publish(Message::new("without")).await.unwrap().duplicate);
    let delivery = next_delivery(space, &mut *pull).await;
    assert_eq!(delivery.message().payload, "without");
    pull.close().await;
}

/// What one worker did not ask for, another one gets without waiting.
pub async fn a_pull_takes_no_more_than_it_asks_for(space: &Space) {
    let (queue, mut one) = open(space, QueueOptions::default().ack_wait(PATIENCE * 2)).await;
    let mut two = queue.pull().await.unwrap();
    for n in 0..5 {
        queue.publish(Message::new(n.to_string())).await.unwrap();
    }
    let held = space.clock().timeout(PATIENCE, one.next(count(2))).await.expect("messages are there").unwrap();
    assert!((1..=2).contains(&held.len()), "{held:?}");
    let mut seen: BTreeSet<_> = held.iter().map(Delivery::sequence).collect();
    while seen.len() < 5 {
        let more = space.clock().timeout(PATIENCE, two.next(count(5))).await.expect("the rest is free").unwrap();
        for delivery in more {
            assert!(seen.insert(delivery.sequence()), "{} was taken already", delivery.sequence());
            delivery.ack().await.unwrap();
        }
    }
    one.close().await;
    two.close().await;
}

/// Calls that are given up now and then lose no message and count none twice.
pub async fn a_cancelled_pull_loses_nothing(space: &Space) {
    const MESSAGES: usize = 40;
    let (queue, mut pull) = open(space, QueueOptions::default().ack_wait(PATIENCE * 2)).await;
    let publish = async {
        for n in 0..MESSAGES {
            queue.publish(Message::new(n.to_string())).await.unwrap();
        }
    };
    let take = async {
        let mut seen = BTreeSet::new();
        while seen.len() < MESSAGES {
            // The first poll may already have taken something; a limit of nothing drops the call right after it.
            for limit in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(20)] {
                if let Some(taken) = space.clock().timeout(limit, pull.next(count(3))).await {
                    for delivery in taken.unwrap() {
                        assert_eq!(delivery.attempt(), 1);
                        assert!(seen.insert(delivery.sequence()));
                        delivery.ack().await.unwrap();
                    }
                }
            }
        }
    };
    let both = async { tokio::join!(publish, take) };
    space.clock().timeout(PATIENCE, both).await.expect("every message arrives");
    pull.close().await;
}

/// What a closed pull had been sent and did not return goes to others, long before `ack_wait`.
pub async fn a_closed_pull_hands_back_at_once(space: &Space) {
    let (queue, mut closed) = open(space, QueueOptions::default().ack_wait(PATIENCE * 2)).await;
    // The call is given up while it waits, so that what is published now may be under way to it.
    assert!(space.clock().timeout(Duration::from_millis(50), closed.next(count(4))).await.is_none());
    let mut published = BTreeSet::new();
    for n in 0..4 {
        published.insert(queue.publish(Message::new(n.to_string())).await.unwrap().sequence);
    }
    closed.close().await;
    let mut other = queue.pull().await.unwrap();
    while !published.is_empty() {
        let delivery = next_delivery(space, &mut *other).await;
        assert!(published.remove(&delivery.sequence()));
        delivery.ack().await.unwrap();
    }
    other.close().await;
}

/// A worker that waits is woken by a message, each time.
pub async fn a_waiting_pull_sees_what_is_published(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default()).await;
    for n in 0..5 {
        let payload = n.to_string();
        let publish = async {
            tokio::task::yield_now().await;
            queue.publish(Message::new(payload.clone())).await.unwrap()
        };
        let (delivery, published) = tokio::join!(next_delivery(space, &mut *pull), publish);
        assert_eq!(delivery.sequence(), published.sequence);
        delivery.ack().await.unwrap();
    }
    pull.close().await;
}

/// However much is asked for, no more is out at once than the queue allows, and settling makes room.
pub async fn no_more_are_in_flight_than_allowed(space: &Space) {
    const ALLOWED: usize = 3;
    let options = QueueOptions::default().max_in_flight(ALLOWED).ack_wait(PATIENCE * 2);
    let (queue, mut one) = open(space, options).await;
    let mut two = queue.pull().await.unwrap();
    for n in 0..12 {
        queue.publish(Message::new(n.to_string())).await.unwrap();
    }
    let mut held: Vec<Delivery> = Vec::new();
    for done in 0..12 {
        while held.is_empty() || (held.len() < ALLOWED && held.len() + done < 12) {
            let (from_one, from_two) = (one.next(count(12)), two.next(count(12)));
            let taken = space
                .clock()
                .timeout(PATIENCE, async {
                    tokio::select! { t = from_one => t, t = from_two => t }
                })
                .await;
            held.extend(taken.expect("there is room").unwrap());
            assert!(held.len() <= ALLOWED, "{} are in flight", held.len());
        }
        let oldest = held.remove(0);
        match done % 3 {
            0 => oldest.reject().await.unwrap(),
            _ => oldest.ack().await.unwrap(),
        }
    }
    one.close().await;
    two.close().await;
}

/// Four workers on one queue do each message once.
pub async fn several_workers_never_share_a_message(space: &Space) {
    const MESSAGES: usize = 100;
    let (queue, pull) = open(space, QueueOptions::default().ack_wait(PATIENCE * 2)).await;
    pull.close().await;
    let left = AtomicUsize::new(MESSAGES);
    let work = join_all((0..4).map(|_| async {
        let mut pull = queue.pull().await.unwrap();
        let mut done = Vec::new();
        while left.load(Ordering::SeqCst) > 0 {
            let some = space.clock().timeout(Duration::from_millis(100), pull.next(count(5))).await;
            for delivery in some.into_iter().flat_map(Result::unwrap) {
                done.push(delivery.sequence());
                delivery.ack().await.unwrap();
                left.fetch_sub(1, Ordering::SeqCst);
            }
        }
        pull.close().await;
        done
    }));
    let publish = join_all((0..MESSAGES).map(|n| queue.publish(Message::new(n.to_string()))));
    let (done, published) = tokio::join!(work, publish);
    let mut times = BTreeMap::new();
    for sequence in done.into_iter().flatten() {
        *times.entry(sequence).or_insert(0) += 1;
    }
    let expected: BTreeMap<_, _> = published.into_iter().map(|p| (p.unwrap().sequence, 1)).collect();
    assert_eq!(times, expected);
}

/// Opening a queue again gives the same queue.
pub async fn opening_again_shares_the_queue(space: &Space) {
    let options = QueueOptions::default().ack_wait(Duration::from_secs(7)).max_in_flight(11);
    let (first, _pull) = open(space, options.clone()).await;
    first.publish(Message::new("payload")).await.unwrap();
    let second = space.queue("queue", options.clone()).await.unwrap();
    assert_eq!((second.name(), second.options()), (first.name(), &options));
    let mut pull = second.pull().await.unwrap();
    let delivery = next_delivery(space, &mut *pull).await;
    assert_eq!(delivery.message().payload, "payload");
    delivery.ack().await.unwrap();
    pull.close().await;
}

/// Options are fixed: whoever thinks otherwise is told, and the queue stays as it is.
pub async fn opening_with_other_options_is_rejected(space: &Space) {
    let options = QueueOptions::default();
    let (queue, _pull) = open(space, options.clone()).await;
    for other in [
        options.clone().ack_wait(Duration::from_secs(31)),
        options.clone().max_in_flight(9),
        options.clone().dedupe_window(Duration::from_secs(60)),
    ] {
        assert_invalid_option(space.queue("queue", other).await);
    }
    assert_eq!(queue.options(), &options);
    space.queue("queue", options).await.unwrap();
}

/// What no engine can do is refused by all.
pub async fn options_out_of_range_are_rejected(space: &Space) {
    for bad in [QueueOptions::default().ack_wait(Duration::from_millis(999)), QueueOptions::default().max_in_flight(0)] {
        assert_invalid_option(space.queue("queue", bad).await);
    }
    space.queue("queue", QueueOptions::default()).await.unwrap();
}

/// A payload beyond the limit is rejected, and the queue goes on.
pub async fn an_oversized_message_is_rejected(space: &Space) {
    let (queue, mut pull) = open(space, QueueOptions::default()).await;
    let too_large = vec![7; space.store().capabilities().max_value + 1];
    assert_too_large(queue.publish(Message::new(too_large)).await);
    queue.publish(Message::new("small")).await.unwrap();
    let delivery = next_delivery(space, &mut *pull).await;
    assert_eq!(delivery.message().payload, "small");
    delivery.ack().await.unwrap();
    pull.close().await;
}

/// Headers that the engine uses itself, and ids that are no line, are rejected rather than mistaken.
pub async fn a_message_that_looks_like_the_engines_own_is_rejected(space: &Space) {
    let (queue, pull) = open(space, QueueOptions::default()).await;
    let odd = [
        Message::new("1").header("Nats-Msg-Id", "x"),
        Message::new("2").header("anabranch-write", "x"),
        Message::new("3").header("KV-Operation", "DEL"),
        Message::new("4").header("two words", "x"),
        Message::new("5").header("colon:", "x"),
        Message::new("6").id(""),
        Message::new("7").id("two\nlines"),
    ];
    for message in odd {
        assert_invalid_option(queue.publish(message).await);
    }
    pull.close().await;
}

async fn open(space: &Space, options: QueueOptions) -> (Arc<dyn Queue>, Box<dyn Pull>) {
    let queue = space.queue("queue", options).await.unwrap();
    let pull = queue.pull().await.unwrap();
    (queue, pull)
}

fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Lets `ack_wait` pass, and fails when any other message than its own arrives meanwhile: its own one is taken, left in
/// silence, and seen again.
async fn outlast_the_ack_wait(space: &Space, queue: &dyn Queue, pull: &mut dyn Pull) {
    let witness = queue.publish(Message::new("witness")).await.unwrap().sequence;
    for attempt in 1..=2 {
        let delivery = next_delivery(space, pull).await;
        assert_eq!((delivery.sequence(), delivery.attempt()), (witness, attempt), "something else came again");
        if attempt == 2 {
            delivery.ack().await.unwrap();
        }
    }
}
