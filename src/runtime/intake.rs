//! The per-message supervisor: a message comes, a run is claimed for it, and the message is settled by what the store says.
//!
//! It admits no more runs than it was told to, keeps every message that it has alive in the queue, and acknowledges one only
//! after its run's outcome is committed. The rules of redelivery:
//!
//! | the run | what happens |
//! |---|---|
//! | unknown | it is created |
//! | ended, suspended or parked | the message is acknowledged, no code runs |
//! | alive elsewhere | the message comes again later, nothing is counted |
//! | owned by the dead | it is taken over |
//! | cannot be made of this message | a dead letter, and the message is rejected |

use super::{
    RunError,
    admission::Claimed,
    claim::Ask,
    hosted::Ended,
    options::{OnDuplicate, StartOptions},
    runs::Runs,
};
use crate::{
    codec::Payload,
    core::snapshot::{Source, Trace},
    engine::{Delivery, Pull, Queue, QueueOptions, StoreError},
    error::{BoxError, chain, panic_text},
    telemetry,
    time::Backoff,
};
use std::{fmt, num::NonZeroUsize, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::Instrument as _;

/// Code of the application that looks at a message.
type Read<T> = Box<dyn Fn(&Delivery) -> T + Send + Sync>;

/// How a message becomes a run.
struct Reading<I> {
    run_id: Read<String>,
    input: Read<Result<I, BoxError>>,
    options: Read<Result<StartOptions, BoxError>>,
}

impl<I> Reading<I> {
    fn read(&self, delivery: &Delivery) -> Result<(String, I, StartOptions), BoxError> {
        Ok(((self.run_id)(delivery), (self.input)(delivery)?, (self.options)(delivery)?))
    }
}

/// How a message that the run is not ready for is delayed at most.
const LATER: Duration = Duration::from_secs(30);

/// Prepares a [`Supervisor`].
#[must_use = "call `spawn` to start it"]
pub struct SupervisorBuilder<I, O, C> {
    runs: Runs<I, O, C>,
    queue: Arc<dyn Queue>,
    concurrency: NonZeroUsize,
    reading: Reading<I>,
}

impl<I, O, C> fmt::Debug for SupervisorBuilder<I, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl<I: Payload, O: Send + 'static, C: Send + Sync + 'static> SupervisorBuilder<I, O, C> {
    pub(super) fn new(runs: Runs<I, O, C>, queue: Arc<dyn Queue>) -> Self {
        let name = queue.name().clone();
        let reading = Reading {
            run_id: Box::new(move |delivery| format!("{name}-{}", delivery.sequence())),
            input: Box::new(|delivery| Ok(I::decode(&delivery.message().payload)?)),
            options: Box::new(|_| Ok(StartOptions::default())),
        };
        Self { runs, queue, concurrency: NonZeroUsize::new(64).expect("64 is not 0"), reading }
    }

    /// Sets how many messages are worked on at the same time; default 64.
    pub fn concurrency(mut self, runs: NonZeroUsize) -> Self {
        self.concurrency = runs;
        self
    }

    /// Sets how a message names its run; by default `<queue>-<sequence>`. A message that comes again must name the same run.
    pub fn run_id(mut self, name: impl Fn(&Delivery) -> String + Send + Sync + 'static) -> Self {
        self.reading.run_id = Box::new(name);
        self
    }

    /// Sets what of a message is its run's input; by default its payload, as JSON. A message for which this is an error becomes
    /// a dead letter.
    pub fn input(mut self, read: impl Fn(&Delivery) -> Result<I, BoxError> + Send + Sync + 'static) -> Self {
        self.reading.input = Box::new(read);
        self
    }

    /// Sets which part of the topology a message's run includes, and what is given to it; by default all, and nothing. A message
    /// for which this is an error, or that asks for what the topology does not have, becomes a dead letter.
    ///
    /// Every message may come again, so it always joins the run that is there: `on_duplicate` is not asked.
    pub fn options(mut self, read: impl Fn(&Delivery) -> Result<StartOptions, BoxError> + Send + Sync + 'static) -> Self {
        self.reading.options = Box::new(read);
        self
    }

    /// Starts to take messages.
    ///
    /// # Errors
    ///
    /// [`RunError::Store`] when the queue, or the one for dead letters, cannot be opened.
    pub async fn spawn(self) -> Result<Supervisor, RunError> {
        let Self { runs, queue, concurrency, reading } = self;
        let hosted = Arc::clone(&runs.hosted);
        // Opened before anything can fail, so that a record of failure always has a place to go.
        let dead = hosted.dead_letter_queue(queue.name().as_str())?;
        let dead = hosted.shared.space.queue(dead.as_str(), QueueOptions::default()).await?;
        let pull = queue.pull().await?;
        let stop = hosted.shared.draining.child_token();
        let handlers = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(concurrency.get()));
        let clerk = Arc::new(Clerk { runs, queue, dead, reading });
        let intake = Intake { clerk, slots, handlers: handlers.clone(), stop: stop.clone() };
        let done = TaskTracker::new();
        // A drain of the runtime waits for the intake too: what it prefetched is handed back.
        let gone = hosted.shared.gone.clone();
        let intake = async move { gone.run_until_cancelled(intake.run(pull)).await };
        hosted.shared.tasks.spawn(done.track_future(intake));
        done.close();
        Ok(Supervisor { stop: stop.clone(), done, handlers, _guard: stop.drop_guard() })
    }
}

