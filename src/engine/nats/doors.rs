//! What the bodies of `testing::fuzz` reach of this engine: the texts that it reads from a server, and what it makes of them.
//!
//! Texts and numbers go in and out, so that no type of the engine is known outside. It asserts nothing.

use super::{
    found::{Found, Gone},
    ids::{Ring, Rings},
    names::{Names, plain_id, wire_id},
    publish::{received, user_headers},
};
use crate::{
    engine::{Key, Message, Name, Scope, StoreError},
    time::Timestamp,
};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

/// What is read from the headers of a stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The ring and the label, written again.
    pub(crate) write: String,
    /// The label.
    pub(crate) label: Option<Box<str>>,
    /// The id that the server knows the message by.
    pub(crate) id: Option<String>,
    /// Whether it is a tombstone (`Some(false)`) or the marker of an expiry (`Some(true)`).
    pub(crate) expired: Option<bool>,
    /// How far back the ring reaches at the oldest, of the revisions that were asked about.
    pub(crate) reaches: Vec<bool>,
}

/// Makes a map of those headers that the client lets through, as they would arrive.
fn map(headers: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            map.append(name, value);
        }
    }
    map
}

/// Reads a stored message as a read of a key does, and asks its ring about revisions.
pub(crate) fn told(headers: &[(String, String)], revisions: &[u64]) -> Told {
    let found = Found::new("a".into(), 1, Timestamp::EPOCH, &map(headers), Bytes::new());
    let (ring, label) = (found.ring(), found.label());
    Told {
        write: ring.header(label.as_deref()),
        reaches: revisions.iter().map(|revision| ring.reaches(*revision)).collect(),
        id: found.id().map(ToOwned::to_owned),
        expired: found.gone().map(|gone| gone == Gone::Expired),
        label,
    }
}

/// Writes upon what was read, as a compare-and-set at `expected` does, and returns the header of that write.
pub(crate) fn written_upon(header: &str, expected: u64, now: Timestamp) -> String {
    let (rings, tick) = (Rings::default(), super::ids::tick(now));
    rings.remember("a", expected, Ring::parse(header), None);
    let flight = rings.take_off();
    rings.next("a", Some(expected), flight.id, tick).0.header(None)
}

/// Makes a message of headers and a payload as they were delivered.
pub(crate) fn delivered(headers: &[(String, String)], payload: Bytes) -> Message {
    received(Some(&map(headers)), payload)
}

/// Sends a message and takes delivery of it, but for the server in between.
pub(crate) fn over_the_wire(message: &Message) -> Result<Message, StoreError> {
    let headers = user_headers(message)?;
    Ok(received(Some(&headers), message.payload.clone()))
}

/// Returns the subject of a key in a space, and the key that is read from it again.
pub(crate) fn subject(space: &Name, key: &Key) -> Option<(String, Option<Key>)> {
    let names = Names::new("", space);
    let subject = names.key(key).ok()?;
    let again = names.key_of(&subject);
    Some((subject, again))
}

/// Reads the key of any subject.
pub(crate) fn key_of(space: &Name, subject: &str) -> Option<Key> {
    Names::new("", space).key_of(subject)
}

/// Returns the subjects that a scope has.
pub(crate) fn subjects(space: &Name, scope: &Scope) -> Option<String> {
    Names::new("", space).keys(scope).ok()
}

/// Returns the id of a message on the wire, and the one that is read from it again.
pub(crate) fn id(queue: &Name, id: &str) -> (String, String) {
    let wire = wire_id(queue, id);
    let again = plain_id(queue, &wire);
    (wire, again)
}
