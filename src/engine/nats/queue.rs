//! A queue: the messages below one subject of the space's stream, and the consumer that all workers share.
//!
//! Messages that were published, that a commit sent and that a timer fired are stored in the same place, the stream of the
//! space, so nothing has to be moved, and nothing is lost on the way. A message stays until it is settled, whoever dies.
//! What a worker takes is the business of [`Puller`]. Where there is one replica, a message ends when the consumer has heard so, and
//! [`Sweeper`] removes it; where there are several, it ends when it is removed ([`Remover`]), and [`Passed`] looks for what a
//! consumer left out.

use super::{
    errors::refused,
    feed::nanos,
    link::{Link, Patience},
    names::{Names, plain_id},
    passed::Passed,
    publish::{publish, received},
    pull::{Limits, Puller, Source},
    removal::Remover,
    settle::Ends,
    space::Opened,
    sweep::Sweeper,
};
use crate::engine::{Message, Name, Published, Pull, Queue, QueueOptions, Rejection, StoreError};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Where a consumer notes the window that its queue was opened with: the stream knows only the longest of all queues.
const WINDOW_NOTE: &str = "anabranch-dedupe-window-ms";

/// One queue of one space.
#[derive(Debug, Clone)]
pub(super) struct JetQueue {
    link: Arc<Link>,
    feed: Arc<Link>,
    name: Name,
    names: Names,
    options: QueueOptions,
    ends: Ends,
    /// Where the consumer may leave something out.
    passed: Option<Arc<Passed>>,
    /// The subject that asks for messages.
    next: String,
}

impl JetQueue {
    /// Opens a queue of a space that is there, and creates its consumer when it is missing.
    pub(super) async fn open(
        (link, feed): (Arc<Link>, Arc<Link>),
        (names, opened): (Names, &Opened),
        name: &Name,
        options: QueueOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let (consumer, messages) = (Names::consumer(name), names.messages(name));
        let (ends, passed) = if opened.replicas > 1 && opened.deletes {
            let remover = Arc::new(Remover::new(Arc::clone(&link), names.stream()));
            let passed = Passed::new(Arc::clone(&link), names.stream(), consumer, messages);
            (Ends::Removed(remover), Some(Arc::new(passed)))
        } else {
            let sweeper = Sweeper::new(Arc::clone(&link), names.stream(), consumer, messages);
            (Ends::Swept(Arc::new(sweeper)), None)
        };
        let next = next_subject(&names.stream(), &Names::consumer(name));
        let queue = Arc::new(Self { link, feed, name: name.clone(), names, options, ends, passed, next });
        let found = queue.ensure_consumer(&mut queue.link.patience()).await?;
        if let Ends::Swept(sweeper) = &queue.ends {
            sweeper.purge(&found).await?;
        }
        Ok(queue)
    }

    /// Makes sure that the workers' consumer is there, also after somebody deleted it, and returns it.
    async fn ensure_consumer(&self, patience: &mut Patience) -> Result<Value, StoreError> {
        let (stream, consumer) = (self.names.stream(), Names::consumer(&self.name));
        let config = json!({
            "durable_name": consumer, "name": consumer, "filter_subject": self.names.messages(&self.name),
            "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant",
            "ack_wait": nanos(self.options.ack_wait), "max_deliver": -1, "max_ack_pending": self.options.max_in_flight,
            "max_waiting": 4096, "metadata": { WINDOW_NOTE: self.options.dedupe_window.as_millis().to_string() },
        });
        let found = match self.link.api(&format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null, patience).await? {
            Ok(found) => found,
            Err(error) if error.is_missing() => {
                let request = json!({ "stream_name": stream, "config": config, "action": "create" });
                match self.link.api(&format!("CONSUMER.CREATE.{stream}.{consumer}"), &request, patience).await? {
                    Ok(made) => made,
                    Err(error) if error.is_taken() => return Err(other_options()),
                    Err(error) => return Err(refused(error)),
                }
            }
            Err(error) => return Err(refused(error)),
        };
        if found["config"]["filter_subject"] != config["filter_subject"] {
            let what = format!("the consumer `{consumer}` of `{stream}` is not that of a queue");
            return Err(Rejection::Refused(what.into()).into());
        }
        let same = ["ack_wait", "max_ack_pending"].iter().all(|field| found["config"][field] == config[field])
            && found["config"]["metadata"][WINDOW_NOTE] == config["metadata"][WINDOW_NOTE];
        if same { Ok(found) } else { Err(other_options()) }
    }
}

/// The subject that asks a consumer for messages.
pub(super) fn next_subject(stream: &str, consumer: &str) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")
}

#[async_trait]
impl Source for JetQueue {
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
        Limits::OURS
    }

    async fn ensure(&self, patience: &mut Patience) -> Result<(), StoreError> {
        self.ensure_consumer(patience).await.map(drop)
    }

    async fn look(&self) {
        if let Some(passed) = &self.passed {
            passed.look();
        }
    }

    fn received(&self, message: async_nats::Message) -> (Message, Option<Box<str>>) {
        let mut received = received(message.headers.as_ref(), message.payload);
        received.id = received.id.map(|id| plain_id(&self.name, &id));
        (received, None)
    }

    fn ends(&self) -> &Ends {
        &self.ends
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
        publish(&self.link, &self.names, &self.name, &message).await
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        Ok(Box::new(Puller::new(Arc::new(self.clone()))))
    }
}

/// Refuses options that no server could keep.
pub(super) fn check(options: &QueueOptions) -> Result<(), StoreError> {
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
