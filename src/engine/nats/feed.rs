//! An ordered stream of messages that the server pushes, and the moment when it is no longer whole.
//!
//! A short-lived consumer, in memory and without acknowledgements, numbers what it delivers; a gap in the numbers, a missed
//! heartbeat or a new connection ends the feed, and whoever reads it opens another one where this one ended. The feed does not
//! know keys.

use super::{core::Core, errors::refused, found::Found};
use crate::{
    engine::StoreError,
    time::{Instant, Timestamp, nonce},
};
use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often an idle consumer says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a consumer may be silent.
const SILENCE: Duration = Duration::from_millis(3500);
/// How long a consumer without a reader stays at the server.
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// Where a feed starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// With the newest message of each subject.
    State,
    /// With this sequence.
    At(u64),
}

/// What a feed gives.
#[derive(Debug)]
pub(super) enum Step {
    /// A message, and how many are still to come.
    Message(Found, u64),
    /// The feed has ended.
    Ended(&'static str),
}

/// An open feed.
#[derive(Debug)]
pub(super) struct Feed {
    core: Arc<Core>,
    stream: String,
    consumer: String,
    messages: Subscriber,
    connects: watch::Receiver<u64>,
    /// The number that the consumer gave its last message.
    number: u64,
    /// When the consumer was last heard of.
    pub(super) heard: Instant,
    /// How many messages there were when it was opened.
    pub(super) pending: u64,
}

impl Feed {
    /// Opens a feed of some subjects of the space's stream, none of which is in another.
    pub(super) async fn open(core: &Arc<Core>, filters: &[&str], start: Start, headers_only: bool) -> Result<Self, StoreError> {
        let (link, stream) = (&core.feed, core.names.stream());
        link.connected().await.map_err(super::errors::Lapse::unavailable)?;
        let connects = link.connects();
        let consumer = format!("feed-{:016x}", nonce());
        let inbox = link.client.new_inbox();
        let subscribed = link.clock.timeout(link.attempt, link.client.subscribe(inbox.clone())).await;
        let messages = match subscribed {
            Some(subscribed) => subscribed.map_err(|e| StoreError::Unavailable(e.into()))?,
            None => return Err(StoreError::Unavailable("the connection takes nothing".into())),
        };
        let (policy, sequence) = match start {
            Start::State => ("last_per_subject", None),
            Start::At(sequence) => ("by_start_sequence", Some(sequence)),
        };
        let mut config = json!({
            "name": consumer, "deliver_subject": inbox, "filter_subjects": filters, "deliver_policy": policy,
            "ack_policy": "none", "max_deliver": 1, "replay_policy": "instant", "headers_only": headers_only,
            "idle_heartbeat": nanos(HEARTBEAT), "flow_control": true, "inactive_threshold": nanos(LEFT_ALONE),
            "mem_storage": true, "num_replicas": 1,
        });
        if let Some(sequence) = sequence {
            config["opt_start_seq"] = sequence.into();
        }
        let verb = format!("CONSUMER.CREATE.{stream}.{consumer}");
        let request = json!({ "stream_name": stream, "config": config, "action": "" });
        let made = link.api(&verb, &request, &mut link.patience()).await?.map_err(refused)?;
        let pending = made["num_pending"].as_u64().unwrap_or(0) + made["delivered"]["consumer_seq"].as_u64().unwrap_or(0);
        let heard = link.clock.instant();
        Ok(Self { core: Arc::clone(core), stream, consumer, messages, connects, number: 0, heard, pending })
    }

