//! Faults of reads and writes, of tallies and of what is opened.

use crate::kit::*;
use anabranch::{
    engine::{BucketOptions, Commit, Expect, Message, PutOptions, QueueOptions, Rejection, StoreError, StreamOptions},
    testing::faulty::{Fault, Op},
};
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;

#[tokio::test(start_paused = true)]
async fn a_conflict_writes_nothing() {
    let world = World::new(1).await;
    world.trouble().once(Fault::Conflict, |call| call.op.writes());
    assert!(matches!(put(&world.space, "k", "1").await, Err(StoreError::Conflict)));
    assert_eq!(text(&world.real, "k").await, None);
    put(&world.space, "k", "1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_unknown_whether_or_not_it_was_applied() {
    let world = World::new(1).await;
    for (name, applied) in [("done", true), ("undone", false)] {
        world.trouble().once(Fault::Unknown { applied }, |call| call.op.writes());
        assert!(matches!(put(&world.space, name, "1").await, Err(StoreError::Unknown(_))));
        assert_eq!(text(&world.real, name).await.is_some(), applied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_hidden_by_a_lost_answer() {
    let world = World::new(1).await;
    put(&world.real, "k", "1").await.unwrap();
    world.trouble().once(Fault::Unknown { applied: true }, |call| call.op.writes());
    let refused = world.space.store().put(&key("k"), "2".into(), Expect::Absent, PutOptions::default()).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_is_of_what_was_there() {
    let world = World::new(1).await;
    world.trouble().remember();
    for value in ["1", "2", "3"] {
        put(&world.space, "k", value).await.unwrap();
    }
    world.space.store().delete(&key("k"), Expect::Anything).await.unwrap();
    for (back, seen) in [(1, Some("3")), (2, Some("2")), (3, Some("1"))] {
        world.trouble().once(Fault::Stale { back }, |call| call.op == Op::Read);
        assert_eq!(text(&world.space, "k").await.as_deref(), seen, "{back} back");
        assert_eq!(text(&world.space, "k").await, None, "once");
    }
    put(&world.space, "new", "1").await.unwrap();
    world.trouble().once(Fault::Stale { back: 1 }, |call| call.op == Op::Read);
    assert_eq!(text(&world.space, "new").await, None, "before it was written");
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_of_several_keys_is_of_one_moment() {
    let world = World::new(1).await;
    world.trouble().remember();
    let (store, both) = (world.space.store(), [key("a"), key("b")]);
    let move_to = |value: &'static str| {
        let commit = Commit::new().put(key("a"), value.into(), Expect::Anything, PutOptions::default());
        store.commit(commit.put(key("b"), value.into(), Expect::Anything, PutOptions::default()))
    };
    move_to("1").await.unwrap();
    store.get_many(&both).await.unwrap();
    move_to("2").await.unwrap();
    move_to("3").await.unwrap();
    for (back, seen) in [(1, "2"), (2, "1"), (9, "1")] {
        world.trouble().once(Fault::Stale { back }, |call| call.op == Op::Read);
        let found = store.get_many(&both).await.unwrap();
        assert_eq!(found.into_iter().map(|entry| entry.unwrap().value).collect::<Vec<_>>(), [seen, seen], "{back} back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_is_overtaken() {
    let world = World::new(1).await;
    world.trouble().plan({
        let mut delay = Some(Fault::Delay(2 * SECOND));
        move |call| call.op.writes().then(|| delay.take()).flatten()
    });
    let later = async {
        anabranch::testing::pass(SECOND).await;
        put(&world.space, "k", "second").await
    };
    let (first, second) = tokio::join!(put(&world.space, "k", "first"), later);
    assert!(first.unwrap() > second.unwrap());
    assert_eq!(text(&world.real, "k").await.as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_of_what_happened_at_once() {
    let world = World::new(1).await;
    world.trouble().once(Fault::Late(2 * SECOND), |call| call.op.writes());
    let before = world.space.clock().now();
    let look = async {
        anabranch::testing::pass(SECOND).await;
        text(&world.real, "k").await
    };
    let (written, seen) = tokio::join!(put(&world.space, "k", "1"), look);
    assert_eq!((written.is_ok(), seen.as_deref()), (true, Some("1")));
    assert_eq!(world.space.clock().now().since(before), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_write_happens_and_is_never_answered() {
    let world = World::new(1).await;
    world.trouble().once(Fault::Hang, |call| call.op.writes());
    let hangs = world.space.clock().timeout(3600 * SECOND, put(&world.space, "k", "1")).await;
    assert!(hangs.is_none());
    assert_eq!(text(&world.real, "k").await.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_callers() {
    let world = World::new(1).await;
    world.trouble().once(Fault::Panic, |call| call.op.writes());
    assert!(AssertUnwindSafe(put(&world.space, "k", "1")).catch_unwind().await.is_err());
    assert_eq!(text(&world.real, "k").await, None);
    put(&world.space, "k", "1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_what_writes_until_there_is_room() {
    let world = World::new(1).await;
    let (queue, mut pull) = world.queue().await;
    queue.publish(Message::new("before")).await.unwrap();
    put(&world.space, "k", "1").await.unwrap();
    world.trouble().fill_up();
    assert!(matches!(put(&world.space, "k", "2").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(queue.publish(Message::new("more")).await, Err(StoreError::Unavailable(_))));
    assert_eq!(text(&world.space, "k").await.as_deref(), Some("1"), "reading needs no room");
    let delivery = next(&mut *pull).await;
    world.trouble().make_room();
    delivery.ack().await.unwrap();
    put(&world.space, "k", "2").await.unwrap();
    world.trouble().once(Fault::Full, |call| call.op == Op::Put);
    assert!(matches!(put(&world.space, "k", "3").await, Err(StoreError::Unavailable(_))));
    assert_eq!(text(&world.real, "k").await.as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_too_large_when_a_rule_says_so() {
    let world = World::new(1).await;
    world.trouble().plan(|call| (call.size > 3).then_some(Fault::TooLarge));
    put(&world.space, "k", "abc").await.unwrap();
    let refused = put(&world.space, "k", "abcd").await;
    let Err(StoreError::Rejected(Rejection::TooLarge { size, limit, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!((size, limit), (4, 3));
    let commit = Commit::new().put(key("k"), "abcdef".into(), Expect::Anything, PutOptions::default());
    assert!(matches!(world.space.store().commit(commit).await, Err(StoreError::Rejected(_))));
    assert_eq!(text(&world.real, "k").await.as_deref(), Some("abc"));
}

#[tokio::test(start_paused = true)]
async fn a_ttl_ends_right_before_or_right_after_a_call() {
    let world = World::new(1).await;
    let mortal = || PutOptions::default().ttl(60 * SECOND);
    let mut changes = watch(&world.space).await;
    put(&world.space, "immortal", "1").await.unwrap();
    let first = put_with(&world.space, "k", "1", mortal()).await.unwrap();
    assert_eq!(said(&mut changes).await, ["immortal=1", "k=1"]);

    // Right before a renewal: whoever renews finds that it is gone.
    world.trouble().once(Fault::Expire { before: true }, |call| call.op == Op::Put);
    let renewal = world.space.store().put(&key("k"), "2".into(), Expect::At(first), mortal()).await;
    assert!(matches!(renewal, Err(StoreError::Conflict)), "{renewal:?}");
    assert_eq!(said(&mut changes).await, ["k expired"]);

    // Right after a renewal, before it is answered.
    world.trouble().once(Fault::Expire { before: false }, |call| call.op == Op::Put);
    put_with(&world.space, "k", "3", mortal()).await.unwrap();
    assert_eq!(text(&world.real, "k").await, None);
    assert_eq!(said(&mut changes).await, ["k expired"]);

    // What has no TTL stays, and so does what was written over one that had.
    put_with(&world.space, "k", "4", mortal()).await.unwrap();
    put(&world.space, "k", "5").await.unwrap();
    world.trouble().plan(|_| Some(Fault::Expire { before: true }));
    assert_eq!(text(&world.space, "k").await.as_deref(), Some("5"));
    assert_eq!(text(&world.space, "immortal").await.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_not_taken_for_an_expiry() {
    let world = World::new(1).await;
    let mut changes = watch(&world.space).await;
    put_with(&world.space, "k", "1", PutOptions::default().ttl(60 * SECOND)).await.unwrap();
    world.trouble().once(Fault::Expire { before: false }, |call| call.op == Op::Read);
    text(&world.space, "k").await.unwrap();
    assert_eq!(said(&mut changes).await, ["k expired"]);
    put(&world.space, "k", "2").await.unwrap();
    world.space.store().delete(&key("k"), Expect::Anything).await.unwrap();
    assert_eq!(said(&mut changes).await, ["k deleted"]);
}

#[tokio::test(start_paused = true)]
async fn an_addition_may_be_made_and_not_answered() {
    let world = World::new(1).await;
    let tally = world.space.tally().await.unwrap();
    for (applied, then) in [(false, None), (true, Some(5))] {
        world.trouble().once(Fault::Unknown { applied }, |call| call.op == Op::Add);
        assert!(matches!(tally.add(&key("n"), 5).await, Err(StoreError::Unknown(_))));
        assert_eq!(tally.value(&key("n")).await.unwrap(), then);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_opened_may_not_be_there_to_open() {
    let world = World::new(1).await;
    let engine = world.engine.engine();
    world.trouble().plan(|call| (call.op == Op::Open).then_some(Fault::Unavailable));
    assert!(matches!(engine.space("other").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(engine.bucket("other", BucketOptions::default()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(engine.stream("other", StreamOptions::default()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(world.space.queue("q", QueueOptions::default()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(world.space.tally().await, Err(StoreError::Unavailable(_))));
    world.trouble().behave();
    engine.space("other").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bucket_misbehaves_as_its_engine_does() {
    let world = World::new(1).await;
    let bucket = world.engine.engine().bucket("b", BucketOptions::default()).await.unwrap();
    world.trouble().once(Fault::Unknown { applied: true }, |call| call.place == "bucket b" && call.op == Op::Put);
    assert!(matches!(put(&bucket, "k", "1").await, Err(StoreError::Unknown(_))));
    assert_eq!(text(&bucket, "k").await.as_deref(), Some("1"));
}
