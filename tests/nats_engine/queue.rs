//! Queues: consumers that go, acknowledgements that are lost, messages that are swept.

use super::kit::*;
use anabranch::{
    engine::{Commit, Expect, Message, Name, QueueOptions, StoreError},
    testing::server::{NatsCluster, NatsServer},
};
use futures_util::{StreamExt as _, future::join_all};
use std::{collections::HashSet, num::NonZeroUsize, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
                let stream = format!("KV_{}", space.name());
                client(&server.url()).await.delete_consumer_from_stream("queue-work", &stream).await.unwrap();
            }
            _ => {}
        }
        publish(payload).await;
        let arrived = in_time("a message", async {
            loop {
                let mut arrived = false;
                match pull.next(NonZeroUsize::MIN).await {
                    Ok(taken) => {
                        for delivery in taken {
                            // A consumer that was made anew does not know what the last one knew: what was settled a moment ago may
                            // come again.
                            arrived |= delivery.message().payload == payload;
                            delivery.ack().await.unwrap();
                        }
                    }
                    Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
                }
                if arrived {
                    break;
                }
            }
        });
        arrived.await;
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
    let stream = format!("KV_{}", space.name());
    client(&server.url()).await.delete_consumer_from_stream("queue-work", &stream).await.unwrap();
    assert!(matches!(delivery.ack().await, Err(StoreError::Unavailable(_))));
    let again = receive(&*queue).await;
    assert_eq!(again.message().payload, "payload");
    again.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_settled_leaves_the_stream_also_behind_what_is_not() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let queue = space.queue("work", QueueOptions::default()).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    for n in 0..60 {
        queue.publish(Message::new(n.to_string())).await.unwrap();
    }
    put(&space, "k", "kept", Expect::Absent).await.unwrap();
    let mut held = Vec::new();
    let mut done = 0;
    while done < 57 {
        for delivery in pull.next(NonZeroUsize::new(60).unwrap()).await.unwrap() {
            match delivery.message().payload.as_ref() {
                b"10" | b"20" | b"40" => held.push(delivery),
                b"30" => {
                    delivery.reject().await.unwrap();
                    done += 1;
                }
                _ => {
                    delivery.ack().await.unwrap();
                    done += 1;
                }
            }
        }
    }
    let js = client(&NatsServer::shared().await.url()).await;
    let stored = async |wanted: usize| {
        let stream = js.get_stream(format!("KV_{}", space.name())).await.unwrap();
        while stream.get_info().await.unwrap().state.messages != wanted as u64 {}
    };
    in_time("the sweep", stored(3 + 1)).await;
    for (i, delivery) in held.into_iter().enumerate() {
        delivery.ack().await.unwrap();
        in_time("the sweep", stored(2 - i + 1)).await;
    }
    assert_eq!(text(&space, "k").await.as_deref(), Some("kept"));
    pull.close().await;
}

