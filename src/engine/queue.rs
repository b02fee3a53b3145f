//! The contract of a work queue: messages that are delivered at least once, to one worker at a time.
//!
//! A queue counts deliveries and gives a message to somebody else when its worker goes silent. It does not know what a message
//! is for, never gives up on one by itself (whoever works on it decides when to stop), and an acknowledgement is no fence: what
//! must not happen twice is fenced by a [`Store`](super::Store) write.

use super::{Name, Rejection, StoreError};
use crate::time::Timestamp;
use async_trait::async_trait;
use bytes::Bytes;
use std::{fmt, num::NonZeroUsize, time::Duration};

/// Names and texts that travel with a message, such as `traceparent`. Names compare without case.
///
/// Names that begin with `Nats-` or `Anabranch-`, and `KV-Operation`, belong to the engines: a message that has one is
/// [`Rejected`](StoreError::Rejected).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Returns the first value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Sets a name to one value; line breaks become spaces, since a header is one line.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        self.append(name, value);
    }

    /// Adds a value to a name, beside those that it has.
    pub fn append(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into().replace(['\r', '\n'], " ")));
    }

    /// Tells whether a name belongs to the engines.
    pub(super) fn is_reserved(name: &str) -> bool {
        let starts = |prefix: &str| name.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
        starts("Nats-") || starts("Anabranch-") || name.eq_ignore_ascii_case("KV-Operation")
    }

    /// Lists names and values in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

/// What is published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Identifies it: a second message with this id within the queue's window is dropped.
    pub id: Option<String>,
    /// Names and texts beside the payload.
    pub headers: Headers,
    /// The content.
    pub payload: Bytes,
}

impl Message {
    /// Makes a message without id and headers.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// Gives it an id, so that publishing it again within the queue's window changes nothing.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Checks the limits that hold on every engine.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidOption`] for an id that is empty or has a line break, for a header whose name is not visible ASCII or
    /// has a colon, and for one whose name belongs to the engines.
    pub fn check(&self) -> Result<(), Rejection> {
        if self.id.as_ref().is_some_and(|id| id.is_empty() || id.contains(['\r', '\n'])) {
            return Err(Rejection::InvalidOption("a message's id is one line and not empty"));
        }
        for (name, _) in self.headers.iter() {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
                return Err(Rejection::InvalidOption("a header's name is visible ASCII without a colon"));
            }
            if Headers::is_reserved(name) {
                return Err(Rejection::InvalidOption(
                    "headers named Nats-*, KV-Operation and Anabranch-* belong to the engine",
                ));
            }
        }
        Ok(())
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.set(name, value);
        self
    }
}

/// How a queue behaves; fixed when it is first opened, checked whenever it is opened again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueOptions {
    /// How long a worker may stay silent before its message goes to another; default 30 seconds, at least 1 second.
    pub ack_wait: Duration,
    /// The most messages that may be out at once, over all workers; default 10,000.
    pub max_in_flight: usize,
    /// How long a message's id is remembered; default 2 minutes. On JetStream at least: the longest window of a space's queues
    /// holds for all of them, and is never below 2 minutes.
    pub dedupe_window: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { ack_wait: Duration::from_secs(30), max_in_flight: 10_000, dedupe_window: Duration::from_secs(120) }
    }
}

impl QueueOptions {
    /// Sets how long a worker may stay silent.
    #[must_use]
    pub fn ack_wait(mut self, ack_wait: Duration) -> Self {
        self.ack_wait = ack_wait;
        self
    }

    /// Sets how many messages may be out at once.
    #[must_use]
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = max;
        self
    }

    /// Sets how long a message's id is remembered.
    #[must_use]
    pub fn dedupe_window(mut self, window: Duration) -> Self {
        self.dedupe_window = window;
        self
    }
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Its position in the queue; that of the first one when it is a duplicate.
    pub sequence: u64,
    /// A message with its id was there already, and this one was dropped.
    pub duplicate: bool,
}

impl Published {
    /// Assembles the answer; for engines.
    #[must_use]
    pub fn new(sequence: u64, duplicate: bool) -> Self {
        Self { sequence, duplicate }
    }
}

