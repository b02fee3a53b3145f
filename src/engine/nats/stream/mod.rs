//! A stream that others may own, as a queue: opened as it is, created where it is asked for, and never changed.
//!
//! What is settled is not swept: a work queue removes it by itself, and whatever another stream keeps is its owner's business. Ids
//! and subjects are on the wire as they are, since others read them. A consumer that is deleted under its workers is made anew
//! where the options allow it; of a stream that keeps what was taken, it starts behind what was last seen to be settled.

mod config;

use super::{
    errors::refused,
    link::{Link, Patience},
    publish::{received, send},
    pull::{Limits, Puller, Source},
    queue::next_subject,
    settle::Ends,
    space::{self, Shape},
};
use crate::{
    engine::{
        Capabilities, Difference, Message, Name, Published, Pull, Queue, QueueOptions, Rejection, Retention, Storage,
        StoreError, Stream, StreamOptions,
        bucket::without_a_space,
        locked,
        stream::{ConsumerShape, StreamShape, agree},
    },
    time::Instant,
};
use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// How often somebody who pulls looks how far everything is settled.
const LOOK: Duration = Duration::from_secs(10);

/// Opens a stream and its consumer.
pub(super) async fn open(
    (link, feed): (Arc<Link>, Arc<Link>),
    stream: String,
    name: &Name,
    shape: Shape,
    wanted: StreamOptions,
) -> Result<Stream, StoreError> {
    let mut patience = link.patience();
    let found = find_stream(&link, &stream, shape, &wanted, &mut patience).await?;
    let found = &found["config"];
    let is = config::stream_shape(found);
    let consumer = Consumer { name: wanted.consumer_of(&stream), stream, wanted };
    let (differences, known) = consumer.ensure(&link, Some(&is), 0, &mut patience).await?;
    let made = config::consumer_shape(&known.config);
    let options = QueueOptions {
        ack_wait: made.ack_wait,
        max_in_flight: made.max_in_flight.unwrap_or(usize::MAX),
        dedupe_window: is.dedupe_window,
    };
    let mut capabilities = Capabilities::full(format!("nats-server {}", link.client.server_info().version));
    without_a_space(&mut capabilities);
    capabilities.ttl = false;
    capabilities.consistent_get_many = false;
    capabilities.max_commit = 0;
    capabilities.durable = is.storage == Storage::File;
    let largest = found["max_msg_size"].as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    capabilities.max_value = largest.unwrap_or(usize::MAX).min(link.max_value());
    let queue = StreamQueue {
        subject: consumer.wanted.publishes_on(&is.subjects)?,
        next: next_subject(&consumer.stream, &consumer.name),
        keeps: is.retention != Retention::WorkQueue,
        limits: config::limits(&known.config),
        known: Mutex::new(Known { floor: known.floor, at: link.clock.instant() }),
        name: name.clone(),
        options,
        consumer,
        link,
        feed,
    };
    Ok(Stream::new(Arc::new(Shared(Arc::new(queue))), differences, capabilities))
}

/// Lists how a stream and its consumer differ from what a queue expects; an error is what would be refused however it is opened.
#[cfg(feature = "cli")]
pub(super) fn differences(stream: &str, found: &Value, consumer: Option<&Value>) -> Result<Vec<Difference>, StoreError> {
    let (shape, consumer) = (config::stream_shape(found), consumer.map(config::consumer_shape));
    agree(stream, Some(&shape), consumer.as_ref(), &StreamOptions::as_it_is())
}

/// Finds the stream, and creates it when it is missing and may be created.
async fn find_stream(
    link: &Link,
    stream: &str,
    shape: Shape,
    wanted: &StreamOptions,
    patience: &mut Patience,
) -> Result<Value, StoreError> {
    match link.api(&format!("STREAM.INFO.{stream}"), &Value::Null, patience).await? {
        Ok(found) => return Ok(found),
        Err(error) if error.is_missing() => wanted.must_be_created("stream", stream)?,
        Err(error) => return Err(refused(error)),
    }
    let storage = if shape.memory { Storage::Memory } else { Storage::File };
    let made = StreamShape::made(stream, wanted, shape.replicas, storage);
    // Before anything is created.
    wanted.publishes_on(&made.subjects)?;
    // Whoever creates it at the same moment may mean another one: what is found is compared.
    space::create(link, stream, &config::stream(stream, &made), patience).await
}

/// The durable consumer that all workers share, and what was asked for.
#[derive(Debug)]
struct Consumer {
    stream: String,
    name: String,
    wanted: StreamOptions,
}

/// A consumer as the server has it.
#[derive(Debug)]
struct Found {
    config: Value,
    /// Up to which sequence everything is settled.
    floor: u64,
}

impl Found {
    fn of(info: &Value) -> Self {
        Self { config: info["config"].clone(), floor: info["ack_floor"]["stream_seq"].as_u64().unwrap_or(0) }
    }
}

