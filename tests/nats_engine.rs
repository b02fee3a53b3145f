//! What only the JetStream engine can get wrong: lost acknowledgements, dead and paused servers, foreign clients, versions.
//!
//! Tests run on the nats-server of `ANABRANCH_NATS_SERVER` or of the path; what a version lacks has to be refused.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anabranch::{
    engine::{
        Change, Commit, Delivery, Engine, Expect, Key, Message, Name, OpenError, Outgoing, Prefix, PutOptions, Queue,
        QueueOptions, Rejection, Revision, Space, StoreError, Timer,
    },
    testing::server::{NatsCluster, NatsServer, ServerOptions},
    time::{Clock, nonce},
};
use async_nats::jetstream;
use futures_util::{StreamExt as _, future::join_all, stream::BoxStream};
use std::{num::NonZeroUsize, time::Duration};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn plain() -> PutOptions {
    PutOptions::default()
}

/// Opens a space of its own, with a query appended to the URL.
async fn space(url: &str, query: &str) -> Space {
    let joint = if url.contains('?') { "&" } else { "?" };
    let url = if query.is_empty() { url.to_owned() } else { format!("{url}{joint}{query}") };
    Engine::open(&url).await.unwrap().space(format!("test-{:x}", nonce())).await.unwrap()
}

async fn put(space: &Space, name: &str, value: &str, expect: Expect) -> Result<Revision, StoreError> {
    space.store().put(&key(name), value.to_owned().into(), expect, plain()).await
}

async fn text(space: &Space, name: &str) -> Option<String> {
    let entry = space.store().get(&key(name)).await.unwrap();
    entry.map(|e| String::from_utf8(e.value.to_vec()).unwrap())
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(60), future).await else { panic!("{what} takes too long") };
    done
}

async fn next(changes: &mut BoxStream<'static, Change>) -> Change {
    in_time("a change", changes.next()).await.unwrap()
}

/// Reads changes until a key has this value, and returns what came before.
async fn until_put(changes: &mut BoxStream<'static, Change>, name: &str, value: &str) -> Vec<Change> {
    let mut before = Vec::new();
    loop {
        match next(changes).await {
            Change::Put(entry) if entry.key == key(name) && entry.value == value => return before,
            other => before.push(other),
        }
    }
}

async fn receive(queue: &dyn Queue) -> Delivery {
    let mut pull = queue.pull().await.unwrap();
    let one = in_time("a message", async {
        loop {
            if let Ok(taken) = pull.next(NonZeroUsize::MIN).await {
                break taken;
            }
        }
    });
    let delivery = one.await.pop().unwrap();
    pull.close().await;
    delivery
}

async fn client(url: &str) -> jetstream::Context {
    let server = url.split('?').next().unwrap().split(',').next().unwrap().to_owned();
    jetstream::new(async_nats::connect(server).await.unwrap())
}

