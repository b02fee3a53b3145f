//! The floor on JetStream: a work queue on the NATS client alone, each acknowledgement confirmed.
//!
//! It keeps none of the promises of a queue here: an answer that is lost ends it.

use crate::{PAYLOAD, latency::Waiting, throughput::timed};
use anabranch::time::nonce;
use async_nats::{
    Client,
    jetstream::{
        self, Context, Message,
        consumer::{PullConsumer, pull},
        stream::{Config, RetentionPolicy},
    },
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinSet};

struct Work {
    client: Client,
    js: Context,
    subject: String,
    consumer: PullConsumer,
}

async fn prepared(url: &str) -> Work {
    let client = async_nats::connect(url.split('?').next().unwrap()).await.unwrap();
    let js = jetstream::new(client.clone());
    let subject = format!("client-{:x}", nonce());
    let config = Config {
        name: subject.clone(),
        subjects: vec![subject.clone()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    let stream = js.create_stream(config).await.unwrap();
    let workers = pull::Config { durable_name: Some("workers".into()), max_ack_pending: 10_000, ..Default::default() };
    let consumer = stream.create_consumer(workers).await.unwrap();
    Work { client, js, subject, consumer }
}

async fn confirm(client: &Client, message: &Message) {
    client.request(message.reply.clone().unwrap(), Bytes::from_static(b"+ACK")).await.unwrap();
}

/// Handles so many messages that are there already.
pub(crate) async fn throughput(url: &str, jobs: usize, at_once: usize) -> (f64, f64) {
    let Work { client, js, subject, consumer } = prepared(url).await;
    let mut acks = JoinSet::new();
    for _ in 0..jobs {
        acks.spawn(js.publish(subject.clone(), Bytes::from_static(&[b'x'; PAYLOAD])).await.unwrap().into_future());
        if acks.len() >= 256 {
            acks.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    acks.join_all().await.into_iter().for_each(|ack| drop(ack.unwrap()));
    timed(jobs, async {
        let mut messages = consumer.stream().max_messages_per_batch(at_once).messages().await.unwrap();
        let slots = Arc::new(Semaphore::new(at_once));
        let mut tasks = JoinSet::new();
        for _ in 0..jobs {
            let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
            let (message, client) = (messages.next().await.unwrap().unwrap(), client.clone());
            tasks.spawn(async move {
                confirm(&client, &message).await;
                drop(slot);
            });
            while tasks.try_join_next().is_some() {}
        }
        tasks.join_all().await;
    })
    .await
}

/// Handles messages as they come.
pub(crate) async fn latency(url: &str, jobs: usize, at_once: usize) -> Histogram<u64> {
    let Work { client, js, subject, consumer } = prepared(url).await;
    let waiting = Waiting::of(jobs);
    let told = Arc::clone(&waiting);
    let mut handling = JoinSet::new();
    handling.spawn(async move {
        let mut messages = consumer.stream().max_messages_per_batch(at_once.max(16)).messages().await.unwrap();
        let mut acks = JoinSet::new();
        for _ in 0..jobs {
            let message = messages.next().await.unwrap().unwrap();
            told.begins(std::str::from_utf8(&message.payload).unwrap().parse().unwrap());
            let client = client.clone();
            acks.spawn(async move { confirm(&client, &message).await });
            while acks.try_join_next().is_some() {}
        }
        acks.join_all().await;
    });
    let submit = move |job: usize| {
        let (js, subject) = (js.clone(), subject.clone());
        async move {
            let _ = js.publish(subject, job.to_string().into()).await.unwrap().await.unwrap();
        }
    };
    let taken = waiting.all(at_once, submit).await;
    handling.join_all().await;
    taken
}
