//! A queue that misbehaves: what a fault means to publishing, taking and settling.

use super::{
    Trouble, World,
    call::{Call, Op},
    chance::Drawn,
    deliveries::{Given, Letter},
    fault::{Fault, away},
};
use crate::{
    engine::{Delivery, Message, Name, Published, Pull, Queue, QueueOptions, Settle, StoreError},
    time::Clock,
};
use async_trait::async_trait;
use std::{
    collections::VecDeque,
    fmt,
    future::{Future, pending},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

/// A queue that misbehaves as it is told to: its publishes, its pulls, and the settlements of what they return.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::{Engine, Message, Queue, QueueOptions}, testing::faulty::{Fault, FaultyQueue, Op}};
/// use std::num::NonZeroUsize;
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let queue = space.queue("orders", QueueOptions::default()).await?;
/// let queue = FaultyQueue::over(queue, space.clock().clone(), 1);
/// queue.publish(Message::new("apples")).await?;
/// let mut pull = queue.pull().await?;
/// pull.next(NonZeroUsize::MIN).await?.remove(0).ack().await?;
/// queue.trouble().once(Fault::Duplicate, |call| call.op == Op::Next);
/// let again = pull.next(NonZeroUsize::MIN).await?.remove(0);
/// assert_eq!((&*again.message().payload, again.attempt()), (&b"apples"[..], 2));
/// again.ack().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct FaultyQueue(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Queue>,
    place: Box<str>,
    trouble: Arc<Trouble>,
    given: Arc<Given>,
}

impl fmt::Debug for FaultyQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyQueue").field("inner", &self.0.inner).finish_non_exhaustive()
    }
}

impl FaultyQueue {
    /// Stands in front of a queue, or of that of a [`Stream`](crate::engine::Stream), and does nothing yet.
    #[must_use]
    pub fn over(queue: Arc<dyn Queue>, clock: Clock, seed: u64) -> Arc<Self> {
        let place = queue.name().as_str().to_owned();
        Arc::new(Self::of(queue, &place, Trouble::new(clock, Arc::<World>::default(), seed)))
    }

    pub(super) fn of(inner: Arc<dyn Queue>, place: &str, trouble: Arc<Trouble>) -> Self {
        let given = trouble.world.deliveries.of(&format!("{place}/{}", inner.name()));
        Self(Arc::new(Shared { inner, place: place.into(), trouble, given }))
    }

    /// Returns what it is told by.
    #[must_use]
    pub fn trouble(&self) -> &Arc<Trouble> {
        &self.0.trouble
    }
}

impl Shared {
    fn call<'a>(&'a self, op: Op, message: Option<&'a Message>) -> Call<'a> {
        Call { queue: Some(self.inner.name().as_str()), message, ..Call::new(op, &self.place) }
    }

    /// Makes of a delivery of the engine one that is settled through here.
    fn deliver(self: &Arc<Self>, (letter, attempt): (Arc<Letter>, u32)) -> Delivery {
        let from = &letter.delivery;
        let (message, sequence, at) = (from.message().clone(), from.sequence(), from.published_at());
        let subject = from.subject().map(Box::<str>::from);
        let settle = FaultySettle { queue: Arc::clone(self), letter, attempt };
        let delivery = Delivery::new(message, sequence, attempt, at, Box::new(settle));
        if let Some(subject) = subject { delivery.on(subject) } else { delivery }
    }