/// Starts a run for each message of a queue, until it is drained or dropped.
///
/// Dropping it stops the intake; runs that were started go on, and their messages are settled.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    done: TaskTracker,
    handlers: TaskTracker,
    _guard: DropGuard,
}

impl Supervisor {
    /// Stops taking messages, hands back those that have no run yet, and waits until the runs that were started are at rest and
    /// their messages settled. To stop those as well, drain the [`Runtime`](super::Runtime).
    pub async fn drain(self) {
        self.stop.cancel();
        self.done.wait().await;
        self.handlers.close();
        self.handlers.wait().await;
    }
}

/// Takes messages as slots become free.
struct Intake<I, O, C> {
    clerk: Arc<Clerk<I, O, C>>,
    slots: Arc<Semaphore>,
    handlers: TaskTracker,
    stop: CancellationToken,
}

impl<I: Payload, O: Send + 'static, C: Send + Sync + 'static> Intake<I, O, C> {
    async fn run(self, mut pull: Box<dyn Pull>) {
        let clock = self.clerk.runs.hosted.clock().clone();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            let taken = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                taken = self.next(&mut pull) => taken,
            };
            match taken {
                Ok(deliveries) => {
                    backoff.reset();
                    for delivery in deliveries {
                        self.admit(delivery);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "messages cannot be taken");
                    let delay = backoff.next_delay();
                    self.stop.run_until_cancelled(clock.sleep(delay)).await;
                }
            }
        }
        pull.close().await;
    }

    /// Waits for a free slot, then for messages, and takes no more than there are free slots.
    async fn next(&self, pull: &mut Box<dyn Pull>) -> Result<Vec<Delivery>, StoreError> {
        let one = self.slots.acquire().await.expect("the semaphore is never closed");
        let free = NonZeroUsize::new(self.slots.available_permits() + 1).expect("one more than none");
        drop(one);
        pull.next(free).await
    }

    fn admit(&self, delivery: Delivery) {
        // Only this task takes permits, and it took no more messages than there were.
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let clerk = Arc::clone(&self.clerk);
        let trace = telemetry::extract(|name| delivery.message().headers.get(name));
        let queue = self.clerk.queue.name().as_str();
        let span = telemetry::message_span(queue, delivery.sequence(), delivery.attempt(), trace.as_ref());
        let shared = Arc::clone(&self.clerk.runs.hosted.shared);
        let handle = async move {
            let gone = clerk.runs.hosted.shared.gone.clone();
            gone.run_until_cancelled(pin!(clerk.handle(delivery, trace))).await;
            drop(slot);
        };
        // A drain of the runtime waits until the message is settled.
        self.handlers.spawn(shared.tasks.track_future(handle.instrument(span)));
    }
}

/// Works on one message at a time, from its run to its settlement.
struct Clerk<I, O, C> {
    runs: Runs<I, O, C>,
    queue: Arc<dyn Queue>,
    dead: Arc<dyn Queue>,
    reading: Reading<I>,
}

/// What is to become of a message.
enum Settle {
    Ack,
    Later(Duration),
    Reject(String),
    /// It is somebody else's by now.
    Leave,
}

