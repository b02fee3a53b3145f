//! The queue's face: publishing, pulling and settling as transactions.
//!
//! A pull takes what its caller asks for and nothing ahead of that; a message that was taken for a call which is dropped
//! meanwhile waits in the pull for the next one.

use super::{
    Core,
    database::{QueueId, READY, TALLIES, unreadable},
    group::Reply,
    messages::Taken,
    store::check_message,
    stream,
};
use crate::engine::{Delivery, Message, Name, Published, Pull, Queue, QueueOptions, Rejection, Settle, StoreError};
use async_trait::async_trait;
use redb::ReadableDatabase as _;
use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// A queue of an embedded engine.
#[derive(Debug, Clone)]
pub(super) struct EmbeddedQueue {
    core: Arc<Core>,
    id: QueueId,
    name: Name,
    options: QueueOptions,
    /// What is more to it when it is a stream.
    stream: Option<OfStream>,
}

/// What the queue of a stream has beside its options.
#[derive(Debug, Clone)]
pub(super) struct OfStream {
    /// What is published on; `None` when there is no subject without wildcards.
    pub(super) subject: Option<String>,
    pub(super) max_age: Option<Duration>,
}

impl EmbeddedQueue {
    pub(super) async fn open(core: Arc<Core>, space: &Name, name: &Name, options: QueueOptions) -> Result<Self, StoreError> {
        if options.ack_wait < Duration::from_secs(1) {
            return Err(Rejection::InvalidOption("a queue's `ack_wait` is at least one second").into());
        }
        if options.max_in_flight == 0 {
            return Err(Rejection::InvalidOption("a queue's `max_in_flight` is at least one").into());
        }
        let (space, queue, asked) = (space.clone(), name.clone(), options.clone());
        let opening = core.writer.submit(move |batch| {
            let space = batch.space(space.as_str())?;
            let id = batch.queue(space, queue.as_str())?;
            batch.agree_on(id, &asked)??;
            Ok(id)
        });
        let id = opening.await?;
        Ok(Self { core, id, name: name.clone(), options, stream: None })
    }

    pub(super) fn of_stream(core: Arc<Core>, id: QueueId, name: &Name, options: QueueOptions, stream: OfStream) -> Self {
        Self { core, id, name: name.clone(), options, stream: Some(stream) }
    }

    /// Looks whether somebody could get something now, which is cheaper than to try.
    fn has_something(&self) -> Result<bool, StoreError> {
        let snapshot = self.core.writer.database.begin_read().map_err(unreadable)?;
        let tallies = snapshot.open_table(TALLIES).map_err(unreadable)?;
        let out = tallies.get(self.id).map_err(unreadable)?.map_or(0, |tally| tally.value().1);
        let ready = snapshot.open_table(READY).map_err(unreadable)?;
        let first = ready.range((self.id, 0)..=(self.id, u64::MAX)).map_err(unreadable)?.next();
        Ok(first.is_some() && out < self.options.max_in_flight as u64)
    }

    fn take(&self, most: usize) -> Reply<Vec<Taken>> {
        let (id, options) = (self.id, self.options.clone());
        let max_age = self.stream.as_ref().and_then(|stream| stream.max_age);
        self.core.writer.submit(move |batch| {
            if let Some(age) = max_age {
                batch.drop_aged(id, age)?;
            }
            Ok(batch.take(id, most, &options)?)
        })
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    fn name(&self) -> &Name {
        &self.name
    }

    fn options(&self) -> &QueueOptions {
        &self.options
    }

    fn is_in_a_space(&self) -> bool {
        self.stream.is_none()
    }

    async fn publish(&self, mut message: Message) -> Result<Published, StoreError> {
        check_message(&message, &self.core.capabilities)?;
        if let Some(stream) = &self.stream {
            let what = "the stream has no subject without wildcards: say which one with `StreamOptions::publish`";
            let subject = stream.subject.as_ref().ok_or(Rejection::InvalidOption(what))?;
            stream::address(&mut message, subject);
        }
        let id = self.id;
        self.core.writer.submit(move |batch| Ok(batch.enqueue(id, &message)?)).await
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        let bell = self.core.outside.bell(self.id);
        Ok(Box::new(EmbeddedPull { queue: self.clone(), bell, taking: None, taken: VecDeque::new() }))
    }
}

/// A worker's side of an embedded queue.
#[derive(Debug)]
struct EmbeddedPull {
    queue: EmbeddedQueue,
    bell: Arc<Notify>,
    /// What is being taken, also when the call that asked for it was dropped.
    taking: Option<Reply<Vec<Taken>>>,
    /// What was taken and not returned yet.
    taken: VecDeque<Taken>,
}

impl EmbeddedPull {
    /// Waits for what is being taken.
    async fn arrive(&mut self) -> Result<(), StoreError> {
        let Some(taking) = &mut self.taking else { return Ok(()) };
        let arrived = taking.await;
        self.taking = None;
        // The ring that led here was for a message that somebody can still have.
        self.taken.extend(arrived.inspect_err(|_| self.bell.notify_one())?);
        Ok(())
    }

