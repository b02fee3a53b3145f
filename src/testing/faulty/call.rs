//! What a rule sees of a call that is on its way to an engine.

use crate::engine::{Key, Message};

/// What a call asks of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `get`, `get_many` and `history`
    Read,
    /// `put`
    Put,
    /// `delete`
    Delete,
    /// `commit`
    Commit,
    /// `keys`
    Keys,
    /// The start of a `watch`
    Watch,
    /// `publish` to a queue or a stream
    Publish,
    /// The start of taking messages
    Pull,
    /// `next` of a pull: messages are taken
    Next,
    /// `ack` of a delivery
    Ack,
    /// `retry` of a delivery
    Retry,
    /// `reject` of a delivery
    Reject,
    /// `extend` of a delivery
    Extend,
    /// `add` to a counter of a tally
    Add,
    /// `value` of a counter of a tally
    Value,
    /// A space, a bucket, a queue, a stream or a tally is opened
    Open,
}

impl Op {
    /// Tells whether it changes something, other than by taking a message or opening what is missing.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Commit | Self::Publish | Self::Add) || self.settles()
    }

    /// Tells whether it is about the end of a delivery, or its going on.
    #[must_use]
    pub fn settles(self) -> bool {
        matches!(self, Self::Ack | Self::Retry | Self::Reject | Self::Extend)
    }

    /// Tells whether it has expectations that a conflict can be about.
    pub(super) fn compares(self) -> bool {
        matches!(self, Self::Put | Self::Delete | Self::Commit)
    }
}

/// A call on its way to an engine.
#[derive(Debug)]
pub struct Call<'a> {
    /// What it asks for.
    pub op: Op,
    /// The keys that it is about; for `keys` and `watch` there are none, unless their scope is one key.
    pub keys: Vec<&'a Key>,
    /// The space, the bucket or the stream that it is about.
    pub place: &'a str,
    /// The queue that it is about, for what is asked of a queue.
    pub queue: Option<&'a str>,
    /// What is published, taken note of or handed back.
    pub message: Option<&'a Message>,
    /// The bytes of the largest value or payload that is written.
    pub size: usize,
}

impl<'a> Call<'a> {
    pub(super) fn new(op: Op, place: &'a str) -> Self {
        Self { op, keys: Vec::new(), place, queue: None, message: None, size: 0 }
    }

    /// Tells whether it writes a key that begins with these tokens.
    #[must_use]
    pub fn writes_below(&self, start: &str) -> bool {
        self.op.writes() && self.keys.iter().any(|key| key.as_str().starts_with(start))
    }
}
