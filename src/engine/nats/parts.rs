//! A commit as the messages of one batch: writes first, then what leaves with them, then what only carries a condition.
//!
//! The server allows one condition a message, so a check on a key that is not written rides on a message without a condition
//! of its own, and on an empty one when there is none. One message, the anchor, always has a condition that holds once only:
//! by it a batch whose answer was lost is recognized, and a ghost of it cannot apply twice. Nothing here talks to a server.

use super::{
    core::Core,
    ids::{Flight, Ring, tick},
    link::Link,
    names::{
        CARRIER_TTL, EXPECTED, EXPECTED_SUBJECT, KV_OPERATION, MESSAGE, MSG_ID, SCHEDULE, SCHEDULE_TARGET, TTL, ttl_text,
        wire_id,
    },
    publish::user_headers,
    write::{body, first_expectation, headers},
};
use crate::{
    engine::{Commit, Expect, Outgoing, Rejection, StoreError, Timer, Write},
    time::{Timestamp, unique},
};
use async_nats::HeaderMap;
use bytes::Bytes;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// One message of a batch.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    /// What is to be remembered of it, if it writes a key.
    pub(super) trace: Option<Trace>,
    /// Whether it can carry the condition of a check.
    free: bool,
}

/// What is known of a write of a key before it is done.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// The ring that it continues.
    pub(super) ring: Ring,
    /// When it ends by itself.
    pub(super) ends: Option<Timestamp>,
    /// When that does which it replaces.
    pub(super) over: Option<Timestamp>,
}

/// By which message a batch is recognized.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    /// Its place in the batch.
    pub(super) index: usize,
    pub(super) subject: String,
    pub(super) expect: Expect,
    pub(super) expected: u64,
    /// Whether it is a key; otherwise its subject is used once and its being there says it all.
    pub(super) is_key: bool,
}

/// A commit with the ids that it keeps over all attempts.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) commit: Commit,
    pub(super) flight: Arc<Flight>,
    unique: String,
    /// What the absent keys were found to be: the sequence of a tombstone.
    pub(super) tombstones: HashMap<String, u64>,
}

impl Plan {
    pub(super) fn new(core: &Core, mut commit: Commit) -> Result<Self, StoreError> {
        let mut keys = HashSet::new();
        let twice = commit.writes.iter().map(|w| &w.key).chain(commit.checks.iter().map(|c| &c.key)).any(|k| !keys.insert(k));
        if twice {
            return Err(Rejection::InvalidOption("a commit names a key once").into());
        }
        // A message with the id of one before it is the same message.
        let mut ids = HashSet::new();
        commit.messages.retain(|m| m.message.id.as_ref().is_none_or(|id| ids.insert((m.queue.clone(), id.clone()))));
        commit.checks.retain(|c| c.expect != Expect::Anything);
        Ok(Self {
            commit,
            flight: Arc::new(core.rings.take_off()),
            unique: unique(&core.link.clock),
            tombstones: HashMap::new(),
        })
    }

    /// The subjects of the keys that must be absent.
    pub(super) fn absent(&self, core: &Core) -> Result<Vec<String>, StoreError> {
        let writes = self.commit.writes.iter().map(|w| (&w.key, w.expect));
        let checks = self.commit.checks.iter().map(|c| (&c.key, c.expect));
        let absent = writes.chain(checks).filter(|(_, expect)| *expect == Expect::Absent);
        absent.map(|(key, _)| Ok(core.names.key(key)?)).collect()
    }

    fn expected(&self, subject: &str, expect: Expect) -> Option<u64> {
        match (expect, self.tombstones.get(subject)) {
            (Expect::Absent, Some(tombstone)) => Some(*tombstone),
            _ => first_expectation(expect),
        }
    }

    /// Makes the messages, and tells by which of them the batch is recognized.
    pub(super) fn parts(&self, core: &Core) -> Result<(Vec<Part>, Anchor), StoreError> {
        let mut parts = Vec::with_capacity(self.commit.len());
        let (mut anchor, now) = (None, core.link.clock.now());
        for write in &self.commit.writes {
            let subject = core.names.key(&write.key)?;
            core.check(&write.op)?;
            let expected = self.expected(&subject, write.expect);
            if let (None, Some(expected)) = (&anchor, expected) {
                let (index, subject) = (parts.len(), subject.clone());
                anchor = Some(Anchor { index, subject, expect: write.expect, expected, is_key: true });
            }
            let (ring, over) = core.rings.next(&subject, expected, self.flight.id, tick(now));
            let headers = headers(&ring, expected, &write.op, core.keeping);
            let trace = Trace { ring, ends: core.ends(now, &write.op), over };
            parts.push(Part { subject, headers, payload: body(&write.op), trace: Some(trace), free: false });
        }
        for (i, outgoing) in self.commit.messages.iter().enumerate() {
            parts.push(self.message(core, i, outgoing)?);
        }
        for (i, timer) in self.commit.timers.iter().enumerate() {
            parts.push(self.timer(core, i, timer)?);
        }
        let anchor = anchor.unwrap_or_else(|| self.anchor(core, &mut parts));
        for (i, check) in self.commit.checks.iter().enumerate() {
            let subject = core.names.key(&check.key)?;
            let Some(expected) = self.expected(&subject, check.expect) else { continue };
            let place = parts.iter().position(|p| p.free).unwrap_or_else(|| {
                parts.push(self.carrier(core, &format!("c{i}")));
                parts.len() - 1
            });
            let carrier = &mut parts[place];
            carrier.headers.insert(EXPECTED, expected.to_string());
            carrier.headers.insert(EXPECTED_SUBJECT, subject);
            carrier.free = false;
        }
        for part in &parts {
            fits(&core.link, &part.headers, &part.payload)?;
        }
        Ok((parts, anchor))
    }

