//! What is configured otherwise is said as a whole, and never changed.

use super::kit::*;
use anabranch::{
    engine::{Engine, Message, Rejection, Retention, Storage, StoreError, StreamOptions},
    testing::server::NatsServer,
};
use async_nats::jetstream::{consumer, stream};
use std::time::Duration;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// G31: two services that both update a stream at their start fight over it; here the second one is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_client_that_differs_is_refused_and_left_alone() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    theirs(&js, &name).await;
    let before = configuration(&js, &name).await;
    let wanted = StreamOptions::default().subject(&*name).retention(Retention::WorkQueue).storage(Storage::File);
    let wanted = wanted.max_age(WEEK).replicas(3).max_messages(10).dedupe_window(Duration::from_secs(60));
    let opened = Engine::open(&url).await.unwrap().stream(&*name, wanted).await;
    let Err(StoreError::Rejected(drift @ Rejection::Drift { .. })) = opened else { panic!("it was opened: {opened:?}") };
    let text = format!(
        "the stream `{name}` is configured otherwise: subjects is {name}.>, not {name}; retention is limits, not workqueue; \
         max_age is unlimited, not 604800s; replicas is 1, not 3; dedupe_window is 120s, not 60s; max_messages is unlimited, not 10"
    );
    assert_eq!(drift.to_string(), text);
    assert_eq!(configuration(&js, &name).await, before, "not even a consumer was added");
}

/// A stream and a consumer as nats-jobs makes them: five deliveries, and then the message stays where nobody finds it (D19).
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_gives_messages_up_is_drift_until_it_is_accepted() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let config = stream::Config {
        name: name.clone(),
        subjects: vec![name.clone()],
        retention: stream::RetentionPolicy::WorkQueue,
        max_age: WEEK,
        ..Default::default()
    };
    let consumer = consumer::pull::Config {
        durable_name: Some(format!("{name}Consumer")),
        max_deliver: 5,
        ack_wait: Duration::from_secs(10),
        ..Default::default()
    };
    js.create_stream(config).await.unwrap().create_consumer(consumer).await.unwrap();
    let before = configuration(&js, &name).await;
    let engine = Engine::open(&url).await.unwrap();
    let opened = engine.stream(&*name, StreamOptions::default()).await;
    let Err(StoreError::Rejected(drift @ Rejection::Drift { .. })) = opened else { panic!("it was opened: {opened:?}") };
    assert_eq!(drift.to_string(), format!("the stream `{name}` is configured otherwise: max_deliver is 5, not unlimited"));
    let ours = engine.stream(&*name, StreamOptions::as_it_is()).await.unwrap();
    let said: Vec<_> = ours.differences().iter().map(ToString::to_string).collect();
    assert_eq!(said, ["max_deliver is 5, not unlimited"]);
    assert_eq!(ours.queue().options().ack_wait, Duration::from_secs(10));
    ours.queue().publish(Message::new("taken")).await.unwrap();
    assert_eq!(take(&**ours.queue()).await, "taken");
    assert_eq!(configuration(&js, &name).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_workers_cannot_share_is_refused_however_it_is_opened() {
    let url = NatsServer::shared().await.url();
    let (js, name) = (client(&url).await, fresh());
    let stream = theirs(&js, &name).await;
    let deliver_subject = format!("deliver-{name}");
    let pushed = consumer::push::Config { durable_name: Some("push".to_owned()), deliver_subject, ..Default::default() };
    stream.create_consumer(pushed).await.unwrap();
    let ack_policy = consumer::AckPolicy::None;
    let unsettled = consumer::pull::Config { durable_name: Some("none".to_owned()), ack_policy, ..Default::default() };
    stream.create_consumer(unsettled).await.unwrap();
    let before = configuration(&js, &name).await;
    let engine = Engine::open(&url).await.unwrap();
    for (consumer, expected) in [("push", "kind of consumer is push, not pull"), ("none", "ack_policy is none, not explicit")] {
        let opened = engine.stream(&*name, StreamOptions::as_it_is().consumer(consumer)).await;
        let Err(StoreError::Rejected(drift @ Rejection::Drift { .. })) = opened else { panic!("it was opened: {opened:?}") };
        assert!(drift.to_string().ends_with(expected), "{drift}");
    }
    assert_eq!(configuration(&js, &name).await, before);
}
