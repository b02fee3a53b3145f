//! Queues of streams with three replicas, where a message has ended when it is not there any more.

use super::kit::*;
use anabranch::{
    engine::{Delivery, Engine, Expect, Message, Queue, QueueOptions, Space},
    testing::server::NatsCluster,
};
use async_nats::jetstream::{AckKind, consumer::PullConsumer, context::Context};
use futures_util::{StreamExt as _, future::join_all};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

const LONG: Duration = Duration::from_secs(600);

/// A queue of a space of its own, and a client that is not of this library.
async fn queue(cluster: &NatsCluster, options: QueueOptions) -> (Space, Arc<dyn Queue>, Context) {
    let space = space(&cluster.url(), "timeout=60s").await;
    let queue = space.queue("work", options).await.unwrap();
    (space, queue, client(&cluster.url()).await)
}

async fn consumer(space: &Space, client: &Context) -> PullConsumer {
    client.get_consumer_from_stream("queue-work", format!("KV_{}", space.name())).await.unwrap()
}

/// How many messages the stream has.
async fn stored(space: &Space, client: &Context) -> u64 {
    client.get_stream(format!("KV_{}", space.name())).await.unwrap().cached_info().state.messages
}

async fn take(queue: &Arc<dyn Queue>) -> Delivery {
    receive(&**queue).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_is_gone_and_makes_room_where_there_are_replicas() {
    let cluster = NatsCluster::start().await.unwrap();
    let (space, queue, client) = queue(&cluster, QueueOptions::default().ack_wait(LONG).max_in_flight(1)).await;
    for n in 0..6 {
        queue.publish(Message::new(n.to_string())).await.unwrap();
    }
    put(&space, "k", "kept", Expect::Absent).await.unwrap();
    for n in 0..6 {
        let delivery = take(&queue).await;
        assert_eq!(delivery.message().payload, n.to_string());
        if n % 2 == 0 {
            delivery.ack().await.unwrap();
        } else {
            delivery.reject().await.unwrap();
        }
        assert_eq!(stored(&space, &client).await, 6 - n, "it is gone when that is said");
    }
    let settled = async { while consumer(&space, &client).await.cached_info().num_ack_pending != 0 {} };
    in_time("the consumer", settled).await;
    assert_eq!(text(&space, "k").await.as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_end_at_once_all_end_and_what_is_held_stays() {
    let cluster = NatsCluster::start().await.unwrap();
    let (space, queue, client) = queue(&cluster, QueueOptions::default().ack_wait(LONG)).await;
    for n in 0..100 {
        queue.publish(Message::new(n.to_string())).await.unwrap();
    }
    let (mut pull, mut taken) = (queue.pull().await.unwrap(), Vec::new());
    while taken.len() < 100 {
        taken.extend(in_time("messages", pull.next(NonZeroUsize::new(100).unwrap())).await.unwrap());
    }
    let held = taken.split_off(95);
    for ended in join_all(taken.into_iter().map(Delivery::ack)).await {
        ended.unwrap();
    }
    assert_eq!(stored(&space, &client).await, 5);
    drop(held);
    pull.close().await;
}

/// A message that two workers had ends twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_said_again_is_one() {
    let cluster = NatsCluster::start().await.unwrap();
    let (space, queue, client) = queue(&cluster, QueueOptions::default().ack_wait(Duration::from_secs(1))).await;
    queue.publish(Message::new("once")).await.unwrap();
    let (first, second) = (take(&queue).await, take(&queue).await);
    assert_eq!((first.attempt(), second.attempt()), (1, 2));
    first.ack().await.unwrap();
    // Together with one behind it, which is there: what is there says nothing of what is not.
    queue.publish(Message::new("behind")).await.unwrap();
    let behind = take(&queue).await;
    let (again, behind) = tokio::join!(second.ack(), behind.ack());
    again.unwrap();
    behind.unwrap();
    assert_eq!(stored(&space, &client).await, 0);
}

/// A stream that was restored from a backup, or lost its end with the power of all servers, gives sequences out anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_after_the_stream_went_back_in_time_meets_no_other_message() {
    let cluster = NatsCluster::start().await.unwrap();
    let (space, queue, client) = queue(&cluster, QueueOptions::default()).await;
    for payload in ["first", "second"] {
        queue.publish(Message::new(payload)).await.unwrap();
    }
    let (first, second) = (take(&queue).await, take(&queue).await);
    assert_eq!((first.sequence(), second.sequence()), (1, 2));
    client.delete_stream(format!("KV_{}", space.name())).await.unwrap();
    let space = Engine::open(&cluster.url()).await.unwrap().space(space.name().as_str()).await.unwrap();
    let anew = space.queue("work", QueueOptions::default()).await.unwrap();
    assert_eq!(put(&space, "k", "kept", Expect::Absent).await.unwrap().get(), 1);
    assert_eq!(anew.publish(Message::new("other")).await.unwrap().sequence, 2);
    let (one, two) = tokio::join!(first.ack(), second.ack());
    one.unwrap();
    two.unwrap();
    assert_eq!(text(&space, "k").await.as_deref(), Some("kept"));
    assert_eq!(take(&anew).await.message().payload, "other");
}

/// One that was delivered before beside one that was delivered since: that the later one is what it was says nothing of the earlier.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_from_before_a_stream_went_back_removes_no_value_though_another_ends_with_it() {
    let cluster = NatsCluster::start().await.unwrap();
    let (space, queue, client) = queue(&cluster, QueueOptions::default()).await;
    queue.publish(Message::new("first")).await.unwrap();
    let first = take(&queue).await;
    client.delete_stream(format!("KV_{}", space.name())).await.unwrap();
    let space = Engine::open(&cluster.url()).await.unwrap().space(space.name().as_str()).await.unwrap();
    space.queue("work", QueueOptions::default()).await.unwrap();
    assert_eq!(put(&space, "k", "kept", Expect::Absent).await.unwrap().get(), first.sequence());
    for payload in ["other", "another"] {
        queue.publish(Message::new(payload)).await.unwrap();
    }
    let (other, another) = (take(&queue).await, take(&queue).await);
    assert!(another.sequence() > first.sequence());
    for ended in join_all([other.ack(), first.ack(), another.ack()]).await {
        ended.unwrap();
    }
    assert_eq!(text(&space, "k").await.as_deref(), Some("kept"));
    assert_eq!(stored(&space, &client).await, 1);
}

