//! One message for a queue: a publish that the server recognizes when it comes again, and how a message looks on the wire.
//!
//! Every message has a subject of its own and an id, the sender's or one made here, so a message whose answer was lost is sent
//! again without harm for as long as the server remembers ids. This file does not know who takes messages.

use super::{
    errors::{Fault, Lapse, refused},
    link::Link,
    names::{MESSAGE, MSG_ID, Names, WINDOW, is_unnamed, unnamed_id, wire_id},
    parts::fits,
};
use crate::{
    engine::{Headers, Message, Name, Published, Rejection, StoreError},
    time::unique,
};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use std::time::Duration;

/// Sends a message to a queue of a space; it is stored when this returns.
pub(super) async fn publish(link: &Link, names: &Names, queue: &Name, message: &Message) -> Result<Published, StoreError> {
    let id = message.id.as_ref().map(|id| wire_id(queue, id));
    send(link, (names.message(queue, &unique(&link.clock)), WINDOW), id, message).await
}

/// Sends a message on a subject of a stream that remembers ids for `window`, under the id that the stream is to know it by; it is
/// stored when this returns.
pub(super) async fn send(
    link: &Link,
    (subject, window): (String, Duration),
    id: Option<String>,
    message: &Message,
) -> Result<Published, StoreError> {
    let mut headers = user_headers(message)?;
    headers.insert(MSG_ID, id.unwrap_or_else(unnamed_id));
    fits(link, &headers, &message.payload)?;
    let mut patience = link.patience();
    let started = link.clock.instant();
    let mut lost = None;
    loop {
        // A crash on this line leaves a message that may be stored; whoever sends it again with its id is told so.
        let cause = match link.publish(subject.clone(), headers.clone(), message.payload.clone()).await {
            Ok(ack) => return Ok(Published::new(ack.sequence, ack.duplicate && (message.id.is_some() || lost.is_none()))),
            Err(Fault::Api(error)) if !error.is_at_its_limit() && (error.is_passing() || error.is_repeated_id()) => {
                error.into()
            }
            Err(Fault::Api(error)) => return Err(lost.map_or_else(|| refused(error), StoreError::Unknown)),
            Err(Fault::Lapse(Lapse::Refused(source))) => {
                return Err(lost.map_or_else(|| Rejection::Refused(source).into(), StoreError::Unknown));
            }
            Err(Fault::Lapse(Lapse::Deaf)) => "no server answers for this queue".into(),
            Err(Fault::Lapse(Lapse::Away(source))) => source,
            Err(Fault::Lapse(Lapse::Lost(source))) => {
                lost = Some(source);
                "the server did not answer".into()
            }
        };
        let remembered = link.clock.instant().saturating_duration_since(started) < window / 2;
        if !patience.pause().await || (lost.is_some() && !remembered) {
            return Err(lost.map_or(StoreError::Unavailable(cause), StoreError::Unknown));
        }
    }
}

/// The headers that a user gave a message.
pub(super) fn user_headers(message: &Message) -> Result<HeaderMap, StoreError> {
    message.check()?;
    let bad = |_| StoreError::from(Rejection::InvalidOption("a header's name is visible ASCII without a colon"));
    let mut headers = HeaderMap::new();
    for (name, value) in message.headers.iter() {
        let name = name.parse::<HeaderName>().map_err(|e| bad(e.to_string()))?;
        let value = value.parse::<HeaderValue>().map_err(|e| bad(e.to_string()))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Makes a message of what was delivered, with its id as it is on the wire. In one pass: a header that is looked up by name costs as
/// much as all of them.
pub(super) fn received(headers: Option<&HeaderMap>, payload: Bytes) -> Message {
    let mut message = Message::new(payload);
    let mut fired = None;
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        // The server takes a message with an empty id for one without.
        let first = || values.first().map(|value| value.as_str().to_owned()).filter(|id| !id.is_empty());
        match name {
            MSG_ID => message.id = first().filter(|id| !is_unnamed(id)),
            MESSAGE => fired = first(),
            // A line without a name is let through by servers, and nobody could send it on.
            name if name.is_empty() || Headers::is_reserved(name) => {}
            name => values.iter().for_each(|value| message.headers.append(name, value.as_str())),
        }
    }
    message.id = fired.or(message.id);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_its_sender_left_empty_is_none() {
        let received = |name: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, "");
            received(Some(&headers), Bytes::new()).id
        };
        assert_eq!((received(MSG_ID), received(MESSAGE)), (None, None));
    }

    #[test]
    fn a_message_with_a_header_without_a_name_can_be_sent_on() {
        let mut headers = HeaderMap::new();
        headers.append("", "nameless");
        headers.append("named", "x");
        let message = received(Some(&headers), Bytes::new());
        assert_eq!((message.check().is_ok(), message.headers.get("named")), (true, Some("x")));
    }
}