impl Consumer {
    /// Makes sure that it is there and can be worked with. A new one starts behind `floor`.
    async fn ensure(
        &self,
        link: &Link,
        stream: Option<&StreamShape>,
        floor: u64,
        patience: &mut Patience,
    ) -> Result<(Vec<Difference>, Found), StoreError> {
        let Self { stream: of, name, wanted } = self;
        loop {
            match link.api(&self.verb("INFO"), &Value::Null, patience).await? {
                Ok(info) => {
                    let found = Found::of(&info);
                    let differences = agree(of, stream, Some(&config::consumer_shape(&found.config)), wanted)?;
                    return Ok((differences, found));
                }
                Err(error) if error.is_without_stream() => {
                    return Err(Rejection::Missing { what: "stream", name: of.clone() }.into());
                }
                Err(error) if error.is_missing() => wanted.must_be_created("consumer", name)?,
                Err(error) => return Err(refused(error)),
            }
            // A stream that differs is left alone: not even a consumer is added to it.
            let differences = agree(of, stream, None, wanted)?;
            let config = config::consumer(name, &ConsumerShape::made(wanted), floor);
            let request = json!({ "stream_name": of, "config": config, "action": "create" });
            match link.api(&self.verb("CREATE"), &request, patience).await? {
                Ok(made) => return Ok((differences, Found::of(&made))),
                // Somebody else was first, and may mean another one.
                Err(error) if error.is_taken() && patience.pause().await => {}
                Err(error) => return Err(refused(error)),
            }
        }
    }

    fn verb(&self, verb: &str) -> String {
        format!("CONSUMER.{verb}.{}.{}", self.stream, self.name)
    }
}

/// How far everything was settled when somebody last looked.
#[derive(Debug)]
struct Known {
    floor: u64,
    at: Instant,
}

#[derive(Debug)]
struct StreamQueue {
    link: Arc<Link>,
    feed: Arc<Link>,
    name: Name,
    consumer: Consumer,
    options: QueueOptions,
    /// What is published on.
    subject: Option<String>,
    /// The subject that asks for messages.
    next: String,
    limits: Limits,
    /// Whether the stream keeps what was taken.
    keeps: bool,
    known: Mutex<Known>,
}

impl StreamQueue {
    fn learn(&self, floor: u64) {
        let mut known = locked(&self.known);
        known.floor = known.floor.max(floor);
    }
}

#[async_trait]
impl Source for StreamQueue {
    fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn feed(&self) -> &Arc<Link> {
        &self.feed
    }

    fn name(&self) -> &Name {
        &self.name
    }

    fn next_subject(&self) -> &str {
        &self.next
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    async fn ensure(&self, patience: &mut Patience) -> Result<(), StoreError> {
        // What a work queue still has is not settled, and its consumers have to start at the beginning.
        let floor = if self.keeps { locked(&self.known).floor } else { 0 };
        let (_, found) = self.consumer.ensure(&self.link, None, floor, patience).await?;
        self.learn(found.floor);
        Ok(())
    }

    async fn look(&self) {
        {
            let (mut known, now) = (locked(&self.known), self.link.clock.instant());
            if !self.keeps || now.saturating_duration_since(known.at) < LOOK {
                return;
            }
            known.at = now;
        }
        let subject = format!("$JS.API.{}", self.consumer.verb("INFO"));
        // Who finds nothing out knows what was known, and gives out a little more again when the consumer is made anew.
        let Ok(answer) = self.link.request(subject, HeaderMap::new(), Bytes::new()).await else { return };
        if let Ok(info) = serde_json::from_slice(&answer.payload) {
            self.learn(Found::of(&info).floor);
        }
    }

    fn received(&self, message: async_nats::Message) -> (Message, Option<Box<str>>) {
        let subject = message.subject.as_str().into();
        (received(message.headers.as_ref(), message.payload), Some(subject))
    }

    fn ends(&self) -> &Ends {
        &Ends::Told
    }
}

/// The queue's face.
#[derive(Debug)]
struct Shared(Arc<StreamQueue>);

#[async_trait]
impl Queue for Shared {
    fn name(&self) -> &Name {
        &self.0.name
    }

    fn options(&self) -> &QueueOptions {
        &self.0.options
    }

    fn is_in_a_space(&self) -> bool {
        false
    }

    async fn publish(&self, message: Message) -> Result<Published, StoreError> {
        let StreamQueue { link, subject, options, .. } = &*self.0;
        let Some(subject) = subject else {
            let what = "the stream has no subject without wildcards: say which one with `StreamOptions::publish`";
            return Err(Rejection::InvalidOption(what).into());
        };
        send(link, (subject.clone(), options.dedupe_window), message.id.clone(), &message).await
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        let source: Arc<StreamQueue> = Arc::clone(&self.0);
        Ok(Box::new(Puller::new(source)))
    }
}