/// What a consumer knew of a delivery can be lost when another replica comes to lead: it has then passed a message that nobody was
/// given. Here it was told by somebody else that the message is done, which looks the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_passed_and_nobody_was_given_comes_again() {
    let cluster = NatsCluster::start().await.unwrap();
    let (space, queue, client) = queue(&cluster, QueueOptions::default().ack_wait(LONG)).await;
    let mut passed = Message::new("passed").id("a.b c");
    passed.headers.append("x", "1");
    passed.headers.append("x", "2");
    queue.publish(passed).await.unwrap();
    queue.publish(Message::new("unnamed")).await.unwrap();
    let foreign: PullConsumer = consumer(&space, &client).await;
    let mut told = 0;
    while told < 2 {
        let mut messages = in_time("messages", foreign.fetch().max_messages(1).messages()).await.unwrap();
        // A consumer that was just made may not be led by anybody.
        while let Some(Ok(message)) = in_time("a message", messages.next()).await {
            message.double_ack_with(AckKind::Ack).await.unwrap();
            told += 1;
        }
    }
    queue.publish(Message::new("later")).await.unwrap();

    let mut taken = Vec::new();
    for _ in 0..3 {
        let delivery = take(&queue).await;
        let message = delivery.message();
        let headers: Vec<_> = message.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        taken.push((String::from_utf8_lossy(&message.payload).into_owned(), message.id.clone(), headers, delivery.attempt()));
        delivery.ack().await.unwrap();
    }
    taken.sort();
    let of = |payload: &str, id: Option<&str>, headers: &[&str]| {
        (payload.to_owned(), id.map(str::to_owned), headers.iter().map(ToString::to_string).collect::<Vec<_>>(), 1)
    };
    assert_eq!(taken, [of("later", None, &[]), of("passed", Some("a.b c"), &["x=1", "x=2"]), of("unnamed", None, &[])]);
    assert_eq!(stored(&space, &client).await, 0);
}

/// The leader of a consumer knows of a delivery, and the next one that it leads hears of the end from the stream alone, or not at all when
/// that was removed before it led.
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_its_consumer_lost_its_leader_takes_no_place() {
    let mut cluster = NatsCluster::start().await.unwrap();
    let options = QueueOptions::default().ack_wait(Duration::from_secs(1)).max_in_flight(1);
    let (space, queue, client) = queue(&cluster, options).await;
    for round in 0..2 {
        queue.publish(Message::new(format!("{round}, ends"))).await.unwrap();
        queue.publish(Message::new(format!("{round}, waits"))).await.unwrap();
        let delivery = take(&queue).await;
        assert_eq!(delivery.message().payload, format!("{round}, ends"));
        let leader = consumer(&space, &client).await.cached_info().cluster.as_ref().unwrap().leader.clone().unwrap();
        cluster.node(&leader).pause().unwrap();
        delivery.ack().await.unwrap();
        let waits = take(&queue).await;
        cluster.node(&leader).resume().unwrap();
        assert_eq!(waits.message().payload, format!("{round}, waits"));
        waits.ack().await.unwrap();
    }
}
