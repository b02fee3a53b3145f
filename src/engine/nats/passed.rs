//! Sending once more what a consumer has passed and its stream still has: nobody was given it, and nobody would be.
//!
//! For streams with several replicas, where a message has ended only when it is removed (`removal`). So what is below the
//! consumer's floor and still there was left out: what one replica knew of its delivery was lost when another came to lead. It is
//! stored once more on its own subject, provided that it is still the last one there: whoever was first in sending it wins, and it is
//! there once. A removal that is on its way would not win (the server looks at the condition before it has agreed on what comes first), so only
//! what the floor had passed at the look before is sent. It then comes after all others, and its deliveries count from one.

use super::{
    errors::{Fault, Lapse},
    link::Link,
    names::{EXPECTED, MESSAGE, MSG_ID, is_unnamed},
};
use crate::{
    engine::{Headers, locked},
    time::Instant,
};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;
use std::{
    mem::replace,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// How often a process that takes messages looks.
const EVERY: Duration = Duration::from_secs(10);
/// How many messages one look sends again at most.
const MOST: usize = 256;

/// Looks after one queue.
#[derive(Debug)]
pub(super) struct Passed {
    link: Arc<Link>,
    stream: String,
    consumer: String,
    /// The subjects of the queue's messages.
    filter: String,
    /// When the last look began.
    looked: Mutex<Option<Instant>>,
    /// Where the floor was then.
    floor: Mutex<u64>,
    tasks: TaskTracker,
}

impl Passed {
    pub(super) fn new(link: Arc<Link>, stream: String, consumer: String, filter: String) -> Self {
        Self { link, stream, consumer, filter, looked: Mutex::default(), floor: Mutex::default(), tasks: TaskTracker::new() }
    }

    /// Looks, unless that was done a moment ago; nobody waits for it.
    pub(super) fn look(self: &Arc<Self>) {
        {
            let (mut looked, now) = (locked(&self.looked), self.link.clock.instant());
            if looked.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
                return;
            }
            *looked = Some(now);
        }
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            match this.send_again().await {
                Ok(0) => {}
                Ok(sent) => tracing::warn!(sent, consumer = this.consumer, "what the consumer had left out is sent again"),
                Err(error) => tracing::debug!(%error, consumer = this.consumer, "what it left out is looked for later"),
            }
        });
    }

    /// Sends again what is below the floor and there, and returns how much that was.
    async fn send_again(&self) -> Result<usize, Fault> {
        let info = self.link.ask(&format!("CONSUMER.INFO.{}.{}", self.stream, self.consumer), Bytes::new()).await?;
        // Read before the messages: a floor that is older than they are has passed fewer of them.
        let now = info["ack_floor"]["stream_seq"].as_u64().unwrap_or(0);
        let floor = now.min(replace(&mut *locked(&self.floor), now));
        let (mut from, mut sent) = (1, 0);
        while from <= floor && sent < MOST {
            let Some(message) = self.next(from).await.map_err(Fault::Lapse)?.filter(|message| message.sequence <= floor) else {
                break;
            };
            from = message.sequence + 1;
            match self.link.publish(message.subject, message.headers, message.payload).await {
                Ok(_) => sent += 1,
                // It has ended, or somebody was first.
                Err(Fault::Api(error)) if error.is_conflict() => {}
                // One that cannot be sent does not hold up those behind it.
                Err(fault) if fault.is_rejection() => {
                    tracing::warn!(sequence = message.sequence, error = %fault, "what was left out cannot be sent again");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(sent)
    }

    /// Reads the queue's first message from a sequence on. A replica that is behind answers with one that has ended, perhaps, which
    /// is then no longer the last on its subject.
    async fn next(&self, from: u64) -> Result<Option<Left>, Lapse> {
        let request = json!({ "seq": from, "next_by_subj": self.filter }).to_string();
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        let answer = self.link.request(subject, HeaderMap::new(), request.into()).await?;
        match answer.status.map(|status| status.as_u16()) {
            None => Left::of(answer).map(Some).ok_or_else(|| Lapse::Lost("an answer without its place".into())),
            Some(404) => Ok(None),
            Some(status) => Err(Lapse::Lost(format!("status {status}").into())),
        }
    }
}

/// A message that was left out.
#[derive(Debug)]
struct Left {
    subject: String,
    sequence: u64,
    /// With what it is stored once more in its own place.
    headers: HeaderMap,
    payload: Bytes,
}

impl Left {
    /// Reads what a direct get answers, which says in headers where the message is.
    fn of(answer: async_nats::Message) -> Option<Self> {
        let (mut subject, mut sequence, mut known, mut fired) = (None, None, None, None);
        let mut headers = HeaderMap::new();
        for (name, values) in answer.headers.as_ref().into_iter().flat_map(HeaderMap::iter) {
            let name: &str = name.as_ref();
            let first = || values.first().map(|value| value.as_str().to_owned());
            match name {
                "Nats-Subject" => subject = first(),
                "Nats-Sequence" => sequence = first()?.parse::<u64>().ok(),
                MSG_ID => known = first().filter(|id| !is_unnamed(id)),
                MESSAGE => fired = first(),
                name if name.is_empty() || Headers::is_reserved(name) => {}
                name => values.iter().for_each(|value| headers.append(name, value.clone())),
            }
        }
        // The server would take it for a repetition by the id that it knows.
        if let Some(id) = fired.or(known) {
            headers.insert(MESSAGE, id);
        }
        headers.insert(EXPECTED, sequence?.to_string());
        Some(Self { subject: subject?, sequence: sequence?, headers, payload: answer.payload })
    }
}
