//! A message of anybody in the queue of a worker or a router: what is taken from its headers, and its payload in each encoding.
//!
//! The same messages go through a router that runs in `tests/fuzz_corpus.rs`.

use super::message;
use crate::{
    codec::{Codec, Payload},
    core::jobs::Letter,
    engine::{Key, Message},
    jobs::doors::{Says, label, says},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An event with everything in it that a payload can have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Event {
    id: u64,
    name: String,
    #[serde(default)]
    amounts: Vec<f64>,
    #[serde(default)]
    tags: BTreeMap<String, Option<i32>>,
    #[serde(default)]
    parent: Option<Box<Self>>,
}

/// The same as protobuf, with a message in itself.
#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(double, repeated, tag = "3")]
    amounts: Vec<f64>,
    #[prost(map = "string, int32", tag = "4")]
    tags: std::collections::HashMap<String, i32>,
    #[prost(message, optional, boxed, tag = "5")]
    parent: Option<Box<Self>>,
}

/// Reads bytes as a message: headers, an empty line, and a payload.
///
/// # Panics
///
/// When a value that was decoded is another one after it was encoded, or a job that can be named cannot be kept.
pub fn router(bytes: &[u8]) {
    let (headers, payload) = message(bytes);
    let message = arrived(&headers, payload);
    named(&message);
    buried(&message);
    decoded(&message.payload);
    let _ = crate::schedule::doors::wake(&message).inspect(|wake| {
        assert_eq!(crate::schedule::doors::wake(wake).as_ref(), Some(wake), "a wake-up is the same after it was written");
    });
}

#[cfg(feature = "nats")]
fn arrived(headers: &[(String, String)], payload: Bytes) -> Message {
    let message = crate::engine::nats::doors::delivered(headers, payload);
    message.check().expect("what is delivered can be sent on, such as when it is put back");
    message
}

#[cfg(not(feature = "nats"))]
fn arrived(headers: &[(String, String)], payload: Bytes) -> Message {
    let mut message = Message::new(payload);
    for (name, value) in headers {
        message.headers.append(name.as_str(), value.as_str());
    }
    message
}

/// Whatever a message calls its job, there is a key for it, and two jobs have two.
fn named(message: &Message) {
    let Says { topic, id, generation: _, schedule } = says(message);
    assert!(topic.len() <= message.headers.iter().map(|(_, v)| v.len()).max().unwrap_or(0));
    let Some(id) = id else { return };
    assert!(!id.is_empty(), "messages without an id are not one job");
    for id in [id, topic, schedule.map_or("", |(name, _)| name)] {
        let token = Key::token(&label(id));
        assert!(Key::new(format!("job.queue.{token}")).is_ok(), "{id:?} has a key");
    }
}

/// What is given up is kept as it was.
fn buried(message: &Message) {
    let mut letter = Letter::new("queue".into(), "id".into(), String::new(), "no reason".into());
    letter.payload = message.payload.clone();
    letter.message_id.clone_from(&message.id);
    letter.headers = message.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(Letter::decode(&letter.encode()), Ok(letter), "a letter is the same after it was written");
}

/// A value is the same after it was written, in the encoding that it came in.
fn decoded(payload: &Bytes) {
    fn again<T>(codec: Codec<T>, payload: &[u8]) {
        // Written once it is in one spelling; `NaN` is not itself, so bytes are compared.
        let Ok(value) = codec.decode(payload) else { return };
        let Ok(written) = codec.encode(&value) else { return };
        let read = codec.decode(&written).unwrap_or_else(|error| panic!("{} reads what it wrote: {error}", codec.name()));
        let twice = codec.encode(&read).expect("what was written once can be written");
        assert_eq!(twice, written, "a value in {} is the same after it was written", codec.name());
    }
    assert_eq!(Codec::raw().decode(payload).ok().as_ref(), Some(payload));
    again(Codec::<Event>::json(), payload);
    again(Codec::<serde_json::Value>::json(), payload);
    again(Codec::<Event>::message_pack(), payload);
    again(Codec::<serde_json::Value>::message_pack(), payload);
    again(Codec::<Vec<u64>>::message_pack(), payload);
    if let Ok(row) = Codec::<Row>::protobuf().decode(payload) {
        // A map has no order, so its bytes may differ.
        let written = Codec::<Row>::protobuf().encode(&row).expect("protobuf writes all");
        let read = Codec::<Row>::protobuf().decode(&written).expect("protobuf reads what it wrote");
        // Nor is a number that is none equal to itself.
        let numbers = |row: &Row| row.amounts.iter().map(|amount| amount.to_bits()).collect::<Vec<_>>();
        assert_eq!(numbers(&read), numbers(&row));
        let rest = |row: Row| Row { amounts: Vec::new(), parent: None, ..row };
        assert_eq!(read.parent.is_some(), row.parent.is_some());
        assert_eq!(rest(read), rest(row));
    }
    // What a run is started with, and what it keeps.
    if let Ok(value) = <serde_json::Value as Payload>::decode(payload) {
        let kept = Payload::encode(&value).expect("JSON is written as JSON");
        assert_eq!(<serde_json::Value as Payload>::decode(&kept).ok(), Some(value), "a run's input is what it was");
    }
}
