//! Streams that are configured otherwise than this library would.

use super::kit::*;
use anabranch::{
    doctor::Severity,
    engine::{BucketOptions, Engine},
    testing::server::NatsServer,
    time::nonce,
};
use async_nats::jetstream::{consumer, stream};
use futures_util::StreamExt as _;
use std::time::Duration;

fn fresh() -> String {
    format!("d{:x}", nonce())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_would_lose_state_is_a_problem_with_the_command_that_mends_it() {
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    Engine::open(&url).await.unwrap().space(&*name).await.unwrap();
    let js = client(&url).await;
    let mut config = js.get_stream(format!("KV_{name}")).await.unwrap().cached_info().config.clone();
    config.max_age = Duration::from_secs(3600);
    config.max_bytes = 1 << 20;
    js.update_stream(&config).await.unwrap();
    let named = options(|o| o.spaces.push(name.clone()));
    let report = examine(&url, &named).await;
    let drift = text(&report, "drift");
    assert_eq!(severities(&report, "drift"), [Severity::Problem], "{drift}");
    assert!(drift.contains("discards state by age or size") && drift.contains("max_age is 3600s, not none"), "{drift}");
    assert!(drift.contains(&format!("`nats stream edit KV_{name} --max-bytes=-1 --max-age 0`")), "{drift}");
    // What the command does.
    (config.max_age, config.max_bytes) = (Duration::ZERO, -1);
    js.update_stream(&config).await.unwrap();
    assert_eq!(severities(&examine(&url, &named).await, "drift"), [Severity::Ok]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_lacks_what_the_server_has_is_told_and_found_without_a_name() {
    let server = NatsServer::start().await.unwrap();
    let (url, js) = (server.url(), client(&server.url()).await);
    Engine::open(&url).await.unwrap().space("whole").await.unwrap();
    let template = js.get_stream("KV_whole").await.unwrap().cached_info().config.clone();
    let older = stream::Config {
        name: "KV_older".to_owned(),
        subjects: ["$KV.older.>", "older.queue.>", "older.timer.>"].map(str::to_owned).to_vec(),
        subject_delete_marker_ttl: Some(Duration::from_secs(60)),
        deny_delete: true,
        ..template
    };
    js.create_stream(older).await.unwrap();
    let foreign = stream::Config { name: "ORDERS".to_owned(), subjects: vec!["orders.>".to_owned()], ..Default::default() };
    js.create_stream(foreign).await.unwrap();
    let report = examine(&url, &options(|_| {})).await;
    let drift = text(&report, "drift");
    assert_eq!(severities(&report, "drift"), [Severity::Warning, Severity::Ok], "{drift}");
    assert!(drift.contains("subject_delete_marker_ttl is 60s, not 3600s; deny_delete is true, not false"), "{drift}");
    assert!(!drift.contains("ORDERS"), "{drift}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_and_a_stream_in_memory_are_told() {
    let (url, bucket) = (NatsServer::shared().await.url(), fresh());
    Engine::open(&format!("{url}?storage=memory")).await.unwrap().bucket(&*bucket, BucketOptions::default()).await.unwrap();
    let report = examine(&url, &options(|o| o.buckets.push(bucket.clone()))).await;
    assert_eq!(severities(&report, "storage"), [Severity::Warning]);
    assert_eq!(severities(&report, "ttl"), [Severity::Note]);
    assert_eq!(severities(&report, "drift"), [Severity::Ok]);
    let asked = examine(&format!("{url}?storage=memory"), &options(|o| o.buckets.push(bucket))).await;
    assert_eq!(severities(&asked, "storage"), [Severity::Warning, Severity::Warning]);
}

/// A stream of others, full of what its consumer gives up and its limits drop; nothing is taken from it by looking.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_loses_messages_is_told_and_none_is_taken_from_it() {
    let server = NatsServer::start().await.unwrap();
    let (url, js) = (server.url(), client(&server.url()).await);
    let config = stream::Config {
        name: "ORDERS".to_owned(),
        subjects: vec!["orders.>".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        max_messages: 100,
        duplicate_window: Duration::from_secs(10),
        ..Default::default()
    };
    let orders = js.create_stream(config).await.unwrap();
    let consumer = consumer::pull::Config { durable_name: Some("ours".to_owned()), max_deliver: 5, ..Default::default() };
    let ours = orders.create_consumer(consumer).await.unwrap();
    for text in ["1", "2"] {
        js.publish("orders.new", text.into()).await.unwrap().await.unwrap();
    }
    // One is in flight, and its acknowledgement is what a trial is like.
    let mut taken = ours.fetch().max_messages(1).messages().await.unwrap();
    let in_flight = in_time("a message", taken.next()).await.unwrap().unwrap();
    let before = everything(&url).await;
    let report = examine(&url, &options(|o| o.streams.push("ORDERS:ours".to_owned()))).await;
    assert_eq!(everything(&url).await, before);
    assert_eq!(&in_flight.payload[..], b"1");
    assert_eq!(severities(&report, "discard"), [Severity::Warning], "{}", text(&report, "discard"));
    assert_eq!(severities(&report, "dedupe"), [Severity::Note]);
    let drift = text(&report, "drift");
    assert_eq!(severities(&report, "drift"), [Severity::Warning], "{drift}");
    assert!(drift.contains("max_deliver is 5, not unlimited"), "{drift}");
    assert!(drift.contains("`nats consumer edit ORDERS ours --max-deliver=-1`"), "{drift}");
    assert_eq!(severities(&report, "permission"), [Severity::Ok], "{}", text(&report, "permission"));
    let absent = examine(&url, &options(|o| o.streams = vec!["ORDERS:theirs".to_owned(), "NONE".to_owned()])).await;
    assert_eq!(severities(&absent, "missing"), [Severity::Note, Severity::Note], "{}", text(&absent, "missing"));
}