    fn again(self: &Arc<Self>) -> Option<Delivery> {
        Some(self.deliver(self.given.again(|of| self.trouble.choose(of))?))
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    fn name(&self) -> &Name {
        self.0.inner.name()
    }

    fn options(&self) -> &QueueOptions {
        self.0.inner.options()
    }

    fn is_in_a_space(&self) -> bool {
        self.0.inner.is_in_a_space()
    }

    async fn publish(&self, message: Message) -> Result<Published, StoreError> {
        let copy = message.clone();
        let call = Call { size: copy.payload.len(), ..self.0.call(Op::Publish, Some(&copy)) };
        self.0.trouble.around(&call, self.0.inner.publish(message)).await
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        let inner = self.0.trouble.around(&self.0.call(Op::Pull, None), self.0.inner.pull()).await?;
        Ok(Box::new(FaultyPull { queue: Arc::clone(&self.0), inner, arrived: VecDeque::new(), repeats: false }))
    }
}

/// A worker's side of a queue that misbehaves.
struct FaultyPull {
    queue: Arc<Shared>,
    inner: Box<dyn Pull>,
    /// What was taken for a call that was given up before it was answered.
    arrived: VecDeque<Delivery>,
    /// Whether the next call returns something that was delivered before.
    repeats: bool,
}

impl fmt::Debug for FaultyPull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyPull").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Pull for FaultyPull {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError> {
        let queue = Arc::clone(&self.queue);
        let trouble = &queue.trouble;
        if self.arrived.is_empty() {
            let drawn = trouble.meet(&queue.call(Op::Next, None)).await?;
            let fault = if let Some(Drawn::Fault(fault)) = drawn { Some(fault) } else { None };
            let repeats = std::mem::take(&mut self.repeats) || fault == Some(Fault::Duplicate);
            if repeats && let Some(again) = queue.again() {
                return Ok(vec![again]);
            }
            let taken = trouble.unless_cut(Op::Next, self.inner.next(max)).await??;
            self.repeats = repeats;
            if matches!(fault, Some(Fault::Unknown { .. })) {
                // They were on their way, and come again after the queue's `ack_wait`.
                drop(taken);
                return Err(away());
            }
            // From here on nothing is lost when the call is given up.
            self.arrived.extend(taken.into_iter().map(|delivery| queue.deliver(queue.given.note(delivery))));
            match fault {
                Some(Fault::Hang) => pending().await,
                Some(Fault::Late(late)) => trouble.unless_cut(Op::Next, trouble.clock.sleep(late)).await?,
                _ => {}
            }
        }
        let most = max.get().min(self.arrived.len());
        Ok(self.arrived.drain(..most).collect())
    }

    async fn close(self: Box<Self>) {
        // Whoever is disconnected hands nothing back.
        if self.queue.trouble.is_up() {
            for delivery in self.arrived {
                drop(delivery.settling().retry(Duration::ZERO).await);
            }
            self.inner.close().await;
        }
    }

    async fn finish(self: Box<Self>) -> Vec<Delivery> {
        if !self.queue.trouble.is_up() {
            return Vec::new();
        }
        let rest = self.inner.finish().await;
        let rest = rest.into_iter().map(|delivery| self.queue.deliver(self.queue.given.note(delivery)));
        self.arrived.into_iter().chain(rest).collect()
    }
}

/// Settles one delivery of ours; several may stand for one of the engine, which hears of its end once.
struct FaultySettle {
    queue: Arc<Shared>,
    letter: Arc<Letter>,
    attempt: u32,
}

impl FaultySettle {
    /// Has the engine told, unless it was told of an end before.
    async fn settle(&self, op: Op, work: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
        let call = self.queue.call(op, Some(self.letter.delivery.message()));
        let work = async {
            // Work that was done late is done; nothing else counts once somebody else has the message.
            let late = matches!(op, Op::Retry | Op::Extend) && !self.is_newest();
            let goes = !late && if op == Op::Extend { !self.letter.is_over() } else { self.letter.end() };
            if goes { work.await } else { Ok(()) }
        };
        self.queue.trouble.around(&call, work).await
    }

    fn is_newest(&self) -> bool {
        self.queue.given.is_newest(self.letter.delivery.sequence(), self.attempt)
    }
}

#[async_trait]
impl Settle for FaultySettle {
    async fn ack(&self) -> Result<(), StoreError> {
        self.settle(Op::Ack, self.letter.delivery.settling().ack()).await
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        self.settle(Op::Retry, self.letter.delivery.settling().retry(after)).await
    }

    async fn reject(&self) -> Result<(), StoreError> {
        self.settle(Op::Reject, self.letter.delivery.settling().reject()).await
    }

    async fn extend(&self) -> Result<(), StoreError> {
        self.settle(Op::Extend, self.letter.delivery.settling().extend()).await
    }
}
