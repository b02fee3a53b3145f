//! A tally on JetStream: a stream of counters beside the space's, which the server adds up (ADR-49, nats-server 2.12).
//!
//! Every addition has an id, and one whose answer was lost is sent again with the same id, as long as the server is known to
//! remember it. It keeps ids in memory, and after a restart has only those of messages that are still stored, which is the newest
//! of each counter. So after a restart the newest message is the evidence, and what it does not show is
//! [`StoreError::Unknown`]. Nothing here decides what is counted.

use super::{
    errors::{Fault, Lapse, corrupt, refused},
    feed::nanos,
    found::Found,
    ids::unique_text,
    link::{Link, Patience},
    names::{INCREMENT, MSG_ID, Names, WINDOW},
    read::get,
    space::{self, Shape},
};
use crate::{
    engine::{Key, Rejection, StoreError, Tally},
    error::BoxError,
    time::Instant,
};
use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The counters of one space.
#[derive(Debug)]
pub(super) struct JetTally {
    link: Arc<Link>,
    names: Names,
    replicas: u64,
}

/// What the server has in a counter's message.
#[derive(Debug, Deserialize)]
struct Counted {
    val: String,
}

/// When an addition was first sent, and to which server.
#[derive(Debug)]
struct Sent {
    at: Instant,
    server: String,
}

impl JetTally {
    /// Opens the counters of a space, and creates their stream when it is not there.
    pub(super) async fn open(link: Arc<Link>, names: Names, shape: Shape) -> Result<Self, StoreError> {
        let mut patience = link.patience();
        if space::level(&link, &mut patience).await? < space::COUNTERS {
            let engine = format!("nats-server {}", link.client.server_info().version);
            let remedy = "nats-server 2.12 or newer adds up counters";
            return Err(Rejection::Unsupported { what: "a tally", engine, remedy }.into());
        }
        let (stream, config) = (names.tallies(), config(&names, shape));
        let found = space::create(&link, &stream, &config, &mut patience).await?;
        let found = &found["config"];
        fits(&stream, found, &config)?;
        let replicas = found["num_replicas"].as_u64().unwrap_or(1);
        Ok(Self { link, names, replicas })
    }

    async fn last(&self, subject: &str, patience: &mut Patience) -> Result<Option<Found>, StoreError> {
        get(&self.link, &self.names.tallies(), subject, &json!({ "last_by_subj": subject }), patience).await
    }

    /// Tells whether the server that answers now knows the ids that it knew when the addition was first sent. Copies of a stream keep
    /// them alike. A stream without copies is known to be on the server that is asked only where there is no other.
    fn is_remembered(&self, sent: &Sent) -> bool {
        let (info, now) = (self.link.client.server_info(), self.link.clock.instant());
        let in_time = now.saturating_duration_since(sent.at) < WINDOW / 2;
        in_time && (self.replicas > 1 || (info.server_id == sent.server && info.cluster.is_none()))
    }

    /// After a lost answer: the value when the addition is seen to have been made, `None` when it can be sent again with its id.
    async fn resolve(&self, subject: &str, id: &str, sent: &Sent, patience: &mut Patience) -> Result<Option<i128>, StoreError> {
        // First, so that the server that is asked is the one that is judged.
        let head = self.last(subject, patience).await?;
        match head {
            Some(head) if head.id() == Some(id) => value(subject, &head.payload).map(Some),
            // A counter never goes, so nothing was ever added.
            None => Ok(None),
            Some(_) if self.is_remembered(sent) => Ok(None),
            Some(_) => Err(StoreError::Unknown("the server was restarted, and others have added since".into())),
        }
    }
}

