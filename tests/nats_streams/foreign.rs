//! What another client and we make of each other's messages, streams and consumers.

use super::kit::*;
use anabranch::{
    engine::{Message, Missing, Retention, StreamOptions},
    testing::server::NatsServer,
};
use async_nats::{
    HeaderMap,
    jetstream::{consumer, stream},
};
use futures_util::StreamExt as _;
use std::{num::NonZeroUsize, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_client_is_read_written_and_left_as_it_was() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let stream = theirs(&js, &name).await;
    let before = configuration(&js, &name).await;
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", "00-1-2-03");
    headers.insert("Nats-Msg-Id", "order-42");
    let sent = js.publish_with_headers(format!("{name}.new"), headers, "theirs".into()).await.unwrap().await.unwrap();
    js.publish(format!("{name}.old"), "filtered out".into()).await.unwrap().await.unwrap();

    let options = StreamOptions::default().filter(format!("{name}.new")).consumer("router").missing(Missing::CreateConsumer);
    let ours = open(&url, &name, options).await;
    let mut pull = ours.queue().pull().await.unwrap();
    let delivery = next(&mut *pull).await;
    assert_eq!((delivery.sequence(), delivery.attempt(), text(&delivery).as_str()), (sent.sequence, 1, "theirs"));
    assert_eq!(delivery.subject(), Some(format!("{name}.new").as_str()));
    assert_eq!(delivery.message().id.as_deref(), Some("order-42"));
    assert_eq!(delivery.message().headers.iter().collect::<Vec<_>>(), [("traceparent", "00-1-2-03")]);
    delivery.ack().await.unwrap();

    // The other way round, with their id known to us, and ours to them.
    let again = ours.queue().publish(Message::new("again").id("order-42")).await.unwrap();
    assert!(again.duplicate && again.sequence == sent.sequence);
    let published = ours.queue().publish(Message::new("ours").id("order-43").header("kind", "book")).await.unwrap();
    let found = stream.get_raw_message(published.sequence).await.unwrap();
    assert_eq!((found.subject.as_str(), found.payload.as_ref()), (format!("{name}.new").as_str(), b"ours".as_slice()));
    let header = |name: &str| found.headers.get(name).map(|v| v.as_str().to_owned());
    assert_eq!((header("Nats-Msg-Id").as_deref(), header("kind").as_deref()), (Some("order-43"), Some("book")));
    let delivery = next(&mut *pull).await;
    assert_eq!(text(&delivery), "ours", "what the filter leaves out is not delivered");
    delivery.ack().await.unwrap();
    pull.close().await;

    let after = configuration(&js, &name).await;
    assert_eq!((after.0, after.1.len()), (before.0, 1), "the stream is as it was, and has our consumer");
    assert_eq!(stream.get_info().await.unwrap().state.messages, 3, "what was taken is still theirs");
}

/// A consumer that another service made and works on is shared with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_another_client_is_shared_with_it() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let stream = theirs(&js, &name).await;
    let config = consumer::pull::Config { durable_name: Some("billing".to_owned()), ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let before = configuration(&js, &name).await;
    let ours = open(&url, &name, StreamOptions::default().consumer("billing").publish(format!("{name}.new"))).await;
    for payload in ["1", "2", "3"] {
        ours.queue().publish(Message::new(payload)).await.unwrap();
    }
    let mut messages = consumer.fetch().max_messages(1).messages().await.unwrap();
    let first = in_time("their message", messages.next()).await.unwrap().unwrap();
    first.double_ack().await.unwrap();
    assert_eq!([take(&**ours.queue()).await, take(&**ours.queue()).await], ["2", "3"]);
    assert_eq!(configuration(&js, &name).await, before);
}

/// With the same options it is the same stream to every client: creating it there again is no error.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_we_make_is_a_work_queue_in_files_for_a_week() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    open(&url, &name, StreamOptions::default()).await;
    let (stream, consumers) = configuration(&js, &name).await;
    assert_eq!((stream.retention, stream.storage), (stream::RetentionPolicy::WorkQueue, stream::StorageType::File));
    assert_eq!((stream.max_age, stream.num_replicas), (Duration::from_secs(7 * 24 * 3600), 1));
    assert_eq!((&stream.subjects, stream.duplicate_window), (&vec![name.clone()], Duration::from_secs(120)));
    let [consumer] = &consumers[..] else { panic!("{consumers:?}") };
    assert_eq!(consumer.durable_name, Some(format!("{name}Consumer")));
    assert_eq!((consumer.max_deliver, consumer.ack_wait), (-1, Duration::from_secs(30)));
    assert_eq!((consumer.max_ack_pending, consumer.ack_policy), (10_000, consumer::AckPolicy::Explicit));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_settled_leaves_a_work_queue_by_itself() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let ours = open(&url, &name, StreamOptions::default()).await;
    for payload in ["acknowledged", "rejected"] {
        ours.queue().publish(Message::new(payload)).await.unwrap();
    }
    let mut pull = ours.queue().pull().await.unwrap();
    next(&mut *pull).await.ack().await.unwrap();
    next(&mut *pull).await.reject().await.unwrap();
    let stream = js.get_stream(&name).await.unwrap();
    in_time("the end", async { while stream.get_info().await.unwrap().state.messages > 0 {} }).await;
    pull.close().await;
}

/// A request that asks for more than a consumer allows gets nothing at all from the server.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_asked_of_a_consumer_than_it_allows() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let stream = theirs(&js, &name).await;
    let (max_batch, max_expires) = (2, Duration::from_secs(1));
    let durable_name = Some("narrow".to_owned());
    let config = consumer::pull::Config { durable_name, max_batch, max_expires, ..Default::default() };
    stream.create_consumer(config).await.unwrap();
    let ours = open(&url, &name, StreamOptions::as_it_is().consumer("narrow").publish(format!("{name}.new"))).await;
    let mut pull = ours.queue().pull().await.unwrap();
    let mut done = 0;
    // The first message comes while somebody waits for it.
    let publish = async {
        for n in 0..5 {
            ours.queue().publish(Message::new(n.to_string())).await.unwrap();
        }
    };
    let take = async {
        while done < 5 {
            for delivery in in_time("a message", pull.next(NonZeroUsize::new(10).unwrap())).await.unwrap() {
                assert_eq!(text(&delivery), done.to_string());
                delivery.ack().await.unwrap();
                done += 1;
            }
        }
    };
    tokio::join!(take, publish);
    pull.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_goes_before_the_name_of_a_stream() {
    let url = NatsServer::shared().await.url();
    let name = fresh();
    let ours = open(&format!("{url}?prefix=shop-"), &name, StreamOptions::default().retention(Retention::Limits)).await;
    ours.queue().publish(Message::new("1")).await.unwrap();
    let (stream, consumers) = configuration(&client(&url).await, &format!("shop-{name}")).await;
    assert_eq!(stream.subjects, [format!("shop-{name}")]);
    assert_eq!(consumers[0].durable_name, Some(format!("shop-{name}Consumer")));
}
