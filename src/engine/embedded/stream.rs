//! Streams inside a transaction: queues beside the spaces, with the options of a stream.
//!
//! There are work queues only, each with one consumer, which takes whatever is published; what else a server can have is refused and
//! not imitated. The subject that a message was published on travels with it under a header that no sender can set. What is too
//! old is dropped when somebody asks for it.

use super::{
    Core,
    database::{Batch, Fault, QueueId, SpaceId},
    queue::{EmbeddedQueue, OfStream},
};
use crate::{
    engine::{
        Difference, Headers, Message, Name, QueueOptions, Rejection, Retention, Storage, StoreError, Stream, StreamOptions,
        bucket::without_a_space,
        stream::{ConsumerShape, StreamShape, agree},
    },
    time::Timestamp,
};
use redb::{ReadableTable as _, StorageError};
use std::{sync::Arc, time::Duration};

/// Where the queues of streams are: the numbers of spaces begin with 1.
const BESIDE_THE_SPACES: SpaceId = 0;
/// The subject of a message.
const SUBJECT: &str = "Anabranch-Subject";

/// Opens a stream, and makes one as far as the options say.
pub(super) async fn open(core: Arc<Core>, name: &Name, wanted: StreamOptions) -> Result<Stream, StoreError> {
    let lacks = |what| {
        let remedy = "streams of this engine are work queues without a limit of messages";
        Rejection::Unsupported { what, engine: core.capabilities.engine.clone(), remedy }
    };
    if wanted.retention.is_some_and(|retention| retention != Retention::WorkQueue) && !wanted.accept_drift {
        return Err(lacks("a stream that keeps what was taken").into());
    }
    if wanted.max_messages.is_some() && !wanted.accept_drift {
        return Err(lacks("a stream with a limit of messages").into());
    }
    let storage = if core.capabilities.durable { Storage::File } else { Storage::Memory };
    let (stream, asked) = (name.clone(), wanted.clone());
    let opened = core.writer.submit(move |batch| batch.stream(stream.as_str(), &asked, storage)).await?;
    let subject = wanted.publishes_on(&opened.subjects)?;
    let max_age = Some(opened.max_age).filter(|age| !age.is_zero());
    let mut capabilities = core.capabilities.clone();
    without_a_space(&mut capabilities);
    capabilities.ttl = false;
    capabilities.consistent_get_many = false;
    capabilities.max_commit = 0;
    let queue = EmbeddedQueue::of_stream(core, opened.queue, name, opened.options, OfStream { subject, max_age });
    Ok(Stream::new(Arc::new(queue), opened.differences, capabilities))
}

/// What was found or made.
#[derive(Debug)]
pub(super) struct Opened {
    queue: QueueId,
    subjects: Vec<String>,
    max_age: Duration,
    options: QueueOptions,
    differences: Vec<Difference>,
}