    fn deliver(&self, taken: Taken) -> Delivery {
        let Taken { sequence, attempt, published_at, mut message, until: _ } = taken;
        let settle = EmbeddedSettle { queue: self.queue.clone(), sequence, attempt };
        let subject = self.queue.stream.as_ref().and_then(|_| stream::addressed(&mut message));
        let delivery = Delivery::new(message, sequence, attempt, published_at, Box::new(settle));
        if let Some(subject) = subject { delivery.on(subject) } else { delivery }
    }
}

#[async_trait]
impl Pull for EmbeddedPull {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError> {
        loop {
            self.arrive().await?;
            // What waited here for longer than `ack_wait` is somebody else's by now.
            let now = self.queue.core.writer.clock.now();
            self.taken.retain(|taken| taken.until > now);
            if !self.taken.is_empty() {
                let some = self.taken.drain(..max.get().min(self.taken.len())).collect::<Vec<_>>();
                return Ok(some.into_iter().map(|taken| self.deliver(taken)).collect());
            }
            if self.queue.has_something()? {
                // A crash from here on costs the messages an attempt, as a worker that died with them would.
                self.taking = Some(self.queue.take(max.get()));
            } else {
                self.bell.notified().await;
            }
        }
    }

    async fn close(mut self: Box<Self>) {
        // What failed to arrive needs no handing back.
        drop(self.arrive().await);
        let unseen: Vec<_> = self.taken.drain(..).map(|taken| (taken.sequence, taken.attempt)).collect();
        if unseen.is_empty() {
            return;
        }
        let id = self.queue.id;
        let back = self.queue.core.writer.submit(move |batch| {
            unseen.into_iter().try_for_each(|(sequence, attempt)| batch.untake(id, sequence, attempt))?;
            Ok(())
        });
        if let Err(error) = back.await {
            tracing::debug!(queue = %self.queue.name, error = &error as &dyn std::error::Error, "handed back by silence");
        }
    }
}

/// One delivery of one message.
struct EmbeddedSettle {
    queue: EmbeddedQueue,
    sequence: u64,
    attempt: u32,
}

#[async_trait]
impl Settle for EmbeddedSettle {
    async fn ack(&self) -> Result<(), StoreError> {
        let (id, sequence) = (self.queue.id, self.sequence);
        self.queue.core.writer.submit(move |batch| Ok(batch.remove_message(id, sequence)?)).await
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        let (id, sequence, attempt) = (self.queue.id, self.sequence, self.attempt);
        self.queue.core.writer.submit(move |batch| Ok(batch.hand_back(id, sequence, attempt, after)?)).await
    }

    async fn reject(&self) -> Result<(), StoreError> {
        self.ack().await
    }

    async fn extend(&self) -> Result<(), StoreError> {
        let (id, sequence, attempt, ack_wait) = (self.queue.id, self.sequence, self.attempt, self.queue.options.ack_wait);
        self.queue.core.writer.submit(move |batch| Ok(batch.extend(id, sequence, attempt, ack_wait)?)).await
    }
}