/// Adds one to a counter as a careful caller does: read again after a conflict, and never repeat what is unknown.
async fn add_one(space: &Space, name: &str) -> Result<(), StoreError> {
    loop {
        let entry = space.store().get(&key(name)).await?;
        let expect = entry.as_ref().map_or(Expect::Absent, |e| Expect::At(e.revision));
        let count = entry.map_or(0, |e| String::from_utf8_lossy(&e.value).parse::<u64>().unwrap());
        match put(space, name, &(count + 1).to_string(), expect).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

fn at_least(version: &str, minor: u64) -> bool {
    version.split('.').nth(1).and_then(|m| m.parse::<u64>().ok()).unwrap() >= minor
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_follow_the_servers_version() {
    let server = NatsServer::shared().await;
    let version = server.version().unwrap();
    let space = space(&server.url(), "").await;
    let can = space.store().capabilities();
    assert_eq!(can.engine, format!("nats-server {version}"));
    assert_eq!((can.atomic_commit, can.checks), (at_least(&version, 12), at_least(&version, 12)));
    assert_eq!(can.timers, at_least(&version, 14));
    assert!(can.ttl && can.consistent_get_many && can.durable && !can.exclusive);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_url_option_is_an_error_and_not_a_default() {
    let url = format!("{}?replica=3", NatsServer::shared().await.url());
    assert!(matches!(Engine::open(&url).await, Err(OpenError::Url(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_is_unavailable_within_the_timeout() {
    let open = in_time("opening", Engine::open("nats://127.0.0.1:9?timeout=1s")).await;
    assert!(matches!(open, Err(OpenError::Store(StoreError::Unavailable(_)))), "{open:?}");

    let mut server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=500ms").await;
    server.kill();
    let written = in_time("a put", put(&space, "k", "1", Expect::Absent)).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_) | StoreError::Unknown(_))), "{written:?}");
    // By now the connection is known to be away, so nothing is sent.
    let written = in_time("a put", put(&space, "k", "1", Expect::Absent)).await;
    assert!(matches!(written, Err(StoreError::Unavailable(_))), "{written:?}");
    assert!(matches!(space.store().get(&key("k")).await, Err(StoreError::Unavailable(_))));
    server.restart().await.unwrap();
    in_time("the way back", async { while put(&space, "k", "1", Expect::Anything).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_shape_is_refused_and_left_alone() {
    let url = NatsServer::shared().await.url();
    let js = client(&url).await;
    let name = format!("foreign-{:x}", nonce());
    let config = jetstream::kv::Config { bucket: name.clone(), history: 5, ..Default::default() };
    js.create_key_value(config).await.unwrap();
    let opened = Engine::open(&url).await.unwrap().space(name.as_str()).await;
    assert!(matches!(opened, Err(StoreError::Rejected(Rejection::Refused(_)))), "{opened:?}");
    let stream = js.get_stream(format!("KV_{name}")).await.unwrap();
    assert_eq!(stream.cached_info().config.max_messages_per_subject, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_kv_client_reads_our_values_and_its_write_is_an_ordinary_conflict() {
    let url = NatsServer::shared().await.url();
    let space = space(&url, "").await;
    let foreign = client(&url).await.get_key_value(space.name().as_str()).await.unwrap();
    let first = put(&space, "k", "ours", Expect::Absent).await.unwrap();
    let entry = foreign.entry("k").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision), (b"ours".as_slice(), first.get()));
    let second = foreign.update("k", "theirs".into(), first.get()).await.unwrap();
    assert!(matches!(put(&space, "k", "again", Expect::At(first)).await, Err(StoreError::Conflict)));
    let entry = space.store().get(&key("k")).await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision.get(), entry.label), (b"theirs".as_slice(), second, None));
    let third = put(&space, "k", "ours", Expect::At(entry.revision)).await.unwrap();
    space.store().delete(&key("k"), Expect::At(third)).await.unwrap();
    assert_eq!(foreign.get("k").await.unwrap(), None);
    foreign.create("k", "back".into()).await.unwrap();
    foreign.delete("k").await.unwrap();
    assert_eq!(text(&space, "k").await, None);
    put(&space, "k", "over their tombstone", Expect::Absent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_survives_creating_a_key_over_its_tombstone() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let mut changes = space.store().watch(&Prefix::ALL).await.unwrap();
    let short = || plain().ttl(Duration::from_secs(1));
    for _ in 0..2 {
        // Over nothing, over the marker of the expiry, and over the tombstone of the delete.
        space.store().put(&key("lease"), "1".into(), Expect::Absent, short()).await.unwrap();
        while !matches!(next(&mut changes).await, Change::Expired(k, _) if k == key("lease")) {}
        space.store().put(&key("lease"), "2".into(), Expect::Absent, short()).await.unwrap();
        space.store().delete(&key("lease"), Expect::Anything).await.unwrap();
        space.store().put(&key("lease"), "3".into(), Expect::Absent, short()).await.unwrap();
        while !matches!(next(&mut changes).await, Change::Expired(k, _) if k == key("lease")) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_acknowledgement_was_lost_is_recognized_and_counted_once() {
    let server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=4s").await;
    let mut revision = put(&space, "n", "0", Expect::Absent).await.unwrap();
    for round in 1..=3 {
        let round = round.to_string();
        let written = while_paused(&server, put(&space, "n", &round, Expect::At(revision))).await;
        revision = written.unwrap();
        let entry = space.store().get(&key("n")).await.unwrap().unwrap();
        assert_eq!((entry.value, entry.revision), (round.into(), revision));
    }
}

/// Lets the first attempt of an operation with a timeout of 4 seconds run into a paused server, so that its acknowledgement is
/// lost and it is applied on resume. The time is the fault that is injected, not a wait for something to happen.
async fn while_paused<T>(server: &NatsServer, operation: impl Future<Output = T>) -> T {
    let silence = server.fall_silent(Duration::from_millis(1300)).unwrap();
    in_time("the operation", async { tokio::join!(operation, silence) }).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_cannot_be_resolved_is_unknown_and_its_ghost_applies_at_most_once() {
    let server = NatsServer::start().await.unwrap();
    let (ours, other) = (space(&server.url(), "timeout=400ms").await, Engine::open(&server.url()).await.unwrap());
    let other = other.space(ours.name().as_str()).await.unwrap();
    let first = put(&ours, "n", "0", Expect::Absent).await.unwrap();
    let mut changes = other.store().watch(&Prefix::ALL).await.unwrap();
    until_put(&mut changes, "n", "0").await;
    server.pause().unwrap();
    let written = put(&ours, "n", "1", Expect::At(first)).await;
    server.resume().unwrap();
    assert!(matches!(written, Err(StoreError::Unknown(_))), "{written:?}");
    assert!(until_put(&mut changes, "n", "1").await.iter().all(|c| *c == Change::Synced));
    assert!(matches!(put(&other, "n", "2", Expect::At(first)).await, Err(StoreError::Conflict)));
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_are_counted_exactly_once_while_the_server_is_paused_and_killed() {
    let mut server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=20s").await;
    let workers = join_all((0..4).map(|_| async {
        let mut unknown = 0;
        for _ in 0..25 {
            match add_one(&space, "n").await {
                Ok(()) => {}
                Err(StoreError::Unknown(_)) => unknown += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        unknown
    }));
    let trouble = async {
        for _ in 0..3 {
            // Some are counted, then the server stops amid the next.
            while space.store().get(&key("n")).await.ok().flatten().is_none() {}
            server.pause().unwrap();
            server.kill();
            server.restart().await.unwrap();
        }
    };
    let (unknown, ()) = in_time("the count", async { tokio::join!(workers, trouble) }).await;
    let (unknown, count) = (unknown.into_iter().sum::<u64>(), text(&space, "n").await.unwrap().parse::<u64>().unwrap());
    assert!(count <= 100 && count + unknown >= 100, "{count} were counted and {unknown} are unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_on_a_replicated_stream_is_a_conflict_whatever_its_code() {
    let cluster = NatsCluster::start().await.unwrap();
    let space = space(&cluster.url(), "").await;
    let done = join_all((0..6).map(|_| async {
        for _ in 0..15 {
            add_one(&space, "n").await.unwrap();
        }
    }));
    in_time("the count", done).await;
    assert_eq!(text(&space, "n").await.as_deref(), Some("90"));
    let raced = join_all((0..12).map(|i| put(&space, "new", if i % 2 == 0 { "a" } else { "b" }, Expect::Absent))).await;
    assert_eq!(raced.iter().filter(|r| r.is_ok()).count(), 1, "{raced:?}");
    assert!(raced.iter().all(|r| matches!(r, Ok(_) | Err(StoreError::Conflict))), "{raced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_loses_its_leader_counts_on() {
    let mut cluster = NatsCluster::start().await.unwrap();
    let url = cluster.url();
    let space = space(&url, "timeout=20s").await;
    add_one(&space, "n").await.unwrap();
    let stream = format!("KV_{}", space.name());
    let leader = client(&url).await.get_stream(&stream).await.unwrap().cached_info().cluster.as_ref().unwrap().leader.clone();
    let leader = leader.unwrap();
    let mut changes = space.store().watch(&Prefix::ALL).await.unwrap();
    until_put(&mut changes, "n", "1").await;
    let workers = join_all((0..3).map(|_| async {
        let mut unknown = 0;
        for _ in 0..10 {
            match add_one(&space, "n").await {
                Ok(()) => {}
                // What was written under the old leader and overwritten since cannot always be told: that is said, not guessed.
                Err(StoreError::Unknown(_)) => unknown += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        unknown
    }));
    let kill = async {
        cluster.node(&leader).kill();
    };
    let (unknown, ()) = in_time("the count", async { tokio::join!(workers, kill) }).await;
    let (unknown, count) = (unknown.into_iter().sum::<u64>(), text(&space, "n").await.unwrap().parse::<u64>().unwrap());
    assert!(count <= 31 && count + unknown >= 31, "{count} were counted and {unknown} are unknown");
    until_put(&mut changes, "n", &count.to_string()).await;
    cluster.node(&leader).restart().await.unwrap();
    add_one(&space, "n").await.unwrap();
    until_put(&mut changes, "n", &(count + 1).to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_heals_after_the_server_was_killed_and_started_again() {
    let mut server = NatsServer::start().await.unwrap();
    let (ours, other) = (space(&server.url(), "").await, Engine::open(&server.url()).await.unwrap());
    let other = other.space(ours.name().as_str()).await.unwrap();
    put(&ours, "before", "1", Expect::Absent).await.unwrap();
    let mut changes = ours.store().watch(&Prefix::ALL).await.unwrap();
    assert!(matches!(next(&mut changes).await, Change::Put(_)));
    assert_eq!(next(&mut changes).await, Change::Synced);
    for round in ["2", "3"] {
        server.kill();
        server.restart().await.unwrap();
        in_time("a put", async { while put(&other, "after", round, Expect::Anything).await.is_err() {} }).await;
        assert_eq!(until_put(&mut changes, "after", round).await, [], "nothing was missed, and nothing comes twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_heals_after_the_server_was_paused() {
    let server = NatsServer::start().await.unwrap();
    let ours = space(&server.url(), "").await;
    let mut changes = ours.store().watch(&Prefix::ALL).await.unwrap();
    assert_eq!(next(&mut changes).await, Change::Synced);
    // Longer than a watch takes silence for life.
    server.fall_silent(Duration::from_secs(5)).unwrap().await.unwrap();
    in_time("a put", async { while put(&ours, "k", "1", Expect::Anything).await.is_err() {} }).await;
    until_put(&mut changes, "k", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_stream_that_was_made_anew_starts_over() {
    let server = NatsServer::start().await.unwrap();
    let ours = space(&server.url(), "").await;
    for n in ["1", "2", "3"] {
        put(&ours, n, n, Expect::Absent).await.unwrap();
    }
    let mut changes = ours.store().watch(&Prefix::ALL).await.unwrap();
    while next(&mut changes).await != Change::Synced {}
    client(&server.url()).await.delete_stream(format!("KV_{}", ours.name())).await.unwrap();
    let again = Engine::open(&server.url()).await.unwrap().space(ours.name().as_str()).await.unwrap();
    put(&again, "new", "1", Expect::Absent).await.unwrap();
    while next(&mut changes).await != Change::Resynced {}
    let after = until_put(&mut changes, "new", "1").await;
    assert!(after.is_empty() || after == [Change::Synced], "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_goes_on_after_the_server_was_killed_and_its_consumer_deleted() {
    let mut server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "").await;
    let queue = space.queue("work", QueueOptions::default().ack_wait(Duration::from_secs(2))).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    let publish = async |payload: &'static str| {
        in_time("a publish", async { while queue.publish(Message::new(payload).id(payload)).await.is_err() {} }).await;
    };
    for payload in ["before", "after the restart", "after the deletion"] {
        match payload {
            "after the restart" => {
                server.kill();
                server.restart().await.unwrap();
            }
            "after the deletion" => {
                let stream = format!("Q_{}=work", space.name());
                client(&server.url()).await.delete_consumer_from_stream("workers", &stream).await.unwrap();
            }
            _ => {}
        }
        publish(payload).await;
        let taken = in_time("a message", async {
            loop {
                match pull.next(NonZeroUsize::MIN).await {
                    Ok(taken) => break taken,
                    Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
                }
            }
        });
        for delivery in taken.await {
            assert_eq!(delivery.message().payload, payload);
            delivery.ack().await.unwrap();
        }
    }
    pull.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_nobody_hears_is_an_error() {
    let server = NatsServer::start().await.unwrap();
    let space = space(&server.url(), "timeout=1s").await;
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("payload")).await.unwrap();
    let delivery = receive(&*queue).await;
    let stream = format!("Q_{}=work", space.name());
    client(&server.url()).await.delete_consumer_from_stream("workers", &stream).await.unwrap();
    assert!(matches!(delivery.ack().await, Err(StoreError::Unavailable(_))));
    let again = receive(&*queue).await;
    assert_eq!(again.message().payload, "payload");
    again.ack().await.unwrap();
}

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
async fn what_was_done_does_not_come_back_from_the_outbox_after_a_restart() {
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

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_one_page_are_one_snapshot() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let keys: Vec<_> = (0..2500).map(|i| key(&format!("k.{i}"))).collect();
    for some in keys.chunks(250) {
        join_all(some.iter().map(|k| space.store().put(k, k.to_string().into(), Expect::Absent, plain()))).await;
    }
    let absent = key("absent");
    let asked: Vec<_> = keys.iter().chain([&absent]).cloned().collect();
    let found = space.store().get_many(&asked).await.unwrap();
    assert!(found[2500].is_none());
    assert!(
        found.iter().zip(&keys).all(|(entry, key)| entry.as_ref().is_some_and(|e| e.key == *key && e.value == key.to_string()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_keeps_two_applications_apart() {
    let url = NatsServer::shared().await.url();
    let name = format!("shop-{:x}", nonce());
    let mut spaces = Vec::new();
    for prefix in ["one-", "two-"] {
        let engine = Engine::open(&format!("{url}?prefix={prefix}")).await.unwrap();
        let space = engine.space(name.as_str()).await.unwrap();
        put(&space, "k", prefix, Expect::Absent).await.unwrap();
        spaces.push(space);
    }
    assert_eq!(text(&spaces[0], "k").await.as_deref(), Some("one-"));
    assert_eq!(text(&spaces[1], "k").await.as_deref(), Some("two-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_syncs_always_keeps_what_it_acknowledged() {
    let mut server = ServerOptions::default().sync_always().start().await.unwrap();
    let space = space(&server.url(), "").await;
    let revision = put(&space, "k", "1", Expect::Absent).await.unwrap();
    server.kill();
    server.restart().await.unwrap();
    let entry = in_time("a get", async {
        loop {
            if let Ok(Some(entry)) = space.store().get(&key("k")).await {
                break entry;
            }
        }
    });
    assert_eq!(entry.await.revision, revision);
}