/// A work queue of a space.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Returns its name.
    fn name(&self) -> &Name;

    /// Returns the options that are in force.
    fn options(&self) -> &QueueOptions;

    /// Tells whether a commit of a space can send to it. A [`Stream`](super::Stream) is out of reach.
    fn is_in_a_space(&self) -> bool {
        true
    }

    /// Adds a message; it is stored when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unknown`] when it may have been stored: publishing again with the same id is safe within the window.
    async fn publish(&self, message: Message) -> Result<Published, StoreError>;

    /// Starts to take messages.
    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError>;
}

/// A worker's side of a queue.
#[async_trait]
pub trait Pull: fmt::Debug + Send {
    /// Waits for messages and returns one to `max` of them. No more than asked for is taken out of the queue.
    ///
    /// Heals itself after the server was away; an error tells that it is away, and the next call tries again.
    ///
    /// # Cancel safety
    ///
    /// Safe: what arrives for a dropped call is returned by the next one, or handed back by [`close`](Self::close).
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError>;

    /// Stops, and hands back what arrived and was not taken, so that others get it at once.
    async fn close(self: Box<Self>);

    /// Stops, and returns what arrived and was not taken, for a caller who hands it back in a way of its own. An engine for which
    /// a message that nobody saw was not delivered hands it back itself.
    #[must_use = "what is dropped comes again after the queue's `ack_wait`"]
    async fn finish(self: Box<Self>) -> Vec<Delivery> {
        self.close().await;
        Vec::new()
    }
}

/// A message that this worker has until it settles it, or stays silent for the queue's `ack_wait`.
#[must_use = "a delivery that is dropped comes again after the queue's `ack_wait`"]
pub struct Delivery {
    message: Message,
    sequence: u64,
    attempt: u32,
    published_at: Timestamp,
    subject: Option<Box<str>>,
    settle: Box<dyn Settle>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, sequence, attempt, published_at, subject, settle: _ } = self;
        f.debug_struct("Delivery")
            .field("message", message)
            .field("sequence", sequence)
            .field("attempt", attempt)
            .field("published_at", published_at)
            .field("subject", subject)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Assembles a delivery; for engines. `attempt` starts at 1.
    pub fn new(message: Message, sequence: u64, attempt: u32, published_at: Timestamp, settle: Box<dyn Settle>) -> Self {
        Self { message, sequence, attempt, published_at, subject: None, settle }
    }

    /// Says on which subject it was published; for engines.
    pub fn on(mut self, subject: impl Into<Box<str>>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns its position in the queue, which stays the same when it comes again.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns which delivery of the message this is: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns when it was published.
    #[must_use]
    pub fn published_at(&self) -> Timestamp {
        self.published_at
    }

    /// Returns the subject that it was published on, where it comes from a [`Stream`](super::Stream): the messages of a space's
    /// queue have none.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Lets a room above settle it while others still look at it; whoever does so settles it once.
    pub(crate) fn settling(&self) -> &dyn Settle {
        &*self.settle
    }

    /// Tells the queue that the message is done, and waits until the queue knows.
    ///
    /// # Errors
    ///
    /// When the queue could not be told: the message comes again, and whoever gets it has to see that it was done.
    pub async fn ack(self) -> Result<(), StoreError> {
        self.settle.ack().await
    }

    /// Hands the message back: it comes again, not before `after` has passed.
    ///
    /// # Errors
    ///
    /// When the queue could not be told: the message comes again after the queue's `ack_wait`.
    pub async fn retry(self, after: Duration) -> Result<(), StoreError> {
        self.settle.retry(after).await
    }

    /// Removes the message for good although it was not done: keep its record elsewhere first.
    ///
    /// # Errors
    ///
    /// When the queue could not be told: the message comes again.
    pub async fn reject(self) -> Result<(), StoreError> {
        self.settle.reject().await
    }

    /// Says that the work goes on, which starts `ack_wait` anew.
    ///
    /// # Errors
    ///
    /// When the queue could not be told: say it again, or expect that the message comes again.
    pub async fn extend(&self) -> Result<(), StoreError> {
        self.settle.extend().await
    }
}

/// How an engine settles one delivery; each of the first three is called at most once.
#[async_trait]
pub trait Settle: Send + Sync {
    /// The message is done.
    async fn ack(&self) -> Result<(), StoreError>;
    /// The message is to come again after a delay.
    async fn retry(&self, after: Duration) -> Result<(), StoreError>;
    /// The message is removed without being done.
    async fn reject(&self) -> Result<(), StoreError>;
    /// The work goes on.
    async fn extend(&self) -> Result<(), StoreError>;
}
