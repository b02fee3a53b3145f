//! The embedded engine under virtual time: everything that waits for a time comes at that time, and hours take milliseconds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anabranch::{
    engine::{
        Change, Commit, Delivery, Engine, Expect, Key, Message, Name, Outgoing, Pull, PutOptions, QueueOptions, Scope, Space,
        Timer,
    },
    testing::pass,
    time::{Clock, Timestamp},
};
use futures_util::StreamExt as _;
use std::{
    future::{Future as _, poll_fn},
    num::NonZeroUsize,
    pin::pin,
    task::Poll,
    time::Duration,
};

const HOUR: Duration = Duration::from_secs(3600);
/// What tokio's clock rounds a sleep up to.
const TICK: Duration = Duration::from_millis(2);
const ALMOST_AN_HOUR: Duration = Duration::from_millis(3_600_000 - 2);

async fn space() -> Space {
    let clock = Clock::following_tokio(Timestamp::from_millis(1_700_000_000_000));
    Engine::open_with("memory:", clock).await.unwrap().space("virtual").await.unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn one(pull: &mut dyn Pull) -> Delivery {
    pull.next(NonZeroUsize::MIN).await.unwrap().pop().unwrap()
}

#[track_caller]
fn assert_passed(space: &Space, since: Timestamp, expected: Duration) {
    let passed = space.clock().now().since(since);
    assert!(passed >= expected && passed <= expected + TICK, "{passed:?} passed, not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_expires_at_its_time() {
    let space = space().await;
    let start = space.clock().now();
    let mut changes = space.store().watch(&Scope::All).await.unwrap();
    let options = PutOptions::default().ttl(HOUR);
    let written = space.store().put(&key("k"), "1".into(), Expect::Absent, options).await.unwrap();
    loop {
        if let Change::Expired(found, revision) = changes.next().await.unwrap() {
            assert!(found == key("k") && revision > written);
            break;
        }
    }
    assert_passed(&space, start, HOUR);
    assert_eq!(space.store().get(&key("k")).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_due_is_absent_before_it_is_swept() {
    let space = space().await;
    let options = PutOptions::default().ttl(HOUR);
    let written = space.store().put(&key("k"), "1".into(), Expect::Absent, options).await.unwrap();
    // The first poll of an advance moves the clock; nothing after it lets the sweeper run before the key is looked at.
    let mut advance = pin!(tokio::time::advance(HOUR));
    assert!(poll_fn(|context| Poll::Ready(advance.as_mut().poll(context))).await.is_pending());
    let store = space.store();
    assert_eq!(store.get(&key("k")).await.unwrap(), None);
    assert!(store.put(&key("k"), "2".into(), Expect::At(written), PutOptions::default()).await.is_err());
    store.put(&key("k"), "2".into(), Expect::Absent, PutOptions::default()).await.unwrap();
    pass(HOUR).await;
    assert_eq!(store.get(&key("k")).await.unwrap().unwrap().value, "2", "the old expiry went with the old value");
}

#[tokio::test(start_paused = true)]
async fn a_silent_workers_message_comes_again_after_ack_wait() {
    let space = space().await;
    let queue = space.queue("q", QueueOptions::default().ack_wait(HOUR)).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    queue.publish(Message::new("payload")).await.unwrap();
    let first = one(&mut *pull).await;
    let start = space.clock().now();
    let second = one(&mut *pull).await;
    assert_eq!((second.sequence(), second.attempt()), (first.sequence(), 2));
    assert_passed(&space, start, HOUR);

    // A late word of the first delivery changes nothing for the second.
    first.extend().await.unwrap();
    first.retry(Duration::ZERO).await.unwrap();
    let again = space.clock().timeout(HOUR / 2, one(&mut *pull)).await;
    assert!(again.is_none());
    second.ack().await.unwrap();
    assert!(space.clock().timeout(HOUR * 3, one(&mut *pull)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_extension_starts_ack_wait_anew() {
    let space = space().await;
    let queue = space.queue("q", QueueOptions::default().ack_wait(HOUR)).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    queue.publish(Message::new("payload")).await.unwrap();
    let delivery = one(&mut *pull).await;
    for _ in 0..5 {
        assert!(space.clock().timeout(ALMOST_AN_HOUR, one(&mut *pull)).await.is_none());
        delivery.extend().await.unwrap();
    }
    let extended = space.clock().now();
    assert_eq!(one(&mut *pull).await.attempt(), 2);
    assert_passed(&space, extended, HOUR);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_out_its_delay() {
    let space = space().await;
    let queue = space.queue("q", QueueOptions::default()).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    queue.publish(Message::new("payload")).await.unwrap();
    let start = space.clock().now();
    one(&mut *pull).await.retry(HOUR).await.unwrap();
    assert_eq!(one(&mut *pull).await.attempt(), 2);
    assert_passed(&space, start, HOUR);
}

#[tokio::test(start_paused = true)]
async fn timers_fire_in_the_order_of_their_times() {
    let space = space().await;
    let queue = space.queue("q", QueueOptions::default()).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    let start = space.clock().now();
    let hours = [5_u32, 1, 3, 240];
    let arm = |commit: Commit, hours: u32| {
        let send = Outgoing { queue: Name::new("q").unwrap(), message: Message::new(hours.to_string()) };
        commit.timer(Timer::Arm { name: key(&format!("t{hours}")), at: start + HOUR * hours, send })
    };
    space.store().commit(hours.into_iter().fold(Commit::new(), arm)).await.unwrap();
    for expected in [1, 3, 5, 240] {
        let delivery = one(&mut *pull).await;
        assert_eq!(delivery.message().payload, expected.to_string());
        assert_passed(&space, start, HOUR * expected);
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_is_free_again_after_its_window() {
    let space = space().await;
    let queue = space.queue("q", QueueOptions::default().dedupe_window(HOUR)).await.unwrap();
    let first = queue.publish(Message::new("1").id("a")).await.unwrap();
    pass(ALMOST_AN_HOUR).await;
    assert!(queue.publish(Message::new("2").id("a")).await.unwrap().duplicate);
    pass(TICK).await;
    let second = queue.publish(Message::new("3").id("a")).await.unwrap();
    assert!(!second.duplicate && second.sequence > first.sequence);
    assert!(queue.publish(Message::new("4").id("a")).await.unwrap().duplicate);
}
