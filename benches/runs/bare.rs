//! The floor of JetStream without this library: the same messages, writes and acknowledgements on the client alone.
//!
//! A stream of the shape of a space and a work queue beside it; values, labels and times to live as the library writes them. It
//! keeps none of the promises of an engine: an answer that is lost ends it.

use crate::{Measured, Round, Written};
use anabranch::time::nonce;
use async_nats::{
    HeaderMap,
    jetstream::{
        self, Message,
        consumer::pull,
        stream::{Config, RetentionPolicy},
    },
};
use futures_util::StreamExt as _;
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinSet};

/// Measures a round on the server of a URL.
pub(crate) async fn floor(url: &str, round: Round, written: &Written) -> Measured {
    let server = url.split('?').next().unwrap();
    let js = jetstream::new(async_nats::connect(server).await.unwrap());
    let tag = format!("bare-{:x}", nonce());
    let space = Config {
        name: format!("{tag}-kv"),
        subjects: vec![format!("{tag}.kv.>")],
        max_messages_per_subject: 1,
        allow_direct: true,
        allow_message_ttl: true,
        ..Config::default()
    };
    js.create_stream(space).await.unwrap();
    let queue = Config {
        name: format!("{tag}-queue"),
        subjects: vec![format!("{tag}.queue")],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    let queue = js.create_stream(queue).await.unwrap();
    let mut acks = JoinSet::new();
    for n in 0..round.messages {
        acks.spawn(js.publish(format!("{tag}.queue"), n.to_string().into()).await.unwrap().into_future());
        if acks.len() >= 256 {
            acks.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    acks.join_all().await.into_iter().for_each(|ack| drop(ack.unwrap()));
    let consumer = queue.create_consumer(pull::Config { durable_name: Some("workers".into()), ..Default::default() });
    let mut messages = consumer.await.unwrap().stream().max_messages_per_batch(round.at_once).messages().await.unwrap();
    let slots = Arc::new(Semaphore::new(round.at_once));
    round
        .measure(async {
            let mut tasks = JoinSet::new();
            for taken in 0..round.messages {
                let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
                let message = messages.next().await.unwrap().unwrap();
                let key = format!("{tag}.kv.run.{taken}");
                let (js, written, writes) = (js.clone(), written.clone(), written.share(taken, round));
                tasks.spawn(async move {
                    run(&js, &key, writes, &written, message).await;
                    drop(slot);
                });
                while tasks.try_join_next().is_some() {}
            }
            while tasks.join_next().await.is_some() {}
        })
        .await
}

/// What a run must at least do: its writes, each on the one before, and the acknowledgement of its message.
async fn run(js: &jetstream::Context, key: &str, writes: usize, written: &Written, message: Message) {
    let mut expected = 0;
    for left in (0..writes).rev() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        headers.insert("Anabranch-Label", if left > 0 { &*written.label } else { "completed" });
        if left == 0 {
            headers.insert("Nats-TTL", format!("{}s", written.ttl.as_secs()));
        }
        let value = vec![b'x'; written.bytes].into();
        expected = js.publish_with_headers(key.to_owned(), headers, value).await.unwrap().await.unwrap().sequence;
    }
    message.double_ack().await.unwrap();
}
