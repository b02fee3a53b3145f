//! Commits: what leaves with a batch, and what a restart or a repetition makes of it.

use super::kit::*;
use anabranch::{
    engine::{Commit, Expect, Message, Name, Outgoing, QueueOptions, Space, StoreError, Timer},
    testing::server::NatsServer,
};
use futures_util::future::join_all;
use std::collections::HashSet;

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

/// Two keys that belong together, and a message.
fn pair(n: usize, expect: Expect) -> Commit {
    let (left, right) = (format!("pair.{n}.left"), format!("pair.{n}.right"));
    let commit = Commit::new().put(key(&left), n.to_string().into(), expect, plain());
    commit.put(key(&right), n.to_string().into(), expect, plain()).send(Name::new("out").unwrap(), Message::new(n.to_string()))
}

/// In how many batches these pairs came.
async fn batches(url: &str, space: &Space, pairs: usize) -> usize {
    let stream = client(url).await.get_stream(format!("KV_{}", space.name())).await.unwrap();
    let mut batches = HashSet::new();
    for n in 0..pairs {
        let subject = format!("$KV.{}.pair.{n}.left", space.name());
        let message = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
        batches.insert(message.headers.get("Nats-Batch-Id").unwrap().as_str().to_owned());
    }
    batches.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_come_together_share_batches() {
    const COMMITS: usize = 200;
    let url = NatsServer::shared().await.url();
    let space = space(&url, "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let done = join_all((0..COMMITS).map(|n| space.store().commit(pair(n, Expect::Absent)))).await;
    for (n, committed) in done.into_iter().enumerate() {
        let revisions = committed.unwrap().revisions;
        let found = space.store().get(&key(&format!("pair.{n}.right"))).await.unwrap().unwrap();
        assert_eq!((revisions.len(), found.revision, found.value), (2, revisions[1], n.to_string().into()));
    }
    let batches = batches(&url, &space, COMMITS).await;
    assert!(batches <= COMMITS / 10, "{COMMITS} commits came in {batches} batches");
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    for n in 0..COMMITS {
        let delivery = receive(&*queue).await;
        assert_eq!(delivery.message().payload, n.to_string(), "as they were asked for");
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_commits_among_many_fail_alone() {
    const COMMITS: usize = 60;
    let space = space(&NatsServer::shared().await.url(), "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    for n in [7, 33, 34] {
        put(&space, &format!("pair.{n}.right"), "there already", Expect::Absent).await.unwrap();
    }
    // One was there and is gone: it is absent, behind a tombstone.
    let gone = put(&space, "pair.50.left", "gone", Expect::Absent).await.unwrap();
    space.store().delete(&key("pair.50.left"), Expect::At(gone)).await.unwrap();
    let done = join_all((0..COMMITS).map(|n| space.store().commit(pair(n, Expect::Absent)))).await;
    for (n, committed) in done.iter().enumerate() {
        let stale = [7, 33, 34].contains(&n);
        assert_eq!(stale, matches!(committed, Err(StoreError::Conflict)), "{n}: {committed:?}");
        assert_eq!(text(&space, &format!("pair.{n}.left")).await, (!stale).then(|| n.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_meet_on_a_key_do_not_share_a_batch() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    for round in 0..5 {
        let done = join_all((0..8).map(|_| space.store().commit(pair(round, Expect::Absent)))).await;
        assert_eq!(done.iter().filter(|d| d.is_ok()).count(), 1, "{done:?}");
        assert!(done.iter().all(|d| matches!(d, Ok(_) | Err(StoreError::Conflict))), "{done:?}");
    }
    // A check of one is a write of another.
    let held = put(&space, "held", "1", Expect::Absent).await.unwrap();
    let release = Commit::new().put(key("held"), "0".into(), Expect::At(held), plain()).put(
        key("log"),
        "released".into(),
        Expect::Anything,
        plain(),
    );
    let under = (0..20).map(|n| space.store().commit(pair(100 + n, Expect::Absent).check(key("held"), Expect::At(held))));
    let (done, released) = tokio::join!(join_all(under), space.store().commit(release));
    let released = released.unwrap().revisions[0];
    for (n, committed) in done.into_iter().enumerate() {
        match committed {
            Ok(committed) => assert!(committed.revisions[0] < released, "{n} was committed after what it depends on was gone"),
            Err(error) => assert!(matches!(error, StoreError::Conflict), "{n}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lost_answer_of_a_shared_batch_is_found_for_each_of_its_commits() {
    const COMMITS: usize = 24;
    let server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=8s").await;
    if !space.store().capabilities().atomic_commit {
        return;
    }
    let queue = space.queue("out", QueueOptions::default()).await.unwrap();
    let done = while_paused(&server, join_all((0..COMMITS).map(|n| space.store().commit(pair(n, Expect::Anything))))).await;
    for (n, committed) in done.into_iter().enumerate() {
        let revisions = committed.unwrap().revisions;
        let found = space.store().get(&key(&format!("pair.{n}.right"))).await.unwrap().unwrap();
        assert_eq!((found.revision, found.value), (revisions[1], n.to_string().into()));
    }
    queue.publish(Message::new("witness")).await.unwrap();
    let mut came = Vec::new();
    while came.last().is_none_or(|last| last != "witness") {
        let delivery = receive(&*queue).await;
        came.push(String::from_utf8(delivery.message().payload.to_vec()).unwrap());
        delivery.ack().await.unwrap();
    }
    assert_eq!(came.len(), COMMITS + 1, "each message left once: {came:?}");
}
