//! A queue: a work-queue stream that takes messages itself, and those that commits left in the space.
//!
//! The server moves committed messages and fired timers from the space's stream into the queue's, so there is no relay of
//! ours; repetitions of an id are dropped on either way. Settling is confirmed by the server. What a worker takes is the
//! business of [`Puller`].

use super::{
    errors::{Fault, Lapse, refused},
    feed::nanos,
    ids::WriteId,
    link::{Link, Patience},
    names::{MESSAGE, MSG_ID, Names, UNNAMED, plain_id, wire_id},
    parts::fits,
    pull::Puller,
    space::{Shape, create},
};
use crate::engine::{Headers, Message, Name, Published, Pull, Queue, QueueOptions, Rejection, Settle, StoreError};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The consumer that all workers of a queue share.
const WORKERS: &str = "workers";

/// One queue of one space.
#[derive(Debug)]
pub(super) struct JetQueue {
    pub(super) link: Arc<Link>,
    pub(super) feed: Arc<Link>,
    pub(super) name: Name,
    pub(super) stream: String,
    subject: String,
    options: QueueOptions,
}

impl JetQueue {
    /// Opens a queue, and creates what is missing of it.
    pub(super) async fn open(
        (link, feed): (Arc<Link>, Arc<Link>),
        names: &Names,
        name: &Name,
        options: QueueOptions,
        shape: Shape,
    ) -> Result<Arc<Self>, StoreError> {
        check(&options)?;
        let (stream, subject) = (names.queue_stream(name), names.queue_subject(name));
        let sources = names.queue_sources(name).map(|s| json!({ "src": s, "dest": s }));
        let config = json!({
            "name": stream, "subjects": [subject], "retention": "workqueue", "discard": "old",
            "storage": shape.storage(), "num_replicas": shape.replicas, "max_msgs": -1, "max_bytes": -1,
            "duplicate_window": nanos(options.dedupe_window), "allow_direct": false, "allow_msg_ttl": true,
            "sources": [{ "name": names.stream(), "subject_transforms": sources }],
        });
        let found = create(&link, &stream, &config, &mut link.patience()).await?;
        for field in ["retention", "subjects"] {
            if found["config"][field] != config[field] {
                return Err(Rejection::Refused(format!("the stream `{stream}` is not a queue of this space").into()).into());
            }
        }
        let queue = Arc::new(Self { link, feed, name: name.clone(), stream, subject, options });
        if found["config"]["duplicate_window"] != config["duplicate_window"] {
            return Err(other_options());
        }
        queue.ensure_consumer(&mut queue.link.patience()).await?;
        queue.sourcing(found).await?;
        Ok(queue)
    }

    /// Waits until the server has begun to take what commits left in the space.
    ///
    /// It begins a moment after the stream was created, and then from the time of the stream's last message on: what was
    /// committed before a message that was published in that moment would never come.
    async fn sourcing(&self, mut found: Value) -> Result<(), StoreError> {
        let mut patience = self.link.patience();
        // The server answers -1 for a source that it has not heard of yet.
        while found["sources"].as_array().is_none_or(|all| all.iter().any(|s| s["active"].as_i64().is_none_or(|ago| ago < 0))) {
            if !patience.pause().await {
                return Err(StoreError::Unavailable("the server does not begin to source the queue".into()));
            }
            found =
                self.link.api(&format!("STREAM.INFO.{}", self.stream), &Value::Null, &mut patience).await?.map_err(refused)?;
        }
        Ok(())
    }

    /// Makes sure that the workers' consumer is there: also after somebody deleted it.
    pub(super) async fn ensure_consumer(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let config = json!({
            "durable_name": WORKERS, "name": WORKERS, "ack_policy": "explicit", "deliver_policy": "all",
            "replay_policy": "instant", "ack_wait": nanos(self.options.ack_wait), "max_deliver": -1,
            "max_ack_pending": self.options.max_in_flight, "max_waiting": 4096,
        });
        let verb = format!("CONSUMER.INFO.{}.{WORKERS}", self.stream);
        let found = match self.link.api(&verb, &Value::Null, patience).await? {
            Ok(found) => found,
            Err(error) if error.is_missing() => {
                let verb = format!("CONSUMER.CREATE.{}.{WORKERS}", self.stream);
                let request = json!({ "stream_name": self.stream, "config": config, "action": "create" });
                match self.link.api(&verb, &request, patience).await? {
                    Ok(made) => made,
                    Err(error) if error.is_taken() => return Err(other_options()),
                    Err(error) => return Err(refused(error)),
                }
            }
            Err(error) => return Err(refused(error)),
        };
        let same = ["ack_wait", "max_ack_pending"].iter().all(|field| found["config"][field] == config[field]);
        if same { Ok(()) } else { Err(other_options()) }
    }

    /// The subject that asks for messages.
    pub(super) fn next_subject(&self) -> String {
        format!("$JS.API.CONSUMER.MSG.NEXT.{}.{WORKERS}", self.stream)
    }
}

#[async_trait]
impl Queue for JetQueue {
    fn name(&self) -> &Name {
        &self.name
    }

    fn options(&self) -> &QueueOptions {
        &self.options
    }

