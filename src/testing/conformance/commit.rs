//! Cases of commits: everything or nothing, over keys, checks, messages and timers.

use super::{
    all_keys, assert_bad_name, assert_conflict, assert_invalid_option, assert_too_large, assert_unsupported, key,
    next_delivery, put, read, text,
};
use crate::{
    engine::{
        Commit, Expect, Key, Message, Name, Outgoing, Pull, PutOptions, Queue, QueueOptions, Revision, Space, StoreError, Timer,
    },
    time::Timestamp,
};
use bytes::Bytes;
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};

/// All keys are there afterwards.
pub async fn a_commit_writes_all_of_its_keys(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    let labelled = PutOptions::default().label("both");
    let commit =
        Commit::new().put(key("a"), "1".into(), Expect::Absent, labelled).put(key("b"), "2".into(), Expect::Absent, plain());
    let committed = space.store().commit(commit).await.unwrap();
    let (a, b) = (read(space, "a").await.unwrap(), read(space, "b").await.unwrap());
    assert_eq!(committed.revisions, [a.revision, b.revision]);
    assert_eq!((&*a.value, a.label.as_deref(), &*b.value, b.label), (&b"1"[..], Some("both"), &b"2"[..], None));
}

/// Nothing to do is done.
pub async fn an_empty_commit_is_fine(space: &Space) {
    let committed = space.store().commit(Commit::new()).await.unwrap();
    assert!(committed.revisions.is_empty());
}

/// One expectation that does not hold, and no key is written, no message leaves, no timer is armed.
pub async fn one_stale_part_undoes_everything(space: &Space) {
    if refuses_batches(space).await || refuses_timers(space).await {
        return;
    }
    let (_, mut pull) = inbox(space).await;
    let first = put(space, "stale", "1", Expect::Absent).await.unwrap();
    put(space, "stale", "2", Expect::At(first)).await.unwrap();
    for expect in [Expect::At(first), Expect::Absent] {
        let commit = Commit::new()
            .put(key("a"), "1".into(), Expect::Absent, plain())
            .put(key("stale"), "3".into(), expect, plain())
            .delete(key("gone"), Expect::Anything)
            .send(name("inbox"), Message::new("never"))
            .timer(arm("t", space.clock().now(), "never"));
        assert_conflict(space.store().commit(commit).await);
    }
    assert_eq!(all_keys(space).await, [key("stale")]);
    assert_eq!(text(space, "stale").await.as_deref(), Some("2"));
    // The witness is fired later than the timer would have been.
    let at = space.clock().now() + Duration::from_secs(1);
    space.store().commit(Commit::new().timer(arm("witness", at, "witness"))).await.unwrap();
    assert_eq!(receive(space, &mut *pull).await, "witness");
    pull.close().await;
}

/// What the engine refuses is refused as a whole.
pub async fn one_oversized_part_undoes_everything(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    let too_large = Bytes::from(vec![7; space.store().capabilities().max_value + 1]);
    let small = Commit::new().put(key("a"), "1".into(), Expect::Absent, plain());
    let value = small.clone().put(key("b"), too_large.clone(), Expect::Absent, plain());
    assert_too_large(space.store().commit(value).await);
    let message = small.clone().send(name("inbox"), Message::new(too_large));
    assert_too_large(space.store().commit(message).await);
    let longest = Key::new("k".repeat(crate::engine::MAX_KEY_BYTES)).unwrap();
    assert_bad_name(space.store().commit(small.delete(longest.join("k"), Expect::Anything)).await);
    assert!(all_keys(space).await.is_empty());
}

/// A commit can depend on a key that it leaves alone.
pub async fn a_check_holds_a_commit_to_a_key_it_does_not_write(space: &Space) {
    if refuses_checks(space).await {
        return;
    }
    let first = put(space, "fence", "1", Expect::Absent).await.unwrap();
    let fenced = |value: &'static str, at| {
        Commit::new().put(key("k"), value.into(), Expect::Anything, plain()).check(key("fence"), Expect::At(at))
    };
    let committed = space.store().commit(fenced("1", first)).await.unwrap();
    assert_eq!(committed.revisions.len(), 1, "a check writes nothing");
    assert_eq!(read(space, "fence").await.unwrap().revision, first);
    let second = put(space, "fence", "2", Expect::At(first)).await.unwrap();
    assert_conflict(space.store().commit(fenced("2", first)).await);
    assert_eq!(text(space, "k").await.as_deref(), Some("1"));
    space.store().commit(fenced("3", second)).await.unwrap();
    assert_eq!(text(space, "k").await.as_deref(), Some("3"));
}

