//! Streams that are there already, or that others are to find: a queue over one, and what to say when it is configured otherwise.
//!
//! A queue of a space belongs to this library. A stream is the shape that its owner wants: subjects of its own, a retention, an
//! age, and a durable consumer that services in other languages may share. It is created where it is missing and asked for, and
//! never changed. This room does not know how an engine keeps one.

mod configured;
mod options;
mod subject;

pub(super) use configured::{ConsumerShape, StreamShape, agree};
pub use options::{Missing, Retention, StreamOptions};

use super::{Capabilities, Difference, Queue};
use std::sync::Arc;

/// A stream with one durable consumer, opened as a [`Queue`]; [`Engine::stream`](super::Engine::stream) opens one.
///
/// It is apart from every space: no commit reaches it, so what is decided here and has to leave for it at once with state goes
/// through a queue of a space first. What is taken from it is settled by an acknowledgement, which is no fence.
#[derive(Debug, Clone)]
pub struct Stream {
    queue: Arc<dyn Queue>,
    differences: Vec<Difference>,
    capabilities: Capabilities,
}

impl Stream {
    /// Assembles a stream; for engines.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, differences: Vec<Difference>, capabilities: Capabilities) -> Self {
        Self { queue, differences, capabilities }
    }

    /// Returns the queue: it publishes on the stream's subject, and pulls from the consumer.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// Lists how the stream differs from what was asked for; there is something only under
    /// [`StreamOptions::accept_drift`].
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// Tells what it can do: there are no commits, no timers and no keys.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

impl From<Stream> for Arc<dyn Queue> {
    fn from(stream: Stream) -> Self {
        stream.queue
    }
}
