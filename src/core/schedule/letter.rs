//! A message that is sent later, and the queue that it goes to, as plain data.

use bytes::Bytes;

/// What a schedule sends, or a delayed message is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letter {
    /// The queue.
    pub queue: String,
    /// The message's id, if it has one of its own.
    pub id: Option<String>,
    /// Names and texts beside the payload, in their order.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub payload: Bytes,
}