    /// Makes a message that holds that its subject was never used. One that leaves for a queue would not do: it can be taken,
    /// settled and gone before anybody looks for it.
    fn anchor(&self, core: &Core, parts: &mut Vec<Part>) -> Anchor {
        let index = parts.len();
        let mut part = self.carrier(core, "a");
        part.headers.insert(EXPECTED, "0");
        part.free = false;
        let subject = part.subject.clone();
        parts.push(part);
        Anchor { index, subject, expect: Expect::Absent, expected: 0, is_key: false }
    }

    fn message(&self, core: &Core, i: usize, Outgoing { queue, message }: &Outgoing) -> Result<Part, StoreError> {
        let mut headers = user_headers(message)?;
        if let Some(id) = &message.id {
            headers.insert(MSG_ID, wire_id(queue, id));
        }
        let subject = core.names.message(queue, &format!("{}-{i}", self.unique));
        Ok(Part { subject, headers, payload: message.payload.clone(), trace: None, free: true })
    }

    fn timer(&self, core: &Core, i: usize, timer: &Timer) -> Result<Part, StoreError> {
        let mut headers = HeaderMap::new();
        let (name, payload) = match timer {
            Timer::Cancel { name } => {
                // Whatever overwrites the schedule disarms it, on every server that has schedules.
                headers.insert(TTL, ttl_text(CARRIER_TTL));
                (name, Bytes::new())
            }
            Timer::Arm { name, at, send: Outgoing { queue, message } } => {
                headers = user_headers(message)?;
                if let Some(id) = &message.id {
                    headers.insert(MESSAGE, wire_id(queue, id));
                }
                headers.insert(SCHEDULE, format!("@at {at}"));
                headers.insert(SCHEDULE_TARGET, core.names.message(queue, &format!("{}-t{i}", self.unique)));
                (name, message.payload.clone())
            }
        };
        headers.insert(KV_OPERATION, "PURGE");
        Ok(Part { subject: core.names.timer(name)?, headers, payload, trace: None, free: true })
    }

    fn carrier(&self, core: &Core, suffix: &str) -> Part {
        let mut headers = HeaderMap::new();
        headers.insert(KV_OPERATION, "PURGE");
        headers.insert(TTL, ttl_text(CARRIER_TTL));
        let subject = core.names.carrier(&format!("{}-{suffix}", self.unique));
        Part { subject, headers, payload: Bytes::new(), trace: None, free: true }
    }

    /// Tells whether the server has a message with this id, by a batch that cannot pass: its second part expects what never was,
    /// so it is rejected for the id, or for that.
    pub(super) fn probe(&self, core: &Core, Outgoing { queue, message }: &Outgoing) -> Option<[Part; 2]> {
        let mut asking = self.carrier(core, "p");
        asking.headers.insert(MSG_ID, wire_id(queue, message.id.as_ref()?));
        let mut never = self.carrier(core, "n");
        never.headers.insert(EXPECTED, "1");
        Some([asking, never])
    }

    /// What it is when it is but one thing, which needs no batch.
    pub(super) fn single(&self) -> Option<Single<'_>> {
        let Commit { writes, checks, messages, timers } = &self.commit;
        match (&writes[..], &messages[..]) {
            _ if !checks.is_empty() || !timers.is_empty() => None,
            ([write], []) => Some(Single::Write(write)),
            ([], [message]) => Some(Single::Message(message)),
            _ => None,
        }
    }
}

/// A commit of one part.
#[derive(Debug)]
pub(super) enum Single<'a> {
    Write(&'a Write),
    Message(&'a Outgoing),
}

/// Checks a message against the server's limit, before it or any message of its batch is sent.
pub(super) fn fits(link: &Link, headers: &HeaderMap, payload: &Bytes) -> Result<(), StoreError> {
    let lines = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |v| AsRef::<str>::as_ref(name).len() + v.as_str().len()));
    // Each line has four bytes more, the block twelve, and a message of a batch three headers of its own.
    let (size, limit) = (lines.map(|line| line + 4).sum::<usize>() + payload.len() + 256, link.client.max_payload());
    if payload.len() > link.max_value() {
        return Err(Rejection::TooLarge { size: payload.len(), limit: link.max_value(), unit: "bytes" }.into());
    }
    if size > limit { Err(Rejection::TooLarge { size, limit, unit: "bytes" }.into()) } else { Ok(()) }
}
