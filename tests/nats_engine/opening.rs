//! Opening: what a URL may say, what a server has, and what is refused.

use super::kit::*;
use anabranch::{
    engine::{Engine, Expect, OpenError, Rejection, StoreError},
    testing::server::NatsServer,
    time::nonce,
};
use async_nats::jetstream;

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_follow_the_servers_version() {
    let server = NatsServer::shared().await;
    let version = server.version().unwrap();
    let space = space(&server.url(), "").await;
    let can = space.store().capabilities();
    assert_eq!(can.engine, format!("nats-server {version}"));
    assert_eq!((can.atomic_commit, can.checks), (at_least(&version, 12), at_least(&version, 12)));
    assert_eq!(can.timers, at_least(&version, 12));
    assert!(can.ttl && can.consistent_get_many && can.durable && !can.exclusive);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_url_option_is_an_error_and_not_a_default() {
    let url = format!("{}?replica=3", NatsServer::shared().await.url());
    assert!(matches!(Engine::open(&url).await, Err(OpenError::Option(option)) if option == "replica"));
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