/// A purge of settled messages makes the server forget what it was about to deliver again, so that it came after `ack_wait` only.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_back_comes_at_once_although_others_are_swept_meanwhile() {
    let url = NatsServer::shared().await.url();
    let space = space(&url, "").await;
    let options = QueueOptions::default().ack_wait(Duration::from_secs(600));
    let queue = space.queue("work", options.clone()).await.unwrap();
    for n in 0..8 {
        queue.publish(Message::new(n.to_string())).await.unwrap();
    }
    let mut pull = queue.pull().await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 8 {
        taken.extend(in_time("messages", pull.next(NonZeroUsize::new(8).unwrap())).await.unwrap());
    }
    pull.close().await;
    for (n, delivery) in taken.into_iter().enumerate() {
        if n < 4 { delivery.ack().await.unwrap() } else { delivery.retry(Duration::ZERO).await.unwrap() }
    }
    // Longer than settled messages gather, while nobody asks for messages.
    let nobody: Option<()> = space.clock().timeout(Duration::from_millis(700), std::future::pending()).await;
    assert!(nobody.is_none());
    // Whoever opens the queue sweeps as well.
    let other = anabranch::engine::Engine::open(&url).await.unwrap().space(space.name().as_str()).await.unwrap();
    let queue = other.queue("work", options).await.unwrap();
    let mut pull = queue.pull().await.unwrap();
    let mut again = HashSet::new();
    while again.len() < 4 {
        for delivery in in_time("what was handed back", pull.next(NonZeroUsize::new(8).unwrap())).await.unwrap() {
            again.insert(delivery.message().payload.clone());
            delivery.ack().await.unwrap();
        }
    }
    pull.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_window_of_a_spaces_queues_is_the_streams() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let hour = Duration::from_secs(3600);
    for window in [hour, Duration::from_secs(1)] {
        let name = format!("w{}", window.as_secs());
        space.queue(name.as_str(), QueueOptions::default().dedupe_window(window)).await.unwrap();
        let stream = client(&NatsServer::shared().await.url()).await.get_stream(format!("KV_{}", space.name())).await.unwrap();
        assert_eq!(stream.cached_info().config.duplicate_window, hour);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_whatever_is_swept_and_however_often_the_server_dies() {
    let mut server = NatsServer::start().await.unwrap();
    let url = server.url();
    let kill = async |_: &str| {
        server.kill();
        server.restart().await.unwrap();
    };
    every_message_arrives(&url, 600, kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_whatever_is_swept_and_whichever_leader_dies() {
    let mut cluster = NatsCluster::start().await.unwrap();
    let url = cluster.url();
    let kill = async |leader: &str| {
        let node = cluster.node(leader);
        node.kill();
        node.restart().await.unwrap();
    };
    every_message_arrives(&url, 300, kill).await;
}

/// Has workers take messages from a queue of a space of its own, with trouble in between, until all are done and gone.
async fn every_message_arrives(url: &str, messages: usize, mut trouble: impl AsyncFnMut(&str)) {
    let space = space(url, "timeout=60s").await;
    let can_commit = space.store().capabilities().atomic_commit;
    let options = QueueOptions::default().ack_wait(Duration::from_secs(2));
    let queue = space.queue("work", options).await.unwrap();
    let work = Name::new("work").unwrap();
    let send = async {
        for n in 0..messages {
            let message = || Message::new(n.to_string()).id(n.to_string());
            let published = async {
                if can_commit && n % 3 == 0 {
                    let put = Commit::new().put(key("newest"), n.to_string().into(), Expect::Anything, plain());
                    while space.store().commit(put.clone().send(work.clone(), message())).await.is_err() {}
                } else {
                    while queue.publish(message()).await.is_err() {}
                }
            };
            in_time("a message", published).await;
        }
    };
    // Some are handed back once, some are dropped in silence, and what was acknowledged is done.
    let done = watch::channel(HashSet::new()).0;
    let over = CancellationToken::new();
    let take = join_all((0..3).map(|_| async {
        let mut pull = queue.pull().await.unwrap();
        while let Some(some) = over.run_until_cancelled(pull.next(NonZeroUsize::new(7).unwrap())).await {
            for delivery in some.unwrap_or_default() {
                let n: usize = std::str::from_utf8(&delivery.message().payload).unwrap().parse().unwrap();
                match (n % 10, delivery.attempt()) {
                    (0, 1) => drop(delivery),
                    (5, 1) => _ = delivery.retry(Duration::from_millis(300)).await,
                    _ if delivery.ack().await.is_ok() => _ = done.send_if_modified(|done| done.insert(n)),
                    _ => {}
                }
            }
        }
        pull.close().await;
    }));
    let (js, stream) = (client(url).await, format!("KV_{}", space.name()));
    let trouble = async {
        let mut progress = done.subscribe();
        for kill in 1..=3 {
            progress.wait_for(|done| done.len() >= kill * messages / 4).await.unwrap();
            trouble(&leader(&js, &stream).await).await;
        }
        progress.wait_for(|done| done.len() == messages).await.unwrap();
        // What was acknowledged is gone, and with it all that was stored of it.
        loop {
            let Ok(stream) = js.get_stream(&stream).await else { continue };
            let subjects = stream.info_with_subjects(format!("{}.queue.work.>", space.name())).await;
            let Ok(mut subjects) = subjects else { continue };
            if subjects.next().await.is_none() {
                break;
            }
        }
        over.cancel();
    };
    in_time("everything", Box::pin(async { tokio::join!(send, take, trouble) })).await;
}
