//! What the bodies of `testing::fuzz` reach of this room: what a message says of its job, and what is stored beside jobs. It
//! asserts nothing.

use super::{control::Pause, handler::topic_of, held, ledger, sender};
use crate::{engine::Message, time::Timestamp};

/// What a message says of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Says<'a> {
    pub(crate) topic: &'a str,
    pub(crate) id: Option<&'a str>,
    pub(crate) generation: u32,
    pub(crate) schedule: Option<(&'a str, Timestamp)>,
}

/// Reads what a message says of its job.
pub(crate) fn says(message: &Message) -> Says<'_> {
    Says {
        topic: topic_of(message),
        id: held::named(message),
        generation: held::generation(message),
        schedule: sender::sender_of(&message.headers),
    }
}

/// Returns the label of a job's key.
pub(crate) fn label(id: &str) -> String {
    ledger::label(id).into_owned()
}

/// Reads whether a queue is paused, and writes it again.
pub(crate) fn pause(bytes: &[u8]) -> (Pause, bytes::Bytes) {
    let pause = Pause::decode(bytes);
    (pause, pause.encode())
}
