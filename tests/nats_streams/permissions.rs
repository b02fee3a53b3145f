//! What a user has to be permitted, and what is said where something is missing.

use super::kit::*;
use anabranch::{
    engine::{Engine, Message, Rejection, StoreError, StreamOptions},
    testing::server::{NatsServer, ServerOptions},
};
use std::{error::Error, num::NonZeroUsize};

/// A server with somebody who made the stream `orders` and its consumer, and with `ann`, who may publish on `publish` only.
async fn server(publish: &str) -> NatsServer {
    let users = format!(
        "authorization {{ users: [ {{ user: owner, password: p }}, \
         {{ user: ann, password: p, permissions: {{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [\"_INBOX.>\"] }} }} }} ] }}"
    );
    let server = ServerOptions::default().config(users).start().await.unwrap();
    let options = StreamOptions::default().subject("orders.>").publish("orders.new").consumer("ours");
    open(&url(&server, "owner"), "orders", options).await;
    server
}

fn url(server: &NatsServer, user: &str) -> String {
    format!("nats://{user}:p@{}", server.url().replace("nats://", ""))
}

fn bound() -> StreamOptions {
    StreamOptions::as_it_is().consumer("ours").publish("orders.new")
}

/// What the page about the wire says has to be enough for whoever binds to what is there.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough_to_share_a_stream() {
    let server = server(
        "\"$JS.API.INFO\", \"$JS.API.STREAM.INFO.orders\", \"$JS.API.CONSUMER.INFO.orders.ours\", \
         \"$JS.API.CONSUMER.MSG.NEXT.orders.ours\", \"$JS.ACK.orders.ours.>\", \"orders.new\"",
    )
    .await;
    let ours = open(&url(&server, "ann"), "orders", bound()).await;
    ours.queue().publish(Message::new("1")).await.unwrap();
    let mut pull = ours.queue().pull().await.unwrap();
    let delivery = next(&mut *pull).await;
    delivery.extend().await.unwrap();
    delivery.retry(std::time::Duration::ZERO).await.unwrap();
    next(&mut *pull).await.ack().await.unwrap();
    pull.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_done_with_a_stream_is_refused_in_the_servers_words() {
    let server = server(
        "\"$JS.API.INFO\", \"$JS.API.STREAM.INFO.orders\", \"$JS.API.CONSUMER.INFO.orders.ours\", \
         \"$JS.API.STREAM.INFO.letters\"",
    )
    .await;
    let engine = Engine::open(&url(&server, "ann")).await.unwrap();
    let ours = engine.stream("orders", bound()).await.unwrap();
    let published = in_time("the refusal", ours.queue().publish(Message::new("1"))).await.map(drop);
    assert!(refused(published).contains("orders.new"));
    let mut pull = ours.queue().pull().await.unwrap();
    let pulled = in_time("the refusal", async {
        loop {
            // That a request was denied is heard beside it, and said when it is made again.
            match pull.next(NonZeroUsize::MIN).await.map(drop) {
                Err(StoreError::Unavailable(_)) => {}
                other => break other,
            }
        }
    });
    assert!(refused(pulled.await).contains("MSG.NEXT.orders.ours"));
    let made = in_time("the refusal", engine.stream("letters", StreamOptions::default())).await.map(drop);
    assert!(refused(made).contains("STREAM.CREATE.letters"));
    let seen = in_time("the refusal", engine.stream("others", StreamOptions::default())).await.map(drop);
    assert!(refused(seen).contains("STREAM.INFO.others"));
}

fn refused(result: Result<(), StoreError>) -> String {
    match result {
        Err(StoreError::Rejected(refused @ Rejection::Refused(_))) => refused.source().unwrap().to_string(),
        other => panic!("it was to be refused, but: {other:?}"),
    }
}
