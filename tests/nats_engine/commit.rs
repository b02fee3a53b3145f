//! Commits: what leaves with a batch, and what a restart or a repetition makes of it.

use super::kit::*;
use anabranch::{
    engine::{Commit, Expect, Message, Name, Outgoing, QueueOptions, StoreError, Timer},
    testing::server::NatsServer,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_acknowledgement_was_lost_is_applied_once() {
    let server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=4s").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    let out = Name::new("out").unwrap();
    // One that is recognized by its key, one by its message, one by neither.
    let commits = [
        Commit::new().put(key("a"), "1".into(), Expect::Absent, plain()).send(out.clone(), Message::new("first")),
        Commit::new().put(key("b"), "1".into(), Expect::Anything, plain()).send(out.clone(), Message::new("second")),
        Commit::new().put(key("b"), "2".into(), Expect::Anything, plain()).put(key("c"), "1".into(), Expect::Anything, plain()),
    ];
    for commit in commits {
        let committed = while_paused(&server, space.store().commit(commit.clone())).await;
        for (write, revision) in commit.writes.iter().zip(committed.unwrap().revisions) {
            assert_eq!(space.store().get(&write.key).await.unwrap().unwrap().revision, revision);
        }
    }
    for payload in ["first", "second"] {
        let delivery = receive(&*queue).await;
        assert_eq!(delivery.message().payload, payload);
        delivery.ack().await.unwrap();
    }
    queue.publish(Message::new("witness")).await.unwrap();
    let delivery = receive(&*queue).await;
    assert_eq!(delivery.message().payload, "witness", "no message left twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_does_not_come_back_after_a_restart() {
    let mut server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    let send =
        Commit::new().put(key("k"), "1".into(), Expect::Absent, plain()).send(Name::new("out").unwrap(), Message::new("one"));
    space.store().commit(send).await.unwrap();
    receive(&*queue).await.ack().await.unwrap();
    server.stop().unwrap();
    server.restart().await.unwrap();
    in_time("a publish", async { while queue.publish(Message::new("witness").id("w")).await.is_err() {} }).await;
    let delivery = receive(&*queue).await;
    assert_eq!(delivery.message().payload, "witness");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_committed_just_before_the_first_direct_one_is_not_lost() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    let name = Name::new("out").unwrap();
    let commit = Commit::new().put(key("k"), "1".into(), Expect::Absent, plain()).send(name, Message::new("committed"));
    space.store().commit(commit).await.unwrap();
    queue.publish(Message::new("direct")).await.unwrap();
    let mut came = Vec::new();
    for _ in 0..2 {
        let delivery = receive(&*queue).await;
        came.push(delivery.message().payload.clone());
        delivery.ack().await.unwrap();
    }
    came.sort();
    assert_eq!(came, ["committed", "direct"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_committed_right_after_a_restart_is_not_lost_to_a_direct_one() {
    let mut server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    let send = |payload: &'static str| {
        let put = Commit::new().put(key("k"), payload.into(), Expect::Anything, plain());
        put.send(Name::new("out").unwrap(), Message::new(payload).id(payload))
    };
    for round in 0..6 {
        // Each way to be the last message before the restart, and each way to stop.
        let (before, committed, direct) = (format!("before {round}"), format!("committed {round}"), format!("direct {round}"));
        let (before, committed) = (&*before.leak(), &*committed.leak());
        if round % 2 == 0 {
            queue.publish(Message::new(before)).await.unwrap();
        } else {
            space.store().commit(send(before)).await.unwrap();
        }
        receive(&*queue).await.ack().await.unwrap();
        if round < 3 {
            server.stop().unwrap();
        } else {
            server.kill();
        }
        server.restart().await.unwrap();
        in_time("a commit", async { while space.store().commit(send(committed)).await.is_err() {} }).await;
        in_time("a publish", async { while queue.publish(Message::new(direct.clone()).id(&*direct)).await.is_err() {} }).await;
        let mut came = Vec::new();
        while came.len() < 2 {
            let delivery = receive(&*queue).await;
            let payload = delivery.message().payload.clone();
            // After a SIGKILL the server may not remember what was acknowledged just before.
            if payload == committed || payload == direct {
                came.push(payload);
            }
            delivery.ack().await.unwrap();
        }
        assert_eq!(came, [committed.as_bytes(), direct.as_bytes()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_drops_the_messages_that_were_sent_before_and_no_other() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    let out = Name::new("out").unwrap();
    queue.publish(Message::new("a").id("a")).await.unwrap();
    let mut commit = Commit::new().put(key("k"), "1".into(), Expect::Absent, plain());
    for payload in ["a", "b", "c"] {
        commit = commit.send(out.clone(), Message::new(payload).id(payload));
    }
    space.store().commit(commit.clone().send(out.clone(), Message::new("without"))).await.unwrap();
    assert!(matches!(space.store().commit(commit).await, Err(StoreError::Conflict)), "its key is there");
    // Nothing is left of this one but the news that it was done.
    let again = Commit::new().send(out.clone(), Message::new("b").id("b")).send(out, Message::new("c").id("c"));
    space.store().commit(again).await.unwrap();
    queue.publish(Message::new("witness")).await.unwrap();
    for payload in ["a", "b", "c", "without", "witness"] {
        let delivery = receive(&*queue).await;
        assert_eq!(delivery.message().payload, payload);
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_sent_to_two_queues_reaches_both() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let mut commit = Commit::new();
    for name in ["left", "right"] {
        commit = commit.send(Name::new(name).unwrap(), Message::new(name).id("same"));
    }
    space.store().commit(commit).await.unwrap();
    for name in ["left", "right"] {
        let queue = space.queue(name, QueueOptions::default()).await.unwrap();
        let delivery = receive(&*queue).await;
        assert_eq!((delivery.message().id.as_deref(), &*delivery.message().payload), (Some("same"), name.as_bytes()));
        let again = queue.publish(Message::new("again").id("same")).await.unwrap();
        assert_eq!((again.duplicate, again.sequence), (true, delivery.sequence()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_keeps_the_id_and_the_headers_of_its_message() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    if !space.store().capabilities().timers {
        return;
    }
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    let message = Message::new("ring").id("once").header("traceparent", "00-1-2-3");
    let send = Outgoing { queue: Name::new("out").unwrap(), message };
    let timer = Timer::Arm { name: key("t"), at: space.clock().now(), send };
    space.store().commit(Commit::new().timer(timer)).await.unwrap();
    let delivery = receive(&*queue).await;
    assert_eq!(delivery.message().id.as_deref(), Some("once"));
    assert_eq!(delivery.message().headers.iter().collect::<Vec<_>>(), [("traceparent", "00-1-2-3")]);
}
