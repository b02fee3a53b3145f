//! A stored message, and what its headers say: read in one pass, since every read comes through here and a header that is looked
//! up by name costs as much as all of them.
//!
//! It does not know how the message was asked for, nor what becomes of it.

use super::{
    ids::{Ring, label},
    names::{KV_OPERATION, LABEL, MARKER_REASON, MSG_ID, TTL, WRITE, ttl_of},
    space::Keeping,
};
use crate::{
    engine::{Entry, Key, Revision},
    time::Timestamp,
};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use std::time::Duration;

/// Why a stored message is not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Deleted,
    Expired,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    pub(super) time: Timestamp,
    said: Said,
}

/// What the headers of a message say, as far as anybody asks.
#[derive(Debug, Clone, Default)]
struct Said {
    /// The ring and the label.
    write: Option<Box<str>>,
    /// The label where earlier versions put it.
    label: Option<Box<str>>,
    /// The id that the server knows the message by.
    id: Option<Box<str>>,
    ttl: Option<Duration>,
    marker: Option<Gone>,
    removed: bool,
}

impl Said {
    fn hear(&mut self, name: &str, value: &str) {
        match name {
            WRITE => self.write = Some(value.into()),
            LABEL => self.label = Some(value.into()),
            MSG_ID => self.id = Some(value.into()),
            TTL => self.ttl = ttl_of(value),
            MARKER_REASON => self.marker = Some(if value == "MaxAge" { Gone::Expired } else { Gone::Deleted }),
            KV_OPERATION => self.removed = matches!(value, "DEL" | "PURGE"),
            _ => {}
        }
    }
}

/// The names and first values of headers.
fn each(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().filter_map(|(name, values)| Some((name.as_ref(), values.first()?.as_str())))
}

impl Found {
    pub(super) fn new(subject: String, sequence: u64, time: Timestamp, headers: &HeaderMap, payload: Bytes) -> Self {
        let mut said = Said::default();
        each(headers).for_each(|(name, value)| said.hear(name, value));
        Self { subject, sequence, payload, time, said }
    }

    /// Reads what a direct get answers, which says in headers where the message is from; `None` when it does not.
    pub(super) fn answered(reply: Message) -> Option<Self> {
        let (mut said, mut subject, mut sequence, mut time) = (Said::default(), None, None, None);
        for (name, value) in reply.headers.as_ref().into_iter().flat_map(each) {
            match name {
                "Nats-Subject" => subject = Some(value.to_owned()),
                "Nats-Sequence" => sequence = value.parse().ok(),
                "Nats-Time-Stamp" => time = Timestamp::parse_rfc3339(value),
                _ => said.hear(name, value),
            }
        }
        Some(Self { subject: subject?, sequence: sequence?, payload: reply.payload, time: time.unwrap_or_default(), said })
    }

    /// Tells whether it is a tombstone or the server's marker of an expiry.
    pub(super) fn gone(&self) -> Option<Gone> {
        self.said.marker.or(self.said.removed.then_some(Gone::Deleted))
    }

    /// Tells when it ends by itself, where that leaves a marker; what is no value leaves none.
    pub(super) fn ends(&self, keeping: Keeping) -> Option<Timestamp> {
        if self.gone().is_some() { None } else { keeping.ends(self.time, self.said.ttl) }
    }

    pub(super) fn ring(&self) -> Ring {
        self.said.write.as_deref().map(Ring::parse).unwrap_or_default()
    }

    pub(super) fn label(&self) -> Option<Box<str>> {
        self.said.write.as_deref().and_then(label).or(self.said.label.as_deref()).map(Into::into)
    }

    /// The id that the server knows it by.
    pub(super) fn id(&self) -> Option<&str> {
        self.said.id.as_deref()
    }

    pub(super) fn revision(&self) -> Revision {
        Revision::new(self.sequence)
    }

    /// Makes it an entry, unless it is a tombstone.
    pub(super) fn into_entry(self, key: Key) -> Option<Entry> {
        if self.gone().is_some() {
            return None;
        }
        let (revision, label) = (self.revision(), self.label());
        Some(Entry::new(key, self.payload, revision, label, self.time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&str, &str)]) -> Found {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        Found::new("a".into(), 1, Timestamp::default(), &map, Bytes::new())
    }

    #[test]
    fn a_label_is_read_where_earlier_versions_put_it() {
        let label = |headers| found(headers).label();
        assert_eq!(label(&[(WRITE, "=AAAAAAAAB AA"), (LABEL, "old")]).as_deref(), Some("old"));
        assert_eq!(label(&[(WRITE, "=AAAAAAAAB AA ~new"), (LABEL, "old")]).as_deref(), Some("new"));
        assert_eq!(label(&[(WRITE, "=AAAAAAAAB AA")]), None);
    }

    #[test]
    fn an_expiry_is_no_removal_and_neither_is_a_value() {
        let gone = |headers| found(headers).gone();
        assert_eq!(gone(&[(MARKER_REASON, "MaxAge"), (KV_OPERATION, "PURGE")]), Some(Gone::Expired));
        assert_eq!(gone(&[(MARKER_REASON, "Purge")]), Some(Gone::Deleted));
        assert_eq!(gone(&[(KV_OPERATION, "DEL")]), Some(Gone::Deleted));
        assert_eq!(gone(&[(KV_OPERATION, "PUT"), (WRITE, "=AAAAAAAAB AA")]), None);
    }
}
