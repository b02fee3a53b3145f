//! Watches: what they do when the server or the stream goes.

use super::kit::*;
use anabranch::{
    engine::{Change, Engine, Expect, Scope},
    testing::server::NatsServer,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_heals_after_the_server_was_killed_and_started_again() {
    let mut server = NatsServer::start().await.unwrap();
    let (ours, other) = (space(&server.url(), "").await, Engine::open(&server.url()).await.unwrap());
    let other = other.space(ours.name().as_str()).await.unwrap();
    put(&ours, "before", "1", Expect::Absent).await.unwrap();
    let mut changes = ours.store().watch(&Scope::All).await.unwrap();
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
    let mut changes = ours.store().watch(&Scope::All).await.unwrap();
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
    let mut changes = ours.store().watch(&Scope::All).await.unwrap();
    while next(&mut changes).await != Change::Synced {}
    client(&server.url()).await.delete_stream(format!("KV_{}", ours.name())).await.unwrap();
    let again = Engine::open(&server.url()).await.unwrap().space(ours.name().as_str()).await.unwrap();
    put(&again, "new", "1", Expect::Absent).await.unwrap();
    while next(&mut changes).await != Change::Resynced {}
    let after = until_put(&mut changes, "new", "1").await;
    assert!(after.is_empty() || after == [Change::Synced], "{after:?}");
}
