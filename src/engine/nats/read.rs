//! Reading stored messages: one from the stream's leader, several as one snapshot.
//!
//! A read of one key asks the leader where there are replicas, because these serve stale values. Several keys are read with one
//! direct request that is consistent with atomic batches; the answer tells how far the replica was, and is asked for again while
//! that is behind what this store has already seen. Nothing is decided here.

use super::{
    core::Core,
    errors::{Lapse, corrupt, refused},
    found::Found,
    link::{Link, Patience},
};
use crate::{engine::StoreError, time::Timestamp};
use async_nats::{
    HeaderMap, Message,
    jetstream::{message::StreamMessage, stream::RawMessage},
};
use futures_util::{StreamExt as _, future::try_join_all};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The most results that the server gives to one request.
const PAGE: usize = 1024;

/// What a replica is asked for.
#[derive(Debug, serde::Serialize)]
struct Newest<'a> {
    last_by_subj: &'a str,
}

impl Core {
    /// Reads the newest message of a subject as freshly as that is to be had. With one replica a direct get is as fresh as the
    /// leader's answer, and takes less of everybody's time; what it does not answer well is asked of the leader.
    pub(super) async fn newest(&self, subject: &str, patience: &mut Patience) -> Result<Option<Found>, StoreError> {
        if self.replicas == 1 && self.capabilities.consistent_get_many {
            // What is seen while the answer is on its way may be newer, and the answer is none the worse for it.
            let known = self.rings.newest(subject);
            match self.direct(subject).await {
                Ok(None) if known == 0 => return Ok(None),
                Ok(Some(found)) if found.sequence >= known => {
                    self.saw(&found);
                    return Ok(Some(found));
                }
                Ok(_) | Err(_) => {}
            }
        }
        // Boxed, since every read's future would be as large.
        Box::pin(self.last(subject, patience)).await
    }

    /// Asks whichever replica answers for the newest message of a subject, once.
    async fn direct(&self, subject: &str) -> Result<Option<Found>, Lapse> {
        let which = serde_json::to_vec(&Newest { last_by_subj: subject }).map_err(|error| Lapse::Refused(error.into()))?;
        let reply = self.link.request(self.names.direct(), HeaderMap::new(), which.into()).await?;
        match reply.status.map(|status| status.as_u16()) {
            Some(404) => Ok(None),
            Some(status) => Err(Lapse::Lost(format!("status {status}").into())),
            None => match Found::answered(reply) {
                Some(found) => Ok(Some(found)),
                None => Err(Lapse::Lost("an answer without its place".into())),
            },
        }
    }

    /// Reads the newest message of a subject from the stream's leader. One that was just elected may be behind what this store
    /// has seen, and is asked again.
    pub(super) async fn last(&self, subject: &str, patience: &mut Patience) -> Result<Option<Found>, StoreError> {
        loop {
            let found = self.last_once(subject, patience).await?;
            let behind = found.as_ref().is_some_and(|f| f.sequence < self.rings.newest(subject));
            if behind && patience.pause().await {
                continue;
            }
            if let Some(found) = &found {
                self.saw(found);
            }
            return Ok(found);
        }
    }

    async fn last_once(&self, subject: &str, patience: &mut Patience) -> Result<Option<Found>, StoreError> {
        self.message(subject, &json!({ "last_by_subj": subject }), patience).await
    }

    /// Reads one message of a subject from the stream's leader.
    pub(super) async fn message(
        &self,
        subject: &str,
        which: &Value,
        patience: &mut Patience,
    ) -> Result<Option<Found>, StoreError> {
        get(&self.link, &self.names.stream(), subject, which, patience).await
    }

    /// Reads several subjects as of one moment; those that were never written are missing.
    pub(super) async fn snapshot(
        &self,
        subjects: &[String],
        patience: &mut Patience,
    ) -> Result<HashMap<String, Found>, StoreError> {
        if !self.capabilities.consistent_get_many {
            // Without direct gets each is read for itself.
            let each = subjects.iter().map(async |subject| self.last(subject, &mut self.link.patience()).await);
            let found = try_join_all(each).await?;
            return Ok(found.into_iter().flatten().map(|f| (f.subject.clone(), f)).collect());
        }
        let token = self.rings.seen();
        let mut page = PAGE;
        loop {
            match self.pages(subjects, page, token).await {
                Ok(Some(found)) => {
                    for one in found.values() {
                        self.saw(one);
                    }
                    return Ok(found);
                }
                // A write came between two pages, or a page held more bytes than the server gives at once.
                Ok(None) => page = (page / 2).max(1),
                Err(Lapse::Refused(_)) if page > 1 => page /= 2,
                Err(lapse) if patience.is_over() => return Err(lapse.unavailable()),
                Err(_) => {}
            }
            if !patience.pause().await {
                return Err(StoreError::Unavailable("no consistent snapshot could be read in time".into()));
            }
        }
    }

