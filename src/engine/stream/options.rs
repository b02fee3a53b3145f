//! How a stream and its consumer are to be: what is asked for, and what is created where nothing is.

use super::subject::{has, is_literal, is_pattern};
use crate::engine::{Rejection, Storage};
use std::{fmt, time::Duration};

/// When a message leaves a stream, beside its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retention {
    /// When it was acknowledged; a subject has one consumer.
    WorkQueue,
    /// When every consumer has acknowledged it.
    Interest,
    /// Not by being taken.
    Limits,
}

impl Retention {
    /// The word that is used on the wire.
    pub(in crate::engine) fn as_str(self) -> &'static str {
        match self {
            Self::WorkQueue => "workqueue",
            Self::Interest => "interest",
            Self::Limits => "limits",
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is done about a stream or a consumer that is not there, when it is opened and while it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Missing {
    /// Both are created; a consumer that is deleted under its workers is made anew, a stream is not.
    #[default]
    Create,
    /// The consumer is created, and made anew; a stream that is not there is [`Rejection::Missing`].
    CreateConsumer,
    /// What is not there is [`Rejection::Missing`], to a pull, too.
    Refuse,
}

/// How a stream and its durable consumer are to be configured.
///
/// An option that is left out is the default where the stream or the consumer is created, and matches anything where it is there
/// already. One thing is always asked for: that the consumer gives a message again without limit, because whoever works on it
/// decides when to stop, and the server would leave a message that it gave up where nobody finds it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::engine::{Engine, Message, Rejection, StoreError, StreamOptions};
/// use std::{num::NonZeroUsize, time::Duration};
///
/// let engine = Engine::open("memory:").await?;
/// let options = StreamOptions::default().subject("orders.new").consumer("router");
/// let orders = engine.stream("orders", options.clone()).await?;
/// orders.queue().publish(Message::new("order 42").id("42")).await?;
/// let mut pull = orders.queue().pull().await?;
/// let delivery = pull.next(NonZeroUsize::MIN).await?.remove(0);
/// assert_eq!((delivery.subject(), delivery.attempt()), (Some("orders.new"), 1));
/// delivery.ack().await?;
///
/// let drift = engine.stream("orders", options.ack_wait(Duration::from_secs(5))).await.unwrap_err();
/// assert!(matches!(drift, StoreError::Rejected(Rejection::Drift { differences, .. }) if differences[0].what == "ack_wait"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// What the stream stores, wildcards among them; the stream's name when it is left out.
    pub subjects: Option<Vec<String>>,
    /// What [`publish`](crate::engine::Queue::publish) publishes on. When it is left out: the filter, when that is one subject; else
    /// the first of the stream's subjects that is one. A stream that has none is only read.
    pub publish: Option<String>,
    /// What the consumer takes of the stream; everything when it is left out.
    pub filter: Option<String>,
    /// The name of the durable consumer that all workers share; `NAMEConsumer` of a stream `NAME` when it is left out.
    pub consumer: Option<String>,
    /// How long a worker may stay silent before its message goes to another, at least 1 second; 30 seconds when it is left out.
    pub ack_wait: Option<Duration>,
    /// The most messages that may be out at once, over all workers; 10,000 when it is left out.
    pub max_in_flight: Option<usize>,
    /// When a message leaves; when it was acknowledged, when it is left out. Embedded engines have work queues only.
    pub retention: Option<Retention>,
    /// Where it is kept; as the engine's URL says when it is left out, which is in files. An embedded engine keeps everything where
    /// its URL says; it is remembered and compared all the same.
    pub storage: Option<Storage>,
    /// After which age a message goes, taken or not, at least 100 milliseconds, or zero for never; a week when it is left out.
    pub max_age: Option<Duration>,
    /// How many servers have a copy, 1 to 5; as the engine's URL says when it is left out. An embedded engine has one copy
    /// whatever this says; it is remembered and compared all the same.
    pub replicas: Option<usize>,
    /// How long a message's id is remembered, at least 100 milliseconds; 2 minutes when it is left out.
    pub dedupe_window: Option<Duration>,
    /// The most messages, at least 1; no limit when it is left out. A full stream takes no more: publishing is
    /// [`Unavailable`](crate::engine::StoreError::Unavailable), and nothing is dropped. Embedded engines do not count and refuse it.
    pub max_messages: Option<u64>,
    /// What is done about what is not there.
    pub missing: Missing,
    /// Whether a stream or a consumer that is configured otherwise is opened all the same, as far as a queue can live with it.
    pub accept_drift: bool,
}

impl StreamOptions {
    /// Opens whatever is there, as it is, and creates nothing: [`Stream::differences`](super::Stream::differences) tells how it
    /// differs.
    ///
    /// A consumer with a limit of deliveries is opened, too, and gives a message up by itself when the limit is reached.
    #[must_use]
    pub fn as_it_is() -> Self {
        Self { missing: Missing::Refuse, accept_drift: true, ..Self::default() }
    }

    /// Stores this subject, beside those that were said before.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subjects.get_or_insert_default().push(subject.into());
        self
    }

    /// Publishes on this subject.
    #[must_use]
    pub fn publish(mut self, subject: impl Into<String>) -> Self {
        self.publish = Some(subject.into());
        self
    }