impl<I: Payload, O: Send + 'static, C: Send + Sync + 'static> Clerk<I, O, C> {
    async fn handle(&self, delivery: Delivery, trace: Option<Trace>) {
        let settle = {
            let work = self.work(&delivery, trace.clone());
            let mut work = pin!(work);
            loop {
                // A third of the wait: two beats may fail before the message goes to somebody else.
                let beat = self.queue.options().ack_wait / 3;
                match self.runs.hosted.clock().timeout(beat, &mut work).await {
                    Some(settle) => break settle,
                    // A queue that does not answer must not keep the message from being settled.
                    None => match self.runs.hosted.clock().timeout(beat, delivery.extend()).await {
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            tracing::warn!(error = &error as &dyn std::error::Error, "a message was not extended");
                        }
                        None => tracing::warn!("a message was not extended in time"),
                    },
                }
            }
        };
        let settled = match settle {
            Settle::Ack => delivery.ack().await,
            Settle::Later(delay) => delivery.retry(delay).await,
            Settle::Reject(reason) => Box::pin(self.bury(delivery, trace, reason)).await,
            Settle::Leave => return,
        };
        if let Err(error) = settled {
            // The message comes again, finds its run at rest, and is acknowledged then.
            tracing::warn!(error = &error as &dyn std::error::Error, "a message was not settled");
        }
    }

    /// Works on a message until its run is at rest, or is somebody else's.
    async fn work(&self, delivery: &Delivery, trace: Option<Trace>) -> Settle {
        // Code of the application: a message that it panics over is as good as one that it cannot read.
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| self.reading.read(delivery)));
        let (id, input, mut options) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Settle::Reject(chain(&*error)),
            Err(panic) => return Settle::Reject(format!("reading the message panicked: {}", panic_text(&*panic))),
        };
        let source = Source {
            queue: self.queue.name().as_str().to_owned(),
            sequence: delivery.sequence(),
            message_id: delivery.message().id.clone().unwrap_or_default(),
        };
        let trace = options.trace.take().or_else(|| telemetry::of(&tracing::Span::current())).or(trace);
        let hosted = &self.runs.hosted;
        loop {
            let claimed = async {
                let new = self.runs.new_run(&id, &input, trace.clone(), Some(source.clone()), &options).await?;
                let digest = new.input_digest;
                let claimed = hosted.claim_in_place(&id, Ask::Create(new.into(), OnDuplicate::Attach)).await?;
                match &claimed {
                    Claimed::Here(live) if live.progress.borrow().snapshot().input_digest != digest => {
                        Err(RunError::InputConflict(id.clone()))
                    }
                    _ => Ok(claimed),
                }
            };
            match claimed.await {
                Ok(Claimed::Driven(mut live) | Claimed::Here(mut live)) => {
                    let ended = live.progress.wait_for(|p| p.ended.is_some()).await.map(|p| p.ended);
                    match ended {
                        Ok(Some(Ended::AtRest)) => return Settle::Ack,
                        Ok(Some(Ended::Released)) => return Settle::Later(Duration::ZERO),
                        Ok(Some(Ended::Fenced)) => return Settle::Leave,
                        // The actor died, and its supervisor restarts it; whatever the store says then, goes.
                        Ok(None) | Err(_) => tokio::task::yield_now().await,
                    }
                }
                Ok(Claimed::Gone) => tokio::task::yield_now().await,
                Ok(Claimed::AtRest(_)) => return Settle::Ack,
                Ok(Claimed::Elsewhere(left)) => return Settle::Later(left.min(LATER)),
                Err(RunError::ShuttingDown) => return Settle::Later(Duration::ZERO),
                Err(
                    error @ (RunError::InputConflict(_)
                    | RunError::InvalidId(_)
                    | RunError::Codec(_)
                    | RunError::Subset(_)
                    | RunError::CannotProvide(_)),
                ) => return Settle::Reject(chain(&error)),
                Err(error) => {
                    tracing::warn!(run = id, error = &error as &dyn std::error::Error, "a message waits for its run");
                    let away = matches!(error, RunError::Store(_));
                    return Settle::Later(if away { Duration::from_secs(1) } else { LATER });
                }
            }
        }
    }

    /// Records why a message is given up, then rejects it. A crash in between repeats the record, under the same id.
    async fn bury(&self, delivery: Delivery, trace: Option<Trace>, reason: String) -> Result<(), StoreError> {
        tracing::warn!(reason, "a message is given up");
        let letter = self.runs.hosted.unreadable(self.queue.name(), &delivery, trace.as_ref(), reason);
        self.dead.publish(letter).await?;
        delivery.reject().await
    }
}