#[async_trait]
impl Tally for JetTally {
    async fn add(&self, key: &Key, delta: i64) -> Result<i128, StoreError> {
        let (subject, id, mut patience) = (self.names.tally(key)?, unique_text(), self.link.patience());
        let mut headers = HeaderMap::new();
        headers.insert(INCREMENT, format!("{delta:+}"));
        headers.insert(MSG_ID, id.as_str());
        let sent = Sent { at: self.link.clock.instant(), server: self.link.client.server_info().server_id };
        let mut lost: Option<BoxError> = None;
        loop {
            if lost.is_some() {
                // By now it may be another server. Without any connection nothing is sent below.
                let _ = self.link.connected().await;
                match self.resolve(&subject, &id, &sent, &mut patience).await {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => {}
                    Err(error) => return Err(unsure(lost, error)),
                }
            }
            // A crash on this line leaves an addition that may be made, and that nobody waits for.
            let cause: BoxError = match self.link.publish(subject.clone(), headers.clone(), Bytes::new()).await {
                Ok(ack) => match ack.value {
                    Some(text) => return text.parse().map_err(|_| beyond(&text)),
                    // The answer to a repetition has no value.
                    None => return self.made(&subject, &mut patience).await,
                },
                Err(Fault::Api(error)) if error.is_passing() || error.is_repeated_id() => error.into(),
                Err(Fault::Api(error)) => return Err(unsure(lost, refused(error))),
                Err(Fault::Lapse(lapse @ Lapse::Refused(_))) => return Err(unsure(lost, lapse.unavailable())),
                Err(Fault::Lapse(Lapse::Lost(source))) => {
                    tracing::debug!(subject, %source, "the answer to an addition was lost");
                    lost = Some(source);
                    "the server did not answer".into()
                }
                Err(Fault::Lapse(lapse)) => lapse.into(),
            };
            if !patience.pause().await {
                return Err(unsure(lost, StoreError::Unavailable(cause)));
            }
        }
    }

    async fn value(&self, key: &Key) -> Result<Option<i128>, StoreError> {
        let subject = self.names.tally(key)?;
        let found = self.last(&subject, &mut self.link.patience()).await?;
        found.map(|found| value(&subject, &found.payload)).transpose()
    }
}

impl JetTally {
    /// Reads the value after an addition that is known to be made.
    async fn made(&self, subject: &str, patience: &mut Patience) -> Result<i128, StoreError> {
        match self.last(subject, patience).await {
            Ok(Some(found)) => value(subject, &found.payload).map_err(|error| StoreError::Unknown(error.into())),
            Ok(None) => Err(StoreError::Unknown("it was added, and the counter is gone".into())),
            // Nothing may say that nothing was added.
            Err(error) => Err(StoreError::Unknown(error.into())),
        }
    }
}

/// What an error means once an answer was lost: it does not say any more that nothing was done.
fn unsure(lost: Option<BoxError>, error: StoreError) -> StoreError {
    match (lost, error) {
        (None, error) | (Some(_), error @ StoreError::Unknown(_)) => error,
        (Some(source), _) => StoreError::Unknown(source),
    }
}

fn value(subject: &str, payload: &[u8]) -> Result<i128, StoreError> {
    let counted: Counted = serde_json::from_slice(payload).map_err(|e| corrupt(subject, e))?;
    counted.val.parse().map_err(|e: std::num::ParseIntError| corrupt(subject, e))
}

/// Only another client adds so much at once.
fn beyond(text: &str) -> StoreError {
    StoreError::Unknown(format!("it was added, and {text} is beyond what can be told").into())
}

/// What the counters of a space are created as.
pub(super) fn config(names: &Names, shape: Shape) -> Value {
    json!({
        "name": names.tallies(), "subjects": [names.tally_subjects()], "retention": "limits", "discard": "old",
        "storage": shape.storage(), "num_replicas": shape.replicas, "max_msgs_per_subject": 1, "max_msgs": -1, "max_bytes": -1,
        "duplicate_window": nanos(WINDOW), "allow_direct": true, "deny_delete": true, "allow_msg_counter": true,
    })
}

/// Refuses a stream that would lose counters, or is none of counters.
pub(super) fn fits(stream: &str, found: &Value, wanted: &Value) -> Result<(), StoreError> {
    let wrong = if found["allow_msg_counter"] != true {
        "is none of counters"
    } else if found["subjects"] != wanted["subjects"] {
        "has other subjects"
    } else if ["max_msgs", "max_bytes"].iter().any(|limit| found[limit].as_i64().unwrap_or(-1) > 0)
        || found["max_age"].as_u64().unwrap_or(0) > 0
        || found["retention"] != "limits"
    {
        "discards counters by age or size"
    } else {
        return Ok(());
    };
    Err(Rejection::Refused(format!("the stream `{stream}` {wrong}").into()).into())
}