/// The absence of a key can be a condition, before it is written and after it is deleted.
pub async fn an_absent_check_holds_while_the_key_is_absent(space: &Space) {
    if refuses_checks(space).await {
        return;
    }
    let guarded = |value: &'static str| {
        Commit::new().put(key("k"), value.into(), Expect::Anything, plain()).check(key("guard"), Expect::Absent)
    };
    space.store().commit(guarded("1")).await.unwrap();
    put(space, "guard", "1", Expect::Absent).await.unwrap();
    assert_conflict(space.store().commit(guarded("2")).await);
    space.store().delete(&key("guard"), Expect::Anything).await.unwrap();
    space.store().commit(guarded("3")).await.unwrap();
    assert_eq!(text(space, "k").await.as_deref(), Some("3"));
}

/// Each write has a revision of its own, told at its place and good for the next write.
pub async fn revisions_are_told_in_the_order_of_writes(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    let names = ["c", "a", "b"];
    let mut commit = Commit::new();
    for name in names {
        commit = commit.put(key(name), name.into(), Expect::Absent, plain());
    }
    let revisions = space.store().commit(commit).await.unwrap().revisions;
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    let mut again = Commit::new();
    for (name, revision) in names.into_iter().zip(&revisions) {
        assert_eq!(read(space, name).await.unwrap().revision, *revision);
        again = again.put(key(name), "2".into(), Expect::At(*revision), plain());
    }
    assert!(space.store().commit(again).await.unwrap().revisions[0] > revisions[2]);
}

/// Deletes take part.
pub async fn a_commit_deletes_beside_its_puts(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    let old = put(space, "old", "1", Expect::Absent).await.unwrap();
    let commit = Commit::new().delete(key("old"), Expect::At(old)).put(key("new"), "1".into(), Expect::Absent, plain());
    assert_eq!(space.store().commit(commit).await.unwrap().revisions.len(), 2);
    assert_eq!(all_keys(space).await, [key("new")]);
}

/// Which of two writes of one key would win is not for an engine to choose.
pub async fn a_key_named_twice_is_rejected(space: &Space) {
    let write = Commit::new().put(key("k"), "1".into(), Expect::Anything, plain());
    let twice = [
        write.clone().put(key("k"), "2".into(), Expect::Anything, plain()),
        write.clone().delete(key("k"), Expect::Anything),
        write.check(key("k"), Expect::Absent),
    ];
    for commit in twice {
        if space.store().capabilities().atomic_commit {
            assert_invalid_option(space.store().commit(commit).await);
        } else {
            assert!(matches!(space.store().commit(commit).await, Err(StoreError::Rejected(_))));
        }
    }
    assert_eq!(read(space, "k").await, None);
}

/// A commit of as many parts as allowed succeeds, one part more is rejected.
pub async fn too_many_parts_are_rejected(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    let most = space.store().capabilities().max_commit;
    let of_size = |parts: usize| {
        (0..parts).fold(Commit::new(), |c, i| c.put(key(&format!("k{i}")), "1".into(), Expect::Anything, plain()))
    };
    assert_too_large(space.store().commit(of_size(most + 1)).await);
    assert!(all_keys(space).await.is_empty());
    assert_eq!(space.store().commit(of_size(most)).await.unwrap().revisions.len(), most);
    assert_eq!(all_keys(space).await.len(), most);
}

