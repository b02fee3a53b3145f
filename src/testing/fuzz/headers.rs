//! Headers of anybody: names and values, the trace context, and what the JetStream engine reads from a stored message.

use super::message;
use crate::{
    core::snapshot::Trace,
    engine::{Headers, Message},
    telemetry,
};
use bytes::Bytes;

/// Reads bytes as the headers of a message, which are lines of `name: value`.
///
/// # Panics
///
/// When headers are not what was put in, or one that was read from the server is another one after it was written.
pub fn headers(bytes: &[u8]) {
    let (lines, payload) = message(bytes);
    let message = put_in(&lines, payload);
    checked(&message);
    trace(&message.headers);
    #[cfg(feature = "nats")]
    stored(&lines);
    for (_, value) in &lines {
        label(value);
    }
}

/// Appends all, and sets each again: what was said last is what is there.
fn put_in(lines: &[(String, String)], payload: Bytes) -> Message {
    let mut message = Message::new(payload);
    for (name, value) in lines {
        message.headers.append(name.as_str(), value.as_str());
    }
    assert_eq!(message.headers.iter().count(), lines.len());
    let one_line = |value: &str| value.replace(['\r', '\n'], " ");
    for ((name, value), (put_name, put)) in message.headers.iter().zip(lines) {
        assert_eq!((name, value), (put_name.as_str(), one_line(put).as_str()), "headers are in the order they were added");
    }
    for (name, value) in lines {
        let first = lines.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| one_line(v));
        assert_eq!(message.headers.get(&name.to_ascii_uppercase()), first.as_deref(), "the first value of {name:?}");
        let mut set = message.headers.clone();
        set.set(name.to_ascii_lowercase(), value.as_str());
        let values: Vec<_> = set.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).collect();
        assert_eq!(values, [one_line(value)], "one value is left of {name:?}");
    }
    message
}

/// What is accepted is what travels; names of the engines are refused, however they are spelled.
fn checked(message: &Message) {
    let accepted = message.check().is_ok();
    for (name, _) in message.headers.iter() {
        let folded = name.to_ascii_lowercase();
        let engines = folded.starts_with("nats-") || folded.starts_with("anabranch-") || folded == "kv-operation";
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        assert!(!accepted || (plain && !engines), "{name:?} was accepted");
    }
    #[cfg(feature = "nats")]
    if let Ok(delivered) = crate::engine::nats::doors::over_the_wire(message) {
        assert!(accepted, "what is sent was checked");
        assert_eq!(delivered.payload, message.payload);
        let folded = |headers: &Headers| {
            let mut all: Vec<_> = headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect();
            all.sort();
            all
        };
        assert_eq!(folded(&delivered.headers), folded(&message.headers), "headers arrive as they were sent");
        delivered.check().expect("what was delivered can be sent on");
    }
}

/// A context that was taken out is the same after it was put in, and what is put in is one.
fn trace(headers: &Headers) {
    let get = |name: &str| headers.get(name);
    let taken = telemetry::extract(get);
    if let Some(Trace { parent, state }) = &taken {
        assert_eq!((parent.len(), parent.is_ascii()), (55, true), "{parent:?}");
        assert_eq!(state, headers.get(telemetry::TRACESTATE).unwrap_or_default());
        let mut put = Headers::default();
        telemetry::inject(taken.as_ref().expect("it is one"), |name, value| put.set(name, value));
        assert_eq!(telemetry::extract(|name| put.get(name)), taken, "a context is the same after it was put in");
    }
    let span = telemetry::message_span("q", 1, 1, taken.as_ref());
    drop(span);
}

/// The ring and the label of a stored message: what was read is the same after it was written, and can be written upon.
#[cfg(feature = "nats")]
fn stored(lines: &[(String, String)]) {
    use crate::engine::nats::doors;
    const WRITE: &str = "Anabranch-Write";
    let revisions = [0, 1, 2, 1 << 40, u64::MAX - 1];
    let told = doors::told(lines, &revisions);
    let again = doors::told(&[(WRITE.to_owned(), told.write.clone())], &revisions);
    // A chain of an earlier version, and a label without a ring, are read and not written.
    if told.write.starts_with('=') {
        assert_eq!((&again.write, &again.label, &again.reaches), (&told.write, &told.label, &told.reaches));
    }
    assert_eq!(doors::told(lines, &revisions), told, "the same is read twice");
    for (_, value) in lines {
        for expected in [0, 1, 1 << 40, u64::MAX - 1] {
            let header = doors::written_upon(value, expected, super::NOW);
            // 64 writes of at most 32 characters, and the head: what others wrote does not grow what we write.
            assert!(header.len() <= 65 * 40 + 64, "{} bytes after {value:?}", header.len());
            let read = doors::told(&[(WRITE.to_owned(), header.clone())], &revisions);
            assert_eq!(read.write, header, "a ring is the same after it was written, upon {value:?}");
        }
    }
}

/// The labels of cells and runs.
fn label(value: &str) {
    let trail = crate::cell::doors::trail(Some(value));
    assert!(trail.len() <= 64, "a trail is a label: {trail:?}");
    assert_eq!(crate::cell::doors::trail(Some(&trail)), trail, "a trail is the same after it was written");
    let key = crate::engine::Key::new("run.shop.r-1").expect("it is a key");
    if let Some((status, worker)) = crate::runtime::doors::label(key, value) {
        let again = worker.map_or_else(|| status.to_owned(), |worker| format!("{status}.{worker}"));
        assert_eq!(again, value, "the label of a run says all of it");
    }
}