impl Batch<'_> {
    fn stream(&mut self, name: &str, wanted: &StreamOptions, storage: Storage) -> Result<Opened, Fault> {
        let consumer = wanted.consumer_of(name);
        let found = self.found(name)?;
        let (queue, stream, shape) = if let Some((queue, of, stream, shape)) = found {
            shape.must_take(wanted.publishes_on(&stream.subjects)?)?;
            if of != consumer {
                agree(name, Some(&stream), None, wanted)?;
                wanted.must_be_created("consumer", &consumer)?;
                let what = format!("the work queue `{name}` has one consumer, which is `{of}`");
                return Err(Rejection::Refused(what.into()).into());
            }
            (queue, stream, shape)
        } else {
            wanted.must_be_created("stream", name)?;
            let (stream, shape) = (StreamShape::made(name, wanted, 1, storage), ConsumerShape::made(wanted));
            // Before anything is made.
            shape.must_take(wanted.publishes_on(&stream.subjects)?)?;
            (self.make(name, &consumer, &stream, &shape)?, stream, shape)
        };
        let differences = agree(name, Some(&stream), Some(&shape), wanted)?;
        let max_in_flight = shape.max_in_flight.unwrap_or(usize::MAX);
        let options = QueueOptions { ack_wait: shape.ack_wait, max_in_flight, dedupe_window: stream.dedupe_window };
        Ok(Opened { queue, subjects: stream.subjects, max_age: stream.max_age, options, differences })
    }

    fn make(&mut self, name: &str, consumer: &str, stream: &StreamShape, shape: &ConsumerShape) -> Result<QueueId, Fault> {
        let queue = self.queue(BESIDE_THE_SPACES, name)?;
        let options = QueueOptions {
            ack_wait: shape.ack_wait,
            max_in_flight: shape.max_in_flight.unwrap_or(usize::MAX),
            dedupe_window: stream.dedupe_window,
        };
        self.agree_on(queue, &options)??;
        let subjects: Vec<_> = stream.subjects.iter().map(String::as_str).collect();
        let filter = shape.filters.first().map(String::as_str);
        let (replicas, in_memory) = (stream.replicas as u64, stream.storage == Storage::Memory);
        let row = (queue, subjects, consumer, filter, micros(stream.max_age), replicas, in_memory);
        self.tables.streams.insert(name, row)?;
        Ok(queue)
    }

    fn found(&self, name: &str) -> Result<Option<(QueueId, String, StreamShape, ConsumerShape)>, StorageError> {
        let Some(row) = self.tables.streams.get(name)? else { return Ok(None) };
        let (queue, subjects, consumer, filter, max_age, replicas, in_memory) = row.value();
        let fixed = self.tables.options.get(queue)?.map(|fixed| fixed.value());
        let fixed = fixed.ok_or_else(|| StorageError::Corrupted(format!("the stream `{name}` has no options")))?;
        let (ack_wait, max_in_flight, window) = fixed;
        let stream = StreamShape {
            subjects: subjects.into_iter().map(ToOwned::to_owned).collect(),
            retention: Retention::WorkQueue,
            storage: if in_memory { Storage::Memory } else { Storage::File },
            max_age: Duration::from_micros(max_age),
            replicas: usize::try_from(replicas).unwrap_or(usize::MAX),
            dedupe_window: Duration::from_micros(window),
            max_messages: None,
        };
        let made = ConsumerShape::made(&StreamOptions::default());
        let shape = ConsumerShape {
            filters: filter.into_iter().map(ToOwned::to_owned).collect(),
            ack_wait: Duration::from_micros(ack_wait),
            max_in_flight: Some(usize::try_from(max_in_flight).unwrap_or(usize::MAX)),
            ..made
        };
        Ok(Some((queue, consumer.to_owned(), stream, shape)))
    }

    /// Drops what nobody has and what is too old to be given to anybody.
    pub(super) fn drop_aged(&mut self, queue: QueueId, age: Duration) -> Result<(), StorageError> {
        let mut aged = Vec::new();
        for row in self.tables.ready.range((queue, 0)..=(queue, u64::MAX))? {
            let sequence = row?.0.value().1;
            let published = self.tables.messages.get((queue, sequence))?.map(|message| message.value().0);
            // Sequences grow with time, so the rest is younger.
            if published.is_some_and(|at| Timestamp::from_micros(at) + age > self.now) {
                break;
            }
            aged.push(sequence);
        }
        aged.into_iter().try_for_each(|sequence| self.remove_message(queue, sequence))
    }
}

/// Notes the subject that a message is published on.
pub(super) fn address(message: &mut Message, subject: &str) {
    message.headers.append(SUBJECT, subject);
}

/// Takes the subject out again.
pub(super) fn addressed(message: &mut Message) -> Option<Box<str>> {
    let subject: Option<Box<str>> = message.headers.get(SUBJECT).map(Into::into);
    let others = message.headers.iter().filter(|(name, _)| *name != SUBJECT);
    message.headers = others.fold(Headers::default(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    });
    subject
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