    async fn publish(&self, message: Message) -> Result<Published, StoreError> {
        let mut headers = user_headers(&message)?;
        let named = message.id.is_some();
        if let Some(id) = &message.id {
            headers.insert(MSG_ID, wire_id(&self.name, id));
        } else {
            headers.insert(MSG_ID, format!("={}", WriteId::fresh()));
            headers.insert(UNNAMED, "1");
        }
        fits(&self.link, &headers, &message.payload)?;
        let mut patience = self.link.patience();
        let started = self.link.clock.instant();
        let mut lost = None;
        loop {
            // The server knows the id, so a message whose answer was lost is published again without harm.
            let cause = match self.link.publish(self.subject.clone(), headers.clone(), message.payload.clone()).await {
                Ok(ack) => return Ok(Published::new(ack.sequence, ack.duplicate && (named || lost.is_none()))),
                Err(Fault::Api(error)) if error.is_passing() || error.is_repeated_id() => error.into(),
                Err(Fault::Api(error)) => return Err(refused(error)),
                Err(Fault::Lapse(Lapse::TooLarge(source))) => return Err(Rejection::Refused(source).into()),
                Err(Fault::Lapse(Lapse::Deaf)) => "no server answers for this queue".into(),
                Err(Fault::Lapse(Lapse::Away(source))) => source,
                Err(Fault::Lapse(Lapse::Lost(source))) => {
                    lost = Some(source);
                    "the server did not answer".into()
                }
            };
            let remembered = self.link.clock.instant().saturating_duration_since(started) < self.options.dedupe_window / 2;
            if !patience.pause().await || (lost.is_some() && !remembered) {
                return Err(lost.map_or(StoreError::Unavailable(cause), StoreError::Unknown));
            }
        }
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        let queue = Self {
            link: Arc::clone(&self.link),
            feed: Arc::clone(&self.feed),
            name: self.name.clone(),
            stream: self.stream.clone(),
            subject: self.subject.clone(),
            options: self.options.clone(),
        };
        Ok(Box::new(Puller::new(queue)))
    }
}

/// Settles one delivery: a request to its reply subject, which the server answers when it is done.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) link: Arc<Link>,
    pub(super) reply: String,
}

impl Settling {
    /// Says `what` until the server has heard it: saying it twice changes nothing.
    async fn say(&self, what: String) -> Result<(), StoreError> {
        let mut patience = self.link.patience();
        let what = Bytes::from(what);
        let mut lost = None;
        loop {
            let lapse = match self.link.request(self.reply.clone(), HeaderMap::new(), what.clone()).await {
                Ok(_) => return Ok(()),
                Err(Lapse::Lost(source)) => {
                    lost = Some(source);
                    None
                }
                Err(other) => Some(other),
            };
            if !patience.pause().await {
                let unavailable = || lapse.map_or_else(|| StoreError::Unavailable("no answer".into()), Lapse::unavailable);
                return Err(lost.map_or_else(unavailable, StoreError::Unknown));
            }
        }
    }
}

#[async_trait]
impl Settle for Settling {
    async fn ack(&self) -> Result<(), StoreError> {
        self.say("+ACK".into()).await
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        // The server gives a message that is handed back without delay to the next who asks, before all others: one that is
        // retried at once would starve the rest.
        let after = after.max(Duration::from_millis(2));
        self.say(format!("-NAK {{\"delay\":{}}}", nanos(after))).await
    }

    async fn reject(&self) -> Result<(), StoreError> {
        self.say("+TERM".into()).await
    }

    async fn extend(&self) -> Result<(), StoreError> {
        self.say("+WPI".into()).await
    }
}

/// The headers that a user gave a message.
pub(super) fn user_headers(message: &Message) -> Result<HeaderMap, StoreError> {
    message.check()?;
    let bad = |_| StoreError::from(Rejection::InvalidOption("a header's name is visible ASCII without a colon"));
    let mut headers = HeaderMap::new();
    for (name, value) in message.headers.iter() {
        let name = name.parse::<HeaderName>().map_err(|e| bad(e.to_string()))?;
        let value = value.parse::<HeaderValue>().map_err(|e| bad(e.to_string()))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Makes a message of what was delivered.
pub(super) fn received(queue: &Name, headers: Option<&HeaderMap>, payload: Bytes) -> Message {
    let mut message = Message::new(payload);
    let Some(headers) = headers else { return message };
    for (name, values) in headers.iter().filter(|(name, _)| !Headers::is_reserved(name.as_ref())) {
        for value in values {
            message.headers.append(name.to_string(), value.as_str());
        }
    }
    let id = headers.get(MESSAGE).or_else(|| headers.get(MSG_ID).filter(|_| headers.get(UNNAMED).is_none()));
    message.id = id.map(|id| plain_id(queue, id.as_str()));
    message
}

fn check(options: &QueueOptions) -> Result<(), StoreError> {
    if options.ack_wait < Duration::from_secs(1) {
        return Err(Rejection::InvalidOption("a queue's ack_wait is at least one second").into());
    }
    if options.max_in_flight == 0 {
        return Err(Rejection::InvalidOption("a queue has at least one message in flight").into());
    }
    if options.dedupe_window < Duration::from_millis(100) {
        return Err(Rejection::InvalidOption("a queue's dedupe_window is at least 100 milliseconds").into());
    }
    Ok(())
}

fn other_options() -> StoreError {
    Rejection::InvalidOption("the queue exists with other options").into()
}