    /// Takes only what was published on this subject, which may have wildcards.
    #[must_use]
    pub fn filter(mut self, subject: impl Into<String>) -> Self {
        self.filter = Some(subject.into());
        self
    }

    /// Shares the durable consumer of this name.
    #[must_use]
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = Some(name.into());
        self
    }

    /// Sets how long a worker may stay silent, at least 1 second.
    #[must_use]
    pub fn ack_wait(mut self, ack_wait: Duration) -> Self {
        self.ack_wait = Some(ack_wait);
        self
    }

    /// Sets how many messages may be out at once.
    #[must_use]
    pub fn max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = Some(max);
        self
    }

    /// Sets when a message leaves.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Keeps it there.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Lets every message go after `age`, at least 100 milliseconds; zero keeps it.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Keeps a copy on this many servers, 1 to 5.
    #[must_use]
    pub fn replicas(mut self, copies: usize) -> Self {
        self.replicas = Some(copies);
        self
    }

    /// Sets how long a message's id is remembered, at least 100 milliseconds.
    #[must_use]
    pub fn dedupe_window(mut self, window: Duration) -> Self {
        self.dedupe_window = Some(window);
        self
    }

    /// Limits the number of messages, at least 1.
    #[must_use]
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = Some(messages);
        self
    }

    /// Sets what is done about what is not there.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Opens what is configured otherwise all the same, as far as a queue can live with it.
    #[must_use]
    pub fn accept_drift(mut self) -> Self {
        self.accept_drift = true;
        self
    }

    /// Checks the limits that hold on every engine.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidOption`] for an option that is out of its range.
    pub fn check(&self) -> Result<(), Rejection> {
        let (tenth, longest) = (Duration::from_millis(100), i64::MAX as u128);
        let durations = [self.ack_wait, self.max_age, self.dedupe_window];
        let age = self.max_age.filter(|age| !age.is_zero());
        let is_name = |name: &String| {
            (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let wrong = if self.subjects.as_ref().is_some_and(|all| all.is_empty() || !all.iter().all(|s| is_pattern(s))) {
            "a stream has subjects: dotted names, in which `*` is one token and a last `>` the rest"
        } else if self.publish.as_ref().is_some_and(|s| !is_literal(s)) {
            "a message is published on a subject without wildcards"
        } else if self.filter.as_ref().is_some_and(|s| !is_pattern(s)) {
            "a filter is a subject: a dotted name, in which `*` is one token and a last `>` the rest"
        } else if self.consumer.as_ref().is_some_and(|name| !is_name(name)) {
            "a consumer's name is 1 to 128 of `A-Z a-z 0-9 - _`"
        } else if self.ack_wait.is_some_and(|wait| wait < Duration::from_secs(1)) {
            "a queue's `ack_wait` is at least one second"
        } else if self.max_in_flight == Some(0) {
            "a queue's `max_in_flight` is at least one"
        } else if age.is_some_and(|age| age < tenth) || self.dedupe_window.is_some_and(|window| window < tenth) {
            "a maximal age and a window are at least 100 milliseconds"
        } else if durations.iter().flatten().any(|d| d.as_nanos() > longest) {
            "a duration is at most 292 years"
        } else if age.zip(self.dedupe_window).is_some_and(|(age, window)| window > age) {
            "no id is remembered for longer than a message may stay"
        } else if self.replicas.is_some_and(|n| !(1..=5).contains(&n)) {
            "there are 1 to 5 replicas"
        } else if self.max_messages.is_some_and(|n| n == 0 || i64::try_from(n).is_err()) {
            "a stream holds at least one message"
        } else {
            return Ok(());
        };
        Err(Rejection::InvalidOption(wrong))
    }

    /// The name of the consumer.
    pub(in crate::engine) fn consumer_of(&self, stream: &str) -> String {
        self.consumer.clone().unwrap_or_else(|| format!("{stream}Consumer"))
    }

    /// The subject to publish on, of those that a stream has; `None` when there is none without wildcards.
    pub(in crate::engine) fn publishes_on(&self, subjects: &[String]) -> Result<Option<String>, Rejection> {
        let stored = |subject: &String| subjects.iter().any(|pattern| has(pattern, subject));
        if let Some(subject) = &self.publish {
            let elsewhere = Rejection::InvalidOption("the subject to publish on is none of the stream's");
            return if stored(subject) { Ok(Some(subject.clone())) } else { Err(elsewhere) };
        }
        let filter = self.filter.iter().filter(|subject| is_literal(subject) && stored(subject));
        Ok(filter.chain(subjects.iter().filter(|subject| is_literal(subject))).next().cloned())
    }

    /// Refuses to go on without a stream or a consumer.
    pub(in crate::engine) fn must_be_created(&self, what: &'static str, name: &str) -> Result<(), Rejection> {
        let may = match self.missing {
            Missing::Create => true,
            Missing::CreateConsumer => what == "consumer",
            Missing::Refuse => false,
        };
        if may { Ok(()) } else { Err(Rejection::Missing { what, name: name.to_owned() }) }
    }

    /// The name under which a stream is found when nothing else is said.
    pub(in crate::engine) fn subjects_of(&self, stream: &str) -> Vec<String> {
        self.subjects.clone().unwrap_or_else(|| vec![stream.to_owned()])
    }
}