/// Of commits that race over the same keys one wins each round, and both keys are always of one commit.
pub async fn racing_commits_over_two_keys_never_mix(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    join_all((0..4).map(|worker| async move {
        let mut done = 0;
        while done < 5 {
            let found = space.store().get_many(&[key("a"), key("b")]).await.unwrap();
            let expect = |i: usize| found[i].as_ref().map_or(Expect::Absent, |e| Expect::At(e.revision));
            let value = Bytes::from(format!("{worker}-{done}"));
            let commit = Commit::new()
                .put(key("a"), value.clone(), expect(0), plain())
                .put(key("b"), value, expect(1), plain())
                .put(key(&format!("log.{worker}.{done}")), "1".into(), Expect::Absent, plain());
            match space.store().commit(commit).await {
                Ok(_) => done += 1,
                Err(StoreError::Conflict) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }))
    .await;
    assert_eq!(text(space, "a").await, text(space, "b").await);
    assert_eq!(all_keys(space).await.len(), 2 + 4 * 5);
}

/// A message leaves with its commit, once, with all it carries.
pub async fn a_committed_message_arrives_once(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    let (queue, mut pull) = inbox(space).await;
    let message = Message::new("payload").id("once").header("traceparent", "00-1-2-3");
    let send = |expect| Commit::new().put(key("k"), "1".into(), expect, plain()).send(name("inbox"), message.clone());
    space.store().commit(send(Expect::Absent)).await.unwrap();
    assert_conflict(space.store().commit(send(Expect::Absent)).await);
    // The same id again, as after an unknown outcome: the commit happens, the message is dropped.
    space.store().commit(send(Expect::Anything)).await.unwrap();

    let delivery = next_delivery(space, &mut *pull).await;
    assert_eq!(delivery.message().payload, "payload");
    assert_eq!(delivery.message().id.as_deref(), Some("once"));
    assert_eq!(delivery.message().headers.get("Traceparent"), Some("00-1-2-3"));
    assert_eq!(delivery.attempt(), 1);
    assert_eq!(text(space, "k").await.as_deref(), Some("1"), "the state was there before the message");
    delivery.ack().await.unwrap();
    queue.publish(Message::new("witness")).await.unwrap();
    assert_eq!(receive(space, &mut *pull).await, "witness");
    pull.close().await;
}

/// A message to a queue that nobody opened yet is kept for whoever opens it.
pub async fn a_message_waits_for_its_queue_to_be_opened(space: &Space) {
    if refuses_batches(space).await {
        return;
    }
    let commit = Commit::new()
        .put(key("k"), "1".into(), Expect::Absent, plain())
        .send(name("inbox"), Message::new("first"))
        .send(name("inbox"), Message::new("second"));
    space.store().commit(commit).await.unwrap();
    let (_, mut pull) = inbox(space).await;
    assert_eq!(receive(space, &mut *pull).await, "first");
    assert_eq!(receive(space, &mut *pull).await, "second");
    pull.close().await;
}

/// A timer waits for its time.
pub async fn a_timer_fires_not_before_its_time(space: &Space) {
    if refuses_timers(space).await {
        return;
    }
    let (_, mut pull) = inbox(space).await;
    let at = space.clock().now() + Duration::from_secs(1);
    let commit = Commit::new().put(key("k"), "1".into(), Expect::Absent, plain()).timer(arm("t", at, "ring"));
    space.store().commit(commit).await.unwrap();
    assert_eq!(receive(space, &mut *pull).await, "ring");
    assert!(space.clock().now() >= at);
    assert_eq!(all_keys(space).await, [key("k")], "a timer is no key");
    pull.close().await;
}

/// What is overdue fires now.
pub async fn a_timer_of_the_past_fires_at_once(space: &Space) {
    if refuses_timers(space).await {
        return;
    }
    let (_, mut pull) = inbox(space).await;
    let long_ago = Timestamp::from_millis(1_000_000_000_000);
    space.store().commit(Commit::new().timer(arm("t", long_ago, "late"))).await.unwrap();
    assert_eq!(receive(space, &mut *pull).await, "late");
    pull.close().await;
}

/// A timer that is armed again has one time and one message: the newest.
pub async fn arming_again_replaces_a_timer(space: &Space) {
    if refuses_timers(space).await {
        return;
    }
    let (_, mut pull) = inbox(space).await;
    let now = space.clock().now();
    let seconds = |n| now + Duration::from_secs(n);
    space.store().commit(Commit::new().timer(arm("later", seconds(1), "old"))).await.unwrap();
    space.store().commit(Commit::new().timer(arm("sooner", seconds(3600), "old"))).await.unwrap();
    space.store().commit(Commit::new().timer(arm("later", seconds(4), "new later"))).await.unwrap();
    space.store().commit(Commit::new().timer(arm("sooner", seconds(2), "new sooner"))).await.unwrap();
    assert_eq!(receive(space, &mut *pull).await, "new sooner");
    assert_eq!(receive(space, &mut *pull).await, "new later");
    pull.close().await;
}

/// A cancelled timer stays silent past its time, and can be armed again.
pub async fn a_cancelled_timer_does_not_fire(space: &Space) {
    if refuses_timers(space).await {
        return;
    }
    let (_, mut pull) = inbox(space).await;
    let now = space.clock().now();
    let armed = Commit::new().timer(arm("t", now + Duration::from_secs(1), "cancelled"));
    space.store().commit(armed).await.unwrap();
    let cancel = Commit::new().put(key("k"), "1".into(), Expect::Absent, plain()).timer(Timer::Cancel { name: key("t") });
    space.store().commit(cancel).await.unwrap();
    let witness = Commit::new().timer(arm("witness", now + Duration::from_secs(3), "witness"));
    space.store().commit(witness).await.unwrap();
    assert_eq!(receive(space, &mut *pull).await, "witness");
    space.store().commit(Commit::new().timer(arm("t", now, "again"))).await.unwrap();
    assert_eq!(receive(space, &mut *pull).await, "again");
    pull.close().await;
}

/// A cancel need not know whether the timer fired.
pub async fn cancelling_what_is_not_armed_is_fine(space: &Space) {
    if refuses_timers(space).await {
        return;
    }
    for _ in 0..2 {
        space.store().commit(Commit::new().timer(Timer::Cancel { name: key("t") })).await.unwrap();
    }
}

fn plain() -> PutOptions {
    PutOptions::default()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn arm(timer: &str, at: Timestamp, payload: &'static str) -> Timer {
    Timer::Arm { name: key(timer), at, send: Outgoing { queue: name("inbox"), message: Message::new(payload) } }
}

async fn inbox(space: &Space) -> (Arc<dyn Queue>, Box<dyn Pull>) {
    let queue = space.queue("inbox", QueueOptions::default()).await.unwrap();
    let pull = queue.pull().await.unwrap();
    (queue, pull)
}

/// Takes and acknowledges the next message, and returns its payload.
async fn receive(space: &Space, pull: &mut dyn Pull) -> Bytes {
    let delivery = next_delivery(space, pull).await;
    let payload = delivery.message().payload.clone();
    delivery.ack().await.unwrap();
    payload
}

/// Whether the engine cannot commit several parts; it then has to say so and write none of them.
async fn refuses_batches(space: &Space) -> bool {
    if space.store().capabilities().atomic_commit {
        return false;
    }
    let both =
        Commit::new().put(key("a"), "1".into(), Expect::Anything, plain()).put(key("b"), "1".into(), Expect::Anything, plain());
    assert_unsupported(space.store().commit(both).await);
    assert!(all_keys(space).await.is_empty());
    let single = Commit::new().put(key("a"), "1".into(), Expect::Absent, plain());
    let revision = space.store().commit(single).await.unwrap().revisions[0];
    assert_eq!(read(space, "a").await.unwrap().revision, revision);
    true
}

async fn refuses_timers(space: &Space) -> bool {
    if space.store().capabilities().timers {
        return false;
    }
    assert_unsupported(space.store().commit(Commit::new().timer(arm("t", space.clock().now(), "never"))).await);
    true
}

async fn refuses_checks(space: &Space) -> bool {
    let capabilities = space.store().capabilities();
    if capabilities.checks && capabilities.atomic_commit {
        return false;
    }
    let commit =
        Commit::new().put(key("k"), "1".into(), Expect::Anything, plain()).check(key("guard"), Expect::At(Revision::new(1)));
    assert_unsupported(space.store().commit(commit).await);
    assert_eq!(read(space, "k").await, None);
    true
}