    /// Waits for the next message.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            let link = &self.core.feed;
            let left = (self.heard + SILENCE).saturating_duration_since(link.clock.instant());
            let next = async {
                tokio::select! {
                    // What has arrived comes first: a new connection makes it no less true.
                    biased;
                    message = self.messages.next() => Ok(message),
                    _ = self.connects.changed() => Err("the connection was made anew"),
                }
            };
            let message = match link.clock.timeout(left, next).await {
                Some(Ok(Some(message))) => message,
                Some(Ok(None)) => return Step::Ended("the subscription was closed"),
                Some(Err(reason)) => return Step::Ended(reason),
                None => return Step::Ended("the consumer is silent"),
            };
            self.heard = link.clock.instant();
            if let Some(status) = message.status {
                if let Some(reason) = self.control(status.as_u16(), message).await {
                    return Step::Ended(reason);
                }
                continue;
            }
            let Some(place) = message.reply.as_ref().and_then(|r| Place::parse(r)) else {
                return Step::Ended("a message without its place");
            };
            if place.number != self.number + 1 {
                return Step::Ended("messages were missed");
            }
            self.number = place.number;
            let Message { subject, payload, headers, .. } = message;
            // A copy, since the message is a slice of a read buffer that it would keep alive.
            let payload = Bytes::copy_from_slice(&payload);
            let headers = headers.unwrap_or_default();
            let found = Found::new(subject.to_string(), place.sequence, place.time, &headers, payload);
            return Step::Message(found, place.pending);
        }
    }

    /// Answers flow control and compares a heartbeat's number with ours; a reason when the feed has ended.
    async fn control(&self, status: u16, message: Message) -> Option<&'static str> {
        if status != 100 {
            return Some("the consumer has ended");
        }
        let header = |name| message.headers.as_ref().and_then(|h| h.get(name)).map(|v| v.as_str().to_owned());
        let stalled = message.reply.as_ref().map(ToString::to_string).or_else(|| header("Nats-Consumer-Stalled"));
        if let Some(reply) = stalled {
            // An answer that does not leave is asked for again.
            let _ = self.core.feed.send(reply, None, HeaderMap::new(), Bytes::new()).await;
            return None;
        }
        let last = header("Nats-Last-Consumer").and_then(|n| n.parse::<u64>().ok());
        last.is_some_and(|last| last > self.number).then_some("messages were missed")
    }

    /// Ends the feed at the server, too.
    pub(super) async fn close(mut self) {
        let api = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, self.consumer);
        // A consumer that is not told goes by itself after a few seconds.
        let _ = self.core.feed.send(api, None, HeaderMap::new(), Bytes::new()).await;
        let _ = self.core.feed.clock.timeout(self.core.feed.attempt, self.messages.unsubscribe()).await;
    }
}

/// A duration as the server's JSON has it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where a delivered message is, as its reply subject tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which delivery of the message it is.
    pub(super) attempt: u64,
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// Its number among the consumer's deliveries.
    pub(super) number: u64,
    pub(super) time: Timestamp,
    pub(super) pending: u64,
}

impl Place {
    /// Reads `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<attempt>.<sequence>.<number>.<time>.<pending>[...]`.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?.as_bytes();
        // Byte by byte: this is on the way of every message.
        let tokens = || rest.split(|byte| *byte == b'.');
        let mut tokens = tokens().skip(if tokens().count() == 7 { 2 } else { 4 });
        let mut number = || decimal(tokens.next()?);
        let (attempt, sequence, count, time, pending) = (number()?, number()?, number()?, number()?, number()?);
        let time = Timestamp::from_micros(i64::try_from(time / 1000).ok()?);
        Some(Self { attempt, sequence, number: count, time, pending })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_with_and_without_domain() {
        let time = Timestamp::from_millis(1_700_000_000_000);
        let place = Place { attempt: 2, sequence: 7, number: 9, time, pending: 3 };
        assert_eq!(Place::parse("$JS.ACK.S.C.2.7.9.1700000000000000000.3"), Some(place));
        assert_eq!(Place::parse("$JS.ACK.hub.acc.S.C.2.7.9.1700000000000000000.3.rnd"), Some(place));
        for foreign in ["_INBOX.x", "$JS.ACK.S.C.2.7.9.1700000000000000000", "$JS.ACK.S.C.2.7.9.17x.3", "$JS.ACK.S.C.2..9.1.3"]
        {
            assert_eq!(Place::parse(foreign), None, "{foreign}");
        }
    }
}