    /// Reads all pages. They are one snapshot when nothing in a later page was written after the first page was read: a key
    /// that was deleted or expired meanwhile has a marker with a newer revision.
    async fn pages(&self, subjects: &[String], page: usize, token: u64) -> Result<Option<HashMap<String, Found>>, Lapse> {
        let mut all = HashMap::new();
        let mut moment = None;
        let mut empty = Vec::new();
        for some in subjects.chunks(page) {
            let Some((found, up_to)) = self.page(some).await? else {
                empty.push(some);
                continue;
            };
            if up_to < token {
                return Err(Lapse::Deaf);
            }
            let moment = *moment.get_or_insert(up_to);
            if up_to < moment || found.iter().any(|f| f.sequence > moment) {
                return Ok(None);
            }
            all.extend(found.into_iter().map(|f| (f.subject.clone(), f)));
        }
        // An empty page does not tell how far its replica was. What has no message at the end, not even a tombstone, never had
        // one before.
        if self.replicas > 1 || subjects.len() > page {
            for subject in empty.into_iter().flatten() {
                let mut patience = self.link.patience();
                match self.last(subject, &mut patience).await {
                    Ok(None) => {}
                    Ok(Some(_)) => return Ok(None),
                    Err(error) => return Err(Lapse::Lost(error.into())),
                }
            }
        }
        Ok(Some(all))
    }

    /// Reads one page, and tells the revision that its replica had; `None` when it has none of the subjects.
    async fn page(&self, subjects: &[String]) -> Result<Option<(Vec<Found>, u64)>, Lapse> {
        self.link.connected().await?;
        let client = &self.link.client;
        let inbox = client.new_inbox();
        let read = async {
            let mut replies = client.subscribe(inbox.clone()).await.map_err(|e| Lapse::Away(e.into()))?;
            let request = json!({ "multi_last": subjects }).to_string();
            self.link.send(self.names.direct(), Some(inbox), HeaderMap::new(), request.into()).await?;
            let mut found = Vec::new();
            while let Some(reply) = replies.next().await {
                let number = |name| header(&reply, name).and_then(|v| v.parse::<u64>().ok());
                match reply.status.map(|s| s.as_u16()) {
                    // The end, unless it stopped early.
                    Some(204) if number("Nats-Num-Pending").unwrap_or(0) > 0 => return Err(Lapse::Refused("too much".into())),
                    Some(204) => return Ok(Some((found, number("Nats-UpTo-Sequence").unwrap_or(0)))),
                    Some(404) => return Ok(None),
                    Some(413) => return Err(Lapse::Refused("too many results".into())),
                    Some(503) => return Err(Lapse::Deaf),
                    Some(status) => return Err(Lapse::Lost(format!("status {status}").into())),
                    None => {
                        found.push(Found::answered(reply).ok_or_else(|| Lapse::Lost("an answer without its place".into()))?);
                    }
                }
            }
            Err(Lapse::Lost("the connection was closed".into()))
        };
        self.link.clock.timeout(self.link.attempt, read).await.unwrap_or_else(|| Err(Lapse::Lost("no answer in time".into())))
    }
}

/// Reads one message of a subject from the leader of a stream.
pub(super) async fn get(
    link: &Link,
    stream: &str,
    subject: &str,
    which: &Value,
    patience: &mut Patience,
) -> Result<Option<Found>, StoreError> {
    let mut answer = match link.api(&format!("STREAM.MSG.GET.{stream}"), which, patience).await? {
        Ok(answer) => answer,
        Err(error) if error.is_absent() => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let message = answer["message"].take();
    let time = message["time"].as_str().and_then(Timestamp::parse_rfc3339).unwrap_or_default();
    let raw: RawMessage = serde_json::from_value(message).map_err(|e| corrupt(subject, e))?;
    let StreamMessage { sequence, headers, payload, .. } =
        raw.try_into().map_err(|e: async_nats::Error| corrupt(subject, e))?;
    Ok(Some(Found::new(subject.to_owned(), sequence, time, &headers, payload)))
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}
